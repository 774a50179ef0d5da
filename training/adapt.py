"""Fast-dLLM v2 (arXiv 2509.26328): turns the AR twin into a block-diffusion model.  ``python training/adapt.py``

Every document stands three times in a row of attention: two noisy copies with complementary masks, and a clean one.  Noisy block k
sees itself and the clean blocks before it; clean block k sees clean blocks up to itself.  The loss is next-token cross-entropy on
masked positions (logits stay shifted by one, as in the AR model), so one forward trains both masks against one clean half.

We differ: the first position of a block is predicted by the *clean* row before it, which is the row that decoding reads (the
published recipe takes the noisy one); answers are filled with end-of-text to the end of their block, at a lower weight; one document in
four has everything masked in its first copy (decoding starts there) and an independent mask in its second.
"""
import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import data
import distill
import documents
import evaluate
import export
import export_cases
import optim
import tokenizer as tk
import train
from model import Config, Rows, Tessera, choose_attention

BLOCK = 32
LONGEST = 384   # tokens of the longest document
FILL_WEIGHT = .3  # of end-of-text after the first


def block_attention(q, k, v, mask, max_len, causal):
    """q, k, v [N, heads, hd]: whole rows of mask.shape[0] tokens, then padding that is nobody's; mask [S, S], True = visible."""
    s = mask.shape[0]
    n = q.shape[0] // s * s
    part = lambda t: t[:n].view(-1, s, *t.shape[1:]).transpose(1, 2)
    o = F.scaled_dot_product_attention(part(q), part(k), part(v), attn_mask=mask).transpose(1, 2).reshape(n, *q.shape[1:])
    return F.pad(o, (0, 0, 0, 0, 0, q.shape[0] - n))


def training_mask(length: int, block: int, device):
    """[3 L, 3 L] for (noisy | noisy | clean) copies of a document of ``length`` tokens."""
    i = torch.arange(3 * length, device=device)
    copy, b = i // length, i % length // block
    clean = copy == 2
    same = (copy[:, None] == copy[None]) & (b[:, None] == b[None])
    before = clean[None] & torch.where(clean[:, None], b[None] <= b[:, None], b[None] < b[:, None])
    return same | before


def decoding_mask(length: int, block: int, device):
    b = torch.arange(length, device=device) // block
    return b[None] <= b[:, None]


# ---------------------------------------------------------------------------------------------- data

def draw_masks(rng: np.random.Generator, length: int, prompt: int, block: int):
    """Two masks [length] over a document whose first ``prompt`` tokens are given; rates uniform per block."""
    u, t = rng.random(length), np.repeat(1e-3 + (1 - 1e-3) * rng.random(length // block), block)
    first = u < t
    second = ~first
    if rng.random() < .25:
        first = np.ones(length, bool)
        second = u < t
        second[::block] = False  # the clean row that predicts a block's first position is asked once
    for m in (first, second):
        m[:prompt] = False
    return first, second


def make_batches(source, tok, worker, n_tokens, seed, block):
    """Endless batches of documents of one padded length L: arrays [D, L] with 3 D L as near below n_tokens as it gets."""
    rng, nrng = random.Random(f"{seed}/adapt/{worker}"), np.random.default_rng((seed, worker))
    families = {f: data.MIX[f][2] for f in data.MIX if f != "long"}
    waiting = {}
    while True:
        for d in documents.draw(source, tok, rng, 256, families):
            p, ids = len(d["prompt"]), d["prompt"] + d["answer"]
            if d["case"] is None:  # running text: cut at a whole block
                ids = ids[:min(len(ids), LONGEST) // block * block]
            length = -(-len(ids) // block) * block
            if length > LONGEST or len(ids) <= p:
                continue
            full = np.full(length, tk.EOS, np.int64)
            full[:len(ids)] = ids
            bucket = waiting.setdefault(length, [])
            bucket.append((full, len(ids), *draw_masks(nrng, length, p, block)))
            if len(bucket) == n_tokens // (3 * length):
                yield pack(waiting.pop(length), length, n_tokens, block)


def pack(docs, length, n_tokens, block):
    """-> tokens, pos [n_tokens]; rows, targets, weights [K]; length.  Copies of a document lie next to each other."""
    ids = np.stack([d[0] for d in docs])
    end = np.array([d[1] for d in docs])
    masks = np.stack([np.stack([d[2] for d in docs]), np.stack([d[3] for d in docs])])  # [2, D, L]
    x = np.stack([np.where(masks[0], tk.MASK, ids), np.where(masks[1], tk.MASK, ids), ids], 1)  # [D, 3, L]
    tokens, pos = np.full(n_tokens, tk.EOS, np.int64), np.zeros(n_tokens, np.int64)
    tokens[:x.size] = x.ravel()
    pos[:x.size] = np.broadcast_to(np.arange(length), x.shape).ravel()
    copy, d, at = masks.nonzero()
    source = np.where(at % block == 0, 2, copy)  # shifted: the row before predicts; before a block that is the clean one
    return dict(tokens=tokens, pos=pos, rows=d * 3 * length + source * length + at - 1, targets=ids[d, at],
                weights=np.where(at < end[d], 1.0, FILL_WEIGHT).astype(np.float32), length=np.array(length), documents=np.array(len(docs)))


# ---------------------------------------------------------------------------------------------- decoding, for scores while training

@torch.no_grad()
def decode_blocks(model, x, plen, total, threshold=.9, block=BLOCK):
    """Fills x [D, L] block by block -> (where each row stops, forwards); whole blocks from position 0, no cache."""
    device, width = x.device, -(-x.shape[1] // block) * block
    x_in = F.pad(x, (0, width - x.shape[1]), value=tk.MASK)
    mask = decoding_mask(width, block, device)
    col = torch.arange(width, device=device)[None]
    forwards, alive = torch.zeros_like(plen), torch.ones_like(plen, dtype=torch.bool)
    stop = total.clone()
    while alive.any():
        idx = alive.nonzero()[:, 0]
        xa = x_in[idx]
        open_ = (xa == tk.MASK) & (col >= plen[idx][:, None])
        blk = open_.float().argmax(1) // block  # of the first undecided position
        live = open_ & (col // block == blk[:, None])
        row, column = live.nonzero(as_tuple=True)
        logits = model.logits(xa.reshape(-1), col.expand_as(xa).reshape(-1), mask, width, row * width + column - 1)
        logits[:, tk.MASK] = -float("inf")
        conf, guess = logits.softmax(-1).max(-1)
        grid = torch.full(live.shape, -1.0, device=device)
        grid[row, column] = conf
        take = torch.zeros_like(live)
        take[torch.arange(len(idx), device=device), grid.argmax(1)] = True
        take |= grid > threshold
        chosen = take[row, column]
        xa[row[chosen], column[chosen]] = guess[chosen]
        x_in[idx] = xa
        forwards[idx] += 1
        open_ = (xa == tk.MASK) & (col >= plen[idx][:, None])
        first_open = torch.where(open_.any(1), open_.float().argmax(1), width)
        ends = ((xa == tk.EOS) | (xa == tk.EOT)) & (col >= plen[idx][:, None])
        first_end = torch.where(ends.any(1), ends.float().argmax(1), width)
        alive[idx] = ~((first_end < first_open) | (first_open >= total[idx]))
    x.copy_(x_in[:, :x.shape[1]])
    return stop, forwards


def batches_on(device, stream):
    for b in distill.prefetch(stream, device):
        yield b


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--texts", type=Path, default=HERE.parent.parent / "shared/data/text")
    ap.add_argument("--build", type=Path, default=HERE / "build", help="caches: cleaned texts")
    ap.add_argument("--base", type=Path, default=HERE.parent / "models/tessera-ar")
    ap.add_argument("--out", type=Path, default=HERE.parent / "models/tessera-blockdiff")
    ap.add_argument("--minutes", type=float, default=5.0, help="of training proper; the schedule is fitted to it")
    ap.add_argument("--steps", type=int, help="fixed number of steps instead")
    ap.add_argument("--peak", type=float, default=.5, help="factor on the learning rates of train.py")
    ap.add_argument("--batch-tokens", type=int, default=98304, help="rows of a forward: three per token of a document")
    ap.add_argument("--seed", type=int, default=4)
    ap.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    ap.add_argument("--watch-seconds", type=float, default=60)
    ap.add_argument("--eval-cases", type=int, default=400, help="per task; fresh, held-out items, not models/heldout.jsonl")
    ap.add_argument("--no-compile", action="store_true")
    a = ap.parse_args()
    t_start = time.time()
    corpus = data.load_corpus(a.build, a.texts)
    tok_file = a.base / "tokenizer.json"
    tok = Tokenizer.from_file(str(tok_file))
    workers = documents.Workers(corpus, tok_file, make_batches, (a.batch_tokens, a.seed, BLOCK), a.workers, depth=3)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    dtype = torch.bfloat16 if gpu else torch.float32
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    model = Tessera(Config(), True, block_attention, dtype, compiled=gpu and not a.no_compile)
    export.load_weights(model, a.base / "model.safetensors").to(device)
    opts = optim.optimizers(model, .02, .003)
    masks = {n: training_mask(n, BLOCK, device) for n in range(BLOCK, LONGEST + 1, BLOCK)}
    watch = export_cases.make_cases(corpus, 40, seed=555, names=train.WATCH)
    stream = batches_on(device, workers)
    step, tokens, t0, log, next_watch, mark = 0, 0, None, [], a.watch_seconds, time.time()
    while True:
        elapsed = time.time() - t0 if t0 else 0.0
        progress = step / a.steps if a.steps else elapsed / (60 * a.minutes)
        if progress >= 1:
            break
        for o in opts:
            for g in o.param_groups:
                g["lr"] = g["peak"] * a.peak * train.shape(progress, warm=.03, hold=.3)
        b = next(stream)
        h, wte = model.hidden(b["tokens"], b["pos"], masks[int(b["length"])], 0)
        logits = F.linear(Rows.apply(h, b["rows"]), wte).float()
        loss = (F.cross_entropy(logits, b["targets"], reduction="none") * b["weights"]).sum() / b["weights"].sum()
        loss.backward()
        for o in opts:
            o.step()
        model.zero_grad(set_to_none=True)
        step += 1
        tokens += int(b["length"]) * int(b["documents"])
        if t0 is None:  # compiling is over
            if gpu:
                torch.cuda.synchronize()
            t0 = time.time()
        if step % 200 == 0 or step in (1, 20) or not gpu:
            log.append(dict(step=step, seconds=round(time.time() - t0), tokens=tokens, loss=round(loss.item(), 4)))
            print(log[-1], f"{time.time() - mark:.1f} s", flush=True)
            mark = time.time()
        if time.time() - t0 > next_watch:
            next_watch += a.watch_seconds
            s = evaluate.score(model, tok, watch, decoder=decode_blocks)
            print("watch: " + " ".join(f"{k} {v['score']:.0f}/{v['forwards']:.1f}" for k, v in s.items()), flush=True)
    workers.close()
    seconds = time.time() - t0
    model.cpu()
    export.write_block_folder(a.out, model, tok, BLOCK, strategy="threshold=0.9,strict=on,cache=exact,finalise=fused")
    export.load_weights(model, a.out / "model.safetensors").to(device)  # the exported bf16 weights are what is scored
    cases = export_cases.make_cases(corpus, a.eval_cases, seed=1000, names=export_cases.GRADED)
    rules = {f"threshold={t}": dict(decoder=lambda *args, t=t: decode_blocks(*args, threshold=t)) for t in (2.0, .95, .9, .8)}
    print("after", flush=True)
    scores = dict(after=distill.grid(model, tok, cases, rules))
    twin = Tessera(Config(), True, choose_attention(device), dtype)
    export.load_weights(twin, a.base / "model.safetensors").to(device)
    print("before: the AR twin, and the adapted model decoding as one", flush=True)
    scores["before"] = distill.grid(twin, tok, cases, {"ar": {}})
    model.attention = twin.attention
    scores["after"].update(distill.grid(model, tok, cases, {"ar": {}}))
    result = dict(steps=step, seconds=round(seconds), document_tokens=tokens, batch_tokens=a.batch_tokens, peak=a.peak, seed=a.seed, fill_weight=FILL_WEIGHT,
                  device=torch.cuda.get_device_name() if gpu else "cpu", torch=torch.__version__, log=log, **scores)
    (a.out / "training.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")
    print(f"{step} steps, {tokens / 1e6:.0f}M document tokens in {seconds:.0f} s; done after {time.time() - t_start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
