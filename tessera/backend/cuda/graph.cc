#include "tessera/backend/cuda/graph.h"

#include "tessera/backend/cuda/launch.cuh"

namespace tessera::cuda {

Result<Graph> Graph::Record(CUstream_st* stream, FunctionRef<Status()> launch) {
  // Relaxed: kernels set their attributes while they are recorded.
  TESSERA_CUDA_RETURN(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed));
  const Status launched = launch();
  cudaGraph_t recorded = nullptr;
  // Also after a failure: it ends the recording.
  const Status ended = FromCuda(cudaStreamEndCapture(stream, &recorded), "cudaStreamEndCapture");
  Graph graph;
  Status made = launched.ok() ? ended : launched;
  if (made.ok()) {
    made = FromCuda(cudaGraphInstantiate(&graph.graph_, recorded, 0), "cudaGraphInstantiate");
  }
  if (recorded != nullptr) cudaGraphDestroy(recorded);
  TESSERA_RETURN_IF_ERROR(made);
  return graph;
}

Graph::~Graph() {
  if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
}

Status Graph::Launch(CUstream_st* stream) const {
  TESSERA_CUDA_RETURN(cudaGraphLaunch(graph_, stream));
  return OkStatus();
}

}  // namespace tessera::cuda
