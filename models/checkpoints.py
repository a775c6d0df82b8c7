"""What stands in a checkpoint beside its weights, and whether this machine can run it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from transformers.utils import cached_file


def check_device(device: str | torch.device) -> None:
    """Raise ValueError where this machine, or this build of torch, does not have the device."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"device {str(device)!r} cannot be used: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What an error says, in short."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def settings_of(where: str, what: Literal["video", "image"], revision: str | None) -> dict[str, Any]:
    """Preprocessor settings, wherever this checkpoint's generation of transformers has put them. Raises ValueError
    where there are none."""
    bundle = _json(where, "processor_config.json", revision)
    if f"{what}_processor" in bundle:
        return bundle[f"{what}_processor"]
    files = ("video_preprocessor_config.json", "preprocessor_config.json")[what == "image" :]
    for name in files:
        settings = _json(where, name, revision)
        if settings:
            return settings
    raise ValueError(f"no preprocessor settings; expected one of {', '.join(files)}")


def config_json(where: str, revision: str | None) -> dict[str, Any]:
    """config.json as it stands, of a folder, an id or its own path; empty where there is none."""
    if Path(where).is_file():
        return json.loads(Path(where).read_text(encoding="utf-8"))
    return _json(where, "config.json", revision)


def chat_template_of(where: str, revision: str | None) -> str | None:
    """The processor's chat template, which knows about videos, where the checkpoint has one of its own."""
    path = _file(where, "chat_template.jinja", revision)
    if path:
        return Path(path).read_text(encoding="utf-8")
    return _json(where, "chat_template.json", revision).get("chat_template")


def _json(where: str, name: str, revision: str | None) -> dict[str, Any]:
    path = _file(where, name, revision)
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else {}


def _file(where: str, name: str, revision: str | None) -> str | None:
    return cached_file(
        where,
        name,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
