"""The attention calls that methods make, in turn with cuDNN and FlashAttention-2 (through PyTorch).

    causal   whole documents (flash, ulysses, star): 32/8, 40/8, 56/8 heads of 128, 9/3 of 64
    ring     a whole block of keys and no mask: stored, into a float32 running result, folded into it
    apb      anchor, passing blocks and block in one call, for each rank of 8, against our causal call
             of as many pairs and against what a user of cuDNN does: three calls, a concatenation and
             a merge by log-sum-exps
    short    few rows or few keys, where launches count: the kernels that could take such a call
    decode   1, 4, 8 rows over 128K and 512K keys (bytes beside the copy rate of the same run), and 50
             rows of a query (floor: bytes at the copy rate or padded FLOPs at a product's rate)
    error    root mean square and largest error of ours and of FlashAttention-2 against float64, on
             random, large, equal and one-huge-score inputs; two runs bit for bit

Works take turns on the same tensors, inputs rotate where they would stay in the L2 cache, figures are
medians over rounds and ratios medians of each round's. Each case prints one line; every case is
checked. The CSV (--out) has a row for each case and kernel. `below` marks a bar of the project that was
missed; the exit status is 1 only for wrong results.
"""

import argparse
import math
import sys
import time

import torch

from attention_error import errors
from bench import (BEST, HOPPER, HOPPER_PACKED, PACKED, PORTABLE, Bench, keys_of, random, turning)
from ours import Ours, Segment
from turns import Clock, identity, size, tokens, write_csv

SECTIONS = ["causal", "ring", "apb", "short", "decode", "error"]
LLAMA, QWEN, YI, SMOLLM2 = (32, 8, 128), (40, 8, 128), (56, 8, 128), (9, 3, 64)
# The paper's table 14 (methods/apb.c): anchor and passing tokens by length, and a query of 50.
APB, QUERY, HOSTS = {32 << 10: (1024, 512), 64 << 10: (2048, 1024), 128 << 10: (4096, 2048)}, 50, 8
# Bars of causal calls against cuDNN.
CAUSAL_BARS = {4: 1.0, 8: 1.05, 16: 1.05, 32: 1.05, 64: 1.05, 128: 1.1}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True, help="libapbench_peer.so")
    parser.add_argument("--program", help="apbench, for its version")
    parser.add_argument("--only", default=",".join(SECTIONS), help="comma list of sections")
    parser.add_argument("--quick", action="store_true", help="fewer cases, below 60 s")
    parser.add_argument("--budget", type=float, help="seconds of all cases; later ones are skipped")
    parser.add_argument("--out", help="CSV")
    options = parser.parse_args()
    options.only = options.only.split(",")
    unknown = set(options.only) - set(SECTIONS)
    if unknown:
        parser.error(f"--only: there is no {', '.join(sorted(unknown))}; there are "
                     f"{', '.join(SECTIONS)}")
    options.budget = options.budget or (50 if options.quick else 220)
    return options


def columns_of(shape, rows, keys, rank=""):
    heads, kv_heads, width = shape
    return {"heads": heads, "kv_heads": kv_heads, "head_dim": width, "rows": rows, "keys": keys,
            "rank": rank}


def name_of(shape):
    return "/".join(map(str, shape))


# ---- causal ----

def causal(bench):
    plan = [(LLAMA, "4K,8K,16K,32K,64K,128K"), (QWEN, "4K,8K,16K,32K,64K,128K"),
            (YI, "4K,8K,16K,32K,64K,128K"), (SMOLLM2, "8K,16K,32K,64K")]
    if bench.options.quick:
        plan = [(LLAMA, "4K,8K,32K,128K"), (QWEN, "16K"), (YI, "16K"), (SMOLLM2, "8K,32K")]
    for shape, lengths in plan:
        for length in map(tokens, lengths.split(",")):
            label = f"causal {name_of(shape)} {size(length)}"
            if not bench.spent(label):
                causal_case(bench, label, shape, length)


def causal_case(bench, label, shape, length):
    heads, kv_heads, width = shape
    sets = bench.sets(2 * length * width * (2 * heads + 2 * kv_heads))
    inputs = [(random(length, heads, width), random(length, kv_heads, 2, width)) for _ in range(sets)]
    outs = [torch.empty_like(q) for q, _ in inputs]
    runs = [bench.library.call_of(q, [Segment(*keys_of(kv), 0, length, 0)], out)
            for (q, kv), out in zip(inputs, outs)]
    runs[0]()
    works = {"ours": bench.ours(runs)}
    bench.add_peers(works, label, lambda peer: [peer.call(q, kv, True) for q, kv in inputs], outs[0],
                    without=["fa2"] if bench.options.quick and length > 32 << 10 else [])
    flops = 4 * (length * (length + 1) / 2) * heads * width
    found = bench.measure("causal", label, works, dict.fromkeys(works, flops),
                          **columns_of(shape, length, length))
    tail = ""
    if "cudnn" in found and shape in (LLAMA, SMOLLM2):
        least = CAUSAL_BARS[length >> 10] if shape == LLAMA else 1.0
        tail = bench.bar(label, "of cuDNN", found["cudnn"][1], least)
    bench.line(label, found, tail)


# ---- ring ----

def ring(bench):
    for length in (8 << 10, 16 << 10):
        label = f"ring {name_of(LLAMA)} {size(length)} x {size(length)}"
        if not bench.spent(label):
            ring_case(bench, label, LLAMA, length)


def ring_case(bench, label, shape, length):
    heads, kv_heads, width = shape
    sets = bench.sets(2 * length * width * (2 * heads + 2 * kv_heads))
    inputs = [(random(length, heads, width), random(length, kv_heads, 2, width)) for _ in range(sets)]
    outs = [torch.empty_like(q) for q, _ in inputs]
    accs = [torch.empty(q.shape, dtype=torch.float32, device="cuda") for q, _ in inputs]
    lses = [torch.empty(length, heads, dtype=torch.float32, device="cuda") for _ in inputs]

    def calls(**kind):
        return [bench.library.call_of(
            q, [Segment(*keys_of(kv), 0, length)], outs[i] if not kind else None,
            accs[i] if kind else None, lses[i], **kind) for i, (q, kv) in enumerate(inputs)]
    stored, fresh, folding = calls(), calls(fold=False), calls(fold=True)
    # The same keys folded in once more: the same output, and a log-sum-exp that is larger by ln 2.
    for i in range(sets):
        fresh[i]()
    before = lses[0].clone()
    folding[0]()
    twice = (lses[0] - before - math.log(2)).abs().max().item()
    if not twice < 1e-4:
        bench.wrong(label, f"folded in twice, the log-sum-exp is off by {twice:.3g}")
    stored[0]()
    bench.expect(f"{label} folded in twice to stored", accs[0], outs[0])
    works = {"ours": bench.ours(stored)}
    bench.add_peers(works, label, lambda peer: [peer.call(q, kv, False) for q, kv in inputs], outs[0])
    works |= {"acc": bench.ours(fresh), "fold": bench.ours(folding)}
    flops = 4 * length * length * heads * width
    found = bench.measure("ring", label, works, dict.fromkeys(works, flops),
                          **columns_of(shape, length, length))
    tail = f"  folding costs {100 * (found['fold'][1] - 1):.1f} %"
    if "cudnn" in found:
        tail += bench.bar(label, "of cuDNN", found["cudnn"][1], 1.03)
    bench.line(label, found, tail)


# ---- apb ----

def apb(bench):
    lengths = [32 << 10, 128 << 10] if bench.options.quick else list(APB)
    for length in lengths:
        for rank in (1, 4, 7) if bench.options.quick else range(HOSTS):
            label = f"apb {name_of(LLAMA)} {size(length)} rank {rank}"
            if not bench.spent(label):
                apb_case(bench, label, LLAMA, length, rank)


class ApbInputs:
    """What methods/apb.c has at its call: rows [anchor | block], slabs [hosts l_p] of all hosts."""

    def __init__(self, shape, length, rank):
        heads, kv_heads, width = shape
        self.anchor, l_p = APB[length]
        self.anchor *= rank > 0
        block = math.ceil((length - QUERY) / HOSTS)
        self.rows = self.anchor + block
        self.q = random(self.rows, heads, width)
        self.out = torch.empty_like(self.q)
        self.anchor_kv = random(self.anchor, kv_heads, 2, width)
        self.passed_kv = random(HOSTS * l_p, kv_heads, 2, width)[:rank * l_p]
        self.block_kv = random(block, kv_heads, 2, width)

    def segments(self):
        parts = [(self.anchor_kv, 0, 0), (self.passed_kv, self.anchor, None),
                 (self.block_kv, self.anchor, 0)]
        return [Segment(*keys_of(kv), begin, self.rows, kv.shape[0] if offset is None else offset)
                for kv, begin, offset in parts if kv.shape[0]]

    def several_calls(self, peer):
        """The same by calls that know no segments."""
        q_anchor, q_block = self.q[:self.anchor], self.q[self.anchor:]
        out = torch.empty_like(self.q)

        def run():
            own, own_lse = peer.partial(q_block, self.block_kv, True)
            if not self.anchor:
                return own[0].permute(1, 0, 2)
            out[:self.anchor] = peer.partial(q_anchor, self.anchor_kv, True)[0][0].permute(1, 0, 2)
            seen, seen_lse = peer.partial(q_block, torch.cat((self.anchor_kv, self.passed_kv)), False)
            share = torch.sigmoid(own_lse - seen_lse).unsqueeze(-1)
            out[self.anchor:] = torch.lerp(seen.float(), own.float(), share)[0].permute(1, 0, 2)
            return out
        return run


def apb_case(bench, label, shape, length, rank):
    heads, kv_heads, width = shape
    first = ApbInputs(shape, length, rank)
    bytes_of_one = 2 * width * (2 * heads * first.rows + 2 * kv_heads * sum(
        s.k.shape[0] for s in first.segments()))
    inputs = [first] + [ApbInputs(shape, length, rank) for _ in range(bench.sets(bytes_of_one) - 1)]
    runs = [bench.library.call_of(x.q, x.segments(), x.out) for x in inputs]
    runs[0]()
    pairs = sum(s.pairs() for s in first.segments())
    equal = int((math.sqrt(8 * pairs + 1) - 1) / 2)  # rows of a causal call of as many pairs
    causals = [(random(equal, heads, width), random(equal, kv_heads, 2, width)) for _ in inputs]
    works = {"ours": bench.ours(runs), "causal": bench.ours(
        [bench.library.call_of(q, [Segment(*keys_of(kv), 0, equal, 0)], torch.empty_like(q))
         for q, kv in causals])}
    amounts = {"ours": 4 * pairs * heads * width,
               "causal": 4 * (equal * (equal + 1) / 2) * heads * width}
    bench.add_peers(works, label, lambda peer: [x.several_calls(peer) for x in inputs], first.out, "s")
    amounts = dict.fromkeys(works, amounts["ours"]) | amounts
    found = bench.measure("apb", label, works, amounts,
                          **columns_of(shape, first.rows, sum(s.k.shape[0] for s in first.segments()),
                                       rank))
    bench.line(label, found, bench.bar(label, "of our causal call", found["causal"][1], 0.97))


# ---- short ----

def short(bench):
    kernels = {"ours": BEST, "portable": PORTABLE, "packed": PACKED, "hopper": HOPPER,
               "hopper packed": HOPPER_PACKED}
    causals = [(LLAMA, "128,512,1K"), (SMOLLM2, "256,512,1K,2K,4K")]
    lone = [(LLAMA, 1, "512,4K,16K"), (LLAMA, 50, "2K,16K"), (SMOLLM2, 1, "256,1K,4K"),
            (SMOLLM2, 30, "256,1K,4K")]
    cases = [(shape, tokens(length), 0) for shape, lengths in causals for length in lengths.split(",")]
    cases += [(shape, rows, tokens(keys)) for shape, rows, lengths in lone
              for keys in lengths.split(",")]
    for shape, rows, keys in cases:
        label = f"short {name_of(shape)} " + (f"{rows} x {size(keys)}" if keys else f"{size(rows)}")
        if bench.spent(label):
            continue
        heads, kv_heads, width = shape
        q, out = random(rows, heads, width), torch.empty(rows, heads, width, dtype=torch.bfloat16,
                                                         device="cuda")
        kv = random(keys or rows, kv_heads, 2, width)
        run = bench.library.call_of(q, [Segment(*keys_of(kv), 0, rows, *([] if keys else [0]))], out)
        want, works = None, {}
        for name, choice in kernels.items():
            out.fill_(math.nan)
            works[name] = bench.ours([run], choice)
            works[name](1)
            want = out.clone() if want is None else want
            bench.expect(f"{label} {name}", out, want)
        bench.add_peers(works, label, lambda peer: [peer.call(q, kv, not keys)])
        pairs = rows * keys or rows * (rows + 1) / 2
        found = bench.measure("short", label, works, dict.fromkeys(works, 4 * pairs * heads * width),
                              **columns_of(shape, rows, keys or rows))
        bench.line(label, found)


# ---- decode, query ----

def few_rows_exact(q, parts):
    """float32 reference: parts of (kv, causal)."""
    rows, heads, width = q.shape
    out = torch.empty(q.shape, dtype=torch.float32, device="cuda")
    group = heads // parts[0][0].shape[1]
    for h in range(heads // group):
        mine = q[:, h * group:(h + 1) * group].permute(1, 0, 2).float() / math.sqrt(width)
        scores = []
        for kv, causal in parts:
            s = mine @ kv[:, h, 0].float().T
            if causal:
                hidden = torch.ones(rows, rows, dtype=torch.bool, device="cuda").triu(1)
                s.masked_fill_(hidden, -math.inf)
            scores.append(s)
        weights = torch.softmax(torch.cat(scores, dim=2), dim=2)
        values = torch.cat([kv[:, h, 1].float() for kv, _ in parts])
        out[:, h * group:(h + 1) * group] = (weights @ values).permute(1, 0, 2)
    return out


def decode(bench):
    plan = [(rows, keys) for keys in (128 << 10, 512 << 10) for rows in (1, 4, 8)]
    plan += [(50, 16 << 10), (50, 128 << 10)]
    if bench.options.quick:
        plan = [(1, 128 << 10), (8, 128 << 10), (8, 512 << 10), (50, 128 << 10)]
    source = random(256 << 20)
    target = torch.empty_like(source)
    a, b = random(8192, 8192), random(8192, 8192)
    product = torch.empty_like(a)
    others = {"copy": (turning([lambda: target.copy_(source)]), 2.0 * 2 * source.numel()),
              "product": (turning([lambda: torch.mm(a, b, out=product)]), 2.0 * 8192**3)}
    for rows, keys in plan:
        label = f"{'decode' if rows < 50 else 'query'} {name_of(LLAMA)} {rows} x {size(keys)}"
        if not bench.spent(label):
            few_rows_case(bench, label, LLAMA, rows, keys, others)


def few_rows_case(bench, label, shape, rows, keys, others):
    heads, kv_heads, width = shape
    bytes_of_one = 2.0 * 2 * (keys + rows) * kv_heads * width + 2.0 * 2 * rows * heads * width
    inputs = [(random(rows, heads, width), random(keys, kv_heads, 2, width),
               random(rows, kv_heads, 2, width)) for _ in range(bench.sets(bytes_of_one))]
    works, exact = {}, few_rows_exact(inputs[0][0], [(inputs[0][1], False), (inputs[0][2], True)])
    for name, choice in {"ours": BEST, "packed": PACKED, "hopper": HOPPER_PACKED}.items():
        outs = [torch.full_like(q, math.nan) for q, _, _ in inputs]
        runs = [bench.library.call_of(q, [Segment(*keys_of(kv), 0, rows),
                                          Segment(*keys_of(own), 0, rows, 0)], out)
                for (q, kv, own), out in zip(inputs, outs)]
        works[name] = bench.ours(runs, choice)
        works[name](len(runs))
        bench.expect(f"{label} {name}", outs[0], exact)
    # Peers see the long keys alone: other results.
    bench.add_peers(works, label, lambda peer: [peer.call(q, kv, False) for q, kv, _ in inputs])
    amounts = dict.fromkeys(works, bytes_of_one)
    for name, (work, amount) in others.items():
        works[name], amounts[name] = work, amount
    found = bench.measure("decode", label, works, amounts, "GB/s", 1e9,
                          **columns_of(shape, rows, keys + rows))
    copy, product = found["copy"][0], found.pop("product")[0]
    share = found["ours"][0] / copy
    if rows < 50:
        tail = f"  {100 * share:.1f} % of the copy rate" + bench.bar(label, "of the copy rate", share,
                                                                     0.85)
    else:
        padded = math.ceil(rows * (heads // kv_heads) / 64) * 64 * kv_heads
        floor = max(bytes_of_one / copy / 1e9,
                    4.0 * padded * (keys + rows) * width / product / 1e9)
        times = bytes_of_one / found["ours"][0] / 1e9 / floor
        tail = f"  {times:.2f} times its floor of {1e6 * floor:.0f} us"
        tail += bench.bar(label, "floor / time", 1 / times, 1 / 1.2)
    bench.line(label, found, tail)


def main():
    options = parse()
    torch.cuda.init()
    torch.manual_seed(1)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream), torch.inference_mode():
        library = Ours(options.library, stream)
        same = identity(options.program)
        bench = Bench(options, library, Clock(), same)
        print(f"{library.title}; torch {same['torch']}, cuDNN {same['cudnn']}; TFLOP/s of visible "
              "pairs, or GB/s; in brackets our rate as a multiple of it", flush=True)
        parts = {"causal": causal, "ring": ring, "apb": apb, "short": short, "decode": decode, "error": errors}
        for section in SECTIONS:
            if section in options.only:
                parts[section](bench)
                torch.cuda.empty_cache()
        torch.cuda.synchronize()
        library.close()
    if options.out and bench.rows:
        write_csv(options.out, bench.rows)
    for text in bench.below:
        print(f"below: {text}")
    print(f"bench-attention: {len(bench.rows)} figures in {time.time() - bench.begun:.0f} s, "
          f"{len(bench.below)} below a bar, {bench.skipped} skipped, "
          + (f"{len(bench.failures)} wrong" if bench.failures else "all right"), flush=True)
    sys.exit(1 if bench.failures else 0)


if __name__ == "__main__":
    main()
