/* heads_formula.h - head-level placements by the formulas of Kafetzis' program (sim/kafetzis), for
 * `orrery-sim place --rules kafetzis`: nothing of it is measured. */
#ifndef ORRERY_SIM_PLACE_HEADS_FORMULA_H
#define ORRERY_SIM_PLACE_HEADS_FORMULA_H

#include "sim/place/heads.h"

struct cluster;
struct err;
struct model;

struct heads_formula {
    const struct cluster *cluster;
    const struct model *model;
    const char *service;
    int32_t prompt_tokens; /* L */
    int32_t step;          /* the generation step whose caches have to fit: the last one */
};

/* Seconds of one step, all layers cut alike; heads are groups of KV heads. A device without
 * flop_per_s, and a model whose heads do not make up its width, are errors. */
const struct heads_problem *heads_formula(struct arena *arena, const struct heads_formula *of,
                                          struct err *err);

/* The planners of his program and ours, by the names of `place`; NULL: none of that name. */
struct heads_rule {
    const char *name, *summary;
    struct heads_answer (*plan)(struct arena *arena, const struct heads_problem *problem,
                                bool (*is_over)(void *arg), void *is_over_arg);
};
extern const struct heads_rule heads_rules[];
extern const int heads_rule_count;

#endif
