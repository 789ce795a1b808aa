"""Checks `apbench logits`: its NumPy file against the logits that `generate` prints, and rows that came
out of the prefill against the same rows as the last of a shorter text, which come out of the query
phase. float32 sums in another order: logits of order 10 agree to some 1e-4; 2e-3 is well below what a
wrong row or mask does.

    logits.py APBENCH SCRATCH"""
import json, struct, subprocess, sys

apbench, scratch = sys.argv[1:3]
TOLERANCE = 2e-3
text = scratch + "/text"
open(text, "w").write("The quick brown fox jumps over the lazy dog. " * 40)


def report(name, problem):
    print(f"not ok {name}: {problem}" if problem else f"ok {name}")


def logits(*flags):
    """[[float]], from the file that the program writes."""
    path = scratch + "/logits.npy"
    subprocess.run([apbench, "logits", "--prompt-file", text, "--out", path, *flags], check=True,
                   stdout=subprocess.DEVNULL)
    data = open(path, "rb").read()
    assert data[:8] == b"\x93NUMPY\x01\x00" and (10 + data[8] + 256 * data[9]) % 64 == 0
    start = 10 + data[8] + 256 * data[9]
    header = eval(data[10:start], {})
    assert header["descr"] == "<f4" and not header["fortran_order"]
    rows, vocab = header["shape"]
    assert len(data) - start == 4 * rows * vocab, (len(data), header)
    return [struct.unpack_from(f"<{vocab}f", data, start + 4 * vocab * i) for i in range(rows)]


def differ(a, b):
    most = max(abs(x - y) for x, y in zip(a, b))
    return f"logits differ by {most}" if not most < TOLERANCE else None


whole = logits()
report("a row for every token", None if len(whole) > 400 else len(whole))
for count in (2, 257, 258, 300):  # chunks of the file are 256 rows
    short = logits("--tokens", str(count))
    report(f"--tokens {count}: rows", None if len(short) == count else len(short))
    report(f"--tokens {count}: last row as in the whole text", differ(short[-1], whole[count - 1]))
answer = json.loads(subprocess.run([apbench, "generate", "--file", text, "--top", "5", "--json", "--new-tokens", "1"],
                                   check=True, capture_output=True, text=True).stdout)
top = answer["steps"][0]["top"]
report("last row as generate has it", differ([t["logit"] for t in top], [whole[-1][t["id"]] for t in top]))
best = sorted(range(len(whole[-1])), key=lambda i: -whole[-1][i])[:5]
report("its five best tokens", None if best == [t["id"] for t in top] else best)
