/* assign_next.c - to whom a stage sends: each copy of the stage that follows. */
#include "lib/base/arena.h"
#include "lib/format/placement.h"
#include "lib/policy/copies.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/setup/setup.h"

static int copy_index(const struct plan_stage *base, const struct plan_stage *stage)
{
    int k = 0;

    while (base->copies[k] != stage)
        k++;
    return k;
}

bool assign_nexts(struct arena *arena, const struct assign_input *input,
                  const struct plan_stage *stage, const int32_t *worker_of,
                  struct setup_stage *added, struct err *err)
{
    const struct plan_replica *replica = &input->plan->replicas[stage->replica];
    int place = copies_place(replica, stage);
    const struct plan_stage *base = copies_base(replica, place), *next, *before;

    if (!copies_have_numbers(replica))
        return placement_bad(input->placement, stage->row, PLACEMENT_COPY, err,
                             "the ways through the copies of this replica are more than orrery-run "
                             "can number (2^63)");
    added->copy = copy_index(base, stage);
    added->depth = stage->queue_depth;
    before = stage->number > 0 ? copies_base(replica, place - 1) : NULL;
    added->previous_worker =
        before && before->copy_count == 1 ? worker_of[before->devices[0]] : SETUP_COORDINATOR;
    added->next_divisor = 1;
    added->nexts = arena_array(arena, 1, sizeof *added->nexts);
    if (added->is_last)
        return true;
    next = copies_base(replica, place + 1);
    if (next->copy_count > SETUP_MAX_COPIES)
        return placement_bad(input->placement, next->row, PLACEMENT_COPY, err,
                             "%d copies: orrery-run takes %d at most", next->copy_count,
                             SETUP_MAX_COPIES);
    added->next_count = next->copy_count;
    added->nexts = arena_array(arena, (size_t)next->copy_count, sizeof *added->nexts);
    for (int k = 0; k < next->copy_count; k++)
        added->nexts[k] =
            (struct setup_next){ next->copies[k]->id, worker_of[next->copies[k]->devices[0]] };
    added->next_divisor = copies_divisor(replica, place + 1);
    added->next_depth = next->queue_depth;
    added->asks = next->queue_depth > 0 && base->copy_count > 1;
    return true;
}
