/* judge.c - a candidate's rows become a plan, the plan is run, the run is summed up. */
#include "sim/judge/judge.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/wide.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "lib/policy/price_book.h"
#include "sim/report/bottleneck.h"
#include "sim/report/energy.h"
#include "sim/report/metrics.h"
#include "sim/report/passes.h"
#include "sim/report/watch.h"
#include <stdio.h>
#include <string.h>

#define CANDIDATE "placement" /* as errors about its rows name it */

struct judge {
    struct judge_input input;
    struct arena *arena;
    struct judge_stop stop;
    int64_t count;
    struct err err; /* the last verdict's why */
    char busiest_name[256], next_name[256];
    struct price_book *book;                /* costs that candidates have in common */
    int64_t *service_good, *device_busy_ps; /* of the last verdict; NULL: there was none */
    int32_t service_room;
};

struct judge *judge_create(struct arena *arena, const struct judge_input *input)
{
    struct judge *judge = arena_alloc(arena, sizeof *judge);

    judge->input = *input;
    judge->book = price_book_create(arena);
    judge->arena = arena;
    return judge;
}

const struct judge_input *judge_input(const struct judge *judge)
{
    return &judge->input;
}

struct judge_stop judge_set_stop(struct judge *judge, struct judge_stop stop)
{
    struct judge_stop before = judge->stop;

    judge->stop = stop;
    return before;
}

int64_t judge_count(const struct judge *judge)
{
    return judge->count;
}

/* Lines as the rows have them when they are written: behind the two of the head. */
static const struct plan *plan_of(struct arena *arena, const struct judge *judge,
                                  const struct placement_row *rows, int count, struct err *err)
{
    struct placement placement = { .path = CANDIDATE, .count = count };

    if (count == 0) {
        (void)err_set(err, ERR_INPUT, "%s: no rows", CANDIDATE);
        return NULL;
    }
    placement.rows = arena_array(arena, (size_t)count, sizeof *placement.rows);
    memcpy(placement.rows, rows, (size_t)count * sizeof *rows);
    for (int i = 0; i < count; i++)
        placement.rows[i].line = i + 3;
    return plan_build(arena, &placement, judge->input.cluster, judge->input.costs,
                      judge->input.catalogue, err);
}

static void take_longer(struct judge_verdict *verdict, int64_t time_ps, enum judge_resource kind,
                        int32_t index)
{
    if (time_ps > verdict->busiest_ps) {
        verdict->next_ps = verdict->busiest_ps;
        verdict->next_kind = verdict->busiest_kind;
        verdict->next = verdict->busiest;
        verdict->busiest_ps = time_ps;
        verdict->busiest_kind = kind;
        verdict->busiest = index;
    } else if (time_ps > verdict->next_ps) {
        verdict->next_ps = time_ps;
        verdict->next_kind = kind;
        verdict->next = index;
    }
}

static void fill_busiest(const struct serve_result *result, const struct cluster *cluster,
                         struct judge_verdict *verdict)
{
    verdict->busiest = verdict->next = -1;
    for (int32_t d = 0; d < cluster->device_count; d++)
        take_longer(verdict, result->devices[d].busy_ps + result->devices[d].gap_ps, JUDGE_DEVICE,
                    d);
    for (int l = 0; l < result->link_count; l++)
        take_longer(verdict, result->links[l].busy_ps, JUDGE_LINK, l);
    for (int p = 0; p < result->passes_count; p++)
        take_longer(verdict, passes_time_ps(&result->passes[p]), JUDGE_STAGE, p);
}

static void name_resource(struct arena *arena, const struct plan *plan,
                          const struct serve_result *result, enum judge_resource kind,
                          int32_t index, char *name, size_t room)
{
    int32_t id;

    name[0] = '\0';
    if (index < 0)
        return;
    switch (kind) {
    case JUDGE_DEVICE:
        (void)snprintf(name, room, "device '%s'", plan->cluster->devices[index].name);
        return;
    case JUDGE_LINK:
        (void)snprintf(name, room, "%s",
                       bottleneck_link_name(arena, plan->cluster, &result->links[index]));
        return;
    case JUDGE_STAGE:
        id = result->passes[index].stage;
        (void)snprintf(name, room, "stage %s on %d devices", passes_stage_name(arena, plan, id),
                       plan->stages[id]->device_count);
        return;
    }
}

/* Behind everything else: the result's memory is given back. */
static void name_busiest(struct arena *arena, struct judge *judge, const struct plan *plan,
                         const struct serve_result *result, struct judge_verdict *verdict)
{
    name_resource(arena, plan, result, verdict->busiest_kind, verdict->busiest, judge->busiest_name,
                  sizeof judge->busiest_name);
    name_resource(arena, plan, result, verdict->next_kind, verdict->next, judge->next_name,
                  sizeof judge->next_name);
    if (verdict->busiest >= 0)
        verdict->busiest_name = judge->busiest_name;
    verdict->next_name = judge->next_name;
}

static void fill_room(const struct serve_result *result, const struct cluster *cluster,
                      struct judge_verdict *verdict)
{
    verdict->room_bytes = INT64_MAX;
    for (int32_t d = 0; d < cluster->device_count; d++) {
        int64_t memory_bytes = cluster->devices[d].memory_bytes;
        int64_t room_bytes = memory_bytes - result->devices[d].peak_bytes;

        if (memory_bytes > 0 && room_bytes < verdict->room_bytes) {
            verdict->room_bytes = room_bytes;
            verdict->room_device = d;
        }
    }
}

static void keep_shares(struct judge *judge, const struct serve_result *result,
                        const struct workload *workload, const int32_t *service_of,
                        const struct metrics *services, struct judge_verdict *verdict)
{
    int32_t device_count = judge->input.cluster->device_count;

    if (!judge->device_busy_ps)
        judge->device_busy_ps =
            arena_array(judge->arena, (size_t)device_count, sizeof *judge->device_busy_ps);
    if (workload->service_count > judge->service_room) {
        judge->service_room = workload->service_count;
        judge->service_good =
            arena_array(judge->arena, (size_t)judge->service_room, sizeof *judge->service_good);
    }
    for (int32_t d = 0; d < device_count; d++)
        judge->device_busy_ps[d] = result->devices[d].busy_ps + result->devices[d].gap_ps;
    for (int32_t s = 0; s < workload->service_count; s++)
        judge->service_good[s] = service_of[s] < 0 ? 0 : services[service_of[s]].good;
    verdict->service_good = judge->service_good;
    verdict->device_busy_ps = judge->device_busy_ps;
}

static struct judge_verdict infeasible(struct judge *judge, const struct err *err)
{
    judge->err = *err;
    return (
        struct judge_verdict){ .why = judge->err.text, .room_bytes = INT64_MAX, .energy_j = -1 };
}

static bool simulate(struct arena *arena, struct judge *judge, const struct plan *plan,
                     struct workload *workload, const struct events *events,
                     const struct serve_options *options, struct judge_verdict *verdict,
                     struct err *err)
{
    struct serve_input input = { .plan = plan,
                                 .workload = workload,
                                 .events = events,
                                 .costs = judge->input.costs,
                                 .book = judge->book,
                                 .is_stopped = judge->stop.is_over,
                                 .is_stopped_arg = judge->stop.arg };
    struct metrics_options metrics_options = { .slo_ps = judge->input.slo_ps,
                                               .slo_ttft_ps = judge->input.slo_ttft_ps,
                                               .slo_tpot_ps = judge->input.slo_tpot_ps };
    struct meter *meter = metrics_begin(arena, plan, &metrics_options);
    struct serve_observer observer = metrics_observer(meter);
    struct serve_result result;
    struct metrics all, *services;

    if (!plan_match_workload(arena, plan, workload, &input.service_of, err) ||
        !serve_run(arena, &input, options, &observer, &result, err))
        return false;
    all = metrics_end(meter, result.end_ps, &services);
    *verdict = (struct judge_verdict){ .is_feasible = true,
                                       .why = "",
                                       .total_count = all.total,
                                       .ok_count = all.status[TRACE_OK],
                                       .good_count = all.good,
                                       .window_ps = all.window_ps,
                                       .latency_mean_ps = all.latency.mean,
                                       .latency_p50_ps = all.latency.p50,
                                       .latency_p90_ps = all.latency.p90,
                                       .latency_p95_ps = all.latency.p95,
                                       .latency_p99_ps = all.latency.p99,
                                       .latency_p999_ps = all.latency.p999,
                                       .latency_max_ps = all.latency.max,
                                       .ttft_mean_ps = all.ttft.mean,
                                       .tpot_mean_ps = all.tpot.mean,
                                       .output_tokens = all.output_tokens,
                                       .extrapolated_costs = result.extrapolated_costs };
    if (!energy_of_all(plan->cluster, &result, &verdict->energy_j))
        verdict->energy_j = -1;
    fill_busiest(&result, plan->cluster, verdict);
    name_busiest(arena, judge, plan, &result, verdict);
    fill_room(&result, plan->cluster, verdict);
    keep_shares(judge, &result, workload, input.service_of, services, verdict);
    return true;
}

struct judge_verdict judge_workload(struct judge *judge, const struct placement_row *rows,
                                    int count, struct workload *workload)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    struct judge_verdict verdict;
    const struct plan *plan = plan_of(arena, judge, rows, count, &err);

    judge->count++;
    if (!plan || !simulate(arena, judge, plan, workload, judge->input.events, &judge->input.serve,
                           &verdict, &err))
        verdict = infeasible(judge, &err);
    arena_destroy(arena);
    return verdict;
}

struct judge_verdict judge_rows(struct judge *judge, const struct placement_row *rows, int count)
{
    return judge_workload(judge, rows, count, judge->input.workload);
}

/* One client that waits for each answer: nobody meets another. */
static struct workload *lone_requests(struct arena *arena, const char *service,
                                      int32_t prompt_tokens, int32_t output_tokens, int64_t count)
{
    struct workload_builder *builder = workload_build(arena, "lone requests");
    struct workload_request request = { .arrival_ps = WORKLOAD_CLOSED,
                                        .session = -1,
                                        .prompt_tokens = prompt_tokens,
                                        .output_tokens = output_tokens,
                                        .batch = 1 };

    request.service = workload_builder_service(builder, service);
    request.client = workload_builder_client(builder, "lone");
    for (request.request_id = 0; request.request_id < count; request.request_id++)
        workload_builder_add(builder, &request);
    return workload_builder_finish(builder);
}

#define MOST_TURNS                                                                                 \
    5040 /* of copies; more than that is as good as all of them to a few thousandths */

static int32_t common_multiple(int32_t a, int32_t b)
{
    int32_t x = a, y = b;

    while (y > 0) {
        int32_t rest = x % y;

        x = y;
        y = rest;
    }
    return a / x <= MOST_TURNS / b ? a / x * b : MOST_TURNS;
}

/* Requests of a replica until each copy of each stage has had as many as the others of its stage.
 */
static int32_t turns_of(const struct plan *plan, const struct plan_service *service)
{
    int32_t turns = 1;

    for (int r = service->epoch_first[0]; r < service->epoch_first[1]; r++) {
        const struct plan_replica *replica = &plan->replicas[service->replicas[r]];

        for (int s = 0; s < replica->total_count; s++)
            if (replica->stages[s].copy_count > 1)
                turns = common_multiple(turns, replica->stages[s].copy_count);
    }
    return turns;
}

/* Of one of so many requests that take turns. */
static void share(struct judge_verdict *verdict, int64_t count)
{
    verdict->busiest_ps = (verdict->busiest_ps + count - 1) / count;
    verdict->next_ps = (verdict->next_ps + count - 1) / count;
    if (verdict->energy_j > 0)
        verdict->energy_j /= (double)count;
}

struct judge_verdict judge_alone(struct judge *judge, const struct placement_row *rows, int count,
                                 const char *service, int32_t prompt_tokens, int32_t output_tokens)
{
    struct arena *arena = arena_create();
    struct serve_options options = judge->input.serve;
    struct err err = ERR_INIT;
    struct judge_verdict verdict = { .is_feasible = false };
    const struct plan *plan = plan_of(arena, judge, rows, count, &err);
    int32_t number = plan ? plan_find_service(plan, service) : -1;
    int64_t requests;

    judge->count++;
    options.dispatch = DISPATCH_ROUND_ROBIN;
    options.admission = ADMIT_NONE;
    options.batch = (struct batch_options){ .kind = BATCH_NONE };
    options.has_idle_resume = false;
    if (plan && number < 0)
        (void)err_set(&err, ERR_INPUT, "service '%s' is not placed", service);
    if (number >= 0) {
        const struct plan_service *placed = &plan->services[number];

        requests = (int64_t)placed->epoch_first[1] * turns_of(plan, placed);
        if (simulate(arena, judge, plan,
                     lone_requests(arena, service, placed->model ? prompt_tokens : 0,
                                   placed->model ? output_tokens : 0, requests),
                     NULL, &options, &verdict, &err))
            share(&verdict, requests);
    }
    if (!verdict.is_feasible)
        verdict = infeasible(judge, &err);
    arena_destroy(arena);
    return verdict;
}

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

/* good / window, by cross multiplication. */
static int compare_rates(const struct judge_verdict *a, const struct judge_verdict *b)
{
    return wide_compare(wide_mul((uint64_t)a->good_count, (uint64_t)b->window_ps),
                        wide_mul((uint64_t)b->good_count, (uint64_t)a->window_ps));
}

int judge_compare(const struct judge_verdict *a, const struct judge_verdict *b)
{
    int order = compare(b->is_feasible, a->is_feasible);

    if (order == 0)
        order = compare_rates(b, a);
    if (order == 0)
        order = compare(b->ok_count, a->ok_count);
    return order != 0 ? order : compare(a->latency_mean_ps, b->latency_mean_ps);
}
