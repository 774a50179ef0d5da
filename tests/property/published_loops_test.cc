// Rules that take tokens back against their published loops, written out over whole canvases with
// dense masks: every forward must see the same canvas.
#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "tests/property/decoding.h"

namespace tessera::property {
namespace {

using golden::Load;
using golden::Loaded;

constexpr int32_t kNew = 24;
const std::vector<int32_t> kPrompt = {3, 14, 15, 92, 65, 35, 89, 79};

// Prediction of one row: the best token that is no mask, and its share of the softmax.
struct Guess {
  int32_t token = 0;
  double probability = 0;
};

class Canvas {
 public:
  explicit Canvas(const Loaded& loaded)
      : loaded_(loaded), mask_(loaded.model->traits().mask_id), x(kPrompt) {
    x.resize(kPrompt.size() + kNew, mask_);
  }

  bool masked(size_t i) const { return x[i] == mask_; }
  int32_t mask() const { return mask_; }

  // Remembers the canvas, as the forward sees it.
  std::vector<float> Logits() {
    seen.push_back(x);
    return golden::Logits(loaded_, x);
  }

  // The same with a second copy of [begin, end) that holds only masks: row N + i sees all but
  // begin + i of the canvas, and all of the copy, which nothing else sees. One group with one bit
  // per pair of rows.
  std::vector<float> LogitsWithShadow(size_t begin, size_t end) {
    seen.push_back(x);
    const auto canvas = static_cast<int32_t>(x.size());
    const auto count = static_cast<int32_t>(end - begin);
    const int32_t rows = canvas + count;
    std::vector<int32_t> tokens = x, positions, slots;
    tokens.resize(static_cast<size_t>(rows), mask_);
    const size_t words = static_cast<size_t>((rows + 63) / 64);
    std::vector<uint64_t> bits(words * static_cast<size_t>(rows));
    for (int32_t row = 0; row < rows; ++row) {
      slots.push_back(row);
      positions.push_back(row < canvas ? row : static_cast<int32_t>(begin) + row - canvas);
      for (int32_t key = 0; key < rows; ++key) {
        const bool sees = row < canvas ? key < canvas : key >= canvas || key != positions.back();
        if (!sees) continue;
        const auto k = static_cast<size_t>(key);
        bits[static_cast<size_t>(row) * words + k / 64] |= uint64_t{1} << (k % 64);
      }
    }
    std::unique_ptr<kv::KvCache> kv = *loaded_.model->MakeKvCache(4);
    kv::PageTable pages(kv->pool());
    TESSERA_CHECK(pages.Reserve(rows).ok());
    const std::vector<ops::AttentionGroup> groups = {
        {.row_begin = 0,
         .row_end = rows,
         .pages = pages.pages(),
         .mask = {.rule = ops::MaskRule::kBits, .block = 0, .slots = {}, .bits = bits}}};
    std::vector<float> logits;
    TESSERA_CHECK(loaded_.model
                      ->ForwardLogits({.tokens = tokens,
                                       .positions = positions,
                                       .slots = slots,
                                       .groups = groups,
                                       .out_rows = slots},
                                      *kv, &logits)
                      .ok());
    return logits;
  }

  Guess Best(const std::vector<float>& logits, size_t row) const {
    Guess best{.token = -1};
    const auto vocab = static_cast<size_t>(loaded_.model->traits().vocab_size);
    for (size_t v = 0; v < vocab; ++v) {
      if (static_cast<int32_t>(v) == mask_) continue;
      if (best.token < 0 ||
          logits[row * vocab + v] > logits[row * vocab + static_cast<size_t>(best.token)]) {
        best.token = static_cast<int32_t>(v);
      }
    }
    best.probability = Probability(logits, row, best.token);
    return best;
  }

  double Probability(const std::vector<float>& logits, size_t row, int32_t token) const {
    const auto vocab = static_cast<size_t>(loaded_.model->traits().vocab_size);
    double sum = 0;
    for (size_t v = 0; v < vocab; ++v) sum += std::exp(double{logits[row * vocab + v]});
    return std::exp(double{logits[row * vocab + static_cast<size_t>(token)]}) / sum;
  }

 private:
  const Loaded& loaded_;
  int32_t mask_;

 public:
  std::vector<int32_t> x;
  std::vector<std::vector<int32_t>> seen;
};

// Positions by rising score; the lower position first where they are equal.
std::vector<size_t> Rising(const std::map<size_t, double>& scores) {
  std::vector<size_t> order;
  for (const auto& [position, score] : scores) order.push_back(position);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores.at(a) < scores.at(b); });
  return order;
}

// The canvases that a strategy's forwards saw.
std::vector<std::vector<int32_t>> Seen(const Loaded& loaded, const std::string& strategy) {
  const Outcome run =
      RunAlone(loaded, {.strategy = strategy, .prompt = kPrompt, .max_new_tokens = kNew});
  std::vector<std::vector<int32_t>> seen = {Canvas(loaded).x};
  seen.insert(seen.end(), run.canvases.begin(), run.canvases.end());
  seen.pop_back();  // nothing looks at the finished one
  return seen;
}

// How often a token was taken back between two forwards.
int64_t TakenBack(const std::vector<std::vector<int32_t>>& seen, int32_t mask) {
  int64_t count = 0;
  for (size_t i = 1; i < seen.size(); ++i) {
    for (size_t j = 0; j < seen[i].size(); ++j) {
      count += seen[i][j] == mask && seen[i - 1][j] != mask;
    }
  }
  return count;
}

// The loop of WINO's repository.
Canvas Wino(const Loaded& loaded, size_t block, double threshold, double verify) {
  Canvas canvas(loaded);
  const size_t length = canvas.x.size();
  for (size_t begin = kPrompt.size(); begin < length; begin += block) {
    const size_t end = begin + block;
    size_t last_accepted = 30;
    while (true) {
      std::map<size_t, double> masks;     // confidence
      std::map<size_t, int32_t> guesses;  // token
      size_t undecided = 0;
      for (size_t i = begin; i < end; ++i) undecided += canvas.masked(i);
      if (undecided == 0) break;
      const auto cap = static_cast<size_t>(
          std::clamp<double>(std::floor(0.7 * static_cast<double>(undecided)), 5, 20));
      const std::vector<float> logits = canvas.LogitsWithShadow(begin, end);
      std::map<size_t, double> backward;
      for (size_t i = begin; i < end; ++i) {
        if (canvas.masked(i)) {
          const Guess guess = canvas.Best(logits, i);
          masks[i] = -guess.probability;
          guesses[i] = guess.token;
        } else {
          backward[i] = canvas.Probability(logits, length + i - begin, canvas.x[i]);
        }
      }
      std::vector<size_t> accepted = Rising(masks);
      const auto sure = static_cast<size_t>(std::count_if(
          masks.begin(), masks.end(), [&](const auto& m) { return -m.second > threshold; }));
      accepted.resize(std::clamp<size_t>(sure, 1, cap));
      std::vector<size_t> back;
      if (accepted.size() > 1) {
        for (const size_t i : Rising(backward)) {
          if (backward[i] < verify && back.size() + 1 < last_accepted) back.push_back(i);
        }
      }
      for (const size_t i : accepted) canvas.x[i] = guesses[i];
      for (const size_t i : back) canvas.x[i] = canvas.mask();
      last_accepted = accepted.size();
    }
  }
  return canvas;
}

TEST(PublishedLoops, Wino) {
  for (const char* name : {"llada", "llada_gqa_tied"}) {
    const Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const auto& [threshold, verify, block] :
         {std::tuple(0.05, 0.2, 24), {0.1, 0.1, 12}, {0.0, 0.05, 24}, {0.6, 0.9, 8}}) {
      const Canvas published = Wino(loaded, static_cast<size_t>(block), threshold, verify);
      const auto seen =
          Seen(loaded, fmt::format("wino={},verify={},block={}", threshold, verify, block));
      EXPECT_EQ(seen, published.seen) << name << " " << threshold << " " << verify;
      if (threshold < 0.1) {
        EXPECT_GT(TakenBack(seen, published.mask()), 0) << threshold;
      }
    }
  }
}

}  // namespace
}  // namespace tessera::property
