#!/usr/bin/env python3
"""The page of canned measurements says what they say, keeps what was written by hand, and the scripts
refuse a machine on which they cannot run."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import gpu_page  # noqa: E402
import peer_gpu  # noqa: E402

CASES = [("llada-8b:bf16:1x32x1280", "bf16", 4.2, 4.2 / 3.68), ("llada-8b:bf16:1x1280x0", "bf16", 30, 30 / 24.3),
         ("llada-8b:int4:1x32x1280", "int4", 1.8, 1.8 / 1.15), ("dream-7b:bf16:1x32x1280", "bf16", None, 1.14)]


def listed():
    lines = []
    for name, weights, ms, ratio in CASES:
        line = {"source": "list", "case": name, "network": name.partition(":")[0], "format": weights,
                "target_ratio": ratio}
        lines.append({**line, "target_ms": ms} if ms else line)
    return lines


def measured(name, number, ms, floor, flop=0.5e12):
    return {"source": "tessera", "round": number, "case": name, "ms": ms, "read_floor_ms": floor, "flop": flop,
            "tb_per_second": 3.9, "tflop_per_second": 120.0, "read_tb_per_second": 4.4}


def record():
    lines = [{"source": "machine", "commit": "abc123", "date": "2026-01-02", "layers": 0, "network": None,
              "name": "NVIDIA H200", "driver_version": "580.1", "clocks.max.sm": "1980",
              "clocks.max.memory": "3201", "power.limit": "700.00"}] + listed()
    for number, ms in enumerate((4.0, 9.0, 3.9)):
        lines += [{"source": "peer", "round": number, "rates": {
                       "gpu": "NVIDIA H200", "torch": "2.11", "cuda": "13.0", "product_tflop_per_second": 800,
                       "copy_tb_per_second": 4.2}},
                  {"source": "peer", "round": number, "case": "llada-8b:bf16:1x32x1280", "ms": 7.08 + number},
                  measured("llada-8b:bf16:1x32x1280", number, ms, 3.6),
                  measured("llada-8b:bf16:1x1280x0", number, 40.0, 4.0, flop=19.2e12),
                  {"source": "tessera", "round": number, "case": "llada-8b:int4:1x32x1280", "error": "no such kernel"},
                  {"source": "clocks", "round": number, "utilization.gpu": "97", "clocks.sm": str(1700 + number),
                   "clocks.memory": "3201", "power.draw": "512.3", "temperature.gpu": "55"},
                  {"source": "clocks", "round": number, "utilization.gpu": "0", "clocks.sm": "345",
                   "clocks.memory": "3201", "power.draw": "80.0", "temperature.gpu": "30"}]
    return lines


class Page(unittest.TestCase):
    def test_figures_are_medians_and_judged_by_ratio_and_time(self):
        page = gpu_page.render(record(), "")
        self.assertIn("| llada-8b:bf16:1x32x1280 | 3.60 (bytes) | 8.08 | 4.00 | 1.11 | ≤ 4.2 ms, 1.14 | yes |", page)
        # 19.2 TFLOP at 800 TFLOP/s take 24 ms, longer than reading.
        self.assertIn("| llada-8b:bf16:1x1280x0 | 24.00 (flop) | – | 40.00 | 1.67 | ≤ 30 ms, 1.23 | no |", page)
        self.assertIn("- `llada-8b:bf16:1x1280x0`: 40.00 ms, 1.67 times the floor", page)

    def test_targets_that_disagree(self):
        lines = [line for line in record() if line.get("case") != "llada-8b:bf16:1x32x1280" or line["source"] == "list"]
        self.assertIn("| ms alone |", gpu_page.render(
            lines + [measured("llada-8b:bf16:1x32x1280", 0, 4.0, 3.0)], ""))
        self.assertIn("| ratio alone |", gpu_page.render(
            lines + [measured("llada-8b:bf16:1x32x1280", 0, 4.4, 4.0)], ""))

    def test_says_what_was_measured_and_on_what(self):
        page = gpu_page.render(record(), "")
        for text in ("abc123", "NVIDIA H200, driver 580.1", "1700 to 1702 MHz (highest 1980)", "800 TFLOP/s", "| rounds | 3,"):
            self.assertIn(text, page)

    def test_says_what_has_not_run(self):
        page = gpu_page.render(record(), "")
        self.assertIn("- `llada-8b:int4:1x32x1280`: no such kernel", page)
        self.assertIn("- `dream-7b:bf16:1x32x1280`: not measured", page)
        self.assertIn("- the peer on `llada-8b:bf16:1x1280x0`: not measured", page)

    def test_without_peer_or_with_cut_networks_nothing_is_judged(self):
        no_peer = [line for line in record() if line["source"] != "peer"]
        cut = [{**line, "layers": 2} if line["source"] == "machine" else line for line in record()]
        for lines in (no_peer, cut):
            page = gpu_page.render(lines, "")
            self.assertNotIn("| yes |", page)
            self.assertNotIn("| no |", page)

    def test_keeps_what_was_written_by_hand(self):
        page = gpu_page.render(record(), "")
        written = page.replace(gpu_page.KEPT["misses"], "The down product reads 3.1 TB/s.\n\nTried: more stages.")
        self.assertNotEqual(page, written)
        self.assertEqual(gpu_page.render(record(), written), written)

    def test_a_page_of_nothing_lists_every_case(self):
        page = gpu_page.render(listed(), "")
        for name, *_ in CASES:
            self.assertIn(f"- `{name}`: not measured", page)
        self.assertNotIn("## Figures", page)

    def test_reads_a_record(self):
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder, "record.jsonl")
            source.write_text("".join(json.dumps(line) + "\n" for line in record()), encoding="utf-8")
            page = subprocess.run([sys.executable, HERE / "gpu_page.py", "--from", source, "--out", "-"],
                                  capture_output=True, text=True, check=True).stdout
        self.assertTrue(page.startswith("# Forwards on a GPU\n"))
        self.assertIn("| 4.00 | 1.11 |", page)


class Peer(unittest.TestCase):
    def test_knows_both_layouts_of_a_config(self):
        llada = peer_gpu.shape_of({"architectures": ["LLaDAModelLM"], "d_model": 4096, "n_layers": 32, "n_heads": 32,
                                   "mlp_hidden_size": 12288, "vocab_size": 126464, "rope_theta": 5e5,
                                   "rms_norm_eps": 1e-5})
        self.assertEqual((llada["kv_heads"], llada["head_dim"], llada["causal"]), (32, 128, False))
        dream = peer_gpu.shape_of({"architectures": ["DreamModel"], "hidden_size": 3584, "num_hidden_layers": 28,
                                   "num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944,
                                   "vocab_size": 152064, "rope_theta": 1e6, "rms_norm_eps": 1e-6})
        self.assertEqual((dream["kv_heads"], dream["qkv_bias"], dream["qk_norm"]), (4, True, False))


class Refusals(unittest.TestCase):
    def test_without_a_gpu_one_line_says_so(self):
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run([sys.executable, HERE / "gpu_page.py", "--check"], capture_output=True, text=True,
                                  env={**os.environ, "PATH": empty})
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "gpu_page.py: there is no NVIDIA GPU here, or no driver (nvidia-smi shows none)\n")

    def test_without_torch_one_line_says_so(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "torch.py").write_text("raise ImportError('No module named torch')\n", encoding="utf-8")
            done = subprocess.run([sys.executable, HERE / "peer_gpu.py", "--check"], capture_output=True, text=True,
                                  env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"})
        self.assertEqual(done.returncode, 1)
        self.assertIn("the peer needs a python3 with PyTorch for CUDA", done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
