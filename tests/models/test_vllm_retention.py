"""Which tokens stay in vLLM, and where: against transformers' positions and the method itself, without vLLM."""

import ast
import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from codecmeta.compression import Layout, make  # noqa: E402
from codecmeta.models.vllm import RETENTION  # noqa: E402
from codecmeta.models.vllm.loader import Loader  # noqa: E402
from codecmeta.models.vllm.retention import positions_of, reduced, retained  # noqa: E402
from tests.support import tiny  # noqa: E402
from tests.support import vllm_stand_in as stand_in  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data_samples" / "cuts.mp4"
PATCHES = [4, 6, 8]
GRID = (4, 3, 4)
"""A video of cuts.mp4: patches, and what the language model gets of them."""


@pytest.fixture(scope="module")
def shown():
    """Seven pictures, which make three pairs and a half, and what is said of them."""
    return Loader.load_bytes(SAMPLE.read_bytes(), num_frames=7)


@pytest.fixture
def theirs(monkeypatch):
    """The module over a stand-in of vLLM."""
    stand_in.put(monkeypatch)
    monkeypatch.setenv(RETENTION, "replenish")
    yield importlib.import_module("codecmeta.models.vllm.qwen3_vl")
    sys.modules.pop("codecmeta.models.vllm.qwen3_vl", None)


def field(**values):
    return {name: SimpleNamespace(data=value) for name, value in values.items()}


@pytest.mark.parametrize("count", [1, 12, 13, 24, 47, 48])
def test_as_many_stay_as_are_asked_for_and_those_that_the_method_chooses(shown, count):
    record = shown[1]["video_backend"].record
    stay = retained(record, GRID, count)
    assert stay.shape == GRID and stay.sum() == count
    meta, rows = record
    rows = np.append(rows, rows[-1])
    view = (0.0, 0.0, float(meta.stream.width), float(meta.stream.height))
    for budget in np.linspace(0.01, 1, 400):  # whatever its rounding, a budget of as many tokens is the same choice
        plan = make("replenish", budget=float(budget)).plan(Layout(4, (3, 4), (3, 4), view, 2), meta, rows)
        if plan.tokens == count < 48:
            assert np.array_equal(plan.slots, stay.reshape(4, 12))
            break
    else:
        assert count == 48


def test_tokens_that_stay_hold_what_their_place_shows_until_it_is_sent_again():
    stay = np.zeros((4, 1, 2), bool)
    stay[[0, 3], 0, 0] = stay[1, 0, 1] = True
    tokens = torch.arange(8.0)[:, None]  # position t, cell c: 2 t + c
    got = reduced(tokens, stay)[:, 0].tolist()
    assert got == [(0 + (2 + 4) / 2) / 2, (3 + (5 + 7) / 2) / 2, 6]


def test_positions_are_those_of_the_whole_prompt():
    """transformers' on a whole prompt with an image and two videos, at the tokens that stay."""
    model = tiny.qwen3()
    rng = np.random.default_rng(0)
    ids, types, stay, frames, grids = [5, 6], [0, 0], [True, True], [], []

    def text(*tokens):
        ids.extend(tokens), types.extend([0] * len(tokens)), stay.extend([True] * len(tokens))

    def picture(cells, token, kind):
        frames.append((sum(stay), cells))
        ids.extend([token] * cells.size), types.extend([kind] * cells.size), stay.extend(cells.ravel().tolist())

    text(92)
    picture(np.ones((2, 3), bool), tiny.IMAGE, 1)
    text(93, 7)
    for shape in ((3, 2, 4), (2, 5, 1)):
        grids.append([shape[0], 2 * shape[1], 2 * shape[2]])
        text(92)
        share = rng.random(shape)
        share[1] = 1  # a position that loses all
        for cells in share < 0.4:
            text(8, 9, 92)
            picture(cells, tiny.VIDEO, 2)
            text(93)
        text(93, 10)
    want, beyond = model.model.get_rope_index(
        torch.tensor([ids]),
        mm_token_type_ids=torch.tensor([types]),
        image_grid_thw=torch.tensor([[1, 4, 6]]),
        video_grid_thw=torch.tensor(grids),
    )
    got, own = positions_of(sum(stay), frames)
    assert np.array_equal(got, want[:, 0, torch.tensor(stay)])
    assert own + sum(stay) == beyond.item() + len(ids)  # the next token's
    assert positions_of(0, []) == (pytest.approx(np.zeros((3, 0))), 0)


def test_the_prompt_and_the_model_get_what_the_codec_chose(theirs, shown):
    rate, times = 0.6, [0.1, 1.0, 2.0, 3.0]
    processor = theirs.Processor([PATCHES], rate)
    out = processor._apply_hf_processor_main(stand_in.Items([shown]), {})
    (flags,) = out[theirs.STAY]
    count = stand_in.compute_retained_tokens_count(12, 4, rate)
    assert np.array_equal(flags.bool(), retained(shown[1]["video_backend"].record, GRID, count))
    assert processor._get_mm_fields_config(out, {})[theirs.STAY] == ("video", True)

    item = field(**{theirs.STAY: flags, "timestamps": times, "video_grid_thw": torch.tensor(PATCHES)})
    image, video = processor._get_prompt_updates(None, {}, {"video": [item]})
    assert image.replacement is None and video.target == [stand_in.VIDEO]
    written = video.replacement(0)
    assert written.count(stand_in.VIDEO) == count and bytes(written[:13]) == b"<0.1 seconds>"

    model = theirs.Retaining(vllm_config=SimpleNamespace(rate=rate, method="evs"))
    features = torch.randn(48, stand_in.WIDTH * (1 + stand_in.AGAIN))
    (embedded,) = model.embed_multimodal(
        features=[features], video_grid_thw=torch.tensor([PATCHES]), timestamps=[times], **{theirs.STAY: flags[None]}
    )
    place = flags.bool().flatten()
    assert torch.equal(embedded[:, stand_in.WIDTH :], features[place, stand_in.WIDTH :])
    assert torch.equal(embedded[:, : stand_in.WIDTH], reduced(features[:, : stand_in.WIDTH], flags.bool().numpy()))

    prompt = [50, 51, stand_in.START, *written, stand_in.END, 52]
    spot = SimpleNamespace(offset=3, length=len(written))
    positions, beyond = model.get_mrope_input_positions(
        prompt, [SimpleNamespace(modality="video", data=item, mm_position=spot)]
    )
    visual = torch.tensor(prompt) == stand_in.VIDEO
    cells = torch.nonzero(flags)
    assert torch.equal(positions[1:, visual] - positions[:1, visual], cells[:, 1:].T)
    same, kept, again = model.recompute_mrope_positions(prompt, [embedded], positions, 7)
    assert same[0] is embedded and kept is positions and again == beyond


def test_two_videos_and_none(theirs, shown):
    processor = theirs.Processor([PATCHES, [2, 4, 4]], 0.5)
    other = Loader.load_bytes(SAMPLE.read_bytes(), num_frames=4)
    out = processor._apply_hf_processor_main(stand_in.Items([shown, other]), {})
    assert [one.sum().item() for one in out[theirs.STAY]] == [24, 4]
    assert theirs.Processor([], 0.5)._apply_hf_processor_main(stand_in.Items([]), {}) == {}


def test_dummy_videos_pass_and_those_of_other_loaders_do_not(theirs):
    dummies = theirs.DummyInputs()._get_dummy_videos(width=32, height=32, num_frames=8, num_videos=1)
    processor = theirs.Processor([PATCHES], 0.5)
    (flags,) = processor._apply_hf_processor_main(stand_in.Items(dummies), {})[theirs.STAY]
    assert flags.sum() == 24
    with pytest.raises(ValueError, match="not read by the loader codecmeta"):
        processor._apply_hf_processor_main(stand_in.Items([(None, {"video_backend": "opencv"})]), {})


@pytest.mark.parametrize(("rate", "method"), [(None, "evs"), (0.5, "vidcom2")])
def test_without_a_rate_or_with_another_method_the_model_is_refused(theirs, rate, method):
    with pytest.raises(ValueError, match="pass a video_pruning_rate, and no video_pruning_method"):
        theirs.Retaining(vllm_config=SimpleNamespace(rate=rate, method=method))


def test_one_file_knows_the_private_names_of_vllm():
    found = []
    for file in sorted((ROOT / "models").rglob("*.py")):
        if file.name == "qwen3_vl.py" and file.parent.name == "vllm":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            name = node.module if isinstance(node, ast.ImportFrom) else None
            if name and name.startswith("vllm.") and name != "vllm.multimodal.video":
                found.append(f"{file}: {name}")
    assert not found
