/* test_serve.c - the life of requests on black boxes: queues, gaps, links, dispatch, limits. */
#include "tests/unit/sim/fixture.h"

#include "lib/policy/source.h"
#include "sim/serve/internal.h"

#define STAGES "executable,stage,latency_s\n"
#define GAPS "executable,stage,latency_s,gap_s\n"
#define PLACED "service,replica,stage,device,executable\n"
#define DEVICES "device,type\n"
#define LINKS "medium,kind,node,bits_per_s,latency_s\n"

/* The example of the design: stages of 20 and 30, a link of 5. */
static void three_requests_by_hand_on_two_stages_with_a_link(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.020\nx,1,0.030\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_cluster(DEVICES "a,t\nb,t\n", LINKS "cable,switch,a,1e9,0.005\n"
                                                "cable,switch,b,1e9,0.001\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0,s\n2,0,s\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 55);
    assert_request_ms(1, 0, 20, 85);
    assert_request_ms(2, 0, 40, 115);
    assert_int_equal(fixture.result.event_count, 12); /* 3 arrivals, 3 messages, 6 completions */
    assert_int_equal(fixture.result.end_ps, 115 * MS);
    assert_int_equal(fixture.result.devices[0].busy_ps, 60 * MS);
    assert_int_equal(fixture.result.devices[1].busy_ps, 90 * MS);
    assert_string_equal(fixture_stages_text(),
                        "# orrery: stages 1\n"
                        "request_id,service,replica,stage,device,start_s,finish_s,step,batch_id,"
                        "phase\n"
                        "0,s,0,0,a,0,0.02,0,,\n0,s,0,1,b,0.025,0.055,0,,\n"
                        "1,s,0,0,a,0.02,0.04,0,,\n1,s,0,1,b,0.055,0.085,0,,\n"
                        "2,s,0,0,a,0.04,0.06,0,,\n2,s,0,1,b,0.085,0.115,0,,\n");
    assert_string_equal(fixture_transfers(),
                        "# orrery: transfers 1\n"
                        "request_id,step,batch_id,from_device,to_device,medium,bytes,send_s,"
                        "receive_s\n"
                        "0,0,,a,b,cable,0,0.02,0.025\n1,0,,a,b,cable,0,0.04,0.045\n"
                        "2,0,,a,b,cable,0,0.06,0.065\n");
}

static void the_next_start_waits_for_the_gap(void **state)
{
    (void)state;
    fixture_stages(GAPS "x,0,0.010,0.004\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n"
                           "0,0,s\n1,0,s\n2,0.012,s\n3,0.040,s\n4,0.060,s\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 10);
    assert_request_ms(1, 0, 14, 24);
    assert_request_ms(2, 12, 28, 38);
    assert_request_ms(3, 40, 42, 52); /* arrives inside a gap that nobody waited for */
    assert_request_ms(4, 60, 60, 70); /* after it */
    assert_int_equal(fixture.result.devices[0].gap_ps, 16 * MS); /* the last one is after the end */
}

static void results_count_when_the_source_holds_them(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s,output_bytes\nx,0,0.010,1000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_cluster(DEVICES "a,t\n", LINKS "lan,switch,*,1e6,0.001\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.100,s\n");
    fixture_must_run();
    assert_request_ms(0, 0, 1, 20); /* 1 in, 10 compute, 8 on the wire, 1 back */
    assert_request_ms(1, 100, 101, 120);
    assert_int_equal(fixture.result.moved_bytes, 2000);
    assert_int_equal(fixture.result.link_count, 4);
    assert_string_equal(fixture.result.links[1].name, "lan/a/in");
    assert_string_equal(fixture.result.links[2].name, "lan/a");
    assert_string_equal(fixture.result.links[3].name, "lan/source/in");
    assert_int_equal(fixture.result.links[1].busy_ps, 0);
    assert_int_equal(fixture.result.links[2].busy_ps, 16 * MS);
    assert_int_equal(fixture.result.links[3].busy_ps, 16 * MS);
    assert_int_equal(fixture.result.links[3].bytes, 2000);
}

static void a_stage_on_two_devices_waits_for_both(void **state)
{
    (void)state;
    fixture_stages(STAGES "one,0,0.010\ntwo,0,0.005\n");
    fixture_write("p.csv", PLACED "a,0,0,d0,one\nb,0,0,d1,one\nab,0,0,d0,two\nab,0,0,d1,two\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n"
                           "0,0,a\n1,0.002,ab\n2,0.003,b\n3,0.004,ab\n4,0.005,a\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 10);
    assert_request_ms(1, 2, 10, 15); /* d1 idles: it is not overtaken by request 2 */
    assert_request_ms(2, 3, 15, 25);
    assert_request_ms(3, 4, 25, 30);
    assert_request_ms(4, 5, 30, 40);
    assert_int_equal(fixture.result.devices[0].busy_ps, 30 * MS);
    assert_int_equal(fixture.result.devices[1].busy_ps, 20 * MS);
}

static void a_gap_holds_every_device_of_the_stage(void **state)
{
    (void)state;
    fixture_stages(GAPS "one,0,0.010,0\ntwo,0,0.005,0.003\n");
    fixture_write("p.csv", PLACED "b,0,0,d1,one\nab,0,0,d0,two\nab,0,0,d1,two\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,ab\n1,0,ab\n2,0,b\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 5);
    assert_request_ms(1, 0, 8, 13);
    assert_request_ms(2, 0, 16, 26);
}

static void stages_of_an_executable_named_by_layers_run_as_one(void **state)
{
    (void)state;
    fixture_stages(GAPS "x,0,0.010,0.001\nx,1,0.020,0.002\nx,2,0.005,0.003\n");
    fixture_write("p.csv", "service,replica,stage,device,executable,layers\n"
                           "s,0,0,a,x,0-1\ns,0,1,b,x,2\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0,s\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 35);
    assert_request_ms(1, 0, 32, 67); /* after 30 and the gap of profiled stage 1 */
}

static void speed_ratio_divides_latency_and_gap(void **state)
{
    (void)state;
    fixture_stages(GAPS "x,0,0.010,0.004\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_cluster("device,type,speed_ratio\na,t,2\n", NULL);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0,s\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 5);
    assert_request_ms(1, 0, 7, 12);
}

static void completion_frees_the_device_before_an_arrival_of_the_same_instant(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,1,0,b,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.010,s\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[1].replica, 0); /* a counts as idle again */
    assert_request_ms(1, 10, 10, 20);
}

static void dispatch_follows_its_policy(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,7,0,b,x\n");
    fixture_write("w.csv",
                  "request_id,arrival_s,service\n0,0,s\n1,0.020,s\n2,0.021,s\n3,0.040,s\n");
    fixture_must_run(); /* least-idle: the second only when the first is busy */
    assert_int_equal(fixture.result.requests[0].replica, 0);
    assert_int_equal(fixture.result.requests[1].replica, 0);
    assert_int_equal(fixture.result.requests[2].replica, 1);
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    fixture_must_run();
    for (int i = 0; i < 4; i++)
        assert_int_equal(fixture.result.requests[i].replica, i % 2);
    assert_non_null(strstr(fixture_requests(), "\n1,s,7,0.02,0.02,,0.03,"));
    fixture.options.dispatch = DISPATCH_LEAST_OUTSTANDING;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[1].replica, 0);
    assert_int_equal(fixture.result.requests[2].replica, 1);
}

static void limits_leave_requests_out(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.020,s\n2,0.030,s\n");
    fixture.options.until_ps = 30 * MS;
    fixture_must_run();
    assert_int_equal(fixture.result.taken_count, 2);
    assert_false(fixture.result.requests[2].is_taken);
    assert_null(strstr(fixture_requests(), "\n2,"));
    fixture.options.until_ps = ENGINE_NEVER;
    fixture.options.max_requests = 1;
    fixture_must_run();
    assert_int_equal(fixture.result.taken_count, 1);
    assert_int_equal(fixture.result.end_ps, 10 * MS);
}

static void memory_is_checked_before_the_run(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s,weight_bytes,activation_bytes\nx,0,0.010,600,50\n"
                   "y,0,0.010,300,70\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\nr,0,0,a,y\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    fixture_cluster("device,type,memory_bytes,reserved_bytes\na,t,1000,30\n", NULL);
    fixture_must_run();
    assert_int_equal(fixture.result.devices[0].peak_bytes, 600 + 300 + 70 + 30);
    fixture_cluster("device,type,memory_bytes,reserved_bytes\na,t,999,30\n", NULL);
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "cluster/devices.csv:2: device 'a' has "));
    assert_non_null(strstr(fixture.err.text, "(999 bytes)"));
    assert_non_null(strstr(fixture.err.text, "(1000 bytes)"));
}

static void what_is_not_simulated_is_refused(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    fixture_write("p.csv", "service,replica,stage,device,executable,queue_depth\ns,0,0,a,x,4\n");
    fixture.options.rules = SERVE_DLSIM;
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "p.csv:2:6: queue_depth is '4': the simulator"));
    fixture.options.rules = SERVE_DEFAULT;
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,batch\n0,0,s,2\n");
    assert_false(fixture_run());
    assert_non_null(
        strstr(fixture.err.text,
               "w.csv:2:4: batch is '2': executable 'x' is profiled for at most 1 at once"));
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    fixture_cluster(DEVICES "a,other\n", NULL);
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "devices.csv:2"));
    assert_non_null(strstr(fixture.err.text, "other"));
}

static void missing_files_are_named(void **state)
{
    (void)state;
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "costs"));
    fixture_stages(STAGES "x,0,0.010\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "p.csv: No such file"));
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "w.csv: No such file"));
    fixture.files.cluster = fixture_path("nowhere");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "nowhere"));
}

static void time_beyond_the_calendar_ends_the_run(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,8900000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,8900000,s\n");
    assert_false(fixture_run());
    assert_non_null(strstr(fixture.err.text, "simulated time passes 9000000 s"));
}

static void sessions_and_clients_wait_for_their_turn(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,client,think_s\n"
                           "0,,s,me,0.003\n1,,s,me,0.005\n2,,s,you,0\n");
    fixture_must_run();
    assert_request_ms(2, 0, 0, 10);
    assert_request_ms(0, 3, 10, 20);
    assert_request_ms(1, 25, 25, 35);
}

/* ---- the self-check, given states that no run should reach ---- */

static struct serve serve;

static void check_begin(void)
{
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n40,0,s\n41,0,s\n");
    fixture_must_run();
    memset(&serve, 0, sizeof(serve));
    serve.arena = fixture.arena;
    serve.input = &fixture.scenario.input;
    serve.options = &fixture.options;
    serve.result = &fixture.result;
    assert_true(setup_build(&serve, &fixture.err));
    serve.told_count = 2;
    serve.is_looped = true;
    fixture.options.max_requests = 0;
    arrivals_begin(&serve.arrivals, fixture.arena, serve.input, serve.options);
    for (int i = 0; i < 1; i++) {
        serve.stations[i].busy_ps = 20 * MS;
        serve.stations[i].offered_ps = 20 * (uint64_t)MS;
        assert_int_equal(fixture.result.devices[i].busy_ps, 20 * MS);
    }
    assert_true(self_check_end(&serve, &fixture.err));
}

static void assert_check_fails(const char *text)
{
    fixture.err = (struct err)ERR_INIT;
    assert_false(self_check_end(&serve, &fixture.err));
    assert_int_equal(fixture.err.kind, ERR_SYSTEM);
    assert_non_null(strstr(fixture.err.text, text));
}

static void blocked_requests_are_listed(void **state)
{
    struct flight flights[4] = {
        { .request = 7 }, { .request = 1 }, { .request = 0 }, { .site = NULL }
    };

    (void)state;
    check_begin();
    flights[1].site = flights[2].site = serve.sites;
    flights[2].is_back = true;
    serve.flights = flights;
    serve.flight_count = 4;
    serve.in_system = 2;
    assert_check_fails("blocked: 2 requests in the system");
    assert_non_null(strstr(fixture.err.text,
                           "41 (step 0, stage 0, on device a), 40 (step 0, stage 0, on the "
                           "way back)"));
    serve.in_system = 0;
    serve.flight_count = 0;
    fixture.options.max_requests = SIZE_MAX;
    arrivals_begin(&serve.arrivals, fixture.arena, serve.input, serve.options);
    assert_check_fails("2 still to come, but no event is left; first requests: none");
}

static void broken_laws_are_errors(void **state)
{
    (void)state;
    check_begin();
    serve.area_ps = 5;
    assert_check_fails("Little's law");
    serve.area_ps = 0;
    serve.told_count = 1;
    assert_check_fails("2 requests have arrived and 1 have ended, 0 of them more than once");
    serve.told_count = 2;
    serve.retold_count = 1;
    assert_check_fails("2 requests have arrived and 2 have ended, 1 of them more than once");
    serve.retold_count = 0;
    serve.late_starts = 1;
    assert_check_fails("1 jobs did not start");
    serve.late_starts = 0;
    serve.stations[0].offered_ps++;
    assert_check_fails("device 'a' was busy");
    serve.stations[0].offered_ps--;
    serve.memories[0].kv_bytes = 12;
    assert_check_fails("still holds 12 bytes");
    serve.memories[0].kv_bytes = 0;
    fixture.result.devices[0].gap_ps = 1;
    assert_check_fails("in gaps for 1 ps");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(three_requests_by_hand_on_two_stages_with_a_link),
        TEST(the_next_start_waits_for_the_gap),
        TEST(results_count_when_the_source_holds_them),
        TEST(a_stage_on_two_devices_waits_for_both),
        TEST(a_gap_holds_every_device_of_the_stage),
        TEST(stages_of_an_executable_named_by_layers_run_as_one),
        TEST(speed_ratio_divides_latency_and_gap),
        TEST(completion_frees_the_device_before_an_arrival_of_the_same_instant),
        TEST(dispatch_follows_its_policy),
        TEST(limits_leave_requests_out),
        TEST(memory_is_checked_before_the_run),
        TEST(what_is_not_simulated_is_refused),
        TEST(missing_files_are_named),
        TEST(time_beyond_the_calendar_ends_the_run),
        TEST(sessions_and_clients_wait_for_their_turn),
        TEST(blocked_requests_are_listed),
        TEST(broken_laws_are_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
