/* test_delays.c - overheads that delay a request and occupy nothing: where they lie in time. */
#include "tests/unit/sim/fixture.h"

#include "lib/format/overhead.h"
#include "lib/format/trace.h"

#define STAGES "executable,stage,latency_s,gap_s\n"
#define PLACED "service,replica,stage,device,executable\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define WHERE "where,dist,mean_s,sd_s,scale_per_stage_ratio\n"

static void overheads(const char *rows)
{
    fixture.files.overhead = fixture_path("o.csv");
    fixture_write("o.csv", rows);
}

static void assert_e2e_ms(size_t index, int64_t e2e)
{
    assert_int_equal(fixture.result.requests[index].e2e_ps, e2e * MS);
}

/* Two stages of 10 and 5 ms, a link of 2 between any two ends. */
static void pipeline(void)
{
    fixture_stages(STAGES "x,0,0.010,0\nx,1,0.005,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_cluster("device,type\na,t\nb,t\n",
                    "medium,kind,node,bits_per_s,latency_s\nl,switch,*,1e9,0.002\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n");
}

static void each_overhead_has_its_place(void **state)
{
    (void)state;
    pipeline();
    fixture_must_run();
    assert_request_ms(0, 0, 2, 21);
    assert_int_equal(fixture.result.requests[0].e2e_ps, TRACE_NONE);
    overheads(WHERE "submit,constant,0.100,,\n");
    fixture_must_run();
    assert_request_ms(0, 0, 102, 121);
    assert_e2e_ms(0, 121);
    overheads(WHERE "dispatch,constant,0.100,,\n");
    fixture_must_run();
    assert_request_ms(0, 0, 102, 121);
    overheads(WHERE "worker,constant,0.100,,\n"); /* before each stage */
    fixture_must_run();
    assert_request_ms(0, 0, 102, 221);
    overheads(WHERE "response,constant,0.100,,\n"); /* seen by the client alone */
    fixture_must_run();
    assert_request_ms(0, 0, 2, 21);
    assert_e2e_ms(0, 121);
    overheads(WHERE "submit,constant,0.001,,\ndispatch,constant,0.010,,\nworker,constant,0.1,,\n"
                    "response,constant,1,,\n");
    fixture_must_run();
    assert_request_ms(0, 0, 113, 232);
    assert_e2e_ms(0, 1232);
    assert_int_equal(fixture.result.devices[0].busy_ps, 10 * MS);
}

static void delays_take_no_device_and_no_place_in_a_queue(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0.001,s\n");
    overheads(WHERE "worker,constant,0.050,,\n");
    fixture_must_run();
    assert_request_ms(0, 0, 50, 60);
    assert_request_ms(1, 0, 60, 70);
    assert_request_ms(2, 1, 70, 80);
    assert_int_equal(fixture.result.devices[0].wait_peak_ps, 19 * MS);
}

/* What is decided at dispatch is decided behind `submit`, and before `dispatch`. */
static void the_replica_is_chosen_between_submit_and_dispatch(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", "service,replica,stage,device,executable,epoch,from_s\n"
                           "s,0,0,a,x,0,\ns,0,0,b,x,1,0.005\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n");
    overheads(WHERE "submit,constant,0.005,,\n"); /* overheads end before an epoch begins */
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].replica, 0);
    overheads(WHERE "submit,constant,0.0051,,\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].replica, 1);
    overheads(WHERE "dispatch,constant,0.0051,,\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].replica, 0);
}

static void a_delayed_request_counts_as_outstanding_once_it_is_dispatched(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,1,0,b,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.001,s\n2,0.002,s\n");
    fixture.options.dispatch = DISPATCH_LEAST_OUTSTANDING;
    overheads(WHERE "dispatch,constant,0.050,,\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].replica, 0);
    assert_int_equal(fixture.result.requests[1].replica, 1);
    assert_int_equal(fixture.result.requests[2].replica, 0);
}

static void a_device_that_fails_meanwhile_loses_the_request(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n");
    overheads(WHERE "worker,constant,0.020,,\n");
    fixture.files.events = fixture_path("e.csv");
    fixture_write("e.csv", "time_s,target,event,value\n0.010,a,down,\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_int_equal(fixture.result.end_ps, 20 * MS);
    fixture_write("e.csv", "time_s,target,event,value\n0.010,a,down,\n0.019,a,up,\n");
    fixture_must_run();
    assert_request_ms(0, 0, 20, 30);
}

static void requests_that_do_not_end_ok_have_no_e2e(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,slo_s\n0,0,s,\n1,0,s,0.001\n");
    overheads(WHERE "response,constant,0.020,,\n");
    fixture.options.admission = ADMIT_SLO;
    fixture_must_run();
    assert_e2e_ms(0, 30);
    assert_int_equal(fixture.result.requests[1].status, TRACE_DROPPED);
    assert_int_equal(fixture.result.requests[1].e2e_ps, TRACE_NONE);
}

/* Clients see the response: but their next request follows the finish, as the workload says. */
static void a_client_goes_on_at_the_finish(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,client,think_s\n0,,s,c,0\n1,,s,c,0.001\n");
    overheads(WHERE "submit,constant,0.002,,\nresponse,constant,0.020,,\n");
    fixture_must_run();
    assert_request_ms(0, 0, 2, 12);
    assert_request_ms(1, 13, 15, 25);
}

/* Draws depend on seed, place, request and stage alone: those of other requests stay. */
static void draws_do_not_shift_each_other(void **state)
{
    struct overhead worker = { .is_given = true, .dist = OVERHEAD_EXP, .mean_ps = 5 * MS };

    (void)state;
    pipeline();
    fixture.files.cluster = NULL;
    fixture_write("w.csv", REQUESTS "3,0,s\n8,1,s\n");
    overheads(WHERE "worker,exp,0.005,,\n");
    fixture.options.seed = 77;
    fixture_must_run();
    for (size_t i = 0; i < 2; i++) {
        uint64_t id = i == 0 ? 3 : 8;
        int64_t first_ps = overhead_draw(&worker, 77, OVERHEAD_WORKER, id, 0);
        int64_t second_ps = overhead_draw(&worker, 77, OVERHEAD_WORKER, id, 1);
        const struct serve_request *request = &fixture.result.requests[i];

        assert_true(first_ps > 0 && second_ps > 0 && first_ps != second_ps);
        assert_int_equal(request->start_ps, request->arrival_ps + first_ps);
        assert_int_equal(request->finish_ps, request->start_ps + 15 * MS + second_ps);
    }
}

/* What is held the longer may come the earlier: all in order of time, then of holding. */
static void many_delays_end_in_order(void **state)
{
    enum { COUNT = 300 };
    struct overhead submit = { .is_given = true, .dist = OVERHEAD_EXP, .mean_ps = 20 * MS };
    struct out *out;

    (void)state;
    fixture_stages(STAGES "x,0,0,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "");
    out = out_open(fixture.arena, fixture_path("w.csv"), &fixture.err);
    out_text(out, REQUESTS);
    for (int i = 0; i < COUNT; i++)
        out_printf(out, "%d,%d.%03d,s\n", i, i / 1000, i);
    assert_true(out_commit(out, &fixture.err));
    overheads(WHERE "submit,exp,0.020,,\n");
    fixture_must_run();
    for (uint64_t i = 0; i < COUNT; i++) {
        int64_t delay_ps = overhead_draw(&submit, fixture.options.seed, OVERHEAD_SUBMIT, i, 0);

        assert_int_equal(fixture.result.requests[i].start_ps, (int64_t)i * MS + delay_ps);
        assert_int_equal(fixture.result.requests[i].finish_ps, (int64_t)i * MS + delay_ps);
    }
}

static void a_ratio_lengthens_the_stages_themselves(void **state)
{
    (void)state;
    pipeline();
    fixture.files.cluster = NULL;
    overheads(WHERE "response,constant,0.011,,0.05\nworker,constant,0,,0.05\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].finish_ps, 18 * MS); /* 15 x (1 + 2 x 0.1) */
    assert_int_equal(fixture.result.devices[0].busy_ps, 12 * MS);
    assert_e2e_ms(0, 29);
    fixture_write("p.csv", "service,replica,stage,device,executable,layers\ns,0,0,a,x,0-1\n");
    fixture_must_run(); /* placed as one stage: 15 x (1 + 0.1) */
    assert_int_equal(fixture.result.requests[0].finish_ps, 16500 * UNITS_PS_PER_US);
    fixture.options.rules = SERVE_ALPASERVE;
    overheads(WHERE "response,constant,0.011,,0.1\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].finish_ps, 27500 * UNITS_PS_PER_US);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_overhead_has_its_place),
        TEST(delays_take_no_device_and_no_place_in_a_queue),
        TEST(the_replica_is_chosen_between_submit_and_dispatch),
        TEST(a_delayed_request_counts_as_outstanding_once_it_is_dispatched),
        TEST(a_device_that_fails_meanwhile_loses_the_request),
        TEST(requests_that_do_not_end_ok_have_no_e2e),
        TEST(a_client_goes_on_at_the_finish),
        TEST(draws_do_not_shift_each_other),
        TEST(many_delays_end_in_order),
        TEST(a_ratio_lengthens_the_stages_themselves),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
