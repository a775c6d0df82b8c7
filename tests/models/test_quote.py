"""A quote against what a run then measures, for every method on a tiny model of every adapter."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import codecmeta
from codecmeta import models
from codecmeta.cli import main
from codecmeta.compression import FAMILIES, METHODS, adapter_for, apply, make
from codecmeta.compression.engine import transformers_names as names
from codecmeta.compression.measure.cost import TextModel, prefill_flops
from codecmeta.models.preprocessing import Preprocessing
from codecmeta.models.quoting import Paper, _hollow
from codecmeta.models.video_model import usual_policy
from tests.support import published, tiny
from tests.support.tiny_gemma import gemma4

CLIP = Path(__file__).resolve().parents[2] / "data_samples" / "cuts.mp4"
FRAMES = 6
SQUARE = Preprocessing(49, 49)
SHAPED = Preprocessing(0, 0, factor=8, min_pixels=576, max_pixels=3072)
FAMILY = {
    "llava": (tiny.llava, SQUARE),
    "qwen2": (tiny.qwen, SHAPED),
    "qwen25": (lambda: tiny.qwen(windowed=True), SHAPED),
    "qwen3": (tiny.qwen3, SHAPED),
    "qwen3_5": (tiny.qwen3_5, SHAPED),
    "qwen3_5 experts": (lambda: tiny.qwen3_5(experts=True), SHAPED),
    "glm4v": (tiny.glm4v, SHAPED),
    "glm4v experts": (lambda: tiny.glm4v(experts=True), SHAPED),
    "glm46v": (lambda: tiny.glm4v(tenths=True), SHAPED),
    "video_llama_3": (tiny.video_llama_3, SHAPED),
    "smolvlm": (tiny.smolvlm, SQUARE),
    "internvl": (tiny.internvl, Preprocessing(48, 48)),
    "gemma4": (gemma4, Preprocessing(0, 0, factor=12, max_pixels=12 * 144, filling=True)),
    "gemma4 large": (lambda: gemma4(large=True), Preprocessing(0, 0, factor=12, max_pixels=12 * 144, filling=True)),
    "llava video": (lambda: published.unwritten("LLaVA-Video"), Preprocessing(43, 43)),
}
DEPENDS = {"codecsight", "rlt", "scissor", "sttm", "holitom", "fastvid", "metom", "prunevid"}
"""How many tokens these leave by default, only the pictures tell; of metok, where features cut events."""
OPTIONS = [
    *((name, {}) for name in METHODS),
    ("metom", {"tau_tem": 2.0, "rpm": False}),
    ("metom", {"tau_tem": 2.0, "matm": True}),
    ("metom", {"ragged": True}),
    ("random", {"layer": 2}),
    ("dycoke", {"evict": 0.5, "evict_layer": 2}),
    ("metok", {"boundaries": "codec"}),
    ("metok", {"boundaries": "codec", "prune": False}),
    ("rlt", {"budget": 0.4}),
    ("codecsight", {"budget": 0.4}),
    ("evs", {"budget": 0.3}),
]


@pytest.fixture(scope="module", params=FAMILY)
def case(request):
    """A model, its paper, inputs of a real clip, its metadata and rows, and how many tokens of the prompt are text."""
    build, preprocessing = FAMILY[request.param]
    model = build()
    adapter = adapter_for(model)
    sized = preprocessing.of_clip(FRAMES, adapter.pixel_limits)
    meta, rows, pictures = codecmeta.read(CLIP, FRAMES, policy=usual_policy(adapter), transform=sized.resize)
    video, count = adapter.inputs(preprocessing.normalise(np.stack(pictures)))
    steps = len(rows) // adapter.pictures
    each = [1, 2, 92, *[tiny.VIDEO] * (count // steps), 93]
    middle = [tiny.VIDEO] * count if adapter.one_piece else each * steps
    ids = torch.tensor([[5, 6, 7, *middle, 8, 9, 10, 11]])
    inputs = {names.IDS: ids, names.MASK: torch.ones_like(ids), **names.token_types(model, ids, tiny.VIDEO), **video}
    config = model.config
    paper = Paper(request.param, _hollow(type(model), config), TextModel.of(config.get_text_config()), 4, preprocessing)
    return model, paper, inputs, meta, rows, int((ids != tiny.VIDEO).sum())


def test_every_adapter_is_tried():
    assert {type(build()).__name__ for build, _ in FAMILY.values()} == set(FAMILIES)


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=lambda one: one if isinstance(one, str) else "-".join(one))
def test_a_quote_is_what_a_run_measures(case, name, options):
    model, paper, inputs, meta, rows, text = case
    if name == "metok" and paper.layout(2, meta.stream).unit == 9:
        options = {**options, "key_strides": (3, 3), "other_strides": (3, 6)}  # whole cells of 3x3 patches
    strategy = make(name, **options)
    inside, attending = strategy.inside(len(adapter_for(model).layers)), adapter_for(model).attending
    if inside is not None and adapter_for(model).before_only:
        with pytest.raises(ValueError, match="take a method that acts before the language model"):
            models.quote(CLIP, paper, strategy=strategy, frames=FRAMES)
        return
    if inside is not None and not {*inside.watch, *inside.keys} <= set(attending):
        with pytest.raises(ValueError, match="has no attention to look at"):
            models.quote(CLIP, paper, strategy=strategy, frames=FRAMES)
        return
    found = models.quote(CLIP, paper, strategy=strategy, frames=FRAMES, text_tokens=text)
    with torch.inference_mode(), apply(model, strategy, meta, frames=rows) as session:
        model(**inputs, use_cache=True)
    measured = {
        "tokens_kept": session.tokens_kept,
        "tokens_llm_mean": float(np.mean(session.layer_tokens)),
        "encoder_tokens": session.encoder_tokens,
        "kv_bytes": session.kv_bytes,
    }
    assert (found.tokens_full, found.encoder_full) == (session.tokens_full, session.encoder_full)
    for field, value in measured.items():
        quoted = getattr(found, field)
        assert value <= quoted if field in found.at_most else value == quoted, (field, value, quoted)
    if not options:
        assert ("tokens_llm_mean" in found.at_most) == (name in DEPENDS or name == "metok")
    layers = [count + session.newlines_kept + text for count in session.layer_tokens]
    if "prefill_flops" not in found.at_most:
        assert found.prefill_flops == prefill_flops(paper.text, layers)


def test_packets_are_those_of_the_choice(case):
    found = models.quote(CLIP, case[1], frames=FRAMES, choose="events")
    choice = codecmeta.choose_frames(CLIP, FRAMES)
    assert (found.packets_to_decode, found.policy) == (choice.packets_to_decode, "events")


def test_the_command_says_what_run_says(tmp_path):
    """Of the built-in model; and a configuration alone is enough where its grid is fixed."""
    asked = models.load().ask(CLIP, "Which shape is red?", strategy="fastv", frames=8)
    done = CliRunner().invoke(main, ["quote", str(CLIP), "--method", "fastv", "--frames", "8", "--json"])
    found = json.loads(done.stdout)
    assert (found["tokens_kept"], found["tokens_llm_mean"]) == (asked.tokens_kept, asked.tokens_llm_mean)
    assert found["at_most"] == [] and found["encoder_tokens"] == asked.encoder_tokens
    tiny.llava().config.save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    raw["architectures"] = ["LlavaOnevisionForConditionalGeneration"]
    (tmp_path / "config.json").write_text(json.dumps(raw))
    done = CliRunner().invoke(main, ["quote", str(CLIP), "--model", str(tmp_path / "config.json"), "--method", "metom"])
    assert "tokens               144 -> at most 72" in done.stdout and "depends on the pictures" in done.stdout


def test_what_cannot_be_quoted_is_said(tmp_path):
    tiny.qwen().config.save_pretrained(tmp_path)
    raw = json.loads((tmp_path / "config.json").read_text())
    raw["architectures"] = ["Qwen2VLForConditionalGeneration"]
    (tmp_path / "config.json").write_text(json.dumps(raw))
    for model, words in ((tmp_path / "config.json", "preprocessing"), (tmp_path / "none", "cannot be quoted")):
        done = CliRunner().invoke(main, ["quote", str(CLIP), "--model", str(model)])
        assert done.exit_code == 1 and words in done.stderr and done.stderr.count("\n") == 1, done.output


def test_a_cache_is_no_video(tmp_path: Path) -> None:
    cache = tmp_path / "cuts.codecmeta.h5"
    codecmeta.extract_to_file(CLIP, cache, frames=2)
    done = CliRunner().invoke(main, ["quote", str(cache)])
    assert done.exit_code == 1 and "a cache; pass the video that it is of" in done.stderr
