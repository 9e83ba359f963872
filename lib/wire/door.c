/* door.c - the handler of ZeroMQ's authentication protocol (ZAP, RFC 27), and socket monitors.
 *
 * A listening socket with a secret key alone would encrypt and let in everybody who knows its
 * public half. The handler asks more: that the other side has the cluster's connecting pair. */
#include "lib/wire/door.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/wire/keys.h"
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zmq.h>

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define ZAP_PARTS 7 /* version, request, domain, address, identity, mechanism, credentials */
#define ZAP_PART_BYTES 256
#define KEY_BYTES 32
/* A peer that breaks off once may have been a port scanner or a board that was switched off. */
#define BROKEN_OFF_LIMIT 2

struct door {
    void *socket; /* the thread's alone once it runs */
    pthread_t thread;
    unsigned char public_key[KEY_BYTES]; /* of those who may come in */
};

struct door_watch {
    void *socket;
    const char *reason; /* not yet told, NULL = none */
    int broken_off;     /* handshakes in a row that ended without a word */
};

struct part {
    int size;
    unsigned char bytes[ZAP_PART_BYTES];
};

/* ---- the handler ---- */

/* False when the context is ending. */
static bool receive_parts(void *socket, struct part parts[ZAP_PARTS], int *count)
{
    int more = 1;

    for (*count = 0; more; ++*count) {
        struct part surplus = { 0 };
        struct part *part = *count < ZAP_PARTS ? &parts[*count] : &surplus;
        size_t size = sizeof more;

        do
            part->size = zmq_recv(socket, part->bytes, ZAP_PART_BYTES, 0);
        while (part->size < 0 && zmq_errno() == EINTR);
        if (part->size < 0 || zmq_getsockopt(socket, ZMQ_RCVMORE, &more, &size) != 0)
            return false;
    }
    return true;
}

static bool is_welcome(const struct door *door, const struct part parts[ZAP_PARTS], int count)
{
    return count == ZAP_PARTS && parts[5].size == 5 && memcmp(parts[5].bytes, "CURVE", 5) == 0 &&
           parts[6].size == KEY_BYTES && memcmp(parts[6].bytes, door->public_key, KEY_BYTES) == 0;
}

static void *answer(void *arg)
{
    struct door *door = arg;
    struct part parts[ZAP_PARTS];
    int count;

    while (receive_parts(door->socket, parts, &count)) {
        bool is_in = is_welcome(door, parts, count);
        size_t request_bytes = count > 1 && parts[1].size <= ZAP_PART_BYTES && parts[1].size > 0
                                   ? (size_t)parts[1].size
                                   : 0;

        zmq_send(door->socket, "1.0", 3, ZMQ_SNDMORE);
        zmq_send(door->socket, parts[1].bytes, request_bytes, ZMQ_SNDMORE);
        zmq_send(door->socket, is_in ? "200" : "400", 3, ZMQ_SNDMORE);
        zmq_send(door->socket, "", 0, ZMQ_SNDMORE); /* reason, user and facts: none */
        zmq_send(door->socket, "", 0, ZMQ_SNDMORE);
        zmq_send(door->socket, "", 0, 0);
    }
    zmq_close(door->socket);
    return NULL;
}

struct door *door_open(struct arena *arena, void *context, const struct keys *keys, struct err *err)
{
    const int no_linger = 0;
    struct door *door = arena_alloc(arena, sizeof *door);

    zmq_z85_decode(door->public_key, keys->connect.public_key);
    door->socket = zmq_socket(context, ZMQ_REP);
    if (!door->socket ||
        zmq_setsockopt(door->socket, ZMQ_LINGER, &no_linger, sizeof no_linger) != 0 ||
        zmq_bind(door->socket, ZAP_ENDPOINT) != 0) {
        err_set(err, ERR_SYSTEM, "ZeroMQ authentication: %s", zmq_strerror(zmq_errno()));
    } else {
        errno = pthread_create(&door->thread, NULL, answer, door);
        if (errno == 0)
            return door;
        err_errno(err, "pthread_create");
    }
    if (door->socket)
        zmq_close(door->socket);
    return NULL;
}

void door_close(struct door *door, void *context)
{
    if (!door)
        return;
    zmq_ctx_shutdown(context); /* ends the wait of the thread, which then closes its socket */
    pthread_join(door->thread, NULL);
}

bool door_lock(void *socket, const struct keys *keys, bool is_listener)
{
    const struct keys_pair *own = is_listener ? &keys->listen : &keys->connect;
    const int yes = 1;

    if (is_listener)
        return zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &yes, sizeof yes) == 0 &&
               zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own->secret_key, KEYS_TEXT_BYTES) == 0;
    return zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, keys->listen.public_key, KEYS_TEXT_BYTES) ==
               0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, own->public_key, KEYS_TEXT_BYTES) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, own->secret_key, KEYS_TEXT_BYTES) == 0;
}

/* ---- handshakes that fail ---- */

struct door_watch *door_watch(struct arena *arena, void *context, void *socket)
{
    const int no_linger = 0;
    struct door_watch *watch = arena_alloc(arena, sizeof *watch);
    char endpoint[64];

    snprintf(endpoint, sizeof endpoint, "inproc://watch-%p", socket);
    if (zmq_socket_monitor(socket, endpoint,
                           ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                               ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                               ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) != 0)
        return NULL;
    watch->socket = zmq_socket(context, ZMQ_PAIR);
    if (!watch->socket)
        return NULL;
    if (zmq_setsockopt(watch->socket, ZMQ_LINGER, &no_linger, sizeof no_linger) == 0 &&
        zmq_connect(watch->socket, endpoint) == 0)
        return watch;
    zmq_close(watch->socket);
    return NULL;
}

void door_unwatch(struct door_watch *watch, void *socket)
{
    if (!watch)
        return;
    zmq_socket_monitor(socket, NULL, 0);
    zmq_close(watch->socket);
}

static void hear(struct door_watch *watch, uint16_t event, uint32_t value)
{
    switch (event) {
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        watch->broken_off = 0;
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        watch->reason = value == ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
                            ? "one side has keys (--keys) and the other has none"
                            : "the keys of the two sides differ, or it does not speak ZeroMQ";
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        watch->reason = "the keys of the two sides differ";
        break;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        if (++watch->broken_off >= BROKEN_OFF_LIMIT)
            watch->reason = "the other side breaks off: its keys differ, or it is no Orrery";
        break;
    default:
        break;
    }
}

void door_look(struct door_watch *watch)
{
    unsigned char event[8]; /* as ZeroMQ has it: 16 bits of event, 32 of value, native order */
    uint16_t number;
    uint32_t value;

    while (zmq_recv(watch->socket, event, sizeof event, ZMQ_DONTWAIT) == 6) {
        memcpy(&number, event, sizeof number);
        memcpy(&value, event + sizeof number, sizeof value);
        zmq_recv(watch->socket, NULL, 0, ZMQ_DONTWAIT); /* the endpoint: ours, known */
        hear(watch, number, value);
    }
}

bool door_refusal(struct door_watch *watch, char *text, size_t size)
{
    door_look(watch);
    if (!watch->reason)
        return false;
    snprintf(text, size, "%s", watch->reason);
    watch->reason = NULL;
    return true;
}
