/* samples.h - from raw times of one kernel to the row of a table.
 *
 * Rules and their reasons: profiler/README.md. Samples that were preempted are dirty; the mean is
 * taken over the clean ones less outliers, because means of kernels add up to the mean of a
 * forward and medians do not. The interval comes from means of blocks of rounds in several
 * processes, because neighbouring samples are correlated. */
#ifndef ORRERY_PROFILER_SAMPLES_H
#define ORRERY_PROFILER_SAMPLES_H

#include <stdbool.h>
#include <stdint.h>

struct arena;

#define SAMPLES_OUTLIER_MADS 8
#define SAMPLES_MIN_CLEAN 3
#define SAMPLES_MIN_BLOCKS 8

struct sample {
    int64_t ns;
    int64_t cpu_ns; /* of the thread; 0 when several threads worked */
    int32_t proc, round;
    bool is_dirty;     /* preempted while it ran */
    bool is_disturbed; /* in a round that is known to be slow */
};

struct samples {
    struct sample *items; /* by process, then in order of time */
    int count, room;
};

/* Marks the samples of a round. */
void samples_disturb(struct samples *samples, int32_t proc, int32_t round);
/* Half width of the mean of one process, as a share of it, as if samples were independent; 1 when
 * not known. */
double samples_inside_ratio(const struct sample *items, int count);

void samples_add(struct arena *arena, struct samples *samples, struct sample sample);

struct samples_summary {
    int64_t n_samples; /* all that were taken */
    int64_t n, n_dirty, n_outlier, n_disturbed, n_proc;
    int64_t mean_ps, median_ps, min_ps, p95_ps, mad_ps;
    int64_t half_ps; /* half width of the 95 % interval of the mean; -1 with fewer than 2 blocks */
    int64_t proc_min_ps, proc_max_ps;
    bool is_fallback;   /* too few clean samples: all were used (CPU time where it is known) */
    bool has_disturbed; /* too few samples of undisturbed rounds: the others count too */
};

/* False, and all 0, when there is no sample. */
bool samples_summarize(struct arena *scratch, const struct samples *samples,
                       struct samples_summary *summary);

/* Half width as a share of the mean; 1 when not known. */
double samples_half_ratio(const struct samples_summary *summary);

#endif
