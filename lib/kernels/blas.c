/* blas.c - what the BLAS behind cblas.h says of itself.
 *
 * OpenBLAS's own calls are weak references, so that any CBLAS links; cblas.h is not included, as it
 * would declare them strong. */
#include "lib/base/err.h"
#include "lib/kernels/kernels.h"
#include <stddef.h>

extern char *openblas_get_config(void) __attribute__((weak));
extern char *openblas_get_corename(void) __attribute__((weak));
extern int openblas_get_num_threads(void) __attribute__((weak));
extern void openblas_set_num_threads(int threads) __attribute__((weak));

const char *kernel_blas_config(void)
{
    const char *config = openblas_get_config ? openblas_get_config() : NULL;

    return config ? config : "";
}

const char *kernel_blas_core(void)
{
    const char *core = openblas_get_corename ? openblas_get_corename() : NULL;

    return core ? core : "";
}

int kernel_blas_threads(void)
{
    return openblas_get_num_threads ? openblas_get_num_threads() : 0;
}

void kernel_set_threads(int threads)
{
    if (openblas_set_num_threads)
        openblas_set_num_threads(threads);
}

bool kernel_use_threads(int threads, struct err *err)
{
    kernel_set_threads(threads);
    int given = kernel_blas_threads();

    if (given == threads || (given == 0 && threads == 1))
        return true;
    if (given == 0)
        return err_set(err, ERR_USAGE,
                       "%d threads are asked for: this BLAS does not say how many it works with, "
                       "so only 1 can be relied on",
                       threads);
    return err_set(err, ERR_USAGE, "%d threads are asked for: this BLAS works with %d", threads,
                   given);
}
