/* clock.h - the machine's monotonic clock, for the profiler and the runner. In sim/ it ends
 * searches at --time-limit, and nothing else. */
#ifndef ORRERY_BASE_CLOCK_H
#define ORRERY_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC in ns: one time line for all processes of a machine. */
int64_t clock_now_ns(void);
/* CLOCK_MONOTONIC_RAW in ns: not slewed, for short intervals. */
int64_t clock_raw_ns(void);
/* Sleeps until CLOCK_MONOTONIC reaches the instant; the last 50 us are spun so that deadlines hold.
 */
void clock_sleep_until_ns(int64_t instant_ns);

#endif
