/* workload.h - which requests arrive when: reader and writer of the workload tables (workloads/).
 *
 * Format: workloads/README.md. Rows keep file order. A workload may have 10^7 rows and more, so it
 * is kept by columns, and a column that says nothing is not kept at all. */
#ifndef ORRERY_FORMAT_WORKLOAD_H
#define ORRERY_FORMAT_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct out;

#define WORKLOAD_CLOSED INT64_MIN /* arrival_ps of a closed-loop or session row without a time */

/* One row, by value. */
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

/* Rows from number `first` on stand on consecutive lines of the file from `line` on. */
struct workload_lines {
    size_t first;
    long line;
};

/* Columns are `count` long; all but arrivals_ps are NULL when every row has the default. Use
 * workload_at, or a column with its default at hand where one is all that is needed. */
struct workload {
    const char *path;
    size_t count;
    int64_t *arrivals_ps;                   /* WORKLOAD_CLOSED: a row without a time */
    int64_t *request_ids;                   /* default: the number of the row */
    int64_t *thinks_ps, *slos_ps;           /* 0 */
    int32_t *service_ids;                   /* 0; index into services */
    int32_t *client_ids, *session_ids;      /* -1; index into clients, sessions */
    int32_t *prompt_tokens, *output_tokens; /* 0 */
    int32_t *prefix_tokens;                 /* 0 */
    int32_t *batches;                       /* 1 */
    struct workload_lines *lines;           /* rising; see workload_line */
    size_t line_count;                      /* of lines; 0 = not from a file */
    int service_count, client_count, session_count;
    const char **services, **clients, **sessions; /* names in order of first appearance */
    int service_column;                           /* for errors: 1-based, 0 = generated */
    int prompt_column, output_column, batch_column;
    bool has_tokens; /* every row has prompt_tokens >= 1; decoders need output_tokens too */
};

static inline struct workload_request workload_at(const struct workload *workload, size_t index)
{
    return (struct workload_request){
        .request_id = workload->request_ids ? workload->request_ids[index] : (int64_t)index,
        .arrival_ps = workload->arrivals_ps[index],
        .think_ps = workload->thinks_ps ? workload->thinks_ps[index] : 0,
        .slo_ps = workload->slos_ps ? workload->slos_ps[index] : 0,
        .service = workload->service_ids ? workload->service_ids[index] : 0,
        .client = workload->client_ids ? workload->client_ids[index] : -1,
        .session = workload->session_ids ? workload->session_ids[index] : -1,
        .prompt_tokens = workload->prompt_tokens ? workload->prompt_tokens[index] : 0,
        .output_tokens = workload->output_tokens ? workload->output_tokens[index] : 0,
        .prefix_tokens = workload->prefix_tokens ? workload->prefix_tokens[index] : 0,
        .batch = workload->batches ? workload->batches[index] : 1,
    };
}

/* Line of a request in its file, for later errors; 0 = not from a file. */
long workload_line(const struct workload *workload, size_t index);

/* "-" reads stdin. Checks: ids strictly increasing, non-empty arrivals sorted and >= 0, rows
 * without an arrival have a client or a session. An empty table (no rows) is an error. */
struct workload *workload_load(struct arena *arena, const char *path, struct err *err);
/* meta: NULL-ended list of "key", "value", ...; columns nobody uses are left out. */
void workload_write(struct out *out, const struct workload *workload, const char *const *meta);

/* Building one row by row. Nothing is checked: rows are the caller's own. path only names the
 * workload in errors and must outlive it. */
struct workload_builder *workload_build(struct arena *arena, const char *path);
/* So many rows will come: columns are then made once, at that size. More may follow all the same.
 */
void workload_builder_reserve(struct workload_builder *builder, size_t count);
/* Numbers of names, new ones at the end of the lists. */
int32_t workload_builder_service(struct workload_builder *builder, const char *name);
int32_t workload_builder_client(struct workload_builder *builder, const char *name);
int32_t workload_builder_session(struct workload_builder *builder, const char *name);
/* service, client and session are numbers from the calls above. */
void workload_builder_add(struct workload_builder *builder, const struct workload_request *request);
/* As workload_builder_add, for a row that stands on that line of the file; lines rise. */
void workload_builder_add_line(struct workload_builder *builder,
                               const struct workload_request *request, long line);
size_t workload_builder_count(const struct workload_builder *builder);
/* The workload, in the builder's arena; the builder must not be used any more. */
struct workload *workload_builder_finish(struct workload_builder *builder);

#endif
