/* test_wake.c - the first step behind a pause pays for waking its device, whatever way a run takes.
 */
#include "tests/unit/sim/llm_fixture.h"

#include "lib/base/rng.h"

#define RESUME_PS (40 * UNITS_PS_PER_US)
#define ROOFLINE "threads,metric,ws_bytes,value,unit\n1,timer_ns,,20,ns\n"

static void set_up_files(enum batch_kind kind)
{
    llm_setup_files(4, 16, 100);
    fixture.options.batch.kind = kind;
    fixture.options.batch.max_size = 2;
    fixture_write("costs/t/roofline.csv", ROOFLINE "1,idle_resume_ns,,40000,ns\n");
    fixture_write("w.csv", W "0,0.1,s,2,3\n1,0.101,s,2,3\n2,0.3,s,2,1\n3,0.34,s,2,2\n4,9,s,4,1\n");
}

struct ends {
    int64_t start_ps[5], first_ps[5], finish_ps[5], busy_ps;
};

static struct ends run(bool has_idle_resume)
{
    struct ends ends;

    fixture.options.has_idle_resume = has_idle_resume;
    llm_must_run();
    for (int i = 0; i < 5; i++) {
        ends.start_ps[i] = fixture.result.requests[i].start_ps;
        ends.first_ps[i] = fixture.result.requests[i].first_token_ps;
        ends.finish_ps[i] = fixture.result.requests[i].finish_ps;
    }
    ends.busy_ps = fixture.result.devices[0].busy_ps;
    return ends;
}

/* The first, the third and the last come behind more than 60 ms, the fourth behind less. */
static void assert_paid(void)
{
    struct ends off = run(false), on = run(true);

    for (int i = 0; i < 5; i++) {
        int64_t more_ps = i == 3 ? 0 : RESUME_PS;

        assert_int_equal(on.start_ps[i] - off.start_ps[i], i == 1 ? RESUME_PS : 0);
        assert_int_equal(on.first_ps[i] - off.first_ps[i], more_ps);
        assert_int_equal(on.finish_ps[i] - off.finish_ps[i], more_ps);
    }
    assert_int_equal(on.busy_ps - off.busy_ps, 3 * RESUME_PS);
    assert_int_equal(fixture.result.wake_count, 3);
    assert_int_equal(fixture.result.wake_ps, 3 * RESUME_PS);
}

static void a_decoder_pays_behind_a_pause(void **state)
{
    (void)state;
    set_up_files(BATCH_NONE);
    assert_paid();
    fixture_write("e.csv", "time_s,target,event,value\n"); /* queues that are looked at anew */
    fixture.files.events = fixture_path("e.csv");
    assert_paid();
}

static void fixed_batches_do(void **state)
{
    (void)state;
    set_up_files(BATCH_FIXED);
    assert_paid();
}

static void continuous_batches_do(void **state)
{
    (void)state;
    set_up_files(BATCH_CONTINUOUS);
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        fixture.options.fast_path = (enum serve_fast)fast;
        assert_paid();
    }
    fixture_write("e.csv", "time_s,target,event,value\n8,a,speed_ratio,1\n"); /* as tasks */
    fixture.files.events = fixture_path("e.csv");
    assert_paid();
}

static void a_slower_device_wakes_more_slowly(void **state)
{
    struct ends off, on;

    (void)state;
    set_up_files(BATCH_NONE);
    fixture_cluster("device,type,speed_ratio\na,t,0.5\n", NULL);
    off = run(false);
    on = run(true);
    assert_int_equal(on.first_ps[0] - off.first_ps[0], 2 * RESUME_PS);
}

static void what_is_not_measured_costs_nothing(void **state)
{
    static const char *const rows[] = { "", "1,idle_resume_ns,,-300,ns\n",
                                        "2,idle_resume_ns,,40000,ns\n" };

    (void)state;
    set_up_files(BATCH_NONE);
    for (size_t i = 0; i < 3; i++) {
        struct ends off, on;

        fixture_write("costs/t/roofline.csv", arena_printf(fixture.arena, ROOFLINE "%s", rows[i]));
        off = run(false);
        on = run(true);
        assert_int_equal(on.finish_ps[4], off.finish_ps[4]);
        assert_false(fixture.result.has_wakes);
    }
}

static void black_boxes_pay_nothing_and_keep_a_device_awake(void **state)
{
    struct ends off, on;

    (void)state;
    set_up_files(BATCH_NONE);
    fixture_stages("executable,stage,latency_s\nx,0,0.001\n");
    fixture_write("p.csv", "service,replica,stage,device,model,executable\ns,0,0,a,tiny,\n"
                           "box,0,0,a,,x\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
                           "0,0.1,box,,\n1,0.15,s,2,1\n2,0.4,box,,\n3,0.45,s,2,1\n4,0.6,s,2,1\n");
    off = run(false);
    on = run(true);
    for (int i = 0; i < 5; i++)
        assert_int_equal(on.finish_ps[i] - off.finish_ps[i], i == 4 ? RESUME_PS : 0);
}

/* Messages of a slow link make pauses between steps: each pays. */
static void steps_behind_slow_messages_all_pay(void **state)
{
    (void)state;
    set_up_files(BATCH_CONTINUOUS);
    fixture_write("w.csv", W "0,0,s,2,4\n1,1,s,2,1\n2,2,s,2,1\n3,3,s,2,1\n4,4,s,2,1\n");
    fixture_cluster("device,type\na,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                          "n,switch,a,8e9,0.03\nn,switch,source,8e9,0.03\n");
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        struct ends off, on;

        fixture.options.fast_path = (enum serve_fast)fast;
        off = run(false);
        on = run(true);
        assert_int_equal(on.finish_ps[0] - off.finish_ps[0], 4 * RESUME_PS);
        assert_int_equal(fixture.result.wake_count, 8);
    }
}

/* Pauses of any length: all ways of a run give the same. */
static void all_ways_give_the_same(void **state)
{
    struct rng rng = rng_stream(3, RNG_TEST, 9);

    (void)state;
    set_up_files(BATCH_CONTINUOUS);
    fixture_write("p.csv", P "s,0,0,a,tiny,,all\ns,1,0,a,tiny,,all\n");
    for (int round = 0; round < 20; round++) {
        const char *text = W;
        int64_t at_us = 0, finish_ps[30] = { 0 };

        for (int i = 0; i < 30; i++) {
            int prompt = 1 + (int)rng_below(&rng, 6), output = 1 + (int)rng_below(&rng, 8);

            at_us += (int64_t)rng_below(&rng, 140000);
            text = arena_printf(fixture.arena, "%s%d,%lld.%06lld,s,%d,%d\n", text, i,
                                (long long)(at_us / 1000000), (long long)(at_us % 1000000), prompt,
                                output);
        }
        fixture_write("w.csv", text);
        for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
            fixture.options.fast_path = (enum serve_fast)fast;
            fixture.options.has_idle_resume = true;
            llm_must_run();
            assert_true(fixture.result.wake_count > 0);
            for (int i = 0; i < 30; i++) {
                if (fast > 0)
                    assert_int_equal(fixture.result.requests[i].finish_ps, finish_ps[i]);
                finish_ps[i] = fixture.result.requests[i].finish_ps;
            }
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_decoder_pays_behind_a_pause),
        TEST(fixed_batches_do),
        TEST(continuous_batches_do),
        TEST(a_slower_device_wakes_more_slowly),
        TEST(what_is_not_measured_costs_nothing),
        TEST(black_boxes_pay_nothing_and_keep_a_device_awake),
        TEST(steps_behind_slow_messages_all_pay),
        TEST(all_ways_give_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
