/* batch.c - a first-in first-out queue in a ring that doubles when it is full, and how a batch of
 * fixed sizes grows. */
#include "lib/policy/batch.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/ring.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

const char *const batch_names[BATCH_KIND_COUNT] = {
    [BATCH_NONE] = "none",
    [BATCH_FIXED] = "fixed",
    [BATCH_CONTINUOUS] = "continuous",
};

/* ---- the command line ---- */

#define MAX_TEXT 128
#define MAX_FIELDS 3

/* Cuts text at its colons; more than MAX_FIELDS are counted and left out. */
static int split(char *text, const char *fields[MAX_FIELDS])
{
    int count = 0;

    for (char *at = text; at;) {
        char *colon = strchr(at, ':');

        if (colon)
            *colon++ = '\0';
        if (count < MAX_FIELDS)
            fields[count] = at;
        count++;
        at = colon;
    }
    return count;
}

static bool parse_count(const char *text, int32_t *value)
{
    int64_t number;

    if (!units_parse_int(text, &number) || number < 1 || number > INT32_MAX)
        return false;
    *value = (int32_t)number;
    return true;
}

static bool bad(const char *text, const char *expected, struct err *err)
{
    return err_set(err, ERR_USAGE, "--batch is '%.100s': expected %s", text, expected);
}

static bool parse_fields(const char *const *fields, int count, const char *text,
                         struct batch_options *options, struct err *err)
{
    static const char *const forms[BATCH_KIND_COUNT] = {
        [BATCH_NONE] = "none alone",
        [BATCH_FIXED] =
            "fixed:N or fixed:N:WAIT: N items, a whole number from 1, and WAIT a duration "
            "such as 5ms",
        [BATCH_CONTINUOUS] =
            "continuous:MAX_SEQS or continuous:MAX_SEQS:TOKEN_BUDGET, whole numbers "
            "from 1",
    };
    bool ok = false;

    assert(options->kind < BATCH_KIND_COUNT);
    switch (options->kind) {
    case BATCH_NONE:
        ok = count == 1;
        break;
    case BATCH_FIXED:
        ok = count >= 2 && count <= 3 && parse_count(fields[1], &options->max_size) &&
             (count < 3 ||
              (units_parse_duration(fields[2], &options->wait_ps) && options->wait_ps >= 0));
        break;
    case BATCH_CONTINUOUS:
        ok = count >= 2 && count <= 3 && parse_count(fields[1], &options->max_seqs) &&
             (count < 3 || parse_count(fields[2], &options->token_budget));
        break;
    case BATCH_KIND_COUNT:
        break;
    }
    return ok || bad(text, forms[options->kind], err);
}

bool batch_parse(const char *text, struct batch_options *options, struct err *err)
{
    char copy[MAX_TEXT], choices[ERR_CHOICES_BYTES];
    const char *fields[MAX_FIELDS] = { NULL };
    int count, kind = 0;

    *options = (struct batch_options){ .kind = BATCH_NONE };
    (void)snprintf(copy, sizeof copy, "%s", text);
    count = strlen(text) < sizeof copy ? split(copy, fields) : 0;
    while (count > 0 && kind < BATCH_KIND_COUNT && strcmp(fields[0], batch_names[kind]) != 0)
        kind++;
    if (count == 0 || kind == BATCH_KIND_COUNT)
        return bad(text,
                   err_choices(count > 0 ? fields[0] : "", batch_names, BATCH_KIND_COUNT, choices) +
                       strlen("expected "),
                   err);
    options->kind = (enum batch_kind)kind;
    return parse_fields(fields, count, text, options, err);
}

/* ---- fixed ---- */

struct prefix { /* the oldest requests of a queue */
    int64_t count, items;
};

/* As many more of the requests as fit into size. */
static struct prefix prefix_grow(struct prefix prefix, const struct batch_ask *ask, int32_t size)
{
    if (!ask->items_at) {
        prefix.count = prefix.items = size < ask->count ? size : ask->count;
        return prefix;
    }
    while (prefix.count < ask->count) {
        int64_t items = prefix.items + ask->items_at(ask->arg, prefix.count);

        if (items > size)
            break;
        prefix.items = items;
        prefix.count++;
    }
    return prefix;
}

/* Whether the head waits for others, until when; its batch alone would be done at finish_ps. */
static bool does_wait(const struct batch_options *options, const struct batch_ask *ask,
                      int64_t finish_ps, int64_t *until_ps)
{
    *until_ps = saturate_add(ask->arrival_ps, options->wait_ps);
    if (options->wait_ps == 0 || *until_ps <= ask->now_ps ||
        ask->items >= ask->sizes[ask->size_count - 1])
        return false;
    return finish_ps > ask->deadline_ps || ask->deadline_ps == BATCH_NEVER ||
           saturate_add(finish_ps, *until_ps - ask->now_ps) <= ask->deadline_ps;
}

struct batch_decision batch_decide(const struct batch_options *options, const struct batch_ask *ask)
{
    int32_t head_items = ask->items_at ? ask->items_at(ask->arg, 0) : 1;
    struct batch_decision decision = { .action = BATCH_TAKE };
    int64_t finish_ps, limit_ps = ask->deadline_ps;
    struct prefix taken = { 0 };
    int at = 0;

    assert(options->kind == BATCH_FIXED && ask->count >= 1 && ask->size_count >= 1);
    while (ask->sizes[at] < head_items) {
        at++;
        assert(at < ask->size_count);
    }
    finish_ps = ask->finish_ps(ask->arg, ask->sizes[at]);
    if (finish_ps > limit_ps && ask->does_drop)
        return (struct batch_decision){ .action = BATCH_DROP, .count = 1 };
    if (does_wait(options, ask, finish_ps, &decision.until_ps)) {
        decision.action = BATCH_WAIT;
        return decision;
    }
    if (finish_ps > limit_ps)
        limit_ps = BATCH_NEVER;
    decision.size = ask->sizes[at];
    taken = prefix_grow(taken, ask, decision.size);
    decision.count = taken.count;
    while (++at < ask->size_count && ask->items >= ask->sizes[at]) {
        taken = prefix_grow(taken, ask, ask->sizes[at]);
        if (taken.items < ask->sizes[at])
            continue;
        if (limit_ps < BATCH_NEVER && ask->finish_ps(ask->arg, ask->sizes[at]) > limit_ps)
            break;
        decision.size = ask->sizes[at];
        decision.count = taken.count;
    }
    return decision;
}

int batch_size_count(int32_t max_size, const int32_t *sizes, int count)
{
    while (count > 0 && sizes[count - 1] > max_size)
        count--;
    return count;
}

int batch_oldest(const int64_t *heads_ps, int count)
{
    int oldest = -1;
    int64_t oldest_ps = BATCH_NEVER;

    for (int i = 0; i < count; i++) {
        if (heads_ps[i] >= oldest_ps)
            continue;
        oldest = i;
        oldest_ps = heads_ps[i];
    }
    return oldest;
}

/* ---- the queue ---- */

struct batch_queue {
    struct arena *arena;
    struct ring jobs;
};

struct batch_queue *batch_queue_create(struct arena *arena, enum batch_kind kind)
{
    struct batch_queue *queue = arena_alloc(arena, sizeof *queue);

    assert(kind < BATCH_KIND_COUNT); /* of all kinds the oldest leaves first */
    queue->arena = arena;
    return queue;
}

void batch_push(struct batch_queue *queue, int32_t job)
{
    assert(job >= 0); /* -1 stands for an empty queue */
    ring_push(&queue->jobs, queue->arena, job);
}

int32_t batch_peek(const struct batch_queue *queue)
{
    return ring_peek(&queue->jobs);
}

int32_t batch_take(struct batch_queue *queue)
{
    return queue->jobs.count > 0 ? ring_take(&queue->jobs) : -1;
}

int32_t batch_at(const struct batch_queue *queue, int64_t position)
{
    assert(position >= 0 && position < (int64_t)queue->jobs.count);
    return ring_at(&queue->jobs, (uint32_t)position);
}

int64_t batch_length(const struct batch_queue *queue)
{
    return (int64_t)queue->jobs.count;
}

void batch_remove(struct batch_queue *queue, bool (*gone)(void *arg, int32_t job), void *arg)
{
    for (uint32_t left = queue->jobs.count; left > 0; left--) {
        int32_t job = ring_take(&queue->jobs);

        if (!gone(arg, job))
            ring_push(&queue->jobs, queue->arena, job);
    }
}
