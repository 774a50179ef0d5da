"""Decoding and scoring of both models.  ``python training/evaluate.py [--per-task 200]`` scores the folders under models/.

Diffusion: blocks of 32 from the left inside a canvas of 64 or more; each step either commits the one most confident
position (``threshold=None``) or every masked position of the block with confidence >= threshold and always the best;
``entropy=x`` takes those whose entropy in nats is at most x instead, and always the least (dParallel).
A finished block that holds an end token ends the sequence.  Greedy, mask token banned.  AR: greedy, one token per forward.
"""
import argparse
import json
import time
from pathlib import Path

import torch

import export_cases
import tasks
import tokenizer as tk


def pack(x, length):
    """Rows x [D, L] of which the first length[d] tokens count -> flat tokens, pos, cu, longest."""
    valid = torch.arange(x.shape[1], device=x.device)[None] < length[:, None]
    cu = torch.zeros(len(length) + 1, dtype=torch.int32, device=x.device)
    cu[1:] = length.cumsum(0)
    pos = torch.arange(x.shape[1], device=x.device)[None].expand_as(x)[valid]
    return x[valid], pos, cu, int(length.max())


@torch.no_grad()
def decode(model, tok, cases, threshold=None, block=32, min_canvas=64, entropy=None, decoder=None):
    """-> list of (output text, forwards, tokens up to the first end token).  ``decoder(model, x, plen, total) -> (stop, forwards)``
    fills the canvases in another way."""
    budget = 2**17 if model.wte.is_cuda else 1024  # tokens at once; dense attention on a CPU takes their square
    docs = []
    for c in cases:
        p = tok.encode(tk.chat(c["messages"])).ids
        n = len(tok.encode(c["answer"]).ids) + 2 if c["answer"] else 0
        docs.append((p, max(min_canvas, -(-n // block) * block)))
    out, at = [], 0
    while at < len(docs):  # as many documents at once as the budget holds
        end, total = at, 0
        while end < len(docs) and (end == at or total + len(docs[end][0]) + docs[end][1] <= budget):
            total += len(docs[end][0]) + docs[end][1]
            end += 1
        x, plen, total = _canvas(docs[at:end], tk.EOS if model.causal and not decoder else tk.MASK, model.wte.device)
        if decoder:
            stop, forwards = decoder(model, x, plen, total)
        elif model.causal:
            stop, forwards = decode_ar(model, x, plen, total)
        else:
            stop, forwards = decode_diffusion(model, x, plen, total, threshold, block, entropy)
        out += _read(tok, x, plen, stop, forwards)
        at = end
    return out


def _canvas(docs, fill, device):
    """docs: (prompt ids, canvas length) -> x [D, L] with the prompts and then ``fill``, prompt lengths [D], total lengths [D]."""
    plen = torch.tensor([len(p) for p, _ in docs], device=device)
    total = plen + torch.tensor([c for _, c in docs], device=device)
    x = torch.full((len(docs), int(total.max())), fill, device=device)
    for d, (p, _) in enumerate(docs):
        x[d, :len(p)] = torch.tensor(p, device=device)
    return x, plen, total


def _read(tok, x, start, stop, forwards):
    res = []
    for row, s, e, f in zip(x.tolist(), start.tolist(), stop.tolist(), forwards.tolist()):
        ids = row[s:e]
        ends = [i for i, t in enumerate(ids) if t in (tk.EOS, tk.EOT)]
        n = ends[0] if ends else len(ids)
        res.append((tok.decode([t for t in ids[:n] if t != tk.MASK], skip_special_tokens=False), f, n + 1))
    return res


def decode_diffusion(model, x, plen, total, threshold, block, entropy=None):
    """Fills x [D, L] in place -> (where each row stops [D], forwards [D])."""
    device = x.device
    col = torch.arange(x.shape[1], device=device)[None]
    blk, forwards, alive = torch.zeros_like(plen), torch.zeros_like(plen), torch.ones_like(plen, dtype=torch.bool)
    while alive.any():
        idx = alive.nonzero()[:, 0]
        xa, pa, ta, ba = x[idx], plen[idx], total[idx], blk[idx]
        a, b = pa + ba * block, torch.minimum(pa + (ba + 1) * block, ta)
        inside = (col >= a[:, None]) & (col < b[:, None])
        live = (xa == tk.MASK) & inside
        tokens, pos, cu, longest = pack(xa, ta)
        row, column = live.nonzero(as_tuple=True)
        logits = model.logits(tokens, pos, cu, longest, cu[row].long() + column)
        logits[:, tk.MASK] = -float("inf")
        prob = logits.softmax(-1)
        conf, guess = prob.max(-1)
        if entropy is not None:
            conf, threshold = torch.special.entr(prob).sum(-1).neg(), -entropy
        grid = torch.full(live.shape, -100.0, device=device)
        grid[row, column] = conf
        best = grid.argmax(1)
        take = torch.zeros_like(live)
        take[torch.arange(len(idx), device=device), best] = True
        if threshold is not None:
            take |= grid >= threshold
        chosen = take[row, column]
        xa[row[chosen], column[chosen]] = guess[chosen]
        x[idx] = xa
        forwards[idx] += 1
        full = ~((xa == tk.MASK) & inside).any(1)
        ended = (((xa == tk.EOS) | (xa == tk.EOT)) & inside).any(1)
        blk[idx] += full.long()
        alive[idx] = ~(full & (ended | (b >= ta)))
    return total, forwards


def decode_ar(model, x, plen, total):
    """The same for the AR twin."""
    at, alive = plen.clone(), torch.ones_like(plen, dtype=torch.bool)
    while alive.any():
        idx = alive.nonzero()[:, 0]
        tokens, pos, cu, longest = pack(x[idx], at[idx])
        logits = model.logits(tokens, pos, cu, longest, cu[1:].long() - 1)
        logits[:, tk.MASK] = -float("inf")
        t = logits.argmax(-1)
        x[idx, at[idx]] = t
        at[idx] += 1
        alive[idx] = (t != tk.EOS) & (t != tk.EOT) & (at[idx] < total[idx])
    return at, at - plen


def score(model, tok, cases, **how):
    """-> {task: {score: % right, forwards: mean, tokens: mean committed to the first end, n}}."""
    table = {}
    for c, (text, f, n) in zip(cases, decode(model, tok, cases, **how)):
        r = table.setdefault(c["task"], [0, 0, 0, 0])
        r[0] += tasks.grade(text, c)
        r[1] += f
        r[2] += n
        r[3] += 1
    return {t: dict(score=round(100 * a / n, 1), forwards=round(f / n, 2), tokens=round(k / n, 1), n=n) for t, (a, f, k, n) in table.items()}


DEMO = [
    "Reverse this list: apple, pear, plum", 'Copy this list: ["Mira Solberg", "Tom Vance", "Ida Kurz"]', "Repeat after me: dog, cat, bird, fish",
    "Sort: delta, alpha, charlie, bravo", "Sort these names: Paul, Agnes, Maria, Zoltan, Bert", "Sort: 9, 3, 14, 2", "Please reverse: one two three four",
    "Reverse [1, 2, 3, 4]", "Remove pear from apple, pear, plum", "Insert fig at position 2: apple, pear, plum", 'Insert "fig" at index 1 in ["apple", "pear", "plum"]',
    "Replace pear with fig: apple, pear, plum", "Replace pear with fig in the list apple, pear, plum.", "Insert kiwi after plum: apple, plum, fig",
    "Delete the second item: a, b, c, d", "Remove the last item from: tea, coffee, milk", "Add banana to the end of this list: apple, pear",
    "Shuffle this list: red, green, blue, yellow", "The queue is Zelig, Ombeline, Radu. Now Zelig leaves. Who is left?", "What is 47 + 38?", "what is 99 - 45",
    "What is 7 times 8?", "63+28=", "Make a 4x4 Latin square with the symbols A, B, C, D.", "Make a latin square using 1, 2, 3 and 4",
    "Complete this Latin square:\nA,B,C,D\nB,_,D,C\nC,D,A,B\nD,C,_,A", "Proofread: She go to the libary yestarday and borrowd two book.",
    "Fix this sentence: I has two cat and a dogs.", "Correct the spelling: Teh cat sat on teh mat.", "The boy runned to the park and play with his freind.",
    "Fill in the blank: Once upon a time, there was a ___ who lived in the forest.", "Fill in the blank: The cat sat on the ___.",
    "Continue this story: Once upon a time, there was a little robot who wanted to learn to swim.", "Tell me a story about a dog.", "Hello!"]


def demo(model, tok):
    cases = [dict(messages=[dict(role="user", content=p)], answer="") for p in DEMO]
    for p, (text, f, n) in zip(DEMO, decode(model, tok, cases, min_canvas=96)):
        print(f"  {p!r} -> {text!r} ({n} tokens, {f} forwards)", flush=True)


@torch.no_grad()
def story_loss(model, tok, stories, n=200, draws=8, length=192):
    """Nats per token on the first ``length`` tokens of held-out stories: exact for AR; for diffusion the upper bound
    E_k[CE of k random masked tokens * L / k] / L, k uniform on 1..L (LLaDA's likelihood estimate, ``draws`` samples)."""
    g, total, count = torch.Generator().manual_seed(0), 0.0, 0
    for s in stories[:n]:
        ids = torch.tensor([tk.BOS] + tok.encode(s).ids[:length])
        L = len(ids) - 1
        reps = []
        for _ in range(1 if model.causal else draws):
            x, w = ids.clone(), torch.ones(L)
            if not model.causal:
                k = int(torch.randint(1, L + 1, (1,), generator=g))
                hide = torch.randperm(L, generator=g)[:k]
                x[1 + hide] = tk.MASK
                w = torch.zeros(L)
                w[hide] = L / k
            reps.append((x, w))
        device = model.wte.device
        x = torch.stack([r[0] for r in reps]).to(device)
        tokens, pos, cu, longest = pack(x, torch.full((len(x),), L + 1, device=device))
        rows = torch.cat([cu[d].long() + torch.arange(L, device=device) + (0 if model.causal else 1) for d in range(len(x))])
        ce = torch.nn.functional.cross_entropy(model.logits(tokens, pos, cu, longest, rows), ids[1:].repeat(len(x)).to(device), reduction="none")
        total += float((ce * torch.cat([r[1] for r in reps]).to(device)).sum()) / len(x)
        count += L
    return round(total / count, 4)


def full(model, tok, cases):
    """Every score the model card shows."""
    t0, res = time.time(), {}
    for name, threshold in ([("greedy", None)] if model.causal else [("one_per_step", None), ("threshold_0.9", .9)]):
        res[name] = score(model, tok, cases, threshold=threshold)
        print(f"{name}: " + "  ".join(f"{t} {r['score']}% ({r['forwards']})" for t, r in res[name].items()))
    print(f"evaluated {len(cases)} cases in {time.time() - t0:.0f} s", flush=True)
    return res


def main():
    from tokenizers import Tokenizer
    import data
    from export import load_weights
    from model import Config, Tessera, choose_attention
    here = Path(__file__).resolve().parent
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--models", type=Path, default=here.parent / "models")
    ap.add_argument("--texts", type=Path, default=here.parent.parent / "shared/data/text")
    ap.add_argument("--build", type=Path, default=here / "build")
    ap.add_argument("--per-task", type=int, default=200)
    ap.add_argument("--tasks", nargs="*", default=export_cases.GRADED)
    ap.add_argument("--seed", type=int, default=1000)
    ap.add_argument("--out", type=Path, help="write the scores here as JSON")
    a = ap.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    cases, res = export_cases.make_cases(data.load_corpus(a.build, a.texts), a.per_task, a.seed, a.tasks), {}
    tok = Tokenizer.from_file(str(a.models / "tessera-diffusion/tokenizer.json"))
    for name, causal in (("tessera-diffusion", False), ("tessera-ar", True)):
        if not (a.models / name / "model.safetensors").exists():
            continue
        model = Tessera(Config(), causal, choose_attention(device), torch.bfloat16 if device.type == "cuda" else torch.float32)
        load_weights(model, a.models / name / "model.safetensors").to(device)
        print(name)
        demo(model, tok)
        res[name] = full(model, tok, cases)
    if a.out:
        a.out.write_text(json.dumps(res, indent=1) + "\n")


if __name__ == "__main__":
    main()
