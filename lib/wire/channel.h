/* channel.h - the only door to ZeroMQ: a socket whose every message is one frame and its payload.
 *
 * Nothing is ever dropped in silence: at the high-water mark a send answers CHANNEL_LATER, and a
 * ROUTER answers CHANNEL_GONE for a peer that has left. No call blocks but channel_wait. Addresses
 * are "host:port", TCP. A channel belongs to one thread at a time (a mutex hands it on); a hub may
 * be shared by several. */
#ifndef ORRERY_WIRE_CHANNEL_H
#define ORRERY_WIRE_CHANNEL_H

#include "lib/wire/frame.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct keys;

struct channel_hub; /* the sockets of a process and the I/O thread behind them */
struct channel;

enum channel_kind {
    CHANNEL_ROUTER, /* many peers, answered by name: the coordinator's control socket */
    CHANNEL_DEALER, /* one peer, both ways: a worker's control socket */
    CHANNEL_PUSH,   /* one way out: steps to the next stage */
    CHANNEL_PULL,   /* one way in: steps from any number of senders */
};

enum channel_result {
    CHANNEL_DONE,
    CHANNEL_LATER, /* nothing to receive, or the mark is reached or nobody connected: try again */
    CHANNEL_GONE,  /* ROUTER: the peer named has left */
    CHANNEL_BAD,   /* err is filled: a malformed message, now dropped, or a broken socket */
};

#define CHANNEL_ADDRESS_BYTES 300 /* host, colon, port and the NUL */
#define CHANNEL_PEER_BYTES 64

struct channel_peer { /* whom a ROUTER heard from; other sockets leave it empty */
    size_t count;
    unsigned char bytes[CHANNEL_PEER_BYTES];
};

/* A received message. It owns its payload until channel_message_close, and must not be copied. */
struct channel_message {
    struct frame frame;
    struct channel_peer from;
    const unsigned char *payload; /* frame.payload_bytes of them */
    _Alignas(16) unsigned char opaque[64];
};

/* keys: every channel of the hub proves that it has them, lets in only who does the same, and
 * encrypts (they must outlive the hub). NULL: plain text, open to everybody who can connect. */
struct channel_hub *channel_hub_create(struct arena *arena, const struct keys *keys,
                                       struct err *err);
/* Every channel must be closed before. NULL is allowed. */
void channel_hub_destroy(struct channel_hub *hub);

/* mark: messages queued on each side before a send answers CHANNEL_LATER, 0 = no limit. A peer that
 * announces more than max_payload_bytes is disconnected before anything is allocated. */
struct channel *channel_open(struct arena *arena, struct channel_hub *hub, enum channel_kind kind,
                             int mark, int64_t max_payload_bytes, struct err *err);
/* Messages that are not yet on the wire are kept for linger_ms more: 0 drops them, as an error exit
 * should; a last word needs some. NULL is allowed. */
void channel_close(struct channel *channel, int linger_ms);

/* Port 0 takes a free one. bound = the address in use. */
bool channel_bind(struct channel *channel, const char *address, char bound[CHANNEL_ADDRESS_BYTES],
                  struct err *err);
/* Returns at once; sends answer CHANNEL_LATER until somebody listens there. */
bool channel_connect(struct channel *channel, const char *address, struct err *err);

/* Why the other side and this one could not agree to talk, once for each time that it is found: a
 * key that is wrong, or missing on one side. A channel that connects goes on trying meanwhile. */
#define CHANNEL_REFUSAL_BYTES 200
bool channel_refusal(struct channel *channel, char text[CHANNEL_REFUSAL_BYTES]);

/* frame->payload_bytes of payload. to: for a ROUTER, else NULL. */
enum channel_result channel_send(struct channel *channel, const struct channel_peer *to,
                                 const struct frame *frame, const void *payload, struct err *err);
/* The same for 32-bit words, put on the wire little-endian. */
enum channel_result channel_send_words(struct channel *channel, const struct channel_peer *to,
                                       const struct frame *frame, const void *words,
                                       struct err *err);
/* Only after CHANNEL_DONE does message hold anything to close. */
enum channel_result channel_receive(struct channel *channel, struct channel_message *message,
                                    struct err *err);
void channel_message_close(struct channel_message *message);
/* What from holds goes to `to`, which holds nothing; from holds nothing then. */
void channel_message_move(struct channel_message *to, struct channel_message *from);
/* Readable when something may have come since the channel last answered CHANNEL_LATER. For poll
 * alone, which another thread may do. */
int channel_descriptor(const struct channel *channel);

struct channel_wait {
    struct channel *channel;
    bool for_send;
    bool is_ready; /* out */
};
#define CHANNEL_MAX_WAITS 32
/* Sleeps until one of the channels is ready or CLOCK_MONOTONIC reaches deadline_ns (a past one:
 * only looks). Wakes within tens of microseconds of the deadline, not to the millisecond as ZeroMQ
 * would. One thread of a hub may wait at a time. */
bool channel_wait(struct channel_hub *hub, struct channel_wait *waits, int count,
                  int64_t deadline_ns, struct err *err);

/* Leaves where it connects, because nobody is there any more, and connects elsewhere; what has not
 * been sent is lost with the old connection. The channel stays the same for whoever holds it. */
bool channel_move(struct channel *channel, const char *address, struct err *err);
/* Until somebody listens where the channel connects, and has let it in. An error at once when a key
 * is wrong or missing; *is_open is false when the deadline has come first. */
bool channel_wait_open(struct channel_hub *hub, struct channel *channel, int64_t deadline_ns,
                       bool *is_open, struct err *err);

/* "host:port" with a port of 0 to 65535. what names it in the error ("--listen"). */
bool channel_check_address(const char *what, const char *address, struct err *err);
bool channel_same_peer(const struct channel_peer *a, const struct channel_peer *b);
/* The numeric IPv4 address of this machine on the way to `address`: what others there can reach. */
bool channel_local_host(const char *address, char host[CHANNEL_ADDRESS_BYTES], struct err *err);

#endif
