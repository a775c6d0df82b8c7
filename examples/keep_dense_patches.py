"""For a pipeline of your own: which patches of which frames to keep, decided before any network runs.

    python examples/keep_dense_patches.py VIDEO

Reads 16 pictures and their metadata in one pass, gives every frame a budget by the packets around it, and keeps the
densest patches of each. Your encoder then sees `kept` only, with `places` telling where each patch came from.
"""

from __future__ import annotations

import sys

import numpy as np

import codecmeta

FRAMES, SIDE, PATCH, SHARE = 16, 224, 16, 0.3


def main(video: str) -> None:
    """Print how many patches of each sampled frame are kept, and check that the shapes are what an encoder takes."""
    import cv2

    meta, rows, pictures = codecmeta.read(
        video, FRAMES, transform=lambda picture: cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    )
    grid = SIDE // PATCH
    density = codecmeta.patch_density(meta, rows, (grid, grid)).reshape(len(rows), -1)
    total = int(SHARE * density.size)
    budgets = codecmeta.frame_budgets(codecmeta.gop_weights(meta, rows), total, grid * grid)

    patches = np.stack(pictures).reshape(len(rows), grid, PATCH, grid, PATCH, 3).swapaxes(2, 3)
    patches = patches.reshape(len(rows), grid * grid, -1)
    order = np.argsort(-density, axis=1, kind="stable")
    places = [(frame, patch) for frame, count in enumerate(budgets) for patch in np.sort(order[frame, :count])]
    kept = np.stack([patches[place] for place in places])

    for row, count in zip(rows, budgets, strict=True):
        print(f"{meta.frames.time[row]:8.2f} s  {count:4d} of {grid * grid} patches")
    print(f"{len(kept)} of {density.size} patches kept, array {kept.shape} {kept.dtype}")


if __name__ == "__main__":
    main(sys.argv[1])
