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
/* No placement that keeps projections, FFNs and heads whole is faster for a lone request, however
 * each layer is cut, and whichever --collective: every layer at its fastest, with the memory of one
 * layer, and the messages that it cannot do without. 0: nothing is known. */
int64_t heads_bound_ps(struct arena *arena, const struct heads_measured *measured, bool has_overlap,
                       bool (*is_over)(void *arg), void *is_over_arg);
/* By device of the answer: a device of the cluster. */
const int32_t *heads_devices(const struct heads_measured *measured, int32_t *count);
const struct heads_problem *heads_problem_of(const struct heads_measured *measured);

#endif
