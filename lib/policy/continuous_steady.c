/* continuous_steady.c - steps that are alike: all that run decode, nobody comes, goes or is
 * preempted. What one call does for many of them, the step by step of continuous.c would have done
 * too: blocks are taken and named in the same order. */
#include "lib/policy/continuous_state.h"

#include <assert.h>
#include <stddef.h>

/* ---- how many ---- */

/* Blocks that `steps` more tokens of every running request take. */
static int64_t blocks_of(const struct continuous *c, int32_t steps)
{
    int64_t need = 0;

    if (c->phases)
        return continuous_abreast_blocks(c, steps);
    for (int32_t k = 0; k < c->running_count; k++) {
        const struct request *request = &c->requests[c->running[k]];

        need += continuous_blocks(c, request->computed + steps) - request->block_count;
    }
    return need;
}

/* Most steps up to `steps` that find their blocks. */
static int32_t limit_by_blocks(const struct continuous *c, int32_t steps)
{
    int64_t room = continuous_free(c);
    int32_t low = 0, high = steps;

    /* No request takes more than so many: mostly that is enough to know. */
    if (c->running_count * (int64_t)continuous_blocks(c, steps) <= room ||
        blocks_of(c, steps) <= room)
        return steps;
    while (low < high) {
        int32_t middle = low + (high - low + 1) / 2;

        if (blocks_of(c, middle) <= room)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* Fewer blocks are free with each step, so that a request which has to wait for blocks goes on
 * waiting, unless a running one fills a block of its very beginning: up to the step that does. */
static int32_t limit_by_head(const struct continuous *c, const struct request *head, int32_t hits,
                             int32_t steps)
{
    int32_t block_tokens = c->options.block_tokens, most = (head->reached - 1) / block_tokens;

    for (int32_t k = 0; k < c->running_count; k++) {
        const struct request *request = &c->requests[c->running[k]];
        int32_t block = request->computed / block_tokens, fills_at;
        int64_t key;

        if (block > hits || block >= most)
            continue;
        key = c->options.key(c->options.key_arg, request->tag, block);
        if (key < 0 || key != c->options.key(c->options.key_arg, head->tag, block))
            continue;
        fills_at = (block + 1) * block_tokens - 1 - request->computed;
        if (fills_at < steps)
            steps = fills_at;
    }
    return steps;
}

struct continuous_steady continuous_steady(struct continuous *c)
{
    struct continuous_steady steady = { 0, c->running_count, 0 };
    int32_t budget = c->options.token_budget - c->running_count, steps = INT32_MAX;
    const struct request *requests = c->requests, *head = NULL;
    const int32_t *running = c->running;
    struct admission admission = { 0 };

    assert(continuous_in_flight(c) == 0);
    if (c->running_count == 0 || c->catching_up > 0)
        return steady;
    if (c->waiting_count > 0 && budget > 0 && c->running_count < c->options.max_seqs) {
        head = &c->requests[c->waiting_head];
        if (continuous_plan_admission(c, head, budget, &admission))
            return steady;
    }
    if (c->phases) { /* they are all abreast */
        steps = (int32_t)(c->abreast_due - c->clock);
        steady.past_tokens = c->abreast_tokens + c->abreast * c->clock;
    }
    for (int32_t k = c->abreast; k < steady.decodes; k++) {
        const struct request *request = &requests[running[k]];
        int32_t left = request->end - request->reached;

        steps = left < steps ? left : steps;
        steady.past_tokens += request->computed;
    }
    if (head && c->blocks)
        steps = limit_by_head(c, head, admission.hits, steps);
    steady.steps = limit_by_blocks(c, steps);
    return steady;
}

bool continuous_is_open(const struct continuous *c)
{
    return c->waiting_count == 0 && c->running_count < c->options.max_seqs &&
           c->running_count < c->options.token_budget;
}

/* ---- taking them ---- */

/* Running requests by how far they are in their last block, each list in order of running. */
static void sort_by_phase(struct continuous *c)
{
    for (int32_t k = c->running_count - 1; k >= 0; k--) {
        int32_t *head =
            &c->phase_heads[c->requests[c->running[k]].computed % c->options.block_tokens];

        c->phase_next[k] = *head;
        *head = k;
    }
}

static void forget_phases(struct continuous *c)
{
    for (int32_t k = 0; k < c->running_count; k++)
        c->phase_heads[c->requests[c->running[k]].computed % c->options.block_tokens] = NO_REQUEST;
}

/* With a prefix cache what is taken loses its name, and what is filled gets one, in the order of
 * the steps, and in a step in the order of running. */
static void take_and_name(struct continuous *c, int32_t steps)
{
    int32_t block_tokens = c->options.block_tokens;

    sort_by_phase(c);
    for (int32_t s = 0; s < steps; s++) {
        int32_t begun = s % block_tokens;
        /* at their first token of a block, and at their last */
        int32_t takes = c->phase_heads[begun == 0 ? 0 : block_tokens - begun];
        int32_t names = c->phase_heads[block_tokens - 1 - begun];

        while (takes != NO_REQUEST || names != NO_REQUEST) {
            bool is_take = takes != NO_REQUEST && (names == NO_REQUEST || takes <= names);
            bool is_name = names != NO_REQUEST && (takes == NO_REQUEST || names <= takes);
            struct request *request = &c->requests[c->running[is_take ? takes : names]];

            if (is_take) {
                continuous_take(c, request, 1);
                takes = c->phase_next[takes];
            }
            if (is_name) {
                continuous_name(c, request, s + 1);
                names = c->phase_next[names];
            }
        }
    }
    forget_phases(c);
}

/* One look at each request: its tokens, and without a prefix cache its blocks as well. True when
 * one has come to its end. */
static bool count_on(struct continuous *c, int32_t steps)
{
    bool has_finished = false, has_numbers = !c->blocks; /* of blocks alone */
    struct request *requests = c->requests;
    const int32_t *running = c->running;
    int32_t count = c->running_count, taken = 0;

    if (c->phases) { /* they are all abreast */
        c->free_blocks -= (int32_t)continuous_abreast_blocks(c, steps);
        c->clock += steps;
        return c->clock == c->abreast_due;
    }
    for (int32_t k = 0; k < count; k++) {
        struct request *request = &requests[running[k]];

        request->computed += steps;
        request->reached += steps;
        has_finished = has_finished || request->reached == request->end;
        if (has_numbers && request->computed > request->room) {
            int32_t need = continuous_blocks(c, request->computed) - request->block_count;

            request->block_count += need;
            request->room += need * c->options.block_tokens;
            taken += need;
        }
    }
    c->free_blocks -= taken;
    return has_finished;
}

const struct continuous_ends *continuous_advance(struct continuous *c, int32_t steps)
{
    int64_t tokens = (int64_t)steps * c->running_count;
    bool has_finished;
    int32_t used;

    assert(steps >= 1 && c->running_count > 0 && c->catching_up == 0);
    if (c->blocks)
        take_and_name(c, steps);
    has_finished = count_on(c, steps);
    c->work_tokens -= tokens;
    c->counts.steps += steps;
    c->counts.tokens += tokens;
    c->counts.sequences += tokens;
    c->counts.made_tokens += tokens;
    used = continuous_used_blocks(c);
    if (used > c->counts.blocks_peak)
        c->counts.blocks_peak = used;
    c->ends.first_count = c->ends.finished_count = 0;
    if (has_finished)
        continuous_finish(c);
    return &c->ends;
}
