/* compare_print.c - "predicted X, measured Y, error Z", as a table and as JSON. */
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "sim/report/compare.h"
#include <inttypes.h>

static void put_row(struct out *out, const char *metric, const char *statistic,
                    int64_t predicted_ps, int64_t real_ps, double error_ratio)
{
    char predicted[UNITS_TEXT_BYTES], real[UNITS_TEXT_BYTES];

    out_printf(out, "%-9s%-7s%14s%14s%+12.2f %%\n", metric, statistic,
               units_format_human(predicted_ps, predicted), units_format_human(real_ps, real),
               100 * error_ratio);
}

static void put_metric(struct out *out, const char *name, const struct compare_metric *metric)
{
    if (metric->pairs == 0)
        return;
    put_row(out, name, "mean", metric->predicted.mean, metric->real.mean, metric->mean_error_ratio);
    put_row(out, "", "p50", metric->predicted.p50, metric->real.p50, metric->p50_error_ratio);
    put_row(out, "", "p90", metric->predicted.p90, metric->real.p90, metric->p90_error_ratio);
    put_row(out, "", "p99", metric->predicted.p99, metric->real.p99, metric->p99_error_ratio);
    out_printf(out, "%-9s%-7s%15s%7zu pairs%12.2f %%\n", "", "MARE", "", metric->pairs,
               100 * metric->mare);
}

void compare_text(const struct compare *compare, struct out *out)
{
    out_printf(out, "%-9s%-7s%14s%14s%14s\n", "", "", "predicted", "measured", "error");
    put_metric(out, "TTFT", &compare->ttft);
    put_metric(out, "TPOT", &compare->tpot);
    put_metric(out, "latency", &compare->latency);
    out_printf(out,
               "%" PRId64 " pairs; %" PRId64 " in one file only, %" PRId64
               " not ok in both, %" PRId64 " excluded\n",
               compare->pairs, compare->missing, compare->not_ok, compare->excluded);
    out_text(out, "largest latency errors:\n");
    for (int i = 0; i < compare->worst_count; i++) {
        const struct compare_worst *worst = &compare->worst[i];
        char predicted[UNITS_TEXT_BYTES], real[UNITS_TEXT_BYTES];

        out_printf(out, "  request %-10" PRId64 "%10s%14s%+12.2f %%\n", worst->request_id,
                   units_format_human(worst->predicted_ps, predicted),
                   units_format_human(worst->real_ps, real), 100 * worst->error_ratio);
    }
    out_text(out, "error = predicted / measured - 1;\n"
                  "MARE = mean over pairs of |predicted - measured| / measured\n");
}

static void put_json(struct json_writer *json, const char *key, const struct compare_metric *metric)
{
    if (metric->pairs == 0) {
        json_put_null(json, key);
        return;
    }
    json_begin_object(json, key);
    json_put_double(json, "mare", metric->mare);
    json_put_double(json, "mean_error_ratio", metric->mean_error_ratio);
    json_put_double(json, "p50_error_ratio", metric->p50_error_ratio);
    json_put_double(json, "p90_error_ratio", metric->p90_error_ratio);
    json_put_double(json, "p99_error_ratio", metric->p99_error_ratio);
    json_end_object(json);
}

void compare_json(struct arena *arena, const struct compare *compare, struct out *out)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_int(json, "pairs", compare->pairs);
    json_put_int(json, "missing", compare->missing);
    put_json(json, "latency", &compare->latency);
    put_json(json, "ttft", &compare->ttft);
    put_json(json, "tpot", &compare->tpot);
    json_end_object(json);
}
