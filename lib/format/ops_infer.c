/* ops_infer.c - bytes of single tensors, and which of them are weights, where OPS.csv gives only
 * totals of operators.
 *
 * Bytes. A side of an operator (what it reads, or what it makes) has a total. Again and again: (1)
 * where all tensors of a side but one are known, the rest is that one's; (2) where none is left of
 * that kind, sides whose unknown tensors would all have elements of one size (4, 2, 1, 8 or 16
 * bytes, in this order) get it; (3) then those where all but one would (a mask or an index, the
 * last that fits). A scalar "[]" has one element, or is a tensor that does not exist (0 bytes).
 * Weights. Of the inputs of an operator with weight_bytes: those that are weights of an operator
 * before, where their bytes fit; else the last inputs whose bytes fit; else the first run of
 * inputs. */
#include "lib/format/ops_table.h"

#include "lib/base/err.h"
#include <inttypes.h>
#include <stddef.h>

struct side {
    const int32_t *ids;
    int32_t count;
    int64_t total;
};

/* Sides are numbered: two a row, inputs first. */
static struct side side_at(const struct ops *ops, int32_t number)
{
    const struct ops_row *row = &ops->rows[number / 2];

    if (number % 2 == 0)
        return (struct side){ row->ins, row->in_count, row->act_in_bytes + row->weight_bytes };
    return (struct side){ row->outs, row->out_count, row->out_bytes };
}

/* Sums stop above what any total may be. */
static int64_t add(int64_t sum, int64_t bytes)
{
    return sum > 2 * OPS_MAX_BYTES ? sum : sum + bytes;
}

static int64_t known_bytes(const struct ops *ops, const struct side *side)
{
    int64_t bytes = 0;

    for (int32_t i = 0; i < side->count; i++)
        if (ops->tensors[side->ids[i]].bytes != OPS_UNKNOWN)
            bytes = add(bytes, ops->tensors[side->ids[i]].bytes);
    return bytes;
}

/* What is left of the total for the unknown tensors; below 0 when the known ones are too many. */
static int64_t rest_bytes(const struct ops *ops, const struct side *side)
{
    return side->total - known_bytes(ops, side);
}

/* Rule 1. Whether it told something. */
static bool fill_single(struct ops *ops, const struct side *side)
{
    struct ops_tensor *unknown = NULL;
    int64_t times = 0, rest;

    for (int32_t i = 0; i < side->count; i++) {
        struct ops_tensor *tensor = &ops->tensors[side->ids[i]];

        if (tensor->bytes != OPS_UNKNOWN)
            continue;
        if (unknown && unknown != tensor)
            return false;
        unknown = tensor;
        times++;
    }
    if (!unknown)
        return false;
    rest = rest_bytes(ops, side);
    if (rest < 0 || rest % times != 0)
        return false;
    unknown->bytes = rest / times;
    return true;
}

static bool is_scalar(const struct ops_tensor *tensor)
{
    return tensor->shape[0] == '[' && tensor->shape[1] == ']';
}

/* Elements of the unknown tensors with dimensions, and how many are scalars; false where a shape is
 * missing. */
static bool count_unknown(const struct ops *ops, const struct side *side, int64_t *elements,
                          int64_t *scalars)
{
    *elements = *scalars = 0;
    for (int32_t i = 0; i < side->count; i++) {
        const struct ops_tensor *tensor = &ops->tensors[side->ids[i]];
        int64_t own;

        if (tensor->bytes != OPS_UNKNOWN)
            continue;
        if (is_scalar(tensor)) {
            (*scalars)++;
            continue;
        }
        if (!ops_shape_elements(tensor->shape, &own) || own > OPS_MAX_BYTES - *elements)
            return false;
        *elements += own;
    }
    return *elements + *scalars > 0;
}

static const int64_t sizes[] = { 4, 2, 1, 8, 16 };
#define SIZE_COUNT 5
#define BUT_ONE_MOST                                                                               \
    64 /* tensors of a side that rule 3 looks at: its work grows with the square                   \
        */

/* All unknown tensors of the side get elements of this size, scalars so many bytes. */
static void fill(struct ops *ops, const struct side *side, int64_t size, int64_t scalar)
{
    for (int32_t i = 0; i < side->count; i++) {
        struct ops_tensor *tensor = &ops->tensors[side->ids[i]];
        int64_t own;

        if (tensor->bytes == OPS_UNKNOWN && is_scalar(tensor))
            tensor->bytes = scalar;
        else if (tensor->bytes == OPS_UNKNOWN && ops_shape_elements(tensor->shape, &own))
            tensor->bytes = size * own;
    }
}

/* Rule 2. */
static bool fill_uniform(struct ops *ops, const struct side *side)
{
    int64_t elements, scalars, rest = rest_bytes(ops, side), size = 0, scalar = 0;

    if (!count_unknown(ops, side, &elements, &scalars) || rest < 0)
        return false;
    for (int i = 0; i < SIZE_COUNT && size == 0; i++) {
        if (elements > OPS_MAX_BYTES / sizes[i])
            continue;
        if (rest == sizes[i] * (elements + scalars))
            size = scalar = sizes[i];
        else if (rest == sizes[i] * elements)
            size = sizes[i];
    }
    if (size > 0)
        fill(ops, side, size, scalar);
    return size > 0;
}

/* Elements of tensor number index of the side, as often as the side names it; 0 when it is known,
 * or named once more behind. */
static int64_t odd_elements(const struct ops *ops, const struct side *side, int32_t index)
{
    const struct ops_tensor *tensor = &ops->tensors[side->ids[index]];
    int64_t elements = 0, times = 0;

    if (tensor->bytes != OPS_UNKNOWN || !ops_shape_elements(tensor->shape, &elements))
        return 0;
    for (int32_t i = 0; i < side->count; i++) {
        if (i > index && side->ids[i] == side->ids[index])
            return 0;
        times += side->ids[i] == side->ids[index];
    }
    return elements * times;
}

/* Rule 3. */
static bool fill_but_one(struct ops *ops, const struct side *side)
{
    int64_t elements, scalars, rest = rest_bytes(ops, side);

    if (side->count > BUT_ONE_MOST || !count_unknown(ops, side, &elements, &scalars) ||
        scalars > 0 || rest < 0 || elements > OPS_MAX_BYTES / sizes[SIZE_COUNT - 1])
        return false;
    for (int i = 0; i < SIZE_COUNT; i++)
        for (int32_t k = side->count - 1; k >= 0; k--) {
            int64_t odd = odd_elements(ops, side, k);

            for (int j = 0; j < SIZE_COUNT && odd > 0; j++) {
                struct ops_tensor *tensor = &ops->tensors[side->ids[k]];
                int64_t own = 0;

                if (rest != sizes[i] * (elements - odd) + sizes[j] * odd ||
                    !ops_shape_elements(tensor->shape, &own))
                    continue;
                tensor->bytes = sizes[j] * own;
                fill(ops, side, sizes[i], 0);
                return true;
            }
        }
    return false;
}

static bool bad(const struct ops *ops, const struct ops_row *row, int column, struct err *err,
                const char *text, int64_t number)
{
    return err_at(err, ops->path, row->line, column, "operator %" PRId64 ": %s%" PRId64, row->op_id,
                  text, number);
}

typedef bool fill_fn(struct ops *ops, const struct side *side);

/* Applies a rule to every side. Whether it told something. */
static bool sweep(struct ops *ops, fill_fn *fill_side)
{
    bool is_new = false;

    for (int32_t i = 0; i < 2 * ops->row_count; i++) {
        struct side side = side_at(ops, i);

        is_new = fill_side(ops, &side) || is_new;
    }
    return is_new;
}

bool ops_infer_sizes(struct ops *ops, const struct ops_positions *positions, struct err *err)
{
    while (sweep(ops, fill_single) || sweep(ops, fill_uniform) || sweep(ops, fill_but_one))
        continue;
    for (int32_t i = 0; i < 2 * ops->row_count; i++) {
        const struct ops_row *row = &ops->rows[i / 2];
        struct side side = side_at(ops, i);
        bool is_in = i % 2 == 0;

        for (int32_t k = 0; k < side.count; k++)
            if (ops->tensors[side.ids[k]].bytes == OPS_UNKNOWN)
                return err_at(err, ops->path, row->line,
                              positions->at[is_in ? OPS_IN_IDS : OPS_OUT_IDS],
                              "operator %" PRId64 ": the bytes of tensor %" PRId64
                              " follow neither from totals nor from shapes: give %s_sizes_bytes",
                              row->op_id, ops->tensors[side.ids[k]].id, is_in ? "in" : "out");
    }
    return true;
}

/* ---- weights ---- */

static int64_t bytes_of(const struct ops *ops, const struct ops_row *row, int32_t i)
{
    return ops->tensors[row->ins[i]].bytes;
}

static int64_t known_weights(const struct ops *ops, const struct ops_row *row)
{
    int64_t bytes = 0;

    for (int32_t i = 0; i < row->in_count; i++)
        if (ops->tensors[row->ins[i]].is_weight)
            bytes = add(bytes, bytes_of(ops, row, i));
    return bytes;
}

/* The run of inputs [*from, *to) with weight_bytes in all: the last ones, else the first run. */
static bool find_run(const struct ops *ops, const struct ops_row *row, int32_t *from, int32_t *to)
{
    int64_t bytes = 0;

    for (*from = *to = row->in_count; *from > 0 && bytes < row->weight_bytes; (*from)--)
        bytes += bytes_of(ops, row, *from - 1);
    if (bytes == row->weight_bytes)
        return true;
    bytes = 0;
    *from = *to = 0;
    while (bytes != row->weight_bytes) {
        if (bytes > row->weight_bytes)
            bytes -= bytes_of(ops, row, (*from)++);
        else if (*to < row->in_count)
            bytes += bytes_of(ops, row, (*to)++);
        else
            return false;
    }
    return true;
}

bool ops_infer_weights(struct ops *ops, const struct ops_positions *positions, struct err *err)
{
    for (int32_t i = 0; i < ops->row_count; i++) {
        const struct ops_row *row = &ops->rows[i];
        int32_t from, to;

        if (row->weight_bytes == 0 || known_weights(ops, row) == row->weight_bytes)
            continue;
        if (!find_run(ops, row, &from, &to))
            return bad(ops, row, positions->at[OPS_WEIGHT_BYTES], err,
                       "no inputs together have these bytes: give weight_ids; weight_bytes is ",
                       row->weight_bytes);
        for (; from < to; from++)
            if (bytes_of(ops, row, from) > 0)
                ops->tensors[row->ins[from]].is_weight = true;
    }
    return true;
}

bool ops_check_bytes(const struct ops *ops, const struct ops_positions *positions, struct err *err)
{
    for (int32_t i = 0; i < 2 * ops->row_count; i++) {
        const struct ops_row *row = &ops->rows[i / 2];
        struct side side = side_at(ops, i);
        int64_t bytes = known_bytes(ops, &side);

        if (bytes != side.total && i % 2 == 1)
            return bad(ops, row, positions->at[OPS_OUT_BYTES], err,
                       "out_bytes are not those of its tensors, ", bytes);
        if (bytes != side.total)
            return bad(ops, row, positions->at[OPS_ACT_IN_BYTES], err,
                       "act_in_bytes and weight_bytes are not those of its tensors, ", bytes);
        if (i % 2 == 0 && known_weights(ops, row) != row->weight_bytes)
            return bad(ops, row, positions->at[OPS_WEIGHT_BYTES], err,
                       "weight_bytes are not those of the weights among its tensors, ",
                       known_weights(ops, row));
    }
    return true;
}
