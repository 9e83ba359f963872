/* way.c - stages with alternatives (copies): which of them each request passes, as
 * lib/policy/copies.h chooses.
 *
 * A batch goes the way of its oldest request. A copy with a device that is down is passed over; a
 * replica is down when a stage has no other left. */
#include "sim/serve/internal.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/policy/copies.h"

/* ---- before time starts ---- */

static bool check(const struct serve *serve, const struct site *site, struct err *err)
{
    const struct serve_options *options = serve->options;
    const char *why = NULL;

    if (options->batch.kind == BATCH_CONTINUOUS)
        why = "--batch continuous";
    else if (options->rules == SERVE_ALPASERVE)
        why = "--rules alpaserve";
    return !why || err_set(err, ERR_USAGE,
                           "stage %d of replica %d of service '%s' has %d copies: this version "
                           "does not combine that with %s",
                           (int)site->stage->number, (int)serve->lanes[site->replica].number,
                           serve->input->plan->services[site->service].name, site->copy_count, why);
}

bool way_begin(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;

    for (int i = 0; i < plan->stage_count; i++)
        serve->sites[i].base = &serve->sites[i];
    for (int i = 0; i < plan->stage_count; i++) {
        struct site *base = &serve->sites[i];
        const struct plan_stage *stage = base->stage;

        base->copy_count = stage->copy_count;
        if (stage->copy_count < 2)
            continue;
        base->copies = arena_array(serve->arena, (size_t)stage->copy_count, sizeof(struct site *));
        for (int k = 0; k < stage->copy_count; k++) {
            base->copies[k] = &serve->sites[stage->copies[k]->id];
            base->copies[k]->base = base;
        }
        serve->has_ways = true;
        if (!check(serve, base, err))
            return false;
    }
    for (int r = 0; r < plan->replica_count && serve->has_ways; r++) {
        int places = copies_place_count(&plan->replicas[r]);

        serve->lanes[r].has_ways = copies_are_in(&plan->replicas[r]);
        if (places > serve->way_places)
            serve->way_places = places;
    }
    if (serve->has_ways)
        serve->copies =
            copies_create(serve->arena, plan, serve->options->dispatch, serve->options->seed);
    return true;
}

/* ---- the way of a request ---- */

static size_t place_of(const struct serve *serve, int32_t index, const struct site *base)
{
    int place = copies_place(&serve->input->plan->replicas[base->replica], base->stage);

    return (size_t)index * (size_t)serve->way_places + (size_t)place;
}

struct site *way_at(const struct serve *serve, int32_t index, struct site *base)
{
    return base->copy_count < 2 ? base : base->copies[serve->ways[place_of(serve, index, base)]];
}

bool way_has(const struct serve *serve, int32_t index, const struct site *site)
{
    return !serve->has_ways || way_at(serve, index, site->base) == site;
}

/* Its batch, with which it will go, has not been made up: of a model alone, which holds memory. */
static bool is_open(const struct serve *serve, int32_t index)
{
    const struct flight *flight = &serve->flights[index];

    return flight->site->is_model && serve->lanes[flight->site->replica].sites->batcher &&
           serve_batch_id(serve, index) < 0;
}

bool way_may_have(const struct serve *serve, int32_t index, const struct site *site)
{
    return way_has(serve, index, site) ||
           (is_open(serve, index) &&
            copies_place(&serve->input->plan->replicas[site->replica], site->stage) > 0);
}

int way_number(const struct site *site)
{
    int k = 0;

    while (site->base->copies[k] != site)
        k++;
    return k;
}

bool way_may_move(const struct serve *serve, int32_t index, int32_t m)
{
    const struct plan_replica *replica =
        &serve->input->plan->replicas[serve->flights[index].site->replica];

    return !serve->has_ways ||
           (way_may_have(serve, index, &serve->sites[replica->moves[m].from_stage]) &&
            way_may_have(serve, index, &serve->sites[replica->moves[m].to_stage]));
}

bool way_moves(const struct serve *serve, int32_t index, int32_t m)
{
    const struct plan_replica *replica =
        &serve->input->plan->replicas[serve->flights[index].site->replica];

    return !serve->has_ways ||
           (way_has(serve, index, &serve->sites[replica->moves[m].from_stage]) &&
            way_has(serve, index, &serve->sites[replica->moves[m].to_stage]));
}

int way_route_in(const struct serve *serve, int32_t index)
{
    const struct site *site = serve->flights[index].site;
    struct site *before = site->base - 1;

    if (!serve->has_ways || site->stage->number == 0 || before->copy_count < 2)
        return site->route_in;
    return site->routes_in[serve->ways[place_of(serve, index, before)]];
}

/* ---- the choice ---- */

int64_t way_backlog_ps(const struct serve *serve, const struct site *base)
{
    int64_t least_ps = -1;

    if (base->copy_count < 2)
        return coming_backlog_ps(serve, base);
    for (int k = 0; k < base->copy_count; k++) {
        int64_t backlog_ps = coming_backlog_ps(serve, base->copies[k]);

        if (base->copies[k]->down_count == 0 && (least_ps < 0 || backlog_ps < least_ps))
            least_ps = backlog_ps;
    }
    return least_ps < 0 ? 0 : least_ps;
}

static void look(void *arg, const struct plan_stage *stage, struct dispatch_replica *facts)
{
    const struct serve *serve = arg;
    const struct site *copy = &serve->sites[stage->id];

    facts->is_up = copy->down_count == 0;
    facts->backlog_ps = facts->last_backlog_ps = coming_backlog_ps(serve, copy);
    facts->outstanding = copy->outstanding;
}

/* All stages with alternatives, of prompts and of decode steps. */
static struct site *next_base(const struct lane *lane, int32_t *at)
{
    int32_t own = lane->decode_sites == lane->sites ? 0 : lane->decode_count;

    while (*at < lane->stage_count + own) {
        struct site *base = *at < lane->stage_count ? &lane->sites[*at]
                                                    : &lane->decode_sites[*at - lane->stage_count];

        ++*at;
        if (base->copy_count > 1)
            return base;
    }
    return NULL;
}

static void count(struct serve *serve, int32_t index, int change)
{
    const struct lane *lane = &serve->lanes[serve->flights[index].site->replica];
    struct site *base;

    for (int32_t at = 0; (base = next_base(lane, &at));)
        way_at(serve, index, base)->outstanding += change;
}

void way_choose(struct serve *serve, int32_t index, const struct dispatch_request *who)
{
    const struct site *site = serve->flights[index].site;

    copies_choose(serve->copies, &serve->input->plan->replicas[site->replica], who, look, serve,
                  &serve->ways[(size_t)index * (size_t)serve->way_places]);
    count(serve, index, 1);
    serve->flights[index].site = way_at(serve, index, serve->lanes[site->replica].sites);
}

void way_join(struct serve *serve, int32_t index, int32_t other)
{
    size_t places = (size_t)serve->way_places;

    count(serve, index, -1);
    for (size_t i = 0; i < places; i++)
        serve->ways[(size_t)index * places + i] = serve->ways[(size_t)other * places + i];
    count(serve, index, 1);
}

void way_leave(struct serve *serve, int32_t index)
{
    count(serve, index, -1);
}

/* ---- failures ---- */

static bool is_down(const struct site *base)
{
    for (int k = 0; k < base->copy_count; k++)
        if ((base->copy_count > 1 ? base->copies[k] : base)->down_count == 0)
            return false;
    return true;
}

void way_count_down(struct lane *lane)
{
    lane->down_count = 0;
    for (int32_t s = 0; s < lane->stage_count; s++)
        lane->down_count += is_down(&lane->sites[s]);
    for (int32_t s = 0; s < lane->decode_count && lane->decode_sites != lane->sites; s++)
        lane->down_count += is_down(&lane->decode_sites[s]);
}
