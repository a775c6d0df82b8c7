"""The bytes of packets: of a whole segment, or of single ones right from the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from codecmeta.codecs.protocol import with_configuration
from codecmeta.container.packets import NO_PTS, PacketTable, demux, open_video
from codecmeta.container.segments import Segment, prefetch, segment_packets
from codecmeta.container.source import Medium, opened_for_ranges


class NotFound(Exception):
    """The container does not find its packets again."""


@dataclass(frozen=True)
class PacketSource:
    """The packets of one stream of a file. is_whole: whether bytes from the file can be a packet, for containers that
    do not hold them as they are."""

    path: Medium
    stream_index: int
    packets: PacketTable
    is_whole: Callable[[bytes], bool]

    def of_segment(self, segment: Segment) -> Iterator[tuple[int, bytes]]:
        """The packets of a segment with their indices: right from a file where they lie there as they are, which takes
        a tenth of the time, from the first other one on from the container."""
        done = segment.first
        if isinstance(self.path, Path) and not self.packets.changes:
            with opened_for_ranges(self.path) as read:
                while done < segment.stop and (data := self._read(read, done)) is not None:
                    yield done, data
                    done += 1
        if done == segment.stop:
            return
        if segment.first:
            prefetch(self.path, self.packets, segment)
        with open_video(self.path, self.stream_index) as (container, video):
            codec = video.codec_context.codec.canonical_name
            for index, packet in segment_packets(container, video, self.packets, segment):
                if index >= done:
                    change = self.packets.changes.get(index)
                    yield index, with_configuration(codec, bytes(packet), self.packets.extradata, change)

    def at(self, indices: Sequence[int], with_keyframes: bool) -> Iterator[tuple[int, bytes, bytes | None]]:
        """(index, packet, keyframe packet before it if they are asked for) of ascending indices. Raises NotFound.

        Reads right from the file where packets lie there as they are (mp4, mov); only for others the container is
        opened, which for a long file takes as long as reading twenty packets.
        """
        keys = np.flatnonzero(self.packets.key)
        with opened_for_ranges(self.path) as read, ExitStack() as stack:
            opened = None
            for index in indices:
                data = None if with_keyframes else self._read(read, index)
                if data is not None:
                    yield index, data, None
                    continue
                if opened is None:
                    opened = stack.enter_context(open_video(self.path, self.stream_index))
                key = int(keys[np.searchsorted(keys, index, side="right") - 1]) if len(keys) else 0
                yield index, *self._seek(*opened, index, key, with_keyframes)

    def behind(self, index: int) -> bytes:
        """The packet behind this one, which may have no time stamp by which `at` would find it. Raises NotFound."""
        with opened_for_ranges(self.path) as read:
            if (data := self._read(read, index + 1)) is not None:
                return data
        keys = np.flatnonzero(self.packets.key[: index + 1])
        with open_video(self.path, self.stream_index) as (container, video):
            self._seek_to_keyframe(container, video, int(keys[-1]) if len(keys) else 0)
            packets = iter(demux(container, video))
            for packet in packets:
                if self._is(packet, index):
                    following = next(packets, None)
                    if following is not None and following.size == self.packets.size[index + 1]:
                        return bytes(following)
        raise NotFound

    def _read(self, read: Callable[[int, int], bytes], index: int) -> bytes | None:
        """The packet as it lies in the file; None where it does not."""
        position, size = int(self.packets.position[index]), int(self.packets.size[index])
        if position < 0:
            return None
        data = read(position, position + size)
        return data if len(data) == size and self.is_whole(data) else None

    def _seek(
        self, container: Any, video: Any, index: int, key: int, with_keyframes: bool
    ) -> tuple[bytes, bytes | None]:
        """The packet, and its keyframe packet `key`: sought right to the packet where the container can and nobody asks
        for the keyframe, else to the keyframe."""
        table = self.packets
        if not with_keyframes and table.dts[index] != NO_PTS:
            container.seek(int(table.dts[index]), stream=video, any_frame=True)
            if (data := self._find(container, video, index, 4)) is not None:
                return data, None
        self._seek_to_keyframe(container, video, key)
        key_data: bytes | None = None
        for packet in demux(container, video):
            if self._is(packet, key):
                key_data = bytes(packet)
            if self._is(packet, index):
                return bytes(packet), key_data
        raise NotFound

    def _seek_to_keyframe(self, container: Any, video: Any, key: int) -> None:
        stamps = (int(self.packets.pts[key]), int(self.packets.dts[key]))
        container.seek(min(stamp for stamp in stamps if stamp != NO_PTS), stream=video, backward=True)

    def _find(self, container: Any, video: Any, index: int, tries: int) -> bytes | None:
        for packet in demux(container, video):
            if self._is(packet, index):
                return bytes(packet)
            tries -= 1
            if not tries:
                return None
        return None

    def _is(self, packet: Any, index: int) -> bool:
        return packet.pts == self.packets.pts[index] and packet.size == self.packets.size[index]
