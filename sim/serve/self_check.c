/* self_check.c - conservation, Little's law and busy-time sums, checked exactly at every run's end.
 *
 * A failure here is a defect of the simulator, never of the input: the run's numbers must not be
 * shown. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "sim/network/network.h"
#include "sim/serve/crew.h"
#include "sim/serve/internal.h"

#define BLOCKED_SHOWN 5

/* What the request waits for. */
static const char *place_of(const struct serve *serve, int32_t index)
{
    const struct flight *flight = &serve->flights[index];
    int link = network_where(serve->network, index);
    const char *room = serve->has_rooms ? room_waits_for(serve, index) : NULL;

    if (link >= 0)
        return arena_printf(serve->arena, "%s link %.64s", flight->is_back ? "back over" : "over",
                            network_link_name(serve->network, link));
    if (room)
        return room;
    if (flight->is_back)
        return "on the way back";
    if (flight->site->is_model && serve->decodes[index].handoff != NO_HANDOFF)
        return "its KV cache is on the way";
    if (flight->site->crew)
        return crew_waits_for(serve, index);
    return arena_printf(serve->arena, "on device %.64s",
                        serve->input->plan->cluster->devices[flight->site->device].name);
}

/* Names the first few requests that neither ended nor will, and where they are: those that keep
 * devices from others before all others. */
static const char *blocked_list(const struct serve *serve)
{
    const char *list = NULL;
    int shown = 0;

    for (int pass = serve->has_rooms ? 0 : 1; pass < 2; pass++)
        for (int32_t i = 0; i < serve->flight_count && shown < BLOCKED_SHOWN; i++) {
            const struct flight *flight = &serve->flights[i];
            bool is_kept = flight->site && serve->has_rooms && room_is_kept_by(serve, i);

            if (!flight->site || is_kept != (pass == 0))
                continue;
            list = arena_printf(serve->arena, "%s%s%lld (step %d, stage %d, %s)", list ? list : "",
                                list ? ", " : "",
                                (long long)arrivals_id(&serve->arrivals, flight->request),
                                flight->site->is_model ? (int)serve->decodes[i].step : 0,
                                (int)flight->site->stage->number, place_of(serve, i));
            shown++;
        }
    return list ? list : "none";
}

static bool blocked(const struct serve *serve, struct err *err)
{
    return err_set(err, ERR_SYSTEM,
                   "blocked: %lld requests in the system and %zu still to come, but no event is "
                   "left; first requests: %s",
                   (long long)serve->in_system, arrivals_left(&serve->arrivals),
                   blocked_list(serve));
}

static bool busy_check(const struct serve *serve, struct err *err)
{
    const struct cluster *cluster = serve->input->plan->cluster;

    for (int i = 0; i < cluster->device_count; i++) {
        const struct station *station = &serve->stations[i];
        const struct serve_device *device = &serve->result->devices[i];

        uint64_t due_ps = station->offered_ps - station->lost_ps + station->switched_ps;

        if ((uint64_t)station->busy_ps + (uint64_t)station->gap_ps != due_ps ||
            device->gap_ps < 0 || device->busy_ps > serve->result->end_ps - device->gap_ps)
            return err_set(err, ERR_SYSTEM,
                           "self-check failed: device '%s' was busy for %lld ps and in gaps for "
                           "%lld ps of %lld ps, but its jobs and switches take %lld ps",
                           cluster->devices[i].name, (long long)device->busy_ps,
                           (long long)device->gap_ps, (long long)serve->result->end_ps,
                           (long long)due_ps);
        if (serve->memories[i].kv_bytes != 0)
            return err_set(err, ERR_SYSTEM,
                           "self-check failed: device '%s' still holds %lld bytes of KV cache",
                           cluster->devices[i].name, (long long)serve->memories[i].kv_bytes);
    }
    return true;
}

bool self_check_end(const struct serve *serve, struct err *err)
{
    bool is_limited = serve->options->until_ps != ENGINE_NEVER;

    if (serve->in_system != 0 || network_in_flight(serve->network) != 0 ||
        (!is_limited && arrivals_left(&serve->arrivals) != 0))
        return blocked(serve, err);
    if (!network_is_balanced(serve->network))
        return err_set(err, ERR_SYSTEM,
                       "self-check failed: the bytes that arrived are not those that were sent");
    if ((uint64_t)serve->told_count != serve->result->taken_count || serve->retold_count != 0)
        return err_set(err, ERR_SYSTEM,
                       "self-check failed: %zu requests have arrived and %lld have ended, %lld of "
                       "them more than once",
                       serve->result->taken_count, (long long)serve->told_count,
                       (long long)serve->retold_count);
    if (serve->is_looped && serve->area_ps != serve->all_ps.low)
        return err_set(err, ERR_SYSTEM,
                       "self-check failed: Little's law: the area under the number in the system "
                       "differs from the sum of the times in it by %lld ps",
                       (long long)(serve->area_ps - serve->all_ps.low));
    if (serve->late_starts != 0)
        return err_set(err, ERR_SYSTEM,
                       "self-check failed: %lld jobs did not start when the rule of a FIFO queue "
                       "says",
                       (long long)serve->late_starts);
    return busy_check(serve, err);
}
