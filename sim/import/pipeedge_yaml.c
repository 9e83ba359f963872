/* pipeedge_yaml.c - models.yml, device_types.yml, devices.yml and a schedule of PipeEdge. Which is
 * which shows in what they hold. All that is in them is checked, and names that match nothing are
 * errors: the program leaves such hosts out without a word. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "sim/import/bundle.h"
#include "sim/import/pipeedge.h"
#include "sim/import/yaml_tree.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_LAYERS 100000
#define MAX_BATCH 1000000
#define MAX_MB 1e9
#define MAX_VALUES 1e10
#define MAX_TYPES 64
#define MOST_NAMED 4 /* schedules that are left out */

enum { MODELS, TYPES, DEVICES, SCHEDULE, FILE_COUNT };
static const char *const names[] = { "models.yml", "device_types.yml", "devices.yml" };

struct file {
    const char *path; /* NULL: was not given */
    const struct yaml_node *root;
};

struct reader {
    struct import_job *job;
    const struct pipeedge_settings *settings;
    struct file files[FILE_COUNT];
    struct pipeedge_files *to;
    const char *dtype; /* "" until one is known */
};

/* ---- which file is which ---- */

/* -1: none of ours. */
static int kind_of(const struct yaml_node *root)
{
    const struct yaml_node *first = root->count > 0 ? &root->items[0] : NULL;

    if (root->kind == YAML_LIST)
        return SCHEDULE;
    if (root->kind != YAML_MAP || !first)
        return -1;
    if (first->kind != YAML_MAP)
        return DEVICES;
    if (yaml_get(first, "layers") || yaml_get(first, "parameters_out"))
        return MODELS;
    return TYPES;
}

static bool add_file(struct reader *reader, const char *path, struct err *err)
{
    const struct yaml_node *root = yaml_load(reader->job->arena, path, err);
    int kind;

    if (!root)
        return false;
    kind = kind_of(root);
    if (kind < 0)
        return yaml_bad(root, path, err,
                        "expected models, types of devices, devices, or a schedule");
    if (reader->files[kind].path)
        return err_at(err, path, 0, 0, "holds the same as '%.200s': one of them is too many",
                      reader->files[kind].path);
    reader->files[kind] = (struct file){ path, root };
    return true;
}

static bool is_yaml(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && (strcmp(dot, ".yml") == 0 || strcmp(dot, ".yaml") == 0);
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

/* YAML files of a folder beside the three that are read, in byte order. */
static const char **other_files(struct arena *arena, const char *folder, int *count)
{
    DIR *dir = opendir(folder);
    const char **list = NULL;
    int room = 0;
    struct dirent *entry;

    *count = 0;
    while (dir && (entry = readdir(dir))) {
        bool is_read = false;

        for (int i = 0; i < SCHEDULE; i++)
            is_read = is_read || strcmp(entry->d_name, names[i]) == 0;
        if (is_read || !is_yaml(entry->d_name))
            continue;
        if (*count == room) {
            list = arena_grow(arena, list, (size_t)room, 2 * (size_t)room + 8, sizeof *list);
            room = 2 * room + 8;
        }
        list[(*count)++] = arena_strndup(arena, entry->d_name, strlen(entry->d_name));
    }
    if (dir)
        (void)closedir(dir);
    if (*count > 1)
        qsort(list, (size_t)*count, sizeof *list, compare_names);
    return list;
}

/* Which of several schedules is meant a folder does not say, and of which model a single one is it
 * does not either: they are left out, but not without a word. */
static void note_schedules(struct reader *reader, const char *folder)
{
    struct arena *arena = reader->job->arena;
    const char *text = "";
    int count, found = 0;
    const char **list = other_files(arena, folder, &count);

    for (int i = 0; i < count; i++) {
        struct err err = ERR_INIT;
        const char *path = arena_printf(arena, "%s/%s", folder, list[i]);
        struct stat status;
        const struct yaml_node *root;

        if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) /* a pipe would be waited for */
            continue;
        root = yaml_load(arena, path, &err);
        if (!root || kind_of(root) != SCHEDULE)
            continue;
        if (found++ < MOST_NAMED)
            text = arena_printf(arena, "%s%s'%.60s'", text, found > 1 ? ", " : "", list[i]);
    }
    if (found == 0)
        return;
    if (found > MOST_NAMED)
        text = arena_printf(arena, "%s and %d more", text, found - MOST_NAMED);
    import_note(reader->job,
                "left out %s: of a folder no schedule is read, as it does not say which is meant; "
                "name one as a file, after the other three",
                text);
}

static bool find_files(struct reader *reader, struct err *err)
{
    const struct import_job *job = reader->job;
    struct stat status;

    if (job->file_count == 1 && stat(job->files[0], &status) == 0 && S_ISDIR(status.st_mode)) {
        for (int i = 0; i < SCHEDULE; i++)
            if (!add_file(reader, arena_printf(job->arena, "%s/%s", job->files[0], names[i]), err))
                return false;
        note_schedules(reader, job->files[0]);
    } else {
        for (int i = 0; i < job->file_count; i++)
            if (!add_file(reader, job->files[i], err))
                return false;
    }
    for (int i = 0; i < SCHEDULE; i++)
        if (!reader->files[i].root) {
            err_set(err, ERR_USAGE,
                    "no file like %s is given: expected models, types of devices and devices",
                    names[i]);
            return false;
        }
    return true;
}

/* ---- parts of documents ---- */

static const struct yaml_node *need(const struct yaml_node *map, const char *path, const char *key,
                                    struct err *err)
{
    const struct yaml_node *node = yaml_get(map, key);

    if (!node)
        err_at(err, path, map->line, 0, "'%.60s' has no %s", map->key ? map->key : "an entry", key);
    return node;
}

static bool need_double(const struct yaml_node *map, const char *path, const char *key, double min,
                        double max, double *value, struct err *err)
{
    const struct yaml_node *node = need(map, path, key, err);

    return node && yaml_double(node, path, min, max, value, err);
}

static bool is_map(const struct yaml_node *node, const char *path, struct err *err)
{
    return node->kind == YAML_MAP || yaml_bad(node, path, err, "expected a map");
}

static bool is_list(const struct yaml_node *node, const char *path, struct err *err)
{
    return node->kind == YAML_LIST || yaml_bad(node, path, err, "expected a list");
}

/* A list of a number a layer. */
static bool need_numbers(struct reader *reader, const struct yaml_node *map, const char *key,
                         int32_t layers, double *values, struct err *err)
{
    const char *path = reader->files[MODELS].path;
    const struct yaml_node *list = need(map, path, key, err);

    if (!list || !is_list(list, path, err))
        return false;
    if (list->count > layers)
        return yaml_bad(list, path, err, "%d numbers: expected %d, one a layer", list->count,
                        (int)layers);
    for (int i = 0; i < list->count; i++)
        if (!yaml_double(&list->items[i], path, 0, MAX_VALUES, &values[i], err))
            return false;
    if (list->count == layers)
        return true;
    if (list->count == 0 || strcmp(key, "parameters_out") != 0)
        return yaml_bad(list, path, err, "%d numbers: expected %d, one a layer", list->count,
                        (int)layers);
    for (int32_t i = list->count; i < layers; i++) /* as the program does */
        values[i] = values[i - list->count];
    import_note(reader->job, "%s of '%s' has %d numbers for %d layers and is repeated", key,
                map->key, list->count, (int)layers);
    return true;
}

static bool read_model(struct reader *reader, const struct yaml_node *node,
                       struct pipeedge_model *model, struct err *err)
{
    static const char *const keys[] = { "layers", "mem_MB", "parameters_in", "parameters_out",
                                        NULL };
    const char *path = reader->files[MODELS].path;
    const struct yaml_node *count;
    double *mem, *out;
    int64_t layers;

    if (!is_map(node, path, err) || !yaml_check_keys(node, path, "a model", keys, err))
        return false;
    if (!bundle_is_name(node->key))
        return err_at(err, path, node->line, node->column,
                      "'%.60s' is no name of a model: expected one without blanks", node->key);
    count = need(node, path, "layers", err);
    if (!count || !yaml_int(count, path, 1, MAX_LAYERS, &layers, err) ||
        !need_double(node, path, "parameters_in", 0, MAX_VALUES, &model->values_in, err))
        return false;
    mem = arena_array(reader->job->arena, (size_t)layers, sizeof *mem);
    out = arena_array(reader->job->arena, (size_t)layers, sizeof *out);
    model->name = node->key;
    model->layers = (int32_t)layers;
    model->mem_mb = mem;
    model->values_out = out;
    return need_numbers(reader, node, "mem_MB", model->layers, mem, err) &&
           need_numbers(reader, node, "parameters_out", model->layers, out, err);
}

static bool unknown(const struct yaml_node *node, const char *path, const char *what,
                    const struct yaml_node *among, struct err *err, struct arena *arena)
{
    const char **list = arena_array(arena, (size_t)among->count + 1, sizeof *list);
    const char *name = node->key ? node->key : node->text;
    char choices[ERR_CHOICES_BYTES];

    for (int i = 0; i < among->count; i++)
        list[i] = among->items[i].key;
    return err_at(err, path, node->line, node->column, "'%.60s' is no %s: %s", name, what,
                  err_choices(name, list, among->count, choices));
}

static bool read_models(struct reader *reader, struct err *err)
{
    const struct yaml_node *root = reader->files[MODELS].root;
    const char *wanted = reader->settings->model;
    struct pipeedge_files *to = reader->to;

    to->models = arena_array(reader->job->arena, (size_t)root->count, sizeof *to->models);
    for (int i = 0; i < root->count; i++) {
        struct pipeedge_model *model = &to->models[to->model_count];

        if (!read_model(reader, &root->items[i], model, err))
            return false;
        to->model_count += !wanted || strcmp(model->name, wanted) == 0;
    }
    if (to->model_count == 0 && wanted) {
        struct yaml_node named = { .key = wanted };

        return unknown(&named, reader->files[MODELS].path, "model", root, err, reader->job->arena);
    }
    return true;
}

/* ---- profiles ---- */

static const char *dtype_of(const struct yaml_node *profile)
{
    const struct yaml_node *dtype = yaml_get(profile, "dtype");

    return dtype && dtype->kind == YAML_SCALAR ? dtype->text : "";
}

static bool check_profile(struct reader *reader, const struct yaml_node *profile, int64_t *batch,
                          struct err *err)
{
    static const char *const keys[] = { "dtype", "batch_size", "time_s", NULL };
    const char *path = reader->files[TYPES].path;
    const struct yaml_node *size;

    if (!is_map(profile, path, err) || !yaml_check_keys(profile, path, "a profile", keys, err))
        return false;
    size = need(profile, path, "batch_size", err);
    return size && yaml_int(size, path, 1, MAX_BATCH, batch, err) &&
           need(profile, path, "dtype", err) && need(profile, path, "time_s", err);
}

/* Whether a profile is one that is wanted. The first one says what is, where the user does not. */
static bool is_wanted(struct reader *reader, const struct yaml_node *profile, int64_t batch,
                      bool *wanted, struct err *err)
{
    const char *path = reader->files[TYPES].path, *dtype = dtype_of(profile);

    if (!reader->settings->dtype && reader->dtype[0] && strcmp(dtype, reader->dtype) != 0)
        return err_at(err, path, profile->line, 0,
                      "profiles of dtype '%.60s' and '%.60s': say which with --dtype",
                      reader->dtype, dtype);
    if (reader->settings->batch == 0 && reader->to->batch > 0 && batch != reader->to->batch)
        return err_at(err, path, profile->line, 0,
                      "profiles of batch_size %d and %d: say which with --batch",
                      (int)reader->to->batch, (int)batch);
    if (!reader->settings->dtype)
        reader->dtype = dtype;
    if (reader->settings->batch == 0)
        reader->to->batch = (int32_t)batch;
    *wanted = strcmp(dtype, reader->dtype) == 0 && batch == reader->to->batch;
    return true;
}

static bool read_times(struct reader *reader, const struct yaml_node *profile,
                       const struct pipeedge_model *model, const int64_t **times_ps,
                       struct err *err)
{
    const char *path = reader->files[TYPES].path;
    const struct yaml_node *list = yaml_get(profile, "time_s");
    int64_t *times = arena_array(reader->job->arena, (size_t)model->layers, sizeof *times);

    if (!is_list(list, path, err))
        return false;
    if (list->count != model->layers)
        return yaml_bad(list, path, err, "%d times: model '%.60s' has %d layers", list->count,
                        model->name, (int)model->layers);
    for (int i = 0; i < list->count; i++)
        if (list->items[i].kind != YAML_SCALAR ||
            !units_parse_seconds(list->items[i].text, &times[i]) || times[i] < 0 ||
            times[i] > UNITS_MAX_PS)
            return yaml_bad(&list->items[i], path, err, "expected seconds");
    if (*times_ps)
        import_note(reader->job, "several profiles of '%s' for the same batch: the last one holds",
                    model->name);
    *times_ps = times;
    return true;
}

static int32_t find_model(const struct pipeedge_files *files, const char *name)
{
    int32_t m = 0;

    while (m < files->model_count && strcmp(files->models[m].name, name) != 0)
        m++;
    return m;
}

static bool read_profiles(struct reader *reader, const struct yaml_node *node,
                          struct pipeedge_type *type, struct err *err)
{
    const char *path = reader->files[TYPES].path;
    const struct yaml_node *models = need(node, path, "model_profiles", err);

    if (!models || !is_map(models, path, err))
        return false;
    for (int i = 0; i < models->count; i++) {
        const struct yaml_node *list = &models->items[i];
        int32_t m = find_model(reader->to, list->key);

        if (!yaml_get(reader->files[MODELS].root, list->key))
            return unknown(list, path, "model of models.yml", reader->files[MODELS].root, err,
                           reader->job->arena);
        if (!is_list(list, path, err))
            return false;
        for (int p = 0; p < list->count; p++) {
            int64_t batch = 0;
            bool wanted = false;

            if (!check_profile(reader, &list->items[p], &batch, err))
                return false;
            if (m < reader->to->model_count && type->host_count > 0 &&
                (!is_wanted(reader, &list->items[p], batch, &wanted, err) ||
                 (wanted && !read_times(reader, &list->items[p], &reader->to->models[m],
                                        &type->times_ps[m], err))))
                return false;
        }
    }
    return true;
}

/* ---- types and hosts ---- */

static bool read_hosts(struct reader *reader, const struct yaml_node *list,
                       struct pipeedge_type *type, struct err *err)
{
    const char *path = reader->files[DEVICES].path;

    if (list->kind == YAML_SCALAR && list->text[0] == '\0')
        return true; /* "TYPE:" and nothing */
    if (!is_list(list, path, err))
        return false;
    type->hosts = arena_array(reader->job->arena, (size_t)list->count + 1, sizeof *type->hosts);
    for (int i = 0; i < list->count; i++) {
        const struct yaml_node *host = &list->items[i];

        if (host->kind != YAML_SCALAR || !bundle_is_name(host->text))
            return yaml_bad(host, path, err, "expected the name of a host, without blanks");
        for (int t = 0; t <= reader->to->type_count; t++)
            for (int h = 0; h < reader->to->types[t].host_count; h++)
                if (strcmp(reader->to->types[t].hosts[h], host->text) == 0)
                    return yaml_bad(host, path, err, "the host is there twice");
        type->hosts[type->host_count++] = host->text;
    }
    return true;
}

static bool read_type(struct reader *reader, const struct yaml_node *hosts, struct err *err)
{
    static const char *const keys[] = { "bw_Mbps", "mem_MB", "model_profiles", NULL };
    const struct yaml_node *types = reader->files[TYPES].root;
    const struct yaml_node *node = yaml_get(types, hosts->key);
    const char *path = reader->files[TYPES].path;
    struct pipeedge_files *to = reader->to;
    struct pipeedge_type *type = &to->types[to->type_count];

    if (!node)
        return unknown(hosts, reader->files[DEVICES].path, "type of device_types.yml", types, err,
                       reader->job->arena);
    type->name = hosts->key;
    type->times_ps = arena_array(reader->job->arena, (size_t)to->model_count, sizeof(int64_t *));
    if (!bundle_is_type(hosts->key))
        return err_at(err, reader->files[DEVICES].path, hosts->line, hosts->column,
                      "'%.60s' is no name of a type: expected one that a folder can have",
                      hosts->key);
    if (!is_map(node, path, err) || !yaml_check_keys(node, path, "a type of device", keys, err) ||
        !need_double(node, path, "bw_Mbps", 1e-6, 1e8, &type->bw_mbps, err) ||
        !need_double(node, path, "mem_MB", 1e-6, MAX_MB, &type->mem_mb, err) ||
        !read_hosts(reader, hosts, type, err) || !read_profiles(reader, node, type, err))
        return false;
    to->type_count += type->host_count > 0;
    return true;
}

static int compare_types(const void *left, const void *right)
{
    return strcmp(((const struct pipeedge_type *)left)->name,
                  ((const struct pipeedge_type *)right)->name);
}

/* Types without hosts say nothing, but must be right. */
static bool read_types(struct reader *reader, struct err *err)
{
    const struct yaml_node *devices = reader->files[DEVICES].root;
    const struct yaml_node *types = reader->files[TYPES].root;
    struct pipeedge_files *to = reader->to;

    if (devices->count > MAX_TYPES)
        return yaml_bad(devices, reader->files[DEVICES].path, err, "expected at most %d types",
                        MAX_TYPES);
    to->types = arena_array(reader->job->arena, (size_t)devices->count + 1, sizeof *to->types);
    for (int i = 0; i < devices->count; i++)
        if (!read_type(reader, &devices->items[i], err))
            return false;
    for (int i = 0; i < types->count; i++)
        if (!yaml_get(devices, types->items[i].key))
            import_note(reader->job, "type '%.60s' has no hosts", types->items[i].key);
    if (to->type_count == 0)
        return err_at(err, reader->files[DEVICES].path, 0, 0, "no hosts");
    qsort(to->types, (size_t)to->type_count, sizeof *to->types, compare_types);
    return true;
}

/* Models that were not profiled on all types: an error for one that was asked for. */
static bool check_profiles(struct reader *reader, struct err *err)
{
    struct pipeedge_files *to = reader->to;
    int32_t kept = 0;

    for (int32_t m = 0; m < to->model_count; m++) {
        const char *without = NULL;

        for (int32_t t = 0; t < to->type_count && !without; t++)
            without = to->types[t].times_ps[m] ? NULL : to->types[t].name;
        if (without && reader->settings->model)
            return err_at(err, reader->files[TYPES].path, 0, 0,
                          "type '%.60s' has no profile of model '%.60s' with batch_size %d and "
                          "dtype '%.60s'",
                          without, to->models[m].name, (int)to->batch, reader->dtype);
        if (without) {
            import_note(reader->job, "model '%.60s' is left out: no profile for type '%.60s'",
                        to->models[m].name, without);
            continue;
        }
        for (int32_t t = 0; t < to->type_count; t++)
            to->types[t].times_ps[kept] = to->types[t].times_ps[m];
        to->models[kept++] = to->models[m];
    }
    to->model_count = kept;
    return kept > 0 || err_at(err, reader->files[TYPES].path, 0, 0,
                              "no model has a profile for every type that has hosts");
}

/* ---- a schedule ---- */

static bool find_host(const struct pipeedge_files *files, const char *name,
                      struct pipeedge_stage *stage)
{
    for (int32_t t = 0; t < files->type_count; t++)
        for (int32_t h = 0; h < files->types[t].host_count; h++)
            if (strcmp(files->types[t].hosts[h], name) == 0) {
                stage->type = t;
                stage->host = h;
                return true;
            }
    return false;
}

/* "- host: [first, last]". */
static bool read_stage(struct reader *reader, const struct yaml_node *item, int32_t first,
                       struct pipeedge_stage *stage, struct err *err)
{
    const char *path = reader->files[SCHEDULE].path;
    const struct yaml_node *range = item->kind == YAML_MAP && item->count == 1 ? item->items : NULL;
    int64_t ends[2];

    if (!range || range->kind != YAML_LIST || range->count != 2)
        return yaml_bad(item, path, err, "expected HOST: [first, last]");
    if (!find_host(reader->to, range->key, stage))
        return err_at(err, path, range->line, range->column, "'%.60s' is no host of devices.yml",
                      range->key);
    for (int i = 0; i < 2; i++)
        if (!yaml_int(&range->items[i], path, 1, reader->to->models[0].layers, &ends[i], err))
            return false;
    if (ends[0] != first || ends[1] < ends[0])
        return yaml_bad(range, path, err, "expected layers from %d on: all of them, in order",
                        (int)first);
    stage->first = (int32_t)ends[0];
    stage->last = (int32_t)ends[1];
    return true;
}

static bool read_schedule(struct reader *reader, struct err *err)
{
    const struct yaml_node *root = reader->files[SCHEDULE].root;
    struct pipeedge_files *to = reader->to;
    int32_t next = 1;

    if (!root)
        return true;
    if (to->model_count > 1)
        return err_set(err, ERR_USAGE, "a schedule is of one model: say which with --model");
    if (root->count == 0)
        return yaml_bad(root, reader->files[SCHEDULE].path, err,
                        "expected stages: the program writes an empty list where nothing fits");
    to->stages = arena_array(reader->job->arena, (size_t)root->count, sizeof *to->stages);
    for (int i = 0; i < root->count; i++) {
        struct pipeedge_stage *stage = &to->stages[to->stage_count++];

        if (!read_stage(reader, &root->items[i], next, stage, err))
            return false;
        next = stage->last + 1;
    }
    return next == to->models[0].layers + 1 ||
           yaml_bad(root, reader->files[SCHEDULE].path, err, "expected layers up to %d",
                    (int)to->models[0].layers);
}

bool pipeedge_read(struct import_job *job, const struct pipeedge_settings *settings,
                   struct pipeedge_files *files, struct err *err)
{
    struct reader reader = { .job = job,
                             .settings = settings,
                             .to = files,
                             .dtype = settings->dtype ? settings->dtype : "" };

    *files = (struct pipeedge_files){ .batch = settings->batch };
    return find_files(&reader, err) && read_models(&reader, err) && read_types(&reader, err) &&
           check_profiles(&reader, err) && read_schedule(&reader, err);
}
