"""Decode traces: run the public samplers on the tiny models and record ids, forwards and commits.

A case is kept only if small random noise on every logit leaves the whole trace unchanged, so no recorded decision is
a near tie, and if neighbouring options give another trace, so every case can fail. The rules are written out in
tests/golden/README.md.
"""
import contextlib
import inspect
import io
import types

import torch

import tiny

NOISE, DRAWS, TRIES = 1e-3, 4, 120


class Recorder:
    """Wraps model.forward: counts forwards by kind and finds the commits between them."""

    def __init__(self, model, prompt, mask, place, noise=None):
        self.model, self.mask, self.place, self.noise = model, mask, place, noise
        self.known = dict(enumerate(prompt))
        self.steps, self.sampled = [], None

    def _see(self, offset, ids):
        for pos, token in enumerate(ids, offset):
            if token != self.mask and pos not in self.known:
                self.known[pos] = token
                self.steps[-1][1].append([pos, token])

    def _forward(self, *args, **kw):
        ids = args[0] if args else kw["input_ids"]
        kind, offset = self.place(self, ids, kw)
        self._see(offset, ids[0].tolist())
        self.steps.append([kind, []])
        out = self.inner(*args, **kw)
        if self.noise is not None:
            out.logits = out.logits + NOISE * (2 * torch.rand(out.logits.shape, generator=self.noise) - 1)
        return out

    def _sample(self, *args, **kw):
        out = self.inner_sample(*args, **kw)
        self.sampled = out[0][0].tolist()
        return out

    def __enter__(self):
        self.inner = self.model.forward
        self.model.forward = self._forward
        self.inner_sample = getattr(self.model, "sample_with_top_p", None)
        if self.inner_sample:
            self.model.sample_with_top_p = self._sample
        return self

    def __exit__(self, *_):
        del self.model.forward
        if self.inner_sample:
            del self.model.sample_with_top_p

    def result(self, final):
        """The 'expected' part of a case.

        Fast-dLLM v2 overwrites what follows a stop with padding, which would hide the ids of the last commits; those
        are taken from the sampler, whose window starts at a multiple of its length.
        """
        seen = list(final)
        if self.sampled and self.steps[-1][0] != "finalise":
            for pos in range(len(seen)):
                if pos not in self.known:
                    seen[pos] = self.sampled[pos % len(self.sampled)]
        self._see(0, seen)
        nfe = {"total": len(self.steps)}
        for kind, _ in self.steps:
            nfe[kind] = nfe.get(kind, 0) + 1
        return {"ids": final, "nfe": nfe, "steps": self.steps}


# --- where a forward sits in the canvas, per family ---

def place_ar(rec, ids, kw):
    """Autoregressive: the cache length is the offset."""
    past = kw.get("past_key_values")
    offset = past.get_seq_length() if past is not None else 0
    return ("step" if rec.steps else "prefill"), offset


def place_full(rec, ids, kw):
    """LLaDA and Dream: whole canvas, or a window after a cached prefix, or a window replaced inside a cache."""
    past = kw.get("past_key_values")
    if past is None:
        return "full", 0
    if kw.get("replace_position") is not None:
        return "window", int(kw["replace_position"][0].nonzero()[0])
    return "window", past[0][0].shape[-2]


def place_prefix(rec, ids, kw):
    """LLaDA2 evaluates everything up to the end of the block, every time."""
    return "denoise", 0


def place_sdar(rec, ids, kw):
    """SDAR passes absolute positions."""
    kind = ("finalise" if rec.steps else "prefill") if kw["store_kv"] else "denoise"
    return kind, int(kw["position_ids"][0, 0])


def place_v2(rec, ids, kw):
    """Fast-dLLM v2: cache length plus the offset inside the block."""
    past = kw.get("past_key_values")
    offset = (past.get_seq_length() if past is not None else 0) + (kw.get("replace_position") or 0)
    if kw.get("update_past_key_values"):
        return ("finalise" if rec.steps else "prefill"), offset
    return ("block" if kw.get("replace_position") is None else "sub_block"), offset


# --- running one reference sampler: (refs, model, cfg, prompt tensor [1, P], options) -> final ids ---

def run_greedy(refs, model, cfg, prompt, o):
    """Hugging Face greedy generate."""
    extra = {"repetition_penalty": o["repetition_penalty"]} if "repetition_penalty" in o else {}
    model.generation_config.eos_token_id = None
    return model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, use_cache=True,
                          max_new_tokens=o["max_new_tokens"], eos_token_id=o.get("eos"), pad_token_id=0, **extra)


def run_llada(refs, model, cfg, prompt, o):
    """The base LLaDA loop."""
    ids = tiny.special(cfg["vocab_size"])
    generate = refs.llada_sampler(o.get("eos", ids["eos"]), o.get("eot", ids["eot"]))
    return generate(model, prompt, attention_mask=torch.ones_like(prompt), steps=o["steps"],
                    gen_length=o["gen_length"], block_length=o["block_length"], temperature=0.0,
                    cfg_scale=o["cfg_scale"], mask_id=cfg["mask_token_id"],
                    logits_eos_inf=o.get("logits_eos_inf", False),
                    confidence_eos_eot_inf=o.get("confidence_eos_eot_inf", False))


def clean_factor(logits, temperature, remasking, mask_index, x, num_transfer_tokens, factor=1):
    """The factor rule without the last-rank quirk: ours, same interface as the reference function."""
    p, x0 = logits.double().softmax(-1).max(-1)
    confidence = torch.where(mask_index, p, -torch.inf)
    order = confidence[0].argsort(descending=True, stable=True)[:int(mask_index.sum())]
    take = torch.zeros_like(mask_index)
    for n, i in enumerate(order.tolist(), 1):
        if n > 1 and confidence[0, i] < 1 - factor / (n + 1):
            break
        take[0, i] = True
    return torch.where(mask_index, x0, x), take


def run_fast_dllm_v1(refs, model, cfg, prompt, o):
    """Fast-dLLM on LLaDA: no cache, prefix cache or dual cache."""
    module = refs.fast_dllm_v1_sampler()
    name = {"none": "generate", "prefix": "generate_with_prefix_cache", "dual": "generate_with_dual_cache"}[o["cache"]]
    original = module.get_transfer_index_dynamic
    if o.get("last_rank_quirk") is False:
        module.get_transfer_index_dynamic = clean_factor
    try:
        x, nfe = getattr(module, name)(
            model, prompt, steps=o["steps"], gen_length=o["gen_length"], block_length=o["block_length"],
            temperature=0.0, mask_id=cfg["mask_token_id"], threshold=o.get("threshold"), factor=o.get("factor"))
    finally:
        module.get_transfer_index_dynamic = original
    return x


def run_dream(refs, model, cfg, prompt, o):
    """diffusion_generate of Dream (whole canvas), or of its Fast-dLLM port with blocks and caches."""
    block = "block_length" in o
    mixin, config_class = refs.dream_mixin(block)
    generation = config_class(max_new_tokens=o["gen_length"], max_length=None, steps=o["steps"], alg=o["alg"],
                              eps=o["eps"], temperature=0.0, mask_token_id=cfg["mask_token_id"],
                              pad_token_id=cfg["pad_token_id"], bos_token_id=cfg["bos_token_id"],
                              eos_token_id=cfg["eos_token_id"])
    model.generation_config = generation
    model._sample = types.MethodType(mixin._sample, model)
    extra = {}
    if block:
        extra = dict(block_length=o["block_length"], dual_cache=o["cache"] == "dual", threshold=o.get("threshold"))
    return mixin.diffusion_generate(model, prompt, generation_config=generation, **extra)


def run_sdar(refs, model, cfg, prompt, o):
    """Block diffusion. Categorical draws become their mode; entropy_bounded is ours (the script cannot run it)."""
    if o["strategy"] == "entropy_bounded":
        return entropy_bounded(model, cfg, prompt, o)
    keep, torch.multinomial = torch.multinomial, lambda p, num_samples: p.argmax(-1, keepdim=True)
    try:
        return refs.sdar_sampler()(
            model, {"input_ids": prompt}, mask_id=cfg["mask_token_id"], gen_length=o["gen_length"],
            block_length=o["block_length"], denoising_steps=o["denoising_steps"], temperature=1.0, top_k=0, top_p=1.0,
            remasking_strategy=o["strategy"], confidence_threshold=o.get("threshold"),
            stopping_criteria_idx=o.get("stop"))
    finally:
        torch.multinomial = keep


@torch.no_grad()
def entropy_bounded(model, cfg, prompt, o):
    """Ours: commit, in order of rising entropy, while the running entropy sum stays below gamma; at least one."""
    from transformers.cache_utils import DynamicCache
    size, mask, plen = o["block_length"], cfg["mask_token_id"], prompt.shape[1]
    count = -(-(plen + o["gen_length"]) // size)
    x = torch.full((1, count * size), mask)
    x[:, :plen] = prompt
    block = torch.arange(count * size) // size
    allowed = (block[:, None] >= block[None, :])[None]
    cache = DynamicCache()

    def forward(a, b, store):
        return model(x[:, a:b], attention_mask=allowed[:, a:b, :b], position_ids=torch.arange(a, b)[None],
                     past_key_values=cache, use_cache=True, store_kv=store).logits

    first = plen // size * size
    if first:
        forward(0, first, True)
    for a in range(first, count * size, size):
        while (masked := x[0, a:a + size] == mask).any():
            p = forward(a, a + size, False)[0].softmax(-1)
            entropy = torch.where(masked, -(p * p.clamp_min(1e-12).log()).sum(-1), torch.inf)
            value, order = entropy.sort(stable=True)
            k = max(1, min(int((value.cumsum(0) < o["gamma"]).sum()), int(masked.sum())))
            x[0, a + order[:k]] = p.argmax(-1)[order[:k]]
        forward(a, a + size, True)
    return x


def run_v2(refs, model, cfg, prompt, o):
    """Fast-dLLM v2: the batched sampler on a batch of one."""
    n = prompt.shape[1]
    sample = types.MethodType(refs.fast_dllm_v2_sampler(), model)
    tokenizer = types.SimpleNamespace(pad_token_id=o["pad"])
    out = sample(prompt.clone(), tokenizer, block_size=cfg["bd_size"], max_new_tokens=o["max_new_tokens"],
                 small_block_size=o["small_block_size"], min_len=n, seq_len=torch.tensor([n]), mask_id=o["mask"],
                 threshold=o["threshold"], stop_token=o.get("stop", -1), use_block_cache=o["block_cache"],
                 top_p=0.95, temperature=0.0)
    return out[0][None]


def run_v2_simple(refs, model, cfg, prompt, o):
    """Fast-dLLM v2: the single-sequence generate beside the model; it stops as soon as the stop id is settled."""
    return model.generate(prompt, o["max_new_tokens"], mask_id=o["mask"], threshold=o["threshold"],
                          small_block_size=o["small_block_size"], block_size=cfg["bd_size"],
                          stop_token=o.get("stop", -1), temperature=0, use_block_cache=False)[0]


def run_llada2(refs, model, cfg, prompt, o):
    """LLaDA2's generate, on any model that takes an additive mask. Categorical draws become their mode."""
    sampler = refs.model_classes("llada2_moe")[1]

    class Bound:
        device = prompt.device
        _sample_with_temperature_topk_topp = sampler._sample_with_temperature_topk_topp
        _top_k_logits = staticmethod(sampler._top_k_logits)
        _top_p_logits = staticmethod(sampler._top_p_logits)
        _get_num_transfer_tokens = staticmethod(sampler._get_num_transfer_tokens)

        def forward(self, ids, attention_mask, position_ids):
            return model.forward(ids, attention_mask=attention_mask.float(), position_ids=position_ids, use_cache=False)

    keep, torch.multinomial = torch.multinomial, lambda p, num_samples: p.argmax(-1, keepdim=True)
    try:
        out = sampler.generate(Bound(), prompt, block_length=o["block_length"], steps=o["steps"],
                               gen_length=o["gen_length"], threshold=o["threshold"], eos_id=o.get("stop", -1),
                               mask_id=cfg["mask_token_id"])
    finally:
        torch.multinomial = keep
    return torch.cat((prompt, out), 1)


FAMILY = {"greedy": (run_greedy, place_ar), "llada": (run_llada, place_full),
          "fast_dllm_v1": (run_fast_dllm_v1, place_full), "dream": (run_dream, place_full),
          "dream_fast_dllm": (run_dream, place_full), "sdar": (run_sdar, place_sdar),
          "llada2": (run_llada2, place_prefix), "fast_dllm_v2": (run_v2, place_v2),
          "fast_dllm_v2_simple": (run_v2_simple, place_v2)}


def run(refs, model, cfg, sampler, prompt, options, noise=None):
    """One recorded run."""
    function, place = FAMILY[sampler]
    mask = cfg.get("mask_token_id", tiny.special(cfg["vocab_size"])["mask"])
    with Recorder(model, prompt, -1 if sampler == "greedy" else mask, place, noise) as rec:
        with contextlib.redirect_stdout(io.StringIO()), torch.no_grad():
            final = function(refs, model, cfg, torch.tensor([prompt]), options)
        return rec.result(final[0].tolist())


@contextlib.contextmanager
def watch_ties():
    """Collects into a list every torch.topk whose last chosen value equals the first one left out."""
    ties, inner = [], torch.topk

    def topk(x, k, *args, **kw):
        v, k = x.double().sort(descending=True)[0], int(k)
        if 0 < k < v.shape[-1]:
            last, left = v[..., k - 1], v[..., k]
            if ((last - left < 1e-6) & last.isfinite()).any():
                ties.append(k)
        return inner(x, k, *args, **kw)
    torch.topk = topk
    try:
        yield ties
    finally:
        torch.topk = inner


def commits(result):
    """The non-empty commit sets of a run, in order."""
    return [step for _, step in result["steps"] if step]


def lively(base, options):
    """Parallel rules must show steps that commit one token and steps that commit several; text must not repeat."""
    parallel = "gamma" in options or options.get("factor") or (options.get("threshold") or 1) < 1
    counts = [len(step) for step in commits(base)]
    varied = len({token for step in commits(base) for _, token in step}) >= min(6, sum(counts))
    return varied and (not parallel or min(counts) == 1 < max(counts))


def rivals(sampler, o, caches):
    """Nearby options that must give another trace, so that a case can fail for each feature it is there for.

    `caches`: whether the model's code can replace rows of a cache.
    """
    if "repetition_penalty" in o:
        yield {k: v for k, v in o.items() if k != "repetition_penalty"}
    if o.get("cfg_scale"):
        yield {**o, "cfg_scale": 0.0}
    for switch in ("logits_eos_inf", "confidence_eos_eot_inf"):
        if o.get(switch):
            yield {**o, switch: False}
    if sampler == "llada" and o["block_length"] < o["gen_length"]:
        yield {**o, "block_length": o["gen_length"]}
    modes = {"fast_dllm_v1": ("none", "prefix", "dual"), "dream_fast_dllm": ("prefix", "dual")}.get(sampler, ())
    if not caches:
        modes = ()
    for mode in modes:
        if mode != o["cache"]:
            yield {**o, "cache": mode}
    if "last_rank_quirk" in o:
        yield {**o, "last_rank_quirk": not o["last_rank_quirk"]}
    if sampler == "dream":
        yield from ({**o, "alg": alg} for alg in ("maskgit_plus", "topk_margin", "entropy") if alg != o["alg"])
    if sampler == "fast_dllm_v2":
        yield {**o, "block_cache": not o["block_cache"]}
    if sampler == "llada2":
        yield {**o, "threshold": 2.0 if o["threshold"] < 1 else 0.5}
    if sampler == "sdar" and o["strategy"] != "low_confidence_static":
        yield {"denoising_steps": 4, **o, "strategy": "low_confidence_static"}


def stable(refs, model, cfg, sampler, prompt, options):
    """The result when it has no tie and noise does not change it, else None."""
    with watch_ties() as ties:
        base = run(refs, model, cfg, sampler, prompt, options)
    if ties or not lively(base, options):
        return None
    caches = "replace_position" in inspect.signature(type(model).forward).parameters
    for other in rivals(sampler, options, caches):
        if commits(run(refs, model, cfg, sampler, prompt, other)) == commits(base):
            return None
    for seed in range(DRAWS):
        noise = torch.Generator().manual_seed(seed)
        if run(refs, model, cfg, sampler, prompt, options, noise) != base:
            return None
    return base


def case(refs, model, cfg, name, sampler, length, options, source="reference", seed=0):
    """A stable case: tries prompts until one has no near tie. Options may be a function of a base run's result."""
    first = tiny.special(cfg["vocab_size"])["first"]
    for attempt in range(TRIES):
        rng = torch.Generator().manual_seed(1000 * length + 100 * seed + attempt)
        prompt = torch.randint(0, first, (length,), generator=rng).tolist()
        chosen = options
        if callable(options):
            chosen = options(lambda o: run(refs, model, cfg, sampler, prompt, o)["ids"])
            if chosen is None:
                continue
        result = stable(refs, model, cfg, sampler, prompt, chosen)
        if result is not None:
            return {"name": name, "sampler": sampler, "source": source, "options": chosen, "prompt": prompt,
                    "expected": result}
    raise SystemExit(f"{name}: no stable prompt in {TRIES} tries")


# --- which cases each golden has: (name, sampler, prompt length, options[, source]) ---

def greedy_cases(cfg):
    """Greedy, repetition penalty, stop at an id that appears in the middle."""
    base = {"max_new_tokens": 24}
    yield "greedy_p5", "greedy", 5, base
    yield "greedy_p33", "greedy", 33, base
    yield "greedy_p2", "greedy", 2, base
    yield "penalty_1.3", "greedy", 9, {**base, "repetition_penalty": 1.3}

    def eos(ids):
        out = ids(base)[7:]
        late = [t for i, t in enumerate(out) if 8 < i < 20 and t not in out[:i]]
        return {**base, "eos": late[0]} if late else None
    yield "eos", "greedy", 7, eos


def llada_cases(cfg):
    """The base loop over several schedules, guidance and the two end-of-text switches."""
    def o(g, b, s, w=0.0, **more):
        return {"gen_length": g, "block_length": b, "steps": s, "cfg_scale": w, **more}
    for g, b, s in ((16, 16, 16), (16, 8, 8), (24, 8, 24), (32, 8, 16), (20, 20, 7), (12, 4, 3)):
        yield f"base_g{g}_b{b}_s{s}", "llada", 9, o(g, b, s)
    yield "cfg_1.5", "llada", 9, o(16, 8, 8, 1.5)
    yield "cfg_1.5_one_block", "llada", 6, o(16, 16, 16, 1.5)

    def common(ids, switch):
        base = o(16, 16, 16)
        out = ids(base)[8:]
        once = [t for t in out if out.count(t) == 1]
        return {**base, switch: True, "eos": once[0], "eot": once[1]} if len(once) > 1 else None
    yield "eos_logits_inf", "llada", 8, lambda ids: common(ids, "logits_eos_inf")
    yield "eos_confidence_inf", "llada", 8, lambda ids: common(ids, "confidence_eos_eot_inf")


def fast_dllm_v1_cases(cfg):
    """Threshold, factor (with and without the last-rank quirk) and static quota under the three cache modes."""
    for cache in ("none", "prefix", "dual"):
        base = {"cache": cache, "gen_length": 32, "block_length": 8, "steps": 4}
        for t in (0.9, 0.5):
            yield f"{cache}_threshold_{t}", "fast_dllm_v1", 10, {**base, "threshold": t}
        for f in (1.0, 1.5):
            yield f"{cache}_factor_{f}", "fast_dllm_v1", 10, {**base, "factor": f, "last_rank_quirk": True}
            yield (f"{cache}_factor_{f}_clean", "fast_dllm_v1", 10,
                   {**base, "factor": f, "last_rank_quirk": False}, "reference loop, our factor rule")
        yield f"{cache}_static", "fast_dllm_v1", 10, {**base, "steps": 16}
        yield f"{cache}_one_by_one", "fast_dllm_v1", 7, {**base, "gen_length": 16, "threshold": 1.1, "steps": 2}


def llada_moe_cases(cfg):
    """The loops above on a model whose public code has no cache to window into."""
    yield from llada_cases(cfg)
    yield from (case for case in fast_dllm_v1_cases(cfg) if case[3]["cache"] == "none")


def llada2_cases(cfg):
    """Thresholds and step counts, prompts that do and do not fill their last block, a stop id."""
    block = cfg["block_size"]

    def o(p, t, blocks=3, **more):
        return {"gen_length": (p // block + blocks) * block - p, "block_length": block, "steps": block, "threshold": t,
                **more}
    for p in (2 * block, block + 3, 3):
        for t in (0.95, 0.6, 2.0):
            yield f"threshold_{t}_p{p}", "llada2", p, o(p, t)
    yield f"steps_half_p{block}", "llada2", block, o(block, 0.9, steps=block // 2)

    def stop(ids):
        base = o(block + 2, 0.6, blocks=4)
        out = ids(base)
        late = [t for i, t in enumerate(out) if 2 * block + 2 < i < 3 * block and t not in out[block + 2:i]]
        return {**base, "stop": late[0]} if late else None
    yield "stop", "llada2", block + 2, stop


def dream_cases(cfg):
    """Three confidence rules over several step counts; the block port with both caches."""
    for alg in ("maskgit_plus", "topk_margin", "entropy"):
        for g, s in ((16, 16), (16, 5), (24, 12), (12, 30)):
            yield f"{alg}_g{g}_s{s}", "dream", 8, {"gen_length": g, "steps": s, "alg": alg, "eps": 1e-3}
    for cache in ("prefix", "dual"):
        for t in (0.9, 0.5):
            yield (f"port_{cache}_threshold_{t}", "dream_fast_dllm", 9,
                   {"cache": cache, "gen_length": 24, "block_length": 8, "steps": 3, "alg": "confidence_threshold",
                    "threshold": t, "eps": 1e-3})


def sdar_cases(cfg):
    """Four strategies, prompts that do and do not fill their last block, a stop id."""
    def o(strategy, g=16, steps=4, **more):
        return {"strategy": strategy, "gen_length": g, "block_length": 4, "denoising_steps": steps, **more}
    for p in (8, 6, 3):
        yield f"static_p{p}", "sdar", p, o("low_confidence_static")
        yield f"sequential_p{p}", "sdar", p, o("sequential")
        for t in (0.85, 0.5):
            yield f"dynamic_{t}_p{p}", "sdar", p, o("low_confidence_dynamic", threshold=t)
        for gamma in (0.35, 1.5):
            yield (f"entropy_{gamma}_p{p}", "sdar", p,
                   {k: v for k, v in o("entropy_bounded", gamma=gamma).items() if k != "denoising_steps"}, "ours")
    yield "static_steps2_p8", "sdar", 8, o("low_confidence_static", steps=2)
    yield "static_steps3_p8", "sdar", 8, o("low_confidence_static", steps=3)
    yield "sequential_steps2_p6", "sdar", 6, o("sequential", steps=2)

    def stop(ids):
        base = o("low_confidence_dynamic", g=24, threshold=0.5)
        out = ids(base)
        late = [t for i, t in enumerate(out) if 11 < i < 20 and t not in out[6:i]]
        return {**base, "stop": late[:1]} if late else None
    yield "stop_p6", "sdar", 6, stop


def v2_cases(cfg):
    """Thresholds with and without the sub-block cache; prompts inside, past and exactly at block ends; a stop id."""
    ids = tiny.special(cfg["vocab_size"])
    base = {"max_new_tokens": 32, "small_block_size": 8, "mask": ids["mask"], "pad": ids["eos"]}

    def stop(ids, first, **more):
        o = {**base, "threshold": 0.9, "max_new_tokens": 64, **more}
        out = ids(o)
        token = next((t for t in out[first:first + 16] if t not in out[:first]), None)
        return None if token is None else {**o, "stop": token}
    for cached in (False, True):
        tag = "cached" if cached else "plain"
        for t in (0.9, 1.0, 0.5):
            yield f"{tag}_{t}_p5", "fast_dllm_v2", 5, {**base, "threshold": t, "block_cache": cached}
        for p in (40, 64):
            yield f"{tag}_0.9_p{p}", "fast_dllm_v2", p, {**base, "threshold": 0.9, "block_cache": cached}
        yield (f"{tag}_0.9_p5_two_blocks", "fast_dllm_v2", 5,
               {**base, "threshold": 0.9, "block_cache": cached, "max_new_tokens": 64})

        yield f"{tag}_stop_first_block_p40", "fast_dllm_v2", 40, lambda ids, c=cached: stop(ids, 43, block_cache=c)
        yield f"{tag}_stop_second_block_p5", "fast_dllm_v2", 5, lambda ids, c=cached: stop(ids, 36, block_cache=c)
    for p, first in ((40, 43), (5, 9), (5, 36)):
        yield f"simple_stop_after_{first}_p{p}", "fast_dllm_v2_simple", p, lambda ids, f=first: stop(ids, f)
    yield "simple_0.9_p64", "fast_dllm_v2_simple", 64, {**base, "threshold": 0.9}


CASES = {"llama": [greedy_cases], "llama_rope3": [greedy_cases], "qwen2": [greedy_cases], "qwen3": [greedy_cases],
         "llada": [llada_cases, fast_dllm_v1_cases], "llada_gqa_tied": [llada_cases, fast_dllm_v1_cases],
         "qwen3_moe": [greedy_cases], "llada_moe": [llada_moe_cases], "llada_moe_shared": [llada_moe_cases],
         "llada2_moe": [llada2_cases], "sdar_moe": [llada2_cases],
         "dream": [dream_cases], "sdar": [sdar_cases], "fast_dllm_v2": [v2_cases]}


def cases(refs, name, model, cfg):
    """All cases of one golden."""
    out = []
    for group in CASES[name]:
        for entry in group(cfg):
            out.append(case(refs, model, cfg, *entry[:4], *entry[4:]))
    return out
