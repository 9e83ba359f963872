/* reset.c - a replica that has been lost begins anew: nothing of before is left in its stages here.
 *
 * Each time that it is lost it is another generation of itself, which steps, messages of exchanges
 * and credits carry. What is still on the way of an earlier one is dropped when it comes; what
 * comes of a later one says by itself that the earlier one is over. */
#include "lib/policy/batch.h"
#include "lib/wire/channel.h"
#include "runner/setup/setup.h"
#include "runner/worker/batcher.h"
#include "runner/worker/handover.h"
#include "runner/worker/internal.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced.h"

struct reset {
    struct worker *worker;
    int stage;
};

static void drop_job(struct worker *worker, int32_t number)
{
    channel_message_close(&worker->jobs[number]->message);
    worker_free_job(worker, number);
}

static bool is_step_of(void *arg, int32_t number)
{
    const struct reset *reset = arg;
    const struct job *job = reset->worker->jobs[number];

    if (job->stage != reset->stage || job->piece != WORKER_NO_PIECE)
        return false;
    drop_job(reset->worker, number);
    return true;
}

void worker_reset(struct worker *worker, int stage, int32_t generation)
{
    struct reset reset = { worker, stage };
    struct batcher *batcher = worker->batchers[stage];
    int32_t job;

    if (generation <= worker->generations[stage])
        return;
    worker->generations[stage] = generation;
    worker_fill_room(worker, stage);
    worker->owed[stage] = 0;
    batch_remove(worker->queue, is_step_of, &reset);
    while (batcher && (job = batcher_drop(batcher)) >= 0)
        drop_job(worker, job);
    if (batcher)
        batcher_reset(batcher);
    handover_reset(worker, stage);
    if (worker->sliced[stage]) /* its caches may be in use */
        sliced_reset(worker->sliced[stage]);
    else
        shard_release_all(worker->shard, stage);
    if (worker->waiting_stage == stage)
        worker->waiting = -1;
}

bool worker_is_current(struct worker *worker, int stage, int64_t generation)
{
    worker_reset(worker, stage, (int32_t)generation);
    return generation == worker->generations[stage];
}
