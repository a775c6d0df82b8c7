"""How the kernels are compiled: explicit signatures, plain pointers, a cache that knows all its sources.

Pointers instead of arrays keep reference counts and array headers out of the inner loops (a factor of two). With the
environment variable CODECMETA_H264_ARRAYS=1 the same source is compiled over arrays, so that NUMBA_BOUNDSCHECK=1 can
watch every index: that is the build the fuzzing runs.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen
from numba.extending import intrinsic

from codecmeta.compiling import in_turn

ARRAYS = os.environ.get("CODECMETA_H264_ARRAYS", "") not in ("", "0")

I8, I16, I32, I64, VOID = types.int8, types.int16, types.int32, types.int64, types.void
F32, F64 = types.float32, types.float64


def _memory(dtype: Any) -> Any:
    return dtype[::1] if ARRAYS else types.CPointer(dtype)


I8P, U8P, I16P, U16P = (_memory(one) for one in (types.int8, types.uint8, types.int16, types.uint16))
I32P, I64P, F32P = _memory(types.int32), _memory(types.int64), _memory(types.float32)
I8A, U8A, I16A, U16A = types.int8[::1], types.uint8[::1], types.int16[::1], types.uint16[::1]
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


@intrinsic
def bits_of_float(typingctx: Any, value: Any) -> Any:
    """The bits of a float32 as an int32."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@dataclass
class _Build:
    """The kernels of one parser. waiting: functions that its entry kernels may call, with their signatures, in the
    order of their definition. stamp: stands for all its sources at once, where numba alone would watch the one file
    that a kernel is written in."""

    folder: Path
    entries: list[Entry] = field(default_factory=list)
    waiting: list[tuple[Any, Any]] = field(default_factory=list)
    stamp: tuple[float, int] | None = None
    said: bool = False
    unstamped: bool = False

    def cached(self, dispatcher: Any, signature: Any) -> bool:
        """Turn numba's cache on, if it can be told of all sources, and say whether it holds this kernel."""
        uncached = getattr(dispatcher, "_cache", None)
        if uncached is None:  # not enabled: it could not be taken back
            return self._without_cache()
        dispatcher.enable_caching()
        cache = dispatcher._cache
        cache_file: Any = getattr(cache, "_cache_file", None)
        if not hasattr(cache_file, "_source_stamp") or not hasattr(cache, "load_overload"):
            dispatcher._cache = uncached
            return self._without_cache()
        self.stamp = self.stamp or _stamp(*(build.folder for build in self._from()))
        cache_file._source_stamp = self.stamp
        return cache.load_overload(signature, dispatcher.targetctx) is not None

    def _from(self) -> list[_Build]:
        """Where its kernels come from: what is written beside this file is everybody's, and a folder inside another
        parser's folder has that parser's."""
        outer = [build for folder, build in _builds.items() if folder in self.folder.parents]
        return [_build_of(Path(__file__).parent), *outer, self]

    def _without_cache(self) -> bool:
        """Compile in every process: a cache that watches one file in place of all might hold an old parser."""
        if not self.unstamped:
            self.unstamped = True
            print(
                f"codecmeta: numba {numba.__version__} keeps its cache in an unknown way, so the "
                f"{self.folder.name.upper()} parser is compiled in every process (setup.cfg says what is tested)",
                file=sys.stderr,
                flush=True,
            )
        return False

    def compile(self) -> None:
        """Compile its entry kernels, and first what they may call."""
        if not self.said:
            self.said = True
            print(
                f"codecmeta: compiling the {self.folder.name.upper()} parser, once (about 15 s) ...",
                file=sys.stderr,
                flush=True,
            )
        with _linked_only():
            for build in self._from():
                for dispatcher, signature in build.waiting:
                    dispatcher.compile(signature)
                    dispatcher.disable_compile()
                build.waiting.clear()
        for entry in self.entries:
            entry.load()


class Entry:
    """A kernel that Python calls. It is built when it is called first: taken from the cache, with everything it calls
    inside it, or compiled together with all that its parser defines."""

    def __init__(self, dispatcher: Any, signature: Any, build: _Build) -> None:
        self.dispatcher, self._signature, self._build = dispatcher, signature, build
        self._run: Callable[..., Any] = self._first_run

    def __call__(self, *arguments: Any) -> Any:
        return self._run(*arguments)

    def prepare(self) -> None:
        """Load or compile it now."""
        with _building:
            if self._run != self._first_run:
                return
            if not self.is_cached():
                with in_turn(self.dispatcher.stats.cache_path):
                    if not self.is_cached():  # nor has another process compiled it meanwhile
                        self._build.compile()
            self.load()

    def is_cached(self) -> bool:
        return self._build.cached(self.dispatcher, self._signature)

    def load(self) -> None:
        """Have numba take it from its cache, or compile it."""
        if self._run == self._first_run:
            self.is_cached()  # turns the cache on
            self.dispatcher.compile(self._signature)
            self.dispatcher.disable_compile()
            self._run = self.dispatcher

    def _first_run(self, *arguments: Any) -> Any:
        self.prepare()
        return self._run(*arguments)


@contextmanager
def _linked_only() -> Iterator[None]:
    """Functions that only kernels call are no more than linked together here: the entry kernel they end up in is
    optimised as a whole, and only there is machine code made of them. Numba would do both for every one of them, with
    all that it calls, which takes most of the time. Where a newer numba has other names for these steps it does.
    """
    names = ("finalize", "_raise_if_finalized", "_finalize_dynamic_globals")
    if not all(hasattr(JITCodeLibrary, name) for name in names) or not hasattr(JITCPUCodegen, "set_env"):
        yield
        return
    finalize, set_env = JITCodeLibrary.finalize, JITCPUCodegen.set_env
    JITCodeLibrary.finalize, JITCPUCodegen.set_env = _link, _no_environment
    try:
        yield
    finally:
        JITCodeLibrary.finalize, JITCPUCodegen.set_env = finalize, set_env


def _no_environment(*_: Any) -> None:
    """There is no machine code yet that could ask for one."""


def _link(library: Any) -> None:
    """`CodeLibrary.finalize` without its optimisation and code generation."""
    library._raise_if_finalized()
    for other in dict.fromkeys(library._linking_libraries):
        if hasattr(library, "_reload_init"):  # from numba 0.63 on
            library._reload_init.update(other._reload_init)
        library._final_module.link_in(other._get_module_for_linking(), preserve=True)
    library._finalize_dynamic_globals()
    library._finalized = True


_building = RLock()
_builds: dict[Path, _Build] = {}


def _build_of(folder: Path) -> _Build:
    return _builds.setdefault(folder, _Build(folder))


def _stamp(*folders: Path) -> tuple[float, int]:
    digest = hashlib.sha256(repr(ARRAYS).encode())
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix in (".py", ".json"):
                digest.update(path.read_bytes())
    return 0.0, int.from_bytes(digest.digest()[:6], "big")


def kernel(signature: Any, *, inline: bool = False, entry: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """A function for one signature, compiled when the first entry kernel of its parser is called.

    inline: copied into its callers. entry: called from Python, see `Entry`.
    """

    def made(function: Callable[..., Any]) -> Any:
        # what only kernels call needs no wrappers for Python and C: an eighth of the time to compile
        wrappers = {"no_cfunc_wrapper": True, "no_cpython_wrapper": not entry}
        dispatcher = njit(nogil=True, error_model="numpy", forceinline=inline, **wrappers)(function)
        build = _build_of(Path(function.__code__.co_filename).parent)
        if entry:
            build.entries.append(Entry(dispatcher, signature, build))
            return build.entries[-1]
        build.waiting.append((dispatcher, signature))
        return dispatcher

    return made


def constant(values: Any, dtype: Any) -> np.ndarray:
    """A table as an array that the kernels take in as a constant."""
    array = np.ascontiguousarray(values, dtype)
    array.setflags(write=False)
    return array
