/* fuzz_import_kafetzis.c - five tables of Kafetzis' simulator, "====" lines between them: any text
 * is an environment that our own readers take, or a located error. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "sim/import/kafetzis.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/import_kafetzis.h"
#include <assert.h>

static const char *const names[] = { "configs.csv", "devices.csv", "links.csv", "results.csv",
                                     "heads.csv" };
#define NAME_COUNT ((int)(sizeof names / sizeof names[0]))

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static const char *const algorithms[] = { "greedy", NULL };
    char folder[FUZZ_PATH_BYTES];

    fuzz_make_folder(bytes, count, names, NAME_COUNT, folder);
    for (int i = 0; i < 2; i++) {
        struct kafetzis_settings settings;

        kafetzis_defaults(&settings);
        settings.algorithm = algorithms[i];
        import_kafetzis_check(&settings, folder);
    }
    fuzz_remove_folder(folder, names, NAME_COUNT);
    return 0;
}
