"""What a speed sweep writes: each row is to say of its cell what the repetitions beside it say.

A small model runs on one and three virtual hosts over two links, with warm-ups, timed repetitions and
the instrumented one. Figures stand with six digits, so they are compared within some 1e-5 of each
other. Prints `ok NAME` or `not ok NAME: why`.
"""

import os
import pathlib
import statistics
import subprocess

from rows import rows
from verdict import finish, report

PROGRAM = os.environ["APBENCH"]
SCRATCH = pathlib.Path(os.environ["SCRATCH"])
REPS, WARMUP, NEW_TOKENS, LINKS = 4, 2, 5, ["eth100", "nvlink4"]
SWEEP = [PROGRAM, "speed", "--models", "tests/data/checkpoints/yi-sharded-f32", "--methods", "flash,ring,apb",
         "--hosts", "3", "--lengths", "300", "--reps", str(REPS), "--warmup", str(WARMUP), "--new-tokens",
         str(NEW_TOKENS), "--link", ",".join(LINKS), "--threads", "1"]
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


def rates(row, own, wrong):
    """Utilisation and overhead are made of what stands beside them."""
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


def dry_run():
    """Of one device that simulates all hosts: the work of the exact methods is alike however many share it,
    and memory is that of all hosts together."""
    said = subprocess.run([PROGRAM, "speed", "--models", "small", "--methods", "flash,ring", "--hosts", "8",
                           "--lengths", "16K", "--dry-run"], capture_output=True, text=True, check=False)
    cells = [line.split() for line in said.stdout.splitlines() if " small " in line]
    if [(words[2], words[5]) for words in cells] != [("flash", "ok"), ("ring", "ok")]:
        return f"it says {said.stdout[-300:]}{said.stderr[-300:]}"
    (flash_seconds, flash_gib), (ring_seconds, ring_gib) = [map(float, words[6:8]) for words in cells]
    if not close(ring_seconds, flash_seconds, 0.02):
        return f"flash is to take {flash_seconds} s, ring {ring_seconds} s"
    return None if ring_gib > flash_gib else f"flash is to need {flash_gib} GiB, ring {ring_gib} GiB"


def no_room():
    """A cell that does not fit says in its row what it would hold."""
    out = SCRATCH / "oom.csv"
    subprocess.run([PROGRAM, "speed", "--models", "yi-34b", "--methods", "flash", "--hosts", "1", "--lengths", "4M",
                    "--out", str(out)], capture_output=True, check=False)
    (row,) = rows(out)
    said = f"a host needs {row['peak_bytes']} bytes"
    return None if row["status"] == "oom" and said in row["detail"] else f"{row['peak_bytes']}: {row['detail']}"


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
                       ("shares", rates), ("links and projected times", links)):
        for row in written:
            look(row, [one for one in repetitions if one["row"] == row["row"]], wrong)
        wrong.report(name)
    report("a dry run's seconds and memory", dry_run())
    report("bytes of a cell that does not fit", no_room())


main()
finish()
