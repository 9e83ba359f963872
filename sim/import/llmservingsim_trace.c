/* llmservingsim_trace.c - a request trace of LLMServingSim: a JSON object a line with
 * arrival_time_ns, input_toks and output_toks, and input_tok_ids and output_tok_ids where token ids
 * are kept. Blocks of tokens are compared with all that stands before them. */
#include "lib/base/arena.h"
#include "lib/base/dist.h"
#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/json.h"
#include "lib/base/lines.h"
#include "lib/base/units.h"
#include "sim/import/llmservingsim.h"
#include <stdlib.h>
#include <string.h>

struct request {
    int64_t arrival_ps;
    int32_t prompt_tokens, output_tokens;
    int32_t block_count;
    int32_t *chains;
    long line;
};

struct chain {      /* a block of tokens behind another */
    int32_t before; /* -1 = none */
    const int64_t *ids;
};

struct trace {
    struct import_job *job;
    const char *path;
    int32_t block_tokens;
    size_t count, room;
    struct request *requests;
    bool has_ids;
    int32_t chain_count, chain_room;
    struct chain *chains;
    int32_t *slots; /* numbers of chains by hash, -1 = free */
    size_t slot_count;
};

/* ---- chains ---- */

static size_t slot_of(const struct trace *trace, int32_t before, const int64_t *ids)
{
    size_t bytes = (size_t)trace->block_tokens * sizeof *ids;
    uint64_t hash = hash_bytes(HASH_START, &before, sizeof before);
    size_t mask = trace->slot_count - 1, slot = (size_t)hash_bytes(hash, ids, bytes) & mask;

    for (; trace->slots[slot] >= 0; slot = (slot + 1) & mask) {
        const struct chain *chain = &trace->chains[trace->slots[slot]];

        if (chain->before == before && memcmp(chain->ids, ids, bytes) == 0)
            break;
    }
    return slot;
}

static void make_room(struct trace *trace)
{
    struct arena *arena = trace->job->arena;

    if (trace->chain_count == trace->chain_room) {
        int32_t room = trace->chain_room > 0 ? 2 * trace->chain_room : 1024;

        trace->chains = arena_grow(arena, trace->chains, (size_t)trace->chain_room, (size_t)room,
                                   sizeof *trace->chains);
        trace->chain_room = room;
        trace->slot_count = 2 * (size_t)room;
        trace->slots = arena_array(arena, trace->slot_count, sizeof *trace->slots);
        memset(trace->slots, 0xff, trace->slot_count * sizeof *trace->slots);
        for (int32_t i = 0; i < trace->chain_count; i++)
            trace->slots[slot_of(trace, trace->chains[i].before, trace->chains[i].ids)] = i;
    }
}

static int32_t chain_put(struct trace *trace, int32_t before, const int64_t *ids)
{
    size_t slot;

    make_room(trace);
    slot = slot_of(trace, before, ids);
    if (trace->slots[slot] < 0) {
        trace->chains[trace->chain_count] = (struct chain){ before, ids };
        trace->slots[slot] = trace->chain_count++;
    }
    return trace->slots[slot];
}

/* ---- lines ---- */

static bool bad(const struct trace *trace, long line, struct err *err, const char *key,
                const char *expected)
{
    return err_at(err, trace->path, line, 0, "%s: expected %s", key, expected);
}

static bool read_int(const struct trace *trace, const struct json *object, const char *key,
                     int64_t min, int64_t max, int64_t *value, long line, struct err *err)
{
    const struct json *member = json_get(object, key);

    if (member && json_int(member, value) && *value >= min && *value <= max)
        return true;
    return bad(trace, line, err, key, "a whole number in range");
}

/* Appends the ids of a list; false when it is no list of so many. */
static bool read_ids(const struct json *list, int32_t expected, int64_t *ids)
{
    if (json_count(list) != expected)
        return false;
    for (int i = 0; i < expected; i++)
        if (!json_int(json_at(list, i), &ids[i]))
            return false;
    return true;
}

/* A request without ids of its output shares the blocks of its prompt alone. */
static bool read_chains(struct trace *trace, const struct json *object, struct request *request,
                        struct err *err)
{
    const struct json *prompt = json_get(object, "input_tok_ids");
    const struct json *output = json_get(object, "output_tok_ids");
    int64_t total = (int64_t)request->prompt_tokens + (output ? request->output_tokens : 0);
    int64_t *ids;

    if (!prompt)
        return true;
    ids = arena_array(trace->job->arena, (size_t)total, sizeof *ids);
    if (!read_ids(prompt, request->prompt_tokens, ids))
        return bad(trace, request->line, err, "input_tok_ids",
                   "a list of input_toks whole numbers");
    if (output && !read_ids(output, request->output_tokens, ids + request->prompt_tokens))
        return bad(trace, request->line, err, "output_tok_ids",
                   "a list of output_toks whole numbers");
    trace->has_ids = true;
    request->block_count = (int32_t)(total / trace->block_tokens);
    request->chains =
        arena_array(trace->job->arena, (size_t)request->block_count, sizeof *request->chains);
    for (int32_t i = 0; i < request->block_count; i++)
        request->chains[i] = chain_put(trace, i > 0 ? request->chains[i - 1] : -1,
                                       ids + (ptrdiff_t)i * trace->block_tokens);
    return true;
}

static bool read_line(struct trace *trace, const struct json *object, long line, struct err *err)
{
    struct request request = { .line = line };
    int64_t arrival_ns = 0, prompt = 0, output = 0;

    if (!json_is_object(object))
        return err_at(err, trace->path, line, 0, "expected an object");
    if (!read_int(trace, object, "arrival_time_ns", 0, UNITS_MAX_PS / UNITS_PS_PER_NS, &arrival_ns,
                  line, err) ||
        !read_int(trace, object, "input_toks", 1, DIST_MAX_TOKENS, &prompt, line, err) ||
        !read_int(trace, object, "output_toks", 1, DIST_MAX_TOKENS, &output, line, err))
        return false;
    request.arrival_ps = arrival_ns * UNITS_PS_PER_NS;
    request.prompt_tokens = (int32_t)prompt;
    request.output_tokens = (int32_t)output;
    if (!read_chains(trace, object, &request, err))
        return false;
    if (trace->count == trace->room) {
        size_t room = trace->room > 0 ? 2 * trace->room : 256;

        trace->requests = arena_grow(trace->job->arena, trace->requests, trace->room, room,
                                     sizeof *trace->requests);
        trace->room = room;
    }
    trace->requests[trace->count++] = request;
    return true;
}

static bool read_lines(struct trace *trace, struct err *err)
{
    struct lines *lines = lines_open(trace->job->arena, trace->path, err);

    for (char *text; lines && (text = lines_next(lines, err)) != NULL;) {
        /* Documents are dropped line by line. */
        struct arena *arena = arena_create();
        const char *place = arena_printf(arena, "%s:%ld", lines_path(lines), lines_number(lines));
        bool ok = true;

        if (text[strspn(text, " \t")] != '\0') {
            const struct json *object = json_parse(arena, text, place, err);

            ok = object && read_line(trace, object, lines_number(lines), err);
        }
        arena_destroy(arena);
        if (!ok)
            break;
    }
    if (lines)
        lines_close(lines);
    return err->kind == ERR_NONE &&
           (trace->count > 0 || err_at(err, trace->path, 0, 0, "no requests"));
}

/* ---- tables ---- */

static int compare_requests(const void *left, const void *right)
{
    const struct request *a = left, *b = right;

    if (a->arrival_ps != b->arrival_ps)
        return a->arrival_ps < b->arrival_ps ? -1 : 1;
    return a->line < b->line ? -1 : a->line > b->line;
}

static struct prefix_blocks *blocks_of(const struct trace *trace)
{
    struct arena *arena = trace->job->arena;
    struct prefix_blocks *blocks = arena_alloc(arena, sizeof *blocks);
    size_t *first = arena_array(arena, trace->count + 1, sizeof *first);
    int32_t *chains;

    for (size_t i = 0; i < trace->count; i++)
        first[i + 1] = first[i] + (size_t)trace->requests[i].block_count;
    chains = arena_array(arena, first[trace->count], sizeof *chains);
    for (size_t i = 0; i < trace->count; i++)
        for (int32_t k = 0; k < trace->requests[i].block_count; k++)
            chains[first[i] + (size_t)k] = trace->requests[i].chains[k];
    *blocks = (struct prefix_blocks){ trace->path, trace->count,       first,
                                      chains,      trace->chain_count, trace->block_tokens };
    return blocks;
}

struct workload *llmservingsim_read_trace(struct import_job *job, const char *path,
                                          const char *service, int32_t block_tokens,
                                          struct prefix_blocks **blocks, struct err *err)
{
    struct trace trace = { .job = job, .path = path, .block_tokens = block_tokens };
    struct workload_builder *builder;
    struct workload_request row = { .client = -1, .session = -1, .batch = 1 };

    if (!read_lines(&trace, err) || trace.count == 0)
        return NULL;
    qsort(trace.requests, trace.count, sizeof *trace.requests, compare_requests);
    builder = workload_build(job->arena, path);
    row.service = workload_builder_service(builder, service);
    for (size_t i = 0; i < trace.count; i++) {
        row.request_id = (int64_t)i;
        row.arrival_ps = trace.requests[i].arrival_ps;
        row.prompt_tokens = trace.requests[i].prompt_tokens;
        row.output_tokens = trace.requests[i].output_tokens;
        workload_builder_add(builder, &row);
    }
    *blocks = trace.has_ids ? blocks_of(&trace) : NULL;
    return workload_builder_finish(builder);
}
