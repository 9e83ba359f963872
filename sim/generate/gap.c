/* gap.c - the logarithm in one precision, and the careful one only where the last digit counts.
 *
 * dmath_log keeps 60 good bits, which a gap that is rounded to picoseconds rarely needs: a short
 * series decides unless the gap lies within the series' error of the middle between two whole
 * numbers. So every seed keeps its meaning, at a fifth of the cost. */
#include "sim/generate/gap.h"

#include "lib/base/dmath.h"
#include "lib/base/rng.h"
#include <string.h>

/* log(u) for a normal u > 0 to 2^-50 of max(1, |log(u)|): u = m 2^e with m in [sqrt(1/2), sqrt(2)),
 * log(m) = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.1716; what ten terms leave is below 2^-56. */
static double short_log(double u)
{
    const double ln2 = 0x1.62e42fefa39efp-1;
    uint64_t bits;
    int64_t exponent;
    double m, s, z, z2, z4, low, high;

    memcpy(&bits, &u, sizeof bits);
    /* Adding what lies between sqrt(1/2) and 1 carries into the exponent from sqrt(2) on. */
    bits += UINT64_C(0x3ff0000000000000) - UINT64_C(0x3fe6a09e667f3bcd);
    exponent = (int64_t)(bits >> 52) - 1023;
    bits = (bits & UINT64_C(0x000fffffffffffff)) + UINT64_C(0x3fe6a09e667f3bcd);
    memcpy(&m, &bits, sizeof m);
    s = (m - 1) / (m + 1);
    z = s * s;
    z2 = z * z;
    z4 = z2 * z2;
    low = (2.0 / 3 + z * (2.0 / 5)) + z2 * (2.0 / 7 + z * (2.0 / 9));
    high = (2.0 / 11 + z * (2.0 / 13)) + z2 * (2.0 / 15 + z * (2.0 / 17));
    high += z4 * (2.0 / 19 + z * (2.0 / 21));
    return (double)exponent * ln2 + (2 * s + s * z * (low + z4 * high));
}

static inline int64_t gap_of(double u, double mean_ps)
{
    double gap_ps = 0.0 - mean_ps * short_log(u), error_ps = (gap_ps + mean_ps) * 0x1p-49;

    if (gap_ps < 0x1p52) { /* beyond, doubles hold no halves */
        int64_t whole = (int64_t)gap_ps;
        double above = gap_ps - (double)whole - 0.5;

        /* Whether it is above the middle is a coin's toss: no branch on it. */
        if (above * above > error_ps * error_ps)
            return whole + (above > 0);
    }
    return dmath_round(0.0 - mean_ps * dmath_log(u));
}

int64_t gap_exponential_ps(struct rng *rng, double mean_ps)
{
    return gap_of(rng_uniform_positive(rng), mean_ps);
}

void gap_exponential_fill(struct rng *rng, double mean_ps, int64_t at_ps, int64_t *arrivals_ps,
                          int count)
{
    for (int i = 0; i < count; i++) {
        int64_t gap_ps = gap_of(rng_uniform_positive(rng), mean_ps);

        at_ps = gap_ps > INT64_MAX - at_ps ? INT64_MAX : at_ps + gap_ps;
        arrivals_ps[i] = at_ps;
    }
}
