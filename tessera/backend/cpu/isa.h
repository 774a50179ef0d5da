// Instruction-set levels of the CPU backend and which of them this machine can run.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tessera/base/status.h"

namespace tessera::cpu {

// Weakest first; each level includes every feature of the levels before it.
enum class Isa : uint8_t {
  kGeneric,     // whatever the compiler's baseline is
  kAvx2,        // AVX2, FMA, F16C
  kAvx512,      // + AVX-512 F, BW, DQ, VL
  kAvx512Vnni,  // + AVX-512 VNNI
  kAvx512Bf16,  // + AVX-512 BF16
  kAmx,         // + AMX tiles, AMX-BF16, AMX-INT8, GFNI
};

// "generic", "avx2", "avx512", "avx512bf16", "amx"
std::string_view Name(Isa isa);

// Levels that processor and operating system both support here, weakest first. The first call asks
// Linux for permission to use AMX tile state in this process, without which kAmx is not listed.
const std::vector<Isa>& AvailableIsas();

// "auto" is the strongest available level. A level that is unknown or not available here is refused
// with the list of what is accepted.
Result<Isa> ParseIsa(std::string_view name);

}  // namespace tessera::cpu
