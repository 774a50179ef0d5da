"""Fresh training documents for the recipes that start from a trained model: drawn by worker processes, on the refining mixture.

Used by ``distill.py``, ``adapt.py`` and ``joint.py``; ``data.py`` packs the documents of the models themselves.
"""
import multiprocessing as mp
import random

import data
import tokenizer as tk

CHAT = [f for f in data.MIX if f not in ("text", "long")]


def draw(source, tok, rng: random.Random, n: int, families=None):
    """n documents {prompt ids, answer ids with their end token, case or None, family}; ``families``: name -> weight."""
    families = families or {f: data.MIX[f][2] for f in CHAT}
    out = []
    for family in rng.choices(list(families), list(families.values()), k=n):
        case = None if family == "text" else source.case(rng, family)
        out.append(dict(family=family, case=case, text=tk.chat(case["messages"]) if case else "", answer=case["answer"] if case else source.text(rng, 800)))
    prompts, answers = tok.encode_batch([d["text"] for d in out]), tok.encode_batch([d["answer"] for d in out])
    return [dict(family=d["family"], case=d["case"], prompt=p.ids or [tk.BOS], answer=a.ids + [tk.EOT if d["case"] else tk.EOS])
            for d, p, a in zip(out, prompts, answers)]


def _worker(w, corpus, tok_file, make, args, queue):
    from tokenizers import Tokenizer
    source, tok = data.Source(corpus), Tokenizer.from_file(str(tok_file))
    source.refine(tok)
    for item in make(source, tok, w, *args):
        queue.put(item)
    queue.put(None)


class Workers:
    """Iterates over what ``make(source, tok, worker, *args)`` yields in ``count`` processes, in turn, so that the order does not
    depend on their speed.  Start it before CUDA is touched (fork)."""

    def __init__(self, corpus, tok_file, make, args, count, depth=6):
        ctx = mp.get_context("fork")
        self.queues = [ctx.Queue(maxsize=depth) for _ in range(count)]
        self.procs = [ctx.Process(target=_worker, daemon=True, args=(w, corpus, tok_file, make, args, q)) for w, q in enumerate(self.queues)]
        for p in self.procs:
            p.start()

    def __iter__(self):
        live = list(self.queues)
        while live:
            for q in list(live):
                item = q.get()
                if item is None:
                    live.remove(q)
                else:
                    yield item

    def close(self):
        for p in self.procs:
            p.terminate()
