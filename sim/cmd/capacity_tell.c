/* capacity_tell.c - what orrery-sim capacity prints of rates. */
#include "sim/cmd/capacity.h"

#include "lib/base/arena.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "sim/cmd/place_tell.h"
#include "sim/report/wrap.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define LABEL_WIDTH 11
#define PPB 1e9
#define SHARE_SERVED 0.9 /* of the rate: less is told */

static void put_line(struct out *out, const char *label, const char *text)
{
    wrap_label(out, label, LABEL_WIDTH, text);
}

/* ---- what was asked ---- */

static const char *within(struct arena *arena, const char *text, const char *what, int64_t time_ps)
{
    char time[UNITS_TEXT_BYTES];

    return time_ps > 0 ? arena_printf(arena, "%s%s%s at most %s", text, text[0] ? ", " : "", what,
                                      units_format_human(time_ps, time))
                       : text;
}

const char *capacity_goal_text(struct arena *arena, const struct capacity_settings *settings)
{
    const struct capacity_goal *goal = &settings->goal;
    const struct metrics_options *slo = &settings->planning.metrics;
    char share[UNITS_TEXT_BYTES];
    const char *objectives = within(arena, "", "latency", slo->slo_ps), *text;

    objectives = within(arena, objectives, "TTFT", slo->slo_ttft_ps);
    objectives = within(arena, objectives, "TPOT", slo->slo_tpot_ps);
    text = arena_printf(arena, "%s %% of all requests end ok%s%s%s",
                        units_format_double((double)goal->attainment_ppb / (PPB / 100), share),
                        objectives[0] ? " and within their objectives (" : "", objectives,
                        objectives[0] ? ")" : "");
    return within(
        arena, text,
        goal->quantile == QUANTILE_MEAN
            ? "mean latency"
            : arena_printf(arena, "%s of the latency", capacity_quantile_names[goal->quantile]),
        goal->quantile_ps);
}

const char *capacity_load_text(struct arena *arena, const struct capacity_settings *settings)
{
    const struct load *load = &settings->load;
    const struct generate_options *options = &load->options;
    const char *meta[LOAD_META_COUNT];
    const char *text = generate_process_names[options->process];
    int count = 0;

    load_meta(load, meta, &count);
    if (!load->texts[LOAD_SERVICE] && options->service_count == 1)
        text = arena_printf(arena, "%s, service %s", text, options->services[0].name);
    for (int i = 0; i < count; i += 2)
        if (strcmp(meta[i], "process") != 0 && strcmp(meta[i], "requests") != 0 &&
            strcmp(meta[i], "rate") != 0)
            text = arena_printf(arena, "%s, %s %s", text, meta[i], meta[i + 1]);
    return arena_printf(arena, "%s; %" PRId64 " requests, seed %" PRIu64, text,
                        options->max_requests, options->seed);
}

void capacity_put_goal(struct json_writer *json, const struct capacity_settings *settings)
{
    const struct capacity_goal *goal = &settings->goal;
    const struct metrics_options *slo = &settings->planning.metrics;
    const struct load *load = &settings->load;
    const char *meta[LOAD_META_COUNT];
    int count = 0;

    json_put_double(json, "attainment_ratio", (double)goal->attainment_ppb / PPB);
    if (goal->quantile_ps > 0) {
        json_put_text(json, "quantile", capacity_quantile_names[goal->quantile]);
        json_put_seconds(json, "quantile_s", goal->quantile_ps);
    }
    if (slo->slo_ps > 0)
        json_put_seconds(json, "slo_s", slo->slo_ps);
    if (slo->slo_ttft_ps > 0)
        json_put_seconds(json, "slo_ttft_s", slo->slo_ttft_ps);
    if (slo->slo_tpot_ps > 0)
        json_put_seconds(json, "slo_tpot_s", slo->slo_tpot_ps);
    json_put_int(json, "requests", load->options.max_requests);
    load_meta(load, meta, &count);
    json_begin_object(json, "load");
    json_put_text(json, "process", generate_process_names[load->options.process]);
    for (int i = 0; i < count; i += 2)
        if (strcmp(meta[i], "process") != 0)
            json_put_text(json, meta[i], meta[i + 1]);
    json_end_object(json);
}

/* ---- rates ---- */

static const struct rate_probe *probe_at(const struct rate_answer *answer, double rate_per_s)
{
    for (int i = 0; i < answer->probe_count; i++)
        if (!(answer->probes[i].rate_per_s < rate_per_s))
            return &answer->probes[i];
    return &answer->probes[answer->probe_count - 1];
}

static double good_ratio(const struct judge_verdict *verdict)
{
    return verdict->total_count > 0 ? (double)verdict->good_count / (double)verdict->total_count
                                    : 0;
}

static double busy_ratio(const struct judge_verdict *verdict)
{
    return verdict->window_ps > 0 ? (double)verdict->busiest_ps / (double)verdict->window_ps : 0;
}

static void put_probe(struct arena *arena, const struct rate_probe *probe, struct out *out)
{
    const struct judge_verdict *verdict = &probe->verdict;
    char p50[UNITS_TEXT_BYTES], p99[UNITS_TEXT_BYTES], rate[UNITS_TEXT_BYTES];

    if (probe->rate_per_s < CAPACITY_FLOOD_PER_S)
        (void)snprintf(rate, sizeof rate, "%.4g/s", probe->rate_per_s);
    else
        (void)snprintf(rate, sizeof rate, "all at once");
    if (!verdict->is_feasible) {
        wrap_text(out, arena_printf(arena, "  %11s %-4s ", rate, "no"), verdict->why);
        return;
    }
    out_printf(out, "  %11s %-4s %7.2f %% %8s %8s %6.1f %%\n", rate, probe->is_met ? "yes" : "no",
               100 * good_ratio(verdict), units_format_human(verdict->latency_p50_ps, p50),
               units_format_human(verdict->latency_p99_ps, p99), 100 * busy_ratio(verdict));
}

static void put_found(struct arena *arena, const struct capacity_settings *settings,
                      const struct rate_answer *answer, struct out *out)
{
    const struct rate_probe *at = probe_at(answer, answer->rate_per_s);
    const struct rate_probe *next = probe_at(answer, answer->next_per_s);

    put_line(out, "capacity",
             arena_printf(arena, "%.4g %s/s", answer->rate_per_s,
                          settings->load.options.turns ? "conversations" : "requests"));
    put_line(out, "",
             at->verdict.busiest_name
                 ? arena_printf(arena, "%s; %s is busy %.0f %% of the time",
                                place_load_text(arena, &at->verdict), at->verdict.busiest_name,
                                100 * busy_ratio(&at->verdict))
                 : place_load_text(arena, &at->verdict));
    if (!settings->load.options.turns && at->served_per_s < SHARE_SERVED * answer->rate_per_s)
        put_line(out, "warning",
                 arena_printf(
                     arena,
                     "%.3g/s came out at %.4g/s: with %" PRId64 " requests the time "
                     "after the last arrival counts for much; more --requests may bear less",
                     at->served_per_s, answer->rate_per_s, settings->load.options.max_requests));
    put_line(out, "next",
             next->verdict.is_feasible
                 ? arena_printf(arena, "%.4g/s is not borne: %s", answer->next_per_s,
                                place_load_text(arena, &next->verdict))
                 : arena_printf(arena, "%.4g/s is not borne: %s", answer->next_per_s,
                                next->verdict.why));
}

static void put_outcome(struct arena *arena, const struct capacity_settings *settings,
                        const struct rate_answer *answer, struct out *out)
{
    const struct rate_probe *lowest = &answer->probes[0];
    const struct rate_probe *flood = &answer->probes[answer->probe_count - 1];

    switch (answer->outcome) {
    case RATE_FOUND:
        put_found(arena, settings, answer, out);
        return;
    case RATE_NEVER:
        put_line(out, "capacity",
                 arena_printf(arena, "none: not even %.4g/s is borne, the lowest rate tried",
                              lowest->rate_per_s));
        put_line(out, "", place_load_text(arena, &lowest->verdict));
        return;
    case RATE_UNLIMITED:
        put_line(out, "capacity",
                 "unlimited by these requests: it is borne even when all come at once; more "
                 "--requests may tell");
        put_line(out, "", place_load_text(arena, &flood->verdict));
        return;
    }
}

/* Of the rate that was found, or of the one that the answer is about. */
static int64_t extrapolated_of(const struct rate_answer *answer)
{
    switch (answer->outcome) {
    case RATE_FOUND:
        return probe_at(answer, answer->rate_per_s)->verdict.extrapolated_costs;
    case RATE_NEVER:
        return answer->probes[0].verdict.extrapolated_costs;
    case RATE_UNLIMITED:
        break;
    }
    return answer->probes[answer->probe_count - 1].verdict.extrapolated_costs;
}

void capacity_tell_text(struct arena *arena, const struct capacity_settings *settings,
                        const struct rate_answer *answer, struct out *out)
{
    char resolution[UNITS_TEXT_BYTES];

    put_outcome(arena, settings, answer, out);
    if (extrapolated_of(answer) > 0)
        put_line(out, "warning", place_extrapolated_text(arena, extrapolated_of(answer)));
    put_line(out, "goal", capacity_goal_text(arena, settings));
    put_line(out, "load", capacity_load_text(arena, settings));
    put_line(out, "search",
             arena_printf(arena, "%d simulation%s, to %s %%%s", answer->probe_count,
                          units_s(answer->probe_count),
                          units_format_double(100 * settings->resolution_ratio, resolution),
                          answer->outcome == RATE_NEVER ? ""
                          : answer->is_monotone
                              ? "; rates on both sides agree"
                              : "; rates on both sides do not agree (see below): the rate that "
                                "was found is no clear limit"));
    out_printf(out, "\n  %11s %-4s %9s %8s %8s %8s\n", "rate", "met", "good", "p50", "p99",
               "busiest");
    for (int i = 0; i < answer->probe_count; i++)
        put_probe(arena, &answer->probes[i], out);
}

static void json_probe(const struct rate_probe *probe, struct json_writer *json)
{
    json_begin_object(json, NULL);
    json_put_double(json, "rate_per_s", probe->rate_per_s);
    json_put_bool(json, "met", probe->is_met);
    if (probe->verdict.is_feasible)
        json_put_double(json, "busiest_ratio", busy_ratio(&probe->verdict));
    json_put_text(json, "busiest", probe->verdict.busiest_name);
    place_put_load(json, &probe->verdict);
    json_end_object(json);
}

void capacity_tell_json(struct arena *arena, const struct capacity_settings *settings,
                        const struct rate_answer *answer, struct out *out)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_int(json, "seed", (int64_t)settings->load.options.seed);
    if (answer->outcome == RATE_FOUND) {
        json_put_double(json, "rate_per_s", answer->rate_per_s);
        json_put_double(json, "next_per_s", answer->next_per_s);
    } else {
        json_put_null(json, "rate_per_s");
        json_put_null(json, "next_per_s");
    }
    json_put_bool(json, "unlimited", answer->outcome == RATE_UNLIMITED);
    json_put_bool(json, "monotone", answer->is_monotone);
    json_put_double(json, "resolution_ratio", settings->resolution_ratio);
    capacity_put_goal(json, settings);
    json_put_int(json, "simulations", answer->probe_count);
    json_begin_array(json, "rates");
    for (int i = 0; i < answer->probe_count; i++)
        json_probe(&answer->probes[i], json);
    json_end_array(json);
    json_end_object(json);
}
