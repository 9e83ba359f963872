/* cmd_run.c - orrery-profile run: options, the run, the files, the closing words. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "profiler/chain.h"
#include "profiler/commands.h"
#include "profiler/counters.h"
#include "profiler/facts.h"
#include "profiler/grid.h"
#include "profiler/interrupt.h"
#include "profiler/measure.h"
#include "profiler/report.h"
#include "profiler/store.h"
#include "profiler/sysfile.h"
#include "profiler/table.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_THREAD_COUNTS 8
#define MAX_THREADS 256
#define MAX_WARNINGS 12
#define PROCESSES 5
#define PROCESSES_QUICK 3
#define BUDGET_S 120
#define BUDGET_QUICK_S 25
#define MAX_ANCHOR_LAYERS_QUICK 4

struct options {
    const char *model, *models, *folder, *threads, *tokens, *kv, *counters, *sysroot;
    int64_t budget_ps; /* 0: the default */
    uint64_t seed;
    bool is_quick, is_json;
};

enum {
    OPTION_MODEL = 256,
    OPTION_MODELS,
    OPTION_THREADS,
    OPTION_TOKENS,
    OPTION_KV,
    OPTION_BUDGET,
    OPTION_QUICK,
    OPTION_SEED,
    OPTION_COUNTERS,
    OPTION_SYSROOT,
    OPTION_JSON,
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case OPTION_MODEL:
        options->model = arg;
        return 0;
    case OPTION_MODELS:
        options->models = arg;
        return 0;
    case 'o':
        options->folder = arg;
        return 0;
    case OPTION_THREADS:
        options->threads = arg;
        return 0;
    case OPTION_TOKENS:
        options->tokens = arg;
        return 0;
    case OPTION_KV:
        options->kv = arg;
        return 0;
    case OPTION_BUDGET:
        options->budget_ps = cli_duration_positive_ps(state, "--budget", arg);
        return 0;
    case OPTION_QUICK:
        options->is_quick = true;
        return 0;
    case OPTION_SEED:
        options->seed = (uint64_t)cli_int(state, "--seed", arg, 0, INT64_MAX);
        return 0;
    case OPTION_COUNTERS:
        options->counters = arg;
        return 0;
    case OPTION_SYSROOT:
        options->sysroot = arg;
        return 0;
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument '%s'", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (!options->model)
            argp_error(state, "--model is missing: expected a name or a config.json");
        else if (!options->folder)
            argp_error(state, "-o is missing: expected the folder of the cost table");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct session { /* what a run is made of */
    struct arena *arena;
    const char *program;
    const struct options *options;
    const struct model *model;
    struct facts *facts;
    const char *warnings[MAX_WARNINGS];
    int warning_count;
    struct store *stores[MAX_THREAD_COUNTS];
    int store_count;
    struct measure measure;
    struct interrupt interrupt;
};

static void warn(struct session *session, const char *text)
{
    if (session->warning_count < MAX_WARNINGS)
        session->warnings[session->warning_count++] = text;
}

/* "1,4": ascending or not, each once. */
static bool parse_threads(struct arena *arena, const char *text, int *threads, int *count,
                          struct err *err)
{
    const char *at = text;

    *count = 0;
    do {
        size_t length = strcspn(at, ",");
        int64_t value;
        bool is_new = true;

        if (!units_parse_int(arena_strndup(arena, at, length), &value) || value < 1 ||
            value > MAX_THREADS || *count == MAX_THREAD_COUNTS)
            return err_set(err, ERR_USAGE,
                           "--threads is '%s': expected up to %d counts from 1 to %d, such as 1,4",
                           text, MAX_THREAD_COUNTS, MAX_THREADS);
        for (int i = 0; i < *count; i++)
            is_new = is_new && threads[i] != value;
        if (!is_new)
            return err_set(err, ERR_USAGE, "--threads is '%s': %d stands there twice", text,
                           (int)value);
        threads[(*count)++] = (int)value;
        at += length;
    } while (*at++ == ',');
    return true;
}

static bool make_stores(struct session *session, const struct point *points, int point_count,
                        struct err *err)
{
    int threads[MAX_THREAD_COUNTS];
    int64_t cores;

    if (!parse_threads(session->arena, session->options->threads, threads, &session->store_count,
                       err))
        return false;
    for (int s = 0; s < session->store_count; s++) {
        session->stores[s] = store_create(session->arena, session->model, points, point_count,
                                          threads[s], session->measure.pool.anchor_layers);
        if (units_parse_int(facts_get(session->facts, "cores_online"), &cores) &&
            threads[s] > cores)
            warn(session, arena_printf(session->arena, "%d threads share %d core%s", threads[s],
                                       (int)cores, cores > 1 ? "s" : ""));
    }
    return true;
}

/* The cost table holds the costs of cold memory; what stays in the cache is faster. */
static void warn_of_cache(struct session *session)
{
    const struct model *model = session->model;
    const struct pool_plan *pool = &session->measure.pool;
    int64_t step_bytes = model_block_weight_bytes(model, BLOCK_LM_HEAD);
    char weights[UNITS_TEXT_BYTES], cache[UNITS_TEXT_BYTES];

    for (int block = BLOCK_ATTN; block <= BLOCK_CONN; block++)
        step_bytes += model->layers * model_block_weight_bytes(model, (enum model_block)block);
    if (!pool->is_llc_assumed && cost_is_cached(step_bytes, pool->llc_bytes))
        warn(session,
             arena_printf(session->arena,
                          "the weights of %s (%s) are less than twice the last-level cache (%s): "
                          "costs are those of cold memory, a real run keeps them warm and is "
                          "faster",
                          model->name, units_format_bytes(step_bytes, weights),
                          units_format_bytes(pool->llc_bytes, cache)));
}

static bool plan_memory(struct session *session, const struct point *points, int point_count,
                        struct err *err)
{
    const struct options *options = session->options;
    struct forward_shape shape = chain_shape(session->model);
    int64_t available = 0, llc = sysfile_llc_bytes(session->arena, options->sysroot);
    int layers = session->model->layers, max_m = 1, max_kv = 1;

    sysfile_field_kb(session->arena, options->sysroot, "/proc/meminfo", "MemAvailable", &available);
    for (int p = 0; p < point_count; p++) {
        max_m = points[p].m > max_m ? points[p].m : max_m;
        max_kv = points[p].kv > max_kv ? points[p].kv : max_kv;
    }
    if (options->is_quick && layers > MAX_ANCHOR_LAYERS_QUICK)
        layers = MAX_ANCHOR_LAYERS_QUICK;
    if (!pool_plan(&shape, layers, max_m, max_kv, llc, available, &session->measure.pool, err))
        return false;
    if (session->measure.pool.is_llc_assumed)
        warn(session, "the size of the last-level cache is not known here: 32 MiB was assumed");
    warn_of_cache(session);
    return true;
}

static bool plan(struct session *session, struct err *err)
{
    const struct options *options = session->options;
    struct grid_range tokens = { 1, 512, true }, kv = { 1, 2048, true };
    struct point *points;
    int point_count;

    if ((options->tokens && !grid_parse_range("--tokens", options->tokens, &tokens, err)) ||
        (options->kv && !grid_parse_range("--kv", options->kv, &kv, err)))
        return false;
    struct model_catalogue *catalogue = model_catalogue_load(session->arena, options->models, err);
    session->model = catalogue ? model_find(catalogue, options->model, err) : NULL;
    if (!session->model || !grid_build(session->arena, session->model, tokens, kv,
                                       options->is_quick, &points, &point_count, err))
        return false;
    session->facts = facts_collect(session->arena, options->sysroot);
    session->warning_count = facts_warnings(session->facts, session->warnings, MAX_WARNINGS);
    if (session->model->weight_bits != 32)
        warn(session, arena_printf(session->arena,
                                   "%s states %d-bit weights; this version measures f32 kernels",
                                   session->model->name, session->model->weight_bits));
    if (!plan_memory(session, points, point_count, err) ||
        !make_stores(session, points, point_count, err))
        return false;
    session->measure.counters =
        counters_create(session->arena, options->counters, options->sysroot, err);
    return session->measure.counters;
}

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
    const struct options *options = session->options;
    int64_t default_s = options->is_quick ? BUDGET_QUICK_S : BUDGET_S;
    int64_t budget_ps = options->budget_ps > 0 ? options->budget_ps : default_s * UNITS_PS_PER_S;

    session->measure.stores = session->stores;
    session->measure.store_count = session->store_count;
    session->measure.processes = options->is_quick ? PROCESSES_QUICK : PROCESSES;
    session->measure.budget_ns = budget_ps / UNITS_PS_PER_NS;
    session->measure.seed = options->seed;
    session->measure.sysroot = options->sysroot;
    session->measure.counter_state = "";
    session->measure.interrupt = &session->interrupt;
    session->measure.on_slow = say_slow;
    session->measure.arg = session;
    if (!isatty(STDERR_FILENO)) /* a terminal has the progress bar */
        fprintf(stderr, "%s: measuring %s for about %g s ...\n", session->program,
                session->model->name, (double)session->measure.budget_ns / 1e9);
    return measure_run(&session->measure, err);
}

/* Facts that only the run knows. */
static void add_facts(struct session *session)
{
    struct facts *facts = session->facts;
    struct arena *arena = session->arena;
    const struct measure *m = &session->measure;
    const char *source = "orrery-profile run";

    facts_put(facts, "model", session->model->name, "", source, "");
    facts_put(facts, "pool_bytes", arena_printf(arena, "%lld", (long long)m->pool.size_bytes),
              "bytes", source, "");
    facts_put(facts, "processes", arena_printf(arena, "%d", m->processes_done), "", source, "");
    facts_put(facts, "budget_s", arena_printf(arena, "%.3f", (double)m->budget_ns / 1e9), "s",
              source, "");
    facts_put(facts, "seed", arena_printf(arena, "%llu", (unsigned long long)m->seed), "", source,
              "");
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

static bool write_files(struct session *session, struct table *table, struct err *err)
{
    const struct facts *facts = session->facts;
    const struct options *options = session->options;
    const char *meta[] = { "model",     session->model->name,
                           "cpu",       facts_get(facts, "cpu"),
                           "blas",      facts_get(facts, "blas_config"),
                           "blas_core", facts_get(facts, "blas_core"),
                           "thp",       facts_get(facts, "thp"),
                           "date_utc",  facts_get(facts, "date_utc"),
                           "seed",      facts_get(facts, "seed"),
                           NULL };

    return table_build(session->arena, folder_name(session->arena, options->folder), session->model,
                       session->stores, session->store_count, table, err) &&
           !interrupt_came(&session->interrupt, err) &&
           table_write(session->arena, options->folder, table, meta, facts, session->stores,
                       session->store_count, err);
}

static bool print_report(struct session *session, const struct table *table, int64_t began_ns,
                         struct err *err)
{
    const struct options *options = session->options;
    struct report report = { .model = session->model->name,
                             .cpu = facts_get(session->facts, "cpu"),
                             .folder = options->folder,
                             .table = table,
                             .facts = session->facts,
                             .threads = options->threads,
                             .processes = session->measure.processes_done,
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

static bool measure_into(struct session *session, const char *folder, struct table *table,
                         struct err *err)
{
    /* before the minutes of measuring, not after them */
    if (!out_make_folder(folder, err))
        return false;
    if (access(folder, W_OK | X_OK) != 0)
        return err_errno(err, folder);
    if (!measure(session, err))
        return false;
    add_facts(session);
    return write_files(session, table, err);
}

static bool run(struct session *session, struct err *err)
{
    const char *folder = session->options->folder;
    int64_t began_ns = clock_now_ns();
    struct table *table = arena_alloc(session->arena, sizeof(*table));

    if (!plan(session, err) || !interrupt_hold(&session->interrupt, err))
        return false;
    const char *first_made = first_missing(session->arena, folder);
    if (!measure_into(session, folder, table, err)) {
        if (first_made)
            remove_folders(session->arena, folder, first_made);
        return false; /* still held: a second signal must not cut the last word short */
    }
    interrupt_release(&session->interrupt);
    return print_report(session, table, began_ns, err);
}

int profiler_run(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { NULL, 0, NULL, 0, "What:", 1 },
        { "model", OPTION_MODEL, "NAME", 0,
          "a model of the catalogue, or a Hugging Face config.json (required)", 1 },
        { "models", OPTION_MODELS, "FILE", 0, "more models, as workloads/models.csv", 1 },
        { "output", 'o', "DIR", 0,
          "folder of the cost table; its name is the device type (required)", 1 },
        { "threads", OPTION_THREADS, "LIST", 0, "BLAS thread counts, such as 1,4; default 1", 1 },
        { "tokens", OPTION_TOKENS, "A:B", 0, "new tokens of a prefill; default 1:512", 1 },
        { "kv", OPTION_KV, "A:B", 0, "keys of a decode step, from 2 on; default 2:2048", 1 },
        { NULL, 0, NULL, 0, "How long:", 2 },
        { "quick", OPTION_QUICK, NULL, 0, "fewer points, 3 processes instead of 5, 25 s", 2 },
        { "budget", OPTION_BUDGET, "TIME", 0,
          "time for measuring, such as 120s; default 120s, with --quick 25s", 2 },
        { NULL, 0, NULL, 0, "How:", 3 },
        { "seed", OPTION_SEED, "N", 0, "order of points, weights and tokens; default 1", 3 },
        { "counters", OPTION_COUNTERS, "WHICH", 0, "auto, off, papi or fake:FILE; default auto",
          3 },
        { "sysroot", OPTION_SYSROOT, "DIR", 0, "read /proc and /sys below DIR; default /", 3 },
        { "json", OPTION_JSON, NULL, 0, "print the summary as one JSON object", 3 },
        { 0 }
    };
    const struct argp argp = {
        table,
        on_option,
        NULL,
        "Times the kernels of a model on this device and writes a cost table: kernels.csv, "
        "interp.csv, anchors.csv, device.csv and rounds.csv.\v"
        "Example: orrery-profile run --model gpt2 --quick -o traces/costs/my-board\n"
        "Nothing is written when the run is interrupted or fails.",
        NULL,
        NULL,
        NULL
    };
    struct options options = { .threads = "1", .counters = "auto", .sysroot = "", .seed = 1 };
    struct err err = ERR_INIT;
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    struct session *session = arena_alloc(arena, sizeof(*session));
    session->arena = arena;
    session->options = &options;
    session->program = argv[0];
    exit_code = run(session, &err) ? CLI_DONE : cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
