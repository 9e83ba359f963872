/* scn.c - reader of cases for the flow model, and of their changes of capacity. */
#include "sim/network/scn.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/lines.h"
#include "lib/base/units.h"
#include "lib/base/utf8.h"
#include "lib/format/names.h"
#include "sim/network/flow.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_QUANTITY 1e18
#define MIN_RATIO 1e-18
#define MAX_USES 1000000

struct reader {
    struct arena *arena;
    struct lines *lines;
    struct scn *scn;
    struct names *names;
    int32_t resource_room, flow_room, use_count, use_room;
    char *at;  /* behind the last field */
    int field; /* number of the last field, from 1 */
};

/* ---- fields ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* The next field of the line, "" at its end. */
static const char *field_next(struct reader *reader)
{
    char *field = reader->at;

    while (is_space(*field))
        field++;
    reader->at = field;
    while (*reader->at != '\0' && !is_space(*reader->at))
        reader->at++;
    if (*reader->at != '\0')
        *reader->at++ = '\0';
    reader->field++;
    return field;
}

static bool bad(const struct reader *reader, const char *name, const char *field,
                const char *expected, struct err *err)
{
    return err_at(err, lines_path(reader->lines), lines_number(reader->lines), reader->field,
                  "%s is '%.60s': expected %s", name, field, expected);
}

static bool read_double(struct reader *reader, const char *name, double min, double *value,
                        const char *expected, struct err *err)
{
    const char *field = field_next(reader);

    if (!units_parse_double(field, value) || *value < min || *value > MAX_QUANTITY)
        return bad(reader, name, field, expected, err);
    return true;
}

static bool read_seconds(struct reader *reader, const char *name, int64_t *time_ps, struct err *err)
{
    const char *field = field_next(reader);

    if (!units_parse_seconds(field, time_ps) || *time_ps < 0)
        return bad(reader, name, field, "seconds from 0 to 9000000", err);
    return true;
}

static bool read_whole(struct reader *reader, const char *name, int64_t max, int64_t *value,
                       const char *expected, struct err *err)
{
    const char *field = field_next(reader);

    if (!units_parse_int(field, value) || *value < 0 || *value > max)
        return bad(reader, name, field, expected, err);
    return true;
}

static bool read_end(struct reader *reader, const char *what, struct err *err)
{
    const char *field = field_next(reader);

    return *field == '\0' ||
           err_at(err, lines_path(reader->lines), lines_number(reader->lines), reader->field,
                  "'%.60s' is one field too many: expected %s", field, what);
}

/* ---- lines ---- */

static bool read_resource(struct reader *reader, struct err *err)
{
    struct scn *scn = reader->scn;
    struct scn_resource resource = { .line = lines_number(reader->lines) };
    const char *name = field_next(reader);
    int32_t before;
    int64_t policy;

    if (*name == '\0')
        return bad(reader, "name", name, "the name of a resource", err);
    before = names_find(reader->names, name);
    if (before >= 0)
        return err_at(err, lines_path(reader->lines), resource.line, reader->field,
                      "name is '%.60s': line %ld has a resource of this name already", name,
                      scn->resources[before].line);
    (void)names_put(reader->names, name);
    resource.name = names_list(reader->names)[scn->resource_count];
    if (!read_double(reader, "capacity", 0, &resource.capacity, "bytes a second from 0 to 1e18",
                     err) ||
        !read_whole(reader, "policy", 1, &policy, "0 (shared) or 1 (fat pipe)", err) ||
        !read_end(reader, "R name capacity policy", err))
        return false;
    resource.is_fat_pipe = policy == 1;
    if (scn->resource_count == reader->resource_room) {
        int32_t larger = arena_wider(reader->resource_room, 16);

        scn->resources = arena_grow(reader->arena, scn->resources, (size_t)reader->resource_room,
                                    (size_t)larger, sizeof(*scn->resources));
        reader->resource_room = larger;
    }
    scn->resources[scn->resource_count++] = resource;
    return true;
}

static bool read_use(struct reader *reader, struct err *err)
{
    struct scn *scn = reader->scn;
    struct flow_use use;
    char expected[96];
    int64_t resource;

    if (scn->resource_count == 0)
        (void)snprintf(expected, sizeof expected,
                       "a resource: R lines stand before the flows that use them");
    else
        (void)snprintf(expected, sizeof expected,
                       "the number of a resource of a line above, 0 to %" PRId32,
                       scn->resource_count - 1);
    if (!read_whole(reader, "resource", (int64_t)scn->resource_count - 1, &resource, expected,
                    err) ||
        !read_double(reader, "weight", MIN_RATIO, &use.weight, "a number from 1e-18 to 1e18", err))
        return false;
    use.resource = (int32_t)resource;
    if (reader->use_count == reader->use_room) {
        int32_t larger = arena_wider(reader->use_room, 64);

        scn->uses = arena_grow(reader->arena, scn->uses, (size_t)reader->use_room, (size_t)larger,
                               sizeof(*scn->uses));
        reader->use_room = larger;
    }
    scn->uses[reader->use_count++] = use;
    return true;
}

static bool read_flow(struct reader *reader, struct err *err)
{
    struct scn *scn = reader->scn;
    struct scn_flow flow = { .first_use = reader->use_count, .line = lines_number(reader->lines) };
    int64_t use_count;

    if (!read_seconds(reader, "start", &flow.start_ps, err) ||
        !read_double(reader, "bytes", 0, &flow.bytes, "bytes from 0 to 1e18", err) ||
        !read_seconds(reader, "latency", &flow.latency_ps, err) ||
        !read_double(reader, "bound", 0, &flow.bound_bytes_per_s,
                     "bytes a second from 0 (none) to 1e18", err) ||
        !read_double(reader, "penalty", MIN_RATIO, &flow.penalty, "a number from 1e-18 to 1e18",
                     err) ||
        !read_whole(reader, "n", MAX_USES, &use_count, "how many resources, 0 to 1000000", err))
        return false;
    if (use_count == 0 && !(flow.bound_bytes_per_s > 0))
        return err_at(err, lines_path(reader->lines), flow.line, reader->field,
                      "n is '0': expected a resource, or a bound: nothing limits this flow");
    for (int64_t i = 0; i < use_count; i++)
        if (!read_use(reader, err))
            return false;
    if (!read_end(reader, "F start bytes latency bound penalty n, then n pairs resource weight",
                  err))
        return false;
    flow.use_count = (int32_t)use_count;
    if (scn->flow_count == reader->flow_room) {
        int32_t larger = arena_wider(reader->flow_room, 64);

        scn->flows = arena_grow(reader->arena, scn->flows, (size_t)reader->flow_room,
                                (size_t)larger, sizeof(*scn->flows));
        reader->flow_room = larger;
    }
    scn->flows[scn->flow_count++] = flow;
    return true;
}

static bool is_utf8(const char *text)
{
    size_t left = strlen(text), length;

    for (; left > 0; text += length, left -= length) {
        length = utf8_length(text, left);
        if (length == 0)
            return false;
    }
    return true;
}

static bool read_line(struct reader *reader, char *line, struct err *err)
{
    const char *kind;

    if (!is_utf8(line))
        return err_at(err, lines_path(reader->lines), lines_number(reader->lines), 0,
                      "line is not UTF-8");
    reader->at = line;
    reader->field = 0;
    kind = field_next(reader);
    if (*kind == '\0' || *kind == '#')
        return true;
    if (strcmp(kind, "R") == 0)
        return read_resource(reader, err);
    if (strcmp(kind, "F") == 0)
        return read_flow(reader, err);
    return bad(reader, "line's kind", kind, "R (a resource), F (a flow) or # (a comment)", err);
}

struct scn *scn_load(struct arena *arena, const char *path, struct err *err)
{
    struct reader reader = { .arena = arena, .lines = lines_open(arena, path, err) };
    char *line;

    if (!reader.lines)
        return NULL;
    reader.scn = arena_alloc(arena, sizeof(*reader.scn));
    reader.scn->path = lines_path(reader.lines);
    reader.names = names_create(arena);
    while ((line = lines_next(reader.lines, err)) && read_line(&reader, line, err))
        continue;
    lines_close(reader.lines);
    if (err->kind == ERR_NONE && reader.scn->flow_count == 0)
        (void)err_at(err, reader.scn->path, 0, 0, "no flows: expected at least one line F ...");
    return err->kind == ERR_NONE ? reader.scn : NULL;
}

/* ---- changes of capacity ---- */

enum { TIME_S, RESOURCE, CAPACITY, COLUMN_COUNT };
static const struct csv_column columns[COLUMN_COUNT] = {
    [TIME_S] = { "time_s", true },
    [RESOURCE] = { "resource", true },
    [CAPACITY] = { "capacity_bytes_per_s", true },
};

static bool read_change(const struct csv *csv, const char *const *names, int count,
                        struct scn_changes *changes, struct scn_change *change, struct err *err)
{
    int resource;

    if (!csv_seconds(csv, TIME_S, 0, &change->time_ps, err) ||
        !csv_choice(csv, RESOURCE, names, count, &resource, err) ||
        !csv_double(csv, CAPACITY, 0, MAX_QUANTITY, &change->capacity, err))
        return false;
    change->resource = resource;
    if (changes->count > 0 && change->time_ps < changes->changes[changes->count - 1].time_ps)
        return csv_bad(csv, TIME_S, err, "earlier than the row above: rows stand in order of time");
    return true;
}

bool scn_load_changes(struct arena *arena, const char *path, const struct scn *scn,
                      struct scn_changes *changes, struct err *err)
{
    struct csv *csv = csv_open(arena, path, "capacity", columns, COLUMN_COUNT, err);
    const char **names;
    size_t room = 0;

    *changes = (struct scn_changes){ 0 };
    if (!csv)
        return false;
    names = arena_array(arena, (size_t)scn->resource_count, sizeof(*names));
    for (int32_t i = 0; i < scn->resource_count; i++)
        names[i] = scn->resources[i].name;
    while (csv_next(csv, err)) {
        if (changes->count == room) {
            size_t larger = room ? 2 * room : 64;

            changes->changes =
                arena_grow(arena, changes->changes, room, larger, sizeof(*changes->changes));
            room = larger;
        }
        if (!read_change(csv, names, scn->resource_count, changes,
                         &changes->changes[changes->count], err))
            break;
        changes->count++;
    }
    csv_close(csv);
    return err->kind == ERR_NONE;
}
