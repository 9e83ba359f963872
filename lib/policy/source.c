/* source.c - merges the sorted open rows with a heap of rows that have waited for others.
 *
 * A row waits for at most two: its client's previous row and its session's. Both come earlier in
 * the file, so no circle of waiting can arise. Each operation is O(log n) in the
 * rows that are known and not taken: about one a client and one a session. */
#include "lib/policy/source.h"

#include "lib/base/arena.h"
#include "lib/format/workload.h"
#include <assert.h>

#define NO_ROW SIZE_MAX

struct row {
    size_t client_next, session_next; /* rows that wait for this one; NO_ROW = none */
    int64_t ready_ps;                 /* earliest arrival as far as known */
    int8_t waits;                     /* rows that it still waits for */
    bool is_open;                     /* in the sorted stream: has a time and waits for nobody */
};

struct waiting {
    int64_t arrival_ps;
    size_t request;
};

struct source {
    const struct workload *workload;
    struct row *rows; /* NULL when there is neither a client nor a session: all rows are open */
    size_t next_open; /* first open row that is not taken; count when there is none */
    size_t left;
    struct waiting *heap; /* by arrival, then file order */
    size_t heap_length;   /* at most every row once */
};

static bool is_before(const struct waiting *a, const struct waiting *b)
{
    if (a->arrival_ps != b->arrival_ps)
        return a->arrival_ps < b->arrival_ps;
    return a->request < b->request;
}

static void push(struct source *source, size_t request)
{
    struct waiting item = { source->rows[request].ready_ps, request };
    size_t at = source->heap_length++;

    for (; at > 0 && is_before(&item, &source->heap[(at - 1) / 2]); at = (at - 1) / 2)
        source->heap[at] = source->heap[(at - 1) / 2];
    source->heap[at] = item;
}

static struct waiting pop(struct source *source)
{
    struct waiting first = source->heap[0], item = source->heap[--source->heap_length];
    size_t at = 0, child;

    while ((child = 2 * at + 1) < source->heap_length) {
        if (child + 1 < source->heap_length &&
            is_before(&source->heap[child + 1], &source->heap[child]))
            child++;
        if (!is_before(&source->heap[child], &item))
            break;
        source->heap[at] = source->heap[child];
        at = child;
    }
    source->heap[at] = item;
    return first;
}

static void skip_to_open(struct source *source)
{
    if (source->rows)
        while (source->next_open < source->workload->count &&
               !source->rows[source->next_open].is_open)
            source->next_open++;
}

/* A sum of times that saturates below SOURCE_NEVER. */
static int64_t later_ps(int64_t now_ps, int64_t think_ps)
{
    return now_ps > SOURCE_NEVER - 1 - think_ps ? SOURCE_NEVER - 1 : now_ps + think_ps;
}

/* Makes row i the last of its client or session, and links it behind the previous one if it
 * waits for it. */
static void link_row(struct row *rows, size_t *last, size_t i, bool does_wait, bool is_session)
{
    size_t previous = *last;

    *last = i;
    if (previous == NO_ROW || !does_wait)
        return;
    rows[i].waits++;
    if (is_session)
        rows[previous].session_next = i;
    else
        rows[previous].client_next = i;
}

static int64_t think_of(const struct workload *workload, size_t i)
{
    return workload->thinks_ps ? workload->thinks_ps[i] : 0;
}

static void link_rows(struct source *source, size_t *last_of_client, size_t *last_of_session)
{
    const struct workload *workload = source->workload;

    for (size_t i = 0; i < workload->count; i++) {
        int64_t arrival_ps = workload->arrivals_ps[i];
        struct row *row = &source->rows[i];
        bool has_time = arrival_ps != WORKLOAD_CLOSED;

        row->client_next = row->session_next = NO_ROW;
        row->ready_ps = has_time ? arrival_ps : 0;
        if (workload->client_ids && workload->client_ids[i] >= 0)
            link_row(source->rows, &last_of_client[workload->client_ids[i]], i, !has_time, false);
        if (workload->session_ids && workload->session_ids[i] >= 0)
            link_row(source->rows, &last_of_session[workload->session_ids[i]], i, true, true);
        row->is_open = has_time && row->waits == 0;
        if (row->waits > 0 || row->is_open)
            continue;
        row->ready_ps = think_of(workload, i);
        push(source, i);
    }
}

static size_t *new_ends(struct arena *arena, int count)
{
    size_t *ends = arena_array(arena, (size_t)count, sizeof *ends);

    for (int i = 0; i < count; i++)
        ends[i] = NO_ROW;
    return ends;
}

struct source *source_create(struct arena *arena, const struct workload *workload)
{
    struct source *source = arena_alloc(arena, sizeof *source);

    source->workload = workload;
    source->left = workload->count;
    if (workload->client_ids || workload->session_ids) {
        source->heap = arena_array(arena, workload->count, sizeof *source->heap);
        source->rows = arena_array(arena, workload->count, sizeof *source->rows);
        link_rows(source, new_ends(arena, workload->client_count),
                  new_ends(arena, workload->session_count));
    }
    skip_to_open(source);
    return source;
}

static bool has_open(const struct source *source)
{
    return source->next_open < source->workload->count;
}

static int64_t open_ps(const struct source *source)
{
    return has_open(source) ? source->workload->arrivals_ps[source->next_open] : SOURCE_NEVER;
}

int64_t source_peek_ps(const struct source *source)
{
    int64_t time_ps = open_ps(source);

    if (source->heap_length > 0 && source->heap[0].arrival_ps < time_ps)
        time_ps = source->heap[0].arrival_ps;
    return time_ps;
}

size_t source_take(struct source *source, int64_t *arrival_ps)
{
    size_t request = source->next_open;

    assert(source_peek_ps(source) != SOURCE_NEVER);
    source->left--;
    if (source->heap_length > 0 && source->heap[0].arrival_ps < open_ps(source)) {
        struct waiting item = pop(source);

        *arrival_ps = item.arrival_ps;
        return item.request;
    }
    *arrival_ps = open_ps(source);
    source->next_open++;
    skip_to_open(source);
    return request;
}

/* One of the rows that `request` waits for has ended. */
static void release(struct source *source, size_t request, int64_t now_ps)
{
    struct row *row = &source->rows[request];
    int64_t after_ps = later_ps(now_ps, think_of(source->workload, request));

    assert(row->waits > 0);
    if (after_ps > row->ready_ps)
        row->ready_ps = after_ps;
    if (--row->waits == 0)
        push(source, request);
}

void source_ended(struct source *source, size_t request, int64_t now_ps)
{
    const struct row *row;

    assert(request < source->workload->count);
    if (!source->rows)
        return;
    row = &source->rows[request];
    if (row->client_next != NO_ROW)
        release(source, row->client_next, now_ps);
    if (row->session_next != NO_ROW)
        release(source, row->session_next, now_ps);
}

size_t source_left(const struct source *source)
{
    return source->left;
}
