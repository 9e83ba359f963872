/* test_slices.c - the slices of a model's stages: what each holds, and that every hole, overlap and
 * disorder is found with its place. */
#include "tests/unit/policy/placed.h"

static void expect_slice(const struct plan_slice *slice, unsigned block, int first, int last)
{
    assert_true(slice->blocks & 1u << block);
    assert_int_equal(slice->layer_first, first);
    assert_int_equal(slice->layer_last, last);
}

static void a_whole_model_on_one_device_is_one_stage(void **state)
{
    const struct plan *plan = build(*state, MODEL "chat,0,0,a,gpt2-4l,,all\n");
    const struct plan_stage *stage = plan->stages[0];

    assert_int_equal(plan->service_count, 1);
    assert_int_equal(plan->replica_count, 1);
    assert_int_equal(plan->stage_count, 1);
    assert_string_equal(plan->services[0].name, "chat");
    assert_string_equal(plan->services[0].model->name, "gpt2-4l");
    assert_ptr_equal(stage, plan->replicas[0].stages);
    assert_int_equal(stage->device_count, 1);
    assert_string_equal(plan->cluster->devices[stage->devices[0]].name, "a");
    assert_int_equal(stage->slice_count, 3);
    expect_slice(&stage->slices[0], BLOCK_EMBED, -1, -1);
    expect_slice(&stage->slices[1], BLOCK_ATTN, 0, 3);
    expect_slice(&stage->slices[1], BLOCK_CONN, 0, 3);
    expect_slice(&stage->slices[2], BLOCK_LM_HEAD, -1, -1);
    assert_true(stage->has_embed && stage->has_lm_head);
    assert_int_equal(stage->layer_count, 4);
    assert_null(stage->executable);
}

static void a_pipeline_has_its_ends_in_the_first_and_last_stage(void **state)
{
    /* Rows of a stage need not stand together, nor in order. */
    const struct plan *plan = build(*state, MODEL "chat,0,1,pi1,tinyllama-1.1b,,lm_head\n"
                                                  "chat,0,0,pi0,tinyllama-1.1b,0-10,layer\n"
                                                  "chat,0,1,pi1,tinyllama-1.1b,11-21,layer\n"
                                                  "chat,0,0,pi0,tinyllama-1.1b,,embed\n");
    const struct plan_stage *stages = plan->replicas[0].stages;

    assert_int_equal(plan->replicas[0].stage_count, 2);
    assert_int_equal(stages[0].slice_count, 2);
    expect_slice(&stages[0].slices[0], BLOCK_EMBED, -1, -1);
    expect_slice(&stages[0].slices[1], BLOCK_ATTN, 0, 10);
    assert_true(stages[0].has_embed && !stages[0].has_lm_head);
    assert_int_equal(stages[0].layer_count, 11);
    assert_int_equal(stages[1].slice_count, 2);
    expect_slice(&stages[1].slices[0], BLOCK_FFN_DOWN, 11, 21);
    expect_slice(&stages[1].slices[1], BLOCK_LM_HEAD, -1, -1);
    assert_true(!stages[1].has_embed && stages[1].has_lm_head);
    assert_string_equal(plan->cluster->devices[stages[1].devices[0]].name, "pi1");
    assert_int_equal(stages[1].number, 1);
    assert_int_equal(stages[1].row->line, 2);
}

static void the_ends_may_be_stages_of_their_own(void **state)
{
    const struct plan *plan = build(*state, MODEL "c,0,0,a,bert-base,,embed\n"
                                                  "c,0,1,b,bert-base,0-11,layer\n"
                                                  "c,0,2,a,bert-base,,lm_head\n");

    assert_int_equal(plan->stages[0]->slice_count, 1);
    assert_int_equal(plan->stages[0]->layer_count, 0);
    assert_int_equal(plan->stages[1]->layer_count, 12);
    assert_int_equal(plan->stages[2]->slice_count, 1);
    assert_ptr_equal(plan->stages[2]->row, plan->stages[0]->row + 2);
    assert_int_equal(plan->stages[2]->devices[0], plan->stages[0]->devices[0]);
}

static void blocks_that_are_named_one_by_one_make_one_slice_and_conn_may_be_absent(void **state)
{
    const struct plan *plan = build(*state, MODEL "c,0,0,a,gpt2-4l,0-3,ffn\n"
                                                  "c,0,0,a,gpt2-4l,0-1,attn\n"
                                                  "c,0,0,a,gpt2-4l,2-3,attn\n"
                                                  "c,0,0,a,gpt2-4l,0-3,proj\n"
                                                  "c,0,0,a,gpt2-4l,2,conn\n"
                                                  "c,0,0,a,gpt2-4l,,embed\n"
                                                  "c,0,0,a,gpt2-4l,,lm_head\n");
    const struct plan_stage *stage = plan->stages[0];

    assert_int_equal(stage->slice_count, 3);
    assert_int_equal(stage->slices[1].blocks, 1u << BLOCK_ATTN | 1u << BLOCK_PROJ |
                                                  1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN |
                                                  1u << BLOCK_CONN);
    expect_slice(&stage->slices[1], BLOCK_CONN, 0, 3);
}

static void a_missing_block_is_named_with_its_layer(void **state)
{
    expect_error(*state,
                 MODEL "c,4,0,a,gpt2-4l,0-1,\nc,4,0,a,gpt2-4l,3,\nc,4,0,a,gpt2-4l,,embed\n"
                       "c,4,0,a,gpt2-4l,,lm_head\n",
                 "p.csv:2:2: replica is '4': layer 2, block attn of model 'gpt2-4l' is placed "
                 "nowhere in this replica of 'c'");
    expect_error(*state,
                 MODEL "c,0,0,a,gpt2-4l,0-3,attn\nc,0,0,a,gpt2-4l,0-3,ffn\n"
                       "c,0,0,a,gpt2-4l,,embed\nc,0,0,a,gpt2-4l,,lm_head\n",
                 "p.csv:2:2: replica is '0': layer 0, block proj of model 'gpt2-4l' is placed "
                 "nowhere in this replica of 'c'");
    expect_error(*state, MODEL "c,0,0,a,gpt2-4l,0-3,\nc,0,0,a,gpt2-4l,,lm_head\n",
                 "p.csv:2:2: replica is '0': block embed of model 'gpt2-4l' is placed nowhere in "
                 "this replica of 'c'");
    expect_error(*state, MODEL "c,0,0,a,gpt2-4l,0-3,\nc,0,0,a,gpt2-4l,,embed\n",
                 "p.csv:2:2: replica is '0': block lm_head of model 'gpt2-4l' is placed nowhere in "
                 "this replica of 'c'");
}

static void a_doubled_block_is_named_where_it_doubles(void **state)
{
    expect_error(*state, MODEL "c,0,0,a,gpt2-4l,,\nc,0,0,a,gpt2-4l,1-2,attn\n",
                 "p.csv:3:6: layers is '1-2': layer 1, block attn is placed twice in replica 0 of "
                 "'c', first in line 2");
    expect_error(*state, MODEL "c,0,0,a,gpt2-4l,,\nc,0,1,b,gpt2-4l,,\n",
                 "p.csv:3:7: block is 'all': block embed is placed twice in replica 0 of 'c', "
                 "first in line 2");
    expect_error(*state, MODEL "c,0,0,a,gpt2-4l,2-4,\n",
                 "p.csv:2:6: layers is '2-4': model 'gpt2-4l' has layers 0 to 3");
}

#define PARTS HEAD "model,layers,block,parts\n"
#define TINY ",tinyllama-1.1b,"
#define FIRST "c,0,0,a" TINY ",embed,\nc,0,0,a" TINY ",lm_head,\nc,0,0,a" TINY
#define REST "c,0,0,b" TINY

static void parts_tile_a_block_of_a_layer(void **state)
{
    /* Rows may cut a block in several ways. */
    (void)build(*state,
                PARTS FIRST "0-21,attn,0/2\n" REST "0-21,attn,2-3/4\n" REST "0-21,proj,1-7/8\n" REST
                            "0-21,proj,0/32\n" REST "0-21,proj,1-3/32\n" REST "0-21,ffn,\n");
    expect_error(*state, PARTS FIRST "0-21,attn,0-1/4\n" REST "0-21,attn,2/4\n",
                 "p.csv:2:2: replica is '0': layer 0, block attn: part 3/4 of model "
                 "'tinyllama-1.1b' is placed nowhere in this replica of 'c'");
    expect_error(*state,
                 PARTS FIRST "0-21,attn,\n" REST "0-21,ffn,\n" REST "0-21,proj,0-2/8\n" REST
                             "0-3,proj,2-3/4\n" REST "4-21,proj,3-7/8\n",
                 "p.csv:2:2: replica is '0': layer 0, block proj: part 3/8 of model "
                 "'tinyllama-1.1b' is placed nowhere in this replica of 'c'");
    expect_error(*state,
                 PARTS FIRST "0-21,attn,\n" REST "0-21,proj,\n" REST "0-21,ffn_down,\n" REST
                             "3-21,ffn_up,\n" REST "0-2,ffn_up,2/4\n" REST "0-2,ffn_up,7/8\n",
                 "p.csv:2:2: replica is '0': layer 0, block ffn_up: parts 0-1/4 of model "
                 "'tinyllama-1.1b' are placed nowhere in this replica of 'c'");
    expect_error(*state, PARTS FIRST "0-21,attn,0-1/4\n" REST "5-21,attn,0/2\n",
                 "p.csv:5:8: parts is '0/2': layer 5, block attn: part 0/2 of this row and parts "
                 "0-1/4 of line 4 overlap in replica 0 of 'c'");
    expect_error(*state, PARTS FIRST "0-21,layer,\n" REST "21,ffn,3/8\n",
                 "p.csv:5:8: parts is '3/8': layer 21, block ffn_up: part 3/8 of this row and part "
                 "0/1 of line 4 overlap in replica 0 of 'c'");
    expect_error(*state,
                 PARTS "c,0,0,a" TINY ",embed,\nc,0,0,a" TINY ",lm_head,0-2/4\nc,0,0,b" TINY
                       "0-21,layer,\n",
                 "p.csv:2:2: replica is '0': block lm_head: part 3/4 of model 'tinyllama-1.1b' is "
                 "placed nowhere in this replica of 'c'");
}

static void parts_are_whole_heads_and_columns(void **state)
{
    expect_error(
        *state, PARTS FIRST "0-21,attn,0/8\n",
        "p.csv:4:8: parts is '0/8': the 4 KV heads of model 'tinyllama-1.1b' do not divide "
        "into 8 parts");
    expect_error(*state, PARTS FIRST "0-21,proj,0/3\n",
                 "p.csv:4:8: parts is '0/3': the 32 heads of model 'tinyllama-1.1b' do not divide "
                 "into 3 parts");
    expect_error(*state, PARTS FIRST "0-21,ffn,1/3\n",
                 "p.csv:4:8: parts is '1/3': the 5632 columns of the FFN of model 'tinyllama-1.1b' "
                 "do not divide into 3 parts");
    expect_error(*state, PARTS "c,0,0,a" TINY ",embed,0/2\n",
                 "p.csv:2:8: parts is '0/2': block embed of model 'tinyllama-1.1b' is not divided");
    expect_error(*state, PARTS "c,0,0,a" TINY ",all,0/2\n",
                 "p.csv:2:8: parts is '0/2': block embed of model 'tinyllama-1.1b' is not divided");
    expect_error(*state, PARTS "c,0,0,a,bert-base,,lm_head,0/2\n",
                 "p.csv:2:8: parts is '0/2': block lm_head of model 'bert-base' is not divided");
    expect_error(*state, PARTS "c,0,0,a" TINY ",lm_head,0/32001\n",
                 "p.csv:2:8: parts is '0/32001': the output matrix of model 'tinyllama-1.1b' has "
                 "32000 rows");
}

static void a_device_has_tokens_of_the_sequence_that_follow_each_other(void **state)
{
    expect_error(*state,
                 PARTS FIRST "0-21,attn,\n" REST "0-21,proj,\n" REST "0-21,ffn,\n" REST
                             "0-21,conn,0/2\nc,0,0,a" TINY "0-21,conn,2-3/4\n",
                 "p.csv:8:8: parts is '2-3/4': line 7 cuts conn of layer 0 into 2 parts: the rows "
                 "of a layer cut the sequence in one way");
    expect_error(*state,
                 PARTS FIRST "0-21,attn,\n" REST "0-21,proj,\n" REST "0-21,ffn,\n" REST
                             "0-21,conn,0/3\nc,0,0,a" TINY "0-21,conn,1/3\n" REST "0-21,conn,2/3\n",
                 "p.csv:9:8: parts is '2/3': line 7 gives the device other tokens of conn of layer "
                 "0: those of a device must follow each other");
}

static void stages_hold_layers_in_model_order(void **state)
{
    expect_error(*state,
                 MODEL "c,0,0,a,gpt2-4l,,embed\nc,0,0,a,gpt2-4l,2-3,\n"
                       "c,0,1,b,gpt2-4l,0-1,\nc,0,1,b,gpt2-4l,,lm_head\n",
                 "p.csv:4:3: stage is '1': layer 1, block ffn_down is here, after layer 2, block "
                 "attn in stage 0: stages must hold the blocks in model order");
    expect_error(*state,
                 MODEL "c,0,0,a,gpt2-4l,0-1,\nc,0,1,b,gpt2-4l,2-3,\n"
                       "c,0,1,b,gpt2-4l,,embed\nc,0,1,b,gpt2-4l,,lm_head\n",
                 "p.csv:4:3: stage is '1': block embed must be in stage 0");
    expect_error(*state,
                 MODEL "c,0,0,a,gpt2-4l,0-1,\nc,0,1,b,gpt2-4l,2-3,\n"
                       "c,0,0,a,gpt2-4l,,embed\nc,0,0,a,gpt2-4l,,lm_head\n",
                 "p.csv:5:3: stage is '0': block lm_head must be in the last stage, 1");
    expect_error(*state,
                 MODEL "c,0,0,a,gpt2-4l,,embed\nc,0,0,a,gpt2-4l,0-3,attn\n"
                       "c,0,0,a,gpt2-4l,0-3,proj\nc,0,1,b,gpt2-4l,0-3,ffn\n"
                       "c,0,1,b,gpt2-4l,,lm_head\n",
                 "p.csv:5:3: stage is '1': layer 0, block ffn_down is here, after layer 1, block "
                 "attn in stage 0: stages must hold the blocks in model order");
    expect_error(*state,
                 MODEL "c,0,0,a,gpt2-4l,,embed\nc,0,0,a,gpt2-4l,0-2,\nc,0,1,b,gpt2-4l,3,attn\n"
                       "c,0,0,a,gpt2-4l,3,proj\nc,0,1,b,gpt2-4l,3,ffn\n"
                       "c,0,1,b,gpt2-4l,,lm_head\n",
                 "p.csv:4:3: stage is '1': layer 3, block attn is here, after layer 3, block proj "
                 "in stage 0: stages must hold the blocks in model order");
}

#define CUT(conn)                                                                                  \
    MODEL "c,0,0,a,gpt2-4l,,embed\nc,0,0,a,gpt2-4l,0-1,\nc,0,0,a,gpt2-4l,2,attn\n"                 \
          "c,0,1,b,gpt2-4l,2,proj\nc,0,1,b,gpt2-4l,2-3,ffn\nc,0,1,b,gpt2-4l,3,attn\n"              \
          "c,0,1,b,gpt2-4l,3,proj\nc,0,1,b,gpt2-4l,,lm_head\n" conn

static void a_layer_may_be_cut_between_stages(void **state)
{
    const struct plan *plan = build(*state, CUT(""));
    const struct plan_stage *first = plan->stages[0], *last = plan->stages[1];
    const struct model *model = plan->services[0].model;

    assert_int_equal(first->layer_count, 3);
    assert_int_equal(last->layer_count, 1);
    assert_int_equal(first->slice_count, 3);
    expect_slice(&first->slices[2], BLOCK_ATTN, 2, 2);
    assert_false(first->slices[2].blocks & 1u << BLOCK_PROJ);
    assert_int_equal(first->slices[2].norms, 1);
    assert_int_equal(first->slices[2].adds, 0);
    assert_int_equal(last->slice_count, 3);
    expect_slice(&last->slices[0], BLOCK_PROJ, 2, 2);
    assert_int_equal(last->slices[0].norms, 1);
    assert_int_equal(last->slices[0].adds, 2);
    expect_slice(&last->slices[1], BLOCK_ATTN, 3, 3);
    assert_int_equal(plan_stage_weight_bytes(plan, first, 0) +
                         plan_stage_weight_bytes(plan, last, 1),
                     model_weight_bytes(model) + model_tied_bytes(model));
    assert_int_equal(plan_input_bytes(plan, first, 5), 5 * 4);
    assert_int_equal(plan_input_bytes(plan, last, 5), 5 * 2 * 768 * 4);
    /* Norms and residuals may be named, in a stage that has something of the layer. */
    (void)build(*state, CUT("c,0,0,a,gpt2-4l,2,conn\n"));
    (void)build(*state, CUT("c,0,1,b,gpt2-4l,2,conn\n"));
    expect_error(*state, CUT("c,0,1,b,gpt2-4l,1,conn\n"),
                 "p.csv:10:6: layers is '1': layer 1, block conn is placed twice in replica 0 of "
                 "'c', first in line 3");
}

static void parts_of_a_block_are_in_one_stage(void **state)
{
    expect_error(*state,
                 HEAD
                 "model,layers,block,parts\nc,0,0,a,gpt2-4l,,embed,\nc,0,0,a,gpt2-4l,0-3,attn,\n"
                 "c,0,0,a,gpt2-4l,0-3,proj,\nc,0,0,a,gpt2-4l,0-3,ffn_up,\n"
                 "c,0,0,a,gpt2-4l,0-2,ffn_down,\nc,0,0,a,gpt2-4l,3,ffn_down,0/2\n"
                 "c,0,1,b,gpt2-4l,3,ffn_down,1/2\nc,0,1,b,gpt2-4l,,lm_head,\n",
                 "p.csv:8:3: stage is '1': layer 3, block ffn_down has parts here and in stage 0 "
                 "(line 7): the parts of a block are in one stage");
    expect_error(*state,
                 MODEL
                 "c,0,0,a,gpt2-4l,,embed\nc,0,0,a,gpt2-4l,0-3,attn\nc,0,0,a,gpt2-4l,0-3,proj\n"
                 "c,0,0,a,gpt2-4l,0-3,ffn\nc,0,1,b,gpt2-4l,3,conn\nc,0,1,b,gpt2-4l,,lm_head\n",
                 "p.csv:6:3: stage is '1': layer 3, block conn is here without any other block of "
                 "the layer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_whole_model_on_one_device_is_one_stage),
        scratch_test(a_pipeline_has_its_ends_in_the_first_and_last_stage),
        scratch_test(the_ends_may_be_stages_of_their_own),
        scratch_test(blocks_that_are_named_one_by_one_make_one_slice_and_conn_may_be_absent),
        scratch_test(a_missing_block_is_named_with_its_layer),
        scratch_test(a_doubled_block_is_named_where_it_doubles),
        scratch_test(parts_tile_a_block_of_a_layer),
        scratch_test(parts_are_whole_heads_and_columns),
        scratch_test(a_device_has_tokens_of_the_sequence_that_follow_each_other),
        scratch_test(stages_hold_layers_in_model_order),
        scratch_test(a_layer_may_be_cut_between_stages),
        scratch_test(parts_of_a_block_are_in_one_stage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
