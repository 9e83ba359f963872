/* cost_anchors.c - anchors.csv (whole forwards against sums of operators), the kappa that follows
 * from them, and roofline.csv. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/format/cost_table.h"
#include <float.h>
#include <string.h>

static bool read_size(const struct csv *csv, int column, int32_t *value, struct err *err)
{
    *value = 0;
    return !csv_has(csv, column) || csv_int32(csv, column, 0, INT32_MAX, value, err);
}

/* ---- anchors.csv ---- */

enum {
    COL_A_MODEL,
    COL_A_PHASE,
    COL_A_S,
    COL_A_KV_LEN,
    COL_A_BATCH,
    COL_A_THREADS,
    COL_A_DTYPE,
    COL_A_LAYERS,
    COL_A_N,
    COL_A_FORWARD_MEAN_NS,
    COL_A_CI,
    COL_A_SUM_CHAIN_NS,
    COL_A_KAPPA,
    COL_A_KAPPA_LO,
    COL_A_KAPPA_HI,
    COL_A_ERR_PCT,
    COL_A_COUNT
};
static const struct csv_column anchor_columns[COL_A_COUNT] = {
    [COL_A_MODEL] = { "model", true },
    [COL_A_PHASE] = { "phase", true },
    [COL_A_S] = { "s", true },
    [COL_A_KV_LEN] = { "kv_len", false },
    [COL_A_BATCH] = { "batch", false },
    [COL_A_THREADS] = { "threads", false },
    [COL_A_DTYPE] = { "dtype", false },
    [COL_A_LAYERS] = { "layers", false },
    [COL_A_N] = { "n", false },
    [COL_A_FORWARD_MEAN_NS] = { "forward_mean_ns", true },
    [COL_A_CI] = { "ci", false },
    [COL_A_SUM_CHAIN_NS] = { "sum_chain_ns", true },
    [COL_A_KAPPA] = { "kappa", false },
    [COL_A_KAPPA_LO] = { "kappa_lo", false },
    [COL_A_KAPPA_HI] = { "kappa_hi", false },
    [COL_A_ERR_PCT] = { "err_pct", false },
};

static bool read_shape(const struct csv *csv, struct arena *arena, struct cost_anchor *anchor,
                       struct err *err)
{
    static const char *const phases[] = { "prefill", "decode" };
    int phase, dtype = COST_F32;

    if (!csv_name(csv, COL_A_MODEL, arena, &anchor->model, err) ||
        !csv_choice(csv, COL_A_PHASE, phases, 2, &phase, err) ||
        !csv_int32(csv, COL_A_S, 1, INT32_MAX, &anchor->tokens, err) ||
        !read_size(csv, COL_A_KV_LEN, &anchor->kv_len, err) ||
        !read_size(csv, COL_A_BATCH, &anchor->batch, err) ||
        !read_size(csv, COL_A_THREADS, &anchor->threads, err) ||
        !read_size(csv, COL_A_LAYERS, &anchor->layers, err))
        return false;
    if (csv_has(csv, COL_A_DTYPE) &&
        !csv_choice(csv, COL_A_DTYPE, cost_dtypes, COST_DTYPE_COUNT, &dtype, err))
        return false;
    anchor->phase = phase == 0 ? OP_PREFILL : OP_DECODE;
    anchor->dtype = cost_dtypes[dtype];
    return true;
}

static bool read_kappa(const struct csv *csv, int column, double *kappa, struct err *err)
{
    return !csv_has(csv, column) || csv_double(csv, column, DBL_MIN, DBL_MAX, kappa, err);
}

static bool read_anchor(const struct csv *csv, struct arena *arena, struct cost_anchor *anchor,
                        struct err *err)
{
    double number;

    anchor->n = anchor->ci_ps = COST_UNKNOWN;
    if (!read_shape(csv, arena, anchor, err) ||
        (csv_has(csv, COL_A_N) && !csv_int(csv, COL_A_N, 0, INT64_MAX, &anchor->n, err)) ||
        !csv_ns(csv, COL_A_FORWARD_MEAN_NS, 1, &anchor->forward_mean_ps, err) ||
        (csv_has(csv, COL_A_CI) && !csv_ns(csv, COL_A_CI, 0, &anchor->ci_ps, err)) ||
        !csv_ns(csv, COL_A_SUM_CHAIN_NS, 1, &anchor->sum_chain_ps, err))
        return false;
    anchor->kappa = (double)anchor->forward_mean_ps / (double)anchor->sum_chain_ps;
    return read_kappa(csv, COL_A_KAPPA, &anchor->kappa, err) &&
           read_kappa(csv, COL_A_KAPPA_LO, &anchor->kappa_lo, err) &&
           read_kappa(csv, COL_A_KAPPA_HI, &anchor->kappa_hi, err) &&
           (!csv_has(csv, COL_A_ERR_PCT) ||
            csv_double(csv, COL_A_ERR_PCT, -DBL_MAX, DBL_MAX, &number, err));
}

bool cost_read_anchors(struct cost_table *table, struct arena *arena, const char *path,
                       struct err *err)
{
    struct csv *csv = csv_open(arena, path, "anchors", anchor_columns, COL_A_COUNT, err);

    while (csv && csv_next(csv, err)) {
        struct cost_anchor anchor = { 0 };

        if (!read_anchor(csv, arena, &anchor, err))
            break;
        if (table->anchor_count == table->anchor_capacity) {
            int capacity = table->anchor_capacity > 0 ? 2 * table->anchor_capacity : 16;

            table->anchors = arena_grow(arena, table->anchors, (size_t)table->anchor_capacity,
                                        (size_t)capacity, sizeof *table->anchors);
            table->anchor_capacity = capacity;
        }
        table->anchors[table->anchor_count++] = anchor;
    }
    csv_close(csv);
    return err->kind == ERR_NONE;
}

int cost_anchor_count(const struct cost_table *table)
{
    return table->anchor_count;
}

const struct cost_anchor *cost_anchor_at(const struct cost_table *table, int index)
{
    return &table->anchors[index];
}

/* ---- kappa ---- */

/* What the time of a step grows with: tokens of a prefill, keys of a decode. */
static double size_of(enum op_phase phase, int32_t tokens, int32_t kv_len, int32_t batch)
{
    double size = phase == OP_DECODE ? (double)kv_len * (batch > 1 ? batch : 1) : tokens;

    return size > 1 ? size : 1;
}

bool cost_kappa(const struct cost_table *table, const char *model, enum op_phase phase,
                int32_t tokens, int32_t kv_len, int32_t batch, int threads, int weight_bits,
                double *kappa)
{
    double size = size_of(phase, tokens, kv_len, batch), nearest = DBL_MAX;
    const char *dtype = cost_dtype_of_bits(weight_bits);

    *kappa = 1;
    for (int i = 0; i < table->anchor_count; i++) {
        const struct cost_anchor *anchor = &table->anchors[i];
        double other = size_of(phase, anchor->tokens, anchor->kv_len, anchor->batch);
        double ratio = other > size ? other / size : size / other;

        if (anchor->phase != phase || strcmp(anchor->model, model) != 0 ||
            strcmp(anchor->dtype, dtype) != 0 ||
            (anchor->threads > 0 && anchor->threads != threads) || !(ratio < nearest))
            continue;
        nearest = ratio;
        *kappa = anchor->kappa;
    }
    return nearest < DBL_MAX;
}

/* ---- roofline.csv ---- */

enum { COL_R_THREADS, COL_R_METRIC, COL_R_WS_BYTES, COL_R_VALUE, COL_R_UNIT, COL_R_COUNT };
static const struct csv_column roofline_columns[COL_R_COUNT] = {
    [COL_R_THREADS] = { "threads", true },    [COL_R_METRIC] = { "metric", true },
    [COL_R_WS_BYTES] = { "ws_bytes", false }, [COL_R_VALUE] = { "value", true },
    [COL_R_UNIT] = { "unit", true },
};

bool cost_read_roofline(struct cost_table *table, struct arena *arena, const char *path,
                        struct err *err)
{
    struct csv *csv = csv_open(arena, path, "roofline", roofline_columns, COL_R_COUNT, err);
    int capacity = 0;

    while (csv && csv_next(csv, err)) {
        struct cost_roofline row = { .ws_bytes = COST_UNKNOWN };
        double least;

        if (!csv_int32(csv, COL_R_THREADS, 1, INT32_MAX, &row.threads, err) ||
            !csv_name(csv, COL_R_METRIC, arena, &row.metric, err) ||
            (csv_has(csv, COL_R_WS_BYTES) &&
             !csv_int(csv, COL_R_WS_BYTES, 0, INT64_MAX, &row.ws_bytes, err)))
            break;
        /* a difference of two times: below 0 where a disturbance slowed the steady calls */
        least = strcmp(row.metric, "idle_resume_ns") == 0 ? -DBL_MAX : 0;
        if (!csv_double(csv, COL_R_VALUE, least, DBL_MAX, &row.value, err) ||
            !csv_name(csv, COL_R_UNIT, arena, &row.unit, err))
            break;
        if (table->roofline_count == capacity) {
            int larger = capacity > 0 ? 2 * capacity : 32;

            table->roofline = arena_grow(arena, table->roofline, (size_t)capacity, (size_t)larger,
                                         sizeof *table->roofline);
            capacity = larger;
        }
        table->roofline[table->roofline_count++] = row;
    }
    csv_close(csv);
    return err->kind == ERR_NONE;
}

int cost_roofline_count(const struct cost_table *table)
{
    return table->roofline_count;
}

const struct cost_roofline *cost_roofline_at(const struct cost_table *table, int index)
{
    return &table->roofline[index];
}
