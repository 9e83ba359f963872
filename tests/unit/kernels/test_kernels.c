/* test_kernels.c - every kernel against its naive reference, over odd shapes. */
#include "lib/kernels/kernels.h"
#include "lib/kernels/reference.h"
#include "tests/unit/kernels/shapes.h"
#include <string.h>

static void linear_equals_reference_for_1_to_17_rows(void **state)
{
    static const int sizes[][2] = { { 1, 1 }, { 7, 5 }, { 64, 33 }, { 129, 80 }, { 30, 257 } };

    (void)state;
    for (int m = 1; m <= 17; m++)
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            struct arena *arena = arena_create();
            int n = sizes[s][0], k = sizes[s][1];
            float *x = filled(arena, m * k, 1, 1), *w = filled(arena, n * k, 2, 1);
            float *bias = filled(arena, n, 3, 1);
            float *got = filled(arena, m * n, 4, 1), *expected = empty(arena, m * n);

            kernel_linear(x, w, bias, got, m, n, k);
            reference_linear(x, w, bias, expected, m, n, k);
            assert_close(got, expected, m * n, 1e-4);
            kernel_linear(x, w, NULL, got, m, n, k);
            reference_linear(x, w, NULL, expected, m, n, k);
            assert_close(got, expected, m * n, 1e-4);
            arena_destroy(arena);
        }
}

static void one_row_goes_through_gemv_and_more_through_gemm(void **state)
{
    (void)state;
    assert_string_equal(kernel_linear_impl(KERNEL_F32, 1), "gemv");
    assert_string_equal(kernel_linear_impl(KERNEL_F32, 2), "gemm");
    assert_string_equal(kernel_linear_impl(KERNEL_F32, 512), "gemm");
}

static void norms_equal_reference_also_in_place(void **state)
{
    static const int widths[] = { 1, 3, 64, 80, 127, 768 };

    (void)state;
    for (size_t w = 0; w < sizeof(widths) / sizeof(widths[0]); w++) {
        struct arena *arena = arena_create();
        int m = 5, n = widths[w];
        float *x = filled(arena, m * n, 1, 3), *gain = filled(arena, n, 2, 1);
        float *shift = filled(arena, n, 3, 1);
        float *got = empty(arena, m * n), *expected = empty(arena, m * n);

        kernel_layernorm(x, gain, shift, got, m, n);
        reference_layernorm(x, gain, shift, expected, m, n);
        assert_close(got, expected, m * n, 1e-4);
        kernel_rmsnorm(x, gain, got, m, n);
        reference_rmsnorm(x, gain, expected, m, n);
        assert_close(got, expected, m * n, 1e-5);
        kernel_rmsnorm(x, gain, x, m, n);
        assert_close(x, expected, m * n, 1e-5);
        arena_destroy(arena);
    }
}

static void norm_of_a_constant_row_is_the_shift(void **state)
{
    float x[64], gain[64], shift[64], y[64];

    (void)state;
    for (int i = 0; i < 64; i++) {
        x[i] = 7.0f;
        gain[i] = 1.0f;
        shift[i] = (float)i;
    }
    kernel_layernorm(x, gain, shift, y, 1, 64);
    assert_close(y, shift, 64, 1e-5);
    memset(x, 0, sizeof(x));
    kernel_rmsnorm(x, gain, y, 1, 64);
    assert_close(y, x, 64, 0);
}

static void embed_adds_the_positions_behind_the_past(void **state)
{
    struct arena *arena = arena_create();
    const int32_t tokens[] = { 9, 0, 4 };
    int n = 13;
    float *table = filled(arena, 10 * n, 1, 1), *positions = filled(arena, 8 * n, 2, 1);
    float *got = empty(arena, 3 * n), *expected = empty(arena, 3 * n);

    (void)state;
    kernel_embed(tokens, table, positions, got, 3, n, 5);
    reference_embed(tokens, table, positions, expected, 3, n, 5);
    assert_close(got, expected, 3 * n, 1e-6);
    kernel_embed(tokens, table, NULL, got, 3, n, 5);
    assert_memory_equal(got, table + 9 * n, (size_t)n * sizeof(float));
    arena_destroy(arena);
}

static void rope_equals_its_definition_and_leaves_v_alone(void **state)
{
    static const int dims[] = { 2, 64, 80, 128 };

    (void)state;
    for (size_t d = 0; d < sizeof(dims) / sizeof(dims[0]); d++) {
        struct arena *arena = arena_create();
        int m = 3, heads = 4, kv_heads = 2, past = 117, row = (heads + 2 * kv_heads) * dims[d];
        float *got = filled(arena, m * row, 1, 1), *expected = filled(arena, m * row, 1, 1);
        float *before = filled(arena, m * row, 1, 1);
        float *angles = empty(arena, (past + m) * dims[d]);

        kernel_rope_angles(angles, past + m, dims[d]);
        kernel_rope(got, angles, m, heads, kv_heads, dims[d], past);
        reference_rope(expected, m, heads, kv_heads, dims[d], past);
        assert_close(got, expected, m * row, 1e-5);
        int v_at = (heads + kv_heads) * dims[d];
        for (int i = 0; i < m; i++)
            assert_memory_equal(got + i * row + v_at, before + i * row + v_at,
                                (size_t)(kv_heads * dims[d]) * sizeof(float));
        arena_destroy(arena);
    }
}

/* cos, sin of position 1 at the first pair: 1 radian, whatever the head size. */
static void rope_turns_the_first_pair_by_the_position_in_radians(void **state)
{
    float angles[8], qkv[12] = { 1, 0, 0, 0, 1, 0, 0, 0, 5, 5, 5, 5 };

    (void)state;
    kernel_rope_angles(angles, 2, 4);
    kernel_rope(qkv, angles, 1, 1, 1, 4, 1);
    assert_float_equal(qkv[0], 0.540302f, 1e-5f);
    assert_float_equal(qkv[2], 0.841471f, 1e-5f);
    assert_float_equal(qkv[4], 0.540302f, 1e-5f);
    assert_float_equal(qkv[8], 5.0f, 0.0f);
}

struct attention_case {
    int m, heads, kv_heads, head_dim, past, spare;
    bool is_causal;
};

static void check_attention(const struct attention_case *c)
{
    struct arena *arena = arena_create();
    int capacity = c->past + c->m + c->spare, width = c->heads * c->head_dim;
    int64_t cache = (int64_t)c->kv_heads * capacity * c->head_dim;
    float *qkv = filled(arena, c->m * (c->heads + 2 * c->kv_heads) * c->head_dim, 1, 1);
    float *k = filled(arena, cache, 2, 1), *v = filled(arena, cache, 3, 1);
    float *k_expected = filled(arena, cache, 2, 1), *v_expected = filled(arena, cache, 3, 1);
    float *got = empty(arena, c->m * width), *expected = empty(arena, c->m * width);
    float *scratch = empty(arena, kernel_attention_scratch(c->m, c->heads, c->kv_heads, c->past));
    double *scores = arena_array(arena, (size_t)capacity, sizeof(double));

    kernel_kvappend(qkv, k, v, c->m, c->heads, c->kv_heads, c->head_dim, c->past, capacity);
    reference_kvappend(qkv, k_expected, v_expected, c->m, c->heads, c->kv_heads, c->head_dim,
                       c->past, capacity);
    assert_memory_equal(k, k_expected, (size_t)cache * sizeof(float));
    assert_memory_equal(v, v_expected, (size_t)cache * sizeof(float));
    kernel_attention(qkv, k, v, got, scratch, c->m, c->heads, c->kv_heads, c->head_dim, c->past,
                     capacity, c->is_causal);
    reference_attention(qkv, k, v, expected, scores, c->m, c->heads, c->kv_heads, c->head_dim,
                        c->past, capacity, c->is_causal);
    assert_close(got, expected, c->m * width, 1e-4);
    arena_destroy(arena);
}

static void attention_equals_reference(void **state)
{
    static const int dims[] = { 64, 80, 128 };
    static const int heads[][2] = { { 1, 1 }, { 4, 4 }, { 6, 2 }, { 8, 1 } };
    static const int pasts[] = { 0, 1, 30 };

    (void)state;
    for (int m = 1; m <= 17; m += m < 4 ? 1 : 3)
        for (size_t i = 0; i < 3 * 4 * 3 * 2; i++)
            check_attention(&(struct attention_case){ m, heads[i / 3 % 4][0], heads[i / 3 % 4][1],
                                                      dims[i % 3], pasts[i / 12 % 3], (int)(i % 5),
                                                      i / 36 == 0 });
}

static void causal_attention_does_not_see_the_future(void **state)
{
    struct arena *arena = arena_create();
    int m = 4, d = 64, row = 3 * d;
    float *qkv = filled(arena, m * row, 1, 1), *k = empty(arena, m * d), *v = empty(arena, m * d);
    float *scores = empty(arena, m * m), *before = empty(arena, m * d),
          *after = empty(arena, m * d);

    (void)state;
    kernel_kvappend(qkv, k, v, m, 1, 1, d, 0, m);
    kernel_attention(qkv, k, v, before, scores, m, 1, 1, d, 0, m, true);
    for (int j = 0; j < d; j++)
        v[3 * d + j] = 1e6f; /* the last token's values */
    kernel_attention(qkv, k, v, after, scores, m, 1, 1, d, 0, m, true);
    assert_close(after, before, 3 * d, 1e-6);
    assert_true(after[3 * d] > 1e4f);
    arena_destroy(arena);
}

static void attention_of_huge_scores_stays_finite(void **state)
{
    struct arena *arena = arena_create();
    float *qkv = filled(arena, 3 * 64, 1, 1000), *k = empty(arena, 5 * 64);
    float *v = filled(arena, 5 * 64, 2, 1), *y = empty(arena, 64), scores[5];
    double exact[5];
    float *expected = empty(arena, 64);

    (void)state;
    memcpy(k, filled(arena, 5 * 64, 3, 1000), 5 * 64 * sizeof(float));
    kernel_attention(qkv, k, v, y, scores, 1, 1, 1, 64, 4, 5, true);
    reference_attention(qkv, k, v, expected, exact, 1, 1, 1, 64, 4, 5, true);
    assert_close(y, expected, 64, 1e-3);
    arena_destroy(arena);
}

static void gelu_equals_reference_from_minus_50_to_50(void **state)
{
    struct arena *arena = arena_create();
    int count = 100003;
    float *got = empty(arena, count), *expected = empty(arena, count);

    (void)state;
    for (int i = 0; i < count; i++)
        got[i] = expected[i] = (float)(i - count / 2) * 0.001f;
    kernel_gelu(got, count);
    reference_gelu(expected, count);
    assert_close(got, expected, count, 2e-6);
    float ends[3] = { -1e6f, 0.0f, 1e30f };
    kernel_gelu(ends, 3);
    assert_true(fabsf(ends[0]) < 1e-12f && ends[1] == 0.0f && ends[2] == 1e30f);
    arena_destroy(arena);
}

static void swiglu_takes_the_gate_before_up(void **state)
{
    struct arena *arena = arena_create();
    int m = 3, n = 37;
    float *gate_up = filled(arena, m * 2 * n, 1, 6);
    float *got = empty(arena, m * n), *expected = empty(arena, m * n);
    float two[2] = { 100.0f, 3.0f }, one;

    (void)state;
    kernel_swiglu(gate_up, got, m, n);
    reference_swiglu(gate_up, expected, m, n);
    assert_close(got, expected, m * n, 1e-5);
    kernel_swiglu(two, &one, 1, 1);
    assert_float_equal(one, 300.0f, 1e-2f);
    arena_destroy(arena);
}

static void add_adds_into_the_second(void **state)
{
    float x[19], y[19];

    (void)state;
    for (int i = 0; i < 19; i++) {
        x[i] = (float)i;
        y[i] = 100.0f;
    }
    kernel_add(x, y, 19);
    for (int i = 0; i < 19; i++)
        assert_true(y[i] == 100.0f + (float)i);
}

static void arg_max_is_the_first_of_the_largest(void **state)
{
    struct arena *arena = arena_create();
    const float ties[] = { -1, 5, 2, 5, 5 }, one[] = { -3 }, falling[] = { 3, 2, 1 };
    const float negative[] = { -9, -2, -7, -2 };
    float *many = filled(arena, 50257, 8, 1);

    (void)state;
    assert_int_equal(kernel_argmax(ties, 5), 1);
    assert_int_equal(kernel_argmax(one, 1), 0);
    assert_int_equal(kernel_argmax(falling, 3), 0);
    assert_int_equal(kernel_argmax(negative, 4), 1);
    assert_int_equal(kernel_argmax(many, 50257), reference_argmax(many, 50257));
    many[50256] = many[50255] = 9.0f;
    assert_int_equal(kernel_argmax(many, 50257), 50255);
    arena_destroy(arena);
}

static void fill_is_small_seeded_and_free_of_denormals(void **state)
{
    struct arena *arena = arena_create();
    int count = 200001;
    float *a = empty(arena, count), *b = empty(arena, count), *c = empty(arena, count);
    double sum = 0.0;
    int same = 0;

    (void)state;
    forward_fill(a, count, 1);
    forward_fill(b, count, 1);
    forward_fill(c, count, 2);
    assert_memory_equal(a, b, (size_t)count * sizeof(float));
    for (int i = 0; i < count; i++) {
        assert_true(fabsf(a[i]) <= 0.05f && (a[i] == 0.0f || fabsf(a[i]) > 1e-9f));
        sum += a[i];
        same += a[i] == c[i];
    }
    assert_true(fabs(sum / count) < 1e-3);
    assert_true(same < 100);
    arena_destroy(arena);
}

static void blas_facts_are_text_and_threads_can_be_set(void **state)
{
    (void)state;
    assert_non_null(kernel_blas_config());
    assert_non_null(kernel_blas_core());
    kernel_set_threads(1);
    assert_true(kernel_blas_threads() == 1 || kernel_blas_config()[0] == '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_equals_reference_for_1_to_17_rows),
        cmocka_unit_test(one_row_goes_through_gemv_and_more_through_gemm),
        cmocka_unit_test(norms_equal_reference_also_in_place),
        cmocka_unit_test(norm_of_a_constant_row_is_the_shift),
        cmocka_unit_test(embed_adds_the_positions_behind_the_past),
        cmocka_unit_test(rope_equals_its_definition_and_leaves_v_alone),
        cmocka_unit_test(rope_turns_the_first_pair_by_the_position_in_radians),
        cmocka_unit_test(attention_equals_reference),
        cmocka_unit_test(causal_attention_does_not_see_the_future),
        cmocka_unit_test(attention_of_huge_scores_stays_finite),
        cmocka_unit_test(gelu_equals_reference_from_minus_50_to_50),
        cmocka_unit_test(swiglu_takes_the_gate_before_up),
        cmocka_unit_test(add_adds_into_the_second),
        cmocka_unit_test(arg_max_is_the_first_of_the_largest),
        cmocka_unit_test(fill_is_small_seeded_and_free_of_denormals),
        cmocka_unit_test(blas_facts_are_text_and_threads_can_be_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
