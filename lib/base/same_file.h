/* same_file.h - whether an output would take the place of a file that is read. */
#ifndef ORRERY_BASE_SAME_FILE_H
#define ORRERY_BASE_SAME_FILE_H

#include <stdbool.h>

/* Whether both paths lead to one regular file, by whatever names. "-" is none. */
bool same_file(const char *path, const char *other);

#endif
