/* slices.c - who holds which parts of which block of which layer, and what is missing, doubled or
 * out of order.
 *
 * A part is a range of fractions [first / of, (last + 1) / of): rows that cut a block differently
 * are compared exactly, by cross-multiplication. */
#include "lib/policy/slices.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/policy/pass.h"
#include "lib/policy/plan.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

#define LAYER_BLOCKS                                                                               \
    (1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN |             \
     1u << BLOCK_CONN)
#define END_BLOCKS (1u << BLOCK_EMBED | 1u << BLOCK_LM_HEAD)

struct fraction {
    int64_t part, of;
};

/* A row that holds a part of a block of a layer; those of one block stand in order of their parts.
 */
struct claim {
    const struct placement_row *row;
    struct claim *next;
};

/* Claims of each block of each layer; NULL = nobody's yet. embed and lm_head belong to no layer and
 * stand under layer 0. */
struct holders {
    struct arena *arena;
    const struct slices_replica *replica;
    struct claim **claims; /* layers * BLOCK_COUNT */
};

static struct claim **holder(const struct holders *holders, int layer, int block)
{
    return &holders->claims[layer * BLOCK_COUNT + block];
}

static const struct placement_row *first_row(const struct holders *holders, int layer, int block)
{
    const struct claim *claim = *holder(holders, layer, block);

    return claim ? claim->row : NULL;
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

static bool is_whole(const struct placement_row *row)
{
    return row->part_first == 0 && row->part_last == row->part_of - 1;
}

/* The column that says most about where a row stands in the model. */
static enum placement_column where(const struct placement_row *row)
{
    if (!is_whole(row))
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

/* What a block divides into; 0 = it does not divide, 1 = into anything. */
static int32_t unit_count(const struct model *model, int block, const char **units)
{
    *units = "";
    switch ((enum model_block)block) {
    case BLOCK_ATTN:
        *units = model->kv_heads < model->heads ? "KV heads" : "heads";
        return model->kv_heads;
    case BLOCK_PROJ:
        *units = "heads";
        return model->heads;
    case BLOCK_FFN_UP:
    case BLOCK_FFN_DOWN:
        *units = "columns of the FFN";
        return model->ffn_hidden;
    case BLOCK_EMBED:
        return 0;
    case BLOCK_LM_HEAD: /* an encoder's pooler stays whole */
        return model->kind == MODEL_ENCODER ? 0 : 1;
    case BLOCK_CONN:
    case BLOCK_COUNT:
        break;
    }
    return 1;
}

/* Whether the parts that the row speaks of exist. */
static bool check_parts(const struct holders *holders, const struct placement_row *row, int block,
                        struct err *err)
{
    const struct model *model = holders->replica->model;
    const char *units;
    int32_t count = unit_count(model, block, &units);

    if (is_whole(row))
        return true;
    if (count == 0)
        return placement_bad(holders->replica->placement, row, PLACEMENT_PARTS, err,
                             "block %s of model '%s' is not divided", model_block_names[block],
                             model->name);
    if (count > 1 && count % row->part_of != 0)
        return placement_bad(holders->replica->placement, row, PLACEMENT_PARTS, err,
                             "the %d %s of model '%s' do not divide into %d parts", count, units,
                             model->name, row->part_of);
    if (count == 1 && units[0] != '\0')
        return placement_bad(holders->replica->placement, row, PLACEMENT_PARTS, err,
                             "block %s of model '%s' has one of its %s and is not divided",
                             model_block_names[block], model->name, units);
    if (block == BLOCK_LM_HEAD && row->part_of > model->vocab)
        return placement_bad(holders->replica->placement, row, PLACEMENT_PARTS, err,
                             "the output matrix of model '%s' has %d rows", model->name,
                             model->vocab);
    return true;
}

/* ---- claims ---- */

static bool claimed_twice(const struct holders *holders, const struct placement_row *row,
                          const struct placement_row *other, int layer, int block, struct err *err)
{
    const struct placement_row *first = row->line < other->line ? row : other;
    const struct placement_row *second = first == row ? other : row;
    char name[NAME_BYTES], parts[PARTS_BYTES], taken[PARTS_BYTES];

    if (is_whole(row) && is_whole(other))
        return placement_bad(holders->replica->placement, row, where(row), err,
                             "%s is placed twice in replica %d of '%s', first in line %ld",
                             block_name(layer, block, name), row->replica, row->service,
                             other->line);
    return placement_bad(holders->replica->placement, second, PLACEMENT_PARTS, err,
                         "%s: %s of this row and %s of line %ld overlap in replica %d of '%s'",
                         block_name(layer, block, name),
                         parts_name(second->part_first, second->part_last, second->part_of, parts),
                         parts_name(first->part_first, first->part_last, first->part_of, taken),
                         first->line, row->replica, row->service);
}

static bool claim_block(const struct holders *holders, const struct placement_row *row, int layer,
                        int block, struct err *err)
{
    struct claim **place = holder(holders, layer, block), *added;

    while (*place && !is_before(start_of(row), start_of((*place)->row))) {
        if (overlaps((*place)->row, row))
            return claimed_twice(holders, row, (*place)->row, layer, block, err);
        place = &(*place)->next;
    }
    if (*place && overlaps((*place)->row, row))
        return claimed_twice(holders, row, (*place)->row, layer, block, err);
    added = arena_alloc(holders->arena, sizeof *added);
    *added = (struct claim){ row, *place };
    *place = added;
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
static bool hole(const struct holders *holders, int layer, int block, struct fraction from,
                 struct fraction to, struct err *err)
{
    const struct placement_row *first = holders->replica->rows[0];
    int64_t of = from.of / common_divisor(from.of, to.of) * to.of;
    int64_t first_part = from.part * (of / from.of), last_part = to.part * (of / to.of) - 1;
    char name[NAME_BYTES], parts[PARTS_BYTES];

    return placement_bad(
        holders->replica->placement, first, PLACEMENT_REPLICA, err,
        "%s: %s of model '%s' %s placed nowhere in this replica of '%s'",
        block_name(layer, block, name), parts_name(first_part, last_part, of, parts),
        holders->replica->model->name, first_part == last_part ? "is" : "are", first->service);
}

static bool check_there(const struct holders *holders, int layer, int block, struct err *err)
{
    const struct placement_row *first = holders->replica->rows[0];
    struct fraction end = { 0, 1 }, whole = { 1, 1 };
    char name[NAME_BYTES];

    if (!*holder(holders, layer, block))
        return placement_bad(holders->replica->placement, first, PLACEMENT_REPLICA, err,
                             "%s of model '%s' is placed nowhere in this replica of '%s'",
                             block_name(layer, block, name), holders->replica->model->name,
                             first->service);
    for (const struct claim *claim = *holder(holders, layer, block); claim; claim = claim->next) {
        if (is_before(end, start_of(claim->row)))
            return hole(holders, layer, block, end, start_of(claim->row), err);
        end = end_of(claim->row);
    }
    return !is_before(end, whole) || hole(holders, layer, block, end, whole, err);
}

/* Rows of conn that cut the sequence cut it in one way, and give a device tokens that follow each
 * other. */
static bool check_sequence(const struct holders *holders, int layer, struct err *err)
{
    const struct claim *first = *holder(holders, layer, BLOCK_CONN);

    for (const struct claim *claim = first; claim; claim = claim->next) {
        if (claim->row->part_of != first->row->part_of)
            return placement_bad(
                holders->replica->placement, claim->row, PLACEMENT_PARTS, err,
                "line %ld cuts conn of layer %d into %d parts: the rows of a layer "
                "cut the sequence in one way",
                first->row->line, layer, first->row->part_of);
        for (const struct claim *other = claim->next ? claim->next->next : NULL; other;
             other = other->next)
            if (strcmp(other->row->device, claim->row->device) == 0 &&
                strcmp(claim->next->row->device, claim->row->device) != 0)
                return placement_bad(holders->replica->placement, other->row, PLACEMENT_PARTS, err,
                                     "line %ld gives the device other tokens of conn of layer %d: "
                                     "those of a device must follow each other",
                                     claim->row->line, layer);
    }
    return true;
}

/* All there, and in one stage: what crosses the border between stages is then one activation. */
static bool check_layer(const struct holders *holders, int layer, struct err *err)
{
    int32_t stage;

    for (int block = 0; block < BLOCK_COUNT; block++)
        if (is_layer_block(block) && (block != BLOCK_CONN || *holder(holders, layer, BLOCK_CONN)) &&
            !check_there(holders, layer, block, err))
            return false;
    if (!check_sequence(holders, layer, err))
        return false;
    stage = first_row(holders, layer, BLOCK_ATTN)->stage;
    for (int block = 0; block < BLOCK_COUNT; block++) {
        if (!is_layer_block(block))
            continue;
        for (const struct claim *claim = *holder(holders, layer, block); claim; claim = claim->next)
            if (claim->row->stage != stage)
                return placement_bad(holders->replica->placement, claim->row, PLACEMENT_STAGE, err,
                                     "layer %d has block %s here and block attn in stage %d: this "
                                     "version keeps a layer in one stage",
                                     layer, model_block_names[block], stage);
    }
    return true;
}

static bool check_order(const struct holders *holders, struct err *err)
{
    const struct slices_replica *replica = holders->replica;
    const struct placement_row *embed = first_row(holders, 0, BLOCK_EMBED);

    assert(embed && *holder(holders, 0, BLOCK_LM_HEAD)); /* check_there has found both */
    for (int layer = 1; layer < replica->model->layers; layer++) {
        const struct placement_row *before = first_row(holders, layer - 1, BLOCK_ATTN);
        const struct placement_row *row = first_row(holders, layer, BLOCK_ATTN);

        if (row->stage < before->stage)
            return placement_bad(replica->placement, before, PLACEMENT_STAGE, err,
                                 "layer %d is here, after layer %d in stage %d: stages must hold "
                                 "the layers in order",
                                 layer - 1, layer, row->stage);
    }
    if (embed->stage != 0)
        return placement_bad(replica->placement, embed, PLACEMENT_STAGE, err,
                             "block embed must be in stage 0");
    for (const struct claim *claim = *holder(holders, 0, BLOCK_LM_HEAD); claim; claim = claim->next)
        if (claim->row->stage != replica->stage_count - 1)
            return placement_bad(replica->placement, claim->row, PLACEMENT_STAGE, err,
                                 "block lm_head must be in the last stage, %d",
                                 replica->stage_count - 1);
    return true;
}

/* ---- slices ---- */

static void add_slice(struct plan_stage *stage, struct plan_slice *slices, unsigned blocks,
                      int32_t layer_first, int32_t layer_last, int32_t device)
{
    slices[stage->slice_count++] = (struct plan_slice){ .blocks = blocks,
                                                        .layer_first = layer_first,
                                                        .layer_last = layer_last,
                                                        .device = device,
                                                        .part_of = 1 };
}

/* All of the stage on its only device, however its rows cut it. */
static void fill_whole(struct arena *arena, struct plan_stage *stage, int32_t first, int32_t last)
{
    struct plan_slice *slices = arena_array(arena, 3, sizeof *slices);
    int32_t device = stage->devices[0];

    stage->slices = slices;
    if (stage->has_embed)
        add_slice(stage, slices, 1u << BLOCK_EMBED, -1, -1, device);
    if (first >= 0)
        add_slice(stage, slices, LAYER_BLOCKS, first, last, device);
    if (stage->has_lm_head)
        add_slice(stage, slices, 1u << BLOCK_LM_HEAD, -1, -1, device);
}

static void add_row(struct plan_stage *stage, struct plan_slice *slices, const struct model *model,
                    const struct placement_row *row, int32_t device)
{
    int first = stage->slice_count;

    if (row->blocks & END_BLOCKS)
        add_slice(stage, slices, row->blocks & END_BLOCKS, -1, -1, device);
    if (row->blocks & LAYER_BLOCKS)
        add_slice(stage, slices, row->blocks & LAYER_BLOCKS,
                  row->layer_first < 0 ? 0 : row->layer_first,
                  row->layer_first < 0 ? model->layers - 1 : row->layer_last, device);
    for (int i = first; i < stage->slice_count && !is_whole(row); i++) {
        slices[i].part_first = row->part_first;
        slices[i].part_last = row->part_last;
        slices[i].part_of = row->part_of;
    }
}

/* The first of the stage's devices, in its order, that holds some of the layer's attention. */
static int32_t first_device(const struct plan_stage *stage, const struct plan_slice *slices,
                            int count, int32_t layer)
{
    for (int k = 0; k < stage->device_count; k++)
        for (int i = 0; i < count; i++)
            if (slices[i].device == stage->devices[k] && (slices[i].blocks & 1u << BLOCK_ATTN) &&
                slices[i].layer_first <= layer && layer <= slices[i].layer_last)
                return stage->devices[k];
    assert(false);
    return -1;
}

static void fill_sliced(const struct holders *holders, struct plan_stage *stage, int32_t first,
                        int32_t last)
{
    const struct slices_replica *replica = holders->replica;
    size_t room = 2 * (size_t)replica->row_count + (size_t)(last - first + 1);
    struct plan_slice *slices = arena_array(holders->arena, room, sizeof *slices);
    int row_slices;

    stage->slices = slices;
    for (int i = 0; i < replica->row_count; i++)
        if (replica->rows[i]->stage == stage->number)
            add_row(stage, slices, replica->model, replica->rows[i], replica->devices[i]);
    row_slices = stage->slice_count;
    for (int32_t layer = first; first >= 0 && layer <= last; layer++) {
        struct plan_slice *before = &slices[stage->slice_count - 1];
        int32_t device;

        if (*holder(holders, layer, BLOCK_CONN))
            continue;
        device = first_device(stage, slices, row_slices, layer);
        if (before->is_implied && before->device == device && before->layer_last == layer - 1) {
            before->layer_last = layer;
            continue;
        }
        add_slice(stage, slices, 1u << BLOCK_CONN, layer, layer, device);
        slices[stage->slice_count - 1].is_implied = true;
    }
}

static void fill_stage(const struct holders *holders, struct plan_stage *stage)
{
    const struct model *model = holders->replica->model;
    int32_t first = -1, last = -1;

    for (int32_t layer = 0; layer < model->layers; layer++) {
        if (first_row(holders, layer, BLOCK_ATTN)->stage != stage->number)
            continue;
        first = first < 0 ? layer : first;
        last = layer;
    }
    stage->has_embed = stage->number == 0;
    stage->has_lm_head = stage->number == holders->replica->stage_count - 1;
    stage->layer_count = first < 0 ? 0 : last - first + 1;
    if (stage->device_count == 1)
        fill_whole(holders->arena, stage, first, last);
    else
        fill_sliced(holders, stage, first, last);
}

/* Who talks to whom grows with the square of the devices. */
static bool check_devices(const struct slices_replica *replica, struct err *err)
{
    for (int i = 0; i < replica->stage_count; i++)
        if (replica->stages[i].device_count > PASS_MAX_DEVICES)
            return placement_bad(replica->placement, replica->stages[i].row, PLACEMENT_STAGE, err,
                                 "it stands on %d devices: at most %d for a stage of a model",
                                 replica->stages[i].device_count, PASS_MAX_DEVICES);
    return true;
}

bool slices_build(struct arena *arena, const struct slices_replica *replica, struct err *err)
{
    struct holders holders = { arena, replica, NULL };

    if (!check_devices(replica, err))
        return false;
    holders.claims =
        arena_array(arena, (size_t)replica->model->layers * BLOCK_COUNT, sizeof(*holders.claims));
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
        fill_stage(&holders, &replica->stages[i]);
    return true;
}
