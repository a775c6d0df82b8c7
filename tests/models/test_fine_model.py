"""The fine model: what is shipped, what training computes, and what it answers about harder clips."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors import safe_open  # noqa: E402
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast  # noqa: E402

import codecmeta  # noqa: E402
from benchmarks import fine_clips  # noqa: E402
from codecmeta.models.small.fine import model as fine  # noqa: E402
from codecmeta.models.small.tokenizer import build_tokenizer as coarse_tokenizer  # noqa: E402
from codecmeta.models.small.training import data  # noqa: E402
from codecmeta.models.small.training import fine as training  # noqa: E402
from codecmeta.models.small.world.fine import MOMENTS, NUMBERS, SIDES  # noqa: E402
from codecmeta.models.small.world.scenes import COLOURS, SHAPES  # noqa: E402

WEIGHTS = Path(fine.__file__).parent / "weights"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return fine.build_tokenizer()


def test_shipped_folder_is_a_standard_checkpoint_of_this_architecture(tokenizer):
    files = [path for path in WEIGHTS.iterdir() if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja"}  # nothing that can run code
    assert sum(path.stat().st_size for path in files) <= 16 * 2**20
    with safe_open(WEIGHTS / "model.safetensors", framework="np") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys()]
    assert [fine.FINE_PATCH_GRID**2, 96] in [list(shape) for shape in shapes]  # a place for every patch
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(WEIGHTS)
    assert model.config.text_config.rope_parameters["factor"] == 4.0
    assert json.loads((WEIGHTS / "preprocessor_config.json").read_text()) == fine.PREPROCESSING
    assert PreTrainedTokenizerFast.from_pretrained(WEIGHTS).get_vocab() == tokenizer.get_vocab()


def test_words_of_the_harder_world_are_one_token(tokenizer):
    for word in (*COLOURS, *SHAPES, *NUMBERS, *SIDES, *MOMENTS):
        assert len(tokenizer.tokenize(word)) == 1


def test_it_begins_as_the_built_in_model_on_finer_pictures(tokenizer):
    """Rows of words that both know are the same; position embeddings of 2x2 fine places average to the coarse one."""
    torch.manual_seed(0)
    made = fine.build_model(tokenizer)
    old = LlavaOnevisionForConditionalGeneration.from_pretrained(fine.COARSE, dtype=torch.float32)
    was, now = coarse_tokenizer().get_vocab(), tokenizer.get_vocab()
    both = [word for word in was if word in now]
    assert len(both) > 400 and {*COLOURS, *SHAPES} <= set(both)
    rows = [one.get_input_embeddings().weight for one in (old, made)]
    assert torch.equal(rows[0][[was[word] for word in both]], rows[1][[now[word] for word in both]])
    assert made.lm_head.weight is made.get_input_embeddings().weight
    coarse, finer = (one.model.vision_tower.embeddings.position_embedding.weight for one in (old, made))
    mean = finer.view(8, 2, 8, 2, -1).mean(dim=(1, 3)).view(64, -1)
    error = (mean - coarse).square().mean().sqrt()
    assert error < 0.35 * coarse.std(dim=0).mean()  # bicubic: smooth, and not quite the mean
    steps = [one.view(side, side, -1).diff(dim=0).square().mean().sqrt() for one, side in ((coarse, 8), (finer, 16))]
    assert 0.4 < steps[1] / steps[0] < 0.6  # half as far from place to place


def test_training_forward_equals_the_model_on_one_prompt(tokenizer):
    """Many questions per clip, one mask, restarted positions: the same answers as one prompt at a time."""
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(WEIGHTS, dtype=torch.float32).eval()
    read_outs = training.ReadOuts(160)
    prefix = torch.tensor(data.prefix_ids(tokenizer))
    batch = training.collate([training.make_sample(5, 4, fine.FRAMES, split="eval", encoded=0.0)], tokenizer)
    pixels = (batch["pixels"][0].permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        found, right = training.losses(model, read_outs, batch, prefix, 1.0, torch.Generator())
        chances = []
        for block in range(4):
            end = int(batch["answers"][0, block])
            visual = torch.full((fine.VISUAL_TOKENS + 1,), model.config.video_token_id)
            ids = torch.cat([prefix, visual, batch["text"][0, block, :end]])[None]
            scores = model(input_ids=ids, pixel_values_videos=pixels[None]).logits[0, -1]
            wanted = int(batch["text"][0, block, end])
            assert bool(right[0, block]) == (int(scores.argmax()) == wanted)
            chances.append(float(scores.log_softmax(-1)[wanted]))
    ends = found["answer"] + np.mean(chances)  # what is left is a tenth of the loss of the token that ends an answer
    assert -1e-4 < ends < 0.05


def test_labels_say_what_tokens_show():
    """By pixels: a token that is said to show a red object has red in it, one that is said to show nothing has none."""
    names = list(COLOURS)
    for seed in range(6):
        sample = training.make_sample(seed, 2, fine.FRAMES, encoded=0.0)
        cells = sample["pixels"].reshape(fine.FRAMES, 8, 16, 8, 16, 3).swapaxes(2, 3).astype(int)
        for number, colour in enumerate(names, 1):
            near = (np.abs(cells - COLOURS[colour]).max(axis=-1) <= 45).mean(axis=(3, 4))
            said = sample["labels"][1] == number
            assert not said.any() or near[said].min() > 0.04
            assert near[sample["labels"][1] == 0].max() < 0.08
        assert (sample["owners"].any(0) == (sample["objects"] > 0)).all()


def test_shipped_model_answers_encoded_clips_that_the_built_in_one_cannot(tmp_path):
    asked = {"fine": [], "small": []}
    for number in (0, 6, 12, 23, 29):
        clip = fine_clips.make_clip(3, number)
        path = clip.write(tmp_path)
        for name, right in asked.items():
            model = codecmeta.models.load(name)
            known = [one for one in fine_clips.questions(clip) if one.type in ("colour", "shape", "direction", "first")]
            right += [model.ask(path, one.text, choose="uniform").text == one.answer for one in known]
    assert len(asked["fine"]) > 10
    assert np.mean(asked["fine"]) >= 0.8 > np.mean(asked["small"])
