/* footprint_collect.c - from the stages of a plan to what each of them holds on each device. */
#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/policy/footprint.h"
#include "lib/policy/plan.h"
#include <stdlib.h>

struct collector {
    struct arena *arena;
    const struct plan *plan;
    const struct cost_set *costs;
    struct footprint *footprint;
};

/* What rows for both phases hold counts once, in the stage of prompts. */
static bool counts(const struct plan_slice *slice, int32_t device)
{
    return slice->device == device && !slice->is_shared;
}

static void add_slices(const struct collector *c, const struct plan_stage *stage,
                       struct footprint_part *part)
{
    const struct model *model = c->plan->services[part->service].model;

    part->weight_bytes = plan_stage_weight_bytes(c->plan, stage, part->device);
    part->slices =
        arena_array(c->arena, (size_t)stage->slice_count + 1, sizeof(struct footprint_slice));
    for (int i = 0; i < stage->slice_count; i++) {
        const struct plan_slice *slice = &stage->slices[i];

        if (!counts(slice, part->device))
            continue;
        part->slices[part->slice_count++] =
            (struct footprint_slice){ slice->blocks, plan_slice_part(slice) };
        if (slice->blocks & 1u << BLOCK_ATTN)
            part->kv_bytes_per_token +=
                (slice->layer_last - slice->layer_first + 1) *
                model_part_kv_bytes_per_token(model, plan_slice_part(slice));
    }
}

static void add_part(const struct collector *c, const struct plan_stage *stage, int32_t device)
{
    const struct plan *plan = c->plan;
    const struct plan_replica *replica = &plan->replicas[stage->replica];
    struct footprint_part part = { .device = device,
                                   .epoch = replica->epoch,
                                   .service = replica->service,
                                   .replica = stage->replica,
                                   .stage = stage };

    if (stage->executable)
        part.table = cost_set_find(c->costs, plan->cluster->devices[device].type);
    else
        add_slices(c, stage, &part);
    if (stage->executable || part.slice_count > 0)
        c->footprint->parts[c->footprint->part_count++] = part;
}

static int compare_parts(const void *a, const void *b)
{
    const struct footprint_part *x = a, *y = b;

    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    if (x->replica != y->replica)
        return x->replica < y->replica ? -1 : 1;
    return (x->stage->id > y->stage->id) - (x->stage->id < y->stage->id);
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

const struct footprint *footprint_collect(struct arena *arena, const struct plan *plan,
                                          const struct cost_set *costs)
{
    struct collector c = { .arena = arena, .plan = plan, .costs = costs };
    size_t count = 0;

    for (int i = 0; i < plan->stage_count; i++)
        count += (size_t)plan->stages[i]->device_count;
    c.footprint = arena_alloc(arena, sizeof(*c.footprint));
    c.footprint->plan = plan;
    c.footprint->parts = arena_array(arena, count, sizeof(*c.footprint->parts));
    for (int i = 0; i < plan->stage_count; i++)
        for (int k = 0; k < plan->stages[i]->device_count; k++)
            add_part(&c, plan->stages[i], plan->stages[i]->devices[k]);
    qsort(c.footprint->parts, (size_t)c.footprint->part_count, sizeof(*c.footprint->parts),
          compare_parts);
    index_parts(&c);
    return c.footprint;
}
