/* test_profile.c - rate-profile tables: what is read, and each mistake with its place. */
#include "lib/format/profile.h"

#include "lib/base/units.h"
#include "tests/unit/scratch.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const struct profile *load(struct scratch *scratch, const char *text)
{
    return profile_load(scratch->arena, scratch_write(scratch, "p.csv", text),
                        scratch_err(scratch));
}

static void pieces_are_constant_or_ramps(void **state)
{
    const struct profile *profile =
        load(*state, "# orrery: rate-profile 1\nfrom_s,rate_per_s,to_rate_per_s\n"
                     "0,10,\n3600,10,25.5\n\n7200.5,0,0\n");

    assert_non_null(profile);
    assert_int_equal(profile->count, 3);
    assert_true(profile->pieces[1].from_ps == 3600 * UNITS_PS_PER_S);
    assert_true(profile->pieces[0].rate_per_s == 10 && profile->pieces[0].to_rate_per_s == 10);
    assert_true(profile->pieces[1].rate_per_s == 10 && profile->pieces[1].to_rate_per_s == 25.5);
    assert_true(profile->pieces[2].rate_per_s == 0);
    assert_int_equal(profile->pieces[2].line, 6);
    assert_int_equal(profile->to_rate_column, 3);
}

static void two_columns_are_enough_in_any_order(void **state)
{
    const struct profile *profile = load(*state, "rate_per_s,from_s\n1,0\n2,1\n");

    assert_non_null(profile);
    assert_true(profile->pieces[1].rate_per_s == 2);
    assert_int_equal(profile->from_column, 2);
}

static void many_pieces_are_kept(void **state)
{
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    const struct profile *profile;

    out_text(out, "from_s,rate_per_s\n");
    for (int i = 0; i < 1440; i++)
        out_printf(out, "%d,%d\n", 60 * i, i + 1);
    profile = load(scratch, scratch_text(out));
    assert_non_null(profile);
    assert_int_equal(profile->count, 1440);
    assert_true(profile->pieces[1439].rate_per_s == 1440);
}

static void each_mistake_is_named_with_its_place(void **state)
{
    static const char *const wrong[][2] = {
        { "from_s,rate_per_s\n", "p.csv: no rows: expected at least one" },
        { "from_s\n0\n", "p.csv:1: missing column 'rate_per_s'" },
        { "from_s,rate_per_s\n1,5\n", "p.csv:2:1: from_s is '1': expected 0 in the first row" },
        { "from_s,rate_per_s\n0,5\n10,5\n10,6\n", "p.csv:4:1: from_s is '10': not later than 10" },
        { "from_s,rate_per_s\n0,5\n10,5\n9,6\n", "p.csv:4:1: from_s is '9': not later than 10" },
        { "from_s,rate_per_s\n0,-5\n", "p.csv:2:2: rate_per_s is '-5'" },
        { "from_s,rate_per_s\n0,nan\n", "p.csv:2:2: rate_per_s is 'nan'" },
        { "from_s,rate_per_s\n0,1e13\n", "p.csv:2:2: rate_per_s is '1e13'" },
        { "from_s,rate_per_s\n0,\n", "p.csv:2:2: rate_per_s is ''" },
        { "from_s,rate_per_s\n0,0\n9,0\n", "p.csv: nothing arrives: every rate is 0" },
        { "from_s,rate_per_s\n0,1\n1e30,1\n", "p.csv:3:1: from_s is '1e30'" },
        { "from_s,rate_per_s,to_rate_per_s\n0,1,-1\n", "p.csv:2:3: to_rate_per_s is '-1'" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_null(load(scratch, wrong[i][0]));
        if (!strstr(scratch_message(scratch), wrong[i][1]))
            fail_msg("'%s' is not in: %s", wrong[i][1], scratch->err.text);
    }
    assert_null(profile_load(scratch->arena, "nowhere.csv", scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(pieces_are_constant_or_ramps),
        scratch_test(two_columns_are_enough_in_any_order),
        scratch_test(many_pieces_are_kept),
        scratch_test(each_mistake_is_named_with_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
