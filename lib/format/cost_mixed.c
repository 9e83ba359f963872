/* cost_mixed.c - look-ups in the rows of engines that batch at every iteration (cost.h): which of
 * them tell a shape. What one grid says is in cost_grid.c. */
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cost_table.h"
#include "lib/format/model.h"
#include <stdlib.h>
#include <string.h>

/* ---- a table ---- */

static struct cost_key key_asked(const struct cost_mixed *mixed, int threads, const char *dtype)
{
    struct cost_engine_row row = { .dtype = dtype,
                                   .threads = threads,
                                   .heads = mixed->heads,
                                   .kv_heads = mixed->kv_heads,
                                   .head_dim = mixed->head_dim };

    return cost_grid_key(&row);
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
                        const struct cost_mixed *mixed, struct cost_answer *best)
{
    enum cost_regime regime = COST_SUSTAINED;
    bool is_found = false;

    for (int i = 0; i < table->grid_count; i++) {
        const struct cost_grid *grid = &table->grids[i];
        struct cost_answer answer;
        bool is_better;

        if (!is_grid(grid, key))
            continue;
        answer = cost_grid_answer(table, grid, mixed);
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
                       int weight_bits, struct cost_answer *answer)
{
    struct cost_key key = key_asked(mixed, threads, cost_dtype_of_bits(weight_bits));

    if (find_answer(table, &key, mixed, answer))
        return true;
    key = key_asked(mixed, threads, cost_dtypes[COST_F32]);
    return find_answer(table, &key, mixed, answer);
}

const struct cost_grid *cost_find_grid(const struct cost_table *table,
                                       const struct cost_mixed *shape, int threads, int weight_bits)
{
    const char *dtypes[2] = { cost_dtype_of_bits(weight_bits), cost_dtypes[COST_F32] };
    const struct cost_grid *found = NULL;

    for (int d = 0; d < 2 && !found; d++) {
        struct cost_key key = key_asked(shape, threads, dtypes[d]);

        for (int i = 0; i < table->grid_count; i++) {
            if (!is_grid(&table->grids[i], &key))
                continue;
            if (found)
                return NULL;
            found = &table->grids[i];
        }
    }
    return found;
}

int64_t cost_grid_ps(const struct cost_table *table, const struct cost_grid *grid,
                     const struct cost_mixed *mixed, enum interp_origin *origin)
{
    struct cost_answer answer = cost_grid_answer(table, grid, mixed);

    *origin = answer.is_outside ? INTERP_EXTRAPOLATED : INTERP_INTERPOLATED;
    return clamp_ps(answer.time_ps);
}

bool cost_lookup_mixed(const struct cost_table *table, const struct cost_mixed *mixed, int threads,
                       int weight_bits, int64_t *time_ps, enum interp_origin *origin,
                       struct err *err)
{
    struct cost_answer answer;

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
        struct cost_answer answer;

        has_any = true;
        if (grid->key.field[COST_THREADS] != threads || (n != 0 && n != vocab) ||
            (strcmp(cost_dtypes[grid->key.field[COST_DTYPE]], dtype) != 0 &&
             grid->key.field[COST_DTYPE] != COST_F32))
            continue;
        answer = cost_grid_sampler(table, grid, sequences);
        *time_ps = clamp_ps(answer.time_ps);
        *origin = answer.is_outside ? INTERP_EXTRAPOLATED : INTERP_INTERPOLATED;
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

    if (count > 1)
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

static int add_grid_points(const struct cost_table *table, const struct cost_mixed *shape,
                           int threads, const char *dtype, int32_t *points)
{
    struct cost_key key = key_asked(shape, threads, dtype);
    int count = 0;

    for (int i = 0; i < table->grid_count; i++)
        if (is_grid(&table->grids[i], &key))
            count += cost_grid_points(table, &table->grids[i], points ? points + count : NULL);
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
