"""DivPrune: the order of its choices against the paper's algorithm written out one pair at a time."""

import numpy as np
import pytest
import torch

from codecmeta.compression import DivPrune, Layout
from codecmeta.compression.methods.divprune import spread_out


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
def test_every_further_choice_is_that_of_the_paper(seed):
    tokens = torch.randn(30, 6, generator=torch.Generator().manual_seed(seed))
    order = slow(tokens.double().numpy(), 12)
    for count in range(1, 13):
        assert spread_out(tokens, count).tolist() == sorted(order[:count])


def test_at_angles_the_choice_is_known():
    """At angles of 0, 10, 90 and 170 degrees 90 is 80 from its nearest, as 170 is, and earlier; then 0, then 170."""
    angles = torch.deg2rad(torch.tensor([0.0, 10, 90, 170]))
    tokens = torch.stack((angles.cos(), angles.sin()), dim=1)
    assert [spread_out(tokens, count).tolist() for count in (1, 2, 3)] == [[2], [0, 2], [0, 2, 3]]


def test_of_tokens_that_are_the_same_one_is_kept():
    """Three directions, each four times: three tokens show all of them."""
    tokens = torch.eye(3).repeat(4, 1)
    assert sorted(index % 3 for index in spread_out(tokens, 3).tolist()) == [0, 1, 2]


@pytest.mark.parametrize("scope", ["clip", "frame"])
def test_length_does_not_count_and_the_budget_is_met(scope):
    tokens = torch.randn(4, 9, 8, generator=torch.Generator().manual_seed(9))
    strategy = DivPrune(budget=0.3, scope=scope)
    plan = strategy.plan(Layout(4, (3, 3), (3, 3)))
    one, other = (strategy.reduce(plan, tokens * scale) for scale in (1.0, 5.0))
    assert plan.tokens == len(one.slots) == 10
    assert (one.slots == other.slots).all() and (np.diff(one.slots) > 0).all()
