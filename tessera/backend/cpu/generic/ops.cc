#include "tessera/backend/cpu/attention_kernel.h"
#include "tessera/backend/cpu/generic/vec.h"
#include "tessera/backend/cpu/row_kernels.h"

namespace tessera::cpu::generic {

constinit const OpKernels kOpKernels = MakeOpKernels<Vec>("generic", Attend<Vec>);

}  // namespace tessera::cpu::generic
