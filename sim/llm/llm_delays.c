/* llm_delays.c - requests that an overhead holds, before dispatch or on their way to the replica,
 * and batches before a stage: a heap by (time, order of holding) behind one slot of the engine. */
#include "sim/llm/internal.h"

static bool is_before(const struct held *a, const struct held *b)
{
    return a->time_ps < b->time_ps || (a->time_ps == b->time_ps && a->order < b->order);
}

static void heap_push(struct run *run, struct held held)
{
    int32_t at = run->held_count;

    if (run->held_count == run->held_room) {
        int32_t room = arena_wider(run->held_room, 64);

        run->held = arena_grow(run->arena, run->held, (size_t)run->held_room, (size_t)room,
                               sizeof *run->held);
        run->held_room = room;
    }
    run->held_count++;
    for (; at > 0 && is_before(&held, &run->held[(at - 1) / 2]); at = (at - 1) / 2)
        run->held[at] = run->held[(at - 1) / 2];
    run->held[at] = held;
}

static struct held heap_pop(struct run *run)
{
    struct held first = run->held[0], last = run->held[--run->held_count];
    int32_t at = 0, child;

    while ((child = 2 * at + 1) < run->held_count) {
        if (child + 1 < run->held_count && is_before(&run->held[child + 1], &run->held[child]))
            child++;
        if (!is_before(&run->held[child], &last))
            break;
        run->held[at] = run->held[child];
        at = child;
    }
    run->held[at] = last;
    return first;
}

static void first_plan(struct run *run)
{
    if (run->held_count > 0)
        engine_set(run->engine, run->delay_slot, run->held[0].time_ps, ENGINE_LINK_ARRIVAL);
}

/* False: there is nothing to wait for. */
static bool hold(struct run *run, int64_t delay_ps, struct held held)
{
    if (delay_ps == 0)
        return false;
    held.time_ps = engine_after_ps(run->now_ps, delay_ps);
    held.order = run->next_held++;
    heap_push(run, held);
    first_plan(run);
    return true;
}

bool delays_hold_request(struct run *run, int32_t flight, int32_t instance)
{
    const struct llm_input *input = run->input;
    enum llm_delay where = instance < 0 ? LLM_DELAY_SUBMIT : LLM_DELAY_DISPATCH;

    return input->delay_ps &&
           hold(run, input->delay_ps(input->delay_arg, where, run->flights[flight].index, 0, 1),
                (struct held){ .flight = flight, .task = -1, .instance = instance });
}

bool delays_hold_task(struct run *run, int32_t index)
{
    const struct llm_input *input = run->input;
    const struct task *task = &run->tasks[index];

    return input->delay_ps &&
           hold(run,
                input->delay_ps(input->delay_arg, LLM_DELAY_WORKER, (size_t)task->batch_id,
                                task->stage, task->batch->count),
                (struct held){ .flight = -1, .task = index });
}

bool delays_release(struct run *run, struct err *err)
{
    struct held held = heap_pop(run);

    first_plan(run);
    if (held.task >= 0)
        return pipeline_reach(run, held.task, err);
    if (held.instance < 0)
        llm_dispatch(run, held.flight);
    else
        llm_arrive(run, held.flight, held.instance);
    return true;
}
