/* roofline.h - what this device reaches at most: peak of the BLAS, memory, caches as they are seen,
 * and what a call, a wake-up and a first touch cost.
 *
 * Williams, Waterman and Patterson 2009 ("Roofline"). Every row is the median of clean samples of
 * interleaved rounds, measured in a process of its own for each thread count: the caller's process
 * never calls the BLAS. */
#ifndef ORRERY_PROFILER_ROOFLINE_H
#define ORRERY_PROFILER_ROOFLINE_H

#include "lib/format/cost.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct interrupt;
struct out;

enum roofline_metric {
    ROOFLINE_SGEMM_PEAK,     /* GFLOP/s of an n x n x n sgemm; ws_bytes is that of its matrices */
    ROOFLINE_READ_BW,        /* bytes/s from memory: the largest working set */
    ROOFLINE_TRIAD_BW,       /* bytes/s, z = x + a y, three streams counted */
    ROOFLINE_COPY_BW,        /* bytes/s, two streams counted */
    ROOFLINE_WS_BW,          /* bytes/s of reading ws_bytes again and again */
    ROOFLINE_TIMER_NS,       /* one reading of CLOCK_MONOTONIC_RAW */
    ROOFLINE_CALL_GEMM_NS,   /* the smallest sgemm */
    ROOFLINE_CALL_GEMV_NS,   /* the smallest sgemv */
    ROOFLINE_IDLE_RESUME_NS, /* what the first sgemm after 60 ms of sleep takes more than others */
    ROOFLINE_PAGE_FAULT_NS,  /* first touch of a page of 4 KiB */
    ROOFLINE_METRIC_COUNT
};
extern const char *const roofline_metrics[ROOFLINE_METRIC_COUNT]; /* "sgemm_peak" ... */
extern const char *const roofline_units[ROOFLINE_METRIC_COUNT];

struct roofline_plan {
    const int *threads; /* counts, each once */
    int thread_count;
    int64_t budget_ns; /* of each thread count; 0: 1.2 s, quick 0.4 s */
    bool is_quick;
    int64_t llc_bytes;       /* as the system reports it; 0 = does not say */
    int64_t available_bytes; /* memory; a quarter of it is used at most; 0 = not known: 256 MiB */
    struct interrupt *interrupt; /* looked at while waiting; may be NULL */
};

/* rows lie in the arena. Working sets double from 32 KiB to 4 times the reported cache (at least 64
 * MiB), as far as memory and time allow; what could not be measured has no row. False when the BLAS
 * does not give a thread count, a process failed, or a signal came; then no process is left. */
bool roofline_measure(struct arena *arena, const struct roofline_plan *plan,
                      struct cost_roofline **rows, int *count, struct err *err);

/* What one process does: tells its rows over fd. Returns its exit status. */
int roofline_child(const struct roofline_plan *plan, int threads, int fd);
#define ROOFLINE_REPORTED_TIMES 2 /* read beyond, before a reported cache is doubted */
enum { ROOFLINE_TEXT_BYTES = 160 };
struct roofline_told { /* from the child: a row, or why it gave up */
    int32_t metric;    /* -1: text */
    int64_t ws_bytes;
    double value;
    char text[ROOFLINE_TEXT_BYTES];
};

/* The last-level cache as its bandwidth shows it, from the ws_bw rows of the fewest threads, in any
 * order: the largest working set that is read at least halfway (in the logarithm) between memory
 * and the level above it. Memory is the largest working set; the level above is the first step,
 * coming from there, that is at least 1.3 times faster and of which the next smaller working set is
 * hardly faster (15 %), or the fastest of all when no step is level. Bandwidths are first made to
 * fall with size (pooled neighbours, in the logarithm), so that one disturbed size decides nothing.
 * 0 when there is no knee or fewer than 4 sizes. When the largest working set still fits the cache
 * this is an inner level: plan with roofline_llc. */
int64_t roofline_knee(const struct cost_roofline *rows, int count);

/* The last-level cache to plan with: the knee when the working sets reach twice what the system
 * reports (virtual machines report the host's cache, of which they have a part) or it reports
 * nothing; else what is reported. 0 = not known. */
int64_t roofline_llc(int64_t reported_bytes, const struct cost_roofline *rows, int count);

/* The largest value of a metric with that many threads; -1 when there is none. */
double roofline_best(const struct cost_roofline *rows, int count, int threads,
                     enum roofline_metric metric);

#endif
