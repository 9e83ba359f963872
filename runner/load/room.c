/* room.c - who may send another step to which bounded queue.
 *
 * Copies of a stage share the queue of the next one: each asks when it has done a step, and gets
 * room in the order of asking. What a lost one may have been granted and not used is free again:
 * the steps of its requests are dropped wherever they are. */
#include "runner/load/room.h"

#include "lib/base/arena.h"
#include "lib/policy/copies.h"
#include "lib/policy/plan.h"
#include "lib/wire/frame.h"
#include "runner/fleet/fleet.h"
#include "runner/load/internal.h"
#include "runner/load/table.h"

#define ASKED 1 /* of a CREDIT, in step */
#define LEFT 2

struct ask {        /* of a copy of the stage before */
    int64_t number; /* 0: it asks for nothing */
    int64_t turn;   /* in the order of asking */
    bool is_granted;
};

struct room { /* of a stage */
    int32_t left;
    int ask_count; /* copies of the stage before, where these are several */
    struct ask *asks;
};

struct rooms {
    int count;
    struct room *rooms; /* by stage */
    int64_t turns;
};

static const struct plan_stage *before(const struct serve *serve, const struct plan_stage *stage)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[stage->replica];

    return stage->number > 0 ? copies_base(replica, copies_place(replica, stage) - 1) : NULL;
}

void room_create(struct serve *serve)
{
    serve->rooms = arena_alloc(serve->arena, sizeof *serve->rooms);
    room_extend(serve);
}

void room_extend(struct serve *serve)
{
    struct rooms *rooms = serve->rooms;
    const struct plan *plan = serve->input->plan;

    rooms->rooms = arena_grow(serve->arena, rooms->rooms, (size_t)rooms->count,
                              (size_t)plan->stage_count, sizeof *rooms->rooms);
    for (int i = rooms->count; i < plan->stage_count; i++) {
        const struct plan_stage *stage = plan->stages[i], *from = before(serve, stage);
        int count = from && from->copy_count > 1 ? from->copy_count : 0;

        rooms->rooms[i] =
            (struct room){ .left = serve_most_room(serve, stage), .ask_count = count };
        rooms->rooms[i].asks =
            arena_array(serve->arena, (size_t)count + 1, sizeof *rooms->rooms[i].asks);
    }
    rooms->count = plan->stage_count;
}

bool room_has(const struct serve *serve, const struct plan_stage *stage)
{
    return stage->queue_depth == 0 || serve->rooms->rooms[stage->id].left > 0;
}

void room_take(struct serve *serve, const struct plan_stage *stage)
{
    if (stage->queue_depth > 0)
        serve->rooms->rooms[stage->id].left--;
}

/* ---- those that ask ---- */

static struct ask *first_ask(const struct room *room)
{
    struct ask *first = NULL;

    for (int k = 0; k < room->ask_count; k++) {
        struct ask *ask = &room->asks[k];

        if (ask->number > 0 && !ask->is_granted && (!first || ask->turn < first->turn))
            first = ask;
    }
    return first;
}

static void grant(struct serve *serve, const struct plan_stage *stage)
{
    struct room *room = &serve->rooms->rooms[stage->id];
    struct ask *ask;

    while (room->left > 0 && (ask = first_ask(room))) {
        const struct plan_stage *to = before(serve, stage)->copies[ask - room->asks];

        room->left--;
        ask->is_granted = true;
        fleet_grant(serve->fleet, serve_worker_of(serve, to), stage->id, ask->number);
    }
}

/* No more than its queue holds. */
static void give(struct serve *serve, const struct plan_stage *stage, int32_t count)
{
    struct room *room = &serve->rooms->rooms[stage->id];
    int32_t most = serve_most_room(serve, stage);

    room->left = count < most - room->left ? room->left + count : most;
    grant(serve, stage);
}

/* What it was granted and has not used. */
static void forget(struct serve *serve, const struct plan_stage *stage, struct ask *ask)
{
    bool was_granted = ask->number > 0 && ask->is_granted;

    *ask = (struct ask){ 0 };
    if (was_granted)
        give(serve, stage, 1);
}

static void on_ask(struct serve *serve, const struct plan_stage *stage, int worker,
                   const struct frame *frame)
{
    struct room *room = &serve->rooms->rooms[stage->id];
    int32_t copy = frame->past_tokens;

    if (copy >= room->ask_count ||
        serve_worker_of(serve, before(serve, stage)->copies[copy]) != worker)
        return;
    if (frame->step == LEFT) {
        if (room->asks[copy].number == frame->request)
            forget(serve, stage, &room->asks[copy]);
        return;
    }
    /* what it asked for before has been used */
    room->asks[copy] = (struct ask){ frame->request, serve->rooms->turns++, false };
    grant(serve, stage);
}

void room_credit(struct serve *serve, int worker, const struct frame *frame)
{
    const struct plan *plan = serve->input->plan;
    const struct plan_stage *stage;

    if (frame->stage >= plan->stage_count || plan->stages[frame->stage]->queue_depth == 0)
        return;
    stage = plan->stages[frame->stage];
    if (frame_generation(frame) != serve->table->replicas[stage->replica].generation)
        return;
    if (frame->step == ASKED || frame->step == LEFT)
        on_ask(serve, stage, worker, frame);
    else if (serve_worker_of(serve, stage) == worker)
        give(serve, stage, frame->new_tokens);
}

void room_left(struct serve *serve, const struct plan_stage *stage, int64_t way)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[stage->replica];
    int place = copies_place(replica, stage);
    struct room *room;

    if (stage->number + 1 == plan_chain_count(replica, stage))
        return;
    room = &serve->rooms->rooms[copies_at(replica, way, place + 1)->id];
    for (int k = 0; k < room->ask_count; k++)
        if (before(serve, copies_at(replica, way, place + 1))->copies[k] == stage &&
            room->asks[k].is_granted)
            room->asks[k] = (struct ask){ 0 };
}

/* ---- workers that are lost ---- */

void room_lose(struct serve *serve, int worker)
{
    const struct plan *plan = serve->input->plan;

    for (int i = 0; i < plan->stage_count; i++) {
        const struct plan_stage *stage = plan->stages[i];
        struct room *room = &serve->rooms->rooms[i];
        bool is_lost = serve_worker_of(serve, stage) == worker;

        for (int k = 0; k < room->ask_count; k++)
            if (is_lost)
                room->asks[k] = (struct ask){ 0 };
            else if (serve_worker_of(serve, before(serve, stage)->copies[k]) == worker)
                forget(serve, stage, &room->asks[k]);
    }
}

void room_empty(struct serve *serve, const struct plan_stage *stage)
{
    struct room *room = &serve->rooms->rooms[stage->id];

    room->left = serve_most_room(serve, stage);
    for (int k = 0; k < room->ask_count; k++)
        room->asks[k] = (struct ask){ 0 };
}
