// The CUDA kernels behind a plain C interface: no TensorFlow, no C++ types of its own library.

#ifndef KERAS_MASKRCNN_ROI_ALIGN_CUDA_KERNELS_H_
#define KERAS_MASKRCNN_ROI_ALIGN_CUDA_KERNELS_H_

#include <stddef.h>

#include "geometry.h"

extern "C" {

// Pools on the GPU. All pointers but `features` itself are of device memory.
//
//   features  one map a level, of `data_type`
//   boxes     float32
//   output    of `data_type`
//   stream    a cudaStream_t
//
// Returns a cudaError_t: 0, or why the launch failed.
int roi_forward_cuda(const roi::Problem* problem, roi::DataType data_type,
                     const void* const* features, const float* boxes, void* output, void* stream);

// Bytes of device memory that `roi_backward_cuda` needs beside its outputs; 0 for none.
size_t roi_backward_cuda_workspace(const roi::Problem* problem, roi::DataType data_type);

// The gradients of the features, one map a level, where the output's is `upstream`. The order of
// the additions, and with it the last digits, differ from run to run.
int roi_backward_cuda(const roi::Problem* problem, roi::DataType data_type,
                      const void* const* features, const float* boxes, const void* upstream,
                      void* const* gradients, void* workspace, void* stream);

}  // extern "C"

#endif  // KERAS_MASKRCNN_ROI_ALIGN_CUDA_KERNELS_H_
