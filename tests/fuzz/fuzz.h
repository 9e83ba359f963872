/* fuzz.h - what the fuzz targets share: the entry point, and inputs as files.
 *
 * The readers under test take paths, because that is what users have; a memory file gives a path
 * without touching the disk. */
#ifndef ORRERY_FUZZ_FUZZ_H
#define ORRERY_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

#define FUZZ_PATH_BYTES 64

/* A file that lives in memory until fuzz_close; path is where to open it. Aborts when the system
 * has no memory files. */
int fuzz_open(const uint8_t *bytes, size_t count, char path[FUZZ_PATH_BYTES]);
void fuzz_close(int file);

/* A folder with the given files, whose contents stand one after the other in the input, each ended
 * by a line of its own that reads "====". fuzz_remove_folder removes files and folder. */
void fuzz_make_folder(const uint8_t *bytes, size_t count, const char *const *names, int name_count,
                      char path[FUZZ_PATH_BYTES]);
void fuzz_remove_folder(const char *path, const char *const *names, int name_count);

#endif
