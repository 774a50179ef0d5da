#!/usr/bin/env python3
"""Writes tiny_bytes.json and tiny_spm.json, two small tokenizer.json files, and tiny_expected.json:
for each, [text, ids, ids with special tokens, decoded, decoded without special tokens] as the
reference `tokenizers` library has it.

Usage: make_tiny.py [OUT_FOLDER]
"""
import json
import pathlib
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        processors, trainers)

from make_vectors import SplitMix, random_string

TEXT = ["Once upon a time, there was a little girl named Lily. She loved to play outside in the park.",
        "The quick brown fox jumps over the lazy dog; the dog isn't amused, and it'll say so in 2024!",
        "tesserae are the tiles of a mosaic: they may be laid in any order, many at a time.\n\n"] * 4
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
        r"\s*[\r\n]+|\s+(?!\S)|\s+")


def tiny_bytes():
    t = Tokenizer(models.BPE())
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(TEXT, trainers.BpeTrainer(
        vocab_size=400, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    t.add_special_tokens([AddedToken("<|bos|>", special=True, normalized=False),
                          AddedToken("<|eos|>", special=True, normalized=False),
                          AddedToken("<mask>", special=True, normalized=False, lstrip=True)])
    t.add_tokens([AddedToken("<think>", normalized=False), AddedToken("<think>er", normalized=False),
                  AddedToken("[R]", normalized=False, rstrip=True),
                  AddedToken("word", normalized=False, single_word=True),
                  AddedToken("caf\u00e9", normalized=True)])
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|bos|> $A <|eos|>", special_tokens=[
            ("<|bos|>", t.token_to_id("<|bos|>")), ("<|eos|>", t.token_to_id("<|eos|>"))])])
    return t


def tiny_spm():
    alphabet = sorted({c for line in TEXT for c in line if c != "\n"} - {" "} | {"\u2581"})
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"),
                                         normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                   decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.train_from_iterator(TEXT, trainers.BpeTrainer(
        vocab_size=430, show_progress=False, initial_alphabet=alphabet, max_token_length=8,
        special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]))
    data = json.loads(t.to_str())
    data["added_tokens"] = data["added_tokens"][:3]  # byte tokens are ordinary ones
    t = Tokenizer.from_str(json.dumps(data))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
    expected = {}
    for name, make in {"tiny_bytes": tiny_bytes, "tiny_spm": tiny_spm}.items():
        t = make()
        (out / f"{name}.json").write_text(t.to_str(pretty=False) + "\n")
        rng = SplitMix(7)
        texts = ["", " ", "Once upon a time", "a <mask> b<mask>", "  <mask>", "<think>er <think>",
                 "[R]   x[R]\n", "word words sword word, _word word", "cafe\u0301 caf\u00e9s",
                 "<|bos|>x<|eos|>", "<s>x</s> y", "<0x41><0xE4>", "\U0001f999\U0001f999 \u4f60",
                 "\u2581x \u2581", "   indented\n\n\n  more   ", "it'LL isn'\u017f it'S 1234"]
        texts += [random_string(rng) for _ in range(200)]
        expected[name] = []
        for text in texts:
            ids = t.encode(text, add_special_tokens=False).ids
            full = t.encode(text, add_special_tokens=True).ids
            expected[name].append([text, ids, full, t.decode(full, skip_special_tokens=False),
                                   t.decode(full, skip_special_tokens=True)])
        rows = []  # decoding of arbitrary ids: broken characters, runs of byte tokens
        for _ in range(200):
            ids = [rng.below(t.get_vocab_size() + 3) for _ in range(rng.below(20))]
            rows.append([ids, t.decode(ids, skip_special_tokens=False)])
        expected[name + "_ids"] = rows
    (out / "tiny_expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
