/* threads.h - lists of thread counts, and which of them is best here.
 *
 * More threads are not always faster: small steps wait for the slowest of them. */
#ifndef ORRERY_PROFILER_THREADS_H
#define ORRERY_PROFILER_THREADS_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;

#define THREADS_MAX_COUNTS 8
#define THREADS_MAX 256

/* "1,4": in any order, each once, as the options --threads and --slices take them. */
bool threads_parse(struct arena *arena, const char *option, const char *text,
                   int threads[THREADS_MAX_COUNTS], int *count, struct err *err);

struct threads_cost { /* of one thread count: the sum over one step of a whole model */
    int threads;
    int64_t decode_ps, prefill_ps; /* 0 or less: not measured */
    int64_t decode_ci, prefill_ci; /* ps, half widths of 95 % intervals; negative: not known */
};

struct threads_choice {
    int threads;     /* 0: nothing was measured */
    int fastest;     /* by the mean alone */
    int64_t cost_ps; /* of `threads` */
    bool is_clear;   /* false: intervals overlap that of the fastest, so the fewest were taken */
    int slowest;     /* what it is compared with, and its cost */
    int64_t slowest_ps;
};

/* The fastest, for decode and for prefill; where intervals overlap that of the fastest the smallest
 * of these counts. An interval that is not known overlaps every other. Rows in any order. */
void threads_best(const struct threads_cost *costs, int count, struct threads_choice *decode,
                  struct threads_choice *prefill);

/* For the summary: "best with 4 threads for decode (10.5 ms a step, 1.40 times as fast as with 1)
 * and ... for prefill (...)". NULL when fewer than two counts were measured. */
const char *threads_sentence(struct arena *arena, const struct threads_cost *costs, int count);

#endif
