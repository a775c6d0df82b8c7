"""The compared methods one token, pair or partition at a time, in float64 and plain loops; shares no code with them."""

import math
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


def peaks(states, neighbours):
    """Density times distance to the next denser state."""
    n, width = states.shape
    far = [[float((a.double() - b.double()).norm()) / width**0.5 for b in states] for a in states]
    rho = [math.exp(-sum(d * d for d in sorted(row)[:neighbours]) / min(neighbours, n)) for row in far]
    gamma = []
    for i in range(n):
        denser = [far[i][j] for j in range(n) if rho[j] > rho[i] or (rho[j] == rho[i] and j < i)]
        gamma.append(rho[i] * (min(denser) if denser else max(map(max, far))))
    return gamma


def density_peaks(states, count, neighbours):
    """Places of `count` centres; their density is among as few neighbours as there are centres, at most."""
    return best_places(peaks(states, min(neighbours, count)), count)


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


def vidcom2(tokens, budget, total=None):
    """Flat places; with a total, every frame has one token and the rest goes in proportion."""
    frames, cells, width = tokens.shape
    flat = tokens.double().flatten(0, 1)
    spread = [float(((flat[:, c] - flat[:, c].mean()) ** 2).sum()) for c in range(width)]
    calm = sorted(sorted(range(width), key=lambda c: (spread[c], c))[: width // 2])
    units = [[x[calm] / x[calm].norm() for x in frame.double()] for frame in tokens]
    clip_mean = sum(x for frame in units for x in frame) / (frames * cells)

    def near(x, mean):
        distance = float(((x - mean) ** 2).sum())
        return sum(math.exp(-distance / (2 * 2.0**power)) for power in range(-3, 2))

    v = [[near(x, clip_mean) for x in frame] for frame in units]
    f = [[near(x, sum(frame) / cells) for x in frame] for frame in units]
    u = [-sum(line) / cells for line in v]
    soft = [math.exp((one - max(u)) / 0.01) for one in u]
    shares = [min(1.0, budget * (1 + one / sum(soft) - 1 / frames)) for one in soft]
    if total is None:
        counts = [max(1, round(share * cells)) for share in shares]
    else:
        wanted, full = [0.0] * frames, set()
        while True:  # who would get more than all of its tokens gets all of them
            rest = total - cells * len(full) - (frames - len(full))
            free = sum(shares[t] for t in range(frames) if t not in full)
            wanted = [float(cells) if t in full else 1 + rest * shares[t] / free for t in range(frames)]
            over = {t for t in range(frames) if t not in full and wanted[t] > cells}
            if not over:
                break
            full |= over
        counts = [int(one + 1e-9) for one in wanted]
        for t in sorted(range(frames), key=lambda t: (counts[t] - wanted[t], t))[: total - sum(counts)]:
            counts[t] += 1
    unlike = [[-round(a + b, 6) for a, b in zip(*lines, strict=True)] for lines in zip(v, f, strict=True)]
    return [t * cells + p for t in range(frames) for p in best_places(unlike[t], counts[t])]


def spread_out(tokens, count):
    """Places of a greedy max-min choice by 1 - cosine."""
    n = len(tokens)
    far = [[round(1 - cosine(a, b), 6) for b in tokens] for a in tokens]
    chosen = [max(range(n), key=lambda j: (min(far[j][i] for i in range(n) if i != j), -j))] if count else []
    while len(chosen) < count:
        left = [j for j in range(n) if j not in chosen]
        chosen.append(max(left, key=lambda j: (min(far[i][j] for i in chosen), -j)))
    return sorted(chosen)


def visionzip(tokens, attention, total, contextual=10 / 64):
    """{slot: value}."""
    frames, cells, _ = tokens.shape
    out = {}
    for t, count in enumerate(share_out([cells] * frames, total)):
        few = round(count * contextual)
        dominant = best_places(attention[t], count - few)
        rest = [p for p in range(cells) if p not in dominant]
        targets = rest[:: max(1, len(rest) // few)][:few] if few else []
        members = {p: [] for p in targets}
        for p in rest:
            if p not in targets and targets:
                members[max(targets, key=lambda q: (cosine(tokens[t, p], tokens[t, q]), -q))].append(tokens[t, p])
        for p in dominant:
            out[t * cells + p] = tokens[t, p].double()
        for p, them in members.items():
            out[t * cells + p] = tokens[t, p].double() + (sum(x.double() for x in them) / len(them) if them else 0)
    return dict(sorted(out.items()))


def segments(tokens, tau, least):
    """[(start, stop)] of alike frames."""
    means = [frame.double().mean(0) for frame in tokens]
    alike = [round(cosine(a, b), 9) for a, b in zip(means[:-1], means[1:], strict=True)]
    cuts = {t for t, one in enumerate(alike) if one < tau}
    cuts |= set(sorted(range(len(alike)), key=lambda t: (alike[t], t))[: least - 1])
    edges = [0, *(t + 1 for t in sorted(cuts)), len(tokens)]
    return list(zip(edges[:-1], edges[1:], strict=True))


def fastvid(tokens, attention, budget, tau=0.9, least=8, contextual=0.4, every=4, neighbours=4, beta=0.6):
    """{slot: value}."""
    frames, cells, _ = tokens.shape
    count = int(budget * cells + 1e-9)
    pooled = int(count * contextual + 1e-9)
    salient = [best_places(attention[t], count - pooled) for t in range(frames)]
    out = {t * cells + p: tokens[t, p].double() for t in range(frames) for p in salient[t]}
    for start, stop in segments(tokens, tau, least):
        loose = [(t, p) for t in range(start, stop) for p in range(cells) if p not in salient[t]]
        anchor_frames = [t for t in range(start, stop) if (stop - 1 - t) % every == 0]
        for t in anchor_frames:
            own = [p for p in range(cells) if p not in salient[t]]
            most = min(len(own), (stop - start) * pooled // len(anchor_frames))
            anchors = [own[i] for i in best_places(peaks(tokens[t, own], neighbours), most)]
            members = {p: [] for p in anchors}
            for u, q in loose if anchors else []:
                into = max(anchors, key=lambda p: (cosine(tokens[u, q], tokens[t, p]), -p))
                members[into].append(tokens[u, q].double())
            for p, them in members.items():
                weight = max(1 / (len(them) + 1), beta)
                mean = sum(them) / len(them) if them else tokens[t, p].double()
                out[t * cells + p] = weight * tokens[t, p].double() + (1 - weight) * mean
    return dict(sorted(out.items()))


def diverse(states, attention, count):
    n = len(states)
    far = [[round((1 - cosine(a, b)) * float(w), 9) for b, w in zip(states, attention, strict=True)] for a in states]
    chosen = [max(range(n), key=lambda j: (min(far[i][j] for i in range(n) if i != j), -j))]
    while len(chosen) < count:
        left = [j for j in range(n) if j not in chosen]
        chosen.append(max(left, key=lambda j: (min(far[i][j] for i in chosen), -j)))
    return sorted(chosen)


def flashvid(tokens, attention, count, selected, tau_t=0.8, tau_s=0.9, least=8, neighbours=7):
    """{slot: value} of `count` tokens per frame, `selected` of them by diversity."""
    frames, cells, _ = tokens.shape
    chosen = [diverse(tokens[t], attention[t], selected) for t in range(frames)]
    out = {t * cells + p: tokens[t, p].double() for t in range(frames) for p in chosen[t]}
    for start, stop in segments(tokens, tau_s, least):
        loose = [[p for p in range(cells) if p not in chosen[t]] for t in range(start, stop)]
        most = (stop - start) * (count - selected)
        links = []
        for t in range(start + 1, stop):
            for p in loose[t - start]:
                before = {q: cosine(tokens[t, p], tokens[t - 1, q]) for q in loose[t - 1 - start]}
                if before and max(before.values()) > tau_t:
                    q = max(before, key=lambda q: (before[q], -q))
                    links.append((-round(before[q], 6), (t, p), (t - 1, q)))
        total = sum(map(len, loose))
        parent = {child: one for _, child, one in sorted(links)[: max(0, total - most)]}
        trees = {}
        for t in range(start, stop):
            for p in loose[t - start]:
                root = (t, p)
                while root in parent:
                    root = parent[root]
                trees.setdefault(root, []).append(tokens[t, p].double())
        roots = {t: sorted(p for u, p in trees if u == t) for t in range(start, stop)}
        shares = share_out([len(roots[t]) for t in range(start, stop)], most)
        for t, clusters in zip(range(start, stop), shares, strict=True):
            means = [sum(trees[t, p]) / len(trees[t, p]) for p in roots[t]]
            if not clusters:
                continue
            if clusters >= len(means):
                centres = list(range(len(means)))
            else:
                centres = density_peaks(torch.stack(means), clusters, neighbours)
            members = {c: [] for c in centres}
            for i, mean in enumerate(means):
                nearest = min(centres, key=lambda c: (i != c, float((mean - means[c]).norm()), c))
                members[nearest if i not in centres else i].append(mean)
            for c, them in members.items():
                out[t * cells + roots[t][c]] = sum(them) / len(them)
    return dict(sorted(out.items()))


def connected(items, tau):
    """[(slot, mean)] of connected components of (slot, value)s, in order of their first members."""
    label = list(range(len(items)))
    alike = [(a, b) for a, b in combinations(range(len(items)), 2) if cosine(items[a][1], items[b][1]) > tau]
    while any(label[a] != label[b] for a, b in alike):
        for a, b in alike:
            label[a] = label[b] = min(label[a], label[b])
    groups = {}
    for one, item in zip(label, items, strict=True):
        groups.setdefault(one, []).append(item)
    return [(them[0][0], sum(x.double() for _, x in them) / len(them)) for _, them in sorted(groups.items())]


def scissor(tokens, tau):
    """{slot: value}."""
    frames, cells, _ = tokens.shape
    items = []
    for t in range(frames):
        items += connected([(t * cells + p, tokens[t, p]) for p in range(cells)], tau)
    left = connected(items, tau)
    members = [[] for _ in left]
    for x in tokens.flatten(0, 1):
        members[max(range(len(left)), key=lambda i: (cosine(x, left[i][1]), -i))].append(x.double())
    return {slot: (c + sum(them)) / (len(them) + 1) for (slot, c), them in zip(left, members, strict=True)}
