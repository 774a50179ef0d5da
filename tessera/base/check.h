// TESSERA_CHECK: stops the process on a broken invariant of our own. Never reachable from input.
#pragma once

#include <cstdio>
#include <cstdlib>

#define TESSERA_CHECK(condition)                                                           \
  do {                                                                                     \
    if (!(condition)) [[unlikely]] {                                                       \
      std::fprintf(stderr, "tessera: internal error: %s at %s:%d\n", #condition, __FILE__, \
                   __LINE__);                                                              \
      std::abort();                                                                        \
    }                                                                                      \
  } while (false)
