"""How transformers spells and wires what strategies touch: the one file that knows.

Every name is chosen by looking at the object in hand, its signature or its attributes, and never by a version. What is
not found is a `ContractError`: "not there" and "called otherwise" look alike, and are not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from inspect import Parameter, signature
from types import MethodType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache

from codecmeta.compression.engine.contract import ContractError

IDS, MASK = "input_ids", "attention_mask"
"""Keys of what a tokenizer returns, and generate() takes."""
TOKEN_TYPES = "mm_token_type_ids"
PIXELS, GRID, PICTURES = "pixel_values_videos", "video_grid_thw", "pixel_values"
"""Keys of a video in what generate() takes; the last where a model takes its pictures for images."""
MERGE = "video_merge_sizes"
"""Key of how many patches along a side of a token, where a model wants to be told."""
PLACES, LENGTHS = "video_position_ids", "num_frames_per_video"
"""Keys of where each patch of a video stands, and of how many pictures each has, where a model wants to be told."""
VIDEO_TYPE = 2
"""Type of a token that stands for video (0 is text, 1 an image)."""

SPELLINGS: dict[str, tuple[str, ...]] = {
    "ids": (IDS,),
    "embeddings": ("inputs_embeds",),
    "positions": ("position_ids",),
    "mask": (MASK,),
    "cache": ("cache", "past_key_values"),
    "caching": ("use_cache",),
    "last_scores": ("logits_to_keep",),
    "hidden": ("hidden_states",),
    "rotary": ("position_embeddings",),
    "pictures": ("pixel_values",),
    "grid": ("grid_thw",),
    "merge": ("merge_sizes",),
    "compression": ("video_compression_mask",),
    "patch_mask": ("patch_attention_mask",),
    "patch_places": ("pixel_position_ids",),
    "video_lengths": (LENGTHS,),
    "segment_ends": ("cu_seqlens",),
    "longest_segment": ("max_seqlen",),
    "token_types": (TOKEN_TYPES,),
    "visual_mask": ("visual_pos_masks",),
    "deepstack": ("deepstack_visual_embeds",),
    "per_layer": ("per_layer_inputs",),
    "grid_seconds": ("second_per_grid_ts",),
}
"""What an argument is -> how it is spelled, newest first."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "attention": ("self_attn", "attn", "attention"),
    "query projection": ("q_proj",),
    "key projection": ("k_proj",),
    "joint projection": ("qkv",),
    "output projection": ("o_proj",),
    "query norm": ("q_norm",),
    "key norm": ("k_norm",),
    "heads": ("num_heads",),
    "head width": ("head_dim",),
    "scale": ("scaling", "scale"),
    "number": ("layer_idx",),
    "rotary embedding": ("rotary_emb",),
    "position table": ("position_embeddings", "position_embedding_table"),
}
"""What a part of an attention module, a layer, a decoder or an encoder's embeddings is -> how it is spelled."""

ATTENTION = ("sdpa", "eager", "flash_attention_2")


class Call:
    """One call of a module, its arguments by what they are (a key of `SPELLINGS`), however spelled and passed."""

    def __init__(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.args, self.kwargs = args, dict(kwargs)
        self._module = module

    def get(self, what: str) -> Any:
        """The argument, None where it was not passed."""
        for name in SPELLINGS[what]:
            if name in self.kwargs:
                return self.kwargs[name]
        place = self._place(what)
        return self.args[place] if place is not None else None

    def __getitem__(self, what: str) -> Any:
        value = self.get(what)
        if value is None:
            raise ContractError(
                f"{described(what)} in every call of {type(self._module).__name__}",
                f"this one passed {len(self.args)} in order and {', '.join(sorted(self.kwargs)) or 'none'} by name",
            )
        return value

    def put(self, **values: Any) -> Call:
        """Pass these instead, in the way they were passed; returns the call."""
        for what, value in values.items():
            passed = [name for name in SPELLINGS[what] if name in self.kwargs]
            place = self._place(what)
            if passed or place is None:
                self.kwargs[passed[0] if passed else spelling(self._module, what)] = value
            else:
                self.args = (*self.args[:place], value, *self.args[place + 1 :])
        return self

    def named(self) -> dict[str, Any]:
        """All arguments by the module's own names, also those that were passed in order."""
        return dict(zip(parameters(self._module), self.args, strict=False)) | self.kwargs

    @property
    def changed(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a forward pre-hook returns."""
        return self.args, self.kwargs

    def _place(self, what: str) -> int | None:
        """Where it stands among the arguments passed in order."""
        if not self.args:
            return None
        names = parameters(self._module)[: len(self.args)]
        return next((names.index(name) for name in SPELLINGS[what] if name in names), None)


def parameters(module: nn.Module) -> tuple[str, ...]:
    """Names of what a module's forward takes, in order."""
    own = vars(module).get("forward")
    cls: Any = type(module)
    return _named(own) if own is not None else _parameters_of_class(cls)


@lru_cache(maxsize=256)
def _parameters_of_class(cls: Any) -> tuple[str, ...]:
    return _named(cls.forward)[1:]


def _named(function: Any) -> tuple[str, ...]:
    collecting = (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    return tuple(name for name, one in signature(function).parameters.items() if one.kind not in collecting)


def takes(module: nn.Module, what: str) -> bool:
    """Whether a module's forward has an argument for it."""
    return any(name in parameters(module) for name in SPELLINGS[what])


def spelling(module: nn.Module, what: str) -> str:
    """How a module's forward spells an argument. Raises ContractError where it has none."""
    names = parameters(module)
    for name in SPELLINGS[what]:
        if name in names:
            return name
    raise ContractError(
        f"{described(what)} among the arguments of {type(module).__name__}", f"it takes {', '.join(names)}"
    )


def described(what: str) -> str:
    """An argument in words."""
    return " or ".join(repr(name) for name in SPELLINGS[what])


def require(module: nn.Module, *whats: str) -> None:
    """Raise ContractError unless a module's forward has an argument for each."""
    for what in whats:
        spelling(module, what)


def part(owner: Any, what: str) -> Any:
    """A part of an attention module, a layer or a decoder (a key of `ATTRIBUTES`). Raises ContractError."""
    for name in ATTRIBUTES[what]:
        if hasattr(owner, name):
            return getattr(owner, name)
    raise ContractError(
        f"the {what} of {type(owner).__name__} as {' or '.join(ATTRIBUTES[what])}", "it has nothing of that name"
    )


def has(owner: Any, what: str) -> bool:
    """Whether it has this part; for parts that not every model has."""
    return any(hasattr(owner, name) for name in ATTRIBUTES[what])


def projected(attention: nn.Module, which: str, states: Tensor) -> Tensor:
    """Queries or keys of a decoder's attention, projected and normed, not yet rotated: (1, tokens, width of the hidden
    states) -> (1, heads, tokens, width of a head)."""
    width = part(attention, "head width")
    made: Tensor = part(attention, f"{which} projection")(states)
    made = made.unflatten(-1, (-1, width))
    if which == "query" and made.shape[-2] * width > part(attention, "output projection").in_features:
        made = made[..., ::2, :]  # behind the query of each head stands its gate
    if has(attention, f"{which} norm"):
        made = part(attention, f"{which} norm")(made)
    return made.transpose(1, 2)


def rotation(attention: nn.Module) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """How a decoder turns queries or keys (1, heads, tokens, width) by cosines and sines, by its own function, where it
    pairs neighbours (GLM); None where it pairs halves, as others do."""
    home: Any = sys.modules[type(attention).__module__]
    if not hasattr(home, "rotate_half_llm"):
        return None
    return lambda states, cos, sin: home.apply_rotary_pos_emb(states, states, cos, sin)[0]


def call(module: nn.Module, **values: Any) -> Any:
    """Call a module's forward, past all hooks, with arguments by what they are."""
    return module.forward(**{spelling(module, what): value for what, value in values.items()})


def ask(model: nn.Module, inputs: Mapping[str, Any] | None = None, **values: Any) -> Any:
    """Call a model with what a tokenizer and a preprocessor made, and arguments by what they are. What it does not name
    among its own arguments it hands on to its language model. Scores of all tokens come back where a model knows no
    other way."""
    if not takes(model, "last_scores"):
        values.pop("last_scores", None)
    named = {spelling(model if takes(model, what) else decoder(model), what): one for what, one in values.items()}
    return model(**(inputs or {}), **named)


def generated(model: nn.Module, inputs: Mapping[str, Any], longest: int) -> tuple[Tensor, Tensor]:
    """What the model's own generate() makes of a prompt with the likeliest tokens: ids of prompt and answer, (1,
    tokens), and the scores of the answer's first token as the model gave them, (1, vocabulary)."""
    made: Any = model
    output = made.generate(
        **inputs, max_new_tokens=longest, do_sample=False, return_dict_in_generate=True, output_logits=True
    )
    return output.sequences, output.logits[0]


def decoder(model: nn.Module) -> nn.Module:
    """The language model inside."""
    found: Any = model
    inner: nn.Module = found.get_decoder()
    return inner


def head_width(config: Any) -> int:
    """Numbers per head that a text configuration asks for."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def implementation(module: nn.Module) -> str:
    """Which kernel computes attention in a module with a configuration."""
    config: Any = module.config
    return str(config._attn_implementation)


def stretch_positions(config: Any, factor: float) -> None:
    """Let positions of a text configuration count a `factor`-th each (linear RoPE scaling): before a model is made."""
    config.rope_parameters = {**config.rope_parameters, "rope_type": "linear", "factor": factor}


def check_attention(*modules: nn.Module) -> None:
    """Raise ValueError where attention is computed in a way that hooks cannot reach into."""
    for module in modules:
        check_implementations(implementation(module))


def check_implementations(asked: str | Mapping[str, str]) -> None:
    """As `check_attention`, before a model is loaded. asked: one implementation, or one per part of the model."""
    for one in [asked] if isinstance(asked, str) else asked.values():
        if one not in ATTENTION:
            raise ValueError(
                f"attention implementation {one!r} is not supported; "
                f"load the model with attn_implementation='sdpa' (or one of {', '.join(ATTENTION)})"
            )


def combined(angles: Tensor, attention: Any) -> Tensor:
    """Cosines or sines as (1, tokens, width): older Qwen-VL layers get one set each for time, row and column."""
    if angles.dim() == 3:
        return angles
    sections = attention.config.rope_parameters["mrope_section"] * 2
    return torch.cat([one[i % 3] for i, one in enumerate(angles.split(sections, dim=-1))], dim=-1)


def rotated(positions: Tensor) -> Tensor:
    """Position ids as tokens are rotated by: where there are four rows, the first one only counts the tokens."""
    return positions[1:] if positions.dim() == 3 and len(positions) == 4 else positions


def shortened_mask(mask: Tensor, index: Tensor) -> Tensor:
    """Rows and columns of some tokens: of (sequences, tokens), as under flash attention, or (..., queries, keys)."""
    return (mask if mask.dim() == 2 else mask[..., index, :])[..., index]


def masks(model: nn.Module, **values: Any) -> Any:
    """What a model makes of a two-dimensional mask for its decoder: masks for each kind of its layers, where it has
    several. values: embeddings, mask, cache, positions and token types, by what they are."""
    maker: Any = model.create_masks_for_generate
    taken = signature(maker).parameters
    named = {next(name for name in SPELLINGS[what] if name in taken): value for what, value in values.items()}
    return maker(config=model.config, **named)


def token_types(model: nn.Module, ids: Tensor, video_token: int) -> dict[str, Tensor]:
    """What tells a model which tokens stand for video, if it wants to know."""
    if not takes(model, "token_types"):
        return {}
    return {spelling(model, "token_types"): (ids == video_token).long() * VIDEO_TYPE}


def grid_seconds(model: nn.Module, seconds: float | None) -> dict[str, Tensor]:
    """How far apart two temporal positions of the video are, if that is known and the model wants to know. Qwen2.5-VL
    takes them to be a second apart otherwise."""
    if seconds is None or not takes(model, "grid_seconds"):
        return {}
    return {spelling(model, "grid_seconds"): torch.tensor([seconds])}


def cache_of(output: Any) -> Any:
    """The cache in what a language model, or the model around it, returns; None where there is none in it."""
    for name in SPELLINGS["cache"]:
        if hasattr(output, name):
            return getattr(output, name)
    found = ", ".join(output) if isinstance(output, Mapping) else "no names"
    raise ContractError(
        f"{described('cache')} among the outputs of the language model",
        f"it returned a {type(output).__name__} with {found}",
    )


def scores_of(output: Any) -> Tensor:
    """float (sequences, tokens, vocabulary), what a model returns for the tokens it was given."""
    scores: Tensor = output.logits
    return scores


def pooled(output: Any) -> Tensor:
    """(n, width): what a text-image model says of a picture or a text; newer ones wrap it."""
    features: Tensor = getattr(output, "pooler_output", output)
    return features


def uses_cache(module: nn.Module, asked: bool | None) -> bool:
    """Whether a language model fills a cache. asked: the argument of its call, None where it was not passed."""
    config: Any = module.config
    return bool(getattr(config, "use_cache", True) if asked is None else asked)


def grows(cache: Any) -> bool:
    """Whether the layers of a cache may hold different numbers of tokens."""
    return isinstance(cache, DynamicCache)


def tokens_in(cache: Any) -> int:
    """Tokens that the first layer of a cache holds."""
    return int(type(cache).get_seq_length(cache))


NOTE = "codecmeta"
"""Attribute of a cache that says what was shortened; None where nothing was. It stays with copies of the cache."""


class Shortened(Protocol):
    """What is known of the sequence in a cache that holds less than the sequence has."""

    def whole_length(self, actual: int) -> int | None:
        """Tokens of the sequence, where the first layer holds `actual`; None where the cache should say what it has."""


def note(cache: Any, shortened: Shortened | None) -> None:
    """Write down in a cache what was shortened. From then on it counts, and is cut, as one of the whole sequence where
    `shortened` says so: generate() finds the new tokens by the length of the cache, and models number them by it."""
    setattr(cache, NOTE, shortened)
    if shortened is not None:
        cache.get_seq_length = MethodType(_whole_length, cache)
        cache.crop = MethodType(_crop_whole, cache)


def has_note(cache: Any) -> bool:
    """Whether anything was written down in a cache."""
    return hasattr(cache, NOTE)


def noted(cache: Any) -> Any:
    """What was written down in a cache, None where there is nothing."""
    return getattr(cache, NOTE, None)


def _whole_length(cache: Any, layer_idx: int = 0) -> int:
    whole: int | None = noted(cache).whole_length(tokens_in(cache))
    return int(type(cache).get_seq_length(cache, layer_idx)) if whole is None else whole


def _crop_whole(cache: Any, tokens: int) -> None:
    """Cut to so many tokens of the whole sequence, or (less than 0) take so many of the last ones away."""
    type(cache).crop(cache, min(0, tokens - cache.get_seq_length()) if tokens > 0 else tokens)


def lengths(cache: Any) -> list[int]:
    """Tokens that each layer of a cache holds, or has held, where it lets go of those that a window has left."""
    return [
        int(layer.get_seq_length() if getattr(layer, "is_sliding", False) else layer.keys.shape[-2])
        for layer in _holding(cache)
    ]


def windows(config: Any) -> dict[int, int]:
    """Layer -> most tokens that a new cache for a text configuration keeps of it, where it keeps no more than a window
    wants."""
    layers = enumerate(DynamicCache(config=config).layers)
    return {number: layer.sliding_window - 1 for number, layer in layers if getattr(layer, "is_sliding", False)}


def keys_of(cache: Any, attention: nn.Module) -> Tensor:
    """(sequences, key heads, tokens, width): what one attention module has put into a cache."""
    keys: Tensor = cache.layers[part(attention, "number")].keys
    return keys


def keep_in(cache: Any, layer: int, keep: NDArray[np.int64]) -> None:
    """Delete from one layer of a cache all tokens but these."""
    held = cache.layers[layer]
    places = torch.as_tensor(keep, device=held.keys.device)
    held.keys, held.values = held.keys[:, :, places].contiguous(), held.values[:, :, places].contiguous()


def drop_last(cache: Any, count: int) -> None:
    """Delete the last tokens of every layer of a cache."""
    cache.crop(-count)


def repeat(cache: Any, times: int) -> None:
    """Make so many sequences of the one in a cache."""
    cache.batch_repeat_interleave(times)


def cache_bytes(cache: Any) -> int:
    """Bytes of all keys and values that a cache holds."""
    both = (one for layer in _holding(cache) for one in (layer.keys, layer.values))
    return sum(one.numel() * one.element_size() for one in both)


def _holding(cache: Any) -> Iterator[Any]:
    """The layers of a cache that hold keys and values."""
    for layer in () if cache is None else cache.layers:
        if getattr(layer, "keys", None) is not None:  # not where a layer has a state in their place
            yield layer
