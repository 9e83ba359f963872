/* cost.c - see cost.h: folders of cost tables. Rows are read in cost_read.c and cost_stages.c,
 * looked up in cost_lookup.c and cost_mixed.c, written in cost_write.c. */
#include "lib/format/cost.h"
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/format/cost_table.h"
#include "lib/format/names.h"
#include <assert.h>
#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The last part of the path; "." and ".." have the name of the folder that they stand for. */
static const char *type_of_path(struct arena *arena, const char *path)
{
    size_t end = strlen(path), start;
    const char *name;
    char real[PATH_MAX];

    while (end > 1 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/';)
        start--;
    name = arena_strndup(arena, path + start, end - start);
    if ((strcmp(name, ".") == 0 || strcmp(name, "..") == 0) && realpath(path, real))
        name = arena_strdup(arena, strrchr(real, '/') + 1);
    return name;
}

static const char *join(struct arena *arena, const char *folder, const char *name)
{
    size_t length = strlen(folder);
    bool ends_in_slash = length > 0 && folder[length - 1] == '/';

    return arena_printf(arena, "%s%s%s", folder, ends_in_slash ? "" : "/", name);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static struct cost_table *create(struct arena *arena, const char *type, const char *path)
{
    struct cost_table *table = arena_alloc(arena, sizeof *table);

    table->type = arena_strdup(arena, type);
    table->path = arena_strdup(arena, path);
    table->quality = table->device_id = "";
    return table;
}

/* Text NULL: from the file of that name. interp_path NULL: there are no tiles. */
static bool load_kernels(struct cost_table *table, struct arena *arena, const char *kernels_path,
                         const char *kernels, const char *interp_path, const char *interp,
                         struct err *err)
{
    table->has_kernels = true;
    if (!cost_read_kernels(table, arena, cost_open_kernels(arena, kernels_path, kernels, err),
                           err) ||
        !cost_build_curves(table, arena, kernels_path, err) ||
        !cost_build_grids(table, arena, kernels_path, err))
        return false;
    return !interp_path ||
           cost_read_interp(table, arena, cost_open_interp(arena, interp_path, interp, err), err);
}

/* Of the facts about a device a prediction needs how large its last-level cache is, and whether the
 * table is any good. */
static bool read_facts(struct cost_table *table, struct arena *arena, const char *path,
                       struct err *err)
{
    enum { KEY, VALUE, UNIT, SOURCE, REASON, COLUMN_COUNT };
    static const struct csv_column columns[COLUMN_COUNT] = { [KEY] = { "key", true },
                                                             [VALUE] = { "value", true },
                                                             [UNIT] = { "unit", false },
                                                             [SOURCE] = { "source", false },
                                                             [REASON] = { "reason", false } };
    struct csv *csv = csv_open(arena, path, "device", columns, COLUMN_COUNT, err);
    bool ok = csv != NULL;

    assert(table); /* for clang's analyzer */
    while (ok && csv_next(csv, err)) {
        const char *key = csv_text(csv, KEY);
        int64_t *size_bytes = strcmp(key, "llc_bytes") == 0 ? &table->llc_bytes
                              : strcmp(key, "llc_effective_bytes") == 0
                                  ? &table->llc_effective_bytes
                                  : NULL;

        if (size_bytes && csv_has(csv, VALUE))
            ok = csv_int(csv, VALUE, 1, INT64_C(1) << 50, size_bytes, err);
        if (strcmp(key, "quality") == 0 && !table->quality[0])
            table->quality = arena_strdup(arena, csv_text(csv, VALUE));
    }
    csv_close(csv);
    return ok && err->kind == ERR_NONE;
}

/* All that the folder holds for its own type, which may be nothing. */
static struct cost_table *load_folder(struct arena *arena, const char *folder, struct err *err)
{
    struct cost_table *table = create(arena, type_of_path(arena, folder), folder);
    const char *kernels = join(arena, folder, "kernels.csv");
    const char *interp = join(arena, folder, "interp.csv");
    const char *stages = join(arena, folder, "stages.csv");
    const char *anchors = join(arena, folder, "anchors.csv");
    const char *facts = join(arena, folder, "device.csv");
    const char *roofline = join(arena, folder, "roofline.csv");

    if (!exists(folder)) {
        err_errno(err, folder);
        return NULL;
    }
    if (!exists(kernels) && !exists(stages)) {
        err_set(err, ERR_INPUT, "%s: no cost table: expected kernels.csv or stages.csv in it",
                folder);
        return NULL;
    }
    if (exists(kernels) &&
        !load_kernels(table, arena, kernels, NULL, exists(interp) ? interp : NULL, NULL, err))
        return NULL;
    if (exists(stages) && !cost_read_stages(table, arena, stages, true, err))
        return NULL;
    if (exists(anchors) && !cost_read_anchors(table, arena, anchors, err))
        return NULL;
    if (exists(roofline) && !cost_read_roofline(table, arena, roofline, err))
        return NULL;
    if (exists(facts) && !read_facts(table, arena, facts, err))
        return NULL;
    return table;
}

int64_t cost_llc_bytes(const struct cost_table *table)
{
    return table->llc_effective_bytes > 0 ? table->llc_effective_bytes : table->llc_bytes;
}

bool cost_is_cached(int64_t weight_bytes, int64_t llc_bytes)
{
    return weight_bytes > 0 && weight_bytes < 2 * llc_bytes;
}

static bool is_empty(const struct cost_table *table)
{
    return !table->has_kernels && table->stage_count == 0;
}

struct cost_table *cost_load(struct arena *arena, const char *folder, struct err *err)
{
    struct cost_table *table = load_folder(arena, folder, err);

    if (!table || !is_empty(table))
        return table;
    err_at(err, join(arena, folder, "stages.csv"), 0, 0, "no rows for device type '%.60s'",
           table->type);
    return NULL;
}

struct cost_table *cost_load_text(struct arena *arena, const char *type, const char *kernels,
                                  const char *interp, struct err *err)
{
    struct cost_table *table = create(arena, type, type);
    const char *interp_path = interp ? join(arena, type, "interp.csv") : NULL;

    if (!load_kernels(table, arena, join(arena, type, "kernels.csv"), kernels, interp_path, interp,
                      err))
        return NULL;
    return table;
}

/* ---- sets ---- */

static bool is_table(struct arena *arena, const char *folder)
{
    return exists(join(arena, folder, "kernels.csv")) || exists(join(arena, folder, "stages.csv"));
}

static bool add_table(struct arena *arena, struct cost_set *set, struct cost_table *table,
                      struct err *err)
{
    const struct cost_table *other = cost_set_find(set, table->type);

    if (other)
        return err_set(err, ERR_INPUT, "%s: device type '%s' is there twice: also in %s",
                       table->path, table->type, other->path);
    /* A handful of types: a copy for each costs nothing. */
    set->tables = arena_grow(arena, set->tables, (size_t)set->count, (size_t)set->count + 1,
                             sizeof(struct cost_table *));
    set->tables[set->count++] = table;
    return true;
}

/* A stages.csv may hold rows of other types than its folder's: each is a table of its own. */
static bool add_folder(struct arena *arena, struct cost_set *set, const char *folder,
                       struct err *err)
{
    struct cost_table *table = load_folder(arena, folder, err);
    int other_count;

    if (!table)
        return false;
    other_count = table->other_types ? names_count(table->other_types) : 0;
    if (is_empty(table) && other_count == 0)
        return cost_load(arena, folder, err) != NULL; /* says so */
    if (!is_empty(table) && !add_table(arena, set, table, err))
        return false;
    for (int i = 0; i < other_count; i++) {
        struct cost_table *other = create(arena, names_list(table->other_types)[i], folder);

        if (!cost_read_stages(other, arena, join(arena, folder, "stages.csv"), false, err) ||
            !add_table(arena, set, other, err))
            return false;
    }
    return true;
}

static int compare_names(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;

    return strcmp(*left, *right);
}

/* Folders of a folder that are tables, in name order. -1 when it cannot be read. */
static int list_tables(struct arena *arena, const char *folder, const char ***folders)
{
    DIR *dir = opendir(folder);
    int count = 0, capacity = 16;
    const char **list = arena_array(arena, (size_t)capacity, sizeof *list);

    if (!dir)
        return -1;
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        const char *path = join(arena, folder, entry->d_name);

        if (entry->d_name[0] == '.' || !is_table(arena, path))
            continue;
        if (count == capacity) {
            list = arena_grow(arena, list, (size_t)capacity, 2 * (size_t)capacity, sizeof *list);
            capacity *= 2;
        }
        list[count++] = path;
    }
    closedir(dir);
    qsort(list, (size_t)count, sizeof *list, compare_names);
    *folders = list;
    return count;
}

static bool add_path(struct arena *arena, struct cost_set *set, const char *path, struct err *err)
{
    const char **folders;
    int count;

    if (is_table(arena, path))
        return add_folder(arena, set, path, err);
    count = list_tables(arena, path, &folders);
    if (count < 0)
        return err_errno(err, path);
    if (count == 0)
        return err_set(
            err, ERR_INPUT,
            "%s: no cost table: expected kernels.csv or stages.csv in it or in its folders", path);
    for (int i = 0; i < count; i++) {
        if (!add_folder(arena, set, folders[i], err))
            return false;
    }
    return true;
}

bool cost_set_load(struct arena *arena, const char *const *paths, int path_count,
                   struct cost_set *set, struct err *err)
{
    *set = (struct cost_set){ 0, NULL };
    for (int i = 0; i < path_count; i++) {
        if (!add_path(arena, set, paths[i], err))
            return false;
    }
    return true;
}

const struct cost_table *cost_set_find(const struct cost_set *set, const char *type)
{
    for (int i = 0; i < set->count; i++) {
        if (strcmp(set->tables[i]->type, type) == 0)
            return set->tables[i];
    }
    return NULL;
}

/* ---- what a table holds ---- */

const char *cost_type(const struct cost_table *table)
{
    return table->type;
}

const char *cost_path(const struct cost_table *table)
{
    return table->path;
}

const char *cost_device_id(const struct cost_table *table)
{
    return table->device_id;
}

bool cost_has_kernels(const struct cost_table *table)
{
    return table->has_kernels;
}

int cost_only_threads(const struct cost_table *table)
{
    return table->only_threads;
}

int cost_row_count(const struct cost_table *table)
{
    return table->row_count;
}

const struct cost_row *cost_row_at(const struct cost_table *table, int index)
{
    return &table->rows[index];
}

int cost_engine_row_count(const struct cost_table *table)
{
    return table->engine_row_count;
}

const struct cost_engine_row *cost_engine_row_at(const struct cost_table *table, int index)
{
    return &table->engine_rows[index];
}

int cost_interp_count(const struct cost_table *table)
{
    int count = 0;

    for (int i = 0; i < table->curve_count; i++)
        count += table->curves[i].has_tiles;
    return count;
}

struct cost_interp_row cost_interp_at(const struct cost_table *table, int index)
{
    const struct cost_curve *curve = table->curves;

    for (; !curve->has_tiles || index > 0; curve++)
        index -= curve->has_tiles;
    return (struct cost_interp_row){ *curve->row, curve->tiles };
}

const char *cost_quality(const struct cost_table *table)
{
    return table->quality;
}

bool cost_is_disturbed(const struct cost_table *table)
{
    return table->quality[0] != '\0' && strncmp(table->quality, "good", 4) != 0;
}

void cost_row_init(struct cost_row *row)
{
    *row = (struct cost_row){
        .phase = OP_ANY,
        .impl = "",
        .dtype = cost_dtypes[COST_F32],
        .threads = 1,
        .batch = 1,
        .state = COST_CHAIN,
        .regime = cost_regimes[COST_BURST],
        .model = "",
        .layer_kind = "",
        .stop = COST_STOP_BUDGET,
        .ctr_reason = "",
        .energy_reason = "",
        .throttled = -1,
        .canary_ratio = -1,
        .roof_frac = -1,
        .loo_err_pct = -1,
    };
    row->n = row->n_dirty = row->n_outlier = row->n_proc = COST_UNKNOWN;
    row->mean_ps = row->median_ps = row->min_ps = row->p95_ps = row->mad_ps = COST_UNKNOWN;
    row->ci_lo_ps = row->ci_hi_ps = row->proc_min_ps = row->proc_max_ps = COST_UNKNOWN;
    row->flops = row->bytes_weight = row->bytes_act = COST_UNKNOWN;
    row->energy_uj = row->freq_khz_min = row->temp_mc_max = COST_UNKNOWN;
    for (int i = 0; i < COST_COUNTER_COUNT; i++)
        row->counters[i] = COST_UNKNOWN;
}

const char *cost_dtype_of_bits(int weight_bits)
{
    return cost_dtypes[weight_bits == 8 ? COST_Q8_0 : weight_bits == 16 ? COST_BF16 : COST_F32];
}
