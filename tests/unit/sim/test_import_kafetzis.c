/* test_import_kafetzis.c - tables of Kafetzis' simulator, and every result of its planners computed
 * again by --rules kafetzis. */
#include "lib/base/csv.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/format/trace.h"
#include "sim/import/kafetzis.h"
#include "sim/kafetzis/kafetzis.h"
#include "sim/kafetzis/routes.h"
#include "tests/unit/sim/import_run.h"
#include <unistd.h>

#define REAL "../shared/data/kafetzis"
#define GIB 1073741824.0

static void assert_near(double seen, double expected)
{
    double off = seen - expected, size = expected < 0 ? -expected : expected;

    if ((off < 0 ? -off : off) > 1e-9 * size)
        fail_msg("%.17g is not %.17g", seen, expected);
}

static struct kafetzis_settings settings_of(const char *config, const char *algorithm)
{
    struct kafetzis_settings settings;

    kafetzis_defaults(&settings);
    settings.config = config;
    settings.algorithm = algorithm;
    return settings;
}

/* ---- tables ---- */

#define CONFIGS                                                                                    \
    "config,devices,heads,embedding_dim,seq_len_tokens,precision_bytes\ntwo,2,4,64,16,4\n"         \
    "one,1,8,512,128,2\n"
#define DEVICES                                                                                    \
    "config,device,memory_gib,flop_per_s,is_source\none,x,1,1e10,1\ntwo,a,2,1e10,0\n"              \
    "two,b,0.5,2e10,1\n"
#define LINKS "config,device_a,device_b,bandwidth_gib_per_s\ntwo,b,a,0.5\n"
#define RESULT_HEAD "config,algorithm,feasible,error,latency_s,projection_device,ffn_device\n"
#define RESULTS                                                                                    \
    RESULT_HEAD "two,greedy,1,,0.00025,a,b\ntwo,none,0,No device,,,\none,greedy,1,,0.1,x,x\n"
#define SHARES "config,algorithm,device,heads\ntwo,greedy,b,3\ntwo,greedy,a,1\none,greedy,x,8\n"

static const char *tables(struct scratch *scratch)
{
    (void)scratch_write(scratch, "in/configs.csv", CONFIGS);
    (void)scratch_write(scratch, "in/devices.csv", DEVICES);
    (void)scratch_write(scratch, "in/links.csv", LINKS);
    (void)scratch_write(scratch, "in/results.csv", RESULTS);
    (void)scratch_write(scratch, "in/heads.csv", SHARES);
    return arena_printf(scratch->arena, "%s/in", scratch->folder);
}

static void import_or_fail(struct scratch *scratch, const char *path,
                           const struct kafetzis_settings *settings)
{
    if (!import_run(scratch, &import_kafetzis, path, settings))
        fail_msg("%s", scratch->err.text);
}

static void tables_become_cluster_model_workload_placement_and_requests(void **state)
{
    struct scratch *scratch = *state;
    const struct kafetzis_settings settings = settings_of("two", "greedy");

    import_or_fail(scratch, tables(scratch), &settings);
    assert_int_equal(run.out_count, 6);
    assert_string_equal(import_rows("cluster/devices.csv"),
                        "device,type,node,memory_bytes,flop_per_s\n"
                        "a,kafetzis,,2147483648,10000000000\n"
                        "b,kafetzis,source,536870912,20000000000\n");
    assert_string_equal(
        import_rows("cluster/links.csv"),
        "medium,kind,node,bits_per_s,latency_s,per_message_s,efficiency_ratio,mesh_columns,ports,"
        "wavelengths,setup_s\nb-a,switch,source,4294967296,0,0,1,,,,\n"
        "b-a,switch,a,4294967296,0,0,1,,,,\n");
    assert_string_equal(import_rows("models.csv"),
                        "model,kind,layers,hidden,heads,kv_heads,head_dim,ffn_hidden,vocab,ffn,"
                        "norm,positions,tied_lm_head,weight_bits,kv_bits,max_context\n"
                        "kafetzis-4x64,decoder,1,64,4,4,16,256,1,gelu,layer,learned,no,32,32,\n");
    assert_string_equal(import_rows("workload.csv"),
                        "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
                        "0,0,4x64,16,1\n");
    assert_string_equal(import_rows("placement.csv"),
                        "service,replica,stage,device,model,layers,block,parts\n"
                        "4x64,0,0,b,kafetzis-4x64,,embed,\n"
                        "4x64,0,0,a,kafetzis-4x64,0,attn,0/4\n"
                        "4x64,0,0,b,kafetzis-4x64,0,attn,1-3/4\n"
                        "4x64,0,0,a,kafetzis-4x64,0,proj,\n"
                        "4x64,0,0,b,kafetzis-4x64,0,ffn,\n"
                        "4x64,0,0,b,kafetzis-4x64,,lm_head,\n");
    assert_string_equal(import_rows("requests.csv"),
                        "request_id,service,replica,arrival_s,start_s,first_token_s,finish_s,"
                        "prompt_tokens,output_tokens,client,status,e2e_s\n"
                        "0,4x64,0,0,0,0.00025,0.00025,16,1,,ok,\n");
}

static void placements_and_results_may_be_left_out(void **state)
{
    struct scratch *scratch = *state;
    struct kafetzis_settings settings = settings_of("one", NULL);
    const char *folder = tables(scratch);

    import_or_fail(scratch, folder, &settings);
    assert_int_equal(run.out_count, 4);
    assert_non_null(strstr(import_report_text(&run), "no placement without --algorithm"));
    settings.algorithm = "greedy"; /* known sizes have names; one step is what results are of */
    settings.steps = 3;
    import_or_fail(scratch, folder, &settings);
    assert_int_equal(run.out_count, 5);
    assert_string_equal(import_rows("workload.csv"),
                        "request_id,arrival_s,service,prompt_tokens,output_tokens\n"
                        "0,0,small,128,3\n");
    assert_non_null(strstr(import_rows("models.csv"), "kafetzis-small,decoder,1,512,8,8,64,2048,1,"
                                                      "gelu,layer,learned,no,16,16,\n"));
    assert_int_equal(unlink(arena_printf(scratch->arena, "%s/results.csv", folder)), 0);
    settings.algorithm = NULL;
    import_or_fail(scratch, folder, &settings);
    assert_int_equal(run.out_count, 4);
}

static void spoilt(struct scratch *scratch, const char *name, const char *text, const char *message)
{
    const struct kafetzis_settings settings = settings_of("two", "greedy");
    const char *folder = tables(scratch);

    (void)scratch_write(scratch, arena_printf(scratch->arena, "in/%s.csv", name), text);
    import_fails(scratch, &import_kafetzis, folder, &settings, message);
}

static void names_that_match_nothing_are_errors(void **state)
{
    struct scratch *scratch = *state;
    const char *folder = tables(scratch);
    struct kafetzis_settings settings = settings_of(NULL, NULL);

    import_fails(scratch, &import_kafetzis, folder, &settings,
                 arena_printf(scratch->arena,
                              "--config is missing, and %s/configs.csv has 2: expected two or one",
                              folder));
    settings.config = "twos";
    import_fails(scratch, &import_kafetzis, folder, &settings,
                 "--config is 'twos': expected two or one; did you mean 'two'?");
    settings = settings_of("two", "gredy");
    import_fails(scratch, &import_kafetzis, folder, &settings,
                 "--algorithm is 'gredy': expected greedy or none; did you mean 'greedy'?");
    settings.algorithm = "none";
    import_fails(scratch, &import_kafetzis, folder, &settings,
                 "--algorithm is 'none': it found no placement for 'two': No device");
    spoilt(scratch, "devices", DEVICES "tow,c,2,1e10,0\n",
           "in/devices.csv:5:1: config is 'tow': no such configuration in configs.csv: expected "
           "two or one; did you mean 'two'?");
    spoilt(scratch, "links", LINKS "two,a,c,1\n",
           "in/links.csv:3:3: device_b is 'c': no such device of 'two' in devices.csv: expected a "
           "or b; did you mean 'a'?");
    spoilt(scratch, "results", RESULTS "two,other,1,,0.1,c,a\n",
           "in/results.csv:5:6: projection_device is 'c': no such device of 'two' in devices.csv: "
           "expected a or b; did you mean 'a'?");
    spoilt(scratch, "heads", SHARES "two,other,a,1\n",
           "in/heads.csv:5:2: algorithm is 'other': results.csv has no placement of it for 'two'");
    spoilt(scratch, "heads", SHARES "two,none,a,1\n",
           "in/heads.csv:5:2: algorithm is 'none': results.csv has no placement of it for 'two'");
    spoilt(scratch, "heads", SHARES "two,greedy,x,1\n",
           "in/heads.csv:5:3: device is 'x': no such device of 'two' in devices.csv: expected a or "
           "b; did you mean 'a'?");
}

static void what_is_there_twice_or_not_at_all_is_an_error(void **state)
{
    struct scratch *scratch = *state;

    spoilt(scratch, "configs", CONFIGS "two,2,4,64,16,4\n",
           "in/configs.csv:4:1: config is 'two': this configuration is there twice");
    spoilt(scratch, "configs",
           "config,devices,heads,embedding_dim,seq_len_tokens,precision_bytes\n",
           "in/configs.csv: no configuration: expected at least one row");
    spoilt(scratch, "devices", DEVICES "two,a,2,1e10,0\n",
           "in/devices.csv:5:2: device is 'a': this device is there twice");
    spoilt(scratch, "devices", DEVICES "two,c,2,1e10,0\n",
           "in/devices.csv:5:2: device is 'c': configs.csv gives this configuration 2 devices");
    spoilt(scratch, "devices",
           "config,device,memory_gib,flop_per_s,is_source\none,x,1,1e10,1\ntwo,a,2,1e10,1\n"
           "two,b,2,1e10,1\n",
           "in/devices.csv:4:5: is_source is '1': a row above is the source of this configuration");
    spoilt(scratch, "devices",
           "config,device,memory_gib,flop_per_s,is_source\none,x,1,1e10,1\ntwo,a,2,1e10,0\n"
           "two,b,2,1e10,0\n",
           "in/devices.csv: no device of 'two' is the source");
    spoilt(scratch, "devices", "config,device,memory_gib,flop_per_s,is_source\ntwo,a,2,1e10,1\n",
           "in/devices.csv: 'two' has 1 devices: configs.csv says 2");
    spoilt(scratch, "links", LINKS "two,a,b,1\n",
           "in/links.csv:3:3: device_b is 'b': these two devices are linked in a row above");
    spoilt(scratch, "links", LINKS "two,a,a,1\n",
           "in/links.csv:3:3: device_b is 'a': a link has two ends");
    spoilt(scratch, "results", RESULTS "two,greedy,1,,0.1,a,a\n",
           "in/results.csv:5:2: algorithm is 'greedy': this algorithm is there twice for 'two'");
    spoilt(scratch, "heads", SHARES "two,greedy,a,1\n",
           "in/heads.csv:5:3: device is 'a': this device is there twice for 'greedy'");
    spoilt(scratch, "heads", "config,algorithm,device,heads\ntwo,greedy,b,5\n",
           "in/heads.csv:2:4: heads is '5': more heads than the 4 of 'two'");
    spoilt(scratch, "heads", "config,algorithm,device,heads\ntwo,greedy,b,3\none,greedy,x,8\n",
           "in/heads.csv: 'greedy' places 3 of the 4 heads of 'two'");
}

static void shapes_must_make_sense(void **state)
{
    struct scratch *scratch = *state;
#define SHAPE "config,devices,heads,embedding_dim,seq_len_tokens,precision_bytes\n"

    spoilt(scratch, "configs", SHAPE "two,2,5,64,16,4\n",
           "in/configs.csv:2:4: embedding_dim is '64': 5 heads do not divide it");
    spoilt(scratch, "configs", SHAPE "two,2,4,64,16,3\n",
           "in/configs.csv:2:6: precision_bytes is '3': expected 1, 2 or 4");
    spoilt(scratch, "configs", SHAPE "two,2,4,64,0,4\n",
           "in/configs.csv:2:5: seq_len_tokens is '0': expected a whole number from 1 to 1000000");
    spoilt(scratch, "configs", SHAPE "two,2,-4,64,16,4\n",
           "in/configs.csv:2:3: heads is '-4': expected a whole number from 1 to 65536");
}

static void options_belong_to_folders(void **state)
{
    struct scratch *scratch = *state;
    const struct kafetzis_settings settings = settings_of("two", NULL);
    const char *path = scratch_write(scratch, "c.yaml", "a: 1\n");

    import_fails(scratch, &import_kafetzis, path, &settings,
                 arena_printf(scratch->arena,
                              "'%s' is no folder: --config, --algorithm and --steps are of tables",
                              path));
    import_fails(scratch, &import_kafetzis, NULL, &settings,
                 "a FILE is missing: what to import (- is stdin)");
}

/* ---- all results ---- */

enum {
    CONFIG,
    ALGORITHM,
    FEASIBLE,
    ERROR,
    LATENCY,
    COMM,
    TRANSFERRED,
    PROJECTION,
    FFN,
    MAKESPAN,
    HEADS_COMM,
    PROJECTION_FFN,
    COLUMN_COUNT
};
static const struct csv_column columns[COLUMN_COUNT] = {
    { "config", true },          { "algorithm", true },
    { "feasible", true },        { "error", true },
    { "latency_s", true },       { "comm_s", true },
    { "transferred_gib", true }, { "projection_device", true },
    { "ffn_device", true },      { "heads_makespan_s", true },
    { "heads_comm_s", true },    { "projection_ffn_s", true },
};

static void assert_field(const struct csv *csv, int column, double seen)
{
    struct err err = ERR_INIT;
    double expected = 0;

    if (!csv_has(csv, column))
        return;
    assert_true(csv_double(csv, column, 0, 1e300, &expected, &err));
    assert_near(seen, expected);
}

/* A table of the last import, as a file. */
static const char *kept(struct scratch *scratch, const char *name)
{
    const char *text = import_table(name);

    assert_non_null(text);
    return scratch_write(scratch, name, text);
}

static void check_result(struct scratch *scratch, const struct csv *csv)
{
    struct arena *arena = scratch->arena;
    const struct kafetzis_settings settings = settings_of(
        arena_strdup(arena, csv_text(csv, CONFIG)), arena_strdup(arena, csv_text(csv, ALGORITHM)));
    struct trace_requests requests;
    struct model_catalogue *catalogue;
    const struct cluster *cluster;
    const struct placement *placement;
    const struct kafetzis_plan *plan = NULL;
    struct kafetzis_result *result;
    const char *folder = arena_printf(arena, "%s/cluster", scratch->folder);

    import_or_fail(scratch, REAL, &settings);
    (void)kept(scratch, "cluster/devices.csv");
    (void)kept(scratch, "cluster/links.csv");
    catalogue = model_catalogue_load(arena, kept(scratch, "models.csv"), &scratch->err);
    cluster = cluster_load(arena, folder, &scratch->err);
    placement = placement_load(arena, kept(scratch, "placement.csv"), &scratch->err);
    if (catalogue && cluster && placement)
        plan = kafetzis_plan_build(arena, placement, cluster, catalogue, &scratch->err);
    if (!plan)
        fail_msg("%s", scratch->err.text);
    result = kafetzis_result_create(arena, cluster);
    if (!kafetzis_run(plan, 0, kafetzis_routes_create(arena, cluster),
                      import_workload(scratch, "workload.csv")->prompt_tokens[0], result,
                      &scratch->err) ||
        !kafetzis_fits(plan, 0, result, 0, &scratch->err))
        fail_msg("%s", scratch->err.text);
    assert_field(csv, LATENCY, result->step_s);
    assert_field(csv, COMM, result->sent_s);
    assert_field(csv, TRANSFERRED, result->sent_bytes / GIB);
    assert_field(csv, MAKESPAN, result->phases_s[KAFETZIS_HEADS]);
    assert_field(csv, HEADS_COMM, result->phases_s[KAFETZIS_GATHER]);
    assert_field(csv, PROJECTION_FFN,
                 result->phases_s[KAFETZIS_PROJECT] + result->phases_s[KAFETZIS_TO_FFN] +
                     result->phases_s[KAFETZIS_FEED]);
    assert_true(
        trace_requests_load(arena, kept(scratch, "requests.csv"), &requests, &scratch->err));
    assert_field(csv, LATENCY, (double)requests.requests[0].finish_ps / (double)UNITS_PS_PER_S);
}

static void every_result_of_every_planner_is_met(void **state)
{
    struct scratch *scratch = *state;
    struct err err = ERR_INIT;
    struct csv *csv;
    int feasible = 0, infeasible = 0;

    if (access(REAL, R_OK) != 0) {
        print_message("skipped: no " REAL " beside this checkout\n");
        skip();
    }
    csv = csv_open(scratch->arena, REAL "/results.csv", "results", columns, COLUMN_COUNT, &err);
    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        if (strcmp(csv_text(csv, FEASIBLE), "1") == 0) {
            check_result(scratch, csv);
            feasible++;
        } else {
            const struct kafetzis_settings settings =
                settings_of(arena_strdup(scratch->arena, csv_text(csv, CONFIG)),
                            arena_strdup(scratch->arena, csv_text(csv, ALGORITHM)));

            assert_false(import_run(scratch, &import_kafetzis, REAL, &settings));
            infeasible++;
        }
    }
    csv_close(csv);
    assert_int_equal(err.kind, ERR_NONE);
    assert_int_equal(feasible, 24);
    assert_int_equal(infeasible, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(tables_become_cluster_model_workload_placement_and_requests),
        scratch_test(placements_and_results_may_be_left_out),
        scratch_test(names_that_match_nothing_are_errors),
        scratch_test(what_is_there_twice_or_not_at_all_is_an_error),
        scratch_test(shapes_must_make_sense),
        scratch_test(options_belong_to_folders),
        scratch_test(every_result_of_every_planner_is_met),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
