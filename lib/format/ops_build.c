/* ops_build.c - operator traces in memory, row by row. */
#include "lib/base/arena.h"
#include "lib/format/names.h"
#include "lib/format/ops.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ID_BYTES 24

struct ops_builder {
    struct arena *arena;
    struct ops *ops;
    struct names *ids; /* a tensor's number is that of its id */
    int32_t row_capacity, tensor_capacity;
};

struct ops_builder *ops_build(struct arena *arena, const char *path)
{
    struct ops_builder *builder = arena_alloc(arena, sizeof *builder);

    builder->arena = arena;
    builder->ops = arena_alloc(arena, sizeof *builder->ops);
    builder->ops->path = arena_strdup(arena, path);
    builder->ids = names_create(arena);
    return builder;
}

static const char *id_text(int64_t id, char text[ID_BYTES])
{
    (void)snprintf(text, ID_BYTES, "%" PRId64, id);
    return text;
}

int32_t ops_builder_tensor(struct ops_builder *builder, int64_t id)
{
    struct ops *ops = builder->ops;
    char text[ID_BYTES];
    int32_t index = names_put(builder->ids, id_text(id, text));

    if (index < ops->tensor_count)
        return index;
    if (index == builder->tensor_capacity) {
        int32_t larger = builder->tensor_capacity > 0 ? 2 * builder->tensor_capacity : 64;

        ops->tensors = arena_grow(builder->arena, ops->tensors, (size_t)index, (size_t)larger,
                                  sizeof *ops->tensors);
        builder->tensor_capacity = larger;
    }
    ops->tensors[index] = (struct ops_tensor){ .id = id, .bytes = -1, .shape = "" };
    ops->tensor_count++;
    return index;
}

int32_t ops_builder_find(const struct ops_builder *builder, int64_t id)
{
    char text[ID_BYTES];

    return names_find(builder->ids, id_text(id, text));
}

struct ops_tensor *ops_builder_at(struct ops_builder *builder, int32_t index)
{
    return &builder->ops->tensors[index];
}

struct ops_row *ops_builder_row(struct ops_builder *builder)
{
    struct ops *ops = builder->ops;

    if (ops->row_count == builder->row_capacity) {
        int32_t larger = builder->row_capacity > 0 ? 2 * builder->row_capacity : 128;

        ops->rows = arena_grow(builder->arena, ops->rows, (size_t)ops->row_count, (size_t)larger,
                               sizeof *ops->rows);
        builder->row_capacity = larger;
    }
    return &ops->rows[ops->row_count++];
}

int32_t ops_builder_count(const struct ops_builder *builder)
{
    return builder->ops->row_count;
}

struct ops *ops_builder_finish(struct ops_builder *builder)
{
    struct ops *ops = builder->ops;
    struct ops_row *sorted = arena_array(builder->arena, (size_t)ops->row_count, sizeof *sorted);
    int32_t count = 0;

    for (int stage = 0; stage < OPS_STAGE_COUNT; stage++)
        for (int32_t i = 0; i < ops->row_count; i++)
            if ((int)ops->rows[i].stage == stage)
                sorted[count++] = ops->rows[i];
    ops->rows = sorted;
    return ops;
}

static int compare_ids(const void *a, const void *b)
{
    const struct ops_row *left = *(const struct ops_row *const *)a;
    const struct ops_row *right = *(const struct ops_row *const *)b;

    if (left->op_id != right->op_id)
        return left->op_id < right->op_id ? -1 : 1;
    return left->line < right->line ? -1 : left->line > right->line;
}

const struct ops_row *ops_find_double(struct arena *arena, const struct ops *ops,
                                      const struct ops_row **first)
{
    const struct ops_row **rows = arena_array(arena, (size_t)ops->row_count, sizeof *rows);

    for (int32_t i = 0; i < ops->row_count; i++)
        rows[i] = &ops->rows[i];
    qsort(rows, (size_t)ops->row_count, sizeof *rows, compare_ids);
    for (int32_t i = 1; i < ops->row_count; i++) {
        *first = rows[i - 1];
        if (rows[i]->op_id == rows[i - 1]->op_id)
            return rows[i];
    }
    return NULL;
}

bool ops_row_total(const struct ops *ops, struct ops_row *row)
{
    row->act_in_bytes = row->weight_bytes = row->out_bytes = 0;
    for (int32_t k = 0; k < row->in_count + row->out_count; k++) {
        bool is_in = k < row->in_count;
        const struct ops_tensor *tensor =
            &ops->tensors[is_in ? row->ins[k] : row->outs[k - row->in_count]];
        int64_t *total = !is_in              ? &row->out_bytes
                         : tensor->is_weight ? &row->weight_bytes
                                             : &row->act_in_bytes;

        if (tensor->bytes > OPS_MAX_BYTES - *total)
            return false;
        *total += tensor->bytes;
    }
    return true;
}
