/* test_footprint.c - what placements ask of memory: parts that add up, rows that leave a hole, and
 * the largest context and number of sequences against trying one after the other. */
#include "tests/unit/policy/placed.h"

#include "lib/base/rng.h"
#include "lib/policy/footprint.h"

#define PARTS HEAD "model,layers,block,parts\n"
#define TINYLLAMA_LAYER_KV (2 * 4 * 64 * 4)

static const struct cluster *cluster_of(struct scratch *scratch, const char *devices)
{
    const char *path = scratch_write(scratch, "cluster/devices.csv", devices);
    const struct cluster *cluster;

    (void)path;
    cluster =
        cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/cluster", scratch->folder),
                     scratch_err(scratch));
    assert_non_null(cluster);
    return cluster;
}

static const struct footprint *collect_on(struct scratch *scratch, const char *text,
                                          const struct cluster *cluster,
                                          const struct cost_set *costs)
{
    struct model_catalogue *catalogue =
        model_catalogue_load(scratch->arena, NULL, scratch_err(scratch));
    const struct placement *placement =
        placement_load(scratch->arena, scratch_write(scratch, "p.csv", text), &scratch->err);
    const struct plan *plan;

    if (!placement)
        return NULL;
    plan = plan_outline(scratch->arena, placement, cluster, costs, catalogue, &scratch->err);
    return plan ? footprint_collect(scratch->arena, plan, costs) : NULL;
}

/* On devices a, b, c without any memory stated. */
static const struct footprint *collect(struct scratch *scratch, const char *text)
{
    const struct footprint *footprint =
        collect_on(scratch, text, cluster_of(scratch, "device,type\na,t\nb,t\nc,t\n"), NULL);

    if (!footprint)
        fail_msg("%s", scratch->err.text);
    return footprint;
}

static struct footprint_load load_of(int64_t context, int64_t sequences)
{
    return (struct footprint_load){ context, sequences, 0, 16 };
}

static int64_t weights_of(const struct footprint *footprint, int32_t device)
{
    struct footprint_load loads[8];

    for (int i = 0; i < 8; i++)
        loads[i] = load_of(1, 1);
    return footprint_of_device(footprint, device, loads).of.weight_bytes;
}

/* ---- what a device holds ---- */

static void a_pipeline_holds_its_layers_and_their_caches(void **state)
{
    const struct footprint *footprint =
        collect(*state, MODEL "t,0,0,a,tinyllama-1.1b,,embed\nt,0,0,a,tinyllama-1.1b,0-9,\n"
                              "t,0,1,b,tinyllama-1.1b,10-21,\nt,0,1,b,tinyllama-1.1b,,lm_head\n");
    const struct model *model = footprint->plan->services[0].model;
    struct footprint_load load = load_of(100, 3); /* 7 blocks of 16 each */
    struct footprint_device a = footprint_of_device(footprint, 0, &load);
    struct footprint_device b = footprint_of_device(footprint, 1, &load);

    assert_int_equal(a.of.weight_bytes + b.of.weight_bytes, model_weight_bytes(model));
    assert_int_equal(a.of.kv_bytes, 3 * 112 * 10 * TINYLLAMA_LAYER_KV);
    assert_int_equal(b.of.kv_bytes, 3 * 112 * 12 * TINYLLAMA_LAYER_KV);
    /* The widest block is the FFN, of a prompt of 100 tokens: stream, norm, gate and up, product.
     */
    assert_int_equal(a.of.activation_bytes, 4 * 100 * (2048 + 2048 + 3 * 5632));
    assert_int_equal(a.need_bytes, a.of.weight_bytes + a.of.kv_bytes + a.of.activation_bytes);
    assert_int_equal(a.free_bytes, -1);
    assert_int_equal(footprint_of_device(footprint, 2, &load).epoch, -1);
}

static void steps_of_chunks_need_less_than_whole_prompts(void **state)
{
    const struct footprint *footprint = collect(*state, MODEL "t,0,0,a,tinyllama-1.1b,,\n");
    struct footprint_load load = load_of(1000, 2);

    load.step_tokens = 128;
    assert_int_equal(footprint_of_device(footprint, 0, &load).of.activation_bytes,
                     4 * 128 * (2048 + 2048 + 3 * 5632));
    load.sequences = 200; /* a decode step has a row of each */
    assert_int_equal(footprint_of_device(footprint, 0, &load).of.activation_bytes,
                     4 * (200 * 2048 + 200 * (2048 + 32000)));
    load = load_of(10, 2); /* there are no more tokens than that */
    load.step_tokens = 4096;
    assert_int_equal(footprint_of_device(footprint, 0, &load).of.activation_bytes,
                     4 * 20 * (2048 + 2048 + 3 * 5632));
}

static void an_encoder_keeps_nothing_and_computes_all_at_once(void **state)
{
    const struct footprint *footprint = collect(*state, MODEL "e,0,0,a,bert-base,,\n");
    struct footprint_load load = load_of(512, 4);
    struct footprint_device a = footprint_of_device(footprint, 0, &load);

    assert_int_equal(a.of.kv_bytes, 0);
    assert_int_equal(a.of.weight_bytes, model_weight_bytes(footprint->plan->services[0].model));
    assert_int_equal(a.of.activation_bytes, 4 * (4 * 512 * (768 + 768 + 2304 + 768) + 512 * 512));
}

static void slices_count_in_exact_proportion(void **state)
{
    const struct footprint *footprint = collect(
        *state, PARTS "t,0,0,a,tinyllama-1.1b,,embed,\nt,0,0,a,tinyllama-1.1b,0-21,attn,0-2/4\n"
                      "t,0,0,b,tinyllama-1.1b,0-21,attn,3/4\n"
                      "t,0,0,a,tinyllama-1.1b,0-21,proj,0-5/8\n"
                      "t,0,0,b,tinyllama-1.1b,0-21,proj,6-7/8\n"
                      "t,0,0,c,tinyllama-1.1b,0-21,ffn,0/2\nt,0,0,b,tinyllama-1.1b,0-21,ffn,1/2\n"
                      "t,0,0,a,tinyllama-1.1b,0-21,conn,\n"
                      "t,0,0,b,tinyllama-1.1b,,lm_head,\n");
    const struct model *model = footprint->plan->services[0].model;
    struct footprint_load load = load_of(160, 1);
    int64_t attn = model_block_weight_bytes(model, BLOCK_ATTN);
    int64_t proj = model_block_weight_bytes(model, BLOCK_PROJ);
    int64_t ffn = model_block_weight_bytes(model, BLOCK_FFN_UP) +
                  model_block_weight_bytes(model, BLOCK_FFN_DOWN);

    assert_int_equal(
        weights_of(footprint, 0),
        model_block_weight_bytes(model, BLOCK_EMBED) +
            22 * (attn * 3 / 4 + proj * 6 / 8 + model_block_weight_bytes(model, BLOCK_CONN)));
    assert_int_equal(weights_of(footprint, 1), model_block_weight_bytes(model, BLOCK_LM_HEAD) +
                                                   22 * (attn / 4 + proj / 4 + ffn / 2));
    assert_int_equal(weights_of(footprint, 2), 22 * ffn / 2);
    assert_int_equal(weights_of(footprint, 0) + weights_of(footprint, 1) + weights_of(footprint, 2),
                     model_weight_bytes(model));
    assert_int_equal(footprint_of_device(footprint, 0, &load).of.kv_bytes,
                     160 * 22 * TINYLLAMA_LAYER_KV * 3 / 4);
    assert_int_equal(footprint_of_device(footprint, 1, &load).of.kv_bytes,
                     160 * 22 * TINYLLAMA_LAYER_KV / 4);
    assert_int_equal(footprint_of_device(footprint, 2, &load).of.kv_bytes, 0);
}

static void norms_that_no_row_names_are_with_the_block_behind_them(void **state)
{
    const struct footprint *footprint =
        collect(*state, MODEL "t,0,0,a,tinyllama-1.1b,,embed\nt,0,0,a,tinyllama-1.1b,0-21,attn\n"
                              "t,0,0,b,tinyllama-1.1b,0-21,proj\nt,0,0,c,tinyllama-1.1b,0-21,ffn\n"
                              "t,0,0,c,tinyllama-1.1b,,lm_head\n");
    const struct model *model = footprint->plan->services[0].model;

    assert_int_equal(weights_of(footprint, 0),
                     model_block_weight_bytes(model, BLOCK_EMBED) +
                         22 * (model_block_weight_bytes(model, BLOCK_ATTN) + 2048 * 4));
    assert_int_equal(weights_of(footprint, 1), 22 * model_block_weight_bytes(model, BLOCK_PROJ));
    assert_int_equal(weights_of(footprint, 0) + weights_of(footprint, 1) + weights_of(footprint, 2),
                     model_weight_bytes(model));
}

static void a_tied_matrix_is_once_on_a_device_that_has_both_ends(void **state)
{
    const struct footprint *footprint =
        collect(*state, PARTS "g,0,0,a,gpt2,,embed,\ng,0,0,a,gpt2,0-11,,\n"
                              "g,0,1,a,gpt2,,lm_head,0/2\ng,0,1,b,gpt2,,lm_head,1/2\n");
    const struct model *gpt2 = footprint->plan->services[0].model;
    int64_t tied = model_tied_bytes(gpt2);

    assert_true(tied > 0);
    assert_int_equal(weights_of(footprint, 0) + weights_of(footprint, 1),
                     model_weight_bytes(gpt2) + tied / 2);
    footprint = collect(*state, MODEL "g,0,0,a,gpt2,,embed\ng,0,0,a,gpt2,0-5,\n"
                                      "g,0,1,b,gpt2,6-11,\ng,0,2,a,gpt2,,lm_head\n");
    assert_int_equal(weights_of(footprint, 0) + weights_of(footprint, 1), model_weight_bytes(gpt2));
    footprint = collect(*state, MODEL "g,0,0,a,gpt2,,\ng,1,0,a,gpt2,,\n"); /* two replicas */
    assert_int_equal(weights_of(footprint, 0), 2 * model_weight_bytes(gpt2));
}

static void services_share_a_device_and_take_turns(void **state)
{
    const struct footprint *footprint =
        collect(*state, MODEL "t,0,0,a,tinyllama-1.1b,,\ng,0,0,a,gpt2,,\n");
    const struct footprint_load loads[2] = { load_of(64, 1), load_of(1024, 1) };
    struct footprint_device both = footprint_of_device(footprint, 0, loads);
    struct footprint_bytes one = footprint_measure(footprint, &footprint->parts[0], loads);
    struct footprint_bytes other = footprint_measure(footprint, &footprint->parts[1], loads);

    assert_int_equal(footprint->part_count, 2);
    assert_int_equal(both.of.weight_bytes, one.weight_bytes + other.weight_bytes);
    assert_int_equal(both.of.kv_bytes, one.kv_bytes + other.kv_bytes);
    assert_true(other.activation_bytes > one.activation_bytes);
    assert_int_equal(both.of.activation_bytes, other.activation_bytes);
}

static void a_device_needs_what_its_fullest_epoch_needs(void **state)
{
    const struct footprint *footprint =
        collect(*state, HEAD "model,epoch,from_s\ng,0,0,a,gpt2-4l,0,\ng,0,0,b,gpt2-4l,3,5\n"
                             "h,0,0,a,gpt2,3,5\ng,0,0,a,gpt2-4l,7,9\n");
    const struct footprint_load loads[2] = { load_of(16, 1), load_of(16, 1) };
    struct footprint_device a = footprint_of_device(footprint, 0, loads);

    assert_int_equal(a.epoch, 1);
    assert_int_equal(a.of.weight_bytes, model_weight_bytes(footprint->plan->services[1].model));
    assert_int_equal(footprint_of_device(footprint, 1, loads).epoch, 1);
}

static void phases_and_copies_are_alternatives_of_each_other(void **state)
{
    const struct footprint *footprint =
        collect(*state, HEAD "model,layers,block,phase,copy\n"
                             "g,0,0,a,gpt2,,,prefill,0\n"
                             "g,0,0,b,gpt2,,embed,decode,0\ng,0,0,b,gpt2,0-11,,decode,0\n"
                             "g,0,0,c,gpt2,0-11,,decode,1\ng,0,0,c,gpt2,,embed,decode,1\n"
                             "g,0,1,b,gpt2,,lm_head,decode,0\n");
    const struct model *gpt2 = footprint->plan->services[0].model;

    assert_int_equal(weights_of(footprint, 0), model_weight_bytes(gpt2));
    assert_int_equal(weights_of(footprint, 1), model_weight_bytes(gpt2));
    assert_int_equal(weights_of(footprint, 2), model_weight_bytes(gpt2) + model_tied_bytes(gpt2) -
                                                   model_block_weight_bytes(gpt2, BLOCK_LM_HEAD));
}

static void max_batch_of_rows_takes_the_place_of_the_sequences(void **state)
{
    const struct footprint *footprint = collect(*state, HEAD "model,max_batch\ng,0,0,a,gpt2,3\n");
    struct footprint_load load = load_of(32, 8);

    assert_int_equal(footprint_of_device(footprint, 0, &load).of.kv_bytes,
                     3 * 32 * 12 * (int64_t)(2 * 768 * 4));
}

/* ---- black boxes ---- */

static void an_executable_holds_what_its_profile_says(void **state)
{
    struct scratch *scratch = *state;
    struct cost_set *costs = arena_alloc(scratch->arena, sizeof *costs);
    const char *folder = arena_printf(scratch->arena, "%s/t", scratch->folder);
    const struct footprint *footprint;
    struct footprint_load load = load_of(1, 1);
    struct footprint_device a;

    (void)scratch_write(scratch, "t/stages.csv",
                        "executable,stage,latency_s,batch,weight_bytes,activation_bytes\n"
                        "x,0,1,1,100,10\nx,1,1,1,200,30\nx,0,1,4,100,40\nx,1,1,4,200,50\n"
                        "x,0,1,8,100,400\nx,1,1,8,200,500\n");
    assert_true(cost_set_load(scratch->arena, &folder, 1, costs, scratch_err(scratch)));
    footprint = collect_on(scratch, BOX "s,0,0,a,x,0-1\n",
                           cluster_of(scratch, "device,type,memory_bytes,reserved_bytes\n"
                                               "a,t,360,7\n"),
                           costs);
    assert_non_null(footprint);
    a = footprint_of_device(footprint, 0, &load);
    assert_int_equal(a.of.weight_bytes, 300);
    assert_int_equal(a.of.activation_bytes, 30);
    assert_int_equal(a.free_bytes, 360 - 337);
    load.sequences = 2; /* a pass of two takes the size of four */
    a = footprint_of_device(footprint, 0, &load);
    assert_int_equal(a.of.activation_bytes, 50);
    assert_int_equal(a.missing_bytes, 0);
    load.sequences = 5;
    assert_int_equal(footprint_of_device(footprint, 0, &load).missing_bytes, 807 - 360);
    load.sequences = 9; /* never profiled */
    assert_int_equal(footprint_of_device(footprint, 0, &load).need_bytes, INT64_MAX);
    assert_int_equal(footprint_largest(footprint, 0, -1, FOOTPRINT_SEQUENCES, 100, &load), 4);
    assert_false(footprint_grows(footprint, 0, -1, FOOTPRINT_CONTEXT));
}

/* ---- how far it reaches ---- */

static bool fits(const struct footprint *footprint, const struct footprint_load *loads)
{
    return footprint_of_device(footprint, 0, loads).missing_bytes == 0;
}

/* Halving must find what trying one after the other finds, and one more must not fit. */
static void the_largest_is_what_trying_them_all_finds(void **state)
{
    struct scratch *scratch = *state;
    struct rng stream = rng_stream(7, RNG_TEST, 0);
    int found_inside = 0;

    for (int i = 0; i < 60; i++) {
        int64_t memory_bytes = 540000000 + (int64_t)(rng_next(&stream) % 150000000);
        int32_t block_tokens = 1 + (int32_t)(rng_next(&stream) % 40);
        int64_t step_tokens = rng_next(&stream) % 2 ? 1 + (int64_t)(rng_next(&stream) % 300) : 0;
        const struct footprint *footprint = collect_on(
            scratch,
            MODEL "g,0,0,a,gpt2-4l,,\nh,0,0,a,gpt2-4l,0-3,\nh,0,0,a,gpt2-4l,,embed\n"
                  "h,0,0,b,gpt2-4l,,lm_head\n",
            cluster_of(scratch,
                       arena_printf(scratch->arena, "device,type,memory_bytes\na,t,%lld\nb,t,\n",
                                    (long long)memory_bytes)),
            NULL);
        struct footprint_load loads[2] = { { 1 + (int64_t)(rng_next(&stream) % 1024), 1,
                                             step_tokens, block_tokens },
                                           { 200, 1 + (int64_t)(rng_next(&stream) % 4), 0, 16 } };
        struct footprint_load tried[2] = { loads[0], loads[1] };
        int64_t context, sequences, last = 0;

        assert_non_null(footprint);
        context = footprint_largest(footprint, 0, 0, FOOTPRINT_CONTEXT, 1024, loads);
        for (int64_t c = 1; c <= 1024; c++) {
            tried[0].context_tokens = c;
            last = fits(footprint, tried) ? c : last;
        }
        assert_int_equal(context, last);
        if (context > 0 && context < 1024) {
            tried[0].context_tokens = context;
            assert_true(fits(footprint, tried));
            tried[0].context_tokens = context + 1;
            assert_false(fits(footprint, tried));
            found_inside++;
        }
        tried[0] = loads[0];
        sequences = footprint_largest(footprint, 0, -1, FOOTPRINT_SEQUENCES, 300, loads);
        last = 0;
        for (int64_t s = 1; s <= 300; s++) {
            tried[0].sequences = tried[1].sequences = s;
            last = fits(footprint, tried) ? s : last;
        }
        assert_int_equal(sequences, last);
        found_inside += sequences > 0 && sequences < 300;
    }
    assert_true(found_inside > 40);
}

static void nothing_limits_a_device_of_unknown_memory(void **state)
{
    const struct footprint *footprint = collect(*state, MODEL "g,0,0,a,gpt2,,\n");
    struct footprint_load load = load_of(1, 1);

    assert_int_equal(footprint_largest(footprint, 0, -1, FOOTPRINT_CONTEXT, 1024, &load), 1024);
    assert_true(footprint_grows(footprint, 0, 0, FOOTPRINT_CONTEXT));
    assert_false(footprint_grows(footprint, 1, 0, FOOTPRINT_SEQUENCES));
}

static void what_is_too_large_to_count_does_not_fit(void **state)
{
    struct scratch *scratch = *state;
    const struct footprint *footprint =
        collect_on(scratch, MODEL "g,0,0,a,gpt2,,\n",
                   cluster_of(scratch, "device,type,memory_bytes\na,t,1125899906842624\n"), NULL);
    struct footprint_load load = load_of(1024, FOOTPRINT_MAX_SEQUENCES);

    assert_non_null(footprint);
    assert_true(footprint_of_device(footprint, 0, &load).missing_bytes == 0);
    load.block_tokens = INT32_MAX; /* a block of each takes 2^31 tokens */
    assert_int_equal(footprint_kv_bytes(INT64_MAX / 2, &load), INT64_MAX);
    assert_true(footprint_of_device(footprint, 0, &load).missing_bytes > 0);
}

/* ---- rows that do not tile a model ---- */

static void every_hole_and_overlap_is_found_with_its_place(void **state)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        { PARTS "g,0,0,a,gpt2-4l,,embed,\ng,0,0,a,gpt2-4l,0-3,layer,\n",
          "p.csv:2:2: replica is '0': block lm_head of model 'gpt2-4l' is placed nowhere in this "
          "replica of 'g'" },
        { PARTS "g,0,0,a,gpt2-4l,,all,\ng,0,0,b,gpt2-4l,2,ffn,\n",
          "p.csv:3:6: layers is '2': layer 2, block ffn_up is placed twice in replica 0 of 'g', "
          "first in line 2" },
        { PARTS "g,0,0,a,gpt2-4l,0-3,layer,\ng,0,0,a,gpt2-4l,,embed,\n"
                "g,0,0,b,gpt2-4l,,lm_head,0/3\ng,0,0,c,gpt2-4l,,lm_head,2/3\n",
          "p.csv:2:2: replica is '0': block lm_head: part 1/3 of model 'gpt2-4l' is placed nowhere "
          "in this replica of 'g'" },
        { PARTS "g,0,0,a,gpt2-4l,,embed,\ng,0,0,a,gpt2-4l,,lm_head,\n"
                "g,0,0,a,gpt2-4l,0-3,proj,\ng,0,0,a,gpt2-4l,0-3,ffn,\n"
                "g,0,0,b,gpt2-4l,0-3,attn,0-5/12\ng,0,0,c,gpt2-4l,0-3,attn,5-11/12\n",
          "p.csv:7:8: parts is '5-11/12': layer 0, block attn: parts 5-11/12 of this row and parts "
          "0-5/12 of line 6 overlap in replica 0 of 'g'" },
        { PARTS "g,0,0,a,gpt2-4l,,embed,\ng,0,0,a,gpt2-4l,,lm_head,\n"
                "g,0,0,a,gpt2-4l,0-3,proj,\ng,0,0,a,gpt2-4l,0-3,ffn,\n"
                "g,0,0,b,gpt2-4l,0-3,attn,0-4/12\ng,0,0,c,gpt2-4l,0-2,attn,5-11/12\n"
                "g,0,0,c,gpt2-4l,3,attn,3/4\n",
          "p.csv:2:2: replica is '0': layer 3, block attn: parts 5-8/12 of model 'gpt2-4l' are "
          "placed nowhere in this replica of 'g'" },
        { PARTS "g,0,0,a,gpt2-4l,0-3,attn,0/2\ng,0,0,a,gpt2-4l,0-3,layer,1/2\n",
          "p.csv:2:2: replica is '0': block embed of model 'gpt2-4l' is placed nowhere in this "
          "replica of 'g'" },
        { PARTS "t,0,0,a,tinyllama-1.1b,0-21,attn,0/8\n",
          "p.csv:2:8: parts is '0/8': the 4 KV heads of model 'tinyllama-1.1b' do not divide into "
          "8 "
          "parts" },
        { PARTS "g,0,0,a,gpt2-4l,,all,0/2\n",
          "p.csv:2:8: parts is '0/2': block embed of model 'gpt2-4l' is not divided" },
        { PARTS "g,0,0,a,gpt2-4l,0-4,layer,\n",
          "p.csv:2:6: layers is '0-4': model 'gpt2-4l' has layers 0 to 3" },
        { HEAD "model,phase\ng,0,0,a,gpt2-4l,prefill\n",
          "p.csv:2:2: replica is '0': this replica of 'g' has no stage at all, phase decode" },
        { HEAD "model,layers,block,phase\ng,0,0,a,gpt2-4l,,embed,\ng,0,0,a,gpt2-4l,0-3,layer,\n"
               "g,0,0,a,gpt2-4l,,lm_head,decode\n",
          "p.csv:2:2: replica is '0': block lm_head of model 'gpt2-4l' is placed nowhere in this "
          "replica of 'g', phase prefill" },
        { HEAD "model,layers,block,phase\ng,0,0,a,gpt2-4l,,all,\ng,0,0,a,gpt2-4l,3,attn,decode\n",
          "p.csv:3:6: layers is '3': layer 3, block attn is placed twice in replica 0 of 'g', "
          "phase "
          "decode, first in line 2" },
        { HEAD "model,layers,block,copy\ng,0,0,a,gpt2-4l,,all,\ng,0,0,b,gpt2-4l,0-3,layer,2\n",
          "p.csv:3:2: replica is '0': block embed of model 'gpt2-4l' is placed nowhere in this "
          "replica of 'g', copy 2" },
    };
    struct scratch *scratch = *state;
    const struct cluster *cluster = cluster_of(scratch, "device,type\na,t\nb,t\nc,t\n");

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        scratch->err = (struct err)ERR_INIT;
        assert_null(collect_on(scratch, cases[i].text, cluster, NULL));
        assert_string_equal(scratch_message(scratch), cases[i].message);
    }
}

static void a_black_box_needs_its_profile(void **state)
{
    struct scratch *scratch = *state;
    const struct cluster *cluster = cluster_of(scratch, "device,type\na,box\n");

    assert_null(collect_on(scratch, BOX "s,0,0,a,one,\n", cluster, NULL));
    assert_string_equal(scratch_message(scratch),
                        "p.csv:2:5: executable is 'one': --costs is missing: stages.csv says what "
                        "it holds");
    scratch->err = (struct err)ERR_INIT;
    assert_non_null(collect_on(scratch, BOX "s,0,0,a,one,\n", cluster, box_costs(scratch)));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        TEST(a_pipeline_holds_its_layers_and_their_caches),
        TEST(steps_of_chunks_need_less_than_whole_prompts),
        TEST(an_encoder_keeps_nothing_and_computes_all_at_once),
        TEST(slices_count_in_exact_proportion),
        TEST(norms_that_no_row_names_are_with_the_block_behind_them),
        TEST(a_tied_matrix_is_once_on_a_device_that_has_both_ends),
        TEST(services_share_a_device_and_take_turns),
        TEST(a_device_needs_what_its_fullest_epoch_needs),
        TEST(phases_and_copies_are_alternatives_of_each_other),
        TEST(max_batch_of_rows_takes_the_place_of_the_sequences),
        TEST(an_executable_holds_what_its_profile_says),
        TEST(the_largest_is_what_trying_them_all_finds),
        TEST(nothing_limits_a_device_of_unknown_memory),
        TEST(what_is_too_large_to_count_does_not_fit),
        TEST(every_hole_and_overlap_is_found_with_its_place),
        TEST(a_black_box_needs_its_profile),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
