/* compare_print.c - a comparison as tables for people. */
#include "sim/report/compare_print.h"

#include "lib/base/dmath.h"
#include "lib/base/op.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "sim/report/compare.h"
#include "sim/report/compare_stages.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS 80

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
    out_printf(out, "%-9s%-7s%15s%7zu %-5s%12.2f %%\n", "", "MARE", "", metric->pairs,
               metric->pairs == 1 ? "pair" : "pairs", 100 * metric->mare);
}

static void put_totals(struct out *out, const struct compare_totals *totals)
{
    out_printf(out, "%-9s%-7s%14s%14s%14s\n", "", "", "predicted", "measured", "error");
    put_metric(out, "TTFT", &totals->ttft);
    put_metric(out, "TPOT", &totals->tpot);
    put_metric(out, "latency", &totals->latency);
    put_metric(out, "e2e", &totals->e2e);
}

static void put_requests(struct out *out, const struct compare *compare)
{
    put_totals(out, &compare->kept);
    out_printf(out,
               "%zu pair%s; %" PRId64 " in one file only, %" PRId64 " not ok in both, %" PRId64
               " excluded\n",
               compare->kept.pairs, units_s((int64_t)compare->kept.pairs), compare->missing,
               compare->not_ok, compare->excluded);
    out_text(out, "largest latency errors:\n");
    for (int i = 0; i < compare->worst.count; i++) {
        const struct compare_worst *worst = &compare->worst.item[i];
        char predicted[UNITS_TEXT_BYTES], real[UNITS_TEXT_BYTES];

        out_printf(out, "  request %-10" PRId64 "%10s%14s%+12.2f %%\n", worst->request_id,
                   units_format_human(worst->predicted_ps, predicted),
                   units_format_human(worst->real_ps, real), 100 * worst->error_ratio);
    }
    out_text(out, "error = predicted / measured - 1;\n"
                  "MARE = mean over pairs of |predicted - measured| / measured\n");
    if (compare->all.pairs == 0)
        return;
    out_printf(out, "\nwith the excluded requests, %zu pair%s:\n", compare->all.pairs,
               units_s((int64_t)compare->all.pairs));
    put_totals(out, &compare->all);
}

/* ---- stages ---- */

/* A percentage in 8 columns; what is far off needs no decimals. */
static void put_percent(struct out *out, double ratio, bool is_signed)
{
    double percent = 100 * ratio;
    bool is_wide = percent > 999 || percent < -999;

    if (is_signed)
        out_printf(out, is_wide ? " %+7.3g" : " %+7.2f", percent);
    else
        out_printf(out, is_wide ? " %7.3g" : " %7.2f", percent);
}

static const char *human(double time_ps, char text[UNITS_TEXT_BYTES])
{
    return units_format_human(dmath_round(time_ps), text);
}

static void put_offsets(struct out *out, const struct compare_stage *stage)
{
    char start[UNITS_TEXT_BYTES], start_max[UNITS_TEXT_BYTES];
    char finish[UNITS_TEXT_BYTES], finish_max[UNITS_TEXT_BYTES];

    out_printf(out, "    start off by %s, %s at most; finish by %s, %s at most\n",
               human(compare_offset_mean_abs_ps(&stage->start), start),
               units_format_human(stage->start.max_abs_ps, start_max),
               human(compare_offset_mean_abs_ps(&stage->finish), finish),
               units_format_human(stage->finish.max_abs_ps, finish_max));
}

/* As many as a line holds, at least one. */
static void put_worst(struct out *out, const struct compare_worst_list *worst)
{
    size_t used = strlen("    worst:");

    out_text(out, "    worst:");
    for (int i = 0; i < worst->count; i++) {
        const struct compare_worst *item = &worst->item[i];
        char text[COLUMNS + 1], step[24] = "";

        if (item->step > 0)
            (void)snprintf(step, sizeof step, " step %" PRId32, item->step);
        (void)snprintf(text, sizeof text, "%s request %" PRId64 "%s %+.2f %%", i > 0 ? "," : "",
                       item->request_id, step, 100 * item->error_ratio);
        if (i > 0 && used + strlen(text) > COLUMNS)
            break;
        out_text(out, text);
        used += strlen(text);
    }
    out_text(out, worst->count > 0 ? "\n" : " none: no measured time is above 0\n");
}

static void put_stage_row(struct out *out, const char *label, const struct compare_stage *stage)
{
    const struct compare_metric *time = &stage->time;
    char real[UNITS_TEXT_BYTES];

    out_printf(out, "%-19s%8zu", label, stage->pairs);
    if (time->pairs == 0) {
        out_printf(out, "%10s\n", "0 s");
        return;
    }
    out_printf(out, "%10s", units_format_human(time->real.mean, real));
    put_percent(out, time->mean_error_ratio, true);
    put_percent(out, time->p50_error_ratio, true);
    put_percent(out, time->p90_error_ratio, true);
    put_percent(out, time->p99_error_ratio, true);
    put_percent(out, time->mare, false);
    out_char(out, '\n');
}

/* The same stage in another comparison, whose order may differ a little: looks onwards from *from.
 */
static const struct compare_stage *find_stage(const struct compare_stages *stages,
                                              const struct compare_stage *like, size_t *from)
{
    for (size_t i = 0; i < stages->stage_count; i++) {
        size_t at = (*from + i) % stages->stage_count;

        if (stages->stages[at].stage == like->stage && stages->stages[at].phase == like->phase &&
            strcmp(stages->stages[at].service, like->service) == 0) {
            *from = at + 1;
            return &stages->stages[at];
        }
    }
    return NULL;
}

static void put_stage(struct out *out, const struct compare_stage *stage,
                      const struct compare_stages *all, size_t *from)
{
    const struct compare_stage *with = all ? find_stage(all, stage, from) : NULL;
    char label[48];

    (void)snprintf(label, sizeof label, "  stage %" PRId32 "%s%s", stage->stage,
                   stage->phase == OP_ANY ? "" : " ",
                   stage->phase == OP_ANY ? "" : op_phase_name(stage->phase));
    put_stage_row(out, label, stage);
    if (with && with->pairs != stage->pairs)
        put_stage_row(out, "    with excluded", with);
    put_offsets(out, stage);
    put_worst(out, &stage->worst);
}

static void put_timeline(struct out *out, const char *name, const struct compare_stages *stages)
{
    char mean[UNITS_TEXT_BYTES], max[UNITS_TEXT_BYTES];

    out_printf(out, "%s: %s mean, %s max (request %" PRId64 ")\n", name,
               human(compare_offset_mean_abs_ps(&stages->timeline), mean),
               units_format_human(stages->timeline.max_abs_ps, max),
               stages->timeline.max_request_id);
}

static void put_stages(struct out *out, const struct compare_stages *stages,
                       const struct compare_stages *all)
{
    const char *service = NULL;
    size_t from = 0;

    out_printf(out, "\n%-19s%8s%10s%8s%8s%8s%8s%8s\n", "stages, % off", "pairs", "measured", "mean",
               "p50", "p90", "p99", "MARE");
    for (size_t i = 0; i < stages->stage_count; i++) {
        if (!service || strcmp(service, stages->stages[i].service) != 0) {
            service = stages->stages[i].service;
            out_printf(out, "service %s\n", service);
        }
        put_stage(out, &stages->stages[i], all, &from);
    }
    put_timeline(out, "timeline error", stages);
    if (all && all->pairs != stages->pairs)
        put_timeline(out, "  with excluded", all);
    out_printf(out, "%zu pair%s of stages; %zu in one file only\n", stages->pairs,
               units_s((int64_t)stages->pairs), stages->missing);
    if (stages->not_compared > 0)
        out_printf(out, "%zu row%s left out: %s not ok in both files\n", stages->not_compared,
                   units_s((int64_t)stages->not_compared),
                   stages->not_compared == 1 ? "its request is" : "their requests are");
    if (stages->moved > 0)
        out_printf(out,
                   "%zu ran on other devices than predicted; first request %" PRId64
                   ", stage %" PRId32 ":\n  predicted on %s, measured on %s\n",
                   stages->moved, stages->moved_request_id, stages->moved_stage,
                   stages->moved_predicted, stages->moved_real);
    out_text(out, "a stage takes finish - start; its start and finish count from the arrival\n");
}

/* ---- devices ---- */

static void put_busy(struct out *out, bool is_there, int64_t busy_ps, int64_t span_ps)
{
    if (is_there && span_ps > 0)
        out_printf(out, "%12.1f %%", 100 * ((double)busy_ps / (double)span_ps));
    else
        out_printf(out, "%14s", "-");
}

static void put_usage(struct out *out, const struct compare_usage *usage)
{
    char span[UNITS_TEXT_BYTES], head[64];

    (void)snprintf(head, sizeof head, "devices, busy of %s",
                   units_format_human(usage->span_ps, span));
    out_printf(out, "\n%-30s%14s%14s%14s\n", head, "predicted", "measured", "points off");
    for (size_t i = 0; i < usage->count; i++) {
        const struct compare_device *device = &usage->devices[i];
        double off = (double)device->predicted_busy_ps - (double)device->real_busy_ps;

        if (strlen(device->device) > 27) /* a long name has a line of its own */
            out_printf(out, "  %s\n%-30s", device->device, "");
        else
            out_printf(out, "  %-28s", device->device);
        put_busy(out, device->is_predicted, device->predicted_busy_ps, usage->span_ps);
        put_busy(out, device->is_real, device->real_busy_ps, usage->span_ps);
        if (device->is_predicted && device->is_real && usage->span_ps > 0)
            out_printf(out, "%+14.1f\n", 100 * off / (double)usage->span_ps);
        else
            out_printf(out, "%14s\n", device->is_predicted ? "not measured" : "not predicted");
    }
}

void compare_text(const struct compare_report *report, struct out *out)
{
    put_requests(out, report->requests);
    if (report->stages)
        put_stages(out, report->stages, report->all_stages);
    if (report->usage)
        put_usage(out, report->usage);
}
