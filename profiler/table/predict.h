/* predict.h - the cost of one step from a table, operator by operator, through the same look-up
 * that the simulator uses. */
#ifndef ORRERY_PROFILER_PREDICT_H
#define ORRERY_PROFILER_PREDICT_H

#include "lib/format/cost.h"
#include <stdbool.h>
#include <stdint.h>

struct err;
struct model;

struct predict_step {
    const struct model *model;
    int32_t batch;       /* sequences */
    int32_t new_tokens;  /* each */
    int32_t past_tokens; /* each */
    int threads, weight_bits;
};

struct predict_line { /* all calls of one kind of operator */
    enum op op;
    int calls;
    int64_t each_ps, total_ps;
    enum interp_origin origin;
    double loo_ratio; /* median leave-one-out error of its curve; -1: measured, or not known */
};

struct predict {
    struct predict_line lines[OP_COUNT]; /* in the order of a forward */
    int line_count;
    int64_t sum_ps;
    int extrapolated;                 /* lines */
    const struct cost_anchor *anchor; /* the nearest of model, phase and threads; NULL */
    int64_t kappa_ps;                 /* sum times its kappa; the sum without an anchor */
};

/* False when the table has no rows for an operator, or the sum leaves the range of times. */
bool predict_step(const struct cost_table *costs, const struct predict_step *step,
                  struct predict *predict, struct err *err);

/* "f32", "bf16" or "q8_0" as bits of a weight; 0: none of them. */
int predict_bits_of_dtype(const char *dtype);
extern const char *const predict_dtypes[];
extern const int predict_dtype_count;

#endif
