// One tile is 2x2 outputs from a 4x4 patch of inputs. With d the patch, g a 3x3 filter and position (i, j) of 16:
//   V = Bt d B   V[i][j] = patch elements at rows {first[i], second[i]} and columns {first[j], second[j]}, signs
//   sign[.] U = G g Gt   U[i][j] = sum over a, b of G[i][a] G[j][b] g[a][b] M = V U      summed over taps in t and
//   channels: one matrix product for each (i, j), by gemm.h y = At M A
// V and U are made where the product asks for them; only M is stored, for a bounded number of tiles at a time.
#include "cpu/kernels/conv3d_winograd.h"

#include <cstring>

#include "cpu/kernels/conv3d_taps.h"
#include "cpu/kernels/gemm.h"
#include "cpu/kernels/reused_workspace.h"

namespace hn::cpu::HN_ISA {
namespace {

constexpr int kPatch = 4, kPositions = kPatch * kPatch, kTile = 2;
constexpr int64_t kLeastChannels = 32, kLeastSide = 4;
constexpr int64_t kProductBytes = int64_t{48} << 20;  // M of so many tiles at a time
constexpr int64_t kColumns = 512;                     // channels handled at once: the gemm's block along k

constexpr int kFirst[kPatch] = {0, 1, 2, 1}, kSecond[kPatch] = {2, 2, 1, 3};
constexpr float kSign[kPatch] = {-1, 1, -1, -1};
constexpr float kG[kPatch][3] = {{1, 0, 0}, {0.5f, 0.5f, 0.5f}, {0.5f, -0.5f, 0.5f}, {0, 0, 1}};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// Where the tiles of a convolution lie, and which input positions their patches read; -1 is a zero.
class Tiles {
 public:
  Tiles(const Context& ctx, const Conv3dArgs& a, const TensorView& x, const TensorView& weight, const TensorView& y)
      : frames_(y.dim(1)), taps_(weight.dim(1)), down_((y.dim(2) + 1) / kTile), across_((y.dim(3) + 1) / kTile) {
    int64_t* table = ctx.workspace<int64_t>(frames_ * taps_ + (down_ + across_) * kPatch + 1);
    if (table == nullptr) return;
    const bool replicate = a.pad_mode == Conv3dArgs::PadMode::replicate;
    const auto input = [&](int axis, int64_t position, int64_t tap, int64_t stride) {
      const Span span = forward_span(position, tap, x.dim(axis + 1), stride, a.before[axis], replicate);
      return span.count == 0 ? -1 : span.first;
    };
    t_ = table;
    h_ = t_ + frames_ * taps_;
    w_ = h_ + down_ * kPatch;
    for (int64_t i = 0; i < frames_ * taps_; ++i) t_[i] = input(0, i / taps_, i % taps_, a.stride[0]);
    for (int64_t i = 0; i < down_ * kPatch; ++i) h_[i] = input(1, i / kPatch * kTile, i % kPatch, 1);
    for (int64_t i = 0; i < across_ * kPatch; ++i) w_[i] = input(2, i / kPatch * kTile, i % kPatch, 1);
    count_ = y.dim(0) * frames_ * down_ * across_;
  }
  bool ok() const { return t_ != nullptr; }
  int64_t count() const { return count_; }
  int64_t taps() const { return taps_; }

  /// Batch, output frame, row and column of a tile, in tiles.
  Voxel at(int64_t tile) const {
    Voxel v;
    v.w = tile % across_, tile /= across_;
    v.h = tile % down_, tile /= down_;
    v.t = tile % frames_, v.b = tile / frames_;
    return v;
  }
  void advance(Voxel& v) const {
    if (++v.w < across_) return;
    v.w = 0;
    if (++v.h < down_) return;
    v.h = 0;
    if (++v.t < frames_) return;
    v.t = 0;
    ++v.b;
  }
  int64_t frame(const Voxel& v, int64_t tap) const { return t_[v.t * taps_ + tap]; }
  int64_t row(const Voxel& v, int r) const { return h_[v.h * kPatch + r]; }
  int64_t column(const Voxel& v, int c) const { return w_[v.w * kPatch + c]; }

 private:
  int64_t frames_, taps_, down_, across_, count_ = 0;
  int64_t *t_ = nullptr, *h_ = nullptr, *w_ = nullptr;
};

/// dst = (p00 + sj p01) + si (p10 + sj p11)
void combine(const float* const (&p)[4], float si, float sj, int64_t n, float* dst) {
  const Vec<float> vi = broadcast(si), vj = broadcast(sj);
  int64_t k = 0;
  for (; k + kLanes<float> <= n; k += kLanes<float>) {
    const Vec<float> upper = load<float>(p[0] + k) + vj * load<float>(p[1] + k);
    const Vec<float> lower = load<float>(p[2] + k) + vj * load<float>(p[3] + k);
    store<float>(dst + k, upper + vi * lower);
  }
  for (; k < n; ++k) dst[k] = (p[0][k] + sj * p[1][k]) + si * (p[2][k] + sj * p[3][k]);
}

/// V: row m of matrix (i, j) is a tile's transformed patch at (i, j), columns are (tap in t, channel).
struct PatchA final : ASource<float> {
  PatchA(const Tiles& tiles, const TensorView& x, int64_t first)
      : tiles(tiles), x(x), first(first), direct(x.dtype == DType::f32), load_(load_row<float>(x.dtype)) {}

  void rows(float* dst, int64_t ld, int64_t position, int64_t m0, int64_t m_count, int64_t k0,
            int64_t k_count) const override {
    const int i = static_cast<int>(position) / kPatch, j = static_cast<int>(position) % kPatch;
    const int64_t channels = x.dim(4);
    for (int64_t k = 0; k < k_count;) {
      const int64_t tap = (k0 + k) / channels, channel = (k0 + k) % channels;
      const int64_t n = smaller(smaller(channels - channel, k_count - k), kColumns);
      Voxel v = tiles.at(first + m0);
      for (int64_t m = 0; m < m_count; ++m, tiles.advance(v)) one(v, tap, channel, n, i, j, dst + m * ld + k);
      k += n;
    }
  }

 private:
  void one(const Voxel& v, int64_t tap, int64_t channel, int64_t n, int i, int j, float* dst) const {
    alignas(64) float widened[4][kColumns];
    alignas(64) static constexpr float kZeros[kColumns] = {};
    const int64_t t = tiles.frame(v, tap);
    const int64_t rows[2] = {tiles.row(v, kFirst[i]), tiles.row(v, kSecond[i])};
    const int64_t columns[2] = {tiles.column(v, kFirst[j]), tiles.column(v, kSecond[j])};
    const float* part[4];
    for (int q = 0; q < 4; ++q) {
      const int64_t h = rows[q / 2], w = columns[q % 2];
      if (t < 0 || h < 0 || w < 0) {
        part[q] = kZeros;
        continue;
      }
      const int64_t at =
          v.b * x.strides[0] + t * x.strides[1] + h * x.strides[2] + w * x.strides[3] + channel * x.strides[4];
      if (direct) {
        part[q] = x.as<float>() + at;
      } else {
        load_(x.at(at), 1, n, widened[q]);
        part[q] = widened[q];
      }
    }
    combine(part, kSign[i], kSign[j], n, dst);
  }

  const Tiles& tiles;
  const TensorView& x;
  int64_t first;
  bool direct;
  LoadRow<float> load_;
};

/// U: column n of matrix (i, j) is filter n transformed at (i, j), rows are (tap in t, channel).
struct FilterB final : BSource<float> {
  explicit FilterB(const TensorView& weight) : weight(weight), load_(load_row<float>(weight.dtype)) {}

  void panel(float* dst, int64_t position, int64_t k0, int64_t k_count, int64_t n0, int64_t n_count) const override {
    constexpr int64_t kAtOnce = 128, kLd = kAtOnce + 16;
    alignas(64) float block[NR<float> * kLd], row[kAtOnce];
    const int i = static_cast<int>(position) / kPatch, j = static_cast<int>(position) % kPatch;
    const int64_t channels = weight.dim(4);
    if (n_count < NR<float>) std::memset(block, 0, sizeof block);  // the columns that are not there
    for (int64_t p = 0; p < k_count;) {
      const int64_t tap = (k0 + p) / channels, channel = (k0 + p) % channels;
      const int64_t n = smaller(smaller(channels - channel, k_count - p), kAtOnce);
      for (int64_t f = 0; f < n_count; ++f) {
        float* sum = block + f * kLd;
        std::memset(sum, 0, static_cast<size_t>(n) * sizeof(float));
        for (int q = 0; q < 9; ++q) {
          const float factor = kG[i][q / 3] * kG[j][q % 3];
          if (factor == 0) continue;
          const int64_t at = (((n0 + f) * weight.dim(1) + tap) * 9 + q) * channels + channel;
          const float* g = row;
          if (weight.dtype == DType::f32)
            g = weight.as<float>() + at;
          else
            load_(weight.at(at), 1, n, row);
          for (int64_t c = 0; c < n; ++c) sum[c] += factor * g[c];
        }
      }
      transpose<float>(block, kLd, NR<float>, n, dst + p * NR<float>, NR<float>);
      p += n;
    }
  }

  const TensorView& weight;
  LoadRow<float> load_;
};

/// y = At M A + bias for a range of tiles; M is [16][tiles][n].
struct TileOutput {
  const Tiles& tiles;
  const TensorView& y;
  const float* bias;
  StoreRow<float> store_;
  const float* products;
  int64_t stride;  // from one position's matrix to the next

  void write(int64_t first, int64_t m) const {
    const Voxel v = tiles.at(first + m);
    const int64_t n = y.dim(4);
    const int64_t down = smaller(kTile, y.dim(2) - v.h * kTile), across = smaller(kTile, y.dim(3) - v.w * kTile);
    alignas(64) float out[kTile * kTile][kColumns];
    for (int64_t n0 = 0; n0 < n; n0 += kColumns) {
      const int64_t count = smaller(kColumns, n - n0);
      transform(products + m * n + n0, count, bias == nullptr ? nullptr : bias + n0, out);
      for (int64_t r = 0; r < down; ++r)
        for (int64_t c = 0; c < across; ++c) {
          const int64_t at = v.b * y.strides[0] + v.t * y.strides[1] + (v.h * kTile + r) * y.strides[2] +
                             (v.w * kTile + c) * y.strides[3] + n0;
          store_(y.at(at), 1, count, out[r * kTile + c]);
        }
    }
  }

 private:
  void transform(const float* at, int64_t n, const float* add, float (&out)[kTile * kTile][kColumns]) const {
    for (int64_t k = 0; k < n; ++k) {
      float upper[kPatch], lower[kPatch];
      for (int j = 0; j < kPatch; ++j) {
        const float* m = at + j * stride + k;
        const float m0 = m[0], m1 = m[kPatch * stride], m2 = m[2 * kPatch * stride], m3 = m[3 * kPatch * stride];
        upper[j] = (m0 + m1) + m2;
        lower[j] = (m1 - m2) - m3;
      }
      const float b = add == nullptr ? 0.0f : add[k];
      out[0][k] = ((upper[0] + upper[1]) + upper[2]) + b;
      out[1][k] = ((upper[1] - upper[2]) - upper[3]) + b;
      out[2][k] = ((lower[0] + lower[1]) + lower[2]) + b;
      out[3][k] = ((lower[1] - lower[2]) - lower[3]) + b;
    }
  }
};

}  // namespace

bool winograd_pays(const Conv3dArgs& a) {
  const TensorView weight = with_frames(a.weight), y = with_frames(a.y);
  return weight.dim(2) == 3 && weight.dim(3) == 3 && a.stride[1] == 1 && a.stride[2] == 1 &&
         weight.dim(0) >= kLeastChannels && weight.dim(4) >= kLeastChannels && y.dim(2) >= kLeastSide &&
         y.dim(3) >= kLeastSide;
}

Status conv3d_winograd(const Context& ctx, const Conv3dArgs& a) {
  const TensorView x = with_frames(a.x), weight = with_frames(a.weight), y = with_frames(a.y);
  const int64_t n = weight.dim(0), k = weight.dim(1) * weight.dim(4);
  const Tiles tiles(ctx, a, x, weight, y);
  float* bias = a.bias ? ctx.workspace<float>(n) : nullptr;
  if (!tiles.ok() || (a.bias && bias == nullptr)) return Status::no_memory();
  if (bias != nullptr) load_row<float>(a.bias.dtype)(a.bias.data, 1, n, bias);
  const int64_t at_once = kProductBytes / (kPositions * n * static_cast<int64_t>(sizeof(float))) + 1;
  const int64_t parts = (tiles.count() + at_once - 1) / at_once, part = (tiles.count() + parts - 1) / parts;
  float* products = ctx.workspace<float>(kPositions * part * n);
  if (products == nullptr) return Status::no_memory();
  Reused workspace(ctx);
  for (int64_t first = 0; first < tiles.count(); first += part) {
    const int64_t count = smaller(part, tiles.count() - first);
    const Matrix matrix{products, DType::f32, n, 1, {1, {kPositions}, {count * n}}};
    const Status status = gemm<float>(workspace.next(), {kPositions, count, n, k}, PatchA(tiles, x, first),
                                      FilterB(weight), RowMajorSink<float>(matrix));
    if (!status.ok()) return status;
    const TileOutput output{tiles, y, bias, store_row<float>(y.dtype), products, count * n};
    constexpr int64_t kGroup = 16;
    ctx.parallel_for((count + kGroup - 1) / kGroup, [&](int64_t group) {
      for (int64_t m = group * kGroup; m < smaller(count, (group + 1) * kGroup); ++m) output.write(first, m);
    });
  }
  return {};
}

}  // namespace hn::cpu::HN_ISA
