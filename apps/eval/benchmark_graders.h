// Graders of public benchmarks: ParallelBench (arXiv 2510.04767), restated from
// docs/evaluation.md, and GSM8K's final number. Each takes what CheckGrader has accepted.
#pragma once

#include <optional>
#include <string_view>

#include "apps/eval/case.h"
#include "apps/eval/graders.h"

namespace tessera::eval {

// ParallelBench's lists. Lenient: what stands after the last '[' up to the next ']', cut at commas,
// quotes and blanks around items dropped, empty items too. Strict: the whole trimmed text is
// ["a", "b"] with exactly ", " between double-quoted items without inner quotes.
Strings ParseLenientList(std::string_view text);
std::optional<Strings> ParseStrictList(std::string_view text);

Verdict GradePbList(std::string_view output, const Case& c);  // equals the answer's list
Verdict GradePbShuffle(std::string_view output, const Case& c);
Verdict GradePbInsert(std::string_view output, const Case& c);
Verdict GradePbRemove(std::string_view output, const Case& c);
Verdict GradePbReplace(std::string_view output, const Case& c);
// The first four lines whose symbols are the given ones form a Latin square; strict: nothing else
// is there.
Verdict GradePbLatin(std::string_view output, const Case& c);
// The grid, digit by digit; blanks and commas between digits count only in strict.
Verdict GradePbGrid(std::string_view output, const Case& c);
// Every word occurs, whatever its case; strict: as written. The grammar, which the benchmark checks
// with a Java server, is not looked at.
Verdict GradePbWords(std::string_view output, const Case& c);
// F-measure of the longest common subsequence of lower-case words (ROUGE-L, without stemming).
Verdict GradeRougeL(std::string_view output, const Case& c);
// The number after the last "####", or else the last number of the text, equals the answer's;
// strict: only the former. Commas, "$", "%" and zeros without meaning do not count.
Verdict GradeGsm8k(std::string_view output, const Case& c);

// The final number of a GSM8K text in canonical form ("1234.5"); nothing when it has none.
// `marked`: only after "####".
std::optional<std::string> FinalNumber(std::string_view text, bool marked);
double RougeL(std::string_view candidate, std::string_view reference);

}  // namespace tessera::eval
