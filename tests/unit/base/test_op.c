/* test_op.c - the words of cost tables: every operator and phase has one of its own. */
#include "lib/base/op.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

static void assert_all_differ(const char *const *names, int count)
{
    for (int i = 0; i < count; i++) {
        assert_non_null(names[i]);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(names[i], names[j]);
    }
}

static void every_operator_and_phase_has_its_own_word(void **state)
{
    (void)state;
    assert_all_differ(op_names, OP_COUNT);
    assert_all_differ(op_phase_names, OP_PHASE_COUNT);
}

static void words_are_those_of_the_cost_tables(void **state)
{
    (void)state;
    assert_string_equal(op_name(OP_EMBED), "embed");
    assert_string_equal(op_name(OP_QKV), "qkv");
    assert_string_equal(op_name(OP_FFN_UP), "ffn_up");
    assert_string_equal(op_name(OP_LMHEAD), "lmhead");
    assert_string_equal(op_phase_name(OP_ANY), "any");
    assert_string_equal(op_phase_name(OP_PREFILL), "prefill");
    assert_string_equal(op_phase_name(OP_DECODE), "decode");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operator_and_phase_has_its_own_word),
        cmocka_unit_test(words_are_those_of_the_cost_tables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
