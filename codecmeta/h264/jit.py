"""How the kernels are compiled: explicit signatures, plain pointers, a cache that knows all its sources.

Pointers instead of arrays keep reference counts and array headers out of the inner loops (a factor of two). With the
environment variable CODECMETA_H264_ARRAYS=1 the same source is compiled over arrays, so that NUMBA_BOUNDSCHECK=1 can
watch every index: that is the build the fuzzing runs.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

ARRAYS = os.environ.get("CODECMETA_H264_ARRAYS", "") not in ("", "0")

I64, F64, VOID = types.int64, types.float64, types.void


def _memory(dtype: Any) -> Any:
    return dtype[::1] if ARRAYS else types.CPointer(dtype)


I8P, U8P, U16P = _memory(types.int8), _memory(types.uint8), _memory(types.uint16)
I32P, I64P, F32P = _memory(types.int32), _memory(types.int64), _memory(types.float32)
I8A, U8A, U16A = types.int8[::1], types.uint8[::1], types.uint16[::1]
I32A, I64A, F32A = types.int32[::1], types.int64[::1], types.float32[::1]


@intrinsic
def _data_pointer(typingctx: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


@njit(inline="always")
def _same(array: Any) -> Any:
    return array


pointer = _same if ARRAYS else _data_pointer


@intrinsic
def leading_zeros(typingctx: Any, value: Any) -> Any:
    """Zero bits above the highest one of a positive int64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


def _stamp() -> tuple[float, int]:
    """Stands for the sources of all kernels at once: numba alone would watch the one file a kernel is written in."""
    digest = hashlib.sha256(repr(ARRAYS).encode())
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix in (".py", ".json"):
            digest.update(path.read_bytes())
    return 0.0, int.from_bytes(digest.digest()[:6], "big")


_STAMP = _stamp()
_waiting: list[tuple[Any, Any]] = []  # functions that the next entry kernel may call, and their signatures
_said = False


def kernel(signature: Any, *, inline: bool = False, entry: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A function for one signature. `inline`: copied into its callers. `entry`: called from Python.

    An entry kernel is taken from the cache, with everything it calls inside it; only where it is not there is it
    compiled, and before it, in the order of their definition, all that are written above it.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        # what only kernels call needs no wrappers for Python and C: an eighth of the time to compile
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
        print("codecmeta: compiling the H.264 parser, once (about 15 s) ...", file=sys.stderr, flush=True)
    for dispatcher, signature in _waiting:
        dispatcher.compile(signature)
        dispatcher.disable_compile()
    _waiting.clear()


def constant(values: Any, dtype: Any) -> np.ndarray:
    """A table as an array that the kernels take in as a constant."""
    array = np.ascontiguousarray(values, dtype)
    array.setflags(write=False)
    return array
