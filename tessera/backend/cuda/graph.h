// Launches recorded once as a CUDA graph, which one call then starts again. Free of CUDA types.
#pragma once

#include <utility>

#include "tessera/base/function_ref.h"
#include "tessera/base/status.h"

struct CUgraphExec_st;
struct CUstream_st;

namespace tessera::cuda {

class Graph {
 public:
  Graph() = default;
  // Records what `launch` enqueues on `stream`, which nothing runs of. It may neither wait nor
  // allocate, and its kernels must have run before, so that they are loaded. The stream is usable
  // afterwards whatever happens.
  static Result<Graph> Record(CUstream_st* stream, FunctionRef<Status()> launch);
  Graph(Graph&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  Graph& operator=(Graph&& other) noexcept {
    std::swap(graph_, other.graph_);
    return *this;
  }
  ~Graph();

  explicit operator bool() const { return graph_ != nullptr; }
  Status Launch(CUstream_st* stream) const;

 private:
  CUgraphExec_st* graph_ = nullptr;
};

}  // namespace tessera::cuda
