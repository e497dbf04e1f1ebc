// What the threads of a block share: the bin that they pool, each thread some of its channels, and
// the cells that it reads. Functions said to be of a block must be called by all of its threads.

#ifndef KERAS_MASKRCNN_ROI_ALIGN_CUDA_BINS_CUH_
#define KERAS_MASKRCNN_ROI_ALIGN_CUDA_BINS_CUH_

#include "geometry.h"

namespace roi {

// Samples along an axis that a block has in shared memory at a time. Most bins have no more.
constexpr int kChunk = 8;

struct Bin {
  Region region;
  int image;
  int index[2];           // the bin's row and column in the region
  int length[2];          // rows and columns of the map
  int samples[2];         // RoIAlign: along an axis, wherever they lie
  int first[2], last[2];  // first..last-1 is all to look at: samples, or for RoIPool cells
};

__device__ inline void LocateAxis(const Problem& p, int axis, Bin* bin) {
  const float start = bin->region.start[axis], size = bin->region.size[axis];
  int* first = &bin->first[axis];
  int* last = &bin->last[axis];
  if (p.pooling == kPool) {
    PoolRange(p, start, size, bin->index[axis], bin->length[axis], first, last);
    return;
  }
  bin->samples[axis] = SampleCount(p, size);
  InsideSamples(p, start, size, bin->index[axis], bin->samples[axis], bin->length[axis], first,
                last);
}

// Of a block, which pools the bin of its number.
__device__ inline void LocateBin(const Problem& p, const float* boxes, Bin* bin) {
  if (threadIdx.x == 0) {
    const unsigned bins = p.output_size * p.output_size;
    const unsigned box = blockIdx.x / bins, place = blockIdx.x % bins;
    bin->region = Locate(p, boxes + 4 * (size_t)box);
    bin->image = box / p.regions;
    bin->index[0] = place / p.output_size;
    bin->index[1] = place % p.output_size;
    bin->length[0] = p.height[bin->region.level];
    bin->length[1] = p.width[bin->region.level];
    for (int axis = 0; axis < 2; ++axis) LocateAxis(p, axis, bin);
  }
  __syncthreads();
}

// The first element of the bin's map in its level.
__device__ inline size_t MapOffset(const Problem& p, const Bin& bin) {
  return (size_t)bin.image * bin.length[0] * bin.length[1] * p.channels;
}

__device__ inline bool IsOutside(const Sample& sample) { return sample.low < 0; }

__device__ inline Sample LookUp(const Problem& p, const Bin& bin, int axis, int index) {
  if (p.pooling == kPool) return {index, index, 1.0f, 0.0f};
  const float point = SamplePoint(p, bin.region.start[axis], bin.region.size[axis],
                                  bin.index[axis], index, bin.samples[axis]);
  Sample sample;
  return Surround(point, bin.length[axis], &sample) ? sample : Sample{-1, -1, 0.0f, 0.0f};
}

// The cells of a chunk of samples along an axis, each with the sum of its weights: neighbouring
// samples have cells in common.
struct AxisCells {
  int count;
  int cell[2 * kChunk];
  float weight[2 * kChunk];

  __device__ void Add(int new_cell, float new_weight) {
    for (int i = count - 1; i >= 0 && i >= count - 2; --i) {
      if (cell[i] == new_cell) {
        weight[i] += new_weight;
        return;
      }
    }
    cell[count] = new_cell;
    weight[count++] = new_weight;
  }

  __device__ void Fill(const Problem& p, const Bin& bin, int axis, int first) {
    count = 0;
    const int last = min(first + kChunk, bin.last[axis]);
    for (int index = first; index < last; ++index) {
      const Sample sample = LookUp(p, bin, axis, index);
      if (IsOutside(sample)) continue;
      Add(sample.low, sample.low_weight);
      Add(sample.high, sample.high_weight);
    }
  }
};

// The cells of a chunk of samples along both axes, with their weights in the bin's mean.
struct MeanCells {
  int cell[4 * kChunk * kChunk];  // counted row by row from the start of the map
  float weight[4 * kChunk * kChunk];
  AxisCells axes[2];

  __device__ int Count() const { return axes[0].count * axes[1].count; }

  // Of a block.
  __device__ void Fill(const Problem& p, const Bin& bin, int first_row, int first_column) {
    __syncthreads();  // the last chunk has been read
    if (threadIdx.x < 2) {
      axes[threadIdx.x].Fill(p, bin, threadIdx.x, threadIdx.x == 0 ? first_row : first_column);
    }
    __syncthreads();
    const AxisCells &rows = axes[0], &columns = axes[1];
    const float samples = (float)bin.samples[0] * bin.samples[1];
    for (int i = threadIdx.x; i < Count(); i += blockDim.x) {
      const int row = i / columns.count, column = i % columns.count;
      cell[i] = rows.cell[row] * bin.length[1] + columns.cell[column];
      weight[i] = rows.weight[row] * columns.weight[column] / samples;
    }
    __syncthreads();
  }
};

// Of a block: calls visit(cell, weight) for all cells that the bin's mean is made of.
template <typename Visit>
__device__ void ForEachMeanCell(const Problem& p, const Bin& bin, Visit visit) {
  __shared__ MeanCells cells;
  for (int row = bin.first[0]; row < bin.last[0]; row += kChunk) {
    for (int column = bin.first[1]; column < bin.last[1]; column += kChunk) {
      cells.Fill(p, bin, row, column);
      const int count = cells.Count();
#pragma unroll 4
      for (int i = 0; i < count; ++i) visit(cells.cell[i], cells.weight[i]);
    }
  }
}

// Of a block: calls visit(row, column, row sample, column sample), with the indices that LookUp
// takes, for all samples of the bin, row by row.
template <typename Visit>
__device__ void ForEachSample(const Problem& p, const Bin& bin, Visit visit) {
  __shared__ Sample samples[2][kChunk];
  const int axis = threadIdx.x / kChunk, place = threadIdx.x % kChunk;
  // Several chunks along a row would otherwise come before the rest of the row.
  const int rows = bin.last[1] - bin.first[1] > kChunk ? 1 : kChunk;
  for (int row = bin.first[0]; row < bin.last[0]; row += rows) {
    for (int column = bin.first[1]; column < bin.last[1]; column += kChunk) {
      __syncthreads();  // the last chunk has been read
      if (axis < 2) samples[axis][place] = LookUp(p, bin, axis, (axis ? column : row) + place);
      __syncthreads();
      for (int i = 0; i < min(rows, bin.last[0] - row); ++i) {
        for (int j = 0; j < min(kChunk, bin.last[1] - column); ++j) {
          visit(row + i, column + j, samples[0][i], samples[1][j]);
        }
      }
    }
  }
}

}  // namespace roi

#endif  // KERAS_MASKRCNN_ROI_ALIGN_CUDA_BINS_CUH_
