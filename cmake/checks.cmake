# Checks of the tree itself, run by ctest beside the tests of the code.
find_package(Python3 COMPONENTS Interpreter REQUIRED)
foreach(check layers docs)
  add_test(NAME lint_${check} COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/tools/lint/check_${check}.py)
endforeach()
add_test(NAME lint_selftest COMMAND bash ${PROJECT_SOURCE_DIR}/tools/lint/selftest.sh)
add_test(NAME bench_page_selftest COMMAND Python3::Interpreter ${PROJECT_SOURCE_DIR}/tools/bench/gpu_page_test.py)
add_test(NAME tally_selftest COMMAND bash ${PROJECT_SOURCE_DIR}/tools/dev/tally_test.sh)
