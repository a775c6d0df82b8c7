"""What transformers' text configurations say of the sizes of a language model, for counting operations and bytes."""

from __future__ import annotations

from typing import Any

from codecmeta.compression.engine.transformers_names import head_width, windows


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


def widths_of_attention(config: Any, layer: int) -> tuple[int, int]:
    """Numbers of all keys, and of all queries, of a token in one layer."""
    heads, keys, width = config.num_attention_heads, 0, 0
    if hasattr(config, "per_layer_config"):
        own = config.per_layer_config[layer]
        keys, width = own.num_key_value_heads, head_width(own)
    elif shares_keys(config) and config.layer_types[layer] == "full_attention":  # Gemma 4 before transformers 5.20
        keys = config.num_global_key_value_heads if config.attention_k_eq_v else config.num_key_value_heads
        width = config.global_head_dim
    else:
        keys, width = config.num_key_value_heads, head_width(config)
    return keys * width, heads * width


def widths_of_mlp(config: Any) -> tuple[int, int]:
    """Hidden numbers of the gated MLP that a token passes in a layer, and scores that choose its experts, if any."""
    if getattr(config, "enable_moe_block", False):  # beside the MLP
        return config.intermediate_size + config.top_k_experts * config.moe_intermediate_size, config.num_experts
    if not hasattr(config, "num_experts_per_tok"):
        return int(config.intermediate_size), 0
    if hasattr(config, "n_routed_experts"):
        passed = config.num_experts_per_tok + config.n_shared_experts
        return passed * config.moe_intermediate_size, config.n_routed_experts
    shared = getattr(config, "shared_expert_intermediate_size", 0)
    return config.num_experts_per_tok * config.moe_intermediate_size + shared, config.num_experts + (shared > 0)


def differing(config: Any) -> dict[int, dict[str, Any]]:
    """Layer of a text configuration -> what is of another size there, as fields of `TextModel`: the first layers have
    no experts in some models, and in Gemma 4 layers are of several kinds."""
    if shares_keys(config):
        held = windows(config)
        return {
            layer: _kind(config, layer) | {"window": held.get(layer, 0)} for layer in range(config.num_hidden_layers)
        }
    dense = getattr(config, "first_k_dense_replace", 0)
    return {layer: {"hidden": config.intermediate_size, "router": 0} for layer in range(dense)}


def gates_queries(config: Any) -> bool:
    """Whether the attention of a text configuration has a gate beside each query."""
    return linear_attention(config) is not None and bool(getattr(config, "attn_output_gate", True))


def shares_keys(config: Any) -> bool:
    """Whether layers of a text configuration may use the keys of others, so that none can be built alone."""
    return hasattr(config, "num_kv_shared_layers")


def _kind(config: Any, layer: int) -> dict[str, Any]:
    """What one layer of Gemma 4 has."""
    shared = layer >= config.num_hidden_layers - config.num_kv_shared_layers
    values_are_keys = config.attention_k_eq_v and config.layer_types[layer] == "full_attention"
    keys, queries = widths_of_attention(config, layer)
    hidden = widths_of_mlp(config)[0]
    return {
        "key_width": keys,
        "query_width": queries,
        "hidden": hidden + (config.intermediate_size if shared and config.use_double_wide_mlp else 0),
        "projected": 0 if shared else 1 if values_are_keys else 2,
        "beside": config.hidden_size_per_layer_input or 0,
    }
