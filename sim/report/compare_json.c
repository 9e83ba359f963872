/* compare_json.c - a comparison as one JSON object. Keys: sim/README.md. */
#include "lib/base/json.h"
#include "lib/base/op.h"
#include "lib/base/units.h"
#include "sim/report/compare.h"
#include "sim/report/compare_print.h"
#include "sim/report/compare_stages.h"

/* What the errors are of: null without pairs. */
static void put_values(struct json_writer *json, const char *key,
                       const struct stats_summary *summary)
{
    const struct {
        const char *key;
        int64_t value_ps;
    } values[] = { { "mean", summary->mean },
                   { "p50", summary->p50 },
                   { "p90", summary->p90 },
                   { "p99", summary->p99 } };

    if (summary->count == 0) {
        json_put_null(json, key);
        return;
    }
    json_begin_object(json, key);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        json_put_seconds(json, values[i].key, values[i].value_ps);
    json_end_object(json);
}

static void put_errors(struct json_writer *json, const struct compare_metric *metric)
{
    bool is_there = metric->pairs > 0;
    const struct {
        const char *key;
        double value;
    } errors[] = { { "mare", metric->mare },
                   { "mean_error_ratio", metric->mean_error_ratio },
                   { "p50_error_ratio", metric->p50_error_ratio },
                   { "p90_error_ratio", metric->p90_error_ratio },
                   { "p99_error_ratio", metric->p99_error_ratio } };

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (is_there)
            json_put_double(json, errors[i].key, errors[i].value);
        else
            json_put_null(json, errors[i].key);
    }
    put_values(json, "predicted_s", &metric->predicted);
    put_values(json, "real_s", &metric->real);
}

static void put_metric(struct json_writer *json, const char *key,
                       const struct compare_metric *metric)
{
    if (metric->pairs == 0) {
        json_put_null(json, key);
        return;
    }
    json_begin_object(json, key);
    put_errors(json, metric);
    json_end_object(json);
}

static void put_totals(struct json_writer *json, const struct compare_totals *totals)
{
    put_metric(json, "latency", &totals->latency);
    put_metric(json, "ttft", &totals->ttft);
    put_metric(json, "tpot", &totals->tpot);
    put_metric(json, "e2e", &totals->e2e);
}

static void put_worst(struct json_writer *json, const struct compare_worst_list *worst,
                      bool has_steps)
{
    json_begin_array(json, "worst");
    for (int i = 0; i < worst->count; i++) {
        const struct compare_worst *item = &worst->item[i];

        json_begin_object(json, NULL);
        json_put_int(json, "request_id", item->request_id);
        if (has_steps)
            json_put_int(json, "step", item->step);
        json_put_seconds(json, "predicted_s", item->predicted_ps);
        json_put_seconds(json, "real_s", item->real_ps);
        json_put_double(json, "error_ratio", item->error_ratio);
        json_end_object(json);
    }
    json_end_array(json);
}

static double seconds(double time_ps)
{
    return time_ps / (double)UNITS_PS_PER_S;
}

static void put_offset(struct json_writer *json, const char *key,
                       const struct compare_offset *offset)
{
    json_begin_object(json, key);
    json_put_double(json, "mean_error_s", seconds(compare_offset_mean_ps(offset)));
    json_put_double(json, "mean_s", seconds(compare_offset_mean_abs_ps(offset)));
    json_put_seconds(json, "max_s", offset->max_abs_ps);
    json_put_int(json, "max_request_id", offset->max_request_id);
    json_end_object(json);
}

static void put_stages(struct json_writer *json, const struct compare_stages *stages)
{
    if (!stages) {
        json_put_null(json, "stages");
        json_put_null(json, "timeline");
        return;
    }
    json_begin_array(json, "stages");
    for (size_t i = 0; i < stages->stage_count; i++) {
        const struct compare_stage *stage = &stages->stages[i];

        json_begin_object(json, NULL);
        json_put_text(json, "service", stage->service);
        json_put_int(json, "stage", stage->stage);
        json_put_text(json, "phase", stage->phase == OP_ANY ? NULL : op_phase_name(stage->phase));
        json_put_int(json, "pairs", (int64_t)stage->pairs);
        put_errors(json, &stage->time);
        put_offset(json, "start", &stage->start);
        put_offset(json, "finish", &stage->finish);
        put_worst(json, &stage->worst, true);
        json_end_object(json);
    }
    json_end_array(json);
    put_offset(json, "timeline", &stages->timeline);
}

static void put_stage_counts(struct json_writer *json, const struct compare_stages *stages)
{
    if (!stages) {
        json_put_null(json, "stage_pairs");
        json_put_null(json, "stage_missing");
        json_put_null(json, "stage_other_devices");
        return;
    }
    json_put_int(json, "stage_pairs", (int64_t)stages->pairs);
    json_put_int(json, "stage_missing", (int64_t)stages->missing);
    json_put_int(json, "stage_other_devices", (int64_t)stages->moved);
}

static void put_busy(struct json_writer *json, const char *key, bool is_there, int64_t busy_ps,
                     int64_t span_ps)
{
    if (is_there && span_ps > 0)
        json_put_double(json, key, (double)busy_ps / (double)span_ps);
    else
        json_put_null(json, key);
}

static void put_usage(struct json_writer *json, const struct compare_usage *usage)
{
    if (!usage) {
        json_put_null(json, "span_s");
        json_put_null(json, "devices");
        return;
    }
    json_put_seconds(json, "span_s", usage->span_ps);
    json_begin_array(json, "devices");
    for (size_t i = 0; i < usage->count; i++) {
        const struct compare_device *device = &usage->devices[i];

        json_begin_object(json, NULL);
        json_put_text(json, "device", device->device);
        put_busy(json, "predicted_busy_ratio", device->is_predicted, device->predicted_busy_ps,
                 usage->span_ps);
        put_busy(json, "real_busy_ratio", device->is_real, device->real_busy_ps, usage->span_ps);
        json_end_object(json);
    }
    json_end_array(json);
}

static void put_all(struct json_writer *json, const struct compare_report *report)
{
    const struct compare_totals *all = &report->requests->all;

    if (all->pairs == 0) {
        json_put_null(json, "with_excluded");
        return;
    }
    json_begin_object(json, "with_excluded");
    json_put_int(json, "pairs", (int64_t)all->pairs);
    put_totals(json, all);
    put_stages(json, report->all_stages);
    json_end_object(json);
}

void compare_json(struct arena *arena, const struct compare_report *report, struct out *out)
{
    const struct compare *compare = report->requests;
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_int(json, "pairs", (int64_t)compare->kept.pairs);
    json_put_int(json, "missing", compare->missing);
    put_totals(json, &compare->kept);
    json_put_int(json, "not_ok", compare->not_ok);
    json_put_int(json, "excluded", compare->excluded);
    put_worst(json, &compare->worst, false);
    put_stage_counts(json, report->stages);
    put_stages(json, report->stages);
    put_usage(json, report->usage);
    put_all(json, report);
    json_end_object(json);
}
