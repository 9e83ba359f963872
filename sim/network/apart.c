/* apart.c - counts who uses what; only whether it is one matters. */
#include "sim/network/apart.h"

#include "lib/base/arena.h"
#include "sim/network/topology.h"
#include <stddef.h>
#include <stdint.h>

struct users {
    int32_t *links, *senders; /* by link; by port that pays for messages */
};

static bool uses_nothing(const struct topology_leg *leg, bool is_empty)
{
    return is_empty && leg->per_message_ps == 0;
}

static void leg_count(const struct topology *topology, const struct topology_leg *leg,
                      bool is_empty, struct users *users)
{
    if (uses_nothing(leg, is_empty))
        return;
    if (leg->per_message_ps > 0)
        users->senders[leg->from]++;
    for (int32_t k = 0; k < leg->step_count; k++)
        users->links[topology->steps[leg->first_step + k].link]++;
    if (leg->in_link >= 0)
        users->links[leg->in_link]++;
}

/* So many use the link (none: -1), which is as fast as the leg if anybody does. */
static bool is_used_by(const struct topology *topology, const struct topology_state *state,
                       const struct users *users, int32_t link, int32_t count, int64_t rate)
{
    return link < 0 ||
           (users->links[link] == count &&
            (count == 0 || topology_state_link_rate(state, &topology->links[link]) == rate));
}

static bool leg_is_apart(const struct topology *topology, const struct topology_state *state,
                         const struct users *users, const struct topology_leg *leg, bool is_empty)
{
    int64_t rate = topology->rates[leg->first_rate].rate_millibits_per_s;
    int32_t link = topology->steps[leg->first_step].link;
    int32_t count = uses_nothing(leg, is_empty) ? 0 : 1;

    return leg->step_count == 1 && leg->circuit < 0 && leg->rate_count == 1 &&
           is_used_by(topology, state, users, link, count, rate) &&
           is_used_by(topology, state, users, leg->in_link, count, rate) &&
           (leg->per_message_ps == 0 || users->senders[leg->from] == 1);
}

bool *apart_find(struct arena *arena, const struct topology *topology, const bool *are_empty)
{
    const struct topology_state *state = topology_state_create(arena, topology);
    bool *are_apart = arena_array(arena, (size_t)topology->route_count, sizeof(*are_apart));
    struct users users = {
        arena_array(arena, (size_t)topology->link_count, sizeof(int32_t)),
        arena_array(arena, (size_t)topology->port_count, sizeof(int32_t)),
    };

    for (int32_t i = 0; i < topology->route_count; i++)
        for (int32_t k = 0; k < topology->routes[i].leg_count; k++)
            leg_count(topology, &topology->legs[topology->routes[i].first_leg + k], are_empty[i],
                      &users);
    for (int32_t i = 0; i < topology->route_count; i++)
        are_apart[i] = topology->routes[i].leg_count == 1 &&
                       leg_is_apart(topology, state, &users,
                                    &topology->legs[topology->routes[i].first_leg], are_empty[i]);
    return are_apart;
}
