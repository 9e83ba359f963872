/* run_options.h - the command line of orrery-sim run. */
#ifndef ORRERY_SIM_CMD_RUN_OPTIONS_H
#define ORRERY_SIM_CMD_RUN_OPTIONS_H

#include "sim/cmd/scenario.h"
#include "sim/cmd/serving.h"
#include "sim/report/metrics.h"
#include "sim/serve/serve.h"
#include <stdbool.h>

enum run_output {
    OUT_REQUESTS,
    OUT_STAGES,
    OUT_TRANSFERS,
    OUT_UTILISATION,
    OUT_CHROME,
    OUT_REPORT,
    OUT_COUNT
};

struct run_settings {
    struct scenario_files files;
    struct serve_options serve;
    bool is_kafetzis; /* --rules kafetzis: run_kafetzis, not serve */
    struct metrics_options metrics;
    const char *paths[OUT_COUNT];
    int64_t window_ps; /* of OUT_UTILISATION */
    bool is_json;
    struct serving serving; /* fills serve and metrics */
};

/* Parses the command line into settings that hold the defaults; arena is for what options name.
 * False: return *exit_code at once. */
bool run_options_parse(int argc, char **argv, struct arena *arena, struct run_settings *settings,
                       int *exit_code);

#endif
