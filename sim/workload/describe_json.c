/* describe_json.c - the figures of a workload as one JSON object; keys: workloads/README.md. */
#include "lib/base/cli.h"
#include "lib/base/json.h"
#include "lib/format/workload.h"
#include "sim/workload/describe.h"

/* NAN becomes null. */
static void put_arrivals(struct json_writer *json, const struct describe_arrivals *arrivals)
{
    json_put_int(json, "requests", (int64_t)arrivals->rows);
    json_put_int(json, "arrivals", (int64_t)arrivals->arrivals);
    json_put_double(json, "rate_per_s", arrivals->rate_per_s);
    json_put_double(json, "gap_cv_ratio", arrivals->gap_cv);
}

static void put_values(struct json_writer *json, const char *key,
                       const struct describe_column *column, bool is_time)
{
    const struct {
        const char *key;
        int64_t value;
    } fields[] = { { "p50", column->summary.p50 },
                   { "p90", column->summary.p90 },
                   { "p99", column->summary.p99 },
                   { "max", column->summary.max } };

    if (column->summary.count == 0) {
        json_put_null(json, key);
        return;
    }
    json_begin_object(json, key);
    json_put_int(json, "count", (int64_t)column->summary.count);
    if (is_time)
        json_put_seconds(json, "mean", column->summary.mean);
    else
        json_put_double(json, "mean", column->mean);
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (is_time)
            json_put_seconds(json, fields[i].key, fields[i].value);
        else
            json_put_int(json, fields[i].key, fields[i].value);
    }
    json_end_object(json);
}

static void put_services(struct json_writer *json, const struct describe *describe)
{
    json_begin_array(json, "services");
    for (int s = 0; s < describe->workload->service_count; s++) {
        const struct describe_arrivals *one = &describe->services[s];

        json_begin_object(json, NULL);
        json_put_text(json, "service", describe->workload->services[s]);
        put_arrivals(json, one);
        json_put_double(json, "share_ratio", (double)one->rows / (double)describe->all.rows);
        json_end_object(json);
    }
    json_end_array(json);
}

static void put_histogram(struct json_writer *json, const struct describe *describe)
{
    if (describe->bin_count == 0) {
        json_put_null(json, "histogram");
        return;
    }
    json_begin_object(json, "histogram");
    json_put_seconds(json, "from_s", describe->bins_from_ps);
    json_put_seconds(json, "bin_s", describe->bin_ps);
    json_put_double(json, "peak_per_s", describe->peak_per_s);
    json_begin_array(json, "arrivals");
    for (int i = 0; i < describe->bin_count; i++)
        json_put_int(json, NULL, (int64_t)describe->bins[i]);
    json_end_array(json);
    json_end_object(json);
}

void describe_json(struct arena *arena, const struct describe *describe, struct out *out)
{
    struct json_writer *json = json_writer_create(arena, out, true);
    const struct describe_arrivals *all = &describe->all;

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_text(json, "path", describe->workload->path);
    put_arrivals(json, all);
    if (all->arrivals > 0) {
        json_put_seconds(json, "first_arrival_s", all->first_ps);
        json_put_seconds(json, "last_arrival_s", all->last_ps);
        json_put_seconds(json, "span_s", all->last_ps - all->first_ps);
    } else {
        json_put_null(json, "first_arrival_s");
        json_put_null(json, "last_arrival_s");
        json_put_null(json, "span_s");
    }
    json_put_double(json, "burstiness_ratio", describe->burstiness);
    json_put_double(json, "dispersion_ratio", describe->dispersion);
    if (describe->window_ps > 0)
        json_put_seconds(json, "dispersion_window_s", describe->window_ps);
    else
        json_put_null(json, "dispersion_window_s");
    json_put_int(json, "clients", describe->workload->client_count);
    put_values(json, "client_requests", &describe->client_requests, false);
    json_put_int(json, "sessions", describe->workload->session_count);
    put_values(json, "session_turns", &describe->session_turns, false);
    put_values(json, "prompt_tokens", &describe->prompt, false);
    put_values(json, "output_tokens", &describe->output, false);
    put_values(json, "prefix_tokens", &describe->prefix, false);
    put_values(json, "batch", &describe->batch, false);
    put_values(json, "think_s", &describe->think, true);
    put_values(json, "slo_s", &describe->slo, true);
    put_services(json, describe);
    put_histogram(json, describe);
    json_end_object(json);
}
