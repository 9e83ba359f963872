/* slices.c - who holds which block of which layer, and what is missing, doubled or out of order. */
#include "lib/policy/slices.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include <assert.h>
#include <stdio.h>

#define LAYER_BLOCKS                                                                               \
    (1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN |             \
     1u << BLOCK_CONN)

/* The row that holds each block of each layer; NULL = nobody yet. embed and lm_head belong to no
 * layer and stand under layer 0. */
struct holders {
    const struct slices_replica *replica;
    const struct placement_row **rows; /* layers * BLOCK_COUNT */
};

static const struct placement_row **holder(const struct holders *holders, int layer, int block)
{
    return &holders->rows[layer * BLOCK_COUNT + block];
}

static bool is_layer_block(int block)
{
    return (LAYER_BLOCKS & 1u << block) != 0;
}

#define NAME_BYTES 48
/* "layer 3, block attn", or "block embed". */
static const char *block_name(int layer, int block, char text[NAME_BYTES])
{
    if (is_layer_block(block))
        (void)snprintf(text, NAME_BYTES, "layer %d, block %s", layer, model_block_names[block]);
    else
        (void)snprintf(text, NAME_BYTES, "block %s", model_block_names[block]);
    return text;
}

/* The column that says most about where a row stands in the model. */
static enum placement_column where(const struct placement_row *row)
{
    return row->layer_first >= 0 ? PLACEMENT_LAYERS : PLACEMENT_BLOCK;
}

static bool claim(const struct holders *holders, const struct placement_row *row, int layer,
                  int block, struct err *err)
{
    const struct placement_row **place = holder(holders, layer, block);
    char name[NAME_BYTES];

    if (*place)
        return placement_bad(holders->replica->placement, row, where(row), err,
                             "%s is placed twice in replica %d of '%s', first in line %ld",
                             block_name(layer, block, name), row->replica, row->service,
                             (*place)->line);
    *place = row;
    return true;
}

static bool claim_row(const struct holders *holders, const struct placement_row *row,
                      struct err *err)
{
    const struct model *model = holders->replica->model;
    int first = row->layer_first < 0 ? 0 : row->layer_first;
    int last = row->layer_first < 0 ? model->layers - 1 : row->layer_last;

    if (row->layer_last >= model->layers)
        return placement_bad(holders->replica->placement, row, PLACEMENT_LAYERS, err,
                             "model '%s' has layers 0 to %d", model->name, model->layers - 1);
    for (int block = 0; block < BLOCK_COUNT; block++) {
        if (!(row->blocks & 1u << block))
            continue;
        if (!is_layer_block(block)) {
            if (!claim(holders, row, 0, block, err))
                return false;
            continue;
        }
        for (int layer = first; layer <= last; layer++)
            if (!claim(holders, row, layer, block, err))
                return false;
    }
    return true;
}

static bool check_there(const struct holders *holders, int layer, int block, struct err *err)
{
    const struct placement_row *first = holders->replica->rows[0];
    char name[NAME_BYTES];

    if (*holder(holders, layer, block))
        return true;
    return placement_bad(holders->replica->placement, first, PLACEMENT_REPLICA, err,
                         "%s of model '%s' is placed nowhere in this replica of '%s'",
                         block_name(layer, block, name), holders->replica->model->name,
                         first->service);
}

/* All there, and in one stage: what crosses the border between stages is then one activation. */
static bool check_layer(const struct holders *holders, int layer, struct err *err)
{
    const struct placement_row *attn;

    for (int block = 0; block < BLOCK_COUNT; block++)
        if (is_layer_block(block) && block != BLOCK_CONN &&
            !check_there(holders, layer, block, err))
            return false;
    attn = *holder(holders, layer, BLOCK_ATTN);
    /* Norms and residuals that nobody names run with the block after them. */
    if (!*holder(holders, layer, BLOCK_CONN))
        *holder(holders, layer, BLOCK_CONN) = attn;
    for (int block = 0; block < BLOCK_COUNT; block++) {
        const struct placement_row *row = *holder(holders, layer, block);

        if (is_layer_block(block) && row->stage != attn->stage)
            return placement_bad(holders->replica->placement, row, PLACEMENT_STAGE, err,
                                 "layer %d has block %s here and block attn in stage %d: this "
                                 "version keeps a layer in one stage",
                                 layer, model_block_names[block], attn->stage);
    }
    return true;
}

static bool check_order(const struct holders *holders, struct err *err)
{
    const struct slices_replica *replica = holders->replica;
    const struct placement_row *embed = *holder(holders, 0, BLOCK_EMBED);
    const struct placement_row *lm_head = *holder(holders, 0, BLOCK_LM_HEAD);

    assert(embed && lm_head); /* check_there has found both */
    for (int layer = 1; layer < replica->model->layers; layer++) {
        const struct placement_row *before = *holder(holders, layer - 1, BLOCK_ATTN);
        const struct placement_row *row = *holder(holders, layer, BLOCK_ATTN);

        if (row->stage < before->stage)
            return placement_bad(replica->placement, before, PLACEMENT_STAGE, err,
                                 "layer %d is here, after layer %d in stage %d: stages must hold "
                                 "the layers in order",
                                 layer - 1, layer, row->stage);
    }
    if (embed->stage != 0)
        return placement_bad(replica->placement, embed, PLACEMENT_STAGE, err,
                             "block embed must be in stage 0");
    if (lm_head->stage != replica->stage_count - 1)
        return placement_bad(replica->placement, lm_head, PLACEMENT_STAGE, err,
                             "block lm_head must be in the last stage, %d",
                             replica->stage_count - 1);
    return true;
}

static void fill_stage(struct arena *arena, const struct holders *holders, struct plan_stage *stage)
{
    const struct model *model = holders->replica->model;
    struct plan_slice *slices = arena_array(arena, 3, sizeof *slices);
    int32_t first = -1, last = -1;

    for (int32_t layer = 0; layer < model->layers; layer++) {
        if ((*holder(holders, layer, BLOCK_ATTN))->stage != stage->number)
            continue;
        first = first < 0 ? layer : first;
        last = layer;
    }
    stage->has_embed = stage->number == 0;
    stage->has_lm_head = stage->number == holders->replica->stage_count - 1;
    stage->layer_count = first < 0 ? 0 : last - first + 1;
    stage->slices = slices;
    if (stage->has_embed)
        slices[stage->slice_count++] =
            (struct plan_slice){ 1u << BLOCK_EMBED, -1, -1, stage->devices[0] };
    if (first >= 0)
        slices[stage->slice_count++] =
            (struct plan_slice){ LAYER_BLOCKS, first, last, stage->devices[0] };
    if (stage->has_lm_head)
        slices[stage->slice_count++] =
            (struct plan_slice){ 1u << BLOCK_LM_HEAD, -1, -1, stage->devices[0] };
}

bool slices_build(struct arena *arena, const struct slices_replica *replica, struct err *err)
{
    struct holders holders = { replica, NULL };

    holders.rows =
        arena_array(arena, (size_t)replica->model->layers * BLOCK_COUNT, sizeof *holders.rows);
    for (int i = 0; i < replica->row_count; i++)
        if (!claim_row(&holders, replica->rows[i], err))
            return false;
    if (!check_there(&holders, 0, BLOCK_EMBED, err))
        return false;
    for (int layer = 0; layer < replica->model->layers; layer++)
        if (!check_layer(&holders, layer, err))
            return false;
    if (!check_there(&holders, 0, BLOCK_LM_HEAD, err) || !check_order(&holders, err))
        return false;
    for (int i = 0; i < replica->stage_count; i++)
        fill_stage(arena, &holders, &replica->stages[i]);
    return true;
}
