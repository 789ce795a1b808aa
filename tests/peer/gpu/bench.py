"""What the cases of calls.py stand on: PyTorch's attention backends as peers, our calls as works, and a
bench that times both in turn, compares their results, prints a line a case and keeps the CSV's rows.
"""

import math
import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from turns import in_turn, write_csv

BACKENDS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "fa2": SDPBackend.FLASH_ATTENTION}
CHOICE = "cuda_attention_choice"  # kernels/cuda/cuda.h
BEST, PORTABLE, PACKED, HOPPER, HOPPER_PACKED = range(5)
MOST_ERROR = 1e-2  # of a result's norm: bf16 leaves 2e-3 to 4e-3, a wrong key or mask far more


def random(*sizes):
    return torch.randn(sizes, dtype=torch.bfloat16, device="cuda")


def relative(a, b):
    """||a - b|| / ||b||, NaN when there is a NaN."""
    difference = norm = 0.0
    for x, y in zip(a.split(4096), b.split(4096)):
        difference += (x.float() - y.float()).square().sum(dtype=torch.float64).item()
        norm += y.float().square().sum(dtype=torch.float64).item()
    return math.sqrt(difference / norm)


def keys_of(kv):
    return kv[:, :, 0], kv[:, :, 1]


def batched(x):
    """[tokens, heads, d] as [1, heads, tokens, d]."""
    return x.permute(1, 0, 2).unsqueeze(0)


class Peer:
    """One backend of torch's scaled_dot_product_attention."""

    def __init__(self, name):
        self.name = name

    def call(self, q, kv, causal):
        """A function that queues the call and returns [rows, heads, d]."""
        operands = [batched(x) for x in (q, *keys_of(kv))]
        grouped = q.shape[1] != kv.shape[1]

        def run():
            return F.scaled_dot_product_attention(*operands, is_causal=causal, enable_gqa=grouped)[
                0].permute(1, 0, 2)
        return run

    def partial(self, q, kv, causal):
        """Output [1, heads, rows, d] and log-sum-exp [1, heads, rows]."""
        operands = [batched(x) for x in (q, *keys_of(kv))]
        aten = torch.ops.aten
        if self.name == "cudnn":
            found = aten._scaled_dot_product_cudnn_attention(*operands, None, True, 0.0, causal)
        else:
            found = aten._scaled_dot_product_flash_attention(*operands, 0.0, causal)
        return found[0], found[1].reshape(1, q.shape[1], q.shape[0])

    def turns(self, runs):
        work = turning(runs)

        def within(calls):
            with sdpa_kernel(BACKENDS[self.name]):
                work(calls)
        return within

    def once(self, run):
        with sdpa_kernel(BACKENDS[self.name]):
            return run()


def turning(runs):
    """A work that goes round the functions, one for each set of inputs."""
    at = [0]

    def work(calls):
        for _ in range(calls):
            runs[at[0] % len(runs)]()
            at[0] += 1
    return work


class Bench:
    def __init__(self, options, library, clock, same):
        self.options, self.library, self.clock, self.same = options, library, clock, same
        self.rows, self.failures, self.below, self.skipped = [], [], [], 0
        self.begun = time.time()
        self.peers = [Peer(name) for name in BACKENDS]
        self.cache = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 50 << 20)
        self.seconds = 0.5 if options.quick else 0.9  # of rounds for a case

    def sets(self, bytes_of_one):
        """How many sets of inputs go round, so that none is found in the L2 cache."""
        return max(1, min(8, math.ceil(2 * self.cache / bytes_of_one)))

    def spent(self, label):
        if time.time() - self.begun < self.options.budget:
            return False
        self.skipped += 1
        print(f"skip {label}: the budget of {self.options.budget:g} s is spent", flush=True)
        return True

    def wrong(self, label, what):
        self.failures.append(f"{label}: {what}")
        print(f"not ok {label}: {what}", flush=True)

    def expect(self, label, got, want, most=MOST_ERROR):
        error = relative(got, want)
        if not error < most:
            self.wrong(label, f"relative difference {error:.3g}, {most:g} allowed")

    def bar(self, label, what, ratio, least):
        if ratio >= least:
            return ""
        self.below.append(f"{label}: {what} {ratio:.3f}, the bar is {least:g}")
        return f"  below {least:g}"

    def ours(self, runs, choice=BEST):
        work = turning(runs)

        def chosen(calls):
            self.library.set(CHOICE, choice)
            work(calls)
            self.library.set(CHOICE, BEST)
        return chosen

    def add_peers(self, works, label, calls, out=None, suffix="", without=()):
        """Puts those peers among the works that take the call. calls(peer): its functions, one for each
        set of inputs; the first must give `out`, where that is there."""
        for peer in self.peers:
            if peer.name in without:
                continue
            theirs = calls(peer)
            try:
                got = peer.once(theirs[0])
            except RuntimeError as error:
                print(f"     {label}: {peer.name} refuses: {str(error).splitlines()[0]}", flush=True)
                continue
            if out is not None:
                self.expect(f"{label} ours to {peer.name}{suffix}", out, got)
            works[peer.name + suffix] = peer.turns(theirs)

    def measure(self, section, label, works, amounts, unit="TFLOP/s", scale=1e12, **columns):
        """Times the works in turn; the first is ours. Returns {name: (rate, ratio of the first's rate
        to it)}."""
        times, calls = in_turn(works, self.clock, self.seconds)
        first = next(iter(works))
        found = {}
        for name, (seconds, mhz) in times.items():
            rate = amounts[name] / statistics.median(seconds) / scale
            ratio = statistics.median(theirs / amounts[name] / (ours / amounts[first])
                                      for theirs, ours in zip(seconds, times[first][0]))
            found[name] = rate, ratio
            self.rows.append({
                "section": section, "case": label, "heads": "", "kv_heads": "", "head_dim": "",
                "rows": "", "keys": "", "rank": "", "kernel": name,
                "seconds": f"{statistics.median(seconds):.8f}", "rate": f"{rate:.2f}", "unit": unit,
                "ratio": f"{ratio:.4f}", "least_s": f"{min(seconds):.8f}",
                "most_s": f"{max(seconds):.8f}", "mhz": mhz, "rounds": len(seconds), "calls": calls,
            } | columns | self.same)
        if self.options.out:
            write_csv(self.options.out, self.rows)
        return found

    def line(self, label, found, tail=""):
        text = "  ".join(f"{name} {rate:7.1f}" + (f" ({ratio:.3f})" if i else "")
                         for i, (name, (rate, ratio)) in enumerate(found.items()))
        print(f"{label:34} {text}{tail}   [{time.time() - self.begun:.0f} s]", flush=True)
