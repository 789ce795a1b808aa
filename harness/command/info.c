/* `apbench info`: what this machine has, and its measured peaks. */
#include <stdio.h>
#include <stdlib.h>

#include "harness/command/command.h"
#include "harness/error.h"
#include "harness/machine/identity.h"
#include "harness/machine/links.h"
#include "harness/machine/peaks.h"

static const char usage[] =
    "usage: apbench info [flags]\n\n"
    "Prints the machine and measures its peaks: matrix products (a square one, and Llama-3.1-8B's\n"
    "projections on as many rows as a prefill takes at a time; one at a time, and without a pause for a\n"
    "second), attention (visible pairs only) and copy (read and written bytes both counted). A kernel's\n"
    "rate is best read as a share of these. In a launch (--comm nccl --spawn N, or mpirun with --comm\n"
    "mpi) it measures the links between all hosts instead, what attention beside a transfer takes, and\n"
    "prints the --link that fits them.\n";

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

/* ---- Links ---- */

/* How many of the sizes, ascending or not, fit into `room` bytes: those that do come first. */
static int fitting_sizes(const size_list *sizes, int hosts, size_t room, link_times *times)
{
    int count = 0;
    for (int i = 0; i < sizes->count; i++)
        if (links_bytes(hosts, sizes->items[i]) <= room)
            times[count++].bytes = sizes->items[i];
    return count;
}

static void print_rate(const char *what, double seconds, double bytes)
{
    bool short_time = seconds < 1e-3;
    printf("%s %.4g %s (%.3g GB/s)", what, seconds * (short_time ? 1e6 : 1e3),
           short_time ? "us" : "ms", bytes / seconds / 1e9);
}

static void print_times(const link_times *t, int hosts)
{
    char size[32], what[32];
    double bytes = (double)t->bytes;
    printf("link       %s bytes:", format_size(t->bytes, size, sizeof size));
    for (int k = 0; k < links_distances(hosts); k++) {
        snprintf(what, sizeof what, "%s%d apart", k ? ", " : " pairs ", 1 << k);
        print_rate(what, t->pair_s[k], bytes);
    }
    print_rate("; all_gather, a step", t->gather_s / (hosts - 1), bytes);
    print_rate("; all_to_all, a message", t->exchange_s / (hosts - 1), bytes);
    printf("\n");
}

/* A call as nccl-tests reports it (its doc/PERFORMANCE.md): the bytes of the larger buffer, these over
 * seconds, and the share of them that passes a host's port over seconds. */
static void print_bus(const char *call, int64_t bytes, double seconds, double share)
{
    double rate = (double)bytes / seconds / 1e9;
    printf("bus        %-10s %12lld bytes %12.2f us %9.2f GB/s, bus %9.2f GB/s\n", call, (long long)bytes,
           seconds * 1e6, rate, rate * share);
}

static void print_buses(const link_times *times, int count, int hosts)
{
    double share = (double)(hosts - 1) / hosts;
    for (int i = 0; i < count; i++)
        print_bus("send_recv", times[i].bytes, times[i].pair_s[0], 1);
    for (int i = 0; i < count; i++)
        print_bus("all_gather", times[i].bytes * hosts, times[i].gather_s, share);
    for (int i = 0; i < count; i++)
        print_bus("all_to_all", times[i].bytes * hosts, times[i].exchange_s, share);
}

static void print_slowdown(const link_slowdown *s)
{
    char rows[32], bytes[32];
    printf("slowdown   attention of %s rows: %.4g ms alone, %.4g ms beside a send_recv of %s bytes, "
           "%.1f %% slower%s\n", format_size(s->rows, rows, sizeof rows), s->alone_s * 1e3,
           s->beside_s * 1e3, format_size(s->bytes, bytes, sizeof bytes), 100 * (s->slowdown - 1),
           s->left_s < 0.02 * s->beside_s ? " (of which some ran without it: it was over before)" : "");
}

/* A line that says which link fits the points. */
static int print_fit(const char *what, const link_point *points, int count, double slowdown)
{
    link_model link;
    double worst;
    char text[LINK_TEXT];
    if (links_fit(points, count, &link, &worst))
        return fail_within("%s", what);
    link.slowdown = slowdown;
    printf("fit        %s: --link %s (off by %.0f %% at most)\n", what,
           link_write(&link, text, sizeof text), 100 * worst);
    return 0;
}

static double slowest_pair(const link_times *t, int hosts)
{
    double seconds = 0;
    for (int k = 0; k < links_distances(hosts); k++)
        if (t->pair_s[k] > seconds)
            seconds = t->pair_s[k];
    return seconds;
}

/* The slowest pairs, each of the two collectives alone, and all of them: send_recv and collectives with a
 * bandwidth each, what hosts count on. The slowdown goes with the last. */
static int print_fits(const link_times *times, int count, int hosts, double slowdown)
{
    link_point *pairs = alloc_or_die(3 * (size_t)count, sizeof *pairs);
    link_point *gathers = pairs + count, *exchanges = gathers + count;
    for (int i = 0; i < count; i++) {
        double bytes = (double)times[i].bytes, all = (hosts - 1) * bytes;
        pairs[i] = (link_point){false, 1, bytes, slowest_pair(&times[i], hosts)};
        gathers[i] = (link_point){true, hosts - 1, all, times[i].gather_s}; /* as replay.h has them */
        exchanges[i] = (link_point){true, 1, all, times[i].exchange_s};
    }
    int status = print_fit("send_recv of the slowest pairs", pairs, count, 1);
    if (!status)
        status = print_fit("all_gather", gathers, count, 1);
    if (!status)
        status = print_fit("all_to_all", exchanges, count, 1);
    if (!status)
        status = print_fit("both", pairs, 3 * count, slowdown);
    free(pairs);
    return status;
}

static int measure_links(const machine *m, const size_list *sizes)
{
    int hosts = m->most_hosts;
    if (hosts == 1)
        return fail("one host has no links: start several (--spawn N, or mpirun -n N)");
    size_t room, total;
    m->dev->memory(m->dev, &room, &total);
    if (m->driver->share(m->driver, &room, sizeof room)) /* all choose the same sizes */
        return -1;
    /* Hosts of one machine share its memory; so may all ranks that share a GPU. */
    const char *remark = comm_remark(m->driver);
    int sharing = m->dev->neighbours || !*remark ? 1 + m->dev->neighbours : hosts;
    room /= 2 * (size_t)sharing;
    link_times *times = alloc_or_die((size_t)sizes->count, sizeof *times);
    int count = fitting_sizes(sizes, hosts, room, times);
    int status = count ? 0 : fail("no memory for transfers of any of these sizes");
    if (!status)
        status = links_measure(m->driver, hosts, m->dev, times, count);
    link_slowdown slowed = {.slowdown = 1};
    if (!status) {
        int large = 0;
        for (int i = 0; i < count; i++)
            large = times[i].bytes > times[large].bytes ? i : large;
        status = links_slowdown(m->driver, hosts, m->dev,
                                slowest_pair(&times[large], hosts) / (double)times[large].bytes, room,
                                &slowed);
    }
    if (!status && m->leader) {
        printf("links      %s, %d hosts; all pairs at once, both ways; GB/s out of each host\n",
               m->driver->name, hosts);
        for (int i = 0; i < count; i++)
            print_times(&times[i], hosts);
        print_buses(times, count, hosts);
        if (count < sizes->count)
            printf("note       %d larger size%s left out: no memory for them\n",
                   sizes->count - count, sizes->count - count == 1 ? " is" : "s are");
        print_slowdown(&slowed);
        status = print_fits(times, count, hosts, slowed.slowdown);
        if (*remark)
            printf("note       %s: ranks take turns, so these figures mean nothing\n", remark);
    }
    free(times);
    return m->driver->agree(m->driver, status);
}

int command_info(int argc, char **argv)
{
    machine_flags flags = MACHINE_FLAGS_DEFAULT;
    static size_list sizes;
    parse_sizes("1K,4K,16K,64K,256K,1M,4M,16M,64M,256M", &sizes);
    const flag table[] = {
        {"device", FLAG_TEXT, &flags.device, "NAME", "device (apbench list devices)"},
        {"threads", FLAG_SIZE, &flags.threads, "N", "threads of the device; 0 = all cores"},
        {"comm", FLAG_TEXT, &flags.comm, "NAME", "mpi or nccl: measure the links of this launch"},
        {"spawn", FLAG_SIZE, &flags.spawn, "N", "start N ranks here for --comm nccl; 0 = a launcher has"},
        {"sizes", FLAG_SIZES, &sizes, "LIST", "bytes of the transfers that measure links"},
    };
    int parsed = options_parse(usage, table, FLAG_COUNT(table), argc, argv, NULL);
    if (parsed > 0)
        return 0;
    if (parsed || check_ranges("sizes", &sizes, 1, (int64_t)1 << 40))
        return command_misused();
    machine m;
    int opened = machine_open(&flags, &m);
    if (opened)
        return opened;
    int exit_status = 0;
    if (m.leader)
        print_machine(m.dev);
    if (!m.driver->projected) {
        exit_status = measure_links(&m, &sizes) ? machine_failed(&m) : 0;
    } else {
        print_attention(m.dev, print_products(m.dev));
        printf("copy       %.1f GB/s\n", peak_copy(m.dev) / 1e9);
    }
    machine_close(&m);
    return exit_status;
}
