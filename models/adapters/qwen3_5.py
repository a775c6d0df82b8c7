"""Qwen3.5 and Qwen3.6: Qwen3-VL's encoder and prompt, and a decoder that attends in one of four layers only."""

from __future__ import annotations

from typing import ClassVar

from codecmeta.models.adapters.qwen3_vl import Qwen3VL


class Qwen35(Qwen3VL):
    """Adapter of `Qwen3_5ForConditionalGeneration` and `Qwen3_5MoeForConditionalGeneration`.

    As Qwen3-VL, without features that enter again. Three of four layers of the language model keep a state in the place
    of keys and values (gated linear attention), which takes in one token after the other. What is taken out before the
    model was never there for them: their states are those of the shortened sequence. What is taken out at the entry of
    a layer is in the states of all layers before it, as it is in their keys and values, and in none from there on.
    Attention can be watched only where there is some, and what a method forgets behind the prompt it forgets in the
    layers that have keys and values: a state has taken it in and cannot lose it again.
    """

    deepstack: ClassVar[bool] = False
