/* varying.h - time change: from the time in which arrivals come at an even rate of 1 to the time in
 * which they follow a rate profile. An arrival at `mass` in the former comes when the integral of
 * the rate reaches it (Cinlar 1975), exactly, piece by piece. */
#ifndef ORRERY_SIM_GENERATE_VARYING_H
#define ORRERY_SIM_GENERATE_VARYING_H

#include <stdint.h>

struct arena;
struct err;
struct profile;
struct varying;

struct varying_place { /* the piece that a moment lies in; all 0 at the start of time */
    int64_t period;    /* how many periods came before */
    int piece;
};

/* The profile comes again every period_ps (0: its last piece goes on for ever). With rate_per_s
 * above 0 it is scaled to that mean, which is taken over a period, else up to until_ps (> 0). */
struct varying *varying_create(struct arena *arena, const struct profile *profile,
                               int64_t period_ps, int64_t until_ps, double rate_per_s,
                               struct err *err);
/* Mean over a period, else up to until_ps; the highest rate where neither is given. */
double varying_rate_per_s(const struct varying *varying);
/* When the integral has grown by mass since at_ps, which lies in *place; moves *place there.
 * Rounded to picoseconds; INT64_MAX = never. */
int64_t varying_after_ps(const struct varying *varying, struct varying_place *place, int64_t at_ps,
                         double mass);
/* When the integral from 0 reaches mass, which must not be before *place; moves *place there. */
int64_t varying_at_ps(const struct varying *varying, struct varying_place *place, double mass);

#endif
