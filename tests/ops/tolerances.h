// Every tolerance of the op suite. Loosening one needs a record in docs/decisions.
//
// Measured against the double-precision reference on the same rounded weights and K/V values.
#pragma once

namespace tessera::ops_test {

struct Tolerance {
  double relative;  // ||out - ref|| / ||ref||
  double max_abs;   // largest |out - ref|, in units of the largest |ref|
};

// f32 storage and arithmetic: sums of up to a few thousand products.
inline constexpr Tolerance kF32 = {2e-6, 1e-5};
// bf16 weights: activations are rounded to bf16 as well, 2^-9 relative each.
inline constexpr Tolerance kBF16Linear = {4e-3, 2e-2};
// bf16 K/V storage, f32 arithmetic: the reference rounds the same way, but K is rotated in f32
// here and in f64 there, so a few values fall on the other side of a rounding border.
inline constexpr Tolerance kBF16Kv = {1e-3, 8e-3};
// The same where tensor cores multiply: queries and softmax weights are rounded to bf16 as well.
inline constexpr Tolerance kBF16Attention = {4e-3, 2e-2};
// Probabilities and entropies of equal f32 logits.
inline constexpr double kProbability = 1e-6;     // absolute
inline constexpr double kEntropy = 3e-6;         // absolute, in nats
inline constexpr double kLogProbability = 2e-6;  // relative to 1 + |value|

}  // namespace tessera::ops_test
