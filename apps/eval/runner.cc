#include "apps/eval/runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "apps/eval/encode.h"
#include "apps/eval/errors.h"
#include "apps/eval/fingerprint.h"
#include "apps/eval/own_text.h"
#include "apps/eval/text.h"

namespace tessera::eval {
namespace {

using Clock = std::chrono::steady_clock;

double Ratio(double a, double b) { return b == 0 ? 0 : a / b; }

// Text of the tokens at the holes of an infilled reply, a line each.
std::string FilledParts(const api::Model& model, const std::vector<api::TokenId>& prompt,
                        const std::vector<api::TokenId>& canvas) {
  const api::TokenId mask = model.info().mask_id;
  Strings parts;
  for (size_t i = 0; i < std::min(prompt.size(), canvas.size()); ++i) {
    if (prompt[i] != mask) continue;
    std::vector<api::TokenId> ids;
    for (; i < prompt.size() && prompt[i] == mask; ++i) ids.push_back(canvas[i]);
    parts.emplace_back(Strip(model.Decode(ids)));
  }
  return fmt::format("{}", fmt::join(parts, "\n"));
}

// Gives every request the reference it aims at: what one token per step makes of it.
Status AimAtOwnText(api::Model& model, const RunOptions& options,
                    std::vector<api::GenerateRequest>* requests) {
  for (api::GenerateRequest& request : *requests) request.strategy = OneByOne(options.strategy);
  const std::vector<Result<api::GenerateResult>> results =
      model.GenerateBatch(*requests, options.batch);
  const api::TokenId mask = model.info().mask_id;
  for (size_t i = 0; i < requests->size(); ++i) {
    if (!results[i].ok()) return results[i].status();
    if (results[i]->finish_reason == "cancelled") {
      return Status(StatusCode::kCancelled, "interrupted");
    }
    api::GenerateRequest& request = (*requests)[i];
    const auto hole = std::find(request.ids.begin(), request.ids.end(), mask);
    request.strategy = AimingAt(options.strategy, results[i]->canvas,
                                static_cast<size_t>(hole - request.ids.begin()), mask);
  }
  return OkStatus();
}

}  // namespace

Interval Measurement::accuracy_interval() const {
  const double n = static_cast<double>(graded);
  return partial_scores ? MeanInterval(score, score_squares, n) : Wilson(score, n);
}

double Measurement::tokens_per_forward() const {
  return Ratio(static_cast<double>(tokens), static_cast<double>(forwards()));
}

double Measurement::forwards_per_case() const {
  return Ratio(static_cast<double>(forwards()), static_cast<double>(cases));
}

double Measurement::tokens_per_second() const {
  return Ratio(static_cast<double>(tokens), seconds);
}

double Measurement::rows_per_token() const {
  return Ratio(static_cast<double>(rows - probes), static_cast<double>(tokens));
}

double Measurement::drift() const { return Ratio(drift_sum, static_cast<double>(drift_forwards)); }

double Measurement::nats_per_token() const { return Ratio(nll, static_cast<double>(nll_tokens)); }

Interval Measurement::nats_interval() const {
  const double n = static_cast<double>(cases), mean = nats_per_token();
  if (cases < 2) return {.low = 0, .high = INFINITY};
  // Residuals N_i - m T_i of nats N_i and tokens T_i of case i.
  const double residuals = nll_squares - 2 * mean * nll_by_tokens + mean * mean * tokens_squares;
  const double error =
      std::sqrt(std::max(0.0, residuals) * n / (n - 1)) / static_cast<double>(nll_tokens);
  return {.low = std::max(0.0, mean - 1.959963984540054 * error),
          .high = mean + 1.959963984540054 * error};
}

void Measurement::Add(const Measurement& other) {
  cases += other.cases, graded += other.graded;
  score += other.score, score_squares += other.score_squares, strict += other.strict;
  partial_scores = partial_scores || other.partial_scores;
  tokens += other.tokens;
  full += other.full, window += other.window, finalise += other.finalise;
  rows += other.rows, drafted += other.drafted, accepted += other.accepted;
  reused += other.reused, probes += other.probes, revisions += other.revisions;
  drift_forwards += other.drift_forwards, drift_sum += other.drift_sum;
  seconds += other.seconds;
  nll_tokens += other.nll_tokens, nll += other.nll, nll_squares += other.nll_squares;
  nll_by_tokens += other.nll_by_tokens, tokens_squares += other.tokens_squares;
}

Result<Measurement> RunCases(api::Model& model, std::span<const Case> cases,
                             const RunOptions& options) {
  std::vector<api::GenerateRequest> requests(cases.size());
  for (size_t i = 0; i < cases.size(); ++i) {
    api::GenerateRequest& request = requests[i];
    TESSERA_ASSIGN_OR_RETURN(request.ids, EncodeCase(model, cases[i]));
    request.strategy = options.strategy;
    request.sampling = options.sampling;
    request.sampling.seed = Fingerprint().Add(options.sampling.seed).Add(i).value();
    request.max_new_tokens =
        cases[i].parts.empty()
            ? RoomFor(model, cases[i].answer, static_cast<int64_t>(request.ids.size()),
                      options.max_tokens)
            : 0;
    request.on_step = [&options](const api::StepView&) {
      return options.keep_going == nullptr || options.keep_going();
    };
  }
  if (AimsAtOwnText(options.strategy)) {
    TESSERA_RETURN_IF_ERROR(AimAtOwnText(model, options, &requests));
  }
  if (options.on_request) {
    for (size_t i = 0; i < cases.size(); ++i) options.on_request(i, &requests[i]);
  }
  const Clock::time_point begin = Clock::now();
  const std::vector<Result<api::GenerateResult>> results =
      model.GenerateBatch(requests, options.batch);
  Measurement sum;
  sum.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  for (size_t i = 0; i < cases.size(); ++i) {
    if (!results[i].ok()) {
      return results[i].status().WithContext(fmt::format("{}, case {}", cases[i].task, i));
    }
    const api::GenerateResult& result = *results[i];
    if (result.finish_reason == "cancelled") return Status(StatusCode::kCancelled, "interrupted");
    const api::GenerateMetrics& m = result.metrics;
    const bool infill = !cases[i].parts.empty();
    const auto holes =
        std::count(requests[i].ids.begin(), requests[i].ids.end(), model.info().mask_id);
    sum.tokens += m.output_tokens + (infill ? holes : 0);
    sum.full += m.full_forwards, sum.window += m.window_forwards;
    sum.finalise += m.finalise_forwards;
    sum.rows += m.rows, sum.drafted += m.drafted, sum.accepted += m.accepted;
    sum.reused += m.reused_rows, sum.probes += m.probe_rows;
    sum.revisions += m.edited + m.remasked;
    sum.drift_forwards += m.drift_forwards;
    sum.drift_sum += m.drift_mean * static_cast<double>(m.drift_forwards);
    ++sum.cases;
    Outcome outcome{.c = &cases[i], .result = &result, .output = result.text, .verdict = {}};
    if (infill) outcome.output = FilledParts(model, requests[i].ids, result.canvas);
    if (const auto verdict = Grade(outcome.output, cases[i])) {
      outcome.verdict = *verdict;
      ++sum.graded;
      sum.score += verdict->score, sum.strict += verdict->strict;
      sum.score_squares += verdict->score * verdict->score;
      sum.partial_scores = sum.partial_scores || HasPartialScores(cases[i].grader);
    }
    if (options.on_outcome) options.on_outcome(outcome);
  }
  return sum;
}

}  // namespace tessera::eval
