"""From counts over all parts of a video to its capability report: what is known of each signal, and why not more."""

from __future__ import annotations

from dataclasses import dataclass, field

from codecmeta.decoding.decoder import QP_CODECS, VECTOR_CODECS, has_b_vectors
from codecmeta.record.metadata import SOURCES, B, Capability
from codecmeta.record.parts import Part


@dataclass
class Tally:
    """Counts over all parts that the capability report is made from."""

    frames: int = 0
    motion: int = 0
    b_frames: int = 0
    qp: int = 0
    qp_blocks: int = 0
    residual: dict[str, int] = field(default_factory=dict)
    not_parsed: str = ""
    """Why the bitstream itself was not read."""

    def count(self, part: Part) -> None:
        self.frames += len(part.residual_rows)
        self.motion += len(part.motion_rows)
        self.b_frames += part.types.count(B)
        self.qp += len(part.qp_rows)
        self.qp_blocks += part.qp_blocks
        for index in part.residual_source:
            name = SOURCES[index]
            self.residual[name] = self.residual.get(name, 0) + 1

    def capability(self, codec: str, corrupt: int) -> Capability:
        damaged = f"; {corrupt} frames are marked corrupt, theirs are concealed" if corrupt else ""
        reason = self.not_parsed or f"no parser for {codec}"
        sources = ", ".join(f"{name} {count}" for name, count in sorted(self.residual.items()))
        return {
            "motion": self._motion(codec, damaged),
            "residual": {
                "level": "estimated",
                "why": f"from decoded luma, frames by source: {sources}; coefficients not read: {reason}{damaged}",
            },
            "qp": self._qp(codec, damaged),
            "bits": {"level": "none", "why": f"bits per block need the {codec} bitstream itself; not read: {reason}"},
        }

    def _motion(self, codec: str, damaged: str) -> dict[str, str]:
        if codec not in VECTOR_CODECS:
            return {"level": "none", "why": f"FFmpeg's {codec} decoder exports no motion vectors"}
        why = "FFmpeg's export, one thread per keyframe segment"
        if self.b_frames and not has_b_vectors(codec):
            why += f"; B-frames not available, FFmpeg exports zeros for them in {codec}"
        elif self.motion < self.frames:
            why += f"; not available for {self.frames - self.motion} frame(s) flushed out of the decoder"
        return {"level": "exported", "why": why + damaged}

    def _qp(self, codec: str, damaged: str) -> dict[str, str]:
        if codec not in QP_CODECS or not self.qp:
            return {"level": "none", "why": f"FFmpeg's {codec} decoder exports no quantiser"}
        why = "FFmpeg's export (venc_params)"
        if not self.qp_blocks:
            why += "; one value per frame, the stream has no segmentation"
        if codec == "vp9":
            why += "; VP9 quantiser index, 0 to 255"
        elif codec != "h264":
            why += "; twice the quantiser scale where the codec's is linear"
        return {"level": "exported", "why": why + damaged}
