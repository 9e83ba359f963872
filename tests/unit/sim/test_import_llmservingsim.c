/* test_import_llmservingsim.c - profiles become a cost table that loads and answers, traces become
 * a workload with prefix blocks, and files are told apart by what is in them. */
#include "tests/unit/sim/import_run.h"

#include "lib/format/cost.h"
#include "lib/format/prefix_blocks.h"
#include "sim/import/llmservingsim.h"

#define META                                                                                       \
    "key,value,unit,note\nmodel,org/GPT2-4l,,\ndevice,Some  GPU (2),,\ndtype,fp16,,\n"             \
    "tensor_parallel,1,devices,\nlayers,4,,\nhidden,768,,\nengine,vLLM,,\nmax_num_seqs,64,,\n"     \
    "max_num_batched_tokens,512,,\nblock_size,4,,\nkv_blocks,99,blocks,measured\n"                 \
    "device_memory,1.5,GB,\nlink_bandwidth,16,GB/s,\nskew,,,empty\n"
#define DENSE                                                                                      \
    "layer,tokens,time_us\nqkv_proj,1,2.5\nqkv_proj,8,10\nlayernorm,1,0.25\nact_fn,1,1\n"          \
    "embedding,4,0.000001\n"
#define SEQUENCES "layer,sequences,time_us\nlm_head,1,30\nlm_head,4,45.5\nsampler,4,7\n"
#define ATTENTION                                                                                  \
    "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n16,0,0,0,5\n0,0,1,16,3\n0,0,4,16,4\n"

static bool import_all(struct scratch *scratch, const char *const *files, int count,
                       const struct llmservingsim_settings *settings)
{
    const char **paths = arena_array(scratch->arena, (size_t)count, sizeof *paths);

    for (int i = 0; i < count; i++)
        paths[i] = files[i];
    run = (struct import_job){
        .arena = scratch->arena, .importer = "llmservingsim", .files = paths, .file_count = count
    };
    return llmservingsim_import(&run, settings, scratch_err(scratch));
}

/* The files of the test, with names that say nothing. */
static const char *folder(struct scratch *scratch)
{
    scratch_write(scratch, "in/a.csv", META);
    scratch_write(scratch, "in/b.csv", DENSE);
    scratch_write(scratch, "in/c.csv", SEQUENCES);
    scratch_write(scratch, "in/d.csv", ATTENTION);
    scratch_write(scratch, "in/measured.csv", "request_id,service,arrival_s,finish_s\n0,a,0,1\n");
    scratch_write(scratch, "in/notes.txt", "nothing\n");
    return arena_printf(scratch->arena, "%s/in", scratch->folder);
}

static int64_t ask(struct scratch *scratch, const struct cost_table *table, struct model_op op)
{
    enum interp_origin origin;
    int64_t time_ps = -1;

    if (!cost_lookup(table, &op, 1, 16, &time_ps, &origin, scratch_err(scratch)))
        fail_msg("%s", scratch->err.text);
    return time_ps;
}

static void profiles_become_a_table_that_answers(void **state)
{
    struct scratch *scratch = *state;
    const struct llmservingsim_settings settings = { 0 };
    const char *files[] = { folder(scratch) };
    const struct cost_mixed mixed = { 12, 12, 64, 0, 0, 2, 16 };
    const struct cost_table *table;
    enum interp_origin origin;
    int64_t time_ps;

    if (!import_all(scratch, files, 1, &settings))
        fail_msg("%s", scratch->err.text);
    table = cost_load_text(scratch->arena, "t", import_table("costs/some-gpu-2/kernels.csv"), NULL,
                           scratch_err(scratch));
    if (!table)
        fail_msg("%s", scratch->err.text);
    assert_string_equal(cost_device_id(table), "Some  GPU (2)");
    assert_int_equal(cost_only_threads(table), 1);
    assert_int_equal(
        ask(scratch, table,
            (struct model_op){ .op = OP_QKV, .m_tokens = 8, .gemm_n = 2304, .gemm_k = 768 }),
        10 * UNITS_PS_PER_US);
    assert_int_equal(
        ask(scratch, table, (struct model_op){ .op = OP_EMBED, .m_tokens = 4, .gemm_n = 768 }), 1);
    assert_int_equal(
        ask(scratch, table,
            (struct model_op){ .op = OP_LMHEAD, .m_tokens = 4, .gemm_n = 50257, .gemm_k = 768 }),
        45500000);
    assert_true(cost_lookup_mixed(table, &mixed, 1, 16, &time_ps, &origin, scratch_err(scratch)));
    assert_int_equal(time_ps, 3333333);
    assert_true(
        cost_lookup_sampler(table, 4, 50257, 1, 16, &time_ps, &origin, scratch_err(scratch)));
    assert_int_equal(time_ps, 7 * UNITS_PS_PER_US);
    assert_string_equal(import_rows("placement.csv"),
                        "service,replica,stage,device,model,layers,block\n"
                        "chat,0,0,gpu0,gpt2-4l-bf16,,all\n");
    assert_string_equal(import_rows("cluster/devices.csv"),
                        "device,type,memory_bytes,threads\ngpu0,some-gpu-2,1500000000,1\n");
    assert_non_null(strstr(import_table("models.csv"), "gpt2-4l-bf16,decoder,4,768,"));
    assert_non_null(strstr(run.report.notes,
                           "as the engine ran: --batch continuous:64:512 --kv-block 4 "
                           "--kv-blocks 99"));
    assert_null(import_table("workload.csv"));
}

static void options_go_before_meta(void **state)
{
    struct scratch *scratch = *state;
    const struct llmservingsim_settings settings = {
        .model = "gpt2-4l", .type = "x", .service = "s", .weight_bits = 32
    };
    const char *files[] = { scratch_write(scratch, "b.csv", DENSE) };

    assert_true(import_all(scratch, files, 1, &settings));
    assert_non_null(import_table("costs/x/kernels.csv"));
    assert_non_null(strstr(import_table("costs/x/kernels.csv"), "qkv,f32,1,1,2304,768"));
    assert_string_equal(
        import_rows("placement.csv"),
        "service,replica,stage,device,model,layers,block\ns,0,0,gpu0,gpt2-4l,,all\n");
    assert_non_null(strstr(run.report.notes, "without a table of attention"));
}

static void norms_of_queries_and_keys_count_with_rotation(void **state)
{
    struct scratch *scratch = *state;
    const struct llmservingsim_settings settings = { .model = "llama-3.2-1b" };
    const char *files[] = { scratch_write(scratch, "b.csv",
                                          "layer,tokens,time_us\nqk_norm,1,2\nrotary_emb,4,10\n"
                                          "rotary_emb,1,3\nqk_norm,4,5\n") };
    const struct cost_table *table;
    struct model_op op = {
        .op = OP_ROPE, .m_tokens = 4, .heads = 32, .kv_heads = 8, .head_dim = 64
    };

    assert_true(import_all(scratch, files, 1, &settings));
    table = cost_load_text(scratch->arena, "t", import_table("costs/gpu/kernels.csv"), NULL,
                           scratch_err(scratch));
    assert_int_equal(ask(scratch, table, op), 15 * UNITS_PS_PER_US);
    files[0] = scratch_write(
        scratch, "b.csv", "layer,tokens,time_us\nqk_norm,1,2\nrotary_emb,4,10\nrotary_emb,1,3\n");
    assert_false(import_all(scratch, files, 1, &settings));
    assert_string_equal(scratch_message(scratch),
                        "b.csv: qk_norm and rotary_emb were not measured at the same tokens");
}

static void a_part_of_a_model_has_its_own_shapes(void **state)
{
    struct scratch *scratch = *state;
    const struct llmservingsim_settings settings = { 0 };
    const char *files[] = { scratch_write(scratch, "m.csv",
                                          "key,value\nmodel,gpt2\ntensor_parallel,4\n"),
                            scratch_write(scratch, "b.csv", DENSE) };

    assert_true(import_all(scratch, files, 2, &settings));
    assert_non_null(strstr(import_table("costs/gpu/kernels.csv"), "qkv,bf16,1,1,576,768"));
    assert_null(import_table("placement.csv"));
}

/* ---- requests ---- */

static void token_ids_become_prefix_blocks(void **state)
{
    struct scratch *scratch = *state;
    const struct llmservingsim_settings settings = { .block_tokens = 2 };
    const char *files[] = { scratch_write(
        scratch, "t.jsonl",
        "{\"arrival_time_ns\": 2000000000, \"input_toks\": 4, \"output_toks\": 1, "
        "\"input_tok_ids\": [1, 2, 3, 4], \"output_tok_ids\": [5]}\n\n"
        "{\"arrival_time_ns\": 500, \"input_toks\": 5, \"output_toks\": 3, "
        "\"input_tok_ids\": [1, 2, 3, 9, 5], \"output_tok_ids\": [6, 7, 8]}\n"
        "{\"arrival_time_ns\": 2000000000, \"input_toks\": 4, \"output_toks\": 9, "
        "\"input_tok_ids\": [3, 4, 1, 2]}\n") };

    if (!import_all(scratch, files, 1, &settings))
        fail_msg("%s", scratch->err.text);
    /* in order of arrival, then of the file */
    assert_string_equal(import_rows("workload.csv"),
                        "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
                        "0,0.0000005,chat,5,3\n1,2,chat,4,1\n2,2,chat,4,9\n");
    assert_string_equal(import_rows("prefix-blocks.csv"),
                        "request_id,block_index,chain_id\n"
                        "0,0,0\n0,1,2\n0,2,3\n0,3,4\n1,0,0\n1,1,1\n2,0,5\n2,1,6\n");
    assert_non_null(strstr(import_table("prefix-blocks.csv"), "# block_tokens: 2\n"));
}

static void tables_of_ours_are_taken_over(void **state)
{
    struct scratch *scratch = *state;
    const struct llmservingsim_settings settings = { 0 };
    const char *files[] = {
        scratch_write(scratch, "w.csv",
                      "request_id,arrival_s,service,prompt_tokens,output_tokens\n3,0,a,40,2\n"),
        scratch_write(scratch, "p.csv", "request_id,block_index,chain_id\n3,0,7\n3,1,8\n")
    };

    assert_true(import_all(scratch, files, 2, &settings));
    assert_string_equal(import_rows("prefix-blocks.csv"),
                        "request_id,block_index,chain_id\n3,0,0\n3,1,1\n");
    assert_true(import_all(scratch, files, 1, &settings));
    assert_null(import_table("prefix-blocks.csv"));
    assert_non_null(strstr(run.report.notes, "1 requests, nothing said of what they share"));
    assert_false(import_all(scratch, files + 1, 1, &settings));
    assert_non_null(strstr(scratch->err.text, "p.csv: its workload is missing"));
}

/* ---- mistakes ---- */

static void mistakes_are_located(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        { "layer,tokens,time_us\nqkv,1,2\n",
          "f.csv:2:1: layer is 'qkv': expected embedding, layernorm, qkv_proj" },
        { "layer,tokens,time_us\nmoe,1,2\n", "f.csv:2:1: layer is 'moe'" },
        { "layer,tokens,time_us\nqkv_proj,0,2\n", "f.csv:2:2: tokens is '0'" },
        { "layer,tokens,time_us\nqkv_proj,1,0\n",
          "f.csv:2:3: time_us is '0': expected microseconds above 0" },
        { "layer,tokens,time_us\nqkv_proj,1,x\n", "f.csv:2:3: time_us is 'x': expected decimal" },
        { "layer,tokens,time_us\nqkv_proj,1,2\nact_fn,1,2\nqkv_proj,1,3\n",
          "f.csv:4: same point as line 2" },
        { "layer,tokens,time_us\nrotary_emb,1,2\n",
          "f.csv:2: model 'gpt2-bf16' has no rotary_emb" },
        { "layer,tokens,time_us\n", "f.csv: no rows" },
        { "layer,sequences,time_us\nqkv_proj,1,2\n", "f.csv:2:1: layer is 'qkv_proj'" },
        { "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n0,0,0,0,5\n",
          "f.csv:2: expected a chunk or decodes" },
        { "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n0,4,1,3,5\n",
          "f.csv:2: expected a chunk or decodes" },
        { "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n1,4,1,-3,5\n",
          "f.csv:2:4: kv_decode is '-3'" },
        { "{\"arrival_time_ns\": 1, \"input_toks\": 0, \"output_toks\": 1}\n",
          "f.csv:1: input_toks: expected a whole number in range" },
        { "{\"arrival_time_ns\": 1, \"output_toks\": 1}\n", "f.csv:1: input_toks: expected" },
        { "{\"arrival_time_ns\": 1, \"input_toks\": 2, \"output_toks\": 1, "
          "\"input_tok_ids\": [1]}\n",
          "f.csv:1: input_tok_ids: expected a list of input_toks whole numbers" },
        { "{\"arrival_time_ns\": 1, \"input_toks\": 1, \"output_toks\": 1, "
          "\"input_tok_ids\": [1], \"output_tok_ids\": 3}\n",
          "f.csv:1: output_tok_ids: expected a list of output_toks whole numbers" },
        { "{\"arrival_time_ns\": 1\n", "f.csv:1" },
        { "key,value\nmodel,x\n", "f.csv: no profile and no requests in it" },
        { "a,b\n1,2\n", "f.csv: neither a profile, meta.csv, workload, prefix blocks nor" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scratch *scratch = *state;
        const struct llmservingsim_settings settings = { .model = "gpt2" };
        const char *files[] = { scratch_write(scratch, "f.csv", cases[i].text) };

        assert_false(import_all(scratch, files, 1, &settings));
        if (strncmp(scratch_message(scratch), cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("case %zu: '%s' does not begin with '%s'", i, scratch_message(scratch),
                     cases[i].error);
    }
}

static void a_model_that_does_not_match_is_said(void **state)
{
    static const struct {
        const char *meta, *error;
    } cases[] = {
        { "key,value\nmodel,org/nothing\n",
          "m.csv:2: model is 'org/nothing': not in the catalogue" },
        { "key,value\nmodel,gpt2\nlayers,13\n", "m.csv:3: layers is '13': model 'gpt2' has 12" },
        { "key,value\nmodel,gpt2\ndtype,int3\n", "m.csv:3: dtype is 'int3': say how many bits" },
        { "key,value\nheads,x\n", "m.csv:2:2: value is 'x'" },
        { "key,value,unit\ndevice_memory,24,MB\n", "m.csv:2:3: unit is 'MB': expected GB" },
        { "key,value\ndtype,bf16\n", "--model is missing: which model was profiled" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scratch *scratch = *state;
        const struct llmservingsim_settings settings = { 0 };
        const char *files[] = { scratch_write(scratch, "m.csv", cases[i].meta),
                                scratch_write(scratch, "b.csv", DENSE) };

        assert_false(import_all(scratch, files, 2, &settings));
        if (strncmp(scratch_message(scratch), cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("case %zu: '%s' does not begin with '%s'", i, scratch_message(scratch),
                     cases[i].error);
    }
}

static void two_tables_of_a_kind_are_too_many(void **state)
{
    struct scratch *scratch = *state;
    const struct llmservingsim_settings settings = { .model = "gpt2" };
    const char *files[] = { scratch_write(scratch, "a.csv", DENSE),
                            scratch_write(scratch, "b.csv", DENSE) };

    assert_false(import_all(scratch, files, 2, &settings));
    assert_non_null(strstr(scratch->err.text, "b.csv: the same kind of table as"));
    files[0] = "-";
    assert_false(import_all(scratch, files, 1, &settings));
    assert_false(import_all(scratch, files, 0, &settings));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(profiles_become_a_table_that_answers),
        scratch_test(options_go_before_meta),
        scratch_test(norms_of_queries_and_keys_count_with_rotation),
        scratch_test(a_part_of_a_model_has_its_own_shapes),
        scratch_test(token_ids_become_prefix_blocks),
        scratch_test(tables_of_ours_are_taken_over),
        scratch_test(mistakes_are_located),
        scratch_test(a_model_that_does_not_match_is_said),
        scratch_test(two_tables_of_a_kind_are_too_many),
    };

    return cmocka_run_group_tests_name("import_llmservingsim", tests, NULL, NULL);
}
