"""What PyAV cannot do before 17.1, in one place: 15.1 is the newest that lmms-eval can be installed with."""

from __future__ import annotations

from typing import Any

import av.stream

_DISCARD: Any = getattr(av.stream, "Discard", None)
SHOWS_INDEX = hasattr(av.stream.Stream, "index_entries")
"""Whether FFmpeg's index of a container can be compared with the container's own, which else is not believed."""
TELLS_CONFIGURATIONS = hasattr(av.Packet, "iter_sidedata")
"""Whether a container's second configuration of the decoder can be seen at all."""


def discard(stream: Any) -> None:
    """Leave a stream out when demuxing; older PyAV reads its packets and drops them."""
    if _DISCARD is not None:
        stream.discard = _DISCARD.all


def new_extradata(packet: Any) -> bytes | None:
    """What a container says beside a packet of another configuration of the decoder; None where older PyAV cannot
    tell."""
    if not TELLS_CONFIGURATIONS or next(packet.iter_sidedata(), None) is None:
        return None  # a third of the time of asking by name, of which most have none
    return bytes(packet.get_sidedata("new_extradata")) if packet.has_sidedata("new_extradata") else None
