"""The built-in model: what is shipped, what training computes, and what the shipped model answers."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors import safe_open  # noqa: E402
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast  # noqa: E402

from codecmeta.models.small import data, forward  # noqa: E402
from codecmeta.models.small.model import FRAMES, PROMPT, SIZE, build_model  # noqa: E402
from codecmeta.models.small.questions import NUMBERS  # noqa: E402
from codecmeta.models.small.scenes import COLOURS, DIRECTIONS, SHAPES  # noqa: E402
from codecmeta.models.small.thinning import Thinning  # noqa: E402
from codecmeta.models.small.tokenizer import build_tokenizer  # noqa: E402

WEIGHTS = Path(data.__file__).parent / "weights"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


def thinning(**changes) -> Thinning:
    settings = {"keep": 0.5, "unit": "token", "merge": False, "blurred": 0.0, "contiguous": False}
    return Thinning(**(settings | changes), generator=torch.Generator().manual_seed(0))


def test_shipped_weights_are_small_safetensors():
    files = [path for path in WEIGHTS.iterdir() if path.is_file()]
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja"}  # nothing that can run code
    assert sum(path.stat().st_size for path in files) <= 16 * 2**20
    with safe_open(WEIGHTS / "model.safetensors", framework="np") as tensors:
        counts = [int(np.prod(tensors.get_slice(name).get_shape())) for name in tensors.keys()]
    assert 2_000_000 <= sum(counts) <= 7_000_000


def test_shipped_folder_is_a_standard_checkpoint(tokenizer):
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(WEIGHTS)
    assert model.config.vision_config.model_type == "siglip_vision_model"
    assert model.config.text_config.model_type == "qwen2"
    preprocessor = json.loads((WEIGHTS / "preprocessor_config.json").read_text())
    assert preprocessor["size"] == {"height": SIZE, "width": SIZE}
    assert preprocessor["num_frames"] == FRAMES
    shipped = PreTrainedTokenizerFast.from_pretrained(WEIGHTS)
    assert shipped.get_vocab() == tokenizer.get_vocab()
    video = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]}
    assert shipped.apply_chat_template([video], tokenize=False, add_generation_prompt=True) == PROMPT.format(
        question="What?"
    )


def test_words_are_one_token_and_any_text_survives(tokenizer):
    for word in (*COLOURS, *SHAPES, *DIRECTIONS, *NUMBERS):
        assert len(tokenizer.tokenize(word)) == len(tokenizer.tokenize(f" {word}")) == 1
    odd = "Où est le mégot?\n日本 <video>"
    assert tokenizer.decode(tokenizer(odd)["input_ids"]) == odd


def test_training_forward_equals_the_model_on_one_prompt(tokenizer):
    """Many questions per clip, one mask, restarted positions: the same logits as one prompt at a time."""
    torch.manual_seed(0)
    model = build_model(tokenizer).eval()
    prefix = torch.tensor(data.prefix_ids(tokenizer))
    batch = data.collate([data.make_sample(seed, 3, FRAMES, 0.0) for seed in range(2)], tokenizer)
    with torch.no_grad():
        states = forward.final_states(model, batch, prefix)
        for clip, block in [(0, 0), (0, 2), (1, 1)]:
            end = int(batch["answers"][clip, block])
            visual = torch.full((FRAMES * 16 + 1,), model.config.video_token_id)
            ids = torch.cat([prefix, visual, batch["text"][clip, block, :end]])[None]
            pixels = (batch["pixels"][clip].permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
            expected = model(input_ids=ids, pixel_values_videos=pixels[None]).logits[0, -1]
            given = model.lm_head(states[clip, block, end - 1])
            assert (given - expected).abs().max() < 1e-4 < expected.abs().max()


def test_labels_say_where_objects_are(tokenizer):
    """The owners of a naming word are visual tokens whose pixels have the object's colour."""
    for seed in range(12):
        sample = data.make_sample(seed, 8, FRAMES, 0.0)
        cells = sample.pixels.reshape(FRAMES, 4, 16, 4, 16, 3).swapaxes(2, 3).astype(int)
        names = list(COLOURS)
        for owners in sample.owners:
            shown = sample.tokens[1][owners]
            colour = names[int(np.bincount(shown[shown > 0]).argmax()) - 1]
            near = np.abs(cells - COLOURS[colour]).max(axis=-1) <= 60
            assert near[owners].any(axis=(1, 2)).mean() > 0.95


def test_dropping_keeps_tokens_and_merging_keeps_means():
    visual = torch.randn(2, 16 * 16, 8)
    dropped, kept = thinning(keep=0.5).reduce(visual)
    assert kept.shape == (2, 128) and (kept.diff(dim=1) > 0).all()
    assert torch.equal(dropped[1], visual[1][kept[1]])
    whole, frames = thinning(unit="frame").reduce(visual)[1] // 16, 16
    assert all(len(set(row.tolist())) <= frames // 2 + 1 for row in whole)

    merged, kept = thinning(merge=True).reduce(visual)
    for clip in range(2):
        for place in range(16):
            mine = (kept[clip] % 16 == place).nonzero().flatten()
            frames_kept = [*(kept[clip][mine] // 16).tolist(), 16]
            for row, (begin, end) in zip(mine.tolist(), zip(frames_kept, frames_kept[1:], strict=False), strict=True):
                expected = visual[clip].view(16, 16, 8)[begin:end, place].mean(0)
                assert torch.allclose(merged[clip, row], expected, atol=1e-6)


def test_shipped_model_answers_encoded_clips():
    from codecmeta.models.small.evaluate import evaluate

    asked = evaluate("small", range(1000, 1006))[False]
    assert len(asked) >= 40
    assert {item.question.type for item in asked} == {"colour", "shape", "direction", "count", "first", "after_cut"}
    assert np.mean([item.right for item in asked]) >= 0.9
