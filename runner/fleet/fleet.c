/* fleet.c - the coordinator's side of the control socket, and the liveness of workers. */
#include "runner/fleet/fleet.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/internal.h"
#include "runner/setup/setup.h"
#include "runner/worker/beat.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#define CONTROL_MARK 65536
#define CONTROL_TEXT_BYTES (2 * SETUP_MAX_UPDATE_BYTES) /* of others nothing is longer */
#define TICK_NS INT64_C(100000000)
#define EXIT_GRACE_NS INT64_C(50000000) /* for the last words of a process that is gone */
#define REPLACE_NS INT64_C(1000000000)  /* a silent worker that is not set up may be replaced */
#define SUSPEND_NS INT64_C(1000000000)  /* a pause of our own that says nothing about workers */

void fleet_init_worker(struct fleet *fleet, const struct cluster *cluster,
                       const struct assignment *assignment, int number)
{
    fleet->workers[number] =
        (struct fleet_worker){ .device = cluster->devices[assignment->devices[number]].name,
                               .row = assignment->rows[number],
                               .session = fleet->session,
                               .best_ns = INT64_MAX };
}

struct fleet *fleet_create(struct arena *arena, const struct plan *plan,
                           const struct placement *placement, const struct assignment *assignment,
                           const struct fleet_address *address, int64_t session, struct err *err)
{
    struct fleet *fleet = arena_alloc(arena, sizeof *fleet);
    int64_t told_bytes = assign_told_bytes(assignment);

    fleet->arena = arena;
    fleet->placement = placement;
    fleet->assignment = assignment;
    fleet->session = session;
    fleet->told_bytes = told_bytes > CONTROL_TEXT_BYTES ? told_bytes : CONTROL_TEXT_BYTES;
    fleet->count = assignment->count;
    fleet->workers = arena_array(arena, (size_t)fleet->count, sizeof *fleet->workers);
    for (int i = 0; i < fleet->count; i++)
        fleet_init_worker(fleet, plan->cluster, assignment, i);
    fleet->keys_folder = address->keys_folder;
    fleet->hub = channel_hub_create(arena, address->keys, err);
    if (!fleet->hub)
        return NULL;
    fleet->router =
        channel_open(arena, fleet->hub, CHANNEL_ROUTER, CONTROL_MARK, fleet->told_bytes, err);
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

void fleet_die(struct fleet_worker *worker, const char *trouble)
{
    if (worker->state == FLEET_DEAD)
        return;
    worker->state = FLEET_DEAD;
    snprintf(worker->trouble, sizeof worker->trouble, "%s", trouble);
}

void fleet_send(struct fleet *fleet, struct fleet_worker *worker, const struct frame *frame,
                const void *payload)
{
    struct err err = ERR_INIT;

    switch (channel_send(fleet->router, &worker->peer, frame, payload, &err)) {
    case CHANNEL_DONE:
        break;
    case CHANNEL_LATER:
        fleet_die(worker, "it does not read its messages");
        break;
    case CHANNEL_GONE:
        fleet_die(worker, "it has left");
        break;
    case CHANNEL_BAD:
        fleet_die(worker, err.text);
        break;
    }
}

void fleet_tell(struct fleet *fleet, struct fleet_worker *worker, enum frame_type type,
                int64_t request, const char *text)
{
    fleet_send(
        fleet, worker,
        &(struct frame){ .type = type, .request = request, .payload_bytes = (int64_t)strlen(text) },
        text);
}

/* To somebody who is not one of the workers. Nothing depends on it. */
static void turn_away(struct fleet *fleet, const struct channel_peer *peer, const char *text)
{
    struct err ignored = ERR_INIT;
    struct frame frame = { .type = FRAME_ERROR, .payload_bytes = (int64_t)strlen(text) };

    channel_send(fleet->router, peer, &frame, text, &ignored);
}

bool fleet_is_asked(const struct fleet *fleet)
{
    return fleet->asker.count > 0;
}

void fleet_answer(struct fleet *fleet, const char *text)
{
    struct err ignored = ERR_INIT; /* who has left wants no answer */
    struct frame frame = { .type = FRAME_STATUS, .payload_bytes = (int64_t)strlen(text) };

    channel_send(fleet->router, &fleet->asker, &frame, text, &ignored);
    fleet->asker.count = 0;
}

void fleet_release(struct fleet *fleet, int worker, int64_t request, int64_t sent_count)
{
    const struct frame frame = { .type = FRAME_RELEASE,
                                 .request = request,
                                 .start_ns = sent_count };

    if (fleet->workers[worker].state == FLEET_UP)
        fleet_send(fleet, &fleet->workers[worker], &frame, "");
}

void fleet_grant(struct fleet *fleet, int worker, int32_t stage, int64_t number)
{
    const struct frame frame = {
        .type = FRAME_CREDIT, .stage = stage, .request = number, .new_tokens = 1
    };

    if (fleet->workers[worker].state == FLEET_UP)
        fleet_send(fleet, &fleet->workers[worker], &frame, "");
}

void fleet_move(struct fleet *fleet, int worker, const struct frame *frame,
                const unsigned char *payload)
{
    if (fleet->workers[worker].state == FLEET_UP)
        fleet_send(fleet, &fleet->workers[worker], frame, payload);
}

/* ---- receiving ---- */

static bool is_alive(const struct fleet_worker *worker)
{
    return worker->state >= FLEET_JOINED && worker->state <= FLEET_UP;
}

/* Not there any more, as far as one can tell before its silence has lasted long enough: it must not
 * keep its device from another one. */
static bool seems_gone(struct fleet *fleet, const struct fleet_worker *worker)
{
    const struct frame probe = { .type = FRAME_BEAT };
    struct err ignored = ERR_INIT;

    return clock_now_ns() - worker->beat_ns > REPLACE_NS ||
           channel_send(fleet->router, &worker->peer, &probe, NULL, &ignored) != CHANNEL_DONE;
}

static void admit(struct fleet_worker *worker, const struct channel_peer *peer, int64_t number)
{
    worker->state = FLEET_JOINED;
    worker->peer = *peer;
    worker->number = number;
    worker->beat_ns = clock_now_ns();
}

/* A worker of the device comes while the run goes on: when the one before it is lost, it takes its
 * place as soon as that has been told. */
static void on_comeback(struct fleet *fleet, struct fleet_worker *worker,
                        const struct channel_peer *peer, int64_t number)
{
    if (is_alive(worker)) {
        if (!seems_gone(fleet, worker)) {
            turn_away(fleet, peer, "a worker of this device has joined already");
            return;
        }
        fleet_die(worker, "another worker of its device has come");
    }
    worker->next_peer = *peer;
    worker->next_number = number;
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
        if (fleet->has_begun && worker->is_new && worker->state == FLEET_ABSENT) {
            admit(worker, &message->from, number);
            newcomers_admit(fleet, i);
            return;
        }
        if (fleet->has_begun && worker->is_new) {
            turn_away(fleet, &message->from, "a worker of this device has joined already");
            return;
        }
        if (fleet->has_begun) {
            on_comeback(fleet, worker, &message->from, number);
            return;
        }
        if (!fleet->has_started && worker->state == FLEET_JOINED && seems_gone(fleet, worker)) {
            turn_away(fleet, &worker->peer, "another worker of this device has joined");
        } else if (worker->state != FLEET_ABSENT || fleet->has_started) {
            turn_away(fleet, &message->from, "a worker of this device has joined already");
            return;
        }
        admit(worker, &message->from, number);
        return;
    }
    turn_away(
        fleet, &message->from,
        arena_printf(fleet->arena, "device '%.60s' is not in %s", device, fleet->placement->path));
}

/* Answered to those who are of this run, or may become so: whoever was given up must notice. */
static void on_beat(struct fleet *fleet, const struct channel_message *message)
{
    struct err ignored = ERR_INIT;
    const struct frame *frame = &message->frame;
    struct frame answer = { .type = FRAME_BEAT };
    bool is_known = !fleet->has_begun;

    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];
        bool is_its = worker->session == frame->start_ns && frame->request == i;

        if (worker->next_peer.count > 0 && worker->next_number == frame->start_ns)
            is_known = true;
        if (!is_alive(worker) ||
            (!is_its && (worker->state != FLEET_JOINED || worker->number != frame->start_ns)))
            continue;
        is_known = true;
        worker->beat_ns = clock_now_ns();
        worker->is_busy = is_its && frame->new_tokens != 0;
    }
    if (is_known)
        channel_send(fleet->router, &message->from, &answer, NULL, &ignored);
}

static void on_ready(struct fleet *fleet, struct fleet_worker *worker,
                     const struct channel_message *message)
{
    struct err err = ERR_INIT;
    struct setup_ready ready;

    if (worker->state != FLEET_JOINED ||
        !setup_decode_ready(fleet->arena, message->payload, (size_t)message->frame.payload_bytes,
                            &ready, &err)) {
        fleet_die(worker, err.kind == ERR_NONE ? "it said READY out of turn" : err.text);
        return;
    }
    snprintf(worker->endpoint, sizeof worker->endpoint, "%s", ready.endpoint);
    worker->machine = ready.machine;
    worker->blas_core = ready.blas_core;
    worker->weight_bytes = ready.weight_bytes;
    worker->state = FLEET_READY;
    if (fleet->has_begun && !worker->is_new)
        fleet_reconnect(fleet, (int)(worker - fleet->workers));
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
        if (fleet->has_begun && worker->state == FLEET_UP)
            fleet_ping(fleet, worker);
        break;
    case FRAME_STOP:
        if (worker->state == FLEET_UP)
            worker->state = FLEET_STOPPED;
        break;
    case FRAME_ERROR: /* err_set makes one clean line of it */
        err_set(&text, ERR_SYSTEM, "%.*s", (int)frame->payload_bytes,
                (const char *)message->payload);
        fleet_die(worker, text.text);
        break;
    case FRAME_PONG:
        fleet_on_pong(fleet, worker, frame);
        break;
    case FRAME_RESULT:
    case FRAME_RECORD:
    case FRAME_REFUSE:
    case FRAME_CREDIT:
    case FRAME_MOVED:
        return worker->state == FLEET_UP;
    case FRAME_HELLO:
    case FRAME_SETUP:
    case FRAME_PEERS:
    case FRAME_STEP:
    case FRAME_PART:
    case FRAME_BEAT:
    case FRAME_RELEASE:
    case FRAME_RESET:
    case FRAME_PING:
    case FRAME_STATUS:
    case FRAME_UPDATE:
    case FRAME_MOVE:
    case FRAME_CACHE:
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
        else if (message->frame.type == FRAME_STATUS)
            fleet->asker = message->from;
        else if (message->frame.type == FRAME_UPDATE)
            fleet_on_update(fleet, number, message);
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
    worker->is_awaited = false;
    worker->exited_ns = now_ns;
    if (WIFSIGNALED(status))
        snprintf(worker->trouble, sizeof worker->trouble, "its process was killed by signal %d",
                 WTERMSIG(status));
    else
        snprintf(worker->trouble, sizeof worker->trouble, "its process ended with status %d",
                 WEXITSTATUS(status));
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

/* Who has waited for the place of a worker that is lost, and known to be, gets it. */
static void let_in(struct fleet *fleet, int number)
{
    struct fleet_worker *worker = &fleet->workers[number];
    struct setup *setup = &fleet->assignment->setups[number];

    if (worker->next_peer.count == 0)
        return;
    admit(worker, &worker->next_peer, worker->next_number);
    worker->next_peer.count = 0;
    worker->exited_ns = 0;
    worker->is_reported = worker->has_peers = worker->is_busy = worker->is_awaited = false;
    worker->is_returning = true;
    worker->pongs = 0;
    worker->best_ns = INT64_MAX;
    /* beats of the one before it must not be taken for its own */
    worker->session = setup->session = fleet->session += 2;
    fleet_tell(fleet, worker, FRAME_SETUP, 0, setup_encode(fleet->arena, setup));
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
        if (worker->state == FLEET_DEAD && worker->is_reported)
            let_in(fleet, i);
        if (was_away)
            worker->beat_ns = now_ns;
        if (worker->state != FLEET_DEAD || worker->is_awaited)
            reap(worker, now_ns);
        if (worker->exited_ns > 0 && now_ns - worker->exited_ns > EXIT_GRACE_NS &&
            worker->state != FLEET_DEAD) {
            memcpy(exited, worker->trouble, sizeof exited);
            fleet_die(worker, exited);
        }
        /* before SETUP a worker's beats do not say whose they are */
        if (fleet->has_started && is_alive(worker) && now_ns - worker->beat_ns > BEAT_DEAD_NS)
            fleet_die(worker, "no sign of life for 2.5 s");
    }
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state == FLEET_DEAD && !fleet->workers[i].is_reported &&
            !fleet->workers[i].is_new) {
            fleet->workers[i].is_reported = true;
            if (fleet->has_begun)
                fleet_disconnect(fleet, i);
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

/* ---- the end of a run ---- */

void fleet_stop(struct fleet *fleet)
{
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state == FLEET_UP)
            fleet_tell(fleet, &fleet->workers[i], FRAME_STOP, 0, "");
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
            fleet_tell(fleet, &fleet->workers[i], FRAME_STOP, 0, "");
        channel_close(fleet->workers[i].push, 0);
    }
    channel_close(fleet->router, fleet->is_local ? 0 : 1000);
    fleet_kill(fleet);
    channel_hub_destroy(fleet->hub);
}
