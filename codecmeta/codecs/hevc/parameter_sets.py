"""The parameter sets of a stream, and which streams the parser takes on.

sets = parameter_sets_of(stream.codec_context.extradata)
sets.sps[0].width, sets.sps[0].crop_top

Nothing of a video parameter set is needed to read layer 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from codecmeta.codecs.hevc.nal import PPS as PPS_NUT
from codecmeta.codecs.hevc.nal import SPS as SPS_NUT
from codecmeta.codecs.hevc.nal import layer_of, rbsp_of, type_of, units_of_extradata
from codecmeta.codecs.hevc.pps import PPS, parse_pps
from codecmeta.codecs.hevc.sps import SPS, parse_sps
from codecmeta.codecs.syntax.bits import EndOfData


@dataclass
class ParameterSets:
    """The parameter sets of a stream so far, by id. `version` counts up whenever one becomes another."""

    sps: dict[int, SPS] = field(default_factory=dict)
    pps: dict[int, PPS] = field(default_factory=dict)
    version: int = 0

    def add(self, unit: bytes) -> None:
        """Take in a NAL unit; one that is no parameter set of layer 0, or a broken one, changes nothing."""
        kind = type_of(unit)
        if kind not in (SPS_NUT, PPS_NUT) or layer_of(unit):
            return
        try:
            parsed = _parsed(unit)
            if isinstance(parsed, SPS):
                changed = self.sps.get(parsed.sps_id) != parsed
                self.sps[parsed.sps_id] = parsed
            else:
                changed = self.pps.get(parsed.pps_id) != parsed
                self.pps[parsed.pps_id] = parsed
        except EndOfData:
            return
        self.version += changed


@lru_cache(maxsize=64)
def _parsed(unit: bytes) -> SPS | PPS:
    """A stream's sets are asked for again by each of its parsers, and repeated in it."""
    return parse_sps(rbsp_of(unit)) if type_of(unit) == SPS_NUT else parse_pps(rbsp_of(unit))


def parameter_sets_of(extradata: bytes | None) -> ParameterSets:
    """The parameter sets that a container stores beside the packets; empty where it stores none."""
    return collect(units_of_extradata(extradata))


def collect(units: Iterable[bytes]) -> ParameterSets:
    """The parameter sets among some NAL units."""
    sets = ParameterSets()
    for unit in units:
        sets.add(unit)
    return sets


def refusal_of(sps: SPS, pps: PPS | None = None) -> str | None:
    """Why streams with these parameter sets are not parsed; None: they are."""
    if sps.separate_colour_plane_flag:
        return "HEVC with separate colour planes"
    if sps.chroma_format_idc > 1:
        return f"HEVC {('', '', '4:2:2', '4:4:4')[sps.chroma_format_idc]} chroma"
    depth = max(sps.bit_depth_luma, sps.bit_depth_chroma)
    if depth > 10:
        return f"HEVC with {depth} bits per sample"
    for extensions in (sps.extensions, pps.extensions if pps is not None else ()):
        if extensions:
            return f"HEVC with {', '.join(extensions)}"
    if sps.field_seq_flag:
        return "interlaced HEVC (each field a picture of its own)"
    return None
