/* test_coming.c - dispatch by what is booked counts what is on its way there as well, by hand. */
#include "tests/unit/sim/tiny_model.h"

#include "lib/format/trace.h"

#define PLACED "service,replica,stage,device,executable\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define BATCHES "executable,stage,batch,latency_s\n"

/* Digits: the replica of each request. */
static void assert_replicas(const char *replicas)
{
    for (size_t i = 0; replicas[i]; i++)
        assert_int_equal(fixture.result.requests[i].replica, replicas[i] - '0');
}

/* Two replicas of a stage of 10 ms on a or c, and one of 20 on b or d. */
static void two_pipelines(const char *requests)
{
    fixture_stages("executable,stage,latency_s\nx,0,0.010\nx,1,0.020\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\ns,1,0,c,x\ns,1,1,d,x\n");
    fixture_write("w.csv", requests);
    fixture.options.dispatch = DISPATCH_LEAST_LAST_STAGE;
}

static void the_last_stage_counts_what_is_in_earlier_ones(void **state)
{
    (void)state;
    two_pipelines(REQUESTS "0,0,s\n1,0.001,s\n2,0.002,s\n3,0.003,s\n4,0.025,s\n5,0.025,s\n");
    fixture_must_run();
    /* at 25 all are queued at b until 50, at d until 51 */
    assert_replicas("010101");
    assert_request_ms(0, 0, 0, 30);
    assert_request_ms(1, 1, 1, 31);
    assert_request_ms(2, 2, 10, 50);
}

/* a goes down: what is on its way to b beyond a is lost, and no longer counts. */
static void what_is_lost_on_its_way_counts_no_more(void **state)
{
    (void)state;
    two_pipelines(REQUESTS "0,0,s\n1,0.001,s\n2,0.002,s\n3,0.006,s\n");
    fixture.files.events = fixture_path("e.csv");
    fixture_write("e.csv", "time_s,target,event,value\n0.004,a,down,\n0.005,a,up,\n");
    fixture_must_run();
    assert_replicas("0100");
    assert_int_equal(fixture.result.requests[0].status, TRACE_FAILED);
    assert_int_equal(fixture.result.requests[2].status, TRACE_FAILED);
}

/* From 0.001 on jobs of b take 4 times as long: 80 that are to come, against 20, 40 and 60. */
static void what_is_on_its_way_costs_what_it_costs_now(void **state)
{
    (void)state;
    two_pipelines(REQUESTS "0,0,s\n1,0.002,s\n2,0.002,s\n3,0.002,s\n4,0.002,s\n5,0.002,s\n");
    fixture.files.events = fixture_path("e.csv");
    fixture_write("e.csv", "time_s,target,event,value\n0.001,b,speed_ratio,0.25\n");
    fixture_must_run();
    assert_replicas("011110"); /* 80 = 80: the first */
}

/* In fours of 20 ms each request counts for 5 until it leaves; alone it takes 10. */
static void batches_count_by_their_size_once_they_are_formed(void **state)
{
    (void)state;
    fixture_stages(BATCHES "x,0,1,0.010\nx,0,4,0.020\nx,1,1,0.010\nx,1,4,0.020\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\ns,1,0,c,x\ns,1,1,d,x\n");
    fixture_write("w.csv",
                  REQUESTS "0,0,s\n1,0.001,s\n2,0.002,s\n3,0.003,s\n4,0.004,s\n5,0.005,s\n");
    fixture.options.dispatch = DISPATCH_LEAST_LAST_STAGE;
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 4 };
    fixture_must_run();
    assert_replicas("010101"); /* 10 and 10, 15 and 15, 20 and 20 */
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0,s\n3,0.001,s\n");
    fixture.options.batch.wait_ps = 2 * MS;
    fixture_must_run();
    assert_replicas("0101"); /* none is formed: 5, 5, 10, 5 */
}

static void least_idle_counts_what_is_on_links_and_held(void **state)
{
    (void)state;
    fixture_cluster("device,type\na,t\nb,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                               "l,switch,*,1e12,0.050\n");
    fixture_stages("executable,stage,latency_s\nx,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,1,0,b,x\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.001,s\n2,0.002,s\n3,0.055,s\n4,0.056,s\n");
    fixture_must_run();
    assert_replicas("01010"); /* at 55: 10 and 5 ms to come or to do on a, 6 on b */
    fixture.files.cluster = NULL;
    fixture_write("o.csv", "where,dist,mean_s\ndispatch,constant,0.050\n");
    fixture.files.overhead = fixture_path("o.csv");
    fixture_must_run();
    assert_replicas("01010");
}

/* s will keep b from 10 on, for t as well, and in the next epoch, which gives b to others. */
static void what_is_on_its_way_counts_for_whoever_asks_for_its_device(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s\nx,0,0.010\nx,1,0.020\ny,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\nt,0,0,b,y\nt,1,0,c,y\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.001,t\n2,0.001,t\n3,0.001,t\n");
    fixture.options.dispatch = DISPATCH_LEAST_LAST_STAGE;
    fixture_must_run();
    assert_int_equal(fixture.result.requests[1].replica, 2); /* 20 on b */
    assert_int_equal(fixture.result.requests[2].replica, 2); /* 10 on c */
    assert_int_equal(fixture.result.requests[3].replica, 1); /* 20 and 20 */
    fixture_write("p.csv", "epoch,from_s,service,replica,stage,device,executable\n"
                           "0,0,s,0,0,a,x\n0,0,s,0,1,b,x\n0,0,t,0,0,c,y\n"
                           "1,0.001,s,0,0,a,x\n1,0.001,s,0,1,c,x\n"
                           "1,0.001,t,0,0,b,y\n1,0.001,t,1,0,c,y\n");
    fixture_must_run();
    assert_int_equal(fixture.result.requests[1].replica, 4);
    assert_int_equal(fixture.result.requests[2].replica, 4);
    assert_int_equal(fixture.result.requests[3].replica, 3);
}

static void steps_of_a_decoder_count_until_they_reach_the_last_stage(void **state)
{
    (void)state;
    fixture.options.dispatch = DISPATCH_LEAST_LAST_STAGE;
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block\n"
                           "chat,0,0,a,tiny,,embed\nchat,0,0,a,tiny,0,layer\n"
                           "chat,0,1,b,tiny,1,layer\nchat,0,1,b,tiny,,lm_head\n"
                           "chat,1,0,c,tiny,,embed\nchat,1,0,c,tiny,0,layer\n"
                           "chat,1,1,d,tiny,1,layer\nchat,1,1,d,tiny,,lm_head\n");
    fixture_write("w.csv", W "0,0,chat,4,2\n1,0,chat,4,2\n2,0.001,chat,4,2\n3,0.001,chat,4,2\n");
    fixture_must_run();
    assert_replicas("0101");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_last_stage_counts_what_is_in_earlier_ones),
        TEST(what_is_lost_on_its_way_counts_no_more),
        TEST(what_is_on_its_way_costs_what_it_costs_now),
        TEST(batches_count_by_their_size_once_they_are_formed),
        TEST(least_idle_counts_what_is_on_links_and_held),
        TEST(what_is_on_its_way_counts_for_whoever_asks_for_its_device),
        cmocka_unit_test_setup_teardown(steps_of_a_decoder_count_until_they_reach_the_last_stage,
                                        tiny_set_up, fixture_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
