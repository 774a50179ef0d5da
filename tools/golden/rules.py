"""Plain loops of diffusion rules, caches and canvases on the golden models, and their traces.

  rules.py            compare tests/golden/*/rules.json with these loops; exits non-zero on any difference
  rules.py --write    make those files

Where a method's code is public its loop was written from the published rule, not from that code; nothing of the engine
is used. It needs torch and safetensors only. As in make_goldens.py, a case is kept only if noise of 1e-3 on every logit
changes nothing and the rival, the same loop with the method's own idea switched off, gives another trace.
"""
import argparse
import json
import math
import sys

import torch
from safetensors.torch import load_file, save_file

from check import ROOT, Canvas, Net, quota, top

NOISE, DRAWS, TRIES = 1e-3, 4, 200


class Trace(Canvas):
    """A canvas that remembers what every forward saw; a token that is taken back becomes the mask."""

    def __init__(self, net, prompt, length, noise=None):
        super().__init__(net, list(prompt) + [net.mask] * length)
        self.P, self.N, self.noise, self.seen, self.held = len(prompt), len(prompt) + length, noise, [], {}

    def probs(self, ids=None, **how):
        """A counted forward; softmax of its rows without the mask token, and its stored rows."""
        self.seen.append(list(self.x))
        rows, store = self.net.run(self.x if ids is None else ids, **how)
        return self.softmax(rows), store

    def probs_of(self, rows):
        """A counted pass over rows that something else computed."""
        self.seen.append(list(self.x))
        return self.softmax(rows)

    def softmax(self, rows):
        if self.noise is not None:
            rows = rows + NOISE * (2 * torch.rand(rows.shape, generator=self.noise) - 1)
        rows = rows.double()
        self.logits = rows
        return rows.softmax(-1)

    def set(self, pairs):
        """Writes {position: (id, probability)}."""
        for i, (token, p) in pairs.items():
            self.x[i], self.held[i] = token, p

    def back(self, positions):
        for i in positions:
            self.x[i] = self.net.mask

    def changes(self):
        """[[position, token], ...] of every forward."""
        seen = self.seen + [self.x]
        return [[[i, b] for i, (a, b) in enumerate(zip(before, after)) if a != b] for before, after in zip(seen, seen[1:])]


def guesses(c, p, where, base=0):
    """{position: (id, probability)} of the best token that is no mask."""
    out = {}
    for i in where:
        row = p[i - base].clone()
        row[c.net.mask] = -1
        out[i] = (row.argmax().item(), row.max().item())
    return out


def conf(g):
    return {i: v[1] for i, v in g.items()}


def blocks(c, size):
    return ((a, min(a + size, c.N)) for a in range(c.P, c.N, size))


def plain(pick):
    """A loop of full forwards; pick(c, guesses, p, o, k, (a, b), state) says what a step writes."""
    def loop(c, o):
        for a, b in blocks(c, o["block"]):
            state, k = {}, 0
            while where := c.masked(a, b):
                p, _ = c.probs()
                g = guesses(c, p, where)
                g = {i: g[i] for i in where}
                c.set(pick(c, g, p, o, k, (a, b), state))
                k += 1
    return loop


def by_threshold(g, level):
    order = top(conf(g), len(g))
    return {i: g[i] for n, i in enumerate(order) if n == 0 or g[i][1] >= level}


def threshold(c, g, p, o, k, block, state):
    return by_threshold(g, o["threshold"])


def entropy_threshold(c, g, p, o, k, block, state):
    """dParallel: every position of entropy <= theta, and the lowest."""
    h = {i: -(p[i] * p[i].clamp_min(1e-30).log()).sum().item() for i in g}
    first = min(h, key=lambda i: (h[i], i))
    return {i: g[i] for i in g if h[i] <= o["entropy"] or i == first}


def local_leap(c, g, p, o, k, block, state):
    """LocalLeap: a relaxed level within `radius` of an anchor; with decay it rises linearly with the distance."""
    anchors = [i for i in g if g[i][1] >= o["anchor"]]
    if o["anchors"] == "decided":
        anchors += [i for i in range(*block) if i in c.held and c.x[i] != c.net.mask and c.held[i] >= o["anchor"]]

    def level(i):
        d = min((abs(i - a) for a in anchors), default=math.inf)
        if d == 0 or d > o["radius"]:
            return o["anchor"]
        return o["relaxed"] + (o["anchor"] - o["relaxed"]) * (d - 1) / o["radius"] if o["decay"] else o["relaxed"]
    first = top(conf(g), 1)[0]
    return {i: g[i] for i in g if i == first or g[i][1] >= level(i)}


def credit(c, g, p, o, k, block, state):
    """CreditDecoding with its dense matrix of credits."""
    gamma, alpha, beta = o["gamma"], o["alpha"], o["beta"]
    if o["tuning_free"]:
        gamma, alpha = 1, 1 - len(g) / (block[1] - block[0])
        beta = alpha
    C, best = state.setdefault("C", {}), {}
    for i in g:
        row = C.setdefault(i, torch.zeros(p.shape[1], dtype=torch.double))
        if k:
            row *= beta
        u = g[i][0]
        row[u] += g[i][1] ** gamma
        fused = (c.logits[i] + alpha * torch.log1p(row)).softmax(-1)
        fused[c.net.mask] = -1
        v = fused.argmax().item()
        best[i] = (v, fused[v].item())
    keep = by_threshold(best, o["threshold"])
    return {i: (best[i][0], p[i, best[i][0]].item()) for i in keep}


def klass(c, g, p, o, k, block, state):
    """KLASS on whole distributions; the first `history` steps of a block never qualify."""
    q = quota(block[1] - block[0], o["block_steps"] or block[1] - block[0])
    stable, out = state.setdefault("stable", {}), {}
    for i in g:
        if i in state:
            now, before = p[i].clamp_min(1e-30), state[i].clamp_min(1e-30)
            kl = (now * (now / before).log()).sum().item()
            # What the 64 best tokens of the step before and the rest as one outcome say must agree.
            ids = before.topk(64)[1]
            a, b = (torch.cat((t[ids], (1 - t[ids].sum())[None])) for t in (now, before))
            if (kl < o["kl"]) != ((a * (a / b).log()).sum().item() < o["kl"]):
                state["disagree"] = c.disagree = True
            stable[i] = stable.get(i, 0) + 1 if kl < o["kl"] else 0
        state[i] = p[i]
        if g[i][1] > o["least"] and stable.get(i, 0) >= o["history"]:
            out[i] = g[i]
    return out or {i: g[i] for i in top(conf(g), max(1, q[k] if k < len(q) else 0))}


def hierarchical(c, g, p, o, k, block, state):
    """dInfer: the best of every run of masks above `low`, everything above the threshold."""
    runs, out = [], {}
    for i in sorted(g):
        if runs and runs[-1][-1] == i - 1:
            runs[-1].append(i)
        else:
            runs.append([i])
    for run in runs:
        first = top({i: g[i][1] for i in run}, 1)[0]
        out |= {i: g[i] for i in run if g[i][1] > o["threshold"] or (i == first and g[i][1] > o["low"])}
    out = out or {i: g[i] for i in top(conf(g), 1)}
    low = {i: p[i, c.x[i]].item() for i in range(*block) if c.x[i] != c.net.mask and i >= c.P}
    doubtful = sorted((i for i in low if low[i] < o["revoke"]), key=lambda i: (low[i], i))[:len(out) - 1]
    c.back(doubtful)
    return out


def edit(c, o):
    """LLaDA2.1: undecided positions above a threshold (or the quota's best), and decided ones that changed their mind."""
    for a, b in blocks(c, o["block"]):
        q, k, post = quota(b - a, b - a), 0, 0
        while True:
            where = c.masked(a, b)
            post = 0 if where else post + 1
            if not where and post > o["post_steps"]:
                break
            p, _ = c.probs()
            g = guesses(c, p, range(a, b))
            high = [i for i in where if g[i][1] > o["threshold"]]
            need = max(1, q[k] if k < len(q) else 0)
            write = high if len(high) >= need else top({i: g[i][1] for i in where}, need)
            changed = {i: g[i] for i in range(a, b)
                       if i not in where and g[i][0] != c.x[i] and g[i][1] > o["replace"]}
            c.set({i: g[i] for i in write} | changed)
            k += 1
            if not c.masked(a, b) and not write and not changed:
                break
            if not c.masked(a, b) and o["post_steps"] == 0:
                break


def shadow_probs(c, a, b):
    """WINO's forward: masks at the block's positions that see all but what they stand for, and one another."""
    n, m = c.N, b - a
    see = torch.zeros(n + m, n + m, dtype=torch.bool)
    see[:n, :n] = True
    see[n:] = True
    for i in range(m):
        see[n + i, a + i] = False
    p, _ = c.probs(c.x + [c.net.mask] * m, pos=list(range(n)) + list(range(a, b)), visible=see)
    return p


def wino(c, o):
    for a, b in blocks(c, o["block"]):
        accepted = 30
        while where := c.masked(a, b):
            p = shadow_probs(c, a, b)
            g = guesses(c, p, where)
            most = min(max(math.floor(0.7 * len(where)), 5), 20)
            count = max(1, min(most, sum(v[1] > o["threshold"] for v in g.values())))
            seen = {i: p[c.N + i - a, c.x[i]].item() for i in range(a, b) if i not in where}
            doubt = sorted((i for i in seen if seen[i] < o["verify"]), key=lambda i: (seen[i], i))
            if count > 1:
                c.back(doubt[:accepted - 1])
            c.set({i: g[i] for i in top(conf(g), count)})
            accepted = count


def rcr(c, o):
    """RCR within a block: write everything, then mask again the least sure tokens of all its steps."""
    for a, b in blocks(c, o["block"]):
        total = len(c.masked(a, b))
        for k in range(o["block_steps"]):
            p, _ = c.probs()
            before = dict(enumerate(c.x))
            new = guesses(c, p, c.masked(a, b))
            sure = {i: c.held[i] for i in range(a, b) if i in c.held and before[i] != c.net.mask} | conf(new)
            left = math.floor(total * (1 - (k + 1) / o["block_steps"]) + 1e-9)
            drop = sorted(sure, key=lambda i: (sure[i], i in new, i))[:left]
            c.back([i for i in drop if i not in new])
            c.set({i: v for i, v in new.items() if i not in drop})


def remdm(c, o):
    """ReMDM for LLaDA: quota steps, and late in a block steps that replace the `number` least sure tokens."""
    for a, b in blocks(c, o["block"]):
        first, k = min(o["block_steps"], max(min((b - a) * 7 // 8, b - a - 1), 1)), 0
        q = quota(b - a, o["block_steps"])
        for step in range(o["block_steps"] + o["extra"]):
            extra = first <= step < first + o["extra"]
            if extra:
                sure = {i: c.held[i] for i in range(a, b) if c.x[i] != c.net.mask}
                c.back(sorted(sure, key=lambda i: (sure[i], i))[:o["number"]])
            count = o["number"] if extra else q[k]
            k += not extra
            if c.seen and c.x == c.seen[-1]:  # the forward before once more: engines leave it out
                c.seen.pop()
            g = guesses(c, c.probs()[0], c.masked(a, b))
            c.set({i: g[i] for i in top(conf(g), count)})


def some_rows(c, rows, stored):
    """A forward of these positions against stored rows, which they replace; probabilities by position."""
    rows = sorted(rows)
    p, stored = c.probs([c.x[i] for i in rows], pos=rows, past=stored,
                        visible=torch.ones(len(rows), c.N, dtype=torch.bool))
    return {i: p[r] for r, i in enumerate(rows)}, stored


def guesses_at(c, p, where):
    return {i: v for i in where for v in guesses(c, p[i][None], [0]).values()}


def dkv(c, o):
    """dKV-Cache-Decode: a decided row is stored one step after the step that decided it."""
    for a, b in blocks(c, o["block"]):
        k, stored, done = 0, None, set()
        while where := c.masked(a, b):
            decided = {i for i in range(c.N) if c.x[i] != c.net.mask}
            if k % o["refresh"] == 0:
                p, stored = c.probs()
            else:
                p, stored = some_rows(c, [i for i in range(c.N) if i not in done], stored)
            done = decided
            c.set(by_threshold(guesses_at(c, p, where), o["threshold"]))
            k += 1


def vicinity(c, o):
    """dInfer: the block and its neighbours are computed again, everything when a block begins and in the warm-up."""
    step = 0
    for a, b in blocks(c, o["block"]):
        first = True
        while where := c.masked(a, b):
            if first or step < o["warmup"]:
                p, stored = c.probs()
            else:
                p, stored = some_rows(c, range(max(0, a - o["before"]), min(c.N, b + o["after"])), stored)
            c.set(by_threshold(guesses_at(c, p, where), o["threshold"]))
            first, step = False, step + 1


def recap(c, o):
    """ReCAP for text: a full forward chooses a group, `local` steps compute only the group."""
    for a, b in blocks(c, o["block"]):
        group, left = [], 0
        while c.masked(a, b):
            where = [i for i in c.masked(a, b) if i in group]
            if left and where:
                p, stored = some_rows(c, group, stored)
                c.set(by_threshold(guesses_at(c, p, where), o["threshold"]))
                left -= 1
                continue
            p, stored = c.probs()
            g = guesses(c, p, c.masked(a, b))
            take = by_threshold(g, o["threshold"])
            group = list(take) + [i for i in top(conf(g), len(g)) if i not in take][:o["group"]]
            c.set(take)
            left = o["local"]


def slowfast(c, o):
    """SlowFast: `slow` steps over the rest of the block estimate how far to go; from the span's second step on nothing
    undecided behind it is computed."""
    for a, b in blocks(c, o["block"]):
        while c.masked(a, b):
            begin, reach, step = c.masked(a, b)[0], [], 0
            while step < o["slow"] and c.masked(begin, b):
                p, _ = c.probs()
                g = guesses(c, p, c.masked(begin, b))
                far = [i for i in g if g[i][1] >= o["sure"]]
                reach.append((max(far) if far else min(g)) + 1 - begin)
                c.set(by_threshold(g, o["threshold"]))
                step += 1
            if step < o["slow"]:
                continue
            last, previous = reach[-1], reach[-2] if len(reach) > 1 else reach[-1]
            end, first = begin + (last if abs(last - previous) < 2 else (last + previous) // 2), True
            while where := c.masked(begin, end):
                rows = [i for i in range(c.N) if first or i < end or c.x[i] != c.net.mask]
                p, _ = c.probs([c.x[i] for i in rows], pos=rows, visible=torch.ones(len(rows), len(rows), dtype=torch.bool))
                c.set(by_threshold(guesses_at(c, dict(zip(rows, p)), where), o["threshold"]))
                first = False


def adablock(c, o):
    """AdaBlock: a block ends at the surest delimiter that the first forward predicts nearby."""
    a = c.P
    while a < c.N:
        p, _ = c.probs()
        width = min(math.floor(o["look"] * (c.N - c.P)), c.N - a)
        g = guesses(c, p, range(a, a + width))
        found = top({i: v[1] for i, v in g.items() if v[0] in o["delimiters"]}, 1)
        b = min(a + o["block"], c.N)
        if found and g[found[0]][1] >= o["delimiter_threshold"]:
            b = found[0] + 1
        while True:
            c.set(by_threshold(guesses(c, p, c.masked(a, b)), o["threshold"]))
            if not c.masked(a, b):
                break
            p, _ = c.probs()
        a = b


def random_joint(net):
    """A joint layer that changes predictions noticeably; its values are exact in bf16."""
    g, d, f = torch.Generator().manual_seed(1), net.hidden, net.layers[0]["gate"][0].shape[0]
    shapes = {"hidden": (d, d), "token": (d, d), "attn_norm": (d,), "ff_norm": (d,), "q_proj": (d, d),
              "k_proj": (net.kv * net.dim, d), "v_proj": (net.kv * net.dim, d), "attn_out": (d, d), "ff_proj": (f, d),
              "up_proj": (f, d), "ff_out": (d, f)}
    out = {}
    for name, shape in shapes.items():
        value = torch.randn(shape, generator=g) * shape[-1] ** -.5 * .5
        value = value + 1 if len(shape) == 1 else value + torch.eye(d) if name == "hidden" else value
        out[f"joint.{name}.weight"] = value.bfloat16()
    return out


def corrected(net, h, ids):
    """ADJUST's layer on the hidden states of a forward and the canvas as it is now."""
    w = {k.split(".")[1]: v.float() for k, v in net.joint.items()}
    n, share = len(ids), net.heads // net.kv
    z = h @ w["hidden"].T + net.embed[torch.tensor(ids)] @ w["token"].T
    x = net.rms(z, w["attn_norm"])
    q, k, v = ((x @ w[p + "_proj"].T).view(n, -1, net.dim) for p in "qkv")
    q, k = net.rotate(q, torch.arange(n)), net.rotate(k, torch.arange(n)).repeat_interleave(share, 1)
    score = torch.einsum("qhd,khd->hqk", q, k) / net.dim ** 0.5
    mixed = torch.einsum("hqk,khd->qhd", score.softmax(-1), v.repeat_interleave(share, 1)).reshape(n, -1)
    z = z + mixed @ w["attn_out"].T
    x = net.rms(z, w["ff_norm"])
    gate = x @ w["ff_proj"].T
    return (z + (gate * gate.sigmoid() * (x @ w["up_proj"].T)) @ w["ff_out"].T) @ net.head.T


def adjust(c, o):
    """ADJUST: one token of a full forward, then up to tokens - 1 more, each from a pass of the layer."""
    for a, b in blocks(c, o["block"]):
        while c.masked(a, b):
            p, _ = c.probs()
            h = c.net.final
            for j in range(o["tokens"]):
                where = c.masked(a, b)
                if not where:
                    break
                if j and o["passes"]:
                    p = c.probs_of(corrected(c.net, h, c.x))
                c.set(by_threshold(guesses(c, p, where), o["threshold"]))


LOOPS = {"threshold": plain(threshold), "entropy_threshold": plain(entropy_threshold), "local_leap": plain(local_leap),
         "credit": plain(credit), "klass": plain(klass), "hierarchical": plain(hierarchical), "edit": edit,
         "wino": wino, "rcr": rcr, "remdm": remdm, "dkv": dkv, "vicinity": vicinity, "recap": recap, "slowfast": slowfast,
         "adablock": adablock, "adjust": adjust}


def text(name, o):
    """The strategy as the engine reads it."""
    o = {k: v for k, v in o.items() if k != "passes"}
    own = {"dkv": "cache", "vicinity": "cache", "recap": "cache", "slowfast": "canvas", "adablock": "canvas"}.get(name)
    head = f"threshold={o.pop('threshold')},{own}={name}" if own else name
    if isinstance(o.get("delimiters"), list):
        o["delimiters"] = "+".join(map(str, o["delimiters"]))
    flag = {True: "on", False: "off"}
    return ",".join([head] + [f"{k}={flag[v] if isinstance(v, bool) else v}" for k, v in o.items()])


def run(net, name, o, prompt, length, noise=None):
    """(what each forward changed, the canvas at the end); None where two readings of the rule part."""
    c = Trace(net, prompt, length, noise)
    LOOPS[name](c, o)
    return None if getattr(c, "disagree", False) else (c.changes(), c.x)


# (name, options, rival options, new tokens)
LEAP = dict(relaxed=0.5, anchor=0.8, radius=3, anchors="step", decay=False)
CREDIT = dict(threshold=0.8, alpha=0.7, beta=0.8, gamma=0.2, tuning_free=False)
CASES = [
    ("entropy_threshold", dict(entropy=1.5, block=8), dict(entropy=-1.0), 24),
    ("local_leap", LEAP | dict(block=8), dict(relaxed=0.8), 24),
    ("local_leap", LEAP | dict(decay=True, block=12), dict(decay=False), 24),
    ("local_leap", LEAP | dict(anchors="decided", block=12), dict(anchors="step"), 24),
    ("credit", CREDIT | dict(block=12), dict(alpha=0.0), 24),
    ("credit", CREDIT | dict(tuning_free=True, block=12), dict(tuning_free=False), 24),
    ("klass", dict(least=0.4, kl=0.05, history=2, block_steps=0, block=12), dict(kl=1e6), 24),
    ("klass", dict(least=0.4, kl=0.05, history=1, block_steps=8, block=12), dict(kl=0.0), 24),
    ("hierarchical", dict(threshold=0.8, low=0.3, revoke=0.0, block=12), dict(low=2.0), 24),
    ("hierarchical", dict(threshold=0.6, low=0.2, revoke=0.3, block=12), dict(revoke=0.0), 24),
    ("edit", dict(threshold=0.4, replace=0.3, post_steps=4, block=12), dict(replace=1.0), 24),
    ("edit", dict(threshold=0.3, replace=0.3, post_steps=0, block=12), dict(replace=1.0), 24),
    ("wino", dict(threshold=0.3, verify=0.6, block=12), dict(verify=0.0), 24),
    ("rcr", dict(block_steps=6, block=12), dict(block_steps=12), 24),
    ("remdm", dict(block_steps=12, extra=3, number=2, block=12), dict(extra=0), 24),
    ("dkv", dict(threshold=0.6, refresh=4, block=12), dict(refresh=1), 24),
    ("vicinity", dict(threshold=0.6, before=3, after=2, warmup=2, block=8), dict(before=99, after=99), 24),
    ("recap", dict(threshold=0.6, local=2, group=4, block=12), dict(local=0), 24),
    ("slowfast", dict(threshold=0.6, slow=2, sure=0.35, block=12), dict(slow=99), 24),
    ("adjust", dict(tokens=4, threshold=2.0, passes=True, block=12), dict(passes=False), 24),
    ("adjust", dict(tokens=3, threshold=0.6, passes=True, block=8), dict(tokens=1), 24),
    ("adablock", dict(threshold=0.6, block=12, delimiter_threshold=0.2, look=0.5, delimiters=list(range(0, 160, 7))),
     dict(delimiter_threshold=2.0), 24),
]


def stable_case(net, name, o, rival, length):
    for attempt in range(TRIES):
        rng = torch.Generator().manual_seed(attempt)
        prompt = torch.randint(0, 150, (7 + attempt % 5,), generator=rng).tolist()
        base = run(net, name, o, prompt, length)
        if base is None or len({token for step in base[0] for _, token in step}) < 8:
            continue
        other = run(net, name, o | rival, prompt, length)
        if other is not None and other[0] == base[0]:
            continue
        again = (run(net, name, o, prompt, length, torch.Generator().manual_seed(s)) for s in range(DRAWS))
        if all(r == base for r in again):
            return {"loop": name, "options": o, "strategy": text(name, o), "prompt": prompt, "new_tokens": length,
                    "changes": base[0], "ids": base[1]}
    raise SystemExit(f"{name} {o}: no stable prompt in {TRIES} tries")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true")
    write, bad = parser.parse_args().write, 0
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    for folder in (ROOT / "llada", ROOT / "llada_gqa_tied"):
        net, file = Net(folder / "model"), folder / "rules.json"
        if write:
            save_file(random_joint(net), folder / "joint.safetensors")
        net.joint = load_file(folder / "joint.safetensors")
        if write:
            cases = [stable_case(net, *case) for case in CASES]
            file.write_text("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")
        cases = json.loads(file.read_text())
        for c in cases:
            if run(net, c["loop"], c["options"], c["prompt"], c["new_tokens"]) != (c["changes"], c["ids"]):
                bad += 1
                print(f"  {folder.name}: {c['strategy']} differs")
        print(f"{folder.name}: {len(cases)} traces")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
