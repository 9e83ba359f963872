/* events.c - reader and writer of the events of a cluster. */
#include "lib/format/events.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/names.h"
#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum { TIME_S, TARGET, EVENT, VALUE, COLUMN_COUNT };
static const struct csv_column columns[COLUMN_COUNT] = {
    [TIME_S] = { "time_s", true },
    [TARGET] = { "target", true },
    [EVENT] = { "event", true },
    [VALUE] = { "value", false },
};

static const char *const kind_names[EVENT_KIND_COUNT] = {
    [EVENT_DOWN] = "down",
    [EVENT_UP] = "up",
    [EVENT_BITS_PER_S] = "bits_per_s",
    [EVENT_SPEED_RATIO] = "speed_ratio",
};

#define ANY_NODE "*"

/* What is known of a target while rows are read. */
struct target {
    const char *name;
    enum event_target kind;
    int32_t device, medium, attachment;
    const char *node;
    long down_line; /* 0 = it is up */
    int64_t last_ps[EVENT_KIND_COUNT];
    long last_line[EVENT_KIND_COUNT]; /* 0 = no such event yet */
};

struct reader {
    struct arena *arena;
    const struct cluster *cluster;
    struct names *nodes; /* of the cluster, and the source */
    struct names *names; /* of targets, numbered as targets */
    struct target *targets;
    size_t target_capacity;
};

/* ---- targets ---- */

static const struct target no_target = { .device = -1, .medium = -1, .attachment = -1 };

/* Keeps the first meaning of a name and counts all. */
static void add_meaning(struct target *target, int *meanings, struct target meaning)
{
    if ((*meanings)++ == 0)
        *target = meaning;
}

/* The node's own row, else that of every node; -1 = not attached. */
static int32_t find_attachment(const struct reader *reader, const struct cluster_medium *medium,
                               const char *node)
{
    int32_t any = -1;

    for (int32_t i = 0; i < medium->attachment_count; i++) {
        if (strcmp(medium->attachments[i].node, node) == 0)
            return i;
        if (strcmp(medium->attachments[i].node, ANY_NODE) == 0)
            any = i;
    }
    return names_find(reader->nodes, node) >= 0 ? any : -1;
}

/* What a name may mean: names may hold a '/' themselves, so every reading is tried. */
static int find_meanings(const struct reader *reader, const char *name, struct target *target)
{
    const struct cluster *cluster = reader->cluster;
    struct target meaning = no_target;
    int meanings = 0;

    meaning.kind = EVENT_DEVICE;
    meaning.device = cluster_find_device(cluster, name);
    if (meaning.device >= 0)
        add_meaning(target, &meanings, meaning);
    for (int32_t m = 0; m < cluster->medium_count; m++) {
        const struct cluster_medium *medium = &cluster->media[m];
        size_t length = strlen(medium->name);
        const char *node;

        if (strncmp(medium->name, name, length) != 0)
            continue;
        meaning = no_target;
        meaning.medium = m;
        meaning.kind = EVENT_MEDIUM;
        if (name[length] == '\0')
            add_meaning(target, &meanings, meaning);
        if (name[length] != '/')
            continue;
        node = name + length + 1;
        meaning.kind = EVENT_PORT;
        meaning.attachment = find_attachment(reader, medium, node);
        meaning.node = node;
        if (meaning.attachment >= 0 && strcmp(node, ANY_NODE) != 0)
            add_meaning(target, &meanings, meaning);
    }
    return meanings;
}

static void list_ports(const struct reader *reader, const struct cluster_medium *medium,
                       struct names *list)
{
    const char *const *nodes = names_list(reader->nodes);

    for (int32_t i = 0; i < names_count(reader->nodes); i++)
        if (find_attachment(reader, medium, nodes[i]) >= 0)
            (void)names_put(list, arena_printf(reader->arena, "%s/%s", medium->name, nodes[i]));
}

static bool unknown_target(const struct csv *csv, const struct reader *reader, struct err *err)
{
    const struct cluster *cluster = reader->cluster;
    struct names *list = names_create(reader->arena);
    const char *closest;

    for (int i = 0; i < cluster->device_count; i++)
        (void)names_put(list, cluster->devices[i].name);
    for (int i = 0; i < cluster->medium_count; i++) {
        (void)names_put(list, cluster->media[i].name);
        if (strchr(csv_text(csv, TARGET), '/'))
            list_ports(reader, &cluster->media[i], list);
    }
    closest = err_closest(csv_text(csv, TARGET), names_list(list), names_count(list));
    return csv_bad(csv, TARGET, err, "expected a device, a medium or medium/node%s%s%s%s%s",
                   cluster->path[0] ? " of " : "", cluster->path, closest ? "; did you mean '" : "",
                   closest ? closest : "", closest ? "'?" : "");
}

/* A name is resolved where it first stands. */
static struct target *find_target(const struct csv *csv, struct reader *reader, struct err *err)
{
    const char *name = csv_text(csv, TARGET);
    int32_t index = names_find(reader->names, name);
    struct target target = no_target;
    int meanings;

    if (index >= 0)
        return &reader->targets[index];
    meanings = find_meanings(reader, name, &target);
    if (meanings == 0) {
        (void)unknown_target(csv, reader, err);
        return NULL;
    }
    if (meanings > 1) {
        (void)csv_bad(csv, TARGET, err,
                      "more than one device, medium or medium/node has this name: rename one");
        return NULL;
    }
    if (target.kind == EVENT_PORT)
        target.node = names_list(reader->nodes)[names_put(reader->nodes, target.node)];
    index = names_put(reader->names, name);
    if ((size_t)index == reader->target_capacity) {
        size_t larger = reader->target_capacity ? 2 * reader->target_capacity : 16;

        reader->targets = arena_grow(reader->arena, reader->targets, reader->target_capacity,
                                     larger, sizeof *reader->targets);
        reader->target_capacity = larger;
    }
    assert(reader->targets);
    target.name = names_list(reader->names)[index];
    reader->targets[index] = target;
    return &reader->targets[index];
}

/* ---- rows ---- */

/* Which events a target may have: speed is of devices, rates are of links. */
static bool check_kind(const struct csv *csv, enum event_kind kind, enum event_target target,
                       struct err *err)
{
    if (kind == EVENT_BITS_PER_S && target == EVENT_DEVICE)
        return csv_bad(csv, EVENT, err, "the target is a device: expected down, up or speed_ratio");
    if (kind == EVENT_SPEED_RATIO && target != EVENT_DEVICE)
        return csv_bad(csv, EVENT, err, "the target is a %s: expected down, up or bits_per_s",
                       target == EVENT_MEDIUM ? "medium" : "medium/node");
    return true;
}

/* Ranges are those of bits_per_s in links.csv and of speed_ratio in devices.csv. */
static bool read_value(const struct csv *csv, enum event_kind kind, double *value, struct err *err)
{
    *value = 0;
    switch (kind) {
    case EVENT_DOWN:
    case EVENT_UP:
        return !csv_has(csv, VALUE) ||
               csv_bad(csv, VALUE, err, "'%s' has no value: expected an empty field",
                       kind_names[kind]);
    case EVENT_BITS_PER_S:
        return csv_double(csv, VALUE, 1, 1e15, value, err);
    case EVENT_SPEED_RATIO:
        return csv_double(csv, VALUE, 1e-6, 1e6, value, err);
    case EVENT_KIND_COUNT:
        break;
    }
    return false;
}

/* An event must change something, and one instant has one answer. */
static bool note(const struct csv *csv, struct target *target, const struct event *event,
                 struct err *err)
{
    long before = target->last_line[event->kind];

    if (event->kind == EVENT_DOWN && target->down_line > 0)
        return csv_bad(csv, EVENT, err, "the target is down since line %ld", target->down_line);
    if (event->kind == EVENT_UP && target->down_line == 0)
        return csv_bad(csv, EVENT, err, "the target is not down");
    if (before > 0 && target->last_ps[event->kind] == event->time_ps)
        return csv_bad(csv, EVENT, err, "line %ld has it for the same target and time", before);
    if (event->kind == EVENT_DOWN)
        target->down_line = event->line;
    if (event->kind == EVENT_UP)
        target->down_line = 0;
    target->last_ps[event->kind] = event->time_ps;
    target->last_line[event->kind] = event->line;
    return true;
}

static bool read_event(const struct csv *csv, struct reader *reader, const struct event *before,
                       struct event *event, struct err *err)
{
    struct target *target;
    int kind;

    event->line = csv_line(csv);
    if (!csv_seconds(csv, TIME_S, 0, &event->time_ps, err))
        return false;
    if (before && event->time_ps < before->time_ps)
        return csv_bad(csv, TIME_S, err, "earlier than line %ld: rows stand in order of time",
                       before->line);
    if (!csv_has(csv, TARGET))
        return csv_bad(csv, TARGET, err, "expected a device, a medium or medium/node");
    target = find_target(csv, reader, err);
    if (!target || !csv_choice(csv, EVENT, kind_names, EVENT_KIND_COUNT, &kind, err))
        return false;
    event->name = target->name;
    event->kind = (enum event_kind)kind;
    event->target = target->kind;
    event->device = target->device;
    event->medium = target->medium;
    event->attachment = target->attachment;
    event->node = target->node;
    return check_kind(csv, event->kind, event->target, err) &&
           read_value(csv, event->kind, &event->value, err) && note(csv, target, event, err);
}

static struct names *list_nodes(struct arena *arena, const struct cluster *cluster)
{
    struct names *nodes = names_create(arena);

    for (int i = 0; i < cluster->device_count; i++)
        (void)names_put(nodes, cluster->devices[i].node);
    (void)names_put(nodes, CLUSTER_SOURCE);
    return nodes;
}

struct events *events_load(struct arena *arena, const char *path, const struct cluster *cluster,
                           struct err *err)
{
    struct csv *csv = csv_open(arena, path, "events", columns, COLUMN_COUNT, err);
    struct events *events = arena_alloc(arena, sizeof *events);
    struct reader reader = { .arena = arena, .cluster = cluster };
    size_t capacity = 0;

    if (!csv)
        return NULL;
    reader.nodes = list_nodes(arena, cluster);
    reader.names = names_create(arena);
    events->path = csv_path(csv);
    while (csv_next(csv, err)) {
        if (events->count == capacity) {
            size_t larger = capacity ? 2 * capacity : 64;

            events->events =
                arena_grow(arena, events->events, capacity, larger, sizeof *events->events);
            capacity = larger;
        }
        if (!read_event(csv, &reader, events->count > 0 ? &events->events[events->count - 1] : NULL,
                        &events->events[events->count], err))
            break;
        events->count++;
    }
    csv_close(csv);
    return err->kind == ERR_NONE ? events : NULL;
}
