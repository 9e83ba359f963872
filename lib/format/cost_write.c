/* cost_write.c - writers of the files of a cost table; the columns are read back by cost_read.c
 * and cost_anchors.c. An unknown number is an empty field. */
#include "lib/base/dmath.h"
#include "lib/base/out.h"
#include "lib/format/cost_table.h"
#include "lib/format/table.h"
#include <string.h>

static void put_int(struct out *out, int64_t value)
{
    out_char(out, ',');
    if (value != COST_UNKNOWN)
        out_int(out, value);
}

static void put_ns(struct out *out, int64_t time_ps)
{
    out_char(out, ',');
    if (time_ps != COST_UNKNOWN)
        out_ns(out, time_ps);
}

static void put_text(struct out *out, const char *text)
{
    out_char(out, ',');
    if (text) /* NULL: nothing to say */
        out_csv(out, text);
}

/* For people: four decimals. */
static void put_rounded(struct out *out, double value)
{
    out_char(out, ',');
    out_double(out, (double)dmath_round(value * 1e4) / 1e4);
}

static void put_known(struct out *out, double value)
{
    if (value < 0)
        out_char(out, ',');
    else
        put_rounded(out, value);
}

/* Amount a nanosecond: Gflop or GB a second. */
static void put_rate(struct out *out, int64_t amount, int64_t time_ps)
{
    if (amount == COST_UNKNOWN || time_ps <= 0)
        out_char(out, ',');
    else
        put_rounded(out, (double)amount * 1e3 / (double)time_ps);
}

static void put_measures(struct out *out, const struct cost_row *row)
{
    put_int(out, row->n);
    put_int(out, row->n_dirty);
    put_int(out, row->n_outlier);
    put_int(out, row->n_proc);
    put_ns(out, row->mean_ps);
    put_ns(out, row->median_ps);
    put_ns(out, row->min_ps);
    put_ns(out, row->p95_ps);
    put_ns(out, row->mad_ps);
    put_ns(out, row->ci_lo_ps);
    put_ns(out, row->ci_hi_ps);
    put_ns(out, row->proc_min_ps);
    put_ns(out, row->proc_max_ps);
    put_text(out, cost_stops[row->stop]);
}

static void put_work(struct out *out, const struct cost_row *row)
{
    int64_t moved = row->bytes_weight == COST_UNKNOWN || row->bytes_act == COST_UNKNOWN
                        ? COST_UNKNOWN
                        : row->bytes_weight + row->bytes_act;

    put_int(out, row->flops);
    put_int(out, row->bytes_weight);
    put_int(out, row->bytes_act);
    put_rate(out, row->flops, row->mean_ps);
    put_rate(out, moved, row->mean_ps);
    put_known(out, row->roof_frac);
    for (int i = 0; i < COST_COUNTER_COUNT; i++)
        put_int(out, row->counters[i]);
    put_text(out, row->ctr_reason);
    put_int(out, row->energy_uj);
    put_text(out, row->energy_reason);
    put_int(out, row->freq_khz_min);
    put_int(out, row->temp_mc_max);
    put_int(out, row->throttled < 0 ? COST_UNKNOWN : row->throttled);
    put_known(out, row->canary_ratio);
    put_text(out, cost_origins[row->origin]);
    put_known(out, row->loo_err_pct);
}

void cost_write_kernels(struct out *out, const char *device_id, const char *const *meta,
                        const struct cost_row *rows, int count)
{
    table_begin(out, "kernels", meta);
    out_text(out, "device_id,model,layer_kind,kernel,phase,impl,dtype,threads,m_tokens,gemm_n,"
                  "gemm_k,heads,kv_heads,head_dim,kv_len,batch,state,regime,n,n_dirty,n_outlier,"
                  "n_proc,mean_ns,median_ns,min_ns,p95_ns,mad_ns,ci_lo_ns,ci_hi_ns,proc_min_ns,"
                  "proc_max_ns,stop,flops,bytes_weight,bytes_act,gflops,gbps,roof_frac");
    for (int i = 0; i < COST_COUNTER_COUNT; i++)
        out_printf(out, ",%s", cost_counter_names[i]);
    out_text(out, ",ctr_reason,energy_uj,energy_reason,freq_khz_min,temp_mc_max,throttled,"
                  "canary_ratio,origin,loo_err_pct\n");
    for (int i = 0; i < count; i++) {
        const struct cost_row *row = &rows[i];

        out_csv(out, device_id);
        put_text(out, row->model);
        put_text(out, row->layer_kind);
        out_printf(out, ",%s,%s", op_names[row->op], op_phase_names[row->phase]);
        put_text(out, row->impl);
        put_text(out, row->dtype);
        out_printf(out, ",%d,%d,%d,%d,%d,%d,%d,%d,%d,%s", row->threads, row->m_tokens, row->gemm_n,
                   row->gemm_k, row->heads, row->kv_heads, row->head_dim, row->kv_len,
                   row->batch > 1 ? row->batch : 1, cost_states[row->state]);
        put_text(out, row->regime);
        put_measures(out, row);
        put_work(out, row);
        out_char(out, '\n');
    }
}

void cost_write_stages(struct out *out, const char *const *meta, const struct cost_stage *rows,
                       int count)
{
    table_begin(out, "stage-costs", meta);
    out_text(out, "executable,stage,latency_s,model,devices,batch,gap_s,weight_bytes,"
                  "activation_bytes,output_bytes\n");
    for (int i = 0; i < count; i++) {
        const struct cost_stage *row = &rows[i];

        out_csv(out, row->executable);
        out_printf(out, ",%d,", (int)row->stage);
        out_seconds(out, row->latency_ps);
        put_text(out, row->model);
        put_int(out, row->devices > 0 ? row->devices : COST_UNKNOWN);
        put_int(out, row->batch);
        out_char(out, ',');
        out_seconds(out, row->gap_ps);
        put_int(out, row->weight_bytes);
        put_int(out, row->activation_bytes);
        put_int(out, row->output_bytes);
        out_char(out, '\n');
    }
}

/* ---- tables of other engines ---- */

/* Columns that no row fills are left out: such a table has ten thousand rows and is read at every
 * run. */
struct engine_columns {
    bool has_impl, has_n, has_others; /* others: kv_len and batch, median and minimum */
    bool has_engine, has_regime, has_phase;
};

static bool is_burst(const char *regime)
{
    return !regime || strcmp(regime, cost_regimes[COST_BURST]) == 0;
}

static struct engine_columns columns_of(const struct cost_row *rows, int count,
                                        const struct cost_engine_row *engine_rows, int engine_count)
{
    struct engine_columns columns = { .has_engine = engine_count > 0 };

    for (int i = 0; i < count; i++) {
        columns.has_impl = columns.has_impl || rows[i].impl[0];
        columns.has_n = columns.has_n || rows[i].n != COST_UNKNOWN;
        columns.has_others = columns.has_others || rows[i].kv_len > 0 ||
                             rows[i].median_ps != COST_UNKNOWN || rows[i].min_ps != COST_UNKNOWN;
        columns.has_regime = columns.has_regime || !is_burst(rows[i].regime);
        columns.has_phase = columns.has_phase || rows[i].phase != OP_ANY;
    }
    for (int i = 0; i < engine_count; i++) {
        columns.has_impl = columns.has_impl || engine_rows[i].impl[0];
        columns.has_n = columns.has_n || engine_rows[i].n != COST_UNKNOWN;
        columns.has_regime = columns.has_regime || !is_burst(engine_rows[i].regime);
    }
    return columns;
}

static void put_engine_header(struct out *out, const struct engine_columns *columns)
{
    out_printf(out,
               "kernel%s%s,dtype,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim%s%s%s%s"
               ",mean_ns%s,device_id\n",
               columns->has_phase ? ",phase" : "", columns->has_impl ? ",impl" : "",
               columns->has_others ? ",kv_len,batch" : "",
               columns->has_engine ? ",chunk_tokens,chunk_kv,decodes,decode_kv" : "",
               columns->has_regime ? ",regime" : "", columns->has_n ? ",n" : "",
               columns->has_others ? ",median_ns,min_ns" : "");
}

/* What both kinds of rows have behind their sizes; the device is that of the first row. */
static void put_engine_end(struct out *out, const struct engine_columns *columns,
                           const char *regime, int64_t n, int64_t mean_ps, const char *device_id)
{
    if (columns->has_regime)
        put_text(out, regime);
    if (columns->has_n)
        put_int(out, n);
    put_ns(out, mean_ps);
    if (!columns->has_others)
        put_text(out, device_id);
}

static void put_plain_row(struct out *out, const struct engine_columns *columns,
                          const struct cost_row *row, const char *device_id)
{
    out_text(out, op_names[row->op]);
    if (columns->has_phase)
        put_text(out, op_phase_names[row->phase]);
    if (columns->has_impl)
        put_text(out, row->impl);
    out_printf(out, ",%s,%d,%d,%d,%d,%d,%d,%d", row->dtype, row->threads, row->m_tokens,
               row->gemm_n, row->gemm_k, row->heads, row->kv_heads, row->head_dim);
    if (columns->has_others)
        out_printf(out, ",%d,%d", row->kv_len, row->batch > 1 ? row->batch : 1);
    if (columns->has_engine)
        out_text(out, ",,,,");
    put_engine_end(out, columns, row->regime, row->n, row->mean_ps, device_id);
    if (columns->has_others) {
        put_ns(out, row->median_ps);
        put_ns(out, row->min_ps);
        put_text(out, device_id);
    }
    out_char(out, '\n');
}

static void put_engine_row(struct out *out, const struct engine_columns *columns,
                           const struct cost_engine_row *row, const char *device_id)
{
    out_text(out, row->is_sampler ? "sampler" : "attn_mixed");
    if (columns->has_phase)
        out_char(out, ',');
    if (columns->has_impl)
        put_text(out, row->impl);
    out_printf(out, ",%s,%d,", row->dtype, row->threads);
    if (row->is_sampler)
        out_printf(out, "%d,%d,0,,,", row->m_tokens, row->gemm_n);
    else
        out_printf(out, ",0,0,%d,%d,%d", row->heads, row->kv_heads, row->head_dim);
    if (columns->has_others)
        out_text(out, ",,");
    if (row->is_sampler)
        out_text(out, ",,,,");
    else
        out_printf(out, ",%d,%d,%d,%d", row->chunk_tokens, row->chunk_kv, row->decodes,
                   row->decode_kv);
    put_engine_end(out, columns, row->regime, row->n, row->mean_ps, device_id);
    if (columns->has_others) {
        out_text(out, ",,");
        put_text(out, device_id);
    }
    out_char(out, '\n');
}

void cost_write_engine(struct out *out, const char *device_id, const char *const *meta,
                       const struct cost_row *rows, int count,
                       const struct cost_engine_row *engine_rows, int engine_count)
{
    struct engine_columns columns = columns_of(rows, count, engine_rows, engine_count);

    table_begin(out, "kernels", meta);
    put_engine_header(out, &columns);
    for (int i = 0; i < count; i++)
        put_plain_row(out, &columns, &rows[i], i == 0 ? device_id : "");
    for (int i = 0; i < engine_count; i++)
        put_engine_row(out, &columns, &engine_rows[i], i == 0 && count == 0 ? device_id : "");
}

static void put_percent(struct out *out, double ratio)
{
    put_known(out, ratio < 0 ? -1 : ratio * 100);
}

void cost_write_interp(struct out *out, const struct cost_interp_row *rows, int count)
{
    table_begin(out, "interp", NULL);
    out_text(out, "kernel,phase,impl,dtype,threads,gemm_n,gemm_k,heads,kv_heads,head_dim,regime,"
                  "tile_period,residue,adder_ns,loo_err_med_pct,loo_err_max_pct\n");
    for (int i = 0; i < count; i++) {
        const struct cost_row *key = &rows[i].key;
        const struct interp_tiles *tiles = &rows[i].tiles;

        for (int r = 0; r < tiles->period; r++) {
            out_printf(out, "%s,%s", op_names[key->op], op_phase_names[key->phase]);
            put_text(out, key->impl);
            put_text(out, key->dtype);
            out_printf(out, ",%d,%d,%d,%d,%d,%d", key->threads, key->gemm_n, key->gemm_k,
                       key->heads, key->kv_heads, key->head_dim);
            put_text(out, key->regime);
            out_printf(out, ",%d,%d", tiles->period, r);
            put_ns(out, tiles->adder_ps[r]);
            put_percent(out, tiles->loo_median_ratio);
            put_percent(out, tiles->loo_max_ratio);
            out_char(out, '\n');
        }
    }
}

static void put_bound(struct out *out, double kappa)
{
    out_char(out, ',');
    if (kappa > 0)
        out_double(out, kappa);
}

void cost_write_anchors(struct out *out, const struct cost_anchor *anchors, int count)
{
    table_begin(out, "anchors", NULL);
    out_text(out, "model,phase,s,kv_len,batch,threads,dtype,layers,n,forward_mean_ns,ci,"
                  "sum_chain_ns,kappa,kappa_lo,kappa_hi,err_pct\n");
    for (int i = 0; i < count; i++) {
        const struct cost_anchor *anchor = &anchors[i];

        out_csv(out, anchor->model);
        out_printf(out, ",%s,%d,%d,%d,%d,%s,%d", op_phase_names[anchor->phase], anchor->tokens,
                   anchor->kv_len, anchor->batch, anchor->threads,
                   anchor->dtype ? anchor->dtype : cost_dtypes[COST_F32], anchor->layers);
        put_int(out, anchor->n);
        put_ns(out, anchor->forward_mean_ps);
        put_ns(out, anchor->ci_ps);
        put_ns(out, anchor->sum_chain_ps);
        out_char(out, ',');
        out_double(out, anchor->kappa);
        put_bound(out, anchor->kappa_lo);
        put_bound(out, anchor->kappa_hi);
        /* of the sum against the forward, as in "predicted against measured" */
        put_rounded(out, (double)(anchor->sum_chain_ps - anchor->forward_mean_ps) /
                             (double)anchor->forward_mean_ps * 100);
        out_char(out, '\n');
    }
}

void cost_write_roofline(struct out *out, const struct cost_roofline *rows, int count)
{
    table_begin(out, "roofline", NULL);
    out_text(out, "threads,metric,ws_bytes,value,unit\n");
    for (int i = 0; i < count; i++) {
        out_int(out, rows[i].threads);
        put_text(out, rows[i].metric);
        put_int(out, rows[i].ws_bytes);
        out_char(out, ',');
        out_double(out, rows[i].value);
        put_text(out, rows[i].unit);
        out_char(out, '\n');
    }
}

void cost_write_holdout(struct out *out, const struct cost_holdout *rows, int count)
{
    table_begin(out, "holdout", NULL);
    out_text(out, "kernel,phase,impl,dtype,threads,gemm_n,gemm_k,m_tokens,kv_len,batch,measured_ns,"
                  "ci_ns,predicted_ns,err_pct,origin\n");
    for (int i = 0; i < count; i++) {
        const struct cost_row *row = &rows[i].row;

        out_printf(out, "%s,%s", op_names[row->op], op_phase_names[row->phase]);
        put_text(out, row->impl);
        put_text(out, row->dtype);
        out_printf(out, ",%d,%d,%d,%d,%d,%d", row->threads, row->gemm_n, row->gemm_k, row->m_tokens,
                   row->kv_len, row->batch > 1 ? row->batch : 1);
        put_ns(out, row->mean_ps);
        put_ns(out, rows[i].ci_ps);
        put_ns(out, rows[i].predicted_ps);
        put_rounded(out,
                    (double)(rows[i].predicted_ps - row->mean_ps) / (double)row->mean_ps * 100);
        put_text(out, cost_origins[rows[i].origin]);
        out_char(out, '\n');
    }
}
