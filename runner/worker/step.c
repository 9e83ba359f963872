/* step.c - a worker computes what is queued, and sends what comes of it. */
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/policy/batch.h"
#include "lib/wire/channel.h"
#include "runner/setup/setup.h"
#include "runner/worker/batcher.h"
#include "runner/worker/beat.h"
#include "runner/worker/handover.h"
#include "runner/worker/internal.h"
#include "runner/worker/pad.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced.h"
#include <sched.h>

#define PAD_SPIN_NS INT64_C(200000)  /* before a padded deadline nothing else is looked at */
#define PAD_FREE_NS INT64_C(2000000) /* and so long before no piece of a KV cache is moved */
#define LOOK_NS INT64_C(1000000)     /* between two looks in the middle of a step */
#define PAD_LATE_NS INT64_C(100000)  /* a deadline missed by less is met */

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

bool worker_is_lost(const struct worker *worker, const struct channel *out)
{
    for (int32_t i = 0; i < worker->peer_count; i++)
        if (worker->peers[i] == out)
            return worker->are_lost[i];
    return false;
}

/* Messages of exchanges and batches are of nobody's alone: only the end of the run or of the peer
 * makes them void. */
bool worker_send(struct worker *worker, int stage, struct channel *out, const struct frame *frame,
                 const void *payload, bool is_words, struct err *err)
{
    enum channel_result result;

    if (worker_is_lost(worker, out))
        return true;
    worker->waiting =
        frame->type == FRAME_PART || frame->entries > 0 ? WORKER_NO_REQUEST : frame->request;
    worker->waiting_stage = stage;
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
            (worker->is_stopped || worker->waiting < 0 || worker_is_lost(worker, out)))
            return true;
    }
    worker->waiting = -1;
    return result == CHANNEL_DONE;
}

bool worker_hand_over(struct worker *worker, int64_t deadline_ns, int64_t *until_ns,
                      struct err *err)
{
    int64_t now_ns = clock_now_ns();

    if (!handover_advance(
            worker,
            deadline_ns - now_ns > HANDOVER_TURN_NS ? now_ns + HANDOVER_TURN_NS : deadline_ns, err))
        return false;
    now_ns = clock_now_ns();
    *until_ns = now_ns + (handover_is_busy(worker) && now_ns < deadline_ns ? 0 : WORKER_TICK_NS);
    return true;
}

bool worker_send_output(struct worker *worker, int stage, const struct frame *step,
                        const void *words, int64_t bytes, struct err *err)
{
    const struct setup_stage *setup = &worker->setup->stages[stage];
    const struct setup_next *next =
        setup->is_last ? NULL : &setup->nexts[setup_next_index(setup, step->way)];
    struct channel *out = next ? worker_find_peer(worker, next->worker) : worker->control;
    struct frame frame = *step;
    bool is_wanted;

    if (!worker_wait_for_room(worker, stage, step, &is_wanted, err))
        return false;
    if (!is_wanted)
        return true;
    frame.payload_bytes = bytes;
    frame.type = setup->is_last ? FRAME_RESULT : FRAME_STEP;
    frame.stage = next ? next->stage : setup->id;
    frame.start_ns = clock_now_ns(); /* finish stays: the generation of the replica */
    return worker_send(worker, stage, out, &frame, words, true, err);
}

/* KV caches travel while others are computed, as in the simulator: a long prompt holds up nobody's
 * cache for longer than a layer. */
static void look_between(void *arg)
{
    struct worker *worker = arg;
    int64_t now_ns = clock_now_ns();

    if (now_ns - worker->looked_ns < LOOK_NS || worker->trouble.kind != ERR_NONE)
        return;
    worker->is_between = true;
    if (worker_receive_moves(worker, &worker->trouble)) {
        worker_receive_steps(worker);
        handover_advance(worker, INT64_MAX, &worker->trouble);
    }
    worker->is_between = false;
    worker->looked_ns = clock_now_ns();
}

void worker_look_between(struct worker *worker)
{
    for (int i = 0; i < worker->setup->stage_count; i++)
        if (worker->setup->stages[i].phase != SETUP_BOTH) {
            worker->has_phases = true;
            shard_set_between(worker->shard, look_between, worker);
            return;
        }
}

struct step { /* what is computed at once */
    int stage;
    struct frame frame;
    const unsigned char *payload;
    int64_t sent_ns, receive_ns;
    /* of a batch that has just been made up: when each of its requests was sent and received, in
     * order; NULL: all came with the step */
    const struct came *came;
};

struct took {
    int64_t start_ns, finish_ns;
    bool is_late;
};

static bool send_record(struct worker *worker, int stage, const struct frame *step,
                        struct came came, const struct took *took, int64_t note, struct err *err)
{
    struct frame frame = *step;
    unsigned char payload[FRAME_RECORD_BYTES];

    frame_put_int64(payload, came.sent_ns);
    frame_put_int64(payload + 8, came.receive_ns);
    frame_put_int64(payload + 16, note + (took->is_late ? 1 : 0));
    frame.type = FRAME_RECORD;
    frame.start_ns = took->start_ns;
    frame.finish_ns = took->finish_ns;
    frame.payload_bytes = sizeof payload;
    return worker_send(worker, stage, worker->control, &frame, payload, false, err);
}

/* Of a fixed batch each request has a record of its own: nobody else knows who is in it. */
static bool send_records(struct worker *worker, const struct step *step, int sequences,
                         const struct took *took, struct err *err)
{
    const struct frame_entry *entries = shard_entries(worker->shard, step->stage);
    struct came came = { step->sent_ns, step->receive_ns };

    if (worker->setup->stages[step->stage].batch_size <= 1 || step->frame.entries == 0)
        return send_record(worker, step->stage, &step->frame, came, took, 0, err);
    for (int i = 0; i < sequences; i++) {
        struct frame frame = step->frame;

        frame.request = entries[i].request;
        frame.past_tokens = i; /* its place in the batch */
        frame.total_tokens = entries[i].tokens;
        if (!send_record(worker, step->stage, &frame, step->came ? step->came[i] : came, took,
                         2 * step->frame.request, err))
            return false;
    }
    return true;
}

bool worker_wait_for(struct worker *worker, int stage, int64_t request, int64_t deadline_ns,
                     bool *is_wanted, bool *is_late, struct err *err)
{
    worker->waiting = request;
    worker->waiting_stage = stage;
    while (clock_now_ns() < deadline_ns - PAD_SPIN_NS) {
        int64_t until_ns;

        if (!worker_hand_over(worker, deadline_ns - PAD_FREE_NS, &until_ns, err))
            return false;
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

static bool pad_step(struct worker *worker, const struct step *step, int sequences,
                     int64_t start_ns, bool *is_wanted, bool *is_late, struct err *err)
{
    const struct frame *frame = &step->frame;
    int64_t price_ps;

    if (frame->entries > 0)
        return pad_price_batch(worker->pad, step->stage, shard_entries(worker->shard, step->stage),
                               sequences, &price_ps, err) &&
               worker_wait_for(worker, step->stage, WORKER_NO_REQUEST,
                               start_ns + price_ps / UNITS_PS_PER_NS, is_wanted, is_late, err);

    return pad_price(worker->pad, step->stage, frame->new_tokens, frame->past_tokens, &price_ps,
                     err) &&
           worker_wait_for(worker, step->stage, frame->request,
                           start_ns + price_ps / UNITS_PS_PER_NS, is_wanted, is_late, err);
}

static bool run_step(struct worker *worker, const struct step *step, int64_t start_ns,
                     struct err *err)
{
    const struct frame *frame = &step->frame;
    struct frame refusal = { .type = FRAME_REFUSE,
                             .stage = frame->stage,
                             .request = frame->request };
    struct took took = { .start_ns = start_ns };
    struct shard_output output;
    enum shard_result result;
    bool is_wanted = true, ok = true;

    beat_set_busy(worker->beat, true);
    worker_begin_compute(worker, step->stage, frame->new_tokens);
    result = shard_step(worker->shard, step->stage, frame, step->payload, &output, err);
    worker_end_compute(worker, step->stage, frame->new_tokens);
    if (result == SHARD_DONE && worker->pad)
        ok = pad_step(worker, step, output.sequences, start_ns, &is_wanted, &took.is_late, err);
    took.finish_ns = worker->free_ns = clock_now_ns();
    beat_set_busy(worker->beat, false);
    if (worker->trouble.kind != ERR_NONE) {
        *err = worker->trouble;
        return false;
    }
    if (result == SHARD_BAD)
        return false;
    if (result == SHARD_REFUSED)
        return worker_send(worker, step->stage, worker->control, &refusal, NULL, false, err);
    if (result != SHARD_DONE || !ok || !is_wanted)
        return ok;
    /* the next stage waits for it: before the record */
    return worker_send_output(worker, step->stage, frame, output.words, (int64_t)output.bytes,
                              err) &&
           send_records(worker, step, output.sequences, &took, err);
}

static bool run_job(struct worker *worker, int32_t number, int64_t start_ns, struct err *err)
{
    struct job *job = worker->jobs[number];
    const struct step step = { .stage = job->stage,
                               .frame = job->message.frame,
                               .payload = job->message.payload,
                               .sent_ns = job->message.frame.start_ns,
                               .receive_ns = job->receive_ns };
    bool ok = run_step(worker, &step, start_ns, err);

    channel_message_close(&job->message);
    worker_free_job(worker, number);
    return ok;
}

/* ---- fixed batches ---- */

static bool run_batch(struct worker *worker, int stage, struct err *err)
{
    struct made made;
    bool ok;

    if (worker->sliced[stage])
        return sliced_run(worker->sliced[stage], -1, err);
    ok = worker_make_batch(worker, stage, &made, err);
    if (ok) {
        const struct step step = {
            .stage = stage, .frame = made.frame, .payload = made.payload, .came = made.came
        };

        ok = worker_grant(worker, err) && run_step(worker, &step, clock_now_ns(), err);
    }
    worker_drop_made(worker, &made);
    return ok;
}

/* Whose turn it is: what has waited longest; a job of the queue (-1) before a batch as old.
 * *until_ns is brought forward to when a batch must be asked for again. False: there is nothing to
 * do. */
static bool find_oldest(struct worker *worker, int *stage, int64_t *until_ns)
{
    int32_t next = batch_peek(worker->queue);
    int64_t oldest_ns = next < 0 ? BATCHER_NEVER_NS : worker->jobs[next]->ready_ns;
    int64_t now_ns = clock_now_ns();

    *stage = -1;
    for (int i = 0; i < worker->setup->stage_count; i++) {
        int64_t ask_ns, head_ns;

        if (!worker->batchers[i])
            continue;
        head_ns = batcher_head_ns(worker->batchers[i], now_ns, &ask_ns);
        if (ask_ns < *until_ns)
            *until_ns = ask_ns;
        if (worker->setup->stages[i].position_count > 1) /* it begins its passes by itself */
            continue;
        if (head_ns < oldest_ns) {
            oldest_ns = head_ns;
            *stage = i;
        }
    }
    return next >= 0 || *stage >= 0;
}

/* A step of a stage, or a piece of one. */
static bool run_next(struct worker *worker, struct err *err)
{
    int32_t number = batch_take(worker->queue);
    const struct job *job = worker->jobs[number];
    int stage = job->stage;
    int32_t piece = job->piece;

    if (piece == WORKER_NO_PIECE && worker->sliced[stage])
        return sliced_run(worker->sliced[stage], number, err);
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
        int64_t until_ns;
        int stage;

        if (!worker_look_added(worker, err) ||
            !worker_hand_over(worker, INT64_MAX, &until_ns, err) || !advance(worker, err) ||
            !worker_grant(worker, err))
            return false;
        if (find_oldest(worker, &stage, &until_ns))
            until_ns = 0; /* only looks */
        if (!worker_receive_until(worker, until_ns, err))
            return false;
        if (worker->is_stopped || handover_is_busy(worker) ||
            !find_oldest(worker, &stage, &until_ns))
            continue;
        sched_yield(); /* ZeroMQ's thread may wait for this processor with what has been sent */
        if (!(stage >= 0 ? run_batch(worker, stage, err) : run_next(worker, err)))
            return false;
    }
    return true;
}
