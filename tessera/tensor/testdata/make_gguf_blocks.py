"""Makes gguf_blocks.bin: random blocks of every type and their values by the public `gguf` package.

    pip install gguf==0.19.0 && python make_gguf_blocks.py

Per type, in the order of kGgufBlocks: a uint32 number of blocks, the blocks, the values as f32.
"""
import pathlib

import gguf
import numpy as np

TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q5_K", "Q6_K"]
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}

rng = np.random.default_rng(7)
out = bytearray()
for name in TYPES:
    kind = gguf.GGMLQuantizationType[name]
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    count = 1024 // weights
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[name]:
        # Half-precision scales of both signs over the whole range, subnormals and zero included.
        values = rng.standard_normal(count) * 2.0 ** rng.integers(-24, 12, count)
        values[0] = 0 if at else 6e-8
        blocks[:, at:at + 2] = values.astype(np.float16).view(np.uint8).reshape(count, 2)
    out += np.uint32(count).tobytes() + blocks.tobytes()
    out += gguf.quants.dequantize(blocks, kind).astype("<f4").tobytes()
pathlib.Path(__file__).with_name("gguf_blocks.bin").write_bytes(out)
