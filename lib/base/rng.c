/* rng.c - xoshiro256++ streams and the distributions drawn from them.
 *
 * How many numbers a draw takes, and in which order, is part of every seed's meaning. Logarithms
 * come from lib/base/dmath.h, so that draws are the same on every machine. */
#include "lib/base/rng.h"

#include "lib/base/dmath.h"
#include "lib/base/wide.h"
#include <assert.h>

/* Steele, Lea and Flood 2014: every input has its own output, and neighbours lie far apart. */
static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

struct rng rng_stream(uint64_t seed, enum rng_purpose purpose, uint64_t entity)
{
    struct rng rng;
    uint64_t state = seed;

    state = splitmix(&state) ^ (uint64_t)purpose;
    state = splitmix(&state) ^ entity;
    for (int i = 0; i < 4; i++)
        rng.state[i] = splitmix(&state);
    return rng;
}

static uint64_t rotate(uint64_t x, int count)
{
    return (x << count) | (x >> (64 - count));
}

uint64_t rng_next(struct rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate(s[0] + s[3], 23) + s[0], t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

double rng_uniform(struct rng *rng)
{
    return (double)(rng_next(rng) >> 11) * 0x1p-53;
}

double rng_uniform_positive(struct rng *rng)
{
    return (double)((rng_next(rng) >> 11) + 1) * 0x1p-53;
}

/* Lemire 2019: the high word of a product is uniform, once the low words that would make some
 * results likelier than others are rejected. */
uint64_t rng_below(struct rng *rng, uint64_t bound)
{
    struct wide product;
    uint64_t rejected;

    assert(bound >= 1);
    rejected = (0 - bound) % bound; /* 2^64 mod bound */
    do
        product = wide_mul(rng_next(rng), bound);
    while (product.low < rejected);
    return product.high;
}

double rng_exponential(struct rng *rng, double mean)
{
    assert(mean >= 0);
    return 0.0 - mean * dmath_log(rng_uniform_positive(rng));
}

/* The polar method's second number is thrown away: a stream then has no hidden state. */
static double standard_normal(struct rng *rng)
{
    double u, s;

    do {
        double v;

        u = 2 * rng_uniform(rng) - 1;
        v = 2 * rng_uniform(rng) - 1;
        s = u * u + v * v;
    } while (s >= 1 || s == 0);
    return u * dmath_sqrt(-2 * dmath_log(s) / s);
}

double rng_normal(struct rng *rng, double mean, double sd)
{
    assert(sd >= 0);
    return mean + sd * standard_normal(rng);
}

double rng_lognormal(struct rng *rng, double mean, double cv)
{
    double variance;

    assert(mean > 0 && cv >= 0);
    variance = dmath_log(1 + cv * cv);
    return mean * dmath_exp(dmath_sqrt(variance) * standard_normal(rng) - variance / 2);
}

/* Marsaglia and Tsang 2000; a shape below 1 is a draw of shape + 1 times u^(1/shape). */
double rng_gamma(struct rng *rng, double shape, double scale)
{
    double d, c, boost = 1;

    assert(shape > 0 && scale >= 0);
    if (shape < 1) {
        boost = dmath_pow(rng_uniform_positive(rng), 1 / shape);
        shape += 1;
    }
    d = shape - 1.0 / 3;
    c = 1 / dmath_sqrt(9 * d);
    for (;;) {
        double x = standard_normal(rng), v = 1 + c * x, u = rng_uniform_positive(rng);

        v = v * v * v;
        if (v > 0 && dmath_log(u) < x * x / 2 + d - d * v + d * dmath_log(v))
            return d * v * boost * scale;
    }
}

double rng_pareto(struct rng *rng, double shape, double minimum)
{
    assert(shape > 0 && minimum >= 0);
    return minimum * dmath_pow(rng_uniform_positive(rng), -1 / shape);
}
