/* standstill.c - a circle in who waits for whom.
 *
 * Devices of one executable wait for one another, so that they count as one. A stage of a model on
 * several devices keeps itself and not its devices: it is a node of its own, that waits for them.
 * What is left when those who wait for nobody are taken away, again and again, lies on circles or
 * leads to them. */
#include "lib/policy/standstill.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/policy/plan.h"
#include <stdbool.h>
#include <stdint.h>

struct edge {         /* a job that is done in the stage before waits for room in `stage` */
    int32_t from, to; /* devices, or behind them stages */
    const struct plan_stage *before, *stage; /* stage NULL: that before waits for its devices */
};

struct graph {
    struct arena *arena;
    const struct plan *plan;
    int32_t *leader; /* by device: one that stands for all that share a stage with it */
    struct edge *edges;
    int32_t count, room;
    int32_t *waits; /* by node: edges from it that are left */
};

static int32_t leader_of(struct graph *graph, int32_t device)
{
    while (graph->leader[device] != device) {
        graph->leader[device] = graph->leader[graph->leader[device]];
        device = graph->leader[device];
    }
    return device;
}

static void devices_join(struct graph *graph)
{
    for (int i = 0; i < graph->plan->cluster->device_count; i++)
        graph->leader[i] = i;
    for (int i = 0; i < graph->plan->stage_count; i++) {
        const struct plan_stage *stage = graph->plan->stages[i];

        for (int k = 1; k < stage->device_count && stage->executable; k++)
            graph->leader[leader_of(graph, stage->devices[k])] =
                leader_of(graph, stage->devices[0]);
    }
}

static bool is_sliced(const struct plan_stage *stage)
{
    return !stage->executable && stage->device_count > 1;
}

static int32_t node_of(struct graph *graph, const struct plan_stage *stage)
{
    return is_sliced(stage) ? graph->plan->cluster->device_count + stage->id
                            : leader_of(graph, stage->devices[0]);
}

static void edge_add(struct graph *graph, struct edge edge)
{
    if (graph->count == graph->room) {
        int32_t room = arena_wider(graph->room, 16);

        graph->edges = arena_grow(graph->arena, graph->edges, (size_t)graph->room, (size_t)room,
                                  sizeof *graph->edges);
        graph->room = room;
    }
    graph->edges[graph->count++] = edge;
    graph->waits[edge.from]++;
}

static void needs_add(struct graph *graph)
{
    for (int i = 0; i < graph->plan->stage_count; i++) {
        const struct plan_stage *stage = graph->plan->stages[i];

        for (int k = 0; k < stage->device_count && is_sliced(stage); k++)
            edge_add(graph, (struct edge){ node_of(graph, stage),
                                           leader_of(graph, stage->devices[k]), stage, NULL });
    }
}

/* From each alternative of a stage to each of the next. */
static void edges_of(struct graph *graph, const struct plan_stage *stages, int count)
{
    for (int s = 1; s < count; s++)
        for (int a = 0; a < stages[s - 1].copy_count; a++)
            for (int b = 0; b < stages[s].copy_count; b++)
                if (stages[s].copies[b]->queue_depth > 0)
                    edge_add(graph, (struct edge){ node_of(graph, stages[s - 1].copies[a]),
                                                   node_of(graph, stages[s].copies[b]),
                                                   stages[s - 1].copies[a], stages[s].copies[b] });
}

/* Takes away all that leads to devices which wait for nobody. */
static void edges_prune(struct graph *graph)
{
    bool has_changed = true;

    while (has_changed) {
        int32_t kept = 0;

        for (int32_t i = 0; i < graph->count; i++) {
            if (graph->waits[graph->edges[i].to] > 0)
                graph->edges[kept++] = graph->edges[i];
            else
                graph->waits[graph->edges[i].from]--;
        }
        has_changed = kept < graph->count;
        graph->count = kept;
    }
}

static const struct edge *edge_from(const struct graph *graph, int32_t node)
{
    int32_t i = 0;

    while (graph->edges[i].from != node)
        i++;
    return &graph->edges[i];
}

static const char *name_of(const struct graph *graph, const struct plan_stage *stage)
{
    const struct plan_replica *replica = &graph->plan->replicas[stage->replica];

    return arena_printf(graph->arena, "stage %d of replica %d of service '%.64s'",
                        (int)stage->number, (int)replica->number,
                        graph->plan->services[replica->service].name);
}

static const char *edge_text(const struct graph *graph, const struct edge *edge)
{
    const struct cluster_device *devices = graph->plan->cluster->devices;
    const char *before = name_of(graph, edge->before);

    if (!edge->stage)
        return arena_printf(graph->arena, "%s needs %.64s", before, devices[edge->to].name);
    return arena_printf(
        graph->arena,
        "%s%s until the queue of stage %d (queue_depth %d) has room, for which %s must be free",
        is_sliced(edge->before)
            ? ""
            : arena_printf(graph->arena, "%.64s may be kept by ", devices[edge->from].name),
        is_sliced(edge->before) ? arena_printf(graph->arena, "%s may stop", before) : before,
        (int)edge->stage->number, (int)edge->stage->queue_depth,
        is_sliced(edge->stage) ? "that stage" : devices[edge->to].name);
}

/* Everyone who is left waits for one that is left: going on leads into a circle. */
static const char *circle_text(const struct graph *graph)
{
    int32_t at = graph->edges[0].from, first;
    const char *text = "";

    for (int i = 0; i < graph->plan->cluster->device_count + graph->plan->stage_count; i++)
        at = edge_from(graph, at)->to;
    first = at;
    do {
        const struct edge *edge = edge_from(graph, at);

        text =
            arena_printf(graph->arena, "%s%s%s", text, *text ? "; " : "", edge_text(graph, edge));
        at = edge->to;
    } while (at != first);
    return text;
}

const char *standstill_possible(struct arena *arena, const struct plan *plan)
{
    size_t device_count = (size_t)plan->cluster->device_count;
    struct graph graph = { .arena = arena, .plan = plan };

    graph.leader = arena_array(arena, device_count, sizeof *graph.leader);
    graph.waits = arena_array(arena, device_count + (size_t)plan->stage_count, sizeof *graph.waits);
    devices_join(&graph);
    needs_add(&graph);
    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct plan_replica *replica = &plan->replicas[r];

        edges_of(&graph, replica->stages, replica->stage_count);
        if (replica->decode_stages != replica->stages)
            edges_of(&graph, replica->decode_stages, replica->decode_count);
    }
    edges_prune(&graph);
    return graph.count > 0 ? circle_text(&graph) : NULL;
}
