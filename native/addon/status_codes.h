// What the addon's functions answer instead of throwing: 0 or a handle when all is well, else one of these.
// lib/runtime/failures.ts makes the exceptions; detail numbers stand in the mailbox where noted.
#pragma once

namespace hn::addon {

enum CallStatus : int {
  kOk = 0,
  kBadArgument = -1,       // not the type of value that was expected, or a malformed record
  kDisposed = -2,          // stale handle; mailbox[0] = argument, mailbox[1] = tensor within it
  kDeviceGone = -3,        // no such device, or it is closed
  kWrongDevice = -4,       // a handle of another device; mailbox[0] = argument, mailbox[1] = tensor within it
  kOutOfBounds = -5,       // a view reaches beyond its storage; mailbox[0] = argument, mailbox[1] = tensor within it
  kQueueFull = -6,         // too many bytes or records wait; await device.sync() first
  kHandlesExhausted = -7,  // more than 2^24 live tensors
  kNoHostMemory = -8,      // the host could not hold the bytes to upload
};

}  // namespace hn::addon
