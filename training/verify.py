"""Checks that the folders under models/ say what the training code computes: ``python training/verify.py``.

The AR twin is loaded through the public ``transformers`` Llama and the tokenizer files of both through ``AutoTokenizer``; the
diffusion weights are loaded back and compared on one step.  Needs ``transformers``; a few seconds on a CPU.
"""
import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer

import tokenizer as tk
from export import load_weights
from model import Config, Tessera


def main():
    here = Path(__file__).resolve().parent
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--models", type=Path, default=here.parent / "models")
    a = ap.parse_args()
    from transformers import AutoTokenizer, LlamaForCausalLM
    messages = [dict(role="user", content="Reverse this list: apple, pear, plum")]
    for name in ("tessera-diffusion", "tessera-ar"):
        hf, own = AutoTokenizer.from_pretrained(a.models / name), Tokenizer.from_file(str(a.models / name / "tokenizer.json"))
        text = hf.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert text == tk.chat(messages), text
        ids = own.encode(text).ids
        assert hf(text, add_special_tokens=False)["input_ids"] == ids and hf.decode(ids) == text
        size = (a.models / name / "model.safetensors").stat().st_size
        print(f"{name}: template and tokenizer agree, {len(ids)} prompt tokens, weights {size} bytes")
    n = len(ids)
    model = load_weights(Tessera(Config(), True), a.models / "tessera-ar/model.safetensors")
    flat = (torch.tensor(ids), torch.arange(n), torch.tensor([0, n], dtype=torch.int32), n, torch.arange(n))
    llama = LlamaForCausalLM.from_pretrained(a.models / "tessera-ar", torch_dtype=torch.float32)
    with torch.no_grad():
        diff = (llama(torch.tensor([ids])).logits[0] - model.logits(*flat)).abs().max().item()
        out = llama.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False)
    print(f"AR twin: largest logit difference from transformers' Llama {diff:.1e}; says {own.decode(out[0, n:].tolist())!r}")
    assert diff < 1e-3
    model = load_weights(Tessera(Config(), False), a.models / "tessera-diffusion/model.safetensors")
    ids += [tk.MASK] * 32
    n = len(ids)
    guess = model.logits(torch.tensor(ids), torch.arange(n), torch.tensor([0, n], dtype=torch.int32), n, torch.arange(n - 32, n)).argmax(-1)
    print(f"diffusion model: one forward from 32 masks says {own.decode(guess.tolist())!r}")
    config = json.loads((a.models / "tessera-diffusion/config.json").read_text())
    assert config["mask_token_id"] == tk.MASK and config["vocab_size"] == own.get_vocab_size()


if __name__ == "__main__":
    main()
