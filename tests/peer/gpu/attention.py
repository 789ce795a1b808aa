"""Causal attention in turn: ours, FlashAttention-2 and cuDNN (both through PyTorch), same tensors.

For every head shape and length it prints one line and keeps one CSV row: median seconds, TFLOP/s of
visible pairs (4 x pairs x heads x head_dim), our rate as a share of each peer's (of the kernel that
apbench would take, and of the portable one), the errors of ours against FlashAttention-2 (all rows)
and of both against float64 (sampled rows), and the SM clock that each ran at. Keys and values lie
together, [tokens, kv_heads, 2, head_dim], as apbench keeps them; the peers see views of that. A peer
that refuses gets what it accepts, made outside the timing, and its `how` column says so. --variants
times ours with several values of an int of the library against one peer instead.

Exits with 1 when a result is wrong; the ratios are for the reader to judge.
"""

import argparse
import math
import statistics
import sys

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench import relative
from ours import Ours
from turns import Clock, identity, in_turn, size, tokens, write_csv

LLAMA, SMOLLM2, PLAIN = (32, 8, 128), (9, 3, 64), (32, 32, 128)
QUICK = [(LLAMA, "8K,32K,64K,128K,1K,4K"), (SMOLLM2, "8K,32K"), (PLAIN, "32K")]
FULL = [(LLAMA, "8K,16K,32K,64K,128K,1K,2K,4K"), (SMOLLM2, "1K,2K,4K,8K,32K,128K"),
        (PLAIN, "1K,4K,8K,32K,128K")]
PEERS = {"fa2": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
# Which of our kernels (attention_choice in kernels/cuda/cuda.h): the best here, and the one for sm_80
# and later, which FlashAttention-2 is the measure of.
CHOICE, OURS = "cuda_attention_choice", {"ours": 0, "portable": 1}
# bf16 probabilities and outputs leave 2e-3 to 4e-3 of a row's norm; a wrong key or mask far more.
MOST_ERROR = 1e-2


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True, help="libapbench_peer.so")
    parser.add_argument("--program", help="apbench, for its version")
    parser.add_argument("--quick", action="store_true", help="fewer shapes, about 25 s")
    parser.add_argument("--heads", help="HEADS/KV_HEADS/HEAD_DIM instead of the three shapes")
    parser.add_argument("--lengths", help="with --heads or --variants: comma list, K = 1024")
    parser.add_argument("--variants", metavar="NAME=V,V,...",
                        help="ours alone, with each value of an int of the library, against --peer")
    parser.add_argument("--peer", default="fa2", choices=list(PEERS), help="with --variants")
    parser.add_argument("--budget", type=float, help="seconds of rounds for each shape")
    parser.add_argument("--out", help="CSV")
    return parser.parse_args()


class Problem:
    """Tensors of one shape, and the works over them."""

    def __init__(self, shape, length, seed=1):
        self.heads, self.kv_heads, self.width = shape
        self.length = length
        generator = torch.Generator("cuda").manual_seed(seed)

        def random(*sizes):
            return torch.randn(sizes, dtype=torch.bfloat16, device="cuda", generator=generator)
        self.q = random(length, self.heads, self.width)
        self.kv = random(length, self.kv_heads, 2, self.width)
        self.k, self.v = self.kv[:, :, 0], self.kv[:, :, 1]
        self.out = torch.empty_like(self.q)
        self.fa2_out = None
        self.flops = 4 * (length * (length + 1) / 2) * self.heads * self.width

    def ours(self, library, lse=None, choice=0):
        def work(calls):
            library.set(CHOICE, choice)
            for _ in range(calls):
                library.attention(self.q, self.k, self.v, self.out, lse)
        return work

    def peer(self, backend):
        """(work, output function, how it wanted its operands), or None and the reason."""
        def views(k, v):
            return [x.permute(1, 0, 2).unsqueeze(0) for x in (self.q, k, v)]

        def expanded(x):
            return x.repeat_interleave(self.heads // self.kv_heads, dim=1)
        ways = [("views", True, lambda: views(self.k, self.v)),
                ("packed", True, lambda: views(self.k.contiguous(), self.v.contiguous())),
                ("expanded", False, lambda: views(expanded(self.k), expanded(self.v)))]
        reason = ""
        for how, grouped, make in ways:
            q, k, v = make()
            grouped = grouped and self.heads != self.kv_heads

            def call(q=q, k=k, v=v, grouped=grouped):
                return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)

            def work(calls, call=call):
                with sdpa_kernel(backend):
                    for _ in range(calls):
                        call()
            try:
                with sdpa_kernel(backend):
                    call()
                torch.cuda.synchronize()
                return work, call, how
            except RuntimeError as error:
                reason = str(error).split("\n", 1)[0]
        return None, None, reason

    def reference(self, rows):
        """float64 outputs [rows, heads, width] and natural log-sum-exps [rows, heads]."""
        group = self.heads // self.kv_heads
        out = torch.empty(len(rows), self.heads, self.width, dtype=torch.float64, device="cuda")
        lse = torch.empty(len(rows), self.heads, dtype=torch.float64, device="cuda")
        for h in range(self.kv_heads):
            k, v = self.k[:, h].double(), self.v[:, h].double()
            for i, row in enumerate(rows):
                q = self.q[row, h * group:(h + 1) * group].double()
                scores = q @ k[:row + 1].T / math.sqrt(self.width)
                lse[i, h * group:(h + 1) * group] = torch.logsumexp(scores, dim=1)
                out[i, h * group:(h + 1) * group] = torch.softmax(scores, dim=1) @ v[:row + 1]
        return out, lse


def worst(a, b):
    """The element where a and b differ most: (row, head, element, a's, b's)."""
    best = (-1.0, 0)
    for first in range(0, a.shape[0], 4096):
        gap = (a[first:first + 4096].float() - b[first:first + 4096].float()).abs().nan_to_num(
            nan=math.inf).reshape(-1)
        at = int(gap.argmax())
        if gap[at].item() > best[0]:
            best = (gap[at].item(), first * a.shape[1] * a.shape[2] + at)
    row, rest = divmod(best[1], a.shape[1] * a.shape[2])
    head, element = divmod(rest, a.shape[2])
    return row, head, element, a[row, head, element].item(), b[row, head, element].item()


def check(problem, library, fa2, choice=0):
    """Columns of errors, and the sentence when ours is wrong."""
    n = problem.length
    rows = sorted({0, 1, 63, n // 3, n // 2 + 5, n - 2, n - 1} & set(range(n)))
    lse = torch.full((n, problem.heads), math.nan, dtype=torch.float32, device="cuda")
    problem.out.fill_(math.nan)
    problem.ours(library, lse, choice)(1)
    exact, exact_lse = problem.reference(rows)
    columns = {
        "error": relative(problem.out[rows].double(), exact),
        "lse_error": (lse[rows].double() - exact_lse).abs().max().item(),
        "fa2_error": math.nan,
        "error_to_fa2": math.nan,
    }
    other = None
    if fa2:
        if problem.fa2_out is None:
            with sdpa_kernel(PEERS["fa2"]):
                problem.fa2_out = fa2()[0].permute(1, 0, 2)
        other = problem.fa2_out
        columns["fa2_error"] = relative(other[rows].double(), exact)
        columns["error_to_fa2"] = relative(problem.out, other)
    else:
        columns["error_to_fa2"] = 0.0 if bool(problem.out.isfinite().all()) else math.nan
    # The log-sum-exp is float32 of bf16 products: 1e-3 is far above its rounding.
    fine = (columns["error"] < MOST_ERROR and columns["error_to_fa2"] < MOST_ERROR and
            columns["lse_error"] < 1e-3 and bool(lse.isfinite().all()))
    if fine:
        return columns, ""
    where = ""
    if other is not None:
        where = "; worst at row %d, head %d, element %d: %g, FlashAttention-2 has %g" % worst(
            problem.out, other)
    unwritten = problem.out.isnan().any(dim=2).any(dim=1)
    return columns, (f"relative error {columns['error']:.2e} to float64, "
                     f"{columns['error_to_fa2']:.2e} to FlashAttention-2, lse off by "
                     f"{columns['lse_error']:.2e}, {int(unwritten.sum())} rows with NaN{where}")


def heading(names):
    print(f"{'heads':>10} {'length':>7}  " +
          "  ".join(f"{name:>8} ms TFLOP/s  MHz" for name in names) +
          "   ours/fa2 (min-max)  ours/cudnn  portable/fa2   error (fa2's)", flush=True)


def peers(options, library, clock, plan, same):
    rows, failures = [], []
    heading([*OURS, *PEERS])
    for shape, lengths in plan:
        for length in map(tokens, lengths.split(",")):
            problem = Problem(shape, length)
            name = "/".join(map(str, shape))
            works = {one: problem.ours(library, choice=choice) for one, choice in OURS.items()}
            how, fa2 = {}, None
            for peer, backend in PEERS.items():
                work, call, how[peer] = problem.peer(backend)
                if work:
                    works[peer] = work
                    fa2 = call if peer == "fa2" else fa2
            right = True
            for one in reversed(OURS):
                columns, wrong = check(problem, library, fa2, OURS[one])
                if wrong:
                    right = False
                    failures.append(f"{one} {name} at {size(length)}: {wrong}")
                    print(f"not ok {failures[-1]}", flush=True)
            budget = options.budget or (1.5 if options.quick else 3.0)
            times, calls = in_turn(works, clock, budget)
            row = {"heads": shape[0], "kv_heads": shape[1], "head_dim": shape[2], "length": length,
                   "rounds": len(times["ours"][0]), "calls": calls}
            text, ratios = f"{name:>10} {size(length):>7}", {}
            for one in (*OURS, *PEERS):
                seconds, mhz = times.get(one, ([math.nan], 0))
                median = statistics.median(seconds)
                row |= {f"{one}_s": f"{median:.8f}",
                        f"{one}_tflops": f"{problem.flops / median / 1e12:.2f}", f"{one}_mhz": mhz}
                text += f"  {median * 1e3:11.4f} {problem.flops / median / 1e12:7.1f} {mhz:4.0f}"
                ratios[one] = [theirs / ours for theirs, ours in zip(seconds, times["ours"][0])]
            for one in PEERS:
                row |= {f"ratio_{one}": f"{statistics.median(ratios[one]):.4f}",
                        f"ratio_{one}_min": f"{min(ratios[one]):.4f}",
                        f"ratio_{one}_max": f"{max(ratios[one]):.4f}", f"{one}_how": how[one]}
            portable = [theirs / ours for theirs, ours in
                        zip(times["fa2"][0], times["portable"][0])] if fa2 else [math.nan]
            row["ratio_portable_fa2"] = f"{statistics.median(portable):.4f}"
            row |= {key: f"{value:.3e}" for key, value in columns.items()}
            row |= {"right": int(right)} | same
            rows.append(row)
            print(f"{text}   {row['ratio_fa2']} ({row['ratio_fa2_min']}-{row['ratio_fa2_max']})  "
                  f"{row['ratio_cudnn']}  {row['ratio_portable_fa2']}   {columns['error']:.1e} ({columns['fa2_error']:.1e})"
                  + "".join(f"; {one}: {text}" for one, text in how.items() if text != "views"),
                  flush=True)
            if options.out:
                write_csv(options.out, rows)
            del problem, works, fa2
    return failures


def variants(options, library, clock, same):
    shape = tuple(map(int, options.heads.split("/"))) if options.heads else LLAMA
    knob, _, values = options.variants.partition("=")
    values = list(map(int, values.split(",")))
    rows, failures = [], []
    for length in map(tokens, (options.lengths or "32K,128K").split(",")):
        problem = Problem(shape, length)
        peer, call, _ = problem.peer(PEERS[options.peer])
        works = {options.peer: peer} if peer else {}
        for value in values:
            library.set(knob, value)
            choice = value if knob == CHOICE else 0
            _, wrong = check(problem, library, call, choice)
            if wrong:
                failures.append(f"{knob}={value} at {size(length)}: {wrong}")
                print(f"not ok {failures[-1]}", flush=True)

            def work(calls, value=value, choice=choice):
                library.set(knob, value)
                problem.ours(library, choice=choice)(calls)
            works[f"{knob}={value}"] = work
        times, _ = in_turn(works, clock, options.budget or 0.4 * len(works))
        base = statistics.median(times[options.peer][0]) if peer else math.nan
        for name, (seconds, mhz) in times.items():
            median = statistics.median(seconds)
            rows.append({"heads": shape[0], "kv_heads": shape[1], "head_dim": shape[2],
                         "length": length, "variant": name, "seconds": f"{median:.8f}",
                         "tflops": f"{problem.flops / median / 1e12:.2f}", "mhz": mhz,
                         "ratio": f"{base / median:.4f}"} | same)
            print(f"{size(length):>7} {name:32} {median * 1e3:10.3f} ms "
                  f"{problem.flops / median / 1e12:7.1f} TFLOP/s {mhz:4.0f} MHz, "
                  f"{base / median:.4f} of {options.peer}", flush=True)
        if options.out:
            write_csv(options.out, rows)
    return failures


def main():
    options = parse()
    torch.cuda.init()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.inference_mode():
        library = Ours(options.library, stream)
        same, clock = identity(options.program), Clock()
        print(f"{library.title}; torch {same['torch']}, cuDNN {same['cudnn']}", flush=True)
        if options.variants:
            failures = variants(options, library, clock, same)
        else:
            plan = QUICK if options.quick else FULL
            if options.heads:
                plan = [(tuple(map(int, options.heads.split("/"))),
                         options.lengths or "8K,32K,64K,128K")]
            failures = peers(options, library, clock, plan, same)
        torch.cuda.synchronize()
        library.close()
    print("attention: " + (f"{len(failures)} wrong" if failures else "all right"), flush=True)
    sys.exit(1 if failures else 0)


main()
