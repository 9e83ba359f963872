/* beat.c - the heartbeat thread of a worker. */
#include "runner/worker/beat.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/wire/channel.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>

struct beat {
    struct channel *channel; /* the thread's alone once it runs */
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t stopped;
    bool is_stopping; /* under the mutex */
    _Atomic int64_t session;
    _Atomic int32_t worker;
    _Atomic bool is_busy;
    _Atomic int64_t answered_ns;
};

static void send_beat(struct beat *beat)
{
    struct err ignored = ERR_INIT; /* a beat that cannot be sent shows as silence */
    struct frame frame = {
        .type = FRAME_BEAT,
        .request = atomic_load(&beat->worker),
        .new_tokens = atomic_load(&beat->is_busy) ? 1 : 0,
        .start_ns = atomic_load(&beat->session),
    };

    channel_send(beat->channel, NULL, &frame, NULL, &ignored);
}

static void hear_answers(struct beat *beat)
{
    struct err ignored = ERR_INIT;
    struct channel_message message;
    enum channel_result result;

    while ((result = channel_receive(beat->channel, &message, &ignored)) != CHANNEL_LATER) {
        if (result != CHANNEL_DONE)
            continue;
        if (message.frame.type == FRAME_BEAT)
            atomic_store(&beat->answered_ns, clock_now_ns());
        channel_message_close(&message);
    }
}

static void *run(void *arg)
{
    struct beat *beat = arg;
    int64_t next_ns;

    pthread_mutex_lock(&beat->mutex);
    while (!beat->is_stopping) {
        struct timespec until;

        hear_answers(beat);
        send_beat(beat);
        next_ns = clock_now_ns() + BEAT_EVERY_NS; /* not += : no burst after a suspend */
        until.tv_sec = next_ns / 1000000000;
        until.tv_nsec = next_ns % 1000000000;
        while (!beat->is_stopping &&
               pthread_cond_timedwait(&beat->stopped, &beat->mutex, &until) != ETIMEDOUT)
            ; /* woken early: wait on, or stop */
    }
    pthread_mutex_unlock(&beat->mutex);
    return NULL;
}

struct beat *beat_start(struct arena *arena, struct channel_hub *hub, const char *address,
                        int64_t number, struct err *err)
{
    struct beat *beat = arena_alloc(arena, sizeof *beat);
    pthread_condattr_t monotonic;

    beat->channel = channel_open(arena, hub, CHANNEL_DEALER, 16, 64, err);
    if (!beat->channel)
        return NULL;
    pthread_mutex_init(&beat->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&beat->stopped, &monotonic);
    pthread_condattr_destroy(&monotonic);
    atomic_store(&beat->answered_ns, clock_now_ns());
    atomic_store(&beat->session, number);
    if (channel_connect(beat->channel, address, err)) {
        errno = pthread_create(&beat->thread, NULL, run, beat);
        if (errno == 0)
            return beat;
        err_errno(err, "pthread_create");
    }
    channel_close(beat->channel, 0);
    return NULL;
}

void beat_identify(struct beat *beat, int64_t session, int32_t worker)
{
    atomic_store(&beat->worker, worker);
    atomic_store(&beat->session, session);
}

void beat_set_busy(struct beat *beat, bool is_busy)
{
    atomic_store(&beat->is_busy, is_busy);
}

bool beat_is_orphan(const struct beat *beat)
{
    return clock_now_ns() - atomic_load(&beat->answered_ns) > BEAT_ORPHAN_NS;
}

void beat_stop(struct beat *beat)
{
    if (!beat)
        return;
    pthread_mutex_lock(&beat->mutex);
    beat->is_stopping = true;
    pthread_cond_signal(&beat->stopped);
    pthread_mutex_unlock(&beat->mutex);
    pthread_join(beat->thread, NULL);
    pthread_cond_destroy(&beat->stopped);
    pthread_mutex_destroy(&beat->mutex);
    channel_close(beat->channel, 0);
}
