"""What the tests of both parsers inside `codecmeta.extract` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import codecmeta
from codecmeta.codecs.protocol import Refused
from codecmeta.extraction import by_parser

ENDINGS = {"mpegts": "ts", "matroska": "mkv", "h264": "h264", "hevc": "hevc"}


@pytest.fixture
def writer(tmp_path):
    """Makes, of an `encode` and arguments by name, what writes a clip of 30 pictures by a name, or by its arguments."""

    def of(encode: Callable[..., bytes], files: dict[str, dict]) -> Callable[..., Path]:
        def write(name: str | None = None, **kwargs) -> Path:
            kwargs = kwargs or files[name]
            path = tmp_path / f"clip.{ENDINGS.get(str(kwargs.get('container')), 'mp4')}"
            path.write_bytes(encode(frames=30, **kwargs))
            return path

        return write

    return of


@pytest.fixture
def by_ffmpeg(monkeypatch):
    """Extract without the bitstream source."""

    def refuse(*_, **__):
        raise Refused("a test asks for FFmpeg")

    def extract(path, **kwargs):
        with monkeypatch.context() as patch:
            patch.setattr(by_parser, "Reader", refuse)
            return codecmeta.extract(path, **kwargs)

    return extract
