"""Pictures in decoding order: reference lists, co-located pictures, and with them exact direct vectors.

sequence = PictureSequence(stream.codec_context.extradata)
for packet in container.demux(stream):
    picture = sequence.parse(bytes(packet))
"""

from __future__ import annotations

import numpy as np

from codecmeta.codecs.h264.decoded_picture_buffer import DecodedPictureBuffer, Reference
from codecmeta.codecs.h264.picture import Picture, PictureParser
from codecmeta.codecs.h264.slice_header import B, SliceHeader
from codecmeta.codecs.h264.state import K_MAP, K_SCALE


class PictureSequence:
    """Parses every picture of a stream from an IDR picture on. Decoding order is the order of the calls of `parse`."""

    def __init__(self, extradata: bytes | None = None, *, annex_b: bool = False) -> None:
        """As `PictureParser`."""
        self.parser = PictureParser(extradata, annex_b=annex_b)
        self.buffer = DecodedPictureBuffer()
        self._pictures: dict[int, Picture] = {}  # by identity, those still used for reference

    def parse(self, packet: bytes) -> Picture | None:
        """The picture of the next packet; None: it has no slice that can be read. Raises as `PictureParser.parse`."""
        slices, errors = self.parser.slices_of(packet)
        if not slices:
            self.buffer.lost |= bool(errors)  # nobody knows what its header did to the references
            return None
        first = slices[0][0]
        picture = self.parser.new_picture(first.sps)
        picture.errors += errors
        current = self.buffer.begin(first)
        picture.identity, picture.order = current.identity, current.order
        for header, rbsp in slices:
            self._parse_slice(picture, header, rbsp)
        self.buffer.end(first)
        used = {reference.identity for reference in self.buffer.references}
        self._pictures = {i: p for i, p in self._pictures.items() if i in used}
        if current.used:
            self._pictures[current.identity] = picture
        return picture

    def _parse_slice(self, picture: Picture, header: SliceHeader, rbsp: bytes) -> None:
        lists = self.buffer.lists(header)
        known = [() if self.buffer.lost else tuple(r.identity if r else -1 for r in one) for one in lists]
        picture.lists.append((known[0], known[1]))
        colocated, long_term = None, False
        if header.slice_type == B and lists[1] and lists[1][0] is not None:
            colocated = self._pictures.get(lists[1][0].identity)
            long_term = lists[1][0].long_term_frame_idx is not None
            if (
                colocated is not None
                and colocated.sps.width * colocated.sps.height != picture.sps.width * picture.sps.height
            ):
                colocated = None
            if colocated is not None and not header.direct_spatial_mv_pred_flag:
                self.parser.k = temporal_direct(picture, lists, colocated)
        if header.slice_type == B:
            missing = self.buffer.lost or lists[0][0] is None or colocated is None or not _sound(colocated)
            picture.vectors_exact &= not missing
        self.parser.parse_slice(picture, header, rbsp, colocated, long_term)


def _sound(picture: Picture) -> bool:
    return picture.vectors_exact and picture.complete


def temporal_direct(
    picture: Picture, lists: tuple[list[Reference | None], list[Reference | None]], colocated: Picture
) -> np.ndarray:
    """DistScaleFactor by refIdxL0 and MapColToList0 by slice, list and refIdxCol of the co-located picture (8.4.1.2.3).

    int32, as state.K_SCALE and state.K_MAP lay it out. A picture is found by what it is, not by its order count: the
    lowest refIdxL0 that refers to the picture the co-located block referred to.
    """
    k = np.zeros(K_MAP + 64 * max(len(colocated.lists), 1), np.int32)
    list_0, list_1 = lists
    index: dict[int, int] = {}
    for i, reference in enumerate(list_0):
        if reference is None:
            continue
        index.setdefault(reference.identity, i)
        k[K_SCALE + i] = 256
        last = list_1[0]
        if reference.long_term_frame_idx is None and last is not None and last.order != reference.order:
            tb = min(max(picture.order - reference.order, -128), 127)
            td = min(max(last.order - reference.order, -128), 127)
            tx = int((16384 + abs(int(td / 2))) / td)  # the standard's / truncates towards zero
            k[K_SCALE + i] = min(max((tb * tx + 32) >> 6, -1024), 1023)
    for slice_number, pair in enumerate(colocated.lists):
        for list_, identities in enumerate(pair):
            for i, identity in enumerate(identities):
                k[K_MAP + 64 * slice_number + 32 * list_ + i] = index.get(identity, 0)
    return k
