/* compare_stages.h - how far a prediction is from what was measured, stage by stage.
 *
 * A job is one step of one request in one stage: its rows of a stage trace, one a device, from the
 * first start to the last finish. Jobs of requests that are ok in both files are paired by request,
 * step and stage, and grouped by service, stage and phase (prefill and decode steps differ). Times
 * of a job are taken after the arrival of its request, in each file after its own: the clocks of
 * two traces need not agree, and a job may start before its request arrives or before the stage
 * before it ends, as the clocks of real workers have it. */
#ifndef ORRERY_SIM_REPORT_COMPARE_STAGES_H
#define ORRERY_SIM_REPORT_COMPARE_STAGES_H

#include "lib/base/op.h"
#include "sim/report/compare.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct trace_stages;

struct compare_offset { /* predicted - measured, of a time after arrival */
    size_t count;
    double sum_ps, sum_abs_ps;
    int64_t max_abs_ps, max_request_id; /* the first of the largest */
};
void compare_offset_add(struct compare_offset *offset, int64_t predicted_ps, int64_t real_ps,
                        int64_t request_id);
/* 0 without values. */
double compare_offset_mean_ps(const struct compare_offset *offset);
double compare_offset_mean_abs_ps(const struct compare_offset *offset);

struct compare_stage { /* one service, stage and phase */
    const char *service;
    int32_t stage;
    enum op_phase phase; /* OP_ANY of executables and where no file says it */
    size_t pairs;
    struct compare_metric time; /* finish - start */
    struct compare_offset start, finish;
    struct compare_worst_list worst; /* by finish - start */
};

struct compare_stages {
    size_t pairs;        /* jobs in both files */
    size_t missing;      /* jobs in one file only, of requests that are compared */
    size_t not_compared; /* rows of both files that belong to other requests, excluded ones aside */
    size_t stage_count;
    struct compare_stage *stages;   /* services in order of first request, then stage, phase */
    struct compare_offset timeline; /* starts and finishes of all jobs */
    size_t moved;                   /* pairs that did not run on the same devices */
    int64_t moved_request_id;       /* the first of them, and where it ran ("a b") */
    int32_t moved_stage;
    const char *moved_predicted, *moved_real;
};

/* Sorts the rows of both traces. totals says which requests are compared; rows that excluded (may
 * be NULL) names are left out of everything. Fails when two rows of a file are the same job on the
 * same device, and when no job is in both. */
bool compare_stages_run(struct arena *arena, struct trace_stages *predicted,
                        struct trace_stages *real, const struct compare_totals *totals,
                        const struct compare_excluded *excluded, struct compare_stages *stages,
                        struct err *err);

/* How busy devices were over the time that both traces tell of. */
struct compare_device {
    const char *device;
    bool is_predicted, is_real;              /* in this file */
    int64_t predicted_busy_ps, real_busy_ps; /* with at least one row, within the span */
};
struct compare_usage {
    /* From the later first start to the earlier last finish, clocks set by the arrivals of the
     * first request that is compared; 0 when they do not overlap. */
    int64_t span_ps;
    size_t count;
    struct compare_device *devices; /* in order of use, measured ones first */
};
/* Of all rows that excluded (may be NULL) does not name; sorted or not. first sets the clocks. */
struct compare_usage compare_usage_of(struct arena *arena, const struct trace_stages *predicted,
                                      const struct trace_stages *real,
                                      const struct compare_match *first,
                                      const struct compare_excluded *excluded);

#endif
