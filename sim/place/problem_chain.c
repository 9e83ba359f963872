/* problem_chain.c - a problem as a chain, over kinds of devices or over devices. */
#include "sim/place/problem.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"

struct chain_of { /* the chain, and what its functions need */
    struct chain chain;
    const struct problem *problem;
    enum chain_objective objective;
    const int32_t *devices; /* by kind of the chain: its first */
    const int32_t *seconds; /* and its second one; the first where there is no other */
};

static double cost_of(const struct chain_of *of, struct problem_way way)
{
    return (double)(of->objective == CHAIN_LATENCY ? way.time_ps : way.occupy_ps);
}

/* Between two devices of one kind: the first two of it. */
static double border_cost(const void *arg, int32_t from, int32_t to, int32_t unit)
{
    const struct chain_of *of = arg;

    return cost_of(of, problem_border(of->problem, of->devices[from],
                                      from == to ? of->seconds[to] : of->devices[to], unit));
}

static bool has_room(const void *arg, int32_t kind, int32_t first, int32_t last)
{
    const struct chain_of *of = arg;

    return problem_has_room(of->problem, of->devices[kind], first, last);
}

static double entry_cost(const void *arg, int32_t kind)
{
    const struct chain_of *of = arg;

    return cost_of(of, problem_entry(of->problem, of->devices[kind]));
}

static double exit_cost(const void *arg, int32_t kind)
{
    const struct chain_of *of = arg;

    return cost_of(of, problem_exit(of->problem, of->devices[kind]));
}

static const struct chain *begin(struct arena *arena, const struct problem *problem,
                                 enum chain_objective objective, int32_t kinds,
                                 const int32_t *counts, const int32_t *devices,
                                 const int32_t *seconds)
{
    struct chain_of *of = arena_alloc(arena, sizeof *of);
    int32_t units = problem_unit_count(problem);
    double *costs = arena_array(arena, (size_t)kinds * (size_t)units, sizeof *costs);

    for (int32_t k = 0; k < kinds; k++)
        for (int32_t u = 0; u < units; u++)
            costs[(size_t)k * (size_t)units + (size_t)u] =
                (double)problem_units_ps(problem, devices[k], u, u);
    of->problem = problem;
    of->objective = objective;
    of->devices = devices;
    of->seconds = seconds;
    of->chain = (struct chain){ .unit_count = units,
                                .kind_count = kinds,
                                .device_counts = counts,
                                .unit_costs = costs,
                                .border_cost = border_cost,
                                .has_room = has_room,
                                .entry_cost = entry_cost,
                                .exit_cost = exit_cost,
                                .arg = of };
    return &of->chain;
}

const struct chain *problem_chain(struct arena *arena, const struct problem *problem,
                                  enum chain_objective objective)
{
    int32_t kinds = problem_kind_count(problem);
    int32_t *counts = arena_array(arena, (size_t)kinds, sizeof *counts);
    int32_t *devices = arena_array(arena, (size_t)kinds, sizeof *devices);
    int32_t *seconds = arena_array(arena, (size_t)kinds, sizeof *seconds);

    for (int32_t k = 0; k < kinds; k++) {
        const int32_t *list = problem_devices(problem, k, &counts[k]);

        devices[k] = list[0];
        seconds[k] = list[counts[k] > 1];
    }
    return begin(arena, problem, objective, kinds, counts, devices, seconds);
}

const struct chain *problem_list_chain(struct arena *arena, const struct problem *problem,
                                       enum chain_objective objective, const int32_t *devices,
                                       int32_t count)
{
    int32_t *counts = arena_array(arena, (size_t)count, sizeof *counts);

    for (int32_t i = 0; i < count; i++)
        counts[i] = 1;
    return begin(arena, problem, objective, count, counts, devices, devices);
}

const struct chain *problem_device_chain(struct arena *arena, const struct problem *problem,
                                         enum chain_objective objective)
{
    int32_t count = problem_input(problem)->cluster->device_count;
    int32_t *devices = arena_array(arena, (size_t)count, sizeof *devices);

    for (int32_t d = 0; d < count; d++)
        devices[d] = d;
    return problem_list_chain(arena, problem, objective, devices, count);
}
