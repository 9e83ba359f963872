/* dmath.c - logarithm and exponential from +, -, *, / alone, in pairs of doubles where one is too
 * short.
 *
 * log returns high + low with about 60 good bits, so that pow, which multiplies it by up to
 * hundreds, still keeps 1e-14. Every constant is written exactly or as a quotient, which the
 * compiler rounds correctly. */
#include "lib/base/dmath.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* ln 2 in two parts: the first ends in 21 zero bits, so that k * LN2_HIGH is exact. */
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33

struct pair {
    double high, low;
};

/* 2^exponent of a normal double. */
static double power_of_two(int exponent)
{
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* x = mantissa * 2^exponent with the mantissa in [sqrt(1/2), sqrt(2)); x > 0, finite. */
static double split_exponent(double x, int *exponent)
{
    uint64_t bits;

    *exponent = 0;
    if (x < 0x1p-1022) { /* subnormal */
        x *= 0x1p54;
        *exponent = -54;
    }
    memcpy(&bits, &x, sizeof bits);
    *exponent += (int)(bits >> 52) - 1023;
    bits = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1023) << 52;
    memcpy(&x, &bits, sizeof x);
    if (x > 0x1.6a09e667f3bcdp+0) {
        x /= 2;
        ++*exponent;
    }
    return x;
}

/* a + b exactly, for any order of sizes (Knuth). */
static struct pair add_exactly(double a, double b)
{
    double sum = a + b, part = sum - a;

    return (struct pair){ sum, (a - (sum - part)) + (b - part) };
}

/* a * b exactly, without a fused multiply-add (Dekker 1971, Veltkamp's split). */
static struct pair multiply_exactly(double a, double b)
{
    const double splitter = 0x1p27 + 1;
    double a_high = a * splitter - (a * splitter - a), a_low = a - a_high;
    double b_high = b * splitter - (b * splitter - b), b_low = b - b_high;
    double product = a * b;

    return (struct pair){ product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) +
                                       a_low * b_low };
}

/* log(m) = 2 atanh(s), s = (m - 1) / (m + 1), |s| < 0.172; 12 terms of the series leave 1e-20. */
static struct pair log_pair(double x)
{
    int exponent;
    double m = split_exponent(x, &exponent), f = m - 1;
    struct pair bottom = add_exactly(m, 1), square, sum, rest;
    double s = f / bottom.high, s_low, z, series = 0;

    square = multiply_exactly(s, bottom.high); /* what is left of f after the division */
    s_low = ((f - square.high) - square.low - s * bottom.low) / bottom.high;
    z = s * s;
    for (int n = 25; n >= 3; n -= 2)
        series = series * z + 2.0 / n;
    rest = add_exactly(2 * s, s * z * series);
    rest.low += 2 * s_low;
    sum = add_exactly(exponent * LN2_HIGH, rest.high);
    sum.low += rest.low + exponent * LN2_LOW;
    return add_exactly(sum.high, sum.low);
}

/* e^(high + low): e^r * 2^k with |r| <= ln(2)/2; 13 terms of the series leave 1e-17. */
static double exp_pair(double high, double low)
{
    static const double inverse[] = { 0,        1.0,      1.0 / 2,  1.0 / 3, 1.0 / 4,
                                      1.0 / 5,  1.0 / 6,  1.0 / 7,  1.0 / 8, 1.0 / 9,
                                      1.0 / 10, 1.0 / 11, 1.0 / 12, 1.0 / 13 };
    double r, value = 1;
    int k;

    if (high > 710)
        return HUGE_VAL;
    if (high < -746)
        return 0;
    k = (int)dmath_round(high / (LN2_HIGH + LN2_LOW));
    r = ((high - k * LN2_HIGH) - k * LN2_LOW) + low;
    for (int n = 13; n >= 1; n--)
        value = 1 + value * r * inverse[n];
    /* In two steps: 2^k itself may lie outside the normal range. */
    return value * power_of_two(k / 2) * power_of_two(k - k / 2);
}

double dmath_log(double x)
{
    struct pair log;

    assert(x > 0 && isfinite(x));
    log = log_pair(x);
    return log.high + log.low;
}

double dmath_exp(double x)
{
    return isnan(x) ? x : exp_pair(x, 0);
}

double dmath_pow(double x, double y)
{
    struct pair log, product;

    assert(x > 0 && isfinite(x) && isfinite(y));
    log = log_pair(x);
    if (fabs(y * log.high) > 1000) /* overflows either way; and keeps the split of y finite */
        return y * log.high > 0 ? HUGE_VAL : 0;
    if (log.high == 0)
        return 1;
    product = multiply_exactly(log.high, y);
    return exp_pair(product.high, product.low + log.low * y);
}

double dmath_sqrt(double x)
{
    return sqrt(x); /* IEEE 754 demands correct rounding */
}

long long dmath_round(double x)
{
    long long whole;
    double rest;

    if (isnan(x))
        return 0;
    if (x >= 0x1p63)
        return INT64_MAX;
    if (x <= -0x1p63)
        return INT64_MIN;
    whole = (long long)x;
    rest = x - (double)whole;
    if (rest > 0.5 || (rest == 0.5 && whole % 2 != 0))
        whole++;
    if (rest < -0.5 || (rest == -0.5 && whole % 2 != 0))
        whole--;
    return whole;
}
