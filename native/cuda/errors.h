// Words of the CUDA backend that outlive the call that made them: a Status owns nothing.
#pragma once

#include <string>

namespace hn::cuda {

/// The same text once more, for the rest of the process. For what happens a few times: equal texts are kept once.
const char* kept(const std::string& text);

}  // namespace hn::cuda
