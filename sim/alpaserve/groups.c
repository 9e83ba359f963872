/* groups.c - joins replicas whose first stages share a clock. */
#include "sim/alpaserve/groups.h"

#include "lib/base/arena.h"

static bool is_out(const struct run *run, int32_t replica)
{
    return run->input->is_left_out && run->input->is_left_out[replica];
}

static int32_t find_root(int32_t *roots, int32_t i)
{
    while (roots[i] != i)
        i = roots[i] = roots[roots[i]];
    return i;
}

/* By replica: the first one that it is joined with, directly or through others. */
static int32_t *find_roots(const struct run *run)
{
    const struct plan *plan = run->plan;
    size_t clock_count = (size_t)run->clock_count;
    int32_t *roots = arena_array(run->arena, (size_t)plan->replica_count, sizeof *roots);
    /* By epoch and clock: a replica with its first stage there, + 1. */
    int32_t *owner =
        arena_array(run->arena, (size_t)plan->epoch_count * clock_count, sizeof *owner);

    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct path *path = &run->paths[r];
        int32_t *mine = &owner[(size_t)plan->replicas[r].epoch * clock_count];

        roots[r] = r;
        for (int32_t i = 0; i < path->clock_first[1] && !is_out(run, r); i++) {
            int32_t *other = &mine[path->clocks[i]];

            if (*other > 0) {
                int32_t a = find_root(roots, *other - 1), b = find_root(roots, r);

                roots[a > b ? a : b] = a < b ? a : b;
            }
            *other = r + 1;
        }
    }
    for (int32_t r = 0; r < plan->replica_count; r++)
        roots[r] = find_root(roots, r);
    return roots;
}

static bool has_same_first_stage(const struct path *a, const struct path *b)
{
    int32_t count = a->clock_first[1];

    if (b->clock_first[1] != count)
        return false;
    for (int32_t i = 0; i < count; i++) {
        int32_t at = 0;

        while (at < count && b->clocks[at] != a->clocks[i])
            at++;
        if (at == count)
            return false;
    }
    return true;
}

/* Numbers groups by epoch, then by first replica; a root comes before all that it is joined with.
 */
static void number_groups(struct run *run, struct groups *groups, const int32_t *roots)
{
    const struct plan *plan = run->plan;
    int32_t *first =
        arena_array(run->arena, (size_t)plan->epoch_count + 1, sizeof *groups->epoch_first);

    groups->groups = arena_array(run->arena, (size_t)plan->replica_count, sizeof *groups->groups);
    for (int32_t e = 0; e < plan->epoch_count; e++) {
        first[e] = groups->count;
        for (int32_t r = 0; r < plan->replica_count; r++) {
            struct path *path = &run->paths[r], *root = &run->paths[roots[r]];

            if (plan->replicas[r].epoch != e || is_out(run, r))
                continue;
            if (path == root) {
                path->group = groups->count++;
                groups->groups[path->group].is_uniform = true;
            }
            path->group = root->group;
            groups->groups[path->group].seat_count++; /* at most one for each replica */
            if (!has_same_first_stage(path, root))
                groups->groups[path->group].is_uniform = false;
        }
    }
    first[plan->epoch_count] = groups->count;
    groups->epoch_first = first;
}

static void take_seats(struct run *run, struct groups *groups)
{
    const struct plan *plan = run->plan;

    for (int32_t g = 0; g < groups->count; g++) {
        struct group *group = &groups->groups[g];

        group->seats = arena_array(run->arena, (size_t)group->seat_count, sizeof *group->seats);
        group->seat_count = 0;
    }
    for (int32_t r = 0; r < plan->replica_count; r++) {
        struct path *path = &run->paths[r];
        struct group *group = &groups->groups[path->group];
        int32_t service = plan->replicas[r].service, at = 0;

        if (is_out(run, r))
            continue;
        while (at < group->seat_count && group->seats[at].service != service)
            at++;
        if (at == group->seat_count)
            group->seats[group->seat_count++].service = service;
        path->seat = at;
        group->seats[at].choice.count++;
    }
}

struct groups *groups_create(struct run *run)
{
    const struct plan *plan = run->plan;
    struct groups *groups = arena_alloc(run->arena, sizeof *groups);
    const struct choice *choice = run->choices;

    number_groups(run, groups, find_roots(run));
    take_seats(run, groups);
    for (int32_t g = 0; g < groups->count; g++)
        for (int32_t i = 0; i < groups->groups[g].seat_count; i++) {
            struct choice *own = &groups->groups[g].seats[i].choice;

            own->paths = arena_array(run->arena, (size_t)own->count, sizeof *own->paths);
            own->count = 0;
        }
    for (int32_t i = 0; i < plan->epoch_count * plan->service_count; i++, choice++)
        for (int32_t k = 0; k < choice->count; k++) {
            struct path *path = choice->paths[k];
            struct choice *own = &groups->groups[path->group].seats[path->seat].choice;

            own->paths[own->count++] = path;
        }
    return groups;
}
