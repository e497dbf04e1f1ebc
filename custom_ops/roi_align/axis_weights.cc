#include "axis_weights.h"

#include <algorithm>

namespace roi {
namespace {

// Samples follow each other, so a cell that comes again is one of the last two.
void Add(int cell, float weight, int list_begin, std::vector<CellWeight>* entries) {
  const int end = (int)entries->size();
  for (int i = std::max(list_begin, end - 2); i < end; ++i) {
    if ((*entries)[i].cell == cell) {
      (*entries)[i].weight += weight;
      return;
    }
  }
  entries->push_back({cell, weight});
}

void AddSample(const Sample& sample, float weight, int list_begin,
               std::vector<CellWeight>* entries) {
  Add(sample.low, weight * sample.low_weight, list_begin, entries);
  if (sample.high_weight > 0.0f) {
    Add(sample.high, weight * sample.high_weight, list_begin, entries);
  }
}

}  // namespace

void MeanWeights(const Problem& p, const Region& region, int axis, Lists<CellWeight>* bins) {
  const float start = region.start[axis], size = region.size[axis];
  const int length = (axis == 0 ? p.height : p.width)[region.level];
  const int count = SampleCount(p, size);
  bins->Clear();
  for (int bin = 0; bin < p.output_size; ++bin) {
    int first, last;
    InsideSamples(p, start, size, bin, count, length, &first, &last);
    for (int i = first; i < last; ++i) {
      Sample sample;
      if (Surround(SamplePoint(p, start, size, bin, i, count), length, &sample)) {
        AddSample(sample, 1.0f / count, bins->begin.back(), &bins->entries);
      }
    }
    bins->EndList();
  }
}

namespace {

void AlignSamples(const Problem& p, const Region& region, int axis, int length, int bin,
                  Lists<CellWeight>* samples) {
  const float start = region.start[axis], size = region.size[axis];
  const int count = SampleCount(p, size);
  int first, last;
  InsideSamples(p, start, size, bin, count, length, &first, &last);
  // All samples outside are 0, one of them stands for the rest.
  if (first > 0) samples->EndList();
  for (int i = first; i < last; ++i) {
    Sample sample;
    if (Surround(SamplePoint(p, start, size, bin, i, count), length, &sample)) {
      AddSample(sample, 1.0f, samples->begin.back(), &samples->entries);
    }
    samples->EndList();
  }
  if (last < count) samples->EndList();
}

void PoolCells(const Problem& p, const Region& region, int axis, int length, int bin,
               Lists<CellWeight>* samples) {
  int first, last;
  PoolRange(p, region.start[axis], region.size[axis], bin, length, &first, &last);
  for (int cell = first; cell < last; ++cell) {
    samples->entries.push_back({cell, 1.0f});
    samples->EndList();
  }
}

}  // namespace

void SampleWeights(const Problem& p, const Region& region, int axis, AxisSamples* bins) {
  const int length = (axis == 0 ? p.height : p.width)[region.level];
  bins->samples.Clear();
  bins->first_sample.assign(1, 0);
  for (int bin = 0; bin < p.output_size; ++bin) {
    (p.pooling == kPool ? PoolCells : AlignSamples)(p, region, axis, length, bin, &bins->samples);
    bins->first_sample.push_back(bins->samples.Count());
  }
}

void Transpose(const Lists<CellWeight>& bins, CellBins* cells) {
  cells->bins.Clear();
  if (bins.entries.empty()) return;
  const auto by_cell = [](const CellWeight& a, const CellWeight& b) { return a.cell < b.cell; };
  const auto [lowest, highest] =
      std::minmax_element(bins.entries.begin(), bins.entries.end(), by_cell);
  cells->first = lowest->cell;
  // Count, then fill: a bin never has so many cells that sorting would pay.
  std::vector<int>& begin = cells->bins.begin;
  begin.assign(highest->cell - lowest->cell + 2, 0);
  for (const CellWeight& entry : bins.entries) ++begin[entry.cell - cells->first + 1];
  for (size_t i = 1; i < begin.size(); ++i) begin[i] += begin[i - 1];
  cells->bins.entries.resize(bins.entries.size());
  for (int bin = bins.Count() - 1; bin >= 0; --bin) {
    for (const CellWeight* entry = bins.End(bin); entry-- != bins.Begin(bin);) {
      cells->bins.entries[--begin[entry->cell - cells->first + 1]] = {bin, entry->weight};
    }
  }
  // Filling from behind has moved the beginnings of all lists one place up.
  begin.erase(begin.begin());
  begin.push_back((int)bins.entries.size());
}

}  // namespace roi
