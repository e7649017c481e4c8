// The part of the instruction tests that runs on Hopper alone (compute_90a): mbarriers, TMA, wgmma.
#include "cuda/test/mbarriers.cuh"
#include "cuda/test/products.cuh"
#include "cuda/test/tiles.cuh"

namespace hn::cuda::test {

void test_sm90(Suite& suite) {
  test_mbarriers(suite);
  test_tiles(suite);
  test_products(suite);
}

}  // namespace hn::cuda::test
