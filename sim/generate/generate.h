/* generate.h - workloads from random processes: open arrivals, closed-loop clients, conversations.
 *
 * Every service (open), client (closed) and session draws from streams of its own, one for each
 * purpose: adding one shifts no draw of another. Processes: workloads/README.md. */
#ifndef ORRERY_SIM_GENERATE_GENERATE_H
#define ORRERY_SIM_GENERATE_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct dist;
struct err;
struct mmpp;
struct profile;
struct workload;
struct workload_builder;

enum generate_process {
    GENERATE_POISSON,
    GENERATE_GAMMA,    /* gaps of a given cv */
    GENERATE_CONSTANT, /* the first at 0, then evenly */
    GENERATE_MMPP,     /* a Poisson process whose rate switches between states */
    GENERATE_PARETO,   /* gaps with a heavy tail */
    GENERATE_REPLAY,   /* the rows of a file */
    GENERATE_PROCESS_COUNT
};
extern const char *const generate_process_names[GENERATE_PROCESS_COUNT];

#define GENERATE_MAX_SERVICES 100000
#define GENERATE_MAX_REQUESTS INT64_C(100000000) /* in memory */
#define GENERATE_MAX_STREAM INT64_C(1000000000000000000)
#define GENERATE_MAX_CLIENTS 1000000
#define GENERATE_MAX_BATCH 1000000
#define GENERATE_SCALE_UNIT INT64_C(1000000000) /* time scales have nine decimals */

struct generate_service {
    const char *name;
    double share; /* > 0; rates are split in proportion */
};

struct generate_options { /* 0 or NULL = not given */
    int service_count;
    struct generate_service *services;
    bool is_merged; /* one process for all; each request draws its service by the shares */
    enum generate_process process;
    double rate_per_s; /* of all services */
    double cv;
    double shape;     /* of the pareto, in place of cv */
    int64_t dwell_ps; /* mean time in a state of the mmpp given by cv */
    const struct mmpp *mmpp;
    const struct profile *profile; /* the rate over time, for poisson, gamma, constant, pareto */
    int64_t period_ps;             /* after which the profile comes again */
    const struct workload *replay;
    int64_t time_scale; /* of the replay, in units of 1 / GENERATE_SCALE_UNIT */
    int64_t duration_ps;
    int64_t max_requests; /* open: at most; closed: exactly */
    int64_t clients;      /* > 0: closed loop */
    int64_t max_sessions; /* open: at most; closed: exactly, where max_requests is not given */
    int64_t max_context_tokens; /* a conversation ends before it is longer */
    const struct dist *turns;   /* of a conversation; given: requests are turns of sessions */
    const struct dist *think, *prompt, *output, *items;
    int64_t slo_ps;
    uint64_t seed;
};

/* "name" or "name:share". */
bool generate_parse_service(struct arena *arena, const char *text, struct generate_options *options,
                            struct err *err);
/* Requests of any kind that the options describe: the functions below, and sessions.h. */
struct workload *generate_workload(struct arena *arena, const struct generate_options *options,
                                   struct err *err);
/* The arrivals of a process below duration_ps, merged over services; ids 0, 1, ... */
struct workload *generate_open(struct arena *arena, const struct generate_options *options,
                               struct err *err);
/* Closed-loop rows: request i is the next one of client i mod clients. */
struct workload *generate_closed(struct arena *arena, const struct generate_options *options,
                                 struct err *err);

/* For the files of this folder: what every kind of workload asks for, and a builder that knows the
 * services of the options by their numbers. */
bool generate_check(const struct generate_options *options, struct err *err);
struct workload_builder *generate_builder(struct arena *arena,
                                          const struct generate_options *options);

#endif
