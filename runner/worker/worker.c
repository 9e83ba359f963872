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
#include "lib/policy/quantise.h"
#include "lib/wire/channel.h"
#include "lib/wire/keys.h"
#include "runner/setup/machine.h"
#include "runner/setup/setup.h"
#include "runner/worker/batcher.h"
#include "runner/worker/beat.h"
#include "runner/worker/handover.h"
#include "runner/worker/internal.h"
#include "runner/worker/listener.h"
#include "runner/worker/pad.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define CONTROL_MARK 65536
#define DATA_MARK 0 /* none: queues of steps are unbounded, as in the simulator */
#define MEET_TICK_NS INT64_C(100000000)
#define CONNECT_NS INT64_C(5000000000) /* to a next stage that says it listens */
#define LINGER_MS 1000

static bool send_text(struct worker *worker, enum frame_type type, const char *text,
                      struct err *err)
{
    struct frame frame = { .type = type, .payload_bytes = (int64_t)strlen(text) };
    enum channel_result result = channel_send(worker->control, NULL, &frame, text, err);

    return result == CHANNEL_DONE || err_set(err, ERR_SYSTEM, "the coordinator at %s does not read",
                                             worker->options->connect);
}

/* ---- joining ---- */

/* Waits for one frame of the type; any ERROR, STOP or lasting silence ends the wait. */
static bool await(struct worker *worker, enum frame_type type, struct channel_message *message,
                  struct err *err)
{
    while (!beat_is_orphan(worker->beat)) {
        struct channel_wait wait = { worker->control, false, false };
        enum channel_result result;

        if (!channel_wait(worker->hub, &wait, 1, clock_now_ns() + WORKER_TICK_NS, err))
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
            worker_on_control(worker, message, err);
        channel_message_close(message);
        if (err->kind != ERR_NONE)
            return false;
    }
    err_set(err, ERR_SYSTEM, "the coordinator at %s has not answered for %.1f s",
            worker->options->connect, (double)BEAT_ORPHAN_NS * 1e-9);
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

int64_t worker_message_bytes(const struct worker *worker)
{
    int64_t max_bytes = 4;

    for (int i = 0; i < worker->setup->model_count; i++) {
        const struct setup_model *model = &worker->setup->models[i];
        int64_t bytes = 4 * (int64_t)model->max_tokens * model->model.hidden;

        bytes += QUANTISE_SCALE_BYTES;
        /* of a batch as many may lose their caches as compute */
        bytes += INT64_C(8) * FRAME_ENTRY_WORDS * model->max_seqs;

        max_bytes = bytes > max_bytes ? bytes : max_bytes;
    }
    for (int i = 0; i < worker->setup->stage_count; i++) {
        const struct setup_stage *stage = &worker->setup->stages[i];
        int64_t cache_bytes = handover_message_bytes(&worker->setup->models[stage->model]);

        if (stage->phase == SETUP_DECODING && cache_bytes > max_bytes)
            max_bytes = cache_bytes;
    }
    for (int i = 0; i < worker->setup->stage_count; i++) {
        int64_t bytes =
            sliced_message_bytes(&worker->setup->models[worker->setup->stages[i].model]);

        if (worker->sliced[i] && bytes > max_bytes)
            max_bytes = bytes;
    }
    return max_bytes;
}

/* Of whatever stages of these models an update may bring; a socket is told once. */
static int64_t most_bytes(const struct setup *setup)
{
    int64_t most = 0;

    for (int i = 0; i < setup->model_count; i++) {
        if (sliced_message_bytes(&setup->models[i]) > most)
            most = sliced_message_bytes(&setup->models[i]);
        if (handover_message_bytes(&setup->models[i]) > most)
            most = handover_message_bytes(&setup->models[i]);
    }
    return most < FRAME_MAX_PAYLOAD_BYTES ? most : FRAME_MAX_PAYLOAD_BYTES;
}

/* Where to listen: the command line, else the cluster's devices.csv, else a free port of the
 * interface on the way to the coordinator. advertised = what others must connect to. */
static bool open_data(struct worker *worker, char advertised[CHANNEL_ADDRESS_BYTES],
                      struct err *err)
{
    const char *address = worker->options->listen ? worker->options->listen : worker->setup->bind;
    char host[CHANNEL_ADDRESS_BYTES], bound[CHANNEL_ADDRESS_BYTES];
    int64_t need_bytes = worker_message_bytes(worker), bytes = most_bytes(worker->setup);

    if (need_bytes > FRAME_MAX_PAYLOAD_BYTES)
        return err_set(err, ERR_INPUT, "activations of %lld bytes: at most %lld travel at once",
                       (long long)need_bytes, (long long)FRAME_MAX_PAYLOAD_BYTES);
    worker->data_bytes = bytes > need_bytes ? bytes : need_bytes;
    worker->data =
        channel_open(worker->arena, worker->hub, CHANNEL_PULL, DATA_MARK, worker->data_bytes, err);
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

void worker_hold_stages(struct worker *worker, int first_stage)
{
    size_t old = (size_t)first_stage, count = (size_t)worker->setup->stage_count;

    worker->room = arena_grow(worker->arena, worker->room, old, count, sizeof(int32_t *));
    worker->owed = arena_grow(worker->arena, worker->owed, old, count, sizeof(int32_t));
    worker->token_ns = arena_grow(worker->arena, worker->token_ns, old, count, sizeof(int64_t));
    worker->generations =
        arena_grow(worker->arena, worker->generations, old, count, sizeof(int32_t));
    worker->sliced = arena_grow(worker->arena, worker->sliced, old, count, sizeof(struct sliced *));
    worker->batchers =
        arena_grow(worker->arena, worker->batchers, old, count, sizeof(struct batcher *));
    for (int i = first_stage; i < worker->setup->stage_count; i++) {
        const struct setup_stage *stage = &worker->setup->stages[i];

        worker->batchers[i] = stage->batch_size > 1 && stage->has_embed && stage->position == 0 &&
                                      stage->phase != SETUP_DECODING
                                  ? batcher_create(worker->arena, stage,
                                                   worker->setup->models[stage->model].max_tokens)
                                  : NULL;
        worker->room[i] = NULL;
        worker_fill_room(worker, i);
        worker->owed[i] = 0;
        worker->generations[i] = stage->generation;
        worker->sliced[i] =
            worker->setup->stages[i].position_count > 0 ? sliced_create(worker, i) : NULL;
    }
    handover_hold_stages(worker, first_stage);
    worker_look_between(worker);
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
        if (worker->options->processor >= 0 && worker->setup->threads == 1)
            machine_stay_on_processor(worker->options->processor, &worker->processors);
    }
    worker->shard = shard_create(worker->arena, worker->setup, NULL, NULL, err);
    if (!worker->shard)
        return false;
    worker_hold_stages(worker, 0);
    if (!open_data(worker, advertised, err))
        return false;
    if (!worker->pad && !(worker->listener = listener_start(worker->arena, worker->data, err)))
        return false;
    return send_text(worker, FRAME_READY, setup_encode_ready(worker->arena, &ready), err);
}

bool worker_add_peer(struct worker *worker, int32_t number, const char *endpoint, struct err *err)
{
    struct channel *out = channel_open(worker->arena, worker->hub, CHANNEL_PUSH, DATA_MARK, 0, err);
    size_t old = (size_t)worker->peer_capacity, capacity = old > 0 ? 2 * old : 8;

    if (!out)
        return false;
    if (worker->peer_count == worker->peer_capacity) {
        worker->peers =
            arena_grow(worker->arena, worker->peers, old, capacity, sizeof(struct channel *));
        worker->are_lost = arena_grow(worker->arena, worker->are_lost, old, capacity, sizeof(bool));
        worker->peer_numbers =
            arena_grow(worker->arena, worker->peer_numbers, old, capacity, sizeof(int32_t));
        worker->peer_endpoints =
            arena_grow(worker->arena, worker->peer_endpoints, old, capacity, sizeof(char *));
        worker->peer_capacity = (int32_t)capacity;
    }
    worker->peers[worker->peer_count] = out;
    worker->are_lost[worker->peer_count] = false;
    worker->peer_endpoints[worker->peer_count] = arena_strdup(worker->arena, endpoint);
    worker->peer_numbers[worker->peer_count++] = number;
    return channel_connect(out, endpoint, err);
}

/* A stage of this worker to which caches go. */
static bool takes_caches(const struct worker *worker, int32_t id)
{
    int stage = shard_find_stage(worker->shard, id);

    return stage >= 0 && worker->setup->stages[stage].phase == SETUP_DECODING;
}

/* Whoever the stage sends to has been named. */
static bool check_peers(const struct worker *worker, const struct setup_stage *stage,
                        struct err *err)
{
    bool ok = true;

    for (int32_t k = 0; k < stage->next_count && stage->position == 0; k++)
        ok = ok && worker_find_peer(worker, stage->nexts[k].worker);
    if (stage->depth > 0 && stage->position == 0 && stage->previous_worker != SETUP_COORDINATOR)
        ok = ok && worker_find_peer(worker, stage->previous_worker);

    for (int i = 0; ok && i < stage->move_count; i++)
        ok = stage->moves[i].to_worker == worker->setup->worker
                 ? takes_caches(worker, stage->moves[i].to_stage)
                 : worker_find_peer(worker, stage->moves[i].to_worker) != NULL;
    for (int32_t i = 0; ok && i < stage->position_count; i++)
        ok = i == stage->position || worker_find_peer(worker, stage->workers[i]);
    return ok || err_set(err, ERR_INPUT, "peers: one of stage %d is missing", stage->id);
}

/* Listens meanwhile: the peer may be lost before it has answered. */
static bool await_peer(struct worker *worker, int32_t peer, int64_t deadline_ns, bool *is_open,
                       struct err *err)
{
    for (*is_open = false; !*is_open && !worker->are_lost[peer] && !worker->is_stopped;) {
        int64_t until_ns = clock_now_ns() + MEET_TICK_NS;

        if (clock_now_ns() >= deadline_ns)
            return true;
        if (!channel_wait_open(worker->hub, worker->peers[peer],
                               until_ns < deadline_ns ? until_ns : deadline_ns, is_open, err) ||
            !worker_receive_control(worker, err))
            return false;
    }
    *is_open = true; /* or nobody waits for it any more */
    return true;
}

bool worker_await_peers(struct worker *worker, int32_t first, int first_stage, int64_t wait_ns,
                        struct err *err)
{
    for (int32_t i = first; i < worker->peer_count; i++) {
        bool is_open;

        if (!await_peer(worker, i, clock_now_ns() + wait_ns, &is_open, err))
            return false;
        if (!is_open)
            return err_set(err, ERR_SYSTEM, "cannot reach the worker at %s within %d s",
                           worker->peer_endpoints[i], (int)(wait_ns / 1000000000));
    }
    for (int i = first_stage; i < worker->setup->stage_count; i++)
        if (!check_peers(worker, &worker->setup->stages[i], err))
            return false;
    return true;
}

static bool meet_peers(struct worker *worker, struct err *err)
{
    struct channel_message message;
    struct setup_peer *peers;
    int count;
    bool ok;

    if (!await(worker, FRAME_PEERS, &message, err))
        return false;
    ok = setup_decode_peers(worker->arena, message.payload, (size_t)message.frame.payload_bytes,
                            &peers, &count, err);
    channel_message_close(&message);
    if (!ok)
        return false;
    for (int i = 0; ok && i < count; i++)
        ok = worker_add_peer(worker, peers[i].worker, peers[i].endpoint, err);
    return ok && worker_await_peers(worker, 0, 0, CONNECT_NS, err) &&
           send_text(worker, FRAME_UP, "", err);
}

/* ---- the command ---- */

/* Returns whether the coordinator has been told why. */
static bool leave(struct worker *worker, const struct err *err)
{
    struct err ignored = ERR_INIT;
    bool is_told =
        worker->control && worker->beat && !beat_is_orphan(worker->beat) &&
        send_text(worker, err->kind == ERR_NONE ? FRAME_STOP : FRAME_ERROR, err->text, &ignored);

    while (worker->jobs && batch_peek(worker->queue) >= 0) {
        struct job *job = worker->jobs[batch_take(worker->queue)];

        if (job->piece == WORKER_NO_PIECE)
            channel_message_close(&job->message);
    }
    for (int i = 0; worker->sliced && i < worker->setup->stage_count; i++) {
        int32_t job;

        if (worker->sliced[i])
            sliced_close(worker->sliced[i]);
        while (worker->jobs && worker->batchers[i] &&
               (job = batcher_drop(worker->batchers[i])) >= 0)
            channel_message_close(&worker->jobs[job]->message);
    }
    handover_close(worker);
    while (worker->later.count > 0)
        channel_message_close(&worker->jobs[ring_take(&worker->later)]->message);
    while (worker->later_steps.count > 0)
        channel_message_close(&worker->jobs[ring_take(&worker->later_steps)]->message);
    worker_drop_added(worker);
    for (int32_t i = 0; i < worker->peer_count; i++)
        channel_close(worker->peers[i], 0);
    beat_stop(worker->beat);
    listener_stop(worker->listener);
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
    struct worker worker = {
        .options = options, .arena = arena, .waiting = -1, .trouble = ERR_INIT
    };

    if (options->keys)
        keys = keys_load(arena, options->keys, &err);
    if (keys || !options->keys)
        worker.hub = channel_hub_create(arena, keys, &err);
    if (worker.hub && join(&worker, &err) && set_up(&worker, &err) && meet_peers(&worker, &err))
        worker_serve(&worker, &err);
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
