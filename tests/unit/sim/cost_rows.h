/* cost_rows.h - rows of a cost table that tests write by hand, all measured in the same way. */
#ifndef ORRERY_TESTS_UNIT_SIM_COST_ROWS_H
#define ORRERY_TESTS_UNIT_SIM_COST_ROWS_H

#include "lib/format/cost.h"
#include "lib/format/model.h"

/* A call of the operator on so many rows, which takes each_ps every time. */
static inline struct cost_row cost_row_of(const struct model_op *op, const char *impl,
                                          int32_t m_tokens, int32_t kv_len, const char *model,
                                          int64_t each_ps)
{
    struct cost_row row = { .op = op->op,
                            .phase = op->phase,
                            .impl = impl,
                            .dtype = "f32",
                            .threads = 1,
                            .m_tokens = m_tokens,
                            .gemm_n = op->gemm_n,
                            .gemm_k = op->gemm_k,
                            .heads = op->heads,
                            .kv_heads = op->kv_heads,
                            .head_dim = op->head_dim,
                            .kv_len = kv_len,
                            .state = COST_CHAIN,
                            .regime = "burst",
                            .model = model,
                            .n = 5,
                            .n_proc = 1,
                            .mean_ps = each_ps,
                            .median_ps = each_ps,
                            .min_ps = each_ps,
                            .p95_ps = each_ps,
                            .ci_lo_ps = each_ps,
                            .ci_hi_ps = each_ps,
                            .proc_min_ps = each_ps,
                            .proc_max_ps = each_ps,
                            .ctr_reason = "test" };

    for (int i = 0; i < COST_COUNTER_COUNT; i++)
        row.counters[i] = COST_UNKNOWN;
    return row;
}

#endif
