"""Stock processors of transformers that read through codecmeta: the times in their prompts are those of the file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codecmeta import choose_frames, hf, read
from codecmeta.compression import adapter_for
from tests.support import tiny
from tests.support.clips import texture, write_clip
from tests.support.tiny_gemma import gemma4

ROOT = Path(__file__).resolve().parents[2]
FAMILIES = ("qwen3_vl", "qwen2_5_vl", "llava_onevision", "video_llama_3", "internvl", "glm4v", "gemma4")
MILLISECONDS = np.cumsum(np.random.default_rng(1).integers(20, 400, 60))
"""When the pictures of the clip are shown: no two distances are alike."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    pictures = [np.roll(texture(96, 64, seed=1), 3 * number, axis=1) for number in range(len(MILLISECONDS))]
    path = tmp_path_factory.mktemp("clip") / "vfr.mp4"
    return write_clip(path, pictures, "libx264", {"g": "20"}, rate=10, pts=(MILLISECONDS - MILLISECONDS[0]).tolist())


@pytest.fixture(scope="module")
def found(clip):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tests.support.stock_processors", str(clip)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def seconds(rows):
    return (MILLISECONDS[rows] - MILLISECONDS[0]) / 1000


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_hold_the_times_of_the_file(clip, found, family):
    one = found[family]
    assert one.get("undone"), one
    rows = choose_frames(clip, 6).rows
    assert one["rows"] == rows.tolist()
    times = seconds(rows)
    pairs = times.reshape(-1, 2).mean(axis=1)
    said = [float(text) for text in re.findall(r"(\d+\.\d)(?: seconds>|s:)", one["text"])]
    if family == "qwen3_vl":
        assert np.allclose(said, pairs, atol=0.0501) and len(said) == 3
    if family == "video_llama_3":
        assert np.allclose(said, times, atol=0.0501) and len(said) == 6
    if family == "qwen2_5_vl":  # one distance for the whole video: two pictures at 6 in its length
        assert np.allclose(one["seconds_per_grid"], 2 * (seconds(59) + np.median(np.diff(MILLISECONDS)) / 1000) / 6)
    placeholders = {"qwen3_vl": None, "qwen2_5_vl": None, "llava_onevision": 6 * 196 + 1, "internvl": 6 * 256}
    if placeholders.get(family):
        assert one["placeholders"] == placeholders[family]


@pytest.mark.parametrize("family", ["glm4v", "gemma4"])
def test_adapters_write_what_the_stock_processor_does(clip, found, family):
    one, rows = found[family], choose_frames(clip, 6).rows
    build, video, start, end = {
        "glm4v": (tiny.glm4v, "<|image|>", "<|begin_of_image|>", "<|end_of_image|>"),
        "gemma4": (gemma4, "<|video|>", "<|image>", "<image|>"),
    }[family]
    words = {tiny.VIDEO: video, 92: start, 93: end}
    text = adapter_for(build()).placeholders(one["placeholders"], seconds(rows), words.__getitem__)
    assert re.sub(f"(?:{re.escape(video)})+", "*", text) + "What?" == one["text"]
    assert text.count(video) == one["placeholders"] > 0


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen3_vl capped", "video_llama_3", "glm4v", "gemma4", "smolvlm"])
def test_pictures_become_what_the_stock_processor_makes_of_them(found, family):
    """Limits of all pictures together and of each, patches in their order, a square by way of another size."""
    one = found["pixels"].get(family)
    if one is None and family.endswith("capped"):
        pytest.skip("this transformers has no cap per frame")
    assert one["same_shape"] and one["same_grid"] and one["differs"] < 1e-5, one


def test_rlt_takes_out_what_video_llama_3_would(found):
    """But for the one token that its processor leaves a picture in which nothing moved, here the fourth and fifth."""
    own, rlt = (np.array(found["pixels"]["compression"][which]) for which in ("own", "rlt"))
    assert own[3:5].tolist() == [[True] + [False] * 8] * 2 and not rlt[3:5].any()
    rest = [0, 1, 2, 5]
    assert (own[rest] == rlt[rest]).all() and 9 < rlt.sum() < 54


def test_the_documented_example_runs(found):
    text = found["documented"]["text"]
    assert found["documented"]["by_hand"] and text.count("*") == 3 and text.endswith("What happens?")


def test_by_default_there_are_as_many_frames_as_the_processor_samples(found):
    assert found["documented"]["by_default"] == 24  # Qwen3-VL: two a second (video_processing_qwen3_vl.py), of 12.4 s


def test_times_come_out_exact(clip):
    meta, rows, _ = read(clip, 7, policy="events")
    for made in (hf.video_metadata(meta, rows), hf.video_metadata(choose_frames(clip, 7))):
        assert np.allclose(made.timestamps, seconds(rows)) and (made.width, made.height) == (96, 64)
        assert made.duration == pytest.approx(seconds(59) + np.median(np.diff(MILLISECONDS)) / 1000)
    with pytest.raises(ValueError, match="pass rows"):
        hf.video_metadata(meta)
    with pytest.raises(ValueError, match="no video processor"):
        hf.attach(object())


def test_importing_it_imports_no_transformers():
    code = "import sys, codecmeta.hf; assert not {'transformers', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
