"""What a strategy is: a small frozen dataclass that plans from metadata alone, then reduces tensors by its plan.

A plan is made of arrays and is known before any feature exists; the tensor side only carries it out. A new method is
one file with one dataclass, and one row in `codecmeta.compression.methods.registry`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codecmeta.compression.inside import Inside
from codecmeta.compression.options import Effects, check_literals
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.record.metadata import Metadata

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Base of all methods.

    An option that is None takes what the model prefers, where its configuration says so, else the method's own
    default: {"codecmeta": {"keep_ids": true, "metom": {"tau_tem": 0.9}}} in a checkpoint's config.json.

    effects: options that count only beside others; `make` refuses them without.

    keep_ids: give every kept token the position id that it has in the full sequence (True), or number the kept ones
    without gaps (False). By default without gaps for one-dimensional positions. Set it to compare the two, which
    published methods do not agree on.
    """

    name: ClassVar[str]
    needs_patches: ClassVar[bool] = False
    needs_vision_attention: ClassVar[bool] = False
    effects: ClassVar[Effects] = {}
    keep_ids: bool | None = None

    def __post_init__(self) -> None:
        check_literals(self)
        budget = getattr(self, "budget", 1.0)
        if budget is not None and not 0 < budget <= 1:
            raise ValueError(f"budget must be more than 0 and at most 1; got {budget}")

    def preferring(self, preferences: Mapping[str, Any]) -> Self:
        """This strategy with a model's preferences in the place of options that are None."""
        wanted = {"keep_ids": preferences.get("keep_ids"), **preferences.get(self.name, {})}
        unknown = set(wanted) - {option.name for option in fields(self)}
        if unknown:
            raise ValueError(f"the model prefers {', '.join(sorted(unknown))}, which {self.name!r} does not have")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in wanted.items()
            if getattr(self, name) is None
        }
        return replace(self, **values)

    @property
    def needs_metadata(self) -> bool:
        """Whether there is no plan without codec metadata."""
        return False

    @property
    def query_agnostic(self) -> bool:
        """Whether a method that is made to look at the question does without, for want of something it needs."""
        return False

    @property
    def needs_pictures(self) -> bool:
        """Whether planning waits for the pictures, see `plan_with`."""
        return False

    @property
    def counts_from_content(self) -> bool:
        """Whether how many tokens a plan keeps depends on signals or pixels of the pictures, and not on their number,
        their size and their packets alone."""
        return False

    @property
    def merges_patches(self) -> bool:
        """Whether how many tokens enter the vision encoder depends on signals or pixels of the pictures."""
        return False

    def replaces_separators(self, layout: Layout) -> bool:
        """Whether separators of its own, counted among the tokens, take the place of the model's."""
        return False

    def expected_layers(self, plan: Plan) -> tuple[list[int], list[int], bool]:
        """Visual tokens that enter each layer of the language model, those left in its cache behind the prompt, and
        whether that is what comes out; where it depends on the tokens, what it is at most."""
        depth, inside, alive, exact = plan.layout.depth, self.inside(plan.layout.depth), plan.tokens, plan.exact
        entering, held = [], []
        for layer in range(depth):
            if inside is not None and layer in inside.cuts:
                left = inside.left(layer, alive)
                alive, exact = (alive, False) if left is None else (left, exact)
            stay = inside.remembered(layer, alive) if inside is not None and layer in inside.forget else alive
            entering.append(alive)
            held.append(alive if stay is None else stay)
            exact = exact and stay is not None
        return entering, held, exact

    def plan_with(
        self, pictures: Tensor, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None
    ) -> Plan:
        """`plan` for methods that also look at pixels: float (T * pictures, 3, height, width), normalised as the model
        gets them, and only what the token grid covers."""
        return self.plan(layout, meta, rows)

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """Decide from metadata what to keep. Pure: no tensors, no model.

        rows: int64 (T * pictures,), the frame-table rows of the sampled pictures. Raises ValueError where the method
        needs metadata and there is none.
        """
        return Plan(layout, np.full(layout.frames, layout.tokens_per_frame, np.int64))

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Carry the plan out on projected, pooled tokens: float (T, tokens per frame, width).

        Called only where the plan has slots. The default keeps exactly the tokens at these slots.
        """
        assert plan.slots is not None
        slots = np.flatnonzero(plan.slots)
        return Reduced(tokens.flatten(0, 1)[slots], slots.astype(np.int64))

    def inside(self, depth: int) -> Inside | None:
        """What the method does inside a language model of so many layers, None for nothing."""
        return None


def budget_tokens(layout: Layout, budget: float) -> int:
    """Whole tokens of a clip within a share: floor(budget * T * N), at least 1."""
    return share_of(layout.tokens_full, budget)


def share_of(count: int, share: float) -> int:
    """Whole tokens within a share of so many: floor(share * count), at least 1.

    >>> share_of(6272, 0.3), share_of(3, 0.1)
    (1881, 1)
    """
    return max(1, int(share * count + 1e-9))


def require(meta: Metadata | None, rows: Any, strategy: Strategy) -> tuple[Metadata, NDArray[np.int64]]:
    """The metadata and rows that a strategy cannot do without."""
    if meta is None or rows is None:
        raise ValueError(f"method {strategy.name!r} plans from codec metadata: pass meta and the sampled frame rows")
    return meta, np.asarray(rows, np.int64)


def rows_of(strategy: Strategy, meta: Metadata | None, frames: ArrayLike | None) -> NDArray[np.int64] | None:
    """Rows of the pictures in the inputs, None where the strategy can do without."""
    if frames is not None:
        return np.asarray(frames, np.int64)
    if not strategy.needs_metadata:
        return None
    if meta is None or meta.residual is None:
        raise ValueError(
            f"method {strategy.name!r} plans from codec metadata: pass meta, and as frames the frame-table rows of the "
            "pictures in the inputs"
        )
    return np.asarray(meta.residual.frame, np.int64)
