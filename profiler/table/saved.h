/* saved.h - cost tables that were written before, for verify, predict, diff and merge. */
#ifndef ORRERY_PROFILER_SAVED_H
#define ORRERY_PROFILER_SAVED_H

#include "lib/format/cost.h"
#include <stdbool.h>

struct arena;
struct err;
struct facts;
struct identity;

struct saved {
    const char *folder;
    const struct cost_table *costs;
    struct facts *facts; /* device.csv */
};

/* A whole table of the profiler: kernels.csv, interp.csv, anchors.csv and device.csv. An unfinished
 * run and half a table are errors that say so. */
bool saved_load(struct arena *arena, const char *folder, struct saved *saved, struct err *err);

/* The same of any cost table with kernels.csv; facts stay NULL without device.csv. */
bool saved_load_any(struct arena *arena, const char *folder, struct saved *saved, struct err *err);

/* False when the table is of another machine than facts are. */
bool saved_check_machine(struct arena *arena, const struct saved *saved, const struct facts *here,
                         struct err *err);

/* The model that the rows are of; NULL with an error when they are of several. */
const char *saved_only_model(const struct saved *saved, struct err *err);

/* Total order of rows by key and sizes, in the order of a forward; 0: the same measurement. */
int saved_compare_rows(const struct cost_row *a, const struct cost_row *b);

/* "attn, decode on 256 keys, 4 threads" */
const char *saved_row_text(struct arena *arena, const struct cost_row *row);
const char *saved_anchor_text(struct arena *arena, const struct cost_anchor *anchor);
/* The same shape of the same model. */
bool saved_is_same_anchor(const struct cost_anchor *a, const struct cost_anchor *b);
/* Half width of the 95 % interval; 0 when the table does not say. */
int64_t saved_half_ps(const struct cost_row *row);

#endif
