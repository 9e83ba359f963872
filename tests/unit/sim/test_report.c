/* test_report.c - what a run prints and writes: metrics, text, JSON, Chrome traces. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/json.h"
#include "sim/report/chrome.h"
#include "sim/report/report.h"
#include "sim/report/timeline.h"

#define STAGES "executable,stage,latency_s\n"
#define PLACED "service,replica,stage,device,executable\n"

static struct report report;

static void report_run(void)
{
    fixture_must_run();
    report.inputs = &fixture.scenario.inputs;
    report.seed = 1;
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result);
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

    assert_true(off < 1e-9 && off > -1e-9);
}

static void metrics_follow_their_definitions(void **state)
{
    (void)state;
    report.slo_ps = 12 * MS;
    report_run();
    assert_int_equal(report.all.total, 4);
    assert_int_equal(report.all.status[TRACE_OK], 4);
    assert_int_equal(report.all.good, 3); /* 10 and 30 of 12, 15, 50: request 1 takes 20 */
    assert_int_equal(metrics_late(&report.all), 1);
    assert_int_equal(report.all.latency.mean, 17500000000);
    assert_int_equal(report.all.latency.p50, 15 * MS);
    assert_int_equal(report.all.latency.max, 30 * MS);
    assert_int_equal(report.all.ttft.count, 0);
    assert_int_equal(report.services[0].total, 3);
    assert_int_equal(report.services[1].latency.mean, 10 * MS);
}

static void the_slo_of_the_row_comes_before_the_option(void **state)
{
    (void)state;
    report_run();
    assert_int_equal(report.all.good, 3);
    report.slo_ps = 5 * MS;
    report_run();
    assert_int_equal(report.all.good, 1); /* request 2 has 50 ms of its own */
}

static void json_has_the_keys_of_the_contract(void **state)
{
    static const char *const keys[] = { "schema",
                                        "seed",
                                        "requests",
                                        "simulated_s",
                                        "events",
                                        "latency_s",
                                        "ttft_s",
                                        "tpot_s",
                                        "throughput_per_s",
                                        "output_tokens_per_s",
                                        "goodput_ratio",
                                        "goodput_per_s",
                                        "services",
                                        "devices",
                                        "links",
                                        "moved_bytes",
                                        "migrations",
                                        "extrapolated_costs",
                                        "warnings",
                                        "inputs",
                                        "version" };
    const struct json *json, *device;

    (void)state;
    report_run();
    json = report_parsed();
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        assert_non_null(json_get(json, keys[i]));
    assert_near(number(json, "simulated_s"), 0.1);
    assert_near(number(json, "throughput_per_s"), 40);
    assert_near(number(json, "goodput_ratio"), 0.75);
    assert_near(number(json_get(json, "requests"), "total"), 4);
    assert_near(number(json_get(json, "latency_s"), "mean"), 0.0175);
    assert_near(number(json_get(json, "latency_s"), "p999"), 0.02997);
    assert_null(json_get(json_get(json, "ttft_s"), "mean"));
    assert_int_equal(json_count(json_get(json, "services")), 2);
    assert_near(number(json_get(json_at(json_get(json, "services"), 1), "requests"), "ok"), 1);
    device = json_at(json_get(json, "devices"), 0);
    assert_string_equal(json_text(json_get(device, "device")), "a");
    assert_near(number(device, "busy_ratio"), 0.3);
    assert_near(number(device, "gap_ratio"), 0);
    assert_null(json_get(device, "memory_bytes"));
}

static void inputs_are_named_with_size_and_hash(void **state)
{
    const struct json *inputs, *file;

    (void)state;
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    report_run();
    inputs = json_get(report_parsed(), "inputs");
    assert_int_equal(json_count(inputs), 3);
    file = json_at(inputs, 1);
    assert_string_equal(json_text(json_get(file, "role")), "workload");
    assert_string_equal(json_text(json_get(file, "path")), fixture_path("w.csv"));
    assert_near(number(file, "size_bytes"), 35);
    assert_int_equal(strlen(json_text(json_get(file, "fnv1a64"))), 16);
}

static void what_cannot_be_read_twice_has_no_hash(void **state)
{
    struct inputs inputs = { .arena = fixture.arena };
    struct out *text = out_open_memory(fixture.arena);

    (void)state;
    for (int i = 0; i < 20; i++)
        assert_true(inputs_add(&inputs, "workload", "-", &fixture.err));
    assert_true(inputs_add(&inputs, "workload", "/dev/null", &fixture.err));
    assert_false(inputs.files[0].has_hash);
    assert_false(inputs.files[20].has_hash);
    inputs_text(&inputs, text);
    assert_non_null(strstr(out_memory(text, NULL), "  workload   -  "));
    assert_false(inputs_add(&inputs, "workload", fixture_path("none"), &fixture.err));
    assert_non_null(strstr(fixture.err.text, "none: No such file"));
}

static void text_fits_a_terminal_and_says_what_it_means(void **state)
{
    struct out *out = out_open_memory(fixture.arena);
    const char *text;

    (void)state;
    fixture_write("p.csv", PLACED
                  "a-service-with-a-very-long-name-indeed,0,0,a-device-with-a-very-long-name,x\n"
                  "a-service-with-a-very-long-name-indeed,0,0,b,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n"
                           "0,0,a-service-with-a-very-long-name-indeed\n");
    fixture_cluster("device,type,memory_bytes\na-device-with-a-very-long-name,t,1000\nb,t,\n",
                    "medium,kind,node,bits_per_s,latency_s\n"
                    "a-medium-with-a-rather-long-name,wifi,*,1e6,0\n");
    report.slo_ps = 12 * MS;
    report_run();
    report_text(&report, out);
    text = out_memory(out, NULL);
    assert_non_null(strstr(text, "requests   1: 1 ok, 0 dropped"));
    assert_non_null(strstr(text, "latency = finish - arrival"));
    assert_non_null(strstr(text, "--slo 12.0 ms"));
    assert_non_null(strstr(text, "a-medium-with-a-rather-long-name"));
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 80);
}

static void free_transfers_are_warned_of(void **state)
{
    struct out *out = out_open_memory(fixture.arena);

    (void)state;
    report_run();
    assert_int_equal(report.warning_count, 1);
    assert_non_null(strstr(report.warnings[0], "no links.csv"));
    report_text(&report, out);
    assert_non_null(strstr(out_memory(out, NULL), "\nwarning: no links.csv"));
    fixture_cluster("device,type\na,t\nb,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                               "lan,switch,a,1e9,0\nlan,switch,b,1e9,0\n");
    report_run();
    assert_int_equal(report.warning_count, 1);
    assert_non_null(strstr(report.warnings[0], "no node 'source'"));
}

static void a_run_without_time_has_no_rates(void **state)
{
    const struct json *json;

    (void)state;
    fixture_stages(STAGES "x,0,0\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    report_run();
    json = report_parsed();
    assert_null(json_get(json, "throughput_per_s"));
    assert_null(json_get(json_at(json_get(json, "devices"), 0), "busy_ratio"));
    assert_near(number(json_get(json, "latency_s"), "max"), 0);
}

/* ---- Chrome traces ---- */

static const struct json *events_of(struct out *out)
{
    const struct json *json =
        json_parse(fixture.arena, out_memory(out, NULL), "trace", &fixture.err);

    if (!json)
        fail_msg("%s", fixture.err.text);
    return json_get(json, "traceEvents");
}

/* The n-th event of a phase (X, b, ...), or NULL. */
static const struct json *event(const struct json *events, const char *phase, int n)
{
    for (int i = 0; i < json_count(events); i++)
        if (strcmp(json_text(json_get(json_at(events, i), "ph")), phase) == 0 && n-- == 0)
            return json_at(events, i);
    return NULL;
}

static const char *track_name(const struct json *events, double track)
{
    for (int i = 0; i < json_count(events); i++) {
        const struct json *one = json_at(events, i);

        if (strcmp(json_text(json_get(one, "name")), "thread_name") == 0 &&
            number(one, "tid") == track)
            return json_text(json_get(json_get(one, "args"), "name"));
    }
    return "";
}

static void a_run_streams_a_chrome_trace(void **state)
{
    struct out *out = out_open_memory(fixture.arena);
    struct serve_observer observer;
    struct record *record;
    const struct json *events, *one;

    (void)state;
    fixture_stages(STAGES "x,0,0.0000105\nx,1,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n7,0.000001,s\n");
    fixture_cluster("device,type\na,t\nb,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                               "lan,switch,a,1e9,0.001\nlan,switch,b,1e9,0\n");
    assert_true(fixture_load());
    record = record_create(fixture.arena, &fixture.scenario.input, false, false, out);
    observer = record_observer(record);
    assert_true(serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                          &fixture.result, &fixture.err));
    record_finish(record);
    assert_non_null(
        strstr(out_memory(out, NULL), "\"ts\":1,\"dur\":10.500000,\"name\":\"r7 stage 0\""));
    events = events_of(out);
    one = event(events, "X", 0);
    assert_string_equal(track_name(events, number(one, "tid")), "a");
    one = event(events, "X", 1);
    assert_string_equal(track_name(events, number(one, "tid")), "lan/a");
    one = event(events, "X", 2);
    assert_string_equal(track_name(events, number(one, "tid")), "b");
    assert_near(number(one, "dur"), 10000);
    one = event(events, "b", 0);
    assert_string_equal(track_name(events, number(one, "tid")), "requests");
    assert_near(number(one, "ts"), 1);
    assert_near(number(json_get(one, "args"), "request"), 7);
    assert_near(number(event(events, "e", 0), "ts"), 1 + 10.5 + 1000 + 10000);
    assert_null(event(events, "n", 0));
}

static void names_are_quoted_for_json(void **state)
{
    struct out *out = out_open_memory(fixture.arena);
    struct chrome *chrome;

    (void)state;
    assert_string_equal(chrome_quote(fixture.arena, "a\"b\\c\x01/\xc3\xa9"),
                        "a\\\"b\\\\c\\u0001/\xc3\xa9");
    chrome = chrome_begin(fixture.arena, out, 0);
    chrome_process(chrome, 1, chrome_quote(fixture.arena, "tab\there \"quoted\""));
    chrome_end(chrome);
    assert_string_equal(json_text(json_get(json_get(json_at(events_of(out), 0), "args"), "name")),
                        "tab\there \"quoted\"");
}

static void two_traces_stand_side_by_side_on_one_time_line(void **state)
{
    struct trace_stage rows[2][2] = { { { .request_id = 1,
                                          .service = "s",
                                          .device = "a",
                                          .step = 0,
                                          .batch_id = -1,
                                          .start_ps = 0,
                                          .finish_ps = 5 * MS,
                                          .phase = OP_PREFILL },
                                        { .request_id = 1,
                                          .service = "s",
                                          .device = "b",
                                          .step = 3,
                                          .batch_id = -1,
                                          .start_ps = 5 * MS,
                                          .finish_ps = 6 * MS,
                                          .phase = OP_DECODE } },
                                      { { .request_id = 1,
                                          .service = "s",
                                          .device = "a",
                                          .step = -1,
                                          .batch_id = -1,
                                          .stage = -1,
                                          .start_ps = -2 * MS,
                                          .finish_ps = 4 * MS,
                                          .phase = OP_ANY } } };
    struct trace_request request = { .request_id = 1,
                                     .service = "s",
                                     .arrival_ps = -3 * MS,
                                     .start_ps = -2 * MS,
                                     .first_token_ps = 4 * MS,
                                     .finish_ps = TRACE_NONE,
                                     .status = TRACE_FAILED };
    struct trace_stages stages[2] = { { 2, rows[0] }, { 1, rows[1] } };
    struct trace_requests requests = { 1, &request };
    struct timeline timelines[2] = { { "predicted", &stages[0], NULL },
                                     { "measured", &stages[1], &requests } };
    struct out *out = out_open_memory(fixture.arena);
    const struct json *events;

    (void)state;
    timeline_write(fixture.arena, timelines, 2, out);
    events = events_of(out);
    assert_string_equal(json_text(json_get(event(events, "X", 0), "name")), "r1 prefill");
    assert_near(number(event(events, "X", 0), "ts"), 3000);
    assert_string_equal(json_text(json_get(event(events, "X", 1), "name")), "r1 decode 3");
    assert_near(number(event(events, "X", 1), "pid"), 1);
    assert_string_equal(json_text(json_get(event(events, "X", 2), "name")), "r1");
    assert_near(number(event(events, "X", 2), "ts"), 1000);
    assert_near(number(event(events, "X", 2), "pid"), 2);
    assert_near(number(event(events, "b", 0), "ts"), 0);
    assert_near(number(event(events, "n", 0), "ts"), 7000);
    assert_string_equal(json_text(json_get(json_get(event(events, "b", 0), "args"), "status")),
                        "failed");
}

static void many_devices_get_a_track_each(void **state)
{
    enum { DEVICES = 40 };
    struct trace_stage rows[2 * DEVICES];
    struct trace_stages stages = { 2 * DEVICES, rows };
    struct timeline timeline = { "many", &stages, NULL };
    struct out *out = out_open_memory(fixture.arena);
    const struct json *events;

    (void)state;
    for (int i = 0; i < 2 * DEVICES; i++)
        rows[i] = (struct trace_stage){ .request_id = i,
                                        .service = "s",
                                        .step = -1,
                                        .device = arena_printf(fixture.arena, "d%d", i % DEVICES),
                                        .start_ps = i * MS,
                                        .finish_ps = i * MS + MS };
    timeline_write(fixture.arena, &timeline, 1, out);
    events = events_of(out);
    for (int i = 0; i < 2 * DEVICES; i++)
        assert_string_equal(track_name(events, number(event(events, "X", i), "tid")),
                            rows[i].device);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(metrics_follow_their_definitions),
        TEST(the_slo_of_the_row_comes_before_the_option),
        TEST(json_has_the_keys_of_the_contract),
        TEST(inputs_are_named_with_size_and_hash),
        TEST(what_cannot_be_read_twice_has_no_hash),
        TEST(text_fits_a_terminal_and_says_what_it_means),
        TEST(free_transfers_are_warned_of),
        TEST(a_run_without_time_has_no_rates),
        TEST(a_run_streams_a_chrome_trace),
        TEST(names_are_quoted_for_json),
        TEST(two_traces_stand_side_by_side_on_one_time_line),
        TEST(many_devices_get_a_track_each),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
