/* run_options.h - what the user asks of `orrery-profile run`. */
#ifndef ORRERY_PROFILER_RUN_OPTIONS_H
#define ORRERY_PROFILER_RUN_OPTIONS_H

#include "lib/kernels/kernels.h"
#include "profiler/measure/grid.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct model;

#define RUN_MAX_COUNTS 8 /* thread counts, slice counts: as many as threads_parse reads */

struct run_options {
    const char *model, *models, *folder, *tokens, *kv, *batch, *anchors, *holdouts;
    const char *threads, *slices, *dtypes, *counters, *energy, *regime, *sysroot;
    int64_t budget_ps, preheat_ps; /* 0: the default */
    int64_t llc_bytes;             /* 0: as the system says, or as measured */
    uint64_t seed;
    int processes; /* 0: the default */
    bool is_quick, is_json, is_raw, is_strict, has_resume;
};

/* False when the command must return *exit_code at once. */
bool run_options_parse(int argc, char **argv, struct run_options *options, int *exit_code);

struct run_lists { /* the options that are lists, read */
    int threads[RUN_MAX_COUNTS], thread_count;
    int slices[RUN_MAX_COUNTS], slice_count;
    enum kernel_dtype dtypes[KERNEL_DTYPE_COUNT];
    int dtype_count;
    struct grid grid;
    struct grid_points anchors, holdouts;
};
/* For the model: ranges cut to its context, the type of its weights by default. */
bool run_options_lists(struct arena *arena, const struct run_options *options,
                       const struct model *model, struct run_lists *lists, struct err *err);

#endif
