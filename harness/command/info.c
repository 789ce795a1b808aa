/* `apbench info`: what this machine has, and its measured peaks. */
#include <stdio.h>

#include "harness/command/command.h"
#include "harness/machine/identity.h"
#include "harness/machine/peaks.h"

static const char usage[] =
    "usage: apbench info [flags]\n\n"
    "Prints the machine and measures its peaks: matrix product, attention (visible pairs only) and\n"
    "copy (read and written bytes both counted). A kernel's rate is best read as a share of these.\n";

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
    identity id;
    identity_read(&id);
    size_t free_bytes, total_bytes;
    dev->memory(dev, &free_bytes, &total_bytes);
    double gemm = peak_gemm(dev);
    printf("machine    %s\n", id.machine);
    printf("libraries  %s\n", id.libraries);
    printf("device     %s, %s\n", dev->name, dev->title);
    printf("memory     %.1f GiB free of %.1f GiB\n", (double)free_bytes / (1 << 30),
           (double)total_bytes / (1 << 30));
    printf("load       %.2f\n", machine_load());
    printf("gemm       %.1f GFLOP/s\n", gemm / 1e9);
    static const struct {
        int heads, kv_heads, head_dim;
    } shapes[] = {{9, 3, 64}, {32, 8, 128}};
    for (int i = 0; i < 2; i++)
        for (int64_t rows = 1024; rows <= 4096; rows *= 2) {
            double rate =
                peak_attention(dev, rows, shapes[i].heads, shapes[i].kv_heads, shapes[i].head_dim);
            printf("attention  %.1f GFLOP/s, %.0f %% of gemm: causal, %lld rows, %d/%d heads of %d\n",
                   rate / 1e9, 100 * rate / gemm, (long long)rows, shapes[i].heads,
                   shapes[i].kv_heads, shapes[i].head_dim);
        }
    printf("copy       %.1f GB/s\n", peak_copy(dev) / 1e9);
    dev->close(dev);
    return 0;
}
