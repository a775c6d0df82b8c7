"""Clauses 8.3.1, 8.3.2 and 8.3.4: picture order count, reference picture set, reference picture lists.

From slice headers alone. All POC differences stand in the header: what a picture refers to is known by one packet.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass

from codecmeta.codecs.hevc import state
from codecmeta.codecs.hevc.nal import BLA_W_LP, CRA_NUT, IDR_N_LP, IDR_W_RADL, LAST_IRAP, RADL_N, RASL_R
from codecmeta.codecs.hevc.sps import SPS

# RefPicList0 and 1 of a slice segment: (identity, PicOrderCntVal, used for long-term reference)
Lists = tuple[list[tuple[int, int, bool]], list[tuple[int, int, bool]]]


@dataclass(eq=False)
class Reference:
    """A picture as the buffer knows it. `identity` is its number in decoding order, -1: not there."""

    identity: int
    poc: int
    long_term: bool = False


class DecodedPictureBuffer:
    """Follows a stream picture by picture: `begin` a picture, ask for the lists of its slices."""

    def __init__(self) -> None:
        self.references: list[Reference] = []
        self.identity = -1
        self.period = 0  # counts up where picture order counts start anew
        self.lost = False  # a reference that should be there is missing since the last IRAP picture
        self.skipped = False  # the current picture is a RASL picture of which players show nothing
        self.current = Reference(-1, 0)
        self._previous_tid0 = 0  # PicOrderCntVal of prevTid0Pic
        self._first = True  # in the stream, or behind an end of sequence
        self._skip_rasl = False
        self._before: list[Reference] = []
        self._after: list[Reference] = []
        self._long: list[Reference] = []

    @classmethod
    def alone(cls, words: list[int], sps: SPS) -> DecodedPictureBuffer:
        """For a picture without those before it: no reference is there, all POC differences are known.

        A long-term picture that is told by its lsb alone is taken for the last one before that has it.
        """
        buffer = cls()
        buffer.current = Reference(-1, 0)
        lsb = words[state.H_POC_LSB]
        buffer._set_short_term(words, {})
        mask = (1 << sps.log2_max_poc_lsb) - 1
        for i in range(words[state.H_NUM_LT]):
            difference = (words[state.H_LT_POC + i] - lsb) & mask
            difference -= (mask + 1) * (1 if difference else 0)
            if words[state.H_LT_MSB + i]:
                difference = words[state.H_LT_POC + i] - lsb - words[state.H_LT_CYCLE + i] * (mask + 1)
            if words[state.H_LT_USED + i]:
                buffer._long.append(Reference(-1, difference, True))
        return buffer

    def copy(self) -> DecodedPictureBuffer:
        """The buffer as it is now."""
        other = copy(self)
        other.references = [copy(one) for one in self.references]
        return other

    def end_of_sequence(self) -> None:
        """An end of sequence NAL unit: the next picture starts anew."""
        self._first = True

    def begin(self, words: list[int], sps: SPS, nal_unit_type: int, temporal_id: int) -> Reference:
        """8.3.1 and 8.3.2 for the picture whose first slice segment header has these words (state.H_*)."""
        self.identity += 1
        irap = BLA_W_LP <= nal_unit_type <= LAST_IRAP
        starts = irap and (self._first or nal_unit_type != CRA_NUT)  # NoRaslOutputFlag
        if irap:  # what follows it refers to nothing before it, but for RASL pictures
            self.lost = False
            self._skip_rasl = starts and nal_unit_type not in (IDR_W_RADL, IDR_N_LP)
        mask = (1 << sps.log2_max_poc_lsb) - 1
        lsb = words[state.H_POC_LSB]
        msb = 0
        if not starts:
            previous_lsb = self._previous_tid0 & mask
            msb = self._previous_tid0 - previous_lsb
            if lsb < previous_lsb and previous_lsb - lsb > mask >> 1:
                msb += mask + 1
            elif lsb > previous_lsb and lsb - previous_lsb > (mask + 1) >> 1:
                msb -= mask + 1
        poc = msb + lsb
        leading = RADL_N <= nal_unit_type <= RASL_R
        rasl = nal_unit_type in (RASL_R - 1, RASL_R)
        self.skipped = rasl and self._skip_rasl
        if temporal_id == 0 and not leading and (nal_unit_type > 14 or nal_unit_type & 1):
            self._previous_tid0 = poc
        if starts:
            self.references = []
            self.period += 1
        elif self._first:
            self.lost = True
        self._first = False
        self.current = Reference(self.identity, poc)
        if nal_unit_type in (IDR_W_RADL, IDR_N_LP):
            self._before, self._after, self._long = [], [], []
        else:
            self._reference_picture_set(words, mask)
        if nal_unit_type <= RASL_R and not self.skipped:
            used = (*self._before, *self._after, *self._long)
            self.lost |= any(one.identity < 0 for one in used)
        self.references.append(self.current)
        return self.current

    def _reference_picture_set(self, words: list[int], mask: int) -> None:
        """8.3.2: which pictures the current one and later ones may refer to; the others leave."""
        kept: list[Reference] = []
        self._long = []
        for i in range(words[state.H_NUM_LT]):
            poc = words[state.H_LT_POC + i]
            found = None
            if words[state.H_LT_MSB + i]:
                now = self.current.poc
                poc += now - words[state.H_LT_CYCLE + i] * (mask + 1) - (now & mask)
                found = next((one for one in self.references if one.poc == poc), None)
            else:
                found = next((one for one in self.references if one.poc & mask == poc), None)
            if found is not None:
                kept.append(found)
            elif not words[state.H_LT_MSB + i]:  # a picture before this one, as far as anybody can tell
                poc = self.current.poc - ((self.current.poc - poc) & mask)
            if words[state.H_LT_USED + i]:
                self._long.append(found or Reference(-1, poc, True))
        short = {one.poc: one for one in self.references if not one.long_term and one not in kept}
        for one in kept:
            one.long_term = True
        self._set_short_term(words, short)
        count = words[state.H_NUM_NEGATIVE] + words[state.H_NUM_POSITIVE]
        deltas = words[state.H_DELTA : state.H_DELTA + count]
        now = self.current.poc
        kept += [short[now + delta] for delta in deltas if now + delta in short]
        self.references = kept

    def _set_short_term(self, words: list[int], short: dict[int, Reference]) -> None:
        """RefPicSetStCurrBefore and RefPicSetStCurrAfter."""
        negative = words[state.H_NUM_NEGATIVE]
        count = negative + words[state.H_NUM_POSITIVE]
        now = self.current.poc
        self._before, self._after = [], []
        for i in range(count):
            if words[state.H_USED + i]:
                poc = now + words[state.H_DELTA + i]
                side = self._before if i < negative else self._after
                side.append(short.get(poc) or Reference(-1, poc))

    def lists(self, words: list[int]) -> tuple[list[Reference], list[Reference]]:
        """RefPicList0 and RefPicList1 of a slice of the current picture (8.3.4), by the words of its header."""
        result: list[list[Reference]] = []
        for list_, initial in enumerate(
            ([*self._before, *self._after, *self._long], [*self._after, *self._before, *self._long])
        ):
            count = words[state.H_NUM_REF_0 + list_]
            if not initial or not count:
                result.append([])
            elif words[state.H_MODIFIED_0 + list_]:
                at = state.H_ENTRY_0 + 16 * list_
                result.append([initial[i % len(initial)] for i in words[at : at + count]])
            else:
                result.append((initial * (1 + count // len(initial)))[:count])
        return result[0], result[1]
