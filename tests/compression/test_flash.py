"""Attention that knows no masks: flash attention 2, by a stand-in with its signatures; flex attention is refused."""

import numpy as np
import pytest
import torch

from codecmeta.compression import adapter_for, apply, make
from codecmeta.models import load
from tests.support import tiny
from tests.support.flash import flash_attention, switch

FAMILIES = {
    "llava": (tiny.llava, tiny.llava_inputs, 1),
    "qwen2": (tiny.qwen, tiny.qwen_inputs, 2),
    "qwen2.5": (lambda: tiny.qwen(windowed=True), tiny.qwen_inputs, 2),
    "qwen3": (tiny.qwen3, tiny.qwen3_inputs, 2),
    "smolvlm": (tiny.smolvlm, tiny.smolvlm_inputs, 1),
    "internvl": (tiny.internvl, tiny.internvl_inputs, 1),
}
CASES = [
    ("none", {}),
    ("uniform", {"budget": 0.5}),
    ("random", {"budget": 0.4, "keep_ids": True}),
    ("metom", {"budget": 0.5, "rpm": False}),
    ("metom", {"budget": 0.5, "rpm": True, "tau_mode": "target", "share": 0.5}),
    ("metok", {}),
    ("fastv", {"layer": 2}),
]


def answers(model, inputs, pictures, name, options):
    rows = np.arange(pictures)
    with apply(model, make(name, **options), tiny.metadata(pictures), frames=rows) as session:
        return (*tiny.generate(model, inputs, new=3), session.layer_tokens)


@pytest.mark.parametrize("family", FAMILIES)
def test_flash_attention_gives_what_sdpa_gives(family):
    make_model, make_inputs, unit = FAMILIES[family]
    inputs, pictures = make_inputs(), unit * tiny.FRAMES
    plain, model = make_model(), switch(make_model())
    for name, options in CASES:
        if name == "random" and not adapter_for(plain).gapless:
            options = {**options, "keep_ids": None}
        ids, logits, tokens = answers(plain, inputs, pictures, name, options)
        with flash_attention():
            if options.get("rpm") and family in ("llava", "internvl", "smolvlm"):
                with pytest.raises(ValueError, match="RPM needs the vision tower on 'sdpa' or 'eager'"):
                    answers(model, inputs, pictures, name, options)
                continue
            flash = answers(model, inputs, pictures, name, options)
        assert flash[2] == tokens and torch.equal(flash[0], ids), (name, options)
        off = float((flash[1] - logits).abs().max())
        assert off < 2e-4 * float(logits.abs().max()), (name, options, off)


def test_an_attention_that_hooks_cannot_reach_is_refused_before_weights_are_read():
    for asked in ("flex_attention", "kernels-community/flash-attn3", {"text_config": "flex_attention"}):
        with pytest.raises(ValueError, match="attention implementation .* is not supported; load the model with"):
            load(attn_implementation=asked)
    model = tiny.llava()
    model.model.language_model.config._attn_implementation = "flex_attention"
    with pytest.raises(ValueError, match="'flex_attention' is not supported"):
        adapter_for(model)
