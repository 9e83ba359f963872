/* cost_read.c - rows of kernels.csv and interp.csv; anchors.csv and roofline.csv are in
 * cost_anchors.c. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cost_table.h"
#include <float.h>
#include <string.h>

const char *const cost_dtypes[COST_DTYPE_COUNT] = { "f32", "bf16", "q8_0" };
const char *const cost_regimes[COST_REGIME_COUNT] = { "sustained", "burst" };
const char *const cost_states[COST_STATE_COUNT] = { "chain", "rotate", "warm" };
const char *const cost_stops[COST_STOP_COUNT] = { "ci", "budget", "max_n" };
const char *const cost_origins[INTERP_EXTRAPOLATED + 1] = { "measured", "interpolated",
                                                            "extrapolated" };
const char *const cost_counter_names[COST_COUNTER_COUNT] = { "cyc",        "ins",      "l1d_refill",
                                                             "l2d_refill", "llc_miss", "stall_be" };

/* ---- the key ---- */

static bool read_choice(const struct csv *csv, int column, const char *const *names, int count,
                        int fallback, int *index, struct err *err)
{
    *index = fallback;
    return !csv_has(csv, column) || csv_choice(csv, column, names, count, index, err);
}

static bool read_size(const struct csv *csv, int column, int32_t *value, struct err *err)
{
    *value = 0;
    return !csv_has(csv, column) || csv_int32(csv, column, 0, INT32_MAX, value, err);
}

static bool check_product(const struct csv *csv, const struct cost_row *row, struct err *err)
{
    if (row->gemm_n < 1)
        return csv_bad(csv, COL_GEMM_N, err, "%s needs at least 1", op_name(row->op));
    return row->gemm_k >= 1 ||
           csv_bad(csv, COL_GEMM_K, err, "%s needs at least 1", op_name(row->op));
}

static bool check_attn(const struct csv *csv, const struct cost_row *row, struct err *err)
{
    if (row->phase == OP_ANY)
        return csv_bad(csv, COL_PHASE, err, "attn needs prefill or decode");
    if (row->heads < 1)
        return csv_bad(csv, COL_HEADS, err, "attn needs at least 1");
    if (row->kv_heads < 1)
        return csv_bad(csv, COL_KV_HEADS, err, "attn needs at least 1");
    return row->head_dim >= 1 || csv_bad(csv, COL_HEAD_DIM, err, "attn needs at least 1");
}

static bool check_key(const struct csv *csv, const struct cost_row *row, struct err *err)
{
    switch (row->op) {
    case OP_QKV:
    case OP_OPROJ:
    case OP_FFN_UP:
    case OP_FFN_DOWN:
    case OP_LMHEAD:
        return check_product(csv, row, err);
    case OP_ATTN:
        return check_attn(csv, row, err);
    case OP_EMBED:
    case OP_NORM:
    case OP_ROPE:
    case OP_KVAPPEND:
    case OP_ADD:
    case OP_ACT:
    case OP_FNORM:
    case OP_COUNT:
        break;
    }
    return true;
}

bool cost_read_key(const struct csv *csv, struct arena *arena, struct cost_row *row,
                   struct err *err)
{
    int op, phase, dtype, regime;

    if (!csv_choice(csv, COL_KERNEL, op_names, OP_COUNT, &op, err) ||
        !read_choice(csv, COL_PHASE, op_phase_names, OP_PHASE_COUNT, OP_ANY, &phase, err) ||
        !read_choice(csv, COL_DTYPE, cost_dtypes, COST_DTYPE_COUNT, COST_F32, &dtype, err) ||
        !read_choice(csv, COL_REGIME, cost_regimes, COST_REGIME_COUNT, COST_BURST, &regime, err) ||
        !csv_int32(csv, COL_THREADS, 1, INT32_MAX, &row->threads, err) ||
        !read_size(csv, COL_GEMM_N, &row->gemm_n, err) ||
        !read_size(csv, COL_GEMM_K, &row->gemm_k, err) ||
        !read_size(csv, COL_HEADS, &row->heads, err) ||
        !read_size(csv, COL_KV_HEADS, &row->kv_heads, err) ||
        !read_size(csv, COL_HEAD_DIM, &row->head_dim, err))
        return false;
    row->op = (enum op)op;
    row->phase = (enum op_phase)phase;
    row->impl = arena_strdup(arena, csv_text(csv, COL_IMPL));
    row->dtype = cost_dtypes[dtype];
    row->regime = cost_regimes[regime];
    return check_key(csv, row, err);
}

/* ---- kernels.csv ---- */

enum {
    COL_M_TOKENS = COL_KEY_COUNT,
    COL_KV_LEN,
    COL_STATE,
    COL_MODEL,
    COL_N,
    COL_N_DIRTY,
    COL_N_OUTLIER,
    COL_N_PROC,
    COL_MEAN_NS,
    COL_MEDIAN_NS,
    COL_MIN_NS,
    COL_P95_NS,
    COL_MAD_NS,
    COL_CI_LO_NS,
    COL_CI_HI_NS,
    COL_PROC_MIN_NS,
    COL_PROC_MAX_NS,
    COL_STOP,
    COL_FLOPS,
    COL_BYTES_WEIGHT,
    COL_BYTES_ACT,
    COL_COUNTER, /* the first of COST_COUNTER_COUNT */
    COL_CTR_REASON = COL_COUNTER + COST_COUNTER_COUNT,
    COL_BATCH,
    COL_LAYER_KIND,
    COL_ROOF_FRAC,
    COL_ENERGY_UJ,
    COL_ENERGY_REASON,
    COL_FREQ_KHZ_MIN,
    COL_TEMP_MC_MAX,
    COL_THROTTLED,
    COL_CANARY_RATIO,
    COL_ORIGIN,
    COL_LOO_ERR_PCT,
    /* what follows from other columns, or belongs to attn_mixed */
    COL_FIRST_IDLE,
    COL_GFLOPS = COL_FIRST_IDLE,
    COL_GBPS,
    COL_CHUNK_TOKENS,
    COL_CHUNK_KV,
    COL_DECODES,
    COL_DECODE_KV,
    COL_LAST_IDLE = COL_DECODE_KV,
    COL_DEVICE_ID,
    COL_COUNT
};
static const struct csv_column kernel_columns[COL_COUNT] = {
    COST_KEY_COLUMNS,
    [COL_M_TOKENS] = { "m_tokens", true },
    [COL_KV_LEN] = { "kv_len", false },
    [COL_STATE] = { "state", false },
    [COL_MODEL] = { "model", false },
    [COL_N] = { "n", false },
    [COL_N_DIRTY] = { "n_dirty", false },
    [COL_N_OUTLIER] = { "n_outlier", false },
    [COL_N_PROC] = { "n_proc", false },
    [COL_MEAN_NS] = { "mean_ns", true },
    [COL_MEDIAN_NS] = { "median_ns", false },
    [COL_MIN_NS] = { "min_ns", false },
    [COL_P95_NS] = { "p95_ns", false },
    [COL_MAD_NS] = { "mad_ns", false },
    [COL_CI_LO_NS] = { "ci_lo_ns", false },
    [COL_CI_HI_NS] = { "ci_hi_ns", false },
    [COL_PROC_MIN_NS] = { "proc_min_ns", false },
    [COL_PROC_MAX_NS] = { "proc_max_ns", false },
    [COL_STOP] = { "stop", false },
    [COL_FLOPS] = { "flops", false },
    [COL_BYTES_WEIGHT] = { "bytes_weight", false },
    [COL_BYTES_ACT] = { "bytes_act", false },
    [COL_COUNTER + COST_CYC] = { "cyc", false },
    [COL_COUNTER + COST_INS] = { "ins", false },
    [COL_COUNTER + COST_L1D_REFILL] = { "l1d_refill", false },
    [COL_COUNTER + COST_L2D_REFILL] = { "l2d_refill", false },
    [COL_COUNTER + COST_LLC_MISS] = { "llc_miss", false },
    [COL_COUNTER + COST_STALL_BE] = { "stall_be", false },
    [COL_CTR_REASON] = { "ctr_reason", false },
    [COL_BATCH] = { "batch", false },
    [COL_LAYER_KIND] = { "layer_kind", false },
    [COL_GFLOPS] = { "gflops", false },
    [COL_GBPS] = { "gbps", false },
    [COL_ROOF_FRAC] = { "roof_frac", false },
    [COL_ENERGY_UJ] = { "energy_uj", false },
    [COL_FREQ_KHZ_MIN] = { "freq_khz_min", false },
    [COL_TEMP_MC_MAX] = { "temp_mc_max", false },
    [COL_THROTTLED] = { "throttled", false },
    [COL_CANARY_RATIO] = { "canary_ratio", false },
    [COL_CHUNK_TOKENS] = { "chunk_tokens", false },
    [COL_CHUNK_KV] = { "chunk_kv", false },
    [COL_DECODES] = { "decodes", false },
    [COL_DECODE_KV] = { "decode_kv", false },
    [COL_DEVICE_ID] = { "device_id", false },
    [COL_ENERGY_REASON] = { "energy_reason", false },
    [COL_ORIGIN] = { "origin", false },
    [COL_LOO_ERR_PCT] = { "loo_err_pct", false },
};

static bool read_count(const struct csv *csv, int column, int64_t *value, struct err *err)
{
    *value = COST_UNKNOWN;
    return !csv_has(csv, column) || csv_int(csv, column, 0, INT64_MAX, value, err);
}

static bool read_ns(const struct csv *csv, int column, int64_t *time_ps, struct err *err)
{
    *time_ps = COST_UNKNOWN;
    return !csv_has(csv, column) || csv_ns(csv, column, 0, time_ps, err);
}

static bool read_measures(const struct csv *csv, struct cost_row *row, struct err *err)
{
    bool ok = csv_ns(csv, COL_MEAN_NS, 1, &row->mean_ps, err) &&
              read_count(csv, COL_N, &row->n, err) &&
              read_count(csv, COL_N_DIRTY, &row->n_dirty, err) &&
              read_count(csv, COL_N_OUTLIER, &row->n_outlier, err) &&
              read_count(csv, COL_N_PROC, &row->n_proc, err) &&
              read_ns(csv, COL_MEDIAN_NS, &row->median_ps, err) &&
              read_ns(csv, COL_MIN_NS, &row->min_ps, err) &&
              read_ns(csv, COL_P95_NS, &row->p95_ps, err) &&
              read_ns(csv, COL_MAD_NS, &row->mad_ps, err) &&
              read_ns(csv, COL_CI_LO_NS, &row->ci_lo_ps, err) &&
              read_ns(csv, COL_CI_HI_NS, &row->ci_hi_ps, err) &&
              read_ns(csv, COL_PROC_MIN_NS, &row->proc_min_ps, err) &&
              read_ns(csv, COL_PROC_MAX_NS, &row->proc_max_ps, err) &&
              read_count(csv, COL_FLOPS, &row->flops, err) &&
              read_count(csv, COL_BYTES_WEIGHT, &row->bytes_weight, err) &&
              read_count(csv, COL_BYTES_ACT, &row->bytes_act, err);
    double number;

    for (int i = 0; i < COST_COUNTER_COUNT && ok; i++)
        ok = read_count(csv, COL_COUNTER + i, &row->counters[i], err);
    for (int i = COL_FIRST_IDLE; i <= COL_LAST_IDLE && ok; i++)
        ok = !csv_has(csv, i) || csv_double(csv, i, -DBL_MAX, DBL_MAX, &number, err);
    return ok;
}

static bool read_number(const struct csv *csv, int column, double *value, struct err *err)
{
    *value = -1;
    return !csv_has(csv, column) || csv_double(csv, column, 0, DBL_MAX, value, err);
}

/* What the device did meanwhile, and how the row fits among the others. */
static bool read_surroundings(const struct csv *csv, struct arena *arena, struct cost_row *row,
                              struct err *err)
{
    int origin;

    row->throttled = -1;
    row->temp_mc_max = COST_UNKNOWN;
    if (!read_count(csv, COL_ENERGY_UJ, &row->energy_uj, err) ||
        !read_count(csv, COL_FREQ_KHZ_MIN, &row->freq_khz_min, err) ||
        (csv_has(csv, COL_TEMP_MC_MAX) &&
         !csv_int(csv, COL_TEMP_MC_MAX, -1000000, 1000000, &row->temp_mc_max, err)) ||
        (csv_has(csv, COL_THROTTLED) &&
         !csv_int32(csv, COL_THROTTLED, 0, 1, &row->throttled, err)) ||
        !read_number(csv, COL_ROOF_FRAC, &row->roof_frac, err) ||
        !read_number(csv, COL_CANARY_RATIO, &row->canary_ratio, err) ||
        !read_number(csv, COL_LOO_ERR_PCT, &row->loo_err_pct, err) ||
        !read_choice(csv, COL_ORIGIN, cost_origins, INTERP_EXTRAPOLATED + 1, INTERP_MEASURED,
                     &origin, err))
        return false;
    row->origin = (enum interp_origin)origin;
    row->energy_reason = arena_strdup(arena, csv_text(csv, COL_ENERGY_REASON));
    return true;
}

/* The keys of each sequence hold its new tokens; those of a batch share the rows. */
static bool read_batch(const struct csv *csv, struct cost_row *row, struct err *err)
{
    row->batch = 1;
    if (csv_has(csv, COL_BATCH) && !csv_int32(csv, COL_BATCH, 1, INT32_MAX, &row->batch, err))
        return false;
    if (row->op != OP_ATTN)
        return true;
    if (row->m_tokens % row->batch != 0)
        return csv_bad(csv, COL_BATCH, err, "expected a divisor of m_tokens, %d", row->m_tokens);
    return row->kv_len >= row->m_tokens / row->batch ||
           csv_bad(csv, COL_KV_LEN, err, "attn needs at least %s, %d",
                   row->batch > 1 ? "m_tokens / batch" : "m_tokens", row->m_tokens / row->batch);
}

static bool read_row(const struct csv *csv, struct arena *arena, struct cost_row *row,
                     struct err *err)
{
    int state, stop;

    if (!cost_read_key(csv, arena, row, err) ||
        !csv_int32(csv, COL_M_TOKENS, 1, INT32_MAX, &row->m_tokens, err) ||
        !read_size(csv, COL_KV_LEN, &row->kv_len, err) ||
        !read_choice(csv, COL_STATE, cost_states, COST_STATE_COUNT, COST_CHAIN, &state, err) ||
        !read_choice(csv, COL_STOP, cost_stops, COST_STOP_COUNT, COST_STOP_BUDGET, &stop, err) ||
        !read_batch(csv, row, err) || !read_measures(csv, row, err) ||
        !read_surroundings(csv, arena, row, err))
        return false;
    row->state = (enum cost_state)state;
    row->stop = (enum cost_stop)stop;
    row->model = arena_strdup(arena, csv_text(csv, COL_MODEL));
    row->ctr_reason = arena_strdup(arena, csv_text(csv, COL_CTR_REASON));
    row->layer_kind = arena_strdup(arena, csv_text(csv, COL_LAYER_KIND));
    return true;
}

static void add_row(struct cost_table *table, struct arena *arena, const struct cost_row *row,
                    long line)
{
    if (table->row_count == table->row_capacity) {
        size_t old = (size_t)table->row_capacity, new = old > 0 ? 2 * old : 64;

        table->rows = arena_grow(arena, table->rows, old, new, sizeof *table->rows);
        table->row_lines = arena_grow(arena, table->row_lines, old, new, sizeof(long));
        table->row_capacity = (int)new;
    }
    table->row_lines[table->row_count] = line;
    table->rows[table->row_count++] = *row;
}

/* ---- rows of kernels that batching engines alone have ---- */

static bool is_engine_row(const struct csv *csv)
{
    const char *kernel = csv_text(csv, COL_KERNEL);

    return strcmp(kernel, "sampler") == 0 || strcmp(kernel, "attn_mixed") == 0;
}

/* A size that has no meaning where the one that it belongs to is 0. */
static bool read_part(const struct csv *csv, int column, int32_t whole, int32_t *value,
                      struct err *err)
{
    if (!read_size(csv, column, value, err))
        return false;
    return whole > 0 || *value == 0 || csv_bad(csv, column, err, "expected 0 where there are none");
}

static bool read_mixed(const struct csv *csv, struct cost_engine_row *row, struct err *err)
{
    if (!read_size(csv, COL_HEADS, &row->heads, err) ||
        !read_part(csv, COL_KV_HEADS, row->heads, &row->kv_heads, err) ||
        !read_part(csv, COL_HEAD_DIM, row->heads, &row->head_dim, err) ||
        !csv_int32(csv, COL_CHUNK_TOKENS, 0, INT32_MAX, &row->chunk_tokens, err) ||
        !csv_int32(csv, COL_DECODES, 0, INT32_MAX, &row->decodes, err) ||
        !read_part(csv, COL_CHUNK_KV, row->chunk_tokens, &row->chunk_kv, err) ||
        !read_part(csv, COL_DECODE_KV, row->decodes, &row->decode_kv, err))
        return false;
    if (row->heads > 0 && row->kv_heads == 0)
        return csv_bad(csv, COL_KV_HEADS, err, "expected at least 1 beside heads");
    if (row->heads > 0 && row->head_dim == 0)
        return csv_bad(csv, COL_HEAD_DIM, err, "expected at least 1 beside heads");
    return row->chunk_tokens > 0 || row->decodes > 0 ||
           csv_bad_row(csv, err, "attn_mixed needs chunk_tokens or decodes above 0");
}

static bool read_engine_row(const struct csv *csv, struct arena *arena, struct cost_engine_row *row,
                            struct err *err)
{
    int dtype, regime;

    row->is_sampler = strcmp(csv_text(csv, COL_KERNEL), "sampler") == 0;
    if (!read_choice(csv, COL_DTYPE, cost_dtypes, COST_DTYPE_COUNT, COST_F32, &dtype, err) ||
        !read_choice(csv, COL_REGIME, cost_regimes, COST_REGIME_COUNT, COST_BURST, &regime, err) ||
        !csv_int32(csv, COL_THREADS, 1, INT32_MAX, &row->threads, err) ||
        !csv_ns(csv, COL_MEAN_NS, 1, &row->mean_ps, err) || !read_count(csv, COL_N, &row->n, err))
        return false;
    row->dtype = cost_dtypes[dtype];
    row->regime = cost_regimes[regime];
    row->impl = arena_strdup(arena, csv_text(csv, COL_IMPL));
    if (row->is_sampler)
        return csv_int32(csv, COL_M_TOKENS, 1, INT32_MAX, &row->m_tokens, err) &&
               read_size(csv, COL_GEMM_N, &row->gemm_n, err);
    return read_mixed(csv, row, err);
}

/* Other states than chain, and what was not measured, answer no look-up. */
static bool counts_for_look_ups(const struct csv *csv, bool *counts, struct err *err)
{
    int state, origin;

    if (!read_choice(csv, COL_STATE, cost_states, COST_STATE_COUNT, COST_CHAIN, &state, err) ||
        !read_choice(csv, COL_ORIGIN, cost_origins, INTERP_EXTRAPOLATED + 1, INTERP_MEASURED,
                     &origin, err))
        return false;
    *counts = state == COST_CHAIN && origin == INTERP_MEASURED;
    return true;
}

static bool add_engine_row(struct cost_table *table, struct arena *arena, const struct csv *csv,
                           struct err *err)
{
    struct cost_engine_row row = { 0 };
    bool counts;

    if (!read_engine_row(csv, arena, &row, err) || !counts_for_look_ups(csv, &counts, err))
        return false;
    if (!counts)
        return true;
    if (table->engine_row_count == table->engine_row_capacity) {
        size_t old = (size_t)table->engine_row_capacity, new = old > 0 ? 2 * old : 64;

        table->engine_rows = arena_grow(arena, table->engine_rows, old, new, sizeof row);
        table->engine_row_lines =
            arena_grow(arena, table->engine_row_lines, old, new, sizeof(long));
        table->engine_row_capacity = (int)new;
    }
    table->engine_row_lines[table->engine_row_count] = csv_line(csv);
    table->engine_rows[table->engine_row_count++] = row;
    return true;
}

/* ---- the table ---- */

struct csv *cost_open_kernels(struct arena *arena, const char *path, const char *text,
                              struct err *err)
{
    return text ? csv_open_text(arena, text, strlen(text), path, "kernels", kernel_columns,
                                COL_COUNT, err)
                : csv_open(arena, path, "kernels", kernel_columns, COL_COUNT, err);
}

bool cost_read_kernels(struct cost_table *table, struct arena *arena, struct csv *csv,
                       struct err *err)
{
    if (csv && csv_meta(csv, "quality"))
        table->quality = arena_strdup(arena, csv_meta(csv, "quality"));
    while (csv && csv_next(csv, err)) {
        struct cost_row row = { 0 };

        if (table->row_count == 0 && table->engine_row_count == 0)
            table->device_id = arena_strdup(arena, csv_text(csv, COL_DEVICE_ID));
        if (is_engine_row(csv)) {
            if (!add_engine_row(table, arena, csv, err))
                break;
            continue;
        }
        if (!read_row(csv, arena, &row, err))
            break;
        add_row(table, arena, &row, csv_line(csv));
    }
    if (csv && err->kind == ERR_NONE && table->row_count == 0 && table->engine_row_count == 0)
        err_at(err, csv_path(csv), 0, 0, "no measured rows");
    csv_close(csv);
    return err->kind == ERR_NONE;
}

/* ---- interp.csv ---- */

enum {
    COL_TILE_PERIOD = COL_KEY_COUNT,
    COL_RESIDUE,
    COL_ADDER_NS,
    COL_LOO_ERR_MED_PCT,
    COL_LOO_ERR_MAX_PCT,
    COL_INTERP_COUNT
};
static const struct csv_column interp_columns[COL_INTERP_COUNT] = {
    COST_KEY_COLUMNS,
    [COL_TILE_PERIOD] = { "tile_period", true },
    [COL_RESIDUE] = { "residue", true },
    [COL_ADDER_NS] = { "adder_ns", true },
    [COL_LOO_ERR_MED_PCT] = { "loo_err_med_pct", false },
    [COL_LOO_ERR_MAX_PCT] = { "loo_err_max_pct", false },
};

static struct cost_curve *find_curve(const struct cost_table *table, const struct cost_row *row)
{
    struct cost_key key = cost_key_of(row);

    for (int i = cost_first_curve(table, &key); i < table->curve_count; i++) {
        struct cost_curve *curve = &table->curves[i];

        if (cost_key_compare(&curve->key, &key) != 0)
            break;
        if (strcmp(curve->impl, row->impl) == 0 && curve->regime == cost_regime_of(row) &&
            curve->along <= 1)
            return curve; /* the first: batch 1, or whole prefills */
    }
    return NULL;
}

static bool read_ratio(const struct csv *csv, int column, double *ratio, struct err *err)
{
    *ratio = -1;
    if (!csv_has(csv, column))
        return true;
    if (!csv_double(csv, column, 0, DBL_MAX, ratio, err))
        return false;
    *ratio /= 100;
    return true;
}

static bool read_residue(const struct csv *csv, struct cost_curve *curve, struct err *err)
{
    struct interp_tiles *tiles = &curve->tiles;
    int32_t period, residue;
    int64_t adder_ps;

    if (!csv_int32(csv, COL_TILE_PERIOD, 1, INTERP_MAX_PERIOD, &period, err) ||
        !csv_int32(csv, COL_RESIDUE, 0, period - 1, &residue, err) ||
        !csv_ns(csv, COL_ADDER_NS, residue == 0 ? 0 : -UNITS_MAX_PS, &adder_ps, err) ||
        !read_ratio(csv, COL_LOO_ERR_MED_PCT, &tiles->loo_median_ratio, err) ||
        !read_ratio(csv, COL_LOO_ERR_MAX_PCT, &tiles->loo_max_ratio, err))
        return false;
    if (residue == 0 && adder_ps != 0)
        return csv_bad(csv, COL_ADDER_NS, err, "expected 0 for residue 0");
    if (curve->has_tiles && tiles->period != period)
        return csv_bad(csv, COL_TILE_PERIOD, err, "line %ld says %d for the same key",
                       curve->tiles_line, tiles->period);
    if (curve->residues & (1u << residue))
        return csv_bad(csv, COL_RESIDUE, err, "there twice for one key");
    tiles->period = period;
    tiles->adder_ps[residue] = adder_ps;
    curve->has_tiles = true;
    curve->residues |= 1u << residue;
    curve->tiles_line = csv_line(csv);
    return true;
}

struct csv *cost_open_interp(struct arena *arena, const char *path, const char *text,
                             struct err *err)
{
    return text ? csv_open_text(arena, text, strlen(text), path, "interp", interp_columns,
                                COL_INTERP_COUNT, err)
                : csv_open(arena, path, "interp", interp_columns, COL_INTERP_COUNT, err);
}

bool cost_read_interp(struct cost_table *table, struct arena *arena, struct csv *csv,
                      struct err *err)
{
    while (csv && csv_next(csv, err)) {
        struct cost_row row = { 0 };
        struct cost_curve *curve;

        if (!cost_read_key(csv, arena, &row, err))
            break;
        curve = find_curve(table, &row);
        if (!curve) {
            csv_bad_row(csv, err, "kernels.csv has no rows of this key in state chain");
            break;
        }
        if (!read_residue(csv, curve, err))
            break;
    }
    for (int i = 0; csv && i < table->curve_count && err->kind == ERR_NONE; i++) {
        const struct cost_curve *curve = &table->curves[i];
        uint32_t all = (1u << curve->tiles.period) - 1;

        if (curve->has_tiles && (curve->residues | 1u) != all)
            err_at(err, csv_path(csv), curve->tiles_line, 0,
                   "a residue of this key is missing: expected 1 to %d", curve->tiles.period - 1);
    }
    csv_close(csv);
    return err->kind == ERR_NONE;
}
