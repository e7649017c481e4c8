// The driver. Columns are taken in blocks whose packed B fits the last-level cache; B is packed once for each, by all
// threads, then tasks of (matrix, row block, column block) each make their part of C:
//
//   for each K block:  copy A rows to the thread's own block  ->  micro-kernels over panels of B, sums to the C tile
//   then the tile goes to the sink, once.
//
// When one row block holds all of M, each panel is used by one task only: that task packs it itself, right before use
// (small M, or many small matrices), and nothing of B is stored.
//
// FLOPs 2 M N K; bound: FMA rate for M above about 16, below that the reading of B.

#include "cpu/kernels/gemm.h"

#include <cstring>

#include "cpu/kernels/scratch.h"

namespace hn::cpu::HN_ISA {
namespace {

template <class T>
T smaller(T a, T b) {
  return a < b ? a : b;
}
template <class T>
T larger(T a, T b) {
  return a > b ? a : b;
}
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/// Sizes in elements. A thread's block of A (about 230 KiB) and the panel of B that all its rows pass stay in L2: 1 MiB
/// where there is AVX-512, 512 KiB elsewhere (both tuned on Zen).
/// The C tile is touched once a K block and may lie further out: it is wide, so that A is copied few times.
template <class Acc>
struct Blocking {
  static constexpr int64_t kK = (kVectorBytes == 64 ? 2048 : 1536) / sizeof(Acc);
  static constexpr int kLdA = static_cast<int>(kK) + 64 / static_cast<int>(sizeof(Acc));
  static constexpr int64_t kRows = MR<Acc> * ((kVectorBytes == 64 ? 112 : 150) / MR<Acc>);
  static constexpr int64_t kColumns = 8192 / static_cast<int64_t>(sizeof(Acc));
  static constexpr int64_t kPackedBytes = 32 << 20;
  static constexpr int64_t kTasksPerThread = 8;  // the last to finish is then late by an eighth of its work at most
  static constexpr double kCutCost = 0.01;       // of one more cut of the columns: A is copied once more
};

/// How one product is cut. The cut may depend on the number of threads, the result does not: each element is one chain
/// over k wherever its tile lies (gemm_micro.h).
struct Plan {
  int64_t row_block, row_blocks;
  int64_t column_block, column_blocks;  // of one pass
  int64_t pass_columns;                 // columns whose B is packed together
  int64_t pass_batch;                   // matrices whose B is packed together
  bool private_b;                       // tasks pack their own panels
};

/// Share of the time that threads wait for the last of `tasks` equal tasks.
double idle(int64_t tasks, int threads) {
  const auto rounds = static_cast<double>(ceil_div(tasks, threads));
  return 1 - static_cast<double>(tasks) / (rounds * threads);
}

template <class Acc>
Plan make_plan(const GemmShape& s, int threads) {
  using B = Blocking<Acc>;
  Plan plan;
  plan.row_blocks = ceil_div(s.m, B::kRows);
  plan.row_block = round_up(ceil_div(s.m, plan.row_blocks), MR<Acc>);
  plan.row_blocks = ceil_div(s.m, plan.row_block);
  plan.private_b = plan.row_blocks == 1;
  plan.pass_columns = round_up(s.n, NR<Acc>);
  plan.pass_batch = s.batch;
  if (!plan.private_b) {
    const int64_t fit = larger<int64_t>(B::kPackedBytes / (static_cast<int64_t>(sizeof(Acc)) * s.k + 1), NR<Acc>);
    if (plan.pass_columns > fit) {
      const int64_t passes = ceil_div(plan.pass_columns, fit / NR<Acc> * NR<Acc>);
      plan.pass_columns = round_up(ceil_div(s.n, passes), NR<Acc>);
    }
    plan.pass_batch = smaller(s.batch, larger<int64_t>(1, fit / plan.pass_columns));
  }
  // Few row blocks: narrower tasks, so that all threads get some. Of a few cuts the one that leaves the least idle
  // time.
  const int64_t others = plan.row_blocks * plan.pass_batch;
  const int64_t least =
      larger<int64_t>(ceil_div(plan.pass_columns, B::kColumns), ceil_div(B::kTasksPerThread * threads, others));
  int64_t wanted = least;
  for (int64_t cut = least + 1; cut <= 2 * least; ++cut)
    if (idle(others * cut, threads) + B::kCutCost < idle(others * wanted, threads)) wanted = cut;
  plan.column_block = round_up(ceil_div(plan.pass_columns, wanted), NR<Acc>);
  plan.column_blocks = ceil_div(plan.pass_columns, plan.column_block);
  return plan;
}

template <class Acc>
class Product {
 public:
  Product(const GemmShape& shape, const ASource<Acc>& a, const BSource<Acc>& b, const Sink<Acc>& sink, int threads)
      : shape_(shape), a_(a), b_(b), sink_(sink), plan_(make_plan<Acc>(shape, threads)) {}

  Status run(const Context& ctx) const {
    const Scratch<Acc> scratch(ctx, a_elements() + tile_elements() + Blocking<Acc>::kK * NR<Acc>);
    if (!scratch.ok()) return Status::no_memory();
    Acc* packed = nullptr;
    const int64_t matrix_elements = plan_.pass_columns * shape_.k;
    if (!plan_.private_b && matrix_elements > 0) {
      packed = ctx.workspace<Acc>(matrix_elements * plan_.pass_batch);
      if (packed == nullptr) return Status::no_memory();
    }
    for (int64_t b0 = 0; b0 < shape_.batch; b0 += plan_.pass_batch) {
      const int64_t matrices = smaller(plan_.pass_batch, shape_.batch - b0);
      for (int64_t n0 = 0; n0 < shape_.n; n0 += plan_.pass_columns) {
        const int64_t n_count = smaller(plan_.pass_columns, shape_.n - n0);
        if (packed != nullptr) pack(ctx, b0, matrices, n0, n_count, packed);
        const int64_t columns = ceil_div(n_count, plan_.column_block);
        ctx.parallel_for(matrices * columns * plan_.row_blocks, [&](int64_t task) {
          // Rows vary fastest: threads at neighbouring tasks share the panels of B.
          const int64_t row = task % plan_.row_blocks, rest = task / plan_.row_blocks;
          const int64_t matrix = rest / columns, column = rest % columns * plan_.column_block;
          const typename Scratch<Acc>::Lease lease(scratch);
          const Acc* panels = packed ? packed + matrix * matrix_elements + column * shape_.k : nullptr;
          make_tile(lease.data(), b0 + matrix, row * plan_.row_block, n0 + column,
                    smaller(plan_.column_block, n_count - column), panels);
        });
      }
    }
    return {};
  }

 private:
  static constexpr int kLdA = Blocking<Acc>::kLdA;
  int64_t a_elements() const { return plan_.row_block * kLdA; }
  int64_t ld_tile() const { return plan_.column_block + 64 / static_cast<int64_t>(sizeof(Acc)); }
  int64_t tile_elements() const { return plan_.row_block * ld_tile(); }

  /// Panels one after another, each [K][NR].
  void pack(const Context& ctx, int64_t b0, int64_t matrices, int64_t n0, int64_t n_count, Acc* packed) const {
    const int64_t panels = ceil_div(n_count, NR<Acc>), k_blocks = ceil_div(shape_.k, Blocking<Acc>::kK);
    ctx.parallel_for(matrices * panels * k_blocks, [&](int64_t task) {
      const int64_t k0 = task % k_blocks * Blocking<Acc>::kK, panel = task / k_blocks % panels;
      const int64_t matrix = task / k_blocks / panels, n = panel * NR<Acc>;
      b_.panel(packed + (matrix * plan_.pass_columns + n) * shape_.k + k0 * NR<Acc>, b0 + matrix, k0,
               smaller(Blocking<Acc>::kK, shape_.k - k0), n0 + n, smaller<int64_t>(NR<Acc>, n_count - n));
    });
  }

  /// One task: C[m0 .. m0 + row_block][n0 .. n0 + n_count]; `panels` nullptr: B is packed here, panel by panel.
  void make_tile(Acc* scratch, int64_t b, int64_t m0, int64_t n0, int64_t n_count, const Acc* panels) const {
    Acc* const a = scratch;
    Acc* const tile = a + a_elements();
    Acc* const own_panel = tile + tile_elements();
    const int64_t m_count = smaller(plan_.row_block, shape_.m - m0);
    if (shape_.k == 0)
      for (int64_t i = 0; i < m_count; ++i)
        std::memset(tile + i * ld_tile(), 0, static_cast<size_t>(n_count) * sizeof(Acc));
    for (int64_t k0 = 0; k0 < shape_.k; k0 += Blocking<Acc>::kK) {
      const int64_t k_count = smaller(Blocking<Acc>::kK, shape_.k - k0);
      a_.rows(a, kLdA, b, m0, m_count, k0, k_count);
      for (int64_t j = 0; j < n_count; j += NR<Acc>) {
        const Acc* panel = own_panel;
        if (panels != nullptr)
          panel = panels + j * shape_.k + k0 * NR<Acc>;
        else
          b_.panel(own_panel, b, k0, k_count, n0 + j, smaller<int64_t>(NR<Acc>, n_count - j));
        const Acc* next = panels != nullptr && j + NR<Acc> < n_count ? panel + NR<Acc> * shape_.k : nullptr;
        multiply(a, m_count, panel, next, k_count, tile + j, k0 > 0);
      }
    }
    sink_.rows(tile, ld_tile(), b, m0, m_count, n0, n_count);
  }

  /// All rows past one panel. The next panel comes from far: it is asked for bit by bit meanwhile.
  void multiply(const Acc* a, int64_t m, const Acc* panel, const Acc* next, int64_t k, Acc* c, bool accumulate) const {
    constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(Acc));
    const int64_t share = ceil_div(ceil_div(k * NR<Acc>, kLine) * MR<Acc>, m) * kLine;
    for (int64_t i = 0; i < m; i += MR<Acc>) {
      if (next != nullptr)
        for (int64_t line = 0; line < share; line += kLine) __builtin_prefetch(next + line, 0, 2);
      if (next != nullptr) next += share;
      micro_rows<Acc, kLdA>(static_cast<int>(smaller<int64_t>(MR<Acc>, m - i)), a + i * kLdA, panel, k,
                            c + i * ld_tile(), ld_tile(), accumulate);
    }
  }

  const GemmShape shape_;
  const ASource<Acc>& a_;
  const BSource<Acc>& b_;
  const Sink<Acc>& sink_;
  const Plan plan_;
};

}  // namespace

template <class Acc>
Status gemm(const Context& ctx, const GemmShape& shape, const ASource<Acc>& a, const BSource<Acc>& b,
            const Sink<Acc>& sink) {
  if (shape.batch < 0 || shape.m < 0 || shape.n < 0 || shape.k < 0) return Status::invalid("gemm: a size is negative");
  if (shape.batch == 0 || shape.m == 0 || shape.n == 0) return {};
  return Product<Acc>(shape, a, b, sink, ctx.threads()).run(ctx);
}

template Status gemm<float>(const Context&, const GemmShape&, const ASource<float>&, const BSource<float>&,
                            const Sink<float>&);
template Status gemm<double>(const Context&, const GemmShape&, const ASource<double>&, const BSource<double>&,
                             const Sink<double>&);

}  // namespace hn::cpu::HN_ISA
