/* admit.c - what a request asks of its model, before and during its run. */
#include "lib/policy/admit.h"

#include "lib/format/model.h"
#include <assert.h>
#include <stddef.h>

bool admit_context_ok(const struct model *model, int32_t prompt_tokens, int32_t output_tokens)
{
    int64_t tokens = prompt_tokens;

    if (model == NULL || model->max_context == 0)
        return true;
    if (model->kind == MODEL_DECODER) /* the others read all at once and make no tokens */
        tokens += output_tokens;
    return tokens <= model->max_context;
}

int32_t admit_step_count(const struct model *model, int32_t output_tokens)
{
    if (model == NULL || model->kind != MODEL_DECODER || output_tokens < 1)
        return 1;
    return output_tokens;
}

void admit_step_tokens(int32_t prompt_tokens, int32_t step, int32_t *new_tokens,
                       int32_t *past_tokens)
{
    assert(step >= 0);
    *new_tokens = step == 0 ? prompt_tokens : 1;
    *past_tokens = step == 0 ? 0 : prompt_tokens + step - 1;
}
