/* handover_internal.h - what handover.c and handover_take.c share. For nobody else. */
#ifndef ORRERY_RUNNER_HANDOVER_INTERNAL_H
#define ORRERY_RUNNER_HANDOVER_INTERNAL_H

#include "lib/base/ring.h"
#include "lib/wire/frame.h"
#include "runner/worker/handover.h"

struct channel;
struct err;

#define HANDOVER_BUCKETS 256
#define HANDOVER_GONE_MOST 1024

struct arriving { /* the caches of a request in a stage of decode steps */
    int64_t request;
    int stage;       /* index into setup.stages */
    int32_t missing; /* layers x KV heads of this device that have not come */
    int32_t others;  /* devices of the stage that have not said that theirs are there */
    bool is_refused; /* there is no memory for it */
    bool *has;       /* by layer, then KV head of this device */
    struct arriving *next;
};

struct caches {     /* of a stage that decodes behind other stages */
    int32_t units;  /* layers x KV heads of this device */
    int32_t *begin; /* by layer: its first */
    int32_t others; /* of the first device: other devices that have caches, else 0 */
    struct arriving *free;
};

struct moving { /* caches that this worker sends, message by message */
    int stage;
    struct frame frame;  /* of the MOVE */
    int32_t count, room; /* requests */
    struct frame_entry *entries;
    int32_t to_count, to_room;
    int32_t *to; /* stages */
    bool is_own; /* comes first: what this worker reads itself */
    int move;    /* of the stage, and how far it has come in it */
    int32_t layer, head;
    int64_t begun_ns, bytes; /* of the message */
    struct moving *next;
};

struct telling { /* a short message that waits to be sent */
    struct channel *out;
    struct frame frame;
    unsigned char *payload;
    size_t room;
    struct telling *next;
};

struct handover {
    struct caches *caches; /* by stage */
    int caches_count;
    struct arriving *buckets[HANDOVER_BUCKETS];
    struct ring incoming; /* jobs: CACHE and MOVED */
    struct ring parked;   /* jobs: steps, oldest first */
    struct moving *moving, *last_moving, *free_moving;
    struct telling *telling, *last_telling, *free_telling;
    bool is_blocked; /* the next piece could not be sent */
    int32_t *words;  /* a piece that is being made up */
    int64_t words_bytes;
    /* requests that have ended: what comes of them late is dropped */
    int64_t gone[HANDOVER_GONE_MOST];
    int gone_at;
};

/* ---- handover_take.c ---- */

/* A CACHE: from the wire, or (is_native) in words of this machine. */
bool handover_take(struct worker *worker, const struct frame *frame, const unsigned char *payload,
                   bool is_native, int64_t receive_ns, struct err *err);
/* A job of `incoming`. */
bool handover_take_job(struct worker *worker, int32_t job, struct err *err);
/* Nothing is left of caches that have come to the stage, and of steps that wait for them. */
void handover_forget(struct worker *worker, int stage);
void handover_tell(struct worker *worker, struct channel *out, const struct frame *frame,
                   const unsigned char *payload);

#endif
