"""Load public reference implementations from paths given on the command line.

Nothing of those implementations lives in this repository. A reference may import packages that need a GPU; those
imports are satisfied by small stand-ins that compute the same formula with plain PyTorch.
"""
import importlib
import importlib.util
import sys
import types
import typing
from pathlib import Path

import torch
import torch.nn.functional as F


def stub(name, **attrs):
    """Register an importable module `name` with `attrs` unless the real one is installed; parents are made too."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        part = ".".join(parts[:i])
        if part not in sys.modules:
            module = types.ModuleType(part)
            module.__path__ = []
            module.__spec__ = importlib.util.spec_from_loader(part, loader=None)
            sys.modules[part] = module
    for key, value in attrs.items():
        setattr(sys.modules[name], key, value)
    return sys.modules[name]


def package(name, folder):
    """Make `folder` importable as package `name` without running its __init__."""
    module = types.ModuleType(name)
    module.__path__ = [str(Path(folder).resolve())]
    sys.modules[name] = module
    return name


def script(name, path, replace=()):
    """Run one source file as module `name`; `replace` swaps hard-coded constants, for instance token ids."""
    text = Path(path).read_text()
    for old, new in replace:
        if old not in text:
            raise SystemExit(f"{path}: expected to find {old!r}")
        text = text.replace(old, new)
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


def _attention(q, k, v, causal=False, softmax_scale=None, **_):
    """Stand-in for the fused attention call: [batch, length, heads, dim] in and out, grouped keys allowed."""
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, is_causal=causal, scale=softmax_scale, enable_gqa=True)
    return out.transpose(1, 2)


def _rms_norm(x, weight, bias=None, eps=1e-6, **_):
    """Stand-in for the fused RMS norm: everything in fp32, one rounding at the end."""
    y = x.float()
    y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps) * weight.float()
    return y.to(x.dtype)


class References:
    """Lazy access to the reference classes and samplers of every architecture."""

    def __init__(self, paths):
        self.paths = paths
        self.cache = {}

    def path(self, key):
        """The path given for `key`, or a clear refusal."""
        if not self.paths.get(key):
            raise SystemExit(f"--{key.replace('_', '-')} PATH is needed (see tools/golden/README.md)")
        return Path(self.paths[key])

    def get(self, key, load):
        """Load once."""
        if key not in self.cache:
            self.cache[key] = load()
        return self.cache[key]

    # --- models: (config class, model class) ---

    def model_classes(self, arch):
        """Configuration and model class of `arch`."""
        return self.get("model:" + arch, getattr(self, "_" + arch))

    def _llama(self):
        from transformers import LlamaConfig, LlamaForCausalLM
        return LlamaConfig, LlamaForCausalLM

    def _qwen2(self):
        from transformers import Qwen2Config, Qwen2ForCausalLM
        return Qwen2Config, Qwen2ForCausalLM

    def _qwen3(self):
        from transformers import Qwen3Config, Qwen3ForCausalLM
        return Qwen3Config, Qwen3ForCausalLM

    def _qwen3_moe(self):
        from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
        return Qwen3MoeConfig, Qwen3MoeForCausalLM

    _sdar_moe = _qwen3_moe  # the same network under a block-causal mask

    def _llada_moe(self):
        name = package("ref_llada_moe", self.path("llada_moe_code"))
        config = importlib.import_module(name + ".configuration_lladamoe").LLaDAMoEConfig
        return config, importlib.import_module(name + ".modeling_lladamoe").LLaDAMoEModelLM

    def _llada2_moe(self):
        import transformers.utils as tu
        if not hasattr(tu, "TransformersKwargs"):  # a type hint
            tu.TransformersKwargs = typing.TypedDict("TransformersKwargs", {}, total=False)
        name = package("ref_llada2_moe", self.path("llada2_moe_code"))
        config = importlib.import_module(name + ".configuration_llada2_moe").LLaDA2MoeConfig
        return config, importlib.import_module(name + ".modeling_llada2_moe").LLaDA2MoeModelLM

    def _llada(self):
        name = package("ref_llada", self.path("llada_code"))
        config = importlib.import_module(name + ".configuration_llada").LLaDAConfig
        return config, importlib.import_module(name + ".modeling_llada").LLaDAModelLM

    def _dream(self):
        name = package("ref_dream", self.path("dream_code"))
        config = importlib.import_module(name + ".configuration_dream").DreamConfig
        return config, importlib.import_module(name + ".modeling_dream").DreamModel

    def _sdar(self):
        stub("flash_attn", flash_attn_func=_attention, flash_attn_varlen_func=None)
        stub("flash_attn.ops.triton.layer_norm", rms_norm_fn=_rms_norm)
        stub("flash_attn.bert_padding", index_first_axis=None, pad_input=None, unpad_input=None)
        name = package("ref_sdar", self.path("sdar_code"))
        stub(name + ".fused_linear_diffusion_cross_entropy", FusedLinearDiffusionCrossEntropyLoss=None)
        config = importlib.import_module(name + ".configuration_sdar").SDARConfig
        return config, importlib.import_module(name + ".modeling_sdar").SDARForCausalLM

    def _fast_dllm_v2(self):
        import transformers.configuration_utils as cu
        if not hasattr(cu, "layer_type_validation"):
            cu.layer_type_validation = lambda layer_types: None
        name = package("ref_fast_dllm_v2", self.path("fast_dllm_v2_code"))
        config = importlib.import_module(name + ".configuration").Fast_dLLM_QwenConfig
        return config, importlib.import_module(name + ".modeling").Fast_dLLM_QwenForCausalLM

    # --- samplers ---

    def llada_sampler(self, eos, eot):
        """The base LLaDA loop with its two hard-coded ids replaced."""
        return self.get(f"s:llada:{eos}:{eot}", lambda: script(
            "ref_llada_generate", self.path("llada_sampler"), [("126081", str(eos)), ("126348", str(eot))]).generate)

    def fast_dllm_v1_sampler(self):
        """Module with generate, generate_with_prefix_cache and generate_with_dual_cache."""
        def load():
            stub("model.modeling_llada", LLaDAModelLM=self.model_classes("llada")[1])
            return script("ref_fast_dllm_generate", self.path("fast_dllm_v1_sampler"))
        return self.get("s:fast_dllm_v1", load)

    def dream_mixin(self, block):
        """(mixin, generation config class): the whole-canvas loop or the block loop with caches."""
        self.model_classes("dream")
        module = importlib.import_module("ref_dream.generation_utils" + ("_block" if block else ""))
        return module.DreamGenerationMixin, module.DreamGenerationConfig

    def sdar_sampler(self):
        """The block diffusion loop."""
        return self.get("s:sdar", lambda: script("ref_sdar_generate", self.path("sdar_sampler"))
                        .block_diffusion_generate)

    def fast_dllm_v2_sampler(self):
        """The batched block sampler, unbound."""
        return self.get("s:v2", lambda: script(
            "ref_fast_dllm_v2_generate", self.path("fast_dllm_v2_sampler"), [("@auto_docstring\n", "")])
                        .Fast_dLLM_QwenForCausalLM.batch_sample)
