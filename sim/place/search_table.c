/* search_table.c - estimates of candidates: sums over units, by kind of device and number of parts,
 * and what room there is, looked up once. */
#include "sim/place/search.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/format/workload.h"
#include "lib/policy/price.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_BYTES 4
#define HALVINGS 40

/* ---- parts ---- */

static bool ops_ps(const struct cost_table *table, int threads, const struct model *model,
                   enum model_block block, int32_t new_tokens, int32_t past_tokens,
                   int64_t *time_ps)
{
    struct model_op ops[MODEL_MAX_OPS];
    int count = model_block_ops(model, block, new_tokens, past_tokens, ops);

    for (int i = 0; i < count; i++) {
        struct err err = ERR_INIT;
        enum interp_origin origin;
        int64_t op_ps;

        if (!cost_lookup(table, &ops[i], threads, model->weight_bits, &op_ps, &origin, &err))
            return false;
        *time_ps = saturate_add(*time_ps, saturate_mul(op_ps, ops[i].count));
    }
    return true;
}

/* Prompt and decode steps at their mean length. */
static bool block_ps(const struct problem_input *input, const struct cost_table *table, int threads,
                     const struct model *model, enum model_block block, int64_t *time_ps)
{
    int64_t step_ps = 0;

    if (!ops_ps(table, threads, model, block, input->prompt_tokens, 0, time_ps))
        return false;
    if (input->output_tokens < 2)
        return true;
    if (!ops_ps(table, threads, model, block, 1,
                input->prompt_tokens + (input->output_tokens - 2) / 2, &step_ps))
        return false;
    *time_ps = saturate_add(*time_ps, saturate_mul(step_ps, input->output_tokens - 1));
    return true;
}

/* Of embed, a layer and the LM head on one of so many devices. */
static bool parts_ps(const struct problem_input *input, int32_t device, const struct model *slice,
                     int64_t units_ps[3])
{
    const struct cluster_device *of = &input->cluster->devices[device];
    const struct cost_table *table = cost_set_find(input->costs, of->type);
    int threads = of->threads > 0 ? of->threads : cost_only_threads(table);
    const struct model *head = input->model->kind == MODEL_ENCODER ? input->model : slice;

    threads = threads > 0 ? threads : 1;
    memset(units_ps, 0, 3 * sizeof *units_ps);
    if (!block_ps(input, table, threads, input->model, BLOCK_EMBED, &units_ps[0]) ||
        !block_ps(input, table, threads, head, BLOCK_LM_HEAD, &units_ps[2]))
        return false;
    for (int block = BLOCK_ATTN; block <= BLOCK_CONN; block++)
        if (!block_ps(input, table, threads, slice, (enum model_block)block, &units_ps[1]))
            return false;
    for (int u = 0; u < 3; u++)
        units_ps[u] = price_scale(units_ps[u], of->speed_ratio);
    return true;
}

static bool parts_fit(const struct problem_input *input, const struct cluster_device *device,
                      int32_t units, int32_t first, int32_t last, int32_t parts)
{
    const struct model *model = input->model;
    int64_t tokens = (int64_t)input->prompt_tokens + input->output_tokens;
    int64_t layers = (last < units - 1 ? last : units - 2) - (first > 1 ? first : 1) + 1;
    int64_t bytes = device->reserved_bytes + model_activation_bytes(model, input->prompt_tokens);

    if (device->memory_bytes == 0)
        return true;
    for (int block = BLOCK_ATTN; block <= BLOCK_CONN && layers > 0; block++)
        bytes += layers * model_block_weight_bytes(model, (enum model_block)block) / parts;
    if (layers > 0 && model->kind == MODEL_DECODER)
        bytes += layers * tokens * model_kv_bytes_per_token(model) * input->sequences / parts;
    if (first == 0)
        bytes += model_block_weight_bytes(model, BLOCK_EMBED);
    if (last == units - 1)
        bytes += model_block_weight_bytes(model, BLOCK_LM_HEAD) / parts;
    return bytes <= device->memory_bytes;
}

/* ---- tables of a service ---- */

static void reach_fill(struct search_service *service, int32_t degree, int32_t kind)
{
    const struct problem_input *input = problem_input(service->problem);
    int32_t count, units = service->unit_count, last = -1;
    int32_t device = problem_devices(service->problem, kind, &count)[0];

    for (int32_t first = 0; first < units; first++) {
        last = last < first - 1 ? first - 1 : last;
        while (last + 1 < units &&
               (degree == 0 ? problem_has_room(service->problem, device, first, last + 1)
                            : parts_fit(input, &input->cluster->devices[device], units, first,
                                        last + 1, 1 << degree)))
            last++;
        service->reach[degree][(size_t)kind * (size_t)units + (size_t)first] = last;
    }
}

static void kind_fill(struct search_service *service, int32_t degree, int32_t kind,
                      const struct model *slice)
{
    int32_t count, units = service->unit_count;
    int32_t device = problem_devices(service->problem, kind, &count)[0];
    int64_t *sums = &service->sums_ps[degree][(size_t)kind * (size_t)(units + 1)],
            part_ps[3] = { 0 };

    if (degree > 0 &&
        (count < 2 || !parts_ps(problem_input(service->problem), device, slice, part_ps)))
        return;
    service->can_cut[degree][kind] = true;
    for (int32_t u = 0; u < units; u++)
        sums[u + 1] =
            saturate_add(sums[u], degree == 0 ? problem_units_ps(service->problem, device, u, u)
                                              : part_ps[u == 0           ? 0
                                                        : u == units - 1 ? 2
                                                                         : 1]);
    reach_fill(service, degree, kind);
}

static void degree_fill(struct arena *arena, struct search_service *service, int32_t degree)
{
    const struct model *model = problem_input(service->problem)->model, *slice;
    size_t kinds = (size_t)problem_kind_count(service->problem);
    size_t units = (size_t)service->unit_count;
    struct err err = ERR_INIT;

    slice = degree > 0 && model ? model_slice(arena, model, 1 << degree, &err) : model;
    if (degree > 0 && !slice)
        return;
    service->sums_ps[degree] = arena_array(arena, kinds * (units + 1), sizeof(int64_t));
    service->reach[degree] = arena_array(arena, kinds * units, sizeof(int32_t));
    service->can_cut[degree] = arena_array(arena, kinds, sizeof(bool));
    for (int32_t k = 0; k < (int32_t)kinds; k++)
        kind_fill(service, degree, k, slice);
}

/* Requests of the service, by its name in the workload, and how long they come. */
static void demand_fill(const struct judge_input *judged, struct search_service *service)
{
    const struct workload *workload = judged->workload;
    int64_t count = 0, last_ps = 1, outputs = 0;

    service->share = 1;
    service->slo_ps = judged->slo_ps;
    if (!workload)
        return;
    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request request = workload_at(workload, i);

        last_ps = request.arrival_ps > last_ps ? request.arrival_ps : last_ps;
        if (strcmp(workload->services[request.service], problem_input(service->problem)->service) !=
            0)
            continue;
        count++;
        outputs += request.output_tokens;
        if (request.slo_ps > 0 && (service->slo_ps == 0 || request.slo_ps < service->slo_ps))
            service->slo_ps = request.slo_ps;
    }
    if (count == 0)
        return;
    service->share = (double)count / (double)workload->count;
    service->demand_per_ps = (double)count / (double)last_ps;
    if (service->slo_ps == 0 && judged->slo_ttft_ps > 0 && judged->slo_tpot_ps > 0)
        service->slo_ps =
            saturate_add(judged->slo_ttft_ps, saturate_mul(judged->slo_tpot_ps, outputs / count));
}

static void service_begin(struct arena *arena, const struct place_ask *ask,
                          const struct problem *problem, struct search_service *service)
{
    size_t kinds = (size_t)problem_kind_count(problem);
    size_t ways;

    *service = (struct search_service){ .problem = problem,
                                        .unit_count = problem_unit_count(problem),
                                        .share = 1 };
    service->are_ways_alike = problem_input(problem)->model != NULL;
    for (int32_t degree = 0; degree < SEARCH_DEGREES; degree++)
        degree_fill(arena, service, degree);
    ways = kinds * kinds * (service->are_ways_alike ? 1 : (size_t)service->unit_count);
    service->ways = arena_array(arena, ways, sizeof *service->ways);
    for (size_t i = 0; i < ways; i++)
        service->ways[i].time_ps = -1;
    if (ask->judge)
        demand_fill(judge_input(ask->judge), service);
}

void search_begin(struct arena *arena, const struct place_ask *ask, struct search *search)
{
    *search = (struct search){ .arena = arena,
                               .ask = ask,
                               .cluster = problem_input(ask->problems[0])->cluster,
                               .service_count = ask->problem_count,
                               .rng = rng_stream(ask->seed, RNG_PLACEMENT, 1) };
    search->device_count = search->cluster->device_count;
    search->services = arena_array(arena, (size_t)search->service_count, sizeof *search->services);
    for (int32_t s = 0; s < search->service_count; s++)
        service_begin(arena, ask, ask->problems[s], &search->services[s]);
    search->speeds_ps = arena_array(arena, (size_t)search->device_count, sizeof(int64_t));
    for (int32_t d = 0; d < search->device_count; d++)
        search->speeds_ps[d] =
            problem_units_ps(ask->problems[0], d, 0, search->services[0].unit_count - 1);
}

void search_sort(const struct search *search, int32_t *devices, int32_t count)
{
    for (int32_t i = 1; i < count; i++) {
        int32_t device = devices[i], to = i;

        for (; to > 0 && search->speeds_ps[devices[to - 1]] > search->speeds_ps[device]; to--)
            devices[to] = devices[to - 1];
        devices[to] = device;
    }
}

/* ---- estimates ---- */

static int32_t degree_of(int32_t device_count)
{
    return device_count == 1 ? 0 : device_count == 2 ? 1 : device_count == 4 ? 2 : 3;
}

static const struct problem_way *way_of(struct search_service *service, int32_t from, int32_t to,
                                        int32_t unit)
{
    const struct problem *problem = service->problem;
    size_t kinds = (size_t)problem_kind_count(problem);
    size_t at =
        (size_t)problem_kind_of(problem, from) * kinds + (size_t)problem_kind_of(problem, to);
    struct problem_way *way =
        &service
             ->ways[service->are_ways_alike ? at : at * (size_t)service->unit_count + (size_t)unit];

    if (way->time_ps < 0)
        *way = problem_border(problem, from, to, unit);
    return way;
}

/* Behind each block that is cut, everybody gets the sum of what all have. */
static int64_t talk_ps(struct search_service *service, const struct search_stage *stage)
{
    int32_t end = service->unit_count - 1;
    int64_t layers =
        (stage->last < end ? stage->last : end - 1) - (stage->first > 1 ? stage->first : 1) + 1;

    if (stage->device_count == 1)
        return 0;
    return saturate_mul(INT64_C(4) * (stage->device_count - 1) * layers,
                        way_of(service, stage->devices[0], stage->devices[1], 0)->time_ps) /
           stage->device_count;
}

/* What the slowest of its devices takes. */
static int64_t compute_ps(const struct search_service *service, const struct search_stage *stage,
                          int32_t first, int32_t last)
{
    const int64_t *sums = service->sums_ps[degree_of(stage->device_count)];
    int64_t most_ps = 0;

    for (int32_t i = 0; i < stage->device_count; i++) {
        size_t row = (size_t)problem_kind_of(service->problem, stage->devices[i]) *
                     (size_t)(service->unit_count + 1);
        int64_t time_ps = saturate_sub(sums[row + (size_t)last + 1], sums[row + (size_t)first]);

        most_ps = time_ps > most_ps ? time_ps : most_ps;
    }
    return most_ps;
}

static int32_t reach_of(const struct search_service *service, const struct search_stage *stage,
                        int32_t first)
{
    int32_t degree = degree_of(stage->device_count), least = INT32_MAX;

    for (int32_t i = 0; i < stage->device_count; i++) {
        int32_t kind = problem_kind_of(service->problem, stage->devices[i]), last;

        if (!service->sums_ps[degree] || !service->can_cut[degree][kind])
            return first - 1;
        last = service->reach[degree][(size_t)kind * (size_t)service->unit_count + (size_t)first];
        least = last < least ? last : least;
    }
    return least;
}

bool search_measure(struct search *search, struct search_replica *replica)
{
    struct search_service *service = &search->services[replica->service];
    const struct search_stage *stages = replica->stages;
    struct problem_way way = problem_entry(service->problem, stages[0].devices[0]);

    replica->is_simulated = false;
    replica->latency_ps = way.time_ps;
    replica->period_ps = way.occupy_ps;
    for (int32_t s = 0; s < replica->stage_count; s++) {
        const struct search_stage *stage = &stages[s];
        int64_t time_ps, talked_ps;

        if (reach_of(service, stage, stage->first) < stage->last)
            return false;
        time_ps = compute_ps(service, stage, stage->first, stage->last);
        talked_ps = talk_ps(service, stage);
        way = s + 1 < replica->stage_count
                  ? *way_of(service, stage->devices[0], stages[s + 1].devices[0], stage->last)
                  : problem_exit(service->problem, stage->devices[0]);
        replica->latency_ps = saturate_add(replica->latency_ps, saturate_add(time_ps, talked_ps));
        replica->latency_ps = saturate_add(replica->latency_ps, way.time_ps);
        if (saturate_add(time_ps, talked_ps) > replica->period_ps) /* one step at a time */
            replica->period_ps = saturate_add(time_ps, talked_ps);
        if (way.occupy_ps > replica->period_ps)
            replica->period_ps = way.occupy_ps;
    }
    return true;
}

/* ---- filling ---- */

/* Each stage in turn takes units until it takes longer than the limit. Returns how many were
 * placed; stages that got some stand in filled. */
static int32_t fill_up_to(struct search_service *service, const struct search_stage *stages,
                          int32_t count, int64_t limit_ps, struct search_stage *filled,
                          int32_t *filled_count)
{
    int32_t next = 0;

    *filled_count = 0;
    for (int32_t s = 0; s < count && next < service->unit_count; s++) {
        int32_t last = reach_of(service, &stages[s], next), low = next - 1;

        while (low < last) { /* the last unit that keeps the limit: sums rise */
            int32_t middle = low + (last - low + 1) / 2;

            if (compute_ps(service, &stages[s], next, middle) <= limit_ps)
                low = middle;
            else
                last = middle - 1;
        }
        if (low < next)
            continue;
        filled[*filled_count] = stages[s];
        filled[*filled_count].first = next;
        filled[(*filled_count)++].last = low;
        next = low + 1;
    }
    return next;
}

bool search_fill(struct arena *arena, struct search *search, int32_t service_number,
                 const struct search_stage *stages, int32_t count, int32_t slack_percent,
                 struct search_replica *replica)
{
    struct search_service *service = &search->services[service_number];
    struct search_stage *filled = arena_array(arena, (size_t)count, sizeof *filled);
    int64_t low = 0, high = INT64_MAX / 256;

    *replica = (struct search_replica){ .service = service_number, .stages = filled };
    if (count == 0 || fill_up_to(service, stages, count, high, filled, &replica->stage_count) <
                          service->unit_count)
        return false;
    if (slack_percent < INT32_MAX) {
        high = 0;
        for (int32_t s = 0; s < replica->stage_count; s++) { /* what is reached without a limit */
            int64_t time_ps = compute_ps(service, &filled[s], filled[s].first, filled[s].last);

            high = time_ps > high ? time_ps : high;
        }
        for (int i = 0; i < HALVINGS && low < high; i++) {
            int64_t middle = low + (high - low) / 2;

            if (fill_up_to(service, stages, count, middle, filled, &replica->stage_count) <
                service->unit_count)
                low = middle + 1;
            else
                high = middle;
        }
        high = saturate_mul(high, 100 + slack_percent) / 100;
    }
    return fill_up_to(service, stages, count, high, filled, &replica->stage_count) ==
               service->unit_count &&
           search_measure(search, replica);
}

/* ---- how good it looks ---- */

static double service_value(const struct search *search, const struct search_plan *plan,
                            int32_t number)
{
    const struct search_service *service = &search->services[number];
    double rate = 0, late_rate = 0, latency = 0, load, slow;

    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct search_replica *replica = &plan->replicas[r];
        double own = 1.0 / (double)(replica->period_ps > 0 ? replica->period_ps : 1);

        if (replica->service != number)
            continue;
        if (service->slo_ps > 0 && replica->latency_ps > service->slo_ps) {
            late_rate += own;
            continue;
        }
        rate += own;
        latency += own * (double)replica->latency_ps;
    }
    if (!(rate > 0))
        return late_rate > 0 ? 1e-3 * service->share : 0;
    latency /= rate;
    load = rate / (service->demand_per_ps > 0 ? service->demand_per_ps : 1.0 / latency);
    slow = service->slo_ps > 0 ? latency / (double)service->slo_ps : 0.5;
    /* Requests that go to a replica that is too slow are lost. */
    return service->share * load / (1 + load) / (1 + slow) *
           (1 - 0.5 * late_rate / (rate + late_rate));
}

double search_value(const struct search *search, const struct search_plan *plan)
{
    double value = 0, total = 0;

    if (search->ask->objective == PLACE_GOODPUT) {
        for (int32_t s = 0; s < search->service_count; s++)
            value += service_value(search, plan, s);
        return value;
    }
    for (int32_t r = 0; r < plan->replica_count; r++) { /* as judge_alone: a request each */
        const struct search_replica *replica = &plan->replicas[r];

        if (search->ask->objective == PLACE_LATENCY)
            total += (double)replica->latency_ps / plan->replica_count;
        else if ((double)replica->period_ps / plan->replica_count > total)
            total = (double)replica->period_ps / plan->replica_count;
    }
    return -total;
}
