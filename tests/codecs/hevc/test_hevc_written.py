"""Random legal streams whose content is known because it was written here: the parser reads back exactly that.

Tiles, WPP, slices, dependent segments, PCM, lossless coding units, transform skip, sign hiding, delta QP, scaling
lists, long-term references, weighted prediction, all partitions and sizes: hevc_writer.py. Thousands more, and the
committed count: benchmarks/hevc_fuzz.py.
"""

from __future__ import annotations

from collections import Counter

from tests.support.hevc_compare import compare_stream
from tests.support.hevc_writer import write

FEATURES = {
    *("amp", "sao", "pcm", "monochrome", "vui", "tiles", "wpp", "transform_skip", "sign_data_hiding", "long-term"),
    *("transquant_bypass", "cu_qp_delta_enabled", "dependent segment", "entry points", "weighted", "reordered"),
    *("IDR", "CRA", "BLA", "RASL", "RADL", "disposable", "CTB 16", "CTB 32", "CTB 64", "8 bit", "10 bit"),
    *("scaling default", "scaling sps", "scaling pps", "scaling both"),
}


def test_the_parser_reads_back_what_was_written():
    counts, features = Counter(), set()
    for seed in range(300):
        stream = write(seed)
        features |= stream.features
        counts += compare_stream(stream)
    assert features == FEATURES
    assert counts["pictures"] == 1200 and counts["pictures equal to FFmpeg's"] > 1000
    assert counts["segments"] > 2400 and counts["entry points"] > 600 and counts["levels"] > 300_000
