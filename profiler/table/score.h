/* score.h - the table against what it was not made from: whole forwards, and points held out. */
#ifndef ORRERY_PROFILER_SCORE_H
#define ORRERY_PROFILER_SCORE_H

#include <stdbool.h>

struct arena;
struct err;
struct table;
struct table_inputs;

/* Through the simulator's own look-up. Fills the table's anchors and holdouts. */
bool score_table(struct arena *arena, const struct table_inputs *inputs, struct table *table,
                 struct err *err);

#endif
