/* room.c - bounded queues: what a stage grants to whom its steps come from, and what it waits for.
 *
 * A stage with one before it tells that one's worker when a step has left its queue. Where copies
 * of the stage before share a queue, its room is with the coordinator, which computes nothing and
 * so answers at once: who has done a step asks it, and is let go in the order of asking. */
#include "lib/base/arena.h"
#include "runner/setup/setup.h"
#include "runner/worker/internal.h"

/* ---- of our own queues ---- */

void worker_owe(struct worker *worker, int stage)
{
    if (!worker->batchers[stage])
        worker_owe_waiting(worker, stage, 1);
}

void worker_owe_waiting(struct worker *worker, int stage, int32_t requests)
{
    if (worker->setup->stages[stage].depth > 0)
        worker->owed[stage] += requests;
}

bool worker_grant(struct worker *worker, struct err *err)
{
    for (int i = 0; i < worker->setup->stage_count; i++) {
        const struct setup_stage *stage = &worker->setup->stages[i];
        struct frame frame = { .type = FRAME_CREDIT,
                               .stage = stage->id,
                               .new_tokens = worker->owed[i],
                               .finish_ns = worker->generations[i] };
        struct channel *out = stage->previous_worker == SETUP_COORDINATOR
                                  ? worker->control
                                  : worker_find_peer(worker, stage->previous_worker);

        if (worker->owed[i] == 0)
            continue;
        switch (channel_send(out, NULL, &frame, NULL, err)) {
        case CHANNEL_DONE:
        case CHANNEL_GONE:
            worker->owed[i] = 0;
            break;
        case CHANNEL_LATER:
            break;
        case CHANNEL_BAD:
            return false;
        }
    }
    return true;
}

/* ---- of those that we send to ---- */

void worker_fill_room(struct worker *worker, int stage)
{
    const struct setup_stage *setup = &worker->setup->stages[stage];

    if (!worker->room[stage])
        worker->room[stage] =
            arena_array(worker->arena, (size_t)setup->next_count + 1, sizeof *worker->room[stage]);
    for (int32_t k = 0; k < setup->next_count; k++)
        worker->room[stage][k] = setup->next_depth;
}

/* Where a stage has no other copy its replica is lost with it, which resets all. */
void worker_reset_room(struct worker *worker, int32_t number)
{
    for (int i = 0; i < worker->setup->stage_count; i++) {
        const struct setup_stage *stage = &worker->setup->stages[i];

        for (int32_t k = 0; k < stage->next_count && stage->next_count > 1; k++)
            if (stage->nexts[k].worker == number)
                worker->room[i][k] = stage->next_depth;
    }
}

void worker_take_credit(struct worker *worker, const struct frame *frame)
{
    for (int i = 0; i < worker->setup->stage_count; i++) {
        const struct setup_stage *stage = &worker->setup->stages[i];

        for (int32_t k = 0; k < stage->next_count && stage->next_depth > 0; k++)
            if (stage->nexts[k].stage == frame->stage &&
                worker_is_current(worker, i, frame_generation(frame)))
                worker->room[i][k] = frame->new_tokens < stage->next_depth - worker->room[i][k]
                                         ? worker->room[i][k] + frame->new_tokens
                                         : stage->next_depth;
    }
}

void worker_take_grant(struct worker *worker, const struct frame *frame)
{
    if (frame->request == worker->asked_number)
        worker->is_granted = true;
}

static bool tell(struct worker *worker, int stage, int32_t to, enum worker_room_step step,
                 struct err *err)
{
    const struct setup_stage *setup = &worker->setup->stages[stage];
    const struct frame frame = { .type = FRAME_CREDIT,
                                 .stage = setup->nexts[to].stage,
                                 .step = (int32_t)step,
                                 .past_tokens = setup->copy,
                                 .request = worker->asked_number,
                                 .finish_ns = worker->generations[stage] };

    return worker_send(worker, stage, worker->control, &frame, NULL, false, err);
}

static bool has_room(const struct worker *worker, int stage, int32_t to)
{
    return worker->setup->stages[stage].asks ? worker->is_granted : worker->room[stage][to] > 0;
}

/* A step that is done and finds no room behind it keeps its device. */
bool worker_wait_for_room(struct worker *worker, int stage, const struct frame *step,
                          bool *is_wanted, struct err *err)
{
    const struct setup_stage *setup = &worker->setup->stages[stage];
    int32_t to = setup->next_count > 0 ? setup_next_index(setup, step->way) : 0;
    int64_t until_ns;
    int32_t index;

    *is_wanted = true;
    if (setup->is_last || setup->next_depth == 0)
        return true;
    index = worker_find_peer_index(worker, setup->nexts[to].worker);
    if (setup->asks) {
        worker->asked_number++;
        worker->is_granted = false;
        if (!tell(worker, stage, to, WORKER_ROOM_ASKED, err))
            return false;
    }
    worker->waiting = step->entries > 0 ? WORKER_NO_REQUEST : step->request;
    worker->waiting_stage = stage;
    worker->room_of = index >= 0 ? worker->peers[index] : NULL;
    while (!has_room(worker, stage, to) && *is_wanted) {
        if (!worker_hand_over(worker, INT64_MAX, &until_ns, err) ||
            !worker_receive_until(worker, until_ns, err) || !worker_grant(worker, err))
            return false;
        *is_wanted =
            !worker->is_stopped && worker->waiting >= 0 && !(index >= 0 && worker->are_lost[index]);
    }
    worker->waiting = -1;
    worker->room_of = NULL;
    if (!setup->asks) {
        worker->room[stage][to] -= *is_wanted;
        return true;
    }
    return *is_wanted || tell(worker, stage, to, WORKER_ROOM_LEFT, err);
}
