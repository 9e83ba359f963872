/* sliced_ends.c - where a pass begins, on its entries, caches and input, and where it ends: what it
 * sends, tells and releases. */
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/ring.h"
#include "runner/setup/setup.h"
#include "runner/worker/batcher.h"
#include "runner/worker/internal.h"
#include "runner/worker/kv.h"
#include "runner/worker/parts.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced_internal.h"
#include <inttypes.h>

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
    int32_t capacity = sliced->setup->phase == SETUP_PROMPTS ? entry->tokens : entry->total_tokens;
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

    sliced->keys = 0;
    for (int32_t b = 0; b < sliced->sequences; b++) {
        sliced->requests[b] = entries[b].request;
        sliced->past[b] = entries[b].past_tokens;
        sliced->own[b] = sliced->counts[b] = entries[b].tokens;
        if (sliced_is_padded(sliced)) /* all count as the longest of them */
            sliced->counts[b] = step->new_tokens / sliced->sequences;
        if (sliced_is_padded(sliced) && sliced->past[b] + sliced->counts[b] > sliced->keys)
            sliced->keys = sliced->past[b] + sliced->counts[b];
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
    sliced->ready_ns = clock_now_ns();
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

static bool take_input(struct sliced *sliced, const struct frame *frame,
                       const unsigned char *payload, struct err *err)
{
    struct shard *shard = sliced->worker->shard;
    struct setup_border border = setup_border_in(sliced->setup, model_of(sliced));
    void *to =
        sliced->setup->has_embed ? (void *)parts_tokens(sliced->parts) : parts_state(sliced->parts);

    if (border.residual == 0)
        return shard_input(shard, sliced->index, frame, payload, to, err);
    return shard_input_two(shard, sliced->index, frame, payload, output_at(sliced, border),
                           residual_at(sliced, border), err);
}

bool sliced_begin_step(struct sliced *sliced, int32_t job, struct err *err)
{
    const struct channel_message *message = sliced_message_of(sliced, job);
    int64_t begun_ns = clock_now_ns();
    bool is_dropped = false;
    bool ok = begin(sliced, &message->frame, message->payload, &is_dropped, err) &&
              (!sliced->is_running || take_input(sliced, &message->frame, message->payload, err));

    if (sliced->setup->wire_bits_in > 0) /* restoring values is part of what it computes */
        sliced->start_ns = begun_ns;
    for (int32_t b = 0; ok && b < sliced->sequences; b++)
        sliced->came[b] =
            (struct came){ message->frame.start_ns, sliced->worker->jobs[job]->receive_ns };
    sliced_drop_job(sliced, job);
    if (!sliced->is_void)
        worker_owe(sliced->worker, sliced->index);
    return ok;
}

/* The requests that have waited for it. */
bool sliced_begin_batch(struct sliced *sliced, struct err *err)
{
    struct made made;
    bool is_dropped, ok;

    ok = worker_make_batch(sliced->worker, sliced->index, &made, err) &&
         begin(sliced, &made.frame, made.payload, &is_dropped, err) &&
         (!sliced->is_running || take_input(sliced, &made.frame, made.payload, err));
    for (int32_t b = 0; ok && b < made.count; b++)
        sliced->came[b] = made.came[b];
    worker_drop_made(sliced->worker, &made);
    return ok;
}

static int64_t received_ns(const struct sliced *sliced, int32_t job)
{
    return job < 0 ? BATCHER_NEVER_NS : sliced->worker->jobs[job]->receive_ns;
}

/* What has waited longest goes first; a step of a batch that has begun before one as old. */
static bool is_batch_next(const struct sliced *sliced)
{
    struct batcher *batcher = sliced->worker->batchers[sliced->index];
    int64_t until_ns, head_ns; /* who waits for a longer wait is woken by worker_serve */

    if (!batcher)
        return false;
    head_ns = batcher_head_ns(batcher, clock_now_ns(), &until_ns);
    return head_ns < received_ns(sliced, ring_peek(&sliced->waiting));
}

bool sliced_begin_next(struct sliced *sliced, struct err *err)
{
    const struct channel_message *message;
    bool is_dropped;
    int held;

    if (sliced->setup->position > 0) {
        held = sliced_find_held(sliced, -1, 0);
        for (int32_t b = 0; b < sliced->worker->setup->models[sliced->setup->model].max_seqs; b++)
            sliced->came[b] = (struct came){ 0, 0 };
        if (held < 0)
            return true;
        message = sliced_message_of(sliced, sliced->held[held]);
        if (message->frame.payload_bytes < SLICED_TAG_BYTES + sliced_head_bytes(&message->frame))
            return err_set(err, ERR_INPUT, "stage %d: a message without its entries",
                           sliced->setup->id);
        return begin(sliced, &message->frame, message->payload + SLICED_TAG_BYTES, &is_dropped,
                     err);
    }
    while (!sliced->is_running && !sliced->is_void) {
        bool is_batch = is_batch_next(sliced);

        if (!is_batch && sliced->waiting.count == 0)
            return true;
        if (!(is_batch ? sliced_begin_batch(sliced, err)
                       : sliced_begin_step(sliced, ring_take(&sliced->waiting), err)))
            return false;
    }
    return true;
}

/* note: of a fixed batch its number; told: messages that it tells of. */
static bool send_record(struct sliced *sliced, const struct frame *of, struct came came,
                        int64_t note, int told, struct err *err)
{
    struct frame frame = *of;

    frame_put_int64(sliced->told, came.sent_ns);
    frame_put_int64(sliced->told + 8, came.receive_ns);
    frame_put_int64(sliced->told + 16, 2 * note + (sliced->is_late ? 1 : 0));
    frame.type = FRAME_RECORD;
    frame.stage = sliced->setup->id;
    frame.start_ns = sliced->start_ns;
    frame.finish_ns = sliced->finish_ns;
    frame.payload_bytes = FRAME_RECORD_BYTES + (int64_t)FRAME_TOLD_BYTES * told;
    return worker_send(sliced->worker, sliced->index, sliced->worker->control, &frame, sliced->told,
                       false, err);
}

/* Of a fixed batch each request has a record of its own: nobody else knows who is in it. Messages
 * of exchanges are told of with the first. */
static bool send_records(struct sliced *sliced, struct err *err)
{
    int told = sliced->worker->setup->tells_exchanges ? sliced->told_count : 0;

    if (!sliced_is_padded(sliced) || sliced->step.entries == 0)
        return send_record(sliced, &sliced->step, sliced->came[0], 0, told, err);
    for (int32_t b = 0; b < sliced->sequences && !sliced->is_void; b++) {
        struct frame frame = sliced->step;

        frame.request = sliced->requests[b];
        frame.past_tokens = b; /* its place in the batch */
        frame.total_tokens = sliced->own[b];
        if (!send_record(sliced, &frame, sliced->came[b], sliced->step.request, b == 0 ? told : 0,
                         err))
            return false;
    }
    return true;
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
    else if (sliced_is_padded(sliced) && head.entries > 0)
        output = shard_pack_tokens(worker->shard, sliced->index, head, parts_made(sliced->parts),
                                   sliced->sequences);
    if (sliced->setup->wire_bits > 0)
        sliced->finish_ns = clock_now_ns();
    return worker_send_output(worker, sliced->index, &sliced->step, output.words,
                              (int64_t)output.bytes, err);
}

bool sliced_end(struct sliced *sliced, struct err *err)
{
    bool is_wanted = false, decodes = model_of(sliced)->kind == MODEL_DECODER;

    for (int32_t b = 0; b < sliced->sequences; b++)
        is_wanted = is_wanted || !sliced->is_ended[b];
    if (sliced->setup->position == 0 && is_wanted && !send_output(sliced, err))
        return false;
    if (!send_records(sliced, err))
        return false;
    if (sliced->is_void)
        return true;
    for (int32_t b = 0; b < sliced->sequences; b++)
        if (sliced->is_ended[b] || !decodes) /* one step is all that there is */
            shard_release_stage(sliced->worker->shard, sliced->index, sliced->requests[b]);
    sliced->is_running = false;
    sliced->next_number++;
    return true;
}
