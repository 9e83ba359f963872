/* update.c - a placement that comes while a run goes on: the next epoch of its plan.
 *
 * The plan is made anew from the rows that it had and, behind them, those of the new placement, so
 * that replicas and stages keep their numbers. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "runner/coordinator/internal.h"
#include "runner/fleet/fleet.h"
#include "runner/setup/machine.h"
#include "runner/setup/setup.h"
#include <string.h>

/* What a run takes of a placement that is sound by itself. */
static bool check(const struct coordinator *c, const struct placement *placement, struct err *err)
{
    for (int i = 0; i < placement->count; i++) {
        const struct placement_row *row = &placement->rows[i];

        if (row->epoch != 0)
            return placement_bad(placement, row, PLACEMENT_EPOCH, err,
                                 "an update is one epoch, which begins when it is loaded: "
                                 "expected 0");
        if (plan_find_service(c->plan, row->service) < 0)
            return placement_bad(placement, row, PLACEMENT_SERVICE, err,
                                 "the run has no such service");
    }
    return true;
}

static const struct placement *load(const struct coordinator *c, const char *path, const char *text,
                                    struct err *err)
{
    const struct placement *placement =
        placement_load_text(c->arena, text, strlen(text), path, err);

    if (!placement || !coordinator_check_rows(placement, err) ||
        !plan_build(c->arena, placement, c->plan->cluster, NULL, c->catalogue, err) ||
        !check(c, placement, err))
        return NULL;
    return placement;
}

/* The rows of before, and the new ones as the next epoch. */
static const struct placement *join(const struct coordinator *c, const struct placement *next,
                                    int64_t from_ps)
{
    struct placement *joined = arena_alloc(c->arena, sizeof *joined);
    const struct plan_epoch *last = &c->plan->epochs[c->plan->epoch_count - 1];
    int old = c->placement->count;

    *joined = *next;
    joined->count = old + next->count;
    joined->rows = arena_array(c->arena, (size_t)joined->count, sizeof *joined->rows);
    memcpy(joined->rows, c->placement->rows, (size_t)old * sizeof *joined->rows);
    memcpy(joined->rows + old, next->rows, (size_t)next->count * sizeof *joined->rows);
    for (int i = old; i < joined->count; i++) {
        joined->rows[i].epoch = last->number + 1;
        joined->rows[i].from_ps = from_ps;
    }
    return joined;
}

/* Workers of one machine: a later worker of the device may use as much as this one may now. */
static bool share_memory(const struct coordinator *c, struct assignment *all,
                         struct assignment *added, struct err *err)
{
    if (!c->options->is_local)
        return true;
    if (!assign_memory(added, c->assignment, machine_available_bytes(), err))
        return false;
    for (int i = 0; i < all->count; i++)
        all->setups[i].memory_bytes =
            c->assignment->setups[i].memory_bytes + added->setups[i].memory_bytes;
    return true;
}

/* A drill raises a device that it has let fall, and nobody else does. */
static bool check_new_devices(const struct coordinator *c, int64_t now_ps, struct err *err)
{
    char at[UNITS_TEXT_BYTES];

    for (int i = c->assignment->count; i < c->next.assignment->count; i++) {
        const struct event *last = NULL;

        for (size_t k = 0; c->events && k < c->events->count; k++) {
            const struct event *event = &c->events->events[k];

            if (event->time_ps <= now_ps && event->device == c->next.assignment->devices[i])
                last = event;
        }
        if (last && last->kind == EVENT_DOWN)
            return err_set(err, ERR_INPUT, "device '%s' is down by --events since %s",
                           c->plan->cluster->devices[last->device].name,
                           units_format_human(last->time_ps, at));
    }
    return true;
}

bool coordinator_prepare(void *arg, const char *path, const char *text, int64_t number,
                         int64_t now_ps, struct err *err)
{
    struct coordinator *c = arg;
    const struct plan_epoch *last = &c->plan->epochs[c->plan->epoch_count - 1];
    struct assign_input input = coordinator_assign_input(c);
    struct fleet_update update = { .cluster = c->plan->cluster,
                                   .number = number,
                                   .wait_ns = c->options->wait_ps / UNITS_PS_PER_NS };
    struct assignment *added = arena_alloc(c->arena, sizeof *added);
    char at[UNITS_TEXT_BYTES];

    if (last->from_ps >= now_ps)
        return err_set(err, ERR_INPUT,
                       "epoch %d of the placement is still to come: updates are taken from %s on",
                       last->number, units_format_human(last->from_ps, at));
    c->next.placement = load(c, path, text, err);
    if (!c->next.placement)
        return false;
    c->next.assignment = arena_alloc(c->arena, sizeof *c->next.assignment);
    input.placement = join(c, c->next.placement, now_ps);
    input.plan = plan_build(c->arena, input.placement, c->plan->cluster, NULL, c->catalogue, err);
    if (!input.plan || !assign_build(c->arena, &input, c->next.assignment, err) ||
        !check_new_devices(c, now_ps, err))
        return false;
    input.first_stage = c->plan->stage_count;
    update.all = c->next.assignment;
    update.added = added;
    return assign_build(c->arena, &input, added, err) &&
           share_memory(c, c->next.assignment, added, err) &&
           fleet_begin_update(c->fleet, &update, err);
}

const struct plan *coordinator_adopt(void *arg, int64_t from_ps, struct err *err)
{
    struct coordinator *c = arg;
    const struct placement *placement = join(c, c->next.placement, from_ps);
    const struct plan *plan =
        plan_build(c->arena, placement, c->plan->cluster, NULL, c->catalogue, err);

    if (!plan || !check_new_devices(c, from_ps, err))
        return NULL;
    fleet_end_update(c->fleet);
    c->assignment = c->next.assignment;
    c->placement = placement;
    c->plan = c->report.plan = plan;
    return plan;
}
