/* test_describe.c - figures of workloads that can be computed by hand, and the plot. */
#include "sim/workload/describe.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/generate/generate.h"
#include "sim/workload/plot.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define S UNITS_PS_PER_S

static struct arena *arena;
static struct workload_builder *builder;
static struct describe seen;

static int set_up(void **state)
{
    (void)state;
    arena = arena_create();
    builder = workload_build(arena, "w.csv");
    workload_builder_service(builder, "a");
    workload_builder_service(builder, "b");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static struct workload_request *row(int64_t arrival_ps, int32_t service)
{
    static struct workload_request request;

    request = (struct workload_request){ .request_id = (int64_t)workload_builder_count(builder),
                                         .arrival_ps = arrival_ps,
                                         .service = service,
                                         .client = -1,
                                         .session = -1,
                                         .batch = 1 };
    return &request;
}

static void add(int64_t arrival_ps, int32_t service)
{
    workload_builder_add(builder, row(arrival_ps, service));
}

static void look(void)
{
    describe_fill(arena, &seen, workload_builder_finish(builder));
}

static const char *text(bool is_utf8)
{
    struct out *out = out_open_memory(arena);

    describe_text(arena, &seen, is_utf8, out);
    return out_memory(out, NULL);
}

static const struct json *json(void)
{
    struct err err = ERR_INIT;
    struct out *out = out_open_memory(arena);
    const struct json *parsed;

    describe_json(arena, &seen, out);
    parsed = json_parse(arena, out_memory(out, NULL), "json", &err);
    assert_non_null(parsed);
    return parsed;
}

static double number(const struct json *object, const char *key)
{
    double value = 0;

    assert_true(json_double(json_get(object, key), &value));
    return value;
}

static void assert_near(double value, double expected)
{
    if (!(fabs(value - expected) < 1e-9))
        fail_msg("%.12g, expected %.12g", value, expected);
}

static void assert_line(const char *all, const char *line)
{
    if (!strstr(all, line))
        fail_msg("'%s' is not in:\n%s", line, all);
}

/* Gaps of 1, 3, 1 and 3 s: mean 2, standard deviation 1. */
static void rates_and_variation_are_those_of_the_gaps(void **state)
{
    static const int64_t at_s[] = { 10, 11, 14, 15, 18 };

    (void)state;
    for (int i = 0; i < 5; i++)
        add(at_s[i] * S, i % 2);
    look();
    assert_int_equal(seen.all.rows, 5);
    assert_near(seen.all.rate_per_s, 0.5);
    assert_near(seen.all.gap_cv, 0.5);
    assert_near(seen.burstiness, -1.0 / 3);
    assert_near(seen.services[0].rate_per_s, 0.25); /* 10, 14, 18 */
    assert_near(seen.services[0].gap_cv, 0);
    assert_near(seen.services[1].rate_per_s, 0.25); /* 11, 15 */
    assert_true(isnan(seen.dispersion));            /* five are too few */
    assert_line(text(false), "requests   5: 5 arrive by themselves, 0 wait for others\n");
    assert_line(text(false), "arrivals   from 10.0 s to 18.0 s, 0.5/s\n");
    assert_line(text(false), "gaps       cv 0.5, burstiness -0.3333\n"
                             "peak       5/s in a bin of 200 ms\n");
    assert_near(number(json(), "rate_per_s"), 0.5);
    assert_near(number(json(), "gap_cv_ratio"), 0.5);
    assert_near(number(json_at(json_get(json(), "services"), 1), "share_ratio"), 0.4);
}

static void dispersion_tells_bursts_from_even_arrivals(void **state)
{
    (void)state;
    for (int i = 0; i <= 100; i++)
        add(i * S, 0);
    look();
    assert_true(seen.dispersion < 0.02);
    assert_true(seen.window_ps == 10 * S);
    builder = workload_build(arena, "w.csv");
    workload_builder_service(builder, "a");
    for (int i = 0; i < 100; i++)
        add(i < 99 ? i * S / 1000 : 100 * S, 0);
    look();
    /* Ten windows: 99 in the first, 1 in the last. */
    assert_near(seen.dispersion, (89.0 * 89 + 9 * 9 + 8 * 100) / 9 / 10);
}

static void lengths_and_objectives_are_summarized(void **state)
{
    (void)state;
    for (int i = 1; i <= 101; i++) {
        struct workload_request *request = row(i * S, 0);

        request->prompt_tokens = i;
        request->output_tokens = 2 * i;
        request->slo_ps = i == 7 ? 3 * S : 0;
        request->batch = i == 9 ? 4 : 1;
        workload_builder_add(builder, request);
    }
    look();
    assert_near(seen.prompt.mean, 51);
    assert_int_equal(seen.prompt.summary.p50, 51);
    assert_int_equal(seen.prompt.summary.p90, 91);
    assert_int_equal(seen.prompt.summary.p99, 100);
    assert_int_equal(seen.output.summary.max, 202);
    assert_int_equal(seen.slo.summary.count, 1);
    assert_int_equal(seen.batch.summary.count, 101);
    assert_int_equal(seen.prefix.summary.count, 0);
    assert_line(text(false),
                "prompt tokens            101        51.0        51        91       100"
                "       101\n");
    assert_line(text(false), "objective                  1      3.00 s    3.00 s");
    assert_near(number(json_get(json(), "output_tokens"), "p99"), 200);
    assert_null(json_get(json(), "prefix_tokens"));
}

static void closed_loops_have_no_rate(void **state)
{
    (void)state;
    workload_builder_client(builder, "c0");
    workload_builder_client(builder, "c1");
    workload_builder_session(builder, "s");
    for (int i = 0; i < 7; i++) {
        struct workload_request *request = row(WORKLOAD_CLOSED, 0);

        request->client = i == 0;
        request->session = i < 3 ? 0 : -1;
        request->think_ps = i * S;
        workload_builder_add(builder, request);
    }
    look();
    assert_int_equal(seen.all.arrivals, 0);
    assert_int_equal(seen.think.summary.count, 7);
    assert_near(seen.client_requests.mean, 3.5);
    assert_int_equal(seen.client_requests.summary.max, 6);
    assert_near(seen.session_turns.mean, 3);
    assert_line(text(false), "requests   7: 0 arrive by themselves, 7 wait for others\n"
                             "clients    2, 3.5 requests each in the mean, at most 6\n"
                             "sessions   1, 3 turns each in the mean, at most 3\n");
    assert_null(strstr(text(false), "arrivals in bins"));
    assert_null(json_get(json(), "rate_per_s"));
    assert_null(json_get(json(), "histogram"));
}

static void rows_that_wait_are_in_no_bin(void **state)
{
    size_t total = 0;

    (void)state;
    workload_builder_session(builder, "s");
    for (int i = 0; i < 200; i++) {
        struct workload_request *request = row(i % 2 ? WORKLOAD_CLOSED : (i + 5) * S, 0);

        request->session = 0;
        workload_builder_add(builder, request);
    }
    look();
    for (int i = 0; i < seen.bin_count; i++)
        total += seen.bins[i];
    assert_int_equal(total, 100);
    assert_near(seen.all.rate_per_s, 0.5);
    assert_true(seen.dispersion < 0.2);
}

static void one_instant_has_no_rate_either(void **state)
{
    (void)state;
    add(5 * S, 0);
    look();
    assert_true(isnan(seen.all.rate_per_s));
    assert_line(text(false), "arrivals   from 5.00 s to 5.00 s\ngaps       cv -, burstiness -\n");
    builder = workload_build(arena, "w.csv");
    workload_builder_service(builder, "a");
    add(5 * S, 0);
    add(5 * S, 0);
    look();
    assert_true(isnan(seen.all.rate_per_s));
    assert_int_equal(seen.bin_count, 0);
}

static size_t columns_of(const char *line)
{
    size_t count = 0;

    for (; *line && *line != '\n'; line++)
        count += ((unsigned char)*line & 0xc0) != 0x80;
    return count;
}

/* Whatever the span, at most 65 bins of a round length hold every arrival, in at most 80 columns.
 */
static void bins_hold_every_arrival(void **state)
{
    int64_t span_ps = 1;

    (void)state;
    for (int power = 0; power < 62; power++, span_ps *= 2) {
        int64_t from_ps = power % 2 ? 0 : 7 * S;
        size_t total = 0;

        if (span_ps + from_ps > UNITS_MAX_PS)
            break;
        builder = workload_build(arena, "w.csv");
        workload_builder_service(builder, "a");
        for (int i = 0; i <= 200; i++)
            add(from_ps + (int64_t)((double)span_ps / 200 * i), 0);
        look();
        assert_in_range(seen.bin_count, 1, DESCRIBE_MAX_BINS);
        for (int i = 0; i < seen.bin_count; i++)
            total += seen.bins[i];
        assert_int_equal(total, 201);
        for (int utf8 = 0; utf8 < 2; utf8++)
            for (const char *line = text(utf8); *line; line = strchr(line, '\n') + 1)
                if (columns_of(line) > 80)
                    fail_msg("%zu columns: %.*s", columns_of(line), (int)strcspn(line, "\n"), line);
    }
}

static void only_the_largest_of_many_services_are_listed(void **state)
{
    (void)state;
    builder = workload_build(arena, "w.csv");
    for (int s = 0; s < 30; s++)
        workload_builder_service(builder, arena_printf(arena, "s%d", s));
    for (int i = 0; i < 435; i++) { /* s has s requests, and s0 none */
        int s = 1;

        for (int left = i; left >= s; s++)
            left -= s;
        add(i * S, s);
    }
    look();
    assert_line(text(false), "\ns29                                       29");
    assert_line(text(false), "\ns10                                       10");
    assert_null(strstr(text(false), "\ns9 "));
    assert_line(text(false), "and 10 more services\n");
    assert_int_equal(json_count(json_get(json(), "services")), 30);
}

static void columns_are_drawn_in_eighths(void **state)
{
    static const size_t values[] = { 64, 0, 1, 32, 63 };
    struct out *out = out_open_memory(arena);

    (void)state;
    plot_columns(out, values, 5, "9/s", "0 s", "5 s", false);
    assert_string_equal(out_memory(out, NULL),
                        "       9/s |########                        ||||||||\n"
                        "           |########                        ########\n"
                        "           |########                        ########\n"
                        "           |########                        ########\n"
                        "           |########                ################\n"
                        "           |########                ################\n"
                        "           |########                ################\n"
                        "           |########        ........################\n"
                        "         0 +----------------------------------------\n"
                        "            0 s                                  5 s\n");
    out = out_open_memory(arena);
    plot_columns(out, values + 2, 1, "1/s", "0 s", "1 s", true);
    assert_non_null(strstr(out_memory(out, NULL), "1/s |\u2588\u2588"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rates_and_variation_are_those_of_the_gaps),
        TEST(dispersion_tells_bursts_from_even_arrivals),
        TEST(lengths_and_objectives_are_summarized),
        TEST(closed_loops_have_no_rate),
        TEST(rows_that_wait_are_in_no_bin),
        TEST(one_instant_has_no_rate_either),
        TEST(bins_hold_every_arrival),
        TEST(only_the_largest_of_many_services_are_listed),
        TEST(columns_are_drawn_in_eighths),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
