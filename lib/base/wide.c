/* wide.c - 128 by 64 bit division, digit by digit of 32 bits. */
#include "lib/base/wide.h"

#include <assert.h>

#define BASE (UINT64_C(1) << 32)

/* One quotient digit of (rest, next) / divisor, whose highest bit is set. The first guess is at
 * most 2 too large. */
static uint64_t digit(uint64_t rest, uint64_t next, uint64_t divisor)
{
    uint64_t guess = rest / (divisor >> 32);
    uint64_t left = rest % (divisor >> 32);

    while (guess >= BASE || guess * (divisor & UINT32_MAX) > ((left << 32) | next)) {
        guess--;
        left += divisor >> 32;
        if (left >= BASE)
            break;
    }
    return guess;
}

uint64_t wide_div(struct wide dividend, uint64_t divisor, uint64_t *remainder)
{
    uint64_t high, low, rest, first, second;
    int shift = 0;

    assert(dividend.high < divisor);
    if (dividend.high == 0) {
        *remainder = dividend.low % divisor;
        return dividend.low / divisor;
    }
    while ((divisor << shift) >> 63 == 0)
        shift++;
    divisor <<= shift;
    high = dividend.high << shift;
    if (shift > 0)
        high |= dividend.low >> (64 - shift);
    low = dividend.low << shift;

    first = digit(high, low >> 32, divisor);
    rest = (high << 32 | low >> 32) - first * divisor;
    second = digit(rest, low & UINT32_MAX, divisor);
    rest = (rest << 32 | (low & UINT32_MAX)) - second * divisor;
    *remainder = rest >> shift;
    return first << 32 | second;
}
