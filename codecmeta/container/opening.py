"""Which files are opened, and by which of FFmpeg's readers: no file opens another.

FFmpeg tells a format by what is in a file, not by its name. Some formats are lists of other files or addresses: concat
scripts, playlists (HLS, DASH, IMF), session descriptions, patterns of image names, companions with another suffix. A
video from a stranger could have any file of this machine read, or the network asked. So formats and protocols are taken
from lists of what is allowed, and a name is a path, even where it looks like an address. What is no file (bytes, open
file objects, addresses that the user asked for) FFmpeg reads through this process, and opens nothing itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EINVAL
from pathlib import Path
from typing import Any

import av

from codecmeta.container.blob import Blob
from codecmeta.container.source import Medium
from codecmeta.errors import VideoError

FORMATS = (
    "mov mp4 matroska webm avi asf asf_o flv live_flv kux mpeg mpegts mpegtsraw mpegvideo ogg ivf nut rm swf dv mxf "
    "gxf wtv nuv amv mpjpeg yuv4mpegpipe gif apng webp_pipe webp_anim mjpeg mjpeg_2000 "
    "pva nsv ivr mp3 aac wav flac h261 h263 h264 hevc vvc evc obu av1 m4v vc1 vc1test cavsvideo avs2 avs3 dirac dnxhd"
).split()
"""FFmpeg's demuxers that read one file and nothing else: containers, and elementary streams."""

_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
"""Titles and the like in another encoding than UTF-8 are no reason to refuse a video (PyAV 19 sees to it itself)."""


@contextmanager
def open_file(medium: Medium) -> Iterator[Any]:
    """Open a video file: yields PyAV's container.

    Raises VideoError, naming the file, where there is none, where FFmpeg cannot read it, and where its format is one
    that may open other files; an FFmpeg error inside the block becomes a VideoError too, and so does a part of a blob
    that could not be fetched, which FFmpeg takes for the end.
    """
    if isinstance(medium, Path) and not medium.is_file():
        what = "is a folder" if medium.is_dir() else "no such file"
        raise VideoError(f"{medium}: {what}; pass the path of a video file")
    try:
        with _opened(medium) as container:
            yield container
    except av.FFmpegError as error:
        if error.errno == EINVAL:  # what FFmpeg says of a format that is not on the list
            what = "is it a video? Playlists and other formats that name further files are not opened"
        else:
            what = "is it complete and a video?"
        raise _fetching(medium) or VideoError(
            f"{medium}: FFmpeg cannot read this file ({error.strerror}); {what}"
        ) from error
    if (failed := _fetching(medium)) is not None:
        raise failed


def _opened(medium: Medium) -> Any:
    # as options of the streams too, PyAV 15 writes beyond its memory where a container lists none at first (MPEG-PS)
    options = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
    if isinstance(medium, Blob):
        return av.open(medium.open(), container_options={**options, "protocol_whitelist": "none"}, **_TAGS)
    return av.open(f"file:{os.fspath(medium)}", container_options=options, **_TAGS)


def _fetching(medium: Medium) -> VideoError | None:
    return medium.failed if isinstance(medium, Blob) else None
