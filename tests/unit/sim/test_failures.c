/* test_failures.c - devices that fail, recover or change their speed, by hand. */
#include "tests/unit/sim/fixture.h"

#include "lib/format/trace.h"

#define STAGES "executable,stage,latency_s,gap_s\n"
#define PLACED "service,replica,stage,device,executable\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define EVENTS "time_s,target,event,value\n"

static void events(const char *rows)
{
    fixture.files.events = fixture_path("e.csv");
    fixture_write("e.csv", rows);
}

/* One executable of 10 ms, and a gap, on device a. */
static void one_device(const char *requests, const char *rows)
{
    fixture_stages(STAGES "x,0,0.010,0.002\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", requests);
    events(rows);
    fixture_must_run();
}

/* Started at start_ms, -1 = never; ended without a result. */
static void assert_lost_ms(size_t index, enum trace_status status, int64_t start_ms)
{
    const struct serve_request *request = &fixture.result.requests[index];

    assert_int_equal(request->status, status);
    assert_int_equal(request->start_ps, start_ms < 0 ? TRACE_NONE : start_ms * MS);
    assert_int_equal(request->finish_ps, TRACE_NONE);
}

static void an_idle_device_fails_and_comes_back(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0.015,s\n2,0.020,s\n3,0.030,s\n",
               EVENTS "0.014,a,down,\n0.030,a,up,\n");
    assert_request_ms(0, 0, 0, 10);
    assert_lost_ms(1, TRACE_FAILED, -1);
    assert_lost_ms(2, TRACE_FAILED, -1);
    assert_int_equal(fixture.result.requests[1].replica, -1); /* nobody took it */
    assert_int_equal(fixture.result.failed[SERVE_FAILURE_LOST].count, 0);
    assert_int_equal(fixture.result.failed[SERVE_FAILURE_DOWN].count, 2);
    assert_int_equal(fixture.result.failed[SERVE_FAILURE_DOWN].first_id, 1);
    assert_int_equal(fixture.result.failed[SERVE_FAILURE_DOWN].first_arrival_ps, 15 * MS);
    assert_request_ms(3, 30, 30, 40); /* up goes before an arrival of the same instant */
}

static void what_runs_and_waits_on_a_failed_device_fails(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0,s\n2,0.001,s\n3,0.020,s\n",
               EVENTS "0.004,a,down,\n0.020,a,up,\n");
    assert_lost_ms(0, TRACE_FAILED, 0);
    assert_lost_ms(1, TRACE_FAILED, -1);
    assert_int_equal(fixture.result.requests[1].replica, 0);
    assert_lost_ms(2, TRACE_FAILED, -1);
    assert_request_ms(3, 20, 20, 30); /* at once: a job that failed has no gap */
    assert_int_equal(fixture.result.failed[SERVE_FAILURE_LOST].count, 3);
    assert_int_equal(fixture.result.failed[SERVE_FAILURE_DOWN].count, 0);
    assert_int_equal(fixture.result.devices[0].busy_ps, 14 * MS);
    assert_int_equal(fixture.result.devices[0].gap_ps, 0);
}

static void a_job_that_ends_as_its_device_fails_is_ok(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0.010,s\n", EVENTS "0.010,a,down,\n");
    assert_request_ms(0, 0, 0, 10);
    assert_lost_ms(1, TRACE_FAILED, -1);
}

/* Under --rules dlsim 1 is to start at 14, 4 ms after its device is free. */
static void a_job_that_fails_before_its_start_never_started(void **state)
{
    (void)state;
    fixture.options.rules = SERVE_DLSIM;
    one_device(REQUESTS "0,0,s\n1,0.001,s\n2,0.020,s\n", EVENTS "0.012,a,down,\n0.013,a,up,\n");
    assert_request_ms(0, 0, 0, 10);
    assert_lost_ms(1, TRACE_FAILED, -1);
    assert_int_equal(fixture.result.requests[1].replica, 0);
    assert_request_ms(2, 20, 20, 30);
    assert_int_equal(fixture.result.devices[0].busy_ps, 20 * MS);
}

/* 0 ran for 4 of 10 ms, 1 and 2 never did: but they came. Rows of stages are those that ended. */
static void what_failed_was_offered_and_is_no_row_of_a_stage(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0,s\n2,0.001,s\n3,0.020,s\n",
               EVENTS "0.004,a,down,\n0.020,a,up,\n");
    assert_int_equal(fixture.result.devices[0].offered_ps, 4 * 12 * MS);
    assert_string_equal(strchr(fixture_stages_text(), '\n') + 1,
                        "request_id,service,replica,stage,device,start_s,finish_s,step,batch_id,"
                        "phase\n3,s,0,0,a,0.02,0.03,0,,\n");
}

static void a_chrome_trace_shows_what_was_cut_off_and_switches(void **state)
{
    struct out *out = out_open_memory(fixture.arena);
    struct serve_observer observer;
    struct record *record;
    const char *text;

    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", "service,replica,stage,device,executable,epoch,from_s\n"
                           "s,0,0,a,x,0,\ns,0,0,a,x,1,0.002\ns,1,0,b,x,1,0.002\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0.03,s\n");
    events(EVENTS "0.004,a,down,\n0.020,a,up,\n");
    fixture.options.switch_cost_ps = 7 * MS;
    assert_true(fixture_load());
    record = record_create(fixture.arena, &fixture.scenario.input, false, false, out);
    observer = record_observer(record);
    assert_true(serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                          &fixture.result, &fixture.err));
    record_finish(record);
    text = out_memory(out, NULL);
    assert_non_null(strstr(text, "\"ts\":0,\"dur\":4000,\"name\":\"r0 s0\",\"args\":{\"request\":0,"
                                 "\"service\":\"s\",\"stage\":0,\"step\":0,\"lost\":true}}"));
    assert_non_null(strstr(text, "\"cat\":\"switch\",\"ts\":2000,\"dur\":7000,\"name\":\"switch\","
                                 "\"args\":{}}"));
    assert_null(strstr(text, "r1 s0")); /* it only waited */
    assert_non_null(strstr(text, "r2 s0"));
}

static void a_gap_goes_on_while_the_device_is_down(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0.020\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.020,s\n");
    events(EVENTS "0.012,a,down,\n0.018,a,up,\n");
    fixture_must_run();
    assert_request_ms(1, 20, 30, 40);
}

static void requests_go_to_the_replicas_that_are_up(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,1,0,b,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.020,s\n2,0.021,s\n3,0.050,s\n4,0.060,s\n");
    events(EVENTS "0.015,a,down,\n0.045,b,down,\n0.055,a,up,\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].replica, 0);
    assert_request_ms(1, 20, 20, 30);
    assert_int_equal(fixture.result.requests[1].replica, 1);
    assert_request_ms(2, 21, 30, 40);
    assert_lost_ms(3, TRACE_FAILED, -1); /* all are down */
    assert_request_ms(4, 60, 60, 70);
    assert_int_equal(fixture.result.requests[4].replica, 0);
}

/* The second job of the stage must not run on b alone when a is gone. */
static void a_stage_fails_with_any_of_its_devices(void **state)
{
    (void)state;
    fixture_stages(STAGES "one,0,0.010,0\ntwo,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,two\ns,0,0,b,two\nr,0,0,b,one\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0,r\n3,0.006,s\n4,0.020,s\n");
    events(EVENTS "0.005,a,down,\n0.018,a,up,\n");
    fixture_must_run();
    assert_lost_ms(0, TRACE_FAILED, 0);
    assert_lost_ms(1, TRACE_FAILED, -1);
    assert_request_ms(2, 0, 5, 15); /* b goes on with what waited behind them */
    assert_lost_ms(3, TRACE_FAILED, -1);
    assert_request_ms(4, 20, 20, 30);
    assert_int_equal(fixture.result.devices[0].busy_ps, 15 * MS);
    assert_int_equal(fixture.result.devices[1].busy_ps, 25 * MS);
}

/* A queued job of a and b that fails lets b go on, which waited for a. */
static void a_queue_goes_on_when_its_head_fails_elsewhere(void **state)
{
    (void)state;
    fixture_stages(STAGES "one,0,0.010,0\ntwo,0,0.010,0\n");
    fixture_write("p.csv", PLACED "q,0,0,a,one\nr,0,0,b,one\ns,0,0,b,two\ns,0,0,a,two\n");
    fixture_write("w.csv", REQUESTS "0,0,q\n1,0.001,s\n2,0.002,r\n");
    events(EVENTS "0.006,a,down,\n");
    fixture_must_run();
    assert_lost_ms(0, TRACE_FAILED, 0);
    assert_lost_ms(1, TRACE_FAILED, -1);
    assert_request_ms(2, 2, 6, 16);
}

static void a_message_to_a_device_that_is_down_is_lost_on_arrival(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\nx,1,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_cluster("device,type\na,t\nb,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                               "l,switch,a,1e9,0.005\nl,switch,b,1e9,0.005\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.020,s\n");
    events(EVENTS "0.011,b,down,\n0.013,b,up,\n0.034,b,down,\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 25); /* down and up while the message was under way */
    assert_lost_ms(1, TRACE_FAILED, 20);
    assert_int_equal(fixture.result.requests[1].replica, 0);
    assert_int_equal(fixture.result.end_ps, 35 * MS);
}

static void a_client_goes_on_when_its_request_fails(void **state)
{
    (void)state;
    one_device("request_id,arrival_s,service,client,think_s\n0,,s,me,0\n1,,s,me,0.010\n",
               EVENTS "0.004,a,down,\n0.006,a,up,\n");
    assert_lost_ms(0, TRACE_FAILED, 0);
    assert_request_ms(1, 14, 14, 24);
}

static void a_batch_fails_as_one_and_so_do_those_that_gather(void **state)
{
    (void)state;
    fixture_stages("executable,stage,batch,latency_s\nx,0,1,0.010\nx,0,2,0.010\nx,0,4,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,0,b,x\nr,0,0,b,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0.001,s\n3,0.012,s\n4,0.013,r\n");
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2 };
    events(EVENTS "0.015,a,down,\n");
    fixture_must_run();
    assert_request_ms(0, 0, 0, 10);
    assert_lost_ms(1, TRACE_FAILED, 10);
    assert_lost_ms(2, TRACE_FAILED, 10);
    assert_lost_ms(3, TRACE_FAILED, -1);
    assert_request_ms(4, 13, 15, 25);
}

static void a_speed_counts_for_jobs_that_start_after_it(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0,s\n2,0.010,s\n",
               EVENTS "0.004,a,speed_ratio,0.5\n0.020,a,speed_ratio,2\n");
    assert_request_ms(0, 0, 0, 10);  /* running: as it began, with a gap of 2 ms */
    assert_request_ms(1, 0, 12, 32); /* with one of 4 ms */
    assert_request_ms(2, 10, 36, 41);
    assert_int_equal(fixture.result.devices[0].gap_ps, 6 * MS);
}

/* What waits costs something else now, and least-idle knows it at once. */
static void a_speed_changes_what_is_booked(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,1,0,b,x\n");
    fixture_write("w.csv",
                  REQUESTS "0,0,s\n1,0,s\n2,0,s\n3,0,s\n4,0.002,s\n5,0.003,s\n6,0.004,s\n");
    events(EVENTS "0.001,a,speed_ratio,0.1\n");
    fixture_must_run();
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(fixture.result.requests[i].replica, i % 2);
    for (size_t i = 4; i < 7; i++) /* b is done at 20, a at 110 */
        assert_int_equal(fixture.result.requests[i].replica, 1);
    assert_request_ms(2, 0, 10, 110);
    assert_request_ms(6, 4, 40, 50);
}

/* What failed is no longer booked on the devices that are still up. */
static void a_failure_takes_back_what_was_booked(void **state)
{
    (void)state;
    fixture_stages(STAGES "one,0,0.010,0\ntwo,0,0.010,0\n");
    fixture_write("p.csv", PLACED "w,0,0,a,two\nw,0,0,b,two\ns,0,0,b,one\ns,1,0,c,one\n");
    fixture_write("w.csv", REQUESTS "0,0,w\n1,0,w\n2,0,w\n3,0.006,s\n4,0.007,s\n");
    events(EVENTS "0.005,a,down,\n");
    fixture_must_run();
    assert_request_ms(3, 6, 6, 16);
    assert_int_equal(fixture.result.requests[3].replica, 1); /* of the plan: on b */
    assert_int_equal(fixture.result.requests[4].replica, 2);
}

static void events_after_the_last_request_change_nothing(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n", EVENTS "1,a,down,\n");
    assert_int_equal(fixture.result.end_ps, 10 * MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_device_fails_and_comes_back),
        TEST(what_runs_and_waits_on_a_failed_device_fails),
        TEST(a_job_that_ends_as_its_device_fails_is_ok),
        TEST(a_job_that_fails_before_its_start_never_started),
        TEST(what_failed_was_offered_and_is_no_row_of_a_stage),
        TEST(a_chrome_trace_shows_what_was_cut_off_and_switches),
        TEST(a_gap_goes_on_while_the_device_is_down),
        TEST(requests_go_to_the_replicas_that_are_up),
        TEST(a_stage_fails_with_any_of_its_devices),
        TEST(a_queue_goes_on_when_its_head_fails_elsewhere),
        TEST(a_message_to_a_device_that_is_down_is_lost_on_arrival),
        TEST(a_client_goes_on_when_its_request_fails),
        TEST(a_batch_fails_as_one_and_so_do_those_that_gather),
        TEST(a_speed_counts_for_jobs_that_start_after_it),
        TEST(a_speed_changes_what_is_booked),
        TEST(a_failure_takes_back_what_was_booked),
        TEST(events_after_the_last_request_change_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
