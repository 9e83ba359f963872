/* table.h - from the stores to the files of a cost table, and to what the closing summary says. */
#ifndef ORRERY_PROFILER_TABLE_H
#define ORRERY_PROFILER_TABLE_H

#include "lib/format/cost.h"
#include "profiler/measure/verdict.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct facts;
struct model;
struct store;

struct table {
    const char *device_id; /* name of the folder */
    struct cost_row *rows;
    int row_count;
    struct cost_interp_row *interps;
    int interp_count;
    struct cost_anchor *anchors;
    int anchor_count;
    struct cost_holdout *holdouts;
    int holdout_count;
    const struct cost_roofline *roofline; /* of the device; may be empty */
    int roofline_count;
    /* for the summary */
    int64_t samples, dirty, outliers, disturbed;
    int fallback_rows;     /* without enough clean samples */
    int disturbed_rows;    /* without enough samples of undisturbed rounds */
    int missing_rows;      /* of the grid, never measured */
    double worst_ci_ratio; /* among rows that matter: linear operators and attention */
    const char *worst_row;
    double median_ci_ratio;
    double stamp_ratio; /* share of a decode step (or one-token prefill) that stamps add */
    int rounds, bad_rounds;
    int bad_by_verdict[ROUND_VERDICT_COUNT];
    const char *quality; /* "good", or "disturbed: ..." in words */
};

struct table_inputs {
    const char *device_id;
    struct store *const *stores;
    int store_count;
    const struct cost_roofline *roofline;
    int roofline_count;
};

/* Judges the rounds, leaves out what was disturbed, fits and scores. Rows without a sample are left
 * out and counted as missing. */
bool table_build(struct arena *arena, const struct table_inputs *inputs, struct table *table,
                 struct err *err);

/* Tiles of every product over its rows, and of decode attention over its keys; the error of leaving
 * each row out. inputs NULL: the period that fits best, else the scouted one. */
void table_fit_interps(struct arena *arena, const struct table_inputs *inputs, struct table *table);

/* kernels.csv and all beside it in folder, all or none. raw: a file of samples to keep as
 * samples.csv, or NULL. */
bool table_write(struct arena *arena, const char *folder, const struct table *table,
                 const char *const *meta, const struct facts *facts, struct store *const *stores,
                 int store_count, struct err *err);

#endif
