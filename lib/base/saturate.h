/* saturate.h - sums of times and sizes that stop at the largest number. */
#ifndef ORRERY_BASE_SATURATE_H
#define ORRERY_BASE_SATURATE_H

#include <stdint.h>

/* a + b for b >= 0, INT64_MAX at most. */
static inline int64_t saturate_add(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

/* a - b for a >= b >= 0, where a is a sum that b is part of: one that has stopped says no more than
 * that the rest may be as large. */
static inline int64_t saturate_sub(int64_t a, int64_t b)
{
    return a == INT64_MAX ? INT64_MAX : a - b;
}

/* a x b of two that are >= 0, INT64_MAX at most. */
static inline int64_t saturate_mul(int64_t a, int64_t b)
{
    return b > 0 && a > INT64_MAX / b ? INT64_MAX : a * b;
}

#endif
