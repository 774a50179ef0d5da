// Identifies inputs of an evaluation: models, cases. 64-bit FNV-1a, to notice that something is not
// the same; no protection against somebody who wants it to look the same.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tessera/api/model.h"

namespace tessera::eval {

class Fingerprint {
 public:
  // Lengths are part of the hash: ("ab", "c") and ("a", "bc") differ.
  Fingerprint& Add(std::string_view bytes);
  Fingerprint& Add(uint64_t number);

  uint64_t value() const;
  std::string text() const;  // 16 hex digits

 private:
  void Mix(std::string_view bytes);

  uint64_t hash_ = 0xcbf29ce484222325;
};

// Of everything in a model folder (or one file) that can change an output: names, sizes and
// contents of config, tokenizer and weights. Of files beyond 64 MB 64 evenly spaced pieces of 1 MB
// are read.
Result<std::string> FingerprintOfModel(const std::string& path);

}  // namespace tessera::eval
