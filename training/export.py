"""Checkpoint folders in the public layouts: LLaDA-8B's for the diffusion model, Llama's for the AR twin."""
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import tokenizer as tk
from model import Config, Tessera

LLADA = dict(wte="model.transformer.wte.weight", ln_f="model.transformer.ln_f.weight", layer="model.transformer.blocks.{i}.{name}.weight",
             attn_norm="attn_norm", ff_norm="ff_norm", q="q_proj", k="k_proj", v="v_proj", attn_out="attn_out", gate="ff_proj", up="up_proj", ff_out="ff_out")
LLAMA = dict(wte="model.embed_tokens.weight", ln_f="model.norm.weight", layer="model.layers.{i}.{name}.weight",
             attn_norm="input_layernorm", ff_norm="post_attention_layernorm", q="self_attn.q_proj", k="self_attn.k_proj", v="self_attn.v_proj",
             attn_out="self_attn.o_proj", gate="mlp.gate_proj", up="mlp.up_proj", ff_out="mlp.down_proj")


def views(model: Tessera):
    """(tensor name, view into the stacked parameter) for every tensor of the public layout."""
    n = LLAMA if model.causal else LLADA
    yield n["wte"], model.wte.data
    yield n["ln_f"], model.ln_f.data
    for i in range(model.cfg.n_layers):
        for key, t in (("attn_norm", model.attn_norm[i]), ("ff_norm", model.ff_norm[i]), ("q", model.qkv[i, 0]), ("k", model.qkv[i, 1]),
                       ("v", model.qkv[i, 2]), ("attn_out", model.attn_out[i]), ("gate", model.gate_up[i, 0]), ("up", model.gate_up[i, 1]),
                       ("ff_out", model.ff_out[i])):
            yield n["layer"].format(i=i, name=n[key]), t.data


def save_weights(model, file: Path):
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.bfloat16().cpu().contiguous().clone() for k, v in views(model)}, str(file), metadata={"format": "pt"})


def load_weights(model, file: Path):
    state = load_file(str(file))
    state = {k: v for k, v in state.items() if not k.endswith("_proj.bias") or v.any()}  # an adapted twin's, all zero
    for k, v in views(model):
        v.copy_(state.pop(k))
    assert not state, f"unexpected tensors: {sorted(state)[:5]}"
    return model


def write_block_folder(folder: Path, model: Tessera, tok, block: int, strategy: str):
    """The same for an adapted AR twin: Fast-dLLM v2's config.json and Qwen2's tensors, whose q, k, v biases are zero here."""
    tk.write_folder(tok, folder, strategy=strategy)
    c = config_json(model.cfg, True)
    c.update(architectures=["Fast_dLLM_QwenForCausalLM"], model_type="Fast_dLLM_Qwen", bd_size=block, mask_token_id=tk.MASK, use_sliding_window=False,
             auto_map={"AutoConfig": "configuration.Fast_dLLM_QwenConfig", "AutoModel": "modeling.Fast_dLLM_QwenModel",
                       "AutoModelForCausalLM": "modeling.Fast_dLLM_QwenForCausalLM"})
    for key in ("attention_bias", "mlp_bias", "pretraining_tp"):
        del c[key]
    (folder / "config.json").write_text(json.dumps(c, indent=2) + "\n")
    state = {k: v.bfloat16().cpu().contiguous().clone() for k, v in views(model)}
    for i in range(model.cfg.n_layers):
        for name in ("q_proj", "k_proj", "v_proj"):
            state[f"model.layers.{i}.self_attn.{name}.bias"] = torch.zeros(model.cfg.d_model, dtype=torch.bfloat16)
    save_file(state, str(folder / "model.safetensors"), metadata={"format": "pt"})


def config_json(c: Config, causal: bool) -> dict:
    if causal:
        return dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=c.d_model, num_hidden_layers=c.n_layers,
                    num_attention_heads=c.n_heads, num_key_value_heads=c.n_heads, head_dim=c.d_model // c.n_heads, intermediate_size=c.mlp,
                    hidden_act="silu", rms_norm_eps=c.eps, rope_theta=c.theta, rope_scaling=None, max_position_embeddings=c.max_len,
                    vocab_size=c.vocab, tie_word_embeddings=True, attention_bias=False, mlp_bias=False, attention_dropout=0.0,
                    initializer_range=0.02, pretraining_tp=1, bos_token_id=tk.BOS, eos_token_id=[tk.EOS, tk.EOT], pad_token_id=tk.EOS,
                    torch_dtype="bfloat16", use_cache=True)
    return dict(activation_type="silu", alibi=False, alibi_bias_max=8.0, architectures=["LLaDAModelLM"], attention_dropout=0.0,
                attention_layer_norm=False, attention_layer_norm_with_affine=True,
                auto_map={"AutoConfig": "configuration_llada.LLaDAConfig", "AutoModel": "modeling_llada.LLaDAModelLM",
                          "AutoModelForCausalLM": "modeling_llada.LLaDAModelLM"},
                bias_for_layer_norm=False, block_group_size=1, block_type="llama", bos_token_id=tk.BOS, d_model=c.d_model, embedding_dropout=0.0,
                embedding_size=c.vocab, eos_token_id=tk.EOS, flash_attention=False, include_bias=False, include_qkv_bias=False,
                init_cutoff_factor=None, init_device="meta", init_fn="mitchell", init_std=0.02, input_emb_norm=False, layer_norm_type="rms",
                layer_norm_with_affine=True, mask_token_id=tk.MASK, max_sequence_length=c.max_len, mlp_hidden_size=c.mlp, mlp_ratio=4,
                model_type="llada", multi_query_attention=None, n_heads=c.n_heads, n_kv_heads=c.n_heads, n_layers=c.n_layers,
                pad_token_id=tk.EOS, precision="amp_bf16", residual_dropout=0.0, rms_norm_eps=c.eps, rope=True, rope_full_precision=True,
                rope_theta=c.theta, scale_logits=False, torch_dtype="bfloat16", use_cache=False, vocab_size=c.vocab, weight_tying=True)


def write_model_folder(folder: Path, model: Tessera, tok, strategy=None):
    """config.json, model.safetensors (bf16) and the tokenizer files."""
    tk.write_folder(tok, folder, strategy=strategy or ("ar" if model.causal else "threshold=0.9"))
    (folder / "config.json").write_text(json.dumps(config_json(model.cfg, model.causal), indent=2) + "\n")
    save_weights(model, folder / "model.safetensors")
