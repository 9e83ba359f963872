/* gap.h - exponential gaps in whole picoseconds, at the speed that streams of arrivals need. */
#ifndef ORRERY_SIM_GENERATE_GAP_H
#define ORRERY_SIM_GENERATE_GAP_H

#include <stdint.h>

struct rng;

/* dmath_round(rng_exponential(rng, mean_ps)), bit for bit; mean_ps > 0. */
int64_t gap_exponential_ps(struct rng *rng, double mean_ps);
/* count arrivals after at_ps with such gaps between them; INT64_MAX from where time has run out. */
void gap_exponential_fill(struct rng *rng, double mean_ps, int64_t at_ps, int64_t *arrivals_ps,
                          int count);

#endif
