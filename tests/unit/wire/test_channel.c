/* test_channel.c - frames over real sockets on loopback: delivery, marks, names, bad peers. */
#include "lib/wire/channel.h"

#include "lib/base/arena.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define MS INT64_C(1000000)
#define PATIENCE_NS (5000 * MS)

struct fixture {
    struct arena *arena;
    struct channel_hub *hub;
    struct channel *in, *out;
    char address[CHANNEL_ADDRESS_BYTES];
    struct err err;
};

static int set_up(void **state)
{
    struct arena *arena = arena_create();
    struct fixture *fixture = arena_alloc(arena, sizeof *fixture);

    fixture->arena = arena;
    fixture->hub = channel_hub_create(arena, NULL, &fixture->err);
    *state = fixture;
    return fixture->hub ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    channel_close(fixture->in, 0);
    channel_close(fixture->out, 0);
    channel_hub_destroy(fixture->hub);
    arena_destroy(fixture->arena);
    return 0;
}

/* Binds `in`, connects `out` to it. */
static void join(struct fixture *fixture, enum channel_kind in, enum channel_kind out, int mark,
                 int64_t max_payload_bytes)
{
    struct err *err = &fixture->err;

    fixture->in = channel_open(fixture->arena, fixture->hub, in, mark, max_payload_bytes, err);
    fixture->out = channel_open(fixture->arena, fixture->hub, out, mark, 1 << 20, err);
    assert_non_null(fixture->in);
    assert_non_null(fixture->out);
    assert_true(channel_bind(fixture->in, "127.0.0.1:0", fixture->address, err));
    assert_true(channel_connect(fixture->out, fixture->address, err));
}

static bool wait_for(struct fixture *fixture, struct channel *channel, bool for_send,
                     int64_t patience_ns)
{
    struct channel_wait wait = { channel, for_send, false };

    assert_true(channel_wait(fixture->hub, &wait, 1, clock_now_ns() + patience_ns, &fixture->err));
    return wait.is_ready;
}

static enum channel_result put(struct fixture *fixture, struct channel *channel,
                               const struct channel_peer *to, enum frame_type type, int64_t request,
                               const char *text)
{
    struct frame frame = { .type = type,
                           .request = request,
                           .payload_bytes = (int64_t)strlen(text) };

    return channel_send(channel, to, &frame, text, &fixture->err);
}

static void a_frame_and_its_payload_arrive(void **state)
{
    struct fixture *fixture = *state;
    struct channel_message message;

    join(fixture, CHANNEL_PULL, CHANNEL_PUSH, 8, 100);
    assert_true(wait_for(fixture, fixture->out, true, PATIENCE_NS));
    assert_int_equal(put(fixture, fixture->out, NULL, FRAME_STEP, 42, "hello"), CHANNEL_DONE);
    assert_true(wait_for(fixture, fixture->in, false, PATIENCE_NS));
    assert_int_equal(channel_receive(fixture->in, &message, &fixture->err), CHANNEL_DONE);
    assert_int_equal(message.frame.type, FRAME_STEP);
    assert_int_equal(message.frame.request, 42);
    assert_int_equal(message.frame.payload_bytes, 5);
    assert_memory_equal(message.payload, "hello", 5);
    channel_message_close(&message);
    assert_int_equal(channel_receive(fixture->in, &message, &fixture->err), CHANNEL_LATER);
}

static void an_empty_payload_and_a_large_one_arrive(void **state)
{
    struct fixture *fixture = *state;
    struct channel_message message;
    int32_t *words = arena_array(fixture->arena, 1 << 18, 4);
    struct frame frame = { .type = FRAME_STEP, .payload_bytes = 4 << 18 };

    for (int i = 0; i < 1 << 18; i++)
        words[i] = i * 7;
    join(fixture, CHANNEL_PULL, CHANNEL_PUSH, 8, 4 << 18);
    assert_true(wait_for(fixture, fixture->out, true, PATIENCE_NS));
    assert_int_equal(put(fixture, fixture->out, NULL, FRAME_STEP, 0, ""), CHANNEL_DONE);
    assert_int_equal(channel_send_words(fixture->out, NULL, &frame, words, &fixture->err),
                     CHANNEL_DONE);
    assert_true(wait_for(fixture, fixture->in, false, PATIENCE_NS));
    assert_int_equal(channel_receive(fixture->in, &message, &fixture->err), CHANNEL_DONE);
    assert_int_equal(message.frame.payload_bytes, 0);
    channel_message_close(&message);
    assert_true(wait_for(fixture, fixture->in, false, PATIENCE_NS));
    assert_int_equal(channel_receive(fixture->in, &message, &fixture->err), CHANNEL_DONE);
    assert_int_equal(message.frame.payload_bytes, 4 << 18);
    frame_get_words(words, message.payload, 1 << 18);
    channel_message_close(&message);
    for (int i = 0; i < 1 << 18; i++)
        assert_int_equal(words[i], i * 7);
}

static void a_full_push_says_later_and_drops_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct channel_message message;
    char block[65537];
    int64_t sent = 0, received = 0;

    memset(block, 'x', sizeof block - 1);
    block[sizeof block - 1] = '\0';
    join(fixture, CHANNEL_PULL, CHANNEL_PUSH, 2, 65536);
    assert_true(wait_for(fixture, fixture->out, true, PATIENCE_NS));
    while (wait_for(fixture, fixture->out, true, 50 * MS)) {
        assert_int_equal(put(fixture, fixture->out, NULL, FRAME_STEP, sent, block), CHANNEL_DONE);
        sent++;
        assert_true(sent < 10000); /* the kernel's buffers end somewhere */
    }
    assert_int_equal(put(fixture, fixture->out, NULL, FRAME_STEP, sent, block), CHANNEL_LATER);
    while (wait_for(fixture, fixture->in, false, 200 * MS)) {
        assert_int_equal(channel_receive(fixture->in, &message, &fixture->err), CHANNEL_DONE);
        assert_int_equal(message.frame.request, received);
        channel_message_close(&message);
        received++;
    }
    assert_true(sent > 2);
    assert_int_equal(received, sent);
}

static void a_push_without_a_listener_says_later(void **state)
{
    struct fixture *fixture = *state;

    fixture->out = channel_open(fixture->arena, fixture->hub, CHANNEL_PUSH, 8, 0, &fixture->err);
    assert_true(channel_connect(fixture->out, "127.0.0.1:1", &fixture->err));
    assert_false(wait_for(fixture, fixture->out, true, 30 * MS));
    assert_int_equal(put(fixture, fixture->out, NULL, FRAME_STEP, 0, "x"), CHANNEL_LATER);
}

/* As when the worker behind it is lost and another one listens elsewhere. */
static void a_channel_that_moves_sends_to_the_new_address(void **state)
{
    struct fixture *fixture = *state;
    struct channel_message message;
    char address[CHANNEL_ADDRESS_BYTES];
    bool is_open = false;

    join(fixture, CHANNEL_PULL, CHANNEL_PUSH, 8, 100);
    assert_true(wait_for(fixture, fixture->out, true, PATIENCE_NS));
    channel_close(fixture->in, 0);
    fixture->in = channel_open(fixture->arena, fixture->hub, CHANNEL_PULL, 8, 100, &fixture->err);
    assert_true(channel_bind(fixture->in, "127.0.0.1:0", address, &fixture->err));
    for (int i = 0; i < 500 && wait_for(fixture, fixture->out, true, 0); i++)
        clock_sleep_until_ns(clock_now_ns() + 10 * MS); /* until it knows that nobody is there */
    assert_true(channel_move(fixture->out, address, &fixture->err));
    assert_true(channel_wait_open(fixture->hub, fixture->out, clock_now_ns() + PATIENCE_NS,
                                  &is_open, &fixture->err));
    assert_true(is_open);
    assert_int_equal(put(fixture, fixture->out, NULL, FRAME_STEP, 9, "x"), CHANNEL_DONE);
    assert_true(wait_for(fixture, fixture->in, false, PATIENCE_NS));
    assert_int_equal(channel_receive(fixture->in, &message, &fixture->err), CHANNEL_DONE);
    assert_int_equal(message.frame.request, 9);
    channel_message_close(&message);
}

static void a_router_answers_the_peer_that_spoke(void **state)
{
    struct fixture *fixture = *state;
    struct channel_message message;

    join(fixture, CHANNEL_ROUTER, CHANNEL_DEALER, 8, 100);
    assert_true(wait_for(fixture, fixture->out, true, PATIENCE_NS));
    assert_int_equal(put(fixture, fixture->out, NULL, FRAME_HELLO, 0, "pi0"), CHANNEL_DONE);
    assert_true(wait_for(fixture, fixture->in, false, PATIENCE_NS));
    assert_int_equal(channel_receive(fixture->in, &message, &fixture->err), CHANNEL_DONE);
    assert_true(message.from.count > 0);
    assert_true(channel_same_peer(&message.from, &message.from));
    channel_message_close(&message);
    assert_int_equal(put(fixture, fixture->in, &message.from, FRAME_SETUP, 0, "go"), CHANNEL_DONE);
    assert_true(wait_for(fixture, fixture->out, false, PATIENCE_NS));
    assert_int_equal(channel_receive(fixture->out, &message, &fixture->err), CHANNEL_DONE);
    assert_int_equal(message.frame.type, FRAME_SETUP);
    assert_int_equal(message.from.count, 0);
    channel_message_close(&message);
}

static void a_router_says_gone_for_a_peer_that_is_not_there(void **state)
{
    struct fixture *fixture = *state;
    struct channel_peer nobody = { .count = 4, .bytes = "nope" };
    struct channel_peer other = { .count = 4, .bytes = "abcd" };

    join(fixture, CHANNEL_ROUTER, CHANNEL_DEALER, 8, 100);
    assert_int_equal(put(fixture, fixture->in, &nobody, FRAME_SETUP, 0, "x"), CHANNEL_GONE);
    assert_int_equal(fixture->err.kind, ERR_NONE);
    assert_false(channel_same_peer(&nobody, &other));
}

static void a_malformed_frame_is_dropped_and_the_next_one_arrives(void **state)
{
    struct fixture *fixture = *state;
    struct channel_message message;

    join(fixture, CHANNEL_PULL, CHANNEL_PUSH, 8, 100);
    assert_true(wait_for(fixture, fixture->out, true, PATIENCE_NS));
    assert_int_equal(put(fixture, fixture->out, NULL, FRAME_TYPE_END, 0, "x"), CHANNEL_DONE);
    assert_int_equal(put(fixture, fixture->out, NULL, FRAME_STEP, 5, "y"), CHANNEL_DONE);
    assert_true(wait_for(fixture, fixture->in, false, PATIENCE_NS));
    assert_int_equal(channel_receive(fixture->in, &message, &fixture->err), CHANNEL_BAD);
    assert_non_null(strstr(fixture->err.text, "type is"));
    assert_true(wait_for(fixture, fixture->in, false, PATIENCE_NS));
    assert_int_equal(channel_receive(fixture->in, &message, &fixture->err), CHANNEL_DONE);
    assert_int_equal(message.frame.request, 5);
    channel_message_close(&message);
}

static void a_message_above_the_limit_never_arrives(void **state)
{
    struct fixture *fixture = *state;

    join(fixture, CHANNEL_PULL, CHANNEL_PUSH, 8, 4);
    assert_true(wait_for(fixture, fixture->out, true, PATIENCE_NS));
    assert_int_equal(put(fixture, fixture->out, NULL, FRAME_STEP, 0, "12345"), CHANNEL_DONE);
    assert_false(wait_for(fixture, fixture->in, false, 100 * MS));
}

static void a_payload_of_a_bad_size_is_not_sent(void **state)
{
    struct fixture *fixture = *state;
    struct frame huge = { .type = FRAME_STEP, .payload_bytes = FRAME_MAX_PAYLOAD_BYTES + 1 };
    struct frame negative = { .type = FRAME_STEP, .payload_bytes = -1 };
    struct err err = ERR_INIT;

    join(fixture, CHANNEL_PULL, CHANNEL_PUSH, 8, 4);
    assert_int_equal(channel_send(fixture->out, NULL, &huge, "", &fixture->err), CHANNEL_BAD);
    assert_non_null(strstr(fixture->err.text, "at most 1073741824"));
    assert_int_equal(channel_send(fixture->out, NULL, &negative, "", &err), CHANNEL_BAD);
}

static void a_wait_ends_at_its_deadline(void **state)
{
    struct fixture *fixture = *state;
    int64_t start_ns, took_ns;

    join(fixture, CHANNEL_PULL, CHANNEL_PUSH, 8, 4);
    start_ns = clock_now_ns();
    assert_false(wait_for(fixture, fixture->in, false, 3500000));
    took_ns = clock_now_ns() - start_ns;
    assert_true(took_ns >= 3500000);
    assert_true(took_ns < 1000 * MS); /* a busy machine, not a lost deadline */
    start_ns = clock_now_ns();
    assert_false(wait_for(fixture, fixture->in, false, -5 * MS));
    assert_true(clock_now_ns() - start_ns < 1000 * MS);
}

static void bad_addresses_are_refused(void **state)
{
    static const char *const bad[] = { "",
                                       "127.0.0.1",
                                       ":80",
                                       "host:",
                                       "host:x",
                                       "h:-1",
                                       "h:65536",
                                       "a b:5",
                                       "a/b:5",
                                       "::1:5",
                                       "h:5 ",
                                       "tcp://h:5",
                                       "h:0000009999999999" };
    struct fixture *fixture = *state;
    char bound[CHANNEL_ADDRESS_BYTES];

    fixture->in = channel_open(fixture->arena, fixture->hub, CHANNEL_PULL, 8, 4, &fixture->err);
    fixture->out = channel_open(fixture->arena, fixture->hub, CHANNEL_PUSH, 8, 4, &fixture->err);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = ERR_INIT;

        assert_false(channel_check_address("--listen", bad[i], &err));
        assert_int_equal(err.kind, ERR_USAGE);
        assert_non_null(strstr(err.text, "expected HOST:PORT"));
        assert_false(channel_bind(fixture->in, bad[i], bound, &err));
        assert_false(channel_connect(fixture->out, bad[i], &err));
        assert_false(channel_local_host(bad[i], bound, &err));
    }
    assert_true(channel_check_address("--listen", "127.0.0.1:65535", &fixture->err));
    assert_true(channel_check_address("--listen", "pi0.local:0", &fixture->err));
}

static void an_address_in_use_or_not_ours_cannot_be_bound(void **state)
{
    struct fixture *fixture = *state;
    struct err taken = ERR_INIT, foreign = ERR_INIT;
    char bound[CHANNEL_ADDRESS_BYTES];
    struct channel *second;

    join(fixture, CHANNEL_PULL, CHANNEL_PUSH, 8, 4);
    second = channel_open(fixture->arena, fixture->hub, CHANNEL_PULL, 8, 4, &fixture->err);
    assert_false(channel_bind(second, fixture->address, bound, &taken));
    assert_int_equal(taken.kind, ERR_SYSTEM);
    assert_non_null(strstr(taken.text, "cannot listen on 127.0.0.1:"));
    assert_false(channel_bind(second, "192.0.2.1:5555", bound, &foreign));
    channel_close(second, 0);
}

static void loopback_is_reached_from_loopback(void **state)
{
    struct fixture *fixture = *state;
    char host[CHANNEL_ADDRESS_BYTES];

    assert_true(channel_local_host("127.0.0.1:5555", host, &fixture->err));
    assert_string_equal(host, "127.0.0.1");
    assert_false(channel_local_host("no-such-host.invalid:5555", host, &fixture->err));
}

static void closing_nothing_is_fine(void **state)
{
    (void)state;
    channel_close(NULL, 0);
    channel_hub_destroy(NULL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_frame_and_its_payload_arrive),
        TEST(an_empty_payload_and_a_large_one_arrive),
        TEST(a_full_push_says_later_and_drops_nothing),
        TEST(a_push_without_a_listener_says_later),
        TEST(a_channel_that_moves_sends_to_the_new_address),
        TEST(a_router_answers_the_peer_that_spoke),
        TEST(a_router_says_gone_for_a_peer_that_is_not_there),
        TEST(a_malformed_frame_is_dropped_and_the_next_one_arrives),
        TEST(a_message_above_the_limit_never_arrives),
        TEST(a_payload_of_a_bad_size_is_not_sent),
        TEST(a_wait_ends_at_its_deadline),
        TEST(bad_addresses_are_refused),
        TEST(an_address_in_use_or_not_ours_cannot_be_bound),
        TEST(loopback_is_reached_from_loopback),
        TEST(closing_nothing_is_fine),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
