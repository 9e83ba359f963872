/* replay.c - runs a fuzz target over files without libFuzzer: each seed whole, cut off after each
 * byte, and with each byte spoilt in turn. Any compiler will do. */
#include "tests/fuzz/fuzz.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SEED_BYTES 65536
/* Of a long seed every n-th byte is spoilt, so that a test stays within seconds. */
#define MAX_PLACES 400

static size_t replay(const uint8_t *seed, size_t count)
{
    static const uint8_t spoilt[] = { '\0', '"', ',', '\n', '-', '9', 0xff };
    size_t step = count / MAX_PLACES + 1, runs = 1;

    LLVMFuzzerTestOneInput(seed, count);
    for (size_t i = 0; i < count; i += step) {
        /* Exactly as long as the input, so that a sanitizer sees one byte too far. */
        uint8_t *copy = malloc(count);

        if (!copy)
            return 0;
        memcpy(copy, seed, count);
        for (size_t s = 0; s < sizeof spoilt; s++) {
            copy[i] = spoilt[s];
            LLVMFuzzerTestOneInput(copy, count);
        }
        free(copy);
        copy = malloc(i + 1);
        if (!copy)
            return 0;
        memcpy(copy, seed, i + 1);
        LLVMFuzzerTestOneInput(copy, i + 1);
        free(copy);
        runs += sizeof spoilt + 1;
    }
    return runs;
}

int main(int argc, char **argv)
{
    size_t runs = 0;

    for (int i = 1; i < argc; i++) {
        static uint8_t seed[MAX_SEED_BYTES];
        FILE *file = fopen(argv[i], "rb");
        size_t count;

        if (!file) {
            perror(argv[i]);
            return 2;
        }
        count = fread(seed, 1, sizeof seed, file);
        fclose(file);
        runs += replay(seed, count);
    }
    printf("%zu inputs\n", runs);
    return runs > 0 ? 0 : 2;
}
