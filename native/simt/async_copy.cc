// cp.async: the destination turns to NaN when the copy is issued and is filled at the latest moment that the rules
// allow, in the wait. A missing wait therefore shows in every run, and so does a buffer that is refilled too early.
#include <cstring>

#include "simt/block.h"

namespace hn::simt {
namespace {

void deliver(Block& block, const PendingCopy& copy) {
  auto* to = static_cast<unsigned char*>(block.shared.at(copy.dst, static_cast<size_t>(copy.bytes)));
  sanitizer::write(to, static_cast<size_t>(copy.bytes));
  sanitizer::read(copy.src, static_cast<size_t>(copy.src_bytes));
  const sanitizer::Unseen unseen;
  std::memcpy(to, copy.src, static_cast<size_t>(copy.src_bytes));
  std::memset(to + copy.src_bytes, 0, static_cast<size_t>(copy.bytes - copy.src_bytes));
}

}  // namespace

void cp_async(uint32_t dst, const void* src, int bytes, int src_bytes) {
  Block& block = Block::current();
  const auto size = static_cast<uintptr_t>(bytes);
  if (dst % size != 0 || reinterpret_cast<uintptr_t>(src) % size != 0) {
    block.fail("cp.async of %d bytes: %s is not aligned to them", bytes,
               dst % size != 0 ? "the destination" : "the source");
  }
  if (src_bytes < 0 || src_bytes > bytes) block.fail("cp.async of %d bytes reads %d", bytes, src_bytes);
  void* to = block.shared.at(dst, size);
  if (to == nullptr) block.fail("cp.async: shared address %u is out of range", dst);
  sanitizer::write(to, size);
  const sanitizer::Unseen unseen;
  std::memset(to, 0xff, size);
  Thread& me = block.self();
  me.copies.push_back({dst, bytes, src_bytes, src, me.copy_group});
}

void cp_async_commit() { ++Block::current().self().copy_group; }

void cp_async_wait(int pending) {
  Block& block = Block::current();
  Thread& me = block.self();
  size_t kept = 0;
  for (const PendingCopy& copy : me.copies) {
    // A copy that no commit has closed belongs to the next group: no wait covers it.
    if (copy.group < me.copy_group - pending) {
      deliver(block, copy);
    } else {
      me.copies[kept++] = copy;
    }
  }
  me.copies.resize(kept);
}

}  // namespace hn::simt
