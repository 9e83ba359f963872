/* later.h - an instant and the gap after it, in whole picoseconds. */
#ifndef ORRERY_SIM_GENERATE_LATER_H
#define ORRERY_SIM_GENERATE_LATER_H

#include "lib/base/dmath.h"
#include "lib/base/saturate.h"
#include <stdint.h>

/* at_ps + dmath_round(gap_ps) for gaps of at least 0; INT64_MAX where time has run out. Which way a
 * gap is rounded is a matter of chance, so there is no branch on it. */
static inline int64_t later_ps(int64_t at_ps, double gap_ps)
{
    int64_t gap;

    if (gap_ps < 0x1p52) {
        double rest;

        gap = (int64_t)gap_ps;
        rest = gap_ps - (double)gap;
        gap += (rest > 0.5) | ((rest == 0.5) & (int)(gap & 1));
    } else {
        gap = dmath_round(gap_ps);
    }
    return saturate_add(at_ps, gap);
}

#endif
