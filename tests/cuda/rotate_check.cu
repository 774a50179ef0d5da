// Checks RotateAndStore against arithmetic on the host, every place of the pages included, and
// times it at LLaDA-8B's shape.
//
//   cmake --build build/cuda --target rotate_check
//   build/cuda/tests/cuda/rotate_check [small | time]
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/backend/cuda/step_table.h"
#include "tests/cuda/linear_time.h"
#include "tests/cuda/need_gpu.h"

namespace tessera::cuda {
namespace {

struct Shape {
  int32_t heads, kv_heads, head_dim, rotary_dim;
  ops::KvType type;
  bool norms;

  int64_t width() const { return int64_t{heads + 2 * kv_heads} * head_dim; }
  int64_t page_elements() const { return int64_t{kv_heads} * ops::kPageRows * head_dim; }
  ops::KvFormat format() const {
    return {.type = type, .kv_heads = kv_heads, .head_dim = head_dim};
  }
  std::string Name() const {
    return std::to_string(heads) + "/" + std::to_string(kv_heads) + " heads of " +
           std::to_string(head_dim) + ", " + std::to_string(rotary_dim) + " rotated" +
           (type == ops::KvType::kF32 ? ", f32" : ", bf16") + (norms ? ", normed" : "");
  }
};

// A step on the GPU: sequences of `group_rows` rows, the last shorter. In turns, slots are in a row
// from a first one that is not aligned, or scattered, some of them -1.
struct Step {
  std::vector<int32_t> slots, positions, groups_of_rows;
  std::vector<std::vector<int32_t>> pages;
  int32_t num_pages = 0;
  StepTable table;
  DeviceMemory device;

  Step(Rig& rig, int32_t rows, int32_t group_rows, int32_t first_slot, bool scattered) {
    std::vector<ops::AttentionGroup> groups;
    for (int32_t begin = 0; begin < rows; begin += group_rows) {
      const int32_t end = std::min(rows, begin + group_rows);
      const auto group = static_cast<int32_t>(groups.size());
      for (int32_t i = 0; i < end - begin; ++i) {
        int32_t slot = first_slot + 5 * group + i;
        if (scattered && group % 2 == 1) slot = i % 7 == 3 ? -1 : 37 * i % 641;
        slots.push_back(slot);
        positions.push_back((29 * group + 3 * i) % 2048);
        groups_of_rows.push_back(group);
      }
      groups.push_back({.row_begin = begin, .row_end = end, .pages = {}, .mask = {}});
    }
    const int32_t most = std::max(641, *std::max_element(slots.begin(), slots.end()) + 1);
    const int32_t pages_each = (most + ops::kPageRows - 1) / ops::kPageRows;
    num_pages = pages_each * static_cast<int32_t>(groups.size());
    for (size_t g = 0; g < groups.size(); ++g) {
      std::vector<int32_t>& list = pages.emplace_back();
      for (int32_t i = 0; i < pages_each; ++i) {  // backwards, and in turns with other sequences
        list.push_back(num_pages - 1 - i * static_cast<int32_t>(groups.size()) -
                       static_cast<int32_t>(g));
      }
    }
    for (size_t g = 0; g < groups.size(); ++g) groups[g].pages = pages[g];
    table.Set({.positions = positions, .slots = slots, .groups = groups});
    std::vector<std::byte> host(table.bytes());
    table.Write(host.data());
    device = Upload(rig, host);
  }
};

std::vector<float> RotaryTable(int64_t positions, int32_t rotary_dim) {
  std::vector<float> table;
  for (int64_t position = 0; position < positions; ++position) {
    for (int32_t i = 0; i < rotary_dim; ++i) {
      const int32_t half = rotary_dim / 2;
      const double angle =
          static_cast<double>(position) * std::pow(10000.0, -static_cast<double>(i % half) / half);
      table.push_back(static_cast<float>(i < half ? std::cos(angle) : std::sin(angle)));
    }
  }
  return table;
}

// A head, normed and rotated.
std::vector<double> Rotated(const float* head, const Shape& shape, const std::vector<float>& norm,
                            const float* cos_sin) {
  std::vector<double> x(head, head + shape.head_dim);
  if (shape.norms) {
    double squares = 0;
    for (const double value : x) squares += value * value;
    const double scale = 1 / std::sqrt(squares / shape.head_dim + static_cast<double>(kEps));
    for (size_t d = 0; d < x.size(); ++d) x[d] *= scale * static_cast<double>(norm[d]);
  }
  const auto half = static_cast<size_t>(shape.rotary_dim / 2);
  for (size_t i = 0; i < half; ++i) {
    const double cos = cos_sin[i], sin = cos_sin[half + i], low = x[i], high = x[half + i];
    x[i] = low * cos - high * sin;
    x[half + i] = high * cos + low * sin;
  }
  return x;
}

template <typename T>
float Value(T stored) {
  if constexpr (sizeof(T) == 2) {
    return FloatFromBF16(stored);
  } else {
    return stored;
  }
}

template <typename T>
void Check(Rig& rig, const Shape& shape, int32_t rows, bool by_position) {
  const Step step(rig, rows, /*group_rows=*/41, /*first_slot=*/13, /*scattered=*/true);
  const std::vector<float> qkv = RandomFloats(rows * shape.width(), 1, 0.1f, 21);
  const std::vector<float> q_norm = RandomFloats(shape.head_dim, 0.5f, 1, 22);
  const std::vector<float> k_norm = RandomFloats(shape.head_dim, 0.5f, 1, 23);
  const std::vector<float> cos_sin = RotaryTable(2048, shape.rotary_dim);
  const DeviceMemory device_qkv = Upload(rig, qkv), device_q_norm = Upload(rig, q_norm);
  const DeviceMemory device_k_norm = Upload(rig, k_norm), device_cos_sin = Upload(rig, cos_sin);
  const int64_t elements = step.num_pages * shape.page_elements();
  const auto bytes = elements * static_cast<int64_t>(sizeof(T));
  const DeviceMemory k = Allocate(rig, bytes), v = Allocate(rig, bytes);
  Must(RotateAndStore(rig.stream.get(),
                      {.step = step.table.At(step.device.data()),
                       .qkv = device_qkv.as<float>(),
                       .heads = shape.heads,
                       .q_norm = shape.norms ? device_q_norm.as<float>() : nullptr,
                       .k_norm = shape.norms ? device_k_norm.as<float>() : nullptr,
                       .norm_eps = kEps,
                       .rotary_dim = shape.rotary_dim,
                       .cos_sin = device_cos_sin.as<float>(),
                       .by_position = by_position,
                       .kv = {.format = shape.format(), .k = k.data(), .v = v.data()}}));
  const auto got = Download<float>(rig, device_qkv.data(), rows * shape.width());
  auto keys = Download<T>(rig, k.data(), elements), values = Download<T>(rig, v.data(), elements);

  T untouched;
  std::memset(&untouched, 0xff, sizeof(T));
  const double rounding = sizeof(T) == 2 ? 0x1p-8 : 0;
  const auto close = [](double a, double b, double size, double relative) {
    return std::abs(a - b) <= relative * std::abs(b) + 3e-6 * size;
  };
  bool q_right = true, k_right = true, v_right = true;
  for (int32_t row = 0; row < rows; ++row) {
    const auto at = static_cast<size_t>(row);
    const float* from = qkv.data() + row * shape.width();
    const float* to = got.data() + row * shape.width();
    const int32_t slot = step.slots[at];
    const float* rotary =
        cos_sin.data() + int64_t{by_position ? step.positions[at] : row} * shape.rotary_dim;
    for (int32_t head = 0; head < shape.heads + 2 * shape.kv_heads; ++head) {
      const float* source = from + int64_t{head} * shape.head_dim;
      const float* left = to + int64_t{head} * shape.head_dim;
      const bool is_q = head < shape.heads, is_v = head >= shape.heads + shape.kv_heads;
      if (slot < 0 || !is_q) {
        q_right &= std::equal(source, source + shape.head_dim, left);
        if (slot < 0) continue;
      }
      const std::vector<double> want = is_v
                                           ? std::vector<double>(source, source + shape.head_dim)
                                           : Rotated(source, shape, is_q ? q_norm : k_norm, rotary);
      double size = 0;
      for (const double value : want) size = std::max(size, std::abs(value));
      const auto page =
          static_cast<int64_t>(step.pages[static_cast<size_t>(step.groups_of_rows[at])]
                                         [static_cast<size_t>(slot / ops::kPageRows)]);
      const int64_t first = page * shape.page_elements(), key = slot % ops::kPageRows;
      const int64_t kv_head = head - shape.heads - (is_v ? shape.kv_heads : 0);
      for (int64_t d = 0; d < shape.head_dim; ++d) {
        const double expected = want[static_cast<size_t>(d)];
        if (is_q) {
          q_right &= close(left[d], expected, size, 0);
        } else if (is_v) {
          T& place =
              values[static_cast<size_t>(first + ValueIndex(kv_head, key, d, shape.head_dim))];
          v_right &= close(Value(place), expected, 0, rounding);
          place = untouched;
        } else {
          T& place = keys[static_cast<size_t>(first + KeyIndex(kv_head, key, d, shape.head_dim))];
          k_right &= close(Value(place), expected, size, rounding);
          place = untouched;
        }
      }
    }
  }
  const auto all_untouched = [&](const std::vector<T>& pages) {
    return std::all_of(pages.begin(), pages.end(), [&](const T& place) {
      return std::memcmp(&place, &untouched, sizeof(T)) == 0;
    });
  };
  const std::string what = shape.Name() + ", " + std::to_string(rows) + " rows";
  Expect(q_right, what + ": Q");
  Expect(k_right && all_untouched(keys), what + ": K");
  Expect(v_right && all_untouched(values), what + ": V");
}

void CheckShapes(Rig& rig, const std::vector<int32_t>& counts) {
  int checked = 0;
  for (const int32_t dim : {2, 40, 44, 64, 128, 256}) {
    for (const int32_t rotary_dim : {dim, dim / 4 * 2}) {
      for (const ops::KvType type : {ops::KvType::kBF16, ops::KvType::kF32}) {
        for (const int32_t rows : counts) {
          const Shape shape = {.heads = checked % 3 == 0 ? 3 : 12,
                               .kv_heads = 3,
                               .head_dim = dim,
                               .rotary_dim = rotary_dim,
                               .type = type,
                               .norms = checked % 2 == 1};
          if (rotary_dim == 0) continue;
          if (type == ops::KvType::kBF16) {
            Check<BF16>(rig, shape, rows, checked % 5 != 0);
          } else {
            Check<float>(rig, shape, rows, checked % 5 != 0);
          }
          ++checked;
        }
      }
    }
  }
  std::printf("%d shapes\n", checked);
}

// Layers of 32 rows per sequence behind 1280 cached keys.
void Time(Rig& rig, double rate, const char* name, const Shape& shape) {
  const std::vector<float> cos_sin = RotaryTable(2048, shape.rotary_dim);
  const DeviceMemory device_cos_sin = Upload(rig, cos_sin);
  for (const int32_t rows : {1, 32, 64, 256, 1024, 1280}) {
    const bool prompt = rows == 1280;
    const Step step(rig, rows, prompt ? rows : 32, prompt ? 0 : 1283, /*scattered=*/false);
    const DeviceMemory qkv = Upload(rig, RandomFloats(rows * shape.width(), 1, 0, 24));
    const int64_t bytes = step.num_pages * shape.page_elements() * 2;
    const DeviceMemory k = Allocate(rig, bytes), v = Allocate(rig, bytes);
    const double seconds = SecondsPerLaunch(rig, [&](int) {
      Must(RotateAndStore(rig.stream.get(),
                          {.step = step.table.At(step.device.data()),
                           .qkv = qkv.as<float>(),
                           .heads = shape.heads,
                           .rotary_dim = shape.rotary_dim,
                           .cos_sin = device_cos_sin.as<float>(),
                           .by_position = true,
                           .kv = {.format = shape.format(), .k = k.data(), .v = v.data()}}));
    });
    // Reads Q, K and V, writes Q, and K and V in half the bytes.
    const double moved = 4.0 * rows * shape.head_dim * (2.0 * shape.heads + 3.0 * shape.kv_heads);
    std::printf("%-10s rotate %5d rows %8.2f us   floor %6.2f us\n", name, rows, seconds * 1e6,
                moved / rate * 1e6);
  }
}

int Main(std::string_view mode) {
  Rig rig;
  if (mode != "time") {
    CheckShapes(rig, mode == "small" ? std::vector<int32_t>{50}
                                     : std::vector<int32_t>{1, 7, 32, 33, 90, 300});
    std::printf("%s: %d failures\n", failures == 0 ? "PASS" : "FAIL", failures);
  }
  if (mode == "time" || mode.empty()) {
    const double rate = ReadBandwidth(rig);
    Time(rig, rate, "LLaDA-8B", {32, 32, 128, 128, ops::KvType::kBF16, false});
    Time(rig, rate, "Qwen3-8B", {32, 8, 128, 128, ops::KvType::kBF16, false});
  }
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace tessera::cuda

int main(int argc, char** argv) {
  if (!tessera::cuda::HasGpu()) return tessera::cuda::kSkipped;
  return tessera::cuda::Main(argc > 1 ? argv[1] : "");
}
