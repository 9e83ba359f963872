/* test_report_summary.c - what a report says of its own statistics: what was left out, how exact
 * they are, and whether the devices could keep up. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/json.h"
#include "sim/report/report.h"

#define STAGES "executable,stage,latency_s\n"
#define PLACED "service,replica,stage,device,executable\n"

static struct report report;

static void report_run(void)
{
    fixture_must_run();
    report.inputs = &fixture.scenario.inputs;
    report.seed = 1;
    report.options = fixture.metrics;
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, fixture.meter);
}

static int set_up(void **state)
{
    fixture_set_up(state);
    memset(&report, 0, sizeof(report));
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\nr,0,0,b,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,slo_s\n"
                           "0,0,s,\n1,0,s,0.015\n2,0,s,0.050\n3,0.090,r,\n");
    return 0;
}

static const char *report_printed(void)
{
    struct out *out = out_open_memory(fixture.arena);

    report_text(&report, out);
    return out_memory(out, NULL);
}

static const struct json *report_parsed(void)
{
    struct out *out = out_open_memory(fixture.arena);
    const struct json *json;

    report_json(fixture.arena, &report, out);
    json = json_parse(fixture.arena, out_memory(out, NULL), "report", &fixture.err);
    if (!json)
        fail_msg("%s", fixture.err.text);
    return json;
}

static double number(const struct json *object, const char *key)
{
    double value = -1;

    assert_true(json_double(json_get(object, key), &value));
    return value;
}

static void assert_near(double actual, double expected)
{
    double off = actual - expected;

    if (!(off < 1e-9 && off > -1e-9))
        fail_msg("%.17g, not %.17g", actual, expected);
}

static void a_trim_is_told_in_text_and_json(void **state)
{
    const struct json *json;
    const char *text;

    (void)state;
    fixture.metrics.trim_ps = 20 * MS;
    fixture_write("w.csv", "request_id,arrival_s,service\n"
                           "0,0,s\n1,0.020,s\n2,0.060,r\n3,0.090,r\n");
    report_run();
    text = report_printed();
    assert_non_null(strstr(text, "\nrequests   2: 2 ok,"));
    assert_non_null(
        strstr(text, "\ntrimmed    2 requests of the first and last 20.0 ms; 50.0 ms are left\n"
                     "throughput 40 requests/s"));
    json = report_parsed();
    assert_near(number(json, "trim_s"), 0.02);
    assert_near(number(json, "window_s"), 0.05);
    assert_near(number(json_get(json, "requests"), "trimmed"), 2);
    assert_near(number(json, "goodput_per_s"), 40);
    assert_near(number(json_get(json_at(json_get(json, "services"), 1), "requests"), "trimmed"), 1);
    assert_near(number(json_at(json_get(json, "devices"), 0), "busy_ratio"), 0.2); /* all of it */
}

static void a_trim_that_leaves_nothing_is_warned_of(void **state)
{
    const struct json *json;

    (void)state;
    fixture.metrics.trim_ps = 50 * MS;
    report_run();
    assert_string_equal(report.warnings[1], "--trim leaves no request: there are no statistics");
    json = report_parsed();
    assert_null(json_get(json_get(json, "latency_s"), "mean"));
    assert_null(json_get(json, "goodput_ratio"));
    assert_null(json_get(json, "throughput_per_s"));
}

static void quantiles_say_how_they_were_made(void **state)
{
    const struct json *json;

    (void)state;
    report_run();
    json = json_get(report_parsed(), "quantiles");
    assert_string_equal(json_text(json_get(json, "latency")), "exact");
    assert_near(number(json, "error_ratio"), 0);
    assert_null(strstr(report_printed(), "histogram"));
    fixture.metrics.samples = SAMPLES_HISTOGRAM;
    report_run();
    json = json_get(report_parsed(), "quantiles");
    assert_string_equal(json_text(json_get(json, "latency")), "histogram");
    assert_true(number(json, "error_ratio") == 0x1p-12);
    assert_non_null(strstr(json_text(json_get(json, "definition")), "linear interpolation"));
    assert_non_null(strstr(report_printed(), "--latency histogram: quantiles are off"));
    assert_near(number(json_get(report_parsed(), "latency_s"), "max"), 0.03); /* exact */
}

/* 2000 requests of 10 ms for device a, one each gap_us. */
static void run_with_gap(int gap_us)
{
    char *text = arena_alloc(fixture.arena, 80000);
    size_t used = (size_t)snprintf(text, 80000, "request_id,arrival_s,service\n");

    for (int i = 0; i < 2000; i++)
        used += (size_t)snprintf(text + used, 80000 - used, "%d,%.6f,s\n", i, i * gap_us * 1e-6);
    fixture_write("w.csv", text);
    report_run();
}

static void a_device_that_cannot_keep_up_is_warned_of(void **state)
{
    const struct json *devices;

    (void)state;
    run_with_gap(8000);
    assert_int_equal(report.warning_count, 2); /* free transfers, too */
    assert_string_equal(report.warnings[1],
                        "requests arrive faster than device 'a' can serve: "
                        "offered load 1.25; waits grow with the run, in its queue up "
                        "to 4.00 s");
    devices = json_get(report_parsed(), "devices");
    assert_near(number(json_at(devices, 0), "offered_ratio"), 20 / 15.992);
    assert_near(number(json_at(devices, 0), "wait_peak_s"), 3.998);
    assert_near(number(json_at(devices, 1), "offered_ratio"), 0);
    assert_non_null(strstr(report_printed(), "\nwarning: requests arrive faster than device 'a'"));
}

static void a_load_that_may_be_chance_is_not_warned_of(void **state)
{
    (void)state;
    run_with_gap(9800); /* 1.02; three standard deviations are 9.5 % */
    assert_int_equal(report.warning_count, 1);
    run_with_gap(0); /* all at once: no load to speak of */
    assert_int_equal(report.warning_count, 1);
    assert_null(json_get(json_at(json_get(report_parsed(), "devices"), 0), "offered_ratio"));
}

/* Device a computes 3 x 10 ms and b 10 of the 100 ms of the run. */
static void energy_is_told_where_devices_say_what_they_draw(void **state)
{
    const struct json *json;

    (void)state;
    fixture_cluster("device,type,idle_w,busy_w\na,t,2,5\nb,t,1,3.5\n", NULL);
    report_run();
    json = report_parsed();
    assert_near(number(json_at(json_get(json, "devices"), 0), "energy_j"), 0.03 * 5 + 0.07 * 2);
    assert_near(number(json_at(json_get(json, "devices"), 1), "energy_j"), 0.01 * 3.5 + 0.09 * 1);
    assert_near(number(json, "energy_j"), 0.29 + 0.125);
    assert_near(number(json, "energy_per_request_j"), 0.415 / 4);
    assert_null(json_get(json, "energy_per_output_token_j"));
    assert_non_null(strstr(report_printed(), "\nenergy     0.415 J, 0.103"));
    /* one that does not say makes the sum unknown, its own and that of all */
    fixture_cluster("device,type,idle_w,busy_w\na,t,2,5\nb,t,,3.5\n", NULL);
    report_run();
    json = report_parsed();
    assert_near(number(json_at(json_get(json, "devices"), 0), "energy_j"), 0.29);
    assert_null(json_get(json_at(json_get(json, "devices"), 1), "energy_j"));
    assert_null(json_get(json, "energy_j"));
    assert_null(json_get(json, "energy_per_request_j"));
    assert_null(strstr(report_printed(), "\nenergy"));
}

/* Of s three arrive at 0, 10 ms each, one after the other; r comes at 90 ms. */
static void limits_say_what_they_left_out_and_what_was_finished(void **state)
{
    const struct json *limits;

    (void)state;
    fixture.options.until_ps = report.until_ps = 10 * MS;
    report_run();
    limits = json_get(report_parsed(), "run_limits");
    assert_near(number(limits, "until_s"), 0.01);
    assert_near(number(limits, "in_flight_at_until"), 2); /* one ends at that instant */
    assert_near(number(limits, "left_out"), 1);
    assert_null(json_get(limits, "max_requests"));
    assert_int_equal(report.all.status[TRACE_OK], 3);
    assert_non_null(strstr(report_printed(), "\nlimits     --until 10.0 ms: 1 request left out\n"
                                             "           2 in flight at that instant were "
                                             "finished\n"));
    fixture.options.until_ps = INT64_MAX;
    report.until_ps = 0;
    fixture.options.max_requests = report.max_requests = 2;
    report_run();
    limits = json_get(report_parsed(), "run_limits");
    assert_near(number(limits, "max_requests"), 2);
    assert_near(number(limits, "left_out"), 2);
    assert_null(json_get(limits, "in_flight_at_until"));
    assert_non_null(
        strstr(report_printed(), "\nlimits     --max-requests 2: 2 requests left out\n"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_trim_is_told_in_text_and_json),
        TEST(a_trim_that_leaves_nothing_is_warned_of),
        TEST(quantiles_say_how_they_were_made),
        TEST(a_device_that_cannot_keep_up_is_warned_of),
        TEST(a_load_that_may_be_chance_is_not_warned_of),
        TEST(energy_is_told_where_devices_say_what_they_draw),
        TEST(limits_say_what_they_left_out_and_what_was_finished),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
