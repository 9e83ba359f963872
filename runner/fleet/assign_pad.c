/* assign_pad.c - cost tables for workers whose steps last as long as another device's. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/assign_internal.h"
#include "runner/setup/machine.h"
#include "runner/setup/setup.h"
#include "runner/worker/pad.h"

#define MAX_TABLE_BYTES (INT64_C(16) << 20) /* of one file of a cost table */

static bool set_table(struct arena *arena, const struct assign_input *input,
                      const struct cluster_device *device, double ratio, struct setup *setup,
                      struct err *err)
{
    const struct cost_table *table =
        input->costs ? cost_set_find(input->costs, device->type) : NULL;
    struct err no_file = ERR_INIT;

    if (!table || !cost_has_kernels(table))
        return err_set(err, ERR_USAGE,
                       "--pad %s: no cost table of its type '%s' with a kernels.csv", device->name,
                       device->type);
    setup->pad_ratio = ratio;
    setup->pad_type = cost_type(table);
    setup->pad_kernels = machine_read_text(
        arena, arena_printf(arena, "%s/kernels.csv", cost_path(table)), MAX_TABLE_BYTES, err);
    setup->pad_interp = machine_read_text(
        arena, arena_printf(arena, "%s/interp.csv", cost_path(table)), MAX_TABLE_BYTES, &no_file);
    if (!setup->pad_interp)
        setup->pad_interp = "";
    return setup->pad_kernels != NULL;
}

/* What the table cannot price is found here, not by a worker in the middle of the run. */
static bool check_prices(struct arena *arena, const struct assign_input *input,
                         const struct setup *setup, struct err *err)
{
    struct err reason = ERR_INIT;
    struct pad *pad = pad_create(arena, setup, err);

    for (int i = 0; pad && i < setup->stage_count; i++) {
        const struct setup_stage *stage = &setup->stages[i];
        const struct setup_model *sizes = &setup->models[stage->model];

        /* who is preempted where he is decoded is computed anew there */
        if (((stage->phase != SETUP_DECODING || input->batching) &&
             !pad_check(pad, i, sizes->max_tokens, 0, &reason)) ||
            (sizes->model.kind == MODEL_DECODER && stage->phase != SETUP_PROMPTS &&
             !pad_check(pad, i, 1, sizes->max_total_tokens - 1, &reason)))
            return placement_bad(input->placement, input->plan->stages[stage->id]->row,
                                 PLACEMENT_DEVICE, err, "--pad cannot price its stage: %s",
                                 reason.text);
    }
    return pad != NULL;
}

bool assign_pads(struct arena *arena, const struct assign_input *input,
                 struct assignment *assignment, struct err *err)
{
    const struct cluster *cluster = input->plan->cluster;

    for (int i = 0; i < input->pad_count; i++) {
        const struct assign_pad *pad = &input->pads[i];
        int device = cluster_find_device(cluster, pad->device);
        struct setup *setup;

        if (device < 0)
            return err_set(err, ERR_USAGE, "--pad %s: no such device in the cluster", pad->device);
        if (assignment->worker_of[device] < 0) /* an update may bring it */
            continue;
        setup = &assignment->setups[assignment->worker_of[device]];
        if (setup->stage_count == 0)
            continue;
        if (!set_table(arena, input, &cluster->devices[device], pad->ratio, setup, err) ||
            !check_prices(arena, input, setup, err))
            return false;
    }
    return true;
}
