"""Evaluations by several processes: what they write, and what is left of them when they are killed.

A tiny model whose tokens are bytes answers rows of a file, two of which are broken. Rows of one
process are the measure: those of three, and those of a sweep that is killed again and again by
kill -9, must be the same but for times, and every sample must be written once. Single workers are
killed and stopped, too. Prints `ok NAME` or `not ok NAME: why`.
"""

import json
import math
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import time

from rows import rows
from verdict import finish, report

PROGRAM = os.environ["APBENCH"]
SCRATCH = pathlib.Path(os.environ["SCRATCH"])
ROWS, BROKEN = 60, (4, 22)  # good rows, and the lines of the broken ones
METHODS = "flash,star:anchor=256,apb:anchor=256:passing=32"
TIMES = ("date", "seconds", "workers")  # what differs from run to run
HANGS = 120  # seconds


def write_model():
    """The checkpoint of the tests with a byte for a token, so that any text has some."""
    folder = SCRATCH / "bytes"
    shutil.copytree("tests/data/checkpoints/yi-sharded-f32", folder)
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    letters |= {byte: chr(256 + i) for i, byte in enumerate(b for b in range(256) if b not in plain)}
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer["model"]["vocab"] = {letters[byte]: byte for byte in range(256)}
    tokenizer["model"]["merges"] = []
    tokenizer["added_tokens"] = []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def write_rows():
    words = "a red sea is far from an old key and new cats run on in the dog sun".split()
    path, chance = SCRATCH / "rows.jsonl", random.Random(1)
    lines = []
    for i in range(ROWS):
        document = " ".join(chance.choice(words) for _ in range(160 + i % 7))
        lines.append(json.dumps({"index": i, "input": f"{document}\nwhat is it?", "outputs": ["e"]}))
    for line in BROKEN:
        lines.insert(line - 1, '{"input": "no end')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command(workers, out, *more):
    return [PROGRAM, "eval", "--models", str(SCRATCH / "bytes"), "--file", str(SCRATCH / "rows.jsonl"),
            "--methods", METHODS, "--hosts", "2", "--lengths", "1K", "--tasks", "niah_single_1",
            "--threads", "1", "--workers", str(workers), "--out", str(out), *more]


def start(workers, out, log, *more):
    """In a group of its own, which can be killed as one."""
    return subprocess.Popen(command(workers, out, *more), stdout=log, stderr=log, start_new_session=True)


def lines(path):
    """Whole lines of the samples beside the rows; a torn one is for the next start to cut."""
    path = path.with_suffix(".samples.jsonl")
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return text.split("\n")[:-1]


def figures(path):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows(path)]


def samples(path):
    """Everything in the samples but their times, by row and number."""
    found = {}
    for line in lines(path):
        sample = json.loads(line)
        del sample["seconds"]
        place = (sample.pop("row"), sample["sample"])
        if place in found:
            raise AssertionError(f"sample {place[1]} of row {place[0]} is there twice")
        found[place] = sample
    return found


def alive(group):
    """Processes of this group, zombies not counted."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, process_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(process_group) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


def gone(group):
    """No process of the group is left, within a second."""
    for _ in range(100):
        if not alive(group):
            return True
        time.sleep(0.01)
    return False


def wait_for_samples(run, out, count):
    patience = time.monotonic() + HANGS
    while run.poll() is None and len(lines(out)) < count and time.monotonic() < patience:
        time.sleep(0.002)


def same(out, calm):
    try:
        if figures(out) != figures(calm):
            return "rows differ"
        if samples(out) != samples(calm):
            return "samples differ"
    except AssertionError as twice:
        return str(twice)
    return None


def check_kills(calm, log):
    """Killed after some samples more, a moment later each time, with another number of workers."""
    out, kills, in_mid_row, before = SCRATCH / "killed.csv", 0, 0, []
    while True:
        run = start((3, 2, 4)[kills % 3], out, log)
        wait_for_samples(run, out, len(before) + 25)
        time.sleep(0.003 * (kills % 4))
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        code = run.wait()
        if not gone(run.pid):
            return report("kill -9 of all", "a process is left")
        now = lines(out)
        if code not in (0, -9):
            return report("kill -9 of all", (SCRATCH / "log").read_text(errors="replace")[-500:])
        if now[:len(before)] != before:
            return report("samples survive kill -9", f"lines changed after {kills + 1} kills")
        before = now
        if code == 0:
            break
        kills += 1
        in_mid_row += len(now) % ROWS != 0
    report("samples survive kill -9")
    report("the sweep was killed in the middle of rows, three times at least",
           None if in_mid_row >= 3 else f"{in_mid_row} of {kills} kills")
    report("killed and resumed: the rows and samples of an undisturbed sweep", same(out, calm))


def check_dead_worker(calm, log):
    """Started by one who ignores how children end, which is inherited."""
    out = SCRATCH / "dead.csv"
    with open(SCRATCH / "said", "wb") as said:
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        run = start(3, out, said)
        signal.signal(signal.SIGCHLD, before)
        wait_for_samples(run, out, ROWS + 15)
        workers = [pid for pid in alive(run.pid) if pid != run.pid]
        os.kill(max(workers), signal.SIGKILL)
        code = run.wait(HANGS)
    left = not gone(run.pid)
    sentence = (SCRATCH / "said").read_text().strip().split("\n")[-1]
    started = "apbench: worker 2 was killed by signal 9 (Killed) at sample "
    report("a worker that dies ends the sweep and is named with its row and sample",
           f"{len(workers)} workers, status {code}, processes left: {left}, said {sentence!r}"
           if len(workers) != 2 or code != 1 or left or not sentence.startswith(started) or
           "of bytes star:anchor=256, 2 hosts, niah_single_1 of 1K" not in sentence else None)
    place = int(sentence[len(started):].split()[0]) if sentence.startswith(started) else -1
    done = {sample["sample"] for line in lines(out) if (sample := json.loads(line))["row"] == 2}
    report("the sample named is the dead worker's, and the first of its that is not there",
           None if place % 3 == 2 and place not in done and
           all(i in done for i in range(2, place, 3)) else f"sample {place}, there are {sorted(done)}")
    run = start(3, out, log)
    report("after that the same command goes on",
           f"status {code}" if (code := run.wait(HANGS)) != 0 else same(out, calm))


def stop_worker(out, said, *more):
    """Starts three and stops the last in the middle of the second row; when that had begun is told, too."""
    run = start(3, out, said, *more)
    wait_for_samples(run, out, ROWS + 1)
    began = time.monotonic()
    wait_for_samples(run, out, ROWS + 15)
    worker = max(pid for pid in alive(run.pid) if pid != run.pid)
    os.kill(worker, signal.SIGSTOP)
    return run, worker, began


def wait(run):
    """Its status; None when it hangs, which ends it."""
    try:
        return run.wait(HANGS)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return None


def check_stuck_worker(calm, limit):
    """A worker that is alive and does nothing: stopped. The rows of others end within the limit."""
    out, grace = SCRATCH / "stuck.csv", 5 + limit / 2
    with open(SCRATCH / "said", "wb") as said:
        run, _, began = stop_worker(out, said, "--timeout", str(limit))
        code = wait(run)
    took, left = time.monotonic() - began, not gone(run.pid)
    report("a worker that hangs ends the sweep after the row's time and a grace",
           None if code == 1 and not left and limit + grace - 1 < took < limit + grace + 8 else
           f"status {code} after {took:.1f} s, processes left: {left}")
    sentence = (SCRATCH / "said").read_text().strip().split("\n")[-1].removeprefix("apbench: ")
    named = re.fullmatch(r"worker 2 is stuck at sample (\d+) of bytes star:anchor=256, 2 hosts, "
                         "niah_single_1 of 1K: timeout", sentence)
    report("it is named with its row and sample", None if named and int(named[1]) % 3 == 2 else sentence)
    found = rows(out)
    report("its row has failed, with that sentence; the one before is kept, and none is behind",
           None if figures(out)[:1] == figures(calm)[:1] and
           [(row["status"], row["detail"]) for row in found[1:]] == [("failed", sentence)] else found)
    done = [number for row, number in samples(out) if row == 2]
    with open(SCRATCH / "said", "wb") as said:
        code = wait(start(3, out, said, "--timeout", str(HANGS)))
    both, whole = samples(out), samples(calm)
    good = [row for row in figures(out) if row["status"] == "ok"]
    for row, same_row in zip(good, figures(calm)):
        row["row"] = same_row["row"]
    report("after that the same command runs that row again, and what is left",
           None if code == 0 and good == figures(calm) and
           all(both[row + 1, i] == whole[row, i] for row in (2, 3) for i in range(ROWS)) else
           f"status {code}, {rows(out)}")
    report("samples of that row which were there are not run again",
           None if 15 <= len(done) < ROWS and
           f", {len(done)} samples from before" in (SCRATCH / "said").read_text() else
           f"{len(done)} were there: {(SCRATCH / 'said').read_text()[-500:]}")


def check_slow_worker(calm):
    """Without --timeout nobody is stuck; with one nobody is who goes on in time."""
    for name, flags in (("without --timeout", ()), ("within its time", ("--timeout", str(HANGS)))):
        out = SCRATCH / f"slow{len(flags)}.csv"
        with open(SCRATCH / "said", "wb") as said:
            run, worker, _ = stop_worker(out, said, *flags)
            time.sleep(2)
            waits = run.poll() is None
            os.kill(worker, signal.SIGCONT)
            code = wait(run)
        report(f"a worker that pauses {name} is waited for",
               same(out, calm) if waits and code == 0 else f"waits: {waits}, status {code}")


def check_interrupt(log):
    out = SCRATCH / "interrupted.csv"
    with open(SCRATCH / "said", "wb") as said:
        run = start(3, out, said)
        wait_for_samples(run, out, 10)
        os.killpg(run.pid, signal.SIGINT)
        code = run.wait(HANGS)
    words = (SCRATCH / "said").read_text()
    report("Ctrl-C ends all without a word",
           None if code == -signal.SIGINT and gone(run.pid) and "worker" not in words else
           f"status {code}, said {words!r}")
    run = start(3, out, log)
    wait_for_samples(run, out, len(lines(out)) + 10)
    run.terminate()
    report("the end of the first process is the end of all",
           None if run.wait(HANGS) == -signal.SIGTERM and gone(run.pid) else "processes are left")


def check_other_answers(log):
    """What is left of a killed run counts only for samples whose answers are still the same."""
    out, rows_file = SCRATCH / "answers.csv", SCRATCH / "rows.jsonl"
    run = start(2, out, log)
    wait_for_samples(run, out, 12)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    before = rows_file.read_text(encoding="utf-8")
    rows_file.write_text(before.replace('["e"]', '["e", "s"]', 1), encoding="utf-8")
    code = start(2, out, log).wait(HANGS)
    rows_file.write_text(before, encoding="utf-8")
    references = [sample["references"] for place, sample in sorted(samples(out).items()) if place[0] == 1]
    report("a sample whose answers have changed in the file is scored anew",
           None if code == 0 and references == [["e", "s"]] + [["e"]] * (ROWS - 1) else
           f"status {code}, {references[:3]}")


def check_no_samples():
    """A row of which no sample can be made does not say which worker found that out."""
    reasons = []
    for workers in (1, 3):
        out = SCRATCH / f"none{workers}.csv"
        run = subprocess.run([PROGRAM, "eval", "--models", str(SCRATCH / "bytes"), "--methods", METHODS,
                              "--hosts", "2", "--lengths", "64", "--tasks", "vt", "--workers", str(workers),
                              "--out", str(out)], capture_output=True, text=True)
        reasons.append([run.returncode, *((row["status"], row["detail"]) for row in rows(out))])
    report("rows without samples have the reason of one process",
           None if reasons[0] == reasons[1] and reasons[0][1][0] == "unsupported" and
           len(reasons[0]) == 4 else reasons)


def row_of(task, sample, *more):
    """The row of an evaluation of this one sample of a file."""
    path, out = SCRATCH / "one.jsonl", SCRATCH / "one.csv"
    path.write_text(json.dumps(sample) + "\n", encoding="utf-8")
    out.unlink(missing_ok=True)
    out.with_suffix(".samples.jsonl").unlink(missing_ok=True)
    subprocess.run([PROGRAM, "eval", "--models", str(SCRATCH / "bytes"), "--file", str(path), "--methods",
                    "flash", "--lengths", "512", "--tasks", task, "--threads", "1", "--out", str(out), *more],
                   capture_output=True, check=True)
    return rows(out)[0]


def check_remarks():
    """Rows say who made their samples, and of whom the scorer was that raises on an answer."""
    sample = {"index": 0, "input": "a red sea\nwhat is it?", "outputs": ["e"]}
    found = [row_of("vt", {**sample, **mark})["generator"] for mark in ({}, {"generator": "apbench"})]
    report("a file of our own samples is no official one", None if found == ["official", "apbench"] else found)
    sample = {"context": "[1, 2]", "input": "The largest of the list is", "answer": "2"}
    for scorer in ("official", "apb"):
        row = row_of("math_find", sample, "--scorer", scorer)
        report(f"answers on which the {scorer} scorer raises are counted",
               None if row["detail"] == f"the {scorer} scorer raises on 1 answer: counted 0" and
               float(row["score"]) == 0 else f"score {row['score']}: {row['detail']}")


def refused(*more):
    run = subprocess.run(command(2, SCRATCH / "refused.csv", *more), capture_output=True, text=True)
    told = run.stderr.strip().split("\n")
    return None if run.returncode == 2 and len(told) == 1 and "--workers" in told[0] else \
        f"status {run.returncode}, said {told}"


def main():
    write_model()
    write_rows()
    with open(SCRATCH / "log", "wb") as log:
        calm, three = SCRATCH / "calm.csv", SCRATCH / "three.csv"
        codes = [start(1, calm, log).wait(HANGS)]
        began = time.monotonic()
        codes.append(start(3, three, log).wait(HANGS))
        took = time.monotonic() - began
        if codes != [0, 0]:
            return report("evaluations", (SCRATCH / "log").read_text()[-500:])
        report("a row a method, all compared", None if len(rows(calm)) == 3 and
               all(row["status"] == "ok" and row["samples"] == str(ROWS) for row in rows(calm)) and
               float(rows(calm)[2]["kl"]) > 0 and len(samples(calm)) == 3 * ROWS else "not so")
        report("three workers write what one process does", same(three, calm))
        places = ", ".join(map(str, BROKEN))
        broken = f"2 broken lines of {SCRATCH / 'rows.jsonl'} skipped: {places}"
        report("broken lines cost themselves, and are counted and named with the row",
               None if all(row["detail"] == broken for row in rows(three)) and
               (SCRATCH / "log").read_text().count(broken) == 6 else rows(three)[0]["detail"])
        size = three.stat().st_size
        report("a finished sweep has nothing to do for workers",
               None if start(2, three, log).wait(HANGS) == 0 and three.stat().st_size == size and
               same(three, calm) is None else "the file changed or the command failed")
        check_kills(calm, log)
        check_dead_worker(calm, log)
        check_stuck_worker(calm, 3 + math.ceil(took))
        check_slow_worker(calm)
        check_interrupt(log)
        check_other_answers(log)
    check_no_samples()
    check_remarks()
    report("no workers over links between processes", refused("--comm", "mpi")
           if b"mpi" in subprocess.run([PROGRAM, "list", "comms"], capture_output=True).stdout else None)
    report("a number of workers that is none", refused("--workers", "0"))


main()
finish()
