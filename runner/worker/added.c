/* added.c - stages that a worker is given while the run goes on: an update of the placement.
 *
 * Their weights are filled by a thread of its own, while the compute thread goes on with the steps
 * that come; matrices that are there already are shared. Each update has an arena. One that was not
 * taken in the end (another worker could not load its share) goes when the next one begins: between
 * steps, as a step that waits for room has its stage in hand. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/wire/channel.h"
#include "runner/setup/machine.h"
#include "runner/setup/setup.h"
#include "runner/worker/internal.h"
#include "runner/worker/pad.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define MEET_NS INT64_C(1000000000) /* workers that have listened for long */

struct added {
    struct added *before;
    struct arena *arena;
    int64_t number; /* of the update */
    const struct setup *setup, *held;
    const cpu_set_t *processors;
    const struct shard *holder;
    struct shard *shard; /* NULL: it is being loaded, or could not be */
    struct pad *pad;
    struct err err;
    pthread_t thread;
    bool is_loading, is_held; /* is_held: its stages are among the worker's */
    _Atomic bool is_done;
    int32_t first_peer;
};

static bool answer(struct worker *worker, const struct added *added, const struct err *why_not,
                   struct err *err)
{
    const struct setup_answer said = { .is_taken = why_not->kind == ERR_NONE,
                                       .line = why_not->text,
                                       .weight_bytes = why_not->kind != ERR_NONE
                                                           ? 0
                                                           : shard_weight_bytes(added->setup) -
                                                                 shard_shared_bytes(added->held,
                                                                                    added->setup) };
    struct arena *arena = arena_create();
    const char *text = setup_encode_answer(arena, &said);
    struct frame frame = { .type = FRAME_UPDATE, .payload_bytes = (int64_t)strlen(text) };
    bool ok = worker_send(worker, WORKER_NO_STAGE, worker->control, &frame, text, false, err);

    arena_destroy(arena);
    return ok;
}

static void *load(void *arg)
{
    struct added *added = arg;

    machine_leave_processor(added->processors);
    if (added->setup->pad_ratio > 0)
        added->pad = pad_create(added->arena, added->setup, &added->err);
    if (added->err.kind == ERR_NONE)
        added->shard =
            shard_create(added->arena, added->setup, added->held, added->holder, &added->err);
    atomic_store(&added->is_done, true);
    return NULL;
}

/* ---- what is there ---- */

/* Stages and models of both, those that are added behind the others. */
static const struct setup *join(struct arena *arena, const struct setup *a, const struct setup *b)
{
    struct setup *joined = arena_alloc(arena, sizeof *joined);

    *joined = *a;
    joined->model_count = a->model_count + b->model_count;
    joined->models = arena_array(arena, (size_t)joined->model_count, sizeof *joined->models);
    memcpy(joined->models, a->models, (size_t)a->model_count * sizeof *a->models);
    memcpy(joined->models + a->model_count, b->models, (size_t)b->model_count * sizeof *b->models);
    joined->stage_count = a->stage_count + b->stage_count;
    joined->stages = arena_array(arena, (size_t)joined->stage_count, sizeof *joined->stages);
    memcpy(joined->stages, a->stages, (size_t)a->stage_count * sizeof *a->stages);
    memcpy(joined->stages + a->stage_count, b->stages, (size_t)b->stage_count * sizeof *b->stages);
    for (int i = a->stage_count; i < joined->stage_count; i++)
        joined->stages[i].model += a->model_count;
    return joined;
}

/* The last one goes: of an update that was not taken, so that none of its stages is in use. */
static void forget(struct worker *worker)
{
    struct added *added = worker->added;

    if (added->is_held) {
        shard_drop_last(worker->shard);
        if (added->pad)
            pad_drop_last(worker->pad);
        worker->setup = added->held;
    } else {
        shard_destroy(added->shard);
    }
    worker->added = added->before;
    arena_destroy(added->arena);
}

void worker_ask_stages(struct worker *worker, const struct channel_message *message)
{
    struct arena *arena = arena_create();
    struct added *asked = arena_alloc(arena, sizeof *asked);

    asked->arena = arena;
    asked->number = message->frame.request;
    asked->setup =
        setup_decode(arena, message->payload, (size_t)message->frame.payload_bytes, &asked->err);
    if (worker->asked)
        arena_destroy(worker->asked->arena);
    worker->asked = asked;
}

/* Begins to load what has been asked for. */
static bool begin(struct worker *worker, struct err *err)
{
    struct added *asked = worker->asked;

    worker->asked = NULL;
    while (worker->added && worker->added->number >= asked->number) {
        if (worker->added->is_loading)
            pthread_join(worker->added->thread, NULL);
        forget(worker);
    }
    asked->held = worker->setup;
    asked->holder = worker->shard;
    asked->processors = &worker->processors;
    if (asked->setup) {
        errno = pthread_create(&asked->thread, NULL, load, asked);
        if (errno != 0)
            err_errno(&asked->err, "pthread_create");
    }
    if (asked->err.kind != ERR_NONE) {
        bool ok = answer(worker, asked, &asked->err, err);

        arena_destroy(asked->arena);
        return ok;
    }
    asked->is_loading = true;
    asked->before = worker->added;
    worker->added = asked;
    return true;
}

/* False with why not in added->err. */
static bool take(struct worker *worker, struct added *added)
{
    int first_stage = worker->setup->stage_count;

    if (!added->shard)
        return false;
    added->is_held = true;
    shard_append(worker->shard, added->shard);
    if (added->pad)
        pad_append(worker->pad, added->pad);
    worker->setup = join(added->arena, worker->setup, added->setup);
    worker_hold_stages(worker, first_stage);
    if (worker_message_bytes(worker) > worker->data_bytes)
        return err_set(&added->err, ERR_SYSTEM,
                       "it has messages of %lld bytes: this run was set up for %lld at most",
                       (long long)worker_message_bytes(worker), (long long)worker->data_bytes);
    return worker_await_peers(worker, 0, first_stage, MEET_NS, &added->err);
}

bool worker_look_added(struct worker *worker, struct err *err)
{
    struct added *added;
    bool ok;

    if (worker->asked && !begin(worker, err))
        return false;
    added = worker->added;
    if (!added || !added->is_loading || !atomic_load(&added->is_done))
        return true;
    pthread_join(added->thread, NULL);
    added->is_loading = false;
    take(worker, added);
    ok = answer(worker, added, &added->err, err);
    if (added->err.kind != ERR_NONE)
        forget(worker);
    return ok;
}

void worker_drop_added(struct worker *worker)
{
    if (worker->asked)
        arena_destroy(worker->asked->arena);
    worker->asked = NULL;
    while (worker->added) {
        if (worker->added->is_loading)
            pthread_join(worker->added->thread, NULL);
        forget(worker);
    }
}
