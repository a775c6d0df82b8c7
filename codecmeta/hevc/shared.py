"""What this parser has in common with the H.264 parser, in one place: bit reader, pointers, arithmetic decoder.

The engine of 9.3.4.3 is that of H.264 (9.3.3.2 there): same ranges, same transitions, other contexts.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

from codecmeta.h264 import jit
from codecmeta.h264.bits import BitReader, EndOfData
from codecmeta.h264.cabac import (
    SHIFT,
    STATES,
    bypass,
    decision,
    decode_bin,
    initialise_decoding_engine,
    refill,
    terminate,
)
from codecmeta.h264.jit import (
    ARRAYS,
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
    leading_zeros,
    pointer,
)
from codecmeta.h264.slice_header import Refused
from codecmeta.h264.state import BYTE_END, BYTE_POSITION, COD_I_OFFSET, COD_I_RANGE, SPARE_BITS


def _stamp() -> tuple[float, int]:
    """Stands for the sources of all kernels at once, those of the shared engine included."""
    digest = hashlib.sha256(repr(ARRAYS).encode())
    for folder in (Path(__file__).parent, Path(jit.__file__).parent):
        for path in sorted(folder.iterdir()):
            if path.suffix in (".py", ".json"):
                digest.update(path.read_bytes())
    return 0.0, int.from_bytes(digest.digest()[:6], "big")


_STAMP = _stamp()
_waiting: list[tuple[Any, Any]] = []  # functions that the next entry kernel may call, and their signatures
_said = False


def kernel(signature: Any, *, inline: bool = False, entry: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A function for one signature, as `codecmeta.h264.jit.kernel`, with a cache that knows this folder's files too."""

    def compiled(function: Callable[..., Any]) -> Any:
        wrappers = {"no_cfunc_wrapper": True, "no_cpython_wrapper": not entry}
        dispatcher = njit(nogil=True, error_model="numpy", forceinline=inline, **wrappers)(function)
        if not entry:
            _waiting.append((dispatcher, signature))
            return dispatcher
        dispatcher.enable_caching()
        if not _cached(dispatcher, signature):
            _compile_waiting()
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    return compiled


def _cached(dispatcher: Any, signature: Any) -> bool:
    """Whether the cache holds this kernel, made from these very sources."""
    cache = getattr(dispatcher, "_cache", None)
    cache_file = getattr(cache, "_cache_file", None)
    if cache is None or cache_file is None or not hasattr(cache_file, "_source_stamp"):
        return False
    cache_file._source_stamp = _STAMP
    return cache.load_overload(signature, dispatcher.targetctx) is not None


def _compile_waiting() -> None:
    global _said
    if not _said:
        _said = True
        print("codecmeta: compiling the HEVC parser, once (about 15 s) ...", file=sys.stderr, flush=True)
    for dispatcher, signature in _waiting:
        dispatcher.compile(signature)
        dispatcher.disable_compile()
    _waiting.clear()


__all__ = [
    "ARRAYS",
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
    "Refused",
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
