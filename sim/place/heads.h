/* heads.h - the layers of a transformer cut by heads: which device computes how many of them (their
 * caches stay with them), which one the projection, which one the FFN.
 *
 * The time of all layers, which are cut alike, is
 *
 *     max over devices (head_costs of its heads) + projection_costs + pass_costs + ffn_costs
 *     + sum over devices with heads (enter_costs + feed_costs + gather_costs) + end_costs
 *
 * the head-level makespan of Kafetzis et al. (arXiv 2505.02533; the program's "3-phase latency" in
 * mode "sum", src/algorithms/utils.py:284 at commit 252528f), with what leads from layer to layer
 * and from and to both ends of the model. Heads are alike, so that only their numbers count. Costs
 * are doubles of any one unit, sums are formed in one order: the same input gives the same bits. */
#ifndef ORRERY_SIM_PLACE_HEADS_H
#define ORRERY_SIM_PLACE_HEADS_H

#include <stdbool.h>
#include <stdint.h>

struct arena;

#define HEADS_RESOURCES 2
#define HEADS_MAX_DEVICES 128

struct heads_resource {
    const double *rooms; /* by device: what is free; infinite = no limit */
    double head, projection, ffn, end;
};

struct heads_problem {
    int32_t head_count;   /* >= 1 */
    int32_t device_count; /* D: 1 to HEADS_MAX_DEVICES */
    /* By device: those with one number are alike, in their costs to all others too. NULL: no two
     * are. */
    const int32_t *kinds;
    /* [device][heads]: device x (head_count + 1) + heads; 0 of none, infinite = not possible */
    const double *head_costs;
    const double *gather_costs;                 /* [device][projection][heads]: of their output */
    const double *projection_costs, *ffn_costs; /* by device */
    const double *pass_costs;                   /* [projection][ffn] */
    const double *feed_costs;                   /* [ffn][device with heads] */
    /* Where both ends of the model may stand: devices; of none (-1) where they cost nothing. */
    int32_t end_count; /* >= 1 */
    const int32_t *ends;
    const double *end_costs;   /* [end][ffn] */
    const double *enter_costs; /* [end][device with heads] */
    int resource_count;
    struct heads_resource resources[HEADS_RESOURCES];
};

struct heads_answer {
    bool is_feasible;
    double cost;
    double bound; /* nothing is below it; equal to cost: proven to be the best */
    int32_t end;  /* number among ends */
    int32_t projection, ffn;
    int32_t *counts; /* of heads, by device */
};

/* The optimum by branch and bound, best bound first: ends, projection and FFN are chosen, then the
 * range that the maximum lies in is halved until the least sum within it is known (a dynamic
 * program over devices and heads). Polynomial: at most ends x D x D x (D x heads) ranges. is_over
 * is asked now and then, NULL = never; where it says true, the best so far, and bound < cost. */
struct heads_answer heads_solve(struct arena *arena, const struct heads_problem *problem,
                                bool (*is_over)(void *arg), void *is_over_arg);
/* Load-aware greedy: for each projection the best FFN and ends that leave room, then head by head
 * to the device with which the time so far is least; ties to the first. bound is 0. */
struct heads_answer heads_greedy(struct arena *arena, const struct heads_problem *problem);
/* All of it on the one device where it takes least; bound is 0. */
struct heads_answer heads_single(struct arena *arena, const struct heads_problem *problem);
/* The time above, infinite where something has no room. */
double heads_cost(const struct heads_problem *problem, const struct heads_answer *answer);

#endif
