/* digits.h - numbers and pieces of text put where a writer stands, two digits at a time.
 *
 * For what writes millions of numbers: each function writes at `at`, where there must be room, and
 * returns what follows. No NUL is written. */
#ifndef ORRERY_BASE_DIGITS_H
#define ORRERY_BASE_DIGITS_H

#include <stdint.h>
#include <string.h>

#define DIGITS_MAX_BYTES 20 /* of any int64_t or uint64_t */

extern const char digits_pairs[]; /* "00" to "99" */

static inline char *digits_text(char *at, const char *text)
{
    size_t length = strlen(text);

    memcpy(at, text, length);
    return at + length;
}

static inline int digits_count(uint64_t value)
{
    for (int count = 1;; value /= 10000, count += 4) {
        if (value < 10)
            return count;
        if (value < 100)
            return count + 1;
        if (value < 1000)
            return count + 2;
        if (value < 10000)
            return count + 3;
    }
}

static inline char *digits_put(char *at, uint64_t value)
{
    char *end = at + digits_count(value), *next = end;

    for (; value >= 100; value /= 100)
        memcpy(next -= 2, digits_pairs + 2 * (value % 100), 2);
    if (value >= 10)
        memcpy(at, digits_pairs + 2 * value, 2);
    else
        *at = (char)('0' + value);
    return end;
}

static inline char *digits_put_int(char *at, int64_t value)
{
    if (value >= 0)
        return digits_put(at, (uint64_t)value);
    *at = '-';
    return digits_put(at + 1, 0 - (uint64_t)value);
}

/* The last `count` digits of value, zeros in front. */
static inline char *digits_put_fixed(char *at, uint64_t value, int count)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + count;
}

#endif
