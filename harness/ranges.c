/* Ranges through NVTX 3, which is a header alone: it looks for a profiler when first called. See
 * ranges.h. */
#include "harness/ranges.h"

#ifdef WITH_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

static _Thread_local int depth;

#ifdef WITH_NVTX
static nvtxDomainHandle_t domain(void)
{
    static nvtxDomainHandle_t made;
    if (!made)
        made = nvtxDomainCreateA("apbench"); /* stays NULL, at the cost of a test, without a profiler */
    return made;
}
#endif

void ranges_open(const char *name, int64_t payload)
{
    depth++;
#ifdef WITH_NVTX
    nvtxEventAttributes_t attributes = {
        .version = NVTX_VERSION,
        .size = NVTX_EVENT_ATTRIB_STRUCT_SIZE,
        .payloadType = NVTX_PAYLOAD_TYPE_INT64,
        .payload = {.llValue = payload},
        .messageType = NVTX_MESSAGE_TYPE_ASCII,
        .message = {.ascii = name},
    };
    nvtxDomainRangePushEx(domain(), &attributes);
#else
    (void)name, (void)payload;
#endif
}

void ranges_close(void)
{
    if (depth == 0)
        return; /* a run that failed half-way has closed it */
    depth--;
#ifdef WITH_NVTX
    nvtxDomainRangePop(domain());
#endif
}

int ranges_depth(void)
{
    return depth;
}

void ranges_close_to(int wanted)
{
    while (depth > wanted)
        ranges_close();
}
