/* test_place_configs.c - every planner of the table in each of Kafetzis' environments: EdgeShard
 * and Galaxy of his program never find a placement there; ours all do. Costs are made up: his
 * devices were never measured. */
#include "lib/base/csv.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "sim/engine/engine.h"
#include "sim/import/kafetzis.h"
#include "sim/judge/judge.h"
#include "sim/place/place.h"
#include "tests/unit/sim/cost_rows.h"
#include "tests/unit/sim/import_run.h"
#include <unistd.h>

#define REAL "../shared/data/kafetzis"
#define MOST_ROWS 20000
#define OUTPUT 4

struct table {
    struct cost_row *rows;
    int count;
};

/* An operation a nanosecond for each thousand values that it touches, and a microsecond. */
static int64_t cost_ps(const struct model_op *op, int32_t m_tokens)
{
    int64_t width = op->gemm_n > 0 ? op->gemm_n : (int64_t)op->heads * op->head_dim;
    int64_t depth = op->gemm_k > 0 ? op->gemm_k : 1;

    return UNITS_PS_PER_US + m_tokens * width * depth;
}

static void row_add(struct table *table, const struct model_op *op, int32_t m_tokens,
                    int32_t kv_len)
{
    const char *impl = op->gemm_k <= 1 ? "c" : m_tokens > 1 ? "gemm" : "gemv";

    for (int i = 0; i < table->count; i++) {
        const struct cost_row *row = &table->rows[i];

        if (row->op == op->op && row->phase == op->phase && row->m_tokens == m_tokens &&
            row->gemm_n == op->gemm_n && row->gemm_k == op->gemm_k && row->heads == op->heads &&
            row->kv_heads == op->kv_heads && row->kv_len == kv_len)
            return;
    }
    assert_true(table->count < MOST_ROWS);
    table->rows[table->count++] =
        cost_row_of(op, impl, m_tokens, kv_len, "kafetzis", cost_ps(op, m_tokens));
}

/* A part of the model: prompts of 1, 2 and all tokens, and a decode behind them. */
static void part_add(struct table *table, const struct model *part, int32_t tokens)
{
    const int32_t sizes[] = { 1, 2, tokens };
    struct model_op ops[MODEL_MAX_OPS];

    for (int block = 0; block < BLOCK_COUNT; block++)
        for (int t = 0; t < 3; t++) {
            int count = model_block_ops(part, (enum model_block)block, sizes[t], 0, ops);

            for (int i = 0; i < count; i++)
                row_add(table, &ops[i], ops[i].m_tokens, ops[i].kv_len);
        }
    (void)model_block_ops(part, BLOCK_ATTN, 1, tokens, ops);
    for (int i = 0; i < model_block_ops(part, BLOCK_ATTN, 1, tokens, ops); i++)
        if (ops[i].op == OP_ATTN) {
            row_add(table, &ops[i], 1, 1);
            row_add(table, &ops[i], 1, 4 * tokens);
        }
}

static const char *kept(struct scratch *scratch, const char *name)
{
    const char *text = import_table(name);

    assert_non_null(text);
    return scratch_write(scratch, name, text);
}

static void write_costs(struct scratch *scratch, const struct model *model, int32_t tokens)
{
    struct table table = { arena_array(scratch->arena, MOST_ROWS, sizeof(struct cost_row)), 0 };
    struct out *out;

    for (int32_t n = 1; n <= model->heads; n++) {
        struct model part = *model;

        part.heads = part.kv_heads = n;
        part.ffn_hidden = model->ffn_hidden / model->heads * n;
        part_add(&table, &part, tokens);
    }
    (void)scratch_write(scratch, "kafetzis/kernels.csv", "");
    out = out_open(scratch->arena,
                   arena_printf(scratch->arena, "%s/kafetzis/kernels.csv", scratch->folder),
                   scratch_err(scratch));
    assert_non_null(out);
    cost_write_kernels(out, "test", NULL, table.rows, table.count);
    assert_true(out_commit(out, &scratch->err));
}

struct environment {
    struct model_catalogue *catalogue;
    struct cost_set costs;
    struct workload *workload;
    struct problem_input input;
    const struct problem *problem;
    struct judge *judge;
};

static void environment_begin(struct scratch *scratch, const char *config, struct environment *e)
{
    struct kafetzis_settings settings;
    struct judge_input judge_of = { .serve = { .until_ps = ENGINE_NEVER,
                                               .max_requests = SIZE_MAX } };
    const char *folder = arena_printf(scratch->arena, "%s/kafetzis", scratch->folder);

    kafetzis_defaults(&settings);
    settings.config = config;
    settings.steps = OUTPUT;
    if (!import_run(scratch, &import_kafetzis, REAL, &settings))
        fail_msg("%s", scratch->err.text);
    (void)kept(scratch, "cluster/devices.csv");
    (void)kept(scratch, "cluster/links.csv");
    e->catalogue =
        model_catalogue_load(scratch->arena, kept(scratch, "models.csv"), scratch_err(scratch));
    e->workload =
        workload_load(scratch->arena, kept(scratch, "workload.csv"), scratch_err(scratch));
    assert_true(e->catalogue && e->workload);
    e->input = (struct problem_input){
        .cluster = cluster_load(scratch->arena,
                                arena_printf(scratch->arena, "%s/cluster", scratch->folder),
                                scratch_err(scratch)),
        .costs = &e->costs,
        .service = e->workload->services[0],
        .prompt_tokens = e->workload->prompt_tokens[0],
        .output_tokens = OUTPUT,
        .sequences = 1,
    };
    e->input.model =
        model_find(e->catalogue, arena_printf(scratch->arena, "kafetzis-%s", e->input.service),
                   scratch_err(scratch));
    assert_non_null(e->input.model);
    write_costs(scratch, e->input.model, e->input.prompt_tokens);
    if (!cost_set_load(scratch->arena, &folder, 1, &e->costs, scratch_err(scratch)) ||
        !(e->problem = problem_create(scratch->arena, &e->input, &scratch->err)))
        fail_msg("%s", scratch->err.text);
    judge_of.cluster = e->input.cluster;
    judge_of.costs = &e->costs;
    judge_of.catalogue = e->catalogue;
    judge_of.workload = e->workload;
    e->judge = judge_create(scratch->arena, &judge_of);
}

static void one_environment(struct scratch *scratch, const char *config)
{
    struct environment e;

    environment_begin(scratch, config, &e);
    for (int a = 0; a < place_algorithm_count; a++) {
        struct place_ask ask = { .problems = (const struct problem *const *)&e.problem,
                                 .problem_count = 1,
                                 .objective = PLACE_LATENCY,
                                 .seed = 1,
                                 .judge = e.judge };
        struct place_answer answer = place_algorithms[a].plan(scratch->arena, &ask);
        struct judge_verdict verdict;
        struct placement_row *rows;
        int count;

        if (!answer.is_feasible)
            fail_msg("%s in %s: %s", place_algorithms[a].name, config, answer.why);
        rows = place_rows(scratch->arena, &ask, &answer, &count);
        verdict = judge_rows(e.judge, rows, count);
        if (!verdict.is_feasible || verdict.ok_count != verdict.total_count)
            fail_msg("%s in %s: %s", place_algorithms[a].name, config, verdict.why);
        assert_true(verdict.room_bytes >= 0);
    }
}

static void every_planner_places_in_every_environment(void **state)
{
    enum { CONFIG, COUNT = 6 };
    static const struct csv_column columns[] = {
        { "config", true },        { "devices", true },        { "heads", true },
        { "embedding_dim", true }, { "seq_len_tokens", true }, { "precision_bytes", true }
    };
    struct scratch *scratch = *state;
    struct err err = ERR_INIT;
    struct csv *csv;
    int configs = 0;

    if (access(REAL, R_OK) != 0) {
        print_message("skipped: no " REAL " beside this checkout\n");
        skip();
    }
    csv = csv_open(scratch->arena, REAL "/configs.csv", "configs", columns, COUNT, &err);
    assert_non_null(csv);
    for (; csv_next(csv, &err); configs++)
        one_environment(scratch, arena_strdup(scratch->arena, csv_text(csv, CONFIG)));
    csv_close(csv);
    assert_int_equal(err.kind, ERR_NONE);
    assert_int_equal(configs, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(every_planner_places_in_every_environment),
    };

    return cmocka_run_group_tests_name("place_configs", tests, NULL, NULL);
}
