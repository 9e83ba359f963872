/* describe.h - what a workload looks like: how many, how fast, how irregular, how long, when. */
#ifndef ORRERY_SIM_WORKLOAD_DESCRIBE_H
#define ORRERY_SIM_WORKLOAD_DESCRIBE_H

#include "lib/base/stats.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct out;
struct workload;

#define DESCRIBE_MAX_BINS 65

/* Arrivals of one kind: rows with an arrival_s. Ratios are NAN where they do not exist: no gap, or
 * all at one instant. */
struct describe_arrivals {
    size_t rows, arrivals; /* all rows; those with an arrival_s */
    int64_t first_ps, last_ps;
    double rate_per_s; /* gaps over the span of the arrivals */
    double gap_cv;     /* standard deviation of the gaps over their mean */
};

struct describe_column {
    struct stats_summary summary; /* of the rows that say something; count 0 = none does */
    double mean;                  /* not rounded */
};

struct describe {
    const struct workload *workload;
    struct describe_arrivals all, *services; /* one a service of the workload */
    double burstiness;                       /* (cv - 1) / (cv + 1) (Goh and Barabasi 2008) */
    double dispersion; /* variance over mean of the counts in equal windows: 1 for a Poisson */
    int64_t
        window_ps; /* of the dispersion: ten requests in the mean, or a thousandth of the span */
    double peak_per_s; /* in the fullest bin */
    int bin_count;     /* 0 = nothing to plot */
    int64_t bin_ps, bins_from_ps;
    size_t bins[DESCRIBE_MAX_BINS];
    struct describe_column prompt, output, prefix, batch, think, slo;
    struct describe_column client_requests, session_turns; /* rows a client, a session */
};

void describe_fill(struct arena *arena, struct describe *describe, const struct workload *workload);
/* At most 80 columns; the plot in block characters or (not is_utf8) in ASCII. */
void describe_text(struct arena *arena, const struct describe *describe, bool is_utf8,
                   struct out *out);
void describe_json(struct arena *arena, const struct describe *describe, struct out *out);

#endif
