/* chain.c - PipeEdge's dynamic program over kinds of devices, for both objectives. */
#include "sim/place/chain.h"

#include "lib/base/arena.h"
#include "sim/place/chain_internal.h"
#include <assert.h>
#include <math.h>
#include <stddef.h>

#define ASK_EVERY 1024 /* states, between looks at the clock */

#define BOUND_BEAM 16 /* finds something near the best in no time */

struct state {     /* of units placed, devices used, kind of the next stage: how it was come by */
    int32_t first; /* unit of the stage before */
    int32_t kind;  /* of that stage */
};

struct solver {
    const struct chain *chain;
    enum chain_objective objective;
    int32_t set_count;              /* products of (devices + 1) */
    int32_t steps[CHAIN_MAX_KINDS]; /* of one device more, among the sets */
    double *costs;                  /* by state; INFINITY: not reached */
    struct state *states;
    double *borders;    /* [kind][kind][unit] */
    bool *has_room;     /* [kind][first][last] */
    uint64_t *are_left; /* by devices used: kinds that have another one */
    double bound;       /* no answer is worth more: known from a search */
    double best;
    struct state best_end; /* the last stage */
    int32_t best_set;
};

int64_t chain_state_count(const struct chain *chain)
{
    int64_t count;

    if (__builtin_mul_overflow((int64_t)chain->unit_count + 1, (int64_t)chain->kind_count, &count))
        return INT64_MAX;
    for (int32_t k = 0; k < chain->kind_count; k++)
        if (__builtin_mul_overflow(count, (int64_t)chain->device_counts[k] + 1, &count))
            return INT64_MAX;
    return count;
}

static size_t index_of(const struct solver *solver, int32_t units, int32_t set, int32_t kind)
{
    return ((size_t)units * (size_t)solver->set_count + (size_t)set) *
               (size_t)solver->chain->kind_count +
           (size_t)kind;
}

/* Devices of the kind that a set has used. */
static int32_t used_of(const struct solver *solver, int32_t set, int32_t kind)
{
    assert(solver->steps[kind] > 0);
    return set / solver->steps[kind] % (solver->chain->device_counts[kind] + 1);
}

static bool *room_at(const struct solver *solver, int32_t kind, int32_t first)
{
    size_t units = (size_t)solver->chain->unit_count;

    return &solver->has_room[((size_t)kind * units + (size_t)first) * units];
}

static void borders_fill(struct arena *arena, struct solver *solver)
{
    const struct chain *chain = solver->chain;
    size_t kinds = (size_t)chain->kind_count, units = (size_t)chain->unit_count;

    solver->borders = arena_array(arena, kinds * kinds * units, sizeof *solver->borders);
    for (int32_t a = 0; a < chain->kind_count; a++)
        for (int32_t b = 0; b < chain->kind_count; b++)
            for (int32_t u = 0; u + 1 < chain->unit_count; u++)
                solver->borders[((size_t)a * kinds + (size_t)b) * units + (size_t)u] =
                    chain->border_cost(chain->arg, a, b, u);
}

/* What every state asks again. */
static void tables_fill(struct arena *arena, struct solver *solver)
{
    const struct chain *chain = solver->chain;
    size_t kinds = (size_t)chain->kind_count, units = (size_t)chain->unit_count;

    solver->has_room = arena_array(arena, kinds * units * units, sizeof(bool));
    solver->are_left = arena_array(arena, (size_t)solver->set_count, sizeof(uint64_t));
    for (int32_t k = 0; k < chain->kind_count; k++)
        for (int32_t first = 0; first < chain->unit_count; first++)
            for (int32_t last = first; last < chain->unit_count; last++)
                room_at(solver, k, first)[last] = chain->has_room(chain->arg, k, first, last);
    for (int32_t set = 0; set < solver->set_count; set++)
        for (int32_t k = 0; k < chain->kind_count; k++)
            if (used_of(solver, set, k) < chain->device_counts[k])
                solver->are_left[set] |= UINT64_C(1) << k;
}

/* A stage that ends the chain. */
static void end_here(struct solver *solver, int32_t first, int32_t set, int32_t kind, double cost)
{
    if (!(cost < solver->best))
        return;
    solver->best = solver->bound = cost;
    solver->best_end = (struct state){ first, kind };
    solver->best_set = set;
}

/* Behind the stage [first, last] of a kind: a next one of any kind that has a device left. */
static void go_on(struct solver *solver, int32_t first, int32_t last, int32_t set, int32_t kind,
                  double cost)
{
    const struct chain *chain = solver->chain;
    int32_t next_set = set + solver->steps[kind];
    uint64_t are_left = solver->are_left[next_set];
    size_t units = (size_t)chain->unit_count;
    const double *borders = &solver->borders[(size_t)kind * (size_t)chain->kind_count * units];

    for (int32_t next = 0; next < chain->kind_count; next++) {
        double with, *known;
        size_t at;

        if (!(are_left >> next & 1))
            continue;
        with = chain_join(solver->objective, cost, borders[(size_t)next * units + (size_t)last]);
        at = index_of(solver, last + 1, next_set, next);
        known = &solver->costs[at];
        if (!(with < *known) || with > solver->bound)
            continue;
        *known = with;
        solver->states[at] = (struct state){ first, kind };
    }
}

/* All stages that begin at a unit in a state. What is worse than the bound is left out: costs only
 * grow, and no way to the best one passes there. */
static void expand(struct solver *solver, int32_t first, int32_t set, int32_t kind, double before)
{
    const struct chain *chain = solver->chain;
    const double *units = chain_units(chain, kind);
    const bool *has_room = room_at(solver, kind, first);
    double stage = 0;

    for (int32_t last = first; last < chain->unit_count; last++) {
        double cost;

        stage += units[last];
        cost = chain_join(solver->objective, before, stage);
        if (cost > solver->bound)
            return;
        if (!has_room[last])
            continue;
        if (last + 1 < chain->unit_count)
            go_on(solver, first, last, set, kind, cost);
        else
            end_here(solver, first, set, kind,
                     chain_with_exit(chain, solver->objective, cost, kind));
    }
}

/* From the last stage back to the first. */
static struct chain_answer answer_of(struct arena *arena, const struct solver *solver)
{
    const struct chain *chain = solver->chain;
    struct chain_answer answer = { .cost = solver->best };
    struct state at = solver->best_end;
    int32_t last = chain->unit_count - 1, set = solver->best_set;
    struct chain_stage *stages;

    if (isinf(solver->best))
        return answer;
    answer.is_feasible = true;
    stages = arena_array(arena, (size_t)chain->unit_count, sizeof *stages);
    for (;;) {
        stages[answer.stage_count++] = (struct chain_stage){ at.kind, at.first, last };
        if (at.first == 0)
            break;
        last = at.first - 1;
        at = solver->states[index_of(solver, at.first, set, at.kind)];
        set -= solver->steps[at.kind];
    }
    answer.stages = arena_array(arena, (size_t)answer.stage_count, sizeof *answer.stages);
    for (int32_t s = 0; s < answer.stage_count; s++)
        answer.stages[s] = stages[answer.stage_count - 1 - s];
    return answer;
}

struct chain_answer chain_solve(struct arena *arena, const struct chain *chain,
                                enum chain_objective objective)
{
    struct solver solver = { .chain = chain, .objective = objective, .set_count = 1 };
    size_t count = (size_t)chain_state_count(chain);
    struct chain_answer near;
    uint32_t ticks = 0;

    assert(chain_state_count(chain) <= CHAIN_MAX_STATES && chain->kind_count <= CHAIN_MAX_KINDS);
    for (int32_t k = 0; k < chain->kind_count; k++) {
        solver.steps[k] = solver.set_count;
        solver.set_count *= chain->device_counts[k] + 1;
    }
    solver.best = INFINITY;
    near = chain_search(arena, chain, objective, BOUND_BEAM);
    solver.bound = near.cost;
    solver.costs = arena_array(arena, count, sizeof *solver.costs);
    solver.states = arena_array(arena, count, sizeof *solver.states);
    for (size_t i = 0; i < count; i++)
        solver.costs[i] = INFINITY;
    borders_fill(arena, &solver);
    tables_fill(arena, &solver);
    for (int32_t k = 0; k < chain->kind_count; k++)
        if (chain->device_counts[k] > 0)
            solver.costs[index_of(&solver, 0, 0, k)] = chain_entry(chain, k);
    for (int32_t units = 0; units < chain->unit_count; units++)
        for (int32_t set = 0; set < solver.set_count; set++)
            for (int32_t k = 0; k < chain->kind_count; k++) {
                double before = solver.costs[index_of(&solver, units, set, k)];

                if (isinf(before) || before > solver.bound)
                    continue;
                expand(&solver, units, set, k, before);
                if (++ticks % ASK_EVERY == 0 && chain->is_over &&
                    chain->is_over(chain->is_over_arg)) {
                    near.is_cut_short = true;
                    return near;
                }
            }
    return answer_of(arena, &solver);
}

/* ---- given stages ---- */

static double cost_of(const struct chain *chain, const struct chain_stage *stages, int32_t count,
                      enum chain_objective objective)
{
    double cost = chain_entry(chain, stages[0].kind);

    for (int32_t s = 0; s < count; s++) {
        const struct chain_stage *stage = &stages[s];
        double sum = 0;

        for (int32_t u = stage->first; u <= stage->last; u++)
            sum += chain_units(chain, stage->kind)[u];
        cost = chain_join(objective, cost, sum);
        if (s + 1 < count)
            cost = chain_join(
                objective, cost,
                chain->border_cost(chain->arg, stage->kind, stages[s + 1].kind, stage->last));
    }
    return chain_with_exit(chain, objective, cost, stages[count - 1].kind);
}

double chain_latency(const struct chain *chain, const struct chain_stage *stages, int32_t count)
{
    return cost_of(chain, stages, count, CHAIN_LATENCY);
}

double chain_period(const struct chain *chain, const struct chain_stage *stages, int32_t count)
{
    return cost_of(chain, stages, count, CHAIN_PERIOD);
}
