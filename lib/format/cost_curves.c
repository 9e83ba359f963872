/* cost_curves.c - rows into curves by key (cost_table.h); what is there twice is found here. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cost_table.h"
#include <stdlib.h>
#include <string.h>

/* ---- keys ---- */

bool cost_uses_heads(enum op op)
{
    return op == OP_ROPE || op == OP_KVAPPEND || op == OP_ATTN;
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
    bool is_heads = cost_uses_heads(row->op);

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
    int32_t along;       /* which curve of the key: batch of a decode, chunk of a prefill */
    int32_t x;           /* along the curve */
    int32_t rows, batch; /* of attention: what else tells rows apart */
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
    if (order == 0)
        order = compare_numbers(a->row->state, b->row->state);
    return order != 0 ? order : compare_numbers(a->along, b->along);
}

static int compare_points(const struct entry *a, const struct entry *b)
{
    int order = compare_curves(a, b);

    if (order == 0)
        order = compare_numbers(a->x, b->x);
    if (order == 0)
        order = compare_numbers(a->rows, b->rows);
    return order != 0 ? order : compare_numbers(a->batch, b->batch);
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
    if (row->op != OP_ATTN)
        return entry;
    if (row->phase == OP_DECODE) {
        entry.along = row->batch;
        entry.x = row->kv_len;
        entry.rows = row->m_tokens;
        return entry;
    }
    entry.batch = row->batch;
    entry.rows = row->kv_len;
    if (row->kv_len > row->m_tokens) {
        entry.along = row->m_tokens;
        entry.x = row->kv_len - row->m_tokens;
    }
    return entry;
}

/* Points beside the curves are kept as rows: a prefill of several sequences, a decode of several
 * tokens a sequence, and what was not measured. */
static bool is_on_curve(const struct entry *entry)
{
    const struct cost_row *row = entry->row;

    if (row->state != COST_CHAIN || row->origin != INTERP_MEASURED)
        return false;
    if (row->op != OP_ATTN)
        return true;
    return row->phase == OP_DECODE ? row->m_tokens == row->batch
                                   : row->batch == 1 && row->kv_len >= row->m_tokens;
}

/* A chunk without a past is a whole prefill: the start of its curve, unless it was never measured
 * near that size. */
static void add_start(const struct cost_table *table, struct cost_curve *curve)
{
    const struct cost_curve *whole = table->curve_count > 0 ? curve - 1 : curve;
    enum interp_origin origin;
    int64_t start_ps;

    while (whole > table->curves && whole->along > 0)
        whole--;
    if (whole == curve || whole->along > 0 || cost_key_compare(&whole->key, &curve->key) != 0 ||
        strcmp(whole->impl, curve->impl) != 0 || whole->regime != curve->regime)
        return;
    start_ps = interp_predict(whole->x, whole->y_ps, whole->count, whole->form, NULL, curve->along,
                              &origin);
    if (origin != INTERP_EXTRAPOLATED) {
        curve->x[curve->count] = 0;
        curve->y_ps[curve->count++] = start_ps;
    }
}

static void add_curve(struct cost_table *table, struct arena *arena, const struct entry *entries,
                      int count)
{
    const struct cost_row *row = entries->row;
    struct cost_curve *curve = &table->curves[table->curve_count];
    bool is_prefill = row->op == OP_ATTN && row->phase == OP_PREFILL;
    int measured = 0;

    *curve = (struct cost_curve){ .key = entries->key };
    curve->impl = row->impl;
    curve->regime = entries->regime;
    curve->form = is_prefill && entries->along == 0 ? INTERP_LOGLOG : INTERP_LINEAR;
    curve->along = entries->along;
    curve->row = row;
    curve->x = arena_array(arena, (size_t)count + 1, sizeof *curve->x);
    curve->y_ps = arena_array(arena, (size_t)count + 1, sizeof *curve->y_ps);
    if (is_prefill && curve->along > 0)
        add_start(table, curve);
    for (int i = 0; i < count; i++) {
        if (!is_on_curve(&entries[i]))
            continue;
        curve->x[curve->count] = entries[i].x;
        curve->y_ps[curve->count++] = entries[i].row->mean_ps;
        measured++;
    }
    table->curve_count += measured > 0;
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
    table->only_threads = table->row_count > 0 ? table->rows[0].threads : 0;
    for (int i = 1; i < table->row_count; i++) {
        if (table->rows[i].threads != table->only_threads)
            table->only_threads = 0;
    }
    return true;
}
