/* alpaserve_layout.c - groups of devices of one size, and how a service is cut over one of them. */
#include "sim/place/alpaserve.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"

#define MOST_WIDTH 4 /* devices of a stage, as in AlpaServe's search */

/* ---- a service on a mesh ---- */

struct cutter {
    const struct alpaserve *search;
    const struct alpaserve_variant *variant;
    const struct alpaserve_mesh *mesh;
    int32_t parts; /* that each device has one of */
};

/* A device computes and holds about a part: exactly so of all that is divided. */
static int64_t part_of(const struct cutter *cutter, int64_t whole)
{
    return whole / cutter->parts + (whole % cutter->parts > 0);
}

static bool has_room(const void *arg, int32_t stage, int32_t first, int32_t last)
{
    const struct cutter *cutter = arg;
    const int32_t *devices = alpaserve_devices(cutter->search, cutter->mesh, stage);

    for (int32_t i = 0; i < cutter->mesh->width; i++) {
        const struct cluster_device *device = &cutter->search->cluster->devices[devices[i]];
        int64_t bytes = problem_bytes(cutter->variant->problem, devices[i], first, last);

        if (device->memory_bytes > 0 &&
            device->reserved_bytes + part_of(cutter, bytes - device->reserved_bytes) >
                device->memory_bytes)
            return false;
    }
    return true;
}

/* Stages talk through their first devices. */
static double border_cost(const void *arg, int32_t from, int32_t to, int32_t unit)
{
    const struct cutter *cutter = arg;

    return (double)problem_border(cutter->variant->problem,
                                  *alpaserve_devices(cutter->search, cutter->mesh, from),
                                  *alpaserve_devices(cutter->search, cutter->mesh, to), unit)
        .occupy_ps;
}

static double entry_cost(const void *arg, int32_t stage)
{
    const struct cutter *cutter = arg;

    return (double)problem_entry(cutter->variant->problem,
                                 *alpaserve_devices(cutter->search, cutter->mesh, stage))
        .occupy_ps;
}

static double exit_cost(const void *arg, int32_t stage)
{
    const struct cutter *cutter = arg;

    return (double)problem_exit(cutter->variant->problem,
                                *alpaserve_devices(cutter->search, cutter->mesh, stage))
        .occupy_ps;
}

/* The slowest device of a stage sets its pace. */
static double *unit_costs(const struct cutter *cutter)
{
    const struct problem *problem = cutter->variant->problem;
    int32_t units = problem_unit_count(problem), stages = cutter->mesh->stage_count;
    double *costs =
        arena_array(cutter->search->arena, (size_t)stages * (size_t)units, sizeof *costs);

    for (int32_t s = 0; s < stages; s++)
        for (int32_t u = 0; u < units; u++) {
            int64_t slowest_ps = 0;

            for (int32_t i = 0; i < cutter->mesh->width; i++) {
                int64_t time_ps = problem_units_ps(
                    problem, alpaserve_devices(cutter->search, cutter->mesh, s)[i], u, u);

                slowest_ps = time_ps > slowest_ps ? time_ps : slowest_ps;
            }
            costs[(size_t)s * (size_t)units + (size_t)u] = (double)part_of(cutter, slowest_ps);
        }
    return costs;
}

/* The cut of the shortest period over all stages of the mesh. */
static struct chain_answer cut(const struct cutter *cutter)
{
    struct arena *arena = cutter->search->arena;
    int32_t stages = cutter->mesh->stage_count;
    int32_t *ones = arena_array(arena, (size_t)stages, sizeof *ones);
    struct chain chain = { .unit_count = problem_unit_count(cutter->variant->problem),
                           .kind_count = stages,
                           .device_counts = ones,
                           .border_cost = border_cost,
                           .has_room = has_room,
                           .entry_cost = entry_cost,
                           .exit_cost = exit_cost,
                           .arg = cutter };

    for (int32_t s = 0; s < stages; s++)
        ones[s] = 1;
    if (chain.unit_count < stages)
        return (struct chain_answer){ .is_feasible = false };
    chain.unit_costs = unit_costs(cutter);
    return chain_order(arena, &chain, CHAIN_PERIOD, true);
}

/* Its best variant of the mesh's width; none: it cannot be there. */
static struct alpaserve_hosting hosting_of(const struct alpaserve *search,
                                           const struct alpaserve_service *service,
                                           const struct alpaserve_mesh *mesh)
{
    struct chain_answer best = { .is_feasible = false };
    const struct alpaserve_variant *with = NULL;
    struct alpaserve_hosting hosting = { NULL, 0 };
    struct problem_shard *shards;

    for (int v = 0; v < service->variant_count; v++) {
        const struct alpaserve_variant *variant = &service->variants[v];
        struct cutter cutter = { search, variant, mesh,
                                 problem_input(variant->problem)->model ? mesh->width : 1 };
        struct chain_answer answer;

        if (variant->width != mesh->width)
            continue;
        answer = cut(&cutter);
        if (answer.is_feasible && (!with || answer.cost < best.cost)) {
            best = answer;
            with = variant;
        }
    }
    if (!with)
        return hosting;
    shards = arena_array(search->arena, (size_t)mesh->stage_count, sizeof *shards);
    for (int32_t s = 0; s < mesh->stage_count; s++)
        shards[s] = (struct problem_shard){ alpaserve_devices(search, mesh, s), mesh->width,
                                            best.stages[s].first, best.stages[s].last };
    hosting.rows = problem_shard_rows(search->arena, with->problem, shards, mesh->stage_count,
                                      &hosting.row_count);
    return hosting;
}

/* ---- layouts ---- */

/* As many meshes of a size as the devices hold; what is left over becomes pipelines, in powers of
 * two. */
static void add_meshes(struct alpaserve_mesh *meshes, int32_t *count, int32_t first,
                       int32_t device_count, int32_t size, int32_t width)
{
    int32_t used = 0;

    for (; device_count - used >= size; used += size)
        meshes[(*count)++] = (struct alpaserve_mesh){ first + used, size / width, width };
    while (used < device_count) {
        int32_t power = 1;

        while (2 * power <= device_count - used)
            power *= 2;
        meshes[(*count)++] = (struct alpaserve_mesh){ first + used, power, 1 };
        used += power;
    }
}

static struct alpaserve_layout with_hostings(const struct alpaserve *search,
                                             const struct alpaserve_part *part,
                                             const struct alpaserve_mesh *meshes, int32_t count)
{
    struct alpaserve_hosting *hostings =
        arena_array(search->arena, (size_t)search->service_count * (size_t)count, sizeof *hostings);

    for (int32_t i = 0; i < part->service_count; i++)
        for (int32_t m = 0; m < count; m++)
            hostings[part->services[i] * count + m] =
                hosting_of(search, &search->services[part->services[i]], &meshes[m]);
    return (struct alpaserve_layout){ count, meshes, hostings };
}

static struct alpaserve_layout layout_of(const struct alpaserve *search,
                                         const struct alpaserve_part *part, int32_t size,
                                         int32_t width)
{
    struct alpaserve_mesh *meshes =
        arena_array(search->arena, (size_t)part->device_count, sizeof *meshes);
    int32_t count = 0;

    add_meshes(meshes, &count, part->first, part->device_count, size, width);
    return with_hostings(search, part, meshes, count);
}

/* The least number of the part's first devices that hold a service in a pipeline; 0: none does. */
static int32_t least_size(const struct alpaserve *search, const struct alpaserve_part *part,
                          int32_t service)
{
    for (int32_t size = 1; size <= part->device_count; size++) {
        struct alpaserve_mesh mesh = { part->first, size, 1 };

        if (hosting_of(search, &search->services[service], &mesh).row_count > 0)
            return size;
    }
    return 0;
}

/* Devices of the part from one on that are like it. */
static int32_t alike_from(const struct alpaserve *search, const struct alpaserve_part *part,
                          int32_t first)
{
    int32_t end = first;

    while (end < part->first + part->device_count &&
           problem_are_twins(search->cluster, search->order[first], search->order[end]))
        end++;
    return end - first;
}

/* Where devices differ: pipelines of devices that are alike, of each kind as short as all services
 * need that fit on it. */
static struct alpaserve_layout kinds_layout(const struct alpaserve *search,
                                            const struct alpaserve_part *part)
{
    struct alpaserve_mesh *meshes =
        arena_array(search->arena, (size_t)part->device_count, sizeof *meshes);
    int32_t count = 0, end = part->first + part->device_count;

    for (int32_t first = part->first, alike; first < end; first += alike) {
        struct alpaserve_part own = *part;
        int32_t most = 1;

        alike = alike_from(search, part, first);
        own.first = first;
        own.device_count = alike;
        for (int32_t i = 0; i < part->service_count; i++) {
            int32_t size = least_size(search, &own, part->services[i]);

            most = size > most ? size : most;
        }
        add_meshes(meshes, &count, first, alike, most, 1);
    }
    return with_hostings(search, part, meshes, count);
}

static void add_size(int32_t *sizes, int *count, int32_t size)
{
    for (int i = 0; i < *count; i++)
        if (sizes[i] == size)
            return;
    sizes[(*count)++] = size;
}

const struct alpaserve_layout *alpaserve_layouts(struct alpaserve *search,
                                                 const struct alpaserve_part *part, int *count)
{
    int32_t *sizes = arena_array(search->arena, 40 + (size_t)part->service_count, sizeof *sizes);
    int size_count = 0;
    struct alpaserve_layout *layouts;

    for (int64_t size = 1; size <= part->device_count; size *= 2)
        add_size(sizes, &size_count, (int32_t)size);
    add_size(sizes, &size_count, part->device_count);
    for (int32_t i = 0; i < part->service_count; i++) {
        int32_t size = least_size(search, part, part->services[i]);

        if (size > 0)
            add_size(sizes, &size_count, size);
    }
    layouts = arena_array(search->arena, 3 * (size_t)size_count + 1, sizeof *layouts);
    *count = 0;
    for (int i = 0; i < size_count; i++)
        for (int32_t width = 1; width <= MOST_WIDTH; width *= 2)
            if (sizes[i] % width == 0)
                layouts[(*count)++] = layout_of(search, part, sizes[i], width);
    if (alike_from(search, part, part->first) < part->device_count)
        layouts[(*count)++] = kinds_layout(search, part);
    return layouts;
}
