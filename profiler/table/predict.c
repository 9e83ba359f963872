/* predict.c - blocks of a model, looked up and added. */
#include "profiler/table/predict.h"
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include <string.h>

const char *const predict_dtypes[] = { "f32", "bf16", "q8_0" };
const int predict_dtype_count = 3;

int predict_bits_of_dtype(const char *dtype)
{
    static const int bits[] = { 32, 16, 8 };

    for (int i = 0; i < predict_dtype_count; i++)
        if (strcmp(dtype, predict_dtypes[i]) == 0)
            return bits[i];
    return 0;
}

/* The only place that knows how a step of several sequences is made of operators. */
static int list_ops(const struct predict_step *step, enum model_block block,
                    struct model_op ops[MODEL_MAX_OPS])
{
    return model_batch_ops(step->model, block, step->batch, step->new_tokens, step->past_tokens,
                           ops);
}

/* Median leave-one-out error of the tiles of a product's curve, as its profile fitted them. */
static double loo_ratio(const struct cost_table *costs, const struct model_op *op,
                        const struct predict_step *step)
{
    struct arena *scratch = arena_create();
    int32_t *x = arena_array(scratch, (size_t)cost_row_count(costs), sizeof(*x));
    int64_t *y = arena_array(scratch, (size_t)cost_row_count(costs), sizeof(*y));
    double ratio = -1;
    int count = 0;

    for (int i = 0; i < cost_row_count(costs) && op->op != OP_ATTN; i++) {
        const struct cost_row *row = cost_row_at(costs, i);

        if (row->op == op->op && row->gemm_n == op->gemm_n && row->gemm_k == op->gemm_k &&
            row->threads == step->threads && strcmp(row->impl, "gemm") == 0 &&
            predict_bits_of_dtype(row->dtype) == step->weight_bits &&
            (count == 0 || row->m_tokens > x[count - 1])) {
            x[count] = row->m_tokens;
            y[count++] = row->mean_ps;
        }
    }
    if (count > 0)
        ratio = interp_fit(scratch, x, y, count).loo_median_ratio;
    arena_destroy(scratch);
    return ratio;
}

static bool add_op(const struct cost_table *costs, const struct predict_step *step,
                   const struct model_op *op, int times, struct predict *predict, struct err *err)
{
    struct predict_line line = { .op = op->op, .calls = op->count * times, .loo_ratio = -1 };
    struct predict_line *same = NULL;

    if (!cost_lookup(costs, op, step->threads, step->weight_bits, &line.each_ps, &line.origin, err))
        return false;
    if (__builtin_mul_overflow(line.each_ps, (int64_t)line.calls, &line.total_ps) ||
        __builtin_add_overflow(predict->sum_ps, line.total_ps, &predict->sum_ps) ||
        predict->sum_ps > UNITS_MAX_PS)
        return err_set(err, ERR_INPUT, "%s: a step would take more than 104 days",
                       cost_path(costs));
    for (int i = 0; i < predict->line_count; i++)
        if (predict->lines[i].op == op->op)
            same = &predict->lines[i];
    if (same) { /* in another block with the same shape */
        same->calls += line.calls;
        same->total_ps += line.total_ps;
        return true;
    }
    if (line.origin != INTERP_MEASURED)
        line.loo_ratio = loo_ratio(costs, op, step);
    predict->extrapolated += line.origin == INTERP_EXTRAPOLATED;
    predict->lines[predict->line_count++] = line;
    return true;
}

/* Of the same model, phase and threads, by ratio of sizes; the first of equals. */
static const struct cost_anchor *nearest_anchor(const struct cost_table *costs,
                                                const struct predict_step *step)
{
    bool is_decode = step->new_tokens == 1 && step->past_tokens > 0;
    double size = is_decode ? ((double)step->past_tokens + 1) * step->batch : step->new_tokens;
    const struct cost_anchor *nearest = NULL;
    double nearest_ratio = 0.0;

    for (int i = 0; i < cost_anchor_count(costs); i++) {
        const struct cost_anchor *anchor = cost_anchor_at(costs, i);
        double at = is_decode ? (double)anchor->kv_len * (anchor->batch > 1 ? anchor->batch : 1)
                              : anchor->tokens;
        double ratio = at > size ? at / size : size / at;

        if (strcmp(anchor->model, step->model->name) != 0 || anchor->threads != step->threads ||
            anchor->phase != (is_decode ? OP_DECODE : OP_PREFILL) ||
            strcmp(anchor->dtype ? anchor->dtype : "f32", cost_dtype_of_bits(step->weight_bits)) !=
                0 ||
            at <= 0)
            continue;
        if (!nearest || ratio < nearest_ratio) {
            nearest = anchor;
            nearest_ratio = ratio;
        }
    }
    return nearest;
}

static void sort_lines(struct predict *predict)
{
    for (int i = 1; i < predict->line_count; i++)
        for (int j = i; j > 0 && predict->lines[j - 1].op > predict->lines[j].op; j--) {
            struct predict_line line = predict->lines[j];

            predict->lines[j] = predict->lines[j - 1];
            predict->lines[j - 1] = line;
        }
}

bool predict_step(const struct cost_table *costs, const struct predict_step *step,
                  struct predict *predict, struct err *err)
{
    memset(predict, 0, sizeof(*predict));
    for (int block = 0; block < BLOCK_COUNT; block++) {
        bool is_end = block == BLOCK_EMBED || block == BLOCK_LM_HEAD;
        struct model_op ops[MODEL_MAX_OPS];
        int count = list_ops(step, (enum model_block)block, ops);

        for (int i = 0; i < count; i++)
            if (!add_op(costs, step, &ops[i], is_end ? 1 : step->model->layers, predict, err))
                return false;
    }
    sort_lines(predict);
    predict->anchor = nearest_anchor(costs, step);
    predict->kappa_ps = predict->sum_ps;
    if (predict->anchor)
        predict->kappa_ps = dmath_round((double)predict->sum_ps * predict->anchor->kappa);
    return true;
}
