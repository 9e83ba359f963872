/* test_process.c - arrival processes against theory: moments, distributions of gaps, rates that
 * switch and rates that vary. Seeds are fixed; bounds are those of the statistic. */
#include "sim/generate/process.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/stats.h"
#include "lib/base/units.h"
#include "lib/format/mmpp.h"
#include "lib/format/profile.h"
#include "sim/generate/later.h"
#include "tests/unit/mmpp_cv.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S UNITS_PS_PER_S
#define COUNT 100000

static struct arena *arena;
static struct err err;
static struct generate_options options;
static int64_t arrivals_ps[COUNT];

static int set_up(void **state)
{
    (void)state;
    arena = arena_create();
    err = (struct err)ERR_INIT;
    memset(&options, 0, sizeof(options));
    options.seed = 1;
    options.rate_per_s = 50;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    arena_destroy(arena);
    return 0;
}

static bool begin(struct process *process, double fraction)
{
    struct process_load load;

    return process_check(&options, &err) && process_load_begin(arena, &load, &options, &err) &&
           process_begin(arena, process, &load, fraction, 7, &err);
}

static void draw(int count)
{
    struct process process = { 0 };

    if (!begin(&process, 1))
        fail_msg("%s", err.text);
    for (int i = 0; i < count; i++) {
        arrivals_ps[i] = process_next_ps(&process);
        process_next(&process);
    }
}

/* Mean rate and cv of the gaps, the first of which starts at 0. */
static void assert_moments(int count, double rate_per_s, double cv, double tolerance)
{
    double mean = (double)arrivals_ps[count - 1] / count, squares = 0;

    for (int i = 0; i < count; i++) {
        double gap = (double)(arrivals_ps[i] - (i > 0 ? arrivals_ps[i - 1] : 0));

        assert_true(gap >= 0);
        squares += (gap - mean) * (gap - mean);
    }
    assert_true(fabs((double)S / mean / rate_per_s - 1) < tolerance);
    assert_true(fabs(sqrt(squares / count) / mean / cv - 1) < tolerance);
}

typedef double cdf_fn(double x);

/* Kolmogorov-Smirnov distance of the gaps, in seconds, from the distribution. */
static double distance(int count, cdf_fn *cdf)
{
    int64_t *gaps_ps = arena_array(arena, (size_t)count, sizeof(*gaps_ps));
    double worst = 0;

    for (int i = 0; i < count; i++)
        gaps_ps[i] = arrivals_ps[i] - (i > 0 ? arrivals_ps[i - 1] : 0);
    stats_sort(gaps_ps, (size_t)count);
    for (int i = 0; i < count; i++) {
        double p = cdf((double)gaps_ps[i] / (double)S);

        worst = fmax(worst, fmax(fabs(p - (double)i / count), fabs(p - (double)(i + 1) / count)));
    }
    return worst;
}

#define KS_1_PERCENT (1.63 / sqrt(COUNT))

static double exponential_cdf(double x)
{
    return 1 - exp(-50 * x);
}

/* The lower incomplete gamma function by its series, over gamma(a). */
static double gamma_cdf(double a, double x)
{
    double term = 1 / a, sum = term;

    if (x <= 0)
        return 0;
    if (x > a + 200)
        return 1;
    for (int n = 1; n < 2000 && term > sum * 1e-16; n++) {
        term *= x / (a + n);
        sum += term;
    }
    return sum * exp(a * log(x) - x - lgamma(a));
}

static double gamma_of_cv_2(double x)
{
    return gamma_cdf(0.25, 50 * x / 4);
}

static double gamma_of_cv_half(double x)
{
    return gamma_cdf(4, 50 * x * 4);
}

static double pareto_of_shape_3(double x)
{
    double least = 2.0 / 3 / 50;

    return x < least ? 0 : 1 - pow(least / x, 3);
}

static void poisson_gaps_are_exponential(void **state)
{
    (void)state;
    options.process = GENERATE_POISSON;
    draw(COUNT);
    assert_moments(COUNT, 50, 1, 0.01);
    assert_true(distance(COUNT, exponential_cdf) < KS_1_PERCENT);
}

static void gamma_gaps_have_their_shape(void **state)
{
    (void)state;
    options.process = GENERATE_GAMMA;
    options.cv = 2;
    draw(COUNT);
    assert_moments(COUNT, 50, 2, 0.02);
    assert_true(distance(COUNT, gamma_of_cv_2) < KS_1_PERCENT);
    options.cv = 0.5;
    draw(COUNT);
    assert_moments(COUNT, 50, 0.5, 0.01);
    assert_true(distance(COUNT, gamma_of_cv_half) < KS_1_PERCENT);
}

static void pareto_gaps_have_their_tail(void **state)
{
    (void)state;
    options.process = GENERATE_PARETO;
    options.shape = 3;
    draw(COUNT);
    assert_true(fabs(COUNT / ((double)arrivals_ps[COUNT - 1] / (double)S) / 50 - 1) < 0.01);
    assert_true(distance(COUNT, pareto_of_shape_3) < KS_1_PERCENT);
    options.shape = 0;
    options.cv = sqrt(1.0 / 3); /* 1 / (a (a - 2)) at a = 3 */
    draw(COUNT);
    assert_true(distance(COUNT, pareto_of_shape_3) < KS_1_PERCENT);
}

static void gaps_are_rounded_as_everything_else(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 0);

    (void)state;
    for (int i = 0; i < 100000; i++) {
        double gap_ps = rng_exponential(&rng, i % 2 ? 3 : 1e14);

        if (i % 10 == 0)
            gap_ps = i + 0.5; /* halves go to the even side */
        assert_true(later_ps(7, gap_ps) == 7 + dmath_round(gap_ps));
    }
    assert_true(later_ps(0, 0) == 0);
    assert_true(later_ps(5, 1e300) == INT64_MAX);
    assert_true(later_ps(INT64_MAX - 5, 6) == INT64_MAX);
    assert_true(later_ps(INT64_MAX - 5, 5) == INT64_MAX);
}

/* ---- states ---- */

/* c2 - 1 of the gaps of a two-state mmpp (Heffes and Lucantoni 1986, equation 6). */
static double heffes_cv(double q1, double q2, double l1, double l2)
{
    double over = 2 * q1 * q2 * (l1 - l2) * (l1 - l2);
    double under = (q1 + q2) * (q1 + q2) * (l1 * l2 + l1 * q2 + l2 * q1);

    return sqrt(1 + over / under);
}

static const struct mmpp *states(const char *text)
{
    const struct mmpp *mmpp = mmpp_parse(arena, text, "--states", &err);

    if (!mmpp)
        fail_msg("%s", err.text);
    options.process = GENERATE_MMPP;
    options.mmpp = mmpp;
    options.rate_per_s = 0;
    return mmpp;
}

static void two_states_have_the_rate_and_cv_of_theory(void **state)
{
    const struct mmpp *mmpp;
    double cv;

    (void)state;
    mmpp = states("0.5s:100/s,1s:10/s");
    cv = heffes_cv(2, 1, 100, 10);
    assert_true(fabs(mmpp->rate_per_s / 40 - 1) < 1e-12);
    assert_true(fabs(mmpp_gap_cv(arena, mmpp) / cv - 1) < 1e-12);
    draw(COUNT);
    /* Counts of this process have a dispersion of 31: three standard deviations of the rate. */
    assert_moments(COUNT, 40, cv, 3 * sqrt(31.0 / COUNT));
}

/* Survival of a gap: two exponentials, the roots of the generator without arrivals. */
static double mmpp_cdf(double x)
{
    const double q1 = 2, q2 = 1, l1 = 100, l2 = 10;
    double p1 = q2 * l1 / (q2 * l1 + q2 * 0 + q1 * l2), mean = p1 * l1 + (1 - p1) * l2;
    double half = (l1 + q1 + l2 + q2) / 2;
    double root = sqrt(half * half - ((l1 + q1) * (l2 + q2) - q1 * q2));
    double fast = half + root, slow = half - root, weight = (mean - slow) / (fast - slow);

    return 1 - weight * exp(-fast * x) - (1 - weight) * exp(-slow * x);
}

static void two_states_give_gaps_of_two_exponentials(void **state)
{
    (void)state;
    states("0.5s:100/s,1s:10/s");
    draw(COUNT);
    /* Gaps of one state come together: the bound for independent ones is widened. */
    assert_true(distance(COUNT, mmpp_cdf) < 4 * KS_1_PERCENT);
}

static void many_states_have_the_rate_and_cv_of_theory(void **state)
{
    const struct mmpp *mmpp;

    (void)state;
    mmpp = states("0.2s:200/s,0.1s:0,0.4s:50/s,0.3s:20/s");
    draw(COUNT);
    assert_moments(COUNT, mmpp->rate_per_s, mmpp_gap_cv(arena, mmpp), 0.03);
    assert_true(fabs(mmpp->rate_per_s - (0.2 * 200 + 0.4 * 50 + 0.3 * 20)) < 1e-9);
}

static void the_states_of_a_cv_are_those_of_theory(void **state)
{
    (void)state;
    options.process = GENERATE_MMPP;
    options.cv = 1.4;
    options.dwell_ps = S;
    draw(COUNT);
    assert_moments(COUNT, 50, 1.4, 0.03);
}

static void a_rate_scales_given_states_and_shares_split_them(void **state)
{
    struct process process = { 0 };

    (void)state;
    states("0.5s:100/s,1s:10/s");
    options.rate_per_s = 80;
    draw(COUNT);
    assert_true(fabs(COUNT / ((double)arrivals_ps[COUNT - 1] / (double)S) / 80 - 1) < 0.02);
    assert_true(begin(&process, 0.25));
    assert_true(fabs(process.rate_per_s - 20) < 1e-9);
}

static void an_on_off_process_is_silent_when_off(void **state)
{
    int long_gaps = 0;

    (void)state;
    states("1s:1000/s,1s:0/s");
    draw(COUNT);
    for (int i = 1; i < COUNT; i++)
        long_gaps += arrivals_ps[i] - arrivals_ps[i - 1] > S / 10;
    /* 200 seconds hold about 100 times on and off; exp(-0.1) of the pauses are longer than 0.1 s.
     */
    assert_in_range(long_gaps, 60, 120);
}

/* ---- rates that vary ---- */

static void use_profile(const struct profile_piece *pieces, int count)
{
    struct profile *profile = arena_alloc(arena, sizeof(*profile));

    profile->path = "profile.csv";
    profile->count = count;
    profile->pieces = arena_array(arena, (size_t)count, sizeof(*pieces));
    memcpy(profile->pieces, pieces, (size_t)count * sizeof(*pieces));
    options.profile = profile;
    options.rate_per_s = 0;
}

static int count_between(int64_t from_ps, int64_t to_ps)
{
    int count = 0;

    for (int i = 0; i < COUNT; i++)
        count += arrivals_ps[i] >= from_ps && arrivals_ps[i] < to_ps;
    return count;
}

static void assert_count(int64_t from_s, int64_t to_s, double expected)
{
    double seen = count_between(from_s * S, to_s * S);

    if (fabs(seen - expected) > 3.3 * sqrt(expected)) /* 0.1 % */
        fail_msg("%lld to %lld s: %g arrivals, expected %g", (long long)from_s, (long long)to_s,
                 seen, expected);
}

static const struct profile_piece day[] = {
    { 0, 10, 10, 2 }, { 100 * S, 100, 200, 3 }, { 200 * S, 200, 0, 4 }, { 300 * S, 0, 0, 5 }
};

static void each_piece_of_a_profile_has_its_arrivals(void **state)
{
    (void)state;
    options.process = GENERATE_POISSON;
    use_profile(day, 4);
    options.period_ps = 400 * S;
    draw(COUNT);
    for (int64_t period = 0; period < 3; period++) {
        int64_t at = period * 400;

        assert_count(at, at + 100, 1000);
        assert_count(at + 100, at + 150, 50 * 125);
        assert_count(at + 150, at + 200, 50 * 175);
        assert_count(at + 200, at + 250, 50 * 150);
        assert_count(at + 250, at + 300, 50 * 50);
        assert_int_equal(count_between((at + 300) * S, (at + 400) * S), 0);
    }
}

/* Where the rate is even, a profile must change nothing but the last picosecond. */
static void an_even_profile_is_no_profile(void **state)
{
    const struct profile_piece even[] = { { 0, 50, 50, 2 },
                                          { S, 50, 50, 3 },
                                          { 3 * S, 50, 50, 4 } };
    static const enum generate_process kinds[] = { GENERATE_POISSON, GENERATE_GAMMA,
                                                   GENERATE_CONSTANT, GENERATE_PARETO };
    static int64_t plain_ps[1000];

    (void)state;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        options.process = kinds[k];
        options.cv = kinds[k] == GENERATE_GAMMA || kinds[k] == GENERATE_PARETO ? 1.5 : 0;
        options.profile = NULL;
        options.period_ps = 0;
        options.rate_per_s = 50;
        draw(1000);
        memcpy(plain_ps, arrivals_ps, sizeof(plain_ps));
        use_profile(even, 3);
        options.period_ps = 5 * S;
        draw(1000);
        for (int i = 0; i < 1000; i++)
            assert_true(llabs(plain_ps[i] - arrivals_ps[i]) <= 1000);
    }
}

/* Constant arrivals come where the integral of the rate reaches 0, 1, 2, ... */
static void constant_arrivals_follow_the_integral(void **state)
{
    const struct profile_piece ramp[] = { { 0, 0, 10, 2 }, { 10 * S, 10, 10, 3 } };

    (void)state;
    options.process = GENERATE_CONSTANT;
    use_profile(ramp, 2);
    options.duration_ps = 100 * S;
    draw(200);
    for (int i = 0; i < 50; i++) /* t^2 / 2 = i */
        assert_true(llabs(arrivals_ps[i] - (int64_t)(sqrt(2.0 * i) * 1e12 + 0.5)) <= 2);
    for (int i = 50; i < 200; i++)
        assert_true(llabs(arrivals_ps[i] - (10 * S + (i - 50) * S / 10)) <= 2);
}

static void a_rate_scales_a_profile_to_its_mean(void **state)
{
    struct process process = { 0 };

    (void)state;
    options.process = GENERATE_POISSON;
    use_profile(day, 4); /* 26 000 in 400 s */
    options.period_ps = 400 * S;
    options.rate_per_s = 6.5;
    assert_true(begin(&process, 1));
    assert_true(fabs(process.rate_per_s - 6.5) < 1e-12);
    draw(COUNT);
    assert_count(400, 800, 2600);
    options.period_ps = 0;
    options.duration_ps = 200 * S; /* 16 000 in it */
    options.rate_per_s = 160;
    draw(COUNT);
    assert_count(0, 100, 2000);
    assert_count(100, 200, 30000);
}

static void gamma_counts_vary_with_the_profile_and_the_cv(void **state)
{
    double seen;

    (void)state;
    options.process = GENERATE_GAMMA;
    options.cv = 3;
    use_profile(day, 4);
    options.period_ps = 400 * S;
    draw(COUNT);
    seen = count_between(100 * S, 300 * S);
    assert_true(fabs(seen - 25000) < 3.3 * 3 * sqrt(25000));
}

static void a_profile_that_falls_silent_ends(void **state)
{
    const struct profile_piece once[] = { { 0, 100, 100, 2 }, { 10 * S, 0, 0, 3 } };
    int count = 0;

    (void)state;
    options.process = GENERATE_POISSON;
    use_profile(once, 2);
    draw(2000);
    while (arrivals_ps[count] != INT64_MAX)
        count++;
    assert_in_range(count, 900, 1100);
    assert_true(arrivals_ps[count - 1] < 10 * S);
    assert_true(arrivals_ps[1999] == INT64_MAX);
}

/* One arrival in a thousand years of a period of a microsecond: found without walking there. */
static void gaps_of_many_periods_take_no_time(void **state)
{
    const struct profile_piece thin[] = { { 0, 2e-6, 2e-6, 2 }, { 500000, 0, 0, 3 } };

    (void)state;
    options.process = GENERATE_POISSON;
    use_profile(thin, 2);
    options.period_ps = 1000000;
    draw(5);
    assert_true(arrivals_ps[0] > S && arrivals_ps[4] < UNITS_MAX_PS);
    for (int i = 0; i < 5; i++)
        assert_true(arrivals_ps[i] % 1000000 <= 500000);
}

/* ---- errors ---- */

static void assert_refused(const char *text)
{
    struct process process = { 0 };

    assert_false(begin(&process, 1));
    if (!strstr(err.text, text))
        fail_msg("'%s' is not in: %s", text, err.text);
    err = (struct err)ERR_INIT;
}

static void wrong_states_are_refused(void **state)
{
    (void)state;
    states("1s:10/s,1s:1/s");
    options.cv = 2;
    assert_refused("--cv and --dwell have no meaning");
    options.cv = 0;
    options.process = GENERATE_POISSON;
    assert_refused("--states or --mmpp has no meaning for --process poisson");
    states("1ps:10/s,1ps:1/s");
    assert_refused("switch 1.82e+11 times between two arrivals");
    options.mmpp = NULL;
    options.rate_per_s = 1;
    options.cv = 1;
    options.dwell_ps = 1;
    assert_refused("raise --dwell");
}

static void wrong_profiles_are_refused(void **state)
{
    const struct profile_piece rising[] = { { 0, 1, 1, 2 }, { 5 * S, 1, 9, 3 } };
    const struct profile_piece late[] = { { 0, 0, 0, 2 }, { 5 * S, 1, 1, 3 } };

    (void)state;
    options.process = GENERATE_POISSON;
    options.period_ps = S;
    assert_refused("--period is that of a --profile");
    use_profile(rising, 2);
    assert_refused("profile.csv:3: from_s is '5': expected less than --period");
    options.period_ps = 0;
    assert_refused("profile.csv:3: to_rate_per_s is '9': the last rate changes until when?");
    options.period_ps = 9 * S;
    options.process = GENERATE_MMPP;
    options.cv = 2;
    assert_refused("--profile has no meaning for --process mmpp");
    options.process = GENERATE_POISSON;
    options.cv = 0;
    options.period_ps = 0;
    use_profile(late, 2);
    options.rate_per_s = 5;
    assert_refused("scales --profile to a mean over --period or --duration");
    options.duration_ps = 5 * S;
    assert_refused("nothing arrives within --duration");
    options.rate_per_s = 0;
    assert_refused("a service gets 0/s");
}

static void wrong_shapes_are_refused(void **state)
{
    (void)state;
    options.process = GENERATE_PARETO;
    assert_refused("or --shape A");
    options.shape = 1;
    assert_refused("--shape is '1': expected a number above 1");
    options.shape = 2000;
    assert_refused("to 1000");
    options.shape = 2;
    options.cv = 1;
    assert_refused("either --cv or --shape");
    options.cv = 0;
    options.process = GENERATE_POISSON;
    assert_refused("--shape has no meaning for --process poisson");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(poisson_gaps_are_exponential),
        TEST(gamma_gaps_have_their_shape),
        TEST(pareto_gaps_have_their_tail),
        TEST(gaps_are_rounded_as_everything_else),
        TEST(two_states_have_the_rate_and_cv_of_theory),
        TEST(two_states_give_gaps_of_two_exponentials),
        TEST(many_states_have_the_rate_and_cv_of_theory),
        TEST(the_states_of_a_cv_are_those_of_theory),
        TEST(a_rate_scales_given_states_and_shares_split_them),
        TEST(an_on_off_process_is_silent_when_off),
        TEST(each_piece_of_a_profile_has_its_arrivals),
        TEST(an_even_profile_is_no_profile),
        TEST(constant_arrivals_follow_the_integral),
        TEST(a_rate_scales_a_profile_to_its_mean),
        TEST(gamma_counts_vary_with_the_profile_and_the_cv),
        TEST(a_profile_that_falls_silent_ends),
        TEST(gaps_of_many_periods_take_no_time),
        TEST(wrong_states_are_refused),
        TEST(wrong_profiles_are_refused),
        TEST(wrong_shapes_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
