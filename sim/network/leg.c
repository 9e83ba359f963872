/* leg.c - see leg.h. Work is counted in millibits x picoseconds a second, in 128 bits. */
#include "sim/network/leg.h"

#include "lib/base/units.h"
#include "lib/base/wide.h"
#include "sim/engine/engine.h"
#include "sim/network/topology.h"
#include <stdbool.h>

#define MILLIBITS_A_BYTE UINT64_C(8000)

/* work / rate, halves to even, saturated. */
static int64_t work_ps(struct wide work, int64_t rate)
{
    uint64_t quotient, rest, divisor = (uint64_t)rate;

    if (work.high >= divisor)
        return ENGINE_LAST_PS;
    quotient = wide_div(work, divisor, &rest);
    if (quotient >= (uint64_t)ENGINE_LAST_PS)
        return ENGINE_LAST_PS;
    if (rest > divisor - rest || (rest == divisor - rest && quotient % 2 == 1))
        quotient++;
    return (int64_t)quotient;
}

/* bytes x 8000 x 10^12; all bits set when it does not fit. */
static struct wide work_of(int64_t bytes)
{
    struct wide bits = wide_mul((uint64_t)bytes, MILLIBITS_A_BYTE), work;

    if (bits.high > 0)
        return (struct wide){ UINT64_MAX, UINT64_MAX };
    work = wide_mul(bits.low, (uint64_t)UNITS_PS_PER_S);
    return work;
}

int64_t leg_end_ps(const struct topology *topology, const struct topology_leg *leg,
                   int64_t begin_ps, int64_t bytes)
{
    const struct topology_rate *rates = &topology->rates[leg->first_rate];
    struct wide work = work_of(bytes);
    int32_t at = 0;

    if (begin_ps == ENGINE_NEVER)
        return ENGINE_NEVER;
    while (at + 1 < leg->rate_count && rates[at + 1].time_ps <= begin_ps)
        at++;
    for (; at + 1 < leg->rate_count; at++) {
        int64_t length_ps = rates[at + 1].time_ps - begin_ps, needed_ps;
        struct wide done = wide_mul((uint64_t)rates[at].rate_millibits_per_s, (uint64_t)length_ps);

        if (wide_compare(done, work) >= 0) {
            needed_ps = rates[at].rate_millibits_per_s > 0
                            ? work_ps(work, rates[at].rate_millibits_per_s)
                            : 0;
            return engine_after_ps(begin_ps, needed_ps);
        }
        work = wide_add(work, wide_negate(done));
        begin_ps = rates[at + 1].time_ps;
    }
    if (rates[at].rate_millibits_per_s == 0 && (work.high > 0 || work.low > 0))
        return ENGINE_NEVER;
    return engine_after_ps(begin_ps, rates[at].rate_millibits_per_s > 0
                                         ? work_ps(work, rates[at].rate_millibits_per_s)
                                         : 0);
}

int64_t leg_up_ps(const struct topology *topology, const struct topology_leg *leg, int64_t begin_ps)
{
    const struct topology_rate *rates = &topology->rates[leg->first_rate];
    int32_t at = 0;

    while (at + 1 < leg->rate_count && rates[at + 1].time_ps <= begin_ps)
        at++;
    if (rates[at].rate_millibits_per_s > 0)
        return begin_ps;
    for (at++; at < leg->rate_count; at++)
        if (rates[at].rate_millibits_per_s > 0)
            return rates[at].time_ps;
    return ENGINE_NEVER;
}
