// Attention forward, in blocks with an online softmax (arXiv 2205.14135): for a block of queries, over blocks of keys,
//   S = scale · log2 e · Q Kᵀ + mask;   m' = max(m, rowmax S);   P = 2^(S − m');   a = 2^(m − m')
//   l = a · l + rowsum P;   O = a · O + P V          and at the end   o = O / l,   lse = ln 2 · (m + log2 l)
// q [B, Sq, H, D], k [B, Sk, Hkv, D], v [B, Sk, Hkv, Dv] with any outer strides, o [B, Sq, H, Dv], lse [B, H, Sq].
//
// For some heads at a time K and V are packed into panels for the micro-kernel; then each task takes one block of
// queries of one head through all the keys it sees. A query's sums are made by one task, in the order of the keys: the
// result does not depend on threads. FLOPs 2 · Sq · Sk · (D + Dv) a head; bound: FMA rate, the exponentials cost some
// 8 % at D = 128.
#include "core/generated/attention.h"
#include "cpu/kernels/attention.h"
#include "cpu/kernels/scratch.h"

namespace hn::cpu::HN_ISA {
namespace {

template <class Acc>
class Forward {
 public:
  Forward(const Context& ctx, const AttentionArgs& args)
      : ctx_(ctx),
        a_(args),
        heads_(a_.q.dim(2)),
        kv_heads_(a_.k.dim(2)),
        group_(kv_heads_ > 0 ? heads_ / kv_heads_ : 0),
        depth_(a_.q.dim(3)),
        width_(a_.v.dim(3)),
        padded_width_(round_up(width_, NR<Acc>)),
        sees_{a_.causal, a_.frame_tokens} {}

  Status run() {
    HN_RETURN_IF_ERROR(make_segments(ctx_, NR<Acc>, a_.q, a_.k, a_.cu_seqlens, a_.cu_seqlens_k, &segments_));
    const int64_t tasks = plan_tasks();
    if (tasks == 0 || heads_ == 0) return {};
    const int64_t head_elements = segments_.k_panels * NR<Acc> * (depth_ + padded_width_);
    const int64_t fit = most(1, kPassBytes / static_cast<int64_t>(sizeof(Acc)) / most(1, head_elements));
    const int64_t passes = ceil_div(kv_heads_, fit), pass_heads = ceil_div(kv_heads_, passes);
    packed_ = ctx_.workspace<Acc>(most(1, pass_heads * head_elements));
    const Scratch<Acc> scratch(ctx_, scratch_elements());
    if (packed_ == nullptr || !scratch.ok()) return Status::no_memory();
    for (int64_t first = 0; first < kv_heads_; first += pass_heads) {
      const int64_t kv_heads = least(pass_heads, kv_heads_ - first);
      ctx_.parallel_for(kv_heads * segments_.k_panels, [&](int64_t i) {
        const int64_t kv = i / segments_.k_panels;
        pack(first + kv, i % segments_.k_panels, packed_ + kv * head_elements);
      });
      ctx_.parallel_for(kv_heads * group_ * tasks, [&](int64_t i) {
        const int64_t head = i / tasks;
        const typename Scratch<Acc>::Lease lease(scratch);
        // Backwards: with causal masks the last blocks are the longest, and long ones should not come last.
        attend(first * group_ + head, tasks - 1 - i % tasks, packed_ + head / group_ * head_elements, lease.data());
      });
    }
    return {};
  }

 private:
  using B = AttentionBlocking<Acc>;
  /// K and V of the heads that are worked on together; small enough for the last-level cache where heads are short.
  static constexpr int64_t kPassBytes = 32 << 20;
  static constexpr int64_t kEnoughTasks = 64;  // for any number of threads: the cut must not depend on it

  /// Blocks of queries of each segment, for one head; answers their number.
  int64_t plan_tasks() {
    const int64_t queries = a_.q.dim(0) * a_.q.dim(1) * heads_;
    block_ = least(B::kRows, most(2 * MR<Acc>, round_up(ceil_div(queries, kEnoughTasks), MR<Acc>)));
    int64_t tasks = 0;
    for (int64_t i = 0; i < segments_.count; ++i) {
      segments_.items[i].task = tasks;
      tasks += ceil_div(segments_.items[i].q_count, block_);
    }
    return tasks;
  }

  Acc* k_panels(Acc* head, const Segment& s) const { return head + s.k_panel * NR<Acc> * depth_; }
  Acc* v_panels(Acc* head, const Segment& s) const {
    return head + segments_.k_panels * NR<Acc> * depth_ + s.k_panel * NR<Acc> * padded_width_;
  }
  /// Distance of two panels of V, which hold all keys of the segment each.
  int64_t v_stride(const Segment& s) const { return round_up(s.k_count, NR<Acc>) * NR<Acc>; }

  /// NR keys: a panel [D][NR] of K, and their rows in each of the panels [keys][NR] of V.
  void pack(int64_t kv_head, int64_t panel, Acc* head) const {
    const Segment& s = segments_.find(panel, &Segment::k_panel);
    const int64_t key = (panel - s.k_panel) * NR<Acc>, n = least(NR<Acc>, s.k_count - key);
    const TransposedB<Acc> k(head_matrix(a_.k, s.batch, kv_head));
    k.panel(k_panels(head, s) + key * depth_, 0, 0, depth_, s.k0 + key, n);
    const RowMajorB<Acc> v(head_matrix(a_.v, s.batch, kv_head));
    Acc* to = v_panels(head, s) + key * NR<Acc>;
    for (int64_t d = 0; d < width_; d += NR<Acc>, to += v_stride(s))
      v.panel(to, 0, s.k0 + key, n, d, least(NR<Acc>, width_ - d));
  }

  int64_t o_stride() const { return padded_width_ + 64 / static_cast<int64_t>(sizeof(Acc)); }
  int64_t scratch_elements() const {
    return rows_elements<Acc>(depth_, block_) + block_ * (B::kLd + o_stride() + 2) + B::kKeys;
  }

  /// One block of queries of one head.
  void attend(int64_t head, int64_t task, Acc* packed, Acc* scratch) const {
    const Segment& s = segments_.find(task, &Segment::task);
    const int64_t first = (task - s.task) * block_, rows = least(block_, s.q_count - first);
    Acc* const q = scratch;
    Acc* const scores = q + rows_elements<Acc>(depth_, block_);
    Acc* const out = scores + block_ * B::kLd;
    Acc *const mask = out + block_ * o_stride(), *const max = mask + B::kKeys, *const sum = max + block_;
    for (int64_t r = 0; r < rows; ++r) max[r] = -Acc(__builtin_inf()), sum[r] = 0;
    const int64_t keys = sees_.limit(s, first + rows - 1);
    if (keys == 0)
      for (int64_t i = 0; i < rows * o_stride(); ++i) out[i] = 0;
    else
      load_rows<Acc>(head_matrix(a_.q, s.batch, head), s.q0 + first, rows, depth_, Acc(a_.scale * kLog2E), block_, q);
    const Acc *k = k_panels(packed, s), *v = v_panels(packed, s);
    for (int64_t key = 0; key < keys; key += B::kKeys) {
      const int64_t n = least(B::kKeys, keys - key);
      multiply_heads<Acc>(q, block_, rows, k + key * depth_, ceil_div(n, NR<Acc>), depth_, scores);
      if (a_.key_mask) load_mask(a_.key_mask, s.batch, s.k0 + key, n, mask);
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t visible = most(0, least(n, sees_.limit(s, first + r) - key));
        const Acc factor = softmax_row(scores + r * B::kLd, visible, n, a_.key_mask ? mask : nullptr, max[r], sum[r]);
        if (key > 0 && factor != Acc(1)) multiply_rows(out + r * o_stride(), 0, 1, padded_width_, factor);
      }
      micro_block<Acc, B::kLd>(scores, rows, v + key * NR<Acc>, v_stride(s), padded_width_ / NR<Acc>, n, out,
                               o_stride(), key > 0);
    }
    finish(s, head, first, rows, out, max, sum);
  }

  /// Scores of `n` keys, of which the first `visible` count, become 2^(score − max); answers what to multiply earlier
  /// sums with. The row has room for whole vectors.
  static Acc softmax_row(Acc* s, int64_t visible, int64_t n, const Acc* mask, Acc& max, Acc& sum) {
    constexpr int64_t W = kLanes<Acc>;
    const int64_t end = round_up(visible, W);
    for (int64_t j = visible; j < end; ++j) s[j] = -Acc(__builtin_inf());
    if (mask != nullptr)
      for (int64_t j = 0; j < visible; ++j) s[j] += mask[j];
    const Acc before = max;
    const Acc top = row_max(s, end, before);
    // A row that has seen no key yet keeps 2^(−inf − 0) = 0 everywhere instead of 2^(−inf + inf) = NaN.
    const Acc base = top == -Acc(__builtin_inf()) ? Acc(0) : top;
    Vec<Acc> even{}, odd{};
    const Vec<Acc> bases = broadcast<Acc>(base);
    int64_t j = 0;
    for (; j + 2 * W <= end; j += 2 * W) {
      const Vec<Acc> p = exp2_of(load<Acc>(s + j) - bases), p2 = exp2_of(load<Acc>(s + j + W) - bases);
      store<Acc>(s + j, p);
      store<Acc>(s + j + W, p2);
      even += p;
      odd += p2;
    }
    if (j < end) {
      const Vec<Acc> p = exp2_of(load<Acc>(s + j) - bases);
      store<Acc>(s + j, p);
      even += p;
    }
    for (j = end; j < n; ++j) s[j] = 0;
    const Acc factor = exp2_of(broadcast<Acc>(before - base))[0];
    sum = sum * factor + sum_lanes<Acc>(even + odd);
    max = top;
    return factor;
  }

  /// Largest of s[0 .. end) and `start`; four chains, as one would wait for each comparison.
  static Acc row_max(const Acc* s, int64_t end, Acc start) {
    constexpr int64_t W = kLanes<Acc>;
    Vec<Acc> best[4];
    for (int c = 0; c < 4; ++c) best[c] = broadcast<Acc>(start);
    int64_t j = 0;
    for (; j + 4 * W <= end; j += 4 * W)
      for (int c = 0; c < 4; ++c) {
        const Vec<Acc> x = load<Acc>(s + j + c * W);
        best[c] = x > best[c] ? x : best[c];
      }
    for (; j < end; j += W) {
      const Vec<Acc> x = load<Acc>(s + j);
      best[0] = x > best[0] ? x : best[0];
    }
    for (int c = 1; c < 4; ++c) best[0] = best[c] > best[0] ? best[c] : best[0];
    return max_lanes<Acc>(best[0]);
  }

  void finish(const Segment& s, int64_t head, int64_t first, int64_t rows, Acc* out, const Acc* max,
              const Acc* sum) const {
    const Matrix to = head_matrix(a_.o, s.batch, head);
    const StoreRow<Acc> store_o = store_row<Acc>(a_.o.dtype);
    Acc* const lse =
        a_.lse ? a_.lse.as<Acc>() + s.batch * a_.lse.strides[0] + head * a_.lse.strides[1] + s.q0 : nullptr;
    for (int64_t r = 0; r < rows; ++r) {
      Acc* row = out + r * o_stride();
      const bool hidden = max[r] == -Acc(__builtin_inf());
      multiply_rows(row, 0, 1, width_, hidden ? Acc(0) : Acc(1) / sum[r]);
      store_o(to.at(0, s.q0 + first + r, 0), to.col_stride, width_, row);
      if (lse != nullptr) lse[first + r] = hidden ? max[r] : Acc(kLn2) * max[r] + log_of(sum[r]);
    }
  }
  static float log_of(float x) { return __builtin_logf(x); }
  static double log_of(double x) { return __builtin_log(x); }

  const Context& ctx_;
  const AttentionArgs& a_;
  const int64_t heads_, kv_heads_, group_;
  const int64_t depth_, width_, padded_width_;  // of a head of q and k; of v and o, and on whole panels
  const Visibility sees_;
  Segments segments_;
  int64_t block_ = 0;  // queries of a task
  Acc* packed_ = nullptr;
};

}  // namespace

Status attention(const Context& ctx, const AttentionArgs& a) {
  return with_float_acc(a.q.dtype, [&](auto acc) { return Forward<decltype(acc)>(ctx, a).run(); });
}

}  // namespace hn::cpu::HN_ISA
