/* test_fleet.c - who may be the worker of a device, over real sockets on loopback. */
#include "runner/fleet/fleet.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/policy/plan.h"
#include "runner/fleet/assign.h"
#include "runner/setup/setup.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define SESSION INT64_C(77)

struct fixture {
    struct arena *arena;
    struct channel_hub *hub; /* of the workers */
    struct fleet *fleet;
};

static int set_up(void **state)
{
    static const int32_t devices[] = { 0 };
    static const struct placement_row *const rows[] = { NULL };
    struct arena *arena = arena_create();
    struct fixture *fixture = arena_alloc(arena, sizeof *fixture);
    struct plan *plan = arena_alloc(arena, sizeof *plan);
    struct assignment *assignment = arena_alloc(arena, sizeof *assignment);
    const char *names[] = { "d0" };
    const struct fleet_address address = { "127.0.0.1:0", NULL, NULL };
    struct err err = ERR_INIT;

    plan->cluster = cluster_implied(arena, names, 1, "");
    *assignment = (struct assignment){ .count = 1,
                                       .devices = devices,
                                       .rows = rows,
                                       .setups = arena_array(arena, 1, sizeof(struct setup)) };
    assignment->setups[0].bind = "";
    fixture->arena = arena;
    fixture->hub = channel_hub_create(arena, NULL, &err);
    fixture->fleet = fleet_create(arena, plan, NULL, assignment, &address, SESSION, &err);
    *state = fixture;
    return fixture->hub && fixture->fleet ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    fixture->fleet->is_local = true; /* do not linger for those that have gone */
    fleet_end(fixture->fleet);
    channel_hub_destroy(fixture->hub);
    arena_destroy(fixture->arena);
    return 0;
}

static struct channel *connect_worker(const struct fixture *fixture)
{
    struct err err = ERR_INIT;
    struct channel *channel =
        channel_open(fixture->arena, fixture->hub, CHANNEL_DEALER, 16, 4096, &err);
    struct channel_wait wait = { channel, true, false };

    assert_non_null(channel);
    assert_true(channel_connect(channel, fixture->fleet->address, &err));
    assert_true(channel_wait(fixture->hub, &wait, 1, clock_now_ns() + 5000000000, &err));
    assert_true(wait.is_ready);
    return channel;
}

static void say(const struct fixture *fixture, struct channel *channel, enum frame_type type,
                int64_t number)
{
    const char *text = type == FRAME_HELLO ? setup_encode_hello(fixture->arena, "d0", number) : "";
    struct frame frame = { .type = type,
                           .start_ns = number,
                           .payload_bytes = (int64_t)strlen(text) };
    struct channel_wait wait = { fixture->fleet->router, false, false };
    struct channel_message message;
    struct err err = ERR_INIT;

    assert_int_equal(channel_send(channel, NULL, &frame, text, &err), CHANNEL_DONE);
    assert_true(channel_wait(fixture->fleet->hub, &wait, 1, clock_now_ns() + 5000000000, &err));
    assert_true(wait.is_ready);
    assert_int_equal(fleet_receive(fixture->fleet, &message), -1);
}

/* The next message to the worker is an ERROR that holds these words. */
static void hears(const struct fixture *fixture, struct channel *channel, const char *words)
{
    struct channel_wait wait = { channel, false, false };
    struct channel_message message;
    struct err err = ERR_INIT;

    do {
        assert_true(channel_wait(fixture->hub, &wait, 1, clock_now_ns() + 5000000000, &err));
        assert_int_equal(channel_receive(channel, &message, &err), CHANNEL_DONE);
        if (message.frame.type != FRAME_BEAT)
            break;
        channel_message_close(&message);
    } while (true);
    assert_int_equal(message.frame.type, FRAME_ERROR);
    assert_non_null(strstr(arena_strndup(fixture->arena, (const char *)message.payload,
                                         (size_t)message.frame.payload_bytes),
                           words));
    channel_message_close(&message);
}

static void the_first_worker_of_a_device_keeps_it_while_it_beats(void **state)
{
    const struct fixture *fixture = *state;
    struct fleet_worker *worker = &fixture->fleet->workers[0];
    struct channel *first = connect_worker(fixture), *second = connect_worker(fixture);

    say(fixture, first, FRAME_HELLO, 11);
    assert_int_equal(worker->state, FLEET_JOINED);
    worker->beat_ns -= 2000000000;
    say(fixture, first, FRAME_BEAT, 11);
    say(fixture, second, FRAME_BEAT, 22);
    say(fixture, second, FRAME_HELLO, 22);
    hears(fixture, second, "has joined already");
    assert_int_equal(worker->number, 11);
    channel_close(first, 0);
    channel_close(second, 0);
}

static void a_silent_worker_is_replaced_before_it_is_set_up_and_not_after(void **state)
{
    const struct fixture *fixture = *state;
    struct fleet_worker *worker = &fixture->fleet->workers[0];
    struct channel *first = connect_worker(fixture), *second = connect_worker(fixture),
                   *third = connect_worker(fixture);

    say(fixture, first, FRAME_HELLO, 11);
    worker->beat_ns -= 2000000000;
    say(fixture, second, FRAME_HELLO, 22);
    hears(fixture, first, "another worker");
    assert_int_equal(worker->state, FLEET_JOINED);
    assert_int_equal(worker->number, 22);
    fixture->fleet->has_started = true;
    worker->beat_ns -= 2000000000;
    say(fixture, third, FRAME_HELLO, 33);
    hears(fixture, third, "has joined already");
    assert_int_equal(worker->number, 22);
    channel_close(first, 0);
    channel_close(second, 0);
    channel_close(third, 0);
}

static void a_worker_that_has_left_is_replaced_at_once(void **state)
{
    const struct fixture *fixture = *state;
    struct fleet_worker *worker = &fixture->fleet->workers[0];
    struct channel *first = connect_worker(fixture), *second = connect_worker(fixture);

    say(fixture, first, FRAME_HELLO, 11);
    channel_close(first, 0);
    for (int i = 0; i < 200 && worker->number == 11; i++) { /* until its farewell is here */
        clock_sleep_until_ns(clock_now_ns() + 10000000);
        worker->beat_ns = clock_now_ns(); /* silence is not the reason */
        say(fixture, second, FRAME_HELLO, 22);
    }
    assert_int_equal(worker->number, 22);
    channel_close(second, 0);
}

/* While the run goes on: only when the worker before it is gone, and once that has been told. */
static void a_worker_that_comes_back_takes_the_place_of_a_lost_one(void **state)
{
    const struct fixture *fixture = *state;
    struct fleet *fleet = fixture->fleet;
    struct fleet_worker *worker = &fleet->workers[0];
    struct channel *first = connect_worker(fixture), *second = connect_worker(fixture);
    struct channel_wait wait = { second, false, false };
    struct channel_message message;
    struct err err = ERR_INIT;
    int64_t session = worker->session;

    say(fixture, first, FRAME_HELLO, 11);
    worker->state = FLEET_UP;
    fleet->has_started = fleet->has_begun = true;
    say(fixture, second, FRAME_HELLO, 22);
    hears(fixture, second, "has joined already");
    worker->beat_ns -= 2000000000;
    say(fixture, second, FRAME_HELLO, 22);
    assert_int_equal(worker->state, FLEET_DEAD);
    assert_int_equal(fleet_find_dead(fleet), 0);
    assert_int_equal(worker->state, FLEET_DEAD); /* not before whoever asks has been told */
    assert_int_equal(fleet_find_dead(fleet), -1);
    assert_int_equal(worker->state, FLEET_JOINED);
    assert_int_equal(worker->number, 22);
    assert_true(worker->is_returning && worker->session != session);
    assert_int_equal(fleet_find_returned(fleet), -1); /* not up yet */
    assert_true(channel_wait(fixture->hub, &wait, 1, clock_now_ns() + 5000000000, &err));
    assert_int_equal(channel_receive(second, &message, &err), CHANNEL_DONE);
    assert_int_equal(message.frame.type, FRAME_SETUP);
    channel_message_close(&message);
    fleet->is_local = true; /* no clocks to compare */
    worker->state = FLEET_UP;
    worker->is_held = true;
    assert_int_equal(fleet_find_returned(fleet), -1);
    worker->is_held = false;
    assert_int_equal(fleet_find_returned(fleet), 0);
    assert_int_equal(fleet_find_returned(fleet), -1);
    channel_close(first, 0);
    channel_close(second, 0);
}

static void a_beat_counts_for_the_worker_whose_it_is_alone(void **state)
{
    const struct fixture *fixture = *state;
    struct fleet_worker *worker = &fixture->fleet->workers[0];
    struct channel *channel = connect_worker(fixture);

    say(fixture, channel, FRAME_HELLO, 11);
    worker->state = FLEET_UP;
    fixture->fleet->has_started = fixture->fleet->has_begun = true;
    worker->beat_ns = 5;
    say(fixture, channel, FRAME_BEAT, SESSION + 2); /* of one that was given up */
    assert_int_equal(worker->beat_ns, 5);
    say(fixture, channel, FRAME_BEAT, SESSION);
    assert_true(worker->beat_ns > 5);
    channel_close(channel, 0);
}

static void a_signal_that_waits_is_taken_once_and_has_a_name(void **state)
{
    sigset_t signals;

    (void)state;
    sigemptyset(&signals);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    pthread_kill(pthread_self(), SIGHUP);
    assert_int_equal(fleet_take_signal(), SIGHUP);
    assert_int_equal(fleet_take_signal(), 0);
    assert_string_equal(fleet_signal_name(SIGTERM), "SIGTERM");
    assert_string_equal(fleet_signal_name(SIGINT), "SIGINT");
    assert_string_equal(fleet_signal_name(SIGHUP), "SIGHUP");
}

/* Far more than any socket buffer and default mark, to a stage that takes nothing. */
static void a_channel_without_a_mark_takes_every_step_at_once(void **state)
{
    const struct fixture *fixture = *state;
    struct err err = ERR_INIT;
    struct channel *pull = channel_open(fixture->arena, fixture->hub, CHANNEL_PULL, 0, 4096, &err);
    struct channel *push = channel_open(fixture->arena, fixture->hub, CHANNEL_PUSH, 0, 0, &err);
    struct frame frame = { .type = FRAME_STEP, .payload_bytes = 4096 };
    struct channel_wait wait = { push, true, false };
    char bound[CHANNEL_ADDRESS_BYTES];
    const char payload[4096] = { 0 };

    assert_true(channel_bind(pull, "127.0.0.1:0", bound, &err));
    assert_true(channel_connect(push, bound, &err));
    assert_true(channel_wait(fixture->hub, &wait, 1, clock_now_ns() + 5000000000, &err));
    for (int i = 0; i < 5000; i++)
        assert_int_equal(channel_send(push, NULL, &frame, payload, &err), CHANNEL_DONE);
    channel_close(push, 0);
    channel_close(pull, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_first_worker_of_a_device_keeps_it_while_it_beats),
        TEST(a_silent_worker_is_replaced_before_it_is_set_up_and_not_after),
        TEST(a_worker_that_has_left_is_replaced_at_once),
        TEST(a_worker_that_comes_back_takes_the_place_of_a_lost_one),
        TEST(a_beat_counts_for_the_worker_whose_it_is_alone),
        TEST(a_signal_that_waits_is_taken_once_and_has_a_name),
        TEST(a_channel_without_a_mark_takes_every_step_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
