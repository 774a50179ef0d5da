// Byte-pair encoding of one word.
//
// Owns the merge table (pair of ids -> rank and product, one flat hash table) and the merge loop,
// O(n log n) in the length of a word. Refuses merges that name tokens the vocabulary lacks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "tessera/base/status.h"
#include "tessera/text/vocab.h"

namespace tessera::text {

// Open-addressing map from (left id, right id) to (rank, id of the product).
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = UINT32_MAX;
    int32_t id = -1;
  };
  void Reserve(size_t count);
  void Set(int32_t left, int32_t right, Merge merge);  // the last call for a pair wins

  Merge Find(int32_t left, int32_t right) const {
    const uint64_t key = Key(left, right);
    for (size_t i = Hash(key) & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.key == key) return slot.merge;
      if (slot.key == kEmpty) return {};
    }
  }

 private:
  struct Slot {
    uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  static uint64_t Key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  static size_t Hash(uint64_t key) {
    key *= 0x9E3779B97F4A7C15u;
    return static_cast<size_t>(key >> 29);
  }
  void Grow(size_t slots);

  std::vector<Slot> slots_ = std::vector<Slot>(2);
  size_t mask_ = 1;
  size_t count_ = 0;
};

struct BpeOptions {
  bool byte_level = false;     // words are raw bytes, tokens are in GPT-2's byte alphabet
  bool byte_fallback = false;  // unknown characters become <0xXX> tokens
  bool ignore_merges = false;  // a word that is a token is that token
  bool fuse_unk = false;
  std::optional<std::string> unk_token;
  std::string continuing_subword_prefix;
  std::string end_of_word_suffix;
};

class Bpe {
 public:
  using Pair = std::pair<std::string, std::string>;

  // `vocab` must outlive the result.
  static Result<Bpe> FromMerges(const Vocab& vocab, const std::vector<Pair>& merges,
                                BpeOptions options);

  // Any two tokens merge when their concatenation is a token; rank_of_id[id] (lower first, ties
  // go left) orders the merges. `spelling[id]` are the bytes of a token, empty for one that takes
  // no part. Characters that are no token use `byte_tokens` (256 ids), or single bytes when
  // `options.byte_level`.
  static Result<Bpe> FromRanks(const Vocab& vocab, const std::vector<std::string>& spelling,
                               const std::vector<uint32_t>& rank_of_id,
                               const std::vector<int32_t>& byte_tokens, BpeOptions options);

  // Buffers and recent words of one Encode call; not shared between threads.
  class Scratch {
   public:
    explicit Scratch(size_t text_bytes);

   private:
    friend class Bpe;
    struct Symbol {
      int32_t id = -1;
      int32_t prev = -1;
      int32_t next = -1;
    };
    struct Cached {
      std::string_view word;
      uint32_t begin = 0;
      uint32_t count = 0;
    };
    std::vector<Symbol> symbols_;
    std::vector<int32_t> ids_;
    std::vector<uint32_t> ranks_;
    std::vector<Cached> cache_;
    std::vector<int32_t> cached_ids_;
  };

  // Appends the ids of `word`, whose bytes stay in place while the scratch lives.
  Status EncodeWord(std::string_view word, Scratch* scratch, std::vector<int32_t>* out) const;

 private:
  Status Initialise(const Vocab& vocab, BpeOptions options);
  Status EncodeUncached(std::string_view word, Scratch* scratch, std::vector<int32_t>* out) const;
  // Encodes a long word piece by piece, cutting where no merge can ever join two characters.
  Status EncodeInPieces(std::string_view word, Scratch* scratch, std::vector<int32_t>* out) const;
  Status EncodeCached(std::string_view word, Scratch* scratch, std::vector<int32_t>* out) const;
  void FindJoinable(const std::vector<std::pair<int32_t, int32_t>>& merges);
  int32_t CharId(char32_t c) const {
    if (c < direct_char_ids_.size()) return direct_char_ids_[c];
    const auto it = char_ids_.find(c);
    return it == char_ids_.end() ? -1 : it->second;
  }
  void InitialSymbols(std::string_view word, std::vector<int32_t>* ids) const;
  void MergeShort(Scratch* scratch, std::vector<int32_t>* out) const;
  void MergeLong(Scratch* scratch, std::vector<int32_t>* out) const;

  BpeOptions options_;
  MergeTable merges_;
  int32_t byte_ids_[256];      // byte_level: token of each byte, -1 where the vocabulary has none
  int32_t fallback_ids_[256];  // byte_fallback: <0xXX>
  std::optional<int32_t> unk_;
  std::unordered_map<char32_t, int32_t> char_ids_;
  std::vector<int32_t> direct_char_ids_;  // the same for low code points
  // Pairs of character ids that stand side by side inside some merge; empty when pieces must not
  // be cut. Only membership counts.
  MergeTable joinable_;
  bool can_cut_ = false;
  const Vocab* vocab_ = nullptr;
  // Words that are tokens, for ignore_merges: spelled in raw bytes.
  std::unordered_map<std::string, int32_t> whole_words_;
};

}  // namespace tessera::text
