/* infscale.c - replicas of the best pipelines of like devices, packed on nodes (InfScale's template
 * packing). A template is our own best pipeline of a number of devices that are alike; how many
 * replicas of each go where is pack.h's answer, for each group of nodes that are alike. */
#include "sim/place/place.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/base/wide.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "sim/place/pack.h"
#include <stddef.h>
#include <string.h>

/* Rates are whole requests in 10^9 s, of which a request in a microsecond is the most. */
#define MOST_RATE INT64_C(1000000000000000)

struct node {
    int32_t *devices; /* like its first one, in file order */
    int32_t count;
};

struct template
{ /* of a number of devices; stage_count 0: there is none */
    int32_t stage_count;
    struct chain_stage *stages; /* kind: place in the list of its devices */
    int64_t period_ps;
    bool is_rest_first; /* the node that it shares has the first stages; else the last ones */
};

struct group { /* nodes that are alike */
    int32_t *nodes;
    int32_t node_count, node_devices;
    int32_t size_count;
    struct template *templates; /* by size - 1 */
    const struct pack *pack;
};

struct fleet {
    const struct problem *problem;
    const struct cluster *cluster;
    struct node *nodes;
    struct group *groups;
    int32_t node_count, group_count, set_count;
};

/* ---- nodes and groups ---- */

static int32_t twins_at(const struct cluster *cluster, int32_t device)
{
    int32_t count = 0;

    for (int32_t d = 0; d < cluster->device_count; d++)
        count += strcmp(cluster->devices[d].node, cluster->devices[device].node) == 0 &&
                 problem_are_twins(cluster, d, device);
    return count;
}

/* Of a node whose devices differ, those of which it has most. */
static struct node node_of(struct arena *arena, const struct cluster *cluster, int32_t first)
{
    struct node node = { 0 };
    int32_t like = first;

    for (int32_t d = first; d < cluster->device_count; d++)
        if (strcmp(cluster->devices[d].node, cluster->devices[first].node) == 0 &&
            twins_at(cluster, d) > twins_at(cluster, like))
            like = d;
    node.devices = arena_array(arena, (size_t)twins_at(cluster, like), sizeof *node.devices);
    for (int32_t d = 0; d < cluster->device_count; d++)
        if (strcmp(cluster->devices[d].node, cluster->devices[like].node) == 0 &&
            problem_are_twins(cluster, d, like))
            node.devices[node.count++] = d;
    return node;
}

static void fleet_fill(struct arena *arena, struct fleet *fleet)
{
    const struct cluster *cluster = fleet->cluster;
    size_t most = (size_t)cluster->device_count;

    fleet->nodes = arena_array(arena, most, sizeof *fleet->nodes);
    fleet->groups = arena_array(arena, most, sizeof *fleet->groups);
    for (int32_t d = 0; d < cluster->device_count; d++) {
        const struct node *node = &fleet->nodes[fleet->node_count];
        int32_t g = 0, before = 0;

        while (strcmp(cluster->devices[before].node, cluster->devices[d].node) != 0)
            before++;
        if (before < d)
            continue;
        fleet->nodes[fleet->node_count] = node_of(arena, cluster, d);
        while (g < fleet->group_count &&
               !(fleet->groups[g].node_devices == node->count &&
                 problem_are_twins(cluster, fleet->nodes[fleet->groups[g].nodes[0]].devices[0],
                                   node->devices[0])))
            g++;
        if (g == fleet->group_count) {
            fleet->groups[g].nodes = arena_array(arena, most, sizeof(int32_t));
            fleet->groups[g].node_devices = node->count;
            fleet->group_count++;
        }
        fleet->groups[g].nodes[fleet->groups[g].node_count++] = fleet->node_count++;
    }
}

/* ---- templates ---- */

/* Devices of a deployment in order of its stages: those of its whole nodes, which follow each
 * other, and of the node that it shares. */
static void devices_of(const struct fleet *fleet, const struct group *group,
                       const struct pack_deployment *deployment, bool is_rest_first,
                       int32_t *devices)
{
    int32_t whole = deployment->size / group->node_devices;
    int32_t rest = deployment->size % group->node_devices, count = is_rest_first ? rest : 0;

    for (int32_t n = 0; n < whole; n++) {
        const struct node *node = &fleet->nodes[group->nodes[deployment->first_node + n]];

        for (int32_t i = 0; i < node->count; i++)
            devices[count++] = node->devices[i];
    }
    for (int32_t i = 0; i < rest; i++)
        devices[(is_rest_first ? 0 : count) + i] =
            fleet->nodes[group->nodes[deployment->rest_node]].devices[deployment->rest_first + i];
}

/* On the first nodes of the group, which stand for all: stages fill node after node. */
static void template_try(struct arena *arena, const struct fleet *fleet, const struct group *group,
                         int32_t size, bool is_rest_first)
{
    struct template *best = &group->templates[size - 1];
    struct pack_deployment like = { size, 0, size / group->node_devices, 0 };
    struct arena *scratch = arena_create();
    int32_t *devices = arena_array(scratch, (size_t)size, sizeof *devices);
    struct chain_answer answer;

    devices_of(fleet, group, &like, is_rest_first, devices);
    answer = chain_order(scratch,
                         problem_list_chain(scratch, fleet->problem, CHAIN_PERIOD, devices, size),
                         CHAIN_PERIOD, true);
    if (answer.is_feasible && (best->stage_count == 0 || answer.cost < (double)best->period_ps)) {
        best->stage_count = size;
        best->stages = arena_array(arena, (size_t)size, sizeof *best->stages);
        memcpy(best->stages, answer.stages, (size_t)size * sizeof *best->stages);
        best->period_ps = (int64_t)answer.cost;
        best->is_rest_first = is_rest_first;
    }
    arena_destroy(scratch);
}

static int64_t rate_of(int64_t period_ps)
{
    uint64_t rest;

    return period_ps <= UNITS_PS_PER_S / 1000000
               ? MOST_RATE
               : (int64_t)wide_div(wide_mul((uint64_t)UNITS_PS_PER_S, 1000000000),
                                   (uint64_t)period_ps, &rest);
}

static void group_pack(struct arena *arena, const struct fleet *fleet, struct group *group)
{
    int32_t units = problem_unit_count(fleet->problem);
    int32_t devices = group->node_count * group->node_devices;
    int64_t *values;

    group->size_count = devices < units ? devices : units;
    values = arena_array(arena, (size_t)group->size_count, sizeof *values);
    group->templates = arena_array(arena, (size_t)group->size_count, sizeof *group->templates);
    for (int32_t size = 1; size <= group->size_count; size++) {
        template_try(arena, fleet, group, size, false);
        if (size > group->node_devices && size % group->node_devices > 0)
            template_try(arena, fleet, group, size, true);
        values[size - 1] = group->templates[size - 1].stage_count > 0
                               ? rate_of(group->templates[size - 1].period_ps)
                               : PACK_NONE;
    }
    group->pack =
        pack_create(arena, &(struct pack_input){ group->node_count, group->node_devices,
                                                 group->size_count, values, fleet->set_count });
}

/* ---- all groups together ---- */

/* The most that groups up to each one are worth with so many disjoint deployments, and how these
 * divide: those of the group itself times (set_count + 1), and those before it. */
struct share {
    int64_t value;
    int32_t sets;
};

static struct share *shares_fill(struct arena *arena, const struct fleet *fleet)
{
    int32_t most = fleet->set_count, width = most + 1;
    struct share *shares =
        arena_array(arena, ((size_t)fleet->group_count + 1) * (size_t)width, sizeof *shares);

    for (int32_t s = 1; s < width; s++)
        shares[s].value = PACK_NONE;
    for (int32_t g = 0; g < fleet->group_count; g++) {
        const struct share *before = &shares[(ptrdiff_t)g * width];
        struct share *after = &shares[((ptrdiff_t)g + 1) * width];

        for (int32_t s = 0; s < width; s++)
            after[s] = (struct share){ PACK_NONE, 0 };
        for (int32_t s = 0; s < width; s++)
            for (int32_t own = 0; own < width; own++) {
                int64_t value = pack_value(fleet->groups[g].pack, own, false);
                struct share *to = &after[s + own < most ? s + own : most];

                if (before[s].value == PACK_NONE || value == PACK_NONE)
                    continue;
                value = saturate_add(before[s].value, value);
                if (value > to->value)
                    *to = (struct share){ value, own * width + s };
            }
    }
    return shares;
}

struct writer {
    struct arena *arena;
    const struct fleet *fleet;
    struct placement_row *rows;
    int row_count;
    int32_t replica;
    const char **lines;
    int line_count;
};

static void write_replica(struct writer *writer, const struct group *group,
                          const struct pack_deployment *deployment)
{
    const struct template *template = &group->templates[deployment->size - 1];
    size_t size = (size_t)deployment->size;
    int32_t *devices = arena_array(writer->arena, size, sizeof *devices);
    struct problem_stage *stages = arena_array(writer->arena, size, sizeof *stages);
    const struct placement_row *rows;
    int count;

    devices_of(writer->fleet, group, deployment, template->is_rest_first, devices);
    for (int32_t s = 0; s < deployment->size; s++)
        stages[s] = (struct problem_stage){ devices[template->stages[s].kind],
                                            template->stages[s].first, template->stages[s].last };
    rows = problem_rows(writer->arena, writer->fleet->problem, stages, deployment->size, &count);
    for (int i = 0; i < count; i++) {
        struct placement_row *row = &writer->rows[writer->row_count++];

        *row = rows[i];
        row->replica = writer->replica;
    }
    writer->replica++;
}

/* "3 replicas of 2 devices like 'pi0': a request in 1.5 s each". */
static void explain(struct writer *writer, const struct group *group, int32_t size, int32_t count)
{
    const struct node *node = &writer->fleet->nodes[group->nodes[0]];
    char period[UNITS_TEXT_BYTES];

    writer->lines[writer->line_count++] = arena_printf(
        writer->arena, "%d replica%s of %d device%s like '%s', each with a period of %s",
        (int)count, units_s(count), (int)size, units_s(size),
        writer->fleet->cluster->devices[node->devices[0]].name,
        units_format_human(group->templates[size - 1].period_ps, period));
}

static void write_group(struct writer *writer, const struct group *group, int32_t sets)
{
    int32_t count;
    const struct pack_deployment *list =
        pack_deployments(writer->arena, group->pack, sets, false, &count);

    for (int32_t i = 0; i < count; i++)
        write_replica(writer, group, &list[i]);
    for (int32_t size = 1; size <= group->size_count; size++) {
        int32_t same = 0;

        for (int32_t i = 0; i < count; i++)
            same += list[i].size == size;
        if (same > 0)
            explain(writer, group, size, same);
    }
}

static const char *why_not(struct arena *arena, const struct fleet *fleet,
                           const struct share *shares)
{
    int64_t missing_bytes = problem_missing_bytes(fleet->problem);
    int32_t sets = fleet->set_count;

    while (sets > 0 && shares[sets].value == PACK_NONE)
        sets--;
    if (sets > 0)
        return arena_printf(arena,
                            "%d node%s may fail: that takes %d replicas without a common node, and "
                            "%d fit%s",
                            (int)fleet->set_count - 1, units_s(fleet->set_count - 1),
                            (int)fleet->set_count, (int)sets, sets == 1 ? "s" : "");
    if (missing_bytes > 0)
        return arena_printf(arena, "all devices together lack %lld bytes",
                            (long long)missing_bytes);
    return "no pipeline of devices that are alike fits";
}

struct place_answer place_infscale(struct arena *arena, const struct place_ask *ask)
{
    const struct problem *problem = ask->problems[0];
    struct fleet fleet = { .problem = problem,
                           .cluster = problem_input(problem)->cluster,
                           .set_count = ask->fault_count + 1 };
    struct writer writer = { .arena = arena, .fleet = &fleet };
    const struct share *shares;
    int32_t *sets, width = fleet.set_count + 1, at = fleet.set_count;

    fleet_fill(arena, &fleet);
    for (int32_t g = 0; g < fleet.group_count; g++)
        group_pack(arena, &fleet, &fleet.groups[g]);
    shares = shares_fill(arena, &fleet);
    if (shares[(ptrdiff_t)fleet.group_count * width + at].value == PACK_NONE)
        return (struct place_answer){
            .why = why_not(arena, &fleet, &shares[(ptrdiff_t)fleet.group_count * width])
        };
    sets = arena_array(arena, (size_t)fleet.group_count, sizeof *sets);
    for (int32_t g = fleet.group_count - 1; g >= 0; g--) {
        const struct share *share = &shares[((ptrdiff_t)g + 1) * width + at];

        sets[g] = share->sets / width;
        at = share->sets % width;
    }
    writer.rows = arena_array(arena, 3 * (size_t)fleet.cluster->device_count, sizeof *writer.rows);
    writer.lines = arena_array(arena, (size_t)fleet.cluster->device_count, sizeof *writer.lines);
    for (int32_t g = 0; g < fleet.group_count; g++)
        write_group(&writer, &fleet.groups[g], sets[g]);
    return (struct place_answer){ .is_feasible = true,
                                  .rows = writer.rows,
                                  .row_count = writer.row_count,
                                  .why = "",
                                  .lines = writer.lines,
                                  .line_count = writer.line_count };
}
