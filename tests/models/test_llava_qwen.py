"""Published checkpoints of LLaVA-Video, LLaVA-OneVision and LongVA: tokens in their order, prompts, what is refused."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from transformers import CLIPVisionModel, SiglipVisionModel

from codecmeta import models
from codecmeta.cli import main
from codecmeta.compression import adapter_for
from codecmeta.models.llava_qwen import Options, config_of, is_published
from codecmeta.record.metadata import Stream
from tests.support import published

CLIP = Path(__file__).resolve().parents[2] / "data_samples" / "cuts.mp4"
FRAMES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One checkpoint of each kind, and its weights by their published names."""
    with published.small_towers():
        yield {
            kind: (where := tmp_path_factory.mktemp("checkpoint"), published.write(where, kind))
            for kind in published.KINDS
        }


def slowly_pooled(grid, mode, stride=2):
    """[rows][columns] of vectors -> pooled ones, by the definitions: means, maxima, or samples between pixels."""
    side = len(grid)
    if mode != "bilinear":
        combine = (lambda ones: sum(ones) / len(ones)) if mode == "average" else lambda ones: torch.stack(ones).amax(0)
        starts = range(0, side - stride + 1, stride)
        return [
            [combine([grid[y + i][x + j] for i in range(stride) for j in range(stride)]) for x in starts]
            for y in starts
        ]
    count = math.ceil(side / stride)

    def between(place):
        at = max(0.0, (place + 0.5) * side / count - 0.5)
        low = int(at)
        return low, min(low + 1, side - 1), at - low

    out = []
    for y in range(count):
        top, bottom, down = between(y)
        row = []
        for x in range(count):
            left, right, across = between(x)
            above = (1 - across) * grid[top][left] + across * grid[top][right]
            below = (1 - across) * grid[bottom][left] + across * grid[bottom][right]
            row.append((1 - down) * above + down * below)
        out.append(row)
    return out


@torch.no_grad()
def slow_tokens(weights, pixels, clip, pooling, newline):
    """The video's tokens by the description of the published code, token after token, with no code of the package."""
    tower = published.TOWERS["clip-tiny" if clip else "siglip-tiny"]
    sizes = {**tower.sizes, "num_hidden_layers": 3 if clip else 2}
    encoder = (CLIPVisionModel if clip else SiglipVisionModel)(tower.config(**sizes)).eval()
    inner = getattr(encoder, "vision_model", encoder)
    prefix = "model.vision_tower.vision_tower.vision_model."
    inner.load_state_dict({key[len(prefix) :]: one for key, one in weights.items() if key.startswith(prefix)})
    states = encoder(pixels, output_hidden_states=True).hidden_states
    hidden = states[-2][:, 1:] if clip else states[-1]  # SigLIP's file lacks the last layer already
    hidden = hidden @ weights["model.mm_projector.0.weight"].T + weights["model.mm_projector.0.bias"]
    hidden = torch.nn.functional.gelu(hidden)
    hidden = hidden @ weights["model.mm_projector.2.weight"].T + weights["model.mm_projector.2.bias"]
    tokens, side = [], math.isqrt(hidden.shape[1])
    for frame in hidden:
        grid = slowly_pooled([[frame[y * side + x] for x in range(side)] for y in range(side)], pooling)
        for row in grid:
            tokens += row
            tokens += [weights["model.image_newline"]] if newline == "grid" else []
        tokens += [weights["model.image_newline"]] if newline == "frame" else []
    tokens += [weights["model.image_newline"]] if newline == "one_token" else []
    return torch.stack(tokens)


CASES = [
    ("LLaVA-Video", mode, where)
    for mode in ("bilinear", "average", "max")
    for where in ("grid", "frame", "one_token", "no_token")
]
CASES += [("LongVA", mode, "no_token") for mode in ("average", "bilinear")] + [("LLaVA-OneVision", None, None)]


@pytest.mark.parametrize(("kind", "pooling", "newline"), CASES)
def test_tokens_are_in_the_published_order(folder, kind, pooling, newline):
    where, weights = folder[kind]
    with published.small_towers():
        loaded = models.load(str(where), options={"pooling": pooling, "newline": newline})
    side = loaded.model.config.vision_config.image_size
    pixels = torch.randn(FRAMES, 3, side, side, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        got = loaded.model.get_video_features(pixels[None]).pooler_output[0]
    want = slow_tokens(weights, pixels, kind == "LongVA", pooling or "bilinear", newline or "one_token")
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    layout = loaded.adapter.layout(FRAMES, None)
    assert len(got) == layout.tokens_full + layout.separators == loaded.adapter.inputs(pixels)[1]
    own = layout.places()[1]
    assert all(torch.equal(got[place], weights["model.image_newline"]) for place in own)


def test_weights_of_the_language_model_are_those_of_the_file(folder):
    where, weights = folder["LongVA"]
    with published.small_towers():
        model = models.load(str(where)).model
    named = {
        "lm_head.weight": model.lm_head,
        "model.embed_tokens.weight": model.model.language_model.embed_tokens,
        "model.norm.weight": model.model.language_model.norm,
        "model.layers.3.mlp.up_proj.weight": model.model.language_model.layers[3].mlp.up_proj,
    }
    assert all(torch.equal(weights[name], part.weight) for name, part in named.items())
    assert model.model.language_model.config.rope_parameters["rope_theta"] == 1e9


def test_the_published_prompt_and_its_times(folder):
    """LLaVA-NeXT: conversation `qwen_1_5`, and in front of a question the sentences of llava/train/train.py."""
    with published.small_towers():
        loaded = models.load(str(folder["LLaVA-Video"][0]))
        silent = models.load(str(folder["LLaVA-Video"][0]), options={"time_instruction": "false"})
    ids = loaded.inputs(np.zeros((2, 43, 43, 3), np.uint8), "What is it?", [0.0, 1.5], duration=12.0)["input_ids"][0]
    video = (ids == published.VIDEO).nonzero()[:, 0]
    assert len(video) == 2 * 3 * 4 and int(video[-1] - video[0]) == 23
    said = [loaded.tokenizer.decode(part) for part in (ids[: video[0]], ids[video[-1] + 1 :])]
    assert said[0] == "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    end = "\nWhat is it?<|im_end|>\n<|im_start|>assistant\n"
    assert said[1] == (
        "\nThe video lasts for 12.00 seconds, and 2 frames are uniformly sampled from it. These frames are located at "
        "0.00s,1.50s.Please answer the following questions related to this video." + end
    )
    with pytest.raises(ValueError, match="say when each picture is shown"):
        loaded.inputs(np.zeros((2, 43, 43, 3), np.uint8), "What is it?")
    ids = silent.inputs(np.zeros((2, 43, 43, 3), np.uint8), "What is it?")["input_ids"][0]
    assert loaded.tokenizer.decode(ids[int((ids == published.VIDEO).nonzero()[-1]) + 1 :]) == end


def test_longva_sees_the_middle_square(folder):
    """Of 1280x720 pixels at a shorter edge of 40: 71x40, of which columns 15 to 54 are cut out."""
    with published.small_towers():
        loaded = models.load(str(folder["LongVA"][0]))
    stream = Stream("h264", "High", "yuv420p", 1280, 720, 0, (1, 25), (25, 1), 1.0, 0)
    x0, y0, x1, y1 = loaded.adapter.layout(1, stream).view
    assert (y0, y1) == (0, 720) and (x0, x1) == pytest.approx((15 * 1280 / 71, 55 * 1280 / 71))
    picture = np.zeros((720, 1280, 3), np.uint8)
    picture[:, math.ceil(x0) + 20 : math.floor(x1) - 20] = 255
    seen = loaded.preprocessing.resize(picture)
    assert seen.shape == (40, 40, 3) and (seen[:, 2:-2] > 250).all() and (seen[:, [0, -1]] < 10).all()


def test_average_pooling_leaves_the_last_patches_out(folder):
    """Of 43 pixels, 40 are covered by patches, and 32 by patches that are pooled."""
    with published.small_towers():
        loaded = models.load(str(folder["LLaVA-Video"][0]), options={"pooling": "average"})
    stream = Stream("h264", "High", "yuv420p", 86, 43, 0, (1, 25), (25, 1), 1.0, 0)
    layout = loaded.adapter.layout(1, stream)
    assert layout.view == pytest.approx((0, 0, 80, 40)) and layout.view_of(layout.tokens) == pytest.approx(
        (0, 0, 64, 32)
    )
    assert layout.view_of(layout.patches) == layout.view
    pictures = torch.zeros(1, 3, 43, 43)
    assert loaded.adapter.pictures_of_call((pictures,), {}).shape[-2:] == (32, 32)


def test_the_commands_take_such_a_folder(folder):
    where = str(folder["LLaVA-Video"][0])
    with published.small_towers():
        asked = ["run", str(CLIP), "what", "--model", where, "--frames", "4", "--max-new-tokens", "2", "--json"]
        done = CliRunner().invoke(
            main, [*asked, "--method", "uniform", "--budget", "0.5", "--model-set", "pooling=average"]
        )
        quoted = CliRunner().invoke(main, ["quote", str(CLIP), "--model", where, "--frames", "4", "--json"])
        wrong = CliRunner().invoke(main, [*asked, "--model-set", "pooling=median"])
    answer = json.loads(done.stdout)
    assert (answer["tokens_full"], answer["newlines_full"]) == (4 * 2 * 2, 4 * 2)
    assert answer["newlines_kept"] <= 8 and "pooling=average" in answer["model"]
    found = json.loads(quoted.stdout)
    assert (found["tokens_full"], found["newlines_full"]) == (4 * 3 * 3, 4 * 3)
    assert wrong.exit_code == 1 and "pooling must be one of bilinear, average, max" in wrong.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mm_vision_tower": "eva-clip"}, "vision tower eva-clip is not supported"),
        ({"add_faster_video": True}, "add_faster_video=True is not supported"),
        ({"mm_projector_type": "linear"}, "mm_projector_type='linear' is not supported"),
        ({"mm_resampler_type": "spatial_pool"}, "mm_resampler_type='spatial_pool'"),
        ({"mm_newline_position": "column"}, "newline 'column'"),
        ({"mm_spatial_pool_mode": "median"}, "mm_spatial_pool_mode='median'"),
    ],
)
def test_what_is_not_implemented_is_refused(change, words):
    with published.small_towers(), pytest.raises(ValueError, match=words):
        config_of(published.raw("LLaVA-Video", **change))


def test_newlines_are_refused_where_the_checkpoint_has_none():
    with published.small_towers(), pytest.raises(ValueError, match="only no_token"):
        config_of(published.raw("LongVA"), Options(newline="grid"))


def test_missing_weights_and_a_full_vocabulary_are_refused(folder, tmp_path):
    with published.small_towers():
        published.write(tmp_path, "LLaVA-Video", vocabulary=259)
        with pytest.raises(ValueError, match="leaves no rows"):
            models.load(str(tmp_path))
        index = tmp_path / "model.safetensors.index.json"
        where = json.loads(index.read_text())
        where["weight_map"] = {key: file for key, file in where["weight_map"].items() if "00001" in file}
        index.write_text(json.dumps(where))
        with pytest.raises(ValueError, match="weights are missing"):
            models.load(str(tmp_path))
    with pytest.raises(ValueError, match="options pooling are for checkpoints in the published layout"):
        models.load(options={"pooling": "average"})
    assert not is_published({"architectures": ["LlavaOnevisionForConditionalGeneration"]})
    assert type(adapter_for(published.unwritten("LongVA"))).__name__ == "LlavaQwen"
