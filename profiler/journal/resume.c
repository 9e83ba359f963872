/* resume.c - points by shape in the journal, by index in the stores. */
#include "profiler/journal/resume.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "profiler/journal/identity.h"
#include "profiler/journal/journal.h"
#include "profiler/measure/measure.h"
#include "profiler/measure/message.h"
#include "profiler/measure/store.h"
#include <string.h>

static bool point_of(void *arg, int variant, enum message_kind kind, int index, struct point *point)
{
    const struct measure *measure = arg;
    const struct store *store = measure->stores[variant];

    if (index < 0 || index >= (kind == MESSAGE_ANCHOR ? store->anchor_count : store->point_count))
        return false;
    *point = kind == MESSAGE_ANCHOR ? store->anchors[index].point : store->points[index];
    return true;
}

static int index_of(void *arg, int variant, enum message_kind kind, const struct point *point)
{
    const struct measure *measure = arg;
    struct store *store = measure->stores[variant];

    if (kind == MESSAGE_ANCHOR)
        return store_find_anchor(store, point);
    /* what the grid does not have was added where it interpolated badly */
    return store_add_point(store, point, false);
}

static bool apply(void *arg, int variant, int proc, const struct message *message, struct err *err)
{
    struct measure *measure = arg;

    if (message->kind == MESSAGE_SCOUT)
        measure->on_scout(measure->arg, variant, message->round, message->ns);
    if (message->kind == MESSAGE_STATE)
        measure->counter_state = arena_strdup(measure->stores[variant]->arena, message->body.text);
    return message_apply(measure->stores[variant], proc, message, err);
}

bool resume_open(struct arena *arena, struct measure *measure, const char *folder,
                 const struct identity *identity, bool is_resumed, struct err *err)
{
    const struct journal_places places = { measure->store_count, point_of, index_of, measure };

    measure->journal = is_resumed
                           ? journal_resume(arena, folder, identity, &places, apply, measure, err)
                           : journal_begin(arena, folder, identity, &places, err);
    return measure->journal;
}

void resume_leave(struct measure *measure, struct err *err)
{
    struct journal *journal = measure->journal;
    const struct err failure = *err;

    if (journal && journal_sample_count(journal) > 0) {
        *err = (struct err)ERR_INIT;
        err_set(err, failure.kind,
                "%s; %lld samples are kept in %s: the same command with --resume goes on",
                failure.text, (long long)journal_sample_count(journal), journal_path(journal));
        journal_close(journal);
        return;
    }
    journal_remove(journal);
    if (strcmp(failure.text, "interrupted") == 0) {
        *err = (struct err)ERR_INIT;
        err_set(err, failure.kind, "%s: nothing was written", failure.text);
    }
}
