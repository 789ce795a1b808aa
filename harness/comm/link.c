/* The presets of link models and the text form. See link.h.
 *
 * NVLink, PCIe and network presets take what NCCL's own planner counts on for a GPU, which is what
 * a good machine reaches and not the nominal figure: src/graph/topo.h has 20.0 GB/s for an NVLink 3
 * and 20.6 for an NVLink 4 link, 12 GB/s for PCIe 3.0 x16 (doubling with each generation) and 12
 * for 100 Gbit of network; src/graph/tuning.cc has 3.4, 5.7 and 14 us for a step of a ring over
 * NVLink, PCIe and network (protocol Simple). None of them has been measured beside compute, so none
 * slows it: `apbench info` measures that where there are several GPUs. */
#include "harness/comm/link.h"

#include "harness/error.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NVLINK_STEP 3.4e-6
#define PCIE_STEP 5.7e-6
#define NETWORK_STEP 14e-6

const link_model link_table[] = {
    {"a800-paper", "8x A800 as the APB paper's timings imply", NVLINK_STEP, 98.5e9, 0, 0, 0, 0, 1,
     "fitted: APB's all-gather of 8 MiB shares among 8 hosts takes the 0.62 ms of table 16 "
     "(95 GB/s all in); the same table's Ulysses implies 75 GB/s, so Ulysses comes out 0.9 of "
     "3.9 ms too fast. Nominal: NVLink capped at 400 GB/s, 200 each way"},
    {"nvlink3", "NVLink 3 through NVSwitch (A100)", NVLINK_STEP, 240e9, 0, 0, 0, 0, 1,
     "NCCL's planning figure, 12 links of 20 GB/s; nominal 300 GB/s each way; 8x A100 machines "
     "report 200-235 (NVIDIA/nccl-tests issue 149)"},
    {"nvlink4", "NVLink 4 through NVSwitch (H100, H200)", NVLINK_STEP, 370e9, 0, 0, 0, 0, 1,
     "NCCL's planning figure, 18 links of 20.6 GB/s; nominal 450 GB/s each way"},
    {"pcie4", "PCIe 4.0 x16, one port a GPU", PCIE_STEP, 24e9, 0, 0, 0, 0, 1,
     "NCCL's planning figure; nominal 31.5 GB/s each way (16 GT/s x 16 lanes, 128b/130b)"},
    {"pcie5", "PCIe 5.0 x16, one port a GPU", PCIE_STEP, 48e9, 0, 0, 0, 0, 1,
     "NCCL's planning figure; nominal 63 GB/s each way (32 GT/s x 16 lanes, 128b/130b)"},
    {"ib-hdr", "InfiniBand HDR, one 200 Gbit/s card a host", NETWORK_STEP, 24e9, 0, 0, 0, 0, 1,
     "NCCL's planning figure; nominal 25 GB/s each way"},
    {"ib-ndr", "InfiniBand NDR, one 400 Gbit/s card a host", NETWORK_STEP, 48e9, 0, 0, 0, 0, 1,
     "NCCL's planning figure; nominal 50 GB/s each way"},
    {"eth100", "100 Gbit/s Ethernet, TCP", 30e-6, 11e9, 0, 0, 0, 0, 1,
     "nominal 12.5 GB/s less framing and TCP; the latency is our guess for kernel TCP within a "
     "rack, not a measurement"},
    {"eth25", "25 Gbit/s Ethernet, TCP", 30e-6, 2.8e9, 0, 0, 0, 0, 1,
     "nominal 3.125 GB/s less framing and TCP; the latency is our guess for kernel TCP within a "
     "rack, not a measurement"},
    {"nvlink4-ib-ndr", "nodes of 8 on NVLink 4, one NDR card a host between them", NVLINK_STEP,
     370e9, 0, 8, NETWORK_STEP, 48e9, 1, "nvlink4 inside a node and ib-ndr between nodes"},
};
const int link_count = sizeof link_table / sizeof *link_table;

typedef struct {
    const char *name;
    double factor;
} unit;

static const unit second_units[] = {{"", 1}, {"s", 1}, {"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}};
static const unit byte_units[] = {{"", 1}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12}};
enum { UNITS = sizeof byte_units / sizeof *byte_units };

static int parse_quantity(const char *link_text, const char *key, const char *value,
                          const unit units[UNITS], bool positive, double *result)
{
    char *end;
    double number = strtod(value, &end);
    for (int i = 0; end != value && i < UNITS; i++) {
        if (strcmp(end, units[i].name))
            continue;
        *result = number * units[i].factor;
        if (!isfinite(*result) || *result < 0 || (positive && *result == 0))
            break;
        return 0;
    }
    return fail("'%s': %s=%s is not %s; units are %s, %s, %s, %s", link_text, key, value,
                positive ? "a positive number" : "a number of at least 0", units[1].name,
                units[2].name, units[3].name, units[4].name);
}

static int parse_hosts(const char *link_text, const char *value, int *hosts)
{
    char *end;
    errno = 0;
    long number = strtol(value, &end, 10);
    if (end == value || *end || errno || number < 0 || number > 1 << 20)
        return fail("'%s': hosts_per_node=%s is not a number of hosts (0: all in one node)",
                    link_text, value);
    *hosts = (int)number;
    return 0;
}

static int parse_slowdown(const char *link_text, const char *value, double *slowdown)
{
    char *end;
    *slowdown = strtod(value, &end);
    if (end == value || *end || !isfinite(*slowdown) || *slowdown < 1)
        return fail("'%s': slowdown=%s is not a number of at least 1 (1.1: a tenth slower)", link_text,
                    value);
    return 0;
}

/* One "key=value". */
static int set_field(const char *link_text, const char *field, link_model *link)
{
    const char *equals = strchr(field, '=');
    if (!equals)
        return fail("'%s': '%s' is not of the form key=value", link_text, field);
    int length = (int)(equals - field);
    const char *value = equals + 1;
    char key[32];
    snprintf(key, sizeof key, "%.*s", length, field);
    if (!strcmp(key, "latency"))
        return parse_quantity(link_text, key, value, second_units, false, &link->latency);
    if (!strcmp(key, "node_latency"))
        return parse_quantity(link_text, key, value, second_units, false, &link->node_latency);
    if (!strcmp(key, "bandwidth"))
        return parse_quantity(link_text, key, value, byte_units, true, &link->bandwidth);
    if (!strcmp(key, "collectives"))
        return parse_quantity(link_text, key, value, byte_units, true, &link->collectives);
    if (!strcmp(key, "node_bandwidth"))
        return parse_quantity(link_text, key, value, byte_units, true, &link->node_bandwidth);
    if (!strcmp(key, "hosts_per_node"))
        return parse_hosts(link_text, value, &link->hosts_per_node);
    if (!strcmp(key, "slowdown"))
        return parse_slowdown(link_text, value, &link->slowdown);
    return fail("'%s': there is no '%.*s'; keys are latency, bandwidth, collectives, "
                "hosts_per_node, node_latency, node_bandwidth, slowdown", link_text, length, field);
}

static int find_base(const char *text, size_t length, link_model *link)
{
    static const link_model custom = {.name = "custom", .title = "as written on the command line",
                                      .source = "the command line"};
    char names[512] = "";
    for (int i = 0; i < link_count; i++) {
        if (strlen(link_table[i].name) == length && !memcmp(link_table[i].name, text, length)) {
            *link = link_table[i];
            return 0;
        }
        size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s, ", link_table[i].name);
    }
    if (length == strlen(custom.name) && !memcmp(text, custom.name, length)) {
        *link = custom;
        return 0;
    }
    return fail("'%.*s' is no link; known are %sand custom:latency=5us:"
                "bandwidth=50G", (int)length, text, names);
}

int link_find(const char *text, link_model *link)
{
    size_t length = strcspn(text, ":");
    if (find_base(text, length, link) < 0)
        return -1;
    for (const char *rest = text + length; *rest;) {
        rest++; /* the colon */
        size_t field_length = strcspn(rest, ":");
        char *field = copy_bytes(rest, field_length);
        int result = set_field(text, field, link);
        free(field);
        if (result < 0)
            return -1;
        rest += field_length;
    }
    if (link->bandwidth <= 0)
        return fail("'%s': bandwidth is missing", text);
    if (link->hosts_per_node > 0 && link->node_bandwidth <= 0)
        return fail("'%s': hosts_per_node is given, but node_bandwidth is missing", text);
    if (link->hosts_per_node > 0 && link->node_latency < link->latency)
        return fail("'%s': hosts_per_node is given, but node_latency is missing or less than latency",
                    text);
    return 0;
}

char *link_write(const link_model *link, char *text, int bytes)
{
    int used = snprintf(text, (size_t)bytes, "custom:latency=%.4gus:bandwidth=%.4gG",
                        link->latency * 1e6, link->bandwidth / 1e9);
    if (link->collectives > 0 && used < bytes)
        used += snprintf(text + used, (size_t)(bytes - used), ":collectives=%.4gG",
                         link->collectives / 1e9);
    if (link->slowdown > 1 && used < bytes)
        snprintf(text + used, (size_t)(bytes - used), ":slowdown=%.4g", link->slowdown);
    return text;
}
