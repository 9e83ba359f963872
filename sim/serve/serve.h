/* serve.h - the life of every request under simulated time: arrival, dispatch, queue, compute,
 * transfer, end.
 *
 * Decisions are those of lib/policy, costs those of the tables; this folder adds the clock. Rules:
 * sim/README.md. A run checks itself: work is conserved, Little's law and the busy-time sums hold
 * exactly, every arrival has one end, and every job started when the rule of a FIFO queue says. */
#ifndef ORRERY_SIM_SERVE_SERVE_H
#define ORRERY_SIM_SERVE_SERVE_H

#include "lib/format/trace.h"
#include "lib/policy/admit.h"
#include "lib/policy/batch.h"
#include "lib/policy/collective.h"
#include "lib/policy/dispatch.h"
#include "sim/network/network.h"
#include "sim/network/share.h"
#include "sim/sliced/sliced_sums.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct cost_set;
struct err;
struct events;
struct llm_result;
struct overheads;
struct plan;
struct prefix_blocks;
struct price_book;
struct stream;
struct workload;

enum serve_rules {
    SERVE_DEFAULT,   /* start = max(ready, end of the job before + its gap) */
    SERVE_DLSIM,     /* a job that finds its devices taken starts 3 or 4 ms after they are free */
    SERVE_ALPASERVE, /* booked at dispatch, in order of arrival */
    SERVE_RULES_COUNT
};
extern const char *const serve_rules_names[SERVE_RULES_COUNT]; /* as on the command line */

enum serve_network {
    SERVE_NETWORK_AUTO, /* flows; FIFO ports where they give the same */
    SERVE_NETWORK_FIFO,
    SERVE_NETWORK_FLOWS,
    SERVE_NETWORK_COUNT
};
extern const char *const serve_network_names[SERVE_NETWORK_COUNT];

enum serve_memory {
    SERVE_MEMORY_ERROR,  /* what does not fit ends the run: weights before it begins */
    SERVE_MEMORY_REFUSE, /* what does not fit is left out, and its requests are refused */
    SERVE_MEMORY_WARN,   /* the run goes on as if it did, and the report says so */
    SERVE_MEMORY_COUNT
};
extern const char *const serve_memory_names[SERVE_MEMORY_COUNT];

/* Where a shorter way is exact it gives the same result, to the bit. */
enum serve_fast {
    SERVE_FAST_OFF,    /* events in the loop that knows everything */
    SERVE_FAST_EVENTS, /* events, in the tight loop of plain pipelines where that is exact */
    SERVE_FAST_ON,     /* the closed form where it is exact, else as EVENTS */
    SERVE_FAST_COUNT
};
extern const char *const serve_fast_names[SERVE_FAST_COUNT]; /* as on the command line */

struct serve_kv {          /* caches of keys and values, in blocks */
    int32_t block_tokens;  /* >= 1 */
    int32_t block_count;   /* of each replica; 0 = what its device has memory for */
    int32_t max_in_flight; /* batches of a pipeline; 0 = as many as it has stages */
    bool has_chunks;       /* chunked prefill */
    bool has_prefix_cache;
    bool must_share; /* it was asked for: a run without anything to share says so */
};

struct serve_options {
    enum collective_algorithm collective; /* of sliced stages */
    bool has_overlap; /* of sliced stages: devices do not wait for one another without need */
    enum serve_rules rules;
    enum dispatch_kind dispatch;
    enum admit_kind admission;
    enum serve_memory memory;
    enum serve_network network;
    struct batch_options batch;
    struct serve_kv kv;   /* of continuous batches */
    bool has_idle_resume; /* jobs of models pay for waking a device that was idle: lib/policy/wake.h
                           */
    bool has_kappa;       /* multiply computed steps by the kappa of the nearest anchor */
    enum serve_fast fast_path;
    bool keeps_requests;    /* fill serve_result.requests */
    bool has_parts;         /* fill serve_result.parts and replicas */
    int64_t slo_ps;         /* objective of requests without one of their own, 0 = none */
    int64_t switch_cost_ps; /* how long a device is taken when an epoch brings it new slices */
    uint64_t seed;
    int64_t until_ps;    /* requests that arrive then or later are left out; ENGINE_NEVER = none */
    size_t max_requests; /* taken at most, in order of arrival; SIZE_MAX = all */
};

struct serve_request { /* what became of a request; times are TRACE_NONE when they never came */
    bool is_taken;     /* false: left out by until_ps or max_requests, all else is void */
    enum trace_status status;
    int32_t replica; /* index into plan.replicas, -1 = never dispatched */
    int64_t arrival_ps, start_ps, first_token_ps, finish_ps;
    int64_t e2e_ps; /* seen by the client; TRACE_NONE without a table of overheads */
};

enum serve_refusal {
    SERVE_REFUSAL_PLACEMENT, /* no replica is there, or all were left out */
    SERVE_REFUSAL_CONTEXT,   /* prompt and output are longer than the model's max_context */
    SERVE_REFUSAL_MEMORY,    /* no room for its KV cache, or for the activations of its prompt */
    SERVE_REFUSAL_BUDGET,    /* a prompt that is not cut takes more tokens than a step may have */
    SERVE_REFUSAL_COUNT
};
extern const char *const serve_refusal_names[SERVE_REFUSAL_COUNT]; /* as in the JSON */
struct serve_refused { /* requests that were refused for one reason */
    int64_t count;
    int64_t first_id, first_tokens; /* of the first of them; tokens 0 = not known */
};

enum serve_failure {
    SERVE_FAILURE_LOST, /* a device of its replica went down while it was in flight */
    SERVE_FAILURE_DOWN, /* when it came, all replicas that could take it had a device down */
    SERVE_FAILURE_COUNT
};
extern const char *const serve_failure_names[SERVE_FAILURE_COUNT]; /* as in the JSON */
struct serve_failed { /* requests that failed for one reason */
    int64_t count;
    int64_t first_id, first_arrival_ps; /* of the first that ended so */
};

struct serve_device {
    int64_t busy_ps, gap_ps;
    double sent_ps;     /* its messages occupied the first link of their way: not the device */
    int64_t offered_ps; /* costs and gaps of all jobs that ever came to its queue */
    int64_t peak_bytes; /* weights, largest activation, reserved, KV cache */
    int64_t kv_peak_bytes;
    double kv_mean_bytes; /* over the run, with has_parts; continuous batches: of what is computed
                             on, by tokens */
    int64_t wait_peak_ps; /* longest that a job was ready and waited */
};

struct serve_link {
    const char *name;
    int medium; /* of the cluster */
    int64_t busy_ps, bytes;
    struct share share; /* of its messages; busy_ps is per_message_ps + bytes_ps but for
                                 rounding, rates that change and flows */
};

/* A replica of the placement, over all epochs. Replicas that share devices, directly or through
 * others, count together. */
struct serve_replica {
    int32_t service, number; /* of the plan; in the placement */
    int32_t device_count;    /* of its stages, each once */
    int64_t active_ps;       /* with requests in flight, from dispatch to end */
    double busy_ps;          /* its devices computed, summed */
};

/* What the time of requests in the system, from arrival to end, is made of: sums over all requests.
 * What is left of all_ps is waiting: for devices, links, batches and caches. */
struct serve_parts {
    bool is_known;     /* it was asked for, and these rules tell */
    int64_t active_ps; /* time with requests in the system */
    double all_ps;
    double compute_ps;   /* of its job, for each request of it; of parallel devices the slowest */
    double delay_ps;     /* overheads */
    struct share *media; /* by medium of the cluster: as requests passed them */
};

enum serve_span_kind {
    SERVE_SPAN_JOB,    /* a job that has ended */
    SERVE_SPAN_PASS,   /* what a device of a sliced stage did in a step, from its first piece to its
                        * last; between them others may have used it */
    SERVE_SPAN_PIECE,  /* one of these pieces: what it was busy for */
    SERVE_SPAN_LOST,   /* it was lost: as far as it had come; of no length where it waited */
    SERVE_SPAN_SWITCH, /* taken by an epoch: no request, batch, stage or gap; it may outlast the run
                        */
};

struct serve_span { /* one step of one request in one stage, on one of its devices */
    enum serve_span_kind kind;
    size_t request; /* as serve_end.index */
    int64_t request_id;
    int64_t batch_id; /* of the requests computed together; -1 without batching */
    int32_t stage;    /* id in the plan */
    int32_t device;   /* of the cluster */
    int32_t position; /* of the device in the stage, 0.. */
    int32_t step;
    int32_t share; /* 0 for the first request of a batch: others share its interval */
    bool is_chunk; /* behind step 0: it computes a part of a prompt, or of what was lost */
    int64_t start_ps, finish_ps;
    int64_t gap_ps;  /* how long the device stays taken after finish_ps */
    int64_t wait_ps; /* how long the request had waited for the device before start_ps */
};

struct serve_transfer { /* a message that occupied a link, or several: then is_late */
    size_t request;
    int64_t request_id;
    int32_t service;   /* of the plan */
    int64_t batch_id;  /* -1 without batching */
    int32_t from, to;  /* devices of the cluster, NETWORK_SOURCE */
    int32_t step, hop; /* hop k leads into stage k, the last one back to the source */
    bool is_inside;    /* between devices of stage `hop` */
    int32_t share;     /* as in serve_span: one message carries the batch */
    bool is_late;      /* told when it is received; its links are told of by on_use and on_busy */
    int link;          /* the first */
    const char *link_name, *medium;
    int64_t bytes;            /* of the whole message */
    int64_t send_ps;          /* handed to the link */
    int64_t begin_ps, end_ps; /* of the port's occupation; is_late: until it is received */
    int64_t receive_ps;
};

struct serve_use { /* of a link by a message that is_late */
    int64_t request_id;
    int32_t service, step;
    int link;
    const char *link_name;
    int64_t bytes, begin_ps, end_ps;
};

struct serve_busy { /* a link was busy for busy_ps of that time, evenly */
    int link;
    int64_t begin_ps, end_ps, busy_ps;
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

struct serve_block { /* requests that ended ok, of executables, in order of arrival */
    size_t count;
    const int64_t *arrivals_ps, *finishes_ps;
    const int64_t *starts_ps; /* NULL: nobody wants them */
    const int32_t *services;  /* of the plan */
    const int64_t *slos_ps;   /* NULL: slo_ps for all */
    int64_t slo_ps;           /* the requests' own, 0 = none */
};

struct serve_gap { /* times between tokens of requests of a service: */
    int32_t service;
    int64_t first_ps, slope_ps; /* first_ps, first_ps + slope_ps, ... */
    int64_t count;
    int64_t times;      /* each of them so often */
    int64_t arrival_ps; /* of their request; without wants_arrivals it may be of several */
};

typedef void serve_span_fn(void *arg, const struct serve_span *span);
typedef void serve_transfer_fn(void *arg, const struct serve_transfer *transfer);
typedef void serve_use_fn(void *arg, const struct serve_use *use);
typedef void serve_busy_fn(void *arg, const struct serve_busy *busy);
typedef void serve_end_fn(void *arg, const struct serve_end *end); /* in order of ending */

/* KV caches on a device hold kv_bytes from now_ps on. */
typedef void serve_cache_fn(void *arg, int32_t device, int64_t now_ps, int64_t kv_bytes);

struct serve_observer { /* told what happens while it happens; functions may be NULL */
    void *arg, *end_arg;
    serve_span_fn *on_span;         /* at its end; of a switch when it is known when it begins */
    serve_transfer_fn *on_transfer; /* when it is sent; is_late: when it is received */
    serve_end_fn *on_end;           /* called with end_arg */
    /* Called with end_arg in place of on_end where the closed form has many ends at hand: NULL =
     * always on_end. */
    void (*on_block)(void *end_arg, const struct serve_block *block);
    serve_use_fn *on_use;     /* with on_transfer alone; when it is booked, or over */
    serve_busy_fn *on_busy;   /* likewise */
    serve_cache_fn *on_cache; /* called with arg, in order of time */
    bool wants_starts;        /* in on_block */
    bool wants_arrivals;      /* in on_gap: told of each request by itself */
    /* Called with end_arg when tokens but the first of their requests have been made, in any order;
     * also of requests that do not end ok. */
    void (*on_gap)(void *end_arg, const struct serve_gap *gap);
};

struct serve_result {
    /* KV caches that went from stages of prompts to those of decode steps; has_ = such are placed
     */
    bool has_kv_moves;
    struct serve_kv_moves {
        int64_t requests, messages, bytes;
    } kv_moves;
    int passes_count;     /* stages of models on several devices */
    int64_t closed_count; /* of their steps: in closed form */
    const struct sliced_stage *passes;
    struct serve_request *requests; /* in workload order; NULL unless keeps_requests */
    size_t taken_count;
    int64_t late_count;      /* taken, and in the system at until_ps: ended behind it */
    int64_t end_ps;          /* instant of the last event */
    int64_t arrival_span_ps; /* from the first arrival to the last */
    int64_t event_count;
    int64_t moved_bytes; /* sent over links; of a message once */
    int64_t extrapolated_costs;
    uint32_t extrapolated_ops; /* the kernels of these costs: op_set_of */
    const bool *is_left_out; /* by replica of the plan: did not fit into memory, --memory refuse */
    bool has_wakes;          /* some device has a cost of waking: */
    int64_t wake_count, wake_ps;
    int64_t migrations; /* devices that an epoch brought new slices to */
    struct serve_refused refused[SERVE_REFUSAL_COUNT];
    struct serve_failed failed[SERVE_FAILURE_COUNT];
    bool lacks_kappa;             /* wanted, and no anchor told that of some step */
    enum serve_fast fast_path;    /* what made this result: ON = the closed form */
    struct serve_device *devices; /* as in the cluster */
    bool has_circuits;
    struct network_circuits circuits;
    int link_count;
    struct serve_link *links;
    bool has_shares;   /* messages were counted: links.share and devices.sent_ps tell of them */
    int replica_count; /* 0: as parts.is_known */
    struct serve_replica *replicas;
    struct serve_parts parts;
    const struct llm_result *continuous; /* NULL: no continuous batches */
    bool lacks_prefixes; /* a prefix cache was asked for, and nothing says what is shared */
};

struct serve_input {
    const struct plan *plan;
    const struct workload *workload; /* NULL: the stream */
    struct stream *stream;           /* open arrivals without a workload in memory */
    const int32_t *service_of;       /* plan service of each service of workload or stream */
    const struct cost_set *costs;
    const struct events *events;               /* NULL = none */
    const struct overheads *overheads;         /* NULL = none */
    const struct prefix_blocks *prefix_blocks; /* of the workload; NULL = what its sessions say */
    struct price_book *book; /* costs remembered from run to run, for the same tables; NULL = none
                              */
    /* Asked every thousand events or so: true = the run is given up, which is an error. NULL =
     * never. Closed forms, which take no events, do not ask. */
    bool (*is_stopped)(void *arg);
    void *is_stopped_arg;
};

/* One more request was refused; tokens 0 = not known. */
void serve_note_refused(struct serve_result *result, enum serve_refusal why, int64_t request_id,
                        int64_t tokens);

/* Runs until every request has ended. observer may be NULL. */
bool serve_run(struct arena *arena, const struct serve_input *input,
               const struct serve_options *options, const struct serve_observer *observer,
               struct serve_result *result, struct err *err);

#endif
