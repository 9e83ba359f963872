/* grid.h - which shapes are measured: points of (phase, new tokens, keys). */
#ifndef ORRERY_PROFILER_GRID_H
#define ORRERY_PROFILER_GRID_H

#include "lib/base/op.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct model;

struct grid_range {
    int32_t first, last;
    bool is_default; /* not asked for: cut to what the model holds */
};

struct point {
    enum op_phase phase; /* OP_PREFILL or OP_DECODE */
    int32_t m;           /* new tokens; 1 in a decode */
    int32_t kv;          /* keys, the new ones included: m in a prefill */
};

/* "1:512" or "64". False with an error naming the option. */
bool grid_parse_range(const char *option, const char *text, struct grid_range *range,
                      struct err *err);

/* Points for the model in ascending order, prefills first; encoders have no decode. A range that
 * goes beyond the model's context is an error unless it is the default. */
bool grid_build(struct arena *arena, const struct model *model, struct grid_range tokens,
                struct grid_range kv, bool is_quick, struct point **points, int *count,
                struct err *err);

/* Index of the point of the phase whose size is nearest to the geometric middle of that phase's
 * points; -1 when the phase has none. */
int grid_middle(const struct point *points, int count, enum op_phase phase);

#endif
