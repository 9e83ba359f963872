/* place.h - planners: which device gets which part of a service.
 *
 * A planner turns a problem into stages, deterministically, within the memory of the devices. What
 * it predicts by itself are sums of measured costs (problem.h); one that searches may have
 * candidates simulated by a judge (sim/judge). One file an algorithm, and the table of them here.
 */
#ifndef ORRERY_SIM_PLACE_PLACE_H
#define ORRERY_SIM_PLACE_PLACE_H

#include "sim/place/problem.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct events;
struct judge;
struct placement_row;
struct place_answer;

enum place_objective {
    PLACE_LATENCY, /* of a lone request */
    PLACE_PERIOD,  /* the longest that a request takes a device or a port */
    PLACE_GOODPUT, /* requests within their objectives, of the workload of the judge */
    PLACE_OBJECTIVE_COUNT
};
extern const char *const place_objective_names[PLACE_OBJECTIVE_COUNT];

struct place_ask {
    const struct problem *const *problems; /* one a service; they share cluster and costs */
    int32_t problem_count;
    enum place_objective objective;
    uint64_t seed;
    int32_t fault_count; /* nodes that may fail, whichever they are, and leave a replica */
    struct judge *judge; /* simulates candidates (sim/judge/judge.h); NULL: nobody may */
    /* What happens while the workload runs, for planners of epochs; NULL: nothing. The judge has
     * the same. */
    const struct events *events;
    /* Asked now and then by planners that search: true = give the best so far. NULL: never. */
    bool (*is_over)(void *arg);
    void *is_over_arg;
    int64_t simulations; /* of candidates at most, of planners that search; 0 = as they see fit */
    /* By algorithm of the table: what they have answered to this ask before, for a planner that
     * asks all of them; NULL: it does. */
    const struct place_answer *answers;
};

struct place_answer {
    bool is_feasible;
    /* Of a planner of pipelines: the stages of the only replica of the first service. */
    int32_t stage_count;
    struct problem_stage *stages;
    /* Of all others: rows as placements/README.md has them, of all services. place_rows makes them
     * of stages. */
    int row_count;
    struct placement_row *rows;
    const char *why; /* what stands in the way, or a remark on how the answer was found; "" */
    int line_count;  /* of --explain: why this placement, a sentence each */
    const char *const *lines;
    int64_t switch_cost_ps; /* of epochs: what a device is taken for by a migration, at least */
    /* Proven: nothing is below it by the objective; of goodput, time of one good request. 0 =
     * nothing was proven. */
    int64_t bound_ps;
};

struct place_algorithm {
    const char *name, *summary;
    bool takes_services; /* several at once; else the ask has one problem */
    bool needs_model;    /* it cuts into layers: no executables */
    bool needs_workload; /* the ask has a judge with a workload */
    bool takes_faults;   /* fault_count may be above 0 */
    bool is_slow;        /* it simulates: planners that ask others ask it behind the rest */
    /* In arena. */
    struct place_answer (*plan)(struct arena *arena, const struct place_ask *ask);
};

extern const struct place_algorithm place_algorithms[];
extern const int place_algorithm_count;

/* The table's row; NULL: none of that name. */
const struct place_algorithm *place_find(const char *name);
/* The rows of a feasible answer: its own, or of its stages. In arena. */
struct placement_row *place_rows(struct arena *arena, const struct place_ask *ask,
                                 const struct place_answer *answer, int *count);
/* Why nothing fits: how many bytes all devices together lack; else what the planner says. */
const char *place_why_not(struct arena *arena, const struct problem *const *problems, int32_t count,
                          const char *otherwise);

/* ---- the algorithms, by file ---- */

/* baseline.c */
struct place_answer place_single(struct arena *arena, const struct place_ask *ask);
struct place_answer place_even(struct arena *arena, const struct place_ask *ask);
struct place_answer place_greedy(struct arena *arena, const struct place_ask *ask);
struct place_answer place_round_robin(struct arena *arena, const struct place_ask *ask);
struct place_answer place_random(struct arena *arena, const struct place_ask *ask);
/* contiguous.c */
struct place_answer place_pipeedge(struct arena *arena, const struct place_ask *ask);
struct place_answer place_auction(struct arena *arena, const struct place_ask *ask);
struct place_answer place_exact(struct arena *arena, const struct place_ask *ask);
/* edgeshard.c */
struct place_answer place_edgeshard(struct arena *arena, const struct place_ask *ask);
/* alpaserve.c */
struct place_answer place_alpaserve(struct arena *arena, const struct place_ask *ask);
/* infscale.c */
struct place_answer place_infscale(struct arena *arena, const struct place_ask *ask);
/* galaxy.c */
struct place_answer place_galaxy(struct arena *arena, const struct place_ask *ask);
/* heads_place.c */
struct place_answer place_resource_aware(struct arena *arena, const struct place_ask *ask);
struct place_answer place_exact_heads(struct arena *arena, const struct place_ask *ask);
/* epochs.c */
struct place_answer place_static(struct arena *arena, const struct place_ask *ask);
struct place_answer place_dynamic(struct arena *arena, const struct place_ask *ask);
/* search.c */
struct place_answer place_orrery(struct arena *arena, const struct place_ask *ask);

#endif
