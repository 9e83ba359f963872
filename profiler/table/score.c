/* score.c - see score.h. The table is written to memory and read again, so that what is scored is
 * what the simulator will see. */
#include "profiler/table/score.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "profiler/measure/store.h"
#include "profiler/table/table.h"

static int weight_bits(enum kernel_dtype dtype)
{
    switch (dtype) {
    case KERNEL_F32:
        return 32;
    case KERNEL_BF16:
        return 16;
    case KERNEL_Q8_0:
        return 8;
    case KERNEL_DTYPE_COUNT:
        break;
    }
    return 0;
}

static bool sum_block(const struct cost_table *costs, const struct store_variant *variant,
                      enum model_block block, const struct point *point, int times, int64_t *sum_ps,
                      struct err *err)
{
    struct model_op ops[MODEL_MAX_OPS];
    int32_t each = point->m / point->batch;
    int count = model_batch_ops(variant->model, block, point->batch, each, point->kv - each, ops);

    for (int i = 0; i < count; i++) {
        enum interp_origin origin;
        int64_t time_ps;

        if (!cost_lookup(costs, &ops[i], variant->threads, weight_bits(variant->dtype), &time_ps,
                         &origin, err))
            return false;
        *sum_ps += time_ps * ops[i].count * times;
    }
    return true;
}

/* The sum that the simulator would take for this forward. */
static bool sum_forward(const struct cost_table *costs, const struct store_variant *variant,
                        const struct point *point, int layers, int64_t *sum_ps, struct err *err)
{
    *sum_ps = 0;
    for (int block = 0; block < BLOCK_COUNT; block++) {
        bool is_end = block == BLOCK_EMBED || block == BLOCK_LM_HEAD;

        if (!sum_block(costs, variant, (enum model_block)block, point, is_end ? 1 : layers, sum_ps,
                       err))
            return false;
    }
    return true;
}

static bool score_anchors(struct arena *arena, const struct cost_table *costs,
                          const struct store *store, struct table *table, struct err *err)
{
    for (int a = 0; a < store->anchor_count; a++) {
        const struct store_anchor *from = &store->anchors[a];
        struct samples_summary summary;
        int64_t sum_ps;

        if (!samples_summarize(arena, &from->samples, &summary) || summary.mean_ps <= 0)
            continue;
        if (!sum_forward(costs, &store->variant, &from->point, from->layers, &sum_ps, err))
            return false;
        double kappa = (double)summary.mean_ps / (double)sum_ps;
        double half = summary.half_ps >= 0 ? samples_half_ratio(&summary) : -1.0;
        table->anchors[table->anchor_count++] = (struct cost_anchor){
            .model = store->variant.model->name,
            .dtype = kernel_dtype_names[store->variant.dtype],
            .phase = from->point.phase,
            .tokens = from->point.m,
            .kv_len = from->point.kv,
            .batch = from->point.batch,
            .threads = store->variant.threads,
            .layers = from->layers,
            .n = summary.n,
            .forward_mean_ps = summary.mean_ps,
            .ci_ps = summary.half_ps >= 0 ? summary.half_ps : COST_UNKNOWN,
            .sum_chain_ps = sum_ps,
            .kappa = kappa,
            .kappa_lo = half >= 0.0 ? kappa * (1.0 - half) : 0.0,
            .kappa_hi = half >= 0.0 ? kappa * (1.0 + half) : 0.0,
        };
    }
    return true;
}

static bool score_holdout(struct arena *arena, const struct cost_table *costs,
                          const struct store *store, const struct store_row *from,
                          struct table *table, struct err *err)
{
    const struct cost_row *key = &from->key;
    struct model_op op = { .op = key->op,
                           .phase = key->phase,
                           .m_tokens = key->m_tokens,
                           .gemm_n = key->gemm_n,
                           .gemm_k = key->gemm_k,
                           .heads = key->heads,
                           .kv_heads = key->kv_heads,
                           .head_dim = key->head_dim,
                           .kv_len = key->kv_len,
                           .batch = key->batch,
                           .count = 1 };
    struct cost_holdout holdout = { .row = *key };
    struct samples_summary summary;

    if (!samples_summarize(arena, &from->samples, &summary) || summary.mean_ps <= 0)
        return true;
    if (!cost_lookup(costs, &op, store->variant.threads, weight_bits(store->variant.dtype),
                     &holdout.predicted_ps, &holdout.origin, err))
        return false;
    holdout.row.mean_ps = summary.mean_ps;
    holdout.ci_ps = summary.half_ps >= 0 ? summary.half_ps : COST_UNKNOWN;
    table->holdouts[table->holdout_count++] = holdout;
    return true;
}

static bool score_store(struct arena *arena, const struct cost_table *costs,
                        const struct store *store, struct table *table, struct err *err)
{
    if (!score_anchors(arena, costs, store, table, err))
        return false;
    for (int r = 0; r < store->row_count; r++)
        if (store->rows[r].is_held_out &&
            !score_holdout(arena, costs, store, &store->rows[r], table, err))
            return false;
    return true;
}

bool score_table(struct arena *arena, const struct table_inputs *inputs, struct table *table,
                 struct err *err)
{
    static const char *const no_meta[] = { NULL };
    struct out *kernels = out_open_memory(arena), *interp = out_open_memory(arena);
    int anchors = 0, rows = 0;
    size_t unused;

    for (int s = 0; s < inputs->store_count; s++) {
        anchors += inputs->stores[s]->anchor_count;
        rows += inputs->stores[s]->row_count;
    }
    table->anchors = arena_array(arena, (size_t)anchors + 1, sizeof(*table->anchors));
    table->holdouts = arena_array(arena, (size_t)rows + 1, sizeof(*table->holdouts));
    cost_write_kernels(kernels, table->device_id, no_meta, table->rows, table->row_count);
    cost_write_interp(interp, table->interps, table->interp_count);
    const struct cost_table *costs = cost_load_text(
        arena, table->device_id, out_memory(kernels, &unused), out_memory(interp, &unused), err);
    bool is_scored = costs;
    for (int s = 0; s < inputs->store_count && is_scored; s++)
        is_scored = score_store(arena, costs, inputs->stores[s], table, err);
    out_abort(kernels);
    out_abort(interp);
    return is_scored;
}
