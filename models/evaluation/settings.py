"""What is compared: methods with their options, budgets and seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from codecmeta.compression import Strategy, make
from codecmeta.compression.methods.registry import METHODS


@dataclass(frozen=True)
class Setting:
    """One method at one budget: label is what the user called it, e.g. "uniform mode=spatial". budget: None where the
    method has none or it was left to its default. strategies: one per seed, one in all where chance plays no part."""

    label: str
    budget: float | None
    strategies: tuple[Strategy, ...]

    @property
    def name(self) -> str:
        """The method."""
        return self.strategies[0].name

    @property
    def keys(self) -> list[str]:
        """Name of each strategy in a file of answers: label, budget, seed."""
        budget = "" if self.budget is None else f" @{self.budget:g}"
        seeds = [f" #{values['seed']}" if len(self.strategies) > 1 else "" for values in map(asdict, self.strategies)]
        return [f"{self.label}{budget}{seed}" for seed in seeds]

    @property
    def options(self) -> dict[str, Any]:
        """Every option of the method but the seed, and what it is set to."""
        return {name: value for name, value in asdict(self.strategies[0]).items() if name != "seed"}

    @property
    def seeds(self) -> list[int]:
        """Seeds of a method that draws by chance."""
        return [asdict(one)["seed"] for one in self.strategies if _by_chance(one)]


REFERENCE = "none"
"""Every method is compared with this one, answer by answer."""


def make_settings(
    methods: Sequence[str], budgets: Sequence[float], seeds: Sequence[int] = (0, 1, 2), options: Sequence[str] = ()
) -> list[Setting]:
    """All combinations, the plain model first.

    >>> make_settings(["metom", "uniform mode=spatial", "random"], [0.5, 0.3])

    methods: a name, followed by options of its own as NAME=VALUE; budget=0.5,0.3 takes the place of `budgets`. budgets:
    shares of visual tokens; without any, each method takes its own default; a method that has no budget is there once.
    seeds: a method that draws by chance is there once per seed. options: NAME=VALUE for all methods that have an option
    of that name. Raises ValueError for what no method has.
    """
    common = _pairs(options)
    known = {name for text in methods for name in _names(text.split()[0] if text.split() else "")}
    if unknown := set(common) - known:
        raise ValueError(f"none of the methods has an option {sorted(unknown)[0]!r}")
    settings = [Setting(REFERENCE, None, (make(REFERENCE),))]
    for text in methods:
        name, *own = text.split()
        names = _names(name)
        values = {key: value for key, value in common.items() if key in names} | _pairs(own)
        shares: Sequence[float | None] = budgets if budgets and "budget" in names else [None]
        if "budget" in values:
            shares = [float(share) for share in values.pop("budget").split(",")]
            own = [one for one in own if not one.startswith("budget=")]
        for budget in shares:
            made: tuple[Strategy, ...] = (make(name, budget=budget, options=values),)
            if _by_chance(made[0]):
                made = tuple(make(name, budget=budget, options={**values, "seed": str(seed)}) for seed in seeds)
            if (one := Setting(" ".join([name, *own]), budget, made)) not in settings:
                settings.append(one)
    return settings


def _by_chance(strategy: Strategy) -> bool:
    """Does the outcome depend on a seed?"""
    return strategy.name == "random" or getattr(strategy, "weights", "") == "shuffled"


def _names(method: str) -> set[str]:
    if method not in METHODS:
        make(method)  # says which methods there are
    return {field.name for field in fields(METHODS[method])}


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise ValueError(f"{text!r}: expected NAME=VALUE")
        pairs[name.strip()] = value.strip()
    return pairs
