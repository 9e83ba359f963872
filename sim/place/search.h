/* search.h - what the files of the planner `orrery` share: candidates, what is estimated of them,
 * and the ways to change one.
 *
 * A candidate is replicas of services, each a pipeline of stages, each on one device or, cut into
 * equal parts, on several. A device has one stage at most. What is estimated are sums of measured
 * costs of a typical request (problem.h), good enough to choose what to simulate; what a placement
 * is worth the judge says, by simulating it. Placements of other planners that are nothing of that
 * kind (several stages on a device, heads by number, phases, epochs) are simulated as they are. */
#ifndef ORRERY_SIM_PLACE_SEARCH_H
#define ORRERY_SIM_PLACE_SEARCH_H

#include "lib/base/rng.h"
#include "sim/judge/judge.h"
#include "sim/place/place.h"

#define SEARCH_MOST_PARTS 8 /* of a stage: 1, 2, 4 or 8 devices */
#define SEARCH_DEGREES 4    /* 1 << degree devices */

struct search_stage {
    int32_t first, last; /* units */
    int32_t device_count;
    int32_t devices[SEARCH_MOST_PARTS];
};

struct search_replica {
    int32_t service, stage_count;
    const struct search_stage *stages;
    int64_t latency_ps, period_ps; /* estimates: of a lone request; see problem_score */
    bool is_simulated;             /* no, they are simulated */
};

struct search_plan { /* a candidate */
    int32_t replica_count;
    struct search_replica *replicas; /* in order of preference */
    int32_t max_batch, queue_depth;  /* of all stages; 0 = not stated */
};

struct search_service { /* what estimates need of a service */
    const struct problem *problem;
    int32_t unit_count;
    int64_t *sums_ps[SEARCH_DEGREES]; /* of units before: kind x (unit_count + 1) + unit; NULL:
                                       * its heads do not divide, or nothing was measured */
    int32_t *reach[SEARCH_DEGREES];   /* kind x unit_count + first: last unit that there is room
                                       * for from there on; first - 1: none */
    bool *can_cut[SEARCH_DEGREES];    /* by kind: parts of it were measured */
    struct problem_way *ways;         /* between kinds, lazily: time_ps < 0 = not known */
    bool are_ways_alike;              /* of all units */
    double share, demand_per_ps;      /* of all requests; 0 = without a workload */
    int64_t slo_ps;                   /* of a mean request; 0 = none */
};

struct search {
    struct arena *arena;
    const struct place_ask *ask;
    const struct cluster *cluster;
    int32_t device_count, service_count;
    struct search_service *services;
    int64_t *speeds_ps; /* by device: all units of the first service; less is faster */
    bool has_queues; /* bounded queues are tried: at the end, since simulating them takes longer */
    struct rng rng;
};

/* ---- search_table.c: estimates ---- */

void search_begin(struct arena *arena, const struct place_ask *ask, struct search *search);
/* A pipeline over the stages' devices, in this order, as balanced as it goes; with slack_percent
 * above 0 earlier stages take more than their share. False: it does not fit. Stages may be left
 * out. The stages are in arena. */
bool search_fill(struct arena *arena, struct search *search, int32_t service,
                 const struct search_stage *stages, int32_t count, int32_t slack_percent,
                 struct search_replica *replica);
/* Estimates of stages that have their units. False: one has no room. */
bool search_measure(struct search *search, struct search_replica *replica);
/* How good it looks, more is better: shares of requests that the replicas can take in time. */
double search_value(const struct search *search, const struct search_plan *plan);
/* The fastest first, ties as they stand. */
void search_sort(const struct search *search, int32_t *devices, int32_t count);

/* ---- search_rows.c ---- */

/* Whether some stage is cut into parts. */
bool search_is_cut(const struct search_replica *replica);
struct placement_row *search_rows(struct arena *arena, const struct search *search,
                                  const struct search_plan *plan, int *count);
/* With the caches of as many requests as are asked for (room.h). */
bool search_has_room(const struct search *search, const struct search_plan *plan);
/* The candidate that rows are; false: they are none of this kind. */
bool search_parse(struct arena *arena, struct search *search, const struct placement_row *rows,
                  int count, struct search_plan *plan);
struct search_plan search_keep(struct arena *arena, const struct search_plan *plan); /* a copy */
/* Each service has one replica more than nodes may fail that share no node, so that one is left
 * whichever they are. */
bool search_is_safe(const struct search *search, const struct search_plan *plan);
uint64_t search_hash(const struct search_plan *plan);

/* ---- search_moves.c ---- */

enum search_move {
    SEARCH_BORDER, /* units from a stage to its neighbour */
    SEARCH_SWAP,   /* two devices change places */
    SEARCH_GIVE,   /* a device from one replica to another */
    SEARCH_TAKE,   /* an idle device joins a replica */
    SEARCH_SPLIT,  /* a replica becomes two */
    SEARCH_MERGE,  /* two replicas become one */
    SEARCH_CUT,    /* stages of two devices become one that is cut into parts */
    SEARCH_WHOLE,  /* and the other way round */
    SEARCH_DROP,   /* a device is left idle */
    SEARCH_CLOSE,  /* a replica is left out */
    SEARCH_OPEN,   /* idle devices make a replica */
    SEARCH_ORDER,  /* another replica is preferred */
    SEARCH_REFILL, /* another balance between the stages of a replica */
    SEARCH_BATCH,  /* another max_batch, where requests are served in batches */
    SEARCH_QUEUE,  /* another queue_depth */
    SEARCH_MOVE_COUNT
};
extern const char *const search_move_names[SEARCH_MOVE_COUNT];

/* A random neighbour, in arena; false: this move has none here. */
bool search_change(struct arena *arena, struct search *search, const struct search_plan *plan,
                   enum search_move move, struct search_plan *changed);
/* Candidates of its own to begin with, for so many replicas of each service. */
bool search_start(struct arena *arena, struct search *search, int32_t replicas,
                  struct search_plan *plan);

/* ---- search_bound.c ---- */

/* Proven: no placement takes less by the objective (for goodput: time a good request); 0 =
 * nothing. *what says what it is made of. */
int64_t search_bound(struct arena *arena, const struct place_ask *ask, const char **what);

#endif
