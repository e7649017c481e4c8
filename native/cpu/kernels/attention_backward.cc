// Gradients of attention, from probabilities made again out of lse. With s in units of log 2, for query i and key j:
//   P = 2^(s_ij − lse_i · log2 e),  dP = dout_i · v_j,  dS = P · (dP − delta_i),  delta_i = dout_i · o_i − dlse_i
//   dv_j = Σ_i P dout_i,   dk_j = scale · Σ_i dS q_i,   dq_i = scale · Σ_j dS k_j
// Five products of 2 · Sq · Sk · D FLOPs a head; blocks are made transposed, [keys][queries], so that P and dS are
// ready operands for dv and dk, and only dS is turned round, for dq. Bound: FMA rate.
//
// Sums without atomics: the queries and the keys of a segment are cut into n blocks each, and in step t key block j
// meets query block (j + t) mod n. No two tasks of a step touch the same sums, and each sum takes its shares in the
// order of the steps, whatever the number of threads.
#include "core/generated/attention.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/rows.h"
#include "cpu/kernels/scratch.h"

namespace hn::cpu::HN_ISA {
namespace {

template <class Acc>
class Backward {
 public:
  Backward(const Context& ctx, const AttentionBackwardArgs& args)
      : ctx_(ctx),
        a_(args),
        kv_heads_(a_.k.dim(2)),
        group_(kv_heads_ > 0 ? a_.q.dim(2) / kv_heads_ : 0),
        depth_(a_.q.dim(3)),
        padded_depth_(round_up(depth_, NR<Acc>)),
        width_(a_.v.dim(3)),
        padded_width_(round_up(width_, NR<Acc>)),
        sees_{a_.causal, a_.frame_tokens} {}

  Status run() {
    HN_RETURN_IF_ERROR(make_segments(ctx_, NR<Acc>, a_.q, a_.k, a_.cu_seqlens, a_.cu_seqlens_k, &segments_));
    if (kv_heads_ == 0 || segments_.count == 0) return {};
    plan();
    const int64_t elements = group_ * q_head_elements() + k_head_elements();
    const int64_t fit = most(1, kPassBytes / static_cast<int64_t>(sizeof(Acc)) / most(1, elements));
    const int64_t passes = ceil_div(kv_heads_, fit), pass_heads = ceil_div(kv_heads_, passes);
    memory_ = ctx_.workspace<Acc>(most(1, pass_heads * elements));
    const Scratch<Acc> scratch(ctx_, scratch_elements());
    if (memory_ == nullptr || !scratch.ok()) return Status::no_memory();
    for (first_ = 0; first_ < kv_heads_; first_ += pass_heads) {
      heads_ = least(pass_heads, kv_heads_ - first_);
      ctx_.parallel_for(heads_ * group_ * segments_.q_panels, [&](int64_t i) {
        const typename Scratch<Acc>::Lease lease(scratch);
        pack_queries(i / segments_.q_panels, i % segments_.q_panels, lease.data());
      });
      ctx_.parallel_for(heads_ * segments_.k_panels,
                        [&](int64_t i) { pack_keys(i / segments_.k_panels, i % segments_.k_panels); });
      for (int64_t step = 0; step < steps_; ++step)
        ctx_.parallel_for(heads_ * tasks_, [&](int64_t i) {
          const typename Scratch<Acc>::Lease lease(scratch);
          meet(i / tasks_, i % tasks_, step, lease.data());
        });
      ctx_.parallel_for(heads_ * group_ * segments_.q_panels,
                        [&](int64_t i) { store_queries(i / segments_.q_panels, i % segments_.q_panels); });
      ctx_.parallel_for(heads_ * segments_.k_panels,
                        [&](int64_t i) { store_keys(i / segments_.k_panels, i % segments_.k_panels); });
    }
    return {};
  }

 private:
  using B = AttentionBlocking<Acc>;
  static constexpr int64_t kPassBytes = 96 << 20;
  static constexpr int64_t kQueries = B::kKeys / 2;  // of a block, on whole panels
  static constexpr int64_t kTile = B::kRows;         // keys whose scores are held at once
  static constexpr int64_t kEnoughTasks = 16;        // in a step, for any number of threads

  /// Packed operands and sums of one query head, all segments. Tokens stand on whole panels.
  struct QueryHead {
    Acc *q_columns, *dout_columns;  // panels [D][NR] and [Dv][NR], for S and dP
    Acc *q_rows, *dout_rows;        // panels [queries][NR], for dk and dv
    Acc *lse, *delta;               // lse in units of log 2, +inf for queries that see nothing
    Acc* dq;                        // sums, [queries][padded D]
  };
  struct KeyHead {
    Acc* k_rows;   // panels [keys][NR], for dq
    Acc *dk, *dv;  // sums
  };

  int64_t q_head_elements() const {
    return segments_.q_panels * NR<Acc> * (depth_ + width_ + 2 * padded_depth_ + padded_width_ + 2);
  }
  int64_t k_head_elements() const { return segments_.k_panels * NR<Acc> * (2 * padded_depth_ + padded_width_); }

  /// The part of query head `head` (of this pass) that belongs to segment s.
  QueryHead query_head(int64_t head, const Segment& s) const {
    const int64_t all = segments_.q_panels * NR<Acc>, before = s.q_panel * NR<Acc>;
    Acc* at = memory_ + head * q_head_elements();
    const auto part = [&](int64_t width) {
      Acc* const here = at + before * width;
      at += all * width;
      return here;
    };
    QueryHead h;
    h.q_columns = part(depth_);
    h.dout_columns = part(width_);
    h.q_rows = part(padded_depth_);
    h.dout_rows = part(padded_width_);
    h.lse = part(1);
    h.delta = part(1);
    h.dq = part(padded_depth_);
    return h;
  }
  KeyHead key_head(int64_t head, const Segment& s) const {
    const int64_t all = segments_.k_panels * NR<Acc>, before = s.k_panel * NR<Acc>;
    Acc* const at = memory_ + heads_ * group_ * q_head_elements() + head * k_head_elements();
    return {at + before * padded_depth_, at + (all + before) * padded_depth_,
            at + 2 * all * padded_depth_ + before * padded_width_};
  }
  static int64_t panel_stride(int64_t tokens) { return round_up(tokens, NR<Acc>) * NR<Acc>; }

  int64_t q_blocks(const Segment& s) const { return ceil_div(s.q_count, q_block_); }
  int64_t k_blocks(const Segment& s) const { return ceil_div(s.k_count, k_block_); }

  /// Sizes of blocks, smaller where there would be too few; tasks of a step (one a key block); number of steps.
  void plan() {
    int64_t tokens = 0;
    for (int64_t i = 0; i < segments_.count; ++i)
      tokens += least(segments_.items[i].q_count, segments_.items[i].k_count);
    const int64_t wanted = ceil_div(tokens * kv_heads_, kEnoughTasks);
    q_block_ = most(kQueries / 4, least(kQueries, round_up(wanted, NR<Acc>)));
    k_block_ = most(kTile / 2, least(2 * kTile, round_up(wanted, MR<Acc>)));
    for (int64_t i = 0; i < segments_.count; ++i) {
      Segment& s = segments_.items[i];
      s.task = tasks_;
      tasks_ += k_blocks(s);
      if (s.q_count > 0 && s.k_count > 0) steps_ = most(steps_, most(q_blocks(s), k_blocks(s)));
    }
  }

  static void pack_columns(const Matrix& head, int64_t first, int64_t n, int64_t width, Acc* to) {
    TransposedB<Acc>(head).panel(to, 0, 0, width, first, n);
  }
  /// Tokens [first, first + n) into each panel [tokens][NR] of a head's width.
  static void pack_rows(const Matrix& head, int64_t first, int64_t n, int64_t width, int64_t stride, Acc* to) {
    const RowMajorB<Acc> source(head);
    for (int64_t d = 0; d < width; d += NR<Acc>, to += stride)
      source.panel(to, 0, first, n, d, least(NR<Acc>, width - d));
  }

  void pack_queries(int64_t head, int64_t panel, Acc* scratch) const {
    const Segment& s = segments_.find(panel, &Segment::q_panel);
    const QueryHead to = query_head(head, s);
    const int64_t query = (panel - s.q_panel) * NR<Acc>, n = least(NR<Acc>, s.q_count - query), first = s.q0 + query;
    const int64_t real_head = first_ * group_ + head, stride = panel_stride(s.q_count);
    const Matrix q = head_matrix(a_.q, s.batch, real_head);
    pack_columns(q, first, n, depth_, to.q_columns + query * depth_);
    if (a_.want_k) pack_rows(q, first, n, depth_, stride, to.q_rows + query * NR<Acc>);
    std::memset(to.dq + query * padded_depth_, 0, static_cast<size_t>(NR<Acc> * padded_depth_) * sizeof(Acc));
    if (a_.dout) {
      const Matrix dout = head_matrix(a_.dout, s.batch, real_head);
      pack_columns(dout, first, n, width_, to.dout_columns + query * width_);
      if (a_.want_v) pack_rows(dout, first, n, width_, stride, to.dout_rows + query * NR<Acc>);
    } else {
      std::memset(to.dout_columns + query * width_, 0, static_cast<size_t>(NR<Acc> * width_) * sizeof(Acc));
      for (int64_t d = 0; d < padded_width_; d += NR<Acc>)
        std::memset(to.dout_rows + query * NR<Acc> + d / NR<Acc> * stride, 0, NR<Acc> * NR<Acc> * sizeof(Acc));
    }
    for (int64_t i = 0; i < NR<Acc>; ++i) load_row_sums(s, real_head, query + i, scratch, to);
  }

  /// lse and delta of one query; what fills up the panel counts as seeing nothing.
  void load_row_sums(const Segment& s, int64_t head, int64_t query, Acc* scratch, const QueryHead& to) const {
    to.lse[query] = Acc(__builtin_inf());
    to.delta[query] = 0;
    if (query >= s.q_count) return;
    const int64_t row = s.q0 + query, at = (s.batch * a_.q.dim(2) + head) * a_.q.dim(1) + row;
    const Acc lse = a_.lse.as<Acc>()[at];
    if (lse != -Acc(__builtin_inf())) to.lse[query] = lse * Acc(kLog2E);
    if (a_.dout) {
      const Matrix o = head_matrix(a_.o, s.batch, head), dout = head_matrix(a_.dout, s.batch, head);
      Acc *const x = scratch, *const y = scratch + width_;
      load_row<Acc>(o.dtype)(o.at(0, row, 0), o.col_stride, width_, x);
      load_row<Acc>(dout.dtype)(dout.at(0, row, 0), dout.col_stride, width_, y);
      to.delta[query] = sum_of<Acc>(width_, [=](int64_t i) { return x[i] * y[i]; });
    }
    if (a_.dlse) to.delta[query] -= a_.dlse.as<Acc>()[at];
  }

  void pack_keys(int64_t head, int64_t panel) const {
    const Segment& s = segments_.find(panel, &Segment::k_panel);
    const KeyHead to = key_head(head, s);
    const int64_t key = (panel - s.k_panel) * NR<Acc>, n = least(NR<Acc>, s.k_count - key);
    if (a_.want_q)
      pack_rows(head_matrix(a_.k, s.batch, first_ + head), s.k0 + key, n, depth_, panel_stride(s.k_count),
                to.k_rows + key * NR<Acc>);
    std::memset(to.dk + key * padded_depth_, 0, static_cast<size_t>(NR<Acc> * padded_depth_) * sizeof(Acc));
    std::memset(to.dv + key * padded_width_, 0, static_cast<size_t>(NR<Acc> * padded_width_) * sizeof(Acc));
  }

  struct Tile {
    Acc *k, *v;    // operands of the tile's keys, from load_rows
    Acc *p, *ds;   // [keys][kLd]: columns are queries
    Acc* ds_rows;  // ds turned round, [queries][kLd]
    Acc* mask;
  };
  // Squares of the transpose may reach beyond the last key.
  static constexpr int64_t kTileRows = round_up(kTile, kLanes<Acc>);
  int64_t scratch_elements() const {
    const int64_t tile = rows_elements<Acc>(depth_, kTile) + rows_elements<Acc>(width_, kTile) +
                         (2 * kTileRows + kQueries) * B::kLd + kTile;
    return most(tile, 2 * width_);
  }

  /// Key block `task` of a head meets the query block whose turn it is in this step.
  void meet(int64_t head, int64_t task, int64_t step, Acc* scratch) const {
    const Segment& s = segments_.find(task, &Segment::task);
    const int64_t n = most(q_blocks(s), k_blocks(s)), key_block = task - s.task, query_block = (key_block + step) % n;
    if (step >= n || query_block >= q_blocks(s)) return;
    const int64_t query = query_block * q_block_, query_end = least(query + q_block_, s.q_count);
    const int64_t block = key_block * k_block_, key_end = least(block + k_block_, s.k_count);
    Tile t;
    t.k = scratch;
    t.v = t.k + rows_elements<Acc>(depth_, kTile);
    t.p = t.v + rows_elements<Acc>(width_, kTile);
    t.ds = t.p + kTileRows * B::kLd;
    t.ds_rows = t.ds + kTileRows * B::kLd;
    t.mask = t.ds_rows + kQueries * B::kLd;
    for (int64_t key = block; key < key_end; key += kTile) {
      const int64_t keys = least(kTile, key_end - key);
      // Whole panels of queries that see none of these keys are left out.
      const int64_t first = most(query, sees_.first_query(s, key) / NR<Acc> * NR<Acc>);
      if (first >= query_end) continue;
      load_rows<Acc>(head_matrix(a_.k, s.batch, first_ + head), s.k0 + key, keys, depth_, Acc(a_.scale * kLog2E), kTile,
                     t.k);
      load_rows<Acc>(head_matrix(a_.v, s.batch, first_ + head), s.k0 + key, keys, width_, Acc(1), kTile, t.v);
      if (a_.key_mask) load_mask(a_.key_mask, s.batch, s.k0 + key, keys, t.mask);
      for (int64_t g = 0; g < group_; ++g)
        add_tile(s, query_head(head * group_ + g, s), key_head(head, s), t, key, keys, first, query_end - first);
    }
  }

  /// What keys [key, key + keys) and queries [query, query + queries) give to each other.
  void add_tile(const Segment& s, const QueryHead& q, const KeyHead& k, const Tile& t, int64_t key, int64_t keys,
                int64_t query, int64_t queries) const {
    const int64_t panels = ceil_div(queries, NR<Acc>), q_stride = panel_stride(s.q_count);
    multiply_heads<Acc>(t.k, kTile, keys, q.q_columns + query * depth_, panels, depth_, t.p);
    multiply_heads<Acc>(t.v, kTile, keys, q.dout_columns + query * width_, panels, width_, t.ds);
    for (int64_t j = 0; j < keys; ++j) {
      const int64_t hidden = most(0, least(queries, sees_.first_query(s, key + j) - query));
      const Acc mask = a_.key_mask ? t.mask[j] : Acc(0);
      differentiate_row(t.p + j * B::kLd, t.ds + j * B::kLd, q.lse + query, q.delta + query, mask, hidden, queries);
    }
    if (a_.want_v)
      micro_block<Acc, B::kLd>(t.p, keys, q.dout_rows + query * NR<Acc>, q_stride, padded_width_ / NR<Acc>, queries,
                               k.dv + key * padded_width_, padded_width_, true);
    if (a_.want_k)
      micro_block<Acc, B::kLd>(t.ds, keys, q.q_rows + query * NR<Acc>, q_stride, padded_depth_ / NR<Acc>, queries,
                               k.dk + key * padded_depth_, padded_depth_, true);
    if (!a_.want_q) return;
    constexpr int64_t W = kLanes<Acc>;
    for (int64_t j = 0; j < keys; j += W)
      for (int64_t i = 0; i < queries; i += W)
        transpose_square<Acc>(t.ds + j * B::kLd + i, B::kLd, t.ds_rows + i * B::kLd + j, B::kLd);
    micro_block<Acc, B::kLd>(t.ds_rows, queries, k.k_rows + key * NR<Acc>, panel_stride(s.k_count),
                             padded_depth_ / NR<Acc>, keys, q.dq + query * padded_depth_, padded_depth_, true);
  }

  /// One key: scores become P, dP becomes dS. The first `hidden` queries do not see it.
  static void differentiate_row(Acc* p, Acc* ds, const Acc* lse, const Acc* delta, Acc mask, int64_t hidden,
                                int64_t queries) {
    constexpr int64_t W = kLanes<Acc>;
    for (int64_t i = hidden / W * W; i < queries; i += W) {
      const Vec<Acc> x = exp2_of((load<Acc>(p + i) + mask) - load<Acc>(lse + i));
      store<Acc>(p + i, x);
      store<Acc>(ds + i, x * (load<Acc>(ds + i) - load<Acc>(delta + i)));
    }
    for (int64_t i = 0; i < hidden; ++i) p[i] = ds[i] = 0;
  }

  static void store_rows(const TensorView& out, const Segment& s, int64_t head, int64_t first, int64_t n, Acc factor,
                         Acc* sums, int64_t width, int64_t padded_width) {
    const Matrix to = head_matrix(out, s.batch, head);
    const StoreRow<Acc> store_out = store_row<Acc>(out.dtype);
    if (factor != Acc(1)) multiply_rows(sums, padded_width, n, width, factor);
    for (int64_t i = 0; i < n; ++i) store_out(to.at(0, first + i, 0), to.col_stride, width, sums + i * padded_width);
  }

  void store_queries(int64_t head, int64_t panel) const {
    if (!a_.want_q) return;
    const Segment& s = segments_.find(panel, &Segment::q_panel);
    const int64_t query = (panel - s.q_panel) * NR<Acc>, n = least(NR<Acc>, s.q_count - query);
    store_rows(a_.dq, s, first_ * group_ + head, s.q0 + query, n, Acc(a_.scale),
               query_head(head, s).dq + query * padded_depth_, depth_, padded_depth_);
  }
  void store_keys(int64_t head, int64_t panel) const {
    const Segment& s = segments_.find(panel, &Segment::k_panel);
    const KeyHead from = key_head(head, s);
    const int64_t key = (panel - s.k_panel) * NR<Acc>, n = least(NR<Acc>, s.k_count - key);
    if (a_.want_k)
      store_rows(a_.dk, s, first_ + head, s.k0 + key, n, Acc(a_.scale), from.dk + key * padded_depth_, depth_,
                 padded_depth_);
    if (a_.want_v)
      store_rows(a_.dv, s, first_ + head, s.k0 + key, n, Acc(1), from.dv + key * padded_width_, width_, padded_width_);
  }

  const Context& ctx_;
  const AttentionBackwardArgs& a_;
  const int64_t kv_heads_, group_;
  const int64_t depth_, padded_depth_, width_,
      padded_width_;  // of a head of q and k, and of v and dout; on whole panels
  const Visibility sees_;
  Segments segments_;
  int64_t q_block_ = 0, k_block_ = 0, tasks_ = 0, steps_ = 0;
  int64_t first_ = 0, heads_ = 0;  // key heads of this pass
  Acc* memory_ = nullptr;          // query heads of the pass, then its key heads
};

}  // namespace

Status attention_backward(const Context& ctx, const AttentionBackwardArgs& a) {
  return with_float_acc(a.q.dtype, [&](auto acc) { return Backward<decltype(acc)>(ctx, a).run(); });
}

}  // namespace hn::cpu::HN_ISA
