"""What an accuracy sweep writes: each row is to say of its samples what their lines say.

Two layers of the default model run under three methods (in one no answer would depend on the method); in a
file one of the samples is then another's, so that not all of them are the program's own. Figures stand with six digits.
Prints `ok NAME` or `not ok NAME: why`.
"""

import json
import os
import pathlib
import subprocess

from rows import rows
from verdict import finish, report

PROGRAM = os.environ["APBENCH"]
SCRATCH = pathlib.Path(os.environ["SCRATCH"])
SAMPLES, TASK = 3, "vt"  # whose answers are short
ERRORS = ["error_start", "error_end", "error_document", "error_query"]
METHODS = ["flash", "star:anchor=64", "apb:anchor=96:passing=16"]


def run(*words):
    ran = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False)
    return ran.stderr if ran.returncode == 0 else None


def evaluate(out, *more, methods=METHODS):
    return run("eval", "--methods", ",".join(methods), "--hosts", "2", "--layers", "2", "--tasks", TASK,
               "--lengths", "1K", "--samples", str(SAMPLES), "--threads", "1", "--out", str(out), *more)


def lines(out, row):
    with open(out.with_suffix(".samples.jsonl"), encoding="utf-8") as file:
        return [line for line in map(json.loads, file) if line["row"] == int(row["row"])]


def mean(numbers):
    return sum(numbers) / len(numbers)


def wrong_in(row, own):
    """The columns of a row that are not what its samples come to."""
    expected = {"samples": SAMPLES, "score": round(100 * mean([line["score"] for line in own]), 2),
                "nulls": sum(line["null"] for line in own), "seconds": sum(line["seconds"] for line in own)}
    if row["method"] == "flash":
        expected |= {column: None for column in ["kl", "top1", *ERRORS]}
    else:
        expected |= {column: mean([line[column] for line in own]) for column in ["kl", "top1", *ERRORS]}
    found = []
    for column, value in expected.items():
        good = row[column] == "" if value is None else row[column] != "" and (
            abs(float(row[column]) - value) <= 1e-5 * abs(value) + 1e-12)
        if not good:
            found.append(f"{row['method']}: {column} is '{row[column]}', its samples make {value}")
    return found


def generator(name, *changes):
    """Who made the samples of a file in which so many lines do not say that it was this program."""
    source = SCRATCH / "data" / "1024" / TASK / "validation.jsonl"
    path, out = SCRATCH / f"{name}.jsonl", SCRATCH / f"{name}.csv"
    written = []
    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines()):
        line = json.loads(line)
        if number in changes:
            del line["generator"]
        written.append(json.dumps(line) + "\n")
    path.write_text("".join(written), encoding="utf-8")
    if evaluate(out, "--file", str(path), "--no-fidelity", methods=["flash"]) is None:
        return None
    return {row["generator"] for row in rows(out)}


def main():
    out = SCRATCH / "eval.csv"
    said = evaluate(out)
    if said is None:
        return report("a sweep", "it failed")
    found = rows(out)
    ended = [(row["method"], row["status"]) for row in found]
    if ended != [("flash", "ok"), ("star", "ok"), ("apb", "ok")]:
        return report("a row a method", f"rows are {ended}")
    report("a row a method")
    wrong = [what for row in found for what in wrong_in(row, lines(out, row))]
    report("rows are what their samples come to", "; ".join(wrong[:3]) or None)
    report("and made by this program", None if {row["generator"] for row in found} == {"apbench"} else "they are not")
    before = out.read_bytes()
    report("a finished sweep has nothing to run", None if "3 rows are in the file already" in (evaluate(out) or "")
           and out.read_bytes() == before else "it ran something")

    if run("data", "--tasks", TASK, "--lengths", "1K", "--model", "smollm2", "--samples", str(SAMPLES),
           "--out", str(SCRATCH / "data")) is None:
        return report("a file of samples", "data failed")
    kinds = [generator("own"), generator("mixed", 0), generator("others", 0, 1, 2)]
    report("samples of a file are official only where all are",
           None if kinds == [{"apbench"}, {"apbench"}, {"official"}] else f"they are {kinds}")


main()
finish()
