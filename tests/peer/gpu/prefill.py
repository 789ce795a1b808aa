"""Whole prefill of Llama-3.1-8B's shape on one GPU: apbench (flash) and transformers in turn.

transformers runs the same shape with random bfloat16 weights, `sdpa` attention through
FlashAttention-2 and then cuDNN, batch 1, a KV cache and the last row's logits, as apbench does. The
two cannot hold their weights and a long document's activations on one card together, so they
alternate as processes: apbench, transformers, apbench. Within its process each side warms up first
(apbench with a short length, transformers with two layers at every length, which makes all plans).

Writes one CSV row a length and backend: medians, and ratio = transformers' seconds over ours.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

from turns import identity, size, tokens, write_csv

WARM_UP = 16384  # apbench's first cell: all of its products have as many rows at a time


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True, help="apbench")
    parser.add_argument("--lengths", default="32K,64K,128K")
    parser.add_argument("--backends", default="flash,cudnn")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--reps", type=int, default=1, help="in each process")
    parser.add_argument("--rows", help="CSV to keep apbench's own rows in")
    parser.add_argument("--out", help="CSV")
    parser.add_argument("--as-transformers", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


# ---- transformers, in a process of its own ----

def make_model(layers):
    import torch
    import transformers
    config = transformers.LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=layers,
        num_attention_heads=32, num_key_value_heads=8, head_dim=128, rms_norm_eps=1e-5,
        max_position_embeddings=131072, tie_word_embeddings=False)
    transformers.utils.logging.set_verbosity_error()
    # Weights are drawn here: the library's own initialisation takes longer than the runs.
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, attn_implementation="sdpa", dtype=torch.bfloat16)
    model = model.to_empty(device="cuda").eval()
    generator = torch.Generator("cuda").manual_seed(1)
    for name, weight in model.named_parameters():
        if "norm" in name:
            weight.data.fill_(1)
        else:
            weight.data.normal_(0, 0.02, generator=generator)
    # What is no weight (RoPE's frequencies) was made on the meta device: make it anew.
    model.model.rotary_emb = type(model.model.rotary_emb)(config=config).to("cuda")
    return model


def transformers_main(options):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    backends = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
    start = time.perf_counter()
    model = make_model(options.layers)
    torch.cuda.synchronize()
    print(f"transformers: model made in {time.perf_counter() - start:.1f} s", file=sys.stderr)

    def run(ids):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        result = model(ids, use_cache=True, logits_to_keep=1)
        token = result.logits.argmax().item()  # waits
        return time.perf_counter() - begin, token, bool(result.logits.isfinite().all())

    for length in map(tokens, options.lengths.split(",")):
        ids = torch.randint(0, 128256, (1, length), device="cuda")
        torch.cuda.empty_cache()
        # The allocator gets the KV cache's blocks now: no timed run waits for memory.
        held = [torch.empty(length * 8 * 128, dtype=torch.bfloat16, device="cuda")
                for _ in range(2 * options.layers)]
        del held
        for name in options.backends.split(","):
            try:
                with torch.inference_mode(), sdpa_kernel(backends[name]):
                    model.config.num_hidden_layers = min(2, options.layers)
                    run(ids)
                    model.config.num_hidden_layers = options.layers
                    for _ in range(options.reps):
                        seconds, token, finite = run(ids)
                        print(json.dumps({"backend": name, "length": length, "seconds": seconds,
                                          "finite": finite,
                                          "peak": torch.cuda.max_memory_allocated()}), flush=True)
            except RuntimeError as error:  # out of memory, or a backend that refuses
                print(f"transformers with {name} at {length}: {str(error).splitlines()[0]}",
                      file=sys.stderr)
                torch.cuda.empty_cache()


# ---- The two in turn ----

def run_transformers(options):
    command = [sys.executable, os.path.abspath(__file__), "--as-transformers", "--program",
               options.program, "--lengths", options.lengths, "--backends", options.backends,
               "--layers", str(options.layers), "--reps", str(options.reps)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    found = {}
    for line in process.stdout:
        if not line.startswith("{"):
            continue
        one = json.loads(line)
        found.setdefault((one["backend"], one["length"]), []).append(one["seconds"])
        print(f"transformers {one['backend']:>5} {size(one['length']):>5}: {one['seconds']:.4f} s"
              f", {one['peak'] / 2**30:.1f} GiB" + ("" if one["finite"] else ", NOT FINITE"),
              flush=True)
    if process.wait():
        sys.exit(f"transformers' process ended with {process.returncode}")
    return found


def run_apbench(options, kept):
    lengths = [str(WARM_UP)] + [str(tokens(length)) for length in options.lengths.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "speed.csv")
        command = [options.program, "speed", "--device", "cuda", "--models", "llama-3.1-8b",
                   "--methods", "flash", "--hosts", "1", "--lengths", ",".join(lengths),
                   "--reps", str(options.reps), "--warmup", "0", "--new-tokens", "1", "--out", out]
        if options.layers != 32:
            command += ["--layers", str(options.layers)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        with open(out, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    found = {}
    for row in rows:
        kept.append(row)
        if row["status"] != "ok":
            print(f"apbench {row['length']}: {row['status']}: {row['detail']}", flush=True)
            continue
        found[int(row["length"])] = float(row["prefill_s"])
        print(f"apbench      flash {size(int(row['length'])):>5}: {float(row['prefill_s']):.4f} s "
              f"(instrumented {float(row['instrumented_s']):.4f}: attention "
              f"{float(row['attention_s']):.4f}, ffn {float(row['ffn_s']):.4f}, qkv "
              f"{float(row['qkv_s']):.4f}, o {float(row['o_proj_s']):.4f}, other "
              f"{float(row['other_s']):.4f}), {int(row['peak_bytes']) / 2**30:.1f} GiB", flush=True)
    return found


def main():
    options = parse()
    if options.as_transformers:
        transformers_main(options)
        return
    options.program = os.path.abspath(options.program)
    kept = []
    before = run_apbench(options, kept)
    theirs = run_transformers(options)
    after = run_apbench(options, kept)
    if options.rows:
        write_csv(options.rows, kept)
    rows = []
    same = identity(options.program)
    print("length  backend  transformers s   ours s (before, after)   ratio", flush=True)
    for (backend, length), seconds in theirs.items():
        ours = [run[length] for run in (before, after) if length in run]
        if not ours:
            continue
        median, mine = statistics.median(seconds), statistics.median(ours)
        rows.append({"model": "llama-3.1-8b", "layers": options.layers, "length": length,
                     "backend": backend, "transformers_s": f"{median:.6f}",
                     "apbench_s": f"{mine:.6f}", "apbench_before_s": f"{ours[0]:.6f}",
                     "apbench_after_s": f"{ours[-1]:.6f}", "ratio": f"{median / mine:.4f}"} | same)
        print(f"{size(length):>6}  {backend:>7}  {median:14.4f}   {mine:.4f} ({ours[0]:.4f}, "
              f"{ours[-1]:.4f})   {median / mine:.4f}", flush=True)
    if not rows:
        sys.exit("prefill: no length ran on both sides")
    if options.out:
        write_csv(options.out, rows)


main()
