/* sliced_setup.c - a stage that a device shares, before the run: its steps, and which messages of
 * each are its own. */
#include "lib/base/arena.h"
#include "lib/policy/exchange.h"
#include "runner/setup/setup.h"
#include "runner/worker/internal.h"
#include "runner/worker/parts.h"
#include "runner/worker/shard.h"
#include "runner/worker/sliced_internal.h"

/* In order of slots; in a slot what is sent goes first: nobody waits in a circle. */
static struct sliced_mine mine_of(struct arena *arena, const struct exchange *exchange,
                                  int32_t member)
{
    struct sliced_mine mine = {
        0, exchange, arena_array(arena, (size_t)exchange->message_count + 1, sizeof *mine.messages)
    };

    for (int32_t slot = 0; slot < exchange->slot_count; slot++)
        for (int turn = 0; turn < 2; turn++)
            for (int32_t i = 0; i < exchange->message_count; i++) {
                const struct exchange_message *message = &exchange->messages[i];

                if (message->slot == slot && (turn == 0 ? message->from : message->to) == member)
                    mine.messages[mine.count++] = i;
            }
    return mine;
}

static void find_mine(struct arena *arena, struct sliced *sliced)
{
    const struct pass *pass = sliced->pass;

    for (int32_t s = 0; s < pass->step_count; s++) {
        const struct pass_step *step = &pass->steps[s];

        sliced->piece_of[s] = -1;
        for (int32_t i = 0; i < step->count; i++) {
            if (step->kind == PASS_COMPUTE) {
                if (pass->pieces[step->first + i].position == sliced->setup->position)
                    sliced->piece_of[s] = step->first + i;
            } else if (pass->members[step->first + i].position == sliced->setup->position) {
                sliced->mine[s] = mine_of(
                    arena, exchange_build(arena, pass, step, sliced->worker->setup->collective), i);
            }
        }
    }
}

static void write_out(struct arena *arena, struct sliced *sliced)
{
    const struct pass *pass = sliced->pass;
    int32_t at = 0;

    for (int32_t s = 0; s < pass->segment_count; s++)
        sliced->ordinal_count += pass->segments[s].step_count * pass->segments[s].repeats;
    sliced->steps_of = arena_array(arena, (size_t)sliced->ordinal_count + 1, sizeof(int32_t));
    sliced->repeats_of = arena_array(arena, (size_t)sliced->ordinal_count + 1, sizeof(int32_t));
    for (int32_t s = 0; s < pass->segment_count; s++)
        for (int32_t r = 0; r < pass->segments[s].repeats; r++)
            for (int32_t i = 0; i < pass->segments[s].step_count; i++) {
                sliced->steps_of[at] = pass->segments[s].first_step + i;
                sliced->repeats_of[at++] = r;
            }
}

/* Of the messages of a pass those that come here; another pass may have begun meanwhile. */
static int most_held(const struct sliced *sliced)
{
    int count = 0;

    for (int32_t i = 0; i < sliced->ordinal_count; i++)
        count += sliced->mine[sliced->steps_of[i]].count;
    return 2 * count + 2;
}

static void create_lists(struct arena *arena, struct sliced *sliced)
{
    const struct setup *setup = sliced->worker->setup;
    size_t seqs = (size_t)setup->models[sliced->setup->model].max_seqs;

    sliced->head = arena_array(arena, (size_t)2 * FRAME_ENTRY_WORDS * seqs, sizeof *sliced->head);
    sliced->past = arena_array(arena, seqs, sizeof *sliced->past);
    sliced->counts = arena_array(arena, seqs, sizeof *sliced->counts);
    sliced->own = arena_array(arena, seqs, sizeof *sliced->own);
    sliced->came = arena_array(arena, seqs, sizeof *sliced->came);
    sliced->requests = arena_array(arena, seqs, sizeof *sliced->requests);
    sliced->is_ended = arena_array(arena, seqs, sizeof *sliced->is_ended);
    sliced->caches = arena_array(arena, seqs, sizeof(const struct forward_kv *));
}

struct sliced *sliced_create(struct worker *worker, int index)
{
    struct arena *arena = worker->arena;
    struct sliced *sliced = arena_alloc(arena, sizeof *sliced);

    sliced->worker = worker;
    sliced->index = index;
    sliced->setup = &worker->setup->stages[index];
    sliced->parts = shard_parts(worker->shard, index);
    sliced->kv = shard_caches(worker->shard, index);
    sliced->pass = parts_pass(sliced->parts);
    sliced->mine = arena_array(arena, (size_t)sliced->pass->step_count + 1, sizeof *sliced->mine);
    sliced->piece_of = arena_array(arena, (size_t)sliced->pass->step_count + 1, sizeof(int32_t));
    find_mine(arena, sliced);
    write_out(arena, sliced);
    sliced->is_void = true; /* begins as after a loss, with the first pass of its generation */
    sliced->held_room = most_held(sliced);
    sliced->held = arena_array(arena, (size_t)sliced->held_room, sizeof *sliced->held);
    create_lists(arena, sliced);
    sliced->words = arena_alloc(
        arena,
        (size_t)sliced_message_bytes(&worker->setup->models[worker->setup->stages[index].model]));
    sliced->told =
        arena_alloc(arena, FRAME_TOLD_BYTES * (size_t)sliced->held_room + FRAME_RECORD_BYTES);
    return sliced;
}

int64_t sliced_message_bytes(const struct setup_model *model)
{
    int64_t head_bytes = INT64_C(8) * FRAME_ENTRY_WORDS * model->max_seqs;

    return SLICED_TAG_BYTES + head_bytes + parts_message_bytes(model);
}
