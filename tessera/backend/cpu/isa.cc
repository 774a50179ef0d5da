// Built with baseline flags: nothing here may need the features it looks for.
#include "tessera/backend/cpu/isa.h"

#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace tessera::cpu {
namespace {

#if defined(__x86_64__)

struct Leaf {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf Cpuid(uint32_t leaf, uint32_t subleaf) {
  Leaf regs;
  __get_cpuid_count(leaf, subleaf, &regs.eax, &regs.ebx, &regs.ecx, &regs.edx);
  return regs;  // zeros when the processor has no such leaf
}

bool Bit(uint32_t value, int bit) { return ((value >> bit) & 1) != 0; }

// Register state that the operating system saves (XCR0).
uint64_t EnabledState() {
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

bool MayUseTiles() {
#if defined(__linux__)
  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): per process, inherited by every thread.
  constexpr long kRequestPermission = 0x1023;
  constexpr long kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

std::vector<Isa> Detect() {
  std::vector<Isa> isas = {Isa::kGeneric};
  const Leaf leaf1 = Cpuid(1, 0);
  if (!Bit(leaf1.ecx, 27)) return isas;  // OSXSAVE: XGETBV exists
  const uint64_t state = EnabledState();
  const Leaf leaf7 = Cpuid(7, 0);
  const Leaf leaf7_1 = leaf7.eax >= 1 ? Cpuid(7, 1) : Leaf();

  const bool ymm_state = (state & 0x6) == 0x6;  // SSE and AVX
  if (!(ymm_state && Bit(leaf1.ecx, 28) /*AVX*/ && Bit(leaf1.ecx, 12) /*FMA*/ &&
        Bit(leaf1.ecx, 29) /*F16C*/ && Bit(leaf7.ebx, 5) /*AVX2*/)) {
    return isas;
  }
  isas.push_back(Isa::kAvx2);

  const bool zmm_state = (state & 0xe0) == 0xe0;  // opmask, upper halves, upper 16 registers
  if (!(zmm_state && Bit(leaf7.ebx, 16) /*F*/ && Bit(leaf7.ebx, 17) /*DQ*/ &&
        Bit(leaf7.ebx, 30) /*BW*/ && Bit(leaf7.ebx, 31) /*VL*/)) {
    return isas;
  }
  isas.push_back(Isa::kAvx512);

  if (!Bit(leaf7.ecx, 11) /*AVX512_VNNI*/) return isas;
  isas.push_back(Isa::kAvx512Vnni);

  if (!Bit(leaf7_1.eax, 5) /*AVX512_BF16*/) return isas;
  isas.push_back(Isa::kAvx512Bf16);

  const bool tile_state = (state & 0x60000) == 0x60000;  // tile configuration and data
  if (!(tile_state && Bit(leaf7.ecx, 8) /*GFNI*/ && Bit(leaf7.edx, 24) /*AMX-TILE*/ &&
        Bit(leaf7.edx, 22) /*AMX-BF16*/ && Bit(leaf7.edx, 25) /*AMX-INT8*/ && MayUseTiles())) {
    return isas;
  }
  isas.push_back(Isa::kAmx);
  return isas;
}

#else

std::vector<Isa> Detect() { return {Isa::kGeneric}; }

#endif

}  // namespace

std::string_view Name(Isa isa) {
  switch (isa) {
    case Isa::kGeneric: return "generic";
    case Isa::kAvx2: return "avx2";
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx512Vnni: return "avx512vnni";
    case Isa::kAvx512Bf16: return "avx512bf16";
    case Isa::kAmx: return "amx";
  }
  return "unknown";
}

const std::vector<Isa>& AvailableIsas() {
  static const std::vector<Isa> isas = Detect();
  return isas;
}

Result<Isa> ParseIsa(std::string_view name) {
  if (name == "auto") return AvailableIsas().back();
  std::string accepted = "auto";
  for (const Isa isa : AvailableIsas()) {
    if (name == Name(isa)) return isa;
    accepted.append(", ").append(Name(isa));
  }
  return InvalidArgument("isa '{}' is not available on this machine; accepted: {}", name, accepted);
}

}  // namespace tessera::cpu
