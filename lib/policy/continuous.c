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

/* Each batch in flight has entries of its own. */
static void create_in_flight(struct continuous *c)
{
    size_t count = (size_t)c->options.max_in_flight, max_seqs = (size_t)c->options.max_seqs;

    c->in_flight = arena_array(c->arena, count, sizeof *c->in_flight);
    for (size_t i = 0; i < count; i++)
        c->in_flight[i].entries = arena_array(c->arena, max_seqs, sizeof *c->entries);
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
    if (options->hands_over)
        c->fetches = arena_array(arena, max_seqs, sizeof *c->fetches);
    if (options->max_in_flight > 1)
        create_in_flight(c);
    if (options->key) {
        create_cache(c);
    } else if (options->long_prefill_tokens == 0 && !c->in_flight && !options->hands_over) {
        c->phases = arena_array(arena, (size_t)options->block_tokens, sizeof *c->phases);
        c->leaving = arena_array(arena, max_seqs, sizeof *c->leaving);
    }
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

static struct request *join(struct continuous *c, int32_t prompt_tokens, int32_t output_tokens,
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
    return &c->requests[index];
}

void continuous_arrive(struct continuous *c, int32_t prompt_tokens, int32_t output_tokens,
                       int64_t tag)
{
    (void)join(c, prompt_tokens, output_tokens, tag);
}

void continuous_arrive_kept(struct continuous *c, int32_t prompt_tokens, int64_t tag)
{
    assert(c->options.hands_over);
    join(c, prompt_tokens, 1, tag)->is_kept = true;
}

void continuous_arrive_cached(struct continuous *c, int32_t prompt_tokens, int32_t output_tokens,
                              int64_t tag)
{
    struct request *request = join(c, prompt_tokens, output_tokens, tag);

    assert(c->options.hands_over && output_tokens >= 2);
    request->is_cached = request->has_run = true;
    request->computed = prompt_tokens;
    request->reached++;
    c->work_tokens -= prompt_tokens;
}

void continuous_queue_head(struct continuous *c, int32_t index)
{
    c->requests[index].next = c->waiting_head;
    if (c->waiting_head == NO_REQUEST)
        c->waiting_tail = index;
    c->waiting_head = index;
    count_waiting(c);
}

int32_t continuous_queue_take(struct continuous *c)
{
    int32_t index = c->waiting_head;

    c->waiting_head = c->requests[index].next;
    if (c->waiting_head == NO_REQUEST)
        c->waiting_tail = NO_REQUEST;
    c->waiting_count--;
    return index;
}

/* ---- blocks of requests ---- */

void continuous_reserve_table(struct continuous *c, struct block_table *table, int32_t count)
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
void continuous_release(struct continuous *c, struct request *request)
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

void continuous_keep(struct continuous *c, struct request *request)
{
    struct kept *kept;

    if (c->kept_count == c->kept_room) {
        int32_t room = c->kept_room > 0 ? 2 * c->kept_room : FIRST_ROOM;

        c->kept =
            arena_grow(c->arena, c->kept, (size_t)c->kept_room, (size_t)room, sizeof *c->kept);
        c->kept_room = room;
    }
    kept = &c->kept[c->kept_count++];
    kept->tag = request->tag;
    kept->count = request->block_count;
    if (c->blocks) {
        const int32_t *blocks = c->tables[request->table].blocks;

        if (kept->count > kept->room) {
            int32_t room = 2 * kept->count;

            kept->blocks = arena_grow(c->arena, kept->blocks, (size_t)kept->room, (size_t)room,
                                      sizeof *kept->blocks);
            kept->room = room;
        }
        for (int32_t i = 0; i < kept->count; i++)
            kept->blocks[i] = blocks[i];
        c->free_tables[c->free_table_count++] = request->table;
    }
    request->block_count = request->room = request->named = 0;
}

void continuous_sent(struct continuous *c, int64_t tag)
{
    int32_t at = 0;
    struct kept kept;

    while (at < c->kept_count && c->kept[at].tag != tag)
        at++;
    assert(at < c->kept_count);
    kept = c->kept[at];
    for (int32_t i = kept.count - 1; i >= 0 && c->blocks; i--)
        blocks_release(c->blocks, kept.blocks[i]);
    if (!c->blocks)
        c->free_blocks += kept.count;
    c->kept[at] = c->kept[--c->kept_count];
    c->kept[c->kept_count] = kept; /* its room is used again */
}

void continuous_drop_kept(struct continuous *c)
{
    while (c->kept_count > 0)
        continuous_sent(c, c->kept[0].tag);
}

static void count_held(struct continuous *c)
{
    struct continuous_counts *counts = &c->counts;
    int32_t used = continuous_used_blocks(c);

    if (c->running_count > counts->running_peak)
        counts->running_peak = c->running_count;
    if (used > counts->blocks_peak)
        counts->blocks_peak = used;
}

/* It takes its place, for the blocks of all that exists of it. */
static bool fetch_head(struct continuous *c)
{
    struct request *request = &c->requests[c->waiting_head];
    int32_t need = continuous_blocks(c, request->reached);

    if (!request->is_cached || c->running_count == c->options.max_seqs || need > continuous_free(c))
        return false;
    c->running[c->running_count++] = continuous_queue_take(c);
    c->catching_up++;
    if (c->blocks) {
        request->table = c->free_tables[--c->free_table_count];
        continuous_reserve_table(c, &c->tables[request->table], continuous_blocks(c, request->end));
    }
    continuous_take(c, request, need);
    request->is_cached = false;
    request->is_in_flight = true;
    c->counts.admissions++;
    return true;
}

int32_t continuous_fetch(struct continuous *c, const int64_t **tags)
{
    int32_t count = 0;

    while (c->options.hands_over && c->waiting_count > 0 && fetch_head(c))
        c->fetches[count++] = c->requests[c->running[c->running_count - 1]].tag;
    if (count > 0)
        count_held(c);
    *tags = c->fetches;
    return count;
}

void continuous_fetched(struct continuous *c, int64_t tag)
{
    int32_t k = 0;

    while (k < c->running_count && c->requests[c->running[k]].tag != tag)
        k++;
    assert(k < c->running_count);
    c->requests[c->running[k]].is_in_flight = false;
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

int32_t continuous_remove_running(struct continuous *c, int32_t at)
{
    int32_t index = c->running[at];

    c->running_count--;
    for (int32_t k = at; k < c->running_count; k++)
        c->running[k] = c->running[k + 1];
    return index;
}

/* ---- a step ---- */

static void count_step(struct continuous *c)
{
    struct continuous_counts *counts = &c->counts;

    counts->steps += c->batch.count > 0;
    counts->tokens += c->batch.tokens;
    counts->sequences += c->batch.count;
    count_held(c);
}

/* Those in flight in order of planning, and the free ones behind them. */
static struct batch_in_flight *in_flight_at(struct continuous *c, int32_t number)
{
    int32_t at = c->first_in_flight + number, room = c->options.max_in_flight;

    return &c->in_flight[at < room ? at : at - room];
}

static const struct continuous_batch *in_flight_add(struct continuous *c)
{
    struct batch_in_flight *last = in_flight_at(c, c->in_flight_count);

    last->batch = c->batch;
    c->in_flight_count += c->batch.count > 0;
    c->batch.count = 0;
    return &last->batch;
}

static void in_flight_take(struct continuous *c)
{
    const struct batch_in_flight *first = in_flight_at(c, 0);

    assert(c->in_flight_count > 0);
    c->batch = first->batch;
    c->entries = first->entries;
    c->first_in_flight++;
    if (c->first_in_flight == c->options.max_in_flight)
        c->first_in_flight = 0;
    c->in_flight_count--;
    for (int32_t i = 0; i < c->batch.count; i++)
        c->requests[c->entries[i].request].is_in_flight = false;
}

const struct continuous_batch *continuous_schedule(struct continuous *c)
{
    int64_t preemptions = c->counts.preemptions;
    int32_t budget;

    if (c->in_flight) {
        assert(c->in_flight_count < c->options.max_in_flight);
        c->entries =
            (struct continuous_entry *)(uintptr_t)in_flight_at(c, c->in_flight_count)->entries;
    }
    c->batch = (struct continuous_batch){ .entries = c->entries };
    budget = continuous_plan_running(c);
    c->batch.tokens = c->options.token_budget - budget;
    if (c->counts.preemptions == preemptions)
        continuous_plan_waiting(c, budget);
    count_step(c);
    return c->in_flight ? in_flight_add(c) : &c->batch;
}

void continuous_remove(struct continuous *c, int32_t index)
{
    struct request *request = &c->requests[index];

    c->finished[c->ends.finished_count++] = request->tag;
    if (request->is_kept)
        continuous_keep(c, request);
    else
        continuous_release(c, request);
    request->next = c->first_free;
    c->first_free = index;
}

void continuous_finish(struct continuous *c)
{
    const struct request *requests = c->requests;
    int32_t *running = c->running;
    int32_t count = c->running_count, kept, first;

    c->ends.finished_count = 0;
    first = continuous_abreast_finish(c);
    kept = c->abreast;
    for (int32_t k = first; k < count; k++) {
        int32_t index = running[k];

        if (requests[index].reached < requests[index].end)
            running[kept++] = index;
        else
            continuous_remove(c, index);
    }
    c->running_count = kept;
}

/* It has caught up: one token more. */
static void catch_up(struct continuous *c, struct request *request)
{
    request->reached++;
    c->catching_up--;
    c->counts.made_tokens++;
    request->is_decoding = true;
    if (request->reached == request->prompt + 1)
        c->firsts[c->ends.first_count++] = request->tag;
}

const struct continuous_ends *continuous_step_done(struct continuous *c)
{
    const struct continuous_entry *entries;
    struct request *requests = c->requests;
    bool has_finished = false;
    int32_t count;

    if (c->in_flight)
        in_flight_take(c);
    entries = c->entries;
    count = c->batch.entry_count;
    c->ends.first_count = c->ends.finished_count = 0;
    if (c->planned > 0) {
        c->clock++;
        c->counts.made_tokens += c->planned;
        has_finished = c->clock == c->abreast_due;
    }
    for (int32_t i = c->listed; i < count; i++) {
        struct request *request = &requests[entries[i].request];

        request->computed += entries[i].tokens;
        if (request->is_decoding) {
            request->reached++;
            c->counts.made_tokens++;
        } else if (request->computed == request->reached) {
            catch_up(c, request);
        }
        has_finished = has_finished || request->reached == request->end;
    }
    c->work_tokens -= c->batch.tokens;
    c->batch.count = c->batch.entry_count = c->batch.tokens = 0;
    if (has_finished)
        continuous_finish(c);
    if (c->phases)
        continuous_line_up(c);
    return &c->ends;
}

bool continuous_lose(struct continuous *c, int64_t *tag)
{
    int32_t index;
    struct request *request;

    if (c->planned > 0 && c->batch.count > 0) /* what the planned step has taken for them */
        c->free_blocks += (int32_t)continuous_abreast_blocks(c, 1);
    continuous_scatter(c);
    c->planned = c->listed = c->in_flight_count = 0;
    c->batch.count = c->batch.entry_count = c->batch.tokens = 0;
    if (c->running_count > 0) {
        index = continuous_remove_running(c, 0);
        c->catching_up -= !c->requests[index].is_decoding;
        continuous_release(c, &c->requests[index]);
    } else if (c->waiting_count > 0) {
        index = continuous_queue_take(c);
    } else {
        return false;
    }
    request = &c->requests[index];
    c->work_tokens -= request->end - 1 - request->computed;
    c->counts.lost_tokens += request->reached - request->prompt;
    request->next = c->first_free;
    c->first_free = index;
    *tag = request->tag;
    return true;
}

/* ---- what is here ---- */

bool continuous_is_idle(const struct continuous *c)
{
    return c->running_count == 0 && c->waiting_count == 0 && c->kept_count == 0;
}

int32_t continuous_in_flight(const struct continuous *c)
{
    return c->in_flight ? c->in_flight_count : c->batch.count > 0;
}

int32_t continuous_running(const struct continuous *c)
{
    return c->running_count;
}

int64_t continuous_running_tag(const struct continuous *c, int32_t k)
{
    return c->requests[c->running[k]].tag;
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
