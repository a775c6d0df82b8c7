"""What transformers' text configurations say of the sizes of a language model, for counting operations and bytes."""

from __future__ import annotations

from typing import Any


def attending(config: Any) -> tuple[int, ...]:
    """Layers with attention that a text configuration asks for."""
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return tuple(number for number, kind in enumerate(kinds) if kind != "linear_attention")


def linear_attention(config: Any) -> tuple[int, int, int, int, int] | None:
    """Of a text configuration's layers of gated linear attention: heads and width of a head of keys, of values, and
    the length of the convolution; None where it has none."""
    if len(attending(config)) == config.num_hidden_layers:
        return None
    return (
        config.linear_num_key_heads,
        config.linear_key_head_dim,
        config.linear_num_value_heads,
        config.linear_value_head_dim,
        config.linear_conv_kernel_dim,
    )


def widths_of_mlp(config: Any) -> tuple[int, int]:
    """Hidden numbers of the gated MLP that a token passes in a layer, and scores that choose its experts, if any."""
    if not hasattr(config, "num_experts_per_tok"):
        return int(config.intermediate_size), 0
    if hasattr(config, "n_routed_experts"):
        passed = config.num_experts_per_tok + config.n_shared_experts
        return passed * config.moe_intermediate_size, config.n_routed_experts
    shared = getattr(config, "shared_expert_intermediate_size", 0)
    return config.num_experts_per_tok * config.moe_intermediate_size + shared, config.num_experts + (shared > 0)


def differing(config: Any) -> dict[int, dict[str, Any]]:
    """Layer of a text configuration -> what is of another size there, as fields of `TextModel`: the first layers have
    no experts in some models."""
    dense = getattr(config, "first_k_dense_replace", 0)
    return {layer: {"hidden": config.intermediate_size, "router": 0} for layer in range(dense)}


def gates_queries(config: Any) -> bool:
    """Whether the attention of a text configuration has a gate beside each query."""
    return linear_attention(config) is not None and bool(getattr(config, "attn_output_gate", True))
