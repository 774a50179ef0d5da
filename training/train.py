"""Training.  ``python training/train.py --all`` makes the tokenizer, both models, their scores and the folders under models/.

``python training/train.py --model diffusion --minutes 8`` trains one model; the schedule follows the clock (warm-up, constant,
linear decay to zero), so a run ends on time on any GPU and says how many steps it made.  ``--steps N`` fixes the number of
steps instead: the AR twin takes the diffusion model's N and so sees the same documents.
"""
import argparse
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import random

import torch
from tokenizers import Tokenizer

import data
import evaluate
import export
import export_cases
import optim
import tasks
import texts
import tokenizer as tk
from model import Config, Tessera, choose_attention

NOT_TOKENS = ("rows", "docs", "kept", "unused")
WATCH = ["copy", "reverse", "replace", "insert", "remove", "sort", "shuffle", "add", "subtract", "latin_make", "latin_complete", "proofread", "pseudo_copy"]


def make_tokenizer(build: Path, corpus, seed=0):
    """build/tokenizer.json: stories, a third of the books, and prompts of every task."""
    file = build / "tokenizer.json"
    if not file.exists():
        rng, source = random.Random(seed), data.Source(corpus)
        prompts = [m["content"] for _ in range(12000) for m in source.case(rng, rng.choice(tasks.LIST_TASKS + ["arithmetic", "latin", "proof"]))["messages"]]
        tk.train(corpus["stories"] + corpus["books"][::3] + prompts).save(str(file))
    return Tokenizer.from_file(str(file))


def shape(progress: float, warm=.015, hold=.45) -> float:
    """Learning-rate factor: warm-up, constant, linear to zero."""
    return min(1.0, progress / warm) * (1.0 if progress < hold else max(0.0, (1 - progress) / (1 - hold)))


def to_device(stream, device, depth=3):
    """Batches as tensors on the device, prepared by a thread."""
    ready = queue.Queue(maxsize=depth)

    def run():
        for b, stats in stream:
            t = {k: torch.from_numpy(v) for k, v in b.items()}
            if device.type == "cuda":
                t = {k: v.pin_memory().to(device, non_blocking=True) for k, v in t.items()}
            t = {k: v.long() if k in ("tokens", "pos", "rows", "targets") else v for k, v in t.items()}
            ready.put((dict(t, max_len=data.MAX_DOC), stats))
    threading.Thread(target=run, daemon=True).start()
    while True:
        yield ready.get()


def train(a):
    causal = a.model == "ar"
    a.rows = a.rows or (.50 if causal else .33)
    t_start = time.time()
    corpus = data.load_corpus(a.build, a.texts)
    tok = make_tokenizer(a.build, corpus)
    stream = data.Stream(corpus, a.build / "tokenizer.json", a.batch_tokens, causal, a.seed, a.rows, a.refine_from, a.workers, a.first_step)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    torch.manual_seed(a.seed)
    torch.set_float32_matmul_precision("high")
    cfg = Config(n_layers=a.layers, d_model=a.width, mlp=a.mlp, n_heads=a.heads)
    model = Tessera(cfg, causal, choose_attention(device), torch.bfloat16 if gpu else torch.float32, compiled=gpu and not a.no_compile, seed=a.seed).to(device)
    if a.init:
        export.load_weights(model, a.init)
    n_params = sum(p.numel() for p in model.parameters())
    print(f"{a.model}: {n_params} parameters, {device}, corpus ready after {time.time() - t_start:.0f} s", flush=True)
    opts = optim.optimizers(model, a.muon_lr, a.adam_lr)
    watch = export_cases.make_cases(corpus, a.watch_cases, seed=555, names=WATCH)
    batches, log = to_device(stream, device), []
    a.out.mkdir(parents=True, exist_ok=True)

    first = next(batches)  # compile outside the clock; the first step uses this batch again
    batches = itertools.chain([first], batches)
    model.loss(first[0])[0].backward()
    model.zero_grad(set_to_none=True)
    if gpu:
        torch.cuda.synchronize()
    print(f"compiled after {time.time() - t_start:.0f} s", flush=True)
    t0, step, wait, mark, mix, next_watch = time.time(), 0, 0.0, (time.time(), 0), {}, a.watch_seconds
    limit = 1e9 if a.steps else a.minutes * 60
    if a.deadline:  # seconds of the whole process, start-up included
        limit = min(limit, a.deadline - (t0 - t_start))
    while True:
        elapsed = time.time() - t0
        progress = max(step / (a.steps - a.first_step) if a.steps else 0, elapsed / limit)
        if progress >= 1 or elapsed > limit:
            break
        w = time.time()
        b, stats = next(batches)
        wait += time.time() - w
        for o in opts:
            for g in o.param_groups:
                g["lr"] = g["peak"] * a.peak * shape(progress)
        loss, _ = model.loss(b)
        loss.backward()
        for o in opts:
            o.step()
        model.zero_grad(set_to_none=True)
        step += 1
        for k, v in stats.items():
            mix[k] = mix.get(k, 0) + v
        if step % 200 == 0 or (step in (1, 10, 50)) or not gpu:
            value = loss.item()
            now = time.time()
            rate = (step - mark[1]) * a.batch_tokens / (now - mark[0])
            print(f"step {step} {step * a.batch_tokens / 1e6:.0f}M tokens {now - t0:.0f} s loss {value:.4f} {rate / 1e6:.2f}M tokens/s waited {wait:.1f} s "
                  f"lr x{shape(progress):.2f}", flush=True)
            mark = (now, step)
        if time.time() - t0 > next_watch:
            next_watch += a.watch_seconds
            w = time.time()
            s = evaluate.score(model, tok, watch, threshold=.9)
            log.append(dict(step=step, tokens=step * a.batch_tokens, seconds=round(time.time() - t0), loss=loss.item(),
                            scores={k: v["score"] for k, v in s.items()}))
            print(f"watch {step * a.batch_tokens / 1e6:.0f}M ({time.time() - w:.1f} s): " +
                  " ".join(f"{k} {v['score']:.0f}/{v['forwards']:.0f}" for k, v in s.items()), flush=True)
            export.save_weights(model, a.out / f"{a.model}.safetensors")
    stream.close()
    seconds = time.time() - t0
    export.save_weights(model, a.out / f"{a.model}.safetensors")
    total = sum(v for k, v in mix.items() if k not in NOT_TOKENS) or 1
    result = dict(model=a.model, parameters=n_params, first_step=a.first_step, steps=a.first_step + step, tokens=step * a.batch_tokens,
                  kept_tokens=mix.get("kept"), peak=a.peak, refine_from=a.refine_from, documents=mix.get("docs"), scored_rows=mix.get("rows"),
                  seconds=round(seconds), device=torch.cuda.get_device_name() if gpu else "cpu", torch=torch.__version__, seed=a.seed,
                  batch_tokens=a.batch_tokens, muon_lr=a.muon_lr, adam_lr=a.adam_lr,
                  token_share={k: round(v / total, 4) for k, v in mix.items() if k not in NOT_TOKENS}, watch=log)
    save = lambda: (a.out / f"{a.model}.json").write_text(json.dumps(result, indent=1) + "\n")
    save()
    print(json.dumps({k: v for k, v in result.items() if k != "watch"}), flush=True)
    # the exported bf16 weights are what is scored
    export.load_weights(model, a.out / f"{a.model}.safetensors")
    evaluate.demo(model, tok)
    if a.eval_cases:
        cases = export_cases.make_cases(corpus, a.eval_cases, seed=1000, names=export_cases.GRADED)
        result["scores"] = evaluate.full(model, tok, cases)
        result["story_nll"] = evaluate.story_loss(model, tok, corpus["heldout_stories"])
        print("held-out stories, nats per token:", result["story_nll"], flush=True)
        save()
    if a.models:
        export.write_model_folder(a.models / f"tessera-{a.model}", model, tok)
    print(f"done after {time.time() - t_start:.0f} s", flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--all", action="store_true", help="tokenizer, both models, scores, folders under models/")
    ap.add_argument("--model", choices=("diffusion", "ar"), default="diffusion")
    ap.add_argument("--texts", type=Path, default=HERE.parent.parent / "shared/data/text")
    ap.add_argument("--build", type=Path, default=HERE / "build", help="caches: cleaned texts, tokenizer")
    ap.add_argument("--out", type=Path, default=HERE / "build/run", help="weights and log of the run")
    ap.add_argument("--models", type=Path, help="also write the finished folder there")
    ap.add_argument("--minutes", type=float, default=8.1, help="training time; the schedule is fitted to it")
    ap.add_argument("--steps", type=int, help="fixed number of steps instead of --minutes")
    ap.add_argument("--first-step", type=int, default=0, help="go on from this step of the data, up to --steps")
    ap.add_argument("--init", type=Path, help="start from these weights instead of at random")
    ap.add_argument("--peak", type=float, default=1.0, help="factor on both learning rates")
    ap.add_argument("--refine-from", type=int, default=10**9, help="batch number where the refining mixture starts (data.MIX)")
    ap.add_argument("--refine-steps", type=int, default=2800, help="with --all: steps of refining")
    ap.add_argument("--deadline", type=float, help="seconds for start-up and training together: training ends earlier if need be")
    ap.add_argument("--batch-tokens", type=int, default=98304)
    ap.add_argument("--rows", type=float, help="scored positions per batch, at most, as a share of its tokens (default .33, AR .50)")
    ap.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--muon-lr", type=float, default=.02)
    ap.add_argument("--adam-lr", type=float, default=.003)
    ap.add_argument("--layers", type=int, default=10)
    ap.add_argument("--width", type=int, default=256)
    ap.add_argument("--mlp", type=int, default=512)
    ap.add_argument("--heads", type=int, default=8)
    ap.add_argument("--no-compile", action="store_true")
    ap.add_argument("--watch-seconds", type=float, default=45)
    ap.add_argument("--watch-cases", type=int, default=40)
    ap.add_argument("--eval-cases", type=int, default=400)
    a = ap.parse_args()
    if not a.all:
        return train(a)
    own = [x for x in sys.argv[1:] if x != "--all"]
    models, n = a.models or HERE.parent / "models", None
    for model in ("diffusion", "ar"):
        run = lambda *more: subprocess.run([sys.executable, __file__, *own, "--model", model, *map(str, more)], check=True)
        run(*(("--steps", n) if n else ()))  # the clock ends the diffusion model's main phase; the twin takes as many steps
        main_log = json.loads((a.out / f"{model}.json").read_text())
        n = n or main_log["steps"]
        first = (a.out / f"{model}.safetensors").rename(a.out / f"{model}-main.safetensors")
        run("--init", first, "--first-step", n, "--steps", n + a.refine_steps, "--refine-from", n, "--peak", .5, "--models", models)
        logs = [main_log, json.loads((a.out / f"{model}.json").read_text())]
        (models / f"tessera-{model}/training.json").write_text(json.dumps(logs, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
