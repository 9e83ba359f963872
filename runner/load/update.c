/* update.c - an update of the placement: checked, loaded by the workers, taken up.
 *
 * Until all workers have loaded what they lack, nothing changes. Then the plan has one epoch more,
 * from that instant on, behind those that it had: replicas and stages keep their numbers, requests
 * under way end where they are, and those that arrive go by lib/policy as with any epoch. */
#include "runner/load/update.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/policy/plan.h"
#include "runner/fleet/fleet.h"
#include "runner/load/batches.h"
#include "runner/load/fixed.h"
#include "runner/load/internal.h"
#include "runner/load/monitor.h"
#include "runner/load/room.h"
#include "runner/load/table.h"
#include <stdio.h>

/* Told to whoever asked, and on stderr. */
static void refuse(struct serve *serve, const struct err *why)
{
    fprintf(stderr, "orrery-run: an update was refused: %s\n", why->text);
    fleet_answer_update(serve->fleet, false, why->text);
    serve->is_updating = false;
}

static void grow(struct serve *serve, const struct plan *plan)
{
    table_grow(serve->arena, serve->table, plan->replica_count, plan->stage_count);
    serve->choices = arena_array(serve->arena, (size_t)plan->replica_count, sizeof *serve->choices);
    serve->own->plan = plan;
    way_extend(serve);
    room_extend(serve);
    fixed_extend(serve);
}

static void keep(struct serve *serve, int32_t epoch, int64_t from_ps)
{
    struct serve_run *run = serve->run;
    size_t count = (size_t)run->update_count;

    run->updates = arena_grow(serve->arena, run->updates, count, count + 1, sizeof *run->updates);
    run->updates[run->update_count++] = (struct serve_update){ epoch, serve->update_path, from_ps };
}

static void take_up(struct serve *serve)
{
    struct err err = ERR_INIT;
    int64_t from_ps = serve_now_ps(serve);
    const struct plan *plan = serve->input->adopt(serve->input->arg, from_ps, &err);
    char at[UNITS_TEXT_BYTES], line[sizeof err.text];
    int32_t epoch;

    if (plan)
        grow(serve, plan);
    if (!plan || (serve->batches && !batches_add_replicas(serve->batches, &err))) {
        refuse(serve, &err);
        return;
    }
    epoch = plan->epochs[plan->epoch_count - 1].number;
    keep(serve, epoch, from_ps);
    snprintf(line, sizeof line, "%s is epoch %d from %s on", serve->update_path, epoch,
             units_format_human(from_ps, at));
    fprintf(stderr, "orrery-run: %s\n", line);
    fleet_answer_update(serve->fleet, true, line);
    serve->is_updating = false;
}

/* Of devices that the update brings. Who was sent away has left room, which others take. */
static void add_workers(struct serve *serve)
{
    int old = serve->worker_count, count = serve->fleet->count;

    if (count <= old)
        return;
    serve->queues =
        arena_grow(serve->arena, serve->queues, (size_t)old, (size_t)count, sizeof *serve->queues);
    fixed_add_workers(serve, old);
    monitor_add_workers(serve, old);
    serve->worker_count = count;
}

void update_look(struct serve *serve)
{
    struct err err = ERR_INIT;
    const char *text;

    if (fleet_take_update(serve->fleet, &serve->update_path, &text)) {
        if (!serve->input->prepare(serve->input->arg, serve->update_path, text,
                                   serve->run->update_count, serve_now_ps(serve), &err)) {
            refuse(serve, &err);
            return;
        }
        add_workers(serve);
        serve->is_updating = true;
    }
    if (!serve->is_updating)
        return;
    switch (fleet_look_update(serve->fleet)) {
    case FLEET_LOADING:
        break;
    case FLEET_LOADED:
        take_up(serve);
        break;
    case FLEET_NOT_LOADED:
        err_set(&err, ERR_SYSTEM, "%s", serve->fleet->update.trouble);
        refuse(serve, &err);
        break;
    }
}

void update_end(struct serve *serve)
{
    struct err err = ERR_INIT;

    if (serve->fleet->update.asker.count == 0)
        return;
    err_set(&err, ERR_SYSTEM, "the run has ended before that");
    refuse(serve, &err);
}
