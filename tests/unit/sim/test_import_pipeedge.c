/* test_import_pipeedge.c - PipeEdge's scheduler files: what becomes of them, what is wrong with
 * them, and that planners find on what is imported what its own scheduler finds. */
#include "tests/unit/sim/import_run.h"

#include "lib/base/csv.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "sim/import/pipeedge.h"
#include "sim/place/place.h"
#include "tests/unit/sim/pipeedge_sweep.h"
#include "tests/unit/sim/yaml_probe.h"
#include <unistd.h>

#define README "../shared/data/pipeedge/readme_profile"
#define MODELS_YML                                                                                 \
    "net:\n  layers: 3\n  mem_MB: [1, 2.5, 1]\n  parameters_in: 10\n"                              \
    "  parameters_out: [20, 30, 40]\n"
#define TYPES_YML                                                                                  \
    "board:\n  bw_Mbps: 8\n  mem_MB: 4\n  model_profiles:\n    net:\n"                             \
    "    - {dtype: torch.float32, batch_size: 2, time_s: [0.1, 0.2, 0.3]}\n"                       \
    "pc:\n  bw_Mbps: 16\n  mem_MB: 8.5\n  model_profiles:\n    net:\n"                             \
    "    - {dtype: torch.float32, batch_size: 2, time_s: [0.01, 2.0e-2, 0.03]}\n"
#define DEVICES_YML "pc: [p0]\nboard:\n- b0\n- b1\n"

/* ---- small files ---- */

/* Runs the importer on texts; NULL: the file is not given. */
static bool import_texts(struct scratch *scratch, const struct pipeedge_settings *settings,
                         const char *models, const char *types, const char *devices,
                         const char *schedule)
{
    const char *const texts[] = { models, types, devices, schedule };
    static const char *const files[] = { "m.yml", "t.yml", "d.yml", "s.yml" };
    const char **paths = arena_array(scratch->arena, 4, sizeof *paths);

    run = (struct import_job){ .arena = scratch->arena, .importer = "pipeedge", .files = paths };
    for (int i = 0; i < 4; i++)
        if (texts[i])
            paths[run.file_count++] = scratch_write(scratch, files[i], texts[i]);
    return pipeedge_import(&run, settings, scratch_err(scratch));
}

static struct pipeedge_settings defaults(void)
{
    struct pipeedge_settings settings;

    pipeedge_defaults(&settings);
    return settings;
}

static void files_become_tables(void **state)
{
    struct scratch *scratch = *state;
    struct pipeedge_settings settings = defaults();

    skip_without_yaml(scratch);
    if (!import_texts(scratch, &settings, MODELS_YML, TYPES_YML, DEVICES_YML,
                      "- p0: [1, 1]\n- b1: [2, 3]\n"))
        fail_msg("%s", scratch->err.text);
    /* 2^20 bits and bytes; less than mem_MB may be held */
    assert_string_equal(import_rows("cluster/devices.csv"), "device,type,memory_bytes\n"
                                                            "b0,board,4194303\n"
                                                            "b1,board,4194303\n"
                                                            "p0,pc,8912895\n");
    assert_non_null(strstr(import_rows("cluster/links.csv"), "lan,switch,b0,8388608,0,"));
    assert_non_null(strstr(import_rows("cluster/links.csv"), "lan,switch,p0,16777216,0,"));
    /* a microbatch of 2 has 8 bytes a value; layer 0 waits for no input; 2 buffers each */
    assert_string_equal(
        import_rows("costs/pc/stages.csv"),
        "executable,stage,latency_s,model,devices,batch,gap_s,weight_bytes,activation_bytes,"
        "output_bytes\n"
        "net,0,0.01,net,,1,0,1048576,560,160\n"
        "net,1,0.02,net,,1,0,2621440,1200,240\n"
        "net,2,0.03,net,,1,0,1048576,1680,320\n");
    assert_string_equal(import_rows("placement.csv"),
                        "service,replica,stage,device,executable,layers\n"
                        "net,0,0,p0,net,0\n"
                        "net,0,1,b1,net,1-2\n");
}

static void what_is_wrong_is_said(void **state)
{
    struct scratch *scratch = *state;
    struct pipeedge_settings settings = defaults();
    static const struct {
        const char *models, *types, *devices, *schedule, *message;
    } cases[] = {
        { MODELS_YML, TYPES_YML, "board: [b0]\nbord: [b1]\n", NULL,
          "d.yml:2:7: 'bord' is no type of device_types.yml: expected board or pc; did you mean "
          "'board'?" },
        { MODELS_YML, TYPES_YML, "board: [b0, b0]\n", NULL,
          "d.yml:1:13: board[1] is 'b0': the host is there twice" },
        { MODELS_YML, TYPES_YML, "board: [b0]\npc: [b0]\n", NULL,
          "d.yml:2:6: pc[0] is 'b0': the host is there twice" },
        { MODELS_YML, TYPES_YML, "board: []\n", NULL, "d.yml: no hosts" },
        { MODELS_YML, NULL, DEVICES_YML, NULL,
          "no file like device_types.yml is given: expected models, types of devices and devices" },
        { "net:\n  layers: 2\n  mem_MB: [1]\n  parameters_in: 1\n  parameters_out: [1, 1]\n",
          TYPES_YML, DEVICES_YML, NULL,
          "m.yml:3:11: net.mem_MB is a list: 1 numbers: expected 2, one a layer" },
        { "net:\n  layers: 2\n  mem_MB: [1, 1]\n  parameters_in: 1\n  parameters_out: [1, 1]\n",
          TYPES_YML, DEVICES_YML, NULL,
          "t.yml:12:53: pc.model_profiles.net[0].time_s is a list: 3 times: model 'net' has 2 "
          "layers" },
        { MODELS_YML, "board:\n  bw_Mbps: 0\n  mem_MB: 4\n  model_profiles: {}\n", "board: [b0]\n",
          NULL, "t.yml:2:12: board.bw_Mbps is '0': expected a number from 1e-06 to 1e+08" },
        { MODELS_YML, "board:\n  bw_Mbps: 1\n  mem_MB: 4\n  model_profiles: {nett: []}\n",
          "board: [b0]\n", NULL,
          "t.yml:4:26: 'nett' is no model of models.yml: expected net; did you mean 'net'?" },
        { MODELS_YML, "board:\n  bw_Mbps: 1\n  mem_MB: 4\n  model_profiles: {net: []}\n",
          "board: [b0]\n", NULL, "t.yml: no model has a profile for every type that has hosts" },
        { MODELS_YML, TYPES_YML, DEVICES_YML, "- b7: [1, 3]\n",
          "s.yml:1:7: 'b7' is no host of devices.yml" },
        { MODELS_YML, TYPES_YML, DEVICES_YML, "- b0: [1, 2]\n",
          "s.yml:1:1: the document is a list: expected layers up to 3" },
        { MODELS_YML, TYPES_YML, DEVICES_YML, "- b0: [1, 1]\n- b1: [3, 3]\n",
          "s.yml:2:7: [1].b1 is a list: expected layers from 2 on: all of them, in order" },
        { MODELS_YML, TYPES_YML, DEVICES_YML, "[]\n",
          "s.yml:1:1: the document is a list: expected stages: the program writes an empty list "
          "where nothing fits" },
    };

    skip_without_yaml(scratch);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *text;

        assert_false(import_texts(scratch, &settings, cases[i].models, cases[i].types,
                                  cases[i].devices, cases[i].schedule));
        text = scratch->err.text;
        if (strncmp(text, scratch->folder, strlen(scratch->folder)) == 0)
            text += strlen(scratch->folder) + 1;
        assert_string_equal(text, cases[i].message);
    }
}

static void profiles_are_chosen(void **state)
{
    struct scratch *scratch = *state;
    struct pipeedge_settings settings = defaults();
    const char *types = "board:\n  bw_Mbps: 8\n  mem_MB: 4\n  model_profiles:\n    net:\n"
                        "    - {dtype: a, batch_size: 1, time_s: [1, 1, 1]}\n"
                        "    - {dtype: a, batch_size: 8, time_s: [5, 5, 5]}\n"
                        "    - {dtype: b, batch_size: 8, time_s: [6, 6, 6]}\n"
                        "    - {dtype: b, batch_size: 8, time_s: [7, 7, 7]}\n";

    skip_without_yaml(scratch);
    assert_false(import_texts(scratch, &settings, MODELS_YML, types, "board: [b0]\n", NULL));
    assert_non_null(strstr(scratch->err.text, "profiles of batch_size 1 and 8: say which"));
    settings.batch = 8;
    assert_false(import_texts(scratch, &settings, MODELS_YML, types, "board: [b0]\n", NULL));
    assert_non_null(strstr(scratch->err.text, "profiles of dtype 'a' and 'b': say which"));
    settings.dtype = "b";
    assert_true(import_texts(scratch, &settings, MODELS_YML, types, "board: [b0]\n", NULL));
    assert_non_null(strstr(import_rows("costs/board/stages.csv"), "net,0,7,"));
    assert_non_null(strstr(run.report.notes, "the last one holds"));
    settings.dtype = "c";
    settings.model = "net";
    assert_false(import_texts(scratch, &settings, MODELS_YML, types, "board: [b0]\n", NULL));
    assert_non_null(strstr(scratch->err.text, "type 'board' has no profile of model 'net' with "
                                              "batch_size 8 and dtype 'c'"));
    settings.model = "nett";
    assert_false(import_texts(scratch, &settings, MODELS_YML, types, "board: [b0]\n", NULL));
    assert_non_null(strstr(scratch->err.text, "'nett' is no model"));
}

/* ---- planners on what is imported ---- */

static const char *write_output(struct scratch *scratch, const char *name)
{
    return scratch_write(scratch, name, import_table(name));
}

/* The answer of `pipeedge` as its scheduler prints it: host:first-last, from 1. */
static const char *planned(struct scratch *scratch, int64_t *period_ps)
{
    struct cost_set costs = { 0 };
    struct problem_input input = {
        .costs = &costs, .service = "net", .prompt_tokens = 1, .output_tokens = 1, .sequences = 1
    };
    const struct problem *problem;
    struct place_ask ask = { .problem_count = 1, .objective = PLACE_PERIOD };
    struct place_answer answer;
    const char *text = "", *folders[MOST_TYPES];
    int folder_count = 0;

    for (int i = 0; i < run.out_count; i++)
        if (strncmp(run.paths[i], "costs/", 6) == 0) {
            const char *path = scratch_write(scratch, run.paths[i] + 6,
                                             scratch_text(run.outs[i])); /* TYPE/stages.csv */

            folders[folder_count++] =
                arena_strndup(scratch->arena, path, (size_t)(strrchr(path, '/') - path));
        }
    write_output(scratch, "cluster/links.csv");
    write_output(scratch, "cluster/devices.csv");
    input.cluster =
        cluster_load(scratch->arena, arena_printf(scratch->arena, "%s/cluster", scratch->folder),
                     scratch_err(scratch));
    if (!input.cluster ||
        !cost_set_load(scratch->arena, folders, folder_count, &costs, &scratch->err))
        fail_msg("%s", scratch->err.text);
    input.executable = cost_stage_row_at(costs.tables[0], 0)->executable;
    problem = problem_create(scratch->arena, &input, &scratch->err);
    assert_non_null(problem);
    ask.problems = &problem;
    answer = place_pipeedge(scratch->arena, &ask);
    if (!answer.is_feasible)
        return NULL;
    for (int32_t s = 0; s < answer.stage_count; s++)
        text = arena_printf(scratch->arena, "%s%s%s:%d-%d", text, s > 0 ? " " : "",
                            input.cluster->devices[answer.stages[s].device].name,
                            (int)answer.stages[s].first + 1, (int)answer.stages[s].last + 1);
    *period_ps = problem_score(problem, answer.stages, answer.stage_count).period_ps;
    return text;
}

static const char *numbers(struct arena *arena, const double *list, int32_t count)
{
    const char *text = "[";

    for (int32_t i = 0; i < count; i++)
        text = arena_printf(arena, "%s%s%.17g", text, i > 0 ? ", " : "", list[i]);
    return arena_printf(arena, "%s]", text);
}

static const char *model_text(struct arena *arena, const struct sweep_model *model)
{
    return arena_printf(arena,
                        "%s:\n  layers: %d\n  parameters_in: %.17g\n  parameters_out: %s\n"
                        "  mem_MB: %s\n",
                        model->name, (int)model->layers, model->values_in[0],
                        numbers(arena, model->values_out, model->layers),
                        numbers(arena, model->mem_mib, model->layers));
}

static const char *type_text(struct arena *arena, const struct sweep_type *type,
                             const struct sweep_model *model, int batch, const double *seconds)
{
    return arena_printf(arena,
                        "%s:\n  bw_Mbps: %.17g\n  mem_MB: %.17g\n  model_profiles:\n    %s:\n"
                        "    - dtype: torch.float32\n      batch_size: %d\n      time_s: %s\n",
                        type->name, type->bandwidth_mibit, type->mem_mib, model->name, batch,
                        numbers(arena, seconds, model->layers));
}

/* ---- the profile of its README ---- */

static void readme_profile(struct arena *arena, struct sweep_model *model, double seconds[2][48])
{
    enum { NAME, LAYER, A, B, C, D, E, F, COUNT };
    static const struct csv_column layers[] = {
        { "model", true },     { "sublayer", true },   { "mem_rss_delta_mb", true },
        { "values_in", true }, { "values_out", true }, { "block", false },
        { "kind", false },
    };
    static const struct csv_column times[] = { { "device", true }, { "sublayer", true },
                                               { "time_s", true }, { "model", false },
                                               { "batch", false }, { "dtype", false },
                                               { "block", false }, { "kind", false } };
    struct err err = ERR_INIT;
    struct csv *csv = csv_open(arena, README "/layer_model.csv", "layers", layers, F, &err);
    int32_t layer;

    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        assert_true(csv_int32(csv, LAYER, 1, 48, &layer, &err));
        assert_true(snprintf(model->name, sizeof model->name, "%s", csv_text(csv, NAME)) > 0);
        assert_true(csv_double(csv, A, 0, 1e12, &model->mem_mib[layer - 1], &err));
        assert_true(csv_double(csv, B, 0, 1e12, &model->values_in[layer - 1], &err));
        assert_true(csv_double(csv, C, 0, 1e12, &model->values_out[layer - 1], &err));
        model->layers = layer;
    }
    csv_close(csv);
    csv = csv_open(arena, README "/layer_times.csv", "times", times, COUNT, &err);
    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        bool is_rcc = csv_text(csv, NAME)[0] == 'R';

        assert_true(csv_int32(csv, LAYER, 1, 48, &layer, &err));
        assert_true(csv_double(csv, A, 0, 1e12, &seconds[is_rcc][layer - 1], &err));
    }
    csv_close(csv);
    assert_int_equal(err.kind, ERR_NONE);
    (void)D;
    (void)E;
}

static void its_readme_schedule_comes_out(void **state)
{
    struct scratch *scratch = *state;
    struct pipeedge_settings settings = defaults();
    struct sweep_model *model = arena_alloc(scratch->arena, sizeof *model);
    const struct sweep_type board = { "", "Minnowboard-E3845", 1000, 2048 };
    const struct sweep_type pc = { "", "RCC-VE-C2000", 1000, 8192 };
    double seconds[2][48];
    int64_t period_ps = 0;

    skip_without_yaml(scratch);
    if (access(README, R_OK) != 0) {
        print_message("skipped: no %s beside this checkout\n", README);
        skip();
    }
    readme_profile(scratch->arena, model, seconds);
    if (!import_texts(scratch, &settings, model_text(scratch->arena, model),
                      arena_printf(scratch->arena, "%s%s",
                                   type_text(scratch->arena, &pc, model, 8, seconds[1]),
                                   type_text(scratch->arena, &board, model, 8, seconds[0])),
                      "RCC-VE-C2000: [r0, r1, r2, r3]\nMinnowboard-E3845: [m0, m1, m2, m3]\n",
                      NULL))
        fail_msg("%s", scratch->err.text);
    assert_string_equal(planned(scratch, &period_ps),
                        "m0:1-5 m1:6-11 m2:12-16 m3:17-21 r0:22-28 r1:29-35 r2:36-41 r3:42-48");
    assert_in_range(period_ps / UNITS_PS_PER_MS, 1548, 1550);
}

/* ---- its 300 problems ---- */

/* Where memory is short ours may be longer: the buffers of a stage are those of its largest layer,
 * not of its first and last. */
struct tally {
    int same, infeasible, longer;
};

static const double *seconds_of(const struct sweep *sweep, const char *type, const char *model,
                                bool is_eight)
{
    for (int i = 0; i < sweep->times_count; i++)
        if (strcmp(sweep->times[i].type, type) == 0 && strcmp(sweep->times[i].model, model) == 0)
            return sweep->times[i].seconds[is_eight];
    fail_msg("no times of %s on %s", model, type);
    return NULL;
}

/* "b-mb:2 c-rcc:1" as devices.yml, and the types in it. */
static const char *devices_text(struct arena *arena, const struct sweep *sweep,
                                const struct csv *csv, const struct sweep_model *model, int batch,
                                const char **types)
{
    const char *devices = "";

    *types = "";
    for (const char *at = csv_text(csv, HOSTS); *at;) {
        size_t length = strcspn(at, ":");
        const char *name = arena_strndup(arena, at, length);
        long count = strtol(at + length + 1, NULL, 10);

        *types =
            arena_printf(arena, "%s%s", *types,
                         type_text(arena, sweep_find_type(sweep, csv_text(csv, VARIANT), name),
                                   model, batch, seconds_of(sweep, name, model->name, batch > 1)));
        devices = arena_printf(arena, "%s%s:\n", devices, name);
        for (long h = 0; h < count; h++)
            devices = arena_printf(arena, "%s- %s-%ld\n", devices, name + 2, h);
        at += strcspn(at, " ");
        at += *at == ' ';
    }
    return devices;
}

static void one_case(struct scratch *scratch, const struct sweep *sweep, const struct csv *csv,
                     struct tally *tally)
{
    struct pipeedge_settings settings = defaults();
    const struct sweep_model *model = sweep->models;
    const char *types, *devices, *found;
    struct err err = ERR_INIT;
    int32_t batch, feasible;
    int64_t period_ps = 0;
    double period_s = 0, off;

    while (strcmp(model->name, csv_text(csv, MODEL)) != 0)
        model++;
    assert_true(csv_int32(csv, BATCH, 1, 8, &batch, &err));
    assert_true(csv_int32(csv, IN, 0, 100, &settings.buffers_in, &err));
    assert_true(csv_int32(csv, OUT, 0, 100, &settings.buffers_out, &err));
    assert_true(csv_int32(csv, FEASIBLE, 0, 1, &feasible, &err));
    devices = devices_text(scratch->arena, sweep, csv, model, batch, &types);
    if (!import_texts(scratch, &settings, model_text(scratch->arena, model), types, devices, NULL))
        fail_msg("%s", scratch->err.text);
    found = planned(scratch, &period_ps);
    assert_true(feasible || !found);
    if (!feasible) {
        tally->infeasible++;
        return;
    }
    assert_true(csv_double(csv, PERIOD, 0, 1e12, &period_s, &err));
    off = (double)period_ps / 1e12 / period_s - 1;
    if (!found || off > 1e-9) {
        tally->longer++;
        return;
    }
    assert_true(off > -1e-9);
    assert_string_equal(found, csv_text(csv, PARTITION));
    tally->same++;
}

static void its_problems_are_solved_as_by_itself(void **state)
{
    struct scratch *scratch = *state;
    struct sweep *sweep = arena_alloc(scratch->arena, sizeof *sweep);
    struct tally tally = { 0 };
    struct err err = ERR_INIT;
    struct csv *csv;

    skip_without_yaml(scratch);
    if (access(SWEEP, R_OK) != 0) {
        print_message("skipped: no %s beside this checkout\n", SWEEP);
        skip();
    }
    sweep_read_models(scratch->arena, sweep);
    sweep_read_types(scratch->arena, sweep);
    sweep_read_times(scratch->arena, sweep);
    csv = csv_open(scratch->arena, SWEEP "/cases.csv", "cases", sweep_case_columns, COLUMN_COUNT,
                   &err);
    assert_non_null(csv);
    while (csv_next(csv, &err)) {
        void *one = NULL;

        assert_int_equal(scratch_begin(&one), 0);
        one_case(one, sweep, csv, &tally);
        assert_int_equal(scratch_end(&one), 0);
    }
    csv_close(csv);
    assert_int_equal(err.kind, ERR_NONE);
    assert_int_equal(tally.same, 286);
    assert_int_equal(tally.infeasible, 5);
    assert_int_equal(tally.longer, 9);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, scratch_begin, scratch_end)
    const struct CMUnitTest tests[] = {
        WITH(files_become_tables),
        WITH(what_is_wrong_is_said),
        WITH(profiles_are_chosen),
        WITH(its_readme_schedule_comes_out),
        WITH(its_problems_are_solved_as_by_itself),
    };

    return cmocka_run_group_tests_name("import_pipeedge", tests, NULL, NULL);
}
