"""Tiny random checkpoints in the exact Hugging Face layout, and their expected logits."""
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

ARCHS = ("llama", "qwen2", "qwen3", "qwen3_moe", "llada", "llada_moe", "llada2_moe", "dream", "sdar", "sdar_moe",
         "fast_dllm_v2")
DIFFUSION = ("llada", "llada_moe", "llada2_moe", "dream", "sdar", "sdar_moe", "fast_dllm_v2")
MASKED = ("llada2_moe", "sdar_moe")  # block-causal only by the mask they are given
SIZE = dict(hidden=64, layers=2, heads=4, kv_heads=2, head_dim=16, inter=56, vocab=160, tied=False, theta=10000.0,
            block=4, rope_scaling=None, gain=3.0,
            experts=6, top_k=2, expert_inter=20, shared=0, groups=1, top_groups=1, dense=(), rotary=1.0,
            expert_bias=0.25)


def special(vocab):
    """Special ids inside a small vocabulary; ordinary prompt tokens are below `first`."""
    return dict(mask=vocab - 4, eos=vocab - 3, eot=vocab - 2, bos=vocab - 1, first=vocab - 8)


def config(arch, size):
    """The content of config.json, with the field names real checkpoints of `arch` have."""
    s, ids = {**SIZE, **size}, special({**SIZE, **size}["vocab"])
    if arch == "llada":
        return {
            "activation_type": "silu", "alibi": False, "alibi_bias_max": 8.0, "architectures": ["LLaDAModelLM"],
            "attention_dropout": 0.0, "attention_layer_norm": False, "attention_layer_norm_with_affine": True,
            "auto_map": {"AutoConfig": "configuration_llada.LLaDAConfig",
                         "AutoModel": "modeling_llada.LLaDAModelLM",
                         "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM"},
            "bias_for_layer_norm": False, "block_group_size": 1, "block_type": "llama", "d_model": s["hidden"],
            "embedding_dropout": 0.0, "embedding_size": s["vocab"], "eos_token_id": ids["eos"],
            "flash_attention": False, "include_bias": False, "include_qkv_bias": False, "init_cutoff_factor": None,
            "init_device": "meta", "init_fn": "mitchell", "init_std": 0.02, "input_emb_norm": False,
            "layer_norm_type": "rms", "layer_norm_with_affine": True, "mask_token_id": ids["mask"],
            "max_sequence_length": 256, "mlp_hidden_size": s["inter"], "mlp_ratio": 4, "model_type": "llada",
            "multi_query_attention": None, "n_heads": s["heads"], "n_kv_heads": s["kv_heads"],
            "n_layers": s["layers"], "pad_token_id": ids["eos"], "precision": "amp_bf16", "residual_dropout": 0.0,
            "rms_norm_eps": 1e-05, "rope": True, "rope_full_precision": True, "rope_theta": s["theta"],
            "scale_logits": False, "torch_dtype": "float32", "transformers_version": "4.46.2", "use_cache": False,
            "vocab_size": s["vocab"], "weight_tying": bool(s["tied"])}
    out = {
        "architectures": None, "attention_dropout": 0.0, "bos_token_id": ids["bos"], "eos_token_id": ids["eos"],
        "hidden_act": "silu", "hidden_size": s["hidden"], "initializer_range": 0.02,
        "intermediate_size": s["inter"], "max_position_embeddings": 512, "model_type": None,
        "num_attention_heads": s["heads"], "num_hidden_layers": s["layers"], "num_key_value_heads": s["kv_heads"],
        "rms_norm_eps": 1e-06, "rope_theta": s["theta"], "tie_word_embeddings": bool(s["tied"]),
        "torch_dtype": "float32", "transformers_version": "4.52.4", "use_cache": True, "vocab_size": s["vocab"]}
    window = {"max_window_layers": s["layers"], "sliding_window": None, "use_sliding_window": False}
    if arch == "llama":
        out.update(architectures=["LlamaForCausalLM"], model_type="llama", attention_bias=False, mlp_bias=False,
                   rms_norm_eps=1e-05, rope_scaling=s["rope_scaling"])
        if s["rope_scaling"]:
            out["head_dim"] = s["head_dim"]
    elif arch == "qwen2":
        out.update(architectures=["Qwen2ForCausalLM"], model_type="qwen2", **window)
        out["sliding_window"] = 512
    elif arch == "qwen3":
        out.update(architectures=["Qwen3ForCausalLM"], model_type="qwen3", attention_bias=False,
                   head_dim=s["head_dim"], rope_scaling=None, **window)
    elif arch == "dream":
        out.update(architectures=["DreamModel"], model_type="Dream", mask_token_id=ids["mask"],
                   pad_token_id=ids["eos"], rope_scaling=None, use_mrope=False,
                   auto_map={"AutoConfig": "configuration_dream.DreamConfig",
                             "AutoModel": "modeling_dream.DreamModel"}, **window)
    elif arch == "sdar":
        out.update(architectures=["SDARForCausalLM"], model_type="sdar", attention_bias=False,
                   attn_implementation="flex_attention", block_size=s["block"], debug=False, ep_size=1,
                   fuse_cross_entropy=True, head_dim=s["head_dim"], mask_token_id=ids["mask"], micro_forward=False,
                   rope_scaling=None, skip_checkpoint=False, use_deepep=False, use_cache=False,
                   auto_map={"AutoConfig": "configuration_sdar.SDARConfig", "AutoModel": "modeling_sdar.SDARModel",
                             "AutoModelForCausalLM": "modeling_sdar.SDARForCausalLM"}, **window)
    elif arch in ("qwen3_moe", "sdar_moe"):
        out.update(architectures=["Qwen3MoeForCausalLM" if arch == "qwen3_moe" else "SDARMoeForCausalLM"],
                   model_type=arch, attention_bias=False, head_dim=s["head_dim"], rope_scaling=None,
                   decoder_sparse_step=1, mlp_only_layers=list(s["dense"]), moe_intermediate_size=s["expert_inter"],
                   norm_topk_prob=True, num_experts=s["experts"], num_experts_per_tok=s["top_k"],
                   output_router_logits=False, router_aux_loss_coef=0.001, **window)
        if arch == "sdar_moe":
            out.update(block_size=s["block"], mask_token_id=ids["mask"])
    elif arch == "llada_moe":
        del out["intermediate_size"]
        out.update(architectures=["LLaDAMoEModelLM"], model_type="llada", mask_token_id=ids["mask"],
                   pad_token_id=ids["eos"], attention_bias=False, clip_qkv=None, dense_intermediate_size=s["inter"],
                   expert_intermediate_size=s["expert_inter"], shared_expert_intermediate_size=s["shared"] or None,
                   moe_layer_freq=[int(i not in s["dense"]) for i in range(s["layers"])],
                   moe_router_enable_expert_bias=False, moe_router_score_function="softmax", norm_topk_prob=None,
                   num_experts=s["experts"], num_experts_per_tok=s["top_k"], output_router_logits=False,
                   partial_rotary_factor=s["rotary"], qk_layernorm=True, rms_norm_eps=1e-05, rope_scaling=None,
                   routed_scaling_factor=1, router_aux_loss_coef=0.01, router_num_group=None, router_topk_group=None,
                   auto_map={"AutoConfig": "configuration_lladamoe.LLaDAConfig",
                             "AutoModel": "modeling_lladamoe.LLaDAMoEModelLM",
                             "AutoModelForCausalLM": "modeling_lladamoe.LLaDAMoEModelLM"})
    elif arch == "llada2_moe":
        out.update(architectures=["LLaDA2MoeModelLM"], model_type="llada2_moe", mask_token_id=ids["mask"],
                   pad_token_id=ids["eos"], block_size=s["block"], embedding_dropout=0.0, output_dropout=0.0,
                   first_k_dense_replace=len(s["dense"]), head_dim=s["head_dim"],
                   moe_intermediate_size=s["expert_inter"], moe_router_enable_expert_bias=True, n_group=s["groups"],
                   norm_head=False, norm_topk_prob=True, num_experts=s["experts"], num_experts_per_tok=s["top_k"],
                   num_shared_experts=s["shared"], partial_rotary_factor=s["rotary"], rope_scaling=None,
                   routed_scaling_factor=2.5, score_function="sigmoid", sliding_window=4096,
                   topk_group=s["top_groups"], use_bias=False, use_qk_norm=True, use_qkv_bias=False,
                   use_sliding_window=False,
                   auto_map={"AutoConfig": "configuration_llada2_moe.LLaDA2MoeConfig",
                             "AutoModel": "modeling_llada2_moe.LLaDA2MoeModel",
                             "AutoModelForCausalLM": "modeling_llada2_moe.LLaDA2MoeModelLM"})
    elif arch == "fast_dllm_v2":
        out.update(architectures=["Fast_dLLM_QwenForCausalLM"], model_type="Fast_dLLM_Qwen", bd_size=s["block"],
                   pad_token_id=ids["eos"], rope_scaling=None, conplemenrary_mask=True,
                   layer_types=["full_attention"] * s["layers"],
                   auto_map={"AutoConfig": "configuration.Fast_dLLM_QwenConfig",
                             "AutoModel": "modeling.Fast_dLLM_QwenModel",
                             "AutoModelForCausalLM": "modeling.Fast_dLLM_QwenForCausalLM"}, **window)
    else:
        raise SystemExit(f"unknown architecture {arch}; known: {', '.join(ARCHS)}")
    return out


def build(refs, arch, cfg):
    """An instance of the reference class in fp32, evaluation mode."""
    config_class, model_class = refs.model_classes(arch)
    cfg = {k: v for k, v in cfg.items() if k not in ("auto_map", "attn_implementation", "torch_dtype")}
    model = model_class(config_class(**cfg)).eval()
    model.tie_weights()
    for p in model.parameters():
        p.requires_grad_(False)
    return model


def weights(model):
    """Name and tensor of everything a checkpoint holds; the balancing bias of a router is not a parameter."""
    buffers = [(name, b) for name, b in model.named_buffers() if name.endswith("expert_bias")]
    return [*model.named_parameters(), *buffers]


def randomise(model, cfg, seed, gain, expert_bias):
    """Fill the weights: sharp attention, logits with spread `gain`, norm weights around 1, biases nonzero.

    The mask row of embedding and head is small, so the mask is never predicted. Values are exact in bfloat16.
    """
    rng = torch.Generator().manual_seed(seed)
    mask = cfg.get("mask_token_id", special(cfg["vocab_size"])["mask"])
    tied = cfg.get("tie_word_embeddings", cfg.get("weight_tying"))
    for name, p in sorted(weights(model)):
        noise = torch.randn(p.shape, generator=rng)
        if "norm" in name or "ln_f" in name:
            value = 1 + 0.25 * noise
        elif name.endswith("expert_bias"):
            value = expert_bias * noise
        elif name.endswith("bias"):
            value = 0.5 * noise
        else:
            scale = 2.0 if tied and name.endswith(("o_proj.weight", "down_proj.weight", "_out.weight")) else 1.0
            if any(key in name for key in ("q_proj", "k_proj")):
                scale = 2.0
            elif "query_key_value" in name:  # Q and K as above, V after them
                scale = torch.ones(p.shape[0], 1)
                scale[:-cfg["num_key_value_heads"] * cfg["head_dim"]] = 2.0
            elif name.endswith("mlp.gate.weight"):
                scale = 2.0
            elif name.endswith(("embed_tokens.weight", "wte.weight", "word_embeddings.weight")):
                scale = gain if tied else 0.5 * p.shape[1] ** 0.5
            elif name.endswith(("lm_head.weight", "transformer.ff_out.weight")):
                scale = gain
            value = noise * scale / p.shape[1] ** 0.5
            if p.shape[0] == cfg["vocab_size"]:
                value[mask] *= 0.1
        p.copy_(value.bfloat16())


def save(model, cfg, folder, dtype="fp32", sharded=False):
    """Write config.json and safetensors; tied heads are stored once, as real checkpoints do."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    cfg = {**cfg, "torch_dtype": {"fp32": "float32", "bf16": "bfloat16"}[dtype]}
    tensors = {k: v.to(kind).contiguous() for k, v in sorted(weights(model))}
    (folder / "config.json").write_text(json.dumps(cfg, indent=2) + "\n")
    if not sharded:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, files = sorted(tensors), {}
    for i, part in enumerate((names[0::3], names[1::3], names[2::3])):
        file = f"model-{i + 1:05d}-of-00003.safetensors"
        save_file({n: tensors[n] for n in part}, folder / file, metadata={"format": "pt"})
        files.update({n: file for n in part})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(files.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def inputs(arch, cfg, seed, lengths):
    """Random inputs; diffusion models get mask tokens in the last two thirds of each input."""
    ids = special(cfg["vocab_size"])
    rng = torch.Generator().manual_seed(seed + 1000)
    out = []
    for n in lengths:
        x = torch.randint(0, ids["first"], (n,), generator=rng)
        if arch in DIFFUSION:
            masked = (torch.rand(n, generator=rng) < 0.6) & (torch.arange(n) >= n // 3)
            x[masked] = ids["mask"]
        out.append(x)
    return out


@torch.no_grad()
def logits(arch, model, cfg, x):
    """Raw output rows [len, vocab]: row i is the output at position i, before any shift."""
    x = x[None]
    if arch == "dream":
        out = model(x, "full", None)
    elif arch == "sdar":
        block = torch.arange(x.shape[1]) // cfg["block_size"]
        out = model(x, attention_mask=(block[:, None] >= block[None, :])[None], use_cache=False)
    elif arch == "fast_dllm_v2":
        out = model(x, block_size=cfg["bd_size"], use_cache=False)
    elif arch in MASKED:
        block = torch.arange(x.shape[1]) // cfg["block_size"]
        mask = (block[:, None] >= block[None, :]).float().log().to(model.dtype)
        out = model(x, attention_mask=mask[None, None], use_cache=False)
    elif arch in ("llada", "llada_moe"):
        out = model(x)
    else:
        out = model(x, use_cache=False)
    return out.logits[0].float()


@torch.no_grad()
def expected(refs, arch, model, cfg, seed, lengths, folder):
    """Write expected.safetensors and return the fp32 and bf16 logits."""
    half = build(refs, arch, cfg)
    for (_, a), (_, b) in zip(weights(half), weights(model)):
        a.data = b.data.bfloat16()
    half.tie_weights()
    tensors, full, low = {}, [], []
    for k, x in enumerate(inputs(arch, cfg, seed, lengths)):
        full.append(logits(arch, model, cfg, x))
        low.append(logits(arch, half, cfg, x))
        tensors |= {f"input.{k}": x, f"logits.{k}": full[-1].contiguous(), f"logits_bf16.{k}": low[-1].contiguous()}
    save_file(tensors, Path(folder) / "expected.safetensors")
    return full, low


@torch.no_grad()
def sensitivity(arch, model, cfg, x):
    """Smallest change of the logits when any one tensor is disturbed by 25 %: proof that every tensor matters."""
    base, worst = logits(arch, model, cfg, x), (float("inf"), "")
    rng = torch.Generator().manual_seed(7)
    for name, p in weights(model):
        keep = p.clone()
        p.mul_(1 + 0.25 * torch.randn(p.shape, generator=rng))
        worst = min(worst, ((logits(arch, model, cfg, x) - base).abs().max().item(), name))
        p.copy_(keep)
    return worst
