"""ADJUST (arXiv 2509.22738): one layer that samples several tokens of a forward jointly.  ``python training/joint.py``

A full forward gives hidden states h.  After each token that is committed from it, the layer re-reads the canvas and corrects h, so
that the next token of the same forward knows the ones before it: z = A h + B E[x], one bidirectional transformer layer on z, the
model's own head on the result.  A begins as the identity and everything else as nothing, so an untrained layer changes nothing.

Training: the frozen model writes its own trajectories (half of them greedy, half at temperature 1; the most confident position first),
re-run after every single commit.  In every group of K commits the layer sees h of the group's first forward and the canvas after
1 .. K-1 commits, and learns the re-run model's distribution at the masked positions of the block: KL, once over all of them and
once more over the position that comes next.
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

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import nn

import data
import distill
import documents
import evaluate
import export
import export_cases
import optim
import tokenizer as tk
from model import Config, Tessera, after_attention, before_attention, choose_attention

BLOCK = 32
FAMILIES = dict(shuffle=.16, insert_any=.09, remove_any=.08, replace_any=.09, latin=.22, sort=.14, reverse=.04, copy=.02, insert=.03, remove=.02,
                replace=.03, proof=.06, story=.02)
MULTI = ["shuffle", "insert_any", "remove_any", "replace_any", "latin_make", "sort", "sort_7_8", "reverse_7_8", "latin_complete", "copy"]


class Joint(nn.Module):
    """Parameters in fp32, computed in the model's type; names as `save` writes them."""

    def __init__(self, cfg: Config, attention, dtype):
        super().__init__()
        self.cfg, self.attention, self.dtype = cfg, attention, dtype
        d, f = cfg.d_model, cfg.mlp
        g = torch.Generator().manual_seed(0)
        init = lambda *shape: nn.Parameter(torch.randn(*shape, generator=g) * shape[-1] ** -.5)
        self.hidden, self.token = nn.Parameter(torch.eye(d)), nn.Parameter(torch.zeros(d, d))
        self.qkv, self.gate_up = init(3, d, d), init(2, f, d)
        self.attn_out, self.ff_out = nn.Parameter(torch.zeros(d, d)), nn.Parameter(torch.zeros(d, f))
        self.attn_norm, self.ff_norm = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))

    def forward(self, h, embedded, cos, sin, cu, longest):
        """h, embedded [N, d] -> corrected h [N, d]."""
        c, w = self.cfg, {k: p.to(self.dtype) for k, p in self.named_parameters()}
        z = F.linear(h, w["hidden"]) + F.linear(embedded, w["token"])
        q, k, v = before_attention(z, w["attn_norm"], w["qkv"], cos, sin, c.n_heads, c.eps)
        a = self.attention(q, k, v, cu, longest, False)
        return after_attention(z, a.reshape(z.shape), w["attn_out"], w["ff_norm"], w["gate_up"], w["ff_out"], c.eps)

    def tensors(self):
        one = dict(hidden=self.hidden, token=self.token, attn_norm=self.attn_norm, ff_norm=self.ff_norm, q_proj=self.qkv[0], k_proj=self.qkv[1],
                   v_proj=self.qkv[2], attn_out=self.attn_out, ff_proj=self.gate_up[0], up_proj=self.gate_up[1], ff_out=self.ff_out)
        return {f"joint.{k}.weight": v.data for k, v in one.items()}

    def save(self, file: Path):
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.bfloat16().cpu().contiguous().clone() for k, v in self.tensors().items()}, str(file), metadata={"format": "pt"})

    def load(self, file: Path):
        state = load_file(str(file))
        for k, v in self.tensors().items():
            v.copy_(state[k])
        return self


class Group:
    """Canvases [D, L] between a full forward and the next: the rows that are still open and what the model says of them."""

    def __init__(self, model, x, total, begin, end):
        self.model, self.x, self.total = model, x, total
        col = torch.arange(x.shape[1], device=x.device)[None]
        self.inside = (col >= begin[:, None]) & (col < end[:, None])
        self.hidden0, self.wte = self.run()

    def run(self):
        with torch.no_grad():
            self.tokens, self.pos, self.cu, self.longest = evaluate.pack(self.x, self.total)
            return self.model.hidden(self.tokens, self.pos, self.cu, self.longest)

    def corrected(self, joint):
        self.tokens, _, _, _ = evaluate.pack(self.x, self.total)
        m = self.model
        return joint(self.hidden0, F.embedding(self.tokens, self.wte), m.cos[self.pos], m.sin[self.pos], self.cu, self.longest)

    def open_rows(self):
        self.row, self.column = ((self.x == tk.MASK) & self.inside).nonzero(as_tuple=True)
        return self.cu[self.row].long() + self.column

    def log_probs(self, hidden, rows):
        logits = F.linear(hidden[rows], self.wte).float()
        logits[:, tk.MASK] = -float("inf")
        return F.log_softmax(logits, -1)

    def commit(self, logp, temperature, count=1):
        """Per canvas the `count` most confident open positions get their best token, or a sampled one; -> which open rows."""
        best = logp.max(-1).values
        grid = torch.full(self.x.shape, -float("inf"), device=self.x.device)
        grid[self.row, self.column] = best
        top = grid.topk(min(count, grid.shape[1]), 1)
        take = torch.zeros_like(self.inside).scatter_(1, top.indices, torch.isfinite(top.values))
        chosen = take[self.row, self.column].nonzero()[:, 0]
        noise = -torch.empty_like(logp[chosen]).exponential_().log()
        token = (logp[chosen] + noise * temperature[self.row[chosen]][:, None]).argmax(-1)
        self.x[self.row[chosen], self.column[chosen]] = token
        return chosen


def trajectories(x, plen, total, block=BLOCK):
    """Yields (indices of unfinished canvases, begin, end of their block); the caller commits tokens in x between two rounds."""
    col = torch.arange(x.shape[1], device=x.device)[None]
    blk, alive = torch.zeros_like(plen), torch.ones_like(plen, dtype=torch.bool)
    while alive.any():
        idx = alive.nonzero()[:, 0]
        begin, end = plen[idx] + blk[idx] * block, torch.minimum(plen[idx] + (blk[idx] + 1) * block, total[idx])
        yield idx, begin, end
        xa = x[idx]
        inside = (col >= begin[:, None]) & (col < end[:, None])
        full = ~((xa == tk.MASK) & inside).any(1)
        ended = (((xa == tk.EOS) | (xa == tk.EOT)) & inside).any(1)
        blk[idx] += full.long()
        alive[idx] = ~(full & (ended | (end >= total[idx])))


@torch.no_grad()
def decode(model, x, plen, total, joint=None, group=1, temperature=0.0):
    """``group`` tokens per forward: independent without ``joint``; forwards counts full ones."""
    forwards, heat = torch.zeros_like(plen), torch.full((len(x),), temperature, device=x.device)
    for idx, begin, end in trajectories(x, plen, total):
        g = Group(model, x[idx], total[idx], begin, end)
        rows = g.open_rows()
        g.commit(g.log_probs(g.hidden0, rows), heat[idx], 1 if joint else group)
        for _ in range(group - 1 if joint else 0):
            rows = g.open_rows()
            if not len(rows):
                break
            g.commit(g.log_probs(g.corrected(joint), rows), heat[idx])
        x[idx] = g.x
        forwards[idx] += 1
    return total, forwards


def make_prompts(source, tok, worker, seed):
    rng = random.Random(f"{seed}/joint/{worker}")
    while True:
        docs = documents.draw(source, tok, rng, 512, FAMILIES)
        yield [(d["prompt"], max(64, -(-len(d["answer"]) // BLOCK) * BLOCK)) for d in docs if len(d["prompt"]) + len(d["answer"]) < 260]


class Pool:
    """Canvases at every stage of their decoding: a finished one is replaced by the next prompt."""

    def __init__(self, prompts, count, width, device):
        self.source, self.width, self.device = (p for part in prompts for p in part), width, device
        self.x = torch.full((count, width), tk.MASK, device=device)
        self.plen, self.total, self.block = (torch.zeros(count, dtype=torch.long, device=device) for _ in range(3))
        self.heat = torch.zeros(count, device=device)
        self.refill(torch.arange(count))

    def refill(self, which):
        rows, lengths = torch.full((len(which), self.width), tk.MASK), []
        for row in rows:
            prompt, canvas = next(p for p in self.source if len(p[0]) + p[1] <= self.width)
            row[:len(prompt)] = torch.tensor(prompt)
            lengths.append((len(prompt), len(prompt) + canvas))
        which = which.to(self.device)
        self.x[which] = rows.to(self.device)
        self.plen[which], self.total[which] = torch.tensor(lengths, device=self.device).T
        self.block[which] = 0
        self.heat[which] = (torch.rand(len(which), device=self.device) < .5).float()

    def open(self, model):
        begin = self.plen + self.block * BLOCK
        return Group(model, self.x, self.total, begin, torch.minimum(begin + BLOCK, self.total))

    def advance(self, group):
        inside = group.inside
        full = ~((self.x == tk.MASK) & inside).any(1)
        ended = (((self.x == tk.EOS) | (self.x == tk.EOT)) & inside).any(1)
        self.block += full.long()
        done = (full & (ended | (self.plen + self.block * BLOCK >= self.total))).nonzero()[:, 0].cpu()
        if len(done):
            self.refill(done)


def divergence(p, q):
    """KL(p || q) of log-probabilities [K, V] of which the mask token's are -inf."""
    return (p.exp() * (p - q).masked_fill(p.isinf(), 0.0)).sum(-1)


def train(model, joint, prompts, a, limit):
    """One optimizer step per group of commits until the time or the steps are over -> log."""
    matrices = [joint.token, joint.qkv, joint.attn_out, joint.gate_up, joint.ff_out]
    rest = [joint.attn_norm, joint.ff_norm, joint.hidden]
    opts = [optim.Muon([{"params": [p]} for p in matrices], lr=a.muon_lr, weight_decay=0.0), torch.optim.Adam(rest, lr=a.lr, betas=(.9, .98))]
    peaks = [g["lr"] for o in opts for g in o.param_groups]
    pool = Pool(prompts, a.documents, 256, model.wte.device)
    t0, step, log, sums, seen = time.time(), 0, [], 0.0, 0
    while True:
        progress = max((time.time() - t0) / limit, step / a.steps if a.steps else 0)
        if progress >= 1:
            return log, step, time.time() - t0
        for g, peak in zip((g for o in opts for g in o.param_groups), peaks):
            g["lr"] = peak * min(1.0, (step + 1) / 50) * min(1.0, (1 - progress) / .8)
        g, loss = pool.open(model), 0.0
        for j in range(a.group):
            hidden = g.run()[0] if j else g.hidden0
            rows = g.open_rows()
            if not len(rows):
                break
            with torch.no_grad():
                teacher = g.log_probs(hidden, rows)
            student = g.log_probs(g.corrected(joint), rows) if j else None
            chosen = g.commit(teacher, pool.heat)
            if j:
                kl = divergence(teacher, student)
                loss = loss + kl.mean() + kl[chosen].mean()
                with torch.no_grad():  # nats at the next position: the layer, and independent sampling
                    sums = sums + torch.stack((kl[chosen].mean(), divergence(teacher[chosen], g.log_probs(g.hidden0, rows[chosen])).mean()))
                    seen += 1
        pool.advance(g)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(joint.parameters(), 1.0)
        for o in opts:
            o.step()
        joint.zero_grad(set_to_none=True)
        step += 1
        if step % 100 == 0 or step in (1, 20) or not model.wte.is_cuda:
            layer, independent = (sums / seen).tolist()
            log.append(dict(step=step, seconds=round(time.time() - t0), layer=round(layer, 4), independent=round(independent, 4)))
            sums, seen = 0.0, 0
            print(log[-1], flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--texts", type=Path, default=HERE.parent.parent / "shared/data/text")
    ap.add_argument("--build", type=Path, default=HERE / "build", help="caches: cleaned texts")
    ap.add_argument("--base", type=Path, default=HERE.parent / "models/tessera-diffusion")
    ap.add_argument("--out", type=Path, default=HERE.parent / "models/tessera-diffusion-joint")
    ap.add_argument("--minutes", type=float, default=4.0, help="of training; the schedule is fitted to it")
    ap.add_argument("--steps", type=int, help="at most that many steps")
    ap.add_argument("--group", type=int, default=4, help="K, tokens per full forward")
    ap.add_argument("--documents", type=int, default=512, help="canvases at once")
    ap.add_argument("--muon-lr", type=float, default=.006, help="of the matrices that begin at nothing or at random")
    ap.add_argument("--lr", type=float, default=2e-4, help="of the rest")
    ap.add_argument("--eval-groups", type=int, nargs="*", default=[2, 4, 8])
    ap.add_argument("--seed", type=int, default=5)
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--eval-cases", type=int, default=400, help="per task; fresh, held-out items, not models/heldout.jsonl")
    a = ap.parse_args()
    t_start = time.time()
    corpus = data.load_corpus(a.build, a.texts)
    tok_file = a.base / "tokenizer.json"
    tok = Tokenizer.from_file(str(tok_file))
    workers = documents.Workers(corpus, tok_file, make_prompts, (a.seed,), a.workers, depth=2)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    dtype = torch.bfloat16 if gpu else torch.float32
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    attention = choose_attention(device)
    model = Tessera(Config(), False, attention, dtype)
    export.load_weights(model, a.base / "model.safetensors").to(device).requires_grad_(False)
    model.fns = model.plain  # frozen: nothing of it is compiled
    joint = Joint(model.cfg, attention, dtype).to(device)
    log, steps, seconds = train(model, joint, workers, a, 60 * a.minutes)
    workers.close()
    joint.save(a.out / "joint.safetensors")
    with torch.no_grad():
        joint.load(a.out / "joint.safetensors")  # the exported bf16 weights are what is scored
    cases, result = export_cases.make_cases(corpus, a.eval_cases, seed=1000, names=MULTI), {}
    for heat in (0.0, 1.0):
        rules = {"one per forward": dict(group=1)}
        for k in a.eval_groups:
            rules[f"{k} independent"] = dict(group=k)
            rules[f"{k} with the layer"] = dict(group=k, joint=joint)
        torch.manual_seed(a.seed)
        rules = {f"{n}, temperature {heat:g}": dict(decoder=lambda *args, how=how, heat=heat: decode(*args, temperature=heat, **how)) for n, how in rules.items()}
        result.update(distill.grid(model, tok, cases, rules))
    result = dict(scores=result, parameters=sum(p.numel() for p in joint.parameters()), steps=steps, seconds=round(seconds), group=a.group, documents=a.documents,
                  lr=a.lr, muon_lr=a.muon_lr, seed=a.seed, families=FAMILIES, device=torch.cuda.get_device_name() if gpu else "cpu", torch=torch.__version__, log=log)
    (a.out / "training.json").write_text(json.dumps(result, separators=(",", ":")) + "\n")
    print(f"{steps} steps in {seconds:.0f} s; done after {time.time() - t_start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
