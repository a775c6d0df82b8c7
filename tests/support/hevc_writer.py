"""Random HEVC streams that no encoder at hand makes, and the record of what is in them.

`write(seed)`: slice segments, tiles, WPP and what slice headers say are drawn here; hevc_headers and hevc_slice_header
write headers, hevc_syntax draws and writes slice data. Every stream is legal apart from limits of profiles and levels.
In `plain` streams each CTU is a slice with one vector predictor, zero, so that vectors are the written differences:
inter prediction is then testable without anybody's derivation of motion.
"""

from __future__ import annotations

import random

import numpy as np

from tests.support.bits import Bits, escaped
from tests.support.hevc_cabac import encode, initial_contexts
from tests.support.hevc_chances import Chances
from tests.support.hevc_headers import (
    EOS,
    IDR_N_LP,
    IDR_W_RADL,
    Header,
    Picture,
    Pps,
    Sps,
    Stream,
    explicit_weights,
    init_type,
    nal_unit,
    write_pps,
    write_sps,
    write_vps,
)
from tests.support.hevc_pixels import PART_FIELDS, Coded, decoding_order, default_scaling_list, scaling_factors
from tests.support.hevc_plan import Plan, candidates, draw_chances, draw_pps, draw_sps, ordered
from tests.support.hevc_slice_header import write_slice_header
from tests.support.hevc_syntax import INTRA, B, I, P, Slices


def _resolved(lists: list) -> tuple[list, list]:
    """Values and DC of every list: 7.3.4 and 7.4.5; as `scaling_factors` takes them."""
    values, dc = [], []
    for size, row in enumerate(lists):
        values.append([None] * 6)
        dc.append([16] * 6)
        step = 3 if size == 3 else 1
        for i, one in enumerate(row):
            matrix = i * step
            if one[0] == "default":
                values[size][matrix], dc[size][matrix] = default_scaling_list(size, matrix), 16
            elif one[0] == "copy":
                reference = matrix - one[1] * step
                values[size][matrix], dc[size][matrix] = values[size][reference], dc[size][reference]
            else:
                values[size][matrix], dc[size][matrix] = one[1], one[2]
    return values, dc


class _PictureWriter:
    """Writes one planned picture: slices, segments, substreams."""

    def __init__(self, stream: Stream, picture: Picture, chances: Chances, rng: random.Random, plain: bool) -> None:
        self.sps, self.pps, self.picture, self.rng, self.plain = stream.sps, stream.pps, picture, rng, plain
        self.features = stream.features
        self.columns = -(-self.sps.width >> self.sps.ctb)
        self.rows = -(-self.sps.height >> self.sps.ctb)
        bounds = [(x, y) for y in range(len(self.pps.row_bounds) - 1) for x in range(len(self.pps.column_bounds) - 1)]
        self.order, self.tile = [], {}
        for number, (tx, ty) in enumerate(bounds):
            for y in range(self.pps.row_bounds[ty], self.pps.row_bounds[ty + 1]):
                for x in range(self.pps.column_bounds[tx], self.pps.column_bounds[tx + 1]):
                    self.tile[y * self.columns + x] = number
                    self.order.append(y * self.columns + x)
        self.slices = Slices(self.sps, self.pps, chances, rng)
        self.wpp_store, self.segment_store = np.zeros(154, np.int64), np.zeros(154, np.int64)
        self.temporal_mvp = self.sps.temporal_mvp and picture.kind not in (IDR_W_RADL, IDR_N_LP) and rng.random() < 0.8
        if plain:
            self.temporal_mvp = False
        self.before, self.after, self.longs = candidates(picture)
        self.total = len(self.before) + len(self.after) + len(self.longs)
        self.shared = self._lists() if picture.slice_type != I else None

    def _lists(self) -> dict:
        """Reference lists of the picture's slices; all alike, so that all can name one co-located picture."""
        rng, pps = self.rng, self.pps
        counts = (rng.randint(1, 5), rng.randint(1, 5)) if rng.random() < 0.5 else pps.num_ref_idx
        entries, lists = [None, None], []
        for one, first in enumerate((self.before + self.after + self.longs, self.after + self.before + self.longs)):
            count = max(counts[one], self.total)
            full = (first * count)[:count]
            if pps.lists_modification and self.total > 1 and rng.random() < 0.6:
                entries[one] = [rng.randrange(self.total) for _ in range(counts[one])]
                lists.append([full[entry] for entry in entries[one]])
            else:
                lists.append(full[: counts[one]])
        return {"num_ref_idx": counts, "entries": tuple(entries), "lists": tuple(lists)}

    def _header(self, address: int) -> Header:
        rng, sps, pps = self.rng, self.sps, self.pps
        kind = self.picture.slice_type
        if kind == B and rng.random() < 0.2:
            kind = P
        if kind != I and rng.random() < 0.1:
            kind = I
        low = -6 * (sps.bit_depth - 8)
        header = Header(kind, min(max(pps.init_qp + rng.randint(-10, 10), low), 51), address)
        if sps.sao:
            header.sao_luma = rng.random() < 0.6
            header.sao_chroma = not sps.monochrome and rng.random() < 0.6
        if pps.slice_chroma_offsets:
            header.chroma_offsets = tuple(
                min(max(rng.randint(-12, 12), -12 - offset), 12 - offset) for offset in pps.chroma_offsets
            )
        if kind == I:
            return header
        shared = self.shared
        header.num_ref_idx, header.entries, header.lists = shared["num_ref_idx"], shared["entries"], shared["lists"]
        if kind == P:
            header.num_ref_idx = (header.num_ref_idx[0], 0)
        header.max_num_merge_cand = rng.randint(1, 5)
        header.cabac_init = pps.cabac_init_present and rng.random() < 0.5
        header.mvd_l1_zero = kind == B and rng.random() < 0.3
        header.temporal_mvp = self.temporal_mvp
        if self.temporal_mvp:
            shared.setdefault("collocated", rng.choice(header.lists[0]))
            from_l0 = kind == P or shared["collocated"] not in header.lists[1] or rng.random() < 0.5
            places = [i for i, poc in enumerate(header.lists[not from_l0]) if poc == shared["collocated"]]
            header.collocated = (from_l0, rng.choice(places))
        if pps.weighted_pred if kind == P else pps.weighted_bipred:
            header.weights = self._weights(header)
            self.features.add("weighted")
        return header

    def _weights(self, header: Header) -> dict:
        rng = self.rng
        table = {"luma_denom": rng.randint(0, 7), "chroma_denom": rng.randint(0, 7), "lists": []}
        for one in range(2 if header.slice_type == B else 1):
            rows = []
            for _ in range(header.num_ref_idx[one]):
                luma = (rng.randint(-30, 30), rng.randint(-128, 127)) if rng.random() < 0.5 else None
                chroma = None
                if not self.sps.monochrome and rng.random() < 0.5:
                    chroma = [(rng.randint(-30, 30), rng.randint(-512, 511)) for _ in range(2)]
                rows.append((luma, chroma))
            table["lists"].append(rows)
        return table

    def _segment_starts(self) -> dict[int, bool]:
        """Where in tile scan a slice segment starts, and whether it is a dependent one."""
        rng, count = self.rng, len(self.order)
        starts = {0: False}
        if self.plain:
            return {i: False for i in range(count)}
        rate = rng.choice((0.0, 0.03, 0.15, 0.5))
        whole_tiles = rng.random() < 0.5  # slices of whole tiles, or tiles of whole slices
        slice_in_row = False  # WPP: a slice that began in mid-row must end in it
        segment_in_row = False
        for i in range(1, count):
            address = self.order[i]
            new_tile = self.tile[address] != self.tile[self.order[i - 1]]
            if self.pps.tiles:
                if whole_tiles:
                    if new_tile and rng.random() < max(rate, 0.3):
                        starts[i] = self.pps.dependent_slices and rng.random() < 0.5
                elif new_tile or rng.random() < rate:
                    starts[i] = not new_tile and self.pps.dependent_slices and rng.random() < 0.5
                continue
            row_start = self.pps.wpp and address % self.columns == 0
            if row_start and slice_in_row:
                starts[i] = False
            elif row_start and segment_in_row:
                starts[i] = self.pps.dependent_slices and rng.random() < 0.7
            elif rng.random() < rate:
                starts[i] = self.pps.dependent_slices and rng.random() < 0.6
            if i in starts and self.pps.wpp:
                segment_in_row = not row_start
                if not starts[i]:
                    slice_in_row = not row_start
        return starts

    def write(self) -> bytes:
        """The packet; its record goes into the picture."""
        starts, picture = self._segment_starts(), self.picture
        out = [b"\0\0\0\1" + bytes([EOS << 1, 1])] if picture.ended else []
        segments = sorted(starts)
        for first, end in zip(segments, [*segments[1:], len(self.order)], strict=True):
            if starts[first]:
                self.features.add("dependent segment")
            else:
                picture.headers.append(self._header(self.order[first]))
                self.slices.begin_slice(picture.headers[-1])
            substreams = self._slice_segment_data(first, end, starts[first])
            out.append(self._segment(picture.headers[-1], first, starts[first], substreams))
        picture.written = self.slices.written
        picture.coded = self._coded([header.address for header in picture.headers])
        return b"".join(out)

    def noise(self) -> bytes:
        """A slice of random bytes, enough for every CTB of the picture."""
        self.picture.headers.append(self._header(0))
        payload = self.rng.randbytes(60 * (self.sps.width * self.sps.height >> 6) + 4000)
        return self._segment(self.picture.headers[-1], 0, False, [payload])

    def _slice_segment_data(self, first: int, end: int, dependent: bool) -> list[bytes]:
        """CTUs first .. end - 1 in tile scan, by substreams (7.3.8.1)."""
        slices, ctb, header = self.slices, self.sps.ctb, self.picture.headers[-1]
        substreams: list[bytes] = []
        contexts = np.zeros(0, np.int64)
        for i in range(first, end):
            address = self.order[i]
            x, y = address % self.columns, address // self.columns
            new_tile = i == 0 or self.tile[address] != self.tile[self.order[i - 1]]
            row_start = self.pps.wpp and x == 0
            slices.begin_ctu(x << ctb, y << ctb, len(self.picture.headers) * 1000 + self.tile[address])
            if new_tile or row_start:
                slices.last_qp = header.slice_qp
            if new_tile or row_start or i == first:
                if i > first:
                    slices.symbols.terminate(1)
                    substreams.append(encode(slices.symbols, contexts, self.wpp_store))
                slices.symbols.clear()
                above_right = slices.available(x << ctb, y << ctb, (x + 1) << ctb, (y - 1) << ctb)
                contexts = initial_contexts(init_type(header), header.slice_qp)
                if row_start and not new_tile and above_right:
                    contexts = self.wpp_store.copy()
                elif dependent and not new_tile and not row_start:
                    contexts = self.segment_store.copy()
            slices.coding_tree_unit(x << ctb, y << ctb)
            if self.pps.wpp and x == 1:
                slices.symbols.store_contexts()
            slices.symbols.terminate(i + 1 == end)
        substreams.append(encode(slices.symbols, contexts, self.wpp_store))
        self.segment_store[:] = contexts
        slices.symbols.clear()
        return substreams

    def _segment(self, header: Header, first: int, dependent: bool, substreams: list[bytes]) -> bytes:
        rng, sps, pps, picture = self.rng, self.sps, self.pps, self.picture
        bits = Bits()
        bits.flag(first == 0)
        if 16 <= picture.kind <= 23:
            bits.flag(0)
        bits.ue(0)
        if first:
            if pps.dependent_slices:
                bits.flag(dependent)
            bits.u((len(self.order) - 1).bit_length(), self.order[first])
        if not dependent:
            write_slice_header(bits, header, sps, pps, picture, self.total, self.temporal_mvp, rng)
        sizes = [len(escaped(one)) for one in substreams]  # no emulation crosses: each ends in a byte with a one
        if pps.tiles or pps.wpp:
            bits.ue(len(sizes) - 1)
            if len(sizes) > 1:
                length = max(max(size - 1 for size in sizes[:-1]).bit_length(), 1) + rng.choice((0, 0, 5))
                bits.ue(length - 1)
                for size in sizes[:-1]:
                    bits.u(length, size - 1)
                self.features.add("entry points")
        if pps.header_extension:
            extension = [rng.getrandbits(8) for _ in range(rng.randint(0, 3))]
            bits.ue(len(extension))
            for byte in extension:
                bits.u(8, byte)
        picture.segments.append((self.order[first], dependent, sizes))
        data = nal_unit(picture.kind, bits.rbsp() + b"".join(substreams), picture.temporal_id)
        return data + (b"\0\0\3\0\0\3" if rng.random() < 0.03 else b"")  # cabac_zero_words

    def _coded(self, addresses: list[int]) -> Coded:
        sps, pps, written = self.sps, self.pps, self.slices.written
        address, region = decoding_order(sps.width, sps.height, sps.ctb, pps.column_bounds, pps.row_bounds, addresses)
        coded = Coded(
            sps.width,
            sps.height,
            sps.ctb,
            (sps.bit_depth, sps.bit_depth),
            sps.monochrome,
            sps.strong_intra,
            pps.constrained_intra,
            address,
            region,
            self.slices.mode == INTRA,
            np.array(written.blocks, np.int32).reshape(-1, 10),
            np.array(written.levels, np.int32).reshape(-1, 3),
        )
        if sps.scaling:
            lists = {"default": None, "sps": sps.lists, "pps": pps.lists, "both": pps.lists}[sps.scaling]
            coded.scaling = scaling_factors(*(_resolved(lists) if lists else (None, None)))
        if self.plain and self.picture.slice_type != I:
            self._plain_parts(coded, address, region)
        return coded

    def _plain_parts(self, coded: Coded, address: np.ndarray, region: np.ndarray) -> None:
        """Vectors equal the written differences; `references` are filled with order counts, by list entry."""
        by_slice = {header.address: header for header in self.picture.headers}
        pocs = sorted({poc for header in self.picture.headers for one in header.lists for poc in one})
        coded.references = pocs  # replaced by planes where they are known
        rows, weights = [], []
        for x, y, w, h, merge, *lists in self.slices.written.parts:
            assert merge < 0
            header = by_slice[(y >> self.sps.ctb) * self.columns + (x >> self.sps.ctb)]
            row = [x, y, w, h]
            for one in range(2):
                ref_idx, mx, my = lists[3 * one : 3 * one + 3]
                if ref_idx < 0:
                    row += [0, 0, -1, -1]
                    continue
                weight = -1
                if header.weights:
                    weight = len(weights)
                    weights.append(explicit_weights(header.weights, one, ref_idx, self.sps.bit_depth))
                row += [mx, my, pocs.index(header.lists[one][ref_idx]), weight]
            rows.append(row)
        coded.parts = np.array(rows, np.int32).reshape(-1, PART_FIELDS)
        coded.weights = np.array(weights, np.int32).reshape(-1, 3, 3)


def _make_plain(sps: Sps, pps: Pps, chances: Chances) -> None:
    """One coding unit and one prediction unit per CTB, each a slice of its own."""
    _make_sequential(sps, pps)
    sps.min_cb = sps.ctb
    step = 1 << sps.ctb
    sps.width, sps.height = max(sps.width // step, 1) * step, max(sps.height // step, 1) * step
    pps.column_bounds, pps.row_bounds = [0, sps.width // step], [0, sps.height // step]
    pps.diff_cu_qp_delta_depth = 0
    sps.pcm_min = sps.pcm_max = min(sps.ctb, 5)
    chances.skip = chances.merge = 0
    chances.all_2nx2n = True


def _make_sequential(sps: Sps, pps: Pps) -> None:
    """No tiles, no WPP, no dependent slice segments."""
    pps.tiles, pps.wpp, pps.dependent_slices = False, False, False
    pps.column_bounds, pps.row_bounds = [0, -(-sps.width >> sps.ctb)], [0, -(-sps.height >> sps.ctb)]


def _features_of(sps: Sps, pps: Pps) -> set[str]:
    features = {name for name in ("amp", "sao", "pcm", "monochrome", "vui") if getattr(sps, name)}
    features |= {name for name in ("tiles", "wpp", "transform_skip", "sign_data_hiding") if getattr(pps, name)}
    features |= {name for name in ("transquant_bypass", "cu_qp_delta_enabled") if getattr(pps, name)}
    features |= {f"scaling {sps.scaling}"} if sps.scaling else set()
    return features | {f"CTB {1 << sps.ctb}", f"{sps.bit_depth} bit"}


def _sets_in_sps(sps: Sps, planned: list[Picture], rng: random.Random) -> None:
    """Some of the reference picture sets and long-term pictures, for the slice headers to point at."""
    for picture in planned:
        wanted = ordered(picture.short, picture.poc)
        if rng.random() < 0.5 and wanted not in sps.rps:
            sps.rps.append(wanted)
    if sps.long_term and rng.random() < 0.5:
        largest = 1 << sps.lsb_bits
        sps.long_term_lsbs = sorted({(poc % largest, used) for one in planned for poc, used in one.long})[:32]
    for picture in planned:
        picture.long.sort(key=lambda one: -one[0])  # cycles accumulate: they may not fall


def write(
    seed: int, *, pictures: int = 4, plain: bool = False, constrained_intra: bool = False, noise: bool = False
) -> Stream:
    """A stream of `pictures` packets, all from `seed`; parameter sets stand in the first packet.

    noise: the slice data are random bytes, one slice per picture, and there is no record of them.
    """
    rng = random.Random(seed)
    sps = draw_sps(rng)
    pps = draw_pps(sps, rng)
    chances = draw_chances(rng)
    pps.constrained_intra = constrained_intra
    if plain:
        _make_plain(sps, pps, chances)
    elif noise:
        _make_sequential(sps, pps)
    features = _features_of(sps, pps)
    planned = Plan(sps, rng, features).draw(pictures)
    for picture in planned:
        picture.output = not pps.output_flag_present or rng.random() < 0.8
    _sets_in_sps(sps, planned, rng)
    stream = Stream(seed, sps, pps, planned, features)
    for picture in planned:
        writer = _PictureWriter(stream, picture, chances, rng, plain)
        picture.packet = writer.noise() if noise else writer.write()
    parameter_sets = write_vps(sps, rng) + write_sps(sps, rng) + write_pps(pps, sps, rng)
    planned[0].packet = parameter_sets + planned[0].packet
    return stream
