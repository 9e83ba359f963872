/* admit.h - whether a request is taken at all, before it costs anything. */
#ifndef ORRERY_POLICY_ADMIT_H
#define ORRERY_POLICY_ADMIT_H

#include <stdbool.h>
#include <stdint.h>

struct model;

/* True when the prompt, and a decoder's output tokens, fit the model's max_context (0 = not stated:
 * always). A request that does not fit is refused, by simulator and runner alike. */
bool admit_context_ok(const struct model *model, int32_t prompt_tokens, int32_t output_tokens);

/* Iterations of a request: 1 for an encoder or executable, output_tokens for a decoder (the prefill
 * makes the first token). New and past tokens of iteration `step`. */
int32_t admit_step_count(const struct model *model, int32_t output_tokens);
void admit_step_tokens(int32_t prompt_tokens, int32_t step, int32_t *new_tokens,
                       int32_t *past_tokens);

#endif
