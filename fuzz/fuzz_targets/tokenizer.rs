#![no_main]

#[allow(dead_code)]
#[path = "../../tests/support/targets.rs"]
mod targets;

// A panic of the library is caught, and is an error. libfuzzer-sys would end the process before.
libfuzzer_sys::fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| targets::tokenizer(bytes));
