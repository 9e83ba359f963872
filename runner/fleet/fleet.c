/* fleet.c - the coordinator's side of the control socket, and the liveness of workers. */
#include "runner/fleet/fleet.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/setup/setup.h"
#include "runner/worker/beat.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define CONTROL_MARK 65536
#define CONTROL_MAX_BYTES 65536 /* workers send short texts, tokens and stamps */
#define TICK_NS INT64_C(100000000)
#define EXIT_GRACE_NS INT64_C(50000000) /* for the last words of a process that is gone */
#define REPLACE_NS INT64_C(1000000000)  /* a silent worker that is not set up may be replaced */
#define SUSPEND_NS INT64_C(1000000000)  /* a pause of our own that says nothing about workers */

struct fleet *fleet_create(struct arena *arena, const struct plan *plan,
                           const struct placement *placement, const struct assignment *assignment,
                           const struct fleet_address *address, int64_t session, struct err *err)
{
    struct fleet *fleet = arena_alloc(arena, sizeof *fleet);

    fleet->arena = arena;
    fleet->placement = placement;
    fleet->assignment = assignment;
    fleet->session = session;
    fleet->count = assignment->count;
    fleet->workers = arena_array(arena, (size_t)fleet->count, sizeof *fleet->workers);
    for (int i = 0; i < fleet->count; i++) {
        fleet->workers[i].device = plan->cluster->devices[assignment->devices[i]].name;
        fleet->workers[i].row = assignment->rows[i];
    }
    fleet->keys_folder = address->keys_folder;
    fleet->hub = channel_hub_create(arena, address->keys, err);
    if (!fleet->hub)
        return NULL;
    fleet->router =
        channel_open(arena, fleet->hub, CHANNEL_ROUTER, CONTROL_MARK, CONTROL_MAX_BYTES, err);
    if (fleet->router && channel_bind(fleet->router, address->listen, fleet->address, err))
        return fleet;
    channel_close(fleet->router, 0);
    channel_hub_destroy(fleet->hub);
    return NULL;
}

const char *fleet_signal_name(int signal_number)
{
    return signal_number == SIGINT ? "SIGINT" : signal_number == SIGTERM ? "SIGTERM" : "SIGHUP";
}

int fleet_take_signal(void)
{
    const struct timespec now = { 0, 0 };
    sigset_t signals;
    int taken;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    taken = sigtimedwait(&signals, NULL, &now);
    return taken > 0 ? taken : 0;
}

/* ---- sending ---- */

static void die(struct fleet_worker *worker, const char *trouble)
{
    if (worker->state == FLEET_DEAD)
        return;
    worker->state = FLEET_DEAD;
    snprintf(worker->trouble, sizeof worker->trouble, "%s", trouble);
}

static void tell(struct fleet *fleet, struct fleet_worker *worker, enum frame_type type,
                 int64_t request, const char *text)
{
    struct err err = ERR_INIT;
    struct frame frame = { .type = type,
                           .request = request,
                           .payload_bytes = (int64_t)strlen(text) };

    switch (channel_send(fleet->router, &worker->peer, &frame, text, &err)) {
    case CHANNEL_DONE:
        break;
    case CHANNEL_LATER:
        die(worker, "it does not read its messages");
        break;
    case CHANNEL_GONE:
        die(worker, "it has left");
        break;
    case CHANNEL_BAD:
        die(worker, err.text);
        break;
    }
}

/* To somebody who is not one of the workers. Nothing depends on it. */
static void turn_away(struct fleet *fleet, const struct channel_peer *peer, const char *text)
{
    struct err ignored = ERR_INIT;
    struct frame frame = { .type = FRAME_ERROR, .payload_bytes = (int64_t)strlen(text) };

    channel_send(fleet->router, peer, &frame, text, &ignored);
}

void fleet_release(struct fleet *fleet, int worker, int64_t request)
{
    if (fleet->workers[worker].state == FLEET_UP)
        tell(fleet, &fleet->workers[worker], FRAME_RELEASE, request, "");
}

/* ---- receiving ---- */

/* A worker that died before SETUP must not keep its device from another one. */
static bool may_replace(struct fleet *fleet, const struct fleet_worker *worker)
{
    const struct frame probe = { .type = FRAME_BEAT };
    struct err ignored = ERR_INIT;

    return !fleet->has_started && worker->state == FLEET_JOINED &&
           (clock_now_ns() - worker->beat_ns > REPLACE_NS ||
            channel_send(fleet->router, &worker->peer, &probe, NULL, &ignored) != CHANNEL_DONE);
}

static void on_hello(struct fleet *fleet, const struct channel_message *message)
{
    struct err err = ERR_INIT;
    const char *device;
    int64_t number;

    if (!setup_decode_hello(fleet->arena, message->payload, (size_t)message->frame.payload_bytes,
                            &device, &number, &err)) {
        turn_away(fleet, &message->from, err.text);
        return;
    }
    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];

        if (strcmp(worker->device, device) != 0)
            continue;
        if (may_replace(fleet, worker)) {
            turn_away(fleet, &worker->peer, "another worker of this device has joined");
        } else if (worker->state != FLEET_ABSENT || fleet->has_started) {
            turn_away(fleet, &message->from, "a worker of this device has joined already");
            return;
        }
        worker->state = FLEET_JOINED;
        worker->peer = message->from;
        worker->number = number;
        worker->beat_ns = clock_now_ns();
        return;
    }
    turn_away(
        fleet, &message->from,
        arena_printf(fleet->arena, "device '%.60s' is not in %s", device, fleet->placement->path));
}

static void on_beat(struct fleet *fleet, const struct channel_message *message)
{
    struct err ignored = ERR_INIT;
    const struct frame *frame = &message->frame;
    struct frame answer = { .type = FRAME_BEAT };

    channel_send(fleet->router, &message->from, &answer, NULL, &ignored);
    if (frame->start_ns == fleet->session && frame->request < fleet->count) {
        fleet->workers[frame->request].beat_ns = clock_now_ns();
        fleet->workers[frame->request].is_busy = frame->new_tokens != 0;
    }
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state == FLEET_JOINED && fleet->workers[i].number == frame->start_ns)
            fleet->workers[i].beat_ns = clock_now_ns();
}

static void on_ready(struct fleet *fleet, struct fleet_worker *worker,
                     const struct channel_message *message)
{
    struct err err = ERR_INIT;
    struct setup_ready ready;

    if (worker->state != FLEET_JOINED ||
        !setup_decode_ready(fleet->arena, message->payload, (size_t)message->frame.payload_bytes,
                            &ready, &err)) {
        die(worker, err.kind == ERR_NONE ? "it said READY out of turn" : err.text);
        return;
    }
    snprintf(worker->endpoint, sizeof worker->endpoint, "%s", ready.endpoint);
    worker->machine = ready.machine;
    worker->blas_core = ready.blas_core;
    worker->weight_bytes = ready.weight_bytes;
    worker->state = FLEET_READY;
}

static int find_peer(const struct fleet *fleet, const struct channel_peer *peer)
{
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state != FLEET_ABSENT &&
            channel_same_peer(&fleet->workers[i].peer, peer))
            return i;
    return -1;
}

/* True when the message is about a request: the caller's. */
static bool on_worker(struct fleet *fleet, struct fleet_worker *worker,
                      const struct channel_message *message)
{
    const struct frame *frame = &message->frame;
    struct err text = ERR_INIT;

    switch (frame->type) {
    case FRAME_READY:
        on_ready(fleet, worker, message);
        break;
    case FRAME_UP:
        if (worker->state == FLEET_READY)
            worker->state = FLEET_UP;
        break;
    case FRAME_STOP:
        if (worker->state == FLEET_UP)
            worker->state = FLEET_STOPPED;
        break;
    case FRAME_ERROR: /* err_set makes one clean line of it */
        err_set(&text, ERR_SYSTEM, "%.*s", (int)frame->payload_bytes,
                (const char *)message->payload);
        die(worker, text.text);
        break;
    case FRAME_PONG:
    case FRAME_RESULT:
    case FRAME_RECORD:
    case FRAME_REFUSE:
    case FRAME_CREDIT:
        return worker->state == FLEET_UP;
    case FRAME_HELLO:
    case FRAME_SETUP:
    case FRAME_PEERS:
    case FRAME_STEP:
    case FRAME_PART:
    case FRAME_BEAT:
    case FRAME_RELEASE:
    case FRAME_PING:
    case FRAME_TYPE_END:
        break;
    }
    return false;
}

int fleet_receive(struct fleet *fleet, struct channel_message *message)
{
    for (;;) {
        struct err ignored = ERR_INIT;
        enum channel_result result = channel_receive(fleet->router, message, &ignored);
        int number;

        if (result == CHANNEL_LATER)
            return -1;
        if (result != CHANNEL_DONE) /* not a frame: somebody else's traffic */
            continue;
        number = find_peer(fleet, &message->from);
        if (message->frame.type == FRAME_BEAT)
            on_beat(fleet, message);
        else if (number < 0 && message->frame.type == FRAME_HELLO)
            on_hello(fleet, message);
        else if (number >= 0 && on_worker(fleet, &fleet->workers[number], message))
            return number;
        channel_message_close(message);
    }
}

/* ---- life and death ---- */

/* Notices a process that has ended; its last words may still be on the way. */
static void reap(struct fleet_worker *worker, int64_t now_ns)
{
    int status;

    if (worker->pid == 0 || waitpid(worker->pid, &status, WNOHANG) != worker->pid)
        return;
    worker->pid = 0;
    worker->exited_ns = now_ns;
    if (WIFSIGNALED(status))
        snprintf(worker->trouble, sizeof worker->trouble, "its process was killed by signal %d",
                 WTERMSIG(status));
    else
        snprintf(worker->trouble, sizeof worker->trouble, "its process ended with status %d",
                 WEXITSTATUS(status));
}

static bool is_alive(const struct fleet_worker *worker)
{
    return worker->state >= FLEET_JOINED && worker->state <= FLEET_UP;
}

/* Whoever has other keys, or none, can only try again: said once for each reason. */
static void tell_refusal(struct fleet *fleet)
{
    char reason[CHANNEL_REFUSAL_BYTES];

    if (!channel_refusal(fleet->router, reason) || strcmp(reason, fleet->refusal) == 0)
        return;
    memcpy(fleet->refusal, reason, sizeof reason);
    fprintf(stderr, "orrery-run: somebody was turned away: %s\n", reason);
}

int fleet_find_dead(struct fleet *fleet)
{
    int64_t now_ns = clock_now_ns();
    bool was_away = fleet->looked_ns > 0 && now_ns - fleet->looked_ns > SUSPEND_NS;
    char exited[sizeof fleet->workers->trouble];

    fleet->looked_ns = now_ns;
    tell_refusal(fleet);
    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];

        if (worker->state == FLEET_STOPPED)
            continue;
        if (was_away)
            worker->beat_ns = now_ns;
        if (worker->state != FLEET_DEAD)
            reap(worker, now_ns);
        if (worker->exited_ns > 0 && now_ns - worker->exited_ns > EXIT_GRACE_NS &&
            worker->state != FLEET_DEAD) {
            memcpy(exited, worker->trouble, sizeof exited);
            die(worker, exited);
        }
        /* before SETUP a worker's beats do not say whose they are */
        if (fleet->has_started && is_alive(worker) && now_ns - worker->beat_ns > BEAT_DEAD_NS)
            die(worker, "no sign of life for 2.5 s");
    }
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state == FLEET_DEAD && !fleet->workers[i].is_reported) {
            fleet->workers[i].is_reported = true;
            return i;
        }
    return -1;
}

bool fleet_is_idle(const struct fleet *fleet)
{
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state == FLEET_UP && fleet->workers[i].is_busy)
            return false;
    return true;
}

/* ---- the start of a run ---- */

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

static void send_peers(struct fleet *fleet)
{
    struct setup_peer *peers = arena_array(fleet->arena, (size_t)fleet->count, sizeof *peers);
    int32_t *numbers = arena_array(fleet->arena, (size_t)fleet->count, sizeof *numbers);

    for (int w = 0; w < fleet->count; w++) {
        int count = assign_peers(fleet->assignment, w, numbers);

        for (int i = 0; i < count; i++)
            peers[i] = (struct setup_peer){ numbers[i], fleet->workers[numbers[i]].endpoint };
        tell(fleet, &fleet->workers[w], FRAME_PEERS, 0,
             setup_encode_peers(fleet->arena, peers, count));
    }
}

/* The offset of the exchange with the shortest way there and back, as NTP has it. Workers that we
 * started share our clock. */
static bool compare_clocks(struct fleet *fleet, struct fleet_worker *worker, struct err *err)
{
    int64_t best_ns = INT64_MAX;

    for (int i = 0; i < 20 && worker->state == FLEET_UP; i++) {
        struct frame ping = { .type = FRAME_PING, .start_ns = clock_now_ns() };
        struct channel_wait wait = { fleet->router, false, false };
        struct channel_message message;
        int from;

        if (channel_send(fleet->router, &worker->peer, &ping, NULL, err) != CHANNEL_DONE)
            return err_set(err, ERR_SYSTEM, "device '%s': its worker has left", worker->device);
        if (!channel_wait(fleet->hub, &wait, 1, clock_now_ns() + TICK_NS, err))
            return false;
        while ((from = fleet_receive(fleet, &message)) >= 0) {
            int64_t now_ns = clock_now_ns(), sent_ns = message.frame.start_ns;

            if (&fleet->workers[from] == worker && message.frame.type == FRAME_PONG &&
                now_ns - sent_ns < best_ns) {
                best_ns = now_ns - sent_ns;
                worker->offset_ns = message.frame.finish_ns - (sent_ns + best_ns / 2);
            }
            channel_message_close(&message);
        }
    }
    return best_ns < INT64_MAX ||
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
        tell(fleet, &fleet->workers[i], FRAME_SETUP, 0,
             setup_encode(fleet->arena, &fleet->assignment->setups[i]));
    }
    if (!await(fleet, FLEET_READY, 0, err))
        return false;
    send_peers(fleet);
    if (!await(fleet, FLEET_UP, 0, err))
        return false;
    for (int i = 0; i < fleet->count && !fleet->is_local; i++)
        if (!compare_clocks(fleet, &fleet->workers[i], err))
            return false;
    return connect_first_stages(fleet, plan, err);
}

/* ---- the end of a run ---- */

void fleet_stop(struct fleet *fleet)
{
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state == FLEET_UP)
            tell(fleet, &fleet->workers[i], FRAME_STOP, 0, "");
}

bool fleet_is_stopped(const struct fleet *fleet)
{
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state == FLEET_UP)
            return false;
    return true;
}

void fleet_end(struct fleet *fleet)
{
    if (!fleet)
        return;
    for (int i = 0; i < fleet->count; i++) { /* those that wait for a run that will not come */
        if (is_alive(&fleet->workers[i]))
            tell(fleet, &fleet->workers[i], FRAME_STOP, 0, "");
        channel_close(fleet->workers[i].push, 0);
    }
    channel_close(fleet->router, fleet->is_local ? 0 : 1000);
    fleet_kill(fleet);
    channel_hub_destroy(fleet->hub);
}
