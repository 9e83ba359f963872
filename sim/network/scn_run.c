/* scn_run.c - runs a case through the flow model. */
#include "sim/network/scn.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "sim/network/flow.h"
#include <inttypes.h>
#include <stdlib.h>

struct start {
    int64_t time_ps; /* latency included */
    int32_t flow;
};

struct run {
    const struct scn *scn;
    const struct scn_changes *changes; /* NULL = none */
    struct flow_net *net;
    int32_t *routes; /* of each flow */
    struct start *starts;
    int32_t next_start;
    size_t next_change;
    struct scn_result *result;
};

static int by_time(const void *a, const void *b)
{
    const struct start *left = a, *right = b;

    if (left->time_ps != right->time_ps)
        return left->time_ps < right->time_ps ? -1 : 1;
    return left->flow < right->flow ? -1 : left->flow > right->flow;
}

/* Beyond the calendar all instants are one. */
static int64_t after_latency(const struct scn_flow *flow)
{
    return flow->latency_ps > UNITS_MAX_PS - flow->start_ps ? UNITS_MAX_PS + 1
                                                            : flow->start_ps + flow->latency_ps;
}

static void run_prepare(struct run *run, struct arena *arena)
{
    const struct scn *scn = run->scn;
    size_t count = (size_t)scn->flow_count;

    run->net = flow_create(arena);
    for (int32_t i = 0; i < scn->resource_count; i++)
        (void)flow_add_resource(run->net, scn->resources[i].capacity,
                                scn->resources[i].is_fat_pipe ? FLOW_FAT_PIPE : FLOW_SHARED);
    run->routes = arena_array(arena, count, sizeof(*run->routes));
    run->starts = arena_array(arena, count, sizeof(*run->starts));
    run->result->finish_ps = arena_array(arena, count, sizeof(*run->result->finish_ps));
    for (int32_t i = 0; i < scn->flow_count; i++) {
        const struct scn_flow *flow = &scn->flows[i];
        const struct flow_use *uses = flow->use_count > 0 ? &scn->uses[flow->first_use] : NULL;

        run->routes[i] =
            flow_add_route(run->net, uses, flow->use_count, flow->bound_bytes_per_s, flow->penalty);
        run->starts[i] = (struct start){ after_latency(flow), i };
        run->result->finish_ps[i] = FLOW_NEVER;
    }
    qsort(run->starts, count, sizeof(*run->starts), by_time);
}

static int64_t start_ps(const struct run *run)
{
    return run->next_start < run->scn->flow_count ? run->starts[run->next_start].time_ps
                                                  : FLOW_NEVER;
}

static int64_t change_ps(const struct run *run)
{
    return run->changes && run->next_change < run->changes->count
               ? run->changes->changes[run->next_change].time_ps
               : FLOW_NEVER;
}

/* The first flow that is still under way, and why. */
static bool blocked(const struct run *run, struct err *err)
{
    const struct scn *scn = run->scn;
    const char *why = "";
    int32_t first = 0;

    while (run->result->finish_ps[first] != FLOW_NEVER)
        first++;
    for (int32_t u = 0; u < scn->flows[first].use_count; u++) {
        int32_t resource = scn->uses[scn->flows[first].first_use + u].resource;

        if (flow_capacity(run->net, resource) > 0)
            continue;
        why = scn->resources[resource].name;
        break;
    }
    if (*why == '\0')
        return err_at(err, scn->path, scn->flows[first].line, 0,
                      "flow %" PRId32 " would end after %" PRId64 " s: too slow to simulate", first,
                      UNITS_MAX_PS / UNITS_PS_PER_S);
    return err_at(err, scn->path, scn->flows[first].line, 0,
                  "flow %" PRId32 " never ends: resource '%.60s' has no capacity (flows that never "
                  "end: %" PRId64 ")",
                  first, why, flow_count(run->net));
}

/* All that happens at one instant. */
static void run_step(struct run *run, int64_t now_ps)
{
    struct scn_result *result = run->result;
    int ended = flow_advance(run->net, now_ps);

    for (int i = 0; i < ended; i++)
        result->finish_ps[flow_ended(run->net, i)] = now_ps;
    result->event_count += ended;
    if (ended > 0)
        result->end_ps = now_ps;
    for (; change_ps(run) == now_ps; run->next_change++, result->event_count++) {
        const struct scn_change *change = &run->changes->changes[run->next_change];

        flow_set_capacity(run->net, change->resource, change->capacity);
    }
    for (; start_ps(run) == now_ps; run->next_start++, result->event_count++) {
        int32_t flow = run->starts[run->next_start].flow;

        flow_start(run->net, run->routes[flow], run->scn->flows[flow].bytes, flow);
    }
}

static void result_fill(struct run *run, struct arena *arena)
{
    size_t count = (size_t)run->scn->resource_count;
    struct scn_result *result = run->result;

    result->busy_ps = arena_array(arena, count, sizeof(*result->busy_ps));
    result->bytes = arena_array(arena, count, sizeof(*result->bytes));
    for (int32_t i = 0; i < run->scn->resource_count; i++) {
        result->busy_ps[i] = flow_busy_ps(run->net, i);
        result->bytes[i] = flow_bytes(run->net, i);
    }
}

bool scn_run(struct arena *arena, const struct scn *scn, const struct scn_changes *changes,
             struct scn_result *result, struct err *err)
{
    struct run run = { .scn = scn, .changes = changes, .result = result };

    *result = (struct scn_result){ 0 };
    run_prepare(&run, arena);
    while (flow_count(run.net) > 0 || start_ps(&run) != FLOW_NEVER) {
        int64_t now_ps = flow_next_ps(run.net);

        now_ps = start_ps(&run) < now_ps ? start_ps(&run) : now_ps;
        now_ps = change_ps(&run) < now_ps ? change_ps(&run) : now_ps;
        if (now_ps > UNITS_MAX_PS)
            return blocked(&run, err);
        run_step(&run, now_ps);
    }
    result_fill(&run, arena);
    return true;
}
