#include "apps/eval/chart.h"

#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "apps/eval/errors.h"

extern char** environ;  // NOLINT(readability-identifier-naming): POSIX's name

namespace tessera::eval {
namespace {

// Okabe and Ito's colours, told apart by colour-blind readers too, then darker shades of them.
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00",
                                    "#56b4e9", "#000000", "#7a5195", "#8b6914", "#666666",
                                    "#004b75", "#8f3f00", "#00694d", "#87506f"};
constexpr int kPanelWidth = 380, kPanelHeight = 300, kColumns = 3, kLegendWidth = 260;
constexpr int kLeft = 48, kTop = 34, kRight = 14, kBottom = 44;  // inside a panel
constexpr int kTitleHeight = 40;

std::string Escape(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    if (c == '<')
      safe += "&lt;";
    else if (c == '>')
      safe += "&gt;";
    else if (c == '&')
      safe += "&amp;";
    else if (c == '"')
      safe += "&quot;";
    else if (static_cast<unsigned char>(c) >= ' ')
      safe += c;
  }
  return safe;
}

struct Series {
  std::string model, curve;
  std::vector<const Cell*> cells;
};

std::vector<Series> AllSeries(const GridReport& report) {
  std::vector<Series> all;
  for (const Cell& cell : report.cells) {
    const std::string curve = report.CurveOf(cell);
    auto it = std::find_if(all.begin(), all.end(), [&](const Series& series) {
      return series.model == cell.model && series.curve == curve;
    });
    if (it == all.end()) {
      all.push_back({.model = cell.model, .curve = curve, .cells = {}});
      it = all.end() - 1;
    }
    if (cell.sum.graded > 0 && cell.sum.forwards() > 0) it->cells.push_back(&cell);
  }
  return all;
}

// Where values lie within a panel: logarithmic to the right, linear upwards.
class Axes {
 public:
  explicit Axes(const std::vector<const Cell*>& cells) {
    for (const Cell* cell : cells) {
      const double x = std::log2(cell->sum.tokens_per_forward());
      low_x_ = std::min(low_x_, std::floor(x - 0.05));
      high_x_ = std::max(high_x_, std::ceil(x + 0.05));
      low_y_ = std::min(low_y_, std::floor(cell->sum.accuracy_interval().low * 10) / 10);
    }
  }
  double X(double tokens_per_forward) const {
    const double share = (std::log2(tokens_per_forward) - low_x_) / (high_x_ - low_x_);
    return kLeft + share * (kPanelWidth - kLeft - kRight);
  }
  double Y(double accuracy) const {
    const double share = (accuracy - low_y_) / (1 - low_y_);
    return kPanelHeight - kBottom - share * (kPanelHeight - kTop - kBottom);
  }
  std::string Draw(const std::string& title) const {
    std::string svg = fmt::format("<text x=\"{}\" y=\"20\" font-weight=\"bold\">{}</text>\n", kLeft,
                                  Escape(title));
    for (double x = low_x_; x <= high_x_; ++x) {
      const double at = X(std::exp2(x));
      svg += fmt::format(
          "<path d=\"M{:.1f} {}V{}\" stroke=\"#ddd\"/><text x=\"{:.1f}\" y=\"{}\" "
          "text-anchor=\"middle\">{:g}</text>\n",
          at, kTop, kPanelHeight - kBottom, at, kPanelHeight - kBottom + 15, std::exp2(x));
    }
    const double step = low_y_ > 0.75 ? 0.05 : low_y_ > 0.45 ? 0.1 : 0.2;
    for (double y = 1; y >= low_y_ - 1e-9; y -= step) {
      const double at = Y(y);
      svg += fmt::format(
          "<path d=\"M{} {:.1f}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1f}\" "
          "text-anchor=\"end\">{:.0f}</text>\n",
          kLeft, at, kPanelWidth - kRight, kLeft - 6, at + 4, 100 * y);
    }
    return svg + fmt::format(
                     "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">tokens per forward</text>\n"
                     "<text transform=\"translate(13 {}) rotate(-90)\" "
                     "text-anchor=\"middle\">% right</text>\n",
                     (kLeft + kPanelWidth - kRight) / 2, kPanelHeight - 10,
                     (kTop + kPanelHeight - kBottom) / 2);
  }

 private:
  double low_x_ = 0, high_x_ = 1, low_y_ = 0.9;
};

// Marks differ beside colours: circle, square, triangle, diamond in turn.
std::string Mark(size_t series, double x, double y) {
  switch (series % 4) {
    case 0: return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.6\"/>", x, y);
    case 1:
      return fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"6.6\" height=\"6.6\"/>", x - 3.3,
                         y - 3.3);
    case 2: return fmt::format("<path d=\"M{:.1f} {:.1f}l4.2 7.4h-8.4z\"/>", x, y - 4.6);
    default:
      return fmt::format("<path d=\"M{:.1f} {:.1f}l4.4 4.4l-4.4 4.4l-4.4 -4.4z\"/>", x, y - 4.4);
  }
}

std::string DrawSeries(const GridReport& report, const Series& series, size_t index, size_t group,
                       const Axes& axes) {
  std::vector<const Cell*> cells;
  for (const Cell* cell : series.cells) {
    if (cell->group == group) cells.push_back(cell);
  }
  std::sort(cells.begin(), cells.end(), [](const Cell* a, const Cell* b) {
    return a->sum.tokens_per_forward() < b->sum.tokens_per_forward();
  });
  const char* colour = kColours[index % std::size(kColours)];
  std::string line, marks;
  for (const Cell* cell : cells) {
    const Measurement& m = cell->sum;
    const Interval interval = m.accuracy_interval();
    const double x = axes.X(m.tokens_per_forward()), y = axes.Y(m.accuracy());
    line += fmt::format("{}{:.1f} {:.1f}", line.empty() ? "M" : "L", x, y);
    marks += fmt::format(
        "<g><title>{}, {}: {:.1f} % ({:.1f} to {:.1f}), {:.2f} tokens per forward</title>"
        "<path d=\"M{:.1f} {:.1f}V{:.1f}\" stroke=\"{}\" stroke-opacity=\"0.35\"/>{}</g>\n",
        Escape(cell->model), Escape(report.grid.entries[cell->entry].strategy), 100 * m.accuracy(),
        100 * interval.low, 100 * interval.high, m.tokens_per_forward(), x, axes.Y(interval.low),
        axes.Y(interval.high), colour, Mark(index, x, y));
  }
  return fmt::format(
      "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.3\"/>\n<g fill=\"{}\">{}</g>\n",
      line.empty() ? "M0 0" : line, colour, colour, marks);
}

}  // namespace

std::string DrawChart(const GridReport& report) {
  const std::vector<Series> all = AllSeries(report);
  const int panels = static_cast<int>(report.grid.groups.size());
  const int columns = std::max(1, std::min(panels, kColumns));
  const int lines = std::max(1, (panels + columns - 1) / columns);
  const int legend_height = 24 + 18 * static_cast<int>(all.size());
  const int width = columns * kPanelWidth + kLegendWidth;
  const int height = kTitleHeight + std::max(lines * kPanelHeight, legend_height) + 10;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
      "viewBox=\"0 0 {0} {1}\" font-family=\"DejaVu Sans, sans-serif\" font-size=\"11\">\n"
      "<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n"
      "<text x=\"{2}\" y=\"26\" font-size=\"16\">{3}</text>\n",
      width, height, kLeft, Escape(report.grid.name));
  for (size_t group = 0; group < report.grid.groups.size(); ++group) {
    std::vector<const Cell*> cells;
    for (const Series& series : all) {
      for (const Cell* cell : series.cells) {
        if (cell->group == group) cells.push_back(cell);
      }
    }
    const Axes axes(cells);
    const int index = static_cast<int>(group);
    svg += fmt::format("<g transform=\"translate({} {})\">\n", index % columns * kPanelWidth,
                       kTitleHeight + index / columns * kPanelHeight);
    svg += axes.Draw(report.grid.groups[group].name);
    for (size_t i = 0; i < all.size(); ++i) svg += DrawSeries(report, all[i], i, group, axes);
    svg += "</g>\n";
  }
  svg += fmt::format("<g transform=\"translate({} {})\">\n", columns * kPanelWidth + 10,
                     kTitleHeight + 24);
  for (size_t i = 0; i < all.size(); ++i) {
    const double y = 18.0 * static_cast<double>(i);
    svg += fmt::format("<g fill=\"{}\">{}</g><text x=\"14\" y=\"{:.0f}\">{}</text>\n",
                       kColours[i % std::size(kColours)], Mark(i, 4, y), y + 4,
                       Escape(all[i].curve + "  " + all[i].model));
  }
  return svg + "</g>\n</svg>\n";
}

Status ConvertToPng(const std::string& svg_path, const std::string& png_path) {
  std::string tool = "rsvg-convert", zoom = "--zoom=2", output = "--output=" + png_path,
              rest = "--", input = svg_path;
  char* arguments[] = {tool.data(), zoom.data(), output.data(), rest.data(), input.data(), nullptr};
  pid_t child = 0;
  const int error = posix_spawnp(&child, tool.c_str(), nullptr, nullptr, arguments, environ);
  if (error == ENOENT) {
    return Missing("{}: not drawn; it needs rsvg-convert (Debian package librsvg2-bin)", png_path);
  }
  if (error != 0) return Missing("rsvg-convert: cannot be started: {}", std::strerror(error));
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return OkStatus();
  return Missing("{}: rsvg-convert failed on {}", png_path, svg_path);
}

}  // namespace tessera::eval
