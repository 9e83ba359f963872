/* link_probe.c - ping-pong of several sizes, and bursts of small messages.
 *
 * Both ends sleep in poll until a message comes, as a worker does, and the prober pauses between
 * exchanges, so that waking up is part of what is measured. Sizes are interleaved: a slow drift of
 * the machine touches all of them alike. */
#include "profiler/link/link_probe.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/stats.h"
#include "lib/wire/channel.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#ifdef HAVE_ZMQ

#define MARK 64
#define MAX_PAYLOAD_BYTES (INT64_C(4) << 20)
#define PATIENCE_NS INT64_C(30000000000)
#define CONNECT_PATIENCE_NS INT64_C(5000000000)
#define PEER_PATIENCE_NS INT64_C(60000000000) /* a prober that says nothing for so long is gone */
#define WARM_UPS 2
#define MIN_SIZES 4
#define MIN_ROUNDS 3
#define SIZE_NS INT64_C(1500000000) /* about what all rounds of one size may take */
#define LONG_NS INT64_C(1000000000) /* there and back: a size that takes longer is left out */
#define MAX_ROUNDS 30
#define BURST_ROUNDS 12
#define BURST_BYTES 64

static const struct {
    int64_t bytes;
    int rounds;
} sizes[LINK_SIZES] = { { 64, 30 },        { 256, 30 },      { 1 << 10, 30 },
                        { 4 << 10, 30 },   { 16 << 10, 30 }, { 64 << 10, 30 },
                        { 256 << 10, 20 }, { 1 << 20, 12 },  { 4 << 20, 8 } };
static const int burst_messages[LINK_BURSTS] = { 1, 16, 32, 48 };

struct end { /* of the link: one socket in, one out */
    struct channel_hub *hub;
    struct channel *in, *out;
    int64_t pause_ns; /* the prober's: before each exchange */
};

static bool open_end(struct arena *arena, const struct keys *keys, struct end *end, struct err *err)
{
    end->hub = channel_hub_create(arena, keys, err);
    if (!end->hub)
        return false;
    end->in = channel_open(arena, end->hub, CHANNEL_PULL, MARK, MAX_PAYLOAD_BYTES, err);
    end->out = channel_open(arena, end->hub, CHANNEL_PUSH, MARK, 0, err);
    return end->in && end->out;
}

static void close_end(struct end *end, int linger_ms)
{
    channel_close(end->in, 0);
    channel_close(end->out, linger_ms);
    channel_hub_destroy(end->hub);
}

static bool send_frame(struct end *end, const struct frame *frame, const void *payload,
                       struct err *err)
{
    int64_t deadline_ns = clock_now_ns() + PATIENCE_NS;
    enum channel_result result;

    while ((result = channel_send(end->out, NULL, frame, payload, err)) == CHANNEL_LATER) {
        struct channel_wait wait = { end->out, true, false };

        if (!channel_wait(end->hub, &wait, 1, deadline_ns, err))
            return false;
        if (!wait.is_ready && clock_now_ns() >= deadline_ns)
            return err_set(err, ERR_SYSTEM, "the other end does not read, or is not there");
    }
    return result == CHANNEL_DONE;
}

/* Whoever scans ports may connect and send anything: what is no frame is as good as nothing. */
static enum channel_result receive_now(struct end *end, struct channel_message *message,
                                       struct err *err)
{
    struct err bad = ERR_INIT;
    enum channel_result result = channel_receive(end->in, message, &bad);

    if (result != CHANNEL_BAD)
        return result;
    if (bad.kind == ERR_INPUT) /* a malformed message, dropped */
        return CHANNEL_LATER;
    err_set(err, bad.kind, "%s", bad.text);
    return CHANNEL_BAD;
}

static bool receive_frame(struct end *end, struct channel_message *message, int64_t patience_ns,
                          struct err *err)
{
    int64_t deadline_ns = clock_now_ns() + patience_ns;

    for (;;) {
        enum channel_result result = receive_now(end, message, err);
        struct channel_wait wait = { end->in, false, false };

        if (result != CHANNEL_LATER)
            return result == CHANNEL_DONE;
        if (clock_now_ns() >= deadline_ns)
            return err_set(err, ERR_SYSTEM, "no answer for %d s", (int)(patience_ns / 1000000000));
        if (!channel_wait(end->hub, &wait, 1, deadline_ns, err))
            return false;
    }
}

/* ---- the peer ---- */

/* Where the prober listens; NULL when the message is no prober's first. */
static const char *address_in(struct arena *arena, const struct channel_message *message)
{
    struct err ignored = ERR_INIT;

    if (message->frame.type != FRAME_HELLO || message->frame.payload_bytes >= CHANNEL_ADDRESS_BYTES)
        return NULL;
    const char *address =
        arena_strndup(arena, (const char *)message->payload, (size_t)message->frame.payload_bytes);
    return channel_check_address("HELLO", address, &ignored) ? address : NULL;
}

/* Nobody may come for hours, and others than a prober may come. */
static bool meet_prober(struct arena *arena, struct end *end, struct err *err)
{
    const struct frame ready = { .type = FRAME_READY };
    const char *address = NULL;

    while (!address) {
        struct channel_wait wait = { end->in, false, false };
        struct channel_message message;
        enum channel_result result;

        if (!channel_wait(end->hub, &wait, 1, clock_now_ns() + PEER_PATIENCE_NS, err))
            return false;
        result = receive_now(end, &message, err);
        if (result == CHANNEL_BAD)
            return false;
        if (result != CHANNEL_DONE)
            continue;
        address = address_in(arena, &message);
        channel_message_close(&message);
    }
    return channel_connect(end->out, address, err) && send_frame(end, &ready, NULL, err);
}

/* A ping is echoed whole; of a burst, the last message is answered. */
static bool answer(struct end *end, const struct channel_message *message, struct err *err)
{
    struct frame pong = message->frame;

    pong.type = FRAME_PONG;
    if (message->frame.type == FRAME_PING)
        return send_frame(end, &pong, message->payload, err);
    pong.payload_bytes = 0;
    return message->frame.step + 1 < message->frame.total_tokens ||
           send_frame(end, &pong, NULL, err);
}

bool link_peer(struct arena *arena, const char *listen, const struct keys *keys,
               link_listening_fn *on_listening, void *arg, struct err *err)
{
    char bound[CHANNEL_ADDRESS_BYTES];
    struct end end = { 0 };
    bool ok = open_end(arena, keys, &end, err) && channel_bind(end.in, listen, bound, err);

    if (ok) {
        on_listening(arg, bound);
        ok = meet_prober(arena, &end, err);
    }
    while (ok) {
        struct channel_message message;
        bool is_over;

        ok = receive_frame(&end, &message, PEER_PATIENCE_NS, err);
        if (!ok)
            break;
        is_over = message.frame.type == FRAME_STOP;
        ok = is_over || answer(&end, &message, err);
        channel_message_close(&message);
        if (is_over)
            break;
    }
    close_end(&end, 0);
    return ok;
}

/* ---- the prober ---- */

/* Until somebody who speaks ZeroMQ, and has the same keys, listens there. */
static bool wait_for_peer(struct end *end, const char *address, struct err *err)
{
    bool is_open;

    return channel_wait_open(end->hub, end->out, clock_now_ns() + CONNECT_PATIENCE_NS, &is_open,
                             err) &&
           (is_open || err_set(err, ERR_SYSTEM,
                               "%s does not answer: start `orrery-profile link --listen "
                               "0.0.0.0%s` there first",
                               address, strrchr(address, ':')));
}

/* Of the interface that has the address; 0 when nobody says. */
static int64_t find_mtu(const char *host)
{
    struct ifaddrs *all, *entry;
    struct ifreq request = { 0 };
    int64_t mtu_bytes = 0;
    int handle;

    if (getifaddrs(&all) != 0)
        return 0;
    for (entry = all; entry; entry = entry->ifa_next) {
        char text[INET_ADDRSTRLEN];
        const struct sockaddr_in *address = (const void *)entry->ifa_addr;

        if (address && address->sin_family == AF_INET &&
            inet_ntop(AF_INET, &address->sin_addr, text, sizeof text) && strcmp(text, host) == 0)
            break;
    }
    handle = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (entry && handle >= 0) {
        snprintf(request.ifr_name, sizeof request.ifr_name, "%s", entry->ifa_name);
        if (ioctl(handle, SIOCGIFMTU, &request) == 0)
            mtu_bytes = request.ifr_mtu;
    }
    if (handle >= 0)
        close(handle);
    freeifaddrs(all);
    return mtu_bytes;
}

static bool meet_peer(struct arena *arena, struct end *end, const char *address, int64_t *mtu_bytes,
                      struct err *err)
{
    char host[CHANNEL_ADDRESS_BYTES], bound[CHANNEL_ADDRESS_BYTES];
    struct frame hello = { .type = FRAME_HELLO };
    struct channel_message message;

    if (!channel_local_host(address, host, err) ||
        !channel_bind(end->in, arena_printf(arena, "%s:0", host), bound, err) ||
        !channel_connect(end->out, address, err))
        return false;
    *mtu_bytes = find_mtu(host);
    hello.payload_bytes = (int64_t)strlen(bound);
    if (!wait_for_peer(end, address, err) || !send_frame(end, &hello, bound, err) ||
        !receive_frame(end, &message, PATIENCE_NS, err))
        return false;
    channel_message_close(&message);
    return message.frame.type == FRAME_READY ||
           err_set(err, ERR_INPUT, "%s is no `orrery-profile link --listen`", address);
}

/* Time until the answer to the last of `messages` frames of the type is here. */
static bool exchange(struct end *end, enum frame_type type, int messages, int64_t bytes,
                     const unsigned char *payload, int64_t *time_ns, struct err *err)
{
    struct frame frame = { .type = type, .total_tokens = messages, .payload_bytes = bytes };
    struct channel_message message;
    int64_t start_ns;

    clock_sleep_until_ns(clock_now_ns() + end->pause_ns);
    start_ns = clock_now_ns();
    for (frame.step = 0; frame.step < messages; frame.step++)
        if (!send_frame(end, &frame, payload, err))
            return false;
    if (!receive_frame(end, &message, PATIENCE_NS, err))
        return false;
    *time_ns = clock_now_ns() - start_ns;
    channel_message_close(&message);
    return message.frame.type == FRAME_PONG ||
           err_set(err, ERR_INPUT, "the other end is no `orrery-profile link`");
}

/* Warms every size up, and plans how often it is measured: what takes long is measured less often,
 * and what takes very long not at all, but for the first sizes. */
static bool plan_rounds(struct end *end, const unsigned char *payload, int rounds[LINK_SIZES],
                        int *size_count, struct err *err)
{
    for (*size_count = 0; *size_count < LINK_SIZES; ++*size_count) {
        int i = *size_count;
        int64_t time_ns = 0;

        for (int warm_up = 0; warm_up < WARM_UPS && time_ns < LONG_NS; warm_up++)
            if (!exchange(end, FRAME_PING, 1, sizes[i].bytes, payload, &time_ns, err))
                return false;
        if (time_ns > LONG_NS && i >= MIN_SIZES)
            break;
        rounds[i] = (int)(SIZE_NS / (time_ns > 0 ? time_ns : 1));
        rounds[i] = rounds[i] < MIN_ROUNDS ? MIN_ROUNDS : rounds[i];
        rounds[i] = rounds[i] > sizes[i].rounds ? sizes[i].rounds : rounds[i];
        if (time_ns > LONG_NS / 4 && i >= MIN_SIZES) { /* four times the bytes would be too long */
            ++*size_count;
            break;
        }
    }
    return true;
}

static bool ping(struct arena *arena, struct end *end, const unsigned char *payload,
                 struct link_measured *measured, struct err *err)
{
    int64_t(*times)[MAX_ROUNDS] = arena_array(arena, LINK_SIZES, sizeof *times);
    int rounds[LINK_SIZES], count;

    if (!plan_rounds(end, payload, rounds, &count, err))
        return false;
    for (int round = 0; round < MAX_ROUNDS; round++)
        for (int i = 0; i < count; i++) {
            int64_t time_ns;

            if (round >= rounds[i])
                continue;
            if (!exchange(end, FRAME_PING, 1, sizes[i].bytes, payload, &time_ns, err))
                return false;
            times[i][round] = time_ns / 2;
        }
    measured->point_count = count;
    for (int i = 0; i < count; i++) {
        stats_sort(times[i], (size_t)rounds[i]);
        measured->points[i] =
            (struct link_point){ sizes[i].bytes, stats_quantile(times[i], (size_t)rounds[i], 1, 2),
                                 rounds[i] };
    }
    return true;
}

static bool burst(struct end *end, const unsigned char *payload, struct link_measured *measured,
                  struct err *err)
{
    int64_t times[LINK_BURSTS][BURST_ROUNDS];

    for (int round = 0; round < BURST_ROUNDS; round++)
        for (int i = 0; i < LINK_BURSTS; i++)
            if (!exchange(end, FRAME_STEP, burst_messages[i], BURST_BYTES, payload,
                          &times[i][round], err))
                return false;
    for (int i = 0; i < LINK_BURSTS; i++) {
        stats_sort(times[i], BURST_ROUNDS);
        measured->bursts[i] =
            (struct link_burst){ burst_messages[i], stats_quantile(times[i], BURST_ROUNDS, 1, 2) };
    }
    return true;
}

bool link_probe(struct arena *arena, const char *address, const struct keys *keys, int64_t pause_ns,
                struct link_measured *measured, struct err *err)
{
    const struct frame stop = { .type = FRAME_STOP };
    struct err ignored = ERR_INIT;
    struct end end = { .pause_ns = pause_ns };
    unsigned char *payload = arena_alloc(arena, (size_t)MAX_PAYLOAD_BYTES);
    bool ok;

    memset(payload, 1, (size_t)MAX_PAYLOAD_BYTES); /* pages that are really there */
    ok = open_end(arena, keys, &end, err) &&
         meet_peer(arena, &end, address, &measured->mtu_bytes, err) &&
         ping(arena, &end, payload, measured, err) && burst(&end, payload, measured, err);
    if (ok)
        send_frame(&end, &stop, NULL, &ignored);
    close_end(&end, 1000);
    return ok;
}
#endif
