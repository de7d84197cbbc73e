// What workerd is given: the Worker's fetch and its Durable Objects, over an instance of its WebAssembly.
import module from "./index_bg.wasm";
import * as glue from "./index_bg.js";

const { exports } = new WebAssembly.Instance(module, { "./index_bg.js": glue });
glue.__wbg_set_wasm(exports);
exports.__wbindgen_start?.();

export * from "./index_bg.js";
export default { fetch: glue.fetch };
