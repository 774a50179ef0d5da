#include "tessera/backend/none/none.h"

namespace tessera::none {

Result<std::unique_ptr<ops::Device>> MakeCudaDevice(std::string_view name) {
  return Unimplemented(
      "device \"{}\": this build has no CUDA backend; use device \"cpu\", or a build that has it",
      name);
}

}  // namespace tessera::none
