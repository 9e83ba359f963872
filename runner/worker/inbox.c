/* inbox.c - what a worker receives: steps and messages of exchanges, and control. */
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/policy/batch.h"
#include "lib/wire/channel.h"
#include "runner/setup/setup.h"
#include "runner/worker/batcher.h"
#include "runner/worker/beat.h"
#include "runner/worker/handover.h"
#include "runner/worker/internal.h"
#include "runner/worker/listener.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced.h"

int32_t worker_new_job(struct worker *worker)
{
    if (worker->free_count > 0)
        return worker->free_jobs[--worker->free_count];
    if (worker->job_count == worker->job_capacity) {
        size_t old = (size_t)worker->job_capacity, capacity = old ? 2 * old : 64;

        worker->jobs = arena_grow(worker->arena, worker->jobs, old, capacity, sizeof(struct job *));
        worker->free_jobs =
            arena_grow(worker->arena, worker->free_jobs, old, capacity, sizeof(int32_t));
        worker->job_capacity = (int)capacity;
    }
    worker->jobs[worker->job_count] = arena_alloc(worker->arena, sizeof(struct job));
    return worker->job_count++;
}

void worker_free_job(struct worker *worker, int32_t number)
{
    worker->free_jobs[worker->free_count++] = number;
}

void worker_push_step(struct worker *worker, int32_t number)
{
    struct job *job = worker->jobs[number];

    job->ready_ns = clock_now_ns();
    if (worker->sliced[job->stage] && worker->setup->stages[job->stage].position_count > 1)
        sliced_push(worker->sliced[job->stage], number);
    else
        batch_push(worker->queue, number);
}

/* A job whose message has come: into the queue where it waits. False: it is a stray one, for a
 * stage that is not here, or of a generation that is over, and is dropped. */
static bool queue_job(struct worker *worker, int32_t number)
{
    struct job *job = worker->jobs[number];
    const struct frame *frame = &job->message.frame;
    struct sliced *sliced = job->stage >= 0 && worker->sliced ? worker->sliced[job->stage] : NULL;

    if (job->stage < 0 || (frame->type != FRAME_STEP && frame->type != FRAME_PART &&
                           frame->type != FRAME_CACHE && frame->type != FRAME_MOVED))
        return false;
    if (!worker_is_current(worker, job->stage, frame_generation(frame)))
        return false;
    if (handover_receive(worker, number) || handover_holds(worker, number))
        return true;
    if (frame->type == FRAME_STEP && frame->entries == 0 && worker->batchers[job->stage]) {
        batcher_push(worker->batchers[job->stage], number, frame->request, job->receive_ns);
        return true;
    }
    if (sliced && worker->setup->stages[job->stage].position_count > 1)
        return sliced_receive(sliced, number);
    if (frame->type == FRAME_STEP)
        batch_push(worker->queue, number);
    return frame->type == FRAME_STEP;
}

/* In the middle of a step nothing may reset its stage, and nothing but KV caches is looked at. */
static bool must_wait(const struct worker *worker, const struct job *job)
{
    const struct frame *frame = &job->message.frame;

    return worker->is_between &&
           ((frame->type != FRAME_CACHE && frame->type != FRAME_MOVED) || job->stage < 0 ||
            frame_generation(frame) != worker->generations[job->stage]);
}

/* A stray frame is dropped: one that is no frame, and one for a stage that is not here. */
static void take_job(struct worker *worker, int32_t number)
{
    struct job *job = worker->jobs[number];

    if (job->message.frame.type == FRAME_CREDIT)
        worker_take_credit(worker, &job->message.frame);
    else if (queue_job(worker, number))
        return;
    channel_message_close(&job->message);
    worker_free_job(worker, number);
}

/* What the listener has heard came first. */
static bool receive_next(struct worker *worker, struct job *job, enum channel_result *result)
{
    struct err ignored = ERR_INIT;

    *result = CHANNEL_DONE;
    if (!worker->listener || !listener_take(worker->listener, &job->message, &job->receive_ns)) {
        *result = channel_receive(worker->data, &job->message, &ignored);
        job->receive_ns = clock_now_ns();
    }
    if (*result == CHANNEL_DONE) {
        job->ready_ns = job->receive_ns;
        job->stage = shard_find_stage(worker->shard, job->message.frame.stage);
        job->piece = WORKER_NO_PIECE;
    }
    return *result != CHANNEL_LATER;
}

void worker_receive_steps(struct worker *worker)
{
    enum channel_result result;
    int32_t number;

    while (!worker->is_between && worker->later_steps.count > 0)
        take_job(worker, ring_take(&worker->later_steps));
    number = worker_new_job(worker);
    for (; receive_next(worker, worker->jobs[number], &result); number = worker_new_job(worker))
        if (result != CHANNEL_DONE)
            worker_free_job(worker, number);
        else if (must_wait(worker, worker->jobs[number]))
            ring_push(&worker->later_steps, worker->arena, number);
        else
            take_job(worker, number);
    worker_free_job(worker, number);
}

void worker_begin_compute(struct worker *worker, int stage, int32_t tokens)
{
    int64_t token_ns = worker->token_ns[stage];

    worker->begun_ns = clock_now_ns();
    worker->is_lent = worker->listener &&
                      !worker->has_phases && /* who looks between layers has the channel */
                      (token_ns == 0 || token_ns > LISTENER_LONG_NS / (tokens + 1));
    if (worker->is_lent)
        listener_lend(worker->listener);
}

/* The pieces of a pass differ: the longest of late counts. */
void worker_end_compute(struct worker *worker, int stage, int32_t tokens)
{
    int64_t token_ns = (clock_now_ns() - worker->begun_ns) / (tokens + 1) + 1;
    int64_t before_ns = worker->token_ns[stage] - worker->token_ns[stage] / 8;

    worker->token_ns[stage] = token_ns > before_ns ? token_ns : before_ns;
    if (!worker->is_lent)
        return;
    listener_return(worker->listener);
    worker_receive_steps(worker); /* at once: nobody wakes for what has been heard */
}

struct release {
    struct worker *worker;
    int64_t request;
};

/* A request ends when it is in no batch, unless its replica is lost, and all of its batches. */
static bool has_entry(const struct channel_message *message, int64_t request)
{
    int64_t bytes = INT64_C(4) * FRAME_ENTRY_WORDS;

    for (int64_t i = 0; i < message->frame.entries; i++) {
        int32_t words[FRAME_ENTRY_WORDS];
        struct frame_entry entry;

        if ((i + 1) * bytes > message->frame.payload_bytes)
            return false;
        frame_get_words(words, message->payload + i * bytes, FRAME_ENTRY_WORDS);
        frame_get_entry(words, &entry);
        if (entry.request == request)
            return true;
    }
    return false;
}

bool worker_is_of(const struct channel_message *message, int64_t request)
{
    return message->frame.entries > 0 ? has_entry(message, request)
                                      : message->frame.request == request;
}

static bool is_released(void *arg, int32_t number)
{
    const struct release *release = arg;
    struct job *job = release->worker->jobs[number];

    if (job->piece != WORKER_NO_PIECE || !worker_is_of(&job->message, release->request))
        return false;
    worker_owe(release->worker, job->stage);
    channel_message_close(&job->message);
    worker_free_job(release->worker, number);
    return true;
}

/* In front of a stage 0 that makes batches. */
static void release_waiting(struct worker *worker, int stage, const struct frame *frame)
{
    int32_t job = worker->batchers[stage]
                      ? batcher_release(worker->batchers[stage], frame->request, frame->start_ns)
                      : -1;

    if (job < 0)
        return;
    worker_owe_waiting(worker, stage, 1);
    channel_message_close(&worker->jobs[job]->message);
    worker_free_job(worker, job);
}

static void answer_ping(struct worker *worker, const struct frame *ping)
{
    struct err ignored = ERR_INIT; /* the coordinator asks again */
    struct frame pong = { .type = FRAME_PONG, .start_ns = ping->start_ns };

    pong.finish_ns = clock_now_ns();
    channel_send(worker->control, NULL, &pong, NULL, &ignored);
}

/* Workers that this one sends to listen elsewhere now: they have come back. Without an endpoint
 * they are lost. */
static bool move_peers(struct worker *worker, const struct channel_message *message,
                       struct err *err)
{
    struct setup_peer *peers;
    int count;

    if (!setup_decode_peers(worker->arena, message->payload, (size_t)message->frame.payload_bytes,
                            &peers, &count, err))
        return false;
    for (int i = 0; i < count; i++) {
        int32_t index = worker_find_peer_index(worker, peers[i].worker);

        if (index < 0 && peers[i].endpoint[0] != '\0') { /* of stages that are being added */
            if (!worker_add_peer(worker, peers[i].worker, peers[i].endpoint, err))
                return false;
            continue;
        }
        if (index < 0)
            continue;
        worker->are_lost[index] = peers[i].endpoint[0] == '\0';
        /* what waits for its room goes no further, though it may be back with the next message */
        if (worker->are_lost[index] && worker->peers[index] == worker->room_of)
            worker->waiting = -1;
        worker_reset_room(worker, peers[i].worker);
        if (!worker->are_lost[index] && !channel_move(worker->peers[index], peers[i].endpoint, err))
            return false;
    }
    return true;
}

bool worker_on_control(struct worker *worker, const struct channel_message *message,
                       struct err *err)
{
    const struct frame *frame = &message->frame;
    struct release release = { worker, frame->request };

    if (frame->type == FRAME_STOP) {
        worker->is_stopped = true;
    } else if (frame->type == FRAME_PING) {
        answer_ping(worker, frame);
    } else if (frame->type == FRAME_RELEASE) {
        batch_remove(worker->queue, is_released, &release);
        handover_release(worker, frame->request);
        for (int i = 0; i < worker->setup->stage_count; i++)
            release_waiting(worker, i, frame);
        for (int i = 0; i < worker->setup->stage_count; i++)
            if (!worker->sliced || !worker->sliced[i] ||
                !sliced_keeps(worker->sliced[i], frame->request))
                shard_release_stage(worker->shard, i, frame->request);
        if (worker->waiting == frame->request)
            worker->waiting = -1;
    } else if (frame->type == FRAME_RESET) {
        int stage = shard_find_stage(worker->shard, frame->stage);

        if (stage >= 0)
            worker_reset(worker, stage, (int32_t)frame_generation(frame));
    } else if (frame->type == FRAME_CREDIT) {
        worker_take_grant(worker, frame);
    } else if (frame->type == FRAME_MOVE) {
        return handover_ask(worker, message, err);
    } else if (frame->type == FRAME_PEERS) {
        return move_peers(worker, message, err);
    } else if (frame->type == FRAME_UPDATE) {
        worker_ask_stages(worker, message);
    } else if (frame->type == FRAME_ERROR) {
        return err_set(err, ERR_SYSTEM, "the coordinator says: %.*s", (int)frame->payload_bytes,
                       (const char *)message->payload);
    }
    return true;
}

static bool is_move_of_now(const struct worker *worker, const struct frame *frame)
{
    int stage = shard_find_stage(worker->shard, frame->stage);

    return frame->type == FRAME_MOVE && stage >= 0 &&
           frame_generation(frame) == worker->generations[stage];
}

bool worker_receive_moves(struct worker *worker, struct err *err)
{
    for (;;) {
        struct err ignored = ERR_INIT;
        int32_t number = worker_new_job(worker);
        struct channel_message *message = &worker->jobs[number]->message;
        bool ok;

        if (channel_receive(worker->control, message, &ignored) != CHANNEL_DONE) {
            worker_free_job(worker, number);
            return true;
        }
        if (!is_move_of_now(worker, &message->frame)) {
            ring_push(&worker->later, worker->arena, number);
            continue;
        }
        ok = worker_on_control(worker, message, err);
        channel_message_close(message);
        worker_free_job(worker, number);
        if (!ok)
            return false;
    }
}

static bool take_later(struct worker *worker, struct err *err)
{
    bool ok = true;

    while (ok && worker->later.count > 0) {
        int32_t number = ring_take(&worker->later);

        ok = worker_on_control(worker, &worker->jobs[number]->message, err);
        channel_message_close(&worker->jobs[number]->message);
        worker_free_job(worker, number);
    }
    return ok;
}

bool worker_receive_control(struct worker *worker, struct err *err)
{
    struct channel_message message;
    enum channel_result result;
    bool ok = take_later(worker, err);

    do {
        struct err ignored = ERR_INIT;

        result = ok ? channel_receive(worker->control, &message, &ignored) : CHANNEL_LATER;
        if (result == CHANNEL_DONE) {
            ok = worker_on_control(worker, &message, err);
            channel_message_close(&message);
        }
    } while (ok && result != CHANNEL_LATER);
    if (ok && beat_is_orphan(worker->beat))
        ok = err_set(err, ERR_SYSTEM, "the coordinator at %s has not answered for %.1f s",
                     worker->options->connect, (double)BEAT_ORPHAN_NS * 1e-9);
    return ok;
}

bool worker_receive_until(struct worker *worker, int64_t deadline_ns, struct err *err)
{
    struct channel_wait waits[] = { { worker->control, false, false },
                                    { worker->data, false, false } };

    if (!channel_wait(worker->hub, waits, 2, deadline_ns, err) ||
        !worker_receive_control(worker, err))
        return false;
    worker_receive_steps(worker);
    return true;
}
