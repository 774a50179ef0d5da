#!/usr/bin/env python3
"""What formats of weights and of keys and values cost the default model, as the tables of docs/quantization.md.

    python3 bench/quantization_table.py

Quantises the model to every format, runs `tessera eval` on all cases of models/heldout.jsonl and on their likelihood, and
writes the tables between the page's markers.  Measured formats are remembered in --memory and not run again.  Differences
are of the same case under two formats, so their intervals are much narrower than those of the scores.
Needs the standard library and a built `tessera`.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARK = "quantization_table.py"
FORMATS = {
    "bf16": None,
    "int8, per channel": "--bits 8 --calibration none",
    "int8 g64": "--bits 8 --group 64 --calibration none",
    "int4 g32": "--bits 4 --group 32 --calibration none",
    "int4 g64": "--bits 4 --group 64 --calibration none",
    "int4 g128": "--bits 4 --group 128 --calibration none",
    "int4 g32 asymmetric": "--bits 4 --group 32 --asymmetric --calibration none",
    "int4 g64, weighed": "--bits 4 --group 64",
    "int4 g32, gptq": "--bits 4 --group 32 --method gptq",
    "int4 g64, gptq": "--bits 4 --group 64 --method gptq",
    "int4 g128, gptq": "--bits 4 --group 128 --method gptq",
    "int4 g64 asymmetric, gptq": "--bits 4 --group 64 --asymmetric --method gptq",
    "int4 g64, gptq act-order": "--bits 4 --group 64 --method gptq --act-order",
    "int4, per channel, gptq": "--bits 4 --group 0 --method gptq",
}
# Weight format -> K/V types beside bf16.
CACHES = {"bf16": ["int8"], "int4 g32, gptq": ["int8"]}


def run(*command):
    print("+", *command, file=sys.stderr)
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"quantization_table: exit code {done.returncode} of {command[1]}")
    return done.stdout


def measure(a, quantize, cache, folder):
    model, report = pathlib.Path(a.model), None
    if quantize is not None:
        model = folder / "model"
        report = json.loads(run(a.tessera, "quantize", a.model, model, "--json", *quantize.split()))
    size = sum(f.stat().st_size for f in model.glob("*.safetensors"))
    outputs = folder / "outputs.jsonl"
    common = [a.tessera, "eval", "-m", model, "--twin", "none", "--limit", a.limit, "--json", "--strategies", a.strategy,
              "--kv-cache-dtype", cache]
    tasks = json.loads(run(*common, "--task", "heldout", "--outputs", outputs))
    likelihood = json.loads(run(*common, "--task", "likelihood"))
    scores = {}
    for line in outputs.read_text().splitlines():
        row = json.loads(line)
        scores[f"{row['task']}\n{row['prompt']}\n{row['answer']}"] = row["score"]
    row, nats = tasks["grids"][0]["rows"][0], likelihood["grids"][0]["rows"][0]
    errors = [m["output_error"] for m in report["matrices"] if m["output_error"] is not None] if report else []
    return {"bytes": size, "scores": scores, "tokens_per_forward": row["tokens_per_forward"], "nats": nats["nats_per_token"],
            "output_error": sum(errors) / len(errors) if errors else None}


def interval(values):
    """Mean and half the width of its 95 % interval."""
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / max(1, len(values) - 1)
    return mean, 1.96 * math.sqrt(variance / len(values))


def table(rows):
    base = next(iter(rows.values()))
    out = ["| format | MB | % right | change, points (95 %) | nats per token | tokens per forward | change | output error |",
           "|---|---|---|---|---|---|---|---|"]
    for name, row in rows.items():
        right = 100 * sum(row["scores"].values()) / len(row["scores"])
        change = speed = ""
        if row is not base:
            mean, half = interval([row["scores"][k] - base["scores"][k] for k in base["scores"]])
            change = f"{100 * mean:+.2f} ± {100 * half:.2f}"
            speed = f"{100 * (row['tokens_per_forward'] / base['tokens_per_forward'] - 1):+.1f} %"
        error = "" if row["output_error"] is None else f"{100 * row['output_error']:.1f} %"
        out.append(f"| {name} | {row['bytes'] / 1e6:.1f} | {right:.1f} | {change} | {row['nats']:.4f} | "
                   f"{row['tokens_per_forward']:.2f} | {speed} | {error} |")
    return out + ["", f"{len(base['scores'])} cases."]


def place(text, mark, rows):
    """The page with a table between its markers."""
    begin, end = text.index(f"<!-- {mark}: begin -->"), text.index(f"<!-- {mark}: end -->")
    return "\n".join([text[:begin] + f"<!-- {mark}: begin -->", ""] + table(rows) + ["", text[end:]])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tessera", default=ROOT / "build/release/apps/cli/tessera")
    p.add_argument("--model", default=ROOT / "models/tessera-diffusion")
    p.add_argument("--strategy", default="threshold=0.9")
    p.add_argument("--limit", default=0, type=int, help="cases per task; 0: all")
    p.add_argument("--page", default=ROOT / "docs/quantization.md", type=pathlib.Path)
    p.add_argument("--memory", default=ROOT / "build/quantization_table.json", type=pathlib.Path)
    p.add_argument("--only", action="append", help="a format of the table; may be repeated")
    a = p.parse_args()
    memory = json.loads(a.memory.read_text()) if a.memory.exists() else {}
    with_cache = lambda name, cache: f"{name}; K/V {cache}"
    cases = {name: (quantize, "auto") for name, quantize in FORMATS.items()}
    cases |= {with_cache(name, cache): (FORMATS[name], cache) for name, caches in CACHES.items() for cache in caches}
    for name, (quantize, cache) in cases.items():
        if name in memory or (a.only and name not in a.only):
            continue
        with tempfile.TemporaryDirectory() as folder:
            memory[name] = measure(a, quantize, cache, pathlib.Path(folder))
        a.memory.parent.mkdir(parents=True, exist_ok=True)
        a.memory.write_text(json.dumps(memory))
    tables = {
        MARK: list(FORMATS),
        f"{MARK}, K/V": [n for name, caches in CACHES.items() for n in [name] + [with_cache(name, c) for c in caches]]}
    for mark, names in tables.items():
        missing = [name for name in names if name not in memory]
        if missing:
            print(f"quantization_table: not measured yet: {', '.join(missing)}; {mark}: table left as it is", file=sys.stderr)
            continue
        a.page.write_text(place(a.page.read_text(), mark, {n: memory[n] for n in names}))
        print(f"{a.page}: {len(names)} formats")


if __name__ == "__main__":
    main()
