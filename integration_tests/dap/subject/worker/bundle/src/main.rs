//! `bundle WASM FOLDER`: make JavaScript modules of the Worker's WebAssembly, as `wasm-bindgen --target bundler` does.

use std::{error::Error, path::PathBuf};
use wasm_bindgen_cli_support::Bindgen;

/// How wasm-bindgen describes an enum that worker-sys 0.0.6 and web-sys have both, alike but for their comments.
const TWICE: &[u8] = b"\x0fRequestRedirect\x03\x06follow\x05error\x06manual";
const NAME: std::ops::Range<usize> = 1..16;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [wasm, folder] = arguments.as_slice() else {
        return Err("it takes two arguments: WASM FOLDER".into());
    };
    let mut wasm = std::fs::read(wasm)?;
    name_apart(&mut wasm);
    Ok(Bindgen::new().input_bytes("index", wasm).typescript(false).bundler(true)?.generate(folder)?)
}

/// Give the second of two enums of one name another, for wasm-bindgen refuses both. All uses are of the first then.
fn name_apart(wasm: &mut [u8]) {
    let mut places = wasm.windows(TWICE.len()).enumerate().filter(|(_, bytes)| *bytes == TWICE).map(|(at, _)| at);
    if let Some(second) = places.nth(1) {
        wasm[second..][NAME].copy_from_slice(b"RequestRedirec2");
    }
}
