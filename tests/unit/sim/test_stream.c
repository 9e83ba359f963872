/* test_stream.c - streams of open arrivals, splits of the load over services, replays. */
#include "sim/generate/stream.h"

#include "lib/base/arena.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/mmpp.h"
#include "lib/format/workload.h"
#include "sim/generate/choice.h"
#include "sim/generate/generate.h"
#include "sim/generate/merge.h"
#include "sim/generate/split.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S UNITS_PS_PER_S

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
    options.rate_per_s = 50;
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
    if (!generate_parse_service(arena, text, &options, &err))
        fail_msg("%s", err.text);
}

static const struct dist *tokens(const char *text)
{
    return dist_parse(arena, text, DIST_TOKENS, "--prompt", &err);
}

static struct stream *open_stream(void)
{
    struct stream *stream = stream_open(arena, &options, &err);

    if (!stream)
        fail_msg("%s", err.text);
    return stream;
}

static void assert_same(const struct workload_request *a, const struct workload_request *b)
{
    assert_true(a->request_id == b->request_id);
    assert_true(a->arrival_ps == b->arrival_ps);
    assert_true(a->think_ps == b->think_ps);
    assert_true(a->slo_ps == b->slo_ps);
    assert_int_equal(a->service, b->service);
    assert_int_equal(a->client, b->client);
    assert_int_equal(a->session, b->session);
    assert_int_equal(a->prompt_tokens, b->prompt_tokens);
    assert_int_equal(a->output_tokens, b->output_tokens);
    assert_int_equal(a->prefix_tokens, b->prefix_tokens);
    assert_int_equal(a->batch, b->batch);
}

/* The workload that is made at once and the stream that is drawn have the same rows. */
static void assert_stream_is_workload(void)
{
    struct workload *workload = generate_open(arena, &options, &err);
    struct stream *stream;
    struct workload_request drawn;

    if (!workload)
        fail_msg("%s", err.text);
    stream = open_stream();
    for (size_t i = 0; i < workload->count; i++) {
        struct workload_request row = workload_at(workload, i);

        assert_true(stream_next(stream, &drawn));
        assert_same(&drawn, &row);
        assert_string_equal(stream_service(stream, drawn.service), workload->services[row.service]);
    }
    assert_false(stream_next(stream, &drawn));
    assert_false(stream_next(stream, &drawn));
    assert_int_equal(stream_service_count(stream), workload->service_count);
}

static void a_stream_is_the_generated_workload(void **state)
{
    static const enum generate_process kinds[] = { GENERATE_POISSON, GENERATE_GAMMA,
                                                   GENERATE_CONSTANT, GENERATE_MMPP,
                                                   GENERATE_PARETO };

    (void)state;
    add_service("a:3");
    add_service("b");
    add_service("c:0.5");
    options.prompt = tokens("uniform:1:100");
    options.output = tokens("exp:20");
    options.items = tokens("uniform:1:4");
    options.slo_ps = 5;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        options.process = kinds[k];
        options.cv = kinds[k] == GENERATE_POISSON || kinds[k] == GENERATE_CONSTANT ? 0 : 1.5;
        for (int merged = 0; merged < 2; merged++) {
            options.is_merged = merged;
            options.duration_ps = 20 * S;
            options.max_requests = 0;
            assert_stream_is_workload();
            options.duration_ps = 0;
            options.max_requests = 333;
            assert_stream_is_workload();
        }
    }
}

static void ties_go_to_the_service_given_first(void **state)
{
    struct workload_request request;
    struct stream *stream;

    (void)state;
    for (int i = 0; i < 5; i++)
        add_service(arena_printf(arena, "s%d", i));
    options.process = GENERATE_CONSTANT;
    options.max_requests = 20;
    stream = open_stream();
    for (int i = 0; i < 20; i++) {
        assert_true(stream_next(stream, &request));
        assert_int_equal(request.service, i % 5);
        assert_true(request.arrival_ps == i / 5 * S / 10);
    }
}

/* Ten times what a workload may hold are promised; the first of them come at once. */
static void a_stream_has_no_limit_but_the_horizon(void **state)
{
    struct workload_request request;
    struct stream *stream;
    size_t used;

    (void)state;
    add_service("a");
    options.process = GENERATE_POISSON;
    options.max_requests = 10 * GENERATE_MAX_REQUESTS;
    stream = open_stream();
    used = arena_used_bytes(arena);
    for (int i = 0; i < 100000; i++)
        assert_true(stream_next(stream, &request));
    assert_int_equal(arena_used_bytes(arena), used);
    options.rate_per_s = 1e-6;
    options.max_requests = GENERATE_MAX_STREAM;
    stream = open_stream();
    for (int i = 0; i < 100 && stream_next(stream, &request); i++)
        assert_true(request.arrival_ps < UNITS_MAX_PS);
    assert_false(stream_next(stream, &request));
}

static void adding_one_of_a_thousand_services_changes_no_other(void **state)
{
    struct stream *few, *many;
    struct workload_request a, b;
    int compared = 0;

    (void)state;
    assert_true(split_services(arena, "1000", &options, &err));
    options.process = GENERATE_GAMMA;
    options.cv = 2;
    options.prompt = tokens("uniform:1:1000");
    options.rate_per_s = 1000;
    options.duration_ps = 10 * S;
    few = open_stream();
    {
        struct generate_options more = options;

        more.services = NULL;
        more.service_count = 0;
        more.rate_per_s = 1001;
        assert_true(generate_parse_service(arena, "new", &more, &err));
        for (int i = 0; i < 1000; i++)
            assert_true(generate_parse_service(arena, options.services[i].name, &more, &err));
        many = stream_open(arena, &more, &err);
        assert_non_null(many);
        while (stream_next(few, &a)) {
            do
                assert_true(stream_next(many, &b));
            while (b.service == 0);
            assert_int_equal(b.service, a.service + 1);
            /* Shares of 1000/1000 and 1001/1001 differ in their last bit. */
            assert_true(llabs(a.arrival_ps - b.arrival_ps) <= 1000);
            assert_int_equal(a.prompt_tokens, b.prompt_tokens);
            compared++;
        }
    }
    assert_in_range(compared, 5000, 15000);
}

/* ---- which comes next ---- */

static void the_merge_tree_gives_the_least_and_ties_to_the_lower_slot(void **state)
{
    static const int counts[] = { 1, 2, 3, 7, 64, 1000 };

    (void)state;
    for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
        int n = counts[c];
        int64_t *heads = arena_array(arena, (size_t)n, sizeof(*heads));
        struct rng rng = rng_stream(1, RNG_TEST, (uint64_t)n);
        struct merge *merge;
        int first;

        for (int i = 0; i < n; i++)
            heads[i] = (int64_t)rng_below(&rng, 8);
        merge = merge_create(arena, heads, n);
        first = merge_first(merge);
        for (int step = 0; step < 3000; step++) {
            int expected = 0;

            for (int i = 1; i < n; i++)
                expected = heads[i] < heads[expected] ? i : expected;
            assert_int_equal(first, expected);
            if (step % 50 == 49 || heads[first] == INT64_MAX)
                heads[first] = INT64_MAX;
            else
                heads[first] += (int64_t)rng_below(&rng, 4);
            first = merge_replace(merge, heads[first]);
        }
    }
}

/* ---- shares ---- */

static void merged_streams_draw_their_services_by_share(void **state)
{
    struct workload_request request;
    struct stream *stream;
    double count[3] = { 0 };

    (void)state;
    add_service("a:6");
    add_service("b:3");
    add_service("c:1");
    options.process = GENERATE_CONSTANT;
    options.is_merged = true;
    options.max_requests = 100000;
    stream = open_stream();
    for (int i = 0; i < 100000; i++) {
        assert_true(stream_next(stream, &request));
        assert_true(request.arrival_ps == i * S / 50); /* one even process */
        count[request.service]++;
    }
    assert_true(fabs(count[0] - 60000) < 3.3 * sqrt(60000));
    assert_true(fabs(count[1] - 30000) < 3.3 * sqrt(30000));
    assert_true(fabs(count[2] - 10000) < 3.3 * sqrt(10000));
}

static void choices_are_those_of_inversion(void **state)
{
    double weights[77], total = 0;
    struct choice *choice;
    struct rng a, b;

    (void)state;
    for (int i = 0; i < 77; i++)
        total += weights[i] = i % 7 == 0 ? 1000 : 1.0 / (i + 1);
    choice = choice_create(arena, weights, 77);
    a = b = rng_stream(1, RNG_TEST, 3);
    for (int n = 0; n < 20000; n++) {
        double at = rng_uniform(&a) * total;
        int expected = 0;

        while (expected < 76 && at >= weights[expected])
            at -= weights[expected++];
        assert_int_equal(choice_draw(choice, &b), expected);
    }
}

static void assert_shares(const char *split, const double *expected, int count)
{
    if (!split_shares(arena, split, false, &options, &err))
        fail_msg("%s", err.text);
    for (int i = 0; i < count; i++)
        assert_true(fabs(options.services[i].share / options.services[0].share -
                         expected[i] / expected[0]) < 1e-12);
}

static void splits_give_the_shares_of_their_rule(void **state)
{
    const double uniform[] = { 1, 1, 1, 1 }, triangle[] = { 4, 3, 2, 1 }, list[] = { 5, 1, 0.5, 2 };
    const double power[] = { 1, 1 / sqrt(2), 1 / sqrt(3), 0.5 };
    const double harmonic[] = { 1, 0.5, 1.0 / 3, 0.25 };

    (void)state;
    assert_true(split_services(arena, "4:bert-", &options, &err));
    assert_int_equal(options.service_count, 4);
    assert_string_equal(options.services[3].name, "bert-3");
    assert_shares("uniform", uniform, 4);
    assert_shares("triangle", triangle, 4);
    assert_shares("power-law", power, 4);
    assert_shares("power-law:1", harmonic, 4);
    assert_shares("power-law:0", uniform, 4);
    assert_shares("list:5,1,0.5,2", list, 4);
    assert_shares("list", list, 4);
}

static void the_rates_of_a_split_sum_to_the_rate(void **state)
{
    double count[20] = { 0 };
    struct workload_request request;
    struct stream *stream;
    double total = 0;

    (void)state;
    assert_true(split_services(arena, "20", &options, &err));
    assert_true(split_shares(arena, "triangle", false, &options, &err));
    options.process = GENERATE_POISSON;
    options.rate_per_s = 210;
    options.duration_ps = 500 * S;
    stream = open_stream();
    assert_true(fabs(stream_rate_per_s(stream) - 210) < 1e-9);
    while (stream_next(stream, &request))
        count[request.service]++;
    for (int i = 0; i < 20; i++) {
        double expected = 500.0 * (20 - i);

        assert_true(fabs(count[i] - expected) < 3.5 * sqrt(expected));
        total += count[i];
    }
    assert_true(fabs(total - 105000) < 3.3 * sqrt(105000));
}

static void wrong_splits_are_refused(void **state)
{
    static const char *const wrong[][2] = {
        { "zipf", "expected uniform, power-law, triangle or list" },
        { "uniform:2", "uniform takes no value" },
        { "triangle:2", "triangle takes no value" },
        { "power-law:-1", "ALPHA from 0 to 10" },
        { "power-law:nan", "ALPHA from 0 to 10" },
        { "power-law:11", "ALPHA from 0 to 10" },
        { "list:1,2", "2 shares for 3 services" },
        { "list:1,2,3,4", "4 shares for 3 services" },
        { "list:1,0,2", "'0' is not a number above 0" },
        { "list:1,,2", "'' is not a number above 0" },
        { "list:", "'' is not a number above 0" },
    };

    (void)state;
    assert_true(split_services(arena, "3", &options, &err));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        err = (struct err)ERR_INIT;
        assert_false(split_shares(arena, wrong[i][0], false, &options, &err));
        if (!strstr(err.text, wrong[i][1]))
            fail_msg("'%s' is not in: %s", wrong[i][1], err.text);
    }
    err = (struct err)ERR_INIT;
    assert_false(split_shares(arena, "triangle", true, &options, &err));
    assert_non_null(strstr(err.text, "shares of its own"));
    err = (struct err)ERR_INIT;
    assert_false(split_services(arena, "3", &options, &err)); /* there are some already */
    options.service_count = 0;
    for (int i = 0; i < 4; i++) {
        static const char *const counts[] = { "0", "-1", "100001", "x:y" };

        err = (struct err)ERR_INIT;
        assert_false(split_services(arena, counts[i], &options, &err));
        assert_non_null(strstr(err.text, "from 1 to 100000"));
    }
}

/* ---- replays ---- */

static const struct workload *rows(void)
{
    struct workload_builder *builder = workload_build(arena, "rows.csv");

    for (int i = 0; i < 5; i++) {
        struct workload_request request = { .request_id = 10 + i,
                                            .arrival_ps = (2 + i * i) * S,
                                            .slo_ps = 7,
                                            .service = i % 2,
                                            .client = -1,
                                            .session = i == 4 ? 0 : -1,
                                            .prompt_tokens = 100 + i,
                                            .output_tokens = 3,
                                            .prefix_tokens = i,
                                            .batch = 1 };

        workload_builder_service(builder, i % 2 ? "b" : "a");
        if (i == 4)
            workload_builder_session(builder, "talk");
        workload_builder_add(builder, &request);
    }
    return workload_builder_finish(builder);
}

static void a_replay_keeps_the_rows(void **state)
{
    const struct workload *original = rows();
    struct workload *workload;

    (void)state;
    options.process = GENERATE_REPLAY;
    options.replay = original;
    options.rate_per_s = 0;
    assert_stream_is_workload();
    workload = generate_open(arena, &options, &err);
    for (size_t i = 0; i < 5; i++) {
        struct workload_request a = workload_at(original, i), b = workload_at(workload, i);

        assert_int_equal(b.request_id, i); /* renumbered */
        a.request_id = b.request_id;
        assert_same(&a, &b);
    }
    assert_string_equal(workload->sessions[0], "talk");
}

static void a_replay_is_scaled_and_cut(void **state)
{
    struct workload *workload;

    (void)state;
    options.process = GENERATE_REPLAY;
    options.replay = rows();
    options.rate_per_s = 0;
    options.time_scale = GENERATE_SCALE_UNIT / 4;
    options.duration_ps = 4 * S;
    workload = generate_open(arena, &options, &err);
    assert_int_equal(workload->count, 4); /* 0.5, 0.75, 1.5, 2.75; 4.5 is too late */
    assert_true(workload->arrivals_ps[3] == 11 * S / 4);
    options.duration_ps = 0;
    options.max_requests = 2;
    assert_stream_is_workload();
    options.time_scale = 0;
    options.max_requests = 0;
    options.rate_per_s = 0.5; /* four gaps in 8 s, not 16 */
    workload = generate_open(arena, &options, &err);
    assert_true(workload->arrivals_ps[4] == 9 * S);
}

static void options_replace_what_a_replay_says(void **state)
{
    struct workload *workload;

    (void)state;
    options.process = GENERATE_REPLAY;
    options.replay = rows();
    options.rate_per_s = 0;
    options.prompt = tokens("constant:5");
    options.slo_ps = 99;
    add_service("other");
    workload = generate_open(arena, &options, &err);
    assert_int_equal(workload->service_count, 1);
    assert_string_equal(workload->services[0], "other");
    assert_int_equal(workload_at(workload, 3).prompt_tokens, 5);
    assert_int_equal(workload_at(workload, 3).prefix_tokens, 0);
    assert_int_equal(workload_at(workload, 3).output_tokens, 3);
    assert_true(workload_at(workload, 3).slo_ps == 99);
}

static void assert_refused(const char *text)
{
    assert_null(stream_open(arena, &options, &err));
    if (!strstr(err.text, text))
        fail_msg("'%s' is not in: %s", text, err.text);
    err = (struct err)ERR_INIT;
}

static void wrong_replays_are_refused(void **state)
{
    struct workload *closed = (struct workload *)(uintptr_t)rows();

    (void)state;
    options.process = GENERATE_REPLAY;
    options.rate_per_s = 0;
    assert_refused("--process replay needs --replay FILE");
    options.replay = closed;
    options.is_merged = true;
    assert_refused("--merged has no meaning");
    options.is_merged = false;
    options.cv = 2;
    assert_refused("--cv has no meaning");
    options.cv = 0;
    options.rate_per_s = 2;
    options.time_scale = 5;
    assert_refused("either --rate or --time-scale");
    options.time_scale = 0;
    options.rate_per_s = 1e-9;
    assert_refused("take 4e+09 s");
    options.rate_per_s = 0;
    options.time_scale = 600000 * GENERATE_SCALE_UNIT;
    assert_refused("would arrive after 9000000 s");
    options.time_scale = 0;
    options.duration_ps = S;
    assert_refused("no request arrives within the duration");
    closed->arrivals_ps[4] = WORKLOAD_CLOSED;
    assert_refused("rows.csv: a row without an arrival_s cannot be replayed");
}

static void what_waits_for_others_is_no_stream(void **state)
{
    (void)state;
    add_service("a");
    options.process = GENERATE_POISSON;
    options.duration_ps = S;
    options.clients = 3;
    assert_refused("--clients: requests that wait for others cannot be streamed");
    options.turns = tokens("constant:3");
    assert_refused("--turns: ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_stream_is_the_generated_workload),
        TEST(ties_go_to_the_service_given_first),
        TEST(a_stream_has_no_limit_but_the_horizon),
        TEST(adding_one_of_a_thousand_services_changes_no_other),
        TEST(the_merge_tree_gives_the_least_and_ties_to_the_lower_slot),
        TEST(merged_streams_draw_their_services_by_share),
        TEST(choices_are_those_of_inversion),
        TEST(splits_give_the_shares_of_their_rule),
        TEST(the_rates_of_a_split_sum_to_the_rate),
        TEST(wrong_splits_are_refused),
        TEST(a_replay_keeps_the_rows),
        TEST(a_replay_is_scaled_and_cut),
        TEST(options_replace_what_a_replay_says),
        TEST(wrong_replays_are_refused),
        TEST(what_waits_for_others_is_no_stream),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
