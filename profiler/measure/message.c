/* message.c - sending a batch, and keeping what arrived. */
#include "profiler/measure/message.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>

void message_put_text(struct message *message, const char *text)
{
    size_t length = strlen(text);

    if (length >= sizeof(message->body.text))
        length = sizeof(message->body.text) - 1;
    memcpy(message->body.text, text, length);
    message->body.text[length] = '\0';
}

bool message_send(int fd, const struct message_batch *batch)
{
    const char *at = (const char *)batch->items;
    size_t left = (size_t)batch->count * sizeof(batch->items[0]);

    while (left > 0) {
        ssize_t sent = write(fd, at, left);

        if (sent < 0 && errno != EINTR)
            return false;
        if (sent > 0) {
            at += sent;
            left -= (size_t)sent;
        }
    }
    return true;
}

static void keep_count(struct store *store, const struct message *message)
{
    int row = store->row_of[message->index][message->op];

    if (row < 0)
        return;
    int64_t *sum = &store->rows[row].counted[message->counter];
    /* no real counter comes near: what it says is worth nothing, then */
    if (message->ns < 0 || __builtin_add_overflow(*sum, message->ns, sum)) {
        *sum = 0;
        store->counter_reason[message->counter] = "value_out_of_range";
        return;
    }
    store->rows[row].counted_calls[message->counter]++;
}

static void keep_energy(struct store *store, const struct message *message)
{
    int row = store->row_of[message->index][message->op];

    if (row < 0)
        return;
    if (message->ns >= 0)
        store->rows[row].energy_uj = message->ns;
    else
        store->rows[row].energy_reason = arena_strdup(store->arena, message->body.text);
}

bool message_apply(struct store *store, int proc, const struct message *message, struct err *err)
{
    struct sample sample = { message->ns,    message->cpu_ns,   proc,
                             message->round, message->is_dirty, false };
    int row;

    switch (message->kind) {
    case MESSAGE_SAMPLE:
        row = store->row_of[message->index][message->op];
        if (row >= 0)
            samples_add(store->arena, &store->rows[row].samples, sample);
        return true;
    case MESSAGE_ANCHOR:
        samples_add(store->arena, &store->anchors[message->index].samples, sample);
        return true;
    case MESSAGE_ROUND:
        store_add_round(store, message->body.round);
        return true;
    case MESSAGE_COUNT:
        keep_count(store, message);
        return true;
    case MESSAGE_REASON:
        store->counter_reason[message->index] = arena_strdup(store->arena, message->body.text);
        return true;
    case MESSAGE_STAMP:
        store->stamp_ps = 1000 * message->ns;
        return true;
    case MESSAGE_SUSTAINED:
        store->is_sustained = true;
        return true;
    case MESSAGE_ENERGY:
        keep_energy(store, message);
        return true;
    case MESSAGE_STATE: /* the parent alone wants to know */
    case MESSAGE_SCOUT:
    case MESSAGE_SLOW:
        return true;
    case MESSAGE_FAILED:
        return err_set(err, ERR_SYSTEM, "%s", message->body.text);
    }
    return true;
}
