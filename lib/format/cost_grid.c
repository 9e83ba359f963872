/* cost_grid.c - samples of attn_mixed and sampler as trees, and what one of them says.
 *
 * Samples stand in a tree: those of one axis, and under each of them those of the next one. A
 * look-up goes down to the two samples around what is asked for and lays a line between their
 * costs. On a full grid that is multilinear; where samples are missing each part of the grid goes
 * by what it has. Arithmetic is in doubles of whole picoseconds, rounded once: exact at samples,
 * and the same bits on every machine. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cost_table.h"
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

struct cost_key cost_grid_key(const struct cost_engine_row *row)
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

    entry.grid.key = cost_grid_key(row);
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

/* Where there are steps of both, there are some for every number of chunk tokens. */
static bool is_regular(const struct cost_table *table, const struct cost_grid *grid)
{
    for (int i = grid->first; i < grid->first + grid->count && grid->has_both; i++) {
        const struct cost_sample *slab = &table->samples[AXIS_CHUNK][i];

        if (table->samples[AXIS_DECODES][slab->first + slab->count - 1].x == 0)
            return false;
    }
    return true;
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
    for (int i = 0; i < table->grid_count; i++)
        table->grids[i].is_regular = is_regular(table, &table->grids[i]);
    return true;
}

/* ---- one grid ---- */

struct asked {
    const struct cost_table *table;
    int64_t at[COST_MIXED_AXES];
    int hint[COST_MIXED_AXES]; /* where it was last found: siblings mostly have the same samples */
    bool is_outside;           /* of the measured range, on some axis that counts */
};

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

static inline int find_again(struct asked *asked, enum axis axis, const struct cost_sample *samples,
                             int count)
{
    int hint = asked->hint[axis];
    int64_t at = asked->at[axis];

    if (hint > count - 2 || samples[hint].x > at || (hint < count - 2 && samples[hint + 1].x <= at))
        asked->hint[axis] = hint = find_lower(samples, count, at);
    return hint;
}

/* The one or two samples of an axis that tell `at`: returns the number of them. */
static inline int find_samples(struct asked *asked, enum axis axis,
                               const struct cost_sample *samples, int count,
                               const struct cost_sample **low)
{
    int64_t at = asked->at[axis];

    *low = samples;
    if (count == 1) {
        asked->is_outside = asked->is_outside || at != samples->x;
        return 1;
    }
    *low += find_again(asked, axis, samples, count);
    if (at == (*low)[1].x)
        ++*low;
    if (at == (*low)->x)
        return 1;
    asked->is_outside = asked->is_outside || at < (*low)->x || at > (*low)[1].x;
    return 2;
}

static inline double on_line(const struct cost_sample *low, int64_t at, double below, double above)
{
    return below + (above - below) * ((double)(at - low->x) / (double)(low[1].x - low->x));
}

/* Along the last axis, under one sample of the one before; and so on up. */
static double tell_last(struct asked *asked, const struct cost_sample *above)
{
    const struct cost_sample *low;

    if (find_samples(asked, AXIS_LAST, asked->table->samples[AXIS_LAST] + above->first,
                     above->count, &low) == 1)
        return (double)low->y_ps;
    return on_line(low, asked->at[AXIS_LAST], (double)low->y_ps, (double)low[1].y_ps);
}

static double tell_chunk_kv(struct asked *asked, const struct cost_sample *above)
{
    const struct cost_sample *low;
    double below;

    if (find_samples(asked, AXIS_CHUNK_KV, asked->table->samples[AXIS_CHUNK_KV] + above->first,
                     above->count, &low) == 1)
        return tell_last(asked, low);
    below = tell_last(asked, low);
    return on_line(low, asked->at[AXIS_CHUNK_KV], below, tell_last(asked, low + 1));
}

/* A part without decodes says nothing of steps with some, where there is another. */
static double tell_decodes(struct asked *asked, const struct cost_sample *above)
{
    const struct cost_sample *samples = asked->table->samples[AXIS_DECODES] + above->first, *low;
    bool is_passed_over = asked->at[AXIS_DECODES] > 0 && samples->x == 0 && above->count > 1;
    double below;

    if (find_samples(asked, AXIS_DECODES, samples + is_passed_over, above->count - is_passed_over,
                     &low) == 1)
        return tell_chunk_kv(asked, low);
    below = tell_chunk_kv(asked, low);
    return on_line(low, asked->at[AXIS_DECODES], below, tell_chunk_kv(asked, low + 1));
}

/* Tokens in the cache of chunks say nothing where there is no chunk. */
static double tell_slab(struct asked *asked, int index)
{
    const struct cost_sample *slab = &asked->table->samples[AXIS_CHUNK][index];
    int64_t chunk_kv = asked->at[AXIS_CHUNK_KV];
    double time_ps;

    if (slab->x == 0)
        asked->at[AXIS_CHUNK_KV] = 0;
    time_ps = tell_decodes(asked, slab);
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

/* Between two slabs, or along one alone. */
static double tell_slabs(struct asked *asked, int low, int high)
{
    const struct cost_sample *slabs = asked->table->samples[AXIS_CHUNK];
    int64_t at = asked->at[AXIS_CHUNK];
    double below;

    if (low == high) {
        asked->is_outside = asked->is_outside || slabs[low].x != at;
        return tell_slab(asked, low);
    }
    asked->is_outside = asked->is_outside || at < slabs[low].x || at > slabs[high].x;
    below = tell_slab(asked, low);
    return below + (tell_slab(asked, high) - below) *
                       ((double)(at - slabs[low].x) / (double)(slabs[high].x - slabs[low].x));
}

static double tell_grid(struct asked *asked, const struct cost_grid *grid)
{
    const struct cost_sample *slabs = asked->table->samples[AXIS_CHUNK];
    int64_t at = asked->at[AXIS_CHUNK];
    int low, high;

    if (grid->is_regular) { /* all slabs count, but for the one without a chunk */
        bool is_passed_over =
            asked->at[AXIS_DECODES] == 0 && slabs[grid->first].x == 0 && grid->count > 1;
        int first = grid->first + is_passed_over, count = grid->count - is_passed_over;

        low = count > 1 ? first + find_lower(&slabs[first], count, at) : first;
        high = count > 1 ? low + 1 : low;
    } else {
        find_slabs(asked, grid, &low, &high);
    }
    if (high < 0) /* no slab counts: what there is tells it, whatever it is of */
        low = high = grid->first;
    if (slabs[high].x == at || low < 0)
        low = high;
    if (slabs[low].x == at)
        high = low;
    return tell_slabs(asked, low, high);
}

struct cost_answer cost_grid_answer(const struct cost_table *table, const struct cost_grid *grid,
                                    const struct cost_mixed *mixed)
{
    bool has_chunks = mixed->chunk_tokens > 0, has_decodes = mixed->decodes > 0;
    struct asked asked = { .table = table };
    struct cost_answer answer;

    if (has_chunks && has_decodes && !grid->has_both) {
        struct cost_mixed chunks = *mixed, decodes = *mixed;
        struct cost_answer other;

        chunks.decodes = 0;
        decodes.chunk_tokens = 0;
        answer = cost_grid_answer(table, grid, &chunks);
        other = cost_grid_answer(table, grid, &decodes);
        return (struct cost_answer){ answer.time_ps + other.time_ps, true };
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

/* Of so many sequences. */
struct cost_answer cost_grid_sampler(const struct cost_table *table, const struct cost_grid *grid,
                                     int32_t sequences)
{
    const struct cost_sample *slab = &table->samples[AXIS_CHUNK][grid->first];
    const struct cost_sample *column = &table->samples[AXIS_DECODES][slab->first];
    const struct cost_sample *line = &table->samples[AXIS_CHUNK_KV][column->first];
    struct asked asked = { .table = table, .at = { [AXIS_LAST] = sequences } };
    double time_ps = tell_last(&asked, line);

    return (struct cost_answer){ time_ps > 0 ? time_ps : 0, asked.is_outside };
}

/* Of steps of decodes alone, else of all. */
int cost_grid_points(const struct cost_table *table, const struct cost_grid *grid, int32_t *points)
{
    const struct cost_sample *slabs = &table->samples[AXIS_CHUNK][grid->first];
    int32_t slab_count = slabs->x == 0 ? 1 : grid->count;
    int count = 0;

    for (int32_t s = 0; s < slab_count; s++)
        for (int32_t c = 0; c < slabs[s].count; c++) {
            const struct cost_sample *column = &table->samples[AXIS_DECODES][slabs[s].first + c];
            const struct cost_sample *line = &table->samples[AXIS_CHUNK_KV][column->first];

            for (int32_t k = 0; k < line->count; k++, count++)
                if (points)
                    points[count] = table->samples[AXIS_LAST][line->first + k].x;
        }
    return count;
}
