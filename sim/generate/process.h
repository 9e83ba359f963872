/* process.h - arrival processes: the gaps between the requests of one service, or of all. */
#ifndef ORRERY_SIM_GENERATE_PROCESS_H
#define ORRERY_SIM_GENERATE_PROCESS_H

#include "lib/base/rng.h"
#include "sim/generate/generate.h"
#include "sim/generate/varying.h"

struct modulation;

/* What the processes of all services have in common. */
struct process_load {
    const struct generate_options *options;
    double rate_per_s;             /* mean of all services */
    const struct varying *varying; /* NULL = the rate does not change with time */
};

/* Arrivals are drawn so many at a time: draws of one process overlap in the processor, and which
 * process comes next does not wait for them. */
#define PROCESS_AHEAD 16

struct process {
    int at;                          /* in ahead_ps */
    int64_t ahead_ps[PROCESS_AHEAD]; /* coming arrivals; INT64_MAX = none */
    int64_t last_ps;                 /* the last of those drawn, 0 before the first */
    enum generate_process kind;
    struct rng rng;
    double rate_per_s, mean_gap_ps;
    int64_t arrivals;       /* constant: how many were drawn */
    double shape, scale_ps; /* gamma: both; pareto: shape and least gap. Varying rates: of mean 1 */
    struct modulation *modulation; /* mmpp */
    const struct varying *varying;
    struct varying_place place;
    double fraction; /* of the load that the profile describes */
};

/* Whether what the options say of the process goes together. */
bool process_check(const struct generate_options *options, struct err *err);
/* Finds the mean rate. */
bool process_load_begin(struct arena *arena, struct process_load *load,
                        const struct generate_options *options, struct err *err);
/* A process that has `fraction` of the load. */
bool process_begin(struct arena *arena, struct process *process, const struct process_load *load,
                   double fraction, uint64_t entity, struct err *err);
void process_draw(struct process *process);

/* Instant of the next arrival; INT64_MAX = none, once time has run out. */
static inline int64_t process_next_ps(const struct process *process)
{
    return process->ahead_ps[process->at];
}

/* Goes on to the arrival after it. */
static inline void process_next(struct process *process)
{
    if (++process->at == PROCESS_AHEAD)
        process_draw(process);
}

#endif
