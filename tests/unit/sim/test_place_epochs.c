/* test_place_epochs.c - static and dynamic placements: what a run makes of both, what migrations
 * cost, and a cluster as it is at an instant. */
#include "tests/unit/sim/place_case.h"

#include "lib/format/events.h"
#include "sim/place/migration.h"
#include "sim/place/moment.h"

#define ROUNDS 20
#define EVENTS "time_s,target,event,value\n"
#define DEVICES "device,type,speed_ratio,memory_bytes\n"
#define LINKS "medium,kind,node,bits_per_s,latency_s,per_message_s\n"

static const char *requests_text(int count, int each_ms, int prompt, int output)
{
    const char *text = W;

    for (int i = 0; i < count; i++)
        text = arena_printf(fixture.arena, "%s%d,%d.%03d,s,%d,%d\n", text, i, i * each_ms / 1000,
                            i * each_ms % 1000, prompt, output);
    return text;
}

static void case_begin(struct case_of *of, const char *text, enum place_objective objective)
{
    struct events *events = NULL;
    int64_t prompts = 0, outputs = 0, count;
    struct workload *workload;

    case_load(of);
    workload = workload_load(fixture.arena, fixture_path("w.csv"), &fixture.err);
    assert_non_null(workload);
    fixture.files.events = NULL;
    if (text) {
        fixture_write("e.csv", arena_printf(fixture.arena, EVENTS "%s", text));
        fixture.files.events = fixture_path("e.csv");
        events = events_load(fixture.arena, fixture.files.events, of->input.cluster, &fixture.err);
        if (!events)
            fail_msg("%s", fixture.err.text);
    }
    for (size_t i = 0; i < workload->count; i++) {
        prompts += workload->prompt_tokens[i];
        outputs += workload->output_tokens[i];
    }
    count = workload->count > 0 ? (int64_t)workload->count : 1;
    case_ask(of, prompts / count, outputs / count, workload, events, objective);
}

struct served {
    int64_t ok, latency_sum_ps;
};

/* The placement as a file, run as `orrery-sim run` runs it. */
static struct served run_answer(const struct case_of *of, const struct place_answer *answer)
{
    struct served served = { 0, 0 };
    struct out *out = out_open(fixture.arena, fixture_path("p.csv"), &fixture.err);
    int count;
    struct placement_row *placed = place_rows(fixture.arena, &of->ask, answer, &count);

    assert_non_null(out);
    placement_write(out, placed, count);
    assert_true(out_commit(out, &fixture.err));
    fixture.options.switch_cost_ps = answer->switch_cost_ps;
    if (!fixture_run())
        fail_msg("%s", fixture.err.text);
    fixture.options.switch_cost_ps = 0;
    for (size_t i = 0; i < fixture.scenario.input.workload->count; i++) {
        const struct serve_request *request = &fixture.result.requests[i];

        if (request->status != TRACE_OK)
            continue;
        served.ok++;
        served.latency_sum_ps += request->finish_ps - request->arrival_ps;
    }
    return served;
}

/* Above 0: the second one serves less. */
static int goodput_order(const struct case_of *of, const struct place_answer *one,
                         const struct place_answer *two)
{
    struct judge_input input = *judge_input(of->judge);
    struct judge_verdict a = judge_rows(of->judge, one->rows, one->row_count), b;

    input.serve.switch_cost_ps = two->switch_cost_ps;
    b = judge_rows(judge_create(fixture.arena, &input), two->rows, two->row_count);
    return judge_compare(&b, &a);
}

static int epochs_of(const struct place_answer *answer)
{
    return answer->row_count > 0 ? answer->rows[answer->row_count - 1].epoch + 1 : 0;
}

static struct place_answer must_place(const struct case_of *of,
                                      struct place_answer (*plan)(struct arena *arena,
                                                                  const struct place_ask *ask))
{
    struct place_answer answer = plan(fixture.arena, &of->ask);

    if (!answer.is_feasible)
        fail_msg("%s", answer.why);
    return answer;
}

/* ---- cases by hand ---- */

#define LAN LINKS "lan,switch,*,1e8,0.0001,0.00001\n"

/* The fast one of two devices slows down for good: what stays there takes ten times as long. */
static void a_device_that_slows_down_is_left(void **state)
{
    struct place_answer once, moved;
    struct served before, after;
    struct case_of of;

    (void)state;
    fixture_cluster(DEVICES "a,t,1,\nb,t,0.9,\n", LAN);
    fixture_write("w.csv", requests_text(100, 40, 4, 4));
    case_begin(&of, "1,a,speed_ratio,0.1\n", PLACE_LATENCY);
    once = must_place(&of, place_static);
    moved = must_place(&of, place_dynamic);
    assert_int_equal(epochs_of(&once), 1);
    assert_in_range(epochs_of(&moved), 2, 3); /* what is known to come may be met early */
    assert_int_equal(moved.line_count, epochs_of(&moved) - 1);
    assert_true(moved.rows[moved.row_count - 1].from_ps <= UNITS_PS_PER_S);
    assert_true(moved.switch_cost_ps > 0);
    before = run_answer(&of, &once);
    after = run_answer(&of, &moved);
    assert_int_equal(before.ok, 100);
    assert_int_equal(after.ok, 100);
    assert_true(after.latency_sum_ps < before.latency_sum_ps / 3);
}

/* A device is lost and comes back: what is placed on it meanwhile fails. */
static void what_a_device_held_that_is_lost_goes_elsewhere(void **state)
{
    struct place_answer once, moved;
    struct served before, after;
    struct case_of of;

    (void)state;
    fixture_cluster(DEVICES "a,t,1,\nb,t,0.5,\n", LAN);
    fixture_write("w.csv", requests_text(100, 40, 4, 4));
    case_begin(&of, "1.001,a,down,\n2,a,up,\n", PLACE_LATENCY);
    once = must_place(&of, place_static);
    moved = must_place(&of, place_dynamic);
    before = run_answer(&of, &once);
    after = run_answer(&of, &moved);
    assert_in_range(before.ok, 70, 80);
    assert_int_equal(after.ok, 100); /* the one that would be under way then, too */
    assert_in_range(epochs_of(&moved), 2, 3);
}

/* The same slow-down, but over a link that would take longer than the rest of the workload. */
static void a_migration_that_does_not_pay_is_not_made(void **state)
{
    struct place_answer moved;
    struct case_of of;

    (void)state;
    fixture_cluster(DEVICES "a,t,1,\nb,t,0.9,\n", LINKS "lan,switch,*,1e5,0.0001,0.00001\n");
    fixture_write("w.csv", requests_text(100, 40, 4, 4));
    case_begin(&of, "3.9,a,speed_ratio,0.5\n", PLACE_LATENCY);
    moved = must_place(&of, place_dynamic);
    assert_int_equal(epochs_of(&moved), 1);
    assert_int_equal(moved.line_count, 0);
    assert_true(moved.switch_cost_ps == 0);
    assert_non_null(strstr(moved.why, "no migration is worth"));
}

/* To the other device and, when that is lost, back: the first of both may pay until then, and both
 * together not. */
static void epochs_have_to_pay_together(void **state)
{
    int moved_count = 0;

    (void)state;
    fixture_cluster(DEVICES "a,t,1,\nb,t,0.99,\n", LAN);
    fixture_write("w.csv", requests_text(100, 40, 4, 4));
    for (int lost_ms = 1200; lost_ms <= 3600; lost_ms += 200) {
        struct place_answer once, moved;
        struct served before, after;
        struct case_of of;

        case_begin(&of,
                   arena_printf(fixture.arena, "1,a,speed_ratio,0.7\n%d.%03d,b,down,\n",
                                lost_ms / 1000, lost_ms % 1000),
                   PLACE_LATENCY);
        once = must_place(&of, place_static);
        moved = must_place(&of, place_dynamic);
        before = run_answer(&of, &once);
        after = run_answer(&of, &moved);
        assert_int_equal(after.ok, before.ok);
        assert_true(after.latency_sum_ps <= before.latency_sum_ps);
        moved_count += epochs_of(&moved) > 1;
    }
    assert_in_range(moved_count, 1, 12); /* some do */
}

/* Heads and their caches: what moves is what a device did not hold, at the rate of its link. */
static void a_migration_costs_its_bytes(void **state)
{
    struct placement_row from[5], to[5],
        row = { .service = "s",
                .model = "wide",
                .executable = "",
                .layer_last = LAYERS - 1,
                .part_of = 1,
                .device = "a" };
    const bool all_up[] = { false, false, false }, a_down[] = { true, false, false };
    int64_t head_bytes, kv_bytes;
    struct migration migration;
    struct case_of of;

    (void)state;
    fixture_cluster(DEVICES "a,t,1,\nb,t,1,\nc,t,1,\n",
                    LINKS "lan,switch,*,8e6,0.5,0.25\nlan,switch,source,4e6,0.5,0.25\n");
    fixture_write("w.csv", requests_text(2, 40, 4, 4));
    case_begin(&of, NULL, PLACE_LATENCY);
    for (int i = 0; i < 5; i++)
        from[i] = row;
    from[0].blocks = 1u << BLOCK_EMBED | 1u << BLOCK_LM_HEAD;
    from[0].layer_first = from[0].layer_last = -1;
    from[1].blocks = 1u << BLOCK_ATTN;
    from[1].part_last = 2;
    from[1].part_of = KV_HEADS;
    from[2] = from[1];
    from[2].part_first = from[2].part_last = 3;
    from[2].device = "b";
    from[3].blocks = 1u << BLOCK_PROJ;
    from[4].blocks = 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN;
    memcpy(to, from, sizeof to);
    migration = migration_of(fixture.arena, of.problem, from, 5, to, 5, all_up);
    assert_int_equal(migration.device, -1);
    assert_int_equal(migration.time_ps, 0);
    to[1].part_last = 1; /* head 2 goes from a to b */
    to[2].part_first = 2;
    migration = migration_of(fixture.arena, of.problem, from, 5, to, 5, all_up);
    head_bytes = LAYERS * model_block_weight_bytes(of.input.model, BLOCK_ATTN) / KV_HEADS;
    kv_bytes = LAYERS * 8 * model_kv_bytes_per_token(of.input.model) / KV_HEADS;
    assert_int_equal(migration.weight_bytes, head_bytes);
    assert_int_equal(migration.kv_bytes, kv_bytes);
    assert_int_equal(migration.device, 1);
    assert_int_equal(migration.device_count, 1);
    /* a byte a microsecond, 0.25 s a message, 0.5 s of latency */
    assert_int_equal(migration.time_ps,
                     (head_bytes + kv_bytes) * UNITS_PS_PER_US + 750 * UNITS_PS_PER_MS);
    /* a is down: its caches are lost, its weights come from the source */
    migration = migration_of(fixture.arena, of.problem, from, 5, to, 5, a_down);
    assert_int_equal(migration.kv_bytes, 0);
    assert_int_equal(migration.time_ps, 2 * head_bytes * UNITS_PS_PER_US + 750 * UNITS_PS_PER_MS);
}

/* ---- a cluster at an instant ---- */

static void a_moment_is_behind_all_events_before_it(void **state)
{
    const struct cluster *moment;
    const struct cluster_attachment *from, *to;
    const struct cluster_medium *medium;
    struct case_of of;

    (void)state;
    fixture_cluster(DEVICES "a,t,1,5000\nb,t,1,\n", LINKS "lan,switch,*,8e6,0,0\n"
                                                          "two,bus,a,1e6,0,0\n");
    fixture_write("w.csv", requests_text(2, 40, 4, 4));
    case_begin(&of,
               "1,a,speed_ratio,0.25\n2,a,down,\n3,lan/b,bits_per_s,1e6\n4,a,up,\n"
               "5,lan/b,down,\n6,lan/b,up,\n7,lan,bits_per_s,2e6\n8,lan,down,\n",
               PLACE_LATENCY);
    moment = moment_cluster(fixture.arena, of.input.cluster, of.ask.events, 0);
    assert_true(moment->devices[0].speed_ratio == 1 && moment->devices[0].memory_bytes == 5000);
    moment = moment_cluster(fixture.arena, of.input.cluster, of.ask.events, 2 * UNITS_PS_PER_S);
    assert_true(moment->devices[0].speed_ratio == 0.25 && moment->devices[0].memory_bytes == 1);
    assert_true(moment_down(fixture.arena, of.input.cluster, of.ask.events, 2 * UNITS_PS_PER_S)[0]);
    assert_false(
        moment_down(fixture.arena, of.input.cluster, of.ask.events, 2 * UNITS_PS_PER_S - 1)[0]);
    moment = moment_cluster(fixture.arena, of.input.cluster, of.ask.events, 4 * UNITS_PS_PER_S);
    assert_true(moment->devices[0].memory_bytes == 5000);
    medium = cluster_common_medium(moment, "a", "b", &from, &to);
    assert_string_equal(medium->name, "lan");
    assert_true(from->bits_per_s == 8e6 && to->bits_per_s == 1e6);
    moment = moment_cluster(fixture.arena, of.input.cluster, of.ask.events, 5 * UNITS_PS_PER_S);
    (void)cluster_common_medium(moment, "a", "b", &from, &to);
    assert_true(from->bits_per_s == 8e6 && to->bits_per_s < 1e4);
    moment = moment_cluster(fixture.arena, of.input.cluster, of.ask.events, 7 * UNITS_PS_PER_S);
    (void)cluster_common_medium(moment, "a", "b", &from, &to);
    assert_true(from->bits_per_s == 2e6 && to->bits_per_s == 2e6);
    moment = moment_cluster(fixture.arena, of.input.cluster, of.ask.events, 8 * UNITS_PS_PER_S);
    (void)cluster_common_medium(moment, "a", "b", &from, &to);
    assert_true(from->bits_per_s < 1e4 && to->bits_per_s < 1e4);
    assert_true(of.input.cluster->media[0].attachments[0].bits_per_s == 8e6);
}

/* ---- random cases ---- */

static const char *random_events(struct rng *rng, int devices)
{
    const char *text = "";
    int time_ms = 0;

    for (int i = draw(rng, 0, 3); i > 0; i--) {
        int device = draw(rng, 0, devices - 1);

        time_ms += draw(rng, 100, 1500);
        if (draw(rng, 0, 2) > 0)
            text = arena_printf(fixture.arena, "%s%d.%03d,d%d,speed_ratio,0.%d\n", text,
                                time_ms / 1000, time_ms % 1000, device, draw(rng, 1, 9));
        else if (!strstr(text, "down"))
            text = arena_printf(fixture.arena, "%s%d.%03d,d%d,down,\n", text, time_ms / 1000,
                                time_ms % 1000, device);
    }
    return text[0] != '\0' ? text : NULL;
}

/* Prompts and outputs that grow with time, as caches do. */
static const char *random_requests(struct rng *rng, int count)
{
    const char *text = W;
    int time_ms = 0;

    for (int i = 0; i < count; i++) {
        time_ms += draw(rng, 1, 60);
        text = arena_printf(fixture.arena, "%s%d,%d.%03d,s,%d,%d\n", text, i, time_ms / 1000,
                            time_ms % 1000, draw(rng, 1, 1 + 3 * i / count),
                            draw(rng, 1, 2 + 10 * i / count));
    }
    return text;
}

static void dynamic_is_not_worse_than_static(void **state)
{
    struct rng rng = rng_stream(41, RNG_TEST, 0);
    int moved_count = 0, better = 0;

    for (int round = 0; round < ROUNDS; round++) {
        int devices = draw(&rng, 2, 3);
        const char *text = DEVICES;
        struct place_answer once, moved;
        struct served before, after;
        struct case_of of;

        if (round > 0) {
            fixture_tear_down(state);
            wide_set_up(state);
        }
        for (int d = 0; d < devices; d++)
            text = arena_printf(fixture.arena, "%sd%d,t,0.%d,%s\n", text, d, draw(&rng, 3, 9),
                                draw(&rng, 0, 1) > 0 ? "450000" : "");
        fixture_cluster(text,
                        draw(&rng, 0, 1) > 0 ? LAN : LINKS "lan,switch,*,1e9,0.00005,0.00001\n");
        fixture_write("w.csv", random_requests(&rng, 60));
        fixture.options.memory = SERVE_MEMORY_REFUSE;
        case_begin(&of, random_events(&rng, devices), round % 3 ? PLACE_LATENCY : PLACE_GOODPUT);
        once = place_static(fixture.arena, &of.ask);
        moved = place_dynamic(fixture.arena, &of.ask);
        assert_int_equal(once.is_feasible, moved.is_feasible);
        if (!once.is_feasible)
            continue;
        before = run_answer(&of, &once);
        after = run_answer(&of, &moved);
        assert_true(goodput_order(&of, &once, &moved) <= 0 || of.ask.objective == PLACE_LATENCY);
        if (of.ask.objective == PLACE_LATENCY) {
            assert_true(after.ok >= before.ok);
            assert_true(after.ok > before.ok || after.latency_sum_ps <= before.latency_sum_ps);
        }
        moved_count += epochs_of(&moved) > 1;
        better += after.ok > before.ok || after.latency_sum_ps < before.latency_sum_ps;
    }
    assert_in_range(moved_count, ROUNDS / 4, ROUNDS);
    assert_in_range(better, ROUNDS / 4, ROUNDS);
}

#define RULE(f) cmocka_unit_test_setup_teardown(f, wide_set_up, fixture_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(a_device_that_slows_down_is_left),
        RULE(what_a_device_held_that_is_lost_goes_elsewhere),
        RULE(a_migration_that_does_not_pay_is_not_made),
        RULE(epochs_have_to_pay_together),
        RULE(a_migration_costs_its_bytes),
        RULE(a_moment_is_behind_all_events_before_it),
        RULE(dynamic_is_not_worse_than_static),
    };

    return cmocka_run_group_tests_name("place_epochs", tests, NULL, NULL);
}
