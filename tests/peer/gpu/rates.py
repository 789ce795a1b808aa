"""The rates that a prefill's floor is made of: the four products of a layer of Llama-3.1-8B's shape,
each sustained for a second by ours and by torch in turn, a large copy, and our causal attention at
the row counts that the floor needs. Writes a CSV that floor.py reads.
"""

import argparse

import torch
import torch.nn.functional as F

from ours import ADD_F32, STORE, Ours
from turns import Clock, identity, sustained, tokens, write_csv

HIDDEN, FFN, HEADS, KV_HEADS, WIDTH = 4096, 14336, 32, 8, 128
# What the columns of a breakdown hold; o and down add into the float32 residual.
PRODUCTS = [("qkv", STORE, (HEADS + 2 * KV_HEADS) * WIDTH, HIDDEN), ("o", ADD_F32, HIDDEN, HIDDEN),
            ("gate_up", STORE, 2 * FFN, HIDDEN), ("down", ADD_F32, HIDDEN, FFN)]
# APB's rows on its later hosts at 32K, 64K, 128K over 8 hosts (anchor + block), then whole documents.
ATTENTION_ROWS = "5114,10234,20474,32K,64K,128K"


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True)
    parser.add_argument("--program")
    parser.add_argument("--rows", default="16K", help="rows of the products")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each product")
    parser.add_argument("--attention", default=ATTENTION_ROWS, help="rows of causal attention")
    parser.add_argument("--out", required=True)
    return parser.parse_args()


def random(*sizes):
    return torch.randn(sizes, dtype=torch.bfloat16, device="cuda")


def repeat(call):
    def work(calls):
        for _ in range(calls):
            call()
    return work


def main():
    options = parse()
    rows = tokens(options.rows)
    stream = torch.cuda.Stream()
    found = []
    with torch.cuda.stream(stream), torch.inference_mode():
        library, clock = Ours(options.library, stream), Clock()
        same = identity(options.program)

        def note(kind, who, name, amount, work, budget, m="", n="", k=""):
            seconds, mhz = sustained(work, clock, budget)
            found.append({"kind": kind, "who": who, "name": name, "m": m, "n": n, "k": k,
                          "seconds": f"{seconds:.8f}", "rate": f"{amount / seconds:.6g}",
                          "mhz": mhz} | same)
            unit = "GB/s" if kind == "copy" else "TFLOP/s"
            rate = amount / seconds / (1e9 if kind == "copy" else 1e12)
            print(f"{kind:>9} {name:>8} {who:>5} {rate:8.1f} {unit:7} {mhz:4.0f} MHz", flush=True)

        for name, mode, n, k in PRODUCTS:
            a, w = random(rows, k), random(n, k) * 0.02
            ours = torch.zeros(rows, n, device="cuda",
                               dtype=torch.bfloat16 if mode == STORE else torch.float32)
            theirs = torch.empty(rows, n, dtype=torch.bfloat16, device="cuda")
            library.gemm(mode, ours, a, w)
            torch.mm(a, w.T, out=theirs)
            gap = ((ours.float() - theirs.float()).norm() / theirs.float().norm()).item()
            # Both sum in float32 and round once to bfloat16 at most: 2^-9 of each element.
            if not gap < 4e-3:
                print(f"not ok product {name}: relative difference to torch {gap:.2e}", flush=True)
            flops = 2.0 * rows * n * k
            note("gemm", "ours", name, flops, repeat(lambda: library.gemm(mode, ours, a, w)),
                 options.seconds, rows, n, k)
            note("gemm", "torch", name, flops, repeat(lambda: F.linear(a, w)), options.seconds,
                 rows, n, k)
            del a, w, ours, theirs
        source, target = random(2**28), torch.empty(2**28, dtype=torch.bfloat16, device="cuda")
        note("copy", "torch", "512 MiB", 2.0 * 2 * 2**28, repeat(lambda: target.copy_(source)), 0.3)
        del source, target
        for length in map(tokens, options.attention.split(",")):
            q, kv = random(length, HEADS, WIDTH), random(length, KV_HEADS, 2, WIDTH)
            out = torch.empty_like(q)
            note("attention", "ours", str(length), 2.0 * length * (length + 1) * HEADS * WIDTH,
                 repeat(lambda: library.attention(q, kv[:, :, 0], kv[:, :, 1], out)), 0.5, length)
        write_csv(options.out, found)
        torch.cuda.synchronize()
        library.close()


main()
