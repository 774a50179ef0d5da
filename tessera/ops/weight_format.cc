#include <fmt/format.h>

#include <charconv>

#include "tessera/ops/matrix.h"

namespace tessera::ops {

std::string Name(const WeightFormat& format) {
  switch (format.type) {
    case WeightType::kF32: return "f32";
    case WeightType::kBF16: return "bf16";
    case WeightType::kF8: return "fp8";
    case WeightType::kInt8:
    case WeightType::kInt4: break;
  }
  return fmt::format("{}-g{}{}", format.type == WeightType::kInt8 ? "int8" : "int4", format.group,
                     format.symmetric ? "" : "-asym");
}

Result<WeightFormat> ParseWeightFormat(std::string_view text) {
  const auto refused = [&] {
    return InvalidArgument(
        "dtype: got '{}', accepted: auto, f32, bf16, fp8, int8, int4, int8-gN, int4-gN, "
        "int4-gN-asym with N inputs per scale: 32, 64, 128, 256, or 0 for all of them",
        text);
  };
  std::string_view rest = text;
  const auto take = [&](std::string_view prefix) {
    if (!rest.starts_with(prefix)) return false;
    rest.remove_prefix(prefix.size());
    return true;
  };
  WeightFormat format;
  if (take("f32")) {
    format.type = WeightType::kF32;
  } else if (take("bf16")) {
    format.type = WeightType::kBF16;
  } else if (take("fp8")) {
    format.type = WeightType::kF8;
  } else if (take("int8")) {
    format = {.type = WeightType::kInt8, .group = 256, .symmetric = true};
  } else if (take("int4")) {
    format = {.type = WeightType::kInt4, .group = 64, .symmetric = true};
  } else {
    return refused();
  }
  const bool integer = format.type == WeightType::kInt8 || format.type == WeightType::kInt4;
  if (integer && take("-g")) {
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), format.group);
    if (error != std::errc()) return refused();
    rest.remove_prefix(static_cast<size_t>(end - rest.data()));
    if (format.group != 0 && format.group != 32 && format.group != 64 && format.group != 128 &&
        format.group != 256) {
      return refused();
    }
  }
  if (format.type == WeightType::kInt4 && take("-asym")) format.symmetric = false;
  if (!rest.empty()) return refused();
  return format;
}

}  // namespace tessera::ops
