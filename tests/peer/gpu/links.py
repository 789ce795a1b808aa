"""The links between this machine's GPUs through torch.distributed, as `apbench info` measures them: pairs
that send to each other, all_gather and all_to_all of the same sizes, timed the same way, in the same job.
Prints both with their ratio and ends with status 1 where ours reach less than 95 % of its bus bandwidth
with messages of 16 MB or more (below that, the start counts and not the link).

    python3 links.py --hosts 8 --ours info.txt       info.txt: the output of `apbench info --comm nccl`

In cells send_recv has fewer blocks than NCCL would choose, which torch lets it; collectives have what NCCL
chooses. On equal terms are a send_recv that was given more blocks (--ours) and collectives as cells have
them (--cells): these are held against torch.
"""

import argparse
import os
import re
import socket
import sys
import time
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.multiprocessing as processes

REPETITIONS, MOST_CALLS, ENOUGH_SECONDS = 5, 20, 0.02  # harness/machine/links.c has the same
LARGE, BAR = 16 << 20, 0.95
LINE = re.compile(r"^bus +(\w+) +(\d+) bytes +[\d.]+ us +[\d.]+ GB/s, bus +([\d.]+) GB/s$")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hosts", type=int, required=True)
    parser.add_argument("--ours", required=True, help="what `apbench info` of the launch printed")
    parser.add_argument("--cells", help="the same as cells have it, where --ours was given more blocks: its "
                        "collectives are compared instead, its send_recv is printed beside")
    parser.add_argument("--backend", default="nccl", help="gloo: on CPUs, to try the script")
    return parser.parse_args()


def read_ours(path):
    """{(call, bytes as nccl-tests counts them): bus GB/s}, in the order of the file."""
    with open(path) as lines:
        found = {(m[1], int(m[2])): float(m[3]) for m in map(LINE.match, map(str.rstrip, lines)) if m}
    if not found:
        sys.exit(f"links.py: {path} has no `bus` lines: it is not what `apbench info` of a launch printed")
    return found


def read_both(options):
    """What is compared with torch, and what cells have, {} without --cells."""
    ours = read_ours(options.ours)
    if not options.cells:
        return ours, {}
    cells = read_ours(options.cells)
    if lacking := sorted(ours.keys() ^ cells.keys()):
        sys.exit(f"links.py: {options.ours} and {options.cells} are of different sizes: {lacking[0][0]} of "
                 f"{lacking[0][1]} bytes is in one of them only")
    return {key: rate if key[0] == "send_recv" else cells[key] for key, rate in ours.items()}, cells


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Rank:
    def __init__(self, rank, hosts, backend):
        self.rank, self.hosts, self.cuda = rank, hosts, backend == "nccl"
        if self.cuda:
            torch.cuda.set_device(rank)
        self.device = torch.device("cuda", rank) if self.cuda else torch.device("cpu")
        dist.init_process_group(backend, rank=rank, world_size=hosts, timeout=timedelta(seconds=60))

    def sync(self):
        if self.cuda:
            torch.cuda.synchronize()

    def slowest(self, seconds):
        value = torch.tensor([seconds], dtype=torch.float64, device=self.device)
        dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return value.item()

    def call(self, name, size):
        """A function that makes the call once; size as nccl-tests counts it."""
        message = size if name == "send_recv" else size // self.hosts
        many = 1 if name == "send_recv" else self.hosts
        send = torch.ones(message * (many if name == "all_to_all" else 1), dtype=torch.uint8,
                          device=self.device)
        receive = torch.zeros(message * many, dtype=torch.uint8, device=self.device)
        if name == "all_gather":
            return lambda: dist.all_gather_into_tensor(receive, send)
        if name == "all_to_all":
            return lambda: dist.all_to_all_single(receive, send)
        peer = self.rank ^ 1
        if peer >= self.hosts:
            return lambda: None

        def exchange():
            for work in dist.batch_isend_irecv([dist.P2POp(dist.isend, send, peer),
                                                dist.P2POp(dist.irecv, receive, peer)]):
                work.wait()
        return exchange

    def once(self, call, calls):
        dist.barrier()
        self.sync()
        since = time.perf_counter()
        for _ in range(calls):
            call()
        self.sync()
        return (time.perf_counter() - since) / calls

    def seconds(self, call):
        for _ in range(2):
            each = self.once(call, 1)
        calls = max(1, min(MOST_CALLS, int(ENOUGH_SECONDS / max(self.slowest(each), 1e-9))))
        return sorted(self.slowest(self.once(call, calls)) for _ in range(REPETITIONS))[REPETITIONS // 2]


def bus(name, size, seconds, hosts):
    share = 1 if name == "send_recv" else (hosts - 1) / hosts
    return size / seconds / 1e9 * share


def measure(rank, hosts, backend, cells, found):
    mine = Rank(rank, hosts, backend)
    for name, size in cells:
        rate = bus(name, size, mine.seconds(mine.call(name, size)), hosts)
        if rank == 0:
            found.put((name, size, rate))
        if mine.cuda:
            torch.cuda.empty_cache()
    dist.destroy_process_group()


def main():
    options = parse()
    ours, cells = read_both(options)
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", str(free_port()))
    found = processes.get_context("spawn").SimpleQueue()
    processes.spawn(measure, (options.hosts, options.backend, list(ours), found), nprocs=options.hosts)
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if options.backend == "nccl" else "none"
    print(f"torch {torch.__version__}, NCCL {nccl}, {options.hosts} ranks; bus bandwidth, GB/s")
    print(f"{'call':<11}{'bytes':>13}{'apbench':>10}{'torch':>10}{'ratio':>8}{'  in cells' if cells else ''}")
    low = 0
    for _ in ours:
        name, size, theirs = found.get()
        ratio = ours[name, size] / theirs
        message = size if name == "send_recv" else size // options.hosts
        bad = message >= LARGE and ratio < BAR
        low += bad
        beside = f"{cells[name, size]:>10.2f}" if cells else ""
        print(f"{name:<11}{size:>13}{ours[name, size]:>10.2f}{theirs:>10.2f}{ratio:>8.3f}{beside}"
              f"{'  below 0.95' if bad else ''}")
    large = sum((s if n == "send_recv" else s // options.hosts) >= LARGE for n, s in ours)
    print(f"{'not ok' if low else 'ok' if large else 'skip'} links beside torch.distributed: {large - low} of "
          f"{large} with messages of 16 MB or more are at 0.95 of it or above")
    sys.exit(low > 0)


if __name__ == "__main__":
    main()
