/* llm_pull.c - KV caches that go from the instance that has computed a prompt to the one that
 * decodes behind it. The latter pulls: as soon as it has blocks for all that exists of a request,
 * every part goes from the device that computed it to the one that will read it (plan_move). The
 * request is in its steps when all have come; the blocks where it was computed are held until
 * then. */
#include "lib/base/err.h"
#include "sim/llm/internal.h"
#include "sim/network/network.h"

static struct instance *to_of(const struct run *run, const struct pull *pull)
{
    return &run->instances[pull->instance];
}

static const struct plan_replica *replica_of(const struct run *run, const struct pull *pull)
{
    return &run->plan->replicas[to_of(run, pull)->replica];
}

static int32_t pull_create(struct run *run)
{
    int32_t index = run->first_free_pull;

    if (index < 0) {
        int32_t room = arena_wider(run->pull_room, 16);

        run->pulls = arena_grow(run->arena, run->pulls, (size_t)run->pull_room, (size_t)room,
                                sizeof *run->pulls);
        for (index = room - 1; index >= run->pull_room; index--) {
            run->pulls[index].next = run->first_free_pull;
            run->first_free_pull = index;
        }
        run->pull_room = room;
        index = run->first_free_pull;
    }
    run->first_free_pull = run->pulls[index].next;
    return index;
}

/* All of it has come. */
static void finish(struct run *run, int32_t index)
{
    struct pull *pull = &run->pulls[index];
    int32_t to = pull->instance, from = to_of(run, pull)->partner;

    if (!pull->is_lost) {
        continuous_fetched(run->instances[to].batcher, pull->flight);
        continuous_sent(run->instances[from].batcher, pull->flight);
        llm_tell_cache(run, from);
        pipeline_wake(run, from);
        pipeline_wake(run, to);
    }
    pull->flight = -1;
    pull->next = run->first_free_pull;
    run->first_free_pull = index;
    run->live_pulls--;
}

static void tell(const struct run *run, const struct pull *pull, const struct plan_move *move,
                 int64_t bytes, int64_t send_ps, bool is_late, const struct network_sent *sent)
{
    const struct flight *flight = &run->flights[pull->flight];

    run->observer.on_transfer(
        run->observer.arg, &(struct llm_transfer){ .index = flight->index,
                                                   .request_id = flight->request_id,
                                                   .batch_id = -1,
                                                   .service = flight->service,
                                                   .from = move->from,
                                                   .to = move->to,
                                                   .step = flight->step,
                                                   .hop = run->plan->stages[move->to_stage]->number,
                                                   .is_inside = true,
                                                   .is_late = is_late,
                                                   .sent = sent,
                                                   .bytes = bytes,
                                                   .send_ps = send_ps });
}

static void part_send(struct run *run, int32_t index, int32_t m, int route, int64_t bytes)
{
    const struct pull *pull = &run->pulls[index];
    int32_t message = LLM_FIRST_PULL + index * run->most_moves + m;

    run->result->pull_messages++;
    run->result->pull_bytes = network_add_bytes(run->result->pull_bytes, bytes);
    run->sent_bytes = network_add_bytes(run->sent_bytes, bytes);
    run->due_bytes = network_add_bytes(run->due_bytes, bytes);
    if (run->observer.on_transfer) {
        struct network_sent sent = network_send(run->input->network, route, bytes, message);

        if (sent.arrival_ps != NETWORK_LATER)
            tell(run, pull, &replica_of(run, pull)->moves[m], bytes, run->now_ps, false, &sent);
    } else {
        network_post(run->input->network, route, bytes, message);
    }
}

void pull_begin(struct run *run, int32_t number, int32_t flight)
{
    const struct plan_replica *replica = &run->plan->replicas[run->instances[number].replica];
    const int *routes =
        run->input->move_routes ? run->input->move_routes[replica - run->plan->replicas] : NULL;
    int32_t index = pull_create(run);
    struct pull *pull = &run->pulls[index];

    *pull = (struct pull){ .flight = flight, .instance = number };
    run->live_pulls++;
    run->result->pull_requests++;
    for (int32_t m = 0; m < replica->move_count; m++)
        pull->left += routes && routes[m] >= 0;
    for (int32_t m = 0; m < replica->move_count; m++)
        if (routes && routes[m] >= 0)
            part_send(run, index, m, routes[m],
                      network_times_bytes(run->flights[flight].prompt_tokens,
                                          replica->moves[m].bytes_per_token));
    if (pull->left == 0)
        finish(run, index);
}

void pull_arrive(struct run *run, int32_t message, bool is_told)
{
    int32_t index = (message - LLM_FIRST_PULL) / run->most_moves;
    int32_t m = (message - LLM_FIRST_PULL) % run->most_moves;
    struct pull *pull = &run->pulls[index];

    if (is_told && !pull->is_lost) {
        struct network_received received = network_received(run->input->network);
        struct network_sent sent = { .link = received.link,
                                     .in_link = -1,
                                     .begin_ps = received.begin_ps,
                                     .end_ps = received.arrival_ps,
                                     .arrival_ps = received.arrival_ps };

        tell(run, pull, &replica_of(run, pull)->moves[m], received.bytes, received.send_ps, true,
             &sent);
    }
    if (--pull->left == 0)
        finish(run, index);
}

int32_t pull_flight(const struct run *run, int32_t message)
{
    const struct pull *pull = &run->pulls[(message - LLM_FIRST_PULL) / run->most_moves];

    return pull->is_lost ? -1 : pull->flight;
}

void pulls_lose(struct run *run, int32_t number)
{
    for (int32_t i = 0; i < run->pull_room; i++)
        if (run->pulls[i].left > 0 && run->pulls[i].instance == number)
            run->pulls[i].is_lost = true;
}
