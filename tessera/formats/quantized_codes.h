// How `tessera quantize` lays integers out in a file: rows of whole runs of 64 inputs.
//
// 8 bits: byte j of a run is input j. 4 bits: byte j of a run's 32 holds input j in its low and
// input 32 + j in its high half, so that a run decodes, and a CPU layout is packed, with whole
// vectors and no shuffle inside a byte. What pads the last run is zero.
#pragma once

#include <cstdint>
#include <span>

namespace tessera {

inline constexpr int64_t kCodeRun = 64;

// Bytes of a row of `in` codes; bits is 4 or 8.
constexpr int64_t CodeRowBytes(int64_t in, int32_t bits) {
  return (in + kCodeRun - 1) / kCodeRun * (kCodeRun / 8 * bits);
}

// One row: codes [in], each below 2^bits, and bytes [CodeRowBytes(in, bits)].
void PackCodeRow(std::span<const uint8_t> codes, int32_t bits, uint8_t* bytes);
void UnpackCodeRow(const uint8_t* bytes, int32_t bits, std::span<uint8_t> codes);

}  // namespace tessera
