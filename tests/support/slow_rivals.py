"""The compared methods one token, pair or partition at a time, in float64 and plain loops; shares no code with them."""

from fractions import Fraction
from itertools import combinations

import torch


def cosine(a, b):
    return float(a.double() @ b.double() / max(float(a.double().norm() * b.double().norm()), 1e-12))


def best_places(scores, count):
    """The `count` largest, of equal ones the earlier, ascending."""
    return sorted(sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i))[:count])


def evs(tokens, count):
    """Flat places of the tokens that differ most from the one before them in time."""
    frames, cells, _ = tokens.shape
    change = [255.0] * cells + [
        1 - cosine(tokens[t, p], tokens[t - 1, p]) for t in range(1, frames) for p in range(cells)
    ]
    return best_places(change, count)


def tome(tokens, count, scrambled=False):
    """(first member, mean) of what is left after rounds of bipartite matching."""
    items = [(i, 1, token.double()) for i, token in enumerate(tokens)]
    while len(items) > count:
        even, odd = items[::2], items[1::2]
        partner = [max(range(len(odd)), key=lambda j: (cosine(a[2], odd[j][2]), -j)) for a in even]
        similar = [cosine(a[2], odd[j][2]) for a, j in zip(even, partner, strict=True)]
        order = sorted(range(len(even)), key=lambda i: (-similar[i], i))
        merging = order[: min(len(items) - count, len(items) // 2)]
        grown = []
        for j, (first, size, value) in enumerate(odd):
            members = [(first, size, value), *[even[i] for i in merging if partner[i] == j]]
            total = sum(m[1] for m in members)
            grown.append((min(m[0] for m in members), total, sum(m[1] * m[2] for m in members) / total))
        items = [even[i] for i in order if i not in merging] + grown
        if not scrambled:
            items.sort(key=lambda item: item[0])
    return [(first, value) for first, _, value in items]


def dycoke(tokens, keep, paper_compat=False):
    """Kept places of each frame, in the order they come out. keep: tokens kept of each compared frame."""
    frames, cells, _ = tokens.shape

    def least(t, reference, count):
        similar = [cosine(tokens[t, p], tokens[reference, p]) for p in range(cells)]
        chosen = sorted(range(cells), key=lambda p: (similar[p], p))[:count]
        return chosen if paper_compat else sorted(chosen)

    kept = [list(range(cells)) for _ in range(frames)]
    for i in range(0, frames - 1, 2):
        kept[i + 1] = least(i + 1, i, keep[i + 1])
    for i in range(0, frames - 4 if paper_compat else frames - 2, 4):
        kept[i + 2] = least(i + 2, i, keep[i + 2])
    if paper_compat and frames % 2:
        kept[-1] = []
    return kept


def _halves(side):
    """Children of each coarser row: of an odd side the first is alone."""
    start = [[0]] if side % 2 else []
    return start + [[i, i + 1] for i in range(side % 2, side, 2)]


def sttm(tokens, grid, tau_s, tau_t, root=1, paper_compat=False):
    """{slot: mean} of what is left."""
    levels = [grid]
    while min(levels[-1]) > 2:
        levels.append(tuple(-(-side // 2) for side in levels[-1]))
    top = max(0, len(levels) - 1 - root)
    nodes = []  # (frame, leaves, mean)
    for t, frame in enumerate(tokens.double()):
        value = [{(r, c): frame[r * grid[1] + c] for r in range(grid[0]) for c in range(grid[1])}]
        leaves = [{cell: {cell} for cell in value[0]}]
        children = [{}]
        for level in range(1, top + 1):
            rows, columns = (_halves(side) for side in levels[level - 1])
            below = {
                (r, c): [(y, x) for y in rows[r] for x in columns[c]]
                for r in range(len(rows))
                for c in range(len(columns))
            }
            children.append(below)
            value.append({cell: sum(value[-1][b] for b in them) / len(them) for cell, them in below.items()})
            leaves.append({cell: set().union(*(leaves[-1][b] for b in them)) for cell, them in below.items()})

        def visit(level, cell, t=t, value=value, leaves=leaves, children=children):
            if level:
                below = children[level][cell]
                compared = below + ([(0, 0)] if paper_compat and len(below) < 4 else [])
                if any(cosine(value[level][cell], value[level - 1][b]) < tau_s for b in compared):
                    for b in below:
                        visit(level - 1, b)
                    return
            nodes.append((t, leaves[level][cell], value[level][cell]))

        for cell in sorted(value[top]):
            visit(top, cell)
    label = list(range(len(nodes)))
    changed = True
    while changed:
        changed = False
        for a, b in combinations(range(len(nodes)), 2):
            (t, here, x), (u, there, y) = nodes[a], nodes[b]
            if abs(t - u) == 1 and (here <= there or there <= here) and cosine(x, y) >= tau_t and label[a] != label[b]:
                label[a] = label[b] = min(label[a], label[b])
                changed = True
    out = {}
    for group in set(label):
        members = [node for node, one in zip(nodes, label, strict=True) if one == group]
        slot = min(t * grid[0] * grid[1] + r * grid[1] + c for t, them, _ in members for r, c in [min(them)])
        out[slot] = sum(x for _, _, x in members) / len(members)
    return dict(sorted(out.items()))


def windows(tokens, tau):
    """[(start, stop, still places)]: the best of all partitions, the same one of equally good ones."""
    frames, cells, _ = tokens.shape
    alike = [[cosine(tokens[t, p], tokens[t + 1, p]) > tau for p in range(cells)] for t in range(frames - 1)]

    def still(start, stop):
        if stop - start < 2:
            return []
        return [p for p in range(cells) if all(alike[t][p] for t in range(start, stop - 1))]

    def saved(cut):
        return sum((b - a - 1) * len(still(a, b)) for a, b in cut)

    def best(stop):
        """The preferred one among the best partitions of frames 0 .. stop."""
        if stop == 0:
            return []
        options = [best(start) + [(start, stop)] for start in range(stop)]
        most = max(saved(cut) for cut in options)
        good = [cut for cut in options if saved(cut) == most]
        return good[-1] if good[-1][-1] == (stop - 1, stop) else good[0]

    every = [
        [(a, b) for a, b in zip((0, *cut), (*cut, frames), strict=True)]
        for size in range(frames)
        for cut in combinations(range(1, frames), size)
    ]
    found = best(frames)
    assert saved(found) == max(saved(cut) for cut in every)
    return [(a, b, still(a, b)) for a, b in found]


def density_peaks(states, count, neighbours):
    n, width = states.shape
    distance = [[float((a.double() - b.double()).norm()) / width**0.5 for b in states] for a in states]
    rho = []
    for row in distance:
        near = sorted(row)[: min(neighbours, count, n)]
        rho.append(float(torch.tensor(-sum(d * d for d in near) / len(near), dtype=torch.float64).exp()))
    gamma = []
    for i in range(n):
        denser = [distance[i][j] for j in range(n) if rho[j] > rho[i] or (rho[j] == rho[i] and j < i)]
        gamma.append(rho[i] * (min(denser) if denser else max(map(max, distance))))
    return best_places(gamma, count)


def cluster(states, count, neighbours, beta):
    """[(place, value)] after clustering around density peaks."""
    if count >= len(states):
        return [(i, state.double()) for i, state in enumerate(states)]
    if count == 0:
        return []
    centres = density_peaks(states, count, neighbours)
    members = {c: [] for c in centres}
    for i in range(len(states)):
        if i not in members:
            members[max(centres, key=lambda c: (cosine(states[i], states[c]), -c))].append(states[i].double())
    return [
        (c, beta * states[c].double() + (1 - beta) * sum(them) / len(them) if them else states[c].double())
        for c, them in members.items()
    ]


def share_out(sizes, total):
    total = min(total, sum(sizes))
    exact = [Fraction(size * total, sum(sizes)) for size in sizes]
    counts = [int(share) for share in exact]
    for i in sorted(range(len(sizes)), key=lambda i: (counts[i] - exact[i], i))[: total - sum(counts)]:
        counts[i] += 1
    return counts


def holitom(tokens, attention, total, tau=0.8, contextual=0.0, neighbours=7, beta=0.6):
    """{slot: value} of the outer stage."""
    cells = tokens.shape[1]
    groups = []
    for start, stop, still in windows(tokens, tau):
        if still:
            groups.append((start, still, torch.stack([tokens[start:stop, p].double().mean(0) for p in still]), True))
        moving = [p for p in range(cells) if p not in still]
        groups += [(t, moving, tokens[t, moving], False) for t in range(start, stop)]
    out = {}
    for (t, places, states, is_still), count in zip(groups, share_out([len(g[1]) for g in groups], total), strict=True):
        dominant = 0 if is_still else round(count * (1 - contextual))
        best = best_places([attention[t, p] for p in places], dominant)
        rest = [i for i in range(len(places)) if i not in best]
        for i in best:
            out[t * cells + places[i]] = states[i].double()
        if rest:
            for i, value in cluster(states[rest], count - dominant, neighbours, beta):
                out[t * cells + places[rest[i]]] = value
    return dict(sorted(out.items()))


def merge_one_by_one(hidden, kept):
    """What is not kept goes, one after the other, half and half into the most similar kept one."""
    value = {i: hidden[i].double() for i in kept}
    for j in range(len(hidden)):
        if j not in value:
            into = max(kept, key=lambda i: (cosine(hidden[i], hidden[j]), -i))
            value[into] = (value[into] + hidden[j].double()) / 2
    return torch.stack([value[i] for i in kept])


def debts(gains, counts, order):
    """bool per frame and cell: in every frame all debts grow, and the largest are paid one after the other."""
    frames, cells = len(gains), len(gains[0])
    owed, sent = [0.0] * cells, []
    for t in range(frames):
        owed = [a + float(b) for a, b in zip(owed, gains[t], strict=True)]
        paid = []
        for _ in range(counts[t]):
            left = [p for p in order if p not in paid]
            most = max(round(owed[p], 6) for p in left)
            paid.append(next(p for p in left if round(owed[p], 6) == most))
        sent.append([p in paid for p in range(cells)])
        owed = [0.0 if p in paid else one for p, one in enumerate(owed)]
    return sent


def held(tokens, sent):
    """{slot: value}: a sent token, averaged with the mean of what its place shows until it is sent again."""
    frames, cells, _ = tokens.shape
    out = {}
    for p in range(cells):
        for t in range(frames):
            if not sent[t][p]:
                continue
            later = []
            for u in range(t + 1, frames):
                if sent[u][p]:
                    break
                later.append(tokens[u, p].double())
            own = tokens[t, p].double()
            out[t * cells + p] = (own + sum(later) / len(later)) / 2 if later else own
    return dict(sorted(out.items()))
