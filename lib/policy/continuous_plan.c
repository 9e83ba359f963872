/* continuous_plan.c - who is in the next step, with how many tokens: running requests, then the
 * queue. */
#include "lib/policy/continuous_state.h"

#include <stddef.h>

/* ---- running requests ---- */

static void plan_entry(struct continuous *c, int32_t index, struct request *request, int32_t tokens)
{
    struct continuous_batch *batch = &c->batch;

    batch->count++;
    c->entries[batch->entry_count++] = (struct continuous_entry){
        request->tag,      tokens,
        request->computed, index,
        !request->has_run, request->computed + tokens == request->reached
    };
    request->has_run = true;
    request->is_in_flight = c->in_flight;
    if (tokens == 1) {
        batch->decodes++;
        batch->decode_past_tokens += request->computed;
    } else {
        batch->chunk_tokens += tokens;
        batch->chunk_past_tokens += request->computed;
    }
    if (c->blocks)
        continuous_name(c, request, tokens);
}

/* Takes the last one out of running that is in no step: there is one, who asks for blocks. */
static int32_t preempt(struct continuous *c)
{
    int32_t at = c->running_count - 1, index;
    struct request *victim;

    while (c->requests[c->running[at]].is_in_flight)
        at--;
    index = continuous_remove_running(c, at);
    victim = &c->requests[index];

    continuous_release(c, victim);
    c->work_tokens += victim->computed;
    c->catching_up -= !victim->is_decoding;
    victim->computed = 0;
    victim->is_decoding = false;
    continuous_queue_head(c, index);
    c->counts.preemptions++;
    return index;
}

static int32_t blocks_needed(const struct continuous *c, const struct request *request,
                             int32_t tokens)
{
    int32_t need = continuous_blocks(c, request->computed + tokens) - request->block_count;

    return need > 0 ? need : 0;
}

/* Blocks for the next tokens of a running request; false when it is preempted itself. */
static bool make_room(struct continuous *c, int32_t index, int32_t tokens)
{
    int32_t need = blocks_needed(c, &c->requests[index], tokens);

    while (need > continuous_free(c))
        if (preempt(c) == index)
            return false;
    continuous_take(c, &c->requests[index], need);
    return true;
}

static int32_t at_most(int32_t value, int32_t limit)
{
    return value < limit ? value : limit;
}

/* From running[k] on, those that have caught up and have room for a token: nearly all of nearly
 * every step. Returns where they end. */
static int32_t plan_decodes(const struct continuous *c, struct continuous_batch *batch, int32_t k,
                            int32_t budget)
{
    struct continuous_entry *entries = c->entries + batch->entry_count;
    int32_t first = k, end = c->running_count - k < budget ? c->running_count : k + budget;
    const struct request *requests = c->requests;
    const int32_t *running = c->running;
    int64_t past_tokens = 0;

    for (; k < end; k++) {
        const struct request *request = &requests[running[k]];

        if (!request->is_decoding || request->computed == request->room)
            break;
        past_tokens += request->computed;
        entries[k - first] = (struct continuous_entry){ request->tag, 1,     request->computed,
                                                        running[k],   false, true };
    }
    batch->count += k - first;
    batch->entry_count += k - first;
    batch->decodes += k - first;
    batch->decode_past_tokens += past_tokens;
    return k;
}

static void list_abreast(struct continuous *c)
{
    for (int32_t k = 0; k < c->abreast; k++) {
        const struct request *request = &c->requests[c->running[k]];

        c->entries[k] = (struct continuous_entry){
            request->tag, 1, (int32_t)(request->computed + c->clock), c->running[k], false, true
        };
    }
    c->batch.entry_count = c->listed = c->abreast;
}

/* All that are abreast, if there are blocks for them. */
static void plan_abreast(struct continuous *c)
{
    int64_t need = continuous_abreast_blocks(c, 1);

    if (need > c->free_blocks) {
        continuous_scatter(c);
        return;
    }
    c->free_blocks -= (int32_t)need;
    c->planned = c->batch.count = c->batch.decodes = c->abreast;
    c->batch.decode_past_tokens = c->abreast_tokens + c->abreast * c->clock;
    if (!c->options.omits_decodes)
        list_abreast(c);
}

/* Tokens of the step that are left. */
int32_t continuous_plan_running(struct continuous *c)
{
    int32_t budget = c->options.token_budget, limit = c->options.long_prefill_tokens;

    c->planned = c->listed = 0;
    if (c->abreast > 0)
        plan_abreast(c);
    budget -= c->planned;
    for (int32_t k = c->planned, next; k < c->running_count && budget > 0; k = next) {
        struct request *request;
        int32_t tokens;

        next = k;
        if (!c->blocks && !c->in_flight) {
            next = plan_decodes(c, &c->batch, k, budget);
            budget -= next - k;
            if (budget == 0 || next == c->running_count)
                break;
        }
        request = &c->requests[c->running[next]];
        if (request->is_in_flight) {
            next++;
            continue;
        }
        tokens = at_most(request->reached - request->computed, budget);
        if (limit > 0)
            tokens = at_most(tokens, limit);
        if (request->computed + tokens > request->room && !make_room(c, c->running[next], tokens))
            break;
        plan_entry(c, c->running[next++], request, tokens);
        budget -= tokens;
    }
    return budget;
}

/* ---- admission ---- */

/* Its longest known beginning, short of the last token; *unheld: how many of these blocks are free.
 */
static int32_t find_hits(struct continuous *c, const struct request *request, int32_t *unheld)
{
    int32_t most = (request->reached - 1) / c->options.block_tokens, hits = 0;
    struct block_table *table = &c->tables[c->free_tables[c->free_table_count - 1]];

    continuous_reserve_table(c, table, continuous_blocks(c, request->end));
    for (; hits < most; hits++) {
        int64_t key = c->options.key(c->options.key_arg, request->tag, hits);
        int32_t block = key >= 0 ? blocks_find(c->blocks, key) : BLOCKS_NONE;

        if (block == BLOCKS_NONE)
            break;
        table->blocks[hits] = block;
        *unheld += !blocks_is_held(c->blocks, block);
    }
    return hits;
}

bool continuous_plan_admission(struct continuous *c, const struct request *request, int32_t budget,
                               struct admission *admission)
{
    int32_t limit = c->options.long_prefill_tokens;
    int32_t unheld = 0, hits = c->blocks ? find_hits(c, request, &unheld) : 0;
    int32_t cached = hits * c->options.block_tokens, tokens = request->reached - cached;

    admission->hits = hits;
    if (limit > 0)
        tokens = at_most(tokens, limit);
    if (tokens > budget && !c->options.has_chunks)
        return false;
    tokens = at_most(tokens, budget);
    admission->tokens = tokens;
    admission->blocks = continuous_blocks(c, cached + tokens) - hits;
    /* All that exists of it must find room, or it would soon be preempted. */
    return continuous_blocks(c, request->reached) - hits + unheld <= continuous_free(c);
}

static void admit(struct continuous *c, const struct admission *admission)
{
    int32_t index = continuous_queue_take(c), cached = admission->hits * c->options.block_tokens;
    struct request *request = &c->requests[index];

    c->running[c->running_count++] = index;
    c->catching_up++;
    if (c->blocks)
        request->table = c->free_tables[--c->free_table_count];
    for (int32_t i = 0; i < admission->hits; i++)
        blocks_share(c->blocks, c->tables[request->table].blocks[i]);
    request->computed = cached;
    request->block_count = request->named = admission->hits;
    request->room = cached;
    continuous_take(c, request, admission->blocks);
    c->work_tokens -= cached;
    c->counts.admissions++;
    if (request->has_run) {
        c->counts.recomputed_tokens += request->reached - cached;
    } else {
        c->counts.prompt_tokens += request->prompt;
        c->counts.hit_tokens += cached;
    }
    plan_entry(c, index, request, admission->tokens);
}

void continuous_plan_waiting(struct continuous *c, int32_t budget)
{
    while (c->waiting_count > 0 && budget > 0 && c->running_count < c->options.max_seqs) {
        struct admission admission;

        if (c->requests[c->waiting_head].is_cached) /* continuous_fetch is for those */
            break;
        if (!continuous_plan_admission(c, &c->requests[c->waiting_head], budget, &admission))
            break;
        admit(c, &admission);
        budget -= admission.tokens;
        c->batch.tokens += admission.tokens;
    }
}
