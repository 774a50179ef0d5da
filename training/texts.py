"""Reading and cleaning the English texts; proofreading, story and fill-in cases made from them.

Expected in the ``--texts`` folder: ``tinystories.txt.xz`` (short stories separated by ``<|endoftext|>``, CDLA-Sharing-1.0)
and ``childrens-books.txt.xz`` (19th-century children's books, public domain).  One story in 25, and the last 2 % of the
books, are held out.
"""
import collections
import lzma
import random
import re
from pathlib import Path

QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2014": " - ", "\u2013": "-", "\u2026": "...",
                        "\u00a0": " ", "\ufeff": "", "_": "", "\r": ""})
SENTENCE = re.compile(r'(?<=[.!?])["\']?\s+(?=["\'A-Z])')
WORD = re.compile(r"(?<![A-Za-z'])[a-z]{3,12}(?![A-Za-z'])")


def read(path: Path) -> str:
    return lzma.open(path, "rt", encoding="utf-8", errors="replace").read().translate(QUOTES)


def plain(s: str) -> bool:
    return s.isascii() and not re.search(r"[^\w\s.,;:!?'\"()\-]", s)


def load(folder: Path):
    """-> {stories, heldout_stories, books, heldout_books, sentences, heldout_sentences, words}, all lists of str."""
    stories, seen = [], set()
    for s in read(folder / "tinystories.txt.xz").split("<|endoftext|>"):
        s = re.sub(r" *\n+ *", "\n\n", re.sub(r"[ \t]+", " ", s.strip()))
        if len(s) > 200 and plain(s) and s[:120] not in seen and s[-1] in '.!?"':
            seen.add(s[:120])
            stories.append(s)
    books = []
    for p in re.split(r"\n\s*\n", read(folder / "childrens-books.txt.xz")):
        p = re.sub(r"\s+", " ", p).strip().replace("--", " - ").replace("  ", " ")
        if len(p) > 60 and plain(p) and not p.isupper() and p[-1] in '.!?":;':
            books.append(p)
    random.Random(7).shuffle(stories)
    cut_s, cut_b = len(stories) // 25, len(books) // 50
    out = dict(stories=stories[cut_s:], heldout_stories=stories[:cut_s], books=books[:-cut_b], heldout_books=books[-cut_b:])
    for name, src, extra in (("sentences", out["stories"], out["books"]), ("heldout_sentences", out["heldout_stories"], [])):
        keep = []
        for s in [q for s in src for q in SENTENCE.split(s.replace("\n", " "))] + [q for s in extra[::3] for q in SENTENCE.split(s)]:
            s = re.sub(r"\s+", " ", s).strip()
            if 4 <= len(s.split()) <= 20 and s[0].isupper() and s[-1] in ".!?" and '"' not in s and ";" not in s \
                    and not s.endswith((" Mr.", " Mrs.", " Dr.", " St.")):
                keep.append(s)
        out[name] = list(dict.fromkeys(keep))
    count = collections.Counter()
    for s in stories * 2 + books:
        count.update(WORD.findall(s))
    out["words"] = [w for w, c in count.most_common(12000) if c >= 8]
    return out


# ---------------------------------------------------------------------------------------------- proofreading

SWAPS = [("their", "there"), ("your", "you're"), ("its", "it's"), ("to", "too"), ("was", "were"), ("is", "are"), ("has", "have"),
         ("then", "than"), ("were", "was"), ("are", "is"), ("have", "has"), ("a", "an"), ("an", "a"), ("there", "their"), ("too", "to"),
         ("went", "goed"), ("saw", "seed"), ("ran", "runned"), ("said", "sayed"), ("felt", "feeled"), ("found", "finded"),
         ("did", "do"), ("he", "him"), ("she", "her"), ("they", "them"), ("children", "childs"), ("came", "comed"), ("took", "taked"),
         ("didn't", "don't"), ("know", "no"), ("hear", "here"), ("right", "write"), ("friend", "freind"), ("because", "becuase")]
SWAP = collections.defaultdict(list)
for _good, _bad in SWAPS:
    SWAP[_good].append(_bad)


def misspell(rng: random.Random, w: str) -> str:
    """One spelling slip inside a word of four letters or more (the first letter stays)."""
    i, kind = rng.randrange(1, len(w) - 1), rng.randrange(4)
    if kind == 0:
        return w[:i] + w[i + 1] + w[i] + w[i + 2:]
    if kind == 1:
        return w[:i] + w[i + 1:]
    if kind == 2:
        return w[:i] + w[i] + w[i:]
    return w[:i] + rng.choice("aeiou" if w[i] in "aeiou" else "bcdfglmnprst") + w[i + 1:]


def slip(rng: random.Random, sentence: str) -> str:
    """The sentence with one to three spelling or grammar slips."""
    words = sentence.split(" ")
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        i, r = rng.randrange(len(words)), rng.random()
        w = words[i]
        if r < .3:
            spots = [j for j, x in enumerate(words) if x.lower() in SWAP and x.islower()]
            if spots:
                i = rng.choice(spots)
                words[i] = rng.choice(SWAP[words[i]])
                continue
        if r < .8:
            spots = [j for j, x in enumerate(words) if len(x) >= 4 and x.isalpha() and x.islower()]
            if spots:
                i = rng.choice(spots)
                words[i] = misspell(rng, words[i])
                continue
        if r < .87:
            words.insert(i, w)
        elif r < .94:
            words[0] = words[0][0].lower() + words[0][1:]
        elif words[-1][-1] in ".":
            words[-1] = words[-1][:-1]
    return " ".join(words)


PROOF = ["Proofread this sentence: {s}", "Fix the spelling and grammar: {s}", "Correct the mistakes: {s}", "Correct this sentence: {s}",
         "Fix this sentence:\n{s}", "Proofread: {s}", "Rewrite this sentence without mistakes: {s}", "Correct the spelling and grammar of this sentence.\n\n{s}",
         "Please correct: {s}", "{s}\n\nFix the errors in the sentence above.", "Fix the errors: {s}", "Find and fix the slips in this sentence: {s}",
         "Fix the typos: {s}", "Correct the spelling: {s}", "Please proofread the following sentence.\n{s}", "Edit this sentence so that it is correct: {s}",
         "Fix any mistakes in: {s}"]


def proof_case(rng, sentences):
    s = rng.choice(sentences)
    bad = s if rng.random() < .08 else slip(rng, s)
    return dict(task="proofread", messages=[dict(role="user", content=rng.choice(PROOF).format(s=bad))], answer=s, grader="exact", meta={})


# ---------------------------------------------------------------------------------------------- stories

CONTINUE = ["Continue this story: {s}", "Continue the story:\n{s}", "Continue this story.\n\n{s}", "What happens next?\n\n{s}", "Finish this story: {s}",
            "Write the next part of the story: {s}", "Go on with this story:\n\n{s}", "Please continue: {s}", "Complete the story: {s}", "{s}\n\nContinue the story."]
WRITE = ["Write a short story with the words {w}.", "Tell me a story about {w}.", "Write a short story that uses these words: {w}", "Write a story about {w}.",
         "Write a children's story with {w}."]
FILL = ["Fill in the blank: {s}", "Fill in the blank:\n{s}", "Fill in the missing words: {s}", "What goes in the blank? {s}", "Complete the blank in this story:\n{s}",
        "Write the missing part: {s}"]
COMMON = set("the and was she her him they them that with had for his but you said one day very not all were from there when what".split())


def _sentences(story):
    out, start = [], 0
    for m in SENTENCE.finditer(story):
        out.append(story[start:m.end()])
        start = m.end()
    return out + [story[start:]]


def story_case(rng, stories, task=None):
    """``continue``, ``fill`` (one blank, written ___) or ``write`` (from given words).  No grader but the reader."""
    task = task or rng.choice(("continue", "continue", "fill", "write"))
    parts = _sentences(rng.choice(stories))
    if task == "continue":
        k = min(len(parts) - 1, rng.choice((1, 1, 2, 2, 3, 4)))
        user = rng.choice(CONTINUE).format(s="".join(parts[:k]).strip())
        answer = "".join(parts[k:] if rng.random() < .4 else parts[k:k + rng.randint(2, 5)]).strip()
    elif task == "write":
        words = [w for w in dict.fromkeys(WORD.findall(" ".join(parts))) if w not in COMMON and len(w) > 3]
        w = rng.sample(words, min(len(words), rng.choice((1, 2, 3))))
        w = w[0] if len(w) == 1 else ", ".join(w[:-1]) + " and " + w[-1]
        user, answer = rng.choice(WRITE).format(w=("a " if rng.random() < .3 and " " not in w else "") + w), "".join(parts).strip()
    else:
        k = rng.randrange(max(1, len(parts) - 3))
        span = parts[k:k + 4]
        i = rng.randrange(len(span))
        if rng.random() < .5:
            answer, span[i] = span[i].strip(), "___ "
        else:
            words = span[i].split(" ")
            a = rng.randrange(len(words))
            b = min(len(words), a + rng.randint(1, 4))
            answer = " ".join(words[a:b]).strip()
            span[i] = " ".join(words[:a] + ["___"] + words[b:]) + ("" if b < len(words) else " ")
        user = rng.choice(FILL).format(s="".join(span).strip())
    return dict(task=task, messages=[dict(role="user", content=user)], answer=answer or "The end.", grader="none", meta={})
