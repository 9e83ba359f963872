/* scenario.h - loads everything that a run reads, and names it for the report. */
#ifndef ORRERY_SIM_CMD_SCENARIO_H
#define ORRERY_SIM_CMD_SCENARIO_H

#include "lib/format/cost.h"
#include "sim/cmd/load.h"
#include "sim/report/inputs.h"
#include "sim/serve/serve.h"

#define SCENARIO_MAX_COSTS 64

struct argp_state;

struct scenario_files { /* as typed; NULL = not given */
    const char *placement, *workload, *cluster, *models, *events, *overhead;
    const char *prefix_blocks;
    int cost_count;
    const char *costs[SCENARIO_MAX_COSTS];
    struct load load;        /* requests made here, without a workload file */
    bool has_bounded_queues; /* queue_depth of placements counts; else it is refused */
    bool needs_rows;         /* requests must stand in memory: their rows are written out */
};

struct scenario {
    int64_t switch_cost_ps; /* that the placement says its migrations take; 0: nothing */
    struct serve_input input;
    struct cost_set costs;
    struct inputs inputs;
};

/* --costs: one more table or folder of them among count; too many are an error of usage. */
void scenario_add_costs(const struct argp_state *state, const char *costs[SCENARIO_MAX_COSTS],
                        int *count, const char *text);
bool scenario_load(struct arena *arena, const struct scenario_files *files,
                   struct scenario *scenario, struct err *err);

#endif
