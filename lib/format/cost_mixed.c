/* cost_mixed.c - kernels of engines that batch at every iteration: attn_mixed and sampler (cost.h).
 *
 * Samples stand in a tree: those of one axis, and under each of them those of the next one. A
 * look-up goes down to the two samples around what is asked for and lays a line between their
 * costs. On a full grid that is multilinear; where samples are missing each part of the grid goes
 * by what it has. Arithmetic is in doubles of whole picoseconds, rounded once: exact at samples,
 * and the same bits on every machine. */
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cost_table.h"
#include "lib/format/model.h"
#include <stdlib.h>
#include <string.h>

enum axis { AXIS_CHUNK, AXIS_DECODES, AXIS_CHUNK_KV, AXIS_LAST };

/* ---- building ---- */

struct entry { /* a row while grids are built */
    struct cost_grid grid;
    int32_t at[COST_MIXED_AXES];
    int64_t mean_ps;
    long line;
};

static struct cost_key key_of(const struct cost_engine_row *row)
{
    struct cost_row plain = { .op = row->is_sampler ? OP_LMHEAD : OP_ATTN,
                              .threads = row->threads,
                              .dtype = row->dtype,
                              .gemm_n = row->gemm_n,
                              .heads = row->heads,
                              .kv_heads = row->kv_heads,
                              .head_dim = row->head_dim };
    struct cost_key key = cost_key_of(&plain);

    key.field[COST_OP] = 0;
    return key;
}

static struct entry entry_of(const struct cost_engine_row *row, long line)
{
    struct entry entry = { .mean_ps = row->mean_ps, .line = line };

    entry.grid.key = key_of(row);
    entry.grid.impl = row->impl;
    entry.grid.regime =
        strcmp(row->regime, cost_regimes[COST_BURST]) == 0 ? COST_BURST : COST_SUSTAINED;
    entry.grid.is_sampler = row->is_sampler;
    entry.at[AXIS_CHUNK] = row->chunk_tokens;
    entry.at[AXIS_DECODES] = row->decodes;
    entry.at[AXIS_CHUNK_KV] = row->chunk_kv;
    entry.at[AXIS_LAST] = row->is_sampler ? row->m_tokens : row->decode_kv;
    return entry;
}

static int compare_numbers(int64_t a, int64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_grids(const struct cost_grid *a, const struct cost_grid *b)
{
    int order = compare_numbers(a->is_sampler, b->is_sampler);

    if (order == 0)
        order = cost_key_compare(&a->key, &b->key);
    if (order == 0)
        order = compare_numbers(a->regime, b->regime);
    return order != 0 ? order : strcmp(a->impl, b->impl);
}

/* Number of the first axis on which two rows of one grid differ; COST_MIXED_AXES = on none. */
static int first_difference(const struct entry *a, const struct entry *b)
{
    int axis = 0;

    while (axis < COST_MIXED_AXES && a->at[axis] == b->at[axis])
        axis++;
    return axis;
}

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    int order = compare_grids(&a->grid, &b->grid), axis;

    if (order != 0)
        return order;
    axis = first_difference(a, b);
    return axis < COST_MIXED_AXES ? compare_numbers(a->at[axis], b->at[axis])
                                  : compare_numbers(a->line, b->line);
}

/* Appends the samples of one row from an axis on; those before it are shared with the last row. */
static void add_samples(struct cost_table *table, const struct entry *entry, int axis,
                        int counts[COST_MIXED_AXES])
{
    if (axis > 0)
        table->samples[axis - 1][counts[axis - 1] - 1].count++;
    for (; axis < COST_MIXED_AXES; axis++) {
        struct cost_sample *sample = &table->samples[axis][counts[axis]++];

        sample->x = entry->at[axis];
        if (axis == AXIS_LAST) {
            sample->y_ps = entry->mean_ps;
        } else {
            sample->first = counts[axis + 1];
            sample->count = 1;
        }
    }
}

bool cost_build_grids(struct cost_table *table, struct arena *arena, const char *path,
                      struct err *err)
{
    size_t count = (size_t)table->engine_row_count;
    struct entry *entries = arena_array(arena, count, sizeof *entries);
    int counts[COST_MIXED_AXES] = { 0 };
    struct cost_grid *grid = NULL;
    bool is_sorted = true; /* as importers write them */

    for (size_t i = 0; i < count; i++) {
        entries[i] = entry_of(&table->engine_rows[i], table->engine_row_lines[i]);
        is_sorted = is_sorted && (i == 0 || compare_entries(&entries[i - 1], &entries[i]) < 0);
    }
    if (!is_sorted)
        qsort(entries, count, sizeof *entries, compare_entries);
    table->grids = arena_array(arena, count, sizeof *table->grids);
    for (int axis = 0; axis < COST_MIXED_AXES; axis++)
        table->samples[axis] = arena_array(arena, count, sizeof **table->samples);
    for (size_t i = 0; i < count; i++) {
        const struct entry *entry = &entries[i];
        int axis = 0;

        if (i == 0 || compare_grids(&entry[-1].grid, &entry->grid) != 0) {
            grid = &table->grids[table->grid_count++];
            *grid = entry->grid;
            grid->first = counts[AXIS_CHUNK];
        } else {
            axis = first_difference(entry - 1, entry);
            if (axis == COST_MIXED_AXES)
                return err_at(err, path, entry->line, 0, "same key as line %ld", entry[-1].line);
        }
        add_samples(table, entry, axis, counts);
        grid->count = counts[AXIS_CHUNK] - grid->first;
        grid->has_both =
            grid->has_both || (entry->at[AXIS_CHUNK] > 0 && entry->at[AXIS_DECODES] > 0);
    }
    return true;
}

/* ---- one grid ---- */

struct asked {
    const struct cost_table *table;
    int64_t at[COST_MIXED_AXES];
    bool is_outside; /* of the measured range, on some axis that counts */
};

static double tell(struct asked *asked, int axis, int first, int count);

static double tell_sample(struct asked *asked, int axis, int index)
{
    const struct cost_sample *sample = &asked->table->samples[axis][index];

    return axis == AXIS_LAST ? (double)sample->y_ps
                             : tell(asked, axis + 1, sample->first, sample->count);
}

/* First of the two samples whose line tells `at`: those around it, else the outermost. count >= 2
 */
static int find_lower(const struct cost_sample *samples, int count, int64_t at)
{
    int low = 0, high = count - 2;

    while (low < high) {
        int middle = low + (high - low + 1) / 2;

        if (samples[middle].x <= at)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static double tell(struct asked *asked, int axis, int first, int count)
{
    const struct cost_sample *samples = &asked->table->samples[axis][first];
    int64_t at = asked->at[axis];
    double below, above, share;
    int low;

    /* A part without decodes says nothing of steps with some, where there is another. */
    if (axis == AXIS_DECODES && at > 0 && samples->x == 0 && count > 1) {
        samples++;
        first++;
        count--;
    }
    if (count == 1) {
        asked->is_outside = asked->is_outside || at != samples->x;
        return tell_sample(asked, axis, first);
    }
    low = find_lower(samples, count, at);
    if (at == samples[low].x)
        return tell_sample(asked, axis, first + low);
    if (at == samples[low + 1].x)
        return tell_sample(asked, axis, first + low + 1);
    asked->is_outside = asked->is_outside || at < samples[0].x || at > samples[count - 1].x;
    below = tell_sample(asked, axis, first + low);
    above = tell_sample(asked, axis, first + low + 1);
    share = (double)(at - samples[low].x) / (double)(samples[low + 1].x - samples[low].x);
    return below + (above - below) * share;
}

/* Tokens in the cache of chunks say nothing where there is no chunk. */
static double tell_slab(struct asked *asked, int index)
{
    int64_t chunk_kv = asked->at[AXIS_CHUNK_KV];
    double time_ps;

    if (asked->table->samples[AXIS_CHUNK][index].x == 0)
        asked->at[AXIS_CHUNK_KV] = 0;
    time_ps = tell_sample(asked, AXIS_CHUNK, index);
    asked->at[AXIS_CHUNK_KV] = chunk_kv;
    return time_ps;
}

/* Has the slab (the samples of one chunk_tokens) a say in such a step? */
static bool counts_here(const struct asked *asked, const struct cost_grid *grid,
                        const struct cost_sample *slab)
{
    const struct cost_sample *decodes = &asked->table->samples[AXIS_DECODES][slab->first];

    if (asked->at[AXIS_DECODES] == 0)
        return slab->x > 0;
    return asked->at[AXIS_CHUNK] == 0 || slab->x == 0 || !grid->has_both ||
           decodes[slab->count - 1].x > 0;
}

/* The two slabs around the step, or the outermost two; -1 for one that there is not. */
static void find_slabs(const struct asked *asked, const struct cost_grid *grid, int *low, int *high)
{
    int64_t at = asked->at[AXIS_CHUNK];

    *low = *high = -1;
    for (int i = grid->first; i < grid->first + grid->count; i++) {
        const struct cost_sample *slab = &asked->table->samples[AXIS_CHUNK][i];

        if (!counts_here(asked, grid, slab))
            continue;
        if (*high >= 0 && asked->table->samples[AXIS_CHUNK][*high].x >= at)
            break;
        *low = *high;
        *high = i;
    }
    if (*low >= 0 || *high < 0)
        return;
    for (int i = *high + 1; i < grid->first + grid->count && *low < 0; i++) {
        if (!counts_here(asked, grid, &asked->table->samples[AXIS_CHUNK][i]))
            continue;
        *low = *high;
        *high = i;
    }
}

static double tell_grid(struct asked *asked, const struct cost_grid *grid)
{
    const struct cost_sample *slabs = asked->table->samples[AXIS_CHUNK];
    int64_t at = asked->at[AXIS_CHUNK];
    double below, above;
    int low, high;

    find_slabs(asked, grid, &low, &high);
    if (high < 0) /* no slab counts: what there is tells it, whatever it is of */
        low = high = grid->first;
    if (slabs[high].x == at || low < 0)
        low = high;
    if (slabs[low].x == at)
        high = low;
    if (low == high) {
        asked->is_outside = asked->is_outside || slabs[low].x != at;
        return tell_slab(asked, low);
    }
    asked->is_outside = asked->is_outside || at < slabs[low].x || at > slabs[high].x;
    below = tell_slab(asked, low);
    above = tell_slab(asked, high);
    return below +
           (above - below) * (double)(at - slabs[low].x) / (double)(slabs[high].x - slabs[low].x);
}

struct answer {
    double time_ps;
    bool is_outside;
};

static struct answer answer_of(const struct cost_table *table, const struct cost_grid *grid,
                               const struct cost_mixed *mixed)
{
    bool has_chunks = mixed->chunk_tokens > 0, has_decodes = mixed->decodes > 0;
    struct asked asked = { .table = table };
    struct answer answer;

    if (has_chunks && has_decodes && !grid->has_both) {
        struct cost_mixed chunks = *mixed, decodes = *mixed;
        struct answer other;

        chunks.decodes = 0;
        decodes.chunk_tokens = 0;
        answer = answer_of(table, grid, &chunks);
        other = answer_of(table, grid, &decodes);
        return (struct answer){ answer.time_ps + other.time_ps, true };
    }
    asked.at[AXIS_CHUNK] = mixed->chunk_tokens;
    asked.at[AXIS_CHUNK_KV] = has_chunks ? mixed->chunk_kv : 0;
    asked.at[AXIS_DECODES] = mixed->decodes;
    asked.at[AXIS_LAST] = has_decodes ? mixed->decode_kv : 0;
    answer.time_ps = tell_grid(&asked, grid);
    answer.is_outside = asked.is_outside;
    if (answer.time_ps < 0)
        answer.time_ps = 0;
    return answer;
}

/* ---- a table ---- */

static struct cost_key key_asked(const struct cost_mixed *mixed, int threads, const char *dtype)
{
    struct cost_engine_row row = { .dtype = dtype,
                                   .threads = threads,
                                   .heads = mixed->heads,
                                   .kv_heads = mixed->kv_heads,
                                   .head_dim = mixed->head_dim };

    return key_of(&row);
}

/* Rows without heads are of any shape. */
static bool is_grid(const struct cost_grid *grid, const struct cost_key *key)
{
    struct cost_key any = *key;

    any.field[COST_HEADS] = any.field[COST_KV_HEADS] = any.field[COST_HEAD_DIM] = 0;
    return !grid->is_sampler &&
           (cost_key_compare(&grid->key, key) == 0 || cost_key_compare(&grid->key, &any) == 0);
}

/* Inside beats outside, a device that is warm from serving beats a rested one, then the cheaper
 * implementation wins. */
static bool find_answer(const struct cost_table *table, const struct cost_key *key,
                        const struct cost_mixed *mixed, struct answer *best)
{
    enum cost_regime regime = COST_SUSTAINED;
    bool is_found = false;

    for (int i = 0; i < table->grid_count; i++) {
        const struct cost_grid *grid = &table->grids[i];
        struct answer answer;
        bool is_better;

        if (!is_grid(grid, key))
            continue;
        answer = answer_of(table, grid, mixed);
        is_better = !is_found || (answer.is_outside != best->is_outside
                                      ? best->is_outside
                                      : grid->regime == regime && answer.time_ps < best->time_ps);
        if (is_better) {
            *best = answer;
            regime = grid->regime;
        }
        is_found = true;
    }
    return is_found;
}

static int64_t clamp_ps(double time_ps)
{
    return time_ps > (double)UNITS_MAX_PS ? UNITS_MAX_PS : dmath_round(time_ps);
}

bool cost_has_mixed(const struct cost_table *table)
{
    return table->grid_count > 0 && !table->grids[0].is_sampler;
}

/* Activations are f32 in some engines, whatever the weights are. */
static bool find_mixed(const struct cost_table *table, const struct cost_mixed *mixed, int threads,
                       int weight_bits, struct answer *answer)
{
    struct cost_key key = key_asked(mixed, threads, cost_dtype_of_bits(weight_bits));

    if (find_answer(table, &key, mixed, answer))
        return true;
    key = key_asked(mixed, threads, cost_dtypes[COST_F32]);
    return find_answer(table, &key, mixed, answer);
}

bool cost_lookup_mixed(const struct cost_table *table, const struct cost_mixed *mixed, int threads,
                       int weight_bits, int64_t *time_ps, enum interp_origin *origin,
                       struct err *err)
{
    struct answer answer;

    if (!find_mixed(table, mixed, threads, weight_bits, &answer))
        return err_set(err, ERR_INPUT,
                       "%s: no measured rows of attn_mixed with heads %d, kv_heads %d, head_dim "
                       "%d, threads %d, dtype %s",
                       table->path, mixed->heads, mixed->kv_heads, mixed->head_dim, threads,
                       cost_dtype_of_bits(weight_bits));
    *time_ps = clamp_ps(answer.time_ps);
    *origin = answer.is_outside ? INTERP_EXTRAPOLATED : INTERP_INTERPOLATED;
    return true;
}

bool cost_lookup_sampler(const struct cost_table *table, int32_t sequences, int32_t vocab,
                         int threads, int weight_bits, int64_t *time_ps, enum interp_origin *origin,
                         struct err *err)
{
    const char *dtype = cost_dtype_of_bits(weight_bits);
    bool has_any = false;

    *time_ps = 0;
    *origin = INTERP_MEASURED;
    for (int i = table->grid_count - 1; i >= 0 && table->grids[i].is_sampler; i--) {
        const struct cost_grid *grid = &table->grids[i];
        int32_t n = grid->key.field[COST_GEMM_N];
        const struct cost_sample *slab = &table->samples[AXIS_CHUNK][grid->first];
        const struct cost_sample *column = &table->samples[AXIS_DECODES][slab->first];
        const struct cost_sample *line = &table->samples[AXIS_CHUNK_KV][column->first];
        struct asked asked = { .table = table, .at = { [AXIS_LAST] = sequences } };

        has_any = true;
        if (grid->key.field[COST_THREADS] != threads || (n != 0 && n != vocab) ||
            (strcmp(cost_dtypes[grid->key.field[COST_DTYPE]], dtype) != 0 &&
             grid->key.field[COST_DTYPE] != COST_F32))
            continue;
        *time_ps = clamp_ps(tell(&asked, AXIS_LAST, line->first, line->count));
        *time_ps = *time_ps < 0 ? 0 : *time_ps;
        *origin = asked.is_outside ? INTERP_EXTRAPOLATED : INTERP_INTERPOLATED;
        return true;
    }
    return !has_any || err_set(err, ERR_INPUT,
                               "%s: no measured rows of sampler with gemm_n %d, threads %d, dtype "
                               "%s",
                               table->path, vocab, threads, dtype);
}

/* ---- for cost_lookup ---- */

static bool has_rows_of(const struct cost_table *table, enum op op)
{
    for (int i = 0; i < table->curve_count; i++)
        if (table->curves[i].key.field[COST_OP] == (int32_t)op)
            return true;
    return false;
}

static struct cost_mixed mixed_of(const struct model_op *op)
{
    int32_t batch = op->batch > 1 ? op->batch : 1, tokens = op->m_tokens / batch;
    struct cost_mixed mixed = { op->heads, op->kv_heads, op->head_dim, 0, 0, 0, 0 };
    int64_t past = (int64_t)op->kv_len - tokens;

    if (tokens == 1) { /* an engine sees no difference to a decode */
        mixed.decodes = batch;
        mixed.decode_kv = past;
    } else {
        mixed.chunk_tokens = op->m_tokens;
        mixed.chunk_kv = past * batch;
    }
    return mixed;
}

bool cost_lookup_engine(const struct cost_table *table, const struct model_op *op, int threads,
                        int weight_bits, int64_t *time_ps, enum interp_origin *origin)
{
    if (!cost_has_mixed(table))
        return false;
    if (op->op == OP_ATTN) {
        struct cost_mixed mixed = mixed_of(op);
        struct err ignored = ERR_INIT;

        return cost_lookup_mixed(table, &mixed, threads, weight_bits, time_ps, origin, &ignored);
    }
    *time_ps = 0;
    *origin = INTERP_MEASURED;
    return (op->op == OP_ADD || op->op == OP_KVAPPEND) && !has_rows_of(table, op->op);
}

/* ---- where decodes were measured ---- */

static int compare_points(const void *left, const void *right)
{
    const int32_t *a = left, *b = right;

    return *a < *b ? -1 : *a > *b;
}

/* Sorts, and drops what is there twice. */
static int distinct(int32_t *points, int count)
{
    int kept = 0;

    qsort(points, (size_t)count, sizeof *points, compare_points);
    for (int i = 0; i < count; i++)
        if (kept == 0 || points[kept - 1] != points[i])
            points[kept++] = points[i];
    return kept;
}

static int add_curve_points(const struct cost_table *table, const struct cost_mixed *shape,
                            int threads, const char *dtype, int32_t *points)
{
    struct cost_row row = { .op = OP_ATTN,
                            .phase = OP_DECODE,
                            .threads = threads,
                            .dtype = dtype,
                            .heads = shape->heads,
                            .kv_heads = shape->kv_heads,
                            .head_dim = shape->head_dim };
    struct cost_key key = cost_key_of(&row);
    int count = 0;

    for (int i = cost_first_curve(table, &key); i < table->curve_count; i++) {
        const struct cost_curve *curve = &table->curves[i];

        if (cost_key_compare(&curve->key, &key) != 0)
            break;
        for (int k = 0; k < curve->count; k++, count++)
            if (points) /* the new token counts in kv_len */
                points[count] = curve->x[k] > 0 ? curve->x[k] - 1 : 0;
    }
    return count;
}

/* Of steps of decodes alone, else of all. */
static int add_grid_points(const struct cost_table *table, const struct cost_mixed *shape,
                           int threads, const char *dtype, int32_t *points)
{
    struct cost_key key = key_asked(shape, threads, dtype);
    int count = 0;

    for (int i = 0; i < table->grid_count; i++) {
        const struct cost_grid *grid = &table->grids[i];
        const struct cost_sample *slabs = &table->samples[AXIS_CHUNK][grid->first];
        int32_t slab_count = is_grid(grid, &key) ? (slabs->x == 0 ? 1 : grid->count) : 0;

        for (int32_t s = 0; s < slab_count; s++)
            for (int32_t c = 0; c < slabs[s].count; c++) {
                const struct cost_sample *column =
                    &table->samples[AXIS_DECODES][slabs[s].first + c];
                const struct cost_sample *line = &table->samples[AXIS_CHUNK_KV][column->first];

                for (int32_t k = 0; k < line->count; k++, count++)
                    if (points)
                        points[count] = table->samples[AXIS_LAST][line->first + k].x;
            }
    }
    return count;
}

const int32_t *cost_decode_points(struct arena *arena, const struct cost_table *table,
                                  const struct cost_mixed *shape, int threads, int weight_bits,
                                  int *count)
{
    const char *dtypes[2] = { cost_dtype_of_bits(weight_bits), cost_dtypes[COST_F32] };
    int32_t *points;

    *count = 0;
    for (int d = 0; d < 2; d++) {
        int curves = add_curve_points(table, shape, threads, dtypes[d], NULL);
        int most = curves + add_grid_points(table, shape, threads, dtypes[d], NULL);

        if (most == 0)
            continue;
        points = arena_array(arena, (size_t)most, sizeof *points);
        (void)add_curve_points(table, shape, threads, dtypes[d], points);
        (void)add_grid_points(table, shape, threads, dtypes[d], points + curves);
        *count = distinct(points, most);
        return points;
    }
    return NULL;
}
