"""The package as others meet it: light imports, the folder names, an uninstalled checkout, every public name
documented."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

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
    done = run("import codecmeta.cli, codecmeta.compression, codecmeta.models; print(codecmeta.cli.__file__)")
    assert done.stdout.strip() == str(ROOT / "cli" / "__init__.py") and done.stderr == ""


def test_the_compression_folder_stands_aside_for_the_standard_library(tmp_path: Path) -> None:
    """Python 3.14 has a package `compression` that gzip imports; a checkout on sys.path must not hide it."""
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


def test_setup_cfg_lists_every_package() -> None:
    from configparser import ConfigParser

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
