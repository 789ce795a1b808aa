"""Prefill tokens a second: PyTorch with Hugging Face transformers against apbench, in turn.

Both run the same weights in float32 with as many threads, over as many tokens, to the last row's
logits (no other row goes through the LM head), and fill a KV cache. PyTorch runs transformers'
model with `sdpa` attention in this process; apbench is a process of its own that times the prefill
itself, after a warm-up. The two alternate in every round, and who goes first changes from round to
round, so that a busy or throttling machine hits both; the ratio is taken within a round. The
tokens differ (apbench's speed command makes its own), which costs neither any time.

Writes one CSV row a length and round (ratio = apbench's tokens a second over PyTorch's) and prints
the medians.
"""

import argparse
import csv
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

import torch
import transformers

COLUMNS = ["model", "length", "round", "threads", "torch_prefill_s", "apbench_prefill_s",
           "torch_tok_s", "apbench_tok_s", "ratio", "machine", "cpu", "torch", "transformers",
           "commit"]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True, help="build/apbench")
    parser.add_argument("--model", required=True, help="directory of the model")
    parser.add_argument("--text", required=True, help="a long text file for PyTorch's prompt")
    parser.add_argument("--lengths", default="2K,4K")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", default="results/local/peer-pytorch.csv")
    return parser.parse_args()


def tokens(length):
    return int(length[:-1]) * 1024 if length[-1] in "Kk" else int(length)


def cpu_name():
    for line in open("/proc/cpuinfo", encoding="utf-8"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def torch_prefill(model, ids):
    with torch.inference_mode():
        start = time.perf_counter()
        result = model(ids, use_cache=True, logits_to_keep=1)
        result.logits.argmax().item()
        return time.perf_counter() - start


def apbench_prefill(program, model, length, threads):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "speed.csv")
        command = [program, "speed", "--models", model, "--methods", "flash", "--hosts", "1",
                   "--lengths", str(length), "--reps", "1", "--warmup", "1",
                   "--threads", str(threads), "--out", out]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        with open(out, encoding="utf-8", newline="") as file:
            # The file may open with comment lines that describe the machine.
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
        if len(rows) != 1 or rows[0]["status"] != "ok" or int(rows[0]["length"]) != length:
            sys.exit(f"{' '.join(command)} did not leave one row of status ok: {rows}")
        return float(rows[0]["prefill_s"])


def main():
    options = parse()
    options.program = os.path.abspath(options.program)
    torch.set_num_threads(options.threads)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()  # the text is cut to length after tokenising
    tokenizer = transformers.AutoTokenizer.from_pretrained(options.model)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        options.model, dtype=torch.float32, attn_implementation="sdpa").eval()
    lengths = [tokens(length) for length in options.lengths.split(",")]
    text = pathlib.Path(options.text).read_text(encoding="utf-8")[20000:20000 + 6 * max(lengths)]
    ids = tokenizer(text, return_tensors="pt").input_ids
    if ids.shape[1] < max(lengths):
        sys.exit(f"{options.text} gives {ids.shape[1]} tokens, {max(lengths)} are needed")
    commit = subprocess.run(["harness/setup/commit.sh"], stdout=subprocess.PIPE, text=True).stdout
    same = {"model": os.path.basename(options.model), "threads": options.threads,
            "machine": platform.node(), "cpu": cpu_name(), "torch": torch.__version__,
            "transformers": transformers.__version__, "commit": commit.strip()}

    rows = []
    for length in lengths:
        part = ids[:, :length]
        torch_prefill(model, part)  # warm-up
        for number in range(1, options.rounds + 1):
            def ours():
                return apbench_prefill(options.program, options.model, length, options.threads)
            if number % 2:
                theirs_s, ours_s = torch_prefill(model, part), ours()
            else:
                ours_s, theirs_s = ours(), torch_prefill(model, part)
            row = same | {
                "length": length, "round": number,
                "torch_prefill_s": f"{theirs_s:.6f}", "apbench_prefill_s": f"{ours_s:.6f}",
                "torch_tok_s": f"{length / theirs_s:.2f}",
                "apbench_tok_s": f"{length / ours_s:.2f}",
                "ratio": f"{theirs_s / ours_s:.4f}",
            }
            rows.append(row)
            print(f"{length} tokens, round {number}: PyTorch {row['torch_tok_s']} tokens/s, "
                  f"apbench {row['apbench_tok_s']}, ratio {row['ratio']}", file=sys.stderr)

    out = pathlib.Path(options.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(out.name + ".fresh")
    with open(fresh, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(fresh, out)

    print("length  PyTorch tok/s  apbench tok/s  ratio (median, min - max)")
    for length in lengths:
        def column(name):
            return [float(row[name]) for row in rows if row["length"] == length]
        ratios = column("ratio")
        print(f"{length:6}  {statistics.median(column('torch_tok_s')):13.1f}  "
              f"{statistics.median(column('apbench_tok_s')):13.1f}  "
              f"{statistics.median(ratios):.3f}, {min(ratios):.3f} - {max(ratios):.3f}")
    print(f"rows: {out}")


main()
