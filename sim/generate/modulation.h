/* modulation.h - arrivals of a Markov-modulated Poisson process (lib/format/mmpp.h). */
#ifndef ORRERY_SIM_GENERATE_MODULATION_H
#define ORRERY_SIM_GENERATE_MODULATION_H

#include <stdint.h>

struct arena;
struct err;
struct mmpp;
struct modulation;
struct rng;

/* The states of mmpp with all rates times scale, in a state drawn from its stationary shares. Fails
 * when states switch so often that drawing them would take for ever. */
struct modulation *modulation_create(struct arena *arena, const struct mmpp *mmpp, double scale,
                                     struct rng *rng, struct err *err);
/* Two states of equal mean length dwell_ps and rates 1 +- b times the mean one, so that gaps have
 * the given cv (1 or more). */
struct modulation *modulation_create_pair(struct arena *arena, double mean_gap_ps, double dwell_ps,
                                          double cv, struct rng *rng, struct err *err);
/* The arrival after the one at at_ps; INT64_MAX = none. */
int64_t modulation_after_ps(struct modulation *modulation, int64_t at_ps, struct rng *rng);

#endif
