/* spread_chrome.c - operators and messages of an iteration as a Chrome trace. */
#include "lib/base/arena.h"
#include "lib/format/ops.h"
#include "sim/ops/graph.h"
#include "sim/ops/roles.h"
#include "sim/ops/spread.h"
#include "sim/report/chrome.h"
#include "sim/report/spread.h"
#include <inttypes.h>

/* One name a row, quoted once. */
struct names {
    struct arena *arena;
    const struct spread_result *result;
    const char **rows;
};

/* A task of a pipeline is a whole pass: "forward 3", "backward 3". */
static const char *pass_name(const struct names *names, const struct graph_task *task, bool is_back)
{
    if (task->part < 0)
        return "optimizer";
    return arena_printf(names->arena, "%s %d", is_back ? "backward" : "forward", task->part);
}

static const char *row_name(struct names *names, int32_t row)
{
    if (!names->rows[row])
        names->rows[row] = chrome_quote(names->arena, names->result->ops->rows[row].name);
    return names->rows[row];
}

static const char *message_name(const struct names *names, const struct graph_task *task)
{
    switch (names->result->options.parallel) {
    case SPREAD_PIPELINE:
        return arena_printf(names->arena, "micro-batch %d", task->part);
    case SPREAD_DDP:
        return arena_printf(names->arena, "bucket %d", task->part);
    case SPREAD_DATA:
        return "all-reduce";
    case SPREAD_TENSOR:
    case SPREAD_SINGLE:
    case SPREAD_PARALLEL_COUNT:
        break;
    }
    return "collective";
}

void spread_chrome(struct arena *arena, const struct spread_result *result, struct out *out)
{
    const struct graph *graph = result->graph;
    struct names names = { arena, result,
                           arena_array(arena, (size_t)result->ops->row_count, sizeof *names.rows) };
    struct chrome *chrome = chrome_begin(arena, out, 0);
    bool is_pipeline = result->options.parallel == SPREAD_PIPELINE;
    int64_t passes = result->micro_count * result->options.devices;

    chrome_process(chrome, "iteration");
    for (int32_t lane = 0; lane < graph->lane_count; lane++)
        chrome_track(chrome, lane + 1, lane < result->device_lanes ? "device" : "link",
                     result->lanes[lane]);
    for (int32_t i = 0; i < graph->task_count; i++) {
        const struct graph_task *task = &graph->tasks[i];
        bool is_message = task->row < 0;

        if (is_message)
            chrome_named(chrome, task->lane + 1, "message", message_name(&names, task),
                         task->start_ps, task->finish_ps, task->bytes);
        else if (is_pipeline)
            chrome_named(chrome, task->lane + 1, "compute", pass_name(&names, task, passes-- <= 0),
                         task->start_ps, task->finish_ps, -1);
        else
            chrome_named(chrome, task->lane + 1,
                         ops_stage_names[result->ops->rows[task->row].stage],
                         row_name(&names, task->row), task->start_ps, task->finish_ps, -1);
    }
    chrome_end(chrome);
}
