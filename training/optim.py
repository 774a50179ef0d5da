"""Muon for the matrices, Adam for embedding and norm weights.

Muon: momentum, then the update replaced by its nearest semi-orthogonal matrix (five Newton-Schulz steps, quintic
coefficients), times sqrt(max(1, rows/cols)).  2024, https://kellerjordan.github.io/posts/muon/
"""
import torch


def orthogonalise(g):
    """g [B, m, n] -> about U V^T of each matrix, computed in bf16 (fp32 on CPU)."""
    x = g.bfloat16() if g.is_cuda else g.float()
    flip = x.shape[1] > x.shape[2]
    x = x.mT if flip else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return x.mT if flip else x


class Muon(torch.optim.Optimizer):
    """Parameters are stacks [..., m, n]; each m x n matrix is updated on its own."""

    def __init__(self, params, lr=0.02, momentum=0.95, weight_decay=0.05):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(m, group["momentum"])  # Nesterov
                g = g.flatten(0, -3) if g.dim() > 2 else g[None]
                u = orthogonalise(g).view_as(p)
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(u.to(p.dtype), alpha=-group["lr"] * max(1, p.shape[-2] / p.shape[-1]) ** .5)


def optimizers(model, muon_lr, adam_lr):
    matrices = [model.qkv, model.attn_out, model.gate_up, model.ff_out]
    rest = [p for p in model.parameters() if all(p is not q for q in matrices)]
    opts = [Muon(matrices, lr=muon_lr), torch.optim.AdamW(rest, lr=adam_lr, betas=(.9, .98), weight_decay=0.0, fused=model.wte.is_cuda)]
    for o in opts:
        for g in o.param_groups:
            g["peak"] = g["lr"]
    return opts
