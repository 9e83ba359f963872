/* admit.h - whether a request is taken at all, before it costs anything.
 *
 * none: whatever fits. slo: dropped at dispatch when it is predicted to miss its objective, given
 * what is booked then (AlpaServe). late: kept until its first stage would start, and dropped there
 * when its objective cannot be met any more, given what is booked then. Both ask the same two
 * questions, admit_slo_finish_ps and admit_slo_ok, at different moments. Sums of times saturate at
 * INT64_MAX. */
#ifndef ORRERY_POLICY_ADMIT_H
#define ORRERY_POLICY_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

struct model;

enum admit_kind { ADMIT_NONE, ADMIT_SLO, ADMIT_LATE, ADMIT_KIND_COUNT };
extern const char *const admit_names[ADMIT_KIND_COUNT]; /* as on the command line */

#define ADMIT_NO_DEADLINE INT64_MAX

/* True when the prompt, and a decoder's output tokens, fit the model's max_context (0 = not stated:
 * always). A request that does not fit is refused, by simulator and runner alike. */
bool admit_context_ok(const struct model *model, int32_t prompt_tokens, int32_t output_tokens);

/* Iterations of a request: 1 for an encoder or executable, output_tokens for a decoder (the prefill
 * makes the first token). New and past tokens of iteration `step`. */
int32_t admit_step_count(const struct model *model, int32_t output_tokens);
void admit_step_tokens(int32_t prompt_tokens, int32_t step, int32_t *new_tokens,
                       int32_t *past_tokens);

/* When a request that enters stage 0 at now_ps leaves the last of count stages: for each stage in
 * turn t = max(t, free_ps[i]) + latency_ps[i]. free_ps: when the stage is done with all that is
 * booked there, at any time in the past when it is idle. Leaves the bookings as they are. */
int64_t admit_slo_finish_ps(int64_t now_ps, const int64_t *free_ps, const int64_t *latency_ps,
                            int count);
/* finish + margin <= arrival + slo. margin_ps: what comes behind the last stage, on the way back.
 * slo_ps 0 = no objective: always true. A finish of INT64_MAX meets none. */
bool admit_slo_ok(int64_t finish_ps, int64_t margin_ps, int64_t arrival_ps, int64_t slo_ps);
/* arrival + slo; ADMIT_NO_DEADLINE when slo_ps is 0. */
int64_t admit_deadline_ps(int64_t arrival_ps, int64_t slo_ps);

#endif
