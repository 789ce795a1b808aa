"""What a speed sweep writes: each row is to say of its cell what the repetitions beside it say.

A small model runs on one and three virtual hosts over two links, with warm-ups, timed repetitions and
the instrumented one. Figures stand with six digits, so they are compared within some 1e-5 of each
other. Prints `ok NAME` or `not ok NAME: why`.
"""

import os
import pathlib
import re
import statistics
import subprocess

from rows import rows
from verdict import finish, report

PROGRAM = os.environ["APBENCH"]
SCRATCH = pathlib.Path(os.environ["SCRATCH"])
REPS, WARMUP, NEW_TOKENS, LAYERS, LINKS = 4, 2, 5, 2, ["eth100", "nvlink4"]
SWEEP = [PROGRAM, "speed", "--models", "tests/data/checkpoints/yi-sharded-f32", "--methods", "flash,ring,apb",
         "--hosts", "3", "--lengths", "300", "--reps", str(REPS), "--warmup", str(WARMUP), "--new-tokens",
         str(NEW_TOKENS), "--link", ",".join(LINKS), "--threads", "1", "--layers", str(LAYERS), "--timeout", "900"]
PARTS = ["qkv_s", "compress_s", "comm_s", "attention_s", "o_proj_s", "ffn_s", "other_s"]


def close(found, expected, tolerance=1e-5):
    return abs(float(found) - expected) <= tolerance * max(abs(expected), 1e-9)


class Complaints(list):
    def expect(self, good, row, what):
        if not good:
            self.append(f"row {row['row']} ({row['method']}): {what}")

    def report(self, name):
        report(name, "; ".join(self[:3]) if self else None)
        self.clear()


def names(row, own, wrong):
    """Every repetition once, in the order in which they ran."""
    expected = [("warmup", i + 1) for i in range(WARMUP)] + [("timed", i + 1) for i in range(REPS)]
    found = [(one["kind"], int(one["repetition"])) for one in own]
    wrong.expect(found == expected + [("instrumented", 1)], row, f"its repetitions are {found}")


def times(row, own, wrong):
    """Medians, least and most of the timed ones alone; tokens over both phases."""
    for phase in ("prefill", "decode"):
        seconds = [float(one[phase + "_s"]) for one in own if one["kind"] == "timed"]
        for column, value in ((f"{phase}_s", statistics.median(seconds)), (f"{phase}_min_s", min(seconds)),
                              (f"{phase}_max_s", max(seconds))):
            wrong.expect(close(row[column], value), row, f"{column} is {row[column]} of {seconds}")
    tokens, seconds = int(row["length"]) + NEW_TOKENS, float(row["prefill_s"]) + float(row["decode_s"])
    wrong.expect(close(row["speed_tok_s"], tokens / seconds, 1e-4), row, f"speed_tok_s is {row['speed_tok_s']}")


def hosts(row, own, wrong):
    """The slowest host is what counts."""
    for one in own:
        ends = [float(seconds) for seconds in one["host_prefill_s"].split()]
        decodes = [float(seconds) for seconds in one["host_decode_s"].split()]
        wrong.expect(len(ends) == len(decodes) == int(row["hosts"]), row, f"{len(ends)} hosts in a repetition")
        wrong.expect(close(one["prefill_s"], max(ends)), row, f"prefill_s is {one['prefill_s']} of {ends}")
        last = max(end + decode for end, decode in zip(ends, decodes))
        wrong.expect(close(one["decode_s"], last - max(ends), 1e-3), row, f"decode_s is {one['decode_s']}")


def parts(row, own, wrong):
    """The parts of the instrumented repetition's prefill add up to that of the busiest host."""
    ends = [float(seconds) for seconds in own[-1]["host_prefill_s"].split()]
    total = sum(float(row[part]) for part in PARTS)
    wrong.expect(close(row["instrumented_s"], max(ends)), row, f"instrumented_s is {row['instrumented_s']}")
    wrong.expect(any(close(total, end, 1e-4) for end in ends), row, f"parts add up to {total} of {ends}")


def flops_of_flash():
    """Of 300 tokens: products, attention over every key up to a token's own, and the last one's logits."""
    hidden, heads, kv_heads, head_dim, ffn, vocab, tokens = 48, 3, 1, 16, 64, 257, 300
    products = 2 * hidden * ((2 * heads + 2 * kv_heads) * head_dim + 3 * ffn) * tokens
    attention = 4 * heads * head_dim * tokens * (tokens + 1) // 2
    return LAYERS * (products + attention) + 2 * hidden * vocab


def cell(row, _, wrong):
    """What was run; work, bytes sent and memory of the host with the most."""
    flops, sent = float(row["tflops"]) * float(row["prefill_s"]) * 1e12, int(row["bytes_sent"])
    wrong.expect((row["layers"], row["model_layers"], row["dtype"]) == (str(LAYERS), "3", "float32"), row,
                 f"{row['layers']} of {row['model_layers']} layers in {row['dtype']}")
    if row["method"] == "flash":
        wrong.expect(close(flops, flops_of_flash(), 1e-4) and sent == 0, row, f"{flops} FLOPs, {sent} bytes sent")
    else:
        wrong.expect(flops_of_flash() / 3 < flops < flops_of_flash() and 1000 < sent < 1e6, row,
                     f"{flops} FLOPs, {sent} bytes sent")
    wrong.expect(5e5 < int(row["peak_bytes"]) < 5e6, row, f"peak_bytes is {row['peak_bytes']}")


def rates(row, own, wrong):
    """Utilisation and overhead are made of what stands beside them. All hosts' own work is most of the time."""
    wrong.expect(statistics.median(float(one["overhead"]) for one in own) < 0.35, row, "hosts' work is not the most")
    charged, transfers = [statistics.median(float(one[name]) for one in own) for name in ("charged_s", "transfers_s")]
    wrong.expect(charged > transfers, row, f"hosts worked {charged} s and were copying {transfers} s")
    share = float(row["tflops"]) / float(row["gemm_peak_tflops"])
    wrong.expect(close(row["utilisation"], share, 1e-4), row, f"utilisation is {row['utilisation']}")
    for one in own:
        overhead = 1 - (float(one["charged_s"]) + float(one["transfers_s"])) / float(one["wall_s"])
        wrong.expect(abs(float(one["overhead"]) - overhead) < 1e-3, row, f"overhead is {one['overhead']}")


def links(row, own, wrong):
    """Only several hosts have links, and only their times are projected."""
    many = int(row["hosts"]) > 1
    wrong.expect(row["link"] in LINKS if many else not row["link"], row, f"its link is '{row['link']}'")
    wrong.expect(row["projected"] == str(int(many)), row, f"projected is {row['projected']}")


def words(said, written, repetitions):
    """A line a cell, of its last link: what the instrumented repetition took more, and the first timed one's
    overhead; and how many cells were to run."""
    lines = said.splitlines()
    if not re.fullmatch(r"3 cells to run, about \d+ s", lines[0]):
        return lines[0]
    for line, row in zip(lines[1:], [row for row in written if row["link"] != LINKS[0]], strict=True):
        first = [one for one in repetitions if one["row"] == row["row"] and one["kind"] == "timed"][0]
        more = 100 * (float(row["instrumented_s"]) / float(row["prefill_s"]) - 1)
        where = f"3 hosts, length 300: prefill (.*) s, projected over {row['link']}" if row["link"] else \
            "1 host, length 300: prefill (.*) s"
        found = re.search(rf" {row['method']}, {where} \(instrumented (.*) %, overhead (.*?) %\)", line)
        if not found or not close(found[1], float(row["prefill_s"]), 1e-3) or \
                abs(float(found[2]) - more) > 0.06 or abs(float(found[3]) - 100 * float(first["overhead"])) > 0.006:
            return f"{line}, where the row has {more} % and {first['overhead']}"
    return None


def goes_on(out):
    """A cell that is new is run, and one that takes too long is a failure."""
    more = subprocess.run([*SWEEP, "--methods", "flash,ring,apb,zigzag", "--link", LINKS[0], "--out", str(out)],
                          capture_output=True, text=True, check=False).stderr
    if not re.match(r"1 cell to run, about \d+ s; the others are in the file already\n\[1/1\] ", more):
        return more
    late = subprocess.run([*SWEEP, "--timeout", "1e-6", "--methods", "star", "--out", str(out)],
                          capture_output=True, text=True, check=False)
    found = [row["status"] for row in rows(out) if row["method"] == "star"]
    return None if late.returncode == 1 and found == ["failed"] * 2 else f"status {late.returncode}, rows {found}"


def profile():
    """A cell by its number or a part of its name, over the first link; three repetitions, as they are told."""
    for name, title in (("3", "apb, 3 hosts"), ("ring", "ring, 3 hosts")):
        told = subprocess.run([*SWEEP, "--profile", name], capture_output=True, text=True, check=False).stdout
        found = re.search(rf"^cell .* {title}, length 300, projected over {LINKS[0]}\nuntouched +prefill (\S+) s.*\n"
                          r"profiled +prefill (\S+) s.*\ndifference (\S+) % of the prefill$", told, re.MULTILINE)
        if not found or abs(100 * (float(found[2]) / float(found[1]) - 1) - float(found[3])) > 0.02:
            return told or f"nothing is said of {name}"
    several = subprocess.run([*SWEEP, "--profile", "3 hosts"], capture_output=True, text=True, check=False)
    return None if several.returncode == 2 and "several cells" in several.stderr else f"of several: {several.stderr}"


def dry_run():
    """Of one device that simulates all hosts: the work of the exact methods is alike however many share it,
    and memory is that of all hosts together."""
    said = subprocess.run([PROGRAM, "speed", "--models", "small", "--methods", "flash,ring", "--hosts", "8",
                           "--lengths", "16K", "--dry-run"], capture_output=True, text=True, check=False)
    cells = [line.split() for line in said.stdout.splitlines() if " small " in line]
    about = re.search(r"^about (?:(\d+) min )?(\d+) s in all$", said.stdout, re.MULTILINE)
    if [(words[2], words[5]) for words in cells] != [("flash", "ok"), ("ring", "ok")]:
        return f"it says {said.stdout[-300:]}{said.stderr[-300:]}"
    (flash_seconds, flash_gib), (ring_seconds, ring_gib) = [map(float, words[6:8]) for words in cells]
    if not close(ring_seconds, flash_seconds, 0.02):
        return f"flash is to take {flash_seconds} s, ring {ring_seconds} s"
    if not about or abs(int(about[1] or 0) * 60 + int(about[2]) - flash_seconds - ring_seconds) > 1.1:
        return f"{flash_seconds} s and {ring_seconds} s, but {said.stdout.splitlines()[-1]}"
    return None if ring_gib > flash_gib else f"flash is to need {flash_gib} GiB, ring {ring_gib} GiB"


def no_room():
    """A cell that does not fit says in its row what it would hold, and before that in GiB."""
    out = SCRATCH / "oom.csv"
    sweep = [PROGRAM, "speed", "--models", "yi-34b", "--methods", "flash", "--hosts", "1", "--lengths", "4M"]
    subprocess.run([*sweep, "--out", str(out)], capture_output=True, check=False)
    told = subprocess.run([*sweep, "--dry-run"], capture_output=True, text=True, check=False).stdout
    (row,) = rows(out)
    said, gib = f"a host needs {row['peak_bytes']} bytes", f" {int(row['peak_bytes']) / 2 ** 30:.2f}  a host needs"
    return None if row["status"] == "oom" and said in row["detail"] and gib in told else \
        f"{row['peak_bytes']}: {row['detail']}; {told}"


def main():
    out, wrong = SCRATCH / "speed.csv", Complaints()
    ran = subprocess.run([*SWEEP, "--out", str(out)], capture_output=True, text=True, check=False)
    if ran.returncode:
        return report("a sweep", ran.stderr[-300:])
    written, repetitions = rows(out), rows(out.with_suffix(".reps.csv"))
    cells = sorted((row["method"], row["link"]) for row in written if row["status"] == "ok")
    expected = sorted([("flash", "")] + [(method, link) for method in ("ring", "apb") for link in LINKS])
    report("a row a link", None if cells == expected else f"rows are {cells}")
    for name, look in (("each repetition once", names), ("medians of the timed repetitions", times),
                       ("the slowest host counts", hosts), ("parts of the instrumented repetition", parts),
                       ("work, bytes and memory", cell), ("shares", rates), ("links and projected times", links)):
        for row in written:
            look(row, [one for one in repetitions if one["row"] == row["row"]], wrong)
        wrong.report(name)
    report("what is said of cells", words(ran.stderr, written, repetitions))
    report("a finished sweep goes on with what is new", goes_on(out))
    report("a profiled cell", profile())
    report("a dry run's seconds and memory", dry_run())
    report("bytes of a cell that does not fit", no_room())


main()
finish()
