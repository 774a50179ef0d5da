"""Make tests/golden: tiny random checkpoints, expected logits and decode traces from public PyTorch implementations.

  make_goldens.py [--only NAME ...] [--out DIR] --llada-code PATH ...       the committed goldens
  make_goldens.py --random DIR --arch ARCH [--seed N] [--size k=v ...]      a fresh checkpoint with expected logits

The README beside this file says where each reference comes from.
"""
import argparse
import ast
import json
import warnings
from pathlib import Path

import torch
import torch._dynamo
import transformers

import refs
import tiny
import traces

ROOT = Path(__file__).resolve().parents[2] / "tests" / "golden"
LENGTHS = (1, 7, 33)
LLAMA3 = {"factor": 8.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64,
          "rope_type": "llama3"}
GOLDENS = {
    "llama": dict(arch="llama", seed=11, dtype="bf16", size=dict(kv_heads=4)),
    "llama_rope3": dict(arch="llama", seed=12, lengths=(1, 7, 33, 90), size=dict(
        layers=3, head_dim=16, tied=True, theta=500000.0, rope_scaling=LLAMA3)),
    "qwen2": dict(arch="qwen2", seed=13, size=dict(hidden=48, heads=6, kv_heads=2, head_dim=8, theta=1000000.0)),
    "qwen3": dict(arch="qwen3", seed=14, sharded=True, size=dict(
        hidden=48, heads=4, kv_heads=2, head_dim=16, tied=True, theta=1000000.0)),
    "llada": dict(arch="llada", seed=15, size=dict(kv_heads=4, theta=500000.0, gain=5.0)),
    "llada_gqa_tied": dict(arch="llada", seed=16, size=dict(kv_heads=2, theta=500000.0, tied=True, gain=4.0)),
    "dream": dict(arch="dream", seed=17, dtype="bf16", sharded=True, size=dict(theta=1000000.0, gain=6.0)),
    "sdar": dict(arch="sdar", seed=18, size=dict(
        hidden=48, heads=4, kv_heads=2, head_dim=16, theta=1000000.0, block=4, gain=6.0)),
    "qwen3_moe": dict(arch="qwen3_moe", seed=134, size=dict(
        hidden=40, layers=3, head_dim=16, tied=True, theta=1000000.0, dense=(1,))),
    "llada_moe": dict(arch="llada_moe", seed=108, size=dict(
        hidden=48, heads=3, kv_heads=3, theta=50000.0, gain=5.0, experts=7, expert_inter=20)),
    "llada_moe_shared": dict(arch="llada_moe", seed=102, dtype="bf16", sharded=True, size=dict(
        layers=3, inter=40, theta=50000.0, gain=5.0, experts=5, top_k=3, expert_inter=24, shared=28, dense=(1,),
        rotary=0.5)),
    "llada2_moe": dict(arch="llada2_moe", seed=192, sharded=True, size=dict(
        hidden=48, layers=3, head_dim=20, theta=600000.0, block=8, gain=6.0, experts=8, top_k=3, expert_inter=20,
        shared=1, groups=4, top_groups=2, dense=(0,), rotary=0.5)),
    "sdar_moe": dict(arch="sdar_moe", seed=105, size=dict(
        hidden=48, theta=1000000.0, block=4, gain=6.0, experts=5)),
    "fast_dllm_v2": dict(arch="fast_dllm_v2", seed=19, lengths=(1, 7, 33, 70), size=dict(
        theta=1000000.0, block=32, gain=6.0)),
}
PATHS = {
    "llada_code": "folder with modeling_llada.py", "llada_sampler": "generate.py of LLaDA",
    "fast_dllm_v1_sampler": "llada/generate.py of Fast-dLLM", "dream_code": "folder with modeling_dream.py",
    "llada_moe_code": "folder with modeling_lladamoe.py", "llada2_moe_code": "folder with modeling_llada2_moe.py",
    "sdar_code": "folder with modeling_sdar.py", "sdar_sampler": "generate.py of SDAR",
    "fast_dllm_v2_code": "folder with modeling.py of Fast-dLLM v2",
    "fast_dllm_v2_sampler": "v2/generation_functions.py of Fast-dLLM",
}


def checkpoint(references, folder, model_folder, arch, seed, size, lengths=LENGTHS, dtype="fp32", sharded=False):
    """Write one checkpoint with its expected logits; return (model, config, summary)."""
    cfg = tiny.config(arch, size)
    model = tiny.build(references, arch, cfg)
    full_size = {**tiny.SIZE, **size}
    tiny.randomise(model, cfg, seed, full_size["gain"], full_size["expert_bias"])
    tiny.save(model, cfg, model_folder, dtype, sharded)
    full, low = tiny.expected(references, arch, model, cfg, seed, lengths, folder)
    top = torch.cat(full).softmax(-1).amax(-1)
    delta, name = tiny.sensitivity(arch, model, cfg, tiny.inputs(arch, cfg, seed, lengths)[2])
    summary = {
        "arch": arch, "seed": seed, "lengths": list(lengths), "stored_dtype": dtype, "sharded": sharded,
        "attention": {"sdar": "block-causal", "sdar_moe": "block-causal", "llada2_moe": "block-causal",
                      "fast_dllm_v2": "block-causal"}.get(arch, "full" if arch in tiny.DIFFUSION else "causal"),
        "block_size": cfg.get("block_size", cfg.get("bd_size")),
        "top1_probability": {"min": round(top.min().item(), 3), "max": round(top.max().item(), 3)},
        "bf16_max_abs_diff": round(max((a - b).abs().max().item() for a, b in zip(full, low)), 3),
        "least_sensitive_tensor": {"name": name, "max_abs_change": round(delta, 3)},
    }
    return model, cfg, summary


def golden(references, name, out, decode):
    """One committed golden: model, expected.safetensors, meta.json, decode.json."""
    spec = dict(GOLDENS[name])
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    model, cfg, summary = checkpoint(references, folder, folder / "model", **spec)
    (folder / "meta.json").write_text(json.dumps(summary, indent=1) + "\n")
    if decode:
        cases = traces.cases(references, name, model, cfg)
        body = ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases)
        (folder / "decode.json").write_text("[\n" + body + "\n]\n")
    print(name, json.dumps(summary), flush=True)


def sizes(items):
    """Turn ['hidden=64', 'tied=True'] into a dict."""
    out = {}
    for item in items:
        key, value = item.split("=", 1)
        if key not in tiny.SIZE:
            raise SystemExit(f"unknown size {key}; known: {', '.join(tiny.SIZE)}")
        out[key] = ast.literal_eval(value)
    return out


def main():
    """Command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=ROOT)
    p.add_argument("--only", nargs="*", choices=sorted(GOLDENS))
    p.add_argument("--no-decode", action="store_true")
    p.add_argument("--random", type=Path, metavar="DIR", help="checkpoint in DIR itself, DIR/expected.safetensors")
    p.add_argument("--arch", choices=tiny.ARCHS)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--size", nargs="*", default=[], metavar="KEY=VALUE", help=f"any of {tiny.SIZE}")
    p.add_argument("--lengths", type=int, nargs=3, default=LENGTHS)
    p.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    p.add_argument("--sharded", action="store_true")
    for key, text in PATHS.items():
        p.add_argument("--" + key.replace("_", "-"), help=text)
    args = p.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch._dynamo.config.disable = True
    transformers.logging.set_verbosity_error()
    references = refs.References(vars(args))
    if args.random:
        if not args.arch:
            p.error("--random needs --arch")
        args.random.mkdir(parents=True, exist_ok=True)
        summary = checkpoint(references, args.random, args.random, args.arch, args.seed, sizes(args.size),
                             args.lengths, args.dtype, args.sharded)[2]
        (args.random / "meta.json").write_text(json.dumps(summary, indent=1) + "\n")
        print(json.dumps(summary))
        return
    for name in args.only or GOLDENS:
        golden(references, name, args.out, not args.no_decode)


if __name__ == "__main__":
    main()
