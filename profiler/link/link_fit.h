/* link_fit.h - from measured one-way times to the link model of links.csv:
 * per_message_s + latency_s + 8 bytes / (efficiency_ratio x bits_per_s). */
#ifndef ORRERY_PROFILER_LINK_FIT_H
#define ORRERY_PROFILER_LINK_FIT_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;

struct link_point {  /* one size of message */
    int64_t bytes;   /* of payload: what the simulator counts */
    int64_t time_ns; /* median of one way */
    int count;       /* exchanges measured */
};
struct link_burst { /* messages sent back to back, until the last is answered */
    int messages;
    int64_t time_ns;
};

struct link_fit {
    double bits_per_s;       /* of payload: efficiency_ratio is not in it */
    double efficiency_ratio; /* of payload in what travels, by the size of packets; 1 = not known */
    int64_t burst_bytes; /* that pass at once after a pause, through a shaper's bucket; 0 = none */
    int64_t latency_ps, per_message_ps;
    double median_error_ratio, max_error_ratio; /* of the points, |fit - measured| / measured */
};

/* Least squares of the relative error over the points (2 or more sizes), and a line through the
 * bursts (2 or more lengths) for what each further message costs the sender. Where a shaped link
 * (tbf, an operator's limit) lets the first bytes after a pause through at once, only what is
 * longer tells the rate: such a bend is looked for, and believed when it explains the points far
 * better than a line does (4 points or more). The row of links.csv has no bend: its error says what
 * that costs. An error when larger messages took no longer than small ones: then there is no rate.
 */
bool link_fit(struct arena *arena, const struct link_point *points, int point_count,
              const struct link_burst *bursts, int burst_count, struct link_fit *fit,
              struct err *err);
/* Payload's share of what travels in full packets of TCP over IPv4: mtu_bytes of the interface, 40
 * bytes of addresses and 12 of stamps in each, 14 of the frame around it. 1 for an unknown MTU (0).
 */
double link_efficiency_ratio(int64_t mtu_bytes);
/* Of a point, by the row of links.csv. */
double link_fit_ns(const struct link_fit *fit, int64_t bytes);

#endif
