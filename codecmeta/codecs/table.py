"""What is known of each codec before one of its streams is looked at: one row per codec.

Vectors and quantisers: the call sites of `ff_print_debug_info2` in libavcodec, which is where its decoders honour
`export_mvs` and `venc_params`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from codecmeta.codecs.look import (
    Data,
    Look,
    av1_look,
    flv1_look,
    h263_look,
    intra_look,
    mpeg2_look,
    mpeg4_look,
    vp8_look,
    vp9_look,
)

_LINEAR = "twice the quantiser scale where the codec's is linear"


@dataclass(frozen=True)
class Codec:
    """One codec, by FFmpeg's decoder.

    vectors: it exports motion vectors. b_vectors: those of B-frames mean something; h263dec updates its motion tables
    for non-B pictures only, so that the ones it exports for B-frames are all zero. qp: it exports quantisers; qp_note:
    what they are, where that is not the codec's own quantiser. pushed: how many packets of the next GoP it must see
    before it gives the last frame of this one together with its tables. many_references: a vector may refer to more
    than one picture on its side. fresh: it learns from a stream how far it reorders, so that every segment gets a
    decoder of its own. full_tables: a frame without a vector table has no vectors; elsewhere that may also be a
    frame that was flushed out without them. borrowed: pictures, and vectors in them, that a parser knows only by other
    pictures. look: what a packet says of itself; without it, and without a parser, only a decoder can tell. parser: the
    folder beside this file whose `stream` module reads the bitstream. reorders: frames may be displayed in another
    order than they are sent; order_by_types: B pictures before the I or P picture sent before them, and no other.
    oriented: a stream may say by itself how it is turned. b_references: other pictures may refer to B pictures. packed:
    two pictures may come in one packet and an empty one behind it. hides: packets hold frames that are shown later, so
    that sizes alone say little. seconds_per_pixel: of decoding in one thread, fitted to
    benchmarks/results/extract.json.
    """

    vectors: bool = False
    b_vectors: bool = True
    qp: bool = False
    qp_note: str = ""
    pushed: int = 0
    many_references: bool = False
    fresh: bool = False
    full_tables: bool = False
    look: Callable[[Data, bytes], Look] | None = None
    b_references: bool = True
    packed: bool = False
    hides: bool = False
    seconds_per_pixel: float = 1.5e-9
    parser: str = ""
    borrowed: tuple[str, str] = ("", "")
    reorders: bool = True
    order_by_types: bool = False
    oriented: bool = False


_EXPORTS: dict[str, Any] = {"vectors": True, "pushed": 1}
_MPEG = Codec(**_EXPORTS, qp=True, qp_note=_LINEAR)
_MPEG2 = Codec(
    **_EXPORTS,
    qp=True,
    qp_note=_LINEAR,
    look=mpeg2_look,
    order_by_types=True,
    b_references=False,
    seconds_per_pixel=0.6e-9,
)
_H263 = Codec(**_EXPORTS, qp=True, qp_note=_LINEAR, b_vectors=False)
_INTRA = Codec(look=intra_look, reorders=False)

CODECS: dict[str, Codec] = {
    "h264": Codec(
        vectors=True,
        qp=True,
        many_references=True,
        fresh=True,
        full_tables=True,
        borrowed=("B-frames", "direct vectors"),
        seconds_per_pixel=1.85e-9,
        parser="h264",
        oriented=True,
    ),
    "hevc": Codec(
        borrowed=("P- and B-frames", "temporal vectors"),
        seconds_per_pixel=1.95e-9,
        parser="hevc",
        oriented=True,
    ),
    "mpeg1video": _MPEG2,
    "mpeg2video": _MPEG2,
    "mpeg4": Codec(
        **_EXPORTS,
        qp=True,
        qp_note=_LINEAR,
        b_vectors=False,
        look=mpeg4_look,
        order_by_types=True,
        b_references=False,
        packed=True,
        seconds_per_pixel=0.55e-9,
    ),
    **dict.fromkeys(("h263", "h263p"), replace(_H263, look=h263_look)),
    "flv1": replace(_H263, look=flv1_look, reorders=False),
    **dict.fromkeys(("wmv1", "wmv2", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3"), _H263),
    **dict.fromkeys(("wmv3", "vc1", "rv10", "rv20", "rv30", "rv40"), _MPEG),
    "h261": Codec(**_EXPORTS),
    "snow": Codec(**_EXPORTS),
    "vp8": Codec(look=vp8_look, reorders=False),
    "vp9": Codec(qp=True, qp_note="VP9 quantiser index, 0 to 255", look=vp9_look, reorders=False, hides=True),
    "av1": Codec(look=av1_look, seconds_per_pixel=1.2e-9, reorders=False, hides=True),
    **dict.fromkeys(("mjpeg", "prores", "dnxhd", "rawvideo", "v210", "jpeg2000", "dvvideo", "cfhd", "hap"), _INTRA),
    **dict.fromkeys(("huffyuv", "ffvhuff", "utvideo", "png", "webp", "qoi", "jpegls", "jpegxl"), _INTRA),
}
"""By FFmpeg's canonical codec name."""

_DECODERS = {"libvpx": "vp8", "libvpx-vp9": "vp9", "libdav1d": "av1", "libaom-av1": "av1", "h263i": "h263"}


def codec_of(name: str) -> Codec:
    """The row of a codec or decoder name; an empty one for a codec of which nothing is known."""
    return CODECS.get(_DECODERS.get(name, name), Codec())
