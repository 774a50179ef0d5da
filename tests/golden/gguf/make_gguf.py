"""Makes llama-q8_0.gguf: the golden model `llama` as the public `gguf` package writes it, with a
vocabulary of printable ASCII. Matrices are Q8_0 where rows are a multiple of 32, else F32.

    pip install gguf==0.19.0 && python make_gguf.py
"""
import json
import pathlib

import gguf
import numpy as np

HERE = pathlib.Path(__file__).parent
MODEL = HERE.parent / "llama" / "model"
config = json.loads((MODEL / "config.json").read_text())


def tensors():
    for path in sorted(MODEL.glob("*.safetensors")):
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8:8 + size])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            assert entry["dtype"] in ("F32", "BF16")
            begin, end = entry["data_offsets"]
            raw = data[8 + size + begin:8 + size + end]
            if entry["dtype"] == "BF16":
                values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
            else:
                values = np.frombuffer(raw, "<f4")
            yield name, values.reshape(entry["shape"])


def interleave(weight, heads):
    """Rows (i, i + half) of each head become (2 i, 2 i + 1)."""
    out, width = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, width).swapaxes(1, 2).reshape(out, width)


heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
head_dim = config.get("head_dim", config["hidden_size"] // heads)
writer = gguf.GGUFWriter(HERE / "llama-q8_0.gguf", "llama")
writer.add_embedding_length(config["hidden_size"])
writer.add_block_count(config["num_hidden_layers"])
writer.add_feed_forward_length(config["intermediate_size"])
writer.add_head_count(heads)
writer.add_head_count_kv(kv_heads)
writer.add_key_length(head_dim)
writer.add_value_length(head_dim)
writer.add_rope_dimension_count(head_dim)
writer.add_rope_freq_base(config["rope_theta"])
writer.add_context_length(config["max_position_embeddings"])
writer.add_layer_norm_rms_eps(config["rms_norm_eps"])

# Byte-level BPE over printable ASCII; a space is U+0120 in this alphabet.
tokens = [chr(c) for c in range(33, 127)] + ["\u0120", "th", "the"]
types = [gguf.TokenType.NORMAL] * len(tokens)
while len(tokens) < config["vocab_size"] - 1:
    tokens.append(f"[PAD{len(tokens)}]")
    types.append(gguf.TokenType.UNUSED)
tokens.append("<|endoftext|>")
types.append(gguf.TokenType.CONTROL)
writer.add_tokenizer_model("gpt2")
writer.add_tokenizer_pre("gpt-2")
writer.add_token_list(tokens)
writer.add_token_types(types)
writer.add_token_merges(["t h", "th e"])
writer.add_eos_token_id(len(tokens) - 1)
writer.add_chat_template("{% for m in messages %}{{ m.content }} {% endfor %}")

names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config["num_hidden_layers"])
for name, values in tensors():
    mapped = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if name.endswith("q_proj.weight"):
        values = interleave(values, heads)
    if name.endswith("k_proj.weight"):
        values = interleave(values, kv_heads)
    if values.ndim == 2 and values.shape[1] % 32 == 0:
        quantised = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(mapped, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    else:
        writer.add_tensor(mapped, np.ascontiguousarray(values, dtype=np.float32))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
