#!/usr/bin/env python3
"""Writes random_<name>.bin: what the reference `tokenizers` library makes of 10,000 random strings.

Usage: make_vectors.py SHARED_DATA_FOLDER [OUT_FOLDER]

Each file is 10,000 little-endian uint32: FNV-1a over the ids (as int32) followed by the decoded
text. The strings come from a generator that vectors_test.cc implements too. Also writes
tiny_expected.json for tiny_tokenizer.json.
"""
import json
import pathlib
import struct
import sys

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, AddedToken

COUNT = 10000
MASK = (1 << 64) - 1

WORDS = [" the", " Hello", "world", " I'm", "'s", "'S", "'\u017f", "'ll", "'LL", "'rE", "n't", "'d",
         " of", "ing", "\u0130stanbul", "stra\u00dfe", "e\u0301", " caf\u00e9", "\ufb01", "\u2126",
         "<|im_end|>", "<|endoftext|>", "<s>", "</s>", "<0x0A>", "<|eot_id|>", "\u2581", "<think>",
         "<|im_start|>user\n", "<tool_call>", "\r\n", "\n\n", " \n ", "\t\t", "    ", "1234567", "0x1F",
         "3.14", "!!!", "...", "://", "();", "\u200d", "\ufeff", "\u00a0", "\u2028", "\u180e", "\u0085"]
RANGES = [(0xA0, 0x17F), (0x370, 0x3FF), (0x400, 0x4FF), (0x300, 0x36F), (0x590, 0x6FF),
          (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1FFF), (0x2000, 0x206F),
          (0x2150, 0x218F), (0x2460, 0x24FF), (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
          (0xF900, 0xFAFF), (0xFE00, 0xFFEF), (0x1F100, 0x1F1FF), (0x1F300, 0x1F9FF)]


class SplitMix:
    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return (z ^ (z >> 31)) % n


def random_string(rng):
    out = []
    for _ in range(1 + rng.below(24)):
        kind = rng.below(10)
        if kind < 3:
            out.append(WORDS[rng.below(len(WORDS))])
        elif kind < 5:
            out.append(" " if rng.below(2) else "")
            out.append("".join(chr(97 + rng.below(26) - (32 if rng.below(5) == 0 else 0))
                               for _ in range(1 + rng.below(9))))
        elif kind == 5:
            out.append("".join(chr(33 + rng.below(94)) for _ in range(1 + rng.below(4))))
        elif kind == 6:
            out.append("".join(" \n\t\r"[rng.below(4)] for _ in range(1 + rng.below(5))))
        elif kind < 9:
            low, high = RANGES[rng.below(len(RANGES))]
            out.append("".join(chr(low + rng.below(high - low + 1)) for _ in range(1 + rng.below(6))))
        else:
            c = rng.below(0x110000 - 0x800)
            out.append(chr(c if c < 0xD800 else c + 0x800))
    return "".join(out)


def fnv(data, value=0x811C9DC5):
    for b in data:
        value = ((value ^ b) * 0x01000193) & 0xFFFFFFFF
    return value


def bytes_to_unicode():
    keep = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table, n = {}, 0
    for b in range(256):
        if b in keep:
            table[b] = chr(b)
        else:
            table[b] = chr(256 + n)
            n += 1
    return table


def load_qwen2(root):
    from transformers import AutoTokenizer
    return AutoTokenizer.from_pretrained(str(root / "SDAR-4B-Chat"), use_fast=True,
                                         trust_remote_code=False).backend_tokenizer


def load_gpt2(root):
    t = Tokenizer(models.BPE.from_file(str(root / "GPT-2/vocab.json"), str(root / "GPT-2/merges.txt")))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return t


def load_llama3(root):
    import base64
    table = bytes_to_unicode()
    spell = lambda b: "".join(table[x] for x in b)
    ranks = {}
    for line in (root / "Llama-3/tokenizer.model").read_text().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    merges = []
    for token, rank in ranks.items():
        local = [(ranks[token[:i]], ranks[token[i:]], token[:i], token[i:], rank)
                 for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        merges.extend(sorted(local, key=lambda x: (x[0], x[1])))
    merges.sort(key=lambda x: x[4])
    t = Tokenizer(models.BPE({spell(k): v for k, v in ranks.items()},
                             [(spell(a), spell(b)) for _, _, a, b, _ in merges],
                             fuse_unk=False, ignore_merges=True))
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
               r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    config = json.loads((root / "Llama-3/Llama-3.2-1B-Instruct.tokenizer_config.json").read_text())
    added = sorted((int(k), v) for k, v in config["added_tokens_decoder"].items())
    t.add_special_tokens([AddedToken(v["content"], special=True, normalized=False)
                          for _, v in added])
    return t


def load_llama2(root):
    return Tokenizer.from_file(str(root / "Llama-2/tokenizer.json"))


def load_neox(root):
    return Tokenizer.from_file(str(root / "GPT-NeoX/20B_tokenizer.json"))


LOADERS = {"qwen2": load_qwen2, "gpt2": load_gpt2, "llama3": load_llama3, "llama2": load_llama2,
           "neox": load_neox}


def main():
    root = pathlib.Path(sys.argv[1]) / "tokenizers"
    out = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parent)
    for name, load in LOADERS.items():
        tokenizer = load(root)
        tokenizer.no_truncation()
        rng = SplitMix(20260101)
        hashes = []
        dump = open(out / f"random_{name}.jsonl", "w") if "--dump" in sys.argv else None
        for _ in range(COUNT):
            text = random_string(rng)
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            decoded = tokenizer.decode(ids, skip_special_tokens=False)
            hashes.append(fnv(struct.pack(f"<{len(ids)}i", *ids) + decoded.encode()))
            if dump:
                dump.write(json.dumps([text, ids, decoded]) + "\n")
        (out / f"random_{name}.bin").write_bytes(struct.pack(f"<{COUNT}I", *hashes))
        print(name, f"{fnv(struct.pack(f'<{COUNT}I', *hashes)):08x}")


if __name__ == "__main__":
    main()
