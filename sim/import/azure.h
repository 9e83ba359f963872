/* azure.h - inside the importer of Azure's public traces
 * (https://github.com/Azure/AzurePublicDataset).
 *
 * azure.c has the options and tells the layouts apart; azure_llm.c, azure_counts.c (Functions 2019)
 * and azure_calls.c (Functions 2021) read one each; azure_draw.c draws arrivals where a layout or
 * the user asks for it. */
#ifndef ORRERY_SIM_IMPORT_AZURE_H
#define ORRERY_SIM_IMPORT_AZURE_H

#include "sim/import/replay.h"

struct csv;
struct rng;

enum azure_layout { AZURE_LLM, AZURE_COUNTS, AZURE_CALLS, AZURE_LAYOUT_COUNT };

enum azure_process {
    AZURE_VANILLA,
    AZURE_EXPONENTIAL,
    AZURE_GAMMA,
    AZURE_PARETO,
    AZURE_PROCESS_COUNT
};
extern const char *const azure_process_names[AZURE_PROCESS_COUNT];

/* How functions become services: function i of n to service i mod M, or to i * M / n. */
enum azure_map { AZURE_STRIPE, AZURE_ROUND_ROBIN, AZURE_MAP_COUNT };

struct azure_settings {
    struct replay_options replay;
    enum azure_process process;
    enum azure_map map;
    int64_t interval_ps; /* 0 = the layout's own */
    double cv, cv_scale, rate_scale;
    uint64_t seed;
    bool keeps_empty;
    /* As typed, NULL = not given. */
    const char *process_text, *map_text, *interval, *cv_text, *cv_scale_text, *rate_scale_text;
    const char *prompt, *output;
};

#define AZURE_MINUTES 1440 /* of a day */
enum azure_column {
    AZURE_TIMESTAMP,
    AZURE_CONTEXT_TOKENS,
    AZURE_GENERATED_TOKENS,
    AZURE_NUM_IMAGES,
    AZURE_HASH_OWNER,
    AZURE_HASH_APP,
    AZURE_HASH_FUNCTION,
    AZURE_TRIGGER,
    AZURE_APP,
    AZURE_FUNC,
    AZURE_END_TIMESTAMP,
    AZURE_DURATION,
    AZURE_FIRST_MINUTE, /* "1" and, behind it, up to "1440" */
    AZURE_COLUMN_COUNT = AZURE_FIRST_MINUTE + AZURE_MINUTES
};

/* settings is a struct azure_settings. */
bool azure_import(struct import_job *job, const void *settings, struct err *err);
/* As if no option had been given. */
void azure_defaults(struct azure_settings *settings);

/* Opens a file and tells its layout by the header, which must be whole. */
struct csv *azure_open(struct arena *arena, const char *path, enum azure_layout *layout,
                       struct err *err);

/* The readers: from the first row to the written workload. */
bool azure_read_llm(struct import_job *job, const struct azure_settings *settings, struct csv *csv,
                    struct err *err);
bool azure_read_calls(struct import_job *job, const struct azure_settings *settings,
                      struct csv *csv, struct err *err);
/* The further files of the job are the days after the first. */
bool azure_read_counts(struct import_job *job, const struct azure_settings *settings,
                       struct csv *csv, struct err *err);

/* Numbers of services for function numbers: to[f] = -1 for those that are not used. Fails when
 * there are fewer functions in use than services. */
bool azure_map_functions(const struct azure_settings *settings, const bool *is_used, int32_t count,
                         int32_t *to, struct err *err);
/* Names of the services of a functions trace. */
const char *const *azure_services(const struct azure_settings *settings, int *count);

/* ---- drawn arrivals ---- */

/* The gaps of one interval of one service. */
struct azure_gaps {
    enum azure_process process; /* not vanilla */
    double rate_per_s;          /* 0 = no arrivals */
    double shape;               /* gamma: 1 / cv^2; pareto: the tail index, above 1 */
};

/* Maximum likelihood fit to count gaps in seconds, of `arrivals` arrivals in an interval. A fit
 * without a mean, or of more than five times the rate that was seen, gets the rate that was seen;
 * fewer than two gaps are taken as exponential. */
struct azure_gaps azure_fit(enum azure_process process, const double *gaps_s, size_t count,
                            size_t arrivals, double interval_s);
/* Adds rows of one service from begin_ps on, before end_ps. Fails past IMPORT_MAX_REQUESTS. */
bool azure_draw(struct replay *replay, const struct azure_gaps *gaps, struct rng *rng,
                int32_t service, int64_t begin_ps, int64_t end_ps, struct err *err);
struct rng azure_stream(const struct azure_settings *settings, const char *service);
/* Drawn rows of all services in order of time, ties in order of services; notes their number.
 * Fails when there are none. */
bool azure_merge(struct replay *replay, struct err *err);
/* Tokens by --prompt and --output for rows whose services are known, then the workload. */
bool azure_finish(struct replay *replay, const struct azure_settings *settings, struct err *err);

#endif
