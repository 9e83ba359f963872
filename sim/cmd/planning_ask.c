/* planning_ask.c - asks planners, and predicts what they answer. */
#include "sim/cmd/planning.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "sim/place/room.h"
#include <string.h>

#define ROUNDING_RATIO 1e-6 /* a speed_ratio is rounded step by step */

const char *planning_refusal(const struct planning *planning,
                             const struct place_algorithm *algorithm)
{
    if (planning->problem_count > 1 && !algorithm->takes_services)
        return arena_printf(planning->arena, "it places one service at a time, and %d are given",
                            planning->problem_count);
    for (int s = 0; s < planning->problem_count && algorithm->needs_model; s++)
        if (!problem_input(planning->problems[s])->model)
            return "it cuts into layers of models, and an executable has none";
    if (algorithm->needs_workload && !planning->workload)
        return "it needs a --workload";
    if (planning->options->fault_count > 0 && !algorithm->takes_faults)
        return "it does not plan for --faults";
    return NULL;
}

/* ---- time ---- */

struct limit {
    int64_t end_ns; /* 0: none */
    const volatile sig_atomic_t *stop;
};

static bool is_over(void *arg)
{
    const struct limit *limit = arg;

    return (limit->stop && *limit->stop) || (limit->end_ns > 0 && clock_now_ns() >= limit->end_ns);
}

bool planning_is_stopped(const struct planning *planning)
{
    return planning->options->stop && *planning->options->stop;
}

/* ---- what is predicted ---- */

static const char *device_text(struct arena *arena, const struct planning *planning, int32_t device)
{
    return arena_printf(arena, "device '%s'", planning->cluster->devices[device].name);
}

/* "device 'a'", "messages of device 'a'", "messages of the source", "messages over 'air'". */
static const char *stage_limit(const struct planning *planning, const struct place_answer *answer,
                               const struct problem_score *score)
{
    if (score->limit < 0)
        return arena_printf(planning->arena, "messages over '%s'",
                            problem_link_name(planning->problems[0], score->link));
    if (score->limit == answer->stage_count)
        return "messages of the source";
    return arena_printf(
        planning->arena, "%s%s", score->link >= 0 ? "messages of " : "",
        device_text(planning->arena, planning, answer->stages[score->limit].device));
}

/* Texts of a verdict last until the next one. */
static const char *keep(const struct planning *planning, const char *text)
{
    return text ? arena_strndup(planning->arena, text, strlen(text)) : NULL;
}

static bool refuse(const struct planning *planning, struct planned *planned, const char *why)
{
    planned->answer.is_feasible = false;
    planned->answer.why = keep(planning, why);
    return false;
}

/* Sums are those of a simulated lone request to the picosecond: it looks up the same costs. */
static int64_t extrapolated_of_sums(const struct planning *planning, const struct planned *planned)
{
    const struct problem_input *input = problem_input(planning->problems[0]);
    struct judge_verdict verdict =
        judge_alone(planning->judge, planned->rows, planned->row_count, input->service,
                    input->prompt_tokens, input->output_tokens);

    return verdict.is_feasible ? verdict.extrapolated_costs : 0;
}

/* Sums stop at the largest number: beyond the end of simulated time they are no prediction. */
static bool predict_stages(const struct planning *planning, struct planned *planned)
{
    const struct place_answer *answer = &planned->answer;
    struct problem_score score =
        problem_score(planning->problems[0], answer->stages, answer->stage_count);

    if (score.latency_ps > UNITS_MAX_PS || score.period_ps > UNITS_MAX_PS)
        return refuse(planning, planned,
                      "a lone request would take longer than simulated time lasts, 9000000 s");
    planned->services[0] =
        (struct planned_service){ .latency_ps = score.latency_ps,
                                  .period_ps = score.period_ps,
                                  .limit = stage_limit(planning, answer, &score) };
    planned->room_bytes = score.room_bytes;
    planned->room_device = score.room_device;
    if (score.room_bytes >= 0)
        planned->extrapolated_costs += extrapolated_of_sums(planning, planned);
    return score.room_bytes >= 0 ||
           refuse(planning, planned,
                  room_why_not(planning->arena, planning->problems[0],
                               (struct room){ score.room_bytes, score.room_device }));
}

static bool predict_alone(const struct planning *planning, struct planned *planned)
{
    double energy_j = 0;

    for (int s = 0; s < planning->problem_count; s++) {
        const struct problem_input *input = problem_input(planning->problems[s]);
        struct judge_verdict verdict =
            judge_alone(planning->judge, planned->rows, planned->row_count, input->service,
                        input->prompt_tokens, input->output_tokens);

        if (!verdict.is_feasible)
            return refuse(planning, planned, verdict.why);
        if (verdict.ok_count < verdict.total_count)
            return refuse(planning, planned, "a lone request does not end well");
        planned->services[s] = (struct planned_service){
            .latency_ps = verdict.latency_mean_ps,
            .period_ps = verdict.busiest_ps,
            .limit = verdict.busiest_name ? keep(planning, verdict.busiest_name) : "nothing"
        };
        planned->extrapolated_costs += verdict.extrapolated_costs;
        energy_j = verdict.energy_j < 0 || energy_j < 0 ? -1 : energy_j + verdict.energy_j;
    }
    planned->energy_j = energy_j;
    return true;
}

/* ---- memory ---- */

/* Simulated requests were alone; here each replica has as many as are asked for. */
static bool fill_room(const struct planning *planning, struct planned *planned)
{
    struct err err = ERR_INIT;
    struct room room;

    if (!room_of_rows(planning->arena, planning->problems, planning->problem_count,
                      planning->catalogue, planned->rows, planned->row_count, &room, &err))
        return refuse(planning, planned, err.text);
    planned->room_bytes = room.bytes;
    planned->room_device = room.device;
    return room.bytes >= 0 ||
           refuse(planning, planned, room_why_not(planning->arena, planning->problems[0], room));
}

/* ---- all of it ---- */

/* What the objective counts, in time: of goodput that of one good request. 0: not known. */
static double objective_ps(const struct planning *planning, enum place_objective objective,
                           const struct planned *planned)
{
    const struct judge_verdict *load = &planned->load;

    if (objective == PLACE_GOODPUT)
        return planned->has_load && load->is_feasible && load->good_count > 0
                   ? (double)load->window_ps / (double)load->good_count
                   : 0;
    if (planning->problem_count > 1)
        return 0;
    return (double)(objective == PLACE_LATENCY ? planned->services[0].latency_ps
                                               : planned->services[0].period_ps);
}

static void fill_bound(const struct planning *planning, enum place_objective objective,
                       struct planned *planned)
{
    double taken_ps = objective_ps(planning, objective, planned);

    planned->bound_ps = planned->answer.bound_ps;
    planned->over_bound_ratio = -1;
    if (planned->bound_ps <= 0 || taken_ps <= 0)
        return;
    planned->over_bound_ratio = taken_ps / (double)planned->bound_ps - 1;
    if (planned->over_bound_ratio < -ROUNDING_RATIO) { /* the proof is wrong: nobody may miss it */
        planned->answer.why = arena_printf(
            planning->arena, "internal error: the answer is %.3g %% below the bound of %s",
            -100 * planned->over_bound_ratio, planned->algorithm->name);
        planned->answer.bound_ps = planned->bound_ps = 0;
        planned->over_bound_ratio = -1;
    } else if (planned->over_bound_ratio < 0) {
        planned->over_bound_ratio = 0;
    }
}

/* With what migrations between epochs take. */
static struct judge_verdict load_of(const struct planning *planning, const struct planned *planned)
{
    struct judge_input input = *judge_input(planning->judge);
    struct judge *judge = planning->judge;

    if (planned->answer.switch_cost_ps > input.serve.switch_cost_ps) {
        input.serve.switch_cost_ps = planned->answer.switch_cost_ps;
        judge = judge_create(planning->arena, &input);
    }
    return judge_rows(judge, planned->rows, planned->row_count);
}

static void predict(const struct planning *planning, bool is_simulated, struct planned *planned)
{
    planned->energy_j = -1;
    planned->services =
        arena_array(planning->arena, (size_t)planning->problem_count, sizeof *planned->services);
    if (planned->answer.stages && !is_simulated
            ? !predict_stages(planning, planned)
            : !predict_alone(planning, planned) || !fill_room(planning, planned))
        return;
    if (!planning->workload)
        return;
    planned->has_load = true;
    planned->load = load_of(planning, planned);
    planned->extrapolated_costs += planned->load.extrapolated_costs;
    planned->load.why = keep(planning, planned->load.why);
    planned->load.busiest_name = keep(planning, planned->load.busiest_name);
}

struct planned planning_ask(const struct planning *planning,
                            const struct place_algorithm *algorithm, enum place_objective objective,
                            bool is_simulated, const struct place_answer *answers)
{
    int64_t limit_ps = planning->options->limit_ps;
    struct limit limit = { .end_ns = limit_ps > 0 ? clock_now_ns() + limit_ps / 1000 : 0,
                           .stop = planning->options->stop };
    const struct place_ask ask = { .problems = planning->problems,
                                   .problem_count = planning->problem_count,
                                   .objective = objective,
                                   .seed = planning->options->seed,
                                   .judge = planning->judge,
                                   .events = planning->events,
                                   .fault_count = planning->options->fault_count,
                                   .is_over = limit.end_ns > 0 || limit.stop ? is_over : NULL,
                                   .is_over_arg = &limit,
                                   .simulations = planning->options->simulations,
                                   .answers = answers };
    struct planned planned = { .algorithm = algorithm,
                               .answer = algorithm->plan(planning->arena, &ask) };

    if (!planned.answer.is_feasible)
        return planned;
    planned.rows = place_rows(planning->arena, &ask, &planned.answer, &planned.row_count);
    predict(planning, is_simulated, &planned);
    fill_bound(planning, objective, &planned);
    return planned;
}

struct planned planning_rows(const struct planning *planning, const struct placement *placement)
{
    struct planned planned = {
        .answer = { .is_feasible = true, .why = "", .switch_cost_ps = placement->switch_cost_ps },
        .rows = placement->rows,
        .row_count = placement->count,
        .over_bound_ratio = -1
    };

    predict(planning, true, &planned);
    return planned;
}

void planned_write(const struct planned *planned, struct out *out)
{
    placement_write_epochs(out, planned->rows, planned->row_count, planned->answer.switch_cost_ps);
}
