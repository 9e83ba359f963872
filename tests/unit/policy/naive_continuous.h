/* naive_continuous.h - continuous batching as the pseudo-code of vLLM's rules has it, with arrays
 * that are searched: for the tests of lib/policy/continuous. */
#ifndef ORRERY_TESTS_NAIVE_CONTINUOUS_H
#define ORRERY_TESTS_NAIVE_CONTINUOUS_H

#include "lib/policy/continuous.h"
#include <assert.h>
#include <string.h>

#define NAIVE_MAX 512        /* requests, and blocks of one */
#define NAIVE_MAX_BLOCKS 256 /* of the cache */

struct naive_request {
    int32_t prompt, output, reached, computed, block_count, named;
    int blocks[NAIVE_MAX];
    bool has_run, is_in_flight;
};

struct naive_step { /* planned and not done, while others are planned */
    int count, request[NAIVE_MAX], tokens[NAIVE_MAX];
};

struct naive {
    struct continuous_options options;
    struct naive_request requests[NAIVE_MAX];
    int request_count;
    int running[NAIVE_MAX], running_count;
    int waiting[NAIVE_MAX], waiting_count;
    int free[NAIVE_MAX_BLOCKS], free_count; /* least recently used first */
    int holders[NAIVE_MAX_BLOCKS];
    int64_t names[NAIVE_MAX_BLOCKS];
    int entry_count, entry_request[NAIVE_MAX], entry_tokens[NAIVE_MAX], entry_past[NAIVE_MAX];
    int first_count, firsts[NAIVE_MAX], finished_count, finished[NAIVE_MAX];
    int64_t preemptions, recomputed, hit_tokens;
};

static inline void naive_create(struct naive *n, const struct continuous_options *options)
{
    memset(n, 0, sizeof *n);
    n->options = *options;
    n->free_count = options->block_count;
    for (int i = 0; i < options->block_count; i++) {
        n->free[i] = i;
        n->names[i] = -1;
    }
}

static inline void naive_arrive(struct naive *n, int32_t prompt, int32_t output)
{
    struct naive_request *q = &n->requests[n->request_count];

    memset(q, 0, sizeof *q);
    q->prompt = q->reached = prompt;
    q->output = output;
    n->waiting[n->waiting_count++] = n->request_count++;
}

static inline void naive_remove(int *list, int *count, int at)
{
    (*count)--;
    for (int i = at; i < *count; i++)
        list[i] = list[i + 1];
}

static inline int naive_ceil(int tokens, int size)
{
    return (tokens + size - 1) / size;
}

static inline void naive_take(struct naive *n, struct naive_request *q, int count)
{
    for (int i = 0; i < count; i++) {
        int block = n->free[0];

        naive_remove(n->free, &n->free_count, 0);
        n->names[block] = -1;
        n->holders[block] = 1;
        q->blocks[q->block_count++] = block;
    }
}

static inline void naive_release(struct naive *n, struct naive_request *q)
{
    for (int i = q->block_count - 1; i >= 0; i--)
        if (--n->holders[q->blocks[i]] == 0)
            n->free[n->free_count++] = q->blocks[i];
    q->block_count = q->named = 0;
}

static inline int naive_find(const struct naive *n, int64_t name)
{
    for (int i = 0; i < n->options.block_count; i++)
        if (name >= 0 && n->names[i] == name)
            return i;
    return -1;
}

static inline int64_t naive_key(const struct naive *n, int request, int block)
{
    return n->options.key ? n->options.key(n->options.key_arg, request, block) : -1;
}

static inline void naive_entry(struct naive *n, int request, int tokens)
{
    struct naive_request *q = &n->requests[request];
    int whole = (q->computed + tokens) / n->options.block_tokens;

    n->entry_request[n->entry_count] = request;
    n->entry_tokens[n->entry_count] = tokens;
    n->entry_past[n->entry_count++] = q->computed;
    q->has_run = true;
    for (; q->named < whole; q->named++) {
        int64_t name = naive_key(n, request, q->named);

        if (name >= 0 && naive_find(n, name) < 0)
            n->names[q->blocks[q->named]] = name;
    }
}

static inline bool naive_is_planned(const struct naive *n, int request)
{
    for (int i = 0; i < n->entry_count; i++)
        if (n->entry_request[i] == request)
            return true;
    return false;
}

/* False when something was preempted: *budget is then of no use. */
static inline bool naive_running(struct naive *n, int *budget)
{
    bool is_undisturbed = true;

    for (int k = 0; k<n->running_count && * budget> 0; k++) {
        int request = n->running[k], tokens, need;
        struct naive_request *q = &n->requests[request];

        if (q->is_in_flight)
            continue;
        tokens = q->reached - q->computed < *budget ? q->reached - q->computed : *budget;
        if (n->options.long_prefill_tokens > 0 && tokens > n->options.long_prefill_tokens)
            tokens = n->options.long_prefill_tokens;
        need = naive_ceil(q->computed + tokens, n->options.block_tokens) - q->block_count;
        while (need > n->free_count) {
            int at = n->running_count - 1, victim;

            while (n->requests[n->running[at]].is_in_flight || naive_is_planned(n, n->running[at]))
                at--;
            victim = n->running[at];
            naive_remove(n->running, &n->running_count, at);
            naive_release(n, &n->requests[victim]);
            n->requests[victim].computed = 0;
            n->preemptions++;
            memmove(n->waiting + 1, n->waiting, sizeof(int) * (size_t)n->waiting_count);
            n->waiting[0] = victim;
            n->waiting_count++;
            is_undisturbed = false;
            if (victim == request)
                return false;
        }
        naive_take(n, q, need > 0 ? need : 0);
        naive_entry(n, request, tokens);
        *budget -= tokens;
    }
    return is_undisturbed;
}

static inline bool naive_admit(struct naive *n, int *budget)
{
    int request = n->waiting[0], hits[NAIVE_MAX], hit_count = 0, unheld = 0, tokens, cached;
    struct naive_request *q = &n->requests[request];

    while (n->options.key && hit_count < (q->reached - 1) / n->options.block_tokens) {
        int block = naive_find(n, naive_key(n, request, hit_count));

        if (block < 0)
            break;
        unheld += n->holders[block] == 0;
        hits[hit_count++] = block;
    }
    cached = hit_count * n->options.block_tokens;
    tokens = q->reached - cached;
    if (n->options.long_prefill_tokens > 0 && tokens > n->options.long_prefill_tokens)
        tokens = n->options.long_prefill_tokens;
    if (tokens > *budget && !n->options.has_chunks)
        return false;
    tokens = tokens < *budget ? tokens : *budget;
    if (naive_ceil(q->reached, n->options.block_tokens) - hit_count + unheld > n->free_count)
        return false;
    for (int i = 0; i < hit_count; i++) {
        for (int k = 0; n->holders[hits[i]] == 0 && k < n->free_count; k++)
            if (n->free[k] == hits[i])
                naive_remove(n->free, &n->free_count, k);
        n->holders[hits[i]]++;
        q->blocks[i] = hits[i];
    }
    q->block_count = q->named = hit_count;
    naive_take(n, q, naive_ceil(cached + tokens, n->options.block_tokens) - hit_count);
    *(q->has_run ? &n->recomputed : &n->hit_tokens) += q->has_run ? q->reached - cached : cached;
    naive_remove(n->waiting, &n->waiting_count, 0);
    n->running[n->running_count++] = request;
    q->computed = cached;
    naive_entry(n, request, tokens);
    *budget -= tokens;
    return true;
}

static inline void naive_schedule(struct naive *n)
{
    int budget = n->options.token_budget;

    n->entry_count = 0;
    if (!naive_running(n, &budget))
        return;
    while (n->waiting_count > 0 && budget > 0 && n->running_count < n->options.max_seqs)
        if (!naive_admit(n, &budget))
            break;
}

static inline void naive_step_done(struct naive *n)
{
    n->first_count = n->finished_count = 0;
    for (int i = 0; i < n->entry_count; i++) {
        struct naive_request *q = &n->requests[n->entry_request[i]];

        q->computed += n->entry_tokens[i];
        if (q->computed < q->reached)
            continue;
        if (++q->reached == q->prompt + 1)
            n->firsts[n->first_count++] = n->entry_request[i];
        if (q->reached < q->prompt + q->output)
            continue;
        n->finished[n->finished_count++] = n->entry_request[i];
        naive_release(n, q);
        for (int k = 0; k < n->running_count; k++)
            if (n->running[k] == n->entry_request[i])
                naive_remove(n->running, &n->running_count, k);
    }
}

/* The step that was planned is put aside, and comes back when it is done. */
static inline void naive_put_aside(struct naive *n, struct naive_step *step)
{
    step->count = n->entry_count;
    for (int i = 0; i < n->entry_count; i++) {
        step->request[i] = n->entry_request[i];
        step->tokens[i] = n->entry_tokens[i];
        n->requests[n->entry_request[i]].is_in_flight = true;
    }
}

static inline void naive_take_back(struct naive *n, const struct naive_step *step)
{
    n->entry_count = step->count;
    for (int i = 0; i < step->count; i++) {
        n->entry_request[i] = step->request[i];
        n->entry_tokens[i] = step->tokens[i];
        n->requests[step->request[i]].is_in_flight = false;
    }
}

#endif
