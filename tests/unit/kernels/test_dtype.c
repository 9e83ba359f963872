/* test_dtype.c - weights of 16 and 8 bits keep the precision of their format, whatever the shape.
 */
#include "lib/kernels/kernels.h"
#include "tests/unit/kernels/shapes.h"
#include <string.h>

static void sizes_are_those_of_the_format(void **state)
{
    (void)state;
    assert_int_equal(kernel_weight_bytes(KERNEL_F32, 3, 33), 396);
    assert_int_equal(kernel_weight_bytes(KERNEL_BF16, 3, 33), 198);
    assert_int_equal(kernel_weight_bytes(KERNEL_Q8_0, 3, 33), 3 * 2 * 34);
    assert_int_equal(kernel_weight_bytes(KERNEL_Q8_0, 50257, 65536), INT64_C(50257) * 2048 * 34);
}

static void bf16_rounds_to_nearest_even(void **state)
{
    static const struct {
        uint32_t bits, half;
    } cases[] = { { 0x3f800000, 0x3f80 }, { 0x3f808000, 0x3f80 }, { 0x3f818000, 0x3f82 },
                  { 0x3f808001, 0x3f81 }, { 0xbf80ffff, 0xbf81 }, { 0x00000000, 0x0000 } };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        float value;
        uint16_t half;

        memcpy(&value, &cases[i].bits, sizeof(value));
        kernel_convert(KERNEL_BF16, &value, &half, 1, 1);
        assert_int_equal(half, cases[i].half);
    }
}

/* Half a unit in the last place: 2^-8 of a value in bf16, half of max abs / 127 in q8_0, and 2^-11
 * of that for the scale. The scales run from binary16's denormals to its largest. */
static void a_value_survives_to_half_a_unit(void **state)
{
    static const int widths[] = { 1, 31, 32, 33, 64, 100, 257 };
    static const float scales[] = { 1e-5f, 1e-3f, 1.0f, 3e4f };

    (void)state;
    for (size_t c = 0; c < sizeof(widths) / sizeof(widths[0]) * 4; c++) {
        struct arena *arena = arena_create();
        int n = 3, k = widths[c / 4];
        float *w = filled(arena, n * k, c, scales[c % 4]), *got = empty(arena, n * k);
        void *half = arena_alloc(arena, (size_t)kernel_weight_bytes(KERNEL_BF16, n, k));
        void *quants = arena_alloc(arena, (size_t)kernel_weight_bytes(KERNEL_Q8_0, n, k));

        kernel_convert(KERNEL_BF16, w, half, n, k);
        kernel_decode(KERNEL_BF16, half, got, 0, n, k);
        for (int i = 0; i < n * k; i++)
            assert_true(fabs((double)got[i] - w[i]) <= fabs((double)w[i]) / 256.0);
        kernel_convert(KERNEL_Q8_0, w, quants, n, k);
        for (int row = n - 1; row >= 0; row--)
            kernel_decode(KERNEL_Q8_0, quants, got + row * k, row, 1, k);
        for (int i = 0; i < n * k; i++) {
            double max = 0.0;

            for (int j = i % k / 32 * 32; j < k && j < i % k / 32 * 32 + 32; j++)
                max = fmax(max, fabs((double)w[i / k * k + j]));
            /* 2^-25: half of the last bit of a denormal scale, times up to 127 */
            assert_true(fabs((double)got[i] - w[i]) <= max / 254.0 * 1.01 + 127.0 / 33554432.0);
        }
        arena_destroy(arena);
    }
}

static void zeros_stay_zeros(void **state)
{
    float w[40] = { 0 }, got[40];
    unsigned char out[68];

    (void)state;
    kernel_convert(KERNEL_Q8_0, w, out, 1, 40);
    memset(got, 1, sizeof(got));
    kernel_decode(KERNEL_Q8_0, out, got, 0, 1, 40);
    assert_memory_equal(w, got, sizeof(w));
}

static bool is_ordinary(float value)
{
    return fabsf(value) >= 1e-3f && fabsf(value) < 256.0f;
}

/* The pool hands out one fill as matrices of any width, and as floats. */
static void a_fill_is_valid_wherever_it_is_read(void **state)
{
    static unsigned char bytes[34 * 1024 + 3], again[34 * 1024 + 3];
    float y[64], value;

    (void)state;
    kernel_fill(KERNEL_Q8_0, bytes, sizeof(bytes), 5);
    kernel_fill(KERNEL_BF16, again, sizeof(again), 5);
    assert_memory_equal(bytes, again, sizeof(bytes));
    kernel_fill(KERNEL_BF16, again, sizeof(again), 6);
    assert_memory_not_equal(bytes, again, sizeof(bytes));
    for (int at = 0; at < 34 * 1024 - 68; at += 2) {
        kernel_decode(KERNEL_Q8_0, bytes + at, y, 0, 1, 64);
        for (int j = 0; j < 64; j++)
            assert_true(y[j] == 0.0f || is_ordinary(y[j]));
        kernel_decode(KERNEL_BF16, bytes + at, y, 0, 1, 2);
        assert_true(is_ordinary(y[0]) && is_ordinary(y[1]));
        memcpy(&value, bytes + at / 4 * 4, sizeof(value));
        assert_true(is_ordinary(value));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_those_of_the_format),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(a_value_survives_to_half_a_unit),
        cmocka_unit_test(zeros_stay_zeros),
        cmocka_unit_test(a_fill_is_valid_wherever_it_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
