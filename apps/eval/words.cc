#include "apps/eval/words.h"

#include <algorithm>

namespace tessera::eval {

// CRC-32 as zlib computes it (polynomial 0xEDB88320, reflected).
bool IsHeldOut(std::string_view item) {
  uint32_t crc = 0xFFFFFFFF;
  for (const char c : Lower(item)) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xEDB88320u : 0u);
  }
  return (crc ^ 0xFFFFFFFF) % 8 == 0;
}

const Strings& FirstNames() {
  static const Strings names = Words(
      "Ada Bella Bianca Bob Colin Dana Daria Dennis Dina George Greta Hana Hazel Heidi Ida Igor "
      "Isaac Jack Jade James Jun Kim Leah Lucy Mabel Marie Mila Mona Pablo Penny Rachel Ramon Ravi "
      "Rita Rob Ruth Sam Todd Tora Walt");
  return names;
}

const Strings& LastNames() {
  static const Strings names = Words(
      "Berg Bishop Black Bryant Campbell Chan Clark Cohen Cole Conway Costa Day Duncan Evans "
      "Fields Fisher Harris James Johnson Kim Klein Knight Li Logan Long Martin Morgan Murphy "
      "Nguyen Novak Owens Page Powell Reyes Rowe Russell Vargas Ziegler");
  return names;
}

const Strings& PlainWords() {
  static const Strings words = Words(
      "apple cherry orange pomegranate quince beet broccoli eggplant radish cat crow donkey goat "
      "horse monkey penguin pigeon seal snail black crimson ivory lilac bacon butter sandwich "
      "toast tofu Helsinki Manila Melbourne Naples Tokyo Warsaw Brazil Canada Colombia Denmark "
      "Spain blanket dish drum envelope eraser fence knife purse shirt stamp tent author butcher "
      "fisher miner painter waiter Friday October");
  return words;
}

Strings DrawNames(CaseRng* rng, size_t count) {
  const auto pick = [&](const Strings& from) { return from[rng->Below(from.size())]; };
  Strings names;
  while (names.size() < count) {
    const std::string first = pick(FirstNames());
    const std::string name = first + " " + pick(LastNames());
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

Strings DrawWords(CaseRng* rng, size_t count) {
  Strings words = PlainWords();
  rng->Shuffle(&words);
  words.resize(std::min(count, words.size()));
  return words;
}

}  // namespace tessera::eval
