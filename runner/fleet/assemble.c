/* assemble.c - the start of a run: joining, setting up, connecting, comparing clocks; and the same
 * for a worker that comes back while the run goes on. */
#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/internal.h"
#include "runner/setup/setup.h"
#include <string.h>

#define TICK_NS INT64_C(100000000)
#define PINGS 20 /* exchanges of clocks; the one with the shortest way counts */

const char *fleet_reachable_address(struct fleet *fleet)
{
    if (strncmp(fleet->address, "0.0.0.0:", 8) == 0)
        return arena_printf(fleet->arena, "127.0.0.1%s", strrchr(fleet->address, ':'));
    return fleet->address;
}

static bool missing(struct fleet *fleet, int64_t wait_ns, struct err *err)
{
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state == FLEET_ABSENT)
            return placement_bad(fleet->placement, fleet->workers[i].row, PLACEMENT_DEVICE, err,
                                 "no worker has joined within %g s: start it with `orrery-run "
                                 "worker --device %s --connect %s`, or all of them with --local",
                                 (double)wait_ns * 1e-9, fleet->workers[i].device,
                                 fleet_reachable_address(fleet));
    return true;
}

/* Until every worker is in the state; the first death ends the run. */
static bool await(struct fleet *fleet, enum fleet_state state, int64_t wait_ns, struct err *err)
{
    int64_t deadline_ns = wait_ns > 0 ? clock_now_ns() + wait_ns : INT64_MAX;

    for (;;) {
        struct channel_wait wait = { fleet->router, false, false };
        struct channel_message message;
        int64_t until_ns = clock_now_ns() + TICK_NS;
        int dead, signal_number, left = 0;

        for (int i = 0; i < fleet->count; i++)
            left += fleet->workers[i].state < state;
        if (left == 0)
            return true;
        if (clock_now_ns() >= deadline_ns)
            return missing(fleet, wait_ns, err);
        if (!channel_wait(fleet->hub, &wait, 1, until_ns < deadline_ns ? until_ns : deadline_ns,
                          err))
            return false;
        while (fleet_receive(fleet, &message) >= 0)
            channel_message_close(&message);
        dead = fleet_find_dead(fleet);
        if (dead >= 0)
            return placement_bad(fleet->placement, fleet->workers[dead].row, PLACEMENT_DEVICE, err,
                                 "its worker cannot start: %s", fleet->workers[dead].trouble);
        signal_number = fleet_take_signal();
        if (signal_number != 0)
            return err_set(err, ERR_SYSTEM, "interrupted by %s before the run began",
                           fleet_signal_name(signal_number));
    }
}

bool fleet_offer_peers(struct fleet *fleet, const struct assignment *assignment, int number)
{
    struct setup_peer *peers = arena_array(fleet->arena, (size_t)fleet->count, sizeof *peers);
    int32_t *numbers = arena_array(fleet->arena, (size_t)fleet->count, sizeof *numbers);
    int count = assign_peers(assignment, number, numbers);
    struct fleet_worker *worker = &fleet->workers[number];

    for (int i = 0; i < count; i++) {
        const struct fleet_worker *peer = &fleet->workers[numbers[i]];

        if (peer->state != FLEET_READY && peer->state != FLEET_UP)
            return false;
        peers[i] = (struct setup_peer){ numbers[i], peer->endpoint };
    }
    worker->has_peers = true;
    fleet_tell(fleet, worker, FRAME_PEERS, 0, setup_encode_peers(fleet->arena, peers, count));
    return true;
}

/* ---- clocks ---- */

void fleet_ping(struct fleet *fleet, struct fleet_worker *worker)
{
    struct frame ping = { .type = FRAME_PING, .start_ns = clock_now_ns() };
    struct err ignored = ERR_INIT; /* a worker that has left shows as that */

    if (!fleet->is_local && worker->pongs < PINGS)
        channel_send(fleet->router, &worker->peer, &ping, NULL, &ignored);
}

/* The offset of the exchange with the shortest way there and back, as NTP has it. Workers that we
 * started share our clock. */
void fleet_on_pong(struct fleet *fleet, struct fleet_worker *worker, const struct frame *pong)
{
    int64_t way_ns = clock_now_ns() - pong->start_ns;

    if (worker->state != FLEET_UP || way_ns < 0)
        return;
    if (way_ns < worker->best_ns) {
        worker->best_ns = way_ns;
        worker->offset_ns = pong->finish_ns - (pong->start_ns + way_ns / 2);
    }
    worker->pongs++;
    fleet_ping(fleet, worker);
}

bool fleet_has_clock(const struct fleet *fleet, const struct fleet_worker *worker)
{
    return fleet->is_local || worker->pongs >= PINGS;
}

static bool compare_clocks(struct fleet *fleet, struct fleet_worker *worker, struct err *err)
{
    int64_t deadline_ns = clock_now_ns() + PINGS * TICK_NS;

    fleet_ping(fleet, worker);
    while (!fleet_has_clock(fleet, worker) && worker->state == FLEET_UP &&
           clock_now_ns() < deadline_ns) {
        struct channel_wait wait = { fleet->router, false, false };
        struct channel_message message;

        if (!channel_wait(fleet->hub, &wait, 1, clock_now_ns() + TICK_NS, err))
            return false;
        while (fleet_receive(fleet, &message) >= 0)
            channel_message_close(&message);
    }
    return worker->pongs > 0 || fleet->is_local ||
           err_set(err, ERR_SYSTEM, "device '%s': its worker does not answer", worker->device);
}

static bool connect_first_stages(struct fleet *fleet, const struct plan *plan, struct err *err)
{
    for (int i = 0; i < plan->stage_count; i++) {
        const struct plan_stage *stage = plan->stages[i];
        struct fleet_worker *worker =
            &fleet->workers[fleet->assignment->worker_of[stage->devices[0]]];
        bool is_open;

        if (stage->number > 0 || worker->push)
            continue;
        worker->push = channel_open(fleet->arena, fleet->hub, CHANNEL_PUSH, 0, 0, err);
        if (!worker->push || !channel_connect(worker->push, worker->endpoint, err) ||
            !channel_wait_open(fleet->hub, worker->push, clock_now_ns() + 5000000000, &is_open,
                               err))
            return false;
        if (!is_open)
            return placement_bad(fleet->placement, worker->row, PLACEMENT_DEVICE, err,
                                 "cannot reach its worker at %s within 5 s", worker->endpoint);
    }
    return true;
}

bool fleet_assemble(struct fleet *fleet, const struct plan *plan, int64_t wait_ns, struct err *err)
{
    if (!await(fleet, FLEET_JOINED, wait_ns, err))
        return false;
    fleet->has_started = true;
    for (int i = 0; i < fleet->count; i++) {
        fleet->workers[i].beat_ns = clock_now_ns();
        fleet_tell(fleet, &fleet->workers[i], FRAME_SETUP, 0,
                   setup_encode(fleet->arena, &fleet->assignment->setups[i]));
    }
    if (!await(fleet, FLEET_READY, 0, err))
        return false;
    for (int i = 0; i < fleet->count; i++)
        fleet_offer_peers(fleet, fleet->assignment, i);
    if (!await(fleet, FLEET_UP, 0, err))
        return false;
    for (int i = 0; i < fleet->count; i++)
        if (!compare_clocks(fleet, &fleet->workers[i], err))
            return false;
    fleet->has_begun = connect_first_stages(fleet, plan, err);
    return fleet->has_begun;
}

/* ---- coming back ---- */

/* One that has not been told of its peers yet waits for these first. */
void fleet_tell_senders(struct fleet *fleet, const struct assignment *assignment, int number,
                        const char *endpoint)
{
    const struct setup_peer peer = { number, endpoint };
    int32_t *numbers = arena_array(fleet->arena, (size_t)fleet->count, sizeof *numbers);

    for (int w = 0; w < fleet->count; w++) {
        int count = assign_peers(assignment, w, numbers);

        const struct fleet_worker *worker = &fleet->workers[w];

        for (int i = 0; i < count; i++)
            if (numbers[i] == number &&
                (worker->state == FLEET_UP || (worker->state == FLEET_READY && worker->has_peers)))
                fleet_tell(fleet, &fleet->workers[w], FRAME_PEERS, 0,
                           setup_encode_peers(fleet->arena, &peer, 1));
    }
}

/* One that is on its way back has been told in SETUP: while it is, the replica stays down. */
void fleet_reset_stage(struct fleet *fleet, int32_t stage_id, int32_t generation)
{
    struct frame frame = { .type = FRAME_RESET, .stage = stage_id, .finish_ns = generation };

    for (int w = 0; w < fleet->count; w++) {
        struct setup *setup = &fleet->assignment->setups[w];

        for (int i = 0; i < setup->stage_count; i++) {
            if (setup->stages[i].id != stage_id)
                continue;
            setup->stages[i].generation = generation;
            if (fleet->workers[w].state == FLEET_UP)
                fleet_send(fleet, &fleet->workers[w], &frame, "");
        }
    }
}

void fleet_disconnect(struct fleet *fleet, int number)
{
    fleet_tell_senders(fleet, fleet->assignment, number, "");
}

/* Those that send to it, those that have waited for it, and it, connect. */
void fleet_reconnect(struct fleet *fleet, int number)
{
    struct fleet_worker *back = &fleet->workers[number];
    struct err err = ERR_INIT;

    fleet_tell_senders(fleet, fleet->assignment, number, back->endpoint);
    for (int w = 0; w < fleet->count; w++)
        if (fleet->workers[w].state == FLEET_READY && !fleet->workers[w].has_peers &&
            !fleet->workers[w].is_new)
            fleet_offer_peers(fleet, fleet->assignment, w);
    if (back->push && !channel_move(back->push, back->endpoint, &err))
        fleet_die(back, err.text);
}

bool fleet_is_returning(const struct fleet *fleet, int worker)
{
    const struct fleet_worker *back = &fleet->workers[worker];

    return back->is_awaited || back->next_peer.count > 0 ||
           (back->is_returning && back->state != FLEET_DEAD);
}

int fleet_find_returned(struct fleet *fleet)
{
    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];

        if (!worker->is_returning || worker->is_held || worker->state != FLEET_UP ||
            !fleet_has_clock(fleet, worker))
            continue;
        worker->is_returning = false;
        return i;
    }
    return -1;
}
