/* flow_internal.h - what flow.c and flow_solve.c share. For nobody else. */
#ifndef ORRERY_SIM_NETWORK_FLOW_INTERNAL_H
#define ORRERY_SIM_NETWORK_FLOW_INTERNAL_H

#include "sim/network/flow.h"
#include "sim/network/least.h"
#include <math.h>
#include <stdbool.h>
#include <stddef.h>

struct arena;

struct use { /* of a shared resource by a route */
    int32_t resource, route;
    double weight, ratio; /* ratio = weight / penalty */
    double share;         /* ratio x flows under way: what one unit of the water level takes */
};

struct end {         /* a flow under way */
    double at_bytes; /* ends when the route has served so many */
    uint64_t seq;    /* order of starting */
    int32_t tag;
};

struct route {
    int32_t first_use, use_count;   /* in order of resources */
    int32_t first_pipe, pipe_count; /* fat pipes, in flow_net.pipes */
    double own_bound, bound;        /* as given; with the fat pipes. INFINITY = none */
    double penalty;
    struct end *ends; /* binary heap on (at_bytes, seq) */
    int32_t count, room;
    uint32_t seen, fixed; /* the last search and solution that met it */
    double rate;          /* bytes/s of each of its flows */
    double served_bytes;  /* what each flow of the route has got by since_ps, from some start */
    int64_t since_ps;
    double total_bytes; /* of all flows that began */
    uint64_t hash;      /* of its definition */
};

struct resource {
    double capacity;
    bool is_pipe, is_dirty;
    uint32_t seen;
    int32_t local; /* place in the component that is being solved */
    int32_t *uses; /* of routes with flows under way, ascending */
    int32_t use_count, use_room;
    double used_ratio, busy_ps; /* busy up to since_ps */
    int64_t since_ps;
};

struct local {              /* a resource while its component is solved */
    int32_t resource, left; /* routes without a rate */
    double rest, share;     /* capacity not given away, and shares of the routes without a rate */
    double summed_share;    /* share when it was summed up last */
    bool is_stale;          /* its key is that of an earlier rest and share */
};

struct flow_net {
    struct arena *arena;
    int64_t now_ps, flow_count;
    uint64_t next_seq;
    struct resource *resources;
    int32_t resource_count, resource_room;
    struct route *routes;
    int32_t route_count, route_room, bounded_count; /* bounded: by themselves or by fat pipes */
    struct use *uses;
    int32_t use_count, use_room;
    struct flow_use *pipes;
    int32_t pipe_count, pipe_room;
    int32_t *table; /* hash of a route's definition to its number, -1 = empty */
    uint32_t table_mask;
    struct least next; /* when the first flow of each route ends, ps */
    struct end *ended;
    int32_t ended_count, ended_room;

    int32_t *dirty; /* resources whose flows have changed */
    int32_t dirty_count;
    uint32_t search, solution; /* stamps */
    uint64_t *marks;           /* a bit a resource */
    int32_t *queue;            /* resources of a component, in order of number after the search */
    struct local *locals;
    int32_t *bounded;   /* routes of the component that have a bound */
    struct least level; /* at which each local, then each bounded route, is full */
    int32_t solve_room; /* of the four above */
};

/* Instant at which the route's first flow ends at its present rate, FLOW_NEVER when it does not. */
int64_t flow_route_next_ps(const struct route *route);
/* Counts what the route has served up to now. */
void flow_settle(struct flow_net *net, struct route *route);
/* Gives the route a rate from now on. */
void flow_set_rate(struct flow_net *net, int32_t index, double rate);
void flow_mark(struct flow_net *net, int32_t resource);
/* New rates for all that is connected to marked resources. */
void flow_solve(struct flow_net *net);

#endif
