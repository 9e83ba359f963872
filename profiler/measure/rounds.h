/* rounds.h - which rounds the machine disturbed, and what is said of them. */
#ifndef ORRERY_PROFILER_ROUNDS_H
#define ORRERY_PROFILER_ROUNDS_H

#include "profiler/measure/verdict.h"

struct arena;
struct cost_row;
struct out;
struct store;
struct table;

/* Gives every round its verdict, by all rounds of the store, and marks the samples of bad ones.
 * Adds to the table's counts. */
void rounds_judge(struct arena *arena, struct store *store, struct table *table);
/* Verdict of the last round by what is known so far; for the measuring process itself. */
enum round_verdict rounds_judge_last(struct arena *scratch, struct store *store);
/* Whether a canary is as fast as in the rounds that nothing spoke against. */
bool rounds_is_canary_good(struct arena *scratch, const struct store *store, int64_t compute_ns);
/* "3 busy, 1 memory": of the bad rounds. */
const char *rounds_list(struct arena *arena, const struct table *table);
/* "good", or "disturbed: ..." in words: more than a quarter of the rounds were bad. */
const char *rounds_quality(struct arena *arena, const struct table *table);
/* Frequency, temperature, throttling and canary of the rounds behind a row. */
void rounds_describe(const struct store *store, struct cost_row *row);
void rounds_write(struct out *out, struct store *const *stores, int store_count);

#endif
