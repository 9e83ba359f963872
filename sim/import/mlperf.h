/* mlperf.h - the presets of MLPerf Inference, for the table and the tests. */
#ifndef ORRERY_SIM_IMPORT_MLPERF_H
#define ORRERY_SIM_IMPORT_MLPERF_H

#include "sim/import/import.h"

enum mlperf_scenario {
    MLPERF_SINGLE_STREAM, /* one query of one sample at a time */
    MLPERF_MULTI_STREAM,  /* one query of several samples at a time */
    MLPERF_SERVER,        /* queries of one sample by a Poisson process */
    MLPERF_OFFLINE,       /* all samples at once */
    MLPERF_SCENARIO_COUNT
};

struct mlperf_settings {
    int scenario;  /* enum mlperf_scenario, -1 = not given */
    int benchmark; /* of the table in mlperf.c, -1 = none */
    const char *service;
    double rate_per_s;                     /* 0 = not given */
    int64_t target_latency_ps, slo_ps;     /* 0 = not given */
    int64_t min_duration_ps;               /* 0 = no such rule */
    int64_t min_queries, samples, queries; /* 0 = the scenario's own */
    bool is_one_query;
    uint64_t seed;
    /* As typed, NULL = not given. */
    const char *rate, *target_latency, *min_duration, *prompt, *output;
};

void mlperf_defaults(struct mlperf_settings *settings);
/* settings is a struct mlperf_settings. */
bool mlperf_import(struct import_job *job, const void *settings, struct err *err);

/* Fewest queries of which early stopping can accept the percentile (0.9, 0.99) with one of them
 * over the bound: the least n with P[Binomial(n, 1 - percentile) <= 1] <= 1 - confidence. */
int64_t mlperf_least_queries(double percentile, double confidence);

#endif
