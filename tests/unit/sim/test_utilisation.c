/* test_utilisation.c - windows hold exactly what happened in them. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/rng.h"
#include "lib/format/cluster.h"
#include "sim/report/utilisation.h"

#define STAGES "executable,stage,latency_s,gap_s\n"
#define PLACED "service,replica,stage,device,executable\n"
#define HEAD                                                                                       \
    "# orrery: utilisation 1\n"                                                                    \
    "window_start_s,window_end_s,kind,target,busy_ratio,gap_ratio,queue_mean,kv_peak_bytes\n"

static const char *written(const struct utilisation *utilisation)
{
    struct out *out = out_open_memory(fixture.arena);

    utilisation_write(utilisation, out, NULL);
    return out_memory(out, NULL);
}

static const char *plotted(const struct utilisation *utilisation)
{
    struct out *out = out_open_memory(fixture.arena);

    utilisation_text(utilisation, out);
    return out_memory(out, NULL);
}

/* Runs what the fixture holds. */
static struct utilisation *run(int64_t window_ps)
{
    struct utilisation *utilisation;
    struct serve_observer observer;

    if (!fixture_load())
        fail_msg("%s", fixture.err.text);
    utilisation = utilisation_begin(fixture.arena, fixture.scenario.input.plan->cluster, window_ps);
    observer = utilisation_observer(utilisation);
    if (!serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                   &fixture.result, &fixture.err) ||
        !utilisation_end(utilisation, &fixture.result, &fixture.err))
        fail_msg("%s", fixture.err.text);
    return utilisation;
}

static void two_stages(void)
{
    fixture_stages(STAGES "x,0,0.030,0.010\nx,1,0.005,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.010,s\n2,0.010,s\n");
}

static void a_run_is_cut_into_windows(void **state)
{
    (void)state;
    two_stages(); /* a: 0-30, 40-70, 80-110; b: 30-35, 70-75, 110-115; waits on a: 30, 70 */
    assert_string_equal(written(run(50 * MS)), HEAD "0,0.05,device,a,0.8,0.2,1.4,0\n"
                                                    "0,0.05,device,b,0.1,0,0,0\n"
                                                    "0.05,0.1,device,a,0.8,0.2,0.6,0\n"
                                                    "0.05,0.1,device,b,0.1,0,0,0\n"
                                                    "0.1,0.115,device,a,0.666667,0.333333,0,0\n"
                                                    "0.1,0.115,device,b,0.333333,0,0,0\n");
    assert_string_equal(written(run(1000 * MS)),
                        HEAD "0,0.115,device,a,0.782609,0.217391,0.869565,0\n"
                             "0,0.115,device,b,0.130435,0,0,0\n");
}

static void links_have_rows_of_their_own(void **state)
{
    (void)state;
    two_stages();
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0,s\n");
    fixture_stages("executable,stage,latency_s,output_bytes\nx,0,0.010,1250\nx,1,0.010,0\n");
    fixture_cluster("device,type\na,t\nb,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                               "lan,wifi,*,5e5,0\n");
    fixture.options.network = SERVE_NETWORK_FIFO;
    /* 1250 bytes take 20 ms: 10-30, 30-50, the second message waits from 20 on, and the first
     * request's empty result from 40 to 50. */
    assert_string_equal(written(run(30 * MS)), HEAD "0,0.03,device,a,0.666667,0,0.333333,0\n"
                                                    "0,0.03,device,b,0,0,0,0\n"
                                                    "0,0.03,link,lan,0.666667,,0.333333,\n"
                                                    "0.03,0.06,device,a,0,0,0,0\n"
                                                    "0.03,0.06,device,b,0.666667,0,0,0\n"
                                                    "0.03,0.06,link,lan,0.666667,,0.333333,\n");
}

static void a_link_that_was_never_used_has_rows_too(void **state)
{
    (void)state;
    two_stages();
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    fixture_cluster("device,type\na,t\nb,t\n",
                    "medium,kind,node,bits_per_s,latency_s\n"
                    "lan,switch,a,1e9,0\nlan,switch,b,1e9,0\nlan,switch,source,1e9,0\n");
    assert_non_null(strstr(written(run(1000 * MS)), ",link,lan/b,"));
}

/* a fails at 10: until then it computes, and two wait, one since 5. From 20 on it is up. */
static void what_fails_was_busy_and_waited(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.030,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0,s\n2,0.005,s\n3,0.020,s\n");
    fixture_write("e.csv", "time_s,target,event,value\n0.010,a,down,\n0.020,a,up,\n");
    fixture.files.events = fixture_path("e.csv");
    assert_string_equal(written(run(25 * MS)), HEAD "0,0.025,device,a,0.6,0,0.6,0\n"
                                                    "0.025,0.05,device,a,1,0,0,0\n");
}

/* At 20 b is taken until 40; a, which computes until 30 and has a gap of 10, until 60. */
static void a_switch_is_a_gap(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.030,0.010\ny,0,0.030,0\n");
    fixture_write("p.csv", "service,replica,stage,device,executable,epoch,from_s\n"
                           "s,0,0,a,x,0,\ns,0,0,a,y,1,0.020\ns,1,0,b,y,1,0.020\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.100,s\n");
    fixture.options.switch_cost_ps = 20 * MS;
    assert_string_equal(written(run(50 * MS)), HEAD "0,0.05,device,a,0.6,0.4,0,0\n"
                                                    "0,0.05,device,b,0,0.4,0,0\n"
                                                    "0.05,0.1,device,a,0,0.2,0,0\n"
                                                    "0.05,0.1,device,b,0,0,0,0\n"
                                                    "0.1,0.13,device,a,1,0,0,0\n"
                                                    "0.1,0.13,device,b,0,0,0,0\n");
    /* the run ends within gap and switch of a, and then within that of b alone */
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    assert_string_equal(written(run(50 * MS)), HEAD "0,0.03,device,a,1,0,0,0\n"
                                                    "0,0.03,device,b,0,0.333333,0,0\n");
}

/* Booked 0-30, 30-60; the epoch takes a and b for 20 ms: a from 60 on, b from 40 on. */
static void bookings_have_waits_and_switches(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.030,0\ny,0,0.030,0\n");
    fixture_write("p.csv", "service,replica,stage,device,executable,epoch,from_s\n"
                           "s,0,0,a,x,0,\ns,0,0,a,y,1,0.040\ns,1,0,b,y,1,0.040\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.010,s\n2,0.050,s\n");
    fixture_write("o.csv", "where,dist,mean_s\nresponse,constant,0\n");
    fixture.files.overhead = fixture_path("o.csv");
    fixture.options.rules = SERVE_ALPASERVE;
    fixture.options.switch_cost_ps = 20 * MS;
    /* 2 on b from 60 to 90, having waited for 10 */
    assert_string_equal(written(run(50 * MS)), HEAD "0,0.05,device,a,1,0,0.4,0\n"
                                                    "0,0.05,device,b,0,0.2,0,0\n"
                                                    "0.05,0.09,device,a,0.25,0.5,0,0\n"
                                                    "0.05,0.09,device,b,0.75,0.25,0.25,0\n");
    assert_int_equal(fixture.result.devices[0].wait_peak_ps, 20 * MS);
    assert_int_equal(fixture.result.devices[1].wait_peak_ps, 10 * MS);
    assert_int_equal(fixture.result.devices[0].gap_ps, 20 * MS);
    assert_int_equal(fixture.result.devices[1].gap_ps, 20 * MS);
    fixture.options.switch_cost_ps = 60 * MS; /* of a 60-120, of b 40-100 */
    fixture_write("w.csv", "request_id,arrival_s,service,slo_s\n"
                           "0,0,s,\n1,0.010,s,\n2,0.050,s,0.001\n");
    assert_string_equal(written(run(50 * MS)), HEAD "0,0.05,device,a,1,0,0.4,0\n"
                                                    "0,0.05,device,b,0,0.2,0,0\n"
                                                    "0.05,0.06,device,a,1,0,0,0\n"
                                                    "0.05,0.06,device,b,0,1,0,0\n");
    assert_int_equal(fixture.result.devices[0].gap_ps, 0);
    assert_int_equal(fixture.result.devices[1].gap_ps, 20 * MS);
}

/* ---- against overlaps computed one by one ---- */

#define SPANS 400
#define DEVICES 3

static int64_t overlap(int64_t from_ps, int64_t to_ps, int64_t start_ps, int64_t end_ps)
{
    int64_t from = from_ps > start_ps ? from_ps : start_ps, to = to_ps < end_ps ? to_ps : end_ps;

    return to > from ? to - from : 0;
}

/* Jobs one after the other on each device, some of several requests, some long, some without cost.
 */
static int64_t draw_spans(struct rng *rng, struct serve_span *spans, int64_t scale_ps)
{
    int64_t free_ps[DEVICES] = { 0 }, end_ps = 0;

    for (int i = 0; i < SPANS; i++) {
        struct serve_span *span = &spans[i];
        int64_t idle_ps = (int64_t)rng_below(rng, (uint64_t)scale_ps);

        *span = (struct serve_span){ .device = (int32_t)rng_below(rng, DEVICES) };
        if (i > 0 && rng_below(rng, 4) == 0) { /* another request of the same batch */
            *span = spans[i - 1];
            span->share++;
        } else {
            span->start_ps = free_ps[span->device] + (rng_below(rng, 2) ? idle_ps : 0);
            span->finish_ps = span->start_ps + (int64_t)rng_below(rng, (uint64_t)scale_ps);
            span->gap_ps = rng_below(rng, 2) ? (int64_t)rng_below(rng, (uint64_t)scale_ps) : 0;
            free_ps[span->device] = span->finish_ps + span->gap_ps;
        }
        span->wait_ps = (int64_t)rng_below(rng, (uint64_t)span->start_ps + 1);
        end_ps = span->finish_ps > end_ps ? span->finish_ps : end_ps;
    }
    return end_ps;
}

static void put_naive(struct out *out, const struct serve_span *spans, int device, int64_t start_ps,
                      int64_t end_ps)
{
    struct trace_utilisation row = { .start_ps = start_ps,
                                     .end_ps = end_ps,
                                     .kind = "device",
                                     .target = device == 0   ? "a"
                                               : device == 1 ? "b"
                                                             : "c" };
    int64_t waited_ps = 0;

    for (int i = 0; i < SPANS; i++) {
        const struct serve_span *span = &spans[i];

        if (span->device != device)
            continue;
        waited_ps += overlap(span->start_ps - span->wait_ps, span->start_ps, start_ps, end_ps);
        if (span->share > 0)
            continue;
        row.busy_ps += overlap(span->start_ps, span->finish_ps, start_ps, end_ps);
        row.gap_ps += overlap(span->finish_ps, span->finish_ps + span->gap_ps, start_ps, end_ps);
    }
    row.queue_millionths = units_mul_div(waited_ps, 1000000, end_ps - start_ps);
    trace_utilisation_put(out, &row);
}

static void windows_equal_the_overlaps_of_all_intervals(void **state)
{
    static const int64_t windows_ps[] = { 1, 7, 100, 1000, 54321, 10000000 };
    struct cluster_device devices[DEVICES] = { { .name = "a" }, { .name = "b" }, { .name = "c" } };
    const struct cluster cluster = { .device_count = DEVICES, .devices = devices };
    struct rng rng = rng_stream(1, RNG_TEST, 30);

    (void)state;
    for (size_t w = 0; w < sizeof(windows_ps) / sizeof(windows_ps[0]); w++) {
        int64_t window_ps = windows_ps[w], scale_ps = window_ps < 100 ? 20 : 10000;
        struct utilisation *utilisation = utilisation_begin(fixture.arena, &cluster, window_ps);
        struct serve_observer observer = utilisation_observer(utilisation);
        struct out *out = out_open_memory(fixture.arena);
        struct serve_span spans[SPANS];
        struct serve_result result = { .end_ps = draw_spans(&rng, spans, scale_ps) };

        for (int i = 0; i < SPANS; i++)
            observer.on_span(observer.arg, &spans[i]);
        assert_true(utilisation_end(utilisation, &result, &fixture.err));
        trace_utilisation_begin(out, NULL);
        for (int64_t at_ps = 0; at_ps < result.end_ps; at_ps += window_ps)
            for (int d = 0; d < DEVICES; d++)
                put_naive(out, spans, d, at_ps,
                          at_ps + window_ps < result.end_ps ? at_ps + window_ps : result.end_ps);
        assert_string_equal(written(utilisation), out_memory(out, NULL));
    }
}

/* The most of each window: what it begins with, and every change in it. */
static void caches_peak_in_each_window(void **state)
{
    enum { EVENTS = 400 };
    struct cluster_device devices[] = { { .name = "a" }, { .name = "b" } };
    const struct cluster cluster = { .device_count = 2, .devices = devices };
    struct rng rng = rng_stream(1, RNG_TEST, 31);

    (void)state;
    for (int64_t window_ps = 3; window_ps <= 3000; window_ps *= 10) {
        struct utilisation *utilisation = utilisation_begin(fixture.arena, &cluster, window_ps);
        struct serve_observer observer = utilisation_observer(utilisation);
        int64_t times_ps[EVENTS], bytes[EVENTS], now_ps = 0, level = 0;
        struct serve_result result;
        struct out *out = out_open_memory(fixture.arena);

        for (int i = 0; i < EVENTS; i++) {
            now_ps += (int64_t)rng_below(&rng, 40);
            times_ps[i] = now_ps;
            bytes[i] = (int64_t)rng_below(&rng, 1000);
            observer.on_cache(observer.arg, 1, now_ps, bytes[i]);
        }
        result = (struct serve_result){ .end_ps = now_ps + 5 };
        assert_true(utilisation_end(utilisation, &result, &fixture.err));
        trace_utilisation_begin(out, NULL);
        for (int64_t at_ps = 0; at_ps < result.end_ps; at_ps += window_ps) {
            struct trace_utilisation row = { .start_ps = at_ps,
                                             .end_ps = at_ps + window_ps < result.end_ps
                                                           ? at_ps + window_ps
                                                           : result.end_ps,
                                             .kind = "device",
                                             .target = "a" };

            trace_utilisation_put(out, &row);
            row.target = "b";
            row.kv_peak_bytes = level;
            for (int i = 0; i < EVENTS; i++)
                if (times_ps[i] >= at_ps && times_ps[i] < at_ps + window_ps) {
                    level = bytes[i];
                    row.kv_peak_bytes = level > row.kv_peak_bytes ? level : row.kv_peak_bytes;
                }
            trace_utilisation_put(out, &row);
        }
        assert_string_equal(written(utilisation), out_memory(out, NULL));
    }
}

/* A million requests that wait for an hour are more picoseconds than 64 bits hold. */
static void long_waits_of_many_do_not_overflow(void **state)
{
    struct cluster_device device = { .name = "a" };
    const struct cluster cluster = { .device_count = 1, .devices = &device };
    const int64_t hour_ps = 3600 * UNITS_PS_PER_S;
    struct utilisation *utilisation = utilisation_begin(fixture.arena, &cluster, 3 * hour_ps);
    struct serve_observer observer = utilisation_observer(utilisation);
    struct serve_result result = { .end_ps = 2 * hour_ps };

    (void)state;
    for (int i = 0; i < 1000000; i++)
        observer.on_span(observer.arg, &(struct serve_span){ .share = i,
                                                             .start_ps = hour_ps,
                                                             .finish_ps = 2 * hour_ps,
                                                             .wait_ps = hour_ps });
    assert_true(utilisation_end(utilisation, &result, &fixture.err));
    assert_string_equal(written(utilisation), HEAD "0,7200,device,a,0.5,0,500000,0\n");
}

static void too_many_rows_are_an_error(void **state)
{
    struct cluster_device devices[] = { { .name = "a" }, { .name = "b" } };
    const struct cluster cluster = { .device_count = 2, .devices = devices };
    struct serve_result result = { .end_ps = 5000001 };
    struct utilisation *utilisation;
    struct serve_observer observer;

    (void)state;
    utilisation = utilisation_begin(fixture.arena, &cluster, 1);
    assert_false(utilisation_end(utilisation, &result, &fixture.err));
    assert_string_equal(fixture.err.text,
                        "--window is '1 ps': 2 devices and 0 links over 0.000005000001 s would "
                        "be more than 10000000 rows: choose a longer one");
    utilisation = utilisation_begin(fixture.arena, &cluster, 1);
    observer = utilisation_observer(utilisation);
    observer.on_span(observer.arg, /* far beyond any row: nothing is kept */
                     &(struct serve_span){ .start_ps = INT64_C(9000000000000000000),
                                           .finish_ps = INT64_C(9000000000000000001) });
    result.end_ps = INT64_C(9000000000000000001);
    fixture.err = (struct err)ERR_INIT;
    assert_false(utilisation_end(utilisation, &result, &fixture.err));
    utilisation = utilisation_begin(fixture.arena, &cluster, 1);
    result.end_ps = 5000000;
    fixture.err = (struct err)ERR_INIT;
    assert_true(utilisation_end(utilisation, &result, &fixture.err));
}

static void all_windows_together_are_the_run(void **state)
{
    struct utilisation *utilisation;
    char expected[200];

    (void)state;
    fixture_stages(STAGES "x,0,0.0031,0.0007\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,1,0,b,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.001,s\n2,0.002,s\n3,0.05,s\n");
    utilisation = run(UNITS_PS_PER_S);
    snprintf(expected, sizeof(expected), HEAD "0,0.0531,device,a,%.6f,%.6f,", 0.0093 / 0.0531,
             0.0014 / 0.0531);
    assert_int_equal(fixture.result.devices[0].busy_ps, 9300 * MS / 1000);
    assert_int_equal(fixture.result.devices[0].gap_ps, 1400 * MS / 1000);
    assert_memory_equal(written(utilisation), expected, strlen(expected));
}

static void nothing_has_no_rows_and_no_plot(void **state)
{
    struct utilisation *utilisation;

    (void)state;
    fixture_stages(STAGES "x,0,0,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    utilisation = run(UNITS_PS_PER_S);
    assert_string_equal(written(utilisation), HEAD);
    assert_string_equal(plotted(utilisation), "");
}

static void a_plot_is_darker_where_more_is_done(void **state)
{
    (void)state;
    two_stages();
    assert_string_equal(plotted(run(5 * MS)),
                        "\nshare of time taken, 0 to 115 ms, from idle to 100 %: ' .:-=+*#%@'\n"
                        "a                       |@@@@@@@@@@@@@@@@@@@@@@@|\n"
                        "b                       |      @       @       @|\n");
    for (int64_t window_ps = MS / 1000; window_ps < 200 * MS; window_ps *= 3) {
        const char *text = plotted(run(window_ps));

        for (const char *line = text; *line; line += strcspn(line, "\n") + 1)
            assert_true(strcspn(line, "\n") <= 80);
    }
    /* 115 windows of 1 ms in 50 columns: 30-35 ms is two thirds of one, another, half of a third.
     */
    assert_non_null(strstr(plotted(run(MS)), "\nb                       |             *@="));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_run_is_cut_into_windows),
        TEST(links_have_rows_of_their_own),
        TEST(a_link_that_was_never_used_has_rows_too),
        TEST(what_fails_was_busy_and_waited),
        TEST(a_switch_is_a_gap),
        TEST(bookings_have_waits_and_switches),
        TEST(windows_equal_the_overlaps_of_all_intervals),
        TEST(caches_peak_in_each_window),
        TEST(long_waits_of_many_do_not_overflow),
        TEST(too_many_rows_are_an_error),
        TEST(all_windows_together_are_the_run),
        TEST(nothing_has_no_rows_and_no_plot),
        TEST(a_plot_is_darker_where_more_is_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
