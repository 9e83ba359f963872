/* link_fit.h - from measured one-way times to the link model of links.csv:
 * per_message_s + latency_s + 8 bytes / bits_per_s. */
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
    double bits_per_s;
    int64_t latency_ps, per_message_ps;
    double median_error_ratio, max_error_ratio; /* of the points, |fit - measured| / measured */
};

/* Least squares of the relative error over the points (2 or more sizes), and a line through the
 * bursts (2 or more lengths) for what each further message costs the sender. An error when larger
 * messages took no longer than small ones: then there is no rate to state. */
bool link_fit(struct arena *arena, const struct link_point *points, int point_count,
              const struct link_burst *bursts, int burst_count, struct link_fit *fit,
              struct err *err);
/* Of a point, by the fit. */
double link_fit_ns(const struct link_fit *fit, int64_t bytes);

#endif
