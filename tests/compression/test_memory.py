"""Memory of the prompt: acting inside the layers must not cost more than the layers themselves do.

Bytes are what the allocator handed out, not a timing; the full attention matrix would be several times everything else.
"""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from codecmeta.compression import Metok, Metom, Plain, apply
from codecmeta.compression.engine.attention import attention_received, attention_rows
from codecmeta.compression.measure import memory as measured
from codecmeta.compression.measure.memory import PeakMemory
from tests.support import tiny
from tests.support.attention import attention_by_hand

FRAMES, QUESTION, HEADS = 16, 300, 28
LENGTH = 10 + FRAMES * 64 + 1 + QUESTION


def test_the_peak_is_what_is_in_use_at_once():
    class Two(torch.nn.Linear):
        def forward(self, size):
            first = torch.zeros(size, dtype=torch.uint8)
            second = first + 1
            del first
            return second.add(1)

    module = Two(1, 1)
    with PeakMemory(module) as memory:
        module(1 << 20)
        module(1 << 21)
    for peak, size in zip(memory.peaks, (1 << 20, 1 << 21), strict=True):
        assert 2 * size <= peak < 2 * size + 4096
    module(1 << 20)
    assert len(memory.peaks) == 2


@pytest.mark.parametrize(
    "profiler",
    [SimpleNamespace(), SimpleNamespace(kineto_results=SimpleNamespace(events=list))],
    ids=["gone", "silent"],
)
def test_a_profiler_that_says_nothing_of_memory_is_one_clear_error(profiler):
    with pytest.raises(
        RuntimeError, match=f"torch {re.escape(torch.__version__)}: its profiler says nothing of memory"
    ):
        measured._peak(SimpleNamespace(profiler=profiler))


@pytest.fixture(scope="module")
def model():
    """The proportions of Qwen2-7B (28 heads, 4 of keys, MLP 5.3 times as wide), 16 times narrower."""
    torch.manual_seed(0)
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=14,
        vision_use_head=False,
    )  # fmt: skip
    text = Qwen2Config(
        vocab_size=96, hidden_size=224, intermediate_size=1184, num_hidden_layers=5, num_attention_heads=HEADS,
        num_key_value_heads=4, max_position_embeddings=4096, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    config = LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=tiny.IMAGE, video_token_index=tiny.VIDEO,
        vision_feature_layer=-1, vision_feature_select_strategy="full",
    )  # fmt: skip
    cls = LlavaOnevisionForConditionalGeneration
    return cls._from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa").eval()


def peak(model, strategy):
    """Most bytes in use while the language model reads the prompt, and the session."""
    ids = torch.full((1, LENGTH), 5)
    ids[0, 10 : LENGTH - QUESTION] = tiny.VIDEO
    pixels = torch.randn(1, FRAMES, 3, 224, 224, generator=torch.Generator().manual_seed(0)).bfloat16()
    with (
        PeakMemory(model.model.language_model) as memory,
        apply(model, strategy, tiny.metadata(FRAMES), frames=np.arange(FRAMES)) as session,
    ):
        model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values_videos=pixels, max_new_tokens=1)
    return memory.peaks[0], session


@pytest.fixture(scope="module")
def plain(model):
    return peak(model, Plain())[0]


WHOLE = {"rpm": False, "btm": False, "matm": True, "matm_layer": 2}


@pytest.mark.parametrize(
    "strategy",
    [
        Metom(**WHOLE),
        Metom(**WHOLE, matm_queries="text"),
        Metom(**WHOLE, percent=1),
        Metok(layers=(1, 2, 3)),
        Metok(
            layers=(1, 2, 3), key_strides=(2, 2), other_strides=(2, 2), newlines=False, quotas=(1.0,) * 6, forget=False
        ),
    ],
    ids=["matm", "matm, all text asks", "matm, hardly any", "metok", "metok, whole length"],
)
def test_the_prompt_takes_no_more_memory_than_the_plain_models(model, plain, strategy):
    needed, session = peak(model, strategy)
    assert needed <= 1.05 * plain
    assert HEADS * LENGTH**2 * 4 > 5 * plain, "the full matrix would show"
    assert session.layer_tokens[0] >= 0.4 * FRAMES * 64


@torch.no_grad()
def test_a_few_rows_at_a_time_give_what_all_rows_give():
    """Against the attention of the whole layer, one head at a time in float64."""
    model = tiny.llava()
    layer = model.model.language_model.layers[1]
    entering, seen = [], []

    def enter(module, args, kwargs):
        entering.append((args[0], kwargs["position_embeddings"]))

    def look(module, args, kwargs, output):
        seen.append((attention_received(module, kwargs, 40), attention_rows(module, kwargs, 40)))

    # heads share keys in pairs: 12 of these rows at a time
    handles = [
        layer.register_forward_pre_hook(enter, with_kwargs=True),
        layer.self_attn.register_forward_hook(look, with_kwargs=True),
    ]
    inputs = tiny.llava_inputs()
    model(**inputs)
    model(**inputs | {"attention_mask": inputs["attention_mask"].index_fill(1, torch.tensor([0, 1]), 0)})
    for handle in handles:
        handle.remove()
    for (hidden, rotary), (mean, rows), unseen in zip(entering, seen, ((), (0, 1)), strict=True):
        want = attention_by_hand(layer, hidden, rotary, unseen)[:, -40:]
        torch.testing.assert_close(rows.double(), want, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(mean.double(), want.mean((0, 1)), rtol=1e-4, atol=1e-6)
