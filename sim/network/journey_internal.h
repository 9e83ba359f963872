/* journey_internal.h - what journey.c and journey_flow.c share. For nobody else. */
#ifndef ORRERY_SIM_NETWORK_JOURNEY_INTERNAL_H
#define ORRERY_SIM_NETWORK_JOURNEY_INTERNAL_H

#include "lib/base/ring.h"
#include "sim/network/circuit.h"
#include "sim/network/journey.h"
#include "sim/network/topology.h"

struct flow_net;

enum timer_kind {
    TIMER_STEP,    /* FIFO: a message's head is at the next link of its leg */
    TIMER_LEG,     /* a message has passed its leg */
    TIMER_CIRCUIT, /* a circuit is set up */
    TIMER_RELEASE, /* FIFO: a message's last byte has left its circuit */
};

struct timer {
    int64_t time_ps;
    uint64_t seq;
    enum timer_kind kind;
    int32_t index; /* message, circuit */
};

struct message {
    int32_t number, route;
    int32_t leg, step; /* of the topology; of the leg */
    int32_t next_free;
    bool is_paying; /* flows: per_message under way, not yet the bytes */
    int64_t bytes, send_ps, begin_ps;
    int64_t flow_ps; /* when its bytes began to flow over the present leg */
};

struct line { /* messages that wait for the one before them */
    struct ring waiting;
    bool is_busy;
};

struct flow_leg {
    int32_t route, payment; /* routes of the flow model: of the bytes, of per_message */
};

struct journeys {
    struct arena *arena;
    const struct topology *topology;
    enum network_model model;
    struct network_link *links;
    struct engine *engine;
    int slot;
    struct network_watcher watcher;
    struct message *messages;
    int32_t message_count, message_room, free_message; /* -1 = none free */
    struct timer *timers;                              /* binary heap on (time, seq) */
    int32_t timer_count, timer_room;
    uint64_t next_seq;
    struct ring arrived; /* messages that network_receive has not given yet */
    struct circuits *circuits;
    int64_t sent_bytes, received_bytes, link_bytes;

    /* Flows: */
    struct flow_net *net; /* its resources: the links, then the pipes */
    struct flow_leg *legs;
    struct line *streams;        /* of each leg: its messages keep their order */
    struct line *senders;        /* of each port: pays for one message after the other */
    double *nominal;             /* of each link: its capacity before the first event, bytes/s */
    int32_t *pipes;              /* by port: resource that stops it, -1 = none */
    const struct events *events; /* NULL = none */
    size_t next_event;
    struct topology_state *state;
    double *busy_ps;  /* of each link, for the watcher; NULL before the first change */
    int64_t *told_ps; /* how much of it the watcher was told */
};

const struct topology_leg *journeys_leg(const struct journeys *journeys, int32_t message);
void journeys_timer(struct journeys *journeys, int64_t time_ps, enum timer_kind kind,
                    int32_t index);
/* The message has passed its leg: begins the next one, or has arrived. */
void journeys_leg_end(struct journeys *journeys, int32_t message);
/* The link is the message's for that time. */
void journeys_use(struct journeys *journeys, int32_t message, int32_t link, int64_t begin_ps,
                  int64_t end_ps);

/* ---- flows ---- */
void journeys_flow_create(struct journeys *journeys);
/* The message begins its leg, on its circuit if it needs one. */
void journeys_flow_go(struct journeys *journeys, int32_t message);
/* Brings flows and rates to the present instant: what ends, ends. */
void journeys_flow_sync(struct journeys *journeys);
/* When anything happens next, ENGINE_NEVER when nothing. */
int64_t journeys_flow_next_ps(struct journeys *journeys);

#endif
