/* compare_tell.c - see compare_tell.h. */
#include "sim/cmd/compare_tell.h"

#include "lib/base/arena.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "sim/cmd/place_tell.h"
#include "sim/report/wrap.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME_WIDTH 15
#define NUMBER_BYTES 32

/* ---- what rows amount to ---- */

static int64_t tokens_alone(const struct planning *planning)
{
    int64_t tokens = 0;

    for (int s = 0; s < planning->problem_count; s++) {
        const struct problem_input *input = problem_input(planning->problems[s]);

        tokens += input->model && input->model->kind == MODEL_DECODER ? input->output_tokens : 0;
    }
    return tokens;
}

static double share_j(double energy_j, int64_t count)
{
    return energy_j < 0 || count == 0 ? -1 : energy_j / (double)count;
}

void compare_row_fill(const struct planning *planning, struct compare_row *row)
{
    const struct planned *planned = &row->planned;
    const struct judge_verdict *load = &planned->load;

    row->goodput_per_s = row->energy_per_token_j = row->energy_per_request_j = -1;
    if (row->refusal || !planned->answer.is_feasible)
        return;
    for (int s = 0; s < planning->problem_count; s++) {
        const struct planned_service *service = &planned->services[s];

        row->latency_ps =
            service->latency_ps > row->latency_ps ? service->latency_ps : row->latency_ps;
        row->period_ps = service->period_ps > row->period_ps ? service->period_ps : row->period_ps;
    }
    if (!planned->has_load) {
        row->energy_per_token_j = share_j(planned->energy_j, tokens_alone(planning));
        row->energy_per_request_j = share_j(planned->energy_j, planning->problem_count);
        return;
    }
    if (!load->is_feasible)
        return;
    row->goodput_per_s = place_goodput_per_s(load);
    row->energy_per_token_j = share_j(load->energy_j, load->output_tokens);
    row->energy_per_request_j = share_j(load->energy_j, load->ok_count);
}

static bool is_shown(const struct compare_row *row)
{
    return !row->refusal && row->planned.answer.is_feasible;
}

struct best { /* of the table; index -1: of none */
    int latency, period, goodput;
};

static struct best best_of(const struct compare_table *table)
{
    struct best best = { -1, -1, -1 };

    for (int i = 0; i < table->row_count; i++) {
        const struct compare_row *row = &table->rows[i];

        if (!is_shown(row))
            continue;
        if (best.latency < 0 || row->latency_ps < table->rows[best.latency].latency_ps)
            best.latency = i;
        if (best.period < 0 || row->period_ps < table->rows[best.period].period_ps)
            best.period = i;
        if (row->goodput_per_s >= 0 &&
            (best.goodput < 0 ||
             judge_compare(&row->planned.load, &table->rows[best.goodput].planned.load) < 0))
            best.goodput = i;
    }
    return best;
}

static double over(int64_t value_ps, int64_t best_ps)
{
    return best_ps > 0 ? (double)value_ps / (double)best_ps - 1 : 0;
}

static double latency_over(const struct compare_table *table, const struct best *best, int row)
{
    return over(table->rows[row].latency_ps, table->rows[best->latency].latency_ps);
}

static double period_over(const struct compare_table *table, const struct best *best, int row)
{
    return over(table->rows[row].period_ps, table->rows[best->period].period_ps);
}

/* How far it is below the best; below 0: not known. */
static double goodput_below(const struct compare_table *table, const struct best *best, int row)
{
    double most_per_s;

    if (best->goodput < 0 || table->rows[row].goodput_per_s < 0)
        return -1;
    most_per_s = table->rows[best->goodput].goodput_per_s;
    if (most_per_s <= 0 || table->rows[row].goodput_per_s >= most_per_s)
        return 0;
    return 1 - table->rows[row].goodput_per_s / most_per_s;
}

static const char *reason_of(const struct compare_row *row)
{
    if (row->refusal)
        return row->refusal;
    return row->planned.answer.is_feasible ? NULL : row->planned.answer.why;
}

/* ---- text ---- */

static const char *percent(double ratio, char text[NUMBER_BYTES])
{
    if (ratio < 9.995)
        (void)snprintf(text, NUMBER_BYTES, ratio < 0.0995 ? "%.1f %%" : "%.0f %%", 100 * ratio);
    else
        (void)snprintf(text, NUMBER_BYTES, ratio < 999.5 ? "%.0fx" : ">999x", 1 + ratio);
    return text;
}

/* "LPG": by which objectives it was asked. */
static const char *letters(unsigned objectives, char text[PLACE_OBJECTIVE_COUNT + 1])
{
    static const char letter_of[PLACE_OBJECTIVE_COUNT] = { 'L', 'P', 'G' };
    int count = 0;

    for (int o = 0; o < PLACE_OBJECTIVE_COUNT; o++)
        if (objectives & 1u << o)
            text[count++] = letter_of[o];
    text[count] = '\0';
    return text;
}

struct columns { /* that this table has */
    bool has_load, has_energy, has_tokens;
};

static struct columns columns_of(const struct compare_table *table)
{
    struct columns columns = { .has_load = table->planning->workload != NULL };

    for (int i = 0; i < table->row_count; i++) {
        columns.has_energy = columns.has_energy || table->rows[i].energy_per_request_j >= 0;
        columns.has_tokens = columns.has_tokens || table->rows[i].energy_per_token_j >= 0;
    }
    return columns;
}

static void put_head(const struct columns *columns, struct out *out)
{
    out_column(out, "planner", NAME_WIDTH);
    out_printf(out, "%-3s %7s %6s %7s %6s", "for", "latency", "over", "period", "over");
    if (columns->has_load)
        out_printf(out, " %7s %5s", "goodput", "good");
    out_printf(out, " %8s", "room");
    if (columns->has_energy)
        out_printf(out, " %7s", columns->has_tokens ? "J/token" : "J/req");
    out_text(out, "\n");
}

static void put_numbers(const struct compare_table *table, const struct columns *columns,
                        const struct best *best, int index, struct out *out)
{
    const struct compare_row *row = &table->rows[index];
    const struct judge_verdict *load = &row->planned.load;
    double energy_j = columns->has_tokens ? row->energy_per_token_j : row->energy_per_request_j;
    char time[UNITS_TEXT_BYTES], share[NUMBER_BYTES];

    out_printf(out, " %7s", units_format_human(row->latency_ps, time));
    out_printf(out, " %6s", percent(latency_over(table, best, index), share));
    out_printf(out, " %7s", units_format_human(row->period_ps, time));
    out_printf(out, " %6s", percent(period_over(table, best, index), share));
    if (columns->has_load && row->goodput_per_s >= 0) {
        (void)snprintf(share, sizeof share, row->goodput_per_s < 1 ? "%.2g/s" : "%.3g/s",
                       row->goodput_per_s);
        out_printf(out, " %7s %3.0f %%", share,
                   load->total_count > 0
                       ? 100 * (double)load->good_count / (double)load->total_count
                       : 0.0);
    } else if (columns->has_load)
        out_printf(out, " %7s %5s", "-", "-");
    out_printf(out, " %8s",
               row->planned.room_bytes == INT64_MAX
                   ? "-"
                   : units_format_bytes(row->planned.room_bytes, time));
    if (columns->has_energy && energy_j >= 0)
        out_printf(out, " %7.3g", energy_j);
    else if (columns->has_energy)
        out_printf(out, " %7s", "-");
    out_text(out, "\n");
}

/* Planners that were not asked for the same reason share the line of the first. false: its line is
 * not there. */
static bool names_refused(const struct compare_table *table, int index, const char **names,
                          int *count)
{
    struct arena *arena = table->planning->arena;
    const char *refusal = table->rows[index].refusal;

    *names = "";
    *count = 0;
    for (int i = 0; i < table->row_count; i++) {
        const char *other = table->rows[i].refusal;

        if (!other || strcmp(other, refusal) != 0)
            continue;
        if (i < index)
            return false;
        *names =
            arena_printf(arena, "%s%s%s", *names, (*count)++ > 0 ? ", " : "", table->rows[i].name);
    }
    return true;
}

static bool put_refused(const struct compare_table *table, int index, struct out *out)
{
    struct arena *arena = table->planning->arena;
    const char *names, *label;
    int count;

    if (!names_refused(table, index, &names, &count))
        return true;
    if (count == 1)
        return false;
    label = arena_printf(arena, "%d planners", count);
    wrap_text(out, arena_printf(arena, "%-*s", NAME_WIDTH + 4, label),
              arena_printf(arena, "not asked: %s (%s)", table->rows[index].refusal, names));
    return true;
}

static void put_row(const struct compare_table *table, const struct columns *columns,
                    const struct best *best, int index, struct out *out)
{
    struct arena *arena = table->planning->arena;
    const struct compare_row *row = &table->rows[index];
    char asked[PLACE_OBJECTIVE_COUNT + 1];
    struct out *first;
    size_t length;

    if (row->refusal && put_refused(table, index, out))
        return;
    first = out_open_memory(arena);
    out_column(first, row->name, NAME_WIDTH - 1);
    out_printf(first, " %-3s", letters(row->objectives, asked));
    if (is_shown(row)) {
        out_text(out, out_memory(first, &length));
        put_numbers(table, columns, best, index, out);
    } else {
        out_text(first, " ");
        wrap_text(out, out_memory(first, &length),
                  arena_printf(arena, "%s: %s", row->refusal ? "not asked" : "infeasible",
                               reason_of(row)));
    }
    out_abort(first);
}

static void put_note(struct out *out, const char *label, const char *text)
{
    wrap_label(out, label, NAME_WIDTH, text);
}

static void put_best(const struct compare_table *table, const struct best *best, struct out *out)
{
    struct arena *arena = table->planning->arena;
    const char *text;

    if (best->latency < 0) {
        put_note(out, "best", "none fits");
        return;
    }
    text = arena_printf(arena, "latency: %s; period: %s", table->rows[best->latency].name,
                        table->rows[best->period].name);
    if (best->goodput >= 0)
        text = arena_printf(arena, "%s; goodput: %s", text, table->rows[best->goodput].name);
    put_note(out, "best", text);
}

static void put_remarks(const struct compare_table *table, struct out *out)
{
    struct arena *arena = table->planning->arena;

    for (int i = 0; i < table->row_count; i++) {
        const struct compare_row *row = &table->rows[i];
        const struct planned *planned = &row->planned;

        if (!is_shown(row))
            continue;
        if (planned->answer.why[0] != '\0')
            put_note(out, row->name, planned->answer.why);
        if (planned->extrapolated_costs > 0)
            put_note(out, row->name, place_extrapolated_text(arena, planned->extrapolated_costs));
        if (planned->has_load && !planned->load.is_feasible)
            put_note(out, row->name,
                     arena_printf(arena, "the workload was not simulated: %s", planned->load.why));
        for (int o = 0; o < PLACE_OBJECTIVE_COUNT; o++)
            if (row->bounds_ps[o] > 0)
                put_note(
                    out, row->name,
                    arena_printf(arena, "%s: %s", place_objective_names[o],
                                 place_bound_text(arena, (enum place_objective)o, row->bounds_ps[o],
                                                  row->over_bound_ratio[o])));
    }
}

static void put_legend(const struct compare_table *table, struct out *out)
{
    const struct planning *planning = table->planning;
    const struct problem_input *input = problem_input(planning->problems[0]);
    struct arena *arena = planning->arena;
    const char *what = planning->problem_count > 1 ? ", the largest of all services" : "";

    if (planning->problem_count > 1 || !input->model)
        put_note(out, "latency",
                 arena_printf(arena, "of a lone request, simulated%s; over: than the best", what));
    else
        put_note(out, "latency",
                 arena_printf(arena,
                              "of a lone request of %d prompt and %d output tokens, simulated; "
                              "over: than the best",
                              input->prompt_tokens, input->output_tokens));
    put_note(out, "period", "the longest that a request takes a device or a link");
    if (planning->workload)
        put_note(out, "goodput",
                 arena_printf(arena, "requests of %s that are ok and within their objectives",
                              planning->options->workload));
    put_note(out, "room", "least memory left of all devices");
    put_note(out, "for",
             "the objectives that it was asked by: L latency, P period, G goodput; "
             "one line where they lead to the same placement");
}

void compare_tell_text(const struct compare_table *table, struct out *out)
{
    struct columns columns = columns_of(table);
    struct best best = best_of(table);

    put_head(&columns, out);
    for (int i = 0; i < table->row_count; i++)
        put_row(table, &columns, &best, i, out);
    out_text(out, "\n");
    if (table->is_interrupted)
        put_note(out, "stopped", "by Ctrl-C: this is the best so far");
    put_best(table, &best, out);
    put_remarks(table, out);
    put_legend(table, out);
}

/* ---- CSV ---- */

/* "latency period" */
static const char *objectives_text(struct arena *arena, unsigned objectives)
{
    const char *text = "";

    for (int o = 0; o < PLACE_OBJECTIVE_COUNT; o++)
        if (objectives & 1u << o)
            text = arena_printf(arena, "%s%s%s", text, text[0] != '\0' ? " " : "",
                                place_objective_names[o]);
    return text;
}

/* An empty field below 0. */
static void csv_number(struct out *out, double value)
{
    out_char(out, ',');
    if (value >= 0)
        out_double(out, value);
}

static void csv_row(const struct compare_table *table, const struct best *best, int index,
                    struct out *out)
{
    const struct compare_row *row = &table->rows[index];
    const struct planned *planned = &row->planned;
    const struct judge_verdict *load = &planned->load;
    bool has_load = row->goodput_per_s >= 0;

    out_csv(out, row->name);
    out_printf(out, ",%s,", objectives_text(table->planning->arena, row->objectives));
    out_text(out, row->refusal ? "not asked" : planned->answer.is_feasible ? "yes" : "no");
    out_char(out, ',');
    out_csv(out, reason_of(row) ? reason_of(row) : "");
    if (!is_shown(row)) {
        out_text(out, ",,,,,,,,,,,,,,,,,,,\n");
        return;
    }
    out_char(out, ',');
    out_seconds(out, row->latency_ps);
    csv_number(out, latency_over(table, best, index));
    out_char(out, ',');
    out_seconds(out, row->period_ps);
    csv_number(out, period_over(table, best, index));
    csv_number(out, row->goodput_per_s);
    csv_number(out, goodput_below(table, best, index));
    out_char(out, ',');
    if (has_load)
        out_printf(out, "%" PRId64 ",%" PRId64 ",", load->good_count, load->total_count);
    else
        out_text(out, ",,");
    if (has_load)
        out_seconds(out, load->latency_p99_ps);
    out_char(out, ',');
    if (planned->room_bytes != INT64_MAX)
        out_int(out, planned->room_bytes);
    csv_number(out, row->energy_per_token_j);
    csv_number(out, row->energy_per_request_j);
    for (int o = 0; o < PLACE_OBJECTIVE_COUNT; o++) {
        out_char(out, ',');
        if (row->bounds_ps[o] > 0)
            out_seconds(out, row->bounds_ps[o]);
        csv_number(out, row->bounds_ps[o] > 0 ? row->over_bound_ratio[o] : -1);
    }
    out_char(out, ',');
    out_csv(out, planned->answer.why);
    out_text(out, "\n");
}

void compare_tell_csv(const struct compare_table *table, struct out *out)
{
    struct best best = best_of(table);

    out_printf(out, "# orrery: comparison 1\n# program: orrery-sim %s\n# seed: %" PRIu64 "\n",
               CLI_VERSION, table->planning->options->seed);
    out_text(out, "planner,objectives,feasible,reason,latency_s,latency_over_ratio,period_s,"
                  "period_over_ratio,goodput_per_s,goodput_below_ratio,good,requests,"
                  "latency_p99_s,room_bytes,energy_per_output_token_j,energy_per_request_j,"
                  "latency_bound_s,latency_over_bound_ratio,period_bound_s,period_over_bound_ratio,"
                  "good_request_bound_s,good_request_over_bound_ratio,remark\n");
    for (int i = 0; i < table->row_count; i++)
        csv_row(table, &best, i, out);
}

/* ---- JSON ---- */

static void put_known(struct json_writer *json, const char *key, double value)
{
    if (value < 0)
        json_put_null(json, key);
    else
        json_put_double(json, key, value);
}

static void put_found(const struct compare_table *table, const struct best *best, int index,
                      struct json_writer *json)
{
    const struct compare_row *row = &table->rows[index];
    const struct planned *planned = &row->planned;

    json_put_seconds(json, "latency_s", row->latency_ps);
    json_put_double(json, "latency_over_ratio", latency_over(table, best, index));
    json_put_seconds(json, "period_s", row->period_ps);
    json_put_double(json, "period_over_ratio", period_over(table, best, index));
    put_known(json, "goodput_per_s", row->goodput_per_s);
    put_known(json, "goodput_below_ratio", goodput_below(table, best, index));
    if (planned->room_bytes == INT64_MAX)
        json_put_null(json, "room_bytes");
    else
        json_put_int(json, "room_bytes", planned->room_bytes);
    put_known(json, "energy_per_output_token_j", row->energy_per_token_j);
    put_known(json, "energy_per_request_j", row->energy_per_request_j);
    json_begin_array(json, "bounds");
    for (int o = 0; o < PLACE_OBJECTIVE_COUNT; o++) {
        if (row->bounds_ps[o] == 0)
            continue;
        json_begin_object(json, NULL);
        json_put_text(json, "objective", place_objective_names[o]);
        json_put_seconds(json, "bound_s", row->bounds_ps[o]);
        json_put_double(json, "over_bound_ratio", row->over_bound_ratio[o]);
        json_end_object(json);
    }
    json_end_array(json);
    place_put_services(json, table->planning, planned);
    if (planned->has_load) {
        json_begin_object(json, "load");
        place_put_load(json, &planned->load);
        json_end_object(json);
    }
}

void compare_tell_json(const struct compare_table *table, struct out *out)
{
    const struct planning *planning = table->planning;
    struct json_writer *json = json_writer_create(planning->arena, out, true);
    struct best best = best_of(table);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "version", CLI_VERSION);
    json_put_int(json, "seed", (int64_t)planning->options->seed);
    if (planning->options->limit_ps > 0)
        json_put_seconds(json, "time_limit_s", planning->options->limit_ps);
    if (table->is_interrupted)
        json_put_bool(json, "interrupted", true);
    json_begin_object(json, "best");
    json_put_text(json, "latency", best.latency < 0 ? NULL : table->rows[best.latency].name);
    json_put_text(json, "period", best.period < 0 ? NULL : table->rows[best.period].name);
    json_put_text(json, "goodput", best.goodput < 0 ? NULL : table->rows[best.goodput].name);
    json_end_object(json);
    json_begin_array(json, "rows");
    for (int i = 0; i < table->row_count; i++) {
        const struct compare_row *row = &table->rows[i];

        json_begin_object(json, NULL);
        json_put_text(json, "planner", row->name);
        json_begin_array(json, "objectives");
        for (int o = 0; o < PLACE_OBJECTIVE_COUNT; o++)
            if (row->objectives & 1u << o)
                json_put_text(json, NULL, place_objective_names[o]);
        json_end_array(json);
        json_put_bool(json, "asked", !row->refusal);
        json_put_bool(json, "feasible", is_shown(row));
        json_put_text(json, "reason", reason_of(row));
        if (is_shown(row))
            json_put_text(json, "remark",
                          row->planned.answer.why[0] != '\0' ? row->planned.answer.why : NULL);
        if (is_shown(row))
            put_found(table, &best, i, json);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}
