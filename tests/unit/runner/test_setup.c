/* test_setup.c - the texts of the start of a run: what is sent is understood, and nothing else. */
#include "runner/setup/setup.h"

#include "lib/base/cli.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "tests/unit/runner/shapes.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

static int set_up(void **state)
{
    *state = arena_create();
    return 0;
}

static int tear_down(void **state)
{
    arena_destroy(*state);
    return 0;
}

static const unsigned char *bytes_of(const char *text)
{
    return (const unsigned char *)text;
}

static struct setup example(struct arena *arena)
{
    struct model model = tiny_model();
    struct setup setup = tiny_setup(arena, &model, 3, 0, 4);

    setup.worker = 2;
    setup.memory_bytes = 1;
    setup.seed = UINT64_C(9007199254740993); /* a double would lose it */
    setup.pad_ratio = 4.5;
    setup.pad_type = "pi4";
    setup.pad_kernels = "kernel,m_tokens\n\"qkv\",1\n";
    setup.pad_interp = "";
    return setup;
}

static void a_setup_survives_the_round_trip(void **state)
{
    struct arena *arena = *state;
    struct err err = ERR_INIT;
    struct setup setup = example(arena);
    const char *text = setup_encode(arena, &setup);
    const struct setup *back = setup_decode(arena, bytes_of(text), strlen(text), &err);

    assert_non_null(back);
    assert_int_equal(back->worker, 2);
    assert_true(back->seed == setup.seed);
    assert_true(back->session == INT64_MAX);
    assert_int_equal(back->threads, 1);
    assert_int_equal(back->kv_slots, 1);
    assert_string_equal(back->bind, "127.0.0.1:0");
    assert_true(back->pad_ratio > 4.49 && back->pad_ratio < 4.51);
    assert_string_equal(back->pad_type, "pi4");
    assert_string_equal(back->pad_kernels, setup.pad_kernels);
    assert_int_equal(back->model_count, 1);
    assert_string_equal(back->models[0].model.name, "tiny");
    assert_int_equal(back->models[0].model.ffn_hidden, 128);
    assert_int_equal(back->models[0].model.max_context, 64);
    assert_true(back->models[0].model.tied_lm_head);
    assert_int_equal(back->models[0].max_tokens, 12);
    assert_int_equal(back->models[0].max_total_tokens, 32);
    assert_int_equal(back->stage_count, 1);
    assert_int_equal(back->stages[0].id, 3);
    assert_int_equal(back->stages[0].layer_count, 4);
    assert_true(back->stages[0].has_embed && back->stages[0].has_lm_head);
    assert_string_equal(setup_encode(arena, back), text);
}

/* A stage on two devices: embed and half of everything on the first. */
static void slices_survive_the_round_trip(void **state)
{
    static struct setup_slice slices[] = {
        { 1u << BLOCK_EMBED, -1, -1, 0, 0, 0, 1, false },
        { 1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN, 0, 3, 0,
          0, 0, 2, false },
        { 1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN, 0, 3, 1,
          1, 1, 2, false },
        { 1u << BLOCK_CONN, 0, 3, 1, 0, 0, 1, true },
        { 1u << BLOCK_LM_HEAD, -1, -1, 1, 0, 0, 1, false },
    };
    struct arena *arena = *state;
    struct err err = ERR_INIT;
    struct setup setup = example(arena);
    int32_t workers[] = { 7, 2 };
    const struct setup *back;
    const char *text;

    setup.collective = COLLECTIVE_TREE;
    setup.tells_exchanges = true;
    setup.stages[0].position_count = 2;
    setup.stages[0].position = 1;
    setup.stages[0].workers = workers;
    setup.stages[0].slice_count = sizeof slices / sizeof slices[0];
    setup.stages[0].slices = slices;
    text = setup_encode(arena, &setup);
    back = setup_decode(arena, bytes_of(text), strlen(text), &err);
    assert_non_null(back);
    assert_int_equal(back->collective, COLLECTIVE_TREE);
    assert_true(back->tells_exchanges);
    assert_int_equal(back->stages[0].workers[0], 7);
    assert_int_equal(back->stages[0].slices[2].part_first, 1);
    assert_true(back->stages[0].slices[3].is_implied);
    assert_string_equal(setup_encode(arena, back), text);

    setup.stages[0].slice_count--; /* the output matrix is nowhere */
    text = setup_encode(arena, &setup);
    assert_null(setup_decode(arena, bytes_of(text), strlen(text), &err));
    assert_non_null(strstr(err.text, "lm_head of stage 3 is not there once"));
}

static void moves_survive_the_round_trip(void **state)
{
    struct arena *arena = *state;
    struct setup_move moves[] = { { 7, 3, 0, 1, 0, 4 }, { 8, 0, 3, 3, 2, 1 } };
    static const struct setup_move bad[] = {
        { 7, 3, 0, 4, 0, 4 }, { 7, 3, 2, 1, 0, 4 }, { 7, 3, 0, 1, 4, 1 },
        { 7, 3, 0, 1, 0, 5 }, { 7, 3, 0, 1, 3, 2 }, { 7, 3, 0, 1, 0, 0 },
    };
    struct setup setup = example(arena);
    struct err err = ERR_INIT;
    const struct setup *back;
    const char *text;

    setup.stages[0].phase = SETUP_PROMPTS;
    setup.stages[0].twin = SETUP_NOBODY;
    setup.stages[0].move_count = 2;
    setup.stages[0].moves = moves;
    text = setup_encode(arena, &setup);
    back = setup_decode(arena, bytes_of(text), strlen(text), &err);
    assert_non_null(back);
    assert_int_equal(back->stages[0].phase, SETUP_PROMPTS);
    assert_int_equal(back->stages[0].move_count, 2);
    assert_memory_equal(back->stages[0].moves, moves, sizeof moves);
    assert_string_equal(setup_encode(arena, back), text);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        err = (struct err)ERR_INIT;
        setup.stages[0].moves[1] = bad[i];
        text = setup_encode(arena, &setup);
        assert_null(setup_decode(arena, bytes_of(text), strlen(text), &err));
        assert_non_null(strstr(err.text, "move 1 of stage 3 is impossible"));
    }
    /* only where prompts are computed apart */
    setup.stages[0].move_count = 1;
    setup.stages[0].phase = SETUP_DECODING;
    text = setup_encode(arena, &setup);
    err = (struct err)ERR_INIT;
    assert_null(setup_decode(arena, bytes_of(text), strlen(text), &err));
}

static const struct {
    const char *from, *to, *words;
} bad_fields[] = {
    { "\"worker\":2", "\"worker\":-1", "worker: expected a whole number" },
    { "\"worker\":2", "\"worker\":2.5", "worker" },
    { "\"worker\":2", "\"porter\":2", "worker" },
    { "\"seed\":\"9", "\"seed\":\"x9", "seed is 'x9007199254740993'" },
    { "\"seed\":\"9", "\"seed\":\"99999999999999999999", "seed" },
    { "\"threads\":1", "\"threads\":0", "threads" },
    { "\"threads\":1", "\"threads\":1000000", "threads" },
    { "\"kv_slots\":1", "\"kv_slots\":99999", "kv_slots" },
    { "\"memory_bytes\":\"1\"", "\"memory_bytes\":\"-1\"", "memory_bytes" },
    { "\"bind\":\"127.0.0.1:0\"", "\"bind\":5", "bind: expected a text" },
    { "\"pad_ratio\":4.5", "\"pad_ratio\":-4.5", "pad_ratio" },
    { "\"pad_ratio\":4.5", "\"pad_ratio\":1e999", "" },
    { "\"pad_ratio\":4.5", "\"pad_ratio\":\"x\"", "pad_ratio" },
    { "\"kind\":0", "\"kind\":3", "kind" },
    { "\"model.hidden\":64", "\"model.hidden\":0", "model.hidden" },
    { "\"model.hidden\":64", "\"model.hidden\":2000000000", "model.hidden" },
    { "\"model.heads\":4", "\"model.heads\":5", "impossible" },
    { "\"model.head_dim\":16", "\"model.head_dim\":4097", "model.head_dim" },
    { "\"model.vocab\":300", "\"model.vocab\":null", "model.vocab" },
    { "\"max_tokens\":12", "\"max_tokens\":33", "impossible" },
    { "\"tied_lm_head\":true", "\"tied_lm_head\":1", "tied_lm_head: expected true or false" },
    { "\"model\":0", "\"model\":1", "model: expected a whole number from 0 to 0" },
    { "\"collective\":0", "\"collective\":3", "collective" },
    { "\"phase\":0", "\"phase\":3", "phase" },
    { "\"twin\":0", "\"twin\":-2", "twin" },
    { "\"moves\":[]", "\"moves\":[{}]", "to_stage" },
    { "\"position\":0", "\"position\":128", "position" },
    { "\"workers\":[]", "\"workers\":[1]", "layer 0 of stage 3 is not there once" },
    { "\"workers\":[]", "\"workers\":[1,\"b\"]", "workers: expected numbers" },
    { "\"layer_count\":4", "\"layer_count\":5", "layers that its model has not" },
    { "\"layer_first\":0", "\"layer_first\":1", "layers that its model has not" },
    { "\"is_last\":true", "\"is_last\":false", "what follows stage 3 is impossible" },
    { "\"has_lm_head\":true", "\"has_lm_head\":false", "the last stage alone" },
    { "\"nexts\":[]", "\"nexts\":[{\"stage\":4,\"worker\":1}]", "what follows stage 3" },
    { "\"nexts\":[]", "\"next\":[]", "nexts: expected at most" },
    { "\"next_divisor\":\"1\"", "\"next_divisor\":\"0\"", "what follows stage 3" },
    { "\"asks\":false", "\"asks\":0", "asks" },
    { "\"stages\":[{", "\"stages\":[],\"x\":[{", "stages: expected one or more" },
    { "\"models\":[{", "\"models\":[],\"x\":[{", "model" },
};

static void every_bad_field_is_refused_by_name(void **state)
{
    struct arena *arena = *state;
    struct setup setup = example(arena);
    const char *text = setup_encode(arena, &setup);

    for (size_t i = 0; i < sizeof bad_fields / sizeof bad_fields[0]; i++) {
        struct err err = ERR_INIT;
        const char *at = strstr(text, bad_fields[i].from);
        const char *bad;

        if (!at)
            fail_msg("'%s' is not in %s", bad_fields[i].from, text);
        bad = arena_printf(arena, "%.*s%s%s", (int)(at - text), text, bad_fields[i].to,
                           at + strlen(bad_fields[i].from));
        assert_null(setup_decode(arena, bytes_of(bad), strlen(bad), &err));
        if (err.kind == ERR_NONE || !strstr(err.text, bad_fields[i].words))
            fail_msg("%s: '%s' does not hold '%s'", bad_fields[i].to, err.text,
                     bad_fields[i].words);
    }
}

static void every_truncated_text_is_refused(void **state)
{
    struct arena *arena = *state;
    struct setup setup = example(arena);
    const char *text = setup_encode(arena, &setup);

    for (size_t length = 0; length + 1 < strlen(text); length += 7) {
        struct err err = ERR_INIT;

        assert_null(setup_decode(arena, bytes_of(text), length, &err));
        assert_int_not_equal(err.kind, ERR_NONE);
    }
}

static void damaged_texts_never_crash_and_never_pass_a_bound(void **state)
{
    struct arena *arena = *state;
    struct rng rng = rng_stream(1, RNG_TEST, 2);
    struct setup setup = example(arena);
    const char *text = setup_encode(arena, &setup);
    size_t length = strlen(text);

    for (int i = 0; i < 2000; i++) {
        struct err err = ERR_INIT;
        char *bad = arena_strndup(arena, text, length);
        const struct setup *back;

        for (int k = 0; k < 3; k++)
            bad[rng_below(&rng, length)] = (char)rng_below(&rng, 256);
        back = setup_decode(arena, bytes_of(bad), length, &err);
        if (!back)
            assert_int_not_equal(err.kind, ERR_NONE);
        else
            assert_in_range(back->models[0].model.hidden, 1, 1 << 20);
    }
}

static void a_hello_names_its_device(void **state)
{
    struct arena *arena = *state;
    struct err err = ERR_INIT;
    const char *device, *text = setup_encode_hello(arena, "pi \"0\"", INT64_MAX);
    int64_t number = 0;

    assert_true(setup_decode_hello(arena, bytes_of(text), strlen(text), &device, &number, &err));
    assert_string_equal(device, "pi \"0\"");
    assert_true(number == INT64_MAX);
}

static void a_worker_of_another_version_is_refused(void **state)
{
    struct arena *arena = *state;
    struct err err = ERR_INIT;
    const char *device, *text = "{\"device\":\"pi0\",\"version\":\"9.9\"}";
    int64_t number;

    assert_false(setup_decode_hello(arena, bytes_of(text), strlen(text), &device, &number, &err));
    assert_non_null(strstr(err.text, "pi0"));
    assert_non_null(strstr(err.text, "9.9"));
    assert_non_null(strstr(err.text, CLI_VERSION));
}

static void bad_hellos_are_refused(void **state)
{
    static const char *const bad[] = { "{\"device\":\"a\",\"version\":\"" CLI_VERSION
                                       "\",\"number\":7}",
                                       "",
                                       "{}",
                                       "[]",
                                       "null",
                                       "{\"device\":1,\"version\":\"x\"}",
                                       "{\"device\":\"a\"}",
                                       "device=a" };
    struct arena *arena = *state;
    const char *device;
    int64_t number;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = ERR_INIT;

        assert_false(
            setup_decode_hello(arena, bytes_of(bad[i]), strlen(bad[i]), &device, &number, &err));
        assert_int_not_equal(err.text[0], '\0');
    }
    for (size_t length = 1; length <= 3; length++) {
        struct err err = ERR_INIT;

        assert_false(setup_decode_hello(arena, bytes_of("{\0}"), length, &device, &number, &err));
    }
}

static void a_ready_survives_the_round_trip(void **state)
{
    const struct setup_ready ready = { "10.0.0.7:4711", "aarch64 Pi 4", "cortexa72", 123456789012 };
    struct arena *arena = *state;
    struct err err = ERR_INIT;
    const char *text = setup_encode_ready(arena, &ready);
    struct setup_ready back;

    assert_true(setup_decode_ready(arena, bytes_of(text), strlen(text), &back, &err));
    assert_string_equal(back.endpoint, "10.0.0.7:4711");
    assert_string_equal(back.machine, "aarch64 Pi 4");
    assert_string_equal(back.blas_core, "cortexa72");
    assert_int_equal(back.weight_bytes, 123456789012);
}

static void a_ready_with_a_bad_field_is_refused(void **state)
{
#define READY(endpoint, machine, core, bytes)                                                      \
    "{\"endpoint\":\"" endpoint "\",\"machine\":" machine ",\"blas_core\":" core                   \
    ",\"weight_bytes\":" bytes "}"
    static const char *const bad[] = {
        READY("nowhere", "\"m\"", "\"c\"", "1"), READY("a:1", "\"m\"", "\"c\"", "-1"),
        READY("a:1", "\"m\"", "\"c\"", "\"1\""), READY("a:1", "\"m\\n# seed: 2\"", "\"c\"", "1"),
        READY("a:1", "\"m\"", "7", "1"),         "{\"weight_bytes\":1}",
    };
    static const char good[] = READY("a:1", "\"m\"", "\"c\"", "1");
    struct arena *arena = *state;
    struct err none = ERR_INIT;
    struct setup_ready ready;

    assert_true(setup_decode_ready(arena, bytes_of(good), strlen(good), &ready, &none));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = ERR_INIT;

        assert_false(setup_decode_ready(arena, bytes_of(bad[i]), strlen(bad[i]), &ready, &err));
        assert_int_not_equal(err.kind, ERR_NONE);
    }
}

static void peers_survive_the_round_trip(void **state)
{
    const struct setup_peer peers[3] = { { 0, "a:1" }, { 4, "b:65535" }, { 5, "" } };
    struct arena *arena = *state;
    struct err err = ERR_INIT;
    const char *text = setup_encode_peers(arena, peers, 3);
    struct setup_peer *back;
    int count;

    assert_true(setup_decode_peers(arena, bytes_of(text), strlen(text), &back, &count, &err));
    assert_int_equal(count, 3);
    assert_int_equal(back[1].worker, 4);
    assert_string_equal(back[1].endpoint, "b:65535");
    assert_string_equal(back[2].endpoint, ""); /* it is lost */
    text = setup_encode_peers(arena, NULL, 0);
    assert_true(setup_decode_peers(arena, bytes_of(text), strlen(text), &back, &count, &err));
    assert_int_equal(count, 0);
}

static void bad_peers_are_refused(void **state)
{
    static const char *const bad[] = {
        "{}",
        "{\"peers\":[{\"worker\":-1,\"endpoint\":\"a:1\"}]}",
        "{\"peers\":[{\"worker\":0,\"endpoint\":\"a\"}]}",
        "{\"peers\":[{\"endpoint\":\"a:1\"}]}",
        "{\"peers\":[7]}",
    };
    struct arena *arena = *state;
    struct setup_peer *peers;
    int count;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err err = ERR_INIT;

        assert_false(
            setup_decode_peers(arena, bytes_of(bad[i]), strlen(bad[i]), &peers, &count, &err));
        assert_int_not_equal(err.kind, ERR_NONE);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_setup_survives_the_round_trip),
        TEST(slices_survive_the_round_trip),
        TEST(moves_survive_the_round_trip),
        TEST(every_bad_field_is_refused_by_name),
        TEST(every_truncated_text_is_refused),
        TEST(damaged_texts_never_crash_and_never_pass_a_bound),
        TEST(a_hello_names_its_device),
        TEST(a_worker_of_another_version_is_refused),
        TEST(bad_hellos_are_refused),
        TEST(a_ready_survives_the_round_trip),
        TEST(a_ready_with_a_bad_field_is_refused),
        TEST(peers_survive_the_round_trip),
        TEST(bad_peers_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
