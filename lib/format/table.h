/* table.h - the first lines of every table that is written: `# orrery: <format> 1`, then one
 * `# key: value` line a pair of meta, a NULL-ended list of "key", "value", ... (NULL: none). */
#ifndef ORRERY_FORMAT_TABLE_H
#define ORRERY_FORMAT_TABLE_H

struct out;

void table_begin(struct out *out, const char *format, const char *const *meta);

#endif
