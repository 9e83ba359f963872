/* test_batcher.c - fixed batches in front of stages 0, by hand. */
#include "tests/unit/sim/fixture.h"

#include "lib/format/trace.h"

#define PLACED "service,replica,stage,device,executable\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define BATCHES "executable,stage,batch,latency_s,gap_s\n"

static void batch(int32_t most, int64_t wait_ms)
{
    fixture.options.batch =
        (struct batch_options){ .kind = BATCH_FIXED, .max_size = most, .wait_ps = wait_ms * MS };
}

/* 10 ms alone, 14 for two, 20 for four; a gap of 1. */
static void one_device(const char *requests)
{
    fixture_stages(BATCHES "x,0,1,0.010,0.001\nx,0,2,0.014,0.001\nx,0,4,0.020,0.001\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", requests);
}

static void a_free_device_takes_what_is_there(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0,s\n2,0.001,s\n3,0.002,s\n4,0.003,s\n5,0.004,s\n");
    batch(4, 0);
    fixture_must_run();
    assert_request_ms(0, 0, 0, 10); /* waits for nobody */
    for (size_t i = 1; i < 5; i++)
        assert_request_ms(i, i < 2 ? 0 : (int64_t)i - 1, 11, 31);
    assert_request_ms(5, 4, 32, 42);
    assert_int_equal(fixture.result.devices[0].busy_ps, 40 * MS);
    assert_string_equal(fixture_stages_text(),
                        "# orrery: stages 1\n"
                        "request_id,service,replica,stage,device,start_s,finish_s,step,batch_id,"
                        "phase\n"
                        "0,s,0,0,a,0,0.01,0,0,\n1,s,0,0,a,0.011,0.031,0,1,\n"
                        "2,s,0,0,a,0.011,0.031,0,1,\n3,s,0,0,a,0.011,0.031,0,1,\n"
                        "4,s,0,0,a,0.011,0.031,0,1,\n5,s,0,0,a,0.032,0.042,0,2,\n");
}

static void sizes_are_those_that_were_profiled(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0,s\n2,0,s\n3,0,s\n4,0,s\n");
    batch(3, 0); /* 4 was profiled, but is more than 3; 3 was not */
    fixture_must_run();
    assert_request_ms(0, 0, 0, 10);
    assert_request_ms(1, 0, 11, 25);
    assert_request_ms(2, 0, 11, 25);
    assert_request_ms(3, 0, 26, 40);
    assert_request_ms(4, 0, 26, 40);
    batch(1, 0);
    fixture_must_run();
    assert_request_ms(4, 0, 44, 54);
}

static void the_head_waits_for_others_no_longer_than_told(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0.002,s\n2,0.030,s\n3,0.031,s\n4,0.032,s\n5,0.033,s\n");
    batch(4, 5);
    fixture_must_run();
    assert_request_ms(0, 0, 5, 19);
    assert_request_ms(1, 2, 5, 19);
    for (size_t i = 2; i < 6; i++) /* full at 33 */
        assert_request_ms(i, (int64_t)i + 28, 33, 53);
}

static void what_the_placement_says_goes_before_the_command_line(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0,s\n2,0,s\n3,0,r\n4,0,r\n5,0,r\n");
    fixture_write("p.csv", "service,replica,stage,device,executable,max_batch\n"
                           "s,0,0,a,x,2\nr,0,0,b,x,1\n");
    batch(4, 0);
    fixture_must_run();
    assert_request_ms(1, 0, 11, 25);
    assert_request_ms(2, 0, 11, 25);
    assert_request_ms(5, 0, 22, 32); /* one at a time */
    fixture.options.batch = (struct batch_options){ .kind = BATCH_NONE };
    fixture_must_run();
    assert_request_ms(2, 0, 11, 25);
}

static void requests_of_several_items_count_with_all_of_them(void **state)
{
    (void)state;
    one_device("request_id,arrival_s,service,batch\n"
               "0,0,s,1\n1,0,s,2\n2,0,s,2\n3,0,s,3\n4,0,s,1\n5,0,s,4\n6,0,s,1\n");
    batch(4, 0);
    fixture_must_run();
    assert_request_ms(0, 0, 0, 10);
    assert_request_ms(1, 0, 11, 31);
    assert_request_ms(2, 0, 11, 31);
    assert_request_ms(3, 0, 32, 52);
    assert_request_ms(4, 0, 32, 52);
    assert_request_ms(5, 0, 53, 73);
    assert_request_ms(6, 0, 74, 84);
}

/* It is computed alone in the size that holds it, and waits for nobody: nobody may join it. */
static void a_request_above_the_most_items_runs_alone(void **state)
{
    (void)state;
    one_device("request_id,arrival_s,service,batch\n0,0,s,3\n1,0.001,s,1\n2,0.001,s,1\n");
    batch(2, 100);
    fixture_must_run();
    assert_request_ms(0, 0, 0, 20);
    assert_request_ms(1, 1, 21, 35);
    assert_request_ms(2, 1, 21, 35);
}

static void services_on_one_device_go_by_their_oldest_request(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0.001,r\n2,0.002,s\n3,0.003,s\n4,0.004,r\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\nr,0,0,a,x\n");
    batch(2, 0);
    fixture_must_run();
    assert_request_ms(1, 1, 11, 25);
    assert_request_ms(4, 4, 11, 25);
    assert_request_ms(2, 2, 26, 40);
    assert_request_ms(3, 3, 26, 40);
}

static void a_batch_stays_together_through_all_stages(void **state)
{
    (void)state;
    fixture_stages("executable,stage,batch,latency_s,output_bytes\nx,0,1,0.010,100\n"
                   "x,0,2,0.014,1000\nx,1,1,0.005,10\nx,1,2,0.006,200\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    fixture_cluster("device,type\na,t\nb,t\n",
                    "medium,kind,node,bits_per_s,latency_s\nl,switch,*,8e5,0\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0,s\n");
    batch(2, 0);
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].finish_ps, 16100 * UNITS_PS_PER_US);
    assert_request_ms(1, 0, 10, 42); /* 24, 10 on the link, 6, 2 back */
    assert_request_ms(2, 0, 10, 42);
    assert_string_equal(fixture_transfers(),
                        "# orrery: transfers 1\n"
                        "request_id,step,batch_id,from_device,to_device,medium,bytes,send_s,"
                        "receive_s\n"
                        "0,0,,source,a,l,0,0,0\n0,0,0,a,b,l,100,0.01,0.011\n"
                        "0,0,0,b,source,l,10,0.016,0.0161\n"
                        "1,0,,source,a,l,0,0,0\n1,0,1,a,b,l,1000,0.024,0.034\n"
                        "1,0,1,b,source,l,200,0.04,0.042\n"
                        "2,0,,source,a,l,0,0,0\n2,0,1,a,b,l,1000,0.024,0.034\n"
                        "2,0,1,b,source,l,200,0.04,0.042\n");
    assert_int_equal(fixture.result.moved_bytes, 1310);
}

/* The batch of 1, 2 and 3 would end at 31: above the 29 of request 1. */
static void the_objective_of_the_head_limits_the_batch(void **state)
{
    (void)state;
    one_device("request_id,arrival_s,service,slo_s\n0,0,s,\n1,0,s,0.029\n2,0,s,\n3,0,s,\n4,0,s,\n");
    batch(4, 0);
    fixture_must_run();
    assert_request_ms(1, 0, 11, 25);
    assert_request_ms(2, 0, 11, 25);
    assert_request_ms(3, 0, 26, 40);
    assert_request_ms(4, 0, 26, 40);
}

/* At 8 the head still makes its 19 ms when it runs at once, at 8 + 5 it would not. */
static void a_head_that_is_short_of_time_does_not_wait(void **state)
{
    (void)state;
    one_device("request_id,arrival_s,service,slo_s\n0,0.008,s,0.011\n1,0.030,s,0.016\n");
    batch(4, 5);
    fixture_must_run();
    assert_request_ms(0, 8, 8, 18);
    assert_request_ms(1, 30, 35, 45);
}

static void a_head_that_is_lost_is_dropped_when_the_device_is_free(void **state)
{
    (void)state;
    one_device("request_id,arrival_s,service,slo_s\n0,0,s,\n1,0.001,s,0.015\n2,0.002,s,0.050\n"
               "3,0.003,s,0.015\n");
    batch(2, 0);
    for (int kind = ADMIT_SLO; kind <= ADMIT_LATE; kind++) {
        fixture.options.admission = (enum admit_kind)kind;
        fixture_must_run();
        assert_int_equal(fixture.result.requests[1].status, TRACE_DROPPED);
        assert_int_equal(fixture.result.requests[1].start_ps, TRACE_NONE);
        assert_int_equal(fixture.result.requests[1].replica, 0);
        assert_request_ms(2, 2, 11, 25); /* 3 goes with it, though it is late by then */
        assert_request_ms(3, 3, 11, 25);
    }
    fixture.options.admission = ADMIT_NONE;
    fixture_must_run();
    assert_request_ms(1, 1, 11, 25);
    assert_request_ms(2, 2, 11, 25);
}

/* Nobody else looks at b's queue when its gap is over. */
static void a_batch_on_two_devices_waits_for_the_gap_of_the_second(void **state)
{
    (void)state;
    fixture_stages(BATCHES "one,0,1,0.010,0.004\ntwo,0,1,0.010,0\ntwo,0,2,0.012,0\n");
    fixture_write("p.csv", PLACED "r,0,0,b,one\ns,0,0,a,two\ns,0,0,b,two\n");
    fixture_write("w.csv", REQUESTS "0,0,r\n1,0.011,s\n2,0.012,s\n");
    batch(4, 0);
    fixture_must_run();
    assert_request_ms(1, 11, 14, 26);
    assert_request_ms(2, 12, 14, 26);
}

/* On a the batch of s is the oldest, on b the request of r: the batch does not pass it. */
static void a_batch_passes_nobody_on_any_of_its_devices(void **state)
{
    (void)state;
    fixture_stages(BATCHES "one,0,1,0.010,0.004\ntwo,0,1,0.010,0\ntwo,0,2,0.012,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,two\ns,0,0,b,two\nr,0,0,b,one\n");
    fixture_write("w.csv", REQUESTS "0,0,r\n1,0.011,r\n2,0.012,s\n");
    batch(4, 0);
    fixture_must_run();
    assert_request_ms(1, 11, 14, 24);
    assert_request_ms(2, 12, 28, 38);
}

/* Lost heads of the batch of a and b let b go on with what waited behind them. */
static void a_dropped_batch_lets_its_other_devices_go_on(void **state)
{
    (void)state;
    fixture_stages(BATCHES "one,0,1,0.010,0\ntwo,0,1,0.010,0\ntwo,0,2,0.012,0\n");
    fixture_write("p.csv", PLACED "q,0,0,a,one\ns,0,0,a,two\ns,0,0,b,two\nr,0,0,b,one\n");
    fixture_write("w.csv", "request_id,arrival_s,service,slo_s\n"
                           "0,0,q,\n1,0.001,s,0.015\n2,0.002,r,\n");
    fixture.options.admission = ADMIT_LATE;
    batch(2, 0);
    fixture_must_run();
    assert_int_equal(fixture.result.requests[1].status, TRACE_DROPPED);
    assert_request_ms(2, 2, 10, 20);
}

/* Looking at a for x asks b too, where the head of y is lost: b must go on with z by itself. */
static void a_head_dropped_from_another_device_lets_its_own_go_on(void **state)
{
    (void)state;
    fixture_stages(BATCHES "w,0,1,0.010,0\nw,0,2,0.010,0\nx,0,1,0.001,0\nx,0,2,0.001,0\n");
    fixture_write("p.csv", PLACED "w,0,0,c,w\nx,0,0,a,x\nx,0,0,b,x\n"
                                  "y,0,0,b,x\ny,0,0,c,x\nz,0,0,b,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,slo_s\n"
                           "0,0,w,\n1,0.001,y,0.003\n2,0.002,z,\n3,0.005,x,\n");
    batch(2, 0);
    fixture.options.admission = ADMIT_LATE;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[1].status, TRACE_DROPPED);
    assert_request_ms(2, 2, 5, 6);
    assert_request_ms(3, 5, 6, 7);
}

/* s must leave at once while 19 more ms could make it late, but b is busy; c keeps it until 31
 * however long it waits, so that from 16 on it may wait for others. That is noticed when a is asked
 * at 17, and what stood behind it on d goes on at that moment. */
static void a_batch_that_may_wait_again_lets_its_other_devices_go_on(void **state)
{
    (void)state;
    fixture_stages(BATCHES "long,0,1,0.040,0\nkeep,0,1,0.030,0\nshort,0,1,0.005,0\n"
                           "x,0,1,0.005,0\nx,0,2,0.005,0\nx,1,1,0.005,0\nx,1,2,0.005,0\n");
    fixture_write("p.csv", PLACED "q,0,0,b,long\nu,0,0,c,keep\nr,0,0,a,short\nv,0,0,d,short\n"
                                  "s,0,0,a,x\ns,0,0,b,x\ns,0,0,d,x\ns,0,1,c,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,slo_s\n0,0,q,\n1,0.001,u,\n"
                           "2,0.002,s,0.040\n3,0.004,v,\n4,0.017,r,\n");
    batch(2, 20);
    fixture_must_run();
    assert_request_ms(3, 4, 17, 22);
    assert_request_ms(4, 17, 17, 22);
    assert_request_ms(2, 2, 40, 50);
}

static void what_gathers_counts_for_least_idle(void **state)
{
    (void)state;
    one_device(REQUESTS "0,0,s\n1,0,s\n2,0.001,s\n3,0.001,s\n4,0.001,s\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,1,0,b,x\n");
    batch(2, 0);
    fixture_must_run();
    assert_int_equal(fixture.result.requests[2].replica, 0); /* 10 + gap, on both */
    assert_int_equal(fixture.result.requests[3].replica, 1); /* a would take 7 more */
    assert_int_equal(fixture.result.requests[4].replica, 0);
    fixture_stages(BATCHES "x,0,1,0,0\nx,0,2,0,0\n"); /* no time at all is no reason to stop */
    fixture_must_run();
    assert_request_ms(4, 1, 1, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_free_device_takes_what_is_there),
        TEST(sizes_are_those_that_were_profiled),
        TEST(the_head_waits_for_others_no_longer_than_told),
        TEST(what_the_placement_says_goes_before_the_command_line),
        TEST(requests_of_several_items_count_with_all_of_them),
        TEST(a_request_above_the_most_items_runs_alone),
        TEST(services_on_one_device_go_by_their_oldest_request),
        TEST(a_batch_stays_together_through_all_stages),
        TEST(the_objective_of_the_head_limits_the_batch),
        TEST(a_head_that_is_short_of_time_does_not_wait),
        TEST(a_head_that_is_lost_is_dropped_when_the_device_is_free),
        TEST(a_batch_on_two_devices_waits_for_the_gap_of_the_second),
        TEST(a_batch_passes_nobody_on_any_of_its_devices),
        TEST(a_dropped_batch_lets_its_other_devices_go_on),
        TEST(a_head_dropped_from_another_device_lets_its_own_go_on),
        TEST(a_batch_that_may_wait_again_lets_its_other_devices_go_on),
        TEST(what_gathers_counts_for_least_idle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
