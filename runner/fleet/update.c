/* update.c - another placement for a run that goes on, as far as workers are concerned. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "runner/fleet/assign.h"
#include "runner/fleet/internal.h"
#include "runner/setup/setup.h"
#include <assert.h>
#include <stdio.h>
#include <string.h>

static void tell(struct fleet *fleet, const struct channel_peer *to, bool is_taken,
                 const char *line)
{
    const struct setup_answer said = { .is_taken = is_taken, .line = line };
    const char *text = setup_encode_answer(fleet->arena, &said);
    struct frame frame = { .type = FRAME_UPDATE, .payload_bytes = (int64_t)strlen(text) };
    struct err ignored = ERR_INIT; /* who has asked may have left */

    channel_send(fleet->router, to, &frame, text, &ignored);
}

static void on_question(struct fleet *fleet, const struct channel_message *message)
{
    struct err err = ERR_INIT;
    const char *path, *text;

    if (!fleet->has_begun || fleet->update.asker.count > 0) {
        tell(fleet, &message->from, false,
             fleet->has_begun ? "another update is under way" : "the load has not begun");
        return;
    }
    if (message->frame.payload_bytes > SETUP_MAX_UPDATE_BYTES ||
        !setup_decode_update(fleet->arena, message->payload, (size_t)message->frame.payload_bytes,
                             &path, &text, &err)) {
        tell(fleet, &message->from, false, err.text);
        return;
    }
    fleet->update.asker = message->from;
    fleet->update.path = path;
    fleet->update.text = text;
    fleet->update.trouble[0] = '\0';
}

static void on_answer(struct fleet *fleet, struct fleet_worker *worker,
                      const struct channel_message *message)
{
    struct setup_answer answer;
    struct err err = ERR_INIT;

    if (!worker->is_loading)
        return;
    worker->is_loading = false;
    if (!setup_decode_answer(fleet->arena, message->payload, (size_t)message->frame.payload_bytes,
                             &answer, &err))
        answer = (struct setup_answer){ .line = err.text };
    worker->added_bytes = answer.weight_bytes;
    if (!answer.is_taken && fleet->update.trouble[0] == '\0')
        snprintf(fleet->update.trouble, sizeof fleet->update.trouble, "device '%s': %s",
                 worker->device, answer.line);
}

void fleet_on_update(struct fleet *fleet, int worker, const struct channel_message *message)
{
    if (worker < 0)
        on_question(fleet, message);
    else
        on_answer(fleet, &fleet->workers[worker], message);
}

bool fleet_take_update(struct fleet *fleet, const char **path, const char **text)
{
    if (!fleet->update.text)
        return false;
    *path = fleet->update.path;
    *text = fleet->update.text;
    fleet->update.text = NULL;
    return true;
}

/* Those that the worker does not know yet. */
static void offer_new_peers(struct fleet *fleet, int number, const struct assignment *all)
{
    size_t room = (size_t)fleet->count;
    int32_t *known = arena_array(fleet->arena, room, sizeof *known);
    int32_t *wanted = arena_array(fleet->arena, room, sizeof *wanted);
    struct setup_peer *peers = arena_array(fleet->arena, room, sizeof *peers);
    int known_count = assign_peers(fleet->assignment, number, known), count = 0;
    int wanted_count = assign_peers(all, number, wanted);

    for (int i = 0; i < wanted_count; i++) {
        bool is_known = false;

        for (int k = 0; k < known_count && !is_known; k++)
            is_known = known[k] == wanted[i];
        if (!is_known)
            peers[count++] = (struct setup_peer){ wanted[i], fleet->workers[wanted[i]].endpoint };
    }
    if (count > 0)
        fleet_tell(fleet, &fleet->workers[number], FRAME_PEERS, 0,
                   setup_encode_peers(fleet->arena, peers, count));
}

bool fleet_begin_update(struct fleet *fleet, const struct assignment *added,
                        const struct assignment *all, int64_t number, struct err *err)
{
    if (assign_told_bytes(all) > fleet->told_bytes)
        return err_set(err, ERR_INPUT,
                       "its workers would tell of more messages at once than this run takes");
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state != FLEET_UP || fleet->workers[i].is_returning)
            return err_set(err, ERR_SYSTEM, "the worker of device '%s' is not up",
                           fleet->workers[i].device);
    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];

        worker->added_bytes = 0;
        worker->is_loading = added->setups[i].stage_count > 0;
        if (!worker->is_loading)
            continue;
        added->setups[i].session = worker->session;
        offer_new_peers(fleet, i, all);
        fleet_tell(fleet, worker, FRAME_UPDATE, number,
                   setup_encode(fleet->arena, &added->setups[i]));
    }
    return true;
}

enum fleet_progress fleet_look_update(struct fleet *fleet)
{
    bool is_loading = false;

    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];

        if ((worker->state != FLEET_UP || worker->is_returning) && fleet->update.trouble[0] == '\0')
            snprintf(fleet->update.trouble, sizeof fleet->update.trouble,
                     "the worker of device '%s' was lost meanwhile", worker->device);
        if (worker->state != FLEET_UP || worker->is_returning)
            worker->is_loading = false;
        is_loading = is_loading || worker->is_loading;
    }
    /* the others answer too before the next one may begin */
    return is_loading                         ? FLEET_LOADING
           : fleet->update.trouble[0] != '\0' ? FLEET_NOT_LOADED
                                              : FLEET_LOADED;
}

/* Stages that a worker had come first, in the same order. */
static void keep_generations(const struct setup *before, struct setup *now)
{
    for (int i = 0; i < before->stage_count; i++) {
        assert(now->stages[i].id == before->stages[i].id);
        now->stages[i].generation = before->stages[i].generation;
    }
}

bool fleet_end_update(struct fleet *fleet, const struct plan *plan, const struct assignment *all,
                      struct err *err)
{
    if (!fleet_connect_first_stages(fleet, plan, err))
        return false;
    for (int i = 0; i < fleet->count; i++) {
        fleet->workers[i].weight_bytes += fleet->workers[i].added_bytes;
        all->setups[i].session = fleet->workers[i].session;
        keep_generations(&fleet->assignment->setups[i], &all->setups[i]);
    }
    fleet->assignment = all;
    return true;
}

void fleet_answer_update(struct fleet *fleet, bool is_taken, const char *line)
{
    tell(fleet, &fleet->update.asker, is_taken, line);
    fleet->update.asker.count = 0;
}
