"""Where a kernel keeps what it knows: indices into the int64 array `s` and the work areas, one place for all files.

The arrays that every kernel of this package passes on:

    s   int64    the scalars below
    c   int64    1024 context variables, each a word of arithmetic.STATES
    d   uint8    the RBSP of the slice, followed by 16 zero bytes
    w   float32  energy of a level of one, by scaling list, qP' and scan position (`energy_weights`)
    n   uint8    total_coeff of the blocks around and in the macroblock (N_*)
    t   int32    per-column words of the row above, levels, direct vectors (T_*)
    m   int32    per macroblock: mb_type flags, bits, QPY, slice number; four planes of PIC_MBS
    e   float32  energy per 4x4 block: luma, Cb, Cr planes
    v   int32    vectors per 4x4 block, both lists, packed y << 16 | x & 0xffff; one row above, one column before
    g   int8     refIdx per 4x4 block, laid out as v: -1 not used, -2 not available; of this and the row above only
    q   uint16   |mvd| per 4x4 block, laid out as v: y << 8 | x, clipped to 70
    r   int8     refIdx per 8x8 block for later pictures: [list][macroblock][4]
    kv, kr, km   v, r and m of the co-located picture RefPicList1[0]
    k   int32    MapColToList0 and DistScaleFactor of temporal direct prediction (K_*)
"""

# after the words of the arithmetic decoder (syntax/arithmetic.py): the bit position of CAVLC
BIT_POSITION, STOP_BIT = 5, 6
# the picture
PIC_WIDTH, PIC_HEIGHT, PIC_MBS, STRIDE, LIST_STRIDE = range(8, 13)  # macroblocks; 4x4 blocks
CHROMA = 13  # ChromaArrayType; 0 also in 4:4:4, where Cb and Cr are coded as luma is
PLANES = 14  # that are coded as luma is: 3 in 4:4:4, else 1
# the slice
(
    SLICE_TYPE,
    FIRST_MB,
    SLICE_NUMBER,
    CABAC,
    NUM_REF_L0,
    NUM_REF_L1,
    DIRECT_SPATIAL,
    DIRECT_8X8_INFERENCE,
    TRANSFORM_8X8_MODE,
    HAVE_COLOCATED,
    COLOCATED_LONG_TERM,
    QP_BD_OFFSET,
    QP_BD_OFFSET_C,
    CB_OFFSET,
    CR_OFFSET,
    CABAC_INIT_IDC,
    SLICE_QP,
    PCM_BITS,  # of the samples of an I_PCM macroblock
    LOSSLESS,  # qpprime_y_zero_transform_bypass_flag
    FIELD,  # 1 in field pictures
    CONSTRAINED_INTRA,
    OLD_X264,  # high444/: see `load_plane`
) = range(16, 38)
# the macroblock
(
    STATUS,
    MB_ADDR,
    MB_X,
    MB_Y,
    QP,
    LAST_QP_DELTA,
    LEFT_WORD,
    TOP_WORD,
    TOTAL_COEFF,
    NO_SUB_LESS_THAN_8X8,
    REF_BITS,
    DIRECT_SHAPE,
    DIRECT_REF_L0,
    DIRECT_REF_L1,
    LAST_MB,
    MBS_PARSED,
    DIRECT_UNIFORM,
) = range(40, 57)
# where neighbour D stands, relative to a block `at`: s[DIAGONAL + (at & s[DIAGONAL_MASK])]; one entry, but in MBAFF
DIAGONAL_MASK, DIAGONAL = 57, 80
# MBAFF frames (mbaff/): the frame, the pair, and what Table 6-4 finds for the macroblock
(
    FRAME_WIDTH,
    FRAME_HEIGHT,
    FRAME_STRIDE,
    FRAME_LIST_STRIDE,
    FRAME_REFS_L0,
    FRAME_REFS_L1,
    PAIR,  # the upper macroblock of the pair, in raster order
    PAIR_X,
    PAIR_Y,
    BOTTOM,
    MB_A,  # the upper macroblock of the pair to the left, -1: not available
    MB_B,
    MB_C,
    MB_D,
    EDGE_D,  # which of its edge blocks
    FIELD_A,
    COLOCATED_PARITY,  # of the co-located field macroblock that a frame macroblock sees
    SKIP_RUN,
    BEGIN,  # position where the macroblock starts
) = range(58, 77)
# how an intra macroblock is predicted: Intra16x16PredMode, or 4 bits per block, the first one's highest, which are 8
# for its prev_intra_pred_mode_flag, else its rem_intra_pred_mode; intra_chroma_pred_mode; T_MODES to the left
INTRA_MODES, INTRA_CHROMA_MODE, LEFT_MODES = range(77, 80)
S_SIZE = DIAGONAL + 64

# STATUS
OK, BAD_SYNTAX, OVERRUN, NO_STOP_BIT = range(4)

# n: a grid of eight columns with the neighbours in row/column 0; luma from (1, 1), Cb from (6, 1), Cr from (6, 5)
N_LUMA, N_CB, N_CR = 9, 49, 53
N_PLANE = 40  # in 4:4:4 Cb and Cr have grids like luma's, each so far behind the one before
N_POSITIONS = 128  # positions of the significant coefficients of a block
N_LEFT = 192  # luma 4, Cb 2, Cr 2 of the macroblock to the left, in 4:2:2 Cb 2, Cr 2 of its lower half; 4:4:4: 4 each
N_TOP = 204  # of a column of macroblocks luma 4, Cb 2, Cr 2; in 4:4:4 4 each
N_COLUMN = 12  # totals of each column
NOT_AVAILABLE = 64  # total_coeff of a block outside the slice

# t
T_LEVELS = 0  # 16 levels of a DC block
T_DIRECT = 16  # vectors of direct prediction: [list][4x4 block in raster order]
T_DIRECT_REF = 48  # refIdx of direct prediction: [list][8x8 block]
T_REF = 56  # refIdx of the partitions: [list][4]
T_SUB = 64  # sub_mb_type of the four 8x8 blocks: partition shape, lists | 4 where direct
T_CODED = 72  # CAVLC levels in coding order
# lossless coding (high444/): levels of a block in the order of the scan; residual of a plane of the macroblock, 16 x 16
T_SCAN, T_SAMPLES = 88, 152
T_PRED_MODES = 408  # and its Intra4x4PredModes, in a grid as n is
T_TOP = 448  # word per column of macroblocks; behind all of them, T_MODES, the modes of its last row, 4 bits each

# the word that a macroblock leaves for its neighbours
W_CBP_LUMA, W_CBP_CHROMA = 15, 48  # CodedBlockPatternLuma, CodedBlockPatternChroma << 4
W_SKIP, W_AVAILABLE, W_I_NXN, W_INTRA, W_PCM, W_T8X8, W_CHROMA_MODE, W_DIRECT = (1 << i for i in range(6, 14))
W_DC = 14  # bits 14, 15, 16: coded_block_flag of the luma, Cb, Cr DC block
W_REF = 17  # bits 17..20 list 0, 21..24 list 1: refIdx > 0 of the 8x8 block, not by direct prediction
W_RESIDUAL = 1 << 25  # residual() follows macroblock_layer()
W_NOTHING = W_CBP_LUMA  # outside the slice

# m, first plane: what a macroblock is
M_I_NXN, M_I_16X16, M_I_PCM, M_SKIP, M_DIRECT = 1, 2, 4, 8, 16
M_SHAPE = 5  # bits 5, 6: 0 16x16, 1 16x8, 2 8x16, 3 8x8
M_L0, M_L1, M_T8X8, M_SUB_DIRECT = 128, 256, 512, 1024
M_CBP = 11  # bits 11..16: coded_block_pattern
M_FIELD = 17  # bit 17: a field macroblock of an MBAFF frame
M_INTRA = M_I_NXN | M_I_16X16 | M_I_PCM

# k: MapColToList0 [slice of the co-located picture][list][refIdxCol], after 32 DistScaleFactors by refIdxL0
K_SCALE, K_MAP = 0, 32
