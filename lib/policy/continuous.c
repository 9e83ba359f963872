/* continuous.c - one step of continuous batching (continuous.h says by which rules); many alike are
 * in continuous_steady.c. */
#include "lib/policy/continuous.h"

#include "lib/base/arena.h"
#include "lib/policy/continuous_state.h"
#include <assert.h>
#include <stddef.h>

#define FIRST_ROOM 64

/* ---- begin ---- */

static void create_cache(struct continuous *c)
{
    int32_t max_seqs = c->options.max_seqs;

    c->blocks = blocks_create(c->arena, c->options.block_count);
    c->tables = arena_array(c->arena, (size_t)max_seqs, sizeof *c->tables);
    c->free_tables = arena_array(c->arena, (size_t)max_seqs, sizeof *c->free_tables);
    for (int32_t i = 0; i < max_seqs; i++)
        c->free_tables[i] = max_seqs - 1 - i;
    c->free_table_count = max_seqs;
    c->phase_heads = arena_array(c->arena, (size_t)c->options.block_tokens, sizeof *c->phase_heads);
    c->phase_next = arena_array(c->arena, (size_t)max_seqs, sizeof *c->phase_next);
    for (int32_t i = 0; i < c->options.block_tokens; i++)
        c->phase_heads[i] = NO_REQUEST;
}

#define DEFAULT_BUDGET 2048

int32_t continuous_default_budget(int32_t max_seqs, bool has_chunks, int32_t max_context)
{
    int32_t budget = max_seqs > DEFAULT_BUDGET ? max_seqs : DEFAULT_BUDGET;

    return !has_chunks && max_context > budget ? max_context : budget;
}

struct continuous *continuous_create(struct arena *arena, const struct continuous_options *options)
{
    struct continuous *c = arena_alloc(arena, sizeof *c);
    size_t max_seqs = (size_t)options->max_seqs;

    assert(options->max_seqs >= 1 && options->token_budget >= options->max_seqs);
    assert(options->block_count >= 1 && options->block_tokens >= 1 &&
           options->block_tokens <= CONTINUOUS_MAX_BLOCK_TOKENS);
    c->arena = arena;
    c->options = *options;
    c->block_shift = -1;
    for (int shift = 0; shift < 31; shift++)
        if (options->block_tokens == 1 << shift)
            c->block_shift = shift;
    c->first_free = c->waiting_head = c->waiting_tail = NO_REQUEST;
    c->running = arena_array(arena, max_seqs, sizeof *c->running);
    c->entries = arena_array(arena, max_seqs, sizeof *c->entries);
    c->firsts = arena_array(arena, max_seqs, sizeof *c->firsts);
    c->finished = arena_array(arena, max_seqs, sizeof *c->finished);
    c->free_blocks = options->block_count;
    c->batch.entries = c->entries;
    c->ends.firsts = c->firsts;
    c->ends.finished = c->finished;
    if (options->key)
        create_cache(c);
    return c;
}

/* The last token is made and never computed on. */
bool continuous_fits(const struct continuous_options *options, int32_t prompt_tokens,
                     int32_t output_tokens)
{
    int64_t most = (int64_t)prompt_tokens + output_tokens - 1;

    if (most >= INT32_MAX || most > (int64_t)options->block_count * options->block_tokens)
        return false;
    return options->has_chunks || most <= options->token_budget;
}

/* ---- the queue ---- */

static int32_t record_create(struct continuous *c)
{
    int32_t index = c->first_free;

    if (index != NO_REQUEST) {
        c->first_free = c->requests[index].next;
        return index;
    }
    if (c->request_count == c->request_room) {
        int32_t room = c->request_room > 0 ? 2 * c->request_room : FIRST_ROOM;

        c->requests = arena_grow(c->arena, c->requests, (size_t)c->request_room, (size_t)room,
                                 sizeof *c->requests);
        c->request_room = room;
    }
    return c->request_count++;
}

static void count_waiting(struct continuous *c)
{
    if (++c->waiting_count > c->counts.waiting_peak)
        c->counts.waiting_peak = c->waiting_count;
}

void continuous_arrive(struct continuous *c, int32_t prompt_tokens, int32_t output_tokens,
                       int64_t tag)
{
    int32_t index = record_create(c);

    assert(prompt_tokens >= 1 && output_tokens >= 1 &&
           continuous_fits(&c->options, prompt_tokens, output_tokens));
    c->requests[index] = (struct request){ .tag = tag,
                                           .prompt = prompt_tokens,
                                           .end = prompt_tokens + output_tokens,
                                           .reached = prompt_tokens,
                                           .next = NO_REQUEST };
    if (c->waiting_head == NO_REQUEST)
        c->waiting_head = index;
    else
        c->requests[c->waiting_tail].next = index;
    c->waiting_tail = index;
    count_waiting(c);
    c->work_tokens += prompt_tokens + output_tokens - 1;
}

static void queue_push_head(struct continuous *c, int32_t index)
{
    c->requests[index].next = c->waiting_head;
    if (c->waiting_head == NO_REQUEST)
        c->waiting_tail = index;
    c->waiting_head = index;
    count_waiting(c);
}

static int32_t queue_take(struct continuous *c)
{
    int32_t index = c->waiting_head;

    c->waiting_head = c->requests[index].next;
    if (c->waiting_head == NO_REQUEST)
        c->waiting_tail = NO_REQUEST;
    c->waiting_count--;
    return index;
}

/* ---- blocks of requests ---- */

static int32_t blocks_needed(const struct continuous *c, const struct request *request,
                             int32_t tokens)
{
    int32_t need = continuous_blocks(c, request->computed + tokens) - request->block_count;

    return need > 0 ? need : 0;
}

static void table_reserve(struct continuous *c, struct block_table *table, int32_t count)
{
    int32_t room = table->room > 0 ? table->room : 16;

    if (count <= table->room)
        return;
    while (room < count)
        room *= 2;
    table->blocks = arena_grow(c->arena, table->blocks, (size_t)table->room, (size_t)room,
                               sizeof *table->blocks);
    table->room = room;
}

void continuous_take(struct continuous *c, struct request *request, int32_t count)
{
    request->room += count * c->options.block_tokens;
    if (!c->blocks) {
        c->free_blocks -= count;
        request->block_count += count;
        return;
    }
    for (int32_t i = 0; i < count; i++)
        c->tables[request->table].blocks[request->block_count++] = blocks_take(c->blocks);
}

/* The last block first: beginnings, which others share, are found longest. */
static void release_all(struct continuous *c, struct request *request)
{
    if (c->blocks) {
        const struct block_table *table = &c->tables[request->table];

        for (int32_t i = request->block_count - 1; i >= 0; i--)
            blocks_release(c->blocks, table->blocks[i]);
        c->free_tables[c->free_table_count++] = request->table;
    } else {
        c->free_blocks += request->block_count;
    }
    request->block_count = request->room = request->named = 0;
}

void continuous_name(struct continuous *c, struct request *request, int32_t tokens)
{
    int32_t whole = (request->computed + tokens) / c->options.block_tokens;

    for (; request->named < whole; request->named++) {
        int64_t key = c->options.key(c->options.key_arg, request->tag, request->named);

        if (key < 0) {
            request->named = whole;
            break;
        }
        blocks_name(c->blocks, c->tables[request->table].blocks[request->named], key);
    }
}

/* ---- running requests ---- */

static void plan_entry(struct continuous *c, int32_t index, struct request *request, int32_t tokens)
{
    struct continuous_batch *batch = &c->batch;

    c->entries[batch->count++] = (struct continuous_entry){ request->tag, tokens, request->computed,
                                                            index, !request->has_run };
    request->has_run = true;
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

/* Takes the last one out of running. */
static int32_t preempt(struct continuous *c)
{
    int32_t index = c->running[--c->running_count];
    struct request *victim = &c->requests[index];

    release_all(c, victim);
    c->work_tokens += victim->computed;
    c->catching_up -= !victim->is_decoding;
    victim->computed = 0;
    victim->is_decoding = false;
    queue_push_head(c, index);
    c->counts.preemptions++;
    return index;
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
    struct continuous_entry *entries = c->entries + (batch->count - k);
    int32_t first = k, end = c->running_count - k < budget ? c->running_count : k + budget;
    const struct request *requests = c->requests;
    const int32_t *running = c->running;
    int64_t past_tokens = 0;

    for (; k < end; k++) {
        const struct request *request = &requests[running[k]];

        if (!request->is_decoding || request->computed == request->room)
            break;
        past_tokens += request->computed;
        entries[k] =
            (struct continuous_entry){ request->tag, 1, request->computed, running[k], false };
    }
    batch->count += k - first;
    batch->decodes += k - first;
    batch->decode_past_tokens += past_tokens;
    return k;
}

/* Tokens of the step that are left. */
static int32_t plan_running(struct continuous *c)
{
    int32_t budget = c->options.token_budget, limit = c->options.long_prefill_tokens;

    for (int32_t k = 0, next; k < c->running_count && budget > 0; k = next) {
        struct request *request;
        int32_t tokens;

        next = k;
        if (!c->blocks) {
            next = plan_decodes(c, &c->batch, k, budget);
            budget -= next - k;
            if (budget == 0 || next == c->running_count)
                break;
        }
        request = &c->requests[c->running[next]];
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

    table_reserve(c, table, continuous_blocks(c, request->end));
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
    int32_t index = queue_take(c), cached = admission->hits * c->options.block_tokens;
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

static void plan_waiting(struct continuous *c, int32_t budget)
{
    while (c->waiting_count > 0 && budget > 0 && c->running_count < c->options.max_seqs) {
        struct admission admission;

        if (!continuous_plan_admission(c, &c->requests[c->waiting_head], budget, &admission))
            break;
        admit(c, &admission);
        budget -= admission.tokens;
        c->batch.tokens += admission.tokens;
    }
}

/* ---- a step ---- */

static void count_step(struct continuous *c)
{
    struct continuous_counts *counts = &c->counts;
    int32_t used = continuous_used_blocks(c);

    counts->steps += c->batch.count > 0;
    counts->tokens += c->batch.tokens;
    counts->sequences += c->batch.count;
    if (c->running_count > counts->running_peak)
        counts->running_peak = c->running_count;
    if (used > counts->blocks_peak)
        counts->blocks_peak = used;
}

const struct continuous_batch *continuous_schedule(struct continuous *c)
{
    int64_t preemptions = c->counts.preemptions;
    int32_t budget;

    c->batch = (struct continuous_batch){ .entries = c->entries };
    budget = plan_running(c);
    c->batch.tokens = c->options.token_budget - budget;
    if (c->counts.preemptions == preemptions)
        plan_waiting(c, budget);
    count_step(c);
    return &c->batch;
}

void continuous_finish(struct continuous *c)
{
    struct request *requests = c->requests;
    int32_t *running = c->running;
    int32_t count = c->running_count, kept = 0;

    c->ends.finished_count = 0;
    for (int32_t k = 0; k < count; k++) {
        int32_t index = running[k];
        struct request *request = &requests[index];

        if (request->reached < request->end) {
            running[kept++] = index;
            continue;
        }
        c->finished[c->ends.finished_count++] = request->tag;
        release_all(c, request);
        request->next = c->first_free;
        c->first_free = index;
    }
    c->running_count = kept;
}

/* It has caught up: one token more. */
static void catch_up(struct continuous *c, struct request *request)
{
    request->reached++;
    c->catching_up--;
    request->is_decoding = true;
    if (request->reached == request->prompt + 1)
        c->firsts[c->ends.first_count++] = request->tag;
}

const struct continuous_ends *continuous_step_done(struct continuous *c)
{
    const struct continuous_entry *entries = c->entries;
    struct request *requests = c->requests;
    int32_t count = c->batch.count;
    bool has_finished = false;

    c->ends.first_count = c->ends.finished_count = 0;
    for (int32_t i = 0; i < count; i++) {
        struct request *request = &requests[entries[i].request];

        request->computed += entries[i].tokens;
        if (request->is_decoding)
            request->reached++;
        else if (request->computed == request->reached)
            catch_up(c, request);
        has_finished = has_finished || request->reached == request->end;
    }
    c->work_tokens -= c->batch.tokens;
    c->batch.count = c->batch.tokens = 0;
    if (has_finished)
        continuous_finish(c);
    return &c->ends;
}

/* ---- what is here ---- */

bool continuous_is_idle(const struct continuous *c)
{
    return c->running_count == 0 && c->waiting_count == 0;
}

int32_t continuous_running(const struct continuous *c)
{
    return c->running_count;
}

int32_t continuous_waiting(const struct continuous *c)
{
    return c->waiting_count;
}

int32_t continuous_used_blocks(const struct continuous *c)
{
    return c->options.block_count - continuous_free(c);
}

int64_t continuous_work_tokens(const struct continuous *c)
{
    return c->work_tokens;
}

const struct continuous_counts *continuous_counts(const struct continuous *c)
{
    return &c->counts;
}
