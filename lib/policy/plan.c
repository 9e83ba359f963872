/* plan.c - puts the rows of a placement together: services, replicas, stages, devices.
 *
 * Rows are sorted by (replica, stage, line); a stage is a run of equal (replica, stage). What the
 * slices of a replica cover is checked in slices.c, what a request needs in plan_match.c. */
#include "lib/policy/plan.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/names.h"
#include "lib/format/placement.h"
#include "lib/policy/quantise.h"
#include "lib/policy/slices.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct placed { /* a row with its names resolved */
    const struct placement_row *row;
    int32_t replica, device, epoch;
};

struct builder {
    struct arena *arena;
    const struct placement *placement;
    const struct cluster *cluster;
    const struct cost_set *costs;
    struct model_catalogue *catalogue;
    struct names *service_names;
    struct plan_service *services;
    const struct placement_row **first_rows; /* of each service */
    struct plan_replica *replicas;
    int replica_count;
    struct placed *placed; /* as many as rows */
    struct plan_epoch *epochs;
    int epoch_count;
    struct plan_stage *stages;
    int stage_count;
    bool is_outline; /* takes what this version neither simulates nor runs; no slices */
};

/* ---- one row ---- */

/* What the format knows and this version does not do yet: never ignored, always said. */
static bool check_supported(const struct builder *b, const struct placement_row *row,
                            struct err *err)
{
    if (row->phase != PLACEMENT_BOTH)
        return placement_bad(b->placement, row, PLACEMENT_PHASE, err,
                             "this version runs prefill and decode in the same place");
    if (row->copy > 0)
        return placement_bad(b->placement, row, PLACEMENT_COPY, err,
                             "this version knows no alternatives of a stage, only copy 0");
    if (quantise_applies(row->wire_bits) && !b->costs)
        return placement_bad(b->placement, row, PLACEMENT_WIRE_BITS, err,
                             "this can be simulated, not run: expected 32");
    return true;
}

static bool find_device(const struct builder *b, const struct placement_row *row, int32_t *device,
                        struct err *err)
{
    const struct cluster *cluster = b->cluster;
    const char **known, *closest;

    *device = cluster_find_device(cluster, row->device);
    if (*device >= 0)
        return true;
    known = arena_array(b->arena, (size_t)cluster->device_count, sizeof *known);
    for (int i = 0; i < cluster->device_count; i++)
        known[i] = cluster->devices[i].name;
    closest = err_closest(row->device, known, cluster->device_count);
    return placement_bad(b->placement, row, PLACEMENT_DEVICE, err,
                         "no such device in %s/devices.csv%s%s%s", cluster->path,
                         closest ? "; did you mean '" : "", closest ? closest : "",
                         closest ? "'?" : "");
}

/* ---- epochs ---- */

static int compare_epochs(const void *a, const void *b)
{
    const struct placement_row *x = *(const struct placement_row *const *)a;
    const struct placement_row *y = *(const struct placement_row *const *)b;

    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Epochs in order of number: each starts after the one before, and all its rows say when. */
static bool list_epochs(struct builder *b, struct err *err)
{
    int count = b->placement->count;
    const struct placement_row **rows = arena_array(b->arena, (size_t)count, sizeof *rows);

    for (int i = 0; i < count; i++)
        rows[i] = &b->placement->rows[i];
    qsort(rows, (size_t)count, sizeof *rows, compare_epochs);
    b->epochs = arena_array(b->arena, (size_t)count, sizeof *b->epochs);
    for (int i = 0; i < count; i++) {
        struct plan_epoch *last = &b->epochs[b->epoch_count - 1];

        if (b->epoch_count > 0 && last->number == rows[i]->epoch) {
            if (rows[i]->from_ps != last->from_ps)
                return placement_bad(b->placement, rows[i], PLACEMENT_FROM_S, err,
                                     "line %ld of the same epoch says otherwise",
                                     rows[i - 1]->line);
            continue;
        }
        if (b->epoch_count == 0 && rows[i]->from_ps != 0)
            return placement_bad(b->placement, rows[i], PLACEMENT_FROM_S, err,
                                 "the first epoch starts at 0");
        if (b->epoch_count > 0 && rows[i]->from_ps <= last->from_ps)
            return placement_bad(b->placement, rows[i], PLACEMENT_FROM_S, err,
                                 "must be after the start of epoch %d", last->number);
        b->epochs[b->epoch_count++] =
            (struct plan_epoch){ .number = rows[i]->epoch, .from_ps = rows[i]->from_ps };
    }
    return true;
}

static int32_t find_epoch(const struct builder *b, int32_t number)
{
    int low = 0, high = b->epoch_count - 1;

    while (low < high) {
        int middle = low + (high - low) / 2;

        if (b->epochs[middle].number < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- services and replicas ---- */

static bool add_service(struct builder *b, const struct placement_row *row, int32_t service,
                        struct err *err)
{
    struct err detail = ERR_INIT;
    struct plan_service *s = &b->services[service];

    b->first_rows[service] = row;
    s->name = row->service;
    if (row->model[0] == '\0')
        return true;
    s->model = model_find(b->catalogue, row->model, &detail);
    return s->model || err_at(err, b->placement->path, row->line,
                              b->placement->column[PLACEMENT_MODEL], "%s", detail.text);
}

static bool check_service(const struct builder *b, const struct placement_row *row,
                          const struct placement_row *first, struct err *err)
{
    bool is_model = row->model[0] != '\0';

    if (is_model != (first->model[0] != '\0'))
        return placement_bad(b->placement, row, is_model ? PLACEMENT_MODEL : PLACEMENT_EXECUTABLE,
                             err,
                             "line %ld places service '%s' by %s: a service has a model or "
                             "executables, not both",
                             first->line, row->service, is_model ? "executable" : "model");
    if (strcmp(row->model, first->model) != 0)
        return placement_bad(b->placement, row, PLACEMENT_MODEL, err,
                             "line %ld says '%s': one model a service", first->line, first->model);
    return true;
}

static bool resolve_rows(struct builder *b, struct err *err)
{
    struct names *replica_names = names_create(b->arena);
    char key[48];

    for (int i = 0; i < b->placement->count; i++) {
        const struct placement_row *row = &b->placement->rows[i];
        int32_t known = names_count(b->service_names);
        int32_t service = names_put(b->service_names, row->service);
        struct placed *placed = &b->placed[i];

        placed->row = row;
        if ((!b->is_outline && !check_supported(b, row, err)) ||
            !find_device(b, row, &placed->device, err))
            return false;
        if (service == known ? !add_service(b, row, service, err)
                             : !check_service(b, row, b->first_rows[service], err))
            return false;
        placed->epoch = find_epoch(b, row->epoch);
        (void)snprintf(key, sizeof key, "%d/%d/%d", placed->epoch, service, row->replica);
        placed->replica = names_put(replica_names, key);
        b->replicas[placed->replica].epoch = placed->epoch;
        b->replicas[placed->replica].service = service;
        b->replicas[placed->replica].number = row->replica;
    }
    b->replica_count = names_count(replica_names);
    return true;
}

struct listed { /* a replica, to be sorted */
    int32_t service, epoch, replica;
};

static int compare_listed(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;

    if (x->service != y->service)
        return x->service < y->service ? -1 : 1;
    if (x->epoch != y->epoch)
        return x->epoch < y->epoch ? -1 : 1;
    return (x->replica > y->replica) - (x->replica < y->replica);
}

/* Epoch by epoch, in file order. */
static void list_replicas(struct builder *b)
{
    size_t count = (size_t)b->replica_count;
    struct listed *listed = arena_array(b->arena, count, sizeof *listed);
    int32_t *replicas = arena_array(b->arena, count, sizeof *replicas);
    int32_t *first =
        arena_array(b->arena, (size_t)names_count(b->service_names) * ((size_t)b->epoch_count + 1),
                    sizeof *first);
    size_t at = 0;

    for (int32_t i = 0; i < b->replica_count; i++)
        listed[i] = (struct listed){ b->replicas[i].service, b->replicas[i].epoch, i };
    qsort(listed, count, sizeof *listed, compare_listed);
    for (int32_t s = 0; s < names_count(b->service_names); s++, first += b->epoch_count + 1) {
        struct plan_service *service = &b->services[s];

        service->replicas = &replicas[at];
        service->epoch_first = first;
        for (int32_t e = 0; e < b->epoch_count; e++) {
            first[e] = service->replica_count;
            for (; at < count && listed[at].service == s && listed[at].epoch == e; at++) {
                replicas[at] = listed[at].replica;
                service->replica_count++;
            }
        }
        first[b->epoch_count] = service->replica_count;
    }
}

static void list_epoch_replicas(struct builder *b)
{
    int32_t *replicas = arena_array(b->arena, (size_t)b->replica_count, sizeof *replicas);
    int32_t *next = arena_array(b->arena, (size_t)b->epoch_count, sizeof *next);
    int32_t at = 0;

    for (int r = 0; r < b->replica_count; r++)
        b->epochs[b->replicas[r].epoch].replica_count++;
    for (int e = 0; e < b->epoch_count; e++) {
        b->epochs[e].replicas = &replicas[at];
        next[e] = at;
        at += b->epochs[e].replica_count;
    }
    for (int32_t r = 0; r < b->replica_count; r++)
        replicas[next[b->replicas[r].epoch]++] = r;
}

/* ---- stages ---- */

static int compare_placed(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;

    if (x->replica != y->replica)
        return x->replica < y->replica ? -1 : 1;
    if (x->row->stage != y->row->stage)
        return x->row->stage < y->row->stage ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Costs of the device's type, as the stage needs them. Costs may be absent (the runner). */
static bool check_costs(const struct builder *b, const struct placement_row *row, int32_t device,
                        struct err *err)
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

static bool add_device(const struct builder *b, struct plan_stage *stage, int32_t *devices,
                       const struct placed *placed, struct err *err)
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

static bool check_same(const struct builder *b, const struct placement_row *row,
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
static bool build_stage(const struct builder *b, struct plan_stage *stage,
                        const struct placed *placed, int count, struct err *err)
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
static bool check_profiled(const struct builder *b, const struct plan_stage *stage,
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
static bool check_executable(const struct builder *b, const struct plan_replica *replica,
                             struct err *err)
{
    const struct plan_stage *first = replica->stages;
    const struct cluster_device *device = &b->cluster->devices[first->devices[0]];
    int count = cost_stage_count(cost_set_find(b->costs, device->type), first->executable);
    int32_t next = 0;

    for (int i = 0; i < replica->stage_count; i++) {
        const struct plan_stage *stage = &replica->stages[i];
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

static bool check_model(const struct builder *b, const struct plan_replica *replica,
                        struct plan_stage *stages, const struct placed *placed, int count,
                        struct err *err)
{
    const struct placement_row **rows = arena_array(b->arena, (size_t)count, sizeof *rows);
    int32_t *devices = arena_array(b->arena, (size_t)count, sizeof *devices);
    struct slices_chain chain = { .placement = b->placement,
                                  .rows = rows,
                                  .devices = devices,
                                  .row_count = count,
                                  .model = b->services[replica->service].model,
                                  .stages = stages,
                                  .stage_count = replica->stage_count };

    for (int i = 0; i < count; i++) {
        rows[i] = placed[i].row;
        devices[i] = placed[i].device;
    }
    return slices_build(b->arena, &chain, err);
}

/* What each stage sends to the next one in few bits, and what that takes their devices. */
static void link_stages(const struct builder *b, struct plan_stage *stages, int count)
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

/* Rows placed[0..count) are one replica; its stages go to b->stages from b->stage_count on. */
static bool build_replica(struct builder *b, const struct placed *placed, int count,
                          struct err *err)
{
    struct plan_replica *replica = &b->replicas[placed->replica];
    struct plan_stage *stages = &b->stages[b->stage_count];
    int end;

    replica->stages = stages;
    for (int begin = 0; begin < count; begin = end) {
        const struct placement_row *row = placed[begin].row;

        for (end = begin; end < count && placed[end].row->stage == row->stage; end++)
            continue;
        if (row->stage != replica->stage_count)
            return placement_bad(b->placement, row, PLACEMENT_STAGE, err,
                                 "replica %d of '%s' has no stage %d: stages count from 0 without "
                                 "gaps",
                                 row->replica, row->service, replica->stage_count);
        stages[replica->stage_count].id = b->stage_count++;
        if (!build_stage(b, &stages[replica->stage_count++], &placed[begin], end - begin, err))
            return false;
    }
    link_stages(b, stages, replica->stage_count);
    if (b->services[replica->service].model)
        return b->is_outline || check_model(b, replica, stages, placed, count, err);
    return check_executable(b, replica, err);
}

static bool build_replicas(struct builder *b, struct err *err)
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

/* ---- the plan ---- */

static const struct cluster *imply_cluster(struct arena *arena, const struct placement *placement,
                                           const struct cost_set *costs, struct err *err)
{
    const char **names = arena_array(arena, (size_t)placement->count, sizeof *names);

    if (costs && costs->count != 1) {
        (void)err_set(err, ERR_USAGE,
                      "costs of %d device types are given ('%s', '%s'%s): give the folder of one "
                      "of them, or a cluster that says which device is of which type",
                      costs->count, cost_type(costs->tables[0]), cost_type(costs->tables[1]),
                      costs->count > 2 ? ", ..." : "");
        return NULL;
    }
    for (int i = 0; i < placement->count; i++) {
        const struct placement_row *row = &placement->rows[i];

        if (strcmp(row->device, CLUSTER_SOURCE) == 0 || strcmp(row->device, "*") == 0) {
            (void)placement_bad(placement, row, PLACEMENT_DEVICE, err,
                                "this name stands for something else in links.csv");
            return NULL;
        }
        names[i] = row->device;
    }
    return cluster_implied(arena, names, placement->count,
                           costs ? cost_type(costs->tables[0]) : "");
}

static const struct plan *build(struct arena *arena, const struct placement *placement,
                                const struct cluster *cluster, const struct cost_set *costs,
                                struct model_catalogue *catalogue, bool is_outline, struct err *err)
{
    size_t count = (size_t)placement->count;
    struct plan *plan = arena_alloc(arena, sizeof *plan);
    const struct plan_stage **stages = arena_array(arena, count, sizeof *stages);
    struct builder b = { 0 };

    b.arena = arena;
    b.placement = placement;
    b.cluster = cluster ? cluster : imply_cluster(arena, placement, costs, err);
    if (!b.cluster)
        return NULL;
    b.costs = costs;
    b.catalogue = catalogue;
    b.is_outline = is_outline;
    b.service_names = names_create(arena);
    b.services = arena_array(arena, count, sizeof *b.services);
    b.first_rows = arena_array(arena, count, sizeof *b.first_rows);
    b.replicas = arena_array(arena, count, sizeof *b.replicas);
    b.placed = arena_array(arena, count, sizeof *b.placed);
    b.stages = arena_array(arena, count, sizeof *b.stages);
    if (!list_epochs(&b, err) || !resolve_rows(&b, err) || !build_replicas(&b, err))
        return NULL;
    list_replicas(&b);
    list_epoch_replicas(&b);
    for (int i = 0; i < b.stage_count; i++)
        stages[i] = &b.stages[i];
    plan->cluster = b.cluster;
    plan->epoch_count = b.epoch_count;
    plan->epochs = b.epochs;
    plan->service_count = names_count(b.service_names);
    plan->replica_count = b.replica_count;
    plan->stage_count = b.stage_count;
    plan->services = b.services;
    plan->service_names = b.service_names;
    plan->replicas = b.replicas;
    plan->stages = stages;
    return plan;
}

const struct plan *plan_build(struct arena *arena, const struct placement *placement,
                              const struct cluster *cluster, const struct cost_set *costs,
                              struct model_catalogue *catalogue, struct err *err)
{
    return build(arena, placement, cluster, costs, catalogue, false, err);
}

const struct plan *plan_outline(struct arena *arena, const struct placement *placement,
                                const struct cluster *cluster, const struct cost_set *costs,
                                struct model_catalogue *catalogue, struct err *err)
{
    return build(arena, placement, cluster, costs, catalogue, true, err);
}
