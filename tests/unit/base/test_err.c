/* test_err.c - the first failure is kept, is one line, and names are guessed well. */
#include "lib/base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h> /* after the four headers that it needs */

static void a_new_err_is_empty(void **state)
{
    struct err err = ERR_INIT;

    (void)state;
    assert_int_equal(err.kind, ERR_NONE);
    assert_string_equal(err.text, "");
}

static void setting_returns_false_and_fills(void **state)
{
    struct err err = ERR_INIT;

    (void)state;
    assert_false(err_set(&err, ERR_USAGE, "no %s like %d", "number", 7));
    assert_int_equal(err.kind, ERR_USAGE);
    assert_string_equal(err.text, "no number like 7");
}

static void the_first_failure_is_kept(void **state)
{
    struct err err = ERR_INIT;

    (void)state;
    err_set(&err, ERR_INPUT, "first");
    assert_false(err_set(&err, ERR_SYSTEM, "second"));
    assert_false(err_at(&err, "p", 1, 1, "third"));
    assert_false(err_errno(&err, "fourth"));
    assert_int_equal(err.kind, ERR_INPUT);
    assert_string_equal(err.text, "first");
}

static void a_place_is_path_line_column(void **state)
{
    struct err err = ERR_INIT;

    (void)state;
    assert_false(err_at(&err, "a.csv", 3, 2, "field is '%s'", "x"));
    assert_int_equal(err.kind, ERR_INPUT);
    assert_string_equal(err.text, "a.csv:3:2: field is 'x'");
}

static void line_or_column_0_is_left_out(void **state)
{
    struct err line = ERR_INIT, path = ERR_INIT;

    (void)state;
    err_at(&line, "a.csv", 3, 0, "bad");
    err_at(&path, "a.csv", 0, 5, "bad");
    assert_string_equal(line.text, "a.csv:3: bad");
    assert_string_equal(path.text, "a.csv: bad");
}

static void errno_becomes_words(void **state)
{
    struct err err = ERR_INIT;

    (void)state;
    errno = ENOENT;
    assert_false(err_errno(&err, "nowhere.csv"));
    assert_int_equal(err.kind, ERR_SYSTEM);
    assert_string_equal(err.text, "nowhere.csv: No such file or directory");
}

static void control_characters_are_replaced_and_utf8_kept(void **state)
{
    struct err err = ERR_INIT;

    (void)state;
    err_set(&err, ERR_INPUT, "a\nb\tc\x1b[31m\x7f \xc3\xa9");
    assert_string_equal(err.text, "a?b?c?[31m? \xc3\xa9");
}

static void a_long_text_is_cut_not_overrun(void **state)
{
    struct err err = ERR_INIT, at = ERR_INIT;
    char longer[4000];

    (void)state;
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    err_set(&err, ERR_INPUT, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    err_at(&at, longer, 1, 1, "%s", longer);
    assert_int_equal(strlen(at.text), sizeof at.text - 1);
}

static const char *const words[] = { "least-idle", "round-robin", "random", "sticky", "at" };

static const char *closest(const char *word)
{
    return err_closest(word, words, 5);
}

static void a_misspelt_word_finds_its_name(void **state)
{
    (void)state;
    assert_string_equal(closest("stikcy"), "sticky"); /* a swap of neighbours counts once */
    assert_string_equal(closest("randm"), "random");
    assert_string_equal(closest("rraandom"), "random");
    assert_string_equal(closest("ROUND_ROBIN"), "round-robin");
    assert_string_equal(closest("ta"), "at");
    assert_string_equal(closest("sticky"), "sticky");
}

static void a_word_that_is_too_far_finds_nothing(void **state)
{
    char longer[200];

    (void)state;
    memset(longer, 'r', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_null(closest(""));
    assert_null(closest("stuck"));
    assert_null(closest("ranxyz"));
    assert_null(closest(longer));
    assert_null(err_closest("word", words, 0));
}

static void ties_go_to_the_first_and_long_names_are_passed_over(void **state)
{
    static const char long_name[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789";
    const char *const names[] = { long_name, "cat", "car", "cab" };

    (void)state;
    assert_string_equal(err_closest("caz", names, 4), "cat");
    assert_string_equal(err_closest("cab", names, 4), "cab");
}

static void choices_are_listed_and_the_closest_is_named(void **state)
{
    static const char *const names[] = { "none", "fixed", "continuous" };
    static const char *many[100];
    char text[ERR_CHOICES_BYTES];

    (void)state;
    assert_string_equal(err_choices("fixde", names, 3, text),
                        "expected none, fixed or continuous; did you mean 'fixed'?");
    assert_string_equal(err_choices("?", names, 1, text), "expected none");
    for (int i = 0; i < 100; i++)
        many[i] = "longword";
    assert_int_equal(strlen(err_choices("x", many, 100, text)), ERR_CHOICES_BYTES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(choices_are_listed_and_the_closest_is_named),
        cmocka_unit_test(a_new_err_is_empty),
        cmocka_unit_test(setting_returns_false_and_fills),
        cmocka_unit_test(the_first_failure_is_kept),
        cmocka_unit_test(a_place_is_path_line_column),
        cmocka_unit_test(line_or_column_0_is_left_out),
        cmocka_unit_test(errno_becomes_words),
        cmocka_unit_test(control_characters_are_replaced_and_utf8_kept),
        cmocka_unit_test(a_long_text_is_cut_not_overrun),
        cmocka_unit_test(a_misspelt_word_finds_its_name),
        cmocka_unit_test(a_word_that_is_too_far_finds_nothing),
        cmocka_unit_test(ties_go_to_the_first_and_long_names_are_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
