/* members.c - a fixed batch, made up of the requests that have waited for it in front of a stage 0.
 */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "runner/setup/setup.h"
#include "runner/worker/batcher.h"
#include "runner/worker/internal.h"
#include "runner/worker/shard.h"

/* As they would have come over the wire. */
static const void *wire_words(struct arena *arena, const int32_t *words, size_t count)
{
    unsigned char *bytes = arena_alloc(arena, 4 * count);

    frame_put_words(bytes, words, count);
    return bytes;
}

/* The entry of a request and its tokens, behind the others; rows: of each. */
static bool put_member(struct worker *worker, const struct job *job, int32_t at, int32_t count,
                       int32_t rows, int32_t *words, struct err *err)
{
    const struct frame *frame = &job->message.frame;
    int32_t *tokens = words + FRAME_ENTRY_WORDS * (ptrdiff_t)count + (ptrdiff_t)rows * at;

    if (!shard_step_ok(worker->shard, job->stage, frame, err))
        return false;
    if (frame->payload_bytes != 4 * (int64_t)frame->new_tokens || frame->past_tokens != 0)
        return err_set(err, ERR_INPUT, "stage %d: a first step of %d tokens is none", frame->stage,
                       frame->new_tokens);
    frame_put_entry(
        words + FRAME_ENTRY_WORDS * (ptrdiff_t)at,
        &(struct frame_entry){ frame->request, frame->new_tokens, 0, frame->total_tokens });
    frame_get_words(tokens, job->message.payload, (size_t)frame->new_tokens);
    for (int32_t i = frame->new_tokens; i < rows; i++)
        tokens[i] = 0;
    return true;
}

static bool put_members(struct worker *worker, int stage, struct made *made, struct err *err)
{
    const struct setup_stage *setup = &worker->setup->stages[stage];
    int32_t *words = batcher_words(worker->batchers[stage]), count = made->count, rows = 0;

    for (int32_t i = 0; i < count; i++)
        if (worker->jobs[made->jobs[i]]->message.frame.new_tokens > rows)
            rows = worker->jobs[made->jobs[i]]->message.frame.new_tokens;
    if ((int64_t)rows * count > worker->setup->models[setup->model].max_tokens)
        return err_set(err, ERR_INPUT, "stage %d: a batch of %d x %d tokens", setup->id, count,
                       rows);
    for (int32_t i = 0; i < count; i++)
        if (!put_member(worker, worker->jobs[made->jobs[i]], i, count, rows, words, err))
            return false;
    made->frame = (struct frame){ .type = FRAME_STEP,
                                  .stage = setup->id,
                                  .request = batcher_leave(worker->batchers[stage]),
                                  .way = worker->jobs[made->jobs[0]]->message.frame.way,
                                  .new_tokens = rows * count,
                                  .entries = count,
                                  .finish_ns = worker->generations[stage] };
    made->frame.payload_bytes =
        4 * ((int64_t)FRAME_ENTRY_WORDS * count + (int64_t)made->frame.new_tokens);
    made->payload = wire_words(made->arena, words, (size_t)made->frame.payload_bytes / 4);
    return true;
}

bool worker_make_batch(struct worker *worker, int stage, struct made *made, struct err *err)
{
    struct batcher *batcher = worker->batchers[stage];
    int32_t count = (int32_t)batcher_count(batcher);
    struct arena *arena = arena_create();
    int32_t *jobs = arena_array(arena, (size_t)count, sizeof *jobs);
    struct came *came = arena_array(arena, (size_t)count, sizeof *came);

    for (int32_t i = 0; i < count; i++) {
        const struct job *job;

        jobs[i] = batcher_take(batcher);
        job = worker->jobs[jobs[i]];
        came[i] = (struct came){ job->message.frame.start_ns, job->receive_ns };
    }
    *made = (struct made){ .arena = arena, .count = count, .jobs = jobs, .came = came };
    worker_owe_waiting(worker, stage, count);
    return put_members(worker, stage, made, err);
}

void worker_drop_made(struct worker *worker, const struct made *made)
{
    for (int32_t i = 0; i < made->count; i++) {
        channel_message_close(&worker->jobs[made->jobs[i]]->message);
        worker_free_job(worker, made->jobs[i]);
    }
    arena_destroy(made->arena);
}
