/* run.c - orrery-sim run: simulates a workload on a placement and reports. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/model.h"
#include "lib/format/overhead.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "sim/cmd/cmd.h"
#include "sim/cmd/run_kafetzis.h"
#include "sim/cmd/run_options.h"
#include "sim/report/record.h"
#include "sim/report/report.h"
#include "sim/report/served.h"
#include "sim/report/utilisation.h"
#include "sim/report/watch.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool open_outputs(struct arena *arena, const struct run_settings *settings,
                         const struct inputs *inputs, struct out *outs[OUT_COUNT], struct err *err)
{
    for (int i = 0; i < OUT_COUNT; i++) {
        if (!settings->paths[i])
            continue;
        if (!inputs_spare(inputs, settings->paths[i], err))
            return false;
        outs[i] = out_open(arena, settings->paths[i], err);
        if (!outs[i])
            return false;
    }
    return true;
}

static void write_outputs(struct arena *arena, const struct run_settings *settings,
                          const struct report *report, struct record *record,
                          struct out *outs[OUT_COUNT])
{
    const char *program = "orrery-sim " CLI_VERSION;
    const char *seed = arena_printf(arena, "%" PRIu64, report->seed);
    const char *meta[5 + LOAD_META_COUNT] = { "program", program, "seed", seed };
    int meta_count = 4;

    for (int i = 0; report->load && report->load[i]; i++)
        meta[meta_count++] = report->load[i];
    meta[meta_count] = NULL;

    record_finish(record);
    if (outs[OUT_REQUESTS])
        record_write_requests(report->input, report->result, outs[OUT_REQUESTS], meta);
    if (outs[OUT_STAGES])
        record_write_stages(record, outs[OUT_STAGES], meta);
    if (outs[OUT_TRANSFERS])
        record_write_transfers(record, outs[OUT_TRANSFERS], meta);
    if (outs[OUT_UTILISATION])
        utilisation_write(report->utilisation, outs[OUT_UTILISATION], meta);
    if (!outs[OUT_REPORT])
        return;
    if (settings->is_json)
        report_json(arena, report, outs[OUT_REPORT]);
    else
        report_text(report, outs[OUT_REPORT]);
}

static const char *const *load_of(struct arena *arena, const struct scenario_files *files)
{
    const char **load = arena_array(arena, LOAD_META_COUNT + 1, sizeof(char *));
    int count = 0;

    if (files->workload)
        return NULL;
    load_meta(&files->load, load, &count);
    return load;
}

/* So many requests were asked for, and time ended before they had come. */
static bool all_came(const struct run_settings *settings, const struct serve_result *result,
                     struct err *err)
{
    const struct generate_options *load = &settings->files.load.options;
    int64_t came = (int64_t)result->taken_count;

    if (!load_has_process(&settings->files.load) || load->max_requests == 0 ||
        load->duration_ps > 0 || load->replay || load->turns || came >= load->max_requests ||
        settings->serve.until_ps != INT64_MAX || settings->serve.max_requests != SIZE_MAX)
        return true;
    return err_set(err, ERR_INPUT,
                   "%" PRId64 " of %" PRId64 " requests arrive before time ends (9000000 s): raise "
                   "--rate or lower --requests",
                   came, load->max_requests);
}

/* Some request has an objective of its own. */
static bool has_objective(const struct run_settings *settings, const struct serve_input *input)
{
    const struct workload *rows =
        input->workload ? input->workload : settings->files.load.options.replay;

    return settings->files.load.options.slo_ps > 0 || (rows && rows->slos_ps);
}

/* What was asked for and could change nothing is a mistake of who asked. */
static bool check_effects(struct arena *arena, const struct run_settings *settings,
                          const struct serve_input *input, struct err *err)
{
    int count = input->plan->service_count;
    const struct model **models = arena_array(arena, (size_t)count, sizeof(*models));
    bool has_model = false;

    for (int i = 0; i < count; i++) {
        models[i] = input->plan->services[i].model;
        has_model = has_model || models[i];
    }
    if (settings->serve.switch_cost_ps > 0 && input->plan->epoch_count < 2)
        return err_set(err, ERR_USAGE,
                       "--switch-cost: the placement has one epoch, so that nothing is switched");
    if (input->overheads && input->overheads->at[OVERHEAD_STEP].is_given && !has_model)
        return err_set(err, ERR_USAGE,
                       "--overhead: 'step' is what an engine does between the kernels of a model, "
                       "and no service is one");
    return serving_check(&settings->serving, models, count, has_objective(settings, input), err);
}

/* --rules kafetzis reads its own inputs. */
static bool run_load(struct arena *arena, const struct run_settings *settings,
                     struct scenario *scenario, struct run_kafetzis **kafetzis, struct err *err)
{
    if (!settings->is_kafetzis)
        return scenario_load(arena, &settings->files, scenario, err);
    *kafetzis = run_kafetzis_load(arena, settings, scenario, err);
    return *kafetzis != NULL;
}

static bool reports_to_terminal(const struct run_settings *settings)
{
    const char *path = settings->paths[OUT_REPORT];

    return path && strcmp(path, "-") == 0 && !settings->is_json && isatty(STDOUT_FILENO);
}

/* Simulates and writes; on failure the outputs are the caller's to abort. */
static bool simulate(struct arena *arena, const struct run_settings *settings,
                     struct out *outs[OUT_COUNT], int *exit_code, struct err *err)
{
    struct scenario scenario;
    struct serve_result result;
    struct report report = { .options = settings->metrics, .seed = settings->serve.seed };
    struct serve_observer observers[3] = { { 0 } }, observer;
    struct utilisation *utilisation = NULL;
    struct run_kafetzis *kafetzis = NULL;
    struct record *record;
    struct meter *meter;

    if (!run_load(arena, settings, &scenario, &kafetzis, err) ||
        !check_effects(arena, settings, &scenario.input, err) ||
        !open_outputs(arena, settings, &scenario.inputs, outs, err))
        return false;
    record = record_create(arena, &scenario.input, outs[OUT_STAGES] != NULL,
                           outs[OUT_TRANSFERS] != NULL, outs[OUT_CHROME]);
    meter = metrics_begin(arena, scenario.input.plan, &settings->metrics);
    observers[0] = record_observer(record);
    observers[1] = metrics_observer(meter);
    if (outs[OUT_UTILISATION]) {
        utilisation = utilisation_begin(arena, scenario.input.plan->cluster, settings->window_ps);
        observers[2] = utilisation_observer(utilisation);
    }
    observer = watch_join(arena, observers, 3);
    if (!(kafetzis
              ? run_kafetzis_serve(kafetzis, &observer, &result, err)
              : serve_run(arena, &scenario.input, &settings->serve, &observer, &result, err)) ||
        (utilisation && !utilisation_end(utilisation, &result, err)) ||
        !all_came(settings, &result, err))
        return false;
    report.utilisation = utilisation;
    report.phases = kafetzis ? run_kafetzis_phases(kafetzis) : NULL;
    report.inputs = &scenario.inputs;
    report.load = load_of(arena, &settings->files);
    report.served = kafetzis ? NULL : served_options(arena, &settings->serve, &result);
    report.until_ps = settings->serve.until_ps == INT64_MAX ? 0 : settings->serve.until_ps;
    report.max_requests =
        settings->serve.max_requests == SIZE_MAX ? 0 : settings->serve.max_requests;
    report.planned_switch_cost_ps =
        settings->serve.switch_cost_ps == 0 ? scenario.switch_cost_ps : 0;
    report.has_no_links = settings->serve.rules == SERVE_ALPASERVE;
    report.has_kappa = settings->serve.has_kappa;
    report_fill(arena, &report, &scenario.input, &result, meter);
    write_outputs(arena, settings, &report, record, outs);
    if (metrics_has_slo(&settings->metrics) && metrics_missed(&report.all) > 0)
        *exit_code = CLI_NO;
    /* On a terminal they stand in the report already. */
    for (int i = 0; i < report.loud_count && !reports_to_terminal(settings); i++)
        fprintf(stderr, "orrery-sim run: warning: %s\n", report.loud_warnings[i]);
    return out_commit_all(outs, OUT_COUNT, err);
}

static int run(struct run_settings *settings, const char *program)
{
    struct arena *arena = settings->files.load.arena;
    struct out *outs[OUT_COUNT] = { NULL };
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    if (load_finish(&settings->files.load, &err) &&
        simulate(arena, settings, outs, &exit_code, &err))
        return exit_code;
    for (int i = 0; i < OUT_COUNT; i++)
        out_abort(outs[i]);
    return cli_fail(program, &err);
}

int cmd_run(int argc, char **argv)
{
    struct arena *arena = arena_create();
    struct run_settings settings;
    int exit_code = CLI_DONE;

    if (run_options_parse(argc, argv, arena, &settings, &exit_code))
        exit_code = run(&settings, argv[0]);
    arena_destroy(arena);
    return exit_code;
}
