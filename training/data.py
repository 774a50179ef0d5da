"""Endless training batches: a mixture of tasks, packed into a fixed number of tokens, with masks drawn.

Batch k is a pure function of (seed, k), whatever the number of workers, so that both twins see the same documents in the
same order.  Documents are packed end to end (``model.py``); nothing under ``benchmarks/`` is ever read.
"""
import gzip
import json
import multiprocessing as mp
import random
from pathlib import Path

import numpy as np

import tasks
import texts
import tokenizer as tk

MAX_DOC = 640      # tokens of the longest document
SHORT_DOC = 320    # of all but about 6 % of the tokens, nearly all under 256
# documents per family: (at the start, after RAMP tokens, while refining)
MIX = {"copy": (.17, .05, .055), "reverse": (.12, .075, .07), "sort": (.12, .17, .20), "shuffle": (.05, .04, .035), "insert": (.12, .10, .10),
       "remove": (.11, .085, .07), "replace": (.11, .085, .075), "insert_any": (.01, .012, .012), "remove_any": (.01, .012, .012),
       "replace_any": (.01, .012, .012), "arithmetic": (.06, .10, .05), "latin": (.05, .11, .15), "proof": (.02, .08, .075), "story": (.01, .05, .045),
       "text": (.03, .055, .045), "long": (.004, .0135, .012)}
RAMP = 200e6


def load_corpus(build: Path, folder: Path):
    """The cleaned texts, cached in ``build/corpus.json.gz``."""
    cache = build / "corpus.json.gz"
    if not cache.exists():
        build.mkdir(parents=True, exist_ok=True)
        with gzip.open(cache, "wt", compresslevel=5) as f:
            json.dump(texts.load(folder), f)
    return json.loads(gzip.open(cache, "rt").read())


class Source:
    """Draws documents (prompt text or None, answer text, family)."""

    def __init__(self, corpus):
        self.c = corpus
        self.items = tasks.Items(corpus["words"], heldout=False)

    def refine(self, tok):
        """From now on lists also hold items glued from vocabulary pieces, and the third column of MIX counts."""
        self.items.pieces = self.items.pieces or sorted(p for p in tok.get_vocab() if p.isascii() and p.isalpha() and len(p) > 1)

    def text(self, rng, chars):
        """About ``chars`` characters of running text: a story from its beginning, or paragraphs of a book."""
        if rng.random() < .5 and chars < 1500:
            return rng.choice(self.c["stories"])
        books, i, out = self.c["books"], rng.randrange(len(self.c["books"])), ""
        while len(out) < chars:
            out += ("\n\n" if out else "") + books[i % len(books)]
            i += 1
        return out

    def case(self, rng, family, nmax=8):
        if family == "arithmetic":
            return tasks.arithmetic_case(rng, heldout=False)
        if family == "latin":
            return tasks.latin_case(rng, self.items)
        if family == "proof":
            return texts.proof_case(rng, self.c["sentences"])
        if family == "story":
            i = rng.randrange(len(self.c["books"]) - 3)  # one in four from three paragraphs of a book
            return texts.story_case(rng, self.c["stories"] if rng.random() < .75 else ["\n\n".join(self.c["books"][i:i + 3])[:1200]])
        return tasks.list_case(rng, self.items, family, nmax=nmax)

    def draw(self, rng, ramp):
        family = rng.choices(list(MIX), [c if self.items.pieces else a + (b - a) * ramp for a, b, c in MIX.values()])[0]
        if family == "text" or (family == "long" and rng.random() < .5):
            return None, self.text(rng, 2600 if family == "long" else 800), family
        inner = rng.choice(("copy", "reverse", "sort", "insert", "latin", "proof", "story", "story", "arithmetic")) if family == "long" else family
        case = self.case(rng, inner, nmax=8 if ramp > .3 or rng.random() < ramp * 3 else 5)
        return tk.chat(case["messages"]), case["answer"], family


def canvas_length(rng, answer: int, long: bool) -> int:
    """Tokens of the canvas for ``answer`` tokens (end-of-turn included): tight, rounded to blocks of 32, or far too long."""
    if long:
        return max(answer, rng.choice((128, 192, 256, 320, 384, 448, 512)))
    r = rng.random()
    if r < .45:
        return answer + rng.randint(1, 12)
    up = -(-(answer + 1) // 32) * 32
    return up if r < .9 else up + 32


def draw_mask(rng: np.random.Generator, n: int, answer: int, is_text: bool):
    """Boolean mask [n] over a canvas of ``answer`` real tokens and then fill, and its rate t.

    Uniform rates as in LLaDA; besides, the states that decoding passes through: all masked, block by block from the left
    (clean | part masked | all masked), the fill known before the answer, and for text a prefix or the surroundings of a gap.
    """
    r, t = rng.random(), 1 - rng.random()
    u = rng.random(n)
    if is_text:
        if r < .45:
            m = u < t
        elif r < .75:  # prefix known
            m = (np.arange(n) >= rng.integers(1, max(2, int(n * .7)))) & (u < max(t, .15))
        else:          # one gap
            a = rng.integers(0, n)
            m = np.zeros(n, bool)
            m[a:a + rng.integers(1, 41)] = True
            m &= u < max(t, .3)
    elif r < .50:
        m = u < t
    elif r < .62:
        t, m = 1.0, np.ones(n, bool)
    elif r < .85:
        b = int(rng.choice((8, 16, 32, 64)))
        j = int(rng.integers(0, -(-min(n, answer + b) // b)))
        t = 1.0 if rng.random() < .25 else t
        k = np.arange(n) // b
        m = (k > j) | ((k == j) & (u < t))
    else:
        m = u < np.where(np.arange(n) < answer, t, rng.random() * t)
    if not m.any():
        m[rng.integers(0, min(n, answer))] = True
    return m, max(float(m.mean()), 1e-3)


AR_SHARE = .855  # of a batch's tokens is left for the AR twin once the fill after its end tokens is dropped


def batch(k: int, source: Source, tok, n_tokens: int, causal: bool, seed: int, rows_fraction: float, refine_from: int):
    """Batch k as numpy arrays; see ``model.Tessera.loss``.  Weights: 1/t, clipped at 3 to bound the variance.

    With ``causal`` the same documents are laid out in AR_SHARE * n_tokens, each with one end token and no further fill.
    """
    if k >= refine_from:
        source.refine(tok)
    rng, nrng = random.Random(f"{seed}/{k}"), np.random.default_rng((seed, k))
    ramp = min(1.0, k * n_tokens / RAMP)
    tokens = np.empty(n_tokens, np.int32)
    pos = np.empty(n_tokens, np.int32)
    target, weight = np.empty(n_tokens, np.int32), np.zeros(n_tokens, np.float32)
    max_docs = n_tokens // 64 + 64
    cu, at, stats = [0], 0, {}
    laid = 0  # tokens so far in the diffusion layout, which alone decides what documents a batch holds
    room = int(n_tokens * AR_SHARE) if causal else n_tokens

    def put(prompt, answer, fill, is_text):
        nonlocal at, laid
        laid += len(prompt) + len(answer) + fill
        fill = min(fill, 1) if causal else fill
        if at + len(prompt) + len(answer) + fill > room:
            return  # AR only, and rare
        stats["kept"] = stats.get("kept", 0) + len(prompt) + len(answer) + fill
        ids = np.array(prompt + answer + [tk.EOS] * fill, np.int32)
        p, n = len(prompt), len(ids)
        s = slice(at, at + n)
        target[s], pos[s] = ids, np.arange(n)
        if causal:
            weight[at + p:at + min(n, p + len(answer) + 1)] = 1.0
        else:
            m, t = draw_mask(nrng, n - p, min(n - p, len(answer) + 1), is_text)
            weight[at + p:at + n] = m * min(1 / t, 3.0)
            ids = ids.copy()
            ids[p:][m] = tk.MASK
        tokens[s] = ids
        at += n
        cu.append(at)

    while n_tokens - laid >= 48 and len(cu) < max_docs - 66:
        docs = [source.draw(rng, ramp) for _ in range(96)]
        prompts = tok.encode_batch([d[0] or "" for d in docs])
        answers = tok.encode_batch([d[1] for d in docs])
        for (_, _, family), p, a in zip(docs, prompts, answers):
            p, a, is_text, long = p.ids or [tk.BOS], a.ids, not p.ids, family == "long"
            limit = MAX_DOC if long else SHORT_DOC
            if len(p) > (128 if long and not is_text else 256):
                continue
            a = a + [tk.EOS if is_text else tk.EOT]
            if is_text:
                cap = limit - 1 if long else rng.choice((95, 127, 191, 255))
                fill = 0 if len(a) > cap else rng.choice((0, 0, 1, 4, 16))
                a = a[:cap]
            else:
                a = a[:limit - len(p) - 1]
                fill = min(limit - len(p), canvas_length(rng, len(a), long)) - len(a)
            if laid + len(p) + len(a) + fill > n_tokens or len(cu) >= max_docs - 66:
                break
            put(p, a, fill, is_text)
            stats[family] = stats.get(family, 0) + len(p) + len(a) + fill
        else:
            continue
        break
    while laid < n_tokens:  # the rest: text cut to fit
        ids = tok.encode(source.text(rng, 2400)).ids[:min(n_tokens - laid, 400) - 1]
        put([tk.BOS] if ids else [], ids or [tk.EOS], 0, True)
    n_tokens = room
    tokens, pos, target, weight = tokens[:room], pos[:room], target[:room], weight[:room]
    while at < room:  # AR only: what is left holds nothing to learn
        n = min(room - at, 256)
        tokens[at:at + n], target[at:at + n], pos[at:at + n] = tk.EOS, tk.EOS, np.arange(n)
        stats["unused"] = stats.get("unused", 0) + n
        at += n
        cu.append(at)
    rows = np.flatnonzero(weight > 0).astype(np.int32)
    want = int(room * rows_fraction)
    if len(rows) > want:  # rare: forget a random few
        rows = np.sort(nrng.choice(rows, want, replace=False)).astype(np.int32)
    stats["rows"] = len(rows)
    stats["docs"] = len(cu) - 1
    pad = want - len(rows)
    targets, weights = np.pad(target[rows], (0, pad)), np.pad(weight[rows], (0, pad))
    if causal:
        rows = rows - 1
    unused = np.setdiff1d(np.arange(n_tokens, dtype=np.int32), rows, assume_unique=True)[:pad]  # weight 0; rows stay distinct
    return dict(tokens=tokens, pos=pos, cu=np.array(cu + [n_tokens] * (max_docs - len(cu)), np.int32),
                rows=np.concatenate((rows, unused)).astype(np.int32), targets=targets, weights=weights), stats


def _worker(w, workers, first, corpus, tok_file, args, queue):
    from tokenizers import Tokenizer
    source, tok, k = Source(corpus), Tokenizer.from_file(str(tok_file)), first + w
    while True:
        queue.put(batch(k, source, tok, *args))
        k += workers


class Stream:
    """Iterates over batches first, first+1, ... made by ``workers`` processes.  Start it before CUDA is touched (fork)."""

    def __init__(self, corpus, tok_file, n_tokens, causal, seed, rows_fraction=.5, refine_from=10**9, workers=4, first=0):
        ctx = mp.get_context("fork")
        self.queues = [ctx.Queue(maxsize=6) for _ in range(workers)]
        self.procs = [ctx.Process(target=_worker, daemon=True, args=(w, workers, first, corpus, tok_file,
                                                                     (n_tokens, causal, seed, rows_fraction, refine_from), q))
                      for w, q in enumerate(self.queues)]
        for p in self.procs:
            p.start()

    def __iter__(self):
        while True:
            for q in self.queues:
                yield q.get()

    def close(self):
        for p in self.procs:
            p.terminate()
