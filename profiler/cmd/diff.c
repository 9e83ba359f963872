/* diff.c - orrery-profile diff: two cost tables, row by row. */
#include "lib/base/arena.h"
#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "profiler/cmd/wrap.h"
#include "profiler/commands.h"
#include "profiler/device/facts.h"
#include "profiler/table/saved.h"
#include "profiler/table/verify.h"
#include <stdlib.h>
#include <string.h>

#define DEFAULT_ROWS 20
#define MAX_ROWS 1000000
#define WHAT_COLUMNS 31

struct options {
    const char *folders[2];
    int rows;
    bool is_json;
};

enum { OPTION_ROWS = 256, OPTION_JSON };

static error_t on_option(int key, char *arg, struct argp_state *state)
{
    struct options *options = state->input;

    switch (key) {
    case OPTION_ROWS:
        options->rows = (int)cli_int(state, "--rows", arg, 0, MAX_ROWS);
        return 0;
    case OPTION_JSON:
        options->is_json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->folders[1])
            cli_error(state, "unexpected argument '%s'", arg);
        options->folders[options->folders[0] ? 1 : 0] = arg;
        return 0;
    case ARGP_KEY_END:
        if (!options->folders[1])
            cli_error(state, "expected two folders of cost tables");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct diff {
    struct verify_line *lines; /* table is the first, now the second */
    int count, outside, anchors_outside, anchors;
    int only[2];               /* rows that one of them has */
    double median_ratio;       /* second / first of the rows */
    const char *other_machine; /* the first fact that differs; "" */
};

static int compare_row_pointers(const void *left, const void *right)
{
    const struct cost_row *const *a = left, *const *b = right;

    return saved_compare_rows(*a, *b);
}

static const struct cost_row **sorted_rows(struct arena *arena, const struct saved *saved)
{
    int count = cost_row_count(saved->costs);
    const struct cost_row **rows =
        arena_array(arena, (size_t)count + 1, sizeof(const struct cost_row *));

    for (int i = 0; i < count; i++)
        rows[i] = cost_row_at(saved->costs, i);
    qsort(rows, (size_t)count, sizeof(const struct cost_row *), compare_row_pointers);
    return rows;
}

static void add_line(struct diff *diff, struct verify_line line)
{
    verify_judge(&line, VERIFY_SLACK_RATIO);
    if (line.verdict == VERIFY_UNCLEAR) /* wide intervals are no difference */
        line.verdict = VERIFY_HOLDS;
    diff->lines[diff->count++] = line;
    diff->anchors += line.is_anchor;
    *(line.is_anchor ? &diff->anchors_outside : &diff->outside) += line.verdict == VERIFY_OUTSIDE;
}

static void join_rows(struct arena *arena, const struct saved tables[2], struct diff *diff)
{
    const struct cost_row **a = sorted_rows(arena, &tables[0]),
                          **b = sorted_rows(arena, &tables[1]);
    int a_count = cost_row_count(tables[0].costs), b_count = cost_row_count(tables[1].costs);

    for (int i = 0, j = 0; i < a_count || j < b_count;) {
        int order = i == a_count ? 1 : j == b_count ? -1 : saved_compare_rows(a[i], b[j]);

        if (order != 0) {
            diff->only[order > 0]++;
            *(order > 0 ? &j : &i) += 1;
            continue;
        }
        add_line(diff, (struct verify_line){ .what = saved_row_text(arena, a[i]),
                                             .table_ps = a[i]->mean_ps,
                                             .table_half_ps = saved_half_ps(a[i]),
                                             .now_ps = b[j]->mean_ps,
                                             .now_half_ps = saved_half_ps(b[j]) });
        i++;
        j++;
    }
}

static void join_anchors(struct arena *arena, const struct saved tables[2], struct diff *diff)
{
    for (int i = 0; i < cost_anchor_count(tables[0].costs); i++) {
        const struct cost_anchor *a = cost_anchor_at(tables[0].costs, i);

        for (int j = 0; j < cost_anchor_count(tables[1].costs); j++) {
            const struct cost_anchor *b = cost_anchor_at(tables[1].costs, j);

            if (saved_is_same_anchor(a, b))
                add_line(diff, (struct verify_line){
                                   .what = saved_anchor_text(arena, a),
                                   .is_anchor = true,
                                   .table_ps = a->forward_mean_ps,
                                   .table_half_ps = a->ci_ps == COST_UNKNOWN ? 0 : a->ci_ps,
                                   .now_ps = b->forward_mean_ps,
                                   .now_half_ps = b->ci_ps == COST_UNKNOWN ? 0 : b->ci_ps });
        }
    }
}

static double size_of(double change)
{
    return change < 0 ? -change : change;
}

/* Those outside first, then the largest change; by name where equal, so that order never depends on
 * the sort. */
static int compare_lines(const void *left, const void *right)
{
    const struct verify_line *a = left, *b = right;
    double x = size_of(a->change_ratio), y = size_of(b->change_ratio);

    if ((a->verdict == VERIFY_OUTSIDE) != (b->verdict == VERIFY_OUTSIDE))
        return a->verdict == VERIFY_OUTSIDE ? -1 : 1;
    if (x != y)
        return x > y ? -1 : 1;
    return strcmp(a->what, b->what);
}

static int compare_doubles(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;

    return (a > b) - (a < b);
}

static bool compare_tables(struct arena *arena, const struct saved tables[2], struct diff *diff,
                           struct err *err)
{
    size_t room = (size_t)cost_row_count(tables[0].costs) +
                  (size_t)cost_anchor_count(tables[0].costs) *
                      (size_t)(cost_anchor_count(tables[1].costs) + 1) +
                  1;
    double *ratios = arena_array(arena, room, sizeof(*ratios));
    struct err difference = ERR_INIT;
    int rows;

    diff->lines = arena_array(arena, room, sizeof(*diff->lines));
    diff->other_machine = "";
    join_rows(arena, tables, diff);
    rows = diff->count;
    if (rows == 0)
        return err_set(err, ERR_INPUT, "%s and %s have no row in common", tables[0].folder,
                       tables[1].folder);
    for (int i = 0; i < rows; i++)
        ratios[i] = diff->lines[i].change_ratio + 1.0;
    qsort(ratios, (size_t)rows, sizeof(*ratios), compare_doubles);
    diff->median_ratio = ratios[rows / 2];
    join_anchors(arena, tables, diff);
    qsort(diff->lines, (size_t)diff->count, sizeof(*diff->lines), compare_lines);
    if (tables[0].facts && tables[1].facts &&
        !saved_check_machine(arena, &tables[1], tables[0].facts, &difference))
        diff->other_machine = arena_strdup(arena, difference.text);
    return true;
}

static bool is_different(const struct diff *diff)
{
    return diff->anchors_outside > 0 ||
           100 * diff->outside > VERIFY_OUTSIDE_PERCENT * (diff->count - diff->anchors);
}

static const char *conclusion(struct arena *arena, const struct diff *diff)
{
    return arena_printf(arena,
                        "the tables %s: %d of %d common rows and %d of %d whole forwards are "
                        "outside; the median row takes %.3f times as long in the "
                        "second",
                        is_different(diff) ? "differ" : "agree", diff->outside,
                        diff->count - diff->anchors, diff->anchors_outside, diff->anchors,
                        diff->median_ratio);
}

static void print_text(struct arena *arena, struct out *out, const struct options *options,
                       const struct diff *diff)
{
    char first[UNITS_TEXT_BYTES], second[UNITS_TEXT_BYTES];

    if (options->rows > 0)
        out_printf(out, "  %-*s %9s %9s %9s %9s\n", WHAT_COLUMNS, "what", "first", "second",
                   "change", "allowed");
    for (int i = 0; i < diff->count && i < options->rows; i++) {
        const struct verify_line *line = &diff->lines[i];

        out_printf(out, "  %-*s", WHAT_COLUMNS, line->what);
        if (strlen(line->what) > WHAT_COLUMNS)
            out_printf(out, "\n  %-*s", WHAT_COLUMNS, "");
        out_printf(out, " %9s %9s %+7.1f %% %7.1f %%%s\n",
                   units_format_human(line->table_ps, first),
                   units_format_human(line->now_ps, second), 100 * line->change_ratio,
                   100 * line->allowed_ratio, line->verdict == VERIFY_OUTSIDE ? " <>" : "");
    }
    if (diff->count > options->rows)
        out_printf(out, "  and %d more (--rows)\n", diff->count - options->rows);
    if (diff->only[0] + diff->only[1] > 0)
        wrap_put(out, 0, 2,
                 arena_printf(arena, "%d rows are in the first alone, %d in the second",
                              diff->only[0], diff->only[1]));
    if (diff->other_machine[0])
        wrap_put(out, 0, 2, diff->other_machine);
    wrap_put(out, 0, 2, conclusion(arena, diff));
}

static void print_json(struct arena *arena, struct out *out, const struct options *options,
                       const struct diff *diff)
{
    struct json_writer *json = json_writer_create(arena, out, true);

    json_begin_object(json, NULL);
    json_put_int(json, "schema", 1);
    json_put_text(json, "first", options->folders[0]);
    json_put_text(json, "second", options->folders[1]);
    json_put_bool(json, "is_different", is_different(diff));
    json_put_int(json, "rows", diff->count - diff->anchors);
    json_put_int(json, "rows_outside", diff->outside);
    json_put_int(json, "anchors", diff->anchors);
    json_put_int(json, "anchors_outside", diff->anchors_outside);
    json_put_int(json, "only_first", diff->only[0]);
    json_put_int(json, "only_second", diff->only[1]);
    json_put_double(json, "median_ratio", diff->median_ratio);
    json_put_text(json, "other_machine", diff->other_machine[0] ? diff->other_machine : NULL);
    json_begin_array(json, "lines");
    for (int i = 0; i < diff->count && i < options->rows; i++) {
        const struct verify_line *line = &diff->lines[i];

        json_begin_object(json, NULL);
        json_put_text(json, "what", line->what);
        json_put_bool(json, "is_anchor", line->is_anchor);
        json_put_seconds(json, "first_s", line->table_ps);
        json_put_seconds(json, "second_s", line->now_ps);
        json_put_double(json, "change_ratio", line->change_ratio);
        json_put_double(json, "allowed_ratio", line->allowed_ratio);
        json_put_bool(json, "is_outside", line->verdict == VERIFY_OUTSIDE);
        json_end_object(json);
    }
    json_end_array(json);
    json_end_object(json);
}

static int run(struct arena *arena, const struct options *options, struct err *err)
{
    struct saved tables[2];
    struct diff diff = { .count = 0 };

    if (!saved_load_any(arena, options->folders[0], &tables[0], err) ||
        !saved_load_any(arena, options->folders[1], &tables[1], err) ||
        !compare_tables(arena, tables, &diff, err))
        return CLI_FAIL;
    struct out *out = out_open(arena, "-", err);
    if (!out)
        return CLI_FAIL;
    if (options->is_json)
        print_json(arena, out, options, &diff);
    else
        print_text(arena, out, options, &diff);
    if (!out_commit(out, err))
        return CLI_FAIL;
    return is_different(&diff) ? CLI_NO : CLI_DONE;
}

int profiler_diff(int argc, char **argv)
{
    static const struct argp_option table[] = {
        { "rows", OPTION_ROWS, "N", 0, "print the worst N; default 20", 0 },
        { "json", OPTION_JSON, NULL, 0, "print one JSON object", 0 },
        { 0 }
    };
    const struct argp argp = {
        table,
        on_option,
        "FIRST SECOND",
        "Compares two cost tables row by row, the worst first. A row is outside when its "
        "change is more than 3 % and both 95 % half widths. Tables differ when a whole "
        "forward or more than 10 % of the common rows are outside.\v"
        "Example: orrery-profile diff my/costs/before my/costs/after\n"
        "Exit status: 0 they agree, 1 they differ, 2 trouble.",
        NULL,
        NULL,
        NULL
    };
    struct options options = { .rows = DEFAULT_ROWS };
    struct err err = ERR_INIT;
    int exit_code;

    if (!cli_parse(&argp, argc, argv, &options, &exit_code))
        return exit_code;
    struct arena *arena = arena_create();
    exit_code = run(arena, &options, &err);
    if (err.kind != ERR_NONE)
        exit_code = cli_fail(argv[0], &err);
    arena_destroy(arena);
    return exit_code;
}
