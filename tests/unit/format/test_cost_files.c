/* test_cost_files.c - folders of cost tables, black boxes, anchors; what is written is read back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "tests/unit/scratch.h"
#include <unistd.h>

/* The columns that a table needs, as another program would write them. */
#define HEAD "kernel,threads,m_tokens,gemm_n,gemm_k,mean_ns\n"
#define INTERP                                                                                     \
    "kernel,phase,impl,dtype,threads,gemm_n,gemm_k,heads,kv_heads,head_dim,regime,tile_period,"    \
    "residue,adder_ns,loo_err_med_pct,loo_err_max_pct\n"

static struct model_op product(enum op op, int32_t m_tokens, int32_t n, int32_t k)
{
    return (struct model_op){ .op = op, .m_tokens = m_tokens, .gemm_n = n, .gemm_k = k };
}

static const char *const origins[] = { "measured", "interpolated", "extrapolated" };

/* "12.5 measured", or the error. */
static const char *ask(struct scratch *scratch, const struct cost_table *table, struct model_op op,
                       int threads, int weight_bits)
{
    enum interp_origin origin;
    int64_t time_ps;

    if (!cost_lookup(table, &op, threads, weight_bits, &time_ps, &origin, scratch_err(scratch)))
        return scratch->err.text;
    return arena_printf(scratch->arena, "%g %s", (double)time_ps / 1e3, origins[origin]);
}

/* ---- folders ---- */

static const char *path_of(struct scratch *scratch, const char *name)
{
    return arena_printf(scratch->arena, "%s/%s", scratch->folder, name);
}

static const char *set_error(struct scratch *scratch, const char *const *paths, int count)
{
    struct cost_set set;

    if (cost_set_load(scratch->arena, paths, count, &set, scratch_err(scratch)))
        return "";
    return scratch_message(scratch);
}

static void a_folder_is_a_type_or_holds_types(void **state)
{
    struct scratch *scratch = *state;
    const char *const root[] = { scratch->folder };
    struct cost_set set;

    scratch_write(scratch, "pi4/kernels.csv", HEAD "qkv,1,1,96,64,5\n");
    scratch_write(scratch, "nano/stages.csv", "executable,stage,latency_s\ne,0,0.5\n");
    scratch_write(scratch, "other/notes.txt", "not a table");
    assert_true(cost_set_load(scratch->arena, root, 1, &set, scratch_err(scratch)));
    assert_int_equal(set.count, 2);
    assert_string_equal(cost_type(set.tables[0]), "nano"); /* name order */
    assert_string_equal(cost_type(set.tables[1]), "pi4");
    assert_ptr_equal(cost_set_find(&set, "pi4"), set.tables[1]);
    assert_null(cost_set_find(&set, "pi5"));
    assert_false(cost_has_kernels(set.tables[0]));
    assert_int_equal(cost_only_threads(set.tables[0]), 0);

    const char *const both[] = { path_of(scratch, "pi4/"), path_of(scratch, "nano") };
    assert_true(cost_set_load(scratch->arena, both, 2, &set, scratch_err(scratch)));
    assert_string_equal(cost_type(set.tables[0]), "pi4");

    const char *const twice[] = { path_of(scratch, "pi4"), scratch->folder };
    assert_non_null(strstr(set_error(scratch, twice, 2), "device type 'pi4' is there twice: also"));
}

static void a_type_may_be_named_by_a_dot(void **state)
{
    struct scratch *scratch = *state;
    char before[512];

    scratch_write(scratch, "pi4/kernels.csv", HEAD "qkv,1,1,96,64,5\n");
    assert_non_null(getcwd(before, sizeof before));
    assert_int_equal(chdir(path_of(scratch, "pi4")), 0);
    const struct cost_table *table = cost_load(scratch->arena, ".", scratch_err(scratch));
    assert_int_equal(chdir(before), 0);
    assert_non_null(table);
    assert_string_equal(cost_type(table), "pi4");
}

static void folders_without_tables_are_errors(void **state)
{
    struct scratch *scratch = *state;
    const char *const nowhere[] = { path_of(scratch, "nowhere") };
    const char *const root[] = { scratch->folder };
    const char *const file[] = { scratch_write(scratch, "file", "x") };

    assert_string_equal(set_error(scratch, nowhere, 1), "nowhere: No such file or directory");
    assert_int_equal(scratch->err.kind, ERR_SYSTEM);
    assert_string_equal(set_error(scratch, file, 1), "file: Not a directory");
    assert_non_null(strstr(set_error(scratch, root, 1), "no cost table: expected kernels.csv or"));
    assert_null(cost_load(scratch->arena, nowhere[0], scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch), "nowhere: No such file or directory");
    assert_null(cost_load(scratch->arena, scratch->folder, scratch_err(scratch)));
    assert_int_equal(scratch->err.kind, ERR_INPUT);

    scratch_write(scratch, "pi4/kernels.csv", HEAD "qkv,1,1,96,64,x\n");
    assert_string_equal(set_error(scratch, root, 1),
                        "pi4/kernels.csv:2:6: mean_ns is 'x': expected decimal nanoseconds");
    scratch_write(scratch, "pi4/kernels.csv", HEAD "qkv,1,1,96,64,5\n");
    scratch_write(scratch, "pi4/interp.csv", "kernel\n");
    assert_string_equal(set_error(scratch, root, 1), "pi4/interp.csv:1: missing column 'threads'");
    scratch_write(scratch, "pi4/interp.csv", INTERP);
    scratch_write(scratch, "pi4/anchors.csv", "model,phase\n");
    assert_string_equal(set_error(scratch, root, 1), "pi4/anchors.csv:1: missing column 's'");
}

/* ---- black boxes ---- */

static void stages_are_found_whatever_their_order(void **state)
{
    struct scratch *scratch = *state;
    const char *folder = path_of(scratch, "gpu");

    scratch_write(scratch, "gpu/stages.csv",
                  "stage,executable,latency_s,batch,gap_s,devices,model,weight_bytes,"
                  "activation_bytes,output_bytes\n"
                  "1,big,0.0734,,0.003,2,bert,7,8,9\n0,small,0.01,1,,,,,,\n0,big,0.07,,,,,,,\n"
                  "0,big,0.1,4,,,,,,\n");
    const struct cost_table *table = cost_load(scratch->arena, folder, scratch_err(scratch));
    assert_non_null(table);
    assert_int_equal(cost_stage_count(table, "big"), 2);
    assert_int_equal(cost_stage_count(table, "small"), 1);
    assert_int_equal(cost_stage_count(table, "none"), 0);
    const struct cost_stage *stage = cost_stage_find(table, "big", 1);
    assert_non_null(stage);
    assert_int_equal(stage->latency_ps, INT64_C(73400000000));
    assert_int_equal(stage->gap_ps, INT64_C(3000000000));
    assert_int_equal(stage->devices, 2);
    assert_int_equal(stage->batch, 1);
    assert_string_equal(stage->model, "bert");
    assert_int_equal(stage->weight_bytes, 7);
    assert_int_equal(stage->activation_bytes, 8);
    assert_int_equal(stage->output_bytes, 9);
    assert_int_equal(stage->line, 2);
    stage = cost_stage_find(table, "big", 0);
    assert_int_equal(stage->latency_ps, INT64_C(70000000000)); /* batch 1, not 4 */
    assert_int_equal(stage->devices, 0);                       /* not given */
    assert_string_equal(stage->model, "");
    assert_null(cost_stage_find(table, "big", 2));
    assert_null(cost_stage_find(table, "zzz", 0));
}

static void rows_of_other_device_types_are_tables_of_those_types(void **state)
{
    struct scratch *scratch = *state;
    const char *const root[] = { path_of(scratch, "lab") };
    struct cost_set set;

    scratch_write(scratch, "lab/stages.csv",
                  "executable,stage,latency_s,device_type\ne,0,0.1,a\ne,0,0.2,b\ne,1,0.3,b\n");
    assert_true(cost_set_load(scratch->arena, root, 1, &set, scratch_err(scratch)));
    assert_int_equal(set.count, 2);
    assert_int_equal(cost_stage_count(cost_set_find(&set, "a"), "e"), 1);
    assert_int_equal(cost_stage_count(cost_set_find(&set, "b"), "e"), 2);
    assert_null(cost_set_find(&set, "lab"));
    assert_null(cost_load(scratch->arena, root[0], scratch_err(scratch)));
    assert_string_equal(scratch_message(scratch), "lab/stages.csv: no rows for device type 'lab'");

    scratch_write(scratch, "lab/stages.csv",
                  "executable,stage,latency_s,device_type\ne,0,0.1,a\ne,0,0.2,\nf,0,0.2,lab\n");
    assert_true(cost_set_load(scratch->arena, root, 1, &set, scratch_err(scratch)));
    assert_int_equal(set.count, 2);
    assert_int_equal(cost_stage_find(cost_set_find(&set, "lab"), "e", 0)->latency_ps,
                     INT64_C(200000000000));

    scratch_write(scratch, "lab/stages.csv", "executable,stage,latency_s\n");
    assert_string_equal(set_error(scratch, root, 1),
                        "lab/stages.csv: no rows for device type 'lab'");
}

static void bad_stages_are_located(void **state)
{
    static const struct {
        const char *rows, *error;
    } cases[] = {
        { ",0,1,,,\n", "2:1: executable is '': must not be empty" },
        { "e,-1,1,,,\n", "2:2: stage is '-1': expected a whole number of at least 0" },
        { "e,x,1,,,\n", "2:2: stage is 'x': not a whole number" },
        { "e,0,,,,\n", "2:3: latency_s is '': must not be empty" },
        { "e,0,-1,,,\n", "2:3: latency_s is '-1': expected at least 0 seconds" },
        { "e,0,1e999,,,\n", "2:3: latency_s is '1e999': expected decimal seconds" },
        { "e,0,1,0,,\n", "2:4: batch is '0': expected a whole number" },
        { "e,0,1,,-1,\n", "2:5: gap_s is '-1': expected at least 0 seconds" },
        { "e,0,1,,,1.5\n", "2:6: weight_bytes is '1.5': not a whole number" },
        { "e,0,1,,,\ne,2,1,,,\n", "3: stage is '2': 'e' has no stage 1" },
        { "e,1,1,,,\n", "2: stage is '1': 'e' has no stage 0" },
        { "e,0,1,,,\nf,0,1,,,\ne,0,2,,,\n", "4: same executable, stage and batch as line 2" },
    };
    struct scratch *scratch = *state;
    const char *const root[] = { path_of(scratch, "gpu") };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *expected = arena_printf(scratch->arena, "gpu/stages.csv:%s", cases[i].error);

        scratch_write(scratch, "gpu/stages.csv",
                      arena_printf(scratch->arena,
                                   "executable,stage,latency_s,batch,gap_s,weight_bytes\n%s",
                                   cases[i].rows));
        const char *message = set_error(scratch, root, 1);
        if (strncmp(message, expected, strlen(expected)) != 0)
            fail_msg("'%s' is not '%s'", message, expected);
    }
}

/* ---- writing ---- */

static struct cost_row sample_row(int32_t m_tokens)
{
    struct cost_row row = {
        .layer_kind = "layer",
        .batch = 2,
        .energy_uj = 17,
        .energy_reason = "",
        .freq_khz_min = COST_UNKNOWN,
        .temp_mc_max = -1500,
        .throttled = 1,
        .canary_ratio = 1.0125,
        .roof_frac = -1,
        .loo_err_pct = 0.5,
        .op = OP_QKV,
        .impl = "gemm",
        .dtype = "f32",
        .threads = 1,
        .m_tokens = m_tokens,
        .gemm_n = 96,
        .gemm_k = 64,
        .state = COST_CHAIN,
        .regime = "burst",
        .model = "tiny, \"mine\"",
        .n = 40,
        .n_dirty = 1,
        .n_outlier = 2,
        .n_proc = 5,
        .mean_ps = 1000500 * m_tokens,
        .median_ps = 1000000,
        .min_ps = 999000,
        .p95_ps = 1100000,
        .mad_ps = 5000,
        .ci_lo_ps = 990000,
        .ci_hi_ps = 1010000,
        .proc_min_ps = 995000,
        .proc_max_ps = COST_UNKNOWN,
        .stop = COST_STOP_CI,
        .flops = 12288,
        .bytes_weight = 24576,
        .bytes_act = 640,
        .ctr_reason = "papi:-25:no_default_pmu",
    };

    for (int i = 0; i < COST_COUNTER_COUNT; i++)
        row.counters[i] = i == COST_INS ? 0 : COST_UNKNOWN;
    return row;
}

static void what_is_written_is_read_back(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_row rows[2] = { sample_row(4), sample_row(8) };
    const struct cost_interp_row interp = {
        rows[0],
        { .period = 2, .adder_ps = { 0, 220500 }, .loo_median_ratio = 0.0022, .loo_max_ratio = -1 }
    };
    const struct cost_anchor anchor = { "tiny",  OP_PREFILL, 128,     128,
                                        1,       1,          4,       7,
                                        2000000, 10000,      1900000, 2000000.0 / 1900000,
                                        "bf16",  1.04,       0 };
    const char *const meta[] = { "blas", "OpenBLAS 0.3", NULL };
    struct out *kernels = out_open_memory(scratch->arena), *again;
    struct out *tiles = out_open_memory(scratch->arena);
    struct out *anchors = out_open_memory(scratch->arena);

    cost_write_kernels(kernels, "pi-0001", meta, rows, 2);
    cost_write_interp(tiles, &interp, 1);
    cost_write_anchors(anchors, &anchor, 1);
    assert_non_null(strstr(scratch_text(kernels), "# orrery: kernels 1\n# blas: OpenBLAS 0.3\n"));
    /* an unknown counter is an empty field and a counted 0 is a 0 */
    assert_non_null(strstr(scratch_text(kernels), ",layer,qkv,any,gemm,f32,1,4,96,64,0,0,0,0,2,"));
    assert_non_null(strstr(scratch_text(kernels), ",17,,,-1500,1,1.0125,measured,0.5\n"));
    assert_non_null(strstr(scratch_text(kernels), ",,0,,,,,papi:-25:no_default_pmu,"));
    assert_non_null(strstr(scratch_text(kernels), ",4002,1000,999,1100,5,990,1010,995,,ci,12288,"
                                                  "24576,640,3.0705,6.3008,,"));
    assert_non_null(strstr(scratch_text(tiles), ",2,0,0,0.22,\n"));
    assert_non_null(strstr(scratch_text(tiles), ",2,1,220.5,0.22,\n"));
    assert_non_null(
        strstr(scratch_text(anchors),
               "\ntiny,prefill,128,128,1,1,bf16,4,7,2000,10,1900,1.0526315789473684,1.04,,-5\n"));

    scratch_write(scratch, "pi4/kernels.csv", scratch_text(kernels));
    scratch_write(scratch, "pi4/interp.csv", scratch_text(tiles));
    scratch_write(scratch, "pi4/anchors.csv", scratch_text(anchors));
    const struct cost_table *table =
        cost_load(scratch->arena, path_of(scratch, "pi4"), scratch_err(scratch));
    if (!table)
        fail_msg("%s", scratch->err.text);
    again = out_open_memory(scratch->arena);
    struct cost_row copies[2] = { *cost_row_at(table, 0), *cost_row_at(table, 1) };
    cost_write_kernels(again, "pi-0001", meta, copies, cost_row_count(table));
    assert_string_equal(scratch_text(again), scratch_text(kernels));
    assert_string_equal(ask(scratch, table, product(OP_QKV, 7, 96, 64), 1, 32),
                        "6223.5 interpolated");
    assert_int_equal(cost_anchor_count(table), 1);
    again = out_open_memory(scratch->arena);
    cost_write_anchors(again, cost_anchor_at(table, 0), 1);
    assert_string_equal(scratch_text(again), scratch_text(anchors));
}

static void an_anchor_without_kappa_has_the_ratio(void **state)
{
    struct scratch *scratch = *state;
    const char *folder = path_of(scratch, "pi4");

    scratch_write(scratch, "pi4/kernels.csv", HEAD "qkv,1,1,96,64,5\n");
    scratch_write(scratch, "pi4/anchors.csv",
                  "model,phase,s,forward_mean_ns,sum_chain_ns\nm,decode,1,110,100\n");
    const struct cost_table *table = cost_load(scratch->arena, folder, scratch_err(scratch));
    assert_non_null(table);
    assert_true(cost_anchor_at(table, 0)->kappa == 1.1);
    assert_int_equal(cost_anchor_at(table, 0)->ci_ps, COST_UNKNOWN);
    scratch_write(scratch, "pi4/anchors.csv",
                  "model,phase,s,forward_mean_ns,sum_chain_ns,kappa\nm,decode,1,110,100,0\n");
    assert_null(cost_load(scratch->arena, folder, scratch_err(scratch)));
    assert_non_null(strstr(scratch_message(scratch), "pi4/anchors.csv:2:6: kappa is '0'"));
    scratch_write(scratch, "pi4/anchors.csv",
                  "model,phase,s,forward_mean_ns,sum_chain_ns\nm,decode,0,110,100\n");
    assert_null(cost_load(scratch->arena, folder, scratch_err(scratch)));
    assert_non_null(strstr(scratch_message(scratch), "pi4/anchors.csv:2:3: s is '0'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_folder_is_a_type_or_holds_types),
        scratch_test(a_type_may_be_named_by_a_dot),
        scratch_test(folders_without_tables_are_errors),
        scratch_test(stages_are_found_whatever_their_order),
        scratch_test(rows_of_other_device_types_are_tables_of_those_types),
        scratch_test(bad_stages_are_located),
        scratch_test(what_is_written_is_read_back),
        scratch_test(an_anchor_without_kappa_has_the_ratio),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
