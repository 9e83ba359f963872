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
    int32_t resource;
    double weight, ratio; /* ratio = weight / penalty */
};

struct entry { /* of a route with flows under way, in the list of a resource */
    int32_t route, use;
    double share; /* ratio x flows under way: what one unit of the water level takes */
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
    double rate;         /* bytes/s of each of its flows */
    double served_bytes; /* what each flow of the route has got by since_ps, from some start */
    int64_t since_ps;
    double moved_bytes; /* by all flows of the route together, up to since_ps */
    double total_bytes; /* of all flows that began */
    uint64_t hash;      /* of its definition */
};

struct resource {
    double capacity;
    bool is_pipe, is_dirty;
    struct entry *entries; /* in order of routes */
    int32_t entry_count, entry_room;
    double busy_s, counted; /* before the capacity changed last; weight x bytes moved by then */
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
    int32_t route_count, route_room;
    struct use *uses;
    int32_t use_count, use_room;
    struct flow_use *pipes;
    int32_t pipe_count, pipe_room;
    int32_t *table; /* hash of a route's definition to its number, -1 = empty */
    uint32_t table_mask;
    struct least next; /* when the first flow of each route ends, ps */
    uint64_t top_ps;   /* the smallest of them, where is_top_known, and of which route */
    uint32_t top_route;
    bool is_top_known;
    struct end *ended;
    int32_t ended_count, ended_room;

    int32_t *dirty; /* resources whose flows have changed */
    int32_t dirty_count;

    /* Of the component that is being solved; all rooms are those of resources and routes. */
    uint32_t search;          /* number of the component */
    uint32_t *resource_seen;  /* the last component that had the resource or the route */
    uint32_t *route_seen;     /* search: has no rate yet; search + 1: has one */
    int32_t *resource_local;  /* place in locals, -1 = no other route is there */
    uint64_t *resource_marks; /* a bit each, to put them in order */
    uint64_t *route_marks;    /* of the routes that have a limit */
    int32_t *resource_queue;  /* that routes share */
    int32_t *route_queue;     /* all */
    double *limits;           /* level of each route of its own: bound, resources it has alone */
    struct local *locals;     /* as resource_queue */
    struct least level;       /* at which each local, then each limited route, is full */
    int32_t solve_resources, solve_routes; /* room of the above */
};

/* Doubles the room of an array of the net when it is full. */
#define MAKE_ROOM(net, items, count, room, first)                                                  \
    do {                                                                                           \
        if ((count) == (room)) {                                                                   \
            int32_t larger = arena_wider(room, first);                                             \
            (items) = arena_grow((net)->arena, (items), (size_t)(room), (size_t)larger,            \
                                 sizeof(*(items)));                                                \
            (room) = larger;                                                                       \
        }                                                                                          \
    } while (0)

#define NO_HASH 0 /* of a route that is not to be found */

/* Compilers may warn of ==. */
static inline bool flow_is_same(double a, double b)
{
    return !(a < b) && !(a > b);
}

/* What the route's own bound and its fat pipes come to. */
void flow_find_bound(const struct flow_net *net, struct route *route);
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
