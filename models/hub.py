"""A model's name -> where it is: a folder, or an id of the Hugging Face hub, which may not be within reach."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from codecmeta.compression.options import did_you_mean

_PATIENCE = 1.0  # seconds until the hub counts as out of reach; transformers would try five times


def found(name: str, known: Iterable[str], revision: str | None = None) -> str:
    """The folder of a model, or its id where the hub answers and will tell.

    known: names that may have been meant. Raises ValueError for a path or an id that cannot be a model, at once.
    """
    if Path(name).is_dir():
        return name
    hint = did_you_mean(name, known)
    if Path(name).exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ValueError(f"it is no folder{hint}")
    if hub_answers():
        if "/" not in name and hint:
            raise ValueError(f"it is no folder, and ids of the hub have the form OWNER/NAME{hint}")
        return name
    try:
        return snapshot_download(name, revision=revision, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError):
        raise ValueError(
            f"it is no folder and was not downloaded before, and the Hugging Face hub does not answer{hint}"
        ) from None


def hub_answers() -> bool:
    """Whether the hub, or the proxy on the way to it, takes a connection within a second."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    proxy = getproxies().get(endpoint.scheme)
    target = urlsplit(proxy if proxy and "://" in proxy else f"http://{proxy}") if proxy else endpoint
    port = target.port or (443 if target.scheme == "https" else 80)
    answers: list[bool] = []

    def connect() -> None:
        try:
            socket.create_connection((target.hostname or "", port), timeout=_PATIENCE).close()
            answers.append(True)
        except OSError:
            pass

    trying = Thread(target=connect, daemon=True)  # looking a name up knows no time limit
    trying.start()
    trying.join(_PATIENCE)
    return bool(answers)
