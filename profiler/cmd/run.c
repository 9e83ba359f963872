/* run.c - orrery-profile run: the run, the files, the closing words. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "profiler/cmd/report.h"
#include "profiler/cmd/session.h"
#include "profiler/commands.h"
#include "profiler/device/facts.h"
#include "profiler/journal/identity.h"
#include "profiler/journal/journal.h"
#include "profiler/journal/resume.h"
#include "profiler/measure/interrupt.h"
#include "profiler/measure/measure.h"
#include "profiler/measure/store.h"
#include "profiler/table/saved.h"
#include "profiler/table/table.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Without this line a slow board looks as if it had stopped. */
static void say_slow(void *arg, int64_t round_ns)
{
    const struct session *session = arg;
    char round[UNITS_TEXT_BYTES], budget[UNITS_TEXT_BYTES];

    if (round_ns > UNITS_MAX_PS / UNITS_PS_PER_NS)
        round_ns = UNITS_MAX_PS / UNITS_PS_PER_NS;
    fprintf(stderr,
            "%s: one round will take about %s, the budget is %s;\n"
            "  at least 2 are made for each thread count (less: --tokens, --kv)\n",
            session->program, units_format_human(round_ns * UNITS_PS_PER_NS, round),
            units_format_human(session->measure.budget_ns * UNITS_PS_PER_NS, budget));
}

static bool measure(struct session *session, struct err *err)
{
    if (!session_scout(session, err))
        return false;
    if (!isatty(STDERR_FILENO)) /* a terminal has the progress bar */
        fprintf(stderr, "%s: measuring %s for about %.3g s ...\n", session->program,
                session->model->name, (double)session->measure.budget_ns / 1e9);
    return measure_run(&session->measure, err);
}

static void put_int(struct session *session, const char *key, int64_t value, const char *unit)
{
    facts_put(session->facts, key, arena_printf(session->arena, "%lld", (long long)value), unit,
              "orrery-profile run", "");
}

/* Facts that only the run knows. */
static void add_facts(struct session *session, const struct table *table)
{
    struct facts *facts = session->facts;
    struct arena *arena = session->arena;
    const struct measure *m = &session->measure;
    const char *source = "orrery-profile run";

    facts_put(facts, "model", session->model->name, "", source, "");
    facts_put(facts, "quality", table->quality, "", source, "");
    facts_put(facts, "regime", session->options->regime, "", source, "");
    put_int(session, "pool_bytes", session->pools[0].size_bytes, "bytes");
    if (session->knee_bytes > 0)
        put_int(session, "llc_effective_bytes", session->knee_bytes, "bytes");
    put_int(session, "processes", m->processes_done, "");
    facts_put(facts, "budget_s", arena_printf(arena, "%.3f", (double)m->budget_ns / 1e9), "s",
              source, "");
    put_int(session, "seed", (int64_t)m->seed, "");
    put_int(session, "tile_period", session->periods[0], "tokens");
    put_int(session, "forward_256_ns", session->forward_ns[0], "ns");
    facts_put(facts, "stamp_overhead_ratio", arena_printf(arena, "%.6f", table->stamp_ratio), "",
              source, "");
    put_int(session, "resumed", journal_resume_count(m->journal), "times");
    facts_put(facts, "counters", m->counter_state, "", source, session->options->counters);
}

static const char *folder_name(struct arena *arena, const char *path)
{
    size_t end = strlen(path);

    while (end > 1 && path[end - 1] == '/')
        end--;
    size_t start = end;
    while (start > 0 && path[start - 1] != '/')
        start--;
    return arena_strndup(arena, path + start, end - start);
}

/* 0 done, 1 refused (--strict), 2 could not be done. */
static int write_files(struct session *session, struct table *table, struct err *err)
{
    const struct facts *facts = session->facts;
    const struct run_options *options = session->options;
    struct table_inputs inputs = { .device_id = folder_name(session->arena, options->folder),
                                   .stores = session->stores,
                                   .store_count = session->store_count,
                                   .roofline = session->roofline,
                                   .roofline_count = session->roofline_count };

    if (!table_build(session->arena, &inputs, table, err))
        return CLI_FAIL;
    if (facts_is_emulated(facts))
        table->quality = arena_printf(session->arena, "emulated: these are the times of %s",
                                      facts_get(facts, "emulated"));
    add_facts(session, table);
    if (options->is_strict && strcmp(table->quality, "good") != 0) {
        err_set(err, ERR_USAGE, "refused by --strict: the table is %s", table->quality);
        return CLI_NO;
    }
    const char *meta[] = { "model",     session->model->name,
                           "quality",   table->quality,
                           "emulated",  facts_get(facts, "emulated"),
                           "cpu",       facts_get(facts, "cpu"),
                           "blas",      facts_get(facts, "blas_config"),
                           "blas_core", facts_get(facts, "blas_core"),
                           "thp",       facts_get(facts, "thp"),
                           "date_utc",  facts_get(facts, "date_utc"),
                           "seed",      facts_get(facts, "seed"),
                           NULL };
    if (interrupt_came(&session->interrupt, err) ||
        !table_write(session->arena, options->folder, table, meta, facts, session->stores,
                     session->store_count, err))
        return CLI_FAIL;
    return CLI_DONE;
}

static bool print_report(struct session *session, const struct table *table, int64_t began_ns,
                         struct err *err)
{
    const struct run_options *options = session->options;
    struct report report = { .model = session->model->name,
                             .cpu = facts_get(session->facts, "cpu"),
                             .folder = options->folder,
                             .table = table,
                             .facts = session->facts,
                             .threads = options->threads,
                             .processes = session->measure.processes_done,
                             .period = session->periods[0],
                             .seed = options->seed,
                             .elapsed_s = (double)(clock_now_ns() - began_ns) / 1e9,
                             .budget_s = (double)session->measure.budget_ns / 1e9,
                             .warnings = session->warnings,
                             .warning_count = session->warning_count };
    struct out *out = out_open(session->arena, "-", err);

    if (!out)
        return false;
    if (options->is_json)
        report_write_json(session->arena, out, &report);
    else
        report_write_text(session->arena, out, &report);
    return out_commit(out, err);
}

/* The first folder on the way that out_make_folder will have to make; NULL when all are there. */
static const char *first_missing(struct arena *arena, const char *path)
{
    for (size_t end = 1; path[0]; end++) {
        if (path[end] && path[end] != '/')
            continue;
        const char *part = arena_strndup(arena, path, end);

        if (access(part, F_OK) != 0)
            return part;
        if (!path[end])
            break;
    }
    return NULL;
}

/* Empty folders from the last upwards to the first that was made. */
static void remove_folders(struct arena *arena, const char *path, const char *first)
{
    char *at = arena_strdup(arena, path);

    for (size_t end = strlen(at); end >= strlen(first); at[end] = '\0') {
        (void)rmdir(at);
        while (end > 0 && at[end - 1] == '/')
            end--;
        while (end > 0 && at[end - 1] != '/')
            end--;
        while (end > 1 && at[end - 1] == '/')
            end--;
        if (end == 0)
            return;
    }
}

static void put_option(struct identity *identity, const char *key, const char *value)
{
    identity_put(identity, IDENTITY_OPTIONS, key, value ? value : "default");
}

/* What must be the same for a run to be gone on with; the budget may differ. */
static struct identity identify(struct session *session)
{
    const struct run_options *options = session->options;
    struct arena *arena = session->arena;
    struct identity identity = identity_create(arena);

    identity_put(&identity, IDENTITY_TOOL, "tool_version", CLI_VERSION);
    identity_put_machine(&identity, session->facts);
    identity_put_model(&identity, session->model);
    put_option(&identity, "threads", options->threads);
    put_option(&identity, "slices", options->slices);
    put_option(&identity, "dtype", options->dtypes);
    put_option(&identity, "tokens", options->tokens);
    put_option(&identity, "kv", options->kv);
    put_option(&identity, "batch", options->batch);
    put_option(&identity, "anchor", options->anchors);
    put_option(&identity, "holdout", options->holdouts);
    put_option(&identity, "regime", options->regime);
    put_option(&identity, "quick", options->is_quick ? "yes" : "no");
    put_option(&identity, "processes", arena_printf(arena, "%d", session_processes(options)));
    put_option(&identity, "counters", options->counters);
    put_option(&identity, "energy", options->energy);
    put_option(&identity, "seed", arena_printf(arena, "%llu", (unsigned long long)options->seed));
    put_option(&identity, "anchor_layers",
               arena_printf(arena, "%d", session->pools[0].anchor_layers));
    return identity;
}

static bool open_journal(struct session *session, const char *folder, struct err *err)
{
    const struct identity identity = identify(session);
    bool is_resumed = session->options->has_resume;

    session_prepare(session);
    session->measure.on_slow = say_slow;
    if (!resume_open(session->arena, &session->measure, folder, &identity, is_resumed, err))
        return false;
    if (is_resumed)
        fprintf(stderr, "%s: %lld samples are there already\n", session->program,
                (long long)journal_sample_count(session->measure.journal));
    return true;
}

static int measure_into(struct session *session, const char *folder, struct table *table,
                        struct err *err)
{
    struct journal **journal = &session->measure.journal;

    /* before the minutes of measuring, not after them */
    if (!out_make_folder(folder, err))
        return CLI_FAIL;
    if (access(folder, W_OK | X_OK) != 0) {
        err_errno(err, folder);
        return CLI_FAIL;
    }
    if (!open_journal(session, folder, err) || !measure(session, err))
        return CLI_FAIL;
    int exit_code = write_files(session, table, err);
    if (exit_code == CLI_DONE && session->options->is_raw &&
        !journal_write_samples(*journal, arena_printf(session->arena, "%s/samples.csv", folder),
                               err))
        exit_code = CLI_FAIL;
    if (exit_code != CLI_FAIL) /* refused for good: the same samples would be refused again */
        journal_remove(*journal);
    if (exit_code == CLI_NO)
        *journal = NULL;
    return exit_code;
}

/* A warning that makes the machine unfit, under --strict. */
static bool is_unfit(const struct session *session, struct err *err)
{
    if (!session->options->is_strict || session->unfit_count == 0)
        return false;
    err_set(err, ERR_USAGE, "refused by --strict: %s%s", session->warnings[0],
            session->unfit_count > 1 ? " (and more: see facts)" : "");
    return true;
}

/* What is there of another model took hours, too. What cannot be read is nobody's table. */
static bool spares_others(const struct session *session, const char *folder, struct err *err)
{
    struct err ignored = ERR_INIT;
    struct saved saved;

    if (access(arena_printf(session->arena, "%s/kernels.csv", folder), F_OK) != 0 ||
        !saved_load_any(session->arena, folder, &saved, &ignored))
        return true;
    for (int i = 0; i < cost_row_count(saved.costs); i++) {
        const char *model = cost_row_at(saved.costs, i)->model;

        if (model[0] != '\0' && strcmp(model, session->model->name) != 0)
            return err_set(err, ERR_USAGE,
                           "%s holds a table of model '%.80s', which one of '%.80s' would replace: "
                           "give another folder; orrery-profile merge makes one table of both",
                           folder, model, session->model->name);
    }
    return true;
}

static int run(struct session *session, struct err *err)
{
    const char *folder = session->options->folder;
    int64_t began_ns = clock_now_ns();
    struct table *table = arena_alloc(session->arena, sizeof(*table));

    if (!session_plan(session, err) || !spares_others(session, folder, err))
        return CLI_FAIL;
    if (is_unfit(session, err))
        return CLI_NO;
    if (!interrupt_hold(&session->interrupt, err))
        return CLI_FAIL;
    const char *first_made = first_missing(session->arena, folder);
    int exit_code = measure_into(session, folder, table, err);
    if (exit_code != CLI_DONE) {
        resume_leave(&session->measure, err);
        if (first_made)
            remove_folders(session->arena, folder, first_made);
        return exit_code; /* still held: a second signal must not cut the last word short */
    }
    interrupt_release(&session->interrupt);
    return print_report(session, table, began_ns, err) ? CLI_DONE : CLI_FAIL;
}

int profiler_run(int argc, char **argv)
{
    struct run_options options;
    struct err err = ERR_INIT;
    int exit_code;

    if (!run_options_parse(argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    struct session *session = arena_alloc(arena, sizeof(*session));
    session->arena = arena;
    session->options = &options;
    session->program = argv[0];
    exit_code = run(session, &err);
    if (exit_code != CLI_DONE)
        cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
