"""Pictures in decoding order: reference picture sets, co-located pictures, and with them exact vectors.

sequence = PictureSequence(stream.codec_context.extradata)
for packet in container.demux(stream):
    picture = sequence.parse(bytes(packet))
"""

from __future__ import annotations

from codecmeta.codecs.hevc.decoded_picture_buffer import DecodedPictureBuffer
from codecmeta.codecs.hevc.picture import Picture, PictureParser


class PictureSequence:
    """Parses every picture of a stream from an IRAP picture on. Decoding order is the order of the calls of `parse`."""

    def __init__(self, extradata: bytes | None = None, *, annex_b: bool = False, trace: bool = False) -> None:
        """As `PictureParser`."""
        self.parser = PictureParser(extradata, annex_b=annex_b, trace=trace)
        self.buffer = DecodedPictureBuffer()
        self._pictures: dict[int, Picture] = {}  # by identity, those still used for reference

    def parse(self, packet: bytes) -> Picture | None:
        """The picture of the next packet; None: it has no slice that can be read. Raises as `PictureParser.parse`."""
        picture = self.parser.parse_with(packet, self.buffer, self._pictures)
        if picture is None:
            return None
        used = {reference.identity for reference in self.buffer.references}
        self._pictures = {i: p for i, p in self._pictures.items() if i in used}
        self._pictures[picture.identity] = picture
        return picture

    def skip(self, packet: bytes) -> bool:
        """Follow the headers of the next packet without its blocks; False: it has no picture that can be read."""
        return self.parser.follow(packet, self.buffer)


Sequence = PictureSequence
