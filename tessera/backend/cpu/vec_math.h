// Vector arithmetic shared by the kernel templates; V is the Vec of an instruction-set level.
//
// For kernel files only: no include but vec.h-like headers, everything a template over V.
#pragma once

#include <stdint.h>

namespace tessera::cpu {

// e^x to about 1 ulp; NaN stays NaN, exp(0) is exactly 1, results below the smallest normal are 0,
// x above 88.37 gives e^88.37. Range reduction and polynomial of Cephes' expf (Moshier).
template <typename V>
inline typename V::F Exp(typename V::F x) {
  using F = typename V::F;
  const F low = V::Set(-87.33654f);
  // Operand order matters: Max and Min return their second operand, x, if it is NaN.
  const F clamped = V::Min(V::Set(88.37f), V::Max(low, x));
  const F n = V::Round(V::Mul(clamped, V::Set(1.44269504088896341f)));
  F r = V::Fma(n, V::Set(-0.693359375f), clamped);
  r = V::Fma(n, V::Set(2.12194440e-4f), r);
  F p = V::Set(1.9875691500e-4f);
  p = V::Fma(p, r, V::Set(1.3981999507e-3f));
  p = V::Fma(p, r, V::Set(8.3334519073e-3f));
  p = V::Fma(p, r, V::Set(4.1665795894e-2f));
  p = V::Fma(p, r, V::Set(1.6666665459e-1f));
  p = V::Fma(p, r, V::Set(5.0000001201e-1f));
  p = V::Fma(V::Mul(r, r), p, V::Add(r, V::Set(1.0f)));
  return V::SelectLess(x, low, V::Set(0.0f), V::Scale(p, n));
}

}  // namespace tessera::cpu
