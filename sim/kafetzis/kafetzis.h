/* kafetzis.h - --rules kafetzis: the latency of DistributedTransformerInferenceSimulator (D.
 * Kafetzis, MIT, commit 252528f, src/algorithms/utils.py:284, its mode "sum"; the paper is arXiv
 * 2505.02533), for comparison. Nothing is simulated: a step is a sum over the layers of
 *
 *     max over devices (FLOP of its heads / C) + sum over heads not on p of (L d b / rate(., p))
 *     + F_projection / C_p + L D b / rate(p, f) + F_ffn / C_f
 *
 * with formula.h's costs, C = flop_per_s x speed_ratio, p and f the devices of projection and FFN,
 * and routes.h's rates. The original has one layer: between layers the FFN's output goes to each
 * device that holds heads of the next one, one after the other, as heads' output goes to p. The
 * only place in this program where flop_per_s counts. */
#ifndef ORRERY_SIM_KAFETZIS_KAFETZIS_H
#define ORRERY_SIM_KAFETZIS_KAFETZIS_H

#include "sim/kafetzis/plan.h"
#include <stdbool.h>

struct kafetzis_routes;

enum kafetzis_phase {
    KAFETZIS_HEADS,    /* the slowest device */
    KAFETZIS_GATHER,   /* heads to the projection */
    KAFETZIS_PROJECT,  /* the projection */
    KAFETZIS_TO_FFN,   /* projection to FFN */
    KAFETZIS_FEED,     /* the FFN */
    KAFETZIS_TO_LAYER, /* FFN to the heads of the next layer */
    KAFETZIS_PHASE_COUNT
};
extern const char *const kafetzis_phase_names[KAFETZIS_PHASE_COUNT];

struct kafetzis_result {
    int32_t tokens;                        /* L of the request */
    double phases_s[KAFETZIS_PHASE_COUNT]; /* of a step, all layers; every step is the same */
    double step_s;                         /* their sum */
    double sent_s, sent_bytes;             /* of a step: all transfers, each counted once */
    /* of a step, by device of the cluster */
    double *busy_s, *flop;
    double *memory_bytes; /* at generation step 0 */
    double *cache_bytes;  /* so much more at each further step */
    /* of a step, by medium of the cluster: a transfer takes all media of its route at once */
    double *medium_s, *medium_bytes;
};

struct kafetzis_result *kafetzis_result_create(struct arena *arena, const struct cluster *cluster);

/* One step of a request of L = tokens on the replica, into a result that may be used again. Says
 * nothing of whether devices suffice. Fails where devices have no route ("p.csv:3:4: device is 'x':
 * no route to ..."). */
bool kafetzis_run(const struct kafetzis_plan *plan, int32_t replica, struct kafetzis_routes *routes,
                  int32_t tokens, struct kafetzis_result *result, struct err *err);

/* Whether the devices suffice up to and including generation step `step`, as the original asks: the
 * memory of all that is placed, within memory_bytes - reserved_bytes where they are given, and the
 * FLOP of a step within flop_per_s (as if a step had one second). The error names the row. */
bool kafetzis_fits(const struct kafetzis_plan *plan, int32_t replica,
                   const struct kafetzis_result *result, int32_t step, struct err *err);

#endif
