/* planning.h - what commands that plan load, and what they find: problems of a cluster, answers of
 * planners, and what is predicted of these. */
#ifndef ORRERY_SIM_CMD_PLANNING_H
#define ORRERY_SIM_CMD_PLANNING_H

#include "sim/cmd/planning_options.h"
#include "sim/judge/judge.h"
#include "sim/place/place.h"

struct cluster;
struct inputs;
struct model_catalogue;
struct out;
struct placement;
struct workload;

struct planning {
    struct arena *arena;
    const struct planning_options *options;
    const struct cluster *cluster;
    struct cost_set costs;
    struct model_catalogue *catalogue;
    struct workload *workload;   /* NULL: none */
    const struct events *events; /* NULL: none */
    int problem_count;           /* one a service */
    const struct problem **problems;
    struct judge *judge;
    const struct cluster *whole; /* with devices that the source has no route to */
    const char *left_out;        /* names of those; NULL: none */
};

struct planned_service { /* of a lone request */
    int64_t latency_ps, period_ps;
    const char *limit; /* of the period: "device 'a'" */
};

struct planned {
    const struct place_algorithm *algorithm; /* NULL: rows that were given */
    struct place_answer answer;
    int row_count; /* of a feasible answer */
    struct placement_row *rows;
    struct planned_service *services; /* by problem */
    int64_t room_bytes;               /* least memory left of all devices; INT64_MAX: not known */
    int32_t room_device;
    bool has_load; /* a workload was simulated, as far as it could be: */
    struct judge_verdict load;
    int64_t extrapolated_costs; /* behind what is predicted */
    double energy_j;            /* of a lone request of each service; below 0: not known */
    int64_t bound_ps;           /* as of place_answer; over it by so much, below 0: no bound */
    double over_bound_ratio;
};

/* Everything but the workload's requests is checked against the cluster here: services, their
 * lengths, what the options ask for. */
bool planning_load(struct arena *arena, const struct planning_options *options,
                   struct planning *planning, struct err *err);
/* The same services on another cluster, whose devices are of the same types. */
bool planning_move(struct planning *planning, const struct cluster *cluster, struct err *err);
/* Nothing can be asked of a placement on devices that are left out. */
bool planning_check_reached(const struct planning *planning, const struct placement *placement,
                            struct err *err);
/* Warns on stderr of devices that are left out, and of tables as below. */
void planning_warn_all(const struct planning *planning, const char *command);
/* Warns on stderr of tables that were measured under disturbance, of types that the cluster has. */
void planning_warn(struct arena *arena, const struct cost_set *costs, const struct cluster *cluster,
                   const char *command);
/* Names all files that were read. */
bool planning_inputs(const struct planning *planning, struct inputs *inputs, struct err *err);

/* NULL: the planner can be asked; else what is missing or too much. */
const char *planning_refusal(const struct planning *planning,
                             const struct place_algorithm *algorithm);
/* The user has asked for the best so far. */
bool planning_is_stopped(const struct planning *planning);
/* Asks the planner, and predicts: latency and period of pipelines from the sums of measured costs
 * unless is_simulated, of all else by simulation of lone requests; then the workload. answers: as
 * of place_ask. */
struct planned planning_ask(const struct planning *planning,
                            const struct place_algorithm *algorithm, enum place_objective objective,
                            bool is_simulated, const struct place_answer *answers);
/* The same of a placement that exists. */
struct planned planning_rows(const struct planning *planning, const struct placement *placement);
/* Writes it as a placement, which says how long its migrations take. */
void planned_write(const struct planned *planned, struct out *out);

#endif
