/* dlsim_placement.c - DLSIM's placements: a JSON list of replicas, each a list of meshes. */
#include "sim/import/dlsim.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/json.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include "lib/format/placement.h"
#include <inttypes.h>
#include <string.h>

#define SHOWN_CHARACTERS 60
#define MAX_ID 999999999

static const char *json_shown(const struct json *json, char text[SHOWN_CHARACTERS + 8])
{
    double number;
    bool flag;

    text[0] = '\0';
    if (json_is_text(json)) {
        (void)strncat(text, json_text(json), SHOWN_CHARACTERS);
    } else if (json_double(json, &number)) {
        units_format_double(number, text);
    } else if (json_bool(json, &flag)) {
        (void)strncat(text, flag ? "true" : "false", SHOWN_CHARACTERS);
    } else if (json_is_array(json) || json_is_object(json)) {
        (void)strncat(text, json_is_array(json) ? "[...]" : "{...}", SHOWN_CHARACTERS);
    } else {
        (void)strncat(text, "null", SHOWN_CHARACTERS);
    }
    return text;
}

bool dlsim_bad(const char *path, const char *where, const struct json *json, const char *expected,
               struct err *err)
{
    char shown[SHOWN_CHARACTERS + 8];

    if (!json)
        return err_at(err, path, 0, 0, "%.200s is missing: %s", where, expected);
    return err_at(err, path, 0, 0, "%.200s is '%s': %s", where, json_shown(json, shown), expected);
}

bool dlsim_is_name(const char *text)
{
    const char *c = text;

    while ((unsigned char)*c >= ' ' && *c != 0x7f)
        c++;
    return c > text && *c == '\0';
}

/* ---- meshes ---- */

static bool is_same(const struct dlsim_mesh *a, const struct dlsim_mesh *b)
{
    if (a->count != b->count)
        return false;
    for (int i = 0; i < a->count; i++)
        if (strcmp(a->devices[i], b->devices[i]) != 0)
            return false;
    return true;
}

/* The one in the list that has the same devices in the same order, or this one from now on. */
static const struct dlsim_mesh *share(struct arena *arena, struct dlsim_meshes *meshes,
                                      const struct dlsim_mesh *mesh)
{
    for (int i = 0; i < meshes->count; i++)
        if (is_same(meshes->list[i], mesh))
            return meshes->list[i];
    if (meshes->count == meshes->capacity) {
        int larger = meshes->capacity ? 2 * meshes->capacity : 16;

        meshes->list = arena_grow(arena, meshes->list, (size_t)meshes->capacity, (size_t)larger,
                                  sizeof *meshes->list);
        meshes->capacity = larger;
    }
    meshes->list[meshes->count++] = mesh;
    return mesh;
}

/* A number stands for a list of one. */
static int item_count(const struct json *json)
{
    double number;

    return json_double(json, &number) ? 1 : json_count(json);
}

static const struct json *item_at(const struct json *json, int index)
{
    return json_is_array(json) ? json_at(json, index) : json;
}

static bool add_device(struct arena *arena, struct dlsim_mesh *mesh, int64_t node,
                       const struct json *device, const char *path, const char *where,
                       struct err *err)
{
    const char *name;
    int64_t number;

    if (!json_int(device, &number) || number < 0 || number > MAX_ID)
        return dlsim_bad(path, where, device, "expected the number of a device", err);
    name = arena_printf(arena, "%" PRId64 ":%" PRId64, node, number);
    for (int i = 0; i < mesh->count; i++)
        if (strcmp(mesh->devices[i], name) == 0)
            return err_at(err, path, 0, 0, "%.200s names device %s twice", where, name);
    mesh->devices = arena_grow(arena, mesh->devices, (size_t)mesh->count, (size_t)mesh->count + 1,
                               sizeof *mesh->devices);
    mesh->devices[mesh->count++] = name;
    return true;
}

/* The devices of the node at this position. */
static bool add_node(struct arena *arena, struct dlsim_mesh *mesh, const struct json *node,
                     const struct json *devices, const char *path, const char *where,
                     struct err *err)
{
    int64_t number;

    if (!json_int(node, &number) || number < 0 || number > MAX_ID)
        return dlsim_bad(path, where, node, "expected the number of a node", err);
    if (item_count(devices) == 0)
        return dlsim_bad(path, where, devices, "expected the list of a node's devices", err);
    for (int i = 0; i < item_count(devices); i++)
        if (!add_device(arena, mesh, number, item_at(devices, i), path, where, err))
            return false;
    return true;
}

const struct dlsim_mesh *dlsim_mesh(struct arena *arena, struct dlsim_meshes *meshes,
                                    const struct json *node_ids, const struct json *devices,
                                    const char *path, const char *where, struct err *err)
{
    struct dlsim_mesh *mesh = arena_alloc(arena, sizeof *mesh);
    int nodes;

    /* A list around the list says nothing more. */
    while (json_count(node_ids) == 1 && json_is_array(json_at(node_ids, 0)))
        node_ids = json_at(node_ids, 0);
    while (json_count(devices) == 1 && json_is_array(json_at(json_at(devices, 0), 0)))
        devices = json_at(devices, 0);
    nodes = item_count(node_ids);
    if (nodes == 0) {
        dlsim_bad(path, where, node_ids, "expected a list of node ids", err);
        return NULL;
    }
    if (item_count(devices) == 0) {
        dlsim_bad(path, where, devices, "expected a list of devices for each node", err);
        return NULL;
    }
    if (nodes == 1 && !json_is_array(item_at(devices, 0))) {
        if (!add_node(arena, mesh, item_at(node_ids, 0), devices, path, where, err))
            return NULL;
        return share(arena, meshes, mesh);
    }
    if (json_count(devices) != nodes) {
        err_at(err, path, 0, 0, "%.200s has %d node ids, but devices of %d nodes", where, nodes,
               item_count(devices));
        return NULL;
    }
    for (int i = 0; i < nodes; i++)
        if (!add_node(arena, mesh, item_at(node_ids, i), json_at(devices, i), path, where, err))
            return NULL;
    return share(arena, meshes, mesh);
}

/* ---- the list of replicas ---- */

static bool read_name(struct arena *arena, const struct json *entry, const char *key, int index,
                      const char *path, const char **name, struct err *err)
{
    const struct json *json = json_get(entry, key);

    *name = json_text(json);
    if (*name && dlsim_is_name(*name))
        return true;
    return dlsim_bad(path, arena_printf(arena, "[%d].%s", index, key), json, "expected a name",
                     err);
}

static bool read_entry(struct arena *arena, const struct json *json, int index, const char *path,
                       struct dlsim_meshes *meshes, struct dlsim_entry *entry, struct err *err)
{
    const struct json *group = json_get(json, "mesh_group");
    const char *model;

    if (!json_is_object(json))
        return dlsim_bad(path, arena_printf(arena, "[%d]", index), json,
                         "expected an object with service_name, model_name, executable_name and "
                         "mesh_group",
                         err);
    if (!read_name(arena, json, "service_name", index, path, &entry->service, err) ||
        !read_name(arena, json, "model_name", index, path, &model, err) ||
        !read_name(arena, json, "executable_name", index, path, &entry->executable, err))
        return false;
    entry->stage_count = json_count(group);
    if (entry->stage_count == 0)
        return dlsim_bad(path, arena_printf(arena, "[%d].mesh_group", index), group,
                         "expected a list of meshes, one a stage", err);
    entry->stages = arena_array(arena, (size_t)entry->stage_count, sizeof *entry->stages);
    for (int k = 0; k < entry->stage_count; k++) {
        const struct json *mesh = json_at(group, k);

        entry->stages[k] =
            dlsim_mesh(arena, meshes, json_get(mesh, "node_ids"), json_get(mesh, "devices"), path,
                       arena_printf(arena, "[%d].mesh_group[%d]", index, k), err);
        if (!entry->stages[k])
            return false;
    }
    return true;
}

bool dlsim_placement_load(struct arena *arena, const char *path, struct dlsim_meshes *meshes,
                          struct dlsim_placement *placement, struct err *err)
{
    const struct json *json = json_load(arena, path, err);
    struct names *services = names_create(arena);
    int32_t *replicas;

    if (!json)
        return false;
    placement->count = json_count(json);
    if (placement->count == 0)
        return err_at(err, path, 0, 0,
                      "not a placement of DLSIM: expected a list of {service_name, model_name, "
                      "executable_name, mesh_group}");
    placement->entries = arena_array(arena, (size_t)placement->count, sizeof *placement->entries);
    replicas = arena_array(arena, (size_t)placement->count, sizeof *replicas);
    for (int i = 0; i < placement->count; i++) {
        struct dlsim_entry *entry = &placement->entries[i];

        if (!read_entry(arena, json_at(json, i), i, path, meshes, entry, err))
            return false;
        entry->replica = replicas[names_put(services, entry->service)]++;
    }
    return true;
}

void dlsim_placement_put(struct arena *arena, const struct dlsim_placement *placement,
                         struct out *out)
{
    struct placement_row *rows;
    int count = 0;

    for (int i = 0; i < placement->count; i++)
        for (int k = 0; k < placement->entries[i].stage_count; k++)
            count += placement->entries[i].stages[k]->count;
    rows = arena_array(arena, (size_t)count, sizeof *rows);
    count = 0;
    for (int i = 0; i < placement->count; i++) {
        const struct dlsim_entry *entry = &placement->entries[i];

        for (int k = 0; k < entry->stage_count; k++)
            for (int d = 0; d < entry->stages[k]->count; d++)
                rows[count++] = (struct placement_row){
                    .service = entry->service,
                    .replica = entry->replica,
                    .stage = k,
                    .device = entry->stages[k]->devices[d],
                    .model = "",
                    .executable = entry->executable,
                    .layer_first = -1,
                    .layer_last = -1,
                    .part_of = 1,
                };
    }
    placement_write(out, rows, count);
}
