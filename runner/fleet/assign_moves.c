/* assign_moves.c - where prompts and what is decoded behind them are computed by different stages:
 * what of the KV caches of the first goes where, and which weights both have in common. */
#include "lib/base/arena.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/assign_internal.h"
#include "runner/setup/setup.h"

static void add_move(struct arena *arena, struct setup_stage *added, const struct plan_stage *to,
                     int32_t to_worker, const struct plan_common *common)
{
    size_t count = (size_t)added->move_count;

    added->moves = arena_grow(arena, added->moves, count, count + 1, sizeof *added->moves);
    added->moves[added->move_count++] = (struct setup_move){ .to_stage = to->id,
                                                             .to_worker = to_worker,
                                                             .layer_first = common->layer_first,
                                                             .layer_last = common->layer_last,
                                                             .head_first = common->head_first,
                                                             .head_count = common->head_count };
}

/* From one device of a stage to one of another: what goes between two devices stands together. */
static void find_common(struct arena *arena, const struct assign_input *input,
                        const struct plan_stage *from, int32_t device, const struct plan_stage *to,
                        int32_t to_device, int32_t to_worker, struct setup_stage *added)
{
    const struct plan_replica *replica = &input->plan->replicas[from->replica];
    const struct model *model = input->plan->services[replica->service].model;

    for (int i = 0; i < from->slice_count; i++)
        for (int k = 0; k < to->slice_count; k++) {
            const struct plan_common common =
                plan_slices_common(model, &from->slices[i], &to->slices[k]);

            if (from->slices[i].device == device && to->slices[k].device == to_device &&
                common.head_count > 0)
                add_move(arena, added, to, to_worker, &common);
        }
}

/* The stage of prompts on the device that has rows in common with one of decoding. */
static int32_t twin_of(const struct plan_replica *replica, const struct plan_stage *stage,
                       int32_t device)
{
    bool is_shared = false;

    for (int i = 0; i < stage->slice_count; i++)
        is_shared = is_shared || (stage->slices[i].is_shared && stage->slices[i].device == device);
    for (int s = 0; s < replica->total_count && is_shared; s++) {
        const struct plan_stage *other = &replica->stages[s];

        if (other->phase == PLACEMENT_PREFILL && other->number == stage->number &&
            other->copy == stage->copy && plan_stage_has(other, device))
            return other->id;
    }
    return SETUP_NOBODY;
}

void assign_phases(struct arena *arena, const struct assign_input *input,
                   const struct plan_stage *stage, int32_t device, const int32_t *worker_of,
                   struct setup_stage *added)
{
    const struct plan_replica *replica = &input->plan->replicas[stage->replica];

    added->twin = SETUP_NOBODY;
    switch (stage->phase) {
    case PLACEMENT_BOTH:
    case PLACEMENT_PHASE_COUNT:
        added->phase = SETUP_BOTH;
        return;
    case PLACEMENT_DECODE:
        added->phase = SETUP_DECODING;
        added->twin = twin_of(replica, stage, device);
        return;
    case PLACEMENT_PREFILL:
        added->phase = SETUP_PROMPTS;
        break;
    }
    for (int s = 0; s < replica->total_count; s++) {
        const struct plan_stage *to = &replica->stages[s];

        for (int k = 0; k < to->device_count && to->phase == PLACEMENT_DECODE; k++)
            find_common(arena, input, stage, device, to, to->devices[k], worker_of[to->devices[k]],
                        added);
    }
}
