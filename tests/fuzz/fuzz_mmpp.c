/* fuzz_mmpp.c - mmpp tables, and lists of states as the command line gives them: any text gives a
 * process with a rate, or an error. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/mmpp.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

static void check(const struct mmpp *mmpp, const struct err *err)
{
    assert(mmpp ? err->kind == ERR_NONE : err->kind != ERR_NONE);
    if (!mmpp)
        return;
    assert(mmpp->state_count >= 2 && mmpp->state_count <= MMPP_MAX_STATES);
    assert(mmpp->rate_per_s > 0 && mmpp->rate_per_s <= MMPP_MAX_PER_S);
    assert(mmpp_switches_per_s(mmpp) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);
    struct arena *arena = arena_create();
    struct err err = ERR_INIT, list_err = ERR_INIT;

    check(mmpp_load(arena, path, &err), &err);
    check(
        mmpp_parse(arena, arena_strndup(arena, (const char *)bytes, count), "--states", &list_err),
        &list_err);
    arena_destroy(arena);
    fuzz_close(file);
    return 0;
}
