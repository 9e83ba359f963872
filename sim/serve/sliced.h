/* sliced.h - stages of a model whose slices lie on several devices. For the files of this folder.
 *
 * A stage runs one pass at a time, first in, first out. In a pass (lib/policy/pass.h) every device
 * walks the steps by itself: it computes its pieces as jobs of its own queue, so that others may
 * use it while it waits, and takes part in operations by sending and awaiting messages. The pass
 * has ended when the last device is through. */
#ifndef ORRERY_SIM_SERVE_SLICED_H
#define ORRERY_SIM_SERVE_SLICED_H

#include "lib/base/ring.h"
#include "lib/policy/pass.h"
#include "sim/network/collective.h"
#include "sim/network/network.h"
#include "sim/serve/internal.h"

#define SLICED_FIRST_MESSAGE (INT32_C(1) << 30) /* numbers of messages below are flights */
#define SLICED_PART (-2)                        /* site.route_back of what a device computes */

struct sliced_edge {  /* a message of an operation */
    int32_t from, to; /* members */
    int32_t slot;     /* how many messages one after the other lie before it */
    int32_t first_part, part_count;
    int32_t dep_count;              /* messages that must have arrived before it is sent */
    int32_t first_next, next_count; /* in sliced_op.next: those that wait for it */
    int route;
    int64_t per_message_ps; /* 0 of a free route */
    int64_t row_bytes;      /* of an exchange */
};

/* What the time since the beginning of a pass went by with, along the chain of what waited for
 * what. */
struct sliced_trail {
    int64_t compute_ps;
    int64_t per_message_ps, bytes_ps, latency_ps; /* waiting for a link counts as what the message
                                                   * itself is made of */
    int64_t wait_ps;                              /* for a device that computed something else */
};

struct sliced_link { /* what messages took of a link */
    int link;
    int64_t busy_ps, bytes;
};

struct sliced_alone { /* what an operation takes on idle links; see sliced_alone.c */
    int32_t tokens;   /* 0 = not known yet */
    int link_count;
    int64_t time_ps, messages, bytes, events;
    struct sliced_trail trail;
    struct sliced_link *links;
};

struct sliced_network { /* for operations alone: the links of the run, in a time of their own */
    struct network *network;
    struct engine *engine;
    struct sliced_link *links;  /* by link: as of the last operation */
    int32_t *deps_left, *ready; /* scratch, by edge */
    int64_t *sent_ps, *bytes;
    struct sliced_trail *trails;
};

struct sliced_op { /* what the devices of a stage send each other in one step of a pass */
    const struct pass_step *step;
    int32_t edge_count, slot_count;
    struct sliced_edge *edges;
    int32_t *next;
    int32_t *member_of;            /* by position; -1 = takes no part */
    int32_t *in_count, *out_count; /* messages, by member */
    struct sliced_alone alone[2];  /* of one token, of the last other number of them */
};

struct sliced_run { /* an operation under way */
    int32_t op;     /* step */
    int32_t ordinal;
    int32_t next;       /* free list */
    int32_t entered;    /* members that have come to it */
    int32_t inside;     /* members that are not through */
    int32_t left;       /* messages that have not arrived */
    int32_t *deps_left; /* by edge; SLICED_SENT */
    int32_t *in_left;   /* by member: messages that have not arrived */
    int32_t *out_left;  /* that are not sent */
    bool *has_entered;  /* by member */
};

struct sliced_cursor {         /* a device on its way through the pass */
    int32_t ordinal;           /* of the step it is in */
    bool is_waiting;           /* inside an operation */
    bool is_listed;            /* may go on */
    int64_t ready_ps;          /* when its piece came to its queue */
    int64_t first_ps, last_ps; /* of its computes; TRACE_NONE before */
    int64_t clock_ps, busy_ps; /* in the closed form */
    struct sliced_trail trail;
};

struct sliced {
    struct site *site;
    int32_t number; /* of serve.sliced */
    const struct pass *pass;
    int32_t count;      /* devices */
    struct site *parts; /* by position: what a device computes, as a site of its own */
    int32_t *part_flights;
    const struct cost_table **tables;           /* by position */
    int64_t *weight_bytes, *kv_bytes_per_token; /* by position */
    struct sliced_op *ops;                      /* by step; of computes empty */
    int32_t *piece_of;                          /* by step and position; -1 = none */
    int32_t ordinal_count;
    int32_t *steps; /* of the pass, by ordinal: segments written out */
    struct sliced_run *runs;
    int32_t run_count, first_free_run, most_edges;
    int32_t *run_of; /* by ordinal; -1 = not under way */
    /* of the pass that runs */
    int32_t running; /* flight; NO_FLIGHT */
    int32_t through; /* devices */
    int64_t begin_ps;
    int64_t message_count, message_bytes;
    struct sliced_trail last; /* of the device that came through last */
    struct sliced_cursor *cursors;
    int64_t *piece_ps; /* by piece: in the closed form, and what the pass adds to the run's sums */
    int *piece_extrapolated;
    int64_t alone_events, alone_extrapolated;
    int32_t *list, list_count; /* devices that may go on */
    bool is_working; /* its devices are going on: whoever comes waits for the end of that */
    struct ring waiting;
    int64_t booked_ps; /* when all that waits will be done, by what it takes alone */
    struct serve_passes *passes;
};

struct sliced_message {        /* under way */
    int32_t next;              /* free list */
    int32_t sliced, run, edge; /* sliced -1: free */
    int64_t send_ps, bytes;
    struct sliced_trail trail;
};

/* sliced_setup.c. Compiles the passes of all such stages; none: serve.sliced_count stays 0. */
void sliced_build(struct serve *serve);
/* Pairs of devices that will talk, and later their routes. */
int sliced_pair_count(const struct serve *serve);
int sliced_pairs(const struct serve *serve, struct network_pair *pairs);
void sliced_routes(struct serve *serve);
/* After slots are shared out. What such stages cannot be combined with is an error. */
bool sliced_begin(struct serve *serve, struct err *err);

/* sliced.c: passes in time. A flight stands before the stage. */
bool sliced_push(struct serve *serve, int32_t index, struct err *err);
/* A device has computed its piece. */
bool sliced_part_done(struct serve *serve, int32_t index, struct err *err);
/* A message from SLICED_FIRST_MESSAGE on has arrived; is_told: network_received says how. */
bool sliced_arrive(struct serve *serve, int32_t message, bool is_told, struct err *err);
/* The flight that a message is of, whatever kind of message it is. */
int32_t sliced_flight(const struct serve *serve, int32_t message);
/* What a message that took so long adds to the time since the pass began. */
void sliced_trail_extend(const struct serve *serve, struct sliced_trail *trail,
                         const struct sliced_edge *edge, int64_t bytes, int64_t took_ps);
/* The event of a pass in closed form: its end. */
bool sliced_event(struct serve *serve, int number, struct err *err);

/* sliced_alone.c: passes that meet nobody, in closed form. The network as the run opens it. */
bool sliced_alone_setup(struct serve *serve, const struct network_options *options,
                        const struct network_pair *pairs, int count, struct err *err);
/* True: the pass that begins now will end by sliced_event. False: it is for the events. */
bool sliced_alone_begin(struct serve *serve, struct sliced *sliced);
/* It ends: its devices and links have done their part. */
void sliced_alone_end(struct serve *serve, struct sliced *sliced);
/* Into the result, beside what the events did. */
void sliced_alone_result(const struct serve *serve);

/* sliced_estimate.c */
int64_t sliced_backlog_ps(const struct serve *serve, const struct sliced *sliced);
/* What a step takes when nothing else is on its devices and links, an estimate: of each step the
 * slowest device, of each slot of an operation the slowest message. */
bool sliced_estimate(struct serve *serve, const struct sliced *sliced, int32_t new_tokens,
                     int32_t past_tokens, int64_t *time_ps, struct err *err);
/* Bytes of a message in a step of so many new tokens. */
int64_t sliced_edge_bytes(const struct sliced *sliced, const struct sliced_op *op,
                          const struct sliced_edge *edge, int32_t tokens);

/* What a request in such a stage waits for, in words: for errors. */
const char *sliced_waits_for(const struct serve *serve, int32_t index);

/* sliced_tell.c: where somebody observes. A message whose times are known, one that has arrived,
 * what each device did in the pass that ends, a piece that ends. */
void sliced_tell_message(const struct serve *serve, const struct sliced *sliced,
                         const struct sliced_op *op, const struct sliced_edge *edge, int64_t bytes,
                         int64_t send_ps, bool is_late, const struct network_sent *sent);
void sliced_tell_received(const struct serve *serve, const struct sliced *sliced,
                          const struct sliced_op *op, const struct sliced_edge *edge);
void sliced_tell_pass(const struct serve *serve, const struct sliced *sliced);
void sliced_tell_piece(const struct serve *serve, const struct sliced *sliced, int32_t position,
                       int64_t start_ps);

#endif
