/* test_place_galaxy.c - tensor parallel placements by capacity: they are placements that fit and
 * take what is predicted, and how far they are from the best of all shares on few devices. */
#include "tests/unit/sim/place_case.h"
#include "tests/unit/sim/sliced_rules.h"

#include "sim/place/galaxy.h"

#define ROUNDS 14
#define DEVICES_OF_BRUTE 3
#define COLUMN_GRAIN 12 /* enumeration cuts columns by the eighth */
#define MOST_OFF 1.001  /* of the best */

static void case_begin(struct case_of *of, int prompt, int output)
{
    case_load(of);
    case_ask(of, prompt, output, NULL, NULL, PLACE_LATENCY);
}

static struct place_answer plan(struct case_of *of, enum place_objective objective)
{
    of->ask.objective = objective;
    return place_galaxy(fixture.arena, &of->ask);
}

/* Of the rows, as the simulator sees it: it fits. */
static struct judge_verdict verdict_of(const struct case_of *of, const struct place_answer *answer)
{
    struct judge_verdict verdict;
    int count;
    struct placement_row *list = place_rows(fixture.arena, &of->ask, answer, &count);

    verdict =
        judge_alone(of->judge, list, count, "s", of->input.prompt_tokens, of->input.output_tokens);
    if (!verdict.is_feasible)
        fail_msg("%s", verdict.why);
    assert_true(verdict.room_bytes >= 0);
    return verdict;
}

/* Rates at which it pays to compute together, and others. */
static void draw_case(struct rng *rng, int count)
{
    static const char *const rates[] = { "1e8", "1e9", "1e10" };
    const char *devices = "device,type,speed_ratio,memory_bytes\n";
    int memory = draw(rng, 0, 2), rate, latency;

    for (int d = 0; d < count; d++) {
        int speed = draw(rng, 3, 9);
        int kilobytes = draw(rng, memory == 1 ? 250 : 200, memory == 1 ? 700 : 400);

        devices = arena_printf(fixture.arena, "%s%c,t,0.%d,%s\n", devices, 'a' + d, speed,
                               memory == 0 ? "" : arena_printf(fixture.arena, "%d000", kilobytes));
    }
    rate = draw(rng, 0, 2);
    latency = draw(rng, 0, 9);
    fixture_cluster(devices, arena_printf(fixture.arena,
                                          "medium,kind,node,bits_per_s,latency_s,per_message_s\n"
                                          "lan,switch,*,%s,0.0000%d,0\n",
                                          rates[rate], latency));
}

/* ---- every share ---- */

struct brute {
    const struct case_of *of;
    struct galaxy_group group;
    int32_t heads[DEVICES_OF_BRUTE], columns[DEVICES_OF_BRUTE], head_parts[DEVICES_OF_BRUTE];
    int32_t devices[DEVICES_OF_BRUTE];
    int64_t best_ps;
    char best[160]; /* in words: for who has to find out why */
};

static void brute_keep(struct brute *brute, int64_t latency_ps)
{
    int at = 0;

    if (latency_ps >= brute->best_ps)
        return;
    brute->best_ps = latency_ps;
    for (int m = 0; m < brute->group.count; m++)
        at += snprintf(brute->best + at, sizeof brute->best - (size_t)at,
                       "%s: %d heads, %d columns%s%s; ",
                       brute->of->input.cluster->devices[brute->devices[m]].name, brute->heads[m],
                       COLUMN_GRAIN * brute->columns[m], brute->head_parts[m] > 0 ? ", head" : "",
                       brute->group.is_sequence ? ", sequence" : "");
}

/* The rows of shares, as a person would write them. */
static void brute_score(struct brute *brute)
{
    struct arena *arena = arena_create();
    struct placement_row list[32] = { 0 };
    struct parts_score score;
    struct err err = ERR_INIT;
    int count = 0, before[3] = { 0 };
    const struct placement_row row = { .service = "s",
                                       .model = "wide",
                                       .executable = "",
                                       .part_of = 1,
                                       .layer_first = -1,
                                       .layer_last = -1 };

    for (int m = 0; m < brute->group.count; m++) {
        const char *device = brute->of->input.cluster->devices[brute->devices[m]].name;
        const struct {
            unsigned blocks;
            int32_t share, of;
        } cuts[] = { { 1u << BLOCK_ATTN | 1u << BLOCK_PROJ, brute->heads[m], KV_HEADS },
                     { 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN, brute->columns[m],
                       FFN / COLUMN_GRAIN },
                     { 1u << BLOCK_CONN, brute->group.is_sequence, brute->group.count } };

        if (m == 0) {
            list[count] = row;
            list[count].device = device;
            list[count++].blocks = 1u << BLOCK_EMBED;
        }
        for (int c = 0; c < 3; c++) {
            if (cuts[c].share == 0)
                continue;
            list[count] = row;
            list[count].device = device;
            list[count].blocks = cuts[c].blocks;
            list[count].layer_first = 0;
            list[count].layer_last = LAYERS - 1;
            list[count].part_first = before[c];
            list[count].part_last = before[c] + cuts[c].share - 1;
            list[count++].part_of = cuts[c].of;
            before[c] += cuts[c].share;
        }
        if (brute->head_parts[m] > 0) {
            list[count] = row;
            list[count].device = device;
            list[count++].blocks = 1u << BLOCK_LM_HEAD;
        }
    }
    if (!parts_score(arena, brute->of->problem, COLLECTIVE_RING, list, count, &score, &err))
        fail_msg("%s", err.text);
    if (score.room_bytes >= 0)
        brute_keep(brute, score.latency_ps);
    arena_destroy(arena);
}

static void brute_columns(struct brute *brute, int member, int left)
{
    int count = brute->group.count;

    if (member + 1 == count) {
        brute->columns[member] = left;
        brute_score(brute);
        return;
    }
    for (int share = 1; share <= left - (count - member - 1); share++) {
        brute->columns[member] = share;
        brute_columns(brute, member + 1, left - share);
    }
}

static void brute_heads(struct brute *brute, int member, int left)
{
    int count = brute->group.count;

    if (member + 1 == count) {
        brute->heads[member] = left;
        for (int at = 0; at < count; at++)
            for (int is_sequence = 0; is_sequence < 2; is_sequence++) {
                memset(brute->head_parts, 0, sizeof brute->head_parts);
                brute->head_parts[at] = 1;
                brute->group.is_sequence = is_sequence > 0;
                brute_columns(brute, 0, FFN / COLUMN_GRAIN);
            }
        return;
    }
    for (int share = 1; share <= left - (count - member - 1); share++) {
        brute->heads[member] = share;
        brute_heads(brute, member + 1, left - share);
    }
}

/* Every order of every set of devices, every share of each. */
static void brute_devices(struct brute *brute, unsigned used)
{
    if (brute->group.count == 1) {
        const struct problem_stage stage = { brute->devices[0], 0, LAYERS + 1 };
        struct problem_score score = problem_score(brute->of->problem, &stage, 1);

        if (score.room_bytes >= 0)
            brute_keep(brute, score.latency_ps);
    } else if (brute->group.count > 1) {
        brute_heads(brute, 0, KV_HEADS);
    }
    for (int32_t d = 0; d < brute->of->input.cluster->device_count; d++) {
        if (used >> d & 1u)
            continue;
        brute->devices[brute->group.count++] = d;
        brute_devices(brute, used | 1u << d);
        brute->group.count--;
    }
}

static void it_is_near_the_best_of_all_shares(void **state)
{
    struct rng rng = rng_stream(31, RNG_TEST, 0);
    int found = 0, together = 0, same = 0, none = 0;
    double worst = 1;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        struct brute brute = { .best_ps = INT64_MAX };
        struct place_answer answer;
        struct judge_verdict verdict;
        struct case_of of;
        int prompt, output;
        double off;

        draw_case(&rng, draw(&rng, 2, DEVICES_OF_BRUTE));
        prompt = draw(&rng, 1, 6);
        output = draw(&rng, 1, 3);
        case_begin(&of, prompt, output);
        brute.of = &of;
        brute_devices(&brute, 0);
        answer = plan(&of, PLACE_LATENCY);
        if (!answer.is_feasible) {
            assert_int_equal(brute.best_ps, INT64_MAX);
            none++;
            continue;
        }
        verdict = verdict_of(&of, &answer);
        found++;
        together += answer.rows != NULL;
        off = brute.best_ps == INT64_MAX ? 1
                                         : (double)verdict.latency_mean_ps / (double)brute.best_ps;
        same += !(off > 1);
        worst = off > worst ? off : worst;
        if (off > MOST_OFF)
            fail_msg("round %d: %.4f times the best, %s", round, off, brute.best);
    }
    print_message("%d found, %d on several devices, %d as good as the best; %.4f times it at "
                  "most; %d fit nowhere\n",
                  found, together, same, worst, none);
    assert_in_range(together, ROUNDS / 3, ROUNDS);
    assert_in_range(same, found - found / 10, found);
}

/* ---- Galaxy's repair, without looking at all shares ---- */

static struct galaxy_group group_of(const struct case_of *of, struct parts *parts,
                                    int64_t most_steps)
{
    int32_t count = of->input.cluster->device_count;
    int32_t *devices = arena_array(fixture.arena, (size_t)count, sizeof *devices);
    struct galaxy_group group = { .arena = fixture.arena,
                                  .problem = of->problem,
                                  .parts = parts,
                                  .count = count,
                                  .devices = devices,
                                  .tokens = devices,
                                  .is_sequence = true,
                                  .head_of = 1,
                                  .most_steps = most_steps };

    for (int32_t m = 0; m < count; m++)
        devices[m] = m;
    group.head_parts = arena_array(fixture.arena, (size_t)count, sizeof *group.head_parts);
    group.head_parts[0] = 1;
    return group;
}

/* What the slowest members take for both halves; the shares are all there is, and fit. */
static int64_t slowest_of(const struct galaxy_group *group)
{
    int64_t heads_ps = 0, columns_ps = 0;
    int32_t heads = 0, columns = 0;

    for (int32_t m = 0; m < group->count; m++) {
        const struct cluster_device *device =
            &problem_input(group->problem)->cluster->devices[group->devices[m]];
        int64_t first_ps, second_ps;

        heads += group->shares[GALAXY_MHA][m];
        columns += group->shares[GALAXY_MLP][m];
        assert_true(device->memory_bytes == 0 ||
                    galaxy_member_bytes(group, m) <= device->memory_bytes);
        assert_true(
            parts_time_ps(group->parts, m, BLOCK_ATTN, group->shares[GALAXY_MHA][m], &first_ps));
        assert_true(
            parts_time_ps(group->parts, m, BLOCK_PROJ, group->shares[GALAXY_MHA][m], &second_ps));
        heads_ps = larger(heads_ps, first_ps + second_ps);
        assert_true(
            parts_time_ps(group->parts, m, BLOCK_FFN_UP, group->shares[GALAXY_MLP][m], &first_ps));
        assert_true(parts_time_ps(group->parts, m, BLOCK_FFN_DOWN, group->shares[GALAXY_MLP][m],
                                  &second_ps));
        columns_ps = larger(columns_ps, first_ps + second_ps);
    }
    assert_int_equal(heads, KV_HEADS);
    assert_int_equal(columns, FFN);
    return heads_ps + columns_ps;
}

static void what_overflows_goes_to_who_has_room(void **state)
{
    struct rng rng = rng_stream(32, RNG_TEST, 0);
    int repaired = 0, lost = 0;
    double worst = 1;

    (void)state;
    for (int round = 0; round < 200; round++) {
        struct galaxy_group all, shifted;
        struct parts *parts;
        struct case_of of;
        bool fits;

        draw_case(&rng, draw(&rng, 2, DEVICES_OF_BRUTE));
        case_begin(&of, 4, 4);
        parts = parts_create(fixture.arena, of.problem);
        all = group_of(&of, parts, GALAXY_STEPS);
        shifted = group_of(&of, parts, 0);
        fits = galaxy_share(&all);
        if (!galaxy_share(&shifted)) {
            lost += fits;
            continue;
        }
        assert_true(fits);
        if (all.is_repaired) {
            double off = (double)slowest_of(&shifted) / (double)slowest_of(&all);

            assert_false(off < 1);
            repaired++;
            worst = off > worst ? off : worst;
        } else {
            assert_int_equal(slowest_of(&shifted), slowest_of(&all));
        }
    }
    print_message("%d repaired, %.3f times the least at most; %d that fit were not found\n",
                  repaired, worst, lost);
    assert_in_range(repaired, 20, 200);
    assert_in_range(lost, 0, repaired / 10);
    assert_true(worst < 1.25);
}

/* ---- words ---- */

static void what_stands_in_the_way_is_said(void **state)
{
    struct place_answer answer;
    struct case_of of;

    (void)state;
    fixture_cluster("device,type,memory_bytes\na,t,100000\nb,t,100000\n", LAN);
    case_begin(&of, 4, 4);
    answer = plan(&of, PLACE_LATENCY);
    assert_false(answer.is_feasible);
    assert_int_equal(strncmp(answer.why, "all devices together lack ", 26), 0);
    /* enough for all of it, in no share: each holds one group of heads and some columns at least */
    fixture_cluster("device,type,memory_bytes\na,t,600000\nb,t,60000\nc,t,60000\n", LAN);
    case_begin(&of, 4, 4);
    answer = plan(&of, PLACE_LATENCY);
    assert_false(answer.is_feasible);
    if (!strstr(answer.why, "no shares of measured sizes fit: of 3 devices"))
        fail_msg("%s", answer.why);
}

/* A table of whole blocks alone: the model stands on one device, or on none. */
static void what_was_not_measured_is_not_cut(void **state)
{
    struct place_answer answer;
    struct case_of of;
    int kept = 0;
    struct out *out;

    (void)state;
    for (int i = 0; i < row_count; i++) {
        const struct cost_row *row = &rows[i];
        bool is_part = (row->heads > 0 && row->kv_heads != KV_HEADS) ||
                       (row->op == OP_QKV && row->gemm_n != (HEADS + 2 * KV_HEADS) * HEAD_DIM) ||
                       (row->op == OP_OPROJ && row->gemm_k != HEADS * HEAD_DIM);

        if (!is_part)
            rows[kept++] = rows[i];
    }
    out = out_open(fixture.arena, fixture_path("costs/t/kernels.csv"), &fixture.err);
    cost_write_kernels(out, "test", NULL, rows, kept);
    assert_true(out_commit(out, &fixture.err));
    fixture_cluster("device,type,memory_bytes\na,t,\nb,t,\n", LAN);
    case_begin(&of, 4, 4);
    answer = plan(&of, PLACE_LATENCY);
    assert_true(answer.is_feasible);
    assert_int_equal(answer.stage_count, 1);
    fixture_cluster("device,type,memory_bytes\na,t,400000\nb,t,400000\n", LAN);
    case_begin(&of, 4, 4);
    answer = plan(&of, PLACE_LATENCY);
    assert_false(answer.is_feasible);
    assert_non_null(strstr(answer.why, "no parts of it were measured"));
}

/* One pass; its pooler is not divided. */
static void an_encoder_is_cut_as_a_decoder_is(void **state)
{
    struct place_answer answer;
    struct judge_verdict verdict;
    struct parts_score score;
    struct case_of of;

    (void)state;
    fixture_cluster("device,type,memory_bytes\na,t,400000\nb,t,400000\n", LAN);
    case_load(&of);
    of.input.model = model_find(of.catalogue, "reader", &fixture.err);
    case_ask(&of, 6, 1, NULL, NULL, PLACE_LATENCY);
    answer = plan(&of, PLACE_LATENCY);
    assert_true(answer.is_feasible && answer.rows);
    verdict = verdict_of(&of, &answer);
    if (!parts_score(fixture.arena, of.problem, COLLECTIVE_RING, answer.rows, answer.row_count,
                     &score, &fixture.err))
        fail_msg("%s", fixture.err.text);
    assert_int_equal(score.latency_ps, verdict.latency_mean_ps);
    assert_int_equal(score.room_bytes, verdict.room_bytes);
}

/* With --overlap candidates are simulated: what is chosen then takes no longer than what is chosen
 * without, both under overlap. */
static void with_overlap_candidates_are_simulated(void **state)
{
    struct rng rng = rng_stream(33, RNG_TEST, 0);
    int faster = 0;

    (void)state;
    for (int round = 0; round < 6; round++) {
        struct place_answer with, without;
        struct case_of of, plain;
        int64_t with_ps, without_ps;

        draw_case(&rng, 3);
        fixture.options.has_overlap = false;
        case_begin(&plain, 4, 4);
        without = plan(&plain, PLACE_LATENCY);
        fixture.options.has_overlap = true;
        case_begin(&of, 4, 4);
        with = plan(&of, PLACE_LATENCY);
        assert_int_equal(with.is_feasible, without.is_feasible);
        if (!with.is_feasible)
            continue;
        with_ps = verdict_of(&of, &with).latency_mean_ps;
        without_ps = verdict_of(&of, &without).latency_mean_ps;
        assert_true(with_ps <= without_ps);
        faster += with_ps < verdict_of(&plain, &with).latency_mean_ps;
    }
    assert_in_range(faster, 1, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sliced_test(it_is_near_the_best_of_all_shares),
        sliced_test(what_overflows_goes_to_who_has_room),
        sliced_test(what_stands_in_the_way_is_said),
        sliced_test(what_was_not_measured_is_not_cut),
        sliced_test(an_encoder_is_cut_as_a_decoder_is),
        sliced_test(with_overlap_candidates_are_simulated),
    };

    return cmocka_run_group_tests_name("place_galaxy", tests, NULL, NULL);
}
