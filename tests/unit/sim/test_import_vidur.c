/* test_import_vidur.c - Vidur's compute profiles as a cost table. */
#include "tests/unit/sim/import_run.h"

#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "sim/import/vidur.h"

#define MS_PS(ms) ((int64_t)((ms)*1e9 + 0.5))

#define MLP                                                                                        \
    ",time_stats.emb.min,time_stats.emb.mean,time_stats.input_layernorm.mean,"                     \
    "time_stats.post_attention_layernorm.mean,time_stats.attn_pre_proj.mean,"                      \
    "time_stats.attn_pre_proj.median,time_stats.attn_pre_proj.std,time_stats.unknown.mean,n_head," \
    "n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,"                        \
    "num_tensor_parallel_workers\n"
#define MLP_ROWS                                                                                   \
    "0,0.01,0.02,0.1,0.3,1.5,1.25,0.1,9,12,12,768,3072,50432,False,1,1\n"                          \
    "1,0.01,0.02,0.1,0.3,4,,,9,12,12,768,3072,50432,False,8,1\n"                                   \
    "2,0.01,0.02,0.1,0.3,7,7,,9,12,12,768,3072,50432,False,8,2\n"
#define ATTENTION                                                                                  \
    "time_stats.attn_prefill.mean,time_stats.attn_decode.mean,time_stats.attn_kv_cache_save.mean," \
    "block_size,num_tensor_parallel_workers,batch_size,prefill_chunk_size,kv_cache_size,"          \
    "is_prefill,attention_backend,n_q_head\n"
#define ATTENTION_ROWS                                                                             \
    "0.5,,0.01,16,1,1,64,0,True,flash,12\n0.9,,0.03,16,1,1,64,128,True,flash,12\n"                 \
    ",0.2,0.005,16,1,4,0,31,False,flash,12\n,0.3,0.005,32,1,4,0,31,False,flash,12\n"               \
    ",0.7,0.005,32,1,4,0,31,False,other,12\n0.5,,0.01,16,1,2,64,0,True,flash,12\n"

static bool import_both(struct scratch *scratch, const char *mlp, const char *attention,
                        const struct vidur_settings *settings)
{
    const char **files = arena_array(scratch->arena, 2, sizeof *files);
    int count = 0;

    if (mlp)
        files[count++] = scratch_write(scratch, "mlp.csv", mlp);
    if (attention)
        files[count++] = scratch_write(scratch, "attention.csv", attention);
    run = (struct import_job){
        .arena = scratch->arena, .importer = "vidur", .files = files, .file_count = count
    };
    return vidur_import(&run, settings, scratch_err(scratch));
}

static const struct cost_table *table_of(struct scratch *scratch)
{
    const struct cost_table *table = cost_load_text(
        scratch->arena, "t", import_table("costs/gpu/kernels.csv"), NULL, scratch_err(scratch));

    if (!table)
        fail_msg("%s", scratch->err.text);
    return table;
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
    const struct vidur_settings settings = { .model = "gpt2", .block_size = 16 };
    const struct cost_table *table;
    struct model_op op = { .op = OP_ATTN,
                           .phase = OP_DECODE,
                           .batch = 4,
                           .m_tokens = 4,
                           .heads = 12,
                           .kv_heads = 12,
                           .head_dim = 64,
                           .kv_len = 32 };

    if (!import_both(scratch, MLP MLP_ROWS, ATTENTION ATTENTION_ROWS, &settings))
        fail_msg("%s", scratch->err.text);
    table = table_of(scratch);
    assert_int_equal(ask(scratch, table, op), MS_PS(0.2));
    op.phase = OP_PREFILL;
    op.batch = 1;
    op.m_tokens = op.kv_len = 64;
    assert_int_equal(ask(scratch, table, op), MS_PS(0.5));
    op.kv_len = 64 + 128;
    assert_int_equal(ask(scratch, table, op), MS_PS(0.9));
    op = (struct model_op){ .op = OP_QKV, .m_tokens = 8, .gemm_n = 2304, .gemm_k = 768 };
    assert_int_equal(ask(scratch, table, op), MS_PS(4));
    /* both norms of a layer in the mean, and the final norm as one of them */
    op = (struct model_op){ .op = OP_NORM, .m_tokens = 8, .gemm_n = 768 };
    assert_int_equal(ask(scratch, table, op), MS_PS(0.2));
    op.op = OP_FNORM;
    assert_int_equal(ask(scratch, table, op), MS_PS(0.1));
    op = (struct model_op){
        .op = OP_KVAPPEND, .m_tokens = 64, .heads = 12, .kv_heads = 12, .head_dim = 64
    };
    assert_int_equal(ask(scratch, table, op), MS_PS(0.02)); /* of two */
    assert_int_equal(run.report.read, 9);
    assert_int_equal(run.report.kept, 5);
    assert_non_null(strstr(run.report.notes, "not in the profile, to be added before a run: "));
    assert_non_null(strstr(run.report.notes, "lmhead"));
    assert_non_null(strstr(import_table("models.csv"), "gpt2-bf16,decoder,12,768,"));
}

static void median_and_minimum_are_kept(void **state)
{
    struct scratch *scratch = *state;
    const struct vidur_settings settings = { .model = "gpt2" };
    const struct cost_table *table;
    bool has_median = false, has_min = false;

    assert_true(import_both(scratch, MLP MLP_ROWS, NULL, &settings));
    table = table_of(scratch);
    for (int i = 0; i < cost_row_count(table); i++) {
        const struct cost_row *row = cost_row_at(table, i);

        has_median = has_median ||
                     (row->op == OP_QKV && row->m_tokens == 1 && row->median_ps == MS_PS(1.25));
        has_min = has_min || (row->op == OP_EMBED && row->min_ps == MS_PS(0.01));
    }
    assert_true(has_median);
    assert_true(has_min);
}

static void rows_of_other_backends_and_parts_are_left_out(void **state)
{
    struct scratch *scratch = *state;
    struct vidur_settings settings = { .model = "gpt2", .backend = "other" };
    struct model_op op = { .op = OP_ATTN,
                           .phase = OP_DECODE,
                           .batch = 4,
                           .m_tokens = 4,
                           .heads = 12,
                           .kv_heads = 12,
                           .head_dim = 64,
                           .kv_len = 32 };

    assert_true(import_both(scratch, NULL, ATTENTION ATTENTION_ROWS, &settings));
    assert_int_equal(ask(scratch, table_of(scratch), op), MS_PS(0.7));
    settings.backend = NULL; /* all of them: their mean */
    assert_true(import_both(scratch, NULL, ATTENTION ATTENTION_ROWS, &settings));
    assert_int_equal(ask(scratch, table_of(scratch), op), MS_PS(0.4));
    settings.tensor_parallel = 2;
    assert_true(import_both(scratch, MLP MLP_ROWS, NULL, &settings));
    op = (struct model_op){ .op = OP_QKV, .m_tokens = 8, .gemm_n = 1152, .gemm_k = 768 };
    assert_int_equal(ask(scratch, table_of(scratch), op), MS_PS(7));
    settings.tensor_parallel = 3;
    assert_false(import_both(scratch, MLP MLP_ROWS, NULL, &settings));
    assert_non_null(strstr(scratch->err.text, "mlp.csv: no row is left"));
}

static void mistakes_are_located(void **state)
{
    static const struct {
        const char *mlp, *attention, *error;
    } cases[] = {
        { "a,b\n1,2\n", NULL, "mlp.csv: neither mlp.csv (num_tokens) nor attention.csv" },
        { "", NULL, "mlp.csv: no header row" },
        { MLP "0,0.01,0.02,0.1,0.3,1.5,1.25,0.1,9,12,12,512,3072,50432,False,1,1\n", NULL,
          "mlp.csv:2:12: n_embd is '512': model 'gpt2-bf16' has 768" },
        { MLP "0,0.01,x,0.1,0.3,1.5,1.25,0.1,9,12,12,768,3072,50432,False,1,1\n", NULL,
          "mlp.csv:2:3: time_stats.emb.mean is 'x': expected decimal milliseconds" },
        { MLP "0,0.01,-1,0.1,0.3,1.5,1.25,0.1,9,12,12,768,3072,50432,False,1,1\n", NULL,
          "mlp.csv:2:3: time_stats.emb.mean is '-1': expected milliseconds above 0" },
        { MLP "0,0.01,1,0.1,0.3,1.5,1.25,0.1,9,12,12,768,3072,50432,False,0,1\n", NULL,
          "mlp.csv:2:16: num_tokens is '0'" },
        { NULL, ATTENTION "0.5,,0.01,16,1,1,64,0,maybe,flash,12\n",
          "attention.csv:2:9: is_prefill is 'maybe'" },
        { NULL, ATTENTION "0.5,,0.01,16,1,1,0,0,True,flash,12\n",
          "attention.csv:2:7: prefill_chunk_size is '0'" },
        { NULL, ATTENTION "0.5,,0.01,16,1,1,5,2147483647,True,flash,12\n",
          "attention.csv:2: kv_cache_size is too large" },
        { NULL, "kv_cache_size,batch_size,prefill_chunk_size\n1,1,1\n",
          "attention.csv: missing column 'is_prefill'" },
        { NULL, "is_prefill,kv_cache_size,prefill_chunk_size\nTrue,1,1\n",
          "attention.csv: missing column 'batch_size'" },
        { NULL, NULL, "a FILE is missing" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct scratch *scratch = *state;
        const struct vidur_settings settings = { .model = "gpt2" };

        assert_false(import_both(scratch, cases[i].mlp, cases[i].attention, &settings));
        if (strncmp(scratch_message(scratch), cases[i].error, strlen(cases[i].error)) != 0)
            fail_msg("case %zu: '%s' does not begin with '%s'", i, scratch_message(scratch),
                     cases[i].error);
    }
    assert_false(
        import_both(*state, MLP MLP_ROWS, NULL, &(struct vidur_settings){ .model = "nothing" }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(profiles_become_a_table_that_answers),
        scratch_test(median_and_minimum_are_kept),
        scratch_test(rows_of_other_backends_and_parts_are_left_out),
        scratch_test(mistakes_are_located),
    };

    return cmocka_run_group_tests_name("import_vidur", tests, NULL, NULL);
}
