/* place_tell.h - what orrery-sim place prints of an answer. */
#ifndef ORRERY_SIM_CMD_PLACE_TELL_H
#define ORRERY_SIM_CMD_PLACE_TELL_H

#include "sim/cmd/planning.h"

struct json_writer;
struct out;

struct place_told {
    const struct planning *planning;
    const struct planned *planned;
    const char *output; /* path of the placement */
    bool does_explain;
    bool is_interrupted; /* the answer is the best so far */
};

void place_tell_text(const struct place_told *told, struct out *out);
void place_tell_json(const struct place_told *told, struct out *out);
/* "97 of 100 requests within their objectives, 4.85/s", of a verdict on a workload. */
const char *place_load_text(struct arena *arena, const struct judge_verdict *load);
/* "3.2 % over its proven bound, 40 ms", of an answer by the objective. */
const char *place_bound_text(struct arena *arena, enum place_objective objective, int64_t bound_ps,
                             double over_bound_ratio);
/* "3 operator costs of these simulations lie outside the measured range: extrapolated". */
const char *place_extrapolated_text(struct arena *arena, int64_t count);
/* Good requests a second. */
double place_goodput_per_s(const struct judge_verdict *load);
/* The keys of such a verdict, but for who is busiest; in an object of the caller. */
void place_put_load(struct json_writer *json, const struct judge_verdict *load);
/* "services": latency, period and what limits it, of a feasible answer. */
void place_put_services(struct json_writer *json, const struct planning *planning,
                        const struct planned *planned);

#endif
