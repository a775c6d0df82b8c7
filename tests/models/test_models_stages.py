"""The script that measures stages: that its models have the sizes they are named for, and that its rows add up."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from codecmeta.compression import adapter_for
from tests.support import tiny

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "stages.py"


@pytest.fixture(scope="module")
def stages():
    spec = importlib.util.spec_from_file_location("stages_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["stages_benchmark"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name, billions", [("llava-onevision-7b", 8.03), ("qwen2-vl-7b", 8.29)])
def test_shapes_have_the_parameters_of_the_released_models(stages, name, billions):
    model, _ = stages.build(name, "meta")
    assert round(sum(weight.numel() for weight in model.parameters()) / 1e9, 2) == billions
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}


def test_the_clip_lets_rpm_merge_what_is_asked_for_and_every_stage_is_in_the_row(stages, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "NEW", 3)
    model, preprocessing = stages.build("small", "cpu")
    rows = stages.measure(
        model, preprocessing, stages.grainy_clip(tmp_path), 4, 1, ["none", "rpm, 14 % merged", "rpm, 50 % merged"]
    )
    by = {row["method"]: row for row in rows}
    for name, share in (("rpm, 14 % merged", 0.14), ("rpm, 50 % merged", 0.5)):
        merged = 1 - by[name]["encoder_tokens"] / by[name]["encoder_full"]
        assert share - 0.05 < merged <= share
        assert by[name]["tokens_kept"] == by["none"]["tokens_full"] == 4 * 16
    for row in rows:
        seconds = row["seconds"]
        assert set(seconds) == {
            "probe", "metadata", "decode", "preprocess", "vision", "projector", "strategy", "prefill",
            "generate_to_first_token", "per_token", "first_token",
        }  # fmt: skip
        assert min(seconds.values()) >= 0 and min(seconds[name] for name in ("decode", "vision", "prefill")) > 0
        reading = sum(seconds[name] for name in ("probe", "metadata", "decode", "preprocess"))
        assert seconds["first_token"] == pytest.approx(reading + seconds["generate_to_first_token"])
        assert 0 < row["prefill_peak_bytes"] < row["peak_bytes"]  # the encoder needs more here
    assert set(stages.ratios(rows)) == {
        f"{name}: {what}"
        for name in ("rpm, 14 % merged", "rpm, 50 % merged")
        for what in (
            "vision, of the plain model's time",
            "vision + language model, times faster",
            "memory of the prompt, of the plain model's",
        )
    }


def test_ratios_are_those_of_the_stages_they_name(stages):
    def row(method, memory, **seconds):
        return {"method": method, "prefill_peak_bytes": memory, "seconds": seconds}

    plain = row("none", 200, vision=3.0, projector=1.0, strategy=0.0, prefill=8.0, per_token=5.0)
    fewer = row("metom", 150, vision=1.0, projector=1.0, strategy=1.0, prefill=3.0, per_token=9.0)
    assert stages.ratios([plain, fewer]) == {
        "metom: vision, of the plain model's time": 0.5,
        "metom: vision + language model, times faster": 2.0,
        "metom: memory of the prompt, of the plain model's": 0.75,
    }
    assert stages.medians([{"a": 1.0, "b": 2}, {"a": 9.0, "b": 2}, {"a": 2.0, "b": 7}]) == {"a": 2.0, "b": 2}


@pytest.mark.parametrize("build", [tiny.llava, tiny.qwen])
def test_prompts_have_as_much_text_as_they_say(stages, build):
    model = build().bfloat16()
    adapter = adapter_for(model)
    side = 49 if adapter.gapless else 24
    inputs = stages.prepare(model, adapter, torch.zeros(4, 3, side, side))
    video = inputs["input_ids"] == adapter.video_token
    tokens = 4 * 9 + 1 if adapter.gapless else 2 * 9
    assert (int(video.sum()), inputs["input_ids"].numel()) == (tokens, tokens + stages.PROMPT)
    assert inputs["attention_mask"].all() and inputs["pixel_values_videos"].dtype == torch.bfloat16
    if not adapter.gapless:
        assert torch.equal(inputs["mm_token_type_ids"] == 2, video)


def test_the_projector_is_timed_within_the_block_only(stages):
    model = tiny.llava()
    adapter = adapter_for(model)
    features = torch.zeros(1, 36, 32)
    with pytest.raises(RuntimeError, match="stop"), stages.projector_timed(model, adapter) as calls:
        adapter.projector(features)
        adapter.projector(features)
        raise RuntimeError("stop")
    adapter.projector(features)
    assert len(calls) == 2 and min(calls) > 0
