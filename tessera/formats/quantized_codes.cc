#include "tessera/formats/quantized_codes.h"

#include <algorithm>
#include <cstring>

namespace tessera {
namespace {

constexpr int64_t kHalfRun = kCodeRun / 2;

void PackRun(const uint8_t* codes, uint8_t* bytes) {
  for (int64_t j = 0; j < kHalfRun; ++j) {
    bytes[j] = static_cast<uint8_t>(codes[j] | (codes[kHalfRun + j] << 4));
  }
}

void UnpackRun(const uint8_t* bytes, uint8_t* codes) {
  for (int64_t j = 0; j < kHalfRun; ++j) {
    codes[j] = bytes[j] & 15;
    codes[kHalfRun + j] = static_cast<uint8_t>(bytes[j] >> 4);
  }
}

}  // namespace

void PackCodeRow(std::span<const uint8_t> codes, int32_t bits, uint8_t* bytes) {
  const int64_t in = static_cast<int64_t>(codes.size());
  if (bits == 8) {
    std::memcpy(bytes, codes.data(), codes.size());
    std::memset(bytes + in, 0, static_cast<size_t>(CodeRowBytes(in, bits) - in));
    return;
  }
  const int64_t whole = in / kCodeRun * kCodeRun;
  for (int64_t k = 0; k < whole; k += kCodeRun) PackRun(&codes[k], bytes + k / 2);
  if (whole < in) {
    uint8_t last[kCodeRun] = {};
    std::copy(codes.begin() + whole, codes.end(), last);
    PackRun(last, bytes + whole / 2);
  }
}

void UnpackCodeRow(const uint8_t* bytes, int32_t bits, std::span<uint8_t> codes) {
  const int64_t in = static_cast<int64_t>(codes.size());
  if (bits == 8) {
    std::memcpy(codes.data(), bytes, codes.size());
    return;
  }
  const int64_t whole = in / kCodeRun * kCodeRun;
  for (int64_t k = 0; k < whole; k += kCodeRun) UnpackRun(bytes + k / 2, &codes[k]);
  if (whole < in) {
    uint8_t last[kCodeRun];
    UnpackRun(bytes + whole / 2, last);
    std::copy(last, last + (in - whole), codes.begin() + whole);
  }
}

}  // namespace tessera
