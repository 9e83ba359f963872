/* saved.c - a folder with all its files, and how rows of two tables are compared and named. */
#include "profiler/table/saved.h"
#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "profiler/device/facts.h"
#include "profiler/journal/identity.h"
#include "profiler/journal/journal.h"
#include <string.h>
#include <unistd.h>

static bool has_file(struct arena *arena, const char *folder, const char *name)
{
    return access(arena_printf(arena, "%s/%s", folder, name), F_OK) == 0;
}

static bool check_whole(struct arena *arena, const char *folder, struct err *err)
{
    static const char *const names[] = { "kernels.csv", "interp.csv", "anchors.csv", "device.csv" };
    const int count = (int)(sizeof(names) / sizeof(names[0]));
    const char *missing = NULL;
    int there = 0;

    if (access(folder, F_OK) != 0)
        return err_errno(err, folder);
    for (int i = 0; i < count; i++) {
        if (has_file(arena, folder, names[i]))
            there++;
        else if (!missing)
            missing = names[i];
    }
    if (there == count)
        return true;
    if (has_file(arena, folder, JOURNAL_NAME))
        return err_set(err, ERR_INPUT,
                       "%s: no table yet, but an unfinished run: end it with 'orrery-profile run' "
                       "and --resume",
                       folder);
    if (there == 0)
        return err_set(err, ERR_INPUT, "%s: no cost table in it", folder);
    return err_set(err, ERR_INPUT, "%s: half a table: %s is missing", folder, missing);
}

static struct facts *load_facts(struct arena *arena, const char *path, struct err *err)
{
    enum { KEY, VALUE, UNIT, SOURCE, REASON, COLUMNS };
    static const struct csv_column columns[COLUMNS] = { [KEY] = { "key", true },
                                                        [VALUE] = { "value", true },
                                                        [UNIT] = { "unit", false },
                                                        [SOURCE] = { "source", false },
                                                        [REASON] = { "reason", false } };
    struct csv *csv = csv_open(arena, path, "device", columns, COLUMNS, err);
    struct facts *facts = arena_alloc(arena, sizeof(*facts));

    facts->arena = arena;
    facts->sysroot = "";
    while (csv && csv_next(csv, err))
        facts_put(facts, csv_text(csv, KEY), csv_text(csv, VALUE),
                  arena_strdup(arena, csv_text(csv, UNIT)), csv_text(csv, SOURCE),
                  arena_strdup(arena, csv_text(csv, REASON)));
    csv_close(csv);
    return err->kind == ERR_NONE ? facts : NULL;
}

bool saved_load_any(struct arena *arena, const char *folder, struct saved *saved, struct err *err)
{
    *saved = (struct saved){ folder, cost_load(arena, folder, err), NULL };
    if (!saved->costs)
        return false;
    if (!cost_has_kernels(saved->costs))
        return err_set(err, ERR_INPUT, "%s: no kernels.csv: nothing was measured by operator",
                       folder);
    if (has_file(arena, folder, "device.csv"))
        saved->facts = load_facts(arena, arena_printf(arena, "%s/device.csv", folder), err);
    return err->kind == ERR_NONE;
}

bool saved_load(struct arena *arena, const char *folder, struct saved *saved, struct err *err)
{
    return check_whole(arena, folder, err) && saved_load_any(arena, folder, saved, err);
}

bool saved_check_machine(struct arena *arena, const struct saved *saved, const struct facts *here,
                         struct err *err)
{
    struct identity this = identity_create(arena), other = identity_create(arena);

    identity_put_machine(&this, here);
    identity_put_machine(&other, saved->facts);
    return identity_check(&this, &other, saved->folder, err);
}

const char *saved_only_model(const struct saved *saved, struct err *err)
{
    const char *model = NULL;

    for (int i = 0; i < cost_row_count(saved->costs); i++) {
        const char *name = cost_row_at(saved->costs, i)->model;

        if (model && name[0] && strcmp(model, name) != 0) {
            err_set(err, ERR_USAGE,
                    "%s holds rows of several models, such as %.80s and %.80s: "
                    "--model is needed",
                    saved->folder, model, name);
            return NULL;
        }
        if (name[0])
            model = name;
    }
    if (!model)
        err_set(err, ERR_USAGE, "%s does not say which model it is of: --model is needed",
                saved->folder);
    return model;
}

/* ---- rows ---- */

static int compare(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

int saved_compare_rows(const struct cost_row *a, const struct cost_row *b)
{
    const int64_t left[] = {
        a->threads, a->op,       a->phase,    a->gemm_n, a->gemm_k,
        a->heads,   a->kv_heads, a->head_dim, a->state,  a->op == OP_ATTN ? a->batch : 1
    };
    const int64_t right[] = {
        b->threads, b->op,       b->phase,    b->gemm_n, b->gemm_k,
        b->heads,   b->kv_heads, b->head_dim, b->state,  b->op == OP_ATTN ? b->batch : 1
    };
    int order = strcmp(a->dtype, b->dtype);

    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]) && order == 0; i++)
        order = compare(left[i], right[i]);
    if (order == 0)
        order = strcmp(a->regime, b->regime);
    if (order == 0)
        order = strcmp(a->impl, b->impl);
    if (order == 0)
        order = compare(a->m_tokens, b->m_tokens);
    return order != 0 ? order : compare(a->kv_len, b->kv_len);
}

const char *saved_row_text(struct arena *arena, const struct cost_row *row)
{
    const char *threads = "", *dtype = "";

    if (row->threads > 1)
        threads = arena_printf(arena, ", %d threads", row->threads);
    if (strcmp(row->dtype, "f32") != 0)
        dtype = arena_printf(arena, " %s", row->dtype);
    if (row->op == OP_ATTN && row->phase == OP_DECODE && row->batch > 1)
        return arena_printf(arena, "%s%s, decode of %d sequences on %d keys%s", op_name(row->op),
                            dtype, row->batch, row->kv_len, threads);
    if (row->op == OP_ATTN && row->phase == OP_PREFILL && row->kv_len > row->m_tokens)
        return arena_printf(arena, "%s%s, %d token%s behind %d%s", op_name(row->op), dtype,
                            row->m_tokens, row->m_tokens > 1 ? "s" : "",
                            row->kv_len - row->m_tokens, threads);
    if (row->op == OP_ATTN && row->phase == OP_DECODE)
        return arena_printf(arena, "%s%s, decode on %d key%s%s", op_name(row->op), dtype,
                            row->kv_len, row->kv_len > 1 ? "s" : "", threads);
    return arena_printf(arena, "%s%s, %d token%s%s", op_name(row->op), dtype, row->m_tokens,
                        row->m_tokens > 1 ? "s" : "", threads);
}

static const char *dtype_of(const struct cost_anchor *anchor)
{
    return anchor->dtype ? anchor->dtype : "f32";
}

const char *saved_anchor_text(struct arena *arena, const struct cost_anchor *anchor)
{
    bool is_f32 = strcmp(dtype_of(anchor), "f32") == 0;
    const char *threads = is_f32 ? "" : arena_printf(arena, ", %s", dtype_of(anchor));

    if (anchor->threads > 1)
        threads = arena_printf(arena, "%s, %d threads", threads, anchor->threads);

    if (anchor->phase == OP_DECODE && anchor->batch > 1)
        return arena_printf(arena, "whole decode of %d sequences on %d keys%s", anchor->batch,
                            anchor->kv_len, threads);
    if (anchor->phase == OP_DECODE)
        return arena_printf(arena, "whole decode on %d keys%s", anchor->kv_len, threads);
    return arena_printf(arena, "whole prefill of %d%s", anchor->tokens, threads);
}

int64_t saved_half_ps(const struct cost_row *row)
{
    if (row->ci_lo_ps == COST_UNKNOWN || row->ci_hi_ps == COST_UNKNOWN ||
        row->ci_hi_ps < row->mean_ps)
        return 0;
    return row->ci_hi_ps - row->mean_ps;
}

bool saved_is_same_anchor(const struct cost_anchor *a, const struct cost_anchor *b)
{
    return strcmp(a->model, b->model) == 0 && a->phase == b->phase && a->tokens == b->tokens &&
           a->kv_len == b->kv_len && a->batch == b->batch && a->threads == b->threads &&
           a->layers == b->layers && strcmp(dtype_of(a), dtype_of(b)) == 0;
}
