/* heads_measured.h - head-level placements on measured costs: a problem (problem.h) as heads.h asks
 * it, what it may be at least, and the placements that are made of answers. */
#ifndef ORRERY_SIM_PLACE_HEADS_MEASURED_H
#define ORRERY_SIM_PLACE_HEADS_MEASURED_H

#include "sim/place/heads.h"

struct heads_plan;
struct problem;

struct heads_measured; /* of one problem; in arena */

/* Costs are sums of a typical request, in ps: groups of KV heads, the projection, and the FFN with
 * the norms and additions of its layer, each as often as the model has layers; the prompt's and
 * all later messages, as if one followed the other. At most HEADS_MAX_DEVICES devices count: those
 * on which the whole model is fastest. */
const struct heads_measured *heads_measure(struct arena *arena, const struct problem *problem);

/* Heads that are computed in a number that no cost table has rows of are not possible; whether it
 * is so for some device and number. */
bool heads_has_holes(const struct heads_measured *measured);

enum heads_how { HEADS_GREEDY, HEADS_EXACT };
struct heads_found {
    bool is_feasible, is_uniform; /* all layers are cut alike */
    double cost_ps;               /* by heads.h; else the sum of single layers */
    struct heads_plan *plan;
};
/* All layers alike where that fits, else layer by layer into what the ones before have left. */
struct heads_found heads_find(struct arena *arena, const struct heads_measured *measured,
                              enum heads_how how, const struct heads_plan *before,
                              bool (*is_over)(void *arg), void *is_over_arg);
/* An answer to heads_problem_of as a placement. */
struct heads_found heads_found_of(struct arena *arena, const struct heads_measured *measured,
                                  struct heads_answer answer, const struct heads_plan *before);
struct heads_least {
    int64_t bound_ps; /* 0: nothing is known */
    double *prices;   /* by device of heads_devices: what a byte of its memory is worth, in ps */
    bool is_short;    /* layers that are each at their fastest do not fit */
    int32_t column_count; /* ways to cut a layer that were the cheapest at some prices */
    struct heads_answer *columns;
};
/* No placement that keeps projections, FFNs and heads whole is faster for a lone request, however
 * each layer is cut, and whichever --collective. cost_ps: of a placement that is known. */
struct heads_least heads_bound(struct arena *arena, const struct heads_measured *measured,
                               double cost_ps, bool has_overlap, bool (*is_over)(void *arg),
                               void *is_over_arg);
/* Layer by layer, where a byte of memory costs so much, or part of it, or none: what is dear is
 * left for what gains most by it; or all layers alike. Then layers are changed one by one and two
 * by two. try: 0 to HEADS_TRIES - 1. */
#define HEADS_TRIES 5
struct heads_found heads_find_thrifty(struct arena *arena, const struct heads_measured *measured,
                                      const struct heads_least *least, int try, bool is_daring,
                                      bool (*is_over)(void *arg), void *is_over_arg);
/* By device of the answer: a device of the cluster. */
const int32_t *heads_devices(const struct heads_measured *measured, int32_t *count);
const struct heads_problem *heads_problem_of(const struct heads_measured *measured);

#endif
