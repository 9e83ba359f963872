/* test_admit.c - what fits a context, and which tokens each step computes. */
#include "lib/policy/admit.h"

#include "lib/format/model.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h> /* after the four headers that it needs */

static void a_request_fits_up_to_the_last_token(void **state)
{
    const struct model model = { .kind = MODEL_DECODER, .max_context = 1024 };

    (void)state;
    assert_true(admit_context_ok(&model, 1000, 24));
    assert_false(admit_context_ok(&model, 1000, 25));
    assert_false(admit_context_ok(&model, 1025, 0));
    assert_false(admit_context_ok(&model, INT32_MAX, INT32_MAX)); /* the sum leaves 32 bits */
}

static void an_encoder_has_no_output_to_fit(void **state)
{
    const struct model encoder = { .kind = MODEL_ENCODER, .max_context = 512 };
    const struct model vision = { .kind = MODEL_VISION, .max_context = 197 };

    (void)state;
    assert_true(admit_context_ok(&encoder, 512, 100));
    assert_false(admit_context_ok(&encoder, 513, 0));
    assert_true(admit_context_ok(&vision, 197, 1));
}

static void without_a_stated_context_everything_fits(void **state)
{
    const struct model model = { .kind = MODEL_DECODER, .max_context = 0 };

    (void)state;
    assert_true(admit_context_ok(&model, INT32_MAX, INT32_MAX));
    assert_true(admit_context_ok(NULL, 5, 5));
}

static void a_decoder_takes_a_step_for_each_output_token(void **state)
{
    const struct model decoder = { .kind = MODEL_DECODER }, encoder = { .kind = MODEL_ENCODER };
    const struct model vision = { .kind = MODEL_VISION };

    (void)state;
    assert_int_equal(admit_step_count(&decoder, 32), 32);
    assert_int_equal(admit_step_count(&decoder, 1), 1);
    assert_int_equal(admit_step_count(&decoder, 0), 1);
    assert_int_equal(admit_step_count(&encoder, 32), 1);
    assert_int_equal(admit_step_count(&vision, 0), 1);
    assert_int_equal(admit_step_count(NULL, 32), 1);
}

static void every_token_of_the_context_is_computed_once(void **state)
{
    int32_t new_tokens = 0, past_tokens = 0, expected_past = 0;

    (void)state;
    for (int32_t step = 0; step < 10; step++) {
        admit_step_tokens(17, step, &new_tokens, &past_tokens);
        assert_int_equal(new_tokens, step == 0 ? 17 : 1);
        assert_int_equal(past_tokens, expected_past);
        expected_past += new_tokens;
    }
    assert_int_equal(expected_past, 17 + 9);
}

static void names_are_those_of_the_command_line(void **state)
{
    (void)state;
    assert_string_equal(admit_names[ADMIT_NONE], "none");
    assert_string_equal(admit_names[ADMIT_SLO], "slo");
    assert_string_equal(admit_names[ADMIT_LATE], "late");
}

static void a_stage_begins_when_the_request_and_the_stage_are_ready(void **state)
{
    const int64_t latency_ps[3] = { 10, 20, 5 };
    const int64_t idle_ps[3] = { 0, 50, 99 }, busy_ps[3] = { 130, 0, 200 };

    (void)state;
    assert_int_equal(admit_slo_finish_ps(100, idle_ps, latency_ps, 3), 135);
    /* waits for stage 0 until 130, leaves stage 1 at 160, waits for stage 2 until 200 */
    assert_int_equal(admit_slo_finish_ps(100, busy_ps, latency_ps, 3), 205);
    assert_int_equal(admit_slo_finish_ps(100, busy_ps, latency_ps, 2), 160);
    assert_int_equal(admit_slo_finish_ps(100, busy_ps, latency_ps, 0), 100);
}

static void an_objective_is_met_up_to_its_last_picosecond(void **state)
{
    (void)state;
    assert_true(admit_slo_ok(150, 4, 100, 54));
    assert_false(admit_slo_ok(150, 5, 100, 54));
    assert_false(admit_slo_ok(151, 4, 100, 54));
    assert_true(admit_slo_ok(INT64_MAX - 1, 4, 0, 0)); /* 0 = no objective */
    assert_int_equal(admit_deadline_ps(100, 54), 154);
    assert_true(admit_deadline_ps(100, 0) == ADMIT_NO_DEADLINE);
}

static void sums_of_times_saturate(void **state)
{
    const int64_t free_ps[2] = { INT64_MAX - 3, 0 }, latency_ps[2] = { 5, INT64_MAX };

    (void)state;
    assert_true(admit_slo_finish_ps(0, free_ps, latency_ps, 1) == INT64_MAX);
    assert_true(admit_slo_finish_ps(0, free_ps, latency_ps, 2) == INT64_MAX);
    assert_true(admit_deadline_ps(INT64_MAX - 3, 9) == INT64_MAX);
    assert_true(admit_slo_ok(INT64_MAX - 5, 1, INT64_MAX - 3, 9));
    assert_false(admit_slo_ok(INT64_MAX - 5, 9, INT64_MAX - 3, 9)); /* never ends */
    assert_false(admit_slo_ok(INT64_MAX, 0, 0, INT64_MAX));
    assert_true(admit_slo_ok(INT64_MIN, 0, 0, 1)); /* a clock may have begun before 0 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_fits_up_to_the_last_token),
        cmocka_unit_test(an_encoder_has_no_output_to_fit),
        cmocka_unit_test(without_a_stated_context_everything_fits),
        cmocka_unit_test(a_decoder_takes_a_step_for_each_output_token),
        cmocka_unit_test(every_token_of_the_context_is_computed_once),
        cmocka_unit_test(names_are_those_of_the_command_line),
        cmocka_unit_test(a_stage_begins_when_the_request_and_the_stage_are_ready),
        cmocka_unit_test(an_objective_is_met_up_to_its_last_picosecond),
        cmocka_unit_test(sums_of_times_saturate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
