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
#include "runner/worker/sliced_internal.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages in ---- */

struct channel_message *sliced_message_of(const struct sliced *sliced, int32_t job)
{
    return &sliced->worker->jobs[job]->message;
}

void sliced_push(struct sliced *sliced, int32_t job)
{
    ring_push(&sliced->waiting, sliced->worker->arena, job);
}

bool sliced_receive(struct sliced *sliced, int32_t job)
{
    const struct frame *frame = &sliced_message_of(sliced, job)->frame;

    if (frame->type == FRAME_STEP && sliced->setup->position == 0) {
        sliced_push(sliced, job);
        return true;
    }
    if (frame->type != FRAME_PART || frame->payload_bytes < SLICED_TAG_BYTES ||
        (!sliced->is_void && frame->finish_ns < sliced->next_number) ||
        sliced->held_count == sliced->held_room)
        return false;
    sliced->held[sliced->held_count++] = job;
    return true;
}

void sliced_drop_job(struct sliced *sliced, int32_t job)
{
    channel_message_close(sliced_message_of(sliced, job));
    worker_free_job(sliced->worker, job);
}

/* A held message of the pass: of that step and number, or, with ordinal -1, any. */
int sliced_find_held(const struct sliced *sliced, int32_t ordinal, int32_t number)
{
    for (int i = 0; i < sliced->held_count; i++) {
        const struct channel_message *message = sliced_message_of(sliced, sliced->held[i]);
        int32_t tag[2];

        frame_get_words(tag, message->payload, 2);
        if (message->frame.finish_ns == sliced->next_number &&
            (ordinal < 0 || (tag[0] == ordinal && tag[1] == number)))
            return i;
    }
    return -1;
}

/* ---- on the way ---- */

static int32_t tokens_of(const struct sliced *sliced)
{
    return sliced->step.new_tokens;
}

static struct parts_step step_of(const struct sliced *sliced)
{
    return (struct parts_step){ .tokens = tokens_of(sliced),
                                .sequences = sliced->sequences,
                                .past = sliced->past,
                                .counts = sliced->counts,
                                .own = sliced_is_padded(sliced) ? sliced->own : NULL,
                                .keys = sliced->keys,
                                .kv = sliced->caches };
}

/* Of a message: tag, entries, words. */
static int64_t message_bytes(const struct sliced *sliced, const struct pass_step *step,
                             const struct exchange_message *message)
{
    return SLICED_TAG_BYTES + sliced_head_bytes(&sliced->step) +
           exchange_bytes(sliced->pass, step, message, tokens_of(sliced), sliced->sequences);
}

static bool send_message(struct sliced *sliced, const struct pass_step *step, int32_t number,
                         const struct exchange_message *message, struct err *err)
{
    int32_t to = sliced->pass->members[step->first + message->to].position;
    const int32_t tag[2] = { sliced->ordinal, number };
    const struct parts_step of = step_of(sliced);
    int64_t head = sliced_head_bytes(&sliced->step);
    struct frame frame = sliced->step;

    frame.type = FRAME_PART;
    frame.stage = sliced->setup->id;
    frame.payload_bytes = message_bytes(sliced, step, message);
    frame.start_ns = clock_now_ns();
    frame.finish_ns = sliced->next_number;
    memcpy(sliced->words, tag, SLICED_TAG_BYTES);
    memcpy(sliced->words + SLICED_TAG_BYTES, sliced->head, (size_t)head);
    parts_take(sliced->parts, step, message, &of, sliced->words + SLICED_TAG_BYTES + head);
    return worker_send(sliced->worker, sliced->index,
                       worker_find_peer(sliced->worker, sliced->setup->workers[to]), &frame,
                       sliced->words, true, err);
}

static void tell(struct sliced *sliced, int32_t from, const struct channel_message *message,
                 int64_t receive_ns)
{
    unsigned char *to =
        sliced->told + FRAME_RECORD_BYTES + (ptrdiff_t)FRAME_TOLD_BYTES * sliced->told_count++;

    frame_put_int64(to, from);
    frame_put_int64(to + 8, message->frame.payload_bytes - SLICED_TAG_BYTES -
                                sliced_head_bytes(&message->frame));
    frame_put_int64(to + 16, message->frame.start_ns);
    frame_put_int64(to + 24, receive_ns);
}

/* *is_there: it has come, and is taken. */
static bool take_message(struct sliced *sliced, const struct pass_step *step, int32_t number,
                         const struct exchange_message *message, bool *is_there, struct err *err)
{
    int held = sliced_find_held(sliced, sliced->ordinal, number);
    int32_t from = sliced->pass->members[step->first + message->from].position, job;
    const struct channel_message *held_message;
    const struct parts_step of = step_of(sliced);

    *is_there = held >= 0;
    if (held < 0)
        return true;
    job = sliced->held[held];
    held_message = sliced_message_of(sliced, job);
    if (held_message->frame.payload_bytes != message_bytes(sliced, step, message))
        return err_set(err, ERR_INPUT,
                       "stage %d: a message of %" PRId64 " bytes in a step of %d tokens",
                       sliced->setup->id, held_message->frame.payload_bytes, tokens_of(sliced));
    frame_get_words(sliced->words, held_message->payload,
                    (size_t)held_message->frame.payload_bytes / 4);
    parts_put(sliced->parts, step, message, &of,
              sliced->words + SLICED_TAG_BYTES + sliced_head_bytes(&sliced->step));
    tell(sliced, from, held_message, sliced->worker->jobs[job]->receive_ns);
    if (sliced->worker->jobs[job]->receive_ns > sliced->ready_ns)
        sliced->ready_ns = sliced->worker->jobs[job]->receive_ns;
    sliced->held[held] = sliced->held[--sliced->held_count];
    sliced_drop_job(sliced, job);
    return true;
}

/* *is_through: all that this device sends and needs in this step. */
static bool exchange_on(struct sliced *sliced, int32_t step_number, bool *is_through,
                        struct err *err)
{
    const struct sliced_mine *mine = &sliced->mine[step_number];
    const struct pass_step *step = &sliced->pass->steps[step_number];
    const struct parts_step of = step_of(sliced);

    if (sliced->at == 0)
        parts_enter(sliced->parts, step, &of);
    for (*is_through = true; sliced->at < mine->count; sliced->at++) {
        int32_t number = mine->messages[sliced->at];
        const struct exchange_message *message = &mine->exchange->messages[number];

        if (sliced->pass->members[step->first + message->from].position ==
            sliced->setup->position) {
            if (!send_message(sliced, step, number, message, err))
                return false;
            *is_through = !sliced->is_void;
            if (!*is_through)
                return true;
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
    job->receive_ns = job->ready_ns = clock_now_ns();
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
    return sliced_end(sliced, err);
}

static bool is_mine(void *arg, int32_t number)
{
    const struct sliced *sliced = arg;
    const struct job *job = sliced->worker->jobs[number];

    if (job->stage != sliced->index || job->piece == WORKER_NO_PIECE)
        return false;
    worker_free_job(sliced->worker, number);
    return true;
}

/* Nothing of the stage is on the stack now. */
static void begin_anew(struct sliced *sliced)
{
    batch_remove(sliced->worker->queue, is_mine, sliced);
    sliced->is_void = sliced->is_running = sliced->has_queued = false;
    sliced->next_number = sliced->worker->generations[sliced->index] * FRAME_GENERATION_PASSES;
    for (int i = 0; i < SLICED_GONE_MOST; i++)
        sliced->gone[i] = SLICED_NOBODY;
    shard_release_all(sliced->worker->shard, sliced->index);
}

bool sliced_advance(struct sliced *sliced, struct err *err)
{
    do {
        if (sliced->is_void)
            begin_anew(sliced);
        if (sliced->setup->position_count == 1) /* sliced_run */
            return true;
        if (!sliced->is_running && !sliced_begin_next(sliced, err))
            return false;
        if (sliced->is_void)
            continue;
        if (!sliced->is_running || sliced->has_queued)
            return true;
        if (!walk(sliced, err))
            return false;
    } while (sliced->is_void || !sliced->is_running);
    return true;
}

static bool price(struct sliced *sliced, int32_t piece, int64_t *price_ps, struct err *err)
{
    struct pad *pad = sliced->worker->pad;

    if (sliced->step.entries > 0)
        return pad_price_piece_batch(pad, sliced->index, piece, sliced->own, sliced->past,
                                     sliced->sequences, price_ps, err);
    return pad_price_piece(pad, sliced->index, piece, sliced->counts[0], sliced->past[0], price_ps,
                           err);
}

/* An emulated device loses no time between pieces: the next one starts when the last has had to
 * end, and what it needs has come, however long this machine takes from one to the next. */
static int64_t find_start(const struct sliced *sliced)
{
    const struct worker *worker = sliced->worker;

    if (!worker->pad)
        return clock_now_ns();
    return sliced->ready_ns > worker->free_ns ? sliced->ready_ns : worker->free_ns;
}

bool sliced_compute(struct sliced *sliced, int32_t piece, struct err *err)
{
    struct worker *worker = sliced->worker;
    const struct parts_step step = step_of(sliced);
    int64_t start_ns = find_start(sliced), price_ps = 0;
    bool is_wanted = true, is_late = false, ok = true;

    beat_set_busy(worker->beat, true);
    worker_begin_compute(worker, sliced->index, tokens_of(sliced));
    parts_compute(sliced->parts, &sliced->pass->pieces[piece], sliced->repeats_of[sliced->ordinal],
                  &step);
    worker_end_compute(worker, sliced->index, tokens_of(sliced));
    if (worker->pad)
        ok = price(sliced, piece, &price_ps, err) &&
             worker_wait_for(worker, sliced->index,
                             sliced->step.entries > 0 ? WORKER_NO_REQUEST : sliced->step.request,
                             start_ns + price_ps / UNITS_PS_PER_NS, &is_wanted, &is_late, err);
    beat_set_busy(worker->beat, false);
    sliced->start_ns = sliced->start_ns > 0 ? sliced->start_ns : start_ns;
    sliced->finish_ns = clock_now_ns();
    sliced->ready_ns = worker->free_ns =
        is_late || !is_wanted ? sliced->finish_ns : start_ns + price_ps / UNITS_PS_PER_NS;
    sliced->is_late = sliced->is_late || is_late;
    sliced->has_queued = false;
    sliced->ordinal++;
    return ok;
}

bool sliced_run(struct sliced *sliced, int32_t job, struct err *err)
{
    if (sliced->is_void)
        begin_anew(sliced);
    if (!(job >= 0 ? sliced_begin_step(sliced, job, err) : sliced_begin_batch(sliced, err)) ||
        !worker_grant(sliced->worker, err))
        return false;
    while (sliced->is_running && !sliced->is_void && sliced->ordinal < sliced->ordinal_count) {
        int32_t piece = sliced->piece_of[sliced->steps_of[sliced->ordinal]];

        if (piece < 0 ||
            pass_range_tokens(&sliced->pass->pieces[piece].range, tokens_of(sliced)) == 0)
            sliced->ordinal++; /* it sends itself nothing */
        else if (!sliced_compute(sliced, piece, err))
            return false;
    }
    return !sliced->is_running || sliced->is_void || sliced_end(sliced, err);
}

bool sliced_keeps(struct sliced *sliced, int64_t request)
{
    for (uint32_t left = sliced->waiting.count; left > 0; left--) { /* what has not begun goes */
        int32_t job = ring_take(&sliced->waiting);

        if (worker_is_of(sliced_message_of(sliced, job), request)) {
            sliced_drop_job(sliced, job);
            worker_owe(sliced->worker, sliced->index);
        } else {
            ring_push(&sliced->waiting, sliced->worker->arena, job);
        }
    }
    for (int32_t b = 0; sliced->is_running && b < sliced->sequences; b++)
        if (sliced->requests[b] == request) {
            sliced->is_ended[b] = true;
            return true;
        }
    if (sliced->kv && !kv_pool_find(sliced->kv, request)) {
        sliced->gone[sliced->gone_at] = request;
        sliced->gone_at = (sliced->gone_at + 1) % SLICED_GONE_MOST;
    }
    return false;
}

static void drop_messages(struct sliced *sliced)
{
    while (sliced->waiting.count > 0)
        sliced_drop_job(sliced, ring_take(&sliced->waiting));
    while (sliced->held_count > 0)
        sliced_drop_job(sliced, sliced->held[--sliced->held_count]);
}

void sliced_reset(struct sliced *sliced)
{
    drop_messages(sliced);
    sliced->is_void = true;
}

void sliced_close(struct sliced *sliced)
{
    drop_messages(sliced);
}
