// Rules that take tokens back against their published loops, written out over whole canvases with
// dense masks: every forward must see the same canvas.
#include <fmt/ranges.h>

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

// The first forward that saw another canvas; "" when all saw the same.
std::string Difference(const std::vector<std::vector<int32_t>>& seen,
                       const std::vector<std::vector<int32_t>>& published) {
  for (size_t i = 0; i < std::min(seen.size(), published.size()); ++i) {
    if (seen[i] != published[i]) {
      return fmt::format("forward {} of {}: [{}], published [{}]", i, seen.size(),
                         fmt::join(seen[i], " "), fmt::join(published[i], " "));
    }
  }
  if (seen.size() == published.size()) return "";
  return fmt::format("{} forwards, published {}", seen.size(), published.size());
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
      EXPECT_EQ(Difference(seen, published.seen), "") << name << " " << threshold << " " << verify;
      if (threshold < 0.1) {
        EXPECT_GT(TakenBack(seen, published.mask()), 0) << threshold;
      }
    }
  }
}

// The loop of RCR in MDPO's code, as ParallelBench has it: `steps` per block, tokens of any block
// give way.
Canvas Rcr(const Loaded& loaded, size_t block, size_t steps, bool cosine) {
  Canvas canvas(loaded);
  std::map<size_t, double> stored;  // confidence of every token that was ever written
  for (size_t begin = kPrompt.size(); begin < canvas.x.size(); begin += block) {
    size_t total = 0;
    for (size_t i = begin; i < begin + block; ++i) total += canvas.masked(i);
    for (size_t step = 0; step < steps; ++step) {
      const std::vector<float> logits = canvas.Logits();
      for (size_t i = 0; i < begin + block; ++i) {
        if (!canvas.masked(i)) continue;
        const Guess guess = canvas.Best(logits, i);
        canvas.x[i] = guess.token;
        stored[i] = guess.probability;
      }
      const double share = static_cast<double>(step + 1) / static_cast<double>(steps);
      const double ratio = cosine ? std::cos(share * std::acos(0.0)) : 1 - share;
      size_t left = static_cast<size_t>(static_cast<double>(total) * ratio + 1e-9);
      if (step + 1 == steps) left = 0;
      const std::vector<size_t> order = Rising(stored);
      for (size_t i = 0; i < left; ++i) canvas.x[order[i]] = canvas.mask();
    }
  }
  return canvas;
}

TEST(PublishedLoops, Rcr) {
  int64_t taken_back = 0;
  for (const char* name : {"llada", "llada_gqa_tied"}) {
    const Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const auto& [block, steps] : {std::pair(24, 24), {24, 6}, {12, 5}, {8, 8}, {6, 2}}) {
      for (const bool cosine : {false, true}) {
        const Canvas published =
            Rcr(loaded, static_cast<size_t>(block), static_cast<size_t>(steps), cosine);
        if (cosine && steps >= block) continue;  // that loop repeats forwards
        const auto seen =
            Seen(loaded, fmt::format("rcr,scope=canvas,block_steps={},block={},schedule={}", steps,
                                     block, cosine ? "cosine" : "linear"));
        EXPECT_EQ(Difference(seen, published.seen), "")
            << name << " " << block << " " << steps << " " << cosine;
        taken_back += TakenBack(seen, published.mask());
      }
    }
  }
  EXPECT_GT(taken_back, 20);
}

// The loop of ReMDM-LLaDA; with several blocks it needs one token per step.
Canvas Remdm(const Loaded& loaded, size_t block, size_t steps, size_t extra, size_t number) {
  Canvas canvas(loaded);
  const size_t first = std::min(steps, std::max<size_t>(std::min(block * 7 / 8, block - 1), 1));
  for (size_t begin = kPrompt.size(); begin < canvas.x.size(); begin += block) {
    std::map<size_t, double> stored;
    size_t quota_step = 0;
    for (size_t step = 0; step < steps + extra; ++step) {
      size_t count = number;
      if (step >= first && step < first + extra) {
        std::vector<size_t> order = Rising(stored);
        order.resize(number);
        for (const size_t i : order) {
          canvas.x[i] = canvas.mask();
          stored.erase(i);
        }
      } else {
        count = block / steps + (quota_step < block % steps ? 1 : 0);
        ++quota_step;
      }
      const std::vector<float> logits = canvas.Logits();
      std::map<size_t, double> masks;
      std::map<size_t, Guess> guesses;
      for (size_t i = begin; i < begin + block; ++i) {
        if (!canvas.masked(i)) continue;
        guesses[i] = canvas.Best(logits, i);
        masks[i] = -guesses[i].probability;
      }
      std::vector<size_t> order = Rising(masks);
      order.resize(count);
      for (const size_t i : order) {
        canvas.x[i] = guesses[i].token;
        stored[i] = guesses[i].probability;
      }
    }
  }
  // A forward over the canvas of the one before it repeats that one; the engine leaves it out.
  canvas.seen.erase(std::unique(canvas.seen.begin(), canvas.seen.end()), canvas.seen.end());
  return canvas;
}

TEST(PublishedLoops, Remdm) {
  int64_t taken_back = 0;
  for (const char* name : {"llada", "llada_gqa_tied"}) {
    const Loaded loaded = Load(name, ops::WeightType::kF32);
    for (const auto& [block, steps, extra, number] :
         {std::tuple(24, 24, 4, 2), {24, 24, 8, 5}, {24, 6, 3, 4}, {8, 8, 2, 3}, {12, 12, 1, 1}}) {
      const Canvas published = Remdm(loaded, static_cast<size_t>(block), static_cast<size_t>(steps),
                                     static_cast<size_t>(extra), static_cast<size_t>(number));
      const auto seen = Seen(loaded, fmt::format("remdm,block_steps={},block={},extra={},number={}",
                                                 steps, block, extra, number));
      EXPECT_EQ(Difference(seen, published.seen), "")
          << name << " " << block << " " << steps << " " << extra;
      taken_back += TakenBack(seen, published.mask());
    }
  }
  EXPECT_GT(taken_back, 20);
}

}  // namespace
}  // namespace tessera::property
