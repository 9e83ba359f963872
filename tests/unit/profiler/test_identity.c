/* test_identity.c - what makes a machine another one. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "profiler/device/facts.h"
#include "profiler/journal/identity.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct facts *make_facts(struct arena *arena, const char *memory_bytes, const char *core)
{
    struct facts *facts = arena_alloc(arena, sizeof(*facts));

    facts->arena = arena;
    facts_put(facts, "cpu", "x", "", "", "");
    facts_put(facts, "memory_total_bytes", memory_bytes, "", "", "");
    facts_put(facts, "load_1min", memory_bytes, "", "", "");
    facts_put(facts, "env_OPENBLAS_NUM_THREADS", NULL, "", "", "not_set");
    facts_put(facts, "env_OPENBLAS_CORETYPE", core, "", "", "not_set");
    facts_put(facts, "env_OMP_NUM_THREADS", "2", "", "", "not_set");
    return facts;
}

static bool is_same_machine(struct arena *arena, const struct facts *a, const struct facts *b,
                            struct err *err)
{
    struct identity here = identity_create(arena), there = identity_create(arena);

    identity_put_machine(&here, a);
    identity_put_machine(&there, b);
    return identity_check(&here, &there, "T", err);
}

static void a_machine_is_its_parts_and_its_environment(void **state)
{
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct facts *facts = make_facts(arena, "4000000000", NULL);

    (void)state;
    /* a kernel that keeps a little more of the memory is the same machine */
    assert_true(is_same_machine(arena, facts, make_facts(arena, "3990000000", NULL), &err));
    assert_false(is_same_machine(arena, facts, make_facts(arena, "8000000000", NULL), &err));
    assert_string_equal(err.text, "T: measured on another machine: memory_mib is '3840' here, "
                                  "'7680' there");
    err = (struct err)ERR_INIT;
    assert_false(is_same_machine(arena, facts, make_facts(arena, "4000000000", "Haswell"), &err));
    assert_string_equal(err.text, "T: measured on another machine: OPENBLAS_CORETYPE is '' here, "
                                  "'Haswell' there");
    arena_destroy(arena);
}

static void any_text_becomes_one_field(void **state)
{
    struct arena *arena = arena_create();

    (void)state;
    assert_string_equal(identity_escape(arena, "Cortex-A76 r4"), "Cortex-A76 r4");
    assert_string_equal(identity_escape(arena, " a,\"b\"\n100%\xff "),
                        "%20a%2C%22b%22%0A100%25%FF%20");
    assert_string_equal(identity_escape(arena, ""), "");
    arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_machine_is_its_parts_and_its_environment),
        cmocka_unit_test(any_text_becomes_one_field),
    };

    return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
