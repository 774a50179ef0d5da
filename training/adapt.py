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
LENGTHS = (32, 64, 96, 128, 160, 192, 256, 384)  # padded lengths of documents
FILL_WEIGHT = .3  # of end-of-text after the first


def block_attention(q, k, v, parts, max_len, causal):
    """q, k, v [N, heads, hd]; parts: (begin, end, mask [S, S], True = visible), runs of whole rows of S tokens.  The rest is padding."""
    out, at = [], 0
    for begin, end, mask in parts:
        rows = lambda t: t[begin:end].view(-1, mask.shape[0], *t.shape[1:]).transpose(1, 2)
        out.append(F.scaled_dot_product_attention(rows(q), rows(k), rows(v), attn_mask=mask).transpose(1, 2).reshape(end - begin, *q.shape[1:]))
        at = end
    return torch.cat((*out, q.new_zeros(q.shape[0] - at, *q.shape[1:])))


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
    """Endless batches of at most n_tokens rows.  A document is padded to the next of LENGTHS; those of one length lie together."""
    rng, nrng = random.Random(f"{seed}/adapt/{worker}"), np.random.default_rng((seed, worker))
    families = {f: data.MIX[f][2] for f in data.MIX if f != "long"}
    waiting, rows = [], 0
    while True:
        for d in documents.draw(source, tok, rng, 256, families):
            p, ids = len(d["prompt"]), d["prompt"] + d["answer"]
            if d["case"] is None:  # running text: cut at a whole block
                ids = ids[:min(len(ids), LENGTHS[-1]) // block * block]
            length = -(-len(ids) // block) * block
            if length > LENGTHS[-1] or len(ids) <= p:
                continue
            padded = next(n for n in LENGTHS if n >= length)
            if rows + 3 * padded > n_tokens:
                yield pack(waiting, n_tokens, block)
                waiting, rows = [], 0
            full = np.full(padded, tk.EOS, np.int64)
            full[:len(ids)] = ids
            first, second = draw_masks(nrng, padded, p, block)
            first[length:] = second[length:] = False  # beyond the last block of the document: nobody's
            waiting.append((full, len(ids), first, second))
            rows += 3 * padded


def pack(docs, n_tokens, block):
    """-> tokens, pos [n_tokens]; rows, targets, weights [K]; groups: (padded length, documents).

    Three copies (noisy, noisy, clean) of a document lie next to each other.
    """
    docs = sorted(docs, key=lambda d: len(d[0]))
    tokens, pos = np.full(n_tokens, tk.EOS, np.int64), np.zeros(n_tokens, np.int64)
    rows, targets, weights, groups, begin = [], [], [], [], 0
    for length in LENGTHS:
        part = [d for d in docs if len(d[0]) == length]
        if not part:
            continue
        ids, end = np.stack([d[0] for d in part]), np.array([d[1] for d in part])
        masks = np.stack([np.stack([d[2] for d in part]), np.stack([d[3] for d in part])])  # [2, D, L]
        x = np.stack([np.where(masks[0], tk.MASK, ids), np.where(masks[1], tk.MASK, ids), ids], 1)  # [D, 3, L]
        tokens[begin:begin + x.size] = x.ravel()
        pos[begin:begin + x.size] = np.broadcast_to(np.arange(length), x.shape).ravel()
        copy, d, at = masks.nonzero()
        read = np.where(at % block == 0, 2, copy)  # shifted: the row before predicts; before a block that is the clean one
        rows.append(begin + d * 3 * length + read * length + at - 1)
        targets.append(ids[d, at])
        weights.append(np.where(at < end[d], 1.0, FILL_WEIGHT).astype(np.float32))
        groups.append((length, len(part)))
        begin += x.size
    return dict(tokens=tokens, pos=pos, rows=np.concatenate(rows), targets=np.concatenate(targets), weights=np.concatenate(weights),
                groups=np.array(groups))


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
        logits = model.logits(xa.reshape(-1), col.expand_as(xa).reshape(-1), [(0, xa.numel(), mask)], width, row * width + column - 1)
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


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--texts", type=Path, default=HERE.parent.parent / "shared/data/text")
    ap.add_argument("--build", type=Path, default=HERE / "build", help="caches: cleaned texts")
    ap.add_argument("--base", type=Path, default=HERE.parent / "models/tessera-ar")
    ap.add_argument("--init", type=Path, help="go on from these adapted weights instead of the base's")
    ap.add_argument("--out", type=Path, default=HERE.parent / "models/tessera-blockdiff")
    ap.add_argument("--minutes", type=float, default=5.0, help="of training proper; the schedule is fitted to it")
    ap.add_argument("--steps", type=int, help="fixed number of steps instead")
    ap.add_argument("--peak", type=float, default=.5, help="factor on the learning rates of train.py")
    ap.add_argument("--batch-tokens", type=int, default=98304, help="rows of a forward: three per token of a document")
    ap.add_argument("--seed", type=int, default=4)
    ap.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    ap.add_argument("--watch-seconds", type=float, default=60)
    ap.add_argument("--eval-cases", type=int, default=400, help="per task; fresh, held-out items, not models/heldout.jsonl")
    ap.add_argument("--eval-thresholds", type=float, nargs="*", default=[2.0, .99, .95, .9, .8], help="above 1: one token per step")
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
    export.load_weights(model, a.init or a.base / "model.safetensors").to(device)
    opts = optim.optimizers(model, .02, .003)
    masks = {n: training_mask(n, BLOCK, device) for n in LENGTHS}
    watch = export_cases.make_cases(corpus, 40, seed=555, names=train.WATCH)
    stream = distill.prefetch(workers, device)
    step, tokens, t0, log, next_watch, mark, wait = 0, 0, None, [], a.watch_seconds, time.time(), 0.0
    while True:
        elapsed = time.time() - t0 if t0 else 0.0
        progress = step / a.steps if a.steps else elapsed / (60 * a.minutes)
        if progress >= 1:
            break
        for o in opts:
            for g in o.param_groups:
                g["lr"] = g["peak"] * a.peak * train.shape(progress, warm=.03, hold=.3)
        w = time.time()
        b = next(stream)
        wait += time.time() - w
        parts, begin = [], 0
        for length, count in b["groups"].tolist():
            parts.append((begin, begin + 3 * length * count, masks[length]))
            begin = parts[-1][1]
            tokens += length * count
        h, wte = model.hidden(b["tokens"], b["pos"], parts, 0)
        logits = F.linear(Rows.apply(h, b["rows"]), wte).float()
        loss = (F.cross_entropy(logits, b["targets"], reduction="none") * b["weights"]).sum() / b["weights"].sum()
        loss.backward()
        for o in opts:
            o.step()
        model.zero_grad(set_to_none=True)
        step += 1
        if t0 is None:  # compiling is over
            if gpu:
                torch.cuda.synchronize()
            t0 = time.time()
        if step % 200 == 0 or step in (1, 20) or not gpu:
            log.append(dict(step=step, seconds=round(time.time() - t0), tokens=tokens, loss=round(loss.item(), 4)))
            print(log[-1], f"{time.time() - mark:.1f} s, waited {wait:.1f} s", flush=True)
            mark = time.time()
        if time.time() - t0 > next_watch:
            next_watch += a.watch_seconds
            s = evaluate.score(model, tok, watch, decoder=decode_blocks)
            print("watch: " + " ".join(f"{k} {v['score']:.0f}/{v['forwards']:.1f}" for k, v in s.items()), flush=True)
    workers.close()
    seconds = time.time() - t0
    model.cpu()
    export.write_block_folder(a.out, model, tok, BLOCK, strategy="threshold=0.97,strict=on,cache=exact,finalise=fused,sub_cache=on,confidence=plain")
    export.load_weights(model, a.out / "model.safetensors").to(device)  # the exported bf16 weights are what is scored
    cases = export_cases.make_cases(corpus, a.eval_cases, seed=1000, names=export_cases.GRADED)
    rules = {f"threshold={t}": dict(decoder=lambda *args, t=t: decode_blocks(*args, threshold=t)) for t in a.eval_thresholds}
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
