/* report.c - the summary of a profile, in words or as JSON. */
#include "profiler/cmd/report.h"
#include "lib/base/arena.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "profiler/cmd/wrap.h"
#include "profiler/device/threads.h"
#include "profiler/measure/rounds.h"
#include "profiler/table/table.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A bias beyond this is worth a warning: costs would then be off by it. */
static const double KAPPA_LIMIT = 0.03;

static double dirty_ratio(const struct table *table)
{
    return table->samples > 0 ? (double)table->dirty / (double)table->samples : 0.0;
}

static double anchor_error(const struct cost_anchor *anchor)
{
    return (double)anchor->sum_chain_ps / (double)anchor->forward_mean_ps - 1.0;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* One statement of the summary, wrapped. */
static void put_line(struct out *out, const char *text)
{
    out_text(out, "  ");
    wrap_put(out, 2, 4, text);
}

static void write_anchor(struct arena *arena, struct out *out, const struct cost_anchor *anchor)
{
    double error = 100.0 * anchor_error(anchor);
    const char *what =
        anchor->phase == OP_PREFILL ? arena_printf(arena, "prefill of %d tokens", anchor->tokens)
        : anchor->batch > 1         ? arena_printf(arena, "decode of %d sequences on %d keys",
                                                   anchor->batch, anchor->kv_len)
                                    : arena_printf(arena, "decode on %d keys", anchor->kv_len);
    const char *interval = "";

    if (anchor->ci_ps != COST_UNKNOWN)
        interval = arena_printf(arena, " +- %.1f %%",
                                100.0 * (double)anchor->ci_ps / (double)anchor->forward_mean_ps);
    put_line(out,
             arena_printf(
                 arena,
                 "%s, %s, %d layers, %d thread%s: the sum of kernels is %.1f %% %s a whole forward "
                 "(%.3f ms%s, n = %lld)%s",
                 what, anchor->dtype, anchor->layers, anchor->threads,
                 anchor->threads > 1 ? "s" : "", error < 0 ? -error : error,
                 error < 0 ? "below" : "above", (double)anchor->forward_mean_ps / 1e9, interval,
                 (long long)anchor->n,
                 error / 100 > KAPPA_LIMIT || error / 100 < -KAPPA_LIMIT
                     ? ": more than 3 %, take the table with care"
                     : ""));
}

/* Text of the counters: all empty for one reason, or some. */
static void write_counters(struct arena *arena, struct out *out, const struct table *table)
{
    const struct cost_row *row = &table->rows[0];
    const char *rest = "";
    int known = 0;

    for (int c = 0; c < COST_COUNTER_COUNT; c++)
        known += row->counters[c] != COST_UNKNOWN;
    if (row->ctr_reason[0])
        rest = arena_printf(arena, "; the others are empty (%s)", row->ctr_reason);
    put_line(out, arena_printf(arena, "hardware counters: %d of %d counted%s", known,
                               (int)COST_COUNTER_COUNT, rest));
}

/* How good the table is, in a sentence: the anchors say it, unless the machine was disturbed. */
static const char *grade(struct arena *arena, const struct table *table)
{
    double worst = 0.0;

    for (int a = 0; a < table->anchor_count; a++) {
        double error = anchor_error(&table->anchors[a]);

        error = error < 0 ? -error : error;
        worst = error > worst ? error : worst;
    }
    if (strcmp(table->quality, "good") != 0)
        return arena_printf(arena,
                            "The table is marked as %s. Measure again on a quiet machine, or "
                            "take it with care.",
                            table->quality);
    if (table->anchor_count == 0)
        return "No whole forward was measured to check the table by.";
    if (worst > KAPPA_LIMIT)
        return arena_printf(arena,
                            "Take the table with care: it is up to %.1f %% off a whole forward; "
                            "orrery-sim run --kappa on corrects for it.",
                            100 * worst);
    return arena_printf(arena, "A good table: within %.1f %% of %s whole forward.", 100 * worst,
                        table->anchor_count > 1 ? "every" : "the");
}

static void write_holdouts(struct arena *arena, struct out *out, const struct table *table)
{
    double *errors = arena_array(arena, (size_t)table->holdout_count + 1, sizeof(*errors));
    int count = 0;

    for (int h = 0; h < table->holdout_count; h++) {
        const struct cost_holdout *at = &table->holdouts[h];
        double error = (double)at->predicted_ps / (double)at->row.mean_ps - 1.0;

        if (at->row.flops == COST_UNKNOWN) /* small change: norms and the like */
            continue;
        errors[count++] = error < 0 ? -error : error;
    }
    if (count == 0)
        return;
    qsort(errors, (size_t)count, sizeof(*errors), compare_doubles);
    put_line(out, arena_printf(arena,
                               "%d shapes of products and attention held out of the table: "
                               "predicted within %.1f %% (median), %.1f %% (worst)",
                               count, 100 * errors[count / 2], 100 * errors[count - 1]));
}

static void write_rounds(struct arena *arena, struct out *out, const struct table *table)
{
    if (table->bad_rounds == 0) {
        put_line(out, arena_printf(arena, "%d rounds, none of them disturbed", table->rounds));
        return;
    }
    put_line(out, arena_printf(arena, "%d of %d rounds were disturbed (%s) and left out%s",
                               table->bad_rounds, table->rounds, rounds_list(arena, table),
                               table->disturbed_rows > 0
                                   ? arena_printf(arena, ", but in %d rows that had nothing else",
                                                  table->disturbed_rows)
                                   : ""));
}

/* By the first whole forward of each phase, of one sequence, in the table's first type of weights.
 */
static const char *compare_threads(struct arena *arena, const struct table *table)
{
    struct threads_cost costs[THREADS_MAX_COUNTS];
    int count = 0;

    for (int a = 0; a < table->anchor_count; a++) {
        const struct cost_anchor *anchor = &table->anchors[a];
        int at = 0;

        if (anchor->batch > 1 || strcmp(anchor->dtype, table->anchors[0].dtype) != 0)
            continue;
        while (at < count && costs[at].threads != anchor->threads)
            at++;
        if (at == THREADS_MAX_COUNTS)
            continue;
        if (at == count)
            costs[count++] = (struct threads_cost){ anchor->threads, 0, 0, -1, -1 };
        bool is_decode = anchor->phase == OP_DECODE;
        int64_t *mean_ps = is_decode ? &costs[at].decode_ps : &costs[at].prefill_ps;

        if (*mean_ps > 0)
            continue;
        *mean_ps = anchor->forward_mean_ps;
        *(is_decode ? &costs[at].decode_ci : &costs[at].prefill_ci) =
            anchor->ci_ps == COST_UNKNOWN ? -1 : anchor->ci_ps;
    }
    return threads_sentence(arena, costs, count);
}

static void write_quality(struct arena *arena, struct out *out, const struct report *report)
{
    const struct table *table = report->table;

    put_line(out,
             arena_printf(
                 arena,
                 "%lld samples in %d processes for each thread count; 95 %% interval of products "
                 "and attention: median +- %.1f %%, worst +- %.1f %% (%s)",
                 (long long)table->samples, report->processes, 100 * table->median_ci_ratio,
                 100 * table->worst_ci_ratio, table->worst_row));
    for (int a = 0; a < table->anchor_count; a++)
        write_anchor(arena, out, &table->anchors[a]);
    const char *threads = compare_threads(arena, table);
    if (threads)
        put_line(out, threads);
    put_line(out, arena_printf(arena, "%.1f %% of the samples were preempted and left out",
                               100 * dirty_ratio(table)));
    if (table->fallback_rows > 0)
        put_line(out, arena_printf(
                          arena,
                          "%d rows had fewer than 3 clean samples: all theirs were used, with CPU "
                          "time where one thread worked",
                          table->fallback_rows));
    if (table->missing_rows > 0)
        put_line(out, arena_printf(arena, "%d rows of the grid were never reached",
                                   table->missing_rows));
    write_rounds(arena, out, table);
    write_holdouts(arena, out, table);
}

void report_write_text(struct arena *arena, struct out *out, const struct report *report)
{
    wrap_put(out, 0, 4,
             arena_printf(arena,
                          "Measured %s on %s, threads %s: %d rows in %.1f s (budget %g s), seed "
                          "%llu",
                          report->model, report->cpu[0] ? report->cpu : "an unnamed processor",
                          report->threads, report->table->row_count, report->elapsed_s,
                          report->budget_s, (unsigned long long)report->seed));
    put_line(out, grade(arena, report->table));
    write_quality(arena, out, report);
    write_counters(arena, out, report->table);
    for (int w = 0; w < report->warning_count; w++)
        put_line(out, arena_printf(arena, "warning: %s", report->warnings[w]));
    put_line(out, arena_printf(
                      arena,
                      "files: kernels.csv and what explains it (device, anchors, rounds, ...) in"));
    /* alone and as it is: a name may hold blanks */
    out_printf(out, "    %s\n", report->folder);
}

static void put_anchors(struct json_writer *json, const struct table *table)
{
    json_begin_array(json, "anchors");
    for (int a = 0; a < table->anchor_count; a++) {
        const struct cost_anchor *anchor = &table->anchors[a];

        json_begin_object(json, NULL);
        json_put_text(json, "phase", op_phase_name(anchor->phase));
        json_put_int(json, "m_tokens", anchor->tokens);
        json_put_int(json, "kv_len", anchor->kv_len);
        json_put_int(json, "batch", anchor->batch);
        json_put_text(json, "dtype", anchor->dtype);
        json_put_int(json, "threads", anchor->threads);
        json_put_int(json, "layers", anchor->layers);
        json_put_int(json, "n", anchor->n);
        json_put_seconds(json, "forward_mean_s", anchor->forward_mean_ps);
        json_put_seconds(json, "sum_s", anchor->sum_chain_ps);
        json_put_double(json, "kappa_ratio", anchor->kappa);
        json_put_double(json, "sum_error_ratio", anchor_error(anchor));
        json_end_object(json);
    }
    json_end_array(json);
}

void report_write_json(struct arena *arena, struct out *out, const struct report *report)
{
    const struct table *table = report->table;
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "model", report->model);
    json_put_text(json, "cpu", report->cpu);
    json_put_text(json, "folder", report->folder);
    json_put_text(json, "threads", report->threads);
    json_put_int(json, "seed", (int64_t)report->seed);
    json_put_int(json, "processes", report->processes);
    json_put_double(json, "elapsed_s", report->elapsed_s);
    json_put_double(json, "budget_s", report->budget_s);
    json_put_int(json, "rows", table->row_count);
    json_put_int(json, "missing_rows", table->missing_rows);
    json_put_int(json, "fallback_rows", table->fallback_rows);
    json_put_int(json, "samples", table->samples);
    json_put_double(json, "dirty_ratio", dirty_ratio(table));
    json_put_double(json, "median_ci_ratio", table->median_ci_ratio);
    json_put_double(json, "worst_ci_ratio", table->worst_ci_ratio);
    json_put_text(json, "worst_row", table->worst_row);
    json_put_int(json, "rounds", table->rounds);
    json_put_int(json, "bad_rounds", table->bad_rounds);
    json_put_text(json, "quality", table->quality);
    json_put_int(json, "tile_period", report->period);
    json_put_double(json, "stamp_overhead_ratio", table->stamp_ratio);
    json_put_text(json, "counter_reason", table->rows[0].ctr_reason);
    put_anchors(json, table);
    json_begin_array(json, "warnings");
    for (int w = 0; w < report->warning_count; w++)
        json_put_text(json, NULL, report->warnings[w]);
    json_end_array(json);
    json_end_object(json);
}
