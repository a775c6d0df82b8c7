"""Statistics of answers against slow ones, chance at equal tokens, and budgets that leave a share."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


from codecmeta.compression import Layout, RandomKeep, Uniform  # noqa: E402
from codecmeta.models.evaluation import make_settings, match_tokens, summarise_replies  # noqa: E402
from codecmeta.models.evaluation.answering import Reply  # noqa: E402
from codecmeta.models.evaluation.chance import as_many, for_video  # noqa: E402
from codecmeta.models.evaluation.dataset import DatasetRow  # noqa: E402
from codecmeta.models.evaluation.statistics import Bootstrap  # noqa: E402


def test_intervals_agree_with_a_slow_bootstrap_and_with_the_sandwich_formula():
    """Questions of one video are right or wrong together; intervals that ignored it would be half as wide."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), rng.integers(1, 9, 60))
    values = (rng.random(60)[clusters] < 0.5).astype(float)
    mean, low, high = Bootstrap(clusters, draws=8000).interval(values)
    assert mean == values.mean()
    slow = []
    for _ in range(3000):
        drawn = rng.integers(0, 60, 60)
        slow.append(np.concatenate([values[clusters == one] for one in drawn]).mean())
    assert np.allclose((low, high), np.percentile(slow, (2.5, 97.5)), atol=0.02)
    residuals = np.array([(values[clusters == one] - mean).sum() for one in range(60)])
    robust = np.sqrt(60 / 59 * (residuals**2).sum()) / len(values)
    assert (high - low) / (2 * 1.96) == pytest.approx(robust, rel=0.06)
    alone = np.sqrt(mean * (1 - mean) / len(values))
    assert robust > 1.7 * alone
    assert (mean, low, high) == Bootstrap(clusters, draws=8000).interval(values)


def test_intervals_of_a_part_leave_the_others_out():
    clusters, values = np.array([0, 0, 1, 1, 2, 3]), np.array([1.0, 0, 1, 0, 1, 1])
    part = np.array([True, False, True, False, True, True])
    assert Bootstrap(clusters).interval(values, part) == (1.0, 1.0, 1.0)
    assert np.isnan(Bootstrap(clusters).interval(values, part & False)[0])


def test_a_summary_counts_what_can_be_counted_by_hand(tmp_path):
    """Six questions about two videos; the method loses one right answer, gains none, and cannot be read once."""
    rows = [
        DatasetRow(
            line=n,
            video=tmp_path / "ab"[n // 3],
            question=f"{n}?",
            answer=answer,
            type="t",
            strata={"half": str(n // 3)},
        )
        for n, answer in enumerate(["x", "y", "x", "y", "x", "y"])
    ]
    said = {"none": ["x", "y", "x", "y", "y", "x"], "random": ["x", "x", "x", "y", "y", "hm"]}
    settings = make_settings(["random"], [0.5], seeds=[0])
    replies = {
        (setting.keys[0], rows[n].id): Reply(text, 10, 10 if setting.name == "none" else 5, 5.0, 4, 4, 100)
        for setting in settings
        for n, text in enumerate(said[setting.name])
    }
    none, random = summarise_replies(rows, settings, replies)["methods"]
    assert none["accuracy"][0] == round(4 / 6, 4) and none["difference"] == [0, 0, 0]
    assert random["accuracy"][0] == 0.5 and random["difference"][0] == round(-1 / 6, 4)
    assert random["difference"][1:] == [round(-1 / 3, 4), 0.0]  # by video: one of three lost, none lost
    assert (random["agreement"][0], random["unparsable"]) == (round(4 / 6, 4), round(1 / 6, 4))
    assert (random["share_kept"], random["tokens_llm_mean"], random["kv_bytes"]) == (0.5, 5.0, 100)
    assert random["strata"]["half: 0"]["accuracy"][0] == round(2 / 3, 4)
    assert random["strata"]["half: 1"]["difference"] == [0, 0, 0]
    assert "soft" not in random  # answers of files that do not know it
    softly = {
        key: replace(reply, soft=0.9 if key[0] == settings[0].keys[0] else n / 10)
        for n, (key, reply) in enumerate(replies.items(), -6)
    }
    none, random = summarise_replies(rows, settings, softly)["methods"]
    assert (none["soft"], random["soft"][0]) == ([0.9, 0.9, 0.9], 0.25)  # the mean of 0, 0.1, ... 0.5
    assert random["soft_difference"] == pytest.approx([-0.65, -0.8, -0.5])  # by video: 0.1 and 0.4


def test_chance_stands_beside_a_method_at_as_many_tokens(tmp_path):
    """Two questions, 4.4 of 10 tokens per layer: chance with 4, right once in two draws, the method twice."""
    rows = [DatasetRow(line=n, video=tmp_path / "ab"[n], question="?", answer="x", type="t") for n in (0, 1)]
    settings = make_settings(["uniform"], [0.5])
    replies = {(settings[0].keys[0], row.id): Reply("x", 10, 10, 10.0, 4, 4, 1) for row in rows}
    replies |= {(settings[1].keys[0], row.id): Reply("x", 10, 6, 4.4, 4, 4, 1) for row in rows}
    for n, seed, text in ((0, 0, "x"), (0, 1, "y"), (1, 0, "y"), (1, 1, "x")):
        replies[f"chance =4 #{seed}", rows[n].id] = Reply(text, 10, 4, 4.0, 4, 4, 1)
        replies[f"chance =10 #{seed}", rows[n].id] = Reply("x", 10, 10, 10.0, 4, 4, 1)
    none, uniform = summarise_replies(rows, settings, replies, chance=(0, 1))["methods"]
    assert none["against_chance"] == [0, 0, 0] and uniform["against_chance"] == [0.5, 0.5, 0.5]
    assert "against_chance" not in summarise_replies(rows, settings, replies)["methods"][1]


def test_every_video_has_masks_of_its_own(tmp_path):
    """By its name and the seed, wherever it lies; methods without a seed stay as they are."""
    draws = {for_video(RandomKeep(seed=seed), tmp_path / name).seed for seed in (0, 1) for name in ("a.mp4", "b.mp4")}
    assert len(draws) == 4
    assert for_video(RandomKeep(), tmp_path / "a.mp4") == for_video(RandomKeep(), tmp_path / "x" / "a.mp4")
    assert for_video(Uniform(), tmp_path / "a.mp4") == Uniform()
    assert as_many(Reply("x", 256, 76, 57.6, 1, 1, 1), 3) == ("chance =58 #3", RandomKeep(budget=58 / 256, seed=3))


def test_chance_with_any_number_of_tokens_has_exactly_so_many():
    layout = Layout(16, (8, 8), (4, 4))
    for count in range(1, 257):
        drawn = as_many(Reply("x", 256, count, float(count), 1, 1, 1), 0)[1]
        assert drawn.plan(layout).tokens == count


class Halves:
    """Stands for a split on which a method leaves half of its budget, and never less than a tenth."""

    def share(self, strategy):
        return max(0.1, strategy.budget / 2)


def test_a_budget_is_found_that_leaves_the_share():
    (setting,) = make_settings(["uniform"], [0.3])[1:]
    found = match_tokens(Halves(), setting, 0.2)
    assert found.label == "uniform" and 0.4 - 2**-8 <= found.budget <= 0.4
    assert [one.budget for one in found.strategies] == [found.budget]
    assert match_tokens(Halves(), setting, 0.9).budget == 1.0
    with pytest.raises(ValueError, match=r"'uniform' leaves more than 5.0% of the tokens at any budget"):
        match_tokens(Halves(), setting, 0.05)
    with pytest.raises(ValueError, match="'metok' has no budget to match"):
        match_tokens(Halves(), make_settings(["metok"], [])[1], 0.3)
