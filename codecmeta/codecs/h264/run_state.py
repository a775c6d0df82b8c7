"""The words of a run, pictures that one call of a kernel parses: indices into the int64 arrays of `run_kernel.py`.

b   int64    the sequence parameter set, the decoded picture buffer, the lists of the current slice
y   int64    picture parameter sets, by id
h   int64    the header of the current slice, and what counts of that of the first slice
f   int64    (packets, F_SIZE): what is asked of each packet, and what came of it
"""

# b: elements of the sequence parameter set
LOG2_FRAME_NUM, ORDER_TYPE, LOG2_ORDER_LSB, MAX_REFERENCES, LENGTH_SIZE = range(5)  # LENGTH_SIZE 0: start codes
# the buffer between two pictures, named as in `DecodedPictureBuffer`
IDENTITY, PREVIOUS_MSB, PREVIOUS_LSB, PREVIOUS_OFFSET, PREVIOUS_FRAME_NUM, PREVIOUS_REFERENCE, COUNT = range(8, 15)
# the current picture; SLOT: which rows of the arrays of pictures it is written to, -1: none is free
MSB, OFFSET, TOP, BOTTOM, ORDER, SLOT, ROW = range(16, 23)
REFERENCES = 24  # the frames used for reference, R_SIZE words each
R_IDENTITY, R_FRAME_NUM, R_TOP, R_BOTTOM, R_ORDER, R_USE, R_LONG_INDEX, R_WRAP, R_SLOT, R_ROW, R_SOUND, R_SIZE = range(
    12
)
SHORT, LONG = 1, 2  # R_USE; 0: not used any more
MOST_REFERENCES = 17
LISTS = REFERENCES + MOST_REFERENCES * R_SIZE  # RefPicList0, RefPicList1: places in REFERENCES, -1: no such reference
LIST_SIZE = 33  # one more than a list has, for the modification process
KEYS = LISTS + 2 * LIST_SIZE  # what the entries of a list in the making are sorted by
B_SIZE = KEYS + LIST_SIZE

# y
(
    P_KNOWN,
    P_CABAC,
    P_BOTTOM_ORDER,
    P_REFS_L0,
    P_REFS_L1,
    P_WEIGHTED,
    P_BIPRED,
    P_QP,
    P_CB_OFFSET,
    P_CR_OFFSET,
    P_DEBLOCKING,
    P_REDUNDANT,
    P_TRANSFORM_8X8,
    P_WEIGHTS,  # which row of `w`
    P_SIZE,
) = range(15)

# h; the first words are those by which slices belong to one picture, and how it is marked
(
    H_IDR,
    H_REFERENCE,
    H_FRAME_NUM,
    H_IDR_PIC_ID,
    H_LSB,
    H_BOTTOM,
    H_LONG_TERM,
    H_OPERATIONS,  # how many memory management control operations; -1: sliding window
) = range(8)
H_SAME = 6  # so many of them must agree
H_OPERATION = 8  # 66 operations of three words
H_FIRST = H_OPERATION + 3 * 66  # all of that, of the first slice
H_TYPE, H_FIRST_MB, H_SPATIAL, H_REFS_L0, H_REFS_L1, H_CABAC_INIT, H_QP = range(2 * H_FIRST, 2 * H_FIRST + 7)
H_STEPS_L0, H_STEPS_L1 = range(2 * H_FIRST + 7, 2 * H_FIRST + 9)  # how many steps of the modification process
H_STEP = 2 * H_FIRST + 9  # [list][66][idc, operand]
H_SIZE = H_STEP + 2 * 66 * 2

# f
F_BEGIN, F_END, F_ROW, F_WANTED, F_TYPE, F_EXACT, F_OUT, F_VECTORS, F_COUNT, F_IDENTITY, F_SIZE = range(11)

MOST_SLICES = 64
NO_ENTRY = -2  # in the lists that are kept of a picture: behind the last entry; -1: a missing reference
NAMES = 2 * 32 * MOST_SLICES  # words of those lists: [slice][list][refIdx]
