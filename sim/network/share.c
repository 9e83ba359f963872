/* share.c - see share.h: counts and bytes of routes, times what their legs cost. */
#include "sim/network/share.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "sim/network/network.h"
#include "sim/network/topology.h"

static struct share leg_share(const struct topology *topology, const struct topology_leg *leg,
                              int64_t count, int64_t bytes)
{
    double rate_millibits_per_s = (double)topology->rates[leg->first_rate].rate_millibits_per_s;
    struct share share = { .message_count = count,
                           .per_message_ps = (double)count * (double)leg->per_message_ps,
                           .latency_ps = (double)count * (double)leg->latency_ps };

    if (rate_millibits_per_s > 0)
        share.bytes_ps = (double)bytes * (8e3 * (double)UNITS_PS_PER_S) / rate_millibits_per_s;
    return share;
}

static void share_add(struct share *sum, struct share more)
{
    sum->message_count += more.message_count;
    sum->per_message_ps += more.per_message_ps;
    sum->latency_ps += more.latency_ps;
    sum->bytes_ps += more.bytes_ps;
}

/* Every link of the leg carries the bytes; the first has the sender's cost as well, and each its
 * own latency. */
static void links_add(const struct topology *topology, const struct topology_leg *leg,
                      struct share share, struct share *links)
{
    struct share in = { .message_count = share.message_count, .bytes_ps = share.bytes_ps };

    for (int32_t i = 0; i < leg->step_count; i++) {
        const struct topology_step *step = &topology->steps[leg->first_step + i];
        struct share part = share;

        part.latency_ps = (double)share.message_count * (double)step->latency_ps;
        part.per_message_ps = i == 0 ? share.per_message_ps : 0;
        share_add(&links[step->link], part);
    }
    if (leg->in_link >= 0)
        share_add(&links[leg->in_link], in);
}

struct shares share_out(const struct network *network, const struct cluster *cluster,
                        struct arena *arena)
{
    const struct topology *topology = network_topology(network);
    struct shares shares = {
        arena_array(arena, (size_t)topology->link_count, sizeof(struct share)),
        arena_array(arena, (size_t)cluster->medium_count, sizeof(struct share)),
        arena_array(arena, (size_t)cluster->device_count, sizeof(struct share)),
    };

    for (int32_t r = 0; r < topology->route_count; r++) {
        const struct topology_route *route = &topology->routes[r];
        struct network_traffic sent = network_traffic(network, r);
        struct network_traffic carried = network_carried(network, r);
        int32_t from = network_pair(network, r).from;

        for (int32_t i = 0; i < route->leg_count; i++) {
            const struct topology_leg *leg = &topology->legs[route->first_leg + i];
            struct share share = leg_share(topology, leg, sent.count, sent.bytes);

            links_add(topology, leg, share, shares.links);
            if (i == 0 && from != NETWORK_SOURCE)
                share_add(&shares.devices[from], share);
            share_add(&shares.media[leg->medium], share);
            share_add(&shares.media[leg->medium],
                      leg_share(topology, leg, carried.count, carried.bytes));
        }
    }
    return shares;
}
