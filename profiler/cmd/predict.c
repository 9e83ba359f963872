/* predict.c - orrery-profile predict: what a step costs, and how the table knows. */
#include "profiler/table/predict.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/model.h"
#include "profiler/cmd/wrap.h"
#include "profiler/commands.h"
#include "profiler/table/saved.h"
#include <string.h>

#define MAX_SIZE (1 << 20)
#define MAX_BATCH 256

struct options {
    const char *folder, *model, *models;
    int32_t tokens, kv, past, batch; /* 0: not given */
    int threads, dtype;
    bool is_json;
};

enum {
    OPTION_MODEL = 256,
    OPTION_MODELS,
    OPTION_TOKENS,
    OPTION_PAST,
    OPTION_KV,
    OPTION_BATCH,
    OPTION_THREADS,
    OPTION_DTYPE,
    OPTION_JSON
};

static void check(struct argp_state *state, const struct options *options)
{
    if (!options->folder)
        cli_error(state, "DIR is missing: expected the folder of a cost table");
    else if ((options->tokens == 0) == (options->kv == 0))
        cli_error(state, "expected --tokens for a prefill, or --kv for a decode step");
    else if (options->kv > 0 && options->past > 0)
        cli_error(state, "--past goes with --tokens: a decode step on K keys has K - 1 behind it");
    else if (options->tokens > 0 && options->batch > 1)
        cli_error(state, "--batch goes with --kv");
}

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
    case OPTION_TOKENS:
        options->tokens = (int32_t)cli_int(state, "--tokens", arg, 1, MAX_SIZE);
        return 0;
    case OPTION_PAST:
        options->past = (int32_t)cli_int(state, "--past", arg, 0, MAX_SIZE);
        return 0;
    case OPTION_KV:
        options->kv = (int32_t)cli_int(state, "--kv", arg, 2, MAX_SIZE);
        return 0;
    case OPTION_BATCH:
        options->batch = (int32_t)cli_int(state, "--batch", arg, 1, MAX_BATCH);
        return 0;
    case OPTION_THREADS:
        options->threads = (int)cli_int(state, "--threads", arg, 1, INT32_MAX);
        return 0;
    case OPTION_DTYPE:
        options->dtype = cli_choice(state, "--dtype", arg, predict_dtypes, predict_dtype_count);
        return 0;
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->folder)
            cli_error(state, "unexpected argument '%s'", arg);
        options->folder = arg;
        return 0;
    case ARGP_KEY_END:
        check(state, options);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *origin_name(enum interp_origin origin)
{
    switch (origin) {
    case INTERP_MEASURED:
        return "measured";
    case INTERP_INTERPOLATED:
        return "interpolated";
    case INTERP_EXTRAPOLATED:
        return "extrapolated";
    }
    return "";
}

static const char *step_text(struct arena *arena, const struct predict_step *step)
{
    if (step->new_tokens == 1 && step->past_tokens > 0)
        return arena_printf(arena, "A decode step of %s on %d keys", step->model->name,
                            step->past_tokens + 1);
    if (step->past_tokens > 0)
        return arena_printf(arena, "A prefill of %s, %d token%s behind %d", step->model->name,
                            step->new_tokens, step->new_tokens > 1 ? "s" : "", step->past_tokens);
    return arena_printf(arena, "A prefill of %s, %d token%s", step->model->name, step->new_tokens,
                        step->new_tokens > 1 ? "s" : "");
}

static double share(const struct predict *predict, const struct predict_line *line)
{
    return predict->sum_ps > 0 ? (double)line->total_ps / (double)predict->sum_ps : 0.0;
}

static void print_text(struct arena *arena, struct out *out, const struct predict_step *step,
                       const struct predict *predict)
{
    char each[UNITS_TEXT_BYTES], total[UNITS_TEXT_BYTES];

    wrap_put(out, 0, 4,
             arena_printf(arena, "%s, %d thread%s, %s:", step_text(arena, step), step->threads,
                          step->threads > 1 ? "s" : "",
                          predict_dtypes[step->weight_bits == 32   ? 0
                                         : step->weight_bits == 16 ? 1
                                                                   : 2]));
    out_printf(out, "  %-9s %6s %10s %10s %7s  %-13s %s\n", "operator", "calls", "each", "total",
               "share", "origin", "error of fit");
    for (int i = 0; i < predict->line_count; i++) {
        const struct predict_line *line = &predict->lines[i];

        out_printf(out, "  %-9s %6d %10s %10s %5.1f %%  %s", op_name(line->op), line->calls,
                   units_format_human(line->each_ps, each),
                   units_format_human(line->total_ps, total), 100 * share(predict, line),
                   origin_name(line->origin));
        if (line->loo_ratio >= 0)
            out_printf(out, "%*s%.1f %%", 14 - (int)strlen(origin_name(line->origin)), "",
                       100 * line->loo_ratio);
        out_char(out, '\n');
    }
    out_printf(out, "  %-9s %6s %10s %10s\n", "sum", "", "",
               units_format_human(predict->sum_ps, total));
    if (predict->anchor)
        wrap_put(out, 0, 2,
                 arena_printf(arena, "times kappa %.4f of %s: %s", predict->anchor->kappa,
                              saved_anchor_text(arena, predict->anchor),
                              units_format_human(predict->kappa_ps, total)));
    else
        wrap_put(out, 0, 2,
                 "no whole forward of this model, phase and thread count was measured: "
                 "no kappa");
    if (predict->extrapolated > 0)
        wrap_put(out, 0, 2,
                 arena_printf(arena, "warning: %d operator%s outside the measured range",
                              predict->extrapolated, predict->extrapolated > 1 ? "s are" : " is"));
}

static void print_json(struct arena *arena, struct out *out, const struct predict_step *step,
                       const struct predict *predict)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "model", step->model->name);
    json_put_int(json, "new_tokens", step->new_tokens);
    json_put_int(json, "past_tokens", step->past_tokens);
    json_put_int(json, "batch", step->batch);
    json_put_int(json, "threads", step->threads);
    json_put_int(json, "weight_bits", step->weight_bits);
    json_begin_array(json, "operators");
    for (int i = 0; i < predict->line_count; i++) {
        const struct predict_line *line = &predict->lines[i];

        json_begin_object(json, NULL);
        json_put_text(json, "operator", op_name(line->op));
        json_put_int(json, "calls", line->calls);
        json_put_seconds(json, "each_s", line->each_ps);
        json_put_seconds(json, "total_s", line->total_ps);
        json_put_double(json, "share_ratio", share(predict, line));
        json_put_text(json, "origin", origin_name(line->origin));
        if (line->loo_ratio >= 0)
            json_put_double(json, "loo_error_ratio", line->loo_ratio);
        else
            json_put_null(json, "loo_error_ratio");
        json_end_object(json);
    }
    json_end_array(json);
    json_put_seconds(json, "sum_s", predict->sum_ps);
    if (predict->anchor) {
        json_put_double(json, "kappa_ratio", predict->anchor->kappa);
        json_put_seconds(json, "sum_times_kappa_s", predict->kappa_ps);
    } else {
        json_put_null(json, "kappa_ratio");
        json_put_null(json, "sum_times_kappa_s");
    }
    json_put_int(json, "extrapolated", predict->extrapolated);
    json_end_object(json);
}

static bool make_step(struct arena *arena, const struct options *options, const struct saved *saved,
                      struct predict_step *step, struct err *err)
{
    const char *name = options->model ? options->model : saved_only_model(saved, err);
    struct model_catalogue *catalogue =
        name ? model_catalogue_load(arena, options->models, err) : NULL;
    bool is_decode = options->kv > 0;

    step->model = catalogue ? model_find(catalogue, name, err) : NULL;
    if (!step->model)
        return false;
    step->batch = options->batch > 0 ? options->batch : 1;
    step->new_tokens = is_decode ? 1 : options->tokens;
    step->past_tokens = is_decode ? options->kv - 1 : options->past;
    step->threads = options->threads > 0 ? options->threads : cost_only_threads(saved->costs);
    step->weight_bits = predict_bits_of_dtype(predict_dtypes[options->dtype]);
    if (step->threads == 0)
        return err_set(err, ERR_USAGE, "%s holds several thread counts: --threads is needed",
                       options->folder);
    if (step->model->kind != MODEL_DECODER && step->past_tokens > 0)
        return err_set(err, ERR_USAGE, "%s is no decoder: it has no tokens behind it",
                       step->model->name);
    if (step->model->max_context > 0 &&
        step->new_tokens + step->past_tokens > step->model->max_context)
        return err_set(err, ERR_USAGE, "%s holds at most %d tokens", step->model->name,
                       step->model->max_context);
    return true;
}

static bool run(struct arena *arena, const struct options *options, struct err *err)
{
    struct saved saved;
    struct predict_step step;
    struct predict predict;

    if (!saved_load_any(arena, options->folder, &saved, err) ||
        !make_step(arena, options, &saved, &step, err) ||
        !predict_step(saved.costs, &step, &predict, err))
        return false;
    struct out *out = out_open(arena, "-", err);
    if (!out)
        return false;
    if (options->is_json)
        print_json(arena, out, &step, &predict);
    else
        print_text(arena, out, &step, &predict);
    return out_commit(out, err);
}

int profiler_predict(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { NULL, 0, NULL, 0, "Which step (--tokens or --kv):", 1 },
        { "tokens", OPTION_TOKENS, "S", 0, "a prefill of S new tokens", 1 },
        { "past", OPTION_PAST, "P", 0, "on top of P tokens in the cache; default 0", 1 },
        { "kv", OPTION_KV, "K", 0, "a decode step: one token on K keys, itself included", 1 },
        { "batch", OPTION_BATCH, "B", 0, "sequences of the decode step; default 1", 1 },
        { NULL, 0, NULL, 0, "Of what:", 2 },
        { "model", OPTION_MODEL, "NAME", 0,
          "a model of the catalogue, or a Hugging Face config.json; default: the table's only one",
          2 },
        { "models", OPTION_MODELS, "FILE", 0, "more models, as workloads/models.csv", 2 },
        { "threads", OPTION_THREADS, "N", 0, "BLAS threads; default: the table's only count", 2 },
        { "dtype", OPTION_DTYPE, "D", 0, "f32, bf16 or q8_0; default f32", 2 },
        { "json", OPTION_JSON, NULL, 0, "print one JSON object", 2 },
        { 0 }
    };
    const struct argp argp = {
        table,
        on_option,
        "DIR",
        "Adds up what a step of a model costs by the table in DIR: for each operator calls, time, "
        "share, whether it was measured, and for what was not the median leave-one-out error "
        "of its fit.\v"
        "Example: orrery-profile predict traces/costs/my-board --model gpt2 --kv 256",
        NULL,
        NULL,
        NULL
    };
    struct options options = { .folder = NULL };
    struct err err = ERR_INIT;
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    exit_code = run(arena, &options, &err) ? CLI_DONE : cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
