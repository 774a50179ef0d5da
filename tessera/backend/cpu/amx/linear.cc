// Linear kernel for AMX: bf16 weights on tiles, for every row count (one summation order).
#include <immintrin.h>

#include "tessera/backend/cpu/amx/linear_tiles.h"

namespace tessera::cpu::amx {

const LinearKernel kLinearBf16 = {
    .isa = "amx",
    .x_bytes = 2,
    .row_multiple = kTileRows,
    .max_block_rows = kTileRows,
    .pack_rows = PackTileRows,
    .panels = RunTilePanels,
};

}  // namespace tessera::cpu::amx
