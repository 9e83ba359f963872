/* test_kv.c - KV caches: one a request, slabs used again, memory bounded. */
#include "runner/worker/kv.h"

#include "lib/base/arena.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

#define LAYERS 3

static const struct forward_shape shape = { .hidden = 8, .heads = 2, .kv_heads = 2, .head_dim = 4 };

struct fixture {
    struct arena *arena;
    struct kv_pool *pool;
    int64_t room_bytes;
};

static bool has_room(void *arg, int64_t slab_bytes)
{
    struct fixture *fixture = arg;

    if (slab_bytes > fixture->room_bytes)
        return false;
    fixture->room_bytes -= slab_bytes;
    return true;
}

static int set_up(void **state)
{
    struct arena *arena = arena_create();
    struct fixture *fixture = arena_alloc(arena, sizeof *fixture);

    fixture->arena = arena;
    fixture->room_bytes = INT64_MAX;
    fixture->pool = kv_pool_create(arena, &shape, NULL, LAYERS, has_room, fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    arena_destroy(fixture->arena);
    return 0;
}

/* Writes a request's number all over its caches. */
static void scribble(const struct forward_kv *kv, int capacity, float value)
{
    for (int layer = 0; layer < LAYERS; layer++)
        for (int64_t i = 0; i < forward_kv_floats(&shape, capacity); i++)
            kv[layer].k[i] = kv[layer].v[i] = value + (float)layer;
}

static void check_scribble(const struct forward_kv *kv, int capacity, float value)
{
    for (int layer = 0; layer < LAYERS; layer++)
        for (int64_t i = 0; i < forward_kv_floats(&shape, capacity); i++) {
            assert_memory_equal(&kv[layer].k[i], &(float){ value + (float)layer }, sizeof(float));
            assert_memory_equal(&kv[layer].v[i], &(float){ value + (float)layer }, sizeof(float));
        }
}

static void a_request_finds_its_own_caches_and_only_those(void **state)
{
    struct fixture *fixture = *state;
    const struct forward_kv *kv = kv_pool_take(fixture->pool, 5, 10);

    assert_non_null(kv);
    assert_int_equal(kv[0].capacity, 10);
    assert_ptr_equal(kv_pool_find(fixture->pool, 5), kv);
    assert_null(kv_pool_find(fixture->pool, 6));
    assert_null(kv_pool_find(fixture->pool, 5 + 1024)); /* the same bucket */
    kv_pool_release(fixture->pool, 5);
    assert_null(kv_pool_find(fixture->pool, 5));
    kv_pool_release(fixture->pool, 5); /* nothing to release is fine */
    assert_int_equal(kv_pool_used_bytes(fixture->pool), 0);
}

static void caches_of_many_requests_do_not_overlap(void **state)
{
    struct fixture *fixture = *state;

    for (int64_t i = 0; i < 50; i++)
        scribble(kv_pool_take(fixture->pool, i * 1024, 1 + (int)i), 1 + (int)i, (float)(i * 100));
    for (int64_t i = 0; i < 50; i++)
        check_scribble(kv_pool_find(fixture->pool, i * 1024), 1 + (int)i, (float)(i * 100));
}

static void a_released_slab_is_used_again(void **state)
{
    struct fixture *fixture = *state;
    int64_t bytes;

    for (int64_t i = 0; i < 1000; i++) {
        assert_non_null(kv_pool_take(fixture->pool, i, 100));
        if (i == 0)
            bytes = kv_pool_bytes(fixture->pool);
        kv_pool_release(fixture->pool, i);
    }
    assert_int_equal(kv_pool_bytes(fixture->pool), bytes);
    assert_int_equal(bytes, kv_pool_slab_bytes(&shape, NULL, LAYERS, 100));
    assert_int_equal(bytes, 2 * LAYERS * 2 * 128 * 4 * 4); /* k, v; layers; heads; tokens; f32 */
}

static void a_small_request_takes_a_large_free_slab(void **state)
{
    struct fixture *fixture = *state;
    const struct forward_kv *kv;
    int64_t bytes;

    kv_pool_prepare(fixture->pool, 2, 64);
    bytes = kv_pool_bytes(fixture->pool);
    assert_int_equal(bytes, 2 * kv_pool_slab_bytes(&shape, NULL, LAYERS, 64));
    kv = kv_pool_take(fixture->pool, 1, 3);
    assert_int_equal(kv[0].capacity, 3);
    scribble(kv, 3, 1);
    check_scribble(kv, 3, 1);
    assert_non_null(kv_pool_take(fixture->pool, 2, 64));
    assert_int_equal(kv_pool_bytes(fixture->pool), bytes);
    assert_non_null(kv_pool_take(fixture->pool, 3, 1));
    assert_int_equal(kv_pool_bytes(fixture->pool),
                     bytes + kv_pool_slab_bytes(&shape, NULL, LAYERS, 1));
}

static void without_room_there_is_no_cache_and_no_change(void **state)
{
    struct fixture *fixture = *state;

    fixture->room_bytes = kv_pool_slab_bytes(&shape, NULL, LAYERS, 16);
    assert_null(kv_pool_take(fixture->pool, 1, 17));
    assert_null(kv_pool_find(fixture->pool, 1));
    assert_int_equal(kv_pool_bytes(fixture->pool), 0);
    assert_non_null(kv_pool_take(fixture->pool, 1, 16));
    assert_null(kv_pool_take(fixture->pool, 2, 16));
    kv_pool_release(fixture->pool, 1);
    assert_non_null(kv_pool_take(fixture->pool, 2, 16));
}

static void preparing_stops_where_the_room_ends(void **state)
{
    struct fixture *fixture = *state;

    fixture->room_bytes = 3 * kv_pool_slab_bytes(&shape, NULL, LAYERS, 8);
    kv_pool_prepare(fixture->pool, 100, 8);
    assert_int_equal(kv_pool_bytes(fixture->pool), 3 * kv_pool_slab_bytes(&shape, NULL, LAYERS, 8));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_request_finds_its_own_caches_and_only_those),
        TEST(caches_of_many_requests_do_not_overlap),
        TEST(a_released_slab_is_used_again),
        TEST(a_small_request_takes_a_large_free_slab),
        TEST(without_room_there_is_no_cache_and_no_change),
        TEST(preparing_stops_where_the_room_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
