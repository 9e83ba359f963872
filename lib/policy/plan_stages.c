/* plan_stages.c - rows of a replica as stages: one chain of them that every step passes, or one for
 * prompts and one for what is decoded behind them. */
#include "lib/policy/plan_internal.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "lib/policy/quantise.h"
#include "lib/policy/slices.h"
#include <stdlib.h>
#include <string.h>

struct chain { /* of stages that a step passes */
    const struct plan_replica *replica;
    enum placement_phase phase; /* both: of any step */
    int32_t copy;
    const char *which; /* of several chains, for errors; "" = there is one */
    const struct plan_placed *placed;
    int count; /* of placed */
    struct plan_stage *stages;
    int stage_count;
};

static int compare_placed(const void *a, const void *b)
{
    const struct plan_placed *x = a, *y = b;

    if (x->replica != y->replica)
        return x->replica < y->replica ? -1 : 1;
    if (x->row->stage != y->row->stage)
        return x->row->stage < y->row->stage ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Costs of the device's type, as the stage needs them. Costs may be absent (the runner). */
static bool check_costs(const struct plan_builder *b, const struct placement_row *row,
                        int32_t device, struct err *err)
{
    const struct cluster_device *d = &b->cluster->devices[device];
    const struct cost_table *table;

    if (!b->costs || (b->is_outline && row->executable[0] == '\0'))
        return row->executable[0] == '\0' ||
               placement_bad(b->placement, row, PLACEMENT_EXECUTABLE, err,
                             b->is_outline ? "--costs is missing: stages.csv says what it holds"
                                           : "a black box can be simulated, not run");
    table = cost_set_find(b->costs, d->type);
    if (!table)
        return err_at(err, arena_printf(b->arena, "%s/devices.csv", b->cluster->path), d->line, 0,
                      "device '%s' is of type '%s': no cost table of this type is given", d->name,
                      d->type);
    if (row->executable[0] == '\0')
        return cost_has_kernels(table) ||
               placement_bad(b->placement, row, PLACEMENT_MODEL, err,
                             "%s has no kernels.csv to cost a model with", cost_path(table));
    return cost_stage_count(table, row->executable) > 0 ||
           placement_bad(b->placement, row, PLACEMENT_EXECUTABLE, err,
                         "no such executable in %s/stages.csv", cost_path(table));
}

static bool add_device(const struct plan_builder *b, struct plan_stage *stage, int32_t *devices,
                       const struct plan_placed *placed, struct err *err)
{
    const struct placement_row *row = placed->row;
    bool is_known = false;

    for (int i = 0; i < stage->device_count; i++)
        is_known = is_known || devices[i] == placed->device;
    if (is_known && row->executable[0] != '\0')
        return placement_bad(b->placement, row, PLACEMENT_DEVICE, err,
                             "stage %d of replica %d of '%s' has this device already", row->stage,
                             row->replica, row->service);
    if (!is_known) {
        devices[stage->device_count++] = placed->device;
        return check_costs(b, row, placed->device, err);
    }
    return true;
}

static bool check_same(const struct plan_builder *b, const struct placement_row *row,
                       const struct placement_row *first, struct plan_stage *stage, struct err *err)
{
    if (strcmp(row->executable, first->executable) != 0)
        return placement_bad(b->placement, row, PLACEMENT_EXECUTABLE, err,
                             "line %ld of the same stage says '%s'", first->line,
                             first->executable);
    if (row->executable[0] != '\0' &&
        (row->layer_first != first->layer_first || row->layer_last != first->layer_last))
        return placement_bad(b->placement, row, PLACEMENT_LAYERS, err,
                             "line %ld of the same stage says otherwise", first->line);
    if (row->queue_depth != 0 && stage->queue_depth != 0 && row->queue_depth != stage->queue_depth)
        return placement_bad(b->placement, row, PLACEMENT_QUEUE_DEPTH, err,
                             "a row above of the same stage says %d", stage->queue_depth);
    if (row->queue_depth != 0)
        stage->queue_depth = row->queue_depth;
    if (row->max_batch != 0 && stage->max_batch != 0 && row->max_batch != stage->max_batch)
        return placement_bad(b->placement, row, PLACEMENT_MAX_BATCH, err,
                             "a row above of the same stage says %d", stage->max_batch);
    if (row->max_batch != 0)
        stage->max_batch = row->max_batch;
    if (row->wire_bits != 0 && stage->wire_bits != 0 && row->wire_bits != stage->wire_bits)
        return placement_bad(b->placement, row, PLACEMENT_WIRE_BITS, err,
                             "a row above of the same stage says %d", stage->wire_bits);
    if (row->wire_bits != 0)
        stage->wire_bits = row->wire_bits;
    return true;
}

/* Rows placed[0..count) are one stage. */
static bool build_stage(const struct plan_builder *b, struct plan_stage *stage,
                        const struct plan_placed *placed, int count, struct err *err)
{
    int32_t *devices = arena_array(b->arena, (size_t)count, sizeof *devices);
    const struct placement_row *row = placed->row;

    stage->replica = placed->replica;
    stage->number = row->stage;
    stage->row = row;
    stage->devices = devices;
    if (row->executable[0] != '\0') {
        stage->executable = row->executable;
        stage->exec_first = row->layer_first < 0 ? row->stage : row->layer_first;
        stage->exec_last = row->layer_first < 0 ? row->stage : row->layer_last;
    }
    for (int i = 0; i < count; i++)
        if (!check_same(b, placed[i].row, row, stage, err) ||
            !add_device(b, stage, devices, &placed[i], err))
            return false;
    return true;
}

/* Every device of the stage has a measured latency of each of its profiled stages. */
static bool check_profiled(const struct plan_builder *b, const struct plan_stage *stage,
                           enum placement_column column, struct err *err)
{
    for (int i = 0; i < stage->device_count; i++) {
        const struct cluster_device *device = &b->cluster->devices[stage->devices[i]];
        const struct cost_table *table = cost_set_find(b->costs, device->type);

        for (int32_t k = stage->exec_first; k <= stage->exec_last; k++) {
            const struct cost_stage *cost = cost_stage_first(table, stage->executable, k);

            if (!cost)
                return placement_bad(b->placement, stage->row, column, err,
                                     "%s/stages.csv has no profiled stage %d of '%s'",
                                     cost_path(table), k, stage->executable);
            if (cost->devices > 0 && cost->devices != stage->device_count)
                return placement_bad(b->placement, stage->row, PLACEMENT_DEVICE, err,
                                     "%s/stages.csv:%ld profiled stage %d of '%s' on %d devices, "
                                     "but here it stands on %d",
                                     cost_path(table), cost->line, k, stage->executable,
                                     cost->devices, stage->device_count);
        }
    }
    return true;
}

/* The profiled stages of one executable, each once and in order. */
static bool check_executable(const struct plan_builder *b, const struct chain *chain,
                             struct err *err)
{
    const struct plan_stage *first = chain->stages;
    const struct cluster_device *device = &b->cluster->devices[first->devices[0]];
    int count = cost_stage_count(cost_set_find(b->costs, device->type), first->executable);
    int32_t next = 0;

    for (int i = 0; i < chain->stage_count; i++) {
        const struct plan_stage *stage = &chain->stages[i];
        enum placement_column column =
            stage->row->layer_first < 0 ? PLACEMENT_STAGE : PLACEMENT_LAYERS;

        if (strcmp(stage->executable, first->executable) != 0)
            return placement_bad(b->placement, stage->row, PLACEMENT_EXECUTABLE, err,
                                 "line %ld says '%s': one executable a replica", first->row->line,
                                 first->executable);
        if (!check_profiled(b, stage, column, err))
            return false;
        if (stage->exec_first != next)
            return placement_bad(b->placement, stage->row, column, err,
                                 "expected profiled stage %d of '%s' to come next", next,
                                 first->executable);
        next = stage->exec_last + 1;
    }
    if (next < count)
        return placement_bad(b->placement, first->row, PLACEMENT_REPLICA, err,
                             "profiled stage %d of executable '%s' is placed nowhere in this "
                             "replica of '%s'",
                             next, first->executable, first->row->service);
    return true;
}

static bool check_model(const struct plan_builder *b, const struct chain *chain, struct err *err)
{
    size_t count = (size_t)chain->count;
    const struct placement_row **rows = arena_array(b->arena, count, sizeof *rows);
    int32_t *devices = arena_array(b->arena, count, sizeof *devices);
    struct slices_chain slices = { .placement = b->placement,
                                   .rows = rows,
                                   .devices = devices,
                                   .row_count = chain->count,
                                   .model = b->services[chain->replica->service].model,
                                   .stages = chain->stages,
                                   .stage_count = chain->stage_count,
                                   .is_decode = chain->phase == PLACEMENT_DECODE,
                                   .which = chain->which };

    for (int i = 0; i < chain->count; i++) {
        rows[i] = chain->placed[i].row;
        devices[i] = chain->placed[i].device;
    }
    return slices_build(b->arena, &slices, err);
}

/* What each stage sends to the next one in few bits, and what that takes their devices. */
static void link_stages(const struct plan_builder *b, struct plan_stage *stages, int count)
{
    for (int s = 0; s + 1 < count; s++) {
        const struct cluster_device *from = &b->cluster->devices[stages[s].devices[0]];
        const struct cluster_device *to = &b->cluster->devices[stages[s + 1].devices[0]];

        if (!quantise_applies(stages[s].wire_bits))
            continue;
        stages[s + 1].wire_bits_in = stages[s].wire_bits;
        stages[s].encode_value_ps = from->encode_value_ps > 0 ? from->encode_value_ps : 0;
        stages[s + 1].decode_value_ps = to->decode_value_ps > 0 ? to->decode_value_ps : 0;
    }
}

/* ---- chains ---- */

static bool is_of_phase(const struct placement_row *row, enum placement_phase phase)
{
    return phase == PLACEMENT_BOTH || row->phase == PLACEMENT_BOTH || row->phase == phase;
}

/* The rows of a chain: of each stage those of the copy, where it has such, else those of copy 0. */
static void select_rows(const struct plan_builder *b, const struct plan_placed *placed, int count,
                        struct chain *chain)
{
    struct plan_placed *chosen = arena_array(b->arena, (size_t)count, sizeof *chosen);
    int end;

    for (int begin = 0; begin < count; begin = end) {
        int32_t copy = 0;

        for (end = begin; end < count && placed[end].row->stage == placed[begin].row->stage; end++)
            if (is_of_phase(placed[end].row, chain->phase) && placed[end].row->copy == chain->copy)
                copy = chain->copy;
        for (int i = begin; i < end; i++)
            if (is_of_phase(placed[i].row, chain->phase) && placed[i].row->copy == copy)
                chosen[chain->count++] = placed[i];
    }
    chain->placed = chosen;
}

/* Alternatives alone are none. */
static bool check_first_copies(const struct plan_builder *b, const struct plan_placed *placed,
                               int count, const struct chain *chain, struct err *err)
{
    int end;

    for (int begin = 0; begin < count; begin = end) {
        const struct placement_row *alternative = NULL;
        bool has_first = false;

        for (end = begin; end < count && placed[end].row->stage == placed[begin].row->stage; end++)
            if (is_of_phase(placed[end].row, chain->phase) && placed[end].row->copy == 0)
                has_first = true;
            else if (is_of_phase(placed[end].row, chain->phase) && !alternative)
                alternative = placed[end].row;
        if (alternative && !has_first)
            return placement_bad(b->placement, alternative, PLACEMENT_COPY, err,
                                 "stage %d has no copy 0%s, of which others are alternatives",
                                 alternative->stage, chain->which);
    }
    return true;
}

static bool build_chain(const struct plan_builder *b, const struct plan_placed *placed, int count,
                        struct chain *chain, struct err *err)
{
    const struct placement_row *first = placed->row;
    int end;

    if (!check_first_copies(b, placed, count, chain, err))
        return false;
    select_rows(b, placed, count, chain);
    if (chain->count == 0)
        return placement_bad(b->placement, first, PLACEMENT_REPLICA, err,
                             "this replica of '%s' has no stage at all%s", first->service,
                             chain->which);
    for (int begin = 0; begin < chain->count; begin = end) {
        const struct placement_row *row = chain->placed[begin].row;

        for (end = begin; end < chain->count && chain->placed[end].row->stage == row->stage; end++)
            continue;
        if (row->stage != chain->stage_count)
            return placement_bad(b->placement, row, PLACEMENT_STAGE, err,
                                 "replica %d of '%s' has no stage %d%s: stages count from 0 "
                                 "without gaps",
                                 row->replica, row->service, chain->stage_count, chain->which);
        if (!build_stage(b, &chain->stages[chain->stage_count], &chain->placed[begin], end - begin,
                         err))
            return false;
        chain->stages[chain->stage_count].phase = chain->phase;
        chain->stages[chain->stage_count++].copy = row->copy;
    }
    link_stages(b, chain->stages, chain->stage_count);
    return b->services[chain->replica->service].model ? check_model(b, chain, err)
                                                      : check_executable(b, chain, err);
}

/* An alternative does what the stage does, so that any may stand for any. */
static bool check_copy(const struct plan_builder *b, const struct plan_stage *first,
                       const struct plan_stage *copy, struct err *err)
{
    if (copy->blocks_begin == first->blocks_begin && copy->blocks_end == first->blocks_end &&
        copy->exec_first == first->exec_first && copy->exec_last == first->exec_last &&
        copy->wire_bits == first->wire_bits && copy->max_batch == first->max_batch &&
        copy->queue_depth == first->queue_depth)
        return true;
    return placement_bad(b->placement, copy->row, PLACEMENT_COPY, err,
                         "line %ld holds copy %d of this stage: alternatives hold the same blocks "
                         "and agree in queue_depth, max_batch and wire_bits",
                         first->row->line, first->copy);
}

/* The stages of the chain that have that copy, as alternatives of those of copy 0. */
static bool add_copies(struct plan_builder *b, const struct plan_placed *placed, int count,
                       const struct chain *of, int32_t copy, struct err *err)
{
    struct chain chain = { .replica = of->replica,
                           .phase = of->phase,
                           .copy = copy,
                           .which = arena_printf(b->arena, "%s, copy %d", of->which, copy) };

    chain.stages = arena_array(b->arena, (size_t)of->stage_count + 1, sizeof *chain.stages);
    if (!build_chain(b, placed, count, &chain, err))
        return false;
    for (int s = 0; s < chain.stage_count; s++) {
        struct plan_stage *first = &of->stages[s], *added = &b->stages[b->stage_count];
        const struct plan_stage **copies;

        if (chain.stages[s].copy != copy)
            continue;
        if (!check_copy(b, first, &chain.stages[s], err))
            return false;
        copies = arena_array(b->arena, (size_t)first->copy_count + 1, sizeof *copies);
        memcpy(copies, first->copies, (size_t)first->copy_count * sizeof *copies);
        *added = chain.stages[s];
        added->id = b->stage_count++;
        copies[first->copy_count++] = added;
        first->copies = copies;
    }
    return true;
}

static int compare_copies(const void *a, const void *b)
{
    const int32_t *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static bool build_copies(struct plan_builder *b, const struct plan_placed *placed, int count,
                         const struct chain *chain, struct err *err)
{
    int32_t *copies = arena_array(b->arena, (size_t)count, sizeof *copies);
    int copy_count = 0;

    for (int i = 0; i < count; i++)
        if (is_of_phase(placed[i].row, chain->phase) && placed[i].row->copy > 0)
            copies[copy_count++] = placed[i].row->copy;
    qsort(copies, (size_t)copy_count, sizeof *copies, compare_copies);
    for (int i = 0; i < copy_count; i++)
        if ((i == 0 || copies[i] != copies[i - 1]) &&
            !add_copies(b, placed, count, chain, copies[i], err))
            return false;
    return true;
}

static void take_ids(struct plan_builder *b, const struct chain *chain)
{
    for (int s = 0; s < chain->stage_count; s++) {
        struct plan_stage *stage = &chain->stages[s];
        const struct plan_stage **copies = arena_array(b->arena, 1, sizeof *copies);

        stage->id = b->stage_count++;
        copies[0] = stage;
        stage->copies = copies;
        stage->copy_count = 1;
    }
}

/* Rows placed[0..count) are one replica; its stages go to b->stages from b->stage_count on: those
 * of prompts, those of decode steps, further copies of both. */
static bool build_replica(struct plan_builder *b, const struct plan_placed *placed, int count,
                          struct err *err)
{
    struct plan_replica *replica = &b->replicas[placed->replica];
    struct chain first = { .replica = replica, .which = "" }, decode;
    int from = b->stage_count;
    bool is_split = false;

    for (int i = 0; i < count; i++)
        is_split = is_split || placed[i].row->phase != PLACEMENT_BOTH;
    first.stages = &b->stages[from];
    if (is_split) {
        first.phase = PLACEMENT_PREFILL;
        first.which = ", phase prefill";
    }
    if (!build_chain(b, placed, count, &first, err))
        return false;
    take_ids(b, &first);
    decode = first;
    if (is_split) {
        decode = (struct chain){ .replica = replica,
                                 .phase = PLACEMENT_DECODE,
                                 .which = ", phase decode",
                                 .stages = &b->stages[b->stage_count] };
        if (!build_chain(b, placed, count, &decode, err))
            return false;
        take_ids(b, &decode);
    }
    if (!build_copies(b, placed, count, &first, err) ||
        (is_split && !build_copies(b, placed, count, &decode, err)))
        return false;
    replica->stages = first.stages;
    replica->stage_count = first.stage_count;
    replica->decode_stages = decode.stages;
    replica->decode_count = decode.stage_count;
    replica->total_count = b->stage_count - from;
    if (is_split)
        plan_moves_find(b->arena, b->services[replica->service].model, replica);
    return true;
}

bool plan_stages_build(struct plan_builder *b, struct err *err)
{
    int count = b->placement->count, end;

    qsort(b->placed, (size_t)count, sizeof *b->placed, compare_placed);
    for (int begin = 0; begin < count; begin = end) {
        for (end = begin; end < count && b->placed[end].replica == b->placed[begin].replica; end++)
            continue;
        if (!build_replica(b, &b->placed[begin], end - begin, err))
            return false;
    }
    return true;
}
