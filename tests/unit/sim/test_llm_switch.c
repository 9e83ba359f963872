/* test_llm_switch.c - epochs that take devices from continuous batches. */
#include "tests/unit/sim/llm_fixture.h"

#include "lib/base/rng.h"

#define EPOCHS "service,replica,stage,device,model,epoch,from_s\n"

static const struct serve_request *request_at(int index)
{
    return &fixture.result.requests[index];
}

static void a_device_that_gets_slices_is_taken_first(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", EPOCHS "s,0,0,a,tiny,0,0\ns,0,0,b,tiny,1,0.005\n");
    fixture_write("w.csv", W "0,0,s,4,6\n1,0.010,s,4,1\n");
    for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
        fixture.options.fast_path = (enum serve_fast)fast;
        fixture.options.switch_cost_ps = 20 * MS;
        llm_must_run();
        /* who is on a ends there */
        assert_int_equal(request_at(0)->finish_ps, 9 * MS + 6 * EACH_PS);
        assert_int_equal(request_at(1)->start_ps, 25 * MS);
        assert_int_equal(request_at(1)->replica, 1);
        assert_int_equal(fixture.result.devices[1].gap_ps, 20 * MS);
        assert_int_equal(fixture.result.devices[0].gap_ps, 0);
        assert_int_equal(fixture.result.migrations, 1);
        fixture.options.switch_cost_ps = 0;
        llm_must_run();
        assert_int_equal(request_at(1)->start_ps, 10 * MS);
        assert_int_equal(fixture.result.migrations, 1);
    }
}

static void a_job_ends_before_its_device_is_taken(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", EPOCHS "s,0,0,a,tiny,0,0\ns,0,0,a,tiny,1,0.002\nt,0,0,b,duo,0,0\n"
                                  "t,0,0,a,duo,1,0.002\n");
    fixture_write("w.csv", W "0,0,s,4,3\n1,0.0025,t,4,1\n");
    fixture.options.switch_cost_ps = 7 * MS;
    llm_must_run();
    /* a is taken from 4 to 11 ms; then the batch of t, which has waited longer than the next of s
     */
    assert_int_equal(request_at(1)->start_ps, 11 * MS + EACH_PS);
    assert_int_equal(request_at(0)->first_token_ps, 4 * MS + EACH_PS);
    assert_true(request_at(0)->finish_ps > request_at(1)->finish_ps);
    assert_int_equal(fixture.result.devices[0].gap_ps, 7 * MS);
}

static void a_switch_that_outlasts_the_run_is_cut_off(void **state)
{
    (void)state;
    llm_setup_files(4, 64, 100);
    fixture_write("p.csv", EPOCHS "s,0,0,a,tiny,0,0\ns,0,0,a,tiny,1,0.002\nt,0,0,b,tiny,0,0\n"
                                  "t,0,0,c,tiny,1,0.002\n");
    fixture_write("w.csv", W "0,0,s,4,1\n");
    fixture.options.switch_cost_ps = 1000 * MS;
    llm_must_run();
    assert_int_equal(fixture.result.devices[2].gap_ps, 2 * MS + EACH_PS);
}

/* One request at a time of one token is what a queue of plain steps is, as long as no two replicas
 * share a device: each plans its next batch when the one before has come back. */
static void single_requests_are_as_without_batches(void **state)
{
    struct rng rng = rng_stream(8, RNG_TEST, 4);

    (void)state;
    llm_setup_files(1, 64, 100);
    for (int round = 0; round < 40; round++) {
        int64_t start_ps[30], finish_ps[30], gap_ps[3], migrations = 0, at_us = 0;
        const char *text = W, *rows = EPOCHS;
        int first = (int)rng_below(&rng, 3);

        for (int e = 0; e < 3; e++) {
            char device = (char)('a' + (first + e) % 3);

            rows = arena_printf(fixture.arena, "%ss,0,0,%c,tiny,%d,0.%03d\n", rows, device, e,
                                40 * e + (e > 0 ? (int)rng_below(&rng, 30) : 0));
        }
        for (int i = 0; i < 30; i++) {
            at_us += (int64_t)rng_below(&rng, 9000);
            text = arena_printf(fixture.arena, "%s%d,0.%06d,s,%d,1\n", text, i, (int)at_us,
                                2 + (int)rng_below(&rng, 8)); /* one of one token is a decode */
        }
        fixture_cluster("device,type\na,t\nb,t\nc,t\n", NULL);
        fixture_write("p.csv", rows);
        fixture_write("w.csv", text);
        fixture.options.switch_cost_ps = (int64_t)rng_below(&rng, 60) * MS;
        for (int k = 0; k < 2; k++) {
            fixture.options.batch.kind = k == 0 ? BATCH_NONE : BATCH_CONTINUOUS;
            llm_must_run();
            for (int i = 0; i < 30; i++) {
                if (k > 0) {
                    assert_int_equal(request_at(i)->start_ps, start_ps[i]);
                    assert_int_equal(request_at(i)->finish_ps, finish_ps[i]);
                }
                start_ps[i] = request_at(i)->start_ps;
                finish_ps[i] = request_at(i)->finish_ps;
            }
            for (int d = 0; d < 3; d++) {
                if (k > 0)
                    assert_int_equal(fixture.result.devices[d].gap_ps, gap_ps[d]);
                gap_ps[d] = fixture.result.devices[d].gap_ps;
            }
            if (k > 0)
                assert_int_equal(fixture.result.migrations, migrations);
            migrations = fixture.result.migrations;
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_device_that_gets_slices_is_taken_first),
        TEST(a_job_ends_before_its_device_is_taken),
        TEST(a_switch_that_outlasts_the_run_is_cut_off),
        TEST(single_requests_are_as_without_batches),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
