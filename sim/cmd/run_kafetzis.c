/* run_kafetzis.c - what orrery-sim run does under --rules kafetzis. */
#include "sim/cmd/run_kafetzis.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/names.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "lib/policy/plan.h"
#include "sim/cmd/run_options.h"
#include "sim/cmd/scenario.h"
#include "sim/engine/engine.h"
#include "sim/kafetzis/kafetzis.h"
#include "sim/kafetzis/routes.h"
#include "sim/report/phases.h"
#include "sim/serve/arrivals.h"

struct run_kafetzis {
    struct arena *arena;
    const struct run_settings *settings;
    const struct serve_input *input;
    const struct kafetzis_plan *plan;
    struct kafetzis_routes *routes;
    struct kafetzis_result **results;         /* by replica: of the last request's tokens */
    int64_t *free_ps;                         /* by device */
    int64_t *step_counts;                     /* by service */
    double (*phases_s)[KAFETZIS_PHASE_COUNT]; /* by service: all steps */
    double *medium_s, *medium_bytes;          /* by medium: all steps */
    struct arrivals arrivals;
    const struct serve_observer *observer;
    struct serve_result *result;
};

/* ---- loading ---- */

static bool check_options(const struct run_settings *settings, struct err *err)
{
    const struct serve_options *serve = &settings->serve;
    const struct {
        bool is_given;
        const char *name;
    } unknown[] = { { serve->dispatch != DISPATCH_LEAST_IDLE, "dispatch" },
                    { serve->admission != ADMIT_NONE, "admission" },
                    { serve->batch.kind != BATCH_NONE, "batch" },
                    { serve->network != SERVE_NETWORK_AUTO, "network" },
                    { serve->switch_cost_ps > 0, "switch-cost" },
                    { serve->has_kappa, "kappa" },
                    { settings->files.events != NULL, "events" },
                    { settings->files.overhead != NULL, "overhead" },
                    { settings->paths[OUT_STAGES] != NULL, "stages-out" },
                    { settings->paths[OUT_TRANSFERS] != NULL, "transfers-out" },
                    { settings->paths[OUT_UTILISATION] != NULL, "utilisation-out" },
                    { settings->paths[OUT_CHROME] != NULL, "chrome-trace" } };

    if (!settings->files.cluster)
        return err_set(err, ERR_USAGE,
                       "--cluster is missing: --rules kafetzis needs flop_per_s of devices");
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
        if (unknown[i].is_given)
            return err_set(err, ERR_USAGE, "--%s: unknown to --rules kafetzis", unknown[i].name);
    return true;
}

/* What reports and the matching of workloads want to know. */
static const struct plan *plan_for_reports(struct arena *arena, const struct kafetzis_plan *from)
{
    size_t services = (size_t)from->service_count, replicas = (size_t)from->replica_count;
    struct plan *plan = arena_alloc(arena, sizeof *plan);
    struct plan_service *service = arena_array(arena, services, sizeof *service);
    struct plan_replica *replica = arena_array(arena, replicas, sizeof *replica);
    struct plan_stage *stage = arena_array(arena, replicas, sizeof *stage);
    const struct plan_stage **list = arena_array(arena, replicas, sizeof *list);
    struct plan_epoch *epoch = arena_alloc(arena, sizeof *epoch);
    int32_t *all = arena_array(arena, replicas, sizeof *all);
    struct names *names = names_create(arena);

    for (int32_t s = 0; s < from->service_count; s++) {
        int32_t *numbers = arena_array(arena, replicas, sizeof *numbers), count = 0;
        int32_t *first = arena_array(arena, 2, sizeof *first);

        for (int32_t r = 0; r < from->replica_count; r++)
            if (from->replicas[r].service == s)
                numbers[count++] = r;
        first[1] = count;
        (void)names_put(names, from->services[s].name);
        service[s] = (struct plan_service){ .name = from->services[s].name,
                                            .model = from->services[s].model,
                                            .replica_count = count,
                                            .replicas = numbers,
                                            .epoch_first = first };
    }
    for (int32_t r = 0; r < from->replica_count; r++) {
        const struct kafetzis_replica *placed = &from->replicas[r];

        stage[r] = (struct plan_stage){ .id = r,
                                        .replica = r,
                                        .row = placed->rows[placed->devices[0]],
                                        .device_count = placed->device_count,
                                        .devices = placed->devices };
        list[r] = &stage[r];
        all[r] = r;
        replica[r] = (struct plan_replica){ .service = placed->service,
                                            .number = placed->number,
                                            .stage_count = 1,
                                            .stages = &stage[r] };
    }
    *epoch = (struct plan_epoch){ .replica_count = from->replica_count, .replicas = all };
    *plan = (struct plan){ .cluster = from->cluster,
                           .epoch_count = 1,
                           .epochs = epoch,
                           .service_count = from->service_count,
                           .replica_count = from->replica_count,
                           .stage_count = from->replica_count,
                           .services = service,
                           .service_names = names,
                           .replicas = replica,
                           .stages = list };
    return plan;
}

static bool inputs_fill(struct inputs *inputs, const struct scenario_files *files, struct err *err)
{
    return inputs_add(inputs, "placement", files->placement, err) &&
           (!files->workload || inputs_add(inputs, "workload", files->workload, err)) &&
           (!files->models || inputs_add(inputs, "models", files->models, err)) &&
           inputs_add_cluster(inputs, files->cluster, err);
}

static void prepare(struct run_kafetzis *run)
{
    const struct kafetzis_plan *plan = run->plan;

    run->routes = kafetzis_routes_create(run->arena, plan->cluster);
    run->results = arena_array(run->arena, (size_t)plan->replica_count, sizeof(*run->results));
    for (int32_t r = 0; r < plan->replica_count; r++)
        run->results[r] = kafetzis_result_create(run->arena, plan->cluster);
    run->free_ps =
        arena_array(run->arena, (size_t)plan->cluster->device_count, sizeof(*run->free_ps));
    run->step_counts =
        arena_array(run->arena, (size_t)plan->service_count, sizeof(*run->step_counts));
    run->phases_s = arena_array(run->arena, (size_t)plan->service_count, sizeof(*run->phases_s));
    run->medium_s = arena_array(run->arena, (size_t)plan->cluster->medium_count, sizeof(double));
    run->medium_bytes =
        arena_array(run->arena, (size_t)plan->cluster->medium_count, sizeof(double));
}

struct run_kafetzis *run_kafetzis_load(struct arena *arena, const struct run_settings *settings,
                                       struct scenario *scenario, struct err *err)
{
    const struct scenario_files *files = &settings->files;
    struct run_kafetzis *run = arena_alloc(arena, sizeof *run);
    struct model_catalogue *catalogue;
    const struct cluster *cluster;
    const struct placement *placement;
    struct workload *workload;

    *scenario = (struct scenario){ .inputs = { .arena = arena } };
    if (!check_options(settings, err) ||
        !(catalogue = model_catalogue_load(arena, files->models, err)) ||
        !(cluster = cluster_load(arena, files->cluster, err)) ||
        !(placement = placement_load(arena, files->placement, err)))
        return NULL;
    run->plan = kafetzis_plan_build(arena, placement, cluster, catalogue, err);
    if (!run->plan)
        return NULL;
    workload = files->workload ? workload_load(arena, files->workload, err)
                               : generate_workload(arena, &files->load.options, err);
    scenario->input.plan = plan_for_reports(arena, run->plan);
    scenario->input.costs = &scenario->costs;
    scenario->input.workload = workload;
    if (!workload ||
        !plan_match_workload(arena, scenario->input.plan, workload, &scenario->input.service_of,
                             err) ||
        !inputs_fill(&scenario->inputs, files, err))
        return NULL;
    run->arena = arena;
    run->settings = settings;
    run->input = &scenario->input;
    prepare(run);
    return run;
}

/* ---- one request ---- */

struct request {
    size_t index;
    struct workload_request row;
    int64_t arrival_ps;
    int32_t service;
    int32_t steps;
};

static int64_t to_ps(double time_s)
{
    return dmath_round(time_s * (double)UNITS_PS_PER_S);
}

/* When all devices of the replica are free. */
static int64_t start_ps(const struct run_kafetzis *run, int32_t replica, int64_t arrival_ps)
{
    const struct kafetzis_replica *placed = &run->plan->replicas[replica];

    for (int32_t i = 0; i < placed->device_count; i++)
        if (run->free_ps[placed->devices[i]] > arrival_ps)
            arrival_ps = run->free_ps[placed->devices[i]];
    return arrival_ps;
}

/* Computes the replica's step for the request; is_refused: its devices do not suffice. */
static bool try_replica(struct run_kafetzis *run, int32_t replica, const struct request *request,
                        bool *is_refused, struct err *err)
{
    struct kafetzis_result *result = run->results[replica];
    struct err detail = ERR_INIT;

    if (result->tokens != request->row.prompt_tokens &&
        !kafetzis_run(run->plan, replica, run->routes, request->row.prompt_tokens, result, err))
        return false;
    *is_refused = !kafetzis_fits(run->plan, replica, result, request->steps - 1, &detail);
    if (*is_refused && run->settings->serve.memory == SERVE_MEMORY_ERROR)
        return err_set(err, ERR_INPUT, "%s (request %lld)", detail.text,
                       (long long)request->row.request_id);
    return true;
}

/* The replica that can start first, -1 when none suffices. */
static bool choose(struct run_kafetzis *run, const struct request *request, int32_t *chosen,
                   int64_t *first_ps, struct err *err)
{
    *chosen = -1;
    for (int32_t r = 0; r < run->plan->replica_count; r++) {
        int64_t begin_ps = start_ps(run, r, request->arrival_ps);
        bool is_refused;

        if (run->plan->replicas[r].service != request->service ||
            (*chosen >= 0 && begin_ps >= *first_ps))
            continue;
        if (!try_replica(run, r, request, &is_refused, err))
            return false;
        if (is_refused)
            continue;
        *chosen = r;
        *first_ps = begin_ps;
    }
    return true;
}

static void count_devices(struct run_kafetzis *run, const struct request *request, int32_t replica,
                          int64_t wait_ps, int64_t finish_ps)
{
    const struct kafetzis_replica *placed = &run->plan->replicas[replica];
    const struct kafetzis_result *result = run->results[replica];

    for (int32_t i = 0; i < placed->device_count; i++) {
        int32_t d = placed->devices[i];
        struct serve_device *device = &run->result->devices[d];
        int64_t bytes =
            dmath_round(result->memory_bytes[d] + (request->steps - 1) * result->cache_bytes[d]) +
            run->plan->cluster->devices[d].reserved_bytes;

        run->free_ps[d] = finish_ps;
        device->busy_ps += request->steps * to_ps(result->busy_s[d]);
        device->offered_ps += finish_ps - request->arrival_ps - wait_ps;
        device->wait_peak_ps = wait_ps > device->wait_peak_ps ? wait_ps : device->wait_peak_ps;
        device->peak_bytes = bytes > device->peak_bytes ? bytes : device->peak_bytes;
    }
}

static void count_steps(struct run_kafetzis *run, const struct request *request, int32_t replica)
{
    const struct kafetzis_result *result = run->results[replica];

    for (int m = 0; m < run->plan->cluster->medium_count; m++) {
        run->medium_s[m] += request->steps * result->medium_s[m];
        run->medium_bytes[m] += request->steps * result->medium_bytes[m];
    }
    for (int p = 0; p < KAFETZIS_PHASE_COUNT; p++)
        run->phases_s[request->service][p] += request->steps * result->phases_s[p];
    run->step_counts[request->service] += request->steps;
}

static void end_request(struct run_kafetzis *run, const struct request *request, int32_t replica,
                        int64_t begin_ps, int64_t first_ps, int64_t finish_ps)
{
    bool is_ok = replica >= 0;
    const struct serve_end end = { .index = request->index,
                                   .request_id = request->row.request_id,
                                   .service = request->service,
                                   .replica = replica,
                                   .status = is_ok ? TRACE_OK : TRACE_REFUSED,
                                   .arrival_ps = request->arrival_ps,
                                   .start_ps = begin_ps,
                                   .first_token_ps = first_ps,
                                   .finish_ps = finish_ps,
                                   .e2e_ps = TRACE_NONE,
                                   .slo_ps = request->row.slo_ps,
                                   .prompt_tokens = request->row.prompt_tokens,
                                   .output_tokens = request->row.output_tokens };
    int64_t end_ps = is_ok ? finish_ps : request->arrival_ps;

    if (!is_ok)
        serve_note_refused(run->result, SERVE_REFUSAL_MEMORY, request->row.request_id,
                           (int64_t)request->row.prompt_tokens + request->row.output_tokens);
    if (run->result->requests)
        run->result->requests[request->index] =
            (struct serve_request){ .is_taken = true,
                                    .status = end.status,
                                    .replica = replica,
                                    .arrival_ps = end.arrival_ps,
                                    .start_ps = begin_ps,
                                    .first_token_ps = first_ps,
                                    .finish_ps = finish_ps,
                                    .e2e_ps = TRACE_NONE };
    run->result->late_count += end_ps > run->settings->serve.until_ps;
    if (end_ps > run->result->end_ps)
        run->result->end_ps = end_ps;
    if (is_ok && request->steps > 1 && run->observer->on_gap)
        run->observer->on_gap(run->observer->end_arg,
                              &(struct serve_gap){ request->service, first_ps - begin_ps, 0,
                                                   request->steps - 1, 1, end.arrival_ps });
    if (run->observer->on_end)
        run->observer->on_end(run->observer->end_arg, &end);
    arrivals_ended(&run->arrivals, request->index, end_ps);
}

static bool serve_one(struct run_kafetzis *run, const struct request *request, struct err *err)
{
    int64_t begin_ps = 0, step_ps, finish_ps;
    int32_t replica = -1;
    double total_s;

    if (admit_context_ok(run->plan->services[request->service].model, request->row.prompt_tokens,
                         request->row.output_tokens) &&
        !choose(run, request, &replica, &begin_ps, err))
        return false;
    if (replica < 0) {
        end_request(run, request, -1, TRACE_NONE, TRACE_NONE, TRACE_NONE);
        return true;
    }
    total_s = run->results[replica]->step_s * request->steps;
    if (total_s * (double)UNITS_PS_PER_S + (double)begin_ps > (double)UNITS_MAX_PS)
        return err_set(err, ERR_INPUT, "request %lld would end after more than 9000000 s",
                       (long long)request->row.request_id);
    step_ps = to_ps(run->results[replica]->step_s);
    finish_ps = begin_ps + request->steps * step_ps;
    count_devices(run, request, replica, begin_ps - request->arrival_ps, finish_ps);
    count_steps(run, request, replica);
    end_request(run, request, replica, begin_ps, begin_ps + step_ps, finish_ps);
    return true;
}

/* ---- all requests ---- */

static void result_begin(struct run_kafetzis *run)
{
    const struct cluster *cluster = run->plan->cluster;
    struct serve_result *result = run->result;

    *result = (struct serve_result){ .link_count = cluster->medium_count };
    if (run->settings->serve.keeps_requests)
        result->requests =
            arena_array(run->arena, run->input->workload->count, sizeof(*result->requests));
    result->devices =
        arena_array(run->arena, (size_t)cluster->device_count, sizeof(*result->devices));
    result->links = arena_array(run->arena, (size_t)cluster->medium_count, sizeof(*result->links));
    for (int m = 0; m < cluster->medium_count; m++) {
        result->links[m].name = cluster->media[m].name;
        result->links[m].medium = m;
    }
    for (int d = 0; d < cluster->device_count; d++)
        result->devices[d].peak_bytes = cluster->devices[d].reserved_bytes;
}

/* Rounding saturates: sums of absurd sizes do not wrap. */
static void result_end(struct run_kafetzis *run)
{
    struct serve_result *result = run->result;
    double moved_bytes = 0;

    for (int m = 0; m < result->link_count; m++) {
        result->links[m].busy_ps = to_ps(run->medium_s[m]);
        result->links[m].bytes = dmath_round(run->medium_bytes[m]);
        moved_bytes += run->medium_bytes[m];
    }
    result->moved_bytes = dmath_round(moved_bytes);
    result->taken_count = run->arrivals.taken;
    result->arrival_span_ps =
        run->arrivals.taken > 0 ? run->arrivals.last_ps - run->arrivals.first_ps : 0;
}

bool run_kafetzis_serve(struct run_kafetzis *run, const struct serve_observer *observer,
                        struct serve_result *result, struct err *err)
{
    run->observer = observer;
    run->result = result;
    result_begin(run);
    arrivals_begin(&run->arrivals, run->arena, run->input, &run->settings->serve);
    while (run->arrivals.next_ps != ARRIVALS_NEVER) {
        struct arrival arrival;
        struct request request;

        arrivals_take(&run->arrivals, &arrival);
        request = (struct request){ .index = arrival.index,
                                    .row = arrival.request,
                                    .arrival_ps = arrival.arrival_ps,
                                    .service = run->input->service_of[arrival.request.service] };
        request.steps =
            admit_step_count(run->plan->services[request.service].model, request.row.output_tokens);
        result->event_count++;
        if (!serve_one(run, &request, err))
            return false;
    }
    result_end(run);
    return true;
}

const struct phases *run_kafetzis_phases(const struct run_kafetzis *run)
{
    struct phases *phases = arena_alloc(run->arena, sizeof *phases);

    phases->rows = arena_array(run->arena, (size_t)run->plan->service_count * KAFETZIS_PHASE_COUNT,
                               sizeof *phases->rows);
    for (int32_t s = 0; s < run->plan->service_count; s++) {
        double all_s = 0;

        for (int p = 0; p < KAFETZIS_PHASE_COUNT; p++)
            all_s += run->phases_s[s][p];
        for (int p = 0; p < KAFETZIS_PHASE_COUNT && run->step_counts[s] > 0; p++)
            phases->rows[phases->count++] =
                (struct phases_row){ run->plan->services[s].name, kafetzis_phase_names[p],
                                     run->phases_s[s][p] / (double)run->step_counts[s],
                                     run->phases_s[s][p] / all_s };
    }
    return phases;
}
