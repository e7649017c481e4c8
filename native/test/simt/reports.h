// How many complaints the sanitizer of this build has made so far. It goes on after each, so that one run names all
// calls that it complains about.
#pragma once

namespace hn::test {

int sanitizer_reports();

}  // namespace hn::test
