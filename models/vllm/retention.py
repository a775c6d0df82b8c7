"""Which tokens of a video stay in vLLM, decided from what its loader read, before a picture is encoded.

An experiment, for one minor release of vLLM and for Qwen3-VL: `qwen3_vl.py` is where vLLM's private names are.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

METHODS = ("replenish",)
"""Methods that know before any feature exists which tokens stay, exactly as many as they are told."""

RELEASE = "0.32"
"""The minor release of vLLM that `qwen3_vl.py` was written and tested for."""


def register_model(method: str) -> None:
    """Put the model whose pruning `method` decides in the place of vLLM's Qwen3-VL. Raises RuntimeError for another
    vLLM, ValueError for another method."""
    import vllm

    if method not in METHODS:
        raise ValueError(f"CODECMETA_VLLM_RETENTION={method}: expected {' or '.join(METHODS)}")
    if not vllm.__version__.startswith(f"{RELEASE}."):
        raise RuntimeError(
            f"codecmeta chooses tokens in vLLM {RELEASE}, not in {vllm.__version__}: unset CODECMETA_VLLM_RETENTION"
        )
    from vllm import ModelRegistry

    ModelRegistry.register_model("Qwen3VLForConditionalGeneration", "codecmeta.models.vllm.qwen3_vl:Retaining")


def retained(record: Any, grid: tuple[int, int, int], count: int, method: str = "replenish") -> NDArray[np.bool_]:
    """bool (T, rows, columns): the `count` places of a token grid (T, rows, columns) that stay.

    record: what `loader.Backend` carries. A position shows as many pictures as the grid says; the last one is repeated
    where they do not come out even, as vLLM does.
    """
    from codecmeta.compression.methods.registry import make
    from codecmeta.compression.plan import Layout

    meta, rows = record
    positions, *cells = grid
    if count >= positions * cells[0] * cells[1]:
        return np.ones(grid, bool)
    pictures = -(-len(rows) // positions)
    rows = np.append(rows, [rows[-1]] * (positions * pictures - len(rows)))
    view = (0.0, 0.0, float(meta.stream.width), float(meta.stream.height))
    shape = (cells[0], cells[1])
    layout = Layout(positions, shape, shape, view, pictures)
    plan = make(method, budget=(count + 0.5) / layout.tokens_full).plan(layout, meta, rows)
    assert plan.slots is not None and plan.slots.sum() == count
    return plan.slots.reshape(grid)


def reduced(tokens: Any, stay: NDArray[np.bool_], method: str = "replenish") -> Any:
    """The tokens that stay, with what the method gives them of those that go: (T * rows * columns, width) ->
    (count, width)."""
    from codecmeta.compression.methods.registry import make
    from codecmeta.compression.plan import Layout, Plan

    positions, *cells = stay.shape
    shape = (cells[0], cells[1])
    slots = stay.reshape(positions, -1)
    plan = Plan(Layout(positions, shape, shape), slots.sum(axis=1), slots=slots)
    return make(method).reduce(plan, tokens.unflatten(0, slots.shape)).tokens


def positions_of(length: int, frames: list[tuple[int, NDArray[np.bool_]]]) -> tuple[NDArray[np.int64], int]:
    """The positions that the tokens of a prompt have where nothing is taken out of it: int64 (3, length), and what the
    next token's is beyond its number.

    frames: in order, where each picture's tokens begin in the prompt, and which cells of its grid they are, bool (rows,
    columns). Text counts on by one; a picture has (0, row, column) from where it stands, and behind it comes what its
    longer side has reached, whatever was taken out: Qwen3-VL's rule (its times are text), with places left as they are.

    >>> positions_of(5, [(1, np.array([[False, True], [True, False]]))])[0].tolist()
    [[0, 1, 1, 3, 4], [0, 1, 2, 3, 4], [0, 2, 1, 3, 4]]
    """
    positions = np.zeros((3, length), np.int64)
    done = at = 0
    for start, stay in frames:
        positions[:, done:start] = at + np.arange(start - done)
        at += start - done
        row, column = np.nonzero(stay)
        done = start + len(row)
        positions[:, start:done] = at + np.stack((np.zeros_like(row), row, column))
        at += max(stay.shape)
    positions[:, done:] = at + np.arange(length - done)
    return positions, int(positions.max()) + 1 - length if length else 0
