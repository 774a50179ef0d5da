// Scalar reference of every operation in ops/device.h: slow, in double precision, obviously right.
//
// The oracle of the op suite and the body of the device "ref". Plain row-major arrays, no threads,
// no state. K and V pages are [kPageRows, kv_heads, head_dim] f32 for every KvType; values of a
// bf16 or int8 cache are rounded before they are stored.
#pragma once

#include <span>
#include <vector>

#include "tessera/ops/device.h"

namespace tessera::ops::ref {

// Weights [out, in] f32, row-major; quantised formats are rounded and expanded again.
class RefMatrix : public Matrix {
 public:
  RefMatrix(int64_t out, int64_t in, WeightFormat format, std::vector<float> values)
      : Matrix(out, in, format), values_(std::move(values)) {}
  int64_t bytes() const override { return static_cast<int64_t>(values_.size() * sizeof(float)); }
  const float* row(int64_t index) const { return values_.data() + index * in(); }

 private:
  std::vector<float> values_;
};

// Stacks the parts and rounds each value to `source.format`.
Result<std::unique_ptr<RefMatrix>> Pack(const MatrixSource& source);

int64_t KvPageBytes(const KvFormat& format);

void Embed(const EmbedArgs& args);
void RmsNorm(const RmsNormArgs& args);
void Linear(const LinearArgs& args);
void RotateAndStore(const RotateAndStoreArgs& args);
void Attention(const AttentionArgs& args);
void SiluMul(const SiluMulArgs& args);
void GatherRows(const GatherRowsArgs& args);
void AddRows(const AddRowsArgs& args);
void Route(const RouteArgs& args);
void HeadLogits(const HeadLogitsArgs& args);
void KvCopy(const KvCopyArgs& args);

// Whether row `row` of `group` (0 = row_begin) may attend to `slot`; `slots` are those of the
// whole forward.
bool Visible(const AttentionGroup& group, std::span<const int32_t> slots, int32_t row,
             int32_t slot);

// RowStats of one request from full rows of logits [vocab]; `guidance` is the row of
// RowRequest::guidance_row or empty. Defines what HeadStats means:
//   - edits in order: guidance, suppression, repetition penalty (once per distinct id of history);
//     the result is "the logits" below, and lse, p_probe and top are always about their softmax;
//   - argmax, second and top rank (logit descending, id ascending) and leave out banned ids and
//     logits of -inf;
//   - filters act on the tempered distribution in FilterOrder, then min_p, as the Hugging Face
//     warpers do, except that exactly top_k ids survive a tie (the lower ids). If every survivor is
//     banned the choice is the argmax, whose filtered probability is 0;
//   - a row that holds NaN or +inf, or only -inf, has NaN for every number; its argmax and choice
//     are the lowest id that is not banned, its second the next one, and top is empty.
RowStats Reduce(std::span<const float> logits, std::span<const float> guidance,
                const RowRequest& request);

void HeadStats(const HeadStatsArgs& args);

}  // namespace tessera::ops::ref
