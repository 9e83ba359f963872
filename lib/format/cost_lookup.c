/* cost_lookup.c - rows into curves by key, and the cost of an operator from them. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cost_table.h"
#include "lib/format/model.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- keys ---- */

static bool uses_heads(enum op op)
{
    return op == OP_ROPE || op == OP_KVAPPEND || op == OP_ATTN;
}

/* Elementwise operators and attention work on f32 activations, whatever the weights are. */
static bool has_weights(enum op op)
{
    return op == OP_QKV || op == OP_OPROJ || op == OP_FFN_UP || op == OP_FFN_DOWN ||
           op == OP_LMHEAD || op == OP_EMBED;
}

static enum cost_dtype dtype_of(const struct cost_row *row)
{
    int dtype = 0;

    while (strcmp(cost_dtypes[dtype], row->dtype) != 0)
        dtype++;
    return (enum cost_dtype)dtype;
}

enum cost_regime cost_regime_of(const struct cost_row *row)
{
    return strcmp(row->regime, cost_regimes[COST_BURST]) == 0 ? COST_BURST : COST_SUSTAINED;
}

struct cost_key cost_key_of(const struct cost_row *row)
{
    bool is_heads = uses_heads(row->op);

    return (struct cost_key){ {
        [COST_OP] = (int32_t)row->op,
        [COST_PHASE] = row->op == OP_ATTN ? (int32_t)row->phase : OP_ANY,
        [COST_THREADS] = row->threads,
        [COST_DTYPE] = (int32_t)dtype_of(row),
        [COST_GEMM_N] = is_heads ? 0 : row->gemm_n,
        [COST_GEMM_K] = is_heads ? 0 : row->gemm_k,
        [COST_HEADS] = is_heads ? row->heads : 0,
        [COST_KV_HEADS] = is_heads ? row->kv_heads : 0,
        [COST_HEAD_DIM] = is_heads ? row->head_dim : 0,
    } };
}

int cost_key_compare(const struct cost_key *a, const struct cost_key *b)
{
    for (int i = 0; i < COST_FIELD_COUNT; i++) {
        if (a->field[i] != b->field[i])
            return a->field[i] < b->field[i] ? -1 : 1;
    }
    return 0;
}

int cost_first_curve(const struct cost_table *table, const struct cost_key *key)
{
    int low = 0, high = table->curve_count;

    while (low < high) {
        int middle = low + (high - low) / 2;

        if (cost_key_compare(&table->curves[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* ---- building ---- */

struct entry { /* a row with all that orders it */
    struct cost_key key;
    const struct cost_row *row;
    enum cost_regime regime;
    int32_t x; /* along the curve */
    int32_t
        other; /* what else tells rows of one curve apart: keys of a prefill, rows of a decode */
    long line;
};

static int compare_numbers(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_curves(const struct entry *a, const struct entry *b)
{
    int order = cost_key_compare(&a->key, &b->key);

    if (order == 0)
        order = strcmp(a->row->impl, b->row->impl);
    if (order == 0)
        order = compare_numbers(a->regime, b->regime);
    return order != 0 ? order : compare_numbers(a->row->state, b->row->state);
}

static int compare_points(const struct entry *a, const struct entry *b)
{
    int order = compare_curves(a, b);

    if (order == 0)
        order = compare_numbers(a->x, b->x);
    return order != 0 ? order : compare_numbers(a->other, b->other);
}

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    int order = compare_points(a, b);

    return order != 0 ? order : compare_numbers(a->line, b->line);
}

static struct entry entry_of(const struct cost_row *row, long line)
{
    struct entry entry = {
        .key = cost_key_of(row), .row = row, .regime = cost_regime_of(row), .line = line
    };

    entry.x = row->m_tokens;
    if (row->op == OP_ATTN && row->phase == OP_DECODE) {
        entry.x = row->kv_len;
        entry.other = row->m_tokens;
    } else if (row->op == OP_ATTN) {
        entry.other = row->kv_len;
    }
    return entry;
}

/* Points beside the axis are kept as rows and stay out of the curve: attention of several sequences
 * at once, or of a chunk on top of earlier tokens. */
static bool is_on_axis(const struct entry *entry)
{
    const struct cost_row *row = entry->row;

    if (row->state != COST_CHAIN)
        return false;
    if (row->op != OP_ATTN)
        return true;
    return row->phase == OP_DECODE ? row->m_tokens == 1 : row->kv_len == row->m_tokens;
}

static void add_curve(struct cost_table *table, struct arena *arena, const struct entry *entries,
                      int count)
{
    const struct cost_row *row = entries->row;
    struct cost_curve *curve = &table->curves[table->curve_count];

    curve->key = entries->key;
    curve->impl = row->impl;
    curve->regime = entries->regime;
    curve->form = row->op == OP_ATTN && row->phase == OP_PREFILL ? INTERP_LOGLOG : INTERP_LINEAR;
    curve->x = arena_array(arena, (size_t)count, sizeof *curve->x);
    curve->y_ps = arena_array(arena, (size_t)count, sizeof *curve->y_ps);
    for (int i = 0; i < count; i++) {
        if (!is_on_axis(&entries[i]))
            continue;
        curve->x[curve->count] = entries[i].x;
        curve->y_ps[curve->count++] = entries[i].row->mean_ps;
    }
    table->curve_count += curve->count > 0;
}

bool cost_build_curves(struct cost_table *table, struct arena *arena, const char *path,
                       struct err *err)
{
    size_t count = (size_t)table->row_count;
    struct entry *entries = arena_array(arena, count, sizeof *entries);

    for (int i = 0; i < table->row_count; i++)
        entries[i] = entry_of(&table->rows[i], table->row_lines[i]);
    qsort(entries, count, sizeof *entries, compare_entries);
    for (int i = 1; i < table->row_count; i++) {
        if (compare_points(&entries[i - 1], &entries[i]) == 0)
            return err_at(err, path, entries[i].line, 0, "same key as line %ld",
                          entries[i - 1].line);
    }
    table->curves = arena_array(arena, count, sizeof *table->curves);
    for (int first = 0, next; first < table->row_count; first = next) {
        for (next = first + 1; next < table->row_count; next++) {
            if (compare_curves(&entries[first], &entries[next]) != 0)
                break;
        }
        add_curve(table, arena, &entries[first], next - first);
    }
    table->only_threads = table->rows[0].threads;
    for (int i = 1; i < table->row_count; i++) {
        if (table->rows[i].threads != table->only_threads)
            table->only_threads = 0;
    }
    return true;
}

/* ---- looking up ---- */

static struct cost_key key_of_op(const struct model_op *op, int threads, int weight_bits)
{
    struct cost_row row = {
        .op = op->op,
        .phase = op->phase,
        .dtype = cost_dtypes[weight_bits == 8    ? COST_Q8_0
                             : weight_bits == 16 ? COST_BF16
                                                 : COST_F32],
        .threads = threads,
        .gemm_n = op->gemm_n,
        .gemm_k = op->gemm_k,
        .heads = op->heads,
        .kv_heads = op->kv_heads,
        .head_dim = op->head_dim,
    };

    return cost_key_of(&row);
}

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

/* The best of the curves that have the key. False when there is none. */
static bool predict(const struct cost_table *table, const struct cost_key *key, int32_t at,
                    struct candidate *best)
{
    bool has_best = false;

    for (int i = cost_first_curve(table, key); i < table->curve_count; i++) {
        const struct cost_curve *curve = &table->curves[i];
        int32_t low = curve->x[0], high = curve->x[curve->count - 1];
        struct candidate this = { 0 };

        if (cost_key_compare(&curve->key, key) != 0)
            break;
        this.distance = at < low ? (int64_t)low - at : at > high ? (int64_t)at - high : 0;
        this.regime = curve->regime;
        this.time_ps = interp_predict(curve->x, curve->y_ps, curve->count, curve->form,
                                      curve->has_tiles ? &curve->tiles : NULL, at, &this.origin);
        if (!has_best || is_better(&this, best))
            *best = this;
        has_best = true;
    }
    return has_best;
}

/* The one field that most often differs is worth a hint. */
static bool no_rows(const struct cost_table *table, const struct cost_key *key, struct err *err)
{
    const int32_t *f = key->field;
    char shape[160], hint[48] = "";

    if (uses_heads((enum op)f[COST_OP]))
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

/* A chunk on top of past tokens: what the whole costs more than its beginning, and never less than
 * the chunk alone. An estimate, and called one. */
static void predict_chunk(const struct cost_table *table, const struct cost_key *key,
                          const struct model_op *op, struct candidate *whole)
{
    struct candidate past = { 0 }, alone = { 0 };

    (void)predict(table, key, op->kv_len - op->m_tokens, &past);
    (void)predict(table, key, op->m_tokens, &alone);
    whole->time_ps -= past.time_ps;
    if (whole->time_ps < alone.time_ps)
        whole->time_ps = alone.time_ps;
    whole->origin = INTERP_EXTRAPOLATED;
}

bool cost_lookup(const struct cost_table *table, const struct model_op *op, int threads,
                 int weight_bits, int64_t *time_ps, enum interp_origin *origin, struct err *err)
{
    struct cost_key key = key_of_op(op, threads, weight_bits);
    bool is_attn = op->op == OP_ATTN;
    int32_t at = is_attn ? op->kv_len : op->m_tokens;
    struct candidate best = { 0 };

    if (!predict(table, &key, at, &best)) {
        if (has_weights(op->op) || weight_bits == 32)
            return no_rows(table, &key, err);
        key.field[COST_DTYPE] = COST_F32;
        if (!predict(table, &key, at, &best))
            return no_rows(table, &key, err);
    }
    if (is_attn && op->phase == OP_PREFILL && op->kv_len > op->m_tokens)
        predict_chunk(table, &key, op, &best);
    *time_ps = best.time_ps;
    *origin = best.origin;
    return true;
}
