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
#include "lib/policy/plan_internal.h"
#include "lib/policy/quantise.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one row ---- */

/* What the format knows and this version does not do yet: never ignored, always said. */
static bool check_phase(const struct plan_builder *b, const struct placement_row *row,
                        const struct plan_service *service, struct err *err)
{
    if (row->phase == PLACEMENT_BOTH)
        return true;
    if (!service->model)
        return placement_bad(b->placement, row, PLACEMENT_PHASE, err,
                             "an executable makes one pass: expected both");
    if (service->model->kind != MODEL_DECODER)
        return placement_bad(b->placement, row, PLACEMENT_PHASE, err,
                             "model '%s' is no decoder and makes one pass: expected both",
                             service->model->name);
    return true;
}

static bool find_device(const struct plan_builder *b, const struct placement_row *row,
                        int32_t *device, struct err *err)
{
    const struct cluster *cluster = b->cluster;
    bool from_file = cluster->path && cluster->path[0] != '\0';
    const char **known, *closest;

    *device = cluster_find_device(cluster, row->device);
    if (*device >= 0)
        return true;
    known = arena_array(b->arena, (size_t)cluster->device_count, sizeof *known);
    for (int i = 0; i < cluster->device_count; i++)
        known[i] = cluster->devices[i].name;
    closest = err_closest(row->device, known, cluster->device_count);
    return placement_bad(b->placement, row, PLACEMENT_DEVICE, err, "no such device in %s%s%s%s%s",
                         from_file ? cluster->path : "the run", from_file ? "/devices.csv" : "",
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
static bool list_epochs(struct plan_builder *b, struct err *err)
{
    int count = b->placement->count;
    const struct placement_row **rows = arena_array(b->arena, (size_t)count, sizeof *rows);
    struct plan_epoch *epochs;

    for (int i = 0; i < count; i++)
        rows[i] = &b->placement->rows[i];
    qsort(rows, (size_t)count, sizeof *rows, compare_epochs);
    epochs = arena_array(b->arena, (size_t)count, sizeof *epochs);
    b->epochs = epochs;
    for (int i = 0; i < count; i++) {
        const struct plan_epoch *last = b->epoch_count > 0 ? &epochs[b->epoch_count - 1] : NULL;

        if (last && last->number == rows[i]->epoch) {
            if (rows[i]->from_ps != last->from_ps)
                return placement_bad(b->placement, rows[i], PLACEMENT_FROM_S, err,
                                     "line %ld of the same epoch says otherwise",
                                     rows[i - 1]->line);
            continue;
        }
        if (!last && rows[i]->from_ps != 0)
            return placement_bad(b->placement, rows[i], PLACEMENT_FROM_S, err,
                                 "the first epoch starts at 0");
        if (last && rows[i]->from_ps <= last->from_ps)
            return placement_bad(b->placement, rows[i], PLACEMENT_FROM_S, err,
                                 "must be after the start of epoch %d", last->number);
        assert(epochs); /* for clang's analyzer */
        epochs[b->epoch_count++] =
            (struct plan_epoch){ .number = rows[i]->epoch, .from_ps = rows[i]->from_ps };
    }
    return true;
}

static int32_t find_epoch(const struct plan_builder *b, int32_t number)
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

static bool add_service(struct plan_builder *b, const struct placement_row *row, int32_t service,
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

static bool check_service(const struct plan_builder *b, const struct placement_row *row,
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

static bool resolve_rows(struct plan_builder *b, struct err *err)
{
    struct names *replica_names = names_create(b->arena);
    char key[48];

    for (int i = 0; i < b->placement->count; i++) {
        const struct placement_row *row = &b->placement->rows[i];
        int32_t known = names_count(b->service_names);
        int32_t service = names_put(b->service_names, row->service);
        struct plan_placed *placed = &b->placed[i];

        placed->row = row;
        if (!find_device(b, row, &placed->device, err))
            return false;
        if (service == known ? !add_service(b, row, service, err)
                             : !check_service(b, row, b->first_rows[service], err))
            return false;
        if (!check_phase(b, row, &b->services[service], err))
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
static void list_replicas(struct plan_builder *b)
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

static void list_epoch_replicas(struct plan_builder *b)
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
    const struct plan_stage **stages = arena_array(arena, 2 * count, sizeof *stages);
    struct plan_builder b = { 0 };

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
    b.stages = arena_array(arena, 2 * count, sizeof *b.stages); /* a row may be of both phases */
    if (!list_epochs(&b, err) || !resolve_rows(&b, err) || !plan_stages_build(&b, err))
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
