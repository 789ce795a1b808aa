/* `apbench info`: what this machine has, and its measured peaks. */
#include <stdio.h>

#include "harness/command/command.h"
#include "harness/machine/identity.h"
#include "harness/machine/peaks.h"

static const char usage[] =
    "usage: apbench info [flags]\n\n"
    "Prints the machine and measures its peaks: matrix products (a square one, and Llama-3.1-8B's\n"
    "projections on as many rows as a prefill takes at a time; one at a time, and without a pause for a\n"
    "second), attention (visible pairs only) and copy (read and written bytes both counted). A kernel's\n"
    "rate is best read as a share of these.\n";

static const char *rate_text(double flops, char *text, size_t bytes)
{
    bool large = flops >= 1e12;
    snprintf(text, bytes, "%.1f %s", flops / (large ? 1e12 : 1e9), large ? "TFLOP/s" : "GFLOP/s");
    return text;
}

static void print_machine(device *dev)
{
    identity id;
    identity_read(&id, dev);
    size_t free_bytes, total_bytes;
    dev->memory(dev, &free_bytes, &total_bytes);
    printf("machine    %s\n", id.machine);
    if (*id.gpu)
        printf("gpu        %s\n", id.gpu);
    if (*id.driver)
        printf("driver     %s\n", id.driver);
    printf("libraries  %s\n", id.libraries);
    printf("device     %s, %s\n", dev->name, dev->title);
    printf("memory     %.1f GiB free of %.1f GiB\n", (double)free_bytes / (1 << 30),
           (double)total_bytes / (1 << 30));
    printf("load       %.2f\n", machine_load());
}

static void print_gemm(const char *name, gemm_rate rate, int64_t m, int64_t n, int64_t k)
{
    char single[32], sustained[32];
    printf("gemm       %s, %s for a second: %s, %lld x %lld x %lld\n",
           rate_text(rate.single, single, sizeof single),
           rate_text(rate.sustained, sustained, sizeof sustained), name, (long long)m, (long long)n,
           (long long)k);
}

/* Returns the square product's rate. */
static double print_products(device *dev)
{
    static const struct {
        const char *name;
        gemm_mode mode;
        int64_t n, k;
    } projections[] = {
        {"llama-3.1-8b qkv", GEMM_STORE, 6144, 4096},
        {"llama-3.1-8b output", GEMM_ADD_F32, 4096, 4096},
        {"llama-3.1-8b gate and up", GEMM_STORE, 28672, 4096},
        {"llama-3.1-8b down", GEMM_ADD_F32, 4096, 14336},
    };
    int64_t size = peak_gemm_size(dev), rows = dev->chunk_rows;
    gemm_rate peak = peak_gemm_shape(dev, GEMM_STORE, size, size, size);
    print_gemm("square", peak, size, size, size);
    for (int i = 0; i < 4; i++)
        print_gemm(projections[i].name,
                   peak_gemm_shape(dev, projections[i].mode, rows, projections[i].n,
                                   projections[i].k),
                   rows, projections[i].n, projections[i].k);
    return peak.single;
}

/* Causal calls that at the product's rate take between a tenth of a millisecond and half a second. */
static void print_attention(device *dev, double gemm)
{
    static const struct {
        int heads, kv_heads, head_dim;
    } shapes[] = {{9, 3, 64}, {32, 8, 128}};
    for (int i = 0; i < 2; i++)
        for (int64_t rows = 1024; rows <= 131072; rows *= 2) {
            int heads = shapes[i].heads, d = shapes[i].head_dim;
            double expected = 2.0 * (double)rows * (double)rows * heads * d / gemm;
            if (expected < 1e-4 || expected > 0.5)
                continue;
            char text[32];
            double rate = peak_attention(dev, rows, heads, shapes[i].kv_heads, d);
            printf("attention  %s, %.0f %% of gemm: causal, %lld rows, %d/%d heads of %d\n",
                   rate_text(rate, text, sizeof text), 100 * rate / gemm, (long long)rows, heads,
                   shapes[i].kv_heads, d);
        }
}

int command_info(int argc, char **argv)
{
    const char *name = "cpu";
    int64_t threads = 0;
    const flag table[] = {
        {"device", FLAG_TEXT, &name, "NAME", "device (apbench list devices)"},
        {"threads", FLAG_SIZE, &threads, "N", "threads of the device; 0 = all cores"},
    };
    int parsed = options_parse(usage, table, FLAG_COUNT(table), argc, argv, NULL);
    if (parsed)
        return parsed > 0 ? 0 : command_misused();
    device *dev = device_find(name);
    if (!dev || check_range("threads", threads, 0, MOST_THREADS))
        return command_misused();
    if (dev->open(dev, (int)threads))
        return command_failed();
    print_machine(dev);
    print_attention(dev, print_products(dev));
    printf("copy       %.1f GB/s\n", peak_copy(dev) / 1e9);
    dev->close(dev);
    return 0;
}
