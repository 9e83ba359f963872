/* sysfile.h - small files of /proc and /sys, below a prefix so that tests can bring their own tree.
 *
 * A file that is missing or unreadable is no error: the value is simply not known. */
#ifndef ORRERY_PROFILER_SYSFILE_H
#define ORRERY_PROFILER_SYSFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/* Up to 64 KiB of sysroot + path, NUL-terminated; *length counts also bytes behind a NUL. NULL when
 * it cannot be read. */
char *sysfile_text(struct arena *arena, const char *sysroot, const char *path, size_t *length);
/* Its first line without blanks around it; NULL when missing or empty. */
const char *sysfile_line(struct arena *arena, const char *sysroot, const char *path);
/* Its first line as a whole number, decimal or 0x; cache sizes may end in K or M. */
bool sysfile_int(struct arena *arena, const char *sysroot, const char *path, int64_t *value);
/* Value of the first line "key : value" (or key=value, quotes removed); NULL when there is none. */
const char *sysfile_field(struct arena *arena, const char *sysroot, const char *path,
                          const char *key);
/* A field such as "MemTotal: 16384 kB", in bytes. */
bool sysfile_field_kb(struct arena *arena, const char *sysroot, const char *path, const char *key,
                      int64_t *size_bytes);

/* Names in a folder that begin with prefix, in the order of their numbers (cpu2 before cpu10), at
 * most 512; returns their number, 0 when the folder cannot be read. */
int sysfile_names(struct arena *arena, const char *sysroot, const char *folder, const char *prefix,
                  const char *const **names);
/* The file is there, and this user may not read it. */
bool sysfile_is_forbidden(struct arena *arena, const char *sysroot, const char *path);

/* Bytes of the largest cache of cpu0; 0 when the system does not say. */
int64_t sysfile_llc_bytes(struct arena *arena, const char *sysroot);

#endif
