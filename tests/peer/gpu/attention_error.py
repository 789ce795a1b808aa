"""How exact ours and FlashAttention-2's causal attention are: errors of both against float64 on the
same bfloat16 inputs, over sampled rows, and whether two runs of ours agree bit for bit. Part of
calls.py. The bars: root mean square at most 1.02 of FlashAttention-2's, the largest error 1.5 of its.
"""

import math

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ours import Segment

SHAPES, LENGTH = [(32, 8, 128), (9, 3, 64)], 4096
SAMPLED = 512  # rows
RMS_BAR, LARGEST_BAR = 1.02, 1.5


def normal(*sizes):
    return torch.randn(sizes, dtype=torch.float32, device="cuda")


def random_inputs(heads, kv_heads, width):
    return normal(LENGTH, heads, width), normal(LENGTH, kv_heads, width)


def large(heads, kv_heads, width):
    """Scores up to about 200 on either side: weights of 0 and 1."""
    q, k = random_inputs(heads, kv_heads, width)
    return 40 * q, k


def equal(heads, kv_heads, width):
    """All keys alike, so that all scores of a row are the same number, and not 0."""
    q, k = random_inputs(heads, kv_heads, width)
    return q, k[:1].expand_as(k)


def one_huge(heads, kv_heads, width):
    """One key, that most rows see, has a score of about 90 or more; the others are random."""
    q, k = random_inputs(heads, kv_heads, width)
    k = k.clone()
    k[77] = 10
    return q.abs(), k


INPUTS = {"random": random_inputs, "large": large, "equal": equal, "one huge": one_huge}


def exact_rows(q, k, v, rows):
    """float64 outputs of the rows [rows, heads, d], and the largest score."""
    group, width = q.shape[1] // k.shape[1], q.shape[2]
    out = torch.empty(len(rows), *q.shape[1:], dtype=torch.float64, device="cuda")
    seen = torch.arange(k.shape[0], device="cuda") <= rows[:, None]
    largest = 0.0
    for head in range(q.shape[1]):
        scores = q[rows, head].double() @ k[:, head // group].double().T / math.sqrt(width)
        largest = max(largest, scores.abs().max().item())
        scores.masked_fill_(~seen, -math.inf)
        out[:, head] = torch.softmax(scores, dim=1) @ v[:, head // group].double()
    return out, largest


def ratio(ours, theirs):
    return ours / theirs if theirs else 1.0 if ours == 0 else math.inf


def errors(bench):
    for heads, kv_heads, width in SHAPES:
        for kind, make in INPUTS.items():
            label = f"error {heads}/{kv_heads}/{width} {kind}"
            if not bench.spent(label):
                error_case(bench, label, kind, make, heads, kv_heads, width)


def error_case(bench, label, kind, make, heads, kv_heads, width):
    q, k = make(heads, kv_heads, width)
    q = q.to(torch.bfloat16)
    kv = torch.stack((k, normal(LENGTH, kv_heads, width)), dim=2).to(torch.bfloat16)
    k, v = kv[:, :, 0], kv[:, :, 1]
    rows = torch.cat((torch.arange(64), torch.randint(64, LENGTH, (SAMPLED - 64,)))).cuda()
    exact, largest = exact_rows(q, k, v, rows)
    outs = [torch.full_like(q, math.nan) for _ in range(2)]
    for out in outs:
        bench.library.call_of(q, [Segment(k, v, 0, LENGTH, 0)], out)()
    if not torch.equal(*outs):
        bench.wrong(label, f"{int((outs[0] != outs[1]).sum())} elements differ between two runs")
    operands = [x.permute(1, 0, 2).unsqueeze(0) for x in (q, k, v)]
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        fa2 = F.scaled_dot_product_attention(*operands, is_causal=True, enable_gqa=True)[0]
    found = {}
    for name, out in {"ours": outs[0], "fa2": fa2.permute(1, 0, 2)}.items():
        gap = out[rows].double() - exact
        found[name] = gap.square().mean().sqrt().item(), gap.abs().max().item()
        for what, value in zip(("rms error", "largest error"), found[name]):
            bench.rows.append({column: "" for column in (
                "section", "case", "heads", "kv_heads", "head_dim", "rows", "keys", "rank", "kernel",
                "seconds", "rate", "unit", "ratio", "least_s", "most_s", "mhz", "rounds", "calls")} | {
                "section": "error", "case": label, "heads": heads, "kv_heads": kv_heads,
                "head_dim": width, "rows": LENGTH, "keys": LENGTH, "kernel": name,
                "rate": f"{value:.4e}", "unit": what} | bench.same)
    rms, most = (ratio(*pair) for pair in zip(found["ours"], found["fa2"]))
    tail = bench.bar(label, "FlashAttention-2's rms error / ours", 1 / rms if rms else 1, 1 / RMS_BAR)
    tail += bench.bar(label, "FlashAttention-2's largest error / ours", 1 / most if most else 1,
                      1 / LARGEST_BAR)
    print(f"{label:28} rms {found['ours'][0]:.3e}, fa2 {found['fa2'][0]:.3e} ({rms:.4f}); largest "
          f"{found['ours'][1]:.3e}, {found['fa2'][1]:.3e} ({most:.3f}); scores up to {largest:.0f}"
          f"{tail}", flush=True)
    if not found["ours"][0] < 0.02:
        bench.wrong(label, f"rms error {found['ours'][0]:.3g}")
