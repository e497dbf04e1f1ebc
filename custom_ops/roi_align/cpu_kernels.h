// RoIAlign and RoIPool on the CPU, forward and backward, without TensorFlow.

#ifndef KERAS_MASKRCNN_ROI_ALIGN_CPU_KERNELS_H_
#define KERAS_MASKRCNN_ROI_ALIGN_CPU_KERNELS_H_

#include <cstdint>
#include <functional>

#include "channel_loops.h"
#include "geometry.h"

namespace roi {

// Runs task(begin, end) over parts of 0..count-1, each `block` long, on whatever threads there are.
using ParallelFor = std::function<void(int64_t count, int64_t block,
                                       const std::function<void(int64_t, int64_t)>& task)>;

enum InstructionSet { kBaseline = 0, kAvx2 = 1, kAvx512 = 2 };

// The best set that this processor has and this binary was built with.
InstructionSet BestInstructionSet();

// Pools (batch, regions) boxes from one map a level into `output`.
template <typename T>
void Forward(const Problem& problem, const T* const* features, const float* boxes, T* output,
             const ParallelFor& parallel_for, InstructionSet instructions = BestInstructionSet());

// The gradients of the features where the output's is `upstream`. Each cell's gradient is added up
// by one thread in the order of the boxes, so that the number of threads changes nothing.
template <typename T>
void Backward(const Problem& problem, const T* const* features, const float* boxes,
              const T* upstream, T* const* gradients, const ParallelFor& parallel_for,
              InstructionSet instructions = BestInstructionSet());

}  // namespace roi

#endif  // KERAS_MASKRCNN_ROI_ALIGN_CPU_KERNELS_H_
