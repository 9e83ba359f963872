/* ops.h - operators of one iteration on one device, in order of launch, and the tensors that tie
 * them together: reader and writer of OPS.csv.
 *
 * Format: traces/README.md. A tensor has one size in the whole file. Files that do not give the
 * bytes of each tensor (in_sizes_bytes, out_sizes_bytes) or the weights of each operator
 * (weight_ids) have them inferred from shapes and totals, or are refused where that is not possible
 * (ops_infer.c says how). */
#ifndef ORRERY_FORMAT_OPS_H
#define ORRERY_FORMAT_OPS_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct out;

/* Rows of a file, and ids in it. */
#define OPS_MAX_ROWS 1000000
#define OPS_MAX_IDS 10000000
/* Largest tensor, and total of an operator. */
#define OPS_MAX_BYTES (INT64_C(1) << 50)

enum ops_stage { OPS_FORWARD, OPS_BACKWARD, OPS_OPTIMIZER, OPS_STAGE_COUNT };
extern const char *const ops_stage_names[OPS_STAGE_COUNT];

struct ops_tensor {
    int64_t id;
    int64_t bytes;
    const char *shape; /* "[128,64,7,7]", "" = not known */
    bool is_weight;    /* of some operator: then of all */
};

struct ops_row {
    int64_t op_id; /* unique; says nothing about the order */
    const char *name;
    enum ops_stage stage;
    bool is_tp_split;
    int64_t busy_ps; /* sum of the durations of its kernels */
    int64_t span_ps; /* last end - first start; -1 = not known */
    int64_t act_in_bytes, weight_bytes, out_bytes;
    int32_t in_count, out_count;
    const int32_t *ins, *outs; /* indices of tensors, in order, one as often as it is named */
    long line;                 /* of the file, for errors; 0 = made in memory */
};

struct ops {
    const char *path;
    int64_t batch; /* samples of the iteration; 0 = not known */
    int32_t row_count, tensor_count;
    struct ops_row *rows;       /* forward, backward, optimizer; each in order of the file */
    struct ops_tensor *tensors; /* by order of first appearance */
};

/* "-" = stdin. */
struct ops *ops_load(struct arena *arena, const char *path, struct err *err);
/* With bytes and weights of each tensor, so that nothing is left to infer. meta as for
 * table_begin. */
void ops_write(struct out *out, const struct ops *ops, const char *const *meta);

/* Building one in memory. */
struct ops_builder;
struct ops_builder *ops_build(struct arena *arena, const char *path);
/* Index of the tensor with this id; a new one has no shape and bytes -1. */
int32_t ops_builder_tensor(struct ops_builder *builder, int64_t id);
/* -1 = there is none. */
int32_t ops_builder_find(const struct ops_builder *builder, int64_t id);
/* Lives until the next ops_builder_tensor. */
struct ops_tensor *ops_builder_at(struct ops_builder *builder, int32_t index);
/* The next row, zeroed, to be filled in; lives until the next one. */
struct ops_row *ops_builder_row(struct ops_builder *builder);
int32_t ops_builder_count(const struct ops_builder *builder);
/* Sorts rows by stage. Totals of rows stay as they are. */
struct ops *ops_builder_finish(struct ops_builder *builder);
/* A row whose op_id another row has, in a line before (*first); NULL = there is none. */
const struct ops_row *ops_find_double(struct arena *arena, const struct ops *ops,
                                      const struct ops_row **first);
/* Totals of a row from its tensors; false when one is above OPS_MAX_BYTES. */
bool ops_row_total(const struct ops *ops, struct ops_row *row);

/* Elements of "[2,3]" (6) and of "[]" (1); false when the text is no shape or has too many. */
bool ops_shape_elements(const char *shape, int64_t *elements);
/* Dimension number index of a shape, -1 beyond its last. */
int64_t ops_shape_dimension(const char *shape, int index);

#endif
