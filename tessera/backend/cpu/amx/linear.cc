// Linear kernel for AMX: bf16 weights on tiles, for every row count (one summation order).
#include "tessera/backend/cpu/amx/tile_instructions.h"

namespace tessera::cpu::amx {

const LinearKernel kLinearBf16 = TileKernel<TileInstructions>("amx");

}  // namespace tessera::cpu::amx
