/* records.c - growing lists of steps and messages, and their order. */
#include "runner/load/records.h"

#include "lib/base/arena.h"
#include "runner/load/serve.h"
#include <stdlib.h>

#define FIRST_ROOM 1024

static size_t wider(size_t room)
{
    return room > 0 ? 2 * room : FIRST_ROOM;
}

void records_keep(struct arena *arena, struct serve_run *run, const struct serve_record *record)
{
    if (run->record_count == run->record_room) {
        run->records = arena_grow(arena, run->records, run->record_room, wider(run->record_room),
                                  sizeof *run->records);
        run->record_room = wider(run->record_room);
    }
    run->records[run->record_count++] = *record;
    run->late_count += record->is_late;
}

void records_keep_result(struct arena *arena, struct serve_run *run,
                         const struct serve_record *result)
{
    if (run->result_count == run->result_room) {
        run->results = arena_grow(arena, run->results, run->result_room, wider(run->result_room),
                                  sizeof *run->results);
        run->result_room = wider(run->result_room);
    }
    run->results[run->result_count++] = *result;
}

void records_keep_exchange(struct arena *arena, struct serve_run *run,
                           const struct serve_exchange *exchange)
{
    if (run->exchange_count == run->exchange_room) {
        run->exchanges = arena_grow(arena, run->exchanges, run->exchange_room,
                                    wider(run->exchange_room), sizeof *run->exchanges);
        run->exchange_room = wider(run->exchange_room);
    }
    run->exchanges[run->exchange_count++] = *exchange;
}

static int compare_records(const void *a, const void *b)
{
    const struct serve_record *x = a, *y = b;

    if (x->request != y->request)
        return x->request < y->request ? -1 : 1;
    if (x->step != y->step)
        return x->step < y->step ? -1 : 1;
    if (x->stage != y->stage)
        return x->stage < y->stage ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

static int compare_exchanges(const void *a, const void *b)
{
    const struct serve_exchange *x = a, *y = b;

    if (x->request != y->request)
        return x->request < y->request ? -1 : 1;
    if (x->step != y->step)
        return x->step < y->step ? -1 : 1;
    if (x->stage != y->stage)
        return x->stage < y->stage ? -1 : 1;
    if (x->receive_ps != y->receive_ps)
        return x->receive_ps < y->receive_ps ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return (x->to > y->to) - (x->to < y->to);
}

void records_sort(struct serve_run *run)
{
    if (run->record_count > 0)
        qsort(run->records, run->record_count, sizeof *run->records, compare_records);
    if (run->result_count > 0)
        qsort(run->results, run->result_count, sizeof *run->results, compare_records);
    if (run->exchange_count > 0)
        qsort(run->exchanges, run->exchange_count, sizeof *run->exchanges, compare_exchanges);
}
