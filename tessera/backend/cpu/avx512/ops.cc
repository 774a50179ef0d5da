#include "tessera/backend/cpu/attention_kernel.h"
#include "tessera/backend/cpu/avx512/vec.h"
#include "tessera/backend/cpu/row_kernels.h"

namespace tessera::cpu::avx512 {

constinit const OpKernels kOpKernels = MakeOpKernels<Vec>("avx512", Attend<Vec>);

}  // namespace tessera::cpu::avx512
