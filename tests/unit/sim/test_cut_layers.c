/* test_cut_layers.c - stages that begin and end inside a layer: what each computes, and what
 * crosses the border between them. Instants are counted by hand (tiny_model.h). */
#include "tests/unit/sim/tiny_model.h"

#include "lib/base/rng.h"

#define P "service,replica,stage,device,model,layers,block\n"

/* 1 ns a byte, 1 ms of latency, from the source as well. */
static void link_boards(void)
{
    fixture_cluster("device,type\na,t\nb,t\n", "medium,kind,node,bits_per_s,latency_s\n"
                                               "lan,switch,*,8e9,0.001\n");
}

/* The request's prefill and its end, each with one trip through a and b. */
static void expect_times(int64_t first_ns, int64_t finish_ns)
{
    fixture_must_run();
    assert_int_equal(fixture.result.requests[0].first_token_ps, first_ns * UNITS_PS_PER_NS);
    assert_int_equal(fixture.result.requests[0].finish_ps, finish_ns * UNITS_PS_PER_NS);
}

/* norm, attn | proj and all behind: the heads and the residual cross, 16 values a token. a: embed,
 * a norm and 3 calls of attn, b: 20 more of 25; 16 + 256 + 4 bytes, then 4 + 64 + 4. */
static void behind_attention_two_tensors_cross(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,embed\nc,0,0,a,tiny,0,attn\nc,0,1,b,tiny,0,proj\n"
                             "c,0,1,b,tiny,0,ffn\nc,0,1,b,tiny,1,\nc,0,1,b,tiny,,lm_head\n");
    link_boards();
    fixture_write("w.csv", W "0,0,c,4,2\n");
    expect_times(28000276, 56000348);
    assert_string_equal(fixture_transfers(),
                        "# orrery: transfers 1\n"
                        "request_id,step,batch_id,from_device,to_device,medium,bytes,send_s,"
                        "receive_s\n"
                        "0,0,,source,a,lan,16,0,0.001000016\n"
                        "0,0,,a,b,lan,256,0.006000016,0.007000272\n"
                        "0,0,,b,source,lan,4,0.027000272,0.028000276\n"
                        "0,1,,source,a,lan,4,0.028000276,0.02900028\n"
                        "0,1,,a,b,lan,64,0.03400028,0.035000344\n"
                        "0,1,,b,source,lan,4,0.055000344,0.056000348\n");
}

/* The addition behind proj runs before the border: one tensor of 8 values. a: embed, norm, attn 3,
 * proj, add. */
static void behind_the_projection_the_sum_crosses(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,embed\nc,0,0,a,tiny,0,attn\nc,0,0,a,tiny,0,proj\n"
                             "c,0,1,b,tiny,0,ffn\nc,0,1,b,tiny,1,\nc,0,1,b,tiny,,lm_head\n");
    link_boards();
    fixture_write("w.csv", W "0,0,c,4,2\n");
    expect_times(28000148, 56000188);
    assert_non_null(strstr(fixture_transfers(), "0,0,,a,b,lan,128,0.008000016,0.009000144\n"));
}

/* An encoder norms behind the addition: on a as well. In few bits two tensors have two ranges. */
static void what_is_between_the_halves_of_the_ffn_is_coded_as_two_tensors(void **state)
{
    (void)state;
    fixture_write("p.csv", "service,replica,stage,device,model,layers,block,wire_bits\n"
                           "c,0,0,a,reader,,embed,8\nc,0,0,a,reader,0,attn,8\n"
                           "c,0,0,a,reader,0,proj,8\nc,0,0,a,reader,0,ffn_up,8\n"
                           "c,0,1,b,reader,0,ffn_down,\nc,0,1,b,reader,1,,\n"
                           "c,0,1,b,reader,,lm_head,\n");
    fixture_cluster("device,type,encode_value_ns,decode_value_ns\na,t,10,0\nb,t,0,20\n",
                    "medium,kind,node,bits_per_s,latency_s\nlan,switch,*,8e9,0.001\n");
    fixture_write("w.csv", W "0,0,c,4,\n");
    /* 4 tokens of 16 and 8 values: 64 + 8 and 32 + 8 bytes. a: embed, attn 3, proj, add, norm,
     * ffn_up 2 and 96 values of 10 ns; b: 16 calls and 96 values of 20 ns. */
    expect_times(28003012, 28003012);
    assert_non_null(strstr(fixture_transfers(), "0,0,,a,b,lan,112,0.010000976,0.011001088\n"));
}

/* Random cuts of a model into stages of one device, free links: a request takes what it takes on
 * one device, and the weights are those of the model. */
static const char *random_stages(struct rng *rng, const char *model)
{
    static const char *const blocks[] = { "attn", "proj", "ffn_up", "ffn_down" };
    const char *text = arena_printf(fixture.arena, "c,0,0,a,%s,,embed\n", model);
    int stage = 0;

    for (int at = 0; at < 8; at++) {
        stage += rng_below(rng, 3) == 0;
        text = arena_printf(fixture.arena, "%sc,0,%d,%c,%s,%d,%s\n", text, stage, "abc"[stage % 3],
                            model, at / 4, blocks[at % 4]);
    }
    return arena_printf(fixture.arena, P "%sc,0,%d,%c,%s,,lm_head\n", text, stage, "abc"[stage % 3],
                        model);
}

static void however_it_is_cut_a_model_costs_the_same(void **state)
{
    struct rng rng = rng_stream(11, RNG_TEST, 1);

    (void)state;
    fixture_cluster("device,type\na,t\nb,t\nc,t\n", NULL);
    fixture_write("w.csv", W "0,0,c,4,2\n");
    for (int round = 0; round < 60; round++) {
        bool is_encoder = round % 2 == 1;
        const struct plan *plan;
        int64_t weight_bytes = 0, kv_bytes = 0;

        fixture_write("p.csv", random_stages(&rng, is_encoder ? "reader" : "tiny"));
        fixture_must_run();
        assert_request_ms(0, 0, 0, is_encoder ? 25 : 50);
        plan = fixture.scenario.input.plan;
        for (int s = 0; s < plan->stage_count; s++) {
            weight_bytes +=
                plan_stage_weight_bytes(plan, plan->stages[s], plan->stages[s]->devices[0]);
            kv_bytes += plan_stage_kv_bytes_per_token(plan, plan->stages[s]);
        }
        assert_int_equal(weight_bytes, model_weight_bytes(plan->services[0].model));
        assert_int_equal(kv_bytes, is_encoder ? 0 : 2 * 2 * 8 * 4);
    }
}

/* Continuous and fixed batches price stages by other code: the same border, the same sums. */
static void batches_cross_the_same_border(void **state)
{
    (void)state;
    fixture_write("p.csv", P "c,0,0,a,tiny,,embed\nc,0,0,a,tiny,0,attn\nc,0,1,b,tiny,0,proj\n"
                             "c,0,1,b,tiny,0,ffn\nc,0,1,b,tiny,1,\nc,0,1,b,tiny,,lm_head\n");
    link_boards();
    fixture_write("w.csv", W "0,0,c,4,2\n");
    fixture.options.batch = (struct batch_options){ .kind = BATCH_FIXED, .max_size = 2 };
    expect_times(28000276, 56000348);
    fixture.options.batch = (struct batch_options){ .kind = BATCH_CONTINUOUS, .max_seqs = 2 };
    fixture.options.kv = (struct serve_kv){ .block_tokens = 16, .has_chunks = true };
    fixture.options.dispatch = DISPATCH_ROUND_ROBIN;
    expect_times(28000276, 56000348);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(behind_attention_two_tensors_cross, tiny_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(behind_the_projection_the_sum_crosses, tiny_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(
            what_is_between_the_halves_of_the_ffn_is_coded_as_two_tensors, tiny_set_up,
            fixture_tear_down),
        cmocka_unit_test_setup_teardown(however_it_is_cut_a_model_costs_the_same, tiny_set_up,
                                        fixture_tear_down),
        cmocka_unit_test_setup_teardown(batches_cross_the_same_border, tiny_set_up,
                                        fixture_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
