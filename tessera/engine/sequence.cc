#include "tessera/engine/sequence.h"

#include <algorithm>
#include <cmath>

namespace tessera::engine {
namespace {

// Steps in a row that may neither commit, revise nor store anything. Every rule commits in every
// step but its last look at a window, so a second one is already a bug; the margin costs nothing.
constexpr int32_t kMaxIdleSteps = 4;

}  // namespace

Result<std::unique_ptr<Sequence>> Sequence::Create(int64_t id, Request request,
                                                   const ops::ModelTraits& traits,
                                                   kv::PagePool& pool) {
  std::unique_ptr<Sequence> sequence(new Sequence(id, std::move(request), traits, pool));
  const Request& wanted = sequence->request_;
  sequence->prompt_length_ = static_cast<int32_t>(wanted.prompt.size());
  if (wanted.max_new_tokens < 0) {
    return InvalidArgument("new tokens: got {}, accepted: 0 or more", wanted.max_new_tokens);
  }
  for (const TokenId token : wanted.prompt) {
    if (token < 0 || token >= traits.vocab_size) {
      return InvalidArgument("prompt token {} is outside the model's vocabulary of {}", token,
                             traits.vocab_size);
    }
  }
  const int64_t needed = static_cast<int64_t>(wanted.prompt.size()) + wanted.max_new_tokens;
  if (needed > traits.max_positions) {
    return InvalidArgument(
        "{} prompt tokens and {} new tokens do not fit the model's context of {}; accepted: at "
        "most "
        "{} new tokens",
        wanted.prompt.size(), wanted.max_new_tokens, traits.max_positions,
        std::max<int64_t>(0, traits.max_positions - static_cast<int64_t>(wanted.prompt.size())));
  }
  TESSERA_ASSIGN_OR_RETURN(
      const int32_t length,
      wanted.strategy->BeginCanvas(sequence->prompt_length_, wanted.max_new_tokens));
  if (length > traits.max_positions) {
    return InvalidArgument(
        "the canvas of {} positions (whole blocks) exceeds the model's context of {}; ask for "
        "fewer "
        "new tokens",
        length, traits.max_positions);
  }
  sequence->output_end_ = static_cast<int32_t>(needed);
  sequence->canvas_ = wanted.prompt;
  sequence->canvas_.resize(static_cast<size_t>(length), traits.mask_id);
  for (int32_t position = 0; position < length; ++position) {
    const bool given =
        position < sequence->prompt_length_ &&
        (traits.mask_id < 0 || sequence->canvas_[static_cast<size_t>(position)] != traits.mask_id);
    sequence->committed_.push_back(given);
    sequence->undecided_ += !given;
  }
  sequence->confidence_.assign(static_cast<size_t>(length), 0);
  sequence->given_ = sequence->committed_;
  sequence->revisions_.assign(static_cast<size_t>(length), 0);
  sequence->completion_.metrics.prompt_tokens = sequence->prompt_length_;
  sequence->UpdateFinalEnd(decode::kAllFinal);
  // Nothing to decide: an empty request is complete, not an error.
  const bool grows = traits.mask_id < 0 || traits.attention == ops::AttentionKind::kCausal;
  if (sequence->undecided_ == 0 && (!grows || wanted.max_new_tokens == 0)) {
    sequence->Finish(FinishReason::kLength);
  }
  return sequence;
}

decode::SequenceView Sequence::View() const {
  return {.tokens = canvas_,
          .committed = &committed_,
          .confidence = confidence_,
          .prompt_length = prompt_length_,
          .output_end = output_end_,
          .step = step_,
          .seed = request_.seed};
}

// A plan is data from a policy that anybody may add: hold it to its contract before it reaches
// kernels that trust their arguments.
Status Sequence::CheckPlan() const {
  const size_t rows = plan_.tokens.size();
  if (rows == 0 || plan_.positions.size() != rows || plan_.slots.size() != rows) {
    return Internal("plan of {} tokens, {} positions, {} slots", rows, plan_.positions.size(),
                    plan_.slots.size());
  }
  if (plan_.sampling == nullptr) return Internal("plan without a sampling spec");
  const bool joint = plan_.keep_hidden || plan_.kind == decode::ForwardKind::kJoint;
  if (joint && !traits_.joint_layer) return Internal("plan for a joint layer that is not there");
  for (size_t i = 0; i < rows; ++i) {
    if (plan_.tokens[i] < 0 || plan_.tokens[i] >= traits_.vocab_size || plan_.positions[i] < 0 ||
        plan_.positions[i] >= traits_.max_positions || plan_.slots[i] < 0) {
      return Internal("plan row {}: token {}, position {}, slot {}", i, plan_.tokens[i],
                      plan_.positions[i], plan_.slots[i]);
    }
  }
  int32_t covered = 0;
  for (const decode::PlanGroup& group : plan_.groups) {
    if (group.row_begin != covered || group.row_end <= group.row_begin) {
      return Internal("plan groups do not cover the rows in order");
    }
    covered = group.row_end;
    int32_t previous = 0;
    for (const decode::SlotRange& range : group.keys) {
      if (range.begin < previous || range.end < range.begin) {
        return Internal("plan keys are not ascending");
      }
      previous = range.end;
    }
  }
  if (covered != plan_.rows()) return Internal("plan groups cover {} of {} rows", covered, rows);
  for (const decode::OutRow& out : plan_.out) {
    if (out.row < 0 || out.row >= plan_.rows() || out.guidance_row >= plan_.rows()) {
      return Internal("plan reads row {} of {}", out.row, rows);
    }
  }
  return OkStatus();
}

Status Sequence::PlanStep(const decode::StepBudget& budget) {
  TESSERA_ASSIGN_OR_RETURN(plan_, request_.strategy->Plan(View(), budget));
  TESSERA_RETURN_IF_ERROR(CheckPlan());
  int32_t slots = *std::max_element(plan_.slots.begin(), plan_.slots.end()) + 1;
  for (const decode::PlanGroup& group : plan_.groups) {
    if (!group.keys.empty()) slots = std::max(slots, group.keys.back().end);
  }
  return pages_.Reserve(slots);
}

Status Sequence::CheckStats(std::span<const ops::RowStats> stats) const {
  for (size_t i = 0; i < stats.size(); ++i) {
    if (std::isfinite(stats[i].lse) && std::isfinite(stats[i].p_sampled) && stats[i].sampled >= 0) {
      continue;
    }
    return Internal(
        "the model's logits for position {} are not finite; the weights or the dtype are at fault",
        plan_.out[i].position);
  }
  return OkStatus();
}

Status Sequence::Place(const decode::Placement& placement) {
  const int32_t position = placement.position;
  if (placement.token < 0 || placement.token >= traits_.vocab_size) {
    return Internal("the strategy commits token {} outside the vocabulary", placement.token);
  }
  if (position == static_cast<int32_t>(canvas_.size())) {
    canvas_.push_back(placement.token);
    committed_.push_back(true);
    confidence_.push_back(placement.confidence);
    given_.push_back(false);
    revisions_.push_back(0);
    return OkStatus();
  }
  if (position < 0 || position > static_cast<int32_t>(canvas_.size()) ||
      committed_[static_cast<size_t>(position)]) {
    return Internal("the strategy commits position {} twice or outside the canvas", position);
  }
  canvas_[static_cast<size_t>(position)] = placement.token;
  committed_[static_cast<size_t>(position)] = true;
  confidence_[static_cast<size_t>(position)] = placement.confidence;
  --undecided_;
  return OkStatus();
}

Status Sequence::CountRevision(int32_t position) {
  if (position < final_end_ || position >= static_cast<int32_t>(canvas_.size()) ||
      !committed_[static_cast<size_t>(position)] || given_[static_cast<size_t>(position)]) {
    return Internal("the strategy revises position {}, which is undecided, given or final",
                    position);
  }
  if (++revisions_[static_cast<size_t>(position)] > decode::kMaxRevisions) {
    return Internal("the strategy revises position {} more than {} times", position,
                    decode::kMaxRevisions);
  }
  return OkStatus();
}

Status Sequence::Revise() {
  for (const decode::Placement& edit : outcome_.edits) {
    TESSERA_RETURN_IF_ERROR(CountRevision(edit.position));
    if (edit.token < 0 || edit.token >= traits_.vocab_size) {
      return Internal("the strategy writes token {} outside the vocabulary", edit.token);
    }
    canvas_[static_cast<size_t>(edit.position)] = edit.token;
    confidence_[static_cast<size_t>(edit.position)] = edit.confidence;
  }
  if (!outcome_.remasks.empty() && traits_.mask_id < 0) {
    return Internal("the strategy takes tokens back from a model without a mask token");
  }
  for (const int32_t position : outcome_.remasks) {
    TESSERA_RETURN_IF_ERROR(CountRevision(position));
    canvas_[static_cast<size_t>(position)] = traits_.mask_id;
    committed_[static_cast<size_t>(position)] = false;
    confidence_[static_cast<size_t>(position)] = 0;
    ++undecided_;
  }
  return OkStatus();
}

Status Sequence::Truncate(int32_t end) {
  const int32_t length = static_cast<int32_t>(canvas_.size());
  if (end < prompt_length_ || end < final_end_ || end > length) {
    return Internal("the strategy ends a canvas of {} positions, {} of them final, at {}", length,
                    std::max(prompt_length_, final_end_), end);
  }
  for (int32_t position = end; position < length; ++position) {
    undecided_ -= !committed_[static_cast<size_t>(position)];
  }
  canvas_.resize(static_cast<size_t>(end));
  committed_.resize(static_cast<size_t>(end));
  confidence_.resize(static_cast<size_t>(end));
  given_.resize(static_cast<size_t>(end));
  revisions_.resize(static_cast<size_t>(end));
  output_end_ = std::min(output_end_, end);
  completion_.metrics.dropped += length - end;
  return OkStatus();
}

void Sequence::UpdateFinalEnd(int32_t open_from) {
  const auto is_stop = [&](TokenId token) {
    return std::find(request_.stop_ids.begin(), request_.stop_ids.end(), token) !=
           request_.stop_ids.end();
  };
  const int32_t end = std::min(open_from, static_cast<int32_t>(canvas_.size()));
  while (final_end_ < end && committed_[static_cast<size_t>(final_end_)]) {
    if (stop_at_ < 0 && final_end_ >= prompt_length_ &&
        is_stop(canvas_[static_cast<size_t>(final_end_)])) {
      stop_at_ = final_end_;
    }
    ++final_end_;
  }
}

Status Sequence::ApplyStep(std::span<const ops::RowStats> stats, double seconds,
                           int64_t weight_bytes) {
  TESSERA_RETURN_IF_ERROR(CheckStats(stats));
  TESSERA_ASSIGN_OR_RETURN(outcome_, request_.strategy->Commit(View(), plan_, stats));
  // Before the commits: a position that this step decides is not revised in it.
  TESSERA_RETURN_IF_ERROR(Revise());
  for (const decode::Placement& placement : outcome_.commits) {
    // A draft may run past the limit; nothing there is wanted.
    if (placement.position >= output_end_ &&
        placement.position >= static_cast<int32_t>(canvas_.size())) {
      break;
    }
    TESSERA_RETURN_IF_ERROR(Place(placement));
  }
  if (outcome_.canvas_end >= 0) TESSERA_RETURN_IF_ERROR(Truncate(outcome_.canvas_end));
  UpdateFinalEnd(outcome_.open_from);

  Metrics& metrics = completion_.metrics;
  ++metrics.forwards[static_cast<int>(plan_.kind)];
  if (plan_.kind != decode::ForwardKind::kJoint) metrics.rows += plan_.rows();
  metrics.weight_bytes += weight_bytes;
  metrics.reused += plan_.reused;
  metrics.probes += plan_.probes;
  if (outcome_.drift >= 0) {
    ++metrics.drift_steps;
    metrics.drift_sum += static_cast<double>(outcome_.drift);
    metrics.drift_max = std::max(metrics.drift_max, static_cast<double>(outcome_.drift));
  }
  metrics.committed += static_cast<int64_t>(outcome_.commits.size());
  metrics.edited += static_cast<int64_t>(outcome_.edits.size());
  metrics.remasked += static_cast<int64_t>(outcome_.remasks.size());
  metrics.drafted += outcome_.drafted;
  metrics.accepted += outcome_.accepted;
  metrics.seconds = seconds;
  if (step_ == 0) metrics.first_seconds = seconds;

  // Revisions are bounded per position, so a step that only revises is progress.
  const bool idle = outcome_.commits.empty() && outcome_.edits.empty() &&
                    outcome_.remasks.empty() && !outcome_.stored_kv;
  idle_steps_ = idle ? idle_steps_ + 1 : 0;
  if (idle_steps_ >= kMaxIdleSteps) {
    return Internal("the strategy made no progress in {} steps", idle_steps_);
  }
  const int32_t step = step_++;
  if (request_.on_step) {
    const bool go_on = request_.on_step(
        {.step = step,
         .kind = plan_.kind,
         .rows = plan_.rows(),
         .commits = outcome_.commits,
         .edits = outcome_.edits,
         .remasks = outcome_.remasks,
         .canvas = canvas_,
         .committed = &committed_,
         .confidence = confidence_,
         .final_end = stop_at_ >= 0 ? stop_at_ : std::min(final_end_, output_end_)});
    if (!go_on) {
      Finish(FinishReason::kCancelled);
      return OkStatus();
    }
  }
  const bool output_done = final_end_ >= output_end_;
  const bool all_done = undecided_ == 0 && output_done;
  if (stop_at_ >= 0 && stop_at_ < output_end_ && (request_.stop_early || all_done)) {
    Finish(FinishReason::kStop);
  } else if (request_.stop_early ? output_done : all_done) {
    Finish(FinishReason::kLength);
  }
  return OkStatus();
}

void Sequence::Finish(FinishReason reason) {
  finished_ = true;
  completion_.reason = reason;
  const int32_t end =
      stop_at_ >= 0 ? std::min(stop_at_, output_end_) : std::min(final_end_, output_end_);
  if (end > prompt_length_) {
    completion_.output.assign(canvas_.begin() + prompt_length_, canvas_.begin() + end);
    completion_.confidence.assign(confidence_.begin() + prompt_length_, confidence_.begin() + end);
  }
  // The end-of-text token was decided too and counts as work done.
  completion_.metrics.output_tokens =
      std::max(0, end - prompt_length_) + (reason == FinishReason::kStop ? 1 : 0);
  completion_.canvas = canvas_;
  pages_.Truncate(0);
}

void Sequence::Fail(Status status) {
  Finish(FinishReason::kError);
  completion_.status = std::move(status);
}

Completion Sequence::TakeCompletion() { return std::move(completion_); }

}  // namespace tessera::engine
