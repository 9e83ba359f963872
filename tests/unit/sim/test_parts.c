/* test_parts.c - what the time of requests is made of, worked out by hand, and the same by events
 * and in closed form. */
#include "tests/unit/sim/fixture.h"

#define PLACED "service,replica,stage,device,executable\n"
#define STAGES "executable,stage,latency_s,gap_s,batch,output_bytes\n"
#define DEVICES "device,type\na,t\nb,t\nc,t\n"
/* 1 byte a microsecond, 1 ms of latency, 2 ms of cost a message */
#define LINKS                                                                                      \
    "medium,kind,node,bits_per_s,latency_s,per_message_s\n"                                        \
    "lan,switch,*,8000000,0.001,0.002\n"

static int set_up(void **state)
{
    fixture_set_up(state);
    fixture.options.keeps_requests = false;
    fixture.options.has_parts = true;
    fixture.options.network = SERVE_NETWORK_FIFO;
    fixture_cluster(DEVICES, LINKS);
    fixture_stages(STAGES "x,0,0.010,0.003,1,1000\nx,1,0.020,0,1,1000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\n");
    return 0;
}

static void without_links(const char *devices)
{
    fixture_cluster(devices, NULL);
    assert_int_equal(unlink(fixture_path("cluster/links.csv")), 0);
}

static void run_bare(enum serve_fast fast_path)
{
    fixture.options.fast_path = fast_path;
    if (!fixture_load() || !serve_run(fixture.arena, &fixture.scenario.input, &fixture.options,
                                      NULL, &fixture.result, &fixture.err))
        fail_msg("%s", fixture.err.text);
    assert_int_equal(fixture.result.fast_path == SERVE_FAST_ON, fast_path == SERVE_FAST_ON);
}

static void near_ms(double actual_ps, double expected_ms)
{
    double off = actual_ps / (double)MS - expected_ms;

    assert_true(off < 1e-6 && off > -1e-6);
}

/* Way in 3 ms (no bytes), a 10, on 4, b 20, back 4: 41 ms, and again at 100 ms. */
static void check_two(void)
{
    const struct serve_parts *parts = &fixture.result.parts;

    assert_true(parts->is_known);
    near_ms((double)parts->active_ps, 82);
    near_ms(parts->all_ps, 82);
    near_ms(parts->compute_ps, 60);
    near_ms(parts->delay_ps, 0);
    assert_int_equal(parts->media[0].message_count, 6);
    near_ms(parts->media[0].per_message_ps, 12);
    near_ms(parts->media[0].latency_ps, 6);
    near_ms(parts->media[0].bytes_ps, 4);
    assert_int_equal(fixture.result.replica_count, 1);
    assert_int_equal(fixture.result.replicas[0].device_count, 2);
    near_ms((double)fixture.result.replicas[0].active_ps, 82);
    near_ms(fixture.result.replicas[0].busy_ps, 60); /* bubble 1 - 60 / (2 x 82) */
    near_ms(fixture.result.devices[0].sent_ps, 6);
    near_ms(fixture.result.devices[2].sent_ps, 0);
    for (int i = 0; i < fixture.result.link_count; i++) {
        const struct serve_link *link = &fixture.result.links[i];

        assert_int_equal(link->share.message_count, 2);
        near_ms(link->share.per_message_ps + link->share.bytes_ps, (double)link->busy_ps / MS);
        near_ms(link->share.latency_ps, 2);
    }
}

static void requests_one_after_the_other(void **state)
{
    (void)state;
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.100,s\n");
    run_bare(SERVE_FAST_OFF);
    check_two();
    run_bare(SERVE_FAST_EVENTS);
    assert_int_equal(fixture.result.fast_path, SERVE_FAST_EVENTS);
    check_two();
    run_bare(SERVE_FAST_ON);
    check_two();
    /* the closed form in order of arrival, one request at a time */
    fixture.options.keeps_requests = true;
    run_bare(SERVE_FAST_ON);
    check_two();
}

/* Under flows a switch has ports into its nodes as well: they carry bytes alone. */
static void flows_tell_the_same_of_requests(void **state)
{
    const struct serve_parts *parts = &fixture.result.parts;

    (void)state;
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.100,s\n");
    fixture.options.network = SERVE_NETWORK_FLOWS;
    run_bare(SERVE_FAST_OFF);
    near_ms(parts->all_ps, 82);
    near_ms(parts->media[0].per_message_ps, 12);
    near_ms(parts->media[0].latency_ps, 6);
    near_ms(parts->media[0].bytes_ps, 4);
    for (int i = 0; i < fixture.result.link_count; i++) {
        const struct serve_link *link = &fixture.result.links[i];
        bool is_in = strcmp(link->name + strlen(link->name) - 3, "/in") == 0;

        near_ms(link->share.per_message_ps, is_in ? 0 : 4);
        near_ms(link->share.latency_ps, is_in ? 0 : 2);
        near_ms(link->share.per_message_ps + link->share.bytes_ps, (double)link->busy_ps / MS);
    }
}

/* Both at once: the second waits 2 ms for the port of the source, then until 16 for a, which is
 * free at 13 with its gap and has begun at 3; b is free at 37 and is reached at 30. */
static void what_is_left_is_waiting(void **state)
{
    (void)state;
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0,s\n");
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        run_bare((enum serve_fast)fast);
        near_ms((double)fixture.result.parts.active_ps, 61);
        near_ms(fixture.result.parts.all_ps, 41 + 61); /* 20 ms of waiting */
        near_ms(fixture.result.parts.compute_ps, 60);
    }
}

/* A stage on two devices is one job for the request. */
static void parallel_devices_compute_once(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s,devices\nx,0,0.010,2\n");
    without_links(DEVICES);
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,0,b,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.005,s\n");
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        run_bare((enum serve_fast)fast);
        near_ms((double)fixture.result.parts.active_ps, 20);
        near_ms(fixture.result.parts.all_ps, 25);
        near_ms(fixture.result.parts.compute_ps, 20);
        near_ms(fixture.result.replicas[0].busy_ps, 40);
    }
}

/* Two requests leave as a batch at 10 ms: 15 ms of compute and 7 ms of messages for each. */
static void each_request_of_a_batch_counts(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.012,0,1,1000\nx,0,0.015,0,2,2000\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.010,s\n");
    fixture.options.batch =
        (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2, .wait_ps = 50 * MS };
    run_bare(SERVE_FAST_OFF);
    near_ms(fixture.result.parts.compute_ps, 30);
    /* each its own way in (3 ms), both the same way back (5 ms) */
    near_ms(fixture.result.parts.media[0].per_message_ps, 2 * 2 + 2 * 2);
    near_ms(fixture.result.parts.media[0].bytes_ps, 2 * 2);
    near_ms(fixture.result.parts.all_ps, 33 + 23);
    assert_int_equal(fixture.result.parts.media[0].message_count, 4);
    assert_int_equal(fixture.result.links[1].share.message_count, 1);
}

/* s on a and b, r on b and c: while either has something in flight, so have both. */
static void replicas_that_share_devices_count_together(void **state)
{
    (void)state;
    without_links(DEVICES "d,t\n");
    fixture_stages(STAGES "x,0,0.010,0,1,0\nx,1,0.020,0,1,0\ny,0,0.040,0,1,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\nr,0,0,b,y\nq,0,0,d,y\n");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n1,0.100,r\n2,0.120,q\n");
    run_bare(SERVE_FAST_OFF);
    near_ms((double)fixture.result.parts.active_ps, 30 + 60);
    assert_int_equal(fixture.result.replica_count, 3);
    near_ms((double)fixture.result.replicas[0].active_ps, 70);
    near_ms(fixture.result.replicas[0].busy_ps, 10 + 60);
    near_ms((double)fixture.result.replicas[1].active_ps, 70);
    near_ms((double)fixture.result.replicas[2].active_ps, 40);
    /* stages 0 that share a: in closed form as well */
    fixture_write("p.csv", PLACED "s,0,0,a,x\ns,0,1,b,x\nr,0,0,a,y\nq,0,0,d,y\n");
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        run_bare((enum serve_fast)fast);
        near_ms((double)fixture.result.replicas[0].active_ps, 70);
        near_ms((double)fixture.result.replicas[1].active_ps, 70);
        near_ms(fixture.result.replicas[1].busy_ps, 50);
        near_ms((double)fixture.result.replicas[2].active_ps, 40);
    }
}

/* The overhead of the worker stands before each stage. */
static void overheads_are_told(void **state)
{
    (void)state;
    fixture_write("o.csv",
                  "where,dist,mean_s,sd_s,scale_per_stage_ratio\nworker,constant,0.005,,\n");
    fixture.files.overhead = fixture_path("o.csv");
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    run_bare(SERVE_FAST_OFF);
    near_ms(fixture.result.parts.delay_ps, 10);
    near_ms(fixture.result.parts.all_ps, 51);
}

/* A job that is cut off has been computed as far as it came; the rules of alpaserve tell nothing.
 */
static void failures_and_other_rules(void **state)
{
    (void)state;
    without_links(DEVICES);
    fixture_write("w.csv", "request_id,arrival_s,service\n0,0,s\n");
    fixture_write("e.csv", "time_s,target,event,value\n0.014,b,down,\n");
    fixture.files.events = fixture_path("e.csv");
    run_bare(SERVE_FAST_OFF);
    near_ms(fixture.result.parts.compute_ps, 14);
    near_ms(fixture.result.parts.all_ps, 14);
    fixture.files.events = NULL;
    fixture.options.rules = SERVE_ALPASERVE;
    run_bare(SERVE_FAST_OFF);
    assert_false(fixture.result.parts.is_known);
    assert_int_equal(fixture.result.replica_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_one_after_the_other),
        TEST(flows_tell_the_same_of_requests),
        TEST(what_is_left_is_waiting),
        TEST(parallel_devices_compute_once),
        TEST(each_request_of_a_batch_counts),
        TEST(replicas_that_share_devices_count_together),
        TEST(overheads_are_told),
        TEST(failures_and_other_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
