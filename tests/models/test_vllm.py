"""vLLM's plug-in against a stand-in with its signatures; with vLLM itself where it is installed."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import codecmeta
from codecmeta.models.vllm import RETENTION, register
from codecmeta.models.vllm.loader import Loader, duration, how_many, said
from tests.support.clips import real_clip, write_clip

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data_samples" / "cuts.mp4"
ALLOWED = {"total_num_frames", "fps", "width", "height", "duration", "video_backend", "frames_indices"}
"""Fields of transformers' VideoMetadata, which models make of what a loader says, `do_sample_frames` apart."""


class Registry:
    """VideoLoaderRegistry of vllm/multimodal/video.py, 0.32."""

    def __init__(self):
        self.name2class = {}

    def register(self, name, *, video_processor=None, requires_gpu=False):
        def wrap(cls_to_register):
            self.name2class[name] = cls_to_register
            return cls_to_register

        return wrap

    def load(self, cls_name, *args, **kwargs):
        return self.name2class[cls_name](*args, **kwargs)


class VideoMediaIO:
    """What VideoMediaIO of vllm/multimodal/media/video.py, 0.32, makes of its arguments."""

    def __init__(self, registry, num_frames=32, **kwargs):
        self.num_frames, self.kwargs = num_frames, kwargs
        self.video_loader = registry.load(kwargs.pop("video_backend"))

    def load_file(self, filepath):
        return self.video_loader.load_bytes(filepath.read_bytes(), num_frames=self.num_frames, **self.kwargs)


@pytest.fixture
def registry(monkeypatch):
    """A vLLM that has a registry of loaders and a version."""
    made = Registry()
    for name in ("vllm", "vllm.multimodal", "vllm.multimodal.video"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["vllm.multimodal.video"].VIDEO_LOADER_REGISTRY = made
    sys.modules["vllm"].__version__ = "0.32.0"
    monkeypatch.delenv(RETENTION, raising=False)
    return made


@pytest.mark.parametrize("policy", ["events", "uniform", "keyframes", "cheap"])
@pytest.mark.parametrize("clip", [SAMPLE, "vpng_x264_bframes.mp4", "vpng_av1.mp4", "openh264_cabac_bframes.264"])
def test_a_video_read_from_bytes_is_the_choice_with_its_times(registry, clip, policy):
    path = clip if isinstance(clip, Path) else real_clip(clip)
    register()
    frames, facts = VideoMediaIO(registry, video_backend="codecmeta", num_frames=7, policy=policy).load_file(path)
    choice = codecmeta.choose_frames(path, 7, policy=policy)
    meta, rows, pictures = codecmeta.read(path, choice)
    assert frames.dtype == np.uint8 and np.array_equal(frames, pictures) and 0 < len(frames) <= 7
    times = np.array(facts["frames_indices"]) / facts["fps"]
    np.testing.assert_allclose(times, meta.frames.time[rows], rtol=0, atol=1e-9)
    assert set(facts) - {"do_sample_frames"} <= ALLOWED and facts["do_sample_frames"] is False
    assert facts["video_backend"] == "codecmeta"
    assert np.array_equal(facts["video_backend"].record[1], rows)


def test_times_are_those_that_were_written_where_frames_do_not_come_evenly(tmp_path):
    written = [0, 40, 45, 333, 334, 1001, 1500, 1777, 2900, 2901]
    pictures = [np.full((64, 64, 3), 20 * number, np.uint8) for number in range(len(written))]
    path = write_clip(tmp_path / "uneven.mp4", pictures, pts=written)
    frames, facts = Loader.load_bytes(path.read_bytes())
    np.testing.assert_allclose(np.array(facts["frames_indices"]) / facts["fps"] * 1000, written, rtol=0, atol=1e-5)
    assert np.abs(frames.mean(axis=(1, 2, 3)) - [one.mean() for one in pictures]).max() < 8
    _, facts = Loader.load_bytes(path.read_bytes(), num_frames=4)
    assert {round(one) for one in facts["frames_indices"]} < set(written)


def test_whole_milliseconds_are_whole_for_models_that_cut():
    """Nemotron and GLM 5 take int(index), Nemotron int(1000 / fps) milliseconds for a frame."""
    facts = said(np.arange(3000) / 1000, np.arange(3000))
    assert [int(one) for one in facts["frames_indices"]] == list(range(3000))
    assert int(1000 / facts["fps"]) == 1


def test_what_transformers_makes_of_it():
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    from transformers.video_utils import VideoMetadata

    assert transformers
    _, facts = Loader.load_bytes(SAMPLE.read_bytes(), num_frames=6)
    known = VideoMetadata(**{name: value for name, value in facts.items() if name != "do_sample_frames"})
    probed = codecmeta.probe(SAMPLE)
    assert max(known.timestamps) <= known.duration == pytest.approx(probed.stream.duration_seconds, abs=0.05)
    assert known.sampled_fps == pytest.approx(6 / known.duration, rel=1e-3)  # 2 of it: Qwen2.5-VL's seconds per grid


@pytest.mark.parametrize(
    ("num_frames", "fps", "expected"),
    [(32, -1, 32), (200, -1, 100), (-1, -1, 100), (-1, 2, 8), (32, 2, 8), (4, 2, 4), (-1, 0.1, 1), (-1, 1000, 100)],
)
def test_how_many_frames_is_the_smaller_limit(num_frames, fps, expected):
    """vllm/multimodal/video.py, VideoBackend.compute_frames_index_to_sample, on 100 frames in 4 seconds."""
    time = np.arange(100) / 25
    assert how_many(time, num_frames, fps) == expected
    assert duration(time) == pytest.approx(4)


def test_a_limit_of_frames_per_second_is_passed_on():
    frames, facts = Loader.load_bytes(SAMPLE.read_bytes(), num_frames=32, fps=2)
    assert len(frames) == 8 == len(facts["frames_indices"])  # 4.17 seconds


def test_what_it_cannot_serve_is_a_bad_request_in_one_line():
    data = SAMPLE.read_bytes()
    for options, message in [
        ({"frames": 8}, "has no option 'frames': num_frames, fps, policy"),
        ({"backend": "opencv"}, "has no option 'backend'"),
        ({"policy": "query"}, "is not told"),
        ({"policy": "best"}, "expected one of uniform"),
        ({"num_frames": 2.5}, "whole number"),
    ]:
        with pytest.raises(ValueError, match=message):
            Loader.load_bytes(data, **options)
    for broken in (b"", b"no video", data[:3000]):
        with pytest.raises(ValueError, match="^[^\n]+$"):
            Loader.load_bytes(broken, num_frames=4)


def test_registering_twice_is_registering_once(registry):
    register()
    register()
    assert list(registry.name2class) == ["codecmeta"]


def test_register_imports_nothing_heavy_and_never_raises_without_vllm():
    code = (
        "import sys; sys.modules['vllm'] = None\n"
        "from codecmeta.models.vllm import register\n"
        "import codecmeta.models.vllm.loader, codecmeta.models.vllm.retention\n"
        "print(register(), [one for one in ('torch', 'transformers', 'numba', 'llvmlite', 'av') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "None []", done.stderr


def test_retention_is_refused_elsewhere(registry, monkeypatch):
    monkeypatch.setenv(RETENTION, "replenish")
    sys.modules["vllm"].__version__ = "0.33.0"
    with pytest.raises(RuntimeError, match="in vLLM 0.32, not in 0.33.0: unset CODECMETA_VLLM_RETENTION"):
        register()
    sys.modules["vllm"].__version__ = "0.32.1"
    made = {}
    sys.modules["vllm"].ModelRegistry = type("ModelRegistry", (), {"register_model": made.__setitem__})
    register()
    assert made == {"Qwen3VLForConditionalGeneration": "codecmeta.models.vllm.qwen3_vl:Retaining"}
    monkeypatch.setenv(RETENTION, "metom")
    with pytest.raises(ValueError, match="RETENTION=metom: expected replenish"):
        register()


@pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
def test_its_registry_and_its_reader_take_the_loader():
    from vllm.multimodal.media.image import ImageMediaIO
    from vllm.multimodal.media.video import VideoMediaIO

    register()
    read = VideoMediaIO(ImageMediaIO(), video_backend="codecmeta", num_frames=5).load_file(SAMPLE)
    frames, facts = read.media
    assert np.array_equal(frames, codecmeta.read(SAMPLE, codecmeta.choose_frames(SAMPLE, 5))[2])
    assert facts["video_backend"].record is not None
