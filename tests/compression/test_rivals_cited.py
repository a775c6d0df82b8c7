"""DART, SparseVLM and PruneVid: their choices against slow versions of the formulas, on random tokens and on what the
stock model itself has in its layers; what they keep is then found in the cache, key by key."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from codecmeta.compression import Layout, apply, make
from codecmeta.compression.engine.transformers_names import cache_of
from codecmeta.compression.methods.dart import unlike
from codecmeta.compression.methods.prunevid import scene_runs, still_places
from codecmeta.compression.methods.sparsevlm import RatedPruning, raters, shares_of
from tests.support import slow_rivals as slow
from tests.support import tiny
from tests.support.rival_cases import FULL, VISUAL

FAMILIES = {"llava": (tiny.llava, tiny.llava_inputs), "qwen2": (tiny.qwen, tiny.qwen_inputs)}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    """(model under test, its inputs, what the stock model has inside: states that enter each layer, attention maps
    (heads, n, n) of each layer, keys in its cache, tokens of text after the video)."""
    build, inputs = FAMILIES[request.param]
    eager, states, maps = build(attention="eager"), {}, {}
    for number, layer in enumerate(eager.model.language_model.layers):
        layer.register_forward_pre_hook(
            lambda module, args, kwargs, n=number: states.update(
                {n: args[0][0] if args else kwargs["hidden_states"][0]}
            ),
            with_kwargs=True,
        )
        layer.self_attn.register_forward_hook(lambda module, args, out, n=number: maps.update({n: out[1][0]}))
    with torch.no_grad():
        keys = [layer.keys[0] for layer in cache_of(eager(**inputs(), use_cache=True)).layers]
    return build(), inputs, states, maps, keys


def cached(model, inputs, strategy):
    """Keys of every layer after the prompt."""
    with torch.no_grad(), apply(model, strategy) as session:
        out = model(**inputs(), use_cache=True)
    return [layer.keys[0] for layer in cache_of(out).layers], session


def places(visual):
    """All tokens of the prompt, of the visual ones only these."""
    gone = set(VISUAL.tolist()) - set(VISUAL[visual].tolist())
    return [n for n in range(int(VISUAL[-1]) + 1 + tiny.AFTER + 1) if n not in gone]


def text_of(states):
    return states[len(states) - tiny.AFTER :]


def clip(seed, frames=10, cells=12, width=8):
    """Tokens that partly repeat from frame to frame, with two cuts."""
    rng = torch.Generator().manual_seed(seed)
    number = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])[:frames]
    return torch.randn(3, cells, width, generator=rng)[number] + 0.4 * torch.randn(frames, cells, width, generator=rng)


# DART


def slow_dart(states, keys, text, text_keys, count, pivots, text_pivots):
    """One pivot after the other, pairs by hand."""

    def longest(them, most):
        length = [sum(abs(float(x)) for head in them for x in head[i]) for i in range(them.shape[1])]
        return sorted(range(len(length)), key=lambda i: (-length[i], i))[:most]

    first = longest(keys, pivots)[:count]
    asking = [states[i] for i in first] + [text[i] for i in longest(text_keys, text_pivots)]
    kept, room = list(first), count - len(first)
    for turn, pivot in enumerate(asking):
        part = [room // len(asking) + 1] * (room % len(asking)) + [room // len(asking)] * len(asking)
        free = [i for i in range(len(states)) if i not in kept]
        kept += sorted(free, key=lambda i: (round(slow.cosine(states[i], pivot), 6), i))[: part[turn]]
    return sorted(kept)


@pytest.mark.parametrize("budget, pivots, text_pivots", [(0.4, 4, 4), (0.3, 2, 1), (0.5, 3, 0), (0.05, 4, 4)])
def test_dart_keeps_what_is_least_like_its_pivots(family, budget, pivots, text_pivots):
    model, inputs, states, _, keys = family
    count = max(1, int(budget * FULL))
    want = slow_dart(
        states[2][VISUAL], keys[1][:, VISUAL], text_of(states[2]), keys[1][:, -tiny.AFTER :], count, pivots, text_pivots
    )
    got, session = cached(model, inputs, make("dart", budget=budget, layer=2, pivots=pivots, text_pivots=text_pivots))
    kept = places(want)
    torch.testing.assert_close(got[1], keys[1])
    torch.testing.assert_close(got[2], keys[2][:, kept[: got[2].shape[1]]], rtol=1e-4, atol=1e-5)
    assert session.layer_tokens == [FULL, FULL, count, count] and len(want) == count


def test_dart_by_hand():
    """The pivot points right. Of the others one points left, one up, one nearly right; a text pivot that points down
    then takes the one that points up."""
    states = torch.tensor([[2.0, 0], [3, 0.1], [-1, 0], [0, 1], [1, 0.5]])
    assert unlike(states, np.array([0]), torch.zeros(0, 2), 2).tolist() == [0, 2]
    assert unlike(states, np.array([0]), torch.tensor([[0.0, -1]]), 3).tolist() == [0, 2, 3]
    assert unlike(states, np.array([0, 1]), torch.zeros(0, 2), 1).tolist() == [0]


# SparseVLM


def test_the_published_schedules_have_the_published_tokens_per_layer():
    """32 layers, 576 tokens: 192, 128 and 64 per layer on average are what the published numbers are named after, and
    come out only with recycled tokens added: 9, 4 and 3 of them for the first."""
    for average, stay in ((192, (300, 200, 110)), (128, (303, 110, 36)), (64, (66, 30, 17))):
        inside = make("sparsevlm", budget=average / 576).inside(32)
        assert inside.cuts == (2, 6, 15)
        alive, entering = 576, []
        for layer in range(32):
            alive = inside.left(layer, alive) if layer in inside.cuts else alive
            entering.append(alive)
        assert sum(entering) / 32 == pytest.approx(average, abs=1)
        assert [round(576 * share) for share in shares_of(average / 576)] == list(stay)
        if average == 192:
            assert [entering[at] for at in (1, 2, 6, 15)] == [576, 309, 204, 113]
    assert make("sparsevlm", budget=1.0).inside(32) is None


def slow_raters(visual, text):
    drawn = [0.0] * len(text)
    for token in visual:
        inner = [float(token.double() @ word.double()) for word in text]
        total = sum(math.exp(one - max(inner)) for one in inner)
        drawn = [seen + math.exp(one - max(inner)) / total for seen, one in zip(drawn, inner, strict=True)]
    return [one > sum(drawn) / len(drawn) for one in drawn]


@pytest.mark.parametrize("seed", range(4))
def test_raters_are_words_that_tokens_are_drawn_to(seed):
    rng = torch.Generator().manual_seed(seed)
    visual, text = torch.randn(30, 6, generator=rng), torch.randn(9, 6, generator=rng)
    got = raters(visual, text).tolist()
    assert got == slow_raters(visual, text) and 0 < sum(got) < 9
    assert raters(visual, torch.ones(3, 6)).all()


def slow_recycling(states, attention, stay, again, made):
    """{place: state} that one cut leaves."""
    kept = slow.best_places(attention, stay)
    lost = [i for i in range(len(states)) if i not in kept]
    best = [lost[i] for i in slow.best_places([attention[i] for i in lost], again)]
    centres = [best[i] for i in slow.best_places(slow.peaks(states[best], made), made)] if made < len(best) else best
    out = {i: states[i].double() for i in kept}
    for centre in centres:
        members = [
            i for i in best if i == centre or (i not in centres and centre == min(
                centres, key=lambda c: (float((states[i].double() - states[c].double()).norm()), c)
            ))
        ]  # fmt: skip
        out[centre] = sum(states[i].double() for i in members) / len(members)
    return dict(sorted(out.items()))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("recycle", [0.3, 0.9, 0.0])
def test_sparsevlm_recycles_the_best_of_what_goes(seed, recycle):
    rng = torch.Generator().manual_seed(seed)
    inside = RatedPruning(8, (1, 2, 3), (0.5, 0.25, 0.1), recycle)
    states, attention, n = torch.randn(60, 8, generator=rng), torch.rand(60, generator=rng), 60
    for layer, stay in ((1, 30), (2, 15), (3, 6)):
        again = min(n - stay, int((n - stay) * recycle) + 1) if recycle else 0
        want = slow_recycling(states, attention[:n], stay, again, again // 10 + 1 if again else 0)
        kept, left = inside.cut(layer, None, np.arange(n), {layer - 1: attention[:n]}, states)
        assert kept.tolist() == list(want) and len(kept) == inside.left(layer, n)
        torch.testing.assert_close(left.double(), torch.stack(list(want.values())), rtol=1e-5, atol=1e-5)
        states, n = left, len(kept)


def test_sparsevlm_asks_the_raters_alone(family):
    """The first cut, by the stock model's own attention: rows of raters, mean over heads and rows."""
    model, inputs, states, maps, keys = family
    strategy = make("sparsevlm", budget=192 / 576, layers=(1, 2, 3), recycle=0.0)
    asking = slow_raters(states[0][VISUAL], text_of(states[0]))
    rows = maps[0][:, -tiny.AFTER :][:, [i for i, one in enumerate(asking) if one]]
    stay = int(300 / 576 * FULL)
    kept = places(slow.best_places(rows[..., VISUAL].double().mean((0, 1)), stay))
    got, session = cached(model, inputs, strategy)
    assert 0 < sum(asking) < tiny.AFTER
    torch.testing.assert_close(got[1], keys[1][:, kept[: got[1].shape[1]]], rtol=1e-4, atol=1e-5)
    assert session.layer_tokens == [FULL, stay, int(200 / 576 * FULL), int(110 / 576 * FULL)]
    full = maps[0][:, -tiny.AFTER :][..., VISUAL].double().mean((0, 1))
    assert slow.best_places(full, stay) != slow.best_places(rows[..., VISUAL].double().mean((0, 1)), stay)


# PruneVid


def slow_scenes(tokens, share):
    """[(start, stop)] by the words of the class."""
    means = torch.stack([frame.double().mean(0) for frame in tokens])
    count = max(1, int(share * len(means) + 1e-9))
    if count >= len(means):
        return [(t, t + 1) for t in range(len(means))]
    centres = slow.density_peaks(means, count, 7)
    label = [
        t if t in centres else min(centres, key=lambda c: (float((means[t] - means[c]).norm()), c))
        for t in range(len(means))
    ]
    runs, start = [], 0
    for t in range(1, len(label) + 1):
        if t == len(label) or label[t] != label[start]:
            runs.append((start, t))
            start = t
    kept = {}
    for run in runs:
        if label[run[0]] not in kept or run[1] - run[0] > kept[label[run[0]]][1] - kept[label[run[0]]][0]:
            kept[label[run[0]]] = run
    scene = [
        min(sorted(kept.values()), key=lambda r: (max(r[0] - t, t - r[1] + 1, 0), r[0])) for t in range(len(label))
    ]
    starts = [t for t in range(len(scene)) if t == 0 or scene[t] != scene[t - 1]]
    return list(zip(starts, [*starts[1:], len(scene)], strict=True))


def slow_prunevid(tokens, scenes, tau, cluster):
    """({slot: value}, {slot: group}) that stages 1 to 3 leave."""
    frames, cells, _ = tokens.shape
    groups = []
    for start, stop in slow_scenes(tokens, scenes):
        still = []
        for p in range(cells):
            pairs = [slow.cosine(tokens[t, p], tokens[u, p]) for t, u in permutations(range(start, stop), 2)]
            if pairs and sum(pairs) / len(pairs) > tau:
                still.append(p)
        groups.append([(start * cells + p, sum(tokens[t, p].double() for t in range(start, stop)) / (stop - start))
                       for p in still])  # fmt: skip
        groups += [[(t * cells + p, tokens[t, p].double()) for p in range(cells) if p not in still]
                   for t in range(start, stop)]  # fmt: skip
    out, group = {}, {}
    for number, members in enumerate(groups):
        values = torch.stack([value for _, value in members]) if members else torch.zeros(0, 1)
        count = max(1, int(cluster * len(members))) if len(members) > 14 else len(members)
        centres = list(range(len(members)))
        if count < len(members):
            centres = slow.density_peaks(values, count, 7)
        into = [
            i if i in centres else min(centres, key=lambda c: (float((values[i] - values[c]).norm()), c))
            for i in range(len(members))
        ]
        for c in centres:
            own = [values[i] for i, one in enumerate(into) if one == c]
            out[members[c][0]], group[members[c][0]] = sum(own) / len(own), number
    return dict(sorted(out.items())), group


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scenes, tau, cluster", [(0.25, 0.8, 0.5), (0.4, 0.6, 0.3), (1.0, 0.5, 0.5)])
def test_prunevid_before_the_model(seed, scenes, tau, cluster):
    tokens = clip(seed, cells=20)
    method = make("prunevid", scenes=scenes, tau=tau, cluster=cluster)
    assert scene_runs(tokens, scenes) == slow_scenes(tokens, scenes)
    plan = method.plan(Layout(10, (5, 4), (5, 4), depth=28))
    reduced = method.reduce(plan, tokens)
    want, group = slow_prunevid(tokens, scenes, tau, cluster)
    assert reduced.slots.tolist() == list(want) and reduced.event.tolist() == [group[slot] for slot in want]
    torch.testing.assert_close(reduced.tokens.double(), torch.stack(list(want.values())), rtol=1e-5, atol=1e-5)
    assert len(want) == 100 if scenes == 1.0 else len(want) < 110


def test_a_frame_outside_the_longest_runs_joins_the_nearer_one():
    """Frames A A A B A B B B: the single B and A in the middle are not of the longest runs 0-2 and 5-7."""
    a, b = torch.eye(4)[:2]
    tokens = torch.stack([a, a, a, b, a, b, b, b])[:, None].repeat(1, 3, 1)
    tokens += 0.01 * torch.randn(8, 3, 4, generator=torch.Generator().manual_seed(0))
    assert scene_runs(tokens, 0.25) == [(0, 4), (4, 8)] == slow_scenes(tokens, 0.25)
    assert still_places(tokens[:3], 0.8).all() and not still_places(tokens[:1], 0.8).any()


@pytest.mark.parametrize("cluster", [0.999, 1.0])
def test_prunevid_keeps_what_any_head_of_any_word_looks_at_and_forgets_the_rest_everywhere(family, cluster):
    model, inputs, _, maps, keys = family
    strategy = make("prunevid", tau=2.0, cluster=cluster, alpha=0.4, layer=1)  # nothing merges: 9 tokens a frame
    largest = maps[1][:, -tiny.AFTER :][..., VISUAL].amax((0, 1))
    want = [9 * t + p for t in range(tiny.FRAMES) for p in slow.best_places(largest[9 * t : 9 * t + 9], 3)]
    got, session = cached(model, inputs, strategy)
    assert session.layer_tokens == [FULL, FULL, 15, 15] and session.tokens_kept == FULL
    for layer in (0, 1, 2):
        kept = places(want)[: got[layer].shape[1]]
        torch.testing.assert_close(got[layer], keys[layer][:, kept], rtol=1e-4, atol=1e-5)
    ids = tiny.generate(model, inputs(), new=3)[0]
    with apply(model, strategy):
        assert len(tiny.generate(model, inputs(), new=3)[0]) == len(ids)


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("dart", {"pivots": 0}, "pivots must be at least 1 and text_pivots 0; got 0 and 4"),
        ("sparsevlm", {"recycle": 1.0}, "recycle must be at least 0 and less than 1; got 1.0"),
        ("prunevid", {"alpha": 0.0}, "alpha must be more than 0 and at most 1; got 0.0"),
    ],
)
def test_what_makes_no_sense_is_refused(name, options, said):
    with pytest.raises(ValueError, match=said):
        make(name, **options)


def test_layers_that_a_model_does_not_have_are_refused():
    for strategy in (make("dart", layer=4), make("prunevid", layer=3)):
        with pytest.raises(ValueError, match="between 1 and 3"), apply(tiny.llava(), strategy):
            pass
    with (
        pytest.raises(ValueError, match="three ascending layers"),
        apply(tiny.llava(), make("sparsevlm", layers=(1, 2))),
    ):
        pass
    assert make("prunevid").inside(32).watch == (10,) and make("dart").inside(28).cuts == (2,)
