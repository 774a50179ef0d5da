// Regular expressions of tokenizer files, run by PCRE2 with the meaning Oniguruma (the reference
// library's engine) gives them.
//
// Owns the translation: \s, \d, \w and \p{..} are rewritten so that both engines agree on every
// code point. Refuses set intersection in classes and patterns PCRE2 cannot compile. Matching has
// step limits, so a hostile pattern ends with an error.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "tessera/base/status.h"

namespace tessera::text {

struct Span {
  size_t begin = 0;
  size_t end = 0;
};

class Regex {
 public:
  static Result<Regex> Compile(std::string_view pattern);

  // Walks over the non-overlapping matches in one subject. The subject must be valid UTF-8 and
  // outlive the cursor; the Regex may be shared between threads, a cursor may not.
  class Cursor {
   public:
    Cursor(const Regex& regex, std::string_view subject);
    ~Cursor();
    Cursor(const Cursor&) = delete;
    Cursor& operator=(const Cursor&) = delete;

    // False when there is no further match. An empty match right after the previous match is
    // passed over, as the reference does.
    Result<bool> Next(Span* match);

   private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
  };

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
};

// Exposed for tests: the PCRE2 pattern for an Oniguruma (Ruby syntax) pattern.
Result<std::string> TranslatePattern(std::string_view pattern);

}  // namespace tessera::text
