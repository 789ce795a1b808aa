"""How the scripts beside this one time things on a GPU: in turn, with events, clocks beside them.

Works to be compared take turns within a round, each round beginning with another, so that a card
that throttles hits all alike. A work is a function of a number of calls, which it queues on the
current stream; short calls are timed many at a time behind a spin that lets the processor queue
them first, so that no launch gap is measured. Also here: what the machine is, and CSV files that
appear whole.
"""

import csv
import math
import os
import pathlib
import statistics
import subprocess
import time

import torch

SHORTEST_BATCH = 3e-3  # seconds of GPU work between two events
QUEUE_COST = 60e-6  # seconds that the processor may take to queue a call
SPIN_CLOCK = 2e9  # cycles a second of torch.cuda._sleep


class Clock:
    """The SM clock in MHz, through NVML; 0 where that is missing."""

    def __init__(self):
        try:
            import pynvml
            pynvml.nvmlInit()
            self.nvml = pynvml
            # NVML counts all GPUs of the machine, torch the visible ones: match by bus address.
            one = torch.cuda.get_device_properties(torch.cuda.current_device())
            if hasattr(one, "pci_bus_id"):
                address = f"{one.pci_domain_id:08x}:{one.pci_bus_id:02x}:{one.pci_device_id:02x}.0"
                self.device = pynvml.nvmlDeviceGetHandleByPciBusId(address.encode())
            else:
                self.device = pynvml.nvmlDeviceGetHandleByIndex(torch.cuda.current_device())
        except Exception as reason:  # clocks are a remark beside the ratios
            print(f"no clocks: {reason}", flush=True)
            self.nvml = None

    def mhz(self):
        if not self.nvml:
            return 0
        return self.nvml.nvmlDeviceGetClockInfo(self.device, self.nvml.NVML_CLOCK_SM)


def seconds_of(work, calls, clock=None, expected=0.0):
    """(seconds a call, MHz while it ran) of `calls` calls of the work."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(int(QUEUE_COST * min(calls, 256) * SPIN_CLOCK))
    start.record()
    work(calls)
    end.record()
    if expected > 5e-3:
        time.sleep(min(expected / 2, 0.5))
    mhz = clock.mhz() if clock else 0
    end.synchronize()
    return start.elapsed_time(end) * 1e-3 / calls, mhz


def in_turn(works, clock, budget, least=3, most=100):
    """Times {name: work} in turn for about `budget` seconds, `least` to `most` rounds. Returns
    {name: (seconds a call of every round, median MHz)} and the number of calls in a batch."""
    expected = {}
    for name, work in works.items():
        work(1)  # loads modules, makes plans
        torch.cuda.synchronize()
        expected[name], _ = seconds_of(work, 1)
    shortest = max(min(expected.values()), 1e-6)
    calls = max(1, min(32, math.ceil(SHORTEST_BATCH / shortest)))
    rounds = int(budget / (calls * sum(expected.values())))
    rounds = max(least, min(most, rounds))
    names = list(works)
    times, clocks = {name: [] for name in names}, {name: [] for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            seconds, mhz = seconds_of(works[name], calls, clock, calls * expected[name])
            times[name].append(seconds)
            clocks[name].append(mhz)
    return {name: (times[name], statistics.median(clocks[name])) for name in names}, calls


def sustained(work, clock, budget=1.0):
    """(seconds a call, MHz) of a work repeated for `budget` seconds without a pause."""
    work(1)
    torch.cuda.synchronize()
    expected, _ = seconds_of(work, 3)
    calls = max(3, math.ceil(budget / expected))
    return seconds_of(work, calls, clock, calls * expected)


def identity(program=None):
    """Columns that say what the figures were made with."""
    import torch.backends.cudnn
    commit = "unknown"
    if program:
        done = subprocess.run([program, "--version"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
        commit = done.stdout.split("\n", 1)[0].strip() or commit
    driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    return {
        "gpu": torch.cuda.get_device_name(),
        "driver": driver.split("\n", 1)[0].strip(),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "commit": commit,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def write_csv(path, rows):
    """All rows (dictionaries with the same keys) into a file that appears whole."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(path.name + ".fresh")
    with open(fresh, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(fresh, path)


def tokens(text):
    """1K = 1024."""
    factor = {"K": 1024, "M": 1024 * 1024}.get(text[-1].upper(), 1)
    return int(text[:-1] if factor > 1 else text) * factor


def size(count):
    return f"{count // 1024}K" if count % 1024 == 0 else str(count)
