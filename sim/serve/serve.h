/* serve.h - the life of every request under simulated time: arrival, dispatch, queue, compute,
 * transfer, end.
 *
 * Decisions are those of lib/policy, costs those of the tables; this folder adds the clock. Rules:
 * sim/README.md. A run checks itself: work is conserved, Little's law and the busy-time sums hold
 * exactly, and every job started when the closed form of a FIFO queue says so. */
#ifndef ORRERY_SIM_SERVE_SERVE_H
#define ORRERY_SIM_SERVE_SERVE_H

#include "lib/format/trace.h"
#include "lib/policy/dispatch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct cost_set;
struct err;
struct plan;
struct workload;

struct serve_options {
    enum dispatch_kind dispatch;
    bool has_kappa; /* multiply computed steps by the kappa of the nearest anchor */
    uint64_t seed;
    int64_t until_ps;    /* requests that arrive then or later are left out; ENGINE_NEVER = none */
    size_t max_requests; /* taken at most, in order of arrival; SIZE_MAX = all */
};

struct serve_request { /* what became of a request; times are TRACE_NONE when they never came */
    bool is_taken;     /* false: left out by until_ps or max_requests, all else is void */
    enum trace_status status;
    int32_t replica; /* index into plan.replicas, -1 = never dispatched */
    int64_t arrival_ps, start_ps, first_token_ps, finish_ps;
};

struct serve_device {
    int64_t busy_ps, gap_ps;
    int64_t offered_ps; /* costs and gaps of all jobs that were ever queued here */
    int64_t peak_bytes; /* weights, largest activation, reserved, KV cache */
    int64_t queue_peak; /* most jobs that waited at once */
};

struct serve_link {
    const char *name;
    int64_t busy_ps, bytes;
};

struct serve_span {   /* one step of one request in one stage, on one of its devices */
    size_t request;   /* index into the workload */
    int32_t stage;    /* id in the plan */
    int32_t number;   /* of the stage in its replica */
    int32_t device;   /* of the cluster */
    int32_t position; /* of the device in the stage, 0.. */
    int32_t step;
    int32_t share; /* 0 for the first request of a batch: others share its interval */
    int64_t start_ps, finish_ps;
    int64_t gap_ps; /* how long the device stays taken after finish_ps */
};

struct serve_transfer { /* a message that occupied a link */
    size_t request;
    int32_t from, to;  /* devices of the cluster, NETWORK_SOURCE */
    int32_t step, hop; /* hop k leads into stage k, the last one back to the source */
    int32_t share;     /* as in serve_span: one message carries the batch */
    int link;
    const char *link_name, *medium;
    int64_t bytes;
    int64_t send_ps;          /* handed to the link */
    int64_t begin_ps, end_ps; /* of the port's occupation */
    int64_t receive_ps;
};

struct serve_end { /* times are TRACE_NONE when they never came */
    size_t index;  /* row of the workload, or number of the arrival */
    int64_t request_id;
    int32_t service, replica; /* of the plan; replica -1 = never dispatched */
    enum trace_status status;
    int64_t arrival_ps, start_ps, first_token_ps, finish_ps, e2e_ps;
    int64_t slo_ps;                       /* the request's own, 0 = none */
    int32_t prompt_tokens, output_tokens; /* 0 for executables */
};

typedef void serve_span_fn(void *arg, const struct serve_span *span);
typedef void serve_transfer_fn(void *arg, const struct serve_transfer *transfer);
typedef void serve_end_fn(void *arg, const struct serve_end *end); /* in order of ending */

struct serve_observer { /* told what happens while it happens; functions may be NULL */
    void *arg, *end_arg;
    serve_span_fn *on_span;         /* at the end of the span */
    serve_transfer_fn *on_transfer; /* when it is sent */
    serve_end_fn *on_end;           /* called with end_arg */
};

struct serve_result {
    struct serve_request *requests; /* in workload order */
    size_t taken_count;
    int64_t end_ps;          /* instant of the last event */
    int64_t arrival_span_ps; /* from the first arrival to the last */
    int64_t event_count;
    int64_t moved_bytes; /* sent over links */
    int64_t priced_steps, extrapolated_costs;
    bool lacks_kappa;             /* wanted, and no anchor told that of some step */
    struct serve_device *devices; /* as in the cluster */
    int link_count;
    struct serve_link *links;
};

struct serve_input {
    const struct plan *plan;
    const struct workload *workload;
    const int32_t *service_of; /* plan service of each workload service */
    const struct cost_set *costs;
};

/* Runs until every request has ended. observer may be NULL. */
bool serve_run(struct arena *arena, const struct serve_input *input,
               const struct serve_options *options, const struct serve_observer *observer,
               struct serve_result *result, struct err *err);

#endif
