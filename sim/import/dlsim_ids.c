/* dlsim_ids.c - which replica a request of a trace ran on, and which row of the workload it is.
 *
 * `check` pairs requests by id, and a simulation has the ids of the workload. A trace's arrive is
 * the planned time of the workload file, bit for bit, so service and arrival tell the row. */
#include "sim/import/dlsim.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- replicas ---- */

struct chains { /* the meshes of each replica of one service */
    int count, capacity;
    const struct dlsim_mesh **stages; /* count times stage_count */
};

/* Meshes are shared, so the same devices are the same pointers. */
static int find_chain(const struct chains *chains, const struct dlsim_request *request,
                      int stage_count)
{
    for (int c = 0; c < chains->count; c++) {
        int k = 0;

        while (k < stage_count && chains->stages[c * stage_count + k] == request->stages[k].mesh)
            k++;
        if (k == stage_count)
            return c;
    }
    return -1;
}

static void chain_add(struct arena *arena, struct chains *chains, int stage_count)
{
    if (chains->count == chains->capacity) {
        int larger = chains->capacity ? 2 * chains->capacity : 4;

        chains->stages =
            arena_grow(arena, chains->stages, (size_t)chains->capacity * (size_t)stage_count,
                       (size_t)larger * (size_t)stage_count, sizeof *chains->stages);
        chains->capacity = larger;
    }
    chains->count++;
}

static bool placed_chains(struct arena *arena, const struct dlsim_placement *placement,
                          const struct dlsim_trace *trace, const struct dlsim_model *model,
                          struct chains *chains, struct err *err)
{
    for (int i = 0; i < placement->count; i++) {
        const struct dlsim_entry *entry = &placement->entries[i];

        if (strcmp(entry->service, model->service) != 0)
            continue;
        if (entry->stage_count != model->stage_count)
            return err_at(err, trace->path, 0, 0,
                          "%.100s.stage_exec_info has %d stages, but the placement has %d",
                          model->key, model->stage_count, entry->stage_count);
        chain_add(arena, chains, model->stage_count);
        for (int k = 0; k < model->stage_count; k++)
            chains->stages[(chains->count - 1) * model->stage_count + k] = entry->stages[k];
    }
    if (chains->count == 0)
        return err_at(err, trace->path, 0, 0, "service '%.100s' is not in the placement",
                      model->service);
    return true;
}

static bool unknown_chain(const struct dlsim_trace *trace, const struct dlsim_request *request,
                          struct err *err)
{
    return err_at(err, trace->path, 0, 0,
                  "%.100s.stage_exec_info: item %d ran on device %s...: no replica of the "
                  "placement has these devices",
                  trace->models[request->model].key, request->position,
                  request->stages[0].mesh->devices[0]);
}

bool dlsim_replicas(struct import_job *job, const struct dlsim_placement *placement,
                    struct dlsim_trace *trace, struct err *err)
{
    struct chains *chains = arena_array(job->arena, (size_t)trace->model_count, sizeof *chains);
    int64_t elsewhere = 0;

    for (int m = 0; placement && m < trace->model_count; m++)
        if (!placed_chains(job->arena, placement, trace, &trace->models[m], &chains[m], err))
            return false;
    for (size_t i = 0; i < trace->count; i++) {
        struct dlsim_request *request = &trace->requests[i];
        struct chains *own = &chains[request->model];
        int stage_count = trace->models[request->model].stage_count;
        int chain = find_chain(own, request, stage_count);

        if (chain < 0 && placement && own->count > 1)
            return unknown_chain(trace, request, err);
        if (chain < 0 && placement) {
            elsewhere++;
            chain = 0;
        } else if (chain < 0) {
            chain = own->count;
            chain_add(job->arena, own, stage_count);
            for (int k = 0; k < stage_count; k++)
                own->stages[chain * stage_count + k] = request->stages[k].mesh;
        }
        request->replica = chain;
    }
    if (elsewhere > 0)
        import_note(job, "%" PRId64 " request%s of the trace ran on other devices than placed",
                    elsewhere, units_s(elsewhere));
    return true;
}

/* ---- ids ---- */

struct arrival { /* of a request, or of a row of the workload */
    const char *service;
    int64_t arrival_ps;
    size_t index;
};

static int compare_arrivals(const void *left, const void *right)
{
    const struct arrival *a = left, *b = right;
    int order = strcmp(a->service, b->service);

    if (order != 0)
        return order;
    if (a->arrival_ps != b->arrival_ps)
        return a->arrival_ps < b->arrival_ps ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

static struct arrival *arrivals_of_trace(struct arena *arena, const struct dlsim_trace *trace)
{
    struct arrival *list = arena_array(arena, trace->count, sizeof *list);

    for (size_t i = 0; i < trace->count; i++) {
        const struct dlsim_request *request = &trace->requests[i];

        list[i] = (struct arrival){ trace->models[request->model].service, request->arrival_ps, i };
    }
    qsort(list, trace->count, sizeof *list, compare_arrivals);
    return list;
}

static struct arrival *arrivals_of_workload(struct arena *arena,
                                            const struct dlsim_workload *workload)
{
    struct arrival *list = arena_array(arena, workload->count, sizeof *list);

    for (size_t i = 0; i < workload->count; i++) {
        const struct dlsim_row *row = &workload->rows[i];

        list[i] = (struct arrival){ workload->services[row->model], row->arrival_ps, i };
    }
    qsort(list, workload->count, sizeof *list, compare_arrivals);
    return list;
}

static bool no_such_row(const struct dlsim_trace *trace, const struct dlsim_workload *workload,
                        const struct dlsim_request *request, struct err *err)
{
    char text[UNITS_TEXT_BYTES];

    return err_at(err, trace->path, 0, 0,
                  "%.100s.arrive[%d] is '%s': %.200s has no such arrival of service %.100s",
                  trace->models[request->model].key, request->position,
                  units_format_seconds(request->arrival_ps, text), workload->path,
                  trace->models[request->model].service);
}

static bool join(struct import_job *job, const struct dlsim_workload *workload,
                 struct dlsim_trace *trace, struct err *err)
{
    const struct arrival *requests = arrivals_of_trace(job->arena, trace);
    const struct arrival *rows = arrivals_of_workload(job->arena, workload);
    size_t at = 0;
    int64_t differing = 0;

    for (size_t i = 0; i < trace->count; i++) {
        struct dlsim_request *request = &trace->requests[requests[i].index];
        int order = -1;

        while (at < workload->count) {
            order = strcmp(rows[at].service, requests[i].service);
            if (order == 0)
                order = (rows[at].arrival_ps > requests[i].arrival_ps) -
                        (rows[at].arrival_ps < requests[i].arrival_ps);
            if (order >= 0)
                break;
            at++;
        }
        if (at == workload->count || order != 0)
            return no_such_row(trace, workload, request, err);
        request->id = (int64_t)rows[at++].index;
        differing += request->id != request->rq_id;
    }
    if (differing > 0)
        import_note(job, "ids are the rows of the workload, other than rq_id for %" PRId64,
                    differing);
    if (workload->count > trace->count)
        import_note(job, "%zu request%s of the workload %s not in the trace",
                    workload->count - trace->count,
                    units_s((int64_t)(workload->count - trace->count)),
                    workload->count - trace->count == 1 ? "is" : "are");
    return true;
}

static int compare_rq_ids(const void *left, const void *right)
{
    const int64_t *a = left, *b = right;

    return (*a > *b) - (*a < *b);
}

static bool are_unique(struct arena *arena, const struct dlsim_trace *trace)
{
    int64_t *ids = arena_array(arena, trace->count, sizeof *ids);

    for (size_t i = 0; i < trace->count; i++)
        ids[i] = trace->requests[i].rq_id;
    qsort(ids, trace->count, sizeof *ids, compare_rq_ids);
    for (size_t i = 1; i < trace->count; i++)
        if (ids[i] == ids[i - 1])
            return false;
    return true;
}

static int compare_order(const void *left, const void *right)
{
    const struct dlsim_request *a = left, *b = right;

    if (a->arrival_ps != b->arrival_ps)
        return a->arrival_ps < b->arrival_ps ? -1 : 1;
    if (a->model != b->model)
        return a->model < b->model ? -1 : 1;
    return (a->position > b->position) - (a->position < b->position);
}

static int compare_ids(const void *left, const void *right)
{
    const struct dlsim_request *a = left, *b = right;

    return (a->id > b->id) - (a->id < b->id);
}

bool dlsim_ids(struct import_job *job, const struct dlsim_workload *workload,
               struct dlsim_trace *trace, struct err *err)
{
    if (workload) {
        if (!join(job, workload, trace, err))
            return false;
    } else if (are_unique(job->arena, trace)) {
        for (size_t i = 0; i < trace->count; i++)
            trace->requests[i].id = trace->requests[i].rq_id;
    } else {
        qsort(trace->requests, trace->count, sizeof *trace->requests, compare_order);
        for (size_t i = 0; i < trace->count; i++)
            trace->requests[i].id = (int64_t)i;
        import_note(job, "models share rq_ids, so requests are numbered in order of arrival");
    }
    qsort(trace->requests, trace->count, sizeof *trace->requests, compare_ids);
    return true;
}
