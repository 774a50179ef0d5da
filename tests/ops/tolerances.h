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
// int8 K/V storage, f32 arithmetic: the same, but a border crossed is a whole step, 1/127 of the
// largest magnitude of the row, of one value in some thousands.
inline constexpr Tolerance kInt8Kv = {3e-3, 2e-2};
// What int8 K/V changes beside f32: values are off by at most half a step and by 0.29 of one in the
// root mean square (uniform errors), 0.6 % of the root mean square of 40 normal values, whose
// largest is near 2.5 of them; scores move by as much of their spread, and the softmax weights with
// them.
inline constexpr Tolerance kInt8BesideF32Kv = {2e-2, 8e-2};
// The same as kBF16Kv where tensor cores multiply: queries and softmax weights are rounded to bf16
// as well.
inline constexpr Tolerance kBF16Attention = {4e-3, 2e-2};
// Probabilities and entropies of equal f32 logits.
inline constexpr double kProbability = 1e-6;     // absolute
inline constexpr double kEntropy = 3e-6;         // absolute, in nats
inline constexpr double kLogProbability = 2e-6;  // relative to 1 + |value|

}  // namespace tessera::ops_test
