/* llm_fixture.h - a decoder whose steps take one millisecond a token and 10 ps, by a table of a
 * batching engine: the fixture of tests of continuous batches. */
#ifndef ORRERY_TESTS_UNIT_SIM_LLM_FIXTURE_H
#define ORRERY_TESTS_UNIT_SIM_LLM_FIXTURE_H

#include "tests/unit/sim/fixture.h"

#include "sim/llm/llm.h"

#define W "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
#define P "service,replica,stage,device,model,layers,block\n"
#define EACH_PS 10 /* of a step, beside its tokens */
#define LLM_MODELS                                                                                 \
    "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,"        \
    "tied_lm_head,weight_bits,kv_bits,max_context\n"                                               \
    "tiny,decoder,1,8,1,1,8,16,32,gelu,layer,learned,no,32,32,512\n"                               \
    "duo,decoder,2,8,1,1,8,16,32,gelu,layer,learned,no,32,32,512\n"                                \
    "quad,decoder,4,8,1,1,8,16,32,gelu,layer,learned,no,32,32,512\n"                               \
    "reader,encoder,1,8,1,1,8,16,32,gelu,layer,learned,no,32,32,512\n"

/* An operator that takes 1 ps whatever its size. */
static inline const char *llm_op(const char *kernel, int gemm_n, int gemm_k)
{
    return arena_printf(fixture.arena,
                        "%s,1,1,%d,%d,0,0,0,,,,,0.001\n%s,1,64,%d,%d,0,0,0,,,,,0.001\n", kernel,
                        gemm_n, gemm_k, kernel, gemm_n, gemm_k);
}

/* Attention of a step: a millisecond a token, whatever is in the cache. */
static inline const char *llm_attn(int chunk, int decodes)
{
    const char *text = "";

    for (int kv = 0; kv <= (decodes > 0 ? 100 : 0); kv += 100)
        text = arena_printf(fixture.arena, "%sattn_mixed,1,,0,0,1,1,8,%d,0,%d,%d,%d000000\n", text,
                            chunk, decodes, kv, chunk + decodes);
    return text;
}

static inline const char *llm_kernels(void)
{
    const char *text =
        "kernel,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim,chunk_tokens,chunk_kv,"
        "decodes,decode_kv,mean_ns\n";
    static const struct {
        const char *kernel;
        int gemm_n, gemm_k;
    } ops[] = { { "embed", 8, 0 },   { "norm", 8, 0 },    { "qkv", 24, 8 },      { "oproj", 8, 8 },
                { "act", 16, 0 },    { "ffn_up", 16, 8 }, { "ffn_down", 8, 16 }, { "fnorm", 8, 0 },
                { "lmhead", 32, 8 }, { "lmhead", 8, 8 } };

    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        text = arena_printf(fixture.arena, "%s%s", text,
                            llm_op(ops[i].kernel, ops[i].gemm_n, ops[i].gemm_k));
    return arena_printf(fixture.arena, "%s%s%s%s%s%s%s%s%s", text, llm_attn(0, 1), llm_attn(0, 8),
                        llm_attn(2, 0), llm_attn(64, 0), llm_attn(2, 1), llm_attn(2, 8),
                        llm_attn(64, 1), llm_attn(64, 8));
}

/* Files of one replica on device a, and options of at most max_seqs requests. */
static inline void llm_setup_files(int32_t max_seqs, int32_t budget, int32_t block_count)
{
    fixture_write("costs/t/kernels.csv", llm_kernels());
    fixture_write("models.csv", LLM_MODELS);
    fixture.files.models = fixture_path("models.csv");
    fixture_write("p.csv", P "s,0,0,a,tiny,,all\n");
    fixture.options.batch = (struct batch_options){ .kind = BATCH_CONTINUOUS,
                                                    .max_seqs = max_seqs,
                                                    .token_budget = budget };
    fixture.options.kv = (struct serve_kv){
        .block_tokens = 4, .block_count = block_count, .has_chunks = true, .has_prefix_cache = true
    };
    fixture.options.fast_path = SERVE_FAST_ON;
}

/* Without spans, so that many steps may be one event. */
static inline bool llm_run_files(void)
{
    struct serve_observer observer;

    if (!fixture_load())
        return false;
    fixture.metrics.has_all = fixture.options.has_parts = true;
    fixture.meter = metrics_begin(fixture.arena, fixture.scenario.input.plan, &fixture.metrics);
    observer = metrics_observer(fixture.meter);
    return serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                     &fixture.result, &fixture.err);
}

static inline void llm_must_run(void)
{
    if (!llm_run_files())
        fail_msg("%s", fixture.err.text);
}

#endif
