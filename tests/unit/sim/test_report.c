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
    fixture.metrics.slo_ps = 12 * MS;
    report_run();
    assert_int_equal(report.all.total, 4);
    assert_int_equal(report.all.status[TRACE_OK], 4);
    assert_int_equal(report.all.good, 3); /* 10 and 30 of 12, 15, 50: request 1 takes 20 */
    assert_int_equal(metrics_missed(&report.all), 1);
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
    fixture.metrics.slo_ps = 5 * MS;
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

/* A character of several bytes takes one. */
static size_t columns_of(const char *line)
{
    size_t count = 0;

    for (; *line && *line != '\n'; line++)
        count += ((unsigned char)*line & 0xc0) != 0x80;
    return count;
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
    fixture.metrics.slo_ps = 12 * MS;
    report_run();
    report_text(&report, out);
    text = out_memory(out, NULL);
    assert_non_null(strstr(text, "requests   1: 1 ok, 0 dropped"));
    assert_non_null(strstr(text, "latency = finish - arrival"));
    assert_non_null(strstr(text, "--slo 12.0 ms"));
    assert_non_null(strstr(text, "a-medium-with-a-rather-long-name"));
    for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
        assert_true(columns_of(line) <= 80);
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

/* The slice of a name; fails when there is none. */
static const struct json *slice(const struct json *events, const char *name)
{
    for (int i = 0; i < json_count(events); i++) {
        const struct json *one = json_at(events, i);

        if (strcmp(json_text(json_get(one, "ph")), "X") == 0 &&
            strcmp(json_text(json_get(one, "name")), name) == 0)
            return one;
    }
    fail_msg("no slice is named '%s'", name);
    return NULL;
}

static const char *argument(const struct json *slice, const char *key)
{
    return json_text(json_get(json_get(slice, "args"), key));
}

static double requests_left_out(struct out *out)
{
    const struct json *json =
        json_parse(fixture.arena, out_memory(out, NULL), "trace", &fixture.err);

    return number(json_get(json, "otherData"), "requests_left_out");
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
    assert_non_null(strstr(out_memory(out, NULL), "\"ts\":1,\"dur\":10.500000,\"name\":\"r7 s0\""));
    events = events_of(out);
    one = slice(events, "r7 s0");
    assert_string_equal(track_name(events, number(one, "tid")), "device a");
    assert_string_equal(json_text(json_get(one, "cat")), "compute");
    assert_string_equal(argument(one, "service"), "s");
    one = slice(events, "r7 step 0");
    assert_string_equal(track_name(events, number(one, "tid")), "link lan/a");
    assert_string_equal(json_text(json_get(one, "cat")), "message");
    one = slice(events, "r7 s1");
    assert_string_equal(track_name(events, number(one, "tid")), "device b");
    assert_near(number(one, "dur"), 10000);
    assert_near(number(json_get(one, "args"), "stage"), 1);
    one = slice(events, "r7 s");
    assert_string_equal(track_name(events, number(one, "tid")), "requests 1");
    assert_near(number(one, "ts"), 1);
    assert_near(number(one, "dur"), 10.5 + 1000 + 10000);
    assert_near(number(json_get(one, "args"), "request"), 7);
    assert_string_equal(argument(one, "status"), "ok");
    assert_null(strstr(out_memory(out, NULL), "to first token"));
    assert_near(requests_left_out(out), 0);
}

static void names_are_quoted_for_json(void **state)
{
    struct out *out = out_open_memory(fixture.arena);
    struct chrome *chrome;

    (void)state;
    assert_string_equal(chrome_quote(fixture.arena, "a\"b\\c\x01/\xc3\xa9"),
                        "a\\\"b\\\\c\\u0001/\xc3\xa9");
    chrome = chrome_begin(fixture.arena, out, 0);
    chrome_process(chrome, chrome_quote(fixture.arena, "tab\there \"quoted\""));
    chrome_end(chrome);
    assert_string_equal(json_text(json_get(json_get(json_at(events_of(out), 0), "args"), "name")),
                        "tab\there \"quoted\"");
}

static void two_traces_stand_side_by_side_on_one_time_line(void **state)
{
    /* cppcheck-suppress constVariable */
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
    struct trace_stages stages[2] = { { .count = 2, .stages = rows[0] },
                                      { .count = 1, .stages = rows[1] } };
    struct trace_requests requests = { .count = 1, .requests = &request };
    struct timeline timelines[2] = { { "predicted", &stages[0], NULL },
                                     { "measured", &stages[1], &requests } };
    struct out *out = out_open_memory(fixture.arena);
    const struct json *events;

    (void)state;
    timeline_write(fixture.arena, timelines, 2, out);
    events = events_of(out);
    assert_near(number(slice(events, "r1 prefill"), "ts"), 3000);
    assert_string_equal(json_text(json_get(slice(events, "r1 prefill"), "cat")), "prefill");
    assert_near(number(slice(events, "r1 d3"), "pid"), 1);
    assert_near(number(json_get(slice(events, "r1 d3"), "args"), "step"), 3);
    assert_near(number(slice(events, "r1"), "ts"), 1000);
    assert_near(number(slice(events, "r1"), "pid"), 2);
    /* A request that failed after its first token is shown until then. */
    assert_near(number(slice(events, "r1 s"), "ts"), 0);
    assert_near(number(slice(events, "r1 s"), "dur"), 7000);
    assert_near(number(slice(events, "to first token"), "ts"), 0);
    assert_near(number(slice(events, "to first token"), "dur"), 7000);
    assert_string_equal(argument(slice(events, "r1 s"), "status"), "failed");
}

static void many_devices_get_a_track_each(void **state)
{
    enum { DEVICES = 40 };
    struct trace_stage rows[2 * DEVICES];
    struct trace_stages stages = { .count = 2 * DEVICES, .stages = rows };
    struct timeline timeline = { "many", &stages, NULL };
    struct out *out = out_open_memory(fixture.arena);
    const struct json *events;
    int seen = 0;

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
    for (int i = 0; i < json_count(events); i++) {
        const struct json *one = json_at(events, i);

        if (strcmp(json_text(json_get(one, "ph")), "X") != 0)
            continue;
        assert_string_equal(track_name(events, number(one, "tid")),
                            arena_printf(fixture.arena, "device d%d", seen++ % DEVICES));
    }
    assert_int_equal(seen, 2 * DEVICES);
}

static double field(const char *line, const char *key)
{
    const char *at = strstr(line, key);

    assert_non_null(at);
    return strtod(at + strlen(key), NULL);
}

/* Ends as the sum of two doubles of six decimals each, as viewers compute them. */
static double naive_end_us(int64_t start_ps, int64_t finish_ps)
{
    return strtod(arena_printf(fixture.arena, "%.6f", (double)start_ps / 1e6), NULL) +
           strtod(arena_printf(fixture.arena, "%.6f", (double)(finish_ps - start_ps) / 1e6), NULL);
}

static void slices_that_abut_do_not_overlap_as_doubles(void **state)
{
    enum { SPANS = 4000 };
    struct trace_stage *rows = arena_array(fixture.arena, SPANS, sizeof(*rows));
    struct trace_stages stages = { .count = SPANS, .stages = rows };
    struct timeline timeline = { "abutting", &stages, NULL };
    struct out *out = out_open_memory(fixture.arena);
    uint64_t random = 88172645463325252u;
    int64_t time_ps = 977 * UNITS_PS_PER_S + 1;
    int naive_overlaps = 0, seen = 0;
    double end_us = 0;

    (void)state;
    for (int i = 0; i < SPANS; i++) {
        int64_t start_ps = time_ps;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        time_ps += (int64_t)(random % (uint64_t)(20 * MS));
        rows[i] = (struct trace_stage){ .request_id = i,
                                        .service = "s",
                                        .device = "a",
                                        .start_ps = start_ps,
                                        .finish_ps = time_ps };
        if (naive_end_us(start_ps, time_ps) >
            strtod(arena_printf(fixture.arena, "%.6f", (double)time_ps / 1e6), NULL))
            naive_overlaps++;
    }
    assert_true(naive_overlaps > 100);
    timeline_write(fixture.arena, &timeline, 1, out);
    for (const char *at = out_memory(out, NULL); (at = strstr(at, "\"ph\":\"X\"")); at++) {
        double start_us = field(at, "\"ts\":");

        assert_true(end_us <= start_us);
        assert_true((double)rows[seen].start_ps / 1e6 - start_us < 1.0 / 64 + 1e-6);
        end_us = start_us + field(at, "\"dur\":");
        seen++;
    }
    assert_int_equal(seen, SPANS);
    assert_true((double)time_ps / 1e6 - end_us < 1.0 / 64 + 1e-6);
}

static struct out *requests_written(struct trace_request *rows, size_t count)
{
    struct trace_stages stages = { 0 };
    struct trace_requests requests = { .count = count, .requests = rows };
    struct timeline timeline = { "requests", &stages, &requests };
    struct out *out = out_open_memory(fixture.arena);

    timeline_write(fixture.arena, &timeline, 1, out);
    return out;
}

static struct trace_request request_row(int64_t id, int64_t arrival_ms, int64_t first_ms,
                                        int64_t finish_ms)
{
    struct trace_request row = { .request_id = id,
                                 .service = "chat",
                                 .arrival_ps = arrival_ms * MS,
                                 .start_ps = arrival_ms * MS,
                                 .first_token_ps = first_ms < 0 ? TRACE_NONE : first_ms * MS,
                                 .finish_ps = finish_ms < 0 ? TRACE_NONE : finish_ms * MS,
                                 .status = finish_ms < 0 ? TRACE_REFUSED : TRACE_OK };

    return row;
}

static void requests_take_the_fewest_lanes_whatever_their_order(void **state)
{
    /* Three at once between 6 and 8 ms. The rows of a closed loop are not in order of arrival. */
    struct trace_request rows[] = { request_row(4, 8, 9, 20), request_row(0, 0, 2, 5),
                                    request_row(1, 4, 6, 30), request_row(3, 6, -1, 8),
                                    request_row(2, 5, 7, 9),  request_row(5, 31, -1, -1) };
    static const char *const lanes[] = { "requests 1", "requests 3", "requests 2",
                                         "requests 1", "requests 1", "requests 3" };
    struct out *out = requests_written(rows, 6);
    const struct json *events = events_of(out);

    (void)state;
    for (int i = 0; i < 6; i++)
        assert_string_equal(
            track_name(events,
                       number(slice(events, arena_printf(fixture.arena, "r%d chat", i)), "tid")),
            lanes[i]);
    assert_near(number(slice(events, "to first token"), "dur"), 2000);
    assert_near(number(slice(events, "r5 chat"), "dur"), 0);
    assert_near(requests_left_out(out), 0);
    assert_near(requests_left_out(requests_written(NULL, 0)), 0);
}

static void requests_beyond_the_last_lane_are_counted(void **state)
{
    enum { REQUESTS = CHROME_LANES + 5 };
    struct trace_request rows[REQUESTS];
    struct out *out;
    const struct json *events;
    int slices = 0;

    (void)state;
    for (int i = 0; i < REQUESTS; i++)
        rows[i] = request_row(i, i, -1, 1000 + i);
    out = requests_written(rows, REQUESTS);
    events = events_of(out);
    for (int i = 0; i < json_count(events); i++)
        if (strcmp(json_text(json_get(json_at(events, i), "ph")), "X") == 0)
            slices++;
    assert_int_equal(slices, CHROME_LANES);
    assert_near(requests_left_out(out), 5);
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
        TEST(slices_that_abut_do_not_overlap_as_doubles),
        TEST(requests_take_the_fewest_lanes_whatever_their_order),
        TEST(requests_beyond_the_last_lane_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
