/* test_frame.c - the frame header: what goes in comes out, and nothing else comes in. */
#include "lib/wire/frame.h"

#include "lib/base/err.h"
#include "lib/base/hash.h"
#include "lib/base/rng.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

static const struct frame example = {
    .type = FRAME_STEP,
    .stage = 3,
    .request = 1234567890123,
    .step = 7,
    .new_tokens = 1,
    .past_tokens = 70,
    .total_tokens = 96,
    .entries = 261,
    .start_ns = 0x0102030405060708,
    .finish_ns = FRAME_MAX_STAMP_NS,
    .way = 0x0807060504030201,
    .payload_bytes = 3072,
};

static void assert_frames_equal(const struct frame *a, const struct frame *b)
{
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->stage, b->stage);
    assert_true(a->request == b->request);
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->new_tokens, b->new_tokens);
    assert_int_equal(a->past_tokens, b->past_tokens);
    assert_int_equal(a->total_tokens, b->total_tokens);
    assert_int_equal(a->entries, b->entries);
    assert_true(a->start_ns == b->start_ns);
    assert_true(a->finish_ns == b->finish_ns);
    assert_true(a->way == b->way);
    assert_true(a->payload_bytes == b->payload_bytes);
}

static void every_field_survives_the_round_trip(void **state)
{
    struct err err = ERR_INIT;
    unsigned char header[FRAME_HEADER_BYTES];
    struct frame back;

    (void)state;
    frame_pack(&example, header);
    assert_true(frame_unpack(header, sizeof header, &back, &err));
    assert_frames_equal(&example, &back);
}

static void every_type_survives_the_round_trip(void **state)
{
    (void)state;
    for (int type = FRAME_HELLO; type < FRAME_TYPE_END; type++) {
        struct err err = ERR_INIT;
        unsigned char header[FRAME_HEADER_BYTES];
        struct frame frame = { .type = (enum frame_type)type }, back;

        frame_pack(&frame, header);
        assert_true(frame_unpack(header, sizeof header, &back, &err));
        assert_frames_equal(&frame, &back);
    }
}

static void random_frames_survive_the_round_trip(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 0);

    (void)state;
    for (int i = 0; i < 10000; i++) {
        struct err err = ERR_INIT;
        unsigned char header[FRAME_HEADER_BYTES];
        struct frame back, frame = {
            .type = (enum frame_type)(1 + rng_below(&rng, FRAME_TYPE_END - 1)),
            .stage = (int32_t)rng_below(&rng, FRAME_MAX_STAGE + 1),
            .request = (int64_t)(rng_next(&rng) >> 1),
            .step = (int32_t)(rng_next(&rng) >> 33),
            .new_tokens = (int32_t)rng_below(&rng, FRAME_MAX_TOKENS + 1),
            .past_tokens = (int32_t)rng_below(&rng, FRAME_MAX_TOKENS + 1),
            .total_tokens = (int32_t)rng_below(&rng, FRAME_MAX_TOKENS + 1),
            .start_ns = (int64_t)(rng_next(&rng) >> 2),
            .finish_ns = (int64_t)(rng_next(&rng) >> 2),
            .way = (int64_t)(rng_next(&rng) >> 1),
            .payload_bytes = (int64_t)rng_below(&rng, FRAME_MAX_PAYLOAD_BYTES + 1),
        };

        frame_pack(&frame, header);
        assert_true(frame_unpack(header, sizeof header, &back, &err));
        assert_frames_equal(&frame, &back);
    }
}

static void the_bytes_are_little_endian_at_the_documented_offsets(void **state)
{
    unsigned char header[FRAME_HEADER_BYTES];

    (void)state;
    frame_pack(&example, header);
    assert_memory_equal(header, "ORRY\11\6\5\1", 8);
    assert_memory_equal(header + 8, "\xcb\x04\xfb\x71\x1f\x01\0\0", 8); /* 1234567890123 */
    assert_memory_equal(header + 16, "\3\0\0\0\7\0\0\0\1\0\0\0\x46\0\0\0\x60\0\0\0\0\x0c\0\0", 24);
    assert_memory_equal(header + 40,
                        "\x08\x07\x06\x05\x04\x03\x02\x01\0\0\0\0\0\0\0\x40"
                        "\1\2\3\4\5\6\7\x8",
                        24);
}

static void an_entry_survives_the_round_trip(void **state)
{
    const struct frame_entry entry = { INT64_MAX - 1, 3, 1 << 24, 7 };
    int32_t words[FRAME_ENTRY_WORDS];
    struct frame_entry back;

    (void)state;
    frame_put_entry(words, &entry);
    frame_get_entry(words, &back);
    assert_true(back.request == entry.request);
    assert_int_equal(back.tokens, 3);
    assert_int_equal(back.past_tokens, 1 << 24);
    assert_int_equal(back.total_tokens, 7);
}

static void expect_refused(const unsigned char *header, size_t size, const char *words)
{
    struct err err = ERR_INIT;
    struct frame frame;

    assert_false(frame_unpack(header, size, &frame, &err));
    assert_int_equal(err.kind, ERR_INPUT);
    if (!strstr(err.text, words))
        fail_msg("'%s' does not hold '%s'", err.text, words);
}

/* The header with other bytes somewhere and a checksum that fits them. */
static void forge(unsigned char header[FRAME_HEADER_BYTES], size_t at, const char *bytes,
                  size_t count)
{
    frame_pack(&example, header);
    memcpy(header + at, bytes, count);
    frame_put_int64(header + 64, (int64_t)hash_bytes(HASH_START, header, 64));
}

static void a_wrong_length_is_refused(void **state)
{
    unsigned char header[FRAME_HEADER_BYTES + 1] = { 0 };

    (void)state;
    frame_pack(&example, header);
    for (size_t size = 0; size < FRAME_HEADER_BYTES; size++)
        expect_refused(header, size, "expected a header of 72");
    expect_refused(header, FRAME_HEADER_BYTES + 1, "expected a header of 72");
}

static void every_bad_field_is_refused_by_name(void **state)
{
    static const struct {
        size_t at, count;
        const char *bytes, *words;
    } cases[] = {
        { 0, 1, "X", "magic" },
        { 4, 1, "\2", "version is 2: expected 9" },
        { 5, 1, "\0", "type is 0" },
        { 5, 1, "\x18", "type is 24: expected 1 to 23" },
        { 5, 1, "\xff", "type is 255" },
        { 15, 1, "\x80", "request is -" },
        { 19, 1, "\x80", "stage is -" },
        { 16, 4, "\1\0\x10\0", "stage is 1048577: expected 0 to 1048576" },
        { 23, 1, "\x80", "step is -" },
        { 27, 1, "\xff", "new_tokens is -" },
        { 24, 4, "\1\0\0\1", "new_tokens is 16777217" },
        { 31, 1, "\xff", "past_tokens is -" },
        { 28, 4, "\xff\xff\xff\x7f", "past_tokens is 2147483647" },
        { 35, 1, "\xff", "total_tokens is -" },
        { 36, 4, "\1\0\0\x40", "payload_bytes is 1073741825: expected 0 to 1073741824" },
        { 36, 4, "\xff\xff\xff\xff", "payload_bytes is 4294967295" },
        { 47, 1, "\x80", "start_ns is -" },
        { 47, 1, "\x41", "start_ns is 468" },
        { 55, 1, "\xff", "finish_ns is -" },
        { 48, 8, "\1\0\0\0\0\0\0\x40",
          "finish_ns is 4611686018427387905: expected 0 to 4611686018427387904" },
        { 63, 1, "\x80", "way is -" },
    };
    unsigned char header[FRAME_HEADER_BYTES];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        forge(header, cases[i].at, cases[i].bytes, cases[i].count);
        expect_refused(header, sizeof header, cases[i].words);
    }
}

static void a_flip_of_any_bit_is_noticed(void **state)
{
    unsigned char header[FRAME_HEADER_BYTES];

    (void)state;
    for (size_t bit = 0; bit < 8 * FRAME_HEADER_BYTES; bit++) {
        struct err err = ERR_INIT;
        struct frame frame;

        frame_pack(&example, header);
        header[bit / 8] ^= (unsigned char)(1u << (bit % 8));
        assert_false(frame_unpack(header, sizeof header, &frame, &err));
    }
}

static void random_bytes_are_never_taken(void **state)
{
    struct rng rng = rng_stream(1, RNG_TEST, 1);

    (void)state;
    for (int i = 0; i < 20000; i++) {
        struct err err = ERR_INIT;
        unsigned char header[FRAME_HEADER_BYTES];
        struct frame frame;

        for (size_t at = 0; at < sizeof header; at++)
            header[at] = (unsigned char)rng_next(&rng);
        if (i % 2 == 0) /* half of them get past the first check */
            memcpy(header, "ORRY\11\6\5\1", 8);
        assert_false(frame_unpack(header, sizeof header, &frame, &err));
        assert_int_not_equal(err.text[0], '\0');
    }
}

static void words_travel_little_endian(void **state)
{
    const int32_t words[3] = { 1, -2, 0x01020304 };
    const float ones[1] = { 1.0f };
    unsigned char bytes[12];
    int32_t back[3];
    float one;

    (void)state;
    frame_put_words(bytes, words, 3);
    assert_memory_equal(bytes, "\1\0\0\0\xfe\xff\xff\xff\4\3\2\1", 12);
    frame_get_words(back, bytes, 3);
    assert_memory_equal(back, words, sizeof words);
    frame_put_words(bytes, ones, 1);
    assert_memory_equal(bytes, "\0\0\x80\x3f", 4);
    frame_get_words(&one, bytes, 1);
    assert_true(one >= 1.0f && one <= 1.0f);
    frame_put_words(bytes, words, 0); /* nothing to copy is fine */
}

static void a_piece_of_a_cache_survives_the_round_trip(void **state)
{
    const struct frame_piece pieces[] = {
        { 0 },
        { 3, 2, 1, 22, 5, 7, INT64_C(123456789012345), true },
        { INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX, INT64_MAX, false },
        { -1, INT32_MIN, -2, -3, -4, -5, -6, true }, /* it is the receiver's to refuse */
    };

    (void)state;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        int32_t words[FRAME_PIECE_WORDS];
        struct frame_piece back;

        frame_put_piece(words, &pieces[i]);
        frame_get_piece(words, &back);
        assert_int_equal(back.from_stage, pieces[i].from_stage);
        assert_int_equal(back.from_worker, pieces[i].from_worker);
        assert_int_equal(back.layer_first, pieces[i].layer_first);
        assert_int_equal(back.layer_count, pieces[i].layer_count);
        assert_int_equal(back.head_first, pieces[i].head_first);
        assert_int_equal(back.head_count, pieces[i].head_count);
        assert_true(back.message_bytes == pieces[i].message_bytes);
        assert_true(back.is_last == pieces[i].is_last);
    }
}

static void a_64_bit_integer_survives_the_round_trip(void **state)
{
    static const int64_t values[] = { 0, 1, -1, INT64_MAX, INT64_MIN, 0x0102030405060708 };
    unsigned char bytes[8];

    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        frame_put_int64(bytes, values[i]);
        assert_true(frame_get_int64(bytes) == values[i]);
    }
    assert_memory_equal(bytes, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_survives_the_round_trip),
        cmocka_unit_test(every_type_survives_the_round_trip),
        cmocka_unit_test(random_frames_survive_the_round_trip),
        cmocka_unit_test(the_bytes_are_little_endian_at_the_documented_offsets),
        cmocka_unit_test(an_entry_survives_the_round_trip),
        cmocka_unit_test(a_wrong_length_is_refused),
        cmocka_unit_test(every_bad_field_is_refused_by_name),
        cmocka_unit_test(a_flip_of_any_bit_is_noticed),
        cmocka_unit_test(random_bytes_are_never_taken),
        cmocka_unit_test(words_travel_little_endian),
        cmocka_unit_test(a_piece_of_a_cache_survives_the_round_trip),
        cmocka_unit_test(a_64_bit_integer_survives_the_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
