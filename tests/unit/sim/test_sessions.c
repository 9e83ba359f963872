/* test_sessions.c - conversations: how prompts grow, who waits for whom, where they end. */
#include "sim/generate/sessions.h"

#include "lib/base/arena.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/generate.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define S UNITS_PS_PER_S

static struct arena *arena;
static struct err err;
static struct generate_options options;

static const struct dist *dist(const char *text, enum dist_unit unit)
{
    const struct dist *dist = dist_parse(arena, text, unit, "DIST", &err);

    assert_non_null(dist);
    return dist;
}

static int set_up(void **state)
{
    (void)state;
    arena = arena_create();
    err = (struct err)ERR_INIT;
    memset(&options, 0, sizeof(options));
    options.seed = 1;
    options.process = GENERATE_POISSON;
    options.rate_per_s = 2;
    options.turns = dist("uniform:1:5", DIST_TOKENS);
    options.think = dist("exp:3s", DIST_TIME);
    options.prompt = dist("uniform:10:50", DIST_TOKENS);
    options.output = dist("uniform:5:20", DIST_TOKENS);
    assert_true(generate_parse_service(arena, "chat:3", &options, &err));
    assert_true(generate_parse_service(arena, "code", &options, &err));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static struct workload *generated(void)
{
    struct workload *workload = generate_workload(arena, &options, &err);

    if (!workload)
        fail_msg("%s", err.text);
    return workload;
}

/* Each prompt holds the prompt and the output of the session's turn before; the rest is new. */
static void assert_prompts_grow(const struct workload *workload)
{
    int64_t *context = arena_array(arena, (size_t)workload->session_count, sizeof(*context));

    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request row = workload_at(workload, i);

        assert_in_range(row.session, 0, workload->session_count - 1);
        assert_int_equal(row.request_id, i);
        assert_int_equal(row.prefix_tokens, context[row.session]);
        assert_in_range(row.prompt_tokens - row.prefix_tokens, 10, 50);
        assert_in_range(row.output_tokens, 5, 20);
        context[row.session] = row.prompt_tokens + row.output_tokens;
    }
}

static void first_turns_arrive_and_later_ones_wait(void **state)
{
    struct workload *workload;
    int turns = 0, last = -1;
    int64_t last_ps = 0;
    double sum = 0;

    (void)state;
    options.duration_ps = 500 * S;
    workload = generated();
    assert_prompts_grow(workload);
    assert_string_equal(workload->sessions[1], "s1");
    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request row = workload_at(workload, i);

        if (row.session != last) {
            assert_int_equal(row.session, last + 1);
            assert_true(row.arrival_ps >= last_ps && row.arrival_ps < 500 * S);
            assert_true(row.think_ps == 0);
            last = row.session;
            last_ps = row.arrival_ps;
            turns = 0;
        } else {
            assert_true(row.arrival_ps == WORKLOAD_CLOSED);
            sum += (double)row.think_ps;
        }
        assert_in_range(++turns, 1, 5);
        assert_int_equal(row.client, -1);
    }
    /* 2/s for 500 s, of 3 turns each in the mean. */
    assert_true(fabs(workload->session_count - 1000.0) < 3.3 * sqrt(1000));
    assert_true(fabs((double)workload->count / workload->session_count - 3) < 0.2);
    assert_true(
        fabs(sum / (double)((int)workload->count - workload->session_count) / (3 * (double)S) - 1) <
        0.1);
}

static void the_start_of_conversations_is_the_plain_process(void **state)
{
    struct workload *talks, *plain;
    size_t k = 0;

    (void)state;
    options.duration_ps = 50 * S;
    talks = generated();
    options.turns = NULL;
    options.prompt = options.output = NULL;
    plain = generated();
    for (size_t i = 0; i < talks->count; i++)
        if (talks->arrivals_ps[i] != WORKLOAD_CLOSED)
            assert_true(talks->arrivals_ps[i] == plain->arrivals_ps[k++]);
    assert_int_equal(k, plain->count);
}

/* A longer conversation, or one more service, changes no draw of the other conversations. */
static void conversations_are_independent(void **state)
{
    struct workload *one, *other;
    size_t j = 0;

    (void)state;
    options.service_count = 1; /* chat alone, at 1.5/s */
    options.rate_per_s = 1.5;
    options.duration_ps = 50 * S;
    one = generated();
    options.service_count = 2;
    options.rate_per_s = 2;
    other = generated();
    for (size_t i = 0; i < one->count; i++, j++) {
        struct workload_request a = workload_at(one, i), b;

        while ((b = workload_at(other, j)).service != 0)
            j++;
        assert_true(a.arrival_ps == b.arrival_ps);
        assert_true(a.think_ps == b.think_ps);
        assert_int_equal(a.prompt_tokens, b.prompt_tokens);
        assert_int_equal(a.output_tokens, b.output_tokens);
    }
}

static void a_conversation_ends_before_it_is_too_long(void **state)
{
    struct workload *workload;
    int long_ones = 0;

    (void)state;
    options.turns = dist("constant:100", DIST_TOKENS);
    options.max_context_tokens = 300;
    options.max_sessions = 50;
    workload = generated();
    assert_prompts_grow(workload);
    assert_int_equal(workload->session_count, 50);
    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request row = workload_at(workload, i);

        assert_true(row.prompt_tokens + row.output_tokens <= 300);
        long_ones += row.prompt_tokens + row.output_tokens > 230; /* 70 are one turn's most */
    }
    assert_true(long_ones >= 50);
}

static void limits_count_rows_and_conversations(void **state)
{
    struct workload *workload;

    (void)state;
    options.max_requests = 100;
    workload = generated();
    assert_int_equal(workload->count, 100);
    options.max_sessions = 7;
    workload = generated();
    assert_int_equal(workload->session_count, 7);
    assert_true(workload->count < 100);
}

static void clients_hold_one_conversation_after_the_other(void **state)
{
    struct workload *workload;
    int sessions_of[3] = { 0 }, last[3] = { -1, -1, -1 };

    (void)state;
    options.clients = 3;
    options.max_requests = 200;
    workload = generated();
    assert_prompts_grow(workload);
    assert_int_equal(workload->count, 200);
    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request row = workload_at(workload, i);
        size_t client = i % 3;

        assert_int_equal(row.client, client);
        assert_true(row.arrival_ps == WORKLOAD_CLOSED);
        if (row.session != last[client]) {
            assert_true(row.session > last[client]);
            sessions_of[client]++;
        }
        last[client] = row.session;
    }
    for (int c = 0; c < 3; c++)
        assert_in_range(sessions_of[c], 12, 40);
}

static void clients_stop_when_no_conversation_is_left(void **state)
{
    struct workload *workload;

    (void)state;
    options.clients = 4;
    options.max_sessions = 10;
    options.turns = dist("constant:3", DIST_TOKENS);
    workload = generated();
    assert_int_equal(workload->session_count, 10);
    assert_int_equal(workload->count, 30);
    options.clients = 100;
    workload = generated();
    assert_int_equal(workload->client_count, 10);
    assert_int_equal(workload->count, 30);
}

static void conversations_without_tokens_have_no_prefix(void **state)
{
    struct workload *workload;

    (void)state;
    options.prompt = options.output = NULL;
    options.max_requests = 20;
    workload = generated();
    assert_null(workload->prefix_tokens);
    assert_null(workload->prompt_tokens);
    assert_int_equal(workload->count, 20);
}

static void assert_refused(const char *text)
{
    assert_null(generate_workload(arena, &options, &err));
    if (!strstr(err.text, text))
        fail_msg("'%s' is not in: %s", text, err.text);
    err = (struct err)ERR_INIT;
}

static void wrong_conversations_are_refused(void **state)
{
    (void)state;
    assert_refused("--duration is missing");
    options.turns = dist("constant:1000000000", DIST_TOKENS);
    options.prompt = options.output = NULL;
    options.think = NULL;
    options.max_sessions = 2;
    assert_refused("more than 100000000 turns in all");
    options.turns = NULL;
    assert_refused("--sessions is about conversations");
    options.max_sessions = 0;
    options.max_context_tokens = 5;
    assert_refused("--max-context is about conversations");
    options.turns = dist("constant:2", DIST_TOKENS);
    options.clients = 2;
    assert_refused("--clients with --turns needs --think");
    options.clients = 0;
    options.process = GENERATE_REPLAY;
    assert_refused("--turns has no meaning for --process replay");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(first_turns_arrive_and_later_ones_wait),
        TEST(the_start_of_conversations_is_the_plain_process),
        TEST(conversations_are_independent),
        TEST(a_conversation_ends_before_it_is_too_long),
        TEST(limits_count_rows_and_conversations),
        TEST(clients_hold_one_conversation_after_the_other),
        TEST(clients_stop_when_no_conversation_is_left),
        TEST(conversations_without_tokens_have_no_prefix),
        TEST(wrong_conversations_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
