/* galaxy_shares.c - balanced shares of measured sizes, and their repair where memory overflows. */
#include "sim/place/galaxy.h"

#include "lib/base/arena.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "sim/place/problem.h"
#include <string.h>

#define NO_CHOICE (-1)

static const enum model_block blocks_of[GALAXY_HALF_COUNT][2] = {
    { BLOCK_ATTN, BLOCK_PROJ }, { BLOCK_FFN_UP, BLOCK_FFN_DOWN }
};

/* ---- what parts take ---- */

/* False: not both blocks of the half were measured in that size. */
static bool half_ps(struct parts *parts, int32_t device, enum galaxy_half half, int32_t units,
                    int64_t *time_ps)
{
    int64_t second_ps;

    if (!parts_time_ps(parts, device, blocks_of[half][0], units, time_ps) ||
        !parts_time_ps(parts, device, blocks_of[half][1], units, &second_ps))
        return false;
    *time_ps = saturate_add(*time_ps, second_ps);
    return true;
}

int64_t galaxy_half_ps(struct parts *parts, int32_t device, enum galaxy_half half)
{
    int32_t count, whole = parts_units(parts, blocks_of[half][0]);
    const int32_t *sizes = parts_sizes(parts, device, blocks_of[half][0], &count);
    int64_t time_ps;

    for (int32_t i = count - 1; i >= 0; i--)
        if (half_ps(parts, device, half, sizes[i], &time_ps))
            return saturate_mul(time_ps, whole) / sizes[i];
    return INT64_MAX;
}

/* ---- balance ---- */

struct choice { /* of a member: a size it may have, and what it takes */
    int32_t units;
    int64_t time_ps;
};

struct choices {
    int32_t count;
    struct choice *list; /* rising */
};

/* What all members do for themselves beside a half: a norm and an addition. */
static int64_t conn_ps(const struct galaxy_group *group, int32_t member)
{
    int64_t time_ps;

    if (group->is_sequence ||
        !parts_time_ps(group->parts, group->devices[member], BLOCK_CONN, 1, &time_ps))
        return 0;
    return time_ps / GALAXY_HALF_COUNT;
}

static struct choices choices_of(const struct galaxy_group *group, int32_t member,
                                 enum galaxy_half half)
{
    int32_t count, device = group->devices[member];
    const int32_t *sizes = parts_sizes(group->parts, device, blocks_of[half][0], &count);
    int64_t beside_ps = conn_ps(group, member);
    struct choices choices = { 0,
                               arena_array(group->arena, (size_t)count + 1, sizeof *choices.list) };

    for (int32_t i = 0; i < count; i++) {
        struct choice *choice = &choices.list[choices.count];

        if (!half_ps(group->parts, device, half, sizes[i], &choice->time_ps))
            continue;
        choice->time_ps = saturate_add(choice->time_ps, beside_ps);
        choice->units = sizes[i];
        choices.count++;
    }
    return choices;
}

int32_t galaxy_gcd(int32_t a, int32_t b)
{
    while (b != 0) {
        int32_t rest = a % b;

        a = b;
        b = rest;
    }
    return a;
}

static int32_t grain_of(const struct choices *choices, int32_t count, int32_t whole)
{
    int32_t grain = whole;

    for (int32_t m = 0; m < count; m++)
        for (int32_t i = 0; i < choices[m].count; i++)
            grain = galaxy_gcd(grain, choices[m].list[i].units);
    return grain;
}

/* Sizes that add up to the whole, the slowest member as fast as can be; of equal ones the smaller
 * size for the later member. caps: the largest size of each member; NULL = any. */
static bool balance(struct arena *arena, const struct choices *choices, int32_t count,
                    int32_t whole, const int32_t *caps, int32_t *shares, int64_t *slowest_ps)
{
    int32_t grain = grain_of(choices, count, whole), grains = whole / grain;
    size_t width = (size_t)grains + 1;
    int64_t *best = arena_array(arena, width, sizeof *best);
    int64_t *next = arena_array(arena, width, sizeof *next);
    int32_t *chosen = arena_array(arena, width * (size_t)count, sizeof *chosen);

    for (size_t u = 1; u < width; u++)
        best[u] = INT64_MAX;
    for (int32_t m = 0; m < count; m++) {
        for (size_t u = 0; u < width; u++) {
            next[u] = INT64_MAX;
            chosen[(size_t)m * width + u] = NO_CHOICE;
            for (int32_t i = 0; i < choices[m].count; i++) {
                const struct choice *choice = &choices[m].list[i];
                size_t size = (size_t)(choice->units / grain);
                int64_t time_ps;

                if (size > u || (caps && choice->units > caps[m]) || best[u - size] == INT64_MAX)
                    continue;
                time_ps = best[u - size] > choice->time_ps ? best[u - size] : choice->time_ps;
                if (time_ps < next[u]) {
                    next[u] = time_ps;
                    chosen[(size_t)m * width + u] = choice->units;
                }
            }
        }
        memcpy(best, next, width * sizeof *best);
    }
    *slowest_ps = best[grains];
    if (best[grains] == INT64_MAX)
        return false;
    for (int32_t m = count - 1; m >= 0; m--) {
        shares[m] = chosen[(size_t)m * width + (size_t)grains];
        grains -= shares[m] / grain;
    }
    return true;
}

bool galaxy_head_balance(struct galaxy_group *group, int32_t head_of, int64_t *slowest_ps)
{
    int32_t vocab = parts_units(group->parts, BLOCK_LM_HEAD);
    int32_t rows = vocab / head_of + (vocab % head_of > 0);
    struct choices *choices = arena_array(group->arena, (size_t)group->count, sizeof *choices);

    group->head_of = head_of;
    for (int32_t m = 0; m < group->count; m++) {
        choices[m].list = arena_array(group->arena, (size_t)head_of + 1, sizeof *choices[m].list);
        choices[m].count = 1; /* none of it */
        for (int32_t parts = 1; parts <= head_of; parts++) {
            struct choice *choice = &choices[m].list[choices[m].count];
            int64_t units = (int64_t)parts * rows < vocab ? (int64_t)parts * rows : vocab;

            choice->units = parts;
            choices[m].count += parts_time_ps(group->parts, group->devices[m], BLOCK_LM_HEAD,
                                              (int32_t)units, &choice->time_ps);
        }
    }
    return balance(group->arena, choices, group->count, head_of, NULL, group->head_parts,
                   slowest_ps);
}

/* ---- memory ---- */

static int64_t head_bytes(const struct galaxy_group *group, int32_t member)
{
    const struct model *model = problem_input(group->problem)->model;
    int32_t before = 0, parts = group->head_parts[member];
    struct model_part part;

    for (int32_t m = 0; m < member; m++)
        before += group->head_parts[m];
    if (parts == 0)
        return 0;
    part = (struct model_part){ before, before + parts - 1, group->head_of };
    return model_part_weight_bytes(model, BLOCK_LM_HEAD, part) -
           (member == 0 ? model_part_tied_bytes(model, part) : 0);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

int64_t galaxy_member_bytes(const struct galaxy_group *group, int32_t member)
{
    const struct problem_input *input = problem_input(group->problem);
    int64_t bytes = input->cluster->devices[group->devices[member]].reserved_bytes;
    int64_t layer_bytes = 0, work_bytes = 0;

    for (int half = 0; half < GALAXY_HALF_COUNT; half++)
        for (int b = 0; b < 2; b++) {
            int32_t units = group->shares[half][member];

            layer_bytes = saturate_add(layer_bytes,
                                       parts_held_bytes(group->parts, blocks_of[half][b], units));
            work_bytes =
                larger(work_bytes, parts_work_bytes(group->parts, blocks_of[half][b], units));
        }
    if (group->is_sequence || member == 0) {
        layer_bytes = saturate_add(layer_bytes, parts_held_bytes(group->parts, BLOCK_CONN, 1));
        work_bytes = larger(work_bytes, parts_work_bytes(group->parts, BLOCK_CONN, 1));
    }
    if (member == 0) {
        bytes = saturate_add(bytes, parts_held_bytes(group->parts, BLOCK_EMBED, 1));
        work_bytes = larger(work_bytes, parts_work_bytes(group->parts, BLOCK_EMBED, 1));
    }
    if (group->head_parts[member] > 0) {
        bytes = saturate_add(bytes, head_bytes(group, member));
        work_bytes = larger(work_bytes, parts_work_bytes(group->parts, BLOCK_LM_HEAD,
                                                         parts_units(group->parts, BLOCK_LM_HEAD)));
    }
    bytes = saturate_add(bytes, saturate_mul(layer_bytes, input->model->layers));
    return saturate_add(bytes, work_bytes);
}

static int64_t lacking_of(const struct galaxy_group *group, int32_t member)
{
    int64_t memory_bytes =
        problem_input(group->problem)->cluster->devices[group->devices[member]].memory_bytes;
    int64_t bytes = memory_bytes > 0 ? galaxy_member_bytes(group, member) - memory_bytes : 0;

    return bytes > 0 ? bytes : 0;
}

static bool fits(const struct galaxy_group *group)
{
    for (int32_t m = 0; m < group->count; m++)
        if (lacking_of(group, m) > 0)
            return false;
    return true;
}

/* ---- repair ---- */

struct sharing { /* choices of both halves, by member */
    struct galaxy_group *group;
    struct choices *choices[GALAXY_HALF_COUNT];
    int32_t whole[GALAXY_HALF_COUNT];
    int32_t *caps;
};

/* The largest size of a half that fits beside what each member has of the other one, or beside the
 * least that it may have; the least one where none does. */
static void caps_fill(struct sharing *sharing, enum galaxy_half half, bool is_beside_least)
{
    struct galaxy_group *group = sharing->group;
    enum galaxy_half other = half == GALAXY_MHA ? GALAXY_MLP : GALAXY_MHA;

    for (int32_t m = 0; m < group->count; m++) {
        const struct choices *choices = &sharing->choices[half][m];
        int32_t kept = group->shares[half][m], beside = group->shares[other][m];

        sharing->caps[m] = choices->list[0].units;
        if (is_beside_least)
            group->shares[other][m] = sharing->choices[other][m].list[0].units;
        for (int32_t i = 1; i < choices->count; i++) {
            group->shares[half][m] = choices->list[i].units;
            if (lacking_of(group, m) == 0)
                sharing->caps[m] = choices->list[i].units;
        }
        group->shares[half][m] = kept;
        group->shares[other][m] = beside;
    }
}

static bool rebalance(struct sharing *sharing, enum galaxy_half half, bool is_beside_least)
{
    struct galaxy_group *group = sharing->group;
    int64_t slowest_ps;

    caps_fill(sharing, half, is_beside_least);
    return balance(group->arena, sharing->choices[half], group->count, sharing->whole[half],
                   sharing->caps, group->shares[half], &slowest_ps);
}

/* First one half, beside what there is of the other; if that does not do, as if the other could
 * still go anywhere, and then the other one. */
static bool repair(struct sharing *sharing, enum galaxy_half first, enum galaxy_half second)
{
    if (rebalance(sharing, first, false) && fits(sharing->group))
        return true;
    return rebalance(sharing, first, true) && rebalance(sharing, second, false) &&
           fits(sharing->group);
}

struct joint {       /* of members so far with so many grains of both halves */
    int64_t time_ps; /* the slowest of them in MLP */
    int32_t chosen[GALAXY_HALF_COUNT];
};

struct joint_search { /* shares of both halves at once */
    struct sharing *sharing;
    int32_t grains[GALAXY_HALF_COUNT];
    size_t width, size; /* grains of MLP and one; with those of MHA */
    struct joint *table;
    int64_t most_ps; /* that a member may take for MHA */
};

static void joint_trace(const struct joint_search *search)
{
    struct galaxy_group *group = search->sharing->group;
    size_t at = search->size - 1;

    for (int32_t m = group->count; m > 0; m--) {
        const struct joint *joint = &search->table[(size_t)m * search->size + at];

        for (int half = 0; half < GALAXY_HALF_COUNT; half++)
            group->shares[half][m - 1] = joint->chosen[half];
        at -= (size_t)(joint->chosen[GALAXY_MHA] / search->grains[GALAXY_MHA]) * search->width +
              (size_t)(joint->chosen[GALAXY_MLP] / search->grains[GALAXY_MLP]);
    }
}

/* The member takes so much of both behind whatever those before it have. */
static void joint_step(const struct joint_search *search, int32_t member,
                       const struct choice *heads, const struct choice *columns)
{
    const struct joint *before = &search->table[(size_t)member * search->size];
    struct joint *after = &search->table[(size_t)(member + 1) * search->size];
    size_t columns_step = (size_t)(columns->units / search->grains[GALAXY_MLP]);
    size_t step =
        (size_t)(heads->units / search->grains[GALAXY_MHA]) * search->width + columns_step;

    for (size_t from = 0; from + step < search->size; from++) {
        int64_t time_ps = larger(before[from].time_ps, columns->time_ps);

        if (from % search->width + columns_step < search->width &&
            time_ps < after[from + step].time_ps)
            after[from + step] = (struct joint){ time_ps, { heads->units, columns->units } };
    }
}

/* The least that the slowest takes for MLP when nobody takes more than most_ps for MHA. */
static int64_t joint_solve(const struct joint_search *search)
{
    struct galaxy_group *group = search->sharing->group;

    for (size_t i = 1; i < search->size * ((size_t)group->count + 1); i++)
        search->table[i].time_ps = INT64_MAX;
    for (int32_t m = 0; m < group->count; m++) {
        const struct choices *heads = &search->sharing->choices[GALAXY_MHA][m];
        const struct choices *columns = &search->sharing->choices[GALAXY_MLP][m];

        for (int32_t i = 0; i < heads->count; i++)
            for (int32_t k = 0; k < columns->count; k++) {
                group->shares[GALAXY_MHA][m] = heads->list[i].units;
                group->shares[GALAXY_MLP][m] = columns->list[k].units;
                if (heads->list[i].time_ps <= search->most_ps && lacking_of(group, m) == 0)
                    joint_step(search, m, &heads->list[i], &columns->list[k]);
            }
    }
    return search->table[((size_t)group->count + 1) * search->size - 1].time_ps;
}

/* False: more steps than are taken. */
static bool joint_begin(struct joint_search *search)
{
    struct sharing *sharing = search->sharing;
    size_t count = (size_t)sharing->group->count + 1;
    int64_t pairs = 0, times = 0;

    for (int half = 0; half < GALAXY_HALF_COUNT; half++)
        search->grains[half] =
            grain_of(sharing->choices[half], sharing->group->count, sharing->whole[half]);
    search->width = (size_t)(sharing->whole[GALAXY_MLP] / search->grains[GALAXY_MLP]) + 1;
    search->size =
        search->width * ((size_t)(sharing->whole[GALAXY_MHA] / search->grains[GALAXY_MHA]) + 1);
    for (int32_t m = 0; m < sharing->group->count; m++) {
        pairs +=
            (int64_t)sharing->choices[GALAXY_MHA][m].count * sharing->choices[GALAXY_MLP][m].count;
        times += sharing->choices[GALAXY_MHA][m].count;
    }
    if (saturate_mul((int64_t)search->size * times, pairs) > sharing->group->most_steps)
        return false;
    search->table = arena_array(sharing->group->arena, search->size * count, sizeof *search->table);
    return true;
}

/* Of all shares that fit those whose slowest members take least for both halves, if that is less
 * than *best_ps. */
static bool joint_share(struct sharing *sharing, int64_t *best_ps)
{
    struct joint_search search = { .sharing = sharing };
    struct galaxy_group *group = sharing->group;
    int64_t most_ps = -1;

    if (!joint_begin(&search))
        return false;
    for (int32_t m = 0; m < group->count; m++)
        for (int32_t i = 0; i < sharing->choices[GALAXY_MHA][m].count; i++) {
            int64_t columns_ps;

            search.most_ps = sharing->choices[GALAXY_MHA][m].list[i].time_ps;
            columns_ps = joint_solve(&search);
            if (columns_ps == INT64_MAX || saturate_add(search.most_ps, columns_ps) >= *best_ps)
                continue;
            *best_ps = saturate_add(search.most_ps, columns_ps);
            most_ps = search.most_ps;
        }
    if (most_ps < 0)
        return false;
    search.most_ps = most_ps;
    (void)joint_solve(&search);
    joint_trace(&search);
    return true;
}

static bool sharing_begin(struct sharing *sharing)
{
    struct galaxy_group *group = sharing->group;
    size_t count = (size_t)group->count;
    int64_t slowest_ps;

    sharing->caps = arena_array(group->arena, count, sizeof *sharing->caps);
    for (int half = 0; half < GALAXY_HALF_COUNT; half++) {
        sharing->whole[half] = parts_units(group->parts, blocks_of[half][0]);
        sharing->choices[half] = arena_array(group->arena, count, sizeof(struct choices));
        group->shares[half] = arena_array(group->arena, count, sizeof(int32_t));
        for (int32_t m = 0; m < group->count; m++) {
            sharing->choices[half][m] = choices_of(group, m, (enum galaxy_half)half);
            if (sharing->choices[half][m].count == 0)
                return false;
        }
        if (!balance(group->arena, sharing->choices[half], group->count, sharing->whole[half], NULL,
                     group->shares[half], &slowest_ps))
            return false;
    }
    return true;
}

/* What the slowest members take for both halves. */
static int64_t slowest_of(const struct sharing *sharing)
{
    int64_t sum_ps = 0;

    for (int half = 0; half < GALAXY_HALF_COUNT; half++) {
        int64_t slowest_ps = 0;

        for (int32_t m = 0; m < sharing->group->count; m++) {
            const struct choices *choices = &sharing->choices[half][m];

            for (int32_t i = 0; i < choices->count; i++)
                if (choices->list[i].units == sharing->group->shares[half][m])
                    slowest_ps = larger(slowest_ps, choices->list[i].time_ps);
        }
        sum_ps = saturate_add(sum_ps, slowest_ps);
    }
    return sum_ps;
}

struct kept { /* shares of both halves */
    int32_t *shares[GALAXY_HALF_COUNT];
};

static void copy_shares(const struct galaxy_group *group, int32_t *const *from, int32_t *const *to)
{
    for (int half = 0; half < GALAXY_HALF_COUNT; half++)
        memcpy(to[half], from[half], (size_t)group->count * sizeof *to[half]);
}

/* The best of what either order of repair and all shares that fit give; they begin with balanced
 * ones. */
static bool best_repair(struct sharing *sharing)
{
    struct galaxy_group *group = sharing->group;
    struct kept balanced, best;
    int64_t best_ps = INT64_MAX;

    for (int half = 0; half < GALAXY_HALF_COUNT; half++) {
        balanced.shares[half] = arena_array(group->arena, (size_t)group->count, sizeof(int32_t));
        best.shares[half] = arena_array(group->arena, (size_t)group->count, sizeof(int32_t));
    }
    copy_shares(group, group->shares, balanced.shares);
    for (int half = 0; half < GALAXY_HALF_COUNT; half++) {
        copy_shares(group, balanced.shares, group->shares);
        if (repair(sharing, (enum galaxy_half)half, (enum galaxy_half)(1 - half)) &&
            slowest_of(sharing) < best_ps) {
            best_ps = slowest_of(sharing);
            copy_shares(group, group->shares, best.shares);
        }
    }
    if (!joint_share(sharing, &best_ps) && best_ps < INT64_MAX)
        copy_shares(group, best.shares, group->shares);
    return best_ps < INT64_MAX;
}

bool galaxy_share(struct galaxy_group *group)
{
    struct sharing sharing = { .group = group };

    if (!sharing_begin(&sharing))
        return false;
    for (int32_t m = 0; m < group->count; m++)
        if (lacking_of(group, m) > group->lacking_bytes) {
            group->lacking_bytes = lacking_of(group, m);
            group->lacking = m;
        }
    group->is_repaired = group->lacking_bytes > 0;
    return !group->is_repaired || best_repair(&sharing);
}
