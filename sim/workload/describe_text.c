/* describe_text.c - the figures of a workload on a terminal, at most 80 columns. */
#include "lib/base/arena.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/workload.h"
#include "sim/workload/describe.h"
#include "sim/workload/plot.h"
#include <inttypes.h>
#include <math.h>

#define MOST_SERVICES 20

static void put_ratio(struct out *out, const char *before, double value)
{
    if (isnan(value))
        out_printf(out, "%s-", before);
    else
        out_printf(out, "%s%.4g", before, value);
}

static void put_counts(const struct describe *describe, struct out *out)
{
    const struct workload *workload = describe->workload;
    const struct describe_arrivals *all = &describe->all;
    char first[UNITS_TEXT_BYTES], last[UNITS_TEXT_BYTES];

    out_printf(out, "workload   %s\n", workload->path);
    out_printf(out, "requests   %zu: %zu arrive by themselves, %zu wait for others\n", all->rows,
               all->arrivals, all->rows - all->arrivals);
    if (workload->client_count > 0)
        out_printf(out, "clients    %d, %.4g requests each in the mean, at most %" PRId64 "\n",
                   workload->client_count, describe->client_requests.mean,
                   describe->client_requests.summary.max);
    if (workload->session_count > 0)
        out_printf(out, "sessions   %d, %.4g turns each in the mean, at most %" PRId64 "\n",
                   workload->session_count, describe->session_turns.mean,
                   describe->session_turns.summary.max);
    if (all->arrivals == 0)
        return;
    out_printf(out, "arrivals   from %s to %s", units_format_human(all->first_ps, first),
               units_format_human(all->last_ps, last));
    if (describe->bin_count > 0)
        out_printf(out, ", %.4g/s", all->rate_per_s);
    put_ratio(out, "\ngaps       cv ", all->gap_cv);
    put_ratio(out, ", burstiness ", describe->burstiness);
    if (describe->bin_count > 0)
        out_printf(out, "\npeak       %.4g/s in a bin of %s", describe->peak_per_s,
                   units_format_human(describe->bin_ps, first));
    if (!isnan(describe->dispersion))
        out_printf(out, "\ndispersion %.4g of the counts in windows of %s", describe->dispersion,
                   units_format_human(describe->window_ps, first));
    out_char(out, '\n');
}

/* The services with the most requests, in the order of the file. */
static void put_services(struct arena *arena, const struct describe *describe, struct out *out)
{
    int count = describe->workload->service_count, shown = 0;
    int64_t *rows = arena_array(arena, (size_t)count, sizeof(*rows)), least;

    for (int s = 0; s < count; s++)
        rows[s] = (int64_t)describe->services[s].rows;
    stats_sort(rows, (size_t)count);
    least = count > MOST_SERVICES ? rows[count - MOST_SERVICES] : 0;
    out_printf(out, "\n%-32s%12s%10s%14s%10s\n", "service", "requests", "share", "rate", "cv");
    for (int s = 0; s < count && shown < MOST_SERVICES; s++) {
        const struct describe_arrivals *one = &describe->services[s];

        if ((int64_t)one->rows < least)
            continue;
        shown++;
        out_column(out, describe->workload->services[s], 32);
        out_printf(out, "%12zu%8.2f %%", one->rows,
                   100.0 * (double)one->rows / (double)describe->all.rows);
        if (isnan(one->rate_per_s))
            out_printf(out, "%14s%10s\n", "-", "-");
        else
            out_printf(out, "%12.5g/s%10.4g\n", one->rate_per_s, one->gap_cv);
    }
    if (shown < count)
        out_printf(out, "and %d more services\n", count - shown);
}

static void put_tokens(struct out *out, const char *name, const struct describe_column *column)
{
    const struct stats_summary *summary = &column->summary;

    if (summary->count > 0)
        out_printf(out, "%-16s%12zu%12.1f%10" PRId64 "%10" PRId64 "%10" PRId64 "%10" PRId64 "\n",
                   name, summary->count, column->mean, summary->p50, summary->p90, summary->p99,
                   summary->max);
}

static void put_times(struct out *out, const char *name, const struct describe_column *column)
{
    const struct stats_summary *summary = &column->summary;
    const int64_t values[] = { summary->mean, summary->p50, summary->p90, summary->p99,
                               summary->max };

    if (summary->count == 0)
        return;
    out_printf(out, "%-16s%12zu", name, summary->count);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        char text[UNITS_TEXT_BYTES];

        out_printf(out, "%*s", i == 0 ? 12 : 10, units_format_human(values[i], text));
    }
    out_char(out, '\n');
}

static void put_columns(const struct describe *describe, struct out *out)
{
    bool has_any = describe->prompt.summary.count > 0 || describe->output.summary.count > 0 ||
                   describe->batch.summary.count > 0 || describe->think.summary.count > 0 ||
                   describe->slo.summary.count > 0;

    if (!has_any)
        return;
    out_printf(out, "\n%-16s%12s%12s%10s%10s%10s%10s\n", "of a request", "rows", "mean", "p50",
               "p90", "p99", "max");
    put_tokens(out, "prompt tokens", &describe->prompt);
    put_tokens(out, "output tokens", &describe->output);
    put_tokens(out, "prefix tokens", &describe->prefix);
    put_tokens(out, "items", &describe->batch);
    put_times(out, "think time", &describe->think);
    put_times(out, "objective", &describe->slo);
}

/* Bins begin at round times: their seconds are short. */
static const char *time_text(struct arena *arena, int64_t time_ps)
{
    char text[UNITS_TEXT_BYTES];

    return arena_printf(arena, "%s s", units_format_seconds(time_ps, text));
}

void describe_text(struct arena *arena, const struct describe *describe, bool is_utf8,
                   struct out *out)
{
    int64_t from_ps = describe->bins_from_ps;
    char bin[UNITS_TEXT_BYTES];

    put_counts(describe, out);
    put_services(arena, describe, out);
    put_columns(describe, out);
    if (describe->bin_count == 0)
        return;
    out_printf(out, "\narrivals in bins of %s\n", units_format_human(describe->bin_ps, bin));
    plot_columns(out, describe->bins, describe->bin_count,
                 arena_printf(arena, "%.4g/s", describe->peak_per_s), time_text(arena, from_ps),
                 time_text(arena, from_ps + describe->bin_count * describe->bin_ps), is_utf8);
}
