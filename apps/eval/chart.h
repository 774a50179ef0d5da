// Accuracy against tokens per forward as SVG: one panel per task group, one line per curve, error
// bars of 95 %. Every point says in its title what it is.
#pragma once

#include <string>

#include "apps/eval/report.h"

namespace tessera::eval {

std::string DrawChart(const GridReport& report);

// PNG of an SVG file, by rsvg-convert (Debian: librsvg2-bin); an error when that is not there.
Status ConvertToPng(const std::string& svg_path, const std::string& png_path);

}  // namespace tessera::eval
