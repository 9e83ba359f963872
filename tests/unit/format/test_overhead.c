/* test_overhead.c - the rules of traces/README.md for overheads, and what draws of them keep to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/units.h"
#include "lib/format/overhead.h"
#include "tests/unit/scratch.h"
#include <math.h>

#define HEAD "where,dist,mean_s,sd_s,scale_per_stage_ratio\n"
#define MS UNITS_PS_PER_MS

static bool load(struct scratch *scratch, const char *rows, struct overheads *overheads)
{
    const char *text = arena_printf(scratch->arena, HEAD "%s", rows);

    return overhead_load(scratch->arena, scratch_write(scratch, "o.csv", text), overheads,
                         scratch_err(scratch));
}

static void every_column_is_read(void **state)
{
    struct overheads o;

    assert_true(load(*state,
                     "response,lognormal,0.011,0.002,0.009\nsubmit,constant,0.0005,,\n"
                     "dispatch,normal,0.0025,0.0005,\n",
                     &o));
    assert_true(o.at[OVERHEAD_SUBMIT].is_given);
    assert_int_equal(o.at[OVERHEAD_SUBMIT].dist, OVERHEAD_CONSTANT);
    assert_int_equal(o.at[OVERHEAD_SUBMIT].mean_ps, MS / 2);
    assert_int_equal(o.at[OVERHEAD_SUBMIT].sd_ps, 0);
    assert_true(o.at[OVERHEAD_SUBMIT].scale_per_stage_ratio == 0);
    assert_int_equal(o.at[OVERHEAD_DISPATCH].dist, OVERHEAD_NORMAL);
    assert_int_equal(o.at[OVERHEAD_DISPATCH].sd_ps, MS / 2);
    assert_false(o.at[OVERHEAD_WORKER].is_given);
    assert_int_equal(o.at[OVERHEAD_RESPONSE].dist, OVERHEAD_LOGNORMAL);
    assert_int_equal(o.at[OVERHEAD_RESPONSE].mean_ps, 11 * MS);
    assert_true(o.at[OVERHEAD_RESPONSE].scale_per_stage_ratio == 0.009);
}

static void optional_columns_may_be_left_out_and_a_table_may_be_empty(void **state)
{
    struct scratch *scratch = *state;
    struct overheads o;

    assert_true(overhead_load(scratch->arena,
                              scratch_write(scratch, "o.csv", "dist,mean_s,where\nexp,0,worker\n"),
                              &o, scratch_err(scratch)));
    assert_int_equal(o.at[OVERHEAD_WORKER].dist, OVERHEAD_EXP);
    assert_true(load(scratch, "", &o));
    for (int i = 0; i < OVERHEAD_WHERE_COUNT; i++)
        assert_false(o.at[i].is_given);
    assert_true(load(scratch, "submit,constant,1,0,0\n", &o)); /* a zero says nothing new */
}

static void bad_rows_are_located(void **state)
{
    static const struct {
        const char *rows, *error;
    } cases[] = {
        { ",constant,1,,\n", "2:1: where is '': must not be empty" },
        { "client,constant,1,,\n",
          "2:1: where is 'client': expected submit, dispatch, worker, response or "
          "step" },
        { "respond,constant,1,,\n", "2:1: where is 'respond': expected submit, dispatch, worker" },
        { "worker,exp,1,,\nsubmit,exp,1,,\nworker,exp,1,,\n",
          "4:1: where is 'worker': line 2 has it already" },
        { "worker,uniform,1,,\n",
          "2:2: dist is 'uniform': expected constant, exp, normal or lognormal" },
        { "worker,exp,,,\n", "2:3: mean_s is '': must not be empty" },
        { "worker,exp,-1,,\n", "2:3: mean_s is '-1': expected at least 0 seconds" },
        { "worker,exp,1ms,,\n", "2:3: mean_s is '1ms': expected decimal seconds" },
        { "worker,constant,1,0.5,\n", "2:4: sd_s is '0.5': 'constant' has none of its own" },
        { "worker,exp,1,1,\n", "2:4: sd_s is '1': 'exp' has none of its own" },
        { "worker,normal,1,-1,\n", "2:4: sd_s is '-1': expected at least 0 seconds" },
        { "worker,lognormal,0,1,\n", "2:4: sd_s is '1': expected at most 1000 times mean_s" },
        { "worker,exp,1,,-0.1\n", "2:5: scale_per_stage_ratio is '-0.1': expected a number of" },
        { "worker,exp,1,,inf\n", "2:5: scale_per_stage_ratio is 'inf': not a finite" },
        { "worker,exp,1,\n", "2: 4 fields, but the header names 5" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scratch *scratch = *state;
        struct overheads o;
        const char *message;

        assert_false(load(scratch, cases[i].rows, &o));
        assert_int_equal(scratch->err.kind, ERR_INPUT);
        message = scratch_message(scratch);
        if (strncmp(message, "o.csv:", 6) != 0 ||
            strncmp(message + 6, cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("case %zu: '%s' does not begin with 'o.csv:%s'", i, message, cases[i].error);
    }
}

static struct overhead overhead_of(enum overhead_dist dist, int64_t mean_ps, int64_t sd_ps)
{
    return (struct overhead){ .is_given = true, .dist = dist, .mean_ps = mean_ps, .sd_ps = sd_ps };
}

static void constants_and_what_is_not_given_draw_nothing(void **state)
{
    const struct overhead constant = overhead_of(OVERHEAD_CONSTANT, 7, 0), none = { 0 };
    const struct overhead sure = overhead_of(OVERHEAD_NORMAL, 9, 0);
    const struct overhead zero = overhead_of(OVERHEAD_LOGNORMAL, 0, 0);

    (void)state;
    assert_int_equal(overhead_draw(&constant, 1, OVERHEAD_WORKER, 3, 4), 7);
    assert_int_equal(overhead_draw(&none, 1, OVERHEAD_WORKER, 3, 4), 0);
    assert_int_equal(overhead_draw(&sure, 1, OVERHEAD_WORKER, 3, 4), 9);
    assert_int_equal(overhead_draw(&zero, 1, OVERHEAD_WORKER, 3, 4), 0);
}

/* Mean and standard deviation of 40 000 draws, 4 stages of 10 000 requests. */
static void moments(const struct overhead *overhead, double *mean, double *sd)
{
    double sum = 0, squares = 0, count = 40000;

    for (uint64_t i = 0; i < 40000; i++) {
        double x = (double)overhead_draw(overhead, 1, OVERHEAD_DISPATCH, i / 4, i % 4) / (double)MS;

        sum += x;
        squares += x * x;
    }
    *mean = sum / count;
    *sd = sqrt(squares / count - *mean * *mean);
}

static void assert_near(double actual, double expected, double tolerance)
{
    if (fabs(actual - expected) > tolerance)
        fail_msg("%.5f is not within %.5f of %.5f", actual, tolerance, expected);
}

static void draws_have_the_given_mean_and_deviation(void **state)
{
    struct overhead overhead = overhead_of(OVERHEAD_NORMAL, 10 * MS, 2 * MS);
    double mean, sd;

    (void)state;
    moments(&overhead, &mean, &sd);
    assert_near(mean, 10, 0.05); /* 5 standard errors */
    assert_near(sd, 2, 0.04);
    overhead = overhead_of(OVERHEAD_EXP, 10 * MS, 0);
    moments(&overhead, &mean, &sd);
    assert_near(mean, 10, 0.25);
    assert_near(sd, 10, 0.4);
    overhead = overhead_of(OVERHEAD_LOGNORMAL, 10 * MS, 5 * MS);
    moments(&overhead, &mean, &sd);
    assert_near(mean, 10, 0.13);
    assert_near(sd, 5, 0.3);
}

/* |N(0, 1)| has mean sqrt(2 / pi) and standard deviation sqrt(1 - 2 / pi). */
static void a_normal_draw_counts_without_its_sign(void **state)
{
    const struct overhead overhead = overhead_of(OVERHEAD_NORMAL, 0, MS);
    double mean, sd;

    (void)state;
    moments(&overhead, &mean, &sd);
    assert_near(mean, 0.797885, 0.015);
    assert_near(sd, 0.602810, 0.012);
}

static void draws_stay_within_what_a_time_can_be(void **state)
{
    const struct overhead overhead = overhead_of(OVERHEAD_NORMAL, UNITS_MAX_PS, UNITS_MAX_PS);

    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_in_range(overhead_draw(&overhead, 1, OVERHEAD_SUBMIT, i, 0), 0, UNITS_MAX_PS);
}

static void a_draw_depends_on_what_it_is_for_alone(void **state)
{
    const struct overhead overhead = overhead_of(OVERHEAD_NORMAL, 10 * MS, MS);
    int64_t first = overhead_draw(&overhead, 1, OVERHEAD_WORKER, 5, 1);

    (void)state;
    (void)overhead_draw(&overhead, 1, OVERHEAD_WORKER, 6, 0);
    assert_int_equal(overhead_draw(&overhead, 1, OVERHEAD_WORKER, 5, 1), first);
    assert_int_not_equal(overhead_draw(&overhead, 2, OVERHEAD_WORKER, 5, 1), first);
    assert_int_not_equal(overhead_draw(&overhead, 1, OVERHEAD_SUBMIT, 5, 1), first);
    assert_int_not_equal(overhead_draw(&overhead, 1, OVERHEAD_WORKER, 4, 1), first);
    assert_int_not_equal(overhead_draw(&overhead, 1, OVERHEAD_WORKER, 5, 2), first);
}

static int compare_draws(const void *left, const void *right)
{
    const int64_t *a = left, *b = right;

    return (*a > *b) - (*a < *b);
}

static void no_two_purposes_share_a_draw(void **state)
{
    const struct overhead overhead = overhead_of(OVERHEAD_NORMAL, UNITS_PS_PER_S, MS);
    enum {
        REQUESTS = 2000,
        STAGES = 8,
        DRAWN = OVERHEAD_RESPONSE + 1,
        COUNT = REQUESTS * STAGES * DRAWN
    };
    static int64_t draws[COUNT];
    int used = 0, repeated = 0;

    (void)state;
    for (uint64_t r = 0; r < REQUESTS; r++)
        for (uint64_t s = 0; s < STAGES; s++)
            for (int w = 0; w < DRAWN; w++)
                draws[used++] = overhead_draw(&overhead, 1, (enum overhead_where)w, r, s);
    qsort(draws, COUNT, sizeof draws[0], compare_draws);
    for (int i = 1; i < COUNT; i++)
        repeated += draws[i] == draws[i - 1];
    assert_true(repeated <= 4); /* 64 000 draws spread over some 4e9 ps: 0.5 by chance */
}

/* The same bytes on every machine: these values may never change. */
static void draws_are_part_of_the_seed(void **state)
{
    const struct overhead normal = overhead_of(OVERHEAD_NORMAL, 10 * MS, MS);
    const struct overhead lognormal = overhead_of(OVERHEAD_LOGNORMAL, 10 * MS, MS);
    const struct overhead exponential = overhead_of(OVERHEAD_EXP, 10 * MS, 0);

    (void)state;
    assert_int_equal(overhead_draw(&normal, 1, OVERHEAD_WORKER, 0, 0), INT64_C(9490695893));
    assert_int_equal(overhead_draw(&lognormal, 1, OVERHEAD_RESPONSE, 1000000, 3),
                     INT64_C(9594090927));
    assert_int_equal(overhead_draw(&exponential, 42, OVERHEAD_SUBMIT, 7, 0), INT64_C(22225521312));
}

static void a_step_costs_a_constant_and_more_for_each_sequence(void **state)
{
    static const char *const head = "where,dist,mean_s,sd_s,per_sequence_s\n";
    struct scratch *scratch = *state;
    struct overheads o;

    assert_true(overhead_load(
        scratch->arena,
        scratch_write(scratch, "s.csv",
                      arena_printf(scratch->arena, "%sstep,constant,0.002,,0.0001\n", head)),
        &o, scratch_err(scratch)));
    assert_int_equal(overhead_step_ps(&o, 1), 2100 * UNITS_PS_PER_US);
    assert_int_equal(overhead_step_ps(&o, 30), 5 * MS);
    assert_int_equal(overhead_step_ps(&o, INT64_MAX), UNITS_MAX_PS);
    assert_int_equal(overhead_step_ps(NULL, 30), 0);
    assert_false(overhead_load(
        scratch->arena,
        scratch_write(scratch, "s.csv", arena_printf(scratch->arena, "%sstep,exp,0.002,,\n", head)),
        &o, scratch_err(scratch)));
    assert_non_null(strstr(scratch->err.text, "2:2: dist is 'exp': what a step costs is"));
    assert_false(
        overhead_load(scratch->arena,
                      scratch_write(scratch, "s.csv",
                                    arena_printf(scratch->arena, "%sworker,constant,1,,2\n", head)),
                      &o, scratch_err(scratch)));
    assert_non_null(strstr(scratch->err.text, "2:5: per_sequence_s is '2': only 'step' has one"));
}

static void alpaserve_adds_11_ms_and_slows_pipelines(void **state)
{
    const struct overheads alpaserve = overhead_alpaserve(), none = overhead_none();

    (void)state;
    for (int i = 0; i < OVERHEAD_WHERE_COUNT; i++) {
        assert_false(none.at[i].is_given);
        assert_true(alpaserve.at[i].is_given == (i == OVERHEAD_RESPONSE));
    }
    assert_int_equal(overhead_draw(&alpaserve.at[OVERHEAD_RESPONSE], 1, OVERHEAD_RESPONSE, 9, 0),
                     11 * MS);
    assert_int_equal(overhead_stage_ps(&alpaserve, 37 * MS, 4), 37 * MS * 1036 / 1000);
    assert_int_equal(overhead_stage_ps(&alpaserve, 100 * MS, 1), 100 * MS * 1009 / 1000);
    assert_int_equal(overhead_stage_ps(&none, INT64_C(9007199254740993), 4),
                     INT64_C(9007199254740993));
    assert_int_equal(overhead_stage_ps(&alpaserve, UNITS_MAX_PS, 1), UNITS_MAX_PS);
}

static void scales_of_all_rows_add_up(void **state)
{
    struct overheads o;

    assert_true(load(*state, "worker,constant,0,,0.25\nresponse,constant,0,,0.5\n", &o));
    assert_int_equal(overhead_stage_ps(&o, 1000, 2), 2500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(every_column_is_read),
        scratch_test(optional_columns_may_be_left_out_and_a_table_may_be_empty),
        scratch_test(bad_rows_are_located),
        cmocka_unit_test(constants_and_what_is_not_given_draw_nothing),
        cmocka_unit_test(draws_have_the_given_mean_and_deviation),
        cmocka_unit_test(a_normal_draw_counts_without_its_sign),
        cmocka_unit_test(draws_stay_within_what_a_time_can_be),
        cmocka_unit_test(a_draw_depends_on_what_it_is_for_alone),
        cmocka_unit_test(no_two_purposes_share_a_draw),
        cmocka_unit_test(draws_are_part_of_the_seed),
        scratch_test(a_step_costs_a_constant_and_more_for_each_sequence),
        cmocka_unit_test(alpaserve_adds_11_ms_and_slows_pipelines),
        scratch_test(scales_of_all_rows_add_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
