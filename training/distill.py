"""dParallel (arXiv 2509.26488): teaches the diffusion model to be certain early, on its own answers.  ``python training/distill.py``

1. The model answers fresh training prompts, at a threshold of 0.99: as right as one token per step (the card has the figures) at a tenth of
   the forwards, hence ten times the prompts.  Answers that the grader calls wrong are dropped.
2. A low-rank adapter learns those answers block by block: earlier blocks clean, the current one partly masked, later ones all
   masked.  Loss = CE + w * entropy of softmax(logits / T_e) where the prediction is already right: right *and* sure.  Each
   document is seen a second time with the mask of its current block inverted.
3. The adapter is merged; the folder under models/ has the layout of the model it came from.

We differ: the current block is masked at 50 % in two cases of five only, else at 50-100 % or wholly, since a whole block of
masks is what the first, most fruitful step sees; and the adapter covers every matrix of a layer, not only q, k, v and up.
"""
import argparse
import json
import os
import queue
import random
import sys
import threading
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
import documents
import evaluate
import export
import export_cases
import tasks
import tokenizer as tk
from model import Config, Rows, Tessera, choose_attention

BLOCK = 32
CAREFUL = .99  # threshold at which the teacher answers
MATRICES = ("qkv", "attn_out", "gate_up", "ff_out")
# Documents per family: deterministic tasks first; those with many right answers gain most from agreeing with oneself.
FAMILIES = dict(copy=.07, reverse=.10, sort=.24, insert=.08, remove=.06, replace=.07, shuffle=.06, insert_any=.03, remove_any=.02,
                replace_any=.03, arithmetic=.04, latin=.12, proof=.08)


# ---------------------------------------------------------------------------------------------- the teacher's answers

def make_prompts(source, tok, worker, workers, total, seed):
    """Yields lists of (prompt ids, canvas length, case); a canvas holds the answer and often a block or two more."""
    rng = random.Random(f"{seed}/distill/{worker}")
    left = total // workers
    while left > 0:
        docs = documents.draw(source, tok, rng, min(left, 512), FAMILIES)
        left -= len(docs)
        yield [(d["prompt"], max(64, -(-len(d["answer"]) // BLOCK) * BLOCK) + rng.choice((0, 0, 0, 32, 64)), d["case"]) for d in docs
               if len(d["prompt"]) + len(d["answer"]) < 300]


@torch.no_grad()
def answers(model, tok, prompts, budget):
    """The teacher's text -> (documents [(ids, prompt length, decided blocks)], share kept)."""
    kept, at = [], 0
    prompts = sorted(prompts, key=lambda p: len(p[0]) + p[1])
    while at < len(prompts):
        end, total = at, 0
        while end < len(prompts) and (end == at or total < budget):
            total += len(prompts[end][0]) + prompts[end][1]
            end += 1
        part = prompts[at:end]
        x, plen, length = evaluate._canvas([(p, c) for p, c, _ in part], tk.MASK, model.wte.device)
        evaluate.decode_diffusion(model, x, plen, length, CAREFUL, BLOCK)
        texts = evaluate._read(tok, x, plen, length, length)
        for (_, _, case), (text, _, _), row, p, n in zip(part, texts, x.tolist(), plen.tolist(), length.tolist()):
            ids = np.array(row[:n], np.int32)
            blocks = int((ids[p:] != tk.MASK).sum()) // BLOCK
            if blocks and tasks.grade(text, case):
                kept.append((ids, p, blocks))
        at = end
    return kept, len(kept) / max(1, len(prompts))


# ---------------------------------------------------------------------------------------------- noise

def noise(rng: np.random.Generator, doc):
    """One or two masked copies of a document -> [(tokens, rows to score)]: both masks of the current block together cover it."""
    ids, p, blocks = doc
    a = p + BLOCK * int(rng.integers(blocks))
    b = min(a + BLOCK, len(ids))
    r = rng.random()
    t = .5 if r < .4 else .5 + .5 * rng.random() if r < .7 else 1.0
    hide, out = rng.random(b - a) < t, []
    for m in (hide, ~hide):
        if m.any():
            x = ids.copy()
            x[a:b][m] = tk.MASK
            x[b:] = tk.MASK
            out.append((x, a + np.flatnonzero(m)))
    return out


def batches(docs, n_tokens, seed, max_docs):
    """Endless packed batches of exactly n_tokens, the rest filled by a document that nothing is asked about."""
    rng = np.random.default_rng(seed)
    while True:
        tokens, pos, target = (np.full(n_tokens, tk.EOS, np.int64) for _ in range(3))
        rows, cu, at = [], [0], 0
        while len(cu) < max_docs - 2:
            doc = docs[rng.integers(len(docs))]
            n = len(doc[0])
            if at + 2 * n > n_tokens - 1:
                break
            for x, where in noise(rng, doc):
                tokens[at:at + n], pos[at:at + n], target[at:at + n] = x, np.arange(n), doc[0]
                rows.append(at + where)
                at += n
                cu.append(at)
        while at < n_tokens:
            n = min(n_tokens - at, 512)
            pos[at:at + n] = np.arange(n)
            at += n
            cu.append(at)
        rows = np.concatenate(rows)
        yield dict(tokens=tokens, pos=pos, cu=np.array(cu + [n_tokens] * (max_docs - len(cu)), np.int32), rows=rows, targets=target[rows])


def prefetch(stream, device, depth=4):
    """Batches as tensors on the device, prepared by a thread; "groups" is read by the host and stays there."""
    ready = queue.Queue(maxsize=depth)

    def run():
        for b in stream:
            ready.put({k: torch.from_numpy(v) if k == "groups" else torch.from_numpy(v).to(device, non_blocking=True) for k, v in b.items()})
    threading.Thread(target=run, daemon=True).start()
    while True:
        yield ready.get()


# ---------------------------------------------------------------------------------------------- adapter and loss

class Adapter(torch.nn.Module):
    """W + B A for every matrix of every layer (LoRA, arXiv 2106.09685, alpha = rank); the model's own weights stay as they are."""

    def __init__(self, model: Tessera, rank: int):
        super().__init__()
        self.model, self.base = [model], {}
        g = torch.Generator().manual_seed(0)
        for name in MATRICES:
            w = getattr(model, name).detach()
            delattr(model, name)  # from here on a plain tensor that `merge` sets
            self.base[name] = w
            down = torch.randn(*w.shape[:-2], rank, w.shape[-1], generator=g) * w.shape[-1] ** -.5
            self.register_parameter(name + "_a", torch.nn.Parameter(down.to(w.device)))
            self.register_parameter(name + "_b", torch.nn.Parameter(torch.zeros(*w.shape[:-1], rank, device=w.device)))
        for p in model.parameters():
            p.requires_grad_(False)

    def merge(self):
        for name in MATRICES:
            setattr(self.model[0], name, self.base[name] + getattr(self, name + "_b") @ getattr(self, name + "_a"))

    def finish(self):
        """Gives the model parameters again, with the adapter in them."""
        with torch.no_grad():
            self.merge()
        for name in MATRICES:
            w = getattr(self.model[0], name).detach()
            delattr(self.model[0], name)
            setattr(self.model[0], name, torch.nn.Parameter(w))


def certainty_loss(logits, target, temperature: float):
    """logits [K, V] fp32 -> (mean CE, mean entropy in nats of softmax(logits / T) where the argmax is right, share right)."""
    logp = F.log_softmax(logits, -1)
    ce = F.nll_loss(logp, target)
    sharp = F.log_softmax(logits / temperature, -1)
    entropy = -(sharp.exp() * sharp).sum(-1)
    right = (logits.detach().argmax(-1) == target).float()
    return ce, (entropy * right).sum() / right.sum().clamp(min=1), right.mean()


# ---------------------------------------------------------------------------------------------- run

def grid(model, tok, cases, rules):
    """{rule name: scores by task}, one line each."""
    table = {}
    for name, how in rules.items():
        t0 = time.time()
        table[name] = evaluate.score(model, tok, cases, **how)
        print(f"{name} ({time.time() - t0:.0f} s): " + " ".join(f"{t} {r['score']:.1f}/{r['forwards']:.2f}" for t, r in table[name].items()), flush=True)
    return table


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--texts", type=Path, default=HERE.parent.parent / "shared/data/text")
    ap.add_argument("--build", type=Path, default=HERE / "build", help="caches: cleaned texts")
    ap.add_argument("--teacher", type=Path, default=HERE.parent / "models/tessera-diffusion")
    ap.add_argument("--out", type=Path, default=HERE.parent / "models/tessera-dparallel")
    ap.add_argument("--prompts", type=int, default=250000, help="prompts the teacher answers")
    ap.add_argument("--minutes", type=float, default=2.5, help="of training proper; the schedule is fitted to it")
    ap.add_argument("--steps", type=int, help="fixed number of steps instead")
    ap.add_argument("--rank", type=int, default=32)
    ap.add_argument("--lr", type=float, default=6e-4)
    ap.add_argument("--weight", type=float, default=2.0, help="w of the entropy term (2: the paper's for LLaDA)")
    ap.add_argument("--temperature", type=float, default=.5, help="T_e of the entropy term")
    ap.add_argument("--batch-tokens", type=int, default=65536)
    ap.add_argument("--seed", type=int, default=3)
    ap.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    ap.add_argument("--eval-cases", type=int, default=400, help="per task; fresh, held-out items, not models/heldout.jsonl")
    ap.add_argument("--no-compile", action="store_true")
    a = ap.parse_args()
    t_start = time.time()
    corpus = data.load_corpus(a.build, a.texts)
    tok_file = a.teacher / "tokenizer.json"
    tok = Tokenizer.from_file(str(tok_file))
    workers = documents.Workers(corpus, tok_file, make_prompts, (a.workers, a.prompts, a.seed), a.workers)
    prompts = [p for part in workers for p in part]
    workers.close()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    model = Tessera(Config(), False, choose_attention(device), torch.bfloat16 if gpu else torch.float32, compiled=gpu and not a.no_compile)
    export.load_weights(model, a.teacher / "model.safetensors").to(device)
    cases = export_cases.make_cases(corpus, a.eval_cases, seed=1000, names=export_cases.GRADED)
    rules = {"one_per_step": dict(threshold=None), "threshold=0.9": dict(threshold=.9), "threshold=0.99": dict(threshold=.99), "entropy=0.5": dict(entropy=.5),
             "entropy=0.1": dict(entropy=.1), "entropy=0.02": dict(entropy=.02)}
    print("before", flush=True)
    result = dict(before=grid(model, tok, cases, rules))

    t0 = time.time()
    docs, share = answers(model, tok, prompts, 2**19 if gpu else 1024)
    print(f"{len(prompts)} prompts answered in {time.time() - t0:.0f} s, {100 * share:.1f} % right and kept; {time.time() - t_start:.0f} s so far", flush=True)

    adapter = Adapter(model, a.rank)
    n_adapter = sum(p.numel() for p in adapter.parameters())
    opt = torch.optim.AdamW(adapter.parameters(), lr=a.lr, betas=(.9, .98), weight_decay=.01)
    stream = prefetch(batches(docs, a.batch_tokens, a.seed, a.batch_tokens // 64 + 64), device)
    step, t0, log, mark = 0, None, [], time.time()
    while True:
        elapsed = time.time() - t0 if t0 else 0.0
        progress = step / a.steps if a.steps else elapsed / (60 * a.minutes)
        if progress >= 1:
            break
        for g in opt.param_groups:
            g["lr"] = a.lr * min(1.0, (step + 1) / 50) * min(1.0, (1 - progress) / .7)
        b = next(stream)
        adapter.merge()
        h, wte = model.hidden(b["tokens"], b["pos"], b["cu"], data.MAX_DOC)
        ce, entropy, right = certainty_loss(F.linear(Rows.apply(h, b["rows"]), wte).float(), b["targets"], a.temperature)
        (ce + a.weight * entropy).backward()
        torch.nn.utils.clip_grad_norm_(adapter.parameters(), 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        step += 1
        if t0 is None:  # compiling is over
            if gpu:
                torch.cuda.synchronize()
            t0 = time.time()
        if step % 200 == 0 or step in (1, 20) or not gpu:
            log.append(dict(step=step, seconds=round(time.time() - t0), ce=round(ce.item(), 4), entropy=round(entropy.item(), 4), right=round(right.item(), 4)))
            print(log[-1], f"{(time.time() - mark):.1f} s", flush=True)
            mark = time.time()
    seconds = time.time() - t0
    adapter.finish()
    model.cpu()
    export.write_model_folder(a.out, model, tok, strategy="threshold=0.99")
    export.load_weights(model, a.out / "model.safetensors").to(device)  # the exported bf16 weights are what is scored
    print("after", flush=True)
    result.update(after=grid(model, tok, cases, rules), adapter_parameters=n_adapter, steps=step, seconds=round(seconds), batch_tokens=a.batch_tokens,
                  prompts=len(prompts), kept=len(docs), rank=a.rank, lr=a.lr, entropy_weight=a.weight, entropy_temperature=a.temperature, seed=a.seed,
                  device=torch.cuda.get_device_name() if gpu else "cpu", torch=torch.__version__, log=log, families=FAMILIES)
    (a.out / "training.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")
    print(f"{step} steps in {seconds:.0f} s; done after {time.time() - t_start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
