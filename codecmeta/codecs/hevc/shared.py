"""What this parser has in common with the H.264 parser, in one place: bit reader, pointers, arithmetic decoder.

The engine of 9.3.4.3 is that of H.264 (9.3.3.2 there): same ranges, same transitions, other contexts.
"""

from __future__ import annotations

from codecmeta.codecs.h264.cabac import (
    SHIFT,
    STATES,
    bypass,
    decision,
    decode_bin,
    initialise_decoding_engine,
    refill,
    terminate,
)
from codecmeta.codecs.h264.state import BYTE_END, BYTE_POSITION, COD_I_OFFSET, COD_I_RANGE, SPARE_BITS
from codecmeta.codecs.syntax.bits import BitReader, EndOfData
from codecmeta.codecs.syntax.jit import (
    F32A,
    F32P,
    F64,
    I8A,
    I8P,
    I32A,
    I32P,
    I64,
    I64A,
    I64P,
    U8A,
    U8P,
    VOID,
    constant,
    kernel,
    leading_zeros,
    pointer,
)

__all__ = [
    "BYTE_END",
    "BYTE_POSITION",
    "COD_I_OFFSET",
    "COD_I_RANGE",
    "F32A",
    "F32P",
    "F64",
    "I8A",
    "I8P",
    "I32A",
    "I32P",
    "I64",
    "I64A",
    "I64P",
    "SHIFT",
    "SPARE_BITS",
    "STATES",
    "U8A",
    "U8P",
    "VOID",
    "BitReader",
    "EndOfData",
    "bypass",
    "constant",
    "decision",
    "decode_bin",
    "initialise_decoding_engine",
    "kernel",
    "leading_zeros",
    "pointer",
    "refill",
    "terminate",
]
