/* ranges.c - sums before each value, and the largest of 2^l values from each one on. */
#include "sim/place/ranges.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include <stddef.h>
#include <string.h>

struct ranges {
    int32_t count;
    int64_t *sums; /* count + 1 */
    int64_t *most; /* [l][value] */
};

/* The largest l with 2^l <= count. */
static int32_t level_of(int32_t count)
{
    int32_t level = 0;

    while (count >> (level + 1) > 0)
        level++;
    return level;
}

const struct ranges *ranges_create(struct arena *arena, const int64_t *summed, const int64_t *maxed,
                                   int32_t count)
{
    struct ranges *ranges = arena_alloc(arena, sizeof *ranges);
    size_t width = (size_t)count, levels = (size_t)level_of(count) + 1;
    int64_t *most = arena_array(arena, levels * width, sizeof *most);

    ranges->count = count;
    ranges->most = most;
    ranges->sums = arena_array(arena, width + 1, sizeof *ranges->sums);
    for (size_t i = 0; i < width; i++)
        ranges->sums[i + 1] = saturate_add(ranges->sums[i], summed[i]);
    memcpy(most, maxed, width * sizeof *most);
    for (size_t l = 1; l < levels; l++)
        for (size_t i = 0; i + ((size_t)1 << l) <= width; i++) {
            int64_t left = most[(l - 1) * width + i];
            int64_t right = most[(l - 1) * width + i + ((size_t)1 << (l - 1))];

            most[l * width + i] = left > right ? left : right;
        }
    return ranges;
}

int64_t ranges_sum(const struct ranges *ranges, int32_t first, int32_t last)
{
    return ranges->sums[last + 1] - ranges->sums[first];
}

int64_t ranges_max(const struct ranges *ranges, int32_t first, int32_t last)
{
    int32_t level = level_of(last - first + 1);
    const int64_t *most = &ranges->most[(size_t)level * (size_t)ranges->count];
    int64_t left = most[first], right = most[last + 1 - (1 << level)];

    return left > right ? left : right;
}
