/* graph.h - tasks that wait for one another, on lanes that run one at a time.
 *
 * A lane is a device's stream of operators, a direction of a link, or the ring of a collective: its
 * tasks run in the order in which they were added, each not before all that it comes after is done.
 * A task keeps its lane for duration_ps, and is done latency_ps later (a message on its way).
 * Everything is a longest path, so no queue of events is needed; what cannot run, because it waits
 * for itself in the end, is told. */
#ifndef ORRERY_SIM_OPS_GRAPH_H
#define ORRERY_SIM_OPS_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;

/* Tasks, and waits, of one graph. */
#define GRAPH_MAX_TASKS 20000000

struct graph_task {
    int32_t lane;
    int32_t row;   /* operator; -1 = communication */
    int32_t part;  /* micro-batch, bucket or boundary; -1 = none */
    int64_t bytes; /* of communication, on the lane; 0 for operators */
    int64_t duration_ps, latency_ps;
    int64_t start_ps;  /* -1 = it never ran */
    int64_t finish_ps; /* the lane is free; done latency_ps later */
};

struct graph {
    struct arena *arena;
    int32_t lane_count, task_count, task_capacity;
    struct graph_task *tasks;
    int32_t wait_count, wait_capacity;
    struct graph_wait {
        int32_t task, before;
    } * waits;
    int64_t end_ps;   /* everything is done, messages included */
    int64_t *busy_ps; /* of each lane: the durations of what ran */
};

struct graph *graph_create(struct arena *arena, int32_t lane_count);
/* Its number. start_ps and finish_ps of the argument do not matter. */
int32_t graph_add(struct graph *graph, const struct graph_task *task);
/* task starts when before is done. Either may be added first, both must be there. */
void graph_after(struct graph *graph, int32_t task, int32_t before);
/* Fills in the times. False, with err untouched, when some tasks never run: their start_ps is -1.
 * False with an error when the end lies beyond UNITS_MAX_PS. */
bool graph_run(struct graph *graph, struct err *err);
/* Of a task that never ran: one that it comes after and that never ran either (a wait before the
 * order of its lane). */
int32_t graph_waits_for(const struct graph *graph, int32_t task);

#endif
