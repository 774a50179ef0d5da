// A sweep as a page of Markdown: quality and cost of every method, and how to get each row again.
#pragma once

#include <string>
#include <vector>

#include "apps/eval/report.h"

namespace tessera::eval {

struct PageContext {
  std::string command;  // that makes the page: "tessera eval --sweep F --results P"
  std::string sweep;    // its file
  Strings charts;       // file of each grid's chart beside the page, "" = none
};

std::string MakePage(const std::vector<GridReport>& reports, const PageContext& context);

// "97.1": percent with one digit.
std::string PercentText(double share);

}  // namespace tessera::eval
