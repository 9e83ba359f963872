/* crew.h - stages of a model on several devices, as this folder's flights, stations and prices know
 * them. What they do in time: sim/sliced. For the files of this folder. */
#ifndef ORRERY_SIM_SERVE_CREW_H
#define ORRERY_SIM_SERVE_CREW_H

#include "sim/serve/internal.h"
#include "sim/sliced/sliced.h"

#define CREW_PART (-2)  /* site.route_back of what a device computes */
#define CREW_STRAY (-3) /* of a pass that was cut */

struct crew { /* the devices of one such stage */
    struct sliced *sliced;
    struct site *site;
    struct site *parts;  /* by position: what a device computes, as a site of its own */
    struct site *strays; /* by position: parts that go on although their pass was cut */
    int32_t *flights;    /* of the parts */
    int32_t *pieces;     /* by position: which waits for its device or is computed */
    const struct cost_table **tables;           /* by position */
    int64_t *weight_bytes, *kv_bytes_per_token; /* by position */
    int64_t booked_ps; /* when all that waits will be done, by what it takes alone */
    struct ring queue; /* jobs of batches that have begun, where requests gather to new ones */
    int32_t kept;      /* the flight that finds no room in the next stage; NO_FLIGHT */
};

/* crew_setup.c. Compiles the passes of all such stages; none: serve.sliced has no stage. */
void crew_build(struct serve *serve);
/* The network is open: with what options and pairs. */
bool crew_network(struct serve *serve, const struct network_options *options,
                  const struct network_pair *pairs, int count, struct err *err);
/* After slots are shared out. */
void crew_begin(struct serve *serve);
/* A record for what a device computes. */
int32_t crew_part_flight(struct serve *serve);

/* crew.c. A flight stands before the stage. */
bool crew_push(struct serve *serve, int32_t index, struct err *err);
/* A device has computed its piece. */
bool crew_part_done(struct serve *serve, int32_t index, struct err *err);
/* A part of a pass that was cut has ended. */
void crew_stray_done(struct serve *serve, int32_t index);
/* Who goes next, now that a pass could begin: the oldest of the jobs and the requests that may
 * leave as a batch. */
bool crew_look(struct serve *serve, struct crew *crew, struct err *err);
/* The next stage has room for the flight that is kept, or it is lost: others may come. */
bool crew_let_go(struct serve *serve, struct crew *crew, struct err *err);
/* A part that waits for its device, whose speed has changed. */
bool crew_reprice(struct serve *serve, int32_t index, struct err *err);
/* A device of the crew is gone: all that is in the stage, or waits for it, has failed. */
void crew_fail(struct serve *serve, struct crew *crew, int32_t device);
/* Parts and messages of passes that were cut are under way. */
bool crew_has_strays(const struct serve *serve);
/* Tells of a piece that ends, or is cut off: SERVE_SPAN_LOST. */
void crew_tell_piece(const struct serve *serve, enum serve_span_kind kind, int32_t index,
                     int64_t start_ps);
/* The flight that a message is of, whatever kind of message it is; NO_FLIGHT: of one that was cut.
 */
int32_t crew_flight(const struct serve *serve, int32_t message);
/* What its passes take until all that waits is done, as of now. */
int64_t crew_backlog_ps(const struct serve *serve, const struct crew *crew);
/* What a step takes when nothing else is on its devices and links, an estimate: of each step the
 * slowest device, of each slot of an operation the slowest message. */
bool crew_estimate(struct serve *serve, const struct crew *crew, int32_t index, int64_t *time_ps,
                   struct err *err);
/* Into the result, what the network and the engine do not know. */
void crew_result(const struct serve *serve);
/* What a request in such a stage waits for, in words: for errors. */
const char *crew_waits_for(const struct serve *serve, int32_t index);
/* Tells of messages that the network reports: for struct sliced_host. */
void crew_on_message(void *arg, const struct sliced *sliced, const struct sliced_message *message);

#endif
