// The main loop of matrix products on tensor cores, C[M, N] = A[M, K] B[K, N] in bf16 or f16 with f32 sums: one block
// of threads computes one kM × kN tile of C. Where A and B come from is a loader's affair and where C goes is an
// epilogue's, so that linear layers, batched products and convolutions (as implicit products) share the loop.
//
//   template <class C, class T, class ALoader, class BLoader, class Epilogue>
//   __global__ void __launch_bounds__(C::kThreads, C::kBlocksPerSm) kernel(…) {
//     HN_DYN_SMEM(base);
//     Carver carve(base);
//     const auto smem = tile_smem<C, T>(carve);           // host: Carver carve; tile_smem<C, T>(carve); carve.bytes()
//     ALoader a(…);  BLoader b(…);                         // know the tile's first row or column, and K
//     float acc[C::kTilesM][C::kTilesN][4];
//     multiply_tile<C, T>(smem, a, b, k_begin, k_end, acc);  // blocks of kK along K; k_begin ≥ k_end gives zeros
//     store_tile<C>(smem.staging, acc, m0, n0, M, N, epilogue);
//   }
//
// Tiles in shared memory. An operand's tile holds 16-bit elements T in rows, cut into chunks of 8 (16 bytes). How it
// lies follows from how the operand lies in memory, Major:
//   k    rows are indices of M (or N), columns are K: A stored [M, K], B stored [N, K] (a linear's weight)
//   mn   rows are indices of K, columns are M (or N): A stored [K, M], B stored [K, N]
// Within a row chunks are permuted (SharedTile::at), so that cp.async, ldmatrix and plain stores of whole chunks meet
// no bank conflicts. Loaders write whole chunks at at(row, chunk) and never think of the permutation otherwise.
//
// A loader, one object a thread:
//   static constexpr Major kMajor;
//   void fetch(int kb, T* tile);       begins to bring k-block kb (columns or rows kb · kK … of K) into `tile`: by
//   cp.async
//                                      (16, 8 or 4 bytes), by plain stores, or by loads into registers that `put`
//                                      stores. It neither commits nor waits. Blocks come in order, each once.
//   static constexpr bool kAnyBlock = true;   optional: fetch and put may be called for blocks beyond the last too,
//   which
//                                      are never multiplied: what they write does not matter, but they read nothing out
//                                      of bounds. Without it they are asked for in a branch, which the products wait
//                                      for.
//   void put(T* tile);                 stores what fetch holds in registers, some products later; empty for loaders
//   that
//                                      hold nothing. Same tile as the fetch before, and before the next fetch.
// Each call is made by all threads of the block; together they fill the whole tile, SharedTile::each deals out the
// chunks. What lies beyond K must be zeros in both operands (NaN times zero is NaN). What lies beyond M or N may be
// anything finite or not: it reaches only sums that are dropped; but nothing may be read out of bounds.
//
// An epilogue, one object a thread, gets finished sums in rows of 8 neighbouring columns:
//   auto columns(int64_t n, int count);  called once a thread: what depends on columns n … n + count − 1 alone (a
//   bias);
//                                      count is 0, and nothing may be read, where the columns lie beyond N
//   void row(const Columns&, int64_t m, int64_t n, int count, float (&v)[8]);
//                                      sums of row m < M, count = min(8, N − n) ≥ 1; n is a multiple of 8
//
// Sums run over K in steps of 16 in order, whatever the tile's sizes: the choice of a tile does not change results.
// Shared memory is read at one ldmatrix of four 8 × 8 matrices for each 16 × 16 of A or B; with warp tiles of 64 × 64
// the reads take about half the time of the products. Fragments of the next step are loaded while the products of this
// one run, and kStages − 1 blocks of K are on their way from memory meanwhile. (Multistage mma.sync GEMM, as since
// CUTLASS 2.)
#pragma once

#include "cuda/device/ptx.cuh"
#include "cuda/device/shared.cuh"
#include "cuda/device/storage.cuh"

namespace hn::cuda {

enum class Major { k, mn };

template <int kM_, int kN_, int kK_, int kWarpsM_, int kWarpsN_, int kStages_, int kBlocksPerSm_>
struct TileConfig {
  static constexpr int kM = kM_, kN = kN_, kK = kK_;
  static constexpr int kWarpsM = kWarpsM_, kWarpsN = kWarpsN_;
  static constexpr int kStages = kStages_;
  static constexpr int kBlocksPerSm = kBlocksPerSm_;
  static constexpr int kThreads = kWarp * kWarpsM * kWarpsN;
  static constexpr int kWarpM = kM / kWarpsM, kWarpN = kN / kWarpsN;  // a warp's part of the tile
  static constexpr int kTilesM = kWarpM / 16, kTilesN = kWarpN / 8;   // in products of 16 × 8
  static constexpr int kSteps = kK / 16;
  static_assert(kWarpM % 16 == 0 && kWarpN % 16 == 0 && (kWarpM & (kWarpM - 1)) == 0 && (kWarpN & (kWarpN - 1)) == 0);
  static_assert(kWarpN >= 16 && kWarpN <= 256 && kStages >= 2 && kSteps >= 2 && kSteps % 2 == 0);

  // Finished sums are turned from fragments to rows 16 rows a warp at a time, padded against bank conflicts.
  static constexpr int kStagingPitch = kWarpN + 8;
  static constexpr int kStagingFloats = kWarpsM * kWarpsN * 16 * kStagingPitch;
};

/// An operand's tile of one k-block: kExtent indices of M or N by kK of K.
template <int kExtent, int kK, Major kMajor>
struct SharedTile {
  static constexpr int kRows = kMajor == Major::k ? kExtent : kK;
  static constexpr int kColumns = kMajor == Major::k ? kK : kExtent;
  static constexpr int kChunks = kColumns / 8;  // in a row
  static constexpr int kElements = kRows * kColumns;
  static_assert(kChunks == 4 || kChunks % 8 == 0, "rows of 64 bytes, or whole lines of 128");

  /// What the chunk's number is xor'ed with. Eight rows that ldmatrix reads together lie in eight groups of banks.
  HN_DEVICE static int swizzle(int row) { return kChunks == 4 ? row >> 1 & 3 : row & 7; }
  /// Where chunk `chunk` of `row` begins, in elements.
  HN_DEVICE static int at(int row, int chunk) { return row * kColumns + (chunk ^ swizzle(row)) * 8; }

  /// How many chunks a thread of kThreads fills.
  template <int kThreads>
  static constexpr int kTurns = kRows * kChunks / kThreads;
  /// Calls fn(turn, row, chunk) for each chunk of this thread; neighbouring threads get neighbouring chunks. The chunk
  /// is the same in every turn, the row grows by kThreads / kChunks.
  template <int kThreads, class Fn>
  HN_DEVICE static void each(Fn&& fn) {
    static_assert(kRows * kChunks % kThreads == 0 && kThreads % kChunks == 0);
    const int row = static_cast<int>(threadIdx.x) / kChunks, chunk = static_cast<int>(threadIdx.x) % kChunks;
#pragma unroll
    for (int turn = 0; turn < kTurns<kThreads>; ++turn) fn(turn, row + turn * (kThreads / kChunks), chunk);
  }
};

template <class T>
struct TileSmem {
  T* a;  // kStages tiles
  T* b;
  float* staging;  // in place of b, when the loop is over
};

template <class C, class T>
HN_HOST_DEVICE TileSmem<T> tile_smem(Carver& carve) {
  static_assert(sizeof(T) == 2);
  constexpr int kBytesB = C::kStages * C::kN * C::kK * 2, kStagingBytes = C::kStagingFloats * 4;
  TileSmem<T> smem;
  smem.a = carve.take<T>(C::kStages * C::kM * C::kK, 128);
  smem.b = carve.take<T>((kBytesB > kStagingBytes ? kBytesB : kStagingBytes) / 2, 128);
  smem.staging = reinterpret_cast<float*>(smem.b);
  return smem;
}

HN_DEVICE void mma_16816(bf16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ptx::mma_bf16(d, a, b0, b1);
}
HN_DEVICE void mma_16816(f16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  ptx::mma_f16(d, a, b0, b1);
}

/// Reads 16 × 16 pieces of an operand's tile as fragments: this lane's row address for ldmatrix.
template <int kExtent, int kK, Major kMajor>
class FragmentReader {
  using Tile = SharedTile<kExtent, kK, kMajor>;
  static constexpr uint32_t kRowBytes = Tile::kColumns * 2;

 public:
  /// From index mn0 on (a multiple of the warp's part). mn_half and k_half: which eight indices of M or N, and of K,
  /// the matrix has to which this lane gives a row.
  HN_DEVICE FragmentReader(int mn0, int mn_half, int k_half) {
    const int r = lane_id() % 8;
    const int row = kMajor == Major::k ? mn0 + 8 * mn_half + r : 8 * k_half + r;
    const int chunk = kMajor == Major::k ? k_half : mn0 / 8 + mn_half;
    offset_ = static_cast<uint32_t>(row) * kRowBytes + static_cast<uint32_t>(chunk ^ Tile::swizzle(r)) * 16;
  }

  /// This lane's place in a tile that begins at `tile`, a multiple of 128.
  HN_DEVICE uint32_t place(uint32_t tile) const { return tile + offset_; }

  /// The piece at indices mn0 + 16 · piece, step `step` of K.
  HN_DEVICE static void read(uint32_t place, int piece, int step, uint32_t (&r)[4]) {
    // Rows move by 16, which keeps their swizzle. Chunks move by an even number, of which neither the row nor the tile
    // has a bit: the chunk in the address can be xor'ed there.
    const int rows = kMajor == Major::k ? piece : step, chunks = kMajor == Major::k ? step : piece;
    const uint32_t at = place ^ static_cast<uint32_t>(chunks) * 32;
    ptx::ldmatrix<4, kMajor == Major::mn>(at + static_cast<uint32_t>(rows) * 16 * kRowBytes, r);
  }

 private:
  uint32_t offset_;  // in bytes
};

namespace detail {

template <class Loader>
HN_DEVICE constexpr bool takes_any_block() {
  if constexpr (requires { Loader::kAnyBlock; }) return Loader::kAnyBlock;
  return false;
}

template <class T, class Loader>
HN_DEVICE void fetch(Loader& loader, int kb, int end, T* tile) {
  if (takes_any_block<Loader>() || kb < end) loader.fetch(kb, tile);
}
template <class T, class Loader>
HN_DEVICE void put(Loader& loader, int kb, int end, T* tile) {
  if (takes_any_block<Loader>() || kb < end) loader.put(tile);
}

}  // namespace detail

/// acc = A B over k-blocks [begin, end) of this block's tile. All threads call it; the loaders' tiles must not be
/// touched before a barrier that follows (store_tile begins with one).
template <class C, class T, class ALoader, class BLoader>
HN_DEVICE void multiply_tile(const TileSmem<T>& smem, ALoader& a, BLoader& b, int begin, int end,
                             float (&acc)[C::kTilesM][C::kTilesN][4]) {
  using TileA = SharedTile<C::kM, C::kK, ALoader::kMajor>;
  using TileB = SharedTile<C::kN, C::kK, BLoader::kMajor>;
  constexpr uint32_t kBytesA = TileA::kElements * 2, kBytesB = TileB::kElements * 2;

#pragma unroll
  for (int i = 0; i < C::kTilesM; ++i) {
#pragma unroll
    for (int j = 0; j < C::kTilesN; ++j) {
#pragma unroll
      for (int k = 0; k < 4; ++k) acc[i][j][k] = 0;
    }
  }
  if (begin >= end) return;

  // Fragment registers of A go by M first, those of B by K first: see ptx_tensor_core.cuh.
  const int quarter = lane_id() / 8;
  const int warp_m = warp_id() / C::kWarpsN * C::kWarpM, warp_n = warp_id() % C::kWarpsN * C::kWarpN;
  using ReaderA = FragmentReader<C::kM, C::kK, ALoader::kMajor>;
  using ReaderB = FragmentReader<C::kN, C::kK, BLoader::kMajor>;
  const uint32_t a_base = ReaderA(warp_m, quarter % 2, quarter / 2).place(ptx::smem_u32(smem.a));
  const uint32_t b_base = ReaderB(warp_n, quarter / 2, quarter % 2).place(ptx::smem_u32(smem.b));

#pragma unroll 1
  for (int stage = 0; stage < C::kStages; ++stage) {
    T *const a_tile = smem.a + stage * TileA::kElements, *const b_tile = smem.b + stage * TileB::kElements;
    detail::fetch(a, begin + stage, end, a_tile);
    detail::fetch(b, begin + stage, end, b_tile);
    if (stage < C::kStages - 1) {  // the last is put by the loop
      detail::put(a, begin + stage, end, a_tile);
      detail::put(b, begin + stage, end, b_tile);
    }
    ptx::cp_async_commit();  // empty groups too: waits count them
  }

  // Two sets of fragments: one is loaded while the other is multiplied.
  uint32_t a_part[2][C::kTilesM][4], b_part[2][C::kTilesN / 2][4];
  const auto load = [&](int set, int stage, int step) {
    const uint32_t a_place = a_base + stage * kBytesA, b_place = b_base + stage * kBytesB;
#pragma unroll
    for (int i = 0; i < C::kTilesM; ++i) ReaderA::read(a_place, i, step, a_part[set][i]);
#pragma unroll
    for (int j = 0; j < C::kTilesN / 2; ++j) ReaderB::read(b_place, j, step, b_part[set][j]);
  };

  ptx::cp_async_wait<C::kStages - 1>();
  __syncthreads();
  load(0, 0, 0);

  int stage = 0;
#pragma unroll 1
  for (int kb = begin; kb < end; ++kb) {
#pragma unroll
    for (int step = 0; step < C::kSteps; ++step) {
      if (step + 1 < C::kSteps) {
        load((step + 1) % 2, stage, step + 1);
      } else {
        // The next block has arrived here, and after the barrier everybody's part of it. Everybody has read this one,
        // so its stage is filled again.
        ptx::cp_async_wait<C::kStages - 2>();
        __syncthreads();
        T *const a_tile = smem.a + stage * TileA::kElements, *const b_tile = smem.b + stage * TileB::kElements;
        stage = stage + 1 == C::kStages ? 0 : stage + 1;
        load(0, stage, 0);  // beyond the last block too: a branch would part the products from what they hide
        detail::fetch(a, kb + C::kStages, end, a_tile);
        detail::fetch(b, kb + C::kStages, end, b_tile);
        ptx::cp_async_commit();
      }
      const int set = step % 2;
#pragma unroll
      for (int i = 0; i < C::kTilesM; ++i) {
#pragma unroll
        for (int j = 0; j < C::kTilesN; ++j) {
          const uint32_t(&pair)[4] = b_part[set][j / 2];
          mma_16816(T{}, acc[i][j], a_part[set][i], pair[j % 2 * 2], pair[j % 2 * 2 + 1]);
        }
      }
      if (step + 2 == C::kSteps) {
        // What was fetched in the turn before.
        const int last = (stage == 0 ? C::kStages : stage) - 1;
        detail::put(a, kb + C::kStages - 1, end, smem.a + last * TileA::kElements);
        detail::put(b, kb + C::kStages - 1, end, smem.b + last * TileB::kElements);
      }
    }
  }
}

/// Hands the sums of the tile at (m0, n0) to the epilogue, what lies beyond M and N left out. All threads call it.
template <class C, class Epilogue>
HN_DEVICE void store_tile(float* staging, const float (&acc)[C::kTilesM][C::kTilesN][4], int64_t m0, int64_t n0,
                          int64_t m_size, int64_t n_size, const Epilogue& epilogue) {
  constexpr int kLanesPerRow = C::kWarpN / 8, kRowsPerTurn = kWarp / kLanesPerRow;
  float* const mine = staging + warp_id() * 16 * C::kStagingPitch;
  const int lane = lane_id(), row = lane / kLanesPerRow, column = lane % kLanesPerRow * 8;
  const int64_t warp_m = m0 + warp_id() / C::kWarpsN * C::kWarpM, n = n0 + warp_id() % C::kWarpsN * C::kWarpN + column;
  const int count = n_size - n < 8 ? static_cast<int>(n_size - n) : 8;
  const auto columns = epilogue.columns(count > 0 ? n : 0, count > 0 ? count : 0);

  ptx::cp_async_wait<0>();
  __syncthreads();  // the staging lies where fragments were read
  float* const to = mine + lane / 4 * C::kStagingPitch + lane % 4 * 2;
#pragma unroll 1
  for (int i = 0; i < C::kTilesM; ++i) {
    // The rows are handled by one piece of code; only the choice of registers, whose numbers must be known, is
    // unrolled.
#pragma unroll
    for (int piece = 0; piece < C::kTilesM; ++piece) {
      if (piece != i) continue;
#pragma unroll
      for (int j = 0; j < C::kTilesN; ++j) {
        const float(&sums)[4] = acc[piece][j];
        *reinterpret_cast<float2*>(to + j * 8) = make_float2(sums[0], sums[1]);
        *reinterpret_cast<float2*>(to + 8 * C::kStagingPitch + j * 8) = make_float2(sums[2], sums[3]);
      }
    }
    __syncwarp();
#pragma unroll 1
    for (int r = row; r < 16; r += kRowsPerTurn) {
      const int64_t m = warp_m + i * 16 + r;
      if (m >= m_size || count <= 0) continue;
      float v[8];
      const float4* const from = reinterpret_cast<const float4*>(mine + r * C::kStagingPitch + column);
      const float4 low = from[0], high = from[1];
      v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
      v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
      epilogue.row(columns, m, n, count, v);
    }
    __syncwarp();  // before the next 16 rows take their place
  }
}

/// Which tile of C a block takes. Blocks that run together take tiles of kGroup neighbouring rows of tiles, column by
/// column, so that what they read of A and B stays in L2.
struct TileOrder {
  static constexpr int64_t kGroup = 8;
  int64_t tiles_m, tiles_n;

  HN_DEVICE void place(int64_t block, int64_t& tile_m, int64_t& tile_n) const {
    const int64_t per_group = kGroup * tiles_n, group = block / per_group, rest = block - group * per_group;
    const int64_t first = group * kGroup, height = min(kGroup, tiles_m - first);
    tile_n = rest / height;
    tile_m = first + rest - tile_n * height;
  }
};

}  // namespace hn::cuda
