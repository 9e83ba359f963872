/* codec.c - `orrery-profile codec`: what coding and restoring a value of few bits takes here, as
 * the columns encode_value_ns and decode_value_ns of devices.csv. */
#include "lib/kernels/codec.h"
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/clock.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/stats.h"
#include "lib/base/units.h"
#include "lib/kernels/forward.h"
#include "lib/policy/quantise.h"
#include "profiler/cmd/wrap.h"
#include "profiler/commands.h"

#define DEFAULT_VALUES (64 * 768) /* activations of 64 tokens of a model of GPT-2's width */
#define MAX_VALUES (1 << 28)
#define LEAST_SAMPLES 15
#define SAMPLES_MOST 20000
#define BUDGET_NS INT64_C(60000000) /* for each way of each number of bits */

struct options {
    int32_t values, bits; /* bits 0: all that differ on the wire */
    bool is_json;
};

enum { OPTION_JSON = 256, OPTION_VALUES, OPTION_BITS };

struct measured {
    int bits;
    double encode_ns, decode_ns; /* a value: medians */
};

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case OPTION_VALUES:
        options->values = (int32_t)cli_int(state, "--values", arg, 1, MAX_VALUES);
        return 0;
    case OPTION_BITS:
        options->bits = (int32_t)cli_int(state, "--bits", arg, 1, CODEC_MAX_BITS);
        return 0;
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        cli_error(state, "unexpected argument '%s'", arg);
        return EINVAL;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- measuring ---- */

struct tensor {
    float *values, *restored;
    uint32_t *words;
    int32_t count;
    struct codec_range range;
};

static void code_once(struct tensor *tensor, int bits, bool is_decode)
{
    if (is_decode)
        codec_decode(tensor->words, tensor->count, bits, tensor->range, tensor->restored);
    else
        tensor->range = codec_encode(tensor->values, tensor->count, bits, tensor->words);
}

/* The median of as many as the budget allows; the first two warm up. */
static double value_ns(struct arena *arena, struct tensor *tensor, int bits, bool is_decode)
{
    int64_t *samples = arena_array(arena, SAMPLES_MOST, sizeof *samples);
    int64_t end_ns;
    size_t count = 0;

    code_once(tensor, bits, is_decode);
    code_once(tensor, bits, is_decode);
    end_ns = clock_now_ns() + BUDGET_NS;
    while (count < SAMPLES_MOST && (count < LEAST_SAMPLES || clock_now_ns() < end_ns)) {
        int64_t begin_ns = clock_now_ns();

        code_once(tensor, bits, is_decode);
        samples[count++] = clock_now_ns() - begin_ns;
    }
    return (double)stats_summarize(samples, count).p50 / tensor->count;
}

static bool measure(struct arena *arena, const struct options *options, struct measured *rows,
                    int *count, struct err *err)
{
    static const int distinct[] = { 16, 10, 8, 6, 5, 4, 3, 2 };
    size_t values = (size_t)options->values;
    struct tensor tensor = { .count = options->values };

    tensor.values = arena_try_alloc(arena, values * sizeof(float));
    tensor.restored = arena_try_alloc(arena, values * sizeof(float));
    tensor.words = arena_try_alloc(arena, values * sizeof(uint32_t));
    if (!tensor.values || !tensor.restored || !tensor.words)
        return err_set(err, ERR_SYSTEM, "no memory for %d values", options->values);
    forward_fill(tensor.values, options->values, 1);
    *count = options->bits > 0 ? 1 : (int)(sizeof distinct / sizeof distinct[0]);
    for (int i = 0; i < *count; i++) {
        rows[i].bits = options->bits > 0 ? options->bits : distinct[i];
        rows[i].encode_ns = value_ns(arena, &tensor, rows[i].bits, false);
        rows[i].decode_ns = value_ns(arena, &tensor, rows[i].bits, true);
    }
    return true;
}

/* ---- results ---- */

static double wire_ratio(const struct options *options, int bits)
{
    return (double)(QUANTISE_VALUE_BYTES * (int64_t)options->values) /
           (double)quantise_bytes(options->values, bits);
}

static void put_text(struct arena *arena, const struct options *options,
                     const struct measured *rows, int count, struct out *out)
{
    out_printf(out, "%9s  %15s  %15s  %s\n", "wire_bits", "encode_value_ns", "decode_value_ns",
               "times fewer bytes");
    for (int i = 0; i < count; i++)
        out_printf(out, "%9d  %15.3f  %15.3f  %.2f\n", rows[i].bits, rows[i].encode_ns,
                   rows[i].decode_ns, wire_ratio(options, rows[i].bits));
    wrap_put(out, 0, 2,
             arena_printf(arena,
                          "Medians over tensors of %d values, one thread. devices.csv takes one "
                          "number for each way: that of the bits that you mean to use.",
                          options->values));
}

static void put_json(struct arena *arena, const struct options *options,
                     const struct measured *rows, int count, struct out *out)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_int(json, "values", options->values);
    json_begin_array(json, "rows");
    for (int i = 0; i < count; i++) {
        json_begin_object(json, NULL);
        json_put_int(json, "wire_bits", rows[i].bits);
        json_put_double(json, "encode_value_ns", rows[i].encode_ns);
        json_put_double(json, "decode_value_ns", rows[i].decode_ns);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
    out_char(out, '\n');
}

static const struct argp_option options_known[] = {
    { "values", OPTION_VALUES, "N", 0, "Values of a tensor (default 49152: 64 tokens of 768)", 0 },
    { "bits", OPTION_BITS, "N", 0, "These bits alone (default: all that differ on the wire)", 0 },
    { "json", OPTION_JSON, NULL, 0, "Print JSON", 0 },
    { 0 }
};
static const struct argp argp = {
    options_known,
    on_option,
    NULL,
    "Measures what it takes here to code a value in fewer bits, and to restore it: the columns "
    "encode_value_ns and decode_value_ns of devices.csv, for stages with wire_bits.",
    NULL,
    NULL,
    NULL
};

int profiler_codec(int argc, char **argv)
{
    struct options options = { .values = DEFAULT_VALUES };
    struct measured rows[CODEC_MAX_BITS];
    struct err err = ERR_INIT;
    struct arena *arena;
    struct out *out;
    int exit_code, count = 0;
    bool ok;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    arena = arena_create();
    out = out_open(arena, "-", &err);
    ok = out && measure(arena, &options, rows, &count, &err);
    if (ok && options.is_json)
        put_json(arena, &options, rows, count, out);
    else if (ok)
        put_text(arena, &options, rows, count, out);
    if (out && !ok)
        out_abort(out);
    ok = ok && out_commit(out, &err);
    exit_code = ok ? CLI_DONE : cli_fail("orrery-profile codec", &err);
    arena_destroy(arena);
    return exit_code;
}
