/* place_kafetzis.h - orrery-sim place --rules kafetzis: heads, projections and FFNs placed by the
 * formulas of Kafetzis' simulator, by his planners and the optimum; nothing is measured. */
#ifndef ORRERY_SIM_CMD_PLACE_KAFETZIS_H
#define ORRERY_SIM_CMD_PLACE_KAFETZIS_H

#include "sim/cmd/planning_options.h"

struct place_kafetzis {
    const struct planning_options *planning; /* costs are not read */
    const char *algorithm, *output;
    bool does_explain, is_json;
};

/* Writes placement and report. Options that these rules do not know are errors. */
bool place_kafetzis_run(struct arena *arena, const struct place_kafetzis *place, int *exit_code,
                        struct err *err);

#endif
