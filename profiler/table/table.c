/* table.c - rows and tile periods from the stores, written through lib/format's own writers. */
#include "profiler/table/table.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "profiler/counters/counters.h"
#include "profiler/device/facts.h"
#include "profiler/measure/rounds.h"
#include "profiler/measure/store.h"
#include "profiler/table/saved.h"
#include "profiler/table/score.h"
#include <stdlib.h>
#include <string.h>

/* ---- rows ---- */

static void put_counters(struct arena *arena, const struct store *store,
                         const struct store_row *from, struct cost_row *row)
{
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        if (!store->counter_reason[c] && from->counted_calls[c] > 0)
            row->counters[c] = units_mul_div(from->counted[c], 1, from->counted_calls[c]);
    row->ctr_reason = counters_join_reasons(arena, row->counters, store->counter_reason);
}

/* A forced or raw event that the core lacks counts nothing and says nothing. What is zero in every
 * operator is such an event, or there was too little work to tell: no number in either case. */
static void reject_silent_counters(struct store *store)
{
    bool has_counted[COST_COUNTER_COUNT] = { false };

    for (int r = 0; r < store->row_count; r++)
        for (int c = 0; c < COST_COUNTER_COUNT; c++)
            has_counted[c] = has_counted[c] || store->rows[r].counted[c] > 0;
    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        if (!has_counted[c] && !store->counter_reason[c])
            store->counter_reason[c] = "always_zero";
}

static enum cost_stop stop_of(const struct samples_summary *summary)
{
    if (samples_half_ratio(summary) <= 0.01)
        return COST_STOP_CI;
    return summary->n >= 200 ? COST_STOP_MAX_N : COST_STOP_BUDGET;
}

/* What the device could do at best: its peak, or its memory, whichever takes longer. */
static double roof_ratio(const struct table_inputs *inputs, const struct cost_row *row)
{
    double flops_per_s = 0.0, bytes_per_s = 0.0;

    for (int i = 0; i < inputs->roofline_count; i++) {
        const struct cost_roofline *at = &inputs->roofline[i];

        if (at->threads != row->threads)
            continue;
        if (strcmp(at->metric, "sgemm_peak") == 0 && at->value * 1e9 > flops_per_s)
            flops_per_s = at->value * 1e9;
        if (strcmp(at->metric, "read_bw") == 0 && at->value > bytes_per_s)
            bytes_per_s = at->value;
    }
    if (flops_per_s <= 0.0 || bytes_per_s <= 0.0 || row->mean_ps <= 0 || row->flops == COST_UNKNOWN)
        return -1.0;
    double compute_s = (double)row->flops / flops_per_s;
    double memory_s = (double)(row->bytes_weight + row->bytes_act) / bytes_per_s;
    return (compute_s > memory_s ? compute_s : memory_s) / ((double)row->mean_ps / 1e12);
}

static struct cost_row finish_row(struct arena *arena, const struct table_inputs *inputs,
                                  const struct store *store, const struct store_row *from,
                                  const struct samples_summary *summary)
{
    struct cost_row row = from->key;
    bool has_ci = summary->half_ps >= 0;

    row.n = summary->n;
    row.n_dirty = summary->n_dirty;
    row.n_outlier = summary->n_outlier;
    row.n_proc = summary->n_proc;
    row.mean_ps = summary->mean_ps;
    row.median_ps = summary->median_ps;
    row.min_ps = summary->min_ps;
    row.p95_ps = summary->p95_ps;
    row.mad_ps = summary->mad_ps;
    row.ci_lo_ps = !has_ci                               ? COST_UNKNOWN
                   : summary->half_ps > summary->mean_ps ? 0
                                                         : summary->mean_ps - summary->half_ps;
    row.ci_hi_ps = has_ci ? summary->mean_ps + summary->half_ps : COST_UNKNOWN;
    row.proc_min_ps = summary->proc_min_ps;
    row.proc_max_ps = summary->proc_max_ps;
    row.stop = stop_of(summary);
    row.energy_uj = from->energy_uj;
    row.energy_reason = from->energy_reason ? from->energy_reason : "";
    row.roof_frac = roof_ratio(inputs, &row);
    rounds_describe(store, &row);
    put_counters(arena, store, from, &row);
    return row;
}

static bool matters(enum op op)
{
    return op == OP_QKV || op == OP_ATTN || op == OP_OPROJ || op == OP_FFN_UP ||
           op == OP_FFN_DOWN || op == OP_LMHEAD;
}

static const char *name_row(struct arena *arena, const struct cost_row *row)
{
    return arena_printf(arena, "%s, %d thread%s, %d token%s%s", op_name(row->op), row->threads,
                        row->threads > 1 ? "s" : "", row->m_tokens, row->m_tokens > 1 ? "s" : "",
                        row->op == OP_ATTN ? arena_printf(arena, " on %d keys", row->kv_len) : "");
}

static void note_row(struct arena *arena, struct table *table, const struct cost_row *row,
                     const struct samples_summary *summary, double *ratios, int *ratio_count)
{
    double ratio = samples_half_ratio(summary);

    table->samples += summary->n_samples;
    table->dirty += summary->n_dirty;
    table->outliers += summary->n_outlier;
    table->disturbed += summary->n_disturbed;
    table->fallback_rows += summary->is_fallback;
    table->disturbed_rows += summary->has_disturbed;
    if (!matters(row->op))
        return;
    ratios[(*ratio_count)++] = ratio;
    if (ratio <= table->worst_ci_ratio)
        return;
    table->worst_ci_ratio = ratio;
    table->worst_row = name_row(arena, row);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int64_t interval_ps(const struct cost_row *row)
{
    bool is_known = row->ci_lo_ps != COST_UNKNOWN && row->ci_hi_ps != COST_UNKNOWN;

    return is_known ? row->ci_hi_ps - row->ci_lo_ps : INT64_MAX;
}

/* Norms, additions and attention are the same work whatever type the weights are of, or however
 * they are sliced: several stores have measured them, and the narrowest interval stays. */
static bool add_row(struct table *table, const struct cost_row *row)
{
    for (int i = 0; i < table->row_count; i++) {
        struct cost_row *other = &table->rows[i];

        if (saved_compare_rows(other, row) != 0)
            continue;
        if (interval_ps(row) < interval_ps(other))
            *other = *row;
        return false;
    }
    table->rows[table->row_count++] = *row;
    return true;
}

static void build_rows(struct arena *arena, const struct table_inputs *inputs, struct table *table)
{
    int room = 0, ratio_count = 0;

    for (int s = 0; s < inputs->store_count; s++)
        room += inputs->stores[s]->row_count;
    table->rows = arena_array(arena, (size_t)room + 1, sizeof(*table->rows));
    double *ratios = arena_array(arena, (size_t)room + 1, sizeof(*ratios));
    for (int s = 0; s < inputs->store_count; s++) {
        struct store *store = inputs->stores[s];

        reject_silent_counters(store);
        for (int r = 0; r < store->row_count; r++) {
            const struct store_row *from = &store->rows[r];
            struct samples_summary summary;

            if (from->is_held_out)
                continue;
            if (!samples_summarize(arena, &from->samples, &summary)) {
                table->missing_rows++;
                continue;
            }
            struct cost_row row = finish_row(arena, inputs, store, from, &summary);
            if (add_row(table, &row))
                note_row(arena, table, &row, &summary, ratios, &ratio_count);
        }
    }
    if (ratio_count > 0) {
        qsort(ratios, (size_t)ratio_count, sizeof(*ratios), compare_doubles);
        table->median_ci_ratio = ratios[ratio_count / 2];
    }
}

/* ---- interpolation ---- */

static bool is_decode_attention(const struct cost_row *row)
{
    return row->op == OP_ATTN && row->phase == OP_DECODE && row->batch == 1;
}

/* Tiles are a matter of products over m, and of attention over the keys of one sequence. */
static bool has_curve(const struct cost_row *row)
{
    bool is_product =
        row->op != OP_ATTN && row->gemm_k > 0 && matters(row->op) && row->m_tokens > 1;

    return is_product || is_decode_attention(row);
}

static bool is_same_curve(const struct cost_row *a, const struct cost_row *b)
{
    return a->op == b->op && a->phase == b->phase && a->threads == b->threads &&
           a->gemm_n == b->gemm_n && a->gemm_k == b->gemm_k && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->head_dim == b->head_dim &&
           strcmp(a->impl, b->impl) == 0 && strcmp(a->dtype, b->dtype) == 0 && has_curve(b);
}

static int32_t along(const struct cost_row *row)
{
    return is_decode_attention(row) ? row->kv_len : row->m_tokens;
}

struct curve { /* rows of one curve, ascending along it */
    int *rows, count;
    int32_t *x;
    int64_t *y_ps;
    double *errors;
};

/* Refined points and batches come in no order. */
static void collect_curve(const struct table *table, int first, struct curve *curve)
{
    curve->count = 0;
    for (int i = first; i < table->row_count; i++) {
        int32_t x = along(&table->rows[i]);
        int at = curve->count;

        if (!is_same_curve(&table->rows[first], &table->rows[i]))
            continue;
        for (; at > 0 && curve->x[at - 1] > x; at--) {
            curve->x[at] = curve->x[at - 1];
            curve->y_ps[at] = curve->y_ps[at - 1];
            curve->rows[at] = curve->rows[at - 1];
        }
        curve->x[at] = x;
        curve->y_ps[at] = table->rows[i].mean_ps;
        curve->rows[at] = i;
        curve->count++;
    }
}

/* The scouted period of the store that the row came from; 0 where the scout did not look. */
static int32_t period_of(const struct table_inputs *inputs, const struct cost_row *row)
{
    if (!inputs || row->op == OP_ATTN || row->op == OP_LMHEAD)
        return 0;
    for (int s = 0; s < inputs->store_count; s++) {
        const struct store *store = inputs->stores[s];

        if (store->variant.threads == row->threads &&
            strcmp(kernel_dtype_names[store->variant.dtype], row->dtype) == 0)
            return store->period;
    }
    return 0;
}

void table_fit_interps(struct arena *arena, const struct table_inputs *inputs, struct table *table)
{
    size_t room = (size_t)table->row_count;
    struct curve curve = { .rows = arena_array(arena, room, sizeof(int)),
                           .x = arena_array(arena, room, sizeof(int32_t)),
                           .y_ps = arena_array(arena, room, sizeof(int64_t)),
                           .errors = arena_array(arena, room, sizeof(double)) };

    table->interps = arena_array(arena, room, sizeof(*table->interps));
    for (int r = 0; r < table->row_count; r++) {
        bool is_first = has_curve(&table->rows[r]);

        for (int i = 0; i < r && is_first; i++)
            is_first = !is_same_curve(&table->rows[r], &table->rows[i]);
        if (!is_first)
            continue;
        collect_curve(table, r, &curve);
        struct cost_interp_row *interp = &table->interps[table->interp_count++];
        interp->key = table->rows[r];
        interp->tiles =
            store_fit(arena, period_of(inputs, &table->rows[r]), curve.x, curve.y_ps, curve.count);
        interp_leave_one_out(arena, curve.x, curve.y_ps, curve.count, INTERP_LINEAR, &interp->tiles,
                             curve.errors);
        for (int i = 0; i < curve.count; i++)
            table->rows[curve.rows[i]].loo_err_pct =
                curve.errors[i] < 0.0 ? -1.0 : 100.0 * curve.errors[i];
    }
}

/* ---- all ---- */

/* Stamps of a layer against the layer itself, where a layer is shortest. */
static void put_stamp_ratio(struct arena *arena, struct store *store, struct table *table)
{
    int best = -1, stamps = 0;

    for (int p = 0; p < store->point_count; p++)
        if (store->points[p].m == 1 && (best < 0 || store->points[p].kv > store->points[best].kv))
            best = p;
    if (best < 0 || store->stamp_ps == 0)
        return;
    for (int op = OP_NORM; op <= OP_FFN_DOWN; op++)
        if (store->row_of[best][op] >= 0)
            stamps += store->rows[store->row_of[best][op]].calls;
    double layer_ps = store_layer_ps(store, arena, best);
    table->stamp_ratio = layer_ps > 0.0 ? stamps * (double)store->stamp_ps / layer_ps : 0.0;
}

bool table_build(struct arena *arena, const struct table_inputs *inputs, struct table *table,
                 struct err *err)
{
    memset(table, 0, sizeof(*table));
    table->device_id = inputs->device_id;
    table->roofline = inputs->roofline;
    table->roofline_count = inputs->roofline_count;
    table->worst_row = "";
    for (int s = 0; s < inputs->store_count; s++)
        rounds_judge(arena, inputs->stores[s], table);
    table->quality = rounds_quality(arena, table);
    build_rows(arena, inputs, table);
    if (table->row_count == 0)
        return err_set(err, ERR_SYSTEM, "nothing was measured");
    table_fit_interps(arena, inputs, table);
    put_stamp_ratio(arena, inputs->stores[0], table);
    return score_table(arena, inputs, table, err);
}

bool table_write(struct arena *arena, const char *folder, const struct table *table,
                 const char *const *meta, const struct facts *facts, struct store *const *stores,
                 int store_count, struct err *err)
{
    enum { KERNELS, INTERP, ANCHORS, DEVICE, ROUNDS, ROOFLINE, LAYERS, HOLDOUT, FILES };
    static const char *const names[FILES] = {
        [KERNELS] = "kernels.csv", [INTERP] = "interp.csv",   [ANCHORS] = "anchors.csv",
        [DEVICE] = "device.csv",   [ROUNDS] = "rounds.csv",   [ROOFLINE] = "roofline.csv",
        [LAYERS] = "layers.csv",   [HOLDOUT] = "holdout.csv",
    };
    struct out *outs[FILES];
    int count = table->holdout_count > 0 ? FILES : HOLDOUT;

    if (!out_make_folder(folder, err))
        return false;
    for (int f = 0; f < count; f++) {
        outs[f] = out_open(arena, arena_printf(arena, "%s/%s", folder, names[f]), err);
        if (!outs[f]) {
            while (f-- > 0)
                out_abort(outs[f]);
            return false;
        }
    }
    cost_write_kernels(outs[KERNELS], table->device_id, meta, table->rows, table->row_count);
    cost_write_interp(outs[INTERP], table->interps, table->interp_count);
    cost_write_anchors(outs[ANCHORS], table->anchors, table->anchor_count);
    facts_write_csv(outs[DEVICE], facts);
    rounds_write(outs[ROUNDS], stores, store_count);
    cost_write_roofline(outs[ROOFLINE], table->roofline, table->roofline_count);
    model_write_layers(outs[LAYERS], stores[0]->variant.model);
    if (count > HOLDOUT)
        cost_write_holdout(outs[HOLDOUT], table->holdouts, table->holdout_count);
    return out_commit_all(outs, count, err);
}
