// Questions with answers, one JSON object per line, as models/heldout.jsonl has them:
// {task, prompt, messages?, answer, grader, meta}.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/api/model.h"

namespace tessera::eval {

struct Case {
  std::string task;
  std::vector<api::Message> messages;  // the last one is the request
  std::string answer;
  std::string grader;   // "none": free text
  nlohmann::json meta;  // what the grader needs
  // Infilling: the reply cut into given and missing parts in turn, a given one first; empty when
  // the whole reply is to be written. The missing parts joined by newlines are the answer.
  std::vector<std::string> parts;
};

// Every line must be a case whose grader is known; errors name file and line.
Result<std::vector<Case>> ReadCases(const std::string& path);
Result<std::vector<Case>> ParseCases(std::string_view text, const std::string& name);

// `limit` cases spread evenly, in order: a file sorted by task keeps all its tasks.
std::vector<Case> Spread(const std::vector<Case>& cases, size_t limit);

}  // namespace tessera::eval
