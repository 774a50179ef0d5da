# Each instruction-set folder of the CPU backend is built with the flags of exactly its level; the
# flags stop at the folder. Kernels hold no shared (weak) code, see backend/cpu/linear_loops.h.
# Kernels say themselves where they fuse a multiplication with an addition.
set(TESSERA_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c -ffp-contract=off)
set(TESSERA_ISA_FLAGS_avx512 ${TESSERA_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # _mm512_undefined_epi32 inside GCC's own headers: https://gcc.gnu.org/PR105593.
  list(APPEND TESSERA_ISA_FLAGS_avx512 -Wno-maybe-uninitialized -Wno-uninitialized)
endif()
set(TESSERA_ISA_FLAGS_avx512vnni ${TESSERA_ISA_FLAGS_avx512} -mavx512vnni)
set(TESSERA_ISA_FLAGS_avx512bf16 ${TESSERA_ISA_FLAGS_avx512vnni} -mavx512bf16)
set(TESSERA_ISA_FLAGS_amx ${TESSERA_ISA_FLAGS_avx512bf16} -mgfni -mamx-tile -mamx-bf16 -mamx-int8)

set(backend_exclude "")
foreach(isa avx2 avx512 avx512vnni avx512bf16 amx)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    file(GLOB isa_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/backend/cpu/${isa}/*.cc")
    list(FILTER isa_sources EXCLUDE REGEX "_test\\.cc$")
    set_source_files_properties(${isa_sources} PROPERTIES
                                COMPILE_OPTIONS "${TESSERA_ISA_FLAGS_${isa}}")
  else()
    list(APPEND backend_exclude "/cpu/${isa}/")
  endif()
endforeach()

# gpu.h has one implementation in each of two folders.
if(TESSERA_HAVE_CUDA)
  list(APPEND backend_exclude "/backend/none/")
else()
  list(APPEND backend_exclude "/backend/cuda/")
endif()

tessera_room(backend DEPS tessera_ops EXCLUDE ${backend_exclude})
if(TESSERA_HAVE_CUDA)
  set(cuda_room ${CMAKE_CURRENT_SOURCE_DIR}/backend/cuda)
  tessera_cuda(tessera_backend ONLY_90A ${cuda_room}/attention_stream.cu ${cuda_room}/linear.cu)
endif()
