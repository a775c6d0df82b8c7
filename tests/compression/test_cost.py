"""The accountant against a counter of operations on real modules, and the committed savings against the accountant."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3Config, Qwen3ForCausalLM

from codecmeta.compression import Metok, Metom, Plain, apply
from codecmeta.compression.engine.transformers_names import cache_of
from codecmeta.compression.measure.cost import TextModel, cache_size, prefill_flops
from tests.support import tiny
from tests.support.tiny_gemma import gemma4, gemma4_inputs

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize(
    "strategy",
    [Plain(), Metom(rpm=False, matm=True, matm_layer=2), Metok(n_events=3, key_frames=1, layers=(1, 2, 3))],
    ids=lambda strategy: strategy.name,
)
def test_operations_of_every_layer_are_the_accountants(strategy):
    """Grouped-query attention (4 heads, 2 of keys) and a gated MLP, with fewer tokens from layer to layer. Eager, as
    the counter does not know the CPU's fused attention."""
    model = tiny.llava(attention="eager")
    config = model.config.text_config
    with (
        FlopCounterMode(display=False, depth=None) as counter,
        torch.no_grad(),
        apply(model, strategy, tiny.metadata(), frames=np.arange(tiny.FRAMES)) as session,
    ):
        cache = cache_of(model(**tiny.llava_inputs(), use_cache=True))
    text = tiny.BEFORE + tiny.AFTER + (0 if strategy.name == "metok" else 1)
    entering = [count + text for count in session.layer_tokens]
    layer = TextModel(1, config.hidden_size, 2 * 12, config.intermediate_size)
    for number, count in enumerate(entering):
        parts = [
            sum(found.values())
            for name, found in counter.flop_counts.items()
            if name.endswith((f"language_model.layers.{number}.self_attn", f"language_model.layers.{number}.mlp"))
        ]
        assert len(parts) == 2 and sum(parts) == prefill_flops(layer, [count])
    text_model = TextModel.of(config)
    held = [layer.keys.shape[2] for layer in cache.layers]
    assert cache_size(text_model, held, bytes_per_number=4) == session.kv_bytes
    if strategy.name != "metok":
        assert held == entering
    head = [sum(found.values()) for name, found in counter.flop_counts.items() if name.endswith("lm_head")]
    with_head = prefill_flops(text_model, entering, head=True) - prefill_flops(text_model, entering)
    assert head == [with_head]


def test_operations_of_layers_with_a_state_are_the_accountants():
    """Qwen3.5: the attention has a gate beside each query, heads wider than the hidden states say; projections of the
    other layers are counted on their modules, convolution and recurrence are theirs by arithmetic."""
    model = tiny.qwen3_5(attention="eager")
    with FlopCounterMode(display=False, depth=None) as counter, torch.no_grad():
        model(**tiny.qwen3_inputs(), use_cache=False)
    count = tiny.qwen3_inputs()["input_ids"].shape[1]
    text = TextModel.of(model.config.text_config)

    def counted(layer, *parts):
        ends = tuple(f"language_model.layers.{layer}.{part}" for part in parts)
        return sum(sum(ops.values()) for name, ops in counter.flop_counts.items() if name.endswith(ends))

    assert counted(1, "self_attn", "mlp") == prefill_flops(replace(text, layers=1, attending=(0,)), [count])
    projections = [f"linear_attn.{part}" for part in ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")]
    beside = 2 * (2 * 16 + 32) * 4 + 4 * 3 * 2 * 8 * 8  # keys 2 x 8, values 4 x 8, four taps; S k, k d, S q for a head
    assert counted(0, *projections, "mlp") + count * beside == prefill_flops(
        replace(text, layers=1, attending=()), [count]
    )
    assert cache_size(text, [count] * 4) == 2 * 2 * 24 * 2 * count * 2  # two layers, keys and values of two heads of 24


def test_operations_of_experts_are_the_accountants():
    """GLM-4.5V: the first layer has no experts; in the others a token passes two of four and a shared one, each of 32,
    and the router. The kernel that gathers experts is unknown to the counter, so these are counted by hand."""
    model = tiny.glm4v(attention="eager", experts=True)
    with FlopCounterMode(display=False, depth=None) as counter, torch.no_grad():
        model(**tiny.glm4v_inputs(), use_cache=False)
    count, text = tiny.glm4v_inputs()["input_ids"].shape[1], TextModel.of(model.config.text_config)

    def counted(layer, *parts):
        ends = tuple(f"language_model.layers.{layer}.{part}" for part in parts)
        return sum(sum(ops.values()) for name, ops in counter.flop_counts.items() if name.endswith(ends))

    routed = 2 * count * 48 * 3 * 2 * 32
    whole = counted(0, "self_attn", "mlp") + sum(
        counted(layer, "self_attn", "mlp.shared_experts", "mlp.gate") + routed for layer in (1, 2, 3)
    )
    assert whole == prefill_flops(text, [count] * 4)


@pytest.mark.parametrize("large", [False, True])
def test_operations_of_layers_of_several_kinds_are_the_accountants(large):
    """Gemma 4: wider heads in layers without a window, whose values may be their keys; late layers project none, in an
    MLP twice as wide; an input per layer, projected once for all layers; experts beside the MLP, counted by hand."""
    model = gemma4(large=large, attention="eager")
    inputs = gemma4_inputs()
    with FlopCounterMode(display=False, depth=None) as counter, torch.no_grad():
        model(**inputs, use_cache=False)
    count, text = inputs["input_ids"].shape[1], TextModel.of(model.config.text_config)
    own = tuple(f"language_model.layers.{layer}" for layer in range(6))
    beside = ("language_model.per_layer_model_projection",)
    whole = sum(sum(ops.values()) for name, ops in counter.flop_counts.items() if name.endswith((*own, *beside)))
    experts = [sum(ops.values()) for name, ops in counter.flop_counts.items() if name.endswith("experts")]
    routed = 6 * 2 * count * 48 * 3 * 2 * 32 if large else 0
    assert whole - sum(experts) + routed == prefill_flops(text, [count] * 6)


def test_heads_may_be_wider_than_the_hidden_states_say():
    config = Qwen3Config(
        hidden_size=64, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, head_dim=32, vocab_size=8
    )
    with torch.device("meta"):
        attention = Qwen3ForCausalLM(config).model.layers[0].self_attn
    assert TextModel.of(config).key_width == attention.k_proj.out_features == 64


def test_the_formula_of_the_fastv_family_counts_no_shared_keys_and_two_matrices():
    one = TextModel(1, 8, 2, 16)
    assert prefill_flops(one, [3], formula="fastv") == 4 * 3 * 64 + 2 * 9 * 8 + 2 * 3 * 8 * 16
    with pytest.raises(ValueError, match="one number per layer"):
        prefill_flops(one, [3, 3])


def test_committed_savings_are_those_of_sums_by_hand():
    """Qwen2-7B: 28 layers, width 3584, 4 heads of keys of 128, MLP 18944, 152064 words; 60 tokens of text."""
    committed = json.loads((BENCHMARKS / "results" / "cost.json").read_text())["results"]
    for name, per_frame, newlines in (("LongVA-7B", 144, 0), ("LLaVA-OneVision-7B", 196, 1)):
        for frames in (32, 64, 128):
            rows = {row["method"]: row for row in committed[name] if row["frames"] == frames}
            for method, share in (("none", 100), ("metom 50%", 50), ("metom 30%", 30)):
                n = share * frames * per_frame // 100 + newlines + 60  # LongVA's checkpoint has none
                attention = 2 * n * (2 * 3584 * 3584 + 2 * 3584 * 512) + 4 * n * n * 3584
                total = 28 * (attention + 6 * n * 3584 * 18944) + 2 * n * 3584 * 152064
                assert rows[method]["prefill_teraflops"] == pytest.approx(total / 1e12, rel=1e-9), (name, method)
                assert rows[method]["cache_mib"] == pytest.approx(28 * 2 * n * 512 * 2 / 2**20, rel=1e-9)
    by = {row["frames"]: row for row in committed["LongVA-7B"] if row["method"] == "metok"}
    for frames in (64, 128):  # 32 frames have fewer tokens to lose: 75 % and 92 %
        assert by[frames]["flops_saved"] >= 0.806 and by[frames]["cache_saved"] >= 0.935
    # published: more than 240 TFLOP for the plain model, 64 frames of 196 tokens
    plain = next(row for row in committed["LLaVA-OneVision-7B"] if row["frames"] == 64 and row["method"] == "none")
    assert round(plain["prefill_teraflops"]) == 242
