"""The transformer of both models: LLaDA / Llama layout over a flat stream of packed documents.

All documents of a batch lie end to end in one stream of N tokens; ``cu`` [D+1] int32 holds the offsets where they start
(repeated at the end for unused slots), ``pos`` [N] each token's position in its own document.  Attention is full inside a
document (diffusion) or causal (AR); nothing crosses documents, and no padding is computed.

Weights are stacked over layers ([n_layers, out, in]) so that one compiled function serves every layer and the optimizer
handles all matrices of a shape at once.  ``export.py`` unstacks them.
"""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass
class Config:
    d_model: int = 256
    n_layers: int = 10
    n_heads: int = 8
    mlp: int = 512
    vocab: int = 4096
    max_len: int = 1024
    theta: float = 10000.0
    eps: float = 1e-5


def rms_norm(x, weight, eps):
    """fp32 inside, cast back, then the weight, as LLaDA and Llama do."""
    y = x.float()
    return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype) * weight


def before_attention(x, g, w, cos, sin, heads: int, eps: float):
    """x [N, d], w [3, d, d], cos/sin [N, 1, hd] fp32 -> q, k, v [N, heads, hd]; rotate-half RoPE."""
    n, d = x.shape
    q, k, v = F.linear(rms_norm(x, g, eps), w.reshape(3 * d, d)).view(n, 3, heads, d // heads).unbind(1)

    def rope(t):
        a, b = t.float().chunk(2, -1)
        return (t.float() * cos + torch.cat((-b, a), -1) * sin).to(t.dtype)
    return rope(q), rope(k), v.contiguous()


def after_attention(x, a, wo, g, w_gate_up, w_down, eps: float):
    """Residual, then SwiGLU: ff_out(silu(ff_proj h) * up_proj h)."""
    x = x + F.linear(a, wo)
    gate, up = F.linear(rms_norm(x, g, eps), w_gate_up.flatten(0, 1)).chunk(2, -1)
    return x + F.linear(F.silu(gate) * up, w_down)


def final_norm(x, g, eps: float):
    return rms_norm(x, g, eps)


class Rows(torch.autograd.Function):
    """h[rows] for distinct rows; the gradient is a plain scatter instead of a sorted accumulation."""

    @staticmethod
    def forward(ctx, h, rows):
        ctx.save_for_backward(rows)
        ctx.n = h.shape[0]
        return h.index_select(0, rows)

    @staticmethod
    def backward(ctx, grad):
        rows, = ctx.saved_tensors
        return grad.new_zeros(ctx.n, grad.shape[1]).index_copy_(0, rows, grad), None


def head_loss(h, wte, target, weight):
    """h [K, d] rows to score, target [K], weight [K] fp32 -> (sum of weight * CE, sum of weight)."""
    logits = F.linear(h, wte).float()
    ce = torch.logsumexp(logits, -1) - logits.gather(1, target[:, None])[:, 0]
    return (ce * weight).sum(), weight.sum()


# ------------------------------------------------------------------------------------------ attention over packed documents

def dense_attention(q, k, v, cu, max_len, causal):
    """Reference: one N x N mask; O(N^2) memory."""
    n = q.shape[0]
    doc = torch.bucketize(torch.arange(n, device=q.device), cu.long()[1:], right=True)
    mask = doc[:, None] == doc[None, :]
    if causal:
        mask &= torch.ones_like(mask).tril()
    o = F.scaled_dot_product_attention(*(t.transpose(0, 1)[None] for t in (q, k, v)), attn_mask=mask)
    return o[0].transpose(0, 1)


def padded_attention(q, k, v, cu, max_len, causal):
    """Documents side by side, padded to the longest: for CPUs, where N x N is too much."""
    length = cu.long().diff()
    length = length[length > 0]
    inside = torch.arange(int(length.max()), device=q.device) < length[:, None]  # [D, L]

    def pad(t):
        out = t.new_zeros(*inside.shape, *t.shape[1:])
        out[inside] = t
        return out.transpose(1, 2)
    see = inside[:, None, None]
    if causal:
        see = see & torch.ones(inside.shape[1], inside.shape[1], dtype=torch.bool, device=q.device).tril()
    o = F.scaled_dot_product_attention(pad(q), pad(k), pad(v), attn_mask=see)
    return o.transpose(1, 2)[inside]


def flash_attention(q, k, v, cu, max_len, causal):
    """FlashAttention's variable-length form, as PyTorch's SDPA calls it for jagged nested tensors."""
    return torch.ops.aten._flash_attention_forward(q, k, v, cu, cu, max_len, max_len, 0.0, causal, False)[0]


def jagged_attention(q, k, v, cu, max_len, causal):
    """The same through the public nested-tensor interface."""
    nest = lambda t: torch.nested.nested_tensor_from_jagged(t, cu, max_seqlen=max_len, min_seqlen=1).transpose(1, 2)
    return F.scaled_dot_product_attention(nest(q), nest(k), nest(v), is_causal=causal).transpose(1, 2).values()


def choose_attention(device):
    """The first variable-length attention that matches the dense reference, gradients included."""
    if device.type != "cuda":
        return padded_attention
    g = torch.Generator(device).manual_seed(0)
    cu = torch.tensor([0, 50, 57, 200, 256, 256], dtype=torch.int32, device=device)
    for f in (flash_attention, jagged_attention):
        try:
            worst = 0.0
            for causal in (False, True):
                qkv = [torch.randn(256, 4, 32, generator=g, device=device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
                r = torch.randn(256, 4, 32, generator=g, device=device)
                for x, y in zip(*[torch.autograd.grad((fn(*qkv, cu, 160, causal).float() * r).sum(), qkv) for fn in (f, dense_attention)]):
                    worst = max(worst, ((x - y).float().norm() / y.float().norm()).item())
            print(f"attention: {f.__name__}, gradient difference from the dense reference {worst:.1e}", flush=True)
            if worst < 2e-2:
                return f
        except (RuntimeError, NotImplementedError, TypeError) as e:
            print(f"attention: {f.__name__} unusable: {str(e)[:200]}", flush=True)
    raise SystemExit("no variable-length attention works here")


class Tessera(nn.Module):
    """``causal=False``: masked diffusion.  ``causal=True``: the AR twin.  Same parameters."""

    def __init__(self, cfg: Config, causal: bool, attention=dense_attention, dtype=torch.float32, compiled=False, seed=0):
        super().__init__()
        self.cfg, self.causal, self.attention, self.dtype = cfg, causal, attention, dtype
        L, d, f = cfg.n_layers, cfg.d_model, cfg.mlp
        g = torch.Generator().manual_seed(seed)
        init = lambda *shape, std: nn.Parameter(torch.randn(*shape, generator=g) * std)
        self.wte = init(cfg.vocab, d, std=0.03)
        self.qkv = init(L, 3, d, d, std=d ** -.5)
        self.attn_out = init(L, d, d, std=d ** -.5 / (2 * L) ** .5)
        self.gate_up = init(L, 2, f, d, std=d ** -.5)
        self.ff_out = init(L, d, f, std=f ** -.5 / (2 * L) ** .5)
        self.attn_norm, self.ff_norm = nn.Parameter(torch.ones(L, d)), nn.Parameter(torch.ones(L, d))
        self.ln_f = nn.Parameter(torch.ones(d))
        hd = d // cfg.n_heads
        angle = torch.arange(cfg.max_len)[:, None] * (1.0 / cfg.theta ** (torch.arange(0, hd, 2) / hd))[None]
        angle = torch.cat((angle, angle), -1)
        self.register_buffer("cos", angle.cos()[:, None], persistent=False)  # [max_len, 1, hd] fp32
        self.register_buffer("sin", angle.sin()[:, None], persistent=False)
        c = (lambda fn: torch.compile(fn, fullgraph=True, dynamic=False)) if compiled else (lambda fn: fn)
        self.fns = dict(pre=c(before_attention), post=c(after_attention), norm=c(final_norm), loss=c(head_loss))
        self.plain = dict(pre=before_attention, post=after_attention, norm=final_norm)

    def hidden(self, tokens, pos, cu, max_len):
        """tokens, pos [N] -> normalised hidden states [N, d].  Outside training the uncompiled functions run."""
        c, fn = self.cfg, self.fns if torch.is_grad_enabled() else self.plain
        layers = zip(*(p.to(self.dtype).unbind(0) for p in (self.attn_norm, self.qkv, self.attn_out, self.ff_norm, self.gate_up, self.ff_out)))
        wte = self.wte.to(self.dtype)
        x, cos, sin = F.embedding(tokens, wte), self.cos[pos], self.sin[pos]
        for g1, wqkv, wo, g2, wgu, wd in layers:
            q, k, v = fn["pre"](x, g1, wqkv, cos, sin, c.n_heads, c.eps)
            a = self.attention(q, k, v, cu, max_len, self.causal)
            x = fn["post"](x, a.reshape(x.shape), wo, g2, wgu, wd, c.eps)
        return fn["norm"](x, self.ln_f.to(self.dtype), c.eps), wte

    def loss(self, b):
        """b: a batch of ``data.py`` on the device -> (loss, scored rows)."""
        h, wte = self.hidden(b["tokens"], b["pos"], b["cu"], b["max_len"])
        total, n = self.fns["loss"](Rows.apply(h, b["rows"]), wte, b["targets"], b["weights"])
        return total / n.clamp(min=1), n

    @torch.no_grad()
    def logits(self, tokens, pos, cu, max_len, rows):
        h, wte = self.hidden(tokens, pos, cu, max_len)
        return F.linear(h[rows], wte).float()
