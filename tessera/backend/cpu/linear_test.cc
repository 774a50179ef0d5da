#include "tessera/backend/cpu/linear.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "tessera/base/rng.h"

namespace tessera::cpu {
namespace {

TEST(Quick, Matches) {
  for (Isa isa : AvailableIsas())
    for (int threads : {1, 2})
      for (auto type : {ops::WeightType::kF32, ops::WeightType::kBF16})
        for (int in : {1, 31, 64, 130, 2100})
          for (int out : {1, 16, 33, 70})
            for (int rows : {1, 2, 3, 12, 13, 33, 110}) {
              ThreadPool pool(threads);
              Scratch scratch;
              std::vector<float> w(in * out), x(in * rows), y(rows * out, NAN);
              uint32_t s = 1;
              auto next = [&] {
                s = s * 1664525 + 1013904223;
                return static_cast<float>(int(s >> 9) - (1 << 22)) * (1.0f / (1 << 22));
              };
              for (float& v : w) v = FloatFromBF16(BF16FromFloat(next()));
              for (float& v : x) v = FloatFromBF16(BF16FromFloat(next()));
              ops::MatrixSource source;
              source.parts.push_back(
                  {reinterpret_cast<std::byte*>(w.data()), DType::kF32, {out, in}});
              source.format.type = type;
              auto m = PackMatrix(source, pool);
              ASSERT_TRUE(m.ok());
              Linear(
                  {.rows = rows, .x = x.data(), .weight = m->get(), .bias = nullptr, .y = y.data()},
                  isa, pool, scratch);
              for (int r = 0; r < rows; ++r)
                for (int o = 0; o < out; ++o) {
                  double sum = 0;
                  for (int k = 0; k < in; ++k) sum += double(x[r * in + k]) * w[o * in + k];
                  ASSERT_NEAR(y[r * out + o], sum, 1e-4 * std::sqrt(in))
                      << Name(isa) << in << " " << out << " " << rows << " " << r << " " << o;
                }
            }
}

}  // namespace
}  // namespace tessera::cpu
