/* test_rng.c - streams are those of xoshiro256++, independent, and distributed as they say. */
#include "lib/base/rng.h"

#include "lib/base/dmath.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define DRAWS 100000

static void the_generator_is_xoshiro256_plus_plus(void **state)
{
    /* Published vector of the generator from the state 1, 2, 3, 4. */
    static const uint64_t expected[] = {
        UINT64_C(41943041),
        UINT64_C(58720359),
        UINT64_C(3588806011781223),
        UINT64_C(3591011842654386),
        UINT64_C(9228616714210784205),
        UINT64_C(9973669472204895162),
        UINT64_C(14011001112246962877),
        UINT64_C(12406186145184390807),
        UINT64_C(15849039046786891736),
        UINT64_C(10450023813501588000),
    };
    struct rng rng = { { 1, 2, 3, 4 } };

    (void)state;
    for (int i = 0; i < 10; i++)
        assert_true(rng_next(&rng) == expected[i]);
}

static void seeding_never_changes(void **state)
{
    /* From an independent program in another language. */
    static const uint64_t arrivals[] = {
        UINT64_C(14306731028545861951),
        UINT64_C(13128399948125202525),
        UINT64_C(12667393938586518360),
        UINT64_C(1392382090497277535),
    };
    static const uint64_t test[] = {
        UINT64_C(4991871455396510434),
        UINT64_C(879805461257493743),
        UINT64_C(15430096214503365643),
    };
    struct rng rng = rng_stream(1, RNG_ARRIVALS, 0);

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_true(rng_next(&rng) == arrivals[i]);
    rng = rng_stream(42, RNG_TEST, 7);
    for (int i = 0; i < 3; i++)
        assert_true(rng_next(&rng) == test[i]);
}

static void streams_differ_by_seed_purpose_and_entity(void **state)
{
    uint64_t seen[500];
    int count = 0;

    (void)state;
    for (uint64_t seed = 0; seed < 10; seed++)
        for (int purpose = RNG_ARRIVALS; purpose <= RNG_THINK; purpose++)
            for (uint64_t entity = 0; entity < 10; entity++) {
                struct rng rng = rng_stream(seed, (enum rng_purpose)purpose, entity);

                seen[count] = rng_next(&rng);
                for (int i = 0; i < count; i++)
                    assert_true(seen[i] != seen[count]);
                count++;
            }
    assert_int_equal(count, 500);
}

typedef double draw_fn(struct rng *rng);

static double draw_uniform(struct rng *rng)
{
    return 1e9 * rng_uniform(rng);
}

static double draw_below(struct rng *rng)
{
    return (double)rng_below(rng, 1000);
}

static double draw_exponential(struct rng *rng)
{
    return rng_exponential(rng, 1e9);
}

static double draw_normal(struct rng *rng)
{
    return rng_normal(rng, 1e9, 1e8);
}

static double draw_lognormal(struct rng *rng)
{
    return rng_lognormal(rng, 1e9, 0.5);
}

static double draw_gamma(struct rng *rng)
{
    return rng_gamma(rng, 2.5, 1e9);
}

static double draw_small_gamma(struct rng *rng)
{
    return rng_gamma(rng, 0.4, 1e9);
}

static double draw_pareto(struct rng *rng)
{
    return rng_pareto(rng, 2.5, 1e9);
}

static const struct {
    const char *name;
    draw_fn *draw;
    /* First draws of rng_stream(1, RNG_TEST, 0), rounded, as an independent program makes them. */
    long long golden[6];
    double mean, sd; /* in closed form */
} cases[] = {
    { "uniform",
      draw_uniform,
      { 435792126, 404156038, 68206143, 403027293, 807355858, 495471768 },
      5e8,
      288675134.6 },
    { "below", draw_below, { 435, 404, 68, 403, 807, 495 }, 499.5, 288.675 },
    { "exponential",
      draw_exponential,
      { 1952441001, 564453707, 118252934, 1002256075, 1100132481, 587592156 },
      1e9,
      1e9 },
    { "normal",
      draw_normal,
      { 882077542, 944184628, 989295795, 921952498, 890122958, 937934222 },
      1e9,
      1e8 },
    { "lognormal",
      draw_lognormal,
      { 512417918, 687129272, 850325232, 618626777, 532267153, 667137874 },
      1e9,
      5e8 },
    { "gamma",
      draw_gamma,
      { 853158570, 2012893509, 918374485, 801002953, 4518079058, 3833342899 },
      2.5e9,
      1581138830.1 },
    { "gamma of shape 0.4",
      draw_small_gamma,
      { 73695498, 29566369, 165664992, 1839919960, 889505707, 1076110 },
      4e8,
      632455532.0 },
    { "pareto",
      draw_pareto,
      { 1394081771, 1436747239, 2927322729, 1438355429, 1089366460, 1324318465 },
      5e9 / 3,
      1490711985.0 },
};

#define CASES (sizeof cases / sizeof cases[0])

static void draws_never_change(void **state)
{
    (void)state;
    for (size_t c = 0; c < CASES; c++) {
        struct rng rng = rng_stream(1, RNG_TEST, 0);

        for (int i = 0; i < 6; i++)
            if (dmath_round(cases[c].draw(&rng)) != cases[c].golden[i])
                fail_msg("draw %d of %s has changed", i, cases[c].name);
    }
}

static void draws_have_the_mean_and_spread_they_should(void **state)
{
    (void)state;
    for (size_t c = 0; c < CASES; c++) {
        struct rng rng = rng_stream(3, RNG_TEST, c);
        double sum = 0, squares = 0, mean, sd;

        for (int i = 0; i < DRAWS; i++) {
            double value = cases[c].draw(&rng);

            sum += value;
            squares += (value - cases[c].mean) * (value - cases[c].mean);
        }
        mean = sum / DRAWS;
        sd = sqrt(squares / DRAWS);
        if (fabs(mean - cases[c].mean) > 5 * cases[c].sd / sqrt(DRAWS))
            fail_msg("mean of %s is %g, not %g", cases[c].name, mean, cases[c].mean);
        /* The spread of a heavy tail settles slowly; a wrong formula is off by more. */
        if (fabs(sd / cases[c].sd - 1) > (cases[c].draw == draw_pareto ? 0.25 : 0.02))
            fail_msg("sd of %s is %g, not %g", cases[c].name, sd, cases[c].sd);
    }
}

static void tails_have_the_shape_they_should(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 5);
    int beyond = 0, far = 0, log_below = 0;

    (void)state;
    for (int i = 0; i < DRAWS; i++) {
        beyond += rng_pareto(&rng, 1.5, 2) > 8;              /* (2/8)^1.5 = 1/8 */
        far += fabs(rng_normal(&rng, 0, 1)) > 1.959963985;   /* 5 % */
        log_below += rng_lognormal(&rng, 1, 1) < 0.70710678; /* the median, 1/sqrt(1 + cv^2) */
    }
    assert_true(fabs(beyond - DRAWS / 8.0) < 5 * sqrt(DRAWS * 0.125 * 0.875));
    assert_true(fabs(far - DRAWS * 0.05) < 5 * sqrt(DRAWS * 0.05 * 0.95));
    assert_true(fabs(log_below - DRAWS * 0.5) < 5 * sqrt(DRAWS * 0.25));
}

static void uniform_ends_are_as_stated(void **state)
{
    struct rng lowest = { { 0 } }; /* the one state that gives 0 */
    struct rng rng = rng_stream(1, RNG_TEST, 6);

    (void)state;
    assert_true(rng_uniform(&lowest) == 0);
    assert_true(rng_uniform_positive(&lowest) == 0x1p-53);
    for (int i = 0; i < DRAWS; i++) {
        double value = rng_uniform(&rng), positive = rng_uniform_positive(&rng);

        assert_true(value >= 0 && value < 1 && positive > 0 && positive <= 1);
    }
}

static void below_stays_below_and_reaches_everything(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 7);
    int seen[7] = { 0 };

    (void)state;
    for (int i = 0; i < 70000; i++)
        seen[rng_below(&rng, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(seen[i], 9500, 10500);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(rng_below(&rng, 1), 0);
        /* this bound rejects a draw in four; both halves must stay equally likely */
        assert_true(rng_below(&rng, UINT64_C(3) << 62) < UINT64_C(3) << 62);
        assert_true(rng_below(&rng, UINT64_MAX) < UINT64_MAX);
    }
}

static void no_spread_gives_the_mean(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 8);

    (void)state;
    assert_true(rng_normal(&rng, 5, 0) == 5);
    assert_true(rng_lognormal(&rng, 5, 0) == 5);
    assert_true(rng_exponential(&rng, 0) == 0);
    assert_true(rng_gamma(&rng, 2, 0) == 0);
    assert_true(rng_pareto(&rng, 2, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_generator_is_xoshiro256_plus_plus),
        cmocka_unit_test(seeding_never_changes),
        cmocka_unit_test(streams_differ_by_seed_purpose_and_entity),
        cmocka_unit_test(draws_never_change),
        cmocka_unit_test(draws_have_the_mean_and_spread_they_should),
        cmocka_unit_test(tails_have_the_shape_they_should),
        cmocka_unit_test(uniform_ends_are_as_stated),
        cmocka_unit_test(below_stays_below_and_reaches_everything),
        cmocka_unit_test(no_spread_gives_the_mean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
