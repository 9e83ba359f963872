/* same_file.c - see same_file.h: by device and inode, so that links and other spellings count. */
#include "lib/base/same_file.h"

#include <string.h>
#include <sys/stat.h>

bool same_file(const char *path, const char *other)
{
    struct stat one, two;

    return strcmp(path, "-") != 0 && strcmp(other, "-") != 0 && stat(path, &one) == 0 &&
           S_ISREG(one.st_mode) && stat(other, &two) == 0 && one.st_dev == two.st_dev &&
           one.st_ino == two.st_ino;
}
