/* listener.c - a thread that reads a channel which is lent to it, and sleeps otherwise.
 *
 * The mutex is held by whoever reads: by the thread, while the channel is lent, and by nobody
 * else. In between it waits at the descriptor of the channel, or, when it is woken there and the
 * channel is not lent, until it is: what comes while the worker is idle wakes it once a loan. */
#include "runner/worker/listener.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct heard {
    struct channel_message message;
    int64_t receive_ns;
};

struct listener {
    struct channel *channel;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t lent;
    int stop; /* eventfd */
    bool is_lent, is_stopping;
    int taken, count; /* of heard */
    struct heard *heard;
};

static void hear(struct listener *listener)
{
    while (listener->count < LISTENER_ROOM) {
        struct heard *heard = &listener->heard[listener->count];
        struct err ignored = ERR_INIT; /* a stray frame is dropped */
        enum channel_result result = channel_receive(listener->channel, &heard->message, &ignored);

        if (result == CHANNEL_LATER)
            return;
        heard->receive_ns = clock_now_ns();
        listener->count += result == CHANNEL_DONE;
    }
}

static void *run(void *arg)
{
    struct listener *listener = arg;

    pthread_mutex_lock(&listener->mutex);
    for (;;) {
        struct pollfd waits[] = { { channel_descriptor(listener->channel), POLLIN, 0 },
                                  { listener->stop, POLLIN, 0 } };

        while (!listener->is_stopping && (!listener->is_lent || listener->count == LISTENER_ROOM))
            pthread_cond_wait(&listener->lent, &listener->mutex);
        if (listener->is_stopping)
            break;
        hear(listener);
        pthread_mutex_unlock(&listener->mutex);
        poll(waits, 2, -1);
        pthread_mutex_lock(&listener->mutex);
    }
    pthread_mutex_unlock(&listener->mutex);
    return NULL;
}

struct listener *listener_start(struct arena *arena, struct channel *channel, struct err *err)
{
    struct listener *listener = arena_alloc(arena, sizeof *listener);

    listener->channel = channel;
    listener->heard = arena_array(arena, LISTENER_ROOM, sizeof *listener->heard);
    listener->stop = eventfd(0, EFD_CLOEXEC);
    if (listener->stop < 0) {
        err_errno(err, "eventfd");
        return NULL;
    }
    pthread_mutex_init(&listener->mutex, NULL);
    pthread_cond_init(&listener->lent, NULL);
    errno = pthread_create(&listener->thread, NULL, run, listener);
    if (errno == 0)
        return listener;
    err_errno(err, "pthread_create");
    close(listener->stop);
    return NULL;
}

void listener_lend(struct listener *listener)
{
    pthread_mutex_lock(&listener->mutex);
    listener->is_lent = true;
    pthread_cond_signal(&listener->lent);
    pthread_mutex_unlock(&listener->mutex);
}

void listener_return(struct listener *listener)
{
    pthread_mutex_lock(&listener->mutex);
    listener->is_lent = false;
    pthread_mutex_unlock(&listener->mutex);
}

bool listener_take(struct listener *listener, struct channel_message *message, int64_t *receive_ns)
{
    if (listener->taken == listener->count) {
        listener->taken = listener->count = 0;
        return false;
    }
    channel_message_move(message, &listener->heard[listener->taken].message);
    *receive_ns = listener->heard[listener->taken++].receive_ns;
    return true;
}

void listener_stop(struct listener *listener)
{
    const uint64_t one = 1;

    if (!listener)
        return;
    pthread_mutex_lock(&listener->mutex);
    listener->is_stopping = true;
    pthread_cond_signal(&listener->lent);
    pthread_mutex_unlock(&listener->mutex);
    while (write(listener->stop, &one, sizeof one) < 0 && errno == EINTR)
        continue;
    pthread_join(listener->thread, NULL);
    pthread_cond_destroy(&listener->lent);
    pthread_mutex_destroy(&listener->mutex);
    close(listener->stop);
    for (; listener->taken < listener->count; listener->taken++)
        channel_message_close(&listener->heard[listener->taken].message);
}
