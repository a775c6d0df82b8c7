"""Metadata as the input of a training loop: caches, a corpus, a torch Dataset read by several workers.

    python examples/train_on_a_corpus.py VIDEO...

Caches the videos (or folders of videos) in a temporary folder, and trains a small network to say from a frame's
residual energy and vectors how many bytes the encoder spent on the next one. Each worker of the DataLoader opens the
caches it needs itself; the corpus it is given is only the index.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import codecmeta
from codecmeta.corpus.batch import extract_many
from codecmeta.corpus.index import IndexWriter, index_path
from codecmeta.corpus.inputs import find_videos, plan

GRID, FRAMES, EPOCHS = (9, 16), 64, 6


class FramePairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs of following frames that have maps. An item: float32 (2, *GRID), density and motion of the first, and the
    logarithm of the bytes of the next."""

    def __init__(self, corpus: codecmeta.Corpus) -> None:
        self.corpus = corpus
        self.items: list[tuple[str, int]] = []
        for key in corpus:
            with corpus[key] as meta:
                rows = meta.residual.frame if meta.residual is not None else np.zeros(0, np.int64)
                self.items += [(key, int(row)) for row in rows if row + 1 < len(meta.frames)]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        key, row = self.items[index]
        with self.corpus[key] as meta:
            density = codecmeta.patch_density(meta, [row], GRID)[0]
            vectors = meta.motion.of(row) if meta.motion is not None else None
            moved = (
                0.0
                if vectors is None or not len(vectors)
                else np.hypot(vectors["motion_x"], vectors["motion_y"]).mean()
            )
            wanted = np.log1p(meta.frames.packet_bytes[row + 1])
        maps = np.stack([density, np.full(GRID, np.log1p(moved))]).astype(np.float32)
        return torch.from_numpy(maps), torch.tensor(wanted, dtype=torch.float32)


def main(inputs: list[str], folder: Path) -> None:
    """Extract, train, and print the error before and after."""
    tasks = plan([pair for one in inputs for pair in find_videos(Path(one))], folder)
    with IndexWriter(index_path(folder)) as index:
        for row in extract_many(tasks, frames=FRAMES, isolate=len(tasks) > 1, timeout=600):
            index.add(row)
    corpus = codecmeta.Corpus(folder).where(lambda row: row.frames > 1)
    print(corpus)

    torch.manual_seed(0)
    batches: Any = DataLoader(FramePairs(corpus), batch_size=16, shuffle=True, num_workers=2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * GRID[0] * GRID[1], 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for epoch in range(EPOCHS):
        errors = []
        for maps, wanted in batches:
            loss = nn.functional.mse_loss(network(maps)[:, 0], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            errors.append(loss.item())
        print(f"epoch {epoch}: mean squared error of the log bytes {np.mean(errors):.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as caches:
        main(sys.argv[1:], Path(caches))
