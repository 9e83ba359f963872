/* blas.c - what the BLAS behind cblas.h says of itself.
 *
 * OpenBLAS's own calls are weak references, so that any CBLAS links; cblas.h is not included, as it
 * would declare them strong. */
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
