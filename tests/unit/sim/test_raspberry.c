/* test_raspberry.c - real boards, tensor parallel: why eight of them are slower than four.
 *
 * Costs are built from root_inference_ms of shared/data/raspberry-pi (b4rtaz/distributed-llama),
 * what a message costs is fitted to the transfer_ms of two boards. Nothing of four and eight boards
 * but their compute goes in. The root sends each worker what it needs and takes back what it made;
 * all of that passes the root's one processor, message after message: a medium that all share. */
#include "tests/unit/sim/fixture.h"

#include "lib/base/csv.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "sim/report/bottleneck.h"
#include "sim/report/passes.h"

#define DATA "../shared/data/raspberry-pi/tensor_parallel_pi4b.csv"
#define MODEL "llama-2-7b"
#define US UNITS_PS_PER_US
#define CALL_PS US /* of every operator but the first half of the FFN, which has the rest */

struct boards { /* measured */
    int32_t count;
    double total_ms, compute_ms, transfer_ms;
};

static struct boards measured[4];
static int measured_count;
static struct cost_row *rows;
static int row_count;

static bool read_boards(void)
{
    enum { BOARD, BOARDS, NAME, TOTAL, COMPUTE, TRANSFER, SENT, RECEIVED, COLUMNS };
    static const struct csv_column columns[COLUMNS] = {
        [BOARD] = { "board", true },
        [BOARDS] = { "boards", true },
        [NAME] = { "model", true },
        [TOTAL] = { "total_ms_per_token", true },
        [COMPUTE] = { "root_inference_ms", true },
        [TRANSFER] = { "transfer_ms", true },
        [SENT] = { "sent_kb_per_token", true },
        [RECEIVED] = { "received_kb_per_token", true },
    };
    struct err err = ERR_INIT;
    struct csv *csv = csv_open(fixture.arena, DATA, "boards", columns, COLUMNS, &err);

    if (!csv)
        return false;
    for (measured_count = 0; measured_count < 4 && csv_next(csv, &err); measured_count++) {
        struct boards *boards = &measured[measured_count];

        assert_true(csv_int32(csv, BOARDS, 1, 8, &boards->count, &err) &&
                    csv_double(csv, TOTAL, 0, 1e9, &boards->total_ms, &err) &&
                    csv_double(csv, COMPUTE, 0, 1e9, &boards->compute_ms, &err) &&
                    csv_double(csv, TRANSFER, 0, 1e9, &boards->transfer_ms, &err));
    }
    csv_close(csv);
    return true;
}

static void put_row(const struct model_op *op, int64_t time_ps)
{
    for (int i = 0; i < row_count; i++)
        if (rows[i].op == op->op && rows[i].phase == op->phase && rows[i].gemm_n == op->gemm_n &&
            rows[i].gemm_k == op->gemm_k && rows[i].heads == op->heads &&
            rows[i].kv_len == op->kv_len)
            return;
    rows[row_count] = (struct cost_row){ .op = op->op,
                                         .phase = op->phase,
                                         .impl = op->gemm_k > 1 ? "gemv" : "c",
                                         .dtype = "f32",
                                         .threads = 1,
                                         .m_tokens = op->m_tokens,
                                         .gemm_n = op->gemm_n,
                                         .gemm_k = op->gemm_k,
                                         .heads = op->heads,
                                         .kv_heads = op->kv_heads,
                                         .head_dim = op->head_dim,
                                         .kv_len = op->kv_len,
                                         .state = COST_CHAIN,
                                         .regime = "sustained",
                                         .model = MODEL,
                                         .n = 16,
                                         .n_proc = 1,
                                         .mean_ps = time_ps,
                                         .ctr_reason = "not measured" };
    for (int i = 0; i < COST_COUNTER_COUNT; i++)
        rows[row_count].counters[i] = COST_UNKNOWN;
    row_count++;
}

/* The calls of one of n equal parts; the root, which has both ends and the norms, takes compute_ms
 * in all. */
static void put_parts(const struct model *model, const struct boards *boards)
{
    const struct model *part = model_slice(fixture.arena, model, boards->count, &fixture.err);
    int64_t calls = 0, ffn_up_ps;

    assert_non_null(part);
    for (int pass = 0; pass < 2; pass++) {
        ffn_up_ps = (int64_t)(boards->compute_ms * (double)MS) - calls * CALL_PS;
        for (int block = 0; block < BLOCK_COUNT; block++)
            for (int past = 0; past < 2; past++) {
                struct model_op ops[MODEL_MAX_OPS];
                bool is_end = block == BLOCK_EMBED || block == BLOCK_LM_HEAD;
                int count =
                    model_block_ops(is_end ? model : part, (enum model_block)block, 1, past, ops);

                for (int i = 0; i < count; i++) {
                    bool is_rest = ops[i].op == OP_FFN_UP;

                    calls += pass == 0 && past == 0 && !is_rest
                                 ? ops[i].count * (is_end ? 1 : model->layers)
                                 : 0;
                    if (pass == 1)
                        put_row(&ops[i], is_rest ? ffn_up_ps / model->layers : CALL_PS);
                }
            }
    }
}

static void write_costs(void)
{
    struct model_catalogue *catalogue = model_catalogue_load(fixture.arena, NULL, &fixture.err);
    struct model model = *model_find(catalogue, MODEL, &fixture.err);
    struct out *out;

    model.weight_bits = 32;
    rows = arena_array(fixture.arena, 512, sizeof *rows);
    row_count = 0;
    for (int i = 0; i < measured_count; i++)
        put_parts(&model, &measured[i]);
    assert_true(out_make_folder(fixture_path("costs/pi4b"), &fixture.err));
    out = out_open(fixture.arena, fixture_path("costs/pi4b/kernels.csv"), &fixture.err);
    assert_non_null(out);
    cost_write_kernels(out, "pi4b", NULL, rows, row_count);
    assert_true(out_commit(out, &fixture.err));
}

static const char *place(int boards)
{
    static const char *const blocks[] = { "attn", "proj", "ffn" };
    const char *text = "service,replica,stage,device,model,layers,block,parts\n"
                       "chat,0,0,pi0," MODEL ",,embed,\nchat,0,0,pi0," MODEL ",,lm_head,\n"
                       "chat,0,0,pi0," MODEL ",0-31,conn,\n";

    for (int b = 0; b < 3; b++)
        for (int i = 0; i < boards; i++)
            text = arena_printf(fixture.arena, "%schat,0,0,pi%d," MODEL ",0-31,%s,%d/%d\n", text, i,
                                blocks[b], i, boards);
    return text;
}

/* The mean decode step on so many boards, where a message costs so much. */
static const struct sliced_sums *run(int boards, double per_message_s)
{
    const char *devices = "device,type\n";

    for (int i = 0; i < boards; i++)
        devices = arena_printf(fixture.arena, "%spi%d,pi4b\n", devices, i);
    fixture_cluster(devices, arena_printf(fixture.arena,
                                          "medium,kind,node,bits_per_s,latency_s,per_message_s\n"
                                          "lan,hub,*,1e9,0,%.9f\n",
                                          per_message_s));
    fixture_write("p.csv", place(boards));
    fixture_write("w.csv", "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
                           "0,0,chat,1,2\n");
    fixture.options.collective = COLLECTIVE_STAR;
    fixture.options.has_parts = true;
    fixture_must_run();
    assert_int_equal(fixture.result.passes->decode.count, 1);
    return &fixture.result.passes->decode;
}

static double to_ms(int64_t time_ps)
{
    return (double)time_ps / (double)MS;
}

static void eight_boards_are_slower_than_four_and_the_run_says_why(void **state)
{
    double free_ms, dear_ms, per_message_s, step_ms[4];
    const char *sentences[4], *limits[4];

    (void)state;
    if (!read_boards()) {
        print_message("skipped: " DATA " is not there\n");
        skip();
    }
    assert_int_equal(measured_count, 4);
    write_costs();
    /* Two boards: what their messages take for bytes, and how often a message's cost is waited for.
     */
    free_ms = to_ms(run(2, 0)->time_ps);
    dear_ms = to_ms(run(2, 0.001)->time_ps);
    assert_true(free_ms - measured[1].compute_ms > 0 &&
                free_ms - measured[1].compute_ms < measured[1].transfer_ms);
    per_message_s =
        (measured[1].transfer_ms - (free_ms - measured[1].compute_ms)) / (dear_ms - free_ms) / 1000;
    print_message("per_message_s fitted to two boards: %.6f\n", per_message_s);
    for (int i = 1; i < 4; i++) {
        const struct sliced_sums *pass = run(measured[i].count, per_message_s);

        step_ms[i] = to_ms(pass->time_ps);
        sentences[i] = passes_sentence(fixture.arena, pass);
        limits[i] = bottleneck_find(fixture.arena, fixture.scenario.input.plan,
                                    fixture.scenario.input.plan->cluster, &fixture.result, 1, 2)
                        .text;
        print_message("%d boards: predicted %.1f ms, measured %.1f ms\n  %s\n  %s\n",
                      measured[i].count, step_ms[i], measured[i].total_ms, sentences[i], limits[i]);
        assert_true(to_ms(pass->compute_ps) < measured[i].compute_ms + 0.001 &&
                    to_ms(pass->compute_ps) > measured[i].compute_ms - 0.001);
    }
    assert_true(step_ms[2] < step_ms[1]); /* as measured */
    assert_true(step_ms[3] > step_ms[2]);
    assert_non_null(strstr(sentences[2], " go into computing; next, "));
    assert_non_null(strstr(sentences[2], " into the cost of each message (per_message_s)."));
    assert_non_null(strstr(
        limits[3], "stage chat/0/0 on 8 devices limits: a step runs 99.9 % of the time, 45 % of it "
                   "computing and 55 % messages between its devices (896 a step), above all the "
                   "cost of each message (per_message_s), 38 %; next is hub lan, busy 55 %; "));
    assert_non_null(strstr(sentences[3], "its devices talk for longer than they compute ("));
    assert_non_null(strstr(sentences[3], " go into the cost of each message (per_message_s); "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(eight_boards_are_slower_than_four_and_the_run_says_why,
                                        fixture_set_up, fixture_tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
