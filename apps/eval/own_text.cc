#include "apps/eval/own_text.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace tessera::eval {
namespace {

constexpr std::string_view kOwn = "oracle=own";

std::string With(std::string_view rule, std::string_view strategy) {
  return std::string(rule) + std::string(strategy.substr(kOwn.size()));
}

}  // namespace

bool AimsAtOwnText(std::string_view strategy) {
  return strategy == kOwn || strategy.starts_with(std::string(kOwn) + ",");
}

std::string OneByOne(std::string_view strategy) { return With("threshold=2", strategy); }

std::string AimingAt(std::string_view strategy, std::span<const api::TokenId> canvas, size_t begin,
                     api::TokenId mask) {
  const auto rest = canvas.subspan(std::min(begin, canvas.size()));
  const auto end = std::find(rest.begin(), rest.end(), mask);
  return With(fmt::format("oracle={}", fmt::join(rest.begin(), end, "+")), strategy);
}

std::string Checkable(std::string_view strategy) {
  return AimsAtOwnText(strategy) ? With("oracle=0", strategy) : std::string(strategy);
}

}  // namespace tessera::eval
