/* test_plan_match.c - requests against their plan, and what stages weigh, keep and send. */
#include "tests/unit/policy/placed.h"

#include "lib/format/workload.h"

static bool match(struct scratch *scratch, const struct plan *plan, const char *text,
                  struct workload **workload, const int32_t **service_of)
{
    *workload =
        workload_load(scratch->arena, scratch_write(scratch, "w.csv", text), scratch_err(scratch));
    assert_non_null(*workload);
    return plan_match_workload(scratch->arena, plan, *workload, service_of, &scratch->err);
}

static void expect_mismatch(struct scratch *scratch, const struct plan *plan, const char *text,
                            const char *message)
{
    const int32_t *service_of;
    struct workload *workload;

    assert_false(match(scratch, plan, text, &workload, &service_of));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
    assert_string_equal(scratch_message(scratch), message);
}

static void services_of_a_workload_are_found_in_the_plan(void **state)
{
    struct scratch *scratch = *state;
    const struct plan *plan = build(scratch, MODEL "chat,0,0,a,gpt2,,\ncode,0,0,a,gpt2,,\n");
    const int32_t *service_of;
    struct workload *workload;

    assert_true(match(scratch, plan,
                      "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
                      "0,0,code,1,1\n1,0,chat,1,1\n",
                      &workload, &service_of));
    assert_int_equal(service_of[0], 1);
    assert_int_equal(service_of[1], 0);
    expect_mismatch(scratch, plan,
                    "request_id,service,arrival_s,prompt_tokens,output_tokens\n"
                    "0,code,0,1,1\n1,chta,0,1,1\n",
                    "w.csv:3:2: service is 'chta': not placed; did you mean 'chat'?");
    expect_mismatch(scratch, plan,
                    "request_id,service,arrival_s,prompt_tokens,output_tokens\n0,nobody,0,1,1\n",
                    "w.csv:2:2: service is 'nobody': not placed");
}

static void a_decoder_needs_both_token_counts(void **state)
{
    struct scratch *scratch = *state;
    const struct plan *plan = build(scratch, MODEL "chat,0,0,a,gpt2,,\n");

    expect_mismatch(scratch, plan, "request_id,arrival_s,service\n0,0,chat\n",
                    "w.csv:2: prompt_tokens is '': model 'gpt2' needs it");
    expect_mismatch(scratch, plan,
                    "request_id,arrival_s,service,output_tokens,prompt_tokens\n0,0,chat,3,\n",
                    "w.csv:2:5: prompt_tokens is '': model 'gpt2' needs it");
    expect_mismatch(scratch, plan, "request_id,arrival_s,service,prompt_tokens\n0,0,chat,3\n",
                    "w.csv:2: output_tokens is '': model 'gpt2' is a decoder and needs it");
    expect_mismatch(scratch, plan,
                    "request_id,arrival_s,service,prompt_tokens,output_tokens,batch\n"
                    "0,0,chat,3,3,1\n1,0,chat,3,3,2\n",
                    "w.csv:3:6: batch is '2': this version computes one item of a model a request");
}

static void an_encoder_without_tokens_computes_its_whole_context(void **state)
{
    struct scratch *scratch = *state;
    const struct plan *plan = build(scratch, MODEL "v,0,0,a,vit-base,,\ne,0,0,a,bert-base,,\n");
    const int32_t *service_of;
    struct workload *workload;

    assert_true(match(scratch, plan,
                      "request_id,arrival_s,service,prompt_tokens\n0,0,v,\n1,0,e,\n2,0,e,7\n",
                      &workload, &service_of));
    assert_int_equal(workload_at(workload, 0).prompt_tokens, 197);
    assert_int_equal(workload_at(workload, 1).prompt_tokens, 512);
    assert_int_equal(workload_at(workload, 2).prompt_tokens, 7);
}

static void an_executable_asks_for_no_tokens_and_a_generated_workload_has_no_file(void **state)
{
    static const struct workload_request request = { .client = -1, .session = -1, .batch = 1 };
    static const char *const names[] = { "c", "d" };
    struct scratch *scratch = *state;
    const struct plan *plan = build_box(scratch, BOX "c,0,0,a,one,\n");
    struct workload *workloads[2];
    const int32_t *service_of;

    for (int i = 0; i < 2; i++) {
        struct workload_builder *builder = workload_build(scratch->arena, NULL);

        assert_int_equal(workload_builder_service(builder, names[i]), 0);
        workload_builder_add(builder, &request);
        workloads[i] = workload_builder_finish(builder);
    }
    assert_true(
        plan_match_workload(scratch->arena, plan, workloads[0], &service_of, &scratch->err));
    assert_int_equal(service_of[0], 0);
    assert_null(workloads[0]->prompt_tokens);
    assert_false(
        plan_match_workload(scratch->arena, plan, workloads[1], &service_of, &scratch->err));
    assert_string_equal(scratch->err.text,
                        "workload: service is 'd': not placed; did you mean 'c'?");
}

/* ---- bytes ---- */

static void weights_of_the_stages_add_up_to_the_model(void **state)
{
    const struct plan *plan =
        build(*state, MODEL "t,0,0,a,tinyllama-1.1b,,embed\nt,0,0,a,tinyllama-1.1b,0-9,\n"
                            "t,0,1,b,tinyllama-1.1b,10-21,\nt,0,1,b,tinyllama-1.1b,,lm_head\n"
                            "g,0,0,a,gpt2,,all\n");
    const struct model *gpt2 = plan->services[1].model;
    int64_t sum = 0;

    for (int i = 0; i < 2; i++)
        sum += plan_stage_weight_bytes(plan, plan->stages[i], plan->stages[i]->devices[0]);
    assert_int_equal(sum, model_weight_bytes(plan->services[0].model));
    assert_int_equal(plan_stage_weight_bytes(plan, plan->stages[0], 1), 0);
    /* A tied embedding is there once when both its ends are. */
    assert_int_equal(plan_stage_weight_bytes(plan, plan->stages[2], 0), model_weight_bytes(gpt2));
    assert_true(model_tied_bytes(gpt2) > 0);
}

static void a_tied_matrix_that_is_split_is_there_twice(void **state)
{
    const struct plan *plan = build(*state, MODEL "g,0,0,a,gpt2,,embed\ng,0,0,a,gpt2,0-11,\n"
                                                  "g,0,1,b,gpt2,,lm_head\n");
    const struct model *gpt2 = plan->services[0].model;

    assert_int_equal(plan_stage_weight_bytes(plan, plan->stages[0], 0) +
                         plan_stage_weight_bytes(plan, plan->stages[1], 1),
                     model_weight_bytes(gpt2) + model_tied_bytes(gpt2));
}

static void a_tied_matrix_of_two_stages_on_one_device_is_there_once(void **state)
{
    const struct plan *plan = build(*state, MODEL "g,0,0,a,gpt2,,embed\ng,0,0,a,gpt2,0-5,\n"
                                                  "g,0,1,b,gpt2,6-11,\ng,0,2,a,gpt2,,lm_head\n"
                                                  "g,1,0,b,gpt2,,\n");
    const struct model *gpt2 = plan->services[0].model;
    int64_t sum = 0;

    for (int i = 0; i < 3; i++)
        sum += plan_stage_weight_bytes(plan, plan->stages[i], plan->stages[i]->devices[0]);
    assert_int_equal(sum, model_weight_bytes(gpt2));
    assert_int_equal(plan_stage_weight_bytes(plan, plan->stages[3], 1), model_weight_bytes(gpt2));
}

static void caches_and_messages_follow_the_model(void **state)
{
    const struct plan *plan = build(*state, MODEL "g,0,0,a,gpt2,,embed\ng,0,0,a,gpt2,0-4,\n"
                                                  "g,0,1,b,gpt2,5-11,\ng,0,1,b,gpt2,,lm_head\n"
                                                  "e,0,0,a,bert-base,,\n");

    /* gpt2: 2 x 12 heads x 64 x 4 bytes a layer and token; an encoder keeps nothing. */
    assert_int_equal(plan_stage_kv_bytes_per_token(plan, plan->stages[0]), 5 * 6144);
    assert_int_equal(plan_stage_kv_bytes_per_token(plan, plan->stages[1]), 7 * 6144);
    assert_int_equal(plan_stage_kv_bytes_per_token(plan, plan->stages[2]), 0);
    assert_int_equal(plan_input_bytes(plan, plan->stages[0], 16), 64);
    assert_int_equal(plan_input_bytes(plan, plan->stages[1], 16), 16 * 768 * 4);
    assert_int_equal(plan_result_bytes(plan, &plan->replicas[0]), 4);
}

static void a_black_box_weighs_and_sends_what_its_table_says_not_what_the_plan_knows(void **state)
{
    const struct plan *plan = build_box(*state, BOX "c,0,0,x,two,\nc,0,1,y,two,\n");

    assert_int_equal(plan_stage_weight_bytes(plan, plan->stages[0], 0), 0);
    assert_int_equal(plan_stage_kv_bytes_per_token(plan, plan->stages[0]), 0);
    assert_int_equal(plan_input_bytes(plan, plan->stages[1], 1), 0);
    assert_int_equal(plan_result_bytes(plan, &plan->replicas[0]), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(services_of_a_workload_are_found_in_the_plan),
        scratch_test(a_decoder_needs_both_token_counts),
        scratch_test(an_encoder_without_tokens_computes_its_whole_context),
        scratch_test(an_executable_asks_for_no_tokens_and_a_generated_workload_has_no_file),
        scratch_test(weights_of_the_stages_add_up_to_the_model),
        scratch_test(a_tied_matrix_that_is_split_is_there_twice),
        scratch_test(a_tied_matrix_of_two_stages_on_one_device_is_there_once),
        scratch_test(caches_and_messages_follow_the_model),
        scratch_test(a_black_box_weighs_and_sends_what_its_table_says_not_what_the_plan_knows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
