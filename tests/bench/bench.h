/* bench.h - what the programs of this folder share: the clock, and the rows they print.
 *
 * A row is one repeat of one figure. tools/bench-score-simulator knows what each figure is to
 * reach; the programs only measure. Lines that begin with '#' are notes on a figure. */
#ifndef ORRERY_TESTS_BENCH_BENCH_H
#define ORRERY_TESTS_BENCH_BENCH_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

/* Time of this thread on its processor. */
static inline double bench_thread_ns(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static inline void bench_head(void)
{
    printf("figure,repeat,ours,yardstick,unit\n");
}

/* ours is what Orrery took, yardstick what it is held against (0 = nothing). */
static inline void bench_row(const char *figure, int repeat, double ours, double yardstick,
                             const char *unit)
{
    printf("%s,%d,%.6g,%.6g,%s\n", figure, repeat, ours, yardstick, unit);
    (void)fflush(stdout); /* a reader may watch */
}

#endif
