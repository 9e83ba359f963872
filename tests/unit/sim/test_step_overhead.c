/* test_step_overhead.c - what an engine does between the kernels of a step takes the device of
 * every stage, in every kind of run. */
#include "tests/unit/sim/llm_fixture.h"

#define STEP_PS (200 * UNITS_PS_PER_US)
#define SEQUENCE_PS (30 * UNITS_PS_PER_US)

static void set_up_files(enum batch_kind kind)
{
    llm_setup_files(4, 16, 100);
    fixture.options.batch.kind = kind;
    fixture.options.batch.max_size = 2;
    fixture.options.batch.wait_ps = kind == BATCH_FIXED ? MS : 0;
    fixture_write("o.csv", "where,dist,mean_s,per_sequence_s\nstep,constant,0.0002,0.00003\n");
}

struct ends {
    int64_t finish_ps[4], busy_ps;
};

static struct ends run(int count, bool has_overhead)
{
    struct ends ends;

    fixture.files.overhead = has_overhead ? fixture_path("o.csv") : NULL;
    llm_must_run();
    for (int i = 0; i < count; i++)
        ends.finish_ps[i] = fixture.result.requests[i].finish_ps;
    ends.busy_ps = fixture.result.devices[0].busy_ps;
    return ends;
}

static void a_decoder_pays_for_every_step(void **state)
{
    static const char *const placements[] = { P "s,0,0,a,duo,,all\n",
                                              P "s,0,0,a,duo,,embed\ns,0,0,a,duo,0,layer\n"
                                                "s,0,1,a,duo,1,layer\ns,0,1,a,duo,,lm_head\n" };
    static const enum batch_kind kinds[] = { BATCH_NONE, BATCH_FIXED, BATCH_CONTINUOUS };

    (void)state;
    for (int k = 0; k < 3; k++)
        for (int stages = 1; stages <= 2; stages++)
            for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
                int64_t more_ps = 5 * stages * (STEP_PS + SEQUENCE_PS);
                struct ends off, on;

                set_up_files(kinds[k]);
                fixture.options.fast_path = (enum serve_fast)fast;
                fixture_write("p.csv", placements[stages - 1]);
                fixture_write("w.csv", W "0,0.1,s,3,5\n");
                off = run(1, false);
                on = run(1, true);
                assert_int_equal(on.finish_ps[0] - off.finish_ps[0], more_ps);
                assert_int_equal(on.busy_ps - off.busy_ps, more_ps);
            }
}

static void every_sequence_of_a_batch_counts(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++)
        for (int fast = 0; fast < SERVE_FAST_COUNT; fast++) {
            struct ends off, on;

            set_up_files(k == 0 ? BATCH_FIXED : BATCH_CONTINUOUS);
            fixture.options.fast_path = (enum serve_fast)fast;
            fixture_write("w.csv", W "0,0,s,2,5\n1,0,s,2,5\n");
            off = run(2, false);
            on = run(2, true);
            assert_int_equal(on.finish_ps[1] - off.finish_ps[1], 5 * (STEP_PS + 2 * SEQUENCE_PS));
        }
}

static void an_encoder_pays_once_over_the_speed_of_its_device(void **state)
{
    struct ends off, on;

    (void)state;
    set_up_files(BATCH_NONE);
    fixture_cluster("device,type,speed_ratio\na,t,0.5\n", NULL);
    fixture_write("p.csv", P "s,0,0,a,reader,,all\n");
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens\n0,0,s,2\n");
    off = run(1, false);
    on = run(1, true);
    assert_int_equal(on.finish_ps[0] - off.finish_ps[0], 2 * (STEP_PS + SEQUENCE_PS));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_decoder_pays_for_every_step),
        TEST(every_sequence_of_a_batch_counts),
        TEST(an_encoder_pays_once_over_the_speed_of_its_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
