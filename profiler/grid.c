/* grid.c - points dense where tiles show (1 to 17 tokens), powers of two and their middles above.
 */
#include "profiler/grid.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include <string.h>

#define MAX_SIZE (1 << 20)

bool grid_parse_range(const char *option, const char *text, struct grid_range *range,
                      struct err *err)
{
    char first_text[16];
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : strlen(text);
    int64_t first = 0, last = 0;

    if (length < sizeof(first_text)) {
        memcpy(first_text, text, length);
        first_text[length] = '\0';
        if (units_parse_int(first_text, &first) && (!colon || units_parse_int(colon + 1, &last))) {
            last = colon ? last : first;
            if (first >= 1 && last >= first && last <= MAX_SIZE) {
                *range = (struct grid_range){ (int32_t)first, (int32_t)last, false };
                return true;
            }
        }
    }
    return err_set(err, ERR_USAGE, "%s is '%s': expected FIRST:LAST with 1 <= FIRST <= LAST <= %d",
                   option, text, MAX_SIZE);
}

/* Whether a size belongs to the grid between the range's ends. The simulator finds the tile period
 * and its residues from 2..8 (quick) or 2..17, and goes on linearly over multiples of it. */
static bool is_on_grid(int32_t size, int32_t dense, bool has_middles)
{
    bool is_power = (size & (size - 1)) == 0;
    bool is_middle = size % 3 == 0 && (size / 3 & (size / 3 - 1)) == 0;

    return size <= dense || is_power || (has_middles && is_middle);
}

static void add_points(struct point *points, int *count, enum op_phase phase,
                       struct grid_range range, int32_t dense, bool has_middles)
{
    for (int32_t size = range.first; size <= range.last; size++) {
        if (size != range.first && size != range.last && !is_on_grid(size, dense, has_middles))
            continue;
        if (phase == OP_PREFILL)
            points[(*count)++] = (struct point){ phase, size, size };
        else
            points[(*count)++] = (struct point){ phase, 1, size };
    }
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

bool grid_build(struct arena *arena, const struct model *model, struct grid_range tokens,
                struct grid_range kv, bool is_quick, struct point **points, int *count,
                struct err *err)
{
    if (!cut(model, "--tokens", &tokens, err))
        return false;
    *points = arena_array(arena, 256, sizeof(**points));
    *count = 0;
    add_points(*points, count, OP_PREFILL, tokens, is_quick ? 8 : 17, !is_quick);
    if (model->kind != MODEL_DECODER)
        return true;
    if (!cut(model, "--kv", &kv, err))
        return false;
    /* one new token without a past is the prefill of one token */
    if (kv.first < 2)
        kv.first = 2;
    if (kv.last >= kv.first)
        add_points(*points, count, OP_DECODE, kv, is_quick ? 0 : 4, !is_quick);
    return true;
}

int grid_middle(const struct point *points, int count, enum op_phase phase)
{
    int first = -1, last = -1, best = -1;

    for (int i = 0; i < count; i++)
        if (points[i].phase == phase) {
            first = first < 0 ? i : first;
            last = i;
        }
    if (first < 0)
        return -1;
    /* nearest by ratio: size^2 against first * last, whichever is larger over the other */
    double middle = (double)points[first].kv * points[last].kv, best_ratio = 0.0;
    for (int i = first; i <= last; i++) {
        double square = (double)points[i].kv * points[i].kv;
        double ratio = square > middle ? square / middle : middle / square;

        if (best < 0 || ratio < best_ratio) {
            best = i;
            best_ratio = ratio;
        }
    }
    return best;
}
