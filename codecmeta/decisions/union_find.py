"""Union-find whose root is always the smallest member: connected components of a grid or of a list of pairs."""

from __future__ import annotations

from codecmeta.compiling import njit


@njit(cache=True, nogil=True)
def join(parent, a, b):  # type: ignore[no-untyped-def]
    """Put a and b into one component. parent: int64 (n,), arange(n) at first; paths are halved on the way."""
    while parent[a] != a:
        parent[a] = parent[parent[a]]
        a = parent[a]
    while parent[b] != b:
        parent[b] = parent[parent[b]]
        b = parent[b]
    if a < b:
        parent[b] = a
    else:
        parent[a] = b


@njit(cache=True, nogil=True)
def join_pairs(parent, left, right):  # type: ignore[no-untyped-def]
    """Join left[k] and right[k] for all k, int64 (m,); parent then holds the smallest member of each component."""
    for k in range(len(left)):
        join(parent, left[k], right[k])
    for i in range(len(parent)):  # parents come before their children, so one pass flattens
        parent[i] = parent[parent[i]]
