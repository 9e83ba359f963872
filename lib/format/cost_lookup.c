/* cost_lookup.c - the cost of an operator from the curves of a table (cost.h says by which rules).
 */
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cost_table.h"
#include "lib/format/model.h"
#include <stdio.h>
#include <string.h>

/* Elementwise operators and attention work on f32 activations, whatever the weights are. */
static bool has_weights(enum op op)
{
    return op == OP_QKV || op == OP_OPROJ || op == OP_FFN_UP || op == OP_FFN_DOWN ||
           op == OP_LMHEAD || op == OP_EMBED;
}

static struct cost_key key_of_op(const struct model_op *op, int threads, int weight_bits)
{
    struct cost_row row = {
        .op = op->op,
        .phase = op->phase,
        .dtype = cost_dtype_of_bits(weight_bits),
        .threads = threads,
        .gemm_n = op->gemm_n,
        .gemm_k = op->gemm_k,
        .heads = op->heads,
        .kv_heads = op->kv_heads,
        .head_dim = op->head_dim,
    };

    return cost_key_of(&row);
}

/* ---- candidates ---- */

struct candidate {
    int64_t distance; /* to the measured range; 0 inside */
    enum cost_regime regime;
    int64_t time_ps;
    enum interp_origin origin;
};

/* A range that covers the shape beats one that does not, a device that is warm from serving beats a
 * rested one, then the cheaper implementation wins. */
static bool is_better(const struct candidate *a, const struct candidate *b)
{
    if (a->distance != b->distance)
        return a->distance < b->distance;
    if (a->regime != b->regime)
        return a->regime < b->regime;
    return a->time_ps < b->time_ps;
}

static int64_t distance_to(const struct cost_curve *curve, int32_t at)
{
    int32_t low = curve->x[0], high = curve->x[curve->count - 1];

    return at < low ? (int64_t)low - at : at > high ? (int64_t)at - high : 0;
}

static int64_t times(int64_t time_ps, int64_t count)
{
    int64_t product_ps;

    if (__builtin_mul_overflow(time_ps, count, &product_ps) || product_ps > UNITS_MAX_PS)
        return UNITS_MAX_PS;
    return product_ps;
}

static struct candidate on_curve(const struct cost_curve *curve, int32_t at)
{
    struct candidate found = { .distance = distance_to(curve, at), .regime = curve->regime };

    found.time_ps = interp_predict(curve->x, curve->y_ps, curve->count, curve->form,
                                   curve->has_tiles ? &curve->tiles : NULL, at, &found.origin);
    return found;
}

/* ---- bundles: the curves of one key, implementation and regime ---- */

struct bundle {
    const struct cost_curve *curves; /* ascending in along */
    int count;
};

/* The two curves that lie around along, or the same one twice where there is one on it or on one
 * side alone. from: of the first that counts. */
static void find_around(const struct bundle *bundle, int from, int32_t along,
                        const struct cost_curve **low, const struct cost_curve **high)
{
    int i = from;

    while (i < bundle->count - 1 && bundle->curves[i].along < along)
        i++;
    *high = &bundle->curves[i];
    *low = i > from && (*high)->along > along ? *high - 1 : *high;
}

static enum interp_origin join(enum interp_origin a, enum interp_origin b)
{
    if (a == INTERP_EXTRAPOLATED || b == INTERP_EXTRAPOLATED)
        return INTERP_EXTRAPOLATED;
    return INTERP_INTERPOLATED;
}

/* One token of each of `batch` sequences. */
static struct candidate on_batches(const struct bundle *bundle, int32_t batch, int32_t kv_len)
{
    const struct cost_curve *low, *high;
    struct candidate found, other;
    int64_t time_ps[2];
    int32_t x[2];

    find_around(bundle, 0, batch, &low, &high);
    found = on_curve(low, kv_len);
    if (low->along == batch)
        return found;
    if (low == high) { /* no batch this small or this large was measured: a share each */
        found.distance += low->along > batch ? low->along - batch : batch - low->along;
        found.time_ps = units_mul_div(found.time_ps, batch, low->along);
        if (found.time_ps > UNITS_MAX_PS)
            found.time_ps = UNITS_MAX_PS;
        found.origin = INTERP_EXTRAPOLATED;
        return found;
    }
    other = on_curve(high, kv_len);
    x[0] = low->along;
    x[1] = high->along;
    time_ps[0] = found.time_ps;
    time_ps[1] = other.time_ps;
    found.distance += other.distance;
    found.origin = join(found.origin, other.origin);
    found.time_ps =
        interp_predict(x, time_ps, 2, INTERP_LINEAR, NULL, batch, &(enum interp_origin){ 0 });
    return found;
}

/* What a past adds to the prefill of a chunk of this measured size. start: the prefill alone. */
static struct candidate added_by_past(const struct bundle *bundle, const struct cost_curve *chunk,
                                      int32_t past)
{
    const struct cost_curve *whole = bundle->curves;
    struct candidate found = on_curve(chunk, past);

    if (whole->along == 0)
        found.time_ps -= on_curve(whole, chunk->along).time_ps;
    return found;
}

/* m tokens behind past ones: the chunk alone, and what the past adds. That is m x past products, so
 * between chunk sizes it is a power of m; the prefill of the chunk alone has a curve of its own,
 * with more points. Without that curve the power law carries both. */
static struct candidate on_chunks(const struct bundle *bundle, int32_t m, int32_t past)
{
    const struct cost_curve *low, *high;
    bool has_wholes = bundle->curves[0].along == 0;
    struct candidate found, alone = { 0 };

    find_around(bundle, has_wholes, m, &low, &high);
    if (low->along == m)
        return on_curve(low, past);
    if (has_wholes)
        alone = on_curve(bundle->curves, m);
    found = added_by_past(bundle, low, past);
    if (low != high) {
        struct candidate other = added_by_past(bundle, high, past);
        const int32_t x[2] = { low->along, high->along };
        const int64_t y_ps[2] = { found.time_ps, other.time_ps };

        found.time_ps =
            interp_predict(x, y_ps, 2, INTERP_LOGLOG, NULL, m, &(enum interp_origin){ 0 });
        found.distance += other.distance;
        found.origin = join(found.origin, other.origin);
    } else {
        found.time_ps = found.time_ps < 0 ? 0 : units_mul_div(found.time_ps, m, low->along);
        found.distance += low->along > m ? low->along - m : m - low->along;
        found.origin = INTERP_EXTRAPOLATED;
    }
    if (has_wholes && alone.origin == INTERP_EXTRAPOLATED)
        found.origin = INTERP_EXTRAPOLATED;
    found.time_ps =
        found.time_ps > UNITS_MAX_PS - alone.time_ps ? UNITS_MAX_PS : found.time_ps + alone.time_ps;
    return found;
}

/* ---- the best bundle ---- */

enum view { VIEW_PLAIN, VIEW_BATCHES, VIEW_CHUNKS };

/* The best of the bundles that have the key. x: where on the curve; along: on which. False when
 * there is none for this view. */
static bool predict(const struct cost_table *table, const struct cost_key *key, enum view view,
                    int32_t along, int32_t x, struct candidate *best)
{
    bool has_best = false;

    for (int i = cost_first_curve(table, key), next; i < table->curve_count; i = next) {
        const struct cost_curve *first = &table->curves[i];
        struct bundle bundle = { first, 1 };
        struct candidate found;

        if (cost_key_compare(&first->key, key) != 0)
            break;
        for (next = i + 1; next < table->curve_count; next++, bundle.count++) {
            const struct cost_curve *curve = &table->curves[next];

            if (cost_key_compare(&curve->key, key) != 0 || curve->regime != first->regime ||
                strcmp(curve->impl, first->impl) != 0)
                break;
        }
        if (view == VIEW_PLAIN && first->along == 0)
            found = on_curve(first, x);
        else if (view == VIEW_BATCHES)
            found = on_batches(&bundle, along, x);
        else if (view == VIEW_CHUNKS && bundle.curves[bundle.count - 1].along > 0)
            found = on_chunks(&bundle, along, x);
        else
            continue;
        found.regime = first->regime;
        if (!has_best || is_better(&found, best))
            *best = found;
        has_best = true;
    }
    return has_best;
}

/* The one field that most often differs is worth a hint. */
static bool no_rows(const struct cost_table *table, const struct cost_key *key, struct err *err)
{
    const int32_t *f = key->field;
    char shape[160], hint[48] = "";

    if (cost_uses_heads((enum op)f[COST_OP]))
        snprintf(shape, sizeof shape, "phase %s, heads %d, kv_heads %d, head_dim %d",
                 op_phase_names[f[COST_PHASE]], f[COST_HEADS], f[COST_KV_HEADS], f[COST_HEAD_DIM]);
    else
        snprintf(shape, sizeof shape, "gemm_n %d, gemm_k %d", f[COST_GEMM_N], f[COST_GEMM_K]);
    for (int i = 0; i < table->curve_count && !hint[0]; i++) {
        struct cost_key other = table->curves[i].key;
        int32_t threads = other.field[COST_THREADS];

        other.field[COST_THREADS] = f[COST_THREADS];
        if (cost_key_compare(&other, key) == 0)
            snprintf(hint, sizeof hint, " (measured with threads %d)", threads);
    }
    return err_set(err, ERR_INPUT, "%s: no measured rows of %s with %s, threads %d, dtype %s%s",
                   table->path, op_names[f[COST_OP]], shape, f[COST_THREADS],
                   cost_dtypes[f[COST_DTYPE]], hint);
}

/* Without rows of chunks: what the whole costs more than its beginning, and never less than the
 * chunk alone. An estimate, and called one. */
static bool estimate_chunk(const struct cost_table *table, const struct cost_key *key, int32_t m,
                           int32_t past, struct candidate *whole)
{
    struct candidate before = { 0 }, alone = { 0 };

    if (!predict(table, key, VIEW_PLAIN, 0, past + m, whole) ||
        !predict(table, key, VIEW_PLAIN, 0, past, &before) ||
        !predict(table, key, VIEW_PLAIN, 0, m, &alone))
        return false;
    whole->time_ps -= before.time_ps;
    if (whole->time_ps < alone.time_ps)
        whole->time_ps = alone.time_ps;
    whole->origin = INTERP_EXTRAPOLATED;
    return true;
}

static bool predict_attn(const struct cost_table *table, const struct cost_key *key,
                         const struct model_op *op, struct candidate *best)
{
    int32_t batch = op->batch > 1 ? op->batch : 1, m = op->m_tokens / batch;
    int32_t past = op->kv_len - m;

    if (op->phase == OP_DECODE)
        return predict(table, key, VIEW_BATCHES, batch, op->kv_len, best);
    if (past > 0 ? !predict(table, key, VIEW_CHUNKS, m, past, best) &&
                       !estimate_chunk(table, key, m, past, best)
                 : !predict(table, key, VIEW_PLAIN, 0, m, best) &&
                       !predict(table, key, VIEW_CHUNKS, m, 0, best))
        return false;
    if (batch > 1) { /* one after the other */
        best->time_ps = times(best->time_ps, batch);
        best->origin = INTERP_EXTRAPOLATED;
    }
    return true;
}

static bool predict_op(const struct cost_table *table, const struct cost_key *key,
                       const struct model_op *op, struct candidate *best)
{
    return op->op == OP_ATTN ? predict_attn(table, key, op, best)
                             : predict(table, key, VIEW_PLAIN, 0, op->m_tokens, best);
}

bool cost_lookup(const struct cost_table *table, const struct model_op *op, int threads,
                 int weight_bits, int64_t *time_ps, enum interp_origin *origin, struct err *err)
{
    struct cost_key key = key_of_op(op, threads, weight_bits);
    struct candidate best = { 0 };

    if (!predict_op(table, &key, op, &best)) {
        bool has_f32 = !has_weights(op->op) && weight_bits != 32;

        if (has_f32)
            key.field[COST_DTYPE] = COST_F32;
        if (!has_f32 || !predict_op(table, &key, op, &best))
            return cost_lookup_engine(table, op, threads, weight_bits, time_ps, origin) ||
                   no_rows(table, &key, err);
    }
    *time_ps = best.time_ps;
    *origin = best.origin;
    return true;
}
