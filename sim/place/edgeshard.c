/* edgeshard.c - EdgeShard's planners (Zhang et al., arXiv 2405.14371): layers in order over devices
 * with a source, to which the result returns, and which keeps what would give the request away.
 *
 * Algorithm 1, for latency, lets devices be come back to (chain_visit.c); Algorithm 2, for
 * throughput, uses each once, over all subsets of them, which is the program of chain.c over counts
 * of devices that are alike. Both keep the first layer on a device at the source. */
#include "sim/place/contiguous.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"

/* The embedding alone would give the tokens away: its rows are known. */
#define MODEL_LEAD 2

struct private_chain { /* a chain whose first units stay where requests come from */
    struct chain chain;
    const struct chain *of;
    const bool *may_lead; /* by kind; NULL: nothing stands at the source */
    int32_t lead_count;
};

/* ---- the chain of Algorithm 2 ---- */

static double border_cost(const void *arg, int32_t from, int32_t to, int32_t unit)
{
    const struct chain *of = ((const struct private_chain *)arg)->of;

    return of->border_cost(of->arg, from, to, unit);
}

static bool has_room(const void *arg, int32_t kind, int32_t first, int32_t last)
{
    const struct private_chain *private = arg;

    if (private->may_lead && first < private->lead_count &&
        (!private->may_lead[kind] || (first == 0 && last + 1 < private->lead_count)))
        return false;
    return private->of->has_room(private->of->arg, kind, first, last);
}

static double entry_cost(const void *arg, int32_t kind)
{
    const struct chain *of = ((const struct private_chain *)arg)->of;

    return of->entry_cost(of->arg, kind);
}

static double exit_cost(const void *arg, int32_t kind)
{
    const struct chain *of = ((const struct private_chain *)arg)->of;

    return of->exit_cost(of->arg, kind);
}

/* ---- who may have the first layer ---- */

static int32_t lead_count_of(const struct problem *problem)
{
    return problem_input(problem)->model ? MODEL_LEAD : 1;
}

/* A device at the source; -1: none is. */
static int32_t source_device(const struct problem *problem)
{
    for (int32_t d = 0; d < problem_input(problem)->cluster->device_count; d++)
        if (problem_is_at_source(problem, d))
            return d;
    return -1;
}

static const bool *leading_kinds(struct arena *arena, const struct problem *problem)
{
    int32_t count = problem_kind_count(problem), device_count;
    bool *may_lead = arena_array(arena, (size_t)count, sizeof *may_lead);

    if (source_device(problem) < 0)
        return NULL;
    for (int32_t k = 0; k < count; k++)
        may_lead[k] = problem_is_at_source(problem, problem_devices(problem, k, &device_count)[0]);
    return may_lead;
}

static struct place_answer pipeline(struct arena *arena, const struct place_ask *ask,
                                    enum chain_objective objective)
{
    const struct problem *problem = ask->problems[0];
    struct private_chain private = { .of = problem_chain(arena, problem, objective),
                                     .may_lead = leading_kinds(arena, problem),
                                     .lead_count = lead_count_of(problem) };

    private.chain = *private.of;
    private.chain.border_cost = border_cost;
    private.chain.has_room = has_room;
    private.chain.entry_cost = entry_cost;
    private.chain.exit_cost = exit_cost;
    private.chain.arg = &private;
    private.chain.is_over = ask->is_over;
    private.chain.is_over_arg = ask->is_over_arg;
    return contiguous_solve(arena, problem, &private.chain, objective);
}

/* ---- Algorithm 1 ---- */

static const struct chain_visits *visits_of(struct arena *arena, const struct problem *problem)
{
    const struct cluster *cluster = problem_input(problem)->cluster;
    int32_t units = problem_unit_count(problem), device_count;
    size_t devices = (size_t)cluster->device_count, count = devices * (size_t)units;
    int64_t *held_bytes = arena_array(arena, count, sizeof *held_bytes);
    int64_t *work_bytes = arena_array(arena, count, sizeof *work_bytes);
    int64_t *room_bytes = arena_array(arena, devices, sizeof *room_bytes);
    int32_t *alike = arena_array(arena, devices, sizeof *alike);
    bool *may_lead = arena_array(arena, devices, sizeof *may_lead);
    struct chain_visits *all = arena_alloc(arena, sizeof *all);

    for (int32_t d = 0; d < cluster->device_count; d++) {
        const struct cluster_device *device = &cluster->devices[d];

        alike[d] = problem_devices(problem, problem_kind_of(problem, d), &device_count)[0];
        may_lead[d] = problem_is_at_source(problem, d);
        room_bytes[d] =
            device->memory_bytes > 0 ? device->memory_bytes - device->reserved_bytes : INT64_MAX;
        for (int32_t u = 0; u < units; u++) {
            held_bytes[d * units + u] = problem_held_bytes(problem, d, u);
            work_bytes[d * units + u] = problem_work_bytes(problem, d, u);
        }
    }
    *all = (struct chain_visits){ .held_bytes = held_bytes,
                                  .work_bytes = work_bytes,
                                  .tied_bytes = problem_tied_bytes(problem),
                                  .room_bytes = room_bytes,
                                  .alike = alike,
                                  .may_lead = source_device(problem) < 0 ? NULL : may_lead,
                                  .lead_count = lead_count_of(problem) };
    return all;
}

/* Stages of devices, as stages of kinds that are one device each. */
static struct chain_answer known_of(struct arena *arena, const struct chain *chain,
                                    const struct place_answer *pipeline)
{
    struct chain_answer known = { .is_feasible = pipeline->is_feasible,
                                  .stage_count = pipeline->stage_count };

    if (!known.is_feasible)
        return known;
    known.stages = arena_array(arena, (size_t)known.stage_count, sizeof *known.stages);
    for (int32_t s = 0; s < known.stage_count; s++)
        known.stages[s] =
            (struct chain_stage){ pipeline->stages[s].device, pipeline->stages[s].first,
                                  pipeline->stages[s].last };
    known.cost = chain_latency(chain, known.stages, known.stage_count);
    return known;
}

static const char *beam_text(struct arena *arena, bool is_feasible, bool is_late, double bound)
{
    char least[UNITS_TEXT_BYTES];

    if (is_late)
        return arena_printf(arena,
                            "the search was cut short%s; no way of whole units over devices is "
                            "faster than %s",
                            is_feasible ? ": the best may be another"
                                        : ", and found none that fits",
                            units_format_human((int64_t)bound, least));
    return arena_printf(arena,
                        "more than %d states: a beam of %d ways was searched%s; no way of whole "
                        "units over devices is faster than %s",
                        CHAIN_VISIT_STATES, CHAIN_BEAM,
                        is_feasible ? ", the best may be another"
                                    : " and found none that fits; there may be one",
                        units_format_human((int64_t)bound, least));
}

static struct place_answer best_way(struct arena *arena, const struct place_ask *ask)
{
    const struct problem *problem = ask->problems[0];
    struct place_answer once = pipeline(arena, ask, CHAIN_LATENCY), answer = once;
    struct chain chain = *problem_device_chain(arena, problem, CHAIN_LATENCY);
    struct chain_answer known = known_of(arena, &chain, &once), found;
    bool is_exact;
    double bound;

    chain.is_over = ask->is_over;
    chain.is_over_arg = ask->is_over_arg;
    found = chain_visit(arena, &chain, visits_of(arena, problem), &known, CHAIN_VISIT_STATES,
                        &is_exact, &bound);
    answer.is_feasible = found.is_feasible;
    if (found.is_feasible) {
        answer.stage_count = found.stage_count;
        answer.stages = arena_array(arena, (size_t)found.stage_count, sizeof *answer.stages);
        for (int32_t s = 0; s < found.stage_count; s++)
            answer.stages[s] = (struct problem_stage){ found.stages[s].kind, found.stages[s].first,
                                                       found.stages[s].last };
    }
    if (!is_exact)
        answer.why = beam_text(arena, found.is_feasible,
                               ask->is_over && ask->is_over(ask->is_over_arg), bound);
    else if (found.is_feasible)
        answer.why = "";
    else if (problem_missing_bytes(problem) == 0)
        answer.why = "no way of whole units over the devices fits";
    return answer;
}

/* ---- the planner ---- */

/* No device at the source holds what has to stay there: which, and how much is missing. NULL: that
 * is not it. */
static const char *lead_why_not(struct arena *arena, const struct problem *problem)
{
    const struct cluster *cluster = problem_input(problem)->cluster;
    int64_t least_bytes = INT64_MAX;
    int32_t least = -1;

    for (int32_t d = 0; d < cluster->device_count; d++) {
        int64_t memory_bytes = cluster->devices[d].memory_bytes, bytes;

        if (!problem_is_at_source(problem, d))
            continue;
        bytes = problem_bytes(problem, d, 0, lead_count_of(problem) - 1) - memory_bytes;
        if (memory_bytes == 0 || bytes <= 0)
            return NULL;
        if (bytes < least_bytes) {
            least_bytes = bytes;
            least = d;
        }
    }
    if (least < 0)
        return NULL;
    return arena_printf(arena,
                        "the first layer has to stay at the source, where device '%s' lacks %lld "
                        "bytes for it",
                        cluster->devices[least].name, (long long)least_bytes);
}

static void explain(struct arena *arena, const struct problem *problem, struct place_answer *answer)
{
    const char **lines = arena_array(arena, 1, sizeof *lines);
    const char *what =
        problem_input(problem)->model ? "the embedding and the first layer" : "the first stage";

    if (source_device(problem) < 0)
        lines[0] = arena_printf(arena,
                                "no device stands at the source (node `source` in devices.csv): "
                                "any may have %s",
                                what);
    else
        lines[0] =
            arena_printf(arena, "%s stay on device '%s', at the source", what,
                         problem_input(problem)->cluster->devices[answer->stages[0].device].name);
    answer->lines = lines;
    answer->line_count = 1;
}

struct place_answer place_edgeshard(struct arena *arena, const struct place_ask *ask)
{
    const struct problem *problem = ask->problems[0];
    struct place_answer answer = contiguous_objective(ask) == CHAIN_LATENCY
                                     ? best_way(arena, ask)
                                     : pipeline(arena, ask, CHAIN_PERIOD);
    const char *why = answer.is_feasible ? NULL : lead_why_not(arena, problem);

    if (why)
        answer.why = why;
    if (answer.is_feasible)
        explain(arena, problem, &answer);
    return answer;
}
