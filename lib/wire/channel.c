/* channel.c - frames over ZeroMQ sockets.
 *
 * A message is one ZeroMQ part: header, then payload. One part cannot be torn in two by a peer that
 * leaves, and needs no reassembly. */
#include "lib/wire/channel.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/wire/door.h"
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <zmq.h>

#define HANDSHAKE_BYTES 2048 /* more than any command of CurveZMQ's handshake */
#define ENCRYPTION_BYTES 64  /* more than what CurveZMQ adds to a message */

struct channel_hub {
    void *context;
    int timer; /* timerfd: deadlines finer than ZeroMQ's milliseconds */
    const struct keys *keys;
    struct door *door; /* with keys */
};

struct channel {
    void *socket;
    char connected[CHANNEL_ADDRESS_BYTES + 8]; /* endpoint; empty where it has none */
    struct door_watch *watch;
    int descriptor;
    enum channel_kind kind;
    int64_t max_payload_bytes;
};

_Static_assert(sizeof(zmq_msg_t) <= sizeof(((struct channel_message *)0)->opaque),
               "channel_message has room for a zmq_msg_t");

static bool zmq_failed(struct err *err, const char *what)
{
    return err_set(err, ERR_SYSTEM, "%s: %s", what, zmq_strerror(zmq_errno()));
}

static zmq_msg_t *body_of(struct channel_message *message)
{
    return (zmq_msg_t *)(void *)message->opaque;
}

struct channel_hub *channel_hub_create(struct arena *arena, const struct keys *keys,
                                       struct err *err)
{
    struct channel_hub *hub = arena_alloc(arena, sizeof *hub);

    hub->keys = keys;
    hub->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (hub->timer < 0) {
        err_errno(err, "timerfd_create");
        return NULL;
    }
    hub->context = zmq_ctx_new();
    if (!hub->context)
        zmq_failed(err, "ZeroMQ");
    else if (!keys || (hub->door = door_open(arena, hub->context, keys, err)))
        return hub;
    channel_hub_destroy(hub);
    return NULL;
}

void channel_hub_destroy(struct channel_hub *hub)
{
    if (!hub)
        return;
    if (hub->context) {
        door_close(hub->door, hub->context);
        zmq_ctx_term(hub->context);
    }
    close(hub->timer);
}

static int zmq_kind(enum channel_kind kind)
{
    switch (kind) {
    case CHANNEL_ROUTER:
        return ZMQ_ROUTER;
    case CHANNEL_DEALER:
        return ZMQ_DEALER;
    case CHANNEL_PUSH:
        return ZMQ_PUSH;
    case CHANNEL_PULL:
        return ZMQ_PULL;
    }
    return -1; /* ZeroMQ refuses it */
}

static bool is_listener(enum channel_kind kind)
{
    return kind == CHANNEL_ROUTER || kind == CHANNEL_PULL;
}

static bool set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

/* What a peer may announce. A handshake with keys is longer than the shortest messages, and so is
 * what encryption makes of them; ZeroMQ measures both by the same limit. */
static int64_t max_wire_bytes(const struct channel_hub *hub, int64_t max_payload_bytes)
{
    int64_t bytes = max_payload_bytes + FRAME_HEADER_BYTES;

    if (hub->keys)
        bytes += ENCRYPTION_BYTES;
    return hub->keys && bytes < HANDSHAKE_BYTES ? HANDSHAKE_BYTES : bytes;
}

struct channel *channel_open(struct arena *arena, struct channel_hub *hub, enum channel_kind kind,
                             int mark, int64_t max_payload_bytes, struct err *err)
{
    struct channel *channel = arena_alloc(arena, sizeof *channel);
    int64_t max_bytes = max_wire_bytes(hub, max_payload_bytes);
    size_t size = sizeof channel->descriptor;

    assert(mark >= 0 && max_payload_bytes >= 0 && max_payload_bytes <= FRAME_MAX_PAYLOAD_BYTES);
    channel->kind = kind;
    channel->max_payload_bytes = max_payload_bytes;
    channel->socket = zmq_socket(hub->context, zmq_kind(kind));
    if (!channel->socket) {
        zmq_failed(err, "ZeroMQ socket");
        return NULL;
    }
    /* ZMQ_IMMEDIATE queues nothing for a peer that has not answered yet, so that a send that
     * succeeds has somebody to go to. */
    if (set_int(channel->socket, ZMQ_LINGER, 0) && set_int(channel->socket, ZMQ_SNDHWM, mark) &&
        set_int(channel->socket, ZMQ_RCVHWM, mark) &&
        zmq_setsockopt(channel->socket, ZMQ_MAXMSGSIZE, &max_bytes, sizeof max_bytes) == 0 &&
        (kind != CHANNEL_ROUTER || set_int(channel->socket, ZMQ_ROUTER_MANDATORY, 1)) &&
        (is_listener(kind) || set_int(channel->socket, ZMQ_IMMEDIATE, 1)) &&
        zmq_getsockopt(channel->socket, ZMQ_FD, &channel->descriptor, &size) == 0 &&
        (!hub->keys || door_lock(channel->socket, hub->keys, is_listener(kind))) &&
        (channel->watch = door_watch(arena, hub->context, channel->socket)))
        return channel;
    zmq_failed(err, "ZeroMQ socket options");
    zmq_close(channel->socket);
    return NULL;
}

void channel_close(struct channel *channel, int linger_ms)
{
    if (!channel)
        return;
    door_unwatch(channel->watch, channel->socket);
    set_int(channel->socket, ZMQ_LINGER, linger_ms);
    zmq_close(channel->socket);
}

bool channel_refusal(struct channel *channel, char text[CHANNEL_REFUSAL_BYTES])
{
    return door_refusal(channel->watch, text, CHANNEL_REFUSAL_BYTES);
}

/* ---- addresses ---- */

/* Position of the colon before a port of 0..65535; 0 when the text is no host:port. */
static size_t find_port(const char *address, int *port)
{
    const char *colon = strrchr(address, ':');
    int value = 0;

    if (!colon || colon == address || !colon[1] || strlen(address) >= CHANNEL_ADDRESS_BYTES - 8)
        return 0;
    for (const char *c = colon + 1; *c; c++) {
        if (*c < '0' || *c > '9' || value > 65535)
            return 0;
        value = value * 10 + (*c - '0');
    }
    for (const char *c = address; c < colon; c++)
        if (*c <= ' ' || *c == '/' || *c == ':' || *c == 127)
            return 0;
    *port = value;
    return value <= 65535 ? (size_t)(colon - address) : 0;
}

bool channel_check_address(const char *what, const char *address, struct err *err)
{
    int port;

    if (find_port(address, &port) > 0)
        return true;
    return err_set(err, ERR_USAGE, "%s is '%s': expected HOST:PORT, such as 127.0.0.1:5555", what,
                   address);
}

bool channel_bind(struct channel *channel, const char *address, char bound[CHANNEL_ADDRESS_BYTES],
                  struct err *err)
{
    char endpoint[CHANNEL_ADDRESS_BYTES + 8], what[CHANNEL_ADDRESS_BYTES + 32];
    size_t length = CHANNEL_ADDRESS_BYTES;
    int port;

    if (!channel_check_address("address", address, err))
        return false;
    find_port(address, &port);
    snprintf(endpoint, sizeof endpoint, "tcp://%s", address);
    snprintf(what, sizeof what, "cannot listen on %s", address);
    if (zmq_bind(channel->socket, endpoint) != 0)
        return zmq_failed(err, what);
    if (zmq_getsockopt(channel->socket, ZMQ_LAST_ENDPOINT, endpoint, &length) != 0)
        return zmq_failed(err, what);
    memmove(bound, endpoint + strlen("tcp://"), length - strlen("tcp://"));
    return true;
}

bool channel_connect(struct channel *channel, const char *address, struct err *err)
{
    char endpoint[CHANNEL_ADDRESS_BYTES + 8], what[CHANNEL_ADDRESS_BYTES + 32];

    if (!channel_check_address("address", address, err))
        return false;
    snprintf(endpoint, sizeof endpoint, "tcp://%s", address);
    snprintf(what, sizeof what, "cannot connect to %s", address);
    if (zmq_connect(channel->socket, endpoint) != 0)
        return zmq_failed(err, what);
    memcpy(channel->connected, endpoint, sizeof endpoint);
    return true;
}

bool channel_move(struct channel *channel, const char *address, struct err *err)
{
    if (channel->connected[0] != '\0' && zmq_disconnect(channel->socket, channel->connected) != 0 &&
        zmq_errno() != ENOENT)
        return zmq_failed(err, "cannot disconnect");
    channel->connected[0] = '\0';
    return channel_connect(channel, address, err);
}

bool channel_same_peer(const struct channel_peer *a, const struct channel_peer *b)
{
    return a->count == b->count && memcmp(a->bytes, b->bytes, a->count) == 0;
}

/* A connected UDP socket sends nothing, but the kernel picks the interface for it. */
bool channel_local_host(const char *address, char host[CHANNEL_ADDRESS_BYTES], struct err *err)
{
    char name[CHANNEL_ADDRESS_BYTES];
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_DGRAM };
    struct addrinfo *found = NULL;
    struct sockaddr_storage local;
    socklen_t length = sizeof local;
    int port, failure, handle;
    size_t colon = find_port(address, &port);
    bool ok;

    if (colon == 0)
        return channel_check_address("address", address, err);
    snprintf(name, sizeof name, "%.*s", (int)colon, address);
    failure = getaddrinfo(name, address + colon + 1, &hints, &found);
    if (failure != 0)
        return err_set(err, ERR_SYSTEM, "%s: %s", name, gai_strerror(failure));
    handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ok = handle >= 0 && connect(handle, found->ai_addr, found->ai_addrlen) == 0 &&
         getsockname(handle, (struct sockaddr *)&local, &length) == 0;
    if (!ok)
        err_errno(err, address);
    if (handle >= 0)
        close(handle);
    freeaddrinfo(found);
    if (!ok)
        return false;
    failure = getnameinfo((struct sockaddr *)&local, length, host, CHANNEL_ADDRESS_BYTES, NULL, 0,
                          NI_NUMERICHOST);
    return failure == 0 || err_set(err, ERR_SYSTEM, "%s: %s", address, gai_strerror(failure));
}

/* ---- messages ---- */

static enum channel_result send_failed(struct channel *channel, struct err *err)
{
    if (zmq_errno() == EAGAIN || zmq_errno() == EINTR) {
        door_look(channel->watch);
        return CHANNEL_LATER;
    }
    if (channel->kind == CHANNEL_ROUTER && zmq_errno() == EHOSTUNREACH)
        return CHANNEL_GONE;
    zmq_failed(err, "send");
    return CHANNEL_BAD;
}

static enum channel_result send_message(struct channel *channel, const struct channel_peer *to,
                                        const struct frame *frame, const void *payload,
                                        bool is_words, struct err *err)
{
    size_t payload_bytes = (size_t)frame->payload_bytes;
    zmq_msg_t body;

    assert(channel->kind != CHANNEL_PULL && (channel->kind == CHANNEL_ROUTER) == (to != NULL));
    if (frame->payload_bytes < 0 || frame->payload_bytes > FRAME_MAX_PAYLOAD_BYTES) {
        err_set(err, ERR_INPUT, "a payload of %lld bytes: at most %lld travel in one frame",
                (long long)frame->payload_bytes, (long long)FRAME_MAX_PAYLOAD_BYTES);
        return CHANNEL_BAD;
    }
    assert(!is_words || payload_bytes % 4 == 0);
    if (to && zmq_send(channel->socket, to->bytes, to->count, ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0)
        return send_failed(channel, err);
    if (zmq_msg_init_size(&body, FRAME_HEADER_BYTES + payload_bytes) != 0) {
        zmq_failed(err, "send");
        return CHANNEL_BAD;
    }
    frame_pack(frame, zmq_msg_data(&body));
    if (is_words)
        frame_put_words((unsigned char *)zmq_msg_data(&body) + FRAME_HEADER_BYTES, payload,
                        payload_bytes / 4);
    else if (payload_bytes > 0)
        memcpy((unsigned char *)zmq_msg_data(&body) + FRAME_HEADER_BYTES, payload, payload_bytes);
    if (zmq_msg_send(&body, channel->socket, ZMQ_DONTWAIT) < 0) {
        enum channel_result result = send_failed(channel, err);
        zmq_msg_close(&body);
        return result;
    }
    return CHANNEL_DONE;
}

enum channel_result channel_send(struct channel *channel, const struct channel_peer *to,
                                 const struct frame *frame, const void *payload, struct err *err)
{
    return send_message(channel, to, frame, payload, false, err);
}

enum channel_result channel_send_words(struct channel *channel, const struct channel_peer *to,
                                       const struct frame *frame, const void *words,
                                       struct err *err)
{
    return send_message(channel, to, frame, words, true, err);
}

/* The name that a ROUTER puts in front. Longer names than ZeroMQ's own are somebody else's. */
static enum channel_result receive_peer(struct channel *channel, struct channel_peer *from,
                                        struct err *err)
{
    int count = zmq_recv(channel->socket, from->bytes, sizeof from->bytes, ZMQ_DONTWAIT);

    if (count < 0)
        return send_failed(channel, err);
    from->count = count <= CHANNEL_PEER_BYTES ? (size_t)count : 0;
    return CHANNEL_DONE;
}

static bool unpack(struct channel *channel, struct channel_message *message, struct err *err)
{
    const unsigned char *bytes = zmq_msg_data(body_of(message));
    size_t size = zmq_msg_size(body_of(message));

    if (!frame_unpack(bytes, size < FRAME_HEADER_BYTES ? size : FRAME_HEADER_BYTES, &message->frame,
                      err) ||
        !frame_check_payload(&message->frame, size - FRAME_HEADER_BYTES, channel->max_payload_bytes,
                             err))
        return false;
    if (channel->kind == CHANNEL_ROUTER && message->from.count == 0)
        return err_set(err, ERR_INPUT, "frame: the sender's name is longer than %d bytes",
                       CHANNEL_PEER_BYTES);
    message->payload = bytes + FRAME_HEADER_BYTES;
    return true;
}

enum channel_result channel_receive(struct channel *channel, struct channel_message *message,
                                    struct err *err)
{
    zmq_msg_t *body = body_of(message);
    bool has_more = false;

    message->from.count = 0;
    if (channel->kind == CHANNEL_ROUTER) {
        enum channel_result result = receive_peer(channel, &message->from, err);
        if (result != CHANNEL_DONE)
            return result;
    }
    zmq_msg_init(body);
    if (zmq_msg_recv(body, channel->socket, ZMQ_DONTWAIT) < 0) {
        enum channel_result result = send_failed(channel, err);
        zmq_msg_close(body);
        return result;
    }
    while (zmq_msg_more(body)) { /* not ours: drop the whole of it */
        has_more = true;
        if (zmq_msg_recv(body, channel->socket, ZMQ_DONTWAIT) < 0)
            break;
    }
    if (!has_more && unpack(channel, message, err))
        return CHANNEL_DONE;
    if (has_more)
        err_set(err, ERR_INPUT, "frame: a message of several parts: expected one");
    zmq_msg_close(body);
    return CHANNEL_BAD;
}

void channel_message_close(struct channel_message *message)
{
    zmq_msg_close(body_of(message));
}

void channel_message_move(struct channel_message *to, struct channel_message *from)
{
    to->frame = from->frame;
    to->from = from->from;
    zmq_msg_init(body_of(to));
    zmq_msg_move(body_of(to), body_of(from));
    zmq_msg_close(body_of(from));
    /* short ones lie in the message itself */
    to->payload = (const unsigned char *)zmq_msg_data(body_of(to)) + FRAME_HEADER_BYTES;
}

int channel_descriptor(const struct channel *channel)
{
    return channel->descriptor;
}

/* ---- waiting ---- */

bool channel_wait(struct channel_hub *hub, struct channel_wait *waits, int count,
                  int64_t deadline_ns, struct err *err)
{
    zmq_pollitem_t items[CHANNEL_MAX_WAITS + 1] = { { 0 } };
    int64_t at_ns = deadline_ns > 1 ? deadline_ns : 1; /* 0 would disarm the timer */
    struct itimerspec at = { .it_value = { .tv_sec = at_ns / 1000000000,
                                           .tv_nsec = at_ns % 1000000000 } };

    assert(count <= CHANNEL_MAX_WAITS);
    for (int i = 0; i < count; i++) {
        items[i].socket = waits[i].channel->socket;
        items[i].events = waits[i].for_send ? ZMQ_POLLOUT : ZMQ_POLLIN;
    }
    items[count].fd = hub->timer;
    items[count].events = ZMQ_POLLIN;
    if (timerfd_settime(hub->timer, TFD_TIMER_ABSTIME, &at, NULL) != 0)
        return err_errno(err, "timerfd_settime");
    if (zmq_poll(items, count + 1, -1) < 0 && zmq_errno() != EINTR)
        return zmq_failed(err, "poll");
    for (int i = 0; i < count; i++)
        waits[i].is_ready = (items[i].revents & items[i].events) != 0;
    return true;
}

#define OPEN_TICK_NS INT64_C(50000000) /* between two looks at what the other side has said */

bool channel_wait_open(struct channel_hub *hub, struct channel *channel, int64_t deadline_ns,
                       bool *is_open, struct err *err)
{
    char reason[CHANNEL_REFUSAL_BYTES];
    struct channel_wait wait = { channel, true, false };

    do {
        int64_t until_ns = clock_now_ns() + OPEN_TICK_NS;

        if (channel_refusal(channel, reason))
            return err_set(err, ERR_INPUT, "turned away: %s", reason);
        if (!channel_wait(hub, &wait, 1, until_ns < deadline_ns ? until_ns : deadline_ns, err))
            return false;
    } while (!wait.is_ready && clock_now_ns() < deadline_ns);
    *is_open = wait.is_ready;
    return true;
}
