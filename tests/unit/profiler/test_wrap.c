/* test_wrap.c - no line beyond 80 columns, no word lost. */
#include "lib/base/arena.h"
#include "lib/base/out.h"
#include "profiler/cmd/wrap.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *wrap(struct arena *arena, int column, int indent, const char *text)
{
    struct out *out = out_open_memory(arena);
    size_t length;

    wrap_put(out, column, indent, text);
    const char *wrapped = arena_strdup(arena, out_memory(out, &length));
    out_abort(out);
    return wrapped;
}

static const char *repeat(struct arena *arena, char c, size_t count)
{
    char *text = arena_alloc(arena, count + 1);

    memset(text, c, count);
    text[count] = '\0';
    return text;
}

static void lines_break_between_words_at_80_columns(void **state)
{
    struct arena *arena = arena_create();
    const char *w39 = repeat(arena, 'a', 39), *w40 = repeat(arena, 'b', 40);
    const char *fits = arena_printf(arena, "%s %s", w39, w40);

    (void)state;
    assert_string_equal(wrap(arena, 0, 2, ""), "\n");
    assert_string_equal(wrap(arena, 0, 2, "one  two"), "one two\n");
    assert_string_equal(wrap(arena, 0, 2, fits), arena_printf(arena, "%s\n", fits));
    assert_string_equal(wrap(arena, 1, 2, fits), arena_printf(arena, "%s\n  %s\n", w39, w40));
    arena_destroy(arena);
}

static void a_word_longer_than_a_line_stands_alone_and_whole(void **state)
{
    struct arena *arena = arena_create();
    const char *path = repeat(arena, '/', 200);

    (void)state;
    assert_string_equal(wrap(arena, 0, 4, arena_printf(arena, "in %s here", path)),
                        arena_printf(arena, "in\n    %s\n    here\n", path));
    arena_destroy(arena);
}

static void only_words_that_are_too_long_are_cut(void **state)
{
    struct arena *arena = arena_create();

    (void)state;
    assert_string_equal(wrap_cut(arena, "", 5), "");
    assert_string_equal(wrap_cut(arena, "abcde  fg ", 5), "abcde  fg ");
    assert_string_equal(wrap_cut(arena, "x abcdef y", 5), "x ab... y");
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_break_between_words_at_80_columns),
        cmocka_unit_test(a_word_longer_than_a_line_stands_alone_and_whole),
        cmocka_unit_test(only_words_that_are_too_long_are_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
