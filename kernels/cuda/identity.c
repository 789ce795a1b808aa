/* Which GPU, driver and libraries these are, and the capture range of profilers. */
#include "kernels/cuda/cuda.h"

#include <cuda_profiler_api.h>
#include <dlfcn.h>
#include <stdio.h>

/* "580.95.05", from the library that comes with the driver; the CUDA runtime only knows which of its
 * own versions the driver serves. */
static void read_driver(char *text, size_t bytes)
{
    *text = 0;
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return;
    int (*begin)(void), (*end)(void), (*version)(char *, unsigned);
    *(void **)&begin = dlsym(library, "nvmlInit_v2");
    *(void **)&end = dlsym(library, "nvmlShutdown");
    *(void **)&version = dlsym(library, "nvmlSystemGetDriverVersion");
    if (begin && end && version && !begin()) {
        if (version(text, (unsigned)bytes))
            *text = 0;
        end();
    }
    dlclose(library);
}

void cuda_describe(device *d, device_identity *identity)
{
    *identity = (device_identity){0};
    struct cudaDeviceProp properties;
    cuda_must(cudaGetDeviceProperties(&properties, cuda_of(d)->ordinal), "cudaGetDeviceProperties");
    snprintf(identity->chip, sizeof identity->chip, "%.90s, %.0f GiB", properties.name,
             (double)properties.totalGlobalMem / (1 << 30));
    int serves = 0, runtime = 0;
    cuda_must(cudaDriverGetVersion(&serves), "cudaDriverGetVersion");
    cuda_must(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    char driver[40];
    read_driver(driver, sizeof driver);
    snprintf(identity->driver, sizeof identity->driver, "%s%sfor CUDA %d.%d", driver,
             *driver ? ", " : "", serves / 1000, serves % 1000 / 10);
    size_t blas = cublasLtGetVersion();
    snprintf(identity->libraries, sizeof identity->libraries, "CUDA %d.%d, cuBLASLt %zu.%zu.%zu",
             runtime / 1000, runtime % 1000 / 10, blas / 10000, blas % 10000 / 100, blas % 100);
}

void cuda_profile(device *d, bool on)
{
    (void)d;
    cuda_must(on ? cudaProfilerStart() : cudaProfilerStop(), "the profiler's capture range");
}
