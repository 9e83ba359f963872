/* ops.c - orrery-sim ops: an iteration that was traced on one device, on several. */
#include "lib/format/ops.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "sim/cmd/cmd.h"
#include "sim/ops/spread.h"
#include "sim/report/inputs.h"
#include "sim/report/spread.h"
#include <string.h>

enum {
    KEY_PARALLEL = 0x300,
    KEY_DEVICES,
    KEY_BATCH,
    KEY_MICRO_BATCH,
    KEY_TRACED_BATCH,
    KEY_CUT,
    KEY_LINK,
    KEY_LATENCY,
    KEY_BUCKET,
    KEY_FIRST_BUCKET,
    KEY_MEMORY,
    KEY_RULES,
    KEY_REMOTE,
    KEY_CHROME,
    KEY_JSON
};

struct settings {
    struct spread_options spread;
    const char *file, *chrome;
    bool has_parallel, has_devices, has_bucket, has_remote, is_json;
};

static const struct argp_option ops_options[] = {
    { NULL, 0, NULL, 0, "How to spread the iteration:", 1 },
    { "parallel", KEY_PARALLEL, "KIND", 0,
      "single (each device for itself), data (all-reduce after the backward pass), ddp (in "
      "buckets, overlapped), tensor (tp_split operators divided) or pipeline (GPipe) (required)",
      1 },
    { "devices", KEY_DEVICES, "N", 0, "Number of devices (required but for single: 1)", 1 },
    { "batch", KEY_BATCH, "B", 0,
      "Samples: of each device, with tensor and pipeline of all (default as traced)", 1 },
    { "micro-batch", KEY_MICRO_BATCH, "M", 0,
      "pipeline: samples of a micro-batch, a divisor of the batch (default the batch)", 1 },
    { "cut", KEY_CUT, "HOW", 0,
      "pipeline: operators (stages of as many forward operators; default) or time (the slowest "
      "stage as fast as can be)",
      1 },
    { "bucket-bytes", KEY_BUCKET, "SIZE", 0,
      "ddp: a bucket is full with so many bytes (default 25MiB, as PyTorch's bucket_cap_mb)", 1 },
    { "first-bucket-bytes", KEY_FIRST_BUCKET, "SIZE", 0,
      "ddp: the same for the first (default 1MiB, as PyTorch, or --bucket-bytes if less)", 1 },
    { NULL, 0, NULL, 0, "Devices and links:", 2 },
    { "link-bytes-per-s", KEY_LINK, "R", 0,
      "Bytes a second from a device to the next, each way (required where devices talk)", 2 },
    { "link-latency", KEY_LATENCY, "TIME", 0, "Latency of each message (default 0s)", 2 },
    { "memory-bytes", KEY_MEMORY, "SIZE", 0,
      "Memory of a device; what needs more is no answer: exit status 1 (default no limit)", 2 },
    { NULL, 0, NULL, 0, "Arithmetic:", 3 },
    { "rules", KEY_RULES, "NAME", 0, "default, or triosim: as TrioSim computes, to compare with it",
      3 },
    { "remote-bytes-per-s", KEY_REMOTE, "R", 0,
      "triosim: bytes a second from the host to a device (default 696e9)", 3 },
    { "traced-batch", KEY_TRACED_BATCH, "B", 0,
      "Batch of the trace (default its line '# batch:', or the first dimension of its input)", 3 },
    { NULL, 0, NULL, 0, "Output:", 4 },
    { "chrome-trace", KEY_CHROME, "FILE", 0, "Write the iteration for Perfetto; - is stdout", 4 },
    { "json", KEY_JSON, NULL, 0, "Print one JSON object instead of text", 4 },
    { 0 }
};

static int64_t bytes_per_s(struct argp_state *state, const char *option, const char *text)
{
    double rate = cli_rate_per_s(state, option, text);

    if (rate < 1 || rate > (double)SPREAD_MAX_BYTES_PER_S)
        cli_error(state, "%s is '%.60s': expected from 1 to 1e15 bytes a second", option, text);
    return dmath_round(rate);
}

static int64_t size_of(struct argp_state *state, const char *option, const char *text)
{
    int64_t bytes = 1;

    if (!units_parse_bytes(text, &bytes) || bytes < 1)
        cli_error(state, "%s is '%.60s': expected a size above 0, such as 25MiB or 80GB", option,
                  text);
    return bytes;
}

static error_t on_kind_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;
    struct spread_options *spread = &settings->spread;

    switch (key) {
    case KEY_PARALLEL:
        settings->has_parallel = true;
        spread->parallel = (enum spread_parallel)cli_choice(
            state, "--parallel", text, spread_parallel_names, SPREAD_PARALLEL_COUNT);
        return 0;
    case KEY_DEVICES:
        settings->has_devices = true;
        spread->devices = (int32_t)cli_int(state, "--devices", text, 1, SPREAD_MAX_DEVICES);
        return 0;
    case KEY_BATCH:
        spread->batch = cli_int(state, "--batch", text, 1, SPREAD_MAX_BATCH);
        return 0;
    case KEY_MICRO_BATCH:
        spread->micro_batch = cli_int(state, "--micro-batch", text, 1, SPREAD_MAX_BATCH);
        return 0;
    case KEY_TRACED_BATCH:
        spread->traced_batch = cli_int(state, "--traced-batch", text, 1, SPREAD_MAX_BATCH);
        return 0;
    case KEY_CUT:
        spread->cut =
            (enum spread_cut)cli_choice(state, "--cut", text, spread_cut_names, SPREAD_CUT_COUNT);
        return 0;
    case KEY_RULES:
        spread->rules = (enum spread_rules)cli_choice(state, "--rules", text, spread_rules_names,
                                                      SPREAD_RULES_COUNT);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void on_end(struct argp_state *state, struct settings *settings)
{
    struct spread_options *spread = &settings->spread;

    if (!settings->file)
        cli_error(state, "OPS.csv is missing: an operator trace (- is stdin)");
    if (!settings->has_parallel)
        cli_error(state, "--parallel is missing: expected single, data, ddp, tensor or pipeline");
    if (!settings->has_devices && spread->parallel != SPREAD_SINGLE)
        cli_error(state, "--devices is missing: on how many devices");
    if (settings->has_bucket && spread->parallel != SPREAD_DDP)
        cli_error(state, "--bucket-bytes and --first-bucket-bytes need --parallel ddp");
    if (settings->has_bucket && spread->rules == SPREAD_TRIOSIM)
        cli_error(state, "--bucket-bytes and --first-bucket-bytes need --rules default");
    if (settings->has_remote && spread->rules != SPREAD_TRIOSIM)
        cli_error(state, "--remote-bytes-per-s needs --rules triosim");
    if (settings->has_remote && spread->parallel == SPREAD_TENSOR)
        cli_error(state, "--remote-bytes-per-s: what TrioSim fetches with --parallel tensor is "
                         "not reproduced");
    if (settings->chrome && spread->rules == SPREAD_TRIOSIM)
        cli_error(state, "--chrome-trace needs --rules default");
    if (settings->chrome && settings->is_json && strcmp(settings->chrome, "-") == 0)
        cli_error(state, "--json and --chrome-trace -: stdout takes one of them");
    if (spread->first_bucket_bytes > spread->bucket_bytes)
        spread->first_bucket_bytes = spread->bucket_bytes;
}

static error_t on_option(int key, char *text, struct argp_state *state)
{
    struct settings *settings = state->input;
    struct spread_options *spread = &settings->spread;

    switch (key) {
    case KEY_LINK:
        spread->link_bytes_per_s = bytes_per_s(state, "--link-bytes-per-s", text);
        return 0;
    case KEY_LATENCY:
        spread->link_latency_ps = cli_duration_ps(state, "--link-latency", text);
        return 0;
    case KEY_BUCKET:
        settings->has_bucket = true;
        spread->bucket_bytes = size_of(state, "--bucket-bytes", text);
        return 0;
    case KEY_FIRST_BUCKET:
        settings->has_bucket = true;
        spread->first_bucket_bytes = size_of(state, "--first-bucket-bytes", text);
        return 0;
    case KEY_MEMORY:
        spread->memory_bytes = size_of(state, "--memory-bytes", text);
        return 0;
    case KEY_REMOTE:
        settings->has_remote = true;
        spread->remote_bytes_per_s = bytes_per_s(state, "--remote-bytes-per-s", text);
        return 0;
    case KEY_CHROME:
        settings->chrome = text;
        return 0;
    case KEY_JSON:
        settings->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (settings->file)
            cli_error(state, "'%s': expected one OPS.csv, there is '%s' already", text,
                      settings->file);
        settings->file = text;
        return 0;
    case ARGP_KEY_END:
        on_end(state, settings);
        return 0;
    default:
        return on_kind_option(key, text, state);
    }
}

static bool write_all(struct arena *arena, const struct settings *settings,
                      const struct spread_result *result, const struct inputs *inputs,
                      struct err *err)
{
    bool is_taken = settings->chrome && result->graph && strcmp(settings->chrome, "-") == 0;
    struct out *outs[2] = { NULL, NULL };

    if (settings->chrome && result->graph) {
        outs[0] = out_open(arena, settings->chrome, err);
        if (!outs[0])
            return false;
        spread_chrome(arena, result, outs[0]);
    }
    if (!is_taken) {
        outs[1] = out_open(arena, "-", err);
        if (!outs[1]) {
            out_abort(outs[0]);
            return false;
        }
        if (settings->is_json)
            spread_json(arena, result, inputs, outs[1]);
        else
            spread_text(result, inputs, outs[1]);
    }
    return out_commit_all(outs, 2, err);
}

static bool run(struct arena *arena, const struct settings *settings, int *exit_code,
                struct err *err)
{
    struct inputs inputs = { .arena = arena };
    struct spread_result result;
    const struct ops *ops = ops_load(arena, settings->file, err);

    if (!ops || !inputs_add(&inputs, "operators", settings->file, err) ||
        !spread_run(arena, ops, &settings->spread, &result, err) ||
        !write_all(arena, settings, &result, &inputs, err))
        return false;
    *exit_code = result.fits ? CLI_DONE : CLI_NO;
    return true;
}

int cmd_ops(int argc, char **argv)
{
    static const struct argp argp = {
        .options = ops_options,
        .parser = on_option,
        .args_doc = "OPS.csv",
        .doc = "Says what an iteration that was traced on one device takes on several: OPS.csv has "
               "its operators with their times and tensors (`orrery-sim import triosim`, or "
               "written by hand: traces/README.md).\v"
               "Times of forward and backward operators grow in proportion to the batch, those of "
               "the optimizer and the bytes of weights do not.\n\n"
               "Example:\n"
               "  orrery-sim ops OPS.csv --parallel pipeline --devices 4 --micro-batch 16 \\\n"
               "      --link-bytes-per-s 65e9 --link-latency 5us"
    };
    struct settings settings = { .spread = spread_defaults() };
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int exit_code = CLI_DONE;

    if (cli_parse(&argp, argc, argv, &settings, &exit_code) &&
        !run(arena, &settings, &exit_code, &err))
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
