"""Sampled pictures under what is known of their patches: heat, outlined regions, kept cells. OpenCV.

Both the PNG and the page show these panels; pictures are RGB here, as `codecmeta.read` gives them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST = 640
"""Longest side, in pixels, of a picture kept for drawing."""

NEUTRAL = 176
"""Grey level that takes the place of a picture that is not at hand."""

_DARKEST, _BRIGHTEST = 50, 240  # grey levels of a picture under heat: leaves room for the colours
_COVER = 0.9  # how much of a picture the strongest heat hides
_VEIL = (128, 128, 128)  # over what was dropped
_FOLDED = (94, 140, 190)  # over what was folded into a kept token


def shrunk(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture made smaller where its longer side has more than `LONGEST` pixels: uint8 RGB (height, width, 3)."""
    height, width = picture.shape[:2]
    scale = min(1.0, LONGEST / max(height, width))
    return resized(picture, max(1, round(width * scale)), max(1, round(height * scale)))


def resized(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Area means where it gets smaller, cubic interpolation where it gets larger."""
    smaller = width * height <= picture.shape[0] * picture.shape[1]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def viewed(picture: NDArray[np.uint8], view: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """The part of a picture that a model sees; what lies outside of the picture is neutral grey.

    view: (x0, y0, x1, y1) as shares of the picture's width and height, may reach over its edges.
    """
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = (round(share * side) for share, side in zip(view, (width, height, width, height), strict=True))
    canvas = np.full((max(y1 - y0, 1), max(x1 - x0, 1), 3), NEUTRAL, np.uint8)
    top, left = max(y0, 0), max(x0, 0)
    part = picture[top : max(y1, 0), left : max(x1, 0)]
    canvas[top - y0 :, left - x0 :][: part.shape[0], : part.shape[1]] = part
    return canvas


def heated(picture: NDArray[np.uint8], density: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The picture in grey under the heat of its patches: viridis, and the denser the patch the more it covers.

    density: float32 (rows, columns), 0..1. Its root is what is coloured, which spreads the few strong patches from the
    many weak ones; a patch of 0 has no colour at all.
    """
    height, width = picture.shape[:2]
    root = cv2.resize(np.sqrt(np.clip(density, 0, 1)), (width, height), interpolation=cv2.INTER_NEAREST)
    heat = cv2.applyColorMap((255 * root).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None] / 255
    ground = _DARKEST + (_BRIGHTEST - _DARKEST) * grey
    cover = _COVER * np.minimum(1, 2 * root)[..., None]
    return (ground * (1 - cover) + heat * cover).astype(np.uint8)


def scale_bar(width: int, height: int) -> NDArray[np.uint8]:
    """The colours of densities 0 (left) to 1 (right), as they look over a picture of medium grey."""
    ramp = np.linspace(0, 1, width, dtype=np.float32)[None]
    return heated(np.full((height, width, 3), 128, np.uint8), ramp)


def outlined(picture: NDArray[np.uint8], labels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """White lines with dark edges around the regions of more than one patch, which are hatched.

    labels: int32 (rows, columns), the number of the region that each patch belongs to.
    """
    height, width = picture.shape[:2]
    merged = np.bincount(labels.ravel())[labels] > 1
    shown = np.where(merged, labels + 1, 0).astype(np.float32)
    large = cv2.resize(shown, (width, height), interpolation=cv2.INTER_NEAREST)
    down, right = np.indices((height, width), np.int32)
    result = picture.copy()
    hatch = (large > 0) & ((down + right) % 10 == 0)
    result[hatch] = (picture[hatch].astype(np.uint16) + 255) // 2
    return _lined(result, large)


def kept_cells(
    picture: NDArray[np.uint8], kept: NDArray[np.bool_], homes: NDArray[np.int64], frame: int
) -> NDArray[np.uint8]:
    """The picture with lines around the cells whose tokens were kept, and a veil over the others: grey where they were
    dropped, blue where a kept token took them in, with a line to it, or a pointer to an earlier or later frame.

    kept: bool (rows, columns). homes: int64 (rows, columns), the place (frame * cells + raster number) whose token took
    in what was there, -1 where that was dropped. frame: which frame this is.
    """
    height, width = picture.shape[:2]
    state = np.where(kept, 0, np.where(homes >= 0, 1, 2)).astype(np.float32)
    large = cv2.resize(state, (width, height), interpolation=cv2.INTER_NEAREST)
    dropped = (0.18 * picture + 0.82 * np.array(_VEIL)).astype(np.uint8)
    folded = (0.35 * picture + 0.65 * np.array(_FOLDED)).astype(np.uint8)
    result = np.where(large[..., None] == 1, folded, np.where(large[..., None] == 2, dropped, picture))
    if kept.all():
        return result
    result = _lined(result, (large == 0).astype(np.float32))
    for row, column in np.argwhere((homes >= 0) & ~kept).tolist():
        _fold_mark(result, (row, column), int(homes[row, column]) - frame * kept.size, kept.shape)
    return result


def _fold_mark(picture: NDArray[np.uint8], cell: tuple[int, int], home: int, grid: tuple[int, ...]) -> None:
    """A line from a cell to its home in the same frame, else a triangle that points back or ahead in time."""
    high, wide = picture.shape[0] / grid[0], picture.shape[1] / grid[1]
    x, y = round((cell[1] + 0.5) * wide), round((cell[0] + 0.5) * high)
    if 0 <= home < grid[0] * grid[1]:
        row, column = divmod(home, grid[1])
        to = round((column + 0.5) * wide), round((row + 0.5) * high)
        for colour, thickness in (((30, 30, 30), 3), ((255, 255, 255), 1)):
            cv2.line(picture, (x, y), to, colour, thickness, cv2.LINE_AA)
        cv2.circle(picture, to, 3, (255, 255, 255), -1, cv2.LINE_AA)
        return
    side = max(2, round(min(high, wide) / 6)) * (-1 if home < 0 else 1)
    points = np.array([(x + side, y), (x - side, y - side), (x - side, y + side)], np.int32)
    cv2.fillPoly(picture, [points], (255, 255, 255), cv2.LINE_AA)


def _lined(picture: NDArray[np.uint8], areas: NDArray[np.float32]) -> NDArray[np.uint8]:
    """White lines, dark on both sides, where two areas meet."""
    edge = np.zeros(areas.shape, np.uint8)
    edge[:, 1:] |= areas[:, 1:] != areas[:, :-1]
    edge[1:] |= areas[1:] != areas[:-1]
    edge = cv2.dilate(edge, np.ones((2, 2), np.uint8))
    picture[cv2.dilate(edge, np.ones((3, 3), np.uint8)) > 0] = (30, 30, 30)
    picture[edge > 0] = (255, 255, 255)
    return picture


def jpeg(picture: NDArray[np.uint8], quality: int) -> bytes:
    """An RGB picture as JPEG; quality: 0..100."""
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
