/* alpaserve.h - inside the planner `alpaserve`: groups of devices, and services that share them.
 *
 * AlpaServe (Li et al., OSDI 2023, section 4): devices are cut into groups of one size, every group
 * is a pipeline of stages on one or several devices each, and any number of services stand on it,
 * as far as memory reaches. Which ones is chosen by simulating the workload (its algorithm 1: a
 * beam search, or a fast greedy one); group sizes and shapes are tried one by one, for all services
 * together and for buckets of services of similar size on devices of their own (algorithm 2).
 *
 * Ours differs in this: devices may differ, groups take them kind after kind; each service must
 * stand somewhere in the end; the better of two has more requests within their objectives, then is
 * the better one by judge_compare. alpaserve.c has buckets and devices, alpaserve_layout.c groups,
 * alpaserve_select.c the choice of services. */
#ifndef ORRERY_SIM_PLACE_ALPASERVE_H
#define ORRERY_SIM_PLACE_ALPASERVE_H

#include "sim/judge/judge.h"
#include "sim/place/place.h"

struct alpaserve_options {
    int32_t beam;             /* placements that are kept at each step; 0: fast greedy alone */
    bool has_beam_everywhere; /* for all groupings, to the end; else for the best of the greedy one,
                                 as long as it gains something */
    int64_t simulation_count; /* no more than so many */
};
struct place_answer alpaserve_plan(struct arena *arena, const struct place_ask *ask,
                                   const struct alpaserve_options *options);

/* ---- inside ---- */

struct alpaserve_variant { /* a way to cut a service */
    const struct problem *problem;
    int32_t width; /* devices of each stage */
};

struct alpaserve_service {
    const char *name;
    int variant_count;
    const struct alpaserve_variant *variants;
    int64_t alone_ps;      /* of a request on the fastest device, if that held all of it */
    int64_t held_bytes;    /* there */
    int64_t request_count; /* of the workload */
};

struct alpaserve_mesh {
    int32_t first; /* in the order of devices */
    int32_t stage_count, width;
};

struct alpaserve_hosting {            /* a service on a mesh, alone */
    const struct placement_row *rows; /* of replica 0 */
    int row_count;                    /* 0: it cannot be */
};

struct alpaserve_layout {
    int32_t mesh_count;
    const struct alpaserve_mesh *meshes;
    const struct alpaserve_hosting *hostings; /* [service][mesh] */
};

struct alpaserve_part { /* services, and devices that they have for themselves */
    int32_t service_count;
    const int32_t *services; /* those that hold most before */
    int32_t first, device_count;
};

struct alpaserve_selection {               /* services on meshes */
    const struct alpaserve_layout *layout; /* NULL: there is none */
    int32_t added;     /* the only service that was not known to fit before; -1: any */
    const bool *hosts; /* [service][mesh] */
    struct judge_verdict verdict;
    const int64_t *service_good; /* by service */
    const int64_t *mesh_busy_ps; /* mean of its devices */
};

struct alpaserve_workload { /* the requests of some services */
    const bool *has;        /* by service */
    struct workload *workload;
};

struct alpaserve {
    struct arena *arena;
    const struct place_ask *ask;
    struct alpaserve_options options;
    struct judge *judge; /* the ask's, but what finds no room for its cache is refused: while a
                            placement grows it is overloaded */
    const struct cluster *cluster;
    int32_t device_count, service_count;
    const int32_t *order; /* devices, those that are alike together */
    struct alpaserve_service *services;
    struct alpaserve_workload *workloads;
    int workload_count, workload_room;
    int64_t simulations_left;
    bool is_cut_short; /* by simulation_count or is_over */
    bool has_any;      /* a placement of all services was simulated: others may be given up */
    const char *why;   /* of the last selection that was no placement */
};

/* Without having tried anything. In arena. */
struct alpaserve *alpaserve_begin(struct arena *arena, const struct place_ask *ask,
                                  const struct alpaserve_options *options);
/* The shapes that a part's devices are tried in; *count of them. */
const struct alpaserve_layout *alpaserve_layouts(struct alpaserve *search,
                                                 const struct alpaserve_part *part, int *count);
/* The devices of a stage of a mesh. */
static inline const int32_t *alpaserve_devices(const struct alpaserve *search,
                                               const struct alpaserve_mesh *mesh, int32_t stage)
{
    return &search->order[mesh->first + stage * mesh->width];
}

/* The best selections for a part, on each layout and on all. */
struct alpaserve_selection alpaserve_greedy(struct alpaserve *search,
                                            const struct alpaserve_part *part,
                                            const struct alpaserve_layout *layout);
struct alpaserve_selection alpaserve_beam(struct alpaserve *search,
                                          const struct alpaserve_part *part,
                                          const struct alpaserve_layout *layout);
/* There is an answer, and no time for more: what is being simulated is given up. */
bool alpaserve_is_enough(void *search_arg);
/* Several parts' selections as one placement, simulated on the whole workload. */
struct judge_verdict alpaserve_judge(struct alpaserve *search,
                                     const struct alpaserve_selection *selections, int count);
/* Their rows, in arena. */
struct placement_row *alpaserve_rows(const struct alpaserve *search,
                                     const struct alpaserve_selection *selections, int count,
                                     int *row_count);
/* Below 0: a is the better one. */
int alpaserve_compare(const struct judge_verdict *a, const struct judge_verdict *b);

#endif
