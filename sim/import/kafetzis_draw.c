/* kafetzis_draw.c - devices and links of a configuration, as the program (commit 252528f) draws
 * them: src/environment/resources.py and its topologies.
 *
 * Devices: numpy's generator; the fastest 10 % (one at least) are cloud, the next 30 % (one at
 * least) regional, the others edge; for each tier first all memories, then all capacities, times 4,
 * 2 and 1 once they are cut to the configured range; then memory is cut to 2..16 GiB and capacity
 * to 1e10..1e11 FLOP/s. Links of a toy: Python's generator, once for each ordered pair, of which
 * the later one stays. Links of the other topologies: numpy's generator, in the order of their
 * tables. */
#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "sim/import/kafetzis.h"
#include "sim/import/mersenne.h"

const char *const kafetzis_topology_names[KAFETZIS_TOPOLOGY_COUNT] = {
    [KAFETZIS_TOY] = "toy",
    [KAFETZIS_EDGE_CLUSTER] = "edge_cluster",
    [KAFETZIS_DISTRIBUTED_EDGE] = "distributed_edge",
    [KAFETZIS_HYBRID_CLOUD_EDGE] = "hybrid_cloud_edge",
};

/* ---- devices ---- */

#define MIN_MEMORY_GIB 2.0
#define MAX_MEMORY_GIB 16.0
#define MIN_FLOP_PER_S 1e10
#define MAX_FLOP_PER_S 1e11
#define CLOUD_SHARE 0.1
#define REGIONAL_SHARE 0.3

static double cut(double value, double min, double max)
{
    return value < min ? min : value > max ? max : value;
}

static double draw_one(struct mersenne *random, const struct kafetzis_range *range, double factor)
{
    double value = dmath_exp(range->mu + range->sigma * mersenne_normal(random));

    return factor * cut(value, range->min, range->max);
}

static void draw_tier(struct mersenne *random, const struct kafetzis_recipe *recipe,
                      const char *tier, double factor, struct kafetzis_device *devices,
                      int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        devices[i].tier = tier;
        devices[i].memory_gib =
            cut(draw_one(random, &recipe->memory_gib, factor), MIN_MEMORY_GIB, MAX_MEMORY_GIB);
    }
    for (int32_t i = 0; i < count; i++)
        devices[i].flop_per_s =
            cut(draw_one(random, &recipe->flop_per_s, factor), MIN_FLOP_PER_S, MAX_FLOP_PER_S);
}

static int32_t share_of(int32_t count, double share)
{
    int32_t part = (int32_t)(share * count);

    return part > 0 ? part : 1;
}

static void draw_devices(struct arena *arena, const struct kafetzis_recipe *recipe,
                         struct kafetzis_environment *environment)
{
    int32_t count = recipe->device_count;
    int32_t cloud = share_of(count, CLOUD_SHARE), regional = share_of(count, REGIONAL_SHARE);
    struct kafetzis_device *devices = arena_array(arena, (size_t)count, sizeof *devices);
    struct mersenne random;

    mersenne_numpy(&random, recipe->device_seed);
    for (int32_t i = 0; i < count; i++)
        devices[i].name = arena_printf(arena, "device_%d", (int)i);
    draw_tier(&random, recipe, "cloud", 4, devices, cloud);
    draw_tier(&random, recipe, "regional", 2, devices + cloud, regional);
    draw_tier(&random, recipe, "edge", 1, devices + cloud + regional, count - cloud - regional);
    environment->devices = devices;
    environment->device_count = count;
    environment->source = 0;
}

/* ---- links ---- */

static void draw_toy(const struct kafetzis_recipe *recipe, struct kafetzis_environment *environment)
{
    int32_t count = recipe->device_count, k = 0;
    struct mersenne random;

    mersenne_python(&random, recipe->link_seed);
    for (int32_t i = 0; i < count; i++)
        for (int32_t j = i + 1; j < count; j++)
            environment->links[k++] = (struct kafetzis_link){ .a = i, .b = j };
    environment->link_count = k;
    for (int32_t i = 0; i < count; i++)
        for (int32_t j = 0; j < count; j++) {
            int32_t a = i < j ? i : j, b = i < j ? j : i;

            if (i != j) /* rows of the triangle before a's have count - 1, count - 2, ... pairs */
                environment->links[a * (2 * count - a - 1) / 2 + b - a - 1].gib_per_s =
                    recipe->min_gib_per_s +
                    (recipe->max_gib_per_s - recipe->min_gib_per_s) * mersenne_uniform(&random);
        }
}

struct pair {
    int a, b;
};
struct group { /* links that are drawn from one range */
    const struct pair *pairs;
    int count;
    double min, max;
};

#define PAIRS(...)                                                                                 \
    (const struct pair[]){ __VA_ARGS__ },                                                          \
        (int)(sizeof((const struct pair[]){ __VA_ARGS__ }) / sizeof(struct pair))

static const struct group edge_cluster[] = {
    { PAIRS({ 0, 1 }, { 0, 2 }, { 0, 3 }), 5, 10 },
    { PAIRS({ 1, 4 }, { 1, 5 }, { 2, 5 }, { 2, 6 }, { 3, 6 }, { 3, 7 }), 1, 5 },
    { NULL, 0, 0, 0 },
};

static const struct group distributed_edge[] = {
    { PAIRS({ 0, 1 }, { 0, 2 }, { 0, 3 }, { 1, 2 }, { 1, 3 }, { 2, 3 }, { 4, 5 }, { 4, 6 },
            { 4, 7 }, { 5, 6 }, { 5, 7 }, { 6, 7 }, { 8, 9 }, { 8, 10 }, { 8, 11 }, { 9, 10 },
            { 9, 11 }, { 10, 11 }, { 12, 13 }, { 12, 14 }, { 12, 15 }, { 13, 14 }, { 13, 15 },
            { 14, 15 }),
      0.5, 1 },
    { PAIRS({ 0, 4 }, { 4, 8 }, { 8, 12 }, { 0, 8 }, { 4, 12 }, { 1, 5 }, { 5, 9 }, { 9, 13 },
            { 2, 6 }, { 6, 10 }, { 10, 14 }, { 0, 12 }),
      0.1, 0.5 },
    { NULL, 0, 0, 0 },
};

static const struct group hybrid_cloud_edge[] = {
    { PAIRS({ 0, 1 }, { 0, 2 }, { 0, 3 }, { 1, 2 }, { 1, 3 }, { 2, 3 }), 20, 40 },
    { PAIRS({ 0, 4 }, { 0, 5 }, { 1, 6 }, { 1, 7 }, { 2, 8 }, { 2, 9 }, { 3, 10 }, { 3, 11 }), 5,
      10 },
    { PAIRS({ 4, 12 }, { 4, 13 }, { 4, 14 }, { 5, 15 }, { 5, 16 }, { 5, 17 }, { 6, 18 }, { 6, 19 },
            { 7, 20 }, { 7, 21 }, { 8, 22 }, { 8, 23 }),
      0.1, 1 },
    { NULL, 0, 0, 0 },
};

static const struct {
    int32_t device_count;
    const struct group *groups; /* NULL: a toy */
} topologies[KAFETZIS_TOPOLOGY_COUNT] = {
    [KAFETZIS_TOY] = { 0, NULL },
    [KAFETZIS_EDGE_CLUSTER] = { 8, edge_cluster },
    [KAFETZIS_DISTRIBUTED_EDGE] = { 16, distributed_edge },
    [KAFETZIS_HYBRID_CLOUD_EDGE] = { 24, hybrid_cloud_edge },
};

int32_t kafetzis_topology_devices(enum kafetzis_topology topology)
{
    return topologies[topology].device_count;
}

void kafetzis_draw(struct arena *arena, const struct kafetzis_recipe *recipe,
                   struct kafetzis_environment *environment)
{
    const struct group *group = topologies[recipe->topology].groups;
    size_t count = (size_t)recipe->device_count;
    struct mersenne random;

    draw_devices(arena, recipe, environment);
    environment->links = arena_array(arena, count * (count - 1) / 2, sizeof *environment->links);
    environment->link_count = 0;
    if (!group) {
        draw_toy(recipe, environment);
        return;
    }
    mersenne_numpy(&random, recipe->link_seed);
    for (; group->pairs; group++)
        for (int i = 0; i < group->count; i++)
            environment->links[environment->link_count++] =
                (struct kafetzis_link){ .a = group->pairs[i].a,
                                        .b = group->pairs[i].b,
                                        .gib_per_s = group->min + (group->max - group->min) *
                                                                      mersenne_uniform(&random) };
}
