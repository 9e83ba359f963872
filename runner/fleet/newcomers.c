/* newcomers.c - workers of devices that an update needs and the run did not have: started or
 * awaited, set up and connected while the run goes on, and sent away when nothing comes of it.
 *
 * They have the numbers behind those of the others. Until the update is taken up nothing of the run
 * depends on them: one that is lost is a reason to refuse it, no lost worker of the run. */
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/internal.h"
#include "runner/setup/setup.h"
#include <stdio.h>

#define CONNECT_NS INT64_C(5000000000) /* to a worker that says that it listens */

static void trouble(struct fleet *fleet, const struct fleet_worker *worker, const char *why)
{
    if (fleet->update.trouble[0] == '\0')
        snprintf(fleet->update.trouble, sizeof fleet->update.trouble, "device '%.100s': %.390s",
                 worker->device, why);
}

bool newcomers_invite(struct fleet *fleet, const struct cluster *cluster, int64_t wait_ns,
                      struct err *err)
{
    const struct assignment *all = fleet->update.all;
    int first = fleet->count;

    fleet->update.wait_ns = wait_ns;
    fleet->update.deadline_ns = clock_now_ns() + wait_ns;
    fleet->workers = arena_grow(fleet->arena, fleet->workers, (size_t)first, (size_t)all->count,
                                sizeof *fleet->workers);
    for (int i = first; i < all->count; i++) {
        fleet_init_worker(fleet, cluster, all, i);
        fleet->workers[i].is_new = true;
        /* beats of one that was sent away before must not be taken for its own */
        fleet->workers[i].session = all->setups[i].session = fleet->session += 2;
        fleet->count++;
        if (fleet->is_local && !fleet_spawn_one(fleet, &fleet->workers[i], err))
            return false;
        if (!fleet->is_local)
            fprintf(stderr,
                    "orrery-run: the update needs a worker: orrery-run worker --device %s "
                    "--connect %s\n",
                    fleet->workers[i].device, fleet_reachable_address(fleet));
    }
    return true;
}

void newcomers_admit(struct fleet *fleet, int number)
{
    fleet_tell(fleet, &fleet->workers[number], FRAME_SETUP, 0,
               setup_encode(fleet->arena, &fleet->update.all->setups[number]));
}

bool newcomers_look(struct fleet *fleet, enum fleet_state state)
{
    bool are_there = true;
    char why[512], wait[UNITS_TEXT_BYTES];

    for (int i = 0; i < fleet->count; i++) {
        const struct fleet_worker *worker = &fleet->workers[i];

        if (!worker->is_new)
            continue;
        if (worker->state == FLEET_DEAD) {
            trouble(fleet, worker, worker->trouble);
        } else if (worker->state == FLEET_ABSENT && clock_now_ns() >= fleet->update.deadline_ns) {
            units_format_human(fleet->update.wait_ns * UNITS_PS_PER_NS, wait);
            snprintf(why, sizeof why, "no worker has joined within %s", wait);
            trouble(fleet, worker, why);
        }
        are_there = are_there && worker->state == state &&
                    (state != FLEET_UP || fleet_has_clock(fleet, worker));
    }
    return are_there;
}

/* ---- stages 0 on a worker that had none ---- */

static bool has_first_stage(const struct setup *setup)
{
    for (int i = 0; i < setup->stage_count; i++)
        if (setup->stages[i].previous_worker == SETUP_COORDINATOR && setup->stages[i].position == 0)
            return true;
    return false;
}

void newcomers_connect(struct fleet *fleet)
{
    struct err err = ERR_INIT;

    fleet->update.deadline_ns = clock_now_ns() + CONNECT_NS;
    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];

        if (worker->push || !has_first_stage(&fleet->update.added->setups[i]))
            continue;
        worker->push = channel_open(fleet->arena, fleet->hub, CHANNEL_PUSH, 0, 0, &err);
        if (!worker->push || !channel_connect(worker->push, worker->endpoint, &err))
            trouble(fleet, worker, err.text);
    }
}

bool newcomers_are_reached(struct fleet *fleet)
{
    bool are_reached = true;

    for (int i = 0; i < fleet->count; i++) {
        const struct fleet_worker *worker = &fleet->workers[i];
        struct channel_wait wait = { worker->push, true, false };
        struct err err = ERR_INIT;

        if (!worker->push || !has_first_stage(&fleet->update.added->setups[i]))
            continue;
        if (!channel_wait(fleet->hub, &wait, 1, 0, &err)) /* only looks */
            trouble(fleet, worker, err.text);
        else if (!wait.is_ready && clock_now_ns() >= fleet->update.deadline_ns)
            trouble(fleet, worker, "cannot reach its worker within 5 s");
        are_reached = are_reached && wait.is_ready;
    }
    return are_reached;
}

/* ---- the end ---- */

void newcomers_keep(struct fleet *fleet)
{
    for (int i = 0; i < fleet->count; i++)
        fleet->workers[i].is_new = false;
}

void newcomers_dismiss(struct fleet *fleet)
{
    while (fleet->count > 0 && fleet->workers[fleet->count - 1].is_new) {
        struct fleet_worker *worker = &fleet->workers[fleet->count - 1];

        if (worker->state >= FLEET_JOINED && worker->state <= FLEET_UP)
            fleet_tell(fleet, worker, FRAME_ERROR, 0, "the update that needs it was refused");
        if (fleet->update.is_told)
            fleet_tell_senders(fleet, fleet->update.all, fleet->count - 1, "");
        channel_close(worker->push, 0);
        worker->push = NULL;
        fleet->count--;
        fleet_kill_worker(fleet, fleet->count, "");
    }
}
