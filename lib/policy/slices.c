/* slices.c - who holds which parts of which block of which layer, and what is missing, doubled or
 * out of order.
 *
 * A part is a range of fractions [first / of, (last + 1) / of): rows that cut a block differently
 * are compared exactly, by cross-multiplication. */
#include "lib/policy/slices.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/policy/pass.h"
#include "lib/policy/plan.h"
#include "lib/policy/slices_internal.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

struct fraction {
    int64_t part, of;
};

static const struct placement_row *first_row(const struct slices_holders *holders, int layer,
                                             int block)
{
    const struct slices_claim *claim = slices_claims(holders, layer, block);

    return claim ? claim->row : NULL;
}

static bool is_layer_block(int block)
{
    return (SLICES_LAYER_BLOCKS & 1u << block) != 0;
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

#define PARTS_BYTES 64
/* "part 2/8", or "parts 0-3/8". */
static const char *parts_name(int64_t first, int64_t last, int64_t of, char text[PARTS_BYTES])
{
    if (first == last)
        (void)snprintf(text, PARTS_BYTES, "part %lld/%lld", (long long)first, (long long)of);
    else
        (void)snprintf(text, PARTS_BYTES, "parts %lld-%lld/%lld", (long long)first, (long long)last,
                       (long long)of);
    return text;
}

/* The column that says most about where a row stands in the model. */
static enum placement_column where(const struct placement_row *row)
{
    if (!slices_is_whole(row))
        return PLACEMENT_PARTS;
    return row->layer_first >= 0 ? PLACEMENT_LAYERS : PLACEMENT_BLOCK;
}

/* ---- parts ---- */

static struct fraction start_of(const struct placement_row *row)
{
    return (struct fraction){ row->part_first, row->part_of };
}

static struct fraction end_of(const struct placement_row *row)
{
    return (struct fraction){ (int64_t)row->part_last + 1, row->part_of };
}

static bool is_before(struct fraction a, struct fraction b)
{
    return a.part * b.of < b.part * a.of;
}

static bool overlaps(const struct placement_row *a, const struct placement_row *b)
{
    return is_before(start_of(a), end_of(b)) && is_before(start_of(b), end_of(a));
}

/* What a block divides into; "" = rows of a matrix, tokens, or nothing. */
static const char *units_of(const struct model *model, int block, int32_t *count)
{
    *count = 0;
    switch ((enum model_block)block) {
    case BLOCK_ATTN:
        *count = model->kv_heads;
        return model->kv_heads < model->heads ? "KV heads" : "heads";
    case BLOCK_PROJ:
        *count = model->heads;
        return "heads";
    case BLOCK_FFN_UP:
    case BLOCK_FFN_DOWN:
        *count = model->ffn_hidden;
        return "columns of the FFN";
    case BLOCK_EMBED:
    case BLOCK_LM_HEAD:
    case BLOCK_CONN:
    case BLOCK_COUNT:
        break;
    }
    return "";
}

/* Whether the parts that the row speaks of exist. */
static bool check_parts(const struct slices_holders *holders, const struct placement_row *row,
                        int block, struct err *err)
{
    const struct placement *placement = holders->chain->placement;
    const struct model *model = holders->chain->model;
    int32_t count;
    const char *units = units_of(model, block, &count);

    if (slices_is_whole(row) || model_can_cut(model, (enum model_block)block, row->part_of))
        return true;
    if (count > 1)
        return placement_bad(placement, row, PLACEMENT_PARTS, err,
                             "the %d %s of model '%s' do not divide into %d parts", count, units,
                             model->name, row->part_of);
    if (count == 1)
        return placement_bad(placement, row, PLACEMENT_PARTS, err,
                             "block %s of model '%s' has one of its %s and is not divided",
                             model_block_names[block], model->name, units);
    if (block == BLOCK_LM_HEAD && model->kind != MODEL_ENCODER)
        return placement_bad(placement, row, PLACEMENT_PARTS, err,
                             "the output matrix of model '%s' has %d rows", model->name,
                             model->vocab);
    return placement_bad(placement, row, PLACEMENT_PARTS, err,
                         "block %s of model '%s' is not divided", model_block_names[block],
                         model->name);
}

/* ---- claims ---- */

static bool claimed_twice(const struct slices_holders *holders, const struct placement_row *row,
                          const struct placement_row *other, int layer, int block, struct err *err)
{
    const struct placement_row *first = row->line < other->line ? row : other;
    const struct placement_row *second = first == row ? other : row;
    char name[NAME_BYTES], parts[PARTS_BYTES], taken[PARTS_BYTES];

    if (slices_is_whole(row) && slices_is_whole(other))
        return placement_bad(holders->chain->placement, row, where(row), err,
                             "%s is placed twice in replica %d of '%s'%s, first in line %ld",
                             block_name(layer, block, name), row->replica, row->service,
                             holders->chain->which, other->line);
    return placement_bad(holders->chain->placement, second, PLACEMENT_PARTS, err,
                         "%s: %s of this row and %s of line %ld overlap in replica %d of '%s'%s",
                         block_name(layer, block, name),
                         parts_name(second->part_first, second->part_last, second->part_of, parts),
                         parts_name(first->part_first, first->part_last, first->part_of, taken),
                         first->line, row->replica, row->service, holders->chain->which);
}

static bool claim_block(const struct slices_holders *holders, const struct placement_row *row,
                        int layer, int block, struct err *err)
{
    struct slices_claim **place = &holders->claims[layer * BLOCK_COUNT + block], *added;
    struct slices_claim **last = &holders->lasts[layer * BLOCK_COUNT + block];

    if (*last && !is_before(start_of(row), start_of((*last)->row))) { /* rows stand in order */
        if (overlaps((*last)->row, row))
            return claimed_twice(holders, row, (*last)->row, layer, block, err);
        place = &(*last)->next;
    }
    while (*place && !is_before(start_of(row), start_of((*place)->row))) {
        if (overlaps((*place)->row, row))
            return claimed_twice(holders, row, (*place)->row, layer, block, err);
        place = &(*place)->next;
    }
    if (*place && overlaps((*place)->row, row))
        return claimed_twice(holders, row, (*place)->row, layer, block, err);
    added = arena_alloc(holders->arena, sizeof *added);
    *added = (struct slices_claim){ row, *place };
    *place = added;
    if (!added->next)
        *last = added;
    return true;
}

static bool claim_row(const struct slices_holders *holders, const struct placement_row *row,
                      struct err *err)
{
    const struct model *model = holders->chain->model;
    int first = row->layer_first < 0 ? 0 : row->layer_first;
    int last = row->layer_first < 0 ? model->layers - 1 : row->layer_last;

    if (row->layer_last >= model->layers)
        return placement_bad(holders->chain->placement, row, PLACEMENT_LAYERS, err,
                             "model '%s' has layers 0 to %d", model->name, model->layers - 1);
    for (int block = 0; block < BLOCK_COUNT; block++) {
        if (!(row->blocks & 1u << block))
            continue;
        if (!check_parts(holders, row, block, err))
            return false;
        if (!is_layer_block(block)) {
            if (!claim_block(holders, row, 0, block, err))
                return false;
            continue;
        }
        for (int layer = first; layer <= last; layer++)
            if (!claim_block(holders, row, layer, block, err))
                return false;
    }
    return true;
}

/* ---- holes ---- */

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b > 0) {
        int64_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

/* from < to: nobody holds what lies between. */
static bool hole(const struct slices_holders *holders, int layer, int block, struct fraction from,
                 struct fraction to, struct err *err)
{
    const struct placement_row *first = holders->chain->rows[0];
    int64_t of = from.of / common_divisor(from.of, to.of) * to.of;
    int64_t first_part = from.part * (of / from.of), last_part = to.part * (of / to.of) - 1;
    char name[NAME_BYTES], parts[PARTS_BYTES];

    return placement_bad(holders->chain->placement, first, PLACEMENT_REPLICA, err,
                         "%s: %s of model '%s' %s placed nowhere in this replica of '%s'%s",
                         block_name(layer, block, name),
                         parts_name(first_part, last_part, of, parts), holders->chain->model->name,
                         first_part == last_part ? "is" : "are", first->service,
                         holders->chain->which);
}

static bool check_there(const struct slices_holders *holders, int layer, int block, struct err *err)
{
    const struct placement_row *first = holders->chain->rows[0];
    struct fraction end = { 0, 1 }, whole = { 1, 1 };
    char name[NAME_BYTES];

    if (!slices_claims(holders, layer, block))
        return placement_bad(holders->chain->placement, first, PLACEMENT_REPLICA, err,
                             "%s of model '%s' is placed nowhere in this replica of '%s'%s",
                             block_name(layer, block, name), holders->chain->model->name,
                             first->service, holders->chain->which);
    for (const struct slices_claim *claim = slices_claims(holders, layer, block); claim;
         claim = claim->next) {
        if (is_before(end, start_of(claim->row)))
            return hole(holders, layer, block, end, start_of(claim->row), err);
        end = end_of(claim->row);
    }
    return !is_before(end, whole) || hole(holders, layer, block, end, whole, err);
}

/* Rows of conn that cut the sequence cut it in one way, and give a device tokens that follow each
 * other. */
static bool check_sequence(const struct slices_holders *holders, int layer, struct err *err)
{
    const struct slices_claim *first = slices_claims(holders, layer, BLOCK_CONN);

    for (const struct slices_claim *claim = first; claim; claim = claim->next) {
        if (claim->row->part_of != first->row->part_of)
            return placement_bad(
                holders->chain->placement, claim->row, PLACEMENT_PARTS, err,
                "line %ld cuts conn of layer %d into %d parts: the rows of a layer "
                "cut the sequence in one way",
                first->row->line, layer, first->row->part_of);
        for (const struct slices_claim *other = claim->next ? claim->next->next : NULL; other;
             other = other->next)
            if (strcmp(other->row->device, claim->row->device) == 0 &&
                strcmp(claim->next->row->device, claim->row->device) != 0)
                return placement_bad(holders->chain->placement, other->row, PLACEMENT_PARTS, err,
                                     "line %ld gives the device other tokens of conn of layer %d: "
                                     "those of a device must follow each other",
                                     claim->row->line, layer);
    }
    return true;
}

static bool check_layer(const struct slices_holders *holders, int layer, struct err *err)
{
    for (int block = 0; block < BLOCK_COUNT; block++)
        if (is_layer_block(block) &&
            (block != BLOCK_CONN || slices_claims(holders, layer, BLOCK_CONN)) &&
            !check_there(holders, layer, block, err))
            return false;
    return check_sequence(holders, layer, err);
}

/* ---- order ---- */

/* The parts of a block in one stage: a stage is as far as a step has come. */
static bool check_one_stage(const struct slices_holders *holders, int layer, int block,
                            struct err *err)
{
    const struct slices_claim *first = slices_claims(holders, layer, block);
    char name[NAME_BYTES];

    for (const struct slices_claim *claim = first; claim; claim = claim->next)
        if (claim->row->stage != first->row->stage)
            return placement_bad(holders->chain->placement, claim->row, PLACEMENT_STAGE, err,
                                 "%s has parts here and in stage %d (line %ld): the parts of a "
                                 "block are in one stage",
                                 block_name(layer, block, name), first->row->stage,
                                 first->row->line);
    return true;
}

/* Norms and residuals of a layer that several stages share go with a block of one of them. */
static bool check_conn(const struct slices_holders *holders, int layer, struct err *err)
{
    const struct placement_row *conn = first_row(holders, layer, BLOCK_CONN);

    if (!conn)
        return true;
    for (int block = BLOCK_ATTN; block <= BLOCK_FFN_DOWN; block++)
        if (first_row(holders, layer, block)->stage == conn->stage)
            return true;
    return placement_bad(holders->chain->placement, conn, PLACEMENT_STAGE, err,
                         "layer %d, block conn is here without any other block of the layer",
                         layer);
}

/* Blocks in model order: attn, proj, ffn_up, ffn_down, and the layers one after the other. */
static bool check_order(const struct slices_holders *holders, struct err *err)
{
    const struct slices_chain *chain = holders->chain;
    const struct placement_row *embed = first_row(holders, 0, BLOCK_EMBED), *before = NULL;
    const struct placement_row *head = first_row(holders, 0, BLOCK_LM_HEAD);
    char name[NAME_BYTES], next[NAME_BYTES];

    assert(embed && head); /* check_there has found both */
    for (int layer = 0; layer < chain->model->layers; layer++) {
        for (int block = BLOCK_ATTN; block <= BLOCK_CONN; block++)
            if (!check_one_stage(holders, layer, block, err))
                return false;
        for (int block = BLOCK_ATTN; block <= BLOCK_FFN_DOWN; block++) {
            const struct placement_row *row = first_row(holders, layer, block);

            if (before && row->stage < before->stage)
                return placement_bad(
                    chain->placement, before, PLACEMENT_STAGE, err,
                    "%s is here, after %s in stage %d: stages must hold the blocks in model order",
                    block_name(block > BLOCK_ATTN ? layer : layer - 1,
                               block > BLOCK_ATTN ? block - 1 : BLOCK_FFN_DOWN, name),
                    block_name(layer, block, next), row->stage);
            before = row;
        }
        if (!check_conn(holders, layer, err))
            return false;
    }
    if (embed->stage != 0)
        return placement_bad(chain->placement, embed, PLACEMENT_STAGE, err,
                             "block embed must be in stage 0");
    for (const struct slices_claim *claim = slices_claims(holders, 0, BLOCK_LM_HEAD); claim;
         claim = claim->next)
        if (claim->row->stage != chain->stage_count - 1)
            return placement_bad(chain->placement, claim->row, PLACEMENT_STAGE, err,
                                 "block lm_head must be in the last stage, %d%s",
                                 chain->stage_count - 1, chain->which);
    return true;
}

/* Who talks to whom grows with the square of the devices. */
static bool check_devices(const struct slices_chain *chain, struct err *err)
{
    for (int i = 0; i < chain->stage_count; i++)
        if (chain->stages[i].device_count > PASS_MAX_DEVICES)
            return placement_bad(chain->placement, chain->stages[i].row, PLACEMENT_STAGE, err,
                                 "it stands on %d devices: at most %d for a stage of a model",
                                 chain->stages[i].device_count, PASS_MAX_DEVICES);
    return true;
}

bool slices_build(struct arena *arena, const struct slices_chain *chain, struct err *err)
{
    size_t count = (size_t)chain->model->layers * BLOCK_COUNT;
    struct slices_holders holders = { arena, chain, NULL, NULL };

    if (!check_devices(chain, err))
        return false;
    holders.claims = arena_array(arena, count, sizeof(*holders.claims));
    holders.lasts = arena_array(arena, count, sizeof(*holders.lasts));
    for (int i = 0; i < chain->row_count; i++)
        if (!claim_row(&holders, chain->rows[i], err))
            return false;
    if (!check_there(&holders, 0, BLOCK_EMBED, err))
        return false;
    for (int layer = 0; layer < chain->model->layers; layer++)
        if (!check_layer(&holders, layer, err))
            return false;
    if (!check_there(&holders, 0, BLOCK_LM_HEAD, err) || !check_order(&holders, err))
        return false;
    slices_fill(&holders);
    return true;
}
