/* problem_score.c - what is predicted of a placement without simulation, and its rows. */
#include "sim/place/problem.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "sim/network/network.h"

/* What all stages of a device hold together: of activations the largest, of a tied matrix one. */
int64_t problem_stages_bytes(const struct problem *problem, const struct problem_stage *stages,
                             int32_t count, int32_t device)
{
    int64_t held_bytes = problem_input(problem)->cluster->devices[device].reserved_bytes;
    int64_t work_bytes = 0;
    int32_t end = problem_unit_count(problem) - 1;
    bool has_first = false, has_last = false;

    for (int32_t s = 0; s < count; s++) {
        if (stages[s].device != device)
            continue;
        for (int32_t u = stages[s].first; u <= stages[s].last; u++) {
            int64_t bytes = problem_work_bytes(problem, device, u);

            held_bytes = saturate_add(held_bytes, problem_held_bytes(problem, device, u));
            work_bytes = bytes > work_bytes ? bytes : work_bytes;
            has_first = has_first || u == 0;
            has_last = has_last || u == end;
        }
    }
    if (has_first && has_last && end > 0)
        held_bytes -= problem_tied_bytes(problem);
    return saturate_add(held_bytes, work_bytes);
}

/* What one request takes of the device of a stage: all its stages count, at the first of them. */
static void device_score(const struct problem *problem, const struct problem_stage *stages,
                         int32_t count, int32_t at, struct problem_score *score)
{
    const struct cluster_device *device =
        &problem_input(problem)->cluster->devices[stages[at].device];
    int64_t busy_ps = 0, bytes;

    for (int32_t s = 0; s < count; s++) {
        const struct problem_stage *stage = &stages[s];

        if (stage->device != stages[at].device)
            continue;
        if (s < at)
            return;
        busy_ps = saturate_add(busy_ps,
                               problem_units_ps(problem, stage->device, stage->first, stage->last));
    }
    if (busy_ps > score->period_ps) {
        score->period_ps = busy_ps;
        score->limit = at;
    }
    bytes = problem_stages_bytes(problem, stages, count, stages[at].device);
    if (device->memory_bytes > 0 && device->memory_bytes - bytes < score->room_bytes) {
        score->room_bytes = device->memory_bytes - bytes;
        score->room_device = stages[at].device;
    }
}

/* Stage s sends; the one before the first, -1, is the source. */
static void take_links(const struct problem *problem, const struct problem_stage *stages,
                       int32_t count, int32_t s, int64_t *taken_ps)
{
    problem_take_links(problem, s < 0 ? NETWORK_SOURCE : stages[s].device,
                       s + 1 < count ? stages[s + 1].device : NETWORK_SOURCE,
                       s < 0 ? 0 : stages[s].last, taken_ps);
}

/* Whoever has stages several times sends once. */
static int32_t sender_of(struct arena *arena, const struct problem *problem,
                         const struct problem_stage *stages, int32_t count, int32_t link)
{
    int64_t *taken_ps = arena_array(arena, (size_t)problem_link_count(problem), sizeof *taken_ps);
    int32_t sender = count;

    take_links(problem, stages, count, -1, taken_ps);
    for (int32_t s = 0; s < count; s++) {
        int64_t before_ps = taken_ps[link];

        take_links(problem, stages, count, s, taken_ps);
        if (taken_ps[link] == before_ps ||
            (sender < count && stages[sender].device == stages[s].device))
            continue;
        if (before_ps > 0)
            return -1;
        sender = s;
    }
    return sender;
}

/* What one request takes of each link, whoever sends. */
static void links_score(const struct problem *problem, const struct problem_stage *stages,
                        int32_t count, struct problem_score *score)
{
    struct arena *arena = arena_create();
    int64_t *taken_ps = arena_array(arena, (size_t)problem_link_count(problem), sizeof *taken_ps);

    score->link = -1;
    for (int32_t s = -1; s < count; s++)
        take_links(problem, stages, count, s, taken_ps);
    for (int32_t l = 0; l < problem_link_count(problem); l++)
        if (taken_ps[l] > score->period_ps) {
            score->period_ps = taken_ps[l];
            score->link = l;
        }
    if (score->link >= 0)
        score->limit = sender_of(arena, problem, stages, count, score->link);
    arena_destroy(arena);
}

struct problem_score problem_score(const struct problem *problem,
                                   const struct problem_stage *stages, int32_t count)
{
    struct problem_score score = { .room_bytes = INT64_MAX };

    score.latency_ps = problem_entry(problem, stages[0].device).time_ps;
    for (int32_t s = 0; s < count; s++) {
        const struct problem_stage *stage = &stages[s];
        struct problem_way way = s + 1 < count ? problem_border(problem, stage->device,
                                                                stages[s + 1].device, stage->last)
                                               : problem_exit(problem, stage->device);

        score.latency_ps = saturate_add(
            score.latency_ps, problem_units_ps(problem, stage->device, stage->first, stage->last));
        score.latency_ps = saturate_add(score.latency_ps, way.time_ps);
        device_score(problem, stages, count, s, &score);
    }
    links_score(problem, stages, count, &score);
    return score;
}

/* ---- what is missing ---- */

/* Of a unit on the devices that need least for it: weights and caches, or activations. */
static int64_t least_bytes(const struct problem *problem, int32_t unit, bool is_work)
{
    int64_t least = INT64_MAX;

    for (int32_t k = 0; k < problem_kind_count(problem); k++) {
        int32_t count, device = problem_devices(problem, k, &count)[0];
        int64_t bytes = is_work ? problem_work_bytes(problem, device, unit)
                                : problem_held_bytes(problem, device, unit);

        least = bytes < least ? bytes : least;
    }
    return least;
}

/* Weights and caches of all units, each once. */
static int64_t all_held_bytes(const struct problem *const *problems, int32_t count)
{
    int64_t held = 0;

    for (int32_t p = 0; p < count; p++) {
        for (int32_t u = 0; u < problem_unit_count(problems[p]); u++)
            held = saturate_add(held, least_bytes(problems[p], u, false));
        held -= problem_tied_bytes(problems[p]);
    }
    return held;
}

/* One device has it while it computes that unit. */
static int64_t most_work_bytes(const struct problem *const *problems, int32_t count)
{
    int64_t most = 0;

    for (int32_t p = 0; p < count; p++)
        for (int32_t u = 0; u < problem_unit_count(problems[p]); u++) {
            int64_t bytes = least_bytes(problems[p], u, true);

            most = bytes > most ? bytes : most;
        }
    return most;
}

static int64_t lacking_bytes(const struct cluster *cluster, int64_t need_bytes)
{
    int64_t free_bytes = 0;

    for (int d = 0; d < cluster->device_count; d++) {
        const struct cluster_device *device = &cluster->devices[d];

        if (device->memory_bytes == 0)
            return 0;
        if (device->memory_bytes > device->reserved_bytes)
            free_bytes = saturate_add(free_bytes, device->memory_bytes - device->reserved_bytes);
    }
    return need_bytes > free_bytes ? need_bytes - free_bytes : 0;
}

int64_t problem_missing_of_all(const struct problem *const *problems, int32_t count)
{
    return lacking_bytes(
        problem_input(problems[0])->cluster,
        saturate_add(all_held_bytes(problems, count), most_work_bytes(problems, count)));
}

bool problem_is_hopeless(const struct problem *const *problems, int32_t count)
{
    for (int32_t p = 0; p < count; p++)
        if (!problem_input(problems[p])->model)
            return false;
    return lacking_bytes(problem_input(problems[0])->cluster, all_held_bytes(problems, count)) > 0;
}

int64_t problem_missing_bytes(const struct problem *problem)
{
    return problem_missing_of_all(&problem, 1);
}

/* ---- rows ---- */

static void add_row(const struct problem *problem, const struct problem_stage *stage,
                    int32_t number, struct placement_row *rows, int *count)
{
    const struct problem_input *input = problem_input(problem);

    rows[(*count)++] =
        (struct placement_row){ .service = input->service,
                                .device = input->cluster->devices[stage->device].name,
                                .model = input->model ? input->model->name : "",
                                .executable = input->model ? "" : input->executable,
                                .stage = number,
                                .layer_first = -1,
                                .layer_last = -1,
                                .part_of = 1 };
}

#define LAYER_BLOCKS                                                                               \
    (1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN |             \
     1u << BLOCK_CONN)

/* Of a model: its ends in rows of their own, for they have no layers. */
static void stage_rows(const struct problem *problem, const struct problem_stage *stage,
                       int32_t number, struct placement_row *rows, int *count)
{
    int32_t end = problem_unit_count(problem) - 1;
    struct placement_row *row;

    if (!problem_input(problem)->model) {
        add_row(problem, stage, number, rows, count);
        row = &rows[*count - 1];
        row->layer_first = stage->first;
        row->layer_last = stage->last;
        return;
    }
    if (stage->first == 0) {
        add_row(problem, stage, number, rows, count);
        rows[*count - 1].blocks = 1u << BLOCK_EMBED;
    }
    if (stage->last > 0 && stage->first < end) {
        add_row(problem, stage, number, rows, count);
        row = &rows[*count - 1];
        row->blocks = LAYER_BLOCKS;
        row->layer_first = (stage->first > 1 ? stage->first : 1) - 1;
        row->layer_last = (stage->last < end ? stage->last : end - 1) - 1;
    }
    if (stage->last == end) {
        add_row(problem, stage, number, rows, count);
        rows[*count - 1].blocks = 1u << BLOCK_LM_HEAD;
    }
}

struct placement_row *problem_rows(struct arena *arena, const struct problem *problem,
                                   const struct problem_stage *stages, int32_t count,
                                   int *row_count)
{
    struct placement_row *rows = arena_array(arena, 3 * (size_t)count, sizeof *rows);

    *row_count = 0;
    for (int32_t s = 0; s < count; s++)
        stage_rows(problem, &stages[s], s, rows, row_count);
    return rows;
}
