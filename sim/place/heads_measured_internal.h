/* heads_measured_internal.h - costs of heads on measured devices, for the files heads_measured.c,
 * heads_find.c, heads_layers.c and heads_bound.c alone. */
#ifndef ORRERY_SIM_PLACE_HEADS_MEASURED_INTERNAL_H
#define ORRERY_SIM_PLACE_HEADS_MEASURED_INTERNAL_H

#include "sim/place/heads_internal.h"
#include "sim/place/heads_measured.h"
#include "sim/place/problem.h"

struct heads_run;

struct layer_costs {                           /* by device of the list; ps, of one layer */
    double *heads;                             /* [device][heads] */
    double *projections, *ffns, *conns, *ends; /* ends: embed and lm_head, once */
};

struct heads_measured {
    const struct problem *problem;
    const struct problem_input *input;
    int32_t device_count;
    int32_t *devices, *kinds;
    bool has_holes;
    struct layer_costs layer;
    struct heads_problem uniform; /* all layers alike */
};

struct heads_costs { /* of a heads_problem, to be filled */
    double *heads, *gather, *projections, *ffns, *pass, *feed, *end_costs, *enter;
    int32_t *ends;
};

/* Arrays of zeros, and what all problems of these devices have in common. */
struct heads_costs heads_costs_create(struct arena *arena, const struct heads_measured *m,
                                      struct heads_problem *problem);
/* All costs of so many layers that are cut alike; without resources. */
void heads_problem_fill(struct arena *arena, const struct heads_measured *m, int32_t layers,
                        struct heads_problem *problem, struct heads_costs *costs);
/* From a device of the list to another: the rows of a prompt, then one a step. */
double heads_message_ps(const struct heads_measured *m, int32_t from, int32_t to, int32_t rows,
                        int64_t values);
/* Of so many layers; has_ends: with both ends of the model. */
struct heads_resource heads_memory(const struct heads_measured *m, const double *rooms,
                                   int32_t layers, bool has_ends);
/* Memory by device, less what is reserved and kept_bytes; infinite where none is stated. */
double *heads_rooms_with(struct arena *arena, const struct heads_measured *m, double kept_bytes);
/* The same less what any device may need beside its weights and caches. */
double *heads_rooms(struct arena *arena, const struct heads_measured *m);
/* heads_bound.c: the problem, whose costs those are, with what a layer's bytes cost at so much each
 * in arrays of its own, which are given back. */
struct heads_costs heads_priced(struct arena *arena, const struct heads_measured *m,
                                const double *prices, const struct heads_costs *free,
                                struct heads_problem *problem);
/* heads_find.c: by the way that is asked for; greedy where that finds something. */
struct heads_answer heads_answer_of(struct arena *arena, const struct heads_problem *problem,
                                    enum heads_how how, bool (*is_over)(void *arg),
                                    void *is_over_arg);
/* How the layer was cut before; else `other`. */
const struct heads_run *heads_run_at(const struct heads_plan *plan, int32_t layer,
                                     const struct heads_run *other);
/* heads_layers.c */
struct heads_found heads_find_by_layers(struct arena *arena, const struct heads_measured *m,
                                        enum heads_how how, const struct heads_plan *before,
                                        bool (*is_over)(void *arg), void *is_over_arg);

#endif
