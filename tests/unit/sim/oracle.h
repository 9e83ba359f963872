/* oracle.h - figures of many independent runs against what queueing theory says.
 *
 * Every figure is a mean over RUNS runs with seeds of their own, less their first requests. It must
 * lie within the interval of Student's t in which it lies in 99.9 % of all such experiments: seeds
 * are fixed, so that a figure which once passes does so for ever, and of the some fifty figures
 * here one in twenty sets would have failed by bad luck alone. The interval must be small as well,
 * or nothing would have been tested. */
#ifndef ORRERY_TESTS_UNIT_SIM_ORACLE_H
#define ORRERY_TESTS_UNIT_SIM_ORACLE_H

#include "tests/unit/sim/cost_rows.h"
#include "tests/unit/sim/fixture.h"

#include "lib/base/stats.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include <math.h>

enum { RUNS = 20, FIGURES = 8 };
#define T_999 3.8834 /* two-sided 99.9 %, RUNS - 1 degrees of freedom */

#define STAGES "executable,stage,latency_s\n"
#define PLACED "service,replica,stage,device,executable\n"

/* ---- one run ---- */

struct oracle {
    size_t warm_up;                     /* requests that are left out at the beginning */
    int64_t first_ps, last_ps, area_ps; /* of those that count: arrivals, ends; times in system */
    int64_t taken, ok, dropped;
    double latency_s, wait_s; /* sums; wait: before the first start */
    int64_t never_waited;
    int64_t over_ps, over; /* latencies above over_ps */
    double figures[FIGURES][RUNS];
};

static struct oracle oracle;

static inline void oracle_end(void *arg, const struct serve_end *end)
{
    (void)arg;
    if (end->index < oracle.warm_up)
        return;
    if (oracle.taken++ == 0)
        oracle.first_ps = end->arrival_ps;
    oracle.dropped += end->status == TRACE_DROPPED;
    if (end->status != TRACE_OK)
        return;
    oracle.ok++;
    if (end->finish_ps > oracle.last_ps)
        oracle.last_ps = end->finish_ps;
    oracle.latency_s += (double)(end->finish_ps - end->arrival_ps) / 1e12;
    oracle.wait_s += (double)(end->start_ps - end->arrival_ps) / 1e12;
    oracle.never_waited += end->start_ps == end->arrival_ps;
    oracle.over += end->finish_ps - end->arrival_ps > oracle.over_ps;
}

static inline void load_begin(int64_t requests)
{
    struct generate_options *options = &fixture.files.load.options;

    memset(&fixture.files.load, 0, sizeof(fixture.files.load));
    fixture.files.workload = NULL;
    fixture.files.load.arena = fixture.arena;
    options->max_requests = requests;
    if (!generate_parse_service(fixture.arena, "s", options, &fixture.err))
        fail_msg("%s", fixture.err.text);
    oracle.warm_up = (size_t)(requests / 10);
}

static inline void open_load(double rate_per_s, int64_t requests)
{
    load_begin(requests);
    fixture.files.load.options.process = GENERATE_POISSON;
    fixture.files.load.options.rate_per_s = rate_per_s;
    fixture.files.load.texts[LOAD_PROCESS] = "poisson";
}

static inline void closed_load(int64_t clients, const char *think, int64_t requests)
{
    load_begin(requests);
    fixture.files.load.options.clients = clients;
    fixture.files.load.texts[LOAD_THINK] = think;
}

static inline void oracle_run(uint64_t seed)
{
    struct serve_observer observer = { .on_end = oracle_end };
    size_t warm_up = oracle.warm_up;
    int64_t over_ps = oracle.over_ps;
    struct generate_options *options = &fixture.files.load.options;

    memset(&oracle, 0, offsetof(struct oracle, figures));
    oracle.warm_up = warm_up;
    oracle.over_ps = over_ps;
    options->seed = fixture.options.seed = seed;
    fixture.options.keeps_requests = false;
    fixture.err = (struct err)ERR_INIT;
    if (!load_finish(&fixture.files.load, &fixture.err) || !fixture_load() ||
        !serve_run(fixture.arena, &fixture.scenario.input, &fixture.options, &observer,
                   &fixture.result, &fixture.err))
        fail_msg("%s", fixture.err.text);
}

/* ---- many ---- */

static inline void assert_theory(const char *name, const double *values, double expected,
                                 double most_ratio)
{
    double mean = stats_mean_double(values, RUNS);
    double half_width = T_999 * stats_sd(values, RUNS) / sqrt(RUNS);

    if (half_width > most_ratio * fabs(expected))
        fail_msg("%s: +- %.3g is too wide to tell anything of %.6g", name, half_width, expected);
    if (!(fabs(mean - expected) <= half_width))
        fail_msg("%s: %.6g +- %.2g is not %.6g", name, mean, half_width, expected);
}

/* Mean latency and mean wait of the load that is set up, over all runs. */
static inline void assert_latency(const char *name, double latency_s, double most_ratio)
{
    for (int i = 0; i < RUNS; i++) {
        oracle_run((uint64_t)i + 1);
        oracle.figures[0][i] = oracle.latency_s / (double)oracle.ok;
        oracle.figures[1][i] = oracle.wait_s / (double)oracle.ok;
        oracle.figures[2][i] = (double)oracle.never_waited / (double)oracle.ok;
        oracle.figures[3][i] = (double)oracle.over / (double)oracle.ok;
        oracle.figures[4][i] = (double)oracle.dropped / (double)oracle.taken;
        oracle.figures[5][i] =
            (double)fixture.result.taken_count / ((double)fixture.result.end_ps / 1e12);
    }
    if (latency_s > 0)
        assert_theory(name, oracle.figures[0], latency_s, most_ratio);
}

/* ---- exponential service ---- */

#define ENCODER                                                                                    \
    "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,norm,positions,"        \
    "tied_lm_head,weight_bits,kv_bits,max_context\n"                                               \
    "reader,encoder,1,8,1,1,8,16,32,gelu,layer,learned,no,32,32,\n"

static inline struct cost_row encoder_row(const struct model_op *op, int32_t tokens,
                                          int64_t time_ps)
{
    return cost_row_of(op, "c", tokens, op->op == OP_ATTN ? tokens : 0, "reader", time_ps);
}

/* An encoder whose embedding takes 1 us a token, and whose other operators take 1 ps: prompts of
 * exp:1000 make service times of 1 ms that are exponential but for their grain of 1 us. */
static inline void encoder_costs(void)
{
    struct model_catalogue *catalogue;
    const struct model *model;
    struct cost_row rows[40];
    struct out *out;
    int count = 0;

    fixture_write("models.csv", ENCODER);
    fixture.files.models = fixture_path("models.csv");
    catalogue = model_catalogue_load(fixture.arena, fixture.files.models, &fixture.err);
    assert_non_null(catalogue);
    model = model_find(catalogue, "reader", &fixture.err);
    assert_non_null(model);
    for (int block = 0; block < BLOCK_COUNT; block++) {
        struct model_op ops[MODEL_MAX_OPS];
        int op_count = model_block_ops(model, (enum model_block)block, 4, 0, ops);

        for (int i = 0; i < 2 * op_count; i++) {
            const struct model_op *op = &ops[i / 2];
            int32_t tokens = i % 2 ? 100000 : 1;
            int64_t time_ps = op->op == OP_EMBED ? tokens * UNITS_PS_PER_US : 1;
            bool is_known = false;

            for (int k = 0; k < count; k++)
                is_known = is_known || (rows[k].op == op->op && rows[k].gemm_n == op->gemm_n &&
                                        rows[k].m_tokens == tokens);
            if (is_known)
                continue;
            assert_true(count < 40);
            rows[count++] = encoder_row(op, tokens, time_ps);
        }
    }
    assert_true(out_make_folder(fixture_path("costs/t"), &fixture.err));
    out = out_open(fixture.arena, fixture_path("costs/t/kernels.csv"), &fixture.err);
    assert_non_null(out);
    cost_write_kernels(out, "test", NULL, rows, count);
    assert_true(out_commit(out, &fixture.err));
}

/* So many replicas of the encoder, each on a device of its own. */
static inline void encoders(int count)
{
    const char *text = "service,replica,stage,device,model\n";

    for (int i = 0; i < count; i++)
        text = arena_printf(fixture.arena, "%ss,%d,0,d%d,reader\n", text, i, i);
    fixture_write("p.csv", text);
}

/* So many replicas of executable x. */
static inline void replicas(int count)
{
    const char *text = PLACED;

    for (int i = 0; i < count; i++)
        text = arena_printf(fixture.arena, "%ss,%d,0,d%d,x\n", text, i, i);
    fixture_write("p.csv", text);
}

#endif
