/* galaxy.c - Galaxy's planner (Ye et al., INFOCOM 2024, arXiv 2405.17245): one stage over a group
 * of devices, attention and FFN in parallel by heads and columns, norms and additions along the
 * sequence, shares by capacity within memory (galaxy_shares.c).
 *
 * Galaxy takes all devices there are. Here every set of them is tried, or, where there are too
 * many, the 2, 3, ... with the most capacity and the most memory: more are not faster where
 * messages cost more than they save. So are norms on all devices in place of along the sequence,
 * and the LM head whole or in parts. What a candidate takes is known exactly (parts_score.c), or,
 * with --overlap, simulated. */
#include "sim/place/galaxy.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/saturate.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "lib/policy/pass.h"
#include "sim/judge/judge.h"
#include "sim/place/place.h"
#include "sim/place/problem.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define MOST_HEAD_PARTS 64
#define MOST_SETS 128 /* of devices, all of which are tried */
#define MOST_FIRST 4  /* members that the embedding, or the whole LM head, is tried on */
#define MOST_HEADS 4
#define MOST_LINES 8

struct galaxy {
    struct arena *arena;
    const struct place_ask *ask;
    const struct problem *problem;
    struct parts *parts;
    int32_t device_count; /* that parts were measured on, by falling capacity */
    int32_t *devices;
    int32_t *roomy; /* the same by falling memory */
    struct galaxy_group *best;
    struct parts_score best_score; /* of all groups: the best, and of the largest alone */
    struct galaxy_group *widest;
    struct parts_score widest_score;
    struct galaxy_group *closest; /* of those that do not fit */
};

struct members {
    int32_t count;
    int32_t *devices;
    int32_t *tokens; /* part of the sequence of each: the last is the fastest's */
};

/* ---- devices by capacity ---- */

struct ranked {
    int64_t least; /* what the rank goes by */
    int32_t device;
};

static int compare(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->least != y->least)
        return x->least < y->least ? -1 : 1;
    return (x->device > y->device) - (x->device < y->device);
}

static int32_t *sorted(const struct galaxy *galaxy, struct ranked *ranked)
{
    size_t count = (size_t)galaxy->device_count;
    int32_t *devices = arena_array(galaxy->arena, count + 1, sizeof *devices);

    qsort(ranked, count, sizeof *ranked, compare);
    for (size_t i = 0; i < count; i++)
        devices[i] = ranked[i].device;
    return devices;
}

static void devices_rank(struct galaxy *galaxy)
{
    const struct cluster *cluster = problem_input(galaxy->problem)->cluster;
    struct ranked *ranked =
        arena_array(galaxy->arena, (size_t)cluster->device_count, sizeof *ranked);

    for (int32_t d = 0; d < cluster->device_count; d++) {
        int64_t heads_ps = galaxy_half_ps(galaxy->parts, d, GALAXY_MHA);
        int64_t columns_ps = galaxy_half_ps(galaxy->parts, d, GALAXY_MLP);

        if (heads_ps < INT64_MAX && columns_ps < INT64_MAX)
            ranked[galaxy->device_count++] =
                (struct ranked){ saturate_add(heads_ps, columns_ps), d };
    }
    galaxy->devices = sorted(galaxy, ranked);
    for (int32_t i = 0; i < galaxy->device_count; i++) {
        const struct cluster_device *device = &cluster->devices[galaxy->devices[i]];
        int64_t free_bytes = device->memory_bytes - device->reserved_bytes;

        ranked[i] = (struct ranked){ device->memory_bytes == 0 ? -INT64_MAX : -free_bytes,
                                     galaxy->devices[i] };
    }
    galaxy->roomy = sorted(galaxy, ranked);
}

/* ---- rows ---- */

struct writer {
    const struct galaxy_group *group;
    struct placement_row *rows;
    int count;
};

/* Parts first to first + count - 1 of `of`, as small numbers as can be. None of them: no row. */
static void add_row(struct writer *writer, int32_t member, unsigned blocks, int64_t first,
                    int64_t count, int64_t of)
{
    const struct problem_input *input = problem_input(writer->group->problem);
    bool is_layer = !(blocks & (1u << BLOCK_EMBED | 1u << BLOCK_LM_HEAD));

    if (count == 0)
        return;
    writer->rows[writer->count++] =
        (struct placement_row){ .service = input->service,
                                .device =
                                    input->cluster->devices[writer->group->devices[member]].name,
                                .model = input->model->name,
                                .executable = "",
                                .layer_first = is_layer ? 0 : -1,
                                .layer_last = is_layer ? input->model->layers - 1 : -1,
                                .blocks = blocks,
                                .part_first = count == of ? 0 : (int32_t)first,
                                .part_last = count == of ? 0 : (int32_t)(first + count - 1),
                                .part_of = count == of ? 1 : (int32_t)of };
}

/* Of a block in shares that add up to the whole. */
static void add_rows(struct writer *writer, unsigned blocks, const int32_t *shares)
{
    int32_t whole = 0, grain = 0, before = 0;

    for (int32_t m = 0; m < writer->group->count; m++) {
        whole += shares[m];
        grain = galaxy_gcd(grain, shares[m]);
    }
    assert(grain > 0);
    for (int32_t m = 0; m < writer->group->count; m++) {
        add_row(writer, m, blocks, before / grain, shares[m] / grain, whole / grain);
        before += shares[m];
    }
}

static struct placement_row *rows_of(struct arena *arena, const struct galaxy_group *group,
                                     int *count)
{
    struct writer writer = { .group = group };

    writer.rows = arena_array(arena, 5 * (size_t)group->count + 1, sizeof *writer.rows);
    add_row(&writer, 0, 1u << BLOCK_EMBED, 0, 1, 1);
    add_rows(&writer, 1u << BLOCK_ATTN, group->shares[GALAXY_MHA]);
    add_rows(&writer, 1u << BLOCK_PROJ, group->shares[GALAXY_MHA]);
    add_rows(&writer, 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN, group->shares[GALAXY_MLP]);
    if (group->is_sequence)
        for (int32_t m = 0; m < group->count; m++)
            add_row(&writer, m, 1u << BLOCK_CONN, group->tokens[m], 1, group->count);
    if (group->head_of == 1)
        add_rows(&writer, 1u << BLOCK_LM_HEAD, group->head_parts);
    else /* not of smaller numbers: parts of the vocabulary are rounded up */
        for (int32_t m = 0, before = 0; m < group->count; before += group->head_parts[m++])
            add_row(&writer, m, 1u << BLOCK_LM_HEAD, before, group->head_parts[m], group->head_of);
    *count = writer.count;
    return writer.rows;
}

/* ---- candidates ---- */

static enum collective_algorithm collective_of(const struct galaxy *galaxy)
{
    return galaxy->ask->judge ? judge_input(galaxy->ask->judge)->serve.collective : COLLECTIVE_RING;
}

static bool has_overlap(const struct galaxy *galaxy)
{
    return galaxy->ask->judge && judge_input(galaxy->ask->judge)->serve.has_overlap;
}

static int64_t value_of(const struct galaxy *galaxy, const struct parts_score *score)
{
    return galaxy->ask->objective == PLACE_LATENCY ? score->latency_ps : score->period_ps;
}

/* In memory of its own: a candidate has a network. */
static bool score_of(const struct galaxy *galaxy, const struct galaxy_group *group,
                     struct parts_score *score)
{
    const struct problem_input *input = problem_input(galaxy->problem);
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    int count;
    const struct placement_row *rows = rows_of(arena, group, &count);
    bool is_scored =
        parts_score(arena, galaxy->problem, collective_of(galaxy), rows, count, score, &err);

    if (is_scored && has_overlap(galaxy)) {
        struct judge_verdict verdict = judge_alone(galaxy->ask->judge, rows, count, input->service,
                                                   input->prompt_tokens, input->output_tokens);

        is_scored = verdict.is_feasible;
        score->latency_ps = verdict.latency_mean_ps;
    }
    arena_destroy(arena);
    return is_scored && score->room_bytes >= 0;
}

/* False: memory is what limits it. */
static bool candidate_try(struct galaxy *galaxy, struct galaxy_group *group)
{
    struct parts_score score;

    if (!galaxy_share(group) || !score_of(galaxy, group, &score)) {
        if (group->is_repaired &&
            (!galaxy->closest || group->lacking_bytes < galaxy->closest->lacking_bytes))
            galaxy->closest = group;
        return false;
    }
    if (!galaxy->best || value_of(galaxy, &score) < value_of(galaxy, &galaxy->best_score)) {
        galaxy->best = group;
        galaxy->best_score = score;
    }
    if (!galaxy->widest || group->count > galaxy->widest->count ||
        (group->count == galaxy->widest->count &&
         value_of(galaxy, &score) < value_of(galaxy, &galaxy->widest_score))) {
        galaxy->widest = group;
        galaxy->widest_score = score;
    }
    return !group->is_repaired;
}

static struct galaxy_group *group_of(const struct galaxy *galaxy, const struct members *members,
                                     bool is_sequence)
{
    struct galaxy_group *group = arena_alloc(galaxy->arena, sizeof *group);

    *group = (struct galaxy_group){ .arena = galaxy->arena,
                                    .problem = galaxy->problem,
                                    .parts = galaxy->parts,
                                    .count = members->count,
                                    .devices = members->devices,
                                    .is_sequence = is_sequence,
                                    .tokens = members->tokens,
                                    .head_of = 1,
                                    .most_steps = GALAXY_STEPS };
    group->head_parts =
        arena_array(galaxy->arena, (size_t)members->count, sizeof *group->head_parts);
    return group;
}

/* The member that computes the LM head fastest among those that it has not been on; -1: none. */
static int32_t next_head(const struct galaxy *galaxy, const struct members *members,
                         const bool *was_tried)
{
    int64_t best_ps = INT64_MAX;
    int32_t best = -1;

    for (int32_t m = 0; m < members->count; m++) {
        int64_t time_ps;

        if (!was_tried[m] &&
            parts_time_ps(galaxy->parts, members->devices[m], BLOCK_LM_HEAD,
                          parts_units(galaxy->parts, BLOCK_LM_HEAD), &time_ps) &&
            time_ps < best_ps) {
            best_ps = time_ps;
            best = m;
        }
    }
    return best;
}

/* The LM head whole: on the fastest, and on others where memory is short there. */
static bool whole_head_try(struct galaxy *galaxy, const struct members *members, bool is_sequence)
{
    bool *was_tried = arena_array(galaxy->arena, (size_t)members->count, sizeof *was_tried);

    for (int i = 0; i < MOST_HEADS; i++) {
        struct galaxy_group *group = group_of(galaxy, members, is_sequence);
        int32_t at = next_head(galaxy, members, was_tried);

        if (at < 0)
            return i > 0;
        was_tried[at] = true;
        group->head_parts[at] = 1;
        if (candidate_try(galaxy, group))
            return i > 0;
    }
    return true;
}

/* In so many parts that the slowest member takes least. */
static bool cut_head_try(struct galaxy *galaxy, const struct members *members, bool is_sequence)
{
    struct galaxy_group *group = group_of(galaxy, members, is_sequence);
    int32_t most = parts_units(galaxy->parts, BLOCK_LM_HEAD), best_of = 0;
    int64_t best_ps = INT64_MAX, slowest_ps;

    for (int32_t of = 2; of <= MOST_HEAD_PARTS && of <= most; of++)
        if (galaxy_head_balance(group, of, &slowest_ps) && slowest_ps < best_ps) {
            best_ps = slowest_ps;
            best_of = of;
        }
    return best_of > 0 && galaxy_head_balance(group, best_of, &slowest_ps) &&
           !candidate_try(galaxy, group);
}

static bool is_over(const struct galaxy *galaxy)
{
    return galaxy->ask->is_over && galaxy->ask->is_over(galaxy->ask->is_over_arg);
}

/* True: memory was short. */
static bool order_try(struct galaxy *galaxy, const struct members *members)
{
    bool is_short = false;

    for (int is_sequence = 1; is_sequence >= 0 && !is_over(galaxy); is_sequence--) {
        is_short = whole_head_try(galaxy, members, is_sequence) || is_short;
        is_short = cut_head_try(galaxy, members, is_sequence) || is_short;
    }
    return is_short;
}

static struct members members_of(const struct galaxy *galaxy, int32_t most)
{
    size_t count = (size_t)most;

    return (struct members){ .devices = arena_array(galaxy->arena, count, sizeof(int32_t)),
                             .tokens = arena_array(galaxy->arena, count, sizeof(int32_t)) };
}

static void members_add(struct members *members, int32_t device, int32_t tokens)
{
    members->tokens[members->count] = tokens;
    members->devices[members->count++] = device;
}

/* Devices by falling capacity. The first member has the embedding: the fastest, or, where memory is
 * short, others. */
static void members_try(struct galaxy *galaxy, const int32_t *devices, int32_t count)
{
    for (int32_t first = 0; first < count && first < MOST_FIRST; first++) {
        struct members members = members_of(galaxy, count);

        members_add(&members, devices[first], count - 1 - first);
        for (int32_t m = 0; m < count; m++)
            if (m != first)
                members_add(&members, devices[m], count - 1 - m);
        if (!order_try(galaxy, &members))
            return;
    }
}

/* The first of the devices, in order of their capacity. */
static void first_try(struct galaxy *galaxy, const int32_t *devices, int32_t count)
{
    int32_t *members = arena_array(galaxy->arena, (size_t)count, sizeof *members), found = 0;

    for (int32_t i = 0; i < galaxy->device_count; i++)
        for (int32_t k = 0; k < count; k++)
            if (devices[k] == galaxy->devices[i])
                members[found++] = devices[k];
    members_try(galaxy, members, found);
}

/* Of each kind so many devices: the next of all such sets; false: that was the last. */
static bool next_set(const struct galaxy *galaxy, const int32_t *of_kind, int32_t *set)
{
    for (int32_t k = 0; k < problem_kind_count(galaxy->problem); k++) {
        if (set[k] < of_kind[k]) {
            set[k]++;
            return true;
        }
        set[k] = 0;
    }
    return false;
}

/* Every set of devices, where those of one kind are alike. */
static void sets_try(struct galaxy *galaxy, const int32_t *of_kind, int32_t most)
{
    size_t kinds = (size_t)problem_kind_count(galaxy->problem);
    int32_t *set = arena_array(galaxy->arena, kinds, sizeof *set);
    int32_t *left = arena_array(galaxy->arena, kinds, sizeof *left);

    while (next_set(galaxy, of_kind, set)) {
        int32_t *members =
            arena_array(galaxy->arena, (size_t)galaxy->device_count, sizeof *members);
        int32_t count = 0;

        memcpy(left, set, kinds * sizeof *left);
        for (int32_t i = 0; i < galaxy->device_count; i++)
            if (left[problem_kind_of(galaxy->problem, galaxy->devices[i])]-- > 0)
                members[count++] = galaxy->devices[i];
        if (count >= 2 && count <= most)
            members_try(galaxy, members, count);
    }
}

static void groups_try(struct galaxy *galaxy)
{
    int32_t most = parts_units(galaxy->parts, BLOCK_ATTN);
    size_t kinds = (size_t)problem_kind_count(galaxy->problem);
    int32_t *of_kind = arena_array(galaxy->arena, kinds, sizeof *of_kind);
    int64_t sets = 1;

    if (most > galaxy->device_count)
        most = galaxy->device_count;
    if (most > PASS_MAX_DEVICES)
        most = PASS_MAX_DEVICES;
    for (int32_t i = 0; i < galaxy->device_count; i++)
        of_kind[problem_kind_of(galaxy->problem, galaxy->devices[i])]++;
    for (size_t k = 0; k < kinds; k++)
        sets = saturate_mul(sets, of_kind[k] + 1);
    if (sets <= MOST_SETS) {
        sets_try(galaxy, of_kind, most);
        return;
    }
    for (int32_t count = 2; count <= most; count++) {
        first_try(galaxy, galaxy->devices, count);
        first_try(galaxy, galaxy->roomy, count);
    }
}

/* ---- answers ---- */

static const char *time_text(struct arena *arena, int64_t time_ps)
{
    char text[UNITS_TEXT_BYTES];

    return arena_strdup(arena, units_format_human(time_ps, text));
}

static const char *device_name(const struct galaxy *galaxy, const struct galaxy_group *group,
                               int32_t member)
{
    return problem_input(galaxy->problem)->cluster->devices[group->devices[member]].name;
}

static const char *share_text(const struct galaxy *galaxy, const struct galaxy_group *group,
                              int32_t member)
{
    return arena_printf(galaxy->arena, "device '%s': %d of %d groups of heads, %d of %d columns%s",
                        device_name(galaxy, group, member), group->shares[GALAXY_MHA][member],
                        parts_units(galaxy->parts, BLOCK_ATTN), group->shares[GALAXY_MLP][member],
                        parts_units(galaxy->parts, BLOCK_FFN_UP),
                        group->is_sequence ? ", an equal part of the sequence" : "");
}

/* Tile by tile, an exchange can at best hide all of the shorter of the two. */
static const char *overlap_text(const struct galaxy *galaxy, const struct parts_score *score)
{
    int64_t hidden_ps =
        score->compute_ps < score->exchange_ps ? score->compute_ps : score->exchange_ps;
    int64_t sum_ps = saturate_add(score->compute_ps, score->exchange_ps);

    return arena_printf(galaxy->arena,
                        "%s computing and %s exchanging; at least %s if every exchange were hidden "
                        "tile by tile behind the product beside it, as in Galaxy",
                        time_text(galaxy->arena, score->compute_ps),
                        time_text(galaxy->arena, score->exchange_ps),
                        time_text(galaxy->arena, sum_ps - hidden_ps));
}

static void explain(const struct galaxy *galaxy, struct place_answer *answer)
{
    const struct galaxy_group *best = galaxy->best;
    const char **lines =
        arena_array(galaxy->arena, MOST_LINES + (size_t)(best ? best->count : 0), sizeof *lines);
    int count = 0;

    if (best) {
        for (int32_t m = 0; m < best->count; m++)
            lines[count++] = share_text(galaxy, best, m);
        lines[count++] = overlap_text(galaxy, &galaxy->best_score);
        if (best->is_repaired)
            lines[count++] = arena_printf(
                galaxy->arena,
                "balanced shares would lack %lld bytes on device '%s': they were shifted",
                (long long)best->lacking_bytes, device_name(galaxy, best, best->lacking));
    }
    if (galaxy->widest && galaxy->widest != best)
        lines[count++] =
            arena_printf(galaxy->arena, "%s on %d devices, the most that it fits on",
                         time_text(galaxy->arena, value_of(galaxy, &galaxy->widest_score)),
                         galaxy->widest->count);
    answer->lines = lines;
    answer->line_count = count;
}

static const char *why_not(const struct galaxy *galaxy)
{
    int64_t missing_bytes = problem_missing_bytes(galaxy->problem);

    if (missing_bytes > 0)
        return arena_printf(galaxy->arena, "all devices together lack %lld bytes",
                            (long long)missing_bytes);
    if (!galaxy->closest)
        return "no device holds all of it, and no parts of it were measured on several that make "
               "up the whole (orrery-profile run --slices N)";
    return arena_printf(galaxy->arena,
                        "no device holds all of it, and no shares of measured sizes fit: of %d "
                        "devices, which are closest, '%s' lacks %lld bytes when shares are "
                        "balanced",
                        galaxy->closest->count,
                        device_name(galaxy, galaxy->closest, galaxy->closest->lacking),
                        (long long)galaxy->closest->lacking_bytes);
}

struct place_answer place_galaxy(struct arena *arena, const struct place_ask *ask)
{
    struct galaxy galaxy = { .arena = arena, .ask = ask, .problem = ask->problems[0] };
    struct place_answer answer = place_single(arena, ask);

    galaxy.parts = parts_create(arena, galaxy.problem);
    devices_rank(&galaxy);
    groups_try(&galaxy);
    if (answer.is_feasible && galaxy.best) {
        struct problem_score alone =
            problem_score(galaxy.problem, answer.stages, answer.stage_count);

        if ((ask->objective == PLACE_LATENCY ? alone.latency_ps : alone.period_ps) <=
            value_of(&galaxy, &galaxy.best_score))
            galaxy.best = NULL;
    }
    if (galaxy.best) {
        answer = (struct place_answer){ .is_feasible = true, .why = "" };
        answer.rows = rows_of(arena, galaxy.best, &answer.row_count);
    } else if (!answer.is_feasible) {
        answer.why = why_not(&galaxy);
    }
    explain(&galaxy, &answer);
    return answer;
}
