/* continuous.h - continuous batching of one instance: which requests compute how many tokens in the
 * next iteration. One code for simulator and runner: no clock, nothing is computed here.
 *
 * The rules are those of vLLM's V1 scheduler (Kwon et al., SOSP 2023; its documentation calls the
 * parameters max_num_seqs, max_num_batched_tokens and block_size):
 * - A request catches up to the length that it has reached: its prompt first, then one token a
 * step, and after a preemption all that it had. In a step of token_budget tokens running requests
 * go first, in the order in which they were admitted.
 * - Where blocks of the KV cache run out, the request that was admitted last is preempted: it loses
 *   its blocks and goes to the head of the queue. Nobody is admitted in such a step.
 * - Then the queue, first come first served, while there are tokens and fewer than max_seqs run,
 * and while the blocks of all that exists of the request are free. Nobody is passed over.
 * - With a prefix cache an admitted request takes over the blocks that hold its beginning, but the
 *   last token is always computed. Blocks are named as soon as the step that fills them is planned,
 *   so that a request of the same step finds them.
 *
 * - A pipeline has several steps under way (max_in_flight). A request that is in one of them is in
 *   no other, and cannot be preempted: the victim is then the last admitted of the others.
 *
 * - Prompts may be computed by one instance and decoded by another (Zhong et al., OSDI 2024, and
 *   vLLM's KV connectors). The first keeps the blocks of a request that has ended until
 *   continuous_sent. In the second it waits in the queue like others, for the blocks of all that
 *   exists of it. When it has them it takes its place, and is in no step and not preempted until
 *   continuous_fetched: its cache is on the way. After a preemption it is computed anew, there.
 *
 * continuous_schedule and continuous_step_done are one step, O(running). Where nothing but decoding
 * goes on, continuous_steady says how many steps will be alike, and continuous_advance takes many
 * at once, with the same state behind it. Memory grows with the requests that wait; a steady state
 * allocates nothing. */
#ifndef ORRERY_POLICY_CONTINUOUS_H
#define ORRERY_POLICY_CONTINUOUS_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct continuous;

#define CONTINUOUS_MAX_BLOCK_TOKENS 65536

/* Name of a request's block (equal names = equal tokens from the start), -1 = none from here on.
 * tag is the request's. */
typedef int64_t continuous_key_fn(void *arg, int64_t tag, int32_t block);

struct continuous_options {
    int32_t max_seqs;            /* running at once, >= 1 */
    int32_t token_budget;        /* of a step, >= max_seqs */
    int32_t long_prefill_tokens; /* most that one request computes in a step; 0 = no such limit */
    int32_t block_tokens;        /* 1 to CONTINUOUS_MAX_BLOCK_TOKENS */
    int32_t block_count;         /* of the KV cache, >= 1 */
    int32_t max_in_flight;       /* batches that may be planned and not done at once; 0 = 1 */
    bool has_chunks;             /* chunked prefill: a prompt may take several steps */
    bool omits_decodes;          /* batches need not list requests that only decode on */
    bool hands_over;             /* there is continuous_arrive_kept, or continuous_arrive_cached */
    continuous_key_fn *key;      /* prefix cache; NULL = none */
    void *key_arg;
};

/* The token budget of those who give none: 2048, or max_seqs if that is more; without chunks the
 * model's context if that is more, so that any prompt fits into a step. */
int32_t continuous_default_budget(int32_t max_seqs, bool has_chunks, int32_t max_context);

struct continuous_entry {
    int64_t tag;
    int32_t tokens, past_tokens; /* to compute now, on top of those in the cache */
    int32_t request;             /* the batcher's own number */
    bool is_new;                 /* its first step of all */
    bool makes_token;            /* it catches up with what exists: a token comes of it */
};

struct continuous_batch { /* of a step; count 0 = nothing to do */
    int32_t count;        /* requests */
    int32_t entry_count;  /* those listed: all, but for what omits_decodes leaves out */
    const struct continuous_entry *entries; /* in order of running */
    int32_t tokens;
    int32_t chunk_tokens, decodes; /* of entries of more than one token, and of one */
    int64_t chunk_past_tokens, decode_past_tokens; /* sums over these entries */
};

struct continuous_ends { /* of a step, or of the last of several; tags, in order of running */
    int32_t first_count, finished_count;
    const int64_t *firsts;   /* have their first token */
    const int64_t *finished; /* have their last one and are gone */
};

struct continuous_steady {
    int32_t steps;   /* that will be alike, each a decode of all that run; 0 = none */
    int32_t decodes; /* requests in them */
    int64_t
        past_tokens; /* in the cache before the first of them, summed; `decodes` more each step */
};

struct continuous_counts {            /* from the beginning */
    int64_t steps, tokens, sequences; /* sums over steps */
    int64_t admissions, preemptions, recomputed_tokens;
    int64_t made_tokens, lost_tokens;  /* of outputs; lost: of requests that were taken away */
    int64_t prompt_tokens, hit_tokens; /* of requests when they are first admitted */
    int32_t running_peak, waiting_peak, blocks_peak;
};

struct continuous *continuous_create(struct arena *arena, const struct continuous_options *options);

/* Could the request be computed if it were alone? False: it needs more blocks than there are, or a
 * step that may not be cut into chunks is larger than the budget. */
bool continuous_fits(const struct continuous_options *options, int32_t prompt_tokens,
                     int32_t output_tokens);
/* Joins the queue. It must fit; tokens >= 1. */
void continuous_arrive(struct continuous *continuous, int32_t prompt_tokens, int32_t output_tokens,
                       int64_t tag);

/* Of those that hand over: one that makes its first token alone, and whose blocks are kept behind
 * its end; and one whose prompt has been computed elsewhere, with its first token. output_tokens:
 * of all, >= 2. */
void continuous_arrive_kept(struct continuous *continuous, int32_t prompt_tokens, int64_t tag);
void continuous_arrive_cached(struct continuous *continuous, int32_t prompt_tokens,
                              int32_t output_tokens, int64_t tag);
/* At any time, whatever is planned: gives those at the head of the queue that were computed
 * elsewhere their places and blocks, while there are such. Their caches are to be sent: how many,
 * and their tags, which live until the next call. */
int32_t continuous_fetch(struct continuous *continuous, const int64_t **tags);
/* The cache has been sent, or is lost: its blocks are free. */
void continuous_sent(struct continuous *continuous, int64_t tag);
/* All that is kept is lost. */
void continuous_drop_kept(struct continuous *continuous);
/* It has come. */
void continuous_fetched(struct continuous *continuous, int64_t tag);

/* Plans a step; the batch lives until it is done, an empty one until the next call. Fewer than
 * max_in_flight steps are planned and not done: none of their requests is in this one. */
const struct continuous_batch *continuous_schedule(struct continuous *continuous);
/* The planned step, of several the first planned, has been computed. Lives until the next call. */
const struct continuous_ends *continuous_step_done(struct continuous *continuous);
/* Takes a request away, whatever it is in: running ones first, then the queue. All steps that were
 * planned are void. Kept blocks stay. False: nobody is here. */
bool continuous_lose(struct continuous *continuous, int64_t *tag);

/* No step is planned and not done. */
struct continuous_steady continuous_steady(struct continuous *continuous);
/* steps of continuous_steady have been computed, 1 or more of them. Requests finish in the last
 * step alone, and only when all steady steps are taken. */
const struct continuous_ends *continuous_advance(struct continuous *continuous, int32_t steps);
/* Would a request that arrived now be looked at before something else has changed? False: it only
 * waits behind others, or for a place. Asked while steady steps go on. */
bool continuous_is_open(const struct continuous *continuous);

/* No request is here, and no blocks are kept. */
bool continuous_is_idle(const struct continuous *continuous);
/* Steps that are planned and not done. */
int32_t continuous_in_flight(const struct continuous *continuous);
int32_t continuous_running(const struct continuous *continuous);
/* Tag of the k-th of those that run, in order of admission. */
int64_t continuous_running_tag(const struct continuous *continuous, int32_t k);
int32_t continuous_waiting(const struct continuous *continuous);
int32_t continuous_used_blocks(const struct continuous *continuous);
/* Tokens that the requests which are here have still to compute, if no more are lost. */
int64_t continuous_work_tokens(const struct continuous *continuous);
const struct continuous_counts *continuous_counts(const struct continuous *continuous);

#endif
