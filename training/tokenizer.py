"""The byte-level BPE of both models, in the Hugging Face ``tokenizers`` format.

A word gets the same pieces with and without a space before it.  Merges are first learnt inside runs of letters, of
punctuation and of blanks, never across; only then is a merge (space, piece) added, last in rank, for the pieces that most
often start a word.  So "plum" and " plum" differ in their first piece alone, and a model that copies lists has to learn
one table of pairs instead of the spelling of every word.
"""
import collections
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCAB = 4096
SPECIALS = ["<|startoftext|>", "<|endoftext|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|mdm_mask|>",
            "<|reserved_0|>", "<|reserved_1|>"]  # the last 8 ids
BOS, EOS, START, END, EOT, MASK = range(VOCAB - len(SPECIALS), VOCAB - 2)
QWEN_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
RUNS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+[\r\n]*|\s+"
TEMPLATE = ("{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + "
            "message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}"
            "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}")


def chat(messages) -> str:
    """``TEMPLATE`` without Jinja, generation prompt included."""
    return SPECIALS[0] + "".join(f"<|start_header_id|>{m['role']}<|end_header_id|>\n\n{m['content'].strip()}<|eot_id|>" for m in messages) + \
        "<|start_header_id|>assistant<|end_header_id|>\n\n"


def split(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(lines, base: int = 2350) -> Tokenizer:
    """``lines``: iterable of text.  ``base``: bytes plus merges before the (space, piece) merges fill the vocabulary."""
    lines = list(lines)
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = split(RUNS)
    raw.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=base, show_progress=False, max_token_length=9,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    model = json.loads(raw.to_str())["model"]
    vocab, merges = model["vocab"], [tuple(m) for m in model["merges"]]
    starts = collections.Counter(c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz\"'(" for _ in range(10**6))
    for enc in raw.encode_batch(lines[:: max(1, len(lines) // 60000)]):
        for a, b in zip(enc.tokens, enc.tokens[1:]):
            if a == "\u0120" and b[0] not in "\u0120\u010a":
                starts[b] += 1
    for piece, _ in starts.most_common():
        if len(vocab) == VOCAB - len(SPECIALS):
            break
        if not piece[0].isdigit() and "\u0120" + piece not in vocab:
            vocab["\u0120" + piece] = len(vocab)
            merges.append(("\u0120", piece))
    assert len(vocab) == VOCAB - len(SPECIALS), len(vocab)
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tok.pre_tokenizer = split(QWEN_SPLIT)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIALS])
    assert tok.token_to_id("<|mdm_mask|>") == MASK and tok.get_vocab_size() == VOCAB
    return tok


def write_folder(tok: Tokenizer, folder: Path, strategy: str):
    """tokenizer.json, tokenizer_config.json (with the chat template), special_tokens_map.json, generation_config.json
    (end-of-text ids, and `strategy`: how Tessera decodes this model unless told otherwise)."""
    folder.mkdir(parents=True, exist_ok=True)
    tok.save(str(folder / "tokenizer.json"))
    special = dict(bos_token=SPECIALS[0], eos_token=SPECIALS[1], pad_token=SPECIALS[1], mask_token="<|mdm_mask|>")
    added = {str(VOCAB - len(SPECIALS) + i): dict(content=s, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)
             for i, s in enumerate(SPECIALS)}
    dump = lambda name, d: (folder / name).write_text(json.dumps(d, indent=2, ensure_ascii=False) + "\n")
    dump("tokenizer_config.json", dict(added_tokens_decoder=added, add_bos_token=False, add_eos_token=False, **special, chat_template=TEMPLATE,
                                       clean_up_tokenization_spaces=False, model_max_length=1024, tokenizer_class="PreTrainedTokenizerFast"))
    dump("special_tokens_map.json", special)
    dump("generation_config.json", dict(bos_token_id=BOS, eos_token_id=[EOS, EOT], pad_token_id=EOS,
                                        tessera_strategy=strategy))
