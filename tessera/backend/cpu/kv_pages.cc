#include "tessera/backend/cpu/kv_pages.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "tessera/tensor/dtype.h"

namespace tessera::cpu {
namespace {

// Storage of one K or V head: element type and the index of (slot in page, channel).
struct F32 {
  using Type = float;
  static int64_t K(int32_t slot, int32_t channel) { return channel * ops::kPageRows + slot; }
  static int64_t V(int32_t slot, int32_t channel, int32_t padded) {
    return slot * padded + channel;
  }
};
struct BF16 {
  using Type = uint16_t;
  static int64_t K(int32_t slot, int32_t channel) {
    return channel / 2 * 2 * ops::kPageRows + slot * 2 + channel % 2;
  }
  static int64_t V(int32_t slot, int32_t channel, int32_t padded) {
    return slot * padded + channel / 32 * 32 + channel % 16 * 2 + channel / 16 % 2;
  }
};

struct Int8 {
  using Type = int8_t;
  static int64_t K(int32_t slot, int32_t channel) { return channel * ops::kPageRows + slot; }
  static int64_t V(int32_t slot, int32_t channel, int32_t padded) {
    return slot * padded + channel;
  }
  static float* Scales(int8_t* head, int32_t padded) {
    return reinterpret_cast<float*>(head + int64_t{ops::kPageRows} * padded);
  }
};

// Start of a head in the page of `slot`.
template <typename T>
T* Head(void* layer, const ops::KvFormat& format, std::span<const int32_t> pages, int32_t slot,
        int32_t head) {
  return reinterpret_cast<T*>(static_cast<char*>(layer) +
                              pages[slot / ops::kPageRows] * KvPageBytes(format) +
                              head * KvHeadBytes(format));
}

// Rotate-half: pairs (i, i + rotary_dim / 2) turn by the angle of frequency i (Su et al., 2021,
// eq. 34, in the pairing of GPT-NeoX).
void Rotate(float* head, int32_t rotary_dim, const float* cos_sin) {
  const int32_t half = rotary_dim / 2;
  float* __restrict low = head;
  float* __restrict high = head + half;
  for (int32_t i = 0; i < half; ++i) {
    const float cos = cos_sin[i], sin = cos_sin[half + i];
    const float a = low[i], b = high[i];
    low[i] = a * cos - b * sin;
    high[i] = b * cos + a * sin;
  }
}

void StoreHead(F32, float* k_head, float* v_head, int32_t slot, int32_t dim, int32_t padded,
               const float* k, const float* v) {
  for (int32_t d = 0; d < dim; ++d) k_head[F32::K(slot, d)] = k[d];
  for (int32_t d = 0; d < dim; ++d) v_head[F32::V(slot, d, padded)] = v[d];
}

// Rounds in one go, then writes K in pairs of channels and V in pairs 16 channels apart, as they
// lie: 4 bytes a store. Default model: 13 % of a forward before, 6 % so.
void StoreHead(BF16, uint16_t* k_head, uint16_t* v_head, int32_t slot, int32_t dim, int32_t padded,
               const float* k, const float* v) {
  constexpr int32_t kMost = 128;  // channels at a time, a multiple of 32
  uint16_t rounded[kMost];
  for (int32_t begin = 0; begin < dim; begin += kMost) {
    const int32_t count = std::min(kMost, dim - begin);
    for (int32_t d = 0; d < count; ++d) rounded[d] = BF16FromFloat(k[begin + d]);
    for (int32_t d = 0; d + 2 <= count; d += 2) {
      std::memcpy(&k_head[BF16::K(slot, begin + d)], &rounded[d], 4);
    }
    if (count % 2 != 0) k_head[BF16::K(slot, begin + count - 1)] = rounded[count - 1];
    for (int32_t d = 0; d < count; ++d) rounded[d] = BF16FromFloat(v[begin + d]);
    int32_t d = 0;
    for (; d + 32 <= count; d += 32) {
      uint16_t* to = &v_head[BF16::V(slot, begin + d, padded)];
      for (int32_t i = 0; i < 16; ++i) {
        to[2 * i] = rounded[d + i];
        to[2 * i + 1] = rounded[d + 16 + i];
      }
    }
    for (; d < count; ++d) v_head[BF16::V(slot, begin + d, padded)] = rounded[d];
  }
}

void StoreHead(Int8, int8_t* k_head, int8_t* v_head, int32_t slot, int32_t dim, int32_t padded,
               const float* k, const float* v) {
  constexpr int32_t kUsual = 256;  // channels that need no allocation
  int8_t buffer[kUsual];
  std::vector<int8_t> large(dim > kUsual ? static_cast<size_t>(dim) : 0);
  int8_t* const codes = dim > kUsual ? large.data() : buffer;
  Int8::Scales(k_head, padded)[slot] = ops::QuantizeKv(k, dim, codes);
  for (int32_t d = 0; d < dim; ++d) k_head[Int8::K(slot, d)] = codes[d];
  Int8::Scales(v_head, padded)[slot] = ops::QuantizeKv(v, dim, codes);
  std::memcpy(&v_head[Int8::V(slot, 0, padded)], codes, static_cast<size_t>(dim));
}

// Calls visit(storage of type).
template <typename Visit>
void WithStorage(ops::KvType type, const Visit& visit) {
  switch (type) {
    case ops::KvType::kF32: return visit(F32());
    case ops::KvType::kBF16: return visit(BF16());
    case ops::KvType::kInt8: return visit(Int8());
  }
}

template <typename S>
void CopySlot(const ops::KvCopyArgs& args, int32_t from, int32_t to) {
  using T = typename S::Type;
  const ops::KvFormat& format = args.kv.format;
  const int32_t dim = format.head_dim, padded = PaddedDim(format);
  const int32_t f = from % ops::kPageRows, t = to % ops::kPageRows;
  for (int32_t h = 0; h < format.kv_heads; ++h) {
    T* const k_from = Head<T>(args.kv.k, format, args.pages, from, h);
    T* const v_from = Head<T>(args.kv.v, format, args.pages, from, h);
    T* const k_to = Head<T>(args.kv.k, format, args.pages, to, h);
    T* const v_to = Head<T>(args.kv.v, format, args.pages, to, h);
    for (int32_t d = 0; d < dim; ++d) k_to[S::K(t, d)] = k_from[S::K(f, d)];
    for (int32_t d = 0; d < dim; ++d) v_to[S::V(t, d, padded)] = v_from[S::V(f, d, padded)];
    if constexpr (std::is_same_v<S, Int8>) {
      S::Scales(k_to, padded)[t] = S::Scales(k_from, padded)[f];
      S::Scales(v_to, padded)[t] = S::Scales(v_from, padded)[f];
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
  // A few rows of one head at a time: neighbouring slots share cache lines.
  constexpr int64_t kRows = 16;
  const int64_t row_blocks = (args.rows + kRows - 1) / kRows;
  const int32_t shared = args.heads / format.kv_heads;  // query heads of one head of K
  pool.ParallelFor(row_blocks * format.kv_heads, 1, [&](int64_t begin, int64_t end, int) {
    for (int64_t item = begin; item < end; ++item) {
      const auto kv_head = static_cast<int32_t>(item % format.kv_heads);
      const int64_t first = item / format.kv_heads * kRows,
                    last = std::min(first + kRows, args.rows);
      const auto head_of = [&](int64_t row, int32_t head) {
        return args.qkv + row * stride + int64_t{head} * dim;
      };
      const auto rotate = [&](int32_t head, const float* norm) {
        for (int64_t row = first; row < last; ++row) {
          float* const at = head_of(row, head);
          if (norm) kernels.rms_norm(at, norm, args.norm_eps, dim, at);
          Rotate(at, args.rotary_dim, args.cos_sin + row * args.rotary_dim);
        }
      };
      for (int32_t h = 0; h < shared; ++h) rotate(kv_head * shared + h, args.q_norm);
      const int32_t k_head = args.heads + kv_head, v_head = k_head + format.kv_heads;
      rotate(k_head, args.k_norm);
      WithStorage(format.type, [&]<typename S>(S) {
        using T = typename S::Type;
        for (int64_t row = first; row < last; ++row) {
          const ops::AttentionGroup* const group = group_of[row];
          if (group == nullptr) continue;
          const int32_t slot = args.slots[row];
          StoreHead(S(), Head<T>(args.kv.k, format, group->pages, slot, kv_head),
                    Head<T>(args.kv.v, format, group->pages, slot, kv_head), slot % ops::kPageRows,
                    dim, PaddedDim(format), head_of(row, k_head), head_of(row, v_head));
        }
      });
    }
  });
}

void KvCopy(const ops::KvCopyArgs& args) {
  for (const auto& [from, to] : args.moves) {
    WithStorage(args.kv.format.type,
                [&, f = from, t = to]<typename S>(S) { CopySlot<S>(args, f, t); });
  }
}

}  // namespace tessera::cpu
