#include "apps/cli/table.h"

#include <algorithm>

#include "apps/cli/text_util.h"

namespace tessera::cli {

std::string Table::ToString() const {
  std::vector<int> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    int width = DisplayWidth(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[i]));
    widths.push_back(width);
  }
  std::string text;
  const auto add = [&](const auto& cell_of) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      if (i > 0) line += "  ";
      line += columns_[i].align == Align::kLeft ? PadRight(cell_of(i), widths[i])
                                                : PadLeft(cell_of(i), widths[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add([&](size_t i) { return columns_[i].title; });
  for (const auto& row : rows_) add([&](size_t i) { return row[i]; });
  return text;
}

}  // namespace tessera::cli
