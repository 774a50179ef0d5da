// Numbers that evaluations are judged by, each with its formula.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace tessera::eval {

struct Interval {
  double low = 0, high = 0;
};

// 95 % confidence interval of a proportion (Wilson, JASA 22, 1927): with z = 1.95996,
//   (p + z^2/2n ± z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n).
// Unlike p ± z sqrt(p(1-p)/n) it keeps its coverage near 0 and 1. No cases: [0, 1].
Interval Wilson(double right, double cases);

// 95 % interval of a mean by its standard error, cut to [0, 1]; for scores that are not only right
// or wrong. Below two cases nothing is known: [0, 1].
Interval MeanInterval(double sum, double sum_of_squares, double cases);

// A point of a trade-off curve.
struct CurvePoint {
  double tokens_per_forward = 0;
  double accuracy = 0;  // in [0, 1]
};

// Accuracy under parallelism (d3LLM, arXiv 2601.07568). With points sorted by tokens per forward
// r_i, accuracies y_i in percent, W(y) = min(1, exp(-3 (1 - y / y_max))):
//   r_1 y_1 + 1/2 sum_{i>=2} (r_i - r_{i-1}) (y_i W(y_i) + y_{i-1} W(y_{i-1}))
// Points more than 5 percentage points below y_1 are left out. `best`: y_max / 100, the highest
// accuracy that any method reached on the task. No point: 0.
double Aup(std::vector<CurvePoint> points, double best);

// A setting's cost and what comes out right.
struct CostPoint {
  double cost = 0;
  double accuracy = 0;
};

// What a curve of settings costs at this accuracy: the cheapest setting that reaches it, linearly
// between neighbours of the curve's upper envelope. Below 0: the curve does not reach it, or even
// its cheapest setting is better.
double CostAt(std::vector<CostPoint> points, double accuracy);

// What independent choices cost at best: the chance that a list task comes out right when items are
// drawn independently from perfect marginals (docs/evaluation.md derives them; they are the closed
// forms of ParallelBench, arXiv 2510.04767, section 3).
// Shuffling n items, `together` of them committed per step; the product over steps of
// r! / ((r - g)! r^g), times n!-1 over n! because the given order does not count.
double ShuffleLimit(int n, int together);
// Replacing one of n items at random in a single step: (1 - 1/n)^(n-1).
double ReplaceLimit(int n);

}  // namespace tessera::eval
