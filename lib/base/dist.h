/* dist.h - a DIST of the command line, such as exp:0.5s or uniform:16:128, parsed once and drawn.
 *
 * DIST = constant:V | uniform:A:B | exp:MEAN | normal:M:SD | lognormal:M:CV | gamma:M:CV |
 * pareto:M:SHAPE | file:F (one value a line, drawn uniformly with replacement). Values are tokens
 * (integers) or times (durations with a unit); M is always the mean. */
#ifndef ORRERY_BASE_DIST_H
#define ORRERY_BASE_DIST_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct dist;
struct err;
struct rng;

enum dist_unit { DIST_TOKENS, DIST_TIME };

/* Most tokens that a draw gives and that a workload may ask for: prompt plus output stay below
 * 2^31. */
#define DIST_MAX_TOKENS 1000000000

/* option names the command line option for error texts. Negative values, and means of 0 for tokens,
 * are errors. */
struct dist *dist_parse(struct arena *arena, const char *text, enum dist_unit unit,
                        const char *option, struct err *err);
/* Tokens: an integer >= 1. Time: picoseconds >= 0. Draws that fall below are set to that bound. */
int64_t dist_draw(const struct dist *dist, struct rng *rng);
/* Mean of the distribution before rounding, in tokens or picoseconds. */
double dist_mean(const struct dist *dist);

#endif
