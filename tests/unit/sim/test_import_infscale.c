/* test_import_infscale.c - InfScale's plans and jobs: what becomes of them, and what is wrong with
 * them. */
#include "tests/unit/sim/import_run.h"

#include "lib/base/csv.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/policy/plan.h"
#include "sim/import/infscale.h"
#include "sim/judge/judge.h"
#include "tests/unit/sim/yaml_probe.h"
#include <unistd.h>

#define REAL "../shared/data/infscale/plan_stages.csv"
#define PLAN                                                                                       \
    "model,gpus,batch,stage,layer_first,layer_last,replicas,forward_ms,stage_ms,"                  \
    "static_memory_gb,output_mb\n"
#define PLAN_ROWS "net,3,2,0,0,4,2,30,30.5,1.5,76\nnet,3,2,1,5,9,1,14.25,15,,\n"
#define WORLD(from) "[{name: w, peers: [" from "], addr: 10.0.0.1}]"
#define JOB_HEAD "name: j\nmodel: net\nmicro_batch_size: 2\nfwd_policy: rr\nnfaults: 1\n"
#define WORKERS                                                                                    \
    "workers:\n- {id: s-0, device: cpu, is_server: true, stage: {start: -1, end: -1}}\n"           \
    "- {id: 0-0, device: 'cuda:0', stage: {start: 0, end: 4}}\n"                                   \
    "- {id: 0-1, device: 'cuda:1', stage: {start: 0, end: 4}}\n"                                   \
    "- {id: 1-0, device: 'cuda:2', stage: {start: 5, end: 9}}\n"
#define GRAPH                                                                                      \
    "flow_graph:\n  0-0: " WORLD("s-0") "\n  0-1: " WORLD("s-0") "\n  1-0: " WORLD(                \
        "0-0, 0-1") "\n  s-0: " WORLD("1-0") "\n"

/* On the file and, unless it is NULL, another one. */
static bool import_files(struct scratch *scratch, const struct infscale_settings *settings,
                         const char *first, const char *second)
{
    const char **paths = arena_array(scratch->arena, 2, sizeof *paths);

    paths[0] = first;
    paths[1] = second;
    run = (struct import_job){ .arena = scratch->arena,
                               .importer = "infscale",
                               .files = paths,
                               .file_count = second ? 2 : 1 };
    return infscale_import(&run, settings, scratch_err(scratch));
}

static struct infscale_settings defaults(void)
{
    struct infscale_settings settings;

    infscale_defaults(&settings);
    return settings;
}

static void fails(struct scratch *scratch, const struct infscale_settings *settings,
                  const char *first, const char *second, const char *message)
{
    const char *text;

    assert_false(import_files(scratch, settings, first, second));
    text = scratch->err.text;
    if (strncmp(text, scratch->folder, strlen(scratch->folder)) == 0)
        text += strlen(scratch->folder) + 1;
    assert_string_equal(text, message);
}

/* ---- plans ---- */

static void a_plan_becomes_tables(void **state)
{
    struct scratch *scratch = *state;
    struct infscale_settings settings = defaults();
    const char *path = scratch_write(scratch, "p.csv", PLAN PLAN_ROWS);

    if (!import_files(scratch, &settings, path, NULL))
        fail_msg("%s", scratch->err.text);
    assert_string_equal(import_rows("costs/gpu/stages.csv"),
                        "executable,stage,latency_s,model,devices,batch,gap_s,weight_bytes,"
                        "activation_bytes,output_bytes\n"
                        "net,0,0.0305,net,,1,0,1500000000,0,0\n"
                        "net,1,0.015,net,,1,0,0,0,0\n");
    assert_string_equal(import_rows("placement.csv"),
                        "service,replica,stage,device,executable,layers,copy\n"
                        "net,0,0,gpu0,net,0,\n"
                        "net,0,0,gpu1,net,0,1\n"
                        "net,0,1,gpu2,net,1,\n");
    assert_string_equal(import_rows("cluster/devices.csv"),
                        "device,type\ngpu0,gpu\ngpu1,gpu\ngpu2,gpu\n");
    settings.has_links = true;
    settings.model = "net";
    settings.type = "v100";
    assert_true(import_files(scratch, &settings, path, NULL));
    assert_non_null(strstr(import_rows("costs/v100/stages.csv"),
                           "net,0,0.03,net,,1,0,1500000000,0,76000000\n"
                           "net,1,0.01425,net,"));
}

static void a_plan_of_json_is_the_same(void **state)
{
    struct scratch *scratch = *state;
    struct infscale_settings settings = defaults();
    const char *json =
        "{\"batch_size\": 2, \"num_gpus_used\": 3, \"throughput\": 65.5, \"stages\": ["
        "{\"layer_range\": [0, 4], \"num_replicas\": 2, \"forward_time_ms\": 30, "
        "\"stage_time_ms\": 30.5, \"memory\": {\"static\": 1.5, \"dynamic\": null, \"total\": 1.5},"
        " \"data_sizes\": {\"input\": 0, \"output\": 76}},"
        "{\"layer_range\": \"5-9\", \"forward_time_ms\": 14.25, \"stage_time_ms\": 15}]}";
    const char *from_csv, *placement;

    settings.model = "net";
    settings.has_links = true;
    assert_true(
        import_files(scratch, &settings, scratch_write(scratch, "p.csv", PLAN PLAN_ROWS), NULL));
    from_csv = import_rows("costs/gpu/stages.csv");
    placement = import_rows("placement.csv");
    if (!import_files(scratch, &settings, scratch_write(scratch, "p.json", json), NULL))
        fail_msg("%s", scratch->err.text);
    assert_string_equal(import_rows("costs/gpu/stages.csv"), from_csv);
    assert_string_equal(import_rows("placement.csv"), placement);
}

static void wrong_plans_are_refused(void **state)
{
    struct scratch *scratch = *state;
    struct infscale_settings settings = defaults();
    static const struct {
        const char *name, *text, *message;
    } cases[] = {
        { "p.csv", PLAN PLAN_ROWS "net,4,2,0,0,9,1,1,1,,\n",
          "p.csv:4:2: gpus is '4': a second plan, after one of 3: say which with --gpus" },
        { "p.csv", PLAN PLAN_ROWS "other,3,2,0,0,9,1,1,1,,\n",
          "p.csv:4:1: model is 'other': a second model, after 'net': say which with --model" },
        { "p.csv", PLAN "net,3,2,0,0,4,1,1,1,,\nnet,3,2,1,6,9,1,1,1,,\n",
          "p.csv: stage 1 begins with layer 6: expected 5" },
        { "p.csv", PLAN "net,3,2,1,0,4,1,1,1,,\n",
          "p.csv:2:4: stage is '1': expected 0: stages in order, from 0" },
        { "p.csv", PLAN "net,3,2,0,0,4,0,1,1,,\n",
          "p.csv:2:7: replicas is '0': expected a whole number from 1 to 10000" },
        { "p.csv", PLAN "net,3,2,0,0,4,1,nan,1,,\n",
          "p.csv:2:8: forward_ms is 'nan': not a finite decimal number" },
        { "p.json", "{\"batch_size\": 2, \"stages\": []}",
          "p.json: stages: expected a list of 1 to 10000 stages" },
        { "p.json", "{\"stages\": [{}]}",
          "p.json: batch_size: expected a whole number from 1 to 1000000" },
        { "p.json", "{\"batch_size\": 1, \"stages\": [{\"layer_range\": \"4\"}]}",
          "p.json: stages[0].layer_range: expected [first, last] or \"first-last\"" },
        { "p.json", "{\"batch_size\": 1, \"stages\": [{\"layer_range\": [0, 1]}]}",
          "p.json: stages[0].forward_time_ms: expected a number that is not negative" },
        { "p.txt", "", "" },
    };

    for (size_t i = 0; cases[i].message[0]; i++)
        fails(scratch, &settings, scratch_write(scratch, cases[i].name, cases[i].text), NULL,
              cases[i].message);
    assert_false(
        import_files(scratch, &settings, scratch_write(scratch, "p.txt", "nothing"), NULL));
    assert_non_null(strstr(scratch->err.text, "expected a plan (.json, .csv) or a job"));
    settings.gpus = 7;
    fails(scratch, &settings, scratch_write(scratch, "p.csv", PLAN PLAN_ROWS), NULL,
          "p.csv: no plan of 7 GPUs");
}

/* ---- jobs ---- */

static void a_job_says_where_workers_stand(void **state)
{
    struct scratch *scratch = *state;
    struct infscale_settings settings = defaults();
    const char *job = scratch_write(scratch, "j.yaml", JOB_HEAD GRAPH WORKERS);

    skip_without_yaml(scratch);
    if (!import_files(scratch, &settings, scratch_write(scratch, "p.csv", PLAN PLAN_ROWS), job))
        fail_msg("%s", scratch->err.text);
    assert_string_equal(import_rows("placement.csv"),
                        "service,replica,stage,device,executable,layers,copy\n"
                        "net,0,0,10.0.0.1:cuda:0,net,0,\n"
                        "net,0,0,10.0.0.1:cuda:1,net,0,1\n"
                        "net,0,1,10.0.0.1:cuda:2,net,1,\n");
    assert_string_equal(import_rows("cluster/devices.csv"), "device,type,node\n"
                                                            "10.0.0.1:cuda:0,gpu,10.0.0.1\n"
                                                            "10.0.0.1:cuda:1,gpu,10.0.0.1\n"
                                                            "10.0.0.1:cuda:2,gpu,10.0.0.1\n");
    assert_non_null(strstr(run.report.notes, "fwd_policy rr: --dispatch round-robin"));
    assert_non_null(strstr(run.report.notes, "left out: nfaults"));
    /* without a plan a stage is a stage */
    assert_true(import_files(scratch, &settings, job, NULL));
    assert_null(import_table("costs/gpu/stages.csv"));
    assert_non_null(strstr(import_rows("placement.csv"), "cuda:2,net,1,\n"));
    assert_non_null(strstr(run.report.notes, "no plan"));
}

/* Two pipelines that nothing joins but the server are two replicas. */
static void pipelines_are_replicas(void **state)
{
    struct scratch *scratch = *state;
    struct infscale_settings settings = defaults();
    const char *job =
        JOB_HEAD "flow_graph:\n  0-0: " WORLD("s-0") "\n  1-0: " WORLD("0-0") "\n  0-1: " WORLD(
            "s-0") "\n  s-0: " WORLD("1-0, 0-1") "\n"
                                                 "workers:\n- {id: s-0, is_server: true}\n"
                                                 "- {id: 0-0, stage: {start: 0, end: 4}}\n"
                                                 "- {id: 1-0, stage: {start: 5, end: 9}}\n"
                                                 "- {id: 0-1, stage: {start: 0, end: 9}}\n";

    skip_without_yaml(scratch);
    if (!import_files(scratch, &settings, scratch_write(scratch, "p.csv", PLAN PLAN_ROWS),
                      scratch_write(scratch, "j.yml", job)))
        fail_msg("%s", scratch->err.text);
    assert_string_equal(import_rows("placement.csv"),
                        "service,replica,stage,device,executable,layers\n"
                        "net,0,0,0-0,net,0\n"
                        "net,0,1,1-0,net,1\n"
                        "net,1,0,0-1,net,0-1\n");
}

static void wrong_jobs_are_refused(void **state)
{
    struct scratch *scratch = *state;
    struct infscale_settings settings = defaults();
    const char *plan = scratch_write(scratch, "p.csv", PLAN PLAN_ROWS);
    static const struct {
        const char *text, *message;
    } cases[] = {
        { "name: j\n", "j.yaml:1:1: the document is a map: expected a job with workers and "
                       "flow_graph" },
        { "flow_graph: {0-9: []}\n" WORKERS,
          "j.yaml:1:19: '0-9' is no worker: expected s-0, 0-0, 0-1 or 1-0; did you mean '0-0'?" },
        { "flow_graph: {0-0: " WORLD("s-1") "}\n" WORKERS,
          "j.yaml:1:38: 's-1' is no worker: expected s-0, 0-0, 0-1 or 1-0; did you mean 's-0'?" },
        { "fwd_policy: rrr\n" GRAPH WORKERS,
          "j.yaml:1:13: fwd_policy is 'rrr': expected random, rr, shortest or static; did you "
          "mean 'rr'?" },
        { GRAPH WORKERS "- {id: 1-0, stage: {start: 5, end: 9}}\n",
          "j.yaml:11:8: workers[4].id is '1-0': the worker is there twice" },
        { GRAPH WORKERS "- {id: 2-0, stage: {start: 5}}\n",
          "j.yaml:11:3: workers[4] is a map: expected a stage with start and end" },
        { GRAPH "workers: []\n", "j.yaml:6:10: workers is a list: expected a server (is_server) "
                                 "and workers with stages" },
        { "flow_graph:\n  0-0: " WORLD("s-0") "\n  0-1: " WORLD("s-0") "\n  1-0: " WORLD(
              "0-0") "\n  s-0: " WORLD("1-0, 0-1") "\n" WORKERS,
          "j.yaml:9: the replica of worker '0-1' ends with layer 4, another one with 9" },
        { "flow_graph:\n  0-0: " WORLD("s-0") "\n  1-0: " WORLD("0-0, 0-1") "\n  s-0: " WORLD(
              "1-0") "\n" WORKERS,
          "j.yaml:8: worker '0-1' has the first layers and gets nothing from the server" },
        { "flow_graph:\n  0-0: " WORLD("s-0") "\n  0-1: " WORLD("s-0") "\n  1-0: " WORLD(
              "0-0, 0-1") "\n" WORKERS,
          "j.yaml:9: worker '1-0' has the last layers and sends nothing to the server" },
        { GRAPH "workers:\n- {id: s-0, is_server: true}\n- {id: 0-0, stage: {start: 0, end: 4}}\n"
                "- {id: 0-1, stage: {start: 0, end: 4}}\n- {id: 1-0, stage: {start: 6, end: 9}}\n",
          "j.yaml:10: worker '1-0' begins with layer 6: its replica has no stage, or two, for "
          "layer 5" },
        { GRAPH "workers:\n- {id: s-0, is_server: true}\n- {id: 0-0, stage: {start: 0, end: 3}}\n"
                "- {id: 0-1, stage: {start: 0, end: 3}}\n- {id: 1-0, stage: {start: 4, end: 9}}\n",
          "j.yaml: worker '0-0' has layers 0 to 3: no stage, or several whole ones, of the plan" },
    };

    skip_without_yaml(scratch);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text;

        assert_false(import_files(scratch, &settings, plan,
                                  scratch_write(scratch, "j.yaml", cases[i].text)));
        text = scratch->err.text + strlen(scratch->folder) + 1;
        if (strncmp(text, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("%zu: %s", i, text);
    }
}

/* ---- the plans that we have ---- */

static const char *write_output(struct scratch *scratch, const char *name, const char *to)
{
    return scratch_write(scratch, to, import_table(name));
}

/* What a lone batch takes is what the plan says. */
static void one_plan(struct scratch *scratch, int32_t gpus, double latency_ms)
{
    struct infscale_settings settings = defaults();
    struct cost_set costs;
    struct judge_input input = { .costs = &costs,
                                 .serve = { .until_ps = INT64_MAX, .max_requests = SIZE_MAX } };
    const struct placement *placement;
    struct judge_verdict verdict;
    const char *folder;
    double off;

    settings.gpus = gpus;
    if (!import_files(scratch, &settings, REAL, NULL))
        fail_msg("%s", scratch->err.text);
    folder = write_output(scratch, "costs/gpu/stages.csv", "gpu/stages.csv");
    folder = arena_strndup(scratch->arena, folder, strlen(folder) - strlen("/stages.csv"));
    write_output(scratch, "cluster/devices.csv", "cluster/devices.csv");
    input.cluster =
        cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/cluster", scratch->folder),
                     scratch_err(scratch));
    placement = placement_load(scratch->arena, write_output(scratch, "placement.csv", "p.csv"),
                               &scratch->err);
    assert_non_null(input.cluster);
    assert_int_equal(input.cluster->device_count, gpus);
    assert_true(cost_set_load(scratch->arena, &folder, 1, &costs, &scratch->err));
    verdict = judge_alone(judge_create(scratch->arena, &input), placement->rows, placement->count,
                          placement->rows[0].service, 0, 0);
    if (!verdict.is_feasible)
        fail_msg("%s", verdict.why);
    off = (double)verdict.latency_mean_ps / 1e9 / latency_ms - 1;
    assert_true(-1e-9 < off && off < 1e-9);
}

static void its_plans_take_what_they_say(void **state)
{
    struct scratch *scratch = *state;
    struct err err = ERR_INIT;
    static const struct csv_column columns[] = {
        { "gpus", true },
        { "plan_latency_ms", true },
        { "stage", true },
        { "model", false },
        { "batch", false },
        { "plan_throughput_per_s", false },
        { "plan_batch_throughput_per_s", false },
        { "layer_first", false },
        { "layer_last", false },
        { "replicas", false },
        { "stage_throughput_per_s", false },
        { "forward_ms", false },
        { "stage_ms", false },
        { "static_memory_gb", false },
        { "dynamic_memory_gb", false },
        { "input_mb", false },
        { "output_mb", false },
    };
    struct csv *csv;
    int plans = 0;

    if (access(REAL, R_OK) != 0) {
        print_message("skipped: no %s beside this checkout\n", REAL);
        skip();
    }
    csv = csv_open(scratch->arena, REAL, NULL, columns, sizeof columns / sizeof columns[0], &err);
    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        int32_t gpus, stage;
        double latency_ms;

        assert_true(csv_int32(csv, 0, 1, 100, &gpus, &err));
        assert_true(csv_double(csv, 1, 0, 1e9, &latency_ms, &err));
        assert_true(csv_int32(csv, 2, 0, 100, &stage, &err));
        if (stage > 0)
            continue;
        one_plan(scratch, gpus, latency_ms);
        plans++;
    }
    csv_close(csv);
    assert_int_equal(err.kind, ERR_NONE);
    assert_int_equal(plans, 9);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        WITH(a_plan_becomes_tables),        WITH(a_plan_of_json_is_the_same),
        WITH(wrong_plans_are_refused),      WITH(a_job_says_where_workers_stand),
        WITH(pipelines_are_replicas),       WITH(wrong_jobs_are_refused),
        WITH(its_plans_take_what_they_say),
    };

    return cmocka_run_group_tests_name("import_infscale", tests, NULL, NULL);
}
