/* tiling.c - a sweep over the layers: which rows hold one, and whether their parts, in order, leave
 * neither a gap nor an overlap. */
#include "lib/policy/tiling.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include <stdio.h>
#include <stdlib.h>

#define NO_LAYER (-1) /* of embed and lm_head */
#define NAME_BYTES 64

struct sweep { /* over the rows of one phase and copy */
    const struct tiling *tiling;
    enum placement_phase phase;
    int32_t copy;
    const struct placement_row **rows; /* by first layer */
    int row_count;
    const struct placement_row **active; /* those that hold the layer */
    const struct placement_row **parts;  /* those of them that hold the block */
    int active_count;
    int32_t *norms;
};

static const char *block_name(int32_t layer, int block, char text[NAME_BYTES])
{
    if (layer == NO_LAYER)
        (void)snprintf(text, NAME_BYTES, "block %s", model_block_names[block]);
    else
        (void)snprintf(text, NAME_BYTES, "layer %d, block %s", layer, model_block_names[block]);
    return text;
}

static bool is_end(int block)
{
    return block == BLOCK_EMBED || block == BLOCK_LM_HEAD;
}

/* ---- one row ---- */

static bool row_check(const struct tiling *tiling, const struct placement_row *row, struct err *err)
{
    const struct model *model = tiling->model;

    if (row->layer_last >= model->layers)
        return placement_bad(tiling->placement, row, PLACEMENT_LAYERS, err,
                             "model '%s' has layers 0 to %d", model->name, model->layers - 1);
    for (int block = 0; block < BLOCK_COUNT; block++)
        if (row->blocks & 1u << block &&
            !model_can_cut(model, (enum model_block)block, row->part_of))
            return placement_bad(tiling->placement, row, PLACEMENT_PARTS, err,
                                 "block %s of model '%s' (%d heads, %d KV heads, ffn_hidden %d) "
                                 "does not divide into %d parts",
                                 model_block_names[block], model->name, model->heads,
                                 model->kv_heads, model->ffn_hidden, row->part_of);
    return true;
}

static int32_t first_layer(const struct placement_row *row)
{
    return row->layer_first < 0 ? 0 : row->layer_first;
}

static int32_t last_layer(const struct tiling *tiling, const struct placement_row *row)
{
    return row->layer_first < 0 ? tiling->model->layers - 1 : row->layer_last;
}

/* ---- the parts of a block ---- */

static int compare_parts(const void *a, const void *b)
{
    const struct placement_row *x = *(const struct placement_row *const *)a;
    const struct placement_row *y = *(const struct placement_row *const *)b;
    int64_t left = (int64_t)x->part_first * y->part_of;
    int64_t right = (int64_t)y->part_first * x->part_of;

    if (left != right)
        return left < right ? -1 : 1;
    return x < y ? -1 : x > y;
}

static bool overlap(const struct sweep *sweep, const struct placement_row *before,
                    const struct placement_row *row, int32_t layer, int block, struct err *err)
{
    bool is_later = row > before;
    const struct placement_row *second = is_later ? row : before;
    char name[NAME_BYTES];

    return placement_bad(sweep->tiling->placement, second,
                         second->part_of > 1        ? PLACEMENT_PARTS
                         : second->layer_first >= 0 ? PLACEMENT_LAYERS
                                                    : PLACEMENT_BLOCK,
                         err, "%s is placed twice in replica %d of '%s', first in line %ld",
                         block_name(layer, block, name), row->replica, row->service,
                         (is_later ? before : row)->line);
}

static bool hole(const struct sweep *sweep, const struct placement_row *before,
                 const struct placement_row *after, int32_t layer, int block, struct err *err)
{
    const struct placement_row *first = sweep->tiling->rows[0];
    char name[NAME_BYTES], from[32] = "0", to[32] = "1";

    if (before)
        (void)snprintf(from, sizeof from, "%d/%d", before->part_last + 1, before->part_of);
    if (after)
        (void)snprintf(to, sizeof to, "%d/%d", after->part_first, after->part_of);
    if (!before && !after)
        return placement_bad(sweep->tiling->placement, first, PLACEMENT_REPLICA, err,
                             "%s of model '%s' is placed nowhere in this replica of '%s'",
                             block_name(layer, block, name), sweep->tiling->model->name,
                             first->service);
    return placement_bad(sweep->tiling->placement, before ? before : after, PLACEMENT_PARTS, err,
                         "%s of model '%s' is placed nowhere from %s to %s in this replica of '%s'",
                         block_name(layer, block, name), sweep->tiling->model->name, from, to,
                         first->service);
}

/* The rows of a block in order of their parts must meet end to end, from 0 to 1. */
static bool parts_check(const struct sweep *sweep, int count, int32_t layer, int block,
                        struct err *err)
{
    const struct placement_row *before = NULL;

    qsort(sweep->parts, (size_t)count, sizeof(*sweep->parts), compare_parts);
    for (int i = 0; i < count; i++) {
        const struct placement_row *row = sweep->parts[i];
        int64_t start = (int64_t)row->part_first * (before ? before->part_of : 1);
        int64_t end = before ? (int64_t)(before->part_last + 1) * row->part_of : 0;

        if (start < end)
            return overlap(sweep, before, row, layer, block, err);
        if (start > end)
            return hole(sweep, before, row, layer, block, err);
        before = row;
    }
    return (before && before->part_last + 1 == before->part_of) ||
           hole(sweep, before, NULL, layer, block, err);
}

static int parts_of(const struct sweep *sweep, int block)
{
    int count = 0;

    for (int i = 0; i < sweep->active_count; i++)
        if (sweep->active[i]->blocks & 1u << block)
            sweep->parts[count++] = sweep->active[i];
    return count;
}

/* A row that serves both phases, or stands in for a copy, has its norms once. */
static void give_norm(const struct sweep *sweep, int block)
{
    const struct placement_row *first = NULL;

    for (int i = 0; i < sweep->active_count; i++)
        if (sweep->active[i]->blocks & 1u << block && (!first || sweep->active[i] < first))
            first = sweep->active[i];
    if (first && first->copy == sweep->copy &&
        (sweep->phase == PLACEMENT_PREFILL || first->phase == PLACEMENT_DECODE))
        sweep->norms[first - sweep->tiling->placement->rows]++;
}

static bool layer_check(const struct sweep *sweep, int32_t layer, struct err *err)
{
    for (int block = 0; block < BLOCK_COUNT; block++) {
        int count = parts_of(sweep, block);

        if (is_end(block) != (layer == NO_LAYER))
            continue;
        if (block == BLOCK_CONN && count == 0) {
            give_norm(sweep, BLOCK_ATTN);
            give_norm(sweep, BLOCK_FFN_UP);
        } else if (!parts_check(sweep, count, layer, block, err)) {
            return false;
        }
    }
    return true;
}

/* ---- all rows ---- */

static int compare_layers(const void *a, const void *b)
{
    const struct placement_row *x = *(const struct placement_row *const *)a;
    const struct placement_row *y = *(const struct placement_row *const *)b;

    if (first_layer(x) != first_layer(y))
        return first_layer(x) < first_layer(y) ? -1 : 1;
    return x < y ? -1 : x > y;
}

static bool sweep_layers(struct sweep *sweep, struct err *err)
{
    const struct tiling *tiling = sweep->tiling;
    int next = 0;

    for (int i = 0; i < sweep->row_count; i++)
        if (sweep->rows[i]->blocks & (1u << BLOCK_EMBED | 1u << BLOCK_LM_HEAD))
            sweep->active[sweep->active_count++] = sweep->rows[i];
    if (!layer_check(sweep, NO_LAYER, err))
        return false;
    sweep->active_count = 0;
    qsort(sweep->rows, (size_t)sweep->row_count, sizeof(*sweep->rows), compare_layers);
    for (int32_t layer = 0; layer < tiling->model->layers; layer++) {
        int kept = 0;

        for (int i = 0; i < sweep->active_count; i++)
            if (last_layer(tiling, sweep->active[i]) >= layer)
                sweep->active[kept++] = sweep->active[i];
        sweep->active_count = kept;
        for (; next < sweep->row_count && first_layer(sweep->rows[next]) == layer; next++)
            sweep->active[sweep->active_count++] = sweep->rows[next];
        if (!layer_check(sweep, layer, err))
            return false;
    }
    return true;
}

static bool is_of_phase(const struct sweep *sweep, const struct placement_row *row)
{
    return row->phase == PLACEMENT_BOTH || row->phase == sweep->phase;
}

/* A stage without rows of that copy has but one alternative, copy 0. */
static bool is_of_copy(const struct sweep *sweep, const struct placement_row *row)
{
    const struct tiling *tiling = sweep->tiling;

    if (row->copy == sweep->copy || row->copy != 0)
        return row->copy == sweep->copy;
    for (int i = 0; i < tiling->row_count; i++)
        if (tiling->rows[i]->stage == row->stage && tiling->rows[i]->copy == sweep->copy &&
            is_of_phase(sweep, tiling->rows[i]))
            return false;
    return true;
}

static bool copy_check(struct sweep *sweep, int32_t copy, struct err *err)
{
    const struct tiling *tiling = sweep->tiling;

    sweep->copy = copy;
    for (int phase = PLACEMENT_PREFILL; phase < PLACEMENT_PHASE_COUNT; phase++) {
        sweep->phase = (enum placement_phase)phase;
        sweep->row_count = sweep->active_count = 0;
        for (int i = 0; i < tiling->row_count; i++) {
            const struct placement_row *row = tiling->rows[i];

            if (is_of_phase(sweep, row) && is_of_copy(sweep, row))
                sweep->rows[sweep->row_count++] = row;
        }
        if (!sweep_layers(sweep, err))
            return false;
    }
    return true;
}

static int compare_copies(const void *a, const void *b)
{
    const int32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

bool tiling_check(struct arena *arena, const struct tiling *tiling, int32_t *norms, struct err *err)
{
    size_t count = (size_t)tiling->row_count;
    int32_t *copies = arena_array(arena, count, sizeof(*copies));
    struct sweep sweep = { .tiling = tiling,
                           .rows = arena_array(arena, count, sizeof(*sweep.rows)),
                           .active = arena_array(arena, count, sizeof(*sweep.active)),
                           .parts = arena_array(arena, count, sizeof(*sweep.parts)),
                           .norms = norms };

    for (int i = 0; i < tiling->row_count; i++) {
        if (!row_check(tiling, tiling->rows[i], err))
            return false;
        copies[i] = tiling->rows[i]->copy;
    }
    qsort(copies, count, sizeof(*copies), compare_copies);
    for (int i = 0; i < tiling->row_count; i++)
        if ((i == 0 || copies[i] != copies[i - 1]) && !copy_check(&sweep, copies[i], err))
            return false;
    return true;
}
