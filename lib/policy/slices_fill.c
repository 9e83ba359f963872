/* slices_fill.c - from who holds what to the slices of each stage, and what crosses its borders.
 *
 * A norm runs with attn or ffn_up behind it, an addition with proj or ffn_down before it; so does,
 * of an encoder, the norm behind the addition. Where a layer is cut that says which stage has it.
 */
#include "lib/base/arena.h"
#include "lib/policy/plan.h"
#include "lib/policy/slices_internal.h"
#include <assert.h>

static bool is_here(const struct slices_holders *holders, const struct plan_stage *stage,
                    int32_t layer, int block)
{
    const struct slices_claim *claim = slices_claims(holders, layer, block);

    return claim && claim->row->stage == stage->number;
}

/* Those of attn to ffn_down that the stage has of the layer. */
static unsigned blocks_here(const struct slices_holders *holders, const struct plan_stage *stage,
                            int32_t layer)
{
    unsigned blocks = 0;

    for (int block = BLOCK_ATTN; block <= BLOCK_FFN_DOWN; block++)
        if (is_here(holders, stage, layer, block))
            blocks |= 1u << block;
    return blocks;
}

static int32_t count_of(unsigned blocks, enum model_block a, enum model_block b)
{
    return (int32_t)(blocks >> a & 1u) + (int32_t)(blocks >> b & 1u);
}

static int32_t norms_with(const struct model *model, unsigned blocks)
{
    return model->kind == MODEL_ENCODER ? count_of(blocks, BLOCK_PROJ, BLOCK_FFN_DOWN)
                                        : count_of(blocks, BLOCK_ATTN, BLOCK_FFN_UP);
}

static int32_t adds_with(unsigned blocks)
{
    return count_of(blocks, BLOCK_PROJ, BLOCK_FFN_DOWN);
}

/* All rows that hold the block serve both phases. */
static bool is_shared(const struct slices_holders *holders, int32_t layer, int block)
{
    const struct slices_claim *claim = slices_claims(holders, layer, block);

    if (!holders->chain->is_decode)
        return false;
    while (claim && claim->row->phase == PLACEMENT_BOTH)
        claim = claim->next;
    return !claim;
}

static unsigned shared_here(const struct slices_holders *holders, const struct plan_stage *stage,
                            int32_t layer)
{
    unsigned blocks = blocks_here(holders, stage, layer);

    for (int block = BLOCK_ATTN; block <= BLOCK_FFN_DOWN; block++)
        if (!is_shared(holders, layer, block))
            blocks &= ~(1u << block);
    return blocks;
}

/* ---- slices ---- */

static struct plan_slice *add_slice(struct plan_stage *stage, struct plan_slice *slices,
                                    unsigned blocks, int32_t layer_first, int32_t layer_last,
                                    int32_t device)
{
    struct plan_slice *slice = &slices[stage->slice_count++];

    *slice = (struct plan_slice){ .blocks = blocks,
                                  .layer_first = layer_first,
                                  .layer_last = layer_last,
                                  .device = device,
                                  .part_of = 1 };
    return slice;
}

/* Blocks of a layer on the stage's only device: as the slice that is of the layer before, longer.
 */
static struct plan_slice *add_layer(const struct slices_holders *holders, struct plan_stage *stage,
                                    struct plan_slice *slices, struct plan_slice *before,
                                    int32_t layer, unsigned blocks)
{
    unsigned conn = 1u << BLOCK_CONN;

    if (blocks == 0)
        return before;
    if (before && before->blocks == (blocks | conn) && before->layer_last == layer - 1) {
        before->layer_last = layer;
        return before;
    }
    before = add_slice(stage, slices, blocks | conn, layer, layer, stage->devices[0]);
    before->norms = norms_with(holders->chain->model, blocks);
    before->adds = adds_with(blocks);
    return before;
}

/* All of the stage on its only device, however its rows cut it. */
static void fill_whole(const struct slices_holders *holders, struct plan_stage *stage,
                       int32_t first, int32_t last)
{
    size_t room = holders->chain->is_decode ? 2 * (size_t)(last - first) + 4 : 5;
    struct plan_slice *slices = arena_array(holders->arena, room, sizeof *slices);
    struct plan_slice *own = NULL, *shared = NULL;
    int32_t device = stage->devices[0];

    stage->slices = slices;
    if (stage->has_embed)
        add_slice(stage, slices, 1u << BLOCK_EMBED, -1, -1, device)->is_shared =
            is_shared(holders, 0, BLOCK_EMBED);
    for (int32_t layer = first; first >= 0 && layer <= last; layer++) {
        unsigned common = shared_here(holders, stage, layer);

        own = add_layer(holders, stage, slices, own, layer,
                        blocks_here(holders, stage, layer) & ~common);
        shared = add_layer(holders, stage, slices, shared, layer, common);
        if (shared)
            shared->is_shared = true;
    }
    if (stage->has_lm_head)
        add_slice(stage, slices, 1u << BLOCK_LM_HEAD, -1, -1, device)->is_shared =
            is_shared(holders, 0, BLOCK_LM_HEAD);
}

static void add_row(const struct slices_holders *holders, struct plan_stage *stage,
                    struct plan_slice *slices, const struct placement_row *row, int32_t device)
{
    const struct model *model = holders->chain->model;
    int first = stage->slice_count;

    if (row->blocks & SLICES_END_BLOCKS)
        (void)add_slice(stage, slices, row->blocks & SLICES_END_BLOCKS, -1, -1, device);
    if (row->blocks & SLICES_LAYER_BLOCKS)
        (void)add_slice(stage, slices, row->blocks & SLICES_LAYER_BLOCKS,
                        row->layer_first < 0 ? 0 : row->layer_first,
                        row->layer_first < 0 ? model->layers - 1 : row->layer_last, device);
    for (int i = first; i < stage->slice_count; i++) {
        slices[i].is_shared = holders->chain->is_decode && row->phase == PLACEMENT_BOTH;
        if (slices[i].blocks & 1u << BLOCK_CONN)
            slices[i].norms = slices[i].adds = 2;
        if (slices_is_whole(row))
            continue;
        slices[i].part_first = row->part_first;
        slices[i].part_last = row->part_last;
        slices[i].part_of = row->part_of;
    }
}

/* The first of the stage's devices, in its order, that holds some of the block. */
static int32_t first_device(const struct plan_stage *stage, const struct plan_slice *slices,
                            int count, int32_t layer, int block)
{
    for (int k = 0; k < stage->device_count; k++)
        for (int i = 0; i < count; i++)
            if (slices[i].device == stage->devices[k] && (slices[i].blocks & 1u << block) &&
                slices[i].layer_first <= layer && layer <= slices[i].layer_last)
                return stage->devices[k];
    assert(false);
    return -1;
}

/* Norms that no row names are with the block behind them. */
static void add_implied(const struct slices_holders *holders, struct plan_stage *stage,
                        struct plan_slice *slices, int32_t first, int32_t last, int block)
{
    int row_slices = stage->slice_count;

    for (int32_t layer = first; first >= 0 && layer <= last; layer++) {
        struct plan_slice *before = &slices[stage->slice_count - 1];
        int32_t device;

        if (slices_claims(holders, layer, BLOCK_CONN) || !is_here(holders, stage, layer, block))
            continue;
        device = first_device(stage, slices, row_slices, layer, block);
        if (stage->slice_count > row_slices && before->device == device &&
            before->layer_last == layer - 1 &&
            before->is_shared == is_shared(holders, layer, block)) {
            before->layer_last = layer;
            continue;
        }
        before = add_slice(stage, slices, 1u << BLOCK_CONN, layer, layer, device);
        before->norms = before->adds = 1;
        before->is_implied = true;
        before->is_shared = is_shared(holders, layer, block);
    }
}

static void fill_sliced(const struct slices_holders *holders, struct plan_stage *stage,
                        int32_t first, int32_t last)
{
    const struct slices_chain *chain = holders->chain;
    size_t room = 2 * (size_t)chain->row_count + 2 * (size_t)(last - first + 1);
    struct plan_slice *slices = arena_array(holders->arena, room, sizeof *slices);

    stage->slices = slices;
    for (int i = 0; i < chain->row_count; i++)
        if (chain->rows[i]->stage == stage->number)
            add_row(holders, stage, slices, chain->rows[i], chain->devices[i]);
    add_implied(holders, stage, slices, first, last, BLOCK_ATTN);
    add_implied(holders, stage, slices, first, last, BLOCK_FFN_UP);
}

/* ---- borders ---- */

/* What a step has made when that block is done, beside the sum that it will be added to. */
static struct plan_border border_behind(const struct model *model, int block)
{
    if (block == BLOCK_ATTN)
        return (struct plan_border){ model->heads * model->head_dim, model->hidden };
    if (block == BLOCK_FFN_UP)
        return (struct plan_border){ model->ffn_hidden, model->hidden };
    return (struct plan_border){ model->hidden, 0 };
}

static void fill_stage(const struct slices_holders *holders, struct plan_stage *stage)
{
    const struct slices_chain *chain = holders->chain;
    const struct model *model = chain->model;
    int32_t first = -1, last = -1;
    int last_block = BLOCK_EMBED;

    stage->blocks_begin = -1;
    stage->has_embed = stage->number == 0;
    stage->has_lm_head = stage->number == chain->stage_count - 1;
    stage->in =
        stage->number > 0 ? chain->stages[stage->number - 1].out : (struct plan_border){ 0, 0 };
    for (int32_t layer = 0; layer < model->layers; layer++) {
        unsigned blocks = blocks_here(holders, stage, layer);

        if (blocks == 0)
            continue;
        first = first < 0 ? layer : first;
        last = layer;
        stage->layer_count += (int32_t)(blocks >> BLOCK_ATTN & 1u);
        for (int block = BLOCK_ATTN; block <= BLOCK_FFN_DOWN; block++) {
            if (!(blocks >> block & 1u))
                continue;
            last_block = block;
            stage->blocks_end = 4 * layer + block - BLOCK_ATTN + 1;
            if (stage->blocks_begin < 0)
                stage->blocks_begin = stage->blocks_end - 1;
        }
    }
    if (stage->blocks_begin < 0)
        stage->blocks_begin = stage->blocks_end = 0;
    stage->out = border_behind(model, last_block);
    if (stage->device_count == 1)
        fill_whole(holders, stage, first, last);
    else
        fill_sliced(holders, stage, first, last);
}

void slices_fill(const struct slices_holders *holders)
{
    for (int i = 0; i < holders->chain->stage_count; i++)
        fill_stage(holders, &holders->chain->stages[i]);
}
