"""What is compared: methods with their options, budgets and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from codecmeta.compression import Strategy, make
from codecmeta.compression.methods.registry import METHODS
from codecmeta.compression.options import parse_options, without_effect


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
        """Name of each strategy in a file of answers: the method and every option that is set, by whatever way."""
        return [
            " ".join([one.name, *(f"{name}={value}" for name, value in asdict(one).items() if value is not None)])
            for one in self.strategies
        ]

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
    if budgets and not any("budget" in _names(text.split()[0]) for text in methods):
        make(methods[0].split()[0], budget=budgets[0])  # says why it has none
    used: set[str] = set()
    settings = [Setting(REFERENCE, None, (make(REFERENCE),))]
    for text in methods:
        name, *own = text.split()
        names = _names(name)
        values = _pairs(own)
        if fitting := {key: value for key, value in common.items() if key in names and key not in values}:
            whole = METHODS[name](**parse_options(METHODS[name], {**fitting, **values, **_first_budget(values)}))
            fitting = {key: one for key, one in fitting.items() if key not in without_effect(whole, fitting)}
        used |= fitting.keys() | values.keys()  # a method's own option wins
        values = fitting | values
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
    if idle := sorted(set(common) - used):
        raise ValueError(f"option {idle[0]} has no effect on any of the methods as they are set")
    return settings


def _first_budget(values: Mapping[str, str]) -> dict[str, str]:
    """The first of several budgets, which are several settings."""
    return {"budget": values["budget"].split(",")[0]} if "budget" in values else {}


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
