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
                  "0,big,0.1,4,,,,,,\n1,big,0.11,4,,2,,,,\n");
    const struct cost_table *table = cost_load(scratch->arena, folder, scratch_err(scratch));
    assert_non_null(table);
    assert_int_equal(cost_stage_count(table, "big"), 2);
    assert_int_equal(cost_stage_count(table, "small"), 1);
    assert_int_equal(cost_stage_count(table, "none"), 0);
    const struct cost_stage *stage = cost_stage_find_batch(table, "big", 1, 1);
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
    stage = cost_stage_find_batch(table, "big", 0, 1);
    assert_int_equal(stage->latency_ps, INT64_C(70000000000)); /* batch 1, not 4 */
    assert_int_equal(stage->devices, 0);                       /* not given */
    assert_string_equal(stage->model, "");
    assert_null(cost_stage_find_batch(table, "big", 2, 1));
    assert_null(cost_stage_find_batch(table, "zzz", 0, 1));
}

static void batch_sizes_are_listed_and_found(void **state)
{
    struct scratch *scratch = *state;
    const int32_t *sizes = NULL;

    scratch_write(scratch, "gpu/stages.csv",
                  "executable,stage,latency_s,batch\nb,1,0.3,8\nb,0,0.1,1\na,0,0.5,16\n"
                  "b,0,0.3,8\nb,1,0.11,1\nb,1,0.2,2\nb,0,0.2,2\nc,0,1,\na,0,0.4,4\n");
    const struct cost_table *table =
        cost_load(scratch->arena, path_of(scratch, "gpu"), scratch_err(scratch));
    assert_non_null(table);
    assert_int_equal(cost_batch_sizes(table, "b", &sizes), 3);
    assert_int_equal(sizes[0], 1);
    assert_int_equal(sizes[1], 2);
    assert_int_equal(sizes[2], 8);
    assert_int_equal(cost_batch_sizes(table, "a", &sizes), 2);
    assert_int_equal(sizes[0], 4);
    assert_int_equal(sizes[1], 16);
    assert_int_equal(cost_batch_sizes(table, "c", &sizes), 1);
    assert_int_equal(sizes[0], 1);
    assert_int_equal(cost_batch_sizes(table, "d", &sizes), 0);
    assert_null(sizes);
    assert_int_equal(cost_stage_find_batch(table, "b", 1, 8)->line, 2);
    assert_int_equal(cost_stage_find_batch(table, "b", 0, 2)->latency_ps, INT64_C(200000000000));
    assert_null(cost_stage_find_batch(table, "b", 0, 4));
    assert_null(cost_stage_find_batch(table, "b", 2, 8));
    assert_null(cost_stage_find_batch(table, "a", 0, 1)); /* not profiled with batch 1 */
    assert_non_null(cost_stage_first(table, "a", 0));     /* the smallest that was */
    assert_true(cost_stage_count(table, "a") > 0);
    assert_int_equal(cost_stage_count(table, "d"), 0);
}

static void batches_of_an_executable_are_of_the_same_devices(void **state)
{
    struct scratch *scratch = *state;
    const char *const root[] = { path_of(scratch, "gpu") };

    scratch_write(scratch, "gpu/stages.csv",
                  "executable,stage,latency_s,batch,devices\ne,0,1,1,2\ne,0,2,4,\ne,0,2,8,1\n");
    assert_string_equal(
        set_error(scratch, root, 1),
        "gpu/stages.csv:4: devices is '1': line 2 says 2 for the same executable and stage");
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
    assert_int_equal(cost_stage_find_batch(cost_set_find(&set, "lab"), "e", 0, 1)->latency_ps,
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
        { "e,0,1,,,\ne,1,1,,,\ne,0,2,4,,\n",
          "4: 'e' has stages 0 to 0 in batch 4, but 0 to 1 in batch 1 (line 3)" },
        { "e,0,2,2,,\nf,0,1,,,\ne,1,1,8,,\ne,0,1,8,,\n",
          "4: 'e' has stages 0 to 1 in batch 8, but 0 to 0 in batch 2 (line 2)" },
        { "e,0,1,,,\ne,1,1,4,,\n", "3: stage is '1': 'e' has no stage 0" },
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
    assert_string_equal(cost_device_id(table), "pi-0001");
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

static void every_new_column_is_read(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table = cost_load_text(
        scratch->arena, "pi4",
        "# quality: disturbed: swap\n"
        "kernel,dtype,impl,threads,m_tokens,gemm_n,gemm_k,mean_ns,batch,layer_kind,energy_uj,"
        "energy_reason,freq_khz_min,temp_mc_max,throttled,canary_ratio,roof_frac,loo_err_pct,"
        "origin\n"
        "qkv,bf16,c_bf16,1,1,96,64,5,4,layer,12,,600000,-4000,1,1.02,0.75,0.4,measured\n"
        "qkv,q8_0,dequant,1,1,96,64,6,,,,no_sensor,,,,,,,\n"
        "qkv,q8_0,c_q8,1,1,96,64,5,,,,,,,0,,,,interpolated\n",
        NULL, scratch_err(scratch));

    if (!table)
        fail_msg("%s", scratch->err.text);
    const struct cost_row *row = cost_row_at(table, 0), *bare = cost_row_at(table, 1);
    assert_int_equal(row->batch, 4);
    assert_string_equal(row->layer_kind, "layer");
    assert_int_equal(row->energy_uj, 12);
    assert_int_equal(row->freq_khz_min, 600000);
    assert_int_equal(row->temp_mc_max, -4000);
    assert_int_equal(row->throttled, 1);
    assert_true(row->canary_ratio > 1.019 && row->roof_frac > 0.74 && row->loo_err_pct > 0.39);
    assert_int_equal(bare->batch, 1);
    assert_int_equal(bare->energy_uj, COST_UNKNOWN);
    assert_string_equal(bare->energy_reason, "no_sensor");
    assert_int_equal(bare->temp_mc_max, COST_UNKNOWN);
    assert_int_equal(bare->throttled, -1);
    assert_true(bare->canary_ratio < 0 && bare->roof_frac < 0 && bare->loo_err_pct < 0);
    /* what was not measured answers nothing, though it would be cheaper */
    assert_string_equal(ask(scratch, table, product(OP_QKV, 1, 96, 64), 1, 8), "6 measured");
    assert_string_equal(cost_quality(table), "disturbed: swap");
    assert_true(cost_is_disturbed(table));
}

static void a_row_without_knowledge_is_written_empty(void **state)
{
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    struct cost_row row;

    cost_row_init(&row);
    row.op = OP_ADD;
    row.m_tokens = 3;
    row.gemm_n = 8;
    row.mean_ps = 2000;
    cost_write_kernels(out, "", NULL, &row, 1);
    assert_non_null(strstr(scratch_text(out),
                           "\n,,,add,any,,f32,1,3,8,0,0,0,0,0,1,chain,burst,,,,,2,,"
                           ",,,,,,,budget,,,,,,,,,,,,,,,,,,,,measured,\n"));
}

static void bad_surroundings_are_located(void **state)
{
    static const char *const cases[][2] = {
        { "throttled,2", "2:7: throttled is '2': expected" },
        { "canary_ratio,-1", "2:7: canary_ratio is '-1': expected" },
        { "roof_frac,nan", "2:7: roof_frac is 'nan': not a finite" },
        { "loo_err_pct,inf", "2:7: loo_err_pct is 'inf': not a finite" },
        { "energy_uj,-3", "2:7: energy_uj is '-3': expected" },
        { "temp_mc_max,1000000000", "2:7: temp_mc_max is '1000000000': expected" },
        { "origin,guessed", "2:7: origin is 'guessed': expected measured, interpolated or" },
        { "batch,-1", "2:7: batch is '-1': expected" },
    };
    struct scratch *scratch = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *comma = strchr(cases[i][0], ',');
        const char *expected = arena_printf(scratch->arena, "pi4/kernels.csv:%s", cases[i][1]);
        const char *text =
            arena_printf(scratch->arena,
                         "kernel,threads,m_tokens,gemm_n,gemm_k,mean_ns,%.*s\nqkv,1,1,96,64,5%s\n",
                         (int)(comma - cases[i][0]), cases[i][0], comma);

        assert_null(cost_load_text(scratch->arena, "pi4", text, NULL, scratch_err(scratch)));
        if (strncmp(scratch->err.text, expected, strlen(expected)) != 0)
            fail_msg("'%s' is not '%s'", scratch->err.text, expected);
    }
}

static void kappa_is_that_of_the_nearest_anchor(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table;
    double kappa;

    scratch_write(scratch, "pi4/kernels.csv", HEAD "qkv,1,1,96,64,5\n");
    scratch_write(scratch, "pi4/anchors.csv",
                  "model,phase,s,kv_len,batch,threads,dtype,forward_mean_ns,sum_chain_ns,kappa,"
                  "kappa_lo,kappa_hi\n"
                  "m,prefill,16,16,1,1,f32,1,1,1.1,1.05,1.15\nm,prefill,128,128,1,1,f32,1,1,1.2,,\n"
                  "m,decode,1,256,1,1,f32,1,1,1.3,,\nm,decode,8,256,8,1,f32,1,1,1.4,,\n"
                  "m,prefill,16,16,1,1,bf16,1,1,1.5,,\nm,prefill,16,16,1,4,f32,1,1,1.6,,\n");
    table = cost_load(scratch->arena, path_of(scratch, "pi4"), scratch_err(scratch));
    assert_non_null(table);
    assert_true(cost_anchor_at(table, 0)->kappa_lo == 1.05);
    assert_true(cost_anchor_at(table, 1)->kappa_hi == 0);
    assert_true(cost_kappa(table, "m", OP_PREFILL, 20, 20, 1, 1, 32, &kappa) && kappa == 1.1);
    assert_true(cost_kappa(table, "m", OP_PREFILL, 50, 50, 1, 1, 32, &kappa) && kappa == 1.2);
    assert_true(cost_kappa(table, "m", OP_PREFILL, 1, 1, 1, 1, 16, &kappa) && kappa == 1.5);
    assert_true(cost_kappa(table, "m", OP_PREFILL, 1, 1, 1, 4, 32, &kappa) && kappa == 1.6);
    assert_true(cost_kappa(table, "m", OP_DECODE, 1, 300, 1, 1, 32, &kappa) && kappa == 1.3);
    assert_true(cost_kappa(table, "m", OP_DECODE, 8, 300, 8, 1, 32, &kappa) && kappa == 1.4);
    assert_false(cost_kappa(table, "other", OP_DECODE, 1, 300, 1, 1, 32, &kappa));
    assert_true(kappa == 1);
    assert_false(cost_kappa(table, "m", OP_DECODE, 1, 300, 1, 1, 8, &kappa));
}

static void the_roofline_is_read_back_and_the_measured_knee_counts(void **state)
{
    static const struct cost_roofline rows[] = {
        { 1, "sgemm_peak", COST_UNKNOWN, 119.5, "Gflop/s" }, { 2, "ws_bw", 4194304, 12.25, "GB/s" }
    };
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena), *again = out_open_memory(scratch->arena);
    const struct cost_table *table;

    cost_write_roofline(out, rows, 2);
    assert_string_equal(scratch_text(out),
                        "# orrery: roofline 1\nthreads,metric,ws_bytes,value,unit\n"
                        "1,sgemm_peak,,119.5,Gflop/s\n"
                        "2,ws_bw,4194304,12.25,GB/s\n");
    scratch_write(scratch, "pi4/kernels.csv", HEAD "qkv,1,1,96,64,5\n");
    scratch_write(scratch, "pi4/roofline.csv", scratch_text(out));
    scratch_write(scratch, "pi4/device.csv", "key,value\nllc_bytes,1000\nquality,good\n");
    table = cost_load(scratch->arena, path_of(scratch, "pi4"), scratch_err(scratch));
    assert_non_null(table);
    assert_int_equal(cost_roofline_count(table), 2);
    cost_write_roofline(again, cost_roofline_at(table, 0), 2);
    assert_string_equal(scratch_text(again), scratch_text(out));
    assert_int_equal(cost_llc_bytes(table), 1000);
    assert_false(cost_is_disturbed(table));
    scratch_write(scratch, "pi4/device.csv",
                  "key,value\nllc_effective_bytes,700\nllc_bytes,1000\n");
    table = cost_load(scratch->arena, path_of(scratch, "pi4"), scratch_err(scratch));
    assert_int_equal(cost_llc_bytes(table), 700);
    scratch_write(scratch, "pi4/roofline.csv", "threads,metric,value,unit\n1,sgemm_peak,nan,x\n");
    assert_null(cost_load(scratch->arena, path_of(scratch, "pi4"), scratch_err(scratch)));
    assert_non_null(strstr(scratch_message(scratch), "pi4/roofline.csv:2:3: value is 'nan'"));
}

static void only_the_wake_up_of_a_roofline_may_be_below_0(void **state)
{
    struct scratch *scratch = *state;
    const struct cost_table *table;

    scratch_write(scratch, "pi4/kernels.csv", HEAD "qkv,1,1,96,64,5\n");
    scratch_write(scratch, "pi4/roofline.csv",
                  "threads,metric,value,unit\n1,idle_resume_ns,-15064,ns\n");
    table = cost_load(scratch->arena, path_of(scratch, "pi4"), scratch_err(scratch));
    assert_non_null(table);
    assert_int_equal(cost_roofline_count(table), 1);
    assert_true(cost_roofline_at(table, 0)->value == -15064);
    scratch_write(scratch, "pi4/roofline.csv",
                  "threads,metric,value,unit\n1,sgemm_peak,-1,GFLOP/s\n");
    assert_null(cost_load(scratch->arena, path_of(scratch, "pi4"), scratch_err(scratch)));
    assert_non_null(strstr(scratch_message(scratch), "pi4/roofline.csv:2:3: value is '-1'"));
}

static void hold_out_points_say_how_far_off_they_were(void **state)
{
    struct scratch *scratch = *state;
    struct out *out = out_open_memory(scratch->arena);
    struct cost_holdout point = { .ci_ps = COST_UNKNOWN,
                                  .predicted_ps = 4202100,
                                  .origin = INTERP_INTERPOLATED };

    point.row = sample_row(4);
    cost_write_holdout(out, &point, 1);
    assert_string_equal(
        scratch_text(out),
        "# orrery: holdout 1\nkernel,phase,impl,dtype,threads,gemm_n,gemm_k,m_tokens,"
        "kv_len,batch,measured_ns,ci_ns,predicted_ns,err_pct,origin\n"
        "qkv,any,gemm,f32,1,96,64,4,0,2,4002,,4202.1,5,interpolated\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_folder_is_a_type_or_holds_types),
        scratch_test(a_type_may_be_named_by_a_dot),
        scratch_test(folders_without_tables_are_errors),
        scratch_test(stages_are_found_whatever_their_order),
        scratch_test(rows_of_other_device_types_are_tables_of_those_types),
        scratch_test(batch_sizes_are_listed_and_found),
        scratch_test(batches_of_an_executable_are_of_the_same_devices),
        scratch_test(bad_stages_are_located),
        scratch_test(what_is_written_is_read_back),
        scratch_test(an_anchor_without_kappa_has_the_ratio),
        scratch_test(every_new_column_is_read),
        scratch_test(a_row_without_knowledge_is_written_empty),
        scratch_test(bad_surroundings_are_located),
        scratch_test(kappa_is_that_of_the_nearest_anchor),
        scratch_test(the_roofline_is_read_back_and_the_measured_knee_counts),
        scratch_test(only_the_wake_up_of_a_roofline_may_be_below_0),
        scratch_test(hold_out_points_say_how_far_off_they_were),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
