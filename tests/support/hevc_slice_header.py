"""Writes the headers of HEVC slices (7.3.6) as they were drawn; what says nothing of the picture is drawn here."""

from __future__ import annotations

import random

from tests.support.bits import Bits
from tests.support.hevc_headers import IDR_N_LP, IDR_W_RADL, Header, Picture, Pps, Sps, write_short_term
from tests.support.hevc_plan import ordered
from tests.support.hevc_syntax import B, I


def write_slice_header(
    bits: Bits,
    header: Header,
    sps: Sps,
    pps: Pps,
    picture: Picture,
    candidates: int,
    temporal_mvp: bool,
    rng: random.Random,
) -> None:
    """7.3.6.1, what a dependent slice segment lacks. candidates: NumPicTotalCurr. temporal_mvp: of the picture."""
    bits.u(pps.extra_bits, rng.getrandbits(pps.extra_bits) if pps.extra_bits else 0)
    bits.ue(header.slice_type)
    if pps.output_flag_present:
        bits.flag(picture.output)
    if picture.kind not in (IDR_W_RADL, IDR_N_LP):
        _write_reference_sets(bits, sps, picture, temporal_mvp, rng)
    if sps.sao:
        bits.flag(header.sao_luma)
        if not sps.monochrome:
            bits.flag(header.sao_chroma)
    if header.slice_type != I:
        counts = header.num_ref_idx
        lists = 2 if header.slice_type == B else 1
        override = any(counts[one] != pps.num_ref_idx[one] for one in range(lists)) or rng.random() < 0.2
        bits.flag(override)
        if override:
            for one in range(lists):
                bits.ue(counts[one] - 1)
        if pps.lists_modification and candidates > 1:
            for one in range(lists):
                bits.flag(header.entries[one])
                for entry in header.entries[one] or ():
                    bits.u((candidates - 1).bit_length(), entry)
        if header.slice_type == B:
            bits.flag(header.mvd_l1_zero)
        if pps.cabac_init_present:
            bits.flag(header.cabac_init)
        if header.temporal_mvp:
            if header.slice_type == B:
                bits.flag(header.collocated[0])
            if counts[not header.collocated[0]] > 1:
                bits.ue(header.collocated[1])
        if header.weights:
            _write_pred_weight_table(bits, header.weights, sps.monochrome)
        bits.ue(5 - header.max_num_merge_cand)
    bits.se(header.slice_qp - pps.init_qp)
    if pps.slice_chroma_offsets:
        bits.se(header.chroma_offsets[0])
        bits.se(header.chroma_offsets[1])
    disabled = pps.deblocking_disabled and pps.deblocking_control
    if pps.deblocking_override:
        override = rng.getrandbits(1)
        bits.flag(override)
        if override:
            disabled = rng.getrandbits(1)
            bits.flag(disabled)
            if not disabled:
                bits.se(rng.randint(-6, 6))
                bits.se(rng.randint(-6, 6))
    if pps.loop_across_slices and (header.sao_luma or header.sao_chroma or not disabled):
        bits.flag(rng.getrandbits(1))


def _write_reference_sets(bits: Bits, sps: Sps, picture: Picture, temporal_mvp: bool, rng: random.Random) -> None:
    largest = 1 << sps.lsb_bits
    bits.u(sps.lsb_bits, picture.poc % largest)
    wanted = ordered(picture.short, picture.poc)
    in_sps = wanted in sps.rps and rng.random() < 0.8
    bits.flag(in_sps)
    if in_sps:
        bits.u((len(sps.rps) - 1).bit_length(), sps.rps.index(wanted))
    else:
        write_short_term(bits, sps.rps, len(sps.rps), wanted, rng)
    if sps.long_term:
        known = sps.long_term_lsbs
        from_sps = [one for one in picture.long if (one[0] % largest, one[1]) in known]
        explicit = [one for one in picture.long if one not in from_sps]
        assert from_sps + explicit == picture.long or {*from_sps, *explicit} == {*picture.long}
        if known:
            bits.ue(len(from_sps))
        bits.ue(len(explicit))
        for group in (from_sps, explicit):
            last = 0
            for poc, used in group:
                if group is from_sps:
                    if len(known) > 1:
                        bits.u((len(known) - 1).bit_length(), known.index((poc % largest, used)))
                else:
                    bits.u(sps.lsb_bits, poc % largest)
                    bits.flag(used)
                cycle = picture.poc // largest - poc // largest
                present = cycle >= last
                bits.flag(present)
                if present:
                    bits.ue(cycle - last)
                    last = cycle
    if sps.temporal_mvp:
        bits.flag(temporal_mvp)


def _write_pred_weight_table(bits: Bits, table: dict, monochrome: bool) -> None:
    """7.3.6.3."""
    bits.ue(table["luma_denom"])
    if not monochrome:
        bits.se(table["chroma_denom"] - table["luma_denom"])
    for rows in table["lists"]:
        for luma, _ in rows:
            bits.flag(luma is not None)
        if not monochrome:
            for _, chroma in rows:
                bits.flag(chroma is not None)
        for luma, chroma in rows:
            if luma:
                bits.se(luma[0])
                bits.se(luma[1])
            for weight, delta in chroma or ():
                bits.se(weight)
                bits.se(delta)
