/* Opens the device and the links that a command's flags name. See command.h. */
#include <stdio.h>

#include "harness/command/command.h"
#include "harness/error.h"

int command_failed(void)
{
    fprintf(stderr, "apbench: %s\n", fail_text());
    return 1;
}

int command_misused(void)
{
    fprintf(stderr, "apbench: %s\n", fail_text());
    return 2;
}

int check_range(const char *flag, int64_t value, int64_t least, int64_t most)
{
    if (value >= least && value <= most)
        return 0;
    return fail("--%s %lld is out of range: %lld to %lld", flag, (long long)value, (long long)least,
                (long long)most);
}

int machine_open(const machine_flags *flags, machine *m)
{
    if (check_range("threads", flags->threads, 0, MOST_THREADS) ||
        check_range("layers", flags->layers, 0, MOST_LAYERS))
        return command_misused();
    *m = (machine){.dev = device_find(flags->device), .driver = comm_find(flags->comm)};
    if (!m->dev || !m->driver)
        return command_misused();
    if (m->driver->open(m->driver, &m->most_hosts, &m->leader))
        return command_failed();
    if (m->dev->open(m->dev, (int)flags->threads)) {
        m->driver->close(m->driver);
        return command_failed();
    }
    return 0;
}

void machine_close(machine *m)
{
    m->dev->close(m->dev);
    m->driver->close(m->driver);
}
