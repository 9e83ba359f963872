/* roofline.c - orrery-profile roofline: what this device reaches at most, on one screen. */
#include "profiler/device/roofline.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "profiler/cmd/wrap.h"
#include "profiler/commands.h"
#include "profiler/device/sysfile.h"
#include "profiler/device/threads.h"
#include <string.h>

#define LABEL_COLUMNS 26
#define VALUE_COLUMNS 6 /* with a blank; 8 of them fit a line */
#define FIRST_SIZE (INT64_C(32) << 10)

struct options {
    const char *threads, *folder, *sysroot;
    int64_t budget_ps;
    bool is_quick, is_json;
};

enum { OPTION_JSON = 256, OPTION_SYSROOT, OPTION_THREADS, OPTION_BUDGET, OPTION_QUICK };

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case OPTION_THREADS:
        options->threads = arg;
        return 0;
    case OPTION_BUDGET:
        options->budget_ps = cli_duration_positive_ps(state, "--budget", arg);
        return 0;
    case OPTION_QUICK:
        options->is_quick = true;
        return 0;
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case OPTION_SYSROOT:
        options->sysroot = arg;
        return 0;
    case 'o':
        options->folder = arg;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "unexpected argument '%s'", arg);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct measured {
    struct roofline_plan plan;
    struct cost_roofline *rows;
    int count;
    int64_t knee_bytes, llc_bytes;
};

static double value_at(const struct measured *measured, int threads, int64_t ws_bytes)
{
    for (int i = 0; i < measured->count; i++) {
        const struct cost_roofline *row = &measured->rows[i];

        if (row->threads == threads && row->ws_bytes == ws_bytes &&
            strcmp(row->metric, roofline_metrics[ROOFLINE_WS_BW]) == 0)
            return row->value;
    }
    return -1.0;
}

/* Three digits, as many decimals as they allow. */
static void put_value(struct out *out, bool is_known, double value)
{
    if (!is_known)
        out_printf(out, "%*s", VALUE_COLUMNS, "-");
    else
        out_printf(out, " %*.*f", VALUE_COLUMNS - 1,
                   value < 9.995   ? 2
                   : value < 99.95 ? 1
                                   : 0,
                   value);
}

static void put_metric(struct out *out, const struct measured *measured, const char *label,
                       enum roofline_metric metric, double scale)
{
    out_printf(out, "%-*s", LABEL_COLUMNS, label);
    for (int t = 0; t < measured->plan.thread_count; t++) {
        double value = -1.0;
        bool is_known = false;

        /* a difference may be below 0: roofline_best would not tell it from nothing */
        for (int i = 0; i < measured->count; i++)
            if (measured->rows[i].threads == measured->plan.threads[t] &&
                strcmp(measured->rows[i].metric, roofline_metrics[metric]) == 0 &&
                (!is_known || measured->rows[i].value > value)) {
                value = measured->rows[i].value;
                is_known = true;
            }
        put_value(out, is_known, value * scale);
    }
    out_char(out, '\n');
}

/* Every second size: all are in --json and in the file. */
static void put_sizes(struct out *out, const struct measured *measured)
{
    char size[UNITS_TEXT_BYTES];

    for (int64_t ws = FIRST_SIZE; ws <= INT64_MAX / 8; ws *= 4) {
        bool is_any = false;

        for (int t = 0; t < measured->plan.thread_count; t++)
            is_any = is_any || value_at(measured, measured->plan.threads[t], ws) > 0.0;
        if (!is_any)
            continue;
        out_printf(out, "  %-*s", LABEL_COLUMNS - 2, units_format_bytes(ws, size));
        for (int t = 0; t < measured->plan.thread_count; t++) {
            double value = value_at(measured, measured->plan.threads[t], ws);

            put_value(out, value > 0.0, value * 1e-9);
        }
        out_char(out, '\n');
    }
}

static void put_cache(struct arena *arena, struct out *out, const struct measured *measured)
{
    int64_t reported_bytes = measured->plan.llc_bytes;
    char knee[UNITS_TEXT_BYTES], reported[UNITS_TEXT_BYTES], llc[UNITS_TEXT_BYTES];
    const char *said = reported_bytes > 0
                           ? arena_printf(arena, "the system reports %s",
                                          units_format_bytes(reported_bytes, reported))
                           : "the system reports no size";
    bool is_short = measured->knee_bytes > 0 && measured->llc_bytes != measured->knee_bytes;
    const char *seen = is_short ? "too little was read to judge it by its bandwidth"
                       : measured->knee_bytes > 0
                           ? arena_printf(arena, "reading slows down beyond %s",
                                          units_format_bytes(measured->knee_bytes, knee))
                           : "reading shows no end of a cache";

    wrap_put(out, 0, 2,
             arena_printf(arena, "Last-level cache: %s, %s; %s to plan with.", seen, said,
                          measured->llc_bytes > 0 ? units_format_bytes(measured->llc_bytes, llc)
                                                  : "nothing"));
}

/* An f32 weight is 4 bytes and makes 2 operations for each row of the input. */
static void put_bounds(struct arena *arena, struct out *out, const struct measured *measured)
{
    for (int t = 0; t < measured->plan.thread_count; t++) {
        int threads = measured->plan.threads[t];
        double peak = roofline_best(measured->rows, measured->count, threads, ROOFLINE_SGEMM_PEAK);
        double bw = roofline_best(measured->rows, measured->count, threads, ROOFLINE_READ_BW);

        if (peak <= 0.0 || bw <= 0.0)
            continue;
        wrap_put(out, 0, 2,
                 arena_printf(arena,
                              "With %d thread%s: a GEMV on cold f32 weights at most %.3g GFLOP/s "
                              "(%.3g GB/s), a GEMM at most %.3g; below %.0f rows a GEMM waits "
                              "for memory.",
                              threads, threads > 1 ? "s" : "", bw / 2e9, bw / 1e9, peak,
                              2e9 * peak / bw));
    }
}

static void print_text(struct arena *arena, struct out *out, const struct measured *measured)
{
    out_printf(out, "%-*s", LABEL_COLUMNS, "threads");
    for (int t = 0; t < measured->plan.thread_count; t++)
        out_printf(out, " %*d", VALUE_COLUMNS - 1, measured->plan.threads[t]);
    out_char(out, '\n');
    put_metric(out, measured, "sgemm, GFLOP/s", ROOFLINE_SGEMM_PEAK, 1.0);
    put_metric(out, measured, "memory read, GB/s", ROOFLINE_READ_BW, 1e-9);
    put_metric(out, measured, "memory triad, GB/s", ROOFLINE_TRIAD_BW, 1e-9);
    put_metric(out, measured, "memory copy, GB/s", ROOFLINE_COPY_BW, 1e-9);
    out_text(out, "reading a working set, GB/s\n");
    put_sizes(out, measured);
    put_metric(out, measured, "clock, ns", ROOFLINE_TIMER_NS, 1.0);
    put_metric(out, measured, "call of sgemm, ns", ROOFLINE_CALL_GEMM_NS, 1.0);
    put_metric(out, measured, "call of sgemv, ns", ROOFLINE_CALL_GEMV_NS, 1.0);
    put_metric(out, measured, "first call after idle, us", ROOFLINE_IDLE_RESUME_NS, 1e-3);
    put_metric(out, measured, "first touch of a page, us", ROOFLINE_PAGE_FAULT_NS, 1e-3);
    out_char(out, '\n');
    put_cache(arena, out, measured);
    put_bounds(arena, out, measured);
}

static void print_json(struct arena *arena, struct out *out, const struct measured *measured)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_int(json, "llc_reported_bytes", measured->plan.llc_bytes);
    json_put_int(json, "llc_knee_bytes", measured->knee_bytes);
    json_put_int(json, "llc_bytes", measured->llc_bytes);
    json_begin_array(json, "rows");
    for (int i = 0; i < measured->count; i++) {
        const struct cost_roofline *row = &measured->rows[i];

        json_begin_object(json, NULL);
        json_put_int(json, "threads", row->threads);
        json_put_text(json, "metric", row->metric);
        if (row->ws_bytes == COST_UNKNOWN)
            json_put_null(json, "ws_bytes");
        else
            json_put_int(json, "ws_bytes", row->ws_bytes);
        json_put_double(json, "value", row->value);
        json_put_text(json, "unit", row->unit);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

static bool measure(struct arena *arena, const struct options *options, int *threads,
                    struct measured *measured, struct err *err)
{
    struct roofline_plan *plan = &measured->plan;

    *plan = (struct roofline_plan){ .threads = threads,
                                    .budget_ns = options->budget_ps / UNITS_PS_PER_NS,
                                    .is_quick = options->is_quick,
                                    .llc_bytes = sysfile_llc_bytes(arena, options->sysroot) };
    sysfile_field_kb(arena, options->sysroot, "/proc/meminfo", "MemAvailable",
                     &plan->available_bytes);
    if (!threads_parse(arena, "--threads", options->threads, threads, &plan->thread_count, err) ||
        (options->folder && !out_make_folder(options->folder, err)) ||
        !roofline_measure(arena, plan, &measured->rows, &measured->count, err))
        return false;
    measured->knee_bytes = roofline_knee(measured->rows, measured->count);
    measured->llc_bytes = roofline_llc(plan->llc_bytes, measured->rows, measured->count);
    return true;
}

static bool print(struct arena *arena, const struct options *options,
                  const struct measured *measured, struct err *err)
{
    struct out *outs[2] = { NULL, NULL };

    outs[0] = out_open(arena, "-", err);
    if (outs[0] && options->folder)
        outs[1] = out_open(arena, arena_printf(arena, "%s/roofline.csv", options->folder), err);
    if (err->kind != ERR_NONE) {
        out_abort(outs[0]);
        return false;
    }
    if (options->is_json)
        print_json(arena, outs[0], measured);
    else
        print_text(arena, outs[0], measured);
    if (outs[1])
        cost_write_roofline(outs[1], measured->rows, measured->count);
    return out_commit_all(outs, 2, err);
}

int profiler_roofline(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "threads", OPTION_THREADS, "LIST", 0, "thread counts, such as 1,4; default 1", 0 },
        { "budget", OPTION_BUDGET, "TIME", 0,
          "time for each thread count; default 1200ms, with --quick 400ms", 0 },
        { "quick", OPTION_QUICK, NULL, 0, "less time: 400 ms", 0 },
        { "output", 'o', "DIR", 0, "write DIR/roofline.csv", 0 },
        { "json", OPTION_JSON, NULL, 0, "print one JSON object", 0 },
        { "sysroot", OPTION_SYSROOT, "DIR", 0, "read /proc and /sys below DIR; default /", 0 },
        { 0 }
    };
    const struct argp argp = {
        table,
        on_option,
        NULL,
        "Measures what this device reaches at most: peak of sgemm, bandwidth of memory and of each "
        "cache, and what a call, a wake-up and a first touch cost.\v"
        "Example: orrery-profile roofline --threads 1,4\n"
        "Caches are judged by their bandwidth, as a virtual machine may report one that it does "
        "not have.",
        NULL,
        NULL,
        NULL
    };
    struct options options = { .threads = "1", .sysroot = "" };
    struct err err = ERR_INIT;
    int threads[THREADS_MAX_COUNTS];
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    struct measured measured = { .count = 0 };
    bool is_done = measure(arena, &options, threads, &measured, &err) &&
                   print(arena, &options, &measured, &err);
    exit_code = is_done ? CLI_DONE : cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
