/* grid.h - which shapes are measured: points of (phase, new tokens, keys, sequences). */
#ifndef ORRERY_PROFILER_GRID_H
#define ORRERY_PROFILER_GRID_H

#include "lib/base/op.h"
#include <stdbool.h>
#include <stdint.h>

struct err;
struct model;

struct point {
    enum op_phase phase; /* OP_PREFILL or OP_DECODE */
    int32_t m;           /* new tokens, of all sequences */
    int32_t kv;          /* keys of each sequence, the new ones included */
    int32_t batch;       /* sequences; 1 in a prefill, m in a decode */
};

#define GRID_MAX_POINTS 192
#define GRID_MAX_SIZES 17 /* of new tokens: more are not needed, see profiler/README.md */
struct grid_points {
    struct point items[GRID_MAX_POINTS];
    int count;
};

struct grid_range {
    int32_t first, last;
    bool is_default; /* not asked for: cut to what the model holds */
};

struct grid {
    struct grid_range tokens, kv, batch;
    bool is_quick;
};

/* "1:512" or "64". False with an error naming the option. */
bool grid_parse_range(const char *option, const char *text, struct grid_range *range,
                      struct err *err);
/* "prefill:128,decode:256,decode:256x4" after the points that are there. False with an error naming
 * the option, or when the model cannot run a shape. */
bool grid_parse_points(const char *option, const char *text, const struct model *model,
                       struct grid_points *points, struct err *err);

/* Cuts default ranges to the model's context; a range that was asked for and goes beyond it is an
 * error. Encoders have no decode: their kv and batch become empty (last < first). */
bool grid_cut(const struct model *model, struct grid *grid, struct err *err);

/* The points in ascending order, whole prefills first, then chunks on top of earlier tokens, decode
 * steps, decode steps of several sequences. period: of the BLAS's tiles over new tokens. */
void grid_build(const struct model *model, const struct grid *grid, int32_t period,
                struct grid_points *points);
bool grid_is_same(const struct point *a, const struct point *b);
/* Index of the point; -1 when it is not there. */
int grid_find(const struct grid_points *points, const struct point *point);

/* The shape of the phase's whole forward: 128 new tokens, 256 keys, or what the grid holds of it.
 * False when the grid has no such phase. */
bool grid_anchor(const struct grid *grid, enum op_phase phase, struct point *point);

#endif
