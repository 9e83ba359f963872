/* test_listener.c - what comes while a worker computes has the instant at which it came. */
#include "runner/worker/listener.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

#define MS INT64_C(1000000)
#define PATIENCE_NS (20000 * MS)

struct ends {
    struct arena *arena;
    struct channel_hub *hub;
    struct channel *in, *out;
    struct listener *listener;
};

static int set_up(void **state)
{
    struct arena *arena = arena_create();
    struct ends *ends = arena_alloc(arena, sizeof *ends);
    struct err err = ERR_INIT;
    char bound[CHANNEL_ADDRESS_BYTES];
    bool is_open = false;

    ends->arena = arena;
    ends->hub = channel_hub_create(arena, NULL, &err);
    ends->in = channel_open(arena, ends->hub, CHANNEL_PULL, 0, 1 << 20, &err);
    ends->out = channel_open(arena, ends->hub, CHANNEL_PUSH, 0, 0, &err);
    *state = ends;
    return channel_bind(ends->in, "127.0.0.1:0", bound, &err) &&
                   channel_connect(ends->out, bound, &err) &&
                   channel_wait_open(ends->hub, ends->out, clock_now_ns() + PATIENCE_NS, &is_open,
                                     &err) &&
                   is_open && (ends->listener = listener_start(arena, ends->in, &err))
               ? 0
               : -1;
}

static int tear_down(void **state)
{
    struct ends *ends = *state;

    listener_stop(ends->listener);
    channel_close(ends->in, 0);
    channel_close(ends->out, 0);
    channel_hub_destroy(ends->hub);
    arena_destroy(ends->arena);
    return 0;
}

/* The payload is short, and lies within the message. */
static void put(const struct ends *ends, int64_t number)
{
    const struct frame frame = { .type = FRAME_STEP, .request = number, .payload_bytes = 1 };
    const char byte = (char)number;
    struct err err = ERR_INIT;

    assert_int_equal(channel_send(ends->out, NULL, &frame, &byte, &err), CHANNEL_DONE);
}

static void await_channel(const struct ends *ends)
{
    struct channel_wait wait = { ends->in, false, false };
    struct err err = ERR_INIT;

    assert_true(channel_wait(ends->hub, &wait, 1, clock_now_ns() + PATIENCE_NS, &err));
    assert_true(wait.is_ready);
}

static void expect(const struct ends *ends, int64_t number, int64_t before_ns)
{
    struct channel_message message;
    int64_t receive_ns;

    assert_true(listener_take(ends->listener, &message, &receive_ns));
    assert_int_equal(message.frame.request, number);
    assert_int_equal(message.payload[0], (unsigned char)number);
    assert_true(receive_ns < before_ns);
    channel_message_close(&message);
}

static void expect_none(const struct ends *ends)
{
    struct channel_message message;
    int64_t receive_ns;

    assert_false(listener_take(ends->listener, &message, &receive_ns));
}

/* A step that takes until all has long come. */
static void what_comes_in_a_loan_is_noted_when_it_comes(void **state)
{
    const struct ends *ends = *state;

    for (int64_t turn = 0; turn < 3; turn++) {
        int64_t half_ns;

        listener_lend(ends->listener);
        put(ends, 2 * turn);
        put(ends, 2 * turn + 1);
        clock_sleep_until_ns(clock_now_ns() + 500 * MS);
        half_ns = clock_now_ns();
        clock_sleep_until_ns(half_ns + 100 * MS);
        listener_return(ends->listener);
        expect(ends, 2 * turn, half_ns);
        expect(ends, 2 * turn + 1, half_ns);
        expect_none(ends);
    }
}

static void what_comes_in_between_is_left_to_the_owner(void **state)
{
    const struct ends *ends = *state;
    struct channel_message message;
    struct err err = ERR_INIT;

    listener_lend(ends->listener);
    listener_return(ends->listener);
    for (int64_t i = 0; i < 100; i++) {
        put(ends, i);
        await_channel(ends);
        assert_int_equal(channel_receive(ends->in, &message, &err), CHANNEL_DONE);
        assert_int_equal(message.frame.request, i);
        channel_message_close(&message);
        expect_none(ends);
    }
}

/* Nothing is lost or overtakes, however many come, and however short the loans are. */
static void all_come_in_order(void **state)
{
    const struct ends *ends = *state;
    int64_t sent = 0, next = 0, deadline_ns = clock_now_ns() + PATIENCE_NS;

    while (next < 20 * LISTENER_ROOM) {
        struct channel_message message;
        struct err err = ERR_INIT;
        int64_t receive_ns;

        assert_true(clock_now_ns() < deadline_ns);
        for (int i = 0; i < 2 * LISTENER_ROOM && sent < 20 * LISTENER_ROOM; i++)
            put(ends, sent++);
        listener_lend(ends->listener);
        if (next % 3 == 0)
            clock_sleep_until_ns(clock_now_ns() + MS);
        listener_return(ends->listener);
        while (listener_take(ends->listener, &message, &receive_ns) ||
               channel_receive(ends->in, &message, &err) == CHANNEL_DONE) {
            assert_int_equal(message.frame.request, next++);
            channel_message_close(&message);
        }
    }
}

/* What has not been taken is closed; AddressSanitizer would say. */
static void it_may_end_in_a_loan(void **state)
{
    const struct ends *ends = *state;

    listener_lend(ends->listener);
    put(ends, 1);
    clock_sleep_until_ns(clock_now_ns() + 50 * MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_comes_in_a_loan_is_noted_when_it_comes, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_comes_in_between_is_left_to_the_owner, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(all_come_in_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_may_end_in_a_loan, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
