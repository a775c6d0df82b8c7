"""Method `fastvid`: segments, salient tokens, and anchors that take in the rest (FastVID, NeurIPS 2025)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from codecmeta.compression.merging import index_of
from codecmeta.compression.methods.fastv import most_attended
from codecmeta.compression.methods.holitom import peak_scores
from codecmeta.compression.options import Effects
from codecmeta.compression.plan import Context, Layout, Plan, Reduced
from codecmeta.compression.strategy import Strategy
from codecmeta.record.metadata import Metadata


@dataclass(frozen=True, kw_only=True)
class Fastvid(Strategy):
    """FastVID: segments of alike frames; salient tokens stay in every frame, the others merge into anchors.

    A clip is cut between frames whose mean tokens have a cosine below `tau`, and at the `segments` - 1 lowest cosines
    in any case (DySeg; FastVID, NeurIPS 2025). Of m = floor(R N) tokens per frame, m - floor(m D) are those that the
    vision encoder's last layer attends to most. The other floor(m D) of each frame of a segment are pooled and spent on
    every `every`-th frame, counted from the segment's last one backwards: anchors are the density peaks (DPC-KNN) among
    the tokens of that frame that are not salient. For each anchor frame by itself all tokens of the segment that are
    not salient go to its most similar anchor, and the anchor becomes w of itself and 1 - w of their mean, w = max(1 /
    (n + 1), beta).

    Otherwise than published: frames are compared by their mean token, where the code for LLaVA takes the encoder's
    pooling head and the one for Qwen2.5-VL the mean; saliency is attention received, as the code for Qwen2.5-VL takes;
    ties of DPC-KNN go to the earlier token, where random noise breaks them. The code's switch for Qwen2.5-VL that
    leaves segments out (DySeg_ignore) is not in the sources used in enough detail, and is missing.

    budget: R, of which a little less comes out, as numbers are rounded down per frame and segment; but never less than
    one token per frame. contextual: D, share of anchors. tau, segments: where the clip is cut. every: of a segment's
    frames one in so many has anchors. neighbours: of DPC-KNN. beta: least weight of an anchor beside what it takes in.
    """

    name: ClassVar[str] = "fastvid"
    needs_vision_attention: ClassVar[bool] = True
    effects: ClassVar[Effects] = dict.fromkeys(
        ("segments", "tau", "every", "neighbours", "beta"), ("contextual above 0", lambda own: own.contextual)
    )

    budget: float = 0.25
    segments: int = 8
    tau: float = 0.9
    contextual: float = 0.4
    every: int = 4
    neighbours: int = 4
    beta: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in (("contextual", self.contextual), ("beta", self.beta)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1; got {value}")
        if min(self.segments, self.every, self.neighbours) < 1:
            raise ValueError("segments, every and neighbours must be at least 1")

    def plan(self, layout: Layout, meta: Metadata | None = None, rows: NDArray[np.int64] | None = None) -> Plan:
        """At most m tokens per frame; metadata is not used."""
        slots = np.ones((layout.frames, layout.tokens_per_frame), bool)
        if self.budget >= 1:
            return Plan(layout, slots.sum(axis=1))
        total = layout.frames * self._per_frame(layout.tokens_per_frame)
        return Plan(layout, slots.sum(axis=1), exact=False, slots=slots, total=total)

    def _per_frame(self, cells: int) -> int:
        return max(1, int(self.budget * cells + 1e-9))

    def reduce(self, plan: Plan, tokens: Tensor, context: Context | None = None) -> Reduced:
        """Salient tokens and anchors, in order of frame and place."""
        assert context is not None and context.attention is not None
        frames, cells = tokens.shape[:2]
        count = self._per_frame(cells)
        context_tokens = int(count * self.contextual + 1e-9)
        salient = np.zeros((frames, cells), bool)
        for t in range(frames):
            salient[t, most_attended(context.attention[t], count - context_tokens)] = True
        values, kept = tokens.float().flatten(0, 1).clone(), salient.ravel().copy()
        homes, distance = np.full(frames * cells, -1, np.int64), np.full(frames * cells, frames)
        for start, stop in cut_alike(tokens, self.tau, self.segments):
            loose = np.flatnonzero(~salient[start:stop].ravel()) + start * cells
            anchor_frames = np.arange(stop - 1, start - 1, -self.every)
            most = (stop - start) * context_tokens // len(anchor_frames)
            for t in anchor_frames.tolist():
                own = loose[(loose >= t * cells) & (loose < (t + 1) * cells)]
                anchors = own[self._anchors(tokens, own, min(most, len(own)))]
                if len(anchors):
                    states, into = self._take_in(tokens.flatten(0, 1), anchors, loose)
                    values[index_of(anchors, values)] = states
                    kept[anchors] = True
                    nearer = (
                        np.abs(loose // cells - t) < distance[loose]
                    )  # of several anchor frames the nearest is told
                    homes[loose[nearer]] = anchors[into[nearer]]
                    distance[loose] = np.minimum(distance[loose], np.abs(loose // cells - t))
        places = np.flatnonzero(kept).astype(np.int64)
        return Reduced(values[index_of(places, values)].to(tokens.dtype), places, into=homes)

    def _anchors(self, tokens: Tensor, own: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        if count == 0:
            return np.zeros(0, np.int64)
        return most_attended(peak_scores(tokens.flatten(0, 1)[index_of(own, tokens)], self.neighbours), count)

    def _take_in(
        self, flat: Tensor, anchors: NDArray[np.int64], loose: NDArray[np.int64]
    ) -> tuple[Tensor, NDArray[np.int64]]:
        """Anchors beside the mean of what is most similar to them, themselves included; and which anchor that is."""
        own, every = flat[index_of(anchors, flat)].float(), flat[index_of(loose, flat)].float()
        into = (normalize(every, dim=-1) @ normalize(own, dim=-1).T).argmax(dim=1)
        sizes = into.bincount(minlength=len(anchors))[:, None]
        means = torch.zeros_like(own).index_add_(0, into, every) / sizes.clamp(min=1)
        weight = (1 / (sizes + 1)).clamp(min=self.beta)
        return weight * own + (1 - weight) * means, into.cpu().numpy()


def cut_alike(tokens: Tensor, tau: float, least: int) -> list[tuple[int, int]]:
    """Half-open ranges of frames: cut where mean tokens of neighbours have a cosine below `tau`, and at the least - 1
    lowest cosines, of equal ones the earlier. tokens: (T, N, width)."""
    units = normalize(tokens.double().mean(dim=1), dim=-1)
    alike = (units[1:] * units[:-1]).sum(dim=-1).cpu().numpy().round(9)
    cuts = set(np.flatnonzero(alike < tau)) | set(np.argsort(alike, kind="stable")[: least - 1])
    edges = [0, *sorted(int(cut) + 1 for cut in cuts), len(tokens)]
    return list(zip(edges[:-1], edges[1:], strict=True))
