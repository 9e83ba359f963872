/* merge.c - rows and anchors by key; the tiles are fitted again, as curves may have grown; other
 * tables are put one after the other as they are. */
#include "profiler/table/merge.h"
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/lines.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "profiler/device/facts.h"
#include "profiler/journal/identity.h"
#include "profiler/table/saved.h"
#include "profiler/table/table.h"
#include "profiler/table/verify.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- checks ---- */

static bool check_tables(struct arena *arena, const struct saved *tables, int count,
                         struct err *err)
{
    for (int i = 1; i < count; i++) {
        struct identity first = identity_create(arena), this = identity_create(arena);
        const struct facts *facts[] = { tables[0].facts, tables[i].facts };

        identity_put(&first, IDENTITY_TOOL, "tool_version", facts_get(facts[0], "tool_version"));
        identity_put(&this, IDENTITY_TOOL, "tool_version", facts_get(facts[1], "tool_version"));
        identity_put_machine(&first, facts[0]);
        identity_put_machine(&this, facts[1]);
        if (!identity_check(&first, &this,
                            arena_printf(arena, "%s and %s", tables[0].folder, tables[i].folder),
                            err))
            return false;
    }
    return true;
}

static bool check_target(struct arena *arena, const char *folder, struct err *err)
{
    static const char *const names[] = { "kernels.csv", "stages.csv", "profile.journal" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (access(arena_printf(arena, "%s/%s", folder, names[i]), F_OK) == 0)
            return err_set(err, ERR_USAGE, "%s: holds a %s already: merge into a new folder",
                           folder, names[i]);
    return true;
}

/* ---- rows and anchors ---- */

static int compare_rows(const void *left, const void *right)
{
    return saved_compare_rows(left, right);
}

/* Narrower interval first; unknown is widest. */
static bool is_narrower(const struct cost_row *a, const struct cost_row *b)
{
    double x = (double)saved_half_ps(a) / (double)a->mean_ps;
    double y = (double)saved_half_ps(b) / (double)b->mean_ps;

    return x > 0 && (y <= 0 || x < y);
}

static void note_double(struct arena *arena, struct merge *merge, const struct cost_row *a,
                        const struct cost_row *b)
{
    struct verify_line line = { .table_ps = a->mean_ps,
                                .table_half_ps = saved_half_ps(a),
                                .now_ps = b->mean_ps,
                                .now_half_ps = saved_half_ps(b) };

    verify_judge(&line, VERIFY_SLACK_RATIO);
    double change = line.change_ratio < 0 ? -line.change_ratio : line.change_ratio;
    merge->doubles++;
    merge->disagreeing += line.verdict == VERIFY_OUTSIDE;
    if (change > merge->worst_ratio) {
        merge->worst_ratio = change;
        merge->worst_row = saved_row_text(arena, a);
    }
}

static void unite_rows(struct arena *arena, struct merge *merge, const struct saved *tables,
                       struct table *table)
{
    size_t room = 1;
    int count = 0;

    for (int t = 0; t < merge->folder_count; t++)
        room += (size_t)cost_row_count(tables[t].costs);
    table->rows = arena_array(arena, room, sizeof(*table->rows));
    for (int t = 0; t < merge->folder_count; t++)
        for (int i = 0; i < cost_row_count(tables[t].costs); i++)
            table->rows[count++] = *cost_row_at(tables[t].costs, i);
    qsort(table->rows, (size_t)count, sizeof(*table->rows), compare_rows);
    for (int i = 0; i < count; i++) {
        struct cost_row *last = &table->rows[table->row_count - 1];

        if (i == 0 || saved_compare_rows(last, &table->rows[i]) != 0) {
            table->rows[table->row_count++] = table->rows[i];
            continue;
        }
        note_double(arena, merge, last, &table->rows[i]);
        if (is_narrower(&table->rows[i], last))
            *last = table->rows[i];
    }
}

static bool is_same_curve(const struct cost_row *a, const struct cost_row *b)
{
    struct cost_row left = *a, right = *b;

    left.m_tokens = right.m_tokens = left.kv_len = right.kv_len = 0;
    left.batch = right.batch = 1;
    left.state = right.state = COST_CHAIN;
    return saved_compare_rows(&left, &right) == 0;
}

/* A curve that one table alone has keeps its tiles: their period was looked for on the device. */
static void keep_tiles(const struct merge *merge, const struct saved *tables, struct table *table)
{
    for (int i = 0; i < table->interp_count; i++) {
        struct cost_interp_row found = table->interps[i];
        int owners = 0;

        for (int t = 0; t < merge->folder_count; t++)
            for (int c = 0; c < cost_interp_count(tables[t].costs); c++) {
                struct cost_interp_row of = cost_interp_at(tables[t].costs, c);

                if (!is_same_curve(&of.key, &table->interps[i].key))
                    continue;
                found = of;
                owners++;
            }
        if (owners == 1)
            table->interps[i].tiles = found.tiles;
    }
}

static void unite_anchors(struct arena *arena, struct merge *merge, const struct saved *tables,
                          struct table *table)
{
    int room = 1;

    for (int t = 0; t < merge->folder_count; t++)
        room += cost_anchor_count(tables[t].costs);
    table->anchors = arena_array(arena, (size_t)room, sizeof(*table->anchors));
    for (int t = 0; t < merge->folder_count; t++)
        for (int i = 0; i < cost_anchor_count(tables[t].costs); i++) {
            const struct cost_anchor *anchor = cost_anchor_at(tables[t].costs, i);
            int at = 0;

            while (at < table->anchor_count && !saved_is_same_anchor(&table->anchors[at], anchor))
                at++;
            if (at == table->anchor_count)
                table->anchors[table->anchor_count++] = *anchor;
            else if (anchor->ci_ps != COST_UNKNOWN && (table->anchors[at].ci_ps == COST_UNKNOWN ||
                                                       anchor->ci_ps < table->anchors[at].ci_ps))
                table->anchors[at] = *anchor;
        }
}

/* ---- other files ---- */

/* Index of a field of a line without quotes; -1. */
static int field_index(const char *line, const char *name)
{
    size_t length = strlen(name);

    for (int i = 0;; i++) {
        if (strncmp(line, name, length) == 0 && (line[length] == ',' || !line[length]))
            return i;
        line += strcspn(line, ",");
        if (!*line++)
            return -1;
    }
}

/* The line with the number in a field raised, so that processes of two runs stay apart. */
static const char *raise_field(struct arena *arena, const char *line, int field, int64_t by,
                               int64_t *most)
{
    const char *at = line;
    int64_t number;

    for (int i = 0; i < field && *at; i++) {
        at += strcspn(at, ",");
        at += *at == ',';
    }
    size_t length = strcspn(at, ",");
    if (!units_parse_int(arena_strndup(arena, at, length), &number) || number > INT32_MAX)
        return line;
    if (number + by > *most)
        *most = number + by;
    return arena_printf(arena, "%.*s%lld%s", (int)(at - line), line, (long long)(number + by),
                        at + length);
}

struct joining {
    struct arena *arena;
    struct out *out;
    const char *header;
    int64_t next_proc, most_proc;
};

static bool join_file(struct joining *joining, const char *path, struct err *err)
{
    struct lines *lines = lines_open(joining->arena, path, err);
    const char *line, *header = NULL;
    int proc = -1;

    while (lines && (line = lines_next(lines, err))) {
        bool is_head = !header && (line[0] == '#' || !line[0]);

        if (!header && !is_head) {
            header = arena_strdup(joining->arena, line);
            proc = field_index(header, "proc");
            is_head = true;
            if (joining->header && strcmp(joining->header, header) != 0)
                err_at(err, path, lines_number(lines), 0, "other columns than in the first table");
        }
        if (is_head && joining->header)
            continue;
        if (!is_head && proc >= 0)
            line = raise_field(joining->arena, line, proc, joining->next_proc, &joining->most_proc);
        out_text(joining->out, line);
        out_char(joining->out, '\n');
    }
    if (lines)
        lines_close(lines);
    if (!joining->header)
        joining->header = header;
    joining->next_proc = joining->most_proc + 1;
    return err->kind == ERR_NONE;
}

/* NULL without an error when no table has the file. */
static struct out *join_files(struct arena *arena, const struct merge *merge, const char *name,
                              bool is_first_alone, struct err *err)
{
    struct joining joining = { .arena = arena, .most_proc = -1 };

    for (int t = 0; t < merge->folder_count; t++) {
        const char *path = arena_printf(arena, "%s/%s", merge->folders[t], name);

        if (access(path, F_OK) != 0 || (is_first_alone && joining.header))
            continue;
        if (!joining.out)
            joining.out = out_open(arena, arena_printf(arena, "%s/%s", merge->into, name), err);
        if (!joining.out || !join_file(&joining, path, err)) {
            out_abort(joining.out);
            return NULL;
        }
    }
    return joining.out;
}

/* ---- all ---- */

/* Facts of the first, but for the models and where the rest came from. */
static struct facts *unite_facts(struct arena *arena, const struct merge *merge,
                                 const struct saved *tables)
{
    struct facts *facts = arena_alloc(arena, sizeof(*facts));
    const char *models = "", *from = "";

    facts->arena = arena;
    for (int t = 0; t < merge->folder_count; t++) {
        models = arena_printf(arena, "%s%s%s", models, t > 0 ? " " : "",
                              facts_get(tables[t].facts, "model"));
        from = arena_printf(arena, "%s%s%s", from, t > 0 ? " " : "", merge->folders[t]);
    }
    for (int i = 0; i < tables[0].facts->count; i++) {
        const struct fact *fact = &tables[0].facts->list[i];
        bool is_model = strcmp(fact->key, "model") == 0;

        if (strcmp(fact->key, "merged_from") != 0)
            facts_put(facts, fact->key, is_model ? models : fact->value, fact->unit, fact->source,
                      fact->reason);
    }
    facts_put(facts, "merged_from", from, "", "orrery-profile merge", "");
    return facts;
}

static const char *folder_name(struct arena *arena, const char *path)
{
    size_t end = strlen(path), start;

    while (end > 1 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/';)
        start--;
    return arena_strndup(arena, path + start, end - start);
}

static bool write_all(struct arena *arena, struct merge *merge, const struct saved *tables,
                      const struct table *table, struct err *err)
{
    enum { KERNELS, INTERP, ANCHORS, DEVICE, ROUNDS, ROOFLINE, LAYERS, HOLDOUT, FILES };
    static const char *const names[FILES] = { "kernels.csv", "interp.csv", "anchors.csv",
                                              "device.csv",  "rounds.csv", "roofline.csv",
                                              "layers.csv",  "holdout.csv" };
    const char *meta[] = { "cpu",       facts_get(tables[0].facts, "cpu"),
                           "blas",      facts_get(tables[0].facts, "blas_config"),
                           "blas_core", facts_get(tables[0].facts, "blas_core"),
                           NULL };
    struct out *outs[FILES] = { NULL };

    for (int f = 0; f < FILES && err->kind == ERR_NONE; f++)
        outs[f] = f <= DEVICE
                      ? out_open(arena, arena_printf(arena, "%s/%s", merge->into, names[f]), err)
                      : join_files(arena, merge, names[f], f == ROOFLINE, err);
    if (err->kind != ERR_NONE) {
        for (int f = 0; f < FILES; f++)
            out_abort(outs[f]);
        return false;
    }
    cost_write_kernels(outs[KERNELS], folder_name(arena, merge->into), meta, table->rows,
                       table->row_count);
    cost_write_interp(outs[INTERP], table->interps, table->interp_count);
    cost_write_anchors(outs[ANCHORS], table->anchors, table->anchor_count);
    facts_write_csv(outs[DEVICE], unite_facts(arena, merge, tables));
    return out_commit_all(outs, FILES, err);
}

static void note_left_out(struct arena *arena, struct merge *merge)
{
    static const char *const names[] = { "samples.csv", "stages.csv" };

    merge->left_out = "";
    for (size_t n = 0; n < sizeof(names) / sizeof(names[0]); n++)
        for (int t = 0; t < merge->folder_count; t++) {
            const char *path = arena_printf(arena, "%s/%s", merge->folders[t], names[n]);

            if (access(path, F_OK) == 0)
                merge->left_out = arena_printf(arena, "%s%s%s", merge->left_out,
                                               merge->left_out[0] ? " " : "", path);
        }
}

bool merge_run(struct arena *arena, struct merge *merge, struct err *err)
{
    struct saved *tables = arena_array(arena, (size_t)merge->folder_count, sizeof(*tables));
    struct table *table = arena_alloc(arena, sizeof(*table));
    bool was_there = access(merge->into, F_OK) == 0;

    for (int t = 0; t < merge->folder_count; t++)
        if (!saved_load(arena, merge->folders[t], &tables[t], err))
            return false;
    if (!check_target(arena, merge->into, err) ||
        !check_tables(arena, tables, merge->folder_count, err))
        return false;
    merge->worst_row = "";
    unite_rows(arena, merge, tables, table);
    table_fit_interps(arena, NULL, table);
    keep_tiles(merge, tables, table);
    unite_anchors(arena, merge, tables, table);
    if (!out_make_folder(merge->into, err))
        return false;
    if (!write_all(arena, merge, tables, table, err)) {
        if (!was_there)
            (void)rmdir(merge->into);
        return false;
    }
    merge->rows = table->row_count;
    merge->anchors = table->anchor_count;
    merge->interps = table->interp_count;
    note_left_out(arena, merge);
    return true;
}
