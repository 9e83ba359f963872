/* parts.c - what the time of requests in the system is made of, and how long each replica had some
 * in flight.
 *
 * Jobs of one request on one device need no counting of their own: their sum is the busy time of
 * the devices. What else there is (requests that are computed together, devices that compute one
 * request together) is added or taken off as it ends: of a pass through a sliced stage what was
 * computed along the chain of what waited for what counts for each of its requests, and what its
 * devices computed beside it for nobody. Messages are counted by the network. */
#include "sim/serve/crew.h"

#include "lib/format/cluster.h"
#include "sim/network/network.h"
#include "sim/network/share.h"

/* ---- replicas that share devices ---- */

static int32_t root_of(int32_t *groups, int32_t replica)
{
    while (groups[replica] != replica)
        replica = groups[replica] = groups[groups[replica]];
    return replica;
}

/* Replicas of one service and number are one over all epochs; so are, here, those that share a
 * device. */
static void groups_join(const struct serve *serve, int32_t *groups)
{
    const struct plan *plan = serve->input->plan;
    int32_t *first = arena_array(serve->arena, (size_t)plan->cluster->device_count, sizeof(*first));

    for (int32_t r = 0; r < plan->replica_count; r++)
        groups[r] = r;
    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct lane *lane = &serve->lanes[r];

        groups[root_of(groups, r)] = root_of(groups, (int32_t)(lane->same - serve->lanes));
        for (int s = 0; s < lane->site_count; s++)
            for (int i = 0; i < lane->sites[s].device_count; i++) {
                int32_t *owner = &first[lane->sites[s].devices[i]]; /* + 1; 0 = nobody yet */

                if (*owner > 0)
                    groups[root_of(groups, r)] = root_of(groups, *owner - 1);
                *owner = r + 1;
            }
    }
}

void parts_begin(struct serve *serve)
{
    size_t count = (size_t)serve->input->plan->replica_count;
    int32_t *groups = arena_array(serve->arena, count, sizeof(*groups));
    struct presence *presences = arena_array(serve->arena, count, sizeof(*presences));

    if (!serve->options->has_parts)
        return;
    groups_join(serve, groups);
    for (size_t r = 0; r < count; r++)
        serve->lanes[r].presence = &presences[root_of(groups, (int32_t)r)];
}

/* ---- while it runs ---- */

void parts_add(struct serve *serve, int64_t time_ps, int64_t times)
{
    struct wide extra = wide_mul((uint64_t)(times < 0 ? -times : times), (uint64_t)time_ps);

    serve->extra_ps = wide_add(serve->extra_ps, times < 0 ? wide_negate(extra) : extra);
}

void parts_job(struct serve *serve, int32_t index, int64_t time_ps)
{
    int64_t more = -serve->flights[index].site->device_count;

    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate)
        more++;
    parts_add(serve, time_ps, more);
}

void parts_block(struct serve *serve, const int32_t *services, const int64_t *arrivals_ps,
                 const int64_t *finishes_ps, size_t count)
{
    const struct plan_service *plan_services = serve->input->plan->services;
    struct presence everyone = serve->everyone;
    struct wide all_ps = serve->all_ps;

    for (size_t i = 0; i < count; i++) {
        const struct lane *lane = &serve->lanes[plan_services[services[i]].replicas[0]];

        presence_span(&everyone, arrivals_ps[i], finishes_ps[i]);
        presence_span(lane->presence, arrivals_ps[i], finishes_ps[i]);
        parts_add_wide(&all_ps, finishes_ps[i] - arrivals_ps[i]);
    }
    serve->everyone = everyone;
    serve->all_ps = all_ps;
}

/* ---- the end ---- */

double parts_double(struct wide value)
{
    bool is_negative = value.high >> 63 != 0;
    struct wide magnitude = is_negative ? wide_negate(value) : value;
    double result = (double)magnitude.high * 0x1p64 + (double)magnitude.low;

    return is_negative ? -result : result;
}

static void messages_fill(struct serve *serve)
{
    struct serve_result *result = serve->result;
    const struct cluster *cluster = serve->input->plan->cluster;
    struct shares shares = share_out(serve->network, cluster, serve->arena);

    for (int i = 0; i < result->link_count; i++) {
        result->links[i].share = shares.links[i];
        result->links[i].medium = network_link_medium_index(serve->network, i);
    }
    for (int i = 0; i < cluster->device_count; i++)
        result->devices[i].sent_ps = shares.devices[i].per_message_ps + shares.devices[i].bytes_ps;
    result->parts.media = shares.media;
    for (int i = 0; i < cluster->medium_count && serve->crew_count > 0; i++) {
        struct share share = sliced_share(serve->sliced, i), *sum = &shares.media[i];

        sum->message_count += share.message_count;
        sum->per_message_ps += share.per_message_ps;
        sum->latency_ps += share.latency_ps;
        sum->bytes_ps += share.bytes_ps;
    }
    result->has_shares = true;
}

/* One that is the same in several epochs has all the devices of these. */
static void replica_fill(const struct serve *serve, int32_t first, bool *is_counted,
                         struct serve_replica *replica)
{
    const struct plan *plan = serve->input->plan;
    int32_t count = plan->epoch_count > 1 ? plan->replica_count : first + 1;

    for (int pass = 0; pass < 2; pass++) /* counts, then forgets */
        for (int32_t r = first; r < count; r++) {
            const struct lane *lane = &serve->lanes[r];

            for (int s = 0; s < lane->site_count && lane->same == &serve->lanes[first]; s++)
                for (int i = 0; i < lane->sites[s].device_count; i++) {
                    int32_t device = lane->sites[s].devices[i];

                    if (pass == 0 && !is_counted[device]) {
                        replica->device_count++;
                        replica->busy_ps += (double)serve->result->devices[device].busy_ps;
                    }
                    is_counted[device] = pass == 0;
                }
        }
}

static void replicas_fill(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    struct serve_result *result = serve->result;
    bool *is_counted = arena_array(serve->arena, (size_t)plan->cluster->device_count, sizeof(bool));

    result->replicas =
        arena_array(serve->arena, (size_t)plan->replica_count, sizeof(*result->replicas));
    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct lane *lane = &serve->lanes[r];
        struct serve_replica *replica = &result->replicas[result->replica_count];

        if (lane->same != lane)
            continue;
        *replica = (struct serve_replica){ .service = lane->service,
                                           .number = lane->number,
                                           .active_ps = lane->presence->active_ps };
        replica_fill(serve, r, is_counted, replica);
        result->replica_count++;
    }
}

void parts_fill(struct serve *serve)
{
    struct serve_result *result = serve->result;
    struct serve_parts *parts = &result->parts;

    messages_fill(serve);
    /* alpaserve books requests: it does not know who is there */
    if (!serve->options->has_parts || serve->options->rules == SERVE_ALPASERVE)
        return;
    replicas_fill(serve);
    if (serve->handoffs)
        return;
    parts->is_known = true;
    parts->active_ps = serve->everyone.active_ps;
    parts->all_ps = parts_double(serve->all_ps);
    parts->delay_ps = serve->delay_ps;
    parts->compute_ps = parts_double(serve->extra_ps);
    for (int i = 0; i < serve->input->plan->cluster->device_count; i++)
        parts->compute_ps += (double)result->devices[i].busy_ps;
}
