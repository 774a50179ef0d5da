// Numbers derived from GenerateMetrics that people and JSON both see, counted the same way.
#pragma once

#include <cstdint>
#include <string>

#include "tessera/api/model.h"

namespace tessera::cli {

struct Rates {
  int64_t tokens = 0;  // output to the first end-of-text; filled holes when infilling
  double seconds = 0;
  double tokens_per_second = 0;
  double tokens_per_forward = 0;
  double rows_per_token = 0;         // evaluated rows
  double weights_gb_per_second = 0;  // weight bytes read by the forwards
};

// `filled`: mask tokens that the prompt held. `drawing_seconds`: spent outside the engine, in
// callbacks.
Rates RatesOf(const api::GenerateMetrics& metrics, int64_t filled, double drawing_seconds);

// "9 forwards (1 full, 8 window)"
std::string ForwardsByKind(int64_t full, int64_t window, int64_t finalise);
// One line: tokens, speed, forwards by kind, tokens per forward, rows per token, drift
// if it was measured, GB/s.
std::string StatsLine(const Rates& rates, const api::GenerateMetrics& metrics);

// "43.1 ms", "2.50 s"
std::string Time(double seconds);
// At least three significant digits: 0.0123, 1.23, 123.
std::string Short(double value);

}  // namespace tessera::cli
