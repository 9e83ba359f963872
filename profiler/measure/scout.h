/* scout.h - a look at the device before the points are chosen: the period of the BLAS's tiles over
 * new tokens, and how long a whole forward takes.
 *
 * The tiles differ from core to core (1, 2, 4, 8 rows of a register block), and a grid that is made
 * for another period misses them. The samples of the scout are not in the table. */
#ifndef ORRERY_PROFILER_SCOUT_H
#define ORRERY_PROFILER_SCOUT_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct measure;
struct store_variant;

#define SCOUT_FORWARD_TOKENS 256

struct scouted {
    int32_t period;     /* of the operator with the longest period among those that have one */
    int64_t forward_ns; /* of 256 tokens through all layers of the whole model; 0 = not known */
};

/* In a process of its own. last_tokens: no size beyond it is tried. */
bool scout_run(struct arena *arena, struct measure *measure, const struct store_variant *variant,
               int32_t last_tokens, int64_t available_bytes, struct scouted *scouted,
               struct err *err);

#endif
