/* grid.c - points dense where tiles show, sparse where cost is a line or a power law. */
#include "profiler/measure/grid.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/interp.h"
#include "lib/format/model.h"
#include <stdio.h>
#include <string.h>

#define MAX_SIZE (1 << 20)
#define MAX_BATCH 256
#define QUICK_SIZES 11
#define FIRST_SIZES 16 /* one is left for where the first ones interpolate worst */
#define ANCHOR_TOKENS 128
#define ANCHOR_KEYS 256

/* ---- reading ---- */

/* A whole number from text up to end; false when it is none. */
static bool parse_part(const char *text, size_t length, int64_t *value)
{
    char part[16];

    if (length >= sizeof(part))
        return false;
    memcpy(part, text, length);
    part[length] = '\0';
    return units_parse_int(part, value);
}

bool grid_parse_range(const char *option, const char *text, struct grid_range *range,
                      struct err *err)
{
    const char *colon = strchr(text, ':');
    int64_t first, last;

    if (parse_part(text, colon ? (size_t)(colon - text) : strlen(text), &first)) {
        last = first;
        if ((!colon || units_parse_int(colon + 1, &last)) && first >= 1 && last >= first &&
            last <= MAX_SIZE) {
            *range = (struct grid_range){ (int32_t)first, (int32_t)last, false };
            return true;
        }
    }
    return err_set(err, ERR_USAGE, "%s is '%s': expected FIRST:LAST with 1 <= FIRST <= LAST <= %d",
                   option, text, MAX_SIZE);
}

/* "prefill:S", "decode:KV" or "decode:KVxB". */
static bool parse_point(const char *text, size_t length, struct point *point)
{
    const char *colon = memchr(text, ':', length), *cross;
    int64_t size, batch = 1;

    if (!colon)
        return false;
    size_t name = (size_t)(colon - text);
    const char *at = colon + 1;
    size_t left = length - name - 1;
    bool is_decode = name == 6 && memcmp(text, "decode", 6) == 0;
    if (!is_decode && !(name == 7 && memcmp(text, "prefill", 7) == 0))
        return false;
    cross = is_decode ? memchr(at, 'x', left) : NULL;
    if (cross && !parse_part(cross + 1, left - (size_t)(cross - at) - 1, &batch))
        return false;
    if (!parse_part(at, cross ? (size_t)(cross - at) : left, &size) || size < 1 ||
        size > MAX_SIZE || batch < 1 || batch > MAX_BATCH || (is_decode && size < 2))
        return false;
    *point = (struct point){ is_decode ? OP_DECODE : OP_PREFILL,
                             (int32_t)(is_decode ? batch : size), (int32_t)size, (int32_t)batch };
    return true;
}

static bool check_point(const char *option, const struct model *model, const struct point *point,
                        struct err *err)
{
    if (point->phase == OP_DECODE && model->kind != MODEL_DECODER)
        return err_set(err, ERR_USAGE, "%s asks for a decode step: %s has none", option,
                       model->name);
    if (model->max_context > 0 && point->kv > model->max_context)
        return err_set(err, ERR_USAGE, "%s asks for %d tokens: %s holds at most %d", option,
                       point->kv, model->name, model->max_context);
    return true;
}

bool grid_parse_points(const char *option, const char *text, const struct model *model,
                       struct grid_points *points, struct err *err)
{
    const char *at = text;

    do {
        size_t length = strcspn(at, ",");
        struct point point;

        if (!parse_point(at, length, &point))
            return err_set(err, ERR_USAGE,
                           "%s is '%s': expected prefill:TOKENS, decode:KEYS or "
                           "decode:KEYSxSEQUENCES, with commas between",
                           option, text);
        if (!check_point(option, model, &point, err))
            return false;
        if (points->count == GRID_MAX_POINTS)
            return err_set(err, ERR_USAGE, "%s names more than %d shapes", option, GRID_MAX_POINTS);
        if (grid_find(points, &point) < 0)
            points->items[points->count++] = point;
        at += length;
    } while (*at++ == ',');
    return true;
}

static bool cut(const struct model *model, const char *option, struct grid_range *range,
                struct err *err)
{
    int32_t limit = model->max_context > 0 ? model->max_context : MAX_SIZE;

    if (range->last <= limit)
        return true;
    if (!range->is_default || range->first > limit)
        return err_set(err, ERR_USAGE, "%s is '%d:%d': %s holds at most %d tokens", option,
                       range->first, range->last, model->name, limit);
    range->last = limit;
    return true;
}

bool grid_cut(const struct model *model, struct grid *grid, struct err *err)
{
    if (!cut(model, "--tokens", &grid->tokens, err))
        return false;
    if (model->kind != MODEL_DECODER) {
        grid->kv.last = grid->batch.last = 0;
        return true;
    }
    if (grid->batch.last > MAX_BATCH)
        return err_set(err, ERR_USAGE, "--batch is '%d:%d': at most %d sequences",
                       grid->batch.first, grid->batch.last, MAX_BATCH);
    if (!cut(model, "--kv", &grid->kv, err))
        return false;
    /* one new token without a past is the prefill of one token */
    if (grid->kv.first < 2)
        grid->kv.first = 2;
    return true;
}

/* ---- building ---- */

bool grid_is_same(const struct point *a, const struct point *b)
{
    return a->phase == b->phase && a->m == b->m && a->kv == b->kv && a->batch == b->batch;
}

int grid_find(const struct grid_points *points, const struct point *point)
{
    for (int i = 0; i < points->count; i++)
        if (grid_is_same(&points->items[i], point))
            return i;
    return -1;
}

static void add(struct grid_points *points, struct point point)
{
    if (points->count < GRID_MAX_POINTS && grid_find(points, &point) < 0)
        points->items[points->count++] = point;
}

static int32_t clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* Chunks of sizes that are measured whole as well, so that only their attention is new: cost is
 * linear in the keys of a chunk, so two more of them are enough. */
static void add_chunks(const struct grid *grid, const int32_t *sizes, int count,
                       struct grid_points *points)
{
    static const int32_t wanted[] = { 16, 64, 256 };

    for (size_t w = 0; w < sizeof(wanted) / sizeof(wanted[0]); w++) {
        int32_t best = 0;

        for (int i = 0; i < count; i++)
            if (sizes[i] > 1 && (best == 0 || (sizes[i] <= wanted[w] && sizes[i] > best)))
                best = sizes[i];
        if (best == 0 || best >= grid->kv.last)
            continue;
        if (4 * best < grid->kv.last)
            add(points, (struct point){ OP_PREFILL, best, 4 * best, 1 });
        add(points, (struct point){ OP_PREFILL, best, grid->kv.last, 1 });
    }
}

/* The keys of a decode step cost what a line costs, plus residues of the BLAS's tiles that show
 * beside few keys: 9 to 15 tell periods up to 8. Middles from 128 on: caches end somewhere there.
 */
static bool is_key_count(int32_t kv, bool is_quick)
{
    bool is_power = (kv & (kv - 1)) == 0;
    bool is_middle = kv % 3 == 0 && (kv / 3 & (kv / 3 - 1)) == 0;

    if (is_quick) /* powers of four, less one factor of two */
        return is_power && (kv & 0x2aaaaaaa) != 0;
    return is_power || (kv > 8 && kv < 16) || (is_middle && kv > 128);
}

static void add_decodes(const struct grid *grid, struct grid_points *points)
{
    for (int32_t kv = grid->kv.first; kv <= grid->kv.last; kv++)
        if (kv == grid->kv.first || kv == grid->kv.last || is_key_count(kv, grid->is_quick))
            add(points, (struct point){ OP_DECODE, 1, kv, 1 });
}

/* Powers of two: products follow the number of rows, of which there are more points, and attention
 * is nearly so many times that of one sequence. */
static void add_batches(const struct grid *grid, struct grid_points *points)
{
    int32_t middle = clamp(ANCHOR_KEYS, grid->kv.first, grid->kv.last);
    int32_t low = clamp(ANCHOR_KEYS / 8, grid->kv.first, grid->kv.last);

    for (int32_t batch = grid->batch.first < 2 ? 2 : grid->batch.first; batch <= grid->batch.last;
         batch++) {
        bool is_power = (batch & (batch - 1)) == 0;
        bool is_end = batch == grid->batch.first || batch == grid->batch.last;

        if (!is_power && !is_end)
            continue;
        add(points, (struct point){ OP_DECODE, batch, middle, batch });
        if (grid->is_quick)
            continue;
        add(points, (struct point){ OP_DECODE, batch, low, batch });
        add(points, (struct point){ OP_DECODE, batch, grid->kv.last, batch });
    }
}

void grid_build(const struct model *model, const struct grid *grid, int32_t period,
                struct grid_points *points)
{
    int32_t sizes[GRID_MAX_SIZES];
    int count = interp_grid(grid->tokens.first, grid->tokens.last, period,
                            grid->is_quick ? QUICK_SIZES : FIRST_SIZES, sizes);

    points->count = 0;
    for (int i = 0; i < count; i++)
        add(points, (struct point){ OP_PREFILL, sizes[i], sizes[i], 1 });
    if (model->kind != MODEL_DECODER || grid->kv.last < grid->kv.first)
        return;
    if (!grid->is_quick)
        add_chunks(grid, sizes, count, points);
    add_decodes(grid, points);
    add_batches(grid, points);
}

bool grid_anchor(const struct grid *grid, enum op_phase phase, struct point *point)
{
    const struct grid_range *range = phase == OP_DECODE ? &grid->kv : &grid->tokens;

    if (range->last < range->first)
        return false;
    int32_t size =
        clamp(phase == OP_DECODE ? ANCHOR_KEYS : ANCHOR_TOKENS, range->first, range->last);
    *point = (struct point){ phase, phase == OP_DECODE ? 1 : size, size, 1 };
    return true;
}
