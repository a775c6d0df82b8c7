"""Text-image models: scores against the stock model's own cosines, and what METok makes of them."""

import json
import shutil
import time

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import codecmeta
from codecmeta import models
from codecmeta.cli.run import run
from codecmeta.compression import Metok
from codecmeta.extraction.to_file import extract_to_file
from codecmeta.models import text_image
from tests.support import tiny
from tests.support.asking import QUESTION

LONG = "red ball rolls far away and the blue box falls on a green circle"
WORDS = f"{LONG} {QUESTION} which shape is user assistant"


@pytest.fixture(scope="module", params=[False, True], ids=["siglip", "clip"])
def dual(request, tmp_path_factory):
    """A folder, the stock model in it and its tokenizer."""
    path = tmp_path_factory.mktemp("dual")
    return path, *tiny.text_image(path, request.param, WORDS)


@pytest.fixture(scope="module")
def siglip(tmp_path_factory):
    path = tmp_path_factory.mktemp("siglip")
    tiny.text_image(path, False, WORDS)
    return path


@pytest.fixture
def text(siglip):
    return models.load_text_image(str(siglip))


def noise(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape, 3), dtype=np.uint8)


def stock_scores(stock, tokenizer, pixels, texts):
    """Cosines from the stock model's forward, texts padded as its model card says, their vectors joined by maximum."""
    ids = tokenizer(texts, padding="max_length", max_length=8, return_tensors="pt").input_ids
    with torch.no_grad():
        out = stock(input_ids=ids, pixel_values=pixels)
        features = stock.get_text_features(input_ids=ids)
    joined = getattr(features, "pooler_output", features).amax(0, keepdim=True)
    return torch.cosine_similarity(out.image_embeds, joined)


def entered(module):
    """A list that grows with every call of a module."""
    calls = []
    module.register_forward_pre_hook(lambda module, args, kwargs: calls.append(kwargs), with_kwargs=True)
    return calls


def test_scores_are_the_stock_models_cosines(dual):
    path, stock, tokenizer = dual
    pictures = noise(5, 16, 16)  # the model's own size: nothing to resize, normalising is arithmetic
    siglip = type(stock).__name__ == "SiglipModel"
    mean, std = (
        (torch.full((3,), 0.5),) * 2
        if siglip
        else (torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711]))
    )
    pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    pixels = (pixels - mean[:, None, None]) / std[:, None, None]
    got = models.load_text_image(str(path)).scores(pictures, "red ball rolls")
    want = stock_scores(stock, tokenizer, pixels, ["red ball rolls"])
    torch.testing.assert_close(torch.tensor(got), want, atol=1e-5, rtol=0)
    assert want.max() - want.min() > 0.01


def test_long_questions_are_read_in_parts(dual):
    path, stock, tokenizer = dual
    pictures = noise(3, 16, 16)
    loaded = models.load_text_image(str(path))
    words = LONG.split()
    room = 8 if type(stock).__name__ == "SiglipModel" else 6  # CLIP's start and end take two of the eight places
    parts = [" ".join(words[start : start + room]) for start in range(0, len(words), room)]
    assert len(parts) > 1
    want = stock_scores(stock, tokenizer, loaded.preprocessing.normalise(pictures), parts)
    torch.testing.assert_close(torch.tensor(loaded.scores(pictures, LONG)), want, atol=1e-5, rtol=0)
    mean = loaded.scores(pictures, LONG, combine="mean")
    assert (torch.tensor(mean) - want).abs().max() > 1e-3
    assert len(loaded.scores(pictures, "")) == 3


def test_pictures_of_any_size_are_prepared_as_the_checkpoints_processor_does(dual):
    pytest.importorskip("PIL")
    path, stock, tokenizer = dual
    if type(stock).__name__ == "SiglipModel":
        processors = pytest.importorskip("transformers.models.siglip.image_processing_pil_siglip")
        processor = processors.SiglipImageProcessorPil.from_pretrained(path)
    else:
        processors = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
        processor = processors.CLIPImageProcessorPil.from_pretrained(path)
    loaded = models.load_text_image(str(path))
    for shape in ((40, 71), (16, 45), (45, 16), (10, 13)):
        pictures = noise(4, *shape)
        pixels = processor(images=list(pictures), return_tensors="pt").pixel_values
        own = loaded.preprocessing.normalise(np.stack([loaded.preprocessing.resize(one) for one in pictures]))
        assert own.shape == pixels.shape
        assert ((own - pixels).abs() * torch.tensor(loaded.preprocessing.std)[:, None, None]).max() < 2.01 / 255
        want = stock_scores(stock, tokenizer, pixels, ["blue box"])
        torch.testing.assert_close(torch.tensor(loaded.scores(pictures, "blue box")), want, atol=5e-3, rtol=0)


def test_sentencepiece_tokenizers_load(siglip, tmp_path):
    """Published SigLIP checkpoints have one; it lower-cases, drops punctuation and ends with </s>."""
    sentencepiece = pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    shutil.copytree(siglip, tmp_path / "copy")
    (tmp_path / "copy" / "tokenizer.json").unlink()
    (tmp_path / "corpus.txt").write_text("\n".join([LONG, "what is it"] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "corpus.txt"), model_prefix=str(tmp_path / "copy" / "spiece"), vocab_size=40,
        pad_id=-1, bos_id=-1, eos_id=1, unk_id=2, minloglevel=2, hard_vocab_limit=False,
    )  # fmt: skip
    (tmp_path / "copy" / "tokenizer_config.json").write_text('{"tokenizer_class": "SiglipTokenizer"}')
    loaded = models.load_text_image(str(tmp_path / "copy"))
    ids = loaded.tokenizer("What is it?").input_ids
    assert ids == loaded.tokenizer("what is it").input_ids and ids[-1] == loaded.tokenizer.eos_token_id


def test_asking_with_a_text_model_is_asking_with_its_scores(model, clip, text):  # noqa: F811
    rows = {"strategy": Metok(n_events=4, alpha=0.3), "max_new_tokens": 4}
    got = model.ask(clip, QUESTION, text_model=text, **rows)
    pictures = codecmeta.read(clip, 16, policy="events")[2]  # as the video has them, not as the video model wants them
    scores = text.scores(pictures, QUESTION)
    assert len(set(scores)) > 8
    want = model.ask(clip, QUESTION, strategy=Metok(n_events=4, alpha=0.3, frame_scores=scores), max_new_tokens=4)
    for name in ("text", "tokens_kept", "tokens_llm_mean", "kv_bytes"):
        assert getattr(got, name) == getattr(want, name)
    assert (got.trace.counts == want.trace.counts).all()
    blind = model.ask(clip, QUESTION, **rows)
    assert (got.query_agnostic, blind.query_agnostic) == (False, True)


def test_options_of_the_strategy_reach_the_text_model(model, clip, text):  # noqa: F811
    seen = []
    scores = text.scores
    text.scores = lambda pictures, text, combine: seen.append((text, combine)) or scores(pictures, text)
    for strategy in (Metok(), Metok(use_full_prompt=True, combine="mean")):
        model.ask(clip, QUESTION, strategy=strategy, text_model=text, max_new_tokens=1)
    prompt = f"<|im_start|>user <video>\n{QUESTION}<|im_end|><|im_start|>assistant\n"
    assert seen == [(QUESTION, "max"), (prompt, "mean")]


def test_a_position_of_two_pictures_is_worth_the_better_one(qwen_folder, clip, text):  # noqa: F811
    model = models.load(str(qwen_folder))  # noqa: F811
    read = model.clip(clip, 5, text_model=text)
    each = text.scores(codecmeta.read(clip, 5, policy="events")[2], QUESTION)
    strategy = model.scored(Metok(), read, QUESTION, text)
    want = (max(each[:2]), max(each[2:4]), each[4])  # the last picture fills its pair up
    np.testing.assert_allclose(strategy.frame_scores, want, atol=1e-5)
    answer = model.ask(clip, QUESTION, strategy=Metok(layers=(1, 2, 3)), frames=5, text_model=text, max_new_tokens=1)
    assert (answer.frames, answer.query_agnostic) == (6, False)


def test_the_image_tower_runs_once_per_clip(model, clip, text, monkeypatch):  # noqa: F811
    towers = entered(text.model.vision_model), entered(text.model.text_model)
    for question in (QUESTION, "red ball", QUESTION):
        model.ask(clip, question, strategy="metok", text_model=text, max_new_tokens=1)
    assert [len(calls) for calls in towers] == [1, 3]
    model.ask(clip, QUESTION, strategy="metok", frames=5, text_model=text, max_new_tokens=1)
    assert len(towers[0]) == 2
    text.forget()
    model.ask(clip, QUESTION, strategy="metok", text_model=text, max_new_tokens=1)
    assert len(towers[0]) == 3


def test_memory_is_bounded(text, monkeypatch):
    monkeypatch.setattr(text_image, "CLIPS", 2)
    monkeypatch.setattr(text_image, "BATCH", 3)
    calls = entered(text.model.vision_model)
    clips = [noise(7, 16, 16, seed=seed) for seed in range(3)]
    first = text.scores(clips[0], QUESTION)
    assert [len(call["pixel_values"]) for call in calls] == [3, 3, 1]
    text.scores(clips[1], QUESTION)
    assert text.scores(clips[0], QUESTION) == first and len(calls) == 6
    text.scores(clips[2], QUESTION)  # the second clip is the one that was not asked about for longest
    assert text.scores(clips[0], QUESTION) == first and len(calls) == 9
    text.scores(clips[1], QUESTION)
    assert len(calls) == 12 and len(text._seen) == 2


def test_its_time_counts_until_the_first_token(model, clip, text):  # noqa: F811
    scores = text.scores
    text.scores = lambda *args, **how: time.sleep(0.3) or scores(*args, **how)
    seconds = model.ask(clip, QUESTION, strategy="metok", text_model=text, max_new_tokens=1).seconds
    assert seconds["strategy"] >= 0.3
    parts = sum(value for name, value in seconds.items() if name not in ("first_token", "total"))
    assert parts <= seconds["first_token"] + 1e-3 <= seconds["total"] + 2e-3


def test_metadata_need_not_cover_frames_that_a_text_model_scores(model, clip, text):  # noqa: F811
    meta = codecmeta.extract(clip, frames=5)
    model.ask(clip, QUESTION, strategy="metok", meta=meta, text_model=text, max_new_tokens=1)
    with pytest.raises(codecmeta.errors.CacheError, match="made with frames=5"):
        model.ask(clip, QUESTION, strategy="metok", meta=meta, max_new_tokens=1)


def test_methods_that_do_not_ask_it_are_refused(model, clip, text):  # noqa: F811
    with pytest.raises(ValueError, match="method 'metom' does not compare frames with the question"):
        model.ask(clip, QUESTION, strategy="metom", text_model=text)
    with pytest.raises(ValueError, match="frame_scores or a text model, not both"):
        model.ask(clip, QUESTION, strategy=Metok(frame_scores=(1.0,) * 16), text_model=text)


def test_what_cannot_be_loaded_says_why(siglip, folder, tmp_path):  # noqa: F811
    def broken(name, change):
        path = tmp_path / name
        shutil.copytree(siglip, path)
        change(path)
        return str(path)

    def settings(**values):
        return lambda path: (path / "preprocessor_config.json").write_text(json.dumps(values))

    def pickled(path):
        (path / "model.safetensors").unlink()
        torch.save({}, path / "pytorch_model.bin")

    reasons = {
        str(folder): "LlavaOnevisionForConditionalGeneration is no .* supported are: CLIPModel, SiglipModel",
        str(tmp_path / "nowhere"): "text-image model '.*nowhere' cannot be loaded",
        broken("pickled", pickled): "safetensors",
        broken("large", settings(size=16, crop_size=17, do_center_crop=True)): "a crop that is no larger",
        broken("long", settings(size={"longest_edge": 16}, do_center_crop=True)): "expected a shortest edge",
        broken("bare", lambda path: (path / "preprocessor_config.json").unlink()): "no preprocessor settings",
    }
    for name, reason in reasons.items():
        with pytest.raises(ValueError, match=reason):
            models.load_text_image(name)
    old = broken("old", settings(size=16, crop_size=16, do_center_crop=True))  # as CLIP's first files have it
    preprocessing = models.load_text_image(old).preprocessing
    assert (preprocessing.edge, preprocessing.height, preprocessing.width) == (16, 16, 16)
    bundle = {"image_processor": {"size": {"height": 8, "width": 8}}}
    new = broken("new", lambda path: (path / "processor_config.json").write_text(json.dumps(bundle)))
    assert models.load_text_image(new).preprocessing.height == 8


@pytest.fixture
def call(folder, clip, siglip):  # noqa: F811
    def invoke(*arguments, text=siglip):
        names = [str(clip), QUESTION, "--model", str(folder), "--max-new-tokens", "3", "--text-model", str(text)]
        return CliRunner().invoke(run, [*names, *arguments])

    return invoke


def test_from_the_command_line(call, model, clip, text, monkeypatch):  # noqa: F811
    row = json.loads(call("--method", "metok", "--set", "n_events=4", "--json").stdout)
    want = model.ask(clip, QUESTION, strategy=Metok(n_events=4), text_model=text, max_new_tokens=3)
    assert (row["answer"], row["tokens_kept"], row["query_agnostic"]) == (want.text, want.tokens_kept, False)
    result = call("--method", "metom", text=clip.parent / "nowhere")  # refused before anything is loaded
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "method 'metom' does not compare frames with the question" in result.stderr
    result = call("--method", "metok", text=clip.parent / "nowhere")
    assert result.exit_code == 1 and "nowhere' cannot be loaded" in result.stderr


def test_warming_up_does_not_hide_what_the_image_tower_costs(call, text, monkeypatch):
    monkeypatch.setattr("codecmeta.models.text_image.load_text_image", lambda name, device: text)
    monkeypatch.setattr("codecmeta.models.load_text_image", lambda name, device: text, raising=False)
    calls = entered(text.model.vision_model)
    row = json.loads(call("--method", "metok", "--compare", "--json").stdout)
    assert len(calls) == 2 and row["plain"]["tokens_kept"] == 256


def test_a_cache_of_the_metadata_goes_with_it(call, clip, tmp_path):  # noqa: F811
    extract_to_file(clip, tmp_path / "clip.h5", frames=16)
    rows = [
        json.loads(call("--method", "metok", "--choose", "uniform", "--json", *more).stdout)
        for more in ([], ["--cache", str(tmp_path / "clip.h5")])
    ]
    assert [row["answer"] for row in rows] == [rows[0]["answer"]] * 2
    assert rows[0]["tokens_kept"] == rows[1]["tokens_kept"]
