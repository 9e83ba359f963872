/* network_links.c - what links and routes have carried, and whether it balances. */
#include "lib/base/units.h"
#include "sim/network/network_internal.h"

int network_link_count(const struct network *network)
{
    return network->link_count;
}

const char *network_link_name(const struct network *network, int link)
{
    return network->links[link].name;
}

const char *network_link_medium(const struct network *network, int link)
{
    return network->links[link].medium;
}

/* The port out of the sender, for a link that is the port into the receiver; NULL = another link.
 */
static const struct network_link *port_before(const struct network *network, int link)
{
    int route = network->links[link].port_route;

    return network->model == NETWORK_FLOWS && route >= 0 && network->routes[route].link != link
               ? &network->links[network->routes[route].link]
               : NULL;
}

int64_t network_link_busy_ps(const struct network *network, int link)
{
    const struct network_link *before = port_before(network, link);
    const struct route *route;

    if (network->links[link].port_route < 0 && network->model == NETWORK_FLOWS)
        return journeys_busy_ps(network->journeys, link);
    if (!before)
        return network->links[link].busy_ps;
    route = &network->routes[before->port_route];
    if (route->per_message_ps == 0)
        return before->busy_ps;
    return units_mul_div(before->bytes, 8 * UNITS_PS_PER_S * 1000, route->rate_millibits_per_s);
}

int network_link_medium_index(const struct network *network, int link)
{
    return network->topology->links[link].medium;
}

const struct topology *network_topology(const struct network *network)
{
    return network->topology;
}

struct network_traffic network_traffic(const struct network *network, int route)
{
    struct network_traffic sent = network->routes[route].sent;

    if (!network->beside)
        return sent;
    return (struct network_traffic){ sent.count + network->beside[route].count,
                                     network_add_bytes(sent.bytes, network->beside[route].bytes) };
}

struct network_traffic network_carried(const struct network *network, int route)
{
    return network->carried ? network->carried[route] : (struct network_traffic){ 0, 0 };
}

struct network_pair network_pair(const struct network *network, int route)
{
    return network->pairs[route];
}

int64_t network_link_bytes(const struct network *network, int link)
{
    const struct network_link *before = port_before(network, link);

    return before ? before->bytes : network->links[link].bytes;
}

int64_t network_in_flight(const struct network *network)
{
    return network->in_flight;
}

int network_where(const struct network *network, int32_t message)
{
    for (int i = 0; i < network->route_count; i++) {
        const struct route *route = &network->routes[i];

        for (uint32_t k = 0; k < route->count; k++)
            if (route->ring[(route->head + k) & (route->capacity - 1)].number == message)
                return route->link;
    }
    return network->journeys ? journeys_where(network->journeys, message) : -1;
}

int64_t network_moved_bytes(const struct network *network)
{
    const struct journeys *journeys = network->journeys;
    int64_t bytes = 0;

    for (int i = 0; i < network->link_count; i++)
        bytes = network_add_bytes(bytes, network->links[i].bytes);
    if (!journeys)
        return bytes;
    return network_add_bytes(bytes - journeys_link_bytes(journeys), journeys_sent_bytes(journeys));
}

bool network_is_balanced(const struct network *network)
{
    const struct journeys *journeys = network->journeys;

    return network->balance_bytes == 0 &&
           (!journeys || journeys_sent_bytes(journeys) == journeys_received_bytes(journeys));
}

bool network_has_circuits(const struct network *network)
{
    return network->journeys && journeys_have_circuits(network->journeys);
}

struct network_circuits network_circuits(const struct network *network)
{
    return network->journeys ? journeys_circuits(network->journeys)
                             : (struct network_circuits){ 0, 0, 0 };
}
