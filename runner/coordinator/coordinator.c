/* coordinator.c - from the command line to the written files.
 *
 * All that can be wrong with the input is found, and every output file opened, before a worker is
 * started or awaited. */
#include "runner/coordinator/coordinator.h"

#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/same_file.h"
#include "lib/base/units.h"
#include "lib/format/trace.h"
#include "lib/format/workload.h"
#include "lib/kernels/kernels.h"
#include "lib/wire/keys.h"
#include "runner/coordinator/internal.h"
#include "runner/fleet/fleet.h"
#include "runner/load/serve.h"
#include "runner/load/table.h"
#include "runner/report/partial.h"
#include "runner/report/report.h"
#include "runner/setup/machine.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- output ---- */

static bool folder_has(struct arena *arena, const char *folder, const char *const *names,
                       const char *path)
{
    for (; *names; names++)
        if (same_file(path, arena_printf(arena, "%s/%s", folder, *names)))
            return true;
    return false;
}

static bool is_read(const struct coordinator *c, const char *path)
{
    static const char *const key_files[] = { KEYS_FILE, NULL };
    static const char *const cluster_files[] = { "devices.csv", "links.csv", NULL };
    static const char *const cost_files[] = { "kernels.csv", "interp.csv",   "anchors.csv",
                                              "stages.csv",  "roofline.csv", NULL };
    const struct coordinator_options *options = c->options;
    const char *const files[] = { options->placement, options->workload, options->models,
                                  options->events };

    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        if (files[i] && same_file(path, files[i]))
            return true;
    for (int i = 0; i < c->costs.count; i++)
        if (folder_has(c->arena, cost_path(c->costs.tables[i]), cost_files, path))
            return true;
    return (options->keys && folder_has(c->arena, options->keys, key_files, path)) ||
           (options->cluster && folder_has(c->arena, options->cluster, cluster_files, path));
}

static bool are_same(const char *name, const char *other)
{
    return name && other && strcmp(name, other) == 0;
}

/* However they are written, and wherever links lead. A partial table goes when the run ends:
 * neither an output nor a link to one may have its name. */
static bool check_names(const struct coordinator *c, const char *const *paths, struct err *err)
{
    for (int i = 0; i < OUT_SUMMARY; i++) {
        const char *partial;

        if (!c->outs[i] || !out_target(c->outs[i]))
            continue;
        partial = out_resolve(c->arena, arena_printf(c->arena, "%s" REPORT_PARTIAL, paths[i]));
        for (int k = 0; k < OUT_SUMMARY; k++)
            if (c->outs[k] &&
                ((k < i && are_same(out_target(c->outs[i]), out_target(c->outs[k]))) ||
                 are_same(partial, out_target(c->outs[k])) ||
                 are_same(partial, out_resolve(c->arena, paths[k]))))
                return err_set(err, ERR_USAGE, "%s: two outputs of this name", paths[k]);
    }
    return true;
}

static bool open_outputs(struct coordinator *c, struct err *err)
{
    const char *const paths[] = { c->options->requests_out, c->options->stages_out,
                                  c->options->transfers_out };

    for (int i = 0; i < OUT_SUMMARY; i++) {
        const char *partial;

        if (!paths[i])
            continue;
        partial = arena_printf(c->arena, "%s" REPORT_PARTIAL, paths[i]);
        for (int k = 0; k < i; k++)
            if (paths[k] && strcmp(paths[i], paths[k]) == 0)
                return err_set(err, ERR_USAGE, "%s: two outputs of this name", paths[k]);
        if (is_read(c, paths[i]) || is_read(c, partial))
            return err_set(err, ERR_USAGE, "%s is read by this run: an output would replace it",
                           paths[i]);
        c->outs[i] = out_open(c->arena, paths[i], err);
        if (!c->outs[i] || !out_check_beside(paths[i], REPORT_PARTIAL, err))
            return false;
    }
    return check_names(c, paths, err);
}

static void drop_outputs(struct coordinator *c)
{
    for (int i = 0; i < OUT_COUNT; i++)
        if (c->outs[i])
            out_abort(c->outs[i]);
}

static const char *const *describe(struct coordinator *c, bool is_partial)
{
    const char **meta = arena_array(c->arena, 22 + 4 * (size_t)c->fleet->count, sizeof *meta);
    struct arena *arena = c->arena;
    const char *pads = "";
    int n = 0;

    for (int i = 0; i < c->options->pad_count; i++)
        pads = arena_printf(arena, "%s%s%s=%g", pads, i ? " " : "", c->options->pads[i].device,
                            c->options->pads[i].ratio);
    if (is_partial) {
        meta[n++] = TRACE_PARTIAL;
        meta[n++] = "in the order in which it became known; the run had not ended";
    }
    meta[n++] = "seed";
    meta[n++] = arena_printf(arena, "%llu", (unsigned long long)c->options->seed);
    meta[n++] = "version";
    meta[n++] = "orrery-run " CLI_VERSION;
    meta[n++] = "machine";
    meta[n++] = machine_note(arena);
    meta[n++] = "blas";
    meta[n++] = kernel_blas_config();
    meta[n++] = "blas_core";
    meta[n++] = kernel_blas_core();
    meta[n++] = "workers";
    meta[n++] = c->options->is_local ? "local" : "joined";
    meta[n++] = "dispatch";
    meta[n++] = dispatch_names[c->options->dispatch];
    if (c->options->pad_count > 0) {
        meta[n++] = "pad";
        meta[n++] = pads;
    }
    for (int i = 0; i < c->fleet->count && !c->options->is_local; i++) {
        const struct fleet_worker *worker = &c->fleet->workers[i];

        meta[n++] = arena_printf(arena, "machine of %s", worker->device);
        meta[n++] = worker->machine;
        meta[n++] = arena_printf(arena, "blas_core of %s", worker->device);
        meta[n++] = worker->blas_core;
    }
    meta[n] = NULL;
    return meta;
}

/* A table on stdout leaves stderr for the summary. */
static bool has_stdout(const struct coordinator_options *options)
{
    return strcmp(options->requests_out, "-") == 0 || strcmp(options->stages_out, "-") == 0 ||
           (options->transfers_out && strcmp(options->transfers_out, "-") == 0);
}

static struct report_input report_of(struct coordinator *c, bool is_partial)
{
    return (struct report_input){ .plan = c->plan,
                                  .workload = c->workload,
                                  .service_of = c->service_of,
                                  .fleet = c->fleet,
                                  .run = &c->run,
                                  .meta = describe(c, is_partial),
                                  .seed = c->options->seed };
}

static bool begin_partial(struct coordinator *c, struct err *err)
{
    const struct partial_paths paths = { c->options->requests_out, c->options->stages_out,
                                         c->options->transfers_out };

    c->report = report_of(c, true);
    c->partial = partial_open(c->arena, &c->report, &paths, c->options->replays, err);
    return c->partial != NULL;
}

static void look(void *arg)
{
    partial_look(((struct coordinator *)arg)->partial);
}

static bool write_all(struct coordinator *c, struct err *err)
{
    struct report_input input = report_of(c, false);
    bool to_stderr = has_stdout(c->options);
    struct out *summary = to_stderr ? out_open_memory(c->arena) : out_open(c->arena, "-", err);

    if (!summary)
        return false;
    if (!to_stderr)
        c->outs[OUT_SUMMARY] = summary; /* a full stdout leaves no files behind either */
    report_requests(&input, c->outs[OUT_REQUESTS]);
    report_stages(&input, c->outs[OUT_STAGES]);
    if (c->outs[OUT_TRANSFERS])
        report_transfers(&input, c->outs[OUT_TRANSFERS]);
    report_summary(c->arena, &input, c->options->is_json, summary);
    if (!out_commit_all(c->outs, OUT_COUNT, err))
        return false;
    return !to_stderr || fputs(out_memory(summary, NULL), stderr) >= 0;
}

/* ---- the command ---- */

/* The BLAS starts threads before main and may be handed a signal of the process: it passes it on to
 * the first thread, whose number is the process's. */
static void pass_on(int signal_number)
{
    syscall(SYS_tgkill, getpid(), getpid(), signal_number);
}

/* Signals wait, blocked, in the first thread, until the run can answer them: fleet_take_signal. One
 * that is ignored (nohup) stays so. */
static void block_signals(void)
{
    static const int numbers[] = { SIGINT, SIGTERM, SIGHUP };
    struct sigaction action = { .sa_handler = pass_on, .sa_flags = SA_RESTART }, before;
    sigset_t signals;

    sigemptyset(&action.sa_mask);
    sigemptyset(&signals);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaddset(&signals, numbers[i]);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* before a handler is there that would drop one */
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (sigismember(&signals, numbers[i]) == 1)
            sigaction(numbers[i], &action, NULL);
}

/* How long it takes is known of open loads alone: until the last arrival, at least. */
static bool announce(const struct coordinator *c)
{
    char text[UNITS_TEXT_BYTES];
    int64_t last_ps = 0;

    for (size_t i = 0; i < c->workload->count; i++)
        if (c->workload->arrivals_ps[i] > last_ps)
            last_ps = c->workload->arrivals_ps[i];
    fprintf(stderr, "orrery-run: %d worker%s joined; %zu request%s%s%s\n", c->fleet->count,
            c->fleet->count == 1 ? " has" : "s have", c->workload->count,
            c->workload->count == 1 ? "" : "s", last_ps > 0 ? ", about " : "",
            last_ps > 0 ? units_format_human(last_ps, text) : "");
    return true;
}

static bool run_fleet(struct coordinator *c, struct err *err)
{
    const struct coordinator_options *options = c->options;
    struct serve_input input = { .plan = c->plan,
                                 .workload = c->workload,
                                 .service_of = c->service_of,
                                 .dispatch = options->dispatch,
                                 .batching = coordinator_batching(c),
                                 .batch = &options->batching.batch,
                                 .seed = options->seed,
                                 .keep_transfers = options->transfers_out != NULL,
                                 .replays = options->replays,
                                 .rejoin_wait_ns = options->rejoin_wait_ps / UNITS_PS_PER_NS,
                                 .events = c->events,
                                 .look = look,
                                 .prepare = coordinator_prepare,
                                 .adopt = coordinator_adopt,
                                 .arg = c };
    struct fleet_address address = { options->listen, c->keys, options->keys };

    block_signals();
    c->fleet =
        fleet_create(c->arena, c->plan, c->placement, c->assignment, &address, c->session, err);
    if (!c->fleet)
        return false;
    fprintf(stderr, "orrery-run: listening on %s%s\n", c->fleet->address,
            address.keys                                 ? ", for those who have the keys"
            : strncmp(c->fleet->address, "127.", 4) == 0 ? ""
                                                         : " without keys: whoever reaches it may "
                                                           "join (orrery-run keys --help)");
    input.fleet = c->fleet;
    return (!options->is_local || fleet_spawn(c->fleet, err)) &&
           fleet_assemble(c->fleet, c->plan, options->wait_ps / UNITS_PS_PER_NS, err) &&
           begin_partial(c, err) && announce(c) && serve_run(c->arena, &input, &c->run, err);
}

int coordinator_main(int argc, char **argv)
{
    struct coordinator_options options = coordinator_defaults();
    struct err err = ERR_INIT;
    struct coordinator c = { .options = &options };
    int exit_code;
    bool ok;

    if (!cli_parse(&coordinator_argp, argc, argv, &options, &exit_code))
        return exit_code;
    c.arena = arena_create();
    /* no two runs share it, and never 0: the session of a worker that has not been told */
    c.session = (clock_now_ns() ^ ((int64_t)getpid() << 40)) | 1;
    ok = coordinator_load(&c, &err) && coordinator_assign(&c, &err) && open_outputs(&c, &err) &&
         run_fleet(&c, &err) && write_all(&c, &err);
    fleet_end(c.fleet);
    if (ok) {
        partial_remove(c.partial);
    } else {
        partial_leave(c.partial);
        drop_outputs(&c);
    }
    exit_code = !ok ? cli_fail("orrery-run", &err)
                : c.run.table->by_status[TRACE_FAILED] > 0 || c.run.missing_count > 0 ? CLI_NO
                                                                                      : CLI_DONE;
    arena_destroy(c.arena);
    return exit_code;
}
