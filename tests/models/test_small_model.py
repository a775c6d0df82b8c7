"""The built-in model: what is shipped, what training computes, and what the shipped model answers."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from safetensors import safe_open  # noqa: E402
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast  # noqa: E402

from codecmeta.models.small.model import FRAMES, PROMPT, SIZE, build_model  # noqa: E402
from codecmeta.models.small.tokenizer import build_tokenizer  # noqa: E402
from codecmeta.models.small.training import data, forward  # noqa: E402
from codecmeta.models.small.training.thinning import Thinning  # noqa: E402
from codecmeta.models.small.world.questions import NUMBERS  # noqa: E402
from codecmeta.models.small.world.scenes import COLOURS, DIRECTIONS, SHAPES  # noqa: E402

WEIGHTS = Path(data.__file__).parents[1] / "weights"


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


def test_preferred_tokens_stay():
    """With nothing left to chance, tokens that show objects outlive the others; blind thinning takes no sides."""
    pixels = torch.zeros(3, FRAMES, SIZE, SIZE, 3, dtype=torch.uint8)
    patches = torch.zeros(2, 3, FRAMES, 8, 8, dtype=torch.long)
    patches[:, ..., :4] = 1  # objects on the left
    for strength, least, most in [(100.0, 1.0, 1.0), (0.0, 0.35, 0.65)]:
        choosy = thinning(keep=0.4, prefers="objects", strength=strength)
        preference = choosy.preference({"pixels": pixels, "patches": patches})
        kept = choosy.reduce(torch.zeros(3, 256, 1), preference)[1]
        assert least <= (kept % 4 < 2).float().mean() <= most


def test_change_is_where_pixels_differ(tokenizer):
    pixels = torch.zeros(1, FRAMES, SIZE, SIZE, 3, dtype=torch.uint8)
    pixels[0, 5:, 8:16, 24:32] = 200  # one patch, from frame 5 on
    ranks = thinning(prefers="change").preference({"pixels": pixels})[0, 1:]
    assert ranks[4, 1, 3] == ranks.max()
    pixels[0, :, 40:48, ::2] = 100
    assert thinning(prefers="detail").preference({"pixels": pixels})[0, :, 5].min() > 0.87


def test_regions_weigh_as_one_token():
    """A mask of -log(patches) on the scores makes copies of one token count once."""
    patches = torch.randn(2, 64, 8)
    preference = torch.linspace(0, 1, 128).view(1, 2, 8, 8)
    merged, weigh = thinning(regions=0.25, strength=1e9).blur(patches, preference)
    assert torch.allclose(merged[:, :16], patches[:, :16].mean(1, keepdim=True).expand(-1, 16, -1), atol=1e-6)
    assert torch.equal(merged[:, 16:], patches[:, 16:])
    query = torch.randn(2, 1, 1, 8)
    attend = torch.nn.functional.scaled_dot_product_attention
    copies = attend(query, merged[:, None], merged[:, None], attn_mask=weigh)
    single = merged[:, None, 15:]
    assert torch.allclose(copies, attend(query, single, single), atol=1e-6)


def test_folding_pooling_and_pairing_are_means():
    visual = torch.randn(2, 16 * 16, 8)
    folded, kept = thinning(keep=0.5, fold=True).reduce(visual)
    for clip in range(2):
        units = torch.nn.functional.normalize(visual[clip], dim=-1)
        for frame in range(16):
            inside = [int(k) for k in kept[clip] if k // 16 == frame]
            loose = [k for k in range(frame * 16, frame * 16 + 16) if k not in inside]
            best = {k: max(inside, key=lambda one, k=k: float(units[k] @ units[one])) for k in loose}
            for token in inside:
                mine = [visual[clip, k] for k in loose if best[k] == token]
                want = (visual[clip, token] + torch.stack(mine).mean(0)) / 2 if mine else visual[clip, token]
                at = int((kept[clip] == token).nonzero())
                assert torch.allclose(folded[clip, at], want, atol=1e-6)

    pooled, kept = thinning(keep=1.0, pooled=0.5).reduce(visual)
    assert kept.shape == (2, 8 * 16 + 8 * 4)
    frames = torch.bincount(kept[0] // 16, minlength=16)
    coarse = int((frames == 4).nonzero()[0])
    assert (kept[0][kept[0] // 16 == coarse] % 16).tolist() == [0, 2, 8, 10]
    cell = visual[0].view(16, 4, 4, 8)[coarse, 2:, 2:].mean((0, 1))
    assert torch.allclose(pooled[0, (kept[0] == coarse * 16 + 10).nonzero()[0, 0]], cell, atol=1e-6)

    twins = visual.view(2, 16, 16, 8).clone()
    twins[:, 1::2] = twins[:, ::2]  # every odd frame repeats the one before
    paired, kept = thinning(keep=1.0, pairs=1.0).reduce(twins.flatten(1, 2))
    assert (kept // 16 % 2 == 0).all() and kept.shape == (2, 128)
    assert torch.allclose(paired, twins[:, ::2].reshape(2, 128, 8), atol=1e-6)


def test_tokens_that_left_are_not_seen_again(tokenizer):
    """Hidden from a decoder layer on equals never having been there, where that layer is the first."""
    torch.manual_seed(0)
    model = build_model(tokenizer).eval()
    prefix = torch.tensor(data.prefix_ids(tokenizer))
    batch = data.collate([data.make_sample(seed, 2, FRAMES, 0.0) for seed in range(2)], tokenizer)
    visual = torch.randn(2, 256, 160)
    places = torch.arange(256).expand(2, -1)
    gone = torch.zeros(2, 256, dtype=torch.bool)
    gone[:, 100:] = True
    with torch.no_grad():
        masked = forward.language_model(model, visual, places, False, batch, prefix, {0: gone})[0]
        short = forward.language_model(model, visual[:, :100], places[:, :100], False, batch, prefix, {})[0]
        late = forward.language_model(model, visual, places, False, batch, prefix, {2: gone})[0]
    assert torch.allclose(masked, short, atol=1e-5)
    assert not torch.allclose(late, short, atol=1e-3)
    leaving = thinning(stay=(1.0, 0.5, 0.0)).leaving(places, None)
    assert sorted(leaving) == [3, 4] and leaving[4].all() and (leaving[3].sum(1) == 128).all()


def test_shipped_model_answers_encoded_clips():
    from codecmeta.models.small.evaluate import evaluate

    asked = evaluate("small", range(1000, 1006))[False]
    assert len(asked) >= 40
    assert {item.question.type for item in asked} == {"colour", "shape", "direction", "count", "first", "after_cut"}
    assert np.mean([item.right for item in asked]) >= 0.9
