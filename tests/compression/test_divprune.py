"""DivPrune against the paper's algorithm written out in double precision, one pair at a time."""

import numpy as np
import pytest
import torch

from codecmeta.compression import DivPrune, Layout
from codecmeta.compression.methods.divprune import farthest


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return 1 - float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def slow(tokens: np.ndarray, count: int) -> list[int]:
    """Algorithm 1: first the token farthest from its nearest other one, then the farthest from all that are chosen."""
    everyone = range(len(tokens))
    lonely = [min(distance(tokens[i], tokens[j]) for j in everyone if j != i) for i in everyone]
    chosen = [int(np.argmax(lonely))]
    while len(chosen) < count:
        left = [i for i in everyone if i not in chosen]
        chosen.append(max(left, key=lambda i: min(distance(tokens[i], tokens[j]) for j in chosen)))
    return chosen


@pytest.mark.parametrize("seed", range(4))
def test_the_choice_is_that_of_the_paper(seed):
    tokens = torch.randn(30, 6, generator=torch.Generator().manual_seed(seed))
    assert farthest(tokens, 12).tolist() == slow(tokens.double().numpy(), 12)


def test_of_tokens_that_are_the_same_one_is_kept():
    """Three directions, each four times: three tokens show all of them."""
    tokens = torch.eye(3).repeat(4, 1)
    assert sorted(index % 3 for index in farthest(tokens, 3).tolist()) == [0, 1, 2]


def test_length_does_not_count_and_the_budget_is_met():
    tokens = torch.randn(4, 9, 8, generator=torch.Generator().manual_seed(9))
    strategy = DivPrune(budget=0.3)
    plan = strategy.plan(Layout(4, (3, 3), (3, 3)))
    one, other = (strategy.reduce(plan, tokens * scale) for scale in (1.0, 5.0))
    assert plan.tokens == len(one.slots) == 10
    assert (one.slots == other.slots).all() and (np.diff(one.slots) > 0).all()
