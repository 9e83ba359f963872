/* place.h - planners: which device gets which part of a service.
 *
 * A planner turns a problem into stages, deterministically, within the memory of the devices. It
 * knows no clock and no simulator: what it predicts are sums of measured costs (problem.h). One
 * file an algorithm, and the table of them here. */
#ifndef ORRERY_SIM_PLACE_PLACE_H
#define ORRERY_SIM_PLACE_PLACE_H

#include "sim/place/problem.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;

struct place_options {
    enum chain_objective objective;
    uint64_t seed;
};

struct place_answer {
    bool is_feasible;
    int32_t stage_count;
    struct problem_stage *stages;
    const char *why; /* what stands in the way, or a remark on how the answer was found; "" */
};

struct place_algorithm {
    const char *name, *summary;
    /* In arena. */
    struct place_answer (*plan)(struct arena *arena, const struct problem *problem,
                                const struct place_options *options);
};

extern const struct place_algorithm place_algorithms[];
extern const int place_algorithm_count;

/* ---- the algorithms, by file ---- */

/* baseline.c */
struct place_answer place_single(struct arena *arena, const struct problem *problem,
                                 const struct place_options *options);
struct place_answer place_even(struct arena *arena, const struct problem *problem,
                               const struct place_options *options);
struct place_answer place_greedy(struct arena *arena, const struct problem *problem,
                                 const struct place_options *options);
struct place_answer place_round_robin(struct arena *arena, const struct problem *problem,
                                      const struct place_options *options);
struct place_answer place_random(struct arena *arena, const struct problem *problem,
                                 const struct place_options *options);
/* contiguous.c */
struct place_answer place_pipeedge(struct arena *arena, const struct problem *problem,
                                   const struct place_options *options);
struct place_answer place_auction(struct arena *arena, const struct problem *problem,
                                  const struct place_options *options);
struct place_answer place_exact(struct arena *arena, const struct problem *problem,
                                const struct place_options *options);

#endif
