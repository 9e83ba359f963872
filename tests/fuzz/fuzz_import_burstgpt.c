/* fuzz_import_burstgpt.c - BurstGPT's tables. */
#include "sim/import/burstgpt.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/import_workload.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char path[FUZZ_PATH_BYTES];
    int file = fuzz_open(bytes, count, path);
    struct burstgpt_settings settings = { .keeps_failed = true };

    replay_defaults(&settings.replay);
    import_workload_run(&import_burstgpt, &settings, path);
    fuzz_close(file);
    return 0;
}
