/* mmpp.c - reader of mmpp tables, and the stationary state of the chain behind them. */
#include "lib/format/mmpp.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include <stdbool.h>
#include <string.h>

enum column { STATE, RATE_PER_S, MEAN_S, Q_PER_S, COLUMN_COUNT };

static const struct csv_column columns[COLUMN_COUNT] = {
    [STATE] = { "state", true },
    [RATE_PER_S] = { "rate_per_s", true },
    [MEAN_S] = { "mean_s", false },
    [Q_PER_S] = { "q_per_s", false },
};

/* Rates that a person has rounded need not sum to 0 exactly. */
#define SUM_TOLERANCE 1e-6
/* Rarer switches lie beyond every horizon. */
#define MIN_PER_S 1e-12

struct row {
    long line;
    const char *q; /* as written: how many numbers it holds is known at the end */
    int64_t mean_ps;
};

struct reader {
    struct arena *arena;
    const struct csv *csv;
    struct names *names;
    struct mmpp *mmpp;
    struct row rows[MMPP_MAX_STATES];
};

static struct mmpp *create(struct arena *arena, int capacity)
{
    struct mmpp *mmpp = arena_alloc(arena, sizeof *mmpp);

    mmpp->rates_per_s = arena_array(arena, (size_t)capacity, sizeof(double));
    return mmpp;
}

static double *entry(const struct mmpp *mmpp, int from, int to)
{
    return &mmpp->switches_per_s[(size_t)from * (size_t)mmpp->state_count + (size_t)to];
}

/* States that the first one reaches, forwards or (is_back) backwards. Returns one that it does not
 * reach, or -1. */
static int unreached(const struct mmpp *mmpp, bool is_back)
{
    bool is_seen[MMPP_MAX_STATES] = { true };
    int todo[MMPP_MAX_STATES] = { 0 }, count = 1;

    for (int i = 0; i < count; i++)
        for (int s = 0; s < mmpp->state_count; s++) {
            double rate = is_back ? *entry(mmpp, s, todo[i]) : *entry(mmpp, todo[i], s);

            if (rate > 0 && !is_seen[s]) {
                is_seen[s] = true;
                todo[count++] = s;
            }
        }
    for (int s = 0; s < mmpp->state_count; s++)
        if (!is_seen[s])
            return s;
    return -1;
}

/* Grassmann, Taksar and Heyman 1985: states are taken out one after the other, without a single
 * subtraction, so that small probabilities keep all their digits. */
static void solve_stationary(struct arena *arena, struct mmpp *mmpp)
{
    int n = mmpp->state_count;
    size_t size = (size_t)n * (size_t)n;
    struct mmpp left = *mmpp;
    double sum = 0, rate = 0;

    left.switches_per_s = arena_array(arena, size, sizeof(double));
    memcpy(left.switches_per_s, mmpp->switches_per_s, size * sizeof(double));
    for (int k = n - 1; k > 0; k--) {
        double out = 0;

        for (int j = 0; j < k; j++)
            out += *entry(&left, k, j);
        for (int i = 0; i < k; i++)
            *entry(&left, i, k) /= out;
        for (int i = 0; i < k; i++)
            for (int j = 0; j < k; j++)
                if (i != j)
                    *entry(&left, i, j) += *entry(&left, i, k) * *entry(&left, k, j);
    }
    mmpp->stationary = arena_array(arena, (size_t)n, sizeof(double));
    mmpp->stationary[0] = 1;
    for (int k = 0; k < n; k++) {
        for (int i = 0; i < k; i++)
            mmpp->stationary[k] += mmpp->stationary[i] * *entry(&left, i, k);
        sum += mmpp->stationary[k];
    }
    for (int k = 0; k < n; k++) {
        mmpp->stationary[k] /= sum;
        rate += mmpp->stationary[k] * mmpp->rates_per_s[k];
    }
    mmpp->rate_per_s = rate;
}

/* Every other state is as likely to come next. */
static void fill_uniform(struct mmpp *mmpp, int state, int64_t mean_ps)
{
    double leave = (double)UNITS_PS_PER_S / (double)mean_ps;

    for (int j = 0; j < mmpp->state_count; j++)
        *entry(mmpp, state, j) = j == state ? 0 - leave : leave / (mmpp->state_count - 1);
}

/* ---- tables ---- */

static bool read_row(struct reader *reader, bool has_mean, struct err *err)
{
    const struct csv *csv = reader->csv;
    struct mmpp *mmpp = reader->mmpp;
    struct row *row = &reader->rows[mmpp->state_count];

    if (mmpp->state_count == MMPP_MAX_STATES)
        return csv_bad_row(csv, err, "more than %d states", MMPP_MAX_STATES);
    if (!csv_has(csv, STATE))
        return csv_bad(csv, STATE, err, "expected the name of a state");
    if (names_put(reader->names, csv_text(csv, STATE)) != mmpp->state_count)
        return csv_bad(csv, STATE, err, "given twice");
    if (!csv_double(csv, RATE_PER_S, 0, MMPP_MAX_PER_S, &mmpp->rates_per_s[mmpp->state_count], err))
        return false;
    row->line = csv_line(csv);
    if (has_mean) {
        if (!csv_seconds(csv, MEAN_S, 1, &row->mean_ps, err))
            return false;
    } else {
        if (!csv_has(csv, Q_PER_S))
            return csv_bad(csv, Q_PER_S, err, "expected a row of the matrix: a number a state");
        row->q = arena_strdup(reader->arena, csv_text(csv, Q_PER_S));
    }
    mmpp->state_count++;
    return true;
}

static bool bad_q(const struct reader *reader, int state, struct err *err, const char *text)
{
    return err_at(err, csv_path(reader->csv), reader->rows[state].line,
                  csv_position(reader->csv, Q_PER_S), "q_per_s is '%.60s': %s",
                  reader->rows[state].q, text);
}

/* The numbers of one row of the matrix; the diagonal becomes what makes the sum 0 exactly. */
static bool parse_q(struct reader *reader, int state, struct err *err)
{
    const struct mmpp *mmpp = reader->mmpp;
    const char *text = reader->rows[state].q;
    double sum = 0, diagonal = 0, miss;

    for (int j = 0; j < mmpp->state_count; j++) {
        size_t length = strcspn(text, " \t");
        double value;

        if (length == 0 ||
            !units_parse_double(arena_strndup(reader->arena, text, length), &value) ||
            value > MMPP_MAX_PER_S || value < 0 - MMPP_MAX_PER_S)
            return bad_q(reader, state, err,
                         arena_printf(reader->arena,
                                      "expected %d numbers up to 1e12 with blanks between them, "
                                      "one a state",
                                      mmpp->state_count));
        if (j == state ? value >= 0 : value < 0)
            return bad_q(reader, state, err,
                         j == state ? "expected a number below 0 on the diagonal"
                                    : "expected numbers of at least 0 beside the diagonal");
        if (j != state && value > 0 && value < MIN_PER_S)
            return bad_q(reader, state, err, "expected 0 or numbers of at least 1e-12");
        if (j == state) {
            diagonal = value;
        } else {
            *entry(mmpp, state, j) = value;
            sum += value;
        }
        text += length + strspn(text + length, " \t");
    }
    if (*text)
        return bad_q(reader, state, err,
                     arena_printf(reader->arena, "expected no more than %d numbers, one a state",
                                  mmpp->state_count));
    miss = sum + diagonal;
    if (miss > SUM_TOLERANCE * sum || miss < SUM_TOLERANCE * diagonal)
        return bad_q(reader, state, err, "expected a row that sums to 0");
    *entry(mmpp, state, state) = 0 - sum;
    return true;
}

static bool check_chain(const struct reader *reader, struct err *err)
{
    const struct mmpp *mmpp = reader->mmpp;
    const struct csv *csv = reader->csv;
    bool has_rate = false;

    for (int back = 0; back < 2; back++) {
        int lost = unreached(mmpp, back);

        if (lost >= 0)
            return err_at(err, csv_path(csv), reader->rows[lost].line, csv_position(csv, STATE),
                          "state is '%.60s': no way leads %s '%.60s': expected states that all "
                          "reach one another",
                          mmpp->names[lost], back ? "from here to" : "here from", mmpp->names[0]);
    }
    for (int s = 0; s < mmpp->state_count; s++)
        has_rate = has_rate || mmpp->rates_per_s[s] > 0;
    return has_rate || err_at(err, csv_path(csv), 0, 0, "nothing arrives: every rate_per_s is 0");
}

static bool read_states(struct reader *reader, struct csv *csv, struct err *err)
{
    struct mmpp *mmpp = reader->mmpp;
    bool has_mean = csv_has_column(csv, MEAN_S);

    if (has_mean == csv_has_column(csv, Q_PER_S))
        return err_at(err, csv_path(csv), 0, 0,
                      "expected either a column 'mean_s' or a column 'q_per_s'");
    while (csv_next(csv, err))
        if (!read_row(reader, has_mean, err))
            return false;
    if (err->kind != ERR_NONE)
        return false;
    if (mmpp->state_count < 2)
        return err_at(err, csv_path(csv), 0, 0, "%d states: expected at least two",
                      mmpp->state_count);
    mmpp->names = names_list(reader->names);
    mmpp->switches_per_s = arena_array(
        reader->arena, (size_t)mmpp->state_count * (size_t)mmpp->state_count, sizeof(double));
    for (int s = 0; s < mmpp->state_count; s++) {
        if (has_mean)
            fill_uniform(mmpp, s, reader->rows[s].mean_ps);
        else if (!parse_q(reader, s, err))
            return false;
    }
    return check_chain(reader, err);
}

struct mmpp *mmpp_load(struct arena *arena, const char *path, struct err *err)
{
    struct csv *csv = csv_open(arena, path, "mmpp", columns, COLUMN_COUNT, err);
    struct reader *reader = arena_alloc(arena, sizeof *reader);
    bool is_ok;

    if (!csv)
        return NULL;
    reader->arena = arena;
    reader->csv = csv;
    reader->names = names_create(arena);
    reader->mmpp = create(arena, MMPP_MAX_STATES);
    is_ok = read_states(reader, csv, err);
    if (is_ok) {
        solve_stationary(arena, reader->mmpp);
        is_ok = reader->mmpp->rate_per_s > 0 && reader->mmpp->rate_per_s <= MMPP_MAX_PER_S;
        if (!is_ok) /* a NaN, or nothing is left of it */
            err_at(err, csv_path(csv), 0, 0,
                   "the mean rate cannot be told: switches and rates lie too many powers of ten "
                   "apart");
    }
    csv_close(csv);
    return is_ok ? reader->mmpp : NULL;
}

/* ---- the command line ---- */

/* Unlike elsewhere a rate may be 0: a process that is on and off. */
static bool parse_rate(const char *text, double *rate_per_s)
{
    *rate_per_s = 0;
    return strcmp(text, "0") == 0 || strcmp(text, "0/s") == 0 ||
           (units_parse_rate(text, rate_per_s) && *rate_per_s <= MMPP_MAX_PER_S);
}

/* "5s:20/s". */
static bool parse_state(char *text, int64_t *mean_ps, double *rate_per_s)
{
    char *colon = strchr(text, ':');

    if (!colon)
        return false;
    *colon = '\0';
    return units_parse_duration(text, mean_ps) && *mean_ps > 0 && *mean_ps <= UNITS_MAX_PS &&
           parse_rate(colon + 1, rate_per_s);
}

struct mmpp *mmpp_parse(struct arena *arena, const char *text, const char *option, struct err *err)
{
    struct mmpp *mmpp = create(arena, MMPP_MAX_STATES);
    int64_t *means_ps = arena_array(arena, MMPP_MAX_STATES, sizeof *means_ps);
    bool has_rate = false, is_ok = true;

    for (const char *at = text; is_ok; at++) {
        size_t length = strcspn(at, ",");
        int s = mmpp->state_count;

        is_ok = s < MMPP_MAX_STATES &&
                parse_state(arena_strndup(arena, at, length), &means_ps[s], &mmpp->rates_per_s[s]);
        if (!is_ok)
            break;
        has_rate = has_rate || mmpp->rates_per_s[s] > 0;
        mmpp->state_count++;
        at += length;
        if (*at == '\0')
            break;
    }
    if (!is_ok || mmpp->state_count < 2 || !has_rate) {
        err_set(err, ERR_USAGE,
                "%s is '%.60s': expected from two to %d states DURATION:RATE such as "
                "5s:20/s,30s:2/s, not all of rate 0",
                option, text, MMPP_MAX_STATES);
        return NULL;
    }
    mmpp->names = arena_array(arena, (size_t)mmpp->state_count, sizeof *mmpp->names);
    mmpp->switches_per_s =
        arena_array(arena, (size_t)mmpp->state_count * (size_t)mmpp->state_count, sizeof(double));
    for (int s = 0; s < mmpp->state_count; s++) {
        mmpp->names[s] = arena_printf(arena, "%d", s);
        fill_uniform(mmpp, s, means_ps[s]);
    }
    solve_stationary(arena, mmpp);
    return mmpp;
}

/* ---- what theory says ---- */

double mmpp_switches_per_s(const struct mmpp *mmpp)
{
    double sum = 0;

    for (int s = 0; s < mmpp->state_count; s++)
        sum -= mmpp->stationary[s] * *entry(mmpp, s, s);
    return sum;
}
