// Group normalisation of channels-last tensors [B, ..., C]: statistics over all positions and the channels of a group.
//   n = (x − mean) · r,  r = 1 / sqrt(var + eps),  z = n · w + b;   y = z, or silu(z) = z · sigmoid(z)
//   dz = dy, or dy · silu'(z);   dx = r · (dz · w − mean(dz · w) − n · mean(dz · w · n));   dw = Σ dz · n,  db = Σ dz
// A decoded clip has 1e8 positions a sample, so positions are cut into parts, and parts into blocks that stay in the
// cache: a block takes its mean, then its squares around that mean, and blocks and parts are combined in order and in
// double. Sums run down the channels' columns, whatever the size of a group.
// Bound by memory: two reads and a write forward, five reads and a write backward.
#include "core/generated/norm.h"
#include "cpu/context.h"
#include "cpu/kernels/dispatch.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"
#include "cpu/kernels/simd.h"

namespace hn::cpu::HN_ISA {
namespace {

/// How the positions of each sample are cut, by the shape alone.
struct Cut {
  int64_t samples, positions, channels, groups;
  int64_t block;  // positions of a block
  int64_t part;   // positions of a part, whole blocks
  int64_t parts;  // of a sample

  Cut(const TensorView& x, int64_t group_count)
      : samples(x.shape[0]), positions(samples > 0 ? x.rows() / samples : 0), channels(x.dim(-1)), groups(group_count) {
    constexpr int64_t kMostParts = 512, kMostInBlock = 512;  // so few that a column's sum in float rounds little
    const int64_t chunk = rows_per_chunk(channels), allowed = kMostParts / (samples > 0 ? samples : 1);
    block = chunk < kMostInBlock ? chunk : kMostInBlock;
    const int64_t least = ceil_div(chunk, block),
                  even = ceil_div(ceil_div(positions, block), allowed > 0 ? allowed : 1);
    part = block * (least > even ? least : even);
    parts = ceil_div(positions, part);
  }
  int64_t in_group() const { return channels / groups; }
  int64_t tasks() const { return samples * parts; }
  int64_t sample(int64_t task) const { return task / parts; }
  /// First row of a part, and the one behind its last.
  int64_t begin(int64_t task) const { return sample(task) * positions + task % parts * part; }
  int64_t end(int64_t task) const {
    const int64_t stop = task % parts * part + part;
    return sample(task) * positions + (stop < positions ? stop : positions);
  }
};

/// Mean and sum of squares around it over `count` values, combined without cancellation (Chan et al.).
struct Spread {
  double mean = 0, squares = 0, count = 0;

  void add(const Spread& other) {
    if (other.count == 0) return;
    const double total = count + other.count, delta = other.mean - mean;
    mean += delta * (other.count / total);
    squares += other.squares + delta * delta * (count * other.count / total);
    count = total;
  }
};

template <class Acc>
double sum_up(const Acc* values, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(values[i]);
  return sum;
}

/// Spreads of every group over rows [begin, end), which fit the cache. The first pass finds a mean, the second sums
/// what lies around it: squares, and the rest by which that mean is off (a column of large values rounds its sum).
/// `columns` holds three values for each channel.
template <class Acc>
void add_block(const Rows<Acc>& x, int64_t begin, int64_t end, const Cut& cut, Acc* row, Acc* columns,
               Spread* spreads) {
  const int64_t n = cut.channels, size = cut.in_group();
  const double count = static_cast<double>((end - begin) * size);
  Acc *mean = columns, *rest = mean + n, *squares = rest + n;
  for (int64_t i = 0; i < 3 * n; ++i) columns[i] = 0;
  for (int64_t r = begin; r < end; ++r) {
    const Acc* v = x.load(r, row);
    for (int64_t i = 0; i < n; ++i) rest[i] += v[i];
  }
  for (int64_t g = 0; g < cut.groups; ++g) {
    const Acc value = static_cast<Acc>(sum_up(rest + g * size, size) / count);
    for (int64_t i = g * size; i < (g + 1) * size; ++i) mean[i] = value;
  }
  for (int64_t i = 0; i < n; ++i) rest[i] = 0;
  for (int64_t r = begin; r < end; ++r) {
    const Acc* v = x.load(r, row);
    for (int64_t i = 0; i < n; ++i) {
      const Acc d = v[i] - mean[i];
      rest[i] += d;
      squares[i] += d * d;
    }
  }
  for (int64_t g = 0; g < cut.groups; ++g) {
    const double off = sum_up(rest + g * size, size) / count;
    const double around = sum_up(squares + g * size, size) - off * off * count;
    spreads[g].add({static_cast<double>(mean[g * size]) + off, around > 0 ? around : 0, count});
  }
}

/// Mean and inverse deviation of each group of each sample: stats[sample * groups + group].
template <class Acc>
struct Stats {
  Acc mean, r;
};

template <class Acc>
Status find_stats(const Context& ctx, const Rows<Acc>& x, const Cut& cut, double eps, Stats<Acc>* stats) {
  const Scratch<Acc> scratch(ctx, 4 * cut.channels);
  Spread* shares = ctx.workspace<Spread>(cut.tasks() * cut.groups);
  if (!scratch.ok() || shares == nullptr) return Status::no_memory();
  ctx.parallel_for(cut.tasks(), [&](int64_t task) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *row = lease.data(), *columns = row + cut.channels;
    Spread* share = shares + task * cut.groups;
    for (int64_t g = 0; g < cut.groups; ++g) share[g] = {};
    const int64_t end = cut.end(task);
    for (int64_t r = cut.begin(task); r < end; r += cut.block)
      add_block(x, r, r + cut.block < end ? r + cut.block : end, cut, row, columns, share);
  });
  for (int64_t b = 0; b < cut.samples; ++b)
    for (int64_t g = 0; g < cut.groups; ++g) {
      Spread all;
      for (int64_t p = 0; p < cut.parts; ++p) all.add(shares[(b * cut.parts + p) * cut.groups + g]);
      const double variance = all.count > 0 ? all.squares / all.count : 0;
      stats[b * cut.groups + g] = {static_cast<Acc>(all.mean), static_cast<Acc>(1 / __builtin_sqrt(variance + eps))};
    }
  return {};
}

/// A value for each channel: mean and r of its group, weight and bias.
template <class Acc>
struct Channels {
  Acc *mean, *r, *weight, *bias;
  static constexpr int64_t kArrays = 4;

  Channels(Acc* memory, const Cut& cut, const Stats<Acc>* stats, const TensorView& w, const TensorView& b)
      : mean(memory), r(mean + cut.channels), weight(r + cut.channels), bias(weight + cut.channels) {
    const int64_t n = cut.channels, size = cut.in_group();
    for (int64_t g = 0; g < cut.groups; ++g)
      for (int64_t i = g * size; i < (g + 1) * size; ++i) mean[i] = stats[g].mean;
    for (int64_t g = 0; g < cut.groups; ++g)
      for (int64_t i = g * size; i < (g + 1) * size; ++i) r[i] = stats[g].r;
    for (int64_t i = 0; i < n; ++i) weight[i] = 1;
    for (int64_t i = 0; i < n; ++i) bias[i] = 0;
    if (w) load_row<Acc>(w.dtype)(w.data, 1, n, weight);
    if (b) load_row<Acc>(b.dtype)(b.data, 1, n, bias);
  }
};

template <class Acc>
Status forward(const Context& ctx, const GroupNormArgs& a) {
  const Rows<Acc> x(a.x), y(a.y);
  const Cut cut(a.x, a.groups);
  if (a.x.elements() == 0) return {};
  Stats<Acc>* stats = ctx.workspace<Stats<Acc>>(cut.samples * cut.groups);
  const int64_t n = cut.channels;
  const Scratch<Acc> scratch(ctx, (2 + Channels<Acc>::kArrays) * n);
  if (stats == nullptr || !scratch.ok()) return Status::no_memory();
  HN_RETURN_IF_ERROR(find_stats(ctx, x, cut, a.eps, stats));
  ctx.parallel_for(cut.tasks(), [&](int64_t task) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *out = in + n;
    const Channels<Acc> at(out + n, cut, stats + cut.sample(task) * cut.groups, a.weight, a.bias);
    const Acc *mean = at.mean, *bias = at.bias;
    Acc* gain = at.weight;
    for (int64_t i = 0; i < n; ++i) gain[i] *= at.r[i];
    for (int64_t row = cut.begin(task); row < cut.end(task); ++row) {
      const Acc* v = x.load(row, in);
      Acc* o = y.open(row, out);
      for (int64_t i = 0; i < n; ++i) o[i] = (v[i] - mean[i]) * gain[i] + bias[i];
      if (a.silu)
        for (int64_t i = 0; i < n; ++i) o[i] = o[i] * sigmoid1(o[i]);
      y.finish(row, o);
    }
  });
  return {};
}

// --- backward
// ---------------------------------------------------------------------------------------------------------

/// dz of a row, to `dz`; its channels' z = n · w + b decides how silu passes the gradient on.
template <class Acc>
void row_gradient(const Acc* v, const Acc* g, const Channels<Acc>& at, int64_t n, bool silu, Acc* dz) {
  const Acc *mean = at.mean, *r = at.r, *weight = at.weight, *bias = at.bias;
  if (!silu) {
    for (int64_t i = 0; i < n; ++i) dz[i] = g[i];
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const Acc z = (v[i] - mean[i]) * r[i] * weight[i] + bias[i];
    const Acc s = sigmoid1(z);
    dz[i] = g[i] * (s + z * s * (Acc(1) - s));
  }
}

/// sums[task][0][c] = Σ dz and sums[task][1][c] = Σ dz · n over each part.
template <class Acc>
void add_gradients(const Context& ctx, const GroupNormBackwardArgs& a, const Cut& cut, const Stats<Acc>* stats,
                   const Scratch<Acc>& scratch, double* sums) {
  const Rows<Acc> x(a.x), dy(a.dy);
  const int64_t n = cut.channels;
  ctx.parallel_for(cut.tasks(), [&](int64_t task) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *grad = in + n, *dz = grad + n, *s0 = dz + n, *s1 = s0 + n;
    const Channels<Acc> at(s1 + n, cut, stats + cut.sample(task) * cut.groups, a.weight, a.bias);
    const Acc *mean = at.mean, *r = at.r;
    double* sum = sums + task * 2 * n;
    for (int64_t i = 0; i < 2 * n; ++i) sum[i] = 0;
    for (int64_t begin = cut.begin(task); begin < cut.end(task); begin += cut.block) {
      for (int64_t i = 0; i < 2 * n; ++i) s0[i] = 0;  // s1 too, right behind
      for (int64_t row = begin; row < begin + cut.block && row < cut.end(task); ++row) {
        const Acc* v = x.load(row, in);
        row_gradient(v, dy.load(row, grad), at, n, a.silu, dz);
        for (int64_t i = 0; i < n; ++i) s0[i] += dz[i];
        for (int64_t i = 0; i < n; ++i) s1[i] += dz[i] * ((v[i] - mean[i]) * r[i]);
      }
      for (int64_t i = 0; i < 2 * n; ++i) sum[i] += static_cast<double>(s0[i]);
    }
  });
}

/// Adds the parts of each sample up into its first part, and the samples into dweight and dbias.
template <class Acc>
Status finish_sums(const Context& ctx, const GroupNormBackwardArgs& a, const Cut& cut, double* sums) {
  const int64_t n = cut.channels;
  double* total = ctx.workspace<double>(2 * n);
  if (total == nullptr) return Status::no_memory();
  for (int64_t i = 0; i < 2 * n; ++i) total[i] = 0;
  for (int64_t b = 0; b < (cut.parts > 0 ? cut.samples : 0); ++b) {
    double* first = sums + b * cut.parts * 2 * n;
    for (int64_t p = 1; p < cut.parts; ++p)
      for (int64_t i = 0; i < 2 * n; ++i) first[i] += first[p * 2 * n + i];
    for (int64_t i = 0; i < 2 * n; ++i) total[i] += first[i];
  }
  if (a.dbias) store_row<double>(a.dbias.dtype)(a.dbias.data, 1, n, total);
  if (a.dweight) store_row<double>(a.dweight.dtype)(a.dweight.data, 1, n, total + n);
  return {};
}

template <class Acc>
void store_dx(const Context& ctx, const GroupNormBackwardArgs& a, const Cut& cut, const Stats<Acc>* stats,
              const Scratch<Acc>& scratch, const double* sums) {
  const Rows<Acc> x(a.x), dy(a.dy), dx(a.dx);
  const int64_t n = cut.channels, size = cut.in_group();
  const double count = static_cast<double>(cut.positions * size);
  ctx.parallel_for(cut.tasks(), [&](int64_t task) {
    const typename Scratch<Acc>::Lease lease(scratch);
    Acc *in = lease.data(), *grad = in + n, *dz = grad + n, *m0 = dz + n, *m1 = m0 + n;
    const Channels<Acc> at(m1 + n, cut, stats + cut.sample(task) * cut.groups, a.weight, a.bias);
    const Acc *mean = at.mean, *r = at.r, *weight = at.weight;
    const double* sum = sums + cut.sample(task) * cut.parts * 2 * n;
    for (int64_t g = 0; g < cut.groups; ++g) {
      double plain = 0, times_n = 0;
      for (int64_t i = g * size; i < (g + 1) * size; ++i) {
        plain += static_cast<double>(weight[i]) * sum[i];
        times_n += static_cast<double>(weight[i]) * sum[n + i];
      }
      for (int64_t i = g * size; i < (g + 1) * size; ++i) m0[i] = static_cast<Acc>(plain / count);
      for (int64_t i = g * size; i < (g + 1) * size; ++i) m1[i] = static_cast<Acc>(times_n / count);
    }
    for (int64_t row = cut.begin(task); row < cut.end(task); ++row) {
      const Acc* v = x.load(row, in);
      row_gradient(v, dy.load(row, grad), at, n, a.silu, dz);
      Acc* o = dx.open(row, grad);
      for (int64_t i = 0; i < n; ++i) o[i] = r[i] * (dz[i] * weight[i] - m0[i] - (v[i] - mean[i]) * r[i] * m1[i]);
      dx.finish(row, o);
    }
  });
}

template <class Acc>
Status backward(const Context& ctx, const GroupNormBackwardArgs& a) {
  const Cut cut(a.x, a.groups);
  const int64_t n = cut.channels;
  if (n == 0) return {};
  Stats<Acc>* stats = ctx.workspace<Stats<Acc>>(cut.samples * cut.groups + 1);
  double* sums = ctx.workspace<double>(cut.tasks() * 2 * n + 1);
  const Scratch<Acc> scratch(ctx, (5 + Channels<Acc>::kArrays) * n);
  if (stats == nullptr || sums == nullptr || !scratch.ok()) return Status::no_memory();
  HN_RETURN_IF_ERROR(find_stats(ctx, Rows<Acc>(a.x), cut, a.eps, stats));
  add_gradients(ctx, a, cut, stats, scratch, sums);
  HN_RETURN_IF_ERROR(finish_sums<Acc>(ctx, a, cut, sums));
  if (a.dx) store_dx(ctx, a, cut, stats, scratch, sums);
  return {};
}

}  // namespace

Status group_norm(const Context& ctx, const GroupNormArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return forward<decltype(acc)>(ctx, a); });
}

Status group_norm_backward(const Context& ctx, const GroupNormBackwardArgs& a) {
  return with_float_acc(a.x.dtype, [&](auto acc) { return backward<decltype(acc)>(ctx, a); });
}

}  // namespace hn::cpu::HN_ISA
