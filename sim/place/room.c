/* room.c - rows become the outline of a plan, whose footprint is compared with the devices. */
#include "sim/place/room.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/policy/footprint.h"
#include "lib/policy/plan.h"
#include "sim/judge/judge.h"
#include "sim/place/place.h"
#include <string.h>

static struct footprint_load *loads_of(struct arena *arena, const struct problem *const *problems,
                                       int32_t problem_count, const struct plan *plan)
{
    struct footprint_load *loads = arena_array(arena, (size_t)plan->service_count, sizeof *loads);

    for (int s = 0; s < plan->service_count; s++)
        loads[s] =
            (struct footprint_load){ .context_tokens = 1, .sequences = 1, .block_tokens = 1 };
    for (int32_t p = 0; p < problem_count; p++) {
        const struct problem_input *input = problem_input(problems[p]);
        int32_t number = plan_find_service(plan, input->service);
        bool is_decoder = input->model && input->model->kind == MODEL_DECODER;

        if (number < 0)
            continue;
        loads[number].context_tokens =
            (int64_t)input->prompt_tokens + (is_decoder ? input->output_tokens : 0);
        loads[number].sequences = is_decoder ? input->sequences : 1;
        loads[number].step_tokens = input->prompt_tokens;
    }
    return loads;
}

bool room_of_rows(struct arena *arena, const struct problem *const *problems, int32_t problem_count,
                  struct model_catalogue *catalogue, struct placement_row *rows, int row_count,
                  struct room *room, struct err *err)
{
    const struct problem_input *input = problem_input(problems[0]);
    struct placement placement = { .path = "placement", .rows = rows, .count = row_count };
    const struct plan *plan =
        plan_outline(arena, &placement, input->cluster, input->costs, catalogue, err);
    const struct footprint_load *loads;
    const struct footprint *footprint;

    if (!plan)
        return false;
    loads = loads_of(arena, problems, problem_count, plan);
    footprint = footprint_collect(arena, plan, input->costs);
    *room = (struct room){ .bytes = INT64_MAX };
    for (int32_t d = 0; d < input->cluster->device_count; d++) {
        struct footprint_device held = footprint_of_device(footprint, d, loads);
        int64_t bytes = held.free_bytes - held.missing_bytes;

        if (held.epoch < 0 || held.free_bytes < 0 || bytes >= room->bytes)
            continue;
        *room = (struct room){ bytes, d };
    }
    return true;
}

const char *room_why_not(struct arena *arena, const struct problem *problem, struct room room)
{
    return arena_printf(arena, "on device '%s' %lld bytes are missing",
                        problem_input(problem)->cluster->devices[room.device].name,
                        (long long)-room.bytes);
}

bool room_refuses(struct arena *arena, const struct place_ask *ask, struct placement_row *rows,
                  int row_count, const char **why)
{
    struct err err = ERR_INIT;
    struct room room;

    if (!ask->judge)
        return false;
    if (!room_of_rows(arena, ask->problems, ask->problem_count, judge_input(ask->judge)->catalogue,
                      rows, row_count, &room, &err)) {
        *why = arena_strndup(arena, err.text, strlen(err.text));
        return true;
    }
    if (room.bytes < 0)
        *why = room_why_not(arena, ask->problems[0], room);
    return room.bytes < 0;
}
