/* frame.h - the frames that boards exchange: a fixed 72-byte little-endian header and a payload.
 *
 * Versioned and guarded by FNV-1a over the header; sizes are checked before anything is allocated.
 * No code, no pointers, no host byte order on the wire: arm64 and x86-64 mix freely. Layout:
 * lib/wire/README.md. */
#ifndef ORRERY_WIRE_FRAME_H
#define ORRERY_WIRE_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

#define FRAME_HEADER_BYTES 72
#define FRAME_VERSION 9
#define FRAME_MAX_PAYLOAD_BYTES (INT64_C(1) << 30)
#define FRAME_MAX_TOKENS (1 << 24) /* of new, past and total tokens */
#define FRAME_MAX_STAGE (1 << 20)
#define FRAME_MAX_STAMP_NS (INT64_C(1) << 62) /* so that differences of stamps do not overflow */
#define FRAME_MAX_ENTRIES 65535               /* requests of a batch */
#define FRAME_ENTRY_WORDS 6
#define FRAME_MAX_GENERATION (1 << 30) /* of a replica: how often it has been lost */
#define FRAME_RECORD_BYTES 24          /* of a RECORD, in front of what it tells of exchanges */
#define FRAME_TOLD_BYTES 32            /* of each message of these */
#define FRAME_PIECE_WORDS 10 /* of a CACHE, behind its entries and in front of its values */
#define FRAME_MOVED_BYTES 48 /* of a MOVED to the coordinator, in front of its entries */

enum frame_type {
    FRAME_HELLO = 1,    /* worker -> coordinator: its device, JSON text */
    FRAME_SETUP = 2,    /* coordinator -> worker: its slices, JSON text */
    FRAME_READY = 3,    /* worker -> coordinator: its data endpoint, JSON text */
    FRAME_PEERS = 4,    /* coordinator -> worker: endpoints of the next stages, JSON text */
    FRAME_UP = 5,       /* worker -> coordinator: connected */
    FRAME_STEP = 6,     /* token ids or activations of one step, to the stage that computes next */
    FRAME_RESULT = 7,   /* last stage -> coordinator: one token id */
    FRAME_RECORD = 8,   /* worker -> coordinator: one stage interval */
    FRAME_BEAT = 9,     /* heartbeat, answered by the same */
    FRAME_RELEASE = 10, /* coordinator -> worker: request ended, free its KV cache */
    FRAME_STOP = 11,    /* coordinator -> worker: the run is over; the worker's last word */
    FRAME_ERROR = 12,   /* either way, one line of text: the other side cannot go on */
    FRAME_PING = 13,    /* clock offset and link measurement */
    FRAME_PONG = 14,
    FRAME_REFUSE = 15, /* worker -> coordinator: no memory for the KV cache of this request */
    FRAME_PART = 16, /* worker -> worker: a message of an exchange in a stage on several devices */
    FRAME_CREDIT = 17, /* of a stage with a bounded queue, to whom its steps come from: room; where
                          these are several, all by way of the coordinator */
    FRAME_STATUS = 18, /* anybody -> coordinator, answered by the same with JSON text */
    FRAME_UPDATE = 19, /* anybody -> coordinator: a placement, JSON text; coordinator -> worker: its
                          slices of it, as SETUP; each answered by the same with JSON text */
    FRAME_RESET = 20,  /* coordinator -> worker: the replica of the stage was lost, and is another
                          generation of itself from now on */
    FRAME_MOVE = 21, /* coordinator -> worker: the KV caches of prompts go to where they are read */
    FRAME_CACHE = 22, /* worker -> worker: a piece of what goes from one stage to another */
    FRAME_MOVED = 23, /* worker -> coordinator, worker of the same stage: it has come */
    FRAME_TYPE_END
};

struct frame {
    enum frame_type type;
    int32_t stage;   /* plan stage id */
    int64_t request; /* an attempt at one; of a batch (entries > 0) its own number */
    int32_t step;
    int32_t new_tokens, past_tokens;
    int32_t total_tokens;        /* prompt + output: the KV capacity to reserve */
    int32_t entries;             /* requests of a batch; 0 = one request */
    int64_t start_ns, finish_ns; /* sender's clock, not negative; meaning depends on the type */
    int64_t way; /* of a STEP and what comes of it: which copies of stages it passes (copies.h) */
    int64_t payload_bytes;
};

/* Of the replica that a STEP, RESULT, PART, CREDIT or RESET belongs to. Passes of a PART are
 * numbered anew in each. */
#define FRAME_GENERATION_PASSES (INT64_C(1) << 32)
int64_t frame_generation(const struct frame *frame);

void frame_pack(const struct frame *frame, unsigned char header[FRAME_HEADER_BYTES]);
/* False with a reason for a wrong length, magic, version, type, checksum, or a negative or absurd
 * field. size is what arrived; the payload is frame_check_payload's. */
bool frame_unpack(const unsigned char *header, size_t size_bytes, struct frame *frame,
                  struct err *err);

/* What came behind the header must be as long as it says, and no longer than the receiver takes. */
bool frame_check_payload(const struct frame *frame, size_t got_bytes, int64_t max_bytes,
                         struct err *err);

/* What a batch computes for one request. A STEP of a batch has one for each, in front of its words.
 */
struct frame_entry {
    int64_t request;
    int32_t tokens; /* 0: its cache goes, and nothing is computed */
    int32_t past_tokens, total_tokens;
};
void frame_put_entry(int32_t words[FRAME_ENTRY_WORDS], const struct frame_entry *entry);
void frame_get_entry(const int32_t words[FRAME_ENTRY_WORDS], struct frame_entry *entry);

/* A piece of KV caches: so many layers, and of each so many KV heads, of the whole model. Of each
 * request of the message, layer and head the keys of its tokens follow, then the values. */
struct frame_piece {
    int32_t from_stage, from_worker;
    int32_t layer_first, layer_count, head_first, head_count;
    int64_t message_bytes; /* values of all pieces of the message, */
    bool is_last;          /* of which this is the last */
};
void frame_put_piece(int32_t words[FRAME_PIECE_WORDS], const struct frame_piece *piece);
/* Fields that are negative are. */
void frame_get_piece(const int32_t words[FRAME_PIECE_WORDS], struct frame_piece *piece);

/* f32 and i32 payloads travel little-endian; these copy on such hosts and swap on others. */
void frame_put_words(unsigned char *to, const void *words, size_t count);
void frame_get_words(void *words, const unsigned char *from, size_t count);
/* One little-endian 64-bit integer, 8 bytes. */
void frame_put_int64(unsigned char to[8], int64_t value);
int64_t frame_get_int64(const unsigned char from[8]);

#endif
