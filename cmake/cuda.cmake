# The CUDA backend: an NVIDIA toolkit (12.0 or newer, 12.8 for all GPUs) and nothing else. Sets
# TESSERA_HAVE_CUDA; without it backend/none/ answers for GPUs.
#   TESSERA_CUDA                AUTO builds the backend where such a toolkit is found, ON insists,
#                               OFF does not
#   TESSERA_CUDA_ARCHITECTURES  what machine code is made for; those unknown to nvcc are left out
set(TESSERA_CUDA AUTO CACHE STRING "The CUDA backend: AUTO, ON or OFF")
set_property(CACHE TESSERA_CUDA PROPERTY STRINGS AUTO ON OFF)
set(TESSERA_CUDA_ARCHITECTURES 80 90a 120 CACHE STRING "Compute capabilities to compile for")

set(TESSERA_HAVE_CUDA OFF)
if(NOT TESSERA_CUDA STREQUAL "OFF")
  find_program(TESSERA_NVCC nvcc HINTS ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  set(problem "there is no nvcc in PATH, CUDA_PATH or /usr/local/cuda (-DTESSERA_NVCC=FILE)")
  if(TESSERA_NVCC)
    execute_process(COMMAND ${TESSERA_NVCC} --version OUTPUT_VARIABLE version)
    string(REGEX MATCH "release ([0-9.]+)" version "${version}")
    if(CMAKE_MATCH_1 VERSION_GREATER_EQUAL 12.0)
      set(TESSERA_HAVE_CUDA ON)
    endif()
    set(problem "${TESSERA_NVCC} is version ${CMAKE_MATCH_1}, accepted: 12.0 and up")
  endif()
  if(NOT TESSERA_HAVE_CUDA)
    if(NOT TESSERA_CUDA STREQUAL "AUTO")
      message(FATAL_ERROR "TESSERA_CUDA=${TESSERA_CUDA}, but ${problem}")
    endif()
    message(STATUS "No CUDA backend: ${problem}")
  endif()
endif()
if(NOT TESSERA_HAVE_CUDA)
  return()
endif()

set(CMAKE_CUDA_COMPILER ${TESSERA_NVCC})
set(CMAKE_CUDA_ARCHITECTURES OFF)  # the flags below say it; this CMake does not know 90a
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(CMAKE_CXX_COMPILER_LAUNCHER AND NOT CMAKE_CUDA_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
enable_language(CUDA)
# This CMake does not know either that nvcc speaks C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
find_package(CUDAToolkit REQUIRED)

execute_process(COMMAND ${TESSERA_NVCC} --list-gpu-arch OUTPUT_VARIABLE known
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(cuda_architectures "")
foreach(architecture ${TESSERA_CUDA_ARCHITECTURES})
  string(REGEX REPLACE "[a-z]$" "" number ${architecture})
  if(known MATCHES "compute_${number}(\n|$)")
    list(APPEND cuda_architectures ${architecture})
  endif()
endforeach()
if(NOT cuda_architectures)
  message(FATAL_ERROR "${TESSERA_NVCC} knows none of: ${TESSERA_CUDA_ARCHITECTURES}")
endif()

set(TESSERA_CUDA_FLAGS --expt-relaxed-constexpr
    -DFMT_USE_CONSTEXPR=1  # nvcc cannot evaluate fmt's checks of format strings
    -Xcompiler=-Wall,-Wextra,-Wno-unused-parameter)
set(TESSERA_CUDA_CODE "")
foreach(architecture ${cuda_architectures})
  list(APPEND TESSERA_CUDA_CODE
       --generate-code=arch=compute_${architecture},code=sm_${architecture})
endforeach()
# GPUs between the listed ones compile this text when they first run it.
list(GET cuda_architectures 0 lowest)
list(APPEND TESSERA_CUDA_CODE --generate-code=arch=compute_${lowest},code=compute_${lowest})
set(TESSERA_CUDA_CODE_90A --generate-code=arch=compute_90a,code=sm_90a)
message(STATUS "CUDA backend: nvcc ${CMAKE_CUDA_COMPILER_VERSION} for ${cuda_architectures}")

# tessera_cuda(<target> [ONLY_90A <file>...])
#   the flags of the target's .cu files, and the runtime for all of it. Files of ONLY_90A hold
#   instructions that no other GPU has; who calls them asks for the GPU first.
function(tessera_cuda target)
  cmake_parse_arguments(CUDA "" "" "ONLY_90A" ${ARGN})
  target_compile_options(${target} PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${TESSERA_CUDA_FLAGS}>")
  target_link_libraries(${target} PRIVATE CUDA::cudart_static)
  get_target_property(sources ${target} SOURCES)
  list(FILTER sources INCLUDE REGEX "\\.cu$")
  set_source_files_properties(${sources} PROPERTIES COMPILE_OPTIONS "${TESSERA_CUDA_CODE}")
  if(CUDA_ONLY_90A)
    set_source_files_properties(${CUDA_ONLY_90A} PROPERTIES
                                COMPILE_OPTIONS "${TESSERA_CUDA_CODE_90A}")
  endif()
endfunction()
