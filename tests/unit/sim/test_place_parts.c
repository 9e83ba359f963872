/* test_place_parts.c - what is predicted of a placement over stages of several devices is what the
 * simulator finds of a lone request, for drawn parts, devices and links. */
#include "tests/unit/sim/place_case.h"
#include "tests/unit/sim/sliced_rules.h"

#include "sim/place/parts.h"

#define ROUNDS 300
#define MOST_DEVICES 4

static void draw_links(struct rng *rng, const char *devices)
{
    static const char *const links[] = {
        NULL,
        LAN,
        NO_SOURCE,
        "medium,kind,node,bits_per_s,latency_s,per_message_s\nair,wifi,*,5e7,0.001,0.0001\n",
        "medium,kind,node,bits_per_s,latency_s,per_message_s\nhub,hub,*,1e8,0.0001,0.00002\n",
        "medium,kind,node,bits_per_s,latency_s,per_message_s\nlan,switch,source,8e9,0.0001,0\n"
        "lan,switch,a,1e8,0.0001,0.00002\nlan,switch,b,8e9,0.0002,0\nlan,switch,c,1e7,0,0.00002\n"
        "lan,switch,d,8e9,0.0001,0.00002\n",
    };
    const char *text = links[draw(rng, 0, 5)];

    fixture_cluster(devices, text);
    if (!text)
        (void)remove(fixture_path("cluster/links.csv"));
}

static void draw_devices(struct rng *rng)
{
    const char *text = "device,type,speed_ratio,memory_bytes,reserved_bytes\n";

    for (int d = 0; d < MOST_DEVICES; d++) {
        bool is_slow = draw(rng, 0, 2) == 0, has_memory = draw(rng, 0, 1) == 0;
        int reserved = draw(rng, 0, 1000);

        text = arena_printf(fixture.arena, "%s%c,t,%s,%s,%d\n", text, 'a' + d, is_slow ? "0.7" : "",
                            has_memory ? "500000" : "", reserved);
    }
    draw_links(rng, text);
}

/* Rows of a block whose parts are drawn: which device has how many of them. */
static const char *cut_block(struct rng *rng, const char *text, int stage, const char *layers,
                             const char *block, int parts, const char *devices)
{
    int count = (int)strlen(devices), first = 0;

    for (int i = 0; i < count && first < parts; i++) {
        int last = i + 1 == count ? parts - 1 : draw(rng, first - 1, parts - 1);

        if (last < first)
            continue;
        if (first == 0 && last == parts - 1)
            return arena_printf(fixture.arena, "%ss,0,%d,%c,wide,%s,%s,\n", text, stage, devices[i],
                                layers, block);
        text = arena_printf(fixture.arena, "%ss,0,%d,%c,wide,%s,%s,%d-%d/%d\n", text, stage,
                            devices[i], layers, block, first, last, parts);
        first = last + 1;
    }
    return text;
}

static const char *draw_devices_of(struct rng *rng)
{
    char *devices = arena_alloc(fixture.arena, MOST_DEVICES + 1);
    int count = draw(rng, 1, MOST_DEVICES), used = 0;

    while (used < count) {
        char device = (char)('a' + draw(rng, 0, MOST_DEVICES - 1));

        if (!strchr(devices, device))
            devices[used++] = device;
    }
    return devices;
}

/* One stage or two, each on up to four devices. */
static const char *draw_rows(struct rng *rng)
{
    int stages = draw(rng, 1, 2), border = draw(rng, 1, LAYERS - 1);
    const char *text = P;

    for (int s = 0; s < stages; s++) {
        const char *devices = draw_devices_of(rng);
        int first = s > 0 ? border : 0, last = stages > 1 && s == 0 ? border - 1 : LAYERS - 1;
        const char *layers = arena_printf(fixture.arena, "%d-%d", first, last);

        if (s == 0)
            text = arena_printf(fixture.arena, "%ss,0,0,%c,wide,,embed,\n", text, devices[0]);
        text = cut_block(rng, text, s, layers, "attn", KV_HEADS, devices);
        text = cut_block(rng, text, s, layers, "proj", draw(rng, 0, 1) ? KV_HEADS : HEADS, devices);
        text = cut_block(rng, text, s, layers, "ffn", FFN / 4, devices);
        if (draw(rng, 0, 1) > 0)
            text = cut_block(rng, text, s, layers, "conn", draw(rng, 1, 5), devices);
        if (s + 1 == stages)
            text = arena_printf(fixture.arena, "%ss,0,%d,%c,wide,,lm_head,\n", text, s,
                                devices[strlen(devices) - 1]);
    }
    return text;
}

static const struct placement *case_begin(struct case_of *of, int prompt, int output)
{
    const struct placement *placement =
        placement_load(fixture.arena, fixture_path("p.csv"), &fixture.err);

    if (!placement)
        fail_msg("%s", fixture.err.text);
    case_load(of);
    case_ask(of, prompt, output, NULL, NULL, PLACE_LATENCY);
    return placement;
}

/* The simulator counts what is reserved on devices without parts, too. */
static int64_t room_of_all(const struct case_of *of, const struct placement *placement,
                           int64_t room_bytes)
{
    for (int32_t d = 0; d < of->input.cluster->device_count; d++) {
        const struct cluster_device *device = &of->input.cluster->devices[d];
        int64_t free_bytes = device->memory_bytes - device->reserved_bytes;
        bool is_used = device->memory_bytes == 0;

        for (int i = 0; i < placement->count; i++)
            is_used = is_used || strcmp(placement->rows[i].device, device->name) == 0;
        if (!is_used && free_bytes < room_bytes)
            room_bytes = free_bytes;
    }
    return room_bytes;
}

static void a_lone_request_takes_what_is_predicted(void **state)
{
    struct rng rng = rng_stream(21, RNG_TEST, 0);
    int exact = 0, beside = 0, sliced = 0, unfit = 0;

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        enum collective_algorithm collective = (enum collective_algorithm)draw(&rng, 0, 2);
        const struct placement *placement;
        struct arena *arena = arena_create();
        struct judge_verdict verdict;
        struct parts_score score;
        struct case_of of;
        int prompt, output;

        draw_devices(&rng);
        fixture_write("p.csv", draw_rows(&rng));
        fixture.options.collective = collective;
        prompt = draw(&rng, 1, 6);
        output = draw(&rng, 1, 8);
        placement = case_begin(&of, prompt, output);
        verdict = judge_alone(of.judge, placement->rows, placement->count, of.input.service,
                              of.input.prompt_tokens, of.input.output_tokens);
        fixture.err = (struct err)ERR_INIT;
        if (!parts_score(arena, of.problem, collective, placement->rows, placement->count, &score,
                         &fixture.err)) {
            assert_non_null(strstr(fixture.err.text, "two exchanges of a pass are under way"));
            beside++;
        } else if (!verdict.is_feasible) {
            assert_true(score.room_bytes < 0);
            unfit++;
        } else {
            if (verdict.latency_mean_ps != score.latency_ps)
                fail_msg("round %d: %lld ps predicted, %lld simulated\n%s", round,
                         (long long)score.latency_ps, (long long)verdict.latency_mean_ps,
                         fixture_read("p.csv"));
            assert_int_equal(verdict.room_bytes, room_of_all(&of, placement, score.room_bytes));
            assert_true(score.compute_ps + score.exchange_ps <= score.latency_ps);
            if (verdict.busiest_kind != JUDGE_LINK)
                assert_int_equal(score.period_ps, verdict.busiest_ps);
            exact++;
            sliced += score.message_count > 0;
        }
        arena_destroy(arena);
    }
    print_message("%d predicted, %d with exchanges; %d not sums, %d do not fit\n", exact, sliced,
                  beside, unfit);
    assert_in_range(exact, ROUNDS / 2, ROUNDS);
    assert_in_range(sliced, ROUNDS / 3, ROUNDS);
}

/* A part's costs are those of its pieces: a stage of one block after the other, without messages.
 */
static void parts_of_a_block_cost_what_their_kernels_do(void **state)
{
    int32_t count;
    const int32_t *sizes;
    struct parts *parts;
    struct case_of of;
    int64_t part_ps;

    (void)state;
    fixture_cluster("device,type,speed_ratio\na,t,\nb,t,0.5\n", NULL);
    place("s,0,0,a,wide,,all,\n");
    (void)case_begin(&of, 4, 1);
    parts = parts_create(fixture.arena, of.problem);
    assert_int_equal(parts_units(parts, BLOCK_ATTN), KV_HEADS);
    assert_int_equal(parts_units(parts, BLOCK_FFN_DOWN), FFN);
    for (int kv = 1; kv <= KV_HEADS; kv++) {
        const struct part part = { 2 * kv, kv, 0 };

        assert_true(parts_time_ps(parts, 0, BLOCK_ATTN, kv, &part_ps));
        assert_int_equal(part_ps, attn_ps(&part, 4));
        assert_true(parts_time_ps(parts, 1, BLOCK_PROJ, kv, &part_ps));
        assert_int_equal(part_ps, 2 * proj_ps(&part, 4));
    }
    sizes = parts_sizes(parts, 0, BLOCK_FFN_UP, &count);
    assert_int_equal(count, FFN / 4 - 0);
    assert_int_equal(sizes[0], 4);
    assert_int_equal(sizes[count - 1], FFN);
    assert_false(parts_time_ps(parts, 0, BLOCK_FFN_DOWN, 5, &part_ps)); /* not measured */
    assert_int_equal(parts_held_bytes(parts, BLOCK_FFN_DOWN, FFN),
                     model_block_weight_bytes(of.input.model, BLOCK_FFN_DOWN));
    assert_int_equal(parts_held_bytes(parts, BLOCK_ATTN, 2) * 2,
                     model_block_weight_bytes(of.input.model, BLOCK_ATTN) +
                         5 * model_kv_bytes_per_token(of.input.model));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        sliced_test(a_lone_request_takes_what_is_predicted),
        sliced_test(parts_of_a_block_cost_what_their_kernels_do),
    };

    return cmocka_run_group_tests_name("place_parts", tests, NULL, NULL);
}
