/* test_codec.c - values in few bits: what PipeEdge's encoder made of the same values, bit for bit;
 * how far restored ones lie off; what is no ordinary tensor. */
#include "lib/kernels/codec.h"

#include "lib/base/rng.h"
#include "lib/base/units.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define FOLDER "../shared/data/pipeedge/quant/"
#define MOST 4096
#define LINE_BYTES 65536
#define FIELDS 12

static float float_of(uint32_t bits)
{
    float value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value)
{
    uint32_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void words_hold_whole_values(void **state)
{
    (void)state;
    assert_int_equal(codec_words(7, 16), 4);
    assert_int_equal(codec_words(7, 12), 4);
    assert_int_equal(codec_words(7, 10), 3);
    assert_int_equal(codec_words(9, 8), 3);
    assert_int_equal(codec_words(0, 3), 0);
}

static void restored_values_lie_within_half_a_level(void **state)
{
    struct rng rng = rng_stream(5, RNG_TEST, 0);
    float values[333], restored[333];
    uint32_t words[333];

    (void)state;
    for (int bits = 1; bits <= 16; bits++) {
        struct codec_range range;

        for (int i = 0; i < 333; i++)
            values[i] = (float)(rng_uniform(&rng) * 20 - 5);
        range = codec_encode(values, 333, bits, words);
        codec_decode(words, 333, bits, range, restored);
        for (int i = 0; i < 333; i++)
            assert_true(fabsf(restored[i] - values[i]) <=
                        0.5001f * range.scale / (float)((1 << bits) - 1) + 2e-6f);
    }
}

static void a_tensor_of_one_value_is_restored_exactly(void **state)
{
    const float values[5] = { -1.25f, -1.25f, -1.25f, -1.25f, -1.25f };
    float restored[5];
    uint32_t words[5] = { 1, 1, 1, 1, 1 };
    struct codec_range range = codec_encode(values, 5, 3, words);

    (void)state;
    assert_true(range.scale <= 0.0f);
    assert_int_equal(words[0], 0);
    codec_decode(words, 5, 3, range, restored);
    assert_memory_equal(values, restored, sizeof values);
}

/* No undefined behaviour, whatever a step has made (the sanitizers look). */
static void no_numbers_do_no_harm(void **state)
{
    const float odd[] = { NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0.0f, 1.0f };
    float values[7], restored[7];
    uint32_t words[7];

    (void)state;
    for (int first = 0; first < 7; first++)
        for (int bits = 1; bits <= CODEC_MAX_BITS; bits++) {
            struct codec_range range;

            for (int i = 0; i < 7; i++)
                values[i] = odd[(first + i) % 7];
            range = codec_encode(values, 7, bits, words);
            codec_decode(words, 7, bits, range, restored);
        }
    assert_int_equal(codec_encode(values, 0, 8, words).scale > 0.0f, 0);
}

static FILE *open_or_skip(const char *path)
{
    FILE *file = fopen(path, "r");

    if (!file) {
        print_message("skipped: no %s beside this checkout\n", path);
        skip();
    }
    return file;
}

/* The line's fields, cut apart in place; as many as there are, FIELDS at most. */
static int split(char *line, char *fields[FIELDS])
{
    int count = 0;

    line[strcspn(line, "\r\n")] = '\0';
    for (char *at = line; at && count < FIELDS; count++) {
        fields[count] = at;
        at = strchr(at, ',');
        if (at)
            *at++ = '\0';
    }
    return count;
}

static int whole(const char *text)
{
    int64_t value;

    assert_true(units_parse_int(text, &value));
    return (int)value;
}

static float real(const char *text)
{
    double value;

    assert_true(units_parse_double(text, &value));
    return (float)value;
}

static uint32_t hex(const char *text)
{
    char *end;
    unsigned long value = strtoul(text, &end, 16);

    assert_true(end != text);
    return (uint32_t)value;
}

/* Values of one input: "dist,n,index,value,bits_hex". */
static int load_values(const char *dist, int count, float *values)
{
    FILE *file = open_or_skip(FOLDER "inputs.csv");
    char line[200], *fields[FIELDS];
    int loaded = 0;

    assert_non_null(fgets(line, sizeof line, file));
    while (fgets(line, sizeof line, file)) {
        assert_int_equal(split(line, fields), 5);
        if (strcmp(fields[0], dist) != 0 || whole(fields[1]) != count || whole(fields[2]) >= count)
            continue;
        values[whole(fields[2])] = float_of(hex(fields[4]));
        loaded++;
    }
    fclose(file);
    return loaded;
}

/* Hexadecimal words with blanks between them, up to a comma. */
static void compare_words(const char *text, const uint32_t *words, int64_t count, const char *what)
{
    for (int64_t i = 0; i < count; i++) {
        char *end;
        unsigned long word = strtoul(text, &end, 16);

        if (end == text || word != words[i])
            fail_msg("%s %d: %08lx: expected %08x", what, (int)i, word, (unsigned)words[i]);
        text = end;
    }
}

static void check_vector(char *line, int *checked)
{
    static float values[MOST], restored[MOST];
    static uint32_t words[MOST], bits_restored[MOST];
    char *fields[FIELDS];
    int count, bits;
    struct codec_range range;

    assert_int_equal(split(line, fields), FIELDS);
    count = whole(fields[1]);
    bits = whole(fields[2]);
    if (bits > 16 || count > MOST || load_values(fields[0], count, values) != count)
        return;
    range = codec_encode(values, count, bits, words);
    assert_int_equal(bits_of(range.shift), bits_of(real(fields[3])));
    assert_int_equal(bits_of(range.scale), bits_of(real(fields[4])));
    codec_decode(words, count, bits, range, restored);
    for (int i = 0; i < count; i++)
        bits_restored[i] = bits_of(restored[i]);
    if (fields[10][0] == '\0') /* long ones have hashes alone */
        return;
    compare_words(fields[10], words, codec_words(count, bits), "word");
    compare_words(fields[11], bits_restored, count, "value");
    ++*checked;
}

static void pipeedge_makes_the_same_bits(void **state)
{
    FILE *file = open_or_skip(FOLDER "vectors.csv");
    char *line = malloc(LINE_BYTES);
    int checked = 0;

    (void)state;
    assert_non_null(line);
    assert_non_null(fgets(line, LINE_BYTES, file));
    while (fgets(line, LINE_BYTES, file))
        check_vector(line, &checked);
    free(line);
    fclose(file);
    assert_true(checked >= 20);
}

static void clamps_are_pipeedges(void **state)
{
    FILE *file = open_or_skip(FOLDER "clamp_factors.csv");
    char line[200], *fields[FIELDS] = { NULL };
    int rows = 0;

    (void)state;
    assert_non_null(fgets(line, sizeof line, file));
    for (; fgets(line, sizeof line, file); rows++) {
        double laplace;

        assert_int_equal(split(line, fields), 3);
        assert_true(units_parse_double(fields[1], &laplace));
        assert_true(fabs(codec_clamp_factor(whole(fields[0])) - laplace) < 1e-9 * laplace);
    }
    fclose(file);
    assert_true(rows > 20);
}

static void clamped_values_lie_within_alpha(void **state)
{
    float values[4] = { -1.0f, 1.0f, -1.0f, 100.0f };
    float alpha = codec_clamp(values, 4, 2);

    (void)state;
    assert_true(alpha > 80.0f && alpha < 90.0f); /* 2.83 x 43.6 x sqrt(1/2) */
    assert_true(values[3] <= alpha && values[3] >= alpha);
    assert_true(values[0] < 0.0f && values[0] >= -1.0f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_hold_whole_values),
        cmocka_unit_test(restored_values_lie_within_half_a_level),
        cmocka_unit_test(a_tensor_of_one_value_is_restored_exactly),
        cmocka_unit_test(no_numbers_do_no_harm),
        cmocka_unit_test(pipeedge_makes_the_same_bits),
        cmocka_unit_test(clamps_are_pipeedges),
        cmocka_unit_test(clamped_values_lie_within_alpha),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
