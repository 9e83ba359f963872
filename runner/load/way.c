/* way.c - stages with copies: which of them each request passes, as lib/policy/copies.h chooses.
 *
 * What least-idle and least-last-stage go by is what the coordinator knows: of a stage 0 the steps
 * that were sent to it and have not been computed, of a later one the requests that pass it, each
 * times the mean time of a step there. */
#include "lib/base/arena.h"
#include "lib/policy/copies.h"
#include "lib/policy/plan.h"
#include "runner/load/internal.h"
#include "runner/load/table.h"

static const struct plan_replica *replica_of(const struct serve *serve, size_t request)
{
    return &serve->input->plan->replicas[serve->table->requests[request].replica];
}

void way_create(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;

    serve->copies = copies_create(serve->arena, plan, serve->input->dispatch, serve->input->seed);
    way_extend(serve);
}

void way_extend(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    int most = 0;

    copies_extend(serve->copies, serve->arena, plan);
    for (int r = 0; r < plan->replica_count; r++)
        if (copies_place_count(&plan->replicas[r]) > most)
            most = copies_place_count(&plan->replicas[r]);
    serve->way = arena_array(serve->arena, (size_t)most, sizeof *serve->way);
}

const struct plan_stage *way_stage(const struct serve *serve, size_t request, int place)
{
    return copies_at(replica_of(serve, request), serve->table->requests[request].way, place);
}

bool way_passes(const struct serve *serve, size_t request, const struct plan_stage *stage)
{
    return way_stage(serve, request, copies_place(replica_of(serve, request), stage)) == stage;
}

bool way_is_up(const struct serve *serve, size_t request)
{
    for (int place = 0; place < copies_place_count(replica_of(serve, request)); place++)
        if (!serve->table->stages[way_stage(serve, request, place)->id].is_up)
            return false;
    return true;
}

/* ---- the choice ---- */

static int64_t backlog_ps(const struct serve *serve, const struct plan_stage *copy)
{
    return copy->number == 0 ? table_backlog_ps(serve->table, copy->id)
                             : table_last_backlog_ps(serve->table, copy->id);
}

static void look(void *arg, const struct plan_stage *copy, struct dispatch_replica *facts)
{
    const struct serve *serve = arg;
    const struct table_stage *stage = &serve->table->stages[copy->id];

    facts->is_up = stage->is_up;
    facts->backlog_ps = facts->last_backlog_ps = backlog_ps(serve, copy);
    facts->outstanding = stage->outstanding;
}

static void count(struct serve *serve, size_t request, int change)
{
    for (int place = 0; place < copies_place_count(replica_of(serve, request)); place++)
        serve->table->stages[way_stage(serve, request, place)->id].outstanding += change;
    serve->table->requests[request].is_passing = change > 0;
}

void way_choose(struct serve *serve, size_t request, const struct dispatch_request *who)
{
    const struct plan_replica *replica = replica_of(serve, request);

    copies_choose(serve->copies, replica, who, look, serve, serve->way);
    serve->table->requests[request].way = copies_number(replica, serve->way);
    count(serve, request, 1);
}

void way_leave(struct serve *serve, size_t request)
{
    if (serve->table->requests[request].is_passing)
        count(serve, request, -1);
}

bool way_take(struct serve *serve, size_t request, int64_t way, int64_t since_ps)
{
    const struct plan_replica *replica = replica_of(serve, request);
    struct table_request *state = &serve->table->requests[request];

    if (state->way == way)
        return true;
    way_leave(serve, request);
    state->way = way;
    count(serve, request, 1);
    for (int place = 0; place < copies_place_count(replica); place++) {
        const struct table_stage *stage =
            &serve->table->stages[way_stage(serve, request, place)->id];

        if (!stage->is_up || stage->lost_ps >= since_ps)
            return false;
    }
    return true;
}

/* ---- replicas ---- */

/* Of the copies that are up, the least; as in the simulator. */
static int64_t least_ps(const struct serve *serve, const struct plan_stage *base,
                        int64_t (*of)(const struct table *table, int32_t stage))
{
    int64_t least = -1;

    for (int k = 0; k < base->copy_count; k++) {
        int32_t id = base->copies[k]->id;

        if (serve->table->stages[id].is_up && (least < 0 || of(serve->table, id) < least))
            least = of(serve->table, id);
    }
    return least < 0 ? 0 : least;
}

int64_t way_backlog_ps(const struct serve *serve, int32_t replica)
{
    return least_ps(serve, serve->input->plan->replicas[replica].stages, table_backlog_ps);
}

int64_t way_last_backlog_ps(const struct serve *serve, int32_t replica)
{
    const struct plan_replica *of = &serve->input->plan->replicas[replica];

    return least_ps(serve, &of->decode_stages[of->decode_count - 1], table_last_backlog_ps);
}

bool way_has_copies_up(const struct serve *serve, int32_t replica)
{
    const struct plan_replica *of = &serve->input->plan->replicas[replica];

    for (int place = 0; place < copies_place_count(of); place++) {
        const struct plan_stage *base = copies_base(of, place);
        bool is_up = false;

        for (int k = 0; k < base->copy_count; k++)
            is_up = is_up || serve->table->stages[base->copies[k]->id].is_up;
        if (!is_up)
            return false;
    }
    return true;
}
