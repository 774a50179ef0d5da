"""Learn2PD (arXiv 2509.25188): a filter of 2112 numbers that says which predictions are already final.

``python training/learn2pd.py collect --tessera build/release/apps/cli/tessera`` lets the engine answer fresh training prompts one token
per step (`tessera run`), then makes the oracle run against those answers (`tessera logits` on every canvas): a step records the
confidences of the block's 32 positions, decided ones included, and whether each prediction equals the answer; exactly the right
ones are committed; a step that is right nowhere fills the block.  Past the end of the answer every prediction counts as right.

``python training/learn2pd.py train`` fits two fully connected layers to those records and writes the filter: fc1.weight [32, 32],
fc1.bias, fc2.weight [32, 32], fc2.bias.  The paper does not name the function between the layers; both candidates are fitted.
Seconds on a CPU.

We differ: records are split into training, validation and test by prompt, not by step, so that no prompt is on two sides.
"""
import argparse
import gzip
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np
from tokenizers import Tokenizer

import data
import documents
import tokenizer as tk

BLOCK = 32
FAMILIES = dict(copy=.08, reverse=.12, sort=.24, insert=.10, remove=.06, replace=.08, shuffle=.04, insert_any=.02, remove_any=.02, replace_any=.02,
                arithmetic=.06, latin=.08, proof=.08)


# ---------------------------------------------------------------------------------------------- the engine's runs

def engine(a, *args):
    return json.loads(subprocess.run([a.tessera, *args], check=True, capture_output=True, text=True).stdout)


def predictions(a, canvas, begin, end):
    """One forward of the engine over `canvas` -> (best token, its probability) at [begin, end), the mask token banned."""
    out = engine(a, "logits", str(a.model), "--ids", ",".join(map(str, canvas)))
    logits = np.array(out["logits"][begin:end] if isinstance(out["logits"][0], list) else
                      np.reshape(out["logits"], (len(canvas), -1))[begin:end], np.float64)
    lse = np.logaddexp.reduce(logits, 1)  # as the engine: a banned token stays in the normaliser
    logits[:, tk.MASK] = -np.inf
    return logits.argmax(1), np.exp(logits.max(1) - lse)


def oracle(a, prompt, length):
    """Records of one prompt, [(32 confidences, 32 labels)], and the forwards both runs took."""
    ids = ",".join(map(str, prompt))
    out = engine(a, "run", "-m", str(a.model), "--ids", ids, "-n", str(length), "--strategy", "threshold=2", "--json")
    answer = out["ids"] + ([tk.EOT] if out["finish_reason"] == "stop" else [])
    canvas, records = prompt + [tk.MASK] * length, []
    for begin in range(len(prompt), len(prompt) + len(answer), BLOCK):
        end = min(begin + BLOCK, len(canvas))
        want = np.full(end - begin, -1)
        part = answer[begin - len(prompt):end - len(prompt)]
        want[:len(part)] = part
        while any(t == tk.MASK for t in canvas[begin:end]):
            token, confidence = predictions(a, canvas, begin, end)
            right = (want < 0) | (token == want)
            records.append((confidence.astype(np.float32), right))
            open_ = np.array(canvas[begin:end]) == tk.MASK
            take = open_ & right if (open_ & right).any() else open_
            for i in np.flatnonzero(take):
                canvas[begin + i] = int(token[i] if want[i] < 0 or right[i] else want[i])
    return records, out["metrics"]["forwards"]["total"]


def collect(a):
    corpus = data.load_corpus(a.build, a.texts)
    tok = Tokenizer.from_file(str(a.model / "tokenizer.json"))
    source, rng = data.Source(corpus), random.Random(f"{a.seed}/learn2pd")
    source.refine(tok)
    docs = [d for d in documents.draw(source, tok, rng, a.prompts, FAMILIES) if len(d["prompt"]) + len(d["answer"]) < 300]
    steps = base = 0
    with gzip.open(a.records[0], "wt") as out, ThreadPoolExecutor(a.workers) as pool:
        runs = pool.map(lambda d: oracle(a, d["prompt"], max(64, -(-len(d["answer"]) // BLOCK) * BLOCK)), docs)
        for i, (d, (records, forwards)) in enumerate(zip(docs, runs)):
            base, steps = base + forwards, steps + len(records)
            for confidence, right in records:
                row = dict(prompt=i, family=d["family"], confidence=[round(float(c), 6) for c in confidence], right=right.astype(int).tolist())
                out.write(json.dumps(row) + "\n")
            if (i + 1) % 50 == 0:
                out.flush()
                print(f"{i + 1} prompts: {base / (i + 1):.1f} forwards one per step, {steps / (i + 1):.2f} by the oracle", flush=True)


# ---------------------------------------------------------------------------------------------- the filter

def read_records(files):
    rows, first = [], 0
    for file in files:
        with gzip.open(file, "rt") as f:
            try:
                for line in f:
                    rows.append(json.loads(line))
                    rows[-1]["prompt"] += first
            except (EOFError, json.JSONDecodeError):  # a collection that was stopped: what is whole counts
                pass
        first = rows[-1]["prompt"] + 1 if rows else 0
    rows = [r for r in rows if len(r["confidence"]) == BLOCK]
    return np.array([r["prompt"] for r in rows]), np.array([r["confidence"] for r in rows], np.float32), np.array([r["right"] for r in rows], np.float32)


def make_filter(activation, seed):
    import torch
    torch.manual_seed(seed)
    middle = [torch.nn.ReLU()] if activation == "relu" else []
    return torch.nn.Sequential(torch.nn.Linear(BLOCK, BLOCK), *middle, torch.nn.Linear(BLOCK, BLOCK))


def quality(logits, label, confidence, accept):
    """Of the positions accepted: share that is right, and share of the right ones found; positions not yet sure only (below 0.9999)."""
    import torch
    open_ = confidence < .9999
    take = (torch.sigmoid(logits) > accept) & open_
    right = (label > .5) & open_
    return (take & right).sum().item() / max(1, take.sum().item()), (take & right).sum().item() / max(1, right.sum().item())


def train(a):
    import torch
    from safetensors.torch import save_file
    prompt, confidence, right = read_records(a.records)
    part = np.array([random.Random(f"{a.seed}/{p}").random() for p in range(prompt.max() + 1)])[prompt]
    x, y = torch.from_numpy(confidence), torch.from_numpy(right)
    split = {n: torch.from_numpy(m) for n, m in (("train", part < .8), ("validation", (part >= .8) & (part < .9)), ("test", part >= .9))}
    print(f"{len(x)} steps of {len(set(prompt.tolist()))} prompts, {100 * right.mean():.1f} % of predictions right")
    loss_of, best, log = torch.nn.BCEWithLogitsLoss(), None, {}
    for activation in ("relu", "none"):
        net, least, state = make_filter(activation, a.seed), 1e9, None
        opt = torch.optim.AdamW(net.parameters(), lr=3e-3)
        for epoch in range(a.epochs):
            loss = loss_of(net(x[split["train"]]), y[split["train"]])
            opt.zero_grad()
            loss.backward()
            opt.step()
            if epoch % 50 == 0:
                with torch.no_grad():
                    v = loss_of(net(x[split["validation"]]), y[split["validation"]]).item()
                if v < least:
                    least, state, at = v, {k: t.clone() for k, t in net.state_dict().items()}, epoch
        net.load_state_dict(state)
        with torch.no_grad():
            z, t = net(x[split["test"]]), split["test"]
            log[activation] = dict(validation_loss=round(least, 5), test_loss=round(loss_of(z, y[t]).item(), 5), epoch=at)
            log[activation].update({f"accept {q}": [round(v, 4) for v in quality(z, y[t], x[t], q)] for q in (.9, .96, .99)})
            log[activation]["threshold 0.9"] = [round(v, 4) for v in quality(torch.logit(x[t].clamp(1e-6, 1 - 1e-6)), y[t], x[t], .9)]
        print(activation, log[activation], flush=True)
        if best is None or least < best[0]:
            best = (least, activation, state)
    names = {"0.weight": "fc1.weight", "0.bias": "fc1.bias"}
    state = {names.get(k, "fc2." + k.split(".")[1]): v.float().contiguous() for k, v in best[2].items()}
    a.out.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, str(a.out), metadata={"format": "pt", "activation": best[1], "block": str(BLOCK), "model": a.model.name})
    a.out.with_suffix(".json").write_text(json.dumps(dict(activation=best[1], steps=len(x), prompts=len(set(prompt.tolist())), epochs=a.epochs, seed=a.seed,
                                                          right=round(float(right.mean()), 4), **log), indent=1) + "\n")
    print(f"{best[1]} -> {a.out}, {a.out.stat().st_size} bytes")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("verb", choices=("collect", "train"))
    ap.add_argument("--tessera", default=str(HERE.parent / "build/release/apps/cli/tessera"), help="the built command line")
    ap.add_argument("--model", type=Path, default=HERE.parent / "models/tessera-diffusion")
    ap.add_argument("--texts", type=Path, default=HERE.parent.parent / "shared/data/text")
    ap.add_argument("--build", type=Path, default=HERE / "build", help="caches: cleaned texts")
    ap.add_argument("--records", type=Path, nargs="+", default=[HERE / "build/learn2pd.jsonl.gz"], help="several: collected with different seeds")
    ap.add_argument("--out", type=Path, default=HERE.parent / "models/tessera-diffusion-learn2pd/filter.safetensors")
    ap.add_argument("--prompts", type=int, default=2640)
    ap.add_argument("--epochs", type=int, default=6000)
    ap.add_argument("--seed", type=int, default=6)
    ap.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    a = ap.parse_args()
    dict(collect=collect, train=train)[a.verb](a)


if __name__ == "__main__":
    main()
