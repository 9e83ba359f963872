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
    if (frame->type != FRAME_PART || frame->payload_bytes < SLICED_TAG_BYTES ||
        (!sliced->is_void && frame->finish_ns < sliced->next_number) ||
        sliced->held_count == sliced->held_room)
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

    return worker_send(sliced->worker, sliced->index, sliced->worker->control, &refusal, NULL,
                       false, err);
}

/* The caches of a request. It may have ended meanwhile, or there may be no memory for it: the first
 * device drops it then. The others are awaited by somebody: they compute it in the spare caches,
 * and nobody reads the result. */
static bool find_cache(struct sliced *sliced, const struct frame *step,
                       const struct frame_entry *entry, int32_t sequence, bool *is_dropped,
                       struct err *err)
{
    bool is_first = sliced->setup->position == 0;
    int32_t capacity = entry->total_tokens;
    const struct forward_kv *caches = kv_pool_find(sliced->kv, entry->request);

    if (step->entries > 0) /* as many as fit are always enough */
        capacity = sliced->worker->setup->models[sliced->setup->model].max_total_tokens;
    if (!caches && entry->past_tokens > 0) {
        *is_dropped = *is_dropped || is_first;
    } else if (!caches) {
        caches = kv_pool_take(sliced->kv, entry->request, capacity);
        if (!caches && step->entries > 0)
            return err_set(err, ERR_SYSTEM, "stage %d: no memory for the caches of a batch",
                           step->stage);
        *is_dropped = *is_dropped || (!caches && is_first);
        if (!caches && !refuse(sliced, step, err))
            return false;
    }
    sliced->caches[sequence] = caches ? caches : kv_pool_find(sliced->kv, SHARD_SPARE_REQUEST);
    return sliced->caches[sequence]->capacity >= entry->past_tokens + entry->tokens ||
           err_set(err, ERR_INPUT, "stage %d: request %" PRId64 " outgrew its cache of %d tokens",
                   step->stage, entry->request, sliced->caches[sequence]->capacity);
}

static bool is_gone(const struct sliced *sliced, int64_t request)
{
    for (int i = 0; i < SLICED_GONE_MOST; i++)
        if (sliced->gone[i] == request)
            return true;
    return false;
}

static bool take_entries(struct sliced *sliced, const struct frame *step, bool *is_dropped,
                         struct err *err)
{
    const struct frame_entry *entries = shard_entries(sliced->worker->shard, sliced->index);

    for (int32_t b = 0; b < sliced->sequences; b++) {
        sliced->requests[b] = entries[b].request;
        sliced->past[b] = entries[b].past_tokens;
        sliced->counts[b] = entries[b].tokens;
        sliced->is_ended[b] = is_gone(sliced, entries[b].request);
        if (sliced->kv && !find_cache(sliced, step, &entries[b], b, is_dropped, err))
            return false;
    }
    return true;
}

/* The step is sound; is_dropped: nobody wants it any more. payload: from the entries of a batch on.
 */
static bool begin(struct sliced *sliced, const struct frame *asked, const unsigned char *payload,
                  bool *is_dropped, struct err *err)
{
    const struct frame step = *asked; /* what it is part of may go while a refusal is sent */
    int sequences;

    *is_dropped = false;
    if (!shard_read_step(sliced->worker->shard, sliced->index, &step, payload, &sequences, err))
        return false;
    sliced->sequences = sequences;
    if (step.entries > 0)
        frame_get_words(sliced->head, payload, (size_t)FRAME_ENTRY_WORDS * (size_t)step.entries);
    if (!take_entries(sliced, &step, is_dropped, err))
        return false;
    if (*is_dropped || sliced->is_void)
        return true;
    sliced->step = step;
    sliced->is_running = true;
    sliced->has_queued = sliced->is_late = false;
    sliced->ordinal = sliced->at = sliced->told_count = 0;
    sliced->start_ns = sliced->finish_ns = 0;
    parts_begin(sliced->parts);
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
    bool ok = begin(sliced, &message->frame, message->payload, &is_dropped, err) &&
              (!sliced->is_running || take_input(sliced, message, err));

    if (sliced->setup->wire_bits_in > 0) /* restoring values is part of what it computes */
        sliced->start_ns = begun_ns;
    sliced->sent_ns = message->frame.start_ns;
    sliced->received_ns = sliced->worker->jobs[job]->receive_ns;
    job_drop(sliced, job);
    if (!sliced->is_void)
        worker_owe(sliced->worker, sliced->index);
    return ok;
}

/* Of the entries of a batch, which go with all its messages: who gets the first one is told so. */
static int64_t head_bytes(const struct frame *step)
{
    return INT64_C(4) * FRAME_ENTRY_WORDS * step->entries;
}

/* True in *is_running: there is a pass. */
static bool begin_next(struct sliced *sliced, struct err *err)
{
    const struct channel_message *message;
    bool is_dropped;
    int held;

    if (sliced->setup->position > 0) {
        held = find_held(sliced, -1, 0);
        sliced->sent_ns = sliced->received_ns = 0;
        if (held < 0)
            return true;
        message = message_of(sliced, sliced->held[held]);
        if (message->frame.payload_bytes < SLICED_TAG_BYTES + head_bytes(&message->frame))
            return err_set(err, ERR_INPUT, "stage %d: a message without its entries",
                           sliced->setup->id);
        return begin(sliced, &message->frame, message->payload + SLICED_TAG_BYTES, &is_dropped,
                     err);
    }
    while (!sliced->is_running && !sliced->is_void && sliced->waiting.count > 0)
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
    return worker_send(sliced->worker, sliced->index, sliced->worker->control, &frame, sliced->told,
                       false, err);
}

/* The last device's token, or activations; coding them is part of what the first device computes.
 */
static bool send_output(struct sliced *sliced, struct err *err)
{
    struct worker *worker = sliced->worker;
    struct setup_border border = setup_border_out(sliced->setup, model_of(sliced));
    const struct shard_head head = { sliced->head, sliced->step.entries };
    struct shard_output output = { parts_made(sliced->parts),
                                   sizeof(int32_t) * (size_t)sliced->sequences, sliced->sequences };

    if (!sliced->setup->is_last && border.residual > 0)
        output = shard_pack_two(worker->shard, sliced->index, head, output_at(sliced, border),
                                residual_at(sliced, border));
    else if (!sliced->setup->is_last)
        output = shard_pack(worker->shard, sliced->index, head, parts_state(sliced->parts),
                            (int64_t)sliced->step.new_tokens * border.output);
    if (sliced->setup->wire_bits > 0)
        sliced->finish_ns = clock_now_ns();
    return worker_send_output(worker, sliced->index, &sliced->step, output.words,
                              (int64_t)output.bytes, err);
}

static bool end(struct sliced *sliced, struct err *err)
{
    bool is_wanted = false;

    for (int32_t b = 0; b < sliced->sequences; b++)
        is_wanted = is_wanted || !sliced->is_ended[b];
    if (sliced->setup->position == 0 && is_wanted && !send_output(sliced, err))
        return false;
    if (!send_record(sliced, err))
        return false;
    if (sliced->is_void)
        return true;
    for (int32_t b = 0; b < sliced->sequences; b++)
        if (sliced->is_ended[b])
            shard_release_stage(sliced->worker->shard, sliced->index, sliced->requests[b]);
    sliced->is_running = false;
    sliced->next_number++;
    return true;
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
                                .kv = sliced->caches };
}

/* Of a message: tag, entries, words. */
static int64_t message_bytes(const struct sliced *sliced, const struct pass_step *step,
                             const struct exchange_message *message)
{
    return SLICED_TAG_BYTES + head_bytes(&sliced->step) +
           exchange_bytes(sliced->pass, step, message, tokens_of(sliced), sliced->sequences);
}

static bool send_message(struct sliced *sliced, const struct pass_step *step, int32_t number,
                         const struct exchange_message *message, struct err *err)
{
    int32_t to = sliced->pass->members[step->first + message->to].position;
    const int32_t tag[2] = { sliced->ordinal, number };
    const struct parts_step of = step_of(sliced);
    int64_t head = head_bytes(&sliced->step);
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
    frame_put_int64(to + 8,
                    message->frame.payload_bytes - SLICED_TAG_BYTES - head_bytes(&message->frame));
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
    const struct parts_step of = step_of(sliced);

    *is_there = held >= 0;
    if (held < 0)
        return true;
    job = sliced->held[held];
    held_message = message_of(sliced, job);
    if (held_message->frame.payload_bytes != message_bytes(sliced, step, message))
        return err_set(err, ERR_INPUT,
                       "stage %d: a message of %" PRId64 " bytes in a step of %d tokens",
                       sliced->setup->id, held_message->frame.payload_bytes, tokens_of(sliced));
    frame_get_words(sliced->words, held_message->payload,
                    (size_t)held_message->frame.payload_bytes / 4);
    parts_put(sliced->parts, step, message, &of,
              sliced->words + SLICED_TAG_BYTES + head_bytes(&sliced->step));
    tell(sliced, from, held_message, sliced->worker->jobs[job]->receive_ns);
    sliced->held[held] = sliced->held[--sliced->held_count];
    job_drop(sliced, job);
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

/* What a worker has in its queue of this stage are pieces. */
static bool is_mine(void *arg, int32_t number)
{
    const struct sliced *sliced = arg;

    if (sliced->worker->jobs[number]->stage != sliced->index)
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
        if (!sliced->is_running && !begin_next(sliced, err))
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
        return pad_price_piece_batch(pad, sliced->index, piece, sliced->counts, sliced->past,
                                     sliced->sequences, price_ps, err);
    return pad_price_piece(pad, sliced->index, piece, sliced->counts[0], sliced->past[0], price_ps,
                           err);
}

bool sliced_compute(struct sliced *sliced, int32_t piece, struct err *err)
{
    struct worker *worker = sliced->worker;
    const struct parts_step step = step_of(sliced);
    int64_t start_ns = clock_now_ns(), price_ps;
    bool is_wanted = true, is_late = false, ok = true;

    beat_set_busy(worker->beat, true);
    parts_compute(sliced->parts, &sliced->pass->pieces[piece], sliced->repeats_of[sliced->ordinal],
                  &step);
    if (worker->pad)
        ok = price(sliced, piece, &price_ps, err) &&
             worker_wait_for(worker, sliced->index,
                             sliced->step.entries > 0 ? WORKER_NO_REQUEST : sliced->step.request,
                             start_ns + price_ps / UNITS_PS_PER_NS, &is_wanted, &is_late, err);
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

        if (message_of(sliced, job)->frame.entries == 0 &&
            message_of(sliced, job)->frame.request == request) {
            job_drop(sliced, job);
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
        job_drop(sliced, ring_take(&sliced->waiting));
    while (sliced->held_count > 0)
        job_drop(sliced, sliced->held[--sliced->held_count]);
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
