/* llm.h - continuous batching of decoders under simulated time: instances that decide at every
 * iteration what the next one computes.
 *
 * The decisions are those of lib/policy/continuous, the costs those of lib/policy/step_price; this
 * folder adds the clock. Rules: sim/README.md. An iteration begins where the one before has ended;
 * what has arrived by then takes part. Where nothing but decoding goes on, many iterations are one
 * event: their sum is exact, so that the result is the same to the bit.
 *
 * As soon as one replica has several stages or a link that it shares, or devices may fail, all are
 * pipelines: a batch is a task that goes from the source through the queues of its stages' devices
 * and back to the source, as many at once as there are stages. A stage with a bounded queue keeps
 * the task of the stage before on its device until there is room. A stage on several devices runs
 * the passes of sim/sliced.
 *
 * What else delays a request, behind its end, is no part of this. Arrivals are pulled
 * and ends are pushed, so that this file knows neither workloads nor reports. */
#ifndef ORRERY_SIM_LLM_LLM_H
#define ORRERY_SIM_LLM_LLM_H

#include "lib/base/wide.h"
#include "lib/format/trace.h"
#include "lib/policy/continuous.h"
#include "lib/policy/dispatch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct cost_set;
struct err;
struct events;
struct network;
struct network_sent;
struct overheads;
struct plan;
struct wake;
struct presence;
struct sliced;
struct sliced_set;

#define LLM_NEVER INT64_MAX

/* Before dispatch; behind it; before a batch stands before a stage. */
enum llm_delay { LLM_DELAY_SUBMIT, LLM_DELAY_DISPATCH, LLM_DELAY_WORKER };

struct llm_input {
    const struct plan *plan; /* of models alone */
    const struct cost_set *costs;
    const bool *is_left_out; /* by replica of the plan: it is never chosen; NULL = none */
    /* By replica of the plan: told of its requests in flight; replicas may share one; NULL = none
     */
    struct presence *const *presences;
    bool (*is_stopped)(void *arg); /* asked now and then: true = give up; NULL = never */
    void *is_stopped_arg;
    const int64_t *base_bytes; /* by device: what is taken before any KV cache; NULL = nothing */
    continuous_key_fn *key;    /* names of blocks, by index of the arrival; NULL = none */
    void *key_arg;
    /* Messages, all at once NULL: they are free. routes_in: into each stage of the plan, by id, the
     * first of a replica from the source. routes_back: from the last one, by replica. -1 = free. */
    struct network *network;
    const int32_t *routes_in, *routes_back;
    /* Of replicas whose prompts are computed apart: back from the stages of decode steps, and those
     * of KV caches between the two, by move of the plan. */
    const int32_t *routes_decoded;
    const int *const *move_routes;
    /* Stages on several devices, with their routes, and by stage of the plan: NULL = on one. */
    struct sliced_set *sliced;
    struct sliced *const *sliced_stages;
    const int32_t *slots; /* by device: a permutation that says who goes first at one instant;
                             NULL = the order of the cluster */
    const struct events *events; /* of devices; NULL = none */
    /* How long an overhead holds a request, by index of the arrival, or all requests of a batch, by
     * its id, before that stage; NULL = not at all. */
    int64_t (*delay_ps)(void *arg, enum llm_delay where, size_t index, int32_t stage,
                        int32_t requests);
    void *delay_arg;
    const struct overheads *overheads; /* of steps; NULL = none */
    /* How long an epoch takes devices that it brings new slices to, and, by epoch and device, which
     * these are; 0 and NULL: it takes none. */
    int64_t switch_cost_ps;
    const bool *is_switched;
    struct wake *wakes; /* by device, counted there; NULL: no device costs anything to wake */
};

struct llm_options {
    int32_t max_seqs;
    int32_t token_budget; /* 0 = not given: continuous_default_budget */
    int32_t block_tokens;
    int32_t block_count; /* of each instance; 0 = what its device has memory for, or, where that is
                            not stated, as many as max_seqs requests of any length take */
    bool has_chunks, has_prefix_cache;
    bool is_stepped;       /* every iteration is an event */
    bool has_kappa;        /* as of step_price_of.without_kappa */
    int32_t max_in_flight; /* batches of a pipeline; 0 = as many as it has stages */
    enum dispatch_kind dispatch;
    uint64_t seed;          /* of dispatch */
    int32_t longest_tokens; /* of any request to come, prompt and output; 0 = not known */
};

struct llm_arrival {
    size_t index; /* whatever the caller knows it by */
    int64_t request_id, arrival_ps;
    int64_t slo_ps;                       /* its own, 0 = none; handed on */
    int32_t service;                      /* of the plan */
    int32_t prompt_tokens, output_tokens; /* >= 1; output of a decoder alone */
    int32_t session, client;              /* of the caller, -1 = none: for sticky dispatch */
};

struct llm_source {
    void *arg;
    /* The next arrivals in order, room of them at most; 0: none is known. Without peek_ps: of an
     * open stream, asked until it gives 0. With it: one, asked when peek_ps has named an instant.
     */
    size_t (*take)(void *arg, struct llm_arrival *arrivals, size_t room);
    /* Closed loops: the instant of the next arrival that is known, else LLM_NEVER; and what the end
     * of a request makes known. Both NULL: nobody waits for an end. */
    int64_t (*peek_ps)(void *arg);
    void (*ended)(void *arg, size_t index, int64_t end_ps);
};

enum llm_span_kind {
    LLM_SPAN_JOB,
    LLM_SPAN_PASS,  /* of a device of a sliced stage: from its first piece to its last */
    LLM_SPAN_PIECE, /* one of these pieces */
    LLM_SPAN_LOST,  /* cut off by a failure */
};

struct llm_span { /* one request in one iteration */
    enum llm_span_kind kind;
    size_t index;
    int64_t request_id;
    int64_t batch_id; /* of the iteration, over all instances */
    int32_t replica, device;
    int32_t step;  /* of the request, from 0 */
    int32_t share; /* 0 for the first request of the iteration: the others share its interval */
    int32_t tokens, past_tokens;
    int32_t stage;    /* id in the plan */
    int32_t position; /* of the device in the stage */
    int64_t start_ps, finish_ps;
    int64_t wait_ps; /* since its last iteration, or its arrival; in a later stage since it came */
};

struct llm_transfer { /* one request of a batch that was sent over a link */
    size_t index;
    int64_t request_id, batch_id;
    int32_t service;
    int32_t from, to;  /* devices of the cluster, NETWORK_SOURCE */
    int32_t step, hop; /* hop k leads into stage k, the last one back to the source */
    int32_t share;
    bool is_inside; /* between devices of stage `hop`; told of the first request alone */
    bool is_late;   /* told when it is received */
    const struct network_sent *sent;
    int64_t bytes; /* of the whole message */
    int64_t send_ps;
};

struct llm_use { /* of a link */
    int64_t request_id;
    int32_t service, step;
    int link;
    int64_t bytes, begin_ps, end_ps;
};

struct llm_end { /* times are TRACE_NONE when they never came */
    size_t index;
    int64_t request_id;
    int32_t service, replica; /* of the plan; replica -1 = never dispatched */
    /* ok; refused: longer than the model's context, than all KV blocks hold, or than a step may
     * hold that is not cut into chunks; or no replica of its service is there. failed: its replica
     * has lost a device, or every one that is there has */
    enum trace_status status;
    bool is_over_budget; /* refused: blocks would do, but no step takes it whole */
    int64_t arrival_ps, start_ps, first_token_ps, finish_ps, slo_ps;
    int64_t end_ps; /* whatever became of it */
    int32_t prompt_tokens, output_tokens;
};

/* Iterations of one instance, each slope_ps longer than the one before: from when it leaves the
 * source until its result is back. */
struct llm_line {
    int32_t replica;
    int64_t first_ps,
        slope_ps; /* how long the first takes, and how much longer each one after it */
    int32_t count;
    int32_t requests; /* in each of them */
    int64_t tokens;   /* in their caches in the first, those that it makes included; `requests` more
                         in each one after it */
    bool is_decoding; /* where its prompts are computed apart: by the instance of decode steps */
};

struct llm_gap { /* times between tokens of requests, as the source gets them: */
    int32_t service;
    int64_t first_ps, slope_ps; /* first_ps, first_ps + slope_ps, ... */
    int32_t count;
    int32_t times;      /* each of them so often */
    int64_t arrival_ps; /* with wants_arrivals: of their only request */
};

struct llm_observer { /* functions may be NULL */
    void *arg, *end_arg;
    /* Blocks in use on a device, as bytes, from now on; when on_span is there, too. */
    void (*on_cache)(void *arg, int32_t device, int64_t now_ps, int64_t kv_bytes);
    void (*on_line)(void *arg, const struct llm_line *line); /* when all of them are done */
    void (*on_gap)(void *end_arg, const struct llm_gap *gap);
    bool wants_arrivals; /* in on_gap: told of each request by itself */
    /* An epoch takes a device; it may outlast the run. When on_span is there, too. */
    void (*on_switch)(void *arg, int32_t device, int64_t from_ps, int64_t to_ps);
    /* What network_watch tells of a message, with the first request that it carries; told of with
     * on_transfer alone. */
    void (*on_use)(void *arg, const struct llm_use *use);
    void (*on_busy)(void *arg, int link, int64_t begin_ps, int64_t end_ps, int64_t busy_ps);
    void (*on_span)(void *arg, const struct llm_span *span); /* makes every iteration an event */
    void (*on_transfer)(void *arg, const struct llm_transfer *transfer); /* when it is sent, or
                                                                            received: is_late */
    void (*on_end)(void *end_arg, const struct llm_end *end);            /* in order of ending */
};

struct llm_instance { /* what one replica did, or its stages for prompts, or for decode steps */
    int32_t replica;
    int32_t block_count;
    int64_t block_bytes; /* on all its devices */
    struct continuous_counts counts;
};

struct llm_result {
    int64_t taken_count, ok_count, refused_count, failed_count;
    int64_t event_count;       /* arrivals and iterations, of pipelines all that happens */
    int64_t first_ps, last_ps; /* arrivals; LLM_NEVER, 0 without any */
    int64_t end_ps;            /* of the last iteration or arrival */
    int64_t extrapolated_costs;
    uint32_t extrapolated_ops; /* of these: op_set_of */
    int64_t without_kappa;     /* steps of other sizes that no anchor tells it of */
    int64_t active_ps;         /* with requests in the system */
    struct wide compute_ps;    /* of requests, with presences: a job counts for each in it */
    int64_t *busy_ps;          /* by device of the cluster */
    int64_t *gap_ps;           /* by device: taken by epochs, */
    int64_t *free_ps;          /* until then */
    int64_t *kv_bytes;         /* by device: largest use of the KV cache */
    int64_t *wait_peak_ps; /* by device: longest from an arrival to its first iteration, and that a
                              batch waited before a later stage */
    int32_t token_budget;
    bool are_blocks_given, is_memory_known;           /* of every instance */
    int64_t pull_requests, pull_messages, pull_bytes; /* KV caches that went between instances */
    int instance_count;
    struct llm_instance *instances; /* by replica of the plan, then those of decode steps alone */
};

/* Sums over instances; peaks of numbers of requests are those of the instance with the highest. */
struct continuous_counts llm_counts(const struct llm_result *result);

/* Runs until no arrival is known and everyone has ended. observer may be NULL. */
bool llm_run(struct arena *arena, const struct llm_input *input, const struct llm_options *options,
             const struct llm_source *source, const struct llm_observer *observer,
             struct llm_result *result, struct err *err);

#endif
