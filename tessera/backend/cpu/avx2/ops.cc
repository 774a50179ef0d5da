#include "tessera/backend/cpu/attention_kernel.h"
#include "tessera/backend/cpu/avx2/vec.h"
#include "tessera/backend/cpu/row_kernels.h"

namespace tessera::cpu::avx2 {

constinit const OpKernels kOpKernels = MakeOpKernels<Vec>("avx2", Attend<Vec>);

}  // namespace tessera::cpu::avx2
