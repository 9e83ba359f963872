/* rate_search.c - see rate_search.h. */
#include "sim/judge/rate_search.h"

#include "lib/base/arena.h"

#define MOST_PROBES 256

struct search {
    const struct rate_ask *ask;
    struct rate_answer *answer;
    struct err *err;
};

/* Tries a rate, and keeps the probe in order. */
static bool try(struct search *search, double rate_per_s, struct rate_probe *probe)
{
    struct rate_answer *answer = search->answer;
    int at = answer->probe_count;

    *probe = (struct rate_probe){ .rate_per_s = rate_per_s };
    if (!search->ask->probe(search->ask->arg, probe, search->err))
        return false;
    if (at == MOST_PROBES)
        return true;
    while (at > 0 && answer->probes[at - 1].rate_per_s > rate_per_s) {
        answer->probes[at] = answer->probes[at - 1];
        at--;
    }
    answer->probes[at] = *probe;
    answer->probe_count++;
    return true;
}

/* The power of two at or below a rate, within what may be tried. */
static double start_of(const struct rate_ask *ask, double served_per_s)
{
    double start_per_s = 1;

    if (served_per_s > 0) {
        while (start_per_s * 2 <= served_per_s)
            start_per_s *= 2;
        while (start_per_s > served_per_s)
            start_per_s /= 2;
    }
    while (start_per_s >= ask->flood_per_s)
        start_per_s /= 2;
    while (start_per_s < ask->floor_per_s)
        start_per_s *= 2;
    return start_per_s;
}

/* A rate that is met and one at most twice as high that is not; false: err, or the answer is there.
 */
static bool bracket(struct search *search, double start_per_s, bool *is_done)
{
    struct rate_answer *answer = search->answer;
    struct rate_probe probe;
    double rate_per_s = start_per_s;

    if (!try(search, rate_per_s, &probe))
        return false;
    if (probe.is_met) {
        do {
            answer->rate_per_s = rate_per_s;
            rate_per_s *= 2;
            if (rate_per_s >= search->ask->flood_per_s) { /* which was not met */
                answer->next_per_s = search->ask->flood_per_s;
                return true;
            }
            if (!try(search, rate_per_s, &probe))
                return false;
        } while (probe.is_met);
        answer->next_per_s = rate_per_s;
        return true;
    }
    do {
        answer->next_per_s = rate_per_s;
        rate_per_s /= 2;
        if (rate_per_s < search->ask->floor_per_s) {
            answer->outcome = RATE_NEVER;
            *is_done = true;
            return true;
        }
        if (!try(search, rate_per_s, &probe))
            return false;
    } while (!probe.is_met);
    answer->rate_per_s = rate_per_s;
    return true;
}

static bool bisect(struct search *search)
{
    struct rate_answer *answer = search->answer;
    double resolution = 1 + search->ask->resolution_ratio;

    while (answer->next_per_s > answer->rate_per_s * resolution) {
        double middle_per_s = (answer->rate_per_s + answer->next_per_s) / 2;
        struct rate_probe probe;

        if (!try(search, middle_per_s, &probe))
            return false;
        if (probe.is_met)
            answer->rate_per_s = middle_per_s;
        else
            answer->next_per_s = middle_per_s;
    }
    return true;
}

/* Multiples of a rate that are to be met, or not. */
static bool check(struct search *search, double rate_per_s, const double *factors, int count,
                  bool is_met)
{
    for (int i = 0; i < count; i++) {
        struct rate_probe probe;

        if (rate_per_s * factors[i] < search->ask->floor_per_s)
            continue;
        if (!try(search, rate_per_s * factors[i], &probe))
            return false;
        if (probe.is_met != is_met)
            search->answer->is_monotone = false;
    }
    return true;
}

bool rate_search(struct arena *arena, const struct rate_ask *ask, struct rate_answer *answer,
                 struct err *err)
{
    static const double below[] = { 0.25, 0.5, 0.75, 0.875 }, above[] = { 1.125, 1.25, 1.5, 2 };
    struct search search = { ask, answer, err };
    struct rate_probe flood;
    bool is_done = false;
    double start_per_s;

    *answer = (struct rate_answer){ .outcome = RATE_FOUND, .is_monotone = true };
    answer->probes = arena_array(arena, MOST_PROBES, sizeof *answer->probes);
    if (!try(&search, ask->flood_per_s, &flood))
        return false;
    start_per_s = start_of(ask, flood.served_per_s);
    if (flood.is_met) {
        answer->outcome = RATE_UNLIMITED;
        return check(&search, start_per_s, below, 4, true) &&
               check(&search, start_per_s, above, 4, true);
    }
    if (!bracket(&search, start_per_s, &is_done))
        return false;
    if (is_done)
        return true;
    return bisect(&search) && check(&search, answer->rate_per_s, below, 4, true) &&
           check(&search, answer->next_per_s, above, 4, false);
}
