/* varying.c - integrals of a rate profile and their inverse.
 *
 * A gap's mass is used up piece by piece from an integer instant on, so that errors of rounding
 * never add up. Rates are kept per picosecond. */
#include "sim/generate/varying.h"

#include "lib/base/arena.h"
#include "lib/base/dmath.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/profile.h"
#include <stdbool.h>
#include <stddef.h>

struct piece {
    int64_t from_ps, to_ps; /* INT64_MAX: never ends */
    double rate, slope;     /* a picosecond, and that per picosecond */
    double mass, before;    /* arrivals in the piece (0 for one that never ends), and before it */
};

struct varying {
    int count;
    struct piece *pieces;
    int64_t period_ps;  /* 0 = none */
    double period_mass; /* arrivals in a period */
    double rate_per_s;
};

/* Arrivals between two moments of a piece, counted from its start. */
static double mass_between(const struct piece *piece, int64_t from_ps, int64_t to_ps)
{
    double middle = ((double)from_ps + (double)to_ps) / 2;

    return (piece->rate + piece->slope * middle) * (double)(to_ps - from_ps);
}

/* Arrivals up to a moment; pieces are filled. */
static double mass_until(const struct varying *varying, int64_t until_ps)
{
    double mass = 0;

    for (int i = 0; i < varying->count && varying->pieces[i].from_ps < until_ps; i++) {
        const struct piece *piece = &varying->pieces[i];
        int64_t end_ps = until_ps < piece->to_ps ? until_ps : piece->to_ps;

        mass += mass_between(piece, 0, end_ps - piece->from_ps);
    }
    return mass;
}

static bool check_end(const struct profile *profile, int64_t period_ps, struct err *err)
{
    const struct profile_piece *last = &profile->pieces[profile->count - 1];
    char text[UNITS_TEXT_BYTES];

    if (period_ps > 0 && last->from_ps >= period_ps)
        return err_at(err, profile->path, last->line, profile->from_column,
                      "from_s is '%s': expected less than --period",
                      units_format_seconds(last->from_ps, text));
    if (period_ps == 0 && last->to_rate_per_s != last->rate_per_s)
        return err_at(err, profile->path, last->line, profile->to_rate_column,
                      "to_rate_per_s is '%s': the last rate changes until when? Expected --period, "
                      "or a row after this one",
                      units_format_double(last->to_rate_per_s, text));
    return true;
}

static void fill_pieces(struct varying *varying, const struct profile *profile, double scale)
{
    double before = 0;

    for (int i = 0; i < profile->count; i++) {
        const struct profile_piece *from = &profile->pieces[i];
        struct piece *piece = &varying->pieces[i];
        int64_t last_ps = varying->period_ps > 0 ? varying->period_ps : INT64_MAX;

        piece->from_ps = from->from_ps;
        piece->to_ps = i + 1 < profile->count ? profile->pieces[i + 1].from_ps : last_ps;
        piece->rate = from->rate_per_s * scale / (double)UNITS_PS_PER_S;
        piece->before = before;
        if (piece->to_ps < INT64_MAX) {
            int64_t length_ps = piece->to_ps - piece->from_ps;

            piece->slope = (from->to_rate_per_s * scale / (double)UNITS_PS_PER_S - piece->rate) /
                           (double)length_ps;
            piece->mass = mass_between(piece, 0, length_ps);
        }
        before += piece->mass;
    }
    varying->period_mass = varying->period_ps > 0 ? before : 0;
}

static double highest_per_s(const struct profile *profile)
{
    double highest = 0;

    for (int i = 0; i < profile->count; i++) {
        const struct profile_piece *piece = &profile->pieces[i];

        highest = piece->rate_per_s > highest ? piece->rate_per_s : highest;
        highest = piece->to_rate_per_s > highest ? piece->to_rate_per_s : highest;
    }
    return highest;
}

struct varying *varying_create(struct arena *arena, const struct profile *profile,
                               int64_t period_ps, int64_t until_ps, double rate_per_s,
                               struct err *err)
{
    struct varying *varying = arena_alloc(arena, sizeof *varying);
    int64_t over_ps = period_ps > 0 ? period_ps : until_ps;
    double mean_per_s;

    if (!check_end(profile, period_ps, err))
        return NULL;
    varying->count = profile->count;
    varying->pieces = arena_array(arena, (size_t)profile->count, sizeof *varying->pieces);
    varying->period_ps = period_ps;
    fill_pieces(varying, profile, 1);
    mean_per_s = over_ps > 0
                     ? mass_until(varying, over_ps) / (double)over_ps * (double)UNITS_PS_PER_S
                     : highest_per_s(profile);
    if (rate_per_s > 0 && over_ps == 0) {
        err_set(err, ERR_USAGE,
                "--rate scales --profile to a mean over --period or --duration: give one of them");
        return NULL;
    }
    if (rate_per_s > 0 && !(mean_per_s > 0)) {
        err_at(err, profile->path, 0, 0,
               "nothing arrives within --duration: --rate has nothing to scale");
        return NULL;
    }
    varying->rate_per_s = rate_per_s > 0 ? rate_per_s : mean_per_s;
    if (rate_per_s > 0)
        fill_pieces(varying, profile, rate_per_s / mean_per_s);
    return varying;
}

double varying_rate_per_s(const struct varying *varying)
{
    return varying->rate_per_s;
}

/* Where a piece begins; INT64_MAX where time has ended before. */
static int64_t start_ps_of(const struct varying *varying, const struct varying_place *place)
{
    int64_t period_start_ps = 0;

    if (varying->period_ps > 0 &&
        __builtin_mul_overflow(place->period, varying->period_ps, &period_start_ps))
        return INT64_MAX;
    return saturate_add(period_start_ps, varying->pieces[place->piece].from_ps);
}

static void add_periods(struct varying_place *place, double count)
{
    if (__builtin_add_overflow(place->period, dmath_round(count), &place->period))
        place->period = INT64_MAX;
}

/* The next piece, or the first of the next period. False where there is none. */
static bool move_on(const struct varying *varying, struct varying_place *place)
{
    if (++place->piece < varying->count)
        return true;
    place->piece = 0;
    add_periods(place, 1);
    return varying->period_ps > 0;
}

/* At the start of a period: leaves out whole ones, of which a gap may hold many. */
static double skip_periods(const struct varying *varying, struct varying_place *place, double mass)
{
    double periods;

    if (mass <= varying->period_mass)
        return mass;
    periods = mass / varying->period_mass;
    periods = periods < 0x1p60 ? (double)(int64_t)periods : 0x1p60;
    if (periods * varying->period_mass >= mass) /* what is left must not be below 0 */
        periods -= 1;
    add_periods(place, periods);
    return mass - periods * varying->period_mass;
}

/* How long after since_ps (from the start of the piece) its integral has grown by mass: the root of
 * slope x^2 / 2 + rate x = mass, in the form that loses no digits. */
static int64_t invert_ps(const struct piece *piece, int64_t since_ps, double mass)
{
    double rate = piece->rate + piece->slope * (double)since_ps, square;

    if (!(mass > 0))
        return 0;
    if (piece->slope == 0)
        return dmath_round(mass / rate);
    square = rate * rate + 2 * piece->slope * mass;
    return dmath_round(2 * mass / (rate + dmath_sqrt(square > 0 ? square : 0)));
}

/* since_ps: where in the place's piece the walk begins, from the start of that piece. */
static int64_t walk_ps(const struct varying *varying, struct varying_place *place, int64_t since_ps,
                       double mass)
{
    for (;;) {
        const struct piece *piece;
        int64_t start_ps, length_ps;
        double left;

        if (varying->period_ps > 0 && place->piece == 0 && since_ps == 0)
            mass = skip_periods(varying, place, mass);
        piece = &varying->pieces[place->piece];
        start_ps = start_ps_of(varying, place);
        if (start_ps == INT64_MAX)
            return INT64_MAX;
        if (piece->to_ps == INT64_MAX)
            return piece->rate > 0 ? saturate_add(saturate_add(start_ps, since_ps),
                                                  invert_ps(piece, since_ps, mass))
                                   : INT64_MAX;
        length_ps = piece->to_ps - piece->from_ps;
        left = since_ps == 0 ? piece->mass : mass_between(piece, since_ps, length_ps);
        if (left > 0 && mass <= left) {
            int64_t at_ps = saturate_add(since_ps, invert_ps(piece, since_ps, mass));

            return saturate_add(start_ps, at_ps < length_ps ? at_ps : length_ps);
        }
        mass -= left > 0 ? left : 0;
        since_ps = 0;
        if (!move_on(varying, place))
            return INT64_MAX;
    }
}

int64_t varying_after_ps(const struct varying *varying, struct varying_place *place, int64_t at_ps,
                         double mass)
{
    return walk_ps(varying, place, at_ps - start_ps_of(varying, place), mass);
}

int64_t varying_at_ps(const struct varying *varying, struct varying_place *place, double mass)
{
    double before = (double)place->period * varying->period_mass;

    return walk_ps(varying, place, 0, mass - before - varying->pieces[place->piece].before);
}
