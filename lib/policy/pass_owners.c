/* pass_owners.c - reads the slices of a stage layer by layer, and what a device holds of them. */
#include "lib/policy/pass_owners.h"

#include "lib/base/arena.h"
#include "lib/policy/plan.h"
#include <assert.h>
#include <stdlib.h>

/* Rows of the output matrix come in parts of equal size but for the last, as model_slice cuts them;
 * all else divides. */
int64_t pass_units_before(const struct model *model, enum model_block block, int64_t part,
                          int64_t of)
{
    int64_t units = 0;

    switch (block) {
    case BLOCK_ATTN:
        units = model->kv_heads;
        break;
    case BLOCK_PROJ:
        units = model->heads;
        break;
    case BLOCK_FFN_UP:
    case BLOCK_FFN_DOWN:
        units = model->ffn_hidden;
        break;
    case BLOCK_LM_HEAD:
        units = (model->vocab / of + (model->vocab % of > 0)) * part;
        return units < model->vocab ? units : model->vocab;
    case BLOCK_EMBED:
    case BLOCK_CONN:
    case BLOCK_COUNT:
        return part;
    }
    return units / of * part;
}

static int32_t position_of(const struct plan_stage *stage, int32_t device)
{
    for (int32_t i = 0; i < stage->device_count; i++)
        if (stage->devices[i] == device)
            return i;
    assert(false);
    return -1;
}

static bool holds(const struct plan_slice *slice, int32_t layer, enum model_block block)
{
    if (slice->is_implied || !(slice->blocks & 1u << block))
        return false;
    return layer < 0 ? slice->layer_first < 0
                     : slice->layer_first <= layer && layer <= slice->layer_last;
}

static struct pass_share share_of(const struct plan_stage *stage, const struct model *model,
                                  const struct plan_slice *slice, enum model_block block)
{
    int64_t of = slice->part_of > 1 ? slice->part_of : 1, first = slice->part_first;
    int64_t end = of > 1 ? (int64_t)slice->part_last + 1 : 1;

    return (struct pass_share){ .position = position_of(stage, slice->device),
                                .first = pass_units_before(model, block, first, of),
                                .end = pass_units_before(model, block, end, of),
                                .range = { first, end, of, model->kind == MODEL_ENCODER } };
}

/* By where the parts begin: they do not overlap. */
static int compare_shares(const void *left, const void *right)
{
    const struct pass_share *a = left, *b = right;
    int64_t x = a->range.first * b->range.of, y = b->range.first * a->range.of;

    return (x > y) - (x < y);
}

static void join(struct pass_shares *shares)
{
    int32_t kept = 0;

    for (int32_t i = 1; i < shares->count; i++) {
        struct pass_share *last = &shares->shares[kept], *share = &shares->shares[i];

        if (share->position != last->position) {
            shares->shares[++kept] = *share;
            continue;
        }
        last->end = share->end;
        last->range.end = share->range.end; /* rows of conn cut in one way; nobody else asks */
    }
    shares->count = shares->count > 0 ? kept + 1 : 0;
}

void pass_owners_find(struct arena *arena, const struct plan_stage *stage,
                      const struct model *model, int32_t layer, struct pass_owners *owners)
{
    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct pass_shares *shares = &owners->blocks[block];
        int32_t count = 0;

        for (int i = 0; i < stage->slice_count; i++)
            count += holds(&stage->slices[i], layer, (enum model_block)block);
        *shares = (struct pass_shares){ 0, arena_array(arena, (size_t)count + 1,
                                                       sizeof *shares->shares) };
        for (int i = 0; i < stage->slice_count; i++)
            if (holds(&stage->slices[i], layer, (enum model_block)block))
                shares->shares[shares->count++] =
                    share_of(stage, model, &stage->slices[i], (enum model_block)block);
        if (count > 1)
            qsort(shares->shares, (size_t)count, sizeof *shares->shares, compare_shares);
        join(shares);
    }
}

static bool is_same_range(const struct pass_range *a, const struct pass_range *b)
{
    return a->first == b->first && a->end == b->end && a->of == b->of;
}

bool pass_owners_equal(const struct pass_owners *a, const struct pass_owners *b)
{
    for (int block = 0; block < BLOCK_COUNT; block++) {
        const struct pass_shares *x = &a->blocks[block], *y = &b->blocks[block];

        if (x->count != y->count)
            return false;
        for (int32_t i = 0; i < x->count; i++)
            if (x->shares[i].position != y->shares[i].position ||
                x->shares[i].first != y->shares[i].first || x->shares[i].end != y->shares[i].end ||
                !is_same_range(&x->shares[i].range, &y->shares[i].range))
                return false;
    }
    return true;
}
