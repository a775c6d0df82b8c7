"""From counts over all frames of a video to its capability report: what is known of each signal, and why not more."""

from __future__ import annotations

from dataclasses import dataclass, field

from codecmeta.codecs.table import codec_of
from codecmeta.record.metadata import SOURCES, B, Capability
from codecmeta.record.parts import FrameSignals


@dataclass
class Tally:
    """Counts over all frames that the capability report is made from.

    parsed: they came from a parser. details: as for `extract`. alone: the parser read each by itself. not_parsed: why
    the bitstream itself was not read.
    """

    parsed: bool = False
    details: bool = True
    alone: bool = False
    not_parsed: str = ""
    frames: int = 0
    motion: int = 0
    estimated_motion: int = 0
    b_frames: int = 0
    qp: int = 0
    qp_blocks: int = 0
    residual: dict[str, int] = field(default_factory=dict)

    def count(self, frame: FrameSignals) -> None:
        """Take one frame into account."""
        self.b_frames += frame.picture_type == B
        self.motion += frame.vectors is not None
        self.estimated_motion += not frame.vectors_exact
        self.qp += frame.qp is not None
        self.qp_blocks += frame.qp_blocks
        if frame.residual is not None:
            self.frames += 1
            name = SOURCES[frame.residual_source]
            self.residual[name] = self.residual.get(name, 0) + 1

    def capability(self, codec: str, corrupt: int) -> Capability:
        """The report on motion, residual, qp and bits; corrupt: frames marked so."""
        return self._of_parser(codec, corrupt) if self.parsed else self._of_decoder(codec, corrupt)

    def _of_parser(self, codec: str, corrupt: int) -> Capability:
        damaged = ""
        if corrupt:
            damaged = f"; {corrupt} damaged frames are marked corrupt (a slice breaks off or lacks its stop bit): "
            damaged += "blocks behind the damage have no vectors, residual and bits 0, QP -1"
        exact = {"level": "exact", "why": f"read from the {codec} bitstream" + damaged}
        residual = {"level": "exact", "why": f"dequantised coefficients of the {codec} bitstream" + damaged}
        bits = dict(exact)
        if not self.details:
            residual["why"] += "; rounded to 32 steps per power of two, no chroma (details=False)"
            bits = {"level": "none", "why": "left out: extract with details to have bits per block"}
        motion = dict(exact)
        if self.estimated_motion:
            frames, vectors = codec_of(codec).borrowed
            why = f"{self.estimated_motion} of {self.frames} frames are {frames} "
            why += "read on their own" if self.alone else "that depend on a damaged or missing picture"
            why += f": their {vectors}, and those predicted from them, are estimates"
            why += " (frames='all' makes them exact)" if self.alone else ""
            motion = {"level": "estimated", "why": f"read from the {codec} bitstream; {why}{damaged}"}
        return {"motion": motion, "residual": residual, "qp": dict(exact), "bits": bits}

    def _of_decoder(self, codec: str, corrupt: int) -> Capability:
        damaged = f"; {corrupt} frames are marked corrupt, theirs are concealed" if corrupt else ""
        reason = self.not_parsed or f"no parser for {codec}"
        sources = ", ".join(f"{name} {count}" for name, count in sorted(self.residual.items()))
        return {
            "motion": self._exported_motion(codec, damaged),
            "residual": {
                "level": "estimated",
                "why": f"from decoded luma, frames by source: {sources}; coefficients not read: {reason}{damaged}",
            },
            "qp": self._exported_qp(codec, damaged),
            "bits": {"level": "none", "why": f"bits per block need the {codec} bitstream itself; not read: {reason}"},
        }

    def _exported_motion(self, codec: str, damaged: str) -> dict[str, str]:
        if not codec_of(codec).vectors:
            return {"level": "none", "why": f"FFmpeg's {codec} decoder exports no motion vectors"}
        why = "FFmpeg's export, one thread per keyframe segment"
        if self.b_frames and not codec_of(codec).b_vectors:
            why += f"; B-frames not available, FFmpeg exports zeros for them in {codec}"
        elif self.motion < self.frames:
            why += f"; not available for {self.frames - self.motion} frame(s) flushed out of the decoder"
        return {"level": "exported", "why": why + damaged}

    def _exported_qp(self, codec: str, damaged: str) -> dict[str, str]:
        if not codec_of(codec).qp or not self.qp:
            return {"level": "none", "why": f"FFmpeg's {codec} decoder exports no quantiser"}
        why = "FFmpeg's export (venc_params)"
        if not self.qp_blocks:
            why += "; one value per frame, the stream has no segmentation"
        note = codec_of(codec).qp_note
        return {"level": "exported", "why": why + (f"; {note}" if note else "") + damaged}
