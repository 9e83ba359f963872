/* import.h - what other programs and public traces wrote, as tables of ours: a table of importers.
 *
 * To add one: write sim/import/NAME.c with a `const struct importer import_NAME`, name it in the
 * table of import.c, and give it tests, a fuzz target and a paragraph in sim/README.md. Its options
 * become those of `orrery-sim import NAME`; -o and the names of the files are there already. */
#ifndef ORRERY_SIM_IMPORT_IMPORT_H
#define ORRERY_SIM_IMPORT_IMPORT_H

#include "lib/base/cli.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct out;
struct workload;

#define IMPORT_MAX_OUTPUTS 72
#define IMPORT_MAX_REASONS 8
#define IMPORT_MAX_META 48
/* Rows that one file may become. */
#define IMPORT_MAX_REQUESTS INT64_C(100000000)

/* What was read, and what became of it: one line for the user, and the metadata of the tables. */
struct import_report {
    const char *layout; /* which of the layouts that the importer knows, NULL = the only one */
    int64_t read, kept; /* rows; read -1 = there is nothing to count */
    int reason_count;
    struct {
        const char *why; /* "without output tokens" */
        int64_t rows;
    } reasons[IMPORT_MAX_REASONS];
    const char *notes; /* "; "-separated, NULL = none */
};

/* One call of an importer. */
struct import_job {
    struct arena *arena;
    const char *importer;     /* its name */
    const char *const *files; /* as named on the command line */
    int file_count;
    const char *output; /* -o; NULL: outputs stay in memory (tests) */
    const char *source; /* of the next table, for its metadata; NULL: the files */
    struct import_report report;
    struct out *outs[IMPORT_MAX_OUTPUTS]; /* opened by the importer, committed by the command */
    const char *paths[IMPORT_MAX_OUTPUTS];
    int out_count;
    const char *meta[IMPORT_MAX_META + 1]; /* NULL-ended "key", "value", ... of its tables */
    int meta_count;
};

struct importer {
    const char *name;
    const char *reads;       /* one line: what it reads */
    const char *arguments;   /* of the usage line: "FILE" */
    const char *text;        /* paragraph of --help; behind a \v what follows the options */
    const struct argp *argp; /* its own options; the parser's input is its settings */
    size_t settings_bytes;   /* zeroed, then seen by the parser's ARGP_KEY_INIT */
    /* Reads job->files and opens and fills job->outs. Errors name the place. */
    bool (*run)(struct import_job *job, const void *settings, struct err *err);
};

extern const struct importer import_azure, import_burstgpt, import_dlsim, import_infscale,
    import_kafetzis, import_llmservingsim, import_mlperf, import_pipeedge, import_triosim,
    import_vidur;

int import_count(void);
const struct importer *import_at(int index);
/* NULL and an ERR_USAGE with "did you mean" for an unknown name. */
const struct importer *import_find(const char *name, struct err *err);

/* ---- for importers ---- */

/* A row that is left out: `why` reads behind a number ("without output tokens"). */
void import_drop(struct import_job *job, const char *why, int64_t rows);
/* A remark for the user, without a full stop. */
void import_note(struct import_job *job, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A line of metadata of the tables; value NULL adds nothing. */
void import_meta(struct import_job *job, const char *key, const char *value);
/* job->meta behind the generator, the files read and the counts. */
const char *const *import_meta_list(struct import_job *job);
/* An error when no row was kept, saying why each was not. */
bool import_check_kept(const struct import_job *job, struct err *err);
/* The only file of an importer that reads one. */
bool import_one_file(const struct import_job *job, const char **path, struct err *err);
/* Opens an output and lists it. */
struct out *import_open(struct import_job *job, const char *path, struct err *err);
/* Opens the output and writes the workload with the job's metadata. */
bool import_write_workload(struct import_job *job, const char *path,
                           const struct workload *workload, struct err *err);

/* ---- for the command ---- */

/* "burstgpt: 12 rows read, 9 kept, 3 dropped (2 ..., 1 ...); ...; wrote w.csv" without a newline.
 */
const char *import_report_text(const struct import_job *job);

#endif
