"""The architecture of the fine model: the built-in model's own layers, on pictures of twice the side.

    model = build_model(build_tokenizer())      # the built-in model's weights, where they fit

32 frames of 128x128 pixels; patches of 8x8 pixels as before, so that an object of half the share of the picture looks
to the vision tower as before; 8x8 tokens per frame, 2,048 per clip. Positions count a quarter each (linear RoPE
scaling): from frame to frame it is as far as in the built-in model, whose frames have a quarter of the tokens.
"""

from pathlib import Path

import torch
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from codecmeta.compression.engine.transformers_names import stretch_positions
from codecmeta.models.small import tokenizer as words
from codecmeta.models.small.model import PATCH, PATCH_GRID, PREPROCESSOR, build_config
from codecmeta.models.small.world.fine import MOMENTS, NUMBERS, SIDES, WORDINGS

FRAMES = 32
SIZE = 128
FINE_PATCH_GRID = SIZE // PATCH
GRID = FINE_PATCH_GRID // 2
FRAME_TOKENS = GRID * GRID
VISUAL_TOKENS = FRAMES * FRAME_TOKENS
COARSE = Path(__file__).parents[1] / "weights"
PREPROCESSING = {
    **PREPROCESSOR,
    "size": {"height": SIZE, "width": SIZE},
    "image_grid_pinpoints": [[SIZE, SIZE]],
    "num_frames": FRAMES,
}


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The built-in model's tokenizer with the words of the harder world, each of them one token."""
    return words.build_tokenizer(wordings=WORDINGS, answers=(*NUMBERS, *SIDES, *MOMENTS))


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionForConditionalGeneration:
    """The model in float32, with the built-in model's weights: position embeddings between the old ones, and rows of
    words that both know. Words that are new start as small random rows (seed torch first)."""
    config = build_config(tokenizer)
    config.vision_config.image_size = SIZE
    config.image_grid_pinpoints = [[SIZE, SIZE]]
    stretch_positions(config.text_config, 4.0)
    model = LlavaOnevisionForConditionalGeneration(config)
    model.generation_config.eos_token_id = config.text_config.eos_token_id
    model.generation_config.pad_token_id = config.text_config.pad_token_id
    old = LlavaOnevisionForConditionalGeneration.from_pretrained(COARSE, dtype=torch.float32)
    state = old.state_dict()
    places = next(name for name in state if name.endswith("position_embedding.weight"))
    state[places] = _between(state[places])
    was = PreTrainedTokenizerFast.from_pretrained(COARSE).get_vocab()
    rows = model.get_input_embeddings().weight.detach().clone()
    before = old.get_input_embeddings().weight.detach()
    for word, number in tokenizer.get_vocab().items():
        if word in was:
            rows[number] = before[was[word]]
    for name in [name for name, value in state.items() if value.shape == before.shape]:
        state[name] = rows
    model.load_state_dict(state)
    return model


def _between(embeddings: torch.Tensor) -> torch.Tensor:
    """Position embeddings of the coarser grid, float (64, size), at the places of the finer one, (256, size)."""
    grid = embeddings.T.reshape(1, -1, PATCH_GRID, PATCH_GRID)
    finer = torch.nn.functional.interpolate(grid, size=(FINE_PATCH_GRID, FINE_PATCH_GRID), mode="bicubic")
    return finer[0].flatten(1).T.contiguous()
