// Random choices of case generators: a pure function of (seed, stream, index), the same on every
// machine, so that case i of a task depends neither on other tasks nor on how many cases are made.
#pragma once

#include <cstdint>
#include <random>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/eval/fingerprint.h"

namespace tessera::eval {

class CaseRng {
 public:
  CaseRng(uint64_t seed, std::string_view stream, uint64_t index)
      : engine_(Fingerprint().Add(seed).Add(stream).Add(index).value()) {}

  // 0..n-1. The standard's distributions differ between libraries; its engines do not.
  uint64_t Below(uint64_t n) {
    const uint64_t limit =
        ~uint64_t{0} - ~uint64_t{0} % n;  // a multiple of n: no value is favoured
    uint64_t value = engine_();
    while (value >= limit) value = engine_();
    return value % n;
  }
  int Between(int low, int high) {
    return low + static_cast<int>(Below(static_cast<uint64_t>(high - low + 1)));
  }

  template <typename T>
  void Shuffle(std::vector<T>* items) {
    for (size_t i = items->size(); i > 1; --i) std::swap((*items)[i - 1], (*items)[Below(i)]);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace tessera::eval
