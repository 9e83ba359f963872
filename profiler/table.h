/* table.h - from the stores to the files of a cost table, and to what the closing summary says. */
#ifndef ORRERY_PROFILER_TABLE_H
#define ORRERY_PROFILER_TABLE_H

#include "lib/format/cost.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct facts;
struct model;
struct store;

#define TABLE_MAX_ANCHORS 64

struct table {
    const char *device_id; /* name of the folder */
    struct cost_row *rows;
    int row_count;
    struct cost_interp_row *interps;
    int interp_count;
    struct cost_anchor anchors[TABLE_MAX_ANCHORS];
    int anchor_count;
    /* for the summary */
    int64_t samples, dirty, outliers;
    int fallback_rows;     /* without enough clean samples */
    int missing_rows;      /* of the grid, never measured */
    double worst_ci_ratio; /* among rows that matter: linear operators and attention */
    const char *worst_row;
    double median_ci_ratio;
    int slow_rounds, rounds;
};

/* Rows without a sample are left out and counted as missing. */
bool table_build(struct arena *arena, const char *device_id, const struct model *model,
                 struct store *const *stores, int store_count, struct table *table,
                 struct err *err);

/* kernels.csv, interp.csv, anchors.csv, device.csv and rounds.csv in folder, all or none. */
bool table_write(struct arena *arena, const char *folder, const struct table *table,
                 const char *const *meta, const struct facts *facts, struct store *const *stores,
                 int store_count, struct err *err);

#endif
