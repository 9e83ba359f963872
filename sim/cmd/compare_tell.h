/* compare_tell.h - the table of orrery-sim compare: text, CSV and JSON. */
#ifndef ORRERY_SIM_CMD_COMPARE_TELL_H
#define ORRERY_SIM_CMD_COMPARE_TELL_H

#include "sim/cmd/planning.h"

struct out;

struct compare_row {
    const char *name;    /* of the planner, or of a placement file */
    unsigned objectives; /* set of 1u << enum place_objective: those that it was asked by */
    const char *refusal; /* why it was not asked; NULL: it was */
    struct planned planned;
    /* Proven by the planner when it was asked by the objective; 0: nothing. Over it by so much. */
    int64_t bounds_ps[PLACE_OBJECTIVE_COUNT];
    double over_bound_ratio[PLACE_OBJECTIVE_COUNT];
    /* Of a feasible one; of several services the largest. */
    int64_t latency_ps, period_ps;
    double goodput_per_s;                            /* below 0: not simulated */
    double energy_per_token_j, energy_per_request_j; /* below 0: not known */
};

struct compare_table {
    const struct planning *planning;
    unsigned objectives; /* that were asked by */
    int row_count;
    struct compare_row *rows;
    bool is_interrupted; /* not all were asked, and the last one answered at once */
};

/* Fills what the planned placement amounts to. */
void compare_row_fill(const struct planning *planning, struct compare_row *row);
void compare_tell_text(const struct compare_table *table, struct out *out);
void compare_tell_csv(const struct compare_table *table, struct out *out);
void compare_tell_json(const struct compare_table *table, struct out *out);

#endif
