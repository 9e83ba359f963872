/* step.c - a worker computes what is queued, and sends what comes of it. */
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/policy/batch.h"
#include "lib/wire/channel.h"
#include "runner/setup/setup.h"
#include "runner/worker/beat.h"
#include "runner/worker/internal.h"
#include "runner/worker/pad.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced.h"

#define PAD_SPIN_NS INT64_C(200000) /* before a padded deadline nothing else is looked at */
#define PAD_LATE_NS INT64_C(100000) /* a deadline missed by less is met */

/* ---- sending ---- */

int32_t worker_find_peer_index(const struct worker *worker, int32_t number)
{
    for (int32_t i = 0; i < worker->peer_count; i++)
        if (worker->peer_numbers[i] == number)
            return i;
    return -1;
}

struct channel *worker_find_peer(const struct worker *worker, int32_t number)
{
    int32_t index = worker_find_peer_index(worker, number);

    return index < 0 ? NULL : worker->peers[index];
}

static bool is_lost(const struct worker *worker, const struct channel *out)
{
    for (int32_t i = 0; i < worker->peer_count; i++)
        if (worker->peers[i] == out)
            return worker->are_lost[i];
    return false;
}

/* Messages of exchanges and batches are of nobody's alone: only the end of the run or of the peer
 * makes them void. */
bool worker_send(struct worker *worker, struct channel *out, const struct frame *frame,
                 const void *payload, bool is_words, struct err *err)
{
    enum channel_result result;

    if (is_lost(worker, out))
        return true;
    worker->waiting =
        frame->type == FRAME_PART || frame->entries > 0 ? WORKER_NO_REQUEST : frame->request;
    for (;;) {
        result = is_words ? channel_send_words(out, NULL, frame, payload, err)
                          : channel_send(out, NULL, frame, payload, err);
        if (result != CHANNEL_LATER)
            break;
        struct channel_wait waits[] = { { out, true, false },
                                        { worker->control, false, false },
                                        { worker->data, false, false } };

        if (!channel_wait(worker->hub, waits, 3, clock_now_ns() + WORKER_TICK_NS, err) ||
            !worker_receive_control(worker, err))
            return false;
        worker_receive_steps(worker);
        if (out != worker->control &&
            (worker->is_stopped || worker->waiting < 0 || is_lost(worker, out)))
            return true;
    }
    worker->waiting = -1;
    return result == CHANNEL_DONE;
}

/* A step that is done and finds no room behind it keeps its device. */
static bool wait_for_room(struct worker *worker, int stage, const struct frame *step,
                          bool *is_wanted, struct err *err)
{
    const struct channel *out = worker_find_peer(worker, worker->setup->stages[stage].next_worker);

    *is_wanted = true;
    if (worker->setup->stages[stage].is_last || worker->setup->stages[stage].next_depth == 0)
        return true;
    worker->waiting = step->entries > 0 ? WORKER_NO_REQUEST : step->request;
    while (worker->room[stage] == 0 && *is_wanted) {
        if (!worker_receive_until(worker, clock_now_ns() + WORKER_TICK_NS, err) ||
            !worker_grant(worker, err))
            return false;
        *is_wanted = !worker->is_stopped && worker->waiting >= 0 && !is_lost(worker, out);
    }
    worker->waiting = -1;
    if (*is_wanted)
        worker->room[stage]--;
    return true;
}

bool worker_send_output(struct worker *worker, int stage, const struct frame *step,
                        const void *words, int64_t bytes, struct err *err)
{
    const struct setup_stage *setup = &worker->setup->stages[stage];
    struct channel *out =
        setup->is_last ? worker->control : worker_find_peer(worker, setup->next_worker);
    struct frame frame = *step;
    bool is_wanted;

    if (!wait_for_room(worker, stage, step, &is_wanted, err))
        return false;
    if (!is_wanted)
        return true;
    frame.payload_bytes = bytes;
    frame.type = setup->is_last ? FRAME_RESULT : FRAME_STEP;
    frame.stage = setup->is_last ? setup->id : setup->next;
    frame.start_ns = clock_now_ns();
    frame.finish_ns = 0;
    return worker_send(worker, out, &frame, words, true, err);
}

static bool send_record(struct worker *worker, const struct job *job, int64_t start_ns,
                        int64_t finish_ns, bool is_late, struct err *err)
{
    struct frame frame = job->message.frame;
    unsigned char payload[FRAME_RECORD_BYTES];

    frame_put_int64(payload, job->message.frame.start_ns);
    frame_put_int64(payload + 8, job->receive_ns);
    frame_put_int64(payload + 16, is_late ? 1 : 0);
    frame.type = FRAME_RECORD;
    frame.start_ns = start_ns;
    frame.finish_ns = finish_ns;
    frame.payload_bytes = sizeof payload;
    return worker_send(worker, worker->control, &frame, payload, false, err);
}

bool worker_wait_for(struct worker *worker, int64_t request, int64_t deadline_ns, bool *is_wanted,
                     bool *is_late, struct err *err)
{
    worker->waiting = request;
    while (clock_now_ns() < deadline_ns - PAD_SPIN_NS) {
        int64_t until_ns = clock_now_ns() + WORKER_TICK_NS;

        if (until_ns > deadline_ns - PAD_SPIN_NS)
            until_ns = deadline_ns - PAD_SPIN_NS;
        if (!worker_receive_until(worker, until_ns, err))
            return false;
        *is_wanted = !worker->is_stopped && worker->waiting >= 0;
        if (!*is_wanted)
            return true;
    }
    worker->waiting = -1;
    if (clock_now_ns() < deadline_ns)
        clock_sleep_until_ns(deadline_ns);
    *is_late = clock_now_ns() > deadline_ns + PAD_LATE_NS; /* computed, or woken, too late */
    return true;
}

static bool pad_step(struct worker *worker, const struct job *job, int sequences, int64_t start_ns,
                     bool *is_wanted, bool *is_late, struct err *err)
{
    const struct frame *frame = &job->message.frame;
    int64_t price_ps;

    if (frame->entries > 0)
        return pad_price_batch(worker->pad, job->stage, shard_entries(worker->shard, job->stage),
                               sequences, &price_ps, err) &&
               worker_wait_for(worker, WORKER_NO_REQUEST, start_ns + price_ps / UNITS_PS_PER_NS,
                               is_wanted, is_late, err);

    return pad_price(worker->pad, job->stage, frame->new_tokens, frame->past_tokens, &price_ps,
                     err) &&
           worker_wait_for(worker, frame->request, start_ns + price_ps / UNITS_PS_PER_NS, is_wanted,
                           is_late, err);
}

static bool run_job(struct worker *worker, int32_t number, int64_t start_ns, struct err *err)
{
    struct job *job = worker->jobs[number];
    const struct frame *frame = &job->message.frame;
    struct frame refusal = { .type = FRAME_REFUSE,
                             .stage = frame->stage,
                             .request = frame->request };
    struct shard_output output;
    enum shard_result result;
    int64_t finish_ns;
    bool is_late = false, is_wanted = true, ok = true;

    beat_set_busy(worker->beat, true);
    result = shard_step(worker->shard, job->stage, frame, job->message.payload, &output, err);
    if (result == SHARD_DONE && worker->pad)
        ok = pad_step(worker, job, output.sequences, start_ns, &is_wanted, &is_late, err);
    finish_ns = clock_now_ns();
    beat_set_busy(worker->beat, false);
    if (result == SHARD_BAD)
        ok = false;
    else if (result == SHARD_REFUSED)
        ok = worker_send(worker, worker->control, &refusal, NULL, false, err);
    else if (result == SHARD_DONE && ok &&
             is_wanted) /* the next stage waits for it: before the record */
        ok = worker_send_output(worker, job->stage, frame, output.words, (int64_t)output.bytes,
                                err) &&
             send_record(worker, job, start_ns, finish_ns, is_late, err);
    channel_message_close(&job->message);
    worker_free_job(worker, number);
    return ok;
}

/* A step of a stage, or a piece of one. */
static bool run_next(struct worker *worker, struct err *err)
{
    int32_t number = batch_take(worker->queue);
    const struct job *job = worker->jobs[number];
    int stage = job->stage;
    int32_t piece = job->piece;

    if (piece == WORKER_NO_PIECE) {
        int64_t start_ns = clock_now_ns(); /* the step has begun when there is room again */

        worker_owe(worker, stage);
        return worker_grant(worker, err) && run_job(worker, number, start_ns, err);
    }
    worker_free_job(worker, number);
    return sliced_compute(worker->sliced[stage], piece, err);
}

/* What stages on several devices can do without the processor: it may queue pieces. */
static bool advance(struct worker *worker, struct err *err)
{
    for (int i = 0; i < worker->setup->stage_count; i++)
        if (worker->sliced[i] && !sliced_advance(worker->sliced[i], err))
            return false;
    return true;
}

bool worker_serve(struct worker *worker, struct err *err)
{
    while (!worker->is_stopped) {
        int64_t until_ns = 0; /* only looks */

        if (!worker_look_added(worker, err) || !advance(worker, err) || !worker_grant(worker, err))
            return false;
        if (batch_peek(worker->queue) < 0)
            until_ns = clock_now_ns() + WORKER_TICK_NS;
        if (!worker_receive_until(worker, until_ns, err))
            return false;
        if (!worker->is_stopped && batch_peek(worker->queue) >= 0 && !run_next(worker, err))
            return false;
    }
    return true;
}
