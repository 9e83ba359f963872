/* wide.h - the few 128-bit operations that exact arithmetic needs, in two 64-bit words.
 *
 * Own code rather than __int128, which 32-bit ARM does not have. Division is Knuth's algorithm D
 * with 32-bit digits (The Art of Computer Programming, vol. 2, 4.3.1). */
#ifndef ORRERY_BASE_WIDE_H
#define ORRERY_BASE_WIDE_H

#include <stdint.h>

struct wide {
    uint64_t high, low;
};

static inline struct wide wide_mul(uint64_t a, uint64_t b)
{
    uint64_t a_high = a >> 32, a_low = a & UINT32_MAX;
    uint64_t b_high = b >> 32, b_low = b & UINT32_MAX;
    uint64_t low = a_low * b_low;
    uint64_t middle = a_high * b_low + (low >> 32);
    uint64_t other = a_low * b_high + (middle & UINT32_MAX);

    return (struct wide){ a_high * b_high + (middle >> 32) + (other >> 32),
                          (other << 32) | (low & UINT32_MAX) };
}

static inline struct wide wide_add(struct wide a, struct wide b)
{
    uint64_t low = a.low + b.low;

    return (struct wide){ a.high + b.high + (low < a.low), low };
}

/* Below 0, 0 or above 0: a is below b, equal to it or above it, both without a sign. */
static inline int wide_compare(struct wide a, struct wide b)
{
    if (a.high != b.high)
        return a.high > b.high ? 1 : -1;
    return (a.low > b.low) - (a.low < b.low);
}

static inline struct wide wide_negate(struct wide a)
{
    return wide_add((struct wide){ ~a.high, ~a.low }, (struct wide){ 0, 1 });
}

/* Quotient and remainder; needs dividend.high < divisor, so that the quotient fits. */
uint64_t wide_div(struct wide dividend, uint64_t divisor, uint64_t *remainder);

#endif
