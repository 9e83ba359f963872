/* sliced.h - stages of a model whose slices lie on several devices: their passes under simulated
 * time.
 *
 * A stage runs one pass at a time, first in, first out. In a pass (lib/policy/pass.h) every device
 * walks the steps by itself: it computes its pieces as jobs of its own queue, so that others may
 * use it while it waits, and takes part in operations by sending and awaiting messages. The pass
 * has ended when the last device is through.
 *
 * Who calls this, the host, has the devices: it queues pieces among whatever else they compute, and
 * says what they cost. A pass is of somebody, a number that only the host understands: a request,
 * or a batch. */
#ifndef ORRERY_SIM_SLICED_SLICED_H
#define ORRERY_SIM_SLICED_SLICED_H

#include "lib/policy/collective.h"
#include "lib/policy/pass.h"
#include "sim/network/share.h"
#include "sim/sliced/sliced_sums.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct engine;
struct err;
struct model;
struct network;
struct network_options;
struct network_pair;
struct network_sent;
struct plan_stage;
struct sliced;     /* a stage */
struct sliced_set; /* all of them in a run */

#define SLICED_FIRST_MESSAGE (INT32_C(1) << 30) /* numbers of messages below are the host's */
#define SLICED_NOBODY (-1)

struct sliced_load {   /* of a pass */
    int32_t tokens;    /* new ones of all requests in it: rows of most messages */
    int32_t sequences; /* whose last tokens go to the LM head */
    bool is_decode;    /* nobody has more than one new token; for the sums alone */
};

struct sliced_message { /* of an exchange; positions are those of devices in the stage */
    int32_t number, from, to;
    int64_t bytes, send_ps;
    bool is_late;                    /* told when it is received, with what is known by then */
    const struct network_sent *sent; /* of the network */
};

struct sliced_host {
    void *arg;
    /* What somebody's pass, which begins now, is of. */
    bool (*begin)(void *arg, const struct sliced *sliced, int32_t who, struct sliced_load *load,
                  struct err *err);
    /* What a piece of it takes now; *extrapolated as of price_piece. */
    bool (*price)(void *arg, const struct sliced *sliced, int32_t who, int32_t piece,
                  int64_t *time_ps, int *extrapolated, struct err *err);
    /* How much longer than it costs the first piece of the device at that position takes: what is
     * to be done once a pass of so many sequences. */
    int64_t (*lead_ps)(void *arg, const struct sliced *sliced, int32_t position, int32_t sequences);
    /* A piece, into the queue of its device; sliced_computed when it is done. Never 0. */
    bool (*compute)(void *arg, const struct sliced *sliced, int32_t who, int32_t piece,
                    int64_t cost_ps, struct err *err);
    /* The pass is over; sliced_span tells of its devices until this returns. */
    bool (*end)(void *arg, const struct sliced *sliced, int32_t who, struct err *err);
    /* For the closed form. Its devices are idle, and nothing is under way but this pass, events of
     * the engine and what comes at *next_ps or later. */
    bool (*is_quiet)(void *arg, const struct sliced *sliced, int64_t *next_ps);
    /* What a device did in such a pass, the last of it until end_ps. */
    void (*account)(void *arg, const struct sliced *sliced, int32_t position, int64_t busy_ps,
                    int64_t end_ps);
    /* A message is sent, or received; NULL: nobody asks. */
    void (*on_message)(void *arg, const struct sliced *sliced,
                       const struct sliced_message *message);
};

/* ---- before time starts: sliced_setup.c ---- */

/* first_piece: pieces are numbered from there. Without overlap devices wait for one another before
 * and behind an exchange. */
struct sliced_set *sliced_create(struct arena *arena, enum collective_algorithm collective,
                                 bool has_overlap, int32_t first_piece);
/* has_batches: its passes are of batches. */
struct sliced *sliced_add(struct sliced_set *set, const struct plan_stage *stage,
                          const struct model *model, bool has_batches);
/* Pairs of devices that will talk, and later their routes. */
int sliced_pair_count(const struct sliced_set *set);
int sliced_pairs(const struct sliced_set *set, struct network_pair *pairs);
void sliced_routes(struct sliced_set *set, struct network *network);
/* Slots of the engine that the set needs: one a stage. */
int sliced_slot_count(const struct sliced_set *set);
/* device_slots: by device of the cluster, who goes first at one instant. */
void sliced_attach(struct sliced_set *set, const struct cluster *cluster, struct engine *engine,
                   int first_slot, const int32_t *device_slots, const struct sliced_host *host);
/* sliced_alone.c. From now on passes that meet nobody are sums. The network as the run opens it;
 * without overlap, circuits and events, and nobody may be told of messages. */
bool sliced_alone_setup(struct sliced_set *set, const struct cluster *cluster,
                        const struct network_options *options, const struct network_pair *pairs,
                        int count, struct err *err);

/* ---- a stage ---- */

int32_t sliced_number(const struct sliced *sliced); /* from 0, in order of sliced_add */
const struct plan_stage *sliced_plan(const struct sliced *sliced);
const struct pass *sliced_pass(const struct sliced *sliced);

/* ---- passes in time: sliced.c ---- */

/* Somebody stands before the stage. */
bool sliced_push(struct sliced *sliced, int32_t who, struct err *err);
/* Whose pass runs; SLICED_NOBODY. */
int32_t sliced_running(const struct sliced *sliced);
int32_t sliced_waiting(const struct sliced *sliced);
int32_t sliced_waiting_at(const struct sliced *sliced, int32_t i); /* in order of coming */
/* A pass could begin at once. */
bool sliced_is_free(const struct sliced *sliced);
/* What a piece that waits for its device takes, now that a speed has changed. */
bool sliced_reprice(const struct sliced *sliced, int32_t piece, int64_t *cost_ps, struct err *err);
/* The device has computed its piece from begin_ps until now. */
bool sliced_computed(struct sliced *sliced, int32_t position, int64_t begin_ps, struct err *err);
/* A message from SLICED_FIRST_MESSAGE on has arrived; is_told: network_received says how. */
bool sliced_arrive(struct sliced_set *set, int32_t message, bool is_told, struct err *err);
/* The event of a pass in closed form: its end. */
bool sliced_event(struct sliced_set *set, int number, struct err *err);
/* Between the two no pass begins: whoever was in the last one has nowhere to go. */
void sliced_hold(struct sliced *sliced);
bool sliced_release(struct sliced *sliced, struct err *err);
/* The pass that runs, and all who wait, are lost, and nobody holds the stage. Pieces that are
 * queued or computed are the host's to forget: sliced_computed is not to be called for them. What
 * is under way on links goes on. */
void sliced_cut(struct sliced *sliced);
/* From the first piece of the device in the pass that ends to its last; begin_ps = end_ps: it
 * computed nothing, and that is when the pass began. */
void sliced_span(const struct sliced *sliced, int32_t position, int64_t *begin_ps, int64_t *end_ps);
/* How long the pass that ends was computed, along the chain of what waited for what. */
int64_t sliced_compute_ps(const struct sliced *sliced);
/* Whose message that is; SLICED_NOBODY: of a pass that was cut. */
int32_t sliced_message_of(const struct sliced_set *set, int32_t message);
/* Messages of passes that were cut are under way. */
bool sliced_has_strays(const struct sliced_set *set);
/* What the pass that runs waits for, in words: for errors. */
const char *sliced_waits_for(const struct sliced *sliced);

/* ---- sizes: sliced_sizes.c ---- */

/* What all messages of a step take when nothing else is on links, an estimate: of each slot of an
 * operation the slowest message. Of step `number` of the pass. */
int64_t sliced_exchange_ps(const struct sliced *sliced, int32_t number,
                           const struct sliced_load *load);

/* ---- a pass as a sum, without a run: sliced_alone.c ---- */

struct sliced_alone {
    int64_t time_ps, compute_ps; /* compute: along the chain of what waited for what */
    int64_t message_count, message_bytes;
};
/* Somebody's pass on idle devices and links, after sliced_alone_setup; of the host price and
 * lead_ps alone are asked. busy_ps: by position. False: something has no price, or two exchanges of
 * the pass are under way at once, which no sum tells. */
bool sliced_alone_pass(struct sliced *sliced, int32_t who, const struct sliced_load *load,
                       struct sliced_alone *alone, int64_t *busy_ps, struct err *err);

/* ---- after it ---- */

struct sliced_totals {
    int64_t extrapolated_costs;
    int64_t closed_count;             /* passes in closed form, and what */
    int64_t event_count, moved_bytes; /* the events would have counted of them */
    int stage_count;
    const struct sliced_stage *stages;
};
struct sliced_totals sliced_totals(const struct sliced_set *set);
/* What requests waited for messages of passes over a medium of the cluster, links that others used
 * included: for each request in a pass the chain of what waited for what. Such messages are not
 * among the media of share_out. */
struct share sliced_share(const struct sliced_set *set, int medium);
/* What passes in closed form took of a link, which its network does not know. */
void sliced_link(const struct sliced_set *set, int link, int64_t *busy_ps, int64_t *bytes);

#endif
