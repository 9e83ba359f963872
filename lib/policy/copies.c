/* copies.c - the choice of a way, and its number: copies of the first place count singly, those of
 * the next one by as many as the first has, and so on. */
#include "lib/policy/copies.h"

#include "lib/base/arena.h"
#include "lib/policy/plan.h"
#include <assert.h>

struct copies {
    struct dispatch *dispatch;      /* by stage of copy 0 */
    struct dispatch_replica *facts; /* scratch */
    int most, stage_count;
};

/* ---- places ---- */

int copies_place_count(const struct plan_replica *replica)
{
    return replica->stage_count + (plan_replica_is_split(replica) ? replica->decode_count : 0);
}

int copies_place(const struct plan_replica *replica, const struct plan_stage *stage)
{
    return stage->number + (stage->phase == PLACEMENT_DECODE ? replica->stage_count : 0);
}

const struct plan_stage *copies_base(const struct plan_replica *replica, int place)
{
    return place < replica->stage_count ? &replica->stages[place]
                                        : &replica->decode_stages[place - replica->stage_count];
}

bool copies_are_in(const struct plan_replica *replica)
{
    return replica->total_count > copies_place_count(replica);
}

int32_t copies_batches(const struct plan_replica *replica)
{
    int first = replica->stages[0].copy_count;

    return (replica->total_count + first - 1) / first;
}

/* ---- the choice ---- */

/* Room for the stage with the most copies. */
static void widen(struct copies *copies, struct arena *arena, const struct plan *plan)
{
    int most = 1;

    for (int i = 0; i < plan->stage_count; i++)
        if (plan->stages[i]->copy_count > most)
            most = plan->stages[i]->copy_count;
    if (most > copies->most)
        copies->facts = arena_array(arena, (size_t)most, sizeof *copies->facts);
    copies->most = most;
    copies->stage_count = plan->stage_count;
}

struct copies *copies_create(struct arena *arena, const struct plan *plan, enum dispatch_kind kind,
                             uint64_t seed)
{
    struct copies *copies = arena_alloc(arena, sizeof *copies);

    copies->dispatch = dispatch_create(arena, kind, plan->stage_count, seed);
    widen(copies, arena, plan);
    return copies;
}

void copies_extend(struct copies *copies, struct arena *arena, const struct plan *plan)
{
    dispatch_extend(copies->dispatch, arena, plan->stage_count);
    widen(copies, arena, plan);
}

void copies_choose(struct copies *copies, const struct plan_replica *replica,
                   const struct dispatch_request *who, copies_look *look, void *arg, int16_t *way)
{
    for (int place = 0; place < copies_place_count(replica); place++) {
        const struct plan_stage *base = copies_base(replica, place);
        int chosen = 0;

        for (int k = 0; k < base->copy_count && base->copy_count > 1; k++) {
            copies->facts[k] = (struct dispatch_replica){ .number = base->copies[k]->copy };
            look(arg, base->copies[k], &copies->facts[k]);
        }
        if (base->copy_count > 1)
            chosen =
                dispatch_choose(copies->dispatch, base->id, who, copies->facts, base->copy_count);
        way[place] = (int16_t)(chosen < 0 ? 0 : chosen);
    }
}

/* ---- numbers ---- */

bool copies_have_numbers(const struct plan_replica *replica)
{
    int64_t ways = 1;

    for (int place = 0; place < copies_place_count(replica); place++) {
        int count = copies_base(replica, place)->copy_count;

        if (count > INT16_MAX || ways > INT64_MAX / count)
            return false;
        ways *= count;
    }
    return true;
}

int64_t copies_divisor(const struct plan_replica *replica, int place)
{
    int64_t divisor = 1;

    for (int i = 0; i < place; i++)
        divisor *= copies_base(replica, i)->copy_count;
    return divisor;
}

int64_t copies_number(const struct plan_replica *replica, const int16_t *way)
{
    int64_t number = 0, divisor = 1;

    for (int place = 0; place < copies_place_count(replica); place++) {
        assert(way[place] >= 0 && way[place] < copies_base(replica, place)->copy_count);
        number += way[place] * divisor;
        divisor *= copies_base(replica, place)->copy_count;
    }
    return number;
}

const struct plan_stage *copies_at(const struct plan_replica *replica, int64_t number, int place)
{
    const struct plan_stage *base = copies_base(replica, place);

    if (base->copy_count < 2 || number < 0)
        return base;
    return base->copies[number / copies_divisor(replica, place) % base->copy_count];
}
