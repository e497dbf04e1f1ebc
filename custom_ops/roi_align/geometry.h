// Where RoIAlign and RoIPool look: the same arithmetic on the CPU and on the GPU.
//
// A region is a box on its level of the pyramid, in cells; a bin is one of its output_size x
// output_size parts; a sample is a point of a bin. Axis 0 is rows, axis 1 columns.

#ifndef KERAS_MASKRCNN_ROI_ALIGN_GEOMETRY_H_
#define KERAS_MASKRCNN_ROI_ALIGN_GEOMETRY_H_

#include <math.h>

#ifdef __CUDACC__
#define ROI_INLINE __host__ __device__ inline
#else
#define ROI_INLINE inline
#endif

namespace roi {

enum { kMaxLevels = 8 };

enum Pooling {
  kAlignAverage = 0,  // RoIAlign, the mean of a bin's samples
  kAlignMax = 1,      // RoIAlign, the largest sample
  kPool = 2,          // RoIPool: the largest cell of a bin of whole cells
};

enum DataType { kFloat32 = 0, kFloat16 = 1, kBFloat16 = 2, kFloat64 = 3 };

// Shapes and attributes of a call. Maps are (batch, height, width, channels), finest first; boxes
// are (batch, regions, 4) xyxy pixels; the output is (batch, regions, output_size, output_size,
// channels).
struct Problem {
  int batch, regions, channels, levels;
  int height[kMaxLevels], width[kMaxLevels];
  float stride[kMaxLevels];  // pixels per cell
  int output_size;
  int sampling_ratio;  // samples of a bin along an axis; 0: ceil(region / output_size)
  bool aligned;        // cell centres lie at half pixels
  float canonical_scale;  // side of the boxes that belong to the level of stride 16, in pixels
  int pooling;            // Pooling
};

struct Region {
  int level;
  float start[2], size[2];
};

struct Sample {
  int low, high;  // the two cells around the point
  float low_weight, high_weight;
};

// A box that reaches further, in pixels, or is not finite, is moved to where there are no features.
ROI_INLINE bool IsSensible(const float* box) {
  const float farthest = 1e6f;
  return fabsf(box[0]) <= farthest && fabsf(box[1]) <= farthest && fabsf(box[2]) <= farthest &&
         fabsf(box[3]) <= farthest;
}

// Equation 1 of the FPN paper, as an index into the levels.
ROI_INLINE int AssignLevel(const Problem& p, float width, float height) {
  if (p.levels == 1) return 0;
  const float root_area = sqrtf(fmaxf(width, 0.0f) * fmaxf(height, 0.0f));
  const float level = floorf(4.0f + logf(root_area / p.canonical_scale + 1e-8f) / logf(2.0f));
  const float lowest = roundf(log2f(p.stride[0]));  // log2f may be an ulp off
  return (int)(fminf(fmaxf(level, lowest), lowest + (p.levels - 1)) - lowest);
}

ROI_INLINE Region Locate(const Problem& p, const float* box) {
  const float nowhere[4] = {-1e6f, -1e6f, -1e6f, -1e6f};
  const float* b = IsSensible(box) ? box : nowhere;
  Region region;
  region.level = AssignLevel(p, b[2] - b[0], b[3] - b[1]);
  const float stride = p.stride[region.level];
  for (int axis = 0; axis < 2; ++axis) {
    const float low = b[1 - axis], high = b[3 - axis];
    if (p.pooling == kPool) {
      region.start[axis] = roundf(low / stride);
      region.size[axis] =
          fmaxf(roundf(high / stride) - region.start[axis] + 1.0f, 1.0f);
    } else {
      const float offset = p.aligned ? 0.5f : 0.0f;
      region.start[axis] = low / stride - offset;
      region.size[axis] = (high / stride - offset) - region.start[axis];
      if (!p.aligned) region.size[axis] = fmaxf(region.size[axis], 1.0f);
    }
  }
  return region;
}

// Samples of a bin along an axis; none where an adaptive region is inverted.
ROI_INLINE int SampleCount(const Problem& p, float size) {
  if (p.sampling_ratio > 0) return p.sampling_ratio;
  return (int)fmaxf(ceilf(size / p.output_size), 0.0f);
}

// Where sample `index` of `count` of a bin lies along an axis, in cells.
ROI_INLINE float SamplePoint(const Problem& p, float start, float size, int bin, int index,
                             int count) {
  return start + (bin + (index + 0.5f) / count) * (size / p.output_size);
}

// The samples first..last-1 of a bin that can lie in the map: of a region much larger than the map
// nearly all lie outside, and need not be looked at. The nearest ones outside are among them.
ROI_INLINE void InsideSamples(const Problem& p, float start, float size, int bin, int count,
                              int length, int* first, int* last) {
  *first = 0;
  *last = count;
  if (!(size > 0.0f) || count <= 2 * (length + 2)) return;
  const float step = size / p.output_size / count;
  const float bin_start = start + bin * (size / p.output_size);
  const float margin = 2.0f;  // samples; more than rounding can move a point
  const float low = (-1.0f - bin_start) / step - margin;
  const float high = (length - bin_start) / step + margin;
  *first = (int)fminf(fmaxf(low, 0.0f), (float)count);
  *last = (int)fminf(fmaxf(high, (float)*first), (float)count);
}

// The cells around a point on an axis of `length` cells; false if it is more than one outside.
ROI_INLINE bool Surround(float point, int length, Sample* sample) {
  if (length == 0 || !(point >= -1.0f && point <= (float)length)) return false;
  point = fminf(fmaxf(point, 0.0f), (float)(length - 1));
  const float low = floorf(point);
  sample->low = (int)low;
  sample->high = sample->low + 1 < length ? sample->low + 1 : length - 1;
  sample->low_weight = low + 1.0f - point;
  sample->high_weight = point - low;
  return true;
}

// The cells first..last-1 of a RoIPool bin along an axis of `length` cells.
ROI_INLINE void PoolRange(const Problem& p, float start, float size, int bin, int length,
                          int* first, int* last) {
  const float bin_size = size / p.output_size;
  const float low = floorf(bin * bin_size) + start, high = ceilf((bin + 1) * bin_size) + start;
  *first = (int)fminf(fmaxf(low, 0.0f), (float)length);
  *last = (int)fminf(fmaxf(high, 0.0f), (float)length);
}

}  // namespace roi

#endif  // KERAS_MASKRCNN_ROI_ALIGN_GEOMETRY_H_
