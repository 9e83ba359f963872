/* modulation.c - states, and Poisson arrivals inside them.
 *
 * Squared coefficient of variation of the gaps of two states of equal mean length 1/q and rates
 * r (1 +- b): c2 = 1 + 2 b2 / (1 - b2 + 2 q/r) (Heffes and Lucantoni 1986), solved for b2 below. */
#include "sim/generate/modulation.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/mmpp.h"
#include "sim/generate/later.h"
#include <stdbool.h>
#include <stddef.h>

/* Beyond, a state of a picosecond and a request an hour would never end. */
#define MAX_SWITCHES 1e4

struct modulation {
    int state_count, state;
    int64_t state_end_ps;
    const struct mmpp *mmpp; /* NULL: two states */
    double *gaps_ps;         /* mean gap in each state; 0 = nothing arrives */
    double *dwells_ps;       /* mean time in each state */
};

static struct modulation *create(struct arena *arena, int state_count)
{
    struct modulation *modulation = arena_alloc(arena, sizeof(*modulation));

    modulation->state_count = state_count;
    modulation->gaps_ps = arena_array(arena, (size_t)state_count, sizeof(double));
    modulation->dwells_ps = arena_array(arena, (size_t)state_count, sizeof(double));
    return modulation;
}

static void enter(struct modulation *modulation, int state, int64_t at_ps, struct rng *rng)
{
    modulation->state = state;
    modulation->state_end_ps = later_ps(at_ps, rng_exponential(rng, modulation->dwells_ps[state]));
}

struct modulation *modulation_create(struct arena *arena, const struct mmpp *mmpp, double scale,
                                     struct rng *rng, struct err *err)
{
    int n = mmpp->state_count, state = 0;
    struct modulation *modulation = create(arena, n);
    double switches = mmpp_switches_per_s(mmpp) / (mmpp->rate_per_s * scale), at;

    if (switches > MAX_SWITCHES) {
        err_set(err, ERR_USAGE,
                "the states of the mmpp switch %.3g times between two arrivals of a service: "
                "expected at most %g times",
                switches, MAX_SWITCHES);
        return NULL;
    }
    modulation->mmpp = mmpp;
    for (int s = 0; s < n; s++) {
        double gap_ps = (double)UNITS_PS_PER_S / (mmpp->rates_per_s[s] * scale);

        modulation->gaps_ps[s] = gap_ps < 0x1p63 ? gap_ps : 0;
        modulation->dwells_ps[s] =
            (double)UNITS_PS_PER_S / (0 - mmpp->switches_per_s[(size_t)s * (size_t)(n + 1)]);
    }
    at = rng_uniform(rng);
    while (state < n - 1 && at >= mmpp->stationary[state])
        at -= mmpp->stationary[state++];
    enter(modulation, state, 0, rng);
    return modulation;
}

struct modulation *modulation_create_pair(struct arena *arena, double mean_gap_ps, double dwell_ps,
                                          double cv, struct rng *rng, struct err *err)
{
    struct modulation *modulation = create(arena, 2);
    double c2 = cv * cv, switches = mean_gap_ps / dwell_ps, b2, b;

    b2 = (c2 - 1) * (1 + 2 * switches) / (c2 + 1);
    if (b2 >= 1 || switches > MAX_SWITCHES) {
        double least_ps = b2 >= 1 ? (c2 - 1) * mean_gap_ps : mean_gap_ps / MAX_SWITCHES;

        err_set(err, ERR_USAGE,
                "--cv is '%g': states of %g s last too short for it at this rate; raise --dwell "
                "above %g s",
                cv, dwell_ps / (double)UNITS_PS_PER_S, least_ps / (double)UNITS_PS_PER_S);
        return NULL;
    }
    b = dmath_sqrt(b2);
    modulation->gaps_ps[0] = mean_gap_ps / (1 + b);
    modulation->gaps_ps[1] = mean_gap_ps / (1 - b);
    if (!(modulation->gaps_ps[1] < 0x1p63))
        modulation->gaps_ps[1] = 0;
    modulation->dwells_ps[0] = modulation->dwells_ps[1] = dwell_ps;
    enter(modulation, rng_uniform(rng) < 0.5 ? 0 : 1, 0, rng);
    return modulation;
}

/* Two states alternate; of more, one is drawn by the rates of the switches that lead there. */
static int next_state(const struct modulation *modulation, struct rng *rng)
{
    const struct mmpp *mmpp = modulation->mmpp;
    int n = modulation->state_count, last = 0;
    const double *row;
    double at;

    if (n == 2)
        return 1 - modulation->state;
    row = &mmpp->switches_per_s[(size_t)modulation->state * (size_t)n];
    at = rng_uniform(rng) * (0 - row[modulation->state]);
    for (int s = 0; s < n; s++) {
        if (s == modulation->state || row[s] <= 0)
            continue;
        last = s;
        if (at < row[s])
            return s;
        at -= row[s];
    }
    return last; /* rounding left a little */
}

/* A gap that crosses the end of a state is dropped and drawn anew: exponentials have no memory. */
int64_t modulation_after_ps(struct modulation *modulation, int64_t at_ps, struct rng *rng)
{
    for (;;) {
        double mean_ps = modulation->gaps_ps[modulation->state];
        int64_t next_ps = mean_ps > 0 ? later_ps(at_ps, rng_exponential(rng, mean_ps)) : INT64_MAX;

        if (modulation->state_end_ps == INT64_MAX ||
            (next_ps <= modulation->state_end_ps && mean_ps > 0))
            return next_ps;
        at_ps = modulation->state_end_ps;
        enter(modulation, next_state(modulation, rng), at_ps, rng);
    }
}
