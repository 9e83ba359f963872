/* bench_llm.c - what an iteration of continuous batching costs, one by one and many at once.
 *
 *     bench_llm [REQUESTS [REPEATS [DATA]]]     (default 100000, 3, ../shared/data)
 *
 * `llm OUTPUT LOAD` is one instance of at most 8 requests, with Poisson arrivals and exponential
 * outputs of a mean length, at a share of what it can serve: ns an iteration with many at once
 * against one by one. `llm stages OUTPUT LOAD` is the same instance as a pipeline of two stages,
 * against one device one by one: ns an iteration. `llm plain 12` is a pipeline of twelve devices
 * behind links without batches: ns a token in closed form against events. Where the folder DATA is
 * there: `llm rtx4090`, a measured run of 300 requests, and `llm azure`, the first 600 s of Azure's
 * conversations on four such devices, each in ms to simulate against ms to load. Fails when one by
 * one and many at once differ. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/rng.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "sim/cmd/scenario.h"
#include "sim/engine/engine.h"
#include "sim/import/llmservingsim.h"
#include "sim/llm/llm.h"
#include "tests/bench/bench.h"
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SEQS 8
#define RTX "llm/rtx4090_llama3.1-8b_tp1"
#define AZURE "workloads/azure_llm_2023_conv_first600s.csv"

static void give_up(const struct err *err)
{
    fprintf(stderr, "bench_llm: %s\n", err->text);
    exit(2);
}

static const char *write_file(struct arena *arena, const char *folder, const char *name,
                              const char *text)
{
    const char *path = arena_printf(arena, "%s/%s", folder, name);
    struct err err = ERR_INIT;
    char *parent = arena_strdup(arena, path);
    struct out *out;

    *strrchr(parent, '/') = '\0';
    if (!out_make_folder(parent, &err))
        give_up(&err);
    out = out_open(arena, path, &err);
    if (!out)
        give_up(&err);
    out_text(out, text);
    if (!out_commit(out, &err))
        give_up(&err);
    return path;
}

/* ---- one instance ---- */

/* gpt2 in 32 bits: 20 ms a step and 0.5 ms a sequence, more with longer caches. */
#define BOTH(chunk, decodes, kv, ns)                                                               \
    "attn_mixed,1,,0,0,12,12,64," #chunk ",0," #decodes "," #kv "," #ns "\n"
static const char kernels[] =
    "kernel,threads,m_tokens,gemm_n,gemm_k,heads,kv_heads,head_dim,chunk_tokens,chunk_kv,decodes,"
    "decode_kv,mean_ns\n"
    "embed,1,1,768,0,0,0,0,,,,,1000\nnorm,1,1,768,0,0,0,0,,,,,1000\n"
    "qkv,1,1,2304,768,0,0,0,,,,,400000\nqkv,1,64,2304,768,0,0,0,,,,,800000\n"
    "oproj,1,1,768,768,0,0,0,,,,,200000\noproj,1,64,768,768,0,0,0,,,,,400000\n"
    "ffn_up,1,1,3072,768,0,0,0,,,,,500000\nffn_up,1,64,3072,768,0,0,0,,,,,900000\n"
    "act,1,1,3072,0,0,0,0,,,,,1000\nffn_down,1,1,768,3072,0,0,0,,,,,500000\n"
    "ffn_down,1,64,768,3072,0,0,0,,,,,900000\nfnorm,1,1,768,0,0,0,0,,,,,1000\n"
    "lmhead,1,1,50257,768,0,0,0,,,,,900000\nlmhead,1,8,50257,768,0,0,0,,,,,4900000\n"
    "attn_mixed,1,,0,0,12,12,64,16,0,0,0,20000\nattn_mixed,1,,0,0,12,12,64,64,0,0,0,90000\n" BOTH(
        16, 1, 16, 25000) BOTH(16, 1, 4096, 110000) BOTH(16, 8, 16, 40000) BOTH(16, 8, 4096, 720000)
        BOTH(64, 1, 16, 95000) BOTH(64, 1, 4096, 180000) BOTH(64, 8, 16, 110000)
            BOTH(64, 8, 4096, 790000) "attn_mixed,1,,0,0,12,12,64,0,0,1,16,5000\nattn_mixed,1,,0,0,"
                                      "12,12,64,0,0,8,16,20000\n"
                                      "attn_mixed,1,,0,0,12,12,64,0,0,1,128,9000\nattn_mixed,1,,0,"
                                      "0,12,12,64,0,0,8,128,50000\n"
                                      "attn_mixed,1,,0,0,12,12,64,0,0,1,512,20000\nattn_mixed,1,,0,"
                                      "0,12,12,64,0,0,8,512,150000\n"
                                      "attn_mixed,1,,0,0,12,12,64,0,0,1,4096,90000\nattn_mixed,1,,"
                                      "0,0,12,12,64,0,0,8,4096,700000\n";

/* Of a full batch, about: what the load is a share of. */
#define FULL_TOKENS_PER_S (8 / 0.0257)

struct arrivals {
    size_t count, next;
    struct llm_arrival *list;
};

static size_t take(void *arg, struct llm_arrival *list, size_t room)
{
    struct arrivals *arrivals = arg;
    size_t count = 0;

    while (count < room && arrivals->next < arrivals->count)
        list[count++] = arrivals->list[arrivals->next++];
    return count;
}

static struct arrivals draw(struct arena *arena, size_t count, double mean_output, double load)
{
    struct arrivals arrivals = { count, 0, arena_array(arena, count, sizeof *arrivals.list) };
    struct rng gaps = rng_stream(1, RNG_ARRIVALS, 0), lengths = rng_stream(1, RNG_OUTPUT_TOKENS, 0);
    double mean_gap_ps = 1e12 * mean_output / (load * FULL_TOKENS_PER_S), at_ps = 0;

    for (size_t i = 0; i < count; i++) {
        double output = rng_exponential(&lengths, mean_output);

        at_ps += rng_exponential(&gaps, mean_gap_ps);
        arrivals.list[i] =
            (struct llm_arrival){ .index = i,
                                  .request_id = (int64_t)i,
                                  .arrival_ps = (int64_t)at_ps,
                                  .prompt_tokens = 8 + (int32_t)rng_below(&lengths, 17),
                                  .output_tokens = 1 + (int32_t)(output < 8000 ? output : 8000),
                                  .session = -1,
                                  .client = -1 };
    }
    return arrivals;
}

#define HEAD "service,replica,stage,device,model,layers,block\n"
static const char one_stage[] = HEAD "s,0,0,d,m,,all\n";
static const char two_stages[] =
    HEAD "s,0,0,d,m,,embed\ns,0,0,d,m,0-5,layer\ns,0,1,e,m,6-11,layer\ns,0,1,e,m,,lm_head\n";

static const struct plan *plan_one(struct arena *arena, const char *folder, const char *rows,
                                   struct cost_set *costs)
{
    struct err err = ERR_INIT;
    const char *table;
    struct model_catalogue *catalogue;
    const struct placement *placement;
    const struct plan *plan = NULL;

    write_file(arena, folder, "costs/t/kernels.csv", kernels);
    table = arena_printf(arena, "%s/costs", folder);
    catalogue = model_catalogue_load(
        arena,
        write_file(arena, folder, "models.csv",
                   "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,"
                   "positions,tied_lm_head,weight_bits,kv_bits,max_context\n"
                   "m,decoder,12,768,12,12,64,3072,50257,gelu,layer,learned,yes,32,32,16384\n"),
        &err);
    placement = placement_load(arena, write_file(arena, folder, "p.csv", rows), &err);
    if (catalogue && placement && cost_set_load(arena, &table, 1, costs, &err))
        plan = plan_build(arena, placement, NULL, costs, catalogue, &err);
    if (!plan)
        give_up(&err);
    return plan;
}

struct timed {
    double ns; /* an iteration */
    int64_t iterations, sequences, end_ps;
};

static struct timed time_one(const char *folder, const char *rows, size_t count, double mean_output,
                             double load, bool is_stepped)
{
    struct arena *arena = arena_create();
    struct cost_set costs;
    const struct plan *plan = plan_one(arena, folder, rows, &costs);
    struct arrivals arrivals = draw(arena, count, mean_output, load);
    struct llm_input input = { .plan = plan, .costs = &costs };
    struct llm_options options = {
        .max_seqs = MAX_SEQS, .block_tokens = 16, .has_chunks = true, .is_stepped = is_stepped
    };
    struct llm_source source = { .arg = &arrivals, .take = take };
    struct llm_result result;
    struct err err = ERR_INIT;
    double began = bench_thread_ns();
    struct timed timed;

    if (!llm_run(arena, &input, &options, &source, NULL, &result, &err))
        give_up(&err);
    timed.ns = bench_thread_ns() - began;
    timed.iterations = llm_counts(&result).steps;
    timed.sequences = llm_counts(&result).sequences;
    timed.end_ps = result.end_ps;
    timed.ns /= (double)timed.iterations;
    arena_destroy(arena);
    return timed;
}

static bool bench_one(struct arena *arena, const char *folder, size_t requests, int repeats)
{
    static const struct {
        double mean_output, load;
    } cases[] = { { 32, 0.9 },  { 128, 0.1 },  { 128, 0.5 }, { 128, 0.9 },
                  { 128, 1.5 }, { 1000, 0.5 }, { 1000, 0.9 } };
    bool is_same = true;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double mean_output = cases[i].mean_output, load = cases[i].load;
        const char *figure = arena_printf(arena, "llm %g %g", mean_output, load);
        /* as many tokens in each case */
        size_t count = (size_t)((double)requests * 128 / mean_output) + 1;

        for (int repeat = 1; repeat <= repeats; repeat++) {
            struct timed stepped = time_one(folder, one_stage, count, mean_output, load, true);
            struct timed fast = time_one(folder, one_stage, count, mean_output, load, false);

            is_same =
                is_same && stepped.end_ps == fast.end_ps && stepped.iterations == fast.iterations;
            bench_row(figure, repeat, fast.ns, stepped.ns, "ns");
            if (repeat == 1)
                printf("# %s: %" PRId64 " iterations of %.2f requests in the mean\n", figure,
                       stepped.iterations, (double)stepped.sequences / (double)stepped.iterations);
        }
    }
    return is_same;
}

static void bench_stages(struct arena *arena, const char *folder, size_t requests, int repeats)
{
    static const double outputs[] = { 128, 1000 };

    for (size_t i = 0; i < sizeof outputs / sizeof outputs[0]; i++) {
        const char *figure = arena_printf(arena, "llm stages %g 0.9", outputs[i]);
        size_t count = (size_t)((double)requests * 128 / outputs[i]) + 1;

        for (int repeat = 1; repeat <= repeats; repeat++) {
            struct timed one = time_one(folder, one_stage, count, outputs[i], 0.9, true);
            struct timed two = time_one(folder, two_stages, count, outputs[i], 0.9, true);

            bench_row(figure, repeat, two.ns, one.ns, "ns");
            if (repeat == 1)
                printf("# %s: %" PRId64 " iterations of %.2f requests in the mean\n", figure,
                       two.iterations, (double)two.sequences / (double)two.iterations);
        }
    }
}

/* ---- without batches ---- */

static const char *twelve_stages(struct arena *arena)
{
    const char *text = HEAD "s,0,0,d0,m,,embed\n";

    for (int s = 0; s < 12; s++)
        text = arena_printf(arena, "%ss,0,%d,d%d,m,%d,layer\n", text, s, s, s);
    return arena_printf(arena, "%ss,0,11,d11,m,,lm_head\n", text);
}

static void write_plain(struct arena *arena, const char *folder, size_t requests)
{
    struct arrivals arrivals = draw(arena, requests, 128, 0.9);
    const char *devices = "device,type\n";
    FILE *file = fopen(write_file(arena, folder, "w.csv", ""), "w");

    for (int s = 0; s < 12; s++)
        devices = arena_printf(arena, "%sd%d,t\n", devices, s);
    write_file(arena, folder, "cluster/devices.csv", devices);
    write_file(arena, folder, "cluster/links.csv",
               "medium,kind,node,bits_per_s,latency_s,per_message_s\n"
               "lan,switch,*,1e9,0.0001,0.00002\n");
    if (!file)
        give_up(&(struct err){ .text = "w.csv cannot be written" });
    fprintf(file, "request_id,arrival_s,service,prompt_tokens,output_tokens\n");
    for (size_t i = 0; i < requests; i++)
        fprintf(file, "%zu,%.6f,s,%d,%d\n", i, (double)arrivals.list[i].arrival_ps / 1e12,
                (int)arrivals.list[i].prompt_tokens, (int)arrivals.list[i].output_tokens);
    if (fclose(file) != 0)
        give_up(&(struct err){ .text = "w.csv cannot be written" });
}

/* Tokens, and how long one took. */
static struct timed time_plain(const struct scenario_files *files, enum serve_fast fast_path)
{
    struct arena *arena = arena_create();
    struct serve_options options = { .fast_path = fast_path,
                                     .until_ps = ENGINE_NEVER,
                                     .max_requests = SIZE_MAX };
    struct timed timed = { 0 };
    struct scenario scenario;
    struct serve_result result;
    struct err err = ERR_INIT;

    if (!scenario_load(arena, files, &scenario, &err))
        give_up(&err);
    timed.ns = -bench_thread_ns();
    if (!serve_run(arena, &scenario.input, &options, NULL, &result, &err))
        give_up(&err);
    timed.ns += bench_thread_ns();
    for (size_t i = 0; i < scenario.input.workload->count; i++)
        timed.iterations += scenario.input.workload->output_tokens[i];
    timed.ns /= (double)timed.iterations;
    timed.end_ps = result.end_ps;
    arena_destroy(arena);
    return timed;
}

static bool bench_plain(struct arena *arena, const char *folder, size_t requests, int repeats)
{
    struct scenario_files files = { .cost_count = 1 };
    bool is_same = true;

    write_plain(arena, folder, requests / 10 + 1);
    files.costs[0] = arena_printf(arena, "%s/costs", folder);
    files.models = arena_printf(arena, "%s/models.csv", folder);
    files.placement = write_file(arena, folder, "twelve.csv", twelve_stages(arena));
    files.cluster = arena_printf(arena, "%s/cluster", folder);
    files.workload = arena_printf(arena, "%s/w.csv", folder);
    for (int repeat = 1; repeat <= repeats; repeat++) {
        struct timed events = time_plain(&files, SERVE_FAST_OFF);
        struct timed closed = time_plain(&files, SERVE_FAST_ON);

        is_same = is_same && events.end_ps == closed.end_ps;
        bench_row("llm plain 12", repeat, closed.ns, events.ns, "ns");
    }
    return is_same;
}

/* ---- measured tables ---- */

static void import(struct arena *arena, const char *data, const char *folder)
{
    const char *from = arena_printf(arena, "%s/%s", data, RTX);
    struct import_job job = { .arena = arena,
                              .importer = "llmservingsim",
                              .files = &from,
                              .file_count = 1,
                              .output = folder };
    struct llmservingsim_settings settings = { 0 };
    struct err err = ERR_INIT;

    if (!llmservingsim_import(&job, &settings, &err) ||
        !out_commit_all(job.outs, job.out_count, &err))
        give_up(&err);
}

static void time_run(const char *figure, const struct scenario_files *files,
                     struct serve_options options, int repeats)
{
    for (int repeat = 1; repeat <= repeats; repeat++) {
        struct arena *arena = arena_create();
        struct scenario scenario;
        struct serve_result result;
        struct err err = ERR_INIT;
        double began = bench_thread_ns(), loaded, ended;

        if (!scenario_load(arena, files, &scenario, &err))
            give_up(&err);
        loaded = bench_thread_ns();
        if (!serve_run(arena, &scenario.input, &options, NULL, &result, &err))
            give_up(&err);
        ended = bench_thread_ns();
        bench_row(figure, repeat, (ended - loaded) / 1e6, (loaded - began) / 1e6, "ms");
        if (repeat == 1)
            printf("# %s: %" PRId64 " iterations\n", figure, llm_counts(result.continuous).steps);
        arena_destroy(arena);
    }
}

static struct serve_options options_of(int32_t max_seqs, int32_t budget, int32_t blocks)
{
    return (struct serve_options){
        .batch = { .kind = BATCH_CONTINUOUS, .max_seqs = max_seqs, .token_budget = budget },
        .kv = { .block_tokens = 16,
                .block_count = blocks,
                .has_chunks = true,
                .has_prefix_cache = true },
        .fast_path = SERVE_FAST_ON,
        .until_ps = ENGINE_NEVER,
        .max_requests = SIZE_MAX
    };
}

static void bench_measured(struct arena *arena, const char *data, const char *scratch, int repeats)
{
    struct scenario_files files = { .cost_count = 1 };
    struct serve_options options = options_of(256, 2048, 2588);
    /* beside the table of the first part */
    const char *folder = arena_printf(arena, "%s/rtx4090", scratch);

    import(arena, data, folder);
    files.costs[0] = arena_printf(arena, "%s/costs", folder);
    files.models = arena_printf(arena, "%s/models.csv", folder);
    files.placement = arena_printf(arena, "%s/placement.csv", folder);
    files.cluster = arena_printf(arena, "%s/cluster", folder);
    files.workload = arena_printf(arena, "%s/workload.csv", folder);
    files.prefix_blocks = arena_printf(arena, "%s/prefix-blocks.csv", folder);
    time_run("llm rtx4090", &files, options, repeats);
    files.placement = write_file(arena, folder, "four.csv",
                                 "service,replica,stage,device,model,layers,block\n"
                                 "conv,0,0,g0,llama-3.1-8b-bf16,,all\n"
                                 "conv,1,0,g1,llama-3.1-8b-bf16,,all\n"
                                 "conv,2,0,g2,llama-3.1-8b-bf16,,all\n"
                                 "conv,3,0,g3,llama-3.1-8b-bf16,,all\n");
    files.cluster = NULL;
    files.workload = arena_printf(arena, "%s/%s", data, AZURE);
    files.prefix_blocks = NULL;
    time_run("llm azure", &files, options_of(128, 512, 2588), repeats);
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

int main(int argc, char **argv)
{
    size_t requests = argc > 1 ? (size_t)strtoull(argv[1], NULL, 10) : 100000;
    int repeats = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 3;
    const char *data = argc > 3 ? argv[3] : "../shared/data";
    char folder[] = "/tmp/orrery-bench-llm-XXXXXX";
    struct arena *arena;
    bool is_same;

    if (requests < 1 || repeats < 1 || argc > 4 || !mkdtemp(folder)) {
        fprintf(stderr, "usage: bench_llm [REQUESTS [REPEATS [DATA]]]\n");
        return 2;
    }
    arena = arena_create();
    bench_head();
    is_same = bench_one(arena, folder, requests, repeats);
    bench_stages(arena, folder, requests, repeats);
    is_same = bench_plain(arena, folder, requests, repeats) && is_same;
    if (access(arena_printf(arena, "%s/%s", data, RTX), R_OK) == 0)
        bench_measured(arena, data, folder, repeats);
    arena_destroy(arena);
    (void)nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    if (!is_same)
        fprintf(stderr, "bench_llm: many at once are not what one by one are\n");
    return is_same ? 0 : 1;
}
