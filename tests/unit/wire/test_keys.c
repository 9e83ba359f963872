/* test_keys.c - cluster.key, and what it keeps out. */
#include "lib/wire/keys.h"

#include "lib/base/clock.h"
#include "lib/wire/channel.h"
#include "tests/unit/scratch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h> /* after the four headers that it needs */

#define PATIENCE_NS INT64_C(5000000000)

static const struct keys *draw(struct scratch *scratch, const char *name)
{
    const char *folder = arena_printf(scratch->arena, "%s/%s", scratch->folder, name);
    const struct keys *keys;

    assert_true(keys_create(scratch->arena, folder, &scratch->err));
    keys = keys_load(scratch->arena, folder, &scratch->err);
    assert_non_null(keys);
    return keys;
}

/* ---- the file ---- */

static void the_file_is_its_owners_alone_and_never_overwritten(void **state)
{
    struct scratch *scratch = *state;
    const struct keys *keys = draw(scratch, "k"), *again;
    const char *folder = arena_printf(scratch->arena, "%s/k", scratch->folder);
    struct err err = ERR_INIT;
    struct stat info;

    assert_int_equal(stat(arena_printf(scratch->arena, "%s/%s", folder, KEYS_FILE), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_false(keys_create(scratch->arena, folder, &err));
    assert_non_null(strstr(err.text, "is there already"));
    again = keys_load(scratch->arena, folder, &scratch->err);
    assert_non_null(again);
    assert_memory_equal(keys, again, sizeof *keys);
}

static void two_draws_differ_and_so_do_the_pairs_of_one(void **state)
{
    const struct keys *a = draw(*state, "a"), *b = draw(*state, "b");

    assert_string_not_equal(a->listen.secret_key, b->listen.secret_key);
    assert_string_not_equal(a->connect.secret_key, b->connect.secret_key);
    assert_string_not_equal(a->listen.secret_key, a->connect.secret_key);
}

static void a_file_that_others_may_read_is_refused(void **state)
{
    struct scratch *scratch = *state;
    const char *folder = arena_printf(scratch->arena, "%s/k", scratch->folder);
    struct err err = ERR_INIT;

    draw(scratch, "k");
    assert_int_equal(chmod(arena_printf(scratch->arena, "%s/%s", folder, KEYS_FILE), 0640), 0);
    assert_null(keys_load(scratch->arena, folder, &err));
    assert_non_null(strstr(err.text, "chmod 600"));
}

static void load_text(struct scratch *scratch, const char *text, const char *expected)
{
    const char *path = scratch_write(scratch, KEYS_FILE, text);
    struct err err = ERR_INIT;

    assert_int_equal(chmod(path, 0600), 0);
    assert_null(keys_load(scratch->arena, scratch->folder, &err));
    assert_non_null(strstr(err.text, expected));
}

static void a_spoilt_file_is_refused_without_showing_a_key(void **state)
{
    struct scratch *scratch = *state;
    const struct keys *a = draw(scratch, "a");
    const char *head = "role,public_key,secret_key\n";
    struct err err = ERR_INIT;

    load_text(scratch, "", "");
    load_text(scratch, head, "no pair to listen with");
    load_text(scratch, arena_printf(scratch->arena, "%slisten,x,y\n", head), "40 characters");
    load_text(scratch,
              arena_printf(scratch->arena, "%slisten,\"%s\",\"%s\"\n", head, a->listen.public_key,
                           a->connect.secret_key),
              "the public key is not that of the secret key");
    load_text(scratch,
              arena_printf(scratch->arena, "%slisten,\"%s\",\"%s\"\nlisten,\"%s\",\"%s\"\n", head,
                           a->listen.public_key, a->listen.secret_key, a->listen.public_key,
                           a->listen.secret_key),
              "a second pair");
    load_text(scratch,
              arena_printf(scratch->arena, "%stalk,\"%s\",\"%s\"\n", head, a->listen.public_key,
                           a->listen.secret_key),
              "role is 'talk'");
    assert_null(keys_load(scratch->arena, "/nowhere", &err));
    assert_null(strstr(err.text, a->listen.secret_key));
}

static void no_error_text_holds_a_secret(void **state)
{
    struct scratch *scratch = *state;
    const struct keys *a = draw(scratch, "a");
    const char *path = scratch_write(
        scratch, KEYS_FILE,
        arena_printf(scratch->arena, "role,public_key,secret_key\nlisten,short,\"%s\"\n",
                     a->listen.secret_key));
    struct err err = ERR_INIT;

    assert_int_equal(chmod(path, 0600), 0);
    assert_null(keys_load(scratch->arena, scratch->folder, &err));
    assert_null(strstr(err.text, a->listen.secret_key));
}

/* ---- who gets in ---- */

struct ends {
    struct channel_hub *in_hub, *out_hub;
    struct channel *in, *out;
};

static struct ends join(struct scratch *scratch, const struct keys *in, const struct keys *out)
{
    struct ends ends;
    char address[CHANNEL_ADDRESS_BYTES];
    struct err *err = &scratch->err;

    ends.in_hub = channel_hub_create(scratch->arena, in, err);
    ends.out_hub = channel_hub_create(scratch->arena, out, err);
    assert_non_null(ends.in_hub);
    assert_non_null(ends.out_hub);
    ends.in = channel_open(scratch->arena, ends.in_hub, CHANNEL_PULL, 8, 4, err);
    ends.out = channel_open(scratch->arena, ends.out_hub, CHANNEL_PUSH, 8, 0, err);
    assert_true(channel_bind(ends.in, "127.0.0.1:0", address, err));
    assert_true(channel_connect(ends.out, address, err));
    return ends;
}

static void part(const struct ends *ends)
{
    channel_close(ends->in, 0);
    channel_close(ends->out, 0);
    channel_hub_destroy(ends->in_hub);
    channel_hub_destroy(ends->out_hub);
}

static void the_same_keys_let_messages_through(void **state)
{
    struct scratch *scratch = *state;
    const struct keys *keys = draw(scratch, "k");
    struct ends ends = join(scratch, keys, keys);
    struct frame frame = { .type = FRAME_STEP, .payload_bytes = 4 };
    struct channel_wait wait = { ends.in, false, false };
    struct channel_message message;
    bool is_open = false;

    assert_true(channel_wait_open(ends.out_hub, ends.out, clock_now_ns() + PATIENCE_NS, &is_open,
                                  &scratch->err));
    assert_true(is_open);
    assert_int_equal(channel_send(ends.out, NULL, &frame, "abcd", &scratch->err), CHANNEL_DONE);
    assert_true(channel_wait(ends.in_hub, &wait, 1, clock_now_ns() + PATIENCE_NS, &scratch->err));
    assert_int_equal(channel_receive(ends.in, &message, &scratch->err), CHANNEL_DONE);
    assert_memory_equal(message.payload, "abcd", 4);
    channel_message_close(&message);
    part(&ends);
}

/* Refused, with a reason, long before the deadline; nothing can be sent. */
static void keeps_out(struct scratch *scratch, const struct keys *in, const struct keys *out)
{
    struct ends ends = join(scratch, in, out);
    struct frame frame = { .type = FRAME_STEP };
    struct err err = ERR_INIT, late = ERR_INIT;
    bool is_open = false;

    assert_false(channel_wait_open(ends.out_hub, ends.out, clock_now_ns() + 10 * PATIENCE_NS,
                                   &is_open, &err));
    assert_non_null(strstr(err.text, "turned away: "));
    assert_int_equal(channel_send(ends.out, NULL, &frame, NULL, &late), CHANNEL_LATER);
    part(&ends);
}

static void other_keys_or_none_keep_out(void **state)
{
    struct scratch *scratch = *state;
    const struct keys *a = draw(scratch, "a"), *b = draw(scratch, "b");
    struct keys half = *a; /* knows the listener, and has not the pair that may connect */

    half.connect = b->connect;
    keeps_out(scratch, a, b);
    keeps_out(scratch, a, NULL);
    keeps_out(scratch, NULL, a);
    keeps_out(scratch, a, &half);
}

static void a_message_above_the_limit_is_refused_though_a_handshake_is_longer(void **state)
{
    struct scratch *scratch = *state;
    const struct keys *keys = draw(scratch, "k");
    struct ends ends = join(scratch, keys, keys);
    struct frame frame = { .type = FRAME_STEP, .payload_bytes = 5 };
    struct channel_wait wait = { ends.in, false, false };
    struct channel_message message;
    struct err err = ERR_INIT;
    bool is_open = false;

    assert_true(channel_wait_open(ends.out_hub, ends.out, clock_now_ns() + PATIENCE_NS, &is_open,
                                  &scratch->err));
    assert_int_equal(channel_send(ends.out, NULL, &frame, "abcde", &scratch->err), CHANNEL_DONE);
    assert_true(channel_wait(ends.in_hub, &wait, 1, clock_now_ns() + PATIENCE_NS, &scratch->err));
    assert_int_equal(channel_receive(ends.in, &message, &err), CHANNEL_BAD);
    assert_non_null(strstr(err.text, "expected at most 4"));
    part(&ends);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        TEST(the_file_is_its_owners_alone_and_never_overwritten),
        TEST(two_draws_differ_and_so_do_the_pairs_of_one),
        TEST(a_file_that_others_may_read_is_refused),
        TEST(a_spoilt_file_is_refused_without_showing_a_key),
        TEST(no_error_text_holds_a_secret),
        TEST(the_same_keys_let_messages_through),
        TEST(other_keys_or_none_keep_out),
        TEST(a_message_above_the_limit_is_refused_though_a_handshake_is_longer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
