/* capacity.h - what the files of orrery-sim capacity share. */
#ifndef ORRERY_SIM_CMD_CAPACITY_H
#define ORRERY_SIM_CMD_CAPACITY_H

#include "sim/cmd/load.h"
#include "sim/cmd/planning.h"
#include "sim/judge/rate_search.h"

struct out;

#define CAPACITY_FLOOD_PER_S 1e9 /* all come at once */

enum capacity_quantile {
    QUANTILE_MEAN,
    QUANTILE_P50,
    QUANTILE_P90,
    QUANTILE_P95,
    QUANTILE_P99,
    QUANTILE_P999,
    QUANTILE_MAX,
    QUANTILE_COUNT
};
extern const char *const capacity_quantile_names[QUANTILE_COUNT];

enum capacity_boards { BOARDS_NONE, BOARDS_KINDS, BOARDS_PREFIX };

/* When a load is met: so many of all requests are ok and within their objectives, and a quantile of
 * the latency of those that are ok is at most so much. */
struct capacity_goal {
    int64_t attainment_ppb; /* parts in 10^9 of all requests */
    enum capacity_quantile quantile;
    int64_t quantile_ps; /* 0: none was asked for */
};

struct capacity_settings {
    struct load load;
    struct planning_options planning; /* services of --boards are those of the load */
    const char *placement, *output;
    struct capacity_goal goal;
    double resolution_ratio;
    enum capacity_boards boards;
    const struct place_algorithm *algorithm; /* of --boards */
    bool is_json;
};

/* Something could be missed; has_slo: requests have a slo_s of their own. */
bool capacity_check_goal(const struct capacity_settings *settings, bool has_slo, struct err *err);
/* No rate helps where too many requests are longer than the context of their model. models: by
 * service of the workload, NULL = none. */
bool capacity_check_context(const struct capacity_settings *settings,
                            const struct workload *workload, const struct model *const *models,
                            struct err *err);
bool capacity_is_met(const struct capacity_goal *goal, const struct judge_verdict *verdict);
int64_t capacity_quantile_ps(enum capacity_quantile quantile, const struct judge_verdict *verdict);
/* "99 % of all requests ok and within their objectives" and the like. */
const char *capacity_goal_text(struct arena *arena, const struct capacity_settings *settings);
/* "poisson, 1000 requests of chat, seed 1". */
const char *capacity_load_text(struct arena *arena, const struct capacity_settings *settings);
void capacity_put_goal(struct json_writer *json, const struct capacity_settings *settings);

/* ---- the highest rate: capacity_tell.c ---- */

void capacity_tell_text(struct arena *arena, const struct capacity_settings *settings,
                        const struct rate_answer *answer, struct out *out);
void capacity_tell_json(struct arena *arena, const struct capacity_settings *settings,
                        const struct rate_answer *answer, struct out *out);

/* ---- the fewest boards: capacity_boards.c ---- */

/* *is_found: there are so many. Prints, and writes the placement. */
bool capacity_boards_run(struct arena *arena, struct capacity_settings *settings, bool *is_found,
                         struct err *err);

#endif
