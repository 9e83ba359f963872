/* plan.c - placement rows put together by service, replica and layer; see plan.h. */
#include "sim/kafetzis/plan.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include <string.h>

#define NOWHERE (-1)

/* Who holds what of one layer: numbers of rows, NOWHERE until placed. */
struct owners {
    int32_t *heads;
    int32_t projection, ffn_up, ffn_down;
};

struct builder {
    struct arena *arena;
    const struct placement *placement;
    const struct cluster *cluster;
    struct model_catalogue *catalogue;
    struct kafetzis_service *services;
    struct kafetzis_replica *replicas;
    struct kafetzis_plan *plan;
    int32_t *device_of;  /* by row */
    int32_t *replica_of; /* by row */
};

/* ---- one row ---- */

static bool is_whole(const struct placement_row *row)
{
    return row->part_first == 0 && row->part_last == row->part_of - 1;
}

static bool refuse_unknown(const struct builder *b, const struct placement_row *row,
                           struct err *err)
{
    const unsigned sliced = 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN;

    if (row->executable[0] != '\0')
        return placement_bad(b->placement, row, PLACEMENT_EXECUTABLE, err,
                             "--rules kafetzis knows heads, projections and FFNs of a model");
    if (row->phase != PLACEMENT_BOTH)
        return placement_bad(b->placement, row, PLACEMENT_PHASE, err,
                             "--rules kafetzis knows no phases");
    if (row->epoch > 0)
        return placement_bad(b->placement, row, PLACEMENT_EPOCH, err,
                             "--rules kafetzis knows one epoch");
    if (row->copy > 0)
        return placement_bad(b->placement, row, PLACEMENT_COPY, err,
                             "--rules kafetzis knows no alternatives of a stage, only copy 0");
    if (row->max_batch > 1)
        return placement_bad(b->placement, row, PLACEMENT_MAX_BATCH, err,
                             "--rules kafetzis computes one request at a time");
    if (row->queue_depth > 0)
        return placement_bad(b->placement, row, PLACEMENT_QUEUE_DEPTH, err,
                             "--rules kafetzis knows no queues between stages");
    if (row->wire_bits != 0)
        return placement_bad(b->placement, row, PLACEMENT_WIRE_BITS, err,
                             "--rules kafetzis sends values as wide as the model's weight_bits");
    if ((row->blocks & sliced) && !is_whole(row))
        return placement_bad(b->placement, row, PLACEMENT_PARTS, err,
                             "--rules kafetzis slices the heads (attn) alone, not proj or ffn");
    return true;
}

static bool find_device(const struct builder *b, const struct placement_row *row, int32_t *device,
                        struct err *err)
{
    const struct cluster *cluster = b->cluster;
    const char **names, *closest;

    *device = cluster_find_device(cluster, row->device);
    if (*device >= 0)
        return cluster->devices[*device].flop_per_s > 0 ||
               placement_bad(b->placement, row, PLACEMENT_DEVICE, err,
                             "line %ld of %s/devices.csv has no flop_per_s, which --rules kafetzis "
                             "needs",
                             cluster->devices[*device].line, cluster->path);
    names = arena_array(b->arena, (size_t)cluster->device_count, sizeof *names);
    for (int i = 0; i < cluster->device_count; i++)
        names[i] = cluster->devices[i].name;
    closest = err_closest(row->device, names, cluster->device_count);
    return placement_bad(b->placement, row, PLACEMENT_DEVICE, err,
                         "no such device in %s/devices.csv%s%s%s", cluster->path,
                         closest ? "; did you mean '" : "", closest ? closest : "",
                         closest ? "'?" : "");
}

static bool service_shape(const struct builder *b, const struct placement_row *row,
                          struct kafetzis_service *service, struct err *err)
{
    struct err detail = ERR_INIT;
    const struct model *model = model_find(b->catalogue, row->model, &detail);

    if (!model)
        return err_at(err, b->placement->path, row->line, b->placement->column[PLACEMENT_MODEL],
                      "%s", detail.text);
    if (model->heads * model->head_dim != model->hidden)
        return placement_bad(b->placement, row, PLACEMENT_MODEL, err,
                             "%d heads of %d do not make up its width %d: --rules kafetzis needs "
                             "heads x head_dim = hidden",
                             model->heads, model->head_dim, model->hidden);
    service->model = model;
    service->shape = (struct kafetzis_shape){ model->heads, model->hidden, model->weight_bits / 8 };
    return true;
}

/* The row's service and replica; new ones get their place. */
static bool place_row(struct builder *b, int i, struct err *err)
{
    const struct placement_row *row = &b->placement->rows[i];
    struct kafetzis_plan *plan = b->plan;
    int32_t s = 0, r = 0;

    while (s < plan->service_count && strcmp(b->services[s].name, row->service) != 0)
        s++;
    if (s == plan->service_count) {
        b->services[s].name = row->service;
        if (!service_shape(b, row, &b->services[s], err))
            return false;
        plan->service_count++;
    } else if (strcmp(b->services[s].model->name, row->model) != 0) {
        return placement_bad(b->placement, row, PLACEMENT_MODEL, err,
                             "a row above says '%s' for this service: one model a service",
                             b->services[s].model->name);
    }
    while (r < plan->replica_count &&
           (b->replicas[r].service != s || b->replicas[r].number != row->replica))
        r++;
    if (r == plan->replica_count) {
        b->replicas[r] = (struct kafetzis_replica){ .service = s, .number = row->replica };
        plan->replica_count++;
    }
    b->replica_of[i] = r;
    return true;
}

/* ---- one replica ---- */

static enum placement_column column_of(const struct placement_row *row)
{
    return row->part_of > 1 ? PLACEMENT_PARTS : PLACEMENT_LAYERS;
}

static const char *parts_text(const struct builder *b, int32_t first, int32_t last, int32_t of)
{
    return first == last ? arena_printf(b->arena, "part %d/%d", first, of)
                         : arena_printf(b->arena, "parts %d-%d/%d", first, last, of);
}

/* Row i takes the block, which nobody may have. */
static bool take_block(const struct builder *b, int i, int32_t layer, enum model_block block,
                       int32_t *owner, struct err *err)
{
    const struct placement_row *row = &b->placement->rows[i];

    if (*owner == NOWHERE) {
        *owner = i;
        return true;
    }
    return placement_bad(b->placement, row, column_of(row), err,
                         "layer %d, block %s is placed twice in replica %d of '%s', first in line "
                         "%ld",
                         layer, model_block_names[block], row->replica, row->service,
                         b->placement->rows[*owner].line);
}

static bool take_heads(const struct builder *b, int i, int32_t layer, const struct model *model,
                       int32_t *owners, struct err *err)
{
    const struct placement_row *row = &b->placement->rows[i];
    int32_t each = model->heads / row->part_of, end = (row->part_last + 1) * each;

    for (int32_t h = row->part_first * each; h < end; h++) {
        int32_t last = h, owner = owners[h];

        if (owner == NOWHERE) {
            owners[h] = i;
            continue;
        }
        while (last + 1 < end && owners[last + 1] == owner)
            last++;
        return placement_bad(b->placement, row, column_of(row), err,
                             "layer %d, block attn: %s placed twice in replica %d of '%s', "
                             "first in line %ld",
                             layer,
                             arena_printf(b->arena, "%s %s", parts_text(b, h, last, model->heads),
                                          h == last ? "is" : "are"),
                             row->replica, row->service, b->placement->rows[owner].line);
    }
    return true;
}

static bool take_row(const struct builder *b, int i, const struct model *model,
                     struct owners *layers, struct err *err)
{
    const struct placement_row *row = &b->placement->rows[i];
    int32_t first = row->layer_first < 0 ? 0 : row->layer_first;
    int32_t last = row->layer_first < 0 ? model->layers - 1 : row->layer_last;

    if (row->layer_first >= 0 && last >= model->layers)
        return placement_bad(b->placement, row, PLACEMENT_LAYERS, err,
                             "model '%s' has layers 0 to %d", model->name, model->layers - 1);
    if ((row->blocks & 1u << BLOCK_ATTN) && model->kv_heads % row->part_of != 0)
        return placement_bad(b->placement, row, PLACEMENT_PARTS, err,
                             "the %d %sheads of model '%s' do not divide into %d parts",
                             model->kv_heads, model->kv_heads < model->heads ? "KV " : "",
                             model->name, row->part_of);
    for (int32_t l = first; l <= last; l++) {
        struct owners *owners = &layers[l];

        if ((row->blocks & 1u << BLOCK_ATTN) && !take_heads(b, i, l, model, owners->heads, err))
            return false;
        if ((row->blocks & 1u << BLOCK_PROJ) &&
            !take_block(b, i, l, BLOCK_PROJ, &owners->projection, err))
            return false;
        if ((row->blocks & 1u << BLOCK_FFN_UP) &&
            !take_block(b, i, l, BLOCK_FFN_UP, &owners->ffn_up, err))
            return false;
        if ((row->blocks & 1u << BLOCK_FFN_DOWN) &&
            !take_block(b, i, l, BLOCK_FFN_DOWN, &owners->ffn_down, err))
            return false;
    }
    return true;
}

static bool hole(const struct builder *b, const struct placement_row *row, int32_t layer,
                 const char *what, struct err *err)
{
    return placement_bad(b->placement, row, PLACEMENT_REPLICA, err,
                         "layer %d, block %s of model '%s' %s placed nowhere in this replica of "
                         "'%s'",
                         layer, what, row->model, strstr(what, "parts") ? "are" : "is",
                         row->service);
}

/* No hole in the layer; its FFN on one device. row: the first of the replica. */
static bool check_layer(const struct builder *b, const struct placement_row *row, int32_t layer,
                        int32_t head_count, const struct owners *owners, struct err *err)
{
    for (int32_t h = 0; h < head_count; h++) {
        int32_t last = h;

        if (owners->heads[h] != NOWHERE)
            continue;
        while (last + 1 < head_count && owners->heads[last + 1] == NOWHERE)
            last++;
        return hole(b, row, layer,
                    arena_printf(b->arena, "attn, %s", parts_text(b, h, last, head_count)), err);
    }
    if (owners->projection == NOWHERE)
        return hole(b, row, layer, model_block_names[BLOCK_PROJ], err);
    if (owners->ffn_up == NOWHERE)
        return hole(b, row, layer, model_block_names[BLOCK_FFN_UP], err);
    if (owners->ffn_down == NOWHERE)
        return hole(b, row, layer, model_block_names[BLOCK_FFN_DOWN], err);
    if (b->device_of[owners->ffn_up] != b->device_of[owners->ffn_down])
        return placement_bad(b->placement, &b->placement->rows[owners->ffn_down], PLACEMENT_DEVICE,
                             err,
                             "--rules kafetzis has ffn on one device: ffn_up of layer %d is on "
                             "'%s'",
                             layer, b->placement->rows[owners->ffn_up].device);
    return true;
}

static void fill_layer(const struct builder *b, int32_t head_count, const struct owners *owners,
                       struct kafetzis_layer *layer)
{
    struct kafetzis_share *shares = arena_array(b->arena, (size_t)head_count, sizeof *shares);

    for (int32_t h = 0; h < head_count; h++) {
        int32_t device = b->device_of[owners->heads[h]], k = 0;

        while (k < layer->share_count && shares[k].device != device)
            k++;
        if (k == layer->share_count)
            shares[layer->share_count++].device = device;
        shares[k].heads++;
    }
    layer->shares = shares;
    layer->projection = b->device_of[owners->projection];
    layer->ffn = b->device_of[owners->ffn_up];
}

/* Devices that count: those of heads, projections and FFNs. */
static void list_devices(const struct builder *b, int32_t r, struct kafetzis_replica *replica)
{
    size_t count = (size_t)b->cluster->device_count;
    int32_t *devices = arena_array(b->arena, count, sizeof *devices);
    const struct placement_row **rows = arena_array(b->arena, count, sizeof *rows);
    const unsigned counted = 1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP;

    for (int i = b->placement->count - 1; i >= 0; i--)
        if (b->replica_of[i] == r && (b->placement->rows[i].blocks & counted))
            rows[b->device_of[i]] = &b->placement->rows[i];
    for (int32_t d = 0; d < b->cluster->device_count; d++)
        if (rows[d])
            devices[replica->device_count++] = d;
    replica->devices = devices;
    replica->rows = rows;
}

static bool has_stage(const struct builder *b, int32_t r, int32_t stage)
{
    for (int i = 0; i < b->placement->count; i++)
        if (b->replica_of[i] == r && b->placement->rows[i].stage == stage)
            return true;
    return false;
}

static bool check_stages(const struct builder *b, int32_t r, struct err *err)
{
    for (int i = 0; i < b->placement->count; i++) {
        const struct placement_row *row = &b->placement->rows[i];

        if (b->replica_of[i] == r && row->stage > 0 && !has_stage(b, r, row->stage - 1))
            return placement_bad(b->placement, row, PLACEMENT_STAGE, err,
                                 "replica %d of '%s' has no stage %d: stages count from 0 without "
                                 "gaps",
                                 row->replica, row->service, row->stage - 1);
    }
    return true;
}

static bool build_replica(const struct builder *b, int32_t r, struct err *err)
{
    struct kafetzis_replica *replica = &b->replicas[r];
    const struct model *model = b->services[replica->service].model;
    struct owners *owners = arena_array(b->arena, (size_t)model->layers, sizeof *owners);
    struct kafetzis_layer *layers = arena_array(b->arena, (size_t)model->layers, sizeof *layers);
    const struct placement_row *first = NULL;

    for (int32_t l = 0; l < model->layers; l++) {
        owners[l] =
            (struct owners){ arena_array(b->arena, (size_t)model->heads, sizeof *owners->heads),
                             NOWHERE, NOWHERE, NOWHERE };
        for (int32_t h = 0; h < model->heads; h++)
            owners[l].heads[h] = NOWHERE;
    }
    for (int i = 0; i < b->placement->count; i++) {
        if (b->replica_of[i] != r)
            continue;
        first = first ? first : &b->placement->rows[i];
        if (!take_row(b, i, model, owners, err))
            return false;
    }
    for (int32_t l = 0; l < model->layers; l++) {
        if (!check_layer(b, first, l, model->heads, &owners[l], err))
            return false;
        fill_layer(b, model->heads, &owners[l], &layers[l]);
    }
    replica->layer_count = model->layers;
    replica->layers = layers;
    list_devices(b, r, replica);
    return check_stages(b, r, err);
}

const struct kafetzis_plan *kafetzis_plan_build(struct arena *arena,
                                                const struct placement *placement,
                                                const struct cluster *cluster,
                                                struct model_catalogue *catalogue, struct err *err)
{
    struct builder b = { .arena = arena,
                         .placement = placement,
                         .cluster = cluster,
                         .catalogue = catalogue,
                         .plan = arena_alloc(arena, sizeof *b.plan) };
    size_t count = (size_t)placement->count;

    b.services = arena_array(arena, count, sizeof *b.services);
    b.replicas = arena_array(arena, count, sizeof *b.replicas);
    b.device_of = arena_array(arena, count, sizeof *b.device_of);
    b.replica_of = arena_array(arena, count, sizeof *b.replica_of);
    *b.plan = (struct kafetzis_plan){
        .cluster = cluster, .placement = placement, .services = b.services, .replicas = b.replicas
    };
    for (int i = 0; i < placement->count; i++)
        if (!refuse_unknown(&b, &placement->rows[i], err) ||
            !find_device(&b, &placement->rows[i], &b.device_of[i], err) || !place_row(&b, i, err))
            return NULL;
    for (int32_t r = 0; r < b.plan->replica_count; r++)
        if (!build_replica(&b, r, err))
            return NULL;
    return b.plan;
}
