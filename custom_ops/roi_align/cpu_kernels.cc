#include "cpu_kernels.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "axis_weights.h"

namespace roi {
namespace {

// Bytes of gradients that a task holds at a time: they should stay in the second-level cache.
constexpr int64_t kBandBytes = 512 * 1024;
constexpr int64_t kRegionsPerTask = 8;

template <typename T>
const ChannelLoops<T>& Loops(InstructionSet instructions) {
  switch (instructions) {
    case kAvx512:
      return *Avx512Loops<T>();
    case kAvx2:
      return *Avx2Loops<T>();
    default:
      return *BaselineLoops<T>();
  }
}

// What a thread needs for a region, kept from one to the next so that nothing is allocated again.
template <typename T>
struct Workspace {
  using Sum = typename Accumulator<T>::Type;

  Lists<CellWeight> row_weights, column_weights;
  AxisSamples row_samples, column_samples;
  CellBins rows, columns;
  std::vector<Tap> taps;
  Lists<Tap> column_taps;
  std::vector<Sum> values, best;
  std::vector<int> best_sample;
};

// The taps of all cells in which lists of rows and of columns cross, on a map `width` wide.
void Cross(const CellWeight* row, const CellWeight* rows_end, const CellWeight* columns_begin,
           const CellWeight* columns_end, ptrdiff_t width, ptrdiff_t channels,
           std::vector<Tap>* taps) {
  taps->clear();
  for (; row != rows_end; ++row) {
    for (const CellWeight* column = columns_begin; column != columns_end; ++column) {
      taps->push_back({(row->cell * width + column->cell) * channels, row->weight * column->weight});
    }
  }
}

// The forward and backward pass of one region.
template <typename T>
class RegionPooler {
 public:
  using Sum = typename Accumulator<T>::Type;

  RegionPooler(const Problem& problem, InstructionSet instructions)
      : p_(problem), loops_(Loops<T>(instructions)) {}

  void Pool(const Region& region, const T* map, T* output) {
    if (p_.pooling == kAlignAverage) {
      PoolMean(region, map, output);
    } else {
      PoolLargest(region, map, output);
    }
  }

  // Adds to the gradients of rows first_row..last_row-1 of the map, which begin at `band`.
  void AddGradient(const Region& region, const T* map, const T* upstream, int first_row,
                   int last_row, Sum* band) {
    if (p_.pooling == kAlignAverage) {
      AddMeanGradient(region, upstream, first_row, last_row, band);
    } else {
      AddLargestGradient(region, map, upstream, first_row, last_row, band);
    }
  }

 private:
  ptrdiff_t Width(const Region& region) const { return p_.width[region.level]; }

  void PoolMean(const Region& region, const T* map, T* output) {
    MeanWeights(p_, region, 0, &w_.row_weights);
    MeanWeights(p_, region, 1, &w_.column_weights);
    const Lists<CellWeight>&rows = w_.row_weights, &columns = w_.column_weights;
    for (int i = 0; i < p_.output_size; ++i) {
      for (int j = 0; j < p_.output_size; ++j, output += p_.channels) {
        Cross(rows.Begin(i), rows.End(i), columns.Begin(j), columns.End(j), Width(region),
              p_.channels, &w_.taps);
        loops_.weighted_sum(map, w_.taps.data(), (int)w_.taps.size(), p_.channels, output);
      }
    }
  }

  // A row of the map's cells at a time: first the bins that a row is part of are added up, then
  // each cell takes its share of them.
  void AddMeanGradient(const Region& region, const T* upstream, int first_row, int last_row,
                       Sum* band) {
    MeanWeights(p_, region, 0, &w_.row_weights);
    Transpose(w_.row_weights, &w_.rows);
    MeanWeights(p_, region, 1, &w_.column_weights);
    Transpose(w_.column_weights, &w_.columns);
    MakeColumnTaps();
    const ptrdiff_t bins_row = (ptrdiff_t)p_.output_size * p_.channels;
    w_.values.resize(bins_row);
    const int begin = std::max(first_row, w_.rows.first);
    const int end = std::min(last_row, w_.rows.first + w_.rows.bins.Count());
    for (int row = begin; row < end; ++row) {
      const int i = row - w_.rows.first;
      w_.taps.clear();
      for (const CellWeight* bin = w_.rows.bins.Begin(i); bin != w_.rows.bins.End(i); ++bin) {
        w_.taps.push_back({bin->cell * bins_row, bin->weight});
      }
      if (w_.taps.empty()) continue;
      loops_.wide_weighted_sum(upstream, w_.taps.data(), (int)w_.taps.size(), bins_row,
                               w_.values.data());
      AddRow(band + ((row - first_row) * Width(region) + w_.columns.first) * p_.channels);
    }
  }

  void MakeColumnTaps() {
    w_.column_taps.begin = w_.columns.bins.begin;
    w_.column_taps.entries.clear();
    for (const CellWeight& bin : w_.columns.bins.entries) {
      w_.column_taps.entries.push_back({(ptrdiff_t)bin.cell * p_.channels, bin.weight});
    }
  }

  void AddRow(Sum* cells) {
    const Lists<Tap>& taps = w_.column_taps;
    for (int i = 0; i < taps.Count(); ++i, cells += p_.channels) {
      const int count = (int)(taps.End(i) - taps.Begin(i));
      if (count) {
        loops_.add_weighted_sum(w_.values.data(), taps.Begin(i), count, p_.channels, cells);
      }
    }
  }

  // Calls visit(sample) for the samples of bin (i, j), row by row, with their cells in w_.taps.
  template <typename Visit>
  void VisitSamples(const Region& region, int i, int j, const Visit& visit) {
    const AxisSamples&rows = w_.row_samples, &columns = w_.column_samples;
    int sample = 0;
    for (int y = rows.first_sample[i]; y < rows.first_sample[i + 1]; ++y) {
      for (int x = columns.first_sample[j]; x < columns.first_sample[j + 1]; ++x, ++sample) {
        Cross(rows.samples.Begin(y), rows.samples.End(y), columns.samples.Begin(x),
              columns.samples.End(x), Width(region), p_.channels, &w_.taps);
        visit(sample);
      }
    }
  }

  void PrepareSamples(const Region& region) {
    SampleWeights(p_, region, 0, &w_.row_samples);
    SampleWeights(p_, region, 1, &w_.column_samples);
    w_.values.resize(p_.channels);
    w_.best.resize(p_.channels);
    w_.best_sample.resize(p_.channels);
  }

  // The largest value of each channel in w_.best, and which sample has it in w_.best_sample.
  void FindLargest(const Region& region, const T* map, int i, int j) {
    std::fill(w_.best.begin(), w_.best.end(), Sum(0));
    std::fill(w_.best_sample.begin(), w_.best_sample.end(), -1);
    VisitSamples(region, i, j, [&](int sample) {
      loops_.wide_weighted_sum(map, w_.taps.data(), (int)w_.taps.size(), p_.channels,
                               w_.values.data());
      loops_.keep_larger(w_.values.data(), sample, sample == 0, p_.channels, w_.best.data(),
                         w_.best_sample.data());
    });
  }

  void PoolLargest(const Region& region, const T* map, T* output) {
    PrepareSamples(region);
    for (int i = 0; i < p_.output_size; ++i) {
      for (int j = 0; j < p_.output_size; ++j, output += p_.channels) {
        FindLargest(region, map, i, j);
        loops_.narrow(w_.best.data(), p_.channels, output);
      }
    }
  }

  void AddLargestGradient(const Region& region, const T* map, const T* upstream, int first_row,
                          int last_row, Sum* band) {
    PrepareSamples(region);
    const ptrdiff_t row = Width(region) * p_.channels;
    for (int i = 0; i < p_.output_size; ++i) {
      if (!Touches(i, first_row, last_row)) continue;
      for (int j = 0; j < p_.output_size; ++j) {
        const T* bin = upstream + ((ptrdiff_t)i * p_.output_size + j) * p_.channels;
        FindLargest(region, map, i, j);
        VisitSamples(region, i, j, [&](int sample) {
          for (const Tap& tap : w_.taps) {
            if (tap.offset < first_row * row || tap.offset >= last_row * row) continue;
            loops_.add_to_best(bin, w_.best_sample.data(), sample, tap.weight, p_.channels,
                               band + tap.offset - first_row * row);
          }
        });
      }
    }
  }

  // Whether a sample of bin row i lies in these rows of the map.
  bool Touches(int i, int first_row, int last_row) const {
    const AxisSamples& rows = w_.row_samples;
    const CellWeight* end = rows.samples.entries.data() +
                            rows.samples.begin[rows.first_sample[i + 1]];
    for (const CellWeight* entry = rows.samples.Begin(rows.first_sample[i]); entry != end; ++entry) {
      if (entry->cell >= first_row && entry->cell < last_row) return true;
    }
    return false;
  }

  const Problem& p_;
  const ChannelLoops<T>& loops_;
  Workspace<T> w_;
};

// Rows of one map of one image, whose gradients one task computes.
struct Band {
  int image, level, first_row, last_row;
};

std::vector<Band> MakeBands(const Problem& p, int64_t bytes_per_value) {
  std::vector<Band> bands;
  for (int level = 0; level < p.levels; ++level) {
    const int64_t row_bytes = (int64_t)p.width[level] * p.channels * bytes_per_value;
    const int rows = (int)std::clamp<int64_t>(kBandBytes / std::max<int64_t>(row_bytes, 1), 1,
                                              std::max(p.height[level], 1));
    for (int image = 0; image < p.batch; ++image) {
      for (int row = 0; row < p.height[level]; row += rows) {
        bands.push_back({image, level, row, std::min(row + rows, p.height[level])});
      }
    }
  }
  return bands;
}

// Whether a region can reach into rows first..last-1, its samples' neighbours included.
bool Reaches(const Region& region, int first, int last) {
  const float low = std::min(region.start[0], region.start[0] + region.size[0]);
  const float high = std::max(region.start[0], region.start[0] + region.size[0]);
  return low - 2.0f < (float)last && high + 2.0f > (float)first;
}

}  // namespace

InstructionSet BestInstructionSet() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (Avx512Loops<float>() && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    return kAvx512;
  }
  if (Avx2Loops<float>() && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return kAvx2;
  }
#endif
  return kBaseline;
}

template <typename T>
void Forward(const Problem& p, const T* const* features, const float* boxes, T* output,
             const ParallelFor& parallel_for, InstructionSet instructions) {
  const int64_t region_values = (int64_t)p.output_size * p.output_size * p.channels;
  parallel_for((int64_t)p.batch * p.regions, kRegionsPerTask, [&](int64_t begin, int64_t end) {
    RegionPooler<T> pooler(p, instructions);
    for (int64_t i = begin; i < end; ++i) {
      const Region region = Locate(p, boxes + 4 * i);
      const int64_t map_values =
          (int64_t)p.height[region.level] * p.width[region.level] * p.channels;
      pooler.Pool(region, features[region.level] + i / p.regions * map_values,
                  output + i * region_values);
    }
  });
}

template <typename T>
void Backward(const Problem& p, const T* const* features, const float* boxes, const T* upstream,
              T* const* gradients, const ParallelFor& parallel_for, InstructionSet instructions) {
  using Sum = typename Accumulator<T>::Type;
  const int64_t region_values = (int64_t)p.output_size * p.output_size * p.channels;
  std::vector<Region> regions((size_t)p.batch * p.regions);
  for (size_t i = 0; i < regions.size(); ++i) regions[i] = Locate(p, boxes + 4 * i);
  const std::vector<Band> bands = MakeBands(p, sizeof(Sum));
  parallel_for((int64_t)bands.size(), 1, [&](int64_t begin, int64_t end) {
    RegionPooler<T> pooler(p, instructions);
    std::vector<Sum> sums;
    for (int64_t b = begin; b < end; ++b) {
      const Band& band = bands[b];
      const int64_t row_values = (int64_t)p.width[band.level] * p.channels;
      const int64_t image_begin = (int64_t)band.image * p.height[band.level] * row_values;
      const int64_t count = (band.last_row - band.first_row) * row_values;
      T* gradient = gradients[band.level] + image_begin + band.first_row * row_values;
      const T* map = p.pooling == kAlignAverage ? nullptr : features[band.level] + image_begin;
      Sum* held;
      if constexpr (std::is_same_v<T, Sum>) {
        held = gradient;
        std::fill_n(held, count, Sum(0));
      } else {
        sums.assign(count, Sum(0));
        held = sums.data();
      }
      for (int64_t i = (int64_t)band.image * p.regions; i < (int64_t)(band.image + 1) * p.regions;
           ++i) {
        if (regions[i].level != band.level ||
            !Reaches(regions[i], band.first_row, band.last_row)) {
          continue;
        }
        pooler.AddGradient(regions[i], map, upstream + i * region_values, band.first_row,
                           band.last_row, held);
      }
      if constexpr (!std::is_same_v<T, Sum>) Loops<T>(instructions).narrow(held, count, gradient);
    }
  });
}

#define INSTANTIATE(T)                                                                        \
  template void Forward<T>(const Problem&, const T* const*, const float*, T*,                 \
                           const ParallelFor&, InstructionSet);                               \
  template void Backward<T>(const Problem&, const T* const*, const float*, const T*, T* const*, \
                            const ParallelFor&, InstructionSet);
INSTANTIATE(float)
INSTANTIATE(double)
INSTANTIATE(Half)
INSTANTIATE(BFloat16)
#undef INSTANTIATE

}  // namespace roi
