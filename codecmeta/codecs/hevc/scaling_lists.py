"""Clause 7.3.4: scaling lists, as they are coded and by default."""

from __future__ import annotations

from dataclasses import dataclass

from codecmeta.codecs.hevc.tables import table
from codecmeta.codecs.syntax.bits import BitReader, EndOfData


@dataclass(frozen=True)
class ScalingLists:
    """scaling_list_data() of 7.3.4: `lists[sizeId][matrixId]`, 16 or 64 values in coded (diagonal) order, and
    `dc[sizeId - 2][matrixId]`. Of sizeId 3 only matrixId 0 and 3 are coded; the others stand at their defaults."""

    lists: tuple[tuple[tuple[int, ...], ...], ...]
    dc: tuple[tuple[int, ...], ...]


def require(condition: bool, what: str) -> None:
    """Raises EndOfData, saying what is wrong."""
    if not condition:
        raise EndOfData(what)


def default_scaling_lists() -> ScalingLists:
    """Tables 7-5 and 7-6."""
    intra, inter = tuple(table("scaling_intra_8x8")), tuple(table("scaling_inter_8x8"))
    eight = (intra,) * 3 + (inter,) * 3
    return ScalingLists((((16,) * 16,) * 6, eight, eight, eight), ((16,) * 6,) * 2)


def scaling_list_data(r: BitReader) -> ScalingLists:
    """7.3.4, with what 7.4.5 infers."""
    default = default_scaling_lists()
    lists = [list(one) for one in default.lists]
    dc = [list(one) for one in default.dc]
    for size_id in range(4):
        step = 3 if size_id == 3 else 1
        for matrix_id in range(0, 6, step):
            if not r.flag():  # scaling_list_pred_mode_flag
                delta = r.ue() * step
                require(delta <= matrix_id, "scaling_list_pred_matrix_id_delta")
                if delta:
                    lists[size_id][matrix_id] = lists[size_id][matrix_id - delta]
                else:
                    lists[size_id][matrix_id] = default.lists[size_id][matrix_id]
                if size_id > 1:
                    dc[size_id - 2][matrix_id] = dc[size_id - 2][matrix_id - delta] if delta else 16
                continue
            coefficient, values = 8, []
            if size_id > 1:
                coefficient = 8 + r.se()
                require(1 <= coefficient <= 255, "scaling_list_dc_coef")
                dc[size_id - 2][matrix_id] = coefficient
            for _ in range(64 if size_id else 16):
                coefficient = (coefficient + r.se()) % 256
                values.append(coefficient)
            lists[size_id][matrix_id] = tuple(values)
    return ScalingLists(tuple(tuple(one) for one in lists), tuple(tuple(one) for one in dc))
