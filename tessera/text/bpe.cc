#include "tessera/text/bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

#include "tessera/text/byte_level.h"
#include "tessera/text/unicode.h"

namespace tessera::text {
namespace {

constexpr size_t kShortWord = 48;        // below this a linear scan beats the heap
constexpr size_t kCacheSlots = 1 << 14;  // per Encode call
constexpr size_t kCacheMinText = 2048;   // shorter texts do not repay the cache
constexpr size_t kMaxCachedWord = 64;
constexpr size_t kMaxWord = size_t{1} << 30;
constexpr char32_t kDirectChars = 0x3000;

size_t HashBytes(std::string_view s) {
  uint64_t h = 0x243F6A8885A308D3u ^ s.size();
  for (size_t i = 0; i < s.size(); i += 8) {
    uint64_t chunk = 0;
    __builtin_memcpy(&chunk, s.data() + i, std::min<size_t>(8, s.size() - i));
    h = (h ^ chunk) * 0x9E3779B97F4A7C15u;
    h ^= h >> 32;
  }
  return static_cast<size_t>(h);
}

}  // namespace

void MergeTable::Reserve(size_t count) {
  const size_t slots = std::bit_ceil(std::max<size_t>(count * 2, 2));
  if (slots > slots_.size()) Grow(slots);
}

void MergeTable::Grow(size_t slots) {
  std::vector<Slot> old(slots);
  old.swap(slots_);
  mask_ = slots - 1;
  for (const Slot& slot : old) {
    if (slot.key == kEmpty) continue;
    size_t i = Hash(slot.key) & mask_;
    while (slots_[i].key != kEmpty) i = (i + 1) & mask_;
    slots_[i] = slot;
  }
}

void MergeTable::Set(int32_t left, int32_t right, Merge merge) {
  if ((count_ + 1) * 2 > slots_.size()) Grow(slots_.size() * 2);
  const uint64_t key = Key(left, right);
  size_t i = Hash(key) & mask_;
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask_;
  if (slots_[i].key == kEmpty) ++count_;
  slots_[i] = {key, merge};
}

Bpe::Scratch::Scratch(size_t text_bytes) {
  if (text_bytes >= kCacheMinText) cache_.resize(kCacheSlots);
}

Status Bpe::Initialise(const Vocab& vocab, BpeOptions options) {
  options_ = std::move(options);
  vocab_ = &vocab;
  for (int b = 0; b < 256; ++b) {
    std::string spelled;
    AppendUtf8(ByteToChar(static_cast<uint8_t>(b)), &spelled);
    byte_ids_[b] = vocab.Find(spelled).value_or(-1);
    fallback_ids_[b] = vocab.Find(fmt::format("<0x{:02X}>", b)).value_or(-1);
  }
  if (options_.unk_token) {
    unk_ = vocab.Find(*options_.unk_token);
    if (!unk_) return DataLoss("unk_token '{}' is not in the vocabulary", *options_.unk_token);
  }
  for (int32_t id = 0; id < vocab.size(); ++id) {
    const std::string* token = vocab.Token(id);
    if (token == nullptr || token->empty()) continue;
    if (!options_.byte_level &&
        token->size() == Utf8CharLength(static_cast<unsigned char>((*token)[0])) &&
        !FindInvalidUtf8(*token)) {
      size_t pos = 0;
      char_ids_.emplace(NextChar(*token, &pos), id);
    }
    if (options_.ignore_merges) {
      if (options_.byte_level) {
        if (auto bytes = FromByteLevel(*token)) whole_words_.emplace(*std::move(bytes), id);
      } else {
        whole_words_.emplace(*token, id);
      }
    }
  }
  return OkStatus();
}

Result<Bpe> Bpe::FromMerges(const Vocab& vocab, const std::vector<Pair>& merges,
                            BpeOptions options) {
  Bpe bpe;
  TESSERA_RETURN_IF_ERROR(bpe.Initialise(vocab, std::move(options)));
  bpe.merges_.Reserve(merges.size());
  const std::string_view prefix = bpe.options_.continuing_subword_prefix;
  std::string joined;
  std::vector<std::pair<int32_t, int32_t>> pairs;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    joined = left;
    joined += std::string_view(right).starts_with(prefix)
                  ? std::string_view(right).substr(prefix.size())
                  : std::string_view(right);
    const auto a = vocab.Find(left), b = vocab.Find(right), product = vocab.Find(joined);
    if (!a || !b || !product) {
      return DataLoss("merge {} ('{}' + '{}') names '{}', which is not in the vocabulary", rank,
                      left.substr(0, 60), right.substr(0, 60),
                      (!a   ? left
                       : !b ? right
                            : joined)
                          .substr(0, 120));
    }
    bpe.merges_.Set(*a, *b, {static_cast<uint32_t>(rank), *product});
    pairs.emplace_back(*a, *b);
  }
  bpe.FindJoinable(pairs);
  return bpe;
}

Result<Bpe> Bpe::FromRanks(const Vocab& vocab, const std::vector<std::string>& spelling,
                           const std::vector<uint32_t>& rank_of_id,
                           const std::vector<int32_t>& byte_tokens, BpeOptions options) {
  Bpe bpe;
  TESSERA_RETURN_IF_ERROR(bpe.Initialise(vocab, std::move(options)));
  std::unordered_map<std::string_view, int32_t> by_spelling;
  by_spelling.reserve(spelling.size() * 2);
  for (size_t id = 0; id < spelling.size(); ++id) {
    if (!spelling[id].empty()) by_spelling.emplace(spelling[id], static_cast<int32_t>(id));
  }
  if (bpe.options_.byte_level) {
    for (int b = 0; b < 256; ++b) {
      const char byte = static_cast<char>(b);
      const auto it = by_spelling.find(std::string_view(&byte, 1));
      bpe.byte_ids_[b] = it == by_spelling.end() ? -1 : it->second;
    }
  } else {
    bpe.char_ids_.clear();
    for (const auto& [text, id] : by_spelling) {
      if (text.size() != Utf8CharLength(static_cast<unsigned char>(text[0]))) continue;
      if (FindInvalidUtf8(text)) continue;
      size_t pos = 0;
      bpe.char_ids_.emplace(NextChar(text, &pos), id);
    }
    std::copy_n(byte_tokens.begin(), std::min<size_t>(256, byte_tokens.size()), bpe.fallback_ids_);
  }
  size_t work = 0;
  std::vector<std::pair<int32_t, int32_t>> pairs;
  for (const auto& [text, id] : by_spelling) {
    work += text.size();
    if (text.size() > 4096 || work > (size_t{1} << 26)) {
      return ResourceExhausted("vocabulary holds tokens too long to merge ('{}...')",
                               text.substr(0, 40));
    }
    for (size_t cut = 1; cut < text.size(); ++cut) {
      const auto left = by_spelling.find(text.substr(0, cut));
      if (left == by_spelling.end()) continue;
      const auto right = by_spelling.find(text.substr(cut));
      if (right == by_spelling.end()) continue;
      bpe.merges_.Set(left->second, right->second, {rank_of_id[static_cast<size_t>(id)], id});
      pairs.emplace_back(left->second, right->second);
    }
  }
  if (bpe.options_.ignore_merges) {
    bpe.whole_words_.clear();
    for (const auto& [text, id] : by_spelling) bpe.whole_words_.emplace(std::string(text), id);
  }
  bpe.FindJoinable(pairs);
  return bpe;
}

// A character-level word without pre-tokeniser may be a whole book (Llama-2). Two neighbours that
// no merge ever joins can be encoded apart with the same result, which makes the pieces short and
// lets the cache work.
void Bpe::FindJoinable(const std::vector<std::pair<int32_t, int32_t>>& merges) {
  direct_char_ids_.assign(kDirectChars, -1);
  for (const auto& [c, id] : char_ids_) {
    if (c < kDirectChars) direct_char_ids_[c] = id;
  }
  can_cut_ = !options_.byte_level && !options_.ignore_merges &&
             options_.continuing_subword_prefix.empty() && options_.end_of_word_suffix.empty();
  const auto special = [&](int32_t id) {
    return (unk_ && id == *unk_) ||
           (options_.byte_fallback && std::find(std::begin(fallback_ids_), std::end(fallback_ids_),
                                                id) != std::end(fallback_ids_));
  };
  for (const auto& [left, right] : merges) {
    if (!can_cut_) return;
    const std::string& a = *vocab_->Token(left);
    const std::string& b = *vocab_->Token(right);
    // Tokens that enter a word other than by their characters would make the rule unsound.
    if (special(left) || special(right) || a.empty() || b.empty() || FindInvalidUtf8(a) ||
        FindInvalidUtf8(b)) {
      can_cut_ = false;
      return;
    }
    size_t pos = 0;
    const int32_t last = CharId(CharBefore(a, a.size())), first = CharId(NextChar(b, &pos));
    if (last >= 0 && first >= 0) joinable_.Set(last, first, {0, 0});
  }
}

Status Bpe::EncodeWord(std::string_view word, Scratch* scratch, std::vector<int32_t>* out) const {
  if (can_cut_ && word.size() > kMaxCachedWord) return EncodeInPieces(word, scratch, out);
  return EncodeCached(word, scratch, out);
}

Status Bpe::EncodeInPieces(std::string_view word, Scratch* scratch,
                           std::vector<int32_t>* out) const {
  size_t begin = 0;
  int32_t previous = -1;
  for (size_t pos = 0; pos < word.size();) {
    const size_t at = pos;
    const int32_t id = CharId(NextChar(word, &pos));
    if (previous >= 0 && id >= 0 && joinable_.Find(previous, id).id < 0) {
      TESSERA_RETURN_IF_ERROR(EncodeCached(word.substr(begin, at - begin), scratch, out));
      begin = at;
    }
    previous = id;
  }
  return EncodeCached(word.substr(begin), scratch, out);
}

Status Bpe::EncodeCached(std::string_view word, Scratch* scratch, std::vector<int32_t>* out) const {
  if (word.empty()) return OkStatus();
  if (scratch->cache_.empty() || word.size() > kMaxCachedWord) {
    return EncodeUncached(word, scratch, out);
  }
  auto& slot = scratch->cache_[HashBytes(word) & (kCacheSlots - 1)];
  if (slot.word == word) {
    const auto* ids = scratch->cached_ids_.data() + slot.begin;
    out->insert(out->end(), ids, ids + slot.count);
    return OkStatus();
  }
  const size_t begin = out->size();
  TESSERA_RETURN_IF_ERROR(EncodeUncached(word, scratch, out));
  auto& pool = scratch->cached_ids_;
  const size_t count = out->size() - begin;
  if (pool.size() + count > (size_t{1} << 22)) return OkStatus();
  slot = {word, static_cast<uint32_t>(pool.size()), static_cast<uint32_t>(count)};
  pool.insert(pool.end(), out->begin() + static_cast<ptrdiff_t>(begin), out->end());
  return OkStatus();
}

// The first ids of a word: one per byte or character. Follows the reference to the letter, also
// where an unknown character before a byte-fallback character is emitted after it.
void Bpe::InitialSymbols(std::string_view word, std::vector<int32_t>* ids) const {
  int32_t pending_unk = -1;
  const auto unknown = [&] {
    if (!unk_) return;  // dropped
    if (pending_unk >= 0 && !options_.fuse_unk) ids->push_back(pending_unk);
    pending_unk = *unk_;
  };
  const auto known = [&](int32_t id) {
    if (pending_unk >= 0) ids->push_back(pending_unk);
    pending_unk = -1;
    ids->push_back(id);
  };
  if (options_.byte_level) {
    for (char c : word) {
      const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
      if (id >= 0) {
        known(id);
      } else {
        unknown();
      }
    }
  } else {
    const bool affixes =
        !options_.continuing_subword_prefix.empty() || !options_.end_of_word_suffix.empty();
    for (size_t pos = 0; pos < word.size();) {
      const size_t begin = pos;
      const char32_t c = NextChar(word, &pos);
      std::string_view bytes = word.substr(begin, pos - begin);
      std::string spelled;
      std::optional<int32_t> id;
      if (affixes) {
        if (begin > 0) spelled = options_.continuing_subword_prefix;
        spelled += bytes;
        if (pos == word.size()) spelled += options_.end_of_word_suffix;
        bytes = spelled;
        id = vocab_->Find(bytes);
      } else if (const int32_t known_id = CharId(c); known_id >= 0) {
        id = known_id;
      }
      if (id) {
        known(*id);
        continue;
      }
      if (options_.byte_fallback && std::all_of(bytes.begin(), bytes.end(), [&](char b) {
            return fallback_ids_[static_cast<unsigned char>(b)] >= 0;
          })) {
        for (char b : bytes) ids->push_back(fallback_ids_[static_cast<unsigned char>(b)]);
        continue;
      }
      unknown();
    }
  }
  if (pending_unk >= 0) ids->push_back(pending_unk);
}

Status Bpe::EncodeUncached(std::string_view word, Scratch* scratch,
                           std::vector<int32_t>* out) const {
  if (word.size() > kMaxWord) {
    return ResourceExhausted("a word of {} bytes is over the limit of 1 GiB", word.size());
  }
  if (options_.ignore_merges) {
    const auto it = whole_words_.find(std::string(word));
    if (it != whole_words_.end()) {
      out->push_back(it->second);
      return OkStatus();
    }
  }
  auto& ids = scratch->ids_;
  ids.clear();
  InitialSymbols(word, &ids);
  if (ids.size() < 2) {
    out->insert(out->end(), ids.begin(), ids.end());
  } else if (ids.size() <= kShortWord) {
    MergeShort(scratch, out);
  } else {
    MergeLong(scratch, out);
  }
  return OkStatus();
}

void Bpe::MergeShort(Scratch* scratch, std::vector<int32_t>* out) const {
  auto& ids = scratch->ids_;
  size_t n = ids.size();
  MergeTable::Merge merge[kShortWord];  // merge[i] joins i and i+1
  for (size_t i = 0; i + 1 < n; ++i) merge[i] = merges_.Find(ids[i], ids[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i) {
      if (merge[i].rank < merge[best].rank) best = i;
    }
    if (merge[best].rank == UINT32_MAX) break;
    ids[best] = merge[best].id;
    for (size_t i = best + 1; i + 1 < n; ++i) {
      ids[i] = ids[i + 1];
      merge[i] = merge[i + 1];
    }
    --n;
    if (best > 0) merge[best - 1] = merges_.Find(ids[best - 1], ids[best]);
    if (best + 1 < n) merge[best] = merges_.Find(ids[best], ids[best + 1]);
  }
  out->insert(out->end(), ids.begin(), ids.begin() + static_cast<ptrdiff_t>(n));
}

void Bpe::MergeLong(Scratch* scratch, std::vector<int32_t>* out) const {
  struct Candidate {
    uint32_t rank;
    int32_t position;
    int32_t id;
    bool operator<(const Candidate& other) const {  // the queue's top is the lowest rank, leftmost
      return rank != other.rank ? rank > other.rank : position > other.position;
    }
  };
  auto& symbols = scratch->symbols_;
  const auto& ids = scratch->ids_;
  const auto n = static_cast<int32_t>(ids.size());
  symbols.resize(ids.size());
  std::vector<Candidate> heap;
  heap.reserve(ids.size());
  for (int32_t i = 0; i < n; ++i) {
    symbols[i] = {ids[i], i - 1, i + 1 < n ? i + 1 : -1};
    if (i + 1 == n) break;
    const auto merge = merges_.Find(ids[i], ids[i + 1]);
    if (merge.id >= 0) heap.push_back({merge.rank, i, merge.id});
  }
  std::priority_queue<Candidate> queue(std::less<Candidate>{}, std::move(heap));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    auto& left = symbols[top.position];
    if (left.id < 0 || left.next < 0) continue;
    auto& right = symbols[left.next];
    if (merges_.Find(left.id, right.id).id != top.id) continue;  // stale
    left.id = top.id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[left.next].prev = top.position;
    if (left.prev >= 0) {
      const auto merge = merges_.Find(symbols[left.prev].id, left.id);
      if (merge.id >= 0) queue.push({merge.rank, left.prev, merge.id});
    }
    if (left.next >= 0) {
      const auto merge = merges_.Find(left.id, symbols[left.next].id);
      if (merge.id >= 0) queue.push({merge.rank, top.position, merge.id});
    }
  }
  for (int32_t i = 0; i >= 0; i = symbols[i].next) out->push_back(symbols[i].id);
}

}  // namespace tessera::text
