/* flow.h - flows that share resources: weighted max-min fair rates, and when each flow ends.
 *
 * A flow moves bytes over a route. A route uses resources, each with a weight: a flow at rate r
 * takes weight x r of the capacity. Rates maximise the smallest penalty x r, then the next, and so
 * on, subject to: the sum of weight x r over the flows on a shared resource is at most its
 * capacity; on a fat pipe each flow alone has the capacity; r is at most the route's bound
 * (Bertsekas and Gallager, Data Networks, 6.5.2: progressive filling).
 *
 * Arithmetic, so that every compiler and machine gives the same bytes: instants are integer
 * picoseconds. Bytes, rates and weights are doubles, of which only +, -, *, / and comparisons are
 * taken, which IEEE 754 rounds one way; no fused multiply-add (-ffp-contract=off) and no call of
 * libm. Sums are taken in order of resources and routes, so that rates depend on which flows are
 * under way and not on how they came there. What a flow still has to move is kept to 53 bits, and
 * its end rounded to the nearest picosecond.
 *
 * All flows of one route have one rate, so that they cost as much as one flow: a route counts the
 * bytes that each of them has got so far, and the flow ends when that count reaches where it stood
 * at the flow's start plus the flow's bytes. After a change only what is connected to it, through
 * resources and flows under way, gets new rates, once an instant. */
#ifndef ORRERY_SIM_NETWORK_FLOW_H
#define ORRERY_SIM_NETWORK_FLOW_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct flow_net;

enum flow_policy { FLOW_SHARED, FLOW_FAT_PIPE };

struct flow_use {
    int32_t resource;
    double weight; /* > 0 */
};

#define FLOW_NEVER INT64_MAX
#define FLOW_UNBOUNDED 0.0

/* Time starts at 0. Everything lives in the arena. */
struct flow_net *flow_create(struct arena *arena);
/* Resources are numbered from 0. capacity >= 0 and finite, in weight units x bytes a second. */
int32_t flow_add_resource(struct flow_net *net, double capacity, enum flow_policy policy);
/* A route over count resources (weights of one that is there twice add up); bound in bytes a
 * second, FLOW_UNBOUNDED = none; penalty > 0, 1 = a fair share. Some resource or a bound must limit
 * it. Routes that are alike in all this are one: the number is the same. */
int32_t flow_add_route(struct flow_net *net, const struct flow_use *uses, int count, double bound,
                       double penalty);

/* The same, but a number of its own even when another route is alike: its weights may change. */
int32_t flow_add_own_route(struct flow_net *net, const struct flow_use *uses, int count,
                           double bound, double penalty);
/* Of a route of its own, on a shared resource that it uses; > 0. From now on. */
void flow_set_weight(struct flow_net *net, int32_t route, int32_t resource, double weight);

/* A flow begins now. bytes >= 0 and finite; tag is the caller's. */
void flow_start(struct flow_net *net, int32_t route, double bytes, int32_t tag);
/* A capacity changes now; 0 stops all that uses it. */
void flow_set_capacity(struct flow_net *net, int32_t resource, double capacity);

/* When the first flow ends if nothing else happens, or FLOW_NEVER. Not before now. */
int64_t flow_next_ps(struct flow_net *net);
/* Moves time to an instant that lies neither in the past nor after flow_next_ps, and takes out the
 * flows that end then. Returns how many; flow_ended gives their tags, in the order in which the
 * flows began, until the next flow_advance. Flows that begin later at the same instant and have
 * nothing to move end at it too: flow_next_ps says so. */
int flow_advance(struct flow_net *net, int64_t time_ps);
int32_t flow_ended(const struct flow_net *net, int index);

int64_t flow_now_ps(const struct flow_net *net);
/* Whether rates have to be found anew before time may move: flow_next_ps will do it. */
bool flow_is_unsettled(const struct flow_net *net);
/* Whether any flow moves: where flow_next_ps is FLOW_NEVER all the same, its end lies beyond time.
 */
bool flow_is_any_moving(struct flow_net *net);
/* Flows under way: all, and of one route. */
int64_t flow_count(const struct flow_net *net);
int32_t flow_route_flows(const struct flow_net *net, int32_t route);
double flow_capacity(const struct flow_net *net, int32_t resource);
/* Bytes a second of each flow of the route, 0 when it has none. */
double flow_rate(struct flow_net *net, int32_t route);

/* Share of a shared resource's capacity that flows take now, 0 to 1. */
double flow_used_ratio(struct flow_net *net, int32_t resource);
/* Of a shared resource, up to now: the integral of the share of its capacity that was in use. */
int64_t flow_busy_ps(const struct flow_net *net, int32_t resource);
/* Bytes of all flows that have begun on the resource. */
double flow_bytes(const struct flow_net *net, int32_t resource);

#endif
