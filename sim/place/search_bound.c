/* search_bound.c - what no placement can do better, from the cost tables alone.
 *
 * Each operator that a request needs gets a price. A device that works for a second earns at most
 * its rate: the largest price that any operator of the workload has for each second that it takes
 * there, whole or in any part that was measured. All devices together earn no more than the sum of
 * their rates, so that requests worth P take at least P / that sum, whatever runs where, in which
 * parts and order. That is the dual of the linear program that shares operators out among devices,
 * and any prices prove a bound. Those that are tried: what operators take on each type of device,
 * and the mean of all types; each with prompts dearer or cheaper than what is decoded. The best
 * bound is told. Norms and additions, which may be cut along the sequence, are free here. */
#include "sim/place/search.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/model.h"
#include "lib/format/workload.h"
#include "lib/policy/admit.h"
#include "sim/place/search_parts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CLASSES 16
#define SCALES 25             /* prices of prompts, in steps of 2^(1/4) around 1 */
#define MANY 20000            /* requests: prices of prompts are then left as they are */
#define LESS (1 - 1e-5)       /* times are rounded to 1 ps, step by step */
#define MOST_TOKENS (1 << 20) /* of a request of a model without a max_context */
#define NO_TIME "there was no time for it"

struct board_class { /* devices of one table and number of threads */
    const struct cost_table *table;
    int threads;
    double speed; /* of all of them */
    int32_t count;
    struct search_parts *parts; /* by shape of operator */
};

struct item { /* an operator that requests need */
    struct model_op op;
    double times; /* in a prompt, or a step */
    bool is_prompt;
    int32_t at; /* prompt tokens; of attention of a decode tokens in the cache, else -1 */
    double whole_ps[MOST_CLASSES], best_ps[MOST_CLASSES]; /* below 0: not to be had there */
};

struct service { /* the items of one model */
    const struct problem_input *input;
    struct item *items;
    int32_t item_count, item_room;
    int32_t most_prompt, most_past;
    bool *has_prompt;              /* by tokens */
    double *prompts, *pasts, step; /* prices: by prompt tokens; up to so many in the cache */
};

struct bound {
    struct arena *arena;
    const struct place_ask *ask;
    struct board_class classes[MOST_CLASSES];
    int32_t class_count;
    struct service *services;
    bool has_parts; /* some operator was measured in parts */
    bool is_alone;  /* of lone requests: latency or period */
    size_t request_count;
    double *prices; /* of requests */
    int64_t last_ps;
};

/* ---- classes ---- */

static bool classes_fill(struct bound *bound)
{
    const struct cluster *cluster = problem_input(bound->ask->problems[0])->cluster;
    const struct cost_set *costs = problem_input(bound->ask->problems[0])->costs;

    for (int32_t d = 0; d < cluster->device_count; d++) {
        const struct cost_table *table = cost_set_find(costs, cluster->devices[d].type);
        int threads = cluster->devices[d].threads > 0 ? cluster->devices[d].threads
                                                      : cost_only_threads(table);
        int32_t c = 0;

        threads = threads > 0 ? threads : 1;
        while (c < bound->class_count &&
               (bound->classes[c].table != table || bound->classes[c].threads != threads))
            c++;
        if (c == MOST_CLASSES)
            return false;
        bound->class_count = c == bound->class_count ? c + 1 : bound->class_count;
        bound->classes[c].table = table;
        bound->classes[c].threads = threads;
        bound->classes[c].count++;
        bound->classes[c].speed += cluster->devices[d].speed_ratio;
    }
    return true;
}

/* ---- what operators take ---- */

static double op_ps(const struct board_class *class, const struct model_op *op, int weight_bits)
{
    struct err err = ERR_INIT;
    enum interp_origin origin;
    int64_t time_ps;

    return cost_lookup(class->table, op, class->threads, weight_bits, &time_ps, &origin, &err)
               ? (double)time_ps
               : -1;
}

/* The least that an operator takes there, for the whole of it. */
static double best_ps(struct bound *bound, struct board_class *class, const struct model_op *op,
                      int weight_bits)
{
    const struct search_parts *parts =
        search_parts_of(bound->arena, &class->parts, class->table, op);
    double best = op_ps(class, op, weight_bits);

    for (int i = 0; i < parts->count; i++) {
        struct model_op slice = *op;
        double time_ps;

        slice.gemm_n = parts->slices[i].gemm_n;
        slice.gemm_k = parts->slices[i].gemm_k;
        slice.heads = parts->slices[i].heads;
        slice.kv_heads = parts->slices[i].kv_heads;
        time_ps = op_ps(class, &slice, weight_bits);
        if (time_ps < 0)
            continue;
        bound->has_parts = true;
        if (best < 0 || time_ps / parts->ratios[i] < best)
            best = time_ps / parts->ratios[i];
    }
    return best;
}

static void item_add(struct bound *bound, struct service *service, const struct model_op *op,
                     double times, bool is_prompt, int32_t at)
{
    struct item *item;

    if (service->item_count == service->item_room) {
        int32_t room = arena_wider(service->item_room, 256);

        service->items = arena_grow(bound->arena, service->items, (size_t)service->item_room,
                                    (size_t)room, sizeof *service->items);
        service->item_room = room;
    }
    item = &service->items[service->item_count++];
    *item = (struct item){ .op = *op, .times = times, .is_prompt = is_prompt, .at = at };
    for (int32_t c = 0; c < bound->class_count; c++) {
        int bits = service->input->model->weight_bits;

        item->whole_ps[c] = op_ps(&bound->classes[c], op, bits);
        item->best_ps[c] = best_ps(bound, &bound->classes[c], op, bits);
        if (!(item->best_ps[c] > 0 || item->best_ps[c] < 0)) /* free somewhere: no price */
            item->times = 0;
    }
}

/* All operators of a step of a model; of attention of a decode alone, or all but that. */
static void step_add(struct bound *bound, struct service *service, int32_t new_tokens,
                     int32_t past_tokens, bool is_prompt, bool is_attention)
{
    const struct model *model = service->input->model;

    for (int b = 0; b < BLOCK_COUNT; b++) {
        struct model_op ops[MODEL_MAX_OPS];
        int count = model_block_ops(model, (enum model_block)b, new_tokens, past_tokens, ops);
        double times = b == BLOCK_EMBED || b == BLOCK_LM_HEAD ? 1 : model->layers;

        for (int i = 0; i < count; i++) {
            bool is_attn = ops[i].op == OP_ATTN;

            if (ops[i].op == OP_NORM || ops[i].op == OP_ADD ||
                (!is_prompt && is_attn != is_attention))
                continue;
            item_add(bound, service, &ops[i], times * ops[i].count, is_prompt,
                     is_prompt ? new_tokens
                     : is_attn ? past_tokens
                               : -1);
        }
    }
}

/* ---- requests ---- */

static void lengths_note(struct service *service, int32_t prompt, int32_t output)
{
    if (prompt > service->most_prompt)
        service->most_prompt = prompt;
    if (prompt + output > service->most_past)
        service->most_past = prompt + output;
}

static int32_t service_of(const struct bound *bound, const char *name)
{
    for (int32_t s = 0; s < bound->ask->problem_count; s++)
        if (strcmp(bound->services[s].input->service, name) == 0)
            return s;
    return -1;
}

struct lengths { /* of one request */
    int32_t service, prompt, output;
};

static struct lengths lengths_at(const struct bound *bound, size_t i)
{
    const struct workload *workload =
        bound->is_alone ? NULL : judge_input(bound->ask->judge)->workload;
    struct workload_request request;
    struct lengths of = { (int32_t)i, 0, 0 };
    const struct problem_input *input;

    if (workload) {
        request = workload_at(workload, i);
        of = (struct lengths){ service_of(bound, workload->services[request.service]),
                               request.prompt_tokens, request.output_tokens };
    }
    if (of.service < 0)
        return of;
    input = bound->services[of.service].input;
    if (!workload || of.prompt <= 0)
        of.prompt = input->prompt_tokens;
    if (!workload)
        of.output = input->output_tokens;
    if (input->model->kind != MODEL_DECODER || of.output < 1)
        of.output = 1;
    if (!admit_context_ok(input->model, of.prompt, of.output)) /* refused: it costs nothing */
        of.service = -1;
    return of;
}

static bool is_over(const struct place_ask *ask)
{
    return ask->is_over && ask->is_over(ask->is_over_arg);
}

/* What stands in the way; NULL: nothing. */
static const char *items_fill(struct bound *bound)
{
    for (size_t i = 0; i < bound->request_count; i++) {
        struct lengths of = lengths_at(bound, i);

        if (of.service < 0)
            continue;
        if ((int64_t)of.prompt + of.output > MOST_TOKENS)
            return "some requests are too long";
        lengths_note(&bound->services[of.service], of.prompt, of.output);
    }
    for (int32_t s = 0; s < bound->ask->problem_count; s++) {
        struct service *service = &bound->services[s];

        service->has_prompt =
            arena_array(bound->arena, (size_t)service->most_prompt + 1, sizeof(bool));
        service->prompts =
            arena_array(bound->arena, (size_t)service->most_prompt + 1, sizeof(double));
        service->pasts = arena_array(bound->arena, (size_t)service->most_past + 1, sizeof(double));
    }
    for (size_t i = 0; i < bound->request_count; i++) {
        struct lengths of = lengths_at(bound, i);

        if (of.service < 0 || bound->services[of.service].has_prompt[of.prompt])
            continue;
        if (is_over(bound->ask))
            return NO_TIME;
        bound->services[of.service].has_prompt[of.prompt] = true;
        step_add(bound, &bound->services[of.service], of.prompt, 0, true, false);
    }
    for (int32_t s = 0; s < bound->ask->problem_count; s++) {
        struct service *service = &bound->services[s];

        if (service->input->model->kind != MODEL_DECODER)
            continue;
        step_add(bound, service, 1, 1, false, false);
        for (int32_t past = 1; past < service->most_past; past++) {
            if (past % 256 == 0 && is_over(bound->ask))
                return NO_TIME;
            step_add(bound, service, 1, past, false, true);
        }
    }
    return NULL;
}

/* ---- prices ---- */

/* What an item is worth: what it takes on a class, or in the mean of all. */
static double worth_of(const struct bound *bound, const struct item *item, int32_t by,
                       const double *weights)
{
    double sum = 0;

    if (by < bound->class_count)
        return item->whole_ps[by] > 0 ? item->whole_ps[by] * item->times : 0;
    for (int32_t c = 0; c < bound->class_count; c++)
        sum += item->whole_ps[c] > 0 ? weights[c] * item->whole_ps[c] * item->times : 0;
    return sum;
}

struct rates { /* by class: the most that prompts and decode steps earn in a ps at full speed */
    double prompt[MOST_CLASSES], step[MOST_CLASSES];
};

static void rates_note(const struct bound *bound, const struct item *item, double worth,
                       struct rates *rates)
{
    for (int32_t c = 0; c < bound->class_count && item->times > 0; c++) {
        double *rate = item->is_prompt ? &rates->prompt[c] : &rates->step[c];
        double own = item->best_ps[c] > 0 ? worth / (item->best_ps[c] * item->times) : 0;

        *rate = own > *rate ? own : *rate;
    }
}

static void prices_fill(struct bound *bound, int32_t by, const double *weights, struct rates *rates)
{
    memset(rates, 0, sizeof *rates);
    for (int32_t s = 0; s < bound->ask->problem_count; s++) {
        struct service *service = &bound->services[s];

        service->step = 0;
        memset(service->prompts, 0, ((size_t)service->most_prompt + 1) * sizeof(double));
        memset(service->pasts, 0, ((size_t)service->most_past + 1) * sizeof(double));
        for (int32_t i = 0; i < service->item_count; i++) {
            const struct item *item = &service->items[i];
            double worth = worth_of(bound, item, by, weights);

            rates_note(bound, item, worth, rates);
            if (item->is_prompt)
                service->prompts[item->at] += worth;
            else if (item->at < 0)
                service->step += worth;
            else
                service->pasts[item->at] += worth;
        }
        for (int32_t past = 1; past <= service->most_past; past++) /* up to, not including */
            service->pasts[past] += service->pasts[past - 1];
    }
}

static double request_price(const struct bound *bound, const struct lengths *of, double scale)
{
    const struct service *service = &bound->services[of->service];
    int32_t steps = of->output - 1;
    double price = scale * service->prompts[of->prompt];

    if (steps <= 0)
        return price;
    return price + steps * service->step + service->pasts[of->prompt + steps - 1] -
           service->pasts[of->prompt - 1];
}

/* ---- bounds ---- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Time of one good request: the cheapest k are worth so much, and the last arrival is waited for.
 */
static double goodput_ps(struct bound *bound, double rate)
{
    double best = INFINITY, sum = 0;
    size_t count = bound->request_count;

    qsort(bound->prices, count, sizeof *bound->prices, compare_doubles);
    for (size_t k = 0; k < count; k++) {
        double time_ps;

        sum += bound->prices[k];
        time_ps = sum / rate > (double)bound->last_ps ? sum / rate : (double)bound->last_ps;
        best = time_ps / (double)(k + 1) < best ? time_ps / (double)(k + 1) : best;
    }
    return best;
}

static double bound_at(struct bound *bound, const struct rates *rates, double scale)
{
    double rate = 0, sum = 0, most = 0;

    for (int32_t c = 0; c < bound->class_count; c++) {
        double prompt = scale * rates->prompt[c];

        rate += (prompt > rates->step[c] ? prompt : rates->step[c]) * bound->classes[c].speed;
    }
    for (size_t i = 0; i < bound->request_count; i++) {
        struct lengths of = lengths_at(bound, i);

        bound->prices[i] = of.service < 0 ? 0 : request_price(bound, &of, scale);
        sum += bound->prices[i];
        most = bound->prices[i] > most ? bound->prices[i] : most;
    }
    if (!(rate > 0))
        return 0;
    if (!bound->is_alone)
        return goodput_ps(bound, rate);
    return (bound->ask->objective == PLACE_LATENCY ? sum : most) / rate;
}

/* Operators of a lone request follow each other where none can be cut. */
static double latency_ps(const struct bound *bound)
{
    double sum = 0;

    for (int32_t s = 0; s < bound->ask->problem_count; s++) {
        const struct service *service = &bound->services[s];
        int32_t steps = service->input->output_tokens - 1, prompt = service->input->prompt_tokens;

        for (int32_t i = 0; i < service->item_count; i++) {
            const struct item *item = &service->items[i];
            double best = INFINITY, fastest = 0;

            for (int d = 0; d < service->input->cluster->device_count; d++)
                fastest = service->input->cluster->devices[d].speed_ratio > fastest
                              ? service->input->cluster->devices[d].speed_ratio
                              : fastest;
            for (int32_t c = 0; c < bound->class_count; c++)
                if (item->best_ps[c] > 0 && item->best_ps[c] / fastest < best)
                    best = item->best_ps[c] / fastest;
            if (isinf(best))
                continue;
            if (!item->is_prompt && item->at < 0)
                sum += best * item->times * steps;
            else if (item->is_prompt || (item->at >= prompt && item->at < prompt + steps))
                sum += best * item->times;
        }
    }
    return sum;
}

/* 2^(steps / 4) */
static double scale_of(int steps)
{
    double scale = 1;

    for (int i = 0; i < (steps < 0 ? -steps : steps); i++)
        scale *= 1.189207115002721;
    return steps < 0 ? 1 / scale : scale;
}

/* For the mean: what all requests take counts alike on each class. */
static double weight_of(const struct bound *bound)
{
    double sum = 0;

    for (size_t r = 0; r < bound->request_count; r++)
        sum += bound->prices[r];
    return sum > 0 ? 1 / sum : 0;
}

static double best_bound(struct bound *bound)
{
    double best = 0, weights[MOST_CLASSES] = { 0 };
    int scales = bound->request_count > MANY ? 0 : SCALES / 2;

    for (int32_t by = 0; by <= bound->class_count; by++) {
        struct rates rates;

        prices_fill(bound, by, weights, &rates);
        for (int i = -scales; i <= scales; i++) {
            double own = bound_at(bound, &rates, scale_of(i));

            if (i == 0 && by < bound->class_count)
                weights[by] = weight_of(bound);
            best = own > best ? own : best;
        }
    }
    return best;
}

/* ---- what is asked ---- */

static const char *refusal(const struct place_ask *ask, bool is_alone)
{
    const struct judge_input *judged = ask->judge ? judge_input(ask->judge) : NULL;

    for (int32_t s = 0; s < ask->problem_count; s++)
        if (!problem_input(ask->problems[s])->model)
            return "executables are no sums of operators";
    if (judged && judged->serve.has_kappa)
        return "kappa changes what operators take together";
    if (!is_alone && judged && judged->serve.batch.kind != BATCH_NONE)
        return "in batches operators cost less than their sum";
    if (!is_alone && (ask->events || (judged && judged->events)))
        return "events change speeds";
    return NULL;
}

int64_t search_bound(struct arena *arena, const struct place_ask *ask, const char **what)
{
    struct bound bound = { .arena = arena, .ask = ask };
    const struct workload *workload = NULL;
    double best;

    if (ask->judge && ask->objective == PLACE_GOODPUT)
        workload = judge_input(ask->judge)->workload;
    bound.is_alone = !workload;
    *what = refusal(ask, bound.is_alone);
    if (*what)
        return 0;
    *what = "too many types of devices";
    if (!classes_fill(&bound))
        return 0;
    bound.services = arena_array(arena, (size_t)ask->problem_count, sizeof *bound.services);
    for (int32_t s = 0; s < ask->problem_count; s++)
        bound.services[s].input = problem_input(ask->problems[s]);
    bound.request_count = workload ? workload->count : (size_t)ask->problem_count;
    for (size_t i = 0; workload && i < workload->count; i++)
        if (workload->arrivals_ps[i] > bound.last_ps)
            bound.last_ps = workload->arrivals_ps[i];
    bound.prices = arena_array(arena, bound.request_count, sizeof *bound.prices);
    *what = items_fill(&bound);
    if (*what)
        return 0;
    best = best_bound(&bound);
    *what = "what all devices can compute in that time";
    if (ask->objective == PLACE_LATENCY && !bound.has_parts && latency_ps(&bound) > best) {
        best = latency_ps(&bound);
        *what = "each operator on the device that is fastest at it";
    } else if (!bound.is_alone && bound.request_count > 0 &&
               best <= (double)bound.last_ps / (double)bound.request_count * (1 + 1e-9)) {
        *what = "as many as arrive";
    }
    return (int64_t)(best * LESS);
}
