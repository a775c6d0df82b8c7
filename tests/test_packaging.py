"""The package as others meet it: light imports, the folder names, an uninstalled checkout, every public name
documented."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import codecmeta

ROOT = Path(__file__).resolve().parents[1]


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)


def test_importing_codecmeta_is_light() -> None:
    heavy = ("torch", "transformers", "cv2", "ray")
    done = run(
        "import sys, codecmeta, codecmeta.extraction.scan, codecmeta.decisions.density\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_checkout_works_uninstalled_and_importing_prints_nothing() -> None:
    pytest.importorskip("torch")
    done = run("import codecmeta.cli, codecmeta.compression, codecmeta.models; print(codecmeta.cli.__file__)")
    assert done.stdout.strip() == str(ROOT / "cli" / "__init__.py") and done.stderr == ""


def test_the_compression_folder_stands_aside_for_the_standard_library(tmp_path: Path) -> None:
    """Python 3.14 has a package `compression` that gzip imports; a checkout on sys.path must not hide it."""
    pytest.importorskip("torch")
    (tmp_path / "compression" / "_common").mkdir(parents=True)
    (tmp_path / "compression" / "_common" / "__init__.py").write_text("here = True")
    (tmp_path / "compression" / "__init__.py").write_text("")
    done = run(
        "import sys; sys.path.append(sys.argv[1]); import compression._common as found; import codecmeta.compression\n"
        "print(found.here, codecmeta.compression.METHODS['none'].__module__)",
        str(tmp_path),
    )
    assert done.stdout.split()[0] == "True" and "codecmeta.compression" in done.stdout, done.stderr


@pytest.mark.parametrize("name", [one for one in codecmeta.__all__ if one != "__version__"])
def test_every_public_name_exists_and_says_what_it_does(name: str) -> None:
    assert (getattr(codecmeta, name).__doc__ or "").strip()


def test_public_names_are_found_without_reading_the_source() -> None:
    """dir(), completion and help() show them; looking imports nothing heavy."""
    done = run(
        "import sys, codecmeta, rlcompleter\n"
        "found = rlcompleter.Completer({'codecmeta': codecmeta})\n"
        "print(set(codecmeta.__all__) <= set(dir(codecmeta)), 'h5py' in sys.modules)\n"
        "print(found.complete('codecmeta.extract_t', 0))\n"
        "import pydoc; text = pydoc.plain(pydoc.render_doc(codecmeta))\n"
        "print([name for name in codecmeta.__all__ if name != '__version__' and name not in text])"
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "True False" and lines[1].startswith("codecmeta.extract_to_file") and lines[2] == "[]", done


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "codecmeta", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("Usage: codecmeta ")


def test_setup_cfg_lists_every_package() -> None:
    pytest.importorskip("torch")
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    there = set()
    for folder, prefix in (
        ("codecmeta", "codecmeta"),
        ("cli", "codecmeta.cli"),
        ("compression", "codecmeta.compression"),
        ("models", "codecmeta.models"),
    ):
        for init in (ROOT / folder).rglob("__init__.py"):
            there.add(".".join([prefix, *init.parent.relative_to(ROOT / folder).parts]))
    assert listed == there
    for name in listed:
        importlib.import_module(name)


def test_tools_that_only_read_find_the_folders_beside_the_package() -> None:
    """`mypy` and editors in the root: typings/codecmeta holds a link to each."""
    links = {one.name: one.resolve() for one in (ROOT / "typings" / "codecmeta").iterdir()}
    assert links == {name: ROOT / name for name in ("cli", "compression", "models")}


def test_constraints_are_exact_and_within_the_bounds_of_setup_cfg() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()[1:]
    pins = [re.fullmatch(r"([a-z0-9-]+)==([\w.]+)(?: ; .+)?", line) for line in lines]
    assert all(pins) and not re.search(r"://|file:", "\n".join(lines)), lines
    exact = [(pin[1], Version(pin[2])) for pin in pins if pin]
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    for one in map(Requirement, filter(None, "\n".join(wanted).splitlines())):
        found = [version for name, version in exact if name == canonicalize_name(one.name)]
        assert found and all(version in one.specifier for version in found), f"{one}: {found}; run .ci/constraints"
    (setuptools,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert f"{setuptools}" in lines


def test_the_commands_of_the_readme_install_what_constraints_say() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^python3 -m venv .*", readme, flags=re.M)
    assert len(commands) == 2
    torch = next(line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch=="))
    for command in commands:
        installs = re.findall(r"pip install ([^&]*)", command)
        assert len(installs) == 2 and all("-c constraints.txt" in one for one in installs) and torch in installs[0]
    # what CI runs is that very line, and what comes before it on no other line of that section
    taken = subprocess.run(
        ["sed", "-n", "/^## Run the tests/,/^## /s/^python3 -m venv/&/p", "README.md"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert taken.stdout.strip() == commands[1] and commands[1].endswith("-m pytest")
    assert "/^## Run the tests/,/^## /s/^python3 -m venv/&/p" in (ROOT / ".ci" / "legs").read_text()


def test_without_file_locks_all_imports_and_reads_and_writing_says_what_is_missing(tmp_path: Path) -> None:
    done = run(
        "import sys; sys.modules['fcntl'] = None\n"
        "import importlib, pathlib, codecmeta\n"
        "for folder, name in (('codecmeta', 'codecmeta'), ('cli', 'codecmeta.cli')):\n"
        "    for path in sorted(pathlib.Path(folder).rglob('*.py')):\n"
        "        parts = path.relative_to(folder).with_suffix('').parts\n"
        "        if parts[-1] not in ('__init__', '__main__'):\n"
        "            importlib.import_module('.'.join((name, *parts)))\n"
        "print(len(codecmeta.probe('data_samples/shapes.mp4').frames) > 0)\n"
        "from codecmeta.extraction.to_file import extract_to_file\n"
        "try: extract_to_file('data_samples/shapes.mp4', sys.argv[1])\n"
        "except OSError as error: print(error)\n",
        str(tmp_path / "shapes.codecmeta.h5"),
    )
    assert done.stdout.splitlines() == [
        "True",
        "writing a cache or an index needs a POSIX system (Linux, macOS): this Python has no module fcntl; "
        "reading videos and caches works without",
    ], done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("required", "outcome"), [("0", "skipped"), ("1", "failed")])
def test_real_clips_that_are_missing_may_be_required(required: str, outcome: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, *"-m pytest -q --noconftest tests/container/test_container.py -k demuxed_sum".split()],
        cwd=ROOT,
        env={**os.environ, "CODECMETA_CLIPS": str(tmp_path), "CODECMETA_REQUIRE_CLIPS": required},
        capture_output=True,
        text=True,
    )
    assert f"1 {outcome}" in done.stdout and (done.returncode == 0) == (outcome == "skipped"), done.stdout
