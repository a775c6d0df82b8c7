"""From a video file to an answer: what `ask` does equals the stock pipeline step by step."""

import json
import shutil
from dataclasses import fields, replace

import av
import numpy as np
import pytest
import torch

import codecmeta
from codecmeta import models
from codecmeta.compression import Metok, Metom, RandomKeep, adapter_for, apply
from codecmeta.decoding.pictures import read_pictures
from codecmeta.errors import VideoError
from codecmeta.models.small.scope import outside_training
from codecmeta.models.small.tokenizer import build_tokenizer
from codecmeta.models.small.world.questions import TEMPLATES
from codecmeta.models.video_model import usual_policy
from codecmeta.record.metadata import Frames
from tests.support import tiny
from tests.support.asking import QUESTION
from tests.support.clips import rotated_copy


def test_asking_equals_the_stock_pipeline(model, clip):
    strategy = Metom(budget=0.4)
    answer = model.ask(clip, QUESTION, strategy=strategy, choose="uniform", max_new_tokens=6)
    meta, rows, pictures = codecmeta.read(clip, 16)
    assert rows[0] == 0 and rows[-1] == 39
    small = np.stack([model.preprocessing.resize(picture) for picture in pictures])
    pixels = torch.from_numpy(small).permute(0, 3, 1, 2)[None].float() / 255 * 2 - 1
    text = "<|im_start|>user " + "<video>" * (16 * 16 + 1) + f"\n{QUESTION}<|im_end|><|im_start|>assistant\n"
    ids = model.tokenizer(text, return_tensors="pt").input_ids
    with apply(model.model, strategy, meta, frames=rows) as session:
        out = model.model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values_videos=pixels, max_new_tokens=6,
            do_sample=False,
        )  # fmt: skip
    assert answer.text == model.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()
    assert answer.tokens_kept == session.tokens_kept <= 0.4 * 256
    assert answer.kv_bytes == session.kv_bytes == (answer.tokens_kept + ids.shape[1] - 256) * 5 * 2 * 32 * 4
    assert (answer.tokens_full, answer.encoder_full, answer.frames) == (256, 1024, 16)
    assert answer.encoder_tokens == session.encoder_tokens < 1024
    assert (answer.plan.regions == session.plan.regions).all()


def test_the_plain_model_is_the_default_and_every_method_can_be_named(model, clip):
    plain = model.ask(clip, QUESTION, max_new_tokens=2)
    assert (plain.method, plain.tokens_kept) == ("none", 256)
    for name in ("uniform", "random", "metom"):
        answer = model.ask(clip, QUESTION, strategy=name, max_new_tokens=2)
        assert answer.method == name and 0 < answer.tokens_kept <= 128


def test_every_stage_is_timed_and_they_fit_into_the_total(model, clip):
    seconds = model.ask(clip, QUESTION, strategy="metom", max_new_tokens=2).seconds
    assert set(seconds) == {
        "probe", "choose", "metadata", "decode", "preprocess", "vision", "strategy", "prefill", "first_token", "total",
    }  # fmt: skip
    parts = sum(value for name, value in seconds.items() if name not in ("first_token", "total"))
    assert 0 < parts <= seconds["first_token"] + 1e-3 <= seconds["total"] + 1e-3
    assert min(seconds[name] for name in ("probe", "decode", "metadata", "preprocess", "vision", "prefill")) > 0


def test_jobs_change_nothing_but_the_time(model, clip):
    one, two = (model.ask(clip, QUESTION, strategy="metom", jobs=jobs, max_new_tokens=4) for jobs in (1, 2))
    assert (one.text, one.tokens_kept, one.kv_bytes) == (two.text, two.tokens_kept, two.kv_bytes)


def test_metadata_that_was_extracted_before_gives_the_same_answer(model, clip, tmp_path):
    everything = codecmeta.extract(clip)
    for strategy in ("metom", "metok", "none"):
        one = model.ask(clip, QUESTION, strategy=strategy, choose="uniform", max_new_tokens=4)
        for meta in (everything, codecmeta.extract(clip, frames=16)):
            asked = {"choose": "uniform", "max_new_tokens": 4, "meta": meta, "jobs": 2}
            two = model.ask(clip, QUESTION, strategy=strategy, **asked)
            same = ("text", "frames", "tokens_kept", "tokens_llm_mean", "encoder_tokens", "kv_bytes")
            assert [getattr(two, name) for name in same] == [getattr(one, name) for name in same]
    assert set(two.seconds) == set(one.seconds)


def test_frames_are_those_of_events_where_nobody_says_which(model, clip):
    """And those of metadata that hold some frames only; of metadata of all frames, what they say has a voice."""
    by_events = codecmeta.choose_frames(clip, 8)
    assert model.clip(clip, 8).rows.tolist() == by_events.rows.tolist()
    assert model.clip(clip, 8).choice.policy == "events"
    for meta in (codecmeta.extract(clip, frames=8), codecmeta.extract(clip, frames=8, policy="cheap")):
        assert model.clip(clip, 8, meta=meta).rows.tolist() == meta.residual.frame.tolist()
    everything = codecmeta.extract(clip)
    assert model.clip(clip, 8, meta=everything).rows.tolist() == codecmeta.choose_frames(everything, 8).rows.tolist()


def test_frames_are_evenly_spread_for_a_model_that_takes_them_to_be():
    """Qwen2.5-VL is told one distance for the whole video; Qwen3-VL writes a time for every position."""
    assert usual_policy(adapter_for(tiny.qwen(windowed=True))) == "uniform"
    assert [usual_policy(adapter_for(one)) for one in (tiny.qwen3(), tiny.smolvlm())] == ["events"] * 2


@pytest.mark.parametrize("turn", [0, 90])
def test_pictures_read_alone_are_those_of_a_plain_decode(clip, turn, tmp_path):
    if turn:
        clip = rotated_copy(clip, tmp_path / "turned.mp4", turn)
    meta, rows, together = codecmeta.read(clip, 7)
    with av.open(str(clip)) as container:
        shown = [np.rot90(frame.to_ndarray(format="rgb24"), turn // 90) for frame in container.decode(video=0)]
    want = [shown[row] for row in rows]
    assert len(shown) == 40 and all((one == other).all() for one, other in zip(together, want, strict=True))
    for jobs in (1, 3):
        got = read_pictures(clip, codecmeta.extract(clip), rows, jobs=jobs)
        assert all((one == other).all() for one, other in zip(got, want, strict=True))
    short = replace(meta, frames=Frames(*(getattr(meta.frames, f.name)[:30] for f in fields(Frames))))
    with pytest.raises(VideoError, match="shows 40 frames, the metadata lists 30"):
        read_pictures(clip, short, rows)


def test_fewer_or_more_frames(model, clip):
    assert model.ask(clip, QUESTION, frames=4, max_new_tokens=1).tokens_full == 64
    assert model.ask(clip, QUESTION, strategy="metom", frames=1, max_new_tokens=1).tokens_kept == 8
    assert model.ask(clip, QUESTION, frames=99, max_new_tokens=1).frames == 40


def test_the_answer_as_a_dictionary_is_json(model, clip):
    row = json.loads(json.dumps(model.ask(clip, QUESTION, strategy="random", max_new_tokens=1).as_dict()))
    assert {"answer", "model", "method", "budget", "frames", "tokens_full", "tokens_kept", "tokens_llm_mean"} <= set(
        row
    )
    assert (row["tokens_llm_mean"], row["budget"]) == (128.0, 0.5)


def test_qwen_25_is_told_how_far_apart_the_pictures_are(tmp_path, clip, monkeypatch):
    """40 frames at 25 a second: five of them are 39 / 4 / 25 seconds apart, and two make one temporal position."""
    tokenizer = build_tokenizer()
    ids = tokenizer.get_vocab()
    made = tiny.qwen(windowed=True, vocabulary=len(ids), video=ids["<video>"], image=ids["<image>"])
    made.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    settings = {"min_pixels": 576, "max_pixels": 3072, "patch_size": 4, "merge_size": 2, "temporal_patch_size": 2}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    model = models.load(str(tmp_path))
    told = []
    real = model.model.model.get_rope_index
    monkeypatch.setattr(
        model.model.model,
        "get_rope_index",
        lambda *one, **named: told.append(float(named["second_per_grid_ts"][0])) or real(*one, **named),
    )
    times = codecmeta.probe(clip).frames.time
    model.ask(clip, QUESTION, frames=5, max_new_tokens=1)
    assert told and told[0] == pytest.approx(2 * (times[-1] - times[0]) / 4)
    shown = model.clip(clip, 1)
    assert shown.seconds_apart is None and "second_per_grid_ts" not in model.inputs(shown.pictures, QUESTION)


def test_qwen_gets_pairs_of_pictures_as_windows_of_patches(qwen_folder, clip):
    model = models.load(str(qwen_folder))
    answer = model.ask(clip, QUESTION, strategy=Metom(budget=0.5, tau_tem=2), frames=5, max_new_tokens=3)
    assert (answer.frames, answer.tokens_full, answer.tokens_kept) == (6, 3 * 6 * 8, 72)  # 96x128 shrinks to 48x64
    assert answer.encoder_full == 4 * answer.tokens_full
    pictures = np.random.default_rng(0).integers(0, 256, (4, 16, 24, 3), dtype=np.uint8)
    inputs = model.inputs(pictures, QUESTION)
    assert inputs["video_grid_thw"].tolist() == [[2, 4, 6]]
    assert (inputs["mm_token_type_ids"] == 2).sum() == 2 * 2 * 3
    pixels = model.preprocessing.normalise(pictures)
    want = [
        pixels[2 * t : 2 * t + 2, :, 4 * r : 4 * r + 4, 4 * c : 4 * c + 4].transpose(0, 1).flatten()
        for t in range(2)
        for row in (0, 2)
        for column in (0, 2, 4)
        for r in (row, row + 1)
        for c in (column, column + 1)
    ]
    assert torch.equal(inputs["pixel_values_videos"], torch.stack(want))


def test_what_cannot_be_loaded_says_why(folder, tmp_path):
    with pytest.raises(ValueError, match="supported are: .*LlavaOnevisionForConditionalGeneration"):
        other = tmp_path / "other"
        other.mkdir()
        (other / "config.json").write_text('{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}')
        models.load(str(other))
    with pytest.raises(ValueError, match="cannot be loaded"):
        models.load(str(tmp_path / "nowhere"))
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(ValueError, match="safetensors"):
        models.load(str(pickled))


def test_a_device_that_is_not_there_is_said_so(folder):
    with pytest.raises(ValueError, match="device 'cuda:99' cannot be used"):
        models.load(str(folder), "cuda:99")
    with pytest.raises(ValueError, match="device 'nowhere' cannot be used"):
        models.load_text_image(str(folder), "nowhere")


def test_preferences_are_read_from_the_checkpoint(folder, clip, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    config["codecmeta"] = {"keep_ids": True, "metom": {"tau_tem": 2.0}, "metok": {"layers": [2, 3, 4]}}
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    model = models.load(str(tmp_path / "copy"))
    meta = codecmeta.extract(clip, frames=16)
    for strategy, want in (
        (Metom(), Metom(keep_ids=True, tau_tem=2.0)),
        (Metom(keep_ids=False, tau_tem=0.5), Metom(keep_ids=False, tau_tem=0.5)),
        (Metok(), Metok(keep_ids=True, layers=(2, 3, 4))),
        (RandomKeep(), RandomKeep(keep_ids=True)),
    ):
        with apply(model.model, strategy, meta) as session:
            assert session.strategy == want
    del config["codecmeta"]
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config))
    with apply(models.load(str(tmp_path / "copy")).model, Metom(), meta) as session:
        assert session.strategy == Metom() and not session.keep_ids
    model.model.config.codecmeta = {"metom": {"speed": 9}}
    with pytest.raises(ValueError, match="prefers speed"), apply(model.model, Metom(), meta):
        pass


def test_every_wording_of_the_training_is_inside_and_other_questions_are_not():
    for texts in TEMPLATES.values():
        for text in texts:
            for name in ("circle", "red object", "blue square", "colour"):
                assert outside_training(text.format(name, name)) is None
    assert "'barking', 'dog'" in outside_training("Why is the dog barking?")
    assert "wording" in outside_training("Is the red object there?")


def test_pictures_of_any_size_become_what_the_model_takes(model, clip):
    """Those that `codecmeta.read` gives, without a transform."""
    pictures = codecmeta.read(clip, 16)[2]
    small = np.stack([model.preprocessing.resize(one) for one in pictures])
    whole, ready = (model.inputs(one, QUESTION) for one in (pictures, small))
    assert pictures.shape != small.shape and set(whole) == set(ready)
    assert all(torch.equal(whole[name], ready[name]) for name in ready)
