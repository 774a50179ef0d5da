#!/usr/bin/env python3
"""Writes a Q4_0 GGUF file of LLaDA-8B's shapes with random weights, for llama.cpp to be timed on.

    python3 -m pip install gguf
    python3 tools/bench/peer_gguf.py FILE.gguf [--layers 32] [--vocab 126464]

LLaDA has the layers of a Llama, so the file says "llama"; every matrix is Q4_0, as the weights of
`tessera bench cpu --format int4` all are int4. The text it generates means nothing: only its speed
does. 4.5 GB at full size; nothing else of this project needs Python packages.
"""

import argparse
import sys

WIDTH, HEADS, FFN = 4096, 32, 12288
Q4_0_BLOCK, Q4_0_BYTES = 32, 18  # 32 weights: an f16 scale and 16 bytes of nibbles


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--vocab", type=int, default=126464)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        import gguf
        import numpy as np
    except ImportError as error:
        print(f"peer_gguf.py: {error}; python3 -m pip install gguf", file=sys.stderr)
        return 1
    q4_0 = gguf.GGMLQuantizationType.Q4_0
    random = np.random.default_rng(arguments.seed)

    def matrix(out: int, inputs: int) -> "np.ndarray":
        """Rows of Q4_0 bytes whose weights have the variance 1 / inputs."""
        blocks = out * inputs // Q4_0_BLOCK
        data = random.integers(0, 256, size=(blocks, Q4_0_BYTES), dtype=np.uint8)
        scale = np.float16((12.0 / 256 / inputs) ** 0.5)  # nibbles are uniform over 16 steps
        data[:, :2] = np.frombuffer(scale.tobytes(), dtype=np.uint8)
        return data.reshape(out, inputs // Q4_0_BLOCK * Q4_0_BYTES)

    tensors = [("token_embd.weight", arguments.vocab, WIDTH)]
    for layer in range(arguments.layers):
        tensors += [
            (f"blk.{layer}.attn_norm.weight", WIDTH, 0),
            (f"blk.{layer}.attn_q.weight", WIDTH, WIDTH),
            (f"blk.{layer}.attn_k.weight", WIDTH, WIDTH),
            (f"blk.{layer}.attn_v.weight", WIDTH, WIDTH),
            (f"blk.{layer}.attn_output.weight", WIDTH, WIDTH),
            (f"blk.{layer}.ffn_norm.weight", WIDTH, 0),
            (f"blk.{layer}.ffn_gate.weight", FFN, WIDTH),
            (f"blk.{layer}.ffn_up.weight", FFN, WIDTH),
            (f"blk.{layer}.ffn_down.weight", WIDTH, FFN),
        ]
    tensors += [("output_norm.weight", WIDTH, 0), ("output.weight", arguments.vocab, WIDTH)]

    writer = gguf.GGUFWriter(arguments.file, "llama")
    writer.add_name("random weights of LLaDA-8B's shapes")
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(arguments.layers)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(500000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(arguments.vocab)
    writer.add_tokenizer_model("no_vocab")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    for name, out, inputs in tensors:
        if inputs == 0:
            writer.add_tensor_info(name, (out,), np.dtype(np.float32), 4 * out)
        else:
            row_bytes = inputs // Q4_0_BLOCK * Q4_0_BYTES
            writer.add_tensor_info(
                name, (out, row_bytes), np.dtype(np.uint8), out * row_bytes, raw_dtype=q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, out, inputs in tensors:  # one at a time: the whole does not fit into a laptop's memory
        writer.write_tensor_data(
            np.ones(out, dtype=np.float32) if inputs == 0 else matrix(out, inputs))
    writer.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
