"""METok: the counts of its released schedule, and exactness inside the model against a masked reference."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from codecmeta.compression import Context, Layout, Metok, apply
from codecmeta.compression.engine.transformers_names import cache_of
from codecmeta.compression.measure.cost import TextModel, cache_size, prefill_flops
from codecmeta.compression.methods import metok
from codecmeta.compression.methods.metok import pool, quota
from tests.support import tiny
from tests.support.attention import attention_by_hand

ROWS = np.arange(tiny.FRAMES)
LENGTHS = (6, 7, 6, 7, 6)
RANGES = [(sum(LENGTHS[:i]), sum(LENGTHS[: i + 1])) for i in range(5)]
SCORES = np.repeat([3.0, 1.0, 2.5, 2.0, 0.5], LENGTHS)  # events 0, 2 and 3 matter most

# Tokens per event after each stage, for 32 frames; written down from the released code's rules.
SCHEDULES = {
    "siglip, rounded up": (
        27, "bilinear", [1177, 311, 1177, 1226, 295], [895, 119, 895, 932, 113], [681, 0, 681, 709, 0],
    ),
    "siglip, rounded down": (
        27, "average", [1015, 226, 1015, 1051, 217], [772, 86, 772, 799, 83], [587, 0, 587, 608, 0],
    ),
    "clip": (24, "average", [865, 226, 865, 901, 217], [658, 86, 658, 685, 83], [501, 0, 501, 521, 0]),
}  # fmt: skip
TERAFLOPS = {"siglip, rounded up": 27.53, "siglip, rounded down": 23.32, "clip": 20.08}


@pytest.mark.parametrize("name", SCHEDULES)
def test_counts_follow_the_released_schedule(name):
    side, pooling, first, second, third = SCHEDULES[name]
    metok = Metok(pooling=pooling)
    events = metok.choose(RANGES, SCORES)
    assert np.flatnonzero(events.key).tolist() == [0, 2, 3]
    layout = Layout(32, (side, side), (14, 14), newline="video")
    counts = metok.tokens_by_frame(layout, events)
    n0 = [int(counts[start:stop].sum()) for start, stop in RANGES]
    assert n0 == first
    shares = metok.inside(28).shares
    n1 = [quota(n, shares[3][not key]) for n, key in zip(n0, events.key, strict=True)]
    n2 = [quota(n, shares[10][not key]) for n, key in zip(n1, events.key, strict=True)]
    assert (n1, n2) == (second, third)
    assert [quota(n, shares[19][not key]) for n, key in zip(n2, events.key, strict=True)] == [0] * 5
    # 80 text tokens on Qwen2-7B
    tokens = [sum(n0) + 80] * 3 + [sum(n1) + 80] * 7 + [sum(n2) + 80] * 9 + [80] * 9
    text = TextModel(layers=28, width=3584, key_width=512, hidden=18944, vocabulary=152064)
    assert round(prefill_flops(text, tokens) / 1e12, 2) == TERAFLOPS[name]


def test_cost_of_the_plain_model_and_its_cache():
    text = TextModel(layers=28, width=3584, key_width=512, hidden=18944)
    assert round(prefill_flops(text, [6272 + 80] * 28) / 1e12, 2) == 99.09
    assert round(cache_size(text, [6272 + 80] * 28) / 2**20, 1) == 347.4
    assert round(cache_size(text, [4186 + 80] * 3 + [80] * 25) / 2**20, 1) == 28.9
    one = prefill_flops(TextModel(1, 8, 8, 16), [3], formula="fastv")
    assert one == 4 * 3 * 64 + 2 * 9 * 8 + 2 * 3 * 8 * 16


def test_tokens_of_every_layer_are_known_with_the_events(model):
    scores = (0.1, 0.2, 0.9, 0.3, 0.8)
    strategy = Metok(boundaries="codec", frame_scores=scores, **OPTIONS)
    with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
        tiny.generate(model, tiny.llava_inputs(), new=1)
    assert strategy.layer_tokens(session.plan.layout, session.plan.events) == session.layer_tokens
    events = Metok().choose(RANGES, SCORES)
    published = Metok().layer_tokens(Layout(32, (27, 27), (14, 14), newline="video", depth=28), events)
    assert published == [4186] * 3 + [2954] * 7 + [2071] * 9 + [0] * 9
    assert (
        Metok(prune=False).layer_tokens(Layout(32, (27, 27), (14, 14), newline="video", depth=28), events)
        == [4186] * 28
    )


def test_one_stride_for_whatever_is_not_in_a_key_event():
    events = Metok().choose(RANGES, SCORES)
    assert set(Metok().strides(events)[6:13].tolist()) == {4, 8}
    uniform = Metok(nonkey_uniform=8)
    assert uniform.strides(events)[[*range(6, 13), *range(26, 32)]].tolist() == [8] * 13
    assert (uniform.strides(events) == Metok().strides(events))[[*range(6), *range(13, 26)]].all()
    with pytest.raises(ValueError, match="nonkey_uniform"):
        Metok(nonkey_uniform=0)


def test_codec_changes_can_weigh_in_on_boundaries():
    """Features change most at 2, the codec saw most at 5."""
    layout = Layout(8, (2, 2), (2, 2))
    angle = torch.cumsum(torch.tensor([0, 0.1, 0.1, 0.9, 0.1, 0.2, 0.1, 0.1]), 0)
    patches = torch.stack((angle.cos(), angle.sin()), -1)[:, None].expand(8, 4, 2)
    meta, rows = tiny.metadata(8), np.arange(8)
    codec = np.array([0.1, 0.1, 0.2, 0.1, 0.1, 3.0, 0.1])

    def cuts(weight):
        strategy = Metok(n_events=2, codec_weight=weight, key_strides=(1, 1), other_strides=(2, 2), alpha=0.5)
        plan = strategy.plan(layout, meta, rows)
        reduced = strategy.reduce(plan, patches, Context(patches=patches, meta=meta, rows=rows))
        return int((reduced.slots[reduced.event == 0].max()) // 4) + 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metok, "change_scores", lambda meta, rows: codec)
        assert cuts(0.0) == 3
        assert cuts(0.5) == 3
        assert cuts(10.0) == 6
        seen = []
        patch.setattr(
            "codecmeta.compression.methods.metok.change_scores", lambda meta, rows: seen.append(rows) or codec
        )
        layout, rows, meta = replace(layout, pictures=2), np.arange(16), tiny.metadata(16)
        assert cuts(10.0) == 6
        assert seen[0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]  # the first picture of each pair
    for wrong in ({"codec_weight": 1, "boundaries": "codec"}, {"codec_weight": -1}):
        with pytest.raises(ValueError, match="codec_weight adds to"):
            Metok(**wrong)
    assert Metok(codec_weight=1, frame_scores=(1.0,)).needs_metadata
    assert Metok().query_agnostic and not Metok(frame_scores=(1.0,)).query_agnostic


def test_without_features_a_plan_allows_for_the_finest_stride():
    layout = Layout(3, (27, 27), (14, 14), newline="video", depth=28)
    for strides in ({"key_strides": (1, 4)}, {"other_strides": (1, 4)}, {"nonkey_uniform": 1}):
        assert Metok(**strides).plan(layout).counts.tolist() == [27 * 27 + 1] * 3


def test_few_frames_and_ties():
    metok = Metok()
    assert metok.choose([(0, 1)], [0.0]).key_frame.tolist() == [True]
    events = Metok(key_frames=0).choose([(0, 1), (1, 4)], [0.0] * 4)
    assert events.key.tolist() == [True, True] and events.key_frame.tolist() == [True, False, False, False]
    assert Metok(beta=0.5).choose([(0, 5)], [1, 3, 3, 0, 2]).key_frame.tolist() == [False, True, True, False, True]
    assert Metok(alpha=0.6).choose([(i, i + 1) for i in range(5)], [1.0] * 5).key.tolist() == [True] * 3 + [False] * 2


def test_the_finest_pooling_is_the_models_own():
    model = tiny.llava()
    patches = torch.randn(1, 36, 48, generator=torch.Generator().manual_seed(0))
    assert torch.equal(pool(patches[0], (6, 6), 2, "bilinear"), model.model.apply_pooling(patches)[0])
    mean = patches[0].reshape(3, 2, 3, 2, 48).mean((1, 3)).reshape(9, 48)
    torch.testing.assert_close(pool(patches[0], (6, 6), 2, "average"), mean)


@pytest.fixture(scope="module", params=["sdpa", "eager"])
def model(request):
    return tiny.llava(attention=request.param, layers=6)


@torch.no_grad()
def reference(model, embeddings, new_ids, event, key, shares, first):
    """Full-length and uncached: logits of the prompt's end and of every new token but the last.

    embeddings: the prompt after stage 1. event: the event of each visual token, which start at `first`.
    """
    lm = model.model.language_model
    prompt, count = embeddings.shape[1], len(event)
    text = prompt - first - count
    hidden = torch.cat((embeddings, model.get_input_embeddings()(new_ids[None, :-1])), 1)
    total = hidden.shape[1]
    rotary = lm.rotary_emb(hidden, torch.arange(total)[None])
    alive = list(range(count))
    scores = None
    for number, layer in enumerate(lm.layers):
        if number in shares:
            kept = []
            for e in sorted(set(event)):
                members = [i for i in alive if event[i] == e]
                share = shares[number][0 if key[e] else 1]
                keep = 0 if share == 0 else max(1, int(np.ceil(share * len(members) - 1e-9)))
                kept += sorted(members, key=lambda i: (-scores[i], i))[:keep]
            alive = sorted(kept)
        allowed = torch.ones(total, total).tril().bool()
        gone = torch.tensor([first + i for i in range(count) if i not in alive], dtype=torch.long)
        allowed[:, gone] = False
        if min(shares) <= number < max(shares):
            allowed[prompt:, first : first + count] = False  # forgotten when new tokens come
        allowed |= torch.eye(total, dtype=torch.bool)
        mask = torch.zeros(total, total).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
        if number + 1 in shares:
            short = [i for i in range(prompt) if not first <= i < first + count or i - first in alive]
            probabilities = attention_by_hand(layer, hidden[:, short], tuple(x[:, short] for x in rotary))
            mean = probabilities[:, -text:].mean((0, 1))
            scores = {i: float(mean[short.index(first + i)]) for i in alive}
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
    return model.lm_head(lm.norm(hidden)[0, prompt - 1 :])


def percent(size, share):
    """A share in per cent, rounded up, in whole numbers."""
    return (size * share + 99) // 100


OPTIONS = {"n_events": 3, "key_frames": 1, "alpha": 0.5, "layers": (1, 3, 4)}


@pytest.mark.parametrize(
    "boundaries, more", [("features", {}), ("codec", {}), ("codec", {"key_strides": (1, 2), "other_strides": (2, 2)})]
)
def test_metok_equals_a_masked_reference(model, boundaries, more):
    strategy = Metok(boundaries=boundaries, **OPTIONS, **more)
    inputs, meta = tiny.llava_inputs(), tiny.metadata()
    entered, positions = {}, []

    def look(module, args, kwargs):
        positions.append(kwargs["position_ids"][0].tolist())
        entered.setdefault("embeddings", args[0])

    with apply(model, strategy, meta, frames=ROWS) as session:
        handle = model.model.language_model.layers[0].register_forward_pre_hook(look, with_kwargs=True)
        ids, logits = tiny.generate(model, inputs, new=9)
        handle.remove()
    n0 = session.tokens_kept
    prompt = tiny.BEFORE + n0 + tiny.AFTER
    assert (n0 > tiny.FRAMES * tiny.TOKENS**2) == bool(more)  # finer than the model's own pooling: a longer prompt
    assert entered["embeddings"].shape[1] == prompt
    assert session.plan.exact == (boundaries == "codec")
    newline = model.model.image_newline
    visual = entered["embeddings"][0, tiny.BEFORE : tiny.BEFORE + n0]
    ends = [i for i in range(n0) if torch.equal(visual[i], newline)]
    assert len(ends) == 3 and ends[-1] == n0 - 1
    event = np.searchsorted(ends, np.arange(n0))
    weights = -np.ones(3)
    scores = meta.frames.packet_bytes  # every frame is sampled: the window of each is its own packet
    frame = np.searchsorted(np.cumsum(session.counts), np.arange(n0), side="right")
    for e in range(3):
        weights[e] = scores[np.unique(frame[event == e])].max()
    key = np.zeros(3, bool)
    key[np.argsort(-weights, kind="stable")[:2]] = True
    shares = {1: (0.76, 0.38), 3: (0.76, 0.0), 4: (0.0, 0.0)}
    want = reference(model, entered["embeddings"], ids, event, key, shares, tiny.BEFORE)
    assert (logits - want).abs().max() <= 1e-5 * want.abs().max()
    assert positions[0] == list(range(prompt)) and positions[1:] == [[prompt + n] for n in range(8)]
    sizes = [int((event == e).sum()) for e in range(3)]
    n1 = sum(percent(size, 76 if key[e] else 38) for e, size in enumerate(sizes))
    n2 = sum(percent(percent(size, 76), 76) for e, size in enumerate(sizes) if key[e])
    assert session.layer_tokens == [n0, n1, n1, n2, 0, 0]
    text = tiny.BEFORE + tiny.AFTER
    assert session.kv_bytes == (n0 + text + 5 * text) * 2 * 2 * 12 * 4


def test_only_the_first_stage_keeps_the_cache_whole(model):
    strategy = Metok(prune=False, **OPTIONS)
    with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
        tiny.generate(model, tiny.llava_inputs(), new=2)
    assert session.layer_tokens == [session.tokens_kept] * 6
    assert session.tokens_kept < session.tokens_full


def test_quotas_that_prune_nothing_forget_nothing(model):
    """Stage 3 keeps what the last cut left: by the published shares nothing, with full quotas everything, and with
    half of it in the last cut that half, in all layers from the first cut to the last."""
    text = tiny.BEFORE + 1 + tiny.AFTER  # the model's own newline stays
    for last, share in ((1.0, 1.0), (0.5, 0.5), (0.0, 0.0)):
        strategy = Metok(n_events=1, newlines=False, layers=(1, 2, 3), quotas=(1.0,) * 4 + (last, last))
        with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
            tiny.generate(model, tiny.llava_inputs(), new=1)
        n = session.layer_tokens[0]
        left = int(np.ceil(share * n))
        assert session.layer_tokens == [n, n, n, left, left, left]
        assert session.kv_bytes == (n + 5 * left + 6 * text) * 2 * 2 * 12 * 4


def test_with_codec_boundaries_the_number_is_known_before_the_features(model):
    metok = Metok(boundaries="codec", **OPTIONS)
    with apply(model, metok, tiny.metadata(), frames=ROWS) as session:
        planned = session.plan.counts.copy()
        tiny.generate(model, tiny.llava_inputs(), new=1)
    assert (session.counts == planned).all() and session.plan.exact


def test_given_frame_scores_decide_which_events_matter(model):
    scores = (0.1, 0.2, 0.9, 0.3, 0.8)
    strategy = Metok(boundaries="codec", frame_scores=scores, n_events=5, alpha=0.4, prune=False)
    with apply(model, strategy, tiny.metadata(), frames=ROWS) as session:
        tiny.generate(model, tiny.llava_inputs(), new=1)
    assert session.counts.tolist() == [4 + 1, 4 + 1, 9 + 1, 4 + 1, 9 + 1]  # strides 2 on key frames, 4 elsewhere
    with pytest.raises(ValueError, match="2 frame_scores were given for 5 frames"):
        with apply(model, Metok(boundaries="codec", frame_scores=(1.0, 2.0)), tiny.metadata(), frames=ROWS):
            pass


def test_with_features_and_given_scores_no_metadata_is_needed(model):
    strategy = Metok(frame_scores=(0.1, 0.2, 0.9, 0.3, 0.8), **OPTIONS)
    with apply(model, strategy) as session:
        tiny.generate(model, tiny.llava_inputs(), new=1)
    assert 0 < session.tokens_kept < session.tokens_full
    with pytest.raises(ValueError, match="pass meta"), apply(model, Metok(**OPTIONS)):
        pass


def test_a_second_question_is_refused_where_the_video_was_forgotten(model):
    with torch.no_grad(), apply(model, Metok(**OPTIONS), tiny.metadata(), frames=ROWS):
        cache = cache_of(model(**tiny.llava_inputs(), use_cache=True))
        with pytest.raises(ValueError, match="cannot take a second question"):
            model(input_ids=torch.tensor([[3, 4, 5]]), **tiny.given(model, cache))


def test_layers_in_proportion_to_the_depth():
    assert [Metok().inside(depth).cuts for depth in (28, 14, 5, 4)] == [(3, 10, 19), (2, 5, 10), (1, 2, 3), (1, 2, 3)]
    with pytest.raises(ValueError, match="three ascending layers"):
        Metok().inside(3)


@pytest.mark.parametrize("options", [{"layers": (0, 1, 2)}, {"layers": (1, 2, 6)}, {"layers": (2, 2, 3)}])
def test_layers_that_make_no_sense_are_refused(model, options):
    with pytest.raises(ValueError, match="three ascending layers"):
        with apply(model, Metok(**options), tiny.metadata(), frames=ROWS):
            pass
