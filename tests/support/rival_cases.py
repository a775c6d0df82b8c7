"""The compared methods in tiny models: their cases, each with its slow twin, and a reference that masks."""

import numpy as np
import torch

from codecmeta.compression import (
    Dycoke,
    Evs,
    FastV,
    Holitom,
    RandomKeep,
    Replenish,
    Sttm,
    Tome,
    Uniform,
    adapter_for,
    make,
)
from tests.support import slow_rivals as slow
from tests.support import tiny
from tests.support.references import entering

FULL = tiny.FRAMES * tiny.TOKENS**2
GRID = (tiny.TOKENS, tiny.TOKENS)
VISUAL = torch.arange(FULL) + tiny.BEFORE


def context_of(model, per_frame):
    """What apply() takes beside the strategy."""
    count = tiny.FRAMES * per_frame
    return {"meta": tiny.metadata(count), "frames": np.arange(count)}


def entering_with_attention(model, inputs):
    """What enters the unmodified language model: embeddings (1, length, width), positions, vision attention."""
    seen = {}
    handles = [*adapter_for(model).watch_vision(lambda attention: seen.update(attention=attention))]
    entered = entering(model, inputs)
    for handle in handles:
        handle.remove()
    embeddings, positions = entered["inputs_embeds"], entered["position_ids"]
    if positions is None or positions.shape[0] == 1:
        positions = torch.arange(embeddings.shape[1])[None]
    else:
        positions = positions[-3:]
    return embeddings, positions, seen["attention"]


@torch.no_grad()
def reference(eager, embeddings, positions, new_ids, before, at, decide, rows=1, forgotten=None):
    """Logits of the prompt's end and of every new token but the last: one uncached pass at full length.

    before: {slot: value}, what is left before the model, None for everything. at, decide: at the entry of which layer a
    function of the visual hidden states and their attention in the layer before gives (indices that stay, their new
    states). What is removed is masked as a key from there on. forgotten: (first layer, function of the attention in the
    layer before it), indices that new tokens do not see from that layer on.
    """
    lm, prompt = eager.model.language_model, embeddings.shape[1]
    hidden = torch.cat((embeddings, eager.get_input_embeddings()(new_ids[None, :-1])), 1)
    total = hidden.shape[1]
    last = positions[..., -1:]
    rotary = lm.rotary_emb(hidden, torch.cat((positions, last + torch.arange(1, len(new_ids))), -1))
    allowed = torch.ones(total, total).tril().bool()
    alive = VISUAL
    if before is not None:
        alive = VISUAL[list(before)]
        hidden[0, alive] = torch.stack(list(before.values())).to(hidden.dtype)
        allowed[:, [i for i in VISUAL.tolist() if i not in alive.tolist()]] = False
    maps = {}
    handles = [
        layer.self_attn.register_forward_hook(lambda module, args, output, n=n: maps.update({n: output[1]}))
        for n, layer in enumerate(lm.layers)
    ]
    for number, layer in enumerate(lm.layers):
        scores = maps[number - 1][0, :, prompt - rows : prompt, alive].mean((0, 1)) if number else None
        if number == at:
            kept, states = decide(hidden[0, alive], scores)
            gone = alive[[i for i in range(len(alive)) if i not in kept]]
            hidden[0, alive[kept]] = states.to(hidden.dtype)
            allowed[:, gone] = False
            alive = alive[kept]
        if forgotten is not None and number == forgotten[0]:
            unseen = alive[forgotten[1](scores)]
            allowed[prompt:, unseen] = False
        allowed |= torch.eye(total, dtype=torch.bool)
        mask = torch.zeros(total, total).masked_fill(~allowed, torch.finfo(torch.float32).min)[None, None]
        hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary)
    for handle in handles:
        handle.remove()
    return eager.lm_head(lm.norm(hidden)[0, prompt - 1 :])


def keep(count):
    """Keep the most attended."""

    def decide(hidden, scores):
        kept = slow.best_places(scores, count)
        return kept, hidden[kept]

    return decide


def bipartite(count, scrambled):
    def decide(hidden, scores):
        items = slow.tome(hidden, count, scrambled)
        return sorted(place for place, _ in items), torch.stack([value for _, value in items])

    return decide


def tree(tau_s, tau_t, **options):
    def decide(hidden, scores):
        left = slow.sttm(hidden.unflatten(0, (tiny.FRAMES, -1)), GRID, tau_s, tau_t, **options)
        return list(left), torch.stack(list(left.values()))

    return decide


def into_the_most_similar(hidden, scores):
    kept = slow.best_places(scores, len(hidden) // 2)
    return kept, slow.merge_one_by_one(hidden, kept)


def drawn(hidden, scores):
    kept = sorted(np.random.default_rng(3).permutation(FULL)[:13].tolist())
    return kept, hidden[kept]


def picked(places):
    """Slots by frame -> {slot: value} of a token grid."""
    return lambda tokens, attention: {
        t * tokens.shape[1] + p: tokens[t, p] for t, them in enumerate(places(tokens)) for p in sorted(them)
    }


def at(tokens, slots):
    return {slot: tokens.flatten(0, 1)[slot] for slot in slots}


def picked_flat(places):
    """Slots of the whole clip -> {slot: value}."""
    return lambda tokens, attention: at(tokens, places(tokens.flatten(0, 1)))


def evs_slots(tokens, attention):
    return {slot: tokens.flatten(0, 1)[slot] for slot in slow.evs(tokens, 22)}


def pairs(tokens, attention):
    """2x2 means of whole frames 0, 2 and 4; with three rows the last one is a pair by itself."""
    cells = [[0, 1, 3, 4], [2, 5], [6, 7], [8]]
    return {9 * t + them[0]: tokens[t, them].mean(0) for t in (0, 2, 4) for them in cells}


# by hand: the cells of a 3x3 grid in dispersed order are 0 8 2 6 4 1 7 3 5, and every one has its turn
TURNS = [[one == "1" for one in line] for line in "101010101 110101010 001010101 110100010 001001101".split()]

# name: (strategy, what is left before the model, layer, what happens at its entry, query rows)
CASES = {
    "evs": (Evs(budget=0.5), evs_slots, None, None, 1),
    "replenish": (
        Replenish(budget=0.5, signal="none", weights="uniform"), lambda x, _: slow.held(x, TURNS), None, None, 1,
    ),
    "dycoke": (Dycoke(budget=0.7), picked(lambda x: slow.dycoke(x, [9, 5, 4, 4, 9])), None, None, 1),
    "uniform pool": (Uniform(budget=0.3, mode="pool"), pairs, None, None, 1),
    "sttm at 0": (
        Sttm(layer=0, tau_s=0.9, tau_t=0.3), lambda x, _: slow.sttm(x, GRID, 0.9, 0.3), None, None, 1,
    ),
    "holitom outer": (
        Holitom(budget=0.4, tau=0.3, inner=0), lambda x, a: slow.holitom(x, a, 18, 0.3), None, None, 1,
    ),
    "holitom": (
        Holitom(budget=0.4, tau=0.3, inner_layer=2), lambda x, a: slow.holitom(x, a, 18, 0.3), 2,
        into_the_most_similar, 1,
    ),
    "divprune": (make("divprune", budget=0.4), picked_flat(lambda x: slow.spread_out(x, 18)), None, None, 1),
    "vidcom2": (make("vidcom2", budget=0.4), lambda x, _: at(x, slow.vidcom2(x, 0.4, 18)), None, None, 1),
    "visionzip": (make("visionzip", budget=0.4), lambda x, a: slow.visionzip(x, a, 18), None, None, 1),
    "fastvid": (
        make("fastvid", budget=0.6, segments=2, contextual=0.5),
        lambda x, a: slow.fastvid(x, a, 0.6, least=2, contextual=0.5), None, None, 1,
    ),
    "flashvid": (
        make("flashvid", budget=0.5, segments=2, tau_s=0.2, tau_t=0.2, inner_layer=2, inner=0.5),
        lambda x, a: slow.flashvid(x, a, 6, 5, tau_t=0.2, tau_s=0.2, least=2), 2, keep(15), 1,
    ),
    "fastv": (FastV(budget=0.3, layer=2), None, 2, keep(13), 1),
    "fastv, text asks": (FastV(budget=0.1, layer=1, queries="text"), None, 1, keep(4), tiny.AFTER),
    "random inside": (RandomKeep(budget=0.3, layer=3, seed=3), None, 3, drawn, 1),
    "tome": (Tome(budget=0.3, layer=2), None, 2, bipartite(13, False), 1),
    "tome scrambled": (Tome(budget=0.3, scrambled=True, layer=2), None, 2, bipartite(13, True), 1),
    "sttm": (Sttm(tau_s=0.6, tau_t=0.4, layer=1, root=0), None, 1, tree(0.6, 0.4, root=0), 1),
    "sttm published": (
        Sttm(tau_s=0.7, tau_t=0.7, root=0, paper_compat=True, layer=2), None, 2,
        tree(0.7, 0.7, root=0, paper_compat=True), 1,
    ),
}  # fmt: skip
