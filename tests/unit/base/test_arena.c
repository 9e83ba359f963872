/* test_arena.c - memory is zeroed, aligned, apart, and stays where it is; exhaustion ends with 2.
 */
#include "lib/base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h> /* after the four headers that it needs */

static int make_arena(void **state)
{
    *state = arena_create();
    return 0;
}

static int end_arena(void **state)
{
    arena_destroy(*state);
    return 0;
}

static void memory_is_zeroed_aligned_and_does_not_overlap(void **state)
{
    unsigned char *pieces[2000];
    size_t sizes[2000], used = 0;

    for (size_t i = 0; i < 2000; i++) {
        sizes[i] = i * 37 % 9001;
        pieces[i] = arena_alloc(*state, sizes[i]);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % (sizes[i] >= 4096 ? 64 : 16), 0);
        for (size_t b = 0; b < sizes[i]; b++)
            if (pieces[i][b] != 0)
                fail_msg("byte %zu of piece %zu is not 0", b, i);
        memset(pieces[i], (int)(i % 255) + 1, sizes[i]);
        used += sizes[i];
    }
    for (size_t i = 0; i < 2000; i++)
        for (size_t b = 0; b < sizes[i]; b++)
            if (pieces[i][b] != i % 255 + 1)
                fail_msg("byte %zu of piece %zu was overwritten", b, i);
    assert_int_equal(arena_used_bytes(*state), used);
}

static void size_0_gives_pointers_that_differ(void **state)
{
    void *a = arena_alloc(*state, 0), *b = arena_alloc(*state, 0);

    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    assert_int_equal(arena_used_bytes(*state), 0);
}

static void a_size_that_no_system_has_is_refused(void **state)
{
    assert_null(arena_try_alloc(*state, SIZE_MAX));
    assert_null(arena_try_alloc(*state, SIZE_MAX - 63));
    assert_null(arena_try_alloc(*state, (size_t)PTRDIFF_MAX));
    assert_int_equal(arena_used_bytes(*state), 0);
    assert_non_null(arena_try_alloc(*state, 1));
}

static void growing_keeps_the_old_and_zeroes_the_new(void **state)
{
    int *three = arena_array(*state, 3, sizeof *three), *six, *none;

    for (int i = 0; i < 3; i++)
        three[i] = i + 1;
    six = arena_grow(*state, three, 3, 6, sizeof *six);
    for (int i = 0; i < 6; i++)
        assert_int_equal(six[i], i < 3 ? i + 1 : 0);
    assert_int_equal(three[2], 3);
    none = arena_grow(*state, NULL, 0, 2, sizeof *none);
    assert_int_equal(none[1], 0);
}

static void texts_are_copied(void **state)
{
    char text[] = "abcdef";
    char *whole = arena_strdup(*state, text), *part = arena_strndup(*state, text, 3);
    char *longer = arena_strndup(*state, text, 100), *printed;

    memset(text, 'X', 3);
    assert_string_equal(whole, "abcdef");
    assert_string_equal(part, "abc");
    assert_string_equal(longer, "abcdef");
    printed = arena_printf(*state, "%s-%d", part, 42);
    assert_string_equal(printed, "abc-42");
    printed = arena_printf(*state, "%5000d", 1);
    assert_int_equal(strlen(printed), 5000);
}

static void destroying_nothing_is_allowed(void **state)
{
    (void)state;
    arena_destroy(NULL);
    arena_destroy(arena_create());
}

/* Exit status of a child that asks for count * size bytes. */
static int status_of_array(struct arena *arena, size_t count, size_t size_bytes)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(99);
        arena_array(arena, count, size_bytes);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int status_of_wider(int32_t room)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr))
            _exit(99);
        _exit(arena_wider(room, 1) / 2 == room ? 0 : 98);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void a_full_table_doubles_as_long_as_it_can_be_numbered(void **state)
{
    (void)state;
    assert_int_equal(arena_wider(0, 64), 64);
    assert_int_equal(arena_wider(64, 16), 128);
    assert_int_equal(status_of_wider(1 << 29), 0);
    assert_int_equal(status_of_wider(1 << 30), 2);
    assert_int_equal(status_of_wider(INT32_MAX), 2);
}

static void exhaustion_and_overflow_end_the_program_with_2(void **state)
{
    assert_int_equal(status_of_array(*state, 3, 8), 0);
    assert_int_equal(status_of_array(*state, 1, SIZE_MAX), 2);
    assert_int_equal(status_of_array(*state, SIZE_MAX / 2, 3), 2);
}

#define RULE(name) cmocka_unit_test_setup_teardown(name, make_arena, end_arena)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(memory_is_zeroed_aligned_and_does_not_overlap),
        RULE(size_0_gives_pointers_that_differ),
        RULE(a_size_that_no_system_has_is_refused),
        RULE(growing_keeps_the_old_and_zeroes_the_new),
        RULE(texts_are_copied),
        RULE(destroying_nothing_is_allowed),
        RULE(a_full_table_doubles_as_long_as_it_can_be_numbered),
        RULE(exhaustion_and_overflow_end_the_program_with_2),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
