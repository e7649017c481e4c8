// Softmax of a linear layer, and its gradient. `npm run example` in a clone, after `npm ci`.
import { add, tensor } from "hunyuan-native/tensor";

const x = tensor([1, 2, 3]);
const y = tensor([4, 5, 6]);
const sum = add(x, y);
console.log("1,2,3 + 4,5,6 =", Array.from(await sum.read()).join(","));

// Plain JavaScript on Node 20 has no `using` yet: give tensors back by hand, or let `scope` do it.
for (const t of [x, y, sum]) t.dispose();
