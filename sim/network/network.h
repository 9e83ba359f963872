/* network.h - what a message costs between two nodes, and who waits for whom on a link.
 *
 * A message occupies its port for per_message + 8 B / rate and arrives one latency later. Ports are
 * FIFO: one for each sending node of a switch, one for the whole of a wifi, hub or bus. Within a
 * node messages are free unless the node has a bus. Only single-hop media so far: anything else is
 * refused when the network is built. */
#ifndef ORRERY_SIM_NETWORK_NETWORK_H
#define ORRERY_SIM_NETWORK_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct engine;
struct err;
struct network;

#define NETWORK_SOURCE (-1) /* the end that stands for the coordinator */

/* Two ends that will talk: device indices of the cluster, or NETWORK_SOURCE. */
struct network_pair {
    int32_t from, to;
};

struct network_sent {         /* what became of a message: all instants are known when it is sent */
    bool is_free;             /* arrived at once: nothing was scheduled */
    int link;                 /* index for network_link_*; -1 when free */
    int64_t begin_ps, end_ps; /* of the port's occupation */
    int64_t arrival_ps;
};

/* Finds the route of every pair, duplicates allowed. A pair with no common medium or over a kind
 * that this version cannot simulate is an error. */
struct network *network_create(struct arena *arena, const struct cluster *cluster,
                               const struct network_pair *pairs, int pair_count, struct err *err);
/* Routes: each has an engine slot, also one whose messages are free. Slots first_slot .. first_slot
 * + count - 1 belong to the network from network_attach on. */
int network_slot_count(const struct network *network);
void network_attach(struct network *network, struct engine *engine, int first_slot);
/* Index of the route of a pair given at creation; the caller keeps it. */
int network_route(const struct network *network, int32_t from, int32_t to);
/* Its messages arrive at once: nothing is scheduled for them. */
bool network_route_is_free(const struct network *network, int route);
/* The port that its messages occupy, an index for network_link_*; -1 when it is free. */
int network_route_link(const struct network *network, int route);

/* Sends now. A free message is only counted; any other arrives as an event on the route's slot, in
 * the order of sending, and network_receive then gives its message number back. */
struct network_sent network_send(struct network *network, int route, int64_t bytes,
                                 int32_t message);
/* The same for a route that is not free, when nobody asks what became of the message. */
void network_post(struct network *network, int route, int64_t bytes, int32_t message);
/* Books the same without an event, at an instant not before any that was booked on its port: for
 * closed forms. The route must not be free. */
struct network_sent network_book(struct network *network, int route, int64_t at_ps, int64_t bytes);
/* What one message of so many bytes takes of its route, for closed forms that keep the ports
 * themselves and account for them at the end. The route must not be free. */
struct network_hop {
    int link;
    int64_t occupy_ps, latency_ps;
};
struct network_hop network_hop(struct network *network, int route, int64_t bytes);
void network_account(struct network *network, int link, int64_t busy_ps, int64_t bytes);
/* The engine gave an event on this slot. */
int32_t network_receive(struct network *network, int slot);

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
/* "medium" or "medium/node". */
const char *network_link_name(const struct network *network, int link);
const char *network_link_medium(const struct network *network, int link);
int64_t network_link_busy_ps(const struct network *network, int link);
int64_t network_link_bytes(const struct network *network, int link);
int64_t network_in_flight(const struct network *network);

#endif
