/* report.h - the result of a run for people (text, 80 columns) and for programs (JSON). */
#ifndef ORRERY_SIM_REPORT_REPORT_H
#define ORRERY_SIM_REPORT_REPORT_H

#include "sim/report/bottleneck.h"
#include "sim/report/inputs.h"
#include "sim/report/metrics.h"
#include <stdint.h>

struct arena;
struct cost_table;
struct out;
struct phases;
struct serve_input;
struct serve_replica;
struct serve_result;
struct utilisation;

struct report {
    struct arena *arena; /* of report_fill */
    const struct serve_input *input;
    const struct serve_result *result;
    const struct inputs *inputs;
    const struct utilisation *utilisation; /* NULL: not asked for */
    const struct phases *phases;           /* NULL: the rules know none */
    uint64_t seed;
    struct metrics_options options;
    int64_t until_ps;    /* 0 = none */
    size_t max_requests; /* 0 = all */
    int64_t
        planned_switch_cost_ps; /* that the placement states and this run leaves out; 0 = none */
    bool has_kappa;             /* --kappa on */
    bool has_no_links;          /* the rules know none: those of the cluster count for nothing */
    /* What requests that were made for the run were asked to be: "key", "value", ..., NULL-ended;
     * NULL: they stand in a file. */
    const char *const *load;
    const char *const *served; /* likewise: how (served.h); NULL: rules that have no options */
    struct metrics all, *services;
    struct bottleneck bottleneck;
    int warning_count;
    const char **warnings;
    int loud_count; /* of them, about the costs: for stderr as well */
    const char **loud_warnings;
};

/* Counts, statistics and warnings of a run that the meter was told of; the caller's fields (inputs,
 * seed, options of the meter, has_kappa) are kept. */
void report_fill(struct arena *arena, struct report *report, const struct serve_input *input,
                 const struct serve_result *result, struct meter *meter);
/* The warning of a table that cost_is_disturbed. */
const char *report_quality_text(struct arena *arena, const struct cost_table *table);
/* Requests of the workload that until_ps and max_requests left out; -1: nobody knows how many. */
int64_t report_left_out(const struct report *report);
bool report_is_limited(const struct report *report);
/* Share of the time of its devices, while it had requests in flight, in which they computed
 * nothing; active_ps must be above 0. */
double report_bubble_ratio(const struct serve_replica *replica);
void report_text(const struct report *report, struct out *out);
void report_json(struct arena *arena, const struct report *report, struct out *out);

#endif
