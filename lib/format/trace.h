/* trace.h - what happened, simulated or real: requests.csv and stages.csv, one schema for both.
 *
 * Format: traces/README.md. Writers stream; rows must come in the order that the format states. */
#ifndef ORRERY_FORMAT_TRACE_H
#define ORRERY_FORMAT_TRACE_H

#include "lib/base/op.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct out;

enum trace_status { TRACE_OK, TRACE_DROPPED, TRACE_REFUSED, TRACE_FAILED, TRACE_STATUS_COUNT };
extern const char *const trace_status_names[TRACE_STATUS_COUNT];

#define TRACE_NONE INT64_MIN /* an empty time or an empty number */

struct trace_request {
    int64_t request_id;
    const char *service;
    int32_t replica; /* -1 = never dispatched, written empty */
    int64_t arrival_ps, start_ps, first_token_ps, finish_ps; /* TRACE_NONE = empty */
    int32_t prompt_tokens, output_tokens;                    /* 0 = empty */
    const char *client;                                      /* "" = none */
    enum trace_status status;
    int64_t e2e_ps; /* TRACE_NONE = empty */
};
void trace_requests_begin(struct out *out, const char *const *meta);
void trace_request_put(struct out *out, const struct trace_request *request);
/* The same of a run with several epochs: another column says whose replica it was, -1 = empty. */
void trace_requests_begin_epochs(struct out *out, const char *const *meta);
void trace_request_put_epoch(struct out *out, const struct trace_request *request, int32_t epoch);

/* Key of the head of a table that holds what was known before its run had ended, in the order in
 * which it became known. */
#define TRACE_PARTIAL "partial"

struct trace_requests {
    size_t count;
    struct trace_request *requests;
    bool is_partial;
};
bool trace_requests_load(struct arena *arena, const char *path, struct trace_requests *requests,
                         struct err *err);

struct trace_stage {
    int64_t request_id;
    const char *service, *device;
    int32_t replica, stage;
    int64_t start_ps, finish_ps;
    int32_t step;        /* -1 = empty */
    enum op_phase phase; /* OP_ANY = empty */
    int64_t batch_id;    /* -1 = empty */
    long line;           /* 0 = not from a file */
};
void trace_stages_begin(struct out *out, const char *const *meta);
void trace_stage_put(struct out *out, const struct trace_stage *stage);

struct trace_stages {
    size_t count;
    struct trace_stage *stages; /* as in the file */
    const char *path;
    bool is_partial;
};
bool trace_stages_load(struct arena *arena, const char *path, struct trace_stages *stages,
                       struct err *err);
/* In place by request, step (empty as 0), stage and name of the device. Two rows for one of these
 * are an error with the place of the later one. */
bool trace_stages_sort(struct trace_stages *stages, struct err *err);

struct trace_transfer {
    int64_t request_id;
    int32_t step;
    int64_t batch_id;
    const char *from_device, *to_device, *medium;
    int64_t bytes, send_ps, receive_ps;
};
void trace_transfers_begin(struct out *out, const char *const *meta);
void trace_transfer_put(struct out *out, const struct trace_transfer *transfer);

struct trace_utilisation { /* a device or link in a window */
    int64_t start_ps, end_ps;
    const char *kind, *target;
    int64_t busy_ps, gap_ps;  /* gap TRACE_NONE = empty */
    int64_t queue_millionths; /* mean number that wait */
    int64_t kv_peak_bytes;    /* TRACE_NONE = empty */
};
void trace_utilisation_begin(struct out *out, const char *const *meta);
void trace_utilisation_put(struct out *out, const struct trace_utilisation *row);

#endif
