/* profile.c - reader of rate-profile tables. */
#include "lib/format/profile.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include <limits.h>
#include <stdbool.h>

enum column { FROM_S, RATE_PER_S, TO_RATE_PER_S, COLUMN_COUNT };

static const struct csv_column columns[COLUMN_COUNT] = {
    [FROM_S] = { "from_s", true },
    [RATE_PER_S] = { "rate_per_s", true },
    [TO_RATE_PER_S] = { "to_rate_per_s", false },
};

/* last: the piece before, NULL for the first. */
static bool read_piece(const struct csv *csv, const struct profile_piece *last,
                       struct profile_piece *piece, struct err *err)
{
    if (!csv_seconds(csv, FROM_S, 0, &piece->from_ps, err))
        return false;
    if (!last && piece->from_ps != 0)
        return csv_bad(csv, FROM_S, err, "expected 0 in the first row");
    if (last && piece->from_ps <= last->from_ps) {
        char text[UNITS_TEXT_BYTES];

        return csv_bad(csv, FROM_S, err, "not later than %s in the row before",
                       units_format_seconds(last->from_ps, text));
    }
    if (!csv_double(csv, RATE_PER_S, 0, PROFILE_MAX_PER_S, &piece->rate_per_s, err))
        return false;
    piece->to_rate_per_s = piece->rate_per_s;
    piece->line = csv_line(csv);
    return !csv_has(csv, TO_RATE_PER_S) ||
           csv_double(csv, TO_RATE_PER_S, 0, PROFILE_MAX_PER_S, &piece->to_rate_per_s, err);
}

static bool read_pieces(struct arena *arena, struct profile *profile, struct csv *csv,
                        struct err *err)
{
    struct profile_piece *pieces = NULL;
    bool has_rate = false;
    int count = 0, capacity = 0;

    for (; csv_next(csv, err); count++) {
        if (count == capacity) {
            int larger = capacity ? 2 * capacity : 64;

            if (capacity > INT_MAX / 4)
                return csv_bad_row(csv, err, "more than %d rows", capacity);
            pieces = arena_grow(arena, pieces, (size_t)capacity, (size_t)larger, sizeof *pieces);
            capacity = larger;
        }
        if (!read_piece(csv, count > 0 ? &pieces[count - 1] : NULL, &pieces[count], err))
            return false;
        has_rate = has_rate || pieces[count].rate_per_s > 0 || pieces[count].to_rate_per_s > 0;
    }
    profile->pieces = pieces;
    profile->count = count;
    if (err->kind != ERR_NONE)
        return false;
    if (count == 0)
        return err_at(err, csv_path(csv), 0, 0, "no rows: expected at least one");
    return has_rate || err_at(err, csv_path(csv), 0, 0, "nothing arrives: every rate is 0");
}

struct profile *profile_load(struct arena *arena, const char *path, struct err *err)
{
    struct csv *csv = csv_open(arena, path, "rate-profile", columns, COLUMN_COUNT, err);
    struct profile *profile = arena_alloc(arena, sizeof *profile);
    bool is_ok;

    if (!csv)
        return NULL;
    profile->path = arena_strdup(arena, csv_path(csv));
    profile->from_column = csv_position(csv, FROM_S);
    profile->to_rate_column = csv_position(csv, TO_RATE_PER_S);
    is_ok = read_pieces(arena, profile, csv, err);
    csv_close(csv);
    return is_ok ? profile : NULL;
}
