/* A profiler of one page: NVTX loads this library where NVTX_INJECTION64_PATH names it, and it writes
 * the ranges of domain "apbench" to $NVTX_RECORDING.PID when the program ends, one a line, in the order
 * in which they were opened:
 *
 *     depth begin_ns end_ns payload name
 *
 * end_ns is 0 for a range that was never closed, and a line "unopened" is written for every close of
 * nothing. tests/checks/ranges.py reads it. The interface is that of nvtx3/nvtxDetail/nvtxTypes.h. */
#include <nvtx3/nvToolsExt.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    int depth;
    long long begin, end, payload;
    char name[128];
} range;

enum { DEEPEST = 64 };

static range *ranges;
static long count, capacity, unopened;
static long open_ranges[DEEPEST];
static int depth;
static int our_domain;

static long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static nvtxDomainHandle_t create_domain(const char *name)
{
    return strcmp(name, "apbench") ? NULL : (nvtxDomainHandle_t)&our_domain;
}

static int push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t *attributes)
{
    if (domain != (nvtxDomainHandle_t)&our_domain || depth == DEEPEST)
        return -1;
    if (count == capacity) {
        capacity = capacity ? 2 * capacity : 4096;
        ranges = realloc(ranges, (size_t)capacity * sizeof *ranges);
        if (!ranges)
            abort();
    }
    range *r = &ranges[count];
    *r = (range){.depth = depth};
    if (attributes->payloadType == NVTX_PAYLOAD_TYPE_INT64)
        r->payload = attributes->payload.llValue;
    if (attributes->messageType == NVTX_MESSAGE_TYPE_ASCII)
        snprintf(r->name, sizeof r->name, "%s", attributes->message.ascii);
    open_ranges[depth++] = count++;
    r->begin = now();
    return depth;
}

static int pop(nvtxDomainHandle_t domain)
{
    long long time = now();
    if (domain != (nvtxDomainHandle_t)&our_domain)
        return -1;
    if (depth == 0) {
        unopened++;
        return -1;
    }
    ranges[open_ranges[--depth]].end = time;
    return depth;
}

static void write_recording(void)
{
    const char *prefix = getenv("NVTX_RECORDING");
    char path[4096];
    snprintf(path, sizeof path, "%s.%d", prefix ? prefix : "nvtx-recording", (int)getpid());
    FILE *out = fopen(path, "w");
    if (!out) {
        perror(path);
        return;
    }
    for (long i = 0; i < count; i++)
        fprintf(out, "%d %lld %lld %lld %s\n", ranges[i].depth, ranges[i].begin, ranges[i].end,
                ranges[i].payload, ranges[i].name);
    for (long i = 0; i < unopened; i++)
        fprintf(out, "unopened\n");
    fclose(out);
}

static void set(NvtxFunctionTable table, unsigned size, unsigned id, NvtxFunctionPointer function)
{
    if (id < size && table[id])
        *table[id] = function;
}

__attribute__((visibility("default"))) int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t tables)
{
    const NvtxExportTableCallbacks *callbacks =
        (const NvtxExportTableCallbacks *)tables(NVTX_ETID_CALLBACKS);
    NvtxFunctionTable table;
    unsigned size;
    if (!callbacks || !callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size))
        return 0;
    set(table, size, NVTX_CBID_CORE2_DomainCreateA, (NvtxFunctionPointer)create_domain);
    set(table, size, NVTX_CBID_CORE2_DomainRangePushEx, (NvtxFunctionPointer)push);
    set(table, size, NVTX_CBID_CORE2_DomainRangePop, (NvtxFunctionPointer)pop);
    atexit(write_recording);
    return 1;
}
