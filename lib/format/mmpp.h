/* mmpp.h - Markov-modulated Poisson processes: states with a rate of arrivals each, and how often
 * the process moves from one to another. Reader of the mmpp tables (workloads/README.md).
 *
 * Time in a state is exponential of mean -1/q[s][s]; the next state is j with probability
 * -q[s][j]/q[s][s]. The mean rate is pi . rates, where pi q = 0 (Fischer and Meier-Hellstern 1993).
 */
#ifndef ORRERY_FORMAT_MMPP_H
#define ORRERY_FORMAT_MMPP_H

#include <stddef.h>

struct arena;
struct err;

#define MMPP_MAX_STATES 256
#define MMPP_MAX_PER_S 1e12 /* arrivals or switches: one a picosecond */

struct mmpp {
    int state_count; /* at least 2 */
    const char **names;
    double *rates_per_s;    /* >= 0, not all 0 */
    double *switches_per_s; /* the generator, state_count x state_count: rows sum to 0 */
    double *stationary;     /* share of time in each state */
    double rate_per_s;      /* stationary mean */
};

/* "-" reads stdin. Checks: two states or more, each reachable from each, rows of the matrix that
 * sum to 0. */
struct mmpp *mmpp_load(struct arena *arena, const char *path, struct err *err);
/* "5s:20/s,30s:2/s": mean duration and rate of each state; every other state is as likely to be the
 * next one. option names the command line option for errors. */
struct mmpp *mmpp_parse(struct arena *arena, const char *text, const char *option, struct err *err);
/* Rate at which the state changes, in the mean. */
double mmpp_switches_per_s(const struct mmpp *mmpp);

#endif
