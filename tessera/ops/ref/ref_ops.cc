#include "tessera/ops/ref/ref_ops.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace tessera::ops::ref {
namespace {

// Element 0 of a head's K or V row.
float* KvRow(void* pages, const KvFormat& format, std::span<const int32_t> table, int32_t slot,
             int32_t kv_head) {
  const int64_t row = int64_t{table[slot / kPageRows]} * kPageRows + slot % kPageRows;
  return static_cast<float*>(pages) + (row * format.kv_heads + kv_head) * format.head_dim;
}

// One head of one row as a cache of that type keeps it.
void StoreHead(KvType type, const float* from, int32_t dim, float* to) {
  std::vector<int8_t> codes(dim);
  const float scale = type == KvType::kInt8 ? QuantizeKv(from, dim, codes.data()) : 0;
  for (int32_t d = 0; d < dim; ++d) {
    switch (type) {
      case KvType::kF32: to[d] = from[d]; break;
      case KvType::kBF16: to[d] = FloatFromBF16(BF16FromFloat(from[d])); break;
      case KvType::kInt8: to[d] = static_cast<float>(codes[d]) * scale; break;
    }
  }
}

// x[i] * weight[i] / sqrt(mean(x^2) + eps), in place.
void NormaliseHead(float* x, int32_t width, const float* weight, float eps) {
  RmsNorm({.rows = 1, .width = width, .x = x, .weight = weight, .eps = eps, .out = x});
}

// Rotate-half: pairs (i, i + rotary_dim / 2) turn by the angle of frequency i.
void Rotate(float* head, int32_t rotary_dim, const float* cos_sin) {
  const int32_t half = rotary_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    const double cos = cos_sin[i], sin = cos_sin[half + i];
    const double a = head[i], b = head[half + i];
    head[i] = static_cast<float>(a * cos - b * sin);
    head[half + i] = static_cast<float>(b * cos + a * sin);
  }
}

// The slots row `row` of `group` attends to, ascending.
std::vector<int32_t> VisibleSlots(const AttentionGroup& group, std::span<const int32_t> slots,
                                  int32_t row) {
  std::vector<int32_t> candidates;
  for (const SlotRange& range : group.mask.slots) {
    for (int32_t slot = range.begin; slot < range.end; ++slot) candidates.push_back(slot);
  }
  if (group.mask.rule == MaskRule::kBits) {
    for (int32_t i = group.row_begin; i < group.row_end; ++i) candidates.push_back(slots[i]);
  }
  std::sort(candidates.begin(), candidates.end());
  candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
  std::erase_if(candidates, [&](int32_t slot) { return !Visible(group, slots, row, slot); });
  return candidates;
}

}  // namespace

int64_t KvPageBytes(const KvFormat& format) {
  return int64_t{kPageRows} * format.kv_heads * format.head_dim *
         static_cast<int64_t>(sizeof(float));
}

void Embed(const EmbedArgs& args) {
  const auto& table = static_cast<const RefMatrix&>(*args.table);
  for (size_t i = 0; i < args.tokens.size(); ++i) {
    std::copy_n(table.row(args.tokens[i]), table.in(), args.out + i * table.in());
  }
}

void RmsNorm(const RmsNormArgs& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * args.width;
    float* out = args.out + row * args.width;
    double sum = 0;
    for (int64_t i = 0; i < args.width; ++i) sum += double{x[i]} * x[i];
    const double scale = 1 / std::sqrt(sum / static_cast<double>(args.width) + args.eps);
    for (int64_t i = 0; i < args.width; ++i) {
      out[i] = static_cast<float>(x[i] * scale * args.weight[i]);
    }
  }
}

void Linear(const LinearArgs& args) {
  const auto& weight = static_cast<const RefMatrix&>(*args.weight);
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* x = args.x + row * weight.in();
    for (int64_t o = 0; o < weight.out(); ++o) {
      const float* w = weight.row(o);
      double sum = args.bias ? args.bias[o] : 0;
      for (int64_t i = 0; i < weight.in(); ++i) sum += double{x[i]} * w[i];
      float& y = args.y[row * weight.out() + o];
      y = static_cast<float>(args.accumulate ? y + sum : sum);
    }
  }
}

void RotateAndStore(const RotateAndStoreArgs& args) {
  const KvFormat& format = args.kv.format;
  const int32_t dim = format.head_dim;
  const int64_t stride = int64_t{args.heads + 2 * format.kv_heads} * dim;
  for (const AttentionGroup& group : args.groups) {
    for (int32_t row = group.row_begin; row < group.row_end; ++row) {
      float* q = args.qkv + row * stride;
      float* k = q + int64_t{args.heads} * dim;
      const float* v = k + int64_t{format.kv_heads} * dim;
      const float* cos_sin = args.cos_sin + int64_t{row} * args.rotary_dim;
      for (int32_t h = 0; h < args.heads; ++h) {
        if (args.q_norm) NormaliseHead(q + h * dim, dim, args.q_norm, args.norm_eps);
        Rotate(q + h * dim, args.rotary_dim, cos_sin);
      }
      for (int32_t h = 0; h < format.kv_heads; ++h) {
        // Rotated in a copy: the contract lets only Q change.
        std::vector<float> key(k + h * dim, k + (h + 1) * dim);
        if (args.k_norm) NormaliseHead(key.data(), dim, args.k_norm, args.norm_eps);
        Rotate(key.data(), args.rotary_dim, cos_sin);
        StoreHead(format.type, key.data(), dim,
                  KvRow(args.kv.k, format, group.pages, args.slots[row], h));
        StoreHead(format.type, v + h * dim, dim,
                  KvRow(args.kv.v, format, group.pages, args.slots[row], h));
      }
    }
  }
}

bool Visible(const AttentionGroup& group, std::span<const int32_t> slots, int32_t row,
             int32_t slot) {
  const MaskSpec& mask = group.mask;
  const int32_t own = slots[group.row_begin + row];
  const bool listed = std::any_of(mask.slots.begin(), mask.slots.end(), [&](const SlotRange& r) {
    return r.begin <= slot && slot < r.end;
  });
  switch (mask.rule) {
    case MaskRule::kFull: return listed;
    case MaskRule::kCausal: return listed && slot <= own;
    case MaskRule::kBlockCausal: return listed && slot / mask.block <= own / mask.block;
    case MaskRule::kBits: {
      if (listed) return true;
      const int32_t rows = group.row_end - group.row_begin;
      const int32_t words = (rows + 63) / 64;
      for (int32_t j = 0; j < rows; ++j) {
        const bool set = (mask.bits[row * words + j / 64] >> (j % 64)) & 1;
        if (set && slots[group.row_begin + j] == slot) return true;
      }
      return false;
    }
  }
  return false;
}

void Attention(const AttentionArgs& args) {
  const KvFormat& format = args.kv.format;
  const int32_t dim = format.head_dim;
  const int64_t q_stride = int64_t{args.heads + 2 * format.kv_heads} * dim;
  const int32_t heads_per_kv = args.heads / format.kv_heads;
  for (const AttentionGroup& group : args.groups) {
    for (int32_t row = group.row_begin; row < group.row_end; ++row) {
      const std::vector<int32_t> visible = VisibleSlots(group, args.slots, row - group.row_begin);
      for (int32_t h = 0; h < args.heads; ++h) {
        const float* q = args.qkv + row * q_stride + int64_t{h} * dim;
        float* out = args.out + (int64_t{row} * args.heads + h) * dim;
        std::vector<double> score(visible.size());
        double top = -std::numeric_limits<double>::infinity();
        for (size_t i = 0; i < visible.size(); ++i) {
          const float* k = KvRow(args.kv.k, format, group.pages, visible[i], h / heads_per_kv);
          double dot = 0;
          for (int32_t d = 0; d < dim; ++d) dot += double{q[d]} * k[d];
          score[i] = dot * args.scale;
          top = std::max(top, score[i]);
        }
        std::vector<double> sum(dim, 0.0);
        double normaliser = 0;
        for (size_t i = 0; i < visible.size(); ++i) {
          const float* v = KvRow(args.kv.v, format, group.pages, visible[i], h / heads_per_kv);
          const double p = std::exp(score[i] - top);
          normaliser += p;
          for (int32_t d = 0; d < dim; ++d) sum[d] += p * v[d];
        }
        for (int32_t d = 0; d < dim; ++d) {
          out[d] = visible.empty() ? 0 : static_cast<float>(sum[d] / normaliser);
        }
      }
    }
  }
}

void SiluMul(const SiluMulArgs& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* gate = args.gate_up + row * 2 * args.width;
    const float* up = gate + args.width;
    for (int64_t i = 0; i < args.width; ++i) {
      args.out[row * args.width + i] =
          static_cast<float>(gate[i] / (1 + std::exp(-double{gate[i]})) * up[i]);
    }
  }
}

void GatherRows(const GatherRowsArgs& args) {
  for (size_t i = 0; i < args.rows.size(); ++i) {
    std::copy_n(args.x + args.rows[i] * args.width, args.width, args.out + i * args.width);
  }
}

void AddRows(const AddRowsArgs& args) {
  for (size_t i = 0; i < args.rows.size(); ++i) {
    float* out = args.out + args.rows[i] * args.width;
    for (int64_t d = 0; d < args.width; ++d) {
      out[d] = static_cast<float>(out[d] + double{args.weights[i]} * args.x[i * args.width + d]);
    }
  }
}

void Route(const RouteArgs& args) {
  const RouterSpec& spec = args.spec;
  const int32_t per_group = args.experts / spec.groups;
  // Larger first, NaN last, ties to the lower index.
  const auto ranked = [](const std::vector<double>& values, std::vector<int32_t> indices) {
    std::stable_sort(indices.begin(), indices.end(), [&](int32_t a, int32_t b) {
      return !std::isnan(values[a]) && (std::isnan(values[b]) || values[a] > values[b]);
    });
    return indices;
  };
  const auto range = [](int32_t begin, int32_t end) {
    std::vector<int32_t> indices;
    for (int32_t i = begin; i < end; ++i) indices.push_back(i);
    return indices;
  };
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* logits = args.logits + row * args.experts;
    const double top = *std::max_element(logits, logits + args.experts);
    double sum = 0;
    for (int32_t e = 0; e < args.experts; ++e) sum += std::exp(logits[e] - top);
    std::vector<double> score(args.experts), biased(args.experts);
    for (int32_t e = 0; e < args.experts; ++e) {
      score[e] = spec.score == RouterScore::kSoftmax ? std::exp(logits[e] - top) / sum
                                                     : 1 / (1 + std::exp(-double{logits[e]}));
      biased[e] = score[e] + (args.bias == nullptr ? 0 : args.bias[e]);
    }
    std::vector<double> group_score(spec.groups);
    for (int32_t g = 0; g < spec.groups; ++g) {
      const std::vector<int32_t> best = ranked(biased, range(g * per_group, (g + 1) * per_group));
      group_score[g] = biased[best[0]] + (per_group > 1 ? biased[best[1]] : 0);
    }
    std::vector<int32_t> groups = ranked(group_score, range(0, spec.groups));
    groups.resize(spec.top_groups);
    std::sort(groups.begin(), groups.end());
    std::vector<int32_t> candidates;
    for (const int32_t g : groups) {
      for (int32_t e = g * per_group; e < (g + 1) * per_group; ++e) candidates.push_back(e);
    }
    candidates = ranked(biased, candidates);
    candidates.resize(spec.top_k);
    std::sort(candidates.begin(), candidates.end());
    double chosen_sum = 1e-20;
    for (const int32_t e : candidates) chosen_sum += score[e];
    for (int32_t i = 0; i < spec.top_k; ++i) {
      const double weight = score[candidates[i]] / (spec.normalise ? chosen_sum : 1) * spec.scale;
      args.chosen[row * spec.top_k + i] = candidates[i];
      args.weights[row * spec.top_k + i] = static_cast<float>(weight);
    }
  }
}

void HeadLogits(const HeadLogitsArgs& args) {
  Linear({.rows = args.rows,
          .x = args.hidden,
          .weight = args.head,
          .bias = nullptr,
          .y = args.logits});
}

void KvCopy(const KvCopyArgs& args) {
  for (const auto& [from, to] : args.moves) {
    for (int32_t h = 0; h < args.kv.format.kv_heads; ++h) {
      for (void* pages : {args.kv.k, args.kv.v}) {
        // memmove: a move of a slot onto itself is legal.
        std::memmove(KvRow(pages, args.kv.format, args.pages, to, h),
                     KvRow(pages, args.kv.format, args.pages, from, h),
                     args.kv.format.head_dim * sizeof(float));
      }
    }
  }
}

}  // namespace tessera::ops::ref
