// Which cells a region's bins look at along one axis, and how much each weighs.

#ifndef KERAS_MASKRCNN_ROI_ALIGN_AXIS_WEIGHTS_H_
#define KERAS_MASKRCNN_ROI_ALIGN_AXIS_WEIGHTS_H_

#include <vector>

#include "geometry.h"

namespace roi {

struct CellWeight {
  int cell;
  float weight;
};

// Lists of entries one after the other: list i is entries[begin[i]] .. entries[begin[i + 1] - 1].
template <typename Entry>
struct Lists {
  std::vector<int> begin;
  std::vector<Entry> entries;

  int Count() const { return (int)begin.size() - 1; }
  const Entry* Begin(int i) const { return entries.data() + begin[i]; }
  const Entry* End(int i) const { return entries.data() + begin[i + 1]; }

  void Clear() {
    begin.assign(1, 0);
    entries.clear();
  }
  void EndList() { begin.push_back((int)entries.size()); }
};

// For each bin, the cells that its mean is made of: the weights of all samples added up per cell,
// which is less to read than four cells a sample.
void MeanWeights(const Problem& p, const Region& region, int axis, Lists<CellWeight>* bins);

// For each sample of each bin, bin after bin, the cells that it is made of: none where it lies
// outside of the map. The samples of bin i are first_sample[i] .. first_sample[i + 1] - 1.
struct AxisSamples {
  std::vector<int> first_sample;
  Lists<CellWeight> samples;
};
void SampleWeights(const Problem& p, const Region& region, int axis, AxisSamples* bins);

// The same weights the other way round: for each cell from `first` on, the bins that it is part
// of. List i is of cell first + i.
struct CellBins {
  int first = 0;
  Lists<CellWeight> bins;  // `cell` is the bin here
};
void Transpose(const Lists<CellWeight>& bins, CellBins* cells);

}  // namespace roi

#endif  // KERAS_MASKRCNN_ROI_ALIGN_AXIS_WEIGHTS_H_
