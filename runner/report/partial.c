/* partial.c - rows of a run that goes on. */
#include "runner/report/partial.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/format/trace.h"
#include "runner/load/serve.h"
#include "runner/load/table.h"
#include "runner/report/report.h"
#include "runner/report/syncer.h"
#include <stdio.h>
#include <unistd.h>

enum file { FILE_REQUESTS, FILE_STAGES, FILE_TRANSFERS, FILE_COUNT };

struct rows { /* of a list that grows: those behind `next` are new, those held are not written yet
               */
    size_t next, held_count, held_room;
    size_t *held;
};

struct partial {
    struct arena *arena;
    const struct report_input *input;
    bool replays;
    struct out *files[FILE_COUNT]; /* NULL: none, or no longer written to: */
    bool are_cut[FILE_COUNT];      /* it could not grow, and stays as it is */
    const char *paths[FILE_COUNT];
    struct syncer *syncer;         /* NULL: no file */
    size_t next_ended, seen_ended; /* of the requests: to be written; that had ended last time */
    struct rows records, results, exchanges;
};

static const char *name_of(const struct partial *partial, int file)
{
    return arena_printf(partial->arena, "%s" REPORT_PARTIAL, partial->paths[file]);
}

static void remove_files(struct partial *partial)
{
    for (int i = 0; i < FILE_COUNT; i++) {
        out_abort(partial->files[i]);
        if (partial->are_cut[i])
            unlink(name_of(partial, i));
    }
}

static bool begin_sync(struct partial *partial, struct err *err)
{
    const char *names[FILE_COUNT];
    int count = 0;

    for (int i = 0; i < FILE_COUNT; i++)
        if (partial->files[i])
            names[count++] = name_of(partial, i);
    if (count > 0)
        partial->syncer = syncer_start(partial->arena, names, count, err);
    return count == 0 || partial->syncer;
}

struct partial *partial_open(struct arena *arena, const struct report_input *input,
                             const struct partial_paths *paths, bool replays, struct err *err)
{
    static void (*const begin[FILE_COUNT])(struct out * out, const char *const *meta) = {
        trace_requests_begin_epochs, trace_stages_begin, trace_transfers_begin
    };
    const char *const names[FILE_COUNT] = { paths->requests, paths->stages, paths->transfers };
    struct partial *partial = arena_alloc(arena, sizeof *partial);

    partial->arena = arena;
    partial->input = input;
    partial->replays = replays;
    for (int i = 0; i < FILE_COUNT; i++) {
        partial->paths[i] = names[i];
        if (names[i])
            partial->files[i] = out_open_beside(arena, names[i], REPORT_PARTIAL, err);
        if (partial->files[i])
            begin[i](partial->files[i], input->meta);
        if (err->kind != ERR_NONE || (partial->files[i] && !out_flush(partial->files[i], err))) {
            remove_files(partial);
            return NULL;
        }
    }
    if (begin_sync(partial, err))
        return partial;
    remove_files(partial);
    return NULL;
}

/* ---- rows ---- */

static void put_record(struct partial *partial, size_t index)
{
    const struct serve_record *record = &partial->input->run->records[index];

    if (partial->files[FILE_STAGES])
        report_stage(partial->input, record, partial->files[FILE_STAGES]);
    if (partial->files[FILE_TRANSFERS] && record->position == 0)
        report_input_transfer(partial->input, record, partial->files[FILE_TRANSFERS]);
}

static void put_result(struct partial *partial, size_t index)
{
    if (partial->files[FILE_TRANSFERS])
        report_result_transfer(partial->input, &partial->input->run->results[index],
                               partial->files[FILE_TRANSFERS]);
}

static void put_exchange(struct partial *partial, size_t index)
{
    if (partial->files[FILE_TRANSFERS])
        report_exchange_transfer(partial->input, &partial->input->run->exchanges[index],
                                 partial->files[FILE_TRANSFERS]);
}

static void hold(struct partial *partial, struct rows *rows, size_t index)
{
    if (rows->held_count == rows->held_room) {
        size_t room = rows->held_room > 0 ? 2 * rows->held_room : 256;

        rows->held =
            arena_grow(partial->arena, rows->held, rows->held_room, room, sizeof *rows->held);
        rows->held_room = room;
    }
    rows->held[rows->held_count++] = index;
}

/* The request of a row, and when it was received. */
struct seen {
    size_t request;
    int64_t receive_ps;
};

static struct seen seen_record(const struct serve_run *run, size_t index)
{
    return (struct seen){ run->records[index].request, run->records[index].receive_ps };
}

static struct seen seen_result(const struct serve_run *run, size_t index)
{
    return (struct seen){ run->results[index].request, run->results[index].receive_ps };
}

static struct seen seen_exchange(const struct serve_run *run, size_t index)
{
    return (struct seen){ run->exchanges[index].request, run->exchanges[index].receive_ps };
}

static void put_rows(struct partial *partial, struct rows *rows, size_t count,
                     struct seen (*seen)(const struct serve_run *run, size_t index),
                     void (*put)(struct partial *partial, size_t index))
{
    const struct serve_run *run = partial->input->run;
    size_t held_count = rows->held_count;

    rows->held_count = 0;
    for (size_t i = 0; i < held_count + count - rows->next; i++) {
        size_t index = i < held_count ? rows->held[i] : rows->next + i - held_count;
        const struct seen row = seen(run, index);
        const struct table_request *request = &run->table->requests[row.request];

        if (partial->replays && request->state != TABLE_ENDED)
            hold(partial, rows, index);
        else if (row.receive_ps >= request->begun_ps) /* else of an attempt that was replayed */
            put(partial, index);
    }
    rows->next = count;
}

/* The start of a request may be told of just after its end. */
static void put_requests(struct partial *partial)
{
    const struct table *table = partial->input->run->table;

    for (; partial->next_ended < table->ended_count; partial->next_ended++) {
        size_t index = table->ended[partial->next_ended];
        const struct table_request *request = &table->requests[index];

        if (request->status == TRACE_OK && request->start_ps == TRACE_NONE &&
            partial->next_ended >= partial->seen_ended)
            break;
        if (partial->files[FILE_REQUESTS])
            report_request(partial->input, index, true, partial->files[FILE_REQUESTS]);
    }
    partial->seen_ended = table->ended_count;
}

static void tell_unsynced(struct partial *partial, const char *then)
{
    struct err err = ERR_INIT;

    while (partial->syncer && !syncer_look(partial->syncer, &err)) {
        fprintf(stderr, "orrery-run: %s: a loss of power would take it%s\n", err.text, then);
        err = (struct err)ERR_INIT;
    }
}

void partial_look(struct partial *partial)
{
    const struct serve_run *run = partial->input->run;

    put_requests(partial);
    put_rows(partial, &partial->records, run->record_count, seen_record, put_record);
    put_rows(partial, &partial->results, run->result_count, seen_result, put_result);
    put_rows(partial, &partial->exchanges, run->exchange_count, seen_exchange, put_exchange);
    tell_unsynced(partial, ", the run goes on");
    for (int i = 0; i < FILE_COUNT; i++) {
        struct err err = ERR_INIT;

        if (!partial->files[i] || out_flush(partial->files[i], &err))
            continue;
        fprintf(stderr, "orrery-run: %s: nothing is added to it, the run goes on\n", err.text);
        out_leave(partial->files[i]);
        partial->files[i] = NULL;
        partial->are_cut[i] = true;
    }
}

/* ---- the end ---- */

/* One that the disk has not got keeps what was known of it. */
static void settle(struct partial *partial, int file)
{
    struct err err = ERR_INIT;

    if ((!partial->files[file] && !partial->are_cut[file]) ||
        syncer_settle(partial->arena, partial->paths[file], &err))
        return;
    fprintf(stderr, "orrery-run: %s: a loss of power would take it; what was known stays in %s\n",
            err.text, name_of(partial, file));
    if (partial->files[file])
        out_leave(partial->files[file]);
    partial->files[file] = NULL;
    partial->are_cut[file] = false;
}

void partial_remove(struct partial *partial)
{
    if (!partial)
        return;
    syncer_stop(partial->syncer);
    for (int i = 0; i < FILE_COUNT; i++)
        settle(partial, i);
    remove_files(partial);
}

void partial_leave(struct partial *partial)
{
    if (!partial)
        return;
    syncer_stop(partial->syncer);
    tell_unsynced(partial, "");
    for (int i = 0; i < FILE_COUNT; i++) {
        if (!partial->files[i] && !partial->are_cut[i])
            continue;
        fprintf(stderr, "orrery-run: what was known%s is in %s" REPORT_PARTIAL "\n",
                partial->are_cut[i] ? " before it could not grow" : "", partial->paths[i]);
        if (partial->files[i])
            out_leave(partial->files[i]);
    }
}
