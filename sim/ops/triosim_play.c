/* triosim_play.c - operators in order, and fetches one at a time ahead of them. */
#include "sim/ops/triosim_play.h"

#include "lib/base/arena.h"
#include "lib/base/units.h"
#include "lib/format/ops.h"
#include <assert.h>
#include <string.h>

struct triosim_memory {
    const struct ops *ops;
    bool *is_there; /* of each tensor */
};

int64_t triosim_bytes(const struct triosim_scale *scale, int64_t bytes)
{
    return units_mul_div(bytes, scale->batch, scale->traced_batch * scale->parts);
}

int64_t triosim_row_ps(const struct triosim_scale *scale, const struct ops_row *row,
                       int64_t devices)
{
    return units_mul_div(units_mul_div(row->busy_ps, scale->batch, scale->traced_batch), 1,
                         scale->parts * devices);
}

struct triosim_memory *triosim_memory(struct arena *arena, const struct ops *ops)
{
    struct triosim_memory *memory = arena_alloc(arena, sizeof *memory);

    memory->ops = ops;
    memory->is_there = arena_array(arena, (size_t)ops->tensor_count, sizeof *memory->is_there);
    return memory;
}

static void put_all(struct triosim_memory *memory, const int32_t *tensors, int32_t count)
{
    for (int32_t k = 0; k < count; k++)
        memory->is_there[tensors[k]] = true;
}

void triosim_receive(struct triosim_memory *memory, const struct ops_row *row)
{
    put_all(memory, row->outs, row->out_count);
}

void triosim_forget(struct triosim_memory *memory)
{
    memset(memory->is_there, 0, (size_t)memory->ops->tensor_count * sizeof *memory->is_there);
}

#define NEVER INT64_MAX

struct play {
    struct triosim_memory *memory;
    const struct triosim_scale *scale;
    const int32_t *rows;
    int32_t count, next_fetch, next_compute;
    int64_t now_ps, fetch_until_ps, compute_until_ps; /* NEVER = nothing is under way */
    int64_t *starts_ps;
    struct triosim_played played;
};

static const struct ops_row *row_at(const struct play *play, int32_t index)
{
    return &play->memory->ops->rows[play->rows[index]];
}

/* Marks what is not there as there; returns its bytes, -1 when all was there. */
static int64_t take_missing(struct play *play, const struct ops_row *row)
{
    int64_t bytes = -1;

    for (int32_t k = 0; k < row->in_count; k++) {
        int32_t tensor = row->ins[k];

        if (play->memory->is_there[tensor])
            continue;
        play->memory->is_there[tensor] = true;
        bytes = (bytes < 0 ? 0 : bytes) +
                triosim_bytes(play->scale, play->memory->ops->tensors[tensor].bytes);
    }
    return bytes;
}

static int64_t after(int64_t at_ps, int64_t time_ps)
{
    return at_ps > NEVER - 1 - time_ps ? NEVER - 1 : at_ps + time_ps;
}

static void start_fetch(struct play *play)
{
    while (play->fetch_until_ps == NEVER && play->next_fetch < play->count) {
        const struct ops_row *row = row_at(play, play->next_fetch++);
        int64_t bytes = take_missing(play, row), time_ps;

        if (bytes < 0)
            continue;
        put_all(play->memory, row->outs, row->out_count);
        time_ps = units_mul_div(bytes, UNITS_PS_PER_S, play->scale->remote_bytes_per_s);
        play->fetch_until_ps = after(play->now_ps, time_ps);
        play->played.fetch_ps = after(play->played.fetch_ps, time_ps);
    }
}

static bool is_ready(const struct play *play, const struct ops_row *row)
{
    for (int32_t k = 0; k < row->in_count; k++)
        if (!play->memory->is_there[row->ins[k]])
            return false;
    return true;
}

static void start_compute(struct play *play)
{
    const struct ops_row *row;
    int64_t time_ps;

    if (play->compute_until_ps != NEVER || play->next_compute == play->count)
        return;
    row = row_at(play, play->next_compute);
    if (!is_ready(play, row))
        return;
    time_ps = triosim_row_ps(play->scale, row, 1);
    play->starts_ps[play->rows[play->next_compute]] = play->now_ps;
    play->compute_until_ps = after(play->now_ps, time_ps);
    play->played.compute_ps = after(play->played.compute_ps, time_ps);
}

static void end_due(struct play *play)
{
    if (play->compute_until_ps <= play->now_ps) {
        const struct ops_row *row = row_at(play, play->next_compute++);

        put_all(play->memory, row->outs, row->out_count);
        play->compute_until_ps = NEVER;
        play->played.compute_end_ps = play->now_ps;
    }
    if (play->fetch_until_ps <= play->now_ps) {
        play->fetch_until_ps = NEVER;
        play->played.fetch_end_ps = play->now_ps;
    }
}

struct triosim_played triosim_play(struct triosim_memory *memory, const struct triosim_scale *scale,
                                   const int32_t *rows, int32_t count, int64_t *starts_ps)
{
    struct play play = { .memory = memory,
                         .scale = scale,
                         .rows = rows,
                         .count = count,
                         .fetch_until_ps = NEVER,
                         .compute_until_ps = NEVER,
                         .starts_ps = starts_ps };

    for (;;) {
        start_fetch(&play);
        start_compute(&play);
        if (play.fetch_until_ps == NEVER && play.compute_until_ps == NEVER)
            break;
        play.now_ps = play.fetch_until_ps < play.compute_until_ps ? play.fetch_until_ps
                                                                  : play.compute_until_ps;
        end_due(&play);
    }
    /* Every input of a row that the fetches have passed is there. */
    assert(play.next_compute == count);
    return play.played;
}
