"""How far a prefill is from its floor, from rates.csv (rates.py) and rows of `apbench speed`.

Everything outside attention: the products' FLOPs at the rate of the same shapes sustained for a
second, plus the bytes that the other operations must move (each input read once, each output written
once) at the copy's rate. For FlashAttn that is held against the instrumented repetition's parts. For
APB the whole prefill is held against its slowest host's FLOPs at those products' rates and at our
causal attention's rate at equal rows. Prints Markdown; arithmetic alone, it needs no GPU.

    floor.py --rates rates.csv speed.csv...
"""

import argparse
import csv
import math
import sys

SHAPES = {
    "llama-3.1-8b": dict(hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256),
    "llama-3-8b-1m": dict(hidden=4096, heads=32, kv_heads=8, head_dim=128, ffn=14336, vocab=128256),
    "smollm2": dict(hidden=576, heads=9, kv_heads=3, head_dim=64, ffn=1536, vocab=49152),
}

RETAINING_WIDTH = 1024  # of random weights (harness/model/model.h)


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


class Rates:
    """The better of ours and torch's rate of each product, the copy, attention by rows."""

    def __init__(self, path):
        self.gemm, self.attention, self.copy = {}, {}, 0.0
        for row in read(path):
            rate = float(row["rate"])
            if row["kind"] == "gemm":
                self.gemm[row["name"]] = max(rate, self.gemm.get(row["name"], 0))
            elif row["kind"] == "attention":
                self.attention[int(row["name"])] = rate
            else:
                self.copy = max(rate, self.copy)

    def attention_at(self, rows):
        """At the nearest row count measured; whether that is within a tenth of the rows."""
        nearest = min(self.attention, key=lambda one: abs(math.log(one / rows)))
        return self.attention[nearest], abs(nearest / rows - 1) < 0.1


def products(shape):
    """FLOPs of one row through one layer's products."""
    hidden, width = shape["hidden"], shape["heads"] * shape["head_dim"]
    joint = (shape["heads"] + 2 * shape["kv_heads"]) * shape["head_dim"]
    return {"qkv": 2 * hidden * joint, "o": 2 * hidden * width,
            "gate_up": 4 * hidden * shape["ffn"], "down": 2 * hidden * shape["ffn"]}


def part_floors(shape, layers, rows, query, rates):
    """Seconds that each part outside attention takes at least: `rows` rows at once, then the query's
    few rows, whose products read every weight once."""
    hidden, ffn = shape["hidden"], shape["ffn"]
    joint = (shape["heads"] + 2 * shape["kv_heads"]) * shape["head_dim"]
    work = products(shape)
    # Bytes of a row: the norm reads float32 and writes bfloat16; RoPE reads the joint projection and
    # a row of the table and writes q, K and V; SwiGLU reads gate and up and writes their product.
    norm, rope, swiglu = 6 * hidden, 4 * joint + 4 * shape["head_dim"], 6 * ffn
    moved = {"qkv": norm + rope, "o": 0, "ffn": norm + swiglu}
    gemm = {"qkv": ["qkv"], "o": ["o"], "ffn": ["gate_up", "down"]}
    floors = {}
    for part, names in gemm.items():
        flops = sum(work[name] / rates.gemm[name] for name in names)
        # A weight counts as read: half of what a copy of it would move.
        weights = sum(work[name] for name in names)
        few = weights / rates.copy if query else 0
        floors[part] = layers * (rows * (flops + moved[part] / rates.copy) + few)
    embed = (rows + query) * 6 * hidden / rates.copy
    floors["other"] = embed + 2 * shape["vocab"] * hidden / rates.copy
    return floors


def options_of(row):
    return dict(pair.split("=", 1) for pair in row["options"].split(":") if "=" in pair)


def apb_work(row, shape):
    """(rows through a layer at once, visible pairs a head, FLOPs of the retaining heads in a layer) of
    APB's last host, the slowest, by the formulas of methods/apb.c; the query phase is apart."""
    def number(text):
        factor = {"K": 1024, "M": 1024**2}.get(text[-1], 1)
        return int(text[:-1] if factor > 1 else text) * factor
    options, hosts = options_of(row), int(row["hosts"])
    query = int(row["query"])
    block = -(-(int(row["length"]) - query) // hosts)
    anchor, passing = number(options["anchor"]), number(options["passing"]) * (hosts - 1)
    carried = query if options["compressor"] == "query" else 0
    joint = (shape["heads"] + 2 * shape["kv_heads"]) * shape["head_dim"]
    scoring = 0
    if options["compressor"] == "retaining":
        scoring = 2 * (anchor + block) * RETAINING_WIDTH * (joint + shape["kv_heads"])
    front = anchor + block
    pairs = (front * (front + 1) / 2 + block * passing + carried * (front + passing) +
             carried * (carried + 1) / 2)
    return front + carried, pairs, scoring


def put(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |")


def outside_attention(rows, rates):
    put("length", "layers", "part", "measured s", "floor s", "measured / floor")
    put("---:", "---:", "---", "---:", "---:", "---:")
    for row in rows:
        shape, layers, query = SHAPES[row["model"]], int(row["layers"]), int(row["query"])
        floors = part_floors(shape, layers, int(row["length"]) - query, query, rates)
        measured = {"qkv": float(row["qkv_s"]), "o": float(row["o_proj_s"]),
                    "ffn": float(row["ffn_s"]), "other": float(row["other_s"])}
        floors["all"], measured["all"] = sum(floors.values()), sum(measured.values())
        for part, floor in floors.items():
            put(row["length"], layers, part, f"{measured[part]:.4f}", f"{floor:.4f}",
                f"{measured[part] / floor:.3f}")
        pairs = (int(row["length"]) - query) * (int(row["length"]) - query + 1) / 2
        flops = layers * 4 * pairs * shape["heads"] * shape["head_dim"]
        rate, near = rates.attention_at(int(row["length"]))
        put(row["length"], layers, "attention" + ("" if near else " (rate of other rows)"),
            row["attention_s"], f"{flops / rate:.4f}",
            f"{float(row['attention_s']) / (flops / rate):.3f}")


def whole_apb(rows, rates):
    put("length", "layers", "link", "prefill s", "products s", "attention s", "prefill / both")
    put("---:", "---:", "---", "---:", "---:", "---:", "---:")
    for row in rows:
        shape, layers = SHAPES[row["model"]], int(row["layers"])
        count, pairs, scoring = apb_work(row, shape)
        work, query = products(shape), int(row["query"])
        block = -(-(int(row["length"]) - query) // int(row["hosts"]))
        pairs += query * block + query * (query + 1) / 2  # the query phase, on the query's owner
        linear = layers * ((count + query) * sum(work[name] / rates.gemm[name] for name in work) +
                           scoring / rates.gemm["qkv"])
        flops = layers * 4 * pairs * shape["heads"] * shape["head_dim"]
        rate, near = rates.attention_at(count)
        prefill = float(row["prefill_s"])
        counted = float(row["tflops"]) * 1e12 * prefill
        formula = (flops + layers * ((count + query) * sum(work.values()) + scoring) +
                   2 * shape["vocab"] * shape["hidden"])
        if not 0.98 < formula / counted < 1.02:
            print(f"floor: apb at {row['length']}: the formula gives {formula:.4g} FLOPs, the row "
                  f"{counted:.4g}", file=sys.stderr)
        put(row["length"], layers, row["link"], f"{prefill:.4f}", f"{linear:.4f}",
            f"{flops / rate:.4f}" + ("" if near else " (rate of other rows)"),
            f"{prefill / (linear + flops / rate):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rates", required=True)
    parser.add_argument("speed", nargs="+", help="CSV files of `apbench speed`")
    options = parser.parse_args()
    rates = Rates(options.rates)
    rows = [row for path in options.speed for row in read(path)
            if row["status"] == "ok" and row["model"] in SHAPES]
    print("Rates: " + ", ".join(f"{name} {rate / 1e12:.0f} TFLOP/s"
                                for name, rate in rates.gemm.items()) +
          f", copy {rates.copy / 1e9:.0f} GB/s; causal attention " +
          ", ".join(f"{rate / 1e12:.0f} at {count}" for count, rate in rates.attention.items()) +
          " rows.\n")
    flash = [row for row in rows if row["method"] == "flash"]
    apb = [row for row in rows if row["method"] == "apb" and int(row["hosts"]) > 1]
    if flash:
        print("FlashAttn on one GPU, everything outside attention (10 % is the aim):\n")
        outside_attention(flash, rates)
    if apb:
        print("\nAPB, whole prefill against its slowest host's FLOPs (1.25 is the aim):\n")
        whole_apb(apb, rates)


main()
