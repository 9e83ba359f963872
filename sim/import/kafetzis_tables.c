/* kafetzis_tables.c - a folder with the tables of Kafetzis' environments and of what planners made
 * of them. All rows are checked, one configuration is kept. */
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/names.h"
#include "sim/import/kafetzis.h"
#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define MAX_SIZE 65536
#define MAX_TOKENS 1000000

struct config {
    int32_t device_count, heads, width, tokens, precision_bytes;
    struct names *devices; /* of devices.csv, numbered in order */
    int source_count;
};

struct result {
    int32_t config;
    const char *algorithm, *error;
    bool is_feasible;
    int64_t latency_ps;
    int32_t projection, ffn; /* devices */
    int32_t head_count;      /* of heads.csv */
    int32_t *heads;          /* by device */
};

struct reader {
    struct arena *arena;
    const char *folder;
    struct names *names; /* of configurations */
    struct config *configs;
    int32_t chosen;
    struct kafetzis_environment *environment;
    struct result *results;
    int result_count, result_capacity;
    int64_t row_count;
};

/* ---- shared ---- */

static struct csv *open_table(const struct reader *r, const char *name,
                              const struct csv_column *columns, int count, struct err *err)
{
    return csv_open(r->arena, arena_printf(r->arena, "%s/%s.csv", r->folder, name), name, columns,
                    count, err);
}

static bool read_config(const struct reader *r, const struct csv *csv, int column, int32_t *config,
                        struct err *err)
{
    char choices[ERR_CHOICES_BYTES];

    *config = names_find(r->names, csv_text(csv, column));
    return *config >= 0 || csv_bad(csv, column, err, "no such configuration in configs.csv: %s",
                                   err_choices(csv_text(csv, column), names_list(r->names),
                                               names_count(r->names), choices));
}

static bool read_device(const struct reader *r, const struct csv *csv, int column, int32_t config,
                        int32_t *device, struct err *err)
{
    const struct names *devices = r->configs[config].devices;
    char choices[ERR_CHOICES_BYTES];

    *device = names_find(devices, csv_text(csv, column));
    return *device >= 0 || csv_bad(csv, column, err, "no such device of '%.60s' in devices.csv: %s",
                                   names_list(r->names)[config],
                                   err_choices(csv_text(csv, column), names_list(devices),
                                               names_count(devices), choices));
}

/* ---- configs.csv ---- */

enum { CONFIG, CONFIG_DEVICES, HEADS, WIDTH, TOKENS, PRECISION, CONFIG_COLUMNS };
static const struct csv_column config_columns[CONFIG_COLUMNS] = {
    [CONFIG] = { "config", true },         [CONFIG_DEVICES] = { "devices", true },
    [HEADS] = { "heads", true },           [WIDTH] = { "embedding_dim", true },
    [TOKENS] = { "seq_len_tokens", true }, [PRECISION] = { "precision_bytes", true },
};

static bool read_shape(const struct csv *csv, struct config *config, struct err *err)
{
    if (!csv_int32(csv, CONFIG_DEVICES, 1, KAFETZIS_MAX_DEVICES, &config->device_count, err) ||
        !csv_int32(csv, HEADS, 1, MAX_SIZE, &config->heads, err) ||
        !csv_int32(csv, WIDTH, 1, MAX_SIZE, &config->width, err) ||
        !csv_int32(csv, TOKENS, 1, MAX_TOKENS, &config->tokens, err) ||
        !csv_int32(csv, PRECISION, 1, 4, &config->precision_bytes, err))
        return false;
    if (config->width % config->heads != 0)
        return csv_bad(csv, WIDTH, err, "%d heads do not divide it", config->heads);
    return config->precision_bytes != 3 || csv_bad(csv, PRECISION, err, "expected 1, 2 or 4");
}

static bool read_configs(struct reader *r, struct err *err)
{
    struct csv *csv = open_table(r, "configs", config_columns, CONFIG_COLUMNS, err);
    int32_t capacity = 0;

    while (csv && csv_next(csv, err)) {
        int32_t known = names_count(r->names);
        struct config config = { .devices = names_create(r->arena) };

        if (!csv_has(csv, CONFIG)) {
            csv_bad(csv, CONFIG, err, "expected a name");
            break;
        }
        if (names_put(r->names, csv_text(csv, CONFIG)) < known) {
            csv_bad(csv, CONFIG, err, "this configuration is there twice");
            break;
        }
        if (!read_shape(csv, &config, err))
            break;
        if (known == capacity) {
            int32_t larger = capacity ? 2 * capacity : 8;

            r->configs = arena_grow(r->arena, r->configs, (size_t)capacity, (size_t)larger,
                                    sizeof *r->configs);
            capacity = larger;
        }
        assert(r->configs);
        r->configs[known] = config;
        r->row_count++;
    }
    if (err->kind == ERR_NONE && names_count(r->names) == 0)
        err_at(err, csv_path(csv), 0, 0, "no configuration: expected at least one row");
    csv_close(csv);
    return err->kind == ERR_NONE;
}

static bool choose(struct reader *r, const struct kafetzis_settings *settings, struct err *err)
{
    const char *const *names = names_list(r->names);
    int count = names_count(r->names);
    char choices[ERR_CHOICES_BYTES];

    if (!settings->config && count == 1)
        return true;
    if (!settings->config)
        return err_set(err, ERR_USAGE, "--config is missing, and %s/configs.csv has %d: %s",
                       r->folder, count, err_choices("", names, count, choices));
    r->chosen = names_find(r->names, settings->config);
    return r->chosen >= 0 || err_set(err, ERR_USAGE, "--config is '%.60s': %s", settings->config,
                                     err_choices(settings->config, names, count, choices));
}

/* ---- devices.csv ---- */

enum { DEVICE_CONFIG, DEVICE, MEMORY, FLOPS, IS_SOURCE, DEVICE_COLUMNS };
static const struct csv_column device_columns[DEVICE_COLUMNS] = {
    [DEVICE_CONFIG] = { "config", true }, [DEVICE] = { "device", true },
    [MEMORY] = { "memory_gib", true },    [FLOPS] = { "flop_per_s", true },
    [IS_SOURCE] = { "is_source", true },
};

static bool read_device_row(struct reader *r, const struct csv *csv, struct err *err)
{
    struct kafetzis_environment *environment = r->environment;
    struct kafetzis_device device = { .tier = "kafetzis" };
    struct config *config;
    int32_t number, is_source;

    if (!read_config(r, csv, DEVICE_CONFIG, &number, err) ||
        !csv_name(csv, DEVICE, r->arena, &device.name, err) ||
        !csv_double(csv, MEMORY, 1e-6, 1e6, &device.memory_gib, err) ||
        !csv_double(csv, FLOPS, 1, 1e21, &device.flop_per_s, err) ||
        !csv_int32(csv, IS_SOURCE, 0, 1, &is_source, err))
        return false;
    assert(r->configs); /* read_config has found it there */
    config = &r->configs[number];
    if (names_find(config->devices, device.name) >= 0)
        return csv_bad(csv, DEVICE, err, "this device is there twice");
    if (names_count(config->devices) == config->device_count)
        return csv_bad(csv, DEVICE, err, "configs.csv gives this configuration %d devices",
                       config->device_count);
    if (is_source && config->source_count++ > 0)
        return csv_bad(csv, IS_SOURCE, err, "a row above is the source of this configuration");
    if (number == r->chosen) {
        if (is_source)
            environment->source = environment->device_count;
        environment->devices[environment->device_count++] = device;
    }
    (void)names_put(config->devices, device.name);
    r->row_count++;
    return true;
}

static bool read_devices(struct reader *r, struct err *err)
{
    struct csv *csv = open_table(r, "devices", device_columns, DEVICE_COLUMNS, err);

    assert(r->configs); /* there is one at least */
    r->environment->devices = arena_array(r->arena, (size_t)r->configs[r->chosen].device_count,
                                          sizeof *r->environment->devices);
    while (csv && csv_next(csv, err) && read_device_row(r, csv, err))
        continue;
    for (int i = 0; err->kind == ERR_NONE && i < names_count(r->names); i++) {
        const struct config *config = &r->configs[i];

        if (names_count(config->devices) != config->device_count)
            err_at(err, csv_path(csv), 0, 0, "'%.60s' has %d devices: configs.csv says %d",
                   names_list(r->names)[i], names_count(config->devices), config->device_count);
        else if (config->source_count != 1)
            err_at(err, csv_path(csv), 0, 0, "no device of '%.60s' is the source",
                   names_list(r->names)[i]);
    }
    csv_close(csv);
    return err->kind == ERR_NONE;
}

/* ---- links.csv ---- */

enum { LINK_CONFIG, DEVICE_A, DEVICE_B, RATE, LINK_COLUMNS };
static const struct csv_column link_columns[LINK_COLUMNS] = {
    [LINK_CONFIG] = { "config", true },
    [DEVICE_A] = { "device_a", true },
    [DEVICE_B] = { "device_b", true },
    [RATE] = { "bandwidth_gib_per_s", true },
};

static bool read_link_row(struct reader *r, const struct csv *csv, struct names *pairs,
                          struct err *err)
{
    struct kafetzis_environment *environment = r->environment;
    struct kafetzis_link link;
    int32_t config, known = names_count(pairs);

    if (!read_config(r, csv, LINK_CONFIG, &config, err) ||
        !read_device(r, csv, DEVICE_A, config, &link.a, err) ||
        !read_device(r, csv, DEVICE_B, config, &link.b, err) ||
        !csv_double(csv, RATE, 1e-9, 1e5, &link.gib_per_s, err))
        return false;
    if (link.a == link.b)
        return csv_bad(csv, DEVICE_B, err, "a link has two ends");
    if (names_put(pairs,
                  arena_printf(r->arena, "%d %d %d", config, link.a < link.b ? link.a : link.b,
                               link.a < link.b ? link.b : link.a)) < known)
        return csv_bad(csv, DEVICE_B, err, "these two devices are linked in a row above");
    if (config == r->chosen)
        environment->links[environment->link_count++] = link;
    r->row_count++;
    return true;
}

static bool read_links(struct reader *r, struct err *err)
{
    struct csv *csv = open_table(r, "links", link_columns, LINK_COLUMNS, err);
    struct names *pairs = names_create(r->arena);
    size_t count = (size_t)r->environment->device_count;

    r->environment->links =
        arena_array(r->arena, count * (count - 1) / 2, sizeof *r->environment->links);
    while (csv && csv_next(csv, err) && read_link_row(r, csv, pairs, err))
        continue;
    csv_close(csv);
    return err->kind == ERR_NONE;
}

/* ---- results.csv ---- */

enum {
    RESULT_CONFIG,
    ALGORITHM,
    FEASIBLE,
    ERROR,
    LATENCY,
    COMM,
    TRANSFERRED,
    PROJECTION,
    FFN,
    HEADS_MAKESPAN,
    HEADS_COMM,
    PROJECTION_FFN,
    RESULT_COLUMNS
};
static const struct csv_column result_columns[RESULT_COLUMNS] = {
    [RESULT_CONFIG] = { "config", true },
    [ALGORITHM] = { "algorithm", true },
    [FEASIBLE] = { "feasible", true },
    [ERROR] = { "error", false },
    [LATENCY] = { "latency_s", true },
    [COMM] = { "comm_s", false },
    [TRANSFERRED] = { "transferred_gib", false },
    [PROJECTION] = { "projection_device", true },
    [FFN] = { "ffn_device", true },
    [HEADS_MAKESPAN] = { "heads_makespan_s", false },
    [HEADS_COMM] = { "heads_comm_s", false },
    [PROJECTION_FFN] = { "projection_ffn_s", false },
};

static struct result *find_result(const struct reader *r, int32_t config, const char *algorithm)
{
    for (int i = 0; i < r->result_count; i++)
        if (r->results[i].config == config && strcmp(r->results[i].algorithm, algorithm) == 0)
            return &r->results[i];
    return NULL;
}

static bool read_result_row(struct reader *r, const struct csv *csv, struct err *err)
{
    struct result result = { 0 };
    int32_t is_feasible;

    if (!read_config(r, csv, RESULT_CONFIG, &result.config, err) ||
        !csv_name(csv, ALGORITHM, r->arena, &result.algorithm, err) ||
        !csv_int32(csv, FEASIBLE, 0, 1, &is_feasible, err))
        return false;
    if (find_result(r, result.config, result.algorithm))
        return csv_bad(csv, ALGORITHM, err, "this algorithm is there twice for '%.60s'",
                       csv_text(csv, RESULT_CONFIG));
    result.is_feasible = is_feasible == 1;
    result.error = arena_strdup(r->arena, csv_text(csv, ERROR));
    if (result.is_feasible &&
        (!csv_seconds(csv, LATENCY, 1, &result.latency_ps, err) ||
         !read_device(r, csv, PROJECTION, result.config, &result.projection, err) ||
         !read_device(r, csv, FFN, result.config, &result.ffn, err)))
        return false;
    result.heads =
        arena_array(r->arena, (size_t)r->configs[result.config].device_count, sizeof *result.heads);
    if (r->result_count == r->result_capacity) {
        int larger = r->result_capacity ? 2 * r->result_capacity : 32;

        r->results = arena_grow(r->arena, r->results, (size_t)r->result_capacity, (size_t)larger,
                                sizeof *r->results);
        r->result_capacity = larger;
    }
    r->results[r->result_count++] = result;
    r->row_count++;
    return true;
}

static bool read_results(struct reader *r, struct err *err)
{
    struct csv *csv = open_table(r, "results", result_columns, RESULT_COLUMNS, err);

    while (csv && csv_next(csv, err) && read_result_row(r, csv, err))
        continue;
    csv_close(csv);
    return err->kind == ERR_NONE;
}

/* ---- heads.csv ---- */

enum { SHARE_CONFIG, SHARE_ALGORITHM, SHARE_DEVICE, SHARE_HEADS, SHARE_COLUMNS };
static const struct csv_column share_columns[SHARE_COLUMNS] = {
    [SHARE_CONFIG] = { "config", true },
    [SHARE_ALGORITHM] = { "algorithm", true },
    [SHARE_DEVICE] = { "device", true },
    [SHARE_HEADS] = { "heads", true },
};

static bool read_share_row(struct reader *r, const struct csv *csv, struct err *err)
{
    struct result *result;
    int32_t config, device, heads;

    if (!read_config(r, csv, SHARE_CONFIG, &config, err) ||
        !read_device(r, csv, SHARE_DEVICE, config, &device, err) ||
        !csv_int32(csv, SHARE_HEADS, 1, MAX_SIZE, &heads, err))
        return false;
    result = find_result(r, config, csv_text(csv, SHARE_ALGORITHM));
    if (!result || !result->is_feasible)
        return csv_bad(csv, SHARE_ALGORITHM, err, "results.csv has no placement of it for '%.60s'",
                       csv_text(csv, SHARE_CONFIG));
    if (result->heads[device] > 0)
        return csv_bad(csv, SHARE_DEVICE, err, "this device is there twice for '%.60s'",
                       csv_text(csv, SHARE_ALGORITHM));
    result->heads[device] = heads;
    result->head_count += heads;
    if (result->head_count > r->configs[config].heads)
        return csv_bad(csv, SHARE_HEADS, err, "more heads than the %d of '%.60s'",
                       r->configs[config].heads, csv_text(csv, SHARE_CONFIG));
    r->row_count++;
    return true;
}

static bool read_shares(struct reader *r, struct err *err)
{
    struct csv *csv = open_table(r, "heads", share_columns, SHARE_COLUMNS, err);

    while (csv && csv_next(csv, err) && read_share_row(r, csv, err))
        continue;
    for (int i = 0; err->kind == ERR_NONE && i < r->result_count; i++) {
        const struct result *result = &r->results[i];

        if (result->is_feasible && result->head_count != r->configs[result->config].heads)
            err_at(err, csv_path(csv), 0, 0, "'%.60s' places %d of the %d heads of '%.60s'",
                   result->algorithm, result->head_count, r->configs[result->config].heads,
                   names_list(r->names)[result->config]);
    }
    csv_close(csv);
    return err->kind == ERR_NONE;
}

/* ---- the placement ---- */

static bool choose_placement(const struct reader *r, const struct kafetzis_settings *settings,
                             struct err *err)
{
    const struct result *result;
    struct kafetzis_placement *placement = &r->environment->placement;

    if (!settings->algorithm)
        return true;
    result = find_result(r, r->chosen, settings->algorithm);
    if (!result) {
        const char **names = arena_array(r->arena, (size_t)r->result_count, sizeof *names);
        char choices[ERR_CHOICES_BYTES];
        int count = 0;

        for (int i = 0; i < r->result_count; i++)
            if (r->results[i].config == r->chosen)
                names[count++] = r->results[i].algorithm;
        return err_set(err, ERR_USAGE, "--algorithm is '%.60s': %s", settings->algorithm,
                       count > 0 ? err_choices(settings->algorithm, names, count, choices)
                                 : "results.csv has none of this configuration");
    }
    if (!result->is_feasible)
        return err_set(err, ERR_USAGE,
                       "--algorithm is '%.60s': it found no placement for '%.60s'%s%.100s",
                       settings->algorithm, names_list(r->names)[r->chosen],
                       result->error[0] ? ": " : "", result->error);
    *placement = (struct kafetzis_placement){ .algorithm = settings->algorithm,
                                              .heads = result->heads,
                                              .projection = result->projection,
                                              .ffn = result->ffn,
                                              .latency_ps = result->latency_ps };
    return true;
}

static bool is_there(const struct reader *r, const char *name)
{
    return access(arena_printf(r->arena, "%s/%s", r->folder, name), F_OK) == 0;
}

bool kafetzis_read_tables(struct import_job *job, const struct kafetzis_settings *settings,
                          const char *folder, struct kafetzis_environment *environment,
                          struct err *err)
{
    struct arena *arena = job->arena;
    struct reader r = {
        .arena = arena, .folder = folder, .names = names_create(arena), .environment = environment
    };
    bool has_results = settings->algorithm || is_there(&r, "results.csv");
    const struct config *config;

    if (!read_configs(&r, err) || !choose(&r, settings, err) || !read_devices(&r, err) ||
        !read_links(&r, err) ||
        (has_results && (!read_results(&r, err) || !read_shares(&r, err))) ||
        !choose_placement(&r, settings, err))
        return false;
    config = &r.configs[r.chosen];
    environment->models = arena_alloc(arena, sizeof *environment->models);
    environment->lengths = arena_alloc(arena, sizeof *environment->lengths);
    environment->steps = arena_alloc(arena, sizeof *environment->steps);
    environment->models[0] =
        kafetzis_model_of(arena, config->heads, config->width, config->precision_bytes);
    environment->lengths[0] = config->tokens;
    environment->steps[0] = settings->steps;
    environment->model_count = environment->length_count = environment->step_count = 1;
    job->report.read = -1;
    import_note(job, "%" PRId64 " rows of %d configurations, of which '%.60s'", r.row_count,
                names_count(r.names), names_list(r.names)[r.chosen]);
    if (!settings->algorithm && has_results)
        import_note(job, "no placement without --algorithm");
    import_meta(job, "config", names_list(r.names)[r.chosen]);
    import_meta(job, "algorithm", settings->algorithm);
    return true;
}
