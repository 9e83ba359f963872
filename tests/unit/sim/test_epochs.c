/* test_epochs.c - placements that change while a run goes on, by hand. */
#include "tests/unit/sim/fixture.h"

#include "lib/format/trace.h"

#define STAGES "executable,stage,latency_s,gap_s\n"
#define PLACED "service,replica,stage,device,executable,epoch,from_s\n"
#define REQUESTS "request_id,arrival_s,service\n"

static void assert_ended(size_t index, enum trace_status status)
{
    assert_int_equal(fixture.result.requests[index].status, status);
    assert_int_equal(fixture.result.requests[index].start_ps, TRACE_NONE);
    assert_int_equal(fixture.result.requests[index].finish_ps, TRACE_NONE);
}

/* s moves from a to b at 20 ms. */
static void a_move(const char *requests, int64_t switch_ms)
{
    fixture_stages(STAGES "x,0,0.010,0.001\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,0,\ns,0,0,b,x,1,0.020\n");
    fixture_write("w.csv", requests);
    fixture.options.switch_cost_ps = switch_ms * MS;
    fixture_must_run();
}

static void requests_are_dispatched_by_the_epoch_of_the_moment(void **state)
{
    (void)state;
    a_move(REQUESTS "0,0.019,s\n1,0.0199,s\n2,0.020,s\n3,0.021,s\n", 0);
    assert_request_ms(0, 19, 19, 29); /* and end where they are, though a has nothing any more */
    assert_int_equal(fixture.result.requests[1].replica, 0);
    assert_int_equal(fixture.result.requests[1].start_ps, 30 * MS);
    assert_int_equal(fixture.result.requests[2].replica, 1);
    assert_request_ms(2, 20, 20, 30); /* an epoch goes before an arrival of its instant */
    assert_request_ms(3, 21, 31, 41);
    assert_int_equal(fixture.result.migrations, 1);
    assert_int_equal(fixture.result.devices[1].gap_ps, 1 * MS);
}

static void an_idle_device_is_taken_for_the_switch(void **state)
{
    (void)state;
    a_move(REQUESTS "0,0.019,s\n1,0.021,s\n", 5);
    assert_request_ms(0, 19, 19, 29);
    assert_request_ms(1, 21, 25, 35);
    assert_int_equal(fixture.result.devices[1].gap_ps, 5 * MS);
    assert_int_equal(fixture.result.devices[1].busy_ps, 10 * MS);
}

/* b has other work when s comes to it. */
static void a_device_is_taken_behind_its_running_job(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0.001\ny,0,0.010,0.001\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,0,\nr,0,0,b,y,0,\n"
                                  "s,0,0,b,x,1,0.020\nr,0,0,b,y,1,0.020\n");
    fixture_write("w.csv", REQUESTS "0,0.012,r\n1,0.013,r\n2,0.020,s\n");
    fixture.options.switch_cost_ps = 5 * MS;
    fixture_must_run();
    assert_request_ms(0, 12, 12, 22);
    assert_request_ms(1, 13, 28, 38); /* 1 of gap, 5 of the switch: also what waited before */
    assert_request_ms(2, 20, 39, 49);
    assert_int_equal(fixture.result.devices[1].gap_ps, 7 * MS);
    assert_int_equal(fixture.result.migrations, 1);
}

static void switches_behind_one_job_add_up(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\ny,0,0.050,0.001\n");
    fixture_write("p.csv", PLACED "r,0,0,b,y,0,\ns,0,0,b,x,1,0.010\nq,0,0,b,x,2,0.020\n");
    fixture_write("w.csv", REQUESTS "0,0,r\n1,0.030,q\n");
    fixture.options.switch_cost_ps = 5 * MS;
    fixture_must_run();
    assert_request_ms(1, 30, 61, 71);
    assert_int_equal(fixture.result.migrations, 2);
    assert_int_equal(fixture.result.devices[0].gap_ps, 11 * MS);
}

static void a_device_is_taken_behind_its_gap(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0.001\ny,0,0.010,0.015\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,0,\nr,0,0,b,y,0,\ns,0,0,b,x,1,0.020\n");
    fixture_write("w.csv", REQUESTS "0,0,r\n1,0.020,s\n");
    fixture.options.switch_cost_ps = 5 * MS;
    fixture_must_run();
    assert_request_ms(1, 20, 30, 40); /* 10 + 15 + 5 */
}

static void what_was_there_before_costs_nothing(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\nx,1,0.010,0\n");
    /* stages change places on the same devices; c gets what it had as another replica */
    fixture_write("p.csv", PLACED "s,0,0,a,x,0,\ns,0,1,b,x,0,\ns,1,0,c,x,0,\ns,1,1,c,x,0,\n"
                                  "s,5,0,c,x,1,0.020\ns,5,1,a,x,1,0.020\n");
    fixture_write("w.csv", REQUESTS "0,0.020,s\n");
    fixture.options.switch_cost_ps = 50 * MS;
    fixture_must_run();
    assert_int_equal(fixture.result.migrations, 1); /* a had stage 0 */
    assert_request_ms(0, 20, 20, 80);
    assert_non_null(strstr(fixture_requests(), "\n0,s,5,0.02,0.02,,0.08,"));
}

static void the_same_executable_of_another_service_is_something_new(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,0,\nr,0,0,a,x,1,0.005\ns,0,0,a,x,1,0.005\n");
    fixture_write("w.csv", REQUESTS "0,0.006,s\n");
    fixture.options.switch_cost_ps = 7 * MS;
    fixture_must_run();
    assert_int_equal(fixture.result.migrations, 1);
    assert_request_ms(0, 6, 12, 22);
}

static void a_service_that_is_gone_refuses_and_may_come_back(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,0,\nr,0,0,b,x,0,\nr,0,0,b,x,3,0.020\n"
                                  "s,0,0,a,x,7,0.040\n");
    fixture_write("w.csv", REQUESTS "0,0.019,s\n1,0.025,s\n2,0.026,r\n3,0.040,s\n4,0.041,r\n");
    fixture.options.switch_cost_ps = 2 * MS;
    fixture_must_run();
    assert_request_ms(0, 19, 19, 29);
    assert_ended(1, TRACE_REFUSED);
    assert_int_equal(fixture.result.requests[1].replica, -1);
    assert_request_ms(2, 26, 26, 36);
    assert_request_ms(3, 40, 42, 52); /* a has forgotten it meanwhile */
    assert_ended(4, TRACE_REFUSED);
    assert_int_equal(fixture.result.migrations, 1);
}

static void epochs_that_nobody_lives_to_see_do_not_happen(void **state)
{
    (void)state;
    a_move(REQUESTS "0,0,s\n", 5);
    assert_int_equal(fixture.result.end_ps, 10 * MS);
    assert_int_equal(fixture.result.migrations, 0);
    assert_int_equal(fixture.result.devices[1].gap_ps, 0);
}

static void a_switch_that_outlasts_the_run_counts_until_its_end(void **state)
{
    (void)state;
    a_move(REQUESTS "0,0.019,s\n", 500);
    assert_int_equal(fixture.result.end_ps, 29 * MS);
    assert_int_equal(fixture.result.devices[1].gap_ps, 9 * MS);
}

/* At 20 b fails at the instant at which it gets s; at 22 c does, whose job fails half-way. */
static void epochs_and_failures_of_one_instant_happen_in_this_order(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,0,\nr,0,0,c,x,0,\n"
                                  "s,0,0,b,x,1,0.020\ns,1,0,c,x,1,0.020\n");
    fixture_write("w.csv", REQUESTS "0,0.018,r\n1,0.020,s\n2,0.023,s\n3,0.040,s\n");
    fixture.files.events = fixture_path("e.csv");
    fixture_write("e.csv",
                  "time_s,target,event,value\n0.020,b,down,\n0.022,c,down,\n0.023,c,up,\n");
    fixture.options.switch_cost_ps = 5 * MS;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_ended(1, TRACE_FAILED);
    assert_int_equal(fixture.result.requests[1].replica, 3);
    assert_request_ms(2, 23, 27, 37); /* the switch starts when the job is off: 22 + 5 */
    assert_request_ms(3, 40, 40, 50);
    assert_int_equal(fixture.result.migrations, 2);
}

static void round_robin_goes_on_where_an_epoch_has_fewer_replicas(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.001,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,0,\ns,1,0,b,x,0,\ns,2,0,c,x,0,\n"
                                  "s,0,0,a,x,1,0.020\ns,1,0,b,x,1,0.020\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.001,s\n2,0.020,s\n3,0.021,s\n4,0.022,s\n");
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[1].replica, 1);
    assert_int_equal(fixture.result.requests[2].replica, 3);
    assert_int_equal(fixture.result.requests[3].replica, 4);
    assert_int_equal(fixture.result.requests[4].replica, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_are_dispatched_by_the_epoch_of_the_moment),
        TEST(an_idle_device_is_taken_for_the_switch),
        TEST(a_device_is_taken_behind_its_running_job),
        TEST(switches_behind_one_job_add_up),
        TEST(a_device_is_taken_behind_its_gap),
        TEST(what_was_there_before_costs_nothing),
        TEST(the_same_executable_of_another_service_is_something_new),
        TEST(a_service_that_is_gone_refuses_and_may_come_back),
        TEST(epochs_that_nobody_lives_to_see_do_not_happen),
        TEST(a_switch_that_outlasts_the_run_counts_until_its_end),
        TEST(epochs_and_failures_of_one_instant_happen_in_this_order),
        TEST(round_robin_goes_on_where_an_epoch_has_fewer_replicas),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
