"""Held-out cases as JSON lines, for any evaluator: ``python training/export_cases.py --out models/heldout.jsonl``.

One case per line: ``{task, prompt, messages, answer, grader, meta}``; ``prompt`` is the last user message and ``messages``
all turns (two more, a solved example, in some cases).  Items are from the held-out split.  ``--calibration --per-task 12
--seed 30 --out models/calibration.jsonl`` writes cases from the training split instead, without graders, for
``tessera quantize``: what weights are measured on must not be what they are judged by.  Graders:

``exact``        the trimmed output equals ``answer``
``shuffle``      a list in the input's style; same multiset as ``meta.items``, other order
``latin``        4 comma-separated rows; each row and column a permutation of ``meta.symbols``
``insert_any``   removing the first ``meta.new`` from the output list gives ``meta.items``
``remove_any``   the output list is ``meta.items`` less exactly one item
``replace_any``  the output list is ``meta.items`` with exactly one item changed to ``meta.new``
``none``         free text; ``answer`` is what the original text says

A list is ``meta.open + item + meta.sep + item + ... + meta.last_sep + item + meta.close``.
"""
import argparse
import json
import random
from pathlib import Path

import data
import tasks
import texts

GRADED = ["copy", "reverse", "replace", "insert", "remove", "sort", "shuffle", "insert_any", "remove_any", "replace_any", "copy_7_8", "reverse_7_8",
          "sort_7_8", "pseudo_copy", "pseudo_reverse", "add", "subtract", "multiply", "latin_make", "latin_complete", "sudoku", "proofread"]
FREE = ["continue", "fill", "write"]


# Own sentences for the proofreading cases of the committed file: the texts are not ours to ship.
OWN_SENTENCES = """The old dog slept under the table all day. Ben wanted to build a boat out of paper. Her mother made warm soup for dinner.
They walked slowly up the hill to see the moon. The little bird could not find its nest. We were very happy when the rain stopped.
Anna took her red coat and went to the park. He found three shiny stones near the river. The teacher said that their song was lovely.
The children have a big garden behind the house. A small mouse was hiding in the kitchen. She didn't know where the key was.
My brother and I played with the ball until it was dark. The baker gave them two sweet rolls. It was too cold to swim in the lake.
The farmer has many cows and one brown horse. Suddenly the door opened and a tall man came in. You should always wash your hands before lunch.
The cat jumped on the chair and looked at the fish. Their friend felt sad because his kite was broken. The train is late again this morning.
I saw an owl sitting on the fence last night. The girls are painting a picture of their house. Then the wind blew the leaves away.""".replace("\n", " ").split(". ")
OWN_SENTENCES = [s.rstrip(".") + "." for s in OWN_SENTENCES]

CALIBRATION_SENTENCES = """The boy gave his sister a blue pencil. There was a big hole in the roof of the barn. We ran home because it began to snow.
The cook put too much salt into the pot. Two men carried the table up the stairs. She reads to her grandfather every Sunday.
A fox came out of the forest at noon. My friend could not open the heavy gate. The bread smelled so good that they bought three loaves.
He lost one of his gloves on the way to school. The river is wide here but not deep. Their aunt lives in a white house by the sea.""".replace("\n", " ").split(". ")
CALIBRATION_SENTENCES = [s.rstrip(".") + "." for s in CALIBRATION_SENTENCES]


def make_cases(corpus, per_task: int, seed: int, names=None, heldout=True):
    items, out = tasks.Items(corpus["words"], heldout=heldout), []
    for task in names or GRADED + FREE:
        rng, done = random.Random(f"{seed}/{task}"), 0
        while done < per_task:
            n = rng.choice((3, 4, 5, 6))
            if task in tasks.LIST_TASKS:
                c = tasks.list_case(rng, items, task, n=n)
            elif task.endswith("_7_8"):
                c = tasks.list_case(rng, items, task[:-4], n=rng.choice((7, 8)))
            elif task.startswith("pseudo_"):
                c = tasks.list_case(rng, items, task[7:], n=n, kind=rng.choice(("pseudo", "Pseudo")))
            elif task in ("add", "subtract"):
                c = tasks.arithmetic_case(rng, heldout, "+" if task == "add" else "-", digits=2)
            elif task == "multiply":
                c = tasks.arithmetic_case(rng, heldout, "*")
            elif task in ("latin_make", "latin_complete", "sudoku"):
                c = tasks.latin_case(rng, items, task)
            elif task == "proofread":
                c = texts.proof_case(rng, corpus["heldout_sentences"])
            else:
                c = texts.story_case(rng, corpus["heldout_stories"], task)
            if c["meta"].get("kind") == "letter" or len(c["answer"]) > 600:
                continue  # letters cannot be unseen
            out.append(dict(c, task=task, prompt=c["messages"][-1]["content"]))
            done += 1
    return out


def main():
    here = Path(__file__).resolve().parent
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--texts", type=Path, default=here.parent.parent / "shared/data/text")
    ap.add_argument("--build", type=Path, default=here / "build")
    ap.add_argument("--out", type=Path, default=here.parent / "models/heldout.jsonl")
    ap.add_argument("--per-task", type=int, default=40)
    ap.add_argument("--seed", type=int, default=20)
    ap.add_argument("--calibration", action="store_true")
    a = ap.parse_args()
    corpus = data.load_corpus(a.build, a.texts)
    corpus["words"] = corpus["words"][:5000]
    # free-text cases would carry long passages of the texts, which are not ours to ship: the graded ones only
    corpus["heldout_sentences"] = CALIBRATION_SENTENCES if a.calibration else OWN_SENTENCES
    cases = [dict(task=c["task"], prompt=c["prompt"], messages=c["messages"], answer=c["answer"], grader=c["grader"], meta=c["meta"])
             for c in make_cases(corpus, a.per_task, a.seed, GRADED, heldout=not a.calibration)]
    if a.calibration:
        for c in cases:
            c["grader"] = "none"
            del c["meta"]
    for c in cases:
        if len(c["messages"]) == 1:
            del c["messages"]
    a.out.write_text("".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) + "\n" for c in cases))
    print(f"{len(cases)} cases, {a.out.stat().st_size} bytes -> {a.out}")


if __name__ == "__main__":
    main()
