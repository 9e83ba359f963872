/* fuzz_import_kafetzis_yaml.c - configurations of Kafetzis' simulator: any text is an environment
 * that our own readers take, or an error. */
#include "sim/import/kafetzis.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/import_kafetzis.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    struct kafetzis_settings settings;
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);

    kafetzis_defaults(&settings);
    import_kafetzis_check(&settings, path);
    fuzz_close(file);
    return 0;
}
