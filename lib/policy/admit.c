/* admit.c - what a request asks of its model, before and during its run. */
#include "lib/policy/admit.h"

#include "lib/base/saturate.h"
#include "lib/format/model.h"
#include <assert.h>
#include <stddef.h>

const char *const admit_names[ADMIT_KIND_COUNT] = {
    [ADMIT_NONE] = "none",
    [ADMIT_SLO] = "slo",
    [ADMIT_LATE] = "late",
};

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

int64_t admit_slo_finish_ps(int64_t now_ps, const int64_t *free_ps, const int64_t *latency_ps,
                            int count)
{
    int64_t time_ps = now_ps;

    for (int i = 0; i < count; i++)
        time_ps = saturate_add(free_ps[i] > time_ps ? free_ps[i] : time_ps, latency_ps[i]);
    return time_ps;
}

int64_t admit_deadline_ps(int64_t arrival_ps, int64_t slo_ps)
{
    return slo_ps == 0 ? ADMIT_NO_DEADLINE : saturate_add(arrival_ps, slo_ps);
}

bool admit_slo_ok(int64_t finish_ps, int64_t margin_ps, int64_t arrival_ps, int64_t slo_ps)
{
    int64_t back_ps = saturate_add(finish_ps, margin_ps);

    return slo_ps == 0 || (back_ps < INT64_MAX && back_ps <= saturate_add(arrival_ps, slo_ps));
}
