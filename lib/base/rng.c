/* rng.c - xoshiro256++ streams and the distributions drawn from them.
 *
 * How many numbers a draw takes, and in which order, is part of every seed's meaning. Logarithms
 * come from lib/base/dmath.h and layers from lib/base/ziggurat.h, so that draws are the same on
 * every machine. */
#include "lib/base/rng.h"

#include "lib/base/dmath.h"
#include "lib/base/wide.h"
#include "lib/base/ziggurat.h"
#include <assert.h>
#include <stdbool.h>

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

/* Whether a point of a layer, at x beyond the next layer's end, lies under the density there. */
static bool is_under(struct rng *rng, const struct ziggurat_layer *layer, double density)
{
    return layer->density + rng_uniform(rng) * (layer[1].density - layer->density) < density;
}

/* The low byte of a number chooses the layer, its high 53 bits the place in it. Beyond the end an
 * exponential begins anew: it has no memory. */
static double standard_exponential(struct rng *rng)
{
    double begin = 0;

    for (;;) {
        uint64_t bits = rng_next(rng), place = bits >> 11;
        const struct ziggurat_layer *layer = &ziggurat_exponential[bits % ZIGGURAT_LAYERS];
        double x = (double)(int64_t)place * layer->width;

        if (place < layer->inside)
            return begin + x;
        if (layer == ziggurat_exponential)
            begin += ZIGGURAT_EXPONENTIAL_END;
        else if (is_under(rng, layer, dmath_exp(-x)))
            return begin + x;
    }
}

double rng_exponential(struct rng *rng, double mean)
{
    assert(mean >= 0);
    return mean * standard_exponential(rng);
}

/* Marsaglia 1964: |x| given that it lies beyond the end. */
static double normal_tail(struct rng *rng)
{
    double x;

    do
        x = standard_exponential(rng) / ZIGGURAT_NORMAL_END;
    while (2 * standard_exponential(rng) < x * x);
    return ZIGGURAT_NORMAL_END + x;
}

/* As above; bit 8 is the sign. */
static double standard_normal(struct rng *rng)
{
    for (;;) {
        uint64_t bits = rng_next(rng), place = bits >> 11;
        const struct ziggurat_layer *layer = &ziggurat_normal[bits % ZIGGURAT_LAYERS];
        double sign = bits & ZIGGURAT_LAYERS ? -1 : 1, x = (double)(int64_t)place * layer->width;

        if (place < layer->inside)
            return sign * x;
        if (layer == ziggurat_normal)
            return sign * normal_tail(rng);
        if (is_under(rng, layer, dmath_exp(-x * x / 2)))
            return sign * x;
    }
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
