/* workload_scan.c - plain rows straight from the text into the columns.
 *
 * A plain row has no quotes, no signs, no exponents, no spaces around a field, new names in ASCII,
 * as many fields as the header, and breaks no rule. Any other is left to libcsv, which knows all
 * forms and says what is wrong: this code only ever says "not mine". Text ends in a newline here,
 * so a loop that stops at one stays inside. */
#include "lib/format/workload_table.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/dist.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include <string.h>

#define MAX_DIGITS 18 /* what an int64 holds for certain */
#define SECOND_DIGITS 12

enum { NO_NAME = -1, NEW_NAME = -2 };

/* A name that was met before: its bytes where they are at most 16, and else its ends. */
struct known_name {
    uint64_t first, last; /* eight bytes each; last is 0 where there are fewer than eight in all */
    size_t length;        /* 0: a free place */
    const char *name;
    int32_t number;
};

#define KNOWN_BITS 6

/* A column of names. Few of them are in use at a time: these are found without their hash. */
struct name_column {
    struct names *names;
    struct known_name known[1 << KNOWN_BITS];
    const char *found; /* of this row, where it has a NEW_NAME */
    size_t found_length;
};

struct workload_scan {
    int field_count;
    enum workload_column *columns; /* of each field; WORKLOAD_COLUMN_COUNT: a column of the user */
    struct name_column services, clients, sessions;
};

static const uint64_t powers[SECOND_DIGITS + 1] = { UINT64_C(1),
                                                    UINT64_C(10),
                                                    UINT64_C(100),
                                                    UINT64_C(1000),
                                                    UINT64_C(10000),
                                                    UINT64_C(100000),
                                                    UINT64_C(1000000),
                                                    UINT64_C(10000000),
                                                    UINT64_C(100000000),
                                                    UINT64_C(1000000000),
                                                    UINT64_C(10000000000),
                                                    UINT64_C(100000000000),
                                                    UINT64_C(1000000000000) };

struct workload_scan *workload_scan_create(struct arena *arena,
                                           const struct workload_reader *reader)
{
    struct workload_scan *scan = arena_alloc(arena, sizeof *scan);

    scan->field_count = csv_header_count(reader->csv);
    scan->columns = arena_array(arena, (size_t)scan->field_count, sizeof *scan->columns);
    for (int field = 0; field < scan->field_count; field++)
        scan->columns[field] = WORKLOAD_COLUMN_COUNT;
    for (int column = 0; column < WORKLOAD_COLUMN_COUNT; column++)
        if (csv_has_column(reader->csv, column))
            scan->columns[csv_position(reader->csv, column) - 1] = (enum workload_column)column;
    scan->services.names = reader->builder->services;
    scan->clients.names = reader->builder->clients;
    scan->sessions.names = reader->builder->sessions;
    return scan;
}

/* ---- eight characters at a time, the first in the lowest byte ---- */

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

static inline uint64_t load(const char *at)
{
    uint64_t word;

    memcpy(&word, at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* The top bit of each byte that is at least `least` (1 to 0x80). */
static inline uint64_t at_least(uint64_t word, uint64_t least)
{
    return (((word & EACH(0x7f)) + EACH(0x80 - least)) | word) & EACH(0x80);
}

/* The number that eight digits (less '0') are: pairs of them, then fours, then all. */
static inline uint64_t eight_digits(uint64_t digits)
{
    digits = digits * (1 + (10 << 8)) >> 8 & UINT64_C(0x00ff00ff00ff00ff);
    digits = digits * (1 + (100 << 16)) >> 16 & UINT64_C(0x0000ffff0000ffff);
    return digits * (1 + (UINT64_C(10000) << 32)) >> 32;
}

/* ---- fields: each returns what follows, or NULL for "not mine" ---- */

static inline bool ends_field(char c)
{
    return c == ',' || c == '\n' || c == '\r';
}

/* The digits at `at`, which may be none. The value is above INT64_MAX where there are more than
 * MAX_DIGITS. */
static inline const char *scan_digits(const char *at, uint64_t *value)
{
    uint64_t word = load(at) ^ EACH('0'), others = at_least(word, 10);
    const char *start = at;

    if (others) { /* fewer than eight: those in front become zeros */
        unsigned bits = (unsigned)__builtin_ctzll(others) - 7;

        *value = eight_digits(word << 1 << (63 - bits));
        return at + bits / 8;
    }
    *value = eight_digits(word);
    for (at += 8; *at >= '0' && *at <= '9'; at++)
        *value = at - start < MAX_DIGITS ? *value * 10 + (uint64_t)(*at - '0') : UINT64_MAX;
    return at;
}

static inline const char *scan_int(const char *at, int64_t *value)
{
    uint64_t digits;
    const char *next = scan_digits(at, &digits);

    *value = (int64_t)digits;
    return next > at && digits <= INT64_MAX ? next : NULL;
}

/* A count from min, which is 0 or 1, to max; an empty field leaves the value alone. */
static inline const char *scan_count(const char *at, uint64_t min, uint64_t max, int32_t *value)
{
    uint64_t digits;
    const char *next = scan_digits(at, &digits);

    if (next == at)
        return ends_field(*at) ? at : NULL;
    *value = (int32_t)digits;
    return digits - min <= max - min ? next : NULL;
}

/* Decimals of a second to ps, rounded half to even; UINT64_MAX where they are too many. */
static inline uint64_t decimals_ps(uint64_t decimals, size_t count)
{
    uint64_t unit, rest, time_ps;

    if (count <= SECOND_DIGITS)
        return decimals * powers[SECOND_DIGITS - count];
    if (count > MAX_DIGITS)
        return UINT64_MAX;
    unit = powers[count - SECOND_DIGITS];
    rest = decimals % unit;
    time_ps = decimals / unit;
    return time_ps + (rest > unit / 2 || (rest == unit / 2 && time_ps % 2 == 1));
}

/* Decimal seconds; an empty field leaves the time alone. */
static inline const char *scan_seconds(const char *at, int64_t min_ps, int64_t *time_ps)
{
    uint64_t whole, part = 0;
    const char *next = scan_digits(at, &whole), *start;

    if (*next == '.') {
        start = next + 1;
        next = scan_digits(start, &part);
        part = decimals_ps(part, (size_t)(next - start));
        if (next == at + 1) /* a point alone */
            return NULL;
    } else if (next == at) {
        return ends_field(*at) ? at : NULL;
    }
    if (whole > UNITS_MAX_PS / UNITS_PS_PER_S || part > (uint64_t)UNITS_PS_PER_S)
        return NULL;
    *time_ps = (int64_t)(whole * (uint64_t)UNITS_PS_PER_S + part);
    return *time_ps >= min_ps && *time_ps <= UNITS_MAX_PS ? next : NULL;
}

/* The end of a text without quotes and control characters. */
static inline const char *scan_text(const char *at)
{
    for (;; at++) { /* beyond a blank or the like */
        uint64_t low;

        while ((low = at_least(load(at), ',' + 1) ^ EACH(0x80)) == 0)
            at += 8;
        at += __builtin_ctzll(low) / 8;
        if (*at == ',' || *at == '"' || (unsigned char)*at < ' ')
            return at;
    }
}

static bool is_ascii(const char *text, const char *end)
{
    while (text < end && (unsigned char)*text < 0x80)
        text++;
    return text == end;
}

static inline struct known_name name_of(const char *name, size_t length)
{
    struct known_name one = { load(name), 0, length, name, -1 };

    if (length < 8)
        one.first &= (UINT64_C(1) << 8 * length) - 1;
    else
        one.last = load(name + length - 8);
    return one;
}

static inline struct known_name *place_of(struct name_column *column, const struct known_name *one)
{
    uint64_t mixed = (one->first ^ (one->last << 1) ^ one->length) * UINT64_C(0x9e3779b97f4a7c15);

    return &column->known[mixed >> (64 - KNOWN_BITS)];
}

static inline bool is_same(const struct known_name *a, const struct known_name *b)
{
    return a->first == b->first && a->last == b->last && a->length == b->length &&
           (a->length <= 16 || memcmp(a->name, b->name, a->length) == 0);
}

/* As scan_name, of a name that is not at its place among the known ones. */
static const char *look_up(struct name_column *column, struct known_name *one,
                           struct known_name *place, int32_t *number)
{
    const char *end = one->name + one->length;

    if (*one->name == ' ' || end[-1] == ' ') /* libcsv takes them off */
        return NULL;
    one->number = names_find_bytes(column->names, one->name, one->length);
    if (one->number >= 0) {
        one->name = names_list(column->names)[one->number];
        *place = *one;
        *number = one->number;
        return end;
    }
    column->found = one->name;
    column->found_length = one->length;
    *number = NEW_NAME;
    return is_ascii(one->name, end) ? end : NULL;
}

/* *number stays NO_NAME where the field is empty, and is NEW_NAME where it stands in column->found.
 */
static inline const char *scan_name(struct name_column *column, const char *at, int32_t *number)
{
    const char *end = scan_text(at);
    struct known_name one, *place;

    if (end == at)
        return at;
    one = name_of(at, (size_t)(end - at));
    place = place_of(column, &one);
    if (!is_same(place, &one))
        return look_up(column, &one, place, number);
    *number = place->number;
    return end;
}

static inline void keep_name(const struct name_column *column, int32_t *number)
{
    if (*number == NEW_NAME)
        *number = names_put_bytes(column->names, column->found, column->found_length);
}

/* ---- rows ---- */

static inline const char *scan_field(struct workload_scan *scan, enum workload_column column,
                                     const char *at, struct workload_request *request)
{
    const char *start = at;

    switch (column) {
    case WORKLOAD_REQUEST_ID:
        return scan_int(at, &request->request_id);
    case WORKLOAD_ARRIVAL_S:
        return scan_seconds(at, 0, &request->arrival_ps);
    case WORKLOAD_SERVICE:
        return scan_name(&scan->services, at, &request->service);
    case WORKLOAD_PROMPT_TOKENS:
        return scan_count(at, 1, DIST_MAX_TOKENS, &request->prompt_tokens);
    case WORKLOAD_OUTPUT_TOKENS:
        return scan_count(at, 1, DIST_MAX_TOKENS, &request->output_tokens);
    case WORKLOAD_SLO_S:
        return scan_seconds(at, 1, &request->slo_ps);
    case WORKLOAD_CLIENT:
        return scan_name(&scan->clients, at, &request->client);
    case WORKLOAD_THINK_S:
        return scan_seconds(at, 0, &request->think_ps);
    case WORKLOAD_SESSION:
        return scan_name(&scan->sessions, at, &request->session);
    case WORKLOAD_PREFIX_TOKENS:
        return scan_count(at, 0, DIST_MAX_TOKENS, &request->prefix_tokens);
    case WORKLOAD_BATCH:
        return scan_count(at, 1, WORKLOAD_MAX_BATCH, &request->batch);
    case WORKLOAD_COLUMN_COUNT:
        at = scan_text(at);
        return is_ascii(start, at) ? at : NULL;
    }
    return NULL;
}

/* What follows the row, or NULL for "not mine". */
static inline const char *scan_row(struct workload_scan *scan, const char *at,
                                   struct workload_request *request)
{
    for (int field = 0;;) {
        at = scan_field(scan, scan->columns[field], at, request);
        if (!at)
            return NULL;
        if (++field == scan->field_count)
            break;
        if (*at++ != ',')
            return NULL;
    }
    at += *at == '\r';
    return *at == '\n' ? at + 1 : NULL;
}

/* The rules that need more than one field. */
static inline bool is_allowed(const struct workload_reader *reader,
                              const struct workload_request *request)
{
    if (request->request_id <= reader->last_id || request->service == NO_NAME ||
        request->prefix_tokens > request->prompt_tokens)
        return false;
    if (request->arrival_ps == WORKLOAD_CLOSED)
        return request->client != NO_NAME || request->session != NO_NAME;
    return request->arrival_ps >= reader->last_arrival_ps;
}

void workload_scan_rows(struct workload_scan *scan, struct workload_reader *reader)
{
    size_t length;
    const char *start = csv_peek(reader->csv, &length), *at = start, *next;
    const char *end = length > 0 ? memrchr(start, '\n', length) : NULL;
    long line = csv_line(reader->csv), first_line = line;

    if (!end)
        return;
    end++;
    while (at < end) {
        struct workload_request request = WORKLOAD_REQUEST_INIT;

        request.service = NO_NAME;
        next = scan_row(scan, at, &request);
        if (!next || !is_allowed(reader, &request))
            break;
        keep_name(&scan->services, &request.service);
        keep_name(&scan->clients, &request.client);
        keep_name(&scan->sessions, &request.session);
        reader->last_id = request.request_id;
        if (request.arrival_ps != WORKLOAD_CLOSED)
            reader->last_arrival_ps = request.arrival_ps;
        if (line++ == first_line)
            workload_builder_line(reader->builder, line);
        workload_builder_put(reader->builder, &request);
        at = next;
    }
    csv_skip(reader->csv, (size_t)(at - start), line - first_line);
}
