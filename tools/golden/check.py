"""Second, plain implementation of the golden models and sampler rules; it uses none of the public code.

  check.py [FOLDER ...]     default: every folder of tests/golden; exits non-zero on any difference

It needs torch and safetensors only. A forward takes ids at absolute positions, stored keys, and a rule for what is
visible, which is the shape an engine gives it too.
"""
import json
import math
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[2] / "tests" / "golden"


class Net:
    """One model read from its folder; keys are cached after rotation."""

    def __init__(self, folder):
        cfg = json.loads((folder / "config.json").read_text())
        w = {}
        for file in folder.glob("*.safetensors"):
            w |= {k: v.float() for k, v in load_file(file).items()}
        arch = cfg["architectures"][0]
        llada, self.arch, self.cfg = arch == "LLaDAModelLM", arch, cfg
        get = cfg.__getitem__
        self.mask = cfg.get("mask_token_id", 156)
        self.hidden, self.heads = (get("d_model"), get("n_heads")) if llada else (
            get("hidden_size"), get("num_attention_heads"))
        self.kv = get("n_kv_heads") if llada else get("num_key_value_heads")
        self.dim = cfg.get("head_dim") or self.hidden // self.heads
        self.eps = get("rms_norm_eps")
        layers = get("n_layers") if llada else get("num_hidden_layers")
        self.block = cfg.get("block_size", cfg.get("bd_size"))
        self.view = {"llada": "full", "Dream": "full", "sdar": "block", "sdar_moe": "block", "llada2_moe": "block",
                     "Fast_dLLM_Qwen": "block"}.get(get("model_type"), "causal")
        self.turned = int(self.dim * cfg.get("partial_rotary_factor", 1))
        self.freq = self.frequencies(get("rope_theta"), cfg.get("rope_scaling"))
        if llada:
            name = {"input": "attn_norm", "post": "ff_norm", "q": "q_proj", "k": "k_proj", "v": "v_proj",
                    "o": "attn_out", "gate": "ff_proj", "up": "up_proj", "down": "ff_out"}
            head, prefix = "model.transformer.", "model.transformer.blocks."
            self.embed, self.norm = w[head + "wte.weight"], w[head + "ln_f.weight"]
            self.head = self.embed if cfg["weight_tying"] else w[head + "ff_out.weight"]
        else:
            name = {"input": "input_layernorm", "post": "post_attention_layernorm", "q": "self_attn.q_proj",
                    "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
                    "gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj",
                    "qn": "self_attn.q_norm", "kn": "self_attn.k_norm"}
            if arch == "LLaDA2MoeModelLM":
                name |= {"qkv": "attention.query_key_value", "o": "attention.dense", "qn": "attention.query_layernorm",
                         "kn": "attention.key_layernorm"}
            prefix = "model.layers."
            self.embed = w.get("model.embed_tokens.weight", w.get("model.word_embeddings.weight"))
            self.norm = w["model.norm.weight"]
            self.head = self.embed if cfg["tie_word_embeddings"] else w["lm_head.weight"]
        self.layers = [{short: (w.get(f"{prefix}{i}.{long}.weight"), w.get(f"{prefix}{i}.{long}.bias"))
                        for short, long in name.items()} for i in range(layers)]
        self.mixtures = [self.mixture(w, f"{prefix}{i}.") for i in range(layers)]

    def mixture(self, w, prefix):
        """The experts of a layer as (router, bias, [expert], shared expert), or None; an expert is (gate, up, down)."""
        if prefix + "mlp.gate.weight" not in w:
            return None

        def swiglu(at):
            return [w.get(f"{prefix}{at}.{part}_proj.weight") for part in ("gate", "up", "down")]
        experts = [swiglu(f"mlp.experts.{j}") for j in range(self.cfg["num_experts"])]
        shared = swiglu("mlp.shared_experts" if self.arch == "LLaDA2MoeModelLM" else "shared_expert")
        return w[prefix + "mlp.gate.weight"], w.get(prefix + "mlp.gate.expert_bias"), experts, shared

    def mix(self, x, router, bias, experts, shared):
        """Output of a mixture of experts, one row and one expert at a time."""
        def swiglu(row, weights):
            gate, up, down = weights
            return down @ (torch.nn.functional.silu(gate @ row) * (up @ row))
        cfg, k, out = self.cfg, self.cfg["num_experts_per_tok"], []
        for row in x:
            logit = router @ row
            score = logit.sigmoid() if bias is not None else logit.softmax(-1)
            order = (score if bias is None else score + bias).tolist()
            allowed = range(len(experts))
            if bias is not None:
                size = len(experts) // cfg["n_group"]
                groups = [range(g * size, (g + 1) * size) for g in range(cfg["n_group"])]
                value = [sum(sorted((order[e] for e in g), reverse=True)[:2]) for g in groups]
                kept = sorted(range(len(groups)), key=lambda g: -value[g])[:cfg["topk_group"]]
                allowed = [e for g in kept for e in groups[g]]
            chosen = sorted(allowed, key=lambda e: -order[e])[:k]
            weight = score[chosen]
            if self.arch != "LLaDAMoEModelLM":
                weight = weight / weight.sum()
            weight = weight * (cfg["routed_scaling_factor"] if bias is not None else 1)
            total = sum(a * swiglu(row, experts[e]) for a, e in zip(weight, chosen))
            out.append(total if shared[0] is None else total + swiglu(row, shared))
        return torch.stack(out)

    def frequencies(self, theta, scaling):
        """Rotary frequencies, with llama3 scaling when asked for."""
        freq = 1.0 / theta ** (torch.arange(0, self.turned, 2).float() / self.turned)
        if scaling:
            low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
            old = scaling["original_max_position_embeddings"]
            smooth = ((old * freq / (2 * math.pi) - low) / (high - low)).clamp(0, 1)
            freq = (1 - smooth) * freq / scaling["factor"] + smooth * freq
        return freq

    def rms(self, x, weight):
        """RMS norm over the last dimension."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * weight

    def rotate(self, x, pos):
        """Rotate-half RoPE on the first part of [rows, heads, dim]."""
        x, rest = x[..., :self.turned], x[..., self.turned:]
        angle = pos[:, None].float() * self.freq
        cos, sin = (torch.cat((f, f), -1)[:, None] for f in (angle.cos(), angle.sin()))
        a, b = x.chunk(2, -1)
        return torch.cat((x * cos + torch.cat((-b, a), -1) * sin, rest), -1)

    def run(self, ids, start=0, past=None, pos=None, visible=None):
        """Rows for `ids` at positions start.. against stored rows `past`.

        `past` holds rows [0, n); rows at the same positions are replaced. Returns (logits, rows of all positions).
        `pos` names other positions for the rows, which are then stored in order, or in `past` where they belong;
        `visible` [rows, stored] says what each row sees.
        """
        n, scattered = len(ids), pos is not None
        pos = torch.tensor(pos) if scattered else torch.arange(start, start + n)
        x, store = self.embed[torch.tensor(ids)], []
        total = max(start + n, past[0][0].shape[0] if past else 0)
        keys = torch.arange(total)
        visible = visible if visible is not None else {"full": torch.ones(n, total, dtype=torch.bool), "causal": keys <= pos[:, None],
                   "block": keys // (self.block or 1) <= pos[:, None] // (self.block or 1)}[self.view]

        def linear(y, wb):
            y = y @ wb[0].T
            return y if wb[1] is None else y + wb[1]
        for i, layer in enumerate(self.layers):
            h = self.rms(x, layer["input"][0])
            if "qkv" in layer:
                q, k, v = linear(h, layer["qkv"]).view(n, -1, self.dim).split((self.heads, self.kv, self.kv), 1)
            else:
                q = linear(h, layer["q"]).view(n, self.heads, self.dim)
                k = linear(h, layer["k"]).view(n, self.kv, self.dim)
                v = linear(h, layer["v"]).view(n, self.kv, self.dim)
            if layer.get("qn", (None,))[0] is not None:
                q, k = self.rms(q, layer["qn"][0]), self.rms(k, layer["kn"][0])
            q, k = self.rotate(q, pos), self.rotate(k, pos)
            if past and scattered:
                k, v = (old.index_copy(0, pos, new) for old, new in zip(past[i], (k, v)))
            elif past:
                k, v = (torch.cat((old[:start], new, old[start + n:])) for old, new in zip(past[i], (k, v)))
            store.append((k, v))
            share = self.heads // self.kv
            kk, vv = k.repeat_interleave(share, 1), v.repeat_interleave(share, 1)
            score = torch.einsum("qhd,khd->hqk", q, kk) / self.dim ** 0.5
            prob = score.masked_fill(~visible, -torch.inf).softmax(-1)
            x = x + linear(torch.einsum("hqk,khd->qhd", prob, vv).reshape(n, -1), layer["o"])
            h = self.rms(x, layer["post"][0])
            if self.mixtures[i]:
                x = x + self.mix(h, *self.mixtures[i])
                continue
            gate = linear(h, layer["gate"])
            x = x + linear(gate * gate.sigmoid() * linear(h, layer["up"]), layer["down"])
        self.final = self.rms(x, self.norm)
        return self.final @ self.head.T, store


def cut(past, end):
    """Stored rows of positions < end."""
    return [(k[:end], v[:end]) for k, v in past]


def shift(rows):
    """Row i-1 serves position i; row 0 serves itself."""
    return torch.cat((rows[:1], rows[:-1]))


class Canvas:
    """Ids and the log of forwards with their commits."""

    def __init__(self, net, ids):
        self.net, self.x, self.steps = net, list(ids), []

    def forward(self, kind, start, end, past=None):
        """A counted forward of positions [start, end)."""
        self.steps.append([kind, []])
        return self.net.run(self.x[start:end], start, past)

    def masked(self, start, end):
        """Masked positions in [start, end)."""
        return [i for i in range(start, end) if self.x[i] == self.net.mask]

    def commit(self, pairs):
        """Write (position, id) pairs."""
        for i, token in sorted(pairs):
            if i < len(self.x):
                self.x[i] = token
            else:
                self.x.append(token)
            self.steps[-1][1].append([i, token])


def best(rows, base, positions, double=False):
    """{position: (confidence, id)} with rows[position - base]."""
    out = {}
    for i in positions:
        p = (rows[i - base].double() if double else rows[i - base]).softmax(-1)
        c, v = p.max(-1)
        out[i] = (c.item(), v.item())
    return out


def top(scores, m):
    """The m positions with largest score; ties to the lower position."""
    return sorted(scores, key=lambda i: (-scores[i], i))[:m]


def quota(m, steps):
    """Linear schedule."""
    return [m // steps + (k < m % steps) for k in range(steps)]


def greedy(net, prompt, o):
    """Greedy with optional repetition penalty and end id."""
    c, past, start = Canvas(net, prompt), None, 0
    for step in range(o["max_new_tokens"]):
        rows, past = c.forward("step" if step else "prefill", start, len(c.x), past)
        row, start = rows[-1].clone(), len(c.x)
        for t in set(c.x) if "repetition_penalty" in o else ():
            row[t] = row[t] / o["repetition_penalty"] if row[t] > 0 else row[t] * o["repetition_penalty"]
        c.commit([(len(c.x), row.argmax().item())])
        if c.x[-1] == o.get("eos"):
            break
    return c


def llada(net, prompt, o):
    """The base LLaDA loop."""
    P, G, B = len(prompt), o["gen_length"], o["block_length"]
    c, K = Canvas(net, list(prompt) + [net.mask] * o["gen_length"]), o["steps"] * o["block_length"] // o["gen_length"]
    for a in range(P, P + G, B):
        for q in quota(len(c.masked(a, a + B)), K):
            rows, _ = c.forward("full", 0, P + G)
            if o["cfg_scale"]:
                u, _ = net.run([net.mask] * P + c.x[P:])
                rows = u + (o["cfg_scale"] + 1) * (rows - u)
            if o.get("logits_eos_inf"):
                rows[:, o["eos"]] = -torch.inf
            ids = rows.argmax(-1)
            if o.get("confidence_eos_eot_inf"):
                rows[:, [o["eos"], o["eot"]]] = -torch.inf
            p = rows.softmax(-1)
            pick = top({i: p[i, ids[i]].item() for i in c.masked(0, a + B)}, q)
            c.commit([(i, ids[i].item()) for i in pick])
    return c


def fast_dllm_v1(net, prompt, o):
    """Threshold, factor or quota under three cache modes."""
    P, G, B = len(prompt), o["gen_length"], o["block_length"]
    c = Canvas(net, list(prompt) + [net.mask] * G)

    def choose(rows, base, a, q):
        s = best(rows, base, c.masked(a, a + B), double=True)
        order = top({i: v[0] for i, v in s.items()}, len(s))
        if o.get("factor"):
            m = len(order)
            fail = next((n for n in range(2, m + 1) if s[order[n - 1]][0] < 1 - o["factor"] / (n + 1)), None)
            take = m if fail is None or (fail == m and o["last_rank_quirk"]) else fail - 1
            order = order[:take]
        elif "threshold" in o:
            order = order[:1] + [i for i in order[1:] if s[i][0] >= o["threshold"]]
        else:
            order = order[:q]
        c.commit([(i, s[i][1]) for i in order])
    for a in range(P, P + G, B):
        quotas = iter(quota(B, o["steps"] * B // G) + [0] * B)
        rows, past = c.forward("full", 0, P + G)
        choose(rows, 0, a, next(quotas))
        while c.masked(a, a + B):
            if o["cache"] == "none":
                rows, base = c.forward("full", 0, P + G)[0], 0
            elif o["cache"] == "prefix":
                rows, base = c.forward("window", a, P + G, cut(past, a))[0], a
            else:
                (rows, past), base = c.forward("window", a, a + B, past), a
            choose(rows, base, a, next(quotas))
    return c


def dream(net, prompt, o):
    """Whole-canvas Dream."""
    P, N, S = len(prompt), len(prompt) + o["gen_length"], o["steps"]
    c = Canvas(net, list(prompt) + [net.mask] * o["gen_length"])
    t = [1 - k * (1 - o["eps"]) / S for k in range(S + 1)]
    for k in range(S):
        rows = shift(c.forward("full", 0, N)[0])
        where = c.masked(0, N)
        m = int(len(where) * (1 - t[k + 1] / t[k])) if k < S - 1 else len(where)
        p = rows.softmax(-1)
        score = {"maskgit_plus": lambda q: q.max(), "entropy": lambda q: (q * (q + 1e-10).log()).sum(),
                 "topk_margin": lambda q: q.topk(2)[0] @ torch.tensor([1.0, -1.0])}[o["alg"]]
        pick = top({i: score(p[i]).item() for i in where}, m)
        c.commit([(i, p[i].argmax().item()) for i in pick])
    return c


def dream_fast_dllm(net, prompt, o):
    """The block port of Dream with its caches."""
    P, G, B = len(prompt), o["gen_length"], o["block_length"]
    c = Canvas(net, list(prompt) + [net.mask] * G)
    for a in range(P, P + G, B):
        rows, past = c.forward("full", 0, P + G)
        c.commit([(a, shift(rows)[a].argmax().item())])
        while True:
            if o["cache"] == "prefix":
                rows = c.forward("window", a, P + G, cut(past, a))[0]
            else:
                rows, past = c.forward("window", a, a + B, past)
            s = best(shift(rows), a, c.masked(a, a + B))
            order = top({i: v[0] for i, v in s.items()}, len(s))
            c.commit([(i, s[i][1]) for n, i in enumerate(order) if n == 0 or s[i][0] >= o["threshold"]])
            if not c.masked(a, a + B):
                break
    return c


def sdar(net, prompt, o):
    """Block diffusion with exact cache."""
    P, B = len(prompt), o["block_length"]
    N = -(-(P + o["gen_length"]) // B) * B
    c, past = Canvas(net, list(prompt) + [net.mask] * (N - P)), None
    if P // B:
        _, past = c.forward("prefill", 0, P // B * B)
    for a in range(P // B * B, N, B):
        for k in range(B + 1):
            where = c.masked(a, a + B)
            if not where:
                _, past = c.forward("finalise", a, a + B, past)
                break
            rows, _ = c.forward("denoise", a, a + B, past)
            s = best(rows, a, where)
            if o["strategy"] == "entropy_bounded":
                p = rows.softmax(-1)
                h = {i: -(p[i - a] * p[i - a].clamp_min(1e-12).log()).sum().item() for i in where}
                order, total, pick = sorted(where, key=lambda i: (h[i], i)), 0.0, []
                for i in order:
                    total += h[i]
                    if total < o["gamma"] or not pick:
                        pick.append(i)
                    if total >= o["gamma"]:
                        break
            else:
                q = quota(B, o["denoising_steps"])[k]
                high = [i for i in where if s[i][0] > o.get("threshold", 2)]
                if o["strategy"] == "sequential":
                    pick = where[:q]
                elif o["strategy"] == "low_confidence_dynamic" and len(high) >= q:
                    pick = high
                else:
                    pick = top({i: s[i][0] for i in where}, q)
            c.commit([(i, s[i][1]) for i in pick])
        if set(o.get("stop", [])) & set(c.x[P:]):
            break
    return c


def llada2(net, prompt, o):
    """Block diffusion that evaluates everything before the end of the block in every forward."""
    P, B, stop = len(prompt), o["block_length"], o.get("stop")
    N = -(-(P + o["gen_length"]) // B) * B
    c = Canvas(net, list(prompt) + [net.mask] * (N - P))
    for a in range(P // B * B, N, B):
        for q in quota(B, o["steps"]):
            where = c.masked(a, a + B)
            if not where:
                break
            s = best(c.forward("denoise", 0, a + B)[0], 0, where)
            high = [i for i in where if s[i][0] > o["threshold"]]
            pick = high if len(high) >= q else top({i: s[i][0] for i in where}, q)
            c.commit([(i, s[i][1]) for i in pick])
        if stop in c.x[P:]:
            break
    if stop in c.x[P:]:  # what is behind the stop is not returned, nor are its last commits seen
        end = c.x.index(stop, P) + 1
        del c.x[end:]
        c.steps[-1][1] = [pair for pair in c.steps[-1][1] if pair[0] < end]
    return c


def fast_dllm_v2(net, prompt, o, simple=False):
    """Block and sub-block diffusion with shift."""
    P, B, b, stop = len(prompt), net.block, o["small_block_size"], o.get("stop")
    c, past, stopped = Canvas(net, prompt), None, False
    cached = o.get("block_cache", False)

    def settled(start):
        if stop is None or stop not in c.x[start:]:
            return False
        return not c.masked(start, start + c.x[start:].index(stop))
    if P > B:
        rows, past = c.forward("prefill", 0, P // B * B)
        if P % B == 0:
            c.commit([(P, rows[-1].argmax().item())])
    first = P // B
    for block in range(first, o["max_new_tokens"] // B + first):
        a, known = block * B, len(c.x)
        if simple and stop in c.x[P:]:
            break
        c.x += [net.mask] * (a + B - len(c.x))
        rows_in_block = None
        for s in range(a, a + B, b):
            while (where := c.masked(s, s + b)) and not (simple and settled(known)):
                if cached and rows_in_block is not None and c.x[s] != net.mask:
                    rows, rows_in_block = c.forward("sub_block", s, s + b, rows_in_block)
                    base = s
                else:
                    rows, rows_in_block = c.forward("block", a, a + B, past)
                    base = a
                found = best(shift(rows), base, where)
                pick = {i for i in where if found[i][0] > o["threshold"]} | set(
                    top({i: v[0] for i, v in found.items()}, 1))
                c.commit([(i, found[i][1]) for i in pick])
                stopped = stopped or any(found[i][1] == stop for i in pick)
        if simple and settled(known):
            break
        if stopped and not simple:
            end = c.x.index(stop, P) + 1
            c.x[end:] = [o["pad"]] * (len(c.x) - end)
            break
        rows, past = c.forward("finalise", a, a + B, past)
        c.commit([(a + B, rows[-1].argmax().item())])
    if simple and stop in c.x[P:]:
        del c.x[c.x.index(stop, P) + 1:]
    return c


SAMPLERS = {"greedy": greedy, "llada": llada, "fast_dllm_v1": fast_dllm_v1, "dream": dream,
            "dream_fast_dllm": dream_fast_dllm, "sdar": sdar, "llada2": llada2, "fast_dllm_v2": fast_dllm_v2,
            "fast_dllm_v2_simple": lambda net, prompt, o: fast_dllm_v2(net, prompt, o, simple=True)}


def check(folder):
    """Compare one golden; return the number of differences."""
    model = folder / "model" if (folder / "model").is_dir() else folder
    net, data = Net(model), load_file(folder / "expected.safetensors")
    worst = max((net.run(data[k].tolist())[0] - data[k.replace("input", "logits")]).abs().max().item()
                for k in data if k.startswith("input"))
    bad = int(worst > 1e-4)
    cases = json.loads((folder / "decode.json").read_text()) if (folder / "decode.json").exists() else []
    for case in cases:
        c, want = SAMPLERS[case["sampler"]](net, case["prompt"], case["options"]), case["expected"]
        kinds = [kind for kind, _ in c.steps]
        nfe = {"total": len(kinds), **{k: kinds.count(k) for k in set(kinds)}}
        if (c.x, c.steps, nfe) != (want["ids"], want["steps"], want["nfe"]):
            bad += 1
            print(f"  {folder.name}/{case['name']} differs:\n   have {c.steps}\n   want {want['steps']}")
    print(f"{folder.name}: logits within {worst:.1e}, {len(cases)} traces, {bad} differences")
    return bad


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    folders = [Path(p) for p in sys.argv[1:]] or sorted(p.parent for p in ROOT.glob("*/meta.json"))
    sys.exit(1 if sum(map(check, folders)) else 0)
