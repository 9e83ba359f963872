/* prefix_blocks.c - the prefix-blocks table: rows are sorted where they are not, then checked and
 * their chains numbered in one pass. */
#include "lib/format/prefix_blocks.h"

#include "lib/base/arena.h"
#include "lib/base/csv.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/units.h"
#include "lib/format/table.h"
#include "lib/format/workload.h"
#include <stdlib.h>
#include <string.h>

enum { REQUEST_ID, BLOCK_INDEX, CHAIN_ID, COLUMN_COUNT };
static const struct csv_column columns[COLUMN_COUNT] = {
    [REQUEST_ID] = { "request_id", true },
    [BLOCK_INDEX] = { "block_index", true },
    [CHAIN_ID] = { "chain_id", true },
};

#define MAX_ROWS INT32_MAX
#define MAX_DIGITS 18 /* what an int64 holds for certain */

struct row {
    size_t request; /* row of the workload */
    int64_t chain;  /* as in the file */
    int32_t block;
    long line;
};

struct rows {
    struct row *list;
    size_t count, room;
    bool is_sorted;
};

/* ---- reading ---- */

/* Row of the workload that has the id; false when there is none. near: where it is looked for
 * first, since tables mostly are in order. */
static bool find_request(const struct workload *workload, int64_t id, size_t near, size_t *request)
{
    size_t low = 0, high = workload->count;

    *request = near;
    if (!workload->request_ids) {
        *request = (size_t)id;
        return (uint64_t)id < workload->count;
    }
    if (near < workload->count && workload->request_ids[near] == id)
        return true;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (workload->request_ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    *request = low;
    return low < workload->count && workload->request_ids[low] == id;
}

static int compare_rows(const void *left, const void *right)
{
    const struct row *a = left, *b = right;

    if (a->request != b->request)
        return a->request < b->request ? -1 : 1;
    if (a->block != b->block)
        return a->block < b->block ? -1 : 1;
    return a->line < b->line ? -1 : a->line > b->line;
}

/* Plain rows straight from the text: three whole numbers without sign. Whatever else stands there
 * ends them, and is left to read_row, which says what is wrong. Text ends in a newline here. */
static const char *scan_int(const char *at, int64_t *value)
{
    const char *first = at;

    for (*value = 0; *at >= '0' && *at <= '9' && at - first < MAX_DIGITS; at++)
        *value = *value * 10 + (*at - '0');
    return at > first ? at : NULL;
}

static const char *scan_row(const char *at, const int *fields, int64_t values[COLUMN_COUNT])
{
    for (int field = 0; field < COLUMN_COUNT; field++) {
        if (field > 0 && *at++ != ',')
            return NULL;
        at = scan_int(at, &values[fields[field]]);
        if (!at)
            return NULL;
    }
    at += *at == '\r';
    return *at == '\n' ? at + 1 : NULL;
}

static bool read_row(const struct csv *csv, const struct workload *workload, size_t near,
                     struct row *row, struct err *err)
{
    int64_t id;

    row->line = csv_line(csv);
    if (!csv_int(csv, REQUEST_ID, 0, INT64_MAX, &id, err) ||
        !csv_int32(csv, BLOCK_INDEX, 0, INT32_MAX, &row->block, err) ||
        !csv_int(csv, CHAIN_ID, 0, INT64_MAX, &row->chain, err))
        return false;
    return find_request(workload, id, near, &row->request) ||
           csv_bad(csv, REQUEST_ID, err, "not in the workload %s", workload->path);
}

static size_t nearest(const struct rows *rows)
{
    return rows->count > 0 ? rows->list[rows->count - 1].request : 0;
}

static void rows_add(struct arena *arena, struct rows *rows, const struct row *row)
{
    if (rows->count == rows->room) {
        size_t room = rows->room > 0 ? 2 * rows->room : 1024;

        rows->list = arena_grow(arena, rows->list, rows->room, room, sizeof *rows->list);
        rows->room = room;
    }
    rows->is_sorted = rows->is_sorted &&
                      (rows->count == 0 || compare_rows(&rows->list[rows->count - 1], row) < 0);
    rows->list[rows->count++] = *row;
}

static void scan_rows(struct csv *csv, struct arena *arena, const struct workload *workload,
                      const int *fields, struct rows *rows)
{
    size_t length;
    const char *start = csv_peek(csv, &length), *at = start;
    const char *end = length > 0 ? memrchr(start, '\n', length) : NULL;
    long first_line = csv_line(csv), line = first_line;

    while (end && at <= end && rows->count < MAX_ROWS) {
        int64_t values[COLUMN_COUNT] = { 0 };
        const char *next = scan_row(at, fields, values);
        struct row row = { .line = line + 1 };

        if (!next || values[BLOCK_INDEX] > INT32_MAX ||
            !find_request(workload, values[REQUEST_ID], nearest(rows), &row.request))
            break;
        row.block = (int32_t)values[BLOCK_INDEX];
        row.chain = values[CHAIN_ID];
        rows_add(arena, rows, &row);
        at = next;
        line++;
    }
    if (at > start)
        csv_skip(csv, (size_t)(at - start), line - first_line);
}

static bool read_rows(struct csv *csv, struct arena *arena, const struct workload *workload,
                      struct rows *rows, struct err *err)
{
    bool is_plain = csv_header_count(csv) == COLUMN_COUNT;
    int fields[COLUMN_COUNT];

    for (int column = 0; column < COLUMN_COUNT && is_plain; column++)
        fields[csv_position(csv, column) - 1] = column;
    rows->is_sorted = true;
    for (;;) {
        struct row row;

        if (is_plain)
            scan_rows(csv, arena, workload, fields, rows);
        if (!csv_next(csv, err))
            break;
        if (!read_row(csv, workload, nearest(rows), &row, err))
            return false;
        if (rows->count >= MAX_ROWS)
            return csv_bad_row(csv, err, "more than %d rows", MAX_ROWS);
        rows_add(arena, rows, &row);
    }
    if (err->kind != ERR_NONE)
        return false;
    if (!rows->is_sorted)
        qsort(rows->list, rows->count, sizeof *rows->list, compare_rows);
    return true;
}

/* ---- chains ---- */

/* The numbers of chains, by what the file calls them. */
struct chain {
    int64_t name;
    int32_t before; /* chain of the block before, -1 = it is a first block */
    int32_t block;
    long line; /* of its first row; 0 = free slot */
    int32_t number;
};
struct chains {
    struct chain *slots;
    size_t mask;
    int32_t count;
};

static void chains_create(struct arena *arena, struct chains *chains, size_t most)
{
    size_t slots = 16;

    while (slots < 2 * most)
        slots *= 2;
    chains->slots = arena_array(arena, slots, sizeof *chains->slots);
    chains->mask = slots - 1;
    chains->count = 0;
}

static struct chain *chains_find(const struct chains *chains, int64_t name)
{
    /* Fibonacci hashing: names mostly are consecutive numbers. */
    size_t slot = (size_t)((uint64_t)name * UINT64_C(0x9e3779b97f4a7c15) >> 20) & chains->mask;

    while (chains->slots[slot].line != 0 && chains->slots[slot].name != name)
        slot = (slot + 1) & chains->mask;
    return &chains->slots[slot];
}

/* The number of a row's chain, or an error: -1. before: the chain of the row before, in the same
 * request. */
static int32_t number_chain(struct chains *chains, const struct row *row, int32_t before,
                            const char *path, struct err *err)
{
    struct chain *chain = chains_find(chains, row->chain);

    if (chain->line == 0) {
        *chain = (struct chain){ row->chain, before, row->block, row->line, chains->count++ };
        return chain->number;
    }
    if (chain->block != row->block) {
        err_at(err, path, row->line, 0,
               "chain_id is '%lld' of block %d: line %ld has it for block %d",
               (long long)row->chain, row->block, chain->line, chain->block);
        return -1;
    }
    if (chain->before != before) {
        err_at(err, path, row->line, 0,
               "chain_id is '%lld', but the block before is another one than on line %ld: equal "
               "chains have the same tokens from the start",
               (long long)row->chain, chain->line);
        return -1;
    }
    return chain->number;
}

static int64_t id_of(const struct workload *workload, size_t request)
{
    return workload->request_ids ? workload->request_ids[request] : (int64_t)request;
}

/* Sorted rows: from 0 without gaps, none twice. */
static bool check_place(const struct row *row, const struct row *before,
                        const struct workload *workload, const char *path, struct err *err)
{
    bool is_first = !before || before->request != row->request;
    int32_t expected = is_first ? 0 : before->block + 1;

    if (row->block == expected)
        return true;
    if (!is_first && row->block == before->block)
        return err_at(err, path, row->line, 0, "same request and block as line %ld", before->line);
    return err_at(err, path, row->line, 0, "block_index is '%d': request %lld has no block %d",
                  row->block, (long long)id_of(workload, row->request), expected);
}

static bool fill(struct prefix_blocks *blocks, struct arena *arena, const struct rows *rows,
                 const struct workload *workload, struct err *err)
{
    size_t *first = arena_array(arena, workload->count + 1, sizeof *first);
    int32_t *numbers = arena_array(arena, rows->count, sizeof *numbers);
    struct chains chains;
    size_t request = 0;

    chains_create(arena, &chains, rows->count);
    for (size_t i = 0; i < rows->count; i++) {
        const struct row *row = &rows->list[i], *before = i > 0 ? row - 1 : NULL;

        if (!check_place(row, before, workload, blocks->path, err))
            return false;
        numbers[i] =
            number_chain(&chains, row, row->block > 0 ? numbers[i - 1] : -1, blocks->path, err);
        if (numbers[i] < 0)
            return false;
        while (request < row->request)
            first[++request] = i;
    }
    while (request < workload->count)
        first[++request] = rows->count;
    blocks->first = first;
    blocks->chains = numbers;
    blocks->chain_count = chains.count;
    return true;
}

/* ---- a table ---- */

static bool read_block_tokens(const struct csv *csv, int32_t *block_tokens, struct err *err)
{
    const char *text = csv_meta(csv, "block_tokens");
    int64_t value;

    *block_tokens = 0;
    if (!text)
        return true;
    if (!units_parse_int(text, &value) || value < 1 || value > INT32_MAX)
        return err_at(err, csv_path(csv), 0, 0,
                      "# block_tokens: is '%.60s': expected a whole number from 1", text);
    *block_tokens = (int32_t)value;
    return true;
}

struct prefix_blocks *prefix_blocks_load(struct arena *arena, const char *path,
                                         const struct workload *workload, struct err *err)
{
    struct csv *csv = csv_open(arena, path, "prefix-blocks", columns, COLUMN_COUNT, err);
    struct prefix_blocks *blocks = arena_alloc(arena, sizeof *blocks);
    struct rows rows = { 0 };
    bool ok;

    if (!csv)
        return NULL;
    blocks->path = arena_strdup(arena, csv_path(csv));
    blocks->request_count = workload->count;
    ok = read_block_tokens(csv, &blocks->block_tokens, err) &&
         read_rows(csv, arena, workload, &rows, err) && fill(blocks, arena, &rows, workload, err);
    csv_close(csv);
    return ok ? blocks : NULL;
}

bool prefix_blocks_fit(const struct prefix_blocks *blocks, const struct workload *workload,
                       int32_t block_tokens, struct err *err)
{
    if (blocks->block_tokens > 0 && blocks->block_tokens != block_tokens)
        return err_at(err, blocks->path, 0, 0, "its blocks are of %d tokens: expected %d",
                      blocks->block_tokens, block_tokens);
    for (size_t i = 0; i < blocks->request_count; i++) {
        int64_t count = (int64_t)(blocks->first[i + 1] - blocks->first[i]);
        int64_t tokens = (workload->prompt_tokens ? workload->prompt_tokens[i] : 0) +
                         (int64_t)(workload->output_tokens ? workload->output_tokens[i] : 0);

        if (count > tokens / block_tokens)
            return err_at(err, blocks->path, 0, 0,
                          "request %lld has %lld blocks of %d tokens, but %lld tokens: prompt and "
                          "output fill %lld",
                          (long long)id_of(workload, i), (long long)count, block_tokens,
                          (long long)tokens, (long long)(tokens / block_tokens));
    }
    return true;
}

void prefix_blocks_write(struct out *out, const struct prefix_blocks *blocks,
                         const struct workload *workload, const char *const *meta)
{
    table_begin(out, "prefix-blocks", meta);
    if (blocks->block_tokens > 0)
        out_printf(out, "# block_tokens: %d\n", blocks->block_tokens);
    for (int c = 0; c < COLUMN_COUNT; c++)
        out_printf(out, "%s%s", c > 0 ? "," : "", columns[c].name);
    out_char(out, '\n');
    for (size_t i = 0; i < blocks->request_count; i++) {
        for (size_t k = blocks->first[i]; k < blocks->first[i + 1]; k++) {
            out_int(out, id_of(workload, i));
            out_char(out, ',');
            out_int(out, (int64_t)(k - blocks->first[i]));
            out_char(out, ',');
            out_int(out, blocks->chains[k]);
            out_char(out, '\n');
        }
    }
}
