/* test_model.c - the catalogue against published parameter counts, blocks against hand-made lists
 * of operators, and files that are no model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/model.h"
#include "tests/unit/scratch.h"

#define HEADER                                                                                     \
    "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,tied_lm_head,"     \
    "weight_bits,kv_bits"

static struct model_catalogue *catalogue_of(struct scratch *scratch)
{
    struct model_catalogue *catalogue =
        model_catalogue_load(scratch->arena, NULL, scratch_err(scratch));

    assert_non_null(catalogue);
    return catalogue;
}

static const struct model *get(struct scratch *scratch, const char *name)
{
    const struct model *model = model_find(catalogue_of(scratch), name, &scratch->err);

    assert_non_null(model);
    return model;
}

/* ---- weights ---- */

static void weights_agree_with_published_parameter_counts(void **state)
{
    static const struct {
        const char *name;
        int64_t parameters;
    } published[] = {
        { "gpt2", 124439808 },
        { "gpt2-medium", 354823168 },
        { "tinyllama-1.1b", 1100048384 },
        { "llama-2-7b", INT64_C(6738415616) },
        { "llama-3.2-1b", 1235814400 },
        { "llama-3.1-8b", INT64_C(8030261248) },
        { "bert-base", 109482240 },
        { "bert-large", 335141888 },
        { "vit-base", 86567656 },
        { "vit-large", 304326632 },
        { "deit-base", 86567656 },
        { "deit-small", 22050664 },
        { "deit-tiny", 5717416 },
    };

    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++)
        assert_int_equal(model_weight_bytes(get(*state, published[i].name)),
                         4 * published[i].parameters);
    /* without its 27648 biases of qkv; 494032768 are published */
    assert_int_equal(model_weight_bytes(get(*state, "qwen2.5-0.5b")),
                     4 * (INT64_C(494032768) - 27648));
    /* with a second norm a layer, which phi-2's parallel blocks share, and without its lm_head bias
     * (51200): 2779683840 are published */
    assert_int_equal(model_weight_bytes(get(*state, "phi-2")),
                     4 * (INT64_C(2779683840) + 32 * 2 * 2560 - 51200));
    /* 16 x 16 patches where it has 14 x 14: 632045800 are published for 1000 classes */
    assert_int_equal(model_weight_bytes(get(*state, "vit-huge")),
                     4 * (INT64_C(632045800) + 1280 * (768 - 588)));
}

static void weight_bits_scale_the_bytes(void **state)
{
    struct model model = *get(*state, "gpt2");
    int64_t full = model_weight_bytes(&model);

    model.weight_bits = 16;
    assert_int_equal(model_weight_bytes(&model), full / 2);
}

static void a_tied_matrix_counts_once_in_the_whole(void **state)
{
    const struct model *gpt2 = get(*state, "gpt2"), *llama = get(*state, "llama-2-7b");

    assert_int_equal(model_tied_bytes(gpt2), 4 * 50257 * 768);
    assert_int_equal(model_tied_bytes(llama), 0);
    assert_int_equal(model_block_weight_bytes(gpt2, BLOCK_EMBED), 4 * (50257 + 1024) * 768);
    assert_int_equal(model_block_weight_bytes(gpt2, BLOCK_LM_HEAD), 4 * (50257 * 768 + 2 * 768));
    assert_int_equal(model_block_weight_bytes(gpt2, BLOCK_ATTN), 4 * 1771776);
    assert_int_equal(model_block_weight_bytes(gpt2, BLOCK_CONN), 4 * 4 * 768);
    assert_int_equal(model_block_weight_bytes(llama, BLOCK_CONN), 4 * 2 * 4096);
}

static void cache_and_activations_have_their_bytes(void **state)
{
    const struct model *tiny = get(*state, "tinyllama-1.1b");
    struct model half = *tiny;

    half.kv_bits = 16;
    assert_int_equal(model_kv_bytes_per_token(tiny), 2 * 4 * 64 * 4);
    assert_int_equal(model_kv_bytes_per_token(&half), 2 * 4 * 64 * 2);
    assert_int_equal(model_kv_bytes_per_token(get(*state, "bert-base")), 0);
    assert_int_equal(model_activation_bytes(tiny, 3), 3 * 2048 * 4);
}

/* ---- operators ---- */

static const char *ops_text(struct scratch *scratch, const char *name, enum model_block block,
                            int32_t new_tokens, int32_t past_tokens)
{
    struct model_op ops[MODEL_MAX_OPS];
    int count = model_block_ops(get(scratch, name), block, new_tokens, past_tokens, ops);
    struct out *out = out_open_memory(scratch->arena);

    assert_true(count >= 1 && count <= MODEL_MAX_OPS);
    for (int i = 0; i < count; i++)
        out_printf(out, "%s%s/%s m%d n%d k%d h%d.%d.%d kv%d x%d", i > 0 ? "; " : "",
                   op_name(ops[i].op), op_phase_name(ops[i].phase), ops[i].m_tokens, ops[i].gemm_n,
                   ops[i].gemm_k, ops[i].heads, ops[i].kv_heads, ops[i].head_dim, ops[i].kv_len,
                   ops[i].count);
    return scratch_text(out);
}

static void blocks_of_gpt2_are_its_operators(void **state)
{
    assert_string_equal(ops_text(*state, "gpt2", BLOCK_EMBED, 5, 0),
                        "embed/any m5 n768 k0 h0.0.0 kv0 x1");
    assert_string_equal(ops_text(*state, "gpt2", BLOCK_ATTN, 5, 0),
                        "qkv/any m5 n2304 k768 h0.0.0 kv0 x1; "
                        "kvappend/any m5 n0 k0 h12.12.64 kv0 x1; "
                        "attn/prefill m5 n0 k0 h12.12.64 kv5 x1");
    assert_string_equal(ops_text(*state, "gpt2", BLOCK_PROJ, 5, 0),
                        "oproj/any m5 n768 k768 h0.0.0 kv0 x1");
    assert_string_equal(
        ops_text(*state, "gpt2", BLOCK_FFN_UP, 5, 0),
        "ffn_up/any m5 n3072 k768 h0.0.0 kv0 x1; act/any m5 n3072 k0 h0.0.0 kv0 x1");
    assert_string_equal(ops_text(*state, "gpt2", BLOCK_FFN_DOWN, 5, 0),
                        "ffn_down/any m5 n768 k3072 h0.0.0 kv0 x1");
    assert_string_equal(ops_text(*state, "gpt2", BLOCK_CONN, 5, 0),
                        "norm/any m5 n768 k0 h0.0.0 kv0 x2; add/any m5 n768 k0 h0.0.0 kv0 x2");
    assert_string_equal(
        ops_text(*state, "gpt2", BLOCK_LM_HEAD, 5, 0),
        "fnorm/any m1 n768 k0 h0.0.0 kv0 x1; lmhead/any m1 n50257 k768 h0.0.0 kv0 x1");
}

static void llamas_have_rope_gates_and_fewer_kv_heads(void **state)
{
    assert_string_equal(ops_text(*state, "tinyllama-1.1b", BLOCK_ATTN, 1, 9),
                        "qkv/any m1 n2560 k2048 h0.0.0 kv0 x1; "
                        "rope/any m1 n0 k0 h32.4.64 kv0 x1; "
                        "kvappend/any m1 n0 k0 h32.4.64 kv0 x1; "
                        "attn/decode m1 n0 k0 h32.4.64 kv10 x1");
    assert_string_equal(
        ops_text(*state, "tinyllama-1.1b", BLOCK_FFN_UP, 1, 9),
        "ffn_up/any m1 n11264 k2048 h0.0.0 kv0 x1; act/any m1 n5632 k1 h0.0.0 kv0 x1");
    assert_string_equal(ops_text(*state, "tinyllama-1.1b", BLOCK_CONN, 1, 9),
                        "norm/any m1 n2048 k1 h0.0.0 kv0 x2; add/any m1 n2048 k0 h0.0.0 kv0 x2");
}

static void a_batch_calls_each_operator_once_on_all_rows(void **state)
{
    const struct model *gpt2 = get(*state, "gpt2");
    struct model_op ops[MODEL_MAX_OPS], single[MODEL_MAX_OPS];

    assert_int_equal(model_batch_ops(gpt2, BLOCK_ATTN, 4, 1, 99, ops), 3);
    assert_int_equal(ops[0].m_tokens, 4); /* qkv */
    assert_int_equal(ops[2].op, OP_ATTN);
    assert_int_equal(ops[2].phase, OP_DECODE);
    assert_int_equal(ops[2].m_tokens, 4);
    assert_int_equal(ops[2].kv_len, 100);
    assert_int_equal(ops[2].batch, 4);
    assert_int_equal(model_batch_ops(gpt2, BLOCK_ATTN, 3, 5, 7, ops), 3);
    assert_int_equal(ops[2].phase, OP_PREFILL);
    assert_int_equal(ops[2].m_tokens, 15);
    assert_int_equal(ops[2].kv_len, 12);
    assert_int_equal(model_batch_ops(gpt2, BLOCK_LM_HEAD, 3, 5, 7, ops), 2);
    assert_int_equal(ops[0].m_tokens, 3); /* the last row of each */
    assert_int_equal(ops[1].m_tokens, 3);
    for (int block = 0; block < BLOCK_COUNT; block++) {
        int count = model_batch_ops(gpt2, (enum model_block)block, 1, 6, 2, ops);

        assert_int_equal(model_block_ops(gpt2, (enum model_block)block, 6, 2, single), count);
        for (int i = 0; i < count; i++)
            assert_memory_equal(&ops[i], &single[i], sizeof ops[i]);
    }
}

/* "op n x k h heads.kv_heads" of one token behind nine. */
static const char *slice_text(struct scratch *scratch, const char *name, int32_t parts)
{
    const struct model *slice =
        model_slice(scratch->arena, get(scratch, name), parts, scratch_err(scratch));
    struct out *out = out_open_memory(scratch->arena);

    if (!slice)
        return scratch->err.text;
    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct model_op ops[MODEL_MAX_OPS];
        int count = model_block_ops(slice, (enum model_block)block, 1, 9, ops);

        for (int i = 0; i < count; i++)
            out_printf(out, "%s %dx%d h%d.%d; ", op_name(ops[i].op), ops[i].gemm_n, ops[i].gemm_k,
                       ops[i].heads, ops[i].kv_heads);
    }
    return scratch_text(out);
}

static void slices_have_the_shapes_of_a_tensor_parallel_device(void **state)
{
    struct scratch *scratch = *state;

    assert_string_equal(slice_text(scratch, "gpt2", 4),
                        "embed 768x0 h0.0; qkv 576x768 h0.0; kvappend 0x0 h3.3; attn 0x0 h3.3; "
                        "oproj 768x192 h0.0; ffn_up 768x768 h0.0; act 768x0 h0.0; "
                        "ffn_down 768x768 h0.0; norm 768x0 h0.0; add 768x0 h0.0; "
                        "fnorm 768x0 h0.0; lmhead 12565x768 h0.0; "); /* 50257 / 4, rounded up */
    assert_string_equal(slice_text(scratch, "tinyllama-1.1b", 2),
                        "embed 2048x0 h0.0; qkv 1280x2048 h0.0; rope 0x0 h16.2; kvappend 0x0 "
                        "h16.2; attn 0x0 h16.2; oproj 2048x1024 h0.0; ffn_up 5632x2048 h0.0; act "
                        "2816x1 h0.0; ffn_down 2048x2816 h0.0; norm 2048x1 h0.0; add 2048x0 h0.0; "
                        "fnorm 2048x1 h0.0; lmhead 16000x2048 h0.0; ");
    assert_string_equal(slice_text(scratch, "gpt2", 1), slice_text(scratch, "gpt2", 1));
    assert_string_equal(slice_text(scratch, "gpt2", 5),
                        "gpt2: its 12 kv_heads do not divide into 5 equal slices");
    assert_string_equal(slice_text(scratch, "tinyllama-1.1b", 8), /* no replicas of KV heads */
                        "tinyllama-1.1b: its 4 kv_heads do not divide into 8 equal slices");
    assert_string_equal(slice_text(scratch, "gpt2", 0), "gpt2: 0 slices: expected at least 1");
    struct model odd = *get(scratch, "gpt2");
    odd.ffn_hidden = 3073;
    assert_null(model_slice(scratch->arena, &odd, 2, scratch_err(scratch)));
    assert_string_equal(scratch->err.text,
                        "gpt2: its 3073 ffn_hidden do not divide into 2 equal slices");
}

static void layers_add_up_to_the_model(void **state)
{
    static const char *const names[] = { "gpt2", "tinyllama-1.1b", "bert-base", "vit-base" };
    struct scratch *scratch = *state;

    for (int n = 0; n < 4; n++) {
        const struct model *model = get(scratch, names[n]);
        struct out *out = out_open_memory(scratch->arena);
        const char *line;
        long long sum_bytes = 0, bytes;
        int rows = 0;

        model_write_layers(out, model);
        line = strstr(scratch_text(out), "flops_per_token\n") + strlen("flops_per_token\n");
        for (; *line; line = strchr(line, '\n') + 1, rows++) {
            const char *field = line;

            for (int comma = 0; comma < 4; comma++)
                field = strchr(field, ',') + 1;
            bytes = strtoll(field, NULL, 10);
            sum_bytes += bytes;
        }
        assert_int_equal(rows, model->layers + 2);
        assert_int_equal(sum_bytes, model_weight_bytes(model));
    }
    struct out *out = out_open_memory(scratch->arena);
    model_write_layers(out, get(scratch, "gpt2"));
    assert_non_null(strstr(scratch_text(out), "# orrery: layers 1\nmodel,layer,kind,params,"));
    assert_non_null(strstr(scratch_text(out), "\ngpt2,,embed,39383808,157535232,0,4,3072,0\n"));
    assert_non_null(
        strstr(scratch_text(out), "\ngpt2,11,layer,7087872,28351488,6144,3072,3072,14155776\n"));
    assert_non_null(
        strstr(scratch_text(out), "\ngpt2,,lm_head,1536,6144,0,3072,201028,77194752\n"));
}

static void one_token_without_a_past_is_a_prefill(void **state)
{
    assert_non_null(strstr(ops_text(*state, "gpt2", BLOCK_ATTN, 1, 0), "attn/prefill m1"));
    assert_non_null(strstr(ops_text(*state, "gpt2", BLOCK_ATTN, 1, 1), "attn/decode m1"));
    assert_non_null(strstr(ops_text(*state, "gpt2", BLOCK_ATTN, 8, 16),
                           "attn/prefill m8 n0 k0 h12.12.64 kv24"));
}

static void encoders_pool_and_vision_projects_patches(void **state)
{
    assert_non_null(
        strstr(ops_text(*state, "bert-base", BLOCK_LM_HEAD, 128, 0), "lmhead/any m1 n768 k768 "));
    assert_non_null(strstr(ops_text(*state, "bert-base", BLOCK_ATTN, 128, 0),
                           "attn/prefill m128 n0 k0 h12.12.64 kv128"));
    assert_string_equal(ops_text(*state, "vit-base", BLOCK_EMBED, 197, 0),
                        "embed/any m197 n768 k768 h0.0.0 kv0 x1");
    assert_non_null(
        strstr(ops_text(*state, "vit-base", BLOCK_LM_HEAD, 197, 0), "lmhead/any m1 n1000 k768 "));
}

/* ---- catalogue ---- */

static void the_catalogue_holds_what_the_contract_lists(void **state)
{
    static const char *const names[] = {
        "gpt2",         "gpt2-medium",  "tinyllama-1.1b", "llama-2-7b",
        "llama-3.2-1b", "llama-3.1-8b", "qwen2.5-0.5b",   "phi-2",
        "bert-base",    "bert-large",   "vit-base",       "vit-large",
        "vit-huge",     "deit-base",    "deit-small",     "deit-tiny",
    };
    struct model_catalogue *catalogue = catalogue_of(*state);
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_non_null(model_find(catalogue, names[i], &scratch->err));
    assert_true(model_count(catalogue) >= 16);
    assert_ptr_equal(model_at(catalogue, 0), model_find(catalogue, "gpt2", &scratch->err));
    assert_int_equal(get(scratch, "phi-2")->positions, MODEL_ROPE);
    assert_int_equal(get(scratch, "phi-2")->norm, MODEL_LAYERNORM);
}

static void an_unknown_name_is_answered_with_the_closest(void **state)
{
    struct scratch *scratch = *state;

    assert_null(model_find(catalogue_of(scratch), "gpt-2", scratch_err(scratch)));
    assert_string_equal(scratch->err.text,
                        "model is 'gpt-2': expected a name of the catalogue or the path of a "
                        "config.json; did you mean 'gpt2'?");
    assert_null(model_find(catalogue_of(scratch), "", scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_INPUT);
}

static void a_file_adds_models_and_replaces_names(void **state)
{
    struct scratch *scratch = *state;
    const char *path =
        scratch_write(scratch, "m.csv",
                      HEADER "\n"
                             "gpt2,decoder,2,64,4,4,16,256,100,gelu,layer,true,32,32\n"
                             "mine,decoder,2,64,4,2,16,256,100,swiglu,rms,false,8,16\n");
    int before = model_count(catalogue_of(scratch));
    struct model_catalogue *catalogue =
        model_catalogue_load(scratch->arena, path, scratch_err(scratch));

    assert_non_null(catalogue);
    assert_int_equal(model_count(catalogue), before + 1);
    const struct model *gpt2 = model_find(catalogue, "gpt2", &scratch->err);
    const struct model *mine = model_find(catalogue, "mine", &scratch->err);
    assert_int_equal(gpt2->layers, 2);
    assert_true(gpt2->tied_lm_head);
    assert_int_equal(gpt2->positions, MODEL_LEARNED); /* the default under layer norm */
    assert_int_equal(gpt2->max_context, 0);
    assert_int_equal(mine->positions, MODEL_ROPE); /* and under rms norm */
    assert_int_equal(mine->weight_bits, 8);
    assert_int_equal(mine->kv_bits, 16);
}

static const struct {
    const char *row, *error;
} bad_catalogues[] = {
    { ",decoder,2,64,4,4,16,256,100,gelu,layer,yes,32,32", "2:1: model is '': must not be empty" },
    { "m,decoder,2,64,4,4,16,256,100,gelu,layer,yes,32,32\n"
      "m,decoder,2,64,4,4,16,256,100,gelu,layer,yes,32,32",
      "3:1: model is 'm': this model is there twice" },
    { "m,decodr,2,64,4,4,16,256,100,gelu,layer,yes,32,32",
      "2:2: kind is 'decodr': expected decoder, encoder or vision; did you mean 'decoder'?" },
    { "m,decoder,0,64,4,4,16,256,100,gelu,layer,yes,32,32",
      "2:3: layers is '0': expected a whole number from 1 to 10000" },
    { "m,decoder,2,-1,4,4,16,256,100,gelu,layer,yes,32,32",
      "2:4: hidden is '-1': expected a whole number from 1 to 1000000" },
    { "m,decoder,2,nan,4,4,16,256,100,gelu,layer,yes,32,32",
      "2:4: hidden is 'nan': not a whole number" },
    { "m,decoder,2,64,4,3,16,256,100,gelu,layer,yes,32,32",
      "2:6: kv_heads is '3': expected a divisor of the 4 heads" },
    { "m,decoder,2,64,4000,4000,1000,256,100,gelu,layer,yes,32,32",
      "2:7: head_dim is '1000': expected heads x head_dim of at most 1000000" },
    { "m,decoder,2,64,4,4,16,,100,gelu,layer,yes,32,32",
      "2:8: ffn_hidden is '': must not be empty" },
    { "m,decoder,2,64,4,4,16,256,1e9,gelu,layer,yes,32,32",
      "2:9: vocab is '1e9': not a whole number" },
    { "m,decoder,2,64,4,4,16,256,100,relu,layer,yes,32,32",
      "2:10: ffn is 'relu': expected gelu or swiglu; did you mean 'gelu'?" },
    { "m,decoder,2,64,4,4,16,256,100,gelu,batch,yes,32,32",
      "2:11: norm is 'batch': expected layer or rms" },
    { "m,decoder,2,64,4,4,16,256,100,gelu,layer,1,32,32",
      "2:12: tied_lm_head is '1': expected no, yes, false or true" },
    { "m,decoder,2,64,4,4,16,256,100,gelu,layer,yes,4,32",
      "2:13: weight_bits is '4': expected 32, 16 or 8" },
    { "m,decoder,2,64,4,4,16,256,100,gelu,layer,yes,32,7",
      "2:14: kv_bits is '7': expected 32, 16 or 8" },
    { "m,decoder,2", "2: 3 fields, but the header names 14" },
};

static void bad_catalogues_are_located(void **state)
{
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof bad_catalogues / sizeof bad_catalogues[0]; i++) {
        const char *path = scratch_write(
            scratch, "m.csv", arena_printf(scratch->arena, HEADER "\n%s\n", bad_catalogues[i].row));

        assert_null(model_catalogue_load(scratch->arena, path, scratch_err(scratch)));
        assert_non_null(strstr(scratch_message(scratch), "m.csv:"));
        assert_string_equal(scratch_message(scratch) + 6, bad_catalogues[i].error);
    }
    const char *path = scratch_write(
        scratch, "m.csv",
        HEADER
        ",positions,max_context\nm,decoder,2,64,4,4,16,256,100,gelu,layer,yes,32,32,alibi,\n");
    assert_null(model_catalogue_load(scratch->arena, path, scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch),
                        "m.csv:2:15: positions is 'alibi': expected learned or rope");
    path = scratch_write(
        scratch, "m.csv",
        HEADER ",positions,max_context\nm,decoder,2,64,4,4,16,256,100,gelu,layer,yes,32,32,,0\n");
    assert_null(model_catalogue_load(scratch->arena, path, scratch_err(scratch)));
    assert_non_null(strstr(scratch_message(scratch), "m.csv:2:16: max_context is '0'"));
    assert_null(model_catalogue_load(scratch->arena, "/tmp/nowhere.csv", scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
}

static void what_is_written_is_read_back(void **state)
{
    struct scratch *scratch = *state;
    struct model_catalogue *catalogue = catalogue_of(scratch);
    const struct model *models[64];
    int count = model_count(catalogue);
    struct out *out = out_open_memory(scratch->arena), *again = out_open_memory(scratch->arena);

    for (int i = 0; i < count; i++)
        models[i] = model_at(catalogue, i);
    model_write(out, models, count);
    catalogue = model_catalogue_load(
        scratch->arena, scratch_write(scratch, "m.csv", scratch_text(out)), scratch_err(scratch));
    assert_non_null(catalogue);
    assert_int_equal(model_count(catalogue), count);
    for (int i = 0; i < count; i++)
        models[i] = model_at(catalogue, i);
    model_write(again, models, count);
    assert_string_equal(scratch_text(again), scratch_text(out));
    assert_non_null(strstr(scratch_text(out), "# orrery: models 1\n"));
}

/* ---- config.json ---- */

static const struct model *load_config(struct scratch *scratch, const char *json)
{
    return model_find(catalogue_of(scratch), scratch_write(scratch, "config.json", json),
                      scratch_err(scratch));
}

static const char *shape_of(struct scratch *scratch, const struct model *m)
{
    assert_non_null(m);
    return arena_printf(scratch->arena, "%d/%d %dx%d h%d.%d.%d f%d v%d %s%s%s w%d c%d", m->kind,
                        m->ffn, m->layers, m->hidden, m->heads, m->kv_heads, m->head_dim,
                        m->ffn_hidden, m->vocab, m->norm == MODEL_RMSNORM ? "rms" : "layer",
                        m->positions == MODEL_ROPE ? " rope" : " learned",
                        m->tied_lm_head ? " tied" : "", m->weight_bits, m->max_context);
}

static void known_families_are_mapped(void **state)
{
    static const struct {
        const char *json, *shape;
    } cases[] = {
        { "{\"model_type\":\"gpt2\",\"n_embd\":768,\"n_head\":12,\"n_layer\":12,\"n_inner\":null,"
          "\"n_positions\":1024,\"vocab_size\":50257}",
          "0/0 12x768 h12.12.64 f3072 v50257 layer learned tied w32 c1024" },
        { "{\"model_type\":\"llama\",\"hidden_size\":2048,\"num_attention_heads\":32,"
          "\"num_key_value_heads\":4,\"num_hidden_layers\":22,\"intermediate_size\":5632,"
          "\"max_position_embeddings\":2048,\"vocab_size\":32000,\"torch_dtype\":\"bfloat16\","
          "\"tie_word_embeddings\":false}",
          "0/1 22x2048 h32.4.64 f5632 v32000 rms rope w16 c2048" },
        { "{\"model_type\":\"mistral\",\"hidden_size\":64,\"num_attention_heads\":4,\"head_dim\":"
          "32,"
          "\"num_hidden_layers\":2,\"intermediate_size\":128,\"max_position_embeddings\":99,"
          "\"vocab_size\":100,\"dtype\":\"float16\"}",
          "0/1 2x64 h4.4.32 f128 v100 rms rope w16 c99" },
        { "{\"model_type\":\"qwen2\",\"hidden_size\":896,\"num_attention_heads\":14,"
          "\"num_key_value_heads\":2,\"num_hidden_layers\":24,\"intermediate_size\":4864,"
          "\"max_position_embeddings\":32768,\"vocab_size\":151936,\"torch_dtype\":\"float32\","
          "\"tie_word_embeddings\":true}",
          "0/1 24x896 h14.2.64 f4864 v151936 rms rope tied w32 c32768" },
        { "{\"model_type\":\"phi\",\"hidden_size\":2560,\"num_attention_heads\":32,"
          "\"num_hidden_layers\":32,\"intermediate_size\":10240,\"max_position_embeddings\":2048,"
          "\"vocab_size\":51200}",
          "0/0 32x2560 h32.32.80 f10240 v51200 layer rope w32 c2048" },
        { "{\"model_type\":\"bert\",\"hidden_size\":768,\"num_attention_heads\":12,"
          "\"num_hidden_layers\":12,\"intermediate_size\":3072,\"max_position_embeddings\":512,"
          "\"vocab_size\":30522}",
          "1/0 12x768 h12.12.64 f3072 v30522 layer learned w32 c512" },
        { "{\"model_type\":\"vit\",\"hidden_size\":1280,\"num_attention_heads\":16,"
          "\"num_hidden_layers\":32,\"intermediate_size\":5120,\"patch_size\":14}",
          "2/0 32x1280 h16.16.80 f5120 v1000 layer learned w32 c257" },
        { "{\"model_type\":\"deit\",\"hidden_size\":192,\"num_attention_heads\":3,"
          "\"num_hidden_layers\":12,\"intermediate_size\":768,\"num_labels\":10,"
          "\"image_size\":384}",
          "2/0 12x192 h3.3.64 f768 v10 layer learned w32 c577" },
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(shape_of(*state, load_config(*state, cases[i].json)), cases[i].shape);
}

static void the_same_path_gives_the_same_model(void **state)
{
    struct scratch *scratch = *state;
    struct model_catalogue *catalogue = catalogue_of(scratch);
    const char *path = scratch_write(
        scratch, "config.json",
        "{\"model_type\":\"gpt2\",\"n_embd\":64,\"n_head\":4,\"n_layer\":2,\"n_positions\":9,"
        "\"vocab_size\":10}");
    const struct model *model = model_find(catalogue, path, scratch_err(scratch));

    assert_non_null(model);
    assert_string_equal(model->name, path);
    remove(path);
    assert_ptr_equal(model_find(catalogue, path, &scratch->err), model);
}

#define LLAMA_REST                                                                                 \
    "\"num_hidden_layers\":2,\"intermediate_size\":128,\"max_position_embeddings\":99,"            \
    "\"vocab_size\":100}"

static void bad_configs_are_located(void **state)
{
    static const struct {
        const char *json, *error;
    } cases[] = {
        { "{", "config.json:1:1: not JSON from here on" },
        { "[]", "config.json: missing key 'model_type'" },
        { "{\"model_type\":7}", "config.json: missing key 'model_type'" },
        { "{\"model_type\":\"lama\"}",
          "config.json: model_type is 'lama': expected gpt2, llama, mistral, qwen2, phi, bert, vit "
          "or deit; did you mean 'llama'?" },
        { "{\"model_type\":\"gpt2\",\"n_layer\":1}", "config.json: missing key 'n_embd'" },
        { "{\"model_type\":\"gpt2\",\"n_layer\":null}", "config.json: missing key 'n_layer'" },
        { "{\"model_type\":\"gpt2\",\"n_layer\":0}",
          "config.json: n_layer: expected a whole number from 1 to 10000" },
        { "{\"model_type\":\"gpt2\",\"n_layer\":\"12\"}",
          "config.json: n_layer: expected a whole number from 1 to 10000" },
        { "{\"model_type\":\"gpt2\",\"n_layer\":1.5}",
          "config.json: n_layer: expected a whole number from 1 to 10000" },
        { "{\"model_type\":\"gpt2\",\"n_layer\":1e300}",
          "config.json: n_layer: expected a whole number from 1 to 10000" },
        { "{\"model_type\":\"llama\",\"hidden_size\":66,\"num_attention_heads\":4," LLAMA_REST,
          "config.json: 4 heads do not divide a hidden size of 66: expected a key 'head_dim'" },
        { "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4,"
          "\"num_key_value_heads\":3," LLAMA_REST,
          "config.json: 4 heads are no multiple of 3 key-value heads" },
        { "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4,"
          "\"head_dim\":999999," LLAMA_REST,
          "config.json: head_dim: expected heads x head_dim of at most 1000000" },
        { "{\"model_type\":\"llama\",\"hidden_size\":64,\"num_attention_heads\":4,"
          "\"tie_word_embeddings\":1," LLAMA_REST,
          "config.json: tie_word_embeddings: expected true or false" },
        { "{\"model_type\":\"vit\",\"hidden_size\":64,\"num_attention_heads\":4,"
          "\"num_hidden_layers\":1,\"intermediate_size\":9,\"image_size\":8}",
          "config.json: image_size is 8 and patch_size 16: expected 1 to 4096 patches a side" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_null(load_config(scratch, cases[i].json));
        if (i > 0)
            assert_string_equal(scratch_message(scratch), cases[i].error);
        else
            assert_non_null(strstr(scratch_message(scratch), "not JSON from here on"));
        assert_int_equal(scratch->err.kind, ERR_INPUT);
    }
    assert_null(model_find(catalogue_of(scratch), "nowhere/config.json", scratch_err(scratch)));
    assert_string_equal(scratch->err.text, "nowhere/config.json: No such file or directory");
    assert_null(model_find(catalogue_of(scratch), "nowhere.json", scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(weights_agree_with_published_parameter_counts),
        scratch_test(weight_bits_scale_the_bytes),
        scratch_test(a_tied_matrix_counts_once_in_the_whole),
        scratch_test(cache_and_activations_have_their_bytes),
        scratch_test(blocks_of_gpt2_are_its_operators),
        scratch_test(llamas_have_rope_gates_and_fewer_kv_heads),
        scratch_test(a_batch_calls_each_operator_once_on_all_rows),
        scratch_test(slices_have_the_shapes_of_a_tensor_parallel_device),
        scratch_test(layers_add_up_to_the_model),
        scratch_test(one_token_without_a_past_is_a_prefill),
        scratch_test(encoders_pool_and_vision_projects_patches),
        scratch_test(the_catalogue_holds_what_the_contract_lists),
        scratch_test(an_unknown_name_is_answered_with_the_closest),
        scratch_test(a_file_adds_models_and_replaces_names),
        scratch_test(bad_catalogues_are_located),
        scratch_test(what_is_written_is_read_back),
        scratch_test(known_families_are_mapped),
        scratch_test(the_same_path_gives_the_same_model),
        scratch_test(bad_configs_are_located),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
