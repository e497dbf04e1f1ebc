// RoIAlign and RoIPool on the GPU: a block pools one bin, its threads neighbouring channels.
//
// Without multiply-add, so that the geometry rounds as on the CPU; sums over cells ask for it.
//
//   nvcc -O3 -std=c++17 -fmad=false -arch=native -shared -Xcompiler -fPIC \
//       -o libroi_align_cuda.so cuda_kernels.cu

#include "cuda_kernels.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <limits.h>
#include <stdint.h>

#include <algorithm>
#include <type_traits>

#include "cuda_bins.cuh"

namespace roi {
namespace {

constexpr int kPackBytes = 16;  // the widest that a thread reads at once
constexpr int kMaxThreads = 256;

// What sums of T are added up in.
template <typename T>
using Sum = std::conditional_t<std::is_same_v<T, double>, double, float>;

// Neighbouring channels, read and written at once.
template <typename T, int kWidth>
struct alignas(sizeof(T) * kWidth < kPackBytes ? sizeof(T) * kWidth : kPackBytes) Pack {
  T values[kWidth];
};

template <int kWidth, typename T>
__device__ Pack<Sum<T>, kWidth> Load(const T* from) {
  const Pack<T, kWidth> pack = *reinterpret_cast<const Pack<T, kWidth>*>(from);
  Pack<Sum<T>, kWidth> sums;
  for (int i = 0; i < kWidth; ++i) sums.values[i] = static_cast<Sum<T>>(pack.values[i]);
  return sums;
}

template <typename T, int kWidth>
__device__ void Store(const Pack<Sum<T>, kWidth>& sums, T* to) {
  Pack<T, kWidth> pack;
  for (int i = 0; i < kWidth; ++i) pack.values[i] = static_cast<T>(sums.values[i]);
  *reinterpret_cast<Pack<T, kWidth>*>(to) = pack;
}

// sums += weight * values
template <typename S, int kWidth>
__device__ void Accumulate(float weight, const Pack<S, kWidth>& values, Pack<S, kWidth>* sums) {
  for (int i = 0; i < kWidth; ++i) {
    sums->values[i] = fma(static_cast<S>(weight), values.values[i], sums->values[i]);
  }
}

template <typename S, int kWidth>
__device__ void AtomicAdd(const Pack<S, kWidth>& pack, S* to) {
  for (int i = 0; i < kWidth; ++i) atomicAdd(to + i, pack.values[i]);
}

#if __CUDA_ARCH__ >= 900
template <int kWidth>
__device__ std::enable_if_t<kWidth % 4 == 0> AtomicAdd(const Pack<float, kWidth>& pack,
                                                       float* to) {
  for (int i = 0; i < kWidth; i += 4) {
    const float* v = pack.values + i;
    atomicAdd(reinterpret_cast<float4*>(to + i), make_float4(v[0], v[1], v[2], v[3]));
  }
}
#endif

template <typename T>
struct Levels {
  T* level[kMaxLevels];
};

// The first of the channels that this thread pools.
template <int kWidth>
__device__ int Channel() {
  return (blockIdx.y * blockDim.x + threadIdx.x) * kWidth;
}

// Where this thread's channels of the block's bin are in the output.
__device__ size_t OutputOffset(const Problem& p, int channel) {
  return (size_t)blockIdx.x * p.channels + channel;
}

template <typename T, int kWidth>
__global__ void MeanForward(const __grid_constant__ Problem p,
                            const __grid_constant__ Levels<const T> features, const float* boxes,
                            T* output) {
  __shared__ Bin bin;
  LocateBin(p, boxes, &bin);
  const int channel = Channel<kWidth>();
  const T* map = features.level[bin.region.level] + MapOffset(p, bin) + channel;
  Pack<Sum<T>, kWidth> mean = {};
  ForEachMeanCell(p, bin, [&](int cell, float weight) {
    if (channel >= p.channels) return;
    Accumulate(weight, Load<kWidth>(map + (size_t)cell * p.channels), &mean);
  });
  if (channel < p.channels) Store(mean, output + OutputOffset(p, channel));
}

template <typename T, int kWidth>
__global__ void MeanBackward(const __grid_constant__ Problem p, const float* boxes,
                             const T* upstream,
                             const __grid_constant__ Levels<Sum<T>> gradients) {
  __shared__ Bin bin;
  LocateBin(p, boxes, &bin);
  const int channel = Channel<kWidth>();
  Sum<T>* map = gradients.level[bin.region.level] + MapOffset(p, bin) + channel;
  Pack<Sum<T>, kWidth> values = {};
  if (channel < p.channels) values = Load<kWidth>(upstream + OutputOffset(p, channel));
  ForEachMeanCell(p, bin, [&](int cell, float weight) {
    if (channel >= p.channels) return;
    Pack<Sum<T>, kWidth> share = {};
    Accumulate(weight, values, &share);
    AtomicAdd(share, map + (size_t)cell * p.channels);
  });
}

// Calls visit(cell, weight) for the cells around a sample of the bin.
template <typename Visit>
__device__ void ForEachCornerCell(const Problem& p, const Bin& bin, const Sample& row,
                                  const Sample& column, Visit visit) {
  if (IsOutside(row) || IsOutside(column)) return;
  const int upper = row.low * bin.length[1], lower = row.high * bin.length[1];
  visit(upper + column.low, row.low_weight * column.low_weight);
  if (p.pooling == kPool) return;
  visit(upper + column.high, row.low_weight * column.high_weight);
  visit(lower + column.low, row.high_weight * column.low_weight);
  visit(lower + column.high, row.high_weight * column.high_weight);
}

// For each channel, the largest sample and which it is: the first of equals, -1 for none.
template <typename S, int kWidth>
struct Largest {
  Pack<S, kWidth> value;
  int row[kWidth], column[kWidth];

  __device__ void Compare(const Pack<S, kWidth>& values, int new_row, int new_column) {
    for (int i = 0; i < kWidth; ++i) {
      if (values.values[i] > value.values[i]) {
        value.values[i] = values.values[i];
        row[i] = new_row;
        column[i] = new_column;
      }
    }
  }
};

// Of a block. `map` begins at the channels of the thread. Bins without samples are 0.
template <int kWidth, typename T>
__device__ Largest<Sum<T>, kWidth> FindLargest(const Problem& p, const Bin& bin, const T* map,
                                               bool has_channels) {
  Largest<Sum<T>, kWidth> largest;
  const bool empty = bin.first[0] >= bin.last[0] || bin.first[1] >= bin.last[1];
  for (int i = 0; i < kWidth; ++i) {
    largest.value.values[i] = empty ? 0.0f : -INFINITY;
    largest.row[i] = largest.column[i] = -1;
  }
  ForEachSample(p, bin, [&](int row, int column, const Sample& y, const Sample& x) {
    if (!has_channels) return;
    Pack<Sum<T>, kWidth> values = {};
    ForEachCornerCell(p, bin, y, x, [&](int cell, float weight) {
      Accumulate(weight, Load<kWidth>(map + (size_t)cell * p.channels), &values);
    });
    largest.Compare(values, row, column);
  });
  return largest;
}

template <typename T, int kWidth>
__global__ void MaxForward(const __grid_constant__ Problem p,
                           const __grid_constant__ Levels<const T> features, const float* boxes,
                           T* output) {
  __shared__ Bin bin;
  LocateBin(p, boxes, &bin);
  const int channel = Channel<kWidth>();
  const T* map = features.level[bin.region.level] + MapOffset(p, bin) + channel;
  const auto largest = FindLargest<kWidth>(p, bin, map, channel < p.channels);
  if (channel < p.channels) Store(largest.value, output + OutputOffset(p, channel));
}

template <typename T, int kWidth>
__global__ void MaxBackward(const __grid_constant__ Problem p,
                            const __grid_constant__ Levels<const T> features, const float* boxes,
                            const T* upstream,
                            const __grid_constant__ Levels<Sum<T>> gradients) {
  __shared__ Bin bin;
  LocateBin(p, boxes, &bin);
  const int channel = Channel<kWidth>();
  const size_t offset = MapOffset(p, bin) + channel;
  const T* map = features.level[bin.region.level] + offset;
  const auto largest = FindLargest<kWidth>(p, bin, map, channel < p.channels);
  if (channel >= p.channels) return;
  const auto values = Load<kWidth>(upstream + OutputOffset(p, channel));
  Sum<T>* gradient = gradients.level[bin.region.level] + offset;
  for (int i = 0; i < kWidth; ++i) {
    if (largest.row[i] < 0) continue;
    const Sample row = LookUp(p, bin, 0, largest.row[i]);
    const Sample column = LookUp(p, bin, 1, largest.column[i]);
    ForEachCornerCell(p, bin, row, column, [&](int cell, float weight) {
      atomicAdd(gradient + (size_t)cell * p.channels + i, weight * values.values[i]);
    });
  }
}

template <typename T, int kWidth>
__global__ void Convert(const Sum<T>* sums, T* values, size_t packs) {
  const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < packs) Store(Load<kWidth>(sums + i * kWidth), values + i * kWidth);
}

bool IsAligned(const void* pointer) {
  return reinterpret_cast<uintptr_t>(pointer) % kPackBytes == 0;
}

bool AreAligned(const Problem& p, const void* const* levels) {
  return std::all_of(levels, levels + p.levels, IsAligned);
}

int64_t Bins(const Problem& p) {
  return (int64_t)p.batch * p.regions * p.output_size * p.output_size;
}

// Elements of a level.
size_t Elements(const Problem& p, int level) {
  return (size_t)p.batch * p.height[level] * p.width[level] * p.channels;
}

// Whether gradients of T are added up in a workspace and converted at the end.
template <typename T>
constexpr bool kSumsApart = !std::is_same_v<T, Sum<T>>;

// Whether indices of bins, and of cells within a map, fit what the kernels keep them in.
bool Fits(const Problem& p) {
  for (int level = 0; level < p.levels; ++level) {
    if ((int64_t)p.height[level] * p.width[level] > INT_MAX) return false;
  }
  return Bins(p) <= INT_MAX;
}

template <typename T, typename Pointer>
Levels<T> LevelsOf(const Problem& p, const Pointer* maps) {
  Levels<T> levels = {};
  for (int i = 0; i < p.levels; ++i) levels.level[i] = static_cast<T*>(maps[i]);
  return levels;
}

// A block for each bin, or for several where there are more channels than its threads can take.
struct Grid {
  dim3 blocks, threads;

  Grid(const Problem& p, int width) {
    const int packs = p.channels / width;
    threads.x = std::min((packs + 31) / 32 * 32, kMaxThreads);
    blocks.x = Bins(p);
    blocks.y = (packs + threads.x - 1) / threads.x;
  }
};

struct Forward {
  const Problem& p;
  const void* const* features;
  const float* boxes;
  void* output;
  cudaStream_t stream;

  bool IsAligned() const { return AreAligned(p, features) && roi::IsAligned(output); }

  template <typename T, int kWidth>
  cudaError_t Run() const {
    if (Bins(p) * p.channels == 0) return cudaSuccess;
    const Grid grid(p, kWidth);
    const auto kernel = p.pooling == kAlignAverage ? MeanForward<T, kWidth> : MaxForward<T, kWidth>;
    kernel<<<grid.blocks, grid.threads, 0, stream>>>(p, LevelsOf<const T>(p, features), boxes,
                                                     static_cast<T*>(output));
    return cudaGetLastError();
  }
};

struct Backward {
  const Problem& p;
  const void* const* features;
  const float* boxes;
  const void* upstream;
  void* const* gradients;
  void* workspace;
  cudaStream_t stream;

  bool IsAligned() const {
    return AreAligned(p, features) && roi::IsAligned(upstream) && AreAligned(p, gradients) &&
           roi::IsAligned(workspace);
  }

  template <typename T, int kWidth>
  cudaError_t Run() const {
    const Levels<Sum<T>> sums = Sums<T>();
    for (int level = 0; level < p.levels; ++level) {
      const size_t bytes = Elements(p, level) * sizeof(Sum<T>);
      if (bytes == 0) continue;
      const cudaError_t error = cudaMemsetAsync(sums.level[level], 0, bytes, stream);
      if (error != cudaSuccess) return error;
    }
    if (Bins(p) * p.channels > 0) Add<T, kWidth>(sums);
    if constexpr (kSumsApart<T>) ConvertAll<T, kWidth>(sums);
    return cudaGetLastError();
  }

 private:
  template <typename T>
  Levels<Sum<T>> Sums() const {
    if constexpr (!kSumsApart<T>) return LevelsOf<Sum<T>>(p, gradients);
    Levels<Sum<T>> sums = {};
    Sum<T>* next = static_cast<Sum<T>*>(workspace);
    for (int level = 0; level < p.levels; ++level) {
      sums.level[level] = next;
      next += Elements(p, level);
    }
    return sums;
  }

  template <typename T, int kWidth>
  void Add(const Levels<Sum<T>>& sums) const {
    const Grid grid(p, kWidth);
    const T* from = static_cast<const T*>(upstream);
    if (p.pooling == kAlignAverage) {
      MeanBackward<T, kWidth><<<grid.blocks, grid.threads, 0, stream>>>(p, boxes, from, sums);
    } else {
      MaxBackward<T, kWidth><<<grid.blocks, grid.threads, 0, stream>>>(
          p, LevelsOf<const T>(p, features), boxes, from, sums);
    }
  }

  template <typename T, int kWidth>
  void ConvertAll(const Levels<Sum<T>>& sums) const {
    for (int level = 0; level < p.levels; ++level) {
      const size_t packs = Elements(p, level) / kWidth;
      if (packs == 0) continue;
      Convert<T, kWidth><<<(packs + kMaxThreads - 1) / kMaxThreads, kMaxThreads, 0, stream>>>(
          sums.level[level], static_cast<T*>(gradients[level]), packs);
    }
  }
};

template <typename T, typename Call>
cudaError_t RunAs(const Call& call) {
  constexpr int kWidth = kPackBytes / sizeof(T);
  const bool packed = call.p.channels % kWidth == 0 && call.IsAligned();
  return packed ? call.template Run<T, kWidth>() : call.template Run<T, 1>();
}

template <typename Call>
cudaError_t Run(DataType data_type, const Call& call) {
  if (!Fits(call.p)) return cudaErrorInvalidValue;
  switch (data_type) {
    case kFloat32: return RunAs<float>(call);
    case kFloat16: return RunAs<__half>(call);
    case kBFloat16: return RunAs<__nv_bfloat16>(call);
    case kFloat64: return RunAs<double>(call);
  }
  return cudaErrorInvalidValue;
}

}  // namespace
}  // namespace roi

int roi_forward_cuda(const roi::Problem* problem, roi::DataType data_type,
                     const void* const* features, const float* boxes, void* output, void* stream) {
  const roi::Forward call = {*problem, features, boxes, output, static_cast<cudaStream_t>(stream)};
  return roi::Run(data_type, call);
}

size_t roi_backward_cuda_workspace(const roi::Problem* problem, roi::DataType data_type) {
  const bool half = data_type == roi::kFloat16 || data_type == roi::kBFloat16;
  if (!half) return 0;
  size_t elements = 0;
  for (int level = 0; level < problem->levels; ++level) {
    elements += roi::Elements(*problem, level);
  }
  return elements * sizeof(float);
}

int roi_backward_cuda(const roi::Problem* problem, roi::DataType data_type,
                      const void* const* features, const float* boxes, const void* upstream,
                      void* const* gradients, void* workspace, void* stream) {
  const roi::Backward call = {*problem,  features,  boxes, upstream, gradients,
                              workspace, static_cast<cudaStream_t>(stream)};
  return roi::Run(data_type, call);
}
