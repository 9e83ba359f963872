/* table.c - rows, tile periods, anchors and rounds, written through lib/format's own writers. */
#include "profiler/table.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/stats.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "profiler/counters.h"
#include "profiler/facts.h"
#include "profiler/store.h"
#include <stdlib.h>
#include <string.h>

#define CANARY_LIMIT                                                                               \
    1.02 /* a round whose canary is slower than its best decile by this is slow                    \
          */
#define F32_BITS 32

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

static struct cost_row finish_row(struct arena *arena, const struct store *store,
                                  const struct store_row *from,
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
    put_counters(arena, store, from, &row);
    return row;
}

static bool matters(enum op op)
{
    return op == OP_QKV || op == OP_ATTN || op == OP_OPROJ || op == OP_FFN_UP ||
           op == OP_FFN_DOWN || op == OP_LMHEAD;
}

static void note_row(struct arena *arena, struct table *table, const struct cost_row *row,
                     const struct samples_summary *summary, double *ratios, int *ratio_count)
{
    double ratio = samples_half_ratio(summary);

    table->samples += summary->n + summary->n_dirty + summary->n_outlier;
    if (summary->is_fallback) /* the dirty ones are among the n */
        table->samples -= summary->n_dirty;
    table->dirty += summary->n_dirty;
    table->outliers += summary->n_outlier;
    table->fallback_rows += summary->is_fallback;
    if (!matters(row->op))
        return;
    ratios[(*ratio_count)++] = ratio;
    if (ratio <= table->worst_ci_ratio)
        return;
    table->worst_ci_ratio = ratio;
    table->worst_row = arena_printf(
        arena, "%s, %d thread%s, %d token%s%s", op_name(row->op), row->threads,
        row->threads > 1 ? "s" : "", row->m_tokens, row->m_tokens > 1 ? "s" : "",
        row->phase == OP_DECODE ? arena_printf(arena, " on %d keys", row->kv_len) : "");
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void build_rows(struct arena *arena, struct store *const *stores, int store_count,
                       struct table *table)
{
    int room = 0, ratio_count = 0;

    for (int s = 0; s < store_count; s++)
        room += stores[s]->row_count;
    table->rows = arena_array(arena, (size_t)room, sizeof(*table->rows));
    double *ratios = arena_array(arena, (size_t)room, sizeof(*ratios));
    for (int s = 0; s < store_count; s++) {
        reject_silent_counters(stores[s]);
        for (int r = 0; r < stores[s]->row_count; r++) {
            const struct store_row *from = &stores[s]->rows[r];
            struct samples_summary summary;

            if (!samples_summarize(arena, &from->samples, &summary)) {
                table->missing_rows++;
                continue;
            }
            struct cost_row row = finish_row(arena, stores[s], from, &summary);
            table->rows[table->row_count++] = row;
            note_row(arena, table, &row, &summary, ratios, &ratio_count);
        }
    }
    if (ratio_count > 0) {
        qsort(ratios, (size_t)ratio_count, sizeof(*ratios), compare_doubles);
        table->median_ci_ratio = ratios[ratio_count / 2];
    }
}

/* ---- interpolation ---- */

static bool is_same_curve(const struct cost_row *a, const struct cost_row *b)
{
    return a->op == b->op && a->phase == b->phase && a->threads == b->threads &&
           a->gemm_n == b->gemm_n && a->gemm_k == b->gemm_k && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->head_dim == b->head_dim &&
           strcmp(a->impl, b->impl) == 0;
}

/* Tiles are a matter of matrix products over m; attention and elementwise curves have none. */
static void build_interps(struct arena *arena, struct table *table)
{
    int32_t *x = arena_array(arena, (size_t)table->row_count, sizeof(*x));
    int64_t *y = arena_array(arena, (size_t)table->row_count, sizeof(*y));

    table->interps = arena_array(arena, (size_t)table->row_count, sizeof(*table->interps));
    for (int r = 0; r < table->row_count; r++) {
        const struct cost_row *row = &table->rows[r];
        bool is_first = true;
        int count = 0;

        if (strcmp(row->impl, "gemm") != 0 || row->op == OP_ATTN)
            continue;
        for (int i = 0; i < r; i++)
            is_first = is_first && !is_same_curve(&table->rows[i], row);
        if (!is_first)
            continue;
        /* rows of a curve stand in ascending order of m, as the points do */
        for (int i = r; i < table->row_count; i++)
            if (is_same_curve(&table->rows[i], row)) {
                x[count] = table->rows[i].m_tokens;
                y[count++] = table->rows[i].mean_ps;
            }
        struct cost_interp_row *interp = &table->interps[table->interp_count++];
        interp->key = *row;
        interp->tiles = interp_fit(arena, x, y, count);
    }
}

/* ---- anchors ---- */

static bool sum_block(const struct cost_table *costs, const struct model *model,
                      enum model_block block, const struct point *point, int threads, int times,
                      int64_t *sum_ps, struct err *err)
{
    struct model_op ops[MODEL_MAX_OPS];
    int count = model_block_ops(model, block, point->m, point->kv - point->m, ops);

    for (int i = 0; i < count; i++) {
        enum interp_origin origin;
        int64_t time_ps;

        if (!cost_lookup(costs, &ops[i], threads, F32_BITS, &time_ps, &origin, err))
            return false;
        *sum_ps += time_ps * ops[i].count * times;
    }
    return true;
}

/* The sum that the simulator would take for this forward, through its own look-up. */
static bool sum_forward(const struct cost_table *costs, const struct model *model,
                        const struct point *point, int threads, int layers, int64_t *sum_ps,
                        struct err *err)
{
    *sum_ps = 0;
    for (int block = 0; block < BLOCK_COUNT; block++) {
        bool is_end = block == BLOCK_EMBED || block == BLOCK_LM_HEAD;

        if (!sum_block(costs, model, (enum model_block)block, point, threads, is_end ? 1 : layers,
                       sum_ps, err))
            return false;
    }
    return true;
}

static bool build_anchors(struct arena *arena, const struct model *model,
                          struct store *const *stores, int store_count, struct table *table,
                          struct err *err)
{
    static const char *const no_meta[] = { NULL };
    struct out *kernels = out_open_memory(arena), *interp = out_open_memory(arena);
    size_t unused;

    cost_write_kernels(kernels, table->device_id, no_meta, table->rows, table->row_count);
    cost_write_interp(interp, table->interps, table->interp_count);
    const struct cost_table *costs = cost_load_text(
        arena, table->device_id, out_memory(kernels, &unused), out_memory(interp, &unused), err);
    for (int s = 0; s < store_count && costs; s++)
        for (int a = 0; a < stores[s]->anchor_count; a++) {
            const struct store_anchor *from = &stores[s]->anchors[a];
            const struct point *point = &stores[s]->points[from->point];
            struct samples_summary summary;
            int64_t sum_ps;

            if (table->anchor_count == TABLE_MAX_ANCHORS ||
                !samples_summarize(arena, &from->samples, &summary) || summary.mean_ps <= 0)
                continue;
            if (!sum_forward(costs, model, point, stores[s]->threads, from->layers, &sum_ps, err))
                return false;
            table->anchors[table->anchor_count++] = (struct cost_anchor){
                .model = model->name,
                .phase = point->phase,
                .tokens = point->m,
                .kv_len = point->kv,
                .batch = 1,
                .threads = stores[s]->threads,
                .layers = from->layers,
                .n = summary.n,
                .forward_mean_ps = summary.mean_ps,
                .ci_ps = summary.half_ps >= 0 ? summary.half_ps : COST_UNKNOWN,
                .sum_chain_ps = sum_ps,
                .kappa = (double)summary.mean_ps / (double)sum_ps,
            };
        }
    out_abort(kernels);
    out_abort(interp);
    return costs;
}

/* ---- rounds ---- */

static int64_t best_decile(struct arena *arena, const struct store *store)
{
    int64_t *times = arena_array(arena, (size_t)store->round_count, sizeof(*times));

    for (int i = 0; i < store->round_count; i++)
        times[i] = store->rounds[i].canary_c_ns;
    stats_sort(times, (size_t)store->round_count);
    return stats_quantile(times, (size_t)store->round_count, 1, 10);
}

static bool is_slow(const struct store_round *round, int64_t best_ns)
{
    return (double)round->canary_c_ns > CANARY_LIMIT * (double)best_ns;
}

static void count_rounds(struct arena *arena, struct store *const *stores, int store_count,
                         struct table *table)
{
    for (int s = 0; s < store_count; s++) {
        int64_t best_ns = stores[s]->round_count > 0 ? best_decile(arena, stores[s]) : 0;

        table->rounds += stores[s]->round_count;
        for (int i = 0; i < stores[s]->round_count; i++)
            table->slow_rounds += is_slow(&stores[s]->rounds[i], best_ns);
    }
}

static void put_known(struct out *out, int64_t value)
{
    out_char(out, ',');
    if (value >= 0)
        out_int(out, value);
}

static void write_rounds(struct arena *arena, struct out *out, struct store *const *stores,
                         int store_count)
{
    out_text(out, "# orrery: rounds 1\nthreads,proc,round,t_ns,canary_c_ns,canary_m_ns,freq_khz,"
                  "temp_mc,throttle_bits,nivcsw,psi_us,verdict\n");
    for (int s = 0; s < store_count; s++) {
        int64_t best_ns = stores[s]->round_count > 0 ? best_decile(arena, stores[s]) : 0;

        for (int i = 0; i < stores[s]->round_count; i++) {
            const struct store_round *round = &stores[s]->rounds[i];

            out_printf(out, "%d,%d,%d", stores[s]->threads, round->proc, round->round);
            put_known(out, round->t_ns);
            put_known(out, round->canary_c_ns);
            put_known(out, round->canary_m_ns);
            put_known(out, round->freq_khz);
            put_known(out, round->temp_mc);
            put_known(out, round->throttle_bits);
            put_known(out, round->nivcsw);
            put_known(out, round->psi_us);
            out_text(out, is_slow(round, best_ns) ? ",slow\n" : ",ok\n");
        }
    }
}

/* ---- all ---- */

bool table_build(struct arena *arena, const char *device_id, const struct model *model,
                 struct store *const *stores, int store_count, struct table *table, struct err *err)
{
    memset(table, 0, sizeof(*table));
    table->device_id = device_id;
    table->worst_row = "";
    build_rows(arena, stores, store_count, table);
    if (table->row_count == 0)
        return err_set(err, ERR_SYSTEM, "nothing was measured");
    build_interps(arena, table);
    count_rounds(arena, stores, store_count, table);
    return build_anchors(arena, model, stores, store_count, table, err);
}

bool table_write(struct arena *arena, const char *folder, const struct table *table,
                 const char *const *meta, const struct facts *facts, struct store *const *stores,
                 int store_count, struct err *err)
{
    static const char *const names[] = { "kernels.csv", "interp.csv", "anchors.csv", "device.csv",
                                         "rounds.csv" };
    enum { KERNELS, INTERP, ANCHORS, DEVICE, ROUNDS, FILES };
    struct out *outs[FILES] = { NULL };

    if (!out_make_folder(folder, err))
        return false;
    for (int f = 0; f < FILES; f++) {
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
    write_rounds(arena, outs[ROUNDS], stores, store_count);
    return out_commit_all(outs, FILES, err);
}
