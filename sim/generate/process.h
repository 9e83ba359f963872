/* process.h - arrival processes: the gaps between the requests of one service. */
#ifndef ORRERY_SIM_GENERATE_PROCESS_H
#define ORRERY_SIM_GENERATE_PROCESS_H

#include "lib/base/rng.h"
#include "sim/generate/generate.h"

struct process {
    int64_t next_ps; /* instant of the next arrival */
    enum generate_process kind;
    struct rng rng;
    double rate_per_s, mean_gap_ps;
    int64_t arrivals;       /* constant: how many came before next_ps */
    double shape, scale_ps; /* gamma: both; pareto: shape and least gap */
    double state_gap_ps[2]; /* mmpp: mean gap in the high and in the low state */
    double dwell_ps;
    int64_t state_end_ps;
    int state;
};

/* Checks --cv and --dwell for the process; on success next_ps is the first arrival. */
bool process_begin(struct process *process, const struct generate_options *options,
                   double rate_per_s, uint64_t entity, struct err *err);
/* Moves next_ps on; it stays at INT64_MAX once time has run out. */
void process_next(struct process *process);

#endif
