/* rng.h - seeded random streams: one for each (seed, purpose, entity), independent of the others.
 *
 * xoshiro256++ (Blackman and Vigna 2021) seeded by splitmix64. A stream per purpose and entity
 * means that adding a service, a device or a draw elsewhere shifts no other stream (common random
 * numbers). Draw order inside a stream is part of the contract: same seed, same bytes. */
#ifndef ORRERY_BASE_RNG_H
#define ORRERY_BASE_RNG_H

#include <stdint.h>

enum rng_purpose {
    RNG_ARRIVALS = 1, /* numbers are part of every seed's meaning: add, never renumber */
    RNG_SERVICE_CHOICE = 2,
    RNG_PROMPT_TOKENS = 3,
    RNG_OUTPUT_TOKENS = 4,
    RNG_THINK = 5,
    RNG_DISPATCH = 6,
    RNG_OVERHEAD = 7,
    RNG_WEIGHTS = 8,
    RNG_INPUT_TOKENS = 9,
    RNG_PROFILE_ORDER = 10,
    RNG_TEST = 11,
    RNG_TURNS = 12,
    RNG_BATCH_ITEMS = 13,
    RNG_PLACEMENT = 14,
};

struct rng {
    uint64_t state[4];
};

struct rng rng_stream(uint64_t seed, enum rng_purpose purpose, uint64_t entity);

uint64_t rng_next(struct rng *rng);
/* 53-bit uniform in [0, 1), and in (0, 1]. */
double rng_uniform(struct rng *rng);
double rng_uniform_positive(struct rng *rng);
/* Unbiased integer in [0, bound), bound >= 1 (Lemire's multiply with rejection). */
uint64_t rng_below(struct rng *rng, uint64_t bound);

/* Continuous draws; parameters are checked by the caller (assert). Ziggurats of 256 layers for the
 * exponential and the normal (Marsaglia and Tsang 2000), inversion for the Pareto, Marsaglia and
 * Tsang's other method of that year for the gamma. */
double rng_exponential(struct rng *rng, double mean);
double rng_normal(struct rng *rng, double mean, double sd);
double rng_lognormal(struct rng *rng, double mean, double cv); /* mean and cv of the result */
double rng_gamma(struct rng *rng, double shape, double scale);
double rng_pareto(struct rng *rng, double shape, double minimum); /* P(X > x) = (minimum/x)^shape */

#endif
