/* cluster.c - reader and writer of a cluster folder: devices.csv and links.csv. */
#include "lib/format/cluster.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include "lib/format/table.h"
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#define MAX_BYTES (INT64_C(1) << 50)
#define MAX_THREADS 4096
#define MAX_PORTS 1000000

enum device_column {
    DEVICE,
    TYPE,
    NODE,
    MEMORY_BYTES,
    RESERVED_BYTES,
    THREADS,
    SPEED_RATIO,
    ADDRESS,
    IDLE_W,
    BUSY_W,
    FLOP_PER_S,
    ENCODE_VALUE_NS,
    DECODE_VALUE_NS,
    DEVICE_COLUMN_COUNT
};
static const struct csv_column device_columns[DEVICE_COLUMN_COUNT] = {
    [DEVICE] = { "device", true },
    [TYPE] = { "type", true },
    [NODE] = { "node", false },
    [MEMORY_BYTES] = { "memory_bytes", false },
    [RESERVED_BYTES] = { "reserved_bytes", false },
    [THREADS] = { "threads", false },
    [SPEED_RATIO] = { "speed_ratio", false },
    [ADDRESS] = { "address", false },
    [IDLE_W] = { "idle_w", false },
    [BUSY_W] = { "busy_w", false },
    [FLOP_PER_S] = { "flop_per_s", false },
    [ENCODE_VALUE_NS] = { "encode_value_ns", false },
    [DECODE_VALUE_NS] = { "decode_value_ns", false },
};

enum link_column {
    MEDIUM,
    KIND,
    LINK_NODE,
    BITS_PER_S,
    LATENCY_S,
    PER_MESSAGE_S,
    EFFICIENCY_RATIO,
    MESH_COLUMNS,
    PORTS,
    WAVELENGTHS,
    SETUP_S,
    LINK_COLUMN_COUNT
};
static const struct csv_column link_columns[LINK_COLUMN_COUNT] = {
    [MEDIUM] = { "medium", true },
    [KIND] = { "kind", true },
    [LINK_NODE] = { "node", true },
    [BITS_PER_S] = { "bits_per_s", true },
    [LATENCY_S] = { "latency_s", true },
    [PER_MESSAGE_S] = { "per_message_s", false },
    [EFFICIENCY_RATIO] = { "efficiency_ratio", false },
    [MESH_COLUMNS] = { "mesh_columns", false },
    [PORTS] = { "ports", false },
    [WAVELENGTHS] = { "wavelengths", false },
    [SETUP_S] = { "setup_s", false },
};

static const char *const kind_names[CLUSTER_KIND_COUNT] = {
    [CLUSTER_SWITCH] = "switch",   [CLUSTER_WIFI] = "wifi", [CLUSTER_HUB] = "hub",
    [CLUSTER_BUS] = "bus",         [CLUSTER_RING] = "ring", [CLUSTER_MESH] = "mesh",
    [CLUSTER_OPTICAL] = "optical",
};

#define ANY_NODE "*"
#define MAX_VALUE_PS (1000000 * UNITS_PS_PER_NS)

const char *cluster_kind_name(enum cluster_kind kind)
{
    return kind_names[kind];
}

/* ---- devices.csv ---- */

/* host:port, the port a number from 1 to 65535. */
static bool is_address(const char *text)
{
    const char *colon = strrchr(text, ':');
    int64_t port;

    return colon && colon != text && units_parse_int(colon + 1, &port) && port >= 1 &&
           port <= 65535;
}

static bool read_sizes(const struct csv *csv, struct cluster_device *device, struct err *err)
{
    if (csv_has(csv, MEMORY_BYTES) &&
        !csv_int(csv, MEMORY_BYTES, 1, MAX_BYTES, &device->memory_bytes, err))
        return false;
    if (csv_has(csv, RESERVED_BYTES) &&
        !csv_int(csv, RESERVED_BYTES, 0, MAX_BYTES, &device->reserved_bytes, err))
        return false;
    if (device->memory_bytes > 0 && device->reserved_bytes > device->memory_bytes)
        return csv_bad(csv, RESERVED_BYTES, err, "expected at most memory_bytes, which is %lld",
                       (long long)device->memory_bytes);
    return !csv_has(csv, THREADS) || csv_int32(csv, THREADS, 1, MAX_THREADS, &device->threads, err);
}

static bool read_optional_double(const struct csv *csv, int column, double min, double max,
                                 double none, double *value, struct err *err)
{
    *value = none;
    return !csv_has(csv, column) || csv_double(csv, column, min, max, value, err);
}

static bool read_codec(const struct csv *csv, int column, int64_t *value_ps, struct err *err)
{
    *value_ps = -1;
    if (!csv_has(csv, column))
        return true;
    return csv_ns(csv, column, 0, value_ps, err) &&
           (*value_ps <= MAX_VALUE_PS || csv_bad(csv, column, err, "expected at most 1000000 ns"));
}

static bool read_device(const struct csv *csv, struct arena *arena, struct names *devices,
                        struct cluster_device *device, struct err *err)
{
    device->line = csv_line(csv);
    if (!csv_name(csv, DEVICE, arena, &device->name, err) ||
        !csv_name(csv, TYPE, arena, &device->type, err))
        return false;
    if (names_find(devices, device->name) >= 0)
        return csv_bad(csv, DEVICE, err, "this device is there twice");
    if (strcmp(device->name, CLUSTER_SOURCE) == 0)
        return csv_bad(csv, DEVICE, err, "this name is kept for the place that requests come from");
    (void)names_put(devices, device->name);
    device->node = device->name;
    if (csv_has(csv, NODE) && !csv_name(csv, NODE, arena, &device->node, err))
        return false;
    if (strcmp(device->node, ANY_NODE) == 0)
        return csv_bad(csv, csv_has(csv, NODE) ? NODE : DEVICE, err,
                       "'*' means every node in links.csv and names none");
    device->address = arena_strdup(arena, csv_text(csv, ADDRESS));
    if (csv_has(csv, ADDRESS) && !is_address(device->address))
        return csv_bad(csv, ADDRESS, err, "expected host:port, such as 192.168.1.20:5555");
    return read_sizes(csv, device, err) &&
           read_optional_double(csv, SPEED_RATIO, 1e-6, 1e6, 1, &device->speed_ratio, err) &&
           read_optional_double(csv, IDLE_W, 0, 1e6, -1, &device->idle_w, err) &&
           read_optional_double(csv, BUSY_W, 0, 1e6, -1, &device->busy_w, err) &&
           read_optional_double(csv, FLOP_PER_S, 1, 1e21, -1, &device->flop_per_s, err) &&
           read_codec(csv, ENCODE_VALUE_NS, &device->encode_value_ps, err) &&
           read_codec(csv, DECODE_VALUE_NS, &device->decode_value_ps, err);
}

static bool load_devices(struct arena *arena, struct cluster *cluster, struct err *err)
{
    struct csv *csv = csv_open(arena, arena_printf(arena, "%s/devices.csv", cluster->path),
                               "devices", device_columns, DEVICE_COLUMN_COUNT, err);
    struct names *devices = names_create(arena);
    int capacity = 0;

    if (!csv)
        return false;
    cluster->type_column = csv_position(csv, TYPE);
    while (csv_next(csv, err)) {
        if (cluster->device_count == capacity) {
            int larger = capacity ? 2 * capacity : 16;

            cluster->devices = arena_grow(arena, cluster->devices, (size_t)capacity, (size_t)larger,
                                          sizeof *cluster->devices);
            capacity = larger;
        }
        if (!read_device(csv, arena, devices, &cluster->devices[cluster->device_count], err))
            break;
        cluster->device_count++;
    }
    if (err->kind == ERR_NONE && cluster->device_count == 0)
        (void)err_at(err, csv_path(csv), 0, 0, "no devices: expected at least one row");
    csv_close(csv);
    return err->kind == ERR_NONE;
}

/* ---- links.csv ---- */

/* What is known of a medium while its rows are read. */
struct attached {
    struct names *nodes; /* numbered as its attachments */
    int capacity;        /* of its attachments */
};

struct link_reader {
    struct arena *arena;
    struct cluster *cluster;
    struct names *nodes;       /* of devices.csv, and the source */
    struct names *media;       /* numbered as cluster->media */
    struct attached *attached; /* one a medium */
    int capacity;              /* of cluster->media and attached */
};

static bool check_node(const struct csv *csv, const struct names *nodes, struct err *err)
{
    const char *node = csv_text(csv, LINK_NODE), *closest;

    if (strcmp(node, ANY_NODE) == 0 || names_find(nodes, node) >= 0)
        return true;
    closest = err_closest(node, names_list(nodes), names_count(nodes));
    return csv_bad(csv, LINK_NODE, err, "expected a node of devices.csv, source or *%s%s%s",
                   closest ? "; did you mean '" : "", closest ? closest : "", closest ? "'?" : "");
}

/* A number that belongs to the whole medium: empty, or the same in all its rows. */
static bool read_shared(const struct csv *csv, int column, int32_t *value, struct err *err)
{
    int32_t here;

    if (!csv_has(csv, column))
        return true;
    if (!csv_int32(csv, column, 1, MAX_PORTS, &here, err))
        return false;
    if (*value != 0 && *value != here)
        return csv_bad(csv, column, err, "a row above says %d for this medium", *value);
    *value = here;
    return true;
}

static bool read_attachment(const struct csv *csv, struct cluster_attachment *attachment,
                            struct err *err)
{
    attachment->line = csv_line(csv);
    return csv_double(csv, BITS_PER_S, 1, 1e15, &attachment->bits_per_s, err) &&
           csv_seconds(csv, LATENCY_S, 0, &attachment->latency_ps, err) &&
           (!csv_has(csv, PER_MESSAGE_S) ||
            csv_seconds(csv, PER_MESSAGE_S, 0, &attachment->per_message_ps, err)) &&
           read_optional_double(csv, EFFICIENCY_RATIO, 1e-6, 1, 1, &attachment->efficiency_ratio,
                                err);
}

static bool read_medium(const struct csv *csv, struct cluster_medium *medium, struct err *err)
{
    int64_t setup_ps;
    int kind;

    if (!csv_choice(csv, KIND, kind_names, CLUSTER_KIND_COUNT, &kind, err))
        return false;
    if (medium->attachment_count > 0 && medium->kind != (enum cluster_kind)kind)
        return csv_bad(csv, KIND, err, "a row above says %s for this medium",
                       kind_names[medium->kind]);
    medium->kind = (enum cluster_kind)kind;
    if (csv_has(csv, SETUP_S)) {
        if (!csv_seconds(csv, SETUP_S, 0, &setup_ps, err))
            return false;
        if (medium->setup_ps != 0 && medium->setup_ps != setup_ps)
            return csv_bad(csv, SETUP_S, err, "a row above says another time for this medium");
        medium->setup_ps = setup_ps;
    }
    return read_shared(csv, MESH_COLUMNS, &medium->mesh_columns, err) &&
           read_shared(csv, PORTS, &medium->ports, err) &&
           read_shared(csv, WAVELENGTHS, &medium->wavelengths, err);
}

/* Number of the medium that the row names; a new one gets its place. */
static int find_medium(const struct csv *csv, struct link_reader *reader)
{
    struct cluster *cluster = reader->cluster;
    int index = names_put(reader->media, csv_text(csv, MEDIUM));

    if (index < cluster->medium_count)
        return index;
    if (index == reader->capacity) {
        size_t old = (size_t)index, larger = old ? 2 * old : 4;

        cluster->media =
            arena_grow(reader->arena, cluster->media, old, larger, sizeof *cluster->media);
        reader->attached =
            arena_grow(reader->arena, reader->attached, old, larger, sizeof *reader->attached);
        reader->capacity = (int)larger;
    }
    assert(cluster->media && reader->attached);
    cluster->media[cluster->medium_count++].name = names_list(reader->media)[index];
    reader->attached[index].nodes = names_create(reader->arena);
    return index;
}

static void add_attachment(struct link_reader *reader, int index,
                           const struct cluster_attachment *attachment)
{
    struct cluster_medium *medium = &reader->cluster->media[index];
    struct attached *attached = &reader->attached[index];

    if (medium->attachment_count == attached->capacity) {
        int larger = attached->capacity ? 2 * attached->capacity : 4;

        medium->attachments =
            arena_grow(reader->arena, medium->attachments, (size_t)attached->capacity,
                       (size_t)larger, sizeof *medium->attachments);
        attached->capacity = larger;
    }
    (void)names_put(attached->nodes, attachment->node);
    medium->attachments[medium->attachment_count++] = *attachment;
}

static bool read_link(const struct csv *csv, struct link_reader *reader, struct err *err)
{
    struct cluster_attachment attachment = { 0 };
    const struct cluster_medium *medium;
    int index, before;

    if (!csv_has(csv, MEDIUM))
        return csv_bad(csv, MEDIUM, err, "expected the name of a medium");
    if (!csv_name(csv, LINK_NODE, reader->arena, &attachment.node, err) ||
        !check_node(csv, reader->nodes, err))
        return false;
    index = find_medium(csv, reader);
    assert(reader->cluster->media && reader->attached);
    medium = &reader->cluster->media[index];
    if (!read_medium(csv, &reader->cluster->media[index], err) ||
        !read_attachment(csv, &attachment, err))
        return false;
    before = names_find(reader->attached[index].nodes, attachment.node);
    if (before >= 0)
        return csv_bad(csv, LINK_NODE, err, "attached to medium '%s' in line %ld already",
                       medium->name, medium->attachments[before].line);
    add_attachment(reader, index, &attachment);
    if (strcmp(attachment.node, ANY_NODE) == 0 || strcmp(attachment.node, CLUSTER_SOURCE) == 0)
        reader->cluster->has_source = true;
    return true;
}

static struct names *list_nodes(struct arena *arena, const struct cluster *cluster)
{
    struct names *nodes = names_create(arena);

    for (int i = 0; i < cluster->device_count; i++)
        (void)names_put(nodes, cluster->devices[i].node);
    (void)names_put(nodes, CLUSTER_SOURCE);
    return nodes;
}

static bool load_links(struct arena *arena, struct cluster *cluster, struct err *err)
{
    const char *path = arena_printf(arena, "%s/links.csv", cluster->path);
    struct link_reader reader = { .arena = arena, .cluster = cluster };
    struct csv *csv;

    if (access(path, F_OK) != 0 && errno == ENOENT)
        return true;
    csv = csv_open(arena, path, "links", link_columns, LINK_COLUMN_COUNT, err);
    if (!csv)
        return false;
    cluster->has_links = true;
    reader.nodes = list_nodes(arena, cluster);
    reader.media = names_create(arena);
    while (csv_next(csv, err) && read_link(csv, &reader, err))
        continue;
    for (int i = 0; i < cluster->medium_count && err->kind == ERR_NONE; i++)
        if (cluster->media[i].kind == CLUSTER_MESH && cluster->media[i].mesh_columns == 0)
            (void)err_at(err, csv_path(csv), cluster->media[i].attachments[0].line, 0,
                         "medium '%s' is a mesh: expected its mesh_columns",
                         cluster->media[i].name);
    csv_close(csv);
    return err->kind == ERR_NONE;
}

/* ---- the cluster ---- */

struct cluster *cluster_load(struct arena *arena, const char *folder, struct err *err)
{
    struct cluster *cluster = arena_alloc(arena, sizeof *cluster);
    size_t length = strlen(folder);

    while (length > 1 && folder[length - 1] == '/')
        length--;
    cluster->path = arena_strndup(arena, folder, length);
    if (!load_devices(arena, cluster, err) || !load_links(arena, cluster, err))
        return NULL;
    cluster_index(arena, cluster);
    return cluster;
}

struct cluster *cluster_implied(struct arena *arena, const char *const *names, int count,
                                const char *type)
{
    struct cluster *cluster = arena_alloc(arena, sizeof *cluster);
    struct names *devices = names_create(arena);

    for (int i = 0; i < count; i++)
        (void)names_put(devices, names[i]);
    cluster->path = "";
    cluster->device_count = names_count(devices);
    cluster->devices = arena_array(arena, (size_t)cluster->device_count, sizeof *cluster->devices);
    for (int i = 0; i < cluster->device_count; i++) {
        struct cluster_device *device = &cluster->devices[i];

        device->name = device->node = names_list(devices)[i];
        device->type = arena_strdup(arena, type);
        device->address = "";
        device->speed_ratio = 1;
        device->idle_w = device->busy_w = device->flop_per_s = -1;
        device->encode_value_ps = device->decode_value_ps = -1;
    }
    cluster_index(arena, cluster);
    return cluster;
}

/* ---- writing ---- */

static bool is_device_given(const struct cluster_device *device, int column)
{
    switch ((enum device_column)column) {
    case DEVICE:
    case TYPE:
        return true;
    case NODE:
        return strcmp(device->node, device->name) != 0;
    case MEMORY_BYTES:
        return device->memory_bytes > 0;
    case RESERVED_BYTES:
        return device->reserved_bytes > 0;
    case THREADS:
        return device->threads > 0;
    case SPEED_RATIO:
        return device->speed_ratio < 1 || device->speed_ratio > 1;
    case ADDRESS:
        return device->address[0] != '\0';
    case IDLE_W:
        return device->idle_w >= 0;
    case BUSY_W:
        return device->busy_w >= 0;
    case FLOP_PER_S:
        return device->flop_per_s >= 0;
    case ENCODE_VALUE_NS:
        return device->encode_value_ps >= 0;
    case DECODE_VALUE_NS:
        return device->decode_value_ps >= 0;
    case DEVICE_COLUMN_COUNT:
        break;
    }
    return false;
}

static void write_device_field(struct out *out, const struct cluster_device *device, int column)
{
    switch ((enum device_column)column) {
    case DEVICE:
        out_csv(out, device->name);
        break;
    case TYPE:
        out_csv(out, device->type);
        break;
    case NODE:
        out_csv(out, device->node);
        break;
    case MEMORY_BYTES:
        out_int(out, device->memory_bytes);
        break;
    case RESERVED_BYTES:
        out_int(out, device->reserved_bytes);
        break;
    case THREADS:
        out_int(out, device->threads);
        break;
    case SPEED_RATIO:
        out_double(out, device->speed_ratio);
        break;
    case ADDRESS:
        out_csv(out, device->address);
        break;
    case IDLE_W:
        out_double(out, device->idle_w);
        break;
    case BUSY_W:
        out_double(out, device->busy_w);
        break;
    case FLOP_PER_S:
        out_double(out, device->flop_per_s);
        break;
    case ENCODE_VALUE_NS:
        out_ns(out, device->encode_value_ps);
        break;
    case DECODE_VALUE_NS:
        out_ns(out, device->decode_value_ps);
        break;
    case DEVICE_COLUMN_COUNT:
        break;
    }
}

void cluster_write_devices(struct out *out, const struct cluster_device *devices, int count)
{
    bool is_used[DEVICE_COLUMN_COUNT] = { false };

    table_begin(out, "devices", NULL);
    for (int c = 0; c < DEVICE_COLUMN_COUNT; c++) {
        is_used[c] = c <= TYPE;
        for (int i = 0; i < count && !is_used[c]; i++)
            is_used[c] = is_device_given(&devices[i], c);
        if (is_used[c])
            out_printf(out, "%s%s", c > 0 ? "," : "", device_columns[c].name);
    }
    out_char(out, '\n');
    for (int i = 0; i < count; i++) {
        for (int c = 0; c < DEVICE_COLUMN_COUNT; c++) {
            if (!is_used[c])
                continue;
            if (c > 0)
                out_char(out, ',');
            if (is_device_given(&devices[i], c))
                write_device_field(out, &devices[i], c);
        }
        out_char(out, '\n');
    }
}

static void write_shared(struct out *out, int64_t value)
{
    out_char(out, ',');
    if (value != 0)
        out_int(out, value);
}

/* All columns, always: links are few, and a reader sees what may be set. */
void cluster_write_links(struct out *out, const struct cluster_medium *media, int count,
                         const char *const *meta)
{
    table_begin(out, "links", meta);
    for (int c = 0; c < LINK_COLUMN_COUNT; c++)
        out_printf(out, "%s%s", c > 0 ? "," : "", link_columns[c].name);
    out_char(out, '\n');
    for (int i = 0; i < count; i++) {
        for (int a = 0; a < media[i].attachment_count; a++) {
            const struct cluster_attachment *attachment = &media[i].attachments[a];

            out_csv(out, media[i].name);
            out_printf(out, ",%s,", kind_names[media[i].kind]);
            out_csv(out, attachment->node);
            out_char(out, ',');
            out_double(out, attachment->bits_per_s);
            out_char(out, ',');
            out_seconds(out, attachment->latency_ps);
            out_char(out, ',');
            out_seconds(out, attachment->per_message_ps);
            out_char(out, ',');
            out_double(out, attachment->efficiency_ratio);
            write_shared(out, media[i].mesh_columns);
            write_shared(out, media[i].ports);
            write_shared(out, media[i].wavelengths);
            out_char(out, ',');
            if (media[i].setup_ps != 0)
                out_seconds(out, media[i].setup_ps);
            out_char(out, '\n');
        }
    }
}
