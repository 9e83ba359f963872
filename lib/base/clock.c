/* clock.c - reads the monotonic clocks, and waits for an instant closely. */
#include "lib/base/clock.h"

#include <errno.h>
#include <time.h>

/* A sleeping thread wakes some tens of microseconds late; the rest is spun. */
#define SPIN_NS INT64_C(50000)
#define NS_PER_S INT64_C(1000000000)

static int64_t read_ns(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t clock_now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_raw_ns(void)
{
    return read_ns(CLOCK_MONOTONIC_RAW);
}

void clock_sleep_until_ns(int64_t instant_ns)
{
    int64_t wake_ns = instant_ns - SPIN_NS;

    if (wake_ns > clock_now_ns()) {
        struct timespec wake = { (time_t)(wake_ns / NS_PER_S), (long)(wake_ns % NS_PER_S) };

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, NULL) == EINTR)
            ;
    }
    while (clock_now_ns() < instant_ns)
        ;
}
