#include "test/case_file.h"

#include <cstdio>
#include <cstring>

#include "core/generated/ops.h"
#include "test/suite.h"

namespace hn::test {
namespace {

std::vector<char> read_all(const char* path) {
  FILE* file = std::fopen(path, "rb");
  if (!file) std::fprintf(stderr, "cannot open %s\n", path);
  HN_CHECK(file);
  std::vector<char> contents;
  char part[1 << 16];
  while (const size_t got = std::fread(part, 1, sizeof part, file)) contents.insert(contents.end(), part, part + got);
  std::fclose(file);
  return contents;
}

class Reader {
 public:
  explicit Reader(const std::vector<char>& contents) : left_(contents) {}

  size_t left() const { return left_.size(); }
  std::span<const char> take(size_t bytes) {
    HN_CHECK(bytes <= left_.size());
    const std::span<const char> taken = left_.first(bytes);
    left_ = left_.subspan(bytes);
    return taken;
  }
  std::span<const char> contents(size_t bytes) { return take((bytes + 7) / 8 * 8).first(bytes); }
  template <class T>
  T value() {
    T out;
    std::memcpy(&out, take(sizeof out).data(), sizeof out);
    return out;
  }

 private:
  std::span<const char> left_;
};

uint32_t op_id(const char* name) {
  for (uint32_t op = 0; op < kOpCount; ++op) {
    if (std::strcmp(kOpNames[op], name) == 0) return op;
  }
  std::fprintf(stderr, "the cases hold an op '%s' that this build does not know: record them again\n", name);
  std::exit(1);
}

RecordedUse read_use(Reader& in) {
  const auto tensor = in.value<RecordedTensor>();
  HN_CHECK(is_valid_dtype(tensor.dtype) && tensor.rank >= 0 && tensor.rank <= kMaxRank && tensor.bytes >= 0);
  RecordedUse use;
  use.view.dtype = static_cast<DType>(tensor.dtype);
  use.view.rank = static_cast<int32_t>(tensor.rank);
  for (int i = 0; i < kMaxRank; ++i) {
    use.view.shape[i] = tensor.shape[i];
    use.view.strides[i] = tensor.strides[i];
  }
  use.fresh = (tensor.flags & RecordedTensor::kFresh) != 0;
  use.written = (tensor.flags & RecordedTensor::kWritten) != 0;
  use.misalignment = static_cast<size_t>(tensor.misalignment);
  use.bytes = static_cast<size_t>(tensor.bytes);
  return use;
}

Case read_case(Reader& in, const RecordedCall& header) {
  Case out;
  out.op = op_id(header.op);
  for (int64_t i = 0; i < header.args; ++i) out.arg_counts.push_back(static_cast<int32_t>(in.value<int64_t>()));
  for (int64_t i = 0; i < header.tensors; ++i) out.tensors.push_back(read_use(in));
  for (int64_t i = 0; i < header.attrs; ++i) out.attrs.push_back(in.value<double>());
  for (RecordedUse& use : out.tensors) {
    if (!use.fresh) use.before = in.contents(use.bytes);
  }
  for (RecordedUse& use : out.tensors) {
    if (use.written) use.after = in.contents(use.bytes);
  }
  return out;
}

CaseFile read_cases(const char* path) {
  CaseFile file;
  file.contents = read_all(path);
  Reader in(file.contents);
  HN_CHECK(std::memcmp(in.take(sizeof kRecordMagic).data(), kRecordMagic, sizeof kRecordMagic) == 0);
  while (in.left() > 0) {
    const size_t start = in.left();
    const auto header = in.value<RecordedCall>();
    if (header.op[0] == 0) {
      file.complete = false;
      break;
    }
    file.cases.push_back(read_case(in, header));
    file.cases.back().number = static_cast<int64_t>(file.cases.size()) - 1;
    HN_CHECK(start - in.left() == static_cast<size_t>(header.bytes));
  }
  return file;
}

}  // namespace

size_t Case::bytes() const {
  size_t sum = 0;
  for (const RecordedUse& use : tensors) sum += use.bytes;
  return sum;
}

std::string Case::describe() const {
  std::string text = std::string(kOpNames[op]) + " #" + std::to_string(number) + ":";
  for (const RecordedUse& use : tensors) {
    text += " " + format_tensor(use.view);
    if (!use.view.is_dense()) text += " strided";
    if (use.written) text += use.fresh ? " out" : " in place";
    text += ",";
  }
  text += " attributes";
  for (const double attr : attrs) {
    char number[32];
    std::snprintf(number, sizeof number, " %g", attr);
    text += number;
  }
  return text;
}

const CaseFile& recorded_cases() {
  HN_CHECK(cases_path());
  // Never freed: when a check fails, other threads still run while the driver ends.
  static const CaseFile& file = *new CaseFile(read_cases(cases_path()));
  return file;
}

}  // namespace hn::test
