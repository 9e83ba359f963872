/* sliced.c - one device's way through the passes of a stage that it shares. */
#include "runner/worker/sliced.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/ring.h"
#include "lib/base/units.h"
#include "lib/policy/batch.h"
#include "lib/policy/exchange.h"
#include "runner/setup/setup.h"
#include "runner/worker/beat.h"
#include "runner/worker/internal.h"
#include "runner/worker/kv.h"
#include "runner/worker/pad.h"
#include "runner/worker/parts.h"
#include "runner/worker/shard.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define TAG_BYTES 8 /* in front of a message's words: which step of the pass, which message */
#define GONE_MOST 64
#define NOBODY (-1)

struct mine { /* messages of a step that this device sends or takes, in order */
    int32_t count;
    const struct exchange *exchange;
    int32_t *messages;
};

struct sliced {
    struct worker *worker;
    int index;
    const struct setup_stage *setup;
    struct parts *parts;
    const struct pass *pass;
    struct kv_pool *kv;           /* NULL without layers */
    struct mine *mine;            /* by step */
    int32_t *piece_of, *steps_of; /* by step: this device's piece; by ordinal: the step ... */
    int32_t *repeats_of;          /* ... and how many like it lie before it */
    int32_t ordinal_count;
    struct ring waiting; /* jobs: steps that have not begun; the first device's alone */
    int32_t *held;       /* jobs: messages of exchanges that are not taken yet */
    int held_count, held_room;
    int64_t next_number; /* of the pass that runs, or comes next */
    bool is_running, has_queued, is_late;
    bool is_released;  /* the cache of its request goes when the pass ends */
    struct frame step; /* what is being computed */
    const struct forward_kv *caches;
    int32_t ordinal, at; /* at: of mine in this step */
    int64_t sent_ns, received_ns, start_ns, finish_ns;
    unsigned char *words; /* a message: tag and words */
    /* requests that ended before their first step has come here: one device is ahead of another */
    int64_t gone[GONE_MOST];
    int gone_at;
    unsigned char *told; /* messages taken in this pass, as RECORD tells of them */
    int told_count;
};

/* ---- before the run ---- */

/* In order of slots; in a slot what is sent goes first: nobody waits in a circle. */
static struct mine mine_of(struct arena *arena, const struct exchange *exchange, int32_t member)
{
    struct mine mine = {
        0, exchange, arena_array(arena, (size_t)exchange->message_count + 1, sizeof *mine.messages)
    };

    for (int32_t slot = 0; slot < exchange->slot_count; slot++)
        for (int turn = 0; turn < 2; turn++)
            for (int32_t i = 0; i < exchange->message_count; i++) {
                const struct exchange_message *message = &exchange->messages[i];

                if (message->slot == slot && (turn == 0 ? message->from : message->to) == member)
                    mine.messages[mine.count++] = i;
            }
    return mine;
}

static void find_mine(struct arena *arena, struct sliced *sliced)
{
    const struct pass *pass = sliced->pass;

    for (int32_t s = 0; s < pass->step_count; s++) {
        const struct pass_step *step = &pass->steps[s];

        sliced->piece_of[s] = -1;
        for (int32_t i = 0; i < step->count; i++) {
            if (step->kind == PASS_COMPUTE) {
                if (pass->pieces[step->first + i].position == sliced->setup->position)
                    sliced->piece_of[s] = step->first + i;
            } else if (pass->members[step->first + i].position == sliced->setup->position) {
                sliced->mine[s] = mine_of(
                    arena, exchange_build(arena, pass, step, sliced->worker->setup->collective), i);
            }
        }
    }
}

static void write_out(struct arena *arena, struct sliced *sliced)
{
    const struct pass *pass = sliced->pass;
    int32_t at = 0;

    for (int32_t s = 0; s < pass->segment_count; s++)
        sliced->ordinal_count += pass->segments[s].step_count * pass->segments[s].repeats;
    sliced->steps_of = arena_array(arena, (size_t)sliced->ordinal_count + 1, sizeof(int32_t));
    sliced->repeats_of = arena_array(arena, (size_t)sliced->ordinal_count + 1, sizeof(int32_t));
    for (int32_t s = 0; s < pass->segment_count; s++)
        for (int32_t r = 0; r < pass->segments[s].repeats; r++)
            for (int32_t i = 0; i < pass->segments[s].step_count; i++) {
                sliced->steps_of[at] = pass->segments[s].first_step + i;
                sliced->repeats_of[at++] = r;
            }
}

/* Of the messages of a pass those that come here; another pass may have begun meanwhile. */
static int most_held(const struct sliced *sliced)
{
    int count = 0;

    for (int32_t i = 0; i < sliced->ordinal_count; i++)
        count += sliced->mine[sliced->steps_of[i]].count;
    return 2 * count + 2;
}

struct sliced *sliced_create(struct worker *worker, int index)
{
    struct arena *arena = worker->arena;
    struct sliced *sliced = arena_alloc(arena, sizeof *sliced);

    sliced->worker = worker;
    sliced->index = index;
    sliced->setup = &worker->setup->stages[index];
    sliced->parts = shard_parts(worker->shard, index);
    sliced->kv = shard_caches(worker->shard, index);
    sliced->pass = parts_pass(sliced->parts);
    sliced->mine = arena_array(arena, (size_t)sliced->pass->step_count + 1, sizeof *sliced->mine);
    sliced->piece_of = arena_array(arena, (size_t)sliced->pass->step_count + 1, sizeof(int32_t));
    find_mine(arena, sliced);
    write_out(arena, sliced);
    for (int i = 0; i < GONE_MOST; i++)
        sliced->gone[i] = NOBODY;
    sliced->held_room = most_held(sliced);
    sliced->held = arena_array(arena, (size_t)sliced->held_room, sizeof *sliced->held);
    sliced->words = arena_alloc(
        arena,
        (size_t)sliced_message_bytes(&worker->setup->models[worker->setup->stages[index].model]));
    sliced->told =
        arena_alloc(arena, FRAME_TOLD_BYTES * (size_t)sliced->held_room + FRAME_RECORD_BYTES);
    return sliced;
}

int64_t sliced_message_bytes(const struct setup_model *model)
{
    return TAG_BYTES + parts_message_bytes(model);
}

/* ---- messages in ---- */

static struct channel_message *message_of(const struct sliced *sliced, int32_t job)
{
    return &sliced->worker->jobs[job]->message;
}

bool sliced_receive(struct sliced *sliced, int32_t job)
{
    const struct frame *frame = &message_of(sliced, job)->frame;

    if (frame->type == FRAME_STEP && sliced->setup->position == 0) {
        ring_push(&sliced->waiting, sliced->worker->arena, job);
        return true;
    }
    if (frame->type != FRAME_PART || frame->payload_bytes < TAG_BYTES ||
        frame->finish_ns < sliced->next_number || sliced->held_count == sliced->held_room)
        return false;
    sliced->held[sliced->held_count++] = job;
    return true;
}

static void job_drop(struct sliced *sliced, int32_t job)
{
    channel_message_close(message_of(sliced, job));
    worker_free_job(sliced->worker, job);
}

/* A held message of the pass: of that step and number, or, with ordinal -1, any. */
static int find_held(const struct sliced *sliced, int32_t ordinal, int32_t number)
{
    for (int i = 0; i < sliced->held_count; i++) {
        const struct channel_message *message = message_of(sliced, sliced->held[i]);
        int32_t tag[2];

        frame_get_words(tag, message->payload, 2);
        if (message->frame.finish_ns == sliced->next_number &&
            (ordinal < 0 || (tag[0] == ordinal && tag[1] == number)))
            return i;
    }
    return -1;
}

/* ---- a pass begins and ends ---- */

static bool refuse(struct sliced *sliced, const struct frame *step, struct err *err)
{
    struct frame refusal = { .type = FRAME_REFUSE, .stage = step->stage, .request = step->request };

    return worker_send(sliced->worker, sliced->worker->control, &refusal, NULL, false, err);
}

/* The caches of the step's request. A request may have ended meanwhile, or there may be no memory
 * for it: the first device drops it then. The others are awaited by somebody: they compute it in
 * the spare caches, and nobody reads the result. */
static bool find_caches(struct sliced *sliced, const struct frame *step, bool *is_dropped,
                        struct err *err)
{
    bool is_first = sliced->setup->position == 0;
    const struct forward_kv *caches;

    *is_dropped = false;
    sliced->caches = NULL;
    if (!sliced->kv)
        return true;
    caches = kv_pool_find(sliced->kv, step->request);
    if (!caches && step->past_tokens > 0) {
        *is_dropped = is_first;
    } else if (!caches) {
        caches = kv_pool_take(sliced->kv, step->request, step->total_tokens);
        *is_dropped = !caches && is_first;
        if (!caches && !refuse(sliced, step, err))
            return false;
    }
    sliced->caches = caches ? caches : kv_pool_find(sliced->kv, SHARD_SPARE_REQUEST);
    return sliced->caches->capacity >= step->past_tokens + step->new_tokens ||
           err_set(err, ERR_INPUT, "stage %d: request %" PRId64 " outgrew its cache of %d tokens",
                   step->stage, step->request, sliced->caches->capacity);
}

static bool is_gone(const struct sliced *sliced, int64_t request)
{
    for (int i = 0; i < GONE_MOST; i++)
        if (sliced->gone[i] == request)
            return true;
    return false;
}

/* The step is sound; is_dropped: nobody wants it any more. */
static bool begin(struct sliced *sliced, const struct frame *step, bool *is_dropped,
                  struct err *err)
{
    if (!shard_step_ok(sliced->worker->shard, sliced->index, step, err) ||
        !find_caches(sliced, step, is_dropped, err))
        return false;
    if (*is_dropped)
        return true;
    sliced->step = *step;
    sliced->is_running = true;
    sliced->has_queued = sliced->is_late = false;
    sliced->is_released = is_gone(sliced, step->request);
    sliced->ordinal = sliced->at = sliced->told_count = 0;
    sliced->start_ns = sliced->finish_ns = 0;
    return true;
}

/* One of the two tensors that cross a border inside a layer. */
static struct shard_tensor output_at(const struct sliced *sliced, struct setup_border border)
{
    return (struct shard_tensor){ border.is_heads ? parts_heads(sliced->parts)
                                                  : parts_columns(sliced->parts),
                                  (int64_t)sliced->step.new_tokens * border.output };
}

static struct shard_tensor residual_at(const struct sliced *sliced, struct setup_border border)
{
    return (struct shard_tensor){ parts_state(sliced->parts),
                                  (int64_t)sliced->step.new_tokens * border.residual };
}

static const struct model *model_of(const struct sliced *sliced)
{
    return &sliced->worker->setup->models[sliced->setup->model].model;
}

static bool take_input(struct sliced *sliced, const struct channel_message *message,
                       struct err *err)
{
    struct shard *shard = sliced->worker->shard;
    struct setup_border border = setup_border_in(sliced->setup, model_of(sliced));
    void *to =
        sliced->setup->has_embed ? (void *)parts_tokens(sliced->parts) : parts_state(sliced->parts);

    if (border.residual == 0)
        return shard_input(shard, sliced->index, &message->frame, message->payload, to, err);
    return shard_input_two(shard, sliced->index, &message->frame, message->payload,
                           output_at(sliced, border), residual_at(sliced, border), err);
}

static bool begin_step(struct sliced *sliced, int32_t job, struct err *err)
{
    const struct channel_message *message = message_of(sliced, job);
    int64_t begun_ns = clock_now_ns();
    bool is_dropped = false;
    bool ok =
        (message->frame.entries == 0 ||
         err_set(err, ERR_INPUT, "stage %d: a batch for several devices", sliced->setup->id)) &&
        begin(sliced, &message->frame, &is_dropped, err) &&
        (is_dropped || take_input(sliced, message, err));

    if (sliced->setup->wire_bits_in > 0) /* restoring values is part of what it computes */
        sliced->start_ns = begun_ns;
    sliced->sent_ns = message->frame.start_ns;
    sliced->received_ns = sliced->worker->jobs[job]->receive_ns;
    job_drop(sliced, job);
    worker_owe(sliced->worker, sliced->index);
    return ok;
}

/* True in *is_running: there is a pass. */
static bool begin_next(struct sliced *sliced, struct err *err)
{
    bool is_dropped;
    int held;

    if (sliced->setup->position > 0) {
        held = find_held(sliced, -1, 0);
        sliced->sent_ns = sliced->received_ns = 0;
        return held < 0 ||
               begin(sliced, &message_of(sliced, sliced->held[held])->frame, &is_dropped, err);
    }
    while (!sliced->is_running && sliced->waiting.count > 0)
        if (!begin_step(sliced, ring_take(&sliced->waiting), err))
            return false;
    return true;
}

static bool send_record(struct sliced *sliced, struct err *err)
{
    struct frame frame = sliced->step;
    int told = sliced->worker->setup->tells_exchanges ? sliced->told_count : 0;

    frame_put_int64(sliced->told, sliced->sent_ns);
    frame_put_int64(sliced->told + 8, sliced->received_ns);
    frame_put_int64(sliced->told + 16, sliced->is_late ? 1 : 0);
    frame.type = FRAME_RECORD;
    frame.stage = sliced->setup->id;
    frame.start_ns = sliced->start_ns;
    frame.finish_ns = sliced->finish_ns;
    frame.payload_bytes = FRAME_RECORD_BYTES + (int64_t)FRAME_TOLD_BYTES * told;
    return worker_send(sliced->worker, sliced->worker->control, &frame, sliced->told, false, err);
}

/* The last device's token, or activations; coding them is part of what the first device computes.
 */
static bool send_output(struct sliced *sliced, struct err *err)
{
    struct worker *worker = sliced->worker;
    struct setup_border border = setup_border_out(sliced->setup, model_of(sliced));
    int32_t token = parts_token(sliced->parts);
    struct shard_output output = { &token, sizeof token, 1 };

    if (!sliced->setup->is_last && border.residual > 0)
        output = shard_pack_two(worker->shard, sliced->index, output_at(sliced, border),
                                residual_at(sliced, border));
    else if (!sliced->setup->is_last)
        output = shard_pack(worker->shard, sliced->index, parts_state(sliced->parts),
                            (int64_t)sliced->step.new_tokens * border.output);
    if (sliced->setup->wire_bits > 0)
        sliced->finish_ns = clock_now_ns();
    return worker_send_output(worker, sliced->index, &sliced->step, output.words,
                              (int64_t)output.bytes, err);
}

static bool end(struct sliced *sliced, struct err *err)
{
    if (sliced->setup->position == 0 && !sliced->is_released && !send_output(sliced, err))
        return false;
    if (!send_record(sliced, err))
        return false;
    if (sliced->is_released)
        shard_release_stage(sliced->worker->shard, sliced->index, sliced->step.request);
    sliced->is_running = false;
    sliced->next_number++;
    return true;
}

/* ---- on the way ---- */

static int32_t tokens_of(const struct sliced *sliced)
{
    return sliced->step.new_tokens;
}

static bool send_message(struct sliced *sliced, const struct pass_step *step, int32_t number,
                         const struct exchange_message *message, struct err *err)
{
    int32_t to = sliced->pass->members[step->first + message->to].position;
    const int32_t tag[2] = { sliced->ordinal, number };
    struct frame frame = sliced->step;

    frame.type = FRAME_PART;
    frame.stage = sliced->setup->id;
    frame.payload_bytes =
        TAG_BYTES + exchange_bytes(sliced->pass, step, message, tokens_of(sliced), 1);
    frame.start_ns = clock_now_ns();
    frame.finish_ns = sliced->next_number;
    memcpy(sliced->words, tag, TAG_BYTES);
    parts_take(sliced->parts, step, message, tokens_of(sliced), sliced->words + TAG_BYTES);
    return worker_send(sliced->worker, worker_find_peer(sliced->worker, sliced->setup->workers[to]),
                       &frame, sliced->words, true, err);
}

static void tell(struct sliced *sliced, int32_t from, const struct channel_message *message,
                 int64_t receive_ns)
{
    unsigned char *to =
        sliced->told + FRAME_RECORD_BYTES + (ptrdiff_t)FRAME_TOLD_BYTES * sliced->told_count++;

    frame_put_int64(to, from);
    frame_put_int64(to + 8, message->frame.payload_bytes - TAG_BYTES);
    frame_put_int64(to + 16, message->frame.start_ns);
    frame_put_int64(to + 24, receive_ns);
}

/* *is_there: it has come, and is taken. */
static bool take_message(struct sliced *sliced, const struct pass_step *step, int32_t number,
                         const struct exchange_message *message, bool *is_there, struct err *err)
{
    int held = find_held(sliced, sliced->ordinal, number);
    int32_t from = sliced->pass->members[step->first + message->from].position, job;
    const struct channel_message *held_message;

    *is_there = held >= 0;
    if (held < 0)
        return true;
    job = sliced->held[held];
    held_message = message_of(sliced, job);
    if (held_message->frame.payload_bytes !=
        TAG_BYTES + exchange_bytes(sliced->pass, step, message, tokens_of(sliced), 1))
        return err_set(err, ERR_INPUT,
                       "stage %d: a message of %" PRId64 " bytes in a step of %d tokens",
                       sliced->setup->id, held_message->frame.payload_bytes, tokens_of(sliced));
    frame_get_words(sliced->words, held_message->payload,
                    (size_t)held_message->frame.payload_bytes / 4);
    parts_put(sliced->parts, step, message, tokens_of(sliced), sliced->words + TAG_BYTES);
    tell(sliced, from, held_message, sliced->worker->jobs[job]->receive_ns);
    sliced->held[held] = sliced->held[--sliced->held_count];
    job_drop(sliced, job);
    return true;
}

/* *is_through: all that this device sends and needs in this step. */
static bool exchange_on(struct sliced *sliced, int32_t step_number, bool *is_through,
                        struct err *err)
{
    const struct mine *mine = &sliced->mine[step_number];
    const struct pass_step *step = &sliced->pass->steps[step_number];

    if (sliced->at == 0)
        parts_enter(sliced->parts, step, tokens_of(sliced));
    for (*is_through = true; sliced->at < mine->count; sliced->at++) {
        int32_t number = mine->messages[sliced->at];
        const struct exchange_message *message = &mine->exchange->messages[number];

        if (sliced->pass->members[step->first + message->from].position ==
            sliced->setup->position) {
            if (!send_message(sliced, step, number, message, err))
                return false;
            continue;
        }
        if (!take_message(sliced, step, number, message, is_through, err))
            return false;
        if (!*is_through)
            return true;
    }
    sliced->at = 0;
    return true;
}

/* A piece becomes a job of the worker. */
static void queue_piece(struct sliced *sliced, int32_t piece)
{
    int32_t number = worker_new_job(sliced->worker);
    struct job *job = sliced->worker->jobs[number];

    job->stage = sliced->index;
    job->piece = piece;
    job->receive_ns = clock_now_ns();
    sliced->has_queued = true;
    batch_push(sliced->worker->queue, number);
}

/* Until it has to wait for the processor or a message, or its pass ends. */
static bool walk(struct sliced *sliced, struct err *err)
{
    while (sliced->ordinal < sliced->ordinal_count) {
        int32_t step_number = sliced->steps_of[sliced->ordinal];
        int32_t piece = sliced->piece_of[step_number];
        bool is_through = true;

        if (piece >= 0 &&
            pass_range_tokens(&sliced->pass->pieces[piece].range, tokens_of(sliced)) > 0) {
            queue_piece(sliced, piece);
            return true;
        }
        if (piece < 0 && sliced->mine[step_number].count > 0 &&
            !exchange_on(sliced, step_number, &is_through, err))
            return false;
        if (!is_through)
            return true;
        sliced->ordinal++;
    }
    return end(sliced, err);
}

bool sliced_advance(struct sliced *sliced, struct err *err)
{
    do {
        if (!sliced->is_running && !begin_next(sliced, err))
            return false;
        if (!sliced->is_running || sliced->has_queued)
            return true;
        if (!walk(sliced, err))
            return false;
    } while (!sliced->is_running);
    return true;
}

bool sliced_compute(struct sliced *sliced, int32_t piece, struct err *err)
{
    struct worker *worker = sliced->worker;
    const struct parts_step step = { tokens_of(sliced), sliced->step.past_tokens, sliced->caches };
    int64_t start_ns = clock_now_ns(), price_ps;
    bool is_wanted = true, is_late = false, ok = true;

    beat_set_busy(worker->beat, true);
    parts_compute(sliced->parts, &sliced->pass->pieces[piece], sliced->repeats_of[sliced->ordinal],
                  &step);
    if (worker->pad)
        ok = pad_price_piece(worker->pad, sliced->index, piece, step.tokens, step.past, &price_ps,
                             err) &&
             worker_wait_for(worker, sliced->step.request, start_ns + price_ps / UNITS_PS_PER_NS,
                             &is_wanted, &is_late, err);
    beat_set_busy(worker->beat, false);
    sliced->start_ns = sliced->start_ns > 0 ? sliced->start_ns : start_ns;
    sliced->finish_ns = clock_now_ns();
    sliced->is_late = sliced->is_late || is_late;
    sliced->has_queued = false;
    sliced->ordinal++;
    return ok;
}

bool sliced_keeps(struct sliced *sliced, int64_t request)
{
    for (uint32_t left = sliced->waiting.count; left > 0; left--) { /* what has not begun goes */
        int32_t job = ring_take(&sliced->waiting);

        if (message_of(sliced, job)->frame.request == request) {
            job_drop(sliced, job);
            worker_owe(sliced->worker, sliced->index);
        } else {
            ring_push(&sliced->waiting, sliced->worker->arena, job);
        }
    }
    if (sliced->is_running && sliced->step.request == request) {
        sliced->is_released = true;
        return true;
    }
    if (sliced->kv && !kv_pool_find(sliced->kv, request)) {
        sliced->gone[sliced->gone_at] = request;
        sliced->gone_at = (sliced->gone_at + 1) % GONE_MOST;
    }
    return false;
}

void sliced_close(struct sliced *sliced)
{
    while (sliced->waiting.count > 0)
        job_drop(sliced, ring_take(&sliced->waiting));
    while (sliced->held_count > 0)
        job_drop(sliced, sliced->held[--sliced->held_count]);
}
