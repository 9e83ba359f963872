/* test_standstill.c - circles of devices that may come to wait for one another. That every run
 * which does stand still is among those that are foretold, test_naive.c asks. */
#include "tests/unit/policy/placed.h"

#include "lib/policy/standstill.h"

#define ROWS HEAD "model,layers,block,queue_depth\n"
#define ROWS_OF_PARTS HEAD "model,layers,block,parts,queue_depth\n"

static const char *possible(struct scratch *scratch, const char *text)
{
    const struct plan *plan = build(scratch, text);

    return standstill_possible(scratch->arena, plan);
}

static void without_bounded_queues_nobody_waits(void **state)
{
    assert_null(possible(*state, ROWS "c,0,0,a,gpt2-4l,,embed,\nc,0,0,a,gpt2-4l,0-1,layer,\n"
                                      "c,0,1,a,gpt2-4l,2-3,layer,\nc,0,1,a,gpt2-4l,,lm_head,\n"));
    /* the source keeps no device */
    assert_null(possible(*state, ROWS "c,0,0,a,gpt2-4l,,all,1\n"));
}

static void a_device_may_wait_for_itself(void **state)
{
    const char *text =
        possible(*state, ROWS "c,3,0,a,gpt2-4l,,embed,\nc,3,0,a,gpt2-4l,0-1,layer,\n"
                              "c,3,1,a,gpt2-4l,2-3,layer,2\nc,3,1,a,gpt2-4l,,lm_head,2\n");

    assert_non_null(text);
    assert_string_equal(text,
                        "a may be kept by stage 0 of replica 3 of service 'c' until the queue "
                        "of stage 1 (queue_depth 2) has room, for which a must be free");
}

static void what_flows_one_way_cannot_stand_still(void **state)
{
    assert_null(possible(*state, ROWS "c,0,0,a,gpt2-4l,,embed,1\nc,0,0,a,gpt2-4l,0,layer,1\n"
                                      "c,0,1,b,gpt2-4l,1,layer,1\nc,0,2,d,gpt2-4l,2-3,layer,1\n"
                                      "c,0,2,d,gpt2-4l,,lm_head,1\n"
                                      "c,1,0,a,gpt2-4l,,embed,1\nc,1,0,a,gpt2-4l,0-1,layer,1\n"
                                      "c,1,1,d,gpt2-4l,2-3,layer,1\nc,1,1,d,gpt2-4l,,lm_head,1\n"));
}

/* Two replicas in opposite directions: the circle is of both. */
static void replicas_may_wait_for_one_another(void **state)
{
    const char *text =
        possible(*state, ROWS "c,0,0,x,gpt2-4l,,embed,\nc,0,0,x,gpt2-4l,0,layer,\n"
                              "c,0,1,a,gpt2-4l,1,layer,1\n"
                              "c,0,2,b,gpt2-4l,2-3,layer,1\nc,0,2,b,gpt2-4l,,lm_head,1\n"
                              "c,1,0,b,gpt2-4l,,embed,\nc,1,0,b,gpt2-4l,0-1,layer,\n"
                              "c,1,1,a,gpt2-4l,2-3,layer,4\nc,1,1,a,gpt2-4l,,lm_head,4\n");

    assert_non_null(text);
    assert_non_null(strstr(text, "a may be kept by stage 1 of replica 0"));
    assert_non_null(strstr(text, "b may be kept by stage 0 of replica 1"));
    assert_null(strstr(text, "x may be kept")); /* it leads to the circle */
}

/* Stages that are cut over devices keep themselves, not these. */
static void sliced_stages_wait_for_their_devices(void **state)
{
    static const char *const head = ROWS_OF_PARTS "c,0,0,a,gpt2-4l,,embed,,\n"
                                                  "c,0,0,a,gpt2-4l,0-1,layer,0-5/12,\n"
                                                  "c,0,0,b,gpt2-4l,0-1,layer,6-11/12,\n";
    struct scratch *scratch = *state;
    const char *text;

    /* both stages on both devices: the first stops, and leaves them to the second */
    assert_null(possible(
        scratch, arena_printf(scratch->arena,
                              "%sc,0,1,a,gpt2-4l,2-3,layer,0-5/12,1\n"
                              "c,0,1,b,gpt2-4l,2-3,layer,6-11/12,1\nc,0,1,a,gpt2-4l,,lm_head,,1\n",
                              head)));
    /* behind a stage of b alone, which b may be kept by */
    text = possible(scratch, ROWS_OF_PARTS "c,0,0,b,gpt2-4l,,embed,,\nc,0,0,b,gpt2-4l,0-1,layer,,\n"
                                           "c,0,1,a,gpt2-4l,2-3,layer,0-5/12,1\n"
                                           "c,0,1,b,gpt2-4l,2-3,layer,6-11/12,1\n"
                                           "c,0,1,a,gpt2-4l,,lm_head,,1\n");
    assert_non_null(text);
    assert_non_null(strstr(text, "b may be kept by stage 0 of replica 0 of service 'c' until the "
                                 "queue of stage 1 (queue_depth 1) has room, for which that stage "
                                 "must be free"));
    assert_non_null(strstr(text, "stage 1 of replica 0 of service 'c' needs b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(without_bounded_queues_nobody_waits),
        scratch_test(a_device_may_wait_for_itself),
        scratch_test(what_flows_one_way_cannot_stand_still),
        scratch_test(replicas_may_wait_for_one_another),
        scratch_test(sliced_stages_wait_for_their_devices),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
