/* test_mmpp.c - mmpp tables and lists of states: what is read, the stationary state, and each
 * mistake with its place. */
#include "lib/format/mmpp.h"

#include "tests/unit/mmpp_cv.h"
#include "tests/unit/scratch.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct mmpp *load(struct scratch *scratch, const char *text)
{
    return mmpp_load(scratch->arena, scratch_write(scratch, "m.csv", text), scratch_err(scratch));
}

static void assert_near(double seen, double expected)
{
    if (!(fabs(seen - expected) <= 1e-12 * fabs(expected) + 1e-15))
        fail_msg("%.17g, expected %.17g", seen, expected);
}

/* pi q = 0, straight from the definition. */
static void assert_stationary(const struct mmpp *mmpp)
{
    double sum = 0;

    for (int j = 0; j < mmpp->state_count; j++) {
        double flow = 0, size = 0;

        for (int i = 0; i < mmpp->state_count; i++) {
            double part = mmpp->stationary[i] * mmpp->switches_per_s[i * mmpp->state_count + j];

            flow += part;
            size += fabs(part);
        }
        assert_true(fabs(flow) <= 1e-14 * size);
        sum += mmpp->stationary[j];
    }
    assert_near(sum, 1);
}

static void mean_lengths_mean_even_switching(void **state)
{
    const struct mmpp *mmpp =
        load(*state, "# orrery: mmpp 1\nstate,mean_s,rate_per_s\nbusy,5,20\ncalm,30,2\noff,5,0\n");

    assert_non_null(mmpp);
    assert_int_equal(mmpp->state_count, 3);
    assert_string_equal(mmpp->names[1], "calm");
    assert_near(mmpp->switches_per_s[0], -0.2);
    assert_near(mmpp->switches_per_s[1], 0.1);
    assert_near(mmpp->switches_per_s[5], 1.0 / 60);
    assert_stationary(mmpp);
    /* Even switching: the share of a state is that of its length. */
    assert_near(mmpp->stationary[0], 0.125);
    assert_near(mmpp->stationary[1], 0.75);
    assert_near(mmpp->rate_per_s, 20 * 0.125 + 2 * 0.75);
    assert_near(mmpp_switches_per_s(mmpp), 0.125 * 0.2 + 0.75 / 30 + 0.125 * 0.2);
}

static void a_matrix_is_taken_as_it_is(void **state)
{
    const struct mmpp *mmpp = load(*state, "state,rate_per_s,q_per_s\n"
                                           "a,1,-3  1\t2\n"
                                           "b,10,0 -1 1\n"
                                           "c,100,0.5 0 -0.5\n");

    assert_non_null(mmpp);
    assert_stationary(mmpp);
    assert_near(mmpp->stationary[0], 1.0 / 8); /* pi = (1, 1, 6) / 8 */
    assert_near(mmpp->stationary[1], 1.0 / 8);
    assert_near(mmpp->rate_per_s, (1 + 10 + 600) / 8.0);
}

static void rounded_rows_sum_to_0(void **state)
{
    const struct mmpp *mmpp = load(*state, "state,rate_per_s,q_per_s\n"
                                           "a,1,-0.3333333 0.1111111 0.2222223\n"
                                           "b,1,1 -1 0\nc,1,0 1 -1\n");

    assert_non_null(mmpp);
    assert_near(mmpp->switches_per_s[0], 0 - (mmpp->switches_per_s[1] + mmpp->switches_per_s[2]));
}

static void states_of_the_command_line_are_the_same(void **state)
{
    struct scratch *scratch = *state;
    const struct mmpp *mmpp =
        mmpp_parse(scratch->arena, "5s:20/s,30s:120/min,500ms:0", "--states", scratch_err(scratch));

    assert_non_null(mmpp);
    assert_int_equal(mmpp->state_count, 3);
    assert_stationary(mmpp);
    assert_near(mmpp->rate_per_s, (5 * 20 + 30 * 2) / 35.5);
}

static void a_poisson_process_has_a_cv_of_one_however_it_switches(void **state)
{
    struct scratch *scratch = *state;
    const struct mmpp *mmpp =
        mmpp_parse(scratch->arena, "1s:7/s,2s:7/s,9s:7/s", "--states", scratch_err(scratch));

    assert_non_null(mmpp);
    assert_near(mmpp_gap_cv(scratch->arena, mmpp), 1);
}

static void each_mistake_is_named_with_its_place(void **state)
{
    static const char *const wrong[][2] = {
        { "state,rate_per_s\na,1\n", "m.csv: expected either a column 'mean_s' or" },
        { "state,rate_per_s,mean_s,q_per_s\na,1,1,\n", "m.csv: expected either" },
        { "state,rate_per_s,mean_s\n", "m.csv: 0 states: expected at least two" },
        { "state,rate_per_s,mean_s\na,1,1\n", "m.csv: 1 states: expected at least two" },
        { "state,rate_per_s,mean_s\na,1,1\na,2,1\n", "m.csv:3:1: state is 'a': given twice" },
        { "state,rate_per_s,mean_s\n,1,1\n", "m.csv:2:1: state is ''" },
        { "state,rate_per_s,mean_s\na,-1,1\n", "m.csv:2:2: rate_per_s is '-1'" },
        { "state,rate_per_s,mean_s\na,nan,1\n", "m.csv:2:2: rate_per_s is 'nan'" },
        { "state,rate_per_s,mean_s\na,1,0\n", "m.csv:2:3: mean_s is '0'" },
        { "state,rate_per_s,mean_s\na,0,1\nb,0,1\n", "m.csv: nothing arrives" },
        { "state,rate_per_s,q_per_s\na,1,-1 1\nb,2,1\n", "m.csv:3:3: q_per_s is '1': expected 2" },
        { "state,rate_per_s,q_per_s\na,1,-1 1 0\nb,2,1 -1\n", "m.csv:2:3: q_per_s is '-1 1 0'" },
        { "state,rate_per_s,q_per_s\na,1,-1 x\nb,2,1 -1\n", "m.csv:2:3: q_per_s is '-1 x'" },
        { "state,rate_per_s,q_per_s\na,1,\nb,2,1 -1\n", "m.csv:2:3: q_per_s is ''" },
        { "state,rate_per_s,q_per_s\na,1,-1 0.9\nb,2,1 -1\n", "expected a row that sums to 0" },
        { "state,rate_per_s,q_per_s\na,1,1 -1\nb,2,1 -1\n", "below 0 on the diagonal" },
        { "state,rate_per_s,q_per_s\na,1,0 0\nb,2,1 -1\n", "below 0 on the diagonal" },
        { "state,rate_per_s,q_per_s\na,1,-1 2 -1\nb,2,1 -1 0\nc,1,1 0 -1\n",
          "beside the diagonal" },
        { "state,rate_per_s,q_per_s\na,1,-1e-20 1e-20\nb,2,1 -1\n", "at least 1e-12" },
        { "state,rate_per_s,q_per_s\na,1,-1 1 0\nb,2,1 -1 0\nc,1,1 0 -1\n",
          "m.csv:4:1: state is 'c': no way leads here from 'a'" },
        { "state,rate_per_s,q_per_s\na,1,-2 1 1\nb,2,0 -1 1\nc,1,0 1 -1\n",
          "m.csv:3:1: state is 'b': no way leads from here to 'a'" },
        { "state,rate_per_s,mean_s,colour\na,1,1,red\n", "m.csv:1:4: unknown column 'colour'" },
        { "# orrery: workload 1\nstate,rate_per_s,mean_s\na,1,1\n", "m.csv:1" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(load(scratch, wrong[i][0]));
        if (!strstr(scratch_message(scratch), wrong[i][1]))
            fail_msg("'%s' is not in: %s", wrong[i][1], scratch->err.text);
    }
}

static void too_many_states_are_refused(void **state)
{
    struct scratch *scratch = *state;
    const char *text = "state,rate_per_s,mean_s\n";

    for (int i = 0; i <= MMPP_MAX_STATES; i++)
        text = arena_printf(scratch->arena, "%s%d,1,1\n", text, i);
    assert_null(load(scratch, text));
    assert_string_equal(scratch_message(scratch), "m.csv:258: more than 256 states");
}

static void wrong_lists_of_states_are_refused(void **state)
{
    static const char *const wrong[] = {
        "",          "1s:1/s",        "1s:1/s,",         "1s:1/s,2s",
        "1s,1/s",    "0s:1/s,1s:1/s", "1:1/s,2:1/s",     "1s:-1,1s:1",
        "1s:0,1s:0", "1s:1/s,1s:nan", "1s:1e13/s,1s:1/s"
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(mmpp_parse(scratch->arena, wrong[i], "--states", scratch_err(scratch)));
        assert_int_equal(scratch->err.kind, ERR_USAGE);
        assert_non_null(strstr(scratch->err.text, "such as 5s:20/s,30s:2/s"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(mean_lengths_mean_even_switching),
        scratch_test(a_matrix_is_taken_as_it_is),
        scratch_test(rounded_rows_sum_to_0),
        scratch_test(states_of_the_command_line_are_the_same),
        scratch_test(a_poisson_process_has_a_cv_of_one_however_it_switches),
        scratch_test(each_mistake_is_named_with_its_place),
        scratch_test(too_many_states_are_refused),
        scratch_test(wrong_lists_of_states_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
