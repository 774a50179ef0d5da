"""Synthetic tasks a person can check: list editing, arithmetic, Latin squares.  Generators and graders.

A *case* is a dict ``{task, messages, answer, grader, meta}``: ``messages`` are chat turns ending with the user's
request, ``answer`` is one right answer, ``grader`` names the function in ``GRADERS`` that decides whether an output is
right, ``meta`` holds what that grader needs.

Every item (word, name, number) belongs to one split for ever: ``held_out(item)``, a hash, puts about one in eight aside.
Training cases use only the other seven; evaluation cases use only held-out items.
"""
import random
import re
import zlib

import wordlists

ORDINALS = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]


def held_out(item: str) -> bool:
    """True for the ~1/8 of items that training never shows in a list."""
    return zlib.crc32(item.lower().encode()) % 8 == 0


# ---------------------------------------------------------------------------------------------- items

ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sh sk sl sm sn sp st str t th tr v w y z".split()
VOWELS = "a e i o u a e i o u ai au ea ee ei ie oa oo ou".split()
CODAS = ["", "", "", "b", "ck", "d", "f", "g", "k", "l", "ll", "m", "n", "nd", "ng", "nk", "nt", "p", "r", "rd", "rk", "rn",
         "s", "sh", "ss", "st", "t", "th", "x", "z"]


def pseudo_word(rng: random.Random) -> str:
    """A pronounceable word that (nearly always) does not exist: 1 to 3 syllables."""
    n = rng.choice((1, 2, 2, 2, 3))
    return "".join(rng.choice(ONSETS) + rng.choice(VOWELS) + (rng.choice(CODAS) if i == n - 1 or rng.random() < .3 else "")
                   for i in range(n))


class Items:
    """Item pools of one split.  ``words``: plain lower-case words counted from the texts, most frequent first."""

    def __init__(self, words, heldout: bool):
        keep = lambda xs: [x for x in xs if held_out(x) == heldout]
        self.heldout = heldout
        self.words = keep(words)
        self.common = keep(words[:1500])
        self.first = keep(wordlists.FIRST_NAMES)
        self.last = keep(wordlists.LAST_NAMES)
        self.cats = {k: keep(v) for k, v in wordlists.CATEGORIES.items()}
        self.cats = {k: v for k, v in self.cats.items() if len(v) >= 3}
        self.catlist = sorted({x for v in self.cats.values() for x in v})
        self.numbers = keep([str(i) for i in range(1000)])
        self.small = keep([str(i) for i in range(100)])
        self.pieces = None  # list while refining: vocabulary pieces, of which "compound" items are glued

    def _pseudo(self, rng):
        while True:
            w = pseudo_word(rng)
            if held_out(w) == self.heldout:
                return w

    def _compound(self, rng):
        """One to three vocabulary pieces in a row: shows every piece inside items, whole words that are held out as items too."""
        while True:
            n = rng.choice((1, 2, 2, 2, 3))
            w = rng.choice(self.pieces) + "".join(rng.choice(self.pieces).lower() for _ in range(n - 1))
            if held_out(w) == self.heldout:
                return w

    def draw(self, rng: random.Random, kind: str, n: int):
        """``n`` distinct items of ``kind``."""
        if kind == "word":
            return rng.sample(self.words, n)
        if kind == "common":
            return rng.sample(self.common, n)
        if kind == "category":
            pools = [v for v in self.cats.values() if len(v) >= n]
            return rng.sample(rng.choice(pools) if pools and rng.random() < .7 else self.catlist, n)
        if kind == "capital":
            return [w.capitalize() for w in rng.sample(self.words, n)]
        if kind == "first":
            return rng.sample(self.first, n)
        if kind == "letter":  # 26 letters cannot be held out
            return rng.sample("ABCDEFGHIJKLMNOPQRSTUVWXYZ" if rng.random() < .6 else "abcdefghijklmnopqrstuvwxyz", n)
        if kind == "number":
            return rng.sample(self.small if rng.random() < .5 and len(self.small) >= n else self.numbers, n)
        make = {"compound": lambda: self._compound(rng), "full": lambda: rng.choice(self.first) + " " + rng.choice(self.last),
                "pseudo": lambda: self._pseudo(rng),
                "Pseudo": lambda: self._pseudo(rng).capitalize(),
                "phrase": lambda: rng.choice(self.words) + " " + rng.choice(self.catlist)}[kind]
        out = []
        while len(out) < n:
            x = make()
            if x not in out:
                out.append(x)
        return out


KINDS = dict(word=5, common=3, category=4, capital=1, first=4, full=5, pseudo=4, Pseudo=1, number=1.5, letter=.7, phrase=.6)
NOUNS = dict(first=["names", "people", "items", "friends", "students"], full=["names", "people", "customers", "guests", "items"],
             number=["numbers", "numbers", "items"], letter=["letters", "items"], phrase=["phrases", "items", "things"])


def nouns(kind):
    return NOUNS.get(kind, ["words", "items", "things", "elements", "entries", "words"])


# ---------------------------------------------------------------------------------------------- list styles

# name: (open, separator, last separator, close)
STYLES = {
    "comma": ("", ", ", ", ", ""), "csv": ("", ",", ",", ""), "semicolon": ("", "; ", "; ", ""), "space": ("", " ", " ", ""),
    "and": ("", ", ", " and ", ""), "oxford": ("", ", ", ", and ", ""), "lines": ("", "\n", "\n", ""),
    "bullets": ("- ", "\n- ", "\n- ", ""), "stars": ("* ", "\n* ", "\n* ", ""), "json": ('["', '", "', '", "', '"]'),
    "tight": ('["', '","', '","', '"]'), "python": ("['", "', '", "', '", "']"), "bracket": ("[", ", ", ", ", "]"),
    "pipe": ("", " | ", " | ", ""), "numbered": None,
}
STYLE_WEIGHTS = dict(comma=10, csv=2, semicolon=1, space=2, oxford=1.5, lines=4, bullets=1.5, stars=.5, json=6, tight=3,
                     python=1, bracket=1, pipe=.7, numbered=1.5)
STYLE_WEIGHTS["and"] = 2.5
BLOCK_STYLES = {"lines", "bullets", "stars", "numbered"}


def format_list(items, style: str) -> str:
    if style == "numbered":
        return "\n".join(f"{i}. {x}" for i, x in enumerate(items, 1))
    o, sep, last, c = STYLES[style]
    body = sep.join(items[:-1]) + (last if len(items) > 1 else "") + items[-1] if items else ""
    return o + body + c


def parse_list(text: str, style: str):
    """Strict inverse of ``format_list``; None if the text is not a list of that style."""
    text = text.strip()
    if style == "numbered":
        out = []
        for i, line in enumerate(text.split("\n"), 1):
            head = f"{i}. "
            if not line.startswith(head):
                return None
            out.append(line[len(head):])
        return out
    o, sep, last, c = STYLES[style]
    if not (text.startswith(o) and text.endswith(c)) or len(text) < len(o) + len(c):
        return None
    body = text[len(o):len(text) - len(c)]
    if last != sep and last in body:
        head, tail = body.rsplit(last, 1)
        return head.split(sep) + [tail]
    return body.split(sep)


def weighted(rng, table: dict):
    return rng.choices(list(table), list(table.values()))[0]


# ---------------------------------------------------------------------------------------------- list wording

WRAPPERS = [  # {C}: capitalised command, {c}: the same in lower case, {L}: the list, {n}: noun
    ("{C}: {L}", 9), ("{C}:\n{L}", 5), ("{C}.\n{L}", 2), ("{C}.\n\n{L}", 2), ("{C}:\n\n{L}", 2), ("Please {c}: {L}", 2),
    ("Can you {c}? {L}", 1), ("Could you {c}?\n{L}", 1), ("{L}\n{C}.", 2), ("{L}\n\n{C}.", 2), ("Here is a list: {L}. {C}.", 2),
    ("Here is a list:\n{L}\n{C}.", 1), ("Here are some {n}: {L}\n{C}.", 1), ("I have these {n}: {L}. {C}.", 1),
    ("List: {L}\n{C}.", 1), ("{C}, in the same format: {L}", 1), ("Task: {c}.\nList: {L}", 1), ("Given the list {L}, {c}.", 1.5),
    ("{C}. Answer with the list only.\n{L}", 1), ("{C}: {L}\nAnswer:", .7), ("Input: {L}\nInstruction: {c}", .7),
    ("{c}: {L}", 1), ("My {n} are {L}. {C}.", 1), ("The {n} are: {L}. Please {c}.", 1), ("{C} -> {L}", .3),
    ("The queue is {L}. {C}.", .7), ("People in line: {L}\n{C}.", .5), ("I want you to {c}: {L}", .7),
    ("Help me {c}: {L}", .5), ("{C}. {L}", 1.5), ("{n}: {L}\n\n{C}", .7), ("Now {c}: {L}", .5), ("{C}! {L}", .3),
    ("You are given a list of {n}: {L}. {C}.", 1.5), ("{L}\n\n{C}", 1), ("{L} - {c}", .4), ("{C}.\n\nList: {L}", 1), ("{C}. Output only the list: {L}", .7),
    ("There is a line of {n}: {L}\n\n{C}.", 1), ("The current list is {L}. {C}.", 1), ("I need you to {c}.\n{L}", .7), ("Consider the {n} {L}. {C}.", .5),
    ("Start with {L}. {C}. Write only the new list.", .6), ("{C}:\n{L}\n\nWrite the result in the same format.", .8),
]
OBJECTS = [("this list", 6), ("the list", 6), ("the following list", 3), ("these {n}", 5), ("the following {n}", 3), ("the {n}", 3),
           ("the list below", 1), ("the {n} below", 1), ("my list", 1), ("it", .6), ("the line", .4), ("this list of {n}", 1.5),
           ("the list of {n}", 1), ("the given list", .7), ("", 4), ("{L}", 2.5)]  # "": no object; {L}: the list itself
SELF_WRAPPERS = ["{C}", "{C}.", "{C}", "Please {c}.", "{c}", "Can you {c}?", "{C}. Answer with the list only."]


def without_object(phrase: str) -> str:
    """"remove {y} from {o}" -> "remove {y}", for "Remove {y}: {L}"."""
    return re.sub(r" (in|of|from|to|into|off|out of)? ?\{o\}| ?\{o\}", "", phrase.removeprefix("in {o}, "))

# (operation, wording, weight); {o} object, {x} new item, {y} {z} items of the list, {i} zero-based, {p} one-based, {ord}, {s}: noun
PHRASES = {
    "copy": [("copy", t, w) for t, w in [
        ("copy {o}", 5), ("repeat {o}", 5), ("repeat {o} exactly", 3), ("write {o} again", 2), ("output {o} unchanged", 1.5),
        ("say {o} back to me", 1), ("repeat after me", 1.5), ("copy {o} word for word", 1), ("echo {o}", 2), ("return {o} unchanged", 1.5), ("type {o} again without changes", 1),
        ("rewrite {o} exactly", 1), ("print {o}", 1.5), ("give {o} back in the same order", 1.5), ("write out {o}", 1),
        ("copy {o} exactly as given", 2), ("write {o} in the same order", 1.5), ("reproduce {o}", 1), ("write down {o}", 1),
        ("recite {o}", .5), ("keep {o} as is", .7), ("make a copy of {o}", 1.5), ("show {o} again", .7)]],
    "reverse": [("reverse", t, w) for t, w in [
        ("reverse {o}", 9), ("reverse the order of {o}", 4), ("put {o} in reverse order", 3), ("write {o} backwards", 3),
        ("write {o} in reverse", 2), ("flip {o}", 1), ("list {o} from last to first", 1.5), ("give me {o} in the opposite order", 1),
        ("turn {o} around", 1), ("print {o} in reverse order", 1.5), ("repeat {o} in reverse", 1), ("show {o} starting from the end", 1),
        ("invert the order of {o}", 1), ("write {o} from the last to the first", 1), ("flip the order of {o}", 1),
        ("return {o} reversed", 1), ("read {o} backwards", .7), ("give {o} back to front", .7)]],
    "sort": [("sort", t, w) for t, w in [
        ("sort {o}", 6), ("sort {o} alphabetically", 5), ("put {o} in alphabetical order", 5), ("order {o} from A to Z", 2),
        ("arrange {o} alphabetically", 2), ("alphabetize {o}", 1.5), ("sort {o} in alphabetical order", 3), ("arrange {o} in alphabetical order", 2),
        ("order {o} alphabetically", 2), ("list {o} in alphabetical order", 2), ("sort {o} from A to Z", 1.5), ("put {o} in ABC order", .7),
        ("write {o} in alphabetical order", 1.5), ("give me {o} sorted alphabetically", 1), ("rank {o} alphabetically", .5), ("return {o} sorted", 1)]],
    "sort_numbers": [("sort", t, w) for t, w in [
        ("sort {o}", 6), ("sort {o} from smallest to largest", 4), ("put {o} in order", 2), ("sort {o} in ascending order", 3),
        ("order {o} from low to high", 1), ("put {o} in increasing order", 2), ("arrange {o} from smallest to largest", 2),
        ("list {o} from smallest to biggest", 1), ("order {o} by size", .7)]],
    "shuffle": [("shuffle", t, w) for t, w in [
        ("shuffle {o}", 8), ("put {o} in a random order", 3), ("mix up {o}", 2), ("rearrange {o} randomly", 2), ("randomly shuffle {o}", 2),
        ("give {o} in a different order", 2), ("jumble {o}", 1), ("scramble the order of {o}", 1), ("reorder {o} at random", 1),
        ("randomize {o}", 1), ("write {o} in any other order", 1), ("change the order of {o}", 1), ("put {o} in a new order", 1)]],
    "insert": [
        ("at", "insert {x} at index {i} of {o}", 3), ("at", "insert {x} at position {p} of {o}", 3), ("at", "insert {x} at position {p} in {o}", 3),
        ("at", "insert {x} into {o} at index {i}", 3), ("at", "insert {x} into {o} at position {p}", 2), ("at", "add {x} at index {i} to {o}", 1),
        ("at", "insert {x} as the {ord} {s} of {o}", 3), ("at", "add {x} as the {ord} {s} in {o}", 2), ("at", "put {x} in {ord} place in {o}", 1),
        ("at", "insert {x} as {s} number {p} in {o}", 1), ("at", "insert {x} at the {ord} position in {o}", 2), ("at", "add {x} at position {p} in {o}", 2),
        ("end", "add {x} to the end of {o}", 4), ("end", "append {x} to {o}", 2), ("end", "put {x} at the end of {o}", 2), ("end", "add {x} to {o}", 1.5),
        ("end", "insert {x} at the end of {o}", 1.5), ("end", "add {x} as the last {s} of {o}", 1),
        ("start", "add {x} to the beginning of {o}", 2), ("start", "add {x} to the start of {o}", 2), ("start", "put {x} at the front of {o}", 1.5),
        ("start", "insert {x} at the beginning of {o}", 2), ("start", "prepend {x} to {o}", 1),
        ("after", "insert {x} after {y} in {o}", 4), ("after", "put {x} after {y} in {o}", 2), ("after", "add {x} right after {y} in {o}", 2),
        ("before", "insert {x} before {y} in {o}", 4), ("before", "put {x} before {y} in {o}", 2), ("before", "add {x} just before {y} in {o}", 1.5),
        ("between", "insert {x} between {y} and {z} in {o}", 2), ("between", "put {x} between {y} and {z} in {o}", 1)],
    "insert_any": [("any", "insert {x} anywhere in {o}", 2), ("any", "insert {x} at a random position in {o}", 2), ("any", "add {x} somewhere in {o}", 1),
                   ("any", "put {x} at any place in {o}", 1), ("any", "insert {x} into {o} at a random place", 1)],
    "remove": [
        ("value", "remove {y} from {o}", 8), ("value", "delete {y} from {o}", 4), ("value", "take {y} out of {o}", 2), ("value", "drop {y} from {o}", 1.5),
        ("value", "cross {y} off {o}", 1), ("value", "write {o} without {y}", 2), ("value", "leave {y} out of {o}", 1), ("value", "erase {y} from {o}", 1),
        ("at", "remove the {ord} {s} from {o}", 5), ("at", "delete the {ord} {s} of {o}", 2), ("at", "remove the {s} at index {i} from {o}", 3),
        ("at", "delete the {s} at index {i} of {o}", 1.5), ("at", "remove {s} number {p} from {o}", 1.5), ("at", "remove the {s} at position {p} from {o}", 3),
        ("at", "remove index {i} from {o}", 1), ("at", "delete position {p} of {o}", 1), ("at", "drop the {ord} {s} from {o}", 1),
        ("last", "remove the last {s} from {o}", 3), ("last", "drop the last {s} of {o}", 1), ("last", "delete the last {s} from {o}", 1)],
    "remove_any": [("any", "remove one {s} at random from {o}", 2), ("any", "remove any one {s} from {o}", 1), ("any", "remove a random {s} from {o}", 2),
                   ("any", "delete one {s} of your choice from {o}", 1)],
    "replace": [
        ("value", "replace {y} with {x} in {o}", 8), ("value", "change {y} to {x} in {o}", 4), ("value", "swap {y} for {x} in {o}", 2),
        ("value", "substitute {x} for {y} in {o}", 2), ("value", "write {x} instead of {y} in {o}", 2), ("value", "in {o}, replace {y} by {x}", 2),
        ("value", "replace {y} by {x} in {o}", 2), ("value", "in {o}, change {y} into {x}", 1),
        ("at", "replace the {ord} {s} of {o} with {x}", 4), ("at", "replace the {s} at index {i} of {o} with {x}", 3), ("at", "change the {ord} {s} of {o} to {x}", 2),
        ("at", "replace the {s} at position {p} in {o} with {x}", 3), ("at", "change {s} number {p} of {o} to {x}", 1), ("at", "set index {i} of {o} to {x}", 1.5),
        ("at", "replace {s} {p} of {o} with {x}", 1), ("at", "replace the {s} at index {i} with {x} in {o}", 2), ("at", "replace the {ord} {s} in {o} by {x}", 1),
        ("last", "replace the last {s} of {o} with {x}", 2), ("last", "change the last {s} in {o} to {x}", 1)],
    "replace_any": [("any", "replace one {s} of {o} with {x}", 2), ("any", "replace a random {s} in {o} with {x}", 2), ("any", "swap any {s} of {o} for {x}", 1)],
}
LIST_TASKS = ["copy", "reverse", "sort", "shuffle", "insert", "remove", "replace", "insert_any", "remove_any", "replace_any"]


def _edit(rng, task, op, items, new):
    """One instance of an operation: (answer list, wording fields)."""
    n, out, f = len(items), list(items), {"x": new}
    if task == "copy":
        return out, f
    if task == "reverse":
        return out[::-1], f
    if task == "sort":
        return (sorted(out, key=int) if all(x.isdigit() for x in out) else sorted(out, key=str.lower)), f
    if task == "shuffle":
        while out == items:
            rng.shuffle(out)
        return out, f
    base = task.split("_")[0]
    i = rng.randrange(n + (base == "insert"))
    if op in ("end", "last"):
        i = n if base == "insert" else n - 1
    elif op == "start":
        i = 0
    elif op == "after":
        i = rng.randrange(n) + 1
        f["y"] = items[i - 1]
    elif op == "before":
        i = rng.randrange(n)
        f["y"] = items[i]
    elif op == "between":
        i = rng.randrange(n - 1) + 1
        f["y"], f["z"] = items[i - 1], items[i]
    elif op == "value":
        f["y"] = items[i]
    last = n if base == "insert" else n - 1
    f.update(i=i, p=i + 1, ord="last" if i == last and base != "insert" and rng.random() < .3 else ORDINALS[i])
    if base == "insert":
        out.insert(i, new)
    elif base == "remove":
        out.pop(i)
    else:
        out[i] = new
    return out, f


def list_case(rng: random.Random, items: Items, task: str, n=None, style=None, kind=None, nmax=8):
    """A list task in words; now and then a solved example of the same wording stands before it, as earlier turns."""
    kind = kind or ("compound" if items.pieces and rng.random() < .3 else weighted(rng, KINDS))
    style = style or weighted(rng, STYLE_WEIGHTS)
    if style == "space" and kind in ("full", "phrase"):
        style = "comma"
    if kind == "full" and rng.random() < .35:
        style = rng.choice(("json", "json", "tight"))
    sort_numbers = task == "sort" and kind == "number"
    phrases = PHRASES["sort_numbers" if sort_numbers else task]
    op, phrase, _ = rng.choices(phrases, [p[2] for p in phrases])[0]
    if "{i}" in phrase and style not in ("json", "tight", "python", "bracket") and rng.random() < .5:
        style = rng.choice(("json", "tight"))
    wrap = rng.choices([w[0] for w in WRAPPERS], [w[1] for w in WRAPPERS])[0]
    obj = rng.choices([o[0] for o in OBJECTS], [o[1] for o in OBJECTS])[0]
    noun = rng.choice(nouns(kind))
    if obj == "":
        phrase = without_object(phrase)
    elif obj == "{L}":
        if style in BLOCK_STYLES or "{o}" not in phrase:
            obj = "this list"
        else:
            wrap = rng.choice(SELF_WRAPPERS)
    single = {"people": "person", "entries": "entry"}.get(noun, noun[:-1]) if rng.random() < .6 else "item"
    quote = rng.choice(('"', "'", '"')) if rng.random() < (.5 if style in ("json", "tight", "python") else .2) else ""
    if style in BLOCK_STYLES and "{L}" in wrap:
        wrap = (wrap.replace(" {L}. ", "\n{L}\n").replace(": {L}", ":\n{L}").replace("? {L}", "?\n{L}").replace(" {L}, ", ":\n{L}\n")
                .replace(". {L}", ".\n{L}").replace("! {L}", "!\n{L}").replace("-> {L}", "\n{L}"))
        if wrap.startswith(("My {n} are\n", "The queue is\n", "Start with\n")):
            wrap = "{L}\n\n{C}."
    if style == "lines" and wrap == "{n}: {L}\n\n{C}":
        wrap = "{L}\n\n{C}."

    def instance(count):
        new, *old = items.draw(rng, kind, count + 1)
        if task == "sort" and rng.random() < .06:
            old.sort(key=(int if sort_numbers else str.lower))
        out, f = _edit(rng, task, op, old, new)
        f = {k: (quote + v + quote if k in "xyz" else v) for k, v in f.items()}
        given = format_list(old, style)
        c = phrase.format(o=obj.format(n=noun, L=given), s=single, **f)
        user = wrap.format(C=c[0].upper() + c[1:], c=c, L=given, n=noun)
        return user[0].upper() + user[1:] if not wrap.startswith("{c}") and wrap[0] == "{" and not wrap.startswith("{L}") else user, old, new, out

    n = n or min(nmax, rng.choice((3, 3, 4, 4, 5, 5, 6, 6, 7, 8)))
    user, old, new, out = instance(n)
    messages = []
    if rng.random() < (.3 if style in ("json", "tight") else .06):
        u, _, _, o = instance(rng.randint(3, max(3, min(6, n))))
        messages += [dict(role="user", content=u), dict(role="assistant", content=format_list(o, style))]
    messages.append(dict(role="user", content=user))
    grader = {"shuffle": "shuffle", "insert_any": "insert_any", "remove_any": "remove_any", "replace_any": "replace_any"}.get(task, "exact")
    meta = dict(items=old, style=style, n=n, kind=kind)
    if style != "numbered":
        meta.update(zip(("open", "sep", "last_sep", "close"), STYLES[style]))
    if task in ("insert_any", "replace_any"):
        meta["new"] = new
    return dict(task=task, messages=messages, answer=format_list(out, style), grader=grader, meta=meta)


# ---------------------------------------------------------------------------------------------- arithmetic

ADD = ["What is {a} + {b}?", "{a} + {b} =", "{a}+{b}", "{a} + {b}", "Compute {a} + {b}.", "Calculate {a} + {b}.", "What is {a} plus {b}?",
       "Add {a} and {b}.", "How much is {a} + {b}?", "{a} plus {b}", "What do you get when you add {a} and {b}?", "Find the sum of {a} and {b}.",
       "What is the sum of {a} and {b}?", "Solve: {a} + {b} = ?", "Please add {a} to {b}.", "What's {a}+{b}?", "{a} + {b} = ?",
       "I have {a} apples and get {b} more. How many apples do I have?"]
SUB = ["What is {a} - {b}?", "{a} - {b} =", "{a}-{b}", "{a} - {b}", "Compute {a} - {b}.", "Calculate {a} - {b}.", "What is {a} minus {b}?",
       "Subtract {b} from {a}.", "How much is {a} - {b}?", "{a} minus {b}", "Take {b} away from {a}.", "What is the difference between {a} and {b}?",
       "Solve: {a} - {b} = ?", "What's {a}-{b}?", "{a} - {b} = ?", "I have {a} apples and give away {b}. How many apples are left?"]
MUL = ["What is {a} * {b}?", "{a} * {b} =", "{a} x {b}", "What is {a} times {b}?", "Multiply {a} by {b}.", "{a} times {b}", "Calculate {a} * {b}.",
       "Compute {a} x {b}.", "What is {a} x {b}?", "What is the product of {a} and {b}?"]


def arithmetic_case(rng: random.Random, heldout: bool, op=None, digits=None):
    """Addition, subtraction (never below zero) of one- and two-digit numbers, one-digit multiplication.

    Operand pairs are split by a hash like list items, products excepted (there are only 100).
    """
    op = op or rng.choice("++--*")
    while True:
        if op == "*":
            a, b = rng.randrange(10), rng.randrange(10)
            break
        d = digits or rng.choice((1, 2, 2, 2))
        lo, hi = (0, 10) if d == 1 else (10, 100)
        a, b = rng.randrange(lo, hi), rng.randrange(lo if digits else 0, hi)
        if op == "-" and a < b:
            a, b = b, a
        if held_out(f"{a}{op}{b}") == heldout:
            break
    text = rng.choice({"+": ADD, "-": SUB, "*": MUL}[op]).format(a=a, b=b)
    answer = str({"+": a + b, "-": a - b, "*": a * b}[op])
    return dict(task={"+": "add", "-": "subtract", "*": "multiply"}[op], messages=[dict(role="user", content=text)], answer=answer,
                grader="exact", meta=dict(a=a, b=b))


# ---------------------------------------------------------------------------------------------- Latin squares

def _all_squares():
    from itertools import permutations
    rows = list(permutations(range(4)))
    out = []

    def grow(sq):
        if len(sq) == 4:
            out.append(tuple(x for r in sq for x in r))
            return
        for r in rows:
            if all(r[c] != q[c] for q in sq for c in range(4)):
                grow(sq + [r])
    grow([])
    return out


SQUARES = _all_squares()  # 576 squares of order 4, each a tuple of 16 in row order
BOXES = [(0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15)]
SUDOKUS = [s for s in SQUARES if all(len({s[i] for i in b}) == 4 for b in BOXES)]  # 288
# squares of the evaluation split: never an answer to a "complete" case in training
held_out_square = lambda s: held_out("sq" + "".join(map(str, s)))

MAKE = ["Make a 4x4 Latin square with the symbols {s}.", "Write a Latin square of size 4 using {s}.", "Make a latin square with symbols {s}",
        "Create a 4 by 4 Latin square from {s}.", "Give me a 4x4 Latin square with the symbols {s}.", "Construct a 4x4 Latin square. Symbols: {s}",
        "Generate a Latin square of size 4 with the symbols {s}. Write each row as comma-separated values.", "Latin square with {s}",
        "Fill a 4x4 grid with {s} so that no row and no column repeats a symbol.", "Make a Latin square from the symbols {s}, one row per line.",
        "Using the symbols {s}, write a 4x4 Latin square in CSV format.", "Please make a 4x4 latin square with {s}."]
COMPLETE = ["Complete this 4x4 Latin square:\n{g}", "Complete this Latin square:\n{g}", "Fill in the blanks of this 4x4 Latin square:\n{g}",
            "Finish the Latin square:\n{g}", "Fill in the missing symbols of this Latin square:\n{g}", "{g}\n\nComplete this 4x4 Latin square.",
            "Complete the latin square. Blanks are {b}.\n{g}", "Solve this 4x4 Latin square ({b} means empty):\n{g}",
            "Each row and column has every symbol once. Fill in the grid:\n{g}"]
SUDOKU = ["Solve this 4x4 sudoku:\n{g}", "Solve the sudoku:\n{g}", "Complete this 4x4 sudoku:\n{g}", "{g}\n\nSolve this 4x4 sudoku. Zeros are unknown.",
          "Fill in the zeros of this 4x4 sudoku:\n{g}"]


def _grid(cells, sep=","):
    return "\n".join(sep.join(cells[r * 4:r * 4 + 4]) for r in range(4))


def _symbols(rng, items):
    r = rng.random()
    if r < .3:
        return list(rng.choice(("ABCD", "1234", "abcd", "WXYZ", "PQRS")))
    if r < .55:
        return rng.sample("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 4)
    if r < .7:
        return rng.sample("123456789", 4)
    if r < .8:
        return rng.sample("abcdefghijklmnopqrstuvwxyz", 4)
    return items.draw(rng, "compound" if items.pieces and rng.random() < .3 else rng.choice(("category", "first", "pseudo")), 4)


def latin_case(rng: random.Random, items: Items, task=None):
    """``latin_make``: any square over four given symbols; ``latin_complete``/``sudoku``: the one completion."""
    task = task or rng.choices(("latin_make", "latin_complete", "sudoku"), (5, 5, 2))[0]
    if task == "latin_make":
        sym = _symbols(rng, items)
        style = rng.choice((", ", ", ", ",", " and ", " "))
        s = ", ".join(sym[:3]) + " and " + sym[3] if style == " and " else style.join(sym)
        template = rng.choice(MAKE)
        make = lambda: _grid([sym[i] for i in rng.choice(SQUARES)])
        user = template.format(s=s)
        messages = []
        if rng.random() < .15:  # a solved example of the same wording with other symbols
            other = rng.sample("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 4)
            ex = _grid([other[i] for i in rng.choice(SQUARES)])
            messages = [dict(role="user", content=template.format(s=(style if style != " and " else ", ").join(other))), dict(role="assistant", content=ex)]
        return dict(task=task, messages=messages + [dict(role="user", content=user)], answer=make(), grader="latin", meta=dict(symbols=sym))
    pool = SUDOKUS if task == "sudoku" else SQUARES
    while True:
        sq = rng.choice(pool)
        if held_out_square(sq) == items.heldout:
            break
    sym = list("1234") if task == "sudoku" or rng.random() < .35 else _symbols(rng, items)
    holes = set(rng.sample(range(16), rng.choice((4, 4, 5, 6, 7))))
    while sum(all(i in holes or q[i] == sq[i] for i in range(16)) for q in pool) > 1:
        holes.remove(rng.choice(sorted(holes)))
    blank = "0" if task == "sudoku" or ("0" not in sym and rng.random() < .3) else rng.choice(("_", "_", "?", "."))
    sep = rng.choice((",", ",", ",", ", ", " "))
    full = [sym[i] for i in sq]
    puzzle = _grid([blank if i in holes else full[i] for i in range(16)], sep)
    user = rng.choice(SUDOKU if task == "sudoku" else COMPLETE).format(g=puzzle, b=blank)
    return dict(task=task, messages=[dict(role="user", content=user)], answer=_grid(full, sep), grader="exact", meta=dict(symbols=sym, blanks=len(holes)))


# ---------------------------------------------------------------------------------------------- graders

def grade_exact(out, case):
    """The output, trimmed, is the answer."""
    return out.strip() == case["answer"].strip()


def grade_shuffle(out, case):
    """A list in the input's style with the same items in another order."""
    got = parse_list(out, case["meta"]["style"])
    return got is not None and sorted(got) == sorted(case["meta"]["items"]) and got != case["meta"]["items"]


def grade_latin(out, case):
    """Four comma-separated rows; every row and every column is a permutation of the four symbols."""
    rows = [[c.strip() for c in r.split(",")] for r in out.strip().split("\n")]
    want = sorted(case["meta"]["symbols"])
    return len(rows) == 4 and all(len(r) == 4 for r in rows) and all(sorted(r) == want for r in rows) and \
        all(sorted(r[c] for r in rows) == want for c in range(4))


def grade_insert_any(out, case):
    """Taking the new item out once gives the input back."""
    got, m = parse_list(out, case["meta"]["style"]), case["meta"]
    if got is None or m["new"] not in got:
        return False
    got.remove(m["new"])
    return got == m["items"]


def grade_remove_any(out, case):
    """The input with exactly one item missing, order kept."""
    got, items = parse_list(out, case["meta"]["style"]), case["meta"]["items"]
    return got is not None and any(items[:i] + items[i + 1:] == got for i in range(len(items)))


def grade_replace_any(out, case):
    """The input with exactly one item changed into the new one."""
    got, m = parse_list(out, case["meta"]["style"]), case["meta"]
    return got is not None and any(m["items"][:i] + [m["new"]] + m["items"][i + 1:] == got for i in range(len(m["items"])))


GRADERS = dict(exact=grade_exact, shuffle=grade_shuffle, latin=grade_latin, insert_any=grade_insert_any,
               remove_any=grade_remove_any, replace_any=grade_replace_any)


def grade(out: str, case: dict) -> bool:
    return GRADERS[case["grader"]](out, case)
