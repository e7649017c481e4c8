// Shared libraries opened at run time.
#pragma once

#include <string>

namespace hn::platform {

/// The folder of the library or program that holds this address; "" when the system cannot tell.
std::string folder_of(const void* address);

bool file_exists(const std::string& path);

/// Opens a library and keeps it for the life of the process: threads of it may outlive every user.
/// nullptr with the system's words in `error`.
void* open_library(const std::string& path, std::string* error);

/// nullptr when there is no such symbol.
void* find_symbol(void* library, const char* name);

}  // namespace hn::platform
