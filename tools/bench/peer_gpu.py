#!/usr/bin/env python3
"""Plain PyTorch as the peer of `tessera bench gpu`: the same forwards, captured as CUDA graphs.

    tessera bench gpu --list --json | python3 tools/bench/peer_gpu.py --cases -

Prints JSON lines: the rates of this GPU, then the bf16 cases by name with their milliseconds. A
forward ends with the logits of every row on the GPU, where Tessera's ends with the statistics of
every row on the host. Fused QKV and gate/up weights, SDPA, bf16, static buffers, random weights.
Rows behind cached ones see all of them and each other, whatever the network's mask, and rows
without any are causal where the network is: the kernels that PyTorch has no mask to slow down.
"""

import argparse
import json
import statistics
import sys
import time


def shape_of(config):
    """The sizes that a forward needs, from either layout of config.json."""
    llada = "d_model" in config
    width = config["d_model" if llada else "hidden_size"]
    heads = config["n_heads" if llada else "num_attention_heads"]
    kind = config["architectures"][0]
    return {
        "width": width,
        "layers": config["n_layers" if llada else "num_hidden_layers"],
        "heads": heads,
        "kv_heads": config.get("n_kv_heads" if llada else "num_key_value_heads", heads),
        "head_dim": config.get("head_dim", width // heads),
        "ffn": config["mlp_hidden_size" if llada else "intermediate_size"],
        "vocab": config["vocab_size"],
        "theta": config["rope_theta"],
        "eps": config["rms_norm_eps"],
        "qkv_bias": kind == "DreamModel",
        "qk_norm": kind in ("SDARForCausalLM", "Qwen3ForCausalLM"),
        "causal": kind in ("SDARForCausalLM", "Qwen3ForCausalLM"),
    }


class Network:
    """The weights of one network."""

    def __init__(self, torch, shape):
        self.torch, self.shape = torch, shape
        width, head_dim = shape["width"], shape["head_dim"]
        q, kv = shape["heads"] * head_dim, shape["kv_heads"] * head_dim
        self.layers = [{
            "norm": self.ones(width),
            "qkv": self.matrix(q + 2 * kv, width),
            "bias": self.vector(q + 2 * kv) if shape["qkv_bias"] else None,
            "q_norm": self.ones(head_dim),
            "k_norm": self.ones(head_dim),
            "o": self.matrix(width, q),
            "ffn_norm": self.ones(width),
            "gate_up": self.matrix(2 * shape["ffn"], width),
            "down": self.matrix(width, shape["ffn"]),
        } for _ in range(shape["layers"])]
        self.embedding = self.matrix(shape["vocab"], width)
        self.head = self.matrix(shape["vocab"], width)
        self.norm = self.ones(width)

    def matrix(self, out, inputs):
        return self.vector(out, inputs).mul_(inputs ** -0.5)

    def vector(self, *size):
        return self.torch.randn(*size, device="cuda", dtype=self.torch.bfloat16)

    def ones(self, size):
        return self.torch.ones(size, device="cuda", dtype=self.torch.bfloat16)


class Forward:
    """One case: its buffers, and a forward over them."""

    def __init__(self, network, sequences, rows, keys):
        torch, shape = network.torch, network.shape
        self.network, self.sequences, self.rows, self.keys = network, sequences, rows, keys
        self.tokens = torch.randint(shape["vocab"], (sequences, rows), device="cuda")
        half = shape["head_dim"] // 2
        frequencies = shape["theta"] ** (-torch.arange(half, device="cuda").float() / half)
        angles = torch.outer(torch.arange(keys, keys + rows, device="cuda").float(), frequencies)
        self.cos = torch.cat([angles.cos()] * 2, -1).bfloat16()
        self.sin = torch.cat([-angles.sin(), angles.sin()], -1).bfloat16()
        size = (sequences, shape["kv_heads"], keys + rows, shape["head_dim"])
        self.cache = [(network.vector(*size), network.vector(*size)) for _ in network.layers]

    def rotate(self, x):
        return x * self.cos + x.roll(x.shape[-1] // 2, -1) * self.sin

    def run(self):
        network, shape = self.network, self.network.shape
        f = network.torch.nn.functional
        heads, kv_heads, head_dim = shape["heads"], shape["kv_heads"], shape["head_dim"]

        def norm(x, weight):
            return f.rms_norm(x, weight.shape, weight, shape["eps"])

        x = f.embedding(self.tokens, network.embedding)
        for layer, (keys, values) in zip(network.layers, self.cache):
            qkv = f.linear(norm(x, layer["norm"]), layer["qkv"], layer["bias"])
            qkv = qkv.view(self.sequences, self.rows, -1, head_dim).transpose(1, 2)
            q, k, v = qkv.split([heads, kv_heads, kv_heads], 1)
            if shape["qk_norm"]:
                q, k = norm(q, layer["q_norm"]), norm(k, layer["k_norm"])
            q = self.rotate(q)
            keys[:, :, self.keys:].copy_(self.rotate(k))
            values[:, :, self.keys:].copy_(v)
            attended = f.scaled_dot_product_attention(
                q, keys, values, is_causal=shape["causal"] and self.keys == 0,
                enable_gqa=heads != kv_heads)
            x = x + f.linear(attended.transpose(1, 2).flatten(2), layer["o"])
            gate, up = f.linear(norm(x, layer["ffn_norm"]), layer["gate_up"]).chunk(2, -1)
            x = x + f.linear(f.silu(gate) * up, layer["down"])
        return f.linear(norm(x, network.norm), network.head)

    def milliseconds(self, repeat):
        """Median of replays, from the launch until the GPU is done."""
        torch = self.network.torch
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.logits = self.run()
        times = []
        for i in range(repeat + 3):  # three to warm up
            torch.cuda.synchronize()
            begin = time.perf_counter()
            graph.replay()
            torch.cuda.synchronize()
            if i >= 3:
                times.append(1e3 * (time.perf_counter() - begin))
        return statistics.median(times)


def seconds(torch, run, count=10):
    for _ in range(3):
        run()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(count):
        run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3 / count


def rates(torch):
    """A bf16 product of 8192 x 8192 x 8192, and a copy of 2 GiB (bytes read and written)."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(a)
    multiply = seconds(torch, lambda: torch.matmul(a, b, out=product))
    source = torch.zeros(1 << 31, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = seconds(torch, lambda: target.copy_(source))
    return {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda,
            "product_tflop_per_second": 2 * 8192 ** 3 / multiply / 1e12,
            "copy_tb_per_second": 2 * (1 << 31) / copy / 1e12}


def run_cases(torch, cases, repeat):
    network, loaded = None, None
    for case in cases:
        line = {"case": case["case"]}
        try:
            if loaded != case["config"]:
                network, loaded = None, None
                torch.cuda.empty_cache()
                network, loaded = Network(torch, shape_of(case["config"])), case["config"]
            forward = Forward(network, case["sequences"], case["rows"], case["keys"])
            line["ms"] = forward.milliseconds(repeat)
        except RuntimeError as error:  # out of memory among others
            line["error"] = str(error).splitlines()[0]
        forward = None
        torch.cuda.empty_cache()
        print(json.dumps(line), flush=True)


def import_torch():
    """(torch, None), or (None, why it cannot be used)."""
    try:
        import torch
    except ImportError as error:
        return None, f"{error}; the peer needs a python3 with PyTorch for CUDA, 2.5 or newer"
    if not torch.cuda.is_available():
        return None, f"PyTorch {torch.__version__} finds no GPU"
    return torch, None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", help="JSON lines of `tessera bench gpu --list --json`; - reads standard input")
    parser.add_argument("--repeat", type=int, default=20, help="replays per case; default 20")
    parser.add_argument("--device", type=int, default=0, help="number of the GPU; default 0")
    parser.add_argument("--check", action="store_true", help="only say whether this machine can run it")
    options = parser.parse_args()
    if not options.check and not options.cases:
        parser.error("--cases is missing")
    torch, problem = import_torch()
    if problem:
        print(f"peer_gpu.py: {problem}", file=sys.stderr)
        return 1
    if options.check:
        return 0
    with sys.stdin if options.cases == "-" else open(options.cases, encoding="utf-8") as file:
        cases = [json.loads(line) for line in file if line.strip()]
    torch.cuda.set_device(options.device)
    with torch.inference_mode():
        print(json.dumps({"rates": rates(torch)}), flush=True)
        run_cases(torch, [case for case in cases if case["format"] == "bf16"], options.repeat)
    return 0


if __name__ == "__main__":
    sys.exit(main())
