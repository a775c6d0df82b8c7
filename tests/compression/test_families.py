"""Every method on every family: with nothing to do, the model runs as if it were not there."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch

from codecmeta.compression import METHODS, adapter_for, apply
from tests.support import tiny
from tests.support.methods import nothing_to_do
from tests.support.tiny_gemma import gemma4, gemma4_inputs

FAMILIES: dict[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]], int]] = {
    "glm4v": (tiny.glm4v, tiny.glm4v_inputs, 2),
    "glm4v experts": (partial(tiny.glm4v, experts=True), tiny.glm4v_inputs, 2),
    "gemma4": (gemma4, gemma4_inputs, 1),
    "gemma4 large": (partial(gemma4, large=True), partial(gemma4_inputs, padding=9), 1),
    "internvl": (tiny.internvl, tiny.internvl_inputs, 1),
    "qwen3": (tiny.qwen3, tiny.qwen3_inputs, 2),
    "qwen3_5": (tiny.qwen3_5, tiny.qwen3_inputs, 2),
    "smolvlm": (tiny.smolvlm, tiny.smolvlm_inputs, 1),
    "video_llama_3": (tiny.video_llama_3, tiny.video_llama_3_inputs, 1),
}
"""The model, its inputs, and how many pictures share a temporal position."""

LINEAR = {"fastv": {"layer": 2}, "dart": {"layer": 2}, "metok": {"prune": False, "layers": None, "quotas": None}}
"""Options with which methods look at layers of Qwen3.5 that have attention, or at none (METok wants three)."""


@cache
def answered(family: str, attention: str) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """The model, and what it says without any method."""
    model = FAMILIES[family][0](attention=attention)
    return (model, *tiny.generate(model, FAMILIES[family][1]()))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_nothing_to_do_is_bit_identical(family: str, attention: str, name: str) -> None:
    model, *plain = answered(family, attention)
    pictures = tiny.FRAMES * FAMILIES[family][2]
    options = nothing_to_do(name) | (LINEAR.get(name, {}) if family == "qwen3_5" else {})
    strategy = METHODS[name](**options)
    if adapter_for(model).before_only and strategy.inside(len(adapter_for(model).layers)) is not None:
        with pytest.raises(ValueError, match="take a method that acts before the language model") as error:
            apply(model, strategy, tiny.metadata(), frames=np.arange(pictures)).__enter__()
        assert "\n" not in str(error.value)
        return
    with apply(model, strategy, tiny.metadata(pictures), frames=np.arange(pictures)) as session:
        ids, logits = tiny.generate(model, FAMILIES[family][1]())
    assert torch.equal(ids, plain[0]) and torch.equal(logits, plain[1])
    assert session.tokens_kept == session.tokens_full == tiny.FRAMES * tiny.TOKENS**2
    assert len(set(ids.tolist())) > 2, "an answer that repeats itself would hide differences"
