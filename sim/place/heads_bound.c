/* heads_bound.c - what a head-level placement costs at least, however each of its layers is cut.
 *
 * Each layer takes what the cheapest one does, and of messages those that no collective does
 * without. What all layers together may hold of a device is left to prices: a byte of it costs so
 * much, and the room is paid back (Lagrangian relaxation; Held and Karp 1971). Whatever the prices,
 * nothing is cheaper; a subgradient method, with Polyak's steps, looks for those that say most. */
#include "sim/place/heads_measured.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "sim/place/heads_measured_internal.h"
#include <math.h>
#include <string.h>

/* A speed ratio is applied step by step in a run, to sums here, and each message is rounded: so
 * many ps a layer and step, and one for each device. */
#define ROUNDING_PS 8
#define ROUNDS 60
#define PATIENCE 4 /* rounds without a better bound, behind which steps are halved */
#define CLOSE 1e-4 /* to the cost of a placement that is known */

struct bounder {
    struct arena *arena;
    const struct heads_measured *m;
    struct heads_problem together, apart; /* a layer: all heads on one device; on several */
    struct heads_costs free_together, free_apart, priced_together, priced_apart;
    double *ends_ps, *rooms;
    double *prices; /* of a byte, by device */
    double *excess; /* bytes above the room, by device, of the cheapest layers */
    bool is_short;  /* any was, of one device by itself */
    struct heads_least *least;
    bool (*is_over)(void *arg);
    void *is_over_arg;
};

/* ---- a layer ---- */

static double least_of(const double *costs, int32_t count)
{
    double least = HUGE_VAL;

    for (int32_t i = 0; i < count; i++)
        least = costs[i] < least ? costs[i] : least;
    return least;
}

/* Of a layer without its heads, on the cheapest conn. ways_ps: by device of the projection, what
 * messages of heads take anyhow. */
static struct heads_costs relax(struct arena *arena, const struct heads_measured *m,
                                const double *ways_ps, struct heads_problem *relaxed)
{
    struct heads_costs c = heads_costs_create(arena, m, relaxed);
    double conn_ps = least_of(m->layer.conns, m->device_count);

    relaxed->resources[0] = heads_memory(m, heads_rooms_with(arena, m, 0), 1, false);
    relaxed->end_count = 1;
    for (int32_t d = 0; d < m->device_count; d++) {
        c.projections[d] = m->layer.projections[d];
        c.ffns[d] = m->layer.ffns[d] + conn_ps;
        for (int32_t to = 0; to < m->device_count; to++)
            c.pass[heads_at(relaxed, d, to)] =
                heads_message_ps(m, d, to, m->input->prompt_tokens, m->input->model->hidden) +
                ways_ps[d];
    }
    return c;
}

/* All heads on one device: they go to the projection together. */
static void together_fill(struct bounder *b)
{
    const struct heads_measured *m = b->m;
    const struct model *model = m->input->model;
    double *none_ps = arena_array(b->arena, (size_t)m->device_count, sizeof *none_ps);
    size_t all = (size_t)model->kv_heads, width = all + 1;

    b->free_together = relax(b->arena, m, none_ps, &b->together);
    for (int32_t d = 0; d < m->device_count; d++) {
        for (size_t n = 1; n <= all; n++)
            b->free_together.heads[(size_t)d * width + n] =
                n == all ? m->layer.heads[(size_t)d * width + n] : HUGE_VAL;
        for (int32_t to = 0; to < m->device_count; to++)
            b->free_together.gather[heads_at(&b->together, d, to) * width + all] = heads_message_ps(
                m, d, to, m->input->prompt_tokens, (int64_t)model->heads * model->head_dim);
    }
}

/* On several: what they work on reaches one more device whole, whatever way it takes, and one
 * head's output at least goes to the projection from elsewhere. Where messages pass beside
 * computing, as with --overlap, neither has to take any time. */
static void apart_fill(struct bounder *b, bool has_overlap)
{
    const struct heads_measured *m = b->m;
    const struct model *model = m->input->model;
    int32_t rows = m->input->prompt_tokens, devices = m->device_count;
    int64_t head_values = (int64_t)model->heads / model->kv_heads * model->head_dim;
    double *ways_ps = arena_array(b->arena, (size_t)devices, sizeof *ways_ps), feed_ps = HUGE_VAL;

    for (int32_t from = 0; from < devices; from++)
        for (int32_t to = 0; to < devices; to++)
            if (from != to)
                feed_ps = fmin(feed_ps, heads_message_ps(m, from, to, rows, model->hidden));
    for (int32_t p = 0; p < devices && !has_overlap; p++) {
        double gather_ps = HUGE_VAL;

        for (int32_t from = 0; from < devices; from++)
            if (from != p)
                gather_ps = fmin(gather_ps, heads_message_ps(m, from, p, rows, head_values));
        ways_ps[p] = feed_ps + gather_ps;
    }
    b->free_apart = relax(b->arena, m, ways_ps, &b->apart);
    memcpy(b->free_apart.heads, m->layer.heads,
           (size_t)devices * ((size_t)model->kv_heads + 1) * sizeof(double));
}

static void ends_fill(struct bounder *b)
{
    const struct heads_measured *m = b->m;

    b->ends_ps = arena_array(b->arena, (size_t)m->device_count, sizeof(double));
    for (int32_t d = 0; d < m->device_count; d++)
        b->ends_ps[d] = m->layer.ends[d] +
                        (double)problem_entry(m->problem, m->devices[d]).time_ps +
                        (double)problem_exit(m->problem, m->devices[d]).time_ps;
}

/* ---- prices ---- */

static void price(const struct heads_measured *m, const double *prices,
                  const struct heads_costs *free, const struct heads_problem *problem,
                  const struct heads_costs *priced)
{
    const struct heads_resource layer = heads_memory(m, NULL, 1, false);
    size_t width = (size_t)problem->head_count + 1;

    for (int32_t d = 0; d < m->device_count; d++) {
        priced->projections[d] = free->projections[d] + prices[d] * layer.projection;
        priced->ffns[d] = free->ffns[d] + prices[d] * layer.ffn;
        for (int32_t to = 0; to < m->device_count; to++)
            for (size_t n = 1; n < width; n++) {
                size_t at = heads_at(problem, d, to) * width + n;

                priced->gather[at] = free->gather[at] + prices[d] * layer.head * (double)n;
            }
    }
}

struct heads_costs heads_priced(struct arena *arena, const struct heads_measured *m,
                                const double *prices, const struct heads_costs *free,
                                struct heads_problem *problem)
{
    struct heads_costs priced = *free;
    size_t devices = (size_t)problem->device_count;

    priced.projections = arena_array(arena, devices, sizeof(double));
    priced.ffns = arena_array(arena, devices, sizeof(double));
    priced.gather =
        arena_array(arena, devices * devices * ((size_t)problem->head_count + 1), sizeof(double));
    problem->projection_costs = priced.projections;
    problem->ffn_costs = priced.ffns;
    problem->gather_costs = priced.gather;
    price(m, prices, free, problem, &priced);
    return priced;
}

/* Alike devices have one price: which of them the search has taken is chance. */
static void excess_share(struct bounder *b)
{
    for (int32_t d = 0; d < b->m->device_count; d++) {
        double sum = 0;
        int32_t count = 0;

        for (int32_t i = 0; i < d && count == 0; i++)
            count = b->m->kinds[i] == b->m->kinds[d]; /* done with the first of its kind */
        if (count > 0)
            continue;
        for (int32_t i = d; i < b->m->device_count; i++)
            if (b->m->kinds[i] == b->m->kinds[d]) {
                sum += b->excess[i];
                count++;
            }
        for (int32_t i = d; i < b->m->device_count; i++)
            if (b->m->kinds[i] == b->m->kinds[d])
                b->excess[i] = sum / count;
    }
}

/* What so many layers like that, and these ends, hold above the rooms. */
static void excess_fill(struct bounder *b, const struct heads_answer *layer, int32_t end)
{
    const struct heads_resource memory = heads_memory(b->m, NULL, b->m->input->model->layers, true);

    for (int32_t d = 0; d < b->m->device_count; d++) {
        double held = layer->counts[d] * memory.head +
                      (layer->projection == d ? memory.projection : 0) +
                      (layer->ffn == d ? memory.ffn : 0) + (end == d ? memory.end : 0);

        b->excess[d] = isinf(b->rooms[d]) ? 0 : held - b->rooms[d];
        b->is_short = b->is_short || b->excess[d] > 0;
    }
    excess_share(b);
}

/* The cheapest way to cut a layer, once. */
static void column_keep(struct bounder *b, const struct heads_answer *layer)
{
    size_t bytes = (size_t)b->m->device_count * sizeof *layer->counts;
    struct heads_answer *kept = b->least->columns;
    int32_t i = 0;

    while (i < b->least->column_count &&
           (kept[i].projection != layer->projection || kept[i].ffn != layer->ffn ||
            memcmp(kept[i].counts, layer->counts, bytes) != 0))
        i++;
    if (i < b->least->column_count)
        return;
    kept[i] = *layer;
    kept[i].counts = arena_alloc(b->arena, bytes);
    memcpy(kept[i].counts, layer->counts, bytes);
    b->least->column_count++;
}

/* The bound with the prices as they are, and the excess that would change them; infinite: not even
 * one layer fits. */
static double bound_with_prices(struct bounder *b)
{
    const struct heads_resource memory = heads_memory(b->m, NULL, 1, true);
    struct arena *scratch = arena_create();
    struct heads_answer together, apart, *least = &together;
    double end_ps = HUGE_VAL, paid_back_ps = 0, bound_ps;
    int32_t end = 0;

    price(b->m, b->prices, &b->free_together, &b->together, &b->priced_together);
    price(b->m, b->prices, &b->free_apart, &b->apart, &b->priced_apart);
    together = heads_solve(scratch, &b->together, b->is_over, b->is_over_arg);
    apart = heads_solve(scratch, &b->apart, b->is_over, b->is_over_arg);
    if (apart.is_feasible && (!together.is_feasible || apart.bound < together.bound))
        least = &apart;
    for (int32_t d = 0; d < b->m->device_count; d++) {
        double with_price_ps = b->ends_ps[d] + b->prices[d] * memory.end;

        if (with_price_ps < end_ps) {
            end_ps = with_price_ps;
            end = d;
        }
        paid_back_ps += isinf(b->rooms[d]) ? 0 : b->prices[d] * b->rooms[d];
    }
    bound_ps = b->m->input->model->layers * least->bound + end_ps - paid_back_ps;
    if (least->is_feasible) {
        excess_fill(b, least, end);
        column_keep(b, least);
    }
    arena_destroy(scratch);
    return bound_ps;
}

/* A step against the excess; false: there is none. */
static bool prices_step(struct bounder *b, double length_ps)
{
    double square = 0;

    for (int32_t d = 0; d < b->m->device_count; d++) {
        if (!(b->prices[d] > 0) && b->excess[d] < 0)
            b->excess[d] = 0;
        square += b->excess[d] * b->excess[d];
    }
    if (!(square > 0))
        return false;
    for (int32_t d = 0; d < b->m->device_count; d++)
        b->prices[d] = fmax(0, b->prices[d] + length_ps / square * b->excess[d]);
    return true;
}

/* cost_ps: of a placement that is known. Leaves the best prices in best. */
static double prices_search(struct bounder *b, double cost_ps, double *best)
{
    double bound_ps = bound_with_prices(b), scale = 1;
    int waited = 0;

    b->least->is_short = b->is_short; /* without prices */

    for (int i = 0; i < ROUNDS && !isinf(bound_ps) && bound_ps < (1 - CLOSE) * cost_ps; i++) {
        double now_ps = i == 0 ? bound_ps : bound_with_prices(b);

        if (now_ps > bound_ps) {
            bound_ps = now_ps;
            memcpy(best, b->prices, (size_t)b->m->device_count * sizeof *best);
            waited = 0;
        } else if (++waited > PATIENCE) {
            scale /= 2;
            waited = 0;
        }
        if (!prices_step(b, scale * (cost_ps - now_ps)) ||
            (b->is_over && b->is_over(b->is_over_arg)))
            break;
    }
    return bound_ps;
}

struct heads_least heads_bound(struct arena *arena, const struct heads_measured *m, double cost_ps,
                               bool has_overlap, bool (*is_over)(void *arg), void *is_over_arg)
{
    const struct problem_input *input = m->input;
    int64_t steps = input->model->kind == MODEL_DECODER ? input->output_tokens : 1;
    size_t devices = (size_t)m->device_count;
    struct bounder b = { .arena = arena, .m = m, .is_over = is_over, .is_over_arg = is_over_arg };
    struct heads_least least = { .prices = arena_array(arena, devices, sizeof(double)) };
    double bound_ps;

    least.columns = arena_array(arena, ROUNDS + 1, sizeof *least.columns);
    b.least = &least;
    b.prices = arena_array(arena, devices, sizeof *b.prices);
    b.excess = arena_array(arena, devices, sizeof *b.excess);
    b.rooms = heads_rooms_with(arena, m, 0);
    together_fill(&b);
    apart_fill(&b, has_overlap);
    ends_fill(&b);
    b.priced_together = heads_priced(arena, m, b.prices, &b.free_together, &b.together);
    b.priced_apart = heads_priced(arena, m, b.prices, &b.free_apart, &b.apart);
    bound_ps = prices_search(&b, cost_ps, least.prices);
    bound_ps -=
        (double)(ROUNDING_PS + m->device_count) * (double)input->model->layers * (double)steps;
    if (m->device_count < input->cluster->device_count) /* some were not looked at */
        return least;
    if (bound_ps > 0 && bound_ps < (double)INT64_MAX)
        least.bound_ps = (int64_t)bound_ps;
    return least;
}
