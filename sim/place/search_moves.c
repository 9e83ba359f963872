/* search_moves.c - candidates to begin with, and random neighbours of one. */
#include "sim/place/search.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include <stddef.h>
#include <string.h>

const char *const search_move_names[SEARCH_MOVE_COUNT] = {
    [SEARCH_BORDER] = "moving units between stages",
    [SEARCH_SWAP] = "swapping devices",
    [SEARCH_GIVE] = "moving devices between replicas",
    [SEARCH_TAKE] = "using idle devices",
    [SEARCH_SPLIT] = "splitting replicas",
    [SEARCH_MERGE] = "merging replicas",
    [SEARCH_CUT] = "cutting stages into parts",
    [SEARCH_WHOLE] = "undoing parts",
    [SEARCH_DROP] = "leaving devices idle",
    [SEARCH_CLOSE] = "closing replicas",
    [SEARCH_OPEN] = "opening replicas",
    [SEARCH_ORDER] = "preferring other replicas",
    [SEARCH_REFILL] = "balancing stages anew",
    [SEARCH_BATCH] = "other batches",
    [SEARCH_QUEUE] = "other queues",
};

static int32_t draw(struct search *search, int32_t bound)
{
    return (int32_t)rng_below(&search->rng, (uint64_t)bound);
}

/* ---- drafts: a copy of a candidate's list of replicas, of which some are replaced ---- */

static struct search_replica *copy(struct arena *arena, const struct search_plan *plan,
                                   struct search_plan *changed)
{
    struct search_replica *replicas =
        arena_array(arena, (size_t)plan->replica_count + 1, sizeof *replicas);

    if (plan->replica_count > 0)
        memcpy(replicas, plan->replicas, (size_t)plan->replica_count * sizeof *replicas);
    *changed = *plan;
    changed->replicas = replicas;
    return replicas;
}

static void remove_at(struct search_plan *plan, struct search_replica *replicas, int32_t at)
{
    memmove(&replicas[at], &replicas[at + 1],
            (size_t)(plan->replica_count - at - 1) * sizeof *replicas);
    plan->replica_count--;
}

/* The stages of a replica, with room for all devices. */
static struct search_stage *stages_of(struct arena *arena, const struct search *search,
                                      const struct search_replica *replica)
{
    struct search_stage *stages =
        arena_array(arena, (size_t)search->device_count + 1, sizeof *stages);

    memcpy(stages, replica->stages, (size_t)replica->stage_count * sizeof *stages);
    return stages;
}

static struct search_stage alone(int32_t device)
{
    return (struct search_stage){ .device_count = 1, .devices = { device } };
}

static void sort_stages(const struct search *search, struct search_stage *stages, int32_t count)
{
    for (int32_t i = 1; i < count; i++) {
        struct search_stage stage = stages[i];
        int64_t speed_ps = search->speeds_ps[stage.devices[0]] / stage.device_count;
        int32_t to = i;

        for (;
             to > 0 &&
             search->speeds_ps[stages[to - 1].devices[0]] / stages[to - 1].device_count > speed_ps;
             to--)
            stages[to] = stages[to - 1];
        stages[to] = stage;
    }
}

static int32_t draw_slack(struct search *search)
{
    static const int32_t slacks[] = { 0, 0, 0, 10, 30, 100, INT32_MAX };

    return slacks[draw(search, (int32_t)(sizeof slacks / sizeof slacks[0]))];
}

static int32_t list_idle(const struct search *search, const struct search_plan *plan,
                         int32_t *devices, bool *is_used)
{
    int32_t count = 0;

    memset(is_used, 0, (size_t)search->device_count * sizeof *is_used);
    for (int32_t r = 0; r < plan->replica_count; r++)
        for (int32_t s = 0; s < plan->replicas[r].stage_count; s++)
            for (int32_t i = 0; i < plan->replicas[r].stages[s].device_count; i++)
                is_used[plan->replicas[r].stages[s].devices[i]] = true;
    for (int32_t d = 0; d < search->device_count; d++)
        if (!is_used[d])
            devices[count++] = d;
    return count;
}

static int32_t replicas_of(const struct search_plan *plan, int32_t service)
{
    int32_t count = 0;

    for (int32_t r = 0; r < plan->replica_count; r++)
        count += plan->replicas[r].service == service;
    return count;
}

/* ---- moves inside one replica ---- */

static bool move_border(struct arena *arena, struct search *search, struct search_replica *replica)
{
    struct search_stage *stages = stages_of(arena, search, replica);
    int32_t at, by = 1 + draw(search, 2);

    if (replica->stage_count < 2)
        return false;
    at = draw(search, replica->stage_count - 1);
    by = draw(search, 2) ? by : -by;
    stages[at].last += by;
    stages[at + 1].first += by;
    replica->stages = stages;
    return stages[at].first <= stages[at].last && stages[at + 1].first <= stages[at + 1].last &&
           search_measure(search, replica);
}

static bool move_refill(struct arena *arena, struct search *search, struct search_replica *replica)
{
    struct search_stage *stages = stages_of(arena, search, replica);
    int32_t count = replica->stage_count;

    switch (draw(search, 3)) {
    case 0:
        sort_stages(search, stages, count);
        break;
    case 1: {
        int32_t a = draw(search, count), b = draw(search, count);
        struct search_stage kept = stages[a];

        stages[a] = stages[b];
        stages[b] = kept;
        break;
    }
    default:
        break;
    }
    return search_fill(arena, search, replica->service, stages, count, draw_slack(search), replica);
}

static bool move_drop(struct arena *arena, struct search *search, struct search_replica *replica)
{
    struct search_stage *stages = stages_of(arena, search, replica);
    int32_t at, count = replica->stage_count - 1;

    if (count < 1)
        return false;
    at = draw(search, count + 1);
    memmove(&stages[at], &stages[at + 1], (size_t)(count - at) * sizeof *stages);
    return search_fill(arena, search, replica->service, stages, count, draw_slack(search), replica);
}

/* Two stages of as many devices become one. */
static bool move_cut(struct arena *arena, struct search *search, struct search_replica *replica)
{
    struct search_stage *stages = stages_of(arena, search, replica);
    int32_t count = replica->stage_count, a, b;

    if (count < 2)
        return false;
    a = draw(search, count);
    b = (a + 1 + draw(search, count - 1)) % count;
    if (stages[a].device_count != stages[b].device_count ||
        2 * stages[a].device_count > SEARCH_MOST_PARTS)
        return false;
    memcpy(&stages[a].devices[stages[a].device_count], stages[b].devices,
           (size_t)stages[b].device_count * sizeof(int32_t));
    stages[a].device_count *= 2;
    memmove(&stages[b], &stages[b + 1], (size_t)(count - b - 1) * sizeof *stages);
    return search_fill(arena, search, replica->service, stages, count - 1, draw_slack(search),
                       replica);
}

static bool move_whole(struct arena *arena, struct search *search, struct search_replica *replica)
{
    struct search_stage *stages = stages_of(arena, search, replica), halves[2];
    int32_t count = replica->stage_count, at = draw(search, count), half;

    if (stages[at].device_count < 2)
        return false;
    half = stages[at].device_count / 2;
    for (int32_t h = 0; h < 2; h++) {
        halves[h] = (struct search_stage){ .device_count = half };
        memcpy(halves[h].devices, &stages[at].devices[(ptrdiff_t)h * half],
               (size_t)half * sizeof(int32_t));
    }
    memmove(&stages[at + 2], &stages[at + 1], (size_t)(count - at - 1) * sizeof *stages);
    memcpy(&stages[at], halves, sizeof halves);
    return search_fill(arena, search, replica->service, stages, count + 1, draw_slack(search),
                       replica);
}

static bool change_one(struct arena *arena, struct search *search, const struct search_plan *plan,
                       enum search_move move, struct search_plan *changed)
{
    struct search_replica *replica = &copy(arena, plan, changed)[draw(search, plan->replica_count)];

    switch (move) {
    case SEARCH_BORDER:
        return move_border(arena, search, replica);
    case SEARCH_DROP:
        return move_drop(arena, search, replica);
    case SEARCH_CUT:
        return move_cut(arena, search, replica);
    case SEARCH_WHOLE:
        return move_whole(arena, search, replica);
    case SEARCH_SWAP:
    case SEARCH_GIVE:
    case SEARCH_TAKE:
    case SEARCH_SPLIT:
    case SEARCH_MERGE:
    case SEARCH_CLOSE:
    case SEARCH_OPEN:
    case SEARCH_ORDER:
    case SEARCH_REFILL:
    case SEARCH_BATCH:
    case SEARCH_QUEUE:
    case SEARCH_MOVE_COUNT:
        break;
    }
    return move_refill(arena, search, replica);
}

/* ---- moves between replicas ---- */

/* Two devices of different kinds change places: of two replicas, or within one. */
static bool move_swap(struct arena *arena, struct search *search, const struct search_plan *plan,
                      struct search_plan *changed)
{
    struct search_replica *replicas = copy(arena, plan, changed);
    int32_t a = draw(search, plan->replica_count), b = draw(search, plan->replica_count);
    struct search_stage *of_a = stages_of(arena, search, &replicas[a]);
    struct search_stage *of_b = a == b ? of_a : stages_of(arena, search, &replicas[b]);
    struct search_stage *x = &of_a[draw(search, replicas[a].stage_count)];
    struct search_stage *y = &of_b[draw(search, replicas[b].stage_count)];
    int32_t *one = &x->devices[draw(search, x->device_count)];
    int32_t *two = &y->devices[draw(search, y->device_count)], kept = *one;
    const struct problem *problem = search->services[0].problem;

    if (problem_kind_of(problem, *one) == problem_kind_of(problem, *two))
        return false;
    *one = *two;
    *two = kept;
    return search_fill(arena, search, replicas[a].service, of_a, replicas[a].stage_count,
                       draw_slack(search), &replicas[a]) &&
           (a == b || search_fill(arena, search, replicas[b].service, of_b, replicas[b].stage_count,
                                  draw_slack(search), &replicas[b]));
}

static bool move_give(struct arena *arena, struct search *search, const struct search_plan *plan,
                      struct search_plan *changed)
{
    struct search_replica *replicas = copy(arena, plan, changed);
    int32_t a, b, at, count;
    struct search_stage *from, *to, given;

    if (plan->replica_count < 2)
        return false;
    a = draw(search, plan->replica_count);
    b = (a + 1 + draw(search, plan->replica_count - 1)) % plan->replica_count;
    from = stages_of(arena, search, &replicas[a]);
    to = stages_of(arena, search, &replicas[b]);
    count = replicas[a].stage_count - 1;
    at = draw(search, count + 1);
    given = from[at];
    memmove(&from[at], &from[at + 1], (size_t)(count - at) * sizeof *from);
    to[replicas[b].stage_count] = given;
    if (draw(search, 2))
        sort_stages(search, to, replicas[b].stage_count + 1);
    return count > 0 &&
           search_fill(arena, search, replicas[a].service, from, count, draw_slack(search),
                       &replicas[a]) &&
           search_fill(arena, search, replicas[b].service, to, replicas[b].stage_count + 1,
                       draw_slack(search), &replicas[b]);
}

static bool move_take(struct arena *arena, struct search *search, const struct search_plan *plan,
                      struct search_plan *changed)
{
    struct search_replica *replica = &copy(arena, plan, changed)[draw(search, plan->replica_count)];
    int32_t *idle = arena_array(arena, (size_t)search->device_count, sizeof *idle), count;
    struct search_stage *stages = stages_of(arena, search, replica);
    bool *is_used = arena_array(arena, (size_t)search->device_count, sizeof *is_used);

    count = list_idle(search, plan, idle, is_used);
    if (count == 0)
        return false;
    stages[replica->stage_count] = alone(idle[draw(search, count)]);
    if (draw(search, 2))
        sort_stages(search, stages, replica->stage_count + 1);
    return search_fill(arena, search, replica->service, stages, replica->stage_count + 1,
                       draw_slack(search), replica);
}

static bool move_split(struct arena *arena, struct search *search, const struct search_plan *plan,
                       struct search_plan *changed)
{
    struct search_replica *replicas = copy(arena, plan, changed);
    struct search_replica *replica = &replicas[draw(search, plan->replica_count)];
    struct search_stage *stages = stages_of(arena, search, replica);
    struct search_stage *other = arena_array(arena, (size_t)search->device_count, sizeof *other);
    int32_t own = 0, others = 0, count = replica->stage_count, service = replica->service;

    for (int32_t s = 0; s < count; s++)
        if (draw(search, 2))
            stages[own++] = stages[s];
        else
            other[others++] = stages[s];
    sort_stages(search, stages, own);
    sort_stages(search, other, others);
    if (own == 0 || others == 0 ||
        !search_fill(arena, search, service, stages, own, draw_slack(search), replica) ||
        !search_fill(arena, search, service, other, others, draw_slack(search),
                     &replicas[plan->replica_count]))
        return false;
    changed->replica_count++;
    return true;
}

static bool move_merge(struct arena *arena, struct search *search, const struct search_plan *plan,
                       struct search_plan *changed)
{
    struct search_replica *replicas = copy(arena, plan, changed);
    struct search_stage *stages;
    int32_t a, b, count;

    if (plan->replica_count < 2)
        return false;
    a = draw(search, plan->replica_count);
    b = (a + 1 + draw(search, plan->replica_count - 1)) % plan->replica_count;
    if (replicas[a].service != replicas[b].service)
        return false;
    stages = stages_of(arena, search, &replicas[a]);
    count = replicas[a].stage_count;
    memcpy(&stages[count], replicas[b].stages, (size_t)replicas[b].stage_count * sizeof *stages);
    count += replicas[b].stage_count;
    sort_stages(search, stages, count);
    if (!search_fill(arena, search, replicas[a].service, stages, count, draw_slack(search),
                     &replicas[a]))
        return false;
    remove_at(changed, replicas, b);
    return true;
}

static bool move_close(struct arena *arena, struct search *search, const struct search_plan *plan,
                       struct search_plan *changed)
{
    struct search_replica *replicas = copy(arena, plan, changed);
    int32_t at = draw(search, plan->replica_count);

    if (replicas_of(plan, replicas[at].service) < 2)
        return false;
    remove_at(changed, replicas, at);
    return true;
}

/* So many idle devices as are needed, from a random one on, or all. */
static bool move_open(struct arena *arena, struct search *search, const struct search_plan *plan,
                      struct search_plan *changed)
{
    struct search_replica *replicas = copy(arena, plan, changed);
    struct search_stage *stages = arena_array(arena, (size_t)search->device_count, sizeof *stages);
    int32_t *idle = arena_array(arena, (size_t)search->device_count, sizeof *idle), count, first;
    bool *is_used = arena_array(arena, (size_t)search->device_count, sizeof *is_used);
    int32_t service = draw(search, search->service_count);

    count = list_idle(search, plan, idle, is_used);
    if (count == 0)
        return false;
    search_sort(search, idle, count);
    first = draw(search, count);
    for (int32_t take = 1; take <= count; take++) {
        stages[take - 1] = alone(idle[(first + take - 1) % count]);
        if (!search_fill(arena, search, service, stages, take, 0, &replicas[plan->replica_count]))
            continue;
        changed->replica_count++;
        return true;
    }
    return false;
}

static bool move_order(struct arena *arena, struct search *search, const struct search_plan *plan,
                       struct search_plan *changed)
{
    struct search_replica *replicas = copy(arena, plan, changed), kept;
    int32_t a, b;

    if (plan->replica_count < 2)
        return false;
    if (draw(search, 2)) { /* all by latency */
        for (int32_t i = 1; i < plan->replica_count; i++) {
            int32_t to = i;

            kept = replicas[i];
            for (; to > 0 && replicas[to - 1].latency_ps > kept.latency_ps; to--)
                replicas[to] = replicas[to - 1];
            replicas[to] = kept;
        }
        return true;
    }
    a = draw(search, plan->replica_count);
    b = draw(search, plan->replica_count);
    kept = replicas[a];
    replicas[a] = replicas[b];
    replicas[b] = kept;
    return true;
}

static bool move_batch(struct arena *arena, struct search *search, const struct search_plan *plan,
                       struct search_plan *changed)
{
    static const int32_t sizes[] = { 0, 1, 2, 4, 8, 16, 32 };

    (void)copy(arena, plan, changed);
    if (!search->ask->judge || judge_input(search->ask->judge)->serve.batch.kind == BATCH_NONE)
        return false;
    changed->max_batch = sizes[draw(search, (int32_t)(sizeof sizes / sizeof sizes[0]))];
    return true;
}

static bool move_queue(struct arena *arena, struct search *search, const struct search_plan *plan,
                       struct search_plan *changed)
{
    static const int32_t depths[] = { 0, 1, 2, 4 };

    (void)copy(arena, plan, changed);
    if (!search->has_queues)
        return false;
    changed->queue_depth = depths[draw(search, (int32_t)(sizeof depths / sizeof depths[0]))];
    return true;
}

bool search_change(struct arena *arena, struct search *search, const struct search_plan *plan,
                   enum search_move move, struct search_plan *changed)
{
    switch (move) {
    case SEARCH_BORDER:
    case SEARCH_DROP:
    case SEARCH_CUT:
    case SEARCH_WHOLE:
    case SEARCH_REFILL:
        return change_one(arena, search, plan, move, changed);
    case SEARCH_SWAP:
        return move_swap(arena, search, plan, changed);
    case SEARCH_GIVE:
        return move_give(arena, search, plan, changed);
    case SEARCH_TAKE:
        return move_take(arena, search, plan, changed);
    case SEARCH_SPLIT:
        return move_split(arena, search, plan, changed);
    case SEARCH_MERGE:
        return move_merge(arena, search, plan, changed);
    case SEARCH_CLOSE:
        return move_close(arena, search, plan, changed);
    case SEARCH_OPEN:
        return move_open(arena, search, plan, changed);
    case SEARCH_ORDER:
        return move_order(arena, search, plan, changed);
    case SEARCH_BATCH:
        return move_batch(arena, search, plan, changed);
    case SEARCH_QUEUE:
        return move_queue(arena, search, plan, changed);
    case SEARCH_MOVE_COUNT:
        break;
    }
    return false;
}

/* ---- to begin with ---- */

/* To whom the next device goes: the replica that has the least speed so far, for its share of the
 * requests. */
static int32_t neediest(const double *speeds, const double *shares, int32_t count)
{
    int32_t least = 0;

    for (int32_t r = 1; r < count; r++)
        if (speeds[r] * shares[least] < speeds[least] * shares[r])
            least = r;
    return least;
}

/* As many replicas as fit, each of the next few devices; the services that have none come first. */
static void use_rest(struct arena *arena, struct search *search, struct search_plan *plan,
                     struct search_replica *replicas, const struct search_stage *rest, int32_t left)
{
    int32_t first = 0, take = 1, service = 0;

    while (first + take <= left && plan->replica_count <= search->device_count) {
        for (int32_t s = 0; s < search->service_count; s++)
            if (replicas_of(plan, s) < replicas_of(plan, service))
                service = s;
        if (!search_fill(arena, search, service, &rest[first], take, 0,
                         &replicas[plan->replica_count])) {
            take++;
            continue;
        }
        plan->replica_count++;
        first += take;
        take = 1;
    }
}

/* The fastest devices first, each to the neediest of so many replicas; those of replicas that do
 * not fit make others, or are idle. */
bool search_start(struct arena *arena, struct search *search, int32_t count,
                  struct search_plan *plan)
{
    int32_t groups = count * search->service_count, left = 0, devices = search->device_count;
    size_t width = (size_t)devices;
    struct search_stage *stages = arena_array(arena, (size_t)groups * width, sizeof *stages);
    struct search_stage *rest = arena_array(arena, width, sizeof *rest);
    struct search_replica *replicas =
        arena_array(arena, (size_t)groups + width + 1, sizeof *replicas);
    int32_t *counts = arena_array(arena, (size_t)groups, sizeof *counts);
    int32_t *order = arena_array(arena, width, sizeof *order);
    double *speeds = arena_array(arena, (size_t)groups, sizeof *speeds);
    double *shares = arena_array(arena, (size_t)groups, sizeof *shares);

    *plan = (struct search_plan){ .replicas = replicas };
    for (int32_t g = 0; g < groups; g++)
        shares[g] = search->services[g % search->service_count].share;
    for (int32_t d = 0; d < devices; d++)
        order[d] = d;
    search_sort(search, order, devices);
    for (int32_t d = 0; d < devices; d++) {
        int32_t to = neediest(speeds, shares, groups);

        speeds[to] += 1.0 / (double)(search->speeds_ps[order[d]] + 1);
        stages[(size_t)to * width + (size_t)counts[to]++] = alone(order[d]);
    }
    for (int32_t g = 0; g < groups; g++) {
        const struct search_stage *own = &stages[(size_t)g * width];

        if (search_fill(arena, search, g % search->service_count, own, counts[g], 0,
                        &replicas[plan->replica_count])) {
            plan->replica_count++;
            continue;
        }
        for (int32_t s = 0; s < counts[g]; s++)
            rest[left++] = own[s];
    }
    sort_stages(search, rest, left);
    use_rest(arena, search, plan, replicas, rest, left);
    for (int32_t s = 0; s < search->service_count; s++)
        if (replicas_of(plan, s) == 0)
            return false;
    return true;
}
