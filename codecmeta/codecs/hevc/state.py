"""Where a kernel keeps what it knows: indices into the work arrays, one place for all files.

The arrays that the kernels of this package pass on:

    s    int64    the scalars below, and the stacks of the two quadtrees
    c    int64    context variables, each a word of the arithmetic decoder: current, stored after WPP's second CTB,
                  stored at the end of a slice segment; CONTEXTS apart
    d    uint8    the RBSP of the slice segment, followed by 16 zero bytes
    k    int32    one parameter set pair, SPS and PPS, as words (K_*)
    t    int32    the tile scan of that pair (`tile_tables`)
    f    uint8    its scaling factors (F_*), by size, list and raster position
    h    int32    the slice segment header (H_*); what a dependent segment inherits stays where it is
    a    uint8    line buffers: what the blocks above and to the left are (A_*)
    b    int32    work area: levels of a transform block, merging candidates (B_*)
    w    float32  work area: columns of large transform blocks (W_*)
    g    int8     refIdx per 4x4 block, [list], a border around: -2 not decoded, -1 not used (intra: both)
    v    int32    vectors per 4x4 block, laid out as g, packed y << 16 | x & 0xffff, in quarter samples
    m    int32    number of the slice segment per CTB, -1: not parsed
    r    int32    motion per 16x16 block for later pictures: CELL words each (R_*)
    o    int32    r of the co-located picture
    cu, pu, tu, lv   int32  rows of coding, prediction and transform units, and levels (the last two: traces)
    e    float32  energy per 4x4 block: luma, Cb, Cr planes
"""

from __future__ import annotations

# s, after the words of the arithmetic decoder (syntax/arithmetic.py): bit reader of headers
BIT_POSITION, BIT_END, STOP_BIT = 5, 6, 7
# the picture
(
    STRIDE,  # of g and v
    PLANE,  # words of one list in g and v
    CELLS_WIDE,  # 16x16 blocks in a row of r
    POC,
    HAVE_COLLOCATED,
    NO_BACKWARD_PRED,
    SEGMENT,  # number of the slice segment in the picture
    TRACE,
    PREVIOUS_TS,  # CtbAddrInTs after the last one parsed
    HAVE_STORED,  # a slice segment's contexts are stored
    NUM_CU,
    NUM_PU,
    NUM_TU,
    NUM_LEVELS,
    NUM_EMULATION,
    NAL_UNIT_TYPE,
) = range(8, 24)
# the slice segment
(
    SLICE_TYPE,
    SLICE_QP,
    LAST_QP,  # qPY_PREV
    QP_PRED,  # qPY_PRED
    QP,  # QpY
    IS_QP_CODED,
    QP_DELTA,
    QPC_CB,  # Qp'Cb
    QPC_CR,
    STATUS,
    BEGIN,  # bit where the next coding unit's bits start
    AVAILABLE_LEFT,
    AVAILABLE_UP,
    AVAILABLE_UP_LEFT,
    AVAILABLE_UP_RIGHT,
    CTB_X,  # in CTBs
    CTB_Y,
    CTB_MASK,  # CtbSizeY - 1
    CTB_LOG2,
    BYPASS,  # cu_transquant_bypass_flag
    CU_X0,
    CU_Y0,
    CU_SIZE,
    PART_MODE,
    PRED_MODE,
    MERGE_FLAG,  # of the last prediction unit
    CHROMA_MODE,
    LUMA_MODE_0,
    LUMA_MODE_1,
    LUMA_MODE_2,
    LUMA_MODE_3,
    WIDTH,
    HEIGHT,
    CTB_COLUMNS,
    LEVEL_COUNT,  # levels in the last transform block
    MAX_TRAFO_DEPTH,
    SUBSTREAM,
    CHROMA,
    QP_OFFSET,  # QpBdOffsetY
) = range(24, 63)
S_STACK = 64  # coding quadtree, 32 words
S_TREE = 96  # transform tree, 32 words
S_MODES = 128  # prev_intra_luma_pred_flag[4]
S_MV = 132  # vector and references of the prediction unit: mv0, mv1, ref0, ref1
S_SIZE = 160

# STATUS
OK, BAD_SYNTAX, OVERRUN, NO_STOP_BIT, BAD_ENTRY, BAD_ADDRESS = range(6)

CONTEXTS = 160  # words of one set in c, 154 of them used
C_WPP, C_SEGMENT = CONTEXTS, 2 * CONTEXTS

# k
(
    K_VALID,
    K_WIDTH,
    K_HEIGHT,
    K_CTB_COLUMNS,
    K_CTB_ROWS,
    K_CHROMA,  # ChromaArrayType
    K_BIT_DEPTH,
    K_BIT_DEPTH_C,
    K_LOG2_MAX_POC_LSB,
    K_MIN_CB,
    K_CTB,
    K_MIN_TB,
    K_MAX_TB,
    K_DEPTH_INTER,
    K_DEPTH_INTRA,
    K_SCALING,
    K_AMP,
    K_SAO,
    K_PCM,
    K_PCM_DEPTH,
    K_PCM_DEPTH_C,
    K_PCM_MIN,
    K_PCM_MAX,
    K_NUM_ST,
    K_LONG_TERM,
    K_NUM_LT_SPS,
    K_TEMPORAL_MVP,
    K_DEPENDENT,
    K_OUTPUT_FLAG,
    K_EXTRA_BITS,
    K_SIGN_HIDING,
    K_CABAC_INIT,
    K_NUM_REF_0,
    K_NUM_REF_1,
    K_INIT_QP,
    K_TRANSFORM_SKIP,
    K_QP_DELTA,
    K_MIN_QG,  # Log2MinCuQpDeltaSize
    K_CB_OFFSET,
    K_CR_OFFSET,
    K_SLICE_CHROMA,
    K_WEIGHTED,
    K_WEIGHTED_BI,
    K_BYPASS,
    K_TILES,
    K_WPP,
    K_ACROSS_SLICES,
    K_OVERRIDE,
    K_DEBLOCKING_DISABLED,
    K_MODIFICATION,
    K_PARALLEL,
    K_HEADER_EXTENSION,
    K_MAX_ENTRIES,
) = range(53)
K_LT_LSB = 56
K_LT_USED = 88
K_ST = 120  # short-term sets, ST_SIZE words each
ST_SIZE = 34  # num negative, num positive, 16 deltas, 16 used flags
K_SIZE = K_ST + 64 * ST_SIZE

# h
(
    H_FIRST,
    H_NO_OUTPUT,
    H_PPS,
    H_DEPENDENT,
    H_ADDRESS,
    H_SLICE_ADDRESS,
    H_TYPE,
    H_OUTPUT,
    H_POC_LSB,
    H_ST_SPS_FLAG,
    H_ST_INDEX,
    H_NUM_LT,
    H_TEMPORAL_MVP,
    H_SAO_LUMA,
    H_SAO_CHROMA,
    H_NUM_REF_0,
    H_NUM_REF_1,
    H_MODIFIED_0,
    H_MODIFIED_1,
    H_MVD_L1_ZERO,
    H_CABAC_INIT,
    H_COLLOCATED_L0,
    H_COLLOCATED_REF,
    H_WEIGHTS,
    H_LUMA_DENOM,
    H_CHROMA_DENOM,
    H_MAX_MERGE,
    H_QP,
    H_CB_OFFSET,
    H_CR_OFFSET,
    H_DEBLOCKING_DISABLED,
    H_ACROSS_SLICES,
    H_NUM_ENTRIES,
    H_OFFSET_LEN,
    H_NUM_PIC_TOTAL_CURR,
    H_DATA_BYTE,  # where slice_segment_data() starts in the RBSP
    H_NUM_NEGATIVE,
    H_NUM_POSITIVE,
) = range(38)
H_DELTA = 40  # 16 delta POCs of the short-term set: negative, then positive
H_USED = 56
H_LT_POC = 72  # lsb, or with the most significant bits: POC - PicOrderCntVal + lsb
H_LT_USED = 105
H_LT_MSB = 138  # delta_poc_msb_present_flag
H_LT_CYCLE = 171  # DeltaPocMsbCycleLt
H_ENTRY_0 = 204  # list_entry_l0, l1
H_ENTRY_1 = 220
H_LUMA_WEIGHTS = 236  # [list][16][weight, offset]
H_CHROMA_WEIGHTS = 300  # [list][16][Cb, Cr][weight, offset]
H_REF_POC = 428  # [list][16] POC of the reference minus that of this picture
H_REF_LONG = 460  # [list][16] used for long-term reference
H_ENTRIES = 492  # entry_point_offset_minus1 + 1
MAX_ENTRIES = 4096
H_SIZE = H_ENTRIES + MAX_ENTRIES

# t: four planes of `CTBs` words, then a word per CTB column and row
T_RS_TO_TS, T_TS_TO_RS, T_TILE_ID, T_TILE_X = range(4)  # T_TILE_X: the first CTB column of the tile

# f
F_4, F_8, F_16, F_32 = 0, 96, 480, 2016  # 6 lists each; of 32x32: intra, inter
F_SIZE = F_32 + 2 * 1024

# a
A_LEFT = 0  # per 8 rows of the CTB: coding quadtree depth, cu_skip_flag << 3
A_QP = 8  # QpY + 64 per 8x8 block of the CTB
A_MODE_LEFT = 72  # luma intra mode per 4 rows of the CTB
A_MODE_UP = 88  # per 4 columns of the CTB
A_CSBF = 104  # coded_sub_block_flag, 9 x 9
A_POSITIONS = 192  # positions of the coefficients of a sub-block
A_LAST_SAO = 208
A_UP = 224  # per 8 columns of the picture, as A_LEFT

# b
B_CANDIDATES = 0  # six of mv0, mv1, ref0, ref1
B_LEVELS = 32  # position (y << 5 | x), level, 1024 of them
B_SIZE = B_LEVELS + 2048

# w
W_COLUMN = 0  # after the first transform: 32 columns of 32
W_EVEN = 1024
W_ODD = 1056
W_LOW = 1088  # squares by row of each eight columns
W_SIZE = W_LOW + 4 * 32

# r
CELL = 4
R_MV_0, R_MV_1, R_REF_0, R_REF_1 = range(4)  # R_REF: 0 not used, else 1 | long-term << 1 | (POC difference) << 2

# columns of cu
CU_X, CU_Y, CU_LOG2, CU_MODE, CU_PART, CU_FLAGS, CU_QP, CU_BITS, CU_SEGMENT, CU_CHROMA = range(10)
CU_COLUMNS = 10
MODE_INTER, MODE_INTRA, MODE_SKIP = range(3)
PART_2NX2N, PART_2NXN, PART_NX2N, PART_NXN, PART_2NXNU, PART_2NXND, PART_NLX2N, PART_NRX2N = range(8)
FLAG_BYPASS, FLAG_PCM = 1, 2
# columns of pu
PU_X, PU_Y, PU_W, PU_H, PU_MV0, PU_MV1, PU_REF0, PU_REF1, PU_MERGE, PU_SEGMENT = range(10)
PU_COLUMNS = 10
# columns of tu
(
    TU_X,
    TU_Y,
    TU_LOG2,
    TU_LUMA_MODE,
    TU_CHROMA_MODE,
    TU_CBF,
    TU_SKIP,
    TU_QP,
    TU_QP_CB,
    TU_QP_CR,
    TU_FIRST,
    TU_COUNT_Y,
    TU_COUNT_CB,
    TU_COUNT_CR,
    TU_CU,
    TU_BLKIDX,
) = range(16)
TU_COLUMNS = 16

B, P, I = range(3)  # noqa: E741  slice_type (Table 7-7)
