/* run_options.c - see run_options.h. */
#include "profiler/cmd/run_options.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "profiler/device/threads.h"
#include <errno.h>
#include <string.h>

enum {
    OPTION_MODEL = 256,
    OPTION_MODELS,
    OPTION_THREADS,
    OPTION_TOKENS,
    OPTION_KV,
    OPTION_BATCH,
    OPTION_SLICES,
    OPTION_DTYPE,
    OPTION_ANCHOR,
    OPTION_HOLDOUT,
    OPTION_BUDGET,
    OPTION_QUICK,
    OPTION_PROCESSES,
    OPTION_RESUME,
    OPTION_REGIME,
    OPTION_PREHEAT,
    OPTION_SEED,
    OPTION_COUNTERS,
    OPTION_ENERGY,
    OPTION_LLC,
    OPTION_SYSROOT,
    OPTION_RAW,
    OPTION_STRICT,
    OPTION_JSON,
};

static const char *const regimes[] = { "burst", "sustained" };
static const char *const energies[] = { "auto", "off" };

/* Where an option that is kept as text goes; NULL for the others. */
static const char **text_of(struct run_options *options, int key)
{
    switch (key) {
    case OPTION_MODEL:
        return &options->model;
    case OPTION_MODELS:
        return &options->models;
    case 'o':
        return &options->folder;
    case OPTION_THREADS:
        return &options->threads;
    case OPTION_TOKENS:
        return &options->tokens;
    case OPTION_KV:
        return &options->kv;
    case OPTION_BATCH:
        return &options->batch;
    case OPTION_SLICES:
        return &options->slices;
    case OPTION_DTYPE:
        return &options->dtypes;
    case OPTION_ANCHOR:
        return &options->anchors;
    case OPTION_HOLDOUT:
        return &options->holdouts;
    case OPTION_COUNTERS:
        return &options->counters;
    case OPTION_SYSROOT:
        return &options->sysroot;
    default:
        return NULL;
    }
}

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct run_options *options = state->input;
    const char **text = text_of(options, key);

    if (text) {
        *text = arg;
        return 0;
    }
    switch (key) {
    case OPTION_BUDGET:
        options->budget_ps = cli_duration_positive_ps(state, "--budget", arg);
        return 0;
    case OPTION_PREHEAT:
        options->preheat_ps = cli_duration_positive_ps(state, "--preheat", arg);
        return 0;
    case OPTION_REGIME:
        options->regime = regimes[cli_choice(state, "--regime", arg, regimes, 2)];
        return 0;
    case OPTION_ENERGY:
        options->energy = energies[cli_choice(state, "--energy", arg, energies, 2)];
        return 0;
    case OPTION_LLC:
        options->llc_bytes = cli_int(state, "--llc", arg, 1 << 16, INT64_C(1) << 34);
        return 0;
    case OPTION_SEED:
        options->seed = (uint64_t)cli_int(state, "--seed", arg, 0, INT64_MAX);
        return 0;
    case OPTION_QUICK:
        options->is_quick = true;
        return 0;
    case OPTION_PROCESSES:
        options->processes = (int)cli_int(state, "--processes", arg, 2, 100);
        return 0;
    case OPTION_RESUME:
        options->has_resume = true;
        return 0;
    case OPTION_RAW:
        options->is_raw = true;
        return 0;
    case OPTION_STRICT:
        options->is_strict = true;
        return 0;
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "unexpected argument '%s'", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (!options->model)
            cli_error(state, "--model is missing: expected a name or a config.json");
        else if (!options->folder)
            cli_error(state, "-o is missing: expected the folder of the cost table");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

bool run_options_parse(int argc, char **argv, struct run_options *options, int *exit_code)
{
    static const struct argp_option table[] = {
        { NULL, 0, NULL, 0, "What:", 1 },
        { "model", OPTION_MODEL, "NAME", 0,
          "a model of the catalogue, or a Hugging Face config.json (required)", 1 },
        { "models", OPTION_MODELS, "FILE", 0, "more models, as workloads/models.csv", 1 },
        { "output", 'o', "DIR", 0,
          "folder of the cost table; its name is the device type (required)", 1 },
        { "threads", OPTION_THREADS, "LIST", 0, "thread counts, such as 1,4; default 1", 1 },
        { "tokens", OPTION_TOKENS, "A:B", 0, "new tokens of a prefill; default 1:512", 1 },
        { "kv", OPTION_KV, "A:B", 0, "keys of a decode step, from 2 on; default 2:2048", 1 },
        { "batch", OPTION_BATCH, "A:B", 0, "sequences of a decode step; default 1:8", 1 },
        { "slices", OPTION_SLICES, "LIST", 0,
          "shares of a tensor-parallel device: 4 measures a quarter of the heads, FFN columns and "
          "vocabulary rows; default 1",
          1 },
        { "dtype", OPTION_DTYPE, "LIST", 0,
          "weights as f32, bf16, q8_0; default: as the model states", 1 },
        { NULL, 0, NULL, 0, "How long:", 2 },
        { "quick", OPTION_QUICK, NULL, 0, "fewer points, 3 processes instead of 5", 2 },
        { "processes", OPTION_PROCESSES, "N", 0,
          "how many processes, one after the other, share the time: what differs from one to the "
          "next, and from minute to minute, is seen by more of them; default 5 (quick: 3)",
          2 },
        { "budget", OPTION_BUDGET, "TIME", 0,
          "time for measuring, such as 120s; default: that of 125 forwards of 256 tokens, 15s to "
          "120s (quick: of 21, 6s to 25s) for each thread count, slice and dtype",
          2 },
        { "resume", OPTION_RESUME, NULL, 0, "go on with a run that was cut off", 2 },
        { NULL, 0, NULL, 0, "How:", 3 },
        { "anchor", OPTION_ANCHOR, "LIST", 0,
          "more whole forwards to check the table by: prefill:100,decode:300,decode:256x4", 3 },
        { "holdout", OPTION_HOLDOUT, "LIST", 0,
          "shapes to measure, leave out of the table, and score it by (holdout.csv)", 3 },
        { "regime", OPTION_REGIME, "WHICH", 0,
          "burst: a rested device; sustained: one that has computed for minutes; default burst",
          3 },
        { "preheat", OPTION_PREHEAT, "TIME", 0,
          "how long to compute before a sustained measurement; default 300s", 3 },
        { "seed", OPTION_SEED, "N", 0, "order of points, weights and tokens; default 1", 3 },
        { "counters", OPTION_COUNTERS, "WHICH", 0, "auto, off, papi or fake:FILE; default auto",
          3 },
        { "energy", OPTION_ENERGY, "WHICH", 0, "auto or off; default auto: where a sensor exists",
          3 },
        { "llc", OPTION_LLC, "BYTES", 0, "last-level cache; default: as the system says", 3 },
        { "sysroot", OPTION_SYSROOT, "DIR", 0, "read /proc and /sys below DIR; default /", 3 },
        { "strict", OPTION_STRICT, NULL, 0,
          "exit 1, and write nothing, when the machine is not fit or the table is disturbed", 3 },
        { "raw", OPTION_RAW, NULL, 0, "keep every sample in samples.csv", 3 },
        { "json", OPTION_JSON, NULL, 0, "print the summary as one JSON object", 3 },
        { 0 }
    };
    const struct argp argp = {
        table,
        on_option,
        NULL,
        "Times the kernels of a model on this device and writes a cost table: kernels.csv, "
        "interp.csv, anchors.csv, roofline.csv, layers.csv, device.csv and rounds.csv.\v"
        "Example: orrery-profile run --model gpt2 --quick -o traces/costs/my-board\n"
        "A run that is cut off leaves profile.journal in the folder and nothing else; --resume "
        "goes "
        "on with it.",
        NULL,
        NULL,
        NULL
    };

    *options = (struct run_options){ .threads = "1",
                                     .slices = "1",
                                     .counters = "auto",
                                     .energy = "auto",
                                     .regime = regimes[0],
                                     .sysroot = "",
                                     .seed = 1 };
    return cli_parse(&argp, argc, argv, options, exit_code);
}

/* ---- lists ---- */

static bool parse_dtypes(struct arena *arena, const char *text, struct run_lists *lists,
                         struct err *err)
{
    const char *at = text;

    do {
        size_t length = strcspn(at, ",");
        const char *name = arena_strndup(arena, at, length);
        int found = -1;

        for (int d = 0; d < KERNEL_DTYPE_COUNT; d++)
            if (strcmp(name, kernel_dtype_names[d]) == 0)
                found = d;
        for (int i = 0; i < lists->dtype_count && found >= 0; i++)
            if (lists->dtypes[i] == (enum kernel_dtype)found)
                return err_set(err, ERR_USAGE, "--dtype is '%s': %s stands there twice", text,
                               name);
        if (found < 0)
            return err_set(err, ERR_USAGE,
                           "--dtype is '%s': expected f32, bf16, q8_0, with commas between", text);
        lists->dtypes[lists->dtype_count++] = (enum kernel_dtype)found;
        at += length;
    } while (*at++ == ',');
    return true;
}

static enum kernel_dtype dtype_of_bits(int bits)
{
    return bits == 8 ? KERNEL_Q8_0 : bits == 16 ? KERNEL_BF16 : KERNEL_F32;
}

bool run_options_lists(struct arena *arena, const struct run_options *options,
                       const struct model *model, struct run_lists *lists, struct err *err)
{
    struct grid *grid = &lists->grid;

    memset(lists, 0, sizeof(*lists));
    grid->tokens = (struct grid_range){ 1, 512, true };
    grid->kv = (struct grid_range){ 1, 2048, true };
    grid->batch = (struct grid_range){ 1, 8, true };
    grid->is_quick = options->is_quick;
    if ((options->tokens && !grid_parse_range("--tokens", options->tokens, &grid->tokens, err)) ||
        (options->kv && !grid_parse_range("--kv", options->kv, &grid->kv, err)) ||
        (options->batch && !grid_parse_range("--batch", options->batch, &grid->batch, err)) ||
        !grid_cut(model, grid, err) ||
        (options->anchors &&
         !grid_parse_points("--anchor", options->anchors, model, &lists->anchors, err)) ||
        (options->holdouts &&
         !grid_parse_points("--holdout", options->holdouts, model, &lists->holdouts, err)) ||
        !threads_parse(arena, "--threads", options->threads, lists->threads, &lists->thread_count,
                       err) ||
        !threads_parse(arena, "--slices", options->slices, lists->slices, &lists->slice_count, err))
        return false;
    if (options->dtypes)
        return parse_dtypes(arena, options->dtypes, lists, err);
    lists->dtypes[lists->dtype_count++] = dtype_of_bits(model->weight_bits);
    return true;
}
