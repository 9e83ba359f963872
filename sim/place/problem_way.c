/* problem_way.c - what messages of a typical request cost, and which links they take. */
#include "sim/place/problem_internal.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "sim/network/network.h"
#include "sim/network/topology.h"

#define VALUE_BYTES 4
#define TOKEN_BYTES 4

/* How long a leg's first port, which pays for the message, is taken. */
static int64_t leg_ps(const struct topology *topology, const struct topology_leg *leg,
                      int64_t bytes)
{
    return units_mul_div(bytes, 8 * UNITS_PS_PER_S * 1000,
                         topology->rates[leg->first_rate].rate_millibits_per_s);
}

/* One after the other a message takes ports of several media: the longest of them counts. */
static struct problem_way way_of(const struct problem *problem, int32_t from, int32_t to,
                                 int64_t bytes, int64_t times)
{
    const struct topology *topology = network_topology(problem->network);
    int number = network_route(problem->network, from, to);
    const struct topology_route *route = &topology->routes[number];
    int64_t most_ps = 0;

    if (network_route_is_free(problem->network, number))
        return (struct problem_way){ 0, 0 };
    for (int32_t l = 0; l < route->leg_count; l++) {
        const struct topology_leg *leg = &topology->legs[route->first_leg + l];
        int64_t taken_ps = saturate_add(leg->per_message_ps, leg_ps(topology, leg, bytes));

        most_ps = taken_ps > most_ps ? taken_ps : most_ps;
    }
    return (
        struct problem_way){ saturate_mul(network_alone_ps(problem->network, number, bytes), times),
                             saturate_mul(most_ps, times) };
}

struct problem_way problem_transfer(const struct problem *problem, int32_t from, int32_t to,
                                    int64_t bytes)
{
    return way_of(problem, from, to, bytes, 1);
}

struct problem_way problem_message(const struct problem *problem, int32_t from, int32_t to,
                                   int32_t rows, int64_t row_bytes)
{
    struct problem_way first = way_of(problem, from, to, saturate_mul(rows, row_bytes), 1);
    struct problem_way rest = { 0, 0 };

    if (problem->step_count > 1)
        rest = way_of(problem, from, to, row_bytes, problem->step_count - 1);
    return (struct problem_way){ saturate_add(first.time_ps, rest.time_ps),
                                 saturate_add(first.occupy_ps, rest.occupy_ps) };
}

static int64_t output_bytes(const struct problem *problem, int32_t device, int32_t unit)
{
    const struct cost_stage *stage = cost_stage_find_batch(
        problem->kinds[problem->kind_of[device]].table, problem->input.executable, unit, 1);

    return stage ? stage->output_bytes : 0;
}

struct problem_way problem_border(const struct problem *problem, int32_t from, int32_t to,
                                  int32_t unit)
{
    const struct problem_input *input = &problem->input;

    if (from == to)
        return (struct problem_way){ 0, 0 };
    if (!input->model)
        return way_of(problem, from, to, output_bytes(problem, from, unit), 1);
    return problem_message(problem, from, to, input->prompt_tokens,
                           (int64_t)VALUE_BYTES * input->model->hidden);
}

struct problem_way problem_entry(const struct problem *problem, int32_t device)
{
    if (!problem->input.cluster->has_source)
        return (struct problem_way){ 0, 0 };
    if (!problem->input.model)
        return way_of(problem, NETWORK_SOURCE, device, 0, 1);
    return problem_message(problem, NETWORK_SOURCE, device, problem->input.prompt_tokens,
                           TOKEN_BYTES);
}

struct problem_way problem_exit(const struct problem *problem, int32_t device)
{
    if (!problem->input.cluster->has_source)
        return (struct problem_way){ 0, 0 };
    if (!problem->input.model)
        return way_of(problem, device, NETWORK_SOURCE,
                      output_bytes(problem, device, problem->unit_count - 1), 1);
    return problem_message(problem, device, NETWORK_SOURCE, 1, TOKEN_BYTES);
}

/* ---- links ---- */

int32_t problem_link_count(const struct problem *problem)
{
    return network_topology(problem->network)->link_count;
}

const char *problem_link_name(const struct problem *problem, int32_t link)
{
    return network_topology(problem->network)->links[link].name;
}

/* As FIFO ports are: each link of a leg for as long as its bytes take, the first for the message's
 * own cost, too. */
static void take(const struct problem *problem, int32_t from, int32_t to, int64_t bytes,
                 int64_t times, int64_t *taken_ps)
{
    const struct topology *topology = network_topology(problem->network);
    const struct topology_route *route =
        &topology->routes[network_route(problem->network, from, to)];

    for (int32_t l = 0; l < route->leg_count; l++) {
        const struct topology_leg *leg = &topology->legs[route->first_leg + l];
        int64_t bytes_ps = leg_ps(topology, leg, bytes);

        for (int32_t s = 0; s < leg->step_count; s++) {
            int64_t *link_ps = &taken_ps[topology->steps[leg->first_step + s].link];
            int64_t step_ps = saturate_add(bytes_ps, s == 0 ? leg->per_message_ps : 0);

            *link_ps = saturate_add(*link_ps, saturate_mul(step_ps, times));
        }
    }
}

static void take_steps(const struct problem *problem, int32_t from, int32_t to, int32_t rows,
                       int64_t row_bytes, int64_t *taken_ps)
{
    take(problem, from, to, saturate_mul(rows, row_bytes), 1, taken_ps);
    if (problem->step_count > 1)
        take(problem, from, to, row_bytes, problem->step_count - 1, taken_ps);
}

void problem_take_links(const struct problem *problem, int32_t from, int32_t to, int32_t unit,
                        int64_t *taken_ps)
{
    const struct problem_input *input = &problem->input;
    bool is_entry = from == NETWORK_SOURCE, is_exit = to == NETWORK_SOURCE;

    if (from == to || ((is_entry || is_exit) && !input->cluster->has_source))
        return;
    if (!input->model)
        take(problem, from, to, is_entry ? 0 : output_bytes(problem, from, unit), 1, taken_ps);
    else if (is_entry || is_exit)
        take_steps(problem, from, to, is_entry ? input->prompt_tokens : 1, TOKEN_BYTES, taken_ps);
    else
        take_steps(problem, from, to, input->prompt_tokens,
                   (int64_t)VALUE_BYTES * input->model->hidden, taken_ps);
}

/* ---- begin ---- */

bool problem_open_network(struct problem *problem, struct err *err)
{
    const struct cluster *cluster = problem->input.cluster;
    size_t count = (size_t)cluster->device_count, pair_count = 0;
    struct network_pair *pairs = arena_array(problem->arena, count * (count + 2), sizeof *pairs);
    const struct network_options options = { .model = NETWORK_FIFO };

    for (int32_t a = 0; a < cluster->device_count; a++) {
        for (int32_t b = 0; b < cluster->device_count; b++)
            pairs[pair_count++] = (struct network_pair){ a, b };
        if (cluster->has_source) {
            pairs[pair_count++] = (struct network_pair){ NETWORK_SOURCE, a };
            pairs[pair_count++] = (struct network_pair){ a, NETWORK_SOURCE };
        }
    }
    problem->network = network_open(problem->arena, cluster, &options, pairs, (int)pair_count, err);
    return problem->network != NULL;
}
