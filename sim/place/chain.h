/* chain.h - the best way to cut a chain of units into contiguous stages on kinds of devices.
 *
 * A chain is what a layer pipeline looks like to a planner: units in order (layers, or blocks of
 * them, or profiled stages), each with what it costs on a device of each kind, and what crosses
 * every border between two kinds. Devices of one kind are alike, also in their links to every other
 * kind. Costs are doubles of any one unit; sums are formed in order of the units, so that the same
 * input gives the same bits everywhere.
 *
 * The solver is PipeEdge's dynamic program (Hu et al., DSD 2022, section V) with its index of
 * devices corrected: states are (units placed, devices used of each kind, kind of the next stage).
 * It is exact, for the largest cost of any stage or border (the period of a saturated pipeline) as
 * for their sum (the latency of a lone request). */
#ifndef ORRERY_SIM_PLACE_CHAIN_H
#define ORRERY_SIM_PLACE_CHAIN_H

#include <stdbool.h>
#include <stdint.h>

struct arena;

enum chain_objective { CHAIN_LATENCY, CHAIN_PERIOD };

#define CHAIN_MAX_KINDS 64

struct chain {
    int32_t unit_count;           /* >= 1 */
    int32_t kind_count;           /* 1 to CHAIN_MAX_KINDS, but for chain_search */
    const int32_t *device_counts; /* of each kind, >= 0 */
    const double *unit_costs;     /* [kind][unit]: kind x unit_count + unit; >= 0 */
    /* Of the border behind a unit (all but the last), from a device of one kind to one of another:
     * ([kind] [kind] [unit]); >= 0, infinite = no way */
    double (*border_cost)(const void *arg, int32_t from_kind, int32_t to_kind, int32_t unit);
    /* Whether a device of the kind has room for units first to last, both included. */
    bool (*has_room)(const void *arg, int32_t kind, int32_t first, int32_t last);
    /* What the way from the source to the first stage and from the last one back costs; NULL: they
     * are free. */
    double (*entry_cost)(const void *arg, int32_t kind);
    double (*exit_cost)(const void *arg, int32_t kind);
    const void *arg;
    /* Asked now and then by chain_search, chain_solve and chain_visit: true = be quick about what
     * is left; NULL = never. */
    bool (*is_over)(void *arg);
    void *is_over_arg;
};

struct chain_stage {
    int32_t kind, first, last;
};

struct chain_answer {
    bool is_feasible;
    bool is_cut_short; /* by is_over: the best that was found until then */
    double cost;       /* by the objective */
    int32_t stage_count;
    struct chain_stage *stages;
};

/* States that the solver would need: (unit_count + 1) x product of (devices + 1) x kinds, or
 * INT64_MAX. Callers choose what is too many: CHAIN_MAX_STATES of 12 bytes are about 600 MB. */
#define CHAIN_MAX_STATES INT64_C(50000000)
int64_t chain_state_count(const struct chain *chain);

/* The optimum; chain_state_count must be at most CHAIN_MAX_STATES. Among equal ones the first in
 * this order: fewer units placed, devices used (mixed radix, the first kind the least significant
 * digit), kind of the stage, its last unit, kind of the next stage. The answer is in arena. */
struct chain_answer chain_solve(struct arena *arena, const struct chain *chain,
                                enum chain_objective objective);

/* For what is beyond that: the best of what a beam finds, which keeps the cheapest `width` ways at
 * each border. Not the optimum in general; kind_count may be anything. */
#define CHAIN_BEAM 256
struct chain_answer chain_search(struct arena *arena, const struct chain *chain,
                                 enum chain_objective objective, int32_t width);

/* The best cut where stages stand in order of the kinds, each of which is one device
 * (device_counts is not read): PipeEdge's reverse auction (FMEC 2023), whose bids are stages that
 * fit, over a fixed order of devices. Devices may be left out, unless is_strict: then all have a
 * stage. Ties: the earlier device and the earlier unit before. */
struct chain_answer chain_order(struct arena *arena, const struct chain *chain,
                                enum chain_objective objective, bool is_strict);

/* ---- devices that are come back to (chain_visit.c) ---- */

/* Of a chain whose kinds are one device each (device_counts is not read). */
struct chain_visits {
    const int64_t *held_bytes; /* [kind][unit]: weights and caches: those of a device add up */
    const int64_t *work_bytes; /* [kind][unit]: activations: the largest of a device counts */
    int64_t tied_bytes;        /* that first and last unit share where one device has both */
    const int64_t *room_bytes; /* by kind; INT64_MAX: no end of it */
    const int32_t *alike;      /* by kind: the first that is like it, in all costs and its room */
    const bool *may_lead;      /* by kind: may have the first lead_count units; NULL = any may */
    int32_t lead_count;
};

/* EdgeShard's dynamic program for the latency of a lone request (Zhang et al., arXiv 2405.14371,
 * Algorithm 1): any unit on any device, which may be left and come back to, as long as its memory
 * holds all that it has. A state is what each device holds, not how much was left when the program
 * last passed there, as in the paper; states are taken in order of the least that they can cost
 * (A*; what is still to come costs at least what the paper's program says without memory, and what
 * its units cost on the cheapest devices that have room, with a message to each device that it
 * takes to hold them), so that the first whole way is the best.
 *
 * `known` is an answer from elsewhere, not feasible if there is none: it stays unless something is
 * better. Beyond max_states a beam goes on from the start, *is_exact is false, and *bound is the
 * least that any answer can cost; else it is the cost of the answer. */
#define CHAIN_VISIT_STATES 200000
struct chain_answer chain_visit(struct arena *arena, const struct chain *chain,
                                const struct chain_visits *visits, const struct chain_answer *known,
                                int32_t max_states, bool *is_exact, double *bound);

/* The cost of given stages, by both objectives. */
double chain_latency(const struct chain *chain, const struct chain_stage *stages, int32_t count);
double chain_period(const struct chain *chain, const struct chain_stage *stages, int32_t count);

#endif
