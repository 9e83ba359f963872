/* generate.h - workloads from random processes: open arrivals, or closed-loop clients.
 *
 * Every service (open) and every client (closed) draws from streams of its own, one for each
 * purpose: adding one shifts no draw of another. Processes: workloads/README.md. */
#ifndef ORRERY_SIM_GENERATE_GENERATE_H
#define ORRERY_SIM_GENERATE_GENERATE_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct dist;
struct err;
struct workload;

enum generate_process {
    GENERATE_POISSON,
    GENERATE_GAMMA,    /* gaps of a given cv */
    GENERATE_CONSTANT, /* the first at 0, then evenly */
    GENERATE_MMPP,     /* a Poisson process whose rate switches between a high and a low one */
    GENERATE_PARETO,   /* gaps with a heavy tail */
    GENERATE_PROCESS_COUNT
};
extern const char *const generate_process_names[GENERATE_PROCESS_COUNT];

#define GENERATE_MAX_SERVICES 256
#define GENERATE_MAX_REQUESTS INT64_C(100000000)
#define GENERATE_MAX_CLIENTS 1000000

struct generate_service {
    const char *name;
    double share; /* > 0; rates are split in proportion */
};

struct generate_options { /* 0 or NULL = not given */
    int service_count;
    struct generate_service services[GENERATE_MAX_SERVICES];
    enum generate_process process;
    double rate_per_s;
    double cv;
    int64_t dwell_ps; /* mean time in a state of the mmpp */
    int64_t duration_ps;
    int64_t max_requests; /* open: at most; closed: exactly */
    int64_t clients;      /* > 0: closed loop */
    const struct dist *think, *prompt, *output;
    int64_t slo_ps;
    uint64_t seed;
};

/* "name" or "name:share". */
bool generate_parse_service(struct arena *arena, const char *text, struct generate_options *options,
                            struct err *err);
/* The arrivals of a process below duration_ps, merged over services; ids 0, 1, ... */
struct workload *generate_open(struct arena *arena, const struct generate_options *options,
                               struct err *err);
/* Closed-loop rows: request i is the next one of client i mod clients. */
struct workload *generate_closed(struct arena *arena, const struct generate_options *options,
                                 struct err *err);

#endif
