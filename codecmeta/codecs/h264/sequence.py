"""Pictures in decoding order: reference lists, co-located pictures, and with them exact direct vectors.

sequence = PictureSequence(stream.codec_context.extradata)
for packet in container.demux(stream):
    picture = sequence.parse(bytes(packet))
"""

from __future__ import annotations

from codecmeta.codecs.h264.colocated import colocated_of, temporal_direct, temporal_direct_of_pairs
from codecmeta.codecs.h264.decoded_picture_buffer import DecodedPictureBuffer
from codecmeta.codecs.h264.fields import FieldPair, FirstField, frame_of, is_completed_by
from codecmeta.codecs.h264.picture import Picture, PictureParser
from codecmeta.codecs.h264.references import Reference
from codecmeta.codecs.h264.slice_header import B, I, SliceHeader


class PictureSequence:
    """Parses every picture of a stream from an IDR picture on. Decoding order is the order of the calls of `parse`."""

    def __init__(self, extradata: bytes | None = None, *, annex_b: bool = False) -> None:
        """As `PictureParser`."""
        self.parser = PictureParser(extradata, annex_b=annex_b)
        self.buffer = DecodedPictureBuffer()
        self._first_field: FirstField | None = None  # of the packet before
        self.pictures: dict[int, list[Picture]] = {}  # by identity, frames or fields, those still used for reference

    @property
    def waits_for_a_field(self) -> bool:
        """The packet before had one field of a frame."""
        return self._first_field is not None

    def parse(self, packet: bytes) -> Picture | FieldPair | None:
        """The frame of the next packet; None: it has no slice that can be read. Raises as `PictureParser.parse`."""
        pictures, errors = self.parser.slices_of(packet)
        if not pictures:
            self.buffer.lost |= (
                bool(errors) or self._first_field is not None
            )  # nobody knows what its header did to the references
            return None
        before = self._first_field if is_completed_by(self._first_field, pictures) else None
        self.buffer.lost |= self._first_field is not None and before is None  # nor what its second field did
        parsed: list[Picture] = [] if before is None else [before.picture]
        for slices in pictures:
            first = slices[0][0]
            picture = self.parser.new_picture(first)
            current = self.buffer.begin(first, second=bool(parsed))
            picture.identity, picture.order = current.identity, self.buffer.order
            for header, rbsp in slices:
                self._parse_slice(picture, header, rbsp)
            self.buffer.end(first)
            parsed.append(picture)
            self._keep(current, list(parsed))
        frame, self._first_field = frame_of(parsed if before is None else parsed[1:], errors, before)
        return frame

    def _keep(self, current: Reference, parsed: list[Picture]) -> None:
        """Those that are still used for reference."""
        used = {reference.identity for reference in self.buffer.references}
        self.pictures = {i: p for i, p in self.pictures.items() if i in used}
        if current.identity in used:
            self.pictures[current.identity] = parsed

    def _parse_slice(self, picture: Picture, header: SliceHeader, rbsp: bytes) -> None:
        lists = self.buffer.lists(header)
        known = [() if self.buffer.lost else tuple(r.identity if r else -1 for r in one) for one in lists]
        picture.lists.append((known[0], known[1]))
        if picture.parity is not None:
            of = [() if self.buffer.lost else tuple((r.parity or 0) if r else -1 for r in one) for one in lists]
            picture.parities.append((of[0], of[1]))
        colocated, long_term = None, False
        if header.slice_type == B and lists[1] and lists[1][0] is not None:
            entry, temporal = lists[1][0], not header.direct_spatial_mv_pred_flag
            found = self.pictures.get(entry.identity, [])
            reference = entry if isinstance(entry, Reference) else entry.frame
            long_term = entry.long_term
            if found and (found[0].sps.width, found[0].sps.height) == (picture.sps.width, picture.sps.height):
                colocated = colocated_of(picture, self.buffer.order, entry, found, reference.orders, temporal)
            if colocated is not None and temporal:
                if picture.mbaff:
                    self.parser.k = temporal_direct_of_pairs(self.buffer.current.orders, lists, colocated)
                else:
                    self.parser.k = temporal_direct(self.buffer.order, lists, colocated)
        if header.slice_type == B:
            missing = self.buffer.lost or lists[0][0] is None or colocated is None or not colocated.sound
            picture.vectors_exact &= not missing
        if picture.parity is not None and self.buffer.lost:
            picture.vectors_exact &= header.slice_type == I
        self.parser.parse_slice(picture, header, rbsp, colocated, long_term)
