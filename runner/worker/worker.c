/* worker.c - the life of a worker: join, set up, serve steps, leave.
 *
 * One compute thread takes steps in the order in which they arrive, so that a device is the single
 * FIFO server that the simulator says it is; a second thread beats (beat.c). Whenever a send has to
 * wait, the worker goes on receiving: two workers that feed each other cannot lock up. */
#include "runner/worker/worker.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/kernels/kernels.h"
#include "lib/policy/batch.h"
#include "lib/wire/channel.h"
#include "lib/wire/keys.h"
#include "runner/setup/machine.h"
#include "runner/setup/setup.h"
#include "runner/worker/beat.h"
#include "runner/worker/pad.h"
#include "runner/worker/shard.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define CONTROL_MARK 65536
#define DATA_MARK 0 /* none: queues of steps are unbounded, as in the simulator */
#define TICK_NS INT64_C(500000000)
#define CONNECT_NS INT64_C(5000000000) /* to a next stage that says it listens */
#define LINGER_MS 1000
#define PAD_SPIN_NS INT64_C(200000) /* before a padded deadline nothing else is looked at */
#define PAD_LATE_NS INT64_C(100000) /* a deadline missed by less is met */

struct job { /* a step that waits for the processor */
    struct channel_message message;
    int64_t receive_ns;
    int stage; /* index into setup.stages */
};

struct worker {
    const struct worker_options *options;
    struct arena *arena;
    struct channel_hub *hub;
    struct channel *control, *data;
    struct beat *beat;
    const struct setup *setup;
    struct shard *shard;
    struct pad *pad;           /* NULL without padding */
    struct channel **outs;     /* of each stage, to the next one; NULL for a last stage */
    int32_t *next;             /* plan stage behind each stage */
    struct batch_queue *queue; /* of job numbers */
    struct job **jobs;
    int32_t *free_jobs;
    int job_count, free_count, job_capacity;
    int64_t waiting; /* request whose step waits for its deadline or to be sent, -1 = none */
    bool is_stopped;
};

/* ---- receiving ---- */

static int32_t new_job(struct worker *worker)
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

static void free_job(struct worker *worker, int32_t number)
{
    worker->free_jobs[worker->free_count++] = number;
}

/* A stray frame is dropped: one that is no frame, and one for a stage that is not here. */
static void receive_steps(struct worker *worker)
{
    for (;;) {
        struct err ignored = ERR_INIT;
        int32_t number = new_job(worker);
        struct job *job = worker->jobs[number];
        enum channel_result result = channel_receive(worker->data, &job->message, &ignored);

        if (result == CHANNEL_DONE) {
            job->receive_ns = clock_now_ns();
            job->stage = shard_find_stage(worker->shard, job->message.frame.stage);
            if (job->message.frame.type == FRAME_STEP && job->stage >= 0) {
                batch_push(worker->queue, number);
                continue;
            }
            channel_message_close(&job->message);
        }
        free_job(worker, number);
        if (result == CHANNEL_LATER)
            return;
    }
}

struct release {
    struct worker *worker;
    int64_t request;
};

static bool is_released(void *arg, int32_t number)
{
    const struct release *release = arg;
    struct job *job = release->worker->jobs[number];

    if (job->message.frame.request != release->request)
        return false;
    channel_message_close(&job->message);
    free_job(release->worker, number);
    return true;
}

static void answer_ping(struct worker *worker, const struct frame *ping)
{
    struct err ignored = ERR_INIT; /* the coordinator asks again */
    struct frame pong = { .type = FRAME_PONG, .start_ns = ping->start_ns };

    pong.finish_ns = clock_now_ns();
    channel_send(worker->control, NULL, &pong, NULL, &ignored);
}

static bool on_control(struct worker *worker, const struct channel_message *message,
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
        shard_release(worker->shard, frame->request);
        if (worker->waiting == frame->request)
            worker->waiting = -1;
    } else if (frame->type == FRAME_ERROR) {
        return err_set(err, ERR_SYSTEM, "the coordinator says: %.*s", (int)frame->payload_bytes,
                       (const char *)message->payload);
    }
    return true;
}

static bool receive_control(struct worker *worker, struct err *err)
{
    struct channel_message message;
    enum channel_result result;
    bool ok = true;

    do {
        struct err ignored = ERR_INIT;

        result = channel_receive(worker->control, &message, &ignored);
        if (result == CHANNEL_DONE) {
            ok = on_control(worker, &message, err);
            channel_message_close(&message);
        }
    } while (ok && result != CHANNEL_LATER);
    if (ok && beat_is_orphan(worker->beat))
        ok = err_set(err, ERR_SYSTEM, "the coordinator at %s has not answered for %d s",
                     worker->options->connect, (int)(BEAT_ORPHAN_NS / 1000000000));
    return ok;
}

/* ---- sending ---- */

/* Sends, and receives while there is no room. A step is given up in silence when the run is over or
 * its request is released: nobody waits for it then. */
static bool send_frame(struct worker *worker, struct channel *out, const struct frame *frame,
                       const void *payload, bool is_words, struct err *err)
{
    enum channel_result result;

    worker->waiting = frame->request;
    for (;;) {
        result = is_words ? channel_send_words(out, NULL, frame, payload, err)
                          : channel_send(out, NULL, frame, payload, err);
        if (result != CHANNEL_LATER)
            break;
        struct channel_wait waits[] = { { out, true, false },
                                        { worker->control, false, false },
                                        { worker->data, false, false } };

        if (!channel_wait(worker->hub, waits, 3, clock_now_ns() + TICK_NS, err) ||
            !receive_control(worker, err))
            return false;
        receive_steps(worker);
        if (out != worker->control && (worker->is_stopped || worker->waiting < 0))
            return true;
    }
    worker->waiting = -1;
    return result == CHANNEL_DONE;
}

static bool send_output(struct worker *worker, const struct job *job,
                        const struct shard_output *output, struct err *err)
{
    struct channel *out = worker->outs[job->stage];
    struct frame frame = job->message.frame;

    frame.payload_bytes = (int64_t)output->bytes;
    frame.type = out ? FRAME_STEP : FRAME_RESULT;
    if (out)
        frame.stage = worker->next[job->stage];
    frame.start_ns = clock_now_ns();
    frame.finish_ns = 0;
    return send_frame(worker, out ? out : worker->control, &frame, output->words, true, err);
}

static bool send_record(struct worker *worker, const struct job *job, int64_t start_ns,
                        int64_t finish_ns, bool is_late, struct err *err)
{
    struct frame frame = job->message.frame;
    unsigned char payload[24];

    frame_put_int64(payload, job->message.frame.start_ns);
    frame_put_int64(payload + 8, job->receive_ns);
    frame_put_int64(payload + 16, is_late ? 1 : 0);
    frame.type = FRAME_RECORD;
    frame.start_ns = start_ns;
    frame.finish_ns = finish_ns;
    frame.payload_bytes = sizeof payload;
    return send_frame(worker, worker->control, &frame, payload, false, err);
}

static bool send_text(struct worker *worker, enum frame_type type, const char *text,
                      struct err *err)
{
    struct frame frame = { .type = type, .payload_bytes = (int64_t)strlen(text) };
    enum channel_result result = channel_send(worker->control, NULL, &frame, text, err);

    return result == CHANNEL_DONE || err_set(err, ERR_SYSTEM, "the coordinator at %s does not read",
                                             worker->options->connect);
}

/* ---- serving ---- */

/* Until the padded device would have computed the step, receiving meanwhile. *is_wanted: false when
 * the run is over or the request has been released before that. */
static bool wait_for_deadline(struct worker *worker, const struct job *job, int64_t start_ns,
                              bool *is_wanted, bool *is_late, struct err *err)
{
    const struct frame *frame = &job->message.frame;
    int64_t price_ps, deadline_ns;

    if (!pad_price(worker->pad, job->stage, frame->new_tokens, frame->past_tokens, &price_ps, err))
        return false;
    deadline_ns = start_ns + price_ps / UNITS_PS_PER_NS;
    worker->waiting = frame->request;
    while (clock_now_ns() < deadline_ns - PAD_SPIN_NS) {
        struct channel_wait waits[] = { { worker->control, false, false },
                                        { worker->data, false, false } };
        int64_t until_ns = clock_now_ns() + TICK_NS;

        if (until_ns > deadline_ns - PAD_SPIN_NS)
            until_ns = deadline_ns - PAD_SPIN_NS;
        if (!channel_wait(worker->hub, waits, 2, until_ns, err) || !receive_control(worker, err))
            return false;
        receive_steps(worker);
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

static bool run_job(struct worker *worker, int32_t number, struct err *err)
{
    struct job *job = worker->jobs[number];
    const struct frame *frame = &job->message.frame;
    struct frame refusal = { .type = FRAME_REFUSE,
                             .stage = frame->stage,
                             .request = frame->request };
    struct shard_output output;
    enum shard_result result;
    int64_t start_ns = clock_now_ns(), finish_ns;
    bool is_late = false, is_wanted = true, ok = true;

    beat_set_busy(worker->beat, true);
    result = shard_step(worker->shard, job->stage, frame, job->message.payload, &output, err);
    if (result == SHARD_DONE && worker->pad)
        ok = wait_for_deadline(worker, job, start_ns, &is_wanted, &is_late, err);
    finish_ns = clock_now_ns();
    beat_set_busy(worker->beat, false);
    if (result == SHARD_BAD)
        ok = false;
    else if (result == SHARD_REFUSED)
        ok = send_frame(worker, worker->control, &refusal, NULL, false, err);
    else if (result == SHARD_DONE && ok &&
             is_wanted) /* the next stage waits for it: before the record */
        ok = send_output(worker, job, &output, err) &&
             send_record(worker, job, start_ns, finish_ns, is_late, err);
    channel_message_close(&job->message);
    free_job(worker, number);
    return ok;
}

static bool serve(struct worker *worker, struct err *err)
{
    while (!worker->is_stopped) {
        bool is_idle = batch_peek(worker->queue) < 0;
        struct channel_wait waits[] = { { worker->control, false, false },
                                        { worker->data, false, false } };

        if (is_idle && !channel_wait(worker->hub, waits, 2, clock_now_ns() + TICK_NS, err))
            return false;
        if (!receive_control(worker, err))
            return false;
        receive_steps(worker);
        if (!worker->is_stopped && batch_peek(worker->queue) >= 0 &&
            !run_job(worker, batch_take(worker->queue), err))
            return false;
    }
    return true;
}

/* ---- joining ---- */

/* Waits for one frame of the type; any ERROR, STOP or lasting silence ends the wait. */
static bool await(struct worker *worker, enum frame_type type, struct channel_message *message,
                  struct err *err)
{
    while (!beat_is_orphan(worker->beat)) {
        struct channel_wait wait = { worker->control, false, false };
        enum channel_result result;

        if (!channel_wait(worker->hub, &wait, 1, clock_now_ns() + TICK_NS, err))
            return false;
        result = channel_receive(worker->control, message, err);
        if (result == CHANNEL_BAD)
            return false;
        if (result != CHANNEL_DONE)
            continue;
        if (message->frame.type == type)
            return true;
        if (message->frame.type == FRAME_STOP)
            err_set(err, ERR_SYSTEM, "the coordinator has called the run off");
        else if (message->frame.type == FRAME_ERROR)
            on_control(worker, message, err);
        channel_message_close(message);
        if (err->kind != ERR_NONE)
            return false;
    }
    err_set(err, ERR_SYSTEM, "the coordinator at %s has not answered for %d s",
            worker->options->connect, (int)(BEAT_ORPHAN_NS / 1000000000));
    return false;
}

static bool join(struct worker *worker, struct err *err)
{
    const struct worker_options *options = worker->options;
    char wait_text[UNITS_TEXT_BYTES];
    bool is_open;
    int64_t number = (clock_now_ns() ^ ((int64_t)getpid() << 40)) | 1; /* nobody else's */

    worker->control = channel_open(worker->arena, worker->hub, CHANNEL_DEALER, CONTROL_MARK,
                                   SETUP_MAX_TEXT_BYTES, err);
    if (!worker->control || !channel_connect(worker->control, options->connect, err))
        return false;
    if (!channel_wait_open(worker->hub, worker->control,
                           clock_now_ns() + options->wait_ps / UNITS_PS_PER_NS, &is_open, err))
        return false;
    if (!is_open)
        return err_set(err, ERR_SYSTEM, "no coordinator at %s within %s", options->connect,
                       units_format_human(options->wait_ps, wait_text));
    worker->beat = beat_start(worker->arena, worker->hub, options->connect, number, err);
    return worker->beat &&
           send_text(worker, FRAME_HELLO,
                     setup_encode_hello(worker->arena, options->device, number), err);
}

static bool is_numeric(const char *address)
{
    return strspn(address, "0123456789.:") == strlen(address);
}

/* Where to listen: the command line, else the cluster's devices.csv, else a free port of the
 * interface on the way to the coordinator. advertised = what others must connect to. */
static bool open_data(struct worker *worker, char advertised[CHANNEL_ADDRESS_BYTES],
                      struct err *err)
{
    const char *address = worker->options->listen ? worker->options->listen : worker->setup->bind;
    char host[CHANNEL_ADDRESS_BYTES], bound[CHANNEL_ADDRESS_BYTES];
    int64_t max_bytes = 4;

    for (int i = 0; i < worker->setup->model_count; i++) {
        const struct setup_model *model = &worker->setup->models[i];
        int64_t bytes = 4 * (int64_t)model->max_tokens * model->model.hidden;
        max_bytes = bytes > max_bytes ? bytes : max_bytes;
    }
    if (max_bytes > FRAME_MAX_PAYLOAD_BYTES)
        return err_set(err, ERR_INPUT, "activations of %lld bytes: at most %lld travel at once",
                       (long long)max_bytes, (long long)FRAME_MAX_PAYLOAD_BYTES);
    worker->data =
        channel_open(worker->arena, worker->hub, CHANNEL_PULL, DATA_MARK, max_bytes, err);
    if (!worker->data || !channel_local_host(worker->options->connect, host, err))
        return false;
    if (address[0] == '\0')
        address = arena_printf(worker->arena, "%s:0", host);
    if (!channel_check_address("address of the device", address, err))
        return false;
    /* sockets bind to numbers: for a name, to every interface, and the name is what others use */
    if (!is_numeric(address)) {
        if (!channel_bind(worker->data,
                          arena_printf(worker->arena, "0.0.0.0%s", strrchr(address, ':')), bound,
                          err))
            return false;
        snprintf(advertised, CHANNEL_ADDRESS_BYTES, "%.*s%s",
                 (int)(strrchr(address, ':') - address), address, strrchr(bound, ':'));
        return true;
    }
    if (!channel_bind(worker->data, address, bound, err))
        return false;
    if (strncmp(bound, "0.0.0.0:", 8) == 0) /* every interface: name one that others can reach */
        snprintf(advertised, CHANNEL_ADDRESS_BYTES, "%.200s%s", host, strrchr(bound, ':'));
    else
        memcpy(advertised, bound, CHANNEL_ADDRESS_BYTES);
    return true;
}

static bool set_up(struct worker *worker, struct err *err)
{
    struct channel_message message;
    char advertised[CHANNEL_ADDRESS_BYTES];
    struct setup_ready ready = { .endpoint = advertised };

    if (!await(worker, FRAME_SETUP, &message, err))
        return false;
    worker->setup =
        setup_decode(worker->arena, message.payload, (size_t)message.frame.payload_bytes, err);
    channel_message_close(&message);
    if (!worker->setup)
        return false;
    beat_identify(worker->beat, worker->setup->session, worker->setup->worker);
    worker->queue = batch_queue_create(worker->arena, BATCH_NONE);
    ready.machine = machine_note(worker->arena);
    ready.blas_core = kernel_blas_core();
    ready.weight_bytes = shard_weight_bytes(worker->setup);
    if (worker->setup->pad_ratio > 0) {
        worker->pad = pad_create(worker->arena, worker->setup, err);
        if (!worker->pad)
            return false;
        prctl(PR_SET_TIMERSLACK, 1UL); /* wake at the deadline, not 50 us after it */
    }
    worker->shard = shard_create(worker->arena, worker->setup, err);
    return worker->shard && open_data(worker, advertised, err) &&
           send_text(worker, FRAME_READY, setup_encode_ready(worker->arena, &ready), err);
}

/* Connects the stage to the one after it, and waits until that one has answered. */
static bool connect_out(struct worker *worker, const struct setup_peer *peer, struct err *err)
{
    int index = shard_find_stage(worker->shard, peer->stage);
    struct channel *out;
    bool is_open;

    if (index < 0 || worker->setup->stages[index].is_last || worker->outs[index])
        return err_set(err, ERR_INPUT, "peers: stage %d has no stage after it here", peer->stage);
    out = worker->outs[index] =
        channel_open(worker->arena, worker->hub, CHANNEL_PUSH, DATA_MARK, 0, err);
    worker->next[index] = peer->next;
    if (!out || !channel_connect(out, peer->endpoint, err) ||
        !channel_wait_open(worker->hub, out, clock_now_ns() + CONNECT_NS, &is_open, err))
        return false;
    return is_open || err_set(err, ERR_SYSTEM, "cannot reach the next stage at %s within %d s",
                              peer->endpoint, (int)(CONNECT_NS / 1000000000));
}

static bool meet_peers(struct worker *worker, struct err *err)
{
    size_t stages = (size_t)worker->setup->stage_count;
    struct channel_message message;
    struct setup_peer *peers;
    int count;
    bool ok;

    worker->outs = arena_array(worker->arena, stages, sizeof(struct channel *));
    worker->next = arena_array(worker->arena, stages, sizeof *worker->next);
    if (!await(worker, FRAME_PEERS, &message, err))
        return false;
    ok = setup_decode_peers(worker->arena, message.payload, (size_t)message.frame.payload_bytes,
                            &peers, &count, err);
    channel_message_close(&message);
    for (int i = 0; ok && i < count; i++)
        ok = connect_out(worker, &peers[i], err);
    for (int i = 0; ok && i < worker->setup->stage_count; i++)
        if (!worker->setup->stages[i].is_last && !worker->outs[i])
            ok = err_set(err, ERR_INPUT, "peers: none for stage %d", worker->setup->stages[i].id);
    return ok && send_text(worker, FRAME_UP, "", err);
}

/* ---- the command ---- */

/* Returns whether the coordinator has been told why. */
static bool leave(struct worker *worker, const struct err *err)
{
    struct err ignored = ERR_INIT;
    bool is_told =
        worker->control && worker->beat && !beat_is_orphan(worker->beat) &&
        send_text(worker, err->kind == ERR_NONE ? FRAME_STOP : FRAME_ERROR, err->text, &ignored);

    while (worker->jobs && batch_peek(worker->queue) >= 0)
        channel_message_close(&worker->jobs[batch_take(worker->queue)]->message);
    for (int i = 0; worker->outs && i < worker->setup->stage_count; i++)
        channel_close(worker->outs[i], 0);
    beat_stop(worker->beat);
    channel_close(worker->data, 0);
    channel_close(worker->control, LINGER_MS);
    channel_hub_destroy(worker->hub);
    return is_told;
}

int worker_run(const struct worker_options *options)
{
    struct err err = ERR_INIT;
    struct arena *arena = arena_create();
    const struct keys *keys = NULL;
    bool is_told = false;
    struct worker worker = { .options = options, .arena = arena, .waiting = -1 };

    if (options->keys)
        keys = keys_load(arena, options->keys, &err);
    if (keys || !options->keys)
        worker.hub = channel_hub_create(arena, keys, &err);
    if (worker.hub && join(&worker, &err) && set_up(&worker, &err) && meet_peers(&worker, &err))
        serve(&worker, &err);
    if (worker.hub)
        is_told = leave(&worker, &err);
    shard_destroy(worker.shard);
    arena_destroy(arena);
    if (err.kind == ERR_NONE)
        return CLI_DONE;
    if (options->parent == 0 || !is_told) /* else the parent prints it */
        fprintf(stderr, "orrery-run worker %s: %s\n", options->device, err.text);
    return CLI_FAIL;
}
