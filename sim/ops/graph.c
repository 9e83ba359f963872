/* graph.c - the longest path through tasks, in topological order (Kahn, 1962). */
#include "sim/ops/graph.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include <assert.h>
#include <stddef.h>

struct graph *graph_create(struct arena *arena, int32_t lane_count)
{
    struct graph *graph = arena_alloc(arena, sizeof *graph);

    graph->arena = arena;
    graph->lane_count = lane_count;
    return graph;
}

int32_t graph_add(struct graph *graph, const struct graph_task *task)
{
    assert(task->lane >= 0 && task->lane < graph->lane_count && task->duration_ps >= 0 &&
           task->latency_ps >= 0);
    if (graph->task_count == graph->task_capacity) {
        int32_t larger = graph->task_capacity > 0 ? 2 * graph->task_capacity : 256;

        assert(graph->task_count < GRAPH_MAX_TASKS);
        graph->tasks = arena_grow(graph->arena, graph->tasks, (size_t)graph->task_count,
                                  (size_t)larger, sizeof *graph->tasks);
        graph->task_capacity = larger;
    }
    graph->tasks[graph->task_count] = *task;
    return graph->task_count++;
}

void graph_after(struct graph *graph, int32_t task, int32_t before)
{
    if (graph->wait_count == graph->wait_capacity) {
        int32_t larger = graph->wait_capacity > 0 ? 2 * graph->wait_capacity : 256;

        assert(graph->wait_count < INT32_MAX / 4);
        graph->waits = arena_grow(graph->arena, graph->waits, (size_t)graph->wait_count,
                                  (size_t)larger, sizeof *graph->waits);
        graph->wait_capacity = larger;
    }
    graph->waits[graph->wait_count++] = (struct graph_wait){ task, before };
}

/* What a run needs and nobody else: who follows whom, and how many are still waited for. */
struct run {
    int32_t *first;    /* of the followers of task i: [first[i], first[i + 1]) */
    int32_t *follower; /* tasks */
    int32_t *left;     /* waits of task i that are not done */
    int32_t *next;     /* behind task i on its lane; -1 = none */
    int64_t *ready_ps; /* of task i so far */
    int32_t *queue;
};

static void link_waits(const struct graph *graph, struct run *run)
{
    int32_t count = graph->task_count;
    int32_t *at = arena_array(graph->arena, (size_t)count, sizeof *at);

    for (int32_t i = 0; i < graph->wait_count; i++) {
        assert(graph->waits[i].task < count && graph->waits[i].before < count);
        run->first[graph->waits[i].before + 1]++;
        run->left[graph->waits[i].task]++;
    }
    for (int32_t i = 0; i < count; i++) {
        run->first[i + 1] += run->first[i];
        at[i] = run->first[i];
    }
    for (int32_t i = 0; i < graph->wait_count; i++)
        run->follower[at[graph->waits[i].before]++] = graph->waits[i].task;
}

static void link_lanes(const struct graph *graph, struct run *run)
{
    int32_t *last = arena_array(graph->arena, (size_t)graph->lane_count, sizeof *last);

    for (int32_t lane = 0; lane < graph->lane_count; lane++)
        last[lane] = -1;
    for (int32_t i = 0; i < graph->task_count; i++) {
        int32_t lane = graph->tasks[i].lane;

        run->next[i] = -1;
        if (last[lane] >= 0) {
            run->next[last[lane]] = i;
            run->left[i]++;
        }
        last[lane] = i;
    }
}

static struct run prepare(const struct graph *graph)
{
    size_t count = (size_t)graph->task_count;
    struct run run = {
        .first = arena_array(graph->arena, count + 1, sizeof *run.first),
        .follower = arena_array(graph->arena, (size_t)graph->wait_count, sizeof *run.follower),
        .left = arena_array(graph->arena, count, sizeof *run.left),
        .next = arena_array(graph->arena, count, sizeof *run.next),
        .ready_ps = arena_array(graph->arena, count, sizeof *run.ready_ps),
        .queue = arena_array(graph->arena, count, sizeof *run.queue),
    };

    link_waits(graph, &run);
    link_lanes(graph, &run);
    return run;
}

static void release(struct run *run, int32_t task, int64_t at_ps, int32_t *tail)
{
    if (run->ready_ps[task] < at_ps)
        run->ready_ps[task] = at_ps;
    if (--run->left[task] == 0)
        run->queue[(*tail)++] = task;
}

bool graph_run(struct graph *graph, struct err *err)
{
    struct run run = prepare(graph);
    int32_t head = 0, tail = 0;

    graph->end_ps = 0;
    graph->busy_ps = arena_array(graph->arena, (size_t)graph->lane_count, sizeof *graph->busy_ps);
    for (int32_t i = 0; i < graph->task_count; i++) {
        graph->tasks[i].start_ps = graph->tasks[i].finish_ps = -1;
        if (run.left[i] == 0)
            run.queue[tail++] = i;
    }
    while (head < tail) {
        int32_t at = run.queue[head++];
        struct graph_task *task = &graph->tasks[at];
        int64_t done_ps;

        task->start_ps = run.ready_ps[at];
        if (task->duration_ps > UNITS_MAX_PS - task->start_ps ||
            task->latency_ps > UNITS_MAX_PS - task->start_ps - task->duration_ps)
            return err_set(err, ERR_INPUT, "the iteration takes more than 9000000 s");
        task->finish_ps = task->start_ps + task->duration_ps;
        graph->busy_ps[task->lane] += task->duration_ps;
        done_ps = task->finish_ps + task->latency_ps;
        if (done_ps > graph->end_ps)
            graph->end_ps = done_ps;
        if (run.next[at] >= 0)
            release(&run, run.next[at], task->finish_ps, &tail);
        for (int32_t i = run.first[at]; i < run.first[at + 1]; i++)
            release(&run, run.follower[i], done_ps, &tail);
    }
    return tail == graph->task_count;
}

int32_t graph_waits_for(const struct graph *graph, int32_t task)
{
    int32_t before = -1;

    for (int32_t i = 0; i < graph->wait_count; i++)
        if (graph->waits[i].task == task && graph->tasks[graph->waits[i].before].start_ps < 0)
            return graph->waits[i].before;
    for (int32_t i = 0; i < task; i++)
        if (graph->tasks[i].lane == graph->tasks[task].lane)
            before = i;
    return before;
}
