/* planning_options.h - the options of commands that plan: what is to be placed where, for which
 * load, and how it is served. Shared by place and compare as an argp child. */
#ifndef ORRERY_SIM_CMD_PLANNING_OPTIONS_H
#define ORRERY_SIM_CMD_PLANNING_OPTIONS_H

#include "sim/cmd/scenario.h"
#include "sim/cmd/serving.h"
#include "sim/place/place.h"

#include <signal.h>

struct workload;

#define PLANNING_MAX_SERVICES LOAD_MAX_OFS

struct planning_options { /* as typed; NULL or 0 = not given */
    const char *cluster, *model, *models, *workload, *events;
    int cost_count, service_count;
    const char *costs[SCENARIO_MAX_COSTS];
    const char *services[PLANNING_MAX_SERVICES]; /* NAME[=OF] */
    int32_t prompt_tokens, output_tokens, sequences, fault_count;
    bool needs_no_costs;   /* of rules without them */
    struct workload *made; /* in place of --workload: requests that the command made; NULL: none */
    bool has_objective;
    enum place_objective objective;
    uint64_t seed;
    int64_t limit_ps;                  /* --time-limit; 0 = none */
    const volatile sig_atomic_t *stop; /* turns to 1: the best so far, now; NULL: never */
    int64_t simulations;
    struct serve_options serve;
    struct metrics_options metrics;
    struct serving serving; /* fills the two above */
};

/* Its parser's input is a struct planning_options after planning_options_begin. Groups 1 to 3. */
extern const struct argp planning_argp;
/* Its part that says how a planner is asked: objective, time limit and the like. Group 3. */
extern const struct argp planner_argp;
void planning_options_begin(struct planning_options *options);
/* At the end of the command line. Also completes what follows from other options. */
void planning_check_end(const struct argp_state *state, struct planning_options *options);
/* A planner of the table by name; "did you mean" else. */
const struct place_algorithm *planning_algorithm(struct argp_state *state, const char *text);

#endif
