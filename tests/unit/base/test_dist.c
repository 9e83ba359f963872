/* test_dist.c - a DIST is parsed strictly and drawn inside the bounds of its unit. */
#include "lib/base/dist.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h> /* after the four headers that it needs */

static int make_arena(void **state)
{
    *state = arena_create();
    return 0;
}

static int end_arena(void **state)
{
    arena_destroy(*state);
    return 0;
}

static struct dist *parse(void **state, const char *text, enum dist_unit unit)
{
    struct err err = ERR_INIT;
    struct dist *dist = dist_parse(*state, text, unit, "--think", &err);

    if (!dist)
        fail_msg("%s was refused: %s", text, err.text);
    assert_int_equal(err.kind, ERR_NONE);
    return dist;
}

static void assert_refused(void **state, const char *text, enum dist_unit unit, const char *why)
{
    struct err err = ERR_INIT;

    if (dist_parse(*state, text, unit, "--think", &err))
        fail_msg("'%s' was taken", text);
    if (!strstr(err.text, why))
        fail_msg("'%s' gave: %s", text, err.text);
}

static void draws_never_change(void **state)
{
    static const struct {
        const char *text;
        enum dist_unit unit;
        double mean;
        int64_t golden[5];
    } cases[] = {
        { "constant:128", DIST_TOKENS, 128, { 128, 128, 128, 128, 128 } },
        { "uniform:16:128", DIST_TOKENS, 72, { 65, 61, 23, 61, 107 } },
        { "exp:64.5", DIST_TOKENS, 64.5, { 126, 36, 8, 65, 71 } },
        { "normal:100:20", DIST_TOKENS, 100, { 76, 89, 98, 84, 78 } },
        { "lognormal:200:1", DIST_TOKENS, 200, { 53, 89, 129, 74, 57 } },
        { "gamma:200:0.7", DIST_TOKENS, 200, { 57, 154, 62, 53, 378 } },
        { "pareto:90:2.5", DIST_TOKENS, 90, { 75, 78, 158, 78, 59 } },
        { "uniform:1ms:5ms",
          DIST_TIME,
          3e9,
          { INT64_C(2743168503), INT64_C(2616624153), 1272824570, INT64_C(2612109171),
            INT64_C(4229423431) } },
        { "exp:0.5s",
          DIST_TIME,
          5e11,
          { INT64_C(976220500255), INT64_C(282226853440), INT64_C(59126466983),
            INT64_C(501128037583), INT64_C(550066240720) } },
        { "gamma:1s:2",
          DIST_TIME,
          1e12,
          { INT64_C(69162380161), INT64_C(22773507404), INT64_C(354272400563),
            INT64_C(5784320942765), INT64_C(2997742640699) } },
        { "gamma:7s:0",
          DIST_TIME,
          7e12,
          { INT64_C(7000000000000), INT64_C(7000000000000), INT64_C(7000000000000),
            INT64_C(7000000000000), INT64_C(7000000000000) } },
    };

    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct dist *dist = parse(state, cases[c].text, cases[c].unit);
        struct rng rng = rng_stream(1, RNG_TEST, 0);

        assert_true(fabs(dist_mean(dist) - cases[c].mean) < 1e-9);
        for (int i = 0; i < 5; i++)
            if (dist_draw(dist, &rng) != cases[c].golden[i])
                fail_msg("draw %d of %s has changed", i, cases[c].text);
    }
}

static void the_mean_of_draws_is_the_mean_asked_for(void **state)
{
    static const char *const texts[] = { "constant:2s",     "uniform:1s:3s", "exp:2s",
                                         "normal:2s:300ms", "gamma:2s:1.5",  "lognormal:2s:0.8",
                                         "pareto:2s:3.5" };

    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
        struct dist *dist = parse(state, texts[t], DIST_TIME);
        struct rng rng = rng_stream(2, RNG_TEST, t);
        double sum = 0;

        for (int i = 0; i < 40000; i++)
            sum += (double)dist_draw(dist, &rng);
        assert_true(dist_mean(dist) == 2e12);
        if (fabs(sum / 40000 / 2e12 - 1) > 0.04)
            fail_msg("mean of %s is %g", texts[t], sum / 40000);
    }
}

static void a_uniform_has_both_ends(void **state)
{
    struct dist *dist = parse(state, "uniform:3:5", DIST_TOKENS);
    struct rng rng = rng_stream(1, RNG_TEST, 1);
    int seen[3] = { 0 };

    for (int i = 0; i < 3000; i++) {
        int64_t value = dist_draw(dist, &rng);

        assert_in_range(value, 3, 5);
        seen[value - 3]++;
    }
    for (int i = 0; i < 3; i++)
        assert_in_range(seen[i], 850, 1150);
}

static void draws_stay_within_what_a_request_can_hold(void **state)
{
    struct dist *low = parse(state, "normal:1:1000", DIST_TOKENS);
    struct dist *zero = parse(state, "uniform:0:1", DIST_TOKENS);
    struct dist *huge = parse(state, "exp:1e9", DIST_TOKENS);
    struct dist *time = parse(state, "normal:1ms:10s", DIST_TIME);
    struct dist *longest = parse(state, "exp:9000000s", DIST_TIME);
    struct rng rng = rng_stream(1, RNG_TEST, 2);
    int at_low = 0, at_high = 0, at_0 = 0, at_longest = 0;

    for (int i = 0; i < 1000; i++) {
        int64_t value = dist_draw(low, &rng);

        assert_true(value >= 1);
        at_low += value == 1;
        assert_int_equal(dist_draw(zero, &rng), 1);
        value = dist_draw(huge, &rng);
        assert_true(value >= 1 && value <= DIST_MAX_TOKENS);
        at_high += value == DIST_MAX_TOKENS;
        value = dist_draw(time, &rng);
        assert_true(value >= 0);
        at_0 += value == 0;
        value = dist_draw(longest, &rng);
        assert_true(value <= UNITS_MAX_PS);
        at_longest += value == UNITS_MAX_PS;
    }
    assert_true(at_low > 400 && at_high > 200 && at_0 > 400 && at_longest > 200);
}

static void times_are_exact_to_a_picosecond(void **state)
{
    struct dist *dist = parse(state, "constant:8999999.999999999999s", DIST_TIME);
    struct rng rng = rng_stream(1, RNG_TEST, 3);

    assert_int_equal(dist_draw(dist, &rng), UNITS_MAX_PS - 1);
}

static void think_times_may_be_0(void **state)
{
    static const char *const texts[] = { "constant:0",    "uniform:0:0s", "exp:0s",    "normal:0:0",
                                         "lognormal:0:1", "gamma:0:0.5",  "pareto:0:2" };
    struct rng rng = rng_stream(1, RNG_TEST, 4);

    for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++) {
        struct dist *dist = parse(state, texts[t], DIST_TIME);

        assert_int_equal(dist_draw(dist, &rng), 0);
        assert_true(dist_mean(dist) == 0);
    }
}

static void bad_texts_are_refused_with_what_was_expected(void **state)
{
    static const struct {
        const char *text;
        enum dist_unit unit;
        const char *why;
    } cases[] = {
        { "", DIST_TIME, "--think is '': expected constant:V, uniform:A:B" },
        { "5s", DIST_TIME, "expected constant:V" },
        { "expp:5s", DIST_TIME, "did you mean 'exp'?" },
        { "Uniform:1:2", DIST_TOKENS, "did you mean 'uniform'?" },
        { "exp", DIST_TIME, "--think is 'exp': expected exp:MEAN" },
        { "exp:", DIST_TIME, "expected exp:MEAN" },
        { "exp:1s:2s", DIST_TIME, "expected exp:MEAN" },
        { "uniform:1", DIST_TOKENS, "expected uniform:A:B" },
        { "uniform:1:2:3", DIST_TOKENS, "expected uniform:A:B" },
        { "uniform:5:2", DIST_TOKENS, "A to be at most B" },
        { "uniform:1.5:2", DIST_TOKENS, "'1.5' is not a whole number of tokens" },
        { "uniform:1:", DIST_TOKENS, "'' is not a whole number of tokens" },
        { "uniform:0:0", DIST_TOKENS, "a mean above 0" },
        { "constant:0", DIST_TOKENS, "a mean above 0" },
        { "constant:-1", DIST_TOKENS, "'-1' is not a whole number" },
        { "constant:3000000000", DIST_TOKENS, "is not a whole number" },
        { "exp:0", DIST_TOKENS, "a mean above 0" },
        { "exp:nan", DIST_TOKENS, "'nan' is not a number of tokens" },
        { "exp:1e999", DIST_TOKENS, "is not a number of tokens" },
        { "exp:-3", DIST_TOKENS, "is not a number of tokens" },
        { "exp:5", DIST_TIME, "'5' is not a duration such as 250ms" },
        { "exp:-5s", DIST_TIME, "is not a duration" },
        { "exp:1e999s", DIST_TIME, "is not a duration" },
        { "normal:5:-1", DIST_TOKENS, "'-1' is not a number of tokens" },
        { "normal:5s:1", DIST_TIME, "'1' is not a duration" },
        { "lognormal:5:-1", DIST_TOKENS, "coefficient of variation" },
        { "gamma:5:1001", DIST_TOKENS, "coefficient of variation" },
        { "gamma:5:x", DIST_TOKENS, "coefficient of variation" },
        { "pareto:5:1", DIST_TOKENS, "a shape above 1" },
        { "pareto:5:1001", DIST_TOKENS, "a shape above 1" },
        { "pareto:5:nan", DIST_TOKENS, "a shape above 1" },
        { "file:", DIST_TOKENS, "expected file:F" },
        { "file:/nowhere/at/all", DIST_TOKENS, "/nowhere/at/all: No such file or directory" },
        { "file:/", DIST_TOKENS, "/: Is a directory" },
    };

    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++)
        assert_refused(state, cases[c].text, cases[c].unit, cases[c].why);
}

/* "file:PATH" of a new file with these bytes; the caller unlinks text + 5. */
static const char *write_file(void **state, const char *bytes, size_t count)
{
    char *text = arena_strdup(*state, "file:/tmp/orrery-test-dist-XXXXXX");
    int descriptor = mkstemp(text + 5);

    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, bytes, count), count);
    close(descriptor);
    return text;
}

static void a_file_is_drawn_uniformly_from(void **state)
{
    static const char bytes[] = "# tokens\n10\r\n\n20\n10\n40"; /* no newline at the end */
    const char *text = write_file(state, bytes, sizeof bytes - 1);
    struct dist *dist = parse(state, text, DIST_TOKENS);
    struct rng rng = rng_stream(1, RNG_TEST, 5);
    int tens = 0, twenties = 0, forties = 0;

    unlink(text + 5);
    assert_true(dist_mean(dist) == 20);
    for (int i = 0; i < 4000; i++) {
        int64_t value = dist_draw(dist, &rng);

        tens += value == 10;
        twenties += value == 20;
        forties += value == 40;
    }
    assert_int_equal(tens + twenties + forties, 4000);
    assert_in_range(tens, 1850, 2150);
    assert_in_range(twenties, 850, 1150);
}

static void a_remark_in_a_file_may_be_long(void **state)
{
    char bytes[1000];
    const char *text;

    memset(bytes, '#', sizeof bytes);
    memcpy(bytes + sizeof bytes - 4, "\n25", 3);
    text = write_file(state, bytes, sizeof bytes - 1);
    assert_true(dist_mean(parse(state, text, DIST_TOKENS)) == 25);
    unlink(text + 5);
}

static void a_file_may_hold_many_times(void **state)
{
    char bytes[6000];
    size_t length = 0;
    const char *text;
    struct dist *dist;

    for (int i = 1; i <= 500; i++)
        length += (size_t)snprintf(bytes + length, sizeof bytes - length, "%d.5ms\n", i);
    text = write_file(state, bytes, length);
    dist = parse(state, text, DIST_TIME);
    unlink(text + 5);
    assert_true(fabs(dist_mean(dist) / 251e9 - 1) < 1e-12);
}

static void bad_files_are_refused_with_the_line(void **state)
{
    char long_line[300];
    static const struct {
        const char *bytes;
        size_t count;
        enum dist_unit unit;
        const char *why;
    } cases[] = {
        { "", 0, DIST_TOKENS, ": holds no value" },
        { "# only\n\n", 8, DIST_TOKENS, ": holds no value" },
        { "1\n2\nx\n", 6, DIST_TOKENS, ":3:1: value is 'x': expected a whole number of tokens" },
        { "1\n0\n", 4, DIST_TOKENS, ":2:1: value is '0'" },
        { "1\n2", 3, DIST_TIME, ":1:1: value is '1': expected a duration" },
        { "1s\n-2s\n", 7, DIST_TIME, ":2:1: value is '-2s'" },
        { "1\n2\0003\n", 6, DIST_TOKENS, ":2: line holds a NUL byte" },
        { "1\n\0\n", 4, DIST_TOKENS, ":2: line holds a NUL byte" },
        { "1\n 2\n", 5, DIST_TOKENS, ":2:1: value is ' 2'" },
    };
    const char *text;

    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        text = write_file(state, cases[c].bytes, cases[c].count);
        assert_refused(state, text, cases[c].unit, cases[c].why);
        unlink(text + 5);
    }
    memset(long_line, '1', sizeof long_line);
    text = write_file(state, long_line, sizeof long_line);
    assert_refused(state, text, DIST_TOKENS, ":1:1: value is '1111");
    unlink(text + 5);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, make_arena, end_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(draws_never_change),
        RULE(the_mean_of_draws_is_the_mean_asked_for),
        RULE(a_uniform_has_both_ends),
        RULE(draws_stay_within_what_a_request_can_hold),
        RULE(times_are_exact_to_a_picosecond),
        RULE(think_times_may_be_0),
        RULE(bad_texts_are_refused_with_what_was_expected),
        RULE(a_file_is_drawn_uniformly_from),
        RULE(a_remark_in_a_file_may_be_long),
        RULE(a_file_may_hold_many_times),
        RULE(bad_files_are_refused_with_the_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
