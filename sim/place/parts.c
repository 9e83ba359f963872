/* parts.c - what one part of a block costs on a device, and in which sizes parts were measured. */
#include "sim/place/parts.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "sim/place/problem.h"
#include <stdlib.h>

struct known { /* what a part takes, on devices of a kind; a linked list by kind and block */
    struct known *next;
    int32_t units;
    bool is_measured;
    int64_t time_ps;
};

struct sizes {
    bool is_known;
    int32_t count;
    int32_t *units;
};

struct parts {
    struct arena *arena;
    const struct problem *problem;
    const struct model *model;
    struct known **known; /* by kind and block */
    struct sizes *sizes;
};

struct parts *parts_create(struct arena *arena, const struct problem *problem)
{
    struct parts *parts = arena_alloc(arena, sizeof *parts);
    size_t count = (size_t)problem_kind_count(problem) * BLOCK_COUNT;

    parts->arena = arena;
    parts->problem = problem;
    parts->model = problem_input(problem)->model;
    parts->known = arena_array(arena, count, sizeof(struct known *));
    parts->sizes = arena_array(arena, count, sizeof *parts->sizes);
    return parts;
}

int32_t parts_units(const struct parts *parts, enum model_block block)
{
    switch (block) {
    case BLOCK_ATTN:
    case BLOCK_PROJ:
        return parts->model->kv_heads;
    case BLOCK_FFN_UP:
    case BLOCK_FFN_DOWN:
        return parts->model->ffn_hidden;
    case BLOCK_LM_HEAD:
        return parts->model->kind == MODEL_ENCODER ? 1 : parts->model->vocab;
    case BLOCK_EMBED:
    case BLOCK_CONN:
    case BLOCK_COUNT:
        break;
    }
    return 1;
}

static size_t index_of(const struct parts *parts, int32_t device, enum model_block block)
{
    return (size_t)problem_kind_of(parts->problem, device) * BLOCK_COUNT + block;
}

static const struct cost_table *table_of(const struct parts *parts, int32_t device)
{
    const struct problem_input *input = problem_input(parts->problem);

    return cost_set_find(input->costs, input->cluster->devices[device].type);
}

/* ---- time ---- */

static const struct known *known_of(struct parts *parts, int32_t device, enum model_block block,
                                    int32_t units)
{
    struct known **list = &parts->known[index_of(parts, device, block)], *known;
    int32_t heads = units * (parts->model->heads / parts->model->kv_heads);

    for (known = *list; known; known = known->next)
        if (known->units == units)
            return known;
    known = arena_alloc(parts->arena, sizeof *known);
    *known = (struct known){ .next = *list, .units = units };
    known->is_measured = problem_block_ps(parts->problem, device, block,
                                          block == BLOCK_PROJ ? heads : units, &known->time_ps);
    *list = known;
    return known;
}

bool parts_time_ps(struct parts *parts, int32_t device, enum model_block block, int32_t units,
                   int64_t *time_ps)
{
    const struct known *known = known_of(parts, device, block, units);

    *time_ps = known->time_ps;
    return known->is_measured;
}

/* ---- sizes ---- */

/* Of a row that speaks of parts of the block, whatever else it is of; 0: it does not. */
static int32_t row_units(const struct parts *parts, enum model_block block,
                         const struct cost_row *row)
{
    const struct model *model = parts->model;

    if (block == BLOCK_LM_HEAD)
        return row->op == OP_LMHEAD && row->gemm_k == model->hidden ? row->gemm_n : 0;
    return row->op == OP_FFN_DOWN && row->gemm_n == model->hidden ? row->gemm_k : 0;
}

static int compare(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;

    return (x > y) - (x < y);
}

/* Sizes that may have been measured: few where there are many units. */
static int32_t candidates(const struct parts *parts, const struct cost_table *table,
                          enum model_block block, int32_t **units)
{
    int32_t whole = parts_units(parts, block), count = 0, kept = 0;
    int rows = cost_row_count(table);

    if (block != BLOCK_FFN_UP && block != BLOCK_FFN_DOWN && block != BLOCK_LM_HEAD) {
        *units = arena_array(parts->arena, (size_t)whole, sizeof **units);
        for (int32_t u = 1; u <= whole; u++)
            (*units)[count++] = u;
        return count;
    }
    *units = arena_array(parts->arena, (size_t)rows + 1, sizeof **units);
    for (int i = 0; i < rows; i++) {
        int32_t size = row_units(parts, block, cost_row_at(table, i));

        if (size > 0 && size <= whole && (count == 0 || (*units)[count - 1] != size))
            (*units)[count++] = size;
    }
    qsort(*units, (size_t)count, sizeof **units, compare);
    for (int32_t i = 0; i < count; i++)
        if (kept == 0 || (*units)[kept - 1] != (*units)[i])
            (*units)[kept++] = (*units)[i];
    return kept;
}

const int32_t *parts_sizes(struct parts *parts, int32_t device, enum model_block block,
                           int32_t *count)
{
    struct sizes *sizes = &parts->sizes[index_of(parts, device, block)];

    if (!sizes->is_known) {
        int32_t all = candidates(parts, table_of(parts, device), block, &sizes->units);

        sizes->is_known = true;
        for (int32_t i = 0; i < all; i++)
            if (known_of(parts, device, block, sizes->units[i])->is_measured)
                sizes->units[sizes->count++] = sizes->units[i];
    }
    *count = sizes->count;
    return sizes->units;
}

/* ---- bytes ---- */

/* Slices end where the whole times their number does: one may have a byte more than another. */
static struct model_part part_of(const struct parts *parts, enum model_block block, int32_t units)
{
    int32_t whole = parts_units(parts, block);

    return (struct model_part){ whole - units, whole - 1, whole };
}

int64_t parts_held_bytes(const struct parts *parts, enum model_block block, int32_t units)
{
    const struct problem_input *input = problem_input(parts->problem);
    int64_t tokens = saturate_mul((int64_t)input->prompt_tokens + input->output_tokens,
                                  parts->model->kind == MODEL_DECODER ? input->sequences : 0);
    struct model_part part = part_of(parts, block, units);
    int64_t bytes = model_part_weight_bytes(parts->model, block, part);

    if (block == BLOCK_ATTN)
        bytes = saturate_add(
            bytes, saturate_mul(tokens, model_part_kv_bytes_per_token(parts->model, part)));
    return bytes;
}

int64_t parts_work_bytes(const struct parts *parts, enum model_block block, int32_t units)
{
    const struct problem_input *input = problem_input(parts->problem);
    const struct model_step first = { input->prompt_tokens, 1, input->prompt_tokens };
    const struct model_step last = { 1, 1, (int64_t)input->prompt_tokens + input->output_tokens };
    struct model_part part = part_of(parts, block, units);
    int64_t a = model_part_work_bytes(parts->model, block, part, &first);
    int64_t b = model_part_work_bytes(parts->model, block, part, &last);

    return a > b ? a : b;
}
