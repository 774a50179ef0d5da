#!/usr/bin/env python3
"""Runs `tessera bench gpu` and the PyTorch peer in turns and writes docs/perf-gpu.md.

    ./dev bench gpu                                      all cases, three rounds
    ./dev bench gpu --network llada-8b                   these alone, to standard output
    python3 tools/bench/gpu_page.py --from RECORD        the page of a run that --record kept

Text between a line `<!-- keep NAME -->` and `<!-- end NAME -->` of the page is written by hand and
survives. The page of a few layers or of one network goes to standard output unless --out names a file.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "perf-gpu.md"
KEPT = {
    "not-run": "Nothing further.",
    "misses": "Nothing written yet.",
}


def say(message):
    print(f"gpu_page.py: {message}", file=sys.stderr)


def output_of(command):
    """What a command prints, or nothing if it fails or does not exist."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


# --- Running ----------------------------------------------------------------------------------------

def problem_of_machine():
    """Why the benchmark cannot run here, or nothing."""
    if not output_of(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]):
        return "there is no NVIDIA GPU here, or no driver (nvidia-smi shows none)"
    peer = subprocess.run([sys.executable, HERE / "peer_gpu.py", "--check"], capture_output=True, text=True)
    return peer.stderr.strip() if peer.returncode else ""


def query(gpu, *fields):
    text = output_of(["nvidia-smi", "-i", gpu, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"])
    return dict(zip(fields, (part.strip() for part in text.split(","))))


def describe_run(gpu, options):
    commit = options.commit
    machine = query(gpu, "name", "driver_version", "clocks.max.sm", "clocks.max.memory", "power.limit")
    if not commit:
        commit = output_of(["git", "rev-parse", "--short=12", "HEAD"])
        if commit and output_of(["git", "status", "--porcelain", "--untracked-files=no", "--", ":!docs"]):
            commit += ", changed"
    return {"source": "machine", "commit": commit, "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "layers": options.layers, "network": options.network, **machine}


class Clocks:
    """Samples of the clocks while something runs."""

    def __init__(self, gpu):
        self.gpu, self.samples, self.done = gpu, [], threading.Event()
        self.thread = threading.Thread(target=self.sample)

    def sample(self):
        while not self.done.wait(2):
            self.samples.append(query(self.gpu, "utilization.gpu", "clocks.sm", "clocks.memory", "power.draw",
                                      "temperature.gpu"))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def run_lines(command, source, round_number, gpu):
    """The JSON lines of one program, each with who wrote it, and the clocks beside it."""
    print(f"+ {' '.join(map(str, command))}", file=sys.stderr)
    with Clocks(gpu) as clocks:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode and not lines:
        sys.exit(f"gpu_page.py: {command[0]} failed")
    tags = {"source": source, "round": round_number}
    return [{**line, **tags} for line in lines] + [{**sample, **tags, "source": "clocks"}
                                                   for sample in clocks.samples if sample]


def measure(options):
    gpu = options.device.partition(":")[2] or "0"
    chosen = ["--network", options.network] if options.network else []
    chosen += ["--layers", str(options.layers)]
    listed = subprocess.run([options.tessera, "bench", "gpu", "--list", "--json", *chosen],
                            stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True).stdout
    options.record.parent.mkdir(parents=True, exist_ok=True)
    cases = options.record.with_suffix(".cases")
    cases.write_text(listed, encoding="utf-8")
    record = [describe_run(gpu, options)]
    record += [{**json.loads(line), "source": "list"} for line in listed.splitlines()]
    for number in range(options.rounds):
        repeat = ["--repeat", str(options.repeat)]
        record += run_lines([sys.executable, HERE / "peer_gpu.py", "--cases", cases, "--device", gpu, *repeat],
                            "peer", number, gpu)
        record += run_lines([options.tessera, "bench", "gpu", "--json", "--device", options.device, *chosen, *repeat],
                            "tessera", number, gpu)
        options.record.write_text("".join(json.dumps(line) + "\n" for line in record), encoding="utf-8")
    return record


# --- From lines to figures --------------------------------------------------------------------------

def median(lines, field):
    values = [line[field] for line in lines if field in line]
    return statistics.median(values) if values else None


class Case:
    """A listed case and what the rounds gave for it."""

    def __init__(self, listed, tessera, peer, machine, product_rate):
        self.name, self.network, self.format = listed["case"], listed["network"], listed["format"]
        self.target_ratio, self.target_ms = listed.get("target_ratio"), listed.get("target_ms")
        self.ms, self.peer_ms = median(tessera, "ms"), median(peer, "ms")
        self.errors = sorted({line["error"] for line in tessera if "error" in line})
        self.peer_errors = sorted({line["error"] for line in peer if "error" in line})
        self.bytes_rate, self.flop_rate = median(tessera, "tb_per_second"), median(tessera, "tflop_per_second")
        self.floor, self.bound = median(tessera, "read_floor_ms"), "bytes"
        flop = median(tessera, "flop")
        # The product was measured in bf16, which is also what integer weights are multiplied in.
        if self.floor and product_rate and self.format != "fp8":
            arithmetic = flop / product_rate / 1e9
            if arithmetic > self.floor:
                self.floor, self.bound = arithmetic, "flop"
        self.on_h200 = "H200" in machine.get("name", "")

    @property
    def ratio(self):
        return self.ms / self.floor if self.ms else None

    def verdict(self, judged):
        """yes or no; where the two targets disagree, which one is met."""
        if not judged or not self.ms or not self.target_ratio:
            return "–"
        by_ratio = self.ratio <= self.target_ratio
        if not self.target_ms or not self.on_h200:
            return "yes" if by_ratio else "no"
        by_time = self.ms <= self.target_ms
        return {(True, True): "yes", (False, False): "no"}.get((by_ratio, by_time),
                                                               "ratio alone" if by_ratio else "ms alone")


def cases_of(record):
    of = {source: [line for line in record if line["source"] == source]
          for source in ("list", "tessera", "peer", "machine", "clocks")}
    machine = of["machine"][0] if of["machine"] else {}
    rates = [line["rates"] for line in of["peer"] if "rates" in line]
    product = median(rates, "product_tflop_per_second")

    def lines(source, name):
        return [line for line in of[source] if line.get("case") == name]
    cases = [Case(listed, lines("tessera", listed["case"]), lines("peer", listed["case"]), machine, product)
             for listed in of["list"]]
    return cases, machine, rates, of["clocks"], of["tessera"]


def kept_texts(page):
    """The hand-written parts of the page there is."""
    kept = dict(KEPT)
    for name in KEPT:
        begin, end = f"<!-- keep {name} -->\n", f"<!-- end {name} -->"
        if begin in page and end in page:
            kept[name] = page.partition(begin)[2].partition(end)[0].strip("\n")
    return kept


def number(value, digits=2):
    return "–" if value is None else f"{value:.{digits}f}"


def machine_text(machine, rates, clocks, tessera):
    busy = [sample for sample in clocks if sample.get("utilization.gpu", "0") not in ("0", "[N/A]")]

    def span(field, unit):
        values = sorted(float(s[field]) for s in busy if s.get(field, "[")[0].isdigit())
        return f"{values[0]:.0f} to {values[-1]:.0f} {unit}" if values else "not read"
    rounds = len({line["round"] for line in tessera})
    return "\n".join([
        "| | |", "|---|---|",
        f"| commit | {machine.get('commit') or 'unknown'}, measured {machine['date']} |",
        f"| GPU | {machine.get('name')}, driver {machine.get('driver_version')}, power limit {machine.get('power.limit')} W |",
        f"| clocks while it worked | multiprocessors {span('clocks.sm', 'MHz')} (highest {machine.get('clocks.max.sm')}), "
        f"memory {span('clocks.memory', 'MHz')} (highest {machine.get('clocks.max.memory')}), "
        f"{span('power.draw', 'W')}, {span('temperature.gpu', '°C')} |",
        f"| reading 2 GiB | {number(median(tessera, 'read_tb_per_second'))} TB/s (median over all cases) |",
        f"| PyTorch {rates[0]['torch']}, CUDA {rates[0]['cuda']} | copy {number(median(rates, 'copy_tb_per_second'))} TB/s, "
        f"bf16 product of 8192³ {number(median(rates, 'product_tflop_per_second'), 0)} TFLOP/s |"
        if rates else "| PyTorch | did not run |",
        f"| rounds | {rounds}, the two programs in turns; figures are medians over rounds of medians over forwards |",
    ])


def table(cases, judged):
    lines = ["| case | floor ms | PyTorch graph ms | Tessera ms | / floor | to reach | met | TB/s | TFLOP/s |",
             "|---|---|---|---|---|---|---|---|---|"]
    for case in cases:
        target = f"{case.target_ratio:.2f}" if case.target_ratio else "–"
        if case.target_ms:
            target = f"≤ {case.target_ms:g} ms, {target}"
        floor = f"{number(case.floor)} ({case.bound})" if case.floor else "–"
        lines.append(f"| {case.name} | {floor} | {number(case.peer_ms)} | {number(case.ms)} | {number(case.ratio)} | "
                     f"{target} | {case.verdict(judged)} | {number(case.bytes_rate)} | {number(case.flop_rate, 1)} |")
    return "\n".join(lines)


def not_run(cases):
    lines = [f"- `{case.name}`: {'; '.join(case.errors) or 'not measured'}" for case in cases if case.ms is None]
    lines += [f"- the peer on `{case.name}`: {'; '.join(case.peer_errors) or 'not measured'}"
              for case in cases if case.peer_ms is None and case.format == "bf16" and case.ms is not None]
    return "\n".join(lines)


def render(record, old_page):
    cases, machine, rates, clocks, tessera = cases_of(record)
    kept = kept_texts(old_page)
    # Targets are for whole networks, against both floors.
    cut = machine.get("layers", 0)
    judged = bool(rates) and not cut
    missed = [case for case in cases if case.verdict(judged) not in ("yes", "–")]

    def keep(name):
        return f"<!-- keep {name} -->\n{kept[name]}\n<!-- end {name} -->"
    parts = ["# Forwards on a GPU",
             "Written by `./dev bench gpu` (`tools/bench/gpu_page.py`), but for the texts between `keep` marks. "
             "Weights are random.\nA case is network : format : sequences x rows x cached keys before them. Tessera's time ends with the "
             "statistics\nof every row on the host, that of PyTorch (`tools/bench/peer_gpu.py`: CUDA graph, fused QKV, SDPA, bf16) with the "
             "logits\non the GPU. The floor is the larger of two times: the bytes of weights, keys and values at the rate at which "
             "this GPU\nread 2 GiB around the case, and the arithmetic of the products with weights at the rate of a large bf16 product."]
    if machine and tessera:
        parts += ["## Machine and run", machine_text(machine, rates, clocks, tessera)]
    if cut:
        parts += [f"**A quick look at networks cut to {cut} layers; no target applies.**"]
    if any(case.ms for case in cases):
        parts += ["## Figures"]
        for network in dict.fromkeys(case.network for case in cases):
            parts += [f"### {network}", table([case for case in cases if case.network == network], judged)]
    parts += ["## What has not run", not_run(cases), keep("not-run"),
              "## What was missed",
              "\n".join(f"- `{case.name}`: {case.ms:.2f} ms, {case.ratio:.2f} times the floor, to reach: {case.target_ratio:.2f}"
                        for case in missed), keep("misses")]
    return "\n\n".join(part for part in parts if part) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tessera", default=ROOT / "build/release/apps/cli/tessera", help="the program")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--network", help="the cases of this network alone")
    parser.add_argument("--layers", type=int, default=0, help="cut the networks, for a quick look")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeat", type=int, default=20, help="forwards per case and round; default 20")
    parser.add_argument("--commit", help="where git cannot say what is measured")
    parser.add_argument("--record", type=pathlib.Path, default=ROOT / "build/bench-gpu.jsonl",
                        help="file for every line that was measured; default build/bench-gpu.jsonl")
    parser.add_argument("--from", dest="source", type=pathlib.Path, help="run nothing, read this record")
    parser.add_argument("--out", help="file for the page, - for standard output; default docs/perf-gpu.md")
    parser.add_argument("--check", action="store_true", help="only say whether this machine can run it")
    options = parser.parse_args()
    if options.rounds < 1 or options.layers < 0:
        parser.error("--rounds: accepted: 1 or more; --layers: 0 or more")
    problem = "" if options.source else problem_of_machine()
    if problem:
        say(problem)
        return 1
    if options.check:
        return 0
    if options.source:
        record = [json.loads(line) for line in options.source.read_text(encoding="utf-8").splitlines()]
    else:
        record = measure(options)
    page = render(record, PAGE.read_text(encoding="utf-8") if PAGE.exists() else "")
    partial = any(line.get("layers") or line.get("network") for line in record if line["source"] == "machine")
    out = options.out or ("-" if partial else PAGE)
    if out == "-":
        print(page, end="")
    else:
        pathlib.Path(out).write_text(page, encoding="utf-8")
        say(f"wrote {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
