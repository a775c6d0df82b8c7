"""The one thing of numba that the kernels use and numba promises nobody: what its cache is told to watch."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from numba import njit, types

import codecmeta.codecs.h264.high444.slice_data
import codecmeta.codecs.h264.mbaff.slice_data  # noqa: F401
from codecmeta.codecs.h264 import slice_data
from codecmeta.codecs.syntax.jit import _Build, _build_of


class Unknown:
    """A compiled function of a numba that keeps its cache in another way."""

    def __init__(self, **attributes: Any) -> None:
        self.enabled = 0
        vars(self).update(attributes)

    def enable_caching(self) -> None:
        self.enabled += 1
        self._cache = SimpleNamespace()


def test_the_numba_that_is_here_is_told_of_all_sources(tmp_path: Path) -> None:
    """A cached kernel is used while the stamp of all sources stands, and not after any of them changed."""
    code = tmp_path / "kernels.py"
    code.write_text("def one(x):\n    return x + 1\n")
    names: dict[str, Any] = {"__name__": "kernels"}
    exec(compile(code.read_text(), str(code), "exec"), names)
    signature = types.int64(types.int64)
    found = []
    for stamp in ((0.0, 1), (0.0, 1), (0.0, 2)):
        kernel = njit(names["one"])
        found.append(_Build(tmp_path, stamp=stamp).cached(kernel, signature))
        kernel.compile(signature)
    assert found == [False, True, False]


@pytest.mark.parametrize("name", ["mbaff", "high444"])
def test_kernels_for_rare_streams_are_a_build_of_their_own_that_knows_the_sources_it_calls(name: str) -> None:
    """Who never opens such a stream never compiles them; who changes what they call compiles them anew."""
    folder = Path(slice_data.__file__).parent
    rare = _build_of(folder / name)
    assert [build.folder.name for build in rare._from()] == ["syntax", "h264", name]
    assert [build.folder.name for build in _build_of(folder)._from()] == ["syntax", "h264"]
    assert rare.entries and not set(rare.entries) & set(_build_of(folder).entries)


@pytest.mark.parametrize("attributes", [{}, {"_cache": SimpleNamespace()}], ids=["no cache", "no stamp"])
def test_another_numba_compiles_in_every_process_and_says_so_once(
    attributes: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel, build = Unknown(**attributes), _Build(tmp_path)
    assert not build.cached(kernel, None) and not build.cached(kernel, None)
    assert vars(kernel).get("_cache") is attributes.get("_cache")  # as it was: nothing stale is ever loaded
    assert kernel.enabled == (2 if attributes else 0)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1 and "compiled in every process" in said[0]
