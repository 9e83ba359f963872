/* test_lindley.c - when the closed form runs in place of events, and that it gives the same. */
#include "tests/unit/sim/fixture.h"

#include "lib/format/cluster.h"
#include "lib/format/trace.h"
#include "sim/report/report.h"

#define STAGES "executable,stage,latency_s,gap_s\n"
#define PLACED "service,replica,stage,device,executable\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define LINKS "medium,kind,node,bits_per_s,latency_s\n"

/* Runs without spans, as the closed form needs it. */
static void run(enum serve_fast fast_path)
{
    struct serve_observer observer;

    if (!fixture_load())
        fail_msg("%s", fixture.err.text);
    fixture.options.fast_path = fast_path;
    fixture.meter = metrics_begin(fixture.arena, fixture.scenario.input.plan, &fixture.metrics);
    observer = metrics_observer(fixture.meter);
    observer.on_block = NULL;
    fixture.options.has_parts = true;
    if (!serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                   &fixture.result, &fixture.err))
        fail_msg("%s", fixture.err.text);
}

/* That way gives the same as events in all that a report is made of. */
static void same_as_events(enum serve_fast fast_path)
{
    const char *requests;
    struct serve_result events;
    int device_count;

    run(SERVE_FAST_OFF);
    assert_int_equal(fixture.result.fast_path, SERVE_FAST_OFF);
    requests = fixture_requests();
    events = fixture.result;
    run(fast_path);
    assert_string_equal(fixture_requests(), requests);
    assert_int_equal(fixture.result.end_ps, events.end_ps);
    assert_int_equal(fixture.result.event_count, events.event_count);
    assert_int_equal(fixture.result.taken_count, events.taken_count);
    assert_int_equal(fixture.result.moved_bytes, events.moved_bytes);
    assert_int_equal(fixture.result.arrival_span_ps, events.arrival_span_ps);
    device_count = fixture.scenario.input.plan->cluster->device_count;
    assert_memory_equal(fixture.result.devices, events.devices,
                        (size_t)device_count * sizeof(*events.devices));
    assert_int_equal(fixture.result.link_count, events.link_count);
    for (int i = 0; i < events.link_count; i++) {
        assert_int_equal(fixture.result.links[i].busy_ps, events.links[i].busy_ps);
        assert_int_equal(fixture.result.links[i].bytes, events.links[i].bytes);
        assert_memory_equal(&fixture.result.links[i].share, &events.links[i].share,
                            sizeof(struct share));
    }
    assert_int_equal(fixture.result.replica_count, events.replica_count);
    assert_memory_equal(fixture.result.replicas, events.replicas,
                        (size_t)events.replica_count * sizeof(*events.replicas));
    fixture.result.parts.media = events.parts.media;
    assert_memory_equal(&fixture.result.parts, &events.parts, sizeof(events.parts));
}

/* All ways give the same. Returns whether the closed form was taken. */
static bool same_both_ways(void)
{
    same_as_events(SERVE_FAST_EVENTS);
    same_as_events(SERVE_FAST_ON);
    return fixture.result.fast_path == SERVE_FAST_ON;
}

static void pipeline(void)
{
    fixture_stages("executable,stage,latency_s,gap_s,output_bytes,batch\n"
                   "x,0,0.010,0.001,1000,1\nx,1,0.012,0.002,10,1\n"
                   "x,0,0.011,0.003,1500,4\nx,1,0.020,0.004,15,4\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\ns,0,1,c,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,batch\n0,0,s,1\n1,0,s,3\n2,0.001,s,1\n"
                           "3,0.030,s,4\n4,0.200,s,1\n");
}

static void a_pipeline_is_run_by_the_closed_form(void **state)
{
    (void)state;
    pipeline();
    assert_true(same_both_ways());
    fixture_cluster("device,type\na,t\nb,t\nc,t\n", LINKS "l,switch,*,1e6,0.001\n");
    assert_true(same_both_ways());
    assert_int_equal(fixture.result.devices[0].gap_ps, 9 * MS);
}

static void messages_that_may_meet_are_left_to_flows(void **state)
{
    (void)state;
    pipeline();
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\nr,0,0,c,x\nr,0,1,e,x\n");
    fixture_cluster("device,type\na,t\nb,t\nc,t\ne,t\n", LINKS "l,switch,*,1e6,0.001\n");
    assert_false(same_both_ways()); /* the source's ports */
    fixture.options.network = SERVE_NETWORK_FIFO;
    assert_true(same_both_ways()); /* ports know no receivers */
    fixture_cluster("device,type\na,t\nb,t\nc,t\ne,t\n",
                    LINKS "l,switch,a,1e6,0.001\nl,switch,b,1e6,0.001\n"
                          "l,switch,c,1e6,0.001\nl,switch,e,1e6,0.001\n");
    fixture.options.network = SERVE_NETWORK_AUTO;
    assert_true(same_both_ways()); /* nothing meets */
    fixture.options.network = SERVE_NETWORK_FLOWS;
    assert_false(same_both_ways());
}

static void whatever_looks_at_a_state_that_may_change_is_not(void **state)
{
    static const enum dispatch_kind by_state[] = { DISPATCH_LEAST_OUTSTANDING,
                                                   DISPATCH_LEAST_LAST_STAGE };

    (void)state;
    pipeline();
    fixture.options.admission = ADMIT_LATE;
    assert_false(same_both_ways());
    fixture.options.admission = ADMIT_NONE;
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\ns,1,0,c,x\ns,1,1,e,x\n");
    for (int i = 0; i < 2; i++) {
        fixture.options.dispatch = by_state[i];
        assert_false(same_both_ways());
    }
    fixture.options.dispatch = DISPATCH_LEAST_IDLE;
    assert_true(same_both_ways());
    fixture.options.dispatch = DISPATCH_RANDOM;
    assert_true(same_both_ways());
    /* by the time that a message arrives, others have been sent */
    fixture_cluster("device,type\na,t\nb,t\nc,t\ne,t\n", LINKS "l,switch,*,1e6,0.001\n");
    fixture.options.network = SERVE_NETWORK_FIFO;
    assert_true(same_both_ways());
    fixture.options.dispatch = DISPATCH_LEAST_IDLE;
    assert_false(same_both_ways());
}

static void devices_and_channels_that_meet_jobs_of_two_senders_are_not(void **state)
{
    (void)state;
    pipeline();
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,a,x\n");
    assert_false(same_both_ways());
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\nr,0,0,b,x\nr,0,1,c,x\n");
    assert_false(same_both_ways());
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_cluster("device,type\na,t\nb,t\n", LINKS "l,wifi,*,1e6,0.001\n");
    assert_false(same_both_ways());
}

static void closed_loops_delays_epochs_and_spans_are_not(void **state)
{
    struct serve_observer observer;

    (void)state;
    pipeline();
    fixture_write("w.csv", "request_id,arrival_s,service,client\n0,,s,c\n1,,s,c\n");
    assert_false(same_both_ways());
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n");
    fixture.files.overhead = fixture_path("o.csv");
    fixture_write("o.csv", "where,dist,mean_s\nworker,constant,0.001\n");
    assert_false(same_both_ways());
    fixture_write("o.csv", "where,dist,mean_s\nresponse,exp,0.001\n");
    assert_true(same_both_ways());
    fixture.files.overhead = NULL;
    fixture_write("p.csv", "service,replica,stage,device,executable,epoch,from_s\n"
                           "s,0,0,a,x,0,0\ns,0,1,b,x,0,0\ns,0,0,b,x,1,0.005\ns,0,1,c,x,1,0.005\n");
    assert_false(same_both_ways());
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    assert_true(same_both_ways());
    assert_true(fixture_load());
    fixture.record = record_create(fixture.arena, &fixture.scenario.input, true, false, NULL);
    observer = record_observer(fixture.record);
    assert_true(serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                          &fixture.result, &fixture.err));
    assert_int_not_equal(fixture.result.fast_path, SERVE_FAST_ON);
}

/* Of two ways into one device the shorter one overtakes. */
static void a_device_that_is_reached_in_two_ways_is_not(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.001,0\nx,1,0.010,0\ny,0,0.001,0\ny,1,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\ns,0,1,c,x\nr,0,0,a,y\nr,0,1,c,y\n");
    fixture_cluster("device,type\na,t\nb,t\nc,t\n",
                    LINKS "l,switch,a,1e9,0\nl,switch,b,1e9,0.005\nl,switch,c,1e9,0\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,r\n");
    assert_false(same_both_ways());
    assert_request_ms(1, 0, 1, 12);
    assert_request_ms(0, 0, 0, 22);
}

/* --rules dlsim: a job that arrives as the one before ends is late only where that end comes
 * behind: devices in the order of their names. */
static void dlsim_meets_ends_of_the_same_instant_alike(void **state)
{
    (void)state;
    fixture.options.rules = SERVE_DLSIM;
    fixture_stages(STAGES "x,0,0.010,0\nx,1,0.020,0\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.020,s\n2,0.043,s\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    assert_true(same_both_ways());
    assert_request_ms(1, 20, 20, 53);
    assert_request_ms(2, 43, 43, 76);
    fixture_write("p.csv", PLACED "s,0,0,b,x\ns,0,1,a,x\n");
    assert_true(same_both_ways());
    assert_request_ms(1, 20, 20, 50);
    assert_request_ms(2, 43, 43, 73);
    /* a message comes behind all ends */
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_cluster("device,type\na,t\nb,t\n", LINKS "l,switch,a,1e9,0\nl,switch,b,1e9,0\n");
    assert_true(same_both_ways());
    assert_request_ms(1, 20, 20, 50);
    fixture.files.cluster = NULL;
    fixture_stages(STAGES "x,0,0,0\nx,1,0.020,0\n");
    assert_false(same_both_ways());
}

static void long_jobs_are_left_to_events(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,100000,0\n"); /* one by one: sums over blocks might not fit */
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n");
    assert_true(same_both_ways());
    fixture_stages(STAGES "x,0,5000000,5000000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n");
    assert_false(same_both_ways());
    assert_int_equal(fixture.result.devices[0].gap_ps, 0);
    assert_int_equal(fixture.result.end_ps, 5000000 * UNITS_PS_PER_S);
}

static void refused_requests_are_told_alike(void **state)
{
    (void)state;
    pipeline();
    fixture.options.memory = SERVE_MEMORY_REFUSE;
    fixture_stages("executable,stage,latency_s,weight_bytes\nx,0,0.010,500\ny,0,0.010,5000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\nr,0,0,b,y\n");
    fixture_cluster("device,type,memory_bytes\na,t,1000\nb,t,1000\n", NULL);
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,r\n2,0.5,r\n");
    assert_true(same_both_ways());
    assert_int_equal(fixture.result.requests[1].status, TRACE_REFUSED);
    assert_int_equal(fixture.result.end_ps, 500 * MS);
}

/* ---- in blocks of 1024 requests ---- */

/* The report of a run that keeps no request. */
static const char *report_of(enum serve_fast fast_path)
{
    struct report report = { .options = fixture.metrics };
    struct serve_observer observer;
    struct out *out = out_open_memory(fixture.arena);
    struct meter *meter;

    if (!fixture_load())
        fail_msg("%s", fixture.err.text);
    fixture.options.keeps_requests = false;
    fixture.options.fast_path = fast_path;
    fixture.options.has_parts = fixture.metrics.has_all = true;
    meter = metrics_begin(fixture.arena, fixture.scenario.input.plan, &fixture.metrics);
    observer = metrics_observer(meter);
    if (!serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                   &fixture.result, &fixture.err))
        fail_msg("%s", fixture.err.text);
    assert_int_equal(fixture.result.fast_path, fast_path);
    report.inputs = &fixture.scenario.inputs;
    report_fill(fixture.arena, &report, &fixture.scenario.input, &fixture.result, meter);
    report_json(fixture.arena, &report, out);
    return out_memory(out, NULL);
}

static void assert_same_report(size_t taken)
{
    const char *events = report_of(SERVE_FAST_OFF);

    assert_int_equal(fixture.result.taken_count, taken);
    assert_string_equal(report_of(SERVE_FAST_ON), events);
}

static void draw(int64_t requests)
{
    struct load *load = &fixture.files.load;

    memset(load, 0, sizeof(*load));
    fixture.files.workload = NULL;
    load->arena = fixture.arena;
    load->options.process = GENERATE_POISSON;
    load->options.rate_per_s = 100;
    load->options.max_requests = requests;
    load->options.seed = 3;
    load->texts[LOAD_PROCESS] = "poisson";
    assert_true(generate_parse_service(fixture.arena, "s:2", &load->options, &fixture.err) &&
                generate_parse_service(fixture.arena, "r", &load->options, &fixture.err));
    load->has_shares = true;
    assert_true(load_finish(load, &fixture.err));
}

static void blocks_are_no_matter(void **state)
{
    static const int64_t counts[] = { 1, 1023, 1024, 1025, 2500 };
    struct workload *workload;
    struct out *out;

    (void)state;
    fixture_stages(STAGES "x,0,0.008,0.001\nx,1,0.007,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\nr,0,0,a,x\nr,0,1,b,x\n");
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        draw(counts[i]);
        assert_same_report((size_t)counts[i]);
        workload = generate_workload(fixture.arena, &fixture.files.load.options, &fixture.err);
        out = out_open(fixture.arena, fixture_path("w.csv"), &fixture.err);
        assert_true(workload && out);
        workload_write(out, workload, NULL);
        assert_true(out_commit(out, &fixture.err));
        fixture.files.workload = fixture_path("w.csv");
        assert_same_report((size_t)counts[i]);
    }
    for (int k = 0; k < 2; k++) {
        fixture.options.max_requests = 1024;
        assert_same_report(1024);
        fixture.options.max_requests = SIZE_MAX;
        fixture.options.until_ps = workload->arrivals_ps[1024];
        assert_same_report(1024);
        fixture.options.until_ps = workload->arrivals_ps[1024] + 1;
        assert_same_report(1025);
        fixture.options.until_ps = 0;
        assert_same_report(0);
        fixture.options.until_ps = ENGINE_NEVER;
        fixture.metrics.trim_ps = 3 * UNITS_PS_PER_S;
        fixture.metrics.slo_ps = 40 * MS;
        draw(2500); /* then the same without a file */
    }
}

static void blocks_know_objectives_of_requests_and_the_end_of_time(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv",
                  "request_id,arrival_s,service,slo_s\n0,0,s,0.010\n1,0,s,0.010\n2,0,s,\n");
    fixture.metrics.slo_ps = 30 * MS;
    assert_same_report(3);
    assert_non_null(strstr(report_of(SERVE_FAST_ON), "\"goodput_ratio\": 0.6666666666666666"));
    fixture_write("w.csv", REQUESTS "0,8999999.995,s\n");
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        fixture.options.fast_path = (enum serve_fast)fast;
        assert_true(fixture_load());
        assert_false(serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, NULL,
                               &fixture.result, &fixture.err));
        assert_non_null(strstr(fixture.err.text, "simulated time passes 9000000 s"));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_pipeline_is_run_by_the_closed_form),
        TEST(messages_that_may_meet_are_left_to_flows),
        TEST(whatever_looks_at_a_state_that_may_change_is_not),
        TEST(devices_and_channels_that_meet_jobs_of_two_senders_are_not),
        TEST(closed_loops_delays_epochs_and_spans_are_not),
        TEST(a_device_that_is_reached_in_two_ways_is_not),
        TEST(dlsim_meets_ends_of_the_same_instant_alike),
        TEST(long_jobs_are_left_to_events),
        TEST(refused_requests_are_told_alike),
        TEST(blocks_are_no_matter),
        TEST(blocks_know_objectives_of_requests_and_the_end_of_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
