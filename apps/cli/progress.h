// Progress of long work on standard error: a bar on a terminal, now and then a line elsewhere, and
// nothing at all when the work ends within a second.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace tessera::cli {

class Progress {
 public:
  enum class Unit { kBytes, kRuns, kWeights };
  Progress(std::string title, Unit unit);
  ~Progress();  // removes the bar
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Returns false when the user asked to stop.
  bool Update(int64_t done, int64_t total);

 private:
  using Clock = std::chrono::steady_clock;
  std::string Line(int64_t done, int64_t total, double seconds) const;

  std::string title_;
  Unit unit_;
  bool terminal_;
  bool drawn_ = false;
  Clock::time_point begin_;
  Clock::time_point shown_;
};

}  // namespace tessera::cli
