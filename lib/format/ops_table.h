/* ops_table.h - what the reader of OPS.csv and its inference share. */
#ifndef ORRERY_FORMAT_OPS_TABLE_H
#define ORRERY_FORMAT_OPS_TABLE_H

#include "lib/format/ops.h"

#define OPS_UNKNOWN (-1)

enum ops_column {
    OPS_OP_ID,
    OPS_OP_NAME,
    OPS_STAGE,
    OPS_TP_SPLIT,
    OPS_BUSY_US,
    OPS_SPAN_US,
    OPS_ACT_IN_BYTES,
    OPS_WEIGHT_BYTES,
    OPS_OUT_BYTES,
    OPS_IN_IDS,
    OPS_OUT_IDS,
    OPS_IN_SHAPES,
    OPS_OUT_SHAPES,
    OPS_WEIGHT_IDS,
    OPS_IN_SIZES,
    OPS_OUT_SIZES,
    OPS_COLUMN_COUNT
};

/* Where the columns stand in the file, for errors about rows that were read before. */
struct ops_positions {
    int at[OPS_COLUMN_COUNT];
};

/* Fills in the bytes of tensors that are OPS_UNKNOWN. */
bool ops_infer_sizes(struct ops *ops, const struct ops_positions *positions, struct err *err);
/* Marks the weights of all rows whose weight_bytes are above 0. Needs sizes. */
bool ops_infer_weights(struct ops *ops, const struct ops_positions *positions, struct err *err);
/* That act_in_bytes, weight_bytes and out_bytes of every row are those of its tensors. */
bool ops_check_bytes(const struct ops *ops, const struct ops_positions *positions, struct err *err);

#endif
