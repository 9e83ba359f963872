/* footprint_collect.c - from the rows of a placement to what each stage of each replica holds on
 * each device. */
#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/names.h"
#include "lib/format/placement.h"
#include "lib/policy/footprint.h"
#include "lib/policy/plan.h"
#include "lib/policy/tiling.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct held { /* a row and where it belongs */
    const struct placement_row *row;
    int32_t device, epoch, replica;
};

struct collector {
    struct arena *arena;
    const struct placement *placement;
    const struct plan *plan;
    const struct cost_set *costs;
    struct held *held; /* as many as rows */
    int count;
    int32_t *norms; /* by row, of tiling_check */
    struct footprint *footprint;
};

#define KEY_BYTES 48
static const char *key_of(int32_t epoch, int32_t service, int32_t replica, char text[KEY_BYTES])
{
    (void)snprintf(text, KEY_BYTES, "%d/%d/%d", epoch, service, replica);
    return text;
}

/* The plan has found every row in order: nothing here can be missing. */
static void resolve(struct collector *c)
{
    const struct plan *plan = c->plan;
    struct names *replicas = names_create(c->arena);
    char key[KEY_BYTES];

    for (int32_t r = 0; r < plan->replica_count; r++)
        (void)names_put(replicas, key_of(plan->epochs[plan->replicas[r].epoch].number,
                                         plan->replicas[r].service, plan->replicas[r].number, key));
    for (int i = 0; i < c->count; i++) {
        const struct placement_row *row = &c->placement->rows[i];
        int32_t service = plan_find_service(plan, row->service);
        int32_t replica = names_find(replicas, key_of(row->epoch, service, row->replica, key));

        assert(replica >= 0);
        c->held[i] = (struct held){ row, cluster_find_device(plan->cluster, row->device),
                                    plan->replicas[replica].epoch, replica };
    }
}

/* ---- tiling ---- */

static int compare_replicas(const void *a, const void *b)
{
    const struct held *x = a, *y = b;

    if (x->replica != y->replica)
        return x->replica < y->replica ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static bool check_tiling(struct collector *c, struct err *err)
{
    const struct placement_row **rows = arena_array(c->arena, (size_t)c->count, sizeof(*rows));

    qsort(c->held, (size_t)c->count, sizeof(*c->held), compare_replicas);
    for (int i = 0, next; i < c->count; i = next) {
        const struct plan_replica *replica = &c->plan->replicas[c->held[i].replica];
        struct tiling tiling = { .placement = c->placement,
                                 .model = c->plan->services[replica->service].model,
                                 .rows = rows };

        for (next = i; next < c->count && c->held[next].replica == c->held[i].replica; next++)
            rows[tiling.row_count++] = c->held[next].row;
        if (tiling.model && !tiling_check(c->arena, &tiling, c->norms, err))
            return false;
    }
    return true;
}

/* ---- parts ---- */

static int compare_held(const void *a, const void *b)
{
    const struct held *x = a, *y = b;

    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    if (x->replica != y->replica)
        return x->replica < y->replica ? -1 : 1;
    if (x->row->stage != y->row->stage)
        return x->row->stage < y->row->stage ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

static int32_t layers_of(const struct model *model, const struct placement_row *row)
{
    return row->layer_first < 0 ? model->layers : row->layer_last - row->layer_first + 1;
}

static int64_t plus(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* has_embed: the replica has its embedding on this device, so that a tied matrix is there. */
static int64_t row_weight_bytes(const struct collector *c, const struct model *model,
                                const struct placement_row *row, bool has_embed)
{
    const struct model_part part = { row->part_first, row->part_last, row->part_of };
    int64_t norm_bytes = model_block_weight_bytes(model, BLOCK_CONN) / 2;
    int64_t bytes = c->norms[row - c->placement->rows] * norm_bytes;

    for (int block = 0; block < BLOCK_COUNT; block++) {
        bool is_end = block == BLOCK_EMBED || block == BLOCK_LM_HEAD;

        if (row->blocks & 1u << block)
            bytes = plus(bytes, (is_end ? 1 : layers_of(model, row)) *
                                    model_part_weight_bytes(model, (enum model_block)block, part));
    }
    if (has_embed && row->blocks & 1u << BLOCK_LM_HEAD)
        bytes -= model_part_tied_bytes(model, part);
    return bytes;
}

static bool is_same_replica(const struct held *a, const struct held *b)
{
    return a->device == b->device && a->replica == b->replica;
}

static bool has_embed(const struct collector *c, int index)
{
    int first = index;

    while (first > 0 && is_same_replica(&c->held[first - 1], &c->held[index]))
        first--;
    for (int i = first; i < c->count && is_same_replica(&c->held[i], &c->held[index]); i++)
        if (c->held[i].row->blocks & 1u << BLOCK_EMBED)
            return true;
    return false;
}

static void add_row(const struct collector *c, struct footprint_part *part, int index)
{
    const struct placement_row *row = c->held[index].row;
    const struct model *model = c->plan->services[part->service].model;
    const struct model_part slice = { row->part_first, row->part_last, row->part_of };
    bool is_tied = row->blocks & 1u << BLOCK_LM_HEAD && has_embed(c, index);

    part->weight_bytes = plus(part->weight_bytes, row_weight_bytes(c, model, row, is_tied));
    if (row->blocks & 1u << BLOCK_ATTN)
        part->kv_bytes_per_token =
            plus(part->kv_bytes_per_token,
                 layers_of(model, row) * model_part_kv_bytes_per_token(model, slice));
    part->slices[part->slice_count++] = (struct footprint_slice){ row->blocks, slice };
}

static void add_executable(const struct collector *c, struct footprint_part *part)
{
    const struct cluster_device *device = &c->plan->cluster->devices[part->device];

    part->executable = &c->plan->replicas[part->replica].stages[part->stage];
    part->table = cost_set_find(c->costs, device->type);
}

static void fill_parts(struct collector *c)
{
    struct footprint *footprint = c->footprint;
    size_t count = (size_t)c->count;
    struct footprint_slice *slices = arena_array(c->arena, count, sizeof(*slices));

    qsort(c->held, count, sizeof(*c->held), compare_held);
    footprint->parts = arena_array(c->arena, count, sizeof(*footprint->parts));
    for (int i = 0, next; i < c->count; i = next) {
        const struct held *held = &c->held[i];
        struct footprint_part *part = &footprint->parts[footprint->part_count++];

        *part = (struct footprint_part){ .device = held->device,
                                         .epoch = held->epoch,
                                         .service = c->plan->replicas[held->replica].service,
                                         .replica = held->replica,
                                         .stage = held->row->stage,
                                         .slices = &slices[i] };
        if (held->row->executable[0] != '\0')
            add_executable(c, part);
        for (next = i; next < c->count && is_same_replica(held, &c->held[next]) &&
                       c->held[next].row->stage == part->stage;
             next++)
            if (!part->executable)
                add_row(c, part, next);
    }
}

static void index_parts(struct collector *c)
{
    struct footprint *footprint = c->footprint;
    int device_count = c->plan->cluster->device_count, at = 0;

    footprint->first_parts =
        arena_array(c->arena, (size_t)device_count + 1, sizeof(*footprint->first_parts));
    for (int d = 0; d < device_count; d++) {
        footprint->first_parts[d] = at;
        while (at < footprint->part_count && footprint->parts[at].device == d)
            at++;
    }
    footprint->first_parts[device_count] = at;
}

const struct footprint *footprint_collect(struct arena *arena, const struct placement *placement,
                                          const struct plan *plan, const struct cost_set *costs,
                                          struct err *err)
{
    size_t count = (size_t)placement->count;
    struct collector c = { .arena = arena,
                           .placement = placement,
                           .plan = plan,
                           .costs = costs,
                           .count = placement->count };

    c.held = arena_array(arena, count, sizeof(*c.held));
    c.norms = arena_array(arena, count, sizeof(*c.norms));
    c.footprint = arena_alloc(arena, sizeof(*c.footprint));
    c.footprint->plan = plan;
    resolve(&c);
    if (!check_tiling(&c, err))
        return NULL;
    fill_parts(&c);
    index_parts(&c);
    return c.footprint;
}
