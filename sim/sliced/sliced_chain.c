/* sliced_chain.c - what a pass waited for: of each message what it is made of, and of the messages
 * one behind the other that its end waited for what they took of the time of requests. */
#include "lib/base/units.h"
#include "sim/sliced/internal.h"

int32_t chain_add(struct arena *arena, struct chain *chain, struct passed passed)
{
    if (++chain->count >= chain->room) {
        int32_t room = arena_wider(chain->room, 64);

        chain->list =
            arena_grow(arena, chain->list, (size_t)chain->room, (size_t)room, sizeof(*chain->list));
        chain->room = room;
    }
    chain->list[chain->count] = passed;
    return chain->count;
}

/* What the message adds to the time since the pass began. Waiting for links, its own or another's
 * messages', counts as what the message is made of. */
void sliced_trail_extend(const struct sliced_set *set, struct chain *chain, struct trail *trail,
                         const struct edge *edge, int64_t bytes, int64_t took_ps)
{
    struct passed passed = { .before = trail->passed, .route = edge->route };
    struct network_hop hop;
    int64_t wait_ps;

    if (network_route_is_free(set->network, edge->route))
        return;
    hop = network_hop(set->network, edge->route, bytes);
    wait_ps = took_ps - hop.occupy_ps - hop.latency_ps;
    if (hop.occupy_ps > 0) {
        int64_t of_messages_ps = edge->per_message_ps > 0
                                     ? units_mul_div(wait_ps, edge->per_message_ps, hop.occupy_ps)
                                     : 0;

        passed.per_message_ps = edge->per_message_ps + of_messages_ps;
        passed.bytes_ps = hop.occupy_ps - edge->per_message_ps + wait_ps - of_messages_ps;
        passed.latency_ps = hop.latency_ps;
    } else {
        passed.latency_ps = took_ps;
    }
    trail->per_message_ps += passed.per_message_ps;
    trail->bytes_ps += passed.bytes_ps;
    trail->latency_ps += passed.latency_ps;
    trail->passed = chain_add(set->arena, chain, passed);
}

/* Times so many requests. */
static struct wide more(struct wide sum, int64_t time_ps, int64_t times)
{
    struct wide product = wide_mul((uint64_t)(time_ps < 0 ? -time_ps : time_ps), (uint64_t)times);

    return wide_add(sum, time_ps < 0 ? wide_negate(product) : product);
}

static void cross(struct sliced *sliced, const struct passed *passed)
{
    const struct sliced_set *set = sliced->set;
    int link = network_route_link(set->network, passed->route);
    struct crossed *crossed = &set->crossed[network_link_medium_index(set->network, link)];
    int64_t times = sliced->load.sequences;

    crossed->count += times;
    crossed->per_message_ps = more(crossed->per_message_ps, passed->per_message_ps, times);
    crossed->bytes_ps = more(crossed->bytes_ps, passed->bytes_ps, times);
    crossed->latency_ps = more(crossed->latency_ps, passed->latency_ps, times);
}

/* Messages that the pass waited for: each of its requests did. */
void chain_cross(struct sliced *sliced)
{
    for (int32_t i = sliced->last.passed; i > 0; i = sliced->chain.list[i].before) {
        const struct passed *passed = &sliced->chain.list[i];
        const struct alone *alone;

        if (passed->route >= 0) {
            cross(sliced, passed);
            continue;
        }
        alone = alone_of(sliced, &sliced->ops[passed_op(passed->route)]);
        for (int32_t k = 0; k < alone->passed_count; k++)
            cross(sliced, &alone->passed[k]);
    }
}

/* Two's complement. */
static double to_double(struct wide value)
{
    bool is_negative = value.high >> 63 != 0;
    struct wide magnitude = is_negative ? wide_negate(value) : value;
    double number = (double)magnitude.high * 0x1p64 + (double)magnitude.low;

    return is_negative ? -number : number;
}

struct share sliced_share(const struct sliced_set *set, int medium)
{
    const struct crossed *crossed = &set->crossed[medium];

    return (struct share){ crossed->count, to_double(crossed->per_message_ps),
                           to_double(crossed->latency_ps), to_double(crossed->bytes_ps) };
}
