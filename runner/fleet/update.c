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

bool fleet_begin_update(struct fleet *fleet, const struct fleet_update *update, struct err *err)
{
    if (assign_told_bytes(update->all) > fleet->told_bytes)
        return err_set(err, ERR_INPUT,
                       "its workers would tell of more messages at once than this run takes");
    for (int i = 0; i < fleet->count; i++)
        if (fleet->workers[i].state != FLEET_UP || fleet->workers[i].is_returning)
            return err_set(err, ERR_SYSTEM, "the worker of device '%s' is not up",
                           fleet->workers[i].device);
    fleet->update.added = update->added;
    fleet->update.all = update->all;
    fleet->update.number = update->number;
    fleet->update.is_told = false;
    return newcomers_invite(fleet, update->cluster, update->wait_ns, err);
}

/* Every worker listens: who has a part in the update begins to load it, or to connect. */
static void tell_all(struct fleet *fleet)
{
    const struct assignment *added = fleet->update.added;

    fleet->update.is_told = true;
    newcomers_connect(fleet);
    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];

        if (worker->is_new) {
            fleet_offer_peers(fleet, fleet->update.all, i);
            continue;
        }
        worker->added_bytes = 0;
        worker->is_loading = added->setups[i].stage_count > 0;
        if (!worker->is_loading)
            continue;
        added->setups[i].session = worker->session;
        offer_new_peers(fleet, i, fleet->update.all);
        fleet_tell(fleet, worker, FRAME_UPDATE, fleet->update.number,
                   setup_encode(fleet->arena, &added->setups[i]));
    }
}

/* The workers of the run: one that is lost is a reason not to go on. True: one is loading. */
static bool look_at_others(struct fleet *fleet)
{
    bool is_loading = false;

    for (int i = 0; i < fleet->count; i++) {
        struct fleet_worker *worker = &fleet->workers[i];

        if (worker->is_new)
            continue;
        if ((worker->state != FLEET_UP || worker->is_returning) && fleet->update.trouble[0] == '\0')
            snprintf(fleet->update.trouble, sizeof fleet->update.trouble,
                     "the worker of device '%s' was lost meanwhile", worker->device);
        if (worker->state != FLEET_UP || worker->is_returning)
            worker->is_loading = false;
        is_loading = is_loading || worker->is_loading;
    }
    return is_loading;
}

enum fleet_progress fleet_look_update(struct fleet *fleet)
{
    bool is_loading = look_at_others(fleet);
    bool are_there = newcomers_look(fleet, fleet->update.is_told ? FLEET_UP : FLEET_READY);

    if (!fleet->update.is_told && are_there && fleet->update.trouble[0] == '\0') {
        tell_all(fleet);
        return FLEET_LOADING;
    }
    if (fleet->update.is_told)
        are_there = newcomers_are_reached(fleet) && are_there;
    if (is_loading) /* the others answer too before the next one may begin */
        return FLEET_LOADING;
    if (fleet->update.trouble[0] != '\0')
        return FLEET_NOT_LOADED;
    return are_there ? FLEET_LOADED : FLEET_LOADING;
}

/* Stages that a worker had come first, in the same order. */
static void keep_generations(const struct setup *before, struct setup *now)
{
    for (int i = 0; i < before->stage_count; i++) {
        assert(now->stages[i].id == before->stages[i].id);
        now->stages[i].generation = before->stages[i].generation;
    }
}

void fleet_end_update(struct fleet *fleet)
{
    const struct assignment *all = fleet->update.all;

    newcomers_keep(fleet);
    for (int i = 0; i < fleet->count; i++) {
        fleet->workers[i].weight_bytes += fleet->workers[i].added_bytes;
        all->setups[i].session = fleet->workers[i].session;
        keep_generations(&fleet->assignment->setups[i], &all->setups[i]);
    }
    fleet->assignment = all;
}

void fleet_answer_update(struct fleet *fleet, bool is_taken, const char *line)
{
    if (!is_taken)
        newcomers_dismiss(fleet);
    tell(fleet, &fleet->update.asker, is_taken, line);
    fleet->update.asker.count = 0;
}
