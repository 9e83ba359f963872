/* fuzz_profile.c - rate-profile tables: any text gives rising pieces or a located error. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/profile.h"
#include "tests/fuzz/fuzz.h"
#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);
    struct arena *arena = arena_create();
    struct err err = ERR_INIT;
    const struct profile *profile = profile_load(arena, path, &err);

    assert(profile ? err.kind == ERR_NONE && profile->count > 0 : err.kind != ERR_NONE);
    for (int i = 0; profile && i < profile->count; i++) {
        const struct profile_piece *piece = &profile->pieces[i];

        assert(i == 0 ? piece->from_ps == 0 : piece->from_ps > piece[-1].from_ps);
        assert(piece->rate_per_s >= 0 && piece->to_rate_per_s >= 0);
    }
    arena_destroy(arena);
    fuzz_close(file);
    return 0;
}
