// The PTX of wgmma for each width in use: an instruction names each of its N / 2 sums, so that the text and the list of
// operands grow with N. A new width is one line at the end.
#pragma once

#include "cuda/device/words.cuh"

#if HN_HAS_SM90 && !defined(HN_SIMT)

namespace hn::cuda::ptx {

template <int kColumns>
struct WgmmaShape;  // of other widths there is none

// Sums as the instruction's text names them, and as operands of asm.
#define HN_TEXT_8(a, b, c, d, e, f, g, h) "%" #a ",%" #b ",%" #c ",%" #d ",%" #e ",%" #f ",%" #g ",%" #h
#define HN_TEXT_32                                                                                         \
  HN_TEXT_8(0, 1, 2, 3, 4, 5, 6, 7)                                                                        \
  "," HN_TEXT_8(8, 9, 10, 11, 12, 13, 14, 15) "," HN_TEXT_8(16, 17, 18, 19, 20, 21, 22, 23) "," HN_TEXT_8( \
      24, 25, 26, 27, 28, 29, 30, 31)
#define HN_TEXT_64                                                                                           \
  HN_TEXT_32                                                                                                 \
  "," HN_TEXT_8(32, 33, 34, 35, 36, 37, 38, 39) "," HN_TEXT_8(40, 41, 42, 43, 44, 45, 46, 47) "," HN_TEXT_8( \
      48, 49, 50, 51, 52, 53, 54, 55) "," HN_TEXT_8(56, 57, 58, 59, 60, 61, 62, 63)
#define HN_TEXT_88                                                        \
  HN_TEXT_64 "," HN_TEXT_8(64, 65, 66, 67, 68, 69, 70, 71) "," HN_TEXT_8( \
      72, 73, 74, 75, 76, 77, 78, 79) "," HN_TEXT_8(80, 81, 82, 83, 84, 85, 86, 87)
#define HN_TEXT_96 HN_TEXT_88 "," HN_TEXT_8(88, 89, 90, 91, 92, 93, 94, 95)
#define HN_TEXT_128                                                                            \
  HN_TEXT_96 "," HN_TEXT_8(96, 97, 98, 99, 100, 101, 102, 103) "," HN_TEXT_8(                  \
      104, 105, 106, 107, 108, 109, 110, 111) "," HN_TEXT_8(112, 113, 114, 115, 116, 117, 118, \
                                                            119) "," HN_TEXT_8(120, 121, 122, 123, 124, 125, 126, 127)

#define HN_SUMS_8(i)                                                                                          \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), \
      "+f"(d[i + 7])
#define HN_SUMS_32 HN_SUMS_8(0), HN_SUMS_8(8), HN_SUMS_8(16), HN_SUMS_8(24)
#define HN_SUMS_64 HN_SUMS_32, HN_SUMS_8(32), HN_SUMS_8(40), HN_SUMS_8(48), HN_SUMS_8(56)
#define HN_SUMS_88 HN_SUMS_64, HN_SUMS_8(64), HN_SUMS_8(72), HN_SUMS_8(80)
#define HN_SUMS_96 HN_SUMS_88, HN_SUMS_8(88)
#define HN_SUMS_128 HN_SUMS_96, HN_SUMS_8(96), HN_SUMS_8(104), HN_SUMS_8(112), HN_SUMS_8(120)

// In the operands that follow the sums: accumulate, B's descriptor, transpose of B, then A.
#define HN_WGMMA(columns, type, sums, accumulate_at, b_at, transpose_at, a_text, a_flags, ...)                 \
  asm volatile("{\n.reg .pred accumulate;\nsetp.ne.b32 accumulate, %" #accumulate_at                           \
               ", 0;\nwgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type " {" HN_TEXT_##sums \
               "}, " a_text ", %" #b_at ", accumulate, 1, 1, " a_flags "%" #transpose_at ";\n}"                \
               : HN_SUMS_##sums                                                                                \
               : "r"(static_cast<int>(accumulate)), "l"(b), "n"(static_cast<int>(kTransposeB)), __VA_ARGS__    \
               : "memory")

// at0 to at6 are the numbers of the operands from the sums on.
#define HN_WGMMA_SHAPE(columns, sums, at0, at1, at2, at3, at4, at5, at6)                                           \
  template <>                                                                                                      \
  struct WgmmaShape<columns> {                                                                                     \
    template <bool kBf16, bool kTransposeB>                                                                        \
    static HN_DEVICE void from_shared(float (&d)[sums], uint64_t a, uint64_t b, bool accumulate) {                 \
      if constexpr (kBf16) {                                                                                       \
        HN_WGMMA(columns, "bf16", sums, at0, at1, at2, "%" #at3, "0, ", "l"(a));                                   \
      } else {                                                                                                     \
        HN_WGMMA(columns, "f16", sums, at0, at1, at2, "%" #at3, "0, ", "l"(a));                                    \
      }                                                                                                            \
    }                                                                                                              \
    template <bool kBf16, bool kTransposeB>                                                                        \
    static HN_DEVICE void from_registers(float (&d)[sums], const uint32_t (&a)[4], uint64_t b, bool accumulate) {  \
      if constexpr (kBf16) {                                                                                       \
        HN_WGMMA(columns, "bf16", sums, at0, at1, at2, "{%" #at3 ",%" #at4 ",%" #at5 ",%" #at6 "}", "", "r"(a[0]), \
                 "r"(a[1]), "r"(a[2]), "r"(a[3]));                                                                 \
      } else {                                                                                                     \
        HN_WGMMA(columns, "f16", sums, at0, at1, at2, "{%" #at3 ",%" #at4 ",%" #at5 ",%" #at6 "}", "", "r"(a[0]),  \
                 "r"(a[1]), "r"(a[2]), "r"(a[3]));                                                                 \
      }                                                                                                            \
    }                                                                                                              \
  }

HN_WGMMA_SHAPE(64, 32, 32, 33, 34, 35, 36, 37, 38);
HN_WGMMA_SHAPE(128, 64, 64, 65, 66, 67, 68, 69, 70);
HN_WGMMA_SHAPE(176, 88, 88, 89, 90, 91, 92, 93, 94);
HN_WGMMA_SHAPE(192, 96, 96, 97, 98, 99, 100, 101, 102);
HN_WGMMA_SHAPE(256, 128, 128, 129, 130, 131, 132, 133, 134);

}  // namespace hn::cuda::ptx

#endif
