/* utf8.h - is this UTF-8? Shared by the readers and the JSON writer. */
#ifndef ORRERY_BASE_UTF8_H
#define ORRERY_BASE_UTF8_H

#include <stddef.h>

/* Bytes (1 to 4) of the valid UTF-8 character at text, of which count >= 1 bytes may be read; 0
 * when there is none. Overlong forms, surrogates and values above U+10FFFF are none. */
size_t utf8_length(const char *text, size_t count);

#endif
