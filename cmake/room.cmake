# One build target per room. A new source or test file needs no edit here: both are globbed.

# tessera_room(<name> [DEPS <target>...] [EXCLUDE <regex>...])
#   library tessera_<name> from every .cc and .cu below the folder except *_test.cc, and
#   test binary <name>_test from every *_test.cc beside the sources.
function(tessera_room name)
  cmake_parse_arguments(ROOM "" "" "DEPS;EXCLUDE" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cc"
       "${CMAKE_CURRENT_SOURCE_DIR}/${name}/*.cu")
  foreach(pattern ${ROOM_EXCLUDE})
    list(FILTER sources EXCLUDE REGEX "${pattern}")
  endforeach()
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  if(sources)
    add_library(tessera_${name} STATIC ${sources})
    set(scope PUBLIC)
  else()
    add_library(tessera_${name} INTERFACE)
    set(scope INTERFACE)
  endif()
  target_include_directories(tessera_${name} ${scope} ${PROJECT_SOURCE_DIR})
  target_link_libraries(tessera_${name} ${scope} ${ROOM_DEPS})
  if(tests)
    tessera_test(${name}_test SOURCES ${tests} DEPS tessera_${name})
  endif()
endfunction()

# tessera_test(<name> SOURCES <file>... DEPS <target>...): a GoogleTest binary known to ctest.
function(tessera_test name)
  cmake_parse_arguments(TEST "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${TEST_SOURCES})
  target_link_libraries(${name} PRIVATE ${TEST_DEPS} GTest::gtest_main)
  target_compile_definitions(${name} PRIVATE TESSERA_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES ENVIRONMENT
    "GTEST_OUTPUT=xml:${PROJECT_BINARY_DIR}/test-results/gtest-${name}.xml")  # ./dev test counts these
endfunction()
