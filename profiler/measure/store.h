/* store.h - everything measured of one variant: rows of the table and their samples.
 *
 * A variant is a thread count, a share of the model (1 of so many equal slices) and a type of
 * weights. Rows are keyed by shape: all decode points share one row of each m = 1 operator, for
 * example, so a sample of (point, operator) goes to the row that both name. */
#ifndef ORRERY_PROFILER_STORE_H
#define ORRERY_PROFILER_STORE_H

#include "lib/format/cost.h"
#include "lib/kernels/kernels.h"
#include "profiler/measure/grid.h"
#include "profiler/measure/samples.h"
#include "profiler/measure/verdict.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct model;

struct store_variant {
    int index; /* among the variants of the run */
    int threads, slices;
    enum kernel_dtype dtype;
    const struct model *model; /* of one slice */
    const char *regime;        /* "burst" or "sustained" */
};

struct store_row {
    struct cost_row key; /* key fields, sizes, flops and bytes */
    struct samples samples;
    int calls;                      /* in one layer, for the share of a step */
    bool is_held_out;               /* measured to score the table, not to be in it */
    struct samples_summary summary; /* of the first summarized_count samples */
    int summarized_count;
    /* hardware counters: sums over calls, COST_UNKNOWN until counted */
    int64_t counted[COST_COUNTER_COUNT], counted_calls[COST_COUNTER_COUNT];
    int64_t energy_uj;         /* of a call; COST_UNKNOWN */
    const char *energy_reason; /* why it is not known; NULL when it is, or was not asked for */
};

struct store_anchor { /* a whole forward, not stamped */
    struct point point;
    int layers;
    struct samples samples;
};

struct store_round {
    int32_t proc, round;
    struct round_readings readings; /* the machine before and after, the canaries at the start */
    int64_t nivcsw;                 /* of the process, at the end */
    enum round_verdict verdict;
};

struct store {
    struct arena *arena;
    struct store_variant variant;
    int32_t period; /* of the tiles over new tokens, as scouted; 0: not known */
    struct point points[GRID_MAX_POINTS];
    bool is_held_out[GRID_MAX_POINTS];
    int row_of[GRID_MAX_POINTS][OP_COUNT]; /* index into rows, -1 when the model has no such op */
    int point_count;
    struct store_row *rows;
    int row_count, row_room;
    struct store_anchor anchors[GRID_MAX_POINTS];
    int anchor_count;
    struct store_round *rounds;
    int round_count, round_room;
    bool is_sustained; /* too hot to wait for: what is slow by heat is how this device is */
    int64_t stamp_ps;  /* what reading the clock adds to an operator; 0 = not measured */
    const char
        *counter_reason[COST_COUNTER_COUNT]; /* why a counter is empty; NULL when it is not */
};

struct store *store_create(struct arena *arena, const struct store_variant *variant);
/* The point's index, new or not. -1 when there is no more room. A point that is held out and in the
 * grid as well is in the table. */
int store_add_point(struct store *store, const struct point *point, bool is_held_out);
void store_add_anchor(struct store *store, const struct point *point, int layers);
/* Index of the anchor; -1. */
int store_find_anchor(const struct store *store, const struct point *point);
int store_find_point(const struct store *store, const struct point *point);
/* The most new tokens, keys and sequences of any point or anchor, as one shape. */
struct point store_largest(const struct store *store);
void store_add_round(struct store *store, struct store_round round);

/* Whether a row needs no more samples from this process: see profiler/README.md, "when a point is
 * finished". processes is how many there will be, proc the current one. */
bool store_row_finished(struct store *store, struct arena *scratch, int row, int proc,
                        int processes);
/* The same for all operators of a point but the lm_head. */
bool store_point_finished(struct store *store, struct arena *scratch, int point, int proc,
                          int processes);
/* Mean time of one layer at the point, with what was measured so far. */
double store_layer_ps(struct store *store, struct arena *scratch, int point);

/* Tiles of the scouted period where the points determine it, else of the one that fits best. */
struct interp_tiles store_fit(struct arena *scratch, int32_t period, const int32_t *x,
                              const int64_t *y_ps, int count);
/* Adds up to so many points of new tokens where the measured ones interpolate worst, weighted by
 * the operator's share of a layer. Returns how many. */
int store_refine(struct store *store, struct arena *scratch, int room);

#endif
