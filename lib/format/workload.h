/* workload.h - which requests arrive when: reader and writer of the workload tables (workloads/).
 *
 * Format: workloads/README.md. Rows keep file order. */
#ifndef ORRERY_FORMAT_WORKLOAD_H
#define ORRERY_FORMAT_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct out;

#define WORKLOAD_CLOSED INT64_MIN /* arrival_ps of a closed-loop or session row without a time */

struct workload_request {
    int64_t request_id;
    int64_t arrival_ps; /* WORKLOAD_CLOSED: after the client's (or session's) previous request */
    int64_t think_ps;   /* 0 when not given */
    int64_t slo_ps;     /* 0 = none */
    int32_t service;    /* index into workload.services */
    int32_t client;     /* index of the client name, -1 = none */
    int32_t session;    /* index of the session name, -1 = none */
    int32_t prompt_tokens, output_tokens; /* 0 = column empty or absent */
    int32_t prefix_tokens;                /* 0 when not given */
    int32_t batch;                        /* 1 when not given */
};

struct workload {
    const char *path;
    size_t count;
    struct workload_request *requests;
    long *lines; /* line of each request in the file, for later errors */
    int service_count, client_count, session_count;
    const char **services, **clients, **sessions; /* names in order of first appearance */
    int service_column;                           /* for errors: 1-based, 0 = generated */
    int prompt_column, output_column, batch_column;
    bool has_tokens; /* every row has prompt_tokens >= 1; decoders need output_tokens too */
};

/* "-" reads stdin. Checks: ids strictly increasing, non-empty arrivals sorted and >= 0, rows
 * without an arrival have a client or a session. An empty table (no rows) is an error. */
struct workload *workload_load(struct arena *arena, const char *path, struct err *err);
/* meta: NULL-ended list of "key", "value", ...; columns nobody uses are left out. */
void workload_write(struct out *out, const struct workload *workload, const char *const *meta);

#endif
