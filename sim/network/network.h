/* network.h - what a message costs between two nodes, and who waits for whom on a link.
 *
 * Two models of the same links (topology.h); which one applies when: sim/README.md.
 *
 * FIFO: a message occupies its port for per_message + 8 B / rate and arrives one latency later.
 * Ports are FIFO: one for each sending node of a switch, one for the whole of a wifi, hub or bus,
 * one for each link of a ring or mesh, one for each direction of a circuit. On ring and mesh a
 * message goes on as soon as its head has arrived, at the lowest rate of its way; between two media
 * it is stored and forwarded.
 *
 * Flows: messages of a route are a stream, one after the other; streams share links by max-min
 * fairness (flow.h). per_message is the sender's: a node pays for its messages on a medium one
 * after the other, each as a flow of per_message x rate over its port alone. Then the bytes flow
 * over all links of the medium at once, and are there one latency later. So a route that shares
 * nothing with others is a FIFO port.
 *
 * Alone, a message takes the same time under both, to 1 ps of rounding a medium:
 * network_alone_ps. Within a node messages are free unless the node has a bus. */
#ifndef ORRERY_SIM_NETWORK_NETWORK_H
#define ORRERY_SIM_NETWORK_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct engine;
struct err;
struct events;
struct network;
struct topology;

#define NETWORK_SOURCE (-1)  /* the end that stands for the coordinator */
#define NETWORK_NOTHING (-1) /* an event after which no message has arrived */
#define NETWORK_LATER (-1)   /* an instant that is not known yet */

enum network_model { NETWORK_FIFO, NETWORK_FLOWS, NETWORK_MODEL_COUNT };
extern const char *const network_model_names[NETWORK_MODEL_COUNT]; /* as on the command line */

/* Two ends that will talk: device indices of the cluster, or NETWORK_SOURCE. */
struct network_pair {
    int32_t from, to;
};

struct network_options {
    enum network_model model;
    const struct events *events; /* of the cluster: media and ports that fail or change; NULL */
    /* Flows: routes that share nothing with others, and whose rates never change, are FIFO ports.
     * That gives the same, to 1 ps for each message that waited for another, and is fast. */
    bool has_shortcut;
    const bool *are_empty; /* by pair: its messages will have no bytes. NULL = they may */
};

struct network_sent { /* what is known of a message when it is sent */
    bool is_free;     /* arrived at once: nothing was scheduled */
    int link;         /* the first that it occupies, for network_link_*; -1 when free */
    int in_link;      /* that it occupies too, from flow_ps to end_ps; -1 = none */
    int64_t begin_ps, flow_ps, end_ps; /* of the port's occupation; NETWORK_LATER */
    int64_t arrival_ps;                /* NETWORK_LATER: network_received tells when it is there */
};

struct network_received { /* the message that network_receive gave last */
    int32_t message, route;
    int link; /* the first that it occupied */
    int64_t bytes, send_ps;
    int64_t begin_ps;   /* of its first occupation of a link */
    int64_t arrival_ps; /* now */
};

/* Finds the route of every pair, duplicates allowed. A pair without a route is an error that names
 * both nodes. */
struct network *network_open(struct arena *arena, const struct cluster *cluster,
                             const struct network_options *options,
                             const struct network_pair *pairs, int pair_count, struct err *err);
/* Slots of the engine that the network needs. Slots first_slot .. first_slot + count - 1 belong to
 * it from network_attach on. */
int network_slot_count(const struct network *network);
void network_attach(struct network *network, struct engine *engine, int first_slot);
/* Index of the route of a pair given at creation; the caller keeps it. */
int network_route(const struct network *network, int32_t from, int32_t to);
/* Its messages arrive at once: nothing is scheduled for them. */
bool network_route_is_free(const struct network *network, int route);
/* The first link that its messages occupy, an index for network_link_*; -1 when it is free. */
int network_route_link(const struct network *network, int route);
/* Every route is free or books one FIFO port at a constant rate: network_book and network_hop may
 * be used, and network_send knows all instants. */
bool network_is_bookable(const struct network *network);
/* What a message takes when it is alone on its way, its circuits up; without events. */
int64_t network_alone_ps(const struct network *network, int route, int64_t bytes);

/* Sends now. A free message is only counted; any other arrives as an event on one of the network's
 * slots, and network_receive then gives its message number (>= 0) back. */
struct network_sent network_send(struct network *network, int route, int64_t bytes,
                                 int32_t message);
/* The same for a route that is not free, when nobody asks what became of the message. */
void network_post(struct network *network, int route, int64_t bytes, int32_t message);
/* Books the same without an event, at an instant not before any that was booked on its port: for
 * closed forms. The route must not be free, the network be bookable. */
struct network_sent network_book(struct network *network, int route, int64_t at_ps, int64_t bytes);
/* What one message of so many bytes takes of its route, for closed forms that keep the ports
 * themselves and account for them at the end. The route must not be free; where the network is not
 * bookable this is what the message takes when it is alone, and an estimate otherwise. */
struct network_hop {
    int link;
    int64_t occupy_ps, latency_ps;
};
struct network_hop network_hop(struct network *network, int route, int64_t bytes);
/* So many messages of so many bytes went over the route, each of which occupied it so long. */
void network_account(struct network *network, int route, int64_t count, int64_t occupy_ps,
                     int64_t bytes);
/* The engine gave an event on this slot: a message number, or NETWORK_NOTHING when none has arrived
 * yet (never of a bookable network). */
int32_t network_receive(struct network *network, int slot);
struct network_received network_received(const struct network *network);
/* What arrives on this slot was sent with NETWORK_LATER: network_received tells of it. */
bool network_slot_is_late(const struct network *network, int slot);

/* Told of links where network_send could not; functions may be NULL. */
struct network_watcher {
    void *arg;
    /* A message occupies a link: told when it is booked (FIFO) or over (flows: from the start of
     * the flow to its end). */
    void (*on_use)(void *arg, int link, int32_t message, int64_t bytes, int64_t begin_ps,
                   int64_t end_ps);
    /* A link was busy for busy_ps between two instants, evenly. In order of time for each link;
     * their sum is network_link_busy_ps, but for rounding by 1 ps each under flows. */
    void (*on_busy)(void *arg, int link, int64_t begin_ps, int64_t end_ps, int64_t busy_ps);
};
void network_watch(struct network *network, const struct network_watcher *watcher);

/* Sums and multiples of sizes, at most INT64_MAX. */
static inline int64_t network_add_bytes(int64_t a_bytes, int64_t b_bytes)
{
    return b_bytes > INT64_MAX - a_bytes ? INT64_MAX : a_bytes + b_bytes;
}

static inline int64_t network_times_bytes(int64_t count, int64_t bytes)
{
    return bytes > 0 && count > INT64_MAX / bytes ? INT64_MAX : count * bytes;
}

int network_link_count(const struct network *network);
/* See topology.h: "medium", "medium/node", "medium/node/in", "medium/a>b". */
const char *network_link_name(const struct network *network, int link);
const char *network_link_medium(const struct network *network, int link);
int network_link_medium_index(const struct network *network, int link); /* of the cluster */
/* How long the link was occupied; under flows the integral of the share of it that was used. */
int64_t network_link_busy_ps(const struct network *network, int link);
int64_t network_link_bytes(const struct network *network, int link);
int64_t network_in_flight(const struct network *network);
/* The first link of the medium that a message is on, or waits to be on; -1 when no message of that
 * number is under way. Slow: for reports. */
int network_where(const struct network *network, int32_t message);
/* Bytes of all messages that were not free, each counted once, whatever number of links it took. */
int64_t network_moved_bytes(const struct network *network);
/* What has arrived is what was sent, to the byte (modulo 2^32 for messages over one port). When
 * nothing is under way this must be so. */
bool network_is_balanced(const struct network *network);

struct network_traffic {
    int64_t count, bytes; /* of messages */
};
struct network_traffic network_traffic(const struct network *network, int route);
struct network_traffic network_carried(const struct network *network, int route); /* see below */
/* Of all routes together with their ends, in the order of its routes. */
const struct topology *network_topology(const struct network *network);
struct network_pair network_pair(const struct network *network, int route);
/* So many messages of so many bytes went over the route in a closed form that keeps its links
 * itself: for share.h alone. */
void network_beside(struct network *network, int route, int64_t count, int64_t bytes);
/* For what share.h says of the time of requests: a message that carries several requests counts
 * once for each (count: one less than they are); one that travels beside another that takes longer
 * counts for nothing (count: -1). */
void network_carry(struct network *network, int route, int64_t count, int64_t bytes);

struct network_circuits {
    int64_t setups, evictions, waits; /* waits: messages that found no circuit up */
};
bool network_has_circuits(const struct network *network);
struct network_circuits network_circuits(const struct network *network);

#endif
