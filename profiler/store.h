/* store.h - everything measured at one thread count: rows of the table and their samples.
 *
 * Rows are keyed by shape: all decode points share one row of each m = 1 operator, for example, so
 * a sample of (point, operator) goes to the row that both name. */
#ifndef ORRERY_PROFILER_STORE_H
#define ORRERY_PROFILER_STORE_H

#include "lib/format/cost.h"
#include "profiler/grid.h"
#include "profiler/samples.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct model;

struct store_row {
    struct cost_row key; /* key fields, sizes, flops and bytes */
    struct samples samples;
    int calls;                      /* in one layer, for the share of a step */
    struct samples_summary summary; /* of the first summarized_count samples */
    int summarized_count;
    /* hardware counters: sums over calls, COST_UNKNOWN until counted */
    int64_t counted[COST_COUNTER_COUNT], counted_calls[COST_COUNTER_COUNT];
};

struct store_anchor { /* a whole forward, not stamped */
    int point;
    int layers;
    struct samples samples;
};

struct store_round {
    int32_t proc, round;
    int64_t t_ns, canary_c_ns, canary_m_ns;
    int64_t freq_khz, temp_mc, throttle_bits, nivcsw, psi_us; /* -1: not known */
};

struct store {
    struct arena *arena;
    int threads;
    const struct model *model;
    const struct point *points;
    int point_count;
    struct store_row *rows;
    int row_count, row_room;
    int (*row_of)[OP_COUNT]; /* [point][op]: index into rows, -1 when the model has no such op */
    struct store_anchor anchors[OP_PHASE_COUNT];
    int anchor_count;
    struct store_round *rounds;
    int round_count, round_room;
    const char
        *counter_reason[COST_COUNTER_COUNT]; /* why a counter is empty; NULL when it is not */
};

struct store *store_create(struct arena *arena, const struct model *model,
                           const struct point *points, int point_count, int threads,
                           int anchor_layers);
void store_add_round(struct store *store, struct store_round round);

/* Whether a row needs no more samples from this process: see profiler/README.md, "when a point is
 * finished". processes is how many there will be, proc the current one. */
bool store_row_finished(struct store *store, struct arena *scratch, int row, int proc,
                        int processes);
/* The same for all operators of a point but the lm_head. */
bool store_point_finished(struct store *store, struct arena *scratch, int point, int proc,
                          int processes);

#endif
