#include "tessera/backend/cpu/kv_pages.h"

#include <vector>

#include "tessera/tensor/dtype.h"

namespace tessera::cpu {
namespace {

struct F32 {
  using Type = float;
  static float From(float value) { return value; }
};
struct BF16 {
  using Type = uint16_t;
  static uint16_t From(float value) { return BF16FromFloat(value); }
};

// Channel 0 of one head's row; channels are `stride` elements apart.
template <typename T>
struct Row {
  T* data;
  int32_t stride;
};

template <typename T>
Row<T> KRow(const ops::KvLayer& kv, std::span<const int32_t> pages, int32_t slot, int32_t head) {
  char* page = static_cast<char*>(kv.k) +
               pages[slot / ops::kPageRows] * KvPageBytes(kv.format) +
               head * KvHeadBytes(kv.format);
  return {reinterpret_cast<T*>(page) + slot % ops::kPageRows, ops::kPageRows};
}

template <typename T>
Row<T> VRow(const ops::KvLayer& kv, std::span<const int32_t> pages, int32_t slot, int32_t head) {
  char* page = static_cast<char*>(kv.v) +
               pages[slot / ops::kPageRows] * KvPageBytes(kv.format) +
               head * KvHeadBytes(kv.format);
  return {reinterpret_cast<T*>(page) + slot % ops::kPageRows * PaddedDim(kv.format), 1};
}

// Rotate-half: pairs (i, i + rotary_dim / 2) turn by the angle of frequency i (Su et al., 2021,
// eq. 34, in the pairing of GPT-NeoX).
void Rotate(float* head, int32_t rotary_dim, const float* cos_sin) {
  const int32_t half = rotary_dim / 2;
  for (int32_t i = 0; i < half; ++i) {
    const float cos = cos_sin[i], sin = cos_sin[half + i];
    const float a = head[i], b = head[half + i];
    head[i] = a * cos - b * sin;
    head[half + i] = b * cos + a * sin;
  }
}

template <typename Element>
void StoreRow(const ops::RotateAndStoreArgs& args, std::span<const int32_t> pages, int32_t slot,
              const float* k, const float* v) {
  using T = typename Element::Type;
  const int32_t dim = args.kv.format.head_dim;
  for (int32_t h = 0; h < args.kv.format.kv_heads; ++h) {
    const Row<T> k_row = KRow<T>(args.kv, pages, slot, h);
    const Row<T> v_row = VRow<T>(args.kv, pages, slot, h);
    for (int32_t d = 0; d < dim; ++d) {
      k_row.data[d * k_row.stride] = Element::From(k[h * dim + d]);
      v_row.data[d] = Element::From(v[h * dim + d]);
    }
  }
}

template <typename T>
void CopySlot(const ops::KvCopyArgs& args, int32_t from, int32_t to) {
  for (int32_t h = 0; h < args.kv.format.kv_heads; ++h) {
    const Row<T> k_from = KRow<T>(args.kv, args.pages, from, h);
    const Row<T> k_to = KRow<T>(args.kv, args.pages, to, h);
    const Row<T> v_from = VRow<T>(args.kv, args.pages, from, h);
    const Row<T> v_to = VRow<T>(args.kv, args.pages, to, h);
    for (int32_t d = 0; d < args.kv.format.head_dim; ++d) {
      k_to.data[d * k_to.stride] = k_from.data[d * k_from.stride];
      v_to.data[d] = v_from.data[d];
    }
  }
}

}  // namespace

void RotateAndStore(const ops::RotateAndStoreArgs& args, const OpKernels& kernels,
                    ThreadPool& pool) {
  const ops::KvFormat& format = args.kv.format;
  const int32_t dim = format.head_dim;
  const int64_t stride = int64_t{args.heads + 2 * format.kv_heads} * dim;
  std::vector<const ops::AttentionGroup*> group_of(static_cast<size_t>(args.rows), nullptr);
  for (const ops::AttentionGroup& group : args.groups) {
    for (int32_t row = group.row_begin; row < group.row_end; ++row) group_of[row] = &group;
  }
  pool.ParallelFor(args.rows, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      float* q = args.qkv + row * stride;
      float* k = q + int64_t{args.heads} * dim;
      const float* v = k + int64_t{format.kv_heads} * dim;
      for (int32_t h = 0; h < args.heads + format.kv_heads; ++h) {
        float* head = q + h * dim;
        const float* norm = h < args.heads ? args.q_norm : args.k_norm;
        if (norm) kernels.rms_norm(head, norm, args.norm_eps, dim, head);
        Rotate(head, args.rotary_dim, args.cos_sin + row * args.rotary_dim);
      }
      if (group_of[row] == nullptr) continue;
      if (format.type == ops::KvType::kF32) {
        StoreRow<F32>(args, group_of[row]->pages, args.slots[row], k, v);
      } else {
        StoreRow<BF16>(args, group_of[row]->pages, args.slots[row], k, v);
      }
    }
  });
}

void KvCopy(const ops::KvCopyArgs& args) {
  for (const auto& [from, to] : args.moves) {
    if (args.kv.format.type == ops::KvType::kF32) {
      CopySlot<float>(args, from, to);
    } else {
      CopySlot<uint16_t>(args, from, to);
    }
  }
}

}  // namespace tessera::cpu
