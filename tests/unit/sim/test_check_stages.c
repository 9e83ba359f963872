/* test_check_stages.c - predicted against measured, stage by stage and device by device. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/json.h"
#include "lib/format/trace.h"
#include "sim/report/compare.h"
#include "sim/report/compare_print.h"
#include "sim/report/compare_stages.h"
#include <math.h>

#define HEADER "request_id,service,replica,arrival_s,start_s,first_token_s,finish_s,status\n"
#define STAGE_HEADER "request_id,service,replica,stage,device,start_s,finish_s,step,phase\n"
/* Two requests of service s: they arrive at 0 and 10 s. */
#define TWO "0,s,0,0,,,5,\n1,s,0,10,,,15,\n"

static struct compare compare;
static struct compare_excluded excluded;
static struct compare_stages stages, all_stages;
static struct compare_usage usage;
static struct compare_report report = { .requests = &compare };

static void load_requests(const char *name, const char *rows, struct trace_requests *requests)
{
    fixture_write(name, arena_printf(fixture.arena, HEADER "%s", rows));
    if (!trace_requests_load(fixture.arena, fixture_path(name), requests, &fixture.err))
        fail_msg("%s", fixture.err.text);
}

/* Requests and stages of both files, as cmd_check has them. */
static bool run_all(const char *predicted_requests, const char *predicted_rows,
                    const char *real_requests, const char *real_rows)
{
    struct trace_requests predicted, real;
    struct trace_stages p, r;

    fixture.err = (struct err)ERR_INIT;
    load_requests("p.csv", predicted_requests, &predicted);
    load_requests("r.csv", real_requests, &real);
    fixture_write("ps.csv", arena_printf(fixture.arena, STAGE_HEADER "%s", predicted_rows));
    fixture_write("rs.csv", arena_printf(fixture.arena, STAGE_HEADER "%s", real_rows));
    if (!compare_run(fixture.arena, &predicted, &real, &excluded, &compare, &fixture.err) ||
        !trace_stages_load(fixture.arena, fixture_path("ps.csv"), &p, &fixture.err) ||
        !trace_stages_load(fixture.arena, fixture_path("rs.csv"), &r, &fixture.err) ||
        !compare_stages_run(fixture.arena, &p, &r, &compare.kept, &excluded, &stages, &fixture.err))
        return false;
    usage = compare_usage_of(fixture.arena, &p, &r, &compare.kept.matches[0], &excluded);
    report.stages = &stages;
    report.usage = &usage;
    report.all_stages = NULL;
    if (compare.all.pairs == 0)
        return true;
    report.all_stages = &all_stages;
    return compare_stages_run(fixture.arena, &p, &r, &compare.all, NULL, &all_stages, &fixture.err);
}

static void must_run(const char *predicted_rows, const char *real_rows)
{
    if (!run_all(TWO, predicted_rows, TWO, real_rows))
        fail_msg("%s", fixture.err.text);
}

static int set_up(void **state)
{
    memset(&excluded, 0, sizeof(excluded));
    return fixture_set_up(state);
}

static void assert_ratio(double actual, double expected)
{
    if (fabs(actual - expected) > 1e-12)
        fail_msg("%.17g is not %.17g", actual, expected);
}

static void service_times_are_compared_stage_by_stage(void **state)
{
    (void)state;
    must_run("0,s,0,0,a,0,1.1,,\n0,s,0,1,b,1.1,3.1,,\n1,s,0,0,a,10,10.9,,\n1,s,0,1,b,11,13,,\n",
             "0,s,0,0,a,0,1,,\n0,s,0,1,b,1,3,,\n1,s,0,0,a,10,11,,\n1,s,0,1,b,11,15,,\n");
    assert_int_equal(stages.pairs, 4);
    assert_int_equal(stages.missing, 0);
    assert_int_equal(stages.stage_count, 2);
    assert_string_equal(stages.stages[0].service, "s");
    assert_int_equal(stages.stages[0].stage, 0);
    assert_int_equal(stages.stages[0].phase, OP_ANY);
    assert_int_equal(stages.stages[0].pairs, 2);
    assert_ratio(stages.stages[0].time.mare, 0.1);
    assert_ratio(stages.stages[0].time.mean_error_ratio, 0);
    assert_int_equal(stages.stages[1].stage, 1);
    assert_ratio(stages.stages[1].time.mare, 0.25);
    assert_ratio(stages.stages[1].time.mean_error_ratio, -1.0 / 3);
    assert_int_equal(stages.stages[1].worst.count, 2);
    assert_int_equal(stages.stages[1].worst.item[0].request_id, 1);
    assert_ratio(stages.stages[1].worst.item[0].error_ratio, -0.5);
    assert_int_equal(stages.moved, 0);
}

/* Starts off by 0, 0.1, 0, 0; finishes by 0.1, 0.1, -0.1, -2. */
static void the_timeline_counts_starts_and_finishes(void **state)
{
    (void)state;
    must_run("0,s,0,0,a,0,1.1,,\n0,s,0,1,b,1.1,3.1,,\n1,s,0,0,a,10,10.9,,\n1,s,0,1,b,11,13,,\n",
             "0,s,0,0,a,0,1,,\n0,s,0,1,b,1,3,,\n1,s,0,0,a,10,11,,\n1,s,0,1,b,11,15,,\n");
    assert_int_equal(stages.timeline.count, 8);
    assert_ratio(compare_offset_mean_abs_ps(&stages.timeline) / 1e12, 2.4 / 8);
    assert_ratio(compare_offset_mean_ps(&stages.timeline) / 1e12, -1.8 / 8);
    assert_int_equal(stages.timeline.max_abs_ps, 2000 * MS);
    assert_int_equal(stages.timeline.max_request_id, 1);
    assert_ratio(compare_offset_mean_abs_ps(&stages.stages[1].start) / 1e12, 0.05);
    assert_int_equal(stages.stages[1].start.max_abs_ps, 100 * MS);
    assert_int_equal(stages.stages[1].start.max_request_id, 0);
    assert_ratio(compare_offset_mean_ps(&stages.stages[1].finish) / 1e12, -0.95);
}

/* The clock of each file is its own: what counts is the time after the request's arrival. */
static void clocks_may_be_shifted_and_stages_overlap(void **state)
{
    (void)state;
    if (!run_all("3,s,0,100,,,105,\n", "3,s,0,0,a,99.9,101,,\n3,s,0,1,b,100.95,102,,\n",
                 "3,s,0,0.5,,,5.5,\n", "3,s,0,0,a,-0.1,1.5,,\n3,s,0,1,b,1.45,2.5,,\n"))
        fail_msg("%s", fixture.err.text);
    assert_int_equal(stages.pairs, 2);
    assert_int_equal(stages.stages[0].start.max_abs_ps, 500 * MS);
    assert_ratio(compare_offset_mean_ps(&stages.stages[0].start), 500.0 * (double)MS);
    assert_int_equal(stages.stages[0].finish.max_abs_ps, 0);
    assert_int_equal(stages.stages[1].start.max_abs_ps, 0);
    assert_ratio(stages.stages[1].time.mare, 0);
}

static void devices_of_a_stage_are_one_job(void **state)
{
    (void)state;
    must_run("0,s,0,0,b,1,3,,\n0,s,0,0,a,0,2,,\n", "0,s,0,0,a,0,2,,\n0,s,0,0,b,0,2,,\n");
    assert_int_equal(stages.pairs, 1);
    assert_ratio(stages.stages[0].time.mare, 0.5); /* 0 to 3 against 0 to 2 */
    assert_int_equal(stages.moved, 0);
}

static void steps_are_paired_and_phases_kept_apart(void **state)
{
    (void)state;
    must_run("0,s,0,0,a,0,2,0,prefill\n0,s,0,0,a,2,3,1,decode\n0,s,0,0,a,3,4,2,decode\n",
             "0,s,0,0,a,3,4,2,decode\n0,s,0,0,a,2,4,1,decode\n0,s,0,0,a,0,2,0,\n");
    assert_int_equal(stages.stage_count, 2);
    assert_int_equal(stages.stages[0].phase, OP_PREFILL); /* as the other file says */
    assert_ratio(stages.stages[0].time.mare, 0);
    assert_int_equal(stages.stages[1].phase, OP_DECODE);
    assert_int_equal(stages.stages[1].pairs, 2);
    assert_ratio(stages.stages[1].time.mare, 0.25);
    assert_int_equal(stages.stages[1].worst.item[0].step, 1);
    must_run("0,s,0,0,a,0,2,0,\n", "0,s,0,0,a,0,2,,\n"); /* no step is step 0 */
    assert_int_equal(stages.pairs, 1);
}

static void services_stand_in_order_of_first_request(void **state)
{
    const char *rows = "0,t,0,1,a,0,1,,\n0,t,0,0,a,0,1,,\n1,s,0,0,a,10,11,,\n";

    (void)state;
    if (!run_all("0,t,0,0,,,5,\n1,s,0,10,,,15,\n", rows, "0,t,0,0,,,5,\n1,s,0,10,,,15,\n", rows))
        fail_msg("%s", fixture.err.text);
    assert_int_equal(stages.stage_count, 3);
    assert_string_equal(stages.stages[0].service, "t");
    assert_int_equal(stages.stages[0].stage, 0);
    assert_int_equal(stages.stages[1].stage, 1);
    assert_string_equal(stages.stages[2].service, "s");
}

static void rows_without_a_partner_are_counted(void **state)
{
    (void)state;
    if (!run_all("0,s,0,0,,,5,\n1,s,0,10,,,15,\n2,s,,11,,,,refused\n9,s,0,0,,,5,\n",
                 "0,s,0,0,a,0,1,,\n0,s,0,1,a,1,2,,\n9,s,0,0,a,0,1,,\n7,s,0,0,a,0,1,,\n",
                 "0,s,0,0,,,5,\n1,s,0,10,,,15,\n2,s,,11,,,15,\n",
                 "0,s,0,0,a,0,1,,\n1,s,0,0,a,10,11,,\n2,s,0,0,a,11,12,,\n2,s,0,0,b,11,12,,\n"))
        fail_msg("%s", fixture.err.text);
    assert_int_equal(compare.missing, 1);
    assert_int_equal(stages.pairs, 1);
    assert_int_equal(stages.missing, 2);      /* stage 1 of request 0, stage 0 of request 1 */
    assert_int_equal(stages.not_compared, 4); /* requests 2 (two rows), 7, 9 */
}

static void stages_that_took_no_time_have_no_relative_error(void **state)
{
    struct out *text = out_open_memory(fixture.arena);

    (void)state;
    must_run("0,s,0,0,a,0,1,,\n", "0,s,0,0,a,1,1,,\n");
    assert_int_equal(stages.stages[0].pairs, 1);
    assert_int_equal(stages.stages[0].time.pairs, 0);
    assert_int_equal(stages.stages[0].start.max_abs_ps, 1000 * MS);
    compare_text(&report, text);
    assert_non_null(strstr(out_memory(text, NULL), "worst: none"));
}

static void runs_on_other_devices_are_reported(void **state)
{
    struct out *text = out_open_memory(fixture.arena);

    (void)state;
    must_run("0,s,0,0,a,0,1,,\n0,s,0,0,b,0,1,,\n0,s,0,1,b,0,1,,\n1,s,0,0,a,10,11,,\n",
             "0,s,0,0,a,0,1,,\n0,s,0,0,c,0,1,,\n0,s,0,1,b,0,1,,\n1,s,0,0,b,10,11,,\n");
    assert_int_equal(stages.pairs, 3);
    assert_int_equal(stages.moved, 2);
    assert_int_equal(stages.moved_request_id, 0);
    assert_int_equal(stages.moved_stage, 0);
    compare_text(&report, text);
    assert_non_null(strstr(out_memory(text, NULL), "predicted on a b, measured on a c"));
    assert_non_null(strstr(out_memory(text, NULL), "not predicted"));
}

static void a_row_that_is_there_twice_is_located(void **state)
{
    static const char *const bad[] = {
        "0,s,0,0,a,0,1,,\n0,s,0,0,b,0,1,,\n0,s,1,0,a,2,3,,\n",
        "0,s,0,0,a,0,1,0,\n1,s,0,0,a,0,1,,\n0,s,0,0,a,2,3,,\n",
    };
    const char *good = "0,s,0,0,a,0,1,,\n";

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_false(run_all(TWO, good, TWO, bad[i]));
        assert_int_equal(fixture.err.kind, ERR_INPUT);
        assert_non_null(strstr(fixture.err.text, "rs.csv:4: same request_id, step, stage and "
                                                 "device as line 2"));
        assert_false(run_all(TWO, bad[i], TWO, good));
        assert_non_null(strstr(fixture.err.text, "ps.csv:4: same request_id"));
    }
}

static void nothing_in_common_is_an_error(void **state)
{
    (void)state;
    assert_false(run_all(TWO, "0,s,0,0,a,0,1,,\n", TWO, "1,s,0,0,a,0,1,,\n"));
    assert_non_null(strstr(fixture.err.text, "nothing to compare"));
    assert_false(run_all(TWO, "", TWO, ""));
}

static void row_order_is_no_matter(void **state)
{
    struct out *first = out_open_memory(fixture.arena), *second = out_open_memory(fixture.arena);

    (void)state;
    must_run("0,s,0,0,a,0,1.1,,\n0,s,0,0,b,0,1.1,,\n0,s,0,1,b,1.1,3,,\n1,s,0,0,a,10,11,,\n",
             "0,s,0,0,a,0,1,,\n0,s,0,0,b,0,1,,\n0,s,0,1,b,1,3,,\n1,s,0,0,a,10,11.5,,\n");
    compare_json(fixture.arena, &report, first);
    must_run("1,s,0,0,a,10,11,,\n0,s,0,1,b,1.1,3,,\n0,s,0,0,b,0,1.1,,\n0,s,0,0,a,0,1.1,,\n",
             "0,s,0,1,b,1,3,,\n0,s,0,0,b,0,1,,\n1,s,0,0,a,10,11.5,,\n0,s,0,0,a,0,1,,\n");
    compare_json(fixture.arena, &report, second);
    assert_string_equal(out_memory(first, NULL), out_memory(second, NULL));
}

static void excluded_requests_are_left_out_everywhere(void **state)
{
    struct out *text = out_open_memory(fixture.arena);
    struct compare_range range = { 1, 1 };

    (void)state;
    excluded = (struct compare_excluded){ 1, &range };
    must_run("0,s,0,0,a,0,1,,\n1,s,0,0,a,10,11,,\n1,s,0,1,b,11,12,,\n",
             "0,s,0,0,a,0,1,,\n1,s,0,0,a,10,14,,\n1,s,0,0,c,10,14,,\n");
    assert_int_equal(stages.pairs, 1);
    assert_int_equal(stages.missing, 0);
    assert_int_equal(stages.not_compared, 0);
    assert_int_equal(stages.moved, 0);
    assert_ratio(stages.stages[0].time.mare, 0);
    assert_int_equal(usage.count, 1);
    assert_int_equal(usage.span_ps, 1000 * MS);
    assert_int_equal(all_stages.pairs, 2);
    assert_ratio(all_stages.stages[0].time.mare, 0.75 / 2);
    assert_int_equal(all_stages.timeline.max_abs_ps, 3000 * MS);
    compare_text(&report, text);
    assert_non_null(strstr(out_memory(text, NULL), "    with excluded         2"));
    assert_non_null(strstr(out_memory(text, NULL), "  with excluded: 750 ms mean, 3.00 s max"));
}

/* Requests of a batch lie on each other: the device is busy once. */
static void devices_are_busy_once_at_a_time(void **state)
{
    (void)state;
    must_run("0,s,0,0,a,0,4,,\n1,s,0,0,a,0,4,,\n1,s,0,1,a,8,10,,\n0,s,0,1,b,4,5,,\n",
             "0,s,0,0,a,0,2,,\n1,s,0,0,a,1,4,,\n1,s,0,1,a,3,3.5,,\n0,s,0,1,b,4,10,,\n");
    assert_int_equal(usage.span_ps, 10000 * MS);
    assert_int_equal(usage.count, 2);
    assert_string_equal(usage.devices[0].device, "a");
    assert_int_equal(usage.devices[0].predicted_busy_ps, 6000 * MS);
    assert_int_equal(usage.devices[0].real_busy_ps, 4000 * MS);
    assert_int_equal(usage.devices[1].predicted_busy_ps, 1000 * MS);
    assert_int_equal(usage.devices[1].real_busy_ps, 6000 * MS);
}

/* Predicted 100 to 104 s on a clock that is 100 s ahead, measured 1 to 9 s: 1 to 4 s in common. */
static void usage_is_over_the_time_that_both_files_tell_of(void **state)
{
    (void)state;
    if (!run_all("0,s,0,100,,,105,\n", "0,s,0,0,a,100,102,,\n0,s,0,1,a,102,104,,\n", TWO,
                 "0,s,0,0,a,1,2,,\n0,s,0,1,b,2,9,,\n"))
        fail_msg("%s", fixture.err.text);
    assert_int_equal(usage.span_ps, 3000 * MS);
    assert_int_equal(usage.devices[0].predicted_busy_ps, 3000 * MS);
    assert_int_equal(usage.devices[0].real_busy_ps, 1000 * MS);
    assert_true(usage.devices[0].is_predicted && usage.devices[0].is_real);
    assert_false(usage.devices[1].is_predicted);
    assert_int_equal(usage.devices[1].real_busy_ps, 2000 * MS);
    must_run("0,s,0,0,a,0,1,,\n", "0,s,0,0,a,2,3,,\n");
    assert_int_equal(usage.span_ps, 0);
}

static void times_at_the_ends_of_the_range_are_compared(void **state)
{
    (void)state;
    if (!run_all("0,s,0,9000000,,,9000000,\n", "0,s,0,0,a,-9000000,9000000,,\n",
                 "0,s,0,-9000000,,,1,\n", "0,s,0,0,a,-9000000,9000000,,\n"))
        fail_msg("%s", fixture.err.text);
    assert_int_equal(stages.timeline.max_abs_ps, INT64_MAX);
}

static const struct json *json_of(void)
{
    struct out *out = out_open_memory(fixture.arena);
    const struct json *json;

    compare_json(fixture.arena, &report, out);
    json = json_parse(fixture.arena, out_memory(out, NULL), "json", &fixture.err);
    if (!json)
        fail_msg("%s", fixture.err.text);
    return json;
}

static void json_has_stages_timeline_and_devices(void **state)
{
    const struct json *json, *stage;
    double value;

    (void)state;
    must_run("0,s,0,0,a,0,1.1,,\n1,s,0,0,b,10,11,,\n", "0,s,0,0,a,0,1,,\n1,s,0,0,a,10,11,,\n");
    json = json_of();
    assert_int_equal(json_count(json_get(json, "stages")), 1);
    stage = json_at(json_get(json, "stages"), 0);
    assert_string_equal(json_text(json_get(stage, "service")), "s");
    assert_null(json_get(stage, "phase"));
    assert_true(json_double(json_get(stage, "mare"), &value));
    assert_ratio(value, 0.05);
    assert_true(json_double(json_get(json_get(stage, "finish"), "mean_s"), &value));
    assert_ratio(value, 0.05);
    assert_int_equal(json_count(json_get(stage, "worst")), 2);
    assert_true(json_double(json_get(json_get(json, "timeline"), "max_s"), &value));
    assert_ratio(value, 0.1);
    assert_true(json_double(json_get(json_get(json, "timeline"), "mean_s"), &value));
    assert_ratio(value, 0.025);
    assert_int_equal(json_count(json_get(json, "devices")), 2);
    assert_null(json_get(json_at(json_get(json, "devices"), 1), "real_busy_ratio"));
    assert_null(json_get(json, "with_excluded"));
}

static void the_tables_fit_a_terminal(void **state)
{
    static const char name[] = "a-device-with-quite-a-long-name-in-a-large-cluster";
    const char *requests = "123456789012,s,0,0,,,5000000,\n123456789013,s,0,0,,,5,\n";
    const char *rows = arena_printf(
        fixture.arena,
        "123456789012,s,0,12345,%s,0,1,1000,prefill\n123456789013,s,0,12345,b,0,4000000,1000,\n",
        name);
    const char *other = "123456789012,s,0,12345,b,0,2,1000,\n123456789013,s,0,12345,b,0,1,1000,\n";
    struct out *out = out_open_memory(fixture.arena);
    const char *text;

    (void)state;
    if (!run_all(requests, rows, requests, other))
        fail_msg("%s", fixture.err.text);
    compare_text(&report, out);
    text = out_memory(out, NULL);
    assert_non_null(strstr(text, name));
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        if (strcspn(line, "\n") > 80)
            fail_msg("too wide: %.100s", line);
}

/* As many stages as rows: neither the join nor the table may look through all of them for each. */
static void a_stage_a_row_takes_no_longer(void **state)
{
    struct out *rows = out_open_memory(fixture.arena);
    const char *text;

    (void)state;
    for (int i = 0; i < 100000; i++)
        out_printf(rows, "0,s,0,%d,a,%d,%d,,\n", 99999 - i, i, i + 1);
    text = out_memory(rows, NULL);
    must_run(text, text);
    assert_int_equal(stages.stage_count, 100000);
    assert_int_equal(stages.stages[99999].stage, 99999);
    assert_int_equal(usage.devices[0].real_busy_ps, 100000 * UNITS_PS_PER_S);
}

/* Golden runs of DLSIM as both sides: the reader meets real files, and nothing is off. */
static void a_golden_run_agrees_with_itself(void **state)
{
    const char *path = "../shared/data/dlsim/parity/placement_pipeline_2GPUs__workload_2x12hz.csv";
    struct out *requests = out_open_memory(fixture.arena);
    struct trace_stages p, r;
    struct trace_requests predicted;

    (void)state;
    if (access(path, R_OK) != 0) {
        print_message("%s is not here\n", path);
        skip();
    }
    assert_true(trace_stages_load(fixture.arena, path, &p, &fixture.err));
    assert_true(trace_stages_load(fixture.arena, path, &r, &fixture.err));
    for (size_t i = 0; i < p.count; i += 2) { /* two stages a request */
        out_printf(requests, "%lld,%s,0,", (long long)p.stages[i].request_id, p.stages[i].service);
        out_seconds(requests, p.stages[i].start_ps);
        out_text(requests, ",,,");
        out_seconds(requests, p.stages[i + 1].finish_ps);
        out_text(requests, ",\n");
    }
    load_requests("p.csv", out_memory(requests, NULL), &predicted);
    assert_true(compare_run(fixture.arena, &predicted, &predicted, NULL, &compare, &fixture.err));
    assert_true(
        compare_stages_run(fixture.arena, &p, &r, &compare.kept, NULL, &stages, &fixture.err));
    assert_int_equal(stages.pairs, p.count);
    assert_int_equal(stages.stage_count, 4); /* two services, two stages */
    assert_int_equal(stages.timeline.max_abs_ps, 0);
    for (size_t i = 0; i < stages.stage_count; i++)
        assert_ratio(stages.stages[i].time.mare, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(service_times_are_compared_stage_by_stage),
        TEST(the_timeline_counts_starts_and_finishes),
        TEST(clocks_may_be_shifted_and_stages_overlap),
        TEST(devices_of_a_stage_are_one_job),
        TEST(steps_are_paired_and_phases_kept_apart),
        TEST(services_stand_in_order_of_first_request),
        TEST(rows_without_a_partner_are_counted),
        TEST(stages_that_took_no_time_have_no_relative_error),
        TEST(runs_on_other_devices_are_reported),
        TEST(a_row_that_is_there_twice_is_located),
        TEST(nothing_in_common_is_an_error),
        TEST(row_order_is_no_matter),
        TEST(excluded_requests_are_left_out_everywhere),
        TEST(devices_are_busy_once_at_a_time),
        TEST(usage_is_over_the_time_that_both_files_tell_of),
        TEST(times_at_the_ends_of_the_range_are_compared),
        TEST(json_has_stages_timeline_and_devices),
        TEST(the_tables_fit_a_terminal),
        TEST(a_stage_a_row_takes_no_longer),
        TEST(a_golden_run_agrees_with_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
