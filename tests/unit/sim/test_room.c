/* test_room.c - bounded queues: who waits where, against blocking tandem queues and by hand. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/rng.h"

#define STAGES "executable,stage,latency_s\n"
#define PLACED "service,replica,stage,device,executable,queue_depth\n"
#define REQUESTS "request_id,arrival_s,service\n"
#define ALL_AT_0 REQUESTS "0,0,s\n1,0,s\n2,0,s\n3,0,s\n"

static const struct serve_request *request_at(int index)
{
    return &fixture.result.requests[index];
}

static void must_run(void)
{
    if (!fixture_run())
        fail_msg("%s", fixture.err.text);
}

static void must_stand_still(const char *const *parts, size_t count)
{
    assert_false(fixture_run());
    assert_int_equal(fixture.err.kind, ERR_SYSTEM);
    for (size_t i = 0; i < count; i++)
        if (!strstr(fixture.err.text, parts[i]))
            fail_msg("'%s' does not hold '%s'", fixture.err.text, parts[i]);
}

/* ---- by hand ---- */

static void who_is_done_keeps_the_device_until_there_is_room(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.001\nx,1,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,\ns,0,1,b,x,1\n");
    fixture_write("w.csv", ALL_AT_0);
    must_run();
    /* the third is done at 3 ms, and goes when the second begins on b, at 11 ms */
    assert_int_equal(request_at(2)->start_ps, 2 * MS);
    assert_int_equal(request_at(3)->start_ps, 11 * MS);
    assert_int_equal(request_at(3)->finish_ps, 41 * MS);
    assert_int_equal(fixture.result.devices[0].busy_ps, 4 * MS);
    fixture_write("p.csv", PLACED "s,0,0,a,x,\ns,0,1,b,x,2\n");
    must_run();
    assert_int_equal(request_at(3)->start_ps, 3 * MS);
}

static void the_source_waits_for_stage_0_in_the_order_of_arrival(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\ny,0,0.001\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,1\nt,0,0,a,y,\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0,s\n3,0.001,t\n4,0.002,s\n");
    must_run();
    /* only one of s is in the queue, so that t's passes those that wait at the source */
    assert_int_equal(request_at(1)->start_ps, 10 * MS);
    assert_int_equal(request_at(3)->start_ps, 20 * MS);
    assert_int_equal(request_at(2)->start_ps, 21 * MS);
    assert_int_equal(request_at(4)->start_ps, 31 * MS);
    fixture_write("p.csv", PLACED "s,0,0,a,x,\nt,0,0,a,y,\n");
    must_run();
    assert_int_equal(request_at(3)->start_ps, 30 * MS);
}

static void a_message_on_its_way_takes_a_place(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s,output_bytes\nx,0,0.001,1\nx,1,0.002,1\n");
    fixture_cluster("device,type\na,t\nb,t\n",
                    "medium,kind,node,bits_per_s,latency_s\nn,switch,a,8e12,0.005\n"
                    "n,switch,b,8e12,0.005\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,\ns,0,1,b,x,1\n");
    fixture_write("w.csv", ALL_AT_0);
    must_run();
    /* 1 to 6 ms on the link; the next leaves a when it begins, and so on */
    assert_int_equal(request_at(0)->finish_ps, 8 * MS + 1);
    assert_int_equal(request_at(1)->finish_ps, 13 * MS + 2);
    assert_int_equal(request_at(2)->finish_ps, 18 * MS + 3);
    assert_int_equal(request_at(2)->start_ps, 6 * MS + 1); /* a was kept from 2 ms on */
    assert_int_equal(request_at(3)->start_ps, 11 * MS + 2);
}

static void a_gap_passes_while_a_device_is_kept(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s,gap_s\nx,0,0.001,0.004\nx,1,0.010,0\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,\ns,0,1,b,x,1\n");
    fixture_write("w.csv", ALL_AT_0 "4,0,s\n");
    must_run();
    /* ends at 1, 6, 11 ms; the third finds room at 11; the fourth, of 16, at 21 */
    assert_int_equal(request_at(3)->start_ps, 15 * MS);
    assert_int_equal(request_at(4)->start_ps, 21 * MS);
    assert_int_equal(fixture.result.devices[0].gap_ps, 20 * MS);
}

static void all_devices_of_a_stage_are_kept(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.001\nx,1,0.010\ny,0,0.001\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,\ns,0,0,b,x,\ns,0,1,c,x,1\nt,0,0,b,y,\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0,s\n3,0.0025,t\n");
    must_run();
    assert_int_equal(request_at(3)->start_ps, 11 * MS);
}

static void batches_count_by_their_items(void **state)
{
    (void)state;
    fixture_stages("executable,stage,latency_s,batch\nx,0,0.010,1\nx,0,0.010,2\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,1\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.001,s\n2,0.001,s\n3,0.001,s\n4,0.001,s\n");
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2 };
    must_run(); /* room for one batch: 1 and 2, and then 3 and 4 */
    for (int i = 1; i < 5; i++)
        assert_int_equal(request_at(i)->start_ps, (i < 3 ? 10 : 20) * MS);
}

/* ---- failures, epochs ---- */

static void what_a_failed_device_keeps_is_lost(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.001\nx,1,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,1\ns,0,1,b,x,1\n");
    fixture_write("w.csv", ALL_AT_0 "4,0.030,s\n");
    fixture_write("e.csv", "time_s,target,event\n0.005,a,down\n0.006,a,up\n");
    fixture.files.events = fixture_path("e.csv");
    must_run();
    assert_int_equal(request_at(0)->status, TRACE_OK);
    assert_int_equal(request_at(1)->finish_ps, 21 * MS);
    assert_int_equal(request_at(2)->status, TRACE_FAILED); /* it was on a, done */
    assert_int_equal(request_at(3)->status, TRACE_FAILED); /* before a */
    assert_int_equal(request_at(4)->finish_ps, 41 * MS);
    assert_int_equal(fixture.result.devices[0].busy_ps, 4 * MS);
}

static void who_waits_at_the_source_for_a_failed_device_fails(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,1\n");
    fixture_write("w.csv", ALL_AT_0);
    fixture_write("e.csv", "time_s,target,event\n0.005,a,down\n");
    fixture.files.events = fixture_path("e.csv");
    must_run();
    for (int i = 0; i < 4; i++)
        assert_int_equal(request_at(i)->status, TRACE_FAILED);
}

static void an_epoch_takes_a_device_that_is_kept_at_once(void **state)
{
    (void)state;
    fixture_stages(STAGES "x,0,0.001\nx,1,0.010\ny,0,0.001\n");
    fixture_write("p.csv", "service,replica,stage,device,executable,queue_depth,epoch,from_s\n"
                           "s,0,0,a,x,,0,0\ns,0,1,b,x,1,0,0\nt,0,0,a,y,,1,0.005\n");
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0,s\n2,0,s\n3,0.006,t\n");
    fixture.options.switch_cost_ps = 2 * MS;
    must_run(); /* from 5 to 7 ms, while the third of s is still there until 11 */
    assert_int_equal(request_at(3)->start_ps, 11 * MS);
    assert_int_equal(fixture.result.devices[0].gap_ps, 2 * MS);
    fixture.options.switch_cost_ps = 20 * MS;
    must_run();
    assert_int_equal(request_at(3)->start_ps, 25 * MS);
}

/* ---- standstill ---- */

static void a_device_that_waits_for_itself_says_so(void **state)
{
    static const char *const parts[] = { "blocked: 4 requests in the system",
                                         "keeps device a until the queue of stage 1 on device a "
                                         "(queue_depth 1) has room",
                                         "at the source until the queue of stage 0 on device a "
                                         "(queue_depth 1) has room" };

    (void)state;
    fixture_stages(STAGES "x,0,0.001\nx,1,0.010\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,1\ns,0,1,a,x,1\n");
    fixture_write("w.csv", ALL_AT_0);
    must_stand_still(parts, 3);
    fixture_write("w.csv", REQUESTS "0,0,s\n1,0.1,s\n");
    must_run(); /* one at a time they pass */
}

static void devices_that_wait_for_one_another_say_so(void **state)
{
    static const char *const parts[] = {
        "keeps device a until the queue of stage 1 on device b (queue_depth 1) has room",
        "keeps device b until the queue of stage 2 on device a (queue_depth 1) has room"
    };

    (void)state;
    fixture_stages(STAGES "x,0,0.001\nx,1,0.001\nx,2,0.001\n");
    fixture_write("p.csv", PLACED "s,0,0,a,x,\ns,0,1,b,x,1\ns,0,2,a,x,1\n");
    fixture_write("w.csv", ALL_AT_0 "4,0,s\n5,0,s\n6,0,s\n");
    must_stand_still(parts, 2);
}

/* ---- theory ---- */

enum { STAGE_MOST = 5, JOBS = 40 };

/* A tandem queue with blocking after service: job n leaves stage j when it is done there and job
 * n - depth has begun in stage j + 1. */
static void tandem(int stages, const int *depths, const int64_t *cost_ps, const int64_t *arrival_ps,
                   int64_t starts_ps[JOBS][STAGE_MOST], int64_t leaves_ps[JOBS][STAGE_MOST])
{
    for (int n = 0; n < JOBS; n++)
        for (int j = 0; j < stages; j++) {
            int64_t ready_ps = j > 0 ? leaves_ps[n][j - 1] : arrival_ps[n], end_ps;

            if (j == 0 && depths[0] > 0 && n >= depths[0])
                ready_ps =
                    starts_ps[n - depths[0]][0] > ready_ps ? starts_ps[n - depths[0]][0] : ready_ps;
            if (n > 0 && leaves_ps[n - 1][j] > ready_ps)
                ready_ps = leaves_ps[n - 1][j];
            starts_ps[n][j] = ready_ps;
            end_ps = ready_ps + cost_ps[j];
            if (j + 1 < stages && depths[j + 1] > 0 && n >= depths[j + 1] &&
                starts_ps[n - depths[j + 1]][j + 1] > end_ps)
                end_ps = starts_ps[n - depths[j + 1]][j + 1];
            leaves_ps[n][j] = end_ps;
        }
}

static void pipelines_are_tandem_queues_with_blocking(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 5);

    (void)state;
    for (int round = 0; round < 60; round++) {
        int64_t cost_ps[STAGE_MOST], arrival_ps[JOBS], at_ps = 0;
        int64_t starts_ps[JOBS][STAGE_MOST], leaves_ps[JOBS][STAGE_MOST];
        const char *costs = STAGES, *placed = PLACED, *rows = REQUESTS;
        int stages = 1 + (int)rng_below(&rng, STAGE_MOST), depths[STAGE_MOST];

        for (int j = 0; j < stages; j++) {
            depths[j] = (int)rng_below(&rng, 4);
            cost_ps[j] = (int64_t)rng_below(&rng, 10 * MS);
            costs =
                arena_printf(fixture.arena, "%sx,%d,0.%012lld\n", costs, j, (long long)cost_ps[j]);
            placed = depths[j] > 0 ? arena_printf(fixture.arena, "%ss,0,%d,d%d,x,%d\n", placed, j,
                                                  j, depths[j])
                                   : arena_printf(fixture.arena, "%ss,0,%d,d%d,x,\n", placed, j, j);
        }
        for (int n = 0; n < JOBS; n++) {
            at_ps += (int64_t)rng_below(&rng, 8 * MS);
            arrival_ps[n] = at_ps;
            rows = arena_printf(fixture.arena, "%s%d,0.%012lld,s\n", rows, n, (long long)at_ps);
        }
        tandem(stages, depths, cost_ps, arrival_ps, starts_ps, leaves_ps);
        fixture_stages(costs);
        fixture_write("p.csv", placed);
        fixture_write("w.csv", rows);
        must_run();
        for (int n = 0; n < JOBS; n++) {
            assert_int_equal(request_at(n)->start_ps, starts_ps[n][0]);
            assert_int_equal(request_at(n)->finish_ps, leaves_ps[n][stages - 1]);
        }
    }
}

/* Four stages behind queues of one, as PipeEdge runs them: the slowest stage gives the period, but
 * who is under way waits in front of it, in what is full: latency is that many periods and not the
 * sum of the stages. */
static void latency_is_what_is_under_way_times_the_period(void **state)
{
    enum { COUNT = 300, WARM = 200 };
    static const char *const slowest[] = { "0.120\nx,3,0.100\n", "0.100\nx,3,0.120\n" };
    static const int under_way[] = { 6, 8 }; /* two before and in each stage up to the slowest */
    const char *rows = REQUESTS;

    (void)state;
    for (int n = 0; n < COUNT; n++)
        rows = arena_printf(fixture.arena, "%s%d,0,s\n", rows, n);
    fixture_write("w.csv", rows);
    fixture_write("p.csv", PLACED "s,0,0,a,x,1\ns,0,1,b,x,1\ns,0,2,c,x,1\ns,0,3,d,x,1\n");
    for (int k = 0; k < 2; k++) {
        fixture_stages(
            arena_printf(fixture.arena, "%sx,0,0.100\nx,1,0.110\nx,2,%s", STAGES, slowest[k]));
        must_run();
        for (int n = WARM; n < COUNT; n++) {
            /* it left the source when the one before it began in stage 0 */
            int64_t took_ps = request_at(n)->finish_ps - request_at(n - 1)->start_ps;
            int64_t behind_ps = k == 0 ? 100 * MS : 0;

            assert_int_equal(request_at(n)->finish_ps - request_at(n - 1)->finish_ps, 120 * MS);
            assert_int_equal(took_ps - behind_ps, under_way[k] * 120 * MS);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_is_done_keeps_the_device_until_there_is_room),
        TEST(the_source_waits_for_stage_0_in_the_order_of_arrival),
        TEST(a_message_on_its_way_takes_a_place),
        TEST(a_gap_passes_while_a_device_is_kept),
        TEST(all_devices_of_a_stage_are_kept),
        TEST(batches_count_by_their_items),
        TEST(what_a_failed_device_keeps_is_lost),
        TEST(who_waits_at_the_source_for_a_failed_device_fails),
        TEST(an_epoch_takes_a_device_that_is_kept_at_once),
        TEST(a_device_that_waits_for_itself_says_so),
        TEST(devices_that_wait_for_one_another_say_so),
        TEST(pipelines_are_tandem_queues_with_blocking),
        TEST(latency_is_what_is_under_way_times_the_period),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
