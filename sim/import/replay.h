/* replay.h - recorded requests as a workload: in order, cut to a slice, scaled, copied.
 *
 * Times count from the earliest row of the file; rows that stand out of order are sorted, those of
 * one instant stay in order of the file. A slice begins at 0 again. */
#ifndef ORRERY_SIM_IMPORT_REPLAY_H
#define ORRERY_SIM_IMPORT_REPLAY_H

#include "sim/import/import.h"
#include "sim/import/instant.h"

#define REPLAY_MAX_SERVICES 256

struct replay_options {
    int service_count;
    const char *services[REPLAY_MAX_SERVICES]; /* in order of the command line */
    int64_t slo_ps;                            /* 0 = none */
    int64_t from_ps, until_ps;                 /* until 0 = to the end; exclusive */
    int64_t scale_nano;                        /* times are multiplied by scale_nano / 10^9 */
    int64_t copies;
    const char *slo, *from, *until, *time_scale, *replication; /* as typed, NULL = not given */
};

/* As if no option had been given. */
void replay_defaults(struct replay_options *options);
/* --service, --slo, --from, --until, --time-scale, --replication; input: a struct replay_options.
 */
extern const struct argp replay_argp;
/* Adds what was given to the metadata. */
void replay_meta(struct import_job *job, const struct replay_options *options);

struct replay_row {
    struct instant at;
    long line;
    int64_t arrival_ps; /* since the beginning of the slice; set by replay_slice */
    int32_t service;    /* a number of the importer's own */
    int32_t prompt_tokens, output_tokens; /* 0 = none */
};

struct replay {
    struct import_job *job;
    const struct replay_options *options;
    const char *path;
    bool has_first;
    struct instant first; /* earliest of all rows of the file, also of those that were dropped */
    size_t count, capacity;
    struct replay_row *rows;
};

struct replay *replay_create(struct import_job *job, const struct replay_options *options,
                             const char *path);
/* Every row of the file, before any is dropped: times count from the earliest. */
void replay_see(struct replay *replay, struct instant at);
void replay_add(struct replay *replay, const struct replay_row *row);
/* Sorts the rows and drops those outside --from and --until. Fails when a row lies too far from the
 * first to be simulated. */
bool replay_slice(struct replay *replay, struct err *err);
/* The rows that are left, scaled and as often as asked for. services are the names of
 * row.service. */
struct workload *replay_workload(struct replay *replay, const char *const *services,
                                 struct err *err);

#endif
