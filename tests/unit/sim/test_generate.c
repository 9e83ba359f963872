/* test_generate.c - workloads: rates and variation of every process, independence of the streams.
 */
#include "sim/generate/generate.h"

#include "lib/base/arena.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/split.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct arena *arena;
static struct err err;
static struct generate_options options;

static int set_up(void **state)
{
    (void)state;
    arena = arena_create();
    err = (struct err)ERR_INIT;
    memset(&options, 0, sizeof(options));
    options.seed = 1;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static void add_service(const char *text)
{
    assert_true(generate_parse_service(arena, text, &options, &err));
}

static const struct dist *tokens(const char *text)
{
    const struct dist *dist = dist_parse(arena, text, DIST_TOKENS, "--prompt", &err);

    assert_non_null(dist);
    return dist;
}

/* Mean rate and cv of the gaps of an open workload of one service. */
static void measure(const struct workload *workload, double *rate_per_s, double *cv)
{
    double sum = 0, squares = 0;
    size_t n = workload->count - 1;

    for (size_t i = 1; i < workload->count; i++) {
        double gap = (double)(workload->arrivals_ps[i] - workload->arrivals_ps[i - 1]) /
                     (double)UNITS_PS_PER_S;

        assert_true(gap >= 0);
        sum += gap;
        squares += gap * gap;
    }
    *rate_per_s = (double)n / sum;
    *cv = sqrt(squares / (double)n - sum / (double)n * sum / (double)n) / (sum / (double)n);
}

static void check_process(enum generate_process process, double cv, double tolerance)
{
    struct workload *workload;
    double measured_rate, measured_cv;

    add_service("chat");
    options.process = process;
    options.rate_per_s = 50;
    options.cv = cv;
    options.duration_ps = 4000 * UNITS_PS_PER_S;
    workload = generate_open(arena, &options, &err);
    assert_non_null(workload);
    measure(workload, &measured_rate, &measured_cv);
    assert_true(fabs(measured_rate / 50 - 1) < tolerance);
    assert_true(fabs(measured_cv / (cv > 0 ? cv : 1) - 1) < tolerance);
}

static void poisson_has_its_rate_and_a_cv_of_one(void **state)
{
    (void)state;
    check_process(GENERATE_POISSON, 0, 0.02);
}

static void gamma_has_its_rate_and_cv(void **state)
{
    (void)state;
    check_process(GENERATE_GAMMA, 3, 0.04);
}

static void mmpp_has_its_rate_and_cv(void **state)
{
    (void)state;
    options.dwell_ps = UNITS_PS_PER_S;
    check_process(GENERATE_MMPP, 1.4, 0.04);
}

static void pareto_has_its_rate_and_cv(void **state)
{
    (void)state;
    check_process(GENERATE_PARETO, 0.5, 0.05);
}

static void constant_arrivals_are_even_and_begin_at_zero(void **state)
{
    struct workload *workload;

    (void)state;
    add_service("chat");
    options.process = GENERATE_CONSTANT;
    options.rate_per_s = 4;
    options.duration_ps = 2 * UNITS_PS_PER_S;
    workload = generate_open(arena, &options, &err);
    assert_non_null(workload);
    assert_int_equal(workload->count, 8);
    for (size_t i = 0; i < 8; i++) {
        assert_true(workload->arrivals_ps[i] == (int64_t)i * UNITS_PS_PER_S / 4);
        assert_int_equal(workload_at(workload, i).request_id, (int64_t)i);
    }
}

/* A third of a second is no whole number of picoseconds: rounded gaps would drift. */
static void constant_arrivals_do_not_drift(void **state)
{
    struct workload *workload;

    (void)state;
    add_service("chat");
    options.process = GENERATE_CONSTANT;
    options.rate_per_s = 3;
    options.duration_ps = 60 * UNITS_PS_PER_S;
    workload = generate_open(arena, &options, &err);
    assert_non_null(workload);
    assert_int_equal(workload->count, 180);
    assert_int_equal(workload->arrivals_ps[1], INT64_C(333333333333));
    assert_int_equal(workload->arrivals_ps[2], INT64_C(666666666667));
    assert_int_equal(workload->arrivals_ps[179], INT64_C(59666666666667));
    options.duration_ps = 0;
    options.rate_per_s = 0.7;
    options.max_requests = 700001;
    workload = generate_open(arena, &options, &err);
    assert_non_null(workload);
    assert_int_equal(workload->arrivals_ps[700000], 1000000 * UNITS_PS_PER_S);
}

/* Arrivals and lengths of one service inside a workload of several. */
static void assert_same_stream(const struct workload *one, const struct workload *several,
                               int service)
{
    size_t k = 0;

    for (size_t i = 0; i < several->count; i++) {
        const struct workload_request b = workload_at(several, i);
        struct workload_request a;

        if (b.service != service)
            continue;
        assert_true(k < one->count);
        a = workload_at(one, k++);
        assert_true(a.arrival_ps == b.arrival_ps);
        assert_int_equal(a.prompt_tokens, b.prompt_tokens);
        assert_int_equal(a.output_tokens, b.output_tokens);
    }
    assert_int_equal(k, one->count);
}

static void adding_a_service_shifts_no_draw_of_another(void **state)
{
    struct workload *one, *two;

    (void)state;
    options.process = GENERATE_POISSON;
    options.duration_ps = 20 * UNITS_PS_PER_S;
    options.prompt = tokens("uniform:1:100");
    options.output = tokens("exp:20");
    options.rate_per_s = 10;
    add_service("chat");
    one = generate_open(arena, &options, &err);
    options.service_count = 0;
    options.rate_per_s = 40; /* chat keeps its 10/s */
    add_service("code:3");
    add_service("chat:1");
    two = generate_open(arena, &options, &err);
    assert_non_null(one);
    assert_non_null(two);
    assert_true(two->count > 2 * one->count);
    assert_same_stream(one, two, 1);
}

static void changing_the_lengths_shifts_no_arrival(void **state)
{
    struct workload *plain, *with_tokens;

    (void)state;
    add_service("chat");
    options.process = GENERATE_GAMMA;
    options.cv = 2;
    options.rate_per_s = 10;
    options.duration_ps = 10 * UNITS_PS_PER_S;
    plain = generate_open(arena, &options, &err);
    options.prompt = tokens("uniform:1:100");
    with_tokens = generate_open(arena, &options, &err);
    assert_int_equal(plain->count, with_tokens->count);
    for (size_t i = 0; i < plain->count; i++)
        assert_true(plain->arrivals_ps[i] == with_tokens->arrivals_ps[i]);
    assert_false(plain->has_tokens);
    assert_true(with_tokens->has_tokens);
}

static void shares_split_the_rate(void **state)
{
    struct workload *workload;
    double count[2] = { 0, 0 };

    (void)state;
    add_service("a:3");
    add_service("b:1");
    options.process = GENERATE_POISSON;
    options.rate_per_s = 100;
    options.duration_ps = 200 * UNITS_PS_PER_S;
    workload = generate_open(arena, &options, &err);
    for (size_t i = 0; i < workload->count; i++)
        count[workload_at(workload, i).service]++;
    assert_true(fabs(count[0] / 15000 - 1) < 0.03);
    assert_true(fabs(count[1] / 5000 - 1) < 0.05);
}

static void requests_caps_an_open_workload(void **state)
{
    struct workload *workload;

    (void)state;
    add_service("chat");
    options.process = GENERATE_POISSON;
    options.rate_per_s = 100;
    options.max_requests = 7;
    workload = generate_open(arena, &options, &err);
    assert_non_null(workload);
    assert_int_equal(workload->count, 7);
}

static void seeds_differ_and_repeat(void **state)
{
    struct workload *a, *b, *c;

    (void)state;
    add_service("chat");
    options.process = GENERATE_POISSON;
    options.rate_per_s = 10;
    options.max_requests = 5;
    a = generate_open(arena, &options, &err);
    b = generate_open(arena, &options, &err);
    options.seed = 2;
    c = generate_open(arena, &options, &err);
    assert_true(a->arrivals_ps[4] == b->arrivals_ps[4]);
    assert_true(a->arrivals_ps[4] != c->arrivals_ps[4]);
}

static void closed_loop_rows_go_round_the_clients(void **state)
{
    struct workload *workload;

    (void)state;
    add_service("chat");
    options.clients = 3;
    options.max_requests = 8;
    options.think = dist_parse(arena, "constant:2s", DIST_TIME, "--think", &err);
    options.prompt = tokens("constant:5");
    options.output = tokens("constant:6");
    options.slo_ps = 9;
    workload = generate_closed(arena, &options, &err);
    assert_non_null(workload);
    assert_int_equal(workload->count, 8);
    assert_int_equal(workload->client_count, 3);
    assert_string_equal(workload->clients[2], "c2");
    for (int64_t i = 0; i < 8; i++) {
        const struct workload_request request = workload_at(workload, (size_t)i);

        assert_int_equal(request.request_id, i);
        assert_int_equal(request.client, i % 3);
        assert_true(request.arrival_ps == WORKLOAD_CLOSED);
        assert_true(request.think_ps == 2 * UNITS_PS_PER_S);
        assert_int_equal(request.prompt_tokens, 5);
        assert_int_equal(request.output_tokens, 6);
        assert_true(request.slo_ps == 9);
    }
}

static void adding_a_client_shifts_no_draw_of_another(void **state)
{
    struct workload *two, *three;

    (void)state;
    add_service("a");
    add_service("b");
    options.clients = 2;
    options.max_requests = 20;
    options.think = dist_parse(arena, "exp:1s", DIST_TIME, "--think", &err);
    two = generate_closed(arena, &options, &err);
    options.clients = 3;
    options.max_requests = 30;
    three = generate_closed(arena, &options, &err);
    for (size_t turn = 0; turn < 10; turn++)
        for (size_t client = 0; client < 2; client++) {
            const struct workload_request a = workload_at(two, 2 * turn + client);
            const struct workload_request b = workload_at(three, 3 * turn + client);

            assert_true(a.think_ps == b.think_ps);
            assert_int_equal(a.service, b.service);
        }
}

static void more_clients_than_requests_leaves_the_rest_out(void **state)
{
    struct workload *workload;

    (void)state;
    add_service("chat");
    options.clients = 1000;
    options.max_requests = 2;
    options.think = dist_parse(arena, "constant:0", DIST_TIME, "--think", &err);
    workload = generate_closed(arena, &options, &err);
    assert_non_null(workload);
    assert_int_equal(workload->client_count, 2);
}

static void assert_refused(struct workload *workload, const char *text)
{
    assert_null(workload);
    assert_non_null(strstr(err.text, text));
    err = (struct err)ERR_INIT;
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    options.process = GENERATE_POISSON;
    assert_refused(generate_open(arena, &options, &err), "--service is missing");
    assert_refused(generate_closed(arena, &options, &err), "--service is missing");
    add_service("chat");
    assert_refused(generate_open(arena, &options, &err), "--duration is missing");
    options.duration_ps = UNITS_PS_PER_S;
    assert_refused(generate_open(arena, &options, &err), "--rate is missing");
    options.rate_per_s = 10;
    assert_refused(generate_closed(arena, &options, &err), "--clients needs");
    options.output = tokens("constant:1");
    assert_refused(generate_open(arena, &options, &err), "--output needs --prompt");
    options.output = NULL;
    options.rate_per_s = 1e12;
    assert_refused(generate_open(arena, &options, &err), "at most 100000000");
    options.rate_per_s = 1e300;
    options.max_requests = 1;
    assert_refused(generate_open(arena, &options, &err), "mean gap");
    options.max_requests = GENERATE_MAX_REQUESTS + 1;
    assert_refused(generate_open(arena, &options, &err), "more than 100000000");
    options.max_requests = 0;
    options.rate_per_s = 1e-6;
    assert_refused(generate_open(arena, &options, &err), "no request arrives");
}

static void wrong_variation_is_named(void **state)
{
    (void)state;
    add_service("chat");
    options.rate_per_s = 10;
    options.duration_ps = UNITS_PS_PER_S;
    options.process = GENERATE_GAMMA;
    assert_refused(generate_open(arena, &options, &err), "gamma needs --cv");
    options.cv = NAN;
    assert_refused(generate_open(arena, &options, &err), "gamma needs --cv");
    options.cv = 101;
    assert_refused(generate_open(arena, &options, &err), "at most 100");
    options.cv = 2;
    options.process = GENERATE_POISSON;
    assert_refused(generate_open(arena, &options, &err), "no meaning for --process poisson");
    options.process = GENERATE_MMPP;
    options.cv = 0.5;
    assert_refused(generate_open(arena, &options, &err), "1 or more");
    options.cv = 90;
    options.dwell_ps = UNITS_PS_PER_MS;
    assert_refused(generate_open(arena, &options, &err), "--dwell");
}

static void wrong_services_are_named(void **state)
{
    static const char *const bad[] = { "a:0", "a:-1", "a:x", "a:", ":2", "", "a:nan", "a:1e10" };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        err = (struct err)ERR_INIT;
        assert_false(generate_parse_service(arena, bad[i], &options, &err));
        assert_int_equal(err.kind, ERR_USAGE);
        assert_int_equal(options.service_count, 0);
    }
    err = (struct err)ERR_INIT;
    add_service("a:2");
    assert_false(generate_parse_service(arena, "a", &options, &err));
    assert_non_null(strstr(err.text, "twice"));
    err = (struct err)ERR_INIT;
    options.service_count = 0;
    assert_true(split_services(arena, "100000", &options, &err));
    assert_false(generate_parse_service(arena, "one-more", &options, &err));
    assert_non_null(strstr(err.text, "more than 100000"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(poisson_has_its_rate_and_a_cv_of_one),
        TEST(gamma_has_its_rate_and_cv),
        TEST(mmpp_has_its_rate_and_cv),
        TEST(pareto_has_its_rate_and_cv),
        TEST(constant_arrivals_are_even_and_begin_at_zero),
        TEST(constant_arrivals_do_not_drift),
        TEST(adding_a_service_shifts_no_draw_of_another),
        TEST(changing_the_lengths_shifts_no_arrival),
        TEST(shares_split_the_rate),
        TEST(requests_caps_an_open_workload),
        TEST(seeds_differ_and_repeat),
        TEST(closed_loop_rows_go_round_the_clients),
        TEST(adding_a_client_shifts_no_draw_of_another),
        TEST(more_clients_than_requests_leaves_the_rest_out),
        TEST(wrong_options_are_named),
        TEST(wrong_variation_is_named),
        TEST(wrong_services_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
