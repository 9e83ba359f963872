/* test_check.c - predicted against measured: pairs, errors, exclusions, bad input. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/json.h"
#include "lib/format/trace.h"
#include "sim/report/compare.h"
#include "sim/report/compare_print.h"
#include <math.h>

#define HEADER                                                                                     \
    "request_id,service,replica,arrival_s,start_s,first_token_s,finish_s,prompt_tokens,"           \
    "output_tokens,client,status\n"

static struct compare compare;
static const struct compare_report report = { .requests = &compare };
static struct compare_excluded excluded;

static bool run(const char *predicted_rows, const char *real_rows)
{
    struct trace_requests predicted, real;

    fixture.err = (struct err)ERR_INIT;
    fixture_write("p.csv", arena_printf(fixture.arena, HEADER "%s", predicted_rows));
    fixture_write("r.csv", arena_printf(fixture.arena, HEADER "%s", real_rows));
    return trace_requests_load(fixture.arena, fixture_path("p.csv"), &predicted, &fixture.err) &&
           trace_requests_load(fixture.arena, fixture_path("r.csv"), &real, &fixture.err) &&
           compare_run(fixture.arena, &predicted, &real, &excluded, &compare, &fixture.err);
}

static void must_run(const char *predicted_rows, const char *real_rows)
{
    if (!run(predicted_rows, real_rows))
        fail_msg("%s", fixture.err.text);
}

static int set_up(void **state)
{
    memset(&excluded, 0, sizeof(excluded));
    return fixture_set_up(state);
}

static void assert_ratio(double actual, double expected)
{
    assert_true(fabs(actual - expected) < 1e-12);
}

static void errors_are_relative_to_what_was_measured(void **state)
{
    (void)state;
    must_run("0,s,0,0,0,1.1,3.1,8,5,,ok\n1,s,0,1,1,2.8,5.8,8,5,,ok\n",
             "0,s,0,0,0,1.0,3.0,8,5,,ok\n1,s,0,1,1,3.0,6.0,8,5,,ok\n");
    assert_int_equal(compare.kept.pairs, 2);
    assert_int_equal(compare.missing, 0);
    assert_ratio(compare.kept.latency.mare, (0.1 / 3 + 0.2 / 5) / 2);
    assert_ratio(compare.kept.latency.mean_error_ratio, (7.9 - 8.0) / 8.0);
    assert_ratio(compare.kept.latency.p50_error_ratio, (7.9 - 8.0) / 8.0);
    assert_ratio(compare.kept.latency.p90_error_ratio, (4.63 - 4.8) / 4.8);
    assert_ratio(compare.kept.ttft.mare, (0.1 + 0.1) / 2);
    assert_int_equal(compare.kept.tpot.predicted.mean, 625 * MS);
    assert_ratio(compare.kept.tpot.mean_error_ratio, 0);
    assert_int_equal(compare.kept.latency.real.mean, 4 * UNITS_PS_PER_S);
    assert_int_equal(compare.worst.count, 2);
    assert_int_equal(compare.worst.item[0].request_id, 1);
    assert_ratio(compare.worst.item[0].error_ratio, -0.04);
}

static void row_order_is_no_matter(void **state)
{
    struct compare first;

    (void)state;
    must_run("0,s,0,0,0,,3.1,,,,ok\n1,s,0,1,1,,5.8,,,,ok\n",
             "0,s,0,0,0,,3.0,,,,ok\n1,s,0,1,1,,6.0,,,,ok\n");
    first = compare;
    must_run("1,s,0,1,1,,5.8,,,,ok\n0,s,0,0,0,,3.1,,,,ok\n",
             "0,s,0,0,0,,3.0,,,,ok\n1,s,0,1,1,,6.0,,,,ok\n");
    assert_ratio(compare.kept.latency.mare, first.kept.latency.mare);
    assert_int_equal(compare.worst.item[0].request_id, first.worst.item[0].request_id);
}

static void ids_of_one_file_are_missing_and_others_are_counted(void **state)
{
    (void)state;
    must_run("0,s,0,0,0,,3,,,,ok\n1,s,0,1,1,,5,,,,ok\n2,s,,1,,,,,,,refused\n9,s,0,1,1,,5,,,,ok\n",
             "1,s,0,1,1,,5,,,,ok\n2,s,0,1,1,,6,,,,ok\n5,s,0,1,1,,5,,,,ok\n6,s,0,1,1,,5,,,,ok\n");
    assert_int_equal(compare.kept.pairs, 1);
    assert_int_equal(compare.missing, 4);
    assert_int_equal(compare.not_ok, 1);
    assert_ratio(compare.kept.latency.mare, 0);
}

static void executables_have_neither_ttft_nor_tpot(void **state)
{
    struct out *out = out_open_memory(fixture.arena);
    const struct json *json;

    (void)state;
    must_run("0,s,0,0,0,,3.1,,,,ok\n", "0,s,0,0,0,,3.0,,,,ok\n");
    compare_json(fixture.arena, &report, out);
    json = json_parse(fixture.arena, out_memory(out, NULL), "json", &fixture.err);
    assert_non_null(json);
    assert_null(json_get(json, "ttft"));
    assert_null(json_get(json, "tpot"));
    assert_non_null(json_get(json_get(json, "latency"), "p99_error_ratio"));
    assert_non_null(strstr(out_memory(out, NULL), "\"ttft\": null"));
}

static void encoders_have_ttft_but_no_tpot(void **state)
{
    (void)state;
    must_run("0,s,0,0,0,3,3,128,,,ok\n", "0,s,0,0,0,2,2,128,,,ok\n");
    assert_ratio(compare.kept.ttft.mare, 0.5);
    assert_int_equal(compare.kept.tpot.pairs, 0);
}

static void the_worst_five_are_named_largest_first(void **state)
{
    struct out *predicted = out_open_memory(fixture.arena), *real = out_open_memory(fixture.arena);
    struct out *text = out_open_memory(fixture.arena);
    static const int late_ms[8] = { 30, 10, 80, 20, 70, 80, 0, 50 };

    (void)state;
    for (int i = 0; i < 8; i++) {
        out_printf(predicted, "%d,s,0,0,0,,1.%03d,,,,ok\n", i, late_ms[i]);
        out_printf(real, "%d,s,0,0,0,,1,,,,ok\n", i);
    }
    must_run(out_memory(predicted, NULL), out_memory(real, NULL));
    assert_int_equal(compare.worst.count, COMPARE_WORST);
    assert_int_equal(compare.worst.item[0].request_id, 2); /* a tie: the lower id first */
    assert_int_equal(compare.worst.item[1].request_id, 5);
    assert_int_equal(compare.worst.item[2].request_id, 4);
    assert_int_equal(compare.worst.item[3].request_id, 7);
    assert_int_equal(compare.worst.item[4].request_id, 0);
    compare_text(&report, text);
    assert_non_null(strstr(out_memory(text, NULL), "  request 2             1.08 s        1.00 s"));
    assert_non_null(strstr(out_memory(text, NULL), "+8.00 %"));
}

static void excluded_requests_are_left_out_of_both(void **state)
{
    (void)state;
    fixture_write("x.csv", "request_id,why\n# stalls\n\n1,host stall\n3-5\n");
    assert_true(
        compare_load_excluded(fixture.arena, fixture_path("x.csv"), NULL, &excluded, &fixture.err));
    assert_int_equal(excluded.count, 2);
    must_run("0,s,0,0,0,,3,,,,ok\n1,s,0,0,0,,9,,,,ok\n4,s,0,0,0,,3,,,,ok\n",
             "0,s,0,0,0,,3,,,,ok\n1,s,0,0,0,,3,,,,ok\n3,s,0,0,0,,3,,,,ok\n");
    assert_int_equal(compare.kept.pairs, 1);
    assert_int_equal(compare.missing, 0);
    assert_int_equal(compare.excluded, 2);
    assert_ratio(compare.kept.latency.mare, 0);
}

static void exclusions_are_sorted_and_merged(void **state)
{
    (void)state;
    fixture_write("x.csv",
                  "9223372036854775807\n20-30\n7\n5-6\n25-40\n1-10\n22\n0-9223372036854775806\n");
    assert_true(
        compare_load_excluded(fixture.arena, fixture_path("x.csv"), NULL, &excluded, &fixture.err));
    assert_int_equal(excluded.count, 1);
    assert_int_equal(excluded.ranges[0].first, 0);
    assert_int_equal(excluded.ranges[0].last, INT64_MAX);
    fixture_write("x.csv", "20-30\n7\n5-6\n25-40\n3\n22\n41,touches\n");
    assert_true(
        compare_load_excluded(fixture.arena, fixture_path("x.csv"), NULL, &excluded, &fixture.err));
    assert_int_equal(excluded.count, 3);
    assert_int_equal(excluded.ranges[0].last, 3);
    assert_int_equal(excluded.ranges[1].first, 5);
    assert_int_equal(excluded.ranges[1].last, 7);
    assert_int_equal(excluded.ranges[2].first, 20);
    assert_int_equal(excluded.ranges[2].last, 41);
    must_run("2,s,0,0,0,,3,,,,ok\n4,s,0,0,0,,3,,,,ok\n8,s,0,0,0,,3,,,,ok\n",
             "2,s,0,0,0,,3,,,,ok\n3,s,0,0,0,,3,,,,ok\n4,s,0,0,0,,3,,,,ok\n5,s,0,0,0,,3,,,,ok\n"
             "7,s,0,0,0,,3,,,,ok\n8,s,0,0,0,,3,,,,ok\n20,s,0,0,0,,3,,,,ok\n41,s,0,0,0,,3,,,,ok\n");
    assert_int_equal(compare.kept.pairs, 3);
    assert_int_equal(compare.missing, 0);
    assert_int_equal(compare.excluded, 5);
}

/* A remark of this many bytes, then a bad line, so that the line number shows. */
static const char *long_remark(size_t length)
{
    char *remark = arena_alloc(fixture.arena, length + 1);

    memset(remark, '7', length);
    return arena_printf(fixture.arena, "12,%s\n5-3\n", remark);
}

static void remarks_of_exclusions_may_be_long(void **state)
{
    (void)state;
    fixture_write("x.csv", arena_printf(fixture.arena, "12,%0300d\n13\n", 9));
    assert_true(
        compare_load_excluded(fixture.arena, fixture_path("x.csv"), NULL, &excluded, &fixture.err));
    assert_int_equal(excluded.count, 1);
    assert_int_equal(excluded.ranges[0].first, 12);
    assert_int_equal(excluded.ranges[0].last, 13);
    fixture_write("x.csv", long_remark((1 << 20) - 3));
    assert_false(
        compare_load_excluded(fixture.arena, fixture_path("x.csv"), NULL, &excluded, &fixture.err));
    assert_non_null(strstr(fixture.err.text, "x.csv:2:1: request_id is '5-3'"));
    fixture.err = (struct err)ERR_INIT;
    fixture_write("x.csv", long_remark((1 << 20) - 2));
    assert_false(
        compare_load_excluded(fixture.arena, fixture_path("x.csv"), NULL, &excluded, &fixture.err));
    assert_non_null(strstr(fixture.err.text, "x.csv:1: line is longer than 1048576 bytes"));
}

static void exclusions_come_from_stdin_when_asked(void **state)
{
    int kept = dup(STDIN_FILENO);
    bool ok;

    (void)state;
    fixture_write("x.csv", "1\n2\n9,late\n");
    assert_non_null(freopen(fixture_path("x.csv"), "r", stdin));
    ok = compare_load_excluded(fixture.arena, "-", NULL, &excluded, &fixture.err);
    assert_true(ok);
    assert_int_equal(excluded.count, 2);
    assert_int_equal(excluded.ranges[1].first, 9);
    assert_false(compare_load_excluded(fixture.arena, "-", NULL, &excluded, &fixture.err));
    assert_non_null(strstr(fixture.err.text, "stdin: read to its end already"));
    assert_int_equal(dup2(kept, STDIN_FILENO), STDIN_FILENO);
    close(kept);
    clearerr(stdin);
}

static void bad_exclusions_are_named(void **state)
{
    static const char *const bad[] = {
        "x", "-1", "5-3", "1-", "1-x", "1e3", "99999999999999999999"
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fixture.err = (struct err)ERR_INIT;
        fixture_write("x.csv", arena_printf(fixture.arena, "1\n%s\n", bad[i]));
        assert_false(compare_load_excluded(fixture.arena, fixture_path("x.csv"), NULL, &excluded,
                                           &fixture.err));
        assert_non_null(
            strstr(fixture.err.text,
                   arena_printf(fixture.arena, "x.csv:2:1: request_id is '%s'", bad[i])));
    }
    fixture.err = (struct err)ERR_INIT;
    assert_false(compare_load_excluded(fixture.arena, fixture_path("none.csv"), NULL, &excluded,
                                       &fixture.err));
    assert_int_equal(fixture.err.kind, ERR_SYSTEM);
    fixture.err = (struct err)ERR_INIT;
    assert_false(
        compare_load_excluded(fixture.arena, fixture.folder, NULL, &excluded, &fixture.err));
}

static void e2e_counts_where_both_files_have_it(void **state)
{
    struct trace_requests predicted, real;

    (void)state;
    must_run("0,s,0,0,0,,3.1,,,,ok\n", "0,s,0,0,0,,3.0,,,,ok\n");
    assert_int_equal(compare.kept.e2e.pairs, 0);
    fixture_write("p.csv", "request_id,service,replica,arrival_s,start_s,first_token_s,finish_s,"
                           "e2e_s\n0,s,0,0,0,,3,4\n1,s,0,0,0,,3,\n2,s,0,0,0,,3,5\n");
    fixture_write("r.csv", "request_id,service,replica,arrival_s,start_s,first_token_s,finish_s,"
                           "e2e_s\n0,s,0,0,0,,3,5\n1,s,0,0,0,,3,5\n2,s,0,0,0,,3,4\n");
    assert_true(
        trace_requests_load(fixture.arena, fixture_path("p.csv"), &predicted, &fixture.err));
    assert_true(trace_requests_load(fixture.arena, fixture_path("r.csv"), &real, &fixture.err));
    assert_true(compare_run(fixture.arena, &predicted, &real, NULL, &compare, &fixture.err));
    assert_int_equal(compare.kept.e2e.pairs, 2);
    assert_ratio(compare.kept.e2e.mare, (0.2 + 0.25) / 2);
    assert_ratio(compare.kept.latency.mare, 0);
}

static void errors_with_the_excluded_requests_are_kept_apart(void **state)
{
    struct out *text = out_open_memory(fixture.arena), *out = out_open_memory(fixture.arena);
    const struct json *json;
    double mare;

    (void)state;
    fixture_write("x.csv", "1\n");
    assert_true(
        compare_load_excluded(fixture.arena, fixture_path("x.csv"), NULL, &excluded, &fixture.err));
    must_run("0,s,0,0,0,,3,,,,ok\n1,s,0,0,0,,9,,,,ok\n",
             "0,s,0,0,0,,3,,,,ok\n1,s,0,0,0,,6,,,,ok\n");
    assert_int_equal(compare.kept.pairs, 1);
    assert_ratio(compare.kept.latency.mare, 0);
    assert_int_equal(compare.all.pairs, 2);
    assert_ratio(compare.all.latency.mare, 0.25);
    assert_int_equal(compare.worst.count, 1);
    compare_text(&report, text);
    assert_non_null(strstr(out_memory(text, NULL), "with the excluded requests, 2 pairs:"));
    compare_json(fixture.arena, &report, out);
    json = json_parse(fixture.arena, out_memory(out, NULL), "json", &fixture.err);
    json = json_get(json, "with_excluded");
    assert_true(json_double(json_get(json_get(json, "latency"), "mare"), &mare));
    assert_ratio(mare, 0.25);
    assert_null(json_get(json, "timeline"));
}

static void what_is_excluded_need_not_be_comparable(void **state)
{
    (void)state;
    fixture_write("x.csv", "7\n8\n");
    assert_true(
        compare_load_excluded(fixture.arena, fixture_path("x.csv"), NULL, &excluded, &fixture.err));
    must_run("0,s,0,0,0,,3,,,,ok\n7,s,0,2,2,,3,,,,ok\n8,s,0,2,2,,3,5,,,ok\n",
             "0,s,0,0,0,,3,,,,ok\n7,s,0,2,2,,2,,,,ok\n8,s,0,2,2,,3,6,,,ok\n");
    assert_int_equal(compare.kept.pairs, 1);
    assert_int_equal(compare.all.pairs, 3);
    assert_int_equal(compare.all.latency.pairs, 2); /* 7 took no time */
}

#define ANOMALIES "trace_id,first_request,last_request,requests,what\n"

static bool load_table(const char *text, const char *trace_id)
{
    fixture.err = (struct err)ERR_INIT;
    fixture_write("x.csv", text);
    return compare_load_excluded(fixture.arena, fixture_path("x.csv"), trace_id, &excluded,
                                 &fixture.err);
}

static void a_table_of_anomalies_is_read_by_trace(void **state)
{
    static const char text[] = "# orrery: anomalies 1\n\n" ANOMALIES "interop,780,782,3,\"stall, "
                               "17 ms\"\nintraop,1022,1022,1,slow\ninterop,5,6,,\n";

    (void)state;
    assert_true(load_table(text, "interop"));
    assert_int_equal(excluded.count, 2);
    assert_int_equal(excluded.ranges[0].first, 5);
    assert_int_equal(excluded.ranges[0].last, 6);
    assert_int_equal(excluded.ranges[1].first, 780);
    assert_int_equal(excluded.ranges[1].last, 782);
    assert_true(load_table(text, "intraop"));
    assert_int_equal(excluded.count, 1);
    assert_int_equal(excluded.ranges[0].first, 1022);
    assert_true(load_table("\xef\xbb\xbf" ANOMALIES "a,1,2,2,\r\n", NULL)); /* of one trace */
    assert_true(load_table("last_request,first_request\n2,1\n4,4\n", NULL));
    assert_int_equal(excluded.count, 2);
    assert_true(load_table(ANOMALIES, NULL));
    assert_int_equal(excluded.count, 0);
}

static void bad_tables_of_anomalies_are_located(void **state)
{
    static const struct {
        const char *text, *trace_id, *error;
    } bad[] = {
        { ANOMALIES "a,1,2,,\nb,3,3,,\n", NULL,
          "x.csv:3:1: trace_id is 'b': rows of more than one trace: name one with "
          "--exclude-trace" },
        { ANOMALIES "interop,1,2,,\n", "intrrop",
          "no row of trace 'intrrop'; did you mean 'interop'?" },
        { ANOMALIES "interop,1,2,,\n", "baseline", "x.csv: no row of trace 'baseline'" },
        { ANOMALIES "a,2,1,,\n", NULL, "x.csv:2:3: last_request is '1': must not be below" },
        { ANOMALIES "a,-1,1,,\n", NULL, "x.csv:2:2: first_request is '-1'" },
        { ANOMALIES "a,1,,,\n", NULL, "x.csv:2:3: last_request is '': must not be empty" },
        { ANOMALIES "a,1,2,3,\n", NULL, "x.csv:2:4: requests is '3': expected last_request" },
        { ANOMALIES "a,0,9223372036854775807,5,\n", NULL, "x.csv:2:4: requests is '5'" },
        { "# orrery: workload 1\n" ANOMALIES, NULL, "x.csv:1: the file says that it is" },
        { "first_request,lst_request\n1,2\n", NULL,
          "x.csv:1:2: unknown column 'lst_request'; did you mean 'last_request'?" },
        { "first_request,last_request\n1,2\n", "a", "the table has no column 'trace_id'" },
        { "1\n", "a", "x.csv: --exclude-trace is 'a', but this is a list of ids" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(load_table(bad[i].text, bad[i].trace_id));
        if (!strstr(fixture.err.text, bad[i].error))
            fail_msg("case %zu: '%s' does not say '%s'", i, fixture.err.text, bad[i].error);
    }
}

static void the_anomalies_of_real_traces_are_read_as_they_are(void **state)
{
    const char *path = "../shared/data/dlsim/anomalies.csv";

    (void)state;
    if (access(path, R_OK) != 0) {
        print_message("%s is not here\n", path);
        skip();
    }
    assert_true(compare_load_excluded(fixture.arena, path, "bert125m_interop_30hz", &excluded,
                                      &fixture.err));
    assert_int_equal(excluded.count, 1);
    assert_int_equal(excluded.ranges[0].first, 780);
    assert_int_equal(excluded.ranges[0].last, 782);
}

/* The farthest apart that a file can say: differences saturate instead of wrapping around. */
static void times_at_the_ends_of_the_range_are_compared(void **state)
{
    (void)state;
    must_run("0,s,0,-9000000,0,,9000000,,,,ok\n", "0,s,0,0,0,,9000000,,,,ok\n");
    assert_int_equal(compare.kept.latency.predicted.mean, INT64_MAX);
    assert_ratio(compare.kept.latency.mare, (double)INT64_MAX / 9e18 - 1);
}

static void what_cannot_be_compared_is_an_error(void **state)
{
    (void)state;
    assert_false(run("0,s,0,0,0,,3,,,,ok\n", "1,s,0,0,0,,3,,,,ok\n"));
    assert_non_null(strstr(fixture.err.text, "nothing to compare"));
    assert_false(run("7,s,0,2,2,,3,,,,ok\n", "7,s,0,2,2,,2,,,,ok\n"));
    assert_non_null(strstr(fixture.err.text, "measured request 7"));
    assert_false(run("0,s,0,0,0,,3,,,,ok\n", "0,s,0,0,0,,3,,,,ok\n0,s,0,0,0,,3,,,,ok\n"));
    assert_false(run("0,s,0,0,0,,3,,,,ok\n0,s,0,0,0,,3,,,,ok\n", "0,s,0,0,0,,3,,,,ok\n"));
}

static void the_table_fits_a_terminal(void **state)
{
    struct out *out = out_open_memory(fixture.arena);
    const char *text;

    (void)state;
    must_run("123456789012,s,0,0,0,1.1,3.1,8,5,,ok\n", "123456789012,s,0,0,0,1.0,3.0,8,5,,ok\n");
    compare_text(&report, out);
    text = out_memory(out, NULL);
    assert_non_null(strstr(text, "TTFT"));
    assert_non_null(strstr(text, "TPOT"));
    assert_non_null(strstr(text, "MARE"));
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(errors_are_relative_to_what_was_measured),
        TEST(row_order_is_no_matter),
        TEST(ids_of_one_file_are_missing_and_others_are_counted),
        TEST(executables_have_neither_ttft_nor_tpot),
        TEST(encoders_have_ttft_but_no_tpot),
        TEST(the_worst_five_are_named_largest_first),
        TEST(excluded_requests_are_left_out_of_both),
        TEST(exclusions_are_sorted_and_merged),
        TEST(remarks_of_exclusions_may_be_long),
        TEST(exclusions_come_from_stdin_when_asked),
        TEST(bad_exclusions_are_named),
        TEST(e2e_counts_where_both_files_have_it),
        TEST(errors_with_the_excluded_requests_are_kept_apart),
        TEST(what_is_excluded_need_not_be_comparable),
        TEST(a_table_of_anomalies_is_read_by_trace),
        TEST(bad_tables_of_anomalies_are_located),
        TEST(the_anomalies_of_real_traces_are_read_as_they_are),
        TEST(times_at_the_ends_of_the_range_are_compared),
        TEST(what_cannot_be_compared_is_an_error),
        TEST(the_table_fits_a_terminal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
