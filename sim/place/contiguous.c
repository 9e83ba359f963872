/* contiguous.c - the best pipelines of consecutive units, one stage a device (chain.h). */
#include "sim/place/contiguous.h"

#include "lib/base/arena.h"

/* A pipeline's rate is one request a period. */
enum chain_objective contiguous_objective(const struct place_ask *ask)
{
    return ask->objective == PLACE_LATENCY ? CHAIN_LATENCY : CHAIN_PERIOD;
}

const char *contiguous_why_not(struct arena *arena, const struct problem *problem)
{
    return place_why_not(arena, &problem, 1, "no cut into consecutive stages, one a device, fits");
}

/* Stages on kinds to stages on devices, each kind's in file order. */
static struct place_answer answer_of(struct arena *arena, const struct problem *problem,
                                     const struct chain_answer *chain)
{
    struct place_answer answer = { .why = "" };
    size_t kinds = (size_t)problem_kind_count(problem);
    int32_t *next = arena_array(arena, kinds, sizeof *next), count;

    if (!chain->is_feasible) {
        answer.why = contiguous_why_not(arena, problem);
        return answer;
    }
    answer.is_feasible = true;
    answer.stage_count = chain->stage_count;
    answer.stages = arena_array(arena, (size_t)chain->stage_count, sizeof *answer.stages);
    for (int32_t s = 0; s < chain->stage_count; s++) {
        const struct chain_stage *stage = &chain->stages[s];
        const int32_t *devices = problem_devices(problem, stage->kind, &count);

        answer.stages[s] =
            (struct problem_stage){ devices[next[stage->kind]++], stage->first, stage->last };
    }
    return answer;
}

struct place_answer contiguous_solve(struct arena *arena, const struct problem *problem,
                                     const struct chain *chain, enum chain_objective objective)
{
    struct chain_answer answer;
    struct place_answer found;

    if (chain->kind_count <= CHAIN_MAX_KINDS && chain_state_count(chain) <= CHAIN_MAX_STATES) {
        answer = chain_solve(arena, chain, objective);
        found = answer_of(arena, problem, &answer);
        if (answer.is_cut_short)
            found.why =
                found.is_feasible
                    ? "the search was cut short: the best may be another"
                    : "the search was cut short, and found none that fits; there may be one";
        return found;
    }
    answer = chain_search(arena, chain, objective, CHAIN_BEAM);
    found = answer_of(arena, problem, &answer);
    found.why = arena_printf(arena,
                             "%d kinds of devices are more than %lld states: a beam of %d ways was "
                             "searched%s%s",
                             (int)chain->kind_count, (long long)CHAIN_MAX_STATES, CHAIN_BEAM,
                             answer.is_cut_short ? " until the time was over" : "",
                             found.is_feasible ? ", the best may be another"
                                               : " and found none that fits; there may be one");
    return found;
}

static struct place_answer solve(struct arena *arena, const struct place_ask *ask,
                                 enum chain_objective objective)
{
    struct chain chain = *problem_chain(arena, ask->problems[0], objective);

    chain.is_over = ask->is_over;
    chain.is_over_arg = ask->is_over_arg;
    return contiguous_solve(arena, ask->problems[0], &chain, objective);
}

struct place_answer place_pipeedge(struct arena *arena, const struct place_ask *ask)
{
    return solve(arena, ask, CHAIN_PERIOD);
}

struct place_answer place_exact(struct arena *arena, const struct place_ask *ask)
{
    return solve(arena, ask, contiguous_objective(ask));
}

struct place_answer place_auction(struct arena *arena, const struct place_ask *ask)
{
    const struct problem *problem = ask->problems[0];
    const struct chain *chain = problem_device_chain(arena, problem, contiguous_objective(ask));
    struct chain_answer found = chain_order(arena, chain, contiguous_objective(ask), false);
    struct place_answer answer = { .is_feasible = found.is_feasible,
                                   .stage_count = found.stage_count,
                                   .why = "" };

    if (!found.is_feasible) {
        answer.why = contiguous_why_not(arena, problem);
        return answer;
    }
    answer.stages = arena_array(arena, (size_t)found.stage_count, sizeof *answer.stages);
    for (int32_t s = 0; s < found.stage_count; s++)
        answer.stages[s] = (struct problem_stage){ found.stages[s].kind, found.stages[s].first,
                                                   found.stages[s].last };
    return answer;
}
