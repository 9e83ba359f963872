/* batch.c - a first-in first-out queue in a ring that doubles when it is full. */
#include "lib/policy/batch.h"

#include "lib/base/arena.h"
#include <assert.h>
#include <stddef.h>
#include <string.h>

#define FIRST_ROOM 16 /* a power of two, as every later room */

const char *const batch_names[BATCH_KIND_COUNT] = { [BATCH_NONE] = "none" };

struct batch_queue {
    struct arena *arena;
    enum batch_kind kind;
    int32_t *jobs;
    size_t room, head, length;
};

struct batch_queue *batch_queue_create(struct arena *arena, enum batch_kind kind)
{
    struct batch_queue *queue = arena_alloc(arena, sizeof *queue);

    assert(kind < BATCH_KIND_COUNT);
    queue->arena = arena;
    queue->kind = kind;
    queue->room = FIRST_ROOM;
    queue->jobs = arena_array(arena, queue->room, sizeof *queue->jobs);
    return queue;
}

static int32_t *slot(const struct batch_queue *queue, size_t index)
{
    return &queue->jobs[(queue->head + index) & (queue->room - 1)];
}

void batch_push(struct batch_queue *queue, int32_t job)
{
    assert(job >= 0); /* -1 stands for an empty queue */
    if (queue->length == queue->room) {
        /* Unrolled, the part that had wrapped round comes to lie behind the rest. */
        queue->jobs =
            arena_grow(queue->arena, queue->jobs, queue->room, 2 * queue->room, sizeof job);
        memcpy(queue->jobs + queue->room, queue->jobs, queue->head * sizeof job);
        queue->room *= 2;
    }
    *slot(queue, queue->length++) = job;
}

int32_t batch_peek(const struct batch_queue *queue)
{
    return queue->length == 0 ? -1 : *slot(queue, 0);
}

int32_t batch_take(struct batch_queue *queue)
{
    int32_t job = batch_peek(queue);

    if (job >= 0) {
        queue->head = (queue->head + 1) & (queue->room - 1);
        queue->length--;
    }
    return job;
}

int64_t batch_length(const struct batch_queue *queue)
{
    return (int64_t)queue->length;
}

void batch_remove(struct batch_queue *queue, bool (*gone)(void *arg, int32_t job), void *arg)
{
    size_t kept = 0;

    for (size_t i = 0; i < queue->length; i++) {
        int32_t job = *slot(queue, i);

        if (!gone(arg, job))
            *slot(queue, kept++) = job;
    }
    queue->length = kept;
}
