/* parts_score.c - what a placement over stages of one device or several makes of a lone request,
 * as a sum. */
#include "sim/place/parts.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "lib/policy/price.h"
#include "sim/network/network.h"
#include "sim/place/problem.h"
#include "sim/sliced/sliced.h"
#include <string.h>

#define CANDIDATE "placement"
#define VALUE_BYTES 4

struct step { /* of a request */
    int32_t new_tokens, past_tokens;
};

struct scorer {
    struct arena *arena;
    const struct problem *problem;
    const struct model *model;
    const struct plan *plan;
    const struct plan_replica *replica;
    struct price *price;
    struct network *network;
    struct sliced_set *set;
    struct sliced **sliced; /* by stage; NULL: on one device */
    struct step step;
    int64_t *busy_ps;     /* by device */
    int64_t *in_stage_ps; /* by stage */
    int64_t *position_ps; /* scratch */
    struct parts_score *score;
};

/* ---- the plan ---- */

static const struct plan *plan_of(struct arena *arena, const struct problem_input *input,
                                  const struct placement_row *rows, int count, struct err *err)
{
    struct placement placement = { .path = CANDIDATE, .count = count };

    placement.rows = arena_array(arena, (size_t)count + 1, sizeof *placement.rows);
    memcpy(placement.rows, rows, (size_t)count * sizeof *rows);
    for (int i = 0; i < count; i++) /* as written to a file, behind two lines of head */
        placement.rows[i].line = i + 3;
    return plan_build(arena, &placement, input->cluster, input->costs,
                      model_catalogue_of(arena, input->model), err);
}

static bool is_one_replica(const struct plan *plan)
{
    if (plan->replica_count != 1 || plan_replica_is_split(&plan->replicas[0]) ||
        plan->replicas[0].total_count != plan->replicas[0].stage_count)
        return false;
    for (int s = 0; s < plan->replicas[0].stage_count; s++)
        if (plan->replicas[0].stages[s].wire_bits > 0)
            return false;
    return true;
}

/* ---- prices ---- */

static bool piece_price(void *arg, const struct sliced *sliced, int32_t who, int32_t piece,
                        int64_t *time_ps, int *extrapolated, struct err *err)
{
    const struct scorer *scorer = arg;
    const struct pass_piece *of = &sliced_pass(sliced)->pieces[piece];
    const struct cluster_device *device =
        &scorer->plan->cluster->devices[sliced_plan(sliced)->devices[of->position]];

    (void)who;
    return price_piece(scorer->price, of, scorer->model,
                       cost_set_find(problem_input(scorer->problem)->costs, device->type),
                       device->threads, device->speed_ratio, scorer->step.new_tokens,
                       scorer->step.past_tokens, time_ps, extrapolated, err);
}

static int64_t no_lead(void *arg, const struct sliced *sliced, int32_t position, int32_t sequences)
{
    (void)arg;
    (void)sliced;
    (void)position;
    (void)sequences;
    return 0;
}

/* ---- the network ---- */

static bool network_begin(struct scorer *scorer, enum collective_algorithm collective,
                          struct err *err)
{
    const struct cluster *cluster = scorer->plan->cluster;
    const struct network_options options = { .model = NETWORK_FLOWS, .has_shortcut = true };
    const struct sliced_host host = { .arg = scorer, .price = piece_price, .lead_ps = no_lead };
    int32_t stages = scorer->replica->stage_count;
    struct network_pair *pairs;
    int32_t *slots = arena_array(scorer->arena, (size_t)cluster->device_count, sizeof *slots);
    int count;

    scorer->set = sliced_create(scorer->arena, collective, false, scorer->plan->stage_count);
    for (int32_t s = 0; s < stages; s++)
        if (scorer->replica->stages[s].device_count > 1)
            scorer->sliced[s] =
                sliced_add(scorer->set, &scorer->replica->stages[s], scorer->model, false);
    count = sliced_pair_count(scorer->set);
    if (count == 0)
        return true;
    pairs = arena_array(scorer->arena, (size_t)count, sizeof *pairs);
    count = sliced_pairs(scorer->set, pairs);
    scorer->network = network_open(scorer->arena, cluster, &options, pairs, count, err);
    if (!scorer->network)
        return false;
    for (int32_t d = 0; d < cluster->device_count; d++)
        slots[d] = d;
    sliced_routes(scorer->set, scorer->network);
    sliced_attach(scorer->set, cluster, NULL, 0, slots, &host);
    return sliced_alone_setup(scorer->set, cluster, &options, pairs, count, err);
}

/* ---- a step ---- */

static bool sliced_step(struct scorer *scorer, int32_t s, int64_t *time_ps, struct err *err)
{
    const struct plan_stage *stage = &scorer->replica->stages[s];
    const struct sliced_load load = { scorer->step.new_tokens, 1, scorer->step.past_tokens > 0 };
    struct parts_score *score = scorer->score;
    struct sliced_alone alone;

    if (!sliced_alone_pass(scorer->sliced[s], 0, &load, &alone, scorer->position_ps, err))
        return false;
    for (int i = 0; i < stage->device_count; i++)
        scorer->busy_ps[stage->devices[i]] =
            saturate_add(scorer->busy_ps[stage->devices[i]], scorer->position_ps[i]);
    *time_ps = alone.time_ps;
    score->compute_ps = saturate_add(score->compute_ps, alone.compute_ps);
    score->exchange_ps = saturate_add(score->exchange_ps, alone.time_ps - alone.compute_ps);
    score->message_count += alone.message_count;
    score->message_bytes = network_add_bytes(score->message_bytes, alone.message_bytes);
    return true;
}

static bool stage_step(struct scorer *scorer, int32_t s, struct err *err)
{
    const struct plan_stage *stage = &scorer->replica->stages[s];
    const struct cluster_device *device = &scorer->plan->cluster->devices[stage->devices[0]];
    int64_t time_ps;
    int extrapolated;

    if (scorer->sliced[s]) {
        if (!sliced_step(scorer, s, &time_ps, err))
            return false;
    } else {
        if (!price_step(scorer->price, stage, scorer->model,
                        cost_set_find(problem_input(scorer->problem)->costs, device->type),
                        device->threads, device->speed_ratio, scorer->step.new_tokens,
                        scorer->step.past_tokens, &time_ps, &extrapolated, err))
            return false;
        scorer->busy_ps[stage->devices[0]] =
            saturate_add(scorer->busy_ps[stage->devices[0]], time_ps);
        scorer->score->compute_ps = saturate_add(scorer->score->compute_ps, time_ps);
    }
    scorer->in_stage_ps[s] = saturate_add(scorer->in_stage_ps[s], time_ps);
    scorer->score->latency_ps = saturate_add(scorer->score->latency_ps, time_ps);
    return true;
}

/* ---- sums ---- */

/* From the source through all stages back to it: who sends does so from the first device of its
 * stage, to the first of the next. */
static void ways_add(struct scorer *scorer)
{
    const struct plan_stage *stages = scorer->replica->stages;
    int32_t count = scorer->replica->stage_count;
    int64_t *latency_ps = &scorer->score->latency_ps;

    *latency_ps =
        saturate_add(*latency_ps, problem_entry(scorer->problem, stages[0].devices[0]).time_ps);
    for (int32_t s = 0; s + 1 < count; s++) {
        const struct plan_border *out = &stages[s].out;
        int64_t values = (int64_t)out->output_values + out->residual_values;

        *latency_ps = saturate_add(
            *latency_ps,
            problem_message(scorer->problem, stages[s].devices[0], stages[s + 1].devices[0],
                            problem_input(scorer->problem)->prompt_tokens, VALUE_BYTES * values)
                .time_ps);
    }
    *latency_ps = saturate_add(*latency_ps,
                               problem_exit(scorer->problem, stages[count - 1].devices[0]).time_ps);
}

static void period_find(struct scorer *scorer)
{
    int64_t *period_ps = &scorer->score->period_ps;

    for (int32_t d = 0; d < scorer->plan->cluster->device_count; d++)
        if (scorer->busy_ps[d] > *period_ps)
            *period_ps = scorer->busy_ps[d];
    for (int32_t s = 0; s < scorer->replica->stage_count; s++)
        if (scorer->in_stage_ps[s] > *period_ps)
            *period_ps = scorer->in_stage_ps[s];
}

static int64_t device_bytes(const struct scorer *scorer, int32_t device)
{
    const struct problem_input *input = problem_input(scorer->problem);
    const struct model_step first = { input->prompt_tokens, 1, input->prompt_tokens };
    const struct model_step last = { 1, 1, (int64_t)input->prompt_tokens + input->output_tokens };
    int64_t tokens = saturate_mul((int64_t)input->prompt_tokens + input->output_tokens,
                                  scorer->model->kind == MODEL_DECODER ? input->sequences : 0);
    int64_t bytes = input->cluster->devices[device].reserved_bytes, work_bytes = 0;

    for (int32_t s = 0; s < scorer->replica->stage_count; s++) {
        const struct plan_stage *stage = &scorer->replica->stages[s];
        int64_t a = plan_stage_work_bytes(scorer->plan, stage, device, &first);
        int64_t b = plan_stage_work_bytes(scorer->plan, stage, device, &last);

        if (!plan_stage_has(stage, device))
            continue;
        bytes = saturate_add(bytes, plan_stage_weight_bytes(scorer->plan, stage, device));
        bytes = saturate_add(bytes, saturate_mul(tokens, plan_device_kv_bytes_per_token(
                                                             scorer->plan, stage, device)));
        work_bytes = a > work_bytes ? a : work_bytes;
        work_bytes = b > work_bytes ? b : work_bytes;
    }
    return saturate_add(bytes, work_bytes);
}

static bool is_used(const struct scorer *scorer, int32_t device)
{
    for (int32_t s = 0; s < scorer->replica->stage_count; s++)
        if (plan_stage_has(&scorer->replica->stages[s], device))
            return true;
    return false;
}

static void room_find(struct scorer *scorer)
{
    const struct cluster *cluster = scorer->plan->cluster;

    scorer->score->room_bytes = INT64_MAX;
    for (int32_t d = 0; d < cluster->device_count; d++) {
        int64_t memory_bytes = cluster->devices[d].memory_bytes, room_bytes;

        if (memory_bytes == 0 || !is_used(scorer, d))
            continue;
        room_bytes = memory_bytes - device_bytes(scorer, d);
        if (room_bytes < scorer->score->room_bytes) {
            scorer->score->room_bytes = room_bytes;
            scorer->score->room_device = d;
        }
    }
}

static bool steps_add(struct scorer *scorer, struct err *err)
{
    const struct problem_input *input = problem_input(scorer->problem);
    int32_t steps = scorer->model->kind == MODEL_DECODER ? input->output_tokens : 1;

    for (int32_t step = 0; step < steps; step++) {
        scorer->step = step == 0 ? (struct step){ input->prompt_tokens, 0 }
                                 : (struct step){ 1, input->prompt_tokens + step - 1 };
        for (int32_t s = 0; s < scorer->replica->stage_count; s++)
            if (!stage_step(scorer, s, err))
                return false;
    }
    return true;
}

bool parts_score(struct arena *arena, const struct problem *problem,
                 enum collective_algorithm collective, const struct placement_row *rows, int count,
                 struct parts_score *score, struct err *err)
{
    const struct problem_input *input = problem_input(problem);
    struct scorer scorer = {
        .arena = arena, .problem = problem, .model = input->model, .score = score
    };
    size_t devices = (size_t)input->cluster->device_count;

    *score = (struct parts_score){ 0 };
    scorer.plan = plan_of(arena, input, rows, count, err);
    if (!scorer.plan)
        return false;
    if (!is_one_replica(scorer.plan))
        return err_set(err, ERR_INPUT,
                       "only one replica without copies, phases or wire_bits is scored as a sum");
    scorer.replica = &scorer.plan->replicas[0];
    scorer.price = price_create(arena);
    scorer.sliced =
        arena_array(arena, (size_t)scorer.replica->stage_count, sizeof(struct sliced *));
    scorer.busy_ps = arena_array(arena, devices, sizeof(int64_t));
    scorer.position_ps = arena_array(arena, devices, sizeof(int64_t));
    scorer.in_stage_ps = arena_array(arena, (size_t)scorer.replica->stage_count, sizeof(int64_t));
    if (!network_begin(&scorer, collective, err) || !steps_add(&scorer, err))
        return false;
    ways_add(&scorer);
    period_find(&scorer);
    room_find(&scorer);
    return true;
}
